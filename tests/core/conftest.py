"""Experiments whose invariants are checked after each event and after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from core_driver import CheckedExperiment, ListSearcher

from tune_plugins.core.experiment import Rules
from tune_plugins.schedulers import FIFOScheduler, TrialScheduler
from tune_plugins.search import Searcher
from tune_plugins.stoppers import Stopper

MakeExperiment = Callable[..., CheckedExperiment]


@pytest.fixture
def make() -> Iterator[MakeExperiment]:
    """Makes an experiment of `configs` (a list, a number of empty ones, or a searcher) and fields of `Rules`."""
    made: list[CheckedExperiment] = []

    def factory(
        configs: Sequence[dict[str, Any]] | int | Searcher = 1,
        scheduler: TrialScheduler | None = None,
        stopper: Stopper | None = None,
        suggestions: dict[int, dict[str, Any]] | None = None,
        **rules: Any,
    ) -> CheckedExperiment:
        if isinstance(configs, int):
            configs = [{} for _ in range(configs)]
        searcher = configs if isinstance(configs, Searcher) else ListSearcher(configs)
        scheduler = scheduler or FIFOScheduler()
        asked = Rules(**rules)
        scheduler.setup(metric=asked.metric, mode=asked.mode, seed=asked.seed)
        experiment = CheckedExperiment(searcher, scheduler, asked, stopper, suggestions or {})
        made.append(experiment)
        return experiment

    yield factory
    for experiment in made:
        experiment.validate()
