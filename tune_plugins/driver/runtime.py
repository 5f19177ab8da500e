"""What carries out the core's commands: the contract of a runtime, and of the place that a runtime is made for.

There are three: warm worker processes on Ray, the caller's own thread (inline), and a virtual clock (simulated). What
distinguishes them is said by their attributes, so that whoever drives them needs to know none of them by name.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tune_plugins.core.events import Command, Event, StartTrial
from tune_plugins.core.experiment import Rules
from tune_plugins.core.leases import StopRule
from tune_plugins.core.trial import CheckpointRecord
from tune_plugins.driver.resources import PlacementGroupFactory, Shape
from tune_plugins.record import checkpoint as checkpoints
from tune_plugins.worker.messages import Job, Output

RESIDENTS = 32
"""How many paused trials may wait in memory unless the user says."""


class Runtime(ABC):
    """Performs the commands of `tune_plugins.core.events`, and reports what happens.

    Attributes:
        in_user_code: user code runs in the caller's thread now. Ctrl-C is raised there then;
            else it asks for a clean stop. The same holds for SIGTERM and SIGHUP.
        interrupted_by: what was raised there last, in words.
        waits: things go on between two calls of `poll`; False: after nothing twice it never returns anything.
        virtual: no time goes by. What a verdict rests on need not be on disk before the verdict is given: a run that
            is interrupted is made again in less time than it would take to flush it.
        output: what trials have printed and nobody has fetched yet.
    """

    in_user_code = False
    interrupted_by = "Ctrl-C"
    waits = True
    virtual = False

    def __init__(self) -> None:
        self.output: list[Output] = []
        self._remarks: set[str] = set()

    def remark(self, text: str) -> None:
        """Have a line of the run itself shown, unless it was before."""
        if text not in self._remarks:
            self._remarks.add(text)
            self.output.append(Output("", [text]))

    def time(self) -> float:
        """The time now on the clock of this runtime's events, in seconds."""
        return time.time()

    def clock(self) -> float:
        """Seconds on a clock that only goes forward, for limits; unlike `time`, nobody can set it."""
        return time.monotonic()

    def attach(self, turn: Callable[[list[Event]], None]) -> None:
        """`turn` shows events to the core and performs what follows; for a runtime that cannot wait for `poll`."""
        return

    @abstractmethod
    def poll(self, timeout: float) -> list[Event]:
        """What has happened, waiting at most `timeout` seconds for it."""

    @abstractmethod
    def perform(self, commands: Sequence[Command]) -> None:
        """Carry out commands meant for trials."""

    def delete_checkpoint(self, trial_id: str, checkpoint: CheckpointRecord) -> None:
        """Remove a checkpoint; the record says already that it is gone."""
        if checkpoint.path is not None:
            checkpoints.remove(checkpoint.path)

    def stages(self) -> Mapping[str, str]:
        """What trials that are to run wait for, by id: "waiting for resources", "importing" or "starting"."""
        return {}

    def wake(self) -> None:
        """Make `poll` return soon; called from signal handlers."""
        return

    def close(self) -> list[Event]:
        """Let workers go; returns what they still had to say."""
        return []

    def kill_all(self) -> None:
        """End all processes at once."""
        return


@dataclass(frozen=True)
class Task:
    """What a runtime is to carry out.

    Attributes:
        rules: of the run.
        stop: thresholds of the user.
        seed: of the run.
        results_matter: the searcher or the scheduler looks at results, so that the order in which trials end matters.
        fresh: a new process for each trial.
        report_timeout_s: a trial that is silent for longer is ended, where a runtime can do that; None: none is.
        make_job: completes a `StartTrial` to what the process of the trial needs to know.
    """

    rules: Rules
    stop: tuple[StopRule, ...]
    seed: int
    results_matter: bool
    fresh: bool
    report_timeout_s: float | None
    make_job: Callable[[StartTrial, Shape], Job]


class Place(ABC):
    """Where a run is to happen: what there is, and the runtime for it.

    Attributes:
        slots: number of trials at a time.
        resources: what one trial takes, e.g. ``{"CPU": 1}``.
        cluster: what all nodes have together.
        cold: another process costs an import: a paused trial had better give its own to the next one.
    """

    slots: int
    resources: Mapping[str, float]
    cluster: Mapping[str, float]
    virtual = False
    cold = False

    @abstractmethod
    def residents(self, asked: int | None) -> int:
        """How many paused trials may wait in memory, where the user asked for so many (None: said nothing)."""

    @abstractmethod
    def open(self, task: Task) -> Runtime:
        """The runtime of one run."""

    def request_of(self, config: dict[str, Any]) -> PlacementGroupFactory:
        """What a trial with this config takes at its start."""
        return PlacementGroupFactory([self.resources])

    def close(self) -> None:
        """Give back what the place holds; called when the run is over, or was never opened."""
        return
