"""The CloudFormation types that ministack lacks, one row each.

A row names the service's API operations; properties are cast by the API's own shapes (CloudFormation's numbers and
booleans may be strings), and a property that no operation of the row takes is an error, never dropped.
"""

import secrets
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from kennel.local import clients

Properties = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """Handlers of resource types: creates, changes and deletes a resource through the API of its service.

    `name` is the property that names the resource: generated when the template leaves it out.
    `describe` gives the ARN and the attributes; `update` is an operation, or none where a change replaces the resource.
    `settle` waits for the resource to reach the state that CloudFormation waits for.
    """

    service: str
    create: str
    delete: str
    name: str
    describe: str
    arn: str
    update: str | None = None
    recreate: bool = False
    settle: Callable[[Any, str], None] | None = None
    before_delete: Callable[[Any, str], None] | None = None


def _endpoint_in_service(client: Any, name: str) -> None:
    while True:
        endpoint = client.describe_endpoint(EndpointName=name)
        if reason := endpoint.get("FailureReason"):
            raise ValueError(f"Endpoint {name}: {reason}")
        if endpoint["EndpointStatus"] == "InService":
            return
        time.sleep(0.2)


def _stop_notebook(client: Any, name: str) -> None:
    if client.describe_notebook_instance(NotebookInstanceName=name)["NotebookInstanceStatus"] == "InService":
        client.stop_notebook_instance(NotebookInstanceName=name)


ROWS = {
    "AWS::SageMaker::Model": Row(
        "sagemaker", "create_model", "delete_model", "ModelName", "describe_model", "ModelArn"
    ),
    "AWS::SageMaker::EndpointConfig": Row(
        "sagemaker",
        "create_endpoint_config",
        "delete_endpoint_config",
        "EndpointConfigName",
        "describe_endpoint_config",
        "EndpointConfigArn",
    ),
    "AWS::SageMaker::Endpoint": Row(
        "sagemaker",
        "create_endpoint",
        "delete_endpoint",
        "EndpointName",
        "describe_endpoint",
        "EndpointArn",
        update="update_endpoint",
        settle=_endpoint_in_service,
    ),
    "AWS::SageMaker::NotebookInstanceLifecycleConfig": Row(
        "sagemaker",
        "create_notebook_instance_lifecycle_config",
        "delete_notebook_instance_lifecycle_config",
        "NotebookInstanceLifecycleConfigName",
        "describe_notebook_instance_lifecycle_config",
        "NotebookInstanceLifecycleConfigArn",
    ),
    "AWS::SageMaker::NotebookInstance": Row(
        "sagemaker",
        "create_notebook_instance",
        "delete_notebook_instance",
        "NotebookInstanceName",
        "describe_notebook_instance",
        "NotebookInstanceArn",
        recreate=True,
        before_delete=_stop_notebook,
    ),
}


class Provisioner:
    """ministack's handlers for one row: create, update, delete. They block, and run on worker threads."""

    def __init__(self, row: Row, endpoint: str) -> None:
        self._row = row
        self._endpoint = endpoint

    def create(self, logical_id: str, properties: Properties, stack_name: str) -> tuple[str, Properties]:
        """Makes the resource; returns its id and attributes."""
        row, client = self._row, self._client()
        name = properties.get(row.name) or f"{stack_name[:30]}-{logical_id[:20]}-{secrets.token_hex(4)}"
        call(client, row.create, {**properties, row.name: name}, also=(row.update,))
        try:
            return self._settled(client, name)
        except Exception:
            # A resource that failed to come up is removed, too: the engine does not know its id yet.
            self.delete(name, properties)
            raise

    def update(self, physical_id: str, old: Properties, new: Properties, stack_name: str, logical_id: str) -> Any:
        """Changes the resource, or makes its successor under a new id."""
        row, client = self._row, self._client()
        name = _name(physical_id)
        if new == old:
            return self._settled(client, name)
        renamed = old.get(row.name) != new.get(row.name)
        if row.recreate and not renamed:
            self.delete(physical_id, old)
            return self.create(logical_id, new, stack_name)
        if row.update is None or renamed:
            # A new physical id: the engine deletes the old resource once the update is complete.
            return self.create(logical_id, new, stack_name)
        call(client, row.update, {**new, row.name: name}, also=(row.create,))
        return self._settled(client, name)

    def delete(self, physical_id: str, properties: Properties) -> None:
        """Removes the resource."""
        row, client = self._row, self._client()
        with gone_already():
            if row.before_delete:
                row.before_delete(client, _name(physical_id))
            getattr(client, row.delete)(**{row.name: _name(physical_id)})

    def _settled(self, client: Any, name: str) -> tuple[str, Properties]:
        row = self._row
        if row.settle:
            row.settle(client, name)
        described = getattr(client, row.describe)(**{row.name: name})
        return described[row.arn], {row.name: name, "Id": described[row.arn], "Arn": described[row.arn]}

    def _client(self) -> Any:
        return clients.client(self._row.service, self._endpoint)


