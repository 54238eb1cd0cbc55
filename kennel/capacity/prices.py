"""What AWS asks for: one dated table, and how to bring it up to date."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kennel.errors import KennelError

TABLE = Path(__file__).parent / "prices.json"
MONTH_H = 730


@dataclass(frozen=True)
class Prices:
    """Prices in USD, as of `date`, of `region`."""

    region: str
    date: str
    source: str
    hosting_usd_h: dict[str, float]
    training_usd_h: dict[str, float]
    notebook_usd_h: dict[str, float]
    ec2_usd_h: dict[str, float]
    serverless_usd_gb_s: float
    lambda_usd: dict[str, float]
    storage_usd_gb_month: dict[str, float]

    def instance(self, instance_type: str, usage: str = "hosting") -> float:
        """USD an hour of an instance for `usage`: hosting, training, notebook or ec2.

        Raises KennelError for a type that the table does not have.
        """
        table: dict[str, float] = getattr(self, f"{usage}_usd_h")
        if instance_type not in table:
            raise KennelError(
                f"The table of {self.date} has no price of {instance_type} for {usage} (it has {', '.join(table)}): "
                f"`kennel prices refresh {instance_type}` adds it, or take another type."
            )
        return table[instance_type]


@cache
def load(file: Path = TABLE) -> Prices:
    """The table of the project."""
    return Prices(**json.loads(file.read_text()))


def save(prices: Prices, file: Path = TABLE) -> None:
    """Writes the table, and forgets the one that was read."""
    document: dict[str, Any] = vars(prices)
    file.write_text(json.dumps(document, indent=2) + "\n")
    load.cache_clear()
