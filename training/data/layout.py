"""Which class and which split the images of a folder have, from the names of folders, of files, or from a CSV table.

A layout that is not understood is refused with the reason; it is never taken for another one. Labels and names are in
Unicode's NFC and in UTF-8, so that a copy in S3, or in a folder with one folder per class, is read as the same dataset.
"""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from training.data import labels
from training.data.findings import ERROR, NOTE, WARNING, Finding
from training.data.folder import File, Folder, LeftOut, walk

TRAIN, VALID, TEST = "train", "valid", "test"
SPLITS = (TRAIN, VALID, TEST)
ROLES = {
    **dict.fromkeys(("train", "training", "trn"), TRAIN),
    **dict.fromkeys(("valid", "val", "validation", "validate", "dev", "eval", "evaluation"), VALID),
    **dict.fromkeys(("test", "testing", "tst"), TEST),
}
# seg_train, Train_Data, test1: a split if all the folders beside it are splits, too.
LOOSE_ROLE = re.compile(
    rf"(?:.+[ _-])?({'|'.join(ROLES)})(?:[ _-]?(?:data|set|dataset|images|imgs|images|photos))?[ _-]?\d?"
)
STRUCTURE = "structure"
ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"}
MAX_NAME_BYTES = 255
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Image:
    """An image of the dataset. `name` is its place in it: the split if there are splits, the class, and the rest."""

    file: str
    name: str
    split: str
    label: str
    # By its first bytes.
    format: str | None = None

    @property
    def path(self) -> Path:
        """The file that it is."""
        return Path(self.file)


@dataclass
class Layout:
    """The images of a folder, the files left out, and findings about both."""

    images: list[Image] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def errors(self) -> bool:
        """True if the folder was not understood."""
        return any(finding.severity == ERROR for finding in self.findings)


def read(root: Path) -> Layout:
    """The images below `root` with class and split, every other file with the reason why it is not used."""
    if not root.is_dir():
        advice = ": unpack it, and give the folder" if root.is_file() else ""
        return Layout(findings=[Finding(ERROR, STRUCTURE, "", f"{_place([str(root)])} is not a folder{advice}")])
    top = walk(root)
    reading = _Reading()
    reading.read(top)
    layout = reading.layout
    layout.left_out += (item for item in top.left_out if item.path not in reading.used)
    layout.images.sort(key=lambda image: image.name)
    if not layout.errors:
        layout.findings += _of_classes(layout.images, reading.empty, root)
    if reading.unnamed:
        message = (
            f"{len(reading.unnamed)} name(s) are not UTF-8, such as this one: what is not, is called _ in the dataset"
        )
        layout.findings.append(Finding(NOTE, "name", _place(reading.unnamed[0].parts), message))
    layout.findings += _of_left_out(layout.left_out)
    return layout


