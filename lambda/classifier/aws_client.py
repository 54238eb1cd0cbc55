"""Signed calls of AWS's HTTP APIs on a kept connection, with what a request needs and no more.

boto3's client takes three times as long to import and make as the whole function: docs/concurrency.md has the figures.
The signer is botocore's own.
"""

import functools
import http.client
import os
import ssl
import urllib.parse
from dataclasses import dataclass
from typing import Any

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ContainerProvider, Credentials

from classifier.budget import Budget

CONNECT_S = 2.0
# What a kept connection fails with that the other side has closed in the meantime, before it has read the request.
CLOSED = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)


class CallError(Exception):
    """No answer: the connection failed."""


class CallTimeout(CallError):
    """No answer in time."""


@dataclass(frozen=True)
class Answer:
    """Status, headers by lower-case name, and body; a body over the limit of the call is cut one byte above it."""

    status: int
    headers: dict[str, str]
    body: bytes


class SignedClient:
    """One API of AWS in this region. Not for several threads; Lambda gives a process one request at a time."""

    def __init__(self, name: str, host: str, override: str) -> None:
        """`host` is AWS's own; AWS's variable `override`, or AWS_ENDPOINT_URL, names another place, as in its SDKs."""
        self._url = os.environ.get(override) or os.environ.get("AWS_ENDPOINT_URL") or f"https://{host}"
        self.is_aws = self._url == f"https://{host}"
        split = urllib.parse.urlsplit(self._url)
        self._name, self._region = name, os.environ["AWS_REGION"]
        assert split.hostname
        self._connection = (
            http.client.HTTPSConnection(split.hostname, split.port, context=ssl.create_default_context())
            if split.scheme == "https"
            else http.client.HTTPConnection(split.hostname, split.port)
        )

    def call(
        self, method: str, path: str, headers: dict[str, str], body: bytes, budget: Budget, max_bytes: int
    ) -> Answer:
        """The answer to one request; raises CallTimeout or CallError."""
        if trace := os.environ.get("_X_AMZN_TRACE_ID"):
            headers = {**headers, "X-Amzn-Trace-Id": trace}
        request = AWSRequest(method, self._url + path, headers, body)
        signer = S3SigV4Auth if self._name == "s3" else SigV4Auth
        signer(_credentials(), self._name, self._region).add_auth(request)
        signed = dict(request.headers.items())
        try:
            if self._connection.sock:
                try:
                    return self._send(method, path, signed, body, budget, max_bytes)
                except CLOSED:
                    self._connection.close()
            return self._send(method, path, signed, body, budget, max_bytes)
        except TimeoutError as error:
            self._connection.close()
            raise CallTimeout(str(error)) from error
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise CallError(repr(error)) from error

    def _send(
        self, method: str, path: str, headers: dict[str, str], body: bytes, budget: Budget, max_bytes: int
    ) -> Answer:
        if not (left_s := budget.left_s()):
            raise TimeoutError("no time is left")
        if self._connection.sock is None:
            self._connection.timeout = min(CONNECT_S, left_s)
            self._connection.connect()
        self._connection.sock.settimeout(left_s)
        self._connection.request(method, path, body, headers)
        if not (left_s := budget.left_s()):
            raise TimeoutError("sending took all the time")
        self._connection.sock.settimeout(left_s)
        with self._connection.getresponse() as response:
            content = response.read(max_bytes + 1)
            if not response.isclosed():
                self._connection.close()
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)


def _credentials() -> Any:
    """Those of the function's role."""
    if "AWS_ACCESS_KEY_ID" in os.environ:
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        return Credentials(*(os.environ.get(name) for name in names))
    return _container_credentials().get_frozen_credentials()


@functools.cache
def _container_credentials() -> Any:
    """With SnapStart, Lambda hands them out by HTTP: a snapshot must not keep any. They are renewed by themselves."""
    return ContainerProvider().load()
