"""What every searcher must hold to, as tests: derive a class from `SearcherConformance` and run pytest.

The suite asks and tells a searcher as a run does, by hand. No case is skipped: what a searcher cannot do it declares,
and the declaration is tested instead.

>>> from tune_plugins.search import BasicVariantGenerator, Searcher
>>> class TestRandomSearch(SearcherConformance):
...     learns, avoids_duplicates = False, False
...
...     def make(self, *, metric=None, mode=None, warm_start=None, **options):
...         return BasicVariantGenerator(**options)
"""

from __future__ import annotations

import copy
import math
import pickle
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, ClassVar

import numpy as np
import pytest

from tune_plugins._imports import require
from tune_plugins.errors import ArgumentError
from tune_plugins.record.codec import config_of, config_text
from tune_plugins.search import BasicVariantGenerator, Fidelity, Outcome, Searcher, SearchTask, Signal
from tune_plugins.search.by_name import SEARCHERS
from tune_plugins.space import (
    Categorical,
    Distribution,
    Domain,
    Float,
    Function,
    Integer,
    Normal,
    Space,
    choice,
    distribution,
    flatten,
    grid_search,
    lograndint,
    loguniform,
    ordinal,
    qlograndint,
    qloguniform,
    qrandint,
    qrandn,
    quniform,
    randint,
    randn,
    sample_from,
    uniform,
)
from tune_plugins.space.nested import unflatten

__all__ = ["DOMAINS", "DomainCase", "Run", "SearcherConformance", "conformance_table"]

Config = dict[str, Any]


# --------------------------------------------------------------------------------------- domains


@dataclass(frozen=True)
class DomainCase:
    """A kind of domain; it is the parameter `HERE` of a space.

    Attributes:
        written: how a user writes it, for the table.
        make: makes what stands in the space: with ``x``, a number from 0 to 1, beside it, unless `alone`.
        alone: there is nothing else in the space.
        constraints: of the space.
    """

    written: str
    make: Callable[[], Any]
    alone: bool = False
    constraints: tuple[Callable[[Config], object], ...] = ()

    def space(self) -> Space:
        """The space with it."""
        beside = {} if self.alone else {"x": uniform(0, 1)}
        return Space({**beside, HERE: self.make()}, self.constraints)


HERE = "tested"


def _scipy(name: str, *arguments: float) -> Any:
    stats = require("scipy.stats", extra="sobol", needed_by="tune_plugins.testing.searchers")
    return distribution(getattr(stats, name)(*arguments))


def _conditional() -> Any:
    return choice([{"kind": "sgd", "momentum": uniform(0, 1)}, {"kind": "adam", "beta": [uniform(0.8, 0.9), 0.999]}])


def _two_levels() -> Any:
    head = choice([{"kind": "linear"}, {"kind": "deep", "depth": randint(2, 5), "act": choice(["relu", "gelu"])}])
    return choice([{"net": "cnn", "head": head, "width": qrandint(8, 64, 8)}, {"net": "mlp", "head": None}])


def _low_and_high() -> Any:
    return {"low": uniform(0, 1), "high": uniform(0, 1)}


