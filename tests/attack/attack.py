"""Attacks a running stage with every hostile input that is known: what gets through, how long it takes, peak memory.

make attack
    deploys a stage on an embedded AWS of its own and tries images, addresses, events, packages, archives, HTTP, IAM
    questions and web pages (tests/helpers/attacks.py). Ends with 1 if anything got through, or an image took more than
    its limits. The table is also in build/attack.json.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
from rich.console import Console
from rich.table import Table

from helpers import attacks
from helpers.attacks import Attempt
from helpers.iam_requests import REGION, requests
from helpers.simulator import Caller, simulate
from helpers.stage import Environment, deployed_stage
from inference.decoder import MAX_MEMORY_BYTES
from infra.bootstrap.execution_policy import Place, boundary_policy
from kennel.datasets import download
from kennel.local.ports import LOOPBACK
from kennel.models import packages, promotion
from kennel.stage.deployed import DeployedStage
from kennel.stage.template_roles import ACCOUNT, Stacks

REPOSITORY = Path(__file__).resolve().parents[2]

CONTENT_TYPE = "image/jpeg"
# A request, on a machine that does other things: a decoder's second of processor time, and the way there and back.
MAX_IMAGE_S = 10.0


class Memory:
    """The most memory that processes have together, above what they have when it starts."""

    def __init__(self, roots: list[psutil.Process]) -> None:
        self._roots, self.peak = roots, 0
        self._idle = self._now()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _now(self) -> int:
        total = 0
        for root in self._roots:
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.Error):  # it may end in the meantime
                    total += process.memory_info().rss
        return total

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.peak = max(self.peak, self._now() - self._idle)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def attempts(deployed: Environment, folder: Path) -> Iterator[Iterator[Attempt]]:
    """Every kind, one after the other."""
    url, server = deployed.url(), server_address(deployed)

    def document(value: dict[str, Any]) -> int:
        body = json.dumps(value).encode(errors="replace")
        return int(url.send("POST", "/", body, {"Content-Type": "application/json"}).status_code)

    def send(data: bytes) -> int:
        # What the URL does not take goes to the model server itself.
        if len(data) < 4_000_000:
            return int(url.send("POST", "/", data, {"Content-Type": CONTENT_TYPE}).status_code)
        head = f"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
        received, _ = attacks.exchange(server, head.encode() + data)
        return int(received[9:12] or 0)

    yield attacks.tried("image", attacks.images(send))
    with listener() as (port, reached):
        yield attacks.tried("address", attacks.addresses(document, port, reached))
    yield attacks.tried("event", attacks.events(lambda event: invoked(deployed, event)))
    yield attacks.tried("package", attacks.packages(promoter(deployed), deployed.package_file("model.json")))
    archive = folder / "archives"
    archive.mkdir()
    unpack = lambda file, target: download.unpack(file, "dogImages", target, lambda *_: None)  # noqa: E731
    yield attacks.tried("archive", attacks.archives(unpack, archive))
    yield attacks.tried("HTTP", attacks.http(server, lambda: alive(server)))
    yield attacks.tried("IAM", attacks.iam(*questions(deployed)))
    aws = (LOOPBACK, deployed.server.port)
    yield attacks.tried("web page", attacks.web(aws, deployed.server.key, lambda: topics(deployed)))


def server_address(deployed: Environment) -> tuple[str, int]:
    """Of a model server of the stage, past the adapter and everything else."""
    command = deployed.servers()[0].cmdline()
    return LOOPBACK, int(command[command.index("--port") + 1])


def alive(server: tuple[str, int]) -> bool:
    with urlopen(f"http://{server[0]}:{server[1]}/ping", timeout=30) as answer:
        return bool(answer.status == 200)


@contextmanager
def listener() -> Iterator[tuple[int, Any]]:
    """Something on loopback that counts who asks it."""
    count = 0

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal count
            count += 1
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield listening.server_port, lambda: count
        listening.shutdown()


def invoked(deployed: Environment, event: Any) -> Any:
    answer = deployed.client("lambda").invoke(
        FunctionName=deployed.output("Api", "FunctionName"), Qualifier="live", Payload=json.dumps(event).encode()
    )
    return {"errorType": answer["FunctionError"]} if "FunctionError" in answer else json.load(answer["Payload"])


def promoter(deployed: Environment) -> Any:
    """Promotes a copy of the stage's package with some files changed."""
    s3, bucket = deployed.client("s3"), deployed.output("Data", "ModelBucket")
    number = iter(range(1000))

    def promote(changes: dict[str, bytes | None]) -> None:
        run = f"attack-{next(number)}"
        deployed.copy_package(run)
        for name, content in changes.items():
            key = f"{packages.key(run)}{name}"
            if content is None:
                s3.delete_object(Bucket=bucket, Key=key)
            else:
                s3.put_object(Bucket=bucket, Key=key, Body=content)
        promotion.promote(DeployedStage("dev"), run)

    return promote


