"""The whole of `hyperparameter_search`: what the Trainer asks its back end for Ray Tune to do, done by this engine."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from inspect import signature
from typing import Any, TypeVar, get_args

from transformers import Trainer
from transformers.hyperparameter_search import (
    ALL_HYPERPARAMETER_SEARCH_BACKENDS,
    HyperParamSearchBackendBase,
    RayTuneBackend,
)
from transformers.trainer_utils import BestRun, HPSearchBackend, IntervalStrategy, default_compute_objective

from tune_plugins.arguments import Mistakes, did_you_mean, is_whole
from tune_plugins.compat.analysis import ExperimentAnalysis
from tune_plugins.config import CheckpointConfig, FailureConfig, RunConfig, TuneConfig
from tune_plugins.core.metrics import Mode, Scope
from tune_plugins.core.scheduler import FIFOScheduler
from tune_plugins.driver.trial_function import with_parameters, with_resources
from tune_plugins.errors import ArgumentError, TuneError
from tune_plugins.integrations._transformers_trial import SEARCH, bare, objective
from tune_plugins.space.functions import choice, loguniform, randint
from tune_plugins.tuner import Tuner

T = TypeVar("T")
logger = logging.getLogger(__name__)

_MODES: Mapping[str, Mode] = {"minimize": "min", "maximize": "max", "min": "min", "max": "max"}
_KINDS = (TuneConfig, RunConfig, CheckpointConfig, FailureConfig)
_ALSO = {
    "local_dir": "storage_path",
    "keep_checkpoints_num": "num_to_keep",
    "checkpoint_freq": "checkpoint_frequency",
    "checkpoint_score_attr": "checkpoint_score_attribute",
}
"""{name of an argument in Ray Tune: name here}."""
_ELSEWHERE = {
    "backend": "Leave it out.",
    "num_samples": "Write n_trials=.",
    "config": "Write hp_space=.",
    "param_space": "Write hp_space=.",
    "n_jobs": "Write max_concurrent_trials=.",
}


def search(
    trainer: Any,
    hp_space: Callable[[Any], Mapping[str, Any]] | None,
    n_trials: int,
    direction: str | list[str],
    compute_objective: Callable[[dict[str, float]], Any] | None,
    hp_name: Callable[[Any], str] | None,
    given: Mapping[str, Any],
) -> BestRun | list[BestRun]:
    """See `tune_plugins.integrations.transformers.hyperparameter_search`; `given`: all other arguments."""
    mistakes = Mistakes(SEARCH)
    modes = _modes(direction, mistakes)
    names = [f"objective_{number}" for number in range(len(modes))] if isinstance(direction, list) else ["objective"]
    mistakes.function("compute_objective", compute_objective, "of the metrics", arguments=1, none=True)
    if len(names) > 1 and compute_objective is None:
        mistakes.add(
            f"compute_objective: expected a function that returns {len(names)} numbers, one a direction, got None. "
            "Write e.g. compute_objective=lambda metrics: [metrics['eval_loss'], metrics['eval_accuracy']]."
        )
    mistakes.function("hp_name", hp_name, "of the hyper-parameters that returns a name", arguments=1, none=True)
    if not (is_whole(n_trials) and n_trials == -1):
        mistakes.whole("n_trials", n_trials, least=1, remedy="-1: as many as there is time for, until time_budget_s.")
    scope: Any = os.environ.get("RAY_SCOPE", "last")
    mistakes.one_of("RAY_SCOPE", scope, get_args(Scope), remedy="Leave the environment variable out for 'last'.")
    settings = {name: value for name, value in given.items() if value is not None}
    complain = settings.pop("raise_on_failed_trial", True)
    if hp_name is not None:
        settings.setdefault("trial_name_creator", lambda trial: str(hp_name(dict(trial.config))))
    resources = settings.pop("resources_per_trial", None)
    if _is_right(trainer, mistakes):
        if trainer.args.eval_strategy == IntervalStrategy.NO and _compares(settings.get("scheduler")):
            mistakes.add(
                f"scheduler: expected none, since the TrainingArguments say eval_strategy='no', got "
                f"{settings['scheduler']!r}, which compares trials while they train. Write eval_strategy='epoch' there."
            )
        resources = resources or {"cpu": 1, **({"gpu": 1} if trainer.args.n_gpu > 0 else {})}
    several = len(names) > 1
    objectives = {"metric": names if several else names[0], "mode": modes if several else modes[0]}
    tune, run = _configs({**objectives, **settings}, mistakes)
    if not mistakes.found:
        tune = replace(tune, num_samples=n_trials)
    trainable = with_parameters(objective, trainer=trainer, objectives=names)
    with _noting(mistakes):
        trainable = with_resources(trainable, resources)
    space = _space(hp_space or default_hp_space, mistakes)
    with _noting(mistakes):
        tuner = Tuner(trainable, param_space=space, tune_config=tune, run_config=run)
    mistakes.raise_if_any()
    unknown = [name for name in space if not hasattr(trainer.args, name)]
    if unknown and not signature(trainer.model_init).parameters:
        logger.warning(
            "hp_space: nothing depends on %s: TrainingArguments have no such field, and model_init takes no argument.",
            ", ".join(map(repr, unknown)),
        )

    trainer.hp_space, trainer.hp_name = hp_space or default_hp_space, hp_name
    trainer.compute_objective = compute_objective or default_compute_objective
    with bare(trainer):
        analysis = ExperimentAnalysis(tuner.fit())
    return _best(analysis, names, modes, scope, complain)


def default_hp_space(trial: Any = None) -> dict[str, Any]:
    """What is searched where the script does not say: the ranges of the Trainer's own default."""
    return {
        "learning_rate": loguniform(1e-6, 1e-4),
        "num_train_epochs": choice([1, 2, 3, 4, 5]),
        "seed": randint(1, 41),
        "per_device_train_batch_size": choice([4, 8, 16, 32, 64]),
    }


