"""A port that is chosen for a server is still there when the server wants it."""

import socket
from pathlib import Path

import pytest

from kennel.local import ports
from kennel.local.errors import LocalError


def test_free_port_is_below_ephemeral_range() -> None:
    first, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert all(ports.free_port() < first for _ in range(20))


def test_free_port_skips_taken_or_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as taken, socket.socket() as free:
        taken.bind((ports.LOOPBACK, ports.free_port()))
        free.bind((ports.LOOPBACK, ports.free_port()))
        numbers = [taken.getsockname()[1], free.getsockname()[1]]
        monkeypatch.setattr(ports, "SERVERS", numbers)
        with pytest.raises(LocalError, match="is free"):
            ports.free_port()
        free.close()
        assert ports.free_port() == numbers[1]
