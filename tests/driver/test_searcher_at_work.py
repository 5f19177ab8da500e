"""The searcher in the loop and in its thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest

import tune_plugins as tune
from tune_plugins.core.ends import Outcome
from tune_plugins.core.events import AskSearcher, Event, SuggestionMade, TellEnd, TellResult
from tune_plugins.driver.suggestions import Suggestions, prepare
from tune_plugins.errors import ArgumentError, TuneError
from tune_plugins.schedulers import ASHAScheduler, FIFOScheduler
from tune_plugins.search import Searcher, SearchTask, Signal
from tune_plugins.search.by_name import as_searcher
from tune_plugins.space import Space, flatten, uniform
from tune_plugins.testing.searchers import DOMAINS, DomainCase

A, B = "00000", "00001"


class Noting(Searcher):
    """Notes what it is told, and computes until it may go on."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.threads: set[str] = set()

    def suggest(self, trial_id: str, index: int) -> Any:
        self.threads.add(threading.current_thread().name)
        self.may_go_on.wait()
        self.told.append(("asked", index))
        return {"x": index}

    def on_suggested(self, trial_id: str, index: int, config: dict[str, Any]) -> None:
        self.told.append(("suggested", index, config))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.told.append(("result", trial_id))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
    ) -> None:
        self.told.append((outcome.value, trial_id))


def answers_of(suggestions: Suggestions, count: int = 1) -> list[Event]:
    found: list[Event] = []
    while len(found) < count:
        found += suggestions.answers(anybody_runs=True)
        time.sleep(0.001)
    return found


def threaded(searcher: Searcher, **options: Any) -> Suggestions:
    return Suggestions(searcher, lambda: 7.0, lambda: None, **options)


def test_in_the_loop_answers_are_there_at_once_and_in_order() -> None:
    searcher = Noting()
    suggestions = Suggestions(searcher, lambda: 7.0, recorded={1: {"x": 10}})
    told = TellResult(A, {"loss": 1})
    assert suggestions.perform([AskSearcher(A, 0, 0), told, AskSearcher(B, 1, 1)]) == [
        SuggestionMade(7.0, A, 0, 0, {"x": 0}),
        SuggestionMade(7.0, B, 1, 1, {"x": 10}),
    ]
    assert searcher.told == [("asked", 0), ("result", A), ("suggested", 1, {"x": 10})]
    assert searcher.threads == {"MainThread"}
    suggestions.close(ended_early=False)


def test_in_a_thread_the_loop_goes_on_meanwhile_and_the_order_stays() -> None:
    searcher, woken = Noting(), threading.Event()
    searcher.may_go_on.clear()
    suggestions = Suggestions(searcher, lambda: 7.0, woken.set)
    assert suggestions.perform([AskSearcher(A, 0, 0), TellResult(A, {})]) == []
    assert suggestions.perform([TellEnd(A, None, Outcome.FAILED)]) == []
    assert suggestions.answers(anybody_runs=True) == [] and not woken.is_set()
    searcher.may_go_on.set()
    assert answers_of(suggestions) == [SuggestionMade(7.0, A, 0, 0, {"x": 0})] and woken.is_set()
    suggestions.close(ended_early=False)
    assert searcher.told == [("asked", 0), ("result", A), ("failed", A)]
    assert searcher.threads == {"tune-searcher"}


def test_what_nobody_has_taken_at_the_end_was_dropped() -> None:
    searcher = Noting()
    suggestions = threaded(searcher)
    suggestions.perform([AskSearcher(A, 0, 0)])
    suggestions.close(ended_early=False)
    assert searcher.told == [("asked", 0), ("dropped", A)]


def broken(method: str, error: Exception) -> Searcher:
    def fail(self: Searcher, *args: Any, **kwargs: Any) -> Any:
        raise error

    return type("Broken", (Noting,), {method: fail})()


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize(
    ("method", "error", "said"),
    [
        ("suggest", ValueError("no model."), r"^ValueError in Broken\.suggest, trial 00000: no model\."),
        ("on_trial_result", KeyError("loss"), r"^KeyError in Broken\.on_trial_result, trial 00000: 'loss'\."),
        ("on_trial_complete", TuneError("odd"), r"^Broken\.on_trial_complete, trial 00000: odd"),
    ],
)
def test_an_error_names_the_searcher_its_method_and_the_trial(
    in_thread: bool, method: str, error: Exception, said: str
) -> None:
    commands: Any = [AskSearcher(A, 0, 0), TellResult(A, {}), TellEnd(A, {}, Outcome.COMPLETED)]
    suggestions = Suggestions(broken(method, error), wake=(lambda: None) if in_thread else None, results_in="/there")
    with pytest.raises(TuneError, match=said + r".* All results up to here are in /there\.$"):
        suggestions.perform(commands)
        answers_of(suggestions, count=5)
    suggestions.close(ended_early=True)


