"""The two sides of a review: synthesized folders, git revisions, or what is deployed."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from infra import names
from kennel.errors import KennelError
from kennel.stage.cdk import cdk
from kennel.stage.deployed import REPOSITORY, DeployedStage
from kennel.stage.redaction import redacted

Template = dict[str, Any]

DEPLOYED = "deployed"
TEMPLATE = ".template.json"
# What .github/scripts/templates.sh leaves of a stage that is not deployed.
NOTHING = "nothing-is-deployed.txt"
SYNTH_LOG = REPOSITORY / "build" / "review-synth.log"
# CDK names an asset by the hash of its content, and a function's version by that of its function.
ASSET_HASH = re.compile(r"\b[0-9a-f]{64}(?=\.(?:zip|json|jar|txt)\b)")
VERSION_HASH = re.compile(r"(CurrentVersion[0-9A-F]{8})[0-9a-f]{32}")


@dataclass(frozen=True)
class Asset:
    """Files that are deployed: what the stack calls them, their hash, and where they lie, if that is here."""

    name: str
    hash: str
    folder: Path | None = None

    def files(self) -> dict[str, bytes]:
        """Content by path; empty where the files are not here."""
        if self.folder is None or not self.folder.is_dir():
            return {}
        return {
            file.relative_to(self.folder).as_posix(): file.read_bytes()
            for file in sorted(self.folder.rglob("*"))
            # Wheels are in training/vendor.txt by their hashes, and large.
            if file.is_file() and "wheels" not in file.relative_to(self.folder).parts
        }


@dataclass(frozen=True)
class Side:
    """One side: its templates by stack, without the hashes that change with every file, and its assets by stack."""

    name: str
    templates: dict[str, Template]
    assets: dict[str, list[Asset]] = field(default_factory=dict)
    # The folder of the templates.
    folder: Path | None = None
    # For each stack, as far as it is known.
    regions: dict[str, str] = field(default_factory=dict)
    # In which the stacks are, as far as that is known.
    accounts: frozenset[str] = frozenset()


@contextmanager
def side(given: str, stage: str | None) -> Generator[Side]:
    """The side that `given` names: a folder of templates, `deployed`, or a revision of this repository.

    Without a stage it is a folder, with all of its stacks, of any app.

    Raises KennelError for what is none of them, or cannot be synthesized. A revision's files are there until the end.
    """
    if not given:
        raise KennelError(f"Give a folder, a revision of this repository, or `{DEPLOYED}`: a side is empty.")
    if stage is None:
        if not Path(given).is_dir():
            raise KennelError(f"{given!r} is not a folder: give the assemblies of both sides.")
        yield read(Path(given), given)
    elif given == DEPLOYED:
        yield _deployed(DeployedStage(stage))
    elif Path(given).is_dir():
        found = read(Path(given), given)
        # CDK leaves in its folder what was synthesized before, of other stages as well.
        of_stage = [name for name in found.templates if name.startswith(names.stack(stage, ""))]
        if found.templates and not of_stage:
            raise KennelError(f"{given} has {', '.join(found.templates)}, and the stage is {stage}: give its --stage.")
        yield replace(
            found,
            templates={name: found.templates[name] for name in of_stage},
            assets={name: found.assets[name] for name in of_stage},
        )
    else:
        with tempfile.TemporaryDirectory(prefix="kennel-review-") as folder:
            yield _synthesized(given, stage, Path(folder))


def read(folder: Path, name: str) -> Side:
    """An assembly, or any folder of NAME.template.json. Raises KennelError for one without templates."""
    files = sorted(folder.glob(f"*{TEMPLATE}"))
    if not files and not (folder / NOTHING).is_file():
        raise KennelError(f"{folder} has no *{TEMPLATE}: give the output of `make synth`, or a git revision.")
    templates, assets = {}, {}
    for file in files:
        stack = file.name.removesuffix(TEMPLATE)
        try:
            templates[stack] = normalised(file.read_text())
        except (ValueError, RecursionError) as error:
            raise KennelError(f"{file} is not JSON: {error}.") from None
        if wrong := _malformed(templates[stack]):
            raise KennelError(f"{file} is not a CloudFormation template: {wrong}.")
        assets[stack] = _assets(folder, stack)
    regions, accounts = _environments(folder)
    return Side(name, templates, assets, folder, regions, accounts)


def normalised(text: str) -> Template:
    """A template without the hashes in the names of assets and versions: what they stand for is compared by itself."""
    template: Template = json.loads(VERSION_HASH.sub(r"\1", ASSET_HASH.sub("HASH", text)))
    return template


def _malformed(template: Any) -> str:
    """The parts of a template that are malformed; empty if it is well-formed."""
    if not isinstance(template, dict):
        return "it is no object"
    resources = template.get("Resources", {})
    if not isinstance(resources, dict):
        return "Resources is no object"
    for name, resource in resources.items():
        if not isinstance(resource, dict) or not isinstance(resource.get("Type"), str):
            return f"the resource {name} has no Type"
        for part in ("Properties", "Metadata"):
            if not isinstance(resource.get(part, {}), dict):
                return f"{part} of the resource {name} is no object"
    return ""


def _environments(folder: Path) -> tuple[dict[str, str], frozenset[str]]:
    """The regions by stack, and the accounts, that an assembly names."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return {}, frozenset()
    try:
        environments = {
            name: artifact["environment"].removeprefix("aws://").partition("/")
            for name, artifact in json.loads(manifest.read_text()).get("artifacts", {}).items()
            if artifact["type"] == "aws:cloudformation:stack"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise KennelError(f"{manifest} is not a CDK manifest: synthesize again.") from None
    regions = {name: region for name, (_, _, region) in environments.items() if region != "unknown-region"}
    return regions, frozenset(account for account, _, _ in environments.values() if account.isdigit())


def _assets(folder: Path, stack: str) -> list[Asset]:
    manifest = folder / f"{stack}.assets.json"
    if not manifest.is_file():
        # A template as it is deployed.
        return _assets_in((folder / f"{stack}{TEMPLATE}").read_text())
    found = []
    try:
        for hash_, asset in json.loads(manifest.read_text()).get("files", {}).items():
            path = asset["source"].get("path", "")
            if not path.endswith(TEMPLATE):
                found.append(Asset(asset.get("displayName", path), hash_, folder / path))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise KennelError(f"{manifest} is not a CDK asset manifest: synthesize again.") from None
    return found


def _assets_in(template: str) -> list[Asset]:
    """Those that a template names, by their hashes alone."""
    return [Asset("", hash_) for hash_ in dict.fromkeys(ASSET_HASH.findall(template))]


def _deployed(deployment: DeployedStage) -> Side:
    client = deployment.client("cloudformation")
    templates = {}
    assets: dict[str, list[Asset]] = {}
    for page in client.get_paginator("list_stacks").paginate():
        for summary in page["StackSummaries"]:
            name = summary["StackName"]
            if not name.startswith(names.stack(deployment.stage, "")) or summary["StackStatus"].startswith("DELETE"):
                continue
            body = client.get_template(StackName=name, TemplateStage="Original")["TemplateBody"]
            text = body if isinstance(body, str) else json.dumps(body)
            templates[name] = normalised(text)
            assets[name] = _assets_in(text)
    account = str(deployment.client("sts").get_caller_identity()["Account"])
    regions = dict.fromkeys(templates, deployment.region)
    return Side(f"deployed {deployment.stage}", templates, assets, regions=regions, accounts=frozenset([account]))


def _synthesized(revision: str, stage: str, folder: Path) -> Side:
    """Synthesizes a revision in a work tree of its own, with this environment; its code runs, with no credentials."""
    commit = _commit(revision)
    if not commit:
        raise KennelError(f"{revision!r} is neither a folder, a revision of this repository nor `{DEPLOYED}`.")
    tree = folder / "tree"
    _git("worktree", "add", "--quiet", "--detach", str(tree), commit)
    try:
        _lend(tree)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= {
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            # Before this checkout, which is installed.
            "PYTHONPATH": str(tree),
        }
        output = folder / "cdk.out"
        cdk(
            *("synth", "--quiet", "-c", f"stage={stage}", "--output", str(output)),
            env=environment,
            log=SYNTH_LOG,
            cwd=tree,
        )
    except KennelError as error:
        # What a revision prints goes into the log of a workflow.
        raise KennelError(redacted(str(error))) from None
    finally:
        _git("worktree", "remove", "--force", str(tree))
    return read(output, f"{revision} ({commit[:7]})" if revision != commit else commit[:7])


def _lend(tree: Path) -> None:
    """Lends the installed packages and wheels of this checkout, if the other asks for the same versions."""
    (tree / "node_modules").symlink_to(REPOSITORY / "node_modules")
    pins, wheels = Path("training") / "vendor.txt", Path("build") / "wheels"
    if (REPOSITORY / wheels).is_dir() and (tree / pins).read_bytes() == (REPOSITORY / pins).read_bytes():
        shutil.copytree(REPOSITORY / wheels, tree / wheels)
        (tree / wheels / ".kennel-ready").touch()  # newer than what was just checked out


def uncommitted(revision: str) -> bool:
    """True if the checkout has changes that are not in the revision that it is at."""
    commit = _commit(revision)
    return bool(commit) and commit == _commit("HEAD") and bool(_git("status", "--porcelain"))


def _commit(revision: str) -> str:
    """The commit that a revision stands for; empty where it is none."""
    return _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", check=False)


def _git(*arguments: str, check: bool = True) -> str:
    result = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if check and result.returncode:
        raise KennelError(f"git {arguments[0]}: {result.stderr.strip()}")
    return result.stdout.strip()
