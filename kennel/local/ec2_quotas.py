"""EC2's quotas count processors: beyond them an Auto Scaling group starts nothing, and says so in its activities.

ministack 1.5.33 starts any number of instances, has no activities, and takes eight processors for most types.
"""

import re
from datetime import UTC, datetime
from typing import Any

from ministack.services import autoscaling, ec2

from kennel.local.account import SPOT, STANDARD, account
from kennel.local.machines import launch_template

# Of the current x86 families that Kennel's settings allow (EC2 User Guide, "CPU options"): "xlarge" has four.
PROCESSORS = {"nano": 2, "micro": 2, "small": 2, "medium": 2, "large": 2, "xlarge": 4, "metal": 96}
# "EC2 On-Demand Instance limits" and "Spot Instance quotas" of the same guide; EC2's own words.
REFUSALS = {
    STANDARD: "You have requested more vCPU capacity than your current vCPU limit of {limit:.0f} allows for the "
    "instance bucket that the specified instance type belongs to. Please visit "
    "http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit. "
    "Launching EC2 instance failed.",
    SPOT: "Max spot instance count exceeded. Launching EC2 instance failed.",
}
# By group: why it could not start what it wants.
_refused: dict[str, str] = {}


def processors(instance_type: str) -> int:
    """The virtual processors of an instance type."""
    size = instance_type.partition(".")[2]
    several = re.fullmatch(r"(\d+)xlarge", size)
    return 4 * int(several[1]) if several else PROCESSORS[size]


def install() -> None:
    """Holds groups to the quotas, and describes types with their processors."""
    reconcile, describe_types = autoscaling._reconcile_instances, ec2._describe_instance_types

    def within_quota(group: dict[str, Any]) -> None:
        name = group["AutoScalingGroupName"]
        _refused.pop(name, None)
        wanted = group["DesiredCapacity"]
        if wanted > len(group["Instances"]) and (refusal := _refusal(group)):
            _refused[name] = refusal
            return
        reconcile(group)

    def types(parameters: dict[str, Any]) -> Any:
        status, headers, body = describe_types(parameters)
        return (
            status,
            headers,
            re.sub(
                r"(<instanceType>([^<]+)</instanceType>.*?<defaultVCpus>)\d+",
                lambda found: f"{found[1]}{processors(found[2])}",
                body.decode(),
                flags=re.DOTALL,
            ).encode(),
        )

    autoscaling._reconcile_instances = within_quota
    autoscaling._ACTION_MAP["DescribeScalingActivities"] = _activities
    ec2._ACTION_MAP["DescribeInstanceTypes"] = types


def _refusal(group: dict[str, Any]) -> str:
    template = launch_template(group["LaunchTemplate"])
    quota = SPOT if (template.get("InstanceMarketOptions") or {}).get("MarketType") == "spot" else STANDARD
    limit = account.value(*quota)
    wanted = group["DesiredCapacity"] * processors(template["InstanceType"])
    return REFUSALS[quota].format(limit=limit) if wanted > limit else ""


def _activities(parameters: dict[str, Any]) -> Any:
    name = autoscaling._p(parameters, "AutoScalingGroupName")
    members = ""
    if reason := _refused.get(name):
        members = (
            f"<member><ActivityId>{autoscaling.new_uuid()}</ActivityId>"
            f"<AutoScalingGroupName>{name}</AutoScalingGroupName>"
            "<Cause>The number of instances was to be raised to the desired capacity.</Cause>"
            f"<StartTime>{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}</StartTime>"
            f"<StatusCode>Failed</StatusCode><StatusMessage>{reason}</StatusMessage></member>"
        )
    result = f"<DescribeScalingActivitiesResult><Activities>{members}</Activities></DescribeScalingActivitiesResult>"
    return autoscaling._xml(200, "DescribeScalingActivitiesResponse", result)
