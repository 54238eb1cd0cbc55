"""Signed calls of the Lambda URL."""

import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import boto3
import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from kennel.errors import KennelError
from kennel.stage.deployed import DeployedStage

TIMEOUT_S = 40
# What an event of 6 MB has room for in base64, as lambda/classifier/web_page.py has it.
MAX_BODY_BYTES = 4_400_000


@dataclass(frozen=True)
class Answer:
    """A response of the URL: the HTTP status and the document, or the problem."""

    status: int
    document: dict[str, Any]

    @property
    def label(self) -> str:
        """The most probable label, or the problem in words."""
        if self.status == 200:
            return str(self.document["predictions"][0]["label"])
        return f"{self.status} {self.document.get('detail') or self.document.get('Message') or self.document}"


class Url:
    """The stage's URL, called with the operator's credentials, or with those of another session."""

    def __init__(self, deployment: DeployedStage, session: boto3.Session | None = None, url: str | None = None) -> None:
        """`url` spares reading the output of the Api stack, which not every caller may."""
        self.url = url or deployment.output("Api", "FunctionUrl")
        self._region = deployment.region
        self._credentials = (session or deployment.session).get_credentials()
        if self._credentials is None:
            raise KennelError("No AWS credentials: configure them as for the AWS CLI.")
        # With an endpoint of one's own the URL's host does not resolve: the request goes to the endpoint instead,
        # as AWS's SDKs do it.
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        self._address = (endpoint or self.url).rstrip("/")
        self._client = httpx.Client(timeout=TIMEOUT_S)

    def send(self, method: str, target: str, body: bytes, headers: dict[str, str], *, signed: bool = True) -> Any:
        """The httpx.Response to a request of `target`, path and query. Raises KennelError if nothing answers."""
        headers = {**headers, "Host": urlsplit(self.url).netloc}
        if signed:
            request = AWSRequest(method, f"{self.url.rstrip('/')}{target}", data=body, headers=headers)
            assert self._credentials is not None
            SigV4Auth(self._credentials.get_frozen_credentials(), "lambda", self._region).add_auth(request)
            headers = dict(request.headers.items())
        try:
            return self._client.request(method, f"{self._address}{target}", content=body, headers=headers)
        except httpx.HTTPError as error:
            raise KennelError(f"{self._address} does not respond ({error or type(error).__name__}).") from None

    def call(self, body: bytes, content_type: str, *, top_k: int = 5, signed: bool = True) -> Answer:
        """POSTs an image. Raises KennelError if nothing answers.

        What is larger than the URL takes is not sent: Lambda would refuse it in words of its own.
        """
        if len(body) > MAX_BODY_BYTES:
            advice = f"the URL takes images of up to {MAX_BODY_BYTES:,} bytes: upload it, and give its s3:// address"
            return Answer(413, {"detail": f"{len(body):,} bytes; {advice}"})
        target = f"/?{urlencode({'top_k': top_k})}"
        answer = self.send("POST", target, body, {"Content-Type": content_type}, signed=signed)
        try:
            document = answer.json()
        except ValueError:
            document = {"detail": answer.text[:200]}
        return Answer(answer.status_code, document)
