"""What the core does about trials: lists of commands compared, and whole runs driven in memory."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest
from core_driver import Driver, ListSearcher, Workers

from tune_plugins.core.ends import EndCause, ErrorInfo
from tune_plugins.core.events import (
    CheckpointSaved,
    DeleteCheckpoint,
    ExploitTrial,
    Finish,
    GrantLease,
    PauseTrial,
    RecordDecision,
    RecordExploit,
    RecordStatus,
    RecordTrial,
    ResultsReported,
    SlotsChanged,
    StartTrial,
    StopRequested,
    StopTrial,
    Tick,
    TrialErrored,
    TrialFinished,
    TrialPaused,
    TrialStarted,
    WorkerLost,
)
from tune_plugins.core.experiment import Rules
from tune_plugins.core.lineage import Lineage
from tune_plugins.core.retention import Retention
from tune_plugins.core.trial import FREE, CheckpointRecord, Lease, Milestone, Trial
from tune_plugins.errors import ArgumentError, IllegalEventError, TuneError
from tune_plugins.schedulers import Action, Decision, FIFOScheduler, TrialScheduler
from tune_plugins.search import Outcome, Searcher, Signal
from tune_plugins.stoppers import FunctionStopper, Stopper, split_stop
from tune_plugins.testing.experiment import SearchedExperiment

A, B = "00000", "00001"
SEED_A, SEED_B = 0, 7919


def curve(config: dict[str, Any], iteration: int) -> dict[str, Any]:
    return {"loss": config.get("x", 0) + 1 / iteration}


def checkpoint(iteration: int, score: float | None = None, trial: str = A) -> CheckpointRecord:
    return CheckpointRecord(
        f"checkpoint_{iteration:06d}", iteration, f"/x/checkpoint_{iteration:06d}", score, trial_id=trial
    )


def saved(iteration: int, trial: str = A, score: float | None = None) -> CheckpointSaved:
    return CheckpointSaved(0.0, trial, checkpoint(iteration, score, trial))


def started(make: Any, **rules: Any) -> Any:
    """One running trial, no other to come."""
    experiment = make([{"x": 1}], trial_limit=1, **rules)
    experiment.replay([SlotsChanged(0.0, 1), TrialStarted.dummy(A)])
    return experiment


class Asked(TrialScheduler):
    """Answers from a script of (trial, iteration) -> decision; resumes those in `wake` (in that order) first."""

    needs_metric = False

    def __init__(self, script: Mapping[tuple[str, int], Decision | str] | None = None, wake: list[str] | None = None):
        super().__init__()
        self.script, self.wake = script or {}, wake or []
        self.seen: list[tuple[str, int]] = []
        self.ended: list[tuple[str, bool]] = []

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision | str:
        self.seen.append((trial.id, result["training_iteration"]))
        return self.script.get(self.seen[-1], Action.CONTINUE)

    def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None) -> None:
        self.ended.append((trial.id, True))

    def on_trial_error(self, trial: Trial) -> None:
        self.ended.append((trial.id, False))

    def choose_trial_to_run(self, pending: Mapping[str, Trial], paused: Mapping[str, Trial]) -> Trial | None:
        for trial_id in self.wake:
            if trial_id in paused:
                return paused[trial_id]
        return super().choose_trial_to_run(pending, paused)


# ------------------------------------------------------------------------------------------ start to end


def test_one_trial_command_by_command(make: Any) -> None:
    experiment = make([{"x": 1}, {"x": 2}], seed=0)
    handle = experiment.handle
    assert handle(SlotsChanged(10.0, 1)) == [
        RecordTrial(A, 0, {"x": 1}, SEED_A, 10.0),
        StartTrial(A, {"x": 1}, FREE, None, 0, 0, SEED_A),
    ]
    assert handle(TrialStarted(11.0, A)) == [RecordStatus(A, "RUNNING", "", 11.0)]
    assert handle(ResultsReported.dummy(A, 1, loss=0.5)) == []
    assert handle(saved(1)) == []
    assert handle(TrialFinished(12.0, A)) == [
        RecordStatus(A, "TERMINATED", "the trial function returned", 12.0, EndCause.FINISHED),
        RecordTrial(B, 1, {"x": 2}, SEED_B, 12.0),
        StartTrial(B, {"x": 2}, FREE, None, 0, 0, SEED_B),
    ]
    assert handle(TrialStarted(13.0, B)) == [RecordStatus(B, "RUNNING", "", 13.0)]
    assert handle(TrialFinished(14.0, B)) == [
        RecordStatus(B, "TERMINATED", "the trial function returned", 14.0, EndCause.FINISHED),
        Finish("", ""),
    ]
    trial = experiment.trials[A]
    assert (trial.started_at, trial.ended_at, trial.iteration, trial.results_count) == (11.0, 12.0, 1, 1)


def test_slots_are_filled_and_no_more(make: Any) -> None:
    experiment = make(5)
    assert experiment.handle(SlotsChanged(0.0, 0)) == []
    starts = [c.trial_id for c in experiment.handle(SlotsChanged(0.0, 3)) if isinstance(c, StartTrial)]
    assert starts == ["00000", "00001", "00002"]
    assert experiment.handle(SlotsChanged(0.0, 1)) == []
    experiment.handle(TrialStarted.dummy(A))
    assert [type(c) for c in experiment.handle(TrialFinished(0.0, A))] == [RecordStatus]


def test_trial_limit_ends_an_endless_searcher(make: Any) -> None:
    driver = Driver(make(100, trial_limit=3), Workers(curve, 2)).run()
    assert driver.statuses() == ["TERMINATED"] * 3
    assert driver.experiment.searcher.asked == [0, 1, 2]


def test_nothing_to_try_finishes_at_once(make: Any) -> None:
    assert make(0).handle(SlotsChanged(0.0, 2)) == [Finish("", "")]


def test_after_the_finish_there_is_none_again(make: Any) -> None:
    experiment = Driver(make(1), Workers(curve, 2)).run().experiment
    events = [Tick(99.0), StopRequested(99.0, "late"), SlotsChanged(99.0, 5), saved(2)]
    assert experiment.replay(events) == []
    assert experiment.stop_reason == ""


def test_seed_of_a_trial_depends_on_run_seed_and_index_alone(make: Any) -> None:
    def seeds(seed: int, slots: int) -> list[int]:
        driver = Driver(make(6, seed=seed), Workers(curve, 2), slots).run()
        return [t.seed for t in driver.experiment.trials.values()]

    assert seeds(3, 1) == seeds(3, 4)
    assert len({*seeds(3, 1), *seeds(4, 1)}) == 12


# ------------------------------------------------------------------------------------------ leases


def test_fifo_never_waits(make: Any) -> None:
    driver = Driver(make(4, FIFOScheduler(), metric="loss", mode="min"), Workers(curve, 7)).run()
    assert {c.lease for c in driver.of(StartTrial)} == {Lease()}
    assert driver.workers.waits == [] and driver.of(GrantLease) == [] and driver.decisions() == []
    assert [t.iteration for t in driver.experiment.trials.values()] == [7] * 4
    assert len(driver.finishes()) == 1


class OnlyResults(TrialScheduler):
    needs_metric = False

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> str:
        return self.STOP if result["loss"] < 0.3 else self.CONTINUE


def test_scheduler_with_on_trial_result_alone_is_asked_at_each_report(make: Any) -> None:
    driver = Driver(make(2, OnlyResults()), Workers(curve, 10), slots=1).run()
    assert driver.workers.waits == [(trial, i) for trial in (A, B) for i in (1, 2, 3, 4)]
    assert [c.lease.milestone for c in driver.of(GrantLease)] == [
        Milestone("training_iteration", i) for i in (2, 3, 4)
    ] * 2
    assert driver.of(StopTrial) == [StopTrial(trial, "stopped by OnlyResults", EndCause.SCHEDULER) for trial in (A, B)]


def test_results_are_shown_at_the_milestone_and_at_the_end_only(make: Any) -> None:
    class EveryThird(Asked):
        def next_milestone(self, trial: Trial) -> Milestone:
            return Milestone("training_iteration", trial.iteration + 3)

    scheduler = EveryThird()
    searcher = ListSearcher([{}], reads_results=True)
    experiment = make(searcher, scheduler)
    experiment.replay([SlotsChanged(0.0, 1), TrialStarted.dummy(A)])
    experiment.handle(ResultsReported.dummy(A, 1))
    experiment.handle(ResultsReported.dummy(A, 2))
    assert scheduler.seen == []
    assert experiment.handle(ResultsReported.dummy(A, 3, waiting=True)) == [
        GrantLease(A, Lease(Milestone("training_iteration", 6)))
    ]
    assert scheduler.seen == [(A, 1), (A, 2), (A, 3)]
    experiment.handle(ResultsReported.dummy(A, 4))
    experiment.handle(TrialFinished(0.0, A))
    assert scheduler.seen == [(A, 1), (A, 2), (A, 3), (A, 4)]
    assert searcher.calls == [*(("result", A, i) for i in (1, 2, 3, 4)), ("complete", A, False)]


@pytest.mark.parametrize("batch", [1, 2, 5, 50])
def test_size_of_batches_cannot_alter_a_decision(make: Any, batch: int) -> None:
    from tune_plugins.schedulers import ASHAScheduler

    def decisions(batch: int) -> list[RecordDecision]:
        configs = [{"x": (i * 7) % 12, "seconds": 1 + i % 3} for i in range(12)]
        experiment = make(configs, ASHAScheduler(max_t=27, reduction_factor=3), metric="loss", mode="min")
        return Driver(experiment, Workers(curve, 30, batch=batch)).run().decisions()

    assert decisions(batch) == decisions(3)


def test_decision_is_recorded_with_its_reason_before_the_verdict(make: Any) -> None:
    reason = "stopped at rung 9: 0.412 worse than the cut 0.398, rank 7 of 18"
    experiment = make(1, Asked({(A, 1): Decision(Action.STOP, reason)}))
    experiment.replay([SlotsChanged(0.0, 1), TrialStarted.dummy(A)])
    assert experiment.handle(ResultsReported.dummy(A, 1, waiting=True, time=5.0)) == [
        RecordDecision(A, 1, "STOP", reason, 5.0),
        RecordStatus(A, "STOPPING", reason, 5.0),
        StopTrial(A, reason, EndCause.SCHEDULER),
    ]
    # What user code still reports on its way to the end is kept, and asks for no verdict.
    assert experiment.handle(ResultsReported.dummy(A, 2, waiting=True)) == []
    assert experiment.handle(TrialFinished(7.0, A, "the trial function returned"))[0] == RecordStatus(
        A, "TERMINATED", reason, 7.0, EndCause.SCHEDULER
    )


@pytest.mark.parametrize("wrong", ["stop", None, 3])
def test_wrong_action_is_an_error(make: Any, wrong: Any) -> None:
    experiment = make(1, Asked({(A, 1): wrong}))
    experiment.replay([SlotsChanged(0.0, 1), TrialStarted.dummy(A)])
    with pytest.raises(
        TuneError, match=r"Asked.on_trial_result\(\) returned .*expected a Decision, or one of CONTINUE"
    ):
        experiment.handle(ResultsReported.dummy(A, 1, waiting=True))


# ------------------------------------------------------------------------------------------ metric


def test_unknown_metric_names_those_there_are(make: Any) -> None:
    experiment = started(make, metric="eval/acc", mode="max")
    experiment.handle(ResultsReported.dummy(A, 1, eval={"loss": 1.0}))
    with pytest.raises(ArgumentError, match=r"'eval/acc'; trial 00000 reported: .*eval/loss, .*training_iteration"):
        experiment.handle(TrialFinished(5.0, A))


def test_a_slip_of_the_pen_is_told_at_once(make: Any) -> None:
    experiment = started(make, metric="eval/los", mode="max")
    with pytest.raises(ArgumentError, match=r"trial 00000 reported: .*eval/loss.*Did you mean 'eval/loss'"):
        experiment.handle(ResultsReported.dummy(A, 1, eval={"loss": 1.0}))
    assert experiment.trials[A].results_count == 0


def test_the_metric_may_come_last(make: Any) -> None:
    experiment = started(make, metric="final", mode="max")
    experiment.handle(ResultsReported.dummy(A, 1, loss=1.0))
    experiment.handle(ResultsReported.dummy(A, 1, loss=1.0, final=2.0))
    experiment.handle(TrialFinished(5.0, A))
    assert experiment.trials[A].last_result["final"] == 2.0


def test_a_trial_that_was_stopped_is_no_evidence(make: Any) -> None:
    experiment = started(make, metric="final", mode="max")
    experiment.handle(ResultsReported.dummy(A, 1, loss=1.0))
    experiment.handle(TrialFinished(5.0, A, "stopped", EndCause.SCHEDULER))
    assert experiment.trials[A].status == "TERMINATED"


def test_a_metric_that_is_none_in_all_results_is_told_at_the_end(make: Any) -> None:
    experiment = started(make, metric="loss", mode="min")
    experiment.handle(ResultsReported.dummy(A, 1, loss=None))
    experiment.handle(TrialFinished(5.0, A))
    assert experiment.trials[A].reason == "the trial function returned; loss is None in all of its results"


def test_metric_may_be_missing_later_and_be_nested(make: Any) -> None:
    experiment = started(make, metric="eval/loss", mode="min")
    experiment.handle(ResultsReported.dummy(A, 1, eval={"loss": 1.0}))
    experiment.handle(ResultsReported.dummy(A, 2))
    assert experiment.trials[A].results_count == 2


# ------------------------------------------------------------------------------------------ failures


def test_retry_from_the_newest_checkpoint(make: Any) -> None:
    experiment = started(make, max_failures=1)
    experiment.replay([ResultsReported.dummy(A, 4), saved(4), ResultsReported.dummy(A, 6)])
    reason = "to be tried again from iteration 4: ValueError: no"
    error = ErrorInfo("ValueError", "no", "Traceback ...")
    assert experiment.handle(TrialErrored(5.0, A, error)) == [
        RecordStatus(A, "PENDING", reason, 5.0, error=error),
        RecordDecision(A, 6, "RETRY", "tried again from iteration 4, attempt 2: ValueError: no", 5.0),
        StartTrial(A, {"x": 1}, FREE, checkpoint(4), 4, 1, SEED_A),
    ]
    assert experiment.trials[A].iteration == 4
    experiment.handle(TrialStarted.dummy(A))
    again = ErrorInfo("ValueError", "again")
    assert experiment.handle(TrialErrored(6.0, A, again)) == [
        RecordStatus(A, "ERROR", "failed after 2 attempts: ValueError: again", 6.0, EndCause.FAILED, again),
        Finish("", ""),
    ]


def test_results_nobody_saw_are_dropped_after_the_checkpoint_only(make: Any) -> None:
    class Late(Asked):
        def next_milestone(self, trial: Trial) -> Milestone:
            return Milestone("training_iteration", 5)

    scheduler = Late()
    driver = Driver(make(1, scheduler, max_failures=1), Workers(curve, 5, save_every=2, batch=1))
    driver.run({(A, 3): "lost"})
    assert scheduler.seen == [(A, i) for i in (1, 2, 3, 4, 5)]
    assert driver.workers.iterations_run[A] == 6


@pytest.mark.parametrize(("max_failures", "attempts"), [(0, 1), (1, 2), (3, 4)])
def test_max_failures(make: Any, max_failures: int, attempts: int) -> None:
    experiment = started(make, max_failures=max_failures)
    for attempt in range(1, 10):
        commands = experiment.handle(TrialErrored(0.0, A, ErrorInfo("ValueError", "no")))
        if experiment.finished:
            break
        assert [c.attempt for c in commands if isinstance(c, StartTrial)] == [attempt]
    assert attempt == attempts == experiment.trials[A].failures
    times = "" if attempts == 1 else f" after {attempts} attempts"
    assert experiment.trials[A].reason == f"failed{times}: ValueError: no"


def test_retry_of_lost_processes_only(make: Any) -> None:
    experiment = started(make, max_failures=2, retry="lost")
    commands = experiment.handle(WorkerLost(0.0, A, ErrorInfo("WorkerLostError", "gone")))
    assert [c.attempt for c in commands if isinstance(c, StartTrial)] == [1]
    experiment.handle(TrialErrored(0.0, A, ErrorInfo("ValueError", "no")))
    assert experiment.finished and experiment.trials[A].cause is EndCause.FAILED


def test_unlimited_failures_and_preemptions(make: Any) -> None:
    experiment = started(make, max_failures=-1)
    for _ in range(30):
        experiment.handle(WorkerLost(0.0, A, ErrorInfo("WorkerLostError", "gone")))
    assert (experiment.trials[A].failures, experiment.finished) == (30, False)

    experiment = started(make, max_failures=0)
    for _ in range(5):
        experiment.handle(WorkerLost(0.0, A, ErrorInfo("WorkerLostError", "node lost"), preempted=True))
    assert (experiment.trials[A].failures, experiment.trials[A].attempt, experiment.finished) == (0, 5, False)
    experiment.handle(WorkerLost(0.0, A, ErrorInfo("WorkerLostError", "killed")))
    assert experiment.trials[A].status == "ERROR"


def test_fatal_error_is_not_tried_again(make: Any) -> None:
    experiment = started(make, max_failures=-1)
    experiment.handle(TrialErrored(0.0, A, ErrorInfo("ImportError", "no module"), fatal=True))
    assert (experiment.trials[A].status, experiment.finished) == ("ERROR", True)


def test_lost_while_stopping_has_ended(make: Any) -> None:
    experiment = started(make, max_failures=3)
    experiment.handle(StopRequested(1.0, "interrupted"))
    assert experiment.handle(WorkerLost(2.0, A, ErrorInfo("WorkerLostError", "killed"))) == [
        RecordStatus(A, "TERMINATED", "interrupted", 2.0, EndCause.USER),
        Finish("", "interrupted"),
    ]


def test_error_while_stopping_is_an_error_and_not_tried_again(make: Any) -> None:
    experiment = started(make, max_failures=3)
    experiment.replay([StopRequested(1.0, "interrupted"), TrialErrored(2.0, A, ErrorInfo("ValueError", "no"))])
    assert experiment.trials[A].status == "ERROR" and experiment.finished


def test_fail_fast_stops_the_others(make: Any) -> None:
    experiment = make(3, fail_fast=True)
    experiment.replay([SlotsChanged(0.0, 2), TrialStarted.dummy(A), TrialStarted.dummy(B)])
    why = "trial 00000 failed and fail_fast is set"
    assert experiment.handle(TrialErrored(1.0, A, ErrorInfo("ValueError", "no")))[1:] == [
        RecordStatus(B, "STOPPING", why, 1.0),
        StopTrial(B, why, EndCause.FAIL_FAST, now=True),
    ]
    assert experiment.handle(TrialFinished(2.0, B))[-1] == Finish("", why)
    assert len(experiment.trials) == 2


def test_schedulers_and_searchers_hear_once_of_each_end(make: Any) -> None:
    scheduler, searcher = Asked({(B, 2): Action.STOP}), ListSearcher([{}, {}, {}])
    Driver(make(searcher, scheduler, max_failures=1), Workers(curve, 3)).run({(A, 1): "failed", ("00002", 1): "fatal"})
    assert sorted(scheduler.ended) == [(A, True), (B, True), ("00002", False)]
    assert sorted(searcher.calls) == [("complete", A, False), ("complete", B, False), ("complete", "00002", True)]


# ------------------------------------------------------------------------------------------ after the end


def test_checkpoint_may_come_after_the_end(make: Any) -> None:
    experiment = started(make)
    experiment.handle(TrialFinished(1.0, A))
    assert experiment.handle(saved(9)) == []
    assert experiment.trials[A].newest_checkpoint == checkpoint(9)


def test_failing_last_checkpoint_makes_a_trial_an_error(make: Any) -> None:
    experiment = started(make, max_failures=3)
    experiment.handle(TrialFinished(1.0, A))
    reason = "its last checkpoint could not be saved: OSError: disk full"
    error = ErrorInfo("OSError", "disk full", "Traceback ...")
    assert experiment.handle(TrialErrored(2.0, A, error, fatal=True)) == [
        RecordStatus(A, "ERROR", reason, 2.0, EndCause.SAVE_FAILED, error)
    ]
    # A second one in flight fails as well: the first error stands.
    assert experiment.handle(TrialErrored(3.0, A, ErrorInfo("OSError", "another"), fatal=True)) == []
    assert (experiment.trials[A].cause, experiment.trials[A].reason) == (EndCause.SAVE_FAILED, reason)


def test_long_errors_are_in_the_record_and_not_in_the_trial(make: Any) -> None:
    experiment = started(make)
    error = ErrorInfo("ValueError", "long " * 1000, "Traceback " * 1000)
    (status,) = [c for c in experiment.handle(TrialErrored(1.0, A, error)) if isinstance(c, RecordStatus)]
    assert status.error == error
    assert len(status.reason) > 300
    assert status.reason.startswith(experiment.trials[A].reason.removesuffix("..."))
    assert len(experiment.trials[A].reason) <= 120


# ------------------------------------------------------------------------------------------ stopping


def test_stop_requested(make: Any) -> None:
    experiment = make(9)
    experiment.replay([SlotsChanged(0.0, 2), TrialStarted.dummy(A)])
    assert experiment.handle(StopRequested(1.0, "interrupted by Ctrl-C")) == [
        RecordStatus(A, "STOPPING", "interrupted by Ctrl-C", 1.0),
        StopTrial(A, "interrupted by Ctrl-C", EndCause.USER, now=True),
        RecordStatus(B, "STOPPING", "interrupted by Ctrl-C", 1.0),
        StopTrial(B, "interrupted by Ctrl-C", EndCause.USER, now=True),
    ]
    assert experiment.handle(StopRequested(2.0, "again")) == []
    assert experiment.handle(TrialFinished(2.0, A, "too late to matter"))[0].reason == "interrupted by Ctrl-C"
    assert experiment.handle(TrialFinished(3.0, B))[-1] == Finish("", "interrupted by Ctrl-C")


def test_stop_drops_what_waits_for_a_slot(make: Any) -> None:
    experiment = started(make, max_failures=1)
    experiment.replay([SlotsChanged(0.0, 0), WorkerLost(0.0, A, ErrorInfo("WorkerLostError", "gone"))])
    assert experiment.trials[A].status == "PENDING"
    assert experiment.handle(StopRequested(1.0, "enough")) == [
        RecordStatus(A, "TERMINATED", "enough", 1.0, EndCause.USER),
        Finish("", "enough"),
    ]


def test_a_stop_for_all_has_its_cause(make: Any) -> None:
    experiment = make(2)
    experiment.replay([SlotsChanged(100.0, 1), TrialStarted(101.0, A)])
    why = "the time budget of 30 s is used up"
    assert experiment.handle(StopRequested(130.0, why, EndCause.TIME_BUDGET))[-2:] == [
        RecordStatus(A, "STOPPING", why, 130.0),
        StopTrial(A, why, EndCause.TIME_BUDGET, now=True),
    ]


def test_a_stop_without_any_slot(make: Any) -> None:
    experiment = make(2)
    assert experiment.handle(SlotsChanged(0.0, 0)) == []
    assert experiment.handle(StopRequested(30.0, "late")) == [Finish("", "late")]


def test_stopper_sees_each_report_and_says_why(make: Any) -> None:
    stopper = FunctionStopper(lambda trial_id, result: result["loss"] < 0.3)
    driver = Driver(make(2, FIFOScheduler(), stopper), Workers(curve, 10), slots=1).run()
    assert driver.workers.waits == [(trial, i) for trial in (A, B) for i in (1, 2, 3, 4)]
    assert [(c.trial_id, c.iteration, c.action, c.reason) for c in driver.decisions()] == [
        (A, 4, "STOP", "stopped by FunctionStopper: <lambda>(trial_id, result) is true"),
        (B, 4, "STOP", "stopped by FunctionStopper: <lambda>(trial_id, result) is true"),
    ]


def test_scheduler_decides_at_its_own_milestones_beside_a_stopper(make: Any) -> None:
    class StopAnywhere(TrialScheduler):
        needs_metric = False

        def next_milestone(self, trial: Trial) -> Milestone:
            return Milestone("training_iteration", 6)

        def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision:
            return Decision(Action.STOP, "the scheduler says so")

    driver = Driver(make(1, StopAnywhere(), FunctionStopper(lambda *_: False)), Workers(curve, 10)).run()
    assert [c.iteration for c in driver.decisions()] == [6]
    assert len(driver.workers.waits) == 6


class Total(Stopper):
    """Ends the experiment after so many results."""

    def __init__(self, most: int) -> None:
        self.left = most

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.left -= 1
        return False

    def stop_all(self) -> bool:
        return self.left <= 0


def test_stopper_ends_the_experiment(make: Any) -> None:
    driver = Driver(make(50, FIFOScheduler(), Total(7)), Workers(curve, 3)).run()
    assert driver.finishes() == [Finish("", "ended by Total")]
    assert len(driver.experiment.trials) < 5


def test_stopper_sees_the_result_at_which_a_trial_ended_by_itself(make: Any) -> None:
    class EndsAtTwo(FIFOScheduler):
        def next_milestone(self, trial: Trial) -> Any:
            return Lease(end=Milestone("training_iteration", 2))

    driver = Driver(make(50, EndsAtTwo(), Total(6)), Workers(curve, 9), slots=1).run()
    assert driver.statuses() == ["TERMINATED"] * 3


def test_split_stop() -> None:
    assert split_stop(None) == ({}, None)
    assert split_stop({"loss": 1, "training_iteration": 9}) == ({"loss": 1.0, "training_iteration": 9.0}, None)
    total = Total(1)
    assert split_stop(total) == ({}, total)
    thresholds, stopper = split_stop(lambda trial_id, result: result["loss"] > 1)
    assert thresholds == {} and stopper is not None
    assert stopper("a", {"loss": 2}) is True and stopper("a", {"loss": 0}) is False and not stopper.stop_all()
    assert not Stopper()("a", {})


# ------------------------------------------------------------------------------------------ searchers


class Moody(ListSearcher):
    """At most `most` trials at a time."""

    def __init__(self, configs: Any, most: int) -> None:
        super().__init__(configs)
        self.most, self.live = most, 0

    def suggest(self, trial_id: str, index: int) -> Any:
        if index < len(self.configs) and self.live >= self.most:
            return Signal.NOT_READY
        self.live += 1
        return super().suggest(trial_id, index)

    def on_trial_complete(self, trial_id: str, result: Any, outcome: Outcome = Outcome.COMPLETED) -> None:
        self.live -= 1


def test_searcher_that_is_not_ready_is_asked_again(make: Any) -> None:
    experiment = make(Moody([{}] * 5, most=1))
    starts = [c for c in experiment.handle(SlotsChanged(0.0, 3)) if isinstance(c, StartTrial)]
    assert len(starts) == 1
    experiment = make(Moody([{}] * 5, most=1))
    assert Driver(experiment, Workers(curve, 2), slots=3).run().statuses() == ["TERMINATED"] * 5


def test_searcher_never_ready_is_an_error_and_no_hang(make: Any) -> None:
    with pytest.raises(TuneError, match="Moody is not ready to suggest trial 0, and no trial is running"):
        make(Moody([{}], most=0)).handle(SlotsChanged(0.0, 1))


def test_searcher_that_raises(make: Any) -> None:
    class Broken(ListSearcher):
        def suggest(self, trial_id: str, index: int) -> Any:
            raise RuntimeError("no model yet")

    experiment = make(Broken([]))
    with pytest.raises(TuneError, match=r"^RuntimeError in Broken\.suggest, trial 00000: no model yet\.$"):
        experiment.handle(SlotsChanged(0.0, 1))
    assert experiment.trials == {}


@pytest.mark.parametrize("wrong", [(), "lr=3", 3])
def test_searcher_that_suggests_no_dict(make: Any, wrong: Any) -> None:
    class Wrong(ListSearcher):
        def suggest(self, trial_id: str, index: int) -> Any:
            return wrong

    with pytest.raises(TuneError, match=r"Wrong.suggest\(\) returned .* for trial 0: expected a dict .*NOT_READY"):
        make(Wrong([])).handle(SlotsChanged(0.0, 1))


def test_recorded_suggestions_are_told_and_not_asked_for(make: Any) -> None:
    searcher = ListSearcher([{"x": 1}, {"x": 2}, {"x": 3}])
    experiment = make(searcher, suggestions={0: {"x": 10}, 1: {"x": 20}})
    driver = Driver(experiment, Workers(curve, 2)).run()
    assert [t.config for t in driver.experiment.trials.values()] == [{"x": 10}, {"x": 20}, {"x": 3}]
    assert searcher.asked == [2, 3]
    assert searcher.calls[:2] == [("suggested", A, {"x": 10}), ("suggested", B, {"x": 20})]


# ------------------------------------------------------------------------------------------ retention


def delete_ids(commands: list[Any]) -> list[str]:
    return [c.checkpoint.id for c in commands if isinstance(c, DeleteCheckpoint)]


def test_all_checkpoints_are_kept_without_a_limit(make: Any) -> None:
    experiment = started(make)
    assert experiment.replay([saved(i) for i in range(1, 9)]) == []
    assert len(experiment.trials[A].checkpoints) == 8


def test_newest_checkpoints_are_kept(make: Any) -> None:
    experiment = started(make, num_to_keep=2)
    assert [delete_ids(experiment.handle(saved(i))) for i in (1, 2, 3, 4)] == [
        [], [], ["checkpoint_000001"], ["checkpoint_000002"]
    ]  # fmt: skip
    assert experiment.trials[A].checkpoints == [checkpoint(3), checkpoint(4)]


@pytest.mark.parametrize(
    ("order", "keep", "scores", "left"),
    [
        ("max", 1, [0.5, 0.9, 0.1], [2, 3]),  # the best, and always the newest
        ("max", 1, [0.5, 0.1, 0.9], [3]),
        ("min", 1, [0.5, 0.1, 0.9], [2, 3]),
        ("min", 2, [0.5, 0.1, 0.9, 0.2], [2, 4]),
        ("max", 2, [None, 0.1, None, 0.2], [2, 4]),  # no score is worse than any
        ("max", 1, [0.5, 0.5, 0.1], [2, 3]),  # of equal ones the later
    ],
)
def test_best_checkpoints_are_kept(make: Any, order: str, keep: int, scores: list[Any], left: list[int]) -> None:
    experiment = started(make, num_to_keep=keep, score_attribute="acc", score_order=order)
    commands = experiment.replay([saved(i, score=score) for i, score in enumerate(scores, 1)])
    assert [c.iteration for c in experiment.trials[A].checkpoints] == left
    assert sorted(delete_ids(commands)) == [f"checkpoint_{i:06d}" for i in range(1, len(scores) + 1) if i not in left]


def test_pins_delay_deletion(make: Any) -> None:
    experiment = started(make, num_to_keep=1)
    experiment.handle(saved(1))
    experiment._lineage.retention.pin(checkpoint(1))
    experiment._lineage.retention.pin(checkpoint(1))
    assert experiment.handle(saved(2)) == []
    assert experiment._lineage.retention.unpin(checkpoint(1)) == []
    assert experiment._lineage.retention.unpin(checkpoint(1)) == [DeleteCheckpoint(A, checkpoint(1))]
    experiment._lineage.retention.pin(checkpoint(2))
    assert experiment._lineage.retention.unpin(checkpoint(2)) == []


# ------------------------------------------------------------------------------------------ pause, resume


def pausing(make: Any, wake: list[str] | None = None, **rules: Any) -> Any:
    """Two running trials, the first of which stands at a report where it is paused."""
    experiment = make(2, Asked({(A, 1): Decision(Action.PAUSE, "waits for others")}, wake), trial_limit=2, **rules)
    experiment.replay([SlotsChanged(0.0, 2), TrialStarted.dummy(A), TrialStarted.dummy(B)])
    return experiment


PAUSE = ResultsReported.dummy(A, 1, waiting=True)
NEXT = Lease(Milestone("training_iteration", 2))


def test_pause_in_memory_and_wake(make: Any) -> None:
    experiment = pausing(make)
    assert experiment.handle(PAUSE) == [
        RecordDecision(A, 1, "PAUSE", "waits for others", 0.0),
        RecordStatus(A, "PAUSED", "waits for others", 0.0),
        PauseTrial(A, evict=False),
    ]
    experiment.handle(TrialPaused(1.0, A, resident=True))
    assert experiment.trials[A].resident
    experiment.scheduler.wake.append(A)
    assert experiment.handle(Tick(2.0)) == [
        RecordStatus(A, "RUNNING", "waits for others", 2.0),
        GrantLease(A, NEXT),
    ]
    assert not experiment.trials[A].resident


def test_woken_before_it_could_say_that_it_has_paused(make: Any) -> None:
    experiment = pausing(make, wake=[A])
    assert [type(c) for c in experiment.handle(PAUSE)][-3:] == [PauseTrial, RecordStatus, GrantLease]
    assert experiment.handle(TrialPaused(1.0, A, resident=True)) == []
    assert (experiment.trials[A].status, experiment.trials[A].resident) == ("RUNNING", False)


def test_evicted_trial_goes_on_from_its_checkpoint_and_not_before_it_has_left(make: Any) -> None:
    experiment = pausing(make, wake=[A], max_resident_trials=0)
    assert experiment.handle(PAUSE)[-1] == PauseTrial(A, evict=True)
    assert experiment.handle(saved(1)) == []
    assert experiment.handle(TrialPaused(1.0, A, resident=False)) == [
        StartTrial(A, {}, NEXT, checkpoint(1), 1, 0, SEED_A)
    ]


def test_trial_that_cannot_be_evicted_stays(make: Any) -> None:
    experiment = pausing(make, wake=[A], max_resident_trials=0)
    experiment.handle(PAUSE)
    assert experiment.handle(TrialPaused(1.0, A, resident=True))[-1] == GrantLease(A, NEXT)


@pytest.mark.parametrize("limit", [0, 1])
def test_one_that_cannot_be_evicted_and_has_to_wait_ends_the_run_with_the_ways_out(make: Any, limit: int) -> None:
    experiment = make(3, PausesAll(), max_resident_trials=limit)
    first, second = A, B
    experiment.replay([SlotsChanged(0.0, 2), TrialStarted.dummy(first), TrialStarted.dummy(second)])
    if limit:
        experiment.handle(PAUSE)
        experiment.handle(TrialPaused(1.0, first, resident=True))
    paused = second if limit else first
    assert PauseTrial(paused, evict=True) in experiment.handle(ResultsReported.dummy(paused, 1, waiting=True))
    with pytest.raises(TuneError) as caught:
        experiment.handle(TrialPaused(2.0, paused, resident=True))
    for said in (
        f"The scheduler pauses trial {paused}, and it has no checkpoint of iteration 1 to go on from later",
        f"At most {limit} paused trials may wait in memory",
        "tune.report(..., checkpoint=...)",
        "TuneConfig(max_resident_trials=...)",
        "ASHAScheduler()",
    ):
        assert said in str(caught.value)
    experiment.handle(StopRequested(3.0, "ended by an error"))
    assert {t.status.value for t in experiment.trials.values()} <= {"STOPPING", "TERMINATED"}


def test_only_so_many_stay_in_memory(make: Any) -> None:
    script = {(f"{i:05d}", 1): Action.PAUSE for i in range(3)}
    experiment = make(4, Asked(script), max_resident_trials=2)
    experiment.handle(SlotsChanged(0.0, 4))
    pauses = []
    for i in range(4):
        experiment.handle(TrialStarted.dummy(f"{i:05d}"))
    for i in range(3):
        commands = experiment.handle(ResultsReported.dummy(f"{i:05d}", 1, waiting=True))
        pauses += [c.evict for c in commands if isinstance(c, PauseTrial)]
    assert pauses == [False, False, True]


def test_evicted_without_a_checkpoint_is_an_error(make: Any) -> None:
    experiment = pausing(make, wake=[A], max_resident_trials=0)
    experiment.handle(PAUSE)
    with pytest.raises(TuneError, match="evicted without a checkpoint"):
        experiment.handle(TrialPaused(1.0, A, resident=False))


def test_stop_while_a_pause_is_under_way(make: Any) -> None:
    for limit, resident in ((None, True), (0, True), (0, False)):
        experiment = pausing(make, max_resident_trials=limit)
        experiment.handle(PAUSE)
        assert StopTrial(A, "enough", EndCause.USER, now=True) in experiment.handle(StopRequested(1.0, "enough"))
        experiment.handle(TrialPaused(2.0, A, resident))
        assert experiment.trials[A].status == ("STOPPING" if resident else "TERMINATED")
        if resident:
            experiment.handle(TrialFinished(3.0, A))
        assert experiment.handle(TrialFinished(4.0, B))[-1] == Finish("", "enough")


def test_stop_ends_paused_trials(make: Any) -> None:
    experiment = pausing(make)
    experiment.replay([PAUSE, TrialPaused(1.0, A, resident=True)])
    assert StopTrial(A, "enough", EndCause.USER, now=True) in experiment.handle(StopRequested(1.0, "enough"))

    experiment = pausing(make, max_resident_trials=0)
    experiment.replay([PAUSE, saved(1), TrialPaused(1.0, A, resident=False)])
    assert RecordStatus(A, "TERMINATED", "enough", 1.0, EndCause.USER) in experiment.handle(
        StopRequested(1.0, "enough")
    )


def test_paused_trial_whose_process_dies_is_tried_again(make: Any) -> None:
    experiment = pausing(make)
    experiment.replay([PAUSE, TrialPaused(1.0, A, resident=True)])
    assert [
        type(c)
        for c in experiment.handle(WorkerLost(2.0, A, ErrorInfo("WorkerLostError", "node lost"), preempted=True))
    ] == [
        RecordStatus,
        RecordDecision,
        StartTrial,
    ]
    experiment = pausing(make)
    experiment.replay(
        [PAUSE, TrialPaused(1.0, A, resident=True), WorkerLost(2.0, A, ErrorInfo("WorkerLostError", "killed"))]
    )
    assert (experiment.trials[A].status, experiment.trials[A].resident) == ("ERROR", False)


@pytest.mark.parametrize("resident", [True, False])
def test_discarded_while_it_is_leaving(make: Any, resident: bool) -> None:
    class Discards(Asked):
        gone = False

        def discarded(self) -> list[tuple[Trial, str]]:
            paused = [] if self.gone else [t for t in experiment.trials.values() if t.status == "PAUSED"]
            self.gone = bool(paused)
            return [(t, "not among the best") for t in paused]

    experiment = make(2, Discards({(A, 1): Action.PAUSE}), max_resident_trials=0)
    experiment.replay([SlotsChanged(0.0, 2), TrialStarted.dummy(A), TrialStarted.dummy(B)])
    assert experiment.handle(PAUSE)[-1] == StopTrial(A, "not among the best", EndCause.SCHEDULER)
    experiment.handle(TrialPaused(1.0, A, resident))
    if resident:  # it could not leave, and hears that it is to stop
        experiment.handle(TrialFinished(2.0, A))
    assert (experiment.trials[A].status, experiment.trials[A].reason) == ("TERMINATED", "not among the best")


class PausesAll(Asked):
    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision:
        return Decision(Action.PAUSE, f"paused at {result['training_iteration']}")


@pytest.mark.parametrize("limit", [None, 0, 1])
@pytest.mark.parametrize("most", [99, 1], ids=["searcher complete", "searcher not ready"])
def test_scheduler_that_never_resumes_cannot_stall_the_experiment(make: Any, limit: int | None, most: int) -> None:
    experiment = make(Moody([{}] * 4, most), PausesAll(), max_resident_trials=limit)
    driver = Driver(experiment, Workers(curve, 5)).run()
    assert driver.statuses() == ["TERMINATED"] * 4
    assert {t.reason for t in driver.experiment.trials.values()} == {
        "paused at 1; paused, and its scheduler never resumed it"
    }
    assert len(driver.finishes()) == 1


def test_scheduler_that_never_starts_anything_cannot_stall_the_experiment(make: Any) -> None:
    class Lazy(Asked):
        def choose_trial_to_run(self, pending: Any, paused: Any) -> None:
            return None

    experiment = make(2, Lazy())
    experiment.handle(SlotsChanged(0.0, 1))
    commands = experiment.replay([Tick(1.0), Tick(2.0)])
    assert [c.reason for c in commands if isinstance(c, RecordStatus)] == ["its scheduler never started it"] * 2
    assert commands[-1] == Finish("", "")


def test_paused_trials_outlive_a_time_without_slots(make: Any) -> None:
    experiment = pausing(make)
    experiment.replay([PAUSE, TrialPaused(1.0, A, resident=True), SlotsChanged(1.0, 0), TrialFinished(2.0, B)])
    assert (experiment.trials[A].status, experiment.finished) == ("PAUSED", False)


def test_round_robin_of_more_trials_than_slots(make: Any) -> None:
    class Turns(Asked):
        def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Action:
            super().on_trial_result(trial, result)
            return Action.PAUSE

        def choose_trial_to_run(self, pending: Any, paused: Any) -> Trial | None:
            if len(self.seen) < 4 and pending:
                return next(iter(pending.values()))
            return next(iter(paused.values()), None) if len(self.seen) >= 4 else None

    for limit in (None, 0, 1):
        driver = Driver(make(4, Turns(), max_resident_trials=limit), Workers(curve, 3), slots=1).run()
        assert driver.statuses() == ["TERMINATED"] * 4
        assert [t.iteration for t in driver.experiment.trials.values()] == [3] * 4


# ------------------------------------------------------------------------------------------ exploit


def test_exploit(make: Any) -> None:
    script = {(A, 3): Decision(Action.EXPLOIT, "worst quarter; takes over 00001", B, {"x": 2.4})}
    experiment = make([{"x": 1}, {"x": 2}], Asked(script))
    experiment.replay([SlotsChanged(0.0, 2), TrialStarted.dummy(A), TrialStarted.dummy(B), saved(5, B)])
    assert experiment.handle(ResultsReported.dummy(A, 3, waiting=True)) == [
        RecordDecision(A, 3, "EXPLOIT", "worst quarter; takes over 00001", 0.0),
        RecordTrial(A, 0, {"x": 2.4}, SEED_A, 0.0),
        RecordExploit(A, 3, B, 5, {"x": 2.4}, 0.0),
        ExploitTrial(A, checkpoint(5, trial=B), {"x": 2.4}, Lease(Milestone("training_iteration", 6))),
    ]
    assert (experiment.trials[A].config, experiment.trials[A].iteration) == ({"x": 2.4}, 5)


@pytest.mark.parametrize(
    "decision",
    [
        Decision(Action.EXPLOIT, "", B, {}),
        Decision(Action.EXPLOIT, "", "00009", {}),
        Decision(Action.EXPLOIT, "", None, {}),
        Decision(Action.EXPLOIT, "", A, None),
    ],
    ids=["no checkpoint", "no trial", "no source", "no config"],
)
def test_impossible_exploit_is_an_error(make: Any, decision: Decision) -> None:
    experiment = make(2, Asked({(A, 1): decision}))
    experiment.replay([SlotsChanged(0.0, 2), TrialStarted.dummy(A), saved(1)])
    with pytest.raises(TuneError, match="expected a trial with a checkpoint and a new config"):
        experiment.handle(ResultsReported.dummy(A, 1, waiting=True))


def test_illegal_choice_of_a_scheduler_is_an_error(make: Any) -> None:
    class Wild(Asked):
        def choose_trial_to_run(self, pending: Any, paused: Any) -> Trial | None:
            return self.one if hasattr(self, "one") else super().choose_trial_to_run(pending, paused)

        def on_trial_add(self, trial: Trial) -> None:
            self.added = trial

        def on_trial_complete(self, trial: Trial, result: Any) -> None:
            self.one = trial

    experiment = make(2, Wild())
    experiment.replay([SlotsChanged(0.0, 1), TrialStarted.dummy(A)])
    with pytest.raises(IllegalEventError, match="can't handle 'start' when trial 00000 is TERMINATED"):
        experiment.handle(TrialFinished(1.0, A))


def test_a_name_that_comes_again_is_that_of_the_new_training() -> None:
    """After an exploit led back, retention may remove a checkpoint whose name the next one of that iteration gets."""
    lineage = Lineage(Retention(num_to_keep=1))
    a, b = Trial(A, 0, {}), Trial(B, 1, {})
    lineage.saved(a, checkpoint(6))
    lineage.saved(b, checkpoint(4, trial=B))
    lineage.adopt(a, b, checkpoint(4, trial=B), {"x": 1})
    lineage.saved(a, checkpoint(5))
    lineage.saved(a, checkpoint(6))
    assert a.states()[-1] == checkpoint(6)
    assert a.donation(6) == checkpoint(6)


@pytest.mark.parametrize("message", ["no", "long " * 1000])
def test_a_finished_trial_takes_less_than_a_kilobyte(make: Any, message: str) -> None:
    class Halves(Searcher):
        reads_results = False

        def suggest(self, trial_id: str, index: int) -> dict[str, Any]:
            return {"x": index * 0.5}

    def finished(count: int) -> Any:
        experiment = SearchedExperiment(Halves(), rules=Rules(trial_limit=count))
        experiment.handle(SlotsChanged(0.0, 1))
        for index in range(count):
            trial, time = f"{index:05d}", index * 1.5
            experiment.handle(TrialStarted(time, trial))
            result = {"loss": index * 0.25, "training_iteration": 1, "time_total_s": index * 0.1, "timestamp": time}
            experiment.handle(ResultsReported(time, trial, (result,)))
            error = ErrorInfo("ValueError", f"{message} {index}", "Traceback " * 1000)
            experiment.handle(TrialErrored(time, trial, error) if index % 2 else TrialFinished(time, trial))
        return experiment

    finished(100)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        experiment = finished(2000)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert experiment.finished
    assert (after - before) / 2000 < 1024
