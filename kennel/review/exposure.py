"""What is on the internet that was not, and what is not any more."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kennel.review.access import code
from kennel.review.assemblies import Template
from kennel.review.differences import StackDifference, name_of

EVERYWHERE = ("0.0.0.0/0", "::/0")
CLOSED = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")


@dataclass(frozen=True)
class Exposed:
    """A way in from anywhere, of one stack: what it is, in Markdown."""

    stack: str
    sentence: str


def exposed(stack: str, template: Template) -> list[Exposed]:
    """Every way in from anywhere that a template has."""
    return [
        Exposed(stack, f"**{name_of(template, logical_id)}** {sentence}")
        for logical_id, resource in template.get("Resources", {}).items()
        for sentence in _of(resource["Type"], resource.get("Properties", {}))
    ]


def rules(difference: StackDifference) -> list[str]:
    """The rules of security groups that come and go, in words."""
    words = {"comes": difference.rules_added, "goes": difference.rules_removed}
    return [f"a security group's rule {verb}: {_rule(rule)}" for verb, found in words.items() for rule in found]


def _of(kind: str, properties: dict[str, Any]) -> Iterator[str]:
    if kind == "AWS::Lambda::Url" and properties.get("AuthType") == "NONE":
        yield "answers everyone, without a signature"
    if kind == "AWS::Lambda::Permission" and properties.get("Principal") == "*":
        yield "lets everyone call the function"
    if kind == "AWS::S3::Bucket":
        block = properties.get("PublicAccessBlockConfiguration") or {}
        if open_ := [part for part in CLOSED if str(block.get(part, False)).lower() != "true"]:
            yield f"may be made public: {', '.join(open_)} not set"
    if kind in ("AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy", "AWS::SQS::QueuePolicy", "AWS::KMS::Key"):
        document = properties.get("PolicyDocument") or properties.get("KeyPolicy") or {}
        for statement in document.get("Statement", []):
            anyone = statement.get("Principal") in ("*", {"AWS": "*"})
            if statement.get("Effect") == "Allow" and anyone and not statement.get("Condition"):
                yield f"lets everyone {code(str(statement.get('Action')))}"
    if kind == "AWS::CloudFront::Distribution":
        yield "is on the internet, behind CloudFront"
    if kind == "AWS::EC2::SecurityGroup":
        for rule in properties.get("SecurityGroupIngress", []):
            yield from _ingress(rule)
    if kind == "AWS::EC2::SecurityGroupIngress":
        yield from _ingress(properties)
    if kind == "AWS::SageMaker::NotebookInstance" and properties.get("RootAccess", "Enabled") == "Enabled":
        yield "gives its users root"


def _ingress(rule: dict[str, Any]) -> Iterator[str]:
    if rule.get("CidrIp") in EVERYWHERE or rule.get("CidrIpv6") in EVERYWHERE:
        yield f"lets everyone in on {_ports(rule.get('IpProtocol'), rule.get('FromPort'), rule.get('ToPort'))}"


def _rule(rule: dict[str, Any]) -> str:
    peer = rule.get("peer") or {}
    who = next((str(peer[key]) for key in ("ip", "securityGroupId", "prefixListId") if key in peer), "?")
    where = _ports(rule["ipProtocol"], rule.get("fromPort"), rule.get("toPort"))
    anyone = " (everywhere)" if who in EVERYWHERE else ""
    return f"{code(who)}{anyone} on {where}"


def _ports(protocol: Any, first: Any, last: Any) -> str:
    if str(protocol) == "-1":
        return "every port"
    return f"{protocol} {first}" if first == last else f"{protocol} {first} to {last}"
