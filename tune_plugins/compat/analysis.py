"""`ExperimentAnalysis`: results under the names that scripts for ``tune.run`` use; see `tune_plugins.run`.

New scripts are better off with `ResultGrid`, which this is a view of.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tune_plugins.arguments import Mistakes
from tune_plugins.core.metrics import Mode, Scope, lookup
from tune_plugins.core.scores import number
from tune_plugins.core.trial import chosen_values
from tune_plugins.errors import ArgumentError, TuneError
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.record.file import FILE_NAME, StorageError
from tune_plugins.results import Result, ResultGrid
from tune_plugins.space.nested import flatten

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AnalysedTrial", "ExperimentAnalysis"]

logger = logging.getLogger(__name__)


class AnalysedTrial:
    """A trial of a finished run; it has all that its `Result` has, and the names of a trial of Ray Tune's.

    Attributes:
        result: its `Result`.
    """

    def __init__(self, result: Result, parameters: Sequence[str] = ()) -> None:
        self.result, self._parameters = result, parameters

    def __getattr__(self, name: str) -> Any:
        if name in ("result", "_parameters"):  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.result, name)

    def __repr__(self) -> str:
        return self.result.trial_name or self.result.trial_id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnalysedTrial) and (self.path, self.trial_id) == (other.path, other.trial_id)

    def __hash__(self) -> int:
        return hash((self.result.path, self.result.trial_id))

    @property
    def last_result(self) -> dict[str, Any]:
        """Its last result, with its config."""
        facts = {"trial_id": self.result.trial_id, "config": self.result.config, "done": self.result.status.finished}
        return {**facts, **self.result.metrics}

    @property
    def local_path(self) -> str:
        """Its folder."""
        return self.result.path

    logdir = local_path

    @property
    def experiment_tag(self) -> str:
        """Its number and hyper-parameters in one word."""
        return str(self.result.metrics.get("experiment_tag", ""))

    @property
    def experiment_dir_name(self) -> str:
        """Name of the experiment's folder."""
        return os.path.basename(self.result.experiment_path)

    @property
    def trainable_name(self) -> str:
        """Name of what is trained."""
        return self.result.trial_name.removesuffix(f"_{self.result.trial_id}")

    def has_checkpoint(self) -> bool:
        """Whether there is a state to go on from."""
        return self.result.checkpoint is not None

    @property
    def evaluated_params(self) -> dict[str, Any]:
        """What the space leaves open, nested names joined by ``/``; the whole config where nobody can tell."""
        config = self.result.config
        return chosen_values(config, self._parameters) if self._parameters else dict(flatten(config))

    @cached_property
    def metric_analysis(self) -> dict[str, dict[str, float]]:
        """{metric: {"min", "max", "avg", "last", "last-5-avg", "last-10-avg": value}} of all that are numbers."""
        found: dict[str, dict[str, float]] = {}
        frame = self.result.metrics_dataframe
        for name in frame.columns:
            if name in _FACTS or str(name).startswith("config/"):
                continue
            values = [value for value in map(number, frame[name].tolist()) if value is not None]
            if values:
                found[str(name)] = {
                    "min": min(values),
                    "max": max(values),
                    "avg": _mean(values),
                    "last": values[-1],
                    "last-5-avg": _mean(values[-5:]),
                    "last-10-avg": _mean(values[-10:]),
                }
        return found


_FACTS = frozenset({"trial_id", "date", "timestamp", "pid", "hostname", "node_ip", "experiment_tag"})
"""Columns that say where and when, and measure nothing."""


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else sum(values) / len(values)


def _grid_in(path: str | os.PathLike[str]) -> ResultGrid:
    try:
        return ResultGrid(path)
    except StorageError as error:
        if os.path.exists(os.path.join(path, FILE_NAME)):
            raise
        mistake = f"experiment_path: expected the folder of an experiment, got {os.fspath(path)!r}. {error}"
        raise ArgumentError("ExperimentAnalysis", [mistake]) from error


