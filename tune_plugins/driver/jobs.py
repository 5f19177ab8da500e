"""From the core's command to start a trial to what its worker needs to know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tune_plugins.core.events import StartTrial
from tune_plugins.core.experiment import Experiment
from tune_plugins.core.leases import StopRule
from tune_plugins.driver.plan import Plan
from tune_plugins.driver.resources import Shape
from tune_plugins.errors import ArgumentError, TuneError
from tune_plugins.record.names import check_name
from tune_plugins.record.store import ExperimentStore
from tune_plugins.worker.messages import CheckpointPolicy, Job


class JobMaker:
    """Completes the core's `StartTrial` with what a worker needs to know."""

    def __init__(
        self, plan: Plan, experiment: Experiment, store: ExperimentStore, directory: Path, stop: tuple[StopRule, ...]
    ) -> None:
        self._experiment, self._store, self._directory = experiment, store, directory
        self._trainable, self._tune, self._logs = plan.name, plan.tune, plan.run.log_to_file
        self._stop = stop
        keep = plan.run.checkpoint_config
        self._policy = CheckpointPolicy(
            keep.checkpoint_frequency,
            keep.checkpoint_at_end,
            keep.checkpoint_score_attribute,
            keep.checkpoint_score_order,
        )

    def __call__(self, command: StartTrial, shape: Shape) -> Job:
        """The job of one attempt at a trial."""
        trial = self._experiment.trials[command.trial_id]
        name, dirname = self.name(trial.id)
        return Job(
            trial_id=trial.id,
            name=name,
            dirname=dirname,
            config=command.config,
            lease=command.lease,
            experiment_name=self._directory.name,
            experiment_dir=str(self._directory),
            checkpoint=command.checkpoint,
            iteration=command.iteration,
            attempt=command.attempt,
            seed=command.seed,
            stop=self._stop,
            policy=self._policy,
            resources=shape.total,
            log_files=self._log_files(dirname),
        )

    def name(self, trial_id: str) -> tuple[str, str]:
        """A trial's name for people, and that of its folder; those that the user's functions make are recorded."""
        trial = self._experiment.trials[trial_id]
        name_of, dirname_of = self._tune.trial_name_creator, self._tune.trial_dirname_creator
        dirname = f"trial_{trial.id}"
        if name_of is None and dirname_of is None:
            return f"{self._trainable}_{trial.id}", dirname
        name = str(ask("trial_name_creator", name_of, trial)) if name_of else f"{self._trainable}_{trial.id}"
        if dirname_of:
            dirname = str(ask("trial_dirname_creator", dirname_of, trial))
            if (mistake := check_name("trial_dirname_creator", dirname)) is not None:
                raise ArgumentError("TuneConfig", [mistake])
        self._store.set_names({trial.id: (name, dirname)})
        return name, dirname

    def _log_files(self, dirname: str) -> tuple[str, str] | None:
        logs = self._logs
        if logs is False:
            return None
        names = ("stdout", "stderr") if logs is True else (logs, logs) if isinstance(logs, str) else logs
        folder = self._directory / dirname
        return str(folder / names[0]), str(folder / names[-1])


def ask(what: str, function: Callable[[Any], Any], argument: Any) -> Any:
    """Call a function of the user's.

    Raises:
        TuneError: it raised.
    """
    try:
        return function(argument)
    except Exception as error:
        raise TuneError(f"{what} raised {type(error).__name__}: {error}") from error
