"""Who may ask the embedded AWS: clients on this machine that know its key, and no web page.

It runs programs for whoever asks, in the name of the person who started it. Listening on loopback keeps out other
machines, and neither other users of this one nor the pages that a browser shows: those can send a form to any address,
and a name of theirs can be made to point here.
"""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from ministack.core import iam_evaluator

Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]
# This machine by its own names, and AWS's names of function URLs, which nobody else can point here.
HOSTS = re.compile(r"(?:(?:[a-z0-9.-]+\.)?localhost|127\.0\.0\.1|[a-z0-9]+\.lambda-url\.[a-z0-9-]+\.on\.aws)(?::\d+)?")
# ministack's own paths change its settings and empty it. These are needed: health, and what custom resources answer to.
OWN_PATHS = ("/_ministack/", "/_localstack/")
OPEN_PATHS = (("GET", "/_ministack/health"), ("PUT", "/_ministack/cfn-response/"), ("PUT", "/_ministack/cfn-signal/"))


def install(key: str) -> None:
    """Lets `key` alone stand for the account's owner: ministack also takes "test" and the account's number."""
    upstream = iam_evaluator.is_root_access_key
    iam_evaluator.is_root_access_key = lambda given: given in ("", key) and upstream(given)


def closed(application: Application) -> Application:
    """The application, which answers nobody who comes by another name or from a web page."""

    async def served(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (reason := refusal(scope)):
            body = json.dumps({"message": reason}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await application(scope, receive, send)

    return served


def refusal(scope: Scope) -> str:
    """Why a request is not answered, or nothing."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    host = headers.get("host", "")
    if not HOSTS.fullmatch(host.lower()):
        return f"The embedded AWS is not called {host}: use localhost"
    # Browsers say where a request comes from; no SDK does.
    if "origin" in headers or headers.get("sec-fetch-site", "none") != "none":
        return "The embedded AWS does not answer web pages"
    method, path = scope["method"], scope["path"]
    if path.startswith(OWN_PATHS) and not any(
        method == open_method and path.startswith(start) for open_method, start in OPEN_PATHS
    ):
        return "The embedded AWS has no such path"
    return ""
