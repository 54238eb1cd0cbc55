"""A stage's whole life on a new account in another region, by the commands that a user types."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.stage import Environment, embedded_aws
from kennel.operations import rehearsal

REGION = "eu-central-1"
COMMAND = ("kennel", "rehearse", "--yes", "--region", REGION, "--compare-min", "0.3")


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """A new account: small quotas, no roles of AWS's own, no bootstrap."""
    with embedded_aws(tmp_path_factory.mktemp("new"), account="new", region=REGION) as server:
        yield Environment(server, Path(), [])


def stacks(account: Environment) -> list[str]:
    listed = account.client("cloudformation").describe_stacks()["Stacks"]
    return [stack["StackName"] for stack in listed]


def test_missing_quotas_stop_it_before_anything_is_made(account: Environment) -> None:
    result = account.run(*COMMAND, check=False)
    assert result.returncode == 1
    assert "6 × ml.m5.large" not in result.stdout
    assert "The stage starts with 4 × ml.m5.large for endpoint usage, and the quota is 0" in result.stdout
    assert "'ml.m5.xlarge for training job usage' is 0" in result.stdout
    assert "2 obstacle(s): nothing was started" in result.stdout
    assert stacks(account) == []
    assert account.client("iam").list_policies(Scope="Local")["Policies"] == []


def test_whole_path_runs_once_quotas_are_raised(account: Environment) -> None:
    asked = account.run(*COMMAND, check=False).stdout
    quotas = account.client("service-quotas")
    for line in re.findall(r"→ (aws service-quotas .*)", asked):
        words = shlex.split(line)
        given = dict(zip(words[3::2], words[4::2], strict=True))
        quotas.request_service_quota_increase(
            ServiceCode=given["--service-code"],
            QuotaCode=given["--quota-code"],
            DesiredValue=float(given["--desired-value"]),
        )
    before = {group["logGroupName"] for group in account.client("logs").describe_log_groups()["logGroups"]}
    result = account.run(*COMMAND, check=False)
    outcomes = json.loads((rehearsal.FOLDER / "report.json").read_text())
    assert result.returncode == 0, result.stdout + json.dumps(outcomes, indent=1)
    assert {item["state"] for item in outcomes} == {"done"}
    assert [item["name"] for item in outcomes][-2:] == ["destroy", "delete the bootstrap"]
    report = (rehearsal.FOLDER / "report.md").read_text()
    assert f"Rehearsal on the embedded AWS, {REGION}" in report
    assert "000000000000" not in report

    # From nothing to nothing, but for what AWS itself keeps: its own roles, and groups of logs.
    assert stacks(account) == []
    assert account.client("s3").list_buckets()["Buckets"] == []
    assert account.client("iam").list_policies(Scope="Local")["Policies"] == []
    roles = account.client("iam").list_roles()["Roles"]
    assert {role["Path"].split("/")[1] for role in roles} == {"aws-service-role"}
    after = {group["logGroupName"] for group in account.client("logs").describe_log_groups()["logGroups"]}
    assert {name for name in after - before if "rehearsal" in name} == set()
