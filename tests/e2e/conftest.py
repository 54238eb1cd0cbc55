"""Stages on embedded AWSs: one that is shared by the modules that leave it as it was, and one each for the others."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from playwright.sync_api import Browser, sync_playwright

from helpers.kept import package as kept_package
from helpers.stage import Environment, deployed_stage
from kennel.datasets import sample

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync")
CLASSES = ("disc", "star", "stripes")


@pytest.fixture(scope="session")
def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Environment, dict[str, str]]]:
    """The shared stage, and the variables that point to it: those of a module that asks for it, and of no other."""
    outside = dict(os.environ)
    with deployed_stage(tmp_path_factory.mktemp("shared")) as stage:
        variables = dict(os.environ)
        with mock.patch.dict(os.environ, outside, clear=True):
            yield stage, variables


@pytest.fixture(scope="module")
def deployed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """The dev stage: the shared one, or the module's own where it is marked `own_stage` because it changes it."""
    if request.node.get_closest_marker("own_stage"):
        with deployed_stage(tmp_path_factory.mktemp("own")) as stage:
            yield stage
        return
    stage, variables = request.getfixturevalue("shared_stage")
    with mock.patch.dict(os.environ, variables, clear=True):
        before = stage.fingerprint()
        yield stage
        assert stage.fingerprint() == before, f"{request.node.name} changed the shared stage: mark it own_stage"


@pytest.fixture(scope="session")
def package() -> Path:
    """A trained model package; the images that it was trained on are next to it."""
    return kept_package() / "model"


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of the sample set, a few images of each, in one folder of classes."""
    whole, few = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("few")
    sample.write(whole)
    for label in CLASSES:
        (few / label).mkdir()
        for file in sorted((whole / "train" / label).iterdir())[:6]:
            file.rename(few / label / file.name)
    return few


@pytest.fixture(scope="module")
def dataset(deployed: Environment, images: Path, request: pytest.FixtureRequest) -> str:
    """Those images, pushed as a dataset of the module's own."""
    name = request.node.name.removeprefix("test_").removesuffix(".py").replace("_", "-")
    deployed.run("kennel", "data", "push", str(images), "--name", name)
    return str(name)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        assert not os.environ.get("CI"), "CI must have Chromium"
        pytest.skip("there is no Chromium on this machine: install it for the tests in a browser")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield started
        started.close()
