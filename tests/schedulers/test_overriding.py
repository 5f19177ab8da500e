"""A class that overrides a method of a scheduler or searcher is asked; one that could not be is refused."""

from __future__ import annotations

from typing import Any

import pytest
from mistakes import mistakes_of

import tune_plugins as tune
from tune_plugins.errors import ArgumentError
from tune_plugins.schedulers import (
    Action,
    ASHAScheduler,
    Decision,
    FIFOScheduler,
    HyperBandScheduler,
    Milestone,
    ResourceChangingScheduler,
    TrialScheduler,
)
from tune_plugins.search import BasicVariantGenerator


def lengths(scheduler: TrialScheduler, **options: Any) -> list[int]:
    """How many of its ten results each of four trials has reported; the loss of number i is i."""
    results = tune.simulate(
        lambda config: [{"loss": config["x"], "step": step} for step in range(1, 11)],
        param_space={"x": tune.grid_search([0, 1, 2, 3])},
        tune_config=tune.TuneConfig(metric="loss", mode="min", scheduler=scheduler, **options),
        run_config=tune.RunConfig(verbose=0),
        cluster=tune.SimulatedCluster(workers=2),
    )
    return [result.metrics["training_iteration"] for result in results]


class StopsAtThree(FIFOScheduler):
    """Overrides what a FIFO scheduler is never asked."""

    def on_trial_result(self, trial: Any, result: dict[str, Any]) -> Decision | str:
        return Action.STOP if result["loss"] == 3 and result["training_iteration"] >= 3 else Action.CONTINUE


class StopsTooLarge(ASHAScheduler):
    """Has a say between the rungs, too."""

    def on_trial_result(self, trial: Any, result: dict[str, Any]) -> Decision | str:
        if result["loss"] == 3 and result["training_iteration"] == 5:
            return Decision(Action.STOP, "too large")
        return super().on_trial_result(trial, result)


class StopsEveryFour(StopsAtThree):
    """Knows up to where it has no say."""

    def next_milestone(self, trial: Any) -> Milestone:
        return Milestone("training_iteration", trial.iteration + 4)


class StopsAtTwo:
    """A mixin, which is no scheduler."""

    def on_trial_result(self, trial: Any, result: dict[str, Any]) -> Decision | str:
        return Action.STOP if result["training_iteration"] >= 2 else Action.CONTINUE


class MixedFIFO(StopsAtTwo, FIFOScheduler):
    """Defines nothing itself."""


class MixedASHA(StopsAtTwo, ASHAScheduler):
    """The same, of one that reads only what reaches a rung."""


class FIFOWithBoth(FIFOScheduler):
    """Derives from one that reads no results."""

    def next_milestone(self, trial: Any) -> Milestone:
        return Milestone("training_iteration", trial.iteration + 4)

    def on_trial_result(self, trial: Any, result: dict[str, Any]) -> Decision | str:
        return Action.STOP


def test_a_mixin_that_overrides_on_trial_result_is_asked() -> None:
    assert lengths(MixedFIFO()) == lengths(MixedASHA(max_t=10)) == [2, 2, 2, 2]


def test_a_fifo_scheduler_that_overrides_milestones_as_well_is_asked_there() -> None:
    assert lengths(FIFOWithBoth()) == [4, 4, 4, 4]


def test_what_a_scheduler_says_itself_of_what_it_reads_is_kept() -> None:
    class Quiet(MixedFIFO):
        reads_results = False
        asked_at_every_report = False

    class Derived(Quiet):
        pass

    assert lengths(Quiet()) == lengths(Derived()) == [10, 10, 10, 10]


def test_a_fifo_scheduler_that_overrides_on_trial_result_is_asked() -> None:
    assert lengths(StopsAtThree()) == [10, 10, 10, 3]


def test_an_asha_scheduler_that_overrides_on_trial_result_is_asked_between_rungs() -> None:
    rungs = {"max_t": 10, "grace_period": 4, "reduction_factor": 2, "min_results_per_rung": 5}
    assert lengths(ASHAScheduler(**rungs)) == [10, 10, 10, 10]
    assert lengths(StopsTooLarge(**rungs)) == [10, 10, 10, 5]
    calm = type("Calm", (ASHAScheduler,), {"on_trial_result": ASHAScheduler.on_trial_result})
    eager = {"max_t": 9, "grace_period": 1, "reduction_factor": 3}
    assert lengths(calm(**eager)) == lengths(ASHAScheduler(**eager))
    assert lengths(type("Calm", (HyperBandScheduler,), {"on_trial_result": HyperBandScheduler.on_trial_result})()) == (
        lengths(HyperBandScheduler())
    )


def test_milestones_of_ones_own_hold() -> None:
    assert lengths(StopsEveryFour()) == [10, 10, 10, 4]
    assert not ASHAScheduler.asked_at_every_report and not StopsEveryFour.asked_at_every_report


def test_a_changer_of_resources_passes_the_question_on() -> None:
    changing = ResourceChangingScheduler(StopsAtThree(), lambda trials, trial, result, scheduler: None, interval=5)
    assert lengths(changing) == [10, 10, 10, 3]


