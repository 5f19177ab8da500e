"""What came out of an experiment: `ResultGrid` over all trials and `Result` of one, read from the record."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_plugins._imports import require
from tune_plugins.arguments import Mistakes, did_you_mean
from tune_plugins.config import default_storage_path
from tune_plugins.core.autofill import AUTOFILLED, COUNTED_SINCE, Attempt
from tune_plugins.core.ends import EndCause, ErrorInfo
from tune_plugins.core.metrics import Mode, Scope, lookup, modes_of, names_of, objective_mistakes
from tune_plugins.core.names import tag
from tune_plugins.core.scores import SCOPES, best_index, finite, number, scope_score
from tune_plugins.core.trial import CheckpointRecord, TrialStatus, chosen_values
from tune_plugins.display import html
from tune_plugins.errors import ArgumentError, TrialError, TuneError, trial_error
from tune_plugins.record.checkpoint import Checkpoint, CheckpointWriter, newest_valid, remove, reported_with, verify
from tune_plugins.record.file import FILE_NAME
from tune_plugins.record.models import BEST, BestModel, ModelCard, cut
from tune_plugins.record.names import check_name, numbered
from tune_plugins.record.overview import Experiments, overview
from tune_plugins.record.store import ExperimentStore, RecordedDecision, RecordedTrial
from tune_plugins.space.domains import same
from tune_plugins.space.nested import copy_of, flatten

if TYPE_CHECKING:
    import pandas as pd

    from tune_plugins.record.models import Build
    from tune_plugins.schedulers import TrialScheduler
    from tune_plugins.schedulers.pbt_replay import PBTSchedule

__all__ = ["Result", "ResultGrid", "experiments"]

logger = logging.getLogger(__name__)

_SHOWN = 20  # trials in a repr
_NOT_SHOWN = AUTOFILLED | {"timestamp"}
_MISSING = object()


@dataclass(frozen=True, eq=False)
class Result:
    """What became of one trial, as it stood when the grid was read.

    Attributes:
        trial_id: id of the trial.
        trial_name: its name for people.
        metrics: its last result with `training_iteration`, `time_total_s` (seconds) and `timestamp` (seconds since the
            epoch), and what Ray Tune adds: `trial_id`, `experiment_tag`, `config`, `date`, `done`, `pid`, `hostname`,
            `node_ip`, `time_this_iter_s`, `time_since_restore`, `iterations_since_restore`. Empty if it reported
            nothing.
        config: its hyper-parameters.
        path: folder of the trial; may not exist if nothing was put there.
        status: see `TrialStatus`.
        reason: why it ended, in words and numbers.
        cause: why it ended, as data: see `EndCause`; None if it has not.
        error: what it failed with, None if it did not fail.
        experiment_path: folder of the experiment.
    """

    trial_id: str
    metrics: dict[str, Any]
    config: dict[str, Any]
    path: str
    status: TrialStatus
    reason: str
    cause: EndCause | None
    error: TrialError | None
    experiment_path: str
    trial_name: str = ""
    _keeper: object = field(default=None, repr=False)  # a temporary folder lives as long as somebody holds this
    _metric: str | None = field(default=None, repr=False)  # of the run
    _mode: Mode | None = field(default=None, repr=False)
    _created_at: float | None = field(default=None, repr=False)  # of the experiment, seconds since the epoch

    @classmethod
    def from_path(cls, path: str | os.PathLike[str]) -> Result:
        """The result of the trial that has this folder.

        Raises:
            ArgumentError: no trial of the experiment in the folder above has it.
            StorageError: there is no experiment.
        """
        folder = Path(os.path.abspath(os.path.expanduser(path)))
        grid = ResultGrid(folder.parent)
        for result in grid:
            if os.path.basename(result.path) == folder.name:
                return result
        there = ", ".join(sorted(os.path.basename(result.path) for result in grid)[:_SHOWN])
        raise ArgumentError(
            "Result.from_path", [f"path: expected the folder of a trial ({there or 'none'}), got {os.fspath(path)!r}."]
        )

    @property
    def metrics_dataframe(self) -> pd.DataFrame:
        """All results of the trial in order, one row each; nested metrics are joined by ``/``.

        Columns are as in `metrics`; ``config/...`` are the hyper-parameters that each result was earned with.

        Where an integer or a bool is missing or None, its column is of pandas' type ``Int64`` or ``boolean``.
        """
        with _record(self.experiment_path, self._created_at) as store:
            filled, configs = self._filled(store), dict[int, dict[str, Any]]()
        return _data_frame([_row(result, configs) for result in filled])

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, the state that belongs to `metrics`; warns where a newer one is damaged.

        Of a trial with several fits it is that of the last one. Where a training went on behind its last report, to an
        end between two evaluations, say, it is the state of the end. None where the trial has saved nothing, or nothing
        since it has exploited another one: the states of the training that it has given up are not it.
        """
        record = newest_valid(self._of_present_training())
        return None if record is None or record.path is None else Checkpoint(record.path, config=self.config)

    def load_model(self, build: Build | None = None) -> Any:
        """The model of `checkpoint`, which `metrics` were measured with, as its framework knows it.

        For the best model of the training: ``result.get_best_checkpoint().load_model()``.

        Args:
            build: makes the model that weights are loaded into; see `Checkpoint.load_model`. Not for XGBoost,
                LightGBM, CatBoost and Transformers, which store the whole model.

        Raises:
            ArgumentError: `build` is needed, or does not fit.
            TuneError: there is no checkpoint, or it was not saved by an adapter.
        """
        if (checkpoint := self.checkpoint) is not None:
            return checkpoint.load_model(build)
        raise TuneError(
            f"Trial {self.trial_id} has no checkpoint. Train with a callback that saves them "
            "(TuneReportCheckpointCallback, TrainState), and let it save one at the end."
        )

    @property
    def best_checkpoints(self) -> list[tuple[Checkpoint, dict[str, Any]]]:
        """The checkpoints kept, oldest first, each with the result at its iteration; damaged ones are left out."""
        return [
            (Checkpoint(record.path, config=self.config), self._result_at(record))
            for record in self._checkpoints
            if record.path is not None and _whole(record.path)
        ]

    def get_best_checkpoint(self, metric: str | None = None, mode: Mode | None = None) -> Checkpoint | None:
        """The state with the best value of a metric; None if there is none with a finite value.

        By the metric of the run, the best state of the training is to be had whether a checkpoint was saved then or
        not: adapters keep it, as weights to predict with and not to go on from. By another metric, the best of the
        checkpoints. After an exploit, only states of the training that the trial has now count, under its present
        config.

        Args:
            metric: name of a reported metric, nested ones joined by ``/``; default: that of the run.
            mode: "min" or "max"; default: that of the run.

        Raises:
            ArgumentError: metric or mode is missing, or mode is neither of those.
            TuneError: the trial never reported that metric.
        """
        where = "Result.get_best_checkpoint"
        metric, mode = _check_metric(where, metric or self._metric, mode or self._mode)
        if self._results and all(lookup(result, metric) is None for result in self._results):
            raise TuneError(_no_such_metric(metric, self._results[-1:], f"trial {self.trial_id}"))
        kept = self._of_present_training()
        best = [
            (card.best.value, record, card.best)
            for record in kept
            if record.path is not None
            and (card := _card(record.path)) is not None
            and card.best is not None
            and (card.best.metric, card.best.mode) == (metric, mode)
        ]
        # Of equals the first: a copy, since a training may have gone on from there before it was saved as a whole; and
        # what is whole before a part of it.
        states: list[tuple[float | None, CheckpointRecord, BestModel | None]] = [
            *(each for each in best if each[2].folder is not None),
            *((finite(lookup(self._result_at(record), metric)), record, None) for record in kept),
            *(each for each in best if each[2].folder is None),
        ]
        while (index := best_index([score for score, _, _ in states], mode)) is not None:
            _, record, model = states.pop(index)
            if record.path is not None and _whole(record.path):
                return Checkpoint(record.path if model is None else _best_in(record.path, model), config=self.config)
        return None

    def _of_present_training(self) -> list[CheckpointRecord]:
        """Checkpoints saved since the last exploit, oldest first."""
        with _record(self.experiment_path, self._created_at) as store:
            begins = max((exploit.seq for exploit in store.standing_exploits(self.trial_id)), default=0)
            return [kept.record for kept in store.checkpoints(self.trial_id) if kept.seq >= begins]

    def explain(self) -> str:
        """Everything that was decided about the trial, with reasons, as text."""
        with _record(self.experiment_path, self._created_at) as store:
            decisions = store.decisions(self.trial_id)
        head = f"Trial {self.trial_id}: {self.status}" + (f", {self.reason}" if self.reason else "")
        lines = [f"  iteration {d.iteration}: {d.action}: {d.reason}" for d in decisions]
        return "\n".join([head, *(lines or ["  Its scheduler took no decision about it."])])

    @property
    def pbt_schedule(self) -> PBTSchedule | None:
        """The hyper-parameters over time of the training that the trial ended with, through all exploits.

        For `PopulationBasedTrainingReplay`; None if the trial never exploited another one.
        """
        from tune_plugins.schedulers.pbt_replay import schedule_of

        with _record(self.experiment_path, self._created_at) as store:
            return schedule_of(self.trial_id, store.standing_exploits(), store.configs())

    def _filled(self, store: ExperimentStore) -> list[dict[str, Any]]:
        """All results in order, as `metrics` is the last of them; each with the config that it was earned with."""
        reported, configs = store.reported(self.trial_id), store.configs(self.trial_id)
        facts = {"trial_id": self.trial_id, "experiment_tag": self.metrics.get("experiment_tag", "")}
        found: list[dict[str, Any]] = []
        config = self.config
        for seq, result, attempt in reported:
            while configs and configs[0].seq < seq:
                config = configs.pop(0).config
            done = self.status.finished and len(found) == len(reported) - 1
            found.append(attempt.filled(result, config=config, done=done, **facts))
        return found

    @cached_property
    def _results(self) -> list[dict[str, Any]]:
        with _record(self.experiment_path, self._created_at) as store:
            return store.results(self.trial_id)

    @property
    def _checkpoints(self) -> list[CheckpointRecord]:
        with _record(self.experiment_path, self._created_at) as store:
            return [kept.record for kept in store.checkpoints(self.trial_id)]

    def _result_at(self, record: CheckpointRecord) -> dict[str, Any]:
        results, at = self._results, record.iteration
        found = [index for index, result in enumerate(results) if result.get("training_iteration") == at]
        if len(found) > 1 and record.path is not None:  # after an exploit the same iterations may come again
            time = reported_with(record.path).get("timestamp")
            found = [index for index in found if results[index].get("timestamp") == time] or found
        if not found:
            return {}
        last = found[-1]
        while last + 1 < len(results) and _completes(results[last + 1], results[last]):
            last += 1
        return results[last]

    def __repr__(self) -> str:
        shown = flatten({name: value for name, value in self.metrics.items() if name not in _NOT_SHOWN})
        metrics = ", ".join(f"{name}={_short(value)}" for name, value in shown.items())
        config = ", ".join(f"{name}={_short(value)}" for name, value in flatten(self.config).items())
        error = f", error={type(self.error).__name__}" if self.error is not None else ""
        return f"Result({self.trial_id} {self.status}: {metrics or 'no results'}; config: {config or '{}'}{error})"

    def _repr_html_(self) -> str:
        parts = [html.paragraph(f"{self.trial_name}: {self.status}", self.reason)]
        if self.error is not None:
            parts.append(html.paragraph(self.error.type_name, self.error.message))
        shown = {name: value for name, value in self.metrics.items() if name not in AUTOFILLED}
        for title, values in (("metric", shown), ("hyper-parameter", self.config)):
            rows = [(name, _short(value)) for name, value in flatten(values).items()]
            parts.append(html.table((title, "value"), rows) if rows else "")
        return html.block(*parts, html.paragraph("folder", self.path))


