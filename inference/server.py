"""The model server: Starlette on uvicorn, one process, one model thread more than there are cores.

Behind AWS's container its adapter calls `/` and `/-/healthz`; alone it answers SageMaker's own `/invocations` and
`/ping`. Errors are RFC 9457 problem documents. What is accepted is answered, also when the server is told to end.
"""

import sys

if __name__ == "__main__":
    # Nothing of the package is imported before its files were compared: until then Python's own modules are all there
    # are (those that start this file have python -I for that), and no bytecode is written that would count as added.
    sys.dont_write_bytecode = True
    if not sys.flags.isolated:
        sys.path = [folder for folder in sys.path if not folder.startswith(sys.path[0].rpartition("/")[0])]
    import hashlib  # noqa: F401  # integrity.py's own imports
    import json
    import os
    from pathlib import Path

    package = str(Path(__file__).resolve().parent.parent)
    sys.path[:0] = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    from inference import integrity

    integrity.require(Path(package))

# isort: split
import argparse
import asyncio
import contextlib
import ctypes
import json
import logging
import os
import random
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from inference import PORT, capacity
from inference.http_limits import LimitedProtocol
from inference.images import UnreadableImage, UnsupportedImage
from inference.metrics import MODEL_CAPACITY, THROUGHPUT, Metrics
from inference.pool import DeadlineExceeded, Pool, QueueFull, Result
from inference.predictor import Predictor, example
from inference.processors import usable

PACKAGE = Path(__file__).resolve().parent.parent
# One more than cores: while one waits for the interpreter, another computes. docs/serving.md has what it gains.
THREADS = int(os.environ.get("KENNEL_MODEL_THREADS", 0)) or usable() + 1
MAX_BODY_BYTES = 6_000_000
# Bytes read of a rejected body: a client that is still sending then gets the response instead of a reset connection.
MAX_REFUSED_BYTES = 2 * MAX_BODY_BYTES
# The adapter opens at most 100; each may hold a body.
MAX_CONNECTIONS = 160
DEFAULT_TOP_K = 5
# The adapter opens at most 100 connections, and keeps further callers waiting where nobody sees them: ours is smaller.
QUEUE = 64
# SageMaker gives up after 60 s, and then nobody reads the answer.
DEADLINE_S = 50.0
# A thread that is so long at one image has hung.
HUNG_S = 30.0
# So long without an answer, and the health check tries one itself; SageMaker waits 2 s for the health check.
SILENCE_S, HEALTH_TIMEOUT_S = 10.0, 1.5
# Callers see the failing health check, and requests that are under way on open connections arrive.
DRAIN_S = 2.0
# Then nobody is let in, and what was let in sends its request.
LAST_S = 0.5
# A struct sock_filter of <linux/filter.h>: a program of one instruction, which takes 0 bytes of every packet.
SO_ATTACH_FILTER, BPF_RETURN = 26, 0x06
METRICS_EVERY_S = 60.0
# The stage says for whom and on what the server runs.
STAGE, INSTANCE_TYPE = (os.environ.get(f"KENNEL_{name}", "unknown") for name in ("STAGE", "INSTANCE_TYPE"))

log = logging.getLogger("kennel")


class Serving:
    """The state of this process: nothing before the model is loaded, and draining at the end."""

    pool: Pool | None = None
    metrics: Metrics
    load: capacity.Load
    model: str
    draining = False


serving = Serving()


async def invoke(request: Request) -> Response:
    """An image in, predictions out."""
    started = time.perf_counter()
    identity = request.headers.get("x-amzn-sagemaker-inference-id") or f"{random.getrandbits(128):032x}"
    log_fields: dict[str, object] = {"request": identity}
    answer = await _answer(request, log_fields)
    total_ms = (time.perf_counter() - started) * 1000
    log.info(json.dumps({**log_fields, "status": answer.status_code, "total_ms": round(total_ms, 1)}))
    if serving.pool:
        serving.metrics.time("TotalTime", total_ms)
    return _counted(answer)


