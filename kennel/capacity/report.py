"""The report of a plan, or of a comparison: one HTML file that needs nothing else; a plan also as numbers."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from kennel.capacity.comparing import Comparison
from kennel.capacity.planning import Goal, Plan, Row, enough_concurrency
from kennel.capacity.traffic import HOUR_S, Profile

# Of the plots: as many as can be told apart.
LINES = 4
WIDTH, HEIGHT, LEFT, BASE = 890.0, 180.0, 60.0, 190.0
# Shorter times are shown with their seconds.
SHORT_S = HOUR_S / 2
FAILURES = (
    ("throttled", "429: more at the same time than the function may run"),
    ("refused", "503: an instance's queue is full"),
    ("late", "after the endpoint's timeout; nobody asks again"),
)
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


def numbers(plan: Plan) -> dict[str, Any]:
    """The plan for programs; latencies in s, costs in USD."""

    def row(found: Row) -> dict[str, Any]:
        return {
            **_numbers(found),
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
    """What to write into the stage, none if nothing met the goal."""
    if plan.chosen is None or plan.chosen.option.settings is None:
        return None
    return {**plan.chosen.option.settings, "function": {"reserved_concurrency": enough_concurrency(plan.chosen)}}


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
    return _render(
        plan.profile,
        f"{plan.instance_type}; prices of {plan.prices.region} of {plan.prices.date}",
        _shown(plan),
        advice=advice(plan),
        paste=json.dumps(wanted, indent=2) if wanted else "",
        endpoints=[_cells(row, plan.goal, plan.chosen) for row in plan.endpoints],
        functions=[_cells(row, plan.goal, plan.chosen) for row in plan.functions],
        facts=[
            *((name.replace("_", " "), f"{value:g}") for name, value in vars(plan.assumptions).items()),
            ("simulation", "every request" if engines == {True} else "ten seconds at a time, with expected numbers"),
            *FAILURES,
        ],
    )


def comparison_html(comparison: Comparison) -> str:
    """The same report, of what was measured."""
    scaled = comparison.policies
    return _render(
        comparison.profile,
        f"measured from {comparison.begun:%Y-%m-%d %H:%M} UTC on; {comparison.instance_type}; prices of "
        f"{comparison.prices.region} of {comparison.prices.date}",
        comparison.rows,
        more=[("95 % of the model's own times, by CloudWatch", "ms", comparison.model_p95_s, 1000.0)],
        endpoints=[_cells(row) for row in comparison.rows],
        functions=[],
        facts=[
            *((policy["PolicyName"], policy_in_words(policy)) for policy in scaled),
            ("instances", "{} to {}".format(*comparison.bounds)),
            *((_clock(step.second), f"{step.description} {step.cause}") for step in comparison.steps),
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
            {**_numbers(row), "instances": [step["instances"] for step in row.outcome.timeline]}
            for row in comparison.rows
        ],
        "policies": [
            {key: policy[key] for key in ("PolicyName", "TargetTrackingScalingPolicyConfiguration")}
            for policy in comparison.policies
        ],
        "bounds": comparison.bounds,
        "steps": [vars(step) for step in comparison.steps],
    }


def _numbers(found: Row) -> dict[str, Any]:
    outcome = found.outcome
    return {
        "name": found.option.name,
        **{f"p{share}_s": _finite(outcome.latency_s(share / 100)) for share in (50, 95, 99)},
        "requests": outcome.requests,
        "answered": outcome.answered,
        "throttled": outcome.throttled,
        "refused": outcome.refused,
        "late": outcome.late,
        "most_instances": found.most_instances,
        "usd_per_day": found.usd_per_day,
        "usd_per_million": _finite(found.usd_per_million),
    }


def policy_in_words(policy: dict[str, Any]) -> str:
    """A target tracking policy, as DescribeScalingPolicies has it."""
    config = policy["TargetTrackingScalingPolicyConfiguration"]
    metric = config["PredefinedMetricSpecification"]["PredefinedMetricType"]
    return (
        f"keeps {metric} at {config['TargetValue']:g}; waits {config.get('ScaleOutCooldown', 300)} s after a step "
        f"out, {config.get('ScaleInCooldown', 300)} s after one in"
    )


def _render(
    profile: Profile,
    subtitle: str,
    drawn: list[Row],
    *,
    more: Sequence[tuple[str, str, dict[str, list[float]], float]] = (),
    **parts: Any,
) -> str:
    """Fills the template; `more` are further charts: label, unit, values by line, and what they are multiplied by."""

    def timeline(key: str) -> dict[str, list[float]]:
        return {row.option.name: [step[key] for step in row.outcome.timeline] for row in drawn}

    def chart(
        label: str, unit: str, values: dict[str, list[float]], scale: float = 1.0, *, stairs: bool = False
    ) -> dict[str, Any]:
        lines = {name: [scale * value for value in line] for name, line in values.items()}
        finite = [value for line in lines.values() for value in line if math.isfinite(value)]
        high = _round_up(max(finite, default=1.0))
        series = [
            {"name": name, "colour": colours.get(name, "soft"), "path": _path(line, high, stairs=stairs)}
            for name, line in lines.items()
        ]
        return {"label": label, "unit": unit, "series": series, "high": high, "shown": _number}

    colours = {row.option.name: f"s{number}" for number, row in enumerate(drawn)}
    requests = {"requests": [step["requests_per_s"] for step in drawn[0].outcome.timeline]}
    charts = [
        chart("Requests", "a second", requests, stairs=True),
        chart("Instances in service", "", timeline("instances"), stairs=True),
        chart("95 % are answered within", "ms", timeline("p95"), 1000.0),
        *(chart(*other) for other in more),
        chart("Without an answer", "%", timeline("failed"), 100.0),
    ]
    return TEMPLATES.get_template("report.html.jinja").render(
        title=f"{profile.name}: what the endpoint does, and what it costs",
        subtitle=(
            f"{profile.requests:,.0f} requests in {_clock(profile.duration_s)}, at most {_number(profile.peak)} a "
            f"second; {subtitle}."
        ),
        duration_s=profile.duration_s,
        clock=_clock,
        charts=charts,
        legend=[{"name": name, "colour": colour} for name, colour in colours.items()],
        **parts,
    )


def _shown(plan: Plan) -> list[Row]:
    """The rows that are drawn: those that the question is about, and the chosen one."""
    fixed = [row for row in plan.endpoints if row.option.endpoint.policy is None and row.option.hourly_usd]
    current = [row for row in plan.endpoints if row.option.name.endswith("as the stage is")]
    chosen = [plan.chosen] if plan.chosen and plan.chosen not in (*fixed, *current) else []
    scaled = [row for row in plan.endpoints if row.option.name.endswith("by invocations") and row not in chosen]
    return [*fixed, *current, *(chosen or scaled[:1])][:LINES]


def _cells(row: Row, goal: Goal | None = None, chosen: Row | None = None) -> dict[str, Any]:
    outcome = row.outcome
    return {
        "name": row.option.name,
        **{f"p{share}": _number(1000 * outcome.latency_s(share / 100)) for share in (50, 95, 99)},
        "failed": f"{outcome.failed:.2%}",
        "fails": goal is not None and outcome.failed > goal.failed,
        "throttled": f"{outcome.throttled:,.0f}",
        "refused": f"{outcome.refused:,.0f}",
        "late": f"{outcome.late:,.0f}",
        "cold": f"{outcome.cold_starts:,.0f}",
        "instances": str(row.most_instances) if row.option.hourly_usd else "",
        "per_day": f"{row.usd_per_day:,.2f}",
        "per_million": f"{row.usd_per_million:,.2f}",
        "note": row.option.note,
        "chosen": row is chosen,
    }


def _path(values: list[float], high: float, *, stairs: bool = False) -> str:
    """A line through `values`, with gaps where there is none."""
    parts, drawing = [], False
    step = WIDTH / len(values)
    for number, value in enumerate(values):
        if not math.isfinite(value):
            drawing = False
            continue
        x, y = LEFT + step * number, BASE - HEIGHT * value / high
        if stairs:
            parts.append(f"{'H' + format(x, '.1f') + 'V' + format(y, '.1f') if drawing else f'M{x:.1f} {y:.1f}'}")
        else:
            parts.append(f"{'L' if drawing else 'M'}{x:.1f} {y:.1f}")
        drawing = True
    if stairs and parts:
        parts.append(f"H{LEFT + WIDTH:.1f}")
    return "".join(parts)


def _round_up(value: float) -> float:
    """The next number of one digit, or 1."""
    if value <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(value))
    return float(math.ceil(value / power) * power)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _clock(seconds: float) -> str:
    if seconds < SHORT_S:
        return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
