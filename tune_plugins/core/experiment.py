"""The pure core: what happens to trials, as a function of events.

`Experiment.handle(event)` takes in what has happened and returns the commands that follow from it, in order. It is the
only thing that changes state. The theory, in six parts:

**States.** A trial waits (PENDING), is sent to a worker (STARTING), trains (RUNNING), waits for its turn (PAUSED), has
been told to end (STOPPING), and has ended (TERMINATED, ERROR). Which event or decision leads from where to where is
one table, `tune_plugins.core.transitions.TRANSITIONS`; nothing else sets a status, an event that has no entry in the
row of its trial's status is a bug of whoever sent it and changes nothing.

**Milestones and leases.** Asking at every report what to do would make training wait for the driver. But a scheduler
knows beforehand at which point of a trial it will have a say: its next *milestone*. With each command that makes a
trial run goes a *lease* up to there; before it, reports are only news. At the milestone the trial stops and waits for
the verdict: a new lease, stop, pause, or exploit. Schedulers, searchers and stoppers see the results of a trial when
it stands at a milestone or has ended, in order, and never in between. So when a batch of reports happened to be sent
cannot alter a decision.

**Slots.** After each event free slots are filled: with whom the scheduler chooses among those that wait, else with a
new trial. A paused trial holds no slot, but may keep its process (`tune_plugins.core.residents`). When nothing runs,
nobody is chosen and no trial is to come, the experiment is over.

**Suggestions.** What the config of a new trial is, the searcher says, which may take its time: it is told and asked by
commands, in order, and answers by an event. One question is out at a time, and only where a slot is free.

**Failures.** A trial that fails goes back to PENDING as often as the user allows, and goes on from its last
checkpoint. What nobody has seen of it behind that point is forgotten, since it will be reported again. An exploit
makes a trial go on from another one's checkpoint (`tune_plugins.core.lineage`), which is kept as long as it may be
needed (`tune_plugins.core.retention`).

**Purity.** There is no clock, no file, no thread and no Ray in here: events carry their time, and all that is random
comes from the run's seed. The same events give the same commands, to the last one, on Ray, inline and under a virtual
clock; a recorded log of events, handled again, rebuilds the experiment with its scheduler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tune_plugins.core.autofill import Attempt
from tune_plugins.core.ends import End, EndCause, ErrorInfo, Outcome
from tune_plugins.core.events import (
    AskSearcher,
    CheckpointSaved,
    Command,
    Event,
    ExploitDone,
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
    SuggestionMade,
    TellEnd,
    TellResult,
    Tick,
    TrialErrored,
    TrialFinished,
    TrialPaused,
    TrialStarted,
    WorkerLost,
)
from tune_plugins.core.leases import reached
from tune_plugins.core.lineage import Lineage
from tune_plugins.core.metrics import DEFAULT_METRIC, Mode, lookup
from tune_plugins.core.named_metrics import NamedMetrics, Results
from tune_plugins.core.residents import Residents
from tune_plugins.core.retention import Retention
from tune_plugins.core.scheduler import Action, Decision, FIFOScheduler, TrialScheduler
from tune_plugins.core.searcher import Signal
from tune_plugins.core.stopper import Stopper
from tune_plugins.core.transitions import TRANSITIONS
from tune_plugins.core.trial import FREE, CheckpointRecord, Lease, Milestone, Names, Trial, TrialStatus
from tune_plugins.errors import IllegalEventError, TuneError

__all__ = ["Experiment", "Rules"]

S = TrialStatus


@dataclass(frozen=True)
class Rules:
    """What the user asked of the experiment; see the fields of `TuneConfig` and `RunConfig`.

    Attributes:
        trial_limit: number of trials at most; None: as many as the searcher suggests.
        required: names that the first result must have, with the argument that each stands in.
        awaited: names that a trial which runs to its end must have reported by then, as well.
        retry: see `FailureConfig`.
        time_budget_s: kept by whoever drives the core, by a clock that only goes forward; here it is only stated.
        num_to_keep, score_attribute, score_order: retention of checkpoints.
        max_resident_trials: how many paused trials may wait in memory; None: any number.
        wanted_residents: how many are to, where they have a checkpoint to go on from elsewhere; None: as many as may.
        names: how trials are called.
        searcher: what the searcher is called.
        searcher_reads_results: whether it wants to be told of results before a trial ends.
    """

    metric: str | None = None
    mode: Mode | None = None
    required: Mapping[str, str] = field(default_factory=dict)
    awaited: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    trial_limit: int | None = None
    max_failures: int = 0
    retry: Literal["all", "lost"] = "all"
    fail_fast: bool = False
    time_budget_s: float | None = None
    num_to_keep: int | None = None
    score_attribute: str | None = None
    score_order: Mode = "max"
    max_resident_trials: int | None = None
    wanted_residents: int | None = None
    names: Names = field(default_factory=Names)
    metrics: tuple[str, ...] = ()
    modes: tuple[Mode, ...] = ()
    searcher: str = "Searcher"
    searcher_reads_results: bool = True


@dataclass
class Experiment:
    """All trials of one run and the rules that move them.

    Attributes:
        scheduler: decides at milestones; set up by the caller.
        stopper: a rule that must see every result, or None.
        trials: by id, in order of creation.
    """

    scheduler: TrialScheduler = field(default_factory=FIFOScheduler)
    rules: Rules = field(default_factory=Rules)
    stopper: Stopper | None = None

    trials: dict[str, Trial] = field(default_factory=dict, init=False)
    slots: int = field(default=0, init=False)
    finished: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        rules = self.rules
        self._pending: dict[str, Trial] = {}
        self._active: dict[str, Trial] = {}
        self._residents = Residents(rules.max_resident_trials, rules.wanted_residents)
        self._lineage = Lineage(Retention(rules.num_to_keep, rules.score_attribute, rules.score_order))
        self._unseen: dict[str, list[dict[str, Any]]] = {}
        self._dirnames: set[str] = set()  # of those that the user's function makes, in lower case
        self._resources: dict[str, Any] = {}  # what a trial takes from its next start on
        self._stop: End | None = None
        self._searching = True
        self._asked = False  # the searcher, and it has not answered
        self._told = 0  # of how many results and ends it knows
        self._not_ready_at = -1  # of how many it knew when it was not ready
        # The number without a name is awaited where somebody compares by it, which `awaited` says.
        awaited = {**rules.awaited, **({} if rules.metric in (None, DEFAULT_METRIC) else {rules.metric: "metric"})}
        named = (rules.metric, *rules.metrics, self.scheduler.metric)
        compared = dict.fromkeys(name for name in named if name is not None)
        self._named = NamedMetrics(dict(rules.required), awaited, tuple(compared))
        scheduler = self.scheduler
        others_read = rules.searcher_reads_results or self.stopper is not None
        self._reads_results = scheduler.reads_results or others_read
        self._reads_every = (scheduler.reads_results and scheduler.reads_every_result) or others_read
        # Rules of the user's own may go by whatever a result can have; ours do not.
        self._fills = self.stopper is not None or scheduler.asked_at_every_report
        self._attempts: dict[str, Attempt] = {}

    # ------------------------------------------------------------------------------ the one door

    def handle(self, event: Event) -> list[Command]:
        """Take in one event; return what is to be done, in order.

        Raises:
            IllegalEventError: the event does not fit the trial's state, which is unchanged then.
            TuneError: more trials would have to wait in memory than may; the searcher waits for nothing.
            Exception: whatever a user's scheduler or stopper raises.
        """
        commands: list[Command] = []
        take_in = _HANDLERS.get(type(event))
        if take_in is None:
            raise IllegalEventError(f"{event!r} is not an event of an experiment; see tune_plugins.core.events")
        take_in(self, event, commands)
        if not self._active or len(self._active) < self.slots:
            created = isinstance(event, SuggestionMade) and event.config is not None
            self._fill_slots(event.time, commands, created=created)
        if isinstance(event, TrialPaused) and self._residents.overfull:
            raise TuneError(_no_room(self.trials[event.trial_id], self._residents.limit))
        return commands

    @property
    def stop_reason(self) -> str:
        """Why all trials were told to end; empty where they were not."""
        return "" if self._stop is None else self._stop.reason

    @property
    def busy(self) -> bool:
        """Whether trials hold slots."""
        return bool(self._active)

    # --------------------------------------------------------------------- events of no single trial

    def _on_slots_changed(self, event: SlotsChanged, commands: list[Command]) -> None:
        self.slots = event.slots

    def _on_stop_requested(self, event: StopRequested, commands: list[Command]) -> None:
        self._stop_all(End(event.cause, event.reason), event.time, commands)

    def _on_tick(self, event: Tick, commands: list[Command]) -> None:
        """Time went by; limits are looked at after each event."""

    def _on_suggestion(self, event: SuggestionMade, commands: list[Command]) -> None:
        if not self._asked or event.index != len(self.trials):
            raise IllegalEventError(f"can't handle {event!r}: it answers no question ({len(self.trials)} trials)")
        self._asked = False
        if self._stop is not None:
            if event.config is not None:
                self._tell(TellEnd(event.trial_id, None, Outcome.DROPPED), commands)
        elif event.config is not None:
            self._create(event.index, event.config, event.time, commands)
        elif event.signal == Signal.COMPLETE.value or not (event.signal or self._others):
            if not (event.signal or self.trials):
                raise TuneError(
                    f"{self.rules.searcher} returned None for the first trial: expected a dict of hyper-parameters. "
                    "Is there a `return` in its suggest()?"
                )
            self._end_search()
        else:
            self._not_ready_at = event.told
            if not self._others and self._told == event.told:
                raise TuneError(
                    f"{self.rules.searcher} is not ready to suggest trial {event.index}, and no trial is running "
                    "whose result it could wait for. A searcher must suggest or say COMPLETE then."
                )

    @property
    def _others(self) -> bool:
        """Whether there are trials whose results or ends a searcher may wait for."""
        return bool(self._active or self._residents.paused or self._pending)

    def _tell(self, command: TellResult | TellEnd, commands: list[Command]) -> None:
        self._told += 1
        commands.append(command)

    # --------------------------------------------------------------------------- trial events

    def _trial(self, event: Any, trigger: str) -> Trial:
        trial = self.trials.get(event.trial_id)
        if trial is None:
            known = f"{len(self.trials)} trials" if self.trials else "no trials yet"
            raise IllegalEventError(f"can't handle {event!r}: there is no trial {event.trial_id!r} ({known})")
        self._check(trial, trigger, event)
        return trial

    def _check(self, trial: Trial, trigger: str, cause: object) -> TrialStatus:
        status = TRANSITIONS[trial.status].get(trigger)
        if status is None:
            legal = ", ".join(TRANSITIONS[trial.status]) or "nothing"
            raise IllegalEventError(
                f"can't handle {trigger!r} when trial {trial.id} is {trial.status} (legal there: {legal}). "
                f"History: {' > '.join(trial.history) or 'none'}. Cause: {cause!r}"
            )
        return status

    def _move(
        self,
        trial: Trial,
        trigger: str,
        time: float,
        commands: list[Command],
        *,
        error: ErrorInfo | None = None,
        record: bool = True,
    ) -> None:
        old, new = trial.status, self._check(trial, trigger, trigger)
        self._note(trial, trigger)
        if new is old:
            return
        trial.status = new
        if old is S.PENDING:
            del self._pending[trial.id]
        elif old is S.PAUSED:
            self._residents.leave(trial)
        if new is S.PENDING:
            self._pending[trial.id] = trial
        elif new is S.PAUSED:
            self._residents.enter(trial)
        if new.holds_slot:
            self._active[trial.id] = trial
        else:
            self._active.pop(trial.id, None)
        if record:
            cause = trial.cause if new.finished else None
            commands.append(RecordStatus(trial.id, new.value, trial.reason, time, cause, error))
        if new.finished:
            trial.ended_at = time
            # There may be very many finished trials: what most of them have in common is there once.
            last = tuple(trial.history[-4:])
            trial.history = _HISTORIES.setdefault(last, last)
            if not trial.checkpoints:
                trial.checkpoints = _NO_CHECKPOINTS
            if len(trial.reason) > _KEPT_REASON:
                trial.reason = f"{trial.reason[: _KEPT_REASON - 3]}..."

    def _note(self, trial: Trial, trigger: str) -> None:
        history = trial.history
        if isinstance(history, tuple):
            trial.history = (*history, trigger)
            return
        history.append(trigger)
        if len(history) > 24:
            del history[:12]

    def _on_started(self, event: TrialStarted, commands: list[Command]) -> None:
        trial = self._trial(event, "started")
        trial.started_at = trial.started_at or event.time
        if self._fills:
            begins = event.iteration, event.elapsed
            self._attempts[trial.id] = Attempt(event.pid, event.hostname, event.node_ip, *begins)
        self._move(trial, "started", event.time, commands)

    def _on_checkpoint(self, event: CheckpointSaved, commands: list[Command]) -> None:
        trial = self._trial(event, "checkpoint")
        if event.checkpoint.trial_id != trial.id:
            raise IllegalEventError(f"can't handle {event!r}: it is a checkpoint of {event.checkpoint.trial_id!r}")
        self._move(trial, "checkpoint", event.time, commands)
        commands += self._lineage.saved(trial, event.checkpoint)

    def _on_exploited(self, event: ExploitDone, commands: list[Command]) -> None:
        trial = self._trial(event, "exploited")
        if trial.id in self._attempts:
            self._attempts[trial.id].go_on_from(event.iteration, event.elapsed)
        self._move(trial, "exploited", event.time, commands)
        if not event.in_place:
            trial.entered_with = trial.results_count
        how = "IN_PLACE" if event.in_place else "RESTART"
        commands.append(RecordDecision(trial.id, trial.iteration, how, event.reason, event.time))

    def _on_paused(self, event: TrialPaused, commands: list[Command]) -> None:
        trigger = "paused" if event.resident else "evicted"
        trial = self._trial(event, trigger)
        if trigger == "evicted" and trial.status is S.STOPPING:
            self._end(trial, trigger, event.time, commands)
            return
        self._move(trial, trigger, event.time, commands)
        if trial.status is S.PAUSED:
            self._residents.said(trial, resident=event.resident)
            if trial.resident:
                self._resources.pop(trial.id, None)  # it had nothing to go on from elsewhere

    def _on_finished(self, event: TrialFinished, commands: list[Command]) -> None:
        trial = self._trial(event, "finished")
        if trial.status is not S.STOPPING or trial.cause is None:
            trial.reason, trial.cause = event.reason, event.cause
        # At the end that the scheduler sets it has compared trials all along: nothing behind it would come in time.
        if trial.cause.full and trial.results_count and (not event.unwound or trial.cause is EndCause.SCHEDULED_END):
            self._named.look_at_end(trial)
        metric = self.rules.metric
        if metric is not None and trial.results_count and lookup(trial.last_result, metric, 0) is None:
            trial.reason += f"; {metric} is None in all of its results"
        self._end(trial, "finished", event.time, commands)

    def _on_results(self, event: ResultsReported, commands: list[Command]) -> None:
        trial = self._trial(event, "results")
        self._named.look(trial, event.results)
        self._note(trial, "results")  # legal, and leaves the status as it is
        results = self._named.as_compared(trial, event.results)
        last = trial.last_result = results[-1]
        _go_to(trial, int(last["training_iteration"]))
        caught_up = trial.fell_at is not None and trial.iteration > trial.fell_at
        if caught_up:
            trial.fell_at = None
        trial.results_count += len(results)
        if self._reads_every:
            self._unseen.setdefault(trial.id, []).extend(self._filled(trial, results) if self._fills else results)
        elif event.waiting and self._reads_results:
            self._unseen[trial.id] = [last]
        if event.waiting and trial.status is S.RUNNING:
            if caught_up:  # a milestone of nobody's: from here on the scheduler says when it is to be asked
                self._verdict_continue(trial, _CONTINUE, EndCause.SCHEDULER, event.time, commands)
            else:
                self._decide(trial, event.time, commands)

    def _on_lost(self, event: WorkerLost, commands: list[Command]) -> None:
        trial = self._trial(event, "error")
        if trial.status is S.STOPPING:
            # It was told to end and has ended; nothing to try again.
            self._end(trial, "finished", event.time, commands)
        else:
            self._on_failure(event, trial, commands, preempted=event.preempted)

    def _on_errored(self, event: TrialErrored, commands: list[Command]) -> None:
        self._on_failure(event, self._trial(event, "error"), commands, fatal=event.fatal)

    def _on_failure(
        self,
        event: TrialErrored | WorkerLost,
        trial: Trial,
        commands: list[Command],
        *,
        preempted: bool = False,
        fatal: bool = False,
    ) -> None:
        said = event.error.on_one_line(_LONGEST_REASON)
        if trial.status is S.TERMINATED:
            trial.cause, trial.reason = EndCause.SAVE_FAILED, f"its last checkpoint could not be saved: {said}"
        if trial.status.finished:
            self._move(trial, "error", event.time, commands, error=event.error)
            return
        if isinstance(event, TrialErrored) and not fatal and self._may_have_been_complete(trial, event.error):
            trial.fell_at = trial.iteration
            self._undo_idle_exploit(trial, event.time, commands, f", where its function failed: {said}")
            if self._lineage.step_back(trial):
                point = trial.resume_point()
                told = (
                    f"its function, entered anew at iteration {trial.fell_at}, failed before it reported, and nothing "
                    f"may have been left to train: once more from iteration {point.iteration if point else 0}: {said}"
                )
                commands.append(RecordDecision(trial.id, trial.fell_at, "RETRY", told, event.time))
                self._try_again(event, trial, commands, f"nothing may have been left to train at {trial.fell_at}; ")
                return
            trial.fell_at = None
        if not preempted:
            trial.failures += 1
        limit = self.rules.max_failures
        final = fatal or (self.rules.retry == "lost" and isinstance(event, TrialErrored))
        if trial.status is S.STOPPING or final or not (preempted or limit < 0 or trial.failures <= limit):
            times = f" after {trial.failures} attempts" if trial.failures > 1 else ""
            trial.cause, trial.reason = event.cause, f"failed{times}: {said}"
            self._end(trial, "error", event.time, commands, error=event.error)
            if self.rules.fail_fast and self._stop is None:
                end = End(EndCause.FAIL_FAST, f"trial {trial.id} failed and fail_fast is set")
                self._stop_all(end, event.time, commands)
            return
        self._try_again(event, trial, commands)

    def _may_have_been_complete(self, trial: Trial, error: ErrorInfo) -> bool:
        """Whether its function, entered anew in the middle of its training, has failed before it reported.

        A loop written by hand does not say that it is complete. What stands behind it may then miss what it makes. What
        this package itself has to say, as of a checkpoint that does not fit, is none of that.
        """
        ours = error.type.startswith("tune_plugins.")
        return trial.status is S.RUNNING and trial.results_count == trial.entered_with and not ours

    def _try_again(
        self, event: TrialErrored | WorkerLost, trial: Trial, commands: list[Command], why: str = ""
    ) -> None:
        # Results after the checkpoint will be reported anew, so what nobody has seen of them is dropped.
        point, fell_at = trial.resume_point(), trial.iteration
        _go_to(trial, point.iteration if point else 0)
        unseen = self._unseen.pop(trial.id, ())
        if kept := [r for r in unseen if r["training_iteration"] <= trial.iteration]:
            self._unseen[trial.id] = kept
        trial.attempt += 1
        said = event.error.on_one_line(_LONGEST_REASON)
        trial.reason = f"{why}to be tried again from iteration {trial.iteration}: {said}"
        self._move(trial, "retry", event.time, commands, error=event.error)
        if not why:
            told = f"tried again from iteration {trial.iteration}, attempt {trial.attempt + 1}: {said}"
            commands.append(RecordDecision(trial.id, fell_at, "RETRY", told, event.time))

    def _end(
        self, trial: Trial, trigger: str, time: float, commands: list[Command], *, error: ErrorInfo | None = None
    ) -> None:
        """The trial is over: show schedulers and searchers what they have not seen yet, then tell them."""
        failed = trigger == "error"
        self._check(trial, trigger, trigger)
        unseen = self._unseen.pop(trial.id, [])
        if failed:
            unseen = []
        else:
            self._undo_idle_exploit(trial, time, commands)
            if trial.last_result:  # it may have gone on from an earlier state, and reported nothing behind that
                _go_to(trial, int(trial.last_result["training_iteration"]))
        for result in unseen:
            self._show(trial, result, commands)
            if self.stopper is not None:
                self.stopper(trial.id, result)
        if trial.last_result:
            trial.last_result = {**trial.last_result, "done": True}
        self._move(trial, trigger, time, commands, error=error)
        if failed:
            self.scheduler.on_trial_error(trial)
        else:
            self.scheduler.on_trial_complete(trial, trial.last_result or None)
        self._tell_end(trial, commands, failed=failed)
        trial.lease = FREE
        self._resources.pop(trial.id, None)
        self._attempts.pop(trial.id, None)
        commands += self._lineage.ended(trial)
        if unseen:
            self._ask_stopper(time, commands)

    def _tell_end(self, trial: Trial, commands: list[Command], *, failed: bool) -> None:
        assert trial.cause is not None
        all_ended = self._stop is not None and trial.cause is self._stop.cause
        outcome = Outcome.of(trial.cause, failed=failed, reported=bool(trial.last_result), all_ended=all_ended)
        self._tell(TellEnd(trial.id, _with_config(trial, trial.last_result) or None, outcome), commands)

    def _undo_idle_exploit(self, trial: Trial, time: float, commands: list[Command], where: str = "") -> None:
        adopted, released = self._lineage.undo_if_idle(trial)
        if adopted is None:
            return
        commands += released
        reason = (
            f"keeps its own config and results: nothing was trained from iteration {adopted.iteration} of trial "
            f"{adopted.trial_id} on{where}"
        )
        commands.append(RecordTrial(trial.id, trial.index, trial.config, trial.seed, time))
        commands.append(RecordDecision(trial.id, trial.iteration, "UNDONE", reason, time))

    # ------------------------------------------------------------------------------- decisions

    def _filled(self, trial: Trial, results: Results) -> list[dict[str, Any]]:
        attempt = self._attempts.setdefault(trial.id, Attempt())
        facts: dict[str, Any] = {
            "trial_id": trial.id,
            "config": trial.config,
            "experiment_tag": trial.experiment_tag,
            "done": False,
        }
        return [attempt.filled(result, **facts) for result in results]

    def _show(self, trial: Trial, result: dict[str, Any], commands: list[Command]) -> Decision:
        scheduler = self.scheduler
        if self.rules.searcher_reads_results:
            self._tell(TellResult(trial.id, _with_config(trial, result)), commands)
        if not scheduler.reads_results:
            return _CONTINUE
        decided = scheduler.on_trial_result(trial, result)
        if decided is Action.CONTINUE:
            return _CONTINUE
        if not isinstance(decided, Decision) and decided not in tuple(Action):
            raise TuneError(
                f"{type(self.scheduler).__name__}.on_trial_result() returned {decided!r} for trial {trial.id}: "
                f"expected a Decision, or one of {', '.join(Action)}. Return Action.CONTINUE if nothing is to be done."
            )
        decision = decided if isinstance(decided, Decision) else Decision(Action(decided))
        if not decision.reason and decision.action is not Action.CONTINUE:
            done = _DONE[decision.action]
            decision = replace(decision, reason=f"{done} by {type(self.scheduler).__name__}")
        return decision

    def _decide(self, trial: Trial, time: float, commands: list[Command]) -> None:
        """The trial waits at its milestone: show its results and give the verdict."""
        decision, cause = _CONTINUE, EndCause.SCHEDULER
        milestone = trial.lease.milestone
        for result in self._unseen.pop(trial.id, ()):
            shown = self._show(trial, result, commands)
            # A stopper may have made this report a milestone that the scheduler did not ask for.
            asked = self.scheduler.asked_at_every_report or (milestone is not None and reached(milestone, result))
            decision = shown if asked else _CONTINUE
            if self.stopper is not None:
                if self.stopper(trial.id, result):
                    decision, cause = Decision(Action.STOP, f"stopped by {self.stopper.why()}"), EndCause.STOPPER
                if self._ask_stopper(time, commands):
                    return
                if decision.action is Action.STOP:
                    break
        if decision.reason or decision.action is not Action.CONTINUE:
            commands.append(RecordDecision(trial.id, trial.iteration, decision.action.value, decision.reason, time))
        _VERDICTS[decision.action](self, trial, decision, cause, time, commands)

    def _verdict_stop(
        self, trial: Trial, decision: Decision, cause: EndCause, time: float, commands: list[Command]
    ) -> None:
        trial.reason, trial.cause = decision.reason, cause
        self._move(trial, "stop", time, commands)
        commands.append(StopTrial(trial.id, trial.reason, cause))

    def _verdict_pause(
        self, trial: Trial, decision: Decision, cause: EndCause, time: float, commands: list[Command]
    ) -> None:
        trial.reason = decision.reason
        evict = self._residents.full
        if decision.resources is not None:
            self._resources[trial.id] = decision.resources
            evict = True
        self._move(trial, "pause", time, commands)
        self._residents.told(trial, evict=evict)
        commands.append(PauseTrial(trial.id, evict=evict))

    def _verdict_exploit(
        self, trial: Trial, decision: Decision, cause: EndCause, time: float, commands: list[Command]
    ) -> None:
        self._move(trial, "exploit", time, commands)
        adopted = self._adopt(trial, decision, time, commands)
        commands.append(ExploitTrial(trial.id, adopted, trial.config, self._lease(trial)))

    def _verdict_continue(
        self, trial: Trial, decision: Decision, cause: EndCause, time: float, commands: list[Command]
    ) -> None:
        self._move(trial, "continue", time, commands)
        commands.append(GrantLease(trial.id, self._lease(trial)))

    def _adopt(self, trial: Trial, decision: Decision, time: float, commands: list[Command]) -> CheckpointRecord:
        """Make a trial go on from another one's state, which is kept until the trial has a checkpoint of its own."""
        source = self.trials.get(decision.source_id or "")
        donation = None if source is None else source.donation(trial.iteration)
        if source is None or donation is None or decision.config is None:
            raise TuneError(
                f"{type(self.scheduler).__name__} asked trial {trial.id} to exploit {decision.source_id!r}: expected a "
                f"trial with a checkpoint and a new config, got checkpoint {donation!r}, config {decision.config!r}"
            )
        at = trial.iteration
        commands += self._lineage.adopt(trial, source, donation, decision.config)
        commands.append(RecordTrial(trial.id, trial.index, trial.config, trial.seed, time))
        commands.append(RecordExploit(trial.id, at, source.id, donation.iteration, decision.config, time))
        return donation

    def _ask_stopper(self, time: float, commands: list[Command]) -> bool:
        """Whether the stopper ends the experiment, which is done then."""
        if self.stopper is None or not self.stopper.stop_all():
            return False
        self._stop_all(End(EndCause.STOPPER, f"ended by {self.stopper.why()}"), time, commands)
        return True

    def _lease(self, trial: Trial) -> Lease:
        """What the scheduler grants, narrowed to the next report where somebody must see each one."""
        granted = self.scheduler.next_milestone(trial)
        if not isinstance(granted, (Milestone, Lease, type(None))):
            raise TuneError(
                f"{type(self.scheduler).__name__}.next_milestone() returned {granted!r} for trial {trial.id}: expected "
                "a Milestone such as Milestone('training_iteration', 10), a Lease, or None for never."
            )
        lease = granted if isinstance(granted, Lease) else Lease(milestone=granted)
        trial.lease = lease
        if trial.fell_at is not None:  # up to there the verdicts have been given
            return Lease(Milestone("training_iteration", trial.fell_at + 1), end=lease.end)
        if self.stopper is not None or self.scheduler.asked_at_every_report:
            every = Milestone("training_iteration", trial.iteration + 1)
            return Lease(milestone=every, end=lease.end, save=lease.save)
        return lease

    # ------------------------------------------------------------------------------------ slots

    def _choose(self) -> Trial | None:
        return self.scheduler.choose_trial_to_run(self._pending, self._residents.startable())

    def _fill_slots(self, time: float, commands: list[Command], *, created: bool = False) -> None:
        """Start whom the scheduler chooses, or ask for another trial. `created`: one has just been added."""
        if self.finished or (self._stop is None and self._awaits_population(commands)):
            return
        asked_when_idle = False
        while self._stop is None:
            self._discard(time, commands)
            if len(self._active) >= self.slots:
                break
            trial, searching = self._choose(), self._searching
            if trial is None and created and self.rules.trial_limit is None:
                return  # the scheduler collects trials before it starts one, maybe without end; the next event goes on
            created = False
            if trial is not None:
                self._run(trial, time, commands)
            elif self.scheduler.accepts_trials() and self._ask(commands):
                return
            elif searching and not self._searching:
                continue  # that there are no more trials may have made the scheduler let one go on
            elif not (self._active or self._residents.leaving or self._asked or asked_when_idle):
                asked_when_idle = True
                self.scheduler.on_idle(not self._searching)
            else:
                break
        if self._active or self._residents.leaving or (self._asked and self._stop is None):
            return
        left = [*self._pending.values(), *self._residents.paused.values()]
        if self._stop is None and not self.slots and (left or self._searching):
            return
        # Nothing runs and nobody starts or resumes anything: no event could ever change that.
        for trial in left:
            self._drop(trial, self._stop or _abandoned(trial), time, commands)
        if self._active:
            return
        if self._searching and not (left or self.scheduler.accepts_trials()):
            raise TuneError(
                f"{type(self.scheduler).__name__} accepts no new trial, and there is no other one: nothing will ever "
                "happen. accepts_trials() must be True then."
            )
        if self._searching:
            self._fill_slots(time, commands)  # the searcher may have waited for these trials to end
        else:
            self.finished = True
            commands.append(Finish("", self.stop_reason))

    def _awaits_population(self, commands: list[Command]) -> bool:
        """Where the scheduler wants all trials there will be before the first one starts: whether one is to come.

        Where the searcher names no number, there will be as many as there are slots.
        """
        if not self.scheduler.needs_population:
            return False
        count = len(self._active) + len(self._pending) + len(self._residents.paused)
        return (self.rules.trial_limit is not None or count < self.slots) and self._ask(commands)

    def _discard(self, time: float, commands: list[Command]) -> None:
        """End the paused trials that the scheduler has no use for."""
        while discarded := list(self.scheduler.discarded()):
            for trial, reason in discarded:
                if trial.status not in (S.PAUSED, S.PENDING):
                    continue  # it has ended meanwhile
                commands.append(RecordDecision(trial.id, trial.iteration, Action.STOP.value, reason, time))
                self._drop(trial, End(EndCause.SCHEDULER, reason), time, commands)

    def _drop(self, trial: Trial, end: End, time: float, commands: list[Command]) -> None:
        """End a trial that waits."""
        trial.cause, trial.reason = end
        if self._residents.has_process(trial):
            # One that is leaving may find that it cannot, and is told to stop as well.
            self._move(trial, "stop", time, commands)
            commands.append(StopTrial(trial.id, end.reason, end.cause))
        else:
            self._end(trial, "drop", time, commands)

    def _end_search(self) -> None:
        self._searching = False
        self.scheduler.on_search_end()

    def _ask(self, commands: list[Command]) -> bool:
        """Ask for another trial; whether one may be coming."""
        index, limit = len(self.trials), self.rules.trial_limit
        if self._searching and limit is not None and index >= limit:
            self._end_search()
        # It has said that it was not ready, and nothing has been told since.
        if not self._searching or self._not_ready_at == self._told:
            return False
        if not self._asked:
            self._asked = True
            commands.append(AskSearcher(f"{index:05d}", index, self._told))
        return True

    def _create(self, index: int, config: dict[str, Any], time: float, commands: list[Command]) -> None:
        """A new trial, which waits for a slot."""
        trial_id = f"{index:05d}"
        config = self.scheduler.initial_config(index, config)
        # The seed of a trial is a function of run seed and index, whatever order trials start in.
        seed = (self.rules.seed * 1_000_003 + index * 7919) % 2**32
        trial = Trial(trial_id, index, config, seed=seed, names=self.rules.names)
        trial.names.give(trial, self._dirnames)
        if trial.custom_dirname:
            self._dirnames.add(trial.custom_dirname.lower())
        self.trials[trial_id] = self._pending[trial_id] = trial
        names = (trial.custom_name, trial.custom_dirname)
        commands.append(RecordTrial(trial_id, index, config, trial.seed, time, *names))
        self.scheduler.on_trial_add(trial)

    def _run(self, trial: Trial, time: float, commands: list[Command]) -> None:
        if reason := self.scheduler.resume_reason(trial):
            commands.append(RecordDecision(trial.id, trial.iteration, "RESUME", reason, time))
            trial.reason = reason
        exploit = None
        if trial.status is S.PAUSED and (decision := self.scheduler.on_trial_resume(trial)) is not None:
            if decision.reason or decision.action is Action.EXPLOIT:
                commands.append(RecordDecision(trial.id, trial.iteration, decision.action.value, decision.reason, time))
            exploit = decision if decision.action is Action.EXPLOIT else None
        if trial.status is S.PAUSED and trial.resident:
            self._move(trial, "wake", time, commands)
            if exploit is not None:
                adopted = self._adopt(trial, exploit, time, commands)
                commands.append(ExploitTrial(trial.id, adopted, trial.config, self._lease(trial)))
            else:
                commands.append(GrantLease(trial.id, self._lease(trial)))
            return
        if exploit is not None:
            self._adopt(trial, exploit, time, commands)
            why_anew = "it waited on disk; its function is entered anew"
            commands.append(RecordDecision(trial.id, trial.iteration, "RESTART", why_anew, time))
        checkpoint = trial.resume_point()
        if trial.status is S.PAUSED and checkpoint is None:
            raise TuneError(f"trial {trial.id} was evicted without a checkpoint and cannot be resumed")
        trial.entered_with = trial.results_count if trial.status is S.PAUSED else -1
        self._move(trial, "start", time, commands, record=False)
        _go_to(trial, checkpoint.iteration if checkpoint else 0)
        trial.resources = self._resources.pop(trial.id, trial.resources)
        commands.append(
            StartTrial(
                trial.id,
                trial.config,
                self._lease(trial),
                checkpoint,
                trial.iteration,
                trial.attempt,
                trial.seed,
                resources=trial.resources,
            )
        )

    def _stop_all(self, end: End, time: float, commands: list[Command]) -> None:
        if self._stop is not None or self.finished:
            return
        self._stop = end
        self._searching = False
        paused = list(self._residents.paused.values())
        for trial in [*self._pending.values(), *(t for t in paused if not self._residents.has_process(t))]:
            trial.cause, trial.reason = end
            self._end(trial, "drop", time, commands)
        for trial in [*self._active.values(), *self._residents.paused.values()]:
            if trial.status is not S.STOPPING:
                trial.cause, trial.reason = end
                self._move(trial, "stop", time, commands)
            assert trial.cause is not None
            commands.append(StopTrial(trial.id, trial.reason, trial.cause, now=True))

    # ------------------------------------------------------------------------------- invariants

    def validate(self) -> None:
        """Check what must hold between any two events.

        Raises:
            AssertionError: says which trial breaks which rule.
        """
        for trial in self.trials.values():
            where = f"trial {trial.id} ({trial.status}, history {trial.history})"
            assert (trial.id in self._pending) == (trial.status is S.PENDING), f"{where}: wrong in pending"
            assert (trial.id in self._residents.paused) == (trial.status is S.PAUSED), f"{where}: wrong in paused"
            assert (trial.id in self._active) == trial.status.holds_slot, f"{where}: wrong in active"
            assert trial.status.finished == (trial.ended_at is not None), f"{where}: ended_at {trial.ended_at}"
            assert not trial.resident or trial.status is S.PAUSED, f"{where}: resident"
            assert not (trial.status.finished and trial.id in self._unseen), f"{where}: results nobody saw"
            assert not trial.status.finished or trial.cause is not None, f"{where}: no cause"
            ids = [c.id for c in trial.checkpoints]
            assert len(ids) == len(set(ids)), f"{where}: checkpoints {ids}"
            assert all(c.trial_id == trial.id for c in trial.checkpoints), f"{where}: checkpoints of others"
            for inherited in () if trial.ancestry is None else trial.ancestry.inherited:
                owner = self.trials[inherited.trial_id]
                assert inherited in owner.checkpoints, f"{where}: inherits {inherited}, which is gone"
            if trial.adopted is not None:
                assert not trial.status.finished, f"{where}: keeps {trial.adopted} from being deleted"
                assert self._lineage.retention.pinned(trial.adopted), f"{where}: {trial.adopted} is not pinned"
        self._residents.validate()
        assert [t.index for t in self.trials.values()] == list(range(len(self.trials))), "indices have gaps"
        if self.finished:
            assert not (self._active or self._pending or self._residents.paused), "finished with unfinished trials"

    def replay(self, events: Iterable[Event]) -> list[Command]:
        """Handle recorded events in order; returns all commands, none of which has been carried out."""
        return [command for event in events for command in self.handle(event)]


