"""Where modules and names of Ray Tune are here, so that a script moves over by one word in its imports.

``import tune_plugins.stopper`` finds what ``ray.tune.stopper`` has: `tune_plugins._imports` asks `alias` for a module
that is not there. Type checkers know the real modules only, which the documentation names.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType

from tune_plugins._imports import names_from

TOP = "tune_plugins"

HOMES: Mapping[str, tuple[str, ...]] = {
    "analysis": ("compat.analysis",),
    "analysis.experiment_analysis": ("compat.analysis",),
    "callback": ("callbacks",),
    "context": ("session",),
    "error": ("errors",),
    "experiment": ("compat.run", "core.trial"),
    "experiment.experiment": ("compat.run",),
    "experiment.trial": ("core.trial",),
    "integration": ("integrations",),
    "integration.keras": ("integrations.keras",),
    "integration.lightgbm": ("integrations.lightgbm",),
    "integration.lightning": ("integrations.lightning",),
    "integration.pytorch_lightning": ("integrations.lightning",),
    "integration.xgboost": ("integrations.xgboost",),
    "logger.aim": ("logger",),
    "logger.json": ("logger",),
    "logger.csv": ("logger",),
    "logger.logger": ("logger",),
    "logger.tensorboardx": ("logger",),
    "progress_reporter": ("display.reporters", "callbacks"),
    "registry": ("driver.trial_function",),
    "result": ("compat.result",),
    "result_grid": ("results",),
    "schedulers.async_hyperband": ("schedulers",),
    "schedulers.hb_bohb": ("schedulers",),
    "schedulers.median_stopping_rule": ("schedulers",),
    "schedulers.resource_changing_scheduler": ("schedulers",),
    "schedulers.trial_scheduler": ("schedulers",),
    "search.concurrency_limiter": ("search",),
    "search.sample": ("space",),
    "search.searcher": ("search",),
    "stopper": ("stoppers",),
    "stopper.experiment_plateau": ("stoppers",),
    "stopper.function_stopper": ("stoppers",),
    "stopper.maximum_iteration": ("stoppers",),
    "stopper.noop": ("stoppers",),
    "stopper.stopper": ("stoppers",),
    "stopper.timeout": ("stoppers",),
    "stopper.trial_plateau": ("stoppers",),
    "tune": ("",),
    "tune_config": ("config", "compat.run"),
    "utils": ("trainable", "compat.utils"),
    "utils.util": ("trainable", "compat.utils"),
    "utils.log": ("compat.utils",),
}
"""{module of ``ray.tune``: those here that have its names, below `TOP`; empty: `TOP` itself}."""

INSTEAD: Mapping[str, str] = {
    "AirVerbosity": "Write RunConfig(verbose=0), 1 or 2.",
    "FunctionTrainable": "Give the training function itself to Tuner.",
    "Preprocessor": "Prepare the data in the training function, or hand it over by with_parameters.",
    "RayTrainReportCallback": "Write from tune_plugins.integrations.lightning import TuneReportCheckpointCallback.",
    "RemoteReporterMixin": "A reporter runs in the process of the driver.",
    "ScalingConfig": "What a trial takes says with_resources(train, {'cpu': 2, 'gpu': 1}).",
    "SyncConfig": "Nothing is uploaded while a run goes on: give RunConfig(storage_path=...), and copy the folder.",
    "Syncer": "Nothing is uploaded while a run goes on: give RunConfig(storage_path=...), and copy the folder.",
    "TorchTrainer": "A trial may start processes of its own: train in the training function, with Lightning or torch.",
    "TuneContext": "It is TrialContext: from tune_plugins.session import TrialContext.",
    "TuneReporterBase": "Derive from ProgressReporter, or from CLIReporter.",
    "generate_variants": "Write tune_plugins.Space(param_space).variant(seed, index).",
    "register_env": "Environments are RLlib's: register them in the training function, with gymnasium.register.",
    "session": "Write tune_plugins.report(...), get_checkpoint() and get_context().",
    "set_verbosity": "Write RunConfig(verbose=0), 1 or 2.",
    "wait_for_gpu": "Not needed: a worker that trained before has given its memory back, or has ended.",
    "wrap_function": "Give the training function itself to Tuner.",
}
"""{name of Ray's: what to write}."""


def alias(name: str) -> ModuleType | None:
    """A module of Ray Tune's that is somewhere else here; None: there is none.

    Args:
        name: below `TOP`, e.g. ``"stopper"``.
    """
    if name not in HOMES:
        return None
    homes = [f"{TOP}.{home}".rstrip(".") for home in HOMES[name]]
    module = ModuleType(f"{TOP}.{name}", f"What ray.tune.{name} has; here it is in {' and '.join(homes)}.")
    names = names_of(homes[0])
    get = names_from(module.__name__, homes)
    module.__dict__.update(__path__=[], __all__=names, __getattr__=get, __dir__=lambda: names)
    return module


def names_of(module: str) -> list[str]:
    """The public names of a module."""
    return list(importlib.import_module(module).__all__)
