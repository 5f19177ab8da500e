"""Workers in memory that behave as real ones may, and a driver with a virtual clock, for tests of the core."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tune_plugins.core.ends import EndCause, ErrorInfo, Outcome
from tune_plugins.core.events import (
    CheckpointSaved,
    Command,
    Event,
    ExploitTrial,
    Finish,
    GrantLease,
    PauseTrial,
    RecordDecision,
    ResultsReported,
    SlotsChanged,
    StartTrial,
    StopRequested,
    StopTrial,
    TrialErrored,
    TrialFinished,
    TrialPaused,
    TrialStarted,
    WorkerLost,
)
from tune_plugins.core.experiment import Experiment
from tune_plugins.core.metrics import lookup
from tune_plugins.core.searcher import Searcher, Signal
from tune_plugins.core.trial import CheckpointRecord, Lease, Milestone
from tune_plugins.testing.experiment import SearchedExperiment

Curve = Callable[[dict[str, Any], int], dict[str, Any]]


class CheckedExperiment(SearchedExperiment):
    """Checks its invariants after each event, also after one that raised."""

    def handle(self, event: Event) -> list[Command]:
        try:
            return super().handle(event)
        finally:
            self.validate()


class ListSearcher(Searcher):
    """Suggests the given configurations in order; notes what it was asked and told."""

    reads_results = False

    def __init__(self, configs: Sequence[dict[str, Any]], reads_results: bool = False) -> None:
        self.configs = list(configs)
        self.reads_results = reads_results
        self.asked: list[int] = []
        self.calls: list[tuple[Any, ...]] = []

    def suggest(self, trial_id: str, index: int) -> dict[str, Any] | Signal:
        self.asked.append(index)
        return dict(self.configs[index]) if index < len(self.configs) else Signal.COMPLETE

    def on_suggested(self, trial_id: str, index: int, config: dict[str, Any]) -> None:
        self.calls.append(("suggested", trial_id, config))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.calls.append(("result", trial_id, result["training_iteration"]))

    @property
    def total_trials(self) -> int | None:
        return None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
    ) -> None:
        self.calls.append(("complete", trial_id, outcome is Outcome.FAILED))


def reached(milestone: Milestone | None, result: dict[str, Any]) -> bool:
    value = None if milestone is None else lookup(result, milestone.attr)
    return milestone is not None and isinstance(value, (int, float)) and value >= milestone.value


@dataclass
class Seat:
    """One attempt at a trial in the process that runs it."""

    start: StartTrial
    config: dict[str, Any]
    lease: Lease
    iteration: int
    ready_at: float
    state: str = "queued"  # queued, running, waiting (for a verdict), parked (paused in memory)
    mailbox: deque[Command] = field(default_factory=deque)
    queue: list[dict[str, Any]] = field(default_factory=list)


class Workers:
    """Answers commands with the events that real workers would send, in an order that the caller chooses.

    Args:
        curve: metrics of a configuration at an iteration; ``time_total_s`` may be among them.
        iterations: after so many the training function returns.
        save_every: a checkpoint each so many iterations; 0: only when the lease or an eviction asks.
        can_save: False: a hand-written loop without checkpoints, which cannot be evicted.
        batch: results that are sent together.
        score: metric noted as a checkpoint's score.
    """

    def __init__(
        self,
        curve: Curve,
        iterations: int = 10,
        save_every: int = 0,
        can_save: bool = True,
        batch: int = 3,
        score: str | None = None,
    ) -> None:
        self.curve, self.iterations, self.save_every = curve, iterations, save_every
        self.can_save, self.batch, self.score = can_save, batch, score
        self.clock = 0.0
        self.seats: dict[str, Seat] = {}
        self.ended: list[str] = []
        self.waits: list[tuple[str, int]] = []
        self.iterations_run: Counter[str] = Counter()
        self._names: Counter[str] = Counter()

    def perform(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, StartTrial):
                assert command.trial_id not in self.seats, f"{command.trial_id} was started while it runs"
                self.seats[command.trial_id] = Seat(
                    command, command.config, command.lease, command.iteration, self.clock
                )
            elif isinstance(command, (GrantLease, PauseTrial, ExploitTrial, StopTrial)):
                seat = self.seats.get(command.trial_id)
                assert seat is not None or isinstance(command, StopTrial), f"{command} reaches nobody"
                if seat is not None:
                    seat.mailbox.append(command)

    # ------------------------------------------------------------------------ what may happen next

    def ready(self) -> list[str]:
        """Trials that can do something: all but those that wait and have no mail."""
        return [i for i, s in self.seats.items() if s.state in ("queued", "running") or s.mailbox]

    def step(self, trial_id: str) -> list[Event]:
        """The next thing that this trial does."""
        seat = self.seats[trial_id]
        if seat.state == "queued":
            seat.state = "running"
            return [TrialStarted(self.clock, trial_id)]
        if seat.state == "running":
            return self._train(trial_id, seat)
        return self._read(trial_id, seat)

    def lose(self, trial_id: str, preempted: bool = False) -> list[Event]:
        """The process of the trial dies; what it had not sent is lost."""
        del self.seats[trial_id]
        return [WorkerLost(self.clock, trial_id, ErrorInfo("WorkerLostError", "killed by signal 9"), preempted)]

    def fail(self, trial_id: str, fatal: bool = False) -> list[Event]:
        """User code of a running trial raises."""
        seat = self.seats.pop(trial_id)
        return [
            *self._flush(trial_id, seat),
            TrialErrored(self.clock, trial_id, ErrorInfo("ValueError", "no luck"), fatal),
        ]

    def save(self, trial_id: str, iteration: int | None = None) -> CheckpointSaved:
        """A checkpoint has become durable, maybe after the end of its trial."""
        seat = self.seats.get(trial_id)
        iteration = iteration if iteration is not None else seat.iteration if seat else self.iterations
        name = f"checkpoint_{iteration:06d}"
        number = self._names[f"{trial_id}/{name}"]
        self._names[f"{trial_id}/{name}"] += 1
        score = None
        if self.score is not None and seat is not None:
            score = self.curve(seat.config, iteration).get(self.score)
        path = f"/experiment/trial_{trial_id}/{name}{f'_{number}' if number else ''}"
        record = CheckpointRecord(path.rpartition("/")[2], iteration, path, score, trial_id=trial_id)
        return CheckpointSaved(self.clock, trial_id, record)

    # ----------------------------------------------------------------------------------- inside

    def _flush(self, trial_id: str, seat: Seat, waiting: bool = False) -> list[Event]:
        results, seat.queue = tuple(seat.queue), []
        return [ResultsReported(self.clock, trial_id, results, waiting)] if results else []

    def _end(self, trial_id: str, seat: Seat, reason: str, cause: EndCause = EndCause.FINISHED) -> list[Event]:
        del self.seats[trial_id]
        self.ended.append(trial_id)
        return [*self._flush(trial_id, seat), TrialFinished(self.clock, trial_id, reason, cause)]

    def _train(self, trial_id: str, seat: Seat) -> list[Event]:
        if seat.iteration >= self.iterations:
            return self._end(trial_id, seat, "the trial function returned")
        seat.iteration += 1
        seat.ready_at += float(seat.config.get("seconds", 1.0))
        self.iterations_run[trial_id] += 1
        result = {
            "training_iteration": seat.iteration,
            "time_total_s": float(seat.iteration),
            "timestamp": self.clock,
            **self.curve(seat.config, seat.iteration),
        }
        seat.queue.append(result)
        waits = reached(seat.lease.milestone, result)
        events: list[Event] = []
        due = self.save_every and seat.iteration % self.save_every == 0
        if self.can_save and (due or (waits and seat.lease.save)):
            events += [*self._flush(trial_id, seat), self.save(trial_id)] if not waits else [self.save(trial_id)]
        if reached(seat.lease.end, result):
            return [*events, *self._end(trial_id, seat, "reached the end the scheduler set")]
        if stop := next((c for c in seat.mailbox if isinstance(c, StopTrial)), None):
            return [*events, *self._end(trial_id, seat, stop.reason, stop.cause)]
        if waits:
            seat.state = "waiting"
            self.waits.append((trial_id, seat.iteration))
            return [*events, *self._flush(trial_id, seat, waiting=True)]
        if len(seat.queue) >= self.batch:
            events += self._flush(trial_id, seat)
        return events

    def _read(self, trial_id: str, seat: Seat) -> list[Event]:
        command = seat.mailbox.popleft()
        seat.ready_at = self.clock
        if isinstance(command, GrantLease):
            seat.lease, seat.state = command.lease, "running"
        elif isinstance(command, StopTrial):
            return self._end(trial_id, seat, command.reason, command.cause)
        elif isinstance(command, ExploitTrial):
            seat.lease, seat.config, seat.iteration = command.lease, command.config, command.checkpoint.iteration
            seat.state = "running"
        elif isinstance(command, PauseTrial):
            if command.evict and self.can_save:
                saved = self.save(trial_id)
                del self.seats[trial_id]
                return [saved, TrialPaused(self.clock, trial_id, resident=False)]
            seat.state = "parked"
            return [TrialPaused(self.clock, trial_id, resident=True)]
        return []


class Driver:
    """Drives an experiment to its end under a virtual clock; the same input gives the same order of events.

    Attributes:
        events: everything the core was told.
        answers: the commands it answered with, event by event.
    """

    def __init__(self, experiment: Experiment, workers: Workers, slots: int = 2) -> None:
        self.experiment, self.workers = experiment, workers
        self.events: list[Event] = []
        self.answers: list[list[Command]] = []
        self._slots = slots

    @property
    def commands(self) -> list[Command]:
        return [command for answer in self.answers for command in answer]

    def tell(self, *events: Event) -> None:
        for event in events:
            self.events.append(event)
            self.answers.append(self.experiment.handle(event))
            self.workers.perform(self.answers[-1])

    def run(
        self,
        trouble: Mapping[tuple[str, int], str] | None = None,
        interrupt_at: float = math.inf,
        most: int = 100_000,
    ) -> Driver:
        """Run to the end.

        Args:
            trouble: what happens once a trial has done so many iterations: "lost", "preempted", "failed", "fatal".
            interrupt_at: when somebody presses Ctrl-C.
            most: number of steps after which the experiment counts as stalled.
        """
        left = dict(trouble or {})
        self.tell(SlotsChanged(self.workers.clock, self._slots))
        for _ in range(most):
            if self.experiment.finished:
                return self
            ready = self.workers.ready()
            assert ready, f"stalled: {[(t.id, t.status.value) for t in self.experiment.trials.values()]}"
            seats = self.workers.seats
            trial_id = min(ready, key=lambda i: (seats[i].state == "running", seats[i].ready_at, i))
            self.workers.clock = max(self.workers.clock, seats[trial_id].ready_at)
            if self.workers.clock >= interrupt_at and not self.experiment.stop_reason:
                self.tell(StopRequested(self.workers.clock, "interrupted by Ctrl-C"))
                continue
            kind = left.pop((trial_id, seats[trial_id].iteration), None) if seats[trial_id].state == "running" else None
            if kind in ("lost", "preempted"):
                self.tell(*self.workers.lose(trial_id, kind == "preempted"))
            elif kind is not None:
                self.tell(*self.workers.fail(trial_id, kind == "fatal"))
            else:
                self.tell(*self.workers.step(trial_id))
        raise AssertionError(f"not finished after {most} steps")

    # ------------------------------------------------------------------------------- what was done

    def decisions(self, trial_id: str | None = None) -> list[RecordDecision]:
        found = [c for c in self.commands if isinstance(c, RecordDecision)]
        return [c for c in found if trial_id in (None, c.trial_id)]

    def of(self, kind: type[Command]) -> list[Any]:
        return [c for c in self.commands if type(c) is kind]

    def statuses(self) -> list[str]:
        return [t.status.value for t in self.experiment.trials.values()]

    def finishes(self) -> list[Finish]:
        return self.of(Finish)
