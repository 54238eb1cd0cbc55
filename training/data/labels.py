"""Classes of images that are not in class folders: from a CSV table, or from the names of the files."""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar

LABEL_COLUMNS = ("label", "labels", "class", "classes", "class_name", "category", "breed", "species", "target", "dx")
MAX_TABLE_BYTES = 200_000_000
# A table is about the images if one of its columns names this share of its first rows.
NAMED_SHARE = 0.5
SAMPLE_ROWS = 1000
# cat.0, cat_001, cat-12, cat (3): the class, and a number.
NUMBERED = re.compile(r"(?P<label>\D.*?)[ ._-]*\(?\d+\)?")
# What cameras, phones and programs write before a number is no class, and neither is a date.
NO_CLASS = re.compile(
    r"(img|image|images|dsc|dscn|dscf|p|pic|pict|image|photo|foto|bild|frame|screenshot|screen shot|scan|capture"
    r"|gopr|dji|pxl|mvimg|vid|video|wp|cimg|sam|file|unnamed|untitled|download|copy|sample|test|train|val|valid)"
    r"([\W\d_].*)?|.*\d{4}[-_.]?[01]\d[-_.]?[0-3]\d.*|.*[\W\d_]frame",
    re.IGNORECASE,
)
# ImageNet's numbers of word senses look like dates.
SYNSET = re.compile(r"n\d{8}")

Key = TypeVar("Key")


class TableError(Exception):
    """A table that names the images but has no column that can be identified as their classes."""


def of_names(stems: list[str]) -> list[str] | None:
    """The classes in the names of files, if each name is a class and a number, with two and more images in a class."""
    matches = [NUMBERED.fullmatch(stem) for stem in stems]
    named = [match["label"] for match in matches if match and _is_class(match["label"])]
    counts = Counter(named)
    if len(named) < len(stems) or len(counts) < 2 or min(counts.values()) < 2:
        return None
    return named


def _is_class(label: str) -> bool:
    return bool(SYNSET.fullmatch(label)) or not NO_CLASS.fullmatch(label)


def by_name(files: Mapping[Key, tuple[str, ...]]) -> dict[str, list[Key]]:
    """The files by what a table may call them: their paths, with or without folders and extension."""
    found: dict[str, list[Key]] = defaultdict(list)
    for key, parts in files.items():
        for first in range(len(parts)):
            whole = PurePosixPath(*parts[first:])
            for name in {str(whole), str(whole.with_suffix(""))}:
                found[name].append(key)
    return found


def of_table(table: Path, files: Mapping[str, list[Key]]) -> dict[Key, str]:
    """The classes that a CSV table gives to `files` (see `by_name`); empty if the table is about something else.

    One column names the files. Another one, of LABEL_COLUMNS or the only other one, names their classes.
    Raises TableError if the table names the files but not their classes.
    """
    if table.stat().st_size > MAX_TABLE_BYTES:
        return {}
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as opened:
        start = opened.read(65_536)
        opened.seek(0)
        delimiter = max(",;\t", key=start.partition("\n")[0].count)
        try:
            rows = list(csv.reader(opened, delimiter=delimiter))
        except csv.Error:
            return {}
    header, rows = rows[0] if rows else [], [row for row in rows[1:] if any(row)]
    names = _column_of_files(header, rows, files)
    if names is None:
        return {}
    classes = _column_of_classes(header, names)
    found: dict[Key, str] = {}
    for row in rows:
        if len(row) > max(names, classes) and (label := row[classes].strip()):
            keys = files.get(_tidy(row[names]), [])
            if len(keys) > 1:
                raise TableError(
                    f"{row[names]!r} is the name of {len(keys)} files: give their folders in the table, too"
                )
            if keys and found.setdefault(keys[0], label) != label:
                raise TableError(f"{row[names]!r} has two classes: {found[keys[0]]!r} and {label!r}")
    return found


def _tidy(cell: str) -> str:
    return cell.strip().replace("\\", "/").removeprefix("./")


def _column_of_files(header: list[str], rows: list[list[str]], known: Mapping[str, object]) -> int | None:
    sample = rows[:SAMPLE_ROWS]
    shares = [
        sum(len(row) > column and _tidy(row[column]) in known for row in sample) / max(1, len(sample))
        for column in range(len(header))
    ]
    best = max(range(len(shares)), key=shares.__getitem__, default=None)
    return best if best is not None and shares[best] >= NAMED_SHARE else None


def _column_of_classes(header: list[str], names: int) -> int:
    plain = [name.strip().casefold() for name in header]
    others = [column for column in range(len(header)) if column != names]
    known = [plain.index(name) for name in LABEL_COLUMNS if name in plain and plain.index(name) != names]
    if known:
        return known[0]
    if len(others) == 1:
        return others[0]
    raise TableError(f"no column of classes: name it 'label'; the columns are {', '.join(header)}")
