"""The wheels that are brought along: what is pinned is what is unpacked."""

import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from training.export import wheels

WHEEL = "good-1.0-cp313-cp313-manylinux_2_28_x86_64.whl"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / WHEEL
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("good/__init__.py", "x = 1")
        archive.writestr("openvino/libs/libopenvino_intel_gpu_plugin.so", bytes(1000))
    pinned = tmp_path / "vendor.txt"
    pinned.write_text(f"# why\ngood==1.0 --hash=sha256:{sha256(file.read_bytes()).hexdigest()}\n")
    monkeypatch.setattr(wheels, "WHEELS", tmp_path)
    monkeypatch.setattr(wheels, "PINNED", pinned)
    return file


def test_pinned_wheel_is_unpacked_and_trimmed(wheel: Path, tmp_path: Path) -> None:
    unpacked = wheels.unpack("good", tmp_path / "out")
    assert (unpacked.name, unpacked.version, unpacked.bytes) == ("good", "1.0", 5)
    assert unpacked.sha256 == sha256(wheel.read_bytes()).hexdigest()
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["__init__.py"]


def test_changed_wheel_is_rejected(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("good/more.py", "")
    with pytest.raises(wheels.WheelError, match=r"not what vendor\.txt pins"):
        wheels.unpack("good", tmp_path / "out")


def test_missing_wheel_or_pin_suggests_fix(wheel: Path, tmp_path: Path) -> None:
    wheel.unlink()
    with pytest.raises(wheels.WheelError, match="make wheels"):
        wheels.unpack("good", tmp_path)
    with pytest.raises(wheels.WheelError, match="does not pin other"):
        wheels.unpack("other", tmp_path)


def test_only_matching_wheels_are_importable(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setattr(wheels, "PYTHON", (3, 0))
    wheels.make_importable()
    assert wheels.sys.path == []
    monkeypatch.setattr(wheels, "PYTHON", wheels.sys.version_info[:2])
    wheels.make_importable()
    wheels.make_importable()
    (folder, again) = wheels.sys.path
    assert folder == again
    assert (Path(folder) / "good" / "__init__.py").is_file()
