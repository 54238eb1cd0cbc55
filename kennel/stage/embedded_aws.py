"""What the embedded AWS is told of Kennel: the calls that its deploys take, and the prices of its instances."""

from kennel.local.control import Tables
from kennel.stage.deployed import REPOSITORY

TABLES = Tables(
    resource_types=REPOSITORY / "infra" / "bootstrap" / "resource_types.toml",
    prices=REPOSITORY / "kennel" / "pricing" / "prices.json",
)
