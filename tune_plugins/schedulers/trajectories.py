"""What all trials stood at at any point of their training, so that a trial can be compared with them there.

Each trial is a step function of its time: from one report to the next it stands at the value of the first. A rule
such as median stopping asks for the values of all trials at time t that have reached t. Looking that up in all
results of all trials costs more with every trial; here a report and a question cost O(log) each, and the answer is
exact.

Time is cut into units, and the units are the leaves of a binary tree. The interval between two reports of a trial
is noted at the few nodes that cover it exactly (a segment tree), each of which keeps its values sorted. The values
at time t are those in the nodes above t. Trials that report at every unit (``training_iteration``) need one node
for each report.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from sortedcontainers import SortedList


class Standings:
    """The values of all trials that have reached some time, ascending.

    Args:
        parts: sorted lists which together hold the values.
    """

    def __init__(self, parts: Sequence[SortedList[float]]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def below(self, value: float) -> int:
        """How many are less than `value`."""
        return sum(part.bisect_left(value) for part in self._parts)

    def __getitem__(self, rank: int) -> float:
        """The value that has `rank` others before it."""
        if not 0 <= rank < len(self):
            raise IndexError(f"rank {rank} of {len(self)}")
        if len(self._parts) == 1:
            return float(self._parts[0][rank])
        spans = [(0, len(part)) for part in self._parts]
        while True:
            # The middle of the longest span halves it, whatever side of it the answer is on.
            longest = max(range(len(spans)), key=lambda i: spans[i][1] - spans[i][0])
            pivot = self._parts[longest][sum(spans[longest]) // 2]
            before, after = zip(*((p.bisect_left(pivot), p.bisect_right(pivot)) for p in self._parts), strict=True)
            if rank < sum(before):
                spans = [(low, min(high, cut)) for (low, high), cut in zip(spans, before, strict=True)]
            elif rank >= sum(after):
                spans = [(max(low, cut), high) for (low, high), cut in zip(spans, after, strict=True)]
            else:
                return float(pivot)

    @property
    def median(self) -> float:
        """The middle one, or the mean of the two middle ones; +inf if one of them is."""
        count = len(self)
        upper = self[count // 2]
        return upper if count % 2 else self[count // 2 - 1] / 2 + upper / 2

    def is_above_median(self, value: float) -> bool:
        """Whether `value` is strictly more than the median; cheaper than asking for the median."""
        below, count = self.below(value), len(self)
        if below > count // 2:
            return True
        if below <= (count - 1) // 2:
            return False
        return value > self.median


class Trajectories:
    """The step functions of all trials.

    Args:
        resolution: units of time in one of the time attribute; reports in the same unit are the same moment. 1 for
            whole numbers; a power of 2.
    """

    def __init__(self, resolution: int = 1) -> None:
        self._resolution = resolution
        self._nodes: dict[tuple[int, int], SortedList[float]] = {}
        self._height = 0
        self._now: dict[str, tuple[int, float]] = {}  # the last unit of each trial that goes on, and its value there

    def advance(self, trial_id: str, time: float) -> None:
        """The trial has come to `time` and stood at its old value up to there; it has no value there yet."""
        start, value = self._now.pop(trial_id, (0, math.nan))
        end = self._unit(time)
        if math.isnan(value) or end == start + 1:
            return
        leaf = self._nodes[0, start]
        leaf.remove(value)
        if not leaf:
            del self._nodes[0, start]
        for node in _cover(start, end):
            self._add(node, value)

    def note(self, trial_id: str, time: float, value: float) -> None:
        """The trial stands at `value` (not NaN) from `time` on; call `advance` before."""
        unit = self._unit(time)
        self._add((0, unit), value)
        self._now[trial_id] = unit, value

    def at(self, time: float) -> Standings:
        """The values at `time` of all trials that have come so far; a view, good until the next change."""
        unit, nodes = self._unit(time), self._nodes
        found = (nodes.get((level, unit >> level)) for level in range(self._height + 1))
        return Standings([part for part in found if part is not None])

    def end(self, trial_id: str) -> None:
        """The trial goes no further; what it was at stays."""
        self._now.pop(trial_id, None)

    def _unit(self, time: float) -> int:
        return math.floor(time * self._resolution)

    def _add(self, node: tuple[int, int], value: float) -> None:
        part = self._nodes.get(node)
        if part is None:
            part = self._nodes[node] = SortedList()
            self._height = max(self._height, node[0])
        part.add(value)


def _cover(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The fewest nodes (level, position) of the binary tree that cover the units from `start` up to `end`."""
    level = 0
    while start < end:
        if start & 1:
            yield level, start
            start += 1
        if end & 1:
            end -= 1
            yield level, end
        start, end, level = start >> 1, end >> 1, level + 1
