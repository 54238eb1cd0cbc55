"""A stage as it is deployed: its region from cdk.json, its names from the outputs of its stacks."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra import names
from kennel.errors import KennelError

# The SDK takes a second to import: `kennel --help` does without.
if TYPE_CHECKING:
    import boto3
    from botocore.config import Config

    from infra.settings import StageSettings

REPOSITORY = Path(__file__).resolve().parents[2]


def cdk_json() -> dict[str, Any]:
    """The settings of the app and of the CDK command line."""
    settings: dict[str, Any] = json.loads((REPOSITORY / "cdk.json").read_text())
    return settings


def split_uri(uri: str) -> tuple[str, str]:
    """("bucket", "key") of s3://bucket/key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


@dataclass(frozen=True)
class DeployedStage:
    """The deployed stage `stage`, on AWS or wherever AWS_ENDPOINT_URL points."""

    stage: str

    @classmethod
    def configured_by(cls, stage: str, settings: dict[str, Any]) -> "DeployedStage":
        """The stage with `settings` in place of those in cdk.json."""
        deployment = cls(stage)
        deployment.__dict__["_configured"] = settings
        return deployment

    @cached_property
    def settings(self) -> "StageSettings":
        """The stage's settings in cdk.json; raises KennelError if they are not valid, with every error."""
        from infra.config import ConfigurationError, validated

        try:
            return validated(self.stage, self._configured)
        except ConfigurationError as error:
            raise KennelError(str(error)) from None

    @property
    def region(self) -> str:
        """The stage's region; raises KennelError for a stage that cdk.json does not have.

        It needs no other setting: what operates a stage goes on while its settings are being edited.
        """
        region = self._configured.get("region")
        if not isinstance(region, str):
            raise KennelError(f"Stage {self.stage!r} in cdk.json has no region: set one, such as us-east-1.")
        return region

    @cached_property
    def _configured(self) -> dict[str, Any]:
        stages: dict[str, dict[str, Any]] = cdk_json()["context"]["stages"]
        if self.stage not in stages:
            raise KennelError(f"No stage {self.stage!r} in cdk.json (known: {', '.join(stages)}): choose with --stage.")
        return stages[self.stage]

    @cached_property
    def session(self) -> "boto3.Session":
        """The operator's credentials in the stage's region."""
        import boto3

        return boto3.Session(region_name=self.region)

    def client(self, service: str, config: "Config | None" = None) -> Any:
        """A client of an AWS service in the stage's region."""
        try:
            # boto3-stubs has an overload for each service; which one this is, is known only here and now.
            session: Any = self.session
            return session.client(service, config=config)
        except ValueError as error:  # of AWS_ENDPOINT_URL, as botocore says it
            raise KennelError(f"{error}: set AWS_ENDPOINT_URL to an address, or unset it.") from None

    def output(self, stack: str, key: str) -> str:
        """The output `key` of the stack `stack` ("Data", "Training", …); raises KennelError if it is not deployed."""
        described = self._of_stack(stack, "describe_stacks")
        for output in described["Stacks"][0].get("Outputs", []):
            if output["OutputKey"] == key:
                return str(output["OutputValue"])
        raise KennelError(f"The stack {self._name(stack)} has no output {key}: deploy it again with this version.")

    def resources(self, stack: str) -> dict[str, dict[str, str]]:
        """The physical ids of a stack's resources by type and logical id; raises KennelError if it is not deployed."""
        status = self._of_stack(stack, "describe_stacks")["Stacks"][0]["StackStatus"]
        # While it is made or deleted, a part of it is there.
        if status.startswith(("CREATE_IN", "CREATE_FAILED", "ROLLBACK", "DELETE", "REVIEW")):
            raise KennelError(
                f"The stack {self._name(stack)} is in {status}: wait, or check its events, then try again."
            )
        described = self._of_stack(stack, "describe_stack_resources")
        found: dict[str, dict[str, str]] = {}
        for item in described["StackResources"]:
            found.setdefault(item["ResourceType"], {})[item["LogicalResourceId"]] = item["PhysicalResourceId"]
        return found

    def _name(self, stack: str) -> str:
        return names.stack(self.stage, stack)

    def _of_stack(self, stack: str, operation: str) -> dict[str, Any]:
        """The response of an operation of CloudFormation for a stack."""
        from botocore import exceptions

        try:
            answer: dict[str, Any] = getattr(self.client("cloudformation"), operation)(StackName=self._name(stack))
        except exceptions.ClientError as error:
            if "does not exist" not in str(error):
                raise
            target = "training" if stack in ("Data", "Training") else "deploy"
            raise KennelError(
                f"The stack {self._name(stack)} is not deployed: run `make {target} STAGE={self.stage}`."
            ) from None
        return answer

    @property
    def model_parameter(self) -> str:
        """The SSM parameter with the promoted package's prefix."""
        return names.parameter(self.stage, "model")
