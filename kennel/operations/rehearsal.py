"""The whole life of a stage on an account that may be thrown away, and a report of it that can go into an issue.

From nothing to nothing: bootstrap, training, deploy, calls, another model by canary, load, destroy, and the bootstrap's
end. Each step is the command that a user types, run in a copy of the checkout whose cdk.json has the stage `rehearsal`
alone, so that no other stage is touched.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra import names
from kennel.errors import KennelError
from kennel.operations import account_bootstrap, failures
from kennel.operations.preflight import has_log_group
from kennel.operations.teardown import empty
from kennel.pricing import prices
from kennel.stage.cdk import CDK, child
from kennel.stage.deployed import REPOSITORY, DeployedStage, cdk_json
from kennel.stage.redaction import redacted

STAGE = "rehearsal"
FOLDER = REPOSITORY / "build" / "rehearsal"
# Copied from the checkout; installed packages are lent.
COPIED = ("app.py", "cdk.json", "infra", "inference", "kennel", "lambda", "notebooks", "pyproject.toml", "training")
LENT = ("node_modules", "build/wheels")
# In place of the settings of dev: two endpoints that a canary and a comparison take, and nothing reserved of Lambda's
# concurrency, which a new account has none of.
CHANGES: dict[str, Any] = {
    "retain_data": False,
    "shutdown_schedule": None,
    "endpoint": {"fixed": True, "fixed_instances": 2, "min_instances": 2, "max_instances": 3, "canary_percent": 50},
    "function": {"reserved_concurrency": None, "provisioned_min": None, "provisioned_max": None},
}
# As long as it may take on AWS, for the announcement: the whole, and a training job.
HOURS, JOB_HOURS, JOBS = 2.5, 0.25, 2
TAIL_LINES = 25


@dataclass(frozen=True)
class Step:
    """A command of the rehearsal. What is not `needed` goes on when it fails."""

    name: str
    command: tuple[str, ...]
    needed: bool = True

    @property
    def shown(self) -> str:
        """The command as a user types it."""
        return " ".join(self.command).replace(f"{sys.executable} -m ", "").replace(str(CDK), "cdk")


@dataclass
class Outcome:
    """The result of a step: `done`, `failed`, or `left out` because an earlier one had failed."""

    name: str
    command: str
    state: str
    seconds: float = 0.0
    output: str = ""
    causes: list[str] = field(default_factory=list)


def most_usd(region: str) -> float:
    """The most that a rehearsal costs, in USD by the dated table, without transfer."""
    table, endpoint = prices.load(), CHANGES["endpoint"]
    dev = cdk_json()["context"]["stages"]["dev"]
    # Twice as many while an update runs.
    instances = 2 * (endpoint["fixed_instances"] + endpoint["max_instances"])
    hourly = instances * table.instance(dev["endpoint"]["instance_type"])
    hourly += table.instance(dev["notebook"]["instance_type"], "notebook")
    return HOURS * hourly + JOBS * JOB_HOURS * table.instance("ml.m5.xlarge", "training")


def prepare(region: str) -> Path:
    """The copy of the checkout, with the stage `rehearsal` in `region`."""
    project = FOLDER / "project"
    shutil.rmtree(FOLDER, ignore_errors=True)
    project.mkdir(parents=True)
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, project / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, project / name)
    for name in LENT:
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).symlink_to(REPOSITORY / name)
    settings = cdk_json()
    del settings["build"]  # the wheels are lent
    stage = {**settings["context"]["stages"]["dev"], "region": region}
    for part, values in CHANGES.items():
        stage[part] = {**stage.get(part, {}), **values} if isinstance(values, dict) else values
    settings["context"] |= {"stages": {STAGE: stage}, "stage": STAGE}
    (project / "cdk.json").write_text(json.dumps(settings, indent=2))
    return project


def steps(compare_min: float) -> list[Step]:
    """The commands, in their order; `compare_min` is how long the endpoints are under load."""
    kennel, cdk = (sys.executable, "-m", "kennel"), (str(CDK),)
    deploy = (*cdk, "deploy", "--app", "cdk.out", "--require-approval", "never", "--progress", "events")
    at = ("--stage", STAGE)
    serving = [names.stack(STAGE, name) for name in ("Serving", "Api", "Operations")]
    return [
        Step("bootstrap", (*kennel, "bootstrap", *at)),
        Step("synthesize", (*cdk, "synth", "--quiet", "-c", f"stage={STAGE}")),
        Step("look before training", (*kennel, "preflight", "training", *at)),
        Step("deploy Data, Training", (*deploy, names.stack(STAGE, "Data"), names.stack(STAGE, "Training"))),
        Step("draw a dataset", (*kennel, "data", "sample", "images")),
        Step("train and promote", (*kennel, "train", "images", "--promote", *at)),
        Step("look before the deploy", (*kennel, "preflight", "deploy", *at)),
        Step("deploy Serving, Api, Operations", (*deploy, *serving)),
        Step("status", (*kennel, "status", *at)),
        Step("predict", (*kennel, "predict", "images/test", *at)),
        Step("train another model", (*kennel, "train", "images", "--set", "seed=2", "--promote", *at)),
        Step("deploy it by canary", (*deploy, serving[0])),
        Step("predict again", (*kennel, "predict", "images/test", *at)),
        Step("compare under load", (*kennel, "compare", "--minutes", f"{compare_min}", "--yes", *at), needed=False),
    ]


def run(project: Path, wanted: list[Step], deadline: float, progress: Callable[[str], None]) -> Iterator[Outcome]:
    """Runs the steps until one fails that is needed, or the time that the money is enough for is over."""
    failed = ""
    for step in wanted:
        if failed or time.monotonic() > deadline:
            failed = failed or "the time was over"
            yield Outcome(step.name, step.shown, f"left out: {failed}")
            continue
        outcome = _one(project, step, deadline, progress)
        if outcome.state != "done":
            outcome.causes = _causes(step)
            failed = f"{step.name} failed" if step.needed else ""
        yield outcome


def remove(project: Path, progress: Callable[[str], None]) -> Outcome:
    """Destroys the stage, whatever became of its deploys."""
    step = Step("destroy", (sys.executable, "-m", "kennel", "destroy", "--yes", "--stage", STAGE))
    return _one(project, step, time.monotonic() + 3600, progress)


def remove_bootstrap(deployment: DeployedStage) -> Outcome:
    """Deletes the bootstrap and its policies, and the logs of the jobs: what the rehearsal made beside the stage."""
    started, place = time.monotonic(), account_bootstrap.target(deployment)
    cloudformation, iam, logs = (deployment.client(name) for name in ("cloudformation", "iam", "logs"))
    s3, bucket = deployment.client("s3"), place.assets_bucket
    empty(s3, bucket, lambda message: None)
    name = account_bootstrap.toolkit_stack(STAGE)
    cloudformation.delete_stack(StackName=name)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 2})
    with suppress(s3.exceptions.NoSuchBucket):
        s3.delete_bucket(Bucket=bucket)  # the template keeps it
    for arn in place.policies:
        for version in iam.list_policy_versions(PolicyArn=arn)["Versions"]:
            if not version["IsDefaultVersion"]:
                iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
        iam.delete_policy(PolicyArn=arn)
    for group in ("/aws/sagemaker/TrainingJobs", "/aws/sagemaker/NotebookInstances"):
        if not has_log_group(logs, group):
            continue
        pages = logs.get_paginator("describe_log_streams")
        for page in pages.paginate(logGroupName=group, logStreamNamePrefix=names.resource(STAGE, "")):
            for stream in page["logStreams"]:
                logs.delete_log_stream(logGroupName=group, logStreamName=stream["logStreamName"])
    return Outcome("delete the bootstrap", f"{name}, its bucket and policies", "done", time.monotonic() - started)


def report(outcomes: list[Outcome], region: str, local: bool) -> str:
    """The rehearsal as Markdown, without account ids and secrets."""
    where = "the embedded AWS" if local else "AWS"
    lines = [
        f"# Rehearsal on {where}, {region}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "",
        f"Revision {_revision()}. All steps: {_verdict(outcomes)}.",
        "",
        "| Step | State | Seconds | Command |",
        "|---|---|---:|---|",
        *(f"| {item.name} | {item.state} | {item.seconds:.0f} | `{item.command}` |" for item in outcomes),
    ]
    for item in outcomes:
        if item.state.startswith("failed"):
            lines += ["", f"## {item.name}", ""]
            if item.causes:
                lines += ["```", *item.causes, "```", ""]
            lines += ["The end of what it printed:", "", "```", item.output, "```"]
    return redacted("\n".join(lines) + "\n")


def save(outcomes: list[Outcome], region: str, *, local: bool) -> Path:
    """Writes the report, and the same as JSON; returns the report's file."""
    file = FOLDER / "report.md"
    file.write_text(report(outcomes, region, local))
    (FOLDER / "report.json").write_text(redacted(json.dumps([asdict(item) for item in outcomes], indent=2)) + "\n")
    return file


