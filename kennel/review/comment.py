"""One Markdown comment: what would be lost first, then who may do more, what it costs, and what changes."""

import json
from collections.abc import Callable, Iterator

from kennel.pricing.prices import Prices
from kennel.pricing.stack_costs import REQUEST_S, Cost
from kennel.review import properties
from kennel.review.assets import AssetChange
from kennel.review.change import Review
from kennel.review.differences import REPLACED, Change
from kennel.review.findings import SECRET
from kennel.review.markdown import code, plain

# GitHub takes 65,536 characters.
MAX_CHARACTERS = 65_000
# Items of a list; fewer if the comment would be too long.
MOST_ROWS = 1000
# Types that others call by an address that a new one would not have.
CALLED = ("AWS::CloudFront::Distribution", "AWS::Lambda::Url")
MARKER = "<!-- kennel review: {} -->"


def comment(review: Review, *, limit: int = MAX_CHARACTERS) -> str:
    """The comment, at most `limit` characters long; empty where nothing changes.

    What is cut to fit are rows of the longest sections, and each says how many.
    """
    if not review:
        return ""
    rows = MOST_ROWS
    while True:
        text = "\n".join(_lines(review, rows)) + "\n"
        if len(text) <= limit or rows == 1:
            return text if len(text) <= limit else text[: limit - 40].rsplit("\n", 1)[0] + "\n\n… cut: see the run.\n"
        rows = max(1, rows * 2 // 3)


def _lines(review: Review, rows: int) -> Iterator[str]:
    yield MARKER.format(review.stage)
    yield f"## What {code(review.head)} changes in {review.stage}"
    yield ""
    yield f"{_summary(review)}, against {code(review.base)}."
    lost = [change for change in review.changes if change.lost or change.unprotected or change.verb == "orphaned"]
    yield from _section("Cannot be deployed as it is", [f"- {sentence}." for sentence in review.blocked])
    yield from _section("Lost or replaced", [*_lost_rows(review.moved, lost, rows)])
    yield from _section("Other accounts", [f"- **{_short(item.stack)}**: {item.sentence}" for item in review.of_others])
    yield from _section("Access", [*_access(review, rows)])
    yield from _section("On the internet", [*_exposure(review)])
    yield from _section("Cost", [*_cost(review)])
    yield from _section("Files", [*_assets(review.assets, rows)])
    yield from _section("Findings", [*_findings(review, rows)])
    yield from _section("Everything that changes", [*_changes(review, rows)])


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield from ("", f"### {title}", "", *lines)


def _summary(review: Review) -> str:
    parts = []
    if review.blocked:
        parts.append("**cannot be deployed as it is**")
    if review.moved:
        regions = ", ".join(sorted({plain(after) for _, after in review.moved.values()}))
        parts.append(f"**{len(review.moved)} stacks are others, in {regions}**")
    for verb in ("destroyed", "may be destroyed", "replaced", "may be replaced", "orphaned"):
        if number := sum(change.verb == verb and (change.lost or verb == "orphaned") for change in review.changes):
            parts.append(f"**{number} {verb}**")
    for verb in ("changed", "added"):
        if number := sum(_word(change) == verb for change in review.changes):
            parts.append(f"{number} {verb}")
    if review.of_others:
        parts.append("**another account may do more**")
    if review.widened:
        parts.append("**access widened**")
    elif review.access:
        parts.append("access narrowed")
    if review.opened:
        parts.append("**opened to the internet**")
    if any(item.rule == SECRET for item in review.new_findings):
        parts.append("**what looks like a secret**")
    if difference := round(review.month_after - review.month_before, 2):
        parts.append(f"{difference:+,.2f} USD per month idle")
    if review.assets and not review.changes:
        parts.append("files only")
    return ", ".join(parts) or "No resource changes"


def _word(change: Change) -> str:
    """The effect in words: a renewal counts as a change."""
    renewed = change.verb in ("replaced", "may be replaced") and not change.lost
    return "changed" if renewed else change.verb


def _kind(kind: str) -> str:
    return plain(kind.removeprefix("AWS::"))


def _lost_rows(moved: dict[str, tuple[str, str]], lost: list[Change], rows: int) -> Iterator[str]:
    if not moved and not lost:
        return
    yield "| What | Kind | Happens | Because |"
    yield "|---|---|---|---|"
    for stack, (before, after) in moved.items():
        stays = f"the one in {plain(before)} stays and costs, with what is in it, until somebody destroys it there"
        yield f"| **{_short(stack)}** | stack | **a new one, empty, in {plain(after)}** | {stays} |"
    ordered = sorted(lost, key=lambda change: (not change.stateful, change.stack, change.name))
    for change in ordered[:rows]:
        name, verb = f"{_short(change.stack)}: {change.name}", str(change.verb)
        if change.unprotected and not change.lost:
            verb = "**no longer kept when it goes**"
        elif change.kind in CALLED:
            name, verb = f"**{name}**", f"**{verb}: callers need another address**"
        elif change.stateful:
            name, verb = f"**{name}**", f"**{verb}, with what is in it**" if change.lost else f"**{verb}**"
        yield f"| {_cell(name)} | {_kind(change.kind_before or change.kind)} | {verb} | {_cell(_because(change))} |"
    yield from _more(len(lost) - rows)


def _because(change: Change) -> str:
    if change.renamed:
        return f"its name in the app changed to {change.renamed}: CloudFormation takes it for another"
    if change.unprotected and not change.lost:
        return "its deletion policy keeps it now"
    if change.kind_before:
        return f"its type changes to {_kind(change.kind)}"
    if change.verb == "may be destroyed":
        return "a condition says whether it is there"
    causes = [item for item in change.properties if item.impact in ("WILL_REPLACE", "MAY_REPLACE")]
    if causes:
        kept = ", the old one is kept" if change.kept else ""
        if all(REPLACED in json.dumps(item.new) for item in causes):
            return f"it refers to what is replaced{kept}"
        names = ", ".join(code(item.name) for item in causes)
        return f"{names} cannot be changed in place{kept}"
    if change.verb == "orphaned":
        return "it leaves the stack and stays in the account"
    return "it leaves the stack"


def _access(review: Review, rows: int) -> Iterator[str]:
    others = review.of_others
    for title, widens in (("Widened", True), ("Narrowed", False)):
        found = [item for item in review.access if item.widens is widens and item not in others]
        if found:
            yield f"**{title}**"
            yield ""
            yield from (f"- {_short(item.stack)}: {item.sentence}" for item in found[:rows])
            yield from _more(len(found) - rows, "- ")
            if widens and any(not item.widens for item in review.access):
                yield ""


def _exposure(review: Review) -> Iterator[str]:
    yield from (f"- **now**: {_short(item.stack)}: {item.sentence}" for item in review.opened)
    yield from (f"- no longer: {_short(item.stack)}: {item.sentence}" for item in review.closed)
    yield from (f"- {rule}" for rule in review.rules)


def _cost(review: Review) -> Iterator[str]:
    table = [*_cost_rows(review.cost_before, review.cost_after)]
    if table:
        yield "| USD | before | after | difference |"
        yield "|---|--:|--:|--:|"
        yield from table
        yield (
            f"| **per month, idle** | {review.month_before:,.2f} | {review.month_after:,.2f} "
            f"| **{review.month_after - review.month_before:+,.2f}** |"
        )
        if review.most_before != review.month_before or review.most_after != review.month_after:
            yield (
                f"| a month with the most instances | {review.most_before:,.2f} | {review.most_after:,.2f} "
                f"| {review.most_after - review.most_before:+,.2f} |"
            )
        yield (
            f"| **a million requests** | {review.million_before:,.2f} | {review.million_after:,.2f} "
            f"| **{review.million_after - review.million_before:+,.2f}** |"
        )
    else:
        yield (
            f"Unchanged: {review.month_after:,.2f} USD per month idle, {review.million_after:,.2f} for a million "
            "requests."
        )
    for limit in review.over_budget:
        yield ""
        yield f"**Over the budget** of {limit:,.2f} USD a month, which would warn every month."
    yield ""
    yield _basis(review.prices)
    if review.unpriced:
        yield ""
        yield "Not in the table, so not counted: " + "; ".join(review.unpriced) + "."


def _cost_rows(before: dict[str, Cost], after: dict[str, Cost]) -> Iterator[str]:
    """Each part whose price differs."""
    empty = Cost({}, {})
    parts: dict[str, Callable[[Cost], dict[str, float]]] = {
        "a month": lambda cost: cost.at_rest,
        "a million requests": lambda cost: cost.per_million,
    }
    for stack in dict.fromkeys([*before, *after]):
        for per, of in parts.items():
            old, new = (of(side.get(stack, empty)) for side in (before, after))
            for part in dict.fromkeys([*old, *new]):
                one, other = old.get(part, 0.0), new.get(part, 0.0)
                if round(one - other, 2):
                    row = f"{_short(stack)}: {part}, {per}"
                    yield f"| {_cell(row)} | {one:,.2f} | {other:,.2f} | {other - one:+,.2f} |"


def _basis(prices: Prices) -> str:
    return (
        f"Prices of {prices.region}, {prices.date}. Idle: fewest instances, all month, storage left out; a request "
        f"takes {1000 * REQUEST_S:g} ms of the function."
    )


def _assets(assets: list[AssetChange], rows: int) -> Iterator[str]:
    for asset in assets:
        yield f"- {_short(asset.stack)}: {code(asset.name)} {asset.verb}"
        yield from (f"  - {code(path)} {verb}" for path, verb in list(asset.files.items())[:rows])
        yield from _more(len(asset.files) - rows, "  - ")


def _findings(review: Review, rows: int) -> Iterator[str]:
    for word, found in (("**new**", review.new_findings), ("gone", review.gone_findings)):
        yield from (
            f"- {word}: {_short(item.stack)}: {plain(item.place)}: {code(item.rule)} {code(item.message)}"
            for item in found[:rows]
        )
        yield from _more(len(found) - rows, "- ")


def _changes(review: Review, rows: int) -> Iterator[str]:
    by_stack: dict[str, list[Change]] = {}
    for change in review.changes:
        by_stack.setdefault(change.stack, []).append(change)
    for stack in dict.fromkeys([*by_stack, *review.declarations]):
        changes, declarations = by_stack.get(stack, []), review.declarations.get(stack, [])
        accessed = any(item.stack == stack for item in review.access)
        yield f"<details><summary>{_short(stack)}: {len(changes) + len(declarations)}</summary>"
        yield ""
        for change in changes[:rows]:
            yield f"- {change.name} ({_kind(change.kind)}) is {_word(change)}"
            if change.verb != "added":
                lines = [
                    line
                    for item in change.properties
                    for line in properties.lines(item, review.names, accessed=accessed)
                ]
                yield from (f"  - {line}" for line in lines[:rows])
                yield from _more(len(lines) - rows, "  - ")
        yield from _more(len(changes) - rows, "- ")
        yield from (f"- {line}" for item in declarations[:rows] for line in properties.lines(item, review.names))
        yield from _more(len(declarations) - rows, "- ")
        yield ""
        yield "</details>"


def _short(stack: str) -> str:
    """The last part of a stack's name, as in Kennel-dev-Serving."""
    return stack.rpartition("-")[2]


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|") if "\\|" not in text else text.replace("\n", " ")


def _more(number: int, bullet: str = "") -> Iterator[str]:
    if number > 0:
        yield f"{bullet}… and {number:,} more" if bullet else f"| … and {number:,} more | | | |"
