"""An image from an address that a caller names, without lending the caller our place in the network.

A name is resolved once, each of its addresses is checked, and the connection goes to the address that was checked, so
that a second answer of the name server cannot lead it elsewhere. Each redirect is checked as the first address is.
"""

import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from classifier.budget import Budget
from classifier.problem import Problem
from inference.formats import SIGNATURE, SIGNATURE_BYTES, titles

PORTS = {"https": 443, "http": 80}
MAX_REDIRECTS = 2
MAX_URL_CHARACTERS = 2048
REDIRECTS = (301, 302, 303, 307, 308)
CHUNK_BYTES = 65536
# What browsers and servers read differently (spaces, backslashes, control characters) is in no URL that we take.
URL = re.compile(r"[!-;=?-\[\]_a-z~]+")
# The last label of a name is not numeric; such a host is an IPv4 address, of which only the usual form is taken.
NUMERIC = re.compile(r"(?:[0-9]+|0[xX][0-9a-fA-F]*)$")
# Beside what Python's ipaddress calls not global: IPv6 addresses that stand for IPv4 addresses (IPv4-mapped, NAT64,
# Teredo, 6to4), relays of such, and ranges that are registered as global and are no public hosts (IANA's registries).
REFUSED_NETWORKS = [
    ipaddress.ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20", "5f00::/16")
]
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")

Resolve = Callable[[str, int], list[str]]


class UrlFetcher:
    """Fetches images over HTTPS, and over HTTP if `schemes` has it, from `hosts`, or from any host if it is empty."""

    def __init__(self, hosts: Iterable[str] = (), schemes: Iterable[str] = ("https",)) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._schemes = tuple(schemes)
        self._tls = ssl.create_default_context()

    def fetch(self, url: str, max_bytes: int, budget: Budget) -> bytes:
        """The image; raises Problem 400 for a URL that is not taken, 413, 415, and 424 for what came of it."""
        for _ in range(MAX_REDIRECTS + 1):
            target = self._checked(url)
            address = _public_address(target, budget)
            following = _get(self._connection(target, address), target, max_bytes, budget)
            if isinstance(following, bytes):
                return following
            try:
                url = urllib.parse.urljoin(url, following)
                self._checked(url)
            except (Problem, ValueError) as problem:
                raise Problem(424, f"The URL redirects to a rejected URL: {problem}") from None
        raise Problem(424, f"The URL redirects more than {MAX_REDIRECTS} times")

    def _checked(self, url: str) -> urllib.parse.SplitResult:
        if len(url) > MAX_URL_CHARACTERS:
            raise Problem(400, f"The URL must have at most {MAX_URL_CHARACTERS} characters")
        if not URL.fullmatch(url):
            raise Problem(400, "The URL must be ASCII: a host in Punycode, the rest percent-encoded")
        try:
            target = urllib.parse.urlsplit(url)
            port, host = target.port, target.hostname
        except ValueError:
            raise Problem(400, "The URL cannot be parsed") from None
        if target.scheme not in self._schemes:
            raise Problem(400, f"The URL must begin with {' or '.join(f'{scheme}://' for scheme in self._schemes)}")
        if "@" in target.netloc:
            raise Problem(400, "The URL must not have a user name or password")
        if not host or (port is not None and port != PORTS[target.scheme]):
            raise Problem(400, f"The URL must have a host, and no port but {PORTS[target.scheme]}")
        if NUMERIC.fullmatch(host.rstrip(".").rpartition(".")[2]) and not _is_address(host):
            raise Problem(400, "An IPv4 address in a URL must be four decimal numbers")
        if self._hosts and host not in self._hosts:
            raise Problem(400, f"{host} is not one of the hosts that this service fetches from")
        return target

    def _connection(self, target: urllib.parse.SplitResult, address: str) -> http.client.HTTPConnection:
        assert target.hostname
        kind: type[_Pinned] = _PinnedTls if target.scheme == "https" else _Pinned
        return kind(target.hostname, address, PORTS[target.scheme], self._tls)


