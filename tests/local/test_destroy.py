"""The end: a missing endpoint is a bad gateway, and what is destroyed is gone, but for what prod retains."""

import pytest
from botocore.exceptions import ClientError

from environment import Environment
from kennel.demo import CALLER

pytestmark = pytest.mark.slow


def test_given_a_deleted_endpoint_when_the_url_is_called_then_it_is_a_bad_gateway(deployed: Environment) -> None:
    deployed.client("sagemaker").delete_endpoint(EndpointName="kennel-dev-scaled")
    answer = deployed.url().call(deployed.picture(), "image/jpeg")
    assert answer.status == 502
    assert deployed.servers() == []
    result = deployed.run("kennel", "status", check=False)
    assert result.returncode == 1
    assert "somebody deleted it" in result.stdout


def test_given_prod_data_when_destroyed_then_key_and_buckets_are_kept(deployed: Environment) -> None:
    cloudformation = deployed.client("cloudformation")
    described = cloudformation.describe_stack_resources(StackName="Kennel-prod-Data")["StackResources"]
    buckets = [item["PhysicalResourceId"] for item in described if item["ResourceType"] == "AWS::S3::Bucket"]
    keys = [item["PhysicalResourceId"] for item in described if item["ResourceType"] == "AWS::KMS::Key"]
    assert (len(buckets), len(keys)) == (3, 1)

    deployed.run("cdk", "destroy", "Kennel-prod-Data", "-c", "stage=prod", "--force")
    for bucket in buckets:
        deployed.client("s3").head_bucket(Bucket=bucket)
    assert deployed.client("kms").describe_key(KeyId=keys[0])["KeyMetadata"]["KeyState"] == "Enabled"


def test_given_dev_when_destroyed_then_nothing_of_it_is_left(deployed: Environment) -> None:
    cloudformation = deployed.client("cloudformation")
    bucket, role = deployed.output("Data", "DatasetBucket"), deployed.output("Training", "JobRoleArn")
    function = deployed.output("Api", "FunctionName")
    iam = deployed.client("iam")
    iam.detach_user_policy(UserName=CALLER, PolicyArn=deployed.output("Api", "CallersPolicyArn"))
    deployed.run("cdk", "destroy", "Kennel-dev-*", "--force")

    stacks = cloudformation.describe_stacks()["Stacks"]
    assert [stack["StackName"] for stack in stacks if "Kennel-dev" in stack["StackName"]] == []
    with pytest.raises(ClientError, match=r"404|NoSuchBucket"):
        deployed.client("s3").head_bucket(Bucket=bucket)
    with pytest.raises(ClientError, match="NoSuchEntity"):
        deployed.client("iam").get_role(RoleName=role.rsplit("/", 1)[-1])
    with pytest.raises(ClientError, match="ResourceNotFound"):
        deployed.client("lambda").get_function(FunctionName=function)
    sagemaker = deployed.client("sagemaker")
    assert sagemaker.list_models()["Models"] == []
    assert sagemaker.list_notebook_instances()["NotebookInstances"] == []
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert (
        deployed.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")[
            "ScalableTargets"
        ]
        == []
    )
