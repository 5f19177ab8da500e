"""The contract of search algorithms: what configuration to try next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from random import Random
from typing import Any

from tune_plugins.core.metrics import Mode
from tune_plugins.space import Space

__all__ = ["Searcher", "Signal"]


class Signal(Enum):
    """What a searcher says when it has no configuration to suggest."""

    NOT_READY = "not ready"  # not now: ask again when a trial has reported or ended
    COMPLETE = "complete"  # never again


class Searcher(ABC):
    """Suggests configurations and hears how they did. One of your own needs `suggest` only.

    The engine calls `setup` once, then `suggest` with the numbers 0, 1, 2, ... until it says `Signal.COMPLETE` or
    until there are `total_trials`. After `Signal.NOT_READY` it asks again with the same number.

    A searcher must be a function of what it was told, so that an experiment can be replayed and resumed: draw random
    numbers from `rng` with the index, not from a generator that lives on. After a resume, `on_suggested` stands in
    for each earlier `suggest`, and results are told again in the old order.

    Attributes:
        reads_results: False if `on_trial_result` and the results need not be told: less work for the engine.
        space: the search space.
        metric: name of the metric to optimise, None where nothing is.
        mode: "min" or "max", None without a metric.
        seed: of the run.
        num_samples: as in `TuneConfig`.

    >>> class Halving(Searcher):
    ...     def suggest(self, trial_id, index):
    ...         return {**self.space.sample(index, self.seed), "lr": 0.5**index}
    """

    reads_results: bool = True
    space: Space
    metric: str | None = None
    mode: Mode | None = None
    seed: int = 0
    num_samples: int = 1

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # Whoever derives from a searcher that looks at no results, and looks at them himself, wants to be told.
        for each in cls.__mro__:
            if "reads_results" in vars(each):
                break
            if {"on_trial_result", "on_trial_complete"} & set(vars(each)):
                cls.reads_results = True
                break

    def setup(self, space: Space, *, metric: str | None, mode: Mode | None, seed: int, num_samples: int) -> None:
        """Take the task of a run; called before anything else, once for each run.

        Raises:
            ArgumentError: the searcher cannot work on this task; lists all reasons.
        """
        self.space, self.metric, self.mode, self.seed, self.num_samples = space, metric, mode, seed, num_samples

    @property
    def total_trials(self) -> int | None:
        """Number of trials altogether; None: not known before `suggest` says COMPLETE."""
        return self.num_samples

    def rng(self, index: int) -> Random:
        """A fresh generator for suggestion number `index`."""
        return Random(f"{self.seed}:suggest:{index}")

    @abstractmethod
    def suggest(self, trial_id: str, index: int) -> dict[str, Any] | Signal:
        """The configuration of trial number `index`, as the trainable gets it, or a signal.

        Args:
            trial_id: under which results of this configuration will be told.
            index: number of the trial, from 0.
        """

    def on_suggested(self, trial_id: str, index: int, config: dict[str, Any]) -> None:  # noqa: B027
        """You suggested this in an earlier life of the experiment: take it as said. Do not change `config`."""

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:  # noqa: B027
        """A result of a trial that goes on; told in order, when it reaches a milestone.

        ``result["config"]`` is the config that it was earned with: population based training gives a trial others than
        were suggested. Do not change it.
        """

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None, error: bool = False) -> None:  # noqa: B027
        """A trial ended; `result` is its last one, with its config, None if there was none. Called once for each."""