@contextmanager
def _record(path: str, created_at: float | None) -> Iterator[ExperimentStore]:
    """The record of the experiment in `path`, if it is still the one that was created at that time (None: any).

    Raises:
        StorageError: there is no readable record.
        TuneError: it is that of another experiment.
    """
    with ExperimentStore.open(path) as store:
        if created_at is not None and store.meta("created_at").get("created_at") != created_at:
            raise TuneError(
                f"The experiment in {path} was replaced: these results are of an earlier one, which is gone. Look at "
                f"the one that is there now with tune_plugins.ResultGrid({path!r}). To keep both, give them different "
                "names."
            )
        yield store


def experiments(path: str | os.PathLike[str] | None = None) -> Experiments:
    """The experiments in a folder, newest first: a list that prints as a table.

    Each has `name`, `path`, `time` (when it began, seconds since the epoch), `trials` and `failed` (numbers), `metric`,
    `mode`, `best` (value), `running`, and `trouble` where its record cannot be read. ``ResultGrid(each.path)`` has all.

    Args:
        path: folder that holds experiments; default: the one that `RunConfig` puts them into by default. There may be
            none yet.

    Raises:
        ArgumentError: `path` is no folder.
    """
    folder = Path(os.path.abspath(os.path.expanduser(path or default_storage_path())))
    if path is not None and not folder.is_dir():
        remedy = "Give the storage_path of the runs, or nothing for the default one."
        raise ArgumentError("experiments", [f"path: expected a folder, got {os.fspath(path)!r}. {remedy}"])
    return overview(folder)


