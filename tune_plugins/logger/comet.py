"""Results for Comet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tune_plugins._imports import require
from tune_plugins.arguments import Mistakes
from tune_plugins.core.trial import Trial
from tune_plugins.logger.base import LoggerCallback, checkpoint_folder
from tune_plugins.logger.values import changed, numbers, reported, text
from tune_plugins.space.nested import flatten

__all__ = ["CometLoggerCallback"]

# Of this process there is nothing to be seen: it does not train.
_QUIET = (
    "log_code",
    "log_graph",
    "log_git_metadata",
    "log_git_patch",
    "log_env_details",
    "parse_args",
    "auto_output_logging",
    "auto_param_logging",
    "auto_metric_logging",
    "display_summary_level",
)


class CometLoggerCallback(LoggerCallback):
    """Makes an experiment of Comet's for each trial, with its config as parameters and its numbers as metrics.

    The step is `training_iteration`. After an exploit the parameters are the new ones.

    Args:
        online: False: each trial is a file that ``comet upload`` sends later, in `offline_directory`, by default the
            folder of the trial.
        tags: of each of Comet's experiments.
        save_checkpoints: log checkpoints as artifacts, those that are kept until their turn comes
            (`CheckpointConfig.num_to_keep`); only online.
        **experiment_kwargs: of ``comet_ml.Experiment`` or ``OfflineExperiment``: `api_key`, `project_name`, ...

    Raises:
        ArgumentError: lists all mistakes; also that no key is known.
        MissingDependencyError: `comet_ml` is not installed.
    """

    def __init__(
        self,
        online: bool = True,
        tags: Sequence[str] | None = None,
        save_checkpoints: bool = False,
        **experiment_kwargs: Any,
    ) -> None:
        # Comet would change the frameworks that this process has loaded, to log what is trained in it.
        os.environ.setdefault("COMET_DISABLE_AUTO_LOGGING", "1")
        comet = _comet(type(self).__name__)
        mistakes = Mistakes(type(self).__name__)
        mistakes.flag("online", online)
        mistakes.flag("save_checkpoints", save_checkpoints)
        right = tags is None or (not isinstance(tags, str) and all(isinstance(tag, str) for tag in tags))
        mistakes.check(right, "tags", "a list of texts", tags)
        if online is True and not (experiment_kwargs.get("api_key") or comet.get_config("comet.api_key")):
            mistakes.add("api_key: expected a key, none is known. Set COMET_API_KEY, or write online=False.")
        if save_checkpoints is True and online is False:
            mistakes.add(
                "save_checkpoints: expected False beside online=False, got True. Comet takes them online only."
            )
        mistakes.raise_if_any()
        self.online, self.tags, self.save_checkpoints = online, list(tags or ()), save_checkpoints
        self.experiment_kwargs = experiment_kwargs
        self._experiments: dict[Trial, Any] = {}
        self._keys: dict[Trial, str] = {}
        self._begun_again: list[Trial] = []
        self._configs: dict[Trial, dict[str, Any]] = {}

    def log_trial_start(self, trial: Trial) -> None:
        """Begin the experiment, where the trial has none yet."""
        self._experiment_of(trial)

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Log its numbers."""
        experiment, step = self._experiment_of(trial), result["training_iteration"]
        if new := changed(trial.config, self._configs[trial]):
            self._configs[trial] = trial.config
            experiment.log_parameters({name: text(value) for name, value in new.items()}, step=step)
        experiment.log_metrics(numbers(reported(result)), step=step)

    def log_trial_save(self, trial: Trial) -> None:
        """Log the checkpoint as an artifact; the last one may come after the trial's end."""
        if not self.save_checkpoints:
            return
        folder, ended = checkpoint_folder(trial), trial not in self._experiments
        artifact = _comet("Comet").Artifact(name=f"checkpoint_{trial}", artifact_type="model")
        artifact.add(str(folder))
        self._experiment_of(trial).log_artifact(artifact)
        if ended:
            self._begun_again.append(trial)

    def _caught_up(self) -> None:
        begun_again, self._begun_again = self._begun_again, []
        for trial in begun_again:
            self._experiments.pop(trial).end()

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """End the experiment."""
        experiment = self._experiment_of(trial)
        del self._experiments[trial]
        experiment.log_other("failed", failed)
        experiment.end()

    def _experiment_of(self, trial: Trial) -> Any:
        if trial not in self._experiments:
            comet = _comet("Comet")
            options = {**dict.fromkeys(_QUIET, False), **self.experiment_kwargs}
            if not self.online and "offline_directory" not in options:
                Path(trial.path).mkdir(parents=True, exist_ok=True)
                options["offline_directory"] = trial.path
            kind = "Experiment" if self.online else "OfflineExperiment"
            if trial in self._keys:
                kind, options = f"Existing{kind}", {**options, "previous_experiment": self._keys[trial]}
            experiment = self._experiments[trial] = getattr(comet, kind)(**options)
            comet.config.set_global_experiment(None)  # or the next one would end it
            if trial in self._keys:
                return experiment
            self._keys[trial], self._configs[trial] = experiment.get_key(), trial.config
            experiment.set_name(str(trial))
            if self.tags:
                experiment.add_tags(self.tags)
            experiment.log_other("trial_id", trial.id)
            experiment.log_parameters({name: text(value) for name, value in flatten(trial.config).items()})
        return self._experiments[trial]


def _comet(needed_by: str) -> Any:
    return require("comet_ml", extra="comet", needed_by=needed_by)
