"""From the record of a search to what scikit-learn's users look at: ``cv_results_`` and its ranks."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection._validation import _insert_error_scores, _warn_or_raise_about_fit_failures

from tune_plugins.core.ends import EndCause
from tune_plugins.integrations._sklearn.evaluation import FULL, RESOURCE, SPLITS
from tune_plugins.results import Result

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """What is known of one candidate.

    Attributes:
        parameters: of the estimator.
        outs: of its splits, as `evaluation.py` makes them; those that it never saw are missing.
        resource: rounds, folds or samples that it was given.
        full: it was evaluated as a whole.
    """

    parameters: dict[str, Any]
    outs: list[dict[str, Any]]
    resource: int
    full: bool


def candidates_of(
    results: Iterable[Result],
    parameters_of: Callable[[Mapping[str, Any]], dict[str, Any]],
    n_splits: int,
    error_score: Any,
    train_scores: bool,
) -> list[Candidate]:
    """The candidates of a search in order of suggestion; those of which nothing is known are left out.

    One whose process was lost again and again has failed in all splits.

    Raises:
        TrialError: a candidate ended by an error that is neither of a fit nor of a score.
    """
    found = []
    for result in results:
        parameters = parameters_of(result.config)
        if result.error is not None:
            if result.cause not in _LOST:
                raise result.error  # neither of a fit nor of a score, which would be in the scores
            out = _failed(f"{result.error}", error_score, train_scores)
            found.append(Candidate(parameters, [out] * n_splits, 0, full=True))
        elif result.metrics.get(SPLITS):
            metrics = result.metrics
            full = bool(metrics.get(FULL)) and len(metrics[SPLITS]) == n_splits
            found.append(Candidate(parameters, metrics[SPLITS], metrics[RESOURCE], full))
    return found


_LOST = (EndCause.WORKER_LOST, EndCause.NODE_LOST, EndCause.OUT_OF_MEMORY)


def was_interrupted(results: Iterable[Result]) -> bool:
    """By Ctrl-C."""
    return any(result.cause is EndCause.USER for result in results)


def _failed(said: str, score: Any, train_scores: bool) -> dict[str, Any]:
    value = score if not isinstance(score, str) else math.nan
    out = {"fit_error": said, "test_scores": value, "fit_time": 0.0, "score_time": 0.0, "n_test_samples": 0}
    return {**out, "train_scores": value} if train_scores else out


def cv_results(
    candidates: Sequence[Candidate],
    n_splits: int,
    *,
    names: Sequence[str],
    error_score: Any,
    callable_scoring: bool,
    early_stopping: bool,
    form: Callable[[list[dict[str, Any]], int, list[dict[str, Any]]], dict[str, Any]],
) -> dict[str, Any]:
    """``cv_results_``, with ranks by which no candidate that was stopped early comes before one that was not.

    Args:
        candidates: all of them.
        n_splits: of the data.
        names: of the metrics, where they are known.
        error_score: see `TuneSearchCV`.
        callable_scoring: names are known only from scores.
        early_stopping: candidates may have been stopped early: say which.
        form: scikit-learn's own.

    Raises:
        ValueError: all fits have failed.
    """
    outs = [dict(out) for candidate in candidates for out in candidate.outs]
    for out in outs:
        if names and not isinstance(out["test_scores"], dict):  # of a process that was lost
            for kind in ("test_scores", "train_scores"):
                if kind in out:
                    out[kind] = dict.fromkeys(names, out[kind])
    _warn_or_raise_about_fit_failures(outs, error_score)
    copied, score_errors = ([out.pop(name, None) for out in outs] for name in ("copied", "score_error"))
    if any(copied):
        logger.warning("The estimator writes into X: it was given copies of the data that all candidates share.")
    for said in dict.fromkeys(filter(None, score_errors)):
        warnings.warn(
            "Scoring failed. The score on this train-test partition for these parameters will be set to "
            f"{error_score}. Details: \n{said}",
            UserWarning,
            stacklevel=3,
        )
    if callable_scoring:
        _insert_error_scores(outs, error_score)
    padded, left = [], iter(outs)
    for candidate in candidates:
        mine = [next(left) for _ in candidate.outs]
        padded += mine + [_unseen(mine[0])] * (n_splits - len(mine))
    partial = np.array([not (candidate.full or _failed_at_once(candidate)) for candidate in candidates], dtype=bool)
    with warnings.catch_warnings():
        if partial.any():  # splits that were not seen have no score, which is as it should be
            warnings.filterwarnings("ignore", message="One or more of the", category=UserWarning)
        results = form([candidate.parameters for candidate in candidates], n_splits, padded)
    if not (early_stopping or partial.any()):
        return results
    resource = np.array([candidate.resource for candidate in candidates], dtype=np.int64)
    for key in [key for key in results if key.startswith("mean_")]:
        _over_what_was_seen(results, key.removeprefix("mean_"), n_splits, padded, partial)
    for key in [key for key in results if key.startswith("rank_test_")]:
        results[key] = _ranks(results[key.replace("rank_", "mean_")], partial, resource)
    return {**results, "resource": resource, "stopped_early": partial}


def full_ones(results: Mapping[str, Any]) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """The rows of candidates that were not stopped early, and their numbers."""
    count = len(results["params"])
    rows = np.flatnonzero(~results.get("stopped_early", np.zeros(count, dtype=bool)))
    if len(rows) == count:
        return dict(results), rows
    return {
        key: [value[row] for row in rows] if isinstance(value, list) else value[rows] for key, value in results.items()
    }, rows


def _failed_at_once(candidate: Candidate) -> bool:
    """Whether a candidate ended before its end since it had no score, and not since others did better."""
    for out in candidate.outs:
        scores = out["test_scores"]
        if any(map(math.isnan, scores.values() if isinstance(scores, dict) else [scores])):
            return True
    return False


def _unseen(like: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"fit_error": None, "fit_time": math.nan, "score_time": math.nan, "n_test_samples": 0}
    for kind in ("test_scores", "train_scores"):
        if kind in like:
            out[kind] = dict.fromkeys(like[kind], math.nan) if isinstance(like[kind], dict) else math.nan
    return out


def _over_what_was_seen(
    results: dict[str, Any], name: str, n_splits: int, outs: Sequence[Mapping[str, Any]], partial: Any
) -> None:
    """Mean and standard deviation of those that were stopped early: over the splits that they saw."""
    if name in ("fit_time", "score_time"):
        each = np.array([out[name] for out in outs], dtype=np.float64).reshape(-1, n_splits)
    else:
        each = np.stack([results[f"split{number}_{name}"] for number in range(n_splits)], axis=1)
    for row in np.flatnonzero(partial):
        seen = each[row][~np.isnan(each[row])]
        if len(seen):
            results[f"mean_{name}"][row], results[f"std_{name}"][row] = np.mean(seen), np.std(seen)


def _ranks(means: Any, partial: Any, resource: Any) -> Any:
    """First those evaluated in full, by mean; then those stopped, by how far they came; then those that failed."""
    keys: list[tuple[float, ...]] = []
    for mean, stopped, came in zip(means, partial, resource, strict=True):
        keys.append((2.0,) if math.isnan(mean) else (1.0, -came, -mean) if stopped else (0.0, -mean))
    first: dict[tuple[float, ...], int] = {}
    for place, key in enumerate(sorted(keys), 1):
        first.setdefault(key, place)
    return np.array([first[key] for key in keys], dtype=np.int32)