DOMAINS: Mapping[str, DomainCase] = {
    "uniform": DomainCase("uniform(-5, 5)", lambda: uniform(-5, 5)),
    "quniform": DomainCase("quniform(0.1, 0.7, 0.1)", lambda: quniform(0.1, 0.7, 0.1)),
    "loguniform": DomainCase("loguniform(1e-6, 0.1)", lambda: loguniform(1e-6, 0.1)),
    "qloguniform": DomainCase("qloguniform(0.5, 50, 0.5)", lambda: qloguniform(0.5, 50, 0.5)),
    "randn": DomainCase("randn(3, 2)", lambda: randn(3, 2)),
    "qrandn": DomainCase("qrandn(0, 5, 0.25)", lambda: qrandn(0, 5, 0.25)),
    "randint": DomainCase("randint(-3, 8)", lambda: randint(-3, 8)),
    "randint_beyond_floats": DomainCase("randint(0, 2**62)", lambda: randint(0, 2**62)),
    "qrandint": DomainCase("qrandint(8, 64, 8)", lambda: qrandint(8, 64, 8)),
    "lograndint": DomainCase("lograndint(1, 1001)", lambda: lograndint(1, 1001)),
    "qlograndint": DomainCase("qlograndint(10, 1000, 10)", lambda: qlograndint(10, 1000, 10)),
    "a_single_value": DomainCase("randint(3, 4)", lambda: randint(3, 4)),
    "choice_of_words": DomainCase('choice(["relu", "tanh", "gelu"])', lambda: choice(["relu", "tanh", "gelu"])),
    "choice_of_numbers": DomainCase("choice([64, 0.5, 16])", lambda: choice([64, 0.5, 16])),
    "choice_of_mixed_types": DomainCase(
        'choice([None, True, 1, "1", (3, 3), [8, 8]])', lambda: choice([None, True, 1, "1", (3, 3), [8, 8]])
    ),
    "choice_of_functions": DomainCase("choice([min, max])", lambda: choice([min, max])),
    "choice_of_domains": DomainCase(
        "choice([uniform(0, 1), randint(2, 5), 7])", lambda: choice([uniform(0, 1), randint(2, 5), 7])
    ),
    "choice_of_dicts": DomainCase('choice([{"kind": "sgd", "momentum": uniform(0, 1)}, ...])', _conditional),
    "choice_in_a_choice": DomainCase('choice([{"net": "cnn", "head": choice([...])}, ...])', _two_levels),
    "choice_alone": DomainCase('choice(["a", "b", "c"]), and nothing else', lambda: choice(["a", "b", "c"]), True),
    "ordinal": DomainCase("ordinal([16, 32, 64, 128])", lambda: ordinal([16, 32, 64, 128])),
    "ordinal_of_words": DomainCase(
        'ordinal(["small", "medium", "large"])', lambda: ordinal(["small", "medium", "large"])
    ),
    "grid_search": DomainCase("grid_search([1, 2, 4])", lambda: grid_search([1, 2, 4])),
    "grid_search_of_dicts": DomainCase(
        'grid_search([{"kind": "a", "lr": uniform(0, 1)}, {"kind": "b"}])',
        lambda: grid_search([{"kind": "a", "lr": uniform(0, 1)}, {"kind": "b"}]),
    ),
    "sample_from": DomainCase('sample_from(lambda c: 2 * c["x"])', lambda: sample_from(lambda c: 2 * c["x"])),
    "sample_from_that_draws": DomainCase(
        "sample_from(lambda: random.random())", lambda: sample_from(lambda: random.random())
    ),
    "sample_from_that_returns_a_domain": DomainCase(
        'sample_from(lambda c: uniform(0, 1 + c["x"]))', lambda: sample_from(lambda c: uniform(0, 1 + c["x"]))
    ),
    "sample_from_that_returns_domains": DomainCase(
        'sample_from(lambda c: {"a": randint(0, 9), "b": [uniform(0, 1)]})',
        lambda: sample_from(lambda c: {"a": randint(0, 9), "b": [uniform(0, 1)]}),
    ),
    "sample_from_alone": DomainCase(
        "sample_from(...), and nothing else", lambda: sample_from(lambda: random.random()), True
    ),
    "distribution": DomainCase("distribution(scipy.stats.beta(2, 5))", lambda: _scipy("beta", 2, 5)),
    "distribution_of_whole_numbers": DomainCase("distribution(scipy.stats.poisson(4))", lambda: _scipy("poisson", 4)),
    "distribution_by_a_function": DomainCase(
        "distribution(lambda rng: rng.gauss(0, 1))", lambda: distribution(lambda rng: rng.gauss(0, 1))
    ),
    "list_of_domains": DomainCase("[randint(8, 65), randint(8, 65)]", lambda: [randint(8, 65), randint(8, 65)]),
    "tuple_of_domains": DomainCase('(uniform(0, 1), "same")', lambda: (uniform(0, 1), "same")),
    "nested_dicts": DomainCase(
        '{"a": {"b": uniform(0, 1), "c": {"d": randint(0, 9)}}}',
        lambda: {"a": {"b": uniform(0, 1), "c": {"d": randint(0, 9)}}},
    ),
    "odd_names": DomainCase(
        '{"a b": uniform(0, 1), "über": uniform(0, 1), 2: uniform(0, 1)}',
        lambda: {"a b": uniform(0, 1), "über": uniform(0, 1), 2: uniform(0, 1)},
    ),
    "constants": DomainCase(
        '{"n": 10, "sizes": [3, 4], "shape": (3, 3), "none": None, "empty": {}}',
        lambda: {"n": 10, "sizes": [3, 4], "shape": (3, 3), "none": None, "empty": {}},
    ),
    "constants_alone": DomainCase("10, and nothing else", lambda: 10, True),
    "constraint": DomainCase(
        "a constraint that half of all configs keep",
        _low_and_high,
        constraints=(lambda c: c[HERE]["low"] < c[HERE]["high"],),
    ),
    "narrow_constraint": DomainCase(
        "one that few configs keep",
        _low_and_high,
        constraints=(lambda c: abs(c[HERE]["low"] - c[HERE]["high"]) < 0.02,),
    ),
    "constraint_on_an_option": DomainCase(
        "one on what is in an option",
        _conditional,
        constraints=(lambda c: c[HERE].get("momentum", 1) > 0.5,),
    ),
}
"""Every kind of domain by name: what a searcher has to deal with."""


# ----------------------------------------------------------------------------------- a run by hand


