"""What the table in a terminal and that in a notebook have in common: a picture that is drawn anew in its place."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tune_plugins.display.frame import machine_memory, picture
from tune_plugins.display.lines import Line
from tune_plugins.display.reporter import Reporter
from tune_plugins.display.table import TrialTable

if TYPE_CHECKING:
    from rich.console import Console

    from tune_plugins.display.reporters import CLIReporter

_SHARE = 0.02
"""At most this share of the driver's time goes into drawing."""

_LAST_ROWS = 10
_MEMORY_EVERY_S = 2.0


class DrawnDisplay(Reporter):
    """Base of displays that draw a picture: at most every `interval_s`, and at most 2 % of the driver's time.

    Attributes:
        drawn: number of times the picture was drawn anew.
    """

    interval_s = 0.25
    ascii_only = False

    def __init__(
        self,
        console: Console,
        verbose: int = 1,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        reporter: CLIReporter | None = None,
    ) -> None:
        super().__init__(console, verbose, clock, wall)
        self.drawn = 0
        self._reporter = reporter
        self._most = None if reporter is None else reporter.max_progress_rows
        self._table = self._new_table()
        self._next = 0.0
        self._memory = ""
        self._memory_next = 0.0

    @abstractmethod
    def size(self) -> tuple[int, int] | None:
        """Columns and rows that there are; None: nothing is shown now."""

    @abstractmethod
    def show(self, lines: Sequence[Line]) -> None:
        """Put these lines in the place of those before."""

    def begin(self) -> None:
        """Show the first picture."""
        self._table = self._new_table()
        self.step(self.began)

    def step(self, now: float) -> None:
        """Draw if it is time."""
        if now >= self._next:
            cost = time.perf_counter()
            self._draw(now)
            cost = time.perf_counter() - cost
            self._next = now + max(self.interval_s, cost / _SHARE)

    def end(self) -> None:
        """Leave the running trials and the best others to be seen."""
        try:
            self._draw(self.clock(), most=_LAST_ROWS)
        finally:
            self.abandon()

    def _new_table(self) -> TrialTable:
        from tune_plugins.display.reporters import columns_of

        return TrialTable(None if self._reporter is None else columns_of(self._reporter))

    def _draw(self, now: float, most: int | None = None) -> None:
        if (size := self.size()) is None:
            return
        if now >= self._memory_next:
            self._memory, self._memory_next = machine_memory(), now + _MEMORY_EVERY_S
        columns, rows = size
        lines = picture(
            self.progress,
            self.notes,
            columns=columns,
            rows=rows,
            elapsed=self.elapsed,
            now=self.time_of_trials(),
            memory=self._memory,
            most=most or self._most,
            ascii_only=self.ascii_only,
            table=self._table,
        )
        self.drawn += 1
        self.show(lines)
