"""Errors: of the emulated services to their callers, and of the embedded AWS to its operator."""

import json
from typing import Any


class LocalError(Exception):
    """The embedded AWS cannot do what its operator asks for; the message says what to do."""


class ServiceError(Exception):
    """An error of the service: HTTP status, code and message, as AWS's JSON protocols carry them."""

    def __init__(self, status: int, code: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status, self.code = status, code
        self.document = {"__type": code, "message": message, "Message": message, **fields}

    @classmethod
    def of(cls, status: int, answer: bytes) -> "ServiceError":
        """The fault in an answer of moto's."""
        document = json.loads(answer)
        message = document.get("message") or document.get("Message") or answer.decode(errors="replace")
        return cls(status, document.get("__type", "InternalFailure").rpartition("#")[2], message)
