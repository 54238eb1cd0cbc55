"""The main job: from nothing to a table of predictions, by the command of the README, on the real backbone."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from helpers import REPOSITORY
from helpers.stage import PHOTOGRAPHS, TOOLS
from kennel.local import control
from kennel.local.settings import isolated_environment


@dataclass(frozen=True)
class Demo:
    """The embedded AWS that it left up, what it wrote into build/demo.json, and what it printed."""

    server: control.Running
    facts: dict[str, Any]
    output: str
    images: Path


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """What `make demo KEEP=1` leaves: on real photographs where there are some, else on the sample set."""
    patch = pytest.MonkeyPatch()
    patch.setenv("KENNEL_LOCAL_DIR", str(tmp_path_factory.mktemp("demo")))
    photographs = PHOTOGRAPHS.is_dir()
    data = ["--data", str(PHOTOGRAPHS)] if photographs else []
    try:
        result = subprocess.run(
            [sys.executable, "-m", "kennel", "demo", "--keep", *data],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout
        server = control.status()
        assert server is not None
        facts = json.loads((REPOSITORY / "build" / "demo.json").read_text())
        yield Demo(server, facts, result.stdout, PHOTOGRAPHS if photographs else REPOSITORY / "build" / "sample")
    finally:
        control.down()
        patch.undo()


def run(demo: Demo, *command: str) -> str:
    environment = {**isolated_environment(*demo.server.access), "COLUMNS": "200"}
    environment["PATH"] = f"{TOOLS}:{environment['PATH']}"
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_demo_predictions_are_accurate(demo: Demo) -> None:
    assert demo.facts["top1"] >= 0.93
    assert demo.facts["metrics"]["valid"]["top1"] >= 0.93
    assert len(demo.facts["predictions"]) == (153 if PHOTOGRAPHS.is_dir() else 32)


def test_url_predictions_match_direct_ones(demo: Demo) -> None:
    assert demo.facts["agreement"] == 1.0
    assert all(row["status"] == 200 and row["predicted"] == row["direct"] for row in demo.facts["predictions"])


def test_demo_output_lists_every_step(demo: Demo) -> None:
    for stage in ("Embedded AWS started", "cdk bootstrap", "cdk deploy", "Training job", "promoted", "signed calls"):
        assert stage in demo.output
    assert "Top-1" in demo.output
    assert "Traceback" not in demo.output
    assert set(demo.facts["seconds"]) >= {"cdk bootstrap", "Training job", "total"}


def test_predict_command_shows_label(demo: Demo) -> None:
    row = demo.facts["predictions"][0]
    assert row["predicted"] in run(demo, "kennel", "predict", str(demo.images / row["image"]))


def test_local_aws_listens_on_loopback_only(demo: Demo) -> None:
    assert demo.server.endpoint in run(demo, "kennel", "local", "status")
    family = [psutil.Process(demo.server.pid), *psutil.Process(demo.server.pid).children(recursive=True)]
    listening = {c.laddr.ip for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
