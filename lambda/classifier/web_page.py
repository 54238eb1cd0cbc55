"""The web page: one file, which sends requests to the function only, and is allowed nothing else."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from inference.formats import MEDIA_TYPES, titles

FILE = Path(__file__).with_name("web_page.html")
# What the URL carries of a body is base64: three quarters of Lambda's 6 MB, less the event around it.
MAX_BODY_BYTES = 4_400_000


def response(max_image_bytes: int) -> dict[str, Any]:
    """The page as a function URL answers it; its own script and style are allowed by their hashes."""
    html = FILE.read_text().replace("{{max_bytes}}", str(min(max_image_bytes, MAX_BODY_BYTES)))
    html = html.replace("{{media_types}}", ",".join(MEDIA_TYPES)).replace("{{formats}}", titles())
    policy = {
        "default-src": "'none'",
        "script-src": _hash(html, "script"),
        "style-src": _hash(html, "style"),
        "img-src": "blob: data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "strict-transport-security": "max-age=63072000",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "permissions-policy": "camera=(self), microphone=(), geolocation=()",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-cache",
    }
    return {"statusCode": 200, "headers": headers, "body": html}


def _hash(html: str, element: str) -> str:
    match = re.search(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
    assert match
    return f"'sha256-{base64.b64encode(hashlib.sha256(match[1].encode()).digest()).decode()}'"
