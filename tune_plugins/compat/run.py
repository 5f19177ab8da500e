"""`run` and `run_experiments`: a tuning by one call, for scripts that were written for Ray Tune's ``tune.run``.

`Tuner` is the same with its arguments in order, and what new scripts use.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

from tune_plugins.arguments import Mistakes, did_you_mean, shown_value
from tune_plugins.callbacks import Callback
from tune_plugins.compat.analysis import AnalysedTrial, ExperimentAnalysis
from tune_plugins.config import CheckpointConfig, FailureConfig, RunConfig, TuneConfig
from tune_plugins.core.metrics import Mode
from tune_plugins.core.scheduler import TrialScheduler
from tune_plugins.core.searcher import Searcher
from tune_plugins.driver.resources import Resources
from tune_plugins.driver.trial_function import AnyTrainable, as_trial_function, with_resources
from tune_plugins.errors import TuneError
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.record.file import FILE_NAME
from tune_plugins.record.names import numbered
from tune_plugins.stoppers import StopCondition
from tune_plugins.tuner import Tuner

if TYPE_CHECKING:
    from tune_plugins.core.trial import Trial

__all__ = ["Experiment", "ResumeConfig", "run", "run_experiments"]

_NOT_HERE: dict[str, str] = {
    "resume": "Runs cannot be resumed yet. Start anew, with earlier results as a warm start of the searcher; 'AUTO' is "
    "right where there is no experiment of this name yet.",
    "metric_columns": "Write progress_reporter=CLIReporter(metric_columns=...).",
    "loggers": "Write callbacks=['csv', 'json', 'tensorboard'], or objects of tune_plugins.logger.",
    "queue_trials": "A run waits for resources by itself.",
    "keep_checkpoints_num": "Write checkpoint_config=CheckpointConfig(num_to_keep=...).",
    "checkpoint_score_attr": "Write checkpoint_config=CheckpointConfig(checkpoint_score_attribute=...).",
    "checkpoint_freq": "Write checkpoint_config=CheckpointConfig(checkpoint_frequency=...).",
    "checkpoint_at_end": "Write checkpoint_config=CheckpointConfig(checkpoint_at_end=True).",
    "trial_executor": "Leave it out.",
    "upload_dir": "Results go to a local folder: give storage_path=, and copy the folder when the run is over.",
    "resume_config": "Runs cannot be resumed yet.",
    "storage_filesystem": "Results go to a local folder: give storage_path=, and copy the folder when the run is over.",
    "sync_config": "Results go to a local folder: give storage_path=, and copy the folder when the run is over.",
    "export_formats": "Load the best model: analysis.best_checkpoint.load_model().",
    "chdir_to_trial_dir": "Write working_dir='trial', or leave it out for the directory of the script.",
}
"""Arguments of Ray Tune's that have no place here, and what to write."""


@dataclass
class ResumeConfig:
    """What becomes of the trials of a run that is resumed; `run` cannot resume runs yet, and says so.

    Args:
        finished: of trials that have ended.
        unfinished: of trials that were running or waiting.
        errored: of trials that have failed.
    """

    class ResumeType(Enum):
        """What becomes of a trial."""

        RESUME = "resume"
        RESTART = "restart"
        SKIP = "skip"

    finished: ResumeType = ResumeType.SKIP
    unfinished: ResumeType = ResumeType.RESUME
    errored: ResumeType = ResumeType.SKIP


class Experiment:
    """What `run` is to run, as an object.

    Args:
        name: of the experiment.
        run: a training function, a class, or a registered name.
        **arguments: of `tune_plugins.run`: ``config``, ``stop``, ``num_samples``, ``resources_per_trial``, ...

    Raises:
        ArgumentError: `name` or `run` is something else.
    """

    def __init__(self, name: str, run: AnyTrainable | str, **arguments: Any) -> None:
        mistakes = Mistakes("Experiment")
        mistakes.text("name", name, "a name")
        mistakes.found += as_trial_function(run).mistakes()
        mistakes.raise_if_any()
        self.name, self.trainable, self.arguments = name, run, arguments


