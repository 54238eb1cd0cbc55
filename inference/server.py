"""The model server: Starlette on uvicorn, one worker per core, one model thread in each.

Behind AWS's container its adapter calls `/` and `/-/healthz`; alone it answers SageMaker's own `/invocations` and
`/ping`. Errors are RFC 9457 problem documents.
"""

import argparse
import asyncio
import contextlib
import io
import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from images import UnreadableImage, UnsupportedImage
from predictor import Predictor, damaged_files

PACKAGE = Path(os.environ.get("KENNEL_MODEL_DIR", Path(__file__).resolve().parent))
DEFAULT_PORT = 8081
MAX_BODY_BYTES = 6_000_000
# Requests of one worker that may wait for the model; beyond them an answer now beats an answer late.
MAX_WAITING = 32
DEFAULT_TOP_K = 5

log = logging.getLogger("kennel")


class Model:
    """The predictor of this worker, on the one thread it may be used from."""

    def __init__(self) -> None:
        self.predictor: Predictor | None = None
        self.waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    async def load(self) -> None:
        """Loads the package, and answers one picture, so that the first caller does not pay for it."""

        def load() -> Predictor:
            torch.set_num_threads(1)
            predictor = Predictor(PACKAGE)
            picture = io.BytesIO()
            Image.new("RGB", (320, 240), "grey").save(picture, "JPEG")
            predictor.predict(picture.getvalue())
            return predictor

        self.predictor = await asyncio.get_running_loop().run_in_executor(self._thread, load)

    async def predict(self, data: bytes, top_k: int) -> Response:
        """The answer to one request."""
        assert self.predictor is not None
        self.waiting += 1
        try:
            predictions = await asyncio.get_running_loop().run_in_executor(
                self._thread, self.predictor.predict, data, top_k
            )
        except UnsupportedImage as error:
            return problem(415, "Not an image", str(error))
        except UnreadableImage as error:
            return problem(422, "Unreadable image", str(error))
        finally:
            self.waiting -= 1
        return JSONResponse({"predictions": predictions, "model": self.predictor.name})


model = Model()


async def invoke(request: Request) -> Response:
    """A picture in, predictions out."""
    started = time.perf_counter()
    answer = await _answer(request)
    log.info(
        json.dumps(
            {
                "request": request.headers.get("x-amzn-sagemaker-inference-id", ""),
                "status": answer.status_code,
                "ms": round((time.perf_counter() - started) * 1000, 1),
                "waiting": model.waiting,
            }
        )
    )
    return answer


async def _answer(request: Request) -> Response:
    if model.predictor is None:
        return problem(503, "Not ready", "the model is loading")
    if model.waiting >= MAX_WAITING:
        return problem(503, "Overloaded", f"{MAX_WAITING} requests are waiting", headers={"Retry-After": "1"})
    top_k = _top_k(request)
    if top_k is None:
        return problem(400, "Bad request", "top_k must be a whole number from 1")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            return problem(413, "Too large", f"the picture has more than {MAX_BODY_BYTES:,} bytes")
    return await model.predict(bytes(data), top_k)


def _top_k(request: Request) -> int | None:
    """The number of predictions asked for, from the one header that SageMaker passes on for such things."""
    attributes = request.headers.get("x-amzn-sagemaker-custom-attributes", "")
    if not (match := re.search(r"\btop_k=([^,;\s]*)", attributes)):
        return DEFAULT_TOP_K
    return int(match[1]) if re.fullmatch(r"[1-9]\d{0,5}", match[1]) else None


async def health(request: Request) -> Response:
    """200 once the model has answered its first picture, 503 before."""
    if model.predictor is None:
        return problem(503, "Not ready", "the model is loading")
    return JSONResponse({"status": "ready", "model": model.predictor.name})


def problem(status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    """An RFC 9457 problem document."""
    return JSONResponse(
        {"type": "about:blank", "title": title, "status": status, "detail": detail},
        status_code=status,
        headers=headers,
        media_type="application/problem+json",
    )


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    await model.load()
    yield


app = Starlette(
    lifespan=_lifespan,
    routes=[
        Route("/", invoke, methods=["POST"]),
        Route("/invocations", invoke, methods=["POST"]),
        Route("/-/healthz", health, methods=["GET"]),
        Route("/ping", health, methods=["GET"]),
    ],
)


def main() -> None:
    """Serves the package that this file is part of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; one per core by default")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input is closed")
    arguments = parser.parse_args()
    if arguments.with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    # Checked here: uvicorn would start a worker that cannot load its model again and again.
    if damage := damaged_files(PACKAGE):
        sys.exit(f"The model package {PACKAGE} is damaged: {'; '.join(damage)}")
    uvicorn.run(
        "server:app",
        host=arguments.host,
        port=arguments.port,
        workers=arguments.workers,
        app_dir=str(Path(__file__).resolve().parent),
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=10,
    )


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
