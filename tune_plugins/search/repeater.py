"""Each configuration several times, for metrics that depend on chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from tune_plugins.arguments import Mistakes
from tune_plugins.core.searcher import NEXT, Outcome, Searcher, SearchTask
from tune_plugins.search.ranking import reached
from tune_plugins.search.wrapper import Wrapper
from tune_plugins.space.domains import rebuild

TRIAL_INDEX = "__trial_index__"
"""Key of a config that says which of the repeats a trial is."""

_COUNTS = (Outcome.COMPLETED, Outcome.STOPPED, Outcome.FAILED, Outcome.INTERRUPTED, Outcome.DROPPED)
"""The outcome of a config is the first one of these that any of its trials has."""


@dataclass
class _Group:
    """The trials of one config.

    Attributes:
        leader: the first one, whose id the searcher inside knows.
        config: without a number.
    """

    leader: str
    config: dict[str, Any]
    ends: list[tuple[dict[str, Any] | None, Outcome]] = field(default_factory=list)


class Repeater(Wrapper):
    """Runs each configuration that a searcher suggests `repeat` times, and tells it the mean of the metric.

    `TuneConfig.num_samples` counts trials: 30 of them with ``repeat=3`` are 10 configurations. Where a searcher counts
    otherwise, as for a grid, each of its configurations is repeated.

    The searcher is told once for each configuration, when its last trial has ended, of the mean over the trials that
    completed; where none did, over those that were stopped early and came furthest. It hears of a failure where no
    trial did better, and of results in between only with ``repeat=1``. Population based training makes repeats go
    different ways, so that their mean says nothing: do not combine the two.

    Args:
        searcher: the searcher, or the name of one (``"tpe"``). Metric, points and seed are given to that.
        repeat: number of trials for each configuration.
        set_index: write into each config which repeat it is, from 0, as ``config["__trial_index__"]``: a number to make
            the seed of a model of, or to choose a fold by.

    Raises:
        ArgumentError: lists all mistakes.

    >>> from tune_plugins.search import BasicVariantGenerator, Space
    >>> repeater = Repeater(BasicVariantGenerator(), repeat=2)
    >>> repeater.prepare(SearchTask(Space({"x": 7}), num_samples=4))
    >>> [repeater.ask(f"{index}", index) for index in range(2)]
    [{'x': 7, '__trial_index__': 0}, {'x': 7, '__trial_index__': 1}]
    """

    def __init__(self, searcher: Searcher | str, repeat: int = 1, set_index: bool = True) -> None:
        self.repeat, self.set_index = repeat, set_index
        self._groups: dict[int, _Group] = {}
        self._number_of: dict[str, int] = {}  # of the group of a trial that has not ended
        super().__init__(searcher)

    def mistakes(self) -> list[str]:
        """See `Searcher.mistakes`."""
        found = Mistakes("Repeater", super().mistakes())
        found.whole("repeat", self.repeat, least=1)
        found.flag("set_index", self.set_index)
        return found.found

    @property
    def total_trials(self) -> int | None:
        """Number of trials, of which each configuration has `repeat`; the last one maybe less."""
        configs = self.inner.total_trials
        if configs is None:
            return None
        return self.num_samples if configs == self._configs_of(self.num_samples) else configs * self.repeat

    def _configs_of(self, trials: int | None) -> int | None:
        return None if trials is None else -(-trials // self.repeat)

    def setup(self, task: SearchTask) -> None:
        """See `Searcher.setup`."""
        super().setup(task)
        self.inner.prepare(replace(task, num_samples=self._configs_of(task.num_samples)))
        self.task, self.seed = replace(self.inner.task, num_samples=task.num_samples), self.inner.seed
        self.take_over()
        self._groups, self._number_of = {}, {}

    def suggest(self, trial_id: str, index: int = NEXT) -> Any:
        """See `Searcher.suggest`."""
        number, place = divmod(index, self.repeat)
        if place == 0:
            suggested = self.inner.ask(trial_id, number)
            if not isinstance(suggested, dict):
                return suggested
            self._groups[number] = _Group(trial_id, suggested)
        self._number_of[trial_id] = number
        config: dict[str, Any] = _copied(self._groups[number].config)
        return {**config, TRIAL_INDEX: place} if self.set_index else config

    def on_suggested(self, trial_id: str, index: int, config: dict[str, Any]) -> None:
        """See `Searcher.on_suggested`."""
        number = index // self.repeat
        if number not in self._groups:
            suggested = _without_index(config)
            self._groups[number] = _Group(trial_id, suggested)
            self.inner.on_suggested(trial_id, number, suggested)
        self._number_of[trial_id] = number

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """See `Searcher.on_trial_result`."""
        if self.repeat == 1:
            self.inner.on_trial_result(trial_id, _own(result))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
    ) -> None:
        """See `Searcher.on_trial_complete`."""
        number = self._number_of.pop(trial_id, None)
        if number is None:  # a script has told of it before
            return
        group = self._groups[number]
        group.ends.append((None if result is None else _own(result), outcome))
        total = self.total_trials
        if len(group.ends) == self.repeat or (total is not None and number * self.repeat + len(group.ends) == total):
            self.inner.on_trial_complete(group.leader, *self._together(group.ends))

    def _together(self, ends: list[tuple[dict[str, Any] | None, Outcome]]) -> tuple[dict[str, Any] | None, Outcome]:
        """One end for all: the mean of those that count."""
        counts = next(each for each in _COUNTS if any(outcome is each for _, outcome in ends))
        results = [result for result, outcome in ends if outcome is counts and result is not None]
        told = [result for result in results if self.values(result) is not None]
        if not told:
            return (results[-1] if results else None), counts
        reach = [reached(result, counts, self.task.fidelity) for result in told]
        told = [result for result, far in zip(told, reach, strict=True) if far == max(reach)]
        rows = [values for result in told if (values := self.values(result)) is not None]
        means = [fmean(column) for column in zip(*rows, strict=True)]
        return {**told[-1], **dict(zip(self.task.metrics, means, strict=True))}, counts


def _copied(value: Any) -> Any:
    """A copy of everything in a config that can be changed."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return rebuild(value, [_copied(item) for item in value])
    return value.copy() if isinstance(value, (set, bytearray)) else value


def _without_index(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != TRIAL_INDEX}


def _own(result: dict[str, Any]) -> dict[str, Any]:
    """A result as the searcher inside knows configs."""
    return {**result, "config": _without_index(result["config"])} if "config" in result else result
