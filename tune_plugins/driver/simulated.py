"""Carries out the core's commands under a virtual clock: no training happens, no time goes by."""

from __future__ import annotations

import heapq
import math
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Protocol, TypeGuard, runtime_checkable

from tune_plugins.arguments import Mistakes, is_number
from tune_plugins.core.ends import ErrorInfo
from tune_plugins.core.events import (
    CheckpointSaved,
    Command,
    Event,
    ExploitTrial,
    GrantLease,
    PauseTrial,
    ResultsReported,
    SlotsChanged,
    StartTrial,
    StopTrial,
    Tick,
    TrialFinished,
    TrialPaused,
    TrialStarted,
    WorkerLost,
)
from tune_plugins.core.leases import StopRule, end_of, reached
from tune_plugins.core.metrics import lookup
from tune_plugins.core.scores import finite
from tune_plugins.core.trial import CheckpointRecord, Lease
from tune_plugins.driver.runtime import RESIDENTS, Place, Runtime, Task
from tune_plugins.session.values import PLAIN, plain

_CRASH = ErrorInfo("WorkerLostError", "simulated crash")
_LONGEST_RUN = 1000  # steps computed ahead of the virtual clock, so that endless trainings are possible


@runtime_checkable
class SimulatedTraining(Protocol):
    """What stands in for a training function."""

    def start(self, index: int, config: dict[str, Any], seed: int) -> Any:
        """State of a fresh training of trial number `index`."""

    def step(self, state: Any, config: dict[str, Any]) -> tuple[Any, Mapping[str, Any], float] | None:
        """One step: the next state, the metrics it reports and its cost in seconds; None: the training is over.

        The state given must not be changed: checkpoints share it.
        """


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    """A list, tuple, array or the like."""
    return hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(value, (str, bytes, Mapping))


@dataclass(frozen=True)
class Curve:
    """The learning curve of one configuration.

    Attributes:
        values: what each step reports: a dict of metrics, or the value of the one metric.
        seconds: cost of a step, or of each step.
    """

    values: Sequence[Any]
    seconds: float | Sequence[float] = 1.0

    def __post_init__(self) -> None:
        mistakes = Mistakes("Curve")
        right = _is_list(self.values)
        mistakes.check(right, "values", "a list of numbers or of dicts of metrics", self.values)
        if not is_number(self.seconds):
            right = _is_list(self.seconds) and (not right or len(self.seconds) >= len(self.values))
            mistakes.check(right, "seconds", "a number, or one for each of the values", self.seconds)
        mistakes.raise_if_any()


@dataclass(frozen=True)
class Curves:
    """A training that goes along known curves.

    Args:
        curve_of: the curve of a trial, given its number and config.
        metric: name of the metric where the values of curves are plain numbers.
    """

    curve_of: Callable[[int, dict[str, Any]], Curve]
    metric: str = "value"

    def start(self, index: int, config: dict[str, Any], seed: int) -> tuple[Curve, int]:
        """At the beginning of the trial's curve."""
        return self.curve_of(index, config), 0

    def step(
        self, state: tuple[Curve, int], config: dict[str, Any]
    ) -> tuple[tuple[Curve, int], Mapping[str, Any], float] | None:
        """One step along the curve."""
        curve, position = state
        if position >= len(curve.values):
            return None
        value = curve.values[position]
        metrics = value if isinstance(value, Mapping) else {self.metric: value}
        seconds: Any = curve.seconds
        return (curve, position + 1), metrics, float(seconds[position] if _is_list(seconds) else seconds)