_LONGEST_REASON = 400  # characters
_KEPT_REASON = 120  # of which so many stay with a finished trial; the record has them all
_NO_CHECKPOINTS: list[CheckpointRecord] = []  # of finished trials; never changed in place
_HISTORIES: dict[tuple[str, ...], tuple[str, ...]] = {}
_CONTINUE = Decision(Action.CONTINUE)
_DONE = {Action.STOP: "stopped", Action.PAUSE: "paused", Action.EXPLOIT: "changed"}

_HANDLERS: dict[type[Event], Callable[[Experiment, Any, list[Command]], None]] = {
    SlotsChanged: Experiment._on_slots_changed,
    SuggestionMade: Experiment._on_suggestion,
    TrialStarted: Experiment._on_started,
    ResultsReported: Experiment._on_results,
    CheckpointSaved: Experiment._on_checkpoint,
    ExploitDone: Experiment._on_exploited,
    TrialPaused: Experiment._on_paused,
    TrialFinished: Experiment._on_finished,
    TrialErrored: Experiment._on_errored,
    WorkerLost: Experiment._on_lost,
    Tick: Experiment._on_tick,
    StopRequested: Experiment._on_stop_requested,
}
_VERDICTS: dict[Action, Callable[[Experiment, Trial, Decision, EndCause, float, list[Command]], None]] = {
    Action.CONTINUE: Experiment._verdict_continue,
    Action.STOP: Experiment._verdict_stop,
    Action.PAUSE: Experiment._verdict_pause,
    Action.EXPLOIT: Experiment._verdict_exploit,
}


