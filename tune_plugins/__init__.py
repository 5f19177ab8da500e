"""Hyper-parameter tuning for the training script that you have; ``import tune_plugins as tune``.

Names follow Ray Tune where the thing is the same. Everything is imported on first use, so that the import
itself costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tune_plugins._lazy import on_first_use
from tune_plugins._version import __version__

if TYPE_CHECKING:
    from tune_plugins.callbacks import Callback
    from tune_plugins.config import CheckpointConfig, FailureConfig, RunConfig, TuneConfig
    from tune_plugins.driver.ray.cluster import shutdown
    from tune_plugins.driver.resources import PlacementGroupFactory
    from tune_plugins.driver.simulated import Curve, SimulatedCluster
    from tune_plugins.driver.trial_function import with_parameters, with_resources
    from tune_plugins.errors import ArgumentError, MissingDependencyError, TrialError, TrialStopped, TuneError
    from tune_plugins.record.checkpoint import Checkpoint
    from tune_plugins.results import Result, ResultGrid
    from tune_plugins.session import get_checkpoint, get_context, report
    from tune_plugins.simulation import simulate
    from tune_plugins.space import (
        choice,
        grid_search,
        lograndint,
        loguniform,
        normal,
        qlograndint,
        qloguniform,
        qrandint,
        qrandn,
        quniform,
        randint,
        randn,
        sample_from,
        uniform,
    )
    from tune_plugins.trainable import Trainable
    from tune_plugins.tuner import Tuner

_HOMES = {
    "callbacks": ["Callback"],
    "config": ["CheckpointConfig", "FailureConfig", "RunConfig", "TuneConfig"],
    "driver.ray.cluster": ["shutdown"],
    "driver.resources": ["PlacementGroupFactory"],
    "driver.simulated": ["Curve", "SimulatedCluster"],
    "driver.trial_function": ["with_parameters", "with_resources"],
    "errors": ["ArgumentError", "MissingDependencyError", "TrialError", "TrialStopped", "TuneError"],
    "record.checkpoint": ["Checkpoint"],
    "results": ["Result", "ResultGrid"],
    "session": ["get_checkpoint", "get_context", "report"],
    "simulation": ["simulate"],
    "space": [
        "choice",
        "grid_search",
        "lograndint",
        "loguniform",
        "normal",
        "qlograndint",
        "qloguniform",
        "qrandint",
        "qrandn",
        "quniform",
        "randint",
        "randn",
        "sample_from",
        "uniform",
    ],
    "trainable": ["Trainable"],
    "tuner": ["Tuner"],
}
_MODULES = ("callbacks", "schedulers", "search", "stoppers", "testing")

__all__ = [
    "ArgumentError",
    "Callback",
    "Checkpoint",
    "CheckpointConfig",
    "Curve",
    "FailureConfig",
    "MissingDependencyError",
    "PlacementGroupFactory",
    "Result",
    "ResultGrid",
    "RunConfig",
    "SimulatedCluster",
    "Trainable",
    "TrialError",
    "TrialStopped",
    "TuneConfig",
    "TuneError",
    "Tuner",
    "__version__",
    "choice",
    "get_checkpoint",
    "get_context",
    "grid_search",
    "lograndint",
    "loguniform",
    "normal",
    "qlograndint",
    "qloguniform",
    "qrandint",
    "qrandn",
    "quniform",
    "randint",
    "randn",
    "report",
    "sample_from",
    "shutdown",
    "simulate",
    "uniform",
    "with_parameters",
    "with_resources",
]


__getattr__ = on_first_use(__name__, _HOMES, _MODULES)


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
