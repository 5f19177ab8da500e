"""What a trial of a search does: fit a candidate on the training data of each split, and score it on the rest."""

from __future__ import annotations

import json
import math
import numbers
import os
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from traceback import format_exc
from typing import Any

import numpy as np
import threadpoolctl
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params, _num_samples

from tune_plugins import session as tune_session
from tune_plugins.integrations._sklearn.rounds import Course, Rounds, Training, clone_of, last_step, rounds_of
from tune_plugins.session import Verdict

SPLITS, SCORES, RESOURCE, FULL = "splits", "split_scores", "resource", "evaluated_in_full"
"""What a trial reports beside the mean scores."""

IN_FULL = "score_in_full"
"""The score by which candidates are compared, of those that were evaluated in full: what the best one is chosen by."""

_REPORTS = 20  # of a candidate at most, where the scheduler does not say at what it looks


class Fidelity(StrEnum):
    """In what a candidate's evaluation is cut into parts, between which it may be stopped."""

    ROUNDS = "rounds"  # of training, in all splits at a time
    FOLDS = "folds"  # the splits, one after another
    SAMPLES = "samples"  # of the training data, in all splits at a time


@dataclass(frozen=True)
class Evaluation:
    """How candidates are evaluated: the same for all, and sent to each worker once.

    Attributes:
        estimator: with the parameters that no candidate changes.
        scorer: as scikit-learn's searches make it of `scoring`: a function, or one of several metrics.
        names: of the metrics if there are several; empty: only one, or the scorer says.
        metric: the one by which candidates are compared.
        splits: indices of the training and of the test samples.
        fit_params: of the estimator's `fit`; those with a value for each sample are cut.
        score_params: of the scorer.
        error_score: see `TuneSearchCV`.
        return_train_score: see `TuneSearchCV`.
        fidelity: in what parts.
        early_stopping: candidates may be stopped.
        levels: rounds or samples at which they are compared, ascending.
        max_resources: see `TuneSearchCV`.
        classes: class labels of all data, None where there are none.
        in_process: a search without workers: threads are as they are.
        parameters_of: makes parameters of the estimator of a config.
        order: of the training samples of each split, of which the first so many are a fair sample.
        raised: in this process, what has ended the search.
    """

    estimator: Any
    scorer: Any
    names: tuple[str, ...]
    metric: str
    splits: Sequence[tuple[Any, Any]]
    fit_params: Mapping[str, Any]
    score_params: Mapping[str, Any]
    error_score: Any
    return_train_score: bool
    fidelity: Fidelity
    early_stopping: bool = False
    levels: tuple[int, ...] = ()
    max_resources: int | None = None
    classes: Any = None
    in_process: bool = False
    parameters_of: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    order: Sequence[Any] = ()
    raised: list[Exception] = field(default_factory=list)

    @property
    def raises(self) -> bool:
        """An error in a fit ends the search."""
        return isinstance(self.error_score, str)


def candidate(config: dict[str, Any], *, X: Any, y: Any, evaluation: Evaluation) -> None:
    """Evaluate one candidate: what a trial of a search runs."""
    session = tune_session.current()
    assert session is not None
    cpus = None if evaluation.in_process else max(1, int(session.context.trial_resources.get("CPU", 1)))
    if cpus is not None:
        _fit_into_slot(cpus)
    try:
        _evaluate(session, _Candidate(evaluation, evaluation.parameters_of(config), X, y, cpus))
    except Exception as error:
        if evaluation.in_process:
            evaluation.raised.append(error)
        raise


def _evaluate(session: tune_session.Session, course: _Candidate) -> None:
    if session.start_checkpoint is not None:
        course.load_state(Path(session.start_checkpoint.path), 0)
    for level, last in course.levels():
        course.advance(level)
        last = last or course.over
        verdict = session.report(course.metrics(last), iteration=level, model=course, last=last)
        if last or verdict is Verdict.STOP:
            return


