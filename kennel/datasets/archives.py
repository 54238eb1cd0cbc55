"""Archives of datasets, unpacked without trust: zip, and tar with the compressions that Python reads."""

import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from kennel.errors import KennelError
from kennel.stage.deployed import REPOSITORY

BUILD = REPOSITORY / "build"
CHUNK = 1 << 20
# Photographs hardly shrink: an archive that grows more than this is not one of photographs.
MAX_GROWTH = 20
MAX_FILES = 1_000_000
SHOWN = 10
# What reading raises: NotImplementedError is zipfile's for a compression that Python lacks.
DAMAGED = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, NotImplementedError),
)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Member:
    """A file of an archive; `problem` says why it is not unpacked, if so."""

    name: str
    size: int
    problem: str | None
    open: Callable[[], IO[bytes]]

    @property
    def path(self) -> PurePosixPath:
        """Its place in the archive."""
        return PurePosixPath(self.name.replace("\\", "/"))


@contextmanager
def unpacked(archive: Path, progress: Progress) -> Generator[Path]:
    """A folder with the files of an archive, below build/, until the block ends. Raises KennelError as `unpack`."""
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="unpacked-") as temporary:
        folder = Path(temporary) / name_of(archive)
        unpack(archive, folder, progress)
        yield folder


def is_archive(file: Path) -> bool:
    """True for a file that `unpack` takes, by its content."""
    return file.is_file() and (zipfile.is_zipfile(file) or tarfile.is_tarfile(file))


def name_of(file: Path) -> str:
    """The file's name without the extensions of archives: dogs for dogs.tar.gz."""
    name = file.name
    for extension in (".gz", ".bz2", ".xz", ".tar", ".tgz", ".tbz2", ".txz", ".zip"):
        if len(name) > len(extension) and name.lower().endswith(extension):
            name = name[: -len(extension)]
    return name


def unpack(
    archive: Path,
    folder: Path,
    progress: Progress,
    *,
    inside: str = "",
    keep: Callable[[PurePosixPath], bool] = lambda path: True,
) -> int:
    """Unpacks the files below `inside` that `keep` takes into the new folder `folder`, and counts them.

    Refused, with everything that is wrong: names that lead out of the folder, links, encrypted or damaged files, and
    archives that would grow beyond reason. `folder` is there in the end or not at all. `progress` gets (unpacked, all).
    """
    if folder.exists():
        raise KennelError(f"{folder} already exists: delete it, or choose another folder.")
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with _opened(archive) as found:
            members = _trusted(found, archive, inside, keep, folder)
            for count, (member, path) in enumerate(members, start=1):
                target = fresh / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with member.open() as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy, CHUNK)
                progress(count, len(members))
        fresh.rename(folder)
    except DAMAGED as error:
        raise KennelError(f"{archive} is damaged, or cannot be unpacked here ({error}).") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return len(members)


@contextmanager
def _opened(archive: Path) -> Generator[Iterator[Member]]:
    """The files of an archive, without its folders."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as files:
            yield (_of_zip(files, info) for info in files.infolist() if not info.is_dir())
        return
    with tarfile.open(archive) as files:
        yield _of_tar_in_full(files)


def _of_zip(files: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    mode = info.external_attr >> 16
    problem = "is encrypted" if info.flag_bits & 1 else None
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        problem = "is a link" if stat.S_ISLNK(mode) else "is no regular file"
    return Member(info.filename, info.file_size, problem, lambda: files.open(info))


def _of_tar_in_full(files: tarfile.TarFile) -> Iterator[Member]:
    yield from (_of_tar(files, info) for info in files if not info.isdir())
    # tarfile takes the end of a file for the end of the archive, which is a block of zeros (POSIX, pax).
    assert files.fileobj is not None, "it is open"
    files.fileobj.seek(files.offset)
    if not files.fileobj.read(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it is cut short")


def _of_tar(files: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    problem = None if info.isreg() else "is a link" if info.issym() or info.islnk() else "is no regular file"

    def opened() -> IO[bytes]:
        content = files.extractfile(info)
        assert content is not None, f"{info.name} is a regular file"
        return content

    return Member(info.name, info.size, problem, opened)


def _trusted(
    found: Iterator[Member],
    archive: Path,
    inside: str,
    keep: Callable[[PurePosixPath], bool],
    folder: Path,
) -> list[tuple[Member, PurePosixPath]]:
    """The files to unpack, each with its path below the folder."""
    errors: list[str] = []
    members: dict[PurePosixPath, Member] = {}
    size, packed = 0, archive.stat().st_size
    for member in found:
        path = member.path
        if path.is_absolute() or not path.parts or ".." in path.parts or ":" in path.parts[0] or "\0" in member.name:
            errors.append(f"{member.name!r} leads out of the folder")
        elif member.problem:
            errors.append(f"{member.name!r} {member.problem}")
        elif (not inside or path.parts[0] == inside) and keep(path):
            path = path.relative_to(inside) if inside else path
            if path in members:
                errors.append(f"{member.name!r} is in it twice")
            members[path] = member
            size += member.size
            # While it is read: the list of a compressed tar is as long as the whole archive.
            if size > MAX_GROWTH * packed or len(members) > MAX_FILES:
                growth = f"{len(members):,} files and more of {size / 1e9:.1f} GB"
                errors.append(f"{growth} would come out of {packed / 1e9:.3f} GB")
                break
    if not members and not errors:
        errors.append(f"no images below {inside}/" if inside else "it is empty")
    if errors:
        shown = "; ".join(errors[:SHOWN]) + (f"; and {len(errors) - SHOWN} more" if len(errors) > SHOWN else "")
        raise KennelError(f"{archive} is not unpacked: {shown}.")
    if size > (free := shutil.disk_usage(folder.parent).free):
        raise KennelError(f"{folder} needs {size / 1e9:.1f} GB, and the disk has {free / 1e9:.1f} GB: make room.")
    return [(member, path) for path, member in members.items()]