def test_an_error_that_comes_last_is_told_by_close() -> None:
    suggestions = threaded(broken("on_trial_complete", ValueError("late")))
    suggestions.perform([TellEnd(A, {}, Outcome.COMPLETED)])
    with pytest.raises(TuneError, match=r"ValueError in Broken\.on_trial_complete"):
        suggestions.close(ended_early=False)


@pytest.mark.slow
def test_one_that_never_answers_is_named_when_nothing_else_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tune_plugins.driver.suggestions._PATIENCE_S", 0.0)
    searcher = Noting()
    searcher.timeout_s = 0.0
    searcher.may_go_on.clear()
    suggestions = threaded(searcher)
    suggestions.perform([AskSearcher(A, 0, 0)])
    with caplog.at_level(logging.WARNING):
        assert suggestions.answers(anybody_runs=True) == [] and suggestions.answers(anybody_runs=True) == []
        assert [r.getMessage() for r in caplog.records] == [
            "Noting.suggest has been computing for 0 s; a slot may be idle meanwhile."
        ]
        with pytest.raises(TuneError, match=r"Noting\.suggest has not returned for 0 s, and no trial is running"):
            suggestions.answers(anybody_runs=False)
        suggestions.close(ended_early=True)
    assert "left alone" in caplog.records[-1].getMessage()
    searcher.may_go_on.set()


# ----------------------------------------------------------------------------------- whole runs, inline


def fit(tmp_path: Path, searcher: Any, train: Callable[[dict[str, Any]], Any] | None = None, **options: Any) -> Any:
    def default(config: dict[str, Any]) -> dict[str, float]:
        return {"loss": config["x"] ** 2}

    config = {"metric": "loss", "mode": "min", "num_samples": 6, "seed": 1, **options}
    return tune.Tuner(
        train or default,
        param_space={"x": uniform(0, 1), "m": {"y": uniform(0, 1)}},
        tune_config=tune.TuneConfig(search_alg=searcher, **config),
        run_config=tune.RunConfig(storage_path=tmp_path, verbose=0, runtime="inline"),
    ).fit()


def test_ctrl_c_ends_a_searcher_that_computes_inline(tmp_path: Path) -> None:
    import os
    import signal

    class Stuck(Noting):
        def suggest(self, trial_id: str, index: int) -> Any:
            if index == 2:
                os.kill(os.getpid(), signal.SIGINT)
                self.may_go_on.clear()
                self.may_go_on.wait()
            return {"x": 0.5}

    results = fit(tmp_path, Stuck())
    assert [result.metrics["loss"] for result in results] == [0.25, 0.25]


def test_the_first_points_are_the_user_s_and_the_rest_of_them_is_drawn(tmp_path: Path) -> None:
    searcher = Noting()
    searcher.points_to_evaluate = [{"x": 0.25, "m": {"y": 0.5}}, {"m/y": 0.125}, {"x": 0.75}]
    searcher.evaluated_rewards = [None, None, 0.5625]
    results = fit(tmp_path, searcher)
    assert results[0].config == {"x": 0.25, "m": {"y": 0.5}}
    assert results[1].config["m"] == {"y": 0.125} and 0 <= results[1].config["x"] <= 1
    assert [r.config["x"] for r in results][2:] == [2, 3, 4, 5]
    assert [told[:2] for told in searcher.told if told[0] in ("suggested", "asked")][:3] == [
        ("suggested", 0),
        ("suggested", 1),
        ("asked", 2),
    ]


def test_points_that_do_not_fit_are_told_all_at_once(tmp_path: Path) -> None:
    searcher = Noting()
    searcher.points_to_evaluate = [{"z": 1}, {"x": 3}]
    with pytest.raises(ArgumentError) as caught:
        fit(tmp_path, searcher)
    assert [m.partition(":")[0] for m in caught.value.mistakes] == ["points_to_evaluate[0]", "points_to_evaluate[1]"]


