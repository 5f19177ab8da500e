"""What the core, schedulers, searchers and displays know of a trial."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

from tune_plugins.core.ends import EndCause
from tune_plugins.core.metrics import lookup
from tune_plugins.core.names import as_file_name, ask, tag
from tune_plugins.errors import TuneError

__all__ = ["Ancestry", "CheckpointRecord", "Lease", "Milestone", "Names", "Trial", "TrialStatus"]


class TrialStatus(StrEnum):
    """Where a trial stands; the legal moves are `tune_plugins.core.transitions.TRANSITIONS`."""

    PENDING = "PENDING"  # has a config, waits for a slot
    STARTING = "STARTING"  # sent to a worker, user code not yet entered
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"  # holds no slot; goes on later
    STOPPING = "STOPPING"  # told to stop; user code runs to its end
    TERMINATED = "TERMINATED"
    ERROR = "ERROR"

    finished: bool
    """True for TERMINATED and ERROR."""
    holds_slot: bool
    """True while the trial occupies a slot."""

    def __init__(self, name: str) -> None:
        self.finished = name in ("TERMINATED", "ERROR")
        self.holds_slot = name in ("STARTING", "RUNNING", "STOPPING")


class Milestone(NamedTuple):
    """A point of a trial: the first report whose `attr` is at or past `value`.

    `attr` is ``training_iteration``, ``time_total_s`` or the name of any reported metric.
    """

    attr: str
    value: float


@dataclass(frozen=True, slots=True)
class Lease:
    """Up to where a trial may go on without asking.

    Attributes:
        milestone: there the trial waits for a verdict; None: it never waits.
        end: there the trial stops by itself, without waiting (e.g. ``max_t``).
        save: hand over a checkpoint at the milestone.
    """

    milestone: Milestone | None = None
    end: Milestone | None = None
    save: bool = False


FREE = Lease()
"""The lease of a trial that nobody needs to be asked about (FIFO)."""


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """A checkpoint as the record knows it.

    Attributes:
        id: unique within the trial, also the name of its directory (``checkpoint_000010``).
        iteration: `training_iteration` whose state it holds.
        path: directory that holds it; None while it is only in memory.
        score: value of the retention's score attribute at that iteration, if there is one.
        bytes: total size of its files in bytes.
        trial_id: of its owner, the trial that saved it.
        goes_on: a training can go on from it. Not from one that had come to its end; nor from the model of a later fit
            of the trial, whose function, entered anew, begins with the first one.
    """

    id: str
    iteration: int
    path: str | None
    score: float | None = None
    bytes: int = 0
    trial_id: str = ""
    goes_on: bool = field(default=True, repr=False)


@dataclass(slots=True)
class Ancestry:
    """Where the training of a trial comes from since its last exploit; see `tune_plugins.core.lineage`.

    Attributes:
        adopted: the checkpoint it goes on from, until it has a later one of its own.
        inherited: checkpoints of other trials, oldest first, that hold earlier states of the training it has now.
        outdated: ids of its own checkpoints from before.
        config_before: the config it had before.
        results_before: how many results it had then.
        before: its ancestry then, but for what that was in turn.
    """

    adopted: CheckpointRecord | None
    inherited: tuple[CheckpointRecord, ...]
    outdated: frozenset[str]
    config_before: dict[str, Any]
    results_before: int
    before: Ancestry | None = None


@dataclass(frozen=True)
class Names:
    """How the trials of a run and their folders are called.

    Attributes:
        trainable: name of what is trained.
        parameters: hyper-parameters whose values the search space leaves open, nested ones joined by ``/``.
        directory: folder of the experiment; empty where there is none.
        name_creator: makes the name of a trial for people; None: ``<trainable>_<id>``.
        dirname_creator: makes the name of its folder; None: ``trial_<id>``.
        reserved: names in the folder of the experiment that no folder may have, in lower case.
    """

    trainable: str = "trial"
    parameters: tuple[str, ...] = ()
    directory: str = ""
    name_creator: Callable[[Trial], object] | None = None
    dirname_creator: Callable[[Trial], object] | None = None
    reserved: frozenset[str] = frozenset()

    def give(self, trial: Trial, taken: Collection[str]) -> None:
        """Name a new trial and its folder.

        What does not fit into the name of a folder becomes ``_``. If the folder of another trial has the name,
        the id is added: trials must not write into each other's files.

        Args:
            trial: everything but its names is known.
            taken: names of the folders of all others, in lower case: some file systems do not tell cases apart.

        Raises:
            TuneError: a function of the user's raised, or returned no name.
        """
        if self.name_creator is not None:
            trial.custom_name = _asked("trial_name_creator", self.name_creator, trial)
        if self.dirname_creator is not None:
            name = as_file_name(_asked("trial_dirname_creator", self.dirname_creator, trial))
            while name.lower() in taken or name.lower() in self.reserved:
                name = f"{name}_{trial.id}"
            trial.custom_dirname = name


def _asked(what: str, creator: Callable[[Trial], object], trial: Trial) -> str:
    name = ask(what, creator, trial)
    if name is None or not str(name):
        raise TuneError(f"{what}: expected a name, got {name!r} for trial {trial.id}. Let the function return text.")
    return str(name)


def chosen_values(config: dict[str, Any], parameters: Iterable[str]) -> dict[str, Any]:
    """Values in a config of those parameters that it has, nested ones joined by ``/``."""
    absent = object()
    found = {name: lookup(config, name, absent) for name in parameters}
    return {name: value for name, value in found.items() if value is not absent}


_UNNAMED = Names()
NO_RESULT: dict[str, Any] = {}
"""The last result of a trial that has none yet; never changed in place."""


@dataclass(slots=True)
class Trial:
    """One configuration and what became of it. Written by the core only; schedulers and callbacks read it.

    ``str(trial)`` is its name, in characters that fit into the name of a file. A trial may be the key of a dict.

    Attributes:
        id: short, unique within the experiment, sorts in order of creation; also `trial_id`.
        index: number of the trial, from 0.
        config: hyper-parameters of the trial, resolved.
        status: see `TrialStatus`.
        iteration: `training_iteration` of the newest result, 0 before the first.
        last_result: newest result, a flat or nested dict with `training_iteration`,
            `time_total_s` (seconds) and `timestamp` (seconds since the epoch); empty before the first.
        results_count: number of results reported.
        trained: iterations that it has trained itself. Those that it took over in an exploit are not among them, and
            what was trained again after a failure counts once.
        checkpoints: those that exist, oldest first.
        failures: number of failed attempts so far.
        attempt: number of times the trial function was entered, minus one.
        entered_with: number of results when it was last entered anew to go on, behind a pause or an exploit; else -1.
        fell_at: iteration at which the function, entered anew, failed before it reported; see `resume_point`.
        reason: why it stands where it stands, in words and numbers; of a finished one the beginning.
        cause: why it has ended, or why it was told to end; None before.
        resident: paused, and its process waits in memory.
        ancestry: whose training it goes on with, since an exploit.
        resources: what it takes instead of what the trainable asks for; None: nothing else.
        started_at, ended_at: wall clock, seconds since the epoch.
        history: the last few events, for error messages.
        names: how the trials of this run are called.
        custom_name, custom_dirname: what `TuneConfig.trial_name_creator` and `trial_dirname_creator` have made; empty
            without these.
    """

    PENDING: ClassVar[TrialStatus] = TrialStatus.PENDING
    RUNNING: ClassVar[TrialStatus] = TrialStatus.RUNNING
    PAUSED: ClassVar[TrialStatus] = TrialStatus.PAUSED
    TERMINATED: ClassVar[TrialStatus] = TrialStatus.TERMINATED
    ERROR: ClassVar[TrialStatus] = TrialStatus.ERROR

    id: str
    index: int
    config: dict[str, Any]
    seed: int = 0
    status: TrialStatus = TrialStatus.PENDING
    iteration: int = 0
    last_result: dict[str, Any] = field(default_factory=lambda: NO_RESULT)
    results_count: int = 0
    trained: int = 0
    checkpoints: list[CheckpointRecord] = field(default_factory=list)
    failures: int = 0
    attempt: int = 0
    entered_with: int = -1
    fell_at: int | None = None
    reason: str = ""
    cause: EndCause | None = None
    resident: bool = False
    ancestry: Ancestry | None = None
    resources: Any = None
    lease: Lease = FREE
    started_at: float | None = None
    ended_at: float | None = None
    history: list[str] | tuple[str, ...] = field(default_factory=list)
    names: Names = field(default=_UNNAMED, repr=False)
    custom_name: str = field(default="", repr=False)
    custom_dirname: str = field(default="", repr=False)

    def __str__(self) -> str:
        return as_file_name(self.name)

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def trial_id(self) -> str:
        """The same as `id`."""
        return self.id

    @property
    def trainable_name(self) -> str:
        """Name of what is trained."""
        return self.names.trainable

    @property
    def name(self) -> str:
        """Name for people; any text."""
        return self.custom_name or f"{self.names.trainable}_{self.id}"

    @property
    def dirname(self) -> str:
        """Name of its folder in that of the experiment."""
        return self.custom_dirname or f"trial_{self.id}"

    @property
    def path(self) -> str:
        """Its folder; empty where there is none. It need not exist."""
        return f"{self.names.directory}/{self.dirname}" if self.names.directory else ""

    @property
    def experiment_dir_name(self) -> str:
        """Name of the experiment's folder."""
        return self.names.directory.rpartition("/")[2]

    @property
    def logdir(self) -> str:
        """The same as `path`."""
        return self.path

    def init_local_path(self) -> str:
        """Its folder, which is there when a callback is told that the trial has started."""
        return self.path

    def is_finished(self) -> bool:
        """Whether it has ended, with or without an error."""
        return self.status.finished

    def has_checkpoint(self) -> bool:
        """Whether there is a state of the training it has now."""
        return self.checkpoint is not None

    @property
    def local_path(self) -> str:
        """The same as `path`."""
        return self.path

    @property
    def evaluated_params(self) -> dict[str, Any]:
        """Values of the hyper-parameters that the search space leaves open, nested ones joined by ``/``."""
        return chosen_values(self.config, self.names.parameters)

    @property
    def experiment_tag(self) -> str:
        """Number and hyper-parameters of the trial in one word, e.g. ``3_lr=0.01,depth=4``."""
        return tag(self.index, self.evaluated_params)

    @property
    def checkpoint(self) -> CheckpointRecord | None:
        """The newest state of the training it has now; None: there is none yet. `path` is the folder."""
        return self.adopted or self.newest_checkpoint

    @property
    def newest_checkpoint(self) -> CheckpointRecord | None:
        """The checkpoint saved last, or None."""
        return self.checkpoints[-1] if self.checkpoints else None

    @property
    def adopted(self) -> CheckpointRecord | None:
        """Another trial's checkpoint that it goes on from, since an exploit and until it has a later one of its own."""
        return None if self.ancestry is None else self.ancestry.adopted

    def resume_point(self) -> CheckpointRecord | None:
        """What it goes on from in a new process; None: from its beginning.

        Not from a complete training: where the function failed behind that, its ending would miss what a training
        leaves, such as the histories of the metrics. A loop written by hand does not say that it is complete: where
        the function, entered anew, has failed before it reported, it goes on from an earlier state than that.
        """
        adopted = self.adopted
        if self.fell_at is not None:
            own = [c for c in self.states() if c.trial_id == self.id and c.iteration < self.fell_at]
            newer = own and (adopted is None or own[-1].iteration > adopted.iteration)
            return own[-1] if newer else adopted
        return adopted or next((c for c in reversed(self.checkpoints) if c.goes_on), None)

    def states(self) -> list[CheckpointRecord]:
        """Checkpoints, oldest first, that hold states of the training it has now from which another one can go on.

        Its own ones from before its last exploit belong to another training.
        """
        ancestry = self.ancestry
        if ancestry is None:
            return [c for c in self.checkpoints if c.goes_on]
        return [*ancestry.inherited, *(c for c in self.checkpoints if c.goes_on and c.id not in ancestry.outdated)]

    def donation(self, iteration: int) -> CheckpointRecord | None:
        """What a trial at `iteration` that exploits this one gets; None if there is nothing.

        The state at that very iteration is preferred, else the newest.
        """
        states, adopted = self.states(), self.adopted
        if adopted is not None and (not states or states[-1].iteration < adopted.iteration):
            states.append(adopted)
        return next((s for s in reversed(states) if s.iteration == iteration), states[-1] if states else None)
