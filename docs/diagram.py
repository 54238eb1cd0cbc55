"""The diagram of docs/architecture.md, from the templates: who may do what with what, and who is told.

Arrows are grants. A role's part acts; what it acts on is in a statement of its policies.
"""

import re
from collections.abc import Iterator

from kennel.stage.template_roles import Role, Stacks

# The actor of each role: its stack, and its label.
ACTORS = {
    "ClassifierRole": ("Api", "function behind the URL"),
    "DriftRole": ("Operations", "drift check, hourly"),
    "Ec2Role": ("Training", "EC2 training, group of 0 or 1"),
    "JobRole": ("Training", "SageMaker training job"),
    "ModelRole": ("Serving", "endpoint with the model"),
    "NightStopRole": ("Training", "scheduled shutdown"),
    "NotebookRole": ("Training", "notebook"),
}
# The targets by a part of their ARN: a node, or an actor's.
TARGETS = (
    (r":s3:::\S*storagedatasets", "Datasets"),
    (r":s3:::\S*storagemodels", "Models"),
    (r":sagemaker:\S*:endpoint/kennel-[a-z]+-(scaled|serverless)$", "ModelRole"),
    (r":sagemaker:\S*:training-job/", "JobRole"),
    (r":sagemaker:\S*:notebook-instance/", "NotebookRole"),
    (r":cloudformation:\S*-Serving", "ModelRole"),
    (r":autoscaling:", "Ec2Role"),
    (r":ssm:\S*:parameter/kennel/[a-z]+/model$", "Parameter"),
)
NODES = {
    "Datasets": ("Data", "datasets, inbox", "[({})]"),
    "Models": ("Data", "packages, checkpoints, captures", "[({})]"),
    "Parameter": ("", "promoted package, SSM", "[/{}/]"),
}
# The verb for a call; others, of logs and keys for example, are left out.
VERBS = (
    (r"s3:GetObject", "reads"),
    (r"s3:PutObject$", "writes"),
    (r"sagemaker:InvokeEndpoint", "invokes"),
    (r"sagemaker:Create", "starts"),
    (r"sagemaker:StopNotebookInstance", "stops"),
    (r"cloudformation:DeleteStack", "removes"),
    (r"autoscaling:SetDesiredCapacity", "empties its group"),
    (r"ssm:GetParameter", "reads"),
)


def mermaid(stacks: Stacks) -> str:
    """The flowchart; raises KeyError for a role that ACTORS does not have."""
    roles = {name: role for name, role in stacks.roles().items() if not name.startswith("Custom")}
    lines = ["```mermaid", "flowchart LR"]
    for stack in ("Api", "Serving", "Training", "Data", "Operations"):
        lines.append(f"  subgraph {stack}")
        lines += [f'    {name}["{ACTORS[name][1]}"]' for name in sorted(roles) if ACTORS[name][0] == stack]
        lines += [f"    {_node(name)}" for name, (of, _, _) in NODES.items() if of == stack]
        lines += [f"    {line}" for line in _more(stack, stacks)]
        lines.append("  end")
    lines.append(f"  {_node('Parameter')}")
    for name, role in sorted(roles.items()):
        for target, verbs in sorted(_acts(role).items()):
            if target != name:
                lines.append(f"  {name} -->|{', '.join(verbs)}| {target}")
    lines += [f"  {line}" for line in _flows(stacks)]
    return "\n".join([*lines, "```"]) + "\n"


def _node(name: str) -> str:
    _, label, shape = NODES[name]
    return name + shape.format(f'"{label}"')


def _acts(role: Role) -> dict[str, list[str]]:
    """By target, what the role may do there, in words."""
    found: dict[str, list[str]] = {}
    for statement in role.statements():
        verbs = [verb for pattern, verb in VERBS if any(re.match(pattern, action) for action in statement["Action"])]
        for resource in statement["Resource"]:
            for pattern, target in TARGETS:
                if re.search(pattern, resource):
                    known = found.setdefault(target, [])
                    known += [verb for verb in verbs if verb not in known]
    return {target: verbs for target, verbs in found.items() if verbs}


def _more(stack: str, stacks: Stacks) -> Iterator[str]:
    """The nodes without a role."""
    if stack == "Api" and _count(stacks, "AWS::Lambda::Url"):
        yield 'Url(["URL, signed"])'
    if stack == "Operations":
        yield f'Alarms["{_count(stacks, "AWS::CloudWatch::Alarm")} alarms, and one composite alarm"]'
        yield 'Budget["monthly budget"]'
        yield 'Topic[["topic, encrypted"]]'


def _flows(stacks: Stacks) -> Iterator[str]:
    """Arrows that no role's policy is needed for."""
    yield "Caller((caller)) -->|SigV4| Url --> ClassifierRole"
    yield "Operator((operator)) -->|kennel train| JobRole"
    yield "Operator -->|kennel promote| Parameter -->|make deploy| ModelRole"
    if _count(stacks, "AWS::SNS::Topic"):
        yield "Alarms --> Topic"
        yield "Budget --> Topic"
        yield "Topic --> People((on call))"
    for watched in ("ClassifierRole", "ModelRole", "Ec2Role", "DriftRole"):
        yield f"{watched} -.->|metrics| Alarms"


def _count(stacks: Stacks, kind: str) -> int:
    return len(list(stacks.resources(kind)))
