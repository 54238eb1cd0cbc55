"""`kennel review` over pairs of assemblies: the dev stage as it is, and with one change each."""

import copy
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App

from helpers import REPOSITORY
from helpers.synthesis import FLAGS, MATRIX
from infra.config import parse_stage
from infra.stage import add_stacks
from kennel.errors import KennelError
from kennel.pricing import prices
from kennel.review import comment
from kennel.review.change import Review, review
from kennel.stage import assemblies, redaction

REGION = "us-east-1"
# In the form of real ones, and nobody's.
ACCOUNT_ID, OWN_ACCOUNT = "210987654321", "135791357913"
ACCESS_KEY = "AKIA" + "Q3EGRJ5T7YHN2WVX"
SECRET_KEY = "wJalrXUtnFEMIK7MDENGbPxRfiCYzzTESTkeyAb1"
TOKEN = "ghp_" + "aB3" * 12
PASSWORD = "correct-horse-battery"

# Forty characters of all kinds, as secret access keys have.
LONG_NAME = "ExportsOutputRefClassifierFn7A3C02BD1234"

Templates = dict[str, dict[str, Any]]
Edit = Callable[["Editor"], None]


class Editor:
    """An assembly in a folder, to be changed as a pull request would change it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.templates: Templates = {
            file.name.split(".")[0].rpartition("-")[2]: json.loads(file.read_text())
            for file in folder.glob("Kennel-*.template.json")
        }

    def write(self) -> None:
        for file in self.folder.glob("Kennel-*.template.json"):
            file.unlink()
        for stack, template in self.templates.items():
            (self.folder / f"Kennel-dev-{stack}.template.json").write_text(json.dumps(template))

    def id_of(self, stack: str, place: str) -> str:
        """The logical id of what is at a place in the app."""
        for logical_id, resource in self.templates[stack]["Resources"].items():
            if resource.get("Metadata", {}).get("aws:cdk:path", "").partition("/")[2] in (place, f"{place}/Resource"):
                return str(logical_id)
        raise KeyError(place)

    def resource(self, stack: str, place: str) -> dict[str, Any]:
        found: dict[str, Any] = self.templates[stack]["Resources"][self.id_of(stack, place)]
        return found

    def properties(self, stack: str, place: str) -> dict[str, Any]:
        found: dict[str, Any] = self.resource(stack, place).setdefault("Properties", {})
        return found

    def add(self, stack: str, logical_id: str, kind: str, properties: dict[str, Any]) -> None:
        self.templates[stack]["Resources"][logical_id] = {"Type": kind, "Properties": properties}

    def statement(self, stack: str, policy: str, action: str) -> dict[str, Any]:
        """The statement of a policy that has an action; its actions as a list."""
        for statement in self.properties(stack, policy)["PolicyDocument"]["Statement"]:
            if action in (statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]):
                statement["Action"] = [action] if statement["Action"] == action else statement["Action"]
                found: dict[str, Any] = statement
                return found
        raise KeyError(action)

    def change_file(self, name: str, file: str, content: str | None) -> None:
        """Another content of an asset's file, none to remove it: CDK then gives the asset another hash."""
        for manifest in self.folder.glob("*.assets.json"):
            document = json.loads(manifest.read_text())
            for hash_, asset in list(document["files"].items()):
                if asset["displayName"] != name:
                    continue
                other = hash_[::-1]
                folder = self.folder / f"asset.{other}"
                shutil.copytree(self.folder / asset["source"]["path"], folder)
                if content is None:
                    (folder / file).unlink()
                else:
                    (folder / file).write_text(content)
                del document["files"][hash_]
                asset["source"]["path"] = folder.name
                document["files"][other] = asset
                manifest.write_text(json.dumps(document))
                stack = manifest.name.split(".")[0].rpartition("-")[2]
                text = json.dumps(self.templates[stack]).replace(hash_, other)
                # A function's version has the hash of its code in its name.
                text = re.sub(r"(CurrentVersion[0-9A-F]{8})[0-9a-f]{32}", r"\g<1>" + other[:32], text)
                self.templates[stack] = json.loads(text)
                return
        raise KeyError(name)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "cdk.out"
    app = App(context={**FLAGS, "aws:cdk:enable-path-metadata": True}, outdir=str(folder))
    add_stacks(app, parse_stage("dev", MATRIX["dev"]))
    app.synth()
    return folder


def reviewed(base: Path, folder: Path, edit: Edit) -> tuple[Review, str]:
    head = folder / "head"
    shutil.copytree(base, head)
    editor = Editor(head)
    edit(editor)
    editor.write()
    one, other = assemblies.read(base, "base"), assemblies.read(head, "head")
    found = review(one, other, "dev", REGION, prices.load())
    return found, redaction.redacted(comment.comment(found), found.names, found.own)


def section(text: str, title: str) -> str:
    """One section of a comment; empty where it has none."""
    match = re.search(rf"### {re.escape(title)}\n(.*?)(?=\n### |\Z)", text, re.DOTALL)
    return match[1] if match else ""


