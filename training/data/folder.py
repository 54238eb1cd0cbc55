"""The files below a folder: which are images, and why the others are left out.

One walk for the check, the upload, the job and `kennel predict`. Symbolic links are followed. The first bytes say what
an image is, not the file's name. It needs nothing but Python.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from training.data.findings import NOTE, WARNING
from training.data.formats import ALL_EXTENSIONS, START_BYTES, format_of

# What operating systems and storage devices leave behind; names with a dot before are hidden.
SYSTEM_NAMES = {"__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information"}
# Deeper than the folders that people make.
MAX_DEPTH = 64


@dataclass(frozen=True, eq=False, slots=True)
class File:
    """A regular file, with its place below the root and the format that its first bytes show; none if it is unknown."""

    # Its path as text: of a million files, their Paths would take 170 MB more.
    file: str
    parts: tuple[str, ...]
    format: str | None

    @property
    def path(self) -> Path:
        """The file's path."""
        return Path(self.file)

    @property
    def is_image(self) -> bool:
        """True for an image, in a format that training reads or in another one, and for what was meant as one."""
        return self.format is not None or os.path.splitext(self.file)[1].lower() in ALL_EXTENSIONS


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or folder that is not used, and why: with the severity of the finding that says so."""

    path: Path
    parts: tuple[str, ...]
    severity: str
    reason: str


@dataclass
class Folder:
    """The contents of a folder, in the order of names: images and other folders. `left_out` is the whole tree's."""

    parts: tuple[str, ...]
    path: Path
    left_out: list[LeftOut]
    images: list[File] = field(default_factory=list)
    tables: list[File] = field(default_factory=list)
    folders: dict[str, "Folder"] = field(default_factory=dict)
    # Files that are not used, below it and in it.
    others: int = 0

    def leave(self, name: str, severity: str, reason: str) -> None:
        """Says that something in it is not used, and why."""
        self.others += 1
        self.left_out.append(LeftOut(self.path / name, (*self.parts, name), severity, reason))

    @property
    def live(self) -> dict[str, "Folder"]:
        """The folders that have images below them."""
        return {name: folder for name, folder in self.folders.items() if folder.has_images}

    @property
    def has_images(self) -> bool:
        """True if there is an image in it or below it."""
        return bool(self.images) or any(folder.has_images for folder in self.folders.values())

    def all_images(self) -> Iterator[File]:
        """The images in it and below it."""
        yield from self.images
        for folder in self.folders.values():
            yield from folder.all_images()


def walk(root: Path) -> Folder:
    """Every file below `root`: as an image in its folder, or as left out."""
    folder = Folder((), root, [])
    _fill(folder, (os.path.realpath(root),))
    return folder


def images(root: Path) -> tuple[list[File], list[LeftOut]]:
    """The images below `root` in the order of their names, and what is left out."""
    folder = walk(root)
    return sorted(folder.all_images(), key=lambda file: file.parts), folder.left_out


def _fill(folder: Folder, above: tuple[str, ...]) -> None:
    """Adds what is in a folder. `above` are the real paths of the folder and of all that hold it."""
    try:
        entries = sorted(os.scandir(folder.path), key=lambda entry: entry.name)
    except OSError as error:
        folder.left_out.append(LeftOut(folder.path, folder.parts, WARNING, f"cannot be read: {error.strerror}"))
        return
    for entry in entries:
        parts = (*folder.parts, entry.name)
        if entry.name.startswith(".") or entry.name.lower() in SYSTEM_NAMES:
            folder.leave(entry.name, NOTE, "hidden, or of the operating system")
            continue
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            broken = "a link that leads nowhere" if entry.is_symlink() else f"cannot be read: {error.strerror}"
            folder.leave(entry.name, WARNING, broken)
            continue
        if stat.S_ISDIR(mode):
            real = os.path.realpath(entry.path)
            if real in above:
                folder.leave(entry.name, WARNING, "a link to a folder that holds it")
            elif len(parts) > MAX_DEPTH:
                folder.leave(entry.name, WARNING, f"more than {MAX_DEPTH} folders deep")
            else:
                inner = folder.folders[entry.name] = Folder(parts, Path(entry.path), folder.left_out)
                _fill(inner, (*above, real))
                folder.others += inner.others
        elif not stat.S_ISREG(mode):
            folder.leave(entry.name, WARNING, "neither a file nor a folder")
        else:
            _add(folder, entry.path, parts)


def _add(folder: Folder, path: str, parts: tuple[str, ...]) -> None:
    try:
        # A third of the time that Path.open takes: it counts with a million files.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            kind = format_of(os.read(descriptor, START_BYTES))
        finally:
            os.close(descriptor)
    except OSError as error:
        folder.leave(parts[-1], WARNING, f"cannot be read: {error.strerror}")
        return
    file = File(path, parts, kind)
    if file.is_image:
        folder.images.append(file)
    else:
        ending = file.path.suffix.lower()
        if ending == ".csv":
            folder.tables.append(file)
        ending = ending if ending.isprintable() else ""
        folder.leave(parts[-1], NOTE, f"not an image{f' ({ending})' if ending else ''}")
