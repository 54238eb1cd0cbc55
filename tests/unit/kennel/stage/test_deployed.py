"""A stage as CloudFormation tells of it."""

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from kennel.errors import KennelError
from kennel.stage.deployed import DeployedStage


@pytest.mark.parametrize("status", ["CREATE_IN_PROGRESS", "ROLLBACK_COMPLETE", "DELETE_IN_PROGRESS", "DELETE_FAILED"])
def test_incomplete_stack_error_names_status(monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    client: Any = boto3.client("cloudformation", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    stack = {"StackName": "Kennel-dev-Serving", "CreationTime": "2026-01-01T00:00:00Z", "StackStatus": status}
    monkeypatch.setattr(DeployedStage, "client", lambda self, service: client)
    with Stubber(client) as stubbed:
        stubbed.add_response("describe_stacks", {"Stacks": [stack]})
        with pytest.raises(KennelError, match=f"Kennel-dev-Serving is in {status}: wait"):
            DeployedStage("dev").resources("Serving")
