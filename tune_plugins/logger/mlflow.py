"""Results for MLflow: by a callback of the run, or by a run of MLflow's inside the trial."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tune_plugins._imports import require
from tune_plugins.arguments import Mistakes
from tune_plugins.core.ends import EndCause
from tune_plugins.core.trial import Trial
from tune_plugins.logger.base import LoggerCallback, checkpoint_folder
from tune_plugins.logger.inside import Nothing, is_first_rank
from tune_plugins.logger.values import changed, numbers, reported, text
from tune_plugins.session import at_end_of_trial, get_context
from tune_plugins.space.nested import flatten

__all__ = ["MLflowLoggerCallback", "setup_mlflow"]

# What the server takes in one request, and of one value.
_METRICS_A_REQUEST, _PARAMS_A_REQUEST = 1000, 100
_LONGEST_VALUE, _LONGEST_NAME = 6000, 250


class MLflowLoggerCallback(LoggerCallback):
    """Makes a run of MLflow's for each trial, with its config as parameters and its results as metrics.

    The step of a metric is `training_iteration`. Numbers are logged, truth values as 0 and 1. Metrics go out together,
    up to a thousand in a request, when the logger has caught up. A run ends as FINISHED, FAILED (with an error) or
    KILLED (Ctrl-C). Parameters cannot be changed in MLflow: after an exploit the numbers that are different now are
    metrics ``config/lr``, at the steps from then on.

    Where the server does not answer, MLflow tries for minutes, see its ``MLFLOW_HTTP_REQUEST_MAX_RETRIES``; the run
    waits for that only at its end, and Ctrl-C gives it up.

    The training does not see these runs; for ``mlflow.log_figure`` and the like in it use `setup_mlflow` instead.

    Args:
        tracking_uri: where runs are kept, e.g. ``http://localhost:5000``, ``sqlite:///mlflow.db``; default:
            ``$MLFLOW_TRACKING_URI``, or what MLflow does then.
        registry_uri: of the registry of models.
        experiment_name: is made if it is not there; default: ``$MLFLOW_EXPERIMENT_NAME``, or the name of the folder of
            the experiment.
        tags: of each run. `trial_id`, `trial_name` and `trial_dir` are added.
        tracking_token: becomes ``$MLFLOW_TRACKING_TOKEN`` of this process.
        save_artifact: at the end of a trial its folder becomes artifacts of the run, with the checkpoints there are.
        log_params_on_trial_end: parameters are those at the end of a trial, after all exploits.

    Raises:
        ArgumentError: lists all mistakes.
        MissingDependencyError: `mlflow` is not installed.
    """

    def __init__(
        self,
        tracking_uri: str | os.PathLike[str] | None = None,
        *,
        registry_uri: str | None = None,
        experiment_name: str | None = None,
        tags: Mapping[str, Any] | None = None,
        tracking_token: str | None = None,
        save_artifact: bool = False,
        log_params_on_trial_end: bool = False,
    ) -> None:
        mistakes = Mistakes(type(self).__name__)
        right = tags is None or (isinstance(tags, Mapping) and all(isinstance(name, str) for name in tags))
        mistakes.check(right, "tags", "a dict of texts", tags)
        mistakes.flag("save_artifact", save_artifact)
        mistakes.flag("log_params_on_trial_end", log_params_on_trial_end)
        mistakes.raise_if_any()
        _mlflow(type(self).__name__)
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # of each run, amid the display
        if tracking_token is not None:
            os.environ["MLFLOW_TRACKING_TOKEN"] = tracking_token
        self.tracking_uri = None if tracking_uri is None else str(tracking_uri)
        self.registry_uri, self.experiment_name = registry_uri, experiment_name
        self.tags, self.save_artifact, self.log_params_on_trial_end = tags or {}, save_artifact, log_params_on_trial_end
        self._made: Any = None
        self._runs: dict[Trial, tuple[str, dict[str, Any]]] = {}
        self._ended: set[Trial] = set()
        self._metrics: dict[str, list[Any]] = {}

    @property
    def _client(self) -> Any:
        if self._made is None:
            self._made = _mlflow("MLflow").MlflowClient(self.tracking_uri, self.registry_uri)
        return self._made

    def log_trial_start(self, trial: Trial) -> None:
        """Make the run, where the trial has none yet."""
        self._run_of(trial)

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Gather its metrics."""
        run_id, config = self._run_of(trial)
        values = numbers(reported(result))
        values |= numbers({f"config/{name}": value for name, value in changed(trial.config, config).items()})
        metric = _mlflow("MLflow").entities.Metric
        when, step = int(result["timestamp"] * 1000), result["training_iteration"]
        gathered = self._metrics.setdefault(run_id, [])
        gathered += [metric(_allowed(name), value, when, step) for name, value in values.items()]
        if len(gathered) >= _METRICS_A_REQUEST:
            self._caught_up()

    def log_trial_save(self, trial: Trial) -> None:
        """Log a checkpoint that became complete after the trial's end."""
        if self.save_artifact and trial in self._ended:
            run_id, _ = self._run_of(trial)
            folder = checkpoint_folder(trial)
            self._client.log_artifacts(run_id, str(folder), folder.name)

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """End the run."""
        run_id, _ = self._run_of(trial)
        self._ended.add(trial)
        try:
            self._caught_up()
            if self.log_params_on_trial_end:
                self._log_params(run_id, trial.config)
            if self.save_artifact and Path(trial.path).is_dir():
                self._client.log_artifacts(run_id, trial.path)
        finally:
            status = "FAILED" if failed else "KILLED" if trial.cause is EndCause.USER else "FINISHED"
            self._client.set_terminated(run_id, status, None if trial.ended_at is None else int(trial.ended_at * 1000))

    def _caught_up(self) -> None:
        gathered, self._metrics, trouble = self._metrics, {}, None
        for run_id, metrics in gathered.items():
            for start in range(0, len(metrics), _METRICS_A_REQUEST):
                try:
                    self._client.log_batch(run_id, metrics=metrics[start : start + _METRICS_A_REQUEST])
                except Exception as error:
                    trouble = error  # the other runs may have better luck
        if trouble is not None:
            raise trouble

    def _run_of(self, trial: Trial) -> tuple[str, dict[str, Any]]:
        """The run of a trial, which is made if need be, and the config that it was made with."""
        if trial not in self._runs:
            name = self.experiment_name or os.environ.get("MLFLOW_EXPERIMENT_NAME")
            experiment = _experiment(self._client, name or Path(trial.names.directory).name or "tune")
            tags = {**self.tags, "trial_id": trial.id, "trial_name": str(trial), "trial_dir": trial.path}
            tags = {tag: str(value) for tag, value in tags.items()}
            run = self._client.create_run(experiment, tags=tags, run_name=str(trial))
            self._runs[trial] = (run.info.run_id, trial.config)
            if not self.log_params_on_trial_end:
                self._log_params(run.info.run_id, trial.config)
        return self._runs[trial]

    def _log_params(self, run_id: str, config: Mapping[str, Any]) -> None:
        param = _mlflow("MLflow").entities.Param
        params = [param(name, value) for name, value in _params(config).items()]
        for start in range(0, len(params), _PARAMS_A_REQUEST):
            self._client.log_batch(run_id, params=params[start : start + _PARAMS_A_REQUEST])


