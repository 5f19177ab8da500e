"""Every searcher of the project, and the one in examples/, through the suite that is shipped to users."""

from __future__ import annotations

import inspect
import os
import re
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from optuna.samplers import GPSampler, NSGAIISampler
from pages import blocks

from tune_plugins import search
from tune_plugins.search import (
    BasicVariantGenerator,
    ConcurrencyLimiter,
    EvolutionarySearch,
    HyperOptSearch,
    OptunaSearch,
    Repeater,
    Searcher,
    SobolSearch,
)
from tune_plugins.search.by_name import SEARCHERS
from tune_plugins.space import loguniform, uniform
from tune_plugins.testing.searchers import SearcherConformance, conformance_table

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
if str(EXAMPLES) not in sys.path:
    sys.path.append(str(EXAMPLES))

import own_searcher  # noqa: E402

GUIDE = EXAMPLES.parent / "docs" / "guide"
BEGIN, END = "<!-- searchers and domains: written by tests/search/test_contract.py -->\n", "<!-- end of the table -->\n"


class TestBasicVariantGenerator(SearcherConformance):
    learns = avoids_duplicates = False
    multi_objective = True

    def make(self, *, metric: Any = None, mode: Any = None, warm_start: Any = None, **options: Any) -> Searcher:
        return BasicVariantGenerator(**options)


class TestSobolSearch(SearcherConformance):
    learns = avoids_duplicates = False
    multi_objective = True

    def make(self, *, metric: Any = None, mode: Any = None, warm_start: Any = None, **options: Any) -> Searcher:
        return SobolSearch(**options)


class TestEvolutionarySearch(SearcherConformance):
    multi_objective = True
    few = 20

    def make(self, **options: Any) -> Searcher:
        return EvolutionarySearch(**options)


class TestTPE(SearcherConformance):
    label = "OptunaSearch, tpe"
    multi_objective = True

    def make(self, **options: Any) -> Searcher:
        return OptunaSearch(sampler="tpe", **options)


class TestGP(SearcherConformance):
    """A tenth of a second for each suggestion: the model is used from the third trial on, in a simple space."""

    label = "gp"
    multi_objective = True
    few, trials = 4, 8
    space: ClassVar[Mapping[str, Any]] = {"lr": loguniform(1e-5, 1), "layers": [uniform(0, 1), 8]}

    def make(self, **options: Any) -> Searcher:
        return OptunaSearch(sampler=GPSampler(n_startup_trials=2), **options)


class TestCMAES(SearcherConformance):
    label = "cmaes"
    unsupported: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("choice_alone", "sample_from_alone", "constants_alone"),
        "It moves numbers, and refuses a space that has none. Beside one, everything is searched.",
    )

    def make(self, **options: Any) -> Searcher:
        return OptunaSearch(sampler="cmaes", **options)


class TestNSGAII(SearcherConformance):
    label = "nsgaii"
    multi_objective = True

    def make(self, **options: Any) -> Searcher:
        return OptunaSearch(sampler=NSGAIISampler(population_size=10), **options)


class TestQMC(SearcherConformance):
    label = "qmc"
    multi_objective = True
    learns = False

    def make(self, **options: Any) -> Searcher:
        return OptunaSearch(sampler="qmc", **options)


class TestRandom(SearcherConformance):
    label = "random"
    multi_objective = True
    learns = False

    def make(self, **options: Any) -> Searcher:
        return OptunaSearch(sampler="random", **options)


class TestHyperOpt(SearcherConformance):
    def make(self, **options: Any) -> Searcher:
        return HyperOptSearch(n_initial_points=10, **options)


class TestConcurrencyLimiter(SearcherConformance):
    multi_objective = True
    few, at_a_time = 20, 4

    def make(self, **options: Any) -> Searcher:
        return ConcurrencyLimiter(EvolutionarySearch(**options), max_concurrent=4)


class TestConcurrencyLimiterInBatches(TestConcurrencyLimiter):
    def make(self, **options: Any) -> Searcher:
        return ConcurrencyLimiter(EvolutionarySearch(**options), max_concurrent=4, batch=True)


class TestRepeater(SearcherConformance):
    multi_objective = True
    few = 20

    def make(self, **options: Any) -> Searcher:
        return Repeater(EvolutionarySearch(**options), set_index=False)


class TestRepeaterOfTwo(TestRepeater):
    repeat = 2
    few = 32

    def make(self, **options: Any) -> Searcher:
        return Repeater(EvolutionarySearch(**options), repeat=2, set_index=False)


class TestOwnSearcher(SearcherConformance):
    label = "examples/own_searcher.py"
    avoids_duplicates = False
    few = 22

    def make(self, **options: Any) -> Searcher:
        searcher: Searcher = own_searcher.NarrowingSearch(**options)
        return searcher


SUITES = [
    each for each in list(globals().values()) if inspect.isclass(each) and SearcherConformance in each.__mro__[1:]
]
COLUMNS = [suite for suite in SUITES if suite not in (TestConcurrencyLimiterInBatches, TestRepeaterOfTwo)]


def test_no_searcher_escapes() -> None:
    tested = {type(suite().make()) for suite in SUITES}
    exported = {each for each in vars(search).values() if inspect.isclass(each) and issubclass(each, Searcher)}
    assert exported - {Searcher} <= tested
    assert {kind for _, kind, _ in SEARCHERS.values()} <= {kind.__name__ for kind in tested}
    samplers = {arguments["sampler"] for _, _, arguments in SEARCHERS.values() if "sampler" in arguments}
    assert samplers <= {suite.label.removeprefix("OptunaSearch, ") for suite in SUITES}


def test_table_in_the_guide() -> None:
    page = GUIDE / "searchers.md"
    before = page.read_text(encoding="utf-8")
    head, _, rest = before.partition(BEGIN)
    after = f"{head}{BEGIN}\n{conformance_table(COLUMNS)}\n{END}{rest.partition(END)[2]}"
    if after != before and not os.environ.get("CI"):
        page.write_text(after, encoding="utf-8")
    assert after == before, f"{page.name} was out of date, and has been written anew; commit the file"


def test_page_and_example_are_the_same() -> None:
    """The class and its functions stand in the page as they do in the example."""
    in_page = "\n\n\n".join(block.strip() for block in blocks(GUIDE / "own_searcher.md"))
    example = (EXAMPLES / "own_searcher.py").read_text(encoding="utf-8")
    parts = re.findall(r"^(?:class NarrowingSearch|def is_ordered).*?(?=\n\n\n)", example, re.M | re.S)
    assert len(parts) == 2
    assert not [part for part in parts if part not in in_page]


def test_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "own_searcher.py"), run_name="__main__")
    by_chance, narrowing = map(float, re.findall(r": (\d\.\d+) ", capsys.readouterr().out))
    assert narrowing < by_chance / 2
