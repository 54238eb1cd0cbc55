"""Traffic: how many requests a second come, over time."""

import csv
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kennel.errors import KennelError

Times = npt.NDArray[np.float64]

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0
SHAPES = ("constant", "step", "daily", "spike")
# The step of generated profiles: fine enough for a smooth day.
STEP_S = 10.0
# When of a day fewest requests come.
TROUGH_S = 4 * HOUR_S


@dataclass(frozen=True)
class Profile:
    """Rates in requests/s, each for `step_s` seconds, one after the other."""

    name: str
    step_s: float
    rates: Times

    @property
    def duration_s(self) -> float:
        """The duration of the traffic."""
        return self.step_s * len(self.rates)

    @property
    def requests(self) -> float:
        """The expected number of requests."""
        return float(self.rates.sum() * self.step_s)

    @property
    def peak(self) -> float:
        """The highest rate, in requests/s."""
        return float(self.rates.max())

    def rate(self, time_s: float) -> float:
        """The rate at a moment, in requests/s."""
        return float(self.rates[min(int(time_s / self.step_s), len(self.rates) - 1)])

    def arrivals(self, seed: int) -> Times:
        """When requests come, in s, sorted: independent of one another, as those of many users are (Poisson)."""
        random = np.random.default_rng(seed)
        counts = random.poisson(self.rates * self.step_s)
        starts = np.repeat(np.arange(len(self.rates)) * self.step_s, counts)
        return np.sort(starts + random.uniform(0, self.step_s, len(starts)))


def shaped(shape: str, low: float, high: float, hours: float | None = None) -> Profile:
    """A drawn profile between two rates in requests/s; `hours` long, or as long as the shape needs to be seen."""
    problems = []
    if shape not in SHAPES:
        problems.append(f"no traffic {shape!r}: give one of {', '.join(SHAPES)}, or a CSV file")
    if not 0 <= low <= high:
        problems.append(f"rates from {low:g} to {high:g} requests/s: they begin at 0, and the low one comes first")
    if high <= 0:
        problems.append("no requests come: give a rate above 0")
    if hours is not None and not 0 < hours <= 24 * 31:
        problems.append(f"{hours:g} hours: give more than 0 and at most a month (744)")
    if problems:
        raise KennelError("\n".join(problems))
    duration_s = (hours or {"constant": 1, "step": 1.5, "daily": 24, "spike": 1.5}[shape]) * HOUR_S
    times = np.arange(math.ceil(duration_s / STEP_S)) * STEP_S
    share = times / duration_s
    if shape == "constant":
        rates = np.full(len(times), high)
    elif shape == "step":
        # A ninth of the time low, then high long enough to scale out, then low long enough to scale in.
        rates = np.where((share >= 1 / 9) & (share < 5 / 9), high, low)
    elif shape == "spike":
        rates = np.where((share >= 1 / 3) & (share < 1 / 3 + 1 / 18), high, low)
    else:
        rates = low + (high - low) * (1 - np.cos(2 * np.pi * (times - TROUGH_S) / DAY_S)) / 2
    name = f"{shape}, {high:g}/s" if shape == "constant" else f"{shape}, {low:g} to {high:g}/s"
    return Profile(name, STEP_S, rates.astype(np.float64))


def from_csv(file: Path) -> Profile:
    """Counted requests: a CSV file with the columns `time` (ISO 8601 or seconds) and `requests`, evenly spaced.

    Raises KennelError with everything that is wrong in it.
    """
    try:
        rows = list(csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines()))
    except FileNotFoundError:
        raise KennelError(f"{file} does not exist.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise KennelError(f"{file} is not a CSV file in UTF-8 ({error}).") from None
    if not rows or not {"time", "requests"} <= set(rows[0]):
        raise KennelError(f"{file} needs a header with the columns `time` and `requests`, and at least one row.")
    problems: list[str] = []
    times, counts = [], []
    for line, row in enumerate(rows, 2):
        moment, count = _moment(row["time"] or ""), _number(row["requests"] or "")
        if moment is None:
            problems.append(f"line {line}: {row['time']!r} is neither a moment in ISO 8601 nor seconds")
        if count is None or count < 0:
            problems.append(f"line {line}: {row['requests'] or ''!r} is no count of requests")
        times.append(moment if moment is not None else math.nan)
        counts.append(count if count is not None else math.nan)
    if not problems:
        steps = np.diff(times)
        if len(times) < 2:
            problems.append("one line gives no time between counts: give at least two")
        elif steps[0] <= 0 or not np.allclose(steps, steps[0]):
            uneven = int(np.argmax(~np.isclose(steps, steps[0]))) + 3 if steps[0] > 0 else 3
            problems.append(f"line {uneven}: the times must rise by the same step")
        elif sum(counts) == 0:
            problems.append("all counts are 0: there is nothing to plan for")
    if problems:
        shown = problems[:20] + ([f"and {len(problems) - 20} more"] if len(problems) > 20 else [])
        raise KennelError(f"{file}:\n" + "\n".join(shown))
    step_s = float(times[1] - times[0])
    return Profile(file.name, step_s, np.asarray(counts, dtype=np.float64) / step_s)


def from_counts(name: str, counts: dict[datetime, float], step_s: float) -> Profile:
    """Counts of CloudWatch, which publishes nothing for a step without requests."""
    if not counts:
        raise KennelError(f"CloudWatch has no requests of {name} in that time.")
    first, last = min(counts), max(counts)
    steps = int((last - first).total_seconds() / step_s) + 1
    moments = [first + timedelta(seconds=step_s * number) for number in range(steps)]
    return Profile(name, step_s, np.asarray([counts.get(moment, 0.0) for moment in moments]) / step_s)


def _moment(text: str) -> float | None:
    number = _number(text)
    if number is not None:
        return number
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
