"""The adapter of the embedded AWS's instances."""

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from kennel.local.ports import LOOPBACK, free_port

# uvicorn ends connections at rest after 5 s unless it is told otherwise.
REST_S = 6


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "kennel.local.sagemaker.adapter", "--port", str(port)])
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


def connected(port: int) -> http.client.HTTPConnection:
    deadline = time.monotonic() + 30
    while True:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
        try:
            connection.connect()
            return connection
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_idle_connection_stays_open(port: int) -> None:
    connection = connected(port)
    socket = connection.sock
    for rest_s in (REST_S, 0):
        connection.request("GET", "/ping")
        answer = connection.getresponse()
        answer.read()
        # There is no model server behind it.
        assert answer.status == 503
        time.sleep(rest_s)
    assert connection.sock is socket