def require_empty(deployment: DeployedStage) -> None:
    """Raises KennelError where the account has a stage of the name already."""
    stacks = deployment.client("cloudformation").get_paginator("describe_stacks").paginate()
    there = [item["StackName"] for page in stacks for item in page["Stacks"]]
    if taken := [name for name in there if name.startswith(names.stack(STAGE, ""))]:
        raise KennelError(
            f"{', '.join(taken)} already exists from a rehearsal that did not finish: in build/rehearsal/project, run "
            f"`kennel destroy --stage {STAGE}`, then try again."
        )


def _one(project: Path, step: Step, deadline: float, progress: Callable[[str], None]) -> Outcome:
    started = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(project), "PYTHONUNBUFFERED": "1", "STAGE": STAGE, "COLUMNS": "160"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with (FOLDER / "rehearsal.log").open("a") as log, child([*step.command], environment, project) as process:
        log.write(f"\n$ {step.shown}\n")
        assert process.stdout is not None
        # Also where it says nothing.
        timer = threading.Timer(max(deadline - started, 0), os.killpg, (process.pid, signal.SIGKILL))
        timer.daemon = True
        timer.start()
        lines = []
        for line in process.stdout:
            log.write(line)
            lines.append(line.rstrip())
            if line.strip():
                progress(line.strip()[:120])
        status = process.wait()
        timer.cancel()
    state = "done" if status == 0 else f"failed ({status})"
    return Outcome(step.name, step.shown, state, round(time.monotonic() - started, 1), "\n".join(lines[-TAIL_LINES:]))


def _causes(step: Step) -> list[str]:
    if "deploy" not in step.command:
        return []
    found = failures.explain(rehearsed())
    return [*map(failures.text, found.failures), *(f"Left behind: {left}" for left in found.left)]


def rehearsed() -> DeployedStage:
    """The stage of the rehearsal, by the settings of its copy."""
    # The stage in the copy's cdk.json; the checkout has none of this name.
    stages = json.loads((FOLDER / "project" / "cdk.json").read_text())["context"]["stages"]
    return DeployedStage.configured_by(STAGE, stages[STAGE])


def _revision() -> str:
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    return git.stdout.strip() or "unknown"


def _verdict(outcomes: list[Outcome]) -> str:
    counts = {state: sum(item.state.startswith(state) for item in outcomes) for state in ("done", "failed", "left out")}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)
