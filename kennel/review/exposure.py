"""Resources that become public, and those that no longer are."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from kennel.review.differences import StackDifference, name_of
from kennel.review.markdown import code, plain
from kennel.stage.assemblies import Template
from kennel.stage.template_roles import listed

EVERYWHERE = ("0.0.0.0/0", "::/0")
# A network of more addresses than anybody owns.
WIDE_PREFIX = 8
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
    if kind == "AWS::Lambda::Url" and properties.get("AuthType") != "AWS_IAM":
        known = isinstance(properties.get("AuthType"), str)
        yield "answers everyone, without a signature" if known else "may answer everyone: its AuthType is not known yet"
    if kind == "AWS::Lambda::Url":
        cors = properties.get("Cors")
        if "*" in listed((cors if isinstance(cors, dict) else {}).get("AllowOrigins", [])):
            yield "may be called by scripts of every page on the internet (CORS)"
    if kind == "AWS::Lambda::Permission" and properties.get("Principal") == "*":
        yield "lets everyone call the function"
    if kind == "AWS::S3::Bucket":
        block = properties.get("PublicAccessBlockConfiguration") or {}
        if open_ := [part for part in CLOSED if str(block.get(part, False)).lower() != "true"]:
            yield f"may be made public: {', '.join(open_)} not set"
    if kind in ("AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy", "AWS::SQS::QueuePolicy", "AWS::KMS::Key"):
        document = properties.get("PolicyDocument") or properties.get("KeyPolicy") or {}
        for statement in listed(document.get("Statement", []) if isinstance(document, dict) else []):
            if not isinstance(statement, dict):
                continue  # Access says that nobody can read it
            anyone = statement.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]}) or "NotPrincipal" in statement
            if statement.get("Effect") == "Allow" and anyone and not statement.get("Condition"):
                yield f"lets everyone {code(str(statement.get('Action')))}"
    if kind == "AWS::CloudFront::Distribution":
        yield "is on the internet, behind CloudFront"
    if kind == "AWS::EC2::SecurityGroup":
        for rule in listed(properties.get("SecurityGroupIngress", [])):
            yield from _ingress(rule)
    if kind == "AWS::EC2::SecurityGroupIngress":
        yield from _ingress(properties)
    if kind in ("AWS::ApiGateway::RestApi", "AWS::ApiGatewayV2::Api"):
        yield "is an API on the internet"
    if str(properties.get("PubliclyAccessible", False)).lower() == "true":
        yield "is publicly accessible"
    if properties.get("Scheme") == "internet-facing":
        yield "faces the internet"
    if kind == "AWS::SageMaker::NotebookInstance" and properties.get("RootAccess", "Enabled") == "Enabled":
        yield "gives its users root"


def _ingress(rule: Any) -> Iterator[str]:
    if not isinstance(rule, dict) or "Fn::If" in rule:
        yield "may let everyone in: a rule is not known yet"
        return
    for source in (rule.get("CidrIp"), rule.get("CidrIpv6")):
        if isinstance(source, str) and _wide(source):
            who = "everyone" if source in EVERYWHERE else f"a large part of the internet, {code(source)},"
            yield f"lets {who} in on {_ports(rule.get('IpProtocol'), rule.get('FromPort'), rule.get('ToPort'))}"


def _wide(source: str) -> bool:
    try:
        return ip_network(source, strict=False).prefixlen <= WIDE_PREFIX
    except ValueError:
        return False


def _rule(rule: dict[str, Any]) -> str:
    peer = rule.get("peer") or {}
    who = next((str(peer[key]) for key in ("ip", "securityGroupId", "prefixListId") if key in peer), "?")
    where = _ports(rule["ipProtocol"], rule.get("fromPort"), rule.get("toPort"))
    anyone = " (everywhere)" if who in EVERYWHERE else ""
    return f"{code(who)}{anyone} on {where}"


def _ports(protocol: Any, first: Any, last: Any) -> str:
    if str(protocol) == "-1":
        return "every port"
    first, last = (port if isinstance(port, (int, str)) else "a port not known yet" for port in (first, last))
    return f"{plain(str(protocol))} {first}" if first == last else f"{plain(str(protocol))} {first} to {last}"
