"""Archives of datasets: what can be trusted is unpacked, all else is refused as a whole."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.images import encode, gradient
from kennel.commands.app import app
from kennel.datasets import archives
from kennel.errors import KennelError

JPEG = encode(gradient(), "JPEG")
Content = dict[str, bytes]


def zipped(file: Path, content: Content) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as files:
        for name, data in content.items():
            files.writestr(name, data)


def tarred(mode: str) -> Callable[[Path, Content], None]:
    def write(file: Path, content: Content) -> None:
        with tarfile.open(file, mode) as files:
            for name, data in content.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                files.addfile(info, io.BytesIO(data))

    return write


KINDS = {
    "dogs.zip": zipped,
    "dogs.tar": tarred("w"),
    "dogs.tar.gz": tarred("w:gz"),
    "dogs.tar.bz2": tarred("w:bz2"),
    "dogs.txz": tarred("w:xz"),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def unpack(file: Path, inside: str = "") -> int:
    return archives.unpack(file, file.parent / "out", lambda *_: None, inside=inside)


@kinds
def test_every_file_is_unpacked(tmp_path: Path, kind: str) -> None:
    KINDS[kind](tmp_path / kind, {"a/1.jpg": JPEG, "b/2.jpg": JPEG, "labels.csv": b"x", "a/.hidden": b""})
    assert archives.is_archive(tmp_path / kind)
    assert archives.name_of(tmp_path / kind) == "dogs"
    assert unpack(tmp_path / kind) == 4
    assert (tmp_path / "out" / "a" / "1.jpg").read_bytes() == JPEG


@kinds
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("../evil.jpg",), "leads out of the folder"),
        (("a/../../evil.jpg", "/evil.jpg", "C:/evil.jpg"), "'/evil.jpg' leads out"),
        (("a\\..\\..\\evil.jpg",), "leads out of the folder"),
        (("a/1.jpg", "a//1.jpg"), "'a//1.jpg' is in it twice"),
        ((), "it is empty"),
    ],
)
def test_invalid_paths_write_nothing(tmp_path: Path, kind: str, names: tuple[str, ...], message: str) -> None:
    KINDS[kind](tmp_path / kind, dict.fromkeys(names, JPEG))
    with pytest.raises(KennelError, match=message):
        unpack(tmp_path / kind)
    assert [item.name for item in tmp_path.iterdir()] == [kind]


def test_files_outside_of_the_folder_are_left(tmp_path: Path) -> None:
    zipped(tmp_path / "x.zip", {"other/1.jpg": JPEG})
    with pytest.raises(KennelError, match="no images below dogs/"):
        unpack(tmp_path / "x.zip", inside="dogs")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO])
def test_special_file_in_zip_is_rejected(tmp_path: Path, kind: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as files:
        link = zipfile.ZipInfo("a/1.jpg")
        link.external_attr = (kind | 0o777) << 16
        files.writestr(link, "/etc/passwd")
    with pytest.raises(KennelError, match=r"'a/1.jpg' is (a link|no regular file)"):
        unpack(tmp_path / "x.zip")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_special_file_in_tar_is_rejected(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as files:
        info = tarfile.TarInfo("a/1.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        files.addfile(info)
    with pytest.raises(KennelError, match=r"'a/1.jpg' is (a link|no regular file)"):
        unpack(tmp_path / "x.tar")


@pytest.mark.parametrize("kind", ["dogs.zip", "dogs.tar.gz", "dogs.tar.bz2", "dogs.txz"])
def test_bomb_is_rejected(tmp_path: Path, kind: str) -> None:
    KINDS[kind](tmp_path / kind, {f"a/{n}.jpg": bytes(2_000_000) for n in range(5)})
    with pytest.raises(KennelError, match="would come out of"):
        unpack(tmp_path / kind)
    assert [item.name for item in tmp_path.iterdir()] == [kind]


@kinds
def test_damaged_archive_leaves_nothing(tmp_path: Path, kind: str) -> None:
    file = tmp_path / kind
    KINDS[kind](file, {"a/1.jpg": JPEG, "a/2.jpg": JPEG})
    data = file.read_bytes()
    file.write_bytes(data[:60] + bytes(60) + data[120:] if kind == "dogs.zip" else data[: len(data) // 2])
    with pytest.raises(KennelError, match="is damaged"):
        unpack(file)
    assert [item.name for item in tmp_path.iterdir()] == [kind]


def test_unknown_compression_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    zipped(file, {"a/1.jpg": JPEG})
    data = bytearray(file.read_bytes())
    # Deflate64, as Windows writes large archives, in the local and in the central header (APPNOTE 4.4.5).
    for signature, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(signature) + place] = 9
    file.write_bytes(data)
    with pytest.raises(KennelError, match="cannot be unpacked here"):
        unpack(file)
    assert [item.name for item in tmp_path.iterdir()] == ["x.zip"]


def test_tar_that_ends_after_a_file_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "x.tar"
    tarred("w")(file, {"a/1.jpg": bytes(512), "a/2.jpg": bytes(512)})
    file.write_bytes(file.read_bytes()[: 2 * 512])
    with pytest.raises(KennelError, match="cut short"):
        unpack(file)


def test_check_takes_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "BUILD", tmp_path / "build")
    content = {
        f"dogs/{label}/{n}.png": encode(gradient(70 + n, 80 + len(label)), "PNG") for label in "ab" for n in (1, 2)
    }
    zipped(tmp_path / "dogs.zip", content)
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path / "dogs.zip")])
    assert result.exit_code == 0, result.output
    assert "2 classes" in result.output
    assert list((tmp_path / "build").iterdir()) == []
