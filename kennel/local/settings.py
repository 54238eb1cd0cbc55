"""Settings of the embedded AWS, and the environment in which clients reach it and nothing else."""

import os
from pathlib import Path

from kennel.local.errors import LocalError

REPOSITORY = Path(__file__).resolve().parents[2]
ACCOUNT = "000000000000"
# An embedded AWS is one region: that of the stage it was started for.
REGION_VARIABLE = "KENNEL_LOCAL_REGION"
REGION = os.environ.get(REGION_VARIABLE, "us-east-1")
# Whether the account is one that has asked for larger quotas, or a new one.
ACCOUNT_VARIABLE = "KENNEL_LOCAL_ACCOUNT"
ACCOUNT_KINDS = ("established", "new")
DEFAULT_PORT = 4566
# CloudWatch delivers SageMaker's one-minute metrics up to this much later.
METRIC_DELAY_S = 60
LOOPBACK_NAMES = ("localhost", "127.0.0.1")
# An address that never resolves (RFC 6761), for a shell that asked for an embedded AWS which is not up.
NOWHERE = "http://the-embedded-aws-is-not-running.invalid"


# The cores of each instance of an endpoint, by its place: "0.25,0.5,1". More instances begin again at the first.
CORES_VARIABLE = "KENNEL_LOCAL_CORES"

# How many times faster than AWS's the control loops run: metrics' minutes, alarms, scaling, the baking of an update.
DEFAULT_SPEED = 60


def speed() -> float:
    """KENNEL_LOCAL_SPEED, or 60: what takes AWS a minute takes a second. 1 is AWS's own.

    Raises LocalError for what is no number from 1 to 60: CloudWatch counts in whole seconds.
    """
    given = os.environ.get("KENNEL_LOCAL_SPEED", str(DEFAULT_SPEED))
    try:
        value = float(given)
    except ValueError:
        value = 0.0
    if not 1 <= value <= DEFAULT_SPEED:
        raise LocalError(f"KENNEL_LOCAL_SPEED is {given!r}: give a number from 1 (as on AWS) to {DEFAULT_SPEED}.")
    return value


def cores(index: int) -> float | None:
    """The cores of this machine for the instance at a place of its endpoint, by KENNEL_LOCAL_CORES; None for all.

    Raises LocalError if the variable is not a list of numbers of cores that this machine has.
    """
    given = os.environ.get(CORES_VARIABLE, "")
    if not given:
        return None
    try:
        shares = [float(part) for part in given.split(",")]
    except ValueError:
        shares = [0.0]
    if not all(0.01 <= share <= (os.cpu_count() or 1) for share in shares):
        raise LocalError(
            f"{CORES_VARIABLE} is {given!r}: give cores of this machine for each instance, such as 0.5 or 0.25,0.5,1."
        )
    return shares[index % len(shares)]


def state_dir() -> Path:
    """Folder of the state file, the log and the jobs: KENNEL_LOCAL_DIR, or build/local of this checkout."""
    given = os.environ.get("KENNEL_LOCAL_DIR")
    return Path(given).resolve() if given else REPOSITORY / "build" / "local"


def client_environment(endpoint: str, region: str, key: str) -> dict[str, str]:
    """Variables that point the AWS SDKs, the CDK CLI and kennel to the embedded AWS at `endpoint`; `key` is its own.

    They are complete only together with the removal of `foreign_variables`.
    """
    no_proxy = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    direct = ",".join(dict.fromkeys([*filter(None, no_proxy.split(",")), *LOOPBACK_NAMES]))
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": key,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        # Loopback is not reached by way of a proxy.
        "NO_PROXY": direct,
        "no_proxy": direct,
        # The SageMaker SDK would look its role up.
        "SAGEMAKER_VALIDATE_ROLE": "false",
    }


def foreign_variables() -> list[str]:
    """AWS variables of this process that are not the embedded AWS's: credentials, profiles, endpoints of services."""
    ours = client_environment("", "", "")
    return sorted(name for name in os.environ if name.startswith("AWS_") and name not in ours)


def nowhere() -> list[str]:
    """Lines of shell that fail, and set an endpoint for which no proxy is used either."""
    direct = f"{client_environment(NOWHERE, '', '')['no_proxy']},{NOWHERE.rpartition('/')[2]}"
    return [f"export AWS_ENDPOINT_URL={NOWHERE} NO_PROXY={direct} no_proxy={direct}", "false"]


def isolated_environment(endpoint: str, region: str, key: str) -> dict[str, str]:
    """This process's environment pointed to the embedded AWS, without any other AWS variable."""
    foreign = foreign_variables()
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    return {**kept, **client_environment(endpoint, region, key)}


def isolate(endpoint: str, region: str, key: str) -> None:
    """Points this process to the embedded AWS, and to nothing else of AWS."""
    environment = isolated_environment(endpoint, region, key)
    os.environ.clear()
    os.environ.update(environment)
