"""A stand-in for the adapter in AWS's Ray Serve container, made of the same parts (FastAPI, httpx, uvicorn).

SageMaker talks to port 8080 of a container: there the adapter turns `/invocations` and `/ping` into requests to the
backend's `/` and `/-/healthz`. It passes on the body, Content-Type, Accept, and headers that begin with
X-Amzn-SageMaker-, nothing else, and the same of the answer. RAYSERVE_BACKEND_URL and RAYSERVE_BACKEND_TIMEOUT (s) are
its settings. In the container it listens on every address; here on loopback.
"""

import argparse
import logging
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

BACKEND_URL = os.environ.get("RAYSERVE_BACKEND_URL", "http://127.0.0.1:8000")
BACKEND_TIMEOUT_S = int(os.environ.get("RAYSERVE_BACKEND_TIMEOUT", "300"))
HEALTH_TIMEOUT_S = 5.0
PASSED_ON = "x-amzn-sagemaker-"

log = logging.getLogger("adapter")


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    async with httpx.AsyncClient(timeout=BACKEND_TIMEOUT_S) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=_lifespan)


@app.post("/invocations")
async def invocations(request: Request) -> Response:
    """One request to the backend for each of SageMaker's."""
    body = await request.body()
    kind, accept = (request.headers.get(name, "application/json") for name in ("content-type", "accept"))
    # The real one writes as many lines for each request; they are part of what it costs.
    log.info("invocations: Content-Type=%s, Accept=%s", kind, accept)
    headers = {**_sagemaker(request.headers), "Content-Type": kind, "Accept": accept}
    try:
        answer = await request.app.state.client.post(f"{BACKEND_URL}/", content=body, headers=headers)
    except httpx.TimeoutException:
        return _error(504, "Request timeout")
    except httpx.ConnectError:
        return _error(503, "Service unavailable")
    except httpx.HTTPError as error:
        return _error(500, str(error))
    log.info("backend: %s", answer.status_code)
    return Response(
        answer.content,
        answer.status_code,
        headers=_sagemaker(answer.headers),
        media_type=answer.headers.get("content-type", accept),
    )


@app.get("/ping")
async def ping(request: Request) -> Response:
    """200 while the backend is healthy, 503 otherwise, without a body."""
    try:
        answer = await request.app.state.client.get(f"{BACKEND_URL}/-/healthz", timeout=HEALTH_TIMEOUT_S)
        healthy = answer.status_code == 200
    except httpx.HTTPError:
        healthy = False
    log.info("ping: %s", "healthy" if healthy else "not healthy")
    return Response(status_code=200 if healthy else 503)


def _sagemaker(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower().startswith(PASSED_ON)}


def _error(status: int, message: str) -> Response:
    log.error(message)
    return JSONResponse({"error": message}, status)


def main() -> None:
    """Runs the adapter until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080)
    logging.basicConfig(level=logging.INFO)
    # Longer than any caller keeps a connection at rest: one that ends just when a request is sent breaks that request.
    uvicorn.run(app, host="127.0.0.1", port=parser.parse_args().port, log_level="info", timeout_keep_alive=600)


if __name__ == "__main__":
    main()
