"""Findings about a dataset: an error, a warning, or a note for readers of the result."""

from dataclasses import dataclass

ERROR, WARNING, NOTE = "error", "warning", "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a dataset. An error stops the training, a warning costs accuracy, a note is dealt with."""

    severity: str
    kind: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message
