"""Hostile inputs of every kind, and how each is tried. The target is given, so that a test can take its guard away.

Sources of the forms: OWASP's cheat sheets on server-side request forgery and file upload, RFC 9112 for HTTP, the review
of November 2026 for what got through once.
"""

import base64
import json
import socket
import stat
import struct
import time
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.bad_images import chunk, corpus, many_scans, segment
from helpers.images import encode, gradient

# A status, or what else came back; raises nothing.
Outcome = tuple[bool, str]


@dataclass(frozen=True)
class Attempt:
    """One input: whether it got through, what came back, and how long it took in seconds."""

    kind: str
    name: str
    through: bool
    outcome: str
    seconds: float


def tried(kind: str, cases: Iterator[tuple[str, Callable[[], Outcome]]]) -> Iterator[Attempt]:
    """Tries each case of a kind."""
    for name, attack in cases:
        started = time.monotonic()
        through, outcome = attack()
        yield Attempt(kind, name, through, outcome, time.monotonic() - started)


# --- images: `send` takes a file and gives the status ---


def images(send: Callable[[bytes], int]) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """Files that must be refused, and files with hostile metadata, which is dropped unread: 200 is as good."""
    for name, data, _ in corpus():
        yield name, lambda data=data: _judged(send(data), (400, 413, 415, 422))
    for name, data in metadata():
        yield name, lambda data=data: _judged(send(data), (200, 413, 422))


def _judged(status: int, right: tuple[int, ...]) -> Outcome:
    return status not in right, f"HTTP {status}"


def metadata() -> Iterator[tuple[str, bytes]]:
    """EXIF whose entries share bytes or that repeats its header, 10,000 chunks, scans that a parser might miss."""
    image = gradient(64, 64)
    sharing = _sharing_exif(20_000, 60_000)
    repeating = b"Exif\0\0" * 50_000 + b"II*\0\x08\0\0\0\0\0"
    for words, exif in (("entries that share bytes", sharing), ("a header that repeats", repeating)):
        png = encode(image, "PNG")
        yield f"png: EXIF with {words}", png[:33] + chunk(b"eXIf", exif) + png[33:]
        jpeg = encode(image, "JPEG")
        parts = b"".join(segment(0xE1, b"Exif\0\0" + exif[at : at + 60_000]) for at in range(0, len(exif), 60_000))
        yield f"jpeg: EXIF with {words}", jpeg[:2] + parts + jpeg[2:]
        webp = encode(image, "WEBP", exif=b"II*\0\x08\0\0\0\0\0")
        body = webp[12:] + b"EXIF" + struct.pack("<I", len(exif)) + exif + bytes(len(exif) % 2)
        yield f"webp: EXIF with {words}", b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    png = encode(image, "PNG")
    yield "png: 10,000 comments", png[:33] + chunk(b"tEXt", b"a\0b") * 10_000 + png[33:]
    bomb = b"a\0\0" + zlib.compress(bytes(50_000_000))
    for kind in (b"zTXt", b"iCCP", b"iTXt"):
        yield f"png: {kind.decode()} of 50 MB", png[:33] + chunk(kind, bomb) + png[33:]
    for marker in (0xD0, 0xD7, 0x01):
        hidden = many_scans(7000, 7000, 400)
        yield f"jpeg: scans behind FF {marker:02X}", b"\xff\xd8\xff" + bytes([marker]) + hidden[2:]


def _sharing_exif(entries: int, size: int) -> bytes:
    start = 8 + 2 + 12 * entries + 4
    directory = b"".join(struct.pack("<HHII", 0x9286, 7, size, start) for _ in range(entries))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", entries) + directory + bytes(4) + bytes(size)


# --- addresses: `ask` posts a JSON document and gives the status; a listener counts who came ---


