"""Cron expressions: what AWS's documentation gives as examples passes, what AWS refuses does not."""

import pytest

from infra.cron import problem

# EventBridge Scheduler's user guide, "Schedule types", and EventBridge's, "Cron expressions".
AWS_EXAMPLES = (
    "0 20 ? * * *",
    "15 10 ? * 6L 2019-2022",
    "0 10 * * ? *",
    "15 12 * * ? *",
    "0 18 ? * MON-FRI *",
    "0 8 1 * ? *",
    "0/15 * * * ? *",
    "0/10 * ? * MON-FRI *",
    "0/5 8-17 ? * MON-FRI *",
    "30 0 ? * 3#2 *",
    "0 9 L * ? *",
    "0 9 3W * ? *",
    "0 0 ? JAN,JUL SUN 2027",
    "0 22-2 ? * FRI-MON *",
)


@pytest.mark.parametrize("expression", AWS_EXAMPLES)
def test_documented_expression_is_accepted(expression: str) -> None:
    assert problem(expression) is None


@pytest.mark.parametrize(
    ("expression", "part"),
    [
        ("a b c d e f", "'a' is not a value of minutes, which goes from 0 to 59"),
        ("0 25 ? * * *", "'25' is not a value of hours"),
        ("0 20 * * * *", "AWS wants ? in exactly one"),
        ("0 20 ? * ? *", "AWS wants ? in exactly one"),
        ("cron(0 20 ? * * *)", "without cron()"),
        ("rate(5 minutes)", "without rate()"),
        ("0 20 ? * *", "is not AWS's six fields"),
        ("0 20  ? * * *", "is not AWS's six fields"),
        ("", "is not AWS's six fields"),
        ("60 20 ? * * *", "minutes"),
        ("0 20 32 * ? *", "day of month"),
        ("0 20 0 * ? *", "day of month"),
        ("0 20 ? 13 * *", "month"),
        ("0 20 ? FOO * *", "month"),
        ("0 20 ? * 0 *", "day of week"),
        ("0 20 ? * MO *", "day of week"),
        ("0 20 ? * 2#6 *", "day of week"),
        ("0 20 ? * * 1969", "year"),
        ("0/0 20 ? * * *", "minutes"),
        ("1-2-3 20 ? * * *", "minutes"),
        ("0, 20 ? * * *", "minutes"),
        ("? 20 ? * * *", "minutes"),
        ("٣ 20 ? * * *", "minutes"),
    ],
)
def test_refused_expression_is_explained(expression: str, part: str) -> None:
    assert part in (problem(expression) or "")
