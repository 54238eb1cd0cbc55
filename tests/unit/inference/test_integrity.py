"""A package runs as it was written: nothing that was changed or added to it runs before it is refused."""

import hashlib
import json
import os
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from inference import integrity

INFERENCE = Path(integrity.__file__).parent


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    shutil.copytree(INFERENCE, folder / "inference", ignore=shutil.ignore_patterns("__pycache__"))
    describe(folder)
    return folder


def describe(package: Path) -> None:
    files = [file for file in (package / "inference").iterdir() if file.is_file()]
    hashes = {f"inference/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    (package / "model.json").write_text(json.dumps({"sha256": hashes}))


def digest(package: Path) -> str:
    return hashlib.sha256((package / "model.json").read_bytes()).hexdigest()


def started(package: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """server.py as the container starts it, up to its help, which it prints when all is imported."""
    variables = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{package / 'code'}", **environment}
    command = [sys.executable, "-I", str(package / "inference/server.py"), "--help"]
    return subprocess.run(command, cwd=package, env=variables, capture_output=True, text=True, check=False)


def test_untouched_package_starts_twice(package: Path) -> None:
    for _ in range(2):
        result = started(package, **{integrity.EXPECTED: digest(package)})
        assert result.returncode == 0, result.stderr
    assert not list(package.rglob("__pycache__"))


def added(name: str) -> Callable[[Path, str], None]:
    def change(package: Path, code: str) -> None:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(code)

    return change


def changed(package: Path, code: str) -> None:
    file = package / "inference/images.py"
    file.write_text(code + file.read_text())


def changed_with_its_hash(package: Path, code: str) -> None:
    changed(package, code)
    describe(package)


def without_hashes(package: Path, code: str) -> None:
    changed(package, code)
    (package / "model.json").write_text(json.dumps({"sha256": {}}))


def bytecode(package: Path, code: str) -> None:
    (source := package.parent / "images.py").write_text(code)
    target = package / "inference/__pycache__" / f"images.{sys.implementation.cache_tag}.pyc"
    py_compile.compile(str(source), str(target), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def linked(package: Path, code: str) -> None:
    (outside := package.parent / "outside").mkdir()
    (outside / "__init__.py").write_text(code)
    (package / "uvloop").symlink_to(outside)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (added("httptools.py"), "httptools.py was added"),
        (added("uvloop/__init__.py"), "uvloop/__init__.py was added"),
        (added("hashlib.py"), "hashlib.py was added"),
        (added("pathlib.py"), "pathlib.py was added"),
        (added("argparse.py"), "argparse.py was added"),
        (added("inference/hashlib.py"), "inference/hashlib.py was added"),
        (added("inference.py"), "inference.py was added"),
        (added("code/cp399/numpy.py"), "code/cp399/numpy.py was added"),
        (linked, "uvloop was added"),
        (bytecode, ".pyc was added"),
        (changed, "inference/images.py was changed"),
        (changed_with_its_hash, "model.json is not the one that was promoted"),
        (without_hashes, "model.json is not the one that was promoted"),
        (lambda package, _: (package / "inference/images.py").unlink(), "inference/images.py is missing"),
        (lambda package, _: (package / "model.json").write_text("[]"), "model.json cannot be read"),
        (lambda package, _: (package / "model.json").write_text('{"sha256": 1}'), "model.json cannot be read"),
    ],
)
def test_other_code_does_not_run(package: Path, change: Callable[[Path, str], None], reason: str) -> None:
    expected, proof = digest(package), package.parent / "proof"
    change(package, f"open({str(proof)!r}, 'w').close()\n")
    result = started(package, **{integrity.EXPECTED: expected})
    assert not proof.exists()
    assert result.returncode == 1
    assert reason in result.stderr
    assert "Traceback" not in result.stderr


def test_the_code_would_run_without_the_comparison(package: Path) -> None:
    proof = package.parent / "proof"
    (package / "inference/integrity.py").write_text("def require(package): pass\n")
    changed(package, f"open({str(proof)!r}, 'w').close()\n")
    started(package)
    assert proof.exists()


def test_package_outside_an_endpoint_needs_no_expected_hash(package: Path) -> None:
    assert integrity.damage(package) == []
    (package / "inference/pool.py").write_text("")
    (package / "inference/metrics.py").unlink()
    assert sorted(integrity.damage(package)) == ["inference/metrics.py is missing", "inference/pool.py was changed"]
