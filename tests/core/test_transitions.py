"""Every pair of status and trigger: the legal ones lead where the table says, the others raise and change nothing."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from core_driver import CheckedExperiment

from tune_plugins.core.ends import ErrorInfo
from tune_plugins.core.events import (
    CheckpointSaved,
    Event,
    ExploitDone,
    ResultsReported,
    SlotsChanged,
    StartTrial,
    Tick,
    TrialErrored,
    TrialFinished,
    TrialPaused,
    TrialStarted,
    WorkerLost,
)
from tune_plugins.core.transitions import TRANSITIONS
from tune_plugins.core.trial import CheckpointRecord, TrialStatus
from tune_plugins.errors import IllegalEventError
from tune_plugins.schedulers import Action, TrialScheduler

S = TrialStatus
TRIGGERS = sorted({trigger for row in TRANSITIONS.values() for trigger in row})
SUBJECT = "00000"
EVENTS: dict[str, list[Event]] = {
    "started": [TrialStarted.dummy(SUBJECT, time=9.0)],
    "results": [ResultsReported.dummy(SUBJECT, 7, score=1), ResultsReported.dummy(SUBJECT, 7, waiting=True, score=1)],
    "checkpoint": [CheckpointSaved(9.0, SUBJECT, CheckpointRecord("checkpoint_000007", 7, "/x/c", trial_id=SUBJECT))],
    "paused": [TrialPaused(9.0, SUBJECT, resident=True)],
    "evicted": [TrialPaused(9.0, SUBJECT, resident=False)],
    "exploited": [ExploitDone(9.0, SUBJECT, in_place=True, reason="state of iteration 3 loaded")],
    "finished": [TrialFinished(9.0, SUBJECT)],
    "error": [
        TrialErrored(9.0, SUBJECT, ErrorInfo("ValueError", "no")),
        WorkerLost(9.0, SUBJECT, ErrorInfo("WorkerLostError", "gone")),
    ],
}
ILLEGAL = [(s, t) for s in TRANSITIONS for t in TRIGGERS if t not in TRANSITIONS[s]]
LEGAL_EVENTS = [(s, t, after) for s, row in TRANSITIONS.items() for t, after in row.items() if t in EVENTS]


class Scripted(TrialScheduler):
    """Decides about the subject as told; asks at every report."""

    needs_metric = False

    def __init__(self, action: Action) -> None:
        super().__init__()
        self.action = action

    def on_trial_result(self, trial: Any, result: dict[str, Any]) -> Action:
        return self.action if trial.id == SUBJECT else Action.CONTINUE


def bring(make: Any, status: TrialStatus) -> CheckedExperiment:
    """An experiment of two running trials, the first of which is brought into `status`."""
    action = {S.PAUSED: Action.PAUSE, S.STOPPING: Action.STOP}.get(status, Action.CONTINUE)
    experiment: CheckedExperiment = make(2, Scripted(action), trial_limit=2)
    events: list[Event] = [SlotsChanged(0.0, 2), TrialStarted.dummy("00001")]
    if status is not S.STARTING:
        events.append(TrialStarted.dummy(SUBJECT))
    events += {
        S.PENDING: [
            SlotsChanged(1.0, 0),
            WorkerLost(1.0, SUBJECT, ErrorInfo("WorkerLostError", "node lost"), preempted=True),
        ],
        S.PAUSED: [ResultsReported.dummy(SUBJECT, 1, waiting=True)],
        S.STOPPING: [ResultsReported.dummy(SUBJECT, 1, waiting=True)],
        S.TERMINATED: [TrialFinished(1.0, SUBJECT)],
        S.ERROR: [TrialErrored(1.0, SUBJECT, ErrorInfo("ValueError", "first"))],
    }.get(status, [])
    experiment.replay(events)
    assert experiment.trials[SUBJECT].status is status
    return experiment


def state(experiment: CheckedExperiment) -> dict[str, Any]:
    """Everything the core remembers, copied; the tools it was given are not state of its own."""
    given = {"searcher", "scheduler", "stopper", "suggestions", "rules"}
    own = {name: value for name, value in vars(experiment).items() if name not in given}
    parts = {name: vars(own.pop(name)) for name in ("_residents", "_lineage")}
    return copy.deepcopy({**own, **parts})


@pytest.mark.parametrize(("status", "trigger"), ILLEGAL, ids=[f"{s}-{t}" for s, t in ILLEGAL])
def test_illegal_pair_raises_and_changes_nothing(make: Any, status: TrialStatus, trigger: str) -> None:
    experiment = bring(make, status)
    history = experiment.trials[SUBJECT].history
    before = state(experiment)

    def cause(event: Event | None) -> None:
        if event is None:
            experiment._move(experiment.trials[SUBJECT], trigger, 9.0, [])
        else:
            experiment.handle(event)

    for event in EVENTS.get(trigger, [None]):  # type: ignore[list-item]
        with pytest.raises(IllegalEventError) as caught:
            cause(event)
        text = str(caught.value)
        assert f"can't handle {trigger!r} when trial {SUBJECT} is {status}" in text
        assert f"History: {' > '.join(history) or 'none'}." in text
        assert all(legal in text for legal in TRANSITIONS[status])
        assert str(pickle.loads(pickle.dumps(caught.value))) == text
        assert state(experiment) == before


@pytest.mark.parametrize(("status", "trigger", "after"), LEGAL_EVENTS, ids=[f"{s}-{t}" for s, t, _ in LEGAL_EVENTS])
def test_legal_event_leads_where_the_table_says(
    make: Any, status: TrialStatus, trigger: str, after: TrialStatus
) -> None:
    for event in EVENTS[trigger]:
        experiment = bring(make, status)
        if isinstance(event, WorkerLost) and status is S.STOPPING:
            after = S.TERMINATED  # it was told to end, and has ended
        experiment.handle(event)
        assert experiment.trials[SUBJECT].status is after


def test_table_is_closed_and_every_status_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(S)
    found, grown = {S.PENDING}, True
    while grown:
        more = {after for status in found for after in TRANSITIONS[status].values()}
        grown = not more <= found
        found |= more
    assert found == set(S)
    for status in S:
        if status.finished:
            assert all(after.finished for after in TRANSITIONS[status].values())


def test_unknown_trial_and_unknown_event(make: Any) -> None:
    experiment = make(1)
    with pytest.raises(IllegalEventError, match=r"there is no trial '00007' \(no trials yet\)"):
        experiment.handle(TrialFinished(0.0, "00007"))
    experiment.handle(SlotsChanged(0.0, 1))
    for event in (
        TrialErrored(0.0, "00007", ErrorInfo("ValueError", "no")),
        ResultsReported.dummy("00007"),
        TrialPaused(0.0, "00007", True),
    ):
        before = state(experiment)
        with pytest.raises(IllegalEventError, match=r"there is no trial '00007' \(1 trials\)"):
            experiment.handle(event)
        assert state(experiment) == before
    with pytest.raises(IllegalEventError, match="is not an event of an experiment"):
        experiment.handle(StartTrial("00000", {}, experiment.trials["00000"].lease))


def test_history_stays_short(make: Any) -> None:
    experiment = make(1)
    experiment.replay([SlotsChanged(0.0, 1), TrialStarted.dummy()])
    for iteration in range(1, 100):
        experiment.handle(ResultsReported.dummy(iteration=iteration))
    assert len(experiment.trials[SUBJECT].history) <= 24
    experiment.handle(TrialFinished(1.0, SUBJECT))
    assert len(experiment.trials[SUBJECT].history) <= 4


def test_no_results_are_no_event() -> None:
    with pytest.raises(ValueError, match="at least one result"):
        ResultsReported(0.0, SUBJECT, ())


def test_tick_does_nothing(make: Any) -> None:
    experiment = make(2)
    experiment.replay([SlotsChanged(0.0, 1), TrialStarted.dummy()])
    before = state(experiment)
    assert experiment.handle(Tick(1.0)) == []
    assert state(experiment) == before