def _told(config: Mapping[str, Any]) -> float:
    """What is told of a config, where it does not matter: a number that follows from it."""
    return random.Random(repr(sorted(flatten(config).items(), key=repr))).random()


class Run:
    """Asks and tells a searcher as a run does, and looks at each suggestion.

    Args:
        searcher: not prepared.
        space: the search space, or what it is made of.
        score: of a config, of which less is better.
        task: what else is in the task.

    Attributes:
        configs: of all trials by number.
        live: numbers of those that have not ended, in the order of asking.
        log: what happened.
    """

    def __init__(
        self,
        searcher: Searcher,
        space: Space | Mapping[str, Any],
        score: Callable[[Config], float] = _told,
        **task: Any,
    ) -> None:
        space = space if isinstance(space, Space) else Space(space)
        task = {"metric": "loss", "mode": "min", "num_samples": 1000, "slots": 4, **task}
        self.searcher, self.space, self.score = searcher, space, score
        self.task = SearchTask(space, **task)
        self.sign = -1.0 if self.task.mode == "max" else 1.0
        searcher.prepare(self.task)
        self.configs: list[Config] = []
        self.live: list[int] = []
        self.log: list[tuple[Any, ...]] = []
        self._copies: list[Config] = []
        self._owners: dict[int, int] = {}  # of dicts and lists by id

    # -------------------------------------------------------------------------------- the calls

    def ask(self) -> Config | Signal:
        """Ask for the next trial; a suggestion is looked at."""
        index = len(self.configs)
        answer = self.searcher.ask(_id(index), index)
        if not isinstance(answer, dict):
            return answer or (Signal.NOT_READY if self.live else Signal.COMPLETE)
        self._take(answer)
        self.check(answer, index)
        return answer

    def _take(self, config: Config) -> None:
        self.log.append(("asked", len(self.configs)))
        self.live.append(len(self.configs))
        self.configs.append(config)
        self._copies.append(copy.deepcopy(config))

    def result(self, index: int, time: int = 9, **instead: Any) -> Config:
        """A result of a trial; `instead`: values that it has in place of its own."""
        value = self.sign * self.score(self.configs[index])
        own = {"loss": value, "cost": _told({"cost of": self.configs[index]})}
        return {**own, "training_iteration": time, "trial_id": _id(index), "config": self.configs[index], **instead}

    def tell(self, index: int, result: Config) -> None:
        """A result of a trial that goes on."""
        self.log.append(("result", index, result))
        before = dict(result)
        self.searcher.on_trial_result(_id(index), result)
        assert result == before, "a result was changed"

    def end(self, index: int, result: Config | None, outcome: Outcome = Outcome.COMPLETED) -> None:
        """The end of a trial."""
        self.log.append(("ended", index, result, outcome))
        self.live.remove(index)
        before = None if result is None else dict(result)
        self.searcher.on_trial_complete(_id(index), result, outcome=outcome)
        assert result == before, "a result was changed"

    def complete(self, index: int) -> None:
        """The end of a trial with the result that its config has."""
        self.end(index, self.result(index))

    def go(self, count: int, slots: int = 1, ends: Callable[[Run, int], None] | None = None) -> list[Config]:
        """So many more configs, or less if the searcher says that there are no more.

        Args:
            count: of configs.
            slots: number of trials at a time; those of the last ones have not ended.
            ends: ends a trial; default: it completes.
        """
        first = len(self.configs)
        ends = Run.complete if ends is None else ends
        while len(self.configs) < first + count:
            if len(self.live) >= slots:
                ends(self, self._next_to_end())
                continue
            answer = self.ask()
            if answer is Signal.COMPLETE:
                break
            if answer is Signal.NOT_READY:
                assert self.live, f"not ready for trial {len(self.configs)}, and none is running: it never will be"
                ends(self, self._next_to_end())
        assert self.configs == self._copies, "a config was changed after it had been suggested"
        return self.configs[first:]

    def _next_to_end(self) -> int:
        """Any of those that run; not always the oldest one."""
        return self.live[7 * len(self.log) % len(self.live)]

    def end_all(self, end: Callable[[Run, int], None] | None = None) -> None:
        """The end of all that run; `end` ends a trial, default: it completes."""
        for index in list(self.live):
            (end or Run.complete)(self, index)

    def resumed(self, searcher: Searcher) -> Run:
        """The same run in a new life: another searcher is told all that happened, from a record."""
        again = Run(searcher, self.space, self.score, **_fields(self.task))
        for what, index, *rest in self.log:
            if what == "asked":
                config = _recorded(self.configs[index])
                again._take(config)
                searcher.on_suggested(_id(index), index, config)
            elif what == "result":
                again.tell(index, again._with_own_config(index, rest[0]))
            else:
                again.end(index, again._with_own_config(index, rest[0]), rest[1])
        return again

    def _with_own_config(self, index: int, result: Config | None) -> Any:
        if not result:
            return result
        config = _recorded(result["config"])
        return {**result, "config": self.configs[index] if config == self.configs[index] else config}

    # ------------------------------------------------------------------- what every suggestion is

    def check(self, config: Config, index: int) -> None:
        """It fits the space, is of plain types, and of its own."""
        where = f"trial {index}, {config!r}"
        assert not (wrong := self.space.check_point(config)), f"{where}: {wrong}"
        assert not (broken := self.space.broken(config)), f"{where} breaks {[each.name for each in broken]}"
        assert not (misfit := _misfit(self.space.param_space, config)), f"{where}: {misfit}"
        self.space.values_of(config)  # raises where something is missing
        for name, inner in _containers(config, ""):
            owner = self._owners.setdefault(id(inner), index)
            assert owner == index, f"{where} shares {name or 'everything'} with trial {owner}"