class ResultGrid:
    """The results of all trials of an experiment, read from its record when first asked for.

    Where another run has replaced the experiment meanwhile, whatever is not read yet raises `TuneError`, here and of
    its results.

    Args:
        path: folder of the experiment, or its name where it is in the default storage folder; or an object that has it
            as its `experiment_path`, such as an `ExperimentAnalysis`.
        metric, mode: what "best" means unless told otherwise; default: as the experiment was run.
        configs: of the trials by id, as the trials have got them, where that is known; default: as they are recorded.
        keeper: an object that is held as long as the results are.

    Raises:
        StorageError: there is no readable record in `path`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        metric: str | None = None,
        mode: Mode | None = None,
        *,
        configs: Mapping[str, dict[str, Any]] | None = None,
        keeper: object = None,
    ) -> None:
        self._configs = configs or {}
        self.experiment_path = _folder_of(getattr(path, "experiment_path", path))
        self._keeper = keeper
        with ExperimentStore.open(self.experiment_path) as store:
            meta = store.meta()
        self._created_at: float | None = meta.get("created_at")
        self._metric: str | None = metric or meta.get("metric")
        self._mode: Mode | None = mode or meta.get("mode")
        # Of several metrics there is no best trial, unless one of them is named.
        self._metrics = names_of(metric) or tuple(meta.get("metrics", ()))
        self._modes = modes_of(mode, len(self._metrics)) or tuple(meta.get("modes", ()))
        if len(self._metrics) > 1:
            self._metric = self._mode = None
        self._trainable = meta.get("trainable", "trial")
        self._parameters: Sequence[str] = meta.get("parameters", ())

    def kept_by(self, keeper: object) -> ResultGrid:
        """These results, which hold an object as long as they are held: one that deletes their folder, say."""
        self._keeper = keeper
        return self

    def judged_by(self, metric: str, mode: Mode) -> ResultGrid:
        """These results, of which the best is by another metric than that of the run, unless told otherwise.

        Raises:
            ArgumentError: `metric` is no name, or `mode` neither "min" nor "max".
        """
        self._metric, self._mode = _check_metric("ResultGrid.judged_by", metric, mode)
        self._metrics, self._modes = (metric,), (mode,)
        self.__dict__.pop("_all", None)
        return self

    @property
    def metric(self) -> str | None:
        """What "best" goes by unless told otherwise; None where several metrics were optimised."""
        return self._metric

    @property
    def mode(self) -> Mode | None:
        """Whether less or more of the metric is better: "min" or "max"."""
        return self._mode

    def info(self) -> dict[str, Any]:
        """How the experiment was run: name, scheduler, searcher, slots, seed, ... as recorded."""
        with _record(self.experiment_path, self._created_at) as store:
            return store.meta()

    @property
    def warnings(self) -> list[str]:
        """Why early stopping could not work, in the words of the scheduler; none where it could."""
        return list(self.info().get("warnings", ()))

    def replay(self, scheduler: TrialScheduler, *, workers: int | None = None, seed: int = 0) -> ResultGrid:
        """What another scheduler would have done with the same trials: simulated on their recorded curves.

        Trials start in the same order; each step takes as long as it took. All times are virtual, from 0.

        Args:
            scheduler: one that stops, pauses and resumes trials; one that changes hyper-parameters cannot be replayed.
            workers: virtual trials at a time; default: as many as the run had.
            seed: of the scheduler.

        Raises:
            ArgumentError: lists everything that is wrong with the scheduler, or with this experiment.
            TuneError: a trial was stopped early or failed, so that the rest of its curve is not known; or the
                scheduler changed a config.
        """
        from tune_plugins.driver.replay import replay

        with _record(self.experiment_path, self._created_at):
            folder = replay(
                Path(self.experiment_path),
                scheduler,
                metric=list(self._metrics) or None,
                mode=list(self._modes) or None,
                workers=workers,
                seed=seed,
            )
        return ResultGrid(folder.path, keeper=folder)

    @cached_property
    def _all(self) -> list[Result]:
        with _record(self.experiment_path, self._created_at) as store:
            trials, last, attempts = store.trials(), store.last_results(), store.last_attempts()
            for metric in self._metrics if self._metric is None else (self._metric,):
                # Not measured each time, or behind the training something else was reported.
                if lacking := [i for i, r in last.items() if lookup(r, metric) is None]:
                    values = {i: v for i, r in store.all_results() if (v := lookup(r, metric)) is not None}
                    last.update({i: {**last[i], metric: values[i]} for i in lacking if i in values})
        return [self._result(trial, last.get(trial.trial_id, {}), attempts.get(trial.trial_id)) for trial in trials]

    def _result(self, trial: RecordedTrial, metrics: dict[str, Any], attempt: Attempt | None) -> Result:
        error = _as_error(trial.error, trial.reason) if trial.status is TrialStatus.ERROR else None
        path = str(Path(self.experiment_path, trial.dirname))
        config = copy_of(self._configs[trial.trial_id]) if trial.trial_id in self._configs else trial.config
        if attempt is not None:
            label = tag(trial.number, chosen_values(config, self._parameters))
            facts: dict[str, Any] = {"trial_id": trial.trial_id, "experiment_tag": label, "done": trial.status.finished}
            metrics = attempt.filled(metrics, config=config, **facts)
        return Result(
            trial.trial_id,
            metrics,
            config,
            path,
            trial.status,
            trial.reason,
            trial.cause,
            error,
            self.experiment_path,
            trial.name or f"{self._trainable}_{trial.trial_id}",
            self._keeper,
            self._metric,
            self._mode,
            self._created_at,
        )

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, index: int) -> Result:
        return self._all[index]

    def __iter__(self) -> Iterator[Result]:
        return iter(self._all)

    @property
    def errors(self) -> list[Exception]:
        """What trials failed with."""
        return [result.error for result in self._all if result.error is not None]

    @property
    def num_errors(self) -> int:
        """Number of trials that failed."""
        return sum(result.status is TrialStatus.ERROR for result in self._all)

    @property
    def num_terminated(self) -> int:
        """Number of trials that ended without error."""
        return sum(result.status is TrialStatus.TERMINATED for result in self._all)

    @property
    def decisions(self) -> list[RecordedDecision]:
        """What was decided about trials, in order, with reasons; ``pandas.DataFrame(grid.decisions)`` makes a table."""
        with _record(self.experiment_path, self._created_at) as store:
            return store.decisions()

    def get_best_result(
        self,
        metric: str | None = None,
        mode: Mode | None = None,
        scope: Scope = "last",
        filter_nan_and_inf: bool = True,
    ) -> Result:
        """The result of the best trial; where there is but one trial and no metric, of that.

        A value that is NaN, None or text is never best, nor is a mean over one.

        Args:
            metric: name of a reported metric, nested ones joined by ``/``; default: that of the experiment.
            mode: "min" or "max"; default: that of the experiment.
            scope: by which of a trial's values it is judged: "last"; "all": the best it ever had; "avg",
                "last-5-avg", "last-10-avg": the mean of all, of the last 5 or 10.
            filter_nan_and_inf: False: an infinite value may be best.

        Raises:
            ArgumentError: metric or mode is missing, or mode or scope is none of those above.
            TuneError: there is no result yet, none with that metric, or none with a usable value.
        """
        alone = len(self) == 1 and scope in SCOPES and bool(self[0].metrics)
        if alone and metric is None and mode is None and self._metric is None and not self._metrics:
            return self[0]
        metric, mode = _check_metric(
            "ResultGrid.get_best_result", metric or self._metric, mode or self._mode, scope, self._metrics
        )
        results = self._all
        values = self._values(metric, scope)
        if not any(values.values()):
            raise TuneError(self._why_no_value(metric))
        scores = [
            scope_score(values.get(result.trial_id, []), scope, mode, allow_infinite=not filter_nan_and_inf)
            for result in results
        ]
        best = best_index(scores, mode)
        if best is None:
            seen = ", ".join(
                f"{trial_id}: {_short(found[-1])}" for trial_id, found in list(values.items())[:5] if found
            )
            raise TuneError(
                f"No trial has a usable value of {metric!r} (scope {scope!r}): all are NaN, infinite, None or text. "
                f"Last values by trial: {seen}. Look for what makes the metric diverge."
            )
        return results[best]

    def pareto_front(
        self, metric: Sequence[str] | None = None, mode: Mode | Sequence[Mode] | None = None
    ) -> list[Result]:
        """The trials that no other one betters in all metrics, in order of creation.

        Trials are compared by their last results; one that lacks a finite value of a metric is left out. One trial
        betters another if it is nowhere worse and somewhere better (Pareto dominance).

        Args:
            metric: names of reported metrics; default: those of the experiment.
            mode: "min" or "max" for each, or one for all; default: those of the experiment.

        Raises:
            ArgumentError: metric or mode is missing or wrong.
            TuneError: a metric was not reported by any trial.
        """
        from tune_plugins.schedulers.pareto import non_dominated

        results, points = self._points("ResultGrid.pareto_front", metric, mode)
        return [results[number] for number in non_dominated(points)]

    def hypervolume(
        self,
        reference: Sequence[float] | None = None,
        metric: Sequence[str] | None = None,
        mode: Mode | Sequence[Mode] | None = None,
    ) -> float:
        """How much of the space of the metrics the Pareto front betters, up to a reference point; more is better.

        Zitzler and Thiele (1998), Multiobjective optimization using evolutionary algorithms, section 4; computed by
        the package ``moocore``.

        Args:
            reference: the worst value of each metric that counts; give it to compare runs. Default: the worst one of
                this run.
            metric: as of `pareto_front`.
            mode: as of `pareto_front`.

        Raises:
            ArgumentError: as `pareto_front`; `reference` has not one number for each metric.
            TuneError: as `pareto_front`.
            MissingDependencyError: ``moocore`` is not installed.
        """
        where = "ResultGrid.hypervolume"
        moocore = require("moocore", extra="pareto", needed_by=where)
        _, points = self._points(where, metric, mode)
        names, modes = self._objectives(where, metric, mode)
        if reference is None:
            worst = [max(column) for column in zip(*points, strict=True)]
        else:
            given = [finite(value) for value in reference] if isinstance(reference, Iterable) else [None]
            if len(given) != len(names) or None in given:
                raise ArgumentError(where, [f"reference: expected a number for each of {names}, got {reference!r}."])
            worst = [-float(v) if m == "max" else float(v) for v, m in zip(reference, modes, strict=True)]
        return float(moocore.hypervolume(points, ref=worst)) if points else 0.0

    def _objectives(
        self, where: str, metric: Sequence[str] | None, mode: Mode | Sequence[Mode] | None
    ) -> tuple[tuple[str, ...], tuple[Mode, ...]]:
        mistakes = Mistakes(where, objective_mistakes(metric, mode))
        names = names_of(metric) or self._metrics
        modes = modes_of(mode, len(names)) or (self._modes if names == self._metrics else ())
        if not names:
            mistakes.add("metric: expected names of reported metrics, got None. The experiment has none; give metric=.")
        elif not modes:
            mistakes.add("mode: expected 'min' or 'max' for each metric, got None. Give mode=.")
        elif len(modes) != len(names) and not mistakes.found:
            mistakes.add(f"mode: expected one for each of the {len(names)} metrics, got {len(modes)}.")
        mistakes.raise_if_any()
        return names, modes

    def _points(
        self, where: str, metric: Sequence[str] | None, mode: Mode | Sequence[Mode] | None
    ) -> tuple[list[Result], list[list[float]]]:
        """Results with a finite value of each metric, and these values as numbers of which less is better."""
        names, modes = self._objectives(where, metric, mode)
        results, points = [], []
        for result in self._all:
            values = [finite(lookup(result.metrics, name)) for name in names]
            if None not in values:
                results.append(result)
                points.append([-v if m == "max" else v for v, m in zip(values, modes, strict=True) if v is not None])
        for name in () if points else names:
            if not any(lookup(result.metrics, name) is not None for result in self._all):
                raise TuneError(self._why_no_value(name))
        return results, points

    def get_dataframe(self, filter_metric: str | None = None, filter_mode: Mode | None = None) -> pd.DataFrame:
        """One row for each trial: its metrics, `status`, `cause` (why it ended), `logdir` (its folder), ``config/...``.

        Args:
            filter_metric: take the result of each trial that is best by this metric; default: the last one.
            filter_mode: "min" or "max"; default: that of the experiment.

        Types of columns are as in `Result.metrics_dataframe`.
        """
        chosen = {result.trial_id: result.metrics for result in self._all}
        if filter_metric is not None or filter_mode is not None:
            metric, mode = _check_metric(
                "ResultGrid.get_dataframe", filter_metric or self._metric, filter_mode or self._mode
            )
            best: dict[str, dict[str, Any]] = {}
            with _record(self.experiment_path, self._created_at) as store:
                for trial in self._all:
                    filled = trial._filled(store)
                    index = best_index([finite(lookup(result, metric)) for result in filled], mode)
                    if index is not None:
                        best[trial.trial_id] = chosen[trial.trial_id] = filled[index]
            if not best:
                raise TuneError(self._why_no_value(metric))
        return _data_frame(
            [
                {
                    **_row({"trial_id": result.trial_id, "config": result.config, **chosen[result.trial_id]}),
                    "status": str(result.status),
                    "cause": None if result.cause is None else str(result.cause),
                    "logdir": result.path,
                }
                for result in self._all
            ]
        )

    def __repr__(self) -> str:
        counts: dict[str, int] = {}
        for result in self._all:
            counts[result.status] = counts.get(result.status, 0) + 1
        states = ", ".join(f"{count} {status}" for status, count in counts.items())
        lines = [f"ResultGrid: {len(self)} trials{f' ({states})' if states else ''} in {self.experiment_path}"]
        lines += [f"  {result!r}" for result in self._all[:_SHOWN]]
        if len(self) > _SHOWN:
            lines.append(f"  ... and {len(self) - _SHOWN} more")
        lines += [f"  warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        shown, metric = self._all[:_SHOWN], self._metric or next(iter(self._metrics), None)
        head, *_ = repr(self).splitlines()
        parts = [html.paragraph("", head), *(html.paragraph("warning", warning) for warning in self.warnings)]
        best = None
        if self._metric is not None:
            with suppress(TuneError):
                best = self.get_best_result()
        if best is not None:
            value = _short(lookup(best.metrics, self._metric or ""))
            config = ", ".join(f"{name}={_short(value)}" for name, value in flatten(best.config).items())
            parts.append(html.paragraph(f"best {self._metric} {value}", f"trial {best.trial_id}: {config}"))
        names = list(dict.fromkeys(name for result in shown for name in flatten(result.config)))
        told = [*([] if metric is None else [metric]), "training_iteration", "time_total_s"]
        rows = []
        for result in shown:
            given = flatten(result.config)
            values = [given.get(name, _MISSING) for name in names]
            values += [lookup(result.metrics, name, _MISSING) for name in told]
            texts = ["" if value is _MISSING else _short(value) for value in values]
            rows.append([result.trial_id, str(result.status), *texts, result.reason])
        titles = ["trial", "status", *names, *told, "why it ended"]
        number = next((n for n, result in enumerate(shown) if result is best), None)
        more = len(self) - len(shown)
        parts += [html.table(titles, rows, bold=number), html.paragraph("", f"... and {more} more") if more else ""]
        return html.block(*parts)

    def _values(self, metric: str, scope: Scope) -> dict[str, list[Any]]:
        """Values of a metric by trial, in order; for scope "last" only the last one where that is enough."""
        missing = object()
        if scope == "last":
            values = {r.trial_id: [lookup(r.metrics, metric, missing)] for r in self._all if r.metrics}
            if not any(found[0] is missing for found in values.values()):
                return values
        values = {}
        with _record(self.experiment_path, self._created_at) as store:
            if metric in COUNTED_SINCE:
                return {r.trial_id: [lookup(each, metric) for each in r._filled(store)] for r in self._all}
            for trial_id, result in store.all_results():
                value = lookup(result, metric, missing)
                if value is not missing:
                    values.setdefault(trial_id, []).append(value)
        return values

    def _why_no_value(self, metric: str) -> str:
        if not self._all:
            return f"The experiment in {self.experiment_path} has no trials yet."
        results = [result.metrics for result in self._all if result.metrics]
        if results:
            return _no_such_metric(metric, results, "any trial")
        cut_off = [result for result in self._all if result.cause in (EndCause.TIME_BUDGET, EndCause.USER)]
        if len(cut_off) == len(self):
            return (
                f"None of the {len(self)} trials has reported a result: the run was over before ({cut_off[0].reason}). "
                "Give it more time."
            )
        failed = ""
        if first := next((result.error for result in self._all if result.error is not None), None):
            said = ErrorInfo(first.type_name, first.message).on_one_line(200)
            failed = f" {self.num_errors} of them failed; the first with: {said}"
        hint = failed or (
            " Add the callback of your framework to the training (see tune_plugins.integrations), or call "
            f"tune_plugins.report({metric}=...) in it."
        )
        return f"None of the {len(self)} trials has reported a result.{hint}"


def _folder_of(path: str | os.PathLike[str]) -> str:
    """The folder of an experiment, given that or its record, from anywhere or by its name in the default storage."""
    mistakes = Mistakes("ResultGrid")
    mistakes.check(isinstance(path, (str, os.PathLike)), "path", "the folder of an experiment", path)
    mistakes.raise_if_any()
    given = Path(os.path.abspath(os.path.expanduser(path)))
    if given.name == FILE_NAME:
        return str(given.parent)
    stored = Path(os.path.expanduser(default_storage_path()), numbered(os.fspath(path), 1)[1])
    named = not given.exists() and check_name("path", os.fspath(path)) is None and (stored / FILE_NAME).exists()
    return str(stored.absolute() if named else given)


def _row(result: Mapping[str, Any], configs: dict[int, dict[str, Any]] | None = None) -> dict[str, Any]:
    """A result without nesting; hyper-parameters are ``config/...``. `configs`: those that were seen before, by id."""
    given = result["config"]
    config = None if configs is None else configs.get(id(given))
    if config is None:
        config = {f"config/{name}": value for name, value in flatten(given).items()}
        if configs is not None:
            configs[id(given)] = config
    return {**flatten({name: value for name, value in result.items() if name != "config"}), **config}


def _data_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """One row for each dict. Where integers or bools are missing, pandas would make floats or objects of the others."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    for name in frame.columns[frame.isna().any()]:
        values = [row.get(name) for row in rows]
        kinds = {type(value) for value in values if value is not None}
        if kinds == {bool}:
            frame[name] = pd.array(values, dtype="boolean")
        elif kinds and bool not in kinds and all(issubclass(kind, Integral) for kind in kinds):
            with suppress(OverflowError):  # an integer of more than 64 bits
                frame[name] = pd.array(values, dtype="Int64")
    return frame