def setup_mlflow(
    config: Mapping[str, Any] | None = None,
    tracking_uri: str | os.PathLike[str] | None = None,
    registry_uri: str | None = None,
    experiment_id: str | None = None,
    experiment_name: str | None = None,
    tracking_token: str | None = None,
    artifact_location: str | None = None,
    run_name: str | None = None,
    create_experiment_if_not_exists: bool = False,
    tags: Mapping[str, Any] | None = None,
    rank_zero_only: bool = True,
) -> Any:
    """Begin a run of MLflow's in the training function, for ``mlflow.log_metric``, ``mlflow.autolog`` and so on.

    It ends with the trial. Where the function is entered anew, after a pause or a failure, the run of the trial goes
    on; parameters that it has keep their values.

    Args:
        config: is logged as parameters.
        tracking_uri: where runs are kept; default: what MLflow does.
        registry_uri: of the registry of models.
        experiment_id: of MLflow's experiment.
        experiment_name: of it; default: ``$MLFLOW_EXPERIMENT_NAME``, or that of this experiment, which is then made.
        tracking_token: becomes ``$MLFLOW_TRACKING_TOKEN`` of this process.
        artifact_location: of an experiment that is made.
        run_name: default: the name of the trial.
        create_experiment_if_not_exists: make the one that is named here.
        tags: of the run.
        rank_zero_only: in a distributed training only the first process logs; the others get an object that does
            nothing.

    Returns:
        The module `mlflow`, with the run active in this thread.

    Raises:
        ArgumentError: there is no such experiment.
        MissingDependencyError: `mlflow` is not installed.
    """
    if rank_zero_only and not is_first_rank():
        return Nothing()
    mlflow = _mlflow("setup_mlflow")
    if tracking_token is not None:
        os.environ["MLFLOW_TRACKING_TOKEN"] = tracking_token
    if tracking_uri is not None:
        mlflow.set_tracking_uri(str(tracking_uri))
    if registry_uri is not None:
        mlflow.set_registry_uri(registry_uri)
    client, context = mlflow.MlflowClient(), get_context()
    if experiment_id is None:
        own = os.environ.get("MLFLOW_EXPERIMENT_NAME") or context.experiment_name or "tune"
        make = create_experiment_if_not_exists or experiment_name is None
        experiment_id = _experiment(client, experiment_name or own, make=make, location=artifact_location)
    if mlflow.active_run() is not None:
        mlflow.end_run()  # of the trial before, in this process
    whose = {"trial_id": context.trial_id, "trial_name": context.trial_name, "trial_dir": context.trial_dir}
    begun = []
    if context.trial_dir:
        begun = client.search_runs([experiment_id], f"tags.trial_dir = '{context.trial_dir}'", max_results=1)
    if begun:
        run = mlflow.start_run(begun[0].info.run_id)
    else:
        run = mlflow.start_run(
            experiment_id=experiment_id,
            run_name=run_name or context.trial_name or None,
            tags={tag: str(value) for tag, value in {**(tags or {}), **whose}.items() if value},
        )
    mlflow.log_params({name: value for name, value in _params(config or {}).items() if name not in run.data.params})
    at_end_of_trial(lambda: client.set_terminated(run.info.run_id))
    return mlflow


def _mlflow(needed_by: str) -> Any:
    return require("mlflow", extra="mlflow", needed_by=needed_by)


def _experiment(client: Any, name: str, *, make: bool = True, location: str | None = None) -> str:
    """Id of an experiment of MLflow's."""
    if (found := client.get_experiment_by_name(name)) is None and make:
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except _mlflow("MLflow").MlflowException:
            # Another trial may have made it meanwhile.
            if (found := client.get_experiment_by_name(name)) is None:
                raise
    mistakes = Mistakes("setup_mlflow")
    remedy = "Make it, or add create_experiment_if_not_exists=True."
    mistakes.check(found is not None, "experiment_name", "an experiment that MLflow has", name, remedy)
    mistakes.raise_if_any()
    return str(found.experiment_id)


def _params(config: Mapping[str, Any]) -> dict[str, str]:
    return {_allowed(name): text(value)[:_LONGEST_VALUE] for name, value in flatten(config).items()}


def _allowed(name: str) -> str:
    """A name with what MLflow does not allow in one replaced."""
    return re.sub(r"[^\w\-./ :]", "_", name)[:_LONGEST_NAME]
