"""Who reports: a trial trains at one place at a time, wherever that is.

Its results are one sequence. Two trainings at the same time, the folds of a cross-validation in a pool say, would mix
theirs, and a decision on them would be about no training at all. One after another is right, in as many processes and
threads as there may be: one takes over from another that has ended, a thread that serves a pool from one that has
ended its task. (What a process does between its reports cannot be seen from here; one that a pool keeps is there.)

Pools keep their processes, too, and use them again in the next trial. What a process is at tells whether it still does
what an earlier attempt has asked for, or has been given something new.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, NamedTuple

_numbers = itertools.count()
_thread = threading.local()


# Where a worker of a pool waits for tasks: module (by its end: joblib and others have copies) and function; then the
# variable that holds the task it is at, and how the pool names that.
_LOOPS: dict[str, tuple[tuple[str, ...], str, Callable[[Mapping[str, Any]], Hashable]]] = {
    "_process_worker": (("process", "process_executor"), "call_item", lambda known: known["call_item"].work_id),
    "worker": (("pool",), "job", lambda known: (known["job"], known["i"])),
    "_worker": (("thread",), "work_item", lambda known: id(known["work_item"])),
}
CATCHES_EXCEPTIONS_ONLY = "worker"
"""The pool of `multiprocessing`: its worker is ended by anything else, and who waits for the result waits forever."""


class Task(NamedTuple):
    """What a thread is at.

    Attributes:
        thread: number of the thread, in its process.
        pool: kind of the pool that it serves, empty if it serves none.
        item: what the pool calls the task.
    """

    thread: int
    pool: str = ""
    item: Hashable = None


def task_at_hand() -> Task:
    """What the thread that asks is at."""
    number = getattr(_thread, "number", None)
    if number is None:
        number = _thread.number = next(_numbers)
    return _task(number, sys._getframe(1))


def _task(thread: int, frame: FrameType | None) -> Task:
    while frame is not None:
        if (loop := _LOOPS.get(frame.f_code.co_name)) is not None:
            modules, variable, name_of = loop
            known = frame.f_locals
            if str(frame.f_globals.get("__name__")).endswith(modules) and known.get(variable) is not None:
                found = Task(thread, frame.f_code.co_name, name_of(known))
                if type(known) is dict:
                    known.clear()  # a copy (before Python 3.13) that would keep the arguments of the task alive
                return found
        frame = frame.f_back
    return Task(thread)


@dataclass(frozen=True, slots=True)
class _Child:
    """A child process that reports."""

    speaker: threading.Thread
    """Speaks for it until it hangs up."""
    connection: Connection

    def is_there(self) -> bool:
        """It has not ended."""
        with suppress(OSError):
            while self.speaker.is_alive():
                if not self.connection.poll():
                    return True
                self.speaker.join(0.01)  # it has hung up, or says something: the thread is about to know
        return False


@dataclass(frozen=True, slots=True)
class _Thread:
    """A thread of the trial's own process that reports."""

    thread: threading.Thread
    task: Task

    def is_there(self) -> bool:
        """It is still at the same."""
        frame = sys._current_frames().get(self.thread.ident or 0)
        return self.thread.is_alive() and _task(self.task.thread, frame) == self.task


def speak_for(connection: Connection) -> None:
    """What this thread reports from now on is another process's, at the other end."""
    _thread.child = _Child(threading.current_thread(), connection)


class Turns:
    """Who reports in one attempt of a trial."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._main = threading.get_ident()
        self._last: _Child | _Thread | None = None

    def take(self) -> bool:
        """The thread that asks reports, or a child that it speaks for; False: the one before has not ended.

        The thread that runs the training function is not asked: it may report between the others.
        """
        if threading.get_ident() == self._main:
            return True
        reporter = getattr(_thread, "child", None) or _Thread(threading.current_thread(), task_at_hand())
        with self._lock:
            if reporter != self._last:
                if self._last is not None and self._last.is_there():
                    return False
                self._last = reporter
        return True
