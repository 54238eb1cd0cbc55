"""Spot interruptions, played on request: a file in the folder of an instance says that its capacity is wanted back."""

from pathlib import Path

MARK = "interrupt"


def folders(state: Path) -> Path:
    """Where the instances of the embedded AWS in `state` have their folders."""
    return state / "instances"


def interrupted(instance: Path) -> bool:
    """Whether the instance in this folder has been given notice."""
    return (instance / MARK).exists()


def interrupt(state: Path) -> list[str]:
    """Gives notice to every running instance; returns their names."""
    names = []
    for instance in sorted(folders(state).glob("i-*")):
        # An instance has a working folder while it runs.
        if any(instance.glob("kennel.*")) and not interrupted(instance):
            (instance / MARK).touch()
            names.append(instance.name)
    return names
