"""The reports of `kennel plan` and `kennel compare`: their page, and the same as numbers."""

import json
from typing import Any

from kennel.capacity.comparison import Comparison
from kennel.capacity.page import FAILURES, cells, clock, render, row_numbers
from kennel.capacity.planning import Plan, Row, enough_concurrency

# Drawn in the plots: as many as can be told apart.
LINES = 4


def numbers(plan: Plan) -> dict[str, Any]:
    """The plan for programs; latencies in s, costs in USD."""

    def row(found: Row) -> dict[str, Any]:
        return {
            **row_numbers(found),
            "settings": found.option.settings,
            "note": found.option.note,
            "cold_starts": found.outcome.cold_starts,
            "exact": found.outcome.exact,
            "meets_goal": plan.goal.met(found.outcome),
        }

    return {
        "traffic": {
            "name": plan.profile.name,
            "duration_s": plan.profile.duration_s,
            "requests": plan.profile.requests,
            "peak_per_s": plan.profile.peak,
        },
        "goal": vars(plan.goal),
        "assumptions": vars(plan.assumptions),
        "prices": {"date": plan.prices.date, "region": plan.prices.region},
        "endpoints": [row(found) for found in plan.endpoints],
        "functions": [row(found) for found in plan.functions],
        "chosen": plan.chosen.option.name if plan.chosen else None,
        "settings": settings(plan),
    }


def settings(plan: Plan) -> dict[str, Any] | None:
    """The recommended settings for the stage, none if nothing met the goal."""
    if plan.chosen is None or plan.chosen.option.settings is None:
        return None
    wanted = plan.chosen.option.settings
    reserved = {"reserved_concurrency": enough_concurrency(plan.chosen)}
    return {**wanted, "function": {**wanted.get("function", {}), **reserved}}


def advice(plan: Plan) -> str:
    """The recommendation, in a sentence."""
    within = f"{plan.goal.share:.0%} within {1000 * plan.goal.latency_s:,.0f} ms"
    goal = f"{within}, at most {plan.goal.failed:.2%} without an answer"
    if plan.chosen:
        return (
            f"Cheapest of what answers {goal}: {plan.chosen.option.name}, "
            f"for {plan.chosen.usd_per_day:,.2f} USD a day. Write into the stage:"
        )
    best = min(plan.endpoints, key=lambda row: (row.outcome.failed, row.outcome.latency_s(plan.goal.share)))
    reached = f"{1000 * best.outcome.latency_s(plan.goal.share):,.0f} ms, {best.outcome.failed:.2%} without an answer"
    return (
        f"Nothing here answers {goal}. Closest is {best.option.name}: {reached}. "
        "Take larger instances, raise max_instances, or ask for less."
    )


def html(plan: Plan) -> str:
    """The report of a plan."""
    wanted = settings(plan)
    engines = {row.outcome.exact for row in (*plan.endpoints, *plan.functions)}
    return render(
        plan.profile,
        f"{plan.instance_type}; prices of {plan.prices.region} of {plan.prices.date}",
        _shown(plan),
        advice=advice(plan),
        paste=json.dumps(wanted, indent=2) if wanted else "",
        endpoints=[cells(row, plan.goal, plan.chosen) for row in plan.endpoints],
        functions=[cells(row, plan.goal, plan.chosen) for row in plan.functions],
        facts=[
            *(
                (name.replace("_", " "), value if isinstance(value, str) else f"{value:g}")
                for name, value in vars(plan.assumptions).items()
            ),
            ("simulation", "every request" if engines == {True} else "ten seconds at a time, with expected numbers"),
            *FAILURES,
        ],
    )


def comparison_html(comparison: Comparison) -> str:
    """The same report, of what was measured."""
    scaled = comparison.policies
    return render(
        comparison.profile,
        f"measured from {comparison.begun:%Y-%m-%d %H:%M} UTC on; {comparison.instance_type}; prices of "
        f"{comparison.prices.region} of {comparison.prices.date}",
        comparison.rows,
        more=[("95 % of the model's own times, by CloudWatch", "ms", comparison.model_p95_s, 1000.0)],
        endpoints=[cells(row) for row in comparison.rows],
        functions=[],
        facts=[
            *((policy["PolicyName"], policy_in_words(policy)) for policy in scaled),
            ("instances", "{} to {}".format(*comparison.bounds)),
            *((clock(step.second), f"{step.description} {step.cause}") for step in comparison.steps),
            ("latencies", "as the callers saw them, from when a request was due"),
            ("instances over time", "Invocations by InvocationsPerInstance, of CloudWatch"),
            *FAILURES,
        ],
    )


def comparison_numbers(comparison: Comparison) -> dict[str, Any]:
    """The comparison for programs; latencies in s, costs in USD, instances for each step of `step_s`."""
    timeline = comparison.rows[0].outcome.timeline
    return {
        "traffic": {"name": comparison.profile.name, "duration_s": comparison.profile.duration_s},
        "begun": comparison.begun.isoformat(),
        "step_s": timeline[1]["second"] if len(timeline) > 1 else comparison.profile.duration_s,
        "endpoints": [
            {**row_numbers(row), "instances": [step["instances"] for step in row.outcome.timeline]}
            for row in comparison.rows
        ],
        "policies": [
            {key: policy[key] for key in ("PolicyName", "TargetTrackingScalingPolicyConfiguration")}
            for policy in comparison.policies
        ],
        "bounds": comparison.bounds,
        "steps": [vars(step) for step in comparison.steps],
    }


def policy_in_words(policy: dict[str, Any]) -> str:
    """A target tracking policy, as DescribeScalingPolicies has it."""
    config = policy["TargetTrackingScalingPolicyConfiguration"]
    if custom := config.get("CustomizedMetricSpecification"):
        metric = custom["MetricName"]
    else:
        metric = config["PredefinedMetricSpecification"]["PredefinedMetricType"]
    return (
        f"keeps {metric} at {config['TargetValue']:g}; waits {config.get('ScaleOutCooldown', 300)} s after a step "
        f"out, {config.get('ScaleInCooldown', 300)} s after one in"
    )


def _shown(plan: Plan) -> list[Row]:
    """The rows that are drawn: those that the question is about, and the chosen one."""
    fixed = [row for row in plan.endpoints if row.option.endpoint.policy is None and row.option.hourly_usd]
    current = [row for row in plan.endpoints if row.option.name.endswith("as the stage is")]
    chosen = [plan.chosen] if plan.chosen and plan.chosen not in (*fixed, *current) else []
    scaled = [row for row in plan.endpoints if row.option.endpoint.metric == "utilization" and row not in current]
    return [*fixed, *current, *(chosen or scaled[:1])][:LINES]
