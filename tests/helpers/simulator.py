"""AWS's rules for deciding a request, by a policy simulator that is not ours: identity, boundary, resource, key."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers import REPOSITORY
from kennel.review.node_program import NodeProgram
from kennel.stage.template_roles import ACCOUNT, Document

SIMULATOR = NodeProgram(Path(__file__).with_name("simulate.mjs"), REPOSITORY)


@dataclass(frozen=True)
class Request:
    """One call: the action, the ARN it is authorized on, condition keys, and the policy that the resource has."""

    action: str
    resource: str
    context: dict[str, str] = field(default_factory=dict)
    resource_policy: Document | None = None
    account: str = ACCOUNT


@dataclass(frozen=True)
class Caller:
    """Who calls: the ARN, the policies, the boundary."""

    arn: str
    policies: list[Document]
    boundary: Document | None = None
    account: str = ACCOUNT


def simulate(cases: list[tuple[Caller, Request]]) -> list[bool]:
    """Whether each call is allowed; a request that AWS does not know is an error."""
    outcomes = SIMULATOR.ask(
        json.loads(encryption_context_is_ignored(json.dumps([_simulation(*case) for case in cases])))
    )
    wrong = [(cases[index][1], outcome) for index, outcome in enumerate(outcomes) if "Error" in outcome]
    assert not wrong, wrong[:3]
    return [outcome == "Allowed" for outcome in outcomes]


def encryption_context_is_ignored(simulations: str) -> str:
    """iam-simulate 0.1.173 drops kms:EncryptionContext:* from requests: under another name it is compared."""
    return simulations.replace("kms:EncryptionContext:", "aws:PrincipalTag/EncryptionContext-")


def _simulation(caller: Caller, request: Request) -> dict[str, Any]:
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    context = {
        "aws:SecureTransport": "true",
        "aws:PrincipalAccount": caller.account,
        "aws:PrincipalIsAWSService": "false",
        "aws:PrincipalArn": caller.arn,
        **({"s3:TlsVersion": "1.3"} if request.action.startswith("s3:") else {}),
        **request.context,
    }
    simulation = {
        "request": {
            "principal": caller.arn,
            "action": request.action,
            "resource": {"resource": request.resource, "accountId": request.account},
            "contextVariables": context,
        },
        "identityPolicies": [{"name": str(number), "policy": policy} for number, policy in enumerate(caller.policies)],
        "serviceControlPolicies": [{"orgIdentifier": "o-1", "policies": [{"name": "all", "policy": everything}]}],
        "resourceControlPolicies": [],
        **({"resourcePolicy": request.resource_policy} if request.resource_policy else {}),
    }
    if caller.boundary:
        simulation["permissionBoundaryPolicies"] = [{"name": "boundary", "policy": caller.boundary}]
    return simulation
