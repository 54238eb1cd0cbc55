"""The stages, the options that the tests cross them with, and their templates."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks

from helpers import REPOSITORY
from helpers.kept import STACKS, kept
from infra.config import parse_stage
from infra.stage import add_stacks

CONTEXT = json.loads((REPOSITORY / "cdk.json").read_text())["context"]
FLAGS = {name: value for name, value in CONTEXT.items() if name.startswith("@aws-cdk/")}

# The stages of cdk.json, and what an option changes.
MATRIX: dict[str, dict[str, Any]] = {
    **CONTEXT["stages"],
    "public": {
        **CONTEXT["stages"]["dev"],
        "function": {"url_auth": "NONE", "public_url_reason": "a demo without data"},
    },
    "office": {
        **CONTEXT["stages"]["dev"],
        "log_retention_days": 400,
        "endpoint": {
            # With local disks, which take no key.
            "instance_type": "ml.m5d.xlarge",
            "scaling_target_instance_type": "ml.m5d.xlarge",
            "capture_inputs": True,
            "fixed": True,
            "fixed_instances": 1,
            "min_instances": 1,
            "model_threads": 2,
            "instance_hours": [
                {"cron": "0 7 ? * MON-FRI *", "time_zone": "Europe/Zurich", "min_instances": 2, "max_instances": 4},
                {"cron": "0 19 ? * MON-FRI *", "time_zone": "Europe/Zurich", "min_instances": 1, "max_instances": 2},
            ],
        },
    },
    "serverless": {
        **CONTEXT["stages"]["dev"],
        "endpoint": {"serverless": {"memory_mib": 3072}, "scaling_target_instance_type": "none", "capture_percent": 0},
        "function": {**CONTEXT["stages"]["dev"]["function"], "max_image_bytes": 4_000_000},
    },
    "unscaled": {
        **CONTEXT["stages"]["dev"],
        "endpoint": {"instance_type": "ml.c5.xlarge", "scaling_target_instance_type": "none", "canary_percent": 50},
    },
    "page": {
        **CONTEXT["stages"]["dev"],
        "operations": {"alarm_emails": ["oncall@example.com"]},
        "function": {
            **CONTEXT["stages"]["dev"]["function"],
            "web_page": True,
            "cloudfront": True,
            "public_url_reason": "for people at the fair",
            "url_fetch_hosts": ["images.example.com"],
            "provisioned_hours": [
                {"cron": "0 7 ? * MON-FRI *", "time_zone": "Europe/Zurich", "provisioned_min": 2},
                {"cron": "0 19 ? * MON-FRI *", "time_zone": "Europe/Zurich", "provisioned_min": 1},
            ],
        },
    },
    "snapstart": {**CONTEXT["stages"]["dev"], "function": {"snap_start": True}},
    # A new account has no concurrency to reserve.
    "ondemand": {
        **CONTEXT["stages"]["dev"],
        "region": "eu-central-1",
        "ec2": {"spot": False},
        "function": {"reserved_concurrency": None},
    },
}

Templates = dict[str, dict[str, Any]]
DEPLOYED = ("Data", "Training", "Serving", "Api", "Operations")


def synthesize(name: str, settings: dict[str, Any], folder: Path) -> Templates:
    """The templates of a stage; what an option changes is on top of dev, so that what it leaves alone is the same."""
    app = App(context=FLAGS, outdir=str(folder))
    add_stacks(app, parse_stage(name if name in CONTEXT["stages"] else "dev", settings))
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    # Findings are an error of the synthesis; the report has them (tests/infra/test_rules.py).
    with contextlib.suppress(RuntimeError):
        app.synth()
    return templates(folder)


def templates(folder: Path) -> Templates:
    """The templates of a cloud assembly, by the last part of their stacks' names, in the order of deployment."""
    found = {file.name.split(".")[0].rpartition("-")[2]: file for file in folder.glob("*.template.json")}
    return {stack: json.loads(found[stack].read_text()) for stack in DEPLOYED}


def kept_synthesis(name: str) -> Path:
    """The cloud assembly of a stage of the matrix, with cdk-nag's report."""

    def make(folder: Path) -> None:
        synthesize(name, MATRIX[name], folder)
        for asset in folder.glob("asset.*/"):
            shutil.rmtree(asset)

    return kept(f"matrix-{name}", ("tests/helpers/synthesis.py", *STACKS), make)
