"""What happens (events) and what is to be done about it (commands): frozen data, no behaviour.

Events come from a runtime and carry their wall-clock time (seconds since the epoch) and ids; the
core answers each with a list of commands (see `tune_plugins.core.experiment`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tune_plugins.core.ends import RETURNED, EndCause, ErrorInfo, Outcome
from tune_plugins.core.trial import CheckpointRecord, Lease

__all__ = [
    "AskSearcher",
    "CheckpointSaved",
    "Command",
    "DeleteCheckpoint",
    "Event",
    "ExploitDone",
    "ExploitTrial",
    "Finish",
    "GrantLease",
    "Instruction",
    "PauseTrial",
    "RecordCommand",
    "RecordDecision",
    "RecordExploit",
    "RecordStatus",
    "RecordTrial",
    "ResultsReported",
    "SearcherCommand",
    "SlotsChanged",
    "StartTrial",
    "StopRequested",
    "StopTrial",
    "SuggestionMade",
    "TellEnd",
    "TellResult",
    "Tick",
    "TrialErrored",
    "TrialFinished",
    "TrialPaused",
    "TrialStarted",
    "WorkerLost",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at `time`, in seconds since the epoch."""

    time: float


@dataclass(frozen=True, slots=True)
class SlotsChanged(Event):
    """How many trials may hold a slot (or be queued for one) from now on."""

    slots: int


@dataclass(frozen=True, slots=True)
class SuggestionMade(Event):
    """The searcher's answer to `AskSearcher`: the config of a new trial; or none, and `signal` is one of `Signal`.

    Neither: it has said nothing, which means "not ready" where a trial is there that it may wait for, else "complete".
    `told`: of how many results and ends it had been told when it was asked.
    """

    trial_id: str
    index: int
    told: int
    config: dict[str, Any] | None = None
    signal: str = ""


@dataclass(frozen=True, slots=True)
class TrialStarted(Event):
    """User code was entered. `node`, `pid`, `hostname` and `node_ip` say where.

    `iteration`, `elapsed`: `training_iteration` and `time_total_s` of the state that it goes on from.
    """

    trial_id: str
    node: str = ""
    pid: int = 0
    hostname: str = ""
    node_ip: str = ""
    iteration: int = 0
    elapsed: float = 0.0

    @classmethod
    def dummy(cls, trial: str = "00000", time: float = 0.0) -> TrialStarted:
        """An event for tests."""
        return cls(time, trial)


@dataclass(frozen=True, slots=True)
class ResultsReported(Event):
    """Results of one trial, in order. With `waiting` the trial stands at its milestone."""

    trial_id: str
    results: tuple[dict[str, Any], ...]
    waiting: bool = False

    def __post_init__(self) -> None:
        if not self.results:
            raise ValueError("ResultsReported needs at least one result, got none")

    @classmethod
    def dummy(
        cls, trial: str = "00000", iteration: int = 1, waiting: bool = False, time: float = 0.0, **metrics: Any
    ) -> ResultsReported:
        """An event for tests that names only what matters."""
        result = {"training_iteration": iteration, "time_total_s": float(iteration), "timestamp": time}
        return cls(time, trial, ({**result, **metrics},), waiting)


@dataclass(frozen=True, slots=True)
class CheckpointSaved(Event):
    """A checkpoint is complete and may be used."""

    trial_id: str
    checkpoint: CheckpointRecord


@dataclass(frozen=True, slots=True)
class TrialPaused(Event):
    """A trial told to pause has done so; not `resident`: its process was given back."""

    trial_id: str
    resident: bool


@dataclass(frozen=True, slots=True)
class ExploitDone(Event):
    """A trial told to exploit has done so: `in_place`, inside the running training, or by entering its function anew.

    `reason`: what was done; why it could not be done in place. `iteration`, `elapsed`: `training_iteration` and
    `time_total_s` of the state that it has adopted.
    """

    trial_id: str
    in_place: bool
    reason: str
    iteration: int = 0
    elapsed: float = 0.0


@dataclass(frozen=True, slots=True)
class TrialFinished(Event):
    """User code ended by itself or at its stop rule; `reason` and `cause` say which.

    `unwound`: it was left in the middle, by an exception that a report raised; it might have reported more.
    """

    trial_id: str
    reason: str = RETURNED.reason
    cause: EndCause = RETURNED.cause
    unwound: bool = False