class _Pinned(http.client.HTTPConnection):
    """A connection to a host at the address that was checked."""

    def __init__(self, host: str, address: str, port: int, tls: ssl.SSLContext) -> None:
        super().__init__(host, port)
        self._address, self._tls = address, tls

    def connect(self) -> None:
        """Connects to the address, whatever the name says now."""
        self.sock = socket.create_connection((self._address, self.port), self.timeout)


class _PinnedTls(_Pinned):
    default_port = 443

    def connect(self) -> None:
        """The same, with the certificate checked against the host's name."""
        super().connect()
        # The timer shuts self.sock down, so it must be set before the handshake.
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock.do_handshake()


def _get(
    connection: http.client.HTTPConnection, target: urllib.parse.SplitResult, max_bytes: int, budget: Budget
) -> bytes | str:
    """The image, or where the answer redirects to."""
    # Closes the connection when the budget is spent, also during the handshake and while a server sends byte by byte.
    cut = threading.Timer(budget.left_s(), _cut, [connection])
    cut.daemon = True
    cut.start()
    try:
        connection.timeout = _left(budget)
        connection.connect()
        path = urllib.parse.urlunsplit(("", "", target.path or "/", target.query, ""))
        connection.request("GET", path, headers={"User-Agent": "kennel", "Accept": "image/*"})
        response = connection.getresponse()
        if response.status in REDIRECTS and (location := response.getheader("Location")):
            return location
        if response.status != 200:
            raise Problem(424, f"{target.hostname} returned status {response.status}")
        return _body(response, max_bytes, budget)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if not budget.left_s() or isinstance(error, TimeoutError):
            raise Problem(424, f"{target.hostname} timed out") from error
        raise Problem(424, f"{target.hostname} could not be reached") from error
    finally:
        cut.cancel()
        connection.close()


def _body(response: http.client.HTTPResponse, max_bytes: int, budget: Budget) -> bytes:
    data = bytearray()
    while chunk := response.read1(CHUNK_BYTES):
        data += chunk
        if len(data) > max_bytes:
            raise Problem(413, f"The image at the URL has more than {max_bytes:,} bytes: use a smaller one")
        if len(data) >= SIGNATURE_BYTES and not SIGNATURE.match(data):
            break
    _left(budget)  # a body that the timer cut off would look complete
    if not SIGNATURE.match(data):
        raise Problem(415, f"The URL does not return a {titles()} image")
    if response.length:
        raise http.client.IncompleteRead(bytes(data))
    return bytes(data)


def _cut(connection: http.client.HTTPConnection) -> None:
    # It may have ended by itself in the meantime.
    with contextlib.suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def _left(budget: Budget) -> float:
    if not (left_s := budget.left_s()):
        raise TimeoutError
    return left_s


def _public_address(target: urllib.parse.SplitResult, budget: Budget) -> str:
    """The first address of the host; raises Problem unless all are public."""
    assert target.hostname
    executor = ThreadPoolExecutor(1)
    try:
        # The system's resolver knows no deadline.
        addresses = executor.submit(resolve, target.hostname, PORTS[target.scheme]).result(budget.left_s())
    except TimeoutError:
        raise Problem(424, f"Resolving {target.hostname} timed out") from None
    except (OSError, UnicodeError) as error:
        raise Problem(424, f"{target.hostname} cannot be resolved") from error
    finally:
        executor.shutdown(wait=False)
    if not addresses or not all(map(is_public, addresses)):
        raise Problem(424, f"{target.hostname} is not at a public address")
    return addresses[0]


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system's resolver orders them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(address[0]) for *_, address in found]


def is_public(text: str) -> bool:
    """True if an address belongs to a host of the public internet."""
    address = ipaddress.ip_address(text)
    if address.version == 6 and address not in GLOBAL_UNICAST:
        return False
    refused = any(address in network for network in REFUSED_NETWORKS if network.version == address.version)
    return address.is_global and not address.is_multicast and not refused


def _is_address(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
