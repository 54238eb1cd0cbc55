"""The diagram of docs/architecture.md, generated from the templates: permissions of roles, metrics, notifications.

An arrow from a role's node is a permission: its target is a resource in a statement of the role's policies.
"""

import re
from collections.abc import Iterator

from kennel.stage.template_roles import Role, Stacks

# The node of each role: its stack, and its label.
ACTORS = {
    "ClassifierRole": ("Api", "function behind the URL"),
    "DriftRole": ("Operations", "drift check, hourly"),
    "Ec2Role": ("Training", "EC2 training, group of 0 or 1"),
    "JobRole": ("Training", "SageMaker training job"),
    "ModelRole": ("Serving", "endpoint with the model"),
    "NightStopRole": ("Training", "scheduled shutdown"),
    "NotebookRole": ("Training", "notebook"),
}
# Patterns of ARNs, and the node of each: one of NODES or of ACTORS.
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
# Patterns of actions, and the verb of each; other actions, such as those of logs and keys, are left out.
VERBS = (
    (r"s3:GetObject", "reads"),
    (r"s3:PutObject$", "writes"),
    (r"sagemaker:InvokeEndpoint", "invokes"),
    (r"sagemaker:Create", "starts"),
    (r"sagemaker:StopNotebookInstance", "stops"),
    (r"cloudformation:DeleteStack", "deletes"),
    (r"autoscaling:SetDesiredCapacity", "empties its group"),
    (r"ssm:GetParameter", "reads"),
)
ALARM = "AWS::CloudWatch::Alarm"


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
    """The verbs of the role's permissions by target."""
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
    if stack == "Serving":
        yield f'ServingAlarms["{_count(stacks, ALARM, stack)} alarms: errors and latency (rollback), no instance"]'
    if stack == "Operations":
        yield f'Alarms["{_count(stacks, ALARM, stack)} alarms, and one composite alarm"]'
        yield 'Budget["monthly budget"]'
        yield 'Topic[["topic, encrypted"]]'


def _flows(stacks: Stacks) -> Iterator[str]:
    """The arrows that are not in a role's policies."""
    yield "Caller((caller)) -->|SigV4| Url --> ClassifierRole"
    yield "Operator((operator)) -->|kennel train| JobRole"
    yield "Operator -->|kennel promote| Parameter -->|make deploy| ModelRole"
    if _count(stacks, "AWS::SNS::Topic"):
        yield "Alarms --> Topic"
        yield "ServingAlarms --> Topic"
        yield "Budget --> Topic"
        yield "Topic --> People((on call))"
    for watched in ("ClassifierRole", "ModelRole", "Ec2Role", "DriftRole"):
        yield f"{watched} -.->|metrics| Alarms"
    yield "ModelRole -.->|metrics| ServingAlarms"


def _count(stacks: Stacks, kind: str, stack: str = "") -> int:
    """The number of resources of a type, in one stack or in all."""
    return sum(stack in ("", of) for of, _, _ in stacks.resources(kind))
