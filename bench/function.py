"""The function's cold start, and its own part of a warm request.

    make bench-lambda          five minutes

Cold: the asset as it is deployed, a handler that does nothing, and other clients in its place, started in turn on the
embedded AWS's Lambda; what each adds to the handler that does nothing. Warm: the handler on an image of 100 KB, and
the same signed call of the endpoint without it, in one process, against a server that answers at once.
Results: bench/results/lambda.json and .md.
"""

import argparse
import http.server
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import boto3
from rich.console import Console

from helpers.function_calls import SETTINGS, context, request
from infra.constructs.api.classifier_function import FILES
from infra.constructs.shared.bundle import assemble
from kennel.local import control
from kennel.local.settings import isolate
from kennel.stage.embedded_aws import TABLES
from training.export.model_package import processor

REPOSITORY = Path(__file__).resolve().parents[1]

RESULTS = REPOSITORY / "bench" / "results"
POWERTOOLS = ("aws-lambda-powertools==3.37.0", "aws-xray-sdk==2.15.0", "wrapt==2.5.2", "typing-extensions==4.16.0")
IMAGE_BYTES = 100_000
ANSWER = json.dumps({"predictions": [{"label": "bee", "probability": 0.9}], "model": "m"}).encode()
ENVIRONMENT = SETTINGS | {"MAX_IMAGE_BYTES": "5000000", "PAGE": "off"}
# Imported and made with bytecode at hand, as a layer has it; prints milliseconds.
POWERTOOLS_CODE = """
import time
started = time.perf_counter()
from aws_lambda_powertools import Logger, Metrics, Tracer
Logger(service="x"), Metrics(namespace="x", service="x")
print(1000 * (time.perf_counter() - started))
Tracer(service="x")
print(1000 * (time.perf_counter() - started))
"""
HANDLE = "\ndef handle(event, context):\n    return {'statusCode': 200}\n"
HANDLERS = {
    "bare": "",
    "boto3": "import boto3\nclient = boto3.client('sagemaker-runtime')",
    "botocore": "import botocore.session\nclient = botocore.session.get_session().create_client('sagemaker-runtime')",
}
NAMES = {
    "bare": "a handler that does nothing",
    "ours": "the function as it is deployed",
    "botocore": "botocore's client of SageMaker's runtime alone",
    "boto3": "boto3's client of SageMaker's runtime alone",
}
console = Console(highlight=False)


