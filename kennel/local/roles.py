"""Credentials that a service holds while it acts in a role: what the role's policies allow, and nothing more."""

import secrets

import boto3
from ministack.services import sts

from kennel.local.settings import REGION


def service_session(role_arn: str, session_name: str) -> boto3.Session:
    """A session of `role_arn`, as SageMaker makes for a job or an endpoint."""
    credentials = service_credentials(role_arn, session_name)
    return boto3.Session(
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
