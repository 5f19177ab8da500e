"""How a lease and the thresholds of the user act on one result; the same on every runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tune_plugins.core.ends import End, EndCause
from tune_plugins.core.metrics import lookup
from tune_plugins.core.trial import Lease, Milestone


@dataclass(frozen=True)
class StopRule:
    """A threshold of ``RunConfig.stop``: reached at or above `value`, or at or below it where less is better."""

    name: str
    value: float
    below: bool = False

    def reached(self, value: Any) -> bool:
        """Whether a metric with this value ends the trial."""
        if not isinstance(value, (int, float)):
            return False
        return value <= self.value if self.below else value >= self.value


def reached(milestone: Milestone, result: dict[str, Any]) -> bool:
    """Whether a result is at or past a milestone."""
    value = result.get(milestone.attr)
    if value is None:
        value = lookup(result, milestone.attr)
    return isinstance(value, (int, float)) and value >= milestone.value


def end_of(result: dict[str, Any], lease: Lease, rules: Sequence[StopRule]) -> End | None:
    """Why the trial ends with this result without asking anybody; None where it does not."""
    for rule in rules:
        value = lookup(result, rule.name)
        if rule.reached(value):
            sign = "<=" if rule.below else ">="
            return End(EndCause.THRESHOLD, f"stop rule reached: {rule.name} = {value:g} {sign} {rule.value:g}")
    if lease.end is not None and reached(lease.end, result):
        reason = f"reached {lease.end.attr} {lease.end.value:g}, the end the scheduler set"
        return End(EndCause.SCHEDULED_END, reason)
    return None
