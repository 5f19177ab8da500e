"""What the core has for the searcher, and what it makes of the answers."""

from __future__ import annotations

from typing import Any

import pytest

from tune_plugins.core.ends import EndCause, ErrorInfo, Outcome
from tune_plugins.core.events import (
    AskSearcher,
    Event,
    Finish,
    RecordTrial,
    ResultsReported,
    SearcherCommand,
    SlotsChanged,
    StartTrial,
    StopRequested,
    SuggestionMade,
    TellEnd,
    TellResult,
    Tick,
    TrialErrored,
    TrialFinished,
    TrialStarted,
)
from tune_plugins.core.experiment import Experiment, Rules
from tune_plugins.core.scheduler import FIFOScheduler, TrialScheduler
from tune_plugins.core.searcher import Signal
from tune_plugins.core.trial import Milestone, Trial
from tune_plugins.errors import IllegalEventError, TuneError

A, B, C = "00000", "00001", "00002"


def answer(index: int, told: int = 0, config: Any = None, signal: str = "", time: float = 0.0) -> SuggestionMade:
    return SuggestionMade(time, f"{index:05d}", index, told, config, signal)


def asks(commands: list[Any]) -> list[AskSearcher]:
    return [command for command in commands if isinstance(command, AskSearcher)]


def of(kind: type, commands: list[Any]) -> list[Any]:
    return [command for command in commands if isinstance(command, kind)]


class EveryReport(TrialScheduler):
    """Looks at each result and lets all go on."""

    needs_metric = False

    def next_milestone(self, trial: Trial) -> Milestone:
        return Milestone("training_iteration", trial.iteration + 1)


def started(experiment: Experiment, count: int) -> None:
    experiment.handle(SlotsChanged(0.0, count))
    for index in range(count):
        experiment.handle(answer(index, config={"x": index}))
        experiment.handle(TrialStarted(0.0, f"{index:05d}"))


def test_one_question_is_out_at_a_time_and_only_for_a_free_slot() -> None:
    experiment = Experiment(rules=Rules(trial_limit=5))
    assert asks(experiment.handle(SlotsChanged(0.0, 2))) == [AskSearcher(A, 0, 0)]
    assert experiment.handle(Tick(0.1)) == [] and experiment.handle(SlotsChanged(0.2, 2)) == []
    commands = experiment.handle(answer(0, config={"x": 1}))
    assert [type(c) for c in commands if not isinstance(c, SearcherCommand)] == [RecordTrial, StartTrial]
    assert commands[-1] == AskSearcher(B, 1, 0)
    commands = experiment.handle(answer(1, config={"x": 2}))
    assert of(StartTrial, commands) and not asks(commands), "no slot is free"
    experiment.handle(TrialStarted(1.0, A))
    assert asks(experiment.handle(TrialFinished(2.0, A))) == [AskSearcher(C, 2, 1)], "it knows of one end by now"


def test_a_verdict_is_given_while_the_searcher_computes() -> None:
    experiment = Experiment(EveryReport(), Rules(trial_limit=3))
    started(experiment, 1)
    experiment.handle(SlotsChanged(0.0, 2))
    commands = experiment.handle(ResultsReported.dummy(A, 1, waiting=True, loss=1.0))
    assert [type(c).__name__ for c in commands] == ["TellResult", "GrantLease"]
    assert commands[0].result["config"] == {"x": 0}
    commands = experiment.handle(answer(1, told=0, config={"x": 1}))
    assert of(StartTrial, commands)


def test_not_ready_is_asked_again_when_something_has_been_told() -> None:
    experiment = Experiment(EveryReport(), Rules(trial_limit=3))
    started(experiment, 1)
    assert asks(experiment.handle(SlotsChanged(0.0, 2))) == [AskSearcher(B, 1, 0)]
    assert experiment.handle(answer(1, 0, signal=Signal.NOT_READY.value)) == []
    assert experiment.handle(Tick(1.0)) == [], "it would say the same again"
    commands = experiment.handle(ResultsReported.dummy(A, 1, waiting=True))
    assert asks(commands) == [AskSearcher(B, 1, 1)]
    # Told again, before it answered: it may be ready by now.
    experiment.handle(ResultsReported.dummy(A, 2, waiting=True))
    assert asks(experiment.handle(answer(1, 1, signal=Signal.NOT_READY.value))) == [AskSearcher(B, 1, 2)]


def test_never_ready_is_an_error_unless_it_has_heard_of_an_end_since() -> None:
    experiment = Experiment(rules=Rules(searcher="Moody"))
    experiment.handle(SlotsChanged(0.0, 1))
    with pytest.raises(TuneError, match="Moody is not ready to suggest trial 0, and no trial is running"):
        experiment.handle(answer(0, signal=Signal.NOT_READY.value))
    experiment = Experiment(rules=Rules())
    started(experiment, 1)
    experiment.handle(SlotsChanged(0.0, 2))
    experiment.handle(TrialFinished(1.0, A))
    assert asks(experiment.handle(answer(1, 0, signal=Signal.NOT_READY.value))) == [AskSearcher(B, 1, 1)]


