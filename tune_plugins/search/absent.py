"""Searchers that Ray Tune has or had and this package has not: what to use in their place."""

from __future__ import annotations

from collections.abc import Mapping

from tune_plugins._imports import _hint

__all__ = ["hint", "instead"]

_GP = "Use OptunaSearch(sampler='gp'), Gaussian processes"

_INSTEAD: Mapping[str, tuple[tuple[str, ...], str]] = {
    "AxSearch": (("ax",), f"{_GP}, also for several metrics and constraints."),
    "BayesOptSearch": (("bayesopt",), f"{_GP}."),
    "BlendSearch": (
        ("blendsearch", "flaml"),
        "Ray Tune has dropped it. Use OptunaSearch(points_to_evaluate=[cheap_config]) and ASHAScheduler().",
    ),
    "CFO": (
        ("cfo", "flaml"),
        "Ray Tune has dropped it. Use OptunaSearch(sampler='cmaes', points_to_evaluate=[cheap_config]).",
    ),
    "DragonflySearch": (("dragonfly",), f"Its package has no release for current versions of Python. {_GP}."),
    "HEBOSearch": (("hebo",), f"{_GP}."),
    "NevergradSearch": (
        ("nevergrad",),
        "Use EvolutionarySearch(), which needs no library, or OptunaSearch(sampler='cmaes').",
    ),
    "SigOptSearch": (("sigopt",), f"The service that it asked has ended. {_GP}."),
    "SkOptSearch": (("skopt",), f"Ray Tune has dropped it. {_GP}."),
    "TuneBOHB": (
        ("bohb",),
        "Use OptunaSearch() with HyperBandForBOHB(): the model of BOHB is a TPE too, and learns from trials cut short.",
    ),
    "ZOOptSearch": (("zoopt",), "Use EvolutionarySearch(), or OptunaSearch(sampler='cmaes')."),
}
"""{class of Ray Tune's: (names and modules it is known by, what to use)}."""

_MESSAGE = "It is a text of Ray Tune's own searchers. Raise an ArgumentError that says what yours needs."
_OTHERS = {
    "SearchGenerator": "Give the searcher itself: TuneConfig(search_alg=...).",
    "UNDEFINED_METRIC_MODE": _MESSAGE,
    "UNDEFINED_SEARCH_SPACE": _MESSAGE,
    "UNRESOLVED_SEARCH_SPACE": _MESSAGE,
}


def instead(name: str) -> str:
    """What to use for what Ray Tune calls `name` in ``create_searcher``; empty where it has nothing of that name."""
    found = [f"There is no {kind} here. {text}" for kind, (names, text) in _INSTEAD.items() if name in names]
    return " ".join(found)


def hint(name: str) -> str:
    """What is said of a name that `tune_plugins.search` has not; nothing is said of one that nobody knows."""
    if name in _INSTEAD:
        return f"There is no {name} here. {_INSTEAD[name][1]}"
    return _OTHERS.get(name) or instead(name) or _hint("tune_plugins.search")(name)
