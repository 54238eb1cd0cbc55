"""Images from URLs: what is public is fetched, and nothing else is so much as connected to."""

import datetime
import http.server
import ipaddress
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from classifier import url_fetcher
from classifier.budget import Budget
from classifier.problem import Problem
from classifier.url_fetcher import UrlFetcher

# Stands for the public internet; all else on loopback is forbidden, as it is on AWS.
PUBLIC, FORBIDDEN = "127.0.0.3", ("127.0.0.1", "127.0.0.2")
HOST = "images.example"
IMAGE = b"\xff\xd8\xff" + bytes(5000)
MAX_BYTES = 10_000
BUDGET_S = 5.0

# Names that an attacker controls, and what they resolve to.
NAMES = {
    "loopback.example": ["127.0.0.2"],
    "private-10.example": ["10.0.0.1"],
    "private-172.example": ["172.16.0.1"],
    "private-192.example": ["192.168.1.1"],
    "metadata.example": ["169.254.169.254"],
    "metadata-v6.example": ["fd00:ec2::254"],
    "unspecified.example": ["0.0.0.0"],
    "carrier.example": ["100.64.0.1"],
    "multicast.example": ["224.0.0.1"],
    "broadcast.example": ["255.255.255.255"],
    "reserved.example": ["240.0.0.1"],
    "benchmark.example": ["198.18.0.1"],
    "documentation.example": ["192.0.2.1"],
    "protocol.example": ["192.0.0.8"],
    "relay.example": ["192.88.99.1"],
    "loopback-v6.example": ["::1"],
    "unspecified-v6.example": ["::"],
    "link-local-v6.example": ["fe80::1%1"],
    "site-local-v6.example": ["fec0::1"],
    "unique-local-v6.example": ["fc00::1"],
    "multicast-v6.example": ["ff02::1"],
    "mapped.example": ["::ffff:127.0.0.2"],
    "mapped-metadata.example": ["::ffff:169.254.169.254"],
    "compatible.example": ["::127.0.0.2"],
    "nat64.example": ["64:ff9b::7f00:2"],
    "nat64-local.example": ["64:ff9b:1::7f00:2"],
    "teredo.example": ["2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "six-to-four.example": ["2002:7f00:2::"],
    "orchid.example": ["2001:20::1"],
    "documentation-v6.example": ["2001:db8::1"],
    "documentation-v6-new.example": ["3fff::1"],
    "segment-routing.example": ["5f00::1"],
    "discard.example": ["100::1"],
    "one-of-two.example": [PUBLIC, "127.0.0.2"],
    "nowhere.example": [],
    "localhost": ["127.0.0.1"],
    "localhost.": ["127.0.0.1"],
    "ip6-localhost": ["::1"],
}
LITERALS = (
    "127.0.0.2",
    "127.0.0.2.",
    "127.2",
    "127.0.2",
    "2130706434",
    "0x7f000002",
    "0x7f.0.0.2",
    "0177.0.0.2",
    "017700000002",
    "0x7F.0.2",
    "00127.0.0.2",
    "0",
    "0.0.0.0",
    "10.0.0.1",
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "169.16689662",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.2]",
    "[::ffff:7f00:2]",
    "[0:0:0:0:0:ffff:a9fe:a9fe]",
    "[fe80::1%25lo]",
    "[fd00:ec2::254]",
    "[64:ff9b::7f00:2]",
    "[::127.0.0.2]",
    "LOCALHOST",
)
# {port} is the port that is allowed.
OTHER = (
    "http://127.0.0.2:{port}/",
    "ftp://images.example/a.jpg",
    "file:///etc/passwd",
    "file://127.0.0.2/etc/passwd",
    "gopher://127.0.0.2:{port}/_x",
    "data:image/jpeg;base64,AAAA",
    "dict://127.0.0.2:{port}/",
    "jar:https://images.example!/",
    "//127.0.0.2:{port}/",
    "127.0.0.2",
    "",
    "https://",
    "https:///a.jpg",
    "https://images.example:22/",
    "https://images.example:0/",
    "https://images.example:99999/",
    "https://images.example:port/",
    "https://user@images.example:{port}/",
    "https://user:secret@images.example:{port}/",
    "https://images.example:{port}@127.0.0.2:{port}/",
    "https://images.example:{port}\\@127.0.0.2:{port}/",
    "https://127.0.0.2:{port}\\.images.example/",
    "https://images.example:{port}#@127.0.0.2:{port}/\n",
    "https://127.0.0.2:{port} .images.example/",
    "https://127.0.0.2:{port}\t/",
    "https://127.0.0.2:{port}/\r\nHost: images.example",
    "https://１２７.0.0.2:{port}/",
    "https://127。0。0。2:{port}/",
    "https://ⓛoopback.example:{port}/",
    "https://[::1:{port}/",
    "https://[images.example]:{port}/",
    "https://%31%32%37.0.0.2:{port}/",
    "https://images.example:{port}/" + "a" * 3000,
)


