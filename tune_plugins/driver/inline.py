"""Trials one after another in the caller's process and thread, so that debuggers and coverage work."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from typing import Any

from tune_plugins import session as session_module
from tune_plugins.core.ends import EndCause
from tune_plugins.core.events import (
    Command,
    Event,
    Instruction,
    ResultsReported,
    SlotsChanged,
    StartTrial,
    StopRequested,
    StopTrial,
    TrialErrored,
    TrialFinished,
    TrialPaused,
)
from tune_plugins.driver.resources import Shape, shape_of
from tune_plugins.driver.runtime import Place, Runtime, Task
from tune_plugins.errors import TrialEvicted
from tune_plugins.worker.attempt import keep_random_states, release_objects, run_job, seed_everything, started
from tune_plugins.worker.children import children_may_report
from tune_plugins.worker.messages import Job

_TURN_S = 0.1
_SHAPE = shape_of(None)


class InlinePlace(Place):
    """One slot, in this very process.

    Args:
        function: takes the config.
    """

    slots = 1

    def __init__(self, function: Callable[[dict[str, Any]], Any]) -> None:
        self._function = function
        self.resources, self.cluster = _SHAPE.total, {}

    def residents(self, asked: int | None) -> int:
        """None: there is no process to wait in."""
        return 0

    def open(self, task: Task) -> InlineRuntime:
        """The runtime of one run."""
        return InlineRuntime(self._function, task.make_job)

    def close(self) -> None:
        """Nothing is left of the run in this process."""
        release_objects()


class InlineRuntime(Runtime):
    """One slot, in this very process. A trial that pauses is unwound and goes on from its checkpoint later.

    What trials print is not caught. Ctrl-C raises KeyboardInterrupt in the training function, as without tuning.

    Args:
        function: takes the config.
        make_job: completes a `StartTrial` to a `Job`.
    """

    waits = False

    def __init__(self, function: Callable[[dict[str, Any]], Any], make_job: Callable[[StartTrial, Shape], Job]) -> None:
        super().__init__()
        self._function, self._make_job = function, make_job
        self._turn: Callable[[list[Event]], None] = lambda events: None
        self._jobs: deque[Job] = deque()
        self._mail: _InlineMail | None = None
        self._announced = False
        self._last_events: list[Event] = []
        self._trouble: Exception | None = None

    def attach(self, turn: Callable[[list[Event]], None]) -> None:
        """`turn` shows events to the core and has its commands performed before it returns."""
        self._turn = turn

    def poll(self, timeout: float) -> list[Event]:
        """Run the next trial; returns its last events, those before went through `turn`."""
        if not self._announced:
            self._announced = True
            return [SlotsChanged(time.time(), 1)]
        if self._last_events:
            events, self._last_events = self._last_events, []
            return events
        if not self._jobs:
            return []
        job = self._jobs.popleft()
        mail = self._mail = _InlineMail(job.trial_id, self._leave_user_code, self.remark)
        mail.event(started(job))
        directory, environ, put_back = os.getcwd(), dict(os.environ), keep_random_states()
        search_path = list(sys.path)

        def reset(job: Job) -> None:
            os.chdir(directory)
            seed_everything(job.seed)

        self.in_user_code = True
        try:
            # The address that children report to is the process's.
            with nullcontext() if session_module.is_beside_another() else children_may_report():
                run_job(job, self._function, mail, _Now(), reset)
        except KeyboardInterrupt:
            reason = f"interrupted by {self.interrupted_by}"
            mail.event(StopRequested(time.time(), reason))
            if not mail.ended:  # it may come when all is said, or while a trial that leaves tidies up
                mail.event(TrialFinished(time.time(), job.trial_id, reason, EndCause.USER))
        finally:
            self.in_user_code = False
            self._mail = None
            if job.in_own_folder:
                sys.path[:] = search_path
            os.chdir(directory)  # also where the trial has deleted the one that it was in
            for name in os.environ.keys() - environ.keys():  # not all at once: other threads may read them
                os.environ.pop(name, None)
            os.environ.update((name, value) for name, value in environ.items() if os.environ.get(name) != value)
            put_back()
        if self._trouble is not None:  # the driver's, which went through the training and is no error of it
            raise self._trouble
        return mail.take()

    def _leave_user_code(self, events: list[Event]) -> None:
        """Out of a report: what the driver and its callbacks do now is not the training's."""
        self.in_user_code = False
        try:
            if self._trouble is None:  # else user code has swallowed it and reports again
                self._turn(events)
        except Exception as error:
            self._trouble = error
        finally:
            self.in_user_code = True
        if self._trouble is not None:
            # Not as it is: `except Exception` around a training would take it for the training's.
            raise TrialEvicted(f"the run has ended by an error: {self._trouble}")

    def perform(self, commands: Sequence[Command]) -> None:
        """Note what is to be done; the running trial finds its verdict when `turn` returns."""
        for command in commands:
            if isinstance(command, StartTrial):
                self._jobs.append(self._make_job(command, _SHAPE))
            elif isinstance(command, Instruction):
                if self._mail is not None and self._mail.trial_id == command.trial_id:
                    self._mail.answer(command)
                elif isinstance(command, StopTrial):
                    self._jobs = deque(job for job in self._jobs if job.trial_id != command.trial_id)
                    self._last_events.append(
                        TrialFinished(time.time(), command.trial_id, command.reason, command.cause)
                    )


class _InlineMail:
    """The driver is a function call away."""

    def __init__(self, trial_id: str, turn: Callable[[list[Event]], None], remark: Callable[[str], None]) -> None:
        self.trial_id, self._turn, self.remark = trial_id, turn, remark
        self._results: list[dict[str, Any]] = []
        self._events: list[Event] = []
        self._verdict: Command | None = None
        self._stop: StopTrial | None = None
        self.ended = False
        self._last_turn = time.monotonic()

    def result(self, result: dict[str, Any]) -> None:
        """Queue a result; about ten times a second the driver has a look."""
        self._results.append(result)

    def event(self, event: Event) -> None:
        """Queue an event behind the results."""
        self._collect(waiting=False)
        self._events.append(event)
        left = isinstance(event, TrialPaused) and not event.resident
        self.ended = self.ended or left or isinstance(event, (TrialFinished, TrialErrored))

    def take(self) -> list[Event]:
        """Everything queued, in order."""
        self._collect(waiting=False)
        events, self._events = self._events, []
        return events

    def milestone(self, result: dict[str, Any]) -> None:
        """Show the driver everything; its verdict is there when this returns."""
        self._results.append(result)
        self._collect(waiting=True)
        self._turn(self.take())

    def verdict(self) -> Command:
        """The verdict on the last milestone; none may wait in memory, so there is one."""
        self._turn(self.take())
        verdict, self._verdict = self._verdict, None
        assert verdict is not None
        return verdict

    def answer(self, command: Command) -> None:
        """A command came for the trial."""
        if isinstance(command, StopTrial):
            self._stop = command
        self._verdict = command

    def stop_wanted(self) -> StopTrial | None:
        """A wish to stop that came while the trial was running."""
        if time.monotonic() - self._last_turn >= _TURN_S:
            self._last_turn = time.monotonic()
            self._turn(self.take())
        return self._stop

    def _collect(self, *, waiting: bool) -> None:
        if self._results:
            self._events.append(ResultsReported(time.time(), self.trial_id, tuple(self._results), waiting))
            self._results = []


class _Now(Executor):
    """Does at once what is submitted."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*args, **kwargs))
        return future
