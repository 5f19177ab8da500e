"""The loop of a run: events from the runtime to the core, its commands to the record and the runtime."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from types import FrameType
from typing import Any, Protocol

from tune_plugins.callbacks import HOOKS, Callback, Hook, RunInfo, hooks_of
from tune_plugins.core.autofill import Attempt
from tune_plugins.core.ends import EndCause, ErrorInfo
from tune_plugins.core.events import (
    CheckpointSaved,
    Command,
    DeleteCheckpoint,
    Event,
    ExploitDone,
    RecordCommand,
    RecordStatus,
    RecordTrial,
    ResultsReported,
    SearcherCommand,
    StartTrial,
    StopRequested,
    Tick,
    TrialStarted,
    WorkerLost,
)
from tune_plugins.core.experiment import Experiment
from tune_plugins.core.trial import Trial, TrialStatus
from tune_plugins.driver.runtime import Runtime
from tune_plugins.driver.suggestions import Suggestions
from tune_plugins.errors import ArgumentError, TuneError

logger = logging.getLogger(__name__)

_HOOK_OF_STATUS: dict[str, str] = {
    TrialStatus.TERMINATED: "on_trial_complete",
    TrialStatus.ERROR: "on_trial_error",
    TrialStatus.PENDING: "on_trial_recover",  # pending again, since it failed
}
_AT_ONCE = ErrorInfo("WorkerLostError", "ended at once on request")
_ENDING = (signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))
"""Signals that end the process; SIGHUP comes when its terminal is closed, or the connection to it is lost."""
_NAME_OF_SIGNAL: dict[int, str] = {signal.SIGINT: "Ctrl-C", **{number: number.name for number in _ENDING}}
_STEP_S = 0.1
_KEEP_STATES_S = 10.0
_COMMIT_S = 0.1


_replaced: list[dict[int, Any]] = []
"""The handlers of signals that the runs of this process found, {number: handler}; the outermost run first."""


def _set_handlers(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():
        # None stands for a handler that Python did not set and cannot set again.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _restore_in_child() -> None:
    """In a process that the training has forked, signals are not for the run: a pool ends its processes by SIGTERM.

    At once, not when one comes: a handler of Python's is run between two instructions, and one that comes just before
    the child begins to wait for a lock would be without effect.
    """
    if _replaced:
        with suppress(ValueError):  # it was not the main thread that has forked
            _set_handlers(_replaced[0])
        _replaced.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restore_in_child)


class Record(Protocol):
    """Where a run is recorded; see `tune_plugins.record.store.ExperimentStore`."""

    def commit(self, events: Sequence[Event], records: Sequence[RecordCommand], behind: Sequence[int]) -> object:
        """Make it durable: what happened, and what is to be noted of it, each in order.

        `behind`: for each of `records`, how many of `events` had come when it was made.
        """

    def set_meta(self, meta: Mapping[str, Any]) -> None:
        """Add facts about the run."""


class Unrecorded:
    """Keeps nothing; for runs of which only the decisions are of interest."""

    def commit(self, events: Sequence[Event], records: Sequence[RecordCommand], behind: Sequence[int]) -> None:
        """Nothing."""

    def set_meta(self, meta: Mapping[str, Any]) -> None:
        """Nothing."""


class Runner:
    """Drives one experiment to its end.

    Args:
        experiment: the core, before its first event or after a replay.
        suggestions: carries out its commands to the searcher.
        runtime: carries out those to trials.
        record: durable; results are in it before a verdict on them is given, unless the clock is virtual.
        callbacks: hooks, called when things are durable.
        info: handed to the hooks.
        stop, num_samples: as the user gave them, for the hooks.
        remarks: lines that the run has to say when it begins.
        more_warnings: asked at its end, beside the scheduler.
    """

    def __init__(
        self,
        experiment: Experiment,
        suggestions: Suggestions,
        runtime: Runtime,
        record: Record,
        callbacks: Sequence[Callback] = (),
        info: RunInfo | None = None,
        stop: Any = None,
        num_samples: int | None = None,
        remarks: Sequence[str] = (),
        more_warnings: Callable[[], list[str]] = list,
    ) -> None:
        self.experiment, self.runtime, self.record, self.info = experiment, runtime, record, info or RunInfo()
        self.suggestions, self.stop, self.num_samples = suggestions, stop, num_samples
        self.remarks, self.more_warnings = remarks, more_warnings
        self.hooks = Hooks(callbacks, experiment.trials)
        self._asked_in_vain = False
        self._trouble = "ended by an error"
        self._signals: list[int] = []
        self._budget_s = experiment.rules.time_budget_s
        self._began = math.inf
        self._closing = False
        self._last_step = self._last_commit = 0.0
        self._last_kept = time.monotonic()
        self._unwritten: list[Event] = []
        self._unwritten_records: list[RecordCommand] = []
        self._behind: list[int] = []  # for each of these, how many of the unwritten events had come
        self._untold: list[Event | Command] = []  # both of these, in order
        self._warnings: list[str] = []

    def run(self) -> str:
        """Run to the end.

        Returns:
            Why the run ended early, empty where it did not.

        Raises:
            TuneError: the run cannot go on (an unknown metric, a user's scheduler or searcher that raised, a full
                disk); everything acknowledged is in the record.
            SystemExit: after SIGTERM or SIGHUP, once everything has come to a clean stop.
        """
        self.runtime.attach(self.turn)
        info = self.info
        as_reporters_know_it = {"total_samples": info.total_trials, "metric": info.metric, "mode": info.mode}
        self.hooks.call(
            "setup",
            stop=self.stop,
            num_samples=self.num_samples,
            total_num_samples=info.total_trials,
            run=info,
            start_time=self.runtime.time(),
            **as_reporters_know_it,
        )
        if self.remarks:
            self.hooks.output("", self.remarks)
        self.hooks.step("on_step_begin")
        before = self._catch_signals()
        reason = ""
        self._began = self.runtime.clock()
        try:
            while not self.experiment.finished:
                if len(self._signals) > 1:
                    self._end_at_once("interrupted twice")
                    break
                events = self.runtime.poll(_STEP_S)
                events += self.suggestions.answers(self.experiment.busy)
                if not (events or self.runtime.waits):
                    self._nothing_happened()
                self._asked_in_vain = not events
                self.turn(events)
            reason = self.experiment.stop_reason
            self._closing = True
            made, limit = len(self.experiment.trials), self.experiment.rules.trial_limit
            if not reason and limit is not None and made < limit:
                said = f"{self.experiment.rules.searcher} had no more to suggest: {made} of {limit} trials"
                self.hooks.output("", [said])
            self._take_in(self.runtime.close())
            self._commit()
            self._keep_warnings()
            signals = len(self._signals)
            self.suggestions.close(ended_early=bool(reason), interrupted=lambda: len(self._signals) > signals)
        except BaseException as error:
            reason = self._trouble
            if self.info.path:
                error.add_note(
                    "The results up to here are kept; look at them with "
                    f"tune_plugins.ResultGrid({json.dumps(self.info.path, ensure_ascii=False)})"
                )
            # What was taken in before the trouble is kept, and trials that were running have ended with it. If the
            # trouble is the disk's, or the scheduler is in no state to be told, there is nothing to be done.
            with suppress(Exception):
                self._end_at_once(reason)
            with suppress(TuneError):
                self._commit()
            with suppress(Exception):
                self.suggestions.close(ended_early=True, interrupted=lambda: len(self._signals) > 1)
            raise
        finally:
            _replaced[:] = [one for one in _replaced if one is not before]
            _set_handlers(before)
            self._pass_on_output()
            self._end_step()
            self._keep_states()
            self.hooks.end(reason, self._warnings)
        ending = [number for number in self._signals if number in _ENDING]
        if ending:
            raise SystemExit(128 + ending[0])
        return reason

    def turn(self, events: list[Event]) -> None:
        """Take events in and carry out what follows from them."""
        now = self.runtime.time()
        if self._signals and not self.experiment.stop_reason:
            how = _NAME_OF_SIGNAL[self._signals[0]]
            events.append(StopRequested(now, f"interrupted by {how}"))
            self.hooks.output("", [f"{how}: trials stop at their next report, within seconds"])
        budget = self._budget_s
        if budget is not None and self.runtime.clock() - self._began >= budget and not self.experiment.stop_reason:
            used_up = f"the time budget of {budget:g} s is used up"
            events.insert(0, StopRequested(now, used_up, EndCause.TIME_BUDGET))  # nothing is begun any more
        if not events:
            events.append(Tick(now))
        self._carry_out(self._take_in(events))
        self._pass_on_output()
        step = time.monotonic()
        if step - self._last_step >= _STEP_S:
            self._last_step = step
            self._end_step()
            self.hooks.iteration += 1
            self.hooks.step("on_step_begin")
            if step - self._last_kept >= _KEEP_STATES_S:
                self._last_kept = step
                self._keep_states()

    def _end_step(self) -> None:
        self.hooks.step("on_step_end", notes=self._notes(), stages=self.runtime.stages())

    def _notes(self) -> list[str]:
        """Lines of the scheduler; one that raises ends no run: they are only shown."""
        scheduler = self.experiment.scheduler
        try:
            return scheduler.notes()
        except Exception as error:
            return [f"{type(scheduler).__name__}.notes raised {type(error).__name__}: {error}"]

    def _keep_warnings(self) -> None:
        """Ask what went wrong unseen, and the scheduler why it could not work.

        One that raises ends no run: that it did is the warning.
        """
        scheduler = self.experiment.scheduler
        try:
            self._warnings = [str(warning) for warning in scheduler.warnings()]
        except Exception as error:
            self._warnings = [f"{type(scheduler).__name__}.warnings raised {type(error).__name__}: {error}"]
        self._warnings += self.more_warnings()
        if self._warnings:
            self.record.set_meta({"warnings": self._warnings})

    def _keep_states(self) -> None:
        if states := self.hooks.states():
            self.record.set_meta({"callbacks": states})

    def _take_in(self, events: list[Event]) -> list[Command]:
        """Show events to the core, and have the searcher answer; all that happens is noted for the record.

        Returns what is to be done for trials, in order.
        """
        commands: list[Command] = []
        coming = deque(events)
        while coming:
            event = coming.popleft()
            # What is told of the clock is only noted where something follows from it.
            if not isinstance(event, Tick):
                self._note(event)
            answer = self.handle(event)
            if isinstance(event, Tick) and answer:
                self._note(event)
            for_searcher: list[SearcherCommand] = []
            for command in answer:
                if isinstance(command, RecordCommand):
                    self._unwritten_records.append(command)
                    self._behind.append(len(self._unwritten))
                    self._untold.append(command)
                elif isinstance(command, SearcherCommand):
                    for_searcher.append(command)
                else:
                    commands.append(command)
                    if isinstance(command, StartTrial):
                        self._untold.append(command)
            if for_searcher:
                coming.extendleft(reversed(self._have_answered(for_searcher)))
        return commands

    def _have_answered(self, commands: list[SearcherCommand]) -> list[Event]:
        try:
            return self.suggestions.perform(commands)
        except KeyboardInterrupt:  # of `note`, while the searcher computed in this thread: as in a training
            if not self._signals:
                raise
            return []

    def _note(self, event: Event) -> None:
        self._unwritten.append(event)
        self._untold.append(event)

    def _carry_out(self, commands: list[Command]) -> None:
        """Start trials at once; give verdicts only when what they rest on is durable.

        Where nobody waits for a verdict, or time is virtual, one commit serves all turns of `_COMMIT_S` seconds.
        """
        starts = [c for c in commands if isinstance(c, StartTrial)]
        verdicts = [c for c in commands if not isinstance(c, StartTrial)]
        # A new trial need not wait for the disk: it has done nothing yet that could be lost.
        if starts:
            self.runtime.perform(starts)
        waits = verdicts and not self.runtime.virtual
        if waits or self.experiment.finished or time.monotonic() - self._last_commit >= _COMMIT_S:
            self._commit()
        if verdicts:
            self.runtime.perform(verdicts)

    def _commit(self) -> None:
        """Make everything durable that was taken in so far, and tell the callbacks."""
        events, records = self._unwritten, self._unwritten_records
        self._last_commit = time.monotonic()
        if not events and not records:
            return
        self.record.commit(events, records, self._behind)
        happened, self._untold = self._untold, []
        self._unwritten, self._unwritten_records, self._behind = [], [], []
        for command in records:
            if isinstance(command, DeleteCheckpoint):
                self.runtime.delete_checkpoint(command.trial_id, command.checkpoint)
        self.hooks.tell(happened)

    def _nothing_happened(self) -> None:
        """Where nothing goes on by itself, and the core was told and did nothing about it, no event will ever come.

        Raises:
            TuneError: names who waits for whom.
        """
        if self._asked_in_vain:
            waiting = [t.id for t in self.experiment.trials.values() if not t.status.finished]
            raise TuneError(
                f"{type(self.experiment.scheduler).__name__} left {len(waiting)} trials waiting for each other "
                f"(first ones: {', '.join(waiting[:5])}), and no event will ever come. This is a defect of it."
            )

    def handle(self, event: Event) -> list[Command]:
        """Show one event to the core.

        Raises:
            TuneError: a user's scheduler or stopper raised; says which and where the results are.
        """
        try:
            return self.experiment.handle(event)
        except TuneError as error:
            if isinstance(error, ArgumentError):
                self._trouble = "ended by a wrong argument"
            raise
        except Exception as error:
            core = self.experiment
            tools = [type(tool).__name__ for tool in (core.scheduler, core.stopper) if tool is not None]
            raise TuneError(
                f"{type(error).__name__} in the scheduler or stopper of this run ({', '.join(tools)}), while "
                f"it handled {type(event).__name__} of trial {getattr(event, 'trial_id', '')!r}: {error}. "
                f"All results up to here are in {self.info.path}."
            ) from error

    def _pass_on_output(self) -> None:
        output, self.runtime.output = self.runtime.output, []
        for item in output:
            self.hooks.output(item.trial_id, item.lines)

    # --------------------------------------------------------------------------------- signals

    def _catch_signals(self) -> dict[int, Any]:
        """Ctrl-C, SIGTERM and SIGHUP ask for a clean stop; a second one ends at once."""
        if threading.current_thread() is not threading.main_thread():
            return {}

        before: dict[int, Any] = {}
        _replaced.append(before)

        def note(number: int, frame: FrameType | None) -> None:
            if self.runtime.in_user_code:
                self.runtime.interrupted_by = _NAME_OF_SIGNAL[number]
                if number in _ENDING:
                    self._signals.append(number)  # for the exit code
                raise KeyboardInterrupt  # a debugger, or the training itself, may want to catch it
            self._signals.append(number)
            if self.suggestions.working and not self.runtime.waits:
                raise KeyboardInterrupt
            if len(self._signals) > (1 if self._closing or not self.runtime.waits else 2):
                raise KeyboardInterrupt  # something holds the loop up, perhaps a callback
            self.runtime.wake()

        for number in _NAME_OF_SIGNAL:
            if signal.getsignal(number) is not signal.SIG_IGN or number not in _ENDING:  # `nohup` has it ignored
                before[number] = signal.signal(number, note)
        return before

    def _end_at_once(self, reason: str) -> None:
        self.runtime.kill_all()
        now = self.runtime.time()
        if not self.experiment.stop_reason:
            self._take_in([StopRequested(now, reason)])
        lost: list[Event] = [
            WorkerLost(now, trial.id, _AT_ONCE, preempted=True)
            for trial in self.experiment.trials.values()
            if trial.status is TrialStatus.STOPPING
        ]
        self._take_in(lost)
        self._commit()


class Hooks:
    """Calls the callbacks; one that raises is reported once and harms nothing.

    Attributes:
        iteration: number of the step that is going on, from 0.
        trials: all of them, in order of creation.
    """

    def __init__(self, callbacks: Sequence[Callback], trials: Mapping[str, Trial]) -> None:
        self.iteration = 0
        self.trials: list[Trial] = []
        self._by_id = trials
        self._reported: set[Hook] = set()
        self._restoring: set[str] = set()
        # In force at the item that is told: by then an exploit may have given the trial another one.
        self._configs: dict[str, dict[str, Any]] = {}
        self._attempts: dict[str, Attempt] = {}
        # A display looks at metrics only, and 30,000 results a second may come.
        self._fills = False
        self._listening: dict[str, list[Hook]] = {name: [] for name in HOOKS}
        for callback in callbacks:
            for name in hooks_of(callback):
                self._listening[name].append(Hook(callback, name))
                self._fills |= name == "on_trial_result" and not getattr(callback, "reads_reported_only", False)

    def call(self, name: str, **arguments: Any) -> None:
        """Call one hook of all callbacks that have it."""
        for hook in self._listening[name]:
            self._answer(hook, arguments)

    def states(self) -> list[tuple[str, Any]]:
        """Class and state of each callback that keeps one."""
        answers = [(hook.owner.rpartition(".")[0], self._answer(hook, {})) for hook in self._listening["get_state"]]
        return [(owner, state) for owner, state in answers if state is not None]

    def step(self, name: str, **info: Any) -> None:
        """A step begins or ends."""
        if self._listening[name]:
            self.call(name, iteration=self.iteration, trials=self._all(), **info)

    def tell(self, happened: Sequence[Event | Command]) -> None:
        """Call the hooks for events and what followed from each, in order."""
        for item in happened if any(self._listening.values()) else ():
            if isinstance(item, RecordTrial):
                self._configs[item.trial_id] = item.config
            elif isinstance(item, ResultsReported):
                if self._listening["on_trial_result"]:
                    self._tell_results(item)
            elif isinstance(item, StartTrial):
                if item.checkpoint is not None:
                    self._restoring.add(item.trial_id)
            elif isinstance(item, TrialStarted):
                begins = item.iteration, item.elapsed
                self._attempts[item.trial_id] = Attempt(item.pid, item.hostname, item.node_ip, *begins)
                if item.trial_id in self._restoring:
                    self._restoring.remove(item.trial_id)
                    self._tell("on_trial_restore", item.trial_id)
                self._tell("on_trial_start", item.trial_id)
            elif isinstance(item, ExploitDone):
                if item.trial_id in self._attempts:
                    self._attempts[item.trial_id].go_on_from(item.iteration, item.elapsed)
                self._tell("on_trial_restore", item.trial_id)
            elif isinstance(item, CheckpointSaved):
                self._tell("on_trial_save", item.trial_id)
                self._tell("on_checkpoint", item.trial_id, checkpoint=item.checkpoint)
            elif isinstance(item, RecordStatus) and (name := _HOOK_OF_STATUS.get(item.status)) is not None:
                if item.status != TrialStatus.PENDING:
                    self._configs.pop(item.trial_id, None)
                    self._attempts.pop(item.trial_id, None)
                error = {} if item.error is None else {"error": item.error}
                self._tell(name, item.trial_id, **error)

    def _tell_results(self, event: ResultsReported) -> None:
        trial = self._by_id[event.trial_id]
        config = self._configs.get(trial.id, trial.config)
        if not self._fills:
            for result in event.results:
                self._tell("on_trial_result", trial.id, result={**result, "trial_id": trial.id, "config": config})
            return
        attempt, tag = self._attempts.setdefault(trial.id, Attempt()), trial.experiment_tag
        for result in event.results:
            filled = attempt.filled(result, trial_id=trial.id, config=config, experiment_tag=tag, done=False)
            self._tell("on_trial_result", trial.id, result=filled)

    def output(self, trial_id: str, lines: Sequence[str]) -> None:
        """Pass on what a trial, or the run itself (no id), has to say."""
        trial = self._by_id.get(trial_id)
        self.call("on_trial_output", iteration=self.iteration, trials=self._all(), trial=trial, lines=lines)

    def end(self, reason: str, warnings: Sequence[str]) -> None:
        """The run is over."""
        self.call("on_experiment_end", trials=self._all(), reason=reason, warnings=warnings)

    def _tell(self, name: str, trial_id: str, **more: Any) -> None:
        trials = self._all()
        self.call(name, iteration=self.iteration, trials=trials, trial=self._by_id[trial_id], **more)

    def _all(self) -> list[Trial]:
        if len(self.trials) < len(self._by_id):
            self.trials += islice(self._by_id.values(), len(self.trials), None)
        return self.trials

    def _answer(self, hook: Hook, arguments: dict[str, Any]) -> Any:
        try:
            return hook(**arguments)
        except Exception:
            if hook not in self._reported:
                self._reported.add(hook)
                logger.warning("%s raised; the run goes on without it (said once)", hook.owner, exc_info=True)
