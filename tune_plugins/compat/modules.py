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
    "execution": ("core.resources",),
    "execution.placement_groups": ("core.resources",),
    "experiment": ("compat.run", "core.trial"),
    "experiment.experiment": ("compat.run",),
    "experiment.trial": ("core.trial",),
    "integration": ("integrations",),
    "integration.comet": ("logger",),
    "integration.keras": ("integrations.keras",),
    "integration.lightgbm": ("integrations.lightgbm",),
    "integration.lightning": ("integrations.lightning",),
    "integration.mlflow": ("logger",),
    "integration.pytorch_lightning": ("integrations.lightning",),
    "integration.wandb": ("logger",),
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
    "sample": ("space",),
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
    "suggest": ("search",),
    "suggest.basic_variant": ("search",),
    "suggest.hyperopt": ("search",),
    "suggest.optuna": ("search",),
    "suggest.repeater": ("search",),
    "suggest.suggestion": ("search",),
    "trial": ("core.trial",),
    "tune": ("",),
    "tune_config": ("config", "compat.run"),
    "utils": ("trainable", "compat.utils"),
    "utils.util": ("trainable", "compat.utils"),
    "utils.log": ("compat.utils",),
    "utils.placement_groups": ("core.resources",),
    "utils.trainable": ("driver.trial_function",),
}
"""{module of ``ray.tune``, of today or earlier: those here that have its names, below `TOP`; empty: `TOP` itself}."""

ABSENT: Mapping[str, str] = {
    "automl": "Give Tuner a search space and a searcher.",
    "cli": "There is no command: ResultGrid(folder).get_dataframe(), or ExperimentAnalysis(folder), in Python.",
    "commands": "There is no command: ResultGrid(folder).get_dataframe(), or ExperimentAnalysis(folder), in Python.",
    "durable_trainable": "Every trial goes on from its last checkpoint: FailureConfig(max_failures=3).",
    "examples": "Those of this project are in its folder examples/.",
    "execution": "It is Ray Tune's own loop. What a run tells of itself: tune_plugins.callbacks.Callback.",
    "impl": "It is Ray Tune's own. Write tune_plugins.Tuner.",
    "integration.docker": "Ray's cluster launcher starts the containers.",
    "integration.kubernetes": "KubeRay starts the nodes.",
    "integration.torch": "A trial may start processes of its own: train in the training function.",
    "sync_client": "Nothing is uploaded while a run goes on: give RunConfig(storage_path=...), and copy the folder.",
    "syncer": "Nothing is uploaded while a run goes on: give RunConfig(storage_path=...), and copy the folder.",
    "track": "Write tune_plugins.report(...).",
    "trial_runner": "It is Ray Tune's own loop. Write tune_plugins.Tuner.",
    "web_server": "The record of a run may be read while it goes on: ResultGrid(folder).",
}
"""{module of ``ray.tune`` that has no counterpart: what to write in place of it and of what is in it}."""