def run(  # noqa: D417 (most of them are those of `TuneConfig` and `RunConfig`)
    run_or_experiment: AnyTrainable | str | Experiment,
    *,
    name: str | None = None,
    metric: str | Sequence[str] | None = None,
    mode: Mode | Sequence[Mode] | None = None,
    stop: StopCondition | Sequence[StopCondition] | None = None,
    time_budget_s: float | timedelta | None = None,
    config: Mapping[str, Any] | None = None,
    resources_per_trial: Resources = None,
    num_samples: int = 1,
    storage_path: str | os.PathLike[str] | None = None,
    local_dir: str | os.PathLike[str] | None = None,
    search_alg: Searcher | str | None = None,
    scheduler: TrialScheduler | str | None = None,
    checkpoint_config: CheckpointConfig | None = None,
    verbose: int = 1,
    progress_reporter: Callback | None = None,
    log_to_file: bool | str | tuple[str, str] = False,
    trial_name_creator: Callable[[Trial], str] | None = None,
    trial_dirname_creator: Callable[[Trial], str] | None = None,
    max_failures: int = 0,
    fail_fast: bool | Literal["raise"] = False,
    reuse_actors: bool | None = None,
    raise_on_failed_trial: bool = True,
    callbacks: Sequence[Callback | str] | None = None,
    max_concurrent_trials: int | None = None,
    restore: str | os.PathLike[str] | Checkpoint | None = None,
    **others: Any,
) -> ExperimentAnalysis:
    """Tune a training function.

    >>> analysis = run(train, config={"lr": loguniform(1e-4, 1e-1)}, metric="loss", mode="min")  # doctest: +SKIP

    Args:
        run_or_experiment: ``train(config)``, a class derived from `Trainable`, the name of one that was registered
            (`register_trainable`), or an `Experiment`.
        config: hyper-parameters, as `Tuner` takes for `param_space`.
        name: this and all others that are not described here: see `TuneConfig` and `RunConfig`.
        resources_per_trial: as of `with_resources`.
        time_budget_s: seconds, or a `datetime.timedelta`.
        local_dir: another name of `storage_path`.
        max_failures: see `FailureConfig`.
        fail_fast: see `FailureConfig`.
        restore: a checkpoint that trials go on from: adapters load it, `get_checkpoint` gives it.
        raise_on_failed_trial: an error where trials have failed, once the run is over.
        **others: all else that `TuneConfig` and `RunConfig` take, such as ``seed=``.

    Returns:
        The results; ``analysis.grid`` is the `ResultGrid`.

    Raises:
        ArgumentError: lists everything that is wrong with the arguments.
        TuneError: the run could not go on; or trials have failed.
    """
    if isinstance(run_or_experiment, Experiment):
        given = dict(locals())
        experiment, more = given.pop("run_or_experiment"), given.pop("others")
        return run(experiment.trainable, **{**given, **more, "name": experiment.name, **experiment.arguments})
    mistakes = Mistakes("tune.run")
    if isinstance(run_or_experiment, (list, tuple)):
        shown = shown_value(run_or_experiment)
        mistakes.add(f"run_or_experiment: expected one, got {shown}. Call run_experiments, which runs several.")
        mistakes.raise_if_any()
    known = {each.name for kind in (TuneConfig, RunConfig) for each in fields(kind)}
    place = RunConfig(name=name, storage_path=storage_path if local_dir is None else local_dir)
    if str(others.get("resume")).startswith("AUTO") and not _exists(place):
        del others["resume"]
    for other, value in list(others.items()):
        if other in _NOT_HERE:
            if value not in (None, False):
                mistakes.add(f"{other}: expected nothing, got {value!r}. {_NOT_HERE[other]}")
            del others[other]
        elif other not in known:
            mistakes.add(f"{other}: there is no such argument.{did_you_mean(other, known)} See help(tune.run).")
    if local_dir is not None and storage_path is not None:
        mistakes.add(f"local_dir: expected one folder, got {local_dir!r} beside storage_path={storage_path!r}.")
    start = restore if isinstance(restore, (Checkpoint, type(None))) else Checkpoint(restore)
    if start is not None and not os.path.isdir(start.path):
        mistakes.add(f"restore: expected the folder of a checkpoint, got {os.fspath(start.path)!r}, which is none.")
    mistakes.raise_if_any()
    trainable = replace(as_trial_function(run_or_experiment), restore=start)
    of_tune = {each.name for each in fields(TuneConfig)}
    tuner = Tuner(
        trainable if resources_per_trial is None else with_resources(trainable, resources_per_trial),
        param_space=config,
        tune_config=TuneConfig(
            metric=metric,
            mode=mode,
            search_alg=search_alg,
            scheduler=scheduler,
            num_samples=num_samples,
            max_concurrent_trials=max_concurrent_trials or None,
            time_budget_s=time_budget_s,
            reuse_actors=reuse_actors,
            trial_name_creator=trial_name_creator,
            trial_dirname_creator=trial_dirname_creator,
            **{other: value for other, value in others.items() if other in of_tune},
        ),
        run_config=RunConfig(
            name=name,
            storage_path=storage_path if local_dir is None else local_dir,
            stop=stop,
            checkpoint_config=checkpoint_config or CheckpointConfig(),
            failure_config=FailureConfig(max_failures=max_failures, fail_fast=fail_fast),
            callbacks=callbacks or (),
            verbose=verbose,
            progress_reporter=progress_reporter,
            log_to_file=log_to_file,
            **{other: value for other, value in others.items() if other not in of_tune},
        ),
    )
    analysis = ExperimentAnalysis(tuner.fit())
    failed = [trial for trial in analysis.trials if trial.result.error is not None]
    if failed and raise_on_failed_trial:
        first = failed[0].result
        raise TuneError(
            f"{len(failed)} of {len(analysis.trials)} trials failed (first: {first.trial_name}: {first.error}). The "
            f"results are in {analysis.experiment_path}; give raise_on_failed_trial=False to have them returned."
        ) from first.error
    return analysis


def _exists(place: RunConfig) -> bool:
    """Whether there is an experiment of a name that the user has given."""
    return place.name is not None and (place.storage_dir / numbered(place.name, 1)[1] / FILE_NAME).exists()


def run_experiments(
    experiments: Experiment | Mapping[str, Mapping[str, Any]] | Sequence[Experiment], **common: Any
) -> list[AnalysedTrial]:
    """Run experiments, one after the other; returns the trials of all of them.

    Args:
        experiments: one, several, or ``{name: {"run": train, "config": ..., "stop": ...}}``.
        **common: arguments of `run` for all of them.

    Raises:
        ArgumentError: one of them is none.
        TuneError: as of `run`.
    """
    given: list[Any]
    if isinstance(experiments, Mapping):
        mistakes = Mistakes("run_experiments")
        for name, one in experiments.items():
            right = isinstance(one, Mapping) and "run" in one
            mistakes.check(right, f"experiments[{name!r}]", "a dict with 'run' and arguments of tune.run", one)
        mistakes.raise_if_any()
        given = [Experiment(name, **one) for name, one in experiments.items()]
    else:
        given = [experiments] if isinstance(experiments, Experiment) else list(experiments)
    return [trial for one in given for trial in run(one, **common).trials]
