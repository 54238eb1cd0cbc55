"""Where the embedded AWS lives, and the environment in which clients reach it and nothing else."""

import os
from pathlib import Path

from kennel.errors import KennelError

ACCOUNT = "000000000000"
REGION = "us-east-1"
ACCESS_KEY = "test"
DEFAULT_PORT = 4566

# Whatever could make a client talk to a real account.
CREDENTIAL_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
)


# How many times faster than AWS's the control loops run: metrics' minutes, alarms, scaling, the baking of an update.
DEFAULT_SPEED = 60


def speed() -> float:
    """KENNEL_LOCAL_SPEED, or 60: what takes AWS a minute takes a second. 1 is AWS's own.

    Raises KennelError for what is no number from 1 to 60: CloudWatch counts in whole seconds.
    """
    given = os.environ.get("KENNEL_LOCAL_SPEED", str(DEFAULT_SPEED))
    try:
        value = float(given)
    except ValueError:
        value = 0.0
    if not 1 <= value <= DEFAULT_SPEED:
        raise KennelError(f"KENNEL_LOCAL_SPEED is {given!r}: give a number from 1 (as on AWS) to {DEFAULT_SPEED}.")
    return value


def state_dir() -> Path:
    """Where the state file, the log and the jobs' folders are: KENNEL_LOCAL_DIR, or build/local."""
    return Path(os.environ.get("KENNEL_LOCAL_DIR", "build/local")).resolve()


def client_environment(endpoint: str) -> dict[str, str]:
    """What to set so that the AWS SDKs, the CDK CLI and kennel talk to the embedded AWS at `endpoint`."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        # The SageMaker SDK looks its role up and asks for telemetry; neither has a place here.
        "SAGEMAKER_VALIDATE_ROLE": "false",
        "SAGEMAKER_TELEMETRY_OPT_OUT": "1",
    }


def isolated_environment(endpoint: str) -> dict[str, str]:
    """This process's environment without any real credentials, pointed at the embedded AWS."""
    kept = {name: value for name, value in os.environ.items() if name not in CREDENTIAL_VARIABLES}
    return {**kept, **client_environment(endpoint)}


def real_credentials() -> list[str]:
    """The variables of this environment that hold credentials of a real account."""
    return [name for name in CREDENTIAL_VARIABLES if os.environ.get(name, ACCESS_KEY) != ACCESS_KEY]
