"""uvicorn's HTTP/1.1 with limits on what a connection may send before it is closed, and on the time that it may take.

uvicorn itself closes idle connections only: headers without end, and bodies that never come, stay (uvicorn 0.54,
settings documentation, "Timeouts" and "Resource Limits").
"""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

MAX_HEADER_BYTES = 32_768
HEADER_S = 10.0
# Size of the encoded body, with the chunks' headers and line ends.
MAX_CODED_BODY_BYTES = 16_000_000
BODY_S = 30.0


class Limits(asyncio.Protocol):
    """One connection, with either of uvicorn's protocols as the next base class.

    What is above a limit gets 408, 413 or 431, if nothing was answered yet, and is closed.
    """

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    # uvicorn's state of the request at hand.
    cycle: Any
    connections: set[asyncio.Protocol]
    limit_concurrency: int | None
    _timer: asyncio.TimerHandle | None = None
    _header_bytes = _body_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Waits for the first request.

        uvicorn refuses every request while there are more connections than `limit_concurrency`; here only the
        connections above it are refused, and those before them are served.
        """
        super().connection_made(transport)
        if self.limit_concurrency is not None:
            # uvicorn compares the number of connections with it at each request.
            self.limit_concurrency = 0 if len(self.connections) > self.limit_concurrency else None
        self._end_after(HEADER_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no longer."""
        self._end_after(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts what belongs to the headers or to the body of one request."""
        before, in_body = self.cycle, self._in_body()
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.cycle is not before:
            # The headers of another request are complete; the body begins.
            self._header_bytes, self._body_bytes = 0, len(data)
            self._end_after(BODY_S if self._in_body() else None)
        elif in_body:
            self._body_bytes += len(data)
            if not self._in_body():
                self._end_after(None)
            elif self._body_bytes > MAX_CODED_BODY_BYTES:
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            elif self._timer is None:
                self._end_after(HEADER_S)

    def _in_body(self) -> bool:
        return bool(self.cycle and self.cycle.more_body)

    def _end_after(self, time_s: float | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self.loop.call_later(time_s, self._refuse, HTTPStatus.REQUEST_TIMEOUT) if time_s else None

    def _refuse(self, status: HTTPStatus) -> None:
        if not self.transport.is_closing():
            # An answer that has begun, or one to a request before, is no place for another.
            if not self.cycle or (self._in_body() and not self.cycle.response_started):
                line = f"HTTP/1.1 {status.value} {status.phrase}\r\n"
                self.transport.write(f"{line}Connection: close\r\nContent-Length: 0\r\n\r\n".encode())
            self.transport.close()


class LimitedProtocol(Limits, AutoHTTPProtocol):  # ty: ignore[unsupported-base]  # which, uvicorn decides
    """The parser that is installed, with limits."""
