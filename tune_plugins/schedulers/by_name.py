"""Schedulers by name, as `TuneConfig(scheduler="asha")` gives them; the names of Ray Tune are among them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tune_plugins import arguments as checks
from tune_plugins.arguments import Mistakes
from tune_plugins.core.scheduler import TrialScheduler

__all__ = ["SCHEDULERS", "create_scheduler"]

SCHEDULERS: dict[str, str] = {
    "fifo": "FIFOScheduler",
    "asha": "ASHAScheduler",
    "async_hyperband": "AsyncHyperBandScheduler",
    "asynchyperband": "AsyncHyperBandScheduler",
    "hyperband": "HyperBandScheduler",
    "hb_bohb": "HyperBandForBOHB",
    "median_stopping_rule": "MedianStoppingRule",
    "medianstopping": "MedianStoppingRule",
    "percentile_stopping": "PercentileStopping",
    "multi_objective_asha": "MultiObjectiveASHA",
    "pbt": "PopulationBasedTraining",
    "pbt_replay": "PopulationBasedTrainingReplay",
    "pb2": "PB2",
    "resource_changing": "ResourceChangingScheduler",
}
"""{name: class of `tune_plugins.schedulers`}."""


def create_scheduler(name: str, **arguments: Any) -> TrialScheduler:
    """The scheduler of a name.

    >>> create_scheduler("asha", max_t=50)
    ASHAScheduler(max_t=50)

    Args:
        name: one of `SCHEDULERS`.
        arguments: of its class.

    Raises:
        ArgumentError: there is none of that name, or its arguments are wrong; lists all mistakes.
    """
    mistakes = Mistakes("create_scheduler")
    mistakes.found += name_mistakes("name", name)
    mistakes.raise_if_any()
    kind = getattr(import_module("tune_plugins.schedulers"), SCHEDULERS[name])
    scheduler: TrialScheduler = checks.made("create_scheduler", kind, arguments)
    return scheduler


def name_mistakes(argument: str, name: str) -> list[str]:
    """What is wrong with a name, in words."""
    return checks.name_mistakes(argument, name, SCHEDULERS, "a scheduler")