class Learning(Searcher):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.known: list[tuple[dict[str, Any], Any]] = []

    def add_evaluated_point(self, config: dict[str, Any], value: Any) -> None:
        self.known.append((config, value))

    def suggest(self, trial_id: str, index: int) -> Any:
        return self.space.sample(index, self.seed)


def test_warm_start_from_results_a_data_frame_and_pairs(tmp_path: Path) -> None:
    earlier = fit(tmp_path, None)
    configs = [(result.config, result.metrics["loss"]) for result in earlier]
    for source in (earlier, earlier.get_dataframe(), configs, [*configs, ({"x": 7}, 1.0), ({"x": 0.1}, float("nan"))]):
        searcher = Learning(warm_start=source)
        searcher.prepare(SearchTask(Space({"x": uniform(0, 1), "m": {"y": uniform(0, 1)}}), "loss", "min"))
        assert searcher.known == configs
    searcher = Learning(points_to_evaluate=[{"x": 0.5}], evaluated_rewards=[0.25])
    searcher.prepare(SearchTask(Space({"x": uniform(0, 1)}), "loss", "min"))
    assert searcher.known == [({"x": 0.5}, 0.25)] and searcher.total_trials == 1


@pytest.mark.parametrize("source", ["results", [({"z": 1}, 1.0)], [3], {"x": 1}])
def test_a_warm_start_of_something_else_is_told(source: Any) -> None:
    searcher = Learning(warm_start=source)
    with pytest.raises(ArgumentError, match="warm_start: expected"):
        searcher.prepare(SearchTask(Space({"x": uniform(0, 1)}), "loss", "min"))


# ------------------------------------------------------------------------------------ Ray Tune's forms


def test_a_searcher_written_for_ray_tune_works_as_it_is(tmp_path: Path) -> None:
    class Old(Searcher):
        """As in Ray Tune's documentation, with its signatures."""

        def __init__(self, metric: str = "loss", mode: str = "min") -> None:
            super().__init__(metric=metric, mode=mode)
            self.ends: list[Any] = []

        def set_search_properties(self, metric: str, mode: str, config: dict[str, Any], **spec: Any) -> bool:
            self.ends.append((metric, mode, sorted(config)))
            return True

        def suggest(self, trial_id: str) -> Any:  # type: ignore[override]
            return {"x": 0.5} if len(self.ends) < 4 else Searcher.FINISHED

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:  # type: ignore[override]
            self.ends.append((trial_id, result and result["loss"], error))

    searcher = Old()
    results = fit(tmp_path, searcher)
    assert len(results) == 3
    assert searcher.ends == [("loss", "min", ["m", "x"]), *[(f"0000{n}", 0.25, False) for n in range(3)]]


def test_an_object_that_derives_from_nothing_of_ours_will_do(tmp_path: Path) -> None:
    class Duck:
        def __init__(self) -> None:
            self.left = 2

        def suggest(self, trial_id: str) -> Any:
            self.left -= 1
            return None if self.left < 0 else {"x": float(self.left)}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            pass

    assert [result.config["x"] for result in fit(tmp_path, Duck())] == [1.0, 0.0]


@pytest.mark.parametrize("name", ["random", "sobol"])
def test_searchers_by_name(name: str, tmp_path: Path) -> None:
    assert len(fit(tmp_path, name)) == 6


def test_a_name_of_none_is_told_with_those_there_are() -> None:
    with pytest.raises(
        ArgumentError, match=r"search_alg: expected 'random', 'sobol', .*, got 'tpee'\. Did you mean 'tpe'\? Or give"
    ):
        tune.TuneConfig(search_alg="tpee")


def test_signals_of_a_searcher_are_recorded(tmp_path: Path) -> None:
    class Two(Noting):
        def suggest(self, trial_id: str, index: int) -> Any:
            return {"x": 0.5} if index < 2 else Signal.COMPLETE

    results = fit(tmp_path, Two())
    from tune_plugins.record.store import ExperimentStore

    with ExperimentStore.open(results.experiment_path) as store:
        made = [event for event in store.events() if isinstance(event, SuggestionMade)]
    assert [(event.index, event.told, event.config, event.signal) for event in made] == [
        (0, 0, {"x": 0.5}, ""),
        (1, 2, {"x": 0.5}, ""),
        (2, 4, None, "complete"),
    ]