def addresses(
    ask: Callable[[dict[str, Any]], int], port: int, reached: Callable[[], int]
) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """URLs of loopback, where something listens on `port`, of metadata services, and of private networks."""

    def attack(url: str) -> Outcome:
        before = reached()
        status = ask({"url": url})
        return status == 200 or reached() > before, f"HTTP {status}, reached {reached() - before} times"

    loopback = [
        *("127.0.0.1", "localhost", "localhost.", "LOCALHOST", "127.1", "127.0.1", "0", "0.0.0.0", "2130706433"),
        *("0x7f000001", "0x7f.0.0.1", "017700000001", "0177.0.0.1", "127.0.0.1.", "127.127.127.127", "[::1]", "[::]"),
        *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"),
        *("①②⑦.⓪.⓪.①", "127。0。0。1", "localtest.me", "127.0.0.1.nip.io", "user@127.0.0.1", "example.com@127.0.0.1"),
        *("127.0.0.1#@example.com", "127.0.0.1\\@example.com", "example.com\\@127.0.0.1", "%31%32%37.0.0.1"),
    ]
    for host in loopback:
        for scheme in ("http", "https"):
            yield f"{scheme}://{host}", lambda url=f"{scheme}://{host}:{port}/a.jpg": attack(url)
    others = [
        *(
            "169.254.169.254",
            "169.254.170.2",
            "[fd00:ec2::254]",
            "[::ffff:169.254.169.254]",
            "2852039166",
            "0xa9fea9fe",
        ),
        *("10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "198.18.0.1", "192.0.2.1", "224.0.0.1", "240.0.0.1"),
        *("255.255.255.255", "[fe80::1]", "[fc00::1]", "[ff02::1]", "[2001:db8::1]", "metadata.google.internal"),
    ]
    for host in others:
        yield f"https://{host}/", lambda url=f"https://{host}/latest/meta-data/": attack(url)
    for url in (
        *(
            "file:///etc/passwd",
            "file://localhost/etc/passwd",
            "ftp://127.0.0.1/",
            "gopher://127.0.0.1:6379/_INFO",
            "data:,x",
        ),
        *("dict://127.0.0.1:11211/stat", "//127.0.0.1/", "https:127.0.0.1", "https://", "https://example.com:22/"),
        *(
            "jar:https://a!/b",
            "https://exa mple.com/",
            "https://example.com\r\nHost: a/",
            "\ud800",
            "https://" + "a" * 5000,
        ),
    ):
        yield url[:40].encode("ascii", "backslashreplace").decode(), lambda url=url: attack(url)


# --- events: `invoke` calls the function past its URL and gives its answer ---


def events(invoke: Callable[[Any], Any]) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """What is no request of a function URL, or an odd one: each gets an answer, and none of ours in it."""
    for name, event in _events().items():
        yield name, lambda event=event: _answered(invoke(event))


def _answered(answer: Any) -> Outcome:
    text = json.dumps(answer)
    leaks = [word for word in ("Traceback", "errorType", "/var/task", "SECRET") if word in text]
    status = answer.get("statusCode") if isinstance(answer, dict) else None
    injected = (
        any(set("\r\n") & set(str(value)) for value in (answer or {}).get("headers", {}).values()) if status else False
    )
    return not isinstance(status, int) or status >= 500 or bool(
        leaks
    ) or injected, f"{status} {' '.join(leaks)}".strip()


def _events() -> dict[str, Any]:
    def event(body: Any = "", method: Any = "POST", path: Any = "/", **more: Any) -> dict[str, Any]:
        return {
            "requestContext": {"requestId": "r", "http": {"method": method, "path": path}},
            "headers": {"content-type": "application/json"},
            "body": body,
            "isBase64Encoded": False,
            **more,
        }

    def document(value: Any) -> dict[str, Any]:
        return event(json.dumps(value))

    found: dict[str, Any] = {"null": None, "a list": [], "a text": "x", "a number": 1, "nothing": {}}
    for words, value in (("null", None), ("a list", []), ("a number", 7), ("a text", "x")):
        found |= {
            f"requestContext is {words}": {"requestContext": value},
            f"http is {words}": {"requestContext": {"http": value}},
            f"path is {words}": event(path=value),
            f"method is {words}": event(method=value),
            f"headers are {words}": event(headers=value),
            f"content type is {words}": event(headers={"content-type": value}),
            f"query is {words}": event(queryStringParameters=value),
            f"top_k is {words}": event(queryStringParameters={"top_k": value}),
            f"body is {words}": event(value),
            f"url is {words}": document({"url": value}),
            f"s3 is {words}": document({"s3": value}),
            f"image is {words}": document({"image": value}),
        }
    found |= {
        "body is an object": event({"a": 1}),
        "content type with a line end": event(headers={"content-type": "image/jpeg\r\nX: y"}),
        "content type of 1 MB": event(headers={"content-type": "x" * 1_000_000}),
        "deep list": event("[" * 200_000),
        "deep object": event('{"a":' * 100_000),
        "number of 10,000 digits": event('{"image": ' + "9" * 10_000 + "}"),
        "NaN": event('{"image": NaN}'),
        "lone surrogate": event('{"url": "\\ud800"}'),
        "NUL in a key": document({"s3": "s3://b/inbox/\0"}),
        "two sources": document({"url": "https://example.com/", "image": "aGk="}),
        "duplicate keys": event('{"image": "aGk=", "image": "aG8="}'),
        "UTF-16": event(base64.b64encode('{"image":"aGk="}'.encode("utf-16")).decode(), isBase64Encoded=True),
        "bad base64": event("!", isBase64Encoded=True),
        "base64 that is not ASCII": event("é", isBase64Encoded=True),
        "request id with a line end": event(
            requestContext={"requestId": 'a"\n{}', "http": {"method": "GET", "path": "/x"}}
        ),
        "path that climbs": event(method="GET", path="/openapi.json/../handler.py"),
        "TRACE": event(method="TRACE"),
        "top_k in other digits": event(queryStringParameters={"top_k": "５"}),
        "metrics by a key": document({"s3": 's3://b/inbox/"}, "_aws": {}'}),
        "a key that climbs": document({"s3": "s3://b/inbox/../datasets/a.jpg"}),
        "5.9 MB of JSON": event('{"image":"' + "A" * 5_900_000 + '"}'),
    }
    return found


# --- packages: `promote` promotes the changed files of a package, and raises where it refuses ---


def packages(
    promote: Callable[[dict[str, bytes | None]], None], described: bytes
) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """Changes of a package that a job made; `described` is its model.json. None deletes a file."""

    def attack(changes: dict[str, bytes | None]) -> Outcome:
        try:
            promote(changes)
        except Exception as error:
            return type(error).__name__ != "KennelError", type(error).__name__
        return True, "promoted"

    model = json.loads(described)
    hashes = model["sha256"]
    without = dict(list(hashes.items())[1:])
    code = (f"inference/{name}.py" for name in ("images", "server", "integrity", "ray_app"))
    for name in (*code, "labels.json", "config.yaml"):
        yield f"{name} is changed", lambda name=name: attack({name: b"import os"})
        yield f"{name} is deleted", lambda name=name: attack({name: None})
    for name in (
        "uvloop.py",
        "httptools.py",
        "sitecustomize.py",
        "code/evil.pth",
        "__pycache__/images.pyc",
        "code/json.py",
    ):
        yield f"{name} is added", lambda name=name: attack({name: b"import os"})
    for words, document in (
        ("no hashes", {**model, "sha256": {}}),
        ("one hash less", {**model, "sha256": without}),
        ("hashes are a list", {**model, "sha256": []}),
        ("a hash of what is not there", {**model, "sha256": {**hashes, "../../a": "0" * 64}}),
    ):
        yield f"model.json: {words}", lambda document=document: attack({"model.json": json.dumps(document).encode()})
    yield "model.json is no JSON", lambda: attack({"model.json": b"{"})


# --- archives: `unpack` unpacks a dataset's archive below a folder, and raises where it refuses ---


def archives(unpack: Callable[[Path, Path], object], folder: Path) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """Archives that write elsewhere, grow, or link."""
    image = encode(gradient(), "JPEG")

    def attack(number: int, write: Callable[[zipfile.ZipFile], None]) -> Outcome:
        place = folder / str(number)
        place.mkdir()
        with zipfile.ZipFile(place / "x.zip", "w", zipfile.ZIP_DEFLATED) as files:
            write(files)
        try:
            unpack(place / "x.zip", place / "out")
            outcome = "unpacked"
        except Exception as error:
            outcome = type(error).__name__
        found = [file for file in place.rglob("*") if file.name != "x.zip" and (file.is_file() or file.is_symlink())]
        evil = [file for file in found if not file.is_relative_to(place / "out") or file.is_symlink()]
        return bool(evil) or outcome != "KennelError" or (folder.parent / "evil.jpg").exists(), outcome

    def named(*names: str, content: bytes = image) -> Callable[[zipfile.ZipFile], None]:
        def write(files: zipfile.ZipFile) -> None:
            for name in names:
                files.writestr(name, content)

        return write

    def special(mode: int) -> Callable[[zipfile.ZipFile], None]:
        def write(files: zipfile.ZipFile) -> None:
            info = zipfile.ZipInfo("dogImages/a/1.jpg")
            info.external_attr = (mode | 0o777) << 16
            files.writestr(info, "/etc/passwd")

        return write

    cases = {
        "..": named("../evil.jpg"),
        ".. inside": named("dogImages/../../evil.jpg"),
        "absolute": named("/tmp/evil.jpg"),
        "a drive": named("C:/evil.jpg"),
        "backslashes": named("dogImages\\..\\..\\evil.jpg"),
        "a link": special(stat.S_IFLNK),
        "growth": named(*(f"dogImages/a/{n}.jpg" for n in range(5)), content=bytes(3_000_000)),
        "nothing of the dataset": named("other/1.jpg"),
        "another folder": named("dogImages2/../dogImages3/1.jpg"),
    }
    for number, (name, write) in enumerate(cases.items()):
        yield name, lambda number=number, write=write: attack(number, write)


# --- HTTP: raw bytes at the model server; it must refuse or close, and go on answering ---


def http(
    address: tuple[str, int], alive: Callable[[], bool], longest_s: float = 40
) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """Requests that no client sends. Through is a connection that stays open, a success, or a server that is gone."""

    def attack(data: bytes, repeat: bytes) -> Outcome:
        received, closed = exchange(address, data, repeat, longest_s)
        status = received[9:12].decode(errors="replace") if received else "closed"
        return status == "200" or not closed or not alive(), status if closed else f"{status}, still open"

    host = b"POST / HTTP/1.1\r\nHost: a\r\n"
    requests = {
        "two lengths": host + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "a length and chunks": host + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "a length of +4": host + b"Content-Length: +4\r\n\r\nabcd",
        "a length of -1": host + b"Content-Length: -1\r\n\r\n",
        "a length of 2^70": host + b"Content-Length: 1180591620717411303424\r\n\r\n",
        "chunks called xchunked": host + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "a chunk of a negative size": host + b"Transfer-Encoding: chunked\r\n\r\n-1\r\na\r\n",
        "a chunk without an end": host + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\na",
        "a space before the colon": host + b"Content-Length : 5\r\n\r\nhello",
        "NUL in a header": host + b"X: a\0b\r\n\r\n",
        "a bare CR": host + b"X: a\rY: b\r\n\r\n",
        "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00" + bytes(300),
        "a proxy's request": b"CONNECT example.com:443 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "a path that climbs": b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "headers that never end": host,
        "a body that never comes": host + b"Content-Length: 100\r\n\r\nabc",
        "a body that is too large": host + b"Content-Length: 7000000\r\n\r\n" + bytes(7_000_000),
        "nothing at all": b"",
    }
    for name, data in requests.items():
        yield name, lambda data=data: attack(data, b"")
    yield "endless headers", lambda: attack(host, b"X: " + b"a" * 65_536 + b"\r\n")
    yield "one endless header", lambda: attack(host + b"X: ", b"a" * 65_536)
    start = host + b"Transfer-Encoding: chunked\r\n\r\n"
    yield "endless chunks", lambda: attack(start, b"10000\r\n" + b"a" * 65_536 + b"\r\n")
    yield "endless extensions of a chunk", lambda: attack(start + b"1;", b"a" * 65_536)


def exchange(address: tuple[str, int], data: bytes, repeat: bytes = b"", longest_s: float = 40) -> tuple[bytes, bool]:
    """Sends `data`, then `repeat` until the other side closes; what came back, and whether it closed in time."""
    deadline = time.monotonic() + longest_s
    received = b""
    with socket.create_connection(address, timeout=5) as connection:
        try:
            connection.sendall(data)
            while repeat and time.monotonic() < deadline:
                connection.sendall(repeat)
            while time.monotonic() < deadline:
                connection.settimeout(max(0.1, deadline - time.monotonic()))
                if not (more := connection.recv(65_536)):
                    return received, True
                received += more
        except ConnectionError:
            return received, True
        except TimeoutError:
            return received, False
    return received, False


# --- web pages and other users, at the embedded AWS itself ---


def web(
    address: tuple[str, int], key: str, made: Callable[[], set[str]]
) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """Requests that make a topic, as pages and strangers send them; one that knows the key and is no page may."""

    def attack(name: str, given: str, path: str = "/", **headers: str) -> Outcome:
        body = f"Action=CreateTopic&Version=2010-03-31&Name={name}".encode()
        fields = {"Host": f"localhost:{address[1]}", "Content-Type": "application/x-www-form-urlencoded", **headers}
        lines = "".join(f"{field.replace('_', '-')}: {value}\r\n" for field, value in fields.items())
        head = f"POST {path}?AWSAccessKeyId={urllib.parse.quote(given)} HTTP/1.1\r\n{lines}"
        head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        received, _ = exchange(address, head.encode() + body, longest_s=10)
        status = received[9:12].decode(errors="replace")
        return name in made() or status == "200", f"HTTP {status}"

    number = iter(range(1000))

    def case(words: str, given: str, path: str = "/", **headers: str) -> tuple[str, Callable[[], Outcome]]:
        return words, lambda: attack(f"attack-{next(number)}", given, path, **headers)

    yield case("a page of another origin", key, Origin="https://evil.example")
    yield case("a sandboxed page", key, Origin="null")
    yield case("a page on loopback", key, Origin="http://localhost:3000")
    for site in ("cross-site", "same-site", "same-origin"):
        yield case(f"Sec-Fetch-Site: {site}", key, Sec_Fetch_Site=site)
    for host in (
        "evil.example",
        f"evil.example:{address[1]}",
        "127.0.0.1.evil.example",
        "0.0.0.0",
        "[::1]",
        "localhost.evil",
    ):
        yield case(f"Host: {host}", key, Host=host)
    for given in ("test", "000000000000", "", "AKIAIOSFODNN7EXAMPLE", key[:-1], key.upper() + "x"):
        yield case(f"the key {given[:8]!r}…", given)
    for path in ("/_ministack/reset", "/_ministack/config", "/_localstack/health"):
        yield case(path, key, path)


# --- IAM: `allowed` says of roles and words of helpers/iam_requests.py which are allowed ---

# What no role of a stage may do, whatever it is for.
FORBIDDEN = (
    *("write one with another key", "write one with S3's key", "read one over plain HTTP", "read one over TLS 1.1"),
    *("delete a dataset's image", "list the whole dataset bucket", "list the whole model bucket", "delete a package"),
    *("write a promoted package", "delete a promoted package", "write beside the prefixes", "read the access logs"),
    *("write the access logs", "change a bucket's policy", "make a bucket public", "delete a bucket"),
    *("list every bucket", "list CDK's assets", "read another asset", "write an asset", "read the datasets of prod"),
    *("decrypt by itself", "decrypt with another key", "hand the key to anyone", "have the key deleted"),
    *("change the key's policy", "invoke the endpoint of prod", "change the stage's endpoint"),
    *("delete the stage's endpoint", "start a training job with a network", "start a training job of prod"),
    *("create a notebook's model with a network", "describe a model of prod", "delete the stage's model"),
    *("open the notebook", "change the notebook", "write the model pointer", "write the run's settings"),
    *("read the model pointer of prod", "run a command on an instance", "give Lambda the job's role"),
    *("give SageMaker the notebook's role", "give SageMaker an administrator's role", "become another role"),
    *("widen a role", "take a role's boundary off", "make a user", "make an access key", "invoke the function"),
    *("change the function's code", "read the function's settings", "read traces", "write a metric of prod"),
    *("read the function's log", "delete the function's log", "write another job's log", "write any metric"),
    *("look at every alarm", "delete the stage's alarms", "read the outputs of prod", "delete a stack"),
    *("push an image", "size another group", "start an instance", "open the security group"),
)


def iam(
    roles: list[str], allowed: Callable[[list[tuple[str, str]]], list[bool]]
) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """Each forbidden request by each role, by AWS's rules and the deployed policies; all are asked at once."""
    questions = [(role, words) for role in roles for words in FORBIDDEN]
    answers = dict(zip(questions, allowed(questions), strict=True))
    for role, words in questions:
        through = answers[role, words]
        yield f"{role}: {words}", lambda through=through: (through, "allowed" if through else "denied")
