from typing import Any

import pytest

from kennel.local.gate import refusal


def scope(method: str = "GET", path: str = "/", **headers: str) -> dict[str, Any]:
    given = {"host": "localhost:4566", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return {"method": method, "path": path, "headers": [(n.encode(), v.encode()) for n, v in given.items()]}


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:4566", "LOCALHOST:1", "127.0.0.1:4566", "a.localhost:1", "a1.lambda-url.us-east-1.on.aws"],
)
def test_own_names_are_answered(host: str) -> None:
    assert refusal(scope(host=host)) == ""


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:4566",
        "localhost.evil.example",
        "evillocalhost",
        "127.0.0.1.nip.io",
        "localhost:4566@evil.example",
        "0.0.0.0:4566",
        "a1.lambda-url.us-east-1.on.aws.evil.example",
        "localhost\n",
    ],
)
def test_other_names_are_refused(host: str) -> None:
    assert "is not called" in refusal(scope(host=host))


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:8000"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_web_pages_are_refused(headers: dict[str, str]) -> None:
    assert "web pages" in refusal(scope("POST", **headers))
    assert refusal(scope("POST", sec_fetch_site="none")) == ""


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/_ministack/reset"),
        ("POST", "/_ministack/config"),
        ("GET", "/_ministack/ses/messages"),
        ("GET", "/_localstack/health"),
        ("POST", "/_ministack/health"),
    ],
)
def test_paths_of_emulator_are_closed(method: str, path: str) -> None:
    assert refusal(scope(method, path)) == "The embedded AWS has no such path"
    assert refusal(scope("GET", "/_ministack/health")) == ""
    assert refusal(scope("PUT", "/_ministack/cfn-response/token")) == ""
