#!/usr/bin/env python3
"""What the workflows need to know of cdk.json, so that a stage is written there and nowhere else.

stages.py list              the names of all stages, as JSON, in their order: that of a deploy
stages.py list --awake      without those that are stopped every evening
stages.py outputs STAGE     region, and the role by which CDK looks at an ACCOUNT, as outputs of a step
"""

import json
import sys
from pathlib import Path

CONTEXT = json.loads(Path("cdk.json").read_text())["context"]
STAGES = CONTEXT["stages"]


def main(command: str, argument: str = "") -> None:
    """Prints the answer."""
    if command == "list":
        print(json.dumps([name for name, stage in STAGES.items() if argument != "--awake" or not stage.get("stop")]))
        return
    if argument not in STAGES:
        sys.exit(f"No stage {argument!r} in cdk.json (known: {', '.join(STAGES)}).")
    region = STAGES[argument]["region"]
    partition = "aws-cn" if region.startswith("cn-") else "aws"
    qualifier = CONTEXT["@aws-cdk/core:bootstrapQualifier"]
    print(f"region={region}")
    print(f"lookup-role=arn:{partition}:iam::ACCOUNT:role/cdk-{qualifier}-lookup-role-ACCOUNT-{region}")


if __name__ == "__main__":
    main(*sys.argv[1:])
