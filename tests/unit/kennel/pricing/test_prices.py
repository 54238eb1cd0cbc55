"""The price table: what it has, what it says of a type that it has not, and how it is brought up to date."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from helpers import REPOSITORY
from kennel.errors import KennelError
from kennel.pricing import prices

STAGES = json.loads((REPOSITORY / "cdk.json").read_text())["context"]["stages"]


@pytest.mark.parametrize("stage", STAGES)
def test_stage_instances_are_in_price_table(stage: str) -> None:
    table, settings = prices.load(), STAGES[stage]
    assert table.instance(settings["endpoint"]["instance_type"]) > 0
    assert table.instance(settings["notebook"]["instance_type"], "notebook") > 0
    assert table.instance(settings["ec2"]["instance_type"], "ec2") > 0
    date.fromisoformat(table.date)


def test_unpriced_type_suggests_refresh() -> None:
    with pytest.raises(KennelError, match=r"kennel prices refresh ml\.p9\.48xlarge"):
        prices.load().instance("ml.p9.48xlarge")


def product(usd: str, component: str = "", unit: str = "Hrs") -> str:
    """One product of the price list, in the shape in which the API gives it: JSON in a string."""
    dimension = {"unit": unit, "pricePerUnit": {"USD": usd}}
    return json.dumps(
        {
            "product": {"attributes": {"component": component} if component else {}},
            "terms": {"OnDemand": {"A.B": {"priceDimensions": {"A.B.C": dimension}}}},
        }
    )


def small() -> prices.Prices:
    table = vars(prices.load()) | {
        "hosting_usd_h": {"ml.m5.large": 1.0},
        "training_usd_h": {},
        "notebook_usd_h": {},
        "ec2_usd_h": {},
    }
    return prices.Prices(**table)


def asked(answers: list[list[str]], more: list[str]) -> tuple[prices.Prices, list[str]]:
    client: Any = boto3.client("pricing", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(client) as stub:
        for answer in answers:
            stub.add_response("get_products", {"PriceList": answer}, {"ServiceCode": ANY, "Filters": ANY})
        found = prices.refreshed(client, small(), more, date(2027, 1, 2))
        stub.assert_no_pending_responses()
    return found


def test_refresh_takes_hosting_price_and_date() -> None:
    products = [product("0.115", "Hosting"), product("0.115", "Training"), product("0.14", "Processing")]
    table, missing = asked(
        [[*products, product("0", "Hosting"), product("9", "Hosting", "GB")], [product("0.2")]], ["m5.x"]
    )
    assert missing == []
    assert table.hosting_usd_h == {"ml.m5.large": 0.115}
    assert table.ec2_usd_h == {"m5.x": 0.2}
    assert table.date == "2027-01-02"
    assert table.lambda_usd == prices.load().lambda_usd


def test_missing_or_ambiguous_price_is_reported() -> None:
    two = [product("0.1", "Hosting"), product("0.2", "Hosting")]
    _, missing = asked([two, []], ["ml.q1.large"])
    assert missing == ["ml.m5.large for hosting: 2 prices", "ml.q1.large for hosting: 0 prices"]


def test_saved_table_loads_unchanged(tmp_path: Path) -> None:
    prices.save(small(), tmp_path / "prices.json")
    assert prices.load(tmp_path / "prices.json") == small()