class ScalableTargets:
    """AWS::ApplicationAutoScaling::ScalableTarget. Its id carries what names it: resource|dimension|namespace."""

    NAMED_BY = ("ResourceId", "ScalableDimension", "ServiceNamespace")

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def create(self, logical_id: str, properties: Properties, stack_name: str) -> tuple[str, Properties]:
        """Registers the target and its scheduled actions, or changes them."""
        client, rest = self._client(), dict(properties)
        actions = rest.pop("ScheduledActions", [])
        call(client, "register_scalable_target", rest)
        named = {key: properties[key] for key in self.NAMED_BY}
        for action in actions:
            call(client, "put_scheduled_action", {**named, **action})
        physical_id = "|".join(named.values())
        return physical_id, {"Id": physical_id}

    def update(self, physical_id: str, old: Properties, new: Properties, stack_name: str, logical_id: str) -> Any:
        """The same calls as for a new one; actions that are left out go."""
        kept, before = ({item["ScheduledActionName"] for item in one.get("ScheduledActions", [])} for one in (new, old))
        named = dict(zip(self.NAMED_BY, physical_id.split("|"), strict=True))
        for name in before - kept:
            self._client().delete_scheduled_action(**named, ScheduledActionName=name)
        return self.create(logical_id, new, stack_name)

    def delete(self, physical_id: str, properties: Properties) -> None:
        """Deregisters the target."""
        with gone_already():
            self._client().deregister_scalable_target(**dict(zip(self.NAMED_BY, physical_id.split("|"), strict=True)))

    def _client(self) -> Any:
        return clients.client("application-autoscaling", self._endpoint)


class ScalingPolicies(ScalableTargets):
    """AWS::ApplicationAutoScaling::ScalingPolicy, on a target given by id or by its three names."""

    def create(self, logical_id: str, properties: Properties, stack_name: str) -> tuple[str, Properties]:
        """Puts the policy, new or changed."""
        answer = call(self._client(), "put_scaling_policy", self._named(properties))
        return answer["PolicyARN"], {"Arn": answer["PolicyARN"]}

    def update(self, physical_id: str, old: Properties, new: Properties, stack_name: str, logical_id: str) -> Any:
        """The same call as for a new one."""
        return self.create(logical_id, new, stack_name)

    def delete(self, physical_id: str, properties: Properties) -> None:
        """Removes the policy."""
        named = self._named(properties)
        with gone_already():
            self._client().delete_scaling_policy(**{key: named[key] for key in ("PolicyName", *self.NAMED_BY)})

    def _named(self, properties: Properties) -> Properties:
        rest = {key: value for key, value in properties.items() if key != "ScalingTargetId"}
        if target := properties.get("ScalingTargetId"):
            rest |= dict(zip(self.NAMED_BY, target.split("|"), strict=True))
        return rest


class OidcProviders:
    """AWS::IAM::OIDCProvider, which is known by its ARN."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def create(self, logical_id: str, properties: Properties, stack_name: str) -> tuple[str, Properties]:
        """Makes the provider."""
        # CloudFormation spells it ClientIdList, the API ClientIDList.
        renamed = {{"ClientIdList": "ClientIDList"}.get(key, key): value for key, value in properties.items()}
        arn = call(self._client(), "create_open_id_connect_provider", renamed)["OpenIDConnectProviderArn"]
        return arn, {"Arn": arn}

    def update(self, physical_id: str, old: Properties, new: Properties, stack_name: str, logical_id: str) -> Any:
        """Makes its successor, since the URL names it."""
        if new == old:
            return physical_id, {"Arn": physical_id}
        self.delete(physical_id, old)
        return self.create(logical_id, new, stack_name)

    def delete(self, physical_id: str, properties: Properties) -> None:
        """Removes the provider."""
        with gone_already():
            self._client().delete_open_id_connect_provider(OpenIDConnectProviderArn=physical_id)

    def _client(self) -> Any:
        return clients.client("iam", self._endpoint)


def provisioners(endpoint: str) -> dict[str, Any]:
    """The handlers of every type, by type name."""
    return {
        "AWS::IAM::OIDCProvider": OidcProviders(endpoint),
        **{name: Provisioner(row, endpoint) for name, row in ROWS.items()},
        "AWS::ApplicationAutoScaling::ScalableTarget": ScalableTargets(endpoint),
        "AWS::ApplicationAutoScaling::ScalingPolicy": ScalingPolicies(endpoint),
    }


def call(client: Any, operation: str, properties: Properties, also: tuple[str | None, ...] = ()) -> Properties:
    """Calls `operation` with the properties it takes; those of the operations in `also` may be present too."""
    shape = _input_shape(client, operation)
    accepted = set(shape.members).union(*(_input_shape(client, other).members for other in also if other))
    if unknown := sorted(set(properties) - accepted):
        raise ValueError(f"{operation} takes no {', '.join(unknown)}")
    arguments = {key: cast(shape.members[key], value) for key, value in properties.items() if key in shape.members}
    answer: Properties = getattr(client, operation)(**arguments)
    return answer


def cast(shape: Any, value: Any) -> Any:
    """`value` as the botocore shape wants it."""
    if shape.type_name == "structure":
        return {key: cast(shape.members[key], item) for key, item in value.items()}
    if shape.type_name == "list":
        return [cast(shape.member, item) for item in value]
    if shape.type_name == "map" and isinstance(value, list):
        # Tags: a list in every template, a map in some APIs.
        return {item["Key"]: item["Value"] for item in value}
    if shape.type_name == "map":
        return {key: cast(shape.value, item) for key, item in value.items()}
    if shape.type_name in ("integer", "long"):
        return int(value)
    if shape.type_name in ("float", "double"):
        return float(value)
    if shape.type_name == "boolean":
        return value if isinstance(value, bool) else value == "true"
    return str(value)


def _input_shape(client: Any, operation: str) -> Any:
    return client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation]).input_shape


@contextmanager
def gone_already() -> Generator[None]:
    """A resource that somebody deleted by hand counts as deleted, as in CloudFormation."""
    try:
        yield
    except ClientError as error:
        missing = ("could not find", "recordnotfound", "no scalable target", "no scaling policy", "does not exist")
        if not any(words in str(error).lower() for words in missing):
            raise


def _name(arn: str) -> str:
    return arn.rsplit("/", 1)[-1]
