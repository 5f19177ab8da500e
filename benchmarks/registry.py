"""What a benchmark is: jobs to measure in turn, rows to show, goals to judge by; and what was measured."""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

Samples = Mapping[str, Sequence[float]]
"""One figure of several tasks: by task the values of the seeds, in the same order on all sides."""


class Side(StrEnum):
    """Where a job runs; each is a script that takes the job and prints the figures."""

    OURS = "benchmarks.ours"  # tune_plugins, in this environment
    BARE = "benchmarks.bare"  # no tuning engine at all, in this environment
    RAY_TUNE = "benchmarks.peers.ray_tune"  # Ray Tune, in an environment of its own
    HPO = "benchmarks.peers.hpo"  # Syne Tune and Optuna, in an environment of their own


class NotRun(Exception):
    """A benchmark cannot be measured here; the text says why and what to do. No goal counts as missed for it."""


@dataclass(frozen=True)
class Job:
    """One measurement, made once a round in a fresh process.

    Attributes:
        label: who is measured; unique within the benchmark, e.g. "ours".
        side: the script that runs it.
        work: name of a function in the benchmark's module; called with an `Engine` and the parameters as keywords, it
            returns the figures measured, ``{"wall_s": 1.2}``. A figure may be of several tasks, `Samples`: then its
            mean is shown, and goals compare the samples.
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
class BelowOnEach:
    """On each task the mean over the seeds is below the peer's, by more than one standard error of the difference."""

    needs_peer = True

    def met_by_samples(self, ours: Samples, peer: Samples) -> bool:
        """True where the goal is reached."""
        return bool(ours) and all(difference(ours[task], peer[task])[2] < 0 for task in ours)

    def text(self, unit: str) -> str:
        """See `Goal`."""
        return "below, on each task"


@dataclass(frozen=True)
class NotAbove:
    """The mean over the tasks is at most the peer's, or within one standard error of the difference over the seeds."""

    needs_peer = True

    def met_by_samples(self, ours: Samples, peer: Samples) -> bool:
        """True where the goal is reached."""
        return bool(ours) and difference(over_tasks(ours), over_tasks(peer))[1] <= 0

    def text(self, unit: str) -> str:
        """See `Goal`."""
        return "at most the peer, within 1 s.e."


def difference(ours: Sequence[float], peer: Sequence[float]) -> tuple[float, float, float]:
    """Mean over the seeds of ours less the peer's, and that mean less and plus one standard error.

    The same seed means the same work on both sides, so that the differences of pairs are what varies.
    """
    pairs = [a - b for a, b in zip(ours, peer, strict=True)]
    mean = statistics.fmean(pairs)
    error = statistics.stdev(pairs) / math.sqrt(len(pairs)) if len(pairs) > 1 else 0.0
    return mean, mean - error, mean + error


def over_tasks(samples: Samples) -> list[float]:
    """The mean over the tasks, by seed."""
    return [statistics.fmean(values) for values in zip(*samples.values(), strict=True)]


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
        higher_is_better: True for a rate.
        is_duration: whether ratios are of speed.
    """

    name: str
    figure: str
    unit: str
    peer: str | None = None
    goal: Goal | BelowOnEach | NotAbove | None = None
    ours: str | None = "ours"
    higher_is_better: bool = False
    is_duration: bool = True


@dataclass(frozen=True)
class Benchmark:
    """A piece of work, who does it, and what is asked of ours.

    Attributes:
        name: for ``--only``.
        title: in words, shown while it is measured.
        module: ``__name__`` of the module that defines it and its work functions.
        jobs: measured in this order in each round.
        rows: what is shown and judged.
        prepare: given the options of the command, returns parameters that all jobs get, or raises `NotRun`.
        publish: writes pages of its own from a complete measurement and returns their paths.
    """

    name: str
    title: str
    module: str
    jobs: tuple[Job, ...]
    rows: tuple[Row, ...]
    prepare: Callable[[argparse.Namespace], Mapping[str, Any]] | None = None
    publish: Callable[[Record, Sequence[tuple[str, str]]], list[Path]] | None = None

    def __post_init__(self) -> None:
        labels = [job.label for job in self.jobs]
        named = {label for row in self.rows for label in (row.ours, row.peer) if label is not None}
        if len(set(labels)) != len(labels):
            raise ValueError(f"benchmark {self.name!r}: labels of jobs must differ, got {labels}.")
        if unknown := sorted(named - set(labels)):
            raise ValueError(f"benchmark {self.name!r}: rows name the jobs {unknown}, there are {labels}.")


@dataclass(frozen=True)
class Measurement:
    """What one job printed."""

    figures: dict[str, float]
    versions: dict[str, str]
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Crash:
    """A job that ended without figures.

    Attributes:
        reason: one line.
        output: the end of what it wrote to standard error.
    """

    reason: str
    output: str


@dataclass
class Record:
    """All measurements of one benchmark, by label of the job in order of the rounds."""

    benchmark: Benchmark
    measurements: dict[str, list[Measurement]] = field(default_factory=dict)
    crashes: dict[str, Crash] = field(default_factory=dict)

    def values(self, label: str, figure: str) -> list[float]:
        """One figure of a job in all its rounds; of one that has samples, their mean."""
        return [
            statistics.fmean(over_tasks(measurement.samples[figure]))
            if figure in measurement.samples
            else measurement.figures[figure]
            for measurement in self.measurements.get(label, [])
        ]

    def samples(self, label: str | None, figure: str) -> dict[str, list[float]]:
        """One figure of a job by task and seed, as measured in the last round."""
        measured = self.measurements.get(label, []) if label is not None else []
        return measured[-1].samples.get(figure, {}) if measured else {}
