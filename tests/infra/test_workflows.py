"""GitHub's workflows: what linters find in them, what they pin, and that their steps run here as well."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers import REPOSITORY
from helpers.stage import OTHER_VENV, project_copy

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
TOOLS = f"{Path(sys.executable).parent}{os.pathsep}{REPOSITORY / 'node_modules' / '.bin'}"
AUDIT = Path(sys.prefix) / "audit" / "bin"
# What a pull request's author might write into a title.
INJECTED = "      - run: echo ${{ github.event.pull_request.title }}\n"


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(file.read_text())
    return found


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", [])


def linted(folder: Path, command: list[str]) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def schema(folder: Path) -> "subprocess.CompletedProcess[str]":
    files = [str(file) for file in sorted(folder.glob(".github/workflows/*.yml"))]
    return linted(folder, [str(AUDIT / "check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *files])


def zizmor(folder: Path) -> "subprocess.CompletedProcess[str]":
    return linted(folder, [str(AUDIT / "zizmor"), "--offline", "--no-progress", "--quiet", ".github", "action.yml"])


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """A folder with the workflows, to be spoilt."""
    shutil.copy(REPOSITORY / "action.yml", tmp_path / "action.yml")
    for file in WORKFLOWS:
        target = tmp_path / ".github" / "workflows" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file.read_text())
    return tmp_path


def test_workflows_pass_linters() -> None:
    for result in (schema(REPOSITORY), zizmor(REPOSITORY)):
        assert result.returncode == 0, result.stdout + result.stderr


def test_linters_catch_broken_workflow(changed: Path) -> None:
    file = changed / ".github" / "workflows" / "ci.yml"
    text = file.read_text()
    file.write_text(text.replace("timeout-minutes:", "timeout_minutes:"))
    assert schema(changed).returncode == 1
    file.write_text(text + INJECTED)
    assert "template-injection" in zizmor(changed).stdout
    file.write_text(re.sub(r"checkout@\w+ # v", "checkout@v", text))
    assert "unpinned-uses" in zizmor(changed).stdout


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_actions_are_pinned_and_permissions_empty(file: Path) -> None:
    workflow = read(file)
    assert workflow["permissions"] == {}
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"]), step["uses"]
    # Its version stands behind each hash, for people and for what updates it.
    for line in file.read_text().splitlines():
        if re.search(r"uses: [\w./-]+@", line):
            assert re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_chained_roles_are_assumed_without_tags(file: Path) -> None:
    """configure-aws-credentials tags a chained session, which takes sts:TagSession on the first role (its README)."""
    for step in steps(read(file)):
        if step.get("with", {}).get("role-chaining"):
            assert step["with"]["role-skip-session-tagging"] is True


def test_make_targets_in_steps_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    called = set()
    for file in WORKFLOWS:
        for step in steps(read(file)):
            for line in step.get("run", "").splitlines():
                if line.startswith("make "):
                    called |= {word for word in line.split()[1:] if "=" not in word}
    assert called >= {"review", "release", "smoke", "status", "synth"}
    for target in called:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in WORKFLOWS:
        for name, job in read(file)["jobs"].items():
            yield f"{file.name}: {name}", job


def test_jobs_that_may_ask_for_credentials_install_and_synthesize_nothing() -> None:
    found = []
    for name, job in jobs():
        if "id-token" not in job["permissions"]:
            assert not any("configure-aws-credentials" in step.get("uses", "") for step in job.get("steps", [])), name
            continue
        for step in job.get("steps", []):
            # What make's targets need is there already: the workspace comes with it.
            words = step.get("run", "")
            if re.search(r"setup|synth|install|npm|pip|review", words):
                found.append((name, words))
            assert "actions/cache" not in step.get("uses", ""), name
    assert found == []
    assert "deploy-stage.yml: deploy" in {name for name, job in jobs() if "id-token" in job["permissions"]}


def test_pull_request_is_judged_by_code_of_the_base() -> None:
    workflow = read(REPOSITORY / ".github" / "workflows" / "diff.yml")
    # YAML reads `on` as true.
    assert set(workflow[True]) == {"pull_request"}
    for name, job in workflow["jobs"].items():
        checkouts = [step for step in job["steps"] if "checkout@" in step.get("uses", "")]
        of_base = all(step["with"].get("ref") == "${{ github.event.pull_request.base.sha }}" for step in checkouts)
        assert of_base == (name not in ("stages", "synth")), name
        if name == "synth":
            assert job["permissions"] == {"contents": "read"}
    (gate,) = (step for step in workflow["jobs"]["review"]["steps"] if "FAIL_ON" in step.get("run", ""))
    assert gate["run"] == "make review BASE=HEAD HEAD=build/head FAIL_ON=destroy,replace,widen,block"


def test_pull_request_is_reviewed_without_credentials(tmp_path: Path) -> None:
    """Two checkouts, as the workflow has them: the pull request's leaves templates, the base's judges them."""
    base, head = repository(tmp_path / "base"), repository(tmp_path / "head")
    workflow = read(REPOSITORY / ".github" / "workflows" / "diff.yml")["jobs"]
    (synth,) = (step["run"] for step in workflow["synth"]["steps"] if step.get("run", "").startswith("make "))
    review = next(step["run"] for step in workflow["review"]["steps"] if "make review" in step.get("run", ""))

    def reviewed(labels: str = "") -> "subprocess.CompletedProcess[str]":
        assert (done := made(head, synth)).returncode == 0, done.stdout
        shutil.rmtree(base / "build" / "head", ignore_errors=True)
        shutil.copytree(head / "cdk.out", base / "build" / "head", ignore=shutil.ignore_patterns("wheels"))
        return made(base, review, KENNEL_LABELS=labels)

    settings = head / "cdk.json"
    before = settings.read_text()
    settings.write_text(before.replace('"min_instances": 1,', '"min_instances": 2,', 1))
    # The pull request's own gate lets everything through: nobody asks it.
    gate = head / "kennel/review/change.py"
    gate.write_text("raise SystemExit(0)\n")
    assert (result := reviewed()).returncode == 0, result.stdout
    comment = (base / "build" / "review-dev.md").read_text()
    assert "`MinCapacity`: `1` → `2`" in comment
    assert "+83.95 USD per month idle" in comment

    # Nothing changes: nothing is said.
    settings.write_text(before)
    assert reviewed().returncode == 0
    assert (base / "build" / "review-dev.md").read_text() == ""

    # More than is let through without a label.
    function = head / "infra/constructs/api/classifier_function.py"
    text = function.read_text()
    function.write_text(text.replace('["sagemaker:InvokeEndpoint"]', '["sagemaker:*"]'))
    assert function.read_text() != text
    refused = reviewed()
    assert refused.returncode != 0
    assert "accept it with the label accept-widen" in refused.stdout
    assert made(base, review, KENNEL_LABELS="bug,accept-widen").returncode == 0


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)


def repository(folder: Path) -> Path:
    """The project as it is here, in a repository of its own with one commit; what is installed is lent to it."""
    project_copy(folder)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    # The links are no folders, which is what .gitignore names.
    (folder / ".git" / "info" / "exclude").write_text("node_modules\n.venv\n")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "As it is")
    return folder


def made(clone: Path, command: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """A command of a workflow, without credentials."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAKE", "MFLAGS", "GITHUB_"))
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=clone,
        env={**environment, "STAGE": "dev", "PYTHONPATH": str(clone), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


GH = """#!/usr/bin/env bash
# Stands for GitHub's command line: it answers what is asked with $PRESENT, and writes down what it is told to do.
case "$*" in
  *--paginate* | "issue list"*) printf %s "$PRESENT" ;;
  *) echo "$*" >> calls
     for word in "$@"; do word=${word#body=@}; [[ ! -f "$word" ]] || cat "$word" >> calls; done ;;
esac
"""


def told(script: str, argument: str, folder: Path, **environment: str) -> str:
    """What a script tells GitHub to do, and the files that it sends along."""
    (folder / "gh").write_text(GH)
    (folder / "gh").chmod(0o755)
    (folder / "calls").touch()
    environment = {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_REPOSITORY": "acme/kennel",
        **environment,
    }
    subprocess.run([REPOSITORY / ".github" / "scripts" / script, argument], cwd=folder, env=environment, check=True)
    return (folder / "calls").read_text()


def uploaded(step: dict[str, Any], root: Path) -> dict[str, str]:
    """The files of an artifact: their names are relative to what all of them are in (upload-artifact's README)."""
    found = [file for pattern in step["with"]["path"].split() for file in root.glob(pattern) if file.is_file()]
    common = os.path.commonpath([file.parent for file in found]) if found else ""
    return {str(file.relative_to(common)): file.read_text() for file in found}


def downloaded(step: dict[str, Any], artifacts: dict[str, dict[str, str]], root: Path) -> None:
    """Unpacks artifacts as download-artifact v5 does: one by its name, or the only match, into the folder itself."""
    inputs = step["with"]
    wanted = [name for name in artifacts if fnmatch(name, inputs.get("name") or inputs["pattern"])]
    assert wanted or step.get("continue-on-error"), "the step fails"
    for name in wanted:
        folder = root / inputs["path"] / ("" if len(wanted) == 1 else name)
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in artifacts[name].items():
            (folder / file).write_text(text)


def of_dev(step: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(step).replace("${{ matrix.stage }}", "dev"))
    return found


@pytest.mark.parametrize(
    ("review", "present", "call"),
    [
        ("said", "", "--method POST repos/acme/kennel/issues/7/comments"),
        ("said", "41\n", "--method PATCH repos/acme/kennel/issues/comments/41"),
        ("", "41\n", "--method DELETE repos/acme/kennel/issues/comments/41"),
        ("", "", ""),
        (None, "", "--method POST repos/acme/kennel/issues/7/comments"),
        (None, "41\n", "--method PATCH repos/acme/kennel/issues/comments/41"),
    ],
)
def test_review_reaches_single_comment(tmp_path: Path, review: str | None, present: str, call: str) -> None:
    """From the file that `make review` writes, by way of its artifact; a review that is missing is said to be."""
    workflow = read(REPOSITORY / ".github" / "workflows" / "diff.yml")["jobs"]
    uploads = [of_dev(step) for step in workflow["review"]["steps"] if "upload-artifact" in step.get("uses", "")]
    made, received = tmp_path / "review", tmp_path / "comment"
    for folder in (made / "build", received):
        folder.mkdir(parents=True)
    if review is not None:
        (made / "build" / "review-dev.md").write_text(review)
    artifacts = {step["with"]["name"]: uploaded(step, made) for step in uploads}
    steps_of_comment = [of_dev(step) for step in workflow["comment"]["steps"]]
    (download,) = (step for step in steps_of_comment if "download-artifact" in step.get("uses", ""))
    downloaded(download, {name: files for name, files in artifacts.items() if files}, received)
    command = steps_of_comment[-1]["run"].replace("$STAGE", "dev").replace('"', "").split()
    said = told(Path(command[0]).name, command[1], received, NUMBER="7", STAGE="dev", PRESENT=present, RUN_URL="URL/1")
    assert call in said
    if call and "DELETE" not in call:
        assert said.endswith(review or "see [the run](URL/1).\n")
    if not call:
        assert said == ""


def test_stages_of_workflows_are_those_of_cdk_json(tmp_path: Path) -> None:
    for file in WORKFLOWS:
        for job in read(file)["jobs"].values():
            matrix = job.get("strategy", {}).get("matrix", {}).get("stage", "fromJSON")
            assert "fromJSON" in matrix, f"{file.name} lists stages"
    settings = json.loads((REPOSITORY / "cdk.json").read_text())
    settings["context"]["stages"]["staging"] = {"region": "eu-central-1", "account": None}
    (tmp_path / "cdk.json").write_text(json.dumps(settings))

    def asked(*arguments: str) -> str:
        script = [sys.executable, str(REPOSITORY / ".github" / "scripts" / "stages.py"), *arguments]
        return subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert asked("region", "staging") == "region=eu-central-1\n"
    assert json.loads(asked("list")) == ["dev", "prod", "staging"]
    assert json.loads(asked("list", "--awake")) == ["prod", "staging"]
    assert asked("outputs", "staging", "111122223333").splitlines() == [
        "region=eu-central-1",
        "deploy-role=arn:aws:iam::111122223333:role/github-kennel-deploy-staging",
        "lookup-role=arn:aws:iam::111122223333:role/cdk-kstaging-lookup-role-111122223333-eu-central-1",
    ]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_sparse_checkout_has_what_its_scripts_import(file: Path, tmp_path: Path) -> None:
    for name, job in read(file)["jobs"].items():
        checkouts = [step["with"] for step in job.get("steps", []) if "checkout@" in step.get("uses", "")]
        if not any("cdk.json" in given.get("sparse-checkout", "") for given in checkouts):
            continue
        place = tmp_path / name
        shutil.copytree(REPOSITORY / ".github" / "scripts", place / ".github" / "scripts")
        shutil.copy(REPOSITORY / "cdk.json", place)
        run = "\n".join(step.get("run", "") for step in job["steps"])
        for words in re.findall(r"\.github/scripts/(stages\.py [\w\"$ -]+)", run):
            # Without what is installed: the job has installed nothing.
            script, *arguments = words.replace('"$STAGE"', "dev").replace('"', " ").split()
            command = [sys.executable, "-I", "-S", str(place / ".github" / "scripts" / script), *arguments]
            subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL)


