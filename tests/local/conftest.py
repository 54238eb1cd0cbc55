"""The dev stage, deployed once by the demo itself, for all the tests that need it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from environment import PHOTOGRAPHS, REPOSITORY, Environment
from kennel.local import control
from kennel.local.settings import isolated_environment

# Each finds the stage as the one before it left it; the last removes it.
ORDER = [
    "demo",
    "existence",
    "identity",
    "calls",
    "status",
    "release",
    "logs",
    "page",
    "jobs",
    "tuning",
    "ec2",
    "notebook",
    "changes",
    "rollouts",
    "operations",
    "scaling",
    "serverless",
    "night_stop",
    "deploys",
    "usage",
    "shown",
    "destroy",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = item.path.stem.removeprefix("test_")
        return ORDER.index(name) if name in ORDER else -1

    items.sort(key=place)


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """What `make demo KEEP=1` leaves: on real photographs where there are some, else on the sample set."""
    folder = tmp_path_factory.mktemp("embedded")
    saved = dict(os.environ)
    os.environ["KENNEL_LOCAL_DIR"] = str(folder)
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
        os.environ.update(isolated_environment(server.endpoint))
        templates = sorted((REPOSITORY / "cdk.out").glob("Kennel-dev-*.template.json"))
        yield Environment(
            server,
            json.loads((REPOSITORY / "build" / "demo.json").read_text()) | {"output": result.stdout},
            PHOTOGRAPHS if photographs else Path(REPOSITORY / "build" / "sample"),
            {file.name.split(".")[0].rpartition("-")[2]: json.loads(file.read_text()) for file in templates},
        )
    finally:
        control.down()
        os.environ.clear()
        os.environ.update(saved)
