"""Ports on loopback, and the servers behind them."""

import random
import socket
import urllib.error
import urllib.request
from contextlib import suppress

from kennel.local.errors import LocalError

LOOPBACK = "127.0.0.1"
# Below those that the kernel gives to outgoing connections: one of these could have the port before the server does,
# which loads its libraries for seconds first.
SERVERS = range(20_000, 32_768)


# Loopback is not reached by way of the environment's proxy.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port() -> int:
    """A free port, reserved so that no connection gets it in the meantime."""
    for port in random.sample(SERVERS, len(SERVERS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port
    raise LocalError(f"No port from {SERVERS[0]} to {SERVERS[-1]} is free on the loopback interface.")


def answers(url: str, timeout_s: float = 2.0) -> bool:
    """True if `url` answers 200."""
    try:
        with _direct.open(url, timeout=timeout_s) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
