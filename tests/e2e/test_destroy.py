"""The end: a missing endpoint is a bad gateway, and what is destroyed is gone, but for what it says it keeps."""

import re
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from helpers.kept import assembly
from helpers.stage import Environment
from kennel.local.settings import ACCOUNT

pytestmark = pytest.mark.own_stage


def everything(deployed: Environment) -> Iterator[str]:
    """What there is in the account with Kennel in its name, but for what `make bootstrap` made and past jobs."""
    sagemaker, logs = deployed.client("sagemaker"), deployed.client("logs")
    for stack in deployed.client("cloudformation").describe_stacks()["Stacks"]:
        if stack["StackStatus"] != "DELETE_COMPLETE":
            yield stack["StackName"]
    yield from (bucket["Name"] for bucket in deployed.client("s3").list_buckets()["Buckets"])
    yield from (role["RoleName"] for role in deployed.client("iam").list_roles()["Roles"])
    yield from (policy["PolicyName"] for policy in deployed.client("iam").list_policies(Scope="Local")["Policies"])
    yield from (
        profile["InstanceProfileName"]
        for profile in deployed.client("iam").list_instance_profiles()["InstanceProfiles"]
    )
    yield from (function["FunctionName"] for function in deployed.client("lambda").list_functions()["Functions"])
    cloudwatch, types = deployed.client("cloudwatch"), ["MetricAlarm", "CompositeAlarm"]
    for kind, alarms in cloudwatch.describe_alarms(AlarmTypes=types, MaxRecords=100).items():
        yield from (alarm["AlarmName"] for alarm in alarms if kind.endswith("Alarms"))
    yield from (item["DashboardName"] for item in cloudwatch.list_dashboards()["DashboardEntries"])
    yield from (topic["TopicArn"] for topic in deployed.client("sns").list_topics()["Topics"])
    yield from (rule["Name"] for rule in deployed.client("events").list_rules()["Rules"])
    yield from (
        item["BudgetName"] for item in deployed.client("budgets").describe_budgets(AccountId=ACCOUNT).get("Budgets", [])
    )
    yield from (item["name"] for item in logs.describe_query_definitions()["queryDefinitions"])
    yield from (item["policyName"] for item in logs.describe_resource_policies()["resourcePolicies"])
    yield from (group["logGroupName"] for group in logs.describe_log_groups()["logGroups"])
    yield from (item["Name"] for item in deployed.client("ssm").describe_parameters()["Parameters"])
    yield from (item["Name"] for item in deployed.client("scheduler").list_schedules()["Schedules"])
    yield from (item["AliasName"] for item in deployed.client("kms").list_aliases()["Aliases"])
    yield from (item["ModelName"] for item in sagemaker.list_models()["Models"])
    yield from (item["EndpointName"] for item in sagemaker.list_endpoints()["Endpoints"])
    yield from (item["EndpointConfigName"] for item in sagemaker.list_endpoint_configs()["EndpointConfigs"])
    yield from (item["NotebookInstanceName"] for item in sagemaker.list_notebook_instances()["NotebookInstances"])
    groups = deployed.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    yield from (group["AutoScalingGroupName"] for group in groups)
    for namespace in ("sagemaker", "lambda"):
        targets = deployed.client("application-autoscaling").describe_scalable_targets(ServiceNamespace=namespace)
        yield from (target["ResourceId"] for target in targets["ScalableTargets"])


def of_stage(deployed: Environment, stage: str) -> set[str]:
    # But for the functions by which tests borrow a role, named after it, and the policies of the stage's bootstrap.
    pattern = rf"(?<!probe-)(?<!as-)kennel[-/]{stage}([-/](?!execution-|boundary-)|$)"
    return {name for name in everything(deployed) if re.search(pattern, name, re.IGNORECASE)}


def said_to_be_kept(output: str) -> set[str]:
    return {line.split()[-1] for line in output.splitlines() if line.startswith("Kept: ")}


