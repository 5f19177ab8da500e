"""What public scripts and bug reports do with search spaces and searchers, each as a small case of its own.

Numbers with `#` are issues of ray-project/ray.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tune_plugins as tune
from tune_plugins.schedulers import ASHAScheduler
from tune_plugins.search import (
    BasicVariantGenerator,
    ConcurrencyLimiter,
    OptunaSearch,
    Outcome,
    Searcher,
    SearchTask,
    Signal,
)
from tune_plugins.search.by_name import create_searcher
from tune_plugins.space import Space

SEARCHERS = ("random", "sobol", "evolutionary", "tpe", "hyperopt")
every_searcher = pytest.mark.parametrize("name", SEARCHERS)


def fit(train: Any, space: Any, folder: Path, **options: Any) -> tune.ResultGrid:
    chosen = {"metric": "loss", "mode": "min", "seed": 1, **options}
    return tune.Tuner(
        train,
        param_space=space,
        tune_config=tune.TuneConfig(**chosen),
        run_config=tune.RunConfig(storage_path=folder, verbose=0, runtime="inline"),
    ).fit()


@every_searcher
def test_a_list_of_domains_whose_length_is_another_parameter(name: str, tmp_path: Path) -> None:
    """#15399: `sample_from` returns ``[tune.choice([...])] * spec.config.depth``."""
    space = {
        "depth": tune.randint(2, 6),
        "channels": tune.sample_from(lambda spec: [tune.choice([10, 20, 30])] * spec.config.depth),
    }

    def train(config: dict[str, Any]) -> dict[str, float]:
        assert len(config["channels"]) == config["depth"] and set(config["channels"]) <= {10, 20, 30}
        return {"loss": config["depth"] + sum(config["channels"])}

    results = fit(train, space, tmp_path, num_samples=8, search_alg=name)
    assert results.num_errors == 0, results.errors


@every_searcher
def test_a_value_that_follows_from_another(name: str, tmp_path: Path) -> None:
    """#11341: BOHB with ``tune.sample_from(lambda config: "relu" if config["width"] < 10 else "tanh")``."""
    space = {
        "width": tune.uniform(0, 20),
        "activation": tune.sample_from(lambda config: "relu" if config["width"] < 10 else "tanh"),
    }

    def train(config: dict[str, Any]) -> dict[str, float]:
        assert config["activation"] == ("relu" if config["width"] < 10 else "tanh")
        return {"loss": config["width"]}

    assert fit(train, space, tmp_path, num_samples=12, search_alg=name).num_errors == 0


@every_searcher
def test_hierarchical_options_as_in_the_pull_request_for_hyperopt(name: str) -> None:
    """#11216, #11431: options that are dicts, lists and domains with domains in them."""
    space = Space(
        {
            "a": 1,
            "dict_nested": tune.choice([{"a": tune.choice(["M", "N"]), "b": tune.choice(["O", "P"])}]),
            "list_nested": tune.choice(
                [[tune.choice(["M", "N"]), tune.choice(["O", "P"])], [tune.choice(["Q", "R"]), tune.choice(["S", "T"])]]
            ),
            "domain_nested": tune.choice([tune.choice(["M", "N"]), tune.choice(["O", "P"])]),
            "activation": tune.choice([None, {"type": "relu", "percent_ranking": tune.uniform(0, 1)}]),
        }
    )
    searcher = create_searcher(name)
    searcher.prepare(SearchTask(space, "loss", "min", 3, 30))
    for index in range(30):
        config = searcher.ask(str(index), index)
        assert isinstance(config, dict) and space.check_point(config) == []
        assert isinstance(config["list_nested"], list)
        searcher.on_trial_complete(str(index), {"loss": float(index), "config": config}, outcome=Outcome.COMPLETED)


