"""Why a trial, or a whole run, has ended; and what is left of an error that happened in another process.

Both are data: who wants to know whether a trial was stopped early asks for its `EndCause`. Sentences are for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

__all__ = ["End", "EndCause", "ErrorInfo", "Outcome"]


class EndCause(StrEnum):
    """Why a trial has ended, and who ended it."""

    FINISHED = "FINISHED"  # the training came to its end by itself
    SCHEDULED_END = "SCHEDULED_END"  # it reached the end that the scheduler sets for all (max_t)
    THRESHOLD = "THRESHOLD"  # a threshold of `RunConfig.stop`
    STOPPER = "STOPPER"  # a rule of `RunConfig.stop` that looks at results
    SCHEDULER = "SCHEDULER"  # the scheduler's verdict
    ABANDONED = "ABANDONED"  # it waited, and its scheduler never let it go on
    TIME_BUDGET = "TIME_BUDGET"
    USER = "USER"  # Ctrl-C, SIGTERM, SIGHUP
    FAIL_FAST = "FAIL_FAST"  # another trial failed
    FAILED = "FAILED"  # the training raised an error
    OUT_OF_MEMORY = "OUT_OF_MEMORY"  # of the machine or of a device
    WORKER_LOST = "WORKER_LOST"  # its process died
    NODE_LOST = "NODE_LOST"  # the machine of its process is gone
    SILENT = "SILENT"  # it did not report for longer than `FailureConfig.report_timeout_s`
    SAVE_FAILED = "SAVE_FAILED"  # it came to its end, and its last checkpoint could not be saved

    @property
    def full(self) -> bool:
        """Whether the training went as far as it was ever to go."""
        return self in (EndCause.FINISHED, EndCause.SCHEDULED_END, EndCause.THRESHOLD)


class Outcome(StrEnum):
    """How a trial has ended, as a searcher needs to know it."""

    COMPLETED = "completed"  # as far as it was ever to go
    STOPPED = "stopped"  # before that, by the scheduler: others did better
    INTERRUPTED = "interrupted"  # before that, by the user or a budget: this says nothing about its config
    FAILED = "failed"
    DROPPED = "dropped"  # it reported nothing, because it never started or was interrupted at once

    @classmethod
    def of(cls, cause: EndCause, *, failed: bool, reported: bool, all_ended: bool = False) -> Outcome:
        """The outcome of a trial that ended for this cause.

        Args:
            cause: of its end.
            failed: with an error.
            reported: there is a result of it.
            all_ended: it ended since all did.
        """
        if failed:
            return cls.FAILED
        if not reported:
            return cls.COMPLETED if cause.full else cls.DROPPED
        if cause.full or (cause is EndCause.STOPPER and not all_ended):
            return cls.COMPLETED
        return cls.STOPPED if cause in (EndCause.SCHEDULER, EndCause.ABANDONED) else cls.INTERRUPTED


class End(NamedTuple):
    """An end: its cause, and the reason in words and numbers."""

    cause: EndCause
    reason: str


RETURNED = End(EndCause.FINISHED, "the trial function returned")
SAID_DONE = End(EndCause.FINISHED, "the trial reported done=True")


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error as data, since the exception itself may not be able to travel between processes.

    Attributes:
        type: name of its class as a traceback shows it: ``ValueError``, ``torch.OutOfMemoryError``.
        message: what it says; may have several lines.
        traceback: of the process where it was raised, as Python prints it; empty where there is none.
    """

    type: str
    message: str
    traceback: str = ""

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type

    def on_one_line(self, limit: int) -> str:
        """Type and message on one line of at most `limit` characters."""
        said = " ".join(line.strip() for line in str(self).splitlines())
        return said if len(said) <= limit else f"{said[: limit - 3]}..."
