"""The page of a plan or a comparison: plots over time, tables, and what they rest on, in one HTML file."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from kennel.capacity.planning import Goal, Row
from kennel.capacity.traffic import HOUR_S, Profile

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


def render(
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
    return TEMPLATES.get_template("page.html.jinja").render(
        title=f"{profile.name}: what the endpoint does, and what it costs",
        subtitle=(
            f"{profile.requests:,.0f} requests in {clock(profile.duration_s)}, at most {_number(profile.peak)} a "
            f"second; {subtitle}."
        ),
        duration_s=profile.duration_s,
        clock=clock,
        charts=charts,
        legend=[{"name": name, "colour": colour} for name, colour in colours.items()],
        **parts,
    )


def row_numbers(found: Row) -> dict[str, Any]:
    """A row for programs; latencies in s, costs in USD."""
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


def cells(row: Row, goal: Goal | None = None, chosen: Row | None = None) -> dict[str, Any]:
    """A row of a table."""
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


def clock(seconds: float) -> str:
    """A time on the page."""
    if seconds < SHORT_S:
        return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
