"""From the core's command to start a trial to what its worker needs to know."""

from __future__ import annotations

from pathlib import Path

from tune_plugins.core.events import StartTrial
from tune_plugins.core.experiment import Experiment
from tune_plugins.core.leases import StopRule
from tune_plugins.driver.plan import Plan
from tune_plugins.driver.resources import Shape
from tune_plugins.session import TrialResources
from tune_plugins.worker.messages import CheckpointPolicy, Job


class JobMaker:
    """Completes the core's `StartTrial` with what a worker needs to know."""

    def __init__(self, plan: Plan, experiment: Experiment, directory: Path, stop: tuple[StopRule, ...]) -> None:
        self._experiment, self._directory, self._logs = experiment, directory, plan.run.log_to_file
        self._stop, self._in_own_folder = stop, plan.run.working_dir == "trial"
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
        return Job(
            trial_id=trial.id,
            name=trial.name,
            dirname=trial.dirname,
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
            resources=TrialResources(shape.total, [dict(bundle) for bundle in shape.bundles], shape.strategy),
            log_files=self._log_files(trial.dirname),
            metric=self._experiment.rules.metric,
            mode=self._experiment.rules.mode,
            in_own_folder=self._in_own_folder,
        )

    def _log_files(self, dirname: str) -> tuple[str, str] | None:
        logs = self._logs
        if logs is False:
            return None
        names = ("stdout", "stderr") if logs is True else (logs, logs) if isinstance(logs, str) else logs
        folder = self._directory / dirname
        return str(folder / names[0]), str(folder / names[-1])
