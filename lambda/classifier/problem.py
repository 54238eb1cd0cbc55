"""Refusals, as RFC 9457 problem documents."""

import json
from http import HTTPStatus
from typing import Any


class Problem(Exception):
    """A request that ends with an error status; `detail` says what the caller can do about it.

    `logged` is what the log says instead, where `detail` has what is the caller's own, such as the name of a file.
    """

    def __init__(
        self, status: int, detail: str, *, headers: dict[str, str] | None = None, logged: str | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.logged = status, detail, headers or {}, logged or detail

    def response(self, request_id: str) -> dict[str, Any]:
        """The answer as a function URL wants it."""
        headers = {"content-type": "application/problem+json", **self.headers}
        document = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
        }
        return {"statusCode": self.status, "headers": headers, "body": json.dumps(document)}
