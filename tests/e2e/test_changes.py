"""Change: nothing when nothing changed, one line for one change, a new model under the old name, and a way back."""

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.images import encode, gradient
from helpers.kept import assembly
from helpers.stage import Environment
from kennel.client.function_url import Answer
from kennel.models import packages

pytestmark = pytest.mark.own_stage


def answer(deployed: Environment) -> Answer:
    return deployed.url().call(deployed.image(), "image/jpeg")


def test_redeploy_changes_nothing(deployed: Environment) -> None:
    output = deployed.deploy("Data", "Training", "Serving", "Api")
    assert output.count("(no changes)") == 4, output


def test_max_instances_is_only_diff_and_applied(deployed: Environment) -> None:
    raised = assembly(endpoint={"max_instances": 6})
    diff = deployed.run("cdk", "diff", "--app", str(raised)).stdout
    changed = [line for line in diff.splitlines() if line.strip().startswith(("[~]", "[+]", "[-]", "├─", "└─"))]
    assert "Number of stacks with differences: 1" in diff
    assert [line.split()[1] for line in changed if line.startswith("[")] == [
        "AWS::ApplicationAutoScaling::ScalableTarget"
    ]
    assert sum("MaxCapacity" in line for line in changed) == 1

    deployed.deploy("Serving", app=raised)
    targets = deployed.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    assert [target["MaxCapacity"] for target in targets["ScalableTargets"]] == [6]

    deployed.deploy("Serving")
    targets = deployed.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    assert [target["MaxCapacity"] for target in targets["ScalableTargets"]] == [4]


def test_cloudfront_access_is_scoped_and_removable(deployed: Environment) -> None:
    def sources() -> set[str]:
        policy = deployed.client("lambda").get_policy(
            FunctionName=deployed.output("Api", "FunctionName"), Qualifier="live"
        )
        statements = json.loads(policy["Policy"])["Statement"]
        services = [statement for statement in statements if "Service" in statement["Principal"]]
        return {statement["Condition"]["ArnLike"]["AWS:SourceArn"] for statement in services}

    def distributions() -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = cloudfront.list_distributions()["DistributionList"].get("Items", [])
        return listed

    cloudfront = deployed.client("cloudfront")
    public_page = {"cloudfront": True, "public_url_reason": "for visitors"}
    public = assembly(function=public_page)
    # Without having asked for it when it was bootstrapped, a stage may touch no distribution of the account.
    assert "not authorized to perform: cloudfront:" in " ".join(deployed.deploy("Api", app=public, check=False).split())
    deployed.bootstrap(function=public_page)
    deployed.deploy("Api", app=public)
    (distribution,) = distributions()
    (origin,) = distribution["Origins"]["Items"]
    access = cloudfront.get_origin_access_control(Id=origin["OriginAccessControlId"])["OriginAccessControl"]
    assert origin["DomainName"] in deployed.output("Api", "FunctionUrl")
    assert access["OriginAccessControlConfig"]["SigningBehavior"] == "always"
    assert sources() == {distribution["ARN"]}

    deployed.deploy("Api")
    assert distributions() == []
    assert sources() == set()
    deployed.bootstrap()


def test_promotion_keeps_endpoint_and_is_reversible(
    deployed: Environment,
) -> None:
    before, first = deployed.endpoint(), answer(deployed).document["model"]
    deployed.copy_package("second", name="second-model")
    assert "second-model" in deployed.run("kennel", "promote", "second").stdout
    deployed.deploy("Serving")
    after = deployed.endpoint()
    assert after["EndpointName"] == before["EndpointName"]
    assert after["EndpointConfigName"] != before["EndpointConfigName"]
    assert answer(deployed).document["model"] == "second-model"

    deployed.run("kennel", "promote", "--previous")
    deployed.deploy("Serving")
    assert answer(deployed).document["model"] == first


def test_foreign_package_is_not_promoted(deployed: Environment) -> None:
    promoted, bucket = deployed.package, deployed.output("Data", "ModelBucket")
    deployed.copy_package("foreign")
    prefix = packages.key("foreign")
    s3 = deployed.client("s3")
    s3.put_object(Bucket=bucket, Key=f"{prefix}inference/images.py", Body=b"import os")
    s3.put_object(Bucket=bucket, Key=f"{prefix}code/uvloop.py", Body=b"import os")
    s3.delete_object(Bucket=bucket, Key=f"{prefix}labels.json")
    refused = deployed.run("kennel", "promote", "foreign", check=False)
    assert refused.returncode == 1
    for fault in ("labels.json is missing", "inference/images.py was changed", "code/uvloop.py was added"):
        assert fault in " ".join(refused.stdout.split())
    assert deployed.package == promoted


