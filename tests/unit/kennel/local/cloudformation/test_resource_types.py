"""The rows of the embedded AWS: properties are cast by the API's shapes, and none is dropped."""

from typing import Any

import boto3
import pytest

from kennel.local.cloudformation.resource_types import ROWS, call, cast


@pytest.fixture
def client() -> Any:
    return boto3.client("sagemaker", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


def shape(client: Any, operation: str, *members: str) -> Any:
    found = client.meta.service_model.operation_model(operation).input_shape
    for member in members:
        found = found.members[member]
    return found


def test_template_strings_are_cast_to_api_types(client: Any) -> None:
    variants = [{"VariantName": "v", "InitialInstanceCount": "2", "InitialVariantWeight": "1", "ModelName": "m"}]
    (variant,) = cast(shape(client, "CreateEndpointConfig", "ProductionVariants"), variants)
    assert variant["InitialInstanceCount"] == 2
    assert variant["InitialVariantWeight"] == 1.0
    assert cast(shape(client, "CreateModel", "EnableNetworkIsolation"), "true") is True
    assert cast(shape(client, "CreateModel", "EnableNetworkIsolation"), "false") is False


def test_tag_list_becomes_map() -> None:
    scaling = boto3.client(
        "application-autoscaling", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    tags = shape(scaling, "RegisterScalableTarget", "Tags")
    assert cast(tags, [{"Key": "a", "Value": "b"}]) == {"a": "b"}


def test_unknown_property_is_an_error(client: Any) -> None:
    with pytest.raises(ValueError, match="create_model takes no Colour"):
        call(client, "create_model", {"ModelName": "m", "Colour": "red"})


@pytest.mark.parametrize("kind", ROWS)
def test_row_operations_and_names_exist(client: Any, kind: str) -> None:
    row = ROWS[kind]
    for operation in filter(None, (row.create, row.update, row.delete, row.describe)):
        name = client.meta.method_to_api_mapping[operation]
        assert row.name in client.meta.service_model.operation_model(name).input_shape.members
    described = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[row.describe])
    assert row.arn in described.output_shape.members
