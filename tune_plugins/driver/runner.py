"""The loop of a run: events from the runtime to the core, its commands to the record and the runtime."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, Protocol

from tune_plugins.callbacks import Callback, RunInfo
from tune_plugins.core.ends import ErrorInfo
from tune_plugins.core.events import (
    CheckpointSaved,
    Command,
    DeleteCheckpoint,
    Event,
    RecordCommand,
    RecordStatus,
    ResultsReported,
    StartTrial,
    StopRequested,
    Tick,
    TrialStarted,
    WorkerLost,
)
from tune_plugins.core.experiment import Experiment
from tune_plugins.core.trial import Trial, TrialStatus
from tune_plugins.driver.runtime import Runtime
from tune_plugins.errors import ArgumentError, TuneError

logger = logging.getLogger(__name__)

_HOOK_OF_STATUS: dict[str, str] = {
    TrialStatus.TERMINATED: "on_trial_complete",
    TrialStatus.ERROR: "on_trial_error",
    TrialStatus.PENDING: "on_trial_recover",  # pending again, since it failed
}
_AT_ONCE = ErrorInfo("WorkerLostError", "ended at once on request")
_NAME_OF_SIGNAL: dict[int, str] = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
_STEP_S = 0.1
_COMMIT_S = 0.1


class Record(Protocol):
    """Where a run is recorded; see `tune_plugins.record.store.ExperimentStore`."""

    def commit(self, events: Sequence[Event], records: Sequence[RecordCommand], behind: Sequence[int]) -> object:
        """Make it durable: what happened, and what is to be noted of it, each in order.

        `behind`: for each of `records`, how many of `events` had come when it was made.
        """


class Unrecorded:
    """Keeps nothing; for runs of which only the decisions are of interest."""

    def commit(self, events: Sequence[Event], records: Sequence[RecordCommand], behind: Sequence[int]) -> None:
        """Nothing."""


class Runner:
    """Drives one experiment to its end.

    Args:
        experiment: the core, before its first event or after a replay.
        runtime: carries out its commands.
        record: durable; results are in it before a verdict on them is given, unless the clock is virtual.
        callbacks: hooks, called when things are durable.
        info: handed to the hooks.
    """

    def __init__(
        self,
        experiment: Experiment,
        runtime: Runtime,
        record: Record,
        callbacks: Sequence[Callback] = (),
        info: RunInfo | None = None,
    ) -> None:
        self.experiment, self.runtime, self.record, self.info = experiment, runtime, record, info or RunInfo()
        self.hooks = Hooks(callbacks, experiment.trials)
        self._asked_in_vain = False
        self._trouble = "ended by an error"
        self._signals: list[int] = []
        self._closing = False
        self._last_step = self._last_commit = 0.0
        self._unwritten: list[Event] = []
        self._unwritten_records: list[RecordCommand] = []
        self._behind: list[int] = []  # for each of these, how many of the unwritten events had come
        self._untold: list[Event | Command] = []  # both of these, in order

    def run(self) -> str:
        """Run to the end.

        Returns:
            Why the run ended early, empty where it did not.

        Raises:
            TuneError: the run cannot go on (an unknown metric, a user's scheduler or searcher that raised, a full
                disk); everything acknowledged is in the record.
            SystemExit: after SIGTERM, once everything has come to a clean stop.
        """
        self.runtime.attach(self.turn)
        self.hooks.call("setup", self.info)
        before = self._catch_signals()
        reason = ""
        try:
            while not self.experiment.finished:
                if len(self._signals) > 1:
                    self._end_at_once()
                    break
                events = self.runtime.poll(_STEP_S)
                if not (events or self.runtime.waits):
                    self._nothing_happened()
                self._asked_in_vain = not events
                self.turn(events)
            reason = self.experiment.stop_reason
            self._closing = True
            self._take_in(self.runtime.close())
            self._commit()
        except BaseException:
            reason = self._trouble
            self.runtime.kill_all()
            # What was taken in before the trouble is kept; if that is the disk's, there is nothing to be done.
            with suppress(TuneError):
                self._commit()
            raise
        finally:
            for number, handler in before.items():
                # None stands for a handler that Python did not set and cannot set again.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            self._pass_on_output()
            self.hooks.call("on_experiment_end", self.experiment.trials, reason)
        if signal.SIGTERM in self._signals:
            raise SystemExit(128 + signal.SIGTERM)
        return reason

    def turn(self, events: list[Event]) -> None:
        """Take events in and carry out what follows from them."""
        now = self.runtime.time()
        if self._signals and not self.experiment.stop_reason:
            how = _NAME_OF_SIGNAL[self._signals[0]]
            events.append(StopRequested(now, f"interrupted by {how}"))
            self.hooks.call("on_trial_output", None, [f"{how}: trials stop at their next report, within seconds"])
        if not events:
            events.append(Tick(now))
        self._carry_out(self._take_in(events))
        self._pass_on_output()
        step = time.monotonic()
        if step - self._last_step >= _STEP_S:
            self._last_step = step
            self.hooks.call("on_step", self.experiment.trials, self.experiment.scheduler.notes())

    def _take_in(self, events: list[Event]) -> list[Command]:
        """Show events to the core; both they and what they led to are noted for the record."""
        commands: list[Command] = []
        for event in events:
            if not isinstance(event, Tick):
                self._unwritten.append(event)
                self._untold.append(event)
            answer = self.handle(event)
            commands += answer
            records = [c for c in answer if isinstance(c, RecordCommand)]
            self._unwritten_records += records
            self._behind += [len(self._unwritten)] * len(records)
            self._untold += records
        return commands

    def _carry_out(self, commands: list[Command]) -> None:
        """Start trials at once; give verdicts only when what they rest on is durable.

        Where nobody waits for a verdict, or time is virtual, one commit serves all turns of `_COMMIT_S` seconds.
        """
        starts = [c for c in commands if isinstance(c, StartTrial)]
        verdicts = [c for c in commands if not isinstance(c, (StartTrial, RecordCommand))]
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
            TuneError: a user's scheduler, searcher or stopper raised; says which and where the results are.
        """
        try:
            return self.experiment.handle(event)
        except TuneError as error:
            if isinstance(error, ArgumentError):
                self._trouble = "ended by a wrong argument"
            raise
        except Exception as error:
            core = self.experiment
            tools = [type(tool).__name__ for tool in (core.scheduler, core.searcher, core.stopper) if tool is not None]
            raise TuneError(
                f"{type(error).__name__} in the scheduler, searcher or stopper of this run ({', '.join(tools)}), while "
                f"it handled {type(event).__name__} of trial {getattr(event, 'trial_id', '')!r}: {error}. "
                f"All results up to here are in {self.info.path}."
            ) from error

    def _pass_on_output(self) -> None:
        output, self.runtime.output = self.runtime.output, []
        for item in output:
            self.hooks.call("on_trial_output", self.experiment.trials.get(item.trial_id), item.lines)

    # --------------------------------------------------------------------------------- signals

    def _catch_signals(self) -> dict[int, Any]:
        """Ctrl-C and SIGTERM ask for a clean stop; a second one ends at once."""
        if threading.current_thread() is not threading.main_thread():
            return {}

        def note(number: int, frame: FrameType | None) -> None:
            if self.runtime.in_user_code:
                self.runtime.interrupted_by = _NAME_OF_SIGNAL[number]
                if number == signal.SIGTERM:
                    self._signals.append(number)  # for the exit code
                raise KeyboardInterrupt  # a debugger, or the training itself, may want to catch it
            self._signals.append(number)
            if len(self._signals) > (1 if self._closing or not self.runtime.waits else 2):
                raise KeyboardInterrupt  # something holds the loop up, perhaps a callback
            self.runtime.wake()

        return {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}

    def _end_at_once(self) -> None:
        self.runtime.kill_all()
        now = self.runtime.time()
        if not self.experiment.stop_reason:
            self._take_in([StopRequested(now, "interrupted twice")])
        lost: list[Event] = [
            WorkerLost(now, trial.id, _AT_ONCE, preempted=True)
            for trial in self.experiment.trials.values()
            if trial.status is TrialStatus.STOPPING
        ]
        self._take_in(lost)
        self._commit()


