"""Public datasets onto this machine: downloads that go on where they stopped, archives unpacked without trust."""

import json
import shutil
import stat
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kennel.data import training_code
from kennel.errors import KennelError
from kennel.lazy import lazily

if TYPE_CHECKING:
    import httpx
else:
    httpx = lazily("httpx")

ATTEMPTS = 6
BACKOFF_S = 1.0
TIMEOUT_S = 30.0
CHUNK = 1 << 20
# Photographs hardly shrink: an archive that grows more than this is not one of photographs.
MAX_GROWTH = 20
MAX_FILES = 1_000_000
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Source:
    """A public archive of pictures, and the folder in it that has the splits."""

    url: str
    folder: str
    what: str


SOURCES = {
    "dogs": Source(
        "https://s3-us-west-1.amazonaws.com/udacity-aind/dog-project/dogImages.zip",
        "dogImages",
        "the course's 8,351 dog photographs, 133 breeds, train/valid/test, 1.1 GB",
    ),
}

Progress = Callable[[int, int], None]


def download(url: str, file: Path, progress: Progress) -> None:
    """Makes `file` what `url` has, going on from `file`.part if there is one of the same version.

    `progress` gets (bytes, bytes in all). Raises KennelError after ATTEMPTS failures; what came so far is kept.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise KennelError(f"{url} is not https: give an https address.")
    file.parent.mkdir(parents=True, exist_ok=True)
    part, reason = file.with_name(f"{file.name}.part"), ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(min(BACKOFF_S * 2 ** (attempt - 1), 30))
        try:
            _go_on(url, part, progress)
            part.rename(file)
            _version_file(part).unlink(missing_ok=True)
            return
        except httpx.HTTPStatusError as error:
            reason = f"the server answers {error.response.status_code}"
            if error.response.status_code < 500 and error.response.status_code != 429:
                break
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
    raise KennelError(f"{url} cannot be downloaded: {reason}. Try again: it goes on where it stopped.")


def unpack(archive: Path, inside: str, folder: Path, progress: Progress) -> int:
    """Unpacks the pictures below `inside` in a zip archive into the new folder `folder`, and counts them.

    Refused, with everything that is wrong: names that lead out of the folder, links, encrypted or damaged members,
    and archives that would grow beyond reason. Other files than pictures are left out. `folder` is there in the end
    or not at all.
    """
    if folder.exists():
        raise KennelError(f"{folder} is there already: remove it, or choose another folder.")
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as files:
            members = _trusted(files, archive, inside, folder)
            for count, (member, path) in enumerate(members, start=1):
                target = fresh / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with files.open(member) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy, CHUNK)
                progress(count, len(members))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise KennelError(f"{archive} is damaged ({error}): remove it, and fetch it again.") from None
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    fresh.rename(folder)
    return len(members)


def _go_on(url: str, part: Path, progress: Progress) -> None:
    have = part.stat().st_size if part.exists() else 0
    version = json.loads(_version_file(part).read_text()) if have and _version_file(part).exists() else None
    headers = {"Accept-Encoding": "identity"}
    if have and version:
        # If the file has changed meanwhile, the server sends all of it.
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    with httpx.stream("GET", url, headers=headers, timeout=TIMEOUT_S, follow_redirects=True) as answer:
        if answer.status_code == 416:
            # What is there is longer than the file: it is of another version.
            part.unlink()
            raise httpx.RemoteProtocolError("the file has changed")
        answer.raise_for_status()
        going_on = answer.status_code == 206
        have = have if going_on else 0
        rest = int(answer.headers.get("Content-Length", 0))
        if rest > (free := shutil.disk_usage(part.parent).free):
            raise KennelError(f"{url} has {rest / 1e9:.1f} GB more, and the disk {free / 1e9:.1f} GB: make room.")
        if not going_on:
            tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            _version_file(part).write_text(json.dumps(tag))
        whole = have + rest
        with part.open("ab" if going_on else "wb") as file:
            # As it comes: of a connection that breaks, every byte is kept.
            for chunk in answer.iter_raw():
                file.write(chunk)
                have += len(chunk)
                progress(have, max(have, whole))


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _trusted(
    files: zipfile.ZipFile, archive: Path, inside: str, folder: Path
) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """The pictures to unpack, each with its path below the folder."""
    errors, members = [], []
    extensions = training_code("folder").ALL_EXTENSIONS
    for member in files.infolist():
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or not path.parts or ".." in path.parts or ":" in path.parts[0]:
            errors.append(f"{member.filename!r} leads out of the folder")
        elif stat.S_ISLNK(member.external_attr >> 16):
            errors.append(f"{member.filename!r} is a link")
        elif member.flag_bits & 1:
            errors.append(f"{member.filename!r} is encrypted")
        # macOS adds files with the images' names and a dot before.
        elif member.is_dir() or path.name.startswith(".") or path.suffix.lower() not in extensions:
            continue
        elif path.parts[0] == inside:
            members.append((member, path.relative_to(inside)))
    size, packed = sum(member.file_size for member, _ in members), archive.stat().st_size
    if size > MAX_GROWTH * packed or len(members) > MAX_FILES:
        errors.append(f"{len(members):,} files of {size / 1e9:.1f} GB would come out of {packed / 1e9:.3f} GB")
    if not members and not errors:
        errors.append(f"no pictures below {inside}/")
    if errors:
        shown = "; ".join(errors[:10]) + (f"; and {len(errors) - 10} more" if len(errors) > 10 else "")
        raise KennelError(f"{archive} is not unpacked: {shown}.")
    if size > (free := shutil.disk_usage(folder.parent).free):
        raise KennelError(f"{folder} needs {size / 1e9:.1f} GB, and the disk has {free / 1e9:.1f} GB: make room.")
    return members
