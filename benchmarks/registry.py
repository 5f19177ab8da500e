"""What a benchmark is: jobs to measure in turn, rows to show, goals to judge by."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol


class Side(StrEnum):
    """Where a job runs; each is a script that takes the job and prints the figures."""

    OURS = "benchmarks.ours"  # tune_plugins, in this environment
    BARE = "benchmarks.bare"  # no tuning engine at all, in this environment
    RAY_TUNE = "benchmarks.peers.ray_tune"  # Ray Tune, in an environment of its own


@dataclass(frozen=True)
class Job:
    """One measurement, made once a round in a fresh process.

    Attributes:
        label: who is measured; unique within the benchmark, e.g. "ours".
        side: the script that runs it.
        work: name of a function in the benchmark's module; called with an `Engine` and the parameters as keywords, it
            returns the figures measured, ``{"wall_s": 1.2}``.
        parameters: of the work; JSON values.
        quick: parameters that differ with ``--quick``.
        rounds: at most so many rounds, for a slow peer; None: all of them.
        timeout_s: a job that takes longer counts as crashed, seconds.
    """

    label: str
    side: Side
    work: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    rounds: int | None = None
    timeout_s: float = 240.0


class Goal(Protocol):
    """What must hold between our median and the peer's."""

    needs_peer: bool

    def met(self, ours: float, peer: float) -> bool:
        """True where the goal is reached; `peer` is NaN where none is needed."""
        ...

    def text(self, unit: str) -> str:
        """The goal in words."""
        ...


@dataclass(frozen=True)
class AtMost:
    """Our figure is at most `limit`."""

    limit: float
    needs_peer = False

    def met(self, ours: float, peer: float) -> bool:
        """See `Goal`."""
        return ours <= self.limit

    def text(self, unit: str) -> str:
        """See `Goal`."""
        return f"at most {self.limit:g} {unit}"


@dataclass(frozen=True)
class AtLeast:
    """Our figure is at least `limit`."""

    limit: float
    needs_peer = False

    def met(self, ours: float, peer: float) -> bool:
        """See `Goal`."""
        return ours >= self.limit

    def text(self, unit: str) -> str:
        """See `Goal`."""
        return f"at least {self.limit:,.0f} {unit}"


@dataclass(frozen=True)
class TimesFaster:
    """The peer takes at least `factor` times as long."""

    factor: float
    needs_peer = True

    def met(self, ours: float, peer: float) -> bool:
        """See `Goal`."""
        return peer >= self.factor * ours

    def text(self, unit: str) -> str:
        """See `Goal`."""
        return f"at least {self.factor:g} x faster"


@dataclass(frozen=True)
class AtMostTimes:
    """Ours takes at most `factor` times as long as the peer."""

    factor: float
    needs_peer = True

    def met(self, ours: float, peer: float) -> bool:
        """See `Goal`."""
        return ours <= self.factor * peer

    def text(self, unit: str) -> str:
        """See `Goal`."""
        return f"at most {self.factor:.2f} x the peer"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: what is compared.
        figure: key of the figure in what the jobs return.
        unit: of the figure.
        peer: label of the job to compare with, None for none.
        goal: None for a line that is there for orientation.
        ours: label of our job; None for a line about a peer alone.
        higher_is_better: True for a rate, False for a duration.
    """

    name: str
    figure: str
    unit: str
    peer: str | None = None
    goal: Goal | None = None
    ours: str | None = "ours"
    higher_is_better: bool = False


@dataclass(frozen=True)
class Benchmark:
    """A piece of work, who does it, and what is asked of ours.

    Attributes:
        name: for ``--only``.
        title: in words, shown while it is measured.
        module: ``__name__`` of the module that defines it and its work functions.
        jobs: measured in this order in each round.
        rows: what is shown and judged.
    """

    name: str
    title: str
    module: str
    jobs: tuple[Job, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        labels = [job.label for job in self.jobs]
        named = {label for row in self.rows for label in (row.ours, row.peer) if label is not None}
        if len(set(labels)) != len(labels):
            raise ValueError(f"benchmark {self.name!r}: labels of jobs must differ, got {labels}.")
        if unknown := sorted(named - set(labels)):
            raise ValueError(f"benchmark {self.name!r}: rows name the jobs {unknown}, there are {labels}.")


def discover() -> dict[str, Benchmark]:
    """All benchmarks in `benchmarks.suite` by name, in the order of their modules' names."""
    from benchmarks import suite

    found: dict[str, Benchmark] = {}
    for module in sorted(pkgutil.iter_modules(suite.__path__), key=lambda module: module.name):
        benchmark: Benchmark = importlib.import_module(f"{suite.__name__}.{module.name}").BENCHMARK
        if benchmark.name in found:
            raise ValueError(f"two benchmarks are named {benchmark.name!r}; give one another name.")
        found[benchmark.name] = benchmark
    return found