def _check_metric(
    where: str, metric: str | None, mode: Mode | None, scope: Scope = "last", several: Sequence[str] = ()
) -> tuple[str, Mode]:
    mistakes = Mistakes(where)
    if metric is None and len(several) > 1:
        mistakes.add(
            f"metric: expected the name of one metric, since {', '.join(several)} were optimised, got None. Give "
            "metric= and mode=, or look at pareto_front()."
        )
        mode = mode or "min"
    elif metric is None:
        mistakes.add("metric: expected the name of a reported metric, got None. The experiment has none; give metric=.")
    else:
        mistakes.metric("metric", metric)
    mistakes.mode("mode", mode)
    mistakes.one_of("scope", scope, SCOPES)
    mistakes.raise_if_any()
    assert mode is not None
    return str(metric), mode


def _no_such_metric(metric: str, results: list[dict[str, Any]], who: str) -> str:
    names = sorted({n for each in results for n in flatten({k: v for k, v in each.items() if k not in AUTOFILLED})})
    hint = did_you_mean(metric, names)
    return f"The metric {metric!r} was not reported by {who}.{hint} Those reported: {', '.join(names)}."


def _completes(result: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether a result is the one before, with what the training function has returned added to it."""
    times = ("time_total_s", "timestamp")
    return all(name in times or (name in result and same(result[name], value)) for name, value in before.items())


def _card(path: str) -> ModelCard | None:
    try:
        return ModelCard.read(path)
    except TuneError as error:
        logger.warning("The best model in checkpoint %s cannot be used: %s", path, error)
        return None


def _best_in(path: str, best: BestModel) -> str:
    """The directory of the best model in a checkpoint; made there on first use where it is a cut of the last one.

    Where nothing can be written there, in a temporary folder that lasts as long as this process.
    """
    if best.rounds is None:
        return os.path.join(path, best.folder or "")
    folder = os.path.join(path, BEST)
    if verify(folder) is None:
        return folder
    try:
        remove(folder)  # of which a part may be there
        writer = CheckpointWriter(folder)
    except OSError:
        directory = tempfile.mkdtemp(prefix="checkpoint-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        cut(path, best.rounds, Path(directory))
        return directory
    try:
        cut(path, best.rounds, writer.path)
        placed = writer.commit(best.rounds, best.value).path
    except BaseException:
        writer.abort()
        raise
    return str(placed)


def _whole(path: str) -> bool:
    wrong = verify(path)
    if wrong is not None:
        logger.warning("Checkpoint %s cannot be used: %s.", path, wrong)
    return wrong is None


def _as_error(error: ErrorInfo | None, reason: str) -> TrialError:
    if error is None:
        return TrialError("TuneError", reason)
    return trial_error(error.type, error.message, error.traceback)


def _short(value: Any) -> str:
    as_number = number(value)
    if as_number is not None and isinstance(value, float):
        return f"{as_number:.6g}"
    text = str(value) if isinstance(value, Mapping | list) else repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