@dataclass(frozen=True)
class Case:
    """A change, what sections of its comment have to say, and which sections it must not have."""

    edit: Edit
    says: dict[str, tuple[str, ...]]
    without: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def excepting(part: str, before: str, after: str, effect: str = "Allow") -> tuple[Edit, Edit]:
    """The function's role with a statement that names what it leaves out, before and after."""
    rest = {"Action": "s3:GetObject"} if part == "NotResource" else {"Resource": "*"}

    def edit(value: str) -> Edit:
        def add(at: Editor) -> None:
            at.properties("Api", ROLE)["PolicyDocument"]["Statement"].append({"Effect": effect, part: value, **rest})

        return add

    return edit(before), edit(after)


def resource(value: str) -> Edit:
    def change(at: Editor) -> None:
        at.statement("Api", ROLE, "sagemaker:InvokeEndpoint")["Resource"] = value

    return change


WIDENINGS: dict[str, tuple[Edit, Edit]] = {
    "less is left out of the actions": excepting("NotAction", "iam:*", "iam:CreateUser"),
    "less is left out of the resources": excepting("NotResource", "arn:aws:s3:::b*", "arn:aws:s3:::b-a"),
    "more is left out of a refusal": excepting("NotAction", "s3:GetObject", "s3:*", "Deny"),
    "one letter becomes any": (resource("arn:aws:sagemaker:::endpoint/?"), resource("arn:aws:sagemaker:::endpoint/*")),
}


@pytest.mark.parametrize("name", WIDENINGS)
def test_widening_is_flagged_but_not_reverse(base: Path, tmp_path: Path, name: str) -> None:
    narrow, wide = WIDENINGS[name]
    for folder, edit in (("narrow", narrow), ("wide", wide)):
        shutil.copytree(base, tmp_path / folder)
        at = Editor(tmp_path / folder)
        edit(at)
        at.write()
    sides = [assemblies.read(tmp_path / folder, folder) for folder in ("narrow", "wide")]
    there = review(*sides, "dev", REGION, prices.load())
    assert there.widened, comment.comment(there)
    back = review(*reversed(sides), "dev", REGION, prices.load())
    assert back.access, comment.comment(back)
    assert not back.widened, comment.comment(back)


def unreadable_effect(at: Editor) -> None:
    statement = {"Effect": {"Fn::If": ["C", "Allow", "Deny"]}, "Action": "s3:GetObject", "Resource": "*"}
    at.properties("Api", ROLE)["PolicyDocument"]["Statement"].append(statement)


def unreadable_document(at: Editor) -> None:
    properties = at.properties("Api", ROLE)
    properties["PolicyDocument"] = {"Fn::If": ["C", properties["PolicyDocument"], {"Ref": "AWS::NoValue"}]}


def inline_policy(at: Editor) -> None:
    document = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    role = {"Ref": at.id_of("Api", "Classifier/Role")}
    at.add("Api", "More", "AWS::IAM::RolePolicy", {"PolicyName": "m", "RoleName": role, "PolicyDocument": document})


def another_role(at: Editor) -> None:
    at.properties("Api", "Classifier/Function")["Role"] = f"arn:aws:iam::{ACCOUNT_ID}:role/Admin"


def role_without_boundary(at: Editor) -> None:
    role = copy.deepcopy(at.properties("Api", "Classifier/Role"))
    del role["PermissionsBoundary"]
    at.add("Api", "Other", "AWS::IAM::Role", role)


def condition_put(at: Editor) -> None:
    at.templates["Data"].setdefault("Conditions", {})["Never"] = {"Fn::Equals": ["a", "b"]}
    at.resource("Data", "Storage/Datasets")["Condition"] = "Never"


def type_changed(at: Editor) -> None:
    resource = at.resource("Data", "Storage/Models")
    resource["Type"] = "AWS::SNS::Topic"
    resource["Properties"] = {}


def emoji(at: Editor) -> None:
    at.properties("Api", "Classifier/Function")["Description"] = "dogs \N{DOG FACE}"


def half_of_the_internet(at: Editor) -> None:
    at.properties("Training", "Network/TrainingInstance")["SecurityGroupIngress"] = {
        "CidrIp": "128.0.0.0/1",
        "IpProtocol": "tcp",
        "FromPort": 22,
        "ToPort": 22,
    }


ALL = ("Lost or replaced", "Access", "On the internet", "Cost", "Files", "Findings", "Everything that changes")
ROLE = "Classifier/Role/DefaultPolicy"


def widen_action(at: Editor) -> None:
    at.statement("Api", ROLE, "sagemaker:InvokeEndpoint")["Action"].append("sagemaker:InvokeEndpointAsync")


def narrow_action(at: Editor) -> None:
    at.statement("Api", ROLE, "logs:PutLogEvents")["Action"].remove("logs:CreateLogStream")


def wildcard(at: Editor) -> None:
    at.statement("Api", ROLE, "s3:GetObject").update(Action="s3:*")


def stricter_condition(at: Editor) -> None:
    at.statement("Training", "JobRole/DefaultPolicy", "cloudwatch:PutMetricData").update(
        Condition={
            "StringEquals": {"cloudwatch:namespace": "/aws/sagemaker/TrainingJobs", "aws:RequestedRegion": REGION}
        }
    )


def wider_resource(at: Editor) -> None:
    at.statement("Api", ROLE, "sagemaker:InvokeEndpoint")["Resource"] = "arn:aws:sagemaker:*:*:endpoint/*"


def condition_dropped(at: Editor) -> None:
    del at.statement("Training", "JobRole/DefaultPolicy", "cloudwatch:PutMetricData")["Condition"]


