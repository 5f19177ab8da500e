"""Searchers around other searchers: at most so many trials at a time, and each configuration several times."""

from __future__ import annotations

import math
from typing import Any

import pytest
from mistakes import mistakes_of
from search_runs import PROBLEMS, Run, ask, prepared, replayed, sphere, task_of

from tune_plugins import space as sp
from tune_plugins.core.searcher import Fidelity, Outcome, Searcher, Signal
from tune_plugins.search import BasicVariantGenerator
from tune_plugins.search.evolutionary import EvolutionarySearch
from tune_plugins.search.limiter import ConcurrencyLimiter
from tune_plugins.search.repeater import TRIAL_INDEX, Repeater
from tune_plugins.search.wrapper import Wrapper

SPACE = {"x": sp.uniform(0, 1)}
NOT_READY = Signal.NOT_READY


class Recorder(Searcher):
    """Suggests its number, and keeps what it hears."""

    def __init__(self, answers: dict[int, list[Any]] | None = None, **given: Any) -> None:
        super().__init__(**given)
        self.answers = answers or {}
        self.heard: list[tuple[str, Any, Outcome]] = []
        self.results: list[tuple[str, dict[str, Any]]] = []
        self.known: list[tuple[dict[str, Any], Any]] = []
        self.suggested: list[tuple[str, int, dict[str, Any]]] = []

    def suggest(self, trial_id: str, index: int) -> Any:
        if self.answers.get(index):
            return self.answers[index].pop(0)
        return {"x": index / 100}

    def on_suggested(self, trial_id: str, index: int, config: dict[str, Any]) -> None:
        self.suggested.append((trial_id, index, config))

    def add_evaluated_point(self, config: dict[str, Any], value: Any) -> None:
        self.known.append((config, value))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.results.append((trial_id, result))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
    ) -> None:
        self.heard.append((trial_id, result, outcome))

    @property
    def ended(self) -> list[str]:
        return [trial_id for trial_id, _, _ in self.heard]


def end(searcher: Searcher, index: int, loss: float = 0.0, outcome: Outcome = Outcome.COMPLETED, **more: Any) -> None:
    searcher.on_trial_complete(f"{index:05d}", {"loss": loss, **more}, outcome)


def asked(searcher: Searcher, *indices: int) -> list[Any]:
    answers = [searcher.ask(f"{index:05d}", index) for index in indices]
    return [round(100 * answer["x"]) if isinstance(answer, dict) else answer for answer in answers]


# ---------------------------------------------------------------------------------------- both of them


@pytest.mark.parametrize("wrap", [lambda inner: ConcurrencyLimiter(inner, 4), Repeater])
def test_metric_points_seed_and_label_are_those_of_the_searcher_inside(wrap: Any) -> None:
    inner = Recorder(
        metric="score",
        mode="max",
        points_to_evaluate=[{"x": 0.25}, {"x": 0.75}],
        evaluated_rewards=[None, 3.0],
        random_state=7,
    )
    outer = prepared(wrap(inner), SPACE)
    assert isinstance(outer, Wrapper)
    assert (outer.metric, outer.mode, outer.seed, outer.label) == ("score", "max", 7, "Recorder")
    assert outer.own_objectives == (("score",), ("max",))
    assert inner.known == [({"x": 0.75}, 3.0)]
    first = ask(outer, 0)
    assert first.pop(TRIAL_INDEX, 0) == 0 and first == {"x": 0.25}
    outer.add_evaluated_point({"x": 0.5}, 1.0)
    outer.on_trial_result("00000", {"score": 1.0})
    assert len(inner.known) == 2 and inner.results == [("00000", {"score": 1.0})]


@pytest.mark.parametrize("wrap", [lambda inner: ConcurrencyLimiter(inner, 4), Repeater])
def test_how_the_searcher_inside_is_called(wrap: Any) -> None:
    random = wrap(BasicVariantGenerator())
    assert random.instant and not random.reads_results
    recorder = Recorder()
    recorder.timeout_s = 5.0
    assert not wrap(recorder).instant and wrap(recorder).reads_results and wrap(recorder).timeout_s == 5.0
    assert isinstance(wrap("random").searcher, BasicVariantGenerator)


@pytest.mark.parametrize("wrap", [lambda inner: ConcurrencyLimiter(inner, 4), Repeater])
def test_mistakes_of_the_searcher_inside_come_through(wrap: Any) -> None:
    inner = Recorder(points_to_evaluate=[{"y": 1}])
    (mistake,) = mistakes_of(prepared, wrap(inner), SPACE)
    assert mistake.startswith("points_to_evaluate[0]: y: no such parameter")
    assert mistakes_of(wrap, 7)[0].startswith("searcher: expected a searcher or the name of one, got 7")
    assert mistakes_of(wrap, "randm")[0].startswith("search_alg: expected 'random'")


