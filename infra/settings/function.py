"""The settings of the function behind the URL: concurrency, images by URL, the web page, who may call it."""

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from infra.settings.base import Schedule, Settings

HOST = re.compile(r"(?!-)[a-z0-9-]+(\.[a-z0-9-]+)+")

# The largest body of a request to an instance: 6,291,456 bytes (API reference, InvokeEndpoint).
BODY_BYTES = 6_000_000


class ProvisionedSchedule(Schedule):
    """From this time on, for example the start of office hours, at least this much concurrency is provisioned."""

    # Not 0: Lambda then has no provisioned concurrency to update, and a deploy outside the hours fails (aws-cdk#29992).
    provisioned_min: int = Field(ge=1, description="smallest provisioned concurrency from then on")


class FunctionSettings(Settings):
    """The Lambda function behind the URL."""

    memory_mib: int = Field(512, ge=128, le=10240, description="memory; processor time is proportional to it")
    timeout_s: int = Field(
        29, ge=1, le=900, description="time limit of a request; at least 2 s more than endpoint.timeout_s"
    )
    reserved_concurrency: int | None = Field(
        10,
        ge=1,
        description="concurrency reserved for the function; 100 of the account's quota must stay unreserved, so new "
        "accounts need null, which reserves none",
    )
    provisioned_min: int | None = Field(
        None,
        ge=1,
        description="smallest provisioned concurrency; null provisions none: requests may wait for a cold start",
    )
    provisioned_max: int | None = Field(None, ge=1, description="largest provisioned concurrency")
    provisioned_hours: tuple[ProvisionedSchedule, ...] = Field((), description="times at which provisioned_min changes")
    snap_start: bool = Field(
        False, description="start from a snapshot (Lambda SnapStart); excludes provisioned concurrency"
    )
    provisioned_utilization: float = Field(
        0.7, ge=0.1, le=0.9, description="share of the provisioned concurrency that target tracking keeps in use"
    )
    max_image_bytes: int = Field(
        5_000_000,
        ge=1,
        le=BODY_BYTES,
        description="largest image; a request body holds 4.4 MB, larger images need a URL or S3 address",
    )
    url_fetch: Literal["https", "https and http", "off"] = Field(
        "https", description="schemes of the image URLs that the function fetches for a caller; off fetches none"
    )
    url_fetch_hosts: tuple[str, ...] = Field(
        (), description="hosts from which images may be fetched; an empty list allows all public ones"
    )
    web_page: bool = Field(False, description="answer GET / with a web page")
    cloudfront: bool = Field(False, description="publish the web page on the internet through CloudFront")
    url_auth: Literal["AWS_IAM", "NONE"] = Field(
        "AWS_IAM", description="NONE lets anyone call the URL without credentials"
    )
    public_url_reason: str = Field(
        "", description="why anyone may call the service; required with url_auth NONE and with cloudfront"
    )

    @model_validator(mode="after")
    def _deployable(self) -> Self:
        errors = [*self._concurrency(), *self._fetching()]
        if self.url_auth == "NONE" and not self.public_url_reason:
            errors.append("url_auth NONE lets anyone spend your money: say why in public_url_reason, or use AWS_IAM")
        if self.cloudfront and not self.web_page:
            errors.append("cloudfront publishes the web page: set web_page, or omit cloudfront")
        if self.cloudfront and self.url_auth == "NONE":
            errors.append("cloudfront signs its calls, and url_auth NONE also admits unsigned ones: use AWS_IAM")
        if self.cloudfront and not self.public_url_reason:
            errors.append("cloudfront lets anyone spend your money: say why in public_url_reason")
        if errors:
            raise ValueError("\n".join(errors))
        return self

    def _concurrency(self) -> list[str]:
        errors = []
        low, high = self.provisioned_min, self.provisioned_max
        if (low is None) != (high is None):
            errors.append("provisioned_min and provisioned_max go together: set both, or neither")
        if low and high and high < low:
            errors.append(f"provisioned_max ({high}) is less than provisioned_min ({low}): raise it")
        if high and self.reserved_concurrency and high > self.reserved_concurrency:
            errors.append(
                f"provisioned_max ({high}) exceeds reserved_concurrency ({self.reserved_concurrency}): Lambda refuses "
                "that; raise reserved_concurrency"
            )
        for hours in self.provisioned_hours:
            if not high or hours.provisioned_min > high:
                errors.append(
                    f"provisioned_hours: provisioned_min ({hours.provisioned_min}) exceeds provisioned_max ({high})"
                )
        if self.snap_start and (low or high or self.provisioned_hours):
            errors.append("snap_start and provisioned concurrency exclude each other: Lambda has one or the other")
        return errors

    def _fetching(self) -> list[str]:
        errors = []
        if self.url_fetch == "off" and self.url_fetch_hosts:
            errors.append("url_fetch_hosts has hosts, but url_fetch is off: omit one of them")
        for host in self.url_fetch_hosts:
            if not HOST.fullmatch(host):
                errors.append(f"url_fetch_hosts has {host!r}: use host names only, such as images.example.com")
        return errors