def statements_merged(at: Editor) -> None:
    document = at.properties("Api", ROLE)["PolicyDocument"]
    first = document["Statement"][0]
    actions = first["Action"]
    document["Statement"][:1] = [{**first, "Action": action} for action in actions]


def trust_widened(at: Editor) -> None:
    statement = at.properties("Api", "Classifier/Role")["AssumeRolePolicyDocument"]["Statement"]
    statement.append(
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT_ID}:root"}}
    )


def deny_removed(at: Editor) -> None:
    document = at.properties("Data", "Storage/Models/Policy")["PolicyDocument"]
    document["Statement"] = [item for item in document["Statement"] if item.get("Sid") != "ForeignAccounts"]


def administrator(at: Editor) -> None:
    at.properties("Api", "Classifier/Role")["ManagedPolicyArns"] = ["arn:aws:iam::aws:policy/AdministratorAccess"]


def boundary_dropped(at: Editor) -> None:
    del at.properties("Api", "Classifier/Role")["PermissionsBoundary"]


def bucket_replaced(at: Editor) -> None:
    at.properties("Data", "Storage/Datasets")["BucketName"] = "kennel-datasets"


def bucket_destroyed(at: Editor) -> None:
    logical_id = at.id_of("Data", "Storage/AccessLogs")
    at.templates["Data"]["Resources"][logical_id]["DeletionPolicy"] = "Delete"
    del at.templates["Data"]["Resources"][logical_id]
    # What refers to it would not deploy: they are not what this case is about.
    text = json.dumps(at.templates["Data"]).replace(f'{{"Ref": "{logical_id}"}}', '"elsewhere"')
    at.templates["Data"] = json.loads(text)


def renamed(at: Editor) -> None:
    resources = at.templates["Operations"]["Resources"]
    alarm = resources.pop(at.id_of("Operations", "Endpoint/Disk"))
    alarm["Metadata"]["aws:cdk:path"] = "Kennel-dev-Operations/Watch/Disk/Resource"
    resources["WatchDisk01234567"] = alarm


def storage_renamed(at: Editor) -> None:
    """Another id of the construct that has the buckets and the key: all that is in it has another logical id."""
    ids = {
        logical_id: logical_id.replace("Storage", "Store", 1)
        for logical_id, resource in at.templates["Data"]["Resources"].items()
        if "/Storage/" in resource.get("Metadata", {}).get("aws:cdk:path", "")
    }
    text = json.dumps(at.templates).replace("Kennel-dev-Data/Storage/", "Kennel-dev-Data/Store/")
    at.templates = json.loads(re.sub("|".join(ids), lambda match: ids[match[0]], text))


def deny_weakened(at: Editor) -> None:
    document = at.properties("Data", "Storage/Models/Policy")["PolicyDocument"]
    (statement,) = (item for item in document["Statement"] if item.get("Sid") == "ForeignAccounts")
    statement["Condition"]["StringNotLike"] = {"aws:PrincipalTag/team": "partners"}


def allow_weakened(at: Editor) -> None:
    statement = at.statement("Training", "JobRole/DefaultPolicy", "cloudwatch:PutMetricData")
    statement["Condition"] = {"StringLike": {"cloudwatch:namespace": "/aws/*"}}


def only_sids(at: Editor) -> None:
    for statement in at.properties("Data", "Storage/Models/Policy")["PolicyDocument"]["Statement"]:
        statement.pop("Sid", None)


def bucket_and_policy_destroyed(at: Editor) -> None:
    bucket_destroyed(at)
    del at.templates["Data"]["Resources"][at.id_of("Data", "Storage/AccessLogs/Policy")]


def another_region(at: Editor) -> None:
    manifest = at.folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f"/{REGION}", "/eu-west-1"))


def url_replaced(at: Editor) -> None:
    at.properties("Api", "Url/Url")["TargetFunctionArn"] = "arn:aws:lambda:us-east-1:1:function:another"


def secret_put(at: Editor) -> None:
    variables = at.properties("Api", "Classifier/Function")["Environment"]["Variables"]
    variables |= {"DB_PASSWORD": PASSWORD, "FROM": "{{resolve:secretsmanager:db:SecretString:password}}"}


def long_name(at: Editor) -> None:
    at.templates["Api"]["Outputs"][LONG_NAME] = {"Value": {"Ref": at.id_of("Api", "Classifier/Function")}}


def file_changed(at: Editor) -> None:
    at.change_file("lambda/classifier/", "classifier/handler.py", "def handle(event, context): ...\n")


def file_removed(at: Editor) -> None:
    at.change_file("training/, inference/ and wheels", "training/hpo.py", None)


def larger_instance(at: Editor) -> None:
    at.properties("Serving", "Scaled/Config")["ProductionVariants"][0]["InstanceType"] = "ml.c5.xlarge"


def more_instances(at: Editor) -> None:
    at.properties("Serving", "Scaling/Target")["MinCapacity"] = 3


def more_memory(at: Editor) -> None:
    at.properties("Api", "Classifier/Function")["MemorySize"] = 1024


def unknown_type(at: Editor) -> None:
    at.properties("Serving", "Scaled/Config")["ProductionVariants"][0]["InstanceType"] = "ml.p9.48xlarge"


def gateway(at: Editor) -> None:
    at.add("Training", "Nat", "AWS::EC2::NatGateway", {"SubnetId": "subnet-1", "AllocationId": "eipalloc-1"})