def _go_to(trial: Trial, iteration: int) -> None:
    """The trial has trained up to there, or goes back to an earlier state of its own training."""
    trial.trained += iteration - trial.iteration
    trial.iteration = iteration


def _abandoned(trial: Trial) -> End:
    never = "its scheduler never started it"
    if trial.status is S.PAUSED:
        never = "paused, and its scheduler never resumed it"
    return End(EndCause.ABANDONED, f"{trial.reason}; {never}" if trial.reason else never)


def _no_room(trial: Trial, limit: int | None) -> str:
    return (
        f"The scheduler pauses trial {trial.id}, and it has no checkpoint of iteration {trial.iteration} to go on from "
        "later (in a fit behind its first one it never has). "
        f"At most {limit} paused trials may wait in memory, each in a process of its own (max_resident_trials; "
        "none inline, where trials run one after another, nor with GPUs unless you say so). Report a checkpoint with "
        "each result (tune.report(..., checkpoint=...)), use an adapter that saves them, let more wait (on Ray: "
        "TuneConfig(max_resident_trials=...)), or take a scheduler that pauses nothing, such as ASHAScheduler()."
    )


def _with_config(trial: Trial, result: dict[str, Any]) -> dict[str, Any]:
    """As searchers are told it: an exploit has given the trial another config than was suggested."""
    return {**result, "config": trial.config} if result else {}
