"""The wheels that the training code brings along: what AWS's containers lack, pinned by hash in vendor.txt.

They are made for the containers' Python; an interpreter that they do not fit has its own installed.
"""

import hashlib
import re
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from training.containers import PYTHON

CODE = Path(__file__).resolve().parents[2]
WHEELS = CODE / "build" / "wheels"
PINNED = CODE / "training" / "vendor.txt"
TAG = f"cp{PYTHON[0]}{PYTHON[1]}"
# Omitted from OpenVINO's wheel: other devices, other formats, headers. Half of its size.
LEFT_OUT = re.compile(
    r"\.pyi$|openvino/(include|cmake|tools)/|openvino/libs/cache\.json"
    r"|libopenvino_(intel_[gn]pu|auto|hetero|tensorflow|pytorch|paddle|jax|gguf|c\.)|frontend/(tensorflow|pytorch|paddle|jax)/py_"
)


class WheelError(Exception):
    """A wheel is missing, or is not the one that vendor.txt pins."""


@dataclass(frozen=True)
class Unpacked:
    """An unpacked wheel: for model.json."""

    name: str
    version: str
    sha256: str
    bytes: int


def make_importable() -> None:
    """Unpacks what fits this interpreter, once a machine, and lets it import from there what it has not got itself."""
    fitting = [wheel for wheel in sorted(WHEELS.glob("*.whl")) if wheel.stem.endswith("-none-any") or _fits()]
    if not fitting:
        return
    named = hashlib.sha256(" ".join(wheel.name for wheel in fitting).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"kennel-wheels-{named}"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            for wheel in fitting:
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(Path(made) / "all")
            try:
                (Path(made) / "all").rename(folder)
            except OSError:
                if not folder.is_dir():  # otherwise another process was first
                    raise
    sys.path.append(str(folder))


def unpack(name: str, folder: Path) -> Unpacked:
    """Unpacks the wheel of `name` that fits the containers into `folder`. Raises WheelError."""
    pin = re.search(rf"^{re.escape(name)}==(\S+) --hash=sha256:(\w+)", PINNED.read_text(), re.MULTILINE)
    if not pin:
        raise WheelError(f"{PINNED.name} does not pin {name}")
    files = list(WHEELS.glob(f"{name.replace('-', '_')}-{pin[1]}-*.whl"))
    if len(files) != 1:
        raise WheelError(f"{WHEELS} does not hold the wheel of {name} {pin[1]}: run `make wheels`")
    digest = hashlib.sha256(files[0].read_bytes()).hexdigest()
    if digest != pin[2]:
        raise WheelError(f"{files[0]} is not what {PINNED.name} pins (sha256 {digest}): run `make wheels`")
    size = 0
    with zipfile.ZipFile(files[0]) as archive:
        for member in archive.infolist():
            if not LEFT_OUT.search(member.filename):
                archive.extract(member, folder)
                size += member.file_size
    return Unpacked(name, pin[1], digest, size)


def _fits() -> bool:
    return sys.version_info[:2] == PYTHON and sys.platform == "linux"
