"""What a search tries: candidates that scikit-learn itself draws, or a search space for any searcher."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from sklearn.model_selection import ParameterGrid, ParameterSampler

from tune_plugins.arguments import Mistakes, is_number
from tune_plugins.core.searcher import Searcher, Signal
from tune_plugins.space import Distribution, Domain, Space, choice, distribution

logger = logging.getLogger(__name__)

CANDIDATE = "candidate"
"""Name in a config under which one of several spaces was chosen."""


class Candidates(Searcher):
    """Suggests parameters that are known beforehand, one after another.

    Args:
        candidates: dicts of parameters.
        label: what people know it by.
    """

    instant = True

    def __init__(self, candidates: Sequence[dict[str, Any]], label: str) -> None:
        super().__init__()
        self._candidates, self._label = candidates, label

    @property
    def label(self) -> str:
        """See `Searcher.label`."""
        return self._label

    @property
    def total_trials(self) -> int:
        """All of them."""
        return len(self._candidates)

    def suggest(self, trial_id: str, index: int) -> dict[str, Any] | Signal:
        """See `Searcher.suggest`."""
        return self._candidates[index] if index < len(self._candidates) else Signal.COMPLETE


@dataclass(frozen=True)
class Search:
    """What is to be tried.

    Attributes:
        searcher: a `Searcher`, or what `TuneConfig(search_alg=)` takes.
        space: empty where the searcher has candidates of its own.
        n_trials: number of candidates; -1: as many as there is time for.
        known: the candidates, where they are known beforehand.
        parameters_of: makes parameters of a config that was suggested.
    """

    searcher: Any
    space: Space
    n_trials: int
    known: Sequence[dict[str, Any]] | None
    parameters_of: Callable[[Mapping[str, Any]], dict[str, Any]]


def of_grid(param_grid: Any, mistakes: Mistakes) -> Search:
    """All points of a grid, in scikit-learn's order."""
    grids = [param_grid] if isinstance(param_grid, Mapping) else param_grid
    for grid in grids if isinstance(grids, (list, tuple)) else ():
        for name, value in grid.items() if isinstance(grid, Mapping) else ():
            if isinstance(value, (Domain, Mapping)) or hasattr(value, "rvs"):
                mistakes.add(
                    f"param_grid: expected a list of values of {name!r}, got {value!r}. Write a list, or take "
                    "TuneSearchCV, which draws values."
                )
    if mistakes.found:
        return Search(None, Space(None), 1, (), dict)
    return _listed(list(ParameterGrid(_unwrapped(param_grid))), "grid search")


def _unwrapped(given: Any) -> Any:
    return given.param_grid if isinstance(given, ParameterGrid) else given


def of_distributions(
    given: Any, search: Any, n_trials: int, random_state: Any, names: Collection[str], mistakes: Mistakes
) -> Search:
    """What `TuneSearchCV` tries.

    Args:
        given: as `TuneSearchCV` has got it.
        search: likewise.
        n_trials: likewise.
        random_state: likewise.
        names: of the parameters of the estimator.
        mistakes: are noted here.

    Raises:
        ValueError: scikit-learn's own, of a space that its sampler refuses.
    """
    given = _unwrapped(given)
    if search == "random" and not isinstance(given, Space) and _is_plain(given):
        if n_trials == -1:
            mistakes.add(
                "n_trials: expected the number of candidates, since those of lists and distributions of scipy are "
                "drawn before the search begins, got -1. Give a number, or domains of tune_plugins."
            )
            n_trials = 1
        return _listed(list(ParameterSampler(given, n_trials, random_state=random_state)), "random search")
    space = given if isinstance(given, Space) else Space(_as_space(given, mistakes))
    if not mistakes.found:
        mistakes.found += space.mistakes()
    return Search(search, space, n_trials, None, _Parameters(frozenset(names)))


def _listed(candidates: list[dict[str, Any]], label: str) -> Search:
    return Search(Candidates(candidates, label), Space(None), max(1, len(candidates)), candidates, dict)