class _Candidate:
    """One candidate, on all splits; its state can be saved, as what is known of the splits."""

    def __init__(self, evaluation: Evaluation, parameters: dict[str, Any], X: Any, y: Any, cpus: int | None) -> None:
        self.evaluation, self.X, self.y = evaluation, X, y
        self.copies = False
        self._parameters, self._cpus = parameters, cpus
        self.estimator = self.make()
        rounds = rounds_of(self.estimator, evaluation.max_resources, max(len(train) for train, _ in evaluation.splits))
        by_rounds = evaluation.fidelity is Fidelity.ROUNDS or (rounds is not None and rounds.course is Course.PASSES)
        self.rounds: Rounds | None = rounds if by_rounds else None
        self._splits = [_Split(self, number) for number in range(len(evaluation.splits))]
        self._level = 0

    def make(self) -> Any:
        """The candidate, not fitted; parameters may be estimators themselves."""
        estimator = clone_of(self.evaluation.estimator).set_params(**clone(self._parameters, safe=False))
        if self._cpus is not None:
            _limit_jobs(estimator, self._cpus)
        return estimator

    # ------------------------------------------------------------------------------ the course

    def levels(self) -> Iterator[tuple[int, bool]]:
        """Where to report, and whether it is the end."""
        evaluation = self.evaluation
        if evaluation.fidelity is Fidelity.FOLDS:
            end, at = len(self._splits), _spread(len(self._splits))
        elif evaluation.fidelity is Fidelity.SAMPLES:
            end, at = max(len(order) for order in evaluation.order), evaluation.levels
        else:
            end, at = (1, ()) if self.rounds is None else (self.rounds.end, evaluation.levels)
            if self.rounds is None and evaluation.levels:  # has no rounds: it is evaluated as a whole
                end = evaluation.levels[-1] + 1
        # Where all is done anew at the end, a rung shortly before would double the work.
        grows = self.rounds is not None and self.rounds.course is not Course.ANEW
        nearest = 1 if evaluation.fidelity is Fidelity.FOLDS or grows else 2
        for level in at:
            if self._level < level and (level < end if nearest == 1 else nearest * level <= end):
                yield level, False
        yield end, True

    def advance(self, level: int) -> None:
        """Evaluate up to a level."""
        if self.evaluation.fidelity is Fidelity.FOLDS:
            todo = self._splits[self._level : level]
        else:
            todo = [split for split in self._splits if not split.over]
        for split in todo:
            split.advance(level)
        self._level = level

    @property
    def over(self) -> bool:
        """All splits are evaluated as a whole."""
        return all(split.over for split in self._splits)

    def metrics(self, last: bool) -> dict[str, Any]:
        """What is to be reported."""
        outs = [split.out for split in self._splits if split.out is not None]
        scores = [out["test_scores"] for out in outs]
        names = next((tuple(score) for score in scores if isinstance(score, dict)), self.evaluation.names)
        by_name = {
            name: [score[name] if isinstance(score, dict) else score for score in scores]
            for name in names or (self.evaluation.metric,)
        }
        # What a function of the user's calls its metrics is known only now; compared are candidates by the first one.
        compared = by_name.get(self.evaluation.metric) or next(iter(by_name.values()))
        found: dict[str, Any] = {f"mean_test_{self.evaluation.metric}": float(np.mean(compared))}
        found |= {f"mean_test_{name}": float(np.mean(each)) for name, each in by_name.items()}
        found |= {RESOURCE: self._level, FULL: last}
        if last:
            found[IN_FULL] = found[f"mean_test_{self.evaluation.metric}"]
        if self.evaluation.early_stopping:
            found[SCORES] = compared
        if last or self.evaluation.early_stopping:  # else it is of use only when all is known
            found[SPLITS] = outs
        return found

    # ------------------------------------------------------------------------------ the port of the engine

    def save_state(self, directory: Path) -> None:
        """See `tune_plugins.session.model_port.ModelPort`; fitted models are made again when they are needed."""
        state = {"level": self._level, "splits": [(split.out, split.over) for split in self._splits]}
        (directory / _STATE).write_text(json.dumps(state), encoding="utf-8")

    def load_state(self, directory: Path, iteration: int) -> None:
        """See `tune_plugins.session.model_port.ModelPort`."""
        state = json.loads((directory / _STATE).read_text(encoding="utf-8"))
        self._level = state["level"]
        for split, (out, over) in zip(self._splits, state["splits"], strict=True):
            split.out, split.over = out, over

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        """See `tune_plugins.session.model_port.ModelPort`: other parameters make another candidate."""
        return ()