@dataclass(frozen=True)
class SimulatedCluster:
    """What the simulated trials run on.

    Args:
        workers: trials at a time.
        start_delay_s: virtual seconds from a start (also a resume in another process) to the first step.
        checkpoint_s: virtual seconds to save a checkpoint.
        straggler_probability: probability that an attempt at a trial is slowed down.
        straggler_factor: by how much.
        crash_probability: probability of each step to kill its worker.

    Raises:
        ArgumentError: lists all mistakes.
    """

    workers: int = 1
    start_delay_s: float = 0.0
    checkpoint_s: float = 0.0
    straggler_probability: float = 0.0
    straggler_factor: float = 4.0
    crash_probability: float = 0.0

    def __post_init__(self) -> None:
        mistakes = Mistakes("SimulatedCluster")
        mistakes.whole("workers", self.workers, least=1)
        for name in ("start_delay_s", "checkpoint_s"):
            mistakes.number(name, getattr(self, name), least=0, what="a number of seconds")
        for name in ("straggler_probability", "crash_probability"):
            mistakes.number(name, getattr(self, name), least=0, most=1, what="a probability")
        mistakes.number("straggler_factor", self.straggler_factor, above=0)
        mistakes.raise_if_any()


@dataclass(eq=False)
class _Run:
    """One attempt at a trial.

    Attributes:
        clock: virtual time up to which its steps have been computed.
        results: computed and not yet reported, each with the virtual time at which it is.
        rng: of the chances of this attempt; None where nothing is left to chance.
        version: counts its plans; an outcome planned before the last change is void.
    """

    trial_id: str
    config: dict[str, Any]
    state: Any
    lease: Lease
    iteration: int
    clock: float
    elapsed: float
    rng: Random | None
    slowdown: float
    results: list[dict[str, Any]] = field(default_factory=list)
    version: int = 0
    saved_at: int = -1
    last: dict[str, Any] = field(default_factory=dict)