async def _answer(request: Request, log_fields: dict[str, object]) -> Response:
    """The response; adds to `log_fields` the fields for its log line."""
    try:
        data = await _body(request)
    except ClientDisconnect:
        # Nobody reads it; the log has it as nginx would.
        return Response(status_code=499)
    if data is None:
        too_large = f"the image has more than {MAX_BODY_BYTES:,} bytes"
        return problem(413, "Too large", too_large, headers={"Connection": "close"})
    log_fields["bytes"] = len(data)
    if serving.pool is None:
        return problem(503, "Not ready", "the model is loading")
    top_k = _top_k(request)
    if top_k is None:
        return problem(400, "Bad request", "top_k must be a whole number from 1")
    deadline_s = _deadline_s(request)
    try:
        answer = await serving.pool.predict(data, top_k, deadline_s)
    except QueueFull:
        return _refusal()
    except DeadlineExceeded:
        return problem(504, "Too late", f"there was no answer within {deadline_s:g} s")
    except UnsupportedImage as error:
        return problem(415, "Not an image", str(error))
    except UnreadableImage as error:
        return problem(422, "Unreadable image", str(error))
    return _success(answer, log_fields)


def _success(answer: Result, log_fields: dict[str, object]) -> Response:
    times = {"queue_ms": round(answer.queue_ms, 1), "model_ms": round(answer.model_ms, 1)}
    log_fields |= times
    serving.metrics.time("QueueTime", answer.queue_ms)
    serving.metrics.time("ModelTime", answer.model_ms)
    serving.load.add(answer.model_ms)
    # The one header of an answer that SageMaker hands to the caller.
    attributes = ",".join(f"{name}={value}" for name, value in times.items())
    return JSONResponse(
        {"predictions": answer.predictions, "model": serving.model},
        headers={"X-Amzn-SageMaker-Custom-Attributes": attributes},
    )


def _refusal() -> Response:
    return problem(503, "Overloaded", f"{QUEUE} requests are waiting", headers={"Retry-After": "1"})


def _counted(answer: Response) -> Response:
    """The same answer; ends its connection while the server drains."""
    if serving.pool:
        serving.metrics.count(f"Status{answer.status_code}")
    if serving.draining:
        answer.headers["Connection"] = "close"
    return answer


async def _body(request: Request) -> bytes | None:
    """The whole body; None if it is too large, of which MAX_REFUSED_BYTES are read."""
    data, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_REFUSED_BYTES:
            return None
        if size > MAX_BODY_BYTES:
            data.clear()
        else:
            data += chunk
    return bytes(data) if size <= MAX_BODY_BYTES else None


def _attribute(request: Request, name: str) -> str | None:
    """A value from the one header that SageMaker passes on for such things: `name=value,name=value`."""
    attributes = request.headers.get("x-amzn-sagemaker-custom-attributes", "")
    match = re.search(rf"\b{name}=([^,;\s]*)", attributes)
    return match[1] if match else None


def _top_k(request: Request) -> int | None:
    """The requested number of predictions; None if it is not a valid one."""
    text = _attribute(request, "top_k")
    if text is None:
        return DEFAULT_TOP_K
    return int(text) if re.fullmatch(r"[1-9]\d{0,5}", text) else None


def _deadline_s(request: Request) -> float:
    """Until when an answer is of use: the caller may say that it waits for less than SageMaker does."""
    text = _attribute(request, "budget_ms") or ""
    return min(DEADLINE_S, int(text) / 1000) if re.fullmatch(r"\d{1,6}", text) else DEADLINE_S


async def health(request: Request) -> Response:
    """200 if the model answers, 503 before it did, when it has stopped to, and while the server drains."""
    pool = serving.pool
    if pool is None:
        return problem(503, "Not ready", "the model is loading")
    if serving.draining:
        return problem(503, "Draining", "the server ends")
    if pool.longest_s() > HUNG_S:
        return problem(503, "Hung", f"a model thread has been at one image for {pool.longest_s():.0f} s")
    if time.monotonic() - pool.last_answer > SILENCE_S:
        try:
            await pool.predict(example(), 1, HEALTH_TIMEOUT_S)
        except DeadlineExceeded:
            return problem(503, "Silent", f"no answer for {SILENCE_S:.0f} s, and none to an image of our own")
        except Exception as error:
            return problem(503, "Failing", f"the model cannot answer: {error!r}")
    return JSONResponse({"status": "ready", "model": serving.model})