def scripts_let_in(at: Editor) -> None:
    at.properties("Api", "Url/Url")["Cors"] = {"AllowOrigins": ["*"], "AllowMethods": ["POST"]}


def url_opened(at: Editor) -> None:
    at.properties("Api", "Url/Url")["AuthType"] = "NONE"
    for place in ("Url/InvokeUrl", "Url/InvokeViaUrl"):
        at.properties("Api", place)["Principal"] = "*"


def bucket_opened(at: Editor) -> None:
    at.properties("Data", "Storage/Datasets")["PublicAccessBlockConfiguration"]["BlockPublicPolicy"] = False


def ssh_opened(at: Editor) -> None:
    at.properties("Training", "Network/TrainingInstance")["SecurityGroupIngress"] = [
        {"CidrIp": "0.0.0.0/0", "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    ]


def stack_removed(at: Editor) -> None:
    del at.templates["Serving"]


def stack_added(at: Editor) -> None:
    at.templates["Extra"] = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {}}}}


def output_changed(at: Editor) -> None:
    at.templates["Api"]["Outputs"]["FunctionName"]["Value"] = "another"


def parameter_added(at: Editor) -> None:
    at.templates["Data"].setdefault("Parameters", {})["Days"] = {"Type": "Number", "Default": 7}


def protected_no_more(at: Editor) -> None:
    at.resource("Data", "Storage/Models")["DeletionPolicy"] = "Delete"


def metadata_only(at: Editor) -> None:
    for template in at.templates.values():
        for resource in template["Resources"].values():
            resource.setdefault("Metadata", {})["note"] = "another"


def bad_template(at: Editor) -> None:
    at.properties("Api", "Classifier/Function")["Runtime"] = "python3.7"


def nothing(at: Editor) -> None:
    pass


