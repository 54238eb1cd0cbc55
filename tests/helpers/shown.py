"""Every command that the pages show, and the test that runs it."""

from dataclasses import dataclass

from helpers.pages import PAGES, commands


@dataclass(frozen=True)
class Here:
    """Run in the order of the table: what is in its output, its exit status, what goes before it and after it."""

    says: str = ""
    status: int = 0
    before: str = ""
    more: str = ""


@dataclass(frozen=True)
class There:
    """Run by another test: its file, and the words that are in it."""

    file: str
    words: str


@dataclass(frozen=True)
class As:
    """Run as another command of the table, of which this is the form with placeholders."""

    command: str


@dataclass(frozen=True)
class Nowhere:
    """Not run, and why."""

    reason: str


MEASURED = Nowhere("a measurement of minutes to hours, made by hand; its results are in bench/results/")
FOLLOW = "timeout --preserve-status --signal INT 5"

# In a repository of its own, on revisions of it.
REVIEWED = There("tests/infra/test_workflows.py", 'startswith("make ")')

SHOWN: dict[str, Here | There | As | Nowhere] = {
    # --- looking ---
    "make help": Here("bootstrap"),
    "make docs": Here(),
    "make synth": Here(),
    "make diff": Here("Kennel-dev-Operations"),
    "make sbom": Here(),
    "make lint-workflows": Here(),
    "cdk diff": Here("Kennel-dev-Operations"),
    "cdk flags --unstable=flags": Here(),
    "kennel status": Here("none fires"),
    "kennel preflight": Here(),
    "kennel preflight bootstrap": Here("No obstacles to bootstrap"),
    "kennel preflight ACTION": As("kennel preflight bootstrap"),
    "kennel explain": Here("No stack of dev has failed"),
    "kennel logs": Here(),
    "kennel logs --grep REQUEST_ID": Here("REQUEST_ID"),
    "kennel logs drift --since 1d": Here("ClassMixShift"),
    "kennel logs ec2 --since 1d": Here("kennel: run"),
    "kennel logs endpoint": Here(),
    "kennel logs endpoint --follow": Here(status=130, before=FOLLOW),
    "kennel logs endpoint --grep Error --since 1h": Here(),
    "kennel logs endpoint --since 1h": Here(),
    "kennel logs endpoint --since 30m": Here(),
    "kennel logs failed-jobs --since 1d": Here("FailureReason"),
    "kennel logs function --grep '\"status\": 4' --since 1h": Here(),
    "kennel logs function --grep '\"status\": 5' --since 30m": Here(),
    "kennel logs function --grep Latency --since 30m": Here("EndpointLatency"),
    "kennel logs job --since 1d": Here("Training"),
    "kennel prices show": Here("ml.m5.large"),
    "kennel report": Here("top-1"),
    "kennel report [RUN]": There("tests/e2e/test_tuning.py", '"kennel", "report", run'),
    "kennel plan step --high 20": Here(),
    "kennel plan step --low 1 --high 20 --requests-per-s 12": Here(),
    "kennel plan step --requests-per-s 12": Here(),
    "kennel plan daily --high 100 --goal-ms 200 --stage prod": Here(),
    "kennel plan cloudwatch --hours 168": Here(),
    "kennel plan counts.csv": Here(),
    "kennel data check FOLDER": Here(),
    "kennel data check FOLDER [--fix COPY]": As("kennel data check FOLDER --fix COPY"),
    "kennel data push": There("tests/e2e/conftest.py", '"kennel", "data", "push"'),
    "kennel data check FOLDER --fix COPY": Here(),
    "kennel data forget IMAGE": There("tests/e2e/test_changes.py", '"kennel", "data", "forget"'),
    "kennel data fetch dogs": There("tests/unit/kennel/datasets/test_download.py", "dogs"),
    "kennel review old/cdk.out cdk.out --fail-on destroy,widen": Here(more="--stage dev"),
    "kennel review --fail-on destroy,replace": REVIEWED,
    "kennel review main HEAD": REVIEWED,
    "kennel review origin/main": REVIEWED,
    "kennel review origin/main HEAD": REVIEWED,
    "kennel review deployed HEAD --stage prod": There("tests/e2e/test_status.py", '"kennel", "review", "deployed"'),
    "make review": REVIEWED,
    "make review BASE=origin/main FAIL_ON=destroy,replace": There(
        "tests/infra/test_workflows.py", 'startswith("make ")'
    ),
    # --- the embedded AWS ---
    "kennel local up --port N": Here("http://localhost:"),
    "make down": Here(),
    "kennel local up --account new": There("tests/e2e/test_rehearsal.py", 'account="new"'),
    "make rehearsal": There("tests/e2e/test_rehearsal.py", '"kennel", "rehearse"'),
    "cdk deploy --import-existing-resources": There("tests/e2e/test_deploys.py", "ImportExistingResources=True"),
    "kennel local page": There("tests/e2e/test_page.py", "local"),
    "kennel local interrupt": There("tests/helpers/stage.py", '"kennel", "local", "interrupt"'),
    "make demo": There("tests/e2e/test_demo.py", '"kennel", "demo"'),
    "kennel demo": There("tests/e2e/test_demo.py", '"kennel", "demo"'),
    "make demo KEEP=1": There("tests/e2e/test_demo.py", '"--keep"'),
    "make demo DATA=folder": There("tests/e2e/test_demo.py", '"--data"'),
    # --- training ---
    "make bootstrap STAGE=dev": As("make bootstrap"),
    "make bootstrap": Here(),
    "make bootstrap training": Here(),
    "kennel train FOLDER --promote": Here("Promoted"),
    "kennel train DATASET --promote": There("tests/e2e/test_jobs.py", '"kennel", "train"'),
    "kennel train --mode finetune [--spot] [--instances 2]": There(
        "tests/e2e/test_tuning.py", '"--instances", "2", "--spot"'
    ),
    "kennel train [--mode finetune] [--spot | --on ec2]": There("tests/e2e/test_ec2.py", '"--on", "ec2", "--mode"'),
    "kennel train --on ec2": There("tests/e2e/test_ec2.py", '"--on", "ec2"'),
    "kennel weights": There("tests/e2e/test_jobs.py", '"kennel", "weights"'),
    "kennel weights BACKBONE": There("tests/unit/kennel/models/test_backbone_weights.py", "hub"),
    "kennel weights BACKBONE FILE": There("tests/helpers/workday.py", '"kennel", "weights", BACKBONE'),
    "kennel tune": There("tests/e2e/test_tuning.py", '"kennel", "tune", dataset, "--trials"'),
    "kennel tune --engine sagemaker": There("tests/e2e/test_tuning.py", '"--engine", "sagemaker"'),
    # --- serving ---
    "cdk deploy": There("tests/helpers/stage.py", '"cdk", "deploy", "--app"'),
    "make deploy": Here("none fires"),
    "kennel predict IMAGE…": Here("0."),
    "kennel predict --url": There("tests/e2e/test_identity.py", "url"),
    "cdk destroy Kennel-dev-Operations Kennel-dev-Api Kennel-dev-Serving": Here("destroyed", more="--force"),
    "kennel promote --previous": Here(),
    "kennel compare --low 3 --high 20 --minutes 2 --period 5": There("tests/e2e/test_scaling.py", "*COMPARE, *load"),
    "kennel compare step --low 1 --high 300 --minutes 90": There("tests/e2e/test_scaling.py", "*COMPARE, *load"),
    # It brings back what was destroyed.
    "make synth release smoke status": Here("answers: "),
    "make delivery REPOSITORY=owner/name": Here("DiffRoleArn"),
    # --- the end ---
    "make destroy": Here("pass --yes", status=2),
    # --- by hand ---
    "make test": There(".ci/run", "make test"),
    "make test SEED=NUMBER": There(".ci/run", "make test"),
    "make test-fast": Nowhere("a part of make test"),
    "make hooks": Nowhere("it writes git hooks into the checkout"),
    "make docs-site": There("tests/unit/docs/test_site.py", "build"),
    "make lint": There("Makefile", "test: setup"),
    "make setup-ml": There("Makefile", "demo: setup-ml"),
    "make platforms": Here("every package has a wheel"),
    "make schemas": There("tests/unit/infra/test_schemas.py", "main("),
    "make audit": Nowhere("it asks PyPI and npm for advisories, which change without us"),
    # What is pinned stays as long as the requirements allow it.
    "make lock": Here(more="&& git diff --exit-code requirements.lock requirements-audit.lock"),
    "make attack": MEASURED,
    "make fuzz": MEASURED,
    "make bench-lambda": MEASURED,
    "make bench-scaling": MEASURED,
    "make bench-serving": MEASURED,
    "make bench-training": MEASURED,
    "make bench-tuning": MEASURED,
    "kennel prices refresh": There("tests/unit/kennel/pricing/test_prices.py", "refreshed"),
}


def shown() -> set[str]:
    return {command for page in PAGES for command in commands(page.read_text())}


def is_known(command: str) -> bool:
    """Whether the table has a command, or one that begins with it: a page may name it without its arguments."""
    return any(known == command or known.startswith(f"{command} ") for known in SHOWN)