class _Reading:
    """One folder being understood, from the top down."""

    def __init__(self) -> None:
        self.layout = Layout()
        # Class folders without images: (split, label).
        self.empty: list[tuple[str | None, str]] = []
        # Tables that give classes.
        self.used: set[Path] = set()
        # Files whose names are not UTF-8.
        self.unnamed: list[File] = []

    def read(self, folder: Folder) -> None:
        """Splits, or classes that are not split."""
        folder, tables = self._unwrapped(folder, [])
        live = folder.live
        if not folder.has_images:
            archives = [item for item in folder.left_out if item.path.suffix.lower() in ARCHIVES]
            advice = (
                f"unpack {_place(archives[0].parts)} first" if archives else "give a folder with one folder per class"
            )
            self._error("", f"no images below {_place([str(folder.path)])}: {advice}")
            return
        strict = {name: role for name in live if (role := ROLES.get(_plain(name)))}
        loose = {name: role for name in live if (role := _loose_role(name))}
        if live and len(loose) == len(live) and (strict or any(child.live for child in live.values())):
            self._splits(folder, loose, tables)
        elif len(strict) > 1 or any(live[name].live for name in loose):
            named = strict if len(strict) > 1 else loose
            splits, others = (_listed(names) for names in (named, set(live) - set(named)))
            self._error("", f"{splits} look like splits, and {others} do not: move them apart, or rename them")
        else:
            self._classes(folder, None, tables)

    def _splits(self, folder: Folder, roles: dict[str, str], tables: list[File]) -> None:
        by_role: dict[str, list[str]] = defaultdict(list)
        for name, role in roles.items():
            by_role[role].append(name)
        for role, names in by_role.items():
            if len(names) > 1:
                self._error("", f"{_listed(names)} are all folders for {role}: merge them, or move all but one away")
        if TRAIN not in by_role:
            self._error("", f"no folder for training next to {_listed(roles)}: add train/")
        for file in folder.images:
            self._leave(file, "it is in no split and no class")
        for name in folder.folders.keys() - folder.live.keys():
            self._note((*folder.parts, name), "no images in it: it is not used")
        if not self.layout.errors:
            for role in SPLITS:
                for name in by_role.get(role, []):
                    inner, its = self._unwrapped(folder.folders[name], tables)
                    self._classes(inner, role, its)

    def _unwrapped(self, folder: Folder, tables: list[File]) -> tuple[Folder, list[File]]:
        """The folder, or the one in it that holds everything, if that one holds folders and is no split.

        And the tables that are about its images: `tables` of the folders above, and its own.
        """
        tables = [*tables, *folder.tables]
        while len(folder.live) == 1 and not folder.images:
            ((name, inner),) = folder.live.items()
            if inner.images or not inner.live or ROLES.get(_plain(name)):
                break
            self._note(inner.parts, "the dataset is in this folder")
            tables += inner.tables
            folder = inner
        return folder, tables

    def _classes(self, folder: Folder, split: str | None, tables: list[File]) -> None:
        files = list(folder.all_images())
        table = self._table(tables, folder, files) if tables else None
        if self.layout.errors:
            return
        if table is not None:
            for file in files:
                if file in table:
                    self._add(file, file.parts[len(folder.parts) :], table[file], split)
                else:
                    self._leave(file, "the table does not name it")
        elif folder.live:
            divided = [name for name, inner in folder.live.items() if split is None and _is_divided(inner)]
            if divided and len(divided) < len(folder.live):
                others = _listed(set(folder.live) - set(divided))
                self._error("", f"{_listed(divided)} hold splits, and {others} not: divide these, too, or move them")
                return
            self._depths(folder)
            for file in folder.images:
                self._leave(file, "it is in no class folder")
            for name, inner in folder.folders.items():
                self._class(inner, name, split)
                if split is None and ROLES.get(_plain(name)):
                    message = "taken for a class, since the folders beside it are no splits: move it away if it is one"
                    self.layout.findings.append(Finding(WARNING, "layout", _place(inner.parts), message))
        elif named := labels.of_names([file.path.stem for file in files]):
            counts = Counter(named)
            most = ", ".join(f"{label!r} ({count})" for label, count in counts.most_common(SHOWN))
            message = f"{len(counts)} classes by the names of the files, such as {most}: make folders if this is wrong"
            self.layout.findings.append(Finding(WARNING, "layout", _place(folder.parts), message))
            for file, label in zip(files, named, strict=True):
                self._add(file, (file.parts[-1],), label, split)
        elif split == TEST:
            for file in files:
                self._leave(file, "a test image without a class")
        else:
            where = _place(folder.parts)
            message = f"{len(files)} image(s), but not in class folders: make one folder per class, or a labels.csv"
            self._error(where, message)

    def _depths(self, folder: Folder) -> None:
        """Folders of folders are one class each if they are so for a reason: not beside folders of images."""
        deep = {name: inner for name, inner in folder.live.items() if not inner.images and len(inner.live) > 1}
        deep = {name: inner for name, inner in deep.items() if not _is_divided(inner)}
        if not deep:
            return
        inner = next(iter(deep.values()))
        inside = f"{_place(inner.parts)}/ has no images but folders, such as {_listed(sorted(inner.live)[:SHOWN])}"
        flat = sorted(set(folder.live) - set(deep))
        if flat:
            message = (
                f"{inside}, and {_listed(flat[:1])} has images: which are the classes? Give {_place(inner.parts)}/"
            )
            self._error("", f"{message} alone if those in it are, or move the images up")
            return
        message = (
            f"{inside}: they are one class, as are those of each folder beside it; move them up if they are classes"
        )
        self.layout.findings.append(Finding(WARNING, "layout", _place(inner.parts), message))

    def _class(self, folder: Folder, label: str, split: str | None) -> None:
        if not folder.has_images:
            if not folder.others or folder.folders:
                self.empty.append((split, _label(label)))
            else:
                self._note(folder.parts, "no images in it: it is not taken for a class")
            return
        if split is None and _is_divided(folder):
            for file in folder.images:
                self._leave(file, "it is in no split")
            for name, inner in folder.live.items():
                for file in inner.all_images():
                    self._add(file, file.parts[len(inner.parts) :], label, ROLES[_plain(name)])
            return
        for file in folder.all_images():
            self._add(file, file.parts[len(folder.parts) :], label, split)

    def _table(self, tables: list[File], folder: Folder, files: list[File]) -> dict[File, str] | None:
        """The classes that a CSV table gives; none if no table is about these images, or it repeats the folders."""
        depth = len(folder.parts)
        by_folder = {file: file.parts[depth] for file in files if len(file.parts) > depth + 1}
        by_name = labels.by_name({image: image.parts for image in files})
        for file in tables:
            try:
                found = labels.of_table(file.path, by_name)
            except labels.TableError as error:
                self._error(_place(file.parts), str(error))
                return None
            if not found or len(found) * 2 < len(files):
                continue
            if all(by_folder.get(image) == label for image, label in found.items()):
                return None
            if set(by_folder.values()) & set(found.values()):
                differs = next(image for image, label in found.items() if by_folder.get(image) != label)
                said = f"{_place(differs.parts)} is {found[differs]!r} in it, and in a folder of another name"
                self._error(_place(file.parts), f"the table and the folders disagree: {said}")
                return None
            message = f"the classes of {len(found)} images are in this table"
            self._note(file.parts, message)
            self.used.add(file.path)
            return found
        return None

    def _add(self, file: File, rest: tuple[str, ...], label: str, split: str | None) -> None:
        label = _label(label)
        if not _is_utf8("".join(file.parts)):
            self.unnamed.append(file)
        name = "/".join([*([split] if split else []), label, *map(_portable, rest)])
        self.layout.images.append(Image(file.file, name, split or TRAIN, label, file.format))

    def _leave(self, file: File, reason: str) -> None:
        self.layout.left_out.append(LeftOut(file.path, file.parts, WARNING, reason))

    def _note(self, parts: tuple[str, ...], message: str) -> None:
        self.layout.findings.append(Finding(NOTE, "layout", _place(parts), message))

    def _error(self, where: str, message: str) -> None:
        self.layout.findings.append(Finding(ERROR, STRUCTURE, where, message))