class ExperimentAnalysis:
    """What came out of a run.

    Args:
        experiment_path: folder of the experiment, or its `ResultGrid`.
        default_metric, default_mode: what "best" means unless told otherwise; default: as the experiment was run.

    Raises:
        ArgumentError: there is no experiment.
        StorageError: its record cannot be read.
    """

    def __init__(
        self,
        experiment_path: str | os.PathLike[str] | ResultGrid,
        *,
        default_metric: str | None = None,
        default_mode: Mode | None = None,
    ) -> None:
        given = experiment_path
        self.grid = given if isinstance(given, ResultGrid) else _grid_in(given)
        self.default_metric = default_metric or self.grid.metric
        self.default_mode = default_mode or self.grid.mode

    def __repr__(self) -> str:
        return f"ExperimentAnalysis of {self.grid!r}"

    @property
    def experiment_path(self) -> str:
        """Folder of the experiment."""
        return self.grid.experiment_path

    @cached_property
    def trials(self) -> list[AnalysedTrial]:
        """All trials, in order of creation."""
        parameters = self.grid.info().get("parameters", ())
        return [AnalysedTrial(result, parameters) for result in self.grid]

    # --------------------------------------------------------------------------------------- the best

    def get_best_trial(
        self,
        metric: str | None = None,
        mode: Mode | None = None,
        scope: Scope = "last",
        filter_nan_and_inf: bool = True,
    ) -> AnalysedTrial | None:
        """The best trial; None, with a warning, where none has a usable value.

        Args:
            metric: as of `ResultGrid.get_best_result`.
            mode: as of `ResultGrid.get_best_result`.
            scope: as of `ResultGrid.get_best_result`.
            filter_nan_and_inf: as of `ResultGrid.get_best_result`.

        Raises:
            ArgumentError: metric or mode is missing or wrong.
        """
        metric, mode = metric or self.default_metric, mode or self.default_mode
        mistakes = Mistakes("ExperimentAnalysis")
        for name, value in (("metric", metric), ("mode", mode)):
            if value is None:
                mistakes.add(
                    f"{name}: expected {'a name' if name == 'metric' else repr('min') + ' or ' + repr('max')}, since "
                    f"trials are compared by it, got None. Give {name}= here, or to tune.run."
                )
        mistakes.raise_if_any()
        try:
            best = self.grid.get_best_result(metric, mode, scope, filter_nan_and_inf)
        except TuneError as error:
            if isinstance(error, ValueError):
                raise
            logger.warning("There is no best trial: %s", error)
            return None
        return next(trial for trial in self.trials if trial.result.trial_id == best.trial_id)

    def get_best_config(
        self, metric: str | None = None, mode: Mode | None = None, scope: Scope = "last"
    ) -> dict[str, Any] | None:
        """The hyper-parameters of the best trial, see `get_best_trial`."""
        best = self.get_best_trial(metric, mode, scope)
        return None if best is None else best.result.config

    def get_best_logdir(self, metric: str | None = None, mode: Mode | None = None, scope: Scope = "last") -> str | None:
        """The folder of the best trial, see `get_best_trial`."""
        best = self.get_best_trial(metric, mode, scope)
        return None if best is None else best.local_path

    def get_best_checkpoint(
        self, trial: AnalysedTrial, metric: str | None = None, mode: Mode | None = None
    ) -> Checkpoint | None:
        """The state of a trial with the best value of a metric, see `Result.get_best_checkpoint`."""
        return trial.result.get_best_checkpoint(metric or self.default_metric, mode or self.default_mode)

    def get_trial_checkpoints_paths(
        self, trial: AnalysedTrial, metric: str | None = None
    ) -> list[tuple[str, float | None]]:
        """(folder, value of a metric) of each checkpoint that a trial has kept, oldest first.

        Args:
            trial: one of `trials`.
            metric: name of a metric; default: that of the run, else `training_iteration`.
        """
        name = metric or self.default_metric or "training_iteration"
        return [(kept.path, number(lookup(result, name))) for kept, result in trial.result.best_checkpoints]

    def get_last_checkpoint(
        self, trial: AnalysedTrial | None = None, metric: str | None = None, mode: Mode | None = None
    ) -> Checkpoint | None:
        """The newest state of a trial; without one, of the best trial."""
        chosen = trial or self.get_best_trial(metric, mode)
        return None if chosen is None else chosen.result.checkpoint

    @property
    def best_trial(self) -> AnalysedTrial:
        """The best trial by the last result of each.

        Raises:
            ArgumentError: there is no metric or mode to go by.
            TuneError: no trial has a usable value.
        """
        best = self.get_best_trial()
        if best is None:
            raise TuneError(f"No trial of {self.experiment_path} has a usable value of {self.default_metric!r}.")
        return best

    @property
    def best_config(self) -> dict[str, Any]:
        """The hyper-parameters of `best_trial`."""
        return self.best_trial.result.config

    @property
    def best_checkpoint(self) -> Checkpoint | None:
        """The best state of `best_trial`."""
        return self.get_best_checkpoint(self.best_trial)

    @property
    def best_logdir(self) -> str:
        """The folder of `best_trial`."""
        return self.best_trial.local_path

    @property
    def best_result(self) -> dict[str, Any]:
        """The last result of `best_trial`, with its config."""
        return self.best_trial.last_result

    @property
    def best_result_df(self) -> pd.DataFrame:
        """`best_result` as a table of one row; nested names are joined by ``/``."""
        frame = self.results_df
        return frame[frame.index == self.best_trial.result.trial_id]

    @property
    def best_dataframe(self) -> pd.DataFrame:
        """All results of `best_trial`, one row each."""
        return self.best_trial.result.metrics_dataframe

    # ------------------------------------------------------------------------------------------- all

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """{id of the trial: its last result, with its config}."""
        return {trial.result.trial_id: trial.last_result for trial in self.trials}

    @property
    def results_df(self) -> pd.DataFrame:
        """The last result of each trial, one row each, by trial id; hyper-parameters are named ``config/...``."""
        return self.dataframe().set_index("trial_id")

    @cached_property
    def trial_dataframes(self) -> dict[str, pd.DataFrame]:
        """{id of the trial: all its results, one row each}."""
        return {trial.result.trial_id: trial.result.metrics_dataframe for trial in self.trials}

    def get_all_configs(self, prefix: bool = False) -> dict[str, dict[str, Any]]:
        """{id of the trial: its hyper-parameters}; `prefix`: their names begin with ``config/``."""
        found: dict[str, dict[str, Any]] = {}
        for trial in self.trials:
            config: Mapping[str, Any] = trial.result.config
            found[trial.result.trial_id] = {f"config/{name}": v for name, v in config.items()} if prefix else {**config}
        return found

    def dataframe(self, metric: str | None = None, mode: Mode | None = None) -> pd.DataFrame:
        """One row a trial, with its hyper-parameters as ``config/...`` and its folder as ``logdir``.

        Args:
            metric: the row is the result with the best value of it; None: the last result.
            mode: "min" or "max"; default: that of the run.

        Raises:
            ArgumentError: there is no mode, or a wrong one.
            TuneError: no trial has a usable value of the metric.
        """
        frame = self.grid.get_dataframe(metric, mode)
        # A run may have ended before its first trial.
        return frame if len(frame.columns) else frame.assign(trial_id=[], logdir=[])
