#!/usr/bin/env python3
"""Reads the stages from cdk.json for the workflows, so that they are listed only there.

stages.py list              the names of all stages, as JSON, in the order of deploys
stages.py list --awake      the same, without stages that have a shutdown_schedule
stages.py region STAGE      the stage's region, as a step output; reads only cdk.json
stages.py outputs STAGE ACCOUNT
                            the region, the deploy role and the lookup role of the stage, as step outputs; ACCOUNT is
                            used if the stage has no `account`
"""

import json
import sys
from pathlib import Path

CONTEXT = json.loads(Path("cdk.json").read_text())["context"]
STAGES = CONTEXT["stages"]


def main(command: str, stage: str = "", account: str = "") -> None:
    """Prints the answer."""
    if command == "list":
        awake = [name for name, found in STAGES.items() if not found.get("shutdown_schedule")]
        print(json.dumps(awake if stage == "--awake" else [*STAGES]))
        return
    if stage not in STAGES:
        sys.exit(f"No stage {stage!r} in cdk.json (known: {', '.join(STAGES)}).")
    region, account = STAGES[stage]["region"], STAGES[stage].get("account") or account
    print(f"region={region}")
    if command == "region":
        return
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from infra.bootstrap.execution_policy import QUALIFIER, qualifier
    from infra.names import DEPLOY_ROLE

    roles = f"arn:{'aws-cn' if region.startswith('cn-') else 'aws'}:iam::{account}:role"
    own = qualifier(stage, CONTEXT.get(QUALIFIER))
    print(f"deploy-role={roles}/{DEPLOY_ROLE}-{stage}")
    print(f"lookup-role={roles}/cdk-{own}-lookup-role-{account}-{region}")


if __name__ == "__main__":
    main(*sys.argv[1:])