class Hooks:
    """Calls the callbacks; one that raises is reported once and harms nothing."""

    def __init__(self, callbacks: Sequence[Callback], trials: Mapping[str, Trial]) -> None:
        self._callbacks, self._trials = callbacks, trials
        self._reported: set[tuple[int, str]] = set()
        # A callback need not derive from `Callback`: hooks that it lacks are not called.
        self._listening = {
            name: [c for c in callbacks if getattr(type(c), name, no_hook) is not no_hook]
            for name, no_hook in vars(Callback).items()
            if not name.startswith("_")
        }

    def call(self, name: str, *arguments: Any) -> None:
        """Call one hook of all callbacks that have it."""
        for callback in self._listening[name]:
            try:
                getattr(callback, name)(*arguments)
            except Exception:
                if (id(callback), name) not in self._reported:
                    self._reported.add((id(callback), name))
                    logger.warning(
                        "%s.%s raised; the run goes on without it (said once)", type(callback).__name__, name,
                        exc_info=True,
                    )  # fmt: skip

    def tell(self, happened: Sequence[Event | Command]) -> None:
        """Call the hooks for events and what followed from each, in order."""
        if not self._callbacks:
            return
        trials = self._trials
        for item in happened:
            if isinstance(item, ResultsReported):
                if self._listening["on_trial_result"]:
                    trial = trials[item.trial_id]
                    for result in item.results:
                        self.call("on_trial_result", trials, trial, result)
            elif isinstance(item, TrialStarted):
                self.call("on_trial_start", trials, trials[item.trial_id])
            elif isinstance(item, CheckpointSaved):
                self.call("on_checkpoint", trials, trials[item.trial_id], item.checkpoint)
            elif isinstance(item, RecordStatus) and (hook := _HOOK_OF_STATUS.get(item.status)) is not None:
                error = () if item.error is None else (item.error,)
                self.call(hook, trials, trials[item.trial_id], *error)
