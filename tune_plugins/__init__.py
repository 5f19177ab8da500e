"""Hyper-parameter tuning for the training script that you have; ``import tune_plugins as tune``.

Names follow Ray Tune where the thing is the same. Everything is imported on first use, so that the import
itself costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tune_plugins._version import __version__ as __version__

# Every name twice: for type checkers, which read; and for Python, which is not to load any of it yet.
# isort: off
if TYPE_CHECKING:
    from tune_plugins import (
        callbacks as callbacks,
        errors as errors,
        integrations as integrations,
        logger as logger,
        schedulers as schedulers,
        search as search,
        space as space,
        stoppers as stoppers,
        testing as testing,
    )
    from tune_plugins.callbacks import Callback as Callback, ProgressReporter as ProgressReporter
    from tune_plugins.compat.analysis import ExperimentAnalysis as ExperimentAnalysis
    from tune_plugins.compat.run import (
        Experiment as Experiment,
        ResumeConfig as ResumeConfig,
        run as run,
        run_experiments as run_experiments,
    )
    from tune_plugins.config import (
        CheckpointConfig as CheckpointConfig,
        FailureConfig as FailureConfig,
        RunConfig as RunConfig,
        TuneConfig as TuneConfig,
    )
    from tune_plugins.core.stopper import Stopper as Stopper
    from tune_plugins.display.reporters import (
        CLIReporter as CLIReporter,
        JupyterNotebookReporter as JupyterNotebookReporter,
    )
    from tune_plugins.driver.ray.cluster import shutdown as shutdown
    from tune_plugins.driver.resources import PlacementGroupFactory as PlacementGroupFactory
    from tune_plugins.driver.simulated import Curve as Curve, SimulatedCluster as SimulatedCluster
    from tune_plugins.driver.trial_function import (
        register_trainable as register_trainable,
        with_parameters as with_parameters,
        with_resources as with_resources,
    )
    from tune_plugins.errors import (
        ArgumentError as ArgumentError,
        MissingDependencyError as MissingDependencyError,
        TrialError as TrialError,
        TrialStopped as TrialStopped,
        TuneError as TuneError,
    )
    from tune_plugins.record.checkpoint import Checkpoint as Checkpoint
    from tune_plugins.results import Result as Result, ResultGrid as ResultGrid, experiments as experiments
    from tune_plugins.schedulers.by_name import create_scheduler as create_scheduler
    from tune_plugins.search.by_name import create_searcher as create_searcher
    from tune_plugins.session import (
        checkpoint_dir as checkpoint_dir,
        get_checkpoint as get_checkpoint,
        get_context as get_context,
        report as report,
    )
    from tune_plugins.simulation import simulate as simulate
    from tune_plugins.space.constraints import constraint as constraint
    from tune_plugins.space.functions import *  # noqa: F403
    from tune_plugins.space.variants import Space as Space
    from tune_plugins.trainable import Trainable as Trainable
    from tune_plugins.tuner import Tuner as Tuner
else:
    # isort: on
    from tune_plugins._imports import on_first_use
    from tune_plugins.space import FUNCTIONS

    __all__, __getattr__, __dir__ = on_first_use(
        __name__,
        {
            "compat.analysis": ("ExperimentAnalysis",),
            "compat.run": ("Experiment", "ResumeConfig", "run", "run_experiments"),
            "callbacks": ("Callback", "ProgressReporter"),
            "config": ("CheckpointConfig", "FailureConfig", "RunConfig", "TuneConfig"),
            "core.stopper": ("Stopper",),
            "display.reporters": ("CLIReporter", "JupyterNotebookReporter"),
            "driver.ray.cluster": ("shutdown",),
            "driver.resources": ("PlacementGroupFactory",),
            "driver.simulated": ("Curve", "SimulatedCluster"),
            "driver.trial_function": ("register_trainable", "with_parameters", "with_resources"),
            "errors": ("ArgumentError", "MissingDependencyError", "TrialError", "TrialStopped", "TuneError"),
            "record.checkpoint": ("Checkpoint",),
            "results": ("Result", "ResultGrid", "experiments"),
            "schedulers.by_name": ("create_scheduler",),
            "search.by_name": ("create_searcher",),
            "session": ("checkpoint_dir", "get_checkpoint", "get_context", "report"),
            "simulation": ("simulate",),
            "space.constraints": ("constraint",),
            "space.functions": FUNCTIONS,
            "space.variants": ("Space",),
            "trainable": ("Trainable",),
            "tuner": ("Tuner",),
        },
        modules=(
            "callbacks",
            "errors",
            "integrations",
            "logger",
            "schedulers",
            "search",
            "space",
            "stoppers",
            "testing",
        ),
    )