INSTEAD: Mapping[str, str] = {
    "AimLoggerCallback": "Write TBXLoggerCallback, MLflow, W&B or Comet, or derive from LoggerCallback.",
    "AirVerbosity": "Write RunConfig(verbose=0), 1 or 2.",
    "Analysis": "Write ExperimentAnalysis(folder).",
    "BOHB": "Write OptunaSearch() with HyperBandForBOHB().",
    "BaseSampler": "A domain samples itself: domain.sample(rng).",
    "CallbackList": "Give RunConfig(callbacks=[...]) all of them.",
    "DEBUG_METRICS": "Write the names: trial_id, date, timestamp, pid, hostname, node_ip, config.",
    "DEFAULT_EXPERIMENT_INFO_KEYS": "Ray's own loop uses it.",
    "DEFAULT_EXPERIMENT_NAME": "A run without a name is called after its trainable and the time.",
    "EPISODE_REWARD_MEAN": "Write the name of your metric.",
    "EXPR_ERROR_FILE": "Result.error has the error, experiment.db all of them.",
    "EXPR_ERROR_PICKLE_FILE": "Result.error is the exception.",
    "EXPR_META_FILE": "The record is experiment.db: ResultGrid(folder) reads it.",
    "EXPR_PARAM_FILE": "callbacks=['json'] writes params.json; Result.config has the same.",
    "EXPR_PARAM_PICKLE_FILE": "No pickles are written: Result.config.",
    "EXPR_PROGRESS_FILE": "callbacks=['csv'] writes progress.csv; Result.metrics_dataframe has the same.",
    "EXPR_RESULT_FILE": "callbacks=['json'] writes result.json; Result.metrics_dataframe has the same.",
    "ExportFormat": "Checkpoints are data: Result.checkpoint.load_model() makes a model of one.",
    "FunctionTrainable": "Give the training function itself to Tuner.",
    "Grid": "Write grid_search([...]).",
    "JOB_META_FILE": "The record is experiment.db: ResultGrid(folder) reads it.",
    "LogUniform": "Write loguniform(lower, upper).",
    "Preprocessor": "Prepare the data in the training function, or hand it over by with_parameters.",
    "Quantized": "Write quniform(lower, upper, q) and the like.",
    "RESULT_DUPLICATE": "Ray's own loop uses it.",
    "RayTrainReportCallback": "Write from tune_plugins.integrations.lightning import TuneReportCheckpointCallback.",
    "RecursiveDependencyError": "A sample_from that needs itself is an ArgumentError.",
    "RemoteReporterMixin": "A reporter runs in the process of the driver.",
    "ReportCheckpointCallback": "Write from tune_plugins.integrations.keras import TuneReportCheckpointCallback.",
    "STDERR_FILE": "Write RunConfig(log_to_file=True): the file is stderr.",
    "STDOUT_FILE": "Write RunConfig(log_to_file=True): the file is stdout.",
    "Sampler": "A domain samples itself: domain.sample(rng).",
    "ScalingConfig": "What a trial takes says with_resources(train, {'cpu': 2, 'gpu': 1}).",
    "SyncConfig": "Nothing is uploaded while a run goes on: give RunConfig(storage_path=...), and copy the folder.",
    "Syncer": "Nothing is uploaded while a run goes on: give RunConfig(storage_path=...), and copy the folder.",
    "TRIAL_INFO": "Ray's own loop uses it.",
    "Tee": "Write RunConfig(log_to_file=True).",
    "TorchTrainer": "A trial may start processes of its own: train in the training function, with Lightning or torch.",
    "TrialProgressCallback": "The built-in display does this: RunConfig(verbose=1), or a CLIReporter.",
    "TuneContext": "It is TrialContext: from tune_plugins.session import TrialContext.",
    "TuneController": "A scheduler may call it what it likes: leave the import and the type hint out.",
    "TuneReporterBase": "Derive from ProgressReporter, or from CLIReporter.",
    "Uniform": "Write uniform(lower, upper).",
    "TuneReportCallback": "Each framework has its own: tune_plugins.integrations.xgboost.TuneReportCallback, ...",
    "UtilMonitor": "Look with nvidia-smi and top.",
    "assign_value": "Ray's own loop uses it.",
    "date_str": "Write datetime.now().",
    "deep_update": "Write merge_dicts(original, new).",
    "diagnose_serialization": "The run says what cannot be sent to another process, and where it is.",
    "disable_ipython": "Not needed.",
    "format_vars": "trial.experiment_tag has the hyper-parameters in one word.",
    "generate_variants": "Write tune_plugins.Space(param_space).variant(seed, index).",
    "get_trainable_cls": "Hand the function or class over itself, in place of its name.",
    "get_trial_dir": "Write get_context().get_trial_dir().",
    "get_trial_id": "Write get_context().get_trial_id().",
    "get_trial_name": "Write get_context().get_trial_name().",
    "has_verbosity": "A reporter is only called where it is to show something.",
    "is_function_trainable": "Write inspect.isfunction(trainable).",
    "is_session_enabled": "Write tune_plugins.session.current() is not None.",
    "parse_spec_vars": "Ray's own loop uses it.",
    "register_env": "Environments are RLlib's: register them in the training function, with gymnasium.register.",
    "register_input": "RLlib's.",
    "registry_contains_input": "RLlib's.",
    "registry_get_input": "RLlib's.",
    "retry_fn": "Trials are tried again: FailureConfig(max_failures=3).",
    "session": "Write tune_plugins.report(...), get_checkpoint() and get_context().",
    "set_verbosity": "Write RunConfig(verbose=0), 1 or 2.",
    "unflattened_lookup": "Write flatten_dict(lookup)[flat_key].",
    "validate_trainable": "Tuner checks it, and says what is wrong.",
    "validate_warmstart": "Searchers check points_to_evaluate themselves.",
    "wait_for_gpu": "Not needed: a worker that trained before has given its memory back, or has ended.",
    "warn_if_slow": "The run tells what it waits for after ten seconds.",
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


def instead_of(name: str) -> str:
    """What to write in place of a module of Ray Tune's that is not here at all; empty where nobody knows it.

    Args:
        name: below `TOP`, e.g. ``"syncer"`` or ``"search.bohb"``.
    """
    room, _, inner = name.partition(".")
    if room in ("search", "suggest") and inner:
        return str(importlib.import_module(f"{TOP}.search.absent").instead(inner.partition(".")[0]))
    return ABSENT.get(name) or ABSENT.get(room, "")


def names_of(module: str) -> list[str]:
    """The public names of a module."""
    return list(importlib.import_module(module).__all__)