@every_searcher
def test_points_with_constants_numpy_numbers_and_parts_left_out(name: str, tmp_path: Path) -> None:
    """#13576: points of many searchers failed on constants and on numbers that are not of the type of the domain."""
    space = {
        "seed": 0,
        "sequence": tune.choice(list(range(20, 101))),
        "dropout": tune.uniform(0, 0.7),
        "layers": tune.choice([1, 2]),
        "amsgrad": True,
        "loss_fn": abs,
    }
    points = [
        {"seed": 0, "sequence": 100, "dropout": 0.5, "layers": 1, "amsgrad": True, "loss_fn": abs},
        {"sequence": np.int64(20), "dropout": np.float64(0.25)},
        {"layers": 2},
    ]
    searcher = create_searcher(name)
    searcher.points_to_evaluate = points

    results = fit(lambda config: {"loss": config["dropout"]}, space, tmp_path, num_samples=4, search_alg=searcher)
    configs = [result.config for result in results]
    assert configs[0] == points[0]
    assert (configs[1]["sequence"], configs[1]["dropout"]) == (20, 0.25) and configs[1]["layers"] in (1, 2)
    assert configs[2]["layers"] == 2 and len(configs) == 4


def test_points_come_before_what_a_define_by_run_function_suggests(tmp_path: Path) -> None:
    """#35319: they were ignored."""

    def suggest(trial: Any) -> dict[str, Any]:
        trial.suggest_int("a", 4, 9)
        return {}

    searcher = OptunaSearch(suggest, metric="score", mode="max", points_to_evaluate=[{"a": 5}, {"a": 7}])
    results = fit(
        lambda config: {"score": config["a"]},
        None,
        tmp_path,
        num_samples=5,
        search_alg=searcher,
        metric=None,
        mode=None,
    )
    assert [result.config["a"] for result in results][:2] == [5, 7] and len(results) == 5
    assert results.get_best_result().metrics["score"] >= 7


@every_searcher
def test_max_concurrent_trials_holds_whatever_the_searcher(name: str) -> None:
    """#36080: it was ignored with some searchers."""
    results = tune.simulate(
        lambda config: [config["x"]] * 5,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric="value", mode="min", num_samples=12, seed=1, max_concurrent_trials=2, search_alg=name
        ),
        run_config=tune.RunConfig(verbose=0),
        cluster=tune.SimulatedCluster(workers=8),
    )
    changes = []
    for result in results:
        frame = result.metrics_dataframe
        end = float(frame["timestamp"].iloc[-1])
        changes += [(end - float(frame["time_total_s"].iloc[-1]), 1), (end, -1)]
    running = np.cumsum([change for _, change in sorted(changes)])
    assert running.max() == 2 and len(results) == 12


def test_a_limiter_around_random_search(tmp_path: Path) -> None:
    """#15156: AttributeError, 'BasicVariantGenerator' object has no attribute 'mode'."""
    limited = ConcurrencyLimiter(BasicVariantGenerator(), max_concurrent=1)
    space = {"x": tune.grid_search([1, 2, 3])}
    assert len(fit(lambda config: {"loss": config["x"]}, space, tmp_path, num_samples=2, search_alg=limited)) == 6


def test_a_million_samples_of_a_grid_start_at_once(tmp_path: Path) -> None:
    """#10138: all three million were made before the first one ran."""
    results = tune.simulate(
        lambda config: [config["alpha"]],
        param_space={"alpha": tune.grid_search([0.001, 0.01, 0.1]), "beta": tune.choice(list(range(10_000)))},
        tune_config=tune.TuneConfig(num_samples=1_000_000, time_budget_s=20.0, seed=1),
        run_config=tune.RunConfig(verbose=0),
    )
    assert 20 <= len(results) < 200


