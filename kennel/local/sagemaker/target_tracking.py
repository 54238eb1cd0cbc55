"""Target tracking as Application Auto Scaling does it: an alarm for each direction, proportional steps, cooldowns.

The simulator of `kennel plan` and the embedded AWS decide with it, so that what is planned is what is deployed.
Sources: AWS's documentation of target tracking for SageMaker variants; the alarms' datapoints are those that it
creates. CloudWatch's "Configuring how CloudWatch alarms treat missing data": an alarm looks back further than its
evaluation periods, and decides on the most recent datapoints that there are.
"""

import math
from collections import deque
from dataclasses import dataclass, replace

from kennel.local.settings import METRIC_DELAY_S

# How many datapoints an alarm looks back beyond its evaluation periods; CloudWatch's example has 5 for an alarm on 3.
LOOKED_BACK = 2


@dataclass(frozen=True)
class Policy:
    """A target tracking policy on a metric per instance; times in seconds."""

    # The target value for each instance, in the unit of its metric.
    target: float
    minimum: int
    maximum: int
    # The period of a datapoint: 60 for invocations, 10 for concurrent requests, whose metric is of high resolution.
    period_s: int = 60
    # CloudWatch delivers a datapoint up to this much later.
    delay_s: float = METRIC_DELAY_S
    scale_out_cooldown_s: int = 300
    scale_in_cooldown_s: int = 300
    datapoints_out: int = 3
    datapoints_in: int = 15
    # In is asked for under this share of the target, so that capacity does not swing around it.
    in_share: float = 0.9


class Tracker:
    """Decides after each datapoint how many instances there should be."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        looked_back = max(policy.datapoints_out, policy.datapoints_in) + LOOKED_BACK
        self._recent: deque[float | None] = deque(maxlen=looked_back)
        self._last_out_s = self._last_in_s = -math.inf
        self._before_out = 0

    def note(self, value: float | None) -> None:
        """Takes a datapoint, None where nothing was published, without a decision."""
        self._recent.append(value)

    def observe(self, time_s: float, value: float | None, instances: int, *, busy: bool = False) -> int:
        """Takes the datapoint that ends at `time_s`, None where nothing was published; returns the wanted count.

        `instances` is the count that was asked for last; while it is being made (`busy`), nothing else can be asked
        for. Without data neither alarm changes: nothing is scaled in on an endpoint that nobody calls.
        """
        policy = self.policy
        self.note(value)
        if busy:
            return instances
        bounded = min(max(instances, policy.minimum), policy.maximum)
        if bounded != instances:
            return bounded
        if self._breached(policy.datapoints_out, above=True):
            # During the cooldown what the last step added counts as part of the next: only a larger step is taken.
            cooling = time_s < self._last_out_s + policy.scale_out_cooldown_s
            base = self._before_out if cooling else instances
            wanted = min(_proportional(base, self._latest, policy), policy.maximum)
            if wanted > instances:
                self._last_out_s, self._before_out = time_s, base
                # A step out ends the wait of a step in.
                self._last_in_s = -math.inf
                return wanted
        elif self._breached(policy.datapoints_in, above=False):
            wanted = max(_proportional(instances, self._latest, policy), policy.minimum)
            cooling = time_s < max(self._last_in_s, self._last_out_s) + policy.scale_in_cooldown_s
            if wanted < instances and not cooling:
                self._last_in_s = time_s
                return wanted
        return instances

    def bound(self, minimum: int, maximum: int) -> None:
        """Changes the bounds, as a scheduled action does."""
        self.policy = replace(self.policy, minimum=minimum, maximum=maximum)

    @property
    def _latest(self) -> float:
        return next(value for value in reversed(self._recent) if value is not None)

    def _breached(self, datapoints: int, *, above: bool) -> bool:
        """True if the alarm breaches: the most recent `datapoints` that were published all lie beyond its threshold."""
        looked_at = list(self._recent)[-datapoints - LOOKED_BACK :]
        known = [value for value in looked_at if value is not None][-datapoints:]
        if len(known) < datapoints:
            return False
        if above:
            return all(value > self.policy.target for value in known)
        return all(value < self.policy.target * self.policy.in_share for value in known)


def _proportional(instances: int, value: float, policy: Policy) -> int:
    # Rounded first: 3 × 0.1 / 0.1 is more than 3.
    return math.ceil(round(instances * value / policy.target, 9))