_STATE = "candidate.json"


class _Split:
    """One candidate on one split."""

    def __init__(self, candidate: _Candidate, number: int) -> None:
        self._candidate, self._number = candidate, number
        self.out: dict[str, Any] | None = None
        self.over = False
        self._training: Training | None = None
        self._fit_time = 0.0

    def advance(self, level: int) -> None:
        """Evaluate on this split, as far as `level` says; once more with copies where data was written into."""
        candidate = self._candidate
        evaluation: Evaluation = candidate.evaluation
        train, test = evaluation.splits[self._number]
        rounds, whole = candidate.rounds, True
        if evaluation.fidelity is Fidelity.SAMPLES and level < len(order := evaluation.order[self._number]):
            train, whole = np.sort(order[:level]), False
        if rounds is not None:
            if evaluation.fidelity is Fidelity.ROUNDS:
                whole = level >= rounds.end
            else:  # in one go, on other data than before
                level, self._training = rounds.end, None
            if self._training is None:
                self._training = Training(candidate.make, rounds, evaluation.classes)
        few = evaluation.fidelity is Fidelity.SAMPLES and not whole
        fit = _Fit(candidate, self._training, level, train, test, raises=evaluation.raises and not few)
        with warnings.catch_warnings():
            if not whole:  # it is not to have converged yet
                warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                self.out = fit.out()
            except _WroteIntoData:
                candidate.copies = True
                if self._training is not None:
                    self._training.forget()
                self.out = fit.out()
        if candidate.copies:
            self.out["copied"] = True
        if rounds is not None and rounds.course is not Course.ANEW:  # this was a part of the training only
            self._fit_time += self.out["fit_time"]
            self.out["fit_time"] = self._fit_time
        failed = self.out["fit_error"] is not None and not few  # few samples may lack what a fit needs
        self.over = whole or failed or (self._training is not None and self._training.ended_by_itself)
        if self.over:
            self._training = None


class _WroteIntoData(Exception):
    """Data that all share were to be written into, and nobody may."""


@dataclass
class _Fit:
    """One fit on training data, scored on test data."""

    candidate: _Candidate
    training: Training | None
    level: int
    train: Any
    test: Any
    raises: bool

    def out(self) -> dict[str, Any]:
        """Scores, times and errors, as scikit-learn's own searches gather them.

        Raises:
            _WroteIntoData: do it again with copies.
            Exception: of the fit or of the scorer, where ``error_score`` is "raise".
        """
        candidate, evaluation = self.candidate, self.candidate.evaluation
        start = time.time()
        X_train, y_train = self._part(self.train)
        X_test, y_test = self._part(self.test, self.train)
        found: dict[str, Any] = {
            "fit_error": None,
            "n_test_samples": int(_num_samples(X_test)),
            "score_time": 0.0,
        }
        estimator = None
        params = _check_method_params(candidate.X, params=evaluation.fit_params, indices=self.train)
        try:
            estimator = self._fitted(X_train, y_train, params)
        except Exception as error:
            self._look_for_writing(str(error))
            if self.raises:
                raise
            found["fit_error"] = format_exc()
        found["fit_time"] = time.time() - start
        parts = [("test_scores", X_test, y_test, self.test)]
        if evaluation.return_train_score:
            parts.append(("train_scores", X_train, y_train, self.train))
        for kind, X, y, rows in parts:
            if estimator is None:
                found[kind] = self._error_score
                continue
            params = _check_method_params(candidate.X, params=evaluation.score_params, indices=rows)
            found[kind] = self._scores(estimator, X, y, params, found)
            if kind == "test_scores":
                found["score_time"] = time.time() - start - found["fit_time"]
        return found

    def _fitted(self, X: Any, y: Any, params: Mapping[str, Any]) -> Any:
        if self.training is not None:
            return self.training.fit_to(self.level, X, y, params)
        estimator = self.candidate.make()
        estimator.fit(X, *(() if y is None else (y,)), **params)
        return estimator

    def _part(self, indices: Any, columns: Any = None) -> tuple[Any, Any]:
        """The samples of a split: a view where they lie together, which nobody may write into."""
        estimator, X, y = self.candidate.estimator, self.candidate.X, self.candidate.y
        rows = None if self.candidate.copies else _together(indices)
        part, target = _view(X, rows), _view(y, rows)
        if part is None or get_tags(estimator).input_tags.pairwise:
            part, whole = _safe_split(estimator, X, y, indices, columns)
            return part, whole if target is None else target
        return part, _safe_split(estimator, y, None, indices)[0] if target is None and y is not None else target

    def _look_for_writing(self, said: str) -> None:
        if not self.candidate.copies and any(words in said for words in ("read-only", "WRITEABLE")):
            raise _WroteIntoData

    @property
    def _error_score(self) -> Any:
        evaluation = self.candidate.evaluation
        score = math.nan if evaluation.raises else evaluation.error_score
        return dict.fromkeys(evaluation.names, score) if evaluation.names else score

    def _scores(self, estimator: Any, X: Any, y: Any, params: Mapping[str, Any], found: dict[str, Any]) -> Any:
        evaluation = self.candidate.evaluation
        try:
            scores = evaluation.scorer(estimator, X, *(() if y is None else (y,)), **params)
        except Exception as error:
            self._look_for_writing(str(error))
            if self.raises:
                raise
            found.setdefault("score_error", format_exc())
            return self._error_score
        if not isinstance(scores, dict):
            return _number(scores, evaluation.scorer)
        for name, value in scores.items():
            if isinstance(value, str):  # the traceback of one of several
                self._look_for_writing(value)
                found.setdefault("score_error", value)
                scores[name] = evaluation.error_score
        return {name: _number(value, name) for name, value in scores.items()}


