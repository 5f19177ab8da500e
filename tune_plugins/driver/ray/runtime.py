"""Carries out the core's commands on Ray: trials stream through warm workers."""

from __future__ import annotations

import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple

from tune_plugins.core.ends import EndCause, ErrorInfo
from tune_plugins.core.events import (
    Command,
    Event,
    Instruction,
    PauseTrial,
    ResultsReported,
    SlotsChanged,
    StartTrial,
    StopTrial,
    TrialErrored,
    TrialFinished,
    TrialPaused,
    TrialStarted,
    WorkerLost,
)
from tune_plugins.driver.ray import pickling as pickling_without_ray
from tune_plugins.driver.ray.cluster import Cluster
from tune_plugins.driver.ray.guard import Guard
from tune_plugins.driver.ray.pickling import HoldsRay
from tune_plugins.driver.ray.pool import pool_for
from tune_plugins.driver.ray.preloading import note_imported
from tune_plugins.driver.ray.shipment import Shipment
from tune_plugins.driver.ray.switchboard import Relay, Switchboard
from tune_plugins.driver.ray.waits import Waits
from tune_plugins.driver.ray.workers import ForkedWorker, Kind, Loss, PooledWorker, Service, is_dead
from tune_plugins.driver.resources import Shape, shape_of
from tune_plugins.driver.runtime import Runtime
from tune_plugins.errors import TuneError
from tune_plugins.worker.agent import Agent
from tune_plugins.worker.channel import pack, unpack
from tune_plugins.worker.messages import Imported, Job, Output, PackedJob, RayIsAt, Recall, Recalled, Remark, WantsRay

_GRACE_S = 3.0  # how long a trial told to stop now may take to its next report before its process is ended
_WRAP_UP_S = 4.0  # ... and from there to its end
_AHEAD_S = 0.03  # short trials are sent ahead, so that a worker has about this much work in line
_MOST_AHEAD = 64
_RECALL_S = 0.25  # a trial that runs longer than this gives back those that wait behind it
_LEAVE_S = 10.0  # how long workers may take to make their last checkpoints durable
_SLOW_START_S = 60.0
_IDLE_S = {True: 2.0, False: 10.0}  # by whether it is forked: another actor imports everything again
_HEALTH_S = 0.5  # how often workers are looked after
_MOST_FAILED_STARTS = 3


@dataclass(eq=False)
class _Seat:
    """A worker that serves this run.

    Attributes:
        trials: those it was sent, in order; the first one is running, or about to.
        parked: its trial is paused and waits in memory.
        opened: when it was asked for.
        heard: when its trial has begun, come back from a pause, reported or ended last.
        recalled: it was told to hand back what waits in line behind the running trial.
        leaving: it was told to go, and makes its last checkpoints durable.
        ended: its process has ended, and what it sent before that may still be on its way.
        node, pid: where it is, once a trial has started there.
    """

    worker: PooledWorker
    connected: bool = False
    trials: deque[str] = field(default_factory=deque)
    parked: bool = False
    opened: float = field(default_factory=time.monotonic)
    began: float = 0.0
    heard: float = 0.0
    recalled: bool = False
    leaving: bool = False
    ended: bool = False
    node: str = ""
    pid: int = 0

    @property
    def idle(self) -> bool:
        """Has nothing to do, and may be given something (as soon as it is connected)."""
        return not (self.trials or self.parked or self.leaving)


class _Packed(NamedTuple):
    """A job ready to be sent; `number`: its place in the order in which trials are to start."""

    number: int
    data: bytes
    kind: Kind