def _modes(direction: Any, mistakes: Mistakes) -> list[Mode]:
    several = direction if isinstance(direction, list) and direction else [direction]
    for one in several:
        mistakes.one_of("direction", one, ("minimize", "maximize"), remedy="A list of these for several objectives.")
    return [_MODES.get(one, "min") if isinstance(one, str) else "min" for one in several]


def _is_right(trainer: Any, mistakes: Mistakes) -> bool:
    remedy = "Write hyperparameter_search(trainer, ...)."
    right = mistakes.check(isinstance(trainer, Trainer), "trainer", "a transformers.Trainer", trainer, remedy)
    if right and trainer.model_init is None:
        mistakes.add(
            "trainer: expected one made with model_init, since each trial needs a new model, got one made with model. "
            "Write Trainer(model_init=build_model, ...), with a function that takes nothing, or the hyper-parameters."
        )
    return right


def _compares(scheduler: Any) -> bool:
    """Whether it is a scheduler that needs results while trials train."""
    return scheduler is not None and scheduler != "fifo" and type(scheduler) is not FIFOScheduler


def _configs(settings: Mapping[str, Any], mistakes: Mistakes) -> tuple[TuneConfig, RunConfig]:
    """The configs that the arguments belong into, whatever they are called in Ray Tune."""
    homes = {each.name: kind for kind in _KINDS for each in fields(kind)}
    parts: dict[type, dict[str, Any]] = {kind: {} for kind in _KINDS}
    for name, value in settings.items():
        if name == "checkpoint_score_attr" and isinstance(value, str) and value.startswith("min-"):
            value = value.removeprefix("min-")
            parts[CheckpointConfig]["checkpoint_score_order"] = "min"
        own = _ALSO.get(name, name)
        if name in _ELSEWHERE:
            mistakes.add(f"{name}: there is no such argument. {_ELSEWHERE[name]}")
        elif own not in homes:
            mistakes.add(
                f"{name}: there is no such argument.{did_you_mean(name, [*homes, *_ALSO])} See help(tune.run)."
            )
        elif own in parts[homes[own]]:
            mistakes.add(f"{name}: expected once, got {value!r} beside {own}={parts[homes[own]][own]!r}. Keep one.")
        else:
            parts[homes[own]][own] = value
    run = parts[RunConfig]
    for name, kind in (("checkpoint_config", CheckpointConfig), ("failure_config", FailureConfig)):
        if (given := run.get(name)) is None:
            run[name] = _made(kind, parts[kind], mistakes)
        elif parts[kind]:
            first = next(iter(parts[kind]))
            mistakes.add(f"{name}: expected all of it in one place, got {given!r} beside {first}=. Put it in there.")
    return _made(TuneConfig, parts[TuneConfig], mistakes), _made(RunConfig, run, mistakes)


