"""Roles that services act in: their credentials, what their policies allow, and the roles that are AWS's own."""

import secrets
from typing import Any

import boto3
from ministack.core import iam_evaluator
from ministack.services import iam, kms, sts

from kennel.local import clients
from kennel.local.settings import ACCOUNT, REGION

# Service-linked roles: each service makes its own in the name of the first caller who needs it.
GROUPS_ROLE = "autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
SCALING_ROLES = {
    namespace: f"{namespace}.application-autoscaling.amazonaws.com/AWSServiceRoleForApplicationAutoScaling_{suffix}"
    for namespace, suffix in (("sagemaker", "SageMakerEndpoint"), ("lambda", "LambdaConcurrency"))
}


def service_session(role_arn: str, session_name: str) -> boto3.Session:
    """A session of `role_arn`, as SageMaker makes for a job or an endpoint."""
    credentials = service_credentials(role_arn, session_name)
    return clients.session(
        aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=credentials["AWS_SESSION_TOKEN"],
        region_name=REGION,
    )


def service_credentials(role_arn: str, session_name: str) -> dict[str, str]:
    """Temporary credentials of `role_arn`, as the environment variables of a process."""
    account, role = role_arn.split(":")[4], role_arn.rsplit("/", 1)[-1]
    access_key, secret, token = f"ASIA{secrets.token_hex(8).upper()}", secrets.token_hex(20), secrets.token_hex(32)
    sts.register_session(
        access_key,
        {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{role}/{session_name[:64]}",
            "UserId": f"{role}:{session_name[:64]}",
            "SecretAccessKey": secret,
            "SessionToken": token,
        },
    )
    return {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token}


def allowed(role: str, action: str, resource: str, context: dict[str, Any]) -> bool:
    """True if a role's policies, within its boundary, allow a call; names of condition keys are in lower case."""
    name = role.rpartition("/")[2]
    limits = iam_evaluator._permissions_boundary(iam._roles, name, ACCOUNT)
    policies = iam_evaluator._gather_role_policies(name, ACCOUNT)
    request = _request(role, action, resource, context)
    return bool(iam_evaluator.evaluate(request, policies, *limits).decision == "Allow")


def key_allows(role: str, action: str, key: str, context: dict[str, Any], policy: Any = None) -> bool:
    """True if a key's policy, `policy` or the one that it has, allows a call to the role itself."""
    present = (kms._keys.get(key.rpartition("/")[2]) or {}).get("Policy") or policy
    request = _request(role, action, key, context)
    return bool(iam_evaluator.evaluate_resource_policy(present, request, named_only=True).decision == "Allow")


def _request(role: str, action: str, resource: str, context: dict[str, Any]) -> iam_evaluator.EvalContext:
    return iam_evaluator.EvalContext(
        principal_arn=role,
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=action,
        resource_arn=resource,
        region=REGION,
        service_context=context,
    )


def key_arn(key: str) -> str:
    """The ARN of a key that a call names by its id."""
    return key if key.startswith("arn:") else f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key}"


def service_role(path: str) -> str:
    """The ARN of a service-linked role."""
    return f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/{path}"


def has_service_role(arn: str) -> bool:
    """True if the account has the service-linked role."""
    return arn.rpartition("/")[2] in iam._roles


def make_service_role(arn: str) -> None:
    """Makes a service-linked role, as its service does."""
    path, _, name = arn.partition(":role/")[2].rpartition("/")
    iam._roles[name] = {
        "RoleName": name,
        "Arn": arn,
        "RoleId": f"AROA{secrets.token_hex(8).upper()}",
        "CreateDate": iam._now(),
        "Path": f"/{path}/",
        "AssumeRolePolicyDocument": "{}",
        "Description": "",
        "MaxSessionDuration": 3600,
        "AttachedPolicies": [],
        "InlinePolicies": {},
        "Tags": [],
    }
