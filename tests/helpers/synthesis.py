"""The stages, the options that the tests cross them with, and their templates."""

import json
from pathlib import Path
from typing import Any

from aws_cdk import App

from helpers import REPOSITORY
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
    "gpu": {
        **CONTEXT["stages"]["dev"],
        "endpoint": {
            "instance_type": "ml.g5.xlarge",
            "scaling_registered_for": "ml.g5.xlarge",
            "capture_pictures": True,
            "fixed": True,
            "fixed_instances": 1,
            "min_instances": 1,
            "model_threads": 2,
            "concurrent_requests_per_instance": 4,
            "instance_hours": [
                {"cron": "0 7 ? * MON-FRI *", "time_zone": "Europe/Zurich", "min_instances": 2, "max_instances": 4},
                {"cron": "0 19 ? * MON-FRI *", "time_zone": "Europe/Zurich", "min_instances": 1, "max_instances": 2},
            ],
        },
    },
    "serverless": {
        **CONTEXT["stages"]["dev"],
        "endpoint": {"serverless": {"memory_mib": 3072}, "scaling_registered_for": "none", "capture_percent": 0},
    },
    "unscaled": {
        **CONTEXT["stages"]["dev"],
        "endpoint": {"instance_type": "ml.c5.xlarge", "scaling_registered_for": "none", "canary_percent": 50},
    },
    "page": {
        **CONTEXT["stages"]["dev"],
        "operations": {"notify": ["oncall@example.com"]},
        "function": {
            **CONTEXT["stages"]["dev"]["function"],
            "page": True,
            "cloudfront": True,
            "public_url_reason": "for people at the fair",
            "fetch_hosts": ["images.example.com"],
            "provisioned_hours": [
                {"cron": "0 7 ? * MON-FRI *", "time_zone": "Europe/Zurich", "provisioned_min": 2},
                {"cron": "0 19 ? * MON-FRI *", "time_zone": "Europe/Zurich", "provisioned_min": 0},
            ],
        },
    },
    "snapstart": {**CONTEXT["stages"]["dev"], "function": {"snap_start": True}},
    "ondemand": {**CONTEXT["stages"]["dev"], "region": "eu-central-1", "ec2": {"spot": False}},
}

Templates = dict[str, dict[str, Any]]


def synthesize(name: str, settings: dict[str, Any], folder: Path) -> Templates:
    app = App(context=FLAGS, outdir=str(folder))
    add_stacks(app, parse_stage(name, settings))
    assembly = app.synth()
    return {stack.stack_name.rpartition("-")[2]: stack.template for stack in assembly.stacks}