@pytest.mark.parametrize("name", ["random", "sobol"])
def test_as_many_trials_as_there_is_time_for(name: str) -> None:
    results = tune.simulate(
        lambda config: [config["x"]] * 4,
        param_space={"x": uniform(0, 1), "g": tune.grid_search([1, 2])},
        tune_config=tune.TuneConfig(num_samples=-1, time_budget_s=39.0, search_alg=name, seed=1),
        run_config=tune.RunConfig(verbose=0),
    )
    ends = [result.cause for result in results]
    assert len(ends) > 8 and ends.count("FINISHED") > 7 and "TIME_BUDGET" in ends
    assert {result.config["g"] for result in results} == {1, 2}


# ------------------------------------------------------------------------------------ what goes wrong


def test_ends_are_told_behind_an_error_and_nothing_else() -> None:
    searcher = broken("suggest", ValueError("no model"))
    suggestions = threaded(searcher)
    suggestions.perform([AskSearcher(A, 0, 0), TellResult(A, {}), TellEnd(A, None, Outcome.FAILED)])
    suggestions.perform([AskSearcher(B, 1, 1), TellEnd(B, None, Outcome.DROPPED)])
    with pytest.raises(TuneError, match="no model"):
        answers_of(suggestions)
    suggestions.close(ended_early=True)
    assert searcher.told == [("failed", A), ("dropped", B)]  # type: ignore[attr-defined]


def test_an_exit_of_the_searcher_is_an_error_like_any_other() -> None:
    suggestions = threaded(broken("suggest", SystemExit(3)))  # type: ignore[arg-type]
    suggestions.perform([AskSearcher(A, 0, 0)])
    with pytest.raises(TuneError, match=r"^SystemExit in Broken\.suggest, trial 00000: 3"):
        answers_of(suggestions)
    suggestions.close(ended_early=True)


def test_a_late_answer_is_dropped_and_a_next_run_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tune_plugins.driver.suggestions._GRACE_S", 0.0)
    searcher, task = Noting(), SearchTask(Space({"x": uniform(0, 1)}), "loss", "min")
    searcher.may_go_on.clear()
    suggestions = threaded(searcher)
    suggestions.perform([AskSearcher(A, 0, 0), TellEnd(B, None, Outcome.INTERRUPTED), AskSearcher(B, 1, 1)])
    suggestions.close(ended_early=True)
    assert "is left alone: the run is over" in caplog.text
    with pytest.raises(TuneError, match="Noting is still at work for an earlier run"):
        prepare(searcher, task)
    searcher.may_go_on.set()
    monkeypatch.setattr("tune_plugins.driver.suggestions._GRACE_S", 60.0)
    prepare(searcher, task)
    assert searcher.told == [("asked", 0), ("dropped", A), ("interrupted", B)]


def test_nobody_waits_for_a_searcher_who_has_pressed_ctrl_c() -> None:
    searcher = Noting()
    searcher.may_go_on.clear()
    suggestions = threaded(searcher)
    suggestions.perform([AskSearcher(A, 0, 0)])
    suggestions.close(ended_early=False, interrupted=lambda: True)
    searcher.may_go_on.set()


@pytest.mark.parametrize("method", ["setup", "add_evaluated_point", "on_suggested"])
def test_errors_of_other_methods_name_the_searcher(method: str, tmp_path: Path) -> None:
    searcher = broken(method, ValueError("no model"))
    searcher.points_to_evaluate = [{"x": 0.5}, {"x": 0.25}]
    searcher.evaluated_rewards = [0.25, None]
    when = r"\.on_suggested, trial 00000" if method == "on_suggested" else ", when it got its task"
    with pytest.raises(TuneError, match=f"^ValueError in Broken{when}: no model"):
        fit(tmp_path, searcher)


def test_a_metric_that_only_the_searcher_names_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="'lss'"):
        fit(tmp_path, Learning(metric="lss", mode="min"), metric=None, mode=None)
    results = fit(tmp_path, Learning(metric="loss", mode="min"), metric=None, mode=None)
    assert results.get_best_result().metrics["loss"] >= 0


@pytest.mark.parametrize("rewards", [["a"], [[1.0, 2.0]]])
def test_rewards_are_numbers(rewards: Any) -> None:
    searcher = Learning(points_to_evaluate=[{"x": 0.5}], evaluated_rewards=rewards)
    with pytest.raises(ArgumentError, match=r"evaluated_rewards\[0\]: expected a number, got"):
        searcher.prepare(SearchTask(Space({"x": uniform(0, 1)}), "loss", "min"))


