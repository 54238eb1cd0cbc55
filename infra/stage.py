"""The stacks of a stage, in the order in which they are deployed."""

from typing import Any

from aws_cdk import App, DefaultStackSynthesizer, Environment, Stack, Tags
from aws_cdk import aws_iam as iam

from infra.api import ApiStack
from infra.bootstrap.execution_policy import boundary_name
from infra.bootstrap.roles import bootstrap_qualifier
from infra.data import DataStack
from infra.names import STAGE_TAG
from infra.operations import OperationsStack
from infra.serving import ServingStack
from infra.settings import StageSettings
from infra.training import TrainingStack


def add_stacks(app: App, stage: StageSettings) -> list[Stack]:
    """Adds the stacks of `stage` to `app` and returns them."""
    env = Environment(account=stage.account, region=stage.region)
    # Each stage has a bootstrap of its own, unless cdk.json names another.
    own = bootstrap_qualifier(app, stage.name)

    def place() -> dict[str, Any]:
        return {"stage": stage, "env": env, "synthesizer": DefaultStackSynthesizer(qualifier=own)}

    data = DataStack(app, f"{stage.prefix}-Data", **place())
    training = TrainingStack(app, f"{stage.prefix}-Training", storage=data.storage, **place())
    serving = ServingStack(app, f"{stage.prefix}-Serving", storage=data.storage, **place())
    api = ApiStack(app, f"{stage.prefix}-Api", endpoint=serving.endpoint, storage=data.storage, **place())

    operations = OperationsStack(
        app,
        f"{stage.prefix}-Operations",
        storage=data.storage,
        endpoint=serving.endpoint,
        function=api.classifier.function,
        **place(),
    )
    # The log of EC2 runs is counted in.
    operations.add_stack_dependency(training)

    stacks = [data, training, serving, api, operations]
    if stage.permissions_boundary:
        boundary = iam.ManagedPolicy.from_managed_policy_name(data, "Boundary", boundary_name(stage.name, stage.region))
        for stack in stacks:
            iam.PermissionsBoundary.of(stack).apply(boundary)
    for stack in stacks:
        # Not the key: who may tag a new one may tag any. Nor the stack: CloudFormation gives its tags to all it makes.
        Tags.of(stack).add(STAGE_TAG, stage.name, exclude_resource_types=["AWS::KMS::Key", "aws:cdk:stack"])
    return stacks
