"""At most so many trials of a searcher at a time."""

from __future__ import annotations

from typing import Any

from tune_plugins.arguments import Mistakes
from tune_plugins.core.searcher import NEXT, Outcome, Searcher, SearchTask, Signal
from tune_plugins.search.wrapper import Wrapper


class ConcurrencyLimiter(Wrapper):
    """Lets a searcher see the end of some trials before it suggests the next: at most `max_concurrent` run at a time.

    A searcher that learns from results suggests better, the more of them it knows; the price is slots that stand idle.
    One whose ``set_max_concurrency(max_concurrent)`` returns True keeps to the limit itself, and is left to it.

    Args:
        searcher: the searcher, or the name of one (``"tpe"``). Metric, points and seed are given to that.
        max_concurrent: number of trials.
        batch: in batches of that size: the searcher is told how trials ended, and asked again, when the whole batch has
            ended. Results of trials that go on are told at once.

    Raises:
        ArgumentError: lists all mistakes.

    >>> from tune_plugins.search import BasicVariantGenerator, Space
    >>> limited = ConcurrencyLimiter(BasicVariantGenerator(), max_concurrent=1)
    >>> limited.prepare(SearchTask(Space({"x": 1}), num_samples=2))
    >>> limited.ask("a", 0), limited.ask("b", 1)
    ({'x': 1}, <Signal.NOT_READY: 'not ready'>)
    >>> limited.on_trial_complete("a", {"loss": 0.5})
    >>> limited.ask("b", 1)
    {'x': 1}
    """

    def __init__(self, searcher: Searcher | str, max_concurrent: int, batch: bool = False) -> None:
        self.max_concurrent, self.batch = max_concurrent, batch
        self._live: set[str] = set()
        self._batches: list[list[str]] = []  # not told of yet; several only where a run is resumed
        self._ended: dict[str, tuple[dict[str, Any] | None, Outcome]] = {}  # in the order of their ends
        self._waits = False  # the searcher inside had nothing to suggest when it was asked last
        super().__init__(searcher)
        self._limits = not self._hand_over()

    def mistakes(self) -> list[str]:
        """See `Searcher.mistakes`."""
        found = Mistakes("ConcurrencyLimiter", super().mistakes())
        remedy = "Leave ConcurrencyLimiter out for no limit."
        found.whole("max_concurrent", self.max_concurrent, least=1, remedy=remedy)
        found.flag("batch", self.batch)
        return found.found

    @property
    def total_trials(self) -> int | None:
        """That of the searcher inside."""
        return self.inner.total_trials

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Set another limit; True: it is kept to here."""
        self.max_concurrent = max_concurrent
        Mistakes("ConcurrencyLimiter", self.mistakes()).raise_if_any()
        self._limits = not self._hand_over()
        return True

    def _hand_over(self) -> bool:
        method = getattr(self.searcher, "set_max_concurrency", None)
        return callable(method) and bool(method(self.max_concurrent))

    def setup(self, task: SearchTask) -> None:
        """See `Searcher.setup`."""
        super().setup(task)
        self.inner.prepare(task)
        self.task, self.seed = self.inner.task, self.inner.seed
        self.take_over()
        self._live, self._batches, self._ended, self._waits = set(), [], {}, False

    def suggest(self, trial_id: str, index: int = NEXT) -> Any:
        """See `Searcher.suggest`."""
        if not self._has_room():
            return Signal.NOT_READY
        suggested = self.inner.ask(trial_id, index)
        if not isinstance(suggested, dict) and self._batches and self._has_ended(self._batches[0]):
            # It waits for something, maybe for trials of which it has not heard since their batch is not full.
            self._tell(self._batches[0])
            suggested = self.inner.ask(trial_id, index)
        self._waits = not isinstance(suggested, dict)
        if not self._waits:
            self._join(trial_id)
        return suggested

    def _has_room(self) -> bool:
        if not self._limits:
            return True
        if not self.batch:
            return len(self._live) < self.max_concurrent
        return not self._batches or (len(self._batches) == 1 and len(self._batches[0]) < self.max_concurrent)

    def _join(self, trial_id: str) -> None:
        if not self.batch or not self._limits:
            self._live.add(trial_id)
            return
        if not self._batches or len(self._batches[-1]) == self.max_concurrent:
            self._batches.append([])
        self._batches[-1].append(trial_id)

    def on_suggested(self, trial_id: str, index: int, config: dict[str, Any]) -> None:
        """See `Searcher.on_suggested`."""
        self.inner.on_suggested(trial_id, index, config)
        self._join(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
    ) -> None:
        """See `Searcher.on_trial_complete`."""
        if not self.batch or not self._limits:
            self._live.discard(trial_id)
            self.inner.on_trial_complete(trial_id, result, outcome)
            return
        self._ended[trial_id] = result, outcome
        for batch in list(self._batches):
            if (self._waits or len(batch) == self.max_concurrent) and self._has_ended(batch):
                self._tell(batch)

    def _has_ended(self, batch: list[str]) -> bool:
        return all(trial_id in self._ended for trial_id in batch)

    def _tell(self, batch: list[str]) -> None:
        self._batches.remove(batch)
        for trial_id in [ended for ended in self._ended if ended in batch]:
            self.inner.on_trial_complete(trial_id, *self._ended.pop(trial_id))
