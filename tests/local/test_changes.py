"""Change: nothing when nothing changed, one line for one change, a new model under the old name, and a way back."""

import json
from pathlib import Path
from typing import Any

import pytest

from environment import Environment
from kennel.calling import Answer

pytestmark = pytest.mark.slow


def copy_package(deployed: Environment, job: str, *, name: str | None = None, without: str = "") -> None:
    """A second package, as if the job `job` had made it: renamed, or without one of its files."""
    s3, bucket = deployed.client("s3"), deployed.output("Data", "ModelBucket")
    prefix = deployed.facts["package"].split(f"{bucket}/")[1]
    for item in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
        file = item["Key"].removeprefix(prefix)
        if file == without:
            continue
        body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
        if file == "model.json" and name:
            body = json.dumps({**json.loads(body), "name": name}).encode()
        s3.put_object(Bucket=bucket, Key=f"packages/{job}/output/model/{file}", Body=body)


def endpoint(deployed: Environment) -> dict[str, Any]:
    described: dict[str, Any] = deployed.client("sagemaker").describe_endpoint(EndpointName="kennel-dev-scaled")
    return described


def answer(deployed: Environment) -> Answer:
    return deployed.url().call(deployed.picture(), "image/jpeg")


def status(deployed: Environment, stack: str) -> str:
    stacks = deployed.client("cloudformation").describe_stacks(StackName=f"Kennel-{stack}")["Stacks"]
    return str(stacks[0]["StackStatus"])


def test_given_a_deployed_stage_when_deployed_again_then_nothing_changes(deployed: Environment) -> None:
    output = deployed.deploy("Data", "Training", "Serving", "Api")
    assert output.count("(no changes)") == 4, output


def test_given_a_higher_maximum_when_compared_then_the_diff_is_that_one_change_and_it_reaches_the_target(
    deployed: Environment, tmp_path: Path
) -> None:
    project = deployed.project_copy(tmp_path / "project")
    settings = json.loads((project / "cdk.json").read_text())
    settings["context"]["stages"]["dev"]["endpoint"]["max_instances"] = 6
    (project / "cdk.json").write_text(json.dumps(settings))

    diff = deployed.run("cdk", "diff", cwd=project).stdout
    changed = [line for line in diff.splitlines() if line.strip().startswith(("[~]", "[+]", "[-]", "├─", "└─"))]
    assert "Number of stacks with differences: 1" in diff
    assert [line.split()[1] for line in changed if line.startswith("[")] == [
        "AWS::ApplicationAutoScaling::ScalableTarget"
    ]
    assert sum("MaxCapacity" in line for line in changed) == 1

    deployed.deploy("Serving", cwd=project)
    targets = deployed.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    assert [target["MaxCapacity"] for target in targets["ScalableTargets"]] == [6]

    deployed.deploy("Serving")
    targets = deployed.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    assert [target["MaxCapacity"] for target in targets["ScalableTargets"]] == [4]


def test_given_the_page_for_the_internet_when_deployed_then_only_its_distribution_is_let_in_and_it_can_go_again(
    deployed: Environment, tmp_path: Path
) -> None:
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
    project = deployed.project_copy(tmp_path / "project")
    settings = json.loads((project / "cdk.json").read_text())
    settings["context"]["stages"]["dev"]["function"] |= {"cloudfront": True, "public_url_reason": "for visitors"}
    (project / "cdk.json").write_text(json.dumps(settings))
    deployed.deploy("Api", cwd=project)
    (distribution,) = distributions()
    (origin,) = distribution["Origins"]["Items"]
    access = cloudfront.get_origin_access_control(Id=origin["OriginAccessControlId"])["OriginAccessControl"]
    assert origin["DomainName"] in deployed.output("Api", "FunctionUrl")
    assert access["OriginAccessControlConfig"]["SigningBehavior"] == "always"
    assert sources() == {distribution["ARN"]}

    deployed.deploy("Api")
    assert distributions() == []
    assert sources() == set()


def test_given_a_new_package_when_promoted_and_deployed_then_the_same_endpoint_serves_it_and_can_go_back(
    deployed: Environment,
) -> None:
    before, first = endpoint(deployed), answer(deployed).document["model"]
    copy_package(deployed, "second", name="second-model")
    assert "second-model" in deployed.run("kennel", "promote", "second").stdout
    deployed.deploy("Serving")
    after = endpoint(deployed)
    assert after["EndpointName"] == before["EndpointName"]
    assert after["EndpointConfigName"] != before["EndpointConfigName"]
    assert answer(deployed).document["model"] == "second-model"

    deployed.run("kennel", "promote", "--previous")
    deployed.deploy("Serving")
    assert answer(deployed).document["model"] == first


def test_given_a_package_that_cannot_be_served_when_deployed_then_the_stack_rolls_back_and_the_url_answers(
    deployed: Environment,
) -> None:
    before, model = endpoint(deployed), answer(deployed).document["model"]
    copy_package(deployed, "broken", without="labels.json")
    deployed.run("kennel", "promote", "broken")
    output = deployed.deploy("Serving", check=False)
    assert "did not pass the ping health check" in output
    assert status(deployed, "dev-Serving") == "UPDATE_ROLLBACK_COMPLETE"
    assert endpoint(deployed)["EndpointConfigName"] == before["EndpointConfigName"]
    assert answer(deployed).document["model"] == model

    deployed.run("kennel", "promote", "--previous")
    deployed.deploy("Serving")
    assert answer(deployed).document["model"] == model


def test_given_more_instances_when_asked_for_then_so_many_servers_run(deployed: Environment) -> None:
    sagemaker = deployed.client("sagemaker")

    def scale(count: int) -> set[int]:
        wanted = [{"VariantName": "primary", "DesiredInstanceCount": count}]
        sagemaker.update_endpoint_weights_and_capacities(
            EndpointName="kennel-dev-scaled", DesiredWeightsAndCapacities=wanted
        )
        sagemaker.get_waiter("endpoint_in_service").wait(
            EndpointName="kennel-dev-scaled", WaiterConfig={"Delay": 1, "MaxAttempts": 120}
        )
        return {int(part) for server in deployed.servers() for part in server.cmdline()[-1:] if part.isdigit()}

    assert len(scale(2)) == 2
    assert endpoint(deployed)["ProductionVariants"][0]["CurrentInstanceCount"] == 2
    assert answer(deployed).status == 200
    assert len(scale(1)) == 1


def test_given_a_stage_without_a_promoted_model_when_deployed_then_it_says_what_to_run(deployed: Environment) -> None:
    checked = deployed.run("kennel", "promote", "--check", "--stage", "prod", check=False)
    assert checked.returncode == 1
    message = " ".join(checked.stdout.split())
    assert "No model is promoted for stage prod" in message
    assert "make training STAGE=prod" in message
    assert "kennel train FOLDER --promote --stage prod" in message

    deployed.run("cdk", "deploy", "Kennel-prod-Data", "-c", "stage=prod", "--require-approval", "never")
    command = (
        "cdk",
        "deploy",
        "Kennel-prod-Serving",
        "-c",
        "stage=prod",
        "--require-approval",
        "never",
        "--exclusively",
    )
    refused = deployed.run(*command, check=False)
    assert refused.returncode != 0
    assert "/kennel/prod/model" in refused.stdout
