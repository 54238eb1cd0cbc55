"""Public datasets onto this machine: downloads that go on where they stopped, and are unpacked."""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kennel.datasets import archives
from kennel.datasets.archives import Progress
from kennel.errors import KennelError
from kennel.lazy import lazily
from training.data.formats import ALL_EXTENSIONS

if TYPE_CHECKING:
    import httpx
else:
    httpx = lazily("httpx")

ATTEMPTS = 6
BACKOFF_S = 1.0
TIMEOUT_S = 30.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Source:
    """A public archive of images, and the folder in it that has the splits."""

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


def download(url: str, file: Path, progress: Progress) -> None:
    """Makes `file` what `url` has, going on from `file`.part if there is one of the same version.

    `progress` gets (bytes, bytes in all). Raises KennelError after ATTEMPTS failures; what came so far is kept.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise KennelError(f"{url} is not an https URL: give one.")
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
    raise KennelError(f"{url} cannot be downloaded: {reason}. Try again: the download resumes.")


def unpack(archive: Path, inside: str, folder: Path, progress: Progress) -> int:
    """Unpacks the images below `inside` in an archive into the new folder `folder`, and counts them.

    Raises KennelError for an archive that cannot be trusted or read (archives.unpack).
    """

    def is_image(path: PurePosixPath) -> bool:
        # macOS adds files with the images' names and a dot before.
        return path.suffix.lower() in ALL_EXTENSIONS and not path.name.startswith(".")

    return archives.unpack(archive, folder, progress, inside=inside, keep=is_image)


def _go_on(url: str, part: Path, progress: Progress) -> None:
    have = part.stat().st_size if part.exists() else 0
    version = json.loads(_version_file(part).read_text()) if have and _version_file(part).exists() else None
    headers = {"Accept-Encoding": "identity"}
    if have and version:
        # If the file has changed in the meantime, the server sends all of it.
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    with httpx.stream("GET", url, headers=headers, timeout=TIMEOUT_S, follow_redirects=True) as answer:
        if answer.status_code == 416:
            # The partial download is longer than the file: it belongs to another version.
            part.unlink()
            raise httpx.RemoteProtocolError("the file has changed")
        answer.raise_for_status()
        going_on = answer.status_code == 206
        have = have if going_on else 0
        rest = int(answer.headers.get("Content-Length", 0))
        if rest > (free := shutil.disk_usage(part.parent).free):
            raise KennelError(f"{url} has {rest / 1e9:.1f} GB left, and the disk has {free / 1e9:.1f} GB: make room.")
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