def _number(score: Any, of: Any) -> Any:
    if hasattr(score, "item"):
        with suppress(ValueError):
            score = score.item()
    if not isinstance(score, numbers.Number):
        raise ValueError(f"scoring must return a number, got {score} ({type(score)}) instead. (scorer={of})")
    return score


def _together(indices: Any) -> slice | None:
    """The indices as a slice, where they follow each other."""
    indices = np.asarray(indices)
    if indices.dtype.kind not in "iu" or not len(indices) or int(indices[-1]) - int(indices[0]) + 1 != len(indices):
        return None
    return slice(int(indices[0]), int(indices[-1]) + 1) if bool(np.all(np.diff(indices) == 1)) else None


def _view(data: Any, rows: slice | None) -> Any:
    """So many rows of an array or a data frame, without a copy; None where that cannot be had."""
    if rows is None:
        return None
    if isinstance(data, np.ndarray):
        part = data[rows]
        part.flags.writeable = False
        return part
    # Before pandas 3 a slice may be written through to the frame that it is of.
    pandas = sys.modules.get("pandas")
    copies_on_write = pandas is not None and int(pandas.__version__.partition(".")[0]) >= 3
    return data.iloc[rows] if copies_on_write and type(data).__module__.startswith("pandas.") else None


def _spread(count: int) -> Sequence[int]:
    """After which of so many splits to report: each, or, of very many, some."""
    if count <= _REPORTS:
        return range(1, count)
    return sorted({round(count * number / _REPORTS) for number in range(1, _REPORTS)})


_THREADS = ("n_jobs", "num_threads", "nthread", "thread_count")


def _limit_jobs(estimator: Any, cpus: int) -> None:
    """No more threads or processes of the estimator's own than its slot has CPUs."""
    too_many = {
        name: cpus
        for name, value in estimator.get_params(deep=True).items()
        if name.rpartition("__")[2] in _THREADS and isinstance(value, numbers.Integral) and not 0 < int(value) <= cpus
    }
    if too_many:
        estimator.set_params(**too_many)
    if type(last := last_step(estimator)).__module__.startswith("catboost."):  # takes all CPUs where nothing is said
        last.set_params(thread_count=cpus)


_limited_to: int | None = None


def _fit_into_slot(cpus: int) -> None:
    """Let threads of BLAS, OpenMP and joblib fit the slot. The process is one of trials, so it can stay like this."""
    global _limited_to
    os.environ["LOKY_MAX_CPU_COUNT"] = str(cpus)  # what joblib takes for all CPUs; reset for each trial
    if _limited_to != cpus:
        threadpoolctl.threadpool_limits(cpus)
        _limited_to = cpus
