"""What `kennel plan` compares, recommends and prints."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.config import parse_stage
from infra.settings import EndpointSettings, FunctionSettings, ServerlessSettings
from kennel.capacity import planning, report
from kennel.capacity.planning import Assumptions, Goal, Plan, plan
from kennel.capacity.traffic import Profile, shaped
from kennel.commands.app import app
from kennel.errors import KennelError
from kennel.pricing.prices import load

STEP = shaped("step", 1, 20)


def planned(
    goal: Goal, fewest: int = 1, endpoint: EndpointSettings | None = None, profile: Profile = STEP, **assumed: float
) -> Plan:
    settings = endpoint or EndpointSettings(min_instances=1, invocations_per_instance_per_min=10)
    return plan(profile, goal, settings, FunctionSettings(), Assumptions(requests_per_s=12, **assumed), load(), fewest)


@pytest.fixture(scope="module")
def usual() -> Plan:
    return planned(Goal(0.5))


def test_cheapest_option_meeting_goal_is_chosen(
    usual: Plan,
) -> None:
    rows = {row.option.name: row for row in usual.endpoints}
    assert rows["1 fixed, one instance"].outcome.failed > 0.2
    assert usual.chosen is not None
    good = [row for row in usual.endpoints if usual.goal.met(row.outcome) and row.option.settings]
    assert usual.chosen in good
    assert usual.chosen.usd_per_day == min(row.usd_per_day for row in good)
    assert usual.chosen.option.endpoint.policy is not None
    assert rows["3 fixed, for the peak"].usd_per_day > usual.chosen.usd_per_day


def test_recommendation_is_a_valid_stage(usual: Plan) -> None:
    settings = report.settings(usual)
    assert settings is not None
    endpoint = EndpointSettings(**settings["endpoint"])
    assert endpoint.invocations_per_instance_per_min is None
    assert FunctionSettings(**settings["function"]).reserved_concurrency >= 10


@pytest.mark.parametrize(
    ("specification", "words"),
    [
        ({"PredefinedMetricSpecification": {"PredefinedMetricType": "PerInstance"}}, "keeps PerInstance at 140"),
        ({"CustomizedMetricSpecification": {"MetricName": "CPUUtilization"}}, "keeps CPUUtilization at 140"),
    ],
)
def test_policy_is_described(specification: dict[str, Any], words: str) -> None:
    config = {"TargetValue": 140.0, "ScaleOutCooldown": 60, **specification}
    described = report.policy_in_words({"TargetTrackingScalingPolicyConfiguration": config})
    assert described == f"{words}; waits 60 s after a step out, 300 s after one in"


def test_unmet_goal_still_draws_scaling_by_utilization() -> None:
    found = planned(Goal(0.001))
    assert found.chosen is None
    assert any(row.option.endpoint.metric == "utilization" for row in report._shown(found))


def test_multi_zone_stage_gets_no_single_instance() -> None:
    found = planned(Goal(60.0, failed=1.0), fewest=2)
    assert found.chosen is not None
    assert found.chosen.option.endpoint.instances >= 2
    alone = next(row for row in found.endpoints if row.option.name == "1 fixed, one instance")
    assert alone.option.settings is None
    assert "one is in one zone" in alone.option.note


def test_unmet_goal_recommends_nothing() -> None:
    found = planned(Goal(0.001))
    assert found.chosen is None
    assert report.settings(found) is None
    assert "Nothing here answers 95% within 1 ms" in report.advice(found)


def test_serverless_is_recommended_for_rare_calls() -> None:
    seldom = shaped("constant", 0, 0.2)
    patient = Goal(30.0)
    found = planned(patient, profile=seldom, serverless_cold_start_s=10)
    assert found.chosen
    assert found.chosen.option.name == "serverless, 4 GB"
    assert found.chosen.option.settings
    stage = {"region": "us-east-1", "retain_data": False, **found.chosen.option.settings}
    assert parse_stage("try", stage).endpoint.serverless
    # Ray's container takes longer than the function waits: the first callers get 504.
    slow = planned(patient, profile=seldom)
    assert slow.chosen
    assert "serverless" not in slow.chosen.option.name
    kept = planned(patient, profile=seldom, fewest=2)
    assert kept.chosen
    assert "serverless" not in kept.chosen.option.name


def test_serverless_stage_is_listed_unscaled() -> None:
    settings = EndpointSettings(
        serverless=ServerlessSettings(memory_mib=2048), scaling_target_instance_type="none", capture_percent=0
    )
    names = [row.option.name for row in planned(Goal(30.0), endpoint=settings).endpoints]
    assert "serverless, 2 GB, as the stage is" in names
    assert [name for name in names if name.endswith("as the stage is")] == ["serverless, 2 GB, as the stage is"]


def test_concurrency_policy_needs_10_s_metric() -> None:
    names = {
        row.option.name: row.option.settings for row in planned(Goal(0.5)).endpoints if "concurrency" in row.option.name
    }
    assert names
    assert set(names.values()) == {None}


def test_low_reservation_throttles_and_is_raised(
    usual: Plan,
) -> None:
    rows = {row.option.name: row.outcome for row in usual.functions}
    assert rows["as the stage is: 10 reserved"].throttled > 0
    enough = planning.enough_concurrency(usual.chosen or usual.endpoints[0])
    assert rows[f"{enough} reserved"].throttled == 0
    assert rows[f"{enough} reserved, 1 to 4 provisioned"].cold_starts < rows[f"{enough} reserved"].cold_starts


def test_unpriced_instance_type_is_an_error() -> None:
    with pytest.raises(KennelError, match=r"has no price of ml\.c5d\.18xlarge"):
        planned(
            Goal(0.5), endpoint=EndpointSettings(instance_type="ml.c5d.18xlarge", scaling_target_instance_type="none")
        )


def test_report_is_self_contained_and_complete(usual: Plan) -> None:
    page = report.html(usual)
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
    for row in (*usual.endpoints, *usual.functions):
        assert row.option.name in page
    assert page.count("<svg") == 4
    assert "nan" not in page.lower().replace("finance", "")


def test_plan_command_prints_table_and_json(tmp_path: Path) -> None:
    file = tmp_path / "plan.html"
    arguments = ["plan", "step", "--requests-per-s", "12", "--hours", "0.5", "--output", str(file)]
    said = CliRunner().invoke(app, [*arguments, "--json"])
    assert said.exit_code == 0, said.output
    numbers = json.loads(said.output)
    assert numbers["report"] == str(file)
    assert numbers["traffic"]["peak_per_s"] == 20
    assert {row["name"] for row in numbers["endpoints"]} >= {"1 fixed, one instance", "1 to 4, as the stage is"}
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0, told.output
    assert "1 fixed, one instance" in told.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.csv"], "nowhere.csv does not exist"),
        (["wave"], "give one of constant"),
        (["step", "--low", "30"], "low one comes first"),
        (["step", "--stage", "moon"], "known: dev, prod"),
        (["counts.csv", "--hours", "2"], "its own times"),
    ],
)
def test_invalid_arguments_suggest_fix(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["plan", *arguments])
    assert result.exit_code != 0
    assert said in f"{result.output} {result.exception}"
