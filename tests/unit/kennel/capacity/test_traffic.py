"""Traffic: drawn, counted in a file, counted by CloudWatch."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from kennel.capacity.traffic import from_counts, from_csv, shaped
from kennel.errors import KennelError


def test_step_is_low_high_low() -> None:
    profile = shaped("step", 1, 20)
    assert profile.duration_s == 5400
    assert [profile.rate(minute * 60) for minute in (0, 9, 10, 49, 50, 89)] == [1, 1, 20, 20, 1, 1]
    assert profile.peak == 20


def test_daily_peaks_at_16_and_dips_at_4() -> None:
    profile = shaped("daily", 2, 30)
    assert profile.rate(4 * 3600) == pytest.approx(2)
    assert profile.rate(16 * 3600) == pytest.approx(30)
    assert profile.requests == pytest.approx(16 * 86_400, rel=1e-3)


@pytest.mark.parametrize("shape", ["constant", "step", "daily", "spike"])
def test_arrivals_are_sorted_and_deterministic(shape: str) -> None:
    profile = shaped(shape, 1, 5, hours=2)
    arrivals = profile.arrivals(seed=4)
    assert len(arrivals) == pytest.approx(profile.requests, rel=0.05)
    assert (np.diff(arrivals) >= 0).all()
    assert arrivals[-1] <= profile.duration_s
    assert (arrivals == profile.arrivals(seed=4)).all()


def test_all_invalid_arguments_are_named() -> None:
    with pytest.raises(KennelError) as refusal:
        shaped("wave", 5, 2, hours=-1)
    assert all(part in str(refusal.value) for part in ("wave", "low one comes first", "-1 hours"))
    with pytest.raises(KennelError, match="above 0"):
        shaped("constant", 0, 0)


@pytest.mark.parametrize(
    "lines",
    [
        "time,requests\n0,60\n60,120\n120,0\n",
        "time,requests\n2026-11-02T10:00,60\n2026-11-02T10:01,120\n2026-11-02T10:02,0\n",
    ],
)
def test_csv_counts_become_rates(tmp_path: Path, lines: str) -> None:
    (tmp_path / "counts.csv").write_text(lines)
    profile = from_csv(tmp_path / "counts.csv")
    assert profile.step_s == 60
    assert profile.rates.tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "needs a header"),
        ("when,count\n1,2\n", "needs a header"),
        ("time,requests\n0,60\n", "at least two"),
        ("time,requests\n0,60\n60,60\n180,60\n", "line 4: the times must rise by the same step"),
        ("time,requests\n60,60\n0,60\n", "must rise"),
        ("time,requests\nnoon,60\n60,many\n120,-1\n180,nan\n", "line 2: 'noon'"),
        ("time,requests\nnoon,60\n60,many\n120,-1\n180,nan\n", "line 5: 'nan' is no count"),
        ("time,requests\n0\n60,1\n", "line 2: '' is no count"),
        ("time,requests\n0,0\n60,0\n", "all counts are 0"),
    ],
)
def test_bad_csv_is_rejected_with_reason(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "counts.csv").write_text(text)
    with pytest.raises(KennelError) as refusal:
        from_csv(tmp_path / "counts.csv")
    assert said in str(refusal.value)


def test_missing_or_binary_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KennelError, match="does not exist"):
        from_csv(tmp_path / "nowhere.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(KennelError, match="not a CSV file in UTF-8"):
        from_csv(tmp_path / "binary.csv")


def test_missing_minutes_count_as_zero() -> None:
    minutes = {datetime(2026, 11, 2, 10, minute, tzinfo=UTC): 120.0 for minute in (0, 1, 4)}
    assert from_counts("endpoint", minutes, 60).rates.tolist() == [2, 2, 0, 0, 2]
    with pytest.raises(KennelError, match="no requests"):
        from_counts("endpoint", {}, 60)
