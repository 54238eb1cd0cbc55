"""AWS's prices: one dated table, and how to update it."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

from kennel.errors import KennelError

TABLE = Path(__file__).parent / "prices.json"
# The price list API is in few regions, whichever region is asked about.
API_REGION = "us-east-1"
# What the price list calls the use of an instance of SageMaker.
COMPONENTS = {"hosting": "Hosting", "training": "Training", "notebook": "Notebook"}
# What an endpoint logs for an answer: five events of AWS's adapter, of httpx and uvicorn in it, and of our server, with
# the 26 bytes that CloudWatch adds to each; measured with the real container.
LOG_BYTES = 574
USAGES = (*COMPONENTS, "ec2")


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
    # Billed while it exists.
    fixed_usd_month: dict[str, float]
    # CloudWatch Logs, per GB ingested.
    log_usd_gb: float
    network_usd_h: dict[str, float]
    cloudfront_usd: dict[str, float]

    def log_usd(self, answers: float) -> float:
        """USD of what an endpoint logs for so many answers."""
        return answers * LOG_BYTES / 1e9 * self.log_usd_gb

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


def refreshed(client: Any, prices: Prices, more: list[str], today: date | None = None) -> tuple[Prices, list[str]]:
    """The instances' prices of today, by a client of the price list API, and what it has no one price of.

    `more` are instance types to add, with ml. before them for hosting. All other prices stay.
    """
    tables: dict[str, dict[str, float]] = {}
    missing = []
    for usage in USAGES:
        table = dict(getattr(prices, f"{usage}_usd_h"))
        wanted = [*table, *(name for name in more if usage == ("hosting" if name.startswith("ml.") else "ec2"))]
        for name in dict.fromkeys(wanted):
            found = _asked(client, prices.region, name, usage)
            if len(found) == 1:
                table[name] = found.pop()
            else:
                missing.append(f"{name} for {usage}: {len(found)} prices")
        tables[f"{usage}_usd_h"] = dict(sorted(table.items()))
    changed: dict[str, Any] = {
        **tables,
        "date": str(today or datetime.now(UTC).date()),
        "source": "AWS's price list API; what is no instance as before",
    }
    return replace(prices, **changed), missing


def save(prices: Prices, file: Path = TABLE) -> None:
    """Writes the table, and forgets the one that was read."""
    file.write_text(json.dumps(vars(prices), indent=2) + "\n")
    load.cache_clear()


def _asked(client: Any, region: str, name: str, usage: str) -> set[float]:
    """The on-demand prices of an instance in USD an hour: one, if the filters leave one product."""
    if usage == "ec2":
        service = "AmazonEC2"
        wanted = {
            "instanceType": name,
            "operatingSystem": "Linux",
            "tenancy": "Shared",
            "preInstalledSw": "NA",
            "capacitystatus": "Used",
        }
    else:
        service, wanted = "AmazonSageMaker", {"instanceName": name}
    pages = client.get_paginator("get_products").paginate(
        ServiceCode=service,
        Filters=[
            {"Type": "TERM_MATCH", "Field": field, "Value": value}
            for field, value in {"regionCode": region, **wanted}.items()
        ],
    )
    products = [json.loads(item) for page in pages for item in page["PriceList"]]
    return {
        float(dimension["pricePerUnit"]["USD"])
        for product in products
        # Its name has changed over time.
        if usage == "ec2"
        or COMPONENTS[usage]
        in (product["product"]["attributes"].get(field) for field in ("component", "platoinstancetype"))
        for term in product["terms"].get("OnDemand", {}).values()
        for dimension in term["priceDimensions"].values()
        if dimension["unit"] == "Hrs" and float(dimension["pricePerUnit"].get("USD", 0)) > 0
    }
