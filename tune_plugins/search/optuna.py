"""Optuna's samplers: tree-structured Parzen estimators, Gaussian processes, CMA-ES, NSGA-II and others.

Akiba et al. (2019), Optuna: A next-generation hyperparameter optimization framework. A space becomes the parameters of
a study, asked from the outside in: first which option a choice takes, then what is inside of that option alone, so that
a sampler sees a tree (Bergstra et al., 2011, Algorithms for hyper-parameter optimization, section 4).

Optuna's samplers draw from generators that live on. A suggestion here is a function of the seed, of its number and of
what the study holds: before each one all generators of the sampler are seeded anew. What some samplers keep beside that
(CMA-ES the state of its evolution, in attributes of trials) is made again after a resume, by letting them draw again.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from random import Random
from typing import Any, Literal

from tune_plugins._imports import require
from tune_plugins.arguments import Mistakes, did_you_mean, is_finite, is_number, is_whole, shown_call
from tune_plugins.core.evaluated import as_number
from tune_plugins.core.metrics import Mode, lookup
from tune_plugins.core.searcher import NEXT, Outcome, Searcher, SearchTask, Signal
from tune_plugins.errors import ArgumentError
from tune_plugins.search.optuna_samplers import NAMES, founders, generators, is_stateless, named, reseed
from tune_plugins.search.optuna_space import Parameters
from tune_plugins.search.ranking import goal_mistakes
from tune_plugins.space import Space
from tune_plugins.space.domains import same
from tune_plugins.space.nested import flatten, unflatten

__all__ = ["OptunaSearch"]

_NEEDS = {"gp": ("torch", "scipy"), "cmaes": ("cmaes",), "qmc": ("scipy",)}
_CLASSES = {"gp": "GPSampler", "cmaes": "CmaEsSampler", "qmc": "QMCSampler"}
_LISTS = ("GridSampler", "BruteForceSampler")
_HEED_NO_CONSTRAINTS = ("cmaes", "qmc", "random", "RandomSampler", *_LISTS)

_MOST_DRAWS = 10  # of a sampler for one suggestion, until a config is legal and not being tried already
_MOST_RANDOM = 50  # of random configs after that


class OptunaSearch(Searcher):
    """Suggests what a sampler of Optuna draws, in a study that holds all trials.

    Every space will do. The study holds the values that are run, multiples of q where there is one. A choice of numbers
    and words has these as its categories, one of anything else short texts (``"0: {'kind': 'sgd'}"``); an `ordinal` is
    the number of its option. What Optuna has no distribution for (`randn`, those of scipy) is a number from 0 to 1
    there, the quantile of the value; what has no quantiles (`sample_from`) is computed or drawn beside the study.

    How trials end in the study: COMPLETE with the values of the metrics; PRUNED if the scheduler stopped them, with
    what they had reported; FAIL after an error or without a finite value, and also if the user or a budget cut them
    short, since that says nothing about the config: samplers pass over FAIL. A value that was earned with another
    config than the one suggested, as in population based training, counts for that one.

    Args:
        space: a function of an `optuna.Trial` that calls ``trial.suggest_float`` and the like, and returns a dict of
            constants or None; or a dict of Optuna's distributions. Its values are put on top of ``param_space``. Or
            what might stand in ``param_space``, which then holds constants only. Default: ``param_space`` alone.
        metric: a metric, or a list of several to be optimised together; None: the one of `TuneConfig`.
        mode: "min" or "max", of several metrics a list; None: the one of `TuneConfig`.
        points_to_evaluate: configs to try first, nested or flat (``{"model/lr": 0.1}``); what one leaves out is drawn.
        sampler: "tpe", "gp", "cmaes", "nsgaii", "qmc", "random" or a sampler of Optuna, of which a copy is used that is
            seeded anew for each suggestion. Default: that of `study`, else "tpe".
        study_name: of the study in `storage`; if there is one of that name, it is gone on with. Default: a new one.
        storage: where the study is kept, a URL or a storage of Optuna; default: in memory.
        seed: another name of `random_state`.
        evaluated_rewards: what the metric is for the points, as for every `Searcher`.
        warm_start: results to learn from, as for every `Searcher`.
        random_state: seed of this searcher; None: the one of the run.
        study: a study to go on with, instead of a name and a storage. What its user has enqueued is tried first.
        failed: how trials that fail, or report no finite number, stand in the study. Samplers pass over those of FAIL;
            TPE takes those of PRUNED for worse than all others, and keeps away from where they are.
        constraints: gets the last result of a trial and returns numbers, all of which are to be 0 or less; for what is
            known of a config after its training only. Where a config itself is illegal, say so in the space.

    Attributes:
        study: the `optuna.Study`, from `setup` on.

    Raises:
        MissingDependencyError: optuna, or what the sampler needs beside it, is not installed.
        ArgumentError: lists all mistakes; those that concern the space are raised by `prepare`.

    >>> from tune_plugins.space import Space, uniform
    >>> searcher = OptunaSearch()
    >>> searcher.prepare(SearchTask(Space({"x": uniform(0, 1)}), metric="loss", mode="min", num_samples=40))
    >>> for index in range(40):
    ...     config = searcher.ask(f"{index}", index)
    ...     searcher.on_trial_complete(f"{index}", {"loss": (config["x"] - 0.3) ** 2})
    >>> round(searcher.study.best_params["x"], 1)
    0.3
    """

    def __init__(
        self,
        space: Callable[[Any], Mapping[str, Any] | None] | Mapping[str, Any] | None = None,
        metric: str | Sequence[str] | None = None,
        mode: Mode | Sequence[Mode] | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        sampler: Any = None,
        study_name: str | None = None,
        storage: Any = None,
        seed: int | None = None,
        evaluated_rewards: Sequence[Any] | None = None,
        *,
        warm_start: Any = None,
        random_state: int | None = None,
        study: Any = None,
        constraints: Callable[[dict[str, Any]], Sequence[float]] | None = None,
        failed: Literal["FAIL", "PRUNED"] = "FAIL",
    ) -> None:
        require("optuna", extra="optuna", needed_by=_NAME)
        self.given_space = None if isinstance(space, Mapping) and not space else space  # {}: as in Ray Tune
        self.sampler, self.constraints, self.failed = sampler, constraints, failed
        self._given_study, self.study_name, self.storage, self._given_seed = study, study_name, storage, seed
        self.study: Any = None
        self._parameters = Parameters(Space())
        self._running: dict[str, _Running] = {}
        self._left: dict[str, Any] = {}  # trials of an earlier life of the run, in a study that is kept
        self._before: Counter[str] = Counter()  # how many ended trials with this id and seed the study was given with
        self._known: list[tuple[dict[str, Any], Any]] = []  # points that the study holds from then
        self._names: list[str] = []
        self._generators: list[Any] = []
        self._stateless = self._exhausted = False
        super().__init__(
            metric,
            mode,
            points_to_evaluate=points_to_evaluate,
            evaluated_rewards=evaluated_rewards,
            warm_start=warm_start,
            random_state=seed if random_state is None else random_state,
        )
        for module in _NEEDS.get(self._kind, ()):
            require(module, extra="torch" if module == "torch" else "optuna", needed_by=f"{_NAME}, {self._kind!r}")

    @property
    def _optuna(self) -> Any:
        """The module; not kept, so that a searcher can be copied and sent."""
        return import_module("optuna")

    @property
    def _function(self) -> Callable[[Any], Any] | None:
        """What suggests the parameters of a trial, where the space is not one of this package's domains."""
        space: Any = self.given_space
        if callable(space):
            return space  # type: ignore[no-any-return]
        return partial(_suggest, flatten(space)) if isinstance(space, Mapping) and self._is_optunas(space) else None

    def _is_optunas(self, space: Mapping[str, Any]) -> bool:
        kind = self._optuna.distributions.BaseDistribution
        return any(isinstance(each, kind) for each in flatten(space).values())

    @property
    def _kind(self) -> str:
        """Name of the sampler, or of its class where it has none here."""
        if isinstance(self.sampler, str):
            return self.sampler
        given = self._given_study.sampler if self.sampler is None and self._given_study is not None else self.sampler
        if given is None:
            return "tpe"
        names = {kind: name for name, kind in _CLASSES.items()}
        return names.get(type(given).__name__, type(given).__name__)

    def __repr__(self) -> str:
        seed = self._given_seed
        return shown_call(
            self,
            space=self.given_space,
            metric=self._own[0],
            mode=self._own[1],
            seed=seed,
            random_state=None if seed is not None else self.random_state,
            study=self._given_study,
        )

    def mistakes(self) -> list[str]:
        """See `Searcher.mistakes`."""
        optuna, found = self._optuna, Mistakes("OptunaSearch", super().mistakes())
        self._space_mistakes(found)
        found.one_of("failed", self.failed, ("FAIL", "PRUNED"))
        remedy = "Write 'tpe', or e.g. optuna.samplers.TPESampler(multivariate=False)."
        if isinstance(self.sampler, str):
            if self.sampler not in NAMES:
                known = ", ".join(map(repr, NAMES))
                found.add(
                    f"sampler: expected {known} or a sampler of Optuna, got {self.sampler!r}."
                    f"{did_you_mean(self.sampler, NAMES)}"
                )
        elif self.sampler is not None:
            right = isinstance(self.sampler, optuna.samplers.BaseSampler)
            found.check(right, "sampler", "a name or a sampler of Optuna", self.sampler, remedy)
        found.text("study_name", self.study_name, "the name of a study", none=True)
        kinds = (str, optuna.storages.BaseStorage)
        right = self.storage is None or isinstance(self.storage, kinds)
        found.check(right, "storage", "a URL or a storage of Optuna", self.storage, "Write 'sqlite:///study.db'.")
        if self._given_study is not None:
            right = isinstance(self._given_study, optuna.Study)
            found.check(right, "study", "an optuna.Study", self._given_study, "Use optuna.create_study(...).")
            if self.study_name is not None or self.storage is not None:
                found.add("study: expected either a study or study_name and storage, got both. Leave one out.")
        if self._given_seed is not None:
            right = is_whole(self._given_seed) and self._given_seed == self.random_state
            expected = "a whole number, the same as random_state"
            found.check(right, "seed", expected, self._given_seed, "Give one of the two.")
        found.function("constraints", self.constraints, "of a result", arguments=1, none=True)
        if self.constraints is not None and not hasattr(optuna.trial.Trial, "set_constraint"):
            found.add(f"constraints: need optuna 5 or newer, got {optuna.__version__}. Use pip install -U optuna.")
        return found.found

    def _space_mistakes(self, found: Mistakes) -> None:
        space = self.given_space
        if space is None or isinstance(space, Space) or (isinstance(space, Mapping) and not self._is_optunas(space)):
            return
        if self.warm_start is not None:
            found.add(
                "warm_start: expected None where space is a function, which says nothing of earlier configs. Use "
                "points_to_evaluate with evaluated_rewards, or study."
            )
        if isinstance(space, Mapping):
            for name, distribution in flatten(space).items():
                right = isinstance(distribution, self._optuna.distributions.BaseDistribution)
                found.check(
                    right, f"space, {name}", "a distribution of Optuna", distribution, "Give it in param_space."
                )
        else:
            found.function("space", space, "of an optuna.Trial", arguments=1)

    # ------------------------------------------------------------------------------------- the task

    def space_mistakes(self, around: Space) -> list[str]:
        """See `Searcher.space_mistakes`; what a function suggests is put on top of any space."""
        return super().space_mistakes(around) if self._function is None else around.mistakes()

    def space_of(self, around: Space) -> Space:
        """See `Searcher.space_of`."""
        return super().space_of(around) if self._function is None else around

    def point_mistakes(self, task: SearchTask, point: Mapping[str, Any]) -> list[str]:
        """See `Searcher.point_mistakes`; of a function's parameters the space knows nothing."""
        return super().point_mistakes(task, point) if self._function is None else []

    def whole_point(self, point: Mapping[str, Any], seed: str) -> dict[str, Any]:
        """See `Searcher.whole_point`."""
        if self._function is None:
            return super().whole_point(point, seed)
        try:
            return self._completed(unflatten(flatten(point)), seed)
        except ValueError as error:
            if isinstance(error, ArgumentError):
                raise
            raise ArgumentError("OptunaSearch", [f"{error}."]) from error

    def setup(self, task: SearchTask) -> None:
        """See `Searcher.setup`.

        Raises:
            ArgumentError: lists what the sampler cannot do, or what does not fit the study.
        """
        super().setup(task)
        self._running, self._left, self._before, self._known = {}, {}, Counter(), []
        self._exhausted = False
        found = Mistakes("OptunaSearch", goal_mistakes(self.task))
        self._parameters = Parameters(self.space, None if self._function is not None else self._optuna)
        self._names = self.space.parameters
        self._sampler_mistakes(found)
        found.raise_if_any()
        self.study = self._opened()
        self._study_mistakes(found)
        found.raise_if_any()
        sampler = self.study.sampler
        self._generators = list(generators(sampler))
        self._stateless = is_stateless(sampler)
        for trial in self.study.get_trials(deepcopy=False):
            if "trial_id" not in trial.user_attrs:
                self._known.append((trial.params, trial.values))
            elif trial.user_attrs.get("seed") == self.seed:
                self._before[trial.user_attrs["trial_id"]] += trial.state.is_finished()
                if trial.state.name in ("RUNNING", "COMPLETE", "PRUNED"):
                    self._left[trial.user_attrs["trial_id"]] = trial

    def _sampler_mistakes(self, found: Mistakes) -> None:
        kind, space = self._kind, self.space
        if self._function is not None and space.constraints:
            found.add(
                "constraints of the space: cannot be kept to where space is a function. Let that draw legal values "
                "only, or give the parameters in param_space."
            )
        if self.constraints is not None:
            if kind in _HEED_NO_CONSTRAINTS:
                found.add(f"constraints: {kind!r} does not heed any. Use 'tpe', 'gp' or 'nsgaii'.")
            if kind == "gp" and (self.warm_start is not None or any(r is not None for r in self.evaluated_rewards)):
                found.add(
                    "constraints: 'gp' needs them of all configs, and of evaluated_rewards and warm_start they are not "
                    "known. Use 'tpe' or 'nsgaii'."
                )
        if kind == "cmaes":
            if len(self.task.metrics) > 1:
                found.add(
                    f"sampler: 'cmaes' optimises one metric, got {', '.join(self.task.metrics)}. "
                    "Use 'tpe', 'gp' or 'nsgaii'."
                )
            if self._function is None and not self._parameters.numbers:
                names = ", ".join(parameter.name for parameter in space.walk()) or "none"
                found.add(
                    f"sampler: 'cmaes' moves numbers that every config has, and the parameters here are of other kinds "
                    f"({names}). Use 'tpe', 'gp' or 'nsgaii'."
                )
        if kind in _LISTS and self.sampler is not None:
            found.found += self._cannot_be_sampled()

    def _cannot_be_sampled(self) -> Iterator[str]:
        """Parameters that a sampler refuses, which wants to know all values before."""
        study = self._scratch(copy.deepcopy(self.sampler))
        study.ask()
        (trial,) = study.get_trials(deepcopy=False)
        for dimension in self._parameters.dimensions:
            try:
                study.sampler.sample_independent(study, trial, dimension.label, dimension.distribution)
            except ValueError as error:
                yield (
                    f"{dimension.name}: {self._kind} cannot sample {dimension.domain!r}: {str(error).rstrip('.')}. "
                    "Use 'tpe' or another sampler."
                )

    def _opened(self) -> Any:
        """The study of the run."""
        optuna, directions = self._optuna, [f"{mode}imize" for mode in self.task.modes]
        if self._given_study is not None:
            if self.sampler is not None:
                self._given_study.sampler = self._made_sampler()
            return self._given_study
        try:
            with _quietly(optuna):
                return optuna.create_study(
                    storage=self.storage,
                    sampler=self._made_sampler(),
                    pruner=optuna.pruners.NopPruner(),
                    study_name=self.study_name,
                    directions=directions,
                    load_if_exists=self.study_name is not None,
                )
        except Exception as error:
            if self.storage is None:
                raise
            expected = "a storage of Optuna, or a URL such as 'sqlite:///study.db'"
            why = f"storage: expected {expected}, got {self.storage!r} ({type(error).__name__}: {error})."
            raise ArgumentError("OptunaSearch", [why]) from error

    def _made_sampler(self) -> Any:
        if self.sampler is not None and not isinstance(self.sampler, str):
            # A sampler remembers the study that it has worked for.
            return copy.deepcopy(self.sampler)
        return named(self._optuna, self.sampler or "tpe", self.rng(-1).getrandbits(32))

    def _study_mistakes(self, found: Mistakes) -> None:
        """What does not fit a study that was there before."""
        directions = [direction.name.lower() for direction in self.study.directions]
        expected = [f"{mode}imize" for mode in self.task.modes]
        if directions != expected:
            found.add(
                f"study: expected one to {' and '.join(expected)}, got {self.study.study_name!r} to "
                f"{' and '.join(directions)}. Use another study_name."
            )
        known: dict[str, Any] = {}
        for trial in self.study.get_trials(deepcopy=False):
            known.update(trial.distributions)
        for dimension in self._parameters.dimensions:
            try:
                if dimension.label in known:
                    compatible = self._optuna.distributions.check_distribution_compatibility
                    compatible(known[dimension.label], dimension.distribution)
            except ValueError:
                found.add(
                    f"{dimension.name}: expected {known[dimension.label]}, as earlier trials of the study "
                    f"{self.study.study_name!r} have, got {dimension.distribution}. Use another study_name."
                )

    @classmethod
    def convert_search_space(cls, spec: Mapping[str, Any]) -> dict[str, Any]:
        """A space of this package's domains as distributions of Optuna, as scripts for Ray Tune have it made.

        ``OptunaSearch(space=...)`` takes these domains themselves, and all of them.

        Args:
            spec: nested dicts of domains and constants; of the constants nothing is left.

        Returns:
            {path such as ``model/lr``: distribution}.

        Raises:
            ArgumentError: Optuna has no distribution for a grid or another of the domains; lists all of them.
            MissingDependencyError: optuna is not installed.
        """
        optuna, space = require("optuna", extra="optuna", needed_by=_NAME), Space(spec)
        found = Mistakes("OptunaSearch.convert_search_space", space.mistakes())
        found.raise_if_any()
        parameters = Parameters(space, optuna)
        found.found += parameters.translated()
        found.raise_if_any()
        return parameters.distributions

    # ---------------------------------------------------------------------------------- suggestions

    def suggest(self, trial_id: str, index: int = NEXT) -> dict[str, Any] | Signal | None:
        """See `Searcher.suggest`."""
        if self._exhausted:
            return Signal.COMPLETE
        left = self._left.pop(trial_id, None)
        if left is not None and left.state.name == "RUNNING":  # asked for in an earlier life, which ended before it ran
            self._tell(left.number, "FAIL")
        seed = self._reseeded(trial_id, index)
        trial = self.study.ask()
        try:
            with _one_thread(self._kind):
                if self._function is None:
                    config, params = self._drawn(trial, seed)
                    self._parameters.store(trial, params)
                else:
                    config, params = self._called(trial, seed), trial.params
        except BaseException:
            self._tell(trial, "FAIL")
            raise
        self._begin(trial_id, _Running(trial, config, params))
        return config

    def on_suggested(self, trial_id: str, index: int, config: dict[str, Any]) -> None:
        """See `Searcher.on_suggested`."""
        params, distributions = self._frozen(config)
        left = self._left.pop(trial_id, None)
        if left is not None and left.params == params:
            trial = self._optuna.trial.Trial(self.study, left._trial_id)
            steps = set(left.intermediate_values)
            self._running[trial_id] = _Running(trial, config, params, steps, left.state.is_finished())
            return
        seed = self._reseeded(trial_id, index)
        if index < len(self.points_to_try):
            trial = self._added(trial_id, params, distributions)
        else:
            trial = self.study.ask()
            if self._function is not None:
                self._called(trial, seed)
                if trial.params != params:
                    self._tell(trial, "FAIL")
                    trial = self._added(trial_id, params, distributions)
            else:
                if not self._stateless:
                    self._drawn(trial, seed)
                self._parameters.store(trial, params)
        self._begin(trial_id, _Running(trial, config, params))

    def _begin(self, trial_id: str, running: _Running) -> None:
        self._running[trial_id] = running
        running.trial.set_user_attr("trial_id", trial_id)
        running.trial.set_user_attr("seed", self.seed)

    def _reseeded(self, trial_id: str, index: int) -> str:
        """Seed all generators for a suggestion; returns the text that the seeds follow from."""
        seed = f"{self.seed}:suggest:{index}"
        if (times := self._before[trial_id]) > 0:  # not the same configs again in a study that another run is from
            seed = f"{seed}:again{times}"
        reseed(self.study.sampler, self._generators, Random(seed))
        return seed

    def _drawn(self, trial: Any, seed: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """A config that the sampler draws: legal by the constraints of the space, and not being tried already."""
        frozen = trial.storage.get_trial(trial._trial_id)
        enqueued = frozen.system_attrs.get("fixed_params", {})
        for attempt in range(_MOST_DRAWS):
            values = self._parameters.sampled(self.study, frozen, enqueued)
            config = self.space.config_of(values, f"{seed}:{attempt}")
            if not self.space.broken(config):
                params = self._parameters.read(config)
                # What a sampler or the user has a list of is not left for something else.
                if enqueued or self._kind in _LISTS or not self._is_tried(params):
                    return config, params
        for attempt in range(_MOST_RANDOM):
            config = self.space.variant(f"{seed}:random{attempt}")
            params = self._parameters.read(config)
            if not self._is_tried(params):
                break
        return config, params

    def _is_tried(self, params: dict[str, Any]) -> bool:
        return bool(params) and any(running.params == params for running in self._running.values())

    def _added(self, trial_id: str, params: dict[str, Any], distributions: dict[str, Any]) -> Any:
        """A running trial with these parameters, which no sampler was asked for."""
        optuna = self._optuna
        state = optuna.trial.TrialState.RUNNING
        mark = {"trial_id": trial_id}
        self.study.add_trial(
            optuna.trial.create_trial(
                state=state,
                params=params,
                distributions=distributions,
                user_attrs=mark,
                system_attrs=founders(self.study.sampler),
            )
        )
        trials = self.study.get_trials(deepcopy=False, states=(state,))
        # The storage may be shared with others, who add trials at the same time.
        ours = [trial for trial in trials if trial.user_attrs.get("trial_id") == trial_id]
        return optuna.trial.Trial(self.study, ours[-1]._trial_id)

    def _frozen(self, config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The parameters of a config, and their distributions.

        Raises:
            ArgumentError: the config does not fit.
        """
        if self._function is None:
            params = self._parameters.read(config)
            return params, {label: self._parameters.distributions[label] for label in params}
        trial = self._scratch(_Known(config, self._optuna.samplers.RandomSampler(0))).ask()
        self._function(trial)
        return trial.params, trial.distributions

    # ------------------------------------------------------------------------- functions of a trial

    def _called(self, trial: Any, seed: str) -> dict[str, Any]:
        """The config that the function makes of a trial."""
        assert self._function is not None
        returned = self._function(trial)
        if returned is not None and not (
            isinstance(returned, Mapping) and all(isinstance(name, str) for name in returned)
        ):
            expected = "expected a function that returns a dict of constants by their names, or None"
            raise ArgumentError("OptunaSearch", [f"space: {expected}, got one that returned {returned!r}."])
        try:
            own = unflatten({**trial.params, **(returned or {})})
        except ValueError as error:
            raise ArgumentError("OptunaSearch", [f"space: {error}"]) from error
        return _merged(self.space.config_of({}, seed), own)

    def _completed(self, point: dict[str, Any], seed: str) -> dict[str, Any]:
        """A point with what it leaves out: drawn at random, or the constants of the function.

        Raises:
            ArgumentError: it does not fit the function.
        """
        sampler = self._optuna.samplers.RandomSampler(Random(seed).getrandbits(32))
        study = self._scratch(_Known(point, sampler))
        trial = study.ask()
        config = self._called(trial, seed)
        flat, given = flatten(config), flatten(point)
        whys = [
            f"{name}: no such parameter.{did_you_mean(name, flat)} Known: {', '.join(flat)}."
            for name in given
            if name not in flat
        ]
        whys += [
            f"{name}: the function returns {flat[name]!r} whatever the trial, got {given[name]!r}. Leave it out, or "
            "have the function suggest it."
            for name in given
            if name in flat and name not in trial.params and not same(flat[name], given[name])
        ]
        if whys:
            raise ArgumentError("OptunaSearch", whys)
        state = self._optuna.trial.TrialState.FAIL
        # That looks whether the values are inside of their distributions.
        study.add_trial(
            self._optuna.trial.create_trial(state=state, params=trial.params, distributions=trial.distributions)
        )
        return config

    def _scratch(self, sampler: Any) -> Any:
        """A study to try something in."""
        with _quietly(self._optuna):
            return self._optuna.create_study(sampler=sampler, directions=[f"{mode}imize" for mode in self.task.modes])

    # -------------------------------------------------------------------------------------- results

    def add_evaluated_point(self, config: dict[str, Any], value: Any) -> None:
        """See `Searcher.add_evaluated_point`."""
        values, count = [value] if is_number(value) else list(value), len(self.task.metrics)
        if len(values) != count or not all(is_number(each) for each in values):
            expected = "a number" if count == 1 else f"a list of {count} numbers"
            raise ArgumentError("OptunaSearch", [f"evaluated_rewards: expected {expected} for a point, got {value!r}."])
        numbers = [as_number(each) for each in values]
        if (self._frozen(config)[0], numbers) not in self._known:
            self._add_ended(config, None if None in numbers else numbers)

    def _add_ended(self, config: dict[str, Any], values: Sequence[Any] | None, **more: Any) -> None:
        params, distributions = self._frozen(config)
        trial, states = self._optuna.trial, self._optuna.trial.TrialState
        state = states.FAIL if values is None else states.COMPLETE
        attrs = founders(self.study.sampler)
        self.study.add_trial(
            trial.create_trial(
                state=state, values=values, params=params, distributions=distributions, system_attrs=attrs, **more
            )
        )

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """See `Searcher.on_trial_result`."""
        running = self._running.get(trial_id)
        if running is not None and self._other_config(running, result) is None:
            self._report(running, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
    ) -> None:
        """See `Searcher.on_trial_complete`."""
        running = self._running.pop(trial_id, None)
        if running is None or running.ended:
            return
        values = self.values(result)
        other = self._other_config(running, result or {})
        if other is None and result:
            self._report(running, result)
        broken = self._constraints_of(result) if outcome is Outcome.COMPLETED and values is not None else {}
        if broken is None:
            values = None
        if outcome is Outcome.STOPPED:
            self._tell(running.trial, "PRUNED")
        elif outcome is not Outcome.COMPLETED or values is None:
            running.trial.set_user_attr("outcome", outcome.value)
            told_of = outcome in (Outcome.COMPLETED, Outcome.FAILED)
            self._tell(running.trial, self.failed if told_of else "FAIL")
        elif other is None:
            for name, number in (broken or {}).items():
                running.trial.set_constraint(name, number)
            self._tell(running.trial, "COMPLETE", values)
        else:
            # Others did better than the config that was suggested, so that it was given up.
            self._tell(running.trial, "PRUNED")
            more: dict[str, Any] = {"constraints": broken} if broken else {}
            with suppress(ValueError):  # outside of the space, where perturbations may lead
                self._add_ended(other, values, user_attrs={"trial_id": trial_id}, **more)

    def _report(self, running: _Running, result: Mapping[str, Any]) -> None:
        """Note a result that the study is to know of a trial that goes on, or has been pruned."""
        if len(self.task.metrics) > 1 or running.ended:  # of several metrics Optuna takes the last values only
            return
        fidelity = self.task.fidelity
        time_attr = "training_iteration" if fidelity is None else fidelity.time_attr
        values, time = self.values(result), as_number(lookup(dict(result), time_attr))
        if values is None or time is None or time < 0 or int(time) in running.steps:
            return
        running.steps.add(int(time))
        running.trial.report(values[0], int(time))

    def _other_config(self, running: _Running, result: Mapping[str, Any]) -> dict[str, Any] | None:
        """The config that a result was earned with, if it is not the one suggested."""
        config = result.get("config")
        if not isinstance(config, dict) or config is running.config:
            return None
        # Constants do not matter, among which there may be arrays, which are not simply equal or not.
        found, suggested = flatten(config), flatten(running.config)
        names = self._names if self._function is None else list(running.params)
        there = [name for name in names if name in suggested]
        if there == [name for name in names if name in found]:
            return None if all(same(found[name], suggested[name]) for name in there) else config
        return config

    def _constraints_of(self, result: dict[str, Any] | None) -> dict[str, float] | None:
        """The numbers that are to be 0 or less, by name; None where one is not finite."""
        if self.constraints is None:
            return {}
        returned = self.constraints(dict(result or {}))
        if not isinstance(returned, Sequence) or not all(is_number(number) for number in returned):
            raise ArgumentError(
                "OptunaSearch", [f"constraints: expected a function that returns a list of numbers, got {returned!r}."]
            )
        if not all(is_finite(number) for number in returned):
            return None
        return {str(number): float(value) for number, value in enumerate(returned)}

    def _tell(self, trial: Any, state: str, values: Sequence[float] | None = None) -> None:
        try:
            self.study.tell(trial, values, state=self._optuna.trial.TrialState[state])
        except RuntimeError as error:
            # A sampler that has been through all configs says so in the way of Study.optimize.
            if "Study.stop" not in str(error):
                raise
            self._exhausted = True


_MISSING: Any = object()
_NAME = "tune_plugins.search.OptunaSearch"


@dataclass
class _Running:
    """A trial that has not ended.

    Attributes:
        trial: the `optuna.Trial`.
        config: as it was suggested.
        params: of the trial.
        steps: those that have been reported.
        ended: in an earlier life of the run, which the study is from.
    """

    trial: Any
    config: dict[str, Any]
    params: dict[str, Any]
    steps: set[int] = field(default_factory=set)
    ended: bool = False


# ---------------------------------------------------------------------------------------- samplers


class _Known:
    """In place of a sampler: gives the values of a config, and draws those that it does not have."""

    def __init__(self, config: Mapping[str, Any], sampler: Any) -> None:
        self._config, self._sampler = dict(config), sampler

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        value = lookup(self._config, name, _MISSING)
        return self._sampler.sample_independent(study, trial, name, distribution) if value is _MISSING else value

    def before_trial(self, study: Any, trial: Any) -> None:
        pass


def _suggest(space: Mapping[str, Any], trial: Any) -> None:
    """Suggest all parameters of a dict of distributions."""
    for name, distribution in space.items():
        match type(distribution).__name__:
            case "CategoricalDistribution":
                trial.suggest_categorical(name, distribution.choices)
            case "IntDistribution":
                low, high = distribution.low, distribution.high
                trial.suggest_int(name, low, high, step=distribution.step, log=distribution.log)
            case _:
                low, high = distribution.low, distribution.high
                trial.suggest_float(name, low, high, step=distribution.step, log=distribution.log)


def _merged(config: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested configs in one; where both have a value, that of `over`."""
    both = dict(config)
    for name, value in over.items():
        inner = both.get(name)
        both[name] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return both


@contextmanager
def _one_thread(kind: str) -> Iterator[None]:
    """A Gaussian process takes seven times as long where its threads and the trials compete for the same cores."""
    if kind != "gp":
        yield
        return
    torch = import_module("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quietly(optuna: Any) -> Iterator[None]:
    """Without the lines that Optuna writes on every new study."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(level, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
