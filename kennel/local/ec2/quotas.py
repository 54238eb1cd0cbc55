"""EC2's vCPU quotas: an Auto Scaling group starts no instance beyond them, and reports it in its activities.

ministack 1.5.33 starts any number of instances, has no scaling activities, and gives most types eight vCPUs.
"""

import re
from datetime import UTC, datetime
from typing import Any

from ministack.services import autoscaling, ec2

from kennel.local.ec2.instances import launch_template
from kennel.local.service_quotas import SPOT, STANDARD, account

# vCPUs by instance size, for the x86 families that Kennel supports (EC2 User Guide, "CPU options"). "metal" is the
# smallest of them.
VCPUS = {"nano": 2, "micro": 2, "small": 2, "medium": 2, "large": 2, "xlarge": 4, "metal": 96}
# "EC2 On-Demand Instance limits" and "Spot Instance quotas" of the same guide; EC2's own words.
REFUSALS = {
    STANDARD: "You have requested more vCPU capacity than your current vCPU limit of {limit:.0f} allows for the "
    "instance bucket that the specified instance type belongs to. Please visit "
    "http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit. "
    "Launching EC2 instance failed.",
    SPOT: "Max spot instance count exceeded. Launching EC2 instance failed.",
}
# The refusal of a group's last change of capacity, by group name.
_refused: dict[str, str] = {}


def vcpus(instance_type: str) -> int:
    """The number of vCPUs of an instance type."""
    size = instance_type.partition(".")[2]
    several = re.fullmatch(r"(\d+)xlarge", size)
    return 4 * int(several[1]) if several else VCPUS[size]


def install() -> None:
    """Applies the quotas to Auto Scaling groups, and corrects the vCPUs in DescribeInstanceTypes."""
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
        pattern = r"(<instanceType>([^<]+)</instanceType>.*?<defaultVCpus>)\d+"
        text = re.sub(pattern, lambda found: f"{found[1]}{vcpus(found[2])}", body.decode(), flags=re.DOTALL)
        return status, headers, text.encode()

    autoscaling._reconcile_instances = within_quota
    autoscaling._ACTION_MAP["DescribeScalingActivities"] = _activities
    ec2._ACTION_MAP["DescribeInstanceTypes"] = types


def _refusal(group: dict[str, Any]) -> str:
    template = launch_template(group["LaunchTemplate"])
    quota = SPOT if (template.get("InstanceMarketOptions") or {}).get("MarketType") == "spot" else STANDARD
    limit = account.value(*quota)
    wanted = group["DesiredCapacity"] * vcpus(template["InstanceType"])
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