def _id(index: int) -> str:
    return f"{index:05d}"


def _fields(task: SearchTask) -> dict[str, Any]:
    return {name: value for name, value in vars(task).items() if name != "space"}


def _recorded(config: Mapping[str, Any]) -> Config:
    """A config as it comes back from the record of an experiment."""
    return config_of(config_text(config))


def _misfit(spec: Any, value: Any, name: str = "config") -> str:
    """What of a value is of another type than the space says, in words; "" if nothing."""
    if isinstance(spec, dict) and list(spec) == ["grid_search"]:
        spec = Categorical(tuple(spec["grid_search"]), grid=True)
    if isinstance(spec, Categorical):
        return "" if any(not _misfit(option, value) for option in spec.options) else f"{name}: {value!r} is no option"
    if isinstance(spec, (Function, Distribution)):
        return _impurity(value, name)
    if isinstance(spec, Domain):
        kind = {Float: float, Normal: float, Integer: int}.get(type(spec))
        right = (kind is None or type(value) is kind) and spec.contains(value)
        return "" if right else f"{name}: {value!r} ({type(value).__name__}) is none of {spec!r}"
    if isinstance(spec, (dict, list, tuple)):
        if type(value) is not type(spec) or len(value) != len(spec):
            return f"{name}: expected a {type(spec).__name__} of {len(spec)}, got {value!r}"
        keys = spec if isinstance(spec, dict) else range(len(spec))
        return next((why for key in keys if (why := _misfit(spec[key], value[key], f"{name}/{key}"))), "")
    return "" if type(value) is type(spec) and value == spec else f"{name}: expected {spec!r}, got {value!r}"


def _impurity(value: Any, name: str) -> str:
    if isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return next((why for key, item in items if (why := _impurity(item, f"{name}/{key}"))), "")
    return (
        "" if type(value) in (bool, int, float, str, type(None)) else f"{name}: {value!r} is a {type(value).__name__}"
    )