CASES = {
    "a widened action": Case(
        widen_action,
        {"Access": ("**Widened**", "**Classifier/Role** may now `sagemaker:InvokeEndpointAsync` on")},
        ("Lost or replaced", "On the internet", "Files", "Findings"),
        ("widen",),
    ),
    "a narrowed action": Case(
        narrow_action,
        {"Access": ("**Narrowed**", "**Classifier/Role** may no longer `logs:CreateLogStream` on")},
        ("Lost or replaced", "On the internet", "Files"),
    ),
    "a new wildcard": Case(wildcard, {"Access": ("**Widened**", "may now `s3:*` on", "/inbox/*`")}, refused=("widen",)),
    "a stricter condition": Case(
        stricter_condition, {"Access": ("**Narrowed**", "**JobRole** may no longer `cloudwatch:PutMetricData`")}
    ),
    "a wider resource": Case(
        wider_resource,
        {"Access": ("**Widened**", "may now `sagemaker:InvokeEndpoint` on `arn:aws:sagemaker:*:*:endpoint/*`")},
        refused=("widen",),
    ),
    "a condition less": Case(
        condition_dropped, {"Access": ("**Widened**", "may now `cloudwatch:PutMetricData` on `*`")}, refused=("widen",)
    ),
    "statements taken apart": Case(
        statements_merged,
        {"Everything that changes": ("the same access, written in another way",)},
        ("Access", "Lost or replaced"),
    ),
    "another account that is trusted": Case(
        trust_widened,
        {"Other accounts": ("<another account, …", "may now `sts:AssumeRole` on")},
        refused=("widen",),
    ),
    "a refusal less": Case(
        deny_removed,
        {"Access": ("**Widened**", "**everyone** is no longer refused `s3:*`", "aws:PrincipalAccount")},
        refused=("widen",),
    ),
    "an administrator": Case(
        administrator,
        {"Access": ("**Classifier/Role** gets the policy `arn:aws:iam::aws:policy/AdministratorAccess`",)},
        refused=("widen",),
    ),
    "a boundary less": Case(
        boundary_dropped, {"Access": ("**Classifier/Role** has no permissions boundary any more",)}, refused=("widen",)
    ),
    "a replaced bucket": Case(
        bucket_replaced,
        {
            "Lost or replaced": (
                "| **Data: Storage/Datasets** | S3::Bucket | **replaced, with what is in it** | `BucketName`",
            )
        },
        ("On the internet", "Files"),
        ("replace",),
    ),
    "a destroyed bucket": Case(
        bucket_destroyed,
        {"Lost or replaced": ("| **Data: Storage/AccessLogs** | S3::Bucket | **destroyed, with what is in it**",)},
        # Its policy would be another bucket's.
        refused=("destroy", "replace"),
    ),
    "a renamed construct": Case(
        renamed,
        {"Lost or replaced": ("its name in the app changed to Watch/Disk",)},
        ("Access",),
        ("destroy",),
    ),
    "a file of the function": Case(
        file_changed,
        {"Files": ("`lambda/classifier/` changes", "`classifier/handler.py` changes")},
        ("Lost or replaced", "Access", "Findings"),
    ),
    "a file less in the training code": Case(
        file_removed,
        {"Files": ("`training/, inference/ and wheels` changes", "`training/hpo.py` goes")},
        ("Lost or replaced",),
    ),
    "another instance type": Case(
        larger_instance,
        {
            "Cost": ("1 × ml.m5.large, a month | 83.95 | 0.00 | -83.95", "1 × ml.c5.xlarge, a month | 0.00 | 148.92"),
            "Everything that changes": ("InstanceType`: `ml.m5.large` → `ml.c5.xlarge`",),
        },
        without=("Lost or replaced",),
    ),
    "more instances at rest": Case(
        more_instances, {"Cost": ("3 × ml.m5.large, a month | 0.00 | 251.85",)}, ("Access",)
    ),
    "more memory": Case(more_memory, {"Cost": ("per month, idle** |", "**+4.38**")}, ("Access", "Lost or replaced")),
    "a type without a price": Case(unknown_type, {"Cost": ("so not counted", "ml.p9.48xlarge")}),
    "a NAT gateway": Case(gateway, {"Cost": ("Nat, a month | 0.00 | 32.85 | +32.85",)}, ("Lost or replaced",)),
    "a URL for the scripts of every page": Case(
        scripts_let_in,
        {"On the internet": ("may be called by scripts of every page on the internet (CORS)",)},
        refused=("widen",),
    ),
    "a URL for everyone": Case(
        url_opened,
        {"On the internet": ("**now**: Api: **Url/Url** answers everyone", "lets everyone call the function")},
        refused=("widen",),
    ),
    "a bucket that may be public": Case(
        bucket_opened, {"On the internet": ("may be made public: BlockPublicPolicy",)}, refused=("widen",)
    ),
    "SSH from everywhere": Case(
        ssh_opened, {"On the internet": ("lets everyone in on tcp 22", "rule comes: `0.0.0.0/0`")}, refused=("widen",)
    ),
    "a stack less": Case(
        stack_removed,
        {"Lost or replaced": ("Serving: Scaled/Endpoint",), "Cost": ("-83.95",), "Access": ("**Narrowed**",)},
        refused=("destroy",),
    ),
    "a stack more": Case(stack_added, {"Everything that changes": ("Topic (SNS::Topic) is added",)}, ("Access",)),
    "another output": Case(
        output_changed, {"Everything that changes": ("`Outputs.FunctionName.Value`",)}, ("Access", "Lost or replaced")
    ),
    "a parameter": Case(parameter_added, {"Everything that changes": ("`Parameters.Days",)}, ("Access",)),
    "a finding": Case(bad_template, {"Findings": ("**new**: Api: Classifier/Function: `E",)}),
    "an effect by a condition": Case(
        unreadable_effect, {"Access": ("**Widened**", "cannot be read before the deploy comes")}, refused=("widen",)
    ),
    "a policy by a condition": Case(
        unreadable_document, {"Access": ("has a `PolicyDocument` that cannot be read",)}, refused=("widen",)
    ),
    "an inline policy by itself": Case(
        inline_policy, {"Access": ("**More** (IAM::RolePolicy) gives rights",)}, refused=("widen",)
    ),
    "another role": Case(another_role, {"Access": ("acts with another role: `Role`",)}, refused=("widen",)),
    "a role without a boundary": Case(
        role_without_boundary, {"Access": ("**Other** is a new role without a permissions",)}, refused=("widen",)
    ),
    "a condition on a bucket": Case(
        condition_put,
        {"Lost or replaced": ("| **Data: Storage/Datasets** |", "a condition says whether it is there")},
        refused=("destroy",),
    ),
    "another type": Case(
        type_changed,
        {"Lost or replaced": ("| **Data: Storage/Models** | S3::Bucket |", "its type changes to SNS::Topic")},
        refused=("replace",),
    ),
    "an emoji": Case(emoji, {"Everything that changes": ("`Description`",)}, ("Access", "Lost or replaced")),
    "half of the internet": Case(
        half_of_the_internet, {"On the internet": ("a large part of the internet, `128.0.0.0/1`,",)}, refused=("widen",)
    ),
    "a construct with others in it is renamed": Case(
        storage_renamed,
        {
            "Lost or replaced": (
                "| **Data: Storage/Datasets** | S3::Bucket | **destroyed, with what is in it** "
                "| its name in the app changed to Store/Datasets: ",
                "| **Data: Storage/Key** | KMS::Key |",
                "| Data: Storage/Models/Policy | S3::BucketPolicy | destroyed "
                "| its name in the app changed to Store/Models/Policy: ",
            )
        },
        ("Access",),
        # The notebook's volume has the key of another name, and cannot change it.
        refused=("destroy", "replace"),
    ),
    "a refusal has another exception": Case(
        deny_weakened,
        {"Access": ("**Widened**", "is no longer refused `s3:*`", "; now only if", "`aws:PrincipalTag/team`")},
        refused=("widen",),
    ),
    "a condition lets more through": Case(
        allow_weakened,
        {
            "Access": (
                "if `cloudwatch:namespace` StringLike `/aws/*`; before only if `cloudwatch:namespace` StringEquals",
            )
        },
        refused=("widen",),
    ),
    "names of statements alone": Case(
        only_sids,
        {"Everything that changes": ("`PolicyDocument`: the same access, written in another way",)},
        ("Access",),
    ),
    "a bucket goes with its policy": Case(
        bucket_and_policy_destroyed,
        {
            "Lost or replaced": ("| **Data: Storage/AccessLogs** | S3::Bucket | **destroyed, with what is in it** |",),
            "Access": ("**Narrowed**",),
        },
        refused=("destroy",),
    ),
    "another region": Case(
        another_region,
        {
            "Lost or replaced": (
                "| **Data** | stack | **a new one, empty, in eu-west-1** | the one in us-east-1 stays and costs",
            )
        },
        ("Access", "Everything that changes"),
        refused=("replace",),
    ),
    "another URL": Case(
        url_replaced,
        {"Lost or replaced": ("| **Api: Url/Url** | Lambda::Url | **replaced: callers need another address** |",)},
        refused=("replace",),
    ),
    "a secret": Case(
        secret_put,
        {
            "Findings": (
                "**new**: Api: Classifier/Function: `looks like a secret` `Environment.Variables.DB_PASSWORD",
            ),
            "Everything that changes": (
                "`Environment.Variables.DB_PASSWORD`: none → `<redacted>`",
                "`Environment.Variables.FROM`: none → `{{resolve:secretsmanager:db:SecretString:password}}`",
            ),
        },
    ),
    "a name like a secret": Case(
        long_name, {"Everything that changes": (f"`Outputs.{LONG_NAME}`: none → ",)}, ("Findings",)
    ),
    "metadata alone": Case(metadata_only, {}, ALL),
    "nothing at all": Case(nothing, {}, ALL),
}


