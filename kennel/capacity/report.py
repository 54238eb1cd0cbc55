"""The report of a plan: one HTML file that needs nothing else, and the same as numbers."""

import json
import math
from pathlib import Path
from typing import Any

import jinja2

from kennel.capacity.planning import Plan, Row, enough_concurrency

# Of the plots: as many as can be told apart.
LINES = 4
WIDTH, HEIGHT, LEFT, BASE = 890.0, 180.0, 60.0, 190.0
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


def numbers(plan: Plan) -> dict[str, Any]:
    """The plan for programs; latencies in s, costs in USD."""

    def row(found: Row) -> dict[str, Any]:
        outcome = found.outcome
        return {
            "name": found.option.name,
            "settings": found.option.settings,
            "note": found.option.note,
            **{f"p{share}_s": _finite(outcome.latency_s(share / 100)) for share in (50, 95, 99)},
            "requests": outcome.requests,
            "answered": outcome.answered,
            "throttled": outcome.throttled,
            "refused": outcome.refused,
            "late": outcome.late,
            "cold_starts": outcome.cold_starts,
            "most_instances": found.most_instances,
            "usd_per_day": found.usd_per_day,
            "usd_per_million": _finite(found.usd_per_million),
            "exact": outcome.exact,
            "meets_goal": plan.goal.met(outcome),
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
    """The report."""
    shown = _shown(plan)
    duration = plan.profile.duration_s
    wanted = settings(plan)

    def series(key: str, scale: float = 1.0) -> tuple[list[dict[str, str]], float]:
        values = {row.option.name: [scale * step[key] for step in row.outcome.timeline] for row in shown}
        finite = [value for line in values.values() for value in line if math.isfinite(value)]
        high = _round_up(max(finite, default=1.0))
        return [
            {"name": name, "colour": f"s{number}", "path": _path(line, high, stairs=key == "instances")}
            for number, (name, line) in enumerate(values.items())
        ], high

    charts = []
    rates = [{"name": "requests", "colour": "soft", "path": ""}]
    steps = [step["requests_per_s"] for step in shown[0].outcome.timeline]
    high = _round_up(max(steps))
    rates[0]["path"] = _path(steps, high, stairs=True)
    charts.append({"label": "Requests", "unit": "a second", "series": rates, "high": high, "shown": _number})
    for label, unit, key, scale in (
        ("Instances in service", "", "instances", 1.0),
        ("95 % are answered within", "ms", "p95", 1000.0),
        ("Without an answer", "%", "failed", 100.0),
    ):
        lines, high = series(key, scale)
        charts.append({"label": label, "unit": unit, "series": lines, "high": high, "shown": _number})
    engines = {row.outcome.exact for row in (*plan.endpoints, *plan.functions)}
    return TEMPLATES.get_template("report.html.jinja").render(
        title=f"{plan.profile.name}: what the endpoint does, and what it costs",
        subtitle=(
            f"{plan.profile.requests:,.0f} requests in {_clock(duration)} (hours:minutes), at most "
            f"{_number(plan.profile.peak)} a second; {plan.instance_type}; "
            f"prices of {plan.prices.region} of {plan.prices.date}."
        ),
        advice=advice(plan),
        paste=json.dumps(wanted, indent=2) if wanted else "",
        duration_s=duration,
        clock=_clock,
        charts=charts,
        legend=[{"name": row.option.name, "colour": f"s{number}"} for number, row in enumerate(shown)],
        endpoints=[_cells(row, plan) for row in plan.endpoints],
        functions=[_cells(row, plan) for row in plan.functions],
        facts=[
            *((name.replace("_", " "), f"{value:g}") for name, value in vars(plan.assumptions).items()),
            ("simulation", "every request" if engines == {True} else "ten seconds at a time, with expected numbers"),
            ("throttled", "429: more at the same time than the function may run"),
            ("refused", "503: an instance's queue is full"),
            ("late", "after the endpoint's timeout; nobody asks again"),
        ],
    )


def _shown(plan: Plan) -> list[Row]:
    """The rows that are drawn: those that the question is about, and the chosen one."""
    fixed = [row for row in plan.endpoints if row.option.endpoint.policy is None and row.option.hourly_usd]
    current = [row for row in plan.endpoints if row.option.name.endswith("as the stage is")]
    chosen = [plan.chosen] if plan.chosen and plan.chosen not in (*fixed, *current) else []
    scaled = [row for row in plan.endpoints if row.option.name.endswith("by invocations") and row not in chosen]
    return [*fixed, *current, *(chosen or scaled[:1])][:LINES]


def _cells(row: Row, plan: Plan) -> dict[str, Any]:
    outcome = row.outcome
    return {
        "name": row.option.name,
        **{f"p{share}": _number(1000 * outcome.latency_s(share / 100)) for share in (50, 95, 99)},
        "failed": f"{outcome.failed:.2%}",
        "fails": outcome.failed > plan.goal.failed,
        "throttled": f"{outcome.throttled:,.0f}",
        "refused": f"{outcome.refused:,.0f}",
        "late": f"{outcome.late:,.0f}",
        "cold": f"{outcome.cold_starts:,.0f}",
        "instances": str(row.most_instances) if row.option.hourly_usd else "",
        "per_day": f"{row.usd_per_day:,.2f}",
        "per_million": f"{row.usd_per_million:,.2f}",
        "note": row.option.note,
        "chosen": row is plan.chosen,
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
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d}"