@every_searcher
def test_reward_of_text_none_or_nan_at_a_rung(name: str) -> None:
    """#11670 and the like: a metric that is no number under early stopping ends no run and no searcher."""
    values = [None, "n/a", float("nan"), float("inf")]
    results = tune.simulate(
        lambda config: [
            {"loss": values[config["kind"]] if config["kind"] < 4 else config["x"] / s} for s in range(1, 10)
        ],
        param_space={"x": tune.uniform(0, 1), "kind": tune.choice([0, 1, 2, 3, 4, 5, 6, 7])},
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=40,
            seed=2,
            search_alg=name,
            scheduler=ASHAScheduler(max_t=9, reduction_factor=3),
        ),
        run_config=tune.RunConfig(verbose=0),
        cluster=tune.SimulatedCluster(workers=3),
    )
    assert len(results) == 40 and results.get_best_result().config["kind"] >= 4


def test_the_usual_searcher_of_a_tutorial(tmp_path: Path) -> None:
    """A hill climber as blog posts have it: its own generator, Ray Tune's signatures, None when it has enough."""

    class HillClimber(Searcher):
        def __init__(self, metric: str = "loss", mode: str = "min", patience: int = 10) -> None:
            super().__init__(metric=metric, mode=mode)  # type: ignore[arg-type]
            self.live: dict[str, dict[str, Any]] = {}
            self.best: tuple[float, dict[str, Any]] | None = None
            self.rng_ = np.random.default_rng(0)
            self.left = patience

        def suggest(self, trial_id: str) -> Any:  # type: ignore[override]
            if self.left == 0:
                return None
            self.left -= 1
            center = 0.5 if self.best is None else self.best[1]["x"]
            self.live[trial_id] = {"x": float(np.clip(center + self.rng_.normal(0, 0.2), 0, 1))}
            return dict(self.live[trial_id])

        def on_trial_complete(  # type: ignore[override]
            self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
        ) -> None:
            config = self.live.pop(trial_id)
            if result and not error and (self.best is None or result["loss"] < self.best[0]):
                self.best = (result["loss"], config)

    results = fit(
        lambda config: {"loss": (config["x"] - 0.9) ** 2},
        {"x": tune.uniform(0, 1)},
        tmp_path,
        num_samples=100,
        search_alg=HillClimber(),
    )
    assert len(results) == 10, "None and nothing running is the end"


def test_a_study_of_an_earlier_run_goes_on_in_the_next(tmp_path: Path) -> None:
    """#48500, and "continue the search with what I have": a study of one's own, and results as a warm start."""
    space = {"x": tune.uniform(-1, 1)}
    first = OptunaSearch()
    results = fit(lambda config: {"loss": config["x"] ** 2}, space, tmp_path, num_samples=12, search_alg=first)
    assert [trial.state.name for trial in first.study.trials] == ["COMPLETE"] * 12
    assert first.study.best_value == results.get_best_result().metrics["loss"]
    second = OptunaSearch(warm_start=results)
    more = fit(lambda config: {"loss": config["x"] ** 2}, space, tmp_path, num_samples=3, search_alg=second)
    assert len(more) == 3 and len(second.study.trials) == 15


def test_several_objectives_as_in_optuna_s_tutorial(tmp_path: Path) -> None:
    """#18027: ``metric=["err", "flops"], mode=["min", "min"]`` with NSGA-II, and `best_trials` of the study."""
    searcher = OptunaSearch(sampler="nsgaii")
    results = fit(
        lambda config: {"err": (config["x"] - 1) ** 2, "flops": (config["x"] + 1) ** 2 + config["y"]},
        {"x": tune.uniform(-2, 2), "y": tune.uniform(0, 1)},
        tmp_path,
        num_samples=30,
        search_alg=searcher,
        metric=["err", "flops"],
        mode=["min", "min"],
    )
    front = {result.trial_id for result in results.pareto_front()}
    assert len(front) == len(searcher.study.best_trials) > 1


def test_signals_of_ray_tune_s_vocabulary() -> None:
    assert Searcher.FINISHED is Signal.COMPLETE and tune.search.SearchAlgorithm is Searcher
