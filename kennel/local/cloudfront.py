"""CloudFront's part for the page: a place on loopback that a browser may ask, and that signs each call of the URL.

As with origin access control on AWS, a POST must say the SHA-256 of its body: the signature covers it.
"""

import hashlib
import socket
from collections.abc import Mapping
from typing import Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kennel.local.errors import LocalError
from kennel.local.ports import LOOPBACK

PASSED_ON = ("content-type", "x-amz-content-sha256", "accept")
# Headers that a connection sets itself.
KEPT = ("content-length", "transfer-encoding", "connection", "date", "server")


class SignedResponse(Protocol):
    """The origin's response to a request."""

    status_code: int
    content: bytes
    headers: Mapping[str, str]


class Origin(Protocol):
    """Signs requests and sends them to the function URL."""

    def send(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> SignedResponse:
        """The response to one request; `target` is its path with the query."""


def app(url: Origin, failure: type[Exception]) -> Starlette:
    """The application that stands before `url`, which raises `failure` if nothing answers."""

    async def forward(request: Request) -> Response:
        body = await request.body()
        if request.method == "POST" and request.headers.get("x-amz-content-sha256") != hashlib.sha256(body).hexdigest():
            message = "The request signature we calculated does not match the signature you provided."
            return JSONResponse({"Message": f"{message} (x-amz-content-sha256 must be that of the body.)"}, 403)
        headers = {name: value for name, value in request.headers.items() if name in PASSED_ON}
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        try:
            answer = await run_in_threadpool(url.send, request.method, target, body, headers)
        except failure as error:
            return JSONResponse({"Message": str(error)}, 502)
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in KEPT}
        return Response(answer.content, answer.status_code, headers=kept)

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    # It signs for whoever asks: nobody may ask by another name, as a page whose name was made to point here.
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["localhost", LOOPBACK])
    return Starlette(routes=[Route("/{path:path}", forward, methods=methods)], middleware=[hosts])


def listen(port: int) -> socket.socket:
    """The socket of the page; raises LocalError if the port is taken or not ours to take."""
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise LocalError(f"Port {port}: {error.strerror or error}. Choose another with --port.") from None


def serve(url: Origin, failure: type[Exception], listening: socket.socket) -> None:
    """Serves until it is stopped."""
    uvicorn.Server(uvicorn.Config(app(url, failure), log_level="warning")).run(sockets=[listening])