def _containers(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Everything in a config that can be changed, with the config itself."""
    if isinstance(value, (dict, list, set)):
        yield name, value
    if isinstance(value, (dict, list, tuple)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _containers(item, f"{name}/{key}")


# ---------------------------------------------------------------------------------- ends of trials


def _with(**instead: Any) -> Callable[[Run, int], None]:
    return lambda run, index: run.end(index, run.result(index, **instead))


def _without_metric(run: Run, index: int) -> None:
    result = run.result(index)
    del result["loss"], result["cost"]
    run.end(index, result)


def _cut(outcome: Outcome) -> Callable[[Run, int], None]:
    """Ends after some results that were told."""

    def end(run: Run, index: int) -> None:
        for time in (1, 2, 3):
            run.tell(index, run.result(index, time))
        run.end(index, run.result(index, 3), outcome)

    return end


def _faulty_reports(run: Run, index: int) -> None:
    for time, value in enumerate((math.nan, None, "much", math.inf, 0.5 * run.sign), 1):
        run.tell(index, run.result(index, time, loss=value))
    run.tell(index, {"training_iteration": 6, "config": run.configs[index]})
    run.end(index, run.result(index, 7, loss=math.nan), Outcome.STOPPED)


def _exploited(run: Run, index: int) -> None:
    """Goes on with another config, as in population based training; the space has it."""
    run.tell(index, run.result(index, 1))
    other = run.space.sample(index, "exploit")
    run.tell(index, run.result(index, 2, config=other))
    run.end(index, run.result(index, 3, config=other))


def _exploited_beyond(run: Run, index: int) -> None:
    """Goes on with a config that is outside of the space, as perturbations may lead to."""
    flat = flatten(run.configs[index])
    beyond = {name: value * 1e9 + 1e9 if type(value) in (int, float) else value for name, value in flat.items()}
    other = {**unflatten(beyond), "of a scheduler": 1}
    run.tell(index, run.result(index, 2, config=other))
    run.end(index, run.result(index, 3, config=other))


ENDS: Mapping[str, Callable[[Run, int], None]] = {
    "nan": _with(loss=math.nan),
    "inf": _with(loss=math.inf),
    "none": _with(loss=None),
    "text": _with(loss="much"),
    "metric_missing": _without_metric,
    "number_of_numpy": lambda run, index: run.end(index, run.result(index, loss=np.float32(run.result(index)["loss"]))),
    "whole_number": lambda run, index: run.end(index, run.result(index, loss=int(run.sign))),
    "no_result": lambda run, index: run.end(index, None),
    "empty_result": lambda run, index: run.end(index, {}),
    "failed_at_once": lambda run, index: run.end(index, None, Outcome.FAILED),
    "failed": _cut(Outcome.FAILED),
    "stopped": _cut(Outcome.STOPPED),
    "stopped_after_faulty_reports": _faulty_reports,
    "interrupted": _cut(Outcome.INTERRUPTED),
    "dropped": lambda run, index: run.end(index, None, Outcome.DROPPED),
    "completed_after_reports": _cut(Outcome.COMPLETED),
    "exploited": _exploited,
    "exploited_beyond_the_space": _exploited_beyond,
}
"""How a trial may end, beside being completed with a number."""


def _all_kinds(run: Run, index: int) -> None:
    """Half of the trials complete, and the others end in all other ways by turns."""
    if index % 2:
        run.complete(index)
    else:
        list(ENDS.values())[index // 2 % len(ENDS)](run, index)


# -------------------------------------------------------------------------------------- the suite


class SearcherConformance:
    """Abstract suite; declare what your searcher does, and say how one is made.

    Attributes:
        label: head of the column in the table; default: the name of the class of the searcher.
        few: number of trials in most cases: so many that it goes by their results in the end.
        trials: number of trials in the longest cases; fewer for a searcher that computes much.
        at_a_time: number of trials that it suggests before one ends, of 8.
        repeat: so many times in a row each configuration comes.
        learns: its suggestions depend on results, and find the minimum of a parabola sooner than random ones.
        resumes_exactly: after a resume it goes on as if it had not been interrupted; False: at least it does not repeat
            what it has suggested before.
        avoids_duplicates: it suggests nothing that is being tried already, as long as a space has anything else; in a
            space of real numbers, no searcher does.
        tell_order_matters: what it suggests depends on the order in which trials end.
        multi_objective: it takes several metrics; False: it refuses them.
        unsupported: name of a case of `DOMAINS` -> why it cannot be searched. `prepare` must raise an error then that
            names the parameter, and searchers that can.
        space: of the cases in which it does not matter; for a searcher that does not support that of the default.
    """

    label: ClassVar[str] = ""
    few: ClassVar[int] = 16
    trials: ClassVar[int] = 100
    at_a_time: ClassVar[int] = 8
    repeat: ClassVar[int] = 1
    learns: ClassVar[bool] = True
    resumes_exactly: ClassVar[bool] = True
    avoids_duplicates: ClassVar[bool] = True
    tell_order_matters: ClassVar[bool] = False
    multi_objective: ClassVar[bool] = False
    unsupported: ClassVar[Mapping[str, str]] = {}
    space: ClassVar[Mapping[str, Any]] = {
        "lr": loguniform(1e-5, 1),
        "units": qrandint(8, 128, 8),
        "optimizer": choice([{"kind": "sgd", "momentum": uniform(0, 1)}, {"kind": "adam"}]),
        "kernel": choice([(3, 3), (5, 5), None]),
        "layers": [randint(8, 65), 8],
        "dropout": uniform(0, 0.5),
    }

    def make(self, **options: Any) -> Searcher:
        """A fresh searcher.

        Args:
            options: some of ``metric``, ``mode``, ``points_to_evaluate``, ``evaluated_rewards``, ``warm_start`` and
                ``random_state``, as `Searcher` takes them. One that looks at no results leaves out what it has no use
                for.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method `make`, see SearcherConformance")

    def run(self, options: Mapping[str, Any] | None = None, **task: Any) -> Run:
        """A run of a fresh searcher on `space`."""
        return Run(self.make(**(options or {})), self.space, **task)

    # ------------------------------------------------------------------------------------- domains

    @pytest.mark.parametrize("case", DOMAINS)
    def test_domain(self, case: str) -> None:
        """Suggestions lie in the space, keep to its constraints, and are plain values of their own."""
        space = DOMAINS[case].space()
        if case in self.unsupported:
            with pytest.raises(ArgumentError) as caught:
                Run(self.make(), space)
            said = str(caught.value)
            assert HERE in said or not space.parameters, f"the error does not name the parameter {HERE!r}: {said}"
            assert _names_a_searcher(said), f"the error names no searcher that can: {said}"
            return
        run = Run(self.make(), space)
        configs = run.go(self.few, slots=2)
        assert len(configs) == self.few
        if space.parameters and case != "a_single_value":
            assert any(config != configs[0] for config in configs), f"the same config {self.few} times"

    def test_all_domains_together(self) -> None:
        """All kinds of domains in one space."""
        kinds = {name: case for name, case in DOMAINS.items() if name not in self.unsupported and not case.alone}
        space = {name: case.make() for name, case in kinds.items() if not name.startswith("grid_search")}
        run = Run(self.make(), {"x": uniform(0, 1), **space})
        run.go(self.few, slots=2)
        assert len(run.configs) == self.few

    def test_a_small_space(self) -> None:
        """Where there are only six configs it ends, or begins again."""
        run = Run(self.make(), {"a": randint(0, 3), "b": randint(0, 2)})
        configs = run.go(self.few, slots=2)
        different = {tuple(config.values()) for config in configs}
        assert len(different) > 1
        assert len(configs) == self.few or len(different) == 6, "it ended, and has not suggested all"

    # -------------------------------------------------------------------------------------- chance

    def test_same_seed_same_suggestions(self) -> None:
        """Two runs with the same seed are the same, whatever else draws random numbers in the process."""
        count = min(60, self.trials)
        one = self.run(seed=3).go(count, 4, _all_kinds)
        random.seed(1)
        np.random.seed(1)
        state, numpy_state = random.getstate(), np.random.get_state()
        two = self.run(seed=3).go(count, 4, _all_kinds)
        assert one == two
        assert random.getstate() == state, "it draws from the generator of the module random"
        assert str(np.random.get_state()) == str(numpy_state), "it draws from the generator of the module numpy.random"

    def test_another_seed_other_suggestions(self) -> None:
        """Another seed, other suggestions; a seed of its own counts more than that of the run."""
        one, two = (self.run(seed=seed).go(4) for seed in (1, 2))
        assert one != two
        runs = [self.run({"random_state": own}, seed=seed).go(self.few) for own, seed in ((7, 1), (7, 2), (8, 1))]
        assert runs[0] == runs[1] != runs[2]

    # --------------------------------------------------------------------------- several at a time

    def test_told_in_another_order(self) -> None:
        """In what order trials ended since the last suggestion makes no difference, unless it is declared to."""
        at_a_time = min(8, self.at_a_time)
        runs = [self.run(), self.run()]
        for _ in range(max(2, self.few // at_a_time)):
            for run in runs:
                for _ in range(at_a_time):
                    assert isinstance(run.ask(), dict)
            for index in list(runs[0].live):
                runs[0].complete(index)
            for index in [*runs[1].live[1::2], *reversed(runs[1].live[::2])]:
                runs[1].complete(index)
        assert self.tell_order_matters or runs[0].configs == runs[1].configs

    def test_several_at_a_time(self) -> None:
        """Eight suggestions without a word in between are eight different ones."""
        small = {"a": randint(0, 5), "b": randint(0, 4), "c": randint(0, 3)}
        for space, never_twice in ((self.space, True), (small, self.avoids_duplicates)):
            run = Run(self.make(), space, slots=8)
            run.go(self.few)
            run.end_all()
            first = len(run.configs)
            while len(run.live) < min(8, self.at_a_time):
                assert isinstance(run.ask(), dict), f"nothing to suggest with {len(run.live)} trials running"
            if never_twice:
                assert not (twice := _twice(run.configs[first :: self.repeat])), f"tried already: {twice}"
            if self.at_a_time < 8:
                assert run.ask() is Signal.NOT_READY, f"expected no more than {self.at_a_time} at a time"

    # ---------------------------------------------------------------------------------- what it hears

    @pytest.mark.parametrize("how", ENDS)
    def test_trials_may_end(self, how: str) -> None:
        """However trials end, it goes on."""
        fidelity = Fidelity("training_iteration", 9, (1, 3, 9))
        run = self.run(fidelity=fidelity)
        count = 2 * self.few // 3
        run.go(count, 3, ENDS[how])
        run.end_all(ENDS[how])
        run.go(self.few - count, 2)
        assert len(run.configs) == self.few

    def test_what_is_no_number_counts_for_nothing(self) -> None:
        """NaN, infinity of either sign, None, text and no metric are all the same; none of them is a good value."""
        infinitely_good = _with(loss=-math.inf)
        faults = [infinitely_good, *(ENDS[how] for how in ("nan", "inf", "none", "text", "metric_missing"))]

        def run(fault: Callable[[Run, int], None]) -> list[Config]:
            return self.run().go(self.few, ends=lambda run, index: (Run.complete if index % 3 else fault)(run, index))

        first, *others = map(run, faults)
        assert all(other == first for other in others)

    def test_metric_by_a_path(self) -> None:
        """A metric may be inside of a result: ``eval/loss``."""

        def ends(run: Run, index: int) -> None:
            result = run.result(index)
            run.end(index, {**result, "eval": {"loss": result.pop("loss")}})

        nested = self.run(metric="eval/loss").go(self.few, ends=ends)
        assert nested == self.run().go(self.few)

    def test_mode_max_mirrors_mode_min(self) -> None:
        """With all values of the other sign, and mode "max", it suggests the same."""
        assert self.run(mode="max").go(self.few, 2, _all_kinds) == self.run().go(self.few, 2, _all_kinds)

    def test_metric_of_its_own(self) -> None:
        """Metric and mode may be given to it, and not to the run."""
        own = {"metric": "loss", "mode": "min"}
        assert self.run(own, metric=None, mode=None).go(self.few) == self.run().go(self.few)

    def test_without_a_metric(self) -> None:
        """A searcher that learns says that it needs a metric."""
        try:
            self.run(metric=None, mode=None).go(4)
        except ArgumentError as error:
            assert "metric" in str(error)
        else:
            assert not self.learns, "it learns, and does not say that it has no metric"

    def test_several_metrics(self) -> None:
        """It takes several metrics, or refuses them."""
        several: dict[str, Any] = {"metric": ("loss", "cost"), "mode": ("min", "max")}
        if self.multi_objective:
            run = self.run(**several)
            run.go(self.few, 4, _all_kinds)
            assert len(run.configs) == self.few
            return
        with pytest.raises(ArgumentError) as caught:
            self.run(**several)
        assert "metric" in str(caught.value) and _names_a_searcher(str(caught.value)), str(caught.value)

    def test_learns(self) -> None:
        """On a parabola, half of five runs clearly beat random search; or results make no difference."""
        space = Space({"x": uniform(-5, 5), "y": uniform(-5, 5)})

        def parabola(config: Config) -> float:
            x, y = config["x"] - 1, config["y"] + 2
            return float(x * x + 2 * y * y)

        def best(searcher: Searcher, seed: int, count: int) -> float:
            return min(map(parabola, Run(searcher, space, parabola, seed=seed).go(count)))

        if self.learns:
            count = min(60, self.trials)
            found = median(best(self.make(), seed, count) for seed in range(5))
            by_chance = median(best(BasicVariantGenerator(), seed, count // self.repeat) for seed in range(41))
            assert found < 0.75 * by_chance, f"{found:.3g} in {count} trials, and random search {by_chance:.3g}"
        else:
            few = self.few
            assert Run(self.make(), space, parabola).go(few) == Run(self.make(), space).go(few)

    # ----------------------------------------------------------------------- what the user knows already

    def _known(self, count: int) -> list[Config]:
        return [Space(self.space).sample(index, "known") for index in range(count)]

    def test_points_are_tried_first(self) -> None:
        """Points of the user's come first: nested ones, flat ones, and those that leave something out."""
        nested, whole, some = self._known(3)
        flat = flatten(whole)
        partial = dict(list(flatten(some).items())[::2])
        run = self.run({"points_to_evaluate": [nested, flat, partial]}, num_samples=1)
        total = run.searcher.total_trials
        assert total is None or total >= 3
        first = run.go(3 * self.repeat)[:: self.repeat]
        assert first[0] == nested
        assert flatten(first[1]) == flat
        assert partial.items() <= flatten(first[2]).items()
        run = self.run({"points_to_evaluate": [nested, flat, partial]})
        assert len(run.go(self.few + 3, 4)) == self.few + 3
        assert run.configs[: 3 * self.repeat : self.repeat] == first

    def test_evaluated_points_are_not_tried(self) -> None:
        """Points with a known value are not tried, whatever that is."""
        points = self._known(5)
        rewards = [None, np.float32(0.5), None, math.nan, math.inf]
        run = self.run({"points_to_evaluate": points, "evaluated_rewards": rewards})
        run.go(max(self.few, 2 * self.repeat))
        assert run.configs[: 2 * self.repeat : self.repeat] == [points[0], points[2]]
        tried = [point for point in (points[1], *points[3:]) if point in run.configs]
        assert not tried, f"tried although known: {tried}"

    def test_warm_start(self) -> None:
        """What is known of an earlier run counts for a searcher that learns; what does not fit is passed over."""
        pairs: list[tuple[Config, Any]] = [(config, _told(config)) for config in self._known(self.few + 3)]
        pairs += [({"no such parameter": 1}, 0.1), (pairs[0][0], math.nan), (pairs[1][0], None)]
        cold, warm = self.run(), self.run({"warm_start": pairs})
        assert (warm.go(self.few, 2) != cold.go(self.few, 2)) == self.learns
        again = self.run({"warm_start": pairs})
        assert again.go(self.few, 2) == warm.configs

    # ------------------------------------------------------------------------------ lives of a searcher

    def test_goes_on_after_a_resume(self) -> None:
        """Told what happened in an earlier life, it suggests what it would have; or at least nothing of that again."""
        points = self._known(3)
        options = {"points_to_evaluate": points, "evaluated_rewards": [None, 0.5, None]}
        options |= {"warm_start": [(config, _told(config)) for config in self._known(8)[3:]]}
        fidelity = Fidelity("training_iteration", 9, (1, 3, 9))
        run = self.run(options, fidelity=fidelity)
        run.go(max(self.few, self.trials // 3), 4, _all_kinds)
        before = len(run.configs)
        again = run.resumed(self.make(**options))
        assert again.live == run.live and again.configs == run.configs
        went_on = again.go(self.trials, 4, _all_kinds)
        assert len(went_on) == self.trials
        if self.resumes_exactly:
            assert went_on == run.go(self.trials, 4, _all_kinds)
        else:
            first = -before % self.repeat
            assert not (twice := [config for config in went_on[first:] if config in run.configs]), f"again: {twice}"

    def test_second_run_starts_afresh(self) -> None:
        """A searcher that has served one run suggests in the next one as if it were new."""
        searcher = self.make()
        Run(searcher, {"other": uniform(0, 1)}, mode="max", seed=5).go(min(self.few, 20), 4, _all_kinds)
        again = Run(searcher, self.space, seed=2).go(self.few, 2)
        assert again == self.run(seed=2).go(self.few, 2)

    @pytest.mark.parametrize("how", [copy.deepcopy, lambda searcher: pickle.loads(pickle.dumps(searcher))])
    def test_copies_do_the_same(self, how: Callable[[Searcher], Searcher]) -> None:
        """Before a run it can be copied, and sent to another process."""
        options = {"points_to_evaluate": self._known(1), "random_state": 4}
        copied = how(self.make(**options))
        assert Run(copied, self.space).go(self.few) == self.run(options).go(self.few)

    # ---------------------------------------------------------------------------------------- mistakes

    def test_all_mistakes_at_once(self) -> None:
        """Errors list everything that is wrong: with the arguments, with the space, with the points."""
        with pytest.raises(ArgumentError) as caught:
            self.make(points_to_evaluate={"x": 1}, random_state="seven")
        _assert_named(caught.value, "points_to_evaluate", "random_state")
        with pytest.raises(ArgumentError) as caught:
            Run(self.make(), {"first": Float(1, 0), "second": Categorical(()), "third": uniform(0, 1)})
        _assert_named(caught.value, "first", "second")
        points = [{"x": 7}, {"x": 0.5, "z": 1}, {"x": "much"}]
        with pytest.raises(ArgumentError) as caught:
            Run(self.make(points_to_evaluate=points), {"x": uniform(0, 1), "y": uniform(0, 1)})
        _assert_named(caught.value, "points_to_evaluate[0]", "points_to_evaluate[1]", "points_to_evaluate[2]")


def _assert_named(error: ArgumentError, *names: str) -> None:
    missing = [name for name in names if not any(name in mistake for mistake in error.mistakes)]
    assert not missing, f"{missing} not named in: {error}"


def _names_a_searcher(text: str) -> bool:
    names = {repr(name) for name in SEARCHERS} | {kind for _, kind, _ in SEARCHERS.values()}
    return any(name in text for name in names)


def _twice(configs: Sequence[Config]) -> list[Config]:
    return [config for number, config in enumerate(configs) if config in configs[:number]]


# -------------------------------------------------------------------------------------- the table


def conformance_table(suites: Iterable[type[SearcherConformance]]) -> str:
    """What each searcher declares, and what becomes of each kind of domain, as a Markdown table.

    What is declared is tested, both that it can and that it cannot; so this is what came out where the tests passed.
    """
    columns = list(suites)
    lines = [f"| | {' | '.join(_label(suite) for suite in columns)} |", f"|---|{'---|' * len(columns)}"]
    notes: list[str] = []

    def row(title: str, cells: Iterable[str]) -> None:
        lines.append(f"| {title} | {' | '.join(cells)} |")

    def cell(suite: type[SearcherConformance], case: str) -> str:
        reason = suite.unsupported.get(case)
        if reason is None:
            return "yes"
        if reason not in notes:
            notes.append(reason)
        return f"no [{notes.index(reason) + 1}]"

    row("learns from results", ("yes" if suite.learns else "no" for suite in columns))
    row("several metrics", ("yes" if suite.multi_objective else "no" for suite in columns))
    row("goes on after a resume", ("exactly" if s.resumes_exactly else "without repeating" for s in columns))
    row("suggests what is being tried", ("never" if s.avoids_duplicates else "in small spaces" for s in columns))
    for name, case in DOMAINS.items():
        written = f"`{case.written}`" if "(" in case.written or "{" in case.written else case.written
        row(written.replace("), and nothing else`", ")`, and nothing else"), (cell(suite, name) for suite in columns))
    return "\n".join([*lines, "", *(f"[{number}] {note}\n" for number, note in enumerate(notes, 1))]).rstrip() + "\n"


def _label(suite: type[SearcherConformance]) -> str:
    return suite.label or type(suite().make()).__name__
