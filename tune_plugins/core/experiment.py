"""The pure core: what happens to trials, as a function of events.

`Experiment.handle(event)` returns commands and is the only thing that changes state. There is no clock, no
file, no thread and no Ray in here; events carry their time, and everything random comes from the run's
seed. The same events give the same commands, so a recorded log can be replayed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tune_plugins.core.events import (
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
    Tick,
    TrialErrored,
    TrialPaused,
    TrialStarted,
    WorkerLost,
)
from tune_plugins.core.metrics import flat_names, lookup
from tune_plugins.core.retention import Retention
from tune_plugins.core.scheduler import Action, Decision, FIFOScheduler, TrialScheduler
from tune_plugins.core.searcher import Searcher, Signal
from tune_plugins.core.stopper import Stopper
from tune_plugins.core.transitions import TRANSITIONS, TRIGGERS
from tune_plugins.core.trial import CheckpointRecord, Lease, Milestone, Trial, TrialStatus
from tune_plugins.errors import IllegalEventError, Mistakes, TuneError, message_in

S = TrialStatus


@dataclass(frozen=True)
class Rules:
    """What the user asked of the experiment; see the fields of `TuneConfig` and `RunConfig`.

    Attributes:
        trial_limit: number of trials at most; None: as many as the searcher suggests.
        required: names beside the metric that the first result must have, with the argument that each stands in.
        num_to_keep, score_attribute, score_order: retention of checkpoints.
        max_resident_trials: how many paused trials may wait in memory; None: any number.
    """

    metric: str | None = None
    mode: str | None = None
    required: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    trial_limit: int | None = None
    max_failures: int = 0
    fail_fast: bool = False
    time_budget_s: float | None = None
    num_to_keep: int | None = None
    score_attribute: str | None = None
    score_order: str = "max"
    max_resident_trials: int | None = None


@dataclass
class Experiment:
    """All trials of one run and the rules that move them.

    Attributes:
        searcher: suggests configurations; set up by the caller.
        scheduler: decides at milestones; set up by the caller.
        stopper: a rule that must see every result, or None.
        suggestions: recorded configurations by index: told to the searcher instead of asking it again.
        trials: by id, in order of creation.
    """

    searcher: Searcher
    scheduler: TrialScheduler = field(default_factory=FIFOScheduler)
    rules: Rules = field(default_factory=Rules)
    stopper: Stopper | None = None
    suggestions: Mapping[int, dict[str, Any]] = field(default_factory=dict)

    trials: dict[str, Trial] = field(default_factory=dict, init=False)
    slots: int = field(default=0, init=False)
    started_at: float | None = field(default=None, init=False)
    stop_reason: str = field(default="", init=False)
    finished: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._pending: dict[str, Trial] = {}
        self._paused: dict[str, Trial] = {}
        self._active: dict[str, Trial] = {}
        self._residents = 0  # paused trials whose process waits in memory
        self._evicting: set[str] = set()  # told to pause and give their process back, but have not said so yet
        self._unseen: dict[str, list[dict[str, Any]]] = {}
        self._any_heirs = False  # there was an exploit
        self._resources: dict[str, Any] = {}  # what a trial takes from its next start on
        rules = self.rules
        self.retention = Retention(rules.num_to_keep, rules.score_attribute, rules.score_order)
        self._searching = True
        self._required = dict(rules.required)
        if rules.metric is not None:
            self._required[rules.metric] = "metric"
        scheduler = self.scheduler
        self._reads_results = scheduler.reads_results or self.searcher.reads_results or self.stopper is not None
        self._reads_every = (
            (scheduler.reads_results and scheduler.reads_every_result)
            or self.searcher.reads_results
            or self.stopper is not None
        )

    # ------------------------------------------------------------------------------ the one door

    def handle(self, event: Event) -> list[Command]:
        """Take in one event; return what is to be done, in order.

        Raises:
            IllegalEventError: the event does not fit the trial's state, which is unchanged then.
            Exception: whatever a user's scheduler, searcher or stopper raises.
        """
        commands: list[Command] = []
        kind = type(event)
        if kind is ResultsReported:
            self._on_results(event, commands)  # type: ignore[arg-type]
        elif (trigger := TRIGGERS.get(kind)) is not None:
            self._on_trial_event(event, trigger, commands)
        elif isinstance(event, (TrialErrored, WorkerLost)):
            self._on_failure(event, commands)
        elif isinstance(event, SlotsChanged):
            self.slots = event.slots
        elif isinstance(event, StopRequested):
            self._stop_all(event.reason, event.time, commands)
        elif not isinstance(event, Tick):
            raise IllegalEventError(f"{event!r} is not an event of an experiment; see tune_plugins.core.events")
        if self.started_at is None:
            self.started_at = event.time
        budget = self.rules.time_budget_s
        if budget is not None and not self.stop_reason and event.time - self.started_at >= budget:
            self._stop_all(f"the time budget of {budget:g} s is used up", event.time, commands)
        if not self._active or len(self._active) < self.slots:
            self._fill_slots(event.time, commands)
        return commands

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

    def _move(self, trial: Trial, trigger: str, time: float, commands: list[Command], *, record: bool = True) -> None:
        old, new = trial.status, self._check(trial, trigger, trigger)
        self._note(trial, trigger)
        if new is old:
            return
        trial.status = new
        if old is S.PENDING:
            del self._pending[trial.id]
        elif old is S.PAUSED:
            del self._paused[trial.id]
            self._evicting.discard(trial.id)
            self._set_resident(trial, False)
        if new is S.PENDING:
            self._pending[trial.id] = trial
        elif new is S.PAUSED:
            self._paused[trial.id] = trial
        if new.holds_slot:
            self._active[trial.id] = trial
        else:
            self._active.pop(trial.id, None)
        if new.finished:
            trial.ended_at = time
            # There may be very many finished trials: what most of them have in common is there once.
            last = tuple(trial.history[-4:])
            trial.history = _HISTORIES.setdefault(last, last)
            if not trial.checkpoints:
                trial.checkpoints = _NO_CHECKPOINTS
        if record:
            commands.append(RecordStatus(trial.id, new.value, trial.reason, trial.error, time))

    def _note(self, trial: Trial, trigger: str) -> None:
        history = trial.history
        if isinstance(history, tuple):
            trial.history = (*history, trigger)
            return
        history.append(trigger)
        if len(history) > 24:
            del history[:12]

    def _set_resident(self, trial: Trial, resident: bool) -> None:
        self._residents += resident - trial.resident
        trial.resident = resident

    def _on_trial_event(self, event: Any, trigger: str, commands: list[Command]) -> None:
        if isinstance(event, TrialPaused) and not event.resident:
            trigger = "evicted"
        trial = self._trial(event, trigger)
        if isinstance(event, TrialStarted):
            trial.started_at = trial.started_at or event.time
            self._move(trial, "started", event.time, commands)
        elif isinstance(event, CheckpointSaved):
            self._move(trial, "checkpoint", event.time, commands)
            trial.checkpoints = [*trial.checkpoints, event.checkpoint]
            if trial.adopted is not None and event.checkpoint.iteration > trial.adopted[1].iteration:
                self._let_go(trial, commands)
            commands += self._retain(trial)
        elif isinstance(event, ExploitDone):
            self._move(trial, trigger, event.time, commands)
            how = "IN_PLACE" if event.in_place else "RESTART"
            commands.append(RecordDecision(trial.id, trial.iteration, how, event.reason, event.time))
        elif isinstance(event, TrialPaused):
            if trigger == "evicted" and trial.status is S.STOPPING:
                self._end(trial, trigger, event.time, commands)
                return
            self._move(trial, trigger, event.time, commands)
            if trial.status is S.PAUSED:
                self._evicting.discard(trial.id)
                self._set_resident(trial, event.resident)
                if trial.resident:
                    self._resources.pop(trial.id, None)  # it had nothing to go on from elsewhere
        else:
            if trial.status is not S.STOPPING or not trial.reason:
                trial.reason = event.reason
            self._end(trial, "finished", event.time, commands)

    def _on_results(self, event: ResultsReported, commands: list[Command]) -> None:
        trial = self._trial(event, "results")
        last = event.results[-1]
        if self._required:
            self._check_names(trial, event.results[0])
        self._note(trial, "results")  # legal, and leaves the status as it is
        trial.last_result = last
        trial.iteration = int(last["training_iteration"])
        trial.results_count += len(event.results)
        if self._reads_every:
            self._unseen.setdefault(trial.id, []).extend(event.results)
        elif event.waiting and self._reads_results:
            self._unseen[trial.id] = [last]
        if event.waiting and trial.status is S.RUNNING:
            self._decide(trial, event.time, commands)

    def _check_names(self, trial: Trial, result: dict[str, Any]) -> None:
        mistakes = Mistakes("Tuner")
        for name, argument in self._required.items():
            if lookup(result, name, _MISSING) is _MISSING:
                reported = ", ".join(sorted(flat_names(result))) or "nothing"
                mistakes.add(
                    f"{argument}: expected the name of a reported metric, got {name!r}; trial {trial.id} reported: "
                    f"{reported}. Use one of these names (the first report must have it; later ones may leave it out)."
                )
        mistakes.raise_if_any()
        self._required = {}

    def _on_failure(self, event: TrialErrored | WorkerLost, commands: list[Command]) -> None:
        trial = self.trials.get(event.trial_id)
        if trial is not None and trial.status is S.STOPPING and isinstance(event, WorkerLost):
            # It was told to end and has ended; nothing to try again.
            self._end(trial, "finished", event.time, commands)
            return
        trial = self._trial(event, "error")
        if trial.status is S.TERMINATED:
            trial.error = event.error
            trial.reason = f"its last checkpoint could not be saved: {_on_one_line(event.error)}"
        if trial.status.finished:
            self._move(trial, "error", event.time, commands)
            return
        preempted = isinstance(event, WorkerLost) and event.preempted
        fatal = isinstance(event, TrialErrored) and event.fatal
        if not preempted:
            trial.failures += 1
        trial.error = event.error
        limit = self.rules.max_failures
        if trial.status is S.STOPPING or fatal or not (preempted or limit < 0 or trial.failures <= limit):
            times = f" after {trial.failures} attempts" if trial.failures > 1 else ""
            trial.reason = f"failed{times}: {_on_one_line(event.error)}"
            self._end(trial, "error", event.time, commands)
            if self.rules.fail_fast and not self.stop_reason:
                self._stop_all(f"trial {trial.id} failed and fail_fast is set", event.time, commands)
            return
        # Results after the checkpoint will be reported anew, so what nobody has seen of them is dropped.
        point = trial.resume_point()
        trial.iteration = point[1].iteration if point else 0
        unseen = self._unseen.pop(trial.id, ())
        if kept := [r for r in unseen if r["training_iteration"] <= trial.iteration]:
            self._unseen[trial.id] = kept
        trial.attempt += 1
        trial.reason = f"to be tried again from iteration {trial.iteration}: {_on_one_line(event.error)}"
        self._move(trial, "retry", event.time, commands)

    def _end(self, trial: Trial, trigger: str, time: float, commands: list[Command]) -> None:
        """The trial is over: show schedulers and searchers what they have not seen yet, then tell them."""
        failed = trigger == "error"
        self._check(trial, trigger, trigger)
        unseen = self._unseen.pop(trial.id, [])
        if failed:
            unseen = []
        else:
            self._undo_idle_exploit(trial, time, commands)
        for result in unseen:
            self._show(trial, result)
            if self.stopper is not None:
                self.stopper(trial.id, result)
        self._move(trial, trigger, time, commands)
        if failed:
            self.scheduler.on_trial_error(trial)
        else:
            self.scheduler.on_trial_complete(trial, trial.last_result)
        self.searcher.on_trial_complete(trial.id, trial.last_result, error=failed)
        trial.lease = _NO_LEASE
        trial.outdated, trial.inherited = _NOTHING, ()
        self._resources.pop(trial.id, None)
        self._let_go(trial, commands)
        if unseen:
            self._ask_stopper(time, commands)

    def _undo_idle_exploit(self, trial: Trial, time: float, commands: list[Command]) -> None:
        """Nothing was trained since the last exploit: the trial's results and checkpoints are of the config before it.

        The donor stood at its end, or the trial was told to stop at once.
        """
        before, trial.before_exploit = trial.before_exploit, None
        if before is None or trial.adopted is None or trial.results_count != before[1] or trial.last_result is None:
            return
        owner, checkpoint = trial.adopted
        trial.config, trial.iteration = before[0], trial.last_result["training_iteration"]
        reason = (
            f"keeps its own config and results: nothing was trained from iteration {checkpoint.iteration} of trial "
            f"{owner} on"
        )
        commands.append(RecordTrial(trial.id, trial.index, trial.config, trial.seed, time))
        commands.append(RecordDecision(trial.id, trial.iteration, "UNDONE", reason, time))

    # ------------------------------------------------------------------------------- decisions

    def _show(self, trial: Trial, result: dict[str, Any]) -> Decision:
        if self.searcher.reads_results:
            self.searcher.on_trial_result(trial.id, result)
        decided = self.scheduler.on_trial_result(trial, result) if self.scheduler.reads_results else Action.CONTINUE
        if decided is Action.CONTINUE:
            return _CONTINUE
        decision = decided if isinstance(decided, Decision) else Decision(Action(decided))
        if not decision.reason and decision.action is not Action.CONTINUE:
            done = _DONE[decision.action]
            decision = replace(decision, reason=f"{done} by {type(self.scheduler).__name__}")
        return decision

    def _decide(self, trial: Trial, time: float, commands: list[Command]) -> None:
        """The trial waits at its milestone: show its results and give the verdict."""
        decision = _CONTINUE
        for result in self._unseen.pop(trial.id, ()):
            reached = _reached(trial.lease.milestone, result)
            shown = self._show(trial, result)
            # A stopper may have made this report a milestone that the scheduler did not ask for.
            decision = shown if reached else _CONTINUE
            if self.stopper is not None:
                if self.stopper(trial.id, result):
                    decision = Decision(Action.STOP, f"stopped by {self.stopper.why()}")
                if self._ask_stopper(time, commands):
                    return
                if decision.action is Action.STOP:
                    break
        if decision.reason or decision.action is not Action.CONTINUE:
            commands.append(RecordDecision(trial.id, trial.iteration, decision.action.value, decision.reason, time))
        if decision.action is Action.STOP:
            trial.reason = decision.reason
            self._move(trial, "stop", time, commands)
            commands.append(StopTrial(trial.id, trial.reason))
        elif decision.action is Action.PAUSE:
            trial.reason = decision.reason
            limit = self.rules.max_resident_trials
            evict = limit is not None and self._residents >= limit
            if decision.resources is not None:
                self._resources[trial.id] = decision.resources
                evict = True
            self._move(trial, "pause", time, commands)
            self._set_resident(trial, not evict)
            if evict:
                self._evicting.add(trial.id)
            commands.append(PauseTrial(trial.id, evict=evict))
        elif decision.action is Action.EXPLOIT:
            self._move(trial, "exploit", time, commands)
            source_id, checkpoint = self._adopt(trial, decision, time, commands)
            commands.append(ExploitTrial(trial.id, source_id, checkpoint, trial.config, self._lease(trial)))
        else:
            self._move(trial, "continue", time, commands)
            commands.append(GrantLease(trial.id, self._lease(trial)))

    def _adopt(
        self, trial: Trial, decision: Decision, time: float, commands: list[Command]
    ) -> tuple[str, CheckpointRecord]:
        """Make a trial go on from another one's state, which is kept until the trial has a checkpoint of its own."""
        source = self.trials.get(decision.source_id or "")
        donation = None if source is None else source.donation(trial.iteration)
        if donation is None or decision.config is None:
            raise TuneError(
                f"{type(self.scheduler).__name__} asked trial {trial.id} to exploit {decision.source_id!r}: expected a "
                f"trial with a checkpoint and a new config, got checkpoint {donation!r}, config {decision.config!r}"
            )
        owner, checkpoint = donation
        self.retention.pin(owner, checkpoint)
        self._let_go(trial, commands)
        at, trial.iteration = trial.iteration, checkpoint.iteration
        trial.before_exploit = trial.config, trial.results_count
        trial.adopted, trial.config = donation, decision.config
        assert source is not None
        trial.inherited = tuple(s for s in source.states() if s[1].iteration <= checkpoint.iteration)
        trial.outdated = frozenset(c.id for c in trial.checkpoints)
        self._any_heirs = True
        commands.append(RecordTrial(trial.id, trial.index, trial.config, trial.seed, time))
        commands.append(
            RecordExploit(trial.id, at, decision.source_id or "", checkpoint.iteration, decision.config, time)
        )
        return donation

    def _retain(self, trial: Trial) -> list[Command]:
        """Take checkpoints off a trial that are not to be kept; nobody inherits these any more."""
        commands = self.retention.apply(trial)
        if self._any_heirs and self.rules.num_to_keep is not None:
            kept = {(trial.id, c.id) for c in trial.checkpoints}
            for other in (*self._active.values(), *self._paused.values(), *self._pending.values()):
                other.inherited = tuple(s for s in other.inherited if s[0] != trial.id or (s[0], s[1].id) in kept)
        return commands

    def _let_go(self, trial: Trial, commands: list[Command]) -> None:
        """The trial needs the checkpoint no more that it once adopted."""
        if trial.adopted is not None:
            adopted, trial.adopted = trial.adopted, None
            commands += self.retention.unpin(*adopted)

    def _ask_stopper(self, time: float, commands: list[Command]) -> bool:
        """Whether the stopper ends the experiment, which is done then."""
        if self.stopper is None or not self.stopper.stop_all():
            return False
        self._stop_all(f"ended by {self.stopper.why()}", time, commands)
        return True

    def _lease(self, trial: Trial) -> Lease:
        """What the scheduler grants, narrowed to the next report where a stopper must see each one."""
        granted = self.scheduler.next_milestone(trial)
        lease = granted if isinstance(granted, Lease) else Lease(milestone=granted)
        trial.lease = lease
        if self.stopper is not None:
            every = Milestone("training_iteration", trial.iteration + 1)
            return Lease(milestone=every, end=lease.end, save=lease.save)
        return lease

    # ------------------------------------------------------------------------------------ slots

    def _choose(self) -> Trial | None:
        paused: Mapping[str, Trial] = self._paused
        if self._evicting:
            paused = _Without(paused, self._evicting)
        return self.scheduler.choose_trial_to_run(self._pending, paused)

    def _fill_slots(self, time: float, commands: list[Command]) -> None:
        if self.finished:
            return
        if self.scheduler.needs_population and not self.stop_reason:
            self._create_population(time, commands)
        asked_when_idle = False
        while not self.stop_reason:
            self._discard(time, commands)
            if len(self._active) >= self.slots:
                break
            trial, searching = self._choose(), self._searching
            if trial is None and self.scheduler.accepts_trials() and self._suggest(time, commands) is not None:
                trial = self._choose()
                if trial is None:
                    return  # the scheduler collects trials before it starts one; the next event brings another
            if trial is not None:
                self._run(trial, time, commands)
            elif searching and not self._searching:
                continue  # that there are no more trials may have made the scheduler let one go on
            elif not (self._active or self._evicting or asked_when_idle):
                asked_when_idle = True
                self.scheduler.on_idle(not self._searching)
            else:
                break
        if self._active or self._evicting:
            return
        left = [*self._pending.values(), *self._paused.values()]
        if not self.stop_reason and not self.slots and (left or self._searching):
            return
        # Nothing runs and nobody starts or resumes anything: no event could ever change that.
        for trial in left:
            never = "paused, and its scheduler never resumed it"
            if trial.status is S.PENDING:
                never = "its scheduler never started it"
            self._drop(trial, f"{trial.reason}; {never}" if trial.reason else never, time, commands)
        if self._active:
            return
        if self._searching:
            self._fill_slots(time, commands)  # the searcher may have waited for these trials to end
        else:
            self.finished = True
            commands.append(Finish("", self.stop_reason))

    def _create_population(self, time: float, commands: list[Command]) -> None:
        """Create all trials there will be; where the searcher names no number, as many as there are slots."""
        while self._searching and (
            self.rules.trial_limit is not None
            or len(self._active) + len(self._pending) + len(self._paused) < self.slots
        ):
            if self._suggest(time, commands) is None:
                return

    def _discard(self, time: float, commands: list[Command]) -> None:
        """End the paused trials that the scheduler has no use for."""
        while discarded := list(self.scheduler.discarded()):
            for trial, reason in discarded:
                if trial.status not in (S.PAUSED, S.PENDING):
                    continue  # it has ended meanwhile
                commands.append(RecordDecision(trial.id, trial.iteration, Action.STOP.value, reason, time))
                self._drop(trial, reason, time, commands)

    def _drop(self, trial: Trial, reason: str, time: float, commands: list[Command]) -> None:
        """End a trial that waits."""
        trial.reason = reason
        if trial.resident or trial.id in self._evicting:
            # One that is leaving may find that it cannot, and is told to stop as well.
            self._move(trial, "stop", time, commands)
            commands.append(StopTrial(trial.id, reason))
        else:
            self._end(trial, "drop", time, commands)

    def _end_search(self) -> None:
        self._searching = False
        self.scheduler.on_search_end()

    def _suggest(self, time: float, commands: list[Command]) -> Trial | None:
        """A new trial of the searcher's, waiting for a slot; None if there is none (now, or ever)."""
        if not self._searching:
            return None
        index = len(self.trials)
        limit = self.rules.trial_limit
        if limit is not None and index >= limit:
            self._end_search()
            return None
        trial_id = f"{index:05d}"
        if index in self.suggestions:
            config = self.suggestions[index]
            self.searcher.on_suggested(trial_id, index, config)
        else:
            suggested = self.searcher.suggest(trial_id, index)
            if suggested is Signal.COMPLETE:
                self._end_search()
                return None
            if isinstance(suggested, Signal):
                if not (self._active or self._paused or self._pending):
                    raise TuneError(
                        f"{type(self.searcher).__name__} is not ready to suggest trial {index}, and no trial is "
                        "running whose result it could wait for. A searcher must suggest or say COMPLETE then."
                    )
                return None
            if not isinstance(suggested, dict):
                raise TuneError(
                    f"{type(self.searcher).__name__}.suggest() returned {suggested!r} for trial {index}: expected a "
                    "dict of hyper-parameters, Signal.NOT_READY or Signal.COMPLETE."
                )
            config = suggested
        config = self.scheduler.initial_config(index, config)
        # The seed of a trial is a function of run seed and index, whatever order trials start in.
        trial = Trial(trial_id, index, config, seed=(self.rules.seed * 1_000_003 + index * 7919) % 2**32)
        self.trials[trial_id] = self._pending[trial_id] = trial
        commands.append(RecordTrial(trial_id, index, config, trial.seed, time))
        self.scheduler.on_trial_add(trial)
        return trial

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
                source_id, adopted = self._adopt(trial, exploit, time, commands)
                commands.append(ExploitTrial(trial.id, source_id, adopted, trial.config, self._lease(trial)))
            else:
                commands.append(GrantLease(trial.id, self._lease(trial)))
            return
        if exploit is not None:
            self._adopt(trial, exploit, time, commands)
            why_anew = "it waited on disk; its function is entered anew"
            commands.append(RecordDecision(trial.id, trial.iteration, "RESTART", why_anew, time))
        owner, checkpoint = trial.resume_point() or (trial.id, None)
        if trial.status is S.PAUSED and checkpoint is None:
            raise TuneError(f"trial {trial.id} was evicted without a checkpoint and cannot be resumed")
        self._move(trial, "start", time, commands, record=False)
        trial.iteration = checkpoint.iteration if checkpoint else 0
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
                source_id="" if owner == trial.id else owner,
                resources=trial.resources,
            )
        )

    def _stop_all(self, reason: str, time: float, commands: list[Command]) -> None:
        if self.stop_reason or self.finished:
            return
        self.stop_reason = reason
        self._searching = False
        gone = [t for t in self._paused.values() if not t.resident and t.id not in self._evicting]
        for trial in [*self._pending.values(), *gone]:
            trial.reason = reason
            self._end(trial, "drop", time, commands)
        for trial in [*self._active.values(), *self._paused.values()]:
            if trial.status is not S.STOPPING:
                trial.reason = reason
                self._move(trial, "stop", time, commands)
            commands.append(StopTrial(trial.id, trial.reason, now=True))

    # ------------------------------------------------------------------------------- invariants

    def validate(self) -> None:
        """Check what must hold between any two events.

        Raises:
            AssertionError: says which trial breaks which rule.
        """
        for trial in self.trials.values():
            where = f"trial {trial.id} ({trial.status}, history {trial.history})"
            assert (trial.id in self._pending) == (trial.status is S.PENDING), f"{where}: wrong in pending"
            assert (trial.id in self._paused) == (trial.status is S.PAUSED), f"{where}: wrong in paused"
            assert (trial.id in self._active) == trial.status.holds_slot, f"{where}: wrong in active"
            assert trial.status.finished == (trial.ended_at is not None), f"{where}: ended_at {trial.ended_at}"
            assert not trial.resident or trial.status is S.PAUSED, f"{where}: resident"
            assert trial.id not in self._evicting or trial.id in self._paused, f"{where}: wrong in evicting"
            assert not (trial.status.finished and trial.id in self._unseen), f"{where}: results nobody saw"
            assert trial.status is not S.ERROR or trial.error, f"{where}: no error text"
            ids = [c.id for c in trial.checkpoints]
            assert len(ids) == len(set(ids)), f"{where}: checkpoints {ids}"
            for owner, checkpoint in trial.inherited:
                assert checkpoint in self.trials[owner].checkpoints, f"{where}: inherits {checkpoint}, which is gone"
            if trial.adopted is not None:
                assert not trial.status.finished, f"{where}: keeps {trial.adopted} from being deleted"
                assert self.retention.pinned(*trial.adopted), f"{where}: {trial.adopted} is not pinned"
        assert self._residents == sum(t.resident for t in self._paused.values()), f"residents: {self._residents}"
        assert [t.index for t in self.trials.values()] == list(range(len(self.trials))), "indices have gaps"
        if self.finished:
            assert not (self._active or self._pending or self._paused), "finished with unfinished trials"

    def replay(self, events: Iterable[Event]) -> list[Command]:
        """Handle recorded events in order; returns all commands, none of which has been carried out."""
        return [command for event in events for command in self.handle(event)]


