"""Access control of the embedded AWS: it answers clients on this machine that know its key, and no web page.

The embedded AWS runs programs with the rights of the user who started it. Listening on loopback keeps other machines
out, but not other users of this machine, and not web pages: a browser sends a page's form to any address, and an
attacker's host name can resolve to 127.0.0.1 (DNS rebinding).
"""

import json
import re
from typing import Any

from ministack.core import iam_evaluator

from kennel.local.workarounds import Application

# Names of this machine, and AWS's names of function URLs, which no attacker can make resolve to this machine.
HOSTS = re.compile(r"(?:(?:[a-z0-9.-]+\.)?localhost|127\.0\.0\.1|[a-z0-9]+\.lambda-url\.[a-z0-9-]+\.on\.aws)(?::\d+)?")
# ministack's administrative paths change its settings or delete its state. Only the health check and the responses of
# custom resources are needed.
OWN_PATHS = ("/_ministack/", "/_localstack/")
OPEN_PATHS = (("GET", "/_ministack/health"), ("PUT", "/_ministack/cfn-response/"), ("PUT", "/_ministack/cfn-signal/"))


def install(key: str) -> None:
    """Accepts `key` as the only root access key; ministack also accepts "test" and the account number."""
    upstream = iam_evaluator.is_root_access_key
    iam_evaluator.is_root_access_key = lambda given: given in ("", key) and upstream(given)


def closed(application: Application) -> Application:
    """Wraps the application: a request with a `refusal` gets 403 and does not reach it."""

    async def served(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (reason := refusal(scope)):
            body = json.dumps({"message": reason}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await application(scope, receive, send)

    return served


def refusal(scope: dict[str, Any]) -> str:
    """The reason why a request is refused; empty if it is allowed."""
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
