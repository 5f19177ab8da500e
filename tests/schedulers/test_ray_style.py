"""Schedulers written for Ray Tune: their methods get its controller first."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins.errors import ArgumentError
from tune_plugins.results import ResultGrid
from tune_plugins.schedulers import (
    Action,
    ASHAScheduler,
    AsyncHyperBandScheduler,
    Decision,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    ResourceChangingScheduler,
    TrialScheduler,
)

STEPS = 9
CONFIGS = list(range(12))


def simulate(scheduler: TrialScheduler, *, xs: list[int] | None = None, workers: int = 3, **options: Any) -> ResultGrid:
    """Trial x loses x at each of its steps."""
    return tune.simulate(
        lambda config: [{"loss": float(config["x"]), "step": step} for step in range(1, STEPS + 1)],
        param_space={"x": tune.grid_search(CONFIGS if xs is None else xs), **options.pop("space", {})},
        tune_config=tune.TuneConfig(**{"metric": "loss", "mode": "min", "seed": 1, **options}, scheduler=scheduler),
        run_config=tune.RunConfig(verbose=0),
        cluster=tune.SimulatedCluster(workers=workers),
    )


def lengths(scheduler: TrialScheduler, **options: Any) -> list[int]:
    return [result.metrics["training_iteration"] for result in simulate(scheduler, **options)]


def decided(results: ResultGrid) -> list[tuple[str, int, str, str]]:
    return [(d.trial_id, d.iteration, d.action, d.reason) for d in results.decisions]


# ------------------------------------------------------------------------- one that derives from another


def passing_on(kind: type[TrialScheduler]) -> type[TrialScheduler]:
    """A scheduler that asks the one it derives from about everything."""

    class PassesOn(kind):  # type: ignore[valid-type, misc]
        def on_trial_add(self, tune_controller, trial):
            super().on_trial_add(tune_controller, trial)

        def on_trial_result(self, tune_controller, trial, result):
            return super().on_trial_result(tune_controller, trial, result)

        def on_trial_complete(self, tune_controller, trial, result):
            super().on_trial_complete(tune_controller, trial, result)

        def on_trial_error(self, tune_controller, trial):
            super().on_trial_error(tune_controller, trial)

        def on_trial_remove(self, tune_controller, trial):
            super().on_trial_remove(tune_controller, trial)

        def choose_trial_to_run(self, tune_controller):
            return super().choose_trial_to_run(tune_controller)

        def debug_string(self):
            return super().debug_string()

    return PassesOn


POPULATION: dict[str, Any] = {
    "time_attr": "training_iteration",
    "perturbation_interval": 3,
    "hyperparam_mutations": {"y": tune.uniform(0, 1)},
}


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (ASHAScheduler, {"max_t": STEPS, "reduction_factor": 3}),
        (MedianStoppingRule, {"time_attr": "training_iteration", "grace_period": 2}),
        (PopulationBasedTraining, POPULATION),
        (PopulationBasedTraining, {**POPULATION, "synch": True}),
        (FIFOScheduler, {}),
    ],
    ids=["asha", "median", "pbt", "pbt-synch", "fifo"],
)
def test_what_passes_everything_on_decides_as_the_one_it_derives_from(
    kind: type[TrialScheduler], arguments: dict[str, Any]
) -> None:
    alone, derived = simulate(kind(**arguments)), simulate(passing_on(kind)(**arguments))
    assert decided(derived) == decided(alone)
    assert bool(decided(alone)) == (kind is not FIFOScheduler)
    assert [result.metrics for result in derived] == [result.metrics for result in alone]


def test_a_hyperband_that_passes_everything_on_halves_its_brackets() -> None:
    found = simulate(passing_on(HyperBandScheduler)(max_t=9), xs=list(range(17)))
    stopped = [d for d in found.decisions if d.action == "STOP"]
    first = sorted(int(d.trial_id) for d in stopped if d.iteration == 1)
    assert first == [*range(3, 9), 16], "of 9 trials the best 3 go on, of the 2 left over at the end one"
    assert found.get_best_result().metrics["training_iteration"] == 9


def test_an_asha_that_counts_is_asked_at_every_report_and_stops_at_its_rungs_only() -> None:
    asked: list[tuple[str, int]] = []
    answers: set[tuple[int, str]] = set()

    class Counts(AsyncHyperBandScheduler):
        def on_trial_result(self, tune_controller, trial, result):
            asked.append((trial.trial_id, result["training_iteration"]))
            answer = super().on_trial_result(tune_controller, trial, result)
            answers.add((result["training_iteration"], answer))
            return answer

    rungs = {"max_t": STEPS, "grace_period": 3, "reduction_factor": 3}
    assert lengths(Counts(**rungs)) == lengths(ASHAScheduler(**rungs))
    assert len(asked) == sum(lengths(ASHAScheduler(**rungs)))
    assert {at for at, answer in answers if answer == TrialScheduler.STOP} == {3}
    assert {answer for _, answer in answers} == {TrialScheduler.CONTINUE, TrialScheduler.STOP}


def test_its_own_answer_counts_where_it_does_not_pass_that_on() -> None:
    class Impatient(ASHAScheduler):
        def on_trial_result(self, trial_runner, trial, result):
            answer = super().on_trial_result(trial_runner, trial, result)
            if answer == TrialScheduler.CONTINUE and result["loss"] >= 10 and result["training_iteration"] == 2:
                return TrialScheduler.STOP
            return answer

    found = simulate(Impatient(max_t=STEPS, grace_period=4, reduction_factor=2, min_results_per_rung=20))
    assert [result.metrics["training_iteration"] for result in found] == [9] * 10 + [2] * 2
    assert found[11].reason == "stopped by Impatient"


def test_a_class_between_in_our_form_is_called_in_its_own() -> None:
    class Ours(ASHAScheduler):
        def on_trial_result(self, trial, result):
            if result["training_iteration"] == 2 and result["loss"] == 5:
                return Decision(Action.STOP, "five")
            return super().on_trial_result(trial, result)

    class Theirs(Ours):
        def on_trial_result(self, tune_controller, trial, result):
            return super().on_trial_result(tune_controller, trial, result)

    found = simulate(Theirs(max_t=STEPS, grace_period=8))
    assert [result.reason for result in found if result.config["x"] == 5] == ["five"]


# ------------------------------------------------------------------------------------ plain ones


class StopsAtOnce(FIFOScheduler):
    """As short as they come."""

    def on_trial_result(self, tune_controller, trial, result):
        return TrialScheduler.STOP


class PausesAlways(FIFOScheduler):
    """Each trial gives way to the next one; the FIFO scheduler resumes them."""

    def on_trial_result(self, tune_controller, trial, result):
        return TrialScheduler.PAUSE


def test_the_words_of_ray_tune_are_decisions() -> None:
    assert lengths(StopsAtOnce()) == [1] * 12
    found = simulate(PausesAlways())
    assert [result.metrics["training_iteration"] for result in found] == [STEPS] * 12
    assert {d.action for d in found.decisions} >= {"PAUSE"}

    class DoesNothing(FIFOScheduler):
        def on_trial_result(self, tune_controller, trial, result):
            return TrialScheduler.NOOP

    assert lengths(DoesNothing()) == [STEPS] * 12


@pytest.mark.parametrize("ahead", [1, 2])
def test_paused_trials_go_on_where_the_searcher_waits(ahead: int) -> None:
    limiter = tune.search.ConcurrencyLimiter(tune.search.BasicVariantGenerator(), max_concurrent=2 + ahead)
    found = simulate(PausesAlways(), xs=[0, 1, 2, 3, 4], workers=2, search_alg=limiter)
    assert [result.metrics["training_iteration"] for result in found] == [STEPS] * 5
    assert found[0].metrics["time_total_s"] == STEPS


def logged(method: Any) -> Any:
    """Decorates a method, as scripts do."""

    @functools.wraps(method)
    def inner(*arguments: Any, **named: Any) -> Any:
        return method(*arguments, **named)

    return inner


def test_a_decorated_method_is_known_by_what_it_takes() -> None:
    class Decorated(FIFOScheduler):
        @logged
        def on_trial_result(self, a, b, c):
            return TrialScheduler.STOP if c["loss"] > 0 else TrialScheduler.CONTINUE

    class Ours(FIFOScheduler):
        @logged
        def on_trial_result(self, a, b):
            return Action.STOP if b["loss"] > 0 else Action.CONTINUE

    assert lengths(Decorated(), xs=[0, 1]) == lengths(Ours(), xs=[0, 1]) == [STEPS, 1]


def test_a_run_needs_no_metric_where_it_compares_nothing() -> None:
    class Plain(TrialScheduler):
        def on_trial_result(self, controller, trial, result):
            return TrialScheduler.STOP if result["loss"] > 1 else TrialScheduler.CONTINUE

    assert lengths(Plain(), xs=[0, 2], metric=None, mode=None) == [STEPS, 1]


def test_wrong_answers_name_the_class_of_the_user() -> None:
    class Mute(FIFOScheduler):
        def on_trial_result(self, tune_controller, trial, result):
            """Says nothing."""

    with pytest.raises(tune.TuneError, match=r"^Mute.on_trial_result\(\) returned None for trial 00000: expected"):
        simulate(Mute())

    class Stubborn(FIFOScheduler):
        def choose_trial_to_run(self, tune_controller):
            return next(iter(tune_controller.get_trials()), None)

    with pytest.raises(tune.TuneError, match=r"^Stubborn.choose_trial_to_run\(\) returned trial 00000, which is START"):
        simulate(Stubborn())


def test_the_controller_says_what_it_has_and_what_not() -> None:
    seen: list[tuple[int, int]] = []

    class Looks(FIFOScheduler):
        def on_trial_result(self, tune_controller, trial, result):
            seen.append((len(tune_controller.get_trials()), len(tune_controller.get_live_trials())))
            assert tune_controller.get_trial(trial.trial_id) is trial and trial in tune_controller.get_live_trials()
            return TrialScheduler.CONTINUE if len(seen) < 50 else tune_controller.trial_executor.nothing

    with pytest.raises(
        tune.TuneError, match=r"The controller has no 'trial_executor': .* finds there get_trials, get_l"
    ):
        simulate(Looks(), xs=list(range(6)))
    assert seen[0] == (3, 3) and seen[-1][0] == 6 and seen[-1][1] < 6


def test_other_trials_may_be_stopped_and_paused_by_the_controller() -> None:
    class OnlyTheBest(FIFOScheduler):
        def on_trial_result(self, tune_controller, trial, result):
            if result["training_iteration"] == 3:
                for other in tune_controller.get_live_trials():
                    if other.config["x"] > trial.config["x"]:
                        tune_controller.stop_trial(other)
            return TrialScheduler.CONTINUE

    found = simulate(OnlyTheBest(), xs=[3, 0, 1, 2, 5, 4], workers=3)
    assert [r.metrics.get("training_iteration", 0) for r in found][1] == STEPS
    assert found[0].reason == "OnlyTheBest called stop_trial()"
    assert sum(r.metrics.get("training_iteration", 0) for r in found) < 6 * STEPS

    class Once(FIFOScheduler):
        def on_trial_result(self, tune_controller, trial, result):
            if result["training_iteration"] == 2:
                tune_controller.pause_trial(trial, should_checkpoint=False)
            return TrialScheduler.NOOP

    found = simulate(Once(), xs=[0, 1, 2], workers=1)
    assert [d.reason for d in found.decisions if d.action == "PAUSE"] == ["Once called pause_trial()"] * 3
    assert [result.metrics["training_iteration"] for result in found] == [STEPS] * 3


def test_a_trial_that_ends_while_it_waits_is_removed() -> None:
    told: list[str] = []

    class Tells(FIFOScheduler):
        def on_trial_add(self, tune_controller, trial):
            told.append(f"add {trial.trial_id}")

        def on_trial_result(self, tune_controller, trial, result):
            for other in tune_controller.get_trials():
                if other.status == "PENDING":
                    tune_controller.stop_trial(other)
            return TrialScheduler.CONTINUE if trial.trial_id == "00000" else TrialScheduler.PAUSE

        def choose_trial_to_run(self, tune_controller):
            trials = tune_controller.get_trials()
            return trials[0] if len(trials) > 1 and trials[0].status == "PENDING" else None

        def on_trial_complete(self, tune_controller, trial, result):
            told.append(f"complete {trial.trial_id} {result['training_iteration']}")

        def on_trial_remove(self, tune_controller, trial):
            told.append(f"remove {trial.trial_id}")

    simulate(Tells(), xs=[0, 1], workers=1)
    assert told == ["add 00000", "add 00001", f"complete 00000 {STEPS}", "remove 00001"]


def test_search_properties_are_told() -> None:
    class Own(FIFOScheduler):
        def __init__(self, metric=None, mode=None):
            super().__init__()
            self._metric, self._mode = metric, mode

        def set_search_properties(self, metric, mode, **spec):
            if self._metric and metric:
                return False
            self._metric, self._mode = self._metric or metric, self._mode or mode
            return True

        def on_trial_result(self, tune_controller, trial, result):
            return TrialScheduler.STOP if result[self._metric] > 1 and self._mode == "min" else TrialScheduler.CONTINUE

    assert lengths(Own(), xs=[0, 2]) == [STEPS, 1]
    with pytest.raises(ArgumentError, match=r"set_search_properties\(\) returned False for metric='loss'"):
        simulate(Own("other", "max"))


def test_notes_are_what_debug_string_says() -> None:
    class Noting(FIFOScheduler):
        def on_trial_result(self, tune_controller, trial, result):
            return TrialScheduler.CONTINUE

        def debug_string(self):
            return "one\ntwo"

    class Listening(tune.Callback):
        notes: list[str] = []  # noqa: RUF012

        def on_step_end(self, notes: Any, **info: Any) -> None:
            self.notes = list(notes)

    listening = Listening()
    tune.simulate(
        lambda config: [1.0],
        tune_config=tune.TuneConfig(scheduler=Noting()),
        run_config=tune.RunConfig(verbose=0, callbacks=[listening]),
    )
    assert listening.notes == ["one", "two"]


# ----------------------------------------------------------------- as they are found in public scripts


class Tail(FIFOScheduler):
    """Trials that are ahead give way to those behind, so that all come as far."""

    def __init__(self, time_attr="training_iteration"):
        self.time_attr = time_attr
        self.paused = 0
        super().__init__()

    def elapsed(self, trial):
        return trial.last_result.get(self.time_attr, 0)

    def on_trial_result(self, trial_runner, trial, result):
        others = [other for other in trial_runner.get_trials() if other != trial]
        now = result[self.time_attr]
        ahead = sum(other.status == "RUNNING" and now < self.elapsed(other) for other in others)
        behind = sum(other.status in ("PENDING", "PAUSED") and now > self.elapsed(other) for other in others)
        if ahead < behind:
            self.paused += 1
            return TrialScheduler.PAUSE
        return super().on_trial_result(trial_runner, trial, result)

    def choose_trial_to_run(self, trial_runner):
        waiting = [
            trial
            for trial in trial_runner.get_trials()
            if trial.status in ("PENDING", "PAUSED") and trial_runner.has_resources_for_trial(trial)
        ]
        return min(waiting, key=self.elapsed, default=None)


class StopsOutliers(Tail):
    """Derives from one that was written for Ray Tune, and keeps a statistic of its own."""

    def __init__(self, metric=None, **more):
        self.metric_name, self.values = metric, {}
        super().__init__(**more)

    def on_trial_add(self, trial_runner, trial):
        self.values[trial.trial_id] = []

    def on_trial_error(self, trial_runner, trial):
        del self.values[trial.trial_id]

    def on_trial_complete(self, trial_runner, trial, result):
        del self.values[trial.trial_id]

    def on_trial_remove(self, trial_runner, trial):
        del self.values[trial.trial_id]

    def on_trial_result(self, trial_runner, trial, result):
        self.values[trial.trial_id].append(result[self.metric_name])
        best = min(values[-1] for values in self.values.values() if values)
        if len(self.values[trial.trial_id]) == 3 and result[self.metric_name] > best + 2:
            return TrialScheduler.STOP
        return super().on_trial_result(trial_runner, trial, result)


def test_the_tail_keeps_all_trials_together() -> None:
    scheduler = Tail()
    found = simulate(scheduler, xs=[0, 1, 2, 3], workers=2)
    assert [result.metrics["training_iteration"] for result in found] == [STEPS] * 4 and scheduler.paused
    outliers = StopsOutliers("loss")
    assert lengths(outliers, xs=[0, 1, 2, 3], workers=2) == [STEPS, STEPS, STEPS, 3] and not outliers.values


class Grouped(TrialScheduler):
    """One scheduler for each value of a hyper-parameter; trials are compared within their group only."""

    def __init__(self, base, groupby):
        self.base_scheduler, self.groupby, self.schedulers = base, groupby, {}

    def set_search_properties(self, metric, mode, **spec):
        return self.base_scheduler.set_search_properties(metric, mode, **spec)

    def of(self, trial):
        key = trial.config[self.groupby]
        if key not in self.schedulers:
            self.schedulers[key] = copy.deepcopy(self.base_scheduler)
        return self.schedulers[key]

    def on_trial_add(self, tune_controller, trial):
        self.of(trial).on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller, trial):
        self.of(trial).on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller, trial, result):
        return self.of(trial).on_trial_result(tune_controller, trial, result)

    def on_trial_complete(self, tune_controller, trial, result):
        self.of(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller, trial):
        self.of(trial).on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller):
        chosen = (scheduler.choose_trial_to_run(tune_controller) for scheduler in self.schedulers.values())
        return next((trial for trial in chosen if trial is not None), None)

    def debug_string(self):
        return "\n".join(f"{key}: {scheduler.debug_string()}" for key, scheduler in self.schedulers.items())


@pytest.mark.parametrize(
    "base",
    [
        lambda: ASHAScheduler(max_t=6, reduction_factor=2),
        lambda: MedianStoppingRule("training_iteration", grace_period=2, min_samples_required=1),
    ],
    ids=["asha", "median"],
)
def test_schedulers_that_one_holds_compare_within_their_groups(base: Any) -> None:
    found = simulate(
        Grouped(base(), "group"), xs=[0, 1, 2, 3], space={"group": tune.grid_search(["a", "b"])}, workers=1
    )
    # With one slot the trials of a group come one after the other, as if they were alone.
    alone = lengths(base(), xs=[0, 1, 2, 3], workers=1)
    for group in "ab":
        of_group = [result for result in found if result.config["group"] == group]
        assert [result.metrics["training_iteration"] for result in of_group] == alone
    assert len(set(alone)) > 1


@pytest.mark.parametrize(
    "base",
    [
        lambda: ASHAScheduler(max_t=6, reduction_factor=2, variant="promotion"),
        lambda: HyperBandScheduler(max_t=9),
        lambda: PopulationBasedTraining(**POPULATION),
        lambda: PopulationBasedTraining(**POPULATION, synch=True),
    ],
    ids=["promotion", "hyperband", "pbt", "pbt-synch"],
)
def test_schedulers_that_pause_may_be_held_too(base: Any) -> None:
    found = simulate(Grouped(base(), "group"), space={"group": tune.grid_search(["a", "b"])})
    assert {d.action for d in found.decisions} >= {"PAUSE"} or isinstance(base(), PopulationBasedTraining)
    for group in "ab":
        of_group = {result.trial_id for result in found if result.config["group"] == group}
        trained = max(result.metrics["training_iteration"] for result in found if result.trial_id in of_group)
        assert trained >= 6, group
        exploits = [d for d in found.decisions if d.action == "EXPLOIT" and d.trial_id in of_group]
        assert all(d.reason.split("trial ")[1][:5] in of_group for d in exploits)
        assert bool(exploits) == isinstance(base(), PopulationBasedTraining)


class Online(TrialScheduler):
    """Stands around another one, and calls no constructor of the base class."""

    def __init__(self, scheduler):
        self.scheduler, self.asked = scheduler, 0

    def on_trial_add(self, trial_runner, trial):
        return self.scheduler.on_trial_add(trial_runner, trial)

    def on_trial_error(self, trial_runner, trial):
        return self.scheduler.on_trial_error(trial_runner, trial)

    def on_trial_result(self, trial_runner, trial, result):
        self.asked += 1
        return self.scheduler.on_trial_result(trial_runner, trial, result)

    def on_trial_complete(self, trial_runner, trial, result):
        return self.scheduler.on_trial_complete(trial_runner, trial, result)

    def on_trial_remove(self, trial_runner, trial):
        return self.scheduler.on_trial_remove(trial_runner, trial)

    def choose_trial_to_run(self, trial_runner):
        return self.scheduler.choose_trial_to_run(trial_runner)

    def debug_string(self):
        return self.scheduler.debug_string()


def test_one_around_another_decides_as_that_does() -> None:
    rungs: dict[str, Any] = {"max_t": 6, "reduction_factor": 2, "metric": "loss", "mode": "min"}
    online = Online(ASHAScheduler(**rungs))
    alone, around = simulate(ASHAScheduler(**rungs)), simulate(online, metric=None, mode=None)
    assert [(d.trial_id, d.iteration, d.reason) for d in around.decisions if "rung" in d.reason] == [
        (d.trial_id, d.iteration, d.reason) for d in alone.decisions
    ]
    assert online.asked == sum(result.metrics["training_iteration"] for result in around)
    assert max(result.metrics["training_iteration"] for result in around) == 6, "the end that it sets holds as well"


class SeveralObjectives(TrialScheduler):
    """Compares by several metrics of its own."""

    def __init__(self, objectives, grace_period=2):
        super().__init__()
        self.objectives, self.grace_period, self.seen = objectives, grace_period, {}

    def on_trial_add(self, tune_controller, trial):
        self.seen[trial.trial_id] = None

    def on_trial_result(self, tune_controller, trial, result):
        point = self.seen[trial.trial_id] = tuple(result[name] for name in self.objectives)
        if result["training_iteration"] != self.grace_period:
            return TrialScheduler.CONTINUE
        others = [other for name, other in self.seen.items() if other and name != trial.trial_id]
        worse = any(all(b <= a for a, b in zip(point, other, strict=True)) and other != point for other in others)
        return TrialScheduler.STOP if worse else TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller, trial, result):
        self.seen[trial.trial_id] = tuple(result[name] for name in self.objectives)

    def on_trial_remove(self, tune_controller, trial):
        del self.seen[trial.trial_id]


def test_several_objectives_of_ones_own() -> None:
    found = lengths(SeveralObjectives(["loss", "step"]), xs=[1, 0, 2], workers=1, metric=None, mode=None)
    assert found == [STEPS, STEPS, STEPS]
    assert lengths(SeveralObjectives(["loss"]), xs=[0, 1, 2], workers=1, metric=None, mode=None) == [STEPS, 2, 2]


def test_one_inside_a_changer_of_resources_is_asked() -> None:
    changing = ResourceChangingScheduler(StopsAtOnce(), lambda trials, trial, result, scheduler: None)
    assert lengths(changing) == [1] * 12


def test_one_object_serves_several_runs() -> None:
    scheduler = passing_on(ASHAScheduler)(max_t=STEPS, reduction_factor=3)
    assert decided(simulate(scheduler)) == decided(simulate(scheduler)) != []


# -------------------------------------------------------------------------------------- both forms


def test_a_method_takes_both_forms_and_nothing_else() -> None:
    scheduler = ASHAScheduler()
    with pytest.raises(TypeError, match=r"ASHAScheduler.on_trial_result: expected 2 arguments, or the controller that"):
        scheduler.on_trial_result(None, None, {})
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        scheduler.on_trial_result(None)
