"""All facts of a change, before they are written as a comment."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from kennel.pricing.prices import Prices
from kennel.pricing.stack_costs import Cost, cost
from kennel.review.access import AccessChange, changes_of
from kennel.review.assets import AssetChange, asset_changes
from kennel.review.blockers import blockers
from kennel.review.differences import Change, Property, compare, names_of, under_new_names
from kennel.review.exposure import Exposed, exposed, rules
from kennel.review.findings import Finding, findings, new_secrets
from kennel.stage.assemblies import Side
from kennel.stage.redaction import AWS_ACCOUNTS, accounts

# What a review may refuse, and how its label begins that lets it through all the same.
REFUSALS = ("destroy", "replace", "widen", "block")
LABEL = "accept-"
DECLARED = ("Conditions", "Mappings", "Outputs", "Parameters")


@dataclass(frozen=True)
class Review:
    """All differences between two sides, with their meaning. False if there are none."""

    stage: str
    base: str
    head: str
    prices: Prices
    changes: list[Change]
    declarations: dict[str, list[Property]]
    access: list[AccessChange]
    opened: list[Exposed]
    closed: list[Exposed]
    rules: list[str]
    cost_before: dict[str, Cost]
    cost_after: dict[str, Cost]
    assets: list[AssetChange]
    new_findings: list[Finding]
    gone_findings: list[Finding]
    # Regions before and after of stacks that are to be in another.
    moved: dict[str, tuple[str, str]] = field(default_factory=dict)
    # What CloudFormation or a service would refuse.
    blocked: list[str] = field(default_factory=list)
    # The accounts of both sides, as far as they are known.
    own: frozenset[str] = frozenset()
    # Names of resources by logical id; what else a template declares has its own.
    names: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        found = (self.changes, self.declarations, self.access, self.assets, self.new_findings, self.gone_findings)
        return any((*found, self.moved))

    @property
    def widened(self) -> list[AccessChange]:
        """Principals that may do more."""
        return [item for item in self.access if item.widens]

    @property
    def month_before(self) -> float:
        """USD per month idle."""
        return sum(item.month_usd for item in self.cost_before.values())

    @property
    def month_after(self) -> float:
        """USD per month idle."""
        return sum(item.month_usd for item in self.cost_after.values())

    @property
    def most_before(self) -> float:
        """USD a month with the most instances that scaling starts."""
        return self.month_before + sum(item.grows_usd for item in self.cost_before.values())

    @property
    def most_after(self) -> float:
        """USD a month with the most instances that scaling starts."""
        return self.month_after + sum(item.grows_usd for item in self.cost_after.values())

    @property
    def over_budget(self) -> list[float]:
        """The budgets, in USD a month, that the stage costs more than idle."""
        limits = [limit for item in self.cost_after.values() for limit in item.budgets_usd]
        return [limit for limit in limits if self.month_after > limit]

    @property
    def of_others(self) -> list[AccessChange]:
        """Permissions that other accounts gain."""
        foreign = (item for item in self.widened if accounts(item.sentence) - self.own - AWS_ACCOUNTS.keys())
        return list(foreign)

    @property
    def million_before(self) -> float:
        """USD for a million requests."""
        return sum(item.million_usd for item in self.cost_before.values())

    @property
    def million_after(self) -> float:
        """USD for a million requests."""
        return sum(item.million_usd for item in self.cost_after.values())

    @property
    def unpriced(self) -> list[str]:
        """New resources without a price in the table."""
        before = {item for cost in self.cost_before.values() for item in cost.unpriced}
        return [item for cost in self.cost_after.values() for item in cost.unpriced if item not in before]

    def refused(self, fail_on: Iterable[str], labels: Iterable[str]) -> list[str]:
        """Of `fail_on`, what this change does and no label of its pull request accepts."""
        done = {
            "destroy": any(change.lost and "destroyed" in change.verb for change in self.changes),
            "replace": bool(self.moved) or any(item.lost and "replaced" in item.verb for item in self.changes),
            "widen": bool(self.widened or self.opened),
            "block": bool(self.blocked),
        }
        accepted = {label.strip().removeprefix(LABEL) for label in labels if label.strip().startswith(LABEL)}
        return [what for what in fail_on if done[what] and what not in accepted]


def review(base: Side, head: Side, stage: str, region: str, prices: Prices) -> Review:
    """Holds two sides against each other."""
    differences = compare(base, head)
    before, after = (
        {item for stack, template in side.templates.items() for item in exposed(stack, template)}
        for side in (base, head)
    )
    stacks = [difference.stack for difference in differences]
    found_before, found_after = (findings(side, stacks, region) for side in (base, head))
    changes = [change for difference in differences for change in difference.changes]
    names = _names(base, head)
    # What is only called otherwise has no more rights than it had.
    old = under_new_names(base, head, differences)
    compared = differences if old is base else compare(old, head)
    return Review(
        stage,
        base.name,
        head.name,
        prices,
        changes=changes,
        declarations={
            difference.stack: difference.declarations for difference in differences if difference.declarations
        },
        access=[
            item
            for difference in compared
            for item in changes_of(
                difference, old.templates.get(difference.stack, {}), head.templates.get(difference.stack, {})
            )
        ],
        opened=sorted(after - before, key=str),
        closed=sorted(before - after, key=str),
        rules=[rule for difference in differences for rule in rules(difference)],
        cost_before={stack: cost(template, prices) for stack, template in base.templates.items()},
        cost_after={stack: cost(template, prices) for stack, template in head.templates.items()},
        assets=asset_changes(base, head),
        new_findings=[*new_secrets(changes, names), *(item for item in found_after if item not in found_before)],
        gone_findings=[item for item in found_before if item not in found_after],
        moved={
            stack: (base.regions[stack], region)
            for stack, region in head.regions.items()
            if base.regions.get(stack, region) != region
        },
        blocked=blockers(base, head),
        own=base.accounts | head.accounts,
        names=names,
    )


def _names(*sides: Side) -> dict[str, str]:
    names: dict[str, str] = {}
    for side in sides:
        for template in side.templates.values():
            names |= {name: name for kind in DECLARED for name in template.get(kind, {})}
            names |= names_of(template)
    return names