def test_deleted_endpoint_returns_502(deployed: Environment) -> None:
    deployed.client("sagemaker").delete_endpoint(EndpointName="kennel-dev-scaled")
    answer = deployed.url().call(deployed.image(), "image/jpeg")
    assert answer.status == 502
    assert deployed.servers() == []
    result = deployed.run("kennel", "status", check=False)
    assert result.returncode == 1
    assert "it was deleted outside" in result.stdout


def test_destroy_without_yes_removes_nothing(
    deployed: Environment,
) -> None:
    before = of_stage(deployed, "dev")
    result = deployed.run("kennel", "destroy", check=False)
    assert result.returncode == 1
    assert "Deletes: Kennel-dev-Serving" in result.stdout
    assert "pass --yes" in result.stdout
    assert of_stage(deployed, "dev") == before


def test_destroy_prod_keeps_only_listed_data(deployed: Environment) -> None:
    deployed.bootstrap("prod")
    deployed.deploy("Kennel-prod-Data", app=assembly("prod"))
    cloudformation = deployed.client("cloudformation")
    described = cloudformation.describe_stack_resources(StackName="Kennel-prod-Data")["StackResources"]
    buckets = {item["PhysicalResourceId"] for item in described if item["ResourceType"] == "AWS::S3::Bucket"}
    keys = [item["PhysicalResourceId"] for item in described if item["ResourceType"] == "AWS::KMS::Key"]
    groups = {item["PhysicalResourceId"] for item in described if item["ResourceType"] == "AWS::Logs::LogGroup"}
    assert (len(buckets), len(keys), len(groups)) == (3, 1, 2)

    output = deployed.run("kennel", "destroy", "--stage", "prod", "--yes").stdout
    assert said_to_be_kept(output) == {*buckets, *keys, *groups}
    assert of_stage(deployed, "prod") == {*buckets, *groups}
    for bucket in buckets:
        deployed.client("s3").head_bucket(Bucket=bucket)
    assert deployed.client("kms").describe_key(KeyId=keys[0])["KeyMetadata"]["KeyState"] == "Enabled"


def test_destroy_dev_leaves_nothing(deployed: Environment) -> None:
    # Callers have its policy, and its buckets are full.
    iam = deployed.client("iam")
    iam.create_user(UserName="caller")
    iam.attach_user_policy(UserName="caller", PolicyArn=deployed.output("Api", "CallersPolicyArn"))
    assert len(of_stage(deployed, "dev")) > 30
    output = deployed.run("kennel", "destroy", "--yes").stdout
    assert "Stage dev deleted" in output
    assert iam.list_attached_user_policies(UserName="caller")["AttachedPolicies"] == []
    assert said_to_be_kept(output) == set()
    assert of_stage(deployed, "dev") == set()
    assert "Stage dev has no resources" in deployed.run("kennel", "destroy", "--yes").stdout


def test_destroy_after_failed_deploy_leaves_nothing(deployed: Environment) -> None:
    deployed.run("kennel", "destroy", "--yes")
    deployed.deploy("Data", "Training")
    bucket = deployed.output("Data", "ModelBucket")
    missing = f"s3://{bucket}/packages/none/output/model/"
    deployed.client("ssm").put_parameter(Name="/kennel/dev/model", Value=missing, Type="String", Overwrite=True)
    deployed.client("s3").put_object(Bucket=bucket, Key="packages/other/model.json", Body=b"{}")
    assert "Could not find model data" in deployed.deploy("Serving", check=False)
    stack = deployed.client("cloudformation").describe_stacks(StackName="Kennel-dev-Serving")["Stacks"][0]
    assert stack["StackStatus"].startswith("ROLLBACK")
    # Somebody took away what empties the buckets.
    functions = deployed.client("lambda")
    for function in functions.list_functions()["Functions"]:
        if "AutoDelete" in function["FunctionName"]:
            functions.delete_function(FunctionName=function["FunctionName"])

    deployed.run("kennel", "destroy", "--yes")
    assert of_stage(deployed, "dev") == set()
    with pytest.raises(ClientError, match=r"404|NoSuchBucket"):
        deployed.client("s3").head_bucket(Bucket=bucket)
