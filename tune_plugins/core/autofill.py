"""What a result has beside what was reported: whose it is, where and when it was made, what is counted since when.

Names are those of Ray Tune. All of it follows from facts that are recorded once an attempt, so that it is neither sent
nor stored with each result, but made where a result is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

__all__ = ["AUTOFILLED", "COUNTED_SINCE", "SUMMED", "Attempt"]

COUNTED_SINCE = frozenset({"time_this_iter_s", "time_since_restore", "iterations_since_restore"})
"""Numbers that are made for each result; a threshold may be set on them."""
AUTOFILLED = COUNTED_SINCE | {
    "trial_id",
    "experiment_tag",
    "config",
    "date",
    "done",
    "pid",
    "hostname",
    "node_ip",
}
"""All names that are made where a result is read."""
SUMMED = {"timesteps_this_iter": "timesteps_total", "episodes_this_iter": "episodes_total"}
"""What is added up where it is reported: {number of one report: name of the sum}."""


@dataclass(slots=True)
class Attempt:
    """One stretch of a trial's training: from its start, or from a state that it went on with.

    Args:
        pid, hostname, node_ip: of the process; 0 and empty where it is not known.
        iteration, elapsed: `training_iteration` and `time_total_s` (seconds) of the state it began with.
    """

    pid: int = 0
    hostname: str = ""
    node_ip: str = ""
    iteration: int = 0
    elapsed: float = 0.0
    _at: int = field(init=False)
    _newest: float = field(init=False)
    _before: float = field(init=False)

    def __post_init__(self) -> None:
        self.go_on_from(self.iteration, self.elapsed)

    def go_on_from(self, iteration: int, elapsed: float) -> None:
        """Count from another state on."""
        self.iteration = self._at = iteration
        self.elapsed = self._newest = self._before = elapsed

    def passed(self, elapsed: float) -> None:
        """The newest result before the next one that is asked about was made at this `time_total_s`."""
        self._newest = elapsed

    def counted(self, result: Mapping[str, Any]) -> dict[str, float]:
        """`COUNTED_SINCE` for the next result; to be asked once for each, in order."""
        iteration, total = result.get("training_iteration"), result.get("time_total_s")
        if not isinstance(iteration, int) or not isinstance(total, (int, float)):
            return {}
        if iteration != self._at:  # else it is more of the same iteration
            self._at, self._before = iteration, self._newest
        self._newest = total
        return {
            "time_this_iter_s": total - self._before,
            "time_since_restore": total - self.elapsed,
            "iterations_since_restore": iteration - self.iteration,
        }

    def filled(
        self, result: Mapping[str, Any], *, trial_id: str, config: Mapping[str, Any], experiment_tag: str, done: bool
    ) -> dict[str, Any]:
        """The next result with all of `AUTOFILLED`; what was reported under one of these names stays."""
        added = {
            **self.counted(result),
            "done": done,
            "date": date_of(result.get("timestamp")),
            "trial_id": trial_id,
            "experiment_tag": experiment_tag,
            "pid": self.pid,
            "hostname": self.hostname,
            "node_ip": self.node_ip,
        }
        filled = {**result, **added, "config": config}
        for name in added.keys() & result.keys():
            filled[name] = result[name]
        return filled


def add_up(result: dict[str, Any], sums: dict[str, Any]) -> None:
    """Add the sums of `SUMMED` to a result that has the numbers; a sum that was reported stays, and is gone on from.

    Args:
        result: of one report; is changed.
        sums: those so far; is changed.
    """
    for each, total in SUMMED.items():
        if isinstance(number := result.get(each), (int, float)):
            sums[total] = result.setdefault(total, sums.get(total, 0) + number)


def date_of(timestamp: Any) -> str:
    """Local time as ``2026-03-01_12-30-00``; empty where there is no such time.

    Args:
        timestamp: seconds since the epoch.
    """
    if not isinstance(timestamp, (int, float)) or not math.isfinite(timestamp):
        return ""
    return _date(int(timestamp))


@lru_cache(maxsize=256)
def _date(second: int) -> str:
    try:
        return datetime.fromtimestamp(second).strftime("%Y-%m-%d_%H-%M-%S")
    except (ValueError, OverflowError, OSError):
        return ""
