"""Every resource of the templates exists: the services themselves are asked, so that nothing is skipped silently."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from helpers.stage import Environment

# What each type's service is asked: with a client factory, the physical id and the resolved properties.
Ask = Callable[[Callable[[str], Any], str, dict[str, Any]], Any]


def _named(items: list[dict[str, Any]], key: str, value: str) -> dict[str, Any]:
    return next(item for item in items if item[key] == value)


def _routes(aws: Any, properties: dict[str, Any]) -> list[dict[str, Any]]:
    tables = aws("ec2").describe_route_tables(RouteTableIds=[properties["RouteTableId"]])
    return list(tables["RouteTables"][0]["Routes"])


def _permission(aws: Any, id_: str, p: dict[str, Any]) -> Any:
    function, qualifier = p["FunctionName"].rsplit(":", 1)
    policy = aws("lambda").get_policy(FunctionName=function, Qualifier=qualifier)["Policy"]
    assert f'"{p["Action"]}"' in policy
    return policy


def _default_group_is_closed(aws: Any, id_: str, p: dict[str, Any]) -> Any:
    groups = aws("ec2").describe_security_groups(GroupIds=[p["DefaultSecurityGroupId"]])["SecurityGroups"]
    assert groups[0]["IpPermissions"] == []
    assert groups[0]["IpPermissionsEgress"] == []
    return groups


def _scaling_policy(aws: Any, id_: str, p: dict[str, Any]) -> Any:
    namespace = "sagemaker" if "sagemaker" in str(p).lower() else "lambda"
    policies = aws("application-autoscaling").describe_scaling_policies(ServiceNamespace=namespace)
    return _named(policies["ScalingPolicies"], "PolicyARN", id_)


def _target(aws: Any, id_: str, p: dict[str, Any]) -> Any:
    targets = aws("application-autoscaling").describe_scalable_targets(
        ServiceNamespace=p["ServiceNamespace"], ResourceIds=[p["ResourceId"]]
    )["ScalableTargets"]
    assert (targets[0]["MinCapacity"], targets[0]["MaxCapacity"]) == (p["MinCapacity"], p["MaxCapacity"])
    return targets


def _sagemaker(operation: str, parameter: str) -> Ask:
    def ask(aws: Any, id_: str, p: dict[str, Any]) -> Any:
        return getattr(aws("sagemaker"), operation)(**{parameter: id_.rsplit("/", 1)[-1]})

    return ask


def _ec2(operation: str, parameter: str, key: str) -> Ask:
    def ask(aws: Any, id_: str, p: dict[str, Any]) -> Any:
        return getattr(aws("ec2"), operation)(**{parameter: [id_]})[key][0]

    return ask


ASK: dict[str, Ask] = {
    "AWS::ApplicationAutoScaling::ScalableTarget": _target,
    "AWS::ApplicationAutoScaling::ScalingPolicy": _scaling_policy,
    "AWS::AutoScaling::AutoScalingGroup": lambda aws, id_, p: aws("autoscaling").describe_auto_scaling_groups(
        AutoScalingGroupNames=[id_]
    )["AutoScalingGroups"][0],
    "AWS::CloudWatch::Alarm": lambda aws, id_, p: aws("cloudwatch").describe_alarms(AlarmNames=[id_])["MetricAlarms"][
        0
    ],
    "AWS::EC2::InternetGateway": _ec2("describe_internet_gateways", "InternetGatewayIds", "InternetGateways"),
    "AWS::EC2::LaunchTemplate": _ec2("describe_launch_templates", "LaunchTemplateIds", "LaunchTemplates"),
    "AWS::EC2::Route": lambda aws, id_, p: _named(_routes(aws, p), "DestinationCidrBlock", "0.0.0.0/0"),
    "AWS::EC2::RouteTable": _ec2("describe_route_tables", "RouteTableIds", "RouteTables"),
    "AWS::EC2::SecurityGroup": _ec2("describe_security_groups", "GroupIds", "SecurityGroups"),
    "AWS::EC2::Subnet": _ec2("describe_subnets", "SubnetIds", "Subnets"),
    "AWS::EC2::SubnetRouteTableAssociation": lambda aws, id_, p: _named(
        aws("ec2").describe_route_tables(RouteTableIds=[p["RouteTableId"]])["RouteTables"][0]["Associations"],
        "SubnetId",
        p["SubnetId"],
    ),
    "AWS::EC2::VPC": _ec2("describe_vpcs", "VpcIds", "Vpcs"),
    "AWS::EC2::VPCEndpoint": _ec2("describe_vpc_endpoints", "VpcEndpointIds", "VpcEndpoints"),
    "AWS::EC2::VPCGatewayAttachment": lambda aws, id_, p: _named(
        aws("ec2").describe_internet_gateways(InternetGatewayIds=[p["InternetGatewayId"]])["InternetGateways"][0][
            "Attachments"
        ],
        "VpcId",
        p["VpcId"],
    ),
    "AWS::IAM::InstanceProfile": lambda aws, id_, p: aws("iam").get_instance_profile(
        InstanceProfileName=id_.rsplit("/", 1)[-1]
    ),
    "AWS::IAM::ManagedPolicy": lambda aws, id_, p: aws("iam").get_policy(PolicyArn=id_),
    "AWS::IAM::Policy": lambda aws, id_, p: aws("iam").get_role_policy(
        RoleName=p["Roles"][0], PolicyName=p["PolicyName"]
    ),
    "AWS::IAM::Role": lambda aws, id_, p: aws("iam").get_role(RoleName=id_),
    "AWS::KMS::Alias": lambda aws, id_, p: _named(aws("kms").list_aliases()["Aliases"], "AliasName", p["AliasName"]),
    "AWS::KMS::Key": lambda aws, id_, p: aws("kms").describe_key(KeyId=id_),
    "AWS::Lambda::Alias": lambda aws, id_, p: aws("lambda").get_alias(FunctionName=p["FunctionName"], Name=p["Name"]),
    "AWS::Lambda::Function": lambda aws, id_, p: aws("lambda").get_function(FunctionName=id_),
    "AWS::Lambda::Permission": _permission,
    "AWS::Lambda::Url": lambda aws, id_, p: aws("lambda").get_function_url_config(
        FunctionName=p["TargetFunctionArn"], Qualifier=p["Qualifier"]
    ),
    "AWS::Lambda::Version": lambda aws, id_, p: aws("lambda").get_function(
        FunctionName=p["FunctionName"], Qualifier=id_.rsplit(":", 1)[-1]
    ),
    "AWS::Logs::LogGroup": lambda aws, id_, p: _named(
        aws("logs").describe_log_groups(logGroupNamePrefix=id_)["logGroups"], "logGroupName", id_
    ),
    "AWS::S3::Bucket": lambda aws, id_, p: aws("s3").head_bucket(Bucket=id_),
    "AWS::S3::BucketPolicy": lambda aws, id_, p: aws("s3").get_bucket_policy(Bucket=p["Bucket"]),
    "AWS::Scheduler::Schedule": lambda aws, id_, p: aws("scheduler").get_schedule(Name=p["Name"]),
    "AWS::SageMaker::Endpoint": _sagemaker("describe_endpoint", "EndpointName"),
    "AWS::SageMaker::EndpointConfig": _sagemaker("describe_endpoint_config", "EndpointConfigName"),
    "AWS::SageMaker::Model": _sagemaker("describe_model", "ModelName"),
    "AWS::SageMaker::NotebookInstance": _sagemaker("describe_notebook_instance", "NotebookInstanceName"),
    "AWS::SageMaker::NotebookInstanceLifecycleConfig": _sagemaker(
        "describe_notebook_instance_lifecycle_config", "NotebookInstanceLifecycleConfigName"
    ),
    # CDK's own: what they did is asked for, or, for the emptying at deletion, whether it can be done.
    "Custom::S3AutoDeleteObjects": lambda aws, id_, p: aws("lambda").get_function(FunctionName=p["ServiceToken"]),
    "Custom::VpcRestrictDefaultSG": _default_group_is_closed,
}


@pytest.mark.parametrize("stack", ["Data", "Training", "Serving", "Api"])
def test_every_deployed_resource_exists(deployed: Environment, stack: str) -> None:
    name = f"Kennel-dev-{stack}"
    described = deployed.client("cloudformation").describe_stack_resources(StackName=name)["StackResources"]
    physical = {item["LogicalResourceId"]: item["PhysicalResourceId"] for item in described}
    resolved = _resolved(deployed, name, physical)
    missing, asked = [], 0
    for logical, resource in deployed.templates[stack]["Resources"].items():
        if resource["Type"] == "AWS::CDK::Metadata":  # a note in the template, no resource
            continue
        try:
            assert ASK[resource["Type"]](deployed.client, physical[logical], resolved[logical])
            asked += 1
        except Exception as error:
            missing.append(f"{logical} ({resource['Type']}): {error!r}")
    assert missing == []
    assert asked == len(deployed.templates[stack]["Resources"]) - 1


def test_missing_resource_fails_the_check(deployed: Environment) -> None:
    with pytest.raises(Exception, match=r"NoSuch|404|Not Found"):
        ASK["AWS::S3::Bucket"](deployed.client, "no-such-bucket", {})


def test_function_has_template_concurrency(deployed: Environment) -> None:
    functions = deployed.client("lambda")
    name = deployed.output("Api", "FunctionName")
    reserved = functions.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"]
    provisioned = functions.get_provisioned_concurrency_config(FunctionName=name, Qualifier="live")
    assert reserved == 10
    assert provisioned["RequestedProvisionedConcurrentExecutions"] == 1


def test_endpoint_runs_promoted_package(deployed: Environment) -> None:
    sagemaker = deployed.client("sagemaker")
    endpoint = sagemaker.describe_endpoint(EndpointName=deployed.output("Serving", "EndpointName"))
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    model = sagemaker.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
    source = model["PrimaryContainer"]["ModelDataSource"]["S3DataSource"]
    assert source == {"S3Uri": deployed.package, "S3DataType": "S3Prefix", "CompressionType": "None"}
    assert model["EnableNetworkIsolation"] is True
    assert endpoint["EndpointStatus"] == "InService"


def _resolved(deployed: Environment, stack: str, physical: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The properties of each resource with references in place of their values, as far as ASK needs them."""
    exports = {e["Name"]: e["Value"] for e in deployed.client("cloudformation").list_exports()["Exports"]}
    parts = {"AWS::Region": "us-east-1", "AWS::AccountId": "000000000000", "AWS::Partition": "aws"}

    def value(node: Any) -> Any:
        if isinstance(node, list):
            return [value(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "Ref" in node:
            return physical.get(node["Ref"]) or parts.get(node["Ref"], node)
        if "Fn::ImportValue" in node:
            return exports[node["Fn::ImportValue"]]
        if "Fn::Join" in node:
            separator, items = value(node["Fn::Join"])
            return separator.join(map(str, items))
        if "Fn::Select" in node:
            index, items = value(node["Fn::Select"])
            # What a parameter's value is split into is not known here.
            return items[int(index)] if isinstance(items, list) and len(items) > int(index) else node
        if "Fn::Split" in node:
            separator, text = value(node["Fn::Split"])
            return str(text).split(separator)
        if "Fn::GetAtt" in node:
            return _attribute(deployed, physical[node["Fn::GetAtt"][0]], node["Fn::GetAtt"][1])
        return {key: value(item) for key, item in node.items()}

    return {
        name: value(resource.get("Properties", {}))
        for name, resource in deployed.templates[stack.rpartition("-")[2]]["Resources"].items()
    }


def _attribute(deployed: Environment, id_: str, attribute: str) -> str:
    """An attribute that some property needs; the id itself where the two are the same."""
    if attribute == "DefaultSecurityGroup":
        groups = deployed.client("ec2").describe_security_groups(
            Filters=[{"Name": "vpc-id", "Values": [id_]}, {"Name": "group-name", "Values": ["default"]}]
        )
        return str(groups["SecurityGroups"][0]["GroupId"])
    return id_


def test_captures_are_encrypted_without_images(
    deployed: Environment,
) -> None:
    assert deployed.url().call(deployed.image(), "image/jpeg").status == 200
    s3, bucket = deployed.client("s3"), deployed.output("Data", "ModelBucket")
    deadline = time.monotonic() + 30
    prefix = "captures/kennel-dev-scaled/primary/"
    while not (found := s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    answer = s3.get_object(Bucket=bucket, Key=found[-1]["Key"])
    assert answer["ServerSideEncryption"] == "aws:kms"
    lines = [json.loads(line) for line in answer["Body"].read().splitlines()]
    assert {*lines[0]["captureData"]} == {"endpointOutput"}
    output = lines[0]["captureData"]["endpointOutput"]
    assert output["encoding"] == "JSON"
    assert json.loads(output["data"])["predictions"][0]["probability"] > 0
