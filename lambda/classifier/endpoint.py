"""One call of the SageMaker endpoint, and what its failures mean to the caller of the URL."""

import json
import os
from typing import Any

from classifier.aws_client import Answer, CallError, CallTimeout, SignedClient
from classifier.budget import Budget
from classifier.problem import Problem

# What the image's own faults are called by the model server; anything else is not the caller's doing.
CALLER_STATUS = (400, 413, 415, 422)
LATER = {"retry-after": "5"}
MAX_ANSWER_BYTES = 1_000_000


class Endpoint:
    """A SageMaker endpoint by name, over one connection for the life of the process."""

    def __init__(self, name: str, timeout_s: float) -> None:
        self._path = f"/endpoints/{name}/invocations"
        self._timeout_s = timeout_s
        host = f"runtime.sagemaker.{os.environ['AWS_REGION']}.{os.environ['DNS_SUFFIX']}"
        self._service = SignedClient("sagemaker", host, "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME")

    def invoke(self, image: bytes, content_type: str, top_k: int, budget: Budget) -> dict[str, Any]:
        """The model server's answer: predictions and the model's name. Raises Problem."""
        # No second try, whatever went wrong: what is overloaded must not get each request twice, and the caller, who
        # is told when to try again, knows whether the answer is still wanted.
        allowed = Budget(budget.left_s(self._timeout_s))
        headers = {
            "Content-Type": content_type,
            "Accept": "application/json",
            # The server leaves out what nobody waits for any more.
            "X-Amzn-SageMaker-Custom-Attributes": f"top_k={top_k},budget_ms={allowed.left_s() * 1000:.0f}",
        }
        try:
            answer = self._service.call("POST", self._path, headers, image, allowed, MAX_ANSWER_BYTES)
        except CallTimeout as error:
            raise Problem(504, "The model timed out: try again") from error
        except CallError as error:
            raise Problem(502, "The endpoint is unreachable: try again later") from error
        if answer.status != 200:
            raise _problem(answer)
        try:
            document = json.loads(answer.body)
            return {"predictions": document["predictions"], "model": document["model"]}
        except (ValueError, KeyError, TypeError) as error:
            raise Problem(502, "The model returned an invalid response: try again later") from error


def _problem(answer: Answer) -> Problem:
    document = _document(answer.body)
    code = _code(answer, document)
    if code == "ModelError":
        original = document.get("OriginalStatusCode", 500)
        if original in CALLER_STATUS:
            return Problem(original, _detail(document.get("OriginalMessage", "")))
        if original == 503:
            return Problem(503, "The model is overloaded: try again", headers=LATER)
        if original == 504:
            return Problem(504, "The model timed out: try again")
        problem = Problem(502, "The model failed on this image: try again later")
    elif code in ("ThrottlingException", "TooManyRequestsException") or answer.status == 429:
        return Problem(429, "Too many requests: slow down", headers=LATER)
    elif answer.status == 503:
        return Problem(503, "The endpoint has no healthy instance now: try again", headers=LATER)
    else:
        # A missing endpoint or a missing permission: for the operator, whose log has the code.
        problem = Problem(502, "The endpoint cannot be called: its operator finds the reason in the log")
    problem.__cause__ = CallError(f"{answer.status} {code}")
    return problem


def _code(answer: Answer, document: dict[str, Any]) -> str:
    """The name of AWS's error, from the header or the body (AWS's REST-JSON protocol)."""
    code = answer.headers.get("x-amzn-errortype") or document.get("__type") or document.get("code") or ""
    return str(code).partition(":")[0].rpartition("#")[2]


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _detail(message: Any) -> str:
    """The model server's response for the image."""
    try:
        return str(json.loads(message)["detail"])
    except (ValueError, KeyError, TypeError):
        return "The model refused this image"