class TemporaryFolder:
    """Held by the results of a simulation: when the last of them is gone, so is the folder.

    Attributes:
        path: of the experiment in it.
    """

    def __init__(self, name: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tune-simulation-")
        self.path = Path(self._folder.name) / name
        weakref.finalize(self, self._folder.cleanup)


class SimulatedPlace(Place):
    """Virtual workers.

    Args:
        training: what stands in for the training function.
        cluster: what it runs on.
    """

    virtual = True

    def __init__(self, training: SimulatedTraining, cluster: SimulatedCluster) -> None:
        self._training, self._cluster = training, cluster
        self.slots = cluster.workers
        self.resources = {"CPU": 1.0}
        self.cluster = {"CPU": float(cluster.workers)}

    def residents(self, asked: int | None) -> int:
        """As many as in a run with real workers."""
        return RESIDENTS if asked is None else asked

    def open(self, task: Task) -> SimulatedRuntime:
        """The runtime of one run."""
        return SimulatedRuntime(
            self._training,
            self._cluster,
            seed=task.seed,
            stop=task.stop,
            time_budget_s=task.rules.time_budget_s,
            score_attribute=task.rules.score_attribute,
        )


class SimulatedRuntime(Runtime):
    """Virtual workers under a virtual clock that starts at 0; their checkpoints are in memory.

    Args:
        training: what stands in for the training function.
        cluster: what it runs on.
        seed: of stragglers and crashes.
        stop: thresholds of the user.
        time_budget_s: a Tick comes at this virtual time.
        score_attribute: metric that is noted with a checkpoint as its score.
    """

    waits = False
    virtual = True

    def __init__(
        self,
        training: SimulatedTraining,
        cluster: SimulatedCluster,
        *,
        seed: int = 0,
        stop: Sequence[StopRule] = (),
        time_budget_s: float | None = None,
        score_attribute: str | None = None,
    ) -> None:
        super().__init__()
        self._score_attribute = score_attribute
        self.training, self.cluster, self.seed, self.stop = training, cluster, seed, tuple(stop)
        self.now = 0.0
        self._order = count()
        self._heap: list[tuple[float, int, Event, _Run | None, int]] = []
        self._runs: dict[str, _Run] = {}
        self._checkpoints: dict[tuple[str, str], tuple[Any, float]] = {}
        self._saves: Counter[tuple[str, int]] = Counter()  # by trial and iteration, to which an exploit may lead back
        self._push(SlotsChanged(0.0, cluster.workers))
        if time_budget_s is not None:
            self._push(Tick(time_budget_s))

    # --------------------------------------------------------------------------------- clock

    def _push(self, event: Event, run: _Run | None = None, order: int | None = None) -> None:
        """Plan an event; one that belongs to a run is void as soon as the run gets another plan."""
        order = next(self._order) if order is None else order
        heapq.heappush(self._heap, (event.time, order, event, run, 0 if run is None else run.version))

    def time(self) -> float:
        """The virtual time now, in seconds."""
        return self.now

    def clock(self) -> float:
        """The same: nobody sets it."""
        return self.now

    def poll(self, timeout: float = 0.0) -> list[Event]:
        """The next event, with the results that came before it; empty: nothing will ever happen again."""
        while self._heap:
            time, _, event, run, version = heapq.heappop(self._heap)
            if run is not None and (version != run.version or self._runs.get(run.trial_id) is not run):
                continue
            self.now = time
            events: list[Event] = []
            if run is not None:
                if isinstance(event, Tick):  # so far and no further was computed
                    events += self._flush(run)
                    self._advance(run)
                elif isinstance(event, ResultsReported):
                    events.append(event)
                    run.results = []
                else:
                    if not isinstance(event, TrialStarted):
                        events += self._flush(run)
                    events.append(event)
                    if isinstance(event, (TrialFinished, WorkerLost)):
                        del self._runs[run.trial_id]
            else:
                events.append(event)
            return events
        return []

    def _flush(self, run: _Run) -> list[Event]:
        results, run.results = run.results, []
        return [ResultsReported(self.now, run.trial_id, tuple(results))] if results else []

    # ------------------------------------------------------------------------------ commands

    def perform(self, commands: Sequence[Command]) -> None:
        """Carry out commands meant for trials; those for the record are not."""
        for command in commands:
            if (carry_out := _CARRY_OUT.get(type(command))) is not None:
                carry_out(self, command)

    def delete_checkpoint(self, trial_id: str, checkpoint: CheckpointRecord) -> None:
        """Forget the state."""
        del self._checkpoints[trial_id, checkpoint.id]

    def _start(self, command: StartTrial) -> None:
        trial_id, checkpoint = command.trial_id, command.checkpoint
        if checkpoint is None:
            state, elapsed = self.training.start(int(trial_id), command.config, command.seed), 0.0
        else:
            state, elapsed = self._checkpoints[checkpoint.trial_id, checkpoint.id]
        # Seeding a generator takes longer than a step: only where chance plays a part.
        rng, slow = None, False
        if self.cluster.straggler_probability or self.cluster.crash_probability:
            rng = Random(f"{self.seed}:{trial_id}:{command.attempt}:{command.iteration}")
            slow = rng.random() < self.cluster.straggler_probability
        begins = self.now + self.cluster.start_delay_s
        run = self._runs[trial_id] = _Run(
            trial_id,
            command.config,
            state,
            command.lease,
            command.iteration,
            begins,
            elapsed,
            rng,
            self.cluster.straggler_factor if slow else 1.0,
            saved_at=-1 if checkpoint is None else command.iteration,
        )
        first = next(self._order)
        self._advance(run)
        self._push(TrialStarted(begins, trial_id, iteration=command.iteration, elapsed=elapsed), run, first)

    def _advance(self, run: _Run) -> None:
        """Compute steps up to where something happens, and plan that."""
        run.version += 1
        rng, crash, rules, lease = run.rng, self.cluster.crash_probability, self.stop, run.lease
        milestone, may_end = lease.milestone, bool(self.stop) or lease.end is not None
        step, config, slowdown, results = self.training.step, run.config, run.slowdown, run.results
        state, clock, elapsed, iteration = run.state, run.clock, run.elapsed, run.iteration
        trial_id = run.trial_id
        # Nothing can happen before this iteration, where only iterations count; most steps end at this comparison.
        quiet_until = 0.0
        if not rules and all(point is None or point.attr == "training_iteration" for point in (milestone, lease.end)):
            quiet_until = min(math.inf if point is None else point.value for point in (milestone, lease.end))
        event: Event | None = None
        waits = False
        for _ in range(_LONGEST_RUN):
            done = step(state, config)
            if done is None:
                event = TrialFinished(clock, trial_id)
                break
            after, metrics, seconds = done
            seconds *= slowdown
            clock += seconds
            if rng is not None and rng.random() < crash:
                event = WorkerLost(clock, trial_id, _CRASH)
                break
            state, elapsed, iteration = after, elapsed + seconds, iteration + 1
            if not PLAIN.issuperset(map(type, metrics.values())):
                metrics = plain(metrics)
            result = {**metrics, "training_iteration": iteration, "time_total_s": elapsed, "timestamp": clock}
            results.append(result)
            if iteration < quiet_until:
                continue
            if may_end and (end := end_of(result, lease, rules)) is not None:
                event = TrialFinished(clock, trial_id, end.reason, end.cause)
                break
            if milestone is not None and reached(milestone, result):
                waits = True
                break
        run.state, run.clock, run.elapsed, run.iteration = state, clock, elapsed, iteration
        if results:
            run.last = results[-1]
        if waits:
            if lease.save:
                self._save(run)
            event = ResultsReported(run.clock, trial_id, tuple(results), waiting=True)
        self._push(event or Tick(clock), run)

    def _save(self, run: _Run) -> CheckpointRecord:
        run.clock += self.cluster.checkpoint_s
        # Counted, not looked up among those that are there: when one is deleted depends on the clock of the wall.
        number = self._saves[run.trial_id, run.iteration]
        self._saves[run.trial_id, run.iteration] += 1
        name = f"checkpoint_{run.iteration:06d}" + (f"_{number}" if number else "")
        record = CheckpointRecord(name, run.iteration, None, self._score(run), trial_id=run.trial_id)
        self._checkpoints[run.trial_id, record.id] = (run.state, run.elapsed)
        run.saved_at = run.iteration
        self._push(CheckpointSaved(run.clock, run.trial_id, record))
        return record

    def _score(self, run: _Run) -> float | None:
        """What retention ranks the checkpoint by."""
        value = None if self._score_attribute is None else lookup(run.last, self._score_attribute)
        return finite(value)

    def _grant(self, command: GrantLease) -> None:
        run = self._runs[command.trial_id]
        run.lease, run.clock = command.lease, max(run.clock, self.now)
        self._advance(run)

    def _stop(self, command: StopTrial) -> None:
        """Stop at the milestone, or, where it is running, at the last step that is over by now."""
        run = self._runs.get(command.trial_id)
        if run is None:
            return  # it was told to leave, and has said so or is about to
        run.version += 1
        run.results = [result for result in run.results if result["timestamp"] <= self.now]
        self._push(TrialFinished(self.now, run.trial_id, command.reason, command.cause), run)

    def _pause(self, command: PauseTrial) -> None:
        run = self._runs[command.trial_id]
        if not command.evict:
            self._push(TrialPaused(self.now, run.trial_id, resident=True))
            return
        run.clock = max(run.clock, self.now)
        if run.saved_at != run.iteration:
            self._save(run)
        del self._runs[run.trial_id]
        self._push(TrialPaused(run.clock, run.trial_id, resident=False))

    def _exploit(self, command: ExploitTrial) -> None:
        run = self._runs[command.trial_id]
        run.state, run.elapsed = self._checkpoints[command.checkpoint.trial_id, command.checkpoint.id]
        run.config, run.lease = command.config, command.lease
        run.iteration, run.clock = command.checkpoint.iteration, max(run.clock, self.now)
        run.saved_at = -1
        self._advance(run)


_CARRY_OUT: dict[type[Command], Callable[[SimulatedRuntime, Any], None]] = {
    StartTrial: SimulatedRuntime._start,
    GrantLease: SimulatedRuntime._grant,
    StopTrial: SimulatedRuntime._stop,
    PauseTrial: SimulatedRuntime._pause,
    ExploitTrial: SimulatedRuntime._exploit,
}
