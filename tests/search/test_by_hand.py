"""Searchers as scripts for Ray Tune use them: called without a run, with a space of their own, saved and restored."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import hyperopt
import optuna
import pytest
from mistakes import mistakes_of
from search_runs import task_of

import tune_plugins as tune
from tune_plugins.errors import ArgumentError
from tune_plugins.search import (
    BasicVariantGenerator,
    ConcurrencyLimiter,
    EvolutionarySearch,
    HyperOptSearch,
    OptunaSearch,
    Outcome,
    Repeater,
    Searcher,
    SobolSearch,
    Space,
)

hp = hyperopt.hp
SPACE = {"x": tune.uniform(0, 1), "net": {"layers": tune.randint(1, 5)}, "epochs": 3}
Make = Callable[..., Any]


def with_metric(kind: Any) -> Make:
    return lambda **given: kind(metric="loss", mode="min", **given)


LEARNING: dict[str, Make] = {
    "evolutionary": with_metric(EvolutionarySearch),
    "optuna": with_metric(OptunaSearch),
    "hyperopt": with_metric(HyperOptSearch),
}
PLAIN: dict[str, Make] = {"random": BasicVariantGenerator, "sobol": SobolSearch, **LEARNING}
EVERY: dict[str, Make] = {
    **PLAIN,
    "limiter": lambda **given: ConcurrencyLimiter(OptunaSearch(metric="loss", mode="min", **given), 4),
    "repeater": lambda **given: Repeater(OptunaSearch(metric="loss", mode="min", **given), 1, set_index=False),
}
every = pytest.mark.parametrize("name", EVERY)
learning = pytest.mark.parametrize("name", LEARNING)


def by_hand(name: str, **given: Any) -> Any:
    searcher = EVERY[name](**given)
    assert searcher.set_search_properties("loss", "min", SPACE) is True
    return searcher


def loss(config: dict[str, Any]) -> float:
    return float((config["x"] - 0.3) ** 2 + config["net"]["layers"])


def tried(searcher: Any, first: int, end: int) -> list[dict[str, Any]]:
    configs = []
    for number in range(first, end):
        config = searcher.suggest(f"trial_{number}")
        searcher.on_trial_result(f"trial_{number}", {"loss": loss(config), "training_iteration": 1})
        searcher.on_trial_complete(f"trial_{number}", {"loss": loss(config), "training_iteration": 2})
        configs.append(config)
    return configs


# ------------------------------------------------------------------------------------ suggest and tell


@every
def test_the_same_suggestions_as_in_a_run(name: str) -> None:
    found = tried(by_hand(name, random_state=7), 0, 8)
    run = EVERY[name](random_state=7)
    run.prepare(task_of(SPACE, 8))
    expected = []
    for index in range(8):
        config = run.ask(f"trial_{index}", index)
        expected.append(deepcopy(config))
        run.on_trial_complete(f"trial_{index}", {"loss": loss(config), "training_iteration": 2, "config": config})
    assert found == expected and len({config["x"] for config in found}) == 8


@every
def test_points_come_first_and_no_seed_gives_others_each_time(name: str) -> None:
    def configs() -> list[dict[str, Any]]:
        return tried(by_hand(name, points_to_evaluate=[{"x": 0.25, "net": {"layers": 2}}]), 0, 3)

    one, other = configs(), configs()
    assert one[0] == other[0] == {"x": 0.25, "net": {"layers": 2}, "epochs": 3}
    assert one[1] != other[1]


@learning
def test_it_learns(name: str) -> None:
    searcher = by_hand(name, random_state=1)
    found = [loss(config) for config in tried(searcher, 0, 60)]
    assert sum(found[-20:]) < sum(found[:20])


def test_how_trials_end() -> None:
    searcher = by_hand("optuna")
    for number in range(5):
        searcher.suggest(str(number))
    searcher.on_trial_complete("0", {"loss": 1.0})
    searcher.on_trial_complete("1", {"loss": 1.0}, error=True)
    searcher.on_trial_complete("2", {"loss": 1.0}, True)
    searcher.on_trial_complete("3", {"loss": 1.0}, False)
    searcher.on_trial_complete("4")
    searcher.on_trial_complete("0", {"loss": 2.0})  # once more: passed over
    searcher.on_trial_result("0", {"loss": 2.0})
    states = [trial.state.name for trial in searcher.study.trials]
    assert states == ["COMPLETE", "FAIL", "FAIL", "COMPLETE", "FAIL"] and searcher.study.trials[0].value == 1.0


def test_nothing_now_and_nothing_more() -> None:
    class Counter(Searcher):
        number = 0

        def suggest(self, trial_id: str, index: int) -> Any:
            self.number += 1
            return {"x": index} if index < 3 else self.FINISHED

    limiter: Any = ConcurrencyLimiter(Counter(), 2)
    assert [limiter.suggest(name) for name in "abc"] == [{"x": 0}, {"x": 1}, None]
    limiter.on_trial_complete("a", {"loss": 1.0})
    assert limiter.suggest("c") == {"x": 2} and limiter.searcher.number == 3
    limiter.on_trial_complete("b")
    assert limiter.suggest("d") == Searcher.FINISHED


def test_a_number_given_is_gone_on_from() -> None:
    searcher = by_hand("random", random_state=1)
    numbers = [searcher.suggest("a"), searcher.suggest("b", 5), searcher.suggest("c")]
    other = by_hand("random", random_state=1)
    counted = [other.suggest(str(number)) for number in range(7)]
    assert numbers == [counted[number] for number in (0, 5, 6)]


def test_after_a_run_it_goes_on_behind_the_last_trial() -> None:
    searcher: Any = OptunaSearch(SPACE, metric="loss", mode="min", random_state=3)
    searcher.prepare(task_of(None, 4))
    configs = [searcher.ask(str(index), index) for index in range(4)]
    assert searcher.suggest("by hand") not in configs and len(searcher.study.trials) == 5


@every
def test_without_a_space_or_a_metric(name: str) -> None:
    searcher = EVERY[name]()
    (mistake,) = mistakes_of(searcher.suggest, "a")
    assert mistake.startswith("space: expected one, since there is no run that has it") and "set_search" in mistake
    if name in ("optuna", "hyperopt"):
        kind: Any = {"optuna": OptunaSearch, "hyperopt": HyperOptSearch}[name]
        searcher = kind(SPACE)
        assert [each.partition(":")[0] for each in mistakes_of(searcher.suggest, "a")] == ["metric"]
        assert mistakes_of(searcher.suggest, "a")  # and again: it has not begun


# -------------------------------------------------------------------------------------------- the space


@every
def test_a_second_space_is_refused(name: str) -> None:
    searcher = by_hand(name)
    assert searcher.set_search_properties("other", "max", {"y": tune.uniform(0, 1)}) is False
    assert set(searcher.suggest("a")) == set(SPACE)
    assert mistakes_of(EVERY[name]().set_search_properties, "loss", "least", SPACE)[0].startswith("mode: ")


@pytest.mark.parametrize("kind", [OptunaSearch, HyperOptSearch])
def test_domains_given_to_the_searcher(kind: Any, tmp_path: Path) -> None:
    given = {"x": tune.uniform(5, 6), "net": {"layers": tune.randint(1, 5)}}
    searcher = kind(given, metric="loss", mode="min")
    assert searcher.set_search_properties("loss", "min", {"y": tune.uniform(0, 1)}) is False
    assert (searcher.metric, searcher.mode) == ("loss", "min")
    config = searcher.suggest("trial_1")
    assert set(config) == {"x", "net"} and 5 <= config["x"] <= 6

    def fit(**given: Any) -> tune.ResultGrid:
        searcher = kind(given.pop("space"), metric="loss", mode="min")
        run = tune.RunConfig(storage_path=tmp_path, verbose=0, runtime="inline")
        tune_config = tune.TuneConfig(search_alg=searcher, num_samples=6, seed=1)
        return tune.Tuner(lambda config: {"loss": config["x"]}, tune_config=tune_config, run_config=run, **given).fit()

    for result in [*fit(space=given), *fit(space=given, param_space={"epochs": 9})]:
        assert result.config is not None and 5 <= result.config["x"] <= 6 and result.config.get("epochs", 9) == 9
    with pytest.raises(ArgumentError, match=r"param_space: expected constants only, .* got y\. Write all of it as"):
        fit(space=given, param_space={"y": tune.uniform(0, 1)})
    for result in fit(space={}, param_space=given):
        assert result.config is not None and 5 <= result.config["x"] <= 6
    legal = Space({"x": tune.uniform(0, 9), "y": tune.uniform(0, 9)}, [lambda config: config["x"] < config["y"]])
    assert all(result.config["x"] < result.config["y"] for result in fit(space=legal))


def test_domains_beside_parameters_of_hyperopt() -> None:
    given = {
        "x": hp.uniform("x", 8, 9),
        "ours": tune.uniform(5, 6),
        "net": {"layers": tune.qrandint(2, 8, 2), "kind": tune.choice(["a", {"width": tune.lograndint(1, 9)}])},
        "sd": [tune.qrandn(3, 1, 0.5), tune.qloguniform(0.5, 4, 0.5)],
    }
    searcher: Any = HyperOptSearch(given, metric="loss", mode="min", random_state=1)
    found = [searcher.suggest(str(number)) for number in range(40)]
    assert all(8 <= config["x"] <= 9 and 5 <= config["ours"] <= 6 for config in found)
    assert {config["net"]["layers"] for config in found} == {2, 4, 6, 8}
    widths = {config["net"]["kind"]["width"] for config in found if config["net"]["kind"] != "a"}
    assert widths <= set(range(1, 9)) and len(widths) > 3 and any(config["net"]["kind"] == "a" for config in found)
    assert all(config["sd"][0] % 0.5 == 0 and 0.5 <= config["sd"][1] <= 4 for config in found)
    wrong = {**given, "grid": tune.grid_search([1, 2]), "computed": tune.sample_from(lambda: 1)}
    assert [each.partition(":")[0] for each in mistakes_of(HyperOptSearch, wrong)] == ["space, grid", "space, computed"]


def test_spaces_converted_for_optuna() -> None:
    distributions = optuna.distributions
    given = {
        **SPACE,
        "lr": tune.loguniform(1e-4, 1e-1),
        "size": tune.qrandint(8, 64, 8),
        "kind": tune.choice(["a", 1, None]),
        "drop": tune.quniform(0, 0.5, 0.1),
    }
    converted = OptunaSearch.convert_search_space(given)
    assert converted == {
        "x": distributions.FloatDistribution(0, 1),
        "net/layers": distributions.IntDistribution(1, 4),
        "lr": distributions.FloatDistribution(1e-4, 1e-1, log=True),
        "size": distributions.IntDistribution(8, 64, step=8),
        "kind": distributions.CategoricalDistribution(["a", 1, None]),
        "drop": distributions.FloatDistribution(0, 0.5, step=0.1),
    }
    searcher: Any = OptunaSearch(converted, metric="loss", mode="min")
    config = searcher.suggest("a")
    assert Space({name: value for name, value in given.items() if name != "epochs"}).check_point(config) == []
    wrong = {
        "grid": tune.grid_search([1, 2]),
        "noise": tune.randn(),
        "q": tune.qlograndint(2, 64, 2),
        "opt": tune.choice([{"lr": tune.uniform(0, 1)}, "none"]),
        "x": tune.uniform(0, 1),
    }
    found = mistakes_of(OptunaSearch.convert_search_space, wrong)
    assert [each.partition(":")[0] for each in found] == ["grid", "noise", "q", "opt", "opt[0]/lr"]
    assert all("OptunaSearch(space=...) as it is" in each for each in found)
    with pytest.raises(ValueError, match="grid"):
        OptunaSearch.convert_search_space(wrong)


def test_spaces_converted_for_hyperopt() -> None:
    given = {**SPACE, "lr": tune.loguniform(1e-4, 1e-1), "kind": tune.choice([{"m": tune.uniform(0, 1)}, "plain"])}
    converted = HyperOptSearch.convert_search_space(given)
    drawn = [hyperopt.pyll.stochastic.sample(converted) for _ in range(200)]
    assert all(Space({**given, "kind": "any"}).check_point({**each, "kind": "any"}) == [] for each in drawn)
    assert {each["net"]["layers"] for each in drawn} == {1, 2, 3, 4}
    searcher: Any = HyperOptSearch(converted, metric="loss", mode="min")
    assert Space(given).check_point(searcher.suggest("a")) == []
    grids: list[dict[str, Any]] = [tune.grid_search([1, 2]), {"grid_search": []}]
    for grid in grids:
        with pytest.raises(ValueError, match="grid: "):
            HyperOptSearch.convert_search_space({"grid": grid})


# ------------------------------------------------------------------------------ what is known already


@learning
def test_evaluated_points(name: str) -> None:
    searcher = by_hand(name, random_state=1)
    for number in range(40):
        point = {"x": number / 40, "net": {"layers": 1 + number % 4}}
        searcher.add_evaluated_point(point, loss(point))
    searcher.add_evaluated_point(parameters={"x": 0.31, "net/layers": 1}, value=1.0)
    assert known_to(searcher) == 41 and len(tried(searcher, 0, 3)) == 3
    if name == "optuna":
        assert searcher.study.best_value == 1.0 and len(searcher.study.trials) == 44
    (mistake,) = mistakes_of(searcher.add_evaluated_point, {"y": 1, "x": 0.5}, 1.0)
    assert mistake.startswith("parameters: y: no such parameter")


@every
def test_points_of_trials_that_failed_or_were_cut_short(name: str) -> None:
    searcher = by_hand(name)
    point = {"x": 0.5, "net": {"layers": 2}}
    searcher.add_evaluated_point(point, 1.0, intermediate_values=[0.8, 0.9])
    searcher.add_evaluated_point(point, None, error=True)
    searcher.add_evaluated_point(point, 1.0, False, True, [0.8, 0.9])
    assert set(searcher.suggest("1")) == set(SPACE)
    if name in ("optuna", "limiter", "repeater"):
        optunas: OptunaSearch = searcher if name == "optuna" else searcher.searcher
        trials = optunas.study.trials[:3]
        assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "PRUNED"]
        values = {1: 0.8, 2: 0.9, 3: 1.0}
        assert [trial.intermediate_values for trial in trials] == [values, {}, values]


def run(searcher: Any = None, samples: int = 6, space: Any = SPACE, folder: Path | None = None) -> tune.ResultGrid:
    def train(config: dict[str, Any]) -> dict[str, float]:
        if config["x"] > 0.9:
            raise RuntimeError("diverged")
        return {"loss": loss(config)}

    return tune.Tuner(
        train,
        param_space=space,
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=samples, search_alg=searcher, seed=1),
        run_config=tune.RunConfig(storage_path=folder, verbose=0, runtime="inline"),
    ).fit()


def test_trials_of_an_earlier_run(tmp_path: Path) -> None:
    points = [{"x": 0.95}, {"x": 0.25}]
    results = run(BasicVariantGenerator(points_to_evaluate=points), folder=tmp_path)
    assert results.num_errors >= 1
    analysis = tune.ExperimentAnalysis(results.experiment_path)
    ended = len(results) - results.num_errors
    for given, count in ((analysis, ended), (analysis.trials, ended), (results, ended), (list(results), ended)):
        searcher = by_hand("optuna")
        deepcopy(searcher).add_evaluated_trials(given, "loss")
        searcher.add_evaluated_trials(given, "loss")
        assert [trial.state.name for trial in searcher.study.trials] == ["COMPLETE"] * count
    searcher = by_hand("hyperopt")
    searcher.add_evaluated_trials(analysis.trials[1], metric="loss")
    searcher.suggest("1")
    assert mistakes_of(searcher.add_evaluated_trials, analysis, "los")[0].startswith("metric: expected one that")
    assert mistakes_of(searcher.add_evaluated_trials, 7, "loss")[0].startswith("trials_or_analysis: expected an Exp")


@learning
def test_a_run_knows_what_was_told_before_it(name: str, tmp_path: Path) -> None:
    searcher = LEARNING[name](random_state=1)
    assert searcher.set_search_properties(None, None, SPACE)
    tried(searcher, 0, 20)
    searcher.add_evaluated_point({"x": 0.3, "net/layers": 1}, 1.0)
    for samples, space in ((4, None), (2, SPACE)):  # of a run, the next one knows nothing
        assert set(run(searcher, samples, space, tmp_path)[0].config or ()) == set(SPACE)
        assert known_to(searcher) == 21


def known_to(searcher: Any) -> int:
    """How many configs it was told of that were not run."""
    if not isinstance(searcher, OptunaSearch):
        return int(searcher._evaluated)
    return sum("trial_id" not in trial.user_attrs for trial in searcher.study.trials)


# ------------------------------------------------------------------------------------- save and restore


@pytest.mark.parametrize("name", PLAIN)
def test_a_restored_searcher_goes_on(name: str, tmp_path: Path) -> None:
    path = str(tmp_path / "searcher.pkl")
    searcher = by_hand(name, random_state=5)
    tried(searcher, 0, 24)
    searcher.suggest("not completed")
    searcher.save(path)
    other = PLAIN[name]()
    other.restore(path)
    for each in (searcher, other):
        each.on_trial_complete("not completed", {"loss": 2.0})
    assert tried(other, 30, 34) == tried(searcher, 30, 34)


@learning
def test_a_run_goes_on_from_what_another_one_knew(name: str, tmp_path: Path) -> None:
    path = str(tmp_path / "searcher.pkl")
    first, second = LEARNING[name](), LEARNING[name]()
    results = run(first, 6, folder=tmp_path)
    first.save(path)
    # Whatever stands around it: that of Ray Tune does the same.
    ConcurrencyLimiter(second, 2).restore(path)
    run(second, 3, folder=tmp_path)
    assert known_to(second) == len(results) - results.num_errors > 3
    run(second, 3, {"y": tune.uniform(0, 1), "x": 0.1, "net": {"layers": 1}}, tmp_path)
    assert known_to(second) == 0  # they do not fit


def test_what_cannot_be_saved_or_restored(tmp_path: Path) -> None:
    path = str(tmp_path / "searcher.pkl")
    searcher = BasicVariantGenerator()
    searcher.set_search_properties(None, None, {"x": tune.sample_from(lambda: 1)})
    (mistake,) = mistakes_of(searcher.save, path)
    assert mistake.startswith("checkpoint_path: the searcher cannot be written") and "warm_start" in mistake
    BasicVariantGenerator().save(path)
    (mistake,) = mistakes_of(OptunaSearch().restore, path)
    assert "expected a file that OptunaSearch.save has written" in mistake and "It is of BasicV" in mistake
    Path(path).write_text("something", encoding="utf-8")
    assert "It is of something else" in mistakes_of(OptunaSearch().restore, path)[0]
    with pytest.raises(FileNotFoundError):
        OptunaSearch().restore(str(tmp_path / "nothing"))


# -------------------------------------------------------------------------------------- around another


class Numbers(Searcher):
    """As people write one for Ray Tune."""

    def __init__(self, most: int = 10**9) -> None:
        self.number, self.most, self.ended = 0, most, list[Any]()
        super().__init__(metric="result", mode="max")

    def suggest(self, trial_id: str) -> dict[str, Any] | None:  # type: ignore[override]
        self.number += 1
        return None if self.number > self.most else {"score": self.number}

    def on_trial_complete(self, trial_id: str, result: Any = None, **more: Any) -> None:  # type: ignore[override]
        self.ended.append(result)


def scores(searcher: Any, *names: str) -> list[Any]:
    found = [searcher.suggest(name) for name in names]
    return [each and each["score"] for each in found]


@pytest.mark.parametrize("batch", [False, True])
def test_a_limiter_by_hand(batch: bool) -> None:
    numbers = Numbers()
    limiter: Any = ConcurrencyLimiter(numbers, 2, batch)
    assert limiter.searcher is numbers and scores(limiter, "a", "b", "c") == [1, 2, None]
    limiter.on_trial_complete("a", {"result": 3})
    assert scores(limiter, "c") == [None if batch else 3] and len(numbers.ended) == 1 - batch
    limiter.on_trial_complete("b", {"result": 3})
    assert len(numbers.ended) == 2 and scores(limiter, "d") == [3 if batch else 4]
    assert limiter.set_max_concurrency(4) is True and scores(limiter, *"efgh")[2:] == [None if not batch else 6, None]
    assert mistakes_of(limiter.set_max_concurrency, 0)[0].startswith("max_concurrent: ")


def test_a_batch_that_never_becomes_full() -> None:
    for most, told in ((2, 2), (10, 0)):
        limiter: Any = ConcurrencyLimiter(Numbers(most), 5, batch=True)
        scores(limiter, "a", "b", "c")
        limiter.on_trial_complete("a", {"result": 3})
        limiter.on_trial_complete("b", {"result": 3})
        assert len(limiter.searcher.ended) == told


def test_a_searcher_that_limits_itself() -> None:
    class Limited(Numbers):
        limit = 1

        def set_max_concurrency(self, max_concurrent: int) -> bool:
            self.limit = max_concurrent
            return True

    limiter: Any = ConcurrencyLimiter(Limited(), 2, batch=True)
    assert limiter.searcher.limit == 2 and scores(limiter, "a", "b", "c") == [1, 2, 3]
    limiter.on_trial_complete("a", {"result": 1})
    assert limiter.searcher.ended == [{"result": 1}]
    limiter.set_max_concurrency(7)
    assert limiter.searcher.limit == 7


def test_a_repeater_by_hand() -> None:
    repeater: Any = Repeater(Numbers(), repeat=3, set_index=False)
    assert scores(repeater, "a", "b", "c", "d") == [1, 1, 1, 2]
    for name, result in (("a", 1), ("b", 2), ("c", 6), ("a", 100)):
        repeater.on_trial_complete(name, {"result": result})
    assert repeater.searcher.ended == [{"result": 3}]
    assert repeater.set_search_properties("result", "max", {}) is True


# --------------------------------------------------------------------------------- classes derived


class Shifted(OptunaSearch):
    """One that changes what another suggests, with the methods of Ray Tune."""

    def suggest(self, trial_id: str) -> Any:  # type: ignore[override]
        config = super().suggest(trial_id)  # type: ignore[call-arg]
        assert isinstance(config, dict)
        return {**config, "trial": trial_id}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:  # type: ignore[override]
        super().on_trial_complete(trial_id, result, error)  # type: ignore[arg-type]


def test_a_derived_class_in_ray_tunes_form(tmp_path: Path) -> None:
    alone: Any = Shifted({"x": tune.uniform(0, 0.5)}, metric="loss", mode="min")
    assert alone.suggest("a")["trial"] == "a" and alone.suggest("b")["x"] <= 0.5
    alone.on_trial_complete("a", {"loss": 1.0}, error=True)
    assert [trial.state.name for trial in alone.study.trials] == ["FAIL", "RUNNING"]
    for given, space in ((SPACE, None), (None, SPACE)):
        searcher = Shifted(given)
        results = run(searcher, 6, space, tmp_path)
        assert len({result.config["x"] for result in results}) == 6
        assert all(result.config["trial"] == result.trial_id for result in results)
        assert len(searcher.study.trials) == 6


def test_a_derived_class_in_our_form() -> None:
    heard: list[Any] = []

    class Own(Searcher):
        def suggest(self, trial_id: str, index: int) -> dict[str, Any]:
            return self.space.sample(index, self.seed)

        def add_evaluated_point(self, config: dict[str, Any], value: Any) -> None:
            heard.append((config["x"], value))

        def on_trial_complete(
            self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
        ) -> None:
            heard.append((trial_id, outcome))

    searcher: Any = Own(random_state=1)
    searcher.set_search_properties("loss", "min", SPACE)
    assert searcher.suggest("a") != searcher.suggest("b")
    searcher.on_trial_complete("a", error=True)
    searcher.add_evaluated_point({"x": 0.5, "net/layers": 1}, math.inf)
    assert heard == [("a", Outcome.FAILED), (0.5, math.inf)]


@pytest.mark.parametrize("limited", [False, True])
def test_a_space_given_to_the_searcher_is_told_in_tags_and_parameters(limited: bool, tmp_path: Path) -> None:
    searcher: Searcher = OptunaSearch(space={"width": tune.choice([2]), "deep": {"er": tune.choice([3])}})
    searcher = ConcurrencyLimiter(searcher, 1) if limited else searcher
    analysis = tune.run(
        lambda config: {"loss": config["width"]},
        config={"height": 1},
        metric="loss",
        mode="min",
        search_alg=searcher,
        storage_path=tmp_path,
        verbose=0,
        runtime="inline",
    )
    (trial,) = analysis.trials
    assert trial.experiment_tag == "0_width=2,er=3"
    assert trial.evaluated_params == {"width": 2, "deep/er": 3} and trial.config["height"] == 1
