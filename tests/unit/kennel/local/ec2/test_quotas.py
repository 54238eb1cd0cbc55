"""A group starts no instance beyond the account's vCPU quota, and says why."""

from collections.abc import Iterator
from typing import Any

import pytest
from ministack.services import autoscaling, ec2

from kennel.local.ec2 import quotas
from kennel.local.service_quotas import SPOT, STANDARD, Account

GROUP = "kennel-dev-training"


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A group of a new account that wants one instance; its template is to be set."""
    for module, name in ((autoscaling, "_reconcile_instances"), (ec2, "_describe_instance_types")):
        monkeypatch.setattr(module, name, getattr(module, name))
    for actions in (autoscaling._ACTION_MAP, ec2._ACTION_MAP):
        for name in ("DescribeScalingActivities", "DescribeInstanceTypes"):
            if name in actions:
                monkeypatch.setitem(actions, name, actions[name])
    monkeypatch.setattr(quotas, "account", Account("new"))
    quotas.install()
    yield {
        "AutoScalingGroupName": GROUP,
        "DesiredCapacity": 1,
        "Instances": [],
        "AvailabilityZones": ["us-east-1a"],
        "NewInstancesProtectedFromScaleIn": False,
        "LaunchTemplate": {"LaunchTemplateId": "lt-1"},
    }
    quotas._refused.clear()


def started(group: dict[str, Any], monkeypatch: pytest.MonkeyPatch, **template: Any) -> tuple[int, str]:
    """How many instances it has then, and its last activity."""
    monkeypatch.setattr(quotas, "launch_template", lambda reference: template)
    autoscaling._reconcile_instances(group)
    asked = {"AutoScalingGroupName": [GROUP]}
    return len(group["Instances"]), autoscaling._ACTION_MAP["DescribeScalingActivities"](asked)[2].decode()


def test_group_beyond_quota_stays_empty(group: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    count, activity = started(group, monkeypatch, InstanceType="m5.2xlarge")
    assert count == 0
    assert "more vCPU capacity than your current vCPU limit of 5 allows" in activity
    assert "<StatusCode>Failed</StatusCode>" in activity

    spot = {"MarketType": "spot"}
    count, activity = started(group, monkeypatch, InstanceType="m5.2xlarge", InstanceMarketOptions=spot)
    assert (count, "Max spot instance count exceeded" in activity) == (0, True)


def test_group_within_quota_starts(group: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    count, activity = started(group, monkeypatch, InstanceType="m5.xlarge")
    assert (count, "<member>" in activity) == (1, False)


@pytest.mark.parametrize(
    ("instance_type", "count"), [("t3.medium", 2), ("m5.large", 2), ("m5.xlarge", 4), ("c5.4xlarge", 16)]
)
def test_types_have_their_processors(group: dict[str, Any], instance_type: str, count: int) -> None:
    body = ec2._ACTION_MAP["DescribeInstanceTypes"]({"InstanceType.1": [instance_type]})[2].decode()
    assert f"<defaultVCpus>{count}</defaultVCpus>" in body
    assert {Account("new").value(*quota) for quota in (STANDARD, SPOT)} == {5}