def _is_plain(given: Any) -> bool:
    """What scikit-learn's own sampler takes: lists and distributions, no domain or function of this package."""
    spaces = [given] if isinstance(given, Mapping) else given
    return all(
        not isinstance(value, (Domain, Mapping)) and not _holds_domain(value)
        for space in (spaces if isinstance(spaces, Iterable) else ())
        if isinstance(space, Mapping)
        for value in space.values()
    )


def _holds_domain(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and any(
        isinstance(each, Domain) or (isinstance(each, Mapping) and any(isinstance(v, Domain) for v in each.values()))
        for each in value
    )


def _as_space(given: Any, mistakes: Mistakes) -> dict[str, Any]:
    """A search space of the engine that means what scikit-learn means by lists and distributions."""
    if isinstance(given, Mapping):
        return {str(name): _as_domain(str(name), value, mistakes) for name, value in given.items()}
    if isinstance(given, Sequence) and given and all(isinstance(each, Mapping) for each in given):
        return {CANDIDATE: choice([_as_space(each, mistakes) for each in given])}
    mistakes.add(
        "param_distributions: expected a dict of parameters, a list of such dicts or a tune_plugins.space.Space, got "
        f"{given!r}. Write {{'C': scipy.stats.loguniform(1e-3, 1e3)}}, with names as in estimator.get_params()."
    )
    return {}


def _as_domain(name: str, value: Any, mistakes: Mistakes) -> Any:
    if isinstance(value, Domain):
        return value
    if isinstance(value, Mapping) and set(value) == {"grid_search"}:
        return value
    if isinstance(value, Mapping):
        return {inner: _as_domain(f"{name}/{inner}", each, mistakes) for inner, each in value.items()}
    if hasattr(value, "rvs"):
        frozen = Distribution(value).frozen
        return distribution(value) if frozen else distribution(_Drawn(value))
    if isinstance(value, np.ndarray) or (isinstance(value, Sequence) and not isinstance(value, str)):
        options = list(value)
        if not options:
            mistakes.add(f"{name}: expected at least one value, got {value!r}. Give values, or leave it out.")
            return None
        if _holds_domain(options):
            return choice(options)
        if isinstance(value, tuple) and len(value) == 2 and all(map(is_number, value)):
            logger.warning(
                "%s: %r is a choice of two values, as everywhere in scikit-learn. For a range, write "
                "tune_plugins.uniform(%r, %r), or loguniform.",
                name,
                value,
                *value,
            )
        # A dict, such as a class_weight, is a value here and no space of its own.
        return choice([_Value(each) if isinstance(each, Mapping) else each for each in options])
    mistakes.add(
        f"{name}: expected a list of values, a distribution of scipy.stats or a domain of tune_plugins, got {value!r}. "
        "Write [value] for a single one, and tune_plugins.uniform(low, high), loguniform or randint for a range."
    )
    return None


@dataclass(frozen=True)
class _Value:
    """A value that is not to be looked into."""

    value: Any

    def __repr__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True)
class _Drawn:
    """Draws from an object that has `rvs`, as scikit-learn's sampler does."""

    source: Any

    def __call__(self, rng: Random) -> Any:
        return self.source.rvs(random_state=np.random.RandomState(rng.getrandbits(32)))


@dataclass(frozen=True)
class _Parameters:
    """Makes parameters of a config: a dict under a name that is no parameter stands for the parameters in it.

    >>> _Parameters(frozenset({"C", "kernel"}))({"kind": {"kernel": "rbf"}, "C": 1.0})
    {'kernel': 'rbf', 'C': 1.0}
    """

    names: frozenset[str]

    def __call__(self, config: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in config.items():
            if isinstance(value, Mapping) and name not in self.names and "__" not in name:
                found.update(self(value))
            else:
                found[name] = value.value if isinstance(value, _Value) else value
        return found