def test_a_point_against_a_constraint_is_named() -> None:
    searcher = Learning(points_to_evaluate=[{"x": 0.1}, {"x": 0.9}])
    with pytest.raises(ArgumentError) as caught:
        searcher.prepare(SearchTask(Space({"x": uniform(0, 1)}, [lambda config: config["x"] < 0.5]), "loss", "min"))
    assert [mistake.partition(":")[0] for mistake in caught.value.mistakes] == ["points_to_evaluate[1]"]


def test_a_domain_in_a_suggestion_is_an_error(tmp_path: Path) -> None:
    class Undrawn(Searcher):
        def suggest(self, trial_id: str, index: int) -> Any:
            return {"x": 0.5, "m": [uniform(0, 1)]}

    with pytest.raises(TuneError, match="expected values, not domains"):
        fit(tmp_path, Undrawn())


def test_a_warm_start_is_of_trials_that_ran_to_their_end(tmp_path: Path) -> None:
    """The value of a training that was cut short is no value of its config."""

    def train(config: dict[str, Any]) -> None:
        for step in range(1, 10):
            if config["x"] > 0.9:
                raise ValueError("diverged")
            tune.report(loss=config["x"] * step)

    earlier = fit(tmp_path, None, train, num_samples=20, scheduler=ASHAScheduler(max_t=9, reduction_factor=3))
    full = [result for result in earlier if result.cause is not None and result.cause.full]
    assert 0 < len(full) < 20 and earlier.num_errors
    space = Space({"x": uniform(0, 1), "m": {"y": uniform(0, 1)}})
    for source in (earlier, earlier.get_dataframe()):
        searcher = Learning(warm_start=source)
        searcher.prepare(SearchTask(space, "loss", "min"))
        assert searcher.known == [(result.config, result.metrics["loss"]) for result in full]


# Names that are no text are text in a frame.
@pytest.mark.parametrize("case", [pytest.param(c, id=name) for name, c in DOMAINS.items() if name != "odd_names"])
def test_a_data_frame_gives_the_configs_back(case: DomainCase) -> None:
    """It has a cell for each parameter, also for those of options that a trial did not take."""
    space = case.space()
    configs = [space.sample(index, 3) for index in range(8)]
    rows = [{f"config/{name}": value for name, value in flatten(c).items()} | {"loss": 0.5} for c in configs]
    searcher = Learning(warm_start=pd.DataFrame(rows))
    searcher.prepare(SearchTask(space, "loss", "min"))
    assert len(searcher.known) == 8
    for (config, value), given in zip(searcher.known, configs, strict=True):
        assert value == 0.5
        # What functions draw for themselves is drawn anew.
        assert space.values_of(config) == space.values_of(given)


def test_what_a_searcher_for_ray_tune_says_of_itself(tmp_path: Path) -> None:
    class Old(Learning):
        timeout_s = 5.0

        def suggest(self, trial_id: str) -> Any:  # type: ignore[override]
            return self.space.sample(0, self.seed)

    wrapped = as_searcher(Old(metric="loss", mode="min"))
    assert (wrapped.own_objectives, wrapped.timeout_s, wrapped.label) == ((("loss",), ("min",)), 5.0, "Old")
    assert fit(tmp_path, Old(metric="loss", mode="min"), metric=None, mode=None).metric == "loss"

    class Choosy:
        def suggest(self, trial_id: str) -> Any:
            return {}

        def set_search_properties(self, metric: Any, mode: Any, config: Any) -> bool:
            return False

    with pytest.raises(ArgumentError, match=r"Choosy: .*\n.*set_search_properties\(\) returned False"):
        fit(tmp_path, Choosy())


def test_a_scheduler_may_have_the_searcher(tmp_path: Path) -> None:
    class Looking(FIFOScheduler):
        wants_searcher = True
        seen: ClassVar[list[Any]] = []

        def setup(self, **task: Any) -> None:
            super().setup(**task)
            self.seen.append(self.searcher)

    searcher = Noting()
    fit(tmp_path, searcher, scheduler=Looking())
    assert Looking.seen == [searcher]


