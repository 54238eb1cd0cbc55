"""The commands about images: kennel data sample, fetch, check, push, forget."""

import sys
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

from kennel.commands.options import Stage
from kennel.console import console, step
from kennel.errors import KennelError
from kennel.lazy import lazily
from kennel.stage.deployed import DeployedStage

if TYPE_CHECKING:
    from kennel.datasets import archives, clean_copy, download, erasure, sample, upload
else:
    archives = lazily("kennel.datasets.archives")
    clean_copy = lazily("kennel.datasets.clean_copy")
    upload = lazily("kennel.datasets.upload")
    erasure = lazily("kennel.datasets.erasure")
    download = lazily("kennel.datasets.download")
    sample = lazily("kennel.datasets.sample")

SHOWN_PER_KIND = 5
# What the check holds out is not kept: any seed finds the same.
SEED = 1
COLOURS = {"error": "red", "warning": "yellow", "note": "dim"}

FOLDER = typer.Argument(
    metavar="FOLDER",
    help="Folder of images, or a zip or tar archive of one: with one folder per class, optionally inside train, valid "
    "and test folders, or with a CSV table of labels.",
)

app = typer.Typer(no_args_is_help=True, help="Generate, download, check and upload datasets, and erase images.")


@app.command("sample")
def write_sample(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Output folder.")] = Path("build/sample"),
) -> None:
    """Generate a small dataset of eight classes with the splits train, valid and test.

    The images show drawn patterns, such as stars and stripes. They are the same on every run.
    """
    if folder.exists() and (not folder.is_dir() or {child.name for child in folder.iterdir()} - set(sample.PER_CLASS)):
        raise KennelError(f"{folder} already exists and has other content: choose a new folder.")
    with step(f"Drawing the sample set into {folder}"):
        count = sample.write(folder)
    console.print(f"{count} images of {len(sample.PATTERNS)} classes.")


@app.command()
def fetch(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="; ".join(f"{n}: {s.what}" for n, s in download.SOURCES.items())),
    ],
    folder: Annotated[
        Path | None, typer.Option("--to", help="New folder to unpack into (default: build/NAME).")
    ] = None,
    url: Annotated[str | None, typer.Option(help="URL of a mirror of the archive (https).")] = None,
) -> None:
    """Download a public dataset and unpack it; an interrupted download resumes when you run it again."""
    if name not in download.SOURCES:
        raise KennelError(f"{name!r} is not known; known: {', '.join(download.SOURCES)}.")
    source, folder = download.SOURCES[name], folder or Path("build") / name
    if folder.exists():
        raise KennelError(f"{folder} already exists: delete it, or choose another folder with --to.")
    archive = folder.with_name(f"{folder.name}.zip")
    if not archive.exists():
        with _bar("Downloading", DownloadColumn()) as progress:
            download.download(url or source.url, archive, progress)
    with _bar("Unpacking", MofNCompleteColumn()) as progress:
        count = download.unpack(archive, source.folder, folder, progress)
    archive.unlink()
    console.print(f"{count} images in {folder}. Next: kennel data check {folder}")


@app.command()
def check(
    folder: Annotated[Path, FOLDER],
    fix: Annotated[
        Path | None,
        typer.Option(
            "--fix",
            metavar="COPY",
            help="Write a copy to this new folder: unreadable files and duplicates are omitted, others are converted, "
            "renamed or rotated where necessary.",
        ),
    ] = None,
    near: Annotated[
        bool,
        typer.Option(
            "--near",
            help="With --fix: also omit near-duplicates across classes or splits; those within one class and split are "
            "kept.",
        ),
    ] = False,
) -> None:
    """Check images before training: unreadable files, leaks between splits, duplicates, tiny classes.

    Exits with 1 if it finds errors, unless --fix writes a copy. Every training job starts with the same check, and
    fails if it finds errors.
    """
    from training.data import dataset

    with _unpacked(folder) as images:
        with _bar("Checking", MofNCompleteColumn()) as progress:
            checked = dataset.check(images.resolve(), SEED, progress=progress)
        _show_counts(checked.images, sorted({image.split for image in checked.images}))
        _show_findings(checked.findings)
        if fix is not None and checked.images:
            with step(f"Writing the clean copy {fix}"):
                cleaned = clean_copy.clean(images, checked.images, fix, near=near)
            console.print(", ".join([f"{cleaned.copied} copied", *(f"{n} {what}" for what, n in cleaned.done.items())]))
            console.print(f"Next: kennel data check {fix}")
            return
    if checked.errors:
        raise KennelError(f"{folder} cannot be trained on: {checked.errors} error(s).")


@app.command()
def push(
    folder: Annotated[Path, FOLDER],
    name: Annotated[str | None, typer.Option(help="Name of the dataset (default: the folder's name).")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Allow an upload that deletes more than half of the dataset.")
    ] = False,
    stage: Stage = "dev",
) -> None:
    """Check a folder and upload it as a dataset; images that are not in the folder are deleted from the dataset."""
    pushed = push_folder(DeployedStage(stage), folder, name, replace=replace)
    console.print(f"Next: kennel train {pushed.name}")


