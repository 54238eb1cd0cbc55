"""Published rules over every stage and option: cdk-nag's AwsSolutions, cfn-lint, and checkov."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import REPOSITORY
from helpers.invariants import CDK_OWNED, Templates
from helpers.synthesis import CONTEXT, MATRIX, kept_synthesis
from kennel.review.findings import linted

# cdk-nag wants every resource with a wildcard looked at. These are all there are, by what they end with.
WILDCARDS = {
    r"^\*$": "AWS offers no resource level: tests/helpers/invariants.py knows the actions",
    r"/(datasets|inbox|weights|packages|promoted|checkpoints|captures)/\*$": "a prefix of objects of any name",
    r"/captures/kennel-[a-z]+-[a-z]+/primary/\*$": "the same, of one endpoint",
    r":log-group:/aws/sagemaker/TrainingJobs:(\*|log-stream:kennel-[a-z]+-\*)$": "streams of the stage's jobs",
    r":log-group:/aws/sagemaker/Endpoints/kennel-[a-z]+-\*(:\*|:log-stream:\*)?$": "groups of the stage's endpoints",
    r":(training-job|alarm)[:/]kennel-[a-z]+-\*$": "jobs and alarms of the stage, by their names' beginning",
    r":(model|endpoint|endpoint-config)/kennel-[a-z]+-notebook-\*$": "what a notebook makes, by its names' beginning",
    r":(model|endpoint|endpoint-config)/\*$": "only with the stage's tag: CloudFormation makes the names",
    r":stack/Kennel-[a-z]+-(\*|Serving)/\*$": "the stage's stacks: the last part is an id",
    r":role/Kennel-[a-z]+-Serving-ModelRole\*$": "the role of a stack that is deployed later",
    r":instance/\*$": "an instance registers itself under an id that it gets at its start",
    r":autoScalingGroup:\*:autoScalingGroupName/Kennel-[a-z]+-ec2-training$": "one group: the first part is an id",
}
# checkov wants another boto3 than Kennel, so that it has an environment of its own (make setup).
CHECKOV = Path(sys.prefix) / "audit" / "bin" / "checkov"
# A security group that lets everybody in by SSH.
OPEN = {
    "Type": "AWS::EC2::SecurityGroup",
    "Properties": {
        "GroupDescription": "a",
        "SecurityGroupIngress": [{"CidrIp": "0.0.0.0/0", "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}],
    },
}
# CDK's own functions empty a bucket or close a security group, once: they need no queue, no limit and no network.
CDK_FUNCTIONS = {"CKV_AWS_115", "CKV_AWS_116", "CKV_AWS_117"}


def findings(report: Path) -> list[tuple[str, str]]:
    """What a validation report of CDK's has found: rule and construct."""
    return [
        (violation["ruleName"], place["constructPath"])
        for plugin in json.loads(report.read_text())["pluginReports"]
        for violation in plugin["violations"]
        for place in violation["violatingConstructs"]
    ]


def unknown(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The findings that neither a construct nor WILDCARDS has a reason for."""

    def known(rule: str) -> bool:
        resource = re.fullmatch(r"AwsSolutions-IAM5\[Resource::(.*)\]", rule)
        return resource is not None and any(re.search(pattern, resource[1]) for pattern in WILDCARDS)

    return [item for item in found if not known(item[0])]


@pytest.mark.parametrize("name", MATRIX)
def test_cdk_nag_findings_are_justified(name: str) -> None:
    found = findings(kept_synthesis(name) / "validation-report.json")
    assert found, "the rules were not asked"
    assert unknown(found) == []


def test_unreviewed_wildcard_is_a_finding() -> None:
    resources = ("arn:aws:s3:::bucket/*", "arn:aws:sagemaker:us-east-1:<AWS::AccountId>:*")
    added = [(f"AwsSolutions-IAM5[Resource::{resource}]", "Role") for resource in resources]
    added += [("AwsSolutions-IAM5[Action::s3:*]", "Role"), ("AwsSolutions-S1", "Bucket")]
    assert unknown(added) == added


@pytest.mark.parametrize("name", MATRIX)
def test_cfn_lint_finds_nothing(name: str, matrix: dict[str, Templates]) -> None:
    # As `kennel review` asks it, once for each template: most of an option's stacks are dev's.
    templates = matrix[name].values()
    assert [item for template in templates for item in linted(json.dumps(template), MATRIX[name]["region"])] == []


@pytest.mark.parametrize("stage", CONTEXT["stages"])
def test_cdk_validation_finds_nothing(stage: str, tmp_path: Path) -> None:
    """CDK's own validation, which is off wherever it is not asked for: it takes longer than the synthesis."""
    context = json.dumps({**CONTEXT, "stage": stage})
    result = validated(tmp_path, REPOSITORY / "app.py", CDK_CONTEXT_JSON=context)
    assert result.returncode == 0, result.stderr
    assert findings(tmp_path / "cdk.out" / "validation-report.json") == []


def test_cdk_validation_finds_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from aws_cdk import App, CfnResource, Stack\n"
        "app = App()\n"
        "CfnResource(Stack(app, 'S'), 'B', type='AWS::S3::Bucket', properties={'BucketNam': 'a'})\n"
        "app.synth()\n"
    )
    result = validated(tmp_path, tmp_path / "app.py")
    assert "BucketNam" in result.stderr + (tmp_path / "cdk.out" / "validation-report.json").read_text()


def validated(folder: Path, app: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "CDK_VALIDATION": "true", "CDK_OUTDIR": str(folder / "cdk.out"), **more}
    command = [sys.executable, str(app)]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


def test_cfn_lint_catches_invalid_property() -> None:
    template = {"Resources": {"Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketNam": "a"}}}}
    assert linted(json.dumps(template), "us-east-1")


@pytest.fixture(scope="module")
def checked(matrix: dict[str, Templates], tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """What checkov finds in the whole matrix, and in a security group that is open: rule and resource."""
    assert CHECKOV.exists(), f"{CHECKOV} is missing: run `make setup`"
    folder = tmp_path_factory.mktemp("templates")
    for templates in matrix.values():
        for template in templates.values():
            # Each once, by its content.
            text = json.dumps(template)
            file = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.template.json"
            file.write_text(text)
    (folder / "open.template.json").write_text(json.dumps({"Resources": {"Open": OPEN}}))
    command = [CHECKOV, "--directory", folder, "--framework", "cloudformation", "--output", "json", "--quiet"]
    # Nothing is asked of Prisma Cloud.
    result = subprocess.run([*command, "--skip-download"], capture_output=True, text=True, check=False)
    report = json.loads(result.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] + report["summary"]["failed"] > 0, result.stderr
    failed = report["results"]["failed_checks"]
    return [(found["check_id"], f"{found['file_path']} {found['resource']}") for found in failed]


def test_checkov_findings_are_justified(checked: list[tuple[str, str]]) -> None:
    found = [item for item in checked if not item[1].startswith("/open.")]
    owned = [item for item in found if any(f".{name}" in item[1] for name in CDK_OWNED)]
    assert {rule for rule, _ in owned} == CDK_FUNCTIONS
    assert [item for item in found if item not in owned] == []


def test_checkov_catches_open_security_group(checked: list[tuple[str, str]]) -> None:
    assert ("CKV_AWS_24", "/open.template.json AWS::EC2::SecurityGroup.Open") in checked