class RayRuntime(Runtime):
    """Performs the commands of `tune_plugins.core.events` and reports what happens.

    Args:
        cluster: from `tune_plugins.driver.ray.cluster.find`.
        shipment: the user's function, and what it needs.
        shape: what a trial takes, given its config.
        slots: trials at a time, at most.
        fresh: a new process for each trial.
        report_timeout_s: a trial that is silent for longer is ended; None: none is.
        send_ahead: short trials may be chosen before a slot is free (not where results of others matter to them).
        make_job: completes a `StartTrial` to a `Job`.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        shipment: Shipment,
        shape: Callable[[dict[str, Any]], Shape],
        slots: int,
        fresh: bool,
        report_timeout_s: float | None,
        send_ahead: bool,
        make_job: Callable[[StartTrial, Shape], Job],
    ) -> None:
        super().__init__()
        self._cluster, self._shipment, self._shape = cluster, shipment, shape
        self._slots, self._fresh, self._make_job = slots, fresh, make_job
        self._report_timeout_s = report_timeout_s
        self._send_ahead = send_ahead and not fresh
        self._pool = pool_for(cluster)
        self._pool.runs += 1
        self._board = Switchboard()
        self._relay: Any = None
        self._closed = False
        self._seats: dict[str, _Seat] = {}
        self._seat_of: dict[str, _Seat] = {}
        self._jobs: dict[str, _Packed] = {}
        self._numbers = itertools.count()
        self._waiting: deque[str] = deque()
        self._own_events: list[Event] = []
        self._paused: set[str] = set()
        self._stops: dict[str, StopTrial] = {}
        self._kill_at: dict[str, float] = {}
        self._started: dict[str, float] = {}
        self._pace: float | None = None
        self._announced = 0
        self._health_at = 0.0
        self._failed_starts = 0
        self._guard = Guard()
        self._waits = Waits(cluster)
        self._joining: list[tuple[_Seat, Future[None]]] = []

    # -------------------------------------------------------------------------------- the loop

    def poll(self, timeout: float) -> list[Event]:
        """What has happened, waiting at most `timeout` seconds for it.

        Raises:
            TuneError: workers cannot be started, or cannot load the trial function.
        """
        self._announce()
        events, self._own_events = self._own_events, []
        self._board.beside = [one for each in self._shipment.preloadings for one in each.connections]
        for worker, frame in self._board.receive(0.0 if events else timeout):
            seat = self._seats.get(worker)
            if seat is None:
                continue
            if frame is None:
                events += self._lost(seat)
            elif not frame:
                seat.connected = True
                seat.heard = time.monotonic()
                self._failed_starts = 0
            else:
                for item in unpack(frame):
                    self._take_in(seat, item, events)
        now = time.monotonic()
        self._advance()
        if self._kill_at:
            self._end_overdue(now)
        if now >= self._health_at:
            self._health_at = now + _HEALTH_S
            events += self._look_after_seats(now)
        self._place()
        return events

    def _advance(self) -> None:
        """Go on with workers that wait for resources, or for everything to be imported."""
        for preloading in self._shipment.preloadings:
            preloading.listen()
        for preloading in self._shipment.here:
            if preloading.trouble:
                self._use_actors(preloading.trouble)
        for node, trouble in self._shipment.drop_troubled().items():
            if not is_dead(node):
                self._use_actors(trouble)
            for seat in list(self._seats.values()):
                if not seat.connected and seat.worker.kind.forked and seat.worker.slot.node == node:
                    self._dispose(seat)
        for seat in list(self._seats.values()):
            if not seat.connected:
                seat.worker.advance()
        for waiting in [each for each in self._joining if each[1].done()]:
            self._joining.remove(waiting)
            self._let_join(*waiting)

    def _use_actors(self, why: str) -> None:
        """Fork no more processes; those there are go on."""
        if self._shipment.actors:
            return
        self._shipment.use_actors(why)
        for trial_id, job in self._jobs.items():
            if trial_id in self._waiting:
                self._jobs[trial_id] = job._replace(kind=self._shipment.kind(job.kind.shape, {}))
        for seat in list(self._seats.values()):
            if isinstance(seat.worker, ForkedWorker) and not seat.worker.alive:
                self._dispose(seat)

    def _guard_forks(self) -> None:
        """Memory and hangs of forked processes."""
        seats = {s.worker: s for s in self._seats.values() if isinstance(s.worker, ForkedWorker)}
        self._guard.relieve(seats)
        unproven = {w: s.began for w, s in seats.items() if not w.proven and s.trials and s.trials[0] in self._started}
        for worker in self._guard.hanging(unproven):
            trial_id = seats[worker].trials[0]
            why = (
                f"trial {trial_id} hung before its first report: it waits for a lock, as after a fork that is not safe"
            )
            if not self._shipment.actors:
                self.output.append(Output("", [f"{why}. It starts anew in a Ray actor, as do those to come"]))
            self._use_actors(why)
            worker.end(Loss("the process of the trial hung, and is replaced", preempted=True))

    def stages(self) -> Mapping[str, str]:
        """See `Runtime.stages`."""
        if not self._waiting:
            return {}
        coming = [seat.worker.stage or "starting" for seat in self._seats.values() if not seat.connected]
        return dict(zip(self._waiting, coming, strict=False))

    def wake(self) -> None:
        """Make `poll` return soon; safe in signal handlers."""
        self._board.wake()

    def perform(self, commands: Sequence[Command]) -> None:
        """Carry out commands meant for trials; those for the record are not.

        Raises:
            TuneError: a config cannot be sent to another process, or asks for resources that no node has.
        """
        for command in commands:
            if isinstance(command, StartTrial):
                asked = command.resources
                shape = self._shape(command.config) if asked is None else shape_of(asked)
                kind = self._shipment.kind(shape, command.config)
                job = self._make_job(command, shape)
                try:
                    data = _pack_job(job, kind)
                except HoldsRay:
                    kind = self._shipment.kind(shape, {}, for_ray=True)
                    data = _pack_job(job, kind)
                self._jobs[command.trial_id] = _Packed(next(self._numbers), data, kind)
                self._waiting.append(command.trial_id)
            elif isinstance(command, Instruction):
                self._instruct(command)
        self._place()

    def close(self) -> list[Event]:
        """Let the workers go; returns what they still had to say (checkpoints made durable meanwhile)."""
        events: list[Event] = []
        if self._closed:
            return events
        leaving = {i for i, s in self._seats.items() if s.connected and not s.parked and not s.trials}
        for worker in leaving:
            if not self._seats[worker].leaving:
                self._board.send(worker, pack(None))
        deadline = time.monotonic() + _LEAVE_S
        left: set[str] = set()
        while left < leaving and (remaining := deadline - time.monotonic()) > 0:
            for worker, frame in self._board.receive(remaining):
                if frame is None:
                    left.add(worker)
                elif frame and worker in self._seats:
                    for item in unpack(frame):
                        if isinstance(item, Event):
                            events.append(item)
                        elif isinstance(item, Output):
                            self.output.append(item)
        # Another run of this process may wait for the resources that idle workers would hold.
        keep = not self._fresh and self._pool.runs == 1
        for name, seat in self._seats.items():
            # One that is still starting finds nobody to connect to, and is warm for the next run.
            ready = name in left or not seat.connected
            if keep and ready and not (seat.leaving or seat.ended):
                self._pool.give_back(seat.worker)
            else:
                seat.worker.dispose()
        self._end()
        return events

    def _end(self) -> None:
        self._closed = True
        self._seats.clear()
        self._shipment.close()
        self._board.close()
        self._pool.runs -= 1
        if not self._cluster.ours:
            # Others may want the resources that idle workers hold.
            self._pool.release()
        if self._relay is not None:
            import ray

            ray.kill(self._relay)

    # ------------------------------------------------------------------------- what comes in

    def _take_in(self, seat: _Seat, item: Any, events: list[Event]) -> None:
        if isinstance(item, Output):
            self.output.append(item)
            return
        if isinstance(item, Imported):
            note_imported(item.modules)
            for preloading in self._shipment.preloadings:
                preloading.learn(item.modules)
            return
        if isinstance(item, Remark):
            self.remark(item.text)
            return
        if isinstance(item, WantsRay):
            self._joining.append((seat, self._cluster.start_beside(self._board.wake)))
            return
        if isinstance(item, Recalled):
            for trial_id in item.trial_ids:
                seat.trials.remove(trial_id)
                del self._seat_of[trial_id]
                if (stop := self._stops.pop(trial_id, None)) is not None:
                    self._drop(stop)
                else:
                    self._wait_again(trial_id)
            return
        events.append(item)
        if isinstance(item, TrialStarted):
            self._started[item.trial_id] = item.time
            seat.node, seat.pid = item.node, item.pid
            seat.began = seat.heard = time.monotonic()
            seat.recalled = False
        elif isinstance(item, ResultsReported):
            seat.worker.proven = True
            seat.heard = time.monotonic()
            if item.trial_id in self._kill_at:
                self._kill_at[item.trial_id] = time.monotonic() + _WRAP_UP_S
        elif isinstance(item, TrialPaused) and item.resident:
            # It may have been woken meanwhile.
            seat.parked = item.trial_id in self._paused
            if seat.parked and len(seat.trials) > 1:
                self._recall(seat)
        elif isinstance(item, (TrialFinished, TrialErrored, TrialPaused)) and item.trial_id in self._seat_of:
            self._measure(item.time - self._started.pop(item.trial_id, item.time))
            self._leave_seat(item.trial_id)
            if (self._fresh or seat.worker.joined) and not seat.trials:
                self._retire(seat)

    def _let_join(self, seat: _Seat, started: Future[None]) -> None:
        """A trial in a forked process uses Ray: it is a job of its own there, with the resources of its slot."""
        try:
            started.result()
            self._cluster.start()
            seat.worker.slot.leave_to_job()
            seat.worker.joined = True
            answer = RayIsAt(self._cluster.environ)
        except TuneError as error:
            answer = RayIsAt({}, str(error))
        self._board.send(seat.worker.id, pack(answer))

    def _leave_seat(self, trial_id: str) -> None:
        seat = self._seat_of.pop(trial_id)
        seat.heard = time.monotonic()
        seat.trials.remove(trial_id)
        seat.parked = False
        self._forget(trial_id)

    def _forget(self, trial_id: str) -> None:
        self._jobs.pop(trial_id, None)
        self._started.pop(trial_id, None)
        self._kill_at.pop(trial_id, None)
        self._stops.pop(trial_id, None)
        self._paused.discard(trial_id)

    def _wait_again(self, trial_id: str) -> None:
        """A trial that stood in line goes elsewhere, in its old place among those that wait."""
        self._waiting.append(trial_id)
        self._waiting = deque(sorted(self._waiting, key=lambda waiting: self._jobs[waiting].number))

    def _drop(self, stop: StopTrial) -> None:
        """Stop a trial that no worker has begun."""
        self._forget(stop.trial_id)
        self._own_events.append(TrialFinished(time.time(), stop.trial_id, stop.reason, stop.cause))

    def _recall(self, seat: _Seat) -> None:
        seat.recalled = True
        self._board.send(seat.worker.id, pack(Recall()))

    def _measure(self, seconds: float) -> None:
        """Follow how long trials take: up at once, down slowly."""
        seconds = max(seconds, 1e-4)
        self._pace = seconds if self._pace is None or seconds > self._pace else 0.7 * self._pace + 0.3 * seconds

    def _depth(self) -> int:
        """How many trials a worker is sent ahead of the one it runs."""
        if not self._send_ahead or self._pace is None:
            return 0
        if self._pace > _RECALL_S:
            return 0
        # At least one: else a worker is idle between two trials for as long as a turn of the driver takes.
        return min(_MOST_AHEAD, max(1, int(_AHEAD_S / self._pace)))

    def _announce(self) -> None:
        slots = self._slots * (1 + self._depth())
        if slots != self._announced:
            self._announced = slots
            self._own_events.append(SlotsChanged(time.time(), slots))

    # ------------------------------------------------------------------------- what goes out

    def _instruct(self, command: Command) -> None:
        trial_id = command.trial_id
        seat = self._seat_of.get(trial_id)
        if seat is None:
            if isinstance(command, StopTrial) and trial_id in self._jobs:
                self._waiting.remove(trial_id)
                self._drop(command)
            return
        if isinstance(command, PauseTrial):
            self._paused.add(trial_id)
        else:
            self._paused.discard(trial_id)
            seat.parked = False
            seat.heard = time.monotonic()
        self._board.send(seat.worker.id, _pack(command, trial_id, for_actor=not seat.worker.kind.forked))
        if isinstance(command, StopTrial):
            self._stops[trial_id] = command
            if command.now:
                self._kill_at[trial_id] = time.monotonic() + _GRACE_S

    def _place(self) -> None:
        """Send waiting trials to workers that have room, and see that there are enough workers."""
        if not self._waiting:
            return
        for room in range(1 + self._depth()):
            # Empty workers first, then those with one trial in line, and so on.
            for seat in self._seats.values():
                if not self._waiting:
                    return
                ready = seat.connected and not (seat.parked or seat.leaving) and len(seat.trials) == room
                if ready and not (room and seat.recalled):
                    self._send_first(seat)
        if not self._waiting:
            return
        # Workers that are coming serve the first of those that wait; open more for the others.
        coming = Counter(s.worker.kind for s in self._seats.values() if s.idle)
        active = sum(not (s.parked or s.leaving) for s in self._seats.values())
        for trial_id in self._waiting:
            kind = self._jobs[trial_id].kind
            if coming[kind]:
                coming[kind] -= 1
            elif active < self._slots:
                active += 1
                self._open_seat(kind)
            else:
                # Idle workers of another kind may hold the resources, or have asked for them: end one.
                idle = next((s for s in self._seats.values() if s.idle and coming[s.worker.kind]), None)
                if idle is None:
                    return
                coming[idle.worker.kind] -= 1
                self._retire(idle)
                self._open_seat(kind)

    def _send_first(self, seat: _Seat) -> None:
        """Send the first waiting trial whose kind is that of the worker."""
        for trial_id in self._waiting:
            job = self._jobs[trial_id]
            if job.kind == seat.worker.kind:
                self._waiting.remove(trial_id)
                seat.trials.append(trial_id)
                self._seat_of[trial_id] = seat
                if len(seat.trials) == 1:
                    seat.began, seat.recalled = time.monotonic(), False
                self._board.send(seat.worker.id, job.data)
                return

    def _open_seat(self, kind: Kind) -> None:
        # Idle workers that are of no use here would hold the resources that a new one needs.
        self._pool.release(keep=None if self._fresh else kind)

        def agent(node: str) -> Agent | None:
            if node == self._cluster.home:
                return self._shipment.preloading(kind.shape).agent()
            return self._shipment.preloading_on(node, kind.shape, self._relay_for).agent()

        worker = self._pool.take(kind, agent, fresh=self._fresh, beside=self._parked_alone(kind))
        self._seats[worker.id] = _Seat(worker)
        worker.serve(
            Service(
                self._board.address,
                self._board.key,
                self._cluster.home,
                self._shipment.cargo,
                lambda: (*self._shipment.for_actors(), self._relay_for()),
            )
        )

    def _parked_alone(self, kind: Kind) -> PooledWorker | None:
        """A worker of this shape whose slot is free while its trial is paused."""
        busy = {id(s.worker.slot) for s in self._seats.values() if not s.parked}
        for seat in self._seats.values():
            if seat.parked and seat.worker.kind.shape == kind.shape and id(seat.worker.slot) not in busy:
                return seat.worker
        return None

    def _relay_for(self) -> Any:
        """The handle of the relay, where there are other nodes."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if self._relay is None and len([n for n in ray.nodes() if n["Alive"]]) > 1:
            here = NodeAffinitySchedulingStrategy(self._cluster.home, soft=False)
            self._relay = (
                ray.remote(Relay)
                .options(num_cpus=0, max_concurrency=1000, scheduling_strategy=here)
                .remote(self._board.address, self._board.key)
            )
        return self._relay

    # -------------------------------------------------------------------------------- losses

    def _lost(self, seat: _Seat) -> list[Event]:
        """The process of a worker is gone: its running trial has failed, those in line go elsewhere."""
        events: list[Event] = []
        told = all(trial_id in self._stops for trial_id in seat.trials)
        loss = Loss("ended on request") if told else seat.worker.fate or seat.worker.loss(seat.node, seat.pid)
        for number, trial_id in enumerate(list(seat.trials)):
            del self._seat_of[trial_id]
            if number == 0 or trial_id in self._stops:
                self._forget(trial_id)
                error = ErrorInfo("WorkerLostError", loss.text)
                events.append(WorkerLost(time.time(), trial_id, error, loss.preempted, loss.cause))
            else:
                self._wait_again(trial_id)
        self._dispose(seat)
        return events

    def _end_overdue(self, now: float) -> None:
        """End processes whose trial was told to stop now and did not come to its next report in time."""
        for trial_id, deadline in list(self._kill_at.items()):
            seat = self._seat_of.get(trial_id)
            if seat is None:
                del self._kill_at[trial_id]
            elif now >= deadline and seat.trials and seat.trials[0] == trial_id:
                self._kill_at[trial_id] = now + 60
                seat.worker.kill()

    def _end_silent(self, now: float) -> None:
        """End processes whose trial has not reported in time."""
        limit = self._report_timeout_s
        if limit is None:
            return
        for seat in self._seats.values():
            running = seat.trials and seat.trials[0] in self._started and not seat.parked
            if running and seat.worker.fate is None and now - seat.heard > limit:
                text = f"the trial was ended since it had not reported for {now - seat.heard:.1f} s"
                seat.worker.end(Loss(f"{text} (FailureConfig(report_timeout_s={limit:g}))", EndCause.SILENT))

    def kill_all(self) -> None:
        """End all processes at once, without waiting for anything."""
        if self._closed:
            return
        with suppress(Exception):  # Ray itself may be what went wrong
            for seat in self._seats.values():
                seat.worker.dispose()
        with suppress(Exception):
            self._end()

    def _look_after_seats(self, now: float) -> list[Event]:
        events: list[Event] = []
        self._guard_forks()
        self._end_silent(now)
        slots = [s.worker.slot for s in self._seats.values() if not s.connected and s.worker.slot.node is None]
        slow = (s for s in self._seats.values() if not s.connected and now - s.opened > _SLOW_START_S)
        if any(seat.worker.slot.node is not None for seat in slow):
            self.remark(
                f"a worker process has not been ready for {_SLOW_START_S:.0f} s: it imports what the trial needs, or "
                "Ray makes its runtime_env"
            )
        if told := self._waits.look(slots, now):
            self.output.append(Output("", [told]))
        for seat in list(self._seats.values()):
            if len(seat.trials) > 1 and not seat.recalled and now - seat.began > _RECALL_S:
                self._measure(now - seat.began)
                self._recall(seat)
            if not seat.worker.over:
                continue
            if not seat.connected:
                events += self._failed_to_start(seat)
            elif seat.ended:
                # Its connection goes through a relay, which does not notice.
                self._board.drop(seat.worker.id)
                events += self._lost(seat)
            seat.ended = True
        self._make_room()
        self._give_up_idle(now)
        return events

    def _give_up_idle(self, now: float) -> None:
        """Where others may want the resources, workers do not wait for trials that are not there."""
        if self._waiting or (self._cluster.ours and self._pool.runs == 1):
            return
        for seat in list(self._seats.values()):
            if seat.connected and seat.idle and now - seat.heard > _IDLE_S[seat.worker.kind.forked]:
                self._retire(seat)

    def _make_room(self) -> None:
        """Where the resources of a worker to come are still held by idle ones of another kind, end one of those."""
        for seat in list(self._seats.values()):
            if seat.connected or not seat.idle or seat.worker.slot.node is not None:
                continue
            idle = (s for s in self._seats.values() if s.connected and s.idle and s.worker.kind != seat.worker.kind)
            if (other := next(idle, None)) is not None:
                self._retire(other)

    def _failed_to_start(self, seat: _Seat) -> list[Event]:
        loss = seat.worker.loss(seat.node, seat.pid)
        if isinstance(seat.worker, ForkedWorker) and self._failed_starts:
            self._use_actors(f"forked processes end before they can start: {loss.text}")
        # A warm worker may have died between two runs, which says nothing about new ones.
        self._failed_starts += not seat.worker.warm
        if self._failed_starts >= _MOST_FAILED_STARTS:
            raise TuneError(f"{_MOST_FAILED_STARTS} worker processes died before they could start. {loss.text}")
        return self._lost(seat)

    def _retire(self, seat: _Seat) -> None:
        """Let a worker go for good; what it still has to say is heard until it closes its connection."""
        seat.leaving = True
        if not self._board.send(seat.worker.id, pack(None)):
            self._dispose(seat)

    def _dispose(self, seat: _Seat) -> None:
        del self._seats[seat.worker.id]
        seat.worker.dispose()


def _pack(message: Any, trial_id: str, *, for_actor: bool = True) -> bytes:
    # By value, because a config may hold functions and classes of the user's main module. Ray's own pickling knows
    # references to objects and handles of actors.
    pickling = import_module("ray.cloudpickle") if for_actor else pickling_without_ray
    try:
        data: bytes = pickling.dumps(message)
    except HoldsRay:
        raise
    except Exception as error:
        raise TuneError(
            f"the config of trial {trial_id} cannot be sent to another process: {error}. "
            "Let param_space hold values that can be pickled, and make the others in the training function."
        ) from error
    return data


def _pack_job(job: Job, kind: Kind) -> bytes:
    return pack(PackedJob(job.trial_id, _pack(job, job.trial_id, for_actor=not kind.forked)))
