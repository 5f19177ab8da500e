"""Results for Weights & Biases: by a callback of the run, or by a run of theirs inside the trial."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tune_plugins._imports import require
from tune_plugins.arguments import Mistakes
from tune_plugins.core.trial import Trial
from tune_plugins.logger.base import LoggerCallback, checkpoint_folder
from tune_plugins.logger.inside import Nothing, is_first_rank
from tune_plugins.logger.values import FACTS, reported
from tune_plugins.session import at_end_of_trial, get_context
from tune_plugins.space.jsonable import to_plain

__all__ = ["WandbLoggerCallback", "setup_wandb"]

_STEP = "training_iteration"


class WandbLoggerCallback(LoggerCallback):
    """Makes a run of Weights & Biases for each trial, with its config and its results.

    Its x-axis is `training_iteration`, which may go back after a failure or an exploit. After an exploit the run's
    config is the new one. Files are written into the trial's folder. With ``WANDB_MODE=offline`` nothing is sent:
    ``wandb sync`` does it later.

    Nothing of this process, as its prints and its load, is recorded with them. The training does not see them; for
    ``run.log`` of your own in it use `setup_wandb` instead.

    Args:
        project: default: ``$WANDB_PROJECT``, or the name of the folder of the experiment.
        group: default: the name of the folder of the experiment.
        api_key_file: path of a file that holds the key.
        api_key: the key; default: ``$WANDB_API_KEY``, or what ``wandb login`` has noted.
        excludes: metrics that are not logged; ``"config"`` with `log_config`.
        log_config: log the hyper-parameters with each result, as ``config/lr``; for those that exploits change.
        upload_checkpoints: log checkpoints as artifacts, those that are kept until their turn comes
            (`CheckpointConfig.num_to_keep`).
        save_checkpoints: Ray Tune's older name of that.
        **kwargs: of ``wandb.init``.

    Raises:
        ArgumentError: lists all mistakes; also that no key is known, unless the mode is offline or disabled.
        MissingDependencyError: `wandb` is not installed.
    """

    def __init__(
        self,
        project: str | None = None,
        group: str | None = None,
        api_key_file: str | os.PathLike[str] | None = None,
        api_key: str | None = None,
        excludes: Collection[str] | None = None,
        log_config: bool = False,
        upload_checkpoints: bool = False,
        save_checkpoints: bool = False,
        **kwargs: Any,
    ) -> None:
        mistakes = Mistakes(type(self).__name__)
        right = excludes is None or (isinstance(excludes, Collection) and not isinstance(excludes, str))
        mistakes.check(right, "excludes", "a list of names of metrics", excludes)
        for name in ("log_config", "upload_checkpoints", "save_checkpoints"):
            mistakes.flag(name, locals()[name])
        wandb = _wandb(type(self).__name__)
        _use_key(mistakes, api_key, api_key_file)
        mode = kwargs.get("mode") or wandb.setup().settings.mode
        if not mistakes.found and mode not in ("offline", "disabled") and not wandb.login(prompt=False, verify=False):
            mistakes.add(
                "api_key: expected a key, none is known. Set WANDB_API_KEY, call `wandb login`, or set "
                "WANDB_MODE=offline."
            )
        mistakes.raise_if_any()
        self.project, self.group, self.kwargs = project, group, kwargs
        self.excludes, self.log_config = frozenset(excludes or ()), log_config
        self.upload_checkpoints = upload_checkpoints or save_checkpoints
        self._runs: dict[Trial, Any] = {}
        self._ids: dict[Trial, str] = {}
        self._begun_again: list[Trial] = []
        self._configs: dict[Trial, Any] = {}

    def log_trial_start(self, trial: Trial) -> None:
        """Begin the run, where the trial has none yet."""
        self._run_of(trial)

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Log its values."""
        run = self._run_of(trial)
        if self._configs[trial] is not trial.config:
            self._configs[trial] = trial.config
            run.config.update(to_plain(trial.config), allow_val_change=True)
        values = reported(result, (FACTS - {"config"} if self.log_config else FACTS) | self.excludes)
        run.log({name: value for name, value in values.items() if self._is_logged(name, value)})

    def _is_logged(self, name: str, value: Any) -> bool:
        parts = name.split("/")
        above = {"/".join(parts[:length]) for length in range(1, len(parts) + 1)}
        return isinstance(value, (int, float, str)) and not above & self.excludes

    def log_trial_save(self, trial: Trial) -> None:
        """Log the checkpoint as an artifact; the last one may come after the trial's end, its run is begun again."""
        if not self.upload_checkpoints:
            return
        folder, ended = checkpoint_folder(trial), trial not in self._runs
        artifact = _wandb("wandb").Artifact(f"checkpoint_{trial}", type="model", metadata={"checkpoint": folder.name})
        artifact.add_dir(str(folder))
        run = self._run_of(trial)
        run.log_artifact(artifact)
        if ended:
            self._begun_again.append(trial)

    def _caught_up(self) -> None:
        begun_again, self._begun_again = self._begun_again, []
        for trial in begun_again:
            self._runs.pop(trial).finish()

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Finish the run."""
        self._configs.pop(trial, None)
        run = self._run_of(trial)
        del self._runs[trial]
        run.finish(exit_code=int(failed))

    def _run_of(self, trial: Trial) -> Any:
        if trial not in self._runs:
            wandb, experiment = _wandb("wandb"), Path(trial.names.directory).name or None
            if trial.path:
                Path(trial.path).mkdir(parents=True, exist_ok=True)
            options = {
                "project": self.project or os.environ.get("WANDB_PROJECT") or experiment,
                "group": self.group or experiment,
                "name": str(trial),
                "dir": trial.path or None,
                "reinit": "create_new",
                "settings": wandb.Settings(console="off", x_disable_stats=True, silent=True),
                **self.kwargs,
                "config": to_plain({**self.kwargs.get("config", {}), **trial.config, "trial_id": trial.id}),
            }
            if trial in self._ids:
                options |= {"id": self._ids[trial], "resume": "allow"}
            run = self._runs[trial] = wandb.init(**options)
            self._ids[trial], self._configs[trial] = run.id, trial.config
            run.define_metric("*", step_metric=_STEP)
        return self._runs[trial]


def setup_wandb(
    config: Mapping[str, Any] | None = None,
    api_key: str | None = None,
    api_key_file: str | os.PathLike[str] | None = None,
    rank_zero_only: bool = True,
    **kwargs: Any,
) -> Any:
    """Begin a run of Weights & Biases in the training function, for ``run.log`` and so on; it ends with the trial.

    Args:
        config: the run's config.
        api_key: the key; default: ``$WANDB_API_KEY``, or what ``wandb login`` has noted.
        api_key_file: path of a file that holds the key.
        rank_zero_only: in a distributed training only the first process logs; the others get an object that does
            nothing.
        **kwargs: of ``wandb.init``; `name`, `group`, `dir` and `project` have values for this trial by default.

    Returns:
        The run.

    Raises:
        ArgumentError: both `api_key` and `api_key_file`, or the file cannot be read.
        MissingDependencyError: `wandb` is not installed.
    """
    if rank_zero_only and not is_first_rank():
        return Nothing()
    wandb, context = _wandb("setup_wandb"), get_context()
    mistakes = Mistakes("setup_wandb")
    _use_key(mistakes, api_key, api_key_file)
    mistakes.raise_if_any()
    experiment = context.experiment_name or None
    if context.trial_dir:
        context.get_trial_dir()
    options = {
        "project": os.environ.get("WANDB_PROJECT") or experiment,
        "group": experiment,
        "name": context.trial_name or None,
        "dir": context.trial_dir or None,
        "config": to_plain({**(config or {}), **({"trial_id": context.trial_id} if context.trial_id else {})}),
        "reinit": "finish_previous",  # of the trial before, in this process
        **kwargs,
    }
    run = wandb.init(**options)
    at_end_of_trial(run.finish)
    return run


def _wandb(needed_by: str) -> Any:
    return require("wandb", extra="wandb", needed_by=needed_by)


def _use_key(mistakes: Mistakes, key: str | None, file: str | os.PathLike[str] | None) -> None:
    """Put a key that was given where wandb looks for it."""
    if key and file:
        mistakes.add("api_key: expected one of api_key and api_key_file, got both. Leave one of them out.")
    elif file:
        try:
            key = Path(file).expanduser().read_text(encoding="utf-8").strip()
        except OSError as error:
            mistakes.add(f"api_key_file: expected a file that can be read, got {os.fspath(file)!r}: {error.strerror}.")
    if key and not mistakes.found:
        os.environ["WANDB_API_KEY"] = key
