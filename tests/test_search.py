"""The basic searcher and the contract of searchers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mistakes import mistakes_of
from scipy import stats

from tune_plugins import space as sp
from tune_plugins.errors import ArgumentError
from tune_plugins.search import BasicVariantGenerator, Outcome, Searcher, SearchTask, Signal, SobolSearch
from tune_plugins.space import Space

GRID = {"a": sp.grid_search([1, 2]), "b": sp.randint(0, 3)}


def ready(searcher: Searcher, space: Any, num_samples: int = 1, seed: int = 0) -> Searcher:
    searcher.prepare(SearchTask(Space(space), "loss", "min", seed, num_samples))
    return searcher


def all_of(searcher: Searcher) -> list[dict[str, Any]]:
    configs: list[dict[str, Any]] = []
    total = searcher.total_trials
    while len(configs) != total:
        config = searcher.ask(f"{len(configs):05d}", len(configs))
        if config is Signal.COMPLETE:
            break
        assert isinstance(config, dict)
        configs.append(config)
    return configs


def test_grid_times_num_samples() -> None:
    configs = all_of(ready(BasicVariantGenerator(), GRID, num_samples=4))
    assert [config["a"] for config in configs] == [1, 2] * 4
    assert all(config["b"] in range(3) for config in configs)


@given(st.integers(0, 99), st.permutations(range(8)))
def test_a_suggestion_depends_on_seed_and_index_only(seed: int, order: list[int]) -> None:
    straight = all_of(ready(BasicVariantGenerator(), GRID, num_samples=4, seed=seed))
    other = ready(BasicVariantGenerator(), GRID, num_samples=4, seed=seed)
    for index in order:
        other.on_trial_result("00000", {"loss": 1.0})
        assert other.suggest(str(index), index) == straight[index]


def test_random_state_overrides_the_seed_of_the_run() -> None:
    def values(seed: int, random_state: int | None) -> list[dict[str, Any]]:
        return all_of(ready(BasicVariantGenerator(random_state=random_state), {"x": sp.uniform(0, 1)}, 3, seed))

    assert values(1, 7) == values(2, 7) == values(7, None) != values(1, None)


def test_points_as_ray_tune_counts_them() -> None:
    # The example of Ray Tune's documentation: six trials by four samples.
    points = [{"a": 2, "b": 2}, {"a": 1}, {"b": 2}]
    configs = all_of(ready(BasicVariantGenerator(points_to_evaluate=points), GRID, num_samples=4))
    assert configs[0] == {"a": 2, "b": 2}
    assert configs[1]["a"] == 1
    assert configs[2:4] == [{"a": 1, "b": 2}, {"a": 2, "b": 2}]
    assert [config["a"] for config in configs[4:]] == [1, 2]


def test_more_points_than_samples_are_all_tried() -> None:
    points = [{"x": 0.1}, {"x": 0.2}]
    assert all_of(ready(BasicVariantGenerator(points), {"x": sp.uniform(0, 1)})) == points


def test_partial_points_of_a_nested_space() -> None:
    space = {
        "opt": sp.choice([{"kind": "sgd", "lr": sp.uniform(0, 1)}, {"kind": "adam", "beta": sp.uniform(0, 1)}]),
        "net": {"layers": [sp.randint(1, 9), sp.randint(1, 9)], "width": sp.randint(1, 9)},
        "double": sp.sample_from(lambda config: config["net"]["width"] * 2),
        "epochs": 10,
    }
    points: list[dict[str, Any]] = [
        {"opt": {"beta": 0.5}},
        {"opt/lr": 0.25, "net/width": 3, "net": {"layers": [1, 2]}},
        {"net/layers/1": 7, "double": 1},
        {"opt": {"kind": "sgd"}, "epochs": 10},
    ]
    first, second, third, fourth = all_of(ready(BasicVariantGenerator(points), space, 4))
    assert first["opt"] == {"kind": "adam", "beta": 0.5}
    assert second["opt"] == {"kind": "sgd", "lr": 0.25}
    assert second["net"] == {"layers": [1, 2], "width": 3}
    assert second["double"] == 6
    assert third["net"]["layers"][1] == 7 and third["double"] == 1
    assert fourth["opt"]["kind"] == "sgd" and 0 <= fourth["opt"]["lr"] <= 1
    assert first["net"]["layers"] != fourth["net"]["layers"]


def test_points_take_the_type_of_the_domain() -> None:
    import numpy

    points = [{"x": numpy.float32(0.5), "n": numpy.int64(3), "c": 1}]
    (config,) = all_of(
        ready(BasicVariantGenerator(points), {"x": sp.uniform(0, 1), "n": sp.randint(0, 9), "c": sp.choice([1])})
    )
    assert [type(value) for value in config.values()] == [float, int, int]


def test_all_mistakes_of_points_at_once() -> None:
    space = {
        "lr": sp.uniform(0, 1),
        "model": {"depth": sp.grid_search([2, 4])},
        "opt": sp.choice([{"kind": "sgd"}, {"kind": "adam"}]),
        "layers": [sp.randint(0, 3), 8],
        "epochs": 10,
    }
    points: list[Any] = [
        {"lrr": 0.1, "lr": 5, "model": {"depth": 4, "width": 1}},
        {"opt": {"kind": "lbfgs"}, "layers": [1]},
    ]
    with pytest.raises(ArgumentError) as caught:
        ready(BasicVariantGenerator(points), space, 3)
    wanted = [
        ("[0]: lr: ", "5 is outside of uniform(0.0, 1.0)"),
        ("[0]: model/width: no such parameter", "Known: model/depth"),
        ("[0]: lrr: no such parameter", "Did you mean 'lr'? Known: lr, model/depth, opt/kind, layers, epochs"),
        ("[1]: opt: ", "'lbfgs'"),
        ("[1]: layers: ", "a list of 2 values"),
    ]
    assert len(caught.value.mistakes) == len(wanted)
    for mistake, (start, part) in zip(caught.value.mistakes, wanted, strict=True):
        assert mistake.startswith("points_to_evaluate" + start) and part in mistake


def test_points_outside_of_grids_and_beside_constants(caplog: pytest.LogCaptureFixture) -> None:
    """As in Ray Tune, which warns; each such point is one trial, in place of one of the samples."""
    space = {
        "depth": sp.grid_search([2, 4]),
        "opt": sp.grid_search(["sgd", "adam"]),
        "epochs": 10,
        "x": sp.uniform(0, 1),
    }
    shape = [8, 8]
    points: list[dict[str, Any]] = [{"depth": 3, "x": 0.5}, {"depth": 4, "opt": {"kind": "lbfgs"}}, {"epochs": shape}]
    configs = all_of(ready(BasicVariantGenerator(points), space, 4))
    assert len(configs) == 2 + 1 + 4 + 4
    assert [(c["depth"], c["opt"], c["x"]) for c in configs[:2]] == [(3, "sgd", 0.5), (3, "adam", 0.5)]
    assert (configs[2]["depth"], configs[2]["opt"]) == (4, {"kind": "lbfgs"})
    assert [c["epochs"] for c in configs] == [10] * 3 + [[8, 8]] * 4 + [10] * 4
    assert [record.getMessage() for record in caplog.records] == [
        "points_to_evaluate[0]: depth: 3 is none of the options of grid_search([2, 4]). It is tried as it is.",
        "points_to_evaluate[1]: opt: {'kind': 'lbfgs'} is none of the options of grid_search(['sgd', 'adam']). "
        "It is tried as it is.",
        "points_to_evaluate[2]: epochs: param_space fixes it at 10, got [8, 8]. It is tried as it is.",
    ]


def test_other_searchers_refuse_such_points() -> None:
    space = {"depth": sp.grid_search([2, 4]), "epochs": 10, "x": sp.uniform(0, 1)}
    found = mistakes_of(ready, SobolSearch(points_to_evaluate=[{"depth": 3, "epochs": 11}]), space)
    assert [mistake.partition(": ")[2].partition(":")[0] for mistake in found] == ["depth", "epochs"]


@pytest.mark.parametrize("draw", [np.random.default_rng, np.random.RandomState])
def test_a_generator_of_numpy_as_random_state(draw: Any) -> None:
    def searched(given: Any) -> list[dict[str, Any]]:
        return all_of(ready(BasicVariantGenerator(random_state=given), {"x": sp.uniform(0, 1)}, 3))

    assert searched(draw(1000)) == searched(draw(1000)) != searched(draw(1001))
    generator = draw(1000)
    assert searched(generator) == searched(draw(1000)) != searched(generator)


def test_setup_lists_the_mistakes_of_the_space() -> None:
    (mistake,) = mistakes_of(ready, BasicVariantGenerator(), {"lr": {"grid_search": []}})
    assert mistake.startswith("lr: ")


def test_all_mistakes_of_the_arguments_at_once() -> None:
    with pytest.raises(ArgumentError) as caught:
        BasicVariantGenerator({"lr": 1}, max_concurrent=-1, random_state="x")  # type: ignore[arg-type]
    assert [m.partition(":")[0] for m in caught.value.mistakes] == [
        "points_to_evaluate",
        "random_state",
        "max_concurrent",
    ]


def test_max_concurrent() -> None:
    searcher = ready(BasicVariantGenerator(max_concurrent=2), {"x": sp.uniform(0, 1)}, 4)
    expected = all_of(ready(BasicVariantGenerator(), {"x": sp.uniform(0, 1)}, 4))
    assert [searcher.suggest(str(i), i) for i in range(3)] == [*expected[:2], Signal.NOT_READY]
    searcher.on_trial_complete("0", None, Outcome.FAILED)
    assert searcher.suggest("2", 2) == expected[2]
    assert searcher.suggest("3", 3) is Signal.NOT_READY
    searcher.on_trial_complete("1", {"loss": 1.0})
    assert searcher.suggest("3", 3) == expected[3]
    assert searcher.suggest("4", 4) is Signal.COMPLETE


def test_resume_goes_on_as_if_never_interrupted() -> None:
    expected = all_of(ready(BasicVariantGenerator(), GRID, 3))
    resumed = ready(BasicVariantGenerator(max_concurrent=2), GRID, 3)
    for index in range(2):
        resumed.on_suggested(str(index), index, expected[index])
    assert resumed.suggest("2", 2) is Signal.NOT_READY
    resumed.on_trial_complete("0", {"loss": 0.0})
    assert resumed.suggest("2", 2) == expected[2]


def test_constant_grid_search() -> None:
    space = {"a": sp.grid_search([1, 2, 3]), "x": sp.uniform(0, 1)}
    searcher = BasicVariantGenerator([{"a": 1}, {}], constant_grid_search=True)
    values = [config["x"] for config in all_of(ready(searcher, space, 4))]
    assert len(values) == 1 + 3 + 3 + 3
    assert [len(set(values[a:b])) for a, b in ((1, 4), (4, 7), (7, 10))] == [1, 1, 1]
    assert len(set(values)) == 4


def test_a_space_of_nothing() -> None:
    assert all_of(ready(BasicVariantGenerator(), None, 2)) == [{}, {}]


def test_a_searcher_of_ones_own() -> None:
    class Climb(Searcher):
        """Moves away from the best value so far by chance."""

        best: tuple[float, float] = (float("inf"), 0.5)

        def setup(self, task: SearchTask) -> None:
            super().setup(task)
            self.asked: dict[str, float] = {}

        def suggest(self, trial_id: str, index: int) -> dict[str, Any]:
            near = self.best[1] + self.rng(index).gauss(0, 0.1)
            config = {**self.space.sample(index, self.seed), "x": self.space.domains["x"].clip(near)}
            self.on_suggested(trial_id, index, config)
            return config

        def on_suggested(self, trial_id: str, index: int, config: dict[str, Any]) -> None:
            self.asked[trial_id] = config["x"]

        def on_trial_complete(
            self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
        ) -> None:
            if result:
                self.best = min(self.best, (result["loss"], self.asked[trial_id]))

    def run(count: int, before: list[dict[str, Any]]) -> tuple[Climb, list[dict[str, Any]]]:
        searcher = Climb()
        ready(searcher, {"x": sp.uniform(0, 1)}, 60)
        configs = []
        for index in range(count):
            if index < len(before):
                config = before[index]
                searcher.on_suggested(str(index), index, config)
            else:
                config = searcher.suggest(str(index), index)
            configs.append(config)
            searcher.on_trial_complete(str(index), {"loss": abs(config["x"] - 0.9)})
        return searcher, configs

    searcher, straight = run(60, [])
    assert searcher.total_trials == 60
    assert abs(searcher.best[1] - 0.9) < 0.05
    assert run(60, straight[:30])[1] == straight


CONDITIONAL = {
    "lr": sp.loguniform(1e-4, 1),
    "opt": sp.choice([{"kind": "sgd", "m": sp.uniform(0, 1)}, {"kind": "adam"}]),
    "size": sp.ordinal([16, 32, 64]),
    "grid": sp.grid_search([1, 2, 3, 4]),
    "twice": sp.sample_from(lambda config: 2 * config["lr"]),
    "own": sp.distribution(lambda rng: rng.choice("ab")),
    "beta": sp.distribution(stats.beta(2, 5)),
    "fixed": [1, None],
}


def test_sobol_covers_the_space_evenly() -> None:
    """Of 64 points each of 64 squares of two parameters has one (a (0, 6, 2)-net); the options have equal shares."""
    configs = all_of(ready(SobolSearch(), {"a": sp.uniform(0, 1), "b": sp.randint(0, 8)}, num_samples=64, seed=3))
    assert len({(int(8 * config["a"]), config["b"]) for config in configs}) == 64
    space = Space(CONDITIONAL)
    configs = all_of(ready(SobolSearch(), CONDITIONAL, num_samples=64, seed=3))
    assert all(space.check_point(config) == [] and config["twice"] == 2 * config["lr"] for config in configs)
    for name, options in (("grid", [1, 2, 3, 4]), ("opt", ["sgd", "adam"])):
        values = [config[name] if name == "grid" else config[name]["kind"] for config in configs]
        assert [values.count(option) for option in options] == [64 // len(options)] * len(options)
    assert np.median([config["beta"] for config in configs]) == pytest.approx(stats.beta(2, 5).median(), abs=0.03)
    assert {config["own"] for config in configs} == {"a", "b"}


@given(st.integers(0, 99), st.permutations(range(8)))
def test_sobol_depends_on_seed_and_index_only(seed: int, order: list[int]) -> None:
    straight = all_of(ready(SobolSearch(), CONDITIONAL, num_samples=8, seed=seed))
    other = ready(SobolSearch(), CONDITIONAL, num_samples=8, seed=seed)
    assert [other.suggest(str(index), index) for index in order] == [straight[index] for index in order]
    assert straight != all_of(ready(SobolSearch(random_state=seed + 100), CONDITIONAL, num_samples=8, seed=seed))


def test_sobol_keeps_to_constraints_and_to_nothing() -> None:
    def below(config: dict[str, Any]) -> bool:
        return bool(config["a"] < config["b"])

    def searched(space: Space, samples: int) -> list[dict[str, Any]]:
        searcher = SobolSearch()
        searcher.prepare(SearchTask(space, num_samples=samples))
        return all_of(searcher)

    given = {"a": sp.uniform(0, 1), "b": sp.uniform(0, 1)}
    assert all(below(config) for config in searched(Space(given, [below]), 32))
    assert searched(Space({"a": 1}), 3) == [{"a": 1}] * 3 and searched(Space(None), 2) == [{}, {}]
    assert len(mistakes_of(lambda: SobolSearch(random_state="x"))) == 1  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="expected at most 21,201 parameters, got 21,202"):
        ready(SobolSearch(), {str(number): sp.uniform(0, 1) for number in range(21_202)})