def test_nothing_means_not_ready_while_a_trial_runs_and_else_the_end() -> None:
    experiment = Experiment(rules=Rules())
    started(experiment, 1)
    experiment.handle(SlotsChanged(0.0, 2))
    assert experiment.handle(answer(1)) == [] and not experiment.finished
    assert asks(experiment.handle(TrialFinished(1.0, A))) == [AskSearcher(B, 1, 1)]
    assert of(Finish, experiment.handle(answer(1, 1))) and experiment.finished


def test_complete_ends_the_search() -> None:
    experiment = Experiment(rules=Rules())
    started(experiment, 1)
    experiment.handle(SlotsChanged(0.0, 2))
    assert experiment.handle(answer(1, signal=Signal.COMPLETE.value)) == []
    commands = experiment.handle(TrialFinished(1.0, A))
    assert not asks(commands) and of(Finish, commands)


def test_an_answer_after_the_end_counts_as_dropped() -> None:
    experiment = Experiment(rules=Rules())
    started(experiment, 1)
    experiment.handle(SlotsChanged(0.0, 2))
    experiment.handle(StopRequested(1.0, "Ctrl-C"))
    commands = experiment.handle(answer(1, config={"x": 1}))
    assert commands == [TellEnd(B, None, Outcome.DROPPED)] and list(experiment.trials) == [A]


def test_an_answer_to_no_question_is_illegal() -> None:
    experiment = Experiment(rules=Rules())
    with pytest.raises(IllegalEventError, match="it answers no question"):
        experiment.handle(answer(0, config={}))
    experiment.handle(SlotsChanged(0.0, 1))
    with pytest.raises(IllegalEventError, match="it answers no question"):
        experiment.handle(answer(3, config={}))


def test_a_population_is_complete_before_the_first_trial_starts() -> None:
    class Population(FIFOScheduler):
        needs_population = True

    experiment = Experiment(Population(), Rules(trial_limit=3))
    commands = experiment.handle(SlotsChanged(0.0, 2))
    for index in range(3):
        assert asks(commands) == [AskSearcher(f"{index:05d}", index, 0)] and not of(StartTrial, commands)
        commands = experiment.handle(answer(index, config={}))
    assert [c.trial_id for c in of(StartTrial, commands)] == [A, B] and not asks(commands)


ENDS: dict[str, tuple[Event, bool, Outcome]] = {
    "returned": (TrialFinished(2.0, A), True, Outcome.COMPLETED),
    "max_t": (TrialFinished(2.0, A, "max_t", EndCause.SCHEDULED_END), True, Outcome.COMPLETED),
    "returned without a report": (TrialFinished(2.0, A), False, Outcome.COMPLETED),
    "the user's rule": (TrialFinished(2.0, A, "rule", EndCause.STOPPER), True, Outcome.COMPLETED),
    "the scheduler": (TrialFinished(2.0, A, "rung", EndCause.SCHEDULER), True, Outcome.STOPPED),
    "budget": (TrialFinished(2.0, A, "late", EndCause.TIME_BUDGET), True, Outcome.INTERRUPTED),
    "Ctrl-C": (TrialFinished(2.0, A, "Ctrl-C", EndCause.USER), True, Outcome.INTERRUPTED),
    "Ctrl-C before a report": (TrialFinished(2.0, A, "Ctrl-C", EndCause.USER), False, Outcome.DROPPED),
    "an error": (TrialErrored(2.0, A, ErrorInfo("ValueError", "x")), True, Outcome.FAILED),
    "an error at once": (TrialErrored(2.0, A, ErrorInfo("ValueError", "x")), False, Outcome.FAILED),
}


@pytest.mark.parametrize(("event", "reported", "outcome"), ENDS.values(), ids=ENDS)
def test_outcomes(event: Event, reported: bool, outcome: Outcome) -> None:
    experiment = Experiment(rules=Rules(trial_limit=1))
    started(experiment, 1)
    commands: list[Any] = []
    if reported:
        commands += experiment.handle(ResultsReported.dummy(A, 1, loss=0.5))
    commands += experiment.handle(event)
    (end,) = of(TellEnd, commands)
    assert end.outcome is outcome
    assert (end.result is not None) == reported
    if reported:
        failed = outcome is Outcome.FAILED
        assert end.result["loss"] == 0.5 and end.result["config"] == {"x": 0}
        # Results that nobody has seen yet are told at the end; those of a trial that failed are not.
        assert len(of(TellResult, commands)) == (0 if failed else 1)


def test_a_trial_that_ended_since_all_did_by_a_rule_was_interrupted() -> None:
    assert Outcome.of(EndCause.STOPPER, failed=False, reported=True, all_ended=True) is Outcome.INTERRUPTED
