"""Searchers by name, as `TuneConfig(search_alg="tpe")` gives them."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from typing import Any

from tune_plugins import arguments as checks
from tune_plugins.arguments import Mistakes
from tune_plugins.core.searcher import Searcher
from tune_plugins.search.absent import instead
from tune_plugins.search.ray_style import RayStyleSearcher, is_ray_style

__all__ = ["SEARCHERS", "as_searcher", "create_searcher"]

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
    "variant_generator": ("basic_variant", "BasicVariantGenerator", {}),
    "hyperopt": ("hyperopt", "HyperOptSearch", {}),
}
"""{name: (module of `tune_plugins.search`, class, arguments)}."""


def create_searcher(name: str, **arguments: Any) -> Searcher:
    """The searcher of a name.

    >>> create_searcher("evolutionary", population=8)
    EvolutionarySearch(population=8)

    Args:
        name: one of `SEARCHERS`.
        arguments: of its class.

    Raises:
        ArgumentError: there is none of that name, or its arguments are wrong; lists all mistakes.
        MissingDependencyError: its library is not installed.
    """
    mistakes = Mistakes("create_searcher")
    mistakes.found += name_mistakes("name", name)
    mistakes.raise_if_any()
    module, class_name, given = SEARCHERS[name]
    kind = getattr(import_module(f"tune_plugins.search.{module}"), class_name)
    takes = signature(kind).parameters
    for objective in {"metric", "mode"} - takes.keys():  # one that compares nothing needs none
        arguments.pop(objective, None)
    searcher: Searcher = checks.made("create_searcher", kind, {**given, **arguments})
    return searcher


def name_mistakes(argument: str, name: str) -> list[str]:
    """What is wrong with a name, in words."""
    if said := instead(str(name).lower()):
        return [f"{argument}: expected {', '.join(map(repr, SEARCHERS))} or a searcher, got {name!r}. {said}"]
    return checks.name_mistakes(argument, name, SEARCHERS, "a searcher")


def as_searcher(given: Any) -> Searcher:
    """What `TuneConfig(search_alg=...)` takes, as a searcher: a name, a `Searcher`, one in a form of Ray Tune's.

    Raises:
        ArgumentError: no searcher has this name.
        MissingDependencyError: the library of the one that is named is not installed.
    """
    if isinstance(given, str):
        Mistakes("search_alg", name_mistakes("search_alg", given)).raise_if_any()
        return create_searcher(given)
    if is_ray_style(given):
        return RayStyleSearcher(given)
    assert isinstance(given, Searcher)
    return given