@app.command()
def forget(
    image: Annotated[str, typer.Argument(metavar="IMAGE|HASH", help="Image file, or the SHA-256 of the file.")],
    yes: Annotated[bool, typer.Option("--yes", help="Skip the confirmation prompt.")] = False,
    stage: Stage = "dev",
) -> None:
    """Erase an image, with all its versions, from datasets, inbox, feature caches, captures and reports.

    Lists the objects that contain the image, asks for confirmation, erases the image from them, and lists what remains,
    such as models that were trained with it.

    Images are compared by the SHA-256 of their files, so copies that were scaled or compressed again are not found.
    Given the file, the search is faster: it reads only images of the same size.
    """
    deployment, wanted = DeployedStage(stage), erasure.image_of(image)
    with _bar("Searching", MofNCompleteColumn()) as progress:
        result = erasure.search(deployment, wanted, progress)
    for found in result.found:
        versions = f"{len(found.versions)} version(s)"
        console.print(f"Holds it: {escape(found.what)}, {versions}", soft_wrap=True)
    if not result.found:
        console.print(f"Nothing of stage {stage} holds the image {wanted.digest}.", soft_wrap=True)
        return
    if not yes:
        if not sys.stdin.isatty():
            raise KennelError("Not a terminal: pass --yes to erase it.")
        if not typer.confirm("Erase it, with every version? Nothing brings it back."):
            raise typer.Exit(1)
    erasure.erase(deployment, result)
    for found in result.found:
        console.print(f"Erased: {escape(found.what)}", soft_wrap=True)
    for what in result.remains:
        console.print(f"[yellow]Remains:[/yellow] {escape(what)}", soft_wrap=True)


def push_folder(
    deployment: DeployedStage, folder: Path, name: str | None, *, replace: bool = False
) -> "upload.UploadResult":
    """Checks and uploads a folder or an archive, and says what happened."""
    with _unpacked(folder) as images:
        return _push(deployment, images, folder, name, replace)


def _push(
    deployment: DeployedStage, folder: Path, given: Path, name: str | None, replace: bool
) -> "upload.UploadResult":
    with _bar("Checking", MofNCompleteColumn()) as progress:
        loaded = upload.check(folder, SEED, progress)
    for reason in loaded.skipped:
        console.print(f"[yellow]will be skipped:[/yellow] {escape(reason)}", soft_wrap=True)
    said = [finding for finding in loaded.findings if finding.kind in ("layout", "left out")]
    for finding in said:
        console.print(f"[yellow]{finding.kind}:[/yellow] {escape(str(finding))}", soft_wrap=True)
    others = len(loaded.findings) - len(loaded.skipped) - len(said)
    if others:
        console.print(f"{others} finding(s) more: [bold]kennel data check {escape(str(given))}[/bold]", soft_wrap=True)
    with _bar("Uploading", MofNCompleteColumn()) as progress:
        name = upload.name_of(folder) if name is None else name
        pushed = upload.push(deployment, folder, name, progress, replace=replace)
    console.print(f"Dataset [bold]{pushed.name}[/bold]: {pushed.uploaded} images at {pushed.uri}", soft_wrap=True)
    if pushed.removed:
        console.print(f"{pushed.removed} object(s) that the folder no longer has were removed.")
    return pushed


@contextmanager
def _unpacked(given: Path) -> Generator[Path]:
    """The folder, or one with what is in the archive, until the block ends."""
    with ExitStack() as stack:
        folder = given
        if archives.is_archive(given):
            with _bar("Unpacking", MofNCompleteColumn()) as progress:
                folder = stack.enter_context(archives.unpacked(given, progress))
        yield folder


@contextmanager
def _bar(what: str, *columns: ProgressColumn) -> Generator[Callable[[int, int], None]]:
    with Progress(TextColumn(what), BarColumn(), *columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _show_counts(images: list[Any], splits: list[str]) -> None:
    counts = Counter((image.label, image.split) for image in images)
    labels = sorted({image.label for image in images})
    table = Table("class", *(Column(split, justify="right") for split in splits))
    shown = labels if len(labels) <= 20 else labels[:10]
    for label in shown:
        table.add_row(escape(label), *(str(counts[label, split]) for split in splits))
    if len(shown) < len(labels):
        table.add_row(f"and {len(labels) - len(shown)} more", *("…" for _ in splits))
    table.add_section()
    table.add_row(f"{len(labels)} classes", *(str(sum(p.split == split for p in images)) for split in splits))
    if images:
        console.print(table)


def _show_findings(findings: list[Any]) -> None:
    if not findings:
        console.print("[green]Nothing found:[/green] every image is readable, no copies, no leaks.")
        return
    table = Table("", "what", Column("where", overflow="fold"), Column("finding", overflow="fold"))
    order = list(COLOURS)
    kinds = sorted({(order.index(item.severity), item.kind) for item in findings})
    for place, kind in kinds:
        colour = COLOURS[order[place]]
        same = [item for item in findings if item.kind == kind and item.severity == order[place]]
        for item in same[:SHOWN_PER_KIND]:
            severity = f"[{colour}]{item.severity}[/{colour}]"
            table.add_row(severity, kind, escape(item.where), escape(item.message))
        if len(same) > SHOWN_PER_KIND:
            table.add_row("", "", "", f"and {len(same) - SHOWN_PER_KIND} more: {len(same)} in all")
        table.add_section()
    console.print(table)
