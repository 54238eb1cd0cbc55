"""The roles of a stage as its templates declare them: policies with every reference made a plain ARN."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from infra import names

Template = dict[str, Any]
Document = dict[str, Any]

# An account that is nobody's, and ids that no service gives.
ACCOUNT = "111122223333"
KEY_ID = "00000000-0000-0000-0000-000000000000"
PSEUDO = {"AWS::AccountId": ACCOUNT, "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com"}
# A name that CloudFormation would have made begins with that of the stack.
ARNS = {
    "AWS::S3::Bucket": "arn:aws:s3:::{lower}",
    "AWS::KMS::Key": f"arn:aws:kms:{{region}}:{ACCOUNT}:key/{KEY_ID}",
    "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{{name}}",
    "AWS::IAM::OIDCProvider": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{{name}}",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{{region}}:{ACCOUNT}:log-group:{{name}}:*",
    "AWS::Lambda::Function": f"arn:aws:lambda:{{region}}:{ACCOUNT}:function:{{name}}",
    "AWS::Lambda::Alias": f"arn:aws:lambda:{{region}}:{ACCOUNT}:function:{{stack}}-Function:live",
}
NAMES = {"AWS::Logs::LogGroup": "LogGroupName"}
# The value of Ref, for types where it is not the name.
REF_IS_ARN = ("AWS::Lambda::Alias", "AWS::IAM::ManagedPolicy")


@dataclass
class Role:
    """A role: its ARN, who may assume it, its policies by name, those of AWS, and its boundary's ARN."""

    name: str
    arn: str
    trust: Document
    policies: dict[str, Document] = field(default_factory=dict)
    managed: list[str] = field(default_factory=list)
    boundary: str | None = None

    def statements(self) -> Iterator[Document]:
        """The statements of its own policies, with lists for actions and resources."""
        for document in self.policies.values():
            for statement in document["Statement"]:
                yield {**statement, "Action": listed(statement["Action"]), "Resource": listed(statement["Resource"])}


class Stacks:
    """The templates of one stage, by the last part of the stack's name ("Data", "Api")."""

    def __init__(self, templates: dict[str, Template], stage: str, region: str) -> None:
        self.templates, self._stage, self._region = templates, stage, region

    def roles(self) -> dict[str, Role]:
        """The roles by logical id, without the hash at its end."""
        found = {}
        for stack, logical_id, resource in self.resources("AWS::IAM::Role"):
            properties = self.resolved(stack, resource["Properties"])
            name = re.sub(r"[0-9A-F]{8}$", "", logical_id)
            role = Role(
                name,
                self.arn(stack, logical_id),
                properties["AssumeRolePolicyDocument"],
                {item["PolicyName"]: item["PolicyDocument"] for item in properties.get("Policies", [])},
                properties.get("ManagedPolicyArns", []),
                properties.get("PermissionsBoundary"),
            )
            for other, policy_id, policy in self.resources("AWS::IAM::Policy"):
                if {"Ref": logical_id} in policy["Properties"]["Roles"] and other == stack:
                    role.policies[policy_id] = self.resolved(stack, policy["Properties"]["PolicyDocument"])
            found[name] = role
        return found

    def buckets(self) -> dict[str, tuple[str, Document]]:
        """The buckets by logical id without its hash: ARN, and policy."""
        found = {}
        for stack, _, policy in self.resources("AWS::S3::BucketPolicy"):
            logical_id = policy["Properties"]["Bucket"]["Ref"]
            document = self.resolved(stack, policy["Properties"]["PolicyDocument"])
            found[re.sub(r"[0-9A-F]{8}$", "", logical_id)] = (self.arn(stack, logical_id), document)
        return found

    def key(self) -> tuple[str, Document]:
        """ARN and policy of the stage's key."""
        ((stack, logical_id, resource),) = self.resources("AWS::KMS::Key")
        return self.arn(stack, logical_id), self.resolved(stack, resource["Properties"]["KeyPolicy"])

    def resources(self, kind: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Stack, logical id and resource of every resource of a type."""
        for stack, template in self.templates.items():
            for logical_id, resource in template["Resources"].items():
                if resource["Type"] == kind:
                    yield stack, logical_id, resource

    def arn(self, stack: str, logical_id: str) -> str:
        """The ARN of a resource."""
        resource = self.templates[stack]["Resources"][logical_id]
        pattern = ARNS[resource["Type"]]
        name = self._name(stack, logical_id)
        return pattern.format(region=self._region, name=name, lower=name.lower(), stack=names.stack(self._stage, stack))

    def _name(self, stack: str, logical_id: str) -> str:
        resource = self.templates[stack]["Resources"][logical_id]
        given = resource.get("Properties", {}).get(NAMES.get(resource["Type"], ""))
        return str(given or f"Kennel-{self._stage}-{stack}-{logical_id}")

    def resolved(self, stack: str, node: Any) -> Any:
        """A part of a template without intrinsic functions. Raises KeyError for one that it does not know."""
        if isinstance(node, list):
            return [self.resolved(stack, item) for item in node]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((function, value),) = node.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self._value(stack, function, value)
        return {key: self.resolved(stack, value) for key, value in node.items()}

    def _value(self, stack: str, function: str, value: Any) -> Any:
        if function == "Ref":
            return self._reference(stack, value)
        if function == "Fn::GetAtt":
            return self.arn(stack, value[0]) if value[1] == "Arn" else f"{value[0]}-{value[1]}"
        if function == "Fn::Join":
            return value[0].join(str(self.resolved(stack, part)) for part in value[1])
        if function == "Fn::Sub":
            return re.sub(r"\$\{([^}]+)\}", lambda match: self._reference(stack, match[1]), value)
        if function == "Fn::ImportValue":
            owner = value.partition(":")[0].rpartition("-")[2]
            for output in self.templates[owner]["Outputs"].values():
                if output.get("Export", {}).get("Name") == value:
                    return self.resolved(owner, output["Value"])
        raise KeyError(f"{function} {value}")

    def _reference(self, stack: str, name: str) -> str:
        if name == "AWS::Region":
            return self._region
        if name in PSEUDO:
            return PSEUDO[name]
        kind = self.templates[stack]["Resources"][name]["Type"]
        return self.arn(stack, name) if kind in REF_IS_ARN else self._name(stack, name)


def listed(value: Any) -> list[Any]:
    """One or many, as a list."""
    return value if isinstance(value, list) else [value]