AWS = """#!/usr/bin/env bash
# Stands for the AWS command line, with what it was last told to answer.
case "$*" in
  *list-stacks*) printf %s "$STACKS" ;;
  *get-template*) echo "{\\"Resources\\": {\\"It\\": {\\"Type\\": \\"$6\\"}}}" ;;
esac
"""


@pytest.mark.parametrize("stacks", ["Kennel-dev-Data\tKennel-dev-Api", ""])
def test_deployed_templates_are_read_with_the_runner_s_own_command_line(tmp_path: Path, stacks: str) -> None:
    (tmp_path / "aws").write_text(AWS)
    (tmp_path / "aws").chmod(0o755)
    script = [str(REPOSITORY / ".github" / "scripts" / "templates.sh"), "dev", "deployed"]
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "STACKS": stacks}
    subprocess.run(script, cwd=tmp_path, env=environment, check=True)
    found = {file.name for file in (tmp_path / "deployed").iterdir()}
    expected = {f"{name}.template.json" for name in stacks.split()} or {"nothing-is-deployed.txt"}
    assert found == expected


def test_action_reviews_assemblies_of_another_app(tmp_path: Path) -> None:
    action = read(REPOSITORY / "action.yml")
    for step in action["runs"]["steps"]:
        assert "uses" in step or step["shell"] == "bash"
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step.get("uses", "a/b@" + 40 * "0"))
    for name, size in (("before", "20"), ("after", "40")):
        (tmp_path / name).mkdir()
        table = {"Type": "AWS::RDS::DBInstance", "Properties": {"AllocatedStorage": size}}
        (tmp_path / name / "Shop.template.json").write_text(json.dumps({"Resources": {"Orders": table}}))
    environment = {
        **os.environ,
        "GITHUB_ACTION_PATH": str(REPOSITORY),
        "BASE": "before",
        "HEAD": "after",
        "OUTPUT": action["inputs"]["output"]["default"],
        "FAIL_ON": action["inputs"]["fail-on"]["default"],
    }
    command = ["bash", "-euo", "pipefail", "-c", action["runs"]["steps"][-1]["run"]]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert "`AllocatedStorage`: `20` → `40`" in (tmp_path / "kennel-review.md").read_text()


