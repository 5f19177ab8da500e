"""Searchers by name, as `TuneConfig(search_alg="tpe")` gives them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tune_plugins.arguments import Mistakes
from tune_plugins.core.searcher import Searcher
from tune_plugins.search.ray_style import RayStyleSearcher, is_ray_style

__all__ = ["SEARCHERS", "as_searcher", "searcher_named"]

SEARCHERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "random": ("basic_variant", "BasicVariantGenerator", {}),
    "sobol": ("sobol", "SobolSearch", {}),
    "evolutionary": ("evolutionary", "EvolutionarySearch", {}),
    "tpe": ("optuna", "OptunaSearch", {"sampler": "tpe"}),
    "gp": ("optuna", "OptunaSearch", {"sampler": "gp"}),
    "cmaes": ("optuna", "OptunaSearch", {"sampler": "cmaes"}),
    "nsgaii": ("optuna", "OptunaSearch", {"sampler": "nsgaii"}),
    "qmc": ("optuna", "OptunaSearch", {"sampler": "qmc"}),
    "optuna": ("optuna", "OptunaSearch", {}),
    "hyperopt": ("hyperopt", "HyperOptSearch", {}),
}
"""{name: (module of `tune_plugins.search`, class, arguments)}."""


def searcher_named(name: str) -> Searcher:
    """The searcher of a name, with its defaults.

    Raises:
        ArgumentError: there is none.
        MissingDependencyError: its library is not installed.
    """
    mistakes = Mistakes("search_alg")
    mistakes.one_of("search_alg", name, tuple(SEARCHERS), remedy="Or give a searcher object.")
    mistakes.raise_if_any()
    module, kind, arguments = SEARCHERS[name]
    searcher: Searcher = getattr(import_module(f"tune_plugins.search.{module}"), kind)(**arguments)
    return searcher


def as_searcher(given: Any) -> Searcher:
    """What `TuneConfig(search_alg=...)` takes, as a searcher: a name, a `Searcher`, one in a form of Ray Tune's.

    Raises:
        ArgumentError: no searcher has this name.
        MissingDependencyError: the library of the one that is named is not installed.
    """
    if isinstance(given, str):
        return searcher_named(given)
    if is_ray_style(given):
        return RayStyleSearcher(given)
    assert isinstance(given, Searcher)
    return given
