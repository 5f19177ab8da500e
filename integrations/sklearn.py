"""scikit-learn: searches for hyper-parameters with the interface of `GridSearchCV` and `RandomizedSearchCV`.

One import changes, and a search runs on Ray, with early stopping and any searcher.

>>> from sklearn.linear_model import SGDClassifier
>>> from scipy.stats import loguniform
>>> search = TuneSearchCV(
...     SGDClassifier(), {"alpha": loguniform(1e-7, 1e-1)}, n_trials=60, search="tpe", scheduler="asha"
... )
>>> search.fit(X, y).best_params_  # doctest: +SKIP

What it touches of scikit-learn: the base class of its searches, so that all that a fitted search does (predict, score,
routing of metadata) is scikit-learn's own code, and the helpers that these use to cut data and to make tables of
scores. All that is private is in `INTERNALS`.
"""

from __future__ import annotations

import inspect
import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import warnings
import weakref
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar

import numpy as np

from tune_plugins import session as tune_session
from tune_plugins._imports import require
from tune_plugins.arguments import Mistakes, did_you_mean, is_number, is_whole
from tune_plugins.callbacks import Callback
from tune_plugins.config import FailureConfig, RunConfig, TuneConfig
from tune_plugins.core.scheduler import TrialScheduler
from tune_plugins.driver.trial_function import with_parameters
from tune_plugins.errors import ArgumentError, TrialError, TuneError
from tune_plugins.integrations._adapter import Internals
from tune_plugins.results import ResultGrid
from tune_plugins.tuner import Tuner

require("sklearn", extra="sklearn", needed_by="tune_plugins.integrations.sklearn")

from joblib import effective_n_jobs  # noqa: E402
from joblib.parallel import get_active_backend  # noqa: E402
from sklearn.base import clone, is_classifier  # noqa: E402
from sklearn.model_selection import check_cv  # noqa: E402
from sklearn.model_selection._search import BaseSearchCV  # noqa: E402
from sklearn.utils import check_random_state, indexable  # noqa: E402
from sklearn.utils.validation import _check_method_params, _num_samples  # noqa: E402

from tune_plugins.integrations._sklearn.candidates import Search, of_distributions, of_grid  # noqa: E402
from tune_plugins.integrations._sklearn.evaluation import IN_FULL, Evaluation, Fidelity, candidate  # noqa: E402
from tune_plugins.integrations._sklearn.results import (  # noqa: E402
    candidates_of,
    cv_results,
    full_ones,
    was_interrupted,
)
from tune_plugins.integrations._sklearn.rounds import Course, clone_of, fit_by_passes, last_step, rounds_of  # noqa: E402
from tune_plugins.integrations._sklearn.stopping import SCHEDULERS, order_of_samples, stopping  # noqa: E402

__all__ = ["TuneGridSearchCV", "TuneSearchCV"]

INTERNALS = Internals(
    seen=("1.9.1",),
    names=(
        "sklearn.callback._callback_support.CallbackSupportMixin: _skl_callbacks",
        "sklearn.metrics._scorer._MultimetricScorer: _scorers",
        "sklearn.model_selection._search.BaseSearchCV: _format_results, _get_routed_params_for_fit, _get_scorers",
        "sklearn.model_selection._search.BaseSearchCV: _check_refit_for_multimetric, _select_best_index",
        "sklearn.model_selection._validation._insert_error_scores: results, error_score",
        "sklearn.model_selection._validation._warn_or_raise_about_fit_failures: results, error_score",
        "sklearn.pipeline.Pipeline: _fit",
        "sklearn.utils.metaestimators._safe_split: estimator, X, y, indices, train_indices",
        "sklearn.utils.validation._check_method_params: X, params, indices",
        "sklearn.utils.validation._num_samples: x",
    ),
)

logger = logging.getLogger(__name__)

_SMALL = 1_000_000
"""Values of X times fits, below which a search is done before other processes would have started."""