def test_a_scheduler_needs_no_call_of_the_base_constructor() -> None:
    class Forgetful(TrialScheduler):
        def __init__(self, limit: int) -> None:
            self.limit = limit

        def on_trial_result(self, trial: Any, result: dict[str, Any]) -> str:
            worse = self.score(result) > 2 and result["training_iteration"] == self.limit
            return Action.STOP if worse else Action.CONTINUE

    assert lengths(Forgetful(2)) == [10, 10, 10, 2]


def test_a_searcher_that_overrides_on_trial_result_is_told() -> None:
    told: list[str] = []

    class Telling(BasicVariantGenerator):
        def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
            told.append(trial_id)

    lengths(FIFOScheduler(), search_alg=Telling())
    assert len(told) == 40 and not BasicVariantGenerator.reads_results


class Narrow(FIFOScheduler):
    """Methods that nobody could call."""

    def on_trial_result(self, trial):  # type: ignore[no-untyped-def, override]
        return "CONTINUE"

    def next_milestone(self, tune_controller, trial):  # type: ignore[no-untyped-def, override]
        """As it says."""

    def on_trial_add(self):  # type: ignore[no-untyped-def, override]
        """As it says."""


def test_signatures_that_do_not_fit_are_named_all_at_once() -> None:
    found = mistakes_of(Narrow)
    assert [mistake.split("(")[0] for mistake in found] == [
        "scheduler: expected def on_trial_add",
        "scheduler: expected def next_milestone",
        "scheduler: expected def on_trial_result",
    ]
    assert "got def on_trial_result(self, trial) in Narrow" in found[2]
    assert "Ray Tune hands over its controller" in found[1]


def test_a_searcher_that_could_not_be_called_is_refused() -> None:
    class Narrow(BasicVariantGenerator):
        def suggest(self):  # type: ignore[no-untyped-def, override]
            return {}

    with pytest.raises(
        ArgumentError, match=r"search_alg: expected def suggest\(self, trial_id, index\), got def suggest"
    ):
        tune.TuneConfig(search_alg=Narrow())


def test_the_class_of_a_searcher_is_refused_as_such() -> None:
    found = mistakes_of(tune.TuneConfig, search_alg=BasicVariantGenerator)
    assert len(found) == 1 and found[0].startswith("search_alg: expected a tune_plugins.search.Searcher, got <class")


def test_notes_that_raise_harm_no_run() -> None:
    class Noting(FIFOScheduler):
        def notes(self) -> list[str]:
            raise OSError("no notes today")

    class Listening(tune.Callback):
        def __init__(self) -> None:
            self.told: list[Any] = []

        def on_step_end(self, notes: Any, **info: Any) -> None:
            self.told += notes

        def on_experiment_end(self, **info: Any) -> None:
            self.told.append("end")

    listening = Listening()
    tune.simulate(
        lambda config: [1.0],
        tune_config=tune.TuneConfig(scheduler=Noting()),
        run_config=tune.RunConfig(verbose=0, callbacks=[listening]),
    )
    assert listening.told[0] == "Noting.notes raised OSError: no notes today"
    assert listening.told[-1] == "end"


def test_a_stopper_that_could_not_be_called_is_refused() -> None:
    class Narrow(tune.stoppers.Stopper):
        def __call__(self, result):  # type: ignore[no-untyped-def, override]
            return False

    with pytest.raises(ArgumentError, match=r"stop: expected def __call__\(self, trial_id, result\), got def __call__"):
        tune.RunConfig(stop=Narrow())
    with pytest.raises(ArgumentError, match="stop: "):
        tune.RunConfig(stop=lambda result: True)


class Misspelled(FIFOScheduler):
    """Would never be called."""

    def on_trial_results(self, trial, result):  # type: ignore[no-untyped-def]
        """As it says."""

    async def on_trial_error(self, trial):  # type: ignore[no-untyped-def, override]
        """As it says."""


def test_methods_that_would_do_nothing_are_told() -> None:
    assert mistakes_of(Misspelled) == [
        "scheduler: expected def on_trial_error, got Misspelled.on_trial_error, which is async or yields.",
        "scheduler: Misspelled.on_trial_results would never be called. Did you mean 'on_trial_result'?",
    ]


def test_a_method_that_returns_several_may_yield_them() -> None:
    class Yields(FIFOScheduler):
        def discarded(self) -> Any:
            yield from ()

    assert lengths(Yields()) == [10, 10, 10, 10]


@pytest.mark.parametrize(
    ("method", "returned", "message"),
    [
        ("on_trial_result", None, r"on_trial_result\(\) returned None for trial 00000: expected a Decision, or one of"),
        ("next_milestone", 4, r"next_milestone\(\) returned 4 for trial 00000: expected a Milestone such as"),
    ],
)
def test_wrong_answers_are_named(method: str, returned: Any, message: str) -> None:
    scheduler = type("Mine", (TrialScheduler,), {method: lambda self, *arguments: returned})()
    with pytest.raises(tune.TuneError, match=message):
        lengths(scheduler)


def test_score_without_a_metric_says_what_is_missing() -> None:
    class Scoring(FIFOScheduler):
        def on_trial_result(self, trial: Any, result: dict[str, Any]) -> str:
            self.score(result)
            return Action.CONTINUE

    with pytest.raises(tune.TuneError, match="metric: expected the name of a metric, since score"):
        tune.simulate(
            lambda config: [1.0],
            tune_config=tune.TuneConfig(scheduler=Scoring()),
            run_config=tune.RunConfig(verbose=0),
        )