@dataclass
class Site:
    """Servers on two loopback addresses, with and without TLS, and what they were asked."""

    ports: dict[str, int] = field(default_factory=dict)
    connections: dict[str, int] = field(default_factory=lambda: dict.fromkeys((PUBLIC, *FORBIDDEN), 0))

    hosts: list[str] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    resolved: list[str] = field(default_factory=list)
    # How long a TLS handshake takes, and how many bytes were sent one by one.
    handshake_s: float = 0.0
    dripped: int = 0

    def url(self, path: str = "/a.jpg", scheme: str = "https", host: str = HOST) -> str:
        return f"{scheme}://{host}:{self.ports[scheme]}{path}"

    def redirecting(self, *locations: str) -> str:
        """A URL that redirects to the first, with the rest handed on."""
        url = locations[-1]
        for _ in locations:
            url = self.url("/to?" + urllib.parse.quote(url, safe=""))
        return url


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for HOST that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    # Of the forbidden addresses, too: a certificate must not be what saves us.
    names = [x509.DNSName(HOST), *(x509.IPAddress(ipaddress.ip_address(address)) for address in FORBIDDEN)]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("certificate") / "site.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return file


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path: an image, a redirect, or one of the things that servers get wrong."""

    site: Site

    def do_GET(self) -> None:
        self.site.hosts.append(self.headers["Host"])
        path, _, query = self.path.partition("?")
        if path == "/to":
            self.send_response(302)
            self.send_header("Location", urllib.parse.unquote(query))
            self.end_headers()
            return
        if path == "/drip":
            self.send_response(200)
            while True:
                self.wfile.write(b"x")
                self.wfile.flush()
                self.site.dripped += 1
                time.sleep(0.05)
        body = {"/text": b"<html>" + bytes(100), "/large": IMAGE[:3] + bytes(MAX_BYTES), "/empty": b""}
        self.send_response(404 if path == "/missing" else 200)
        content = body.get(path, IMAGE)
        self.send_header("Content-Length", str(len(content) + (path == "/short")))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> Iterator[Site]:
    made = Site()
    handler = type("OfSite", (Handler,), {"site": made})
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    tls.sni_callback = lambda connection, name, context: made.names.append(name)  # type: ignore[assignment]

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
            connection, caller = super().get_request()
            made.connections[str(self.server_address[0])] += 1
            return connection, caller

        def finish_request(self, request: socket.socket, address: tuple[str, int]) -> None:  # type: ignore[override]
            if self.server_port == made.ports["https"]:
                time.sleep(made.handshake_s)
                request = tls.wrap_socket(request, server_side=True)
            super().finish_request(request, address)

        def handle_error(self, request: object, address: object) -> None:
            """A caller that hangs up is no fault."""

    servers = []
    for scheme in ("https", "http"):
        first = Server((PUBLIC, 0), handler)
        made.ports[scheme] = first.server_port
        servers += [first, *(Server((address, first.server_port), handler) for address in FORBIDDEN)]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def resolve(host: str, port: int) -> list[str]:
        made.resolved.append(host)
        if host == HOST:
            return [PUBLIC]
        if host in NAMES:
            return NAMES[host]
        # As the system's resolver reads what is no name: 127.2 and 0x7f000002 are addresses to it.
        return [str(found[4][0]) for found in socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)]

    is_public = url_fetcher.is_public
    monkeypatch.setattr(url_fetcher, "PORTS", made.ports)
    monkeypatch.setattr(url_fetcher, "resolve", resolve)
    monkeypatch.setattr(url_fetcher, "is_public", lambda address: address == PUBLIC or is_public(address))
    yield made
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def web(certificate: Path) -> UrlFetcher:
    made = UrlFetcher(schemes=("https",))
    made._tls.load_verify_locations(certificate)
    return made


def hostile(port: int) -> list[str]:
    return [
        *(f"https://{name}:{port}/a.jpg" for name in NAMES),
        *(f"https://{literal}:{port}/a.jpg" for literal in LITERALS),
        *(url.replace("{port}", str(port)) for url in OTHER),
    ]


def refusal(web: UrlFetcher, url: str) -> Problem:
    with pytest.raises(Problem) as caught:
        web.fetch(url, MAX_BYTES, Budget(BUDGET_S))
    return caught.value


def test_hostile_urls_are_rejected_before_connect(site: Site, web: UrlFetcher) -> None:
    urls = hostile(site.ports["https"])
    assert len(urls) >= 60
    for url in urls:
        assert refusal(web, url).status in (400, 424), url
    assert set(site.connections.values()) == {0}


def test_redirects_to_hostile_urls_are_rejected(site: Site, web: UrlFetcher) -> None:
    for url in hostile(site.ports["https"]):
        if any(character < " " for character in url) or not url.isascii() or not url:
            continue  # no server can say it in a header
        if url in ("127.0.0.2", "https:///a.jpg") or url.startswith("https://images.example:"):
            continue  # a path of the same host, or refused for itself: another test
        assert refusal(web, site.redirecting(url)).status == 424, url
    assert sum(site.connections[address] for address in FORBIDDEN) == 0
    assert site.connections[PUBLIC] > 60


def test_disabled_check_reaches_forbidden_hosts(site: Site, web: UrlFetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url_fetcher, "is_public", lambda address: address.startswith("127."))
    for url in hostile(site.ports["https"]):
        try:
            web.fetch(url, MAX_BYTES, Budget(1.0))
        except Problem:
            continue
    assert sum(site.connections[address] for address in FORBIDDEN) > 0


def test_dns_rebinding_uses_checked_address(site: Site, web: UrlFetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([[PUBLIC], [FORBIDDEN[0]]])
    monkeypatch.setattr(url_fetcher, "resolve", lambda host, port: next(answers))
    assert web.fetch(site.url(), MAX_BYTES, Budget(BUDGET_S)) == IMAGE
    assert site.connections == {PUBLIC: 1, **dict.fromkeys(FORBIDDEN, 0)}


def test_host_and_sni_match_the_url(site: Site, web: UrlFetcher) -> None:
    assert web.fetch(site.url(), MAX_BYTES, Budget(BUDGET_S)) == IMAGE
    assert site.hosts == [f"{HOST}:{site.ports['https']}"]
    assert site.names == [HOST]


def test_third_redirect_is_rejected(site: Site, web: UrlFetcher) -> None:
    once, twice, thrice = (site.redirecting(*[site.url()] * count) for count in (1, 2, 3))
    assert web.fetch(once, MAX_BYTES, Budget(BUDGET_S)) == IMAGE
    assert web.fetch(twice, MAX_BYTES, Budget(BUDGET_S)) == IMAGE
    assert refusal(web, thrice).status == 424
    assert site.resolved == [HOST] * 8


def test_relative_redirect_is_followed(site: Site, web: UrlFetcher) -> None:
    assert web.fetch(site.redirecting("/a.jpg"), MAX_BYTES, Budget(BUDGET_S)) == IMAGE


@pytest.mark.parametrize(
    ("path", "status"), [("/text", 415), ("/empty", 415), ("/large", 413), ("/short", 424), ("/missing", 424)]
)
def test_bad_response_returns_matching_status(site: Site, web: UrlFetcher, path: str, status: int) -> None:
    assert refusal(web, site.url(path)).status == status


def test_dripping_server_hits_deadline(site: Site, web: UrlFetcher) -> None:
    started = time.monotonic()
    with pytest.raises(Problem) as caught:
        web.fetch(site.url("/drip"), MAX_BYTES, Budget(0.5))
    assert caught.value.status == 424
    assert "timed out" in caught.value.detail
    assert time.monotonic() - started < BUDGET_S


def test_slow_handshake_counts_against_deadline(site: Site, web: UrlFetcher) -> None:
    """One budget for all: it began again once a connection was made (S16 of the attacker's review)."""
    site.handshake_s = 0.8
    with pytest.raises(Problem) as caught:
        web.fetch(site.url("/drip"), MAX_BYTES, Budget(1.0))
    assert caught.value.status == 424
    assert "timed out" in caught.value.detail
    assert site.dripped <= 8  # a second's are twenty


def test_hanging_resolver_hits_deadline(site: Site, web: UrlFetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = threading.Event()
    monkeypatch.setattr(url_fetcher, "resolve", lambda host, port: [str(ends.wait(BUDGET_S))])
    with pytest.raises(Problem) as caught:
        web.fetch(site.url(), MAX_BYTES, Budget(0.2))
    ends.set()
    assert caught.value.status == 424


def test_certificate_for_other_host_is_rejected(site: Site, web: UrlFetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url_fetcher, "resolve", lambda host, port: [PUBLIC])
    assert refusal(web, site.url(host="other.example")).status == 424
    assert site.hosts == []


def test_unknown_ca_is_rejected(site: Site) -> None:
    assert refusal(UrlFetcher(), site.url()).status == 424
    assert site.hosts == []


def test_unlisted_host_is_not_resolved(site: Site, certificate: Path) -> None:
    web = UrlFetcher(hosts=[HOST])
    web._tls.load_verify_locations(certificate)
    assert web.fetch(site.url(), MAX_BYTES, Budget(BUDGET_S)) == IMAGE
    assert refusal(web, site.url(host="other.example")).status == 400
    assert refusal(web, site.redirecting(site.url(host="other.example"))).status == 424
    assert set(site.resolved) == {HOST}


def test_http_is_rejected_unless_allowed(site: Site, web: UrlFetcher) -> None:
    assert refusal(web, site.url(scheme="http")).status == 400
    assert refusal(web, site.redirecting(site.url(scheme="http"))).status == 424
    both = UrlFetcher(schemes=("https", "http"))
    assert both.fetch(site.url(scheme="http"), MAX_BYTES, Budget(BUDGET_S)) == IMAGE


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001::1"])
def test_public_address_is_accepted(address: str) -> None:
    assert url_fetcher.is_public(address)