def _made(kind: Callable[..., T], arguments: Mapping[str, Any], mistakes: Mistakes) -> T:
    try:
        return kind(**arguments)
    except ArgumentError as error:
        mistakes.merge(error)
        return kind()


@contextmanager
def _noting(mistakes: Mistakes) -> Iterator[None]:
    try:
        yield
    except ArgumentError as error:
        mistakes.merge(error)


def _space(hp_space: Any, mistakes: Mistakes) -> Any:
    example = 'Write e.g. hp_space=lambda trial: {"learning_rate": tune.loguniform(1e-6, 1e-4)}.'
    if not mistakes.function("hp_space", hp_space, "that returns the search space", arguments=1, remedy=example):
        return None
    expected = "hp_space: expected a function that returns a dict of domains"
    try:
        space = hp_space(None)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        mistakes.add(f"{expected} when it is called with None, it has raised {said}. {example}")
        return None
    if not isinstance(space, Mapping):
        mistakes.add(f"{expected}, it has returned {space!r}. {example}")
        return None
    return space


def _best(
    analysis: ExperimentAnalysis, names: list[str], modes: list[Mode], scope: Scope, complain: bool
) -> BestRun | list[BestRun]:
    failed = [trial for trial in analysis.trials if trial.result.error is not None]
    if failed and complain:
        first = failed[0].result
        raise TuneError(
            f"{len(failed)} of {len(analysis.trials)} trials failed (first: {first.trial_name}: {first.error}). The "
            f"results are in {analysis.experiment_path}; give raise_on_failed_trial=False to have the best of the rest."
        ) from first.error
    if names != ["objective"]:
        front = analysis.grid.pareto_front(names, modes)
        return [BestRun(one.trial_id, [one.metrics[name] for name in names], one.config, analysis) for one in front]
    best = analysis.get_best_trial(names[0], modes[0], scope)
    if best is None:
        raise TuneError(
            f"No trial has a usable objective: compute_objective has returned no finite number. The results are in "
            f"{analysis.experiment_path}."
        )
    return BestRun(best.trial_id, best.last_result["objective"], best.config, analysis)


class TuneBackend(HyperParamSearchBackendBase):
    """Stands where the Trainer looks for Ray Tune."""

    name = "ray"

    @staticmethod
    def is_available() -> bool:
        """Always."""
        return True

    def run(self, trainer: Any, n_trials: int, direction: Any, **kwargs: Any) -> BestRun | list[BestRun]:
        """Called by `Trainer.hyperparameter_search`, which has put the functions into its attributes."""
        return search(
            trainer, trainer.hp_space, n_trials, direction, trainer.compute_objective, trainer.hp_name, kwargs
        )

    def default_hp_space(self, trial: Any) -> dict[str, Any]:
        """Where the script gives none."""
        return default_hp_space(trial)


def set_backend(own: bool) -> None:
    """Which one ``backend="ray"`` means from now on: this one, or the Trainer's own."""
    ALL_HYPERPARAMETER_SEARCH_BACKENDS[HPSearchBackend.RAY] = TuneBackend if own else RayTuneBackend