class _TuneBaseSearchCV(BaseSearchCV):
    """What both searches do: everything but the candidates."""

    _aliases: ClassVar[dict[str, str]] = {}
    """{name of an argument: the name that it has elsewhere}."""

    def _search(self, base: Any, mistakes: Mistakes) -> Search:
        raise NotImplementedError

    # ------------------------------------------------------------------------------ fit

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Try candidates, and fit the best one on all data.

        Args:
            X: data, of shape (n_samples, n_features), or whatever the estimator takes and has a length.
            y: targets, of shape (n_samples,) or (n_samples, n_outputs); None for unsupervised learning.
            **params: for the estimator's `fit`, the splitter (``groups``) and the scorer, as scikit-learn's own
                searches pass them on; what has a value for each sample is cut like X.

        Returns:
            The search itself.

        Raises:
            ArgumentError: lists everything that is wrong with the arguments of the search.
            ValueError: all fits have failed, or what scikit-learn itself says of the data.
            TuneError: no candidate was evaluated in full before the search ended.
        """
        mistakes = Mistakes(type(self).__name__, self._mistakes())
        try:
            scorers, refit_metric = self._get_scorers()
            X, y = indexable(X, y)
            routed = self._get_routed_params_for_fit(_check_method_params(X, params=params))
            base = clone_of(self.estimator)
            max_resources = self._given("max_resources")
            if is_whole(max_resources) and max_resources > 0:
                _let_train(base, max_resources, _num_samples(X), mistakes)
            search = self._search(base, mistakes)
            splits = self._splits(X, y, routed.splitter.split)
            stop = stopping(
                _scheduler(self._given("scheduler")),
                self.fidelity,
                max_resources,
                estimator=base,
                search=search,
                splits=splits,
                mistakes=mistakes,
            )
        except Exception:
            mistakes.raise_if_any()  # of which it may be a consequence
            raise
        mistakes.raise_if_any()
        _check_parameters(base, search)
        names = tuple(getattr(scorers, "_scorers", ()))
        seed = _seed_of(getattr(self, "random_state", None), drawn=search.known is not None)
        evaluation = Evaluation(
            estimator=base,
            scorer=scorers,
            names=names,
            metric=self.refit if isinstance(self.refit, str) else (names or ("score",))[0],
            splits=splits,
            fit_params=dict(routed.estimator.fit),
            score_params=dict(routed.scorer.score),
            error_score=self.error_score,
            return_train_score=self.return_train_score,
            fidelity=stop.fidelity,
            early_stopping=stop.scheduler is not None,
            levels=stop.levels,
            max_resources=max_resources,
            classes=_classes(y) if is_classifier(base) else None,
            in_process=self._in_process(X, search),
            parameters_of=search.parameters_of,
            order=order_of_samples(splits, base, y, seed) if stop.fidelity is Fidelity.SAMPLES else (),
        )
        self.fidelity_ = None if stop.scheduler is None else stop.fidelity.value
        self.results_ = self._run(X, y, evaluation, search, stop.scheduler, seed)
        candidates = candidates_of(
            self.results_, search.parameters_of, self.n_splits_, self.error_score, self.return_train_score
        )
        interrupted = was_interrupted(self.results_)
        if not candidates:
            if interrupted:
                raise KeyboardInterrupt
            raise TuneError(
                f"{type(self).__name__}: the search has ended before any candidate was evaluated. Give it more time."
            )
        how = "was interrupted" if interrupted else ""
        if self.time_budget_s is not None and len(candidates) < search.n_trials and not interrupted:
            how = f"has come to the end of its {self.time_budget_s:g} s"
        if how:
            warnings.warn(
                f"{type(self).__name__} {how} with {len(candidates)} of {search.n_trials} candidates: the best one is "
                "the best of those that were evaluated in full until then.",
                UserWarning,
                stacklevel=2,
            )
        copied = any(out.get("copied") for candidate in candidates for out in candidate.outs)
        results = cv_results(
            candidates,
            self.n_splits_,
            names=names,
            error_score=self.error_score,
            callable_scoring=callable(self.scoring),
            early_stopping=stop.scheduler is not None,
            form=self._format_results,
        )
        scores = [out["test_scores"] for candidate in candidates for out in candidate.outs]
        several = next((score for score in scores if isinstance(score, dict)), None)
        self.multimetric_ = bool(names) or several is not None
        if callable(self.scoring) and several is not None:
            self._check_refit_for_multimetric(several)
            refit_metric = self.refit
        if self.refit or not self.multimetric_:
            self._choose(results, refit_metric)
        if self.refit:
            if copied:
                X, y = deepcopy(X), deepcopy(y)
            self._fit_best(base, X, y, evaluation)
        self.scorer_ = getattr(scorers, "_scorers", scorers)
        self.cv_results_ = results
        return self

    def _splits(self, X: Any, y: Any, params: Mapping[str, Any]) -> list[tuple[Any, Any]]:
        cv = self._checked_cv_orig = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        self.n_splits_ = cv.get_n_splits(X, y, **params)
        splits = list(cv.split(X, y, **params))
        if len(splits) != self.n_splits_:
            raise ValueError(
                f"cv.split and cv.get_n_splits return inconsistent results. Expected {self.n_splits_} splits, got "
                f"{len(splits)}"
            )
        if not splits:
            raise ValueError("No fits were performed. Was the CV iterator empty? Were there no candidates?")
        return [(_indices(train), _indices(test)) for train, test in splits]

    def _run(
        self, X: Any, y: Any, evaluation: Evaluation, search: Search, scheduler: TrialScheduler | None, seed: int
    ) -> ResultGrid:
        storage = self._given("storage_path")
        folder = None if storage is not None else _Folder()
        wanted = get_active_backend()[1] if self.n_jobs is None else self.n_jobs  # that of joblib.parallel_config
        n_jobs = None if wanted in (None, -1) else effective_n_jobs(wanted)
        tuner = Tuner(
            with_parameters(candidate, X=X, y=y, evaluation=evaluation),
            param_space=search.space,
            tune_config=TuneConfig(
                metric=f"mean_test_{evaluation.metric}",
                mode="max",
                search_alg=search.searcher,
                scheduler=scheduler,
                num_samples=search.n_trials,
                max_concurrent_trials=n_jobs,
                max_resident_trials=0,  # what is known of a candidate that waits is small, and its models are not
                time_budget_s=self.time_budget_s,
                seed=seed,
            ),
            run_config=RunConfig(
                name=self.name,
                storage_path=storage if folder is None else folder.path,
                callbacks=self.callbacks or (),
                verbose=int(self.verbose),
                # Errors of a fit are no failures of a trial, unless they are to end the search.
                failure_config=FailureConfig(
                    max_failures=0 if evaluation.in_process else 2,
                    fail_fast="raise" if evaluation.raises or evaluation.in_process else False,
                    retry="lost",
                ),
                runtime="inline" if evaluation.in_process else "ray",
            ),
        )
        try:
            results = tuner.fit()
        except TrialError:
            if evaluation.raised:
                raise evaluation.raised[0] from None
            raise
        results = results.judged_by(IN_FULL, "max")
        return results if folder is None else results.kept_by(folder)

    def _choose(self, results: dict[str, Any], metric: Any) -> None:
        """The best candidate; of those only that were evaluated in full."""
        in_full, rows = full_ones(results)
        if not len(rows):
            raise TuneError(
                f"{type(self).__name__}: none of the {len(results['params'])} candidates was evaluated in full before "
                "the search ended. Give it more time, or a scheduler that lets some come to their end; what is known "
                "of them is in results_."
            )
        self.best_index_ = rows[self._select_best_index(self.refit, metric, in_full)]
        if not callable(self.refit):
            self.best_score_ = results[f"mean_test_{metric}"][self.best_index_]
        self.best_params_ = results["params"][self.best_index_]

    def _fit_best(self, base: Any, X: Any, y: Any, evaluation: Evaluation) -> None:
        self.best_estimator_ = clone_of(base).set_params(**clone(self.best_params_, safe=False))
        params = evaluation.fit_params
        rounds = rounds_of(self.best_estimator_, evaluation.max_resources, _num_samples(X))
        start = time.time()
        if rounds is not None and rounds.course is Course.PASSES:
            fit_by_passes(self.best_estimator_, rounds.end, evaluation.classes, X, y, params)
        else:
            self.best_estimator_.fit(X, *(() if y is None else (y,)), **params)
        self.refit_time_ = time.time() - start
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_

    def _in_process(self, X: Any, search: Search) -> bool:
        """Whether the search is done in this process, without Ray.

        That is so in a process that is a worker of others, and where the search would be over before Ray is there.
        """
        inside = multiprocessing.parent_process() is not None or get_active_backend()[0].nesting_level
        if self.n_jobs == 1 or inside or tune_session.current() is not None:
            return True
        ray = sys.modules.get("ray")
        if self.n_jobs is not None or os.environ.get("RAY_ADDRESS") or (ray is not None and ray.is_initialized()):
            return False
        values = X.size if isinstance(getattr(X, "size", None), int) else 100 * _num_samples(X)
        return search.n_trials != -1 and values * search.n_trials * self.n_splits_ < _SMALL

    def __getstate__(self) -> dict[str, Any]:
        """Without results that are in a temporary folder, which ends with this process."""
        state = dict(super().__getstate__())
        if self._given("storage_path") is None:
            state.pop("results_", None)
        return state

    # ------------------------------------------------------------------------------ arguments

    def _given(self, name: str) -> Any:
        """An argument, by its own name or by the one that it has elsewhere."""
        other = getattr(self, self._aliases.get(name, ""), None)
        return getattr(self, name) if other is None else other

    def _mistakes(self) -> list[str]:
        """What is wrong with the arguments by themselves.

        Raises:
            ArgumentError: nothing more can be known without an estimator.
        """
        found = Mistakes(type(self).__name__)
        defaults = inspect.signature(type(self)).parameters
        for name, other in self._aliases.items():
            if getattr(self, other) is not None and getattr(self, name) != defaults[name].default:
                found.add(f"{other}: expected None beside {name}, which means the same, got both. Give one of them.")
        found.check(
            hasattr(self.estimator, "fit") and not isinstance(self.estimator, type),
            "estimator",
            "an estimator of scikit-learn, with fit",
            self.estimator,
            f"Write {self.estimator.__name__}()." if isinstance(self.estimator, type) else "",
        )
        found.raise_if_any()
        n_jobs = self.n_jobs is None or (is_whole(self.n_jobs) and self.n_jobs != 0)
        remedy = "1: in this process; -1 or None: as many as there is room for."
        found.check(n_jobs, "n_jobs", "None or a whole number other than 0", self.n_jobs, remedy)
        is_text = isinstance(self.error_score, str)
        right = self.error_score == "raise" if is_text else is_number(self.error_score)
        found.check(right, "error_score", "a number or 'raise'", self.error_score)
        fidelities = ("auto", *map(str, Fidelity))
        meant = did_you_mean(self.fidelity, fidelities).strip() if isinstance(self.fidelity, str) else ""
        found.one_of("fidelity", self.fidelity, fidelities, none=True, remedy=meant)
        if self.fidelity in tuple(Fidelity) and _scheduler(self._given("scheduler")) is None:
            found.add(
                f"scheduler: expected one with fidelity={self.fidelity!r}, since nothing is stopped without, got None. "
                "Add scheduler='asha', or leave fidelity out."
            )
        found.whole("max_resources", self._given("max_resources"), least=1, none=True)
        right = isinstance(self.refit, (bool, str, np.bool_)) or callable(self.refit)
        found.check(right, "refit", "True, False, the name of a metric or a function", self.refit)
        scheduler = _scheduler(self._given("scheduler"))
        if isinstance(scheduler, str):
            meant = did_you_mean(scheduler, SCHEDULERS).strip()
            found.one_of("scheduler", scheduler, SCHEDULERS, remedy=f"{meant} Or give a scheduler object.".strip())
            scheduler = None
        elif isinstance(scheduler, TrialScheduler) and scheduler.changes_configs:
            found.add(
                f"scheduler: expected one that stops candidates early, got {type(scheduler).__name__}, which changes "
                "their parameters while they train. Take 'asha', or tune a training function with Tuner."
            )
        elif isinstance(scheduler, TrialScheduler) and not (scheduler.metric or "mean_test_").startswith("mean_test_"):
            found.add(
                f"scheduler: expected one without a metric, which is that of scoring, got {scheduler.metric!r}. "
                f"Write {type(scheduler).__name__}(...) without metric and mode."
            )
        verbose = isinstance(self.verbose, (bool, np.bool_)) or (is_whole(self.verbose) and self.verbose >= 0)
        found.check(verbose, "verbose", "a whole number of at least 0", self.verbose)
        trials = self._given_trials()
        right = is_whole(trials) and (trials >= 1 or trials == -1)
        remedy = "Give the number of candidates; -1 for as many as there is time for."
        found.check(right, "n_trials", "a whole number of at least 1, or -1", trials, remedy)
        for make, given in (
            (
                TuneConfig,
                {
                    "search_alg": self._given("search") if hasattr(self, "search") else None,
                    "scheduler": scheduler,
                    "time_budget_s": self.time_budget_s,
                },
            ),
            (
                RunConfig,
                {
                    "name": self.name,
                    "storage_path": self._given("storage_path"),
                    "callbacks": self.callbacks or (),
                },
            ),
        ):
            try:
                make(**given)
            except ArgumentError as error:
                found.found += [mistake.replace("search_alg:", "search:", 1) for mistake in error.mistakes]
        if self.pre_dispatch != "2*n_jobs":
            logger.info("pre_dispatch is ignored: a candidate is sent to a worker when there is one for it.")
        if getattr(self, "_skl_callbacks", None):
            logger.warning("Callbacks of scikit-learn (set_callbacks) are not called: candidates train elsewhere.")
        return found.found

    def _given_trials(self) -> Any:
        return self._given("n_trials") if hasattr(self, "n_trials") else 1


class TuneSearchCV(_TuneBaseSearchCV):
    """Search for hyper-parameters by any searcher, in place of `RandomizedSearchCV`.

    With ``search="random"``, no scheduler and a space of lists and distributions of scipy it tries the candidates of
    `RandomizedSearchCV` with the same `random_state`, and finds the same scores.

    A candidate that is stopped early is not ranked above one that was evaluated in full, and is never the best one.
    Where a training is cut into rounds, scores of a whole one are those of `fit` with the parameters of the candidate.

    Args:
        estimator: of scikit-learn, or with its interface; may be a pipeline.
        param_distributions: {name of a parameter: list of values, distribution of `scipy.stats` or domain of
            `tune_plugins`}, a list of such dicts, or a `tune_plugins.space.Space`. A dict under a name that is no
            parameter, such as an option of a `choice`, stands for the parameters in it.
        n_trials: number of candidates; -1: as many as there is time for.
        search: "random", "sobol", "tpe", ...: whatever `TuneConfig(search_alg=)` takes.
        scheduler: None: every candidate is evaluated in full; "asha", "hyperband", "median": those that do badly are
            stopped; "race": those that are most likely worse than the best one on the same folds; "auto": "race" where
            folds are the fidelity, else "asha"; or a scheduler object, whose ``training_iteration`` counts rounds,
            folds or samples.
        scoring: as in scikit-learn: None, a name, a function, or several of them; more is better.
        refit: fit the best candidate on all data. The name of a metric, where there are several; or a function of
            ``cv_results_`` (of candidates evaluated in full) that returns the number of the best.
        cv: number of folds, a splitter, or pairs of indices.
        n_jobs: candidates at a time; None or -1: as many as there is room for. 1: in this process, without Ray, as it
            is in a worker of joblib, in a trial, or where None is given and there is little to do.
        max_resources: rounds of a whole training (``n_estimators``, ``max_iter``, passes of `partial_fit`), in place
            of the estimator's own; a candidate that has a number of its own keeps it.
        fidelity: in what a candidate's evaluation is cut into parts, between which it may be stopped: "rounds" of the
            training, "folds", "samples" of the training data; None: it is not cut; "auto": rounds where the estimator
            (the last step of a pipeline) has some, else folds, or samples where there are fewer than three folds.
        time_budget_s: seconds after which the search ends.
        random_state: seed, or generator of NumPy, by which candidates are drawn.
        error_score: score of a fit that fails; "raise": it ends the search.
        return_train_score: score on training data, too.
        pre_dispatch: of scikit-learn; has no meaning here.
        verbose: 0: silent; 1: progress and a summary; 2: each candidate as well.
        callbacks: `tune_plugins.Callback` objects.
        storage_path: folder for the record of the search; None: it is kept as long as the search object.
        name: of the search and of its folder; one that is taken gets a number.
        n_iter: `n_trials`, as `RandomizedSearchCV` calls it.
        early_stopping: `scheduler`, as tune-sklearn calls it; True: "auto".
        search_optimization: `search`, as tune-sklearn calls it.
        max_iters: `max_resources`, as tune-sklearn calls it.
        local_dir: `storage_path`, as tune-sklearn calls it.

    Attributes:
        results_: `tune_plugins.ResultGrid` of the search: curves, decisions with reasons, times.
        fidelity_: what was chosen; None: candidates were not stopped early.
        cv_results_: as of `RandomizedSearchCV`. With a scheduler also ``resource`` (rounds, folds or samples that the
            candidate was given) and ``stopped_early``; scores of splits that it never saw are NaN, and means are over
            those that it saw.
        best_estimator_, best_params_, best_score_, best_index_, scorer_, n_splits_, refit_time_, multimetric_: as of
            `RandomizedSearchCV`.

    Raises:
        ArgumentError: by `fit`; lists everything that is wrong.
    """

    _aliases: ClassVar[dict[str, str]] = {
        "n_trials": "n_iter",
        "scheduler": "early_stopping",
        "search": "search_optimization",
        "max_resources": "max_iters",
        "storage_path": "local_dir",
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_trials: int = 10,
        search: Any = "random",
        scheduler: Any = None,
        scoring: Any = None,
        refit: Any = True,
        cv: Any = None,
        n_jobs: int | None = None,
        max_resources: int | None = None,
        fidelity: str | None = "auto",
        time_budget_s: float | None = None,
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        pre_dispatch: Any = "2*n_jobs",
        verbose: int = 0,
        callbacks: Sequence[Callback] | None = None,
        storage_path: str | os.PathLike[str] | None = None,
        name: str | None = None,
        n_iter: int | None = None,
        early_stopping: Any = None,
        search_optimization: Any = None,
        max_iters: int | None = None,
        local_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(
            estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.param_distributions = param_distributions
        self.n_trials, self.search, self.scheduler = n_trials, search, scheduler
        self.max_resources, self.fidelity, self.time_budget_s = max_resources, fidelity, time_budget_s
        self.random_state = random_state
        self.callbacks, self.storage_path, self.name = callbacks, storage_path, name
        self.n_iter, self.early_stopping, self.search_optimization = n_iter, early_stopping, search_optimization
        self.max_iters, self.local_dir = max_iters, local_dir

    def _search(self, base: Any, mistakes: Mistakes) -> Search:
        names = base.get_params(deep=True)
        n_trials, search = self._given("n_trials"), self._given("search")
        return of_distributions(self.param_distributions, search, n_trials, self.random_state, names, mistakes)


class TuneGridSearchCV(_TuneBaseSearchCV):
    """Search of a grid, in place of `GridSearchCV`: the same candidates in the same order, and the same scores.

    Args:
        estimator: as of `TuneSearchCV`.
        param_grid: {name of a parameter: list of values}, or a list of such dicts.
        scheduler: as of `TuneSearchCV`.
        scoring: as of `TuneSearchCV`.
        refit: as of `TuneSearchCV`.
        cv: as of `TuneSearchCV`.
        n_jobs: as of `TuneSearchCV`.
        max_resources: as of `TuneSearchCV`.
        fidelity: as of `TuneSearchCV`.
        time_budget_s: as of `TuneSearchCV`.
        error_score: as of `TuneSearchCV`.
        return_train_score: as of `TuneSearchCV`.
        pre_dispatch: as of `TuneSearchCV`.
        verbose: as of `TuneSearchCV`.
        callbacks: as of `TuneSearchCV`.
        storage_path: as of `TuneSearchCV`.
        name: as of `TuneSearchCV`.
        early_stopping: as of `TuneSearchCV`.
        max_iters: as of `TuneSearchCV`.
        local_dir: as of `TuneSearchCV`.

    Raises:
        ArgumentError: by `fit`; lists everything that is wrong.
    """

    _aliases: ClassVar[dict[str, str]] = {
        "scheduler": "early_stopping",
        "max_resources": "max_iters",
        "storage_path": "local_dir",
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        scheduler: Any = None,
        scoring: Any = None,
        refit: Any = True,
        cv: Any = None,
        n_jobs: int | None = None,
        max_resources: int | None = None,
        fidelity: str | None = "auto",
        time_budget_s: float | None = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        pre_dispatch: Any = "2*n_jobs",
        verbose: int = 0,
        callbacks: Sequence[Callback] | None = None,
        storage_path: str | os.PathLike[str] | None = None,
        name: str | None = None,
        early_stopping: Any = None,
        max_iters: int | None = None,
        local_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(
            estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.param_grid = param_grid
        self.scheduler, self.max_resources, self.fidelity = scheduler, max_resources, fidelity
        self.time_budget_s = time_budget_s
        self.callbacks, self.storage_path, self.name = callbacks, storage_path, name
        self.early_stopping, self.max_iters, self.local_dir = early_stopping, max_iters, local_dir

    def _search(self, base: Any, mistakes: Mistakes) -> Search:
        return of_grid(self.param_grid, mistakes)


_OF_TUNE_SKLEARN = {
    True: "auto",
    False: None,
    "ASHAScheduler": "asha",
    "AsyncHyperBandScheduler": "asha",
    "HyperBandScheduler": "hyperband",
    "MedianStoppingRule": "median",
}


def _scheduler(given: Any) -> Any:
    """What was given as `scheduler` or `early_stopping`."""
    return _OF_TUNE_SKLEARN.get(given, given) if isinstance(given, (bool, str)) else given


def _classes(y: Any) -> Any:
    """All labels of a classification; None where there are none, or several for each sample."""
    shape = np.shape(y)
    return np.unique(y) if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1) else None


def _indices(samples: Any) -> Any:
    """The indices of the samples of a split, which may be given as a mask."""
    samples = np.asarray(samples)
    return np.flatnonzero(samples) if samples.dtype == bool else samples


def _let_train(estimator: Any, rounds: int, n_samples: int, mistakes: Mistakes) -> None:
    """Let a whole training be so many rounds."""
    last = last_step(estimator)
    if (found := rounds_of(estimator, rounds, n_samples)) is not None:
        found.told(last, rounds)
        return
    mistakes.add(
        f"max_resources: expected an estimator that is trained in rounds (n_estimators, max_iter, partial_fit, ...), "
        f"got {type(last).__name__} and max_resources={rounds}. Leave it out."
    )


def _check_parameters(estimator: Any, search: Search) -> None:
    """See whether the estimator has the parameters, before anything starts.

    Raises:
        ValueError: scikit-learn's own, which names those that there are.
    """
    candidates = [search.parameters_of(search.space.sample(0, 0))] if search.known is None else search.known
    for parameters in {tuple(sorted(each)): each for each in candidates}.values():
        clone_of(estimator).set_params(**clone(parameters, safe=False))


def _seed_of(random_state: Any, *, drawn: bool) -> int:
    """A seed for the engine.

    A generator that the candidates are drawn from by the engine goes on by one number, so that the next search draws
    others; one that scikit-learn has drawn them from stays as scikit-learn has left it.
    """
    generator = check_random_state(random_state)
    return int((deepcopy(generator) if drawn else generator).randint(2**31 - 1))


class _Folder:
    """A temporary folder: when the last one who holds it is gone, so is the folder."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="tune-search-")
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
