"""Rungs: the results of all trials that reached one level, kept in order."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sortedcontainers import SortedList

from tune_plugins.core.trial import Trial

KEEPS = "3 or 4 keeps the best third or quarter at each rung."
"""What a reduction factor means, for those who gave a wrong one."""


class Rung:
    """The results of all trials that reached one level of one bracket.

    Attributes:
        level: value of the time attribute at which trials are compared.
        scores: less is better, ascending; +inf for failed ones (NaN and the like), so these rank last.
    """

    def __init__(self, level: float) -> None:
        self.level = level
        self.scores: SortedList[float] = SortedList()

    @property
    def competed(self) -> int:
        """Number of trials that came with a finite score."""
        return int(self.scores.bisect_left(math.inf))

    @property
    def all_equal(self) -> bool:
        """Whether several have competed, and none was better than another."""
        return self.competed > 1 and self.scores[0] == self.scores[self.competed - 1]

    def add(self, score: float) -> int:
        """Note a score and return its rank from 1; equal scores share the better rank."""
        self.scores.add(score)
        return int(self.scores.bisect_left(score)) + 1

    def cut(self, reduction_factor: float) -> float:
        """The worst score that goes on: that of the best `places`, at least the best one; +inf with no finite score."""
        if not self.scores:
            return math.inf
        return float(self.scores[max(1, self.places(reduction_factor)) - 1])

    def places(self, reduction_factor: float) -> int:
        """How many of the best go on: floor(n / eta) as in algorithm 2, where failed trials do not count.

        A trial without a finite score has not competed: if it counted, each one that diverges would let a worse one
        go on.
        """
        return floor(self.competed / reduction_factor)


class PromotionRung(Rung):
    """A rung at which trials wait until they are among the best.

    Equal scores rank in order of the trials' numbers. Each operation costs O(log n).

    Attributes:
        number: of its bracket.
        waiting: (score, index, trial) of the trials that wait here, best first.
    """

    def __init__(self, level: float, number: int = 0) -> None:
        super().__init__(level)
        self.number = number
        self._entries: SortedList[tuple[float, int]] = SortedList()
        self.waiting: SortedList[tuple[float, int, Trial]] = SortedList(key=lambda entry: entry[:2])

    def wait(self, score: float, trial: Trial) -> int:
        """Note that the trial waits here with this score; returns its rank from 1."""
        self.scores.add(score)
        self._entries.add((score, trial.index))
        self.waiting.add((score, trial.index, trial))
        return self.rank(score, trial)

    def rank(self, score: float, trial: Trial) -> int:
        """Rank of a trial noted here, from 1, among all that ever reached the rung."""
        return int(self._entries.bisect_left((score, trial.index))) + 1

    def leave(self, score: float, trial: Trial) -> None:
        """The trial waits no longer; its result stays."""
        self.waiting.discard((score, trial.index, trial))

    def promotable(self, places: int) -> Iterator[tuple[float, int, Trial]]:
        """The waiting trials that rank among the best `places` of all, best first."""
        for entry in self.waiting:
            if self.rank(entry[0], entry[2]) > places:
                return
            yield entry


def floor(value: float) -> int:
    """The whole part, forgiving the rounding of floating-point arithmetic: 2.9999999999 is 3."""
    return math.floor(value * (1 + 1e-12) + 1e-9)


def ceil(value: float) -> int:
    """The next whole number, forgiving the rounding of floating-point arithmetic: 3.0000000001 is 3."""
    return math.ceil(value * (1 - 1e-12) - 1e-9)