def test_missing_drift_review_does_nothing(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        told("drift.sh", "review-prod.md", tmp_path, STAGE="prod", PRESENT="41")
    assert (tmp_path / "calls").read_text() == ""


@pytest.mark.parametrize(
    ("review", "present", "call"),
    [
        ("it differs", "", "issue create --repo acme/kennel --title Drift: the deployed stage prod differs from main"),
        ("it differs", "41", "issue edit --repo acme/kennel 41 --body-file"),
        ("", "41", "issue close --repo acme/kennel 41 --comment The deployed stage agrees with main again."),
        ("", "", ""),
    ],
)
def test_single_drift_issue_is_kept_in_sync(tmp_path: Path, review: str, present: str, call: str) -> None:
    (tmp_path / "review-prod.md").write_text(review)
    said = told("drift.sh", "review-prod.md", tmp_path, STAGE="prod", PRESENT=present)
    assert said.startswith(call)
    assert said.endswith(review)
    assert bool(said) == bool(call)


def test_make_argument_is_not_run_as_shell(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    name = f'owner/name";touch {planted};"'
    command = ["make", "delivery", f"REPOSITORY={name}"]
    result = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, **OTHER_VENV}, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert "is not an OWNER/NAME" in result.stdout + result.stderr
    assert not planted.exists()
