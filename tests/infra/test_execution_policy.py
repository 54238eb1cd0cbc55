"""The policies of the deploy: they name what the stages have, and AWS takes them."""

import json

import pytest

from helpers.invariants import Templates
from infra.bootstrap.execution_policy import MAX_CHARACTERS, TYPES, Place, boundary_policy, execution_policies
from kennel.stage.template_roles import ACCOUNT

PARTITIONS = {"us-east-1": "aws", "eu-central-1": "aws", "cn-northwest-1": "aws-cn", "ap-southeast-2": "aws"}
# A role has room for ten managed policies; CDK attaches none of its own to this one.
MAX_POLICIES = 10
CDK_METADATA = "AWS::CDK::Metadata"


def test_policy_types_match_used_resources(matrix: dict[str, Templates]) -> None:
    used = {
        resource["Type"]
        for templates in matrix.values()
        for template in templates.values()
        for resource in template["Resources"].values()
    }
    assert used - {CDK_METADATA} == set(TYPES), "add what a type takes, or remove what no stage has"


@pytest.mark.parametrize("region", PARTITIONS)
def test_policy_size_is_within_aws_limits(region: str) -> None:
    partition = PARTITIONS[region]
    place = Place("staging", region, ACCOUNT, partition, cloudfront=True)
    documents = [*execution_policies(place), boundary_policy(place)]
    assert len(documents) <= MAX_POLICIES
    assert max(len(json.dumps(document, separators=(",", ":"))) for document in documents) <= MAX_CHARACTERS


@pytest.mark.parametrize("document", [*execution_policies(Place("dev", "us-east-1", ACCOUNT, cloudfront=True))])
def test_policies_have_no_wildcard_actions(
    document: dict[str, list[dict[str, object]]],
) -> None:
    actions = [action for statement in document["Statement"] for action in statement["Action"]]
    assert [action for action in actions if "*" in action] == []
    assert "iam:CreateUser" not in actions


@pytest.mark.parametrize(("named", "bucket"), [(None, "cdk-kdev-assets-"), ("hnb659fds", "cdk-hnb659fds-assets-")])
def test_policies_name_the_bucket_of_the_bootstrap(named: str | None, bucket: str) -> None:
    place = Place("dev", "us-east-1", ACCOUNT, bootstrap=named)
    for documents in (execution_policies(place), [boundary_policy(place)]):
        assert bucket in json.dumps(documents)
