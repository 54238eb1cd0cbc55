"""Kennel's tables for the embedded AWS: the calls of its deploys, and the prices of its instances."""

from kennel.local.control import Tables
from kennel.stage.deployed import REPOSITORY

TABLES = Tables(
    resource_types=REPOSITORY / "infra" / "bootstrap" / "resource_types.toml",
    prices=REPOSITORY / "kennel" / "pricing" / "prices.json",
)
