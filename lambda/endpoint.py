"""One call of the SageMaker endpoint, and what its failures mean to the caller of the URL."""

import json
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

from problem import Problem

# What the picture's own faults are called by the model server; anything else is not the caller's doing.
CALLER_STATUS = (400, 413, 415, 422)
RETRY_AFTER_S = 5


class Endpoint:
    """A SageMaker endpoint by name, with one client for the life of the process."""

    def __init__(self, name: str, timeout_s: float) -> None:
        self._name = name
        self._timeout_s = timeout_s
        # No retries: the caller's budget is one invocation, and only the caller knows whether to spend another.
        self._client: Any = boto3.client(
            "sagemaker-runtime",
            config=Config(connect_timeout=2, read_timeout=timeout_s, retries={"total_max_attempts": 1}),
        )

    def invoke(self, picture: bytes, content_type: str, top_k: int) -> dict[str, Any]:
        """The model server's answer: predictions and the model's name. Raises Problem."""
        try:
            answer = self._client.invoke_endpoint(
                EndpointName=self._name,
                ContentType=content_type,
                Accept="application/json",
                CustomAttributes=f"top_k={top_k}",
                Body=picture,
            )
            document: dict[str, Any] = json.load(answer["Body"])
            return document
        except ClientError as error:
            raise _problem(error) from error
        except (ReadTimeoutError, ConnectTimeoutError) as error:
            raise Problem(504, f"The model did not answer within {self._timeout_s:g} s: try again") from error
        except (BotoCoreError, ValueError) as error:
            raise Problem(502, "The model gave no usable answer: try again later") from error


def _problem(error: ClientError) -> Problem:
    code = error.response["Error"]["Code"]
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    if code == "ModelError":
        original = int(error.response.get("OriginalStatusCode", 500))
        if original in CALLER_STATUS:
            return Problem(original, _detail(error.response.get("OriginalMessage", "")))
        if original == 503:
            return Problem(503, "The model is overloaded: try again", retry_after_s=RETRY_AFTER_S)
        return Problem(502, "The model failed on this picture: try again later")
    if code in ("ThrottlingException", "TooManyRequestsException") or status == 429:
        return Problem(429, "Too many requests: slow down", retry_after_s=RETRY_AFTER_S)
    if status == 503:
        return Problem(503, "The endpoint has no healthy instance now: try again", retry_after_s=RETRY_AFTER_S)
    # A missing endpoint or a missing permission: for the operator, whose log has the code.
    return Problem(502, "The endpoint cannot be called: its operator finds the reason in the log")


def _detail(message: str) -> str:
    """What the model server said of the picture."""
    try:
        return str(json.loads(message)["detail"])
    except (ValueError, KeyError, TypeError):
        return "The model refused this picture"