def questions(deployed: Environment) -> tuple[list[str], Any]:
    """The roles of the deployed templates, and what their policies, the boundary and the buckets' policies allow."""
    stacks = Stacks(deployed.templates, "dev", REGION)
    asked, boundary = requests(stacks), boundary_policy(Place("dev", REGION, ACCOUNT))
    roles = {name: role for name, role in stacks.roles().items() if not name.startswith("Custom")}
    callers = {name: Caller(role.arn, list(role.policies.values()), boundary) for name, role in roles.items()}
    return list(roles), lambda pairs: simulate([(callers[role], asked[words]) for role, words in pairs])


def topics(deployed: Environment) -> set[str]:
    found = deployed.client("sns").list_topics()["Topics"]
    return {topic["TopicArn"].rpartition(":")[2] for topic in found}


def main() -> int:
    """Attacks; 1 if anything got through."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", help="only this kind: image, address, event, package, archive, HTTP, IAM, web page")
    arguments = parser.parse_args()
    console, begun = Console(), time.monotonic()
    found: list[Attempt] = []
    with tempfile.TemporaryDirectory(prefix="kennel-attack-") as name, deployed_stage(Path(name) / "aws") as deployed:
        console.print(f"The stage is deployed ({time.monotonic() - begun:.0f} s).")
        with Memory(deployed.servers()) as memory:
            for kind in attempts(deployed, Path(name)):
                for attempt in kind:
                    if arguments.kind and attempt.kind != arguments.kind:
                        break
                    found.append(attempt)
                    slow = attempt.kind == "image" and attempt.seconds > MAX_IMAGE_S
                    if attempt.through or slow:
                        console.print(
                            f"[red]GOT THROUGH[/red] {attempt.kind}: {attempt.name}: {attempt.outcome}, "
                            f"{attempt.seconds:.1f} s",
                            markup=True,
                        )
                else:
                    last = found[-1].kind
                    console.print(f"{last}: {sum(item.kind == last for item in found)} tried")
    table = Table("kind", "tried", "got through", "longest, s", "which")
    for kind in dict.fromkeys(attempt.kind for attempt in found):
        own = [attempt for attempt in found if attempt.kind == kind]
        longest = max(own, key=lambda attempt: attempt.seconds)
        through = sum(attempt.through for attempt in own)
        table.add_row(kind, str(len(own)), str(through), f"{longest.seconds:.2f}", longest.name)
    console.print(table)
    through = sum(attempt.through for attempt in found)
    console.print(
        f"{len(found)} inputs, {through} got through; peak memory of the model server and its decoders "
        f"{memory.peak / 1e6:.0f} MB above idle."
    )
    report = {"inputs": [vars(attempt) for attempt in found], "peak_memory_bytes": memory.peak}
    (REPOSITORY / "build" / "attack.json").write_text(json.dumps(report, indent=1) + "\n")
    slow = any(attempt.kind == "image" and attempt.seconds > MAX_IMAGE_S for attempt in found)
    return int(bool(through) or slow or memory.peak > MAX_MEMORY_BYTES)


if __name__ == "__main__":
    os.environ.setdefault("JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION", "1")
    sys.exit(main())