def test_mistakes_of_the_arguments() -> None:
    assert [m.partition(":")[0] for m in mistakes_of(ConcurrencyLimiter, None, 0, batch=1)] == [
        "searcher",
        "max_concurrent",
        "batch",
    ]
    assert [m.partition(":")[0] for m in mistakes_of(Repeater, None, repeat=0, set_index="no")] == [
        "searcher",
        "repeat",
        "set_index",
    ]


class RayStyle:
    """As Ray Tune has searchers, with a method of its own for what it is to search."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, Any, bool]] = []

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        return {"x": 0.5}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.ended.append((trial_id, result, error))


def test_around_a_searcher_in_the_form_of_ray_tune() -> None:
    given = RayStyle()
    searcher = prepared(ConcurrencyLimiter(given, 1), SPACE)  # type: ignore[arg-type]
    assert asked(searcher, 0, 1) == [50, NOT_READY]
    searcher.on_trial_complete("00000", None, Outcome.FAILED)
    assert given.ended == [("00000", None, True)] and asked(searcher, 1) == [50]


def test_one_inside_of_the_other() -> None:
    inner = Recorder()
    searcher = prepared(ConcurrencyLimiter(Repeater(inner, 2), 3), SPACE, 8)
    assert asked(searcher, 0, 1, 2, 3) == [0, 0, 1, NOT_READY]
    end(searcher, 0)
    assert asked(searcher, 3) == [1]
    inner = Recorder()
    searcher = prepared(Repeater(ConcurrencyLimiter(inner, 1), 2), SPACE, 8)
    assert asked(searcher, 0, 1, 2) == [0, 0, NOT_READY]
    end(searcher, 0)
    assert asked(searcher, 2) == [NOT_READY]
    end(searcher, 1)
    assert asked(searcher, 2) == [1] and inner.ended == ["00000"]


# -------------------------------------------------------------------------------- ConcurrencyLimiter


def test_at_most_so_many_at_a_time() -> None:
    inner = Recorder()
    searcher = prepared(ConcurrencyLimiter(inner, 2), SPACE, 5)
    assert asked(searcher, 0, 1, 2, 2) == [0, 1, NOT_READY, NOT_READY]
    end(searcher, 1)
    assert inner.ended == ["00001"]
    assert asked(searcher, 2, 3) == [2, NOT_READY]
    searcher.on_trial_complete("00000", None, Outcome.FAILED)
    searcher.on_trial_complete("00002", None, Outcome.DROPPED)
    assert [outcome for _, _, outcome in inner.heard] == [Outcome.COMPLETED, Outcome.FAILED, Outcome.DROPPED]
    assert asked(searcher, 3, 4, 5) == [3, 4, NOT_READY] and searcher.total_trials == 5


def test_an_answer_that_is_no_config_takes_no_slot() -> None:
    inner = Recorder({0: [NOT_READY, None]})
    searcher = prepared(ConcurrencyLimiter(inner, 1), SPACE, 2)
    assert asked(searcher, 0, 0, 0, 1) == [NOT_READY, None, 0, NOT_READY]


def test_the_number_of_trials_is_that_of_the_searcher_inside() -> None:
    assert prepared(ConcurrencyLimiter(BasicVariantGenerator(), 2), {"a": sp.grid_search([1, 2])}, 3).total_trials == 6

    class Endless(Recorder):
        total_trials = None

    assert prepared(ConcurrencyLimiter(Endless(), 2), SPACE, 3).total_trials is None


def test_a_batch_is_told_when_all_of_it_has_ended() -> None:
    inner = Recorder()
    searcher = prepared(ConcurrencyLimiter(inner, 3, batch=True), SPACE, 7)
    assert asked(searcher, 0, 1) == [0, 1]
    end(searcher, 1)
    assert asked(searcher, 2, 3) == [2, NOT_READY]  # the place of an ended one is not filled
    end(searcher, 2)
    assert inner.heard == [] and asked(searcher, 3) == [NOT_READY]
    searcher.on_trial_complete("00000", None, Outcome.FAILED)
    assert inner.ended == ["00001", "00002", "00000"] and inner.heard[2][2] is Outcome.FAILED
    assert asked(searcher, 3, 4, 5, 6) == [3, 4, 5, NOT_READY]


def test_a_batch_is_as_large_as_it_is_to_be_whatever_runs_at_a_time() -> None:
    inner = Recorder()
    searcher = prepared(ConcurrencyLimiter(inner, 3, batch=True), SPACE, 6)
    for index in range(3):
        assert asked(searcher, index) == [index] and inner.heard == []
        end(searcher, index)
    assert inner.ended == ["00000", "00001", "00002"]


def test_a_searcher_that_waits_for_its_batch_is_told_of_what_has_ended() -> None:
    """Else both would wait for ever: the batch to be full, and the searcher for a result."""
    inner = Recorder({1: [NOT_READY] * 3})
    searcher = prepared(ConcurrencyLimiter(inner, 3, batch=True), SPACE, 6)
    assert asked(searcher, 0) == [0]
    end(searcher, 0)
    assert inner.heard == []  # the batch may become full
    assert asked(searcher, 1) == [NOT_READY] and inner.ended == ["00000"]
    assert asked(searcher, 1, 1) == [NOT_READY, 1]
    assert asked(searcher, 2) == [2] and inner.ended == ["00000"]


def test_a_searcher_that_has_no_more_is_told_when_the_last_ones_end() -> None:
    inner = Recorder({2: [NOT_READY]})
    searcher = prepared(ConcurrencyLimiter(inner, 3, batch=True), SPACE, 6)
    assert asked(searcher, 0, 1, 2) == [0, 1, NOT_READY]
    end(searcher, 0)
    assert inner.heard == []
    end(searcher, 1)
    assert inner.ended == ["00000", "00001"] and asked(searcher, 2) == [2]


def test_results_in_between_are_passed_on_at_once() -> None:
    inner = Recorder()
    searcher = prepared(ConcurrencyLimiter(inner, 3, batch=True), SPACE)
    ask(searcher, 0)
    searcher.on_trial_result("00000", {"loss": 0.5})
    assert inner.results == [("00000", {"loss": 0.5})]


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("suggestions_first", [False, True])
def test_a_limited_searcher_goes_on_after_a_resume(batch: bool, suggestions_first: bool) -> None:
    space, objective = PROBLEMS["mixed"]

    def run() -> Run:
        return Run(prepared(ConcurrencyLimiter(EvolutionarySearch(population=4), 4, batch), space), objective)

    def go(run: Run, trials: int) -> Run:
        while len(run.configs) < trials:
            index = len(run.configs)
            config = run.searcher.ask(f"{index:05d}", index)
            if config is NOT_READY:
                run.end_one()
                continue
            assert isinstance(config, dict)
            run.configs.append(config)
            run.log.append(("suggested", f"{index:05d}", index, config))
            run.running.append((f"{index:05d}", config))
        return run

    whole, resumed = go(run(), 22), run()
    replayed(resumed.searcher, whole.log, suggestions_first=suggestions_first)
    resumed.configs, resumed.running = list(whole.configs), list(whole.running)
    assert go(resumed, 40).configs == go(whole, 40).configs


def test_a_run_anew_forgets_the_last_one() -> None:
    for batch in (False, True):
        searcher = ConcurrencyLimiter(Recorder(), 1, batch)
        for _ in range(2):
            assert asked(prepared(searcher, SPACE), 0, 1) == [0, NOT_READY]


# ---------------------------------------------------------------------------------------- Repeater


def test_each_config_several_times() -> None:
    inner = Recorder()
    searcher = prepared(Repeater(inner, repeat=3), SPACE, 6)
    assert searcher.total_trials == 6
    configs = [ask(searcher, index) for index in range(6)]
    assert [config.pop(TRIAL_INDEX) for config in configs] == [0, 1, 2, 0, 1, 2]
    assert configs == [{"x": 0.0}] * 3 + [{"x": 0.01}] * 3
    assert inner.num_samples == 2 and searcher.num_samples == 6


def test_without_a_number_in_the_config() -> None:
    searcher = prepared(Repeater(Recorder(), repeat=2, set_index=False), SPACE)
    assert [ask(searcher, 0), ask(searcher, 1)] == [{"x": 0.0}] * 2


def test_repeats_share_nothing_that_can_be_changed() -> None:
    space = {"model": {"x": sp.uniform(0, 1)}, "layers": [[sp.uniform(0, 1)], (1, [2])], "names": {"a"}}
    searcher = prepared(Repeater(BasicVariantGenerator(), repeat=2), space)
    first = ask(searcher, 0)
    first["model"]["x"] = first["layers"][0][0] = first["layers"][1][1][0] = "changed by the training"
    first["names"].clear()
    second = ask(searcher, 1)
    assert isinstance(second["model"]["x"], float) and isinstance(second["layers"][0][0], float)
    assert second["layers"][1] == (1, [2]) and second["names"] == {"a"}


def test_the_mean_is_told_once_when_all_have_ended() -> None:
    inner = Recorder()
    searcher = prepared(Repeater(inner, repeat=3), SPACE, 6)
    for index in range(6):
        ask(searcher, index)
    searcher.on_trial_result("00000", {"loss": 9.0})
    for index, loss in ((1, 1.0), (3, 5.0), (0, 2.0)):
        end(searcher, index, loss)
    assert inner.heard == []
    end(searcher, 2, 6.0, config={"x": 0.0, TRIAL_INDEX: 2}, training_iteration=7)
    ((trial_id, result, outcome),) = inner.heard
    assert (trial_id, outcome) == ("00000", Outcome.COMPLETED)
    assert result == {"loss": 3.0, "config": {"x": 0.0}, "training_iteration": 7}
    assert inner.results == []


def test_means_of_several_metrics_and_of_nested_ones() -> None:
    inner = Recorder(metric=["loss", "eval/acc"], mode=["min", "max"])
    searcher = prepared(Repeater(inner, repeat=2), SPACE, 2, metric=None, mode=None)
    for index, accuracy in enumerate((0.5, 1.0)):
        ask(searcher, index)
        end(searcher, index, loss=float(index), eval={"acc": accuracy})
    assert searcher.values(inner.heard[0][1]) == [0.5, 0.75]


C, S, F, I, D = Outcome.COMPLETED, Outcome.STOPPED, Outcome.FAILED, Outcome.INTERRUPTED, Outcome.DROPPED  # noqa: E741


@pytest.mark.parametrize(
    ("ends", "loss", "outcome"),
    [
        ([(1.0, C), (3.0, C), (None, F)], 2.0, C),
        ([(1.0, C), (9.0, S), (None, D)], 1.0, C),
        ([(1.0, C), (math.nan, C), (3.0, C)], 2.0, C),
        ([(1.0, S), (2.0, S), (0.0, I)], 1.5, S),
        ([(None, F), (None, F), (0.0, I)], None, F),
        ([(0.5, F), (None, F), (None, F)], 0.5, F),
        ([(1.0, I), (None, D), (None, D)], 1.0, I),
        ([(None, D), (None, D), (None, D)], None, D),
    ],
)
def test_ends_of_different_kinds(
    ends: list[tuple[float | None, Outcome]], loss: float | None, outcome: Outcome
) -> None:
    inner = Recorder()
    searcher = prepared(Repeater(inner, repeat=3), SPACE, 3)
    for index, (value, how) in enumerate(ends):
        ask(searcher, index)
        searcher.on_trial_complete(f"{index:05d}", None if value is None else {"loss": value}, how)
    ((_, result, told),) = inner.heard
    assert told is outcome and (result or {}).get("loss") == loss


def test_of_stopped_repeats_those_count_that_came_furthest() -> None:
    inner = Recorder()
    searcher = prepared(Repeater(inner, repeat=3), SPACE, 3, fidelity=Fidelity("training_iteration", 9, (1, 3, 9)))
    for index, (loss, time) in enumerate(((9.0, 1), (2.0, 3), (4.0, 4))):
        ask(searcher, index)
        end(searcher, index, loss, S, training_iteration=time)
    assert inner.heard[0][1]["loss"] == 3.0


def test_a_last_group_that_is_not_full() -> None:
    inner = Recorder()
    searcher = prepared(Repeater(inner, repeat=3), SPACE, 4)
    assert searcher.total_trials == 4 and inner.num_samples == 2
    for index in range(4):
        ask(searcher, index)
    end(searcher, 3, 7.0)
    assert inner.heard == [("00003", {"loss": 7.0}, C)]


def test_each_point_of_a_grid_is_repeated() -> None:
    searcher = prepared(Repeater(BasicVariantGenerator(), repeat=3), {"a": sp.grid_search([1, 2])}, 1)
    assert searcher.total_trials == 6
    assert [ask(searcher, index)["a"] for index in range(6)] == [1, 1, 1, 2, 2, 2]


def test_more_points_than_samples_are_all_repeated() -> None:
    points = [{"x": 0.25}, {"x": 0.5}, {"x": 0.75}]
    searcher = prepared(Repeater(Recorder(points_to_evaluate=points), repeat=2), SPACE, 2)
    assert searcher.total_trials == 6
    assert asked(searcher, *range(6)) == [25, 25, 50, 50, 75, 75]


def test_the_searcher_inside_may_make_it_wait() -> None:
    searcher = prepared(Repeater(Recorder({1: [NOT_READY]}), repeat=2), SPACE, 4)
    assert asked(searcher, 0, 1, 2, 2, 3) == [0, 0, NOT_READY, 1, 1]


def test_results_in_between_with_a_single_repeat() -> None:
    inner = Recorder()
    searcher = prepared(Repeater(inner), SPACE, 2)
    assert ask(searcher, 0) == {"x": 0.0, TRIAL_INDEX: 0}
    searcher.on_trial_result("00000", {"loss": 1.0, "config": {"x": 0.0, TRIAL_INDEX: 0}})
    assert inner.results == [("00000", {"loss": 1.0, "config": {"x": 0.0}})]


@pytest.mark.parametrize("suggestions_first", [False, True])
def test_a_repeated_searcher_goes_on_after_a_resume(suggestions_first: bool) -> None:
    space, objective = sphere(2)

    def run() -> Run:
        searcher = prepared(Repeater(EvolutionarySearch(population=4), repeat=3), space)
        return Run(searcher, lambda config: objective({"x0": config["x0"], "x1": config["x1"]}), slots=4)

    whole, resumed = run().go(25), run()
    replayed(resumed.searcher, whole.log, suggestions_first=suggestions_first)
    resumed.configs, resumed.running = list(whole.configs), list(whole.running)
    assert resumed.go(60).configs == whole.go(60).configs


def test_noise_is_averaged_away() -> None:
    """The searcher sees means: a search for a maximum with noise is not led by one lucky trial."""
    import random

    space, objective = sphere(2)
    searcher = Repeater(EvolutionarySearch(), repeat=4)
    searcher.prepare(task_of(space, 240))
    rng = random.Random(1)
    told = []
    for index in range(240):
        config = ask(searcher, index)
        place = {"x0": config["x0"], "x1": config["x1"]}
        told.append(objective(place))
        end(searcher, index, told[-1] + rng.gauss(0, 2.0), config=config)
    assert sum(told[-40:]) / 40 < 0.2 * sum(told[:40]) / 40


# ---------------------------------------------------- what people have reported of Ray Tune's wrappers


@pytest.mark.parametrize("wrap", [lambda inner: ConcurrencyLimiter(inner, 1), lambda inner: Repeater(inner, 1)])
def test_around_random_search(wrap: Any) -> None:
    """AttributeError: mode (ray-project/ray#15156, #15617, #19879)."""
    searcher = prepared(wrap(BasicVariantGenerator()), SPACE, 2)
    for index in range(2):
        assert 0 <= ask(searcher, index)["x"] <= 1
        end(searcher, index)


def test_batches_of_a_searcher_that_limits_itself() -> None:
    """Never finished: the batch could not be filled (ray-project/ray#15880)."""
    searcher = prepared(ConcurrencyLimiter(ConcurrencyLimiter(Recorder(), 3), 10, batch=True), SPACE, 7)
    running: list[int] = []
    index = 0
    for _ in range(30):
        answer = searcher.ask(f"{index:05d}", index) if index < 7 else NOT_READY
        if isinstance(answer, dict):
            running.append(index)
            index += 1
        elif running:
            end(searcher, running.pop(0))
    assert index == 7 and not running


def test_resume_when_the_last_trial_was_not_complete() -> None:
    """KeyError, and the run was lost (ray-project/ray#11918, #65952)."""
    inner = Recorder()
    searcher = prepared(Repeater(inner, repeat=2), SPACE, 6)
    for index in range(3):
        searcher.on_suggested(f"{index:05d}", index, {"x": 0.5, TRIAL_INDEX: index % 2})
    end(searcher, 0, 1.0)
    assert inner.suggested == [("00000", 0, {"x": 0.5}), ("00002", 1, {"x": 0.5})]
    assert ask(searcher, 3) == {"x": 0.5, TRIAL_INDEX: 1}
    end(searcher, 1, 2.0)
    end(searcher, 2, 3.0)
    end(searcher, 3, 5.0)
    assert [(trial_id, result["loss"]) for trial_id, result, _ in inner.heard] == [("00000", 1.5), ("00002", 4.0)]


def test_a_searcher_that_comes_back_to_a_config() -> None:
    """The number in the config made each a new one, and the search ended early (ray-project/ray#43489)."""
    inner = Recorder({index: [{"x": 0.5}] for index in range(9)})
    searcher = prepared(Repeater(inner, repeat=2), SPACE, 16)
    assert asked(searcher, *range(16)) == [50] * 16