def test_role_with_every_right_cannot_write_what_is_promoted(deployed: Environment) -> None:
    """The bucket's policy holds for each role of the stage, whatever its own policies allow."""
    bucket, key = deployed.package.removeprefix("s3://").split("/", 1)
    iam, role = deployed.client("iam"), deployed.output("Training", "JobRoleArn")
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    name = role.rpartition("/")[2]
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(everything))
    try:
        written = {"Bucket": bucket, "Body": "x"}
        assert deployed.as_role(role, "s3", "put_object", Key=f"{key}inference/images.py", **written) == "AccessDenied"
        assert deployed.as_role(role, "s3", "put_object", Key="packages/x/output/model/a", **written) == "Allowed"
    finally:
        iam.delete_role_policy(RoleName=name, PolicyName="all")


def test_broken_package_is_rolled_back(
    deployed: Environment,
) -> None:
    before, model = deployed.endpoint(), answer(deployed).document["model"]
    deployed.copy_package("broken", without="labels.json")
    deployed.run("kennel", "promote", "broken")
    output = deployed.deploy("Serving", check=False)
    assert "did not pass the ping health check" in output
    assert deployed.stack_status("Serving") == "UPDATE_ROLLBACK_COMPLETE"
    assert deployed.endpoint()["EndpointConfigName"] == before["EndpointConfigName"]
    assert answer(deployed).document["model"] == model

    deployed.run("kennel", "promote", "--previous")
    deployed.deploy("Serving")
    assert answer(deployed).document["model"] == model


def test_instance_count_sets_server_count(deployed: Environment) -> None:
    sagemaker = deployed.client("sagemaker")

    scaling = deployed.client("application-autoscaling")

    def scale(count: int) -> set[int]:
        # Without a higher minimum, idle instances are taken away again.
        scaling.register_scalable_target(
            ServiceNamespace="sagemaker",
            ResourceId="endpoint/kennel-dev-scaled/variant/primary",
            ScalableDimension="sagemaker:variant:DesiredInstanceCount",
            MinCapacity=count,
            MaxCapacity=4,
        )
        wanted = [{"VariantName": "primary", "DesiredInstanceCount": count}]
        sagemaker.update_endpoint_weights_and_capacities(
            EndpointName="kennel-dev-scaled", DesiredWeightsAndCapacities=wanted
        )
        sagemaker.get_waiter("endpoint_in_service").wait(
            EndpointName="kennel-dev-scaled", WaiterConfig={"Delay": 1, "MaxAttempts": 120}
        )
        return {int(part) for server in deployed.servers() for part in server.cmdline()[-1:] if part.isdigit()}

    assert len(scale(2)) == 2
    assert deployed.endpoint()["ProductionVariants"][0]["CurrentInstanceCount"] == 2
    assert answer(deployed).status == 200
    assert len(scale(1)) == 1


def test_unpromoted_stage_suggests_fix(deployed: Environment) -> None:
    checked = deployed.run("kennel", "promote", "--check", "--stage", "prod", check=False)
    assert checked.returncode == 1
    message = " ".join(checked.stdout.split())
    assert "No model is promoted for stage prod" in message
    assert "make training STAGE=prod" in message
    assert "kennel train FOLDER --promote --stage prod" in message

    prod = assembly("prod")
    deployed.bootstrap("prod")
    deployed.deploy("Kennel-prod-Data", app=prod)
    refused = deployed.run(
        "cdk", "deploy", "--app", str(prod), "Kennel-prod-Serving", "--require-approval", "never", "--exclusively",
        check=False,
    )  # fmt: skip
    assert refused.returncode != 0
    assert "/kennel/prod/model" in refused.stdout


def test_image_is_forgotten(deployed: Environment, tmp_path: Path) -> None:
    s3, bucket = deployed.client("s3"), deployed.output("Data", "DatasetBucket")
    data = encode(gradient(70, 60), "JPEG")
    (tmp_path / "mary.jpg").write_bytes(data)
    keys = ("datasets/people/train/a/mary.jpg", "inbox/mary.jpg")
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=data)
        s3.put_object(Bucket=bucket, Key=key, Body=data)
    s3.delete_object(Bucket=bucket, Key=keys[1])
    command = ("kennel", "data", "forget", str(tmp_path / "mary.jpg"))
    unasked = deployed.run(*command, check=False)
    assert unasked.returncode == 1
    assert "pass --yes" in unasked.stdout
    output = deployed.run(*command, "--yes").stdout
    assert f"Erased: s3://{bucket}/{keys[0]}" in output
    assert "Remains: models that were trained with it" in output
    page = s3.list_object_versions(Bucket=bucket)
    left = {item["Key"] for kind in ("Versions", "DeleteMarkers") for item in page.get(kind, [])}
    assert not left & set(keys)
    assert "Nothing of stage dev holds the image" in deployed.run(*command).stdout
