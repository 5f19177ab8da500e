"""Searchers of Ray Tune's that are not here: what people are told to use."""

from __future__ import annotations

import pytest
from mistakes import mistakes_of

import tune_plugins as tune
from tune_plugins import search
from tune_plugins.search.by_name import create_searcher

ABSENT = {
    "ax": ("AxSearch", "sampler='gp'"),
    "bayesopt": ("BayesOptSearch", "sampler='gp'"),
    "bohb": ("TuneBOHB", "HyperBandForBOHB()"),
    "dragonfly": ("DragonflySearch", "current versions of Python"),
    "flaml": ("BlendSearch", "ASHAScheduler()"),
    "hebo": ("HEBOSearch", "sampler='gp'"),
    "nevergrad": ("NevergradSearch", "EvolutionarySearch()"),
    "sigopt": ("SigOptSearch", "service that it asked has ended"),
    "skopt": ("SkOptSearch", "sampler='gp'"),
    "zoopt": ("ZOOptSearch", "EvolutionarySearch()"),
}


@pytest.mark.parametrize("module", ABSENT)
def test_each_says_what_to_use(module: str) -> None:
    kind, said = ABSENT[module]
    for statement in (
        f"from tune_plugins.search import {kind}",
        f"from tune_plugins.search.{module} import {kind}",
        f"from tune_plugins.search.{module}.{module}_search import {kind}",
        f"import tune_plugins.search.{module}",
    ):
        with pytest.raises(ImportError) as caught:
            exec(statement)
        assert f"There is no {kind} here." in str(caught.value) and said in str(caught.value)
    (mistake,) = mistakes_of(create_searcher, module)
    assert mistake.startswith("name: expected 'random'") and f"There is no {kind} here." in mistake and said in mistake
    (mistake,) = mistakes_of(tune.TuneConfig, search_alg=module)
    assert mistake.startswith("search_alg: ") and f"There is no {kind} here." in mistake
    assert not hasattr(search, module) and not hasattr(search, kind)


def test_names_of_ray_tune() -> None:
    assert search.create_searcher("random") is not None and search.grid_search is tune.grid_search
    for name in ("UNDEFINED_METRIC_MODE", "UNDEFINED_SEARCH_SPACE", "UNRESOLVED_SEARCH_SPACE"):
        with pytest.raises(ImportError, match="Raise an ArgumentError that says what yours needs"):
            exec(f"from tune_plugins.search import {name}")
    with pytest.raises(ImportError, match="Give the searcher itself"):
        exec("from tune_plugins.search import SearchGenerator")
    with pytest.raises(ImportError, match="Did you mean 'OptunaSearch'"):
        exec("from tune_plugins.search import OptunaSerch")
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'tune_plugins\.search\.nothing'$"):
        exec("import tune_plugins.search.nothing")