def problem(status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    """An RFC 9457 problem document."""
    return JSONResponse(
        {"type": "about:blank", "title": title, "status": status, "detail": detail},
        status_code=status,
        headers=headers,
        media_type="application/problem+json",
    )


class Admission:
    """Refuses what the queue has no room for before anything else is done with it, a line in the log included.

    Refusing must cost little, or those who ask again at once take the cores from those who wait.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        pool = serving.pool
        if scope["type"] != "http" or scope["method"] != "POST" or pool is None or not pool.full:
            await self.app(scope, receive, send)
            return
        read = 0
        while (message := await receive()).get("more_body") and read <= MAX_REFUSED_BYTES:
            read += len(message["body"])
        answer = _counted(_refusal())
        if message.get("more_body"):
            answer.headers["Connection"] = "close"
        await answer(scope, receive, send)


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncGenerator[None]:
    predictor = await asyncio.to_thread(Predictor, PACKAGE, THREADS)
    pool = Pool(predictor, THREADS, QUEUE)
    # Each thread answers one image first, so that no caller pays for what is made at the first.
    await asyncio.gather(*(pool.predict(example(), 1, DEADLINE_S) for _ in range(THREADS)))
    serving.metrics = Metrics(predictor.name, STAGE, INSTANCE_TYPE)
    ready: dict[str, object] = {"ready": predictor.name, "variant": predictor.variant, "threads": THREADS}
    try:
        requests_per_s = await capacity.measured(pool)
        serving.metrics.gauge(MODEL_CAPACITY, requests_per_s, "Count/Second")
        ready["requests_per_s"] = round(requests_per_s, 1)
    except Exception as error:  # a model that fails for a photograph still has to answer what it can
        ready["not_measured"] = repr(error)
    serving.model, serving.load, serving.pool = predictor.name, capacity.Load(THREADS), pool
    log.info(json.dumps(ready))
    _log_metrics()
    reporting = asyncio.create_task(_report())
    yield
    reporting.cancel()
    _log_metrics()
    pool.close()


async def _report() -> None:
    while True:
        await asyncio.sleep(METRICS_EVERY_S)
        utilization, requests_per_s = serving.load.period()
        if utilization:
            serving.metrics.gauge("Utilization", 100 * utilization, "Percent")
        if requests_per_s:
            serving.metrics.gauge(THROUGHPUT, requests_per_s, "Count/Second")
        _log_metrics()


def _log_metrics() -> None:
    if line := serving.metrics.line():
        log.info(line)


app = Starlette(
    lifespan=_lifespan,
    middleware=[Middleware(Admission)],
    routes=[
        Route("/", invoke, methods=["POST"]),
        Route("/invocations", invoke, methods=["POST"]),
        Route("/-/healthz", health, methods=["GET"]),
        Route("/ping", health, methods=["GET"]),
    ],
)


class DrainingServer(uvicorn.Server):
    """Answers what is under way before it ends."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Says on every way that it ends, waits until requests on their way have come, and then ends."""
        serving.draining = True
        await asyncio.sleep(DRAIN_S)
        for listening in self.servers:
            for its in listening.sockets:
                _let_in_no_more(its.fileno())
        await asyncio.sleep(LAST_S)
        await super().shutdown(sockets)


def _let_in_no_more(fileno: int) -> None:
    """Drops what comes to a listening socket, so that closing it breaks no connection that waits to be accepted."""
    if sys.platform != "linux":
        return  # elsewhere a socket has no filter, and the connections that wait are closed with it
    drop = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RETURN, 0, 0, 0))
    with socket.socket(fileno=os.dup(fileno)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(drop)))


def main() -> None:
    """Serves the package that this file is part of."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--with-parent", action="store_true", help="end when standard input is closed")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    config = uvicorn.Config(
        app,
        http=LimitedProtocol,
        ws="none",
        limit_concurrency=MAX_CONNECTIONS,
        host=arguments.host,
        port=arguments.port,
        access_log=False,
        proxy_headers=False,
        log_level="warning",
        timeout_graceful_shutdown=round(DEADLINE_S),
        # Longer than the adapter keeps a connection (httpx: 5 s), so that it is never ours that ends first.
        timeout_keep_alive=75,
    )
    DrainingServer(config).run()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
