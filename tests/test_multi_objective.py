"""Several metrics at once: from `TuneConfig` to the Pareto front."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mistakes import mistakes_of

import tune_plugins as tune
from tune_plugins.errors import ArgumentError, TuneError
from tune_plugins.schedulers import ASHAScheduler, FIFOScheduler, MultiObjectiveASHA
from tune_plugins.search import EvolutionarySearch, Outcome, Searcher, Signal

POINTS = [(1.0, 4.0), (2.0, 2.0), (4.0, 1.0), (3.0, 3.0), (2.0, 2.0), (float("nan"), 0.0), (0.5, None)]


def train(config: dict[str, Any]) -> dict[str, Any]:
    err, latency = POINTS[config["i"]]
    return {"err": err, "latency": latency, "accuracy": None if err is None else 10 - err}


def fit(tmp_path: Path, train: Any = train, space: Any = None, **options: Any) -> tune.ResultGrid:
    chosen = {"metric": ["err", "latency"], "mode": "min", **options}
    return tune.Tuner(
        train,
        param_space=space or {"i": tune.grid_search(list(range(len(POINTS))))},
        tune_config=tune.TuneConfig(**chosen),
        run_config=tune.RunConfig(storage_path=tmp_path, verbose=0, runtime="inline"),
    ).fit()


def test_the_front_has_what_nobody_betters(tmp_path: Path) -> None:
    results = fit(tmp_path)
    assert [result.config["i"] for result in results.pareto_front()] == [0, 1, 2, 4]
    assert [r.config["i"] for r in results.pareto_front(["accuracy", "latency"], ["max", "min"])] == [0, 1, 2, 4]
    assert [r.config["i"] for r in results.pareto_front(["err", "latency"], ["max", "min"])] == [2]
    # A rectangle for each of the three points, less what they share.
    assert results.hypervolume([5.0, 5.0]) == pytest.approx(4 * 1 + 3 * 2 + 1 * 1)
    assert results.hypervolume([-5.0, 5.0], ["accuracy", "latency"], ["max", "min"]) > 0
    assert results.hypervolume() == pytest.approx(2 * 2)
    again = tune.ResultGrid(results.experiment_path)
    assert [result.config["i"] for result in again.pareto_front()] == [0, 1, 2, 4]


def test_there_is_no_best_one_unless_a_metric_is_named(tmp_path: Path) -> None:
    results = fit(tmp_path)
    assert results.metric is None
    with pytest.raises(ArgumentError, match=r"since err, latency were optimised, got None.*pareto_front\(\)"):
        results.get_best_result()
    assert results.get_best_result("latency", "min").config["i"] == 5
    with pytest.raises(ArgumentError, match=r"reference: expected a number for each of \('err', 'latency'\)"):
        results.hypervolume([1.0])
    with pytest.raises(TuneError, match="'size' was not reported"):
        results.pareto_front(["err", "size"], "min")
    with pytest.raises(ArgumentError, match="mode: expected 'min' or 'max'"):
        results.pareto_front(["err", "accuracy"])


def test_mistakes_in_the_names_and_modes() -> None:
    assert mistakes_of(tune.TuneConfig, metric=["a", "a"], mode="min")[0].startswith("metric: expected names of diff")
    assert mistakes_of(tune.TuneConfig, metric=["a", "b"], mode=["min"] * 3) == [
        "mode: expected one for each of the 2 metrics, got 3: ['min', 'min', 'min']. "
        "Write mode='min' or mode='max' for one that holds for all."
    ]
    assert mistakes_of(tune.TuneConfig, metric=["a", "b"], mode=["min", "best"])[0].startswith("mode: expected 'min'")
    assert tune.TuneConfig(metric=["a", "b"]).modes == ()  # asked for by whatever compares trials
    assert tune.TuneConfig(metric=("a", "b"), mode="max").modes == ("max", "max")


def test_a_scheduler_of_one_metric_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"mode: expected 'min' or 'max' for each metric, since MultiObjectiveASHA"):
        fit(tmp_path, scheduler=MultiObjectiveASHA(), metric=["err", "latency"], mode=None)
    with pytest.raises(ArgumentError, match=r"expected one name, since ASHAScheduler compares trials by one metric"):
        fit(tmp_path, scheduler=ASHAScheduler())
    with pytest.raises(ArgumentError, match=r"expected the names of several metrics, since MultiObjectiveASHA"):
        fit(tmp_path, scheduler=MultiObjectiveASHA(), metric="err")
    results = fit(tmp_path, scheduler=ASHAScheduler(metric="err", mode="min"))
    assert len(results.pareto_front()) == 4


def curve(config: dict[str, Any]) -> list[dict[str, float]]:
    return [{"err": config["x"] + 1 / step, "latency": 1 - config["x"] + 1 / step} for step in range(1, 10)]


@pytest.mark.parametrize("given", ["run", "scheduler"])
def test_multi_objective_asha_takes_the_lists_of_the_run(given: str) -> None:
    names, mode = ["err", "latency"], "min"
    scheduler = MultiObjectiveASHA(max_t=9, reduction_factor=3)
    config: dict[str, Any] = {"metric": names, "mode": mode}
    if given == "scheduler":
        scheduler, config = MultiObjectiveASHA(names, mode, max_t=9, reduction_factor=3), {}
    results = tune.simulate(
        curve,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(num_samples=12, seed=1, scheduler=scheduler, **config),
        run_config=tune.RunConfig(verbose=0),
    )
    assert {result.cause for result in results} == {"SCHEDULED_END", "SCHEDULER"}
    assert all("in front" in decision.reason for decision in results.decisions)
    assert results.pareto_front()


def test_searchers_are_told_all_metrics(tmp_path: Path) -> None:
    class Seeing(Searcher):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[Any] = []

        def suggest(self, trial_id: str, index: int) -> dict[str, Any]:
            return {"i": index}

        def on_trial_complete(
            self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
        ) -> None:
            self.seen.append(self.values(result))

    searcher = Seeing()
    fit(tmp_path, search_alg=searcher, num_samples=7, mode=["min", "max"], scheduler=FIFOScheduler())
    assert searcher.metric == ("err", "latency") and searcher.mode == ("min", "max")
    assert searcher.seen == [list(point) for point in POINTS[:5]] + [None, None]
    assert searcher.losses([1.0, 4.0]) == [1.0, -4.0]


def test_metrics_that_only_the_searcher_or_the_scheduler_names(tmp_path: Path) -> None:
    options: dict[str, Any] = {"metric": None, "mode": None, "num_samples": 7}
    searcher = EvolutionarySearch(metric=["err", "latency"], mode=["min", "max"])
    results = fit(tmp_path / "searcher", space={"i": tune.randint(0, 4)}, search_alg=searcher, **options)
    assert results.metric is None and results.info()["metrics"] == ["err", "latency"]
    scheduler = MultiObjectiveASHA(["err", "latency"], ["min", "max"])
    results = fit(tmp_path / "scheduler", space={"i": tune.randint(0, 4)}, scheduler=scheduler, **options)
    assert results.metric is None and results.info()["modes"] == ["min", "max"]


def test_a_run_of_several_metrics_is_replayed_by_them() -> None:
    results = tune.simulate(
        curve,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(metric=["err", "latency"], mode="min", num_samples=9, seed=1),
        run_config=tune.RunConfig(verbose=0),
    )
    again = results.replay(MultiObjectiveASHA(max_t=9, reduction_factor=3))
    assert {result.cause for result in again} >= {"SCHEDULER"} and again.pareto_front()


def test_a_reference_point_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="reference: expected a number for each"):
        fit(tmp_path).hypervolume(3)  # type: ignore[arg-type]


def test_each_metric_may_be_measured_now_and_then() -> None:
    """What a result lacks is what the one before had: so every trial that measured both has a place on the front."""
    results = tune.simulate(
        lambda config: [{"err": config["x"], "latency": 1 - config["x"]}, {"err": config["x"]}],
        param_space={"x": tune.grid_search([0.25, 0.75])},
        tune_config=tune.TuneConfig(metric=["err", "latency"], mode="min", search_alg=(hearing := Hearing())),
        run_config=tune.RunConfig(verbose=0),
    )
    assert hearing.seen == [[0.25, 0.75], [0.75, 0.25]]
    assert len(results.pareto_front()) == 2 and results[0].metrics["latency"] == 0.75


class Hearing(Searcher):
    """Suggests what the test above expects, and notes the values at the end of each trial."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def suggest(self, trial_id: str, index: int) -> Any:
        return {"x": [0.25, 0.75][index]} if index < 2 else Signal.COMPLETE

    @property
    def total_trials(self) -> int | None:
        return 2

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
    ) -> None:
        self.seen.append(self.values(result))