@dataclass(frozen=True, slots=True)
class TrialErrored(Event):
    """User code raised. `fatal`: a retry cannot help. `cause`: FAILED or OUT_OF_MEMORY."""

    trial_id: str
    error: ErrorInfo
    fatal: bool = False
    cause: EndCause = EndCause.FAILED


@dataclass(frozen=True, slots=True)
class WorkerLost(Event):
    """The process of the trial is gone. `preempted`: through no fault of the trial (node lost)."""

    trial_id: str
    error: ErrorInfo
    preempted: bool = False
    cause: EndCause = EndCause.WORKER_LOST


@dataclass(frozen=True, slots=True)
class Tick(Event):
    """Time went by."""


@dataclass(frozen=True, slots=True)
class StopRequested(Event):
    """Somebody wants the experiment to end (Ctrl-C, SIGTERM)."""

    reason: str
    cause: EndCause = EndCause.USER


# --------------------------------------------------------------------------- commands to a runtime


@dataclass(frozen=True, slots=True)
class Command:
    """Something to be done for one trial."""

    trial_id: str


@dataclass(frozen=True, slots=True)
class StartTrial(Command):
    """Enter the trial function, from `checkpoint` if there is one, which may be another trial's.

    `resources`: what the trial takes, if not what the trainable asks for.
    """

    config: dict[str, Any]
    lease: Lease
    checkpoint: CheckpointRecord | None = None
    iteration: int = 0
    attempt: int = 0
    seed: int = 0
    resources: Any = None


@dataclass(frozen=True, slots=True)
class Instruction(Command):
    """Something for the process in which the trial runs or waits."""


@dataclass(frozen=True, slots=True)
class GrantLease(Instruction):
    """Verdict: continue under a new lease. Also wakes a resident trial."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class StopTrial(Instruction):
    """Verdict, or wish from outside: stop. `now`: do not wait for the next report for ever."""

    reason: str
    cause: EndCause
    now: bool = False


@dataclass(frozen=True, slots=True)
class PauseTrial(Instruction):
    """Verdict: pause. `evict`: save a checkpoint and give the process back."""

    evict: bool = False


@dataclass(frozen=True, slots=True)
class ExploitTrial(Instruction):
    """Verdict: adopt the state of another trial's checkpoint under a new config and lease."""

    checkpoint: CheckpointRecord
    config: dict[str, Any]
    lease: Lease


@dataclass(frozen=True, slots=True)
class Finish(Command):
    """The experiment is over; `trial_id` is empty."""

    reason: str


# ------------------------------------------------------------------------- commands to the searcher


@dataclass(frozen=True, slots=True)
class SearcherCommand(Command):
    """Something for the searcher; these are carried out in order."""


@dataclass(frozen=True, slots=True)
class AskSearcher(SearcherCommand):
    """A config is wanted for trial number `index`; a `SuggestionMade` answers. `told`: as there."""

    index: int
    told: int


@dataclass(frozen=True, slots=True)
class TellResult(SearcherCommand):
    """A result of a trial that goes on, with its config."""

    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TellEnd(SearcherCommand):
    """A trial has ended; `result` is its last one, with its config."""

    result: dict[str, Any] | None
    outcome: Outcome


# ---------------------------------------------------------------- commands to the durable record


@dataclass(frozen=True, slots=True)
class RecordCommand(Command):
    """Something to be noted in the durable record about one trial."""


@dataclass(frozen=True, slots=True)
class RecordTrial(RecordCommand):
    """A trial was created, or has another config since an exploit.

    `name`, `dirname`: of the trial and its folder, where the user's functions make them.
    """

    index: int
    config: dict[str, Any]
    seed: int
    time: float
    name: str = ""
    dirname: str = ""


@dataclass(frozen=True, slots=True)
class RecordStatus(RecordCommand):
    """A trial changed its status. `cause`: why it has ended, None before; `error`: what has just happened to it."""

    status: str
    reason: str
    time: float
    cause: EndCause | None = None
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class RecordDecision(RecordCommand):
    """What was decided about a trial, at which iteration and why."""

    iteration: int
    action: str
    reason: str
    time: float


@dataclass(frozen=True, slots=True)
class RecordExploit(RecordCommand):
    """A trial at `iteration` goes on from what `source_id` was at `source_iteration`, under a new config."""

    iteration: int
    source_id: str
    source_iteration: int
    config: dict[str, Any]
    time: float


@dataclass(frozen=True, slots=True)
class DeleteCheckpoint(RecordCommand):
    """Retention no longer wants this checkpoint and nobody has it pinned: it is noted as gone, then removed."""

    checkpoint: CheckpointRecord