class _Without(Mapping[str, Trial]):
    """The trials of `all_` but for `left_out`; a view, since there may be a great many."""

    def __init__(self, all_: Mapping[str, Trial], left_out: Collection[str]) -> None:
        self._all, self._left_out = all_, left_out

    def __getitem__(self, trial_id: str) -> Trial:
        if trial_id in self._left_out:
            raise KeyError(trial_id)
        return self._all[trial_id]

    def __iter__(self) -> Iterator[str]:
        return (trial_id for trial_id in self._all if trial_id not in self._left_out)

    def __len__(self) -> int:
        return len(self._all) - sum(trial_id in self._all for trial_id in self._left_out)


_MISSING = object()
_LONGEST_REASON = 400  # characters
_NO_LEASE = Lease()
_NO_CHECKPOINTS: list[CheckpointRecord] = []  # of finished trials; never changed in place
_HISTORIES: dict[tuple[str, ...], tuple[str, ...]] = {}
_NOTHING: frozenset[str] = frozenset()
_CONTINUE = Decision(Action.CONTINUE)
_DONE = {Action.STOP: "stopped", Action.PAUSE: "paused", Action.EXPLOIT: "changed"}


def _reached(milestone: Milestone | None, result: dict[str, Any]) -> bool:
    if milestone is None:
        return False
    value = result.get(milestone.attr)
    if value is None:
        value = lookup(result, milestone.attr)
    return isinstance(value, (int, float)) and value >= milestone.value


def _on_one_line(text: str) -> str:
    """Type and message of an error on one line."""
    said = " ".join(line.strip() for line in message_in(text).splitlines())
    return said if len(said) <= _LONGEST_REASON else f"{said[: _LONGEST_REASON - 3]}..."