def main() -> None:
    """Measures, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=20, help="of each function")
    parser.add_argument("--calls", type=int, default=300, help="warm ones")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KENNEL_LOCAL_DIR"] = folder
        running = control.up(tables=TABLES)
        try:
            isolate(*running.access)
            cold = starts(arguments.starts)
        finally:
            control.down()
    warm = requests(arguments.calls)
    document = {
        "added_cold_ms": round(_median_added(cold, "ours"), 1),
        "own_warm_ms": warm["own_ms"],
        "cold_ms": {name: _spread(values) for name, values in cold.items()},
        "added_ms": {name: round(_median_added(cold, name), 1) for name in cold},
        "powertools": powertools(arguments.starts),
        "warm": warm,
        "machine": {"processor": processor(), "cores": len(os.sched_getaffinity(0))},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "lambda.json").write_text(json.dumps(document, indent=2) + "\n")
    (RESULTS / "lambda.md").write_text(_markdown(document, arguments))
    console.print((RESULTS / "lambda.md").read_text())


def starts(count: int) -> dict[str, list[float]]:
    """Milliseconds of the first call of a function that was just made, less those of a warm one, by kind, in turn."""
    client = boto3.client("lambda")
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = boto3.client("iam").create_role(
        RoleName="bench", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]["Arn"]
    archives = {name: _archive(name) for name in NAMES}
    taken: dict[str, list[float]] = {name: [] for name in NAMES}
    for number in range(count):
        for name, archive in archives.items():
            client.create_function(
                FunctionName=f"{name}-{number}",
                Runtime="python3.14",
                Handler="classifier.handler.handle" if name == "ours" else "handler.handle",
                Role=role,
                Code={"ZipFile": archive},
                Environment={"Variables": ENVIRONMENT},
                Timeout=30,
            )
            first, *warm = [_invoked_ms(client, f"{name}-{number}") for _ in range(4)]
            taken[name].append(first - statistics.median(warm))
            client.delete_function(FunctionName=f"{name}-{number}")
        console.print(f"{number + 1} of {count} starts of each")
    return taken


def _invoked_ms(client: Any, name: str) -> float:
    # Answered without the endpoint.
    event = request(method="GET", path="/health")
    started = time.perf_counter()
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event))
    document = json.load(answer["Payload"])
    if document.get("statusCode") != 200:
        sys.exit(f"{name} answered {document}")
    return 1000 * (time.perf_counter() - started)


def _archive(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if name == "ours":
            assemble(root, FILES)
        else:
            (root / "handler.py").write_text(HANDLERS[name] + HANDLE)
        for file in sorted(root.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.write(file, file.relative_to(root))
    return buffer.getvalue()


def powertools(count: int) -> dict[str, float]:
    """Milliseconds that Powertools takes to import and make, in processes of their own; medians."""
    with tempfile.TemporaryDirectory() as folder:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
        subprocess.run([*install, *POWERTOOLS], check=True)
        runs = []
        for _ in range(count):
            answer = subprocess.run(
                [sys.executable, "-c", POWERTOOLS_CODE],
                env={**os.environ, "PYTHONPATH": folder}, capture_output=True, text=True, check=True,
            )  # fmt: skip
            runs.append([float(line) for line in answer.stdout.split()])
    without, tracing = (statistics.median(values) for values in zip(*runs, strict=True))
    return {"logger_and_metrics_ms": round(without, 1), "with_tracer_ms": round(tracing, 1)}


def requests(count: int) -> dict[str, float]:
    """Milliseconds of the handler and of the call alone, in turn; medians."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ |= ENVIRONMENT | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}
    from classifier import budget, handler  # reads its settings when it is imported

    image = os.urandom(IMAGE_BYTES)
    event = request(image, headers={"content-type": "image/jpeg"})
    whole, alone = [], []
    output, sys.stdout = sys.stdout, io.StringIO()
    try:
        for _ in range(count):
            started = time.perf_counter()
            assert handler.handle(event, context())["statusCode"] == 200
            between = time.perf_counter()
            handler._endpoint.invoke(image, "image/jpeg", 5, budget.Budget(20))
            whole.append(1000 * (between - started))
            alone.append(1000 * (time.perf_counter() - between))
    finally:
        sys.stdout = output
        server.shutdown()
    own = [one - other for one, other in zip(whole, alone, strict=True)]
    return {
        "handler_ms": round(statistics.median(whole), 2),
        "call_ms": round(statistics.median(alone), 2),
        "own_ms": round(statistics.median(own), 2),
    }


class _Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write for the whole answer, or the second waits for the first to be acknowledged.
    wbufsize = -1

    def do_POST(self) -> None:
        """Says the same to every image."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def _median_added(cold: dict[str, list[float]], name: str) -> float:
    return statistics.median(cold[name]) - statistics.median(cold["bare"])


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 1),
        "min": round(min(values), 1),
        "max": round(max(values), 1),
    }


def _markdown(document: dict[str, Any], arguments: argparse.Namespace) -> str:
    at, warm = document["machine"], document["warm"]
    lines = [
        "# The function, measured",
        "",
        f"`make bench-lambda` on {at['processor']}, {at['cores']} cores: {arguments.starts} starts of each in turn on "
        f"the embedded AWS, {arguments.calls} warm calls.",
        "",
        "| cold start of | median ms | spread | more than nothing |",
        "|---|---|---|---|",
    ]
    for name, text in NAMES.items():
        taken = document["cold_ms"][name]
        lines.append(
            f"| {text} | {taken['median']:.0f} | {taken['min']:.0f} to {taken['max']:.0f} "
            f"| {document['added_ms'][name]:.0f} |"
        )
    tools = document["powertools"]
    lines += [
        "",
        f"Powertools, imported and made: {tools['logger_and_metrics_ms']:.0f} ms for logger and metrics, "
        f"{tools['with_tracer_ms']:.0f} ms with the tracer.",
        "",
        f"Warm, an image of {IMAGE_BYTES // 1000} KB: {warm['handler_ms']:.2f} ms with the handler, "
        f"{warm['call_ms']:.2f} ms for the signed call of the endpoint alone; its own part: {warm['own_ms']:.2f} ms.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
