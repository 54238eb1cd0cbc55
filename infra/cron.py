"""AWS's cron expressions: six fields, in EventBridge Scheduler and in Application Auto Scaling.

EventBridge Scheduler's user guide, "Schedule types": minutes, hours, day of month, month, day of week, year; one of the
two days must be `?`.
"""

import re

_MONTHS = {"JAN": 1, "FEB": 2, "MAR": 3, "APR": 4, "MAY": 5, "JUN": 6}
_MONTHS |= {"JUL": 7, "AUG": 8, "SEP": 9, "OCT": 10, "NOV": 11, "DEC": 12}
_DAYS = {"SUN": 1, "MON": 2, "TUE": 3, "WED": 4, "THU": 5, "FRI": 6, "SAT": 7}
# Name, least and greatest value, names of values, and what else may stand there.
_FIELDS = (
    ("minutes", 0, 59, {}, r"(?!)"),
    ("hours", 0, 23, {}, r"(?!)"),
    ("day of month", 1, 31, {}, r"\?|L|\d{1,2}W|LW"),
    ("month", 1, 12, _MONTHS, r"(?!)"),
    ("day of week", 1, 7, _DAYS, r"\?|L|([1-7]|SUN|MON|TUE|WED|THU|FRI|SAT)(L|#[1-5])"),
    ("year", 1970, 2199, {}, r"(?!)"),
)
EXAMPLE = "0 20 ? * * *"


def problem(expression: str) -> str | None:
    """The reason why AWS would refuse the expression, with the remedy; None if it would not."""
    if expression.startswith(("cron(", "rate(", "at(")):
        return f"{expression!r}: give the six fields alone, without {expression.partition('(')[0]}(), as {EXAMPLE}"
    fields = expression.split(" ")
    if len(fields) != len(_FIELDS) or not all(fields):
        return f"{expression!r} is not AWS's six fields (minutes hours day month weekday year): write it as {EXAMPLE}"
    for field, (name, least, greatest, names, special) in zip(fields, _FIELDS, strict=True):
        if not _valid(field, least, greatest, names, special):
            return f"{expression!r}: {field!r} is not a value of {name}, which goes from {least} to {greatest}"
    if [fields[2], fields[4]].count("?") != 1:
        return f"{expression!r}: AWS wants ? in exactly one of day of month and day of week, as in {EXAMPLE}"
    return None


def _valid(field: str, least: int, greatest: int, names: dict[str, int], special: str) -> bool:
    if re.fullmatch(special, field):
        return True
    return all(_part(part, least, greatest, names) for part in field.split(","))


def _part(part: str, least: int, greatest: int, names: dict[str, int]) -> bool:
    """One of a list: `*`, a value, a range, each with a step or without."""
    span, slash, step = part.partition("/")
    if slash and not (step.isascii() and step.isdigit() and int(step) >= 1):
        return False
    if span == "*":
        return True
    values = [_value(text, names) for text in span.split("-")]
    if len(values) > 2 or None in values:
        return False
    # AWS takes ranges such as FRI-MON.
    return all(least <= value <= greatest for value in values if value is not None)


def _value(text: str, names: dict[str, int]) -> int | None:
    if text.isascii() and text.isdigit():
        return int(text)
    return names.get(text)
