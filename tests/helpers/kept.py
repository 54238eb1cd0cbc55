"""What tests make once and keep on disk: cloud assemblies and a trained package, by the hash of their inputs.

They are in build/test-cache, which any number of test processes share: the first one makes, the others wait for it.
"""

import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from helpers import REPOSITORY
from kennel.datasets import sample

CACHE = REPOSITORY / "build" / "test-cache"
# What decides how a model package comes out, and what decides the templates and their assets.
HERE = "tests/helpers/kept.py"
TRAINING = (HERE, "training", "inference", "kennel/datasets/sample.py", "requirements-ml.lock")
STACKS = (
    HERE,
    "app.py",
    "cdk.json",
    "infra",
    "kennel/stage/deployed.py",
    "training",
    "inference",
    "lambda",
    "requirements.lock",
)
# What the CDK CLI adds to the context of every app.
CLI_CONTEXT = {
    f"aws:cdk:{name}": True for name in ("enable-path-metadata", "enable-asset-metadata", "version-reporting")
}
# Predicts what is in a package's own test images, as the demo does.
PREDICT = """
import json, sys
sys.dont_write_bytecode = True
from pathlib import Path
package, images = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(package))
from inference.predictor import Predictor
model = Predictor(package)
rows = [
    {
        "image": file.relative_to(images).as_posix(),
        "label": file.parent.name,
        "predicted": model.predict(file.read_bytes(), top_k=1)[0]["label"],
    }
    for file in sorted((images / "test").rglob("*.jpg"))
]
print(json.dumps(rows))
"""


def kept(name: str, inputs: Iterable[str], make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, kept until one of `inputs`, files and folders of the project, changes."""
    digest = hashlib.sha256("".join(_digest(source) for source in inputs).encode()).hexdigest()[:16]
    folder = CACHE / f"{name}-{digest}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            for old in CACHE.glob(f"{name}-{'[0-9a-f]' * 16}"):
                shutil.rmtree(old)
            with tempfile.TemporaryDirectory(dir=CACHE, prefix=".") as fresh:
                make(Path(fresh) / "made")
                (Path(fresh) / "made").rename(folder)
    return folder


@functools.cache
def _digest(source: str) -> str:
    digest = hashlib.sha256(source.encode())
    path = REPOSITORY / source
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(str(file.relative_to(REPOSITORY)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def package() -> Path:
    """A folder with a package of the real backbone in model/, trained on the sample set, which is in images/.

    predictions.json has a row for each test image: its path below images/, its label, and what the package predicts.
    """

    def make(folder: Path) -> None:
        sample.write(folder / "images")
        _python("-m", "training.train", "--data", folder / "images", "--model-dir", folder / "model")
        rows = _python("-c", PREDICT, folder / "model", folder / "images")
        (folder / "predictions.json").write_text(rows)
        shutil.rmtree(folder / "checkpoints")

    return kept("package", TRAINING, make)


def assembly(stage: str = "dev", **changes: dict[str, Any]) -> Path:
    """The cloud assembly of a stage of cdk.json, with settings of its parts changed: `endpoint={"fixed": True}`; None
    removes a setting.

    The same command as the CDK CLI runs makes it; `cdk deploy --app FOLDER` deploys it. Assets are shared by all.
    """
    context = json.loads((REPOSITORY / "cdk.json").read_text())["context"]
    settings = context["stages"][stage]
    change(settings, changes)

    def make(folder: Path) -> None:
        environment = {
            **os.environ,
            "CDK_OUTDIR": str(folder),
            "CDK_CONTEXT_JSON": json.dumps({**context, **CLI_CONTEXT, "stage": stage}),
            "CDK_VALIDATION": "false",
            # As the CDK CLI names it.
            "CDK_DEFAULT_REGION": settings["region"],
        }
        _python("app.py", environment=environment)
        _share_assets(folder)

    changed = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()[:8]
    return kept(f"assembly-{stage}-{changed}", STACKS, make)


def change(settings: dict[str, Any], changes: dict[str, dict[str, Any]]) -> None:
    """Changes settings of a stage's parts in place; None removes one."""
    for part, values in changes.items():
        merged = {**settings.get(part, {}), **values}
        settings[part] = {name: value for name, value in merged.items() if value is not None}


def _share_assets(assembly: Path) -> None:
    """Puts a link in place of each asset's folder: they hold 111 MB of wheels and are the same in every assembly."""
    shared = CACHE / "assets"
    shared.mkdir(exist_ok=True)
    for asset in assembly.glob("asset.*/"):
        if not (shared / asset.name).exists():
            asset.rename(shared / asset.name)
        else:
            shutil.rmtree(asset)
        asset.symlink_to(shared / asset.name)
    # Where the CDK CLI keeps the archives that it uploads.
    (shared / ".cache").mkdir(exist_ok=True)
    (assembly / ".cache").symlink_to(shared / ".cache")


def _python(*arguments: str | Path, environment: dict[str, str] | None = None) -> str:
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=REPOSITORY,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