def _is_divided(folder: Folder) -> bool:
    """True for a class with folders for training and for more than that."""
    roles = [ROLES.get(_plain(name)) for name in folder.live]
    return len(roles) > 1 and TRAIN in roles and all(roles)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _loose_role(name: str) -> str | None:
    match = LOOSE_ROLE.fullmatch(_plain(name))
    return ROLES[match[1]] if match else None


def _label(name: str) -> str:
    """A class name from the name of a folder or the field of a table: one part of a path."""
    label = _portable(name.strip().replace("/", "-"))
    return f"_{label[1:]}" if label.startswith(".") else label


def _is_utf8(name: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _portable(part: str) -> str:
    """One part of a path, in NFC and UTF-8; what is not UTF-8 becomes _, with a hash, so that no two names meet."""
    try:
        normal = unicodedata.normalize("NFC", part)
        if len(normal.encode()) <= MAX_NAME_BYTES:
            return normal
        raw = part.encode()
    except UnicodeEncodeError:
        raw = part.encode("utf-8", "surrogateescape")
    stem, dot, ending = raw.decode("ascii", "replace").replace("\ufffd", "_").rpartition(".")
    mark = f"-{hashlib.sha256(raw).hexdigest()[:8]}"
    return f"{stem[:200]}{mark}{dot}{ending[:20]}" if stem else f"{ending[:200]}{mark}"


def _place(parts: Iterable[str]) -> str:
    """A path below the root, as it can be printed."""
    return "/".join(parts).encode("utf-8", "backslashreplace").decode()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{_place([name])}/" for name in sorted(names))


def _of_classes(images: list[Image], empty: list[tuple[str | None, str]], root: Path) -> Iterator[Finding]:
    """Classes that are nowhere to be trained, and names that mean two files."""

    def error(where: str, message: str) -> Finding:
        return Finding(ERROR, STRUCTURE, where, message)

    by_split: dict[str, set[str]] = defaultdict(set)
    for image in images:
        by_split[image.split].add(image.label)
    classes = sorted(by_split[TRAIN] | {label for split, label in empty if split in (None, TRAIN)})
    if not images:
        yield error("", f"no images below {root}: give a folder with one folder per class")
        return
    if len(classes) == 1:
        yield error("", f"only the class {classes[0]!r}: a classifier needs at least two folders")
    for split, label in empty:
        yield error(f"class {label!r}", f"no images in {split or TRAIN}: add some, or remove the folder")
    for split in SPLITS[1:]:
        others = by_split[split] | {label for its, label in empty if its == split}
        for label in sorted(others - set(classes)):
            yield error(f"class {label!r}", f"in {split} and not in train: add it there, or remove it")
    by_case: dict[str, list[str]] = defaultdict(list)
    for label in classes:
        by_case[label.casefold()].append(label)
    for alike in by_case.values():
        if len(alike) > 1:
            message = "classes whose names differ in case only: rename the folders if they are one class"
            yield Finding(WARNING, "class", ", ".join(map(repr, alike)), message)
    unsplit = all(image.name.startswith(f"{image.label}/") for image in images)
    if unsplit and len(named := [label for label in classes if ROLES.get(_plain(label))]) > 1:
        yield error("", f"the classes {', '.join(named)} have the names of splits: rename them")
    # Sorted by name.
    for other, image in pairwise(images):
        if other.name == image.name:
            where, there = (_place([str(one.path.relative_to(root))]) for one in (image, other))
            yield error(where, f"has the same name as {there}: rename one")


def _of_left_out(left_out: list[LeftOut]) -> Iterator[Finding]:
    by_reason: dict[tuple[str, str], list[LeftOut]] = defaultdict(list)
    for item in left_out:
        by_reason[item.severity, item.reason].append(item)
    for (severity, reason), items in sorted(by_reason.items()):
        more = f"; and {len(items) - 1} more" if len(items) > 1 else ""
        yield Finding(severity, "left out", _place(items[0].parts), f"{reason}{more}")