@pytest.mark.parametrize("runtime", ["inline", "simulated"])
def test_a_scheduler_that_collects_trials_before_it_starts_one(runtime: str, tmp_path: Path) -> None:
    class Collects(FIFOScheduler):
        def choose_trial_to_run(self, pending: Any, paused: Any) -> Any:
            if len(pending) < 4 and not self.ended:
                return None
            return next(iter(pending.values()), None)

        ended = False

        def on_search_end(self) -> None:
            self.ended = True

    if runtime == "inline":
        results = fit(tmp_path, None, scheduler=Collects(), num_samples=10)
    else:
        results = tune.simulate(
            lambda config: [config["x"]],
            param_space={"x": uniform(0, 1)},
            tune_config=tune.TuneConfig(num_samples=10, scheduler=Collects()),
            run_config=tune.RunConfig(verbose=0),
        )
    assert [result.cause for result in results] == ["FINISHED"] * 10


def test_a_scheduler_that_never_accepts_a_trial_is_named(tmp_path: Path) -> None:
    class Closed(FIFOScheduler):
        def accepts_trials(self) -> bool:
            return False

    with pytest.raises(TuneError, match="Closed accepts no new trial, and there is no other one"):
        fit(tmp_path, None, scheduler=Closed())


def test_none_for_the_first_trial_is_an_error(tmp_path: Path) -> None:
    class Forgetful(Searcher):
        def suggest(self, trial_id: str, index: int) -> Any:
            self.space.sample(index, self.seed)

    with pytest.raises(TuneError, match=r"Forgetful returned None for the first trial.*Is there a `return`"):
        fit(tmp_path, Forgetful())


def test_that_a_searcher_had_no_more_is_said(tmp_path: Path) -> None:
    class Two(Noting):
        def suggest(self, trial_id: str, index: int) -> Any:
            return {"x": 0.5} if index < 2 else None

    class Hearing(tune.Callback):
        said: ClassVar[list[str]] = []

        def on_trial_output(self, iteration: int, trials: Any, trial: Any, lines: Any, **info: Any) -> None:
            self.said.extend(lines)

    results = tune.Tuner(
        lambda config: {"loss": config["x"]},
        param_space={"x": uniform(0, 1)},
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=6, search_alg=Two()),
        run_config=tune.RunConfig(storage_path=tmp_path, verbose=0, runtime="inline", callbacks=[Hearing()]),
    ).fit()
    assert len(results) == 2 and Hearing.said == ["Two had no more to suggest: 2 of 6 trials"]


def test_two_metrics_that_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"metric: expected one metric.*'loss'.*in TuneConfig and \['acc'\]"):
        fit(tmp_path, Learning(metric="acc", mode="max"))
    with pytest.raises(ArgumentError, match=r"\('min'\) in TuneConfig and \['loss'\] \(\['max'\]\) in Learning"):
        fit(tmp_path, Learning(metric="loss", mode="max"))
    assert len(fit(tmp_path, Learning(metric="loss", mode="min"))) == 6


def test_a_scheduler_compares_by_the_metric_of_the_searcher(tmp_path: Path) -> None:
    searcher = Learning(metric="loss", mode="min")
    results = fit(tmp_path, searcher, scheduler=ASHAScheduler(max_t=8), metric=None, mode=None)
    assert results.metric == "loss" and len(results) == 6


def test_a_warm_start_says_what_it_left_out(caplog: pytest.LogCaptureFixture) -> None:
    searcher = Learning(warm_start=[({"x": 0.5}, 1.0), ({"x": 5}, 1.0)])
    searcher.prepare(SearchTask(Space({"x": uniform(0, 1)}), "loss", "min"))
    assert "warm_start: 1 of 2 results are used" in caplog.text and "x: 5 is outside of" in caplog.text


def test_a_searcher_may_be_a_dataclass() -> None:
    """One that compares by its fields has no hash."""

    @dataclass
    class Plain(Searcher):
        value: float = 0.5

        def suggest(self, trial_id: str, index: int) -> Any:
            return {"x": self.value}

    searcher = Plain()
    prepare(searcher, SearchTask(Space({"x": uniform(0, 1)}), "loss", "min"))
    suggestions = threaded(searcher)
    suggestions.perform([AskSearcher(A, 0, 0)])
    assert answers_of(suggestions) == [SuggestionMade(7.0, A, 0, 0, {"x": 0.5})]
    suggestions.close(ended_early=False)
    prepare(searcher, SearchTask(Space({"x": uniform(0, 1)}), "loss", "min"))