@pytest.mark.parametrize("name", CASES)
def test_comment_has_expected_sections(base: Path, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    found, text = reviewed(base, tmp_path, case.edit)
    for title, parts in case.says.items():
        for part in parts:
            assert part in section(text, title), text
    for title in case.without:
        assert section(text, title) == "", text
    assert bool(text) == bool(case.says)
    assert found.refused(("destroy", "replace", "widen"), []) == list(case.refused)
    assert len(text) <= comment.MAX_CHARACTERS


def exports_gone(at: Editor) -> None:
    at.templates["Data"]["Outputs"] = {
        name: output for name, output in at.templates["Data"]["Outputs"].items() if "Export" not in output
    }


def renamed_alias(at: Editor) -> None:
    resources = at.templates["Data"]["Resources"]
    resources["StoreAlias0A1B2C3D"] = resources.pop(at.id_of("Data", "Storage/Key/Alias"))


def larger_scaled_instance(at: Editor) -> None:
    at.properties("Serving", "Scaled/Config")["ProductionVariants"][0]["InstanceType"] = "ml.m5.xlarge"


@pytest.mark.parametrize(
    ("edit", "parts"),
    [
        (exports_gone, ("Data no longer exports", "that Kennel-dev-Training imports", "Stack.export_value")),
        (renamed_alias, ("takes the name `alias/kennel-dev`", "AWS::KMS::Alias already exists", "override_logical_id")),
        (
            larger_scaled_instance,
            ("`endpoint/kennel-dev-scaled/variant/primary` changes from `ml.m5.large` to `ml.m5.xlarge`",),
        ),
    ],
)
def test_undeployable_change_is_blocked(base: Path, tmp_path: Path, edit: Edit, parts: tuple[str, ...]) -> None:
    found, text = reviewed(base, tmp_path, edit)
    for part in parts:
        assert part in section(text, "Cannot be deployed as it is"), text
    assert "**cannot be deployed as it is**" in text
    assert "block" in found.refused(("block",), [])
    assert found.refused(("block",), ["accept-block"]) == []


def test_own_account_is_told_from_another(base: Path, tmp_path: Path) -> None:
    for folder in ("base", "head"):
        shutil.copytree(base, tmp_path / folder)
        manifest = tmp_path / folder / "manifest.json"
        manifest.write_text(manifest.read_text().replace("aws://unknown-account/", f"aws://{OWN_ACCOUNT}/"))
    at = Editor(tmp_path / "head")
    document = at.properties("Data", "Storage/Models/Policy")["PolicyDocument"]
    for account in (OWN_ACCOUNT, ACCOUNT_ID):
        principal = {"AWS": f"arn:aws:iam::{account}:root"}
        statement = {"Effect": "Allow", "Principal": principal, "Action": "s3:GetObject", "Resource": "*"}
        document["Statement"].append(statement)
    at.write()
    one, other = assemblies.read(tmp_path / "base", "base"), assemblies.read(tmp_path / "head", "head")
    found = review(one, other, "dev", REGION, prices.load())
    text = redaction.redacted(comment.comment(found), found.names, found.own)
    others, access = section(text, "Other accounts"), section(text, "Access")
    assert "<another account, …4321>" in others
    assert "<account>" not in others
    assert "<account>" in access
    assert "another account" not in access
    assert "**another account may do more**" in text
    assert ACCOUNT_ID not in text
    assert OWN_ACCOUNT not in text


def test_exceeded_budget_and_most_instances_are_told(base: Path, tmp_path: Path) -> None:
    def grow(at: Editor) -> None:
        at.properties("Serving", "Scaling/Target").update(MinCapacity=2, MaxCapacity=12)

    found, text = reviewed(base, tmp_path, grow)
    assert found.month_after > 150
    assert "**Over the budget** of 150.00 USD a month" in section(text, "Cost")
    extra = 10 * 730 * 0.115
    assert found.most_after - found.month_after == pytest.approx(extra, abs=0.01)
    assert f"| a month with the most instances | {found.most_before:,.2f} |" in text


def test_access_to_renamed_key_is_not_told_twice(base: Path, tmp_path: Path) -> None:
    def rename(at: Editor) -> None:
        old = at.id_of("Data", "Storage/Key")
        text = json.dumps(at.templates).replace(old, "StoreKey0A1B2C3D")
        at.templates = json.loads(text)

    found, text = reviewed(base, tmp_path, rename)
    assert section(text, "Lost or replaced")
    said = [(item.widens, item.sentence.replace("may now", "…").replace("may no longer", "…")) for item in found.access]
    assert {sentence for widens, sentence in said if widens}.isdisjoint(
        sentence for widens, sentence in said if not widens
    )


def test_assemblies_of_any_app_are_compared(base: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, size in ((one, 20), (other, 40)):
        folder.mkdir()
        table = {"Type": "AWS::RDS::DBInstance", "Properties": {"AllocatedStorage": f"{size}"}}
        (folder / "Shop.template.json").write_text(json.dumps({"Resources": {"Orders": table, "New": table}}))
    template = json.loads((other / "Shop.template.json").read_text())
    template["Resources"]["Cache"] = {"Type": "AWS::ElastiCache::CacheCluster", "Properties": {}}
    (other / "Shop.template.json").write_text(json.dumps(template))
    command = [sys.executable, "-m", "kennel", "review", str(one), str(other), "--every-stack"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "changes in this app" in result.stdout
    assert "`AllocatedStorage`: `20` → `40`" in result.stdout
    assert "there is no price of AWS::ElastiCache::CacheCluster" in result.stdout


def test_accept_label_overrides_refusal(base: Path, tmp_path: Path) -> None:
    found, _ = reviewed(base, tmp_path, widen_action)
    assert found.refused(("widen",), ["accept-widen"]) == []
    assert found.refused(("widen",), ["accept-destroy", "bug"]) == ["widen"]
    assert found.refused(("destroy",), []) == []


def test_unretained_bucket_is_listed_as_lost(base: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(base, kept)
    at = Editor(kept)
    at.resource("Data", "Storage/Models")["DeletionPolicy"] = "Retain"
    at.write()
    _, text = reviewed(kept, tmp_path, protected_no_more)
    assert "| Data: Storage/Models | S3::Bucket | **no longer kept when it goes** |" in section(
        text, "Lost or replaced"
    )
    assert "`DeletionPolicy`: `Retain` → `Delete`" in text


# By hand, from the price table's own figures of 2026-11-24 and 730 hours a month.
HAND_WORKED = {
    # key 1.00; notebook 20 GiB × 0.14; endpoint 730 × 0.115; seventeen alarms, one of them on two metrics, and two
    # policies' two alarms, 0.10 each; a composite alarm 0.50; a dashboard 3.00; one environment of 0.5 GiB for
    # 2,628,000 s at 0.0000033334.
    "base": 1.00 + 2.80 + 83.95 + 2.20 + 0.50 + 3.00 + 4.3800876,
    "larger_instance": 730 * 0.204 - 730 * 0.115,
    "more_instances": 2 * 730 * 0.115,
    "more_memory": 4.3800876,
    "gateway": 730 * 0.045,
    "stack_removed": -83.95 - 0.30 - 0.20,
}


@pytest.mark.parametrize("edit", [larger_instance, more_instances, more_memory, gateway, stack_removed])
def test_cost_difference_is_exact_to_the_cent(base: Path, tmp_path: Path, edit: Edit) -> None:
    found, text = reviewed(base, tmp_path, edit)
    wanted = HAND_WORKED[edit.__name__]
    assert found.month_before == pytest.approx(HAND_WORKED["base"], abs=0.005)
    assert found.month_after - found.month_before == pytest.approx(wanted, abs=0.005)
    assert f"**{wanted:+,.2f}**" in section(text, "Cost")


def test_request_cost_includes_compute_and_traces(base: Path, tmp_path: Path) -> None:
    found, _ = reviewed(base, tmp_path, more_memory)
    # 0.20 a million; 40 ms of 0.5 GiB at 0.0000077778, since one is provisioned; 5 % traced at 5 a million; 574 bytes
    # of the endpoint's log at 0.50 a GB.
    assert found.million_before == pytest.approx(0.20 + 0.155556 + 0.25 + 0.287, abs=0.005)
    assert found.million_after - found.million_before == pytest.approx(0.155556, abs=0.0005)


def test_account_and_secrets_are_redacted(base: Path, tmp_path: Path) -> None:
    def plant(at: Editor) -> None:
        variables = at.properties("Api", "Classifier/Function")["Environment"]["Variables"]
        variables |= {
            "PARTNER": f"arn:aws:iam::{ACCOUNT_ID}:role/partner",
            "KEY": ACCESS_KEY,
            "OTHER": SECRET_KEY,
            "DB_PASSWORD": PASSWORD,
            "PEM": "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\n-----END RSA PRIVATE KEY-----",
            "GH": TOKEN,
            "MYSQL_PWD": "shrt1",
            "DATABASE": "Server=db;Password=P@ss w0rd12;",
            "LONG": "x" * 150 + ACCESS_KEY,
        }
        at.templates["Api"]["Outputs"]["Owner"] = {"Value": ACCOUNT_ID}
        at.templates["Api"]["Outputs"]["Key"] = {"Value": ACCESS_KEY}
        trust_widened(at)

    _, text = reviewed(base, tmp_path, plant)
    assert "<account>" in text
    assert "<redacted>" in text
    for secret in (ACCOUNT_ID, ACCESS_KEY, SECRET_KEY, PASSWORD, "MIIEpAIBAAKCAQEA7", TOKEN[4:], "shrt1", "w0rd12"):
        assert secret not in text
    assert ACCESS_KEY[:10] not in text
    # What comes after a key is not swallowed.
    assert section(text, "Everything that changes").count("Environment.Variables") == 9


def test_markdown_in_value_is_escaped(base: Path, tmp_path: Path) -> None:
    def break_out(at: Editor) -> None:
        at.properties("Api", "Classifier/Function")["Description"] = (
            "`</details>\n\n# PWNED | <script>alert(1)</script>"
        )

    _, text = reviewed(base, tmp_path, break_out)
    assert "\n# PWNED" not in text
    line = next(line for line in text.splitlines() if "PWNED" in line)
    assert "'</details> # PWNED" in line.split("`")[5]


def test_markdown_in_construct_path_is_escaped(base: Path, tmp_path: Path) -> None:
    def break_out(at: Editor) -> None:
        path = "Kennel-dev-Api/</details><!-- kennel review: prod -->\n## Approved by @somebody | b |"
        at.resource("Api", "Classifier/Function")["Metadata"]["aws:cdk:path"] = path
        for item in at.templates["Api"]["Resources"].values():
            if item["Type"] == "AWS::Lambda::Function":
                item["Properties"]["MemorySize"] = 1024

    _, text = reviewed(base, tmp_path, break_out)
    assert text.count("<!--") == 1
    assert "\n## Approved" not in text
    assert "Approved by @somebody" in text


MALFORMED = ("[]", "5", "null", '{"Resources": []}', '{"Resources": {"A": null}}', '{"Resources": {"A": {"Type": 5}}}')


@pytest.mark.parametrize("text", [*MALFORMED, '{"Resources": {"A": {"Type": "B", "Properties": []}}}'])
def test_malformed_template_error_names_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "Kennel-dev-Api.template.json").write_text(text)
    with pytest.raises(KennelError, match=r"Kennel-dev-Api\.template\.json is not a CloudFormation template"):
        assemblies.read(tmp_path, "bad")


def test_long_comment_is_truncated_with_count(base: Path, tmp_path: Path) -> None:
    def many(at: Editor) -> None:
        for number in range(900):
            at.add("Data", f"Topic{number}", "AWS::SNS::Topic", {"DisplayName": f"{number} " * 40})

    found, _ = reviewed(base, tmp_path, many)
    assert len(comment.comment(found, limit=10**9)) > 25_000
    short = comment.comment(found, limit=10_000)
    assert len(short) <= 10_000
    assert re.search(r"… and \d+ more", short)
    assert "</details>" in short


def test_invalid_side_suggests_fix(tmp_path: Path) -> None:
    with pytest.raises(KennelError, match="make synth"):
        assemblies.read(tmp_path, "empty")
    (tmp_path / "Bad.template.json").write_text("{")
    with pytest.raises(KennelError, match="is not JSON"):
        assemblies.read(tmp_path, "bad")
    with pytest.raises(KennelError, match="is neither a folder, a revision"), assemblies.side("no-such-thing", "dev"):
        pass
    with pytest.raises(KennelError, match="a side is empty"), assemblies.side("", "dev"):
        pass


def test_synth_error_redacts_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*arguments: str, **rest: object) -> None:
        raise KennelError(f"`cdk synth` failed:\nKeyError: {ACCESS_KEY}")

    monkeypatch.setattr(assemblies, "cdk", fails)
    with pytest.raises(KennelError, match="failed") as refused, assemblies.side("HEAD", "dev"):
        pass
    assert ACCESS_KEY not in str(refused.value)


def test_other_stages_in_folder_are_ignored(base: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(base, mixed)
    (mixed / "Kennel-prod-Api.template.json").write_text('{"Resources": {}}')
    with assemblies.side(str(base), "dev") as alone, assemblies.side(str(mixed), "dev") as among:
        assert among.templates == alone.templates
        assert set(among.assets) == set(alone.templates)


def test_stage_mismatch_suggests_option(base: Path) -> None:
    with pytest.raises(KennelError, match="give its --stage"), assemblies.side(str(base), "prod"):
        pass


def test_renamed_logical_id_is_matched_exactly() -> None:
    def topic(logical_id: str) -> dict[str, Any]:
        return {"Kennel-dev-Data": {"Resources": {logical_id: {"Type": "AWS::SNS::Topic"}}}}

    found = review(
        assemblies.Side("base", topic("Topic")), assemblies.Side("head", topic("Mail")), "dev", REGION, prices.load()
    )
    assert {(change.name, change.renamed) for change in found.changes} == {("Topic", "Mail"), ("Mail", "Topic")}
    assert not found.access


def test_uncommitted_changes_are_detected_at_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True)

    monkeypatch.setattr(assemblies, "REPOSITORY", tmp_path)
    git("init", "--quiet")
    for text in ("one", "two"):
        (tmp_path / "cdk.json").write_text(text)
        git("add", "cdk.json")
        git("commit", "--quiet", "--message", text)
    assert not assemblies.uncommitted("HEAD")
    (tmp_path / "cdk.json").write_text("three")
    assert assemblies.uncommitted("HEAD")
    assert not assemblies.uncommitted("HEAD~1")
    assert not assemblies.uncommitted("no-such-thing")
