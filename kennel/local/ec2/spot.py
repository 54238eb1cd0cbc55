"""Spot interruptions, played on request: a mark in the folder of an instance or a job says that it is given notice."""

from pathlib import Path

# The folder is of something that runs on spot capacity; its capacity is wanted back.
OFFER, NOTICE = "spot", "spot-notice"


def offer(folder: Path) -> None:
    """Says that what runs in `folder` may be interrupted."""
    (folder / OFFER).touch()


def interrupted(folder: Path) -> bool:
    """True if the instance in `folder` has received an interruption notice."""
    return (folder / NOTICE).exists()


def forget(folder: Path) -> None:
    """Takes offer and notice back: what ran in `folder` has ended."""
    for mark in (OFFER, NOTICE):
        (folder / mark).unlink(missing_ok=True)


def interrupt(state: Path) -> list[str]:
    """Gives notice to everything on spot capacity of the embedded AWS in `state`; returns the names."""
    names = []
    for mark in sorted(state.glob(f"*/*/{OFFER}")):
        if not interrupted(mark.parent):
            (mark.parent / NOTICE).touch()
            names.append(mark.parent.name)
    return names
