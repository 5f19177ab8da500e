"""TPE of HyperOpt: a model of where good configs lie, and of where the others do.

Bergstra, Bardenet, Bengio and Kégl (2011), Algorithms for hyper-parameter optimization, section 4. The library is asked
for one config at a time and is given everything that is known each time: it uses of the losses no more than their
order, so what it is told is the place of a trial among all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from tune_plugins._imports import require
from tune_plugins.arguments import Mistakes, is_finite, shown_call
from tune_plugins.core.evaluated import as_number
from tune_plugins.core.metrics import Mode
from tune_plugins.core.searcher import NEXT, Outcome, Searcher, SearchTask, Signal
from tune_plugins.errors import ArgumentError
from tune_plugins.search.hyperopt_space import HyperOptSpace, plain
from tune_plugins.search.ranking import Standing, goal_mistakes, ranked, reached
from tune_plugins.space import Categorical, Domain, Float, Integer, Normal, Space
from tune_plugins.space.domains import rebuild, same
from tune_plugins.space.nodes import join

_NAME = "tune_plugins.search.HyperOptSearch"
_TRIES = 20  # suggestions, and then draws, until one is legal and new
_CANDIDATES = 24  # of which the model takes the most promising one, as the library does by itself
_MOST_EVALUATED = 10**9
_EXACT = 2.0**53  # beyond it floats, which the library counts in, leave out whole numbers


def _itself(value: Any) -> Any:
    """What is given; not a lambda, so that a searcher can be saved."""
    return value


@dataclass(eq=False)
class _Trial:
    """A trial, or a config that was known beforehand.

    Attributes:
        number: of the document that the library gets: the later, the more it counts. That of the trial; what was known
            beforehand has numbers below 0.
        config: as it was suggested.
        values: by the labels of the library.
        standing: None as long as it runs, and if it failed.
    """

    number: int
    config: dict[str, Any]
    values: dict[str, Any]
    standing: Standing | None = None
    ended: bool = False


class _Dimension(NamedTuple):
    """A parameter in the library's terms.

    Attributes:
        expression: what it is drawn from.
        theirs: the library's value of a flat one of ours.
        ours: the flat value of one of the library's.
    """

    expression: Any
    theirs: Callable[[Any], Any] = _itself
    ours: Callable[[Any], Any] = _itself


class HyperOptSearch(Searcher):
    """Tree-structured Parzen estimators, by the library HyperOpt; one metric.

    The space is written as for every other searcher, conditions and constraints included; or in HyperOpt's terms, given
    as `space`. Values that functions compute or draw (`sample_from`) are not modelled. What HyperOpt has no
    distribution for is searched along its quantiles. Configs hold plain Python numbers, lists stay lists, and tuples
    tuples.

    Trials that the scheduler stopped early are ranked behind those that came further; those that failed or reported no
    finite number, as the worst; interrupted ones do not count. With trials in parallel, those that run count as bad, so
    that the next config is another one. None is tried twice, as long as the space has others that are easily found.

    After a resume it goes on exactly as if it had not been interrupted. In a space of HyperOpt's own that computes with
    its parameters (``2 ** hp.quniform(...)``), earlier configs cannot be traced back: it goes on without them.

    Args:
        space: nested dicts with ``hp.uniform("lr", 0, 1)`` and the like, with domains as in `param_space`, or with
            both; `param_space` then holds constants only. None: `param_space` is the space.
        metric: metric to optimise; None: the one of `TuneConfig`.
        mode: "min" or "max"; None: the one of `TuneConfig`.
        points_to_evaluate, evaluated_rewards, warm_start: as for every `Searcher`; points in a space of HyperOpt's must
            be whole.
        n_initial_points: number of trials that have to end before the model is used; until then configs are drawn.
        gamma: how many trials count as good: ``gamma * sqrt(number of trials)``.
        random_state_seed: as `random_state`; so it is called in Ray Tune.
        random_state: seed of this searcher; None: the one of the run.

    Raises:
        ArgumentError: lists all mistakes; those of the space and the metric are raised by `prepare`.
        MissingDependencyError: HyperOpt is not installed.

    >>> from tune_plugins.space import Space, uniform
    >>> searcher = HyperOptSearch(n_initial_points=5)
    >>> searcher.prepare(SearchTask(Space({"x": uniform(0, 1)}), metric="loss", mode="min", num_samples=50))
    >>> sorted(searcher.ask("00000", 0))
    ['x']
    """

    def __init__(
        self,
        space: Any = None,
        metric: str | None = None,
        mode: Mode | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        n_initial_points: int = 20,
        random_state_seed: int | None = None,
        gamma: float = 0.25,
        *,
        evaluated_rewards: Sequence[Any] | None = None,
        warm_start: Any = None,
        random_state: int | None = None,
    ) -> None:
        self.given_space = None if isinstance(space, dict) and not space else space  # {}: as in Ray Tune
        self._seeds = random_state_seed, random_state
        self.n_initial_points, self.gamma = n_initial_points, gamma
        require("hyperopt", extra="hyperopt", needed_by=_NAME)
        self._dimensions: dict[str, _Dimension] = {}
        self._domain: Any = None
        self._labels: tuple[str, ...] = ()
        self._trials: list[_Trial] = []
        self._of: dict[str, _Trial] = {}  # those that have not ended
        self._evaluated = 0  # how many were known beforehand
        super().__init__(
            metric,
            mode,
            points_to_evaluate=points_to_evaluate,
            evaluated_rewards=evaluated_rewards,
            warm_start=warm_start,
            random_state=random_state_seed if random_state is None else random_state,
        )

    @property
    def _library(self) -> Any:
        """The module; not kept, so that a searcher can be copied and sent to another process."""
        return require("hyperopt", extra="hyperopt", needed_by=_NAME)

    def __repr__(self) -> str:
        seeds = {"random_state_seed": self._seeds[0], "random_state": self._seeds[1]}
        return shown_call(self, space=self.given_space, metric=self._own[0], mode=self._own[1], **seeds)

    def mistakes(self) -> list[str]:
        """See `Searcher.mistakes`."""
        found = Mistakes("HyperOptSearch", super().mistakes())
        if None not in self._seeds:
            found.add(f"random_state: given twice, as {self._seeds[1]!r} and as random_state_seed={self._seeds[0]!r}.")
        found.whole("n_initial_points", self.n_initial_points, least=1)
        found.number("gamma", self.gamma, above=0)
        apply = self._library.pyll.Apply
        right = self.given_space is None or isinstance(self.given_space, (dict, Space, apply))
        found.check(right, "space", "None or a dict of names to hp.uniform(...) and the like", self.given_space)
        if _mentions(self.given_space, apply):
            found.found += [f"space, {why}" for why in _inexpressible(self.given_space)]
        return found.found

    def space_of(self, around: Space) -> Space:
        """See `Searcher.space_of`."""
        if _mentions(self.given_space, self._library.pyll.Apply):
            return HyperOptSpace(_in_its_terms(self._library, self.given_space), around.config_of({}), self._library)
        return super().space_of(around)

    def setup(self, task: SearchTask) -> None:
        """See `Searcher.setup`.

        Raises:
            ArgumentError: there is no metric to optimise, or there are several.
        """
        super().setup(task)
        Mistakes("HyperOptSearch", goal_mistakes(self.task, several=False)).raise_if_any()
        self._trials, self._of, self._evaluated, self._dimensions = [], {}, 0, {}
        expression = task.space.graph if isinstance(task.space, HyperOptSpace) else self._translated(task.space)
        # It wants one parameter at least.
        self._domain = None if expression == {} else self._library.base.Domain(_itself, expression)
        self._labels = () if self._domain is None else tuple(self._domain.params)

    def _translated(self, space: Space) -> dict[str, Any]:
        """The space for the library: of each parameter its name is the label."""
        parameters = [each for each in space.walk() if each.domain.has_quantiles]

        def inside(conditions: tuple[tuple[str, int], ...]) -> dict[str, Any]:
            here = [each for each in parameters if each.conditions == conditions]
            for each in here:
                number = range(len(each.domain) if isinstance(each.domain, Categorical) else 0)
                options = [inside((*conditions, (each.name, option))) for option in number]
                self._dimensions[each.name] = _dimension(self._library.hp, each.name, each.domain, options)
            return {each.name: self._dimensions[each.name].expression for each in here}

        return inside(())

    @classmethod
    def convert_search_space(cls, spec: Mapping[str, Any]) -> dict[str, Any]:
        """A space of this package's domains in HyperOpt's terms, as scripts for Ray Tune have it made.

        ``HyperOptSearch(space=...)`` takes these domains themselves, and all of them.

        Args:
            spec: nested dicts and lists of domains and constants.

        Returns:
            The same with ``hp.uniform(...)`` and the like for the domains; their labels are the paths, ``model/lr``.

        Raises:
            ArgumentError: HyperOpt has nothing for a grid or another of the domains; lists all of them.
            MissingDependencyError: HyperOpt is not installed.
        """
        library = require("hyperopt", extra="hyperopt", needed_by=_NAME)
        found = Mistakes("HyperOptSearch.convert_search_space", Space(spec).mistakes())
        found.raise_if_any()
        found.found += _inexpressible(spec)
        found.raise_if_any()
        return dict(_in_its_terms(library, spec))

    # ---------------------------------------------------------------------------------- what it hears

    def on_suggested(self, trial_id: str, index: int, config: dict[str, Any]) -> None:
        """See `Searcher.on_suggested`."""
        self._note(trial_id, index, config, self._read(config))

    def _note(self, trial_id: str, index: int, config: dict[str, Any], values: dict[str, Any] | None) -> None:
        if values is not None:
            self._of[trial_id] = _Trial(index, config, values)
            self._trials.append(self._of[trial_id])

    def add_evaluated_point(self, config: dict[str, Any], value: Any) -> None:
        """See `Searcher.add_evaluated_point`."""
        number, values = as_number(value), self._read(config)
        if number is not None and values is not None:
            standing = (math.inf, tuple(self.losses(number)))
            self._trials.append(_Trial(self._evaluated - _MOST_EVALUATED, config, values, standing, ended=True))
            self._evaluated += 1

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
    ) -> None:
        """See `Searcher.on_trial_complete`."""
        trial = self._of.pop(trial_id, None)
        if trial is None:
            return
        trial.ended = True
        config = trial.config if result is None else result.get("config", trial.config)
        if not same(config, trial.config):
            values = self._read(config)
            trial.values, trial.ended = values or trial.values, values is not None
        if outcome in (Outcome.INTERRUPTED, Outcome.DROPPED) or not trial.ended:
            self._trials.remove(trial)
            return
        numbers = self.values(result)
        if result is not None and numbers is not None and outcome is not Outcome.FAILED:
            trial.standing = reached(result, outcome, self.task.fidelity), tuple(self.losses(numbers))

    def _read(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """The values of a config by label; None where they cannot be told."""
        try:
            values = self.space.values_of(config)
        except ArgumentError:
            return None
        return {
            name: self._dimensions[name].theirs(value) if name in self._dimensions else value
            for name, value in values.items()
            if name in self._labels
        }

    # ------------------------------------------------------------------------------- what it suggests

    def suggest(self, trial_id: str, index: int = NEXT) -> dict[str, Any] | Signal | None:
        """See `Searcher.suggest`."""
        rng, trials, knows_enough = self.rng(index), self._documents(), self._knows_enough()
        tried = [trial.values for trial in self._trials]
        legal: tuple[dict[str, Any], dict[str, Any]] | None = None
        for attempt in range(2 * _TRIES):
            # Of fewer and fewer candidates the most promising one is taken: of options, it is soon always the same.
            candidates = max(1, _CANDIDATES // (attempt + 1)) if knows_enough and attempt < _TRIES else 0
            drawn = self._suggested(index, trials, rng.getrandbits(32), candidates)
            flat = {
                name: self._dimensions[name].ours(each) if self._dimensions else each for name, each in drawn.items()
            }
            config = self.space.config_of(flat, f"{self.seed}:{index}:{attempt}")
            if self.space.broken(config):
                continue
            # What it is told after a resume is made of the config: so it is now.
            read = self._read(config)
            values = drawn if read is None else read
            legal = legal or (config, values)
            if values not in tried:
                legal = config, values
                break
        if legal is None:  # hardly any is legal; the space finds one, or says what is in the way
            config = self.space.sample(rng.getrandbits(31), f"{self.seed}:{index}")
            legal = config, self._read(config) or {}
        self._note(trial_id, index, *legal)
        return legal[0]

    def _knows_enough(self) -> bool:
        ended = sum(trial.ended for trial in self._trials)
        sound = sum(trial.standing is not None for trial in self._trials)
        # Those that run have no loss, and must not be taken for good ones.
        return ended >= self.n_initial_points and sound > self.gamma * math.sqrt(len(self._trials))

    def _suggested(self, number: int, trials: Any, seed: int, candidates: int) -> dict[str, Any]:
        """Values by label: the best of so many that the model draws; of none, drawn without it."""
        if self._domain is None:
            return {}
        suggest = self._library.rand.suggest
        if candidates:
            options = {"n_startup_jobs": 0, "n_EI_candidates": candidates, "gamma": self.gamma, "verbose": False}
            suggest = partial(self._library.tpe.suggest, **options)
        (document,) = suggest([number], self._domain, trials, seed)
        return {label: plain(found[0]) for label, found in document["misc"]["vals"].items() if len(found)}

    def _documents(self) -> Any:
        """All that is known, as the library keeps it."""
        library = self._library
        sound = [trial for trial in self._trials if trial.standing is not None]
        order = ranked([trial.standing for trial in sound if trial.standing is not None])
        place = {sound[which].number: float(rank) for rank, which in enumerate(order)}
        results, miscs = [], []
        for trial in self._trials:
            ok = trial.number in place
            result = {"status": library.STATUS_OK, "loss": place[trial.number]} if ok else {}
            results.append(result or {"status": library.STATUS_FAIL if trial.ended else library.STATUS_NEW})
            here = {label: label in trial.values for label in self._labels}
            misc: dict[str, Any] = {"tid": trial.number, "cmd": None, "workdir": None}
            misc["idxs"] = {label: [trial.number] if there else [] for label, there in here.items()}
            misc["vals"] = {label: [trial.values[label]] if there else [] for label, there in here.items()}
            miscs.append(misc)
        numbers = [trial.number for trial in self._trials]
        documents = library.Trials().new_trial_docs(numbers, [None] * len(numbers), results, miscs)
        for document, trial in zip(documents, self._trials, strict=True):
            document["state"] = library.JOB_STATE_DONE if trial.ended else library.JOB_STATE_NEW
        return library.trials_from_docs(documents, validate=False)


def _mentions(given: Any, kind: type) -> bool:
    """Whether something of the class is anywhere in nested dicts and lists."""
    if isinstance(given, dict):
        given = list(given.values())
    return any(_mentions(each, kind) for each in given) if isinstance(given, (list, tuple)) else isinstance(given, kind)


def _dimension(hp: Any, label: str, domain: Domain, options: Sequence[Mapping[str, Any]]) -> _Dimension:
    """A parameter in the library's terms, with the same distribution.

    Its quantised domains round to a multiple of q, so bounds are half a step outside of the first and last multiple.
    """
    if isinstance(domain, Categorical):
        if domain.ordered and not any(options):
            return _Dimension(hp.quniform(label, -0.5, len(options) - 0.5, 1), float, round)
        return _Dimension(hp.choice(label, list(options)))
    if isinstance(domain, Normal):
        q = () if domain.q is None else (domain.q,)
        return _Dimension((hp.qnormal if q else hp.normal)(label, domain.mean, domain.sd, *q), float)
    if isinstance(domain, Float) and domain.q is None and math.isfinite(domain.upper - domain.lower):
        if domain.log:
            return _Dimension(hp.loguniform(label, math.log(domain.lower), math.log(domain.upper)), float)
        return _Dimension(hp.uniform(label, domain.lower, domain.upper), float)
    if (
        isinstance(domain, (Float, Integer))
        and domain.q is not None
        and -_EXACT < domain.lower <= domain.upper < _EXACT
    ):
        low, high = domain.clip(domain.lower) - domain.q / 2, domain.clip(domain.upper) + domain.q / 2
        if not domain.log:
            return _Dimension(hp.quniform(label, low, high, domain.q), float)
        if isinstance(domain, Float):  # of whole numbers k stands for k to k + 1, which rounding cannot say
            return _Dimension(hp.qloguniform(label, math.log(low), math.log(high), domain.q), float)
    return _Dimension(hp.uniform(label, 0, 1), domain.to_unit, domain.from_unit)


def _in_its_terms(library: Any, given: Any, label: str = "") -> Any:
    """Nested dicts and lists with the library's expressions in place of the domains; see `_inexpressible`."""
    if isinstance(given, Mapping):
        return {key: _in_its_terms(library, item, join(label, key)) for key, item in given.items()}
    if isinstance(given, (list, tuple)):
        return rebuild(given, [_in_its_terms(library, item, join(label, n)) for n, item in enumerate(given)])
    if isinstance(given, Categorical):
        options = [_in_its_terms(library, option, f"{label}[{n}]") for n, option in enumerate(given.options)]
        return library.hp.choice(label, options)
    if isinstance(given, Integer):
        # It knows whole numbers as rounded ones; of a logarithm, rounding makes the first and the last one rarer.
        low, high = given.clip(given.lower) - given.q / 2, given.clip(given.upper) + given.q / 2
        if given.log:
            rounded = library.hp.qloguniform(label, math.log(low), math.log(high), given.q)
        else:
            rounded = library.hp.quniform(label, low, high, given.q)
        return library.pyll.scope.int(rounded)
    return _dimension(library.hp, label, given, ()).expression if isinstance(given, Domain) else given


def _inexpressible(given: Any, name: str = "") -> Iterator[str]:
    """Why the library has no expression for domains in nested dicts and lists, in words, each with its name."""
    if isinstance(given, Mapping):
        if list(given) == ["grid_search"]:
            yield f"{name}: HyperOpt has no grid_search. Write choice."
            return
        for key, item in given.items():
            yield from _inexpressible(item, join(name, key))
    elif isinstance(given, (list, tuple)):
        for number, item in enumerate(given):
            yield from _inexpressible(item, join(name, number))
    elif isinstance(given, Domain):
        yield from (f"{name}: {mistake}" for mistake in given.mistakes())
        if isinstance(given, Categorical) and not given.grid:
            for number, option in enumerate(given.options):
                yield from _inexpressible(option, f"{name}[{number}]")
        elif not isinstance(given, (Float, Integer, Normal)) or not is_finite(getattr(given, "upper", 0)):
            yield f"{name}: HyperOpt has nothing for {given!r}. Give all of the space to Tuner(param_space=...)."
