"""Carries out the core's commands on Ray: trials stream through warm workers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tune_plugins.errors import TuneError
from tune_plugins.events import (
    Command,
    Event,
    ExploitTrial,
    GrantLease,
    PauseTrial,
    SlotsChanged,
    StartTrial,
    StopTrial,
    TrialErrored,
    TrialFinished,
    TrialPaused,
    TrialStarted,
    WorkerLost,
)
from tune_plugins.runtime.channel import Relay, Switchboard, pack, unpack
from tune_plugins.runtime.job import Job, Output, Recall, Recalled
from tune_plugins.runtime.ray_cluster import Cluster, own_node
from tune_plugins.runtime.ray_pool import PooledWorker, pool_for
from tune_plugins.runtime.resources import Shape

_GRACE_S = 3.0  # how long a trial told to stop now may take to its next report before its process is ended
_AHEAD_S = 0.03  # short trials are sent ahead, so that a worker has about this much work in line
_MOST_AHEAD = 64
_RECALL_S = 0.25  # a trial that runs longer than this gives back those that wait behind it
_LEAVE_S = 10.0  # how long workers may take to make their last checkpoints durable
_HEALTH_S = 0.5  # how often workers that have not connected yet are looked after
_MOST_FAILED_STARTS = 3


@dataclass(eq=False)
class _Seat:
    """A worker that serves this run.

    Attributes:
        trials: those it was sent, in order; the first one is running, or about to.
        parked: its trial is paused and waits in memory.
        leaving: it was told to go, and makes its last checkpoints durable.
        node: id of its node, once a trial has started there.
    """

    worker: PooledWorker
    connected: bool = False
    trials: deque[str] = field(default_factory=deque)
    parked: bool = False
    began: float = 0.0
    recalled: bool = False
    shares_group: bool = False
    leaving: bool = False
    node: str = ""

    @property
    def idle(self) -> bool:
        """Has nothing to do, and may be given something (as soon as it is connected)."""
        return not (self.trials or self.parked or self.leaving)


class RayRuntime:
    """Performs the commands of `tune_plugins.events` and reports what happens.

    Args:
        cluster: from `ray_cluster.join_or_start`.
        trainable: the user's function, by cloudpickle.
        parameters: large arguments of it; they go into the object store once.
        shape: what a trial takes, given its config.
        slots: trials at a time, at most.
        fresh: a new process for each trial.
        send_ahead: short trials may be chosen before a slot is free (not where results of others matter to them).
        make_job: completes a `StartTrial` to a `Job`.
    """

    catches_signals = True

    def __init__(
        self,
        cluster: Cluster,
        *,
        trainable: bytes,
        parameters: Mapping[str, Any],
        shape: Callable[[dict[str, Any]], Shape],
        slots: int,
        fresh: bool,
        send_ahead: bool,
        make_job: Callable[[StartTrial, Shape], Job],
    ) -> None:
        import ray

        self._cluster, self._trainable, self._shape = cluster, trainable, shape
        self._slots, self._fresh, self._make_job = slots, fresh, make_job
        self._send_ahead = send_ahead and not fresh
        self._parameters = {name: ray.put(value) for name, value in parameters.items()}
        self._pool = pool_for(cluster)
        self._board = Switchboard()
        self._home, self._relay = own_node(), None
        self._seats: dict[str, _Seat] = {}
        self._seat_of: dict[str, _Seat] = {}
        self._jobs: dict[str, tuple[Job, Shape]] = {}
        self._waiting: deque[str] = deque()
        self._own_events: list[Event] = []
        self._kill_at: dict[str, float] = {}
        self._started: dict[str, float] = {}
        self._pace: float | None = None
        self._announced = 0
        self._health_at = 0.0
        self._failed_starts = 0
        self.output: list[Output] = []

    # -------------------------------------------------------------------------------- the loop

    def poll(self, timeout: float) -> list[Event]:
        """What has happened, waiting at most `timeout` seconds for it.

        Raises:
            TuneError: workers cannot be started, or cannot load the trial function.
        """
        self._announce()
        events, self._own_events = self._own_events, []
        for worker, frame in self._board.receive(0.0 if events else timeout):
            seat = self._seats.get(worker)
            if seat is None:
                continue
            if frame is None:
                events += self._lost(seat)
            elif not frame:
                seat.connected = True
                self._failed_starts = 0
            else:
                for item in unpack(frame):
                    self._take_in(seat, item, events)
        now = time.monotonic()
        if self._kill_at:
            self._end_overdue(now)
        if now >= self._health_at:
            self._health_at = now + _HEALTH_S
            self._look_after_seats(now)
        self._place()
        return events

    def wake(self) -> None:
        """Make `poll` return soon; safe in signal handlers."""
        self._board.wake()

    def perform(self, commands: Sequence[Command]) -> None:
        """Carry out commands meant for trials; those for the record are not."""
        for command in commands:
            if isinstance(command, StartTrial):
                shape = self._shape(command.config)
                self._jobs[command.trial_id] = (self._make_job(command, shape), shape)
                self._waiting.append(command.trial_id)
            elif isinstance(command, (GrantLease, StopTrial, PauseTrial, ExploitTrial)):
                self._instruct(command)
        self._place()

    def close(self) -> list[Event]:
        """Let the workers go; returns what they still had to say (checkpoints made durable meanwhile)."""
        events: list[Event] = []
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
        self._board.close()
        for worker, seat in self._seats.items():
            # One that is still starting finds nobody to connect to, and is warm for the next run.
            ready = worker in left or not seat.connected
            if ready and not (self._fresh or seat.shares_group or seat.leaving):
                self._pool.give_back(seat.worker)
            else:
                self._dispose(seat)
        self._seats.clear()
        if not self._cluster.ours:
            # Others may want the resources that idle workers hold.
            self._pool.release()
        if self._relay is not None:
            import ray

            ray.kill(self._relay)
        return events

    # ------------------------------------------------------------------------- what comes in

    def _take_in(self, seat: _Seat, item: Any, events: list[Event]) -> None:
        if isinstance(item, Output):
            self.output.append(item)
            return
        if isinstance(item, Recalled):
            for trial_id in reversed(item.trial_ids):
                seat.trials.remove(trial_id)
                del self._seat_of[trial_id]
                self._waiting.appendleft(trial_id)
            return
        events.append(item)
        if isinstance(item, TrialStarted):
            self._started[item.trial_id] = item.time
            seat.node = item.node
            seat.began, seat.recalled = time.monotonic(), False
        elif isinstance(item, TrialPaused) and item.resident:
            seat.parked = True
        elif isinstance(item, (TrialFinished, TrialErrored, TrialPaused)) and item.trial_id in self._seat_of:
            self._measure(item.time - self._started.pop(item.trial_id, item.time))
            self._leave_seat(item.trial_id)
            if self._fresh and not seat.trials:
                self._retire(seat)

    def _leave_seat(self, trial_id: str) -> None:
        seat = self._seat_of.pop(trial_id)
        seat.trials.remove(trial_id)
        self._jobs.pop(trial_id, None)
        self._kill_at.pop(trial_id, None)

    def _measure(self, seconds: float) -> None:
        """Follow how long trials take: up at once, down slowly."""
        seconds = max(seconds, 1e-4)
        self._pace = seconds if self._pace is None or seconds > self._pace else 0.7 * self._pace + 0.3 * seconds

    def _depth(self) -> int:
        """How many trials a worker is sent ahead of the one it runs."""
        if not self._send_ahead or self._pace is None:
            return 0
        return min(_MOST_AHEAD, int(_AHEAD_S / self._pace))

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
                del self._jobs[trial_id]
                self._own_events.append(TrialFinished(time.time(), trial_id, command.reason))
            return
        if isinstance(command, (GrantLease, StopTrial)):
            seat.parked = False
        self._board.send(seat.worker.id, pack(command))
        if isinstance(command, StopTrial) and command.now:
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
                if seat.connected and not (seat.parked or seat.leaving) and len(seat.trials) == room:
                    self._send_first(seat)
        if not self._waiting:
            return
        idle_or_coming = sum(s.idle for s in self._seats.values())
        active = sum(not (s.parked or s.leaving) for s in self._seats.values())
        wanted = min(len(self._waiting) - idle_or_coming, self._slots - active)
        for trial_id in list(self._waiting)[: max(0, wanted)]:
            self._open_seat(self._jobs[trial_id][1])
        if idle_or_coming and wanted <= 0:
            self._make_room()

    def _send_first(self, seat: _Seat) -> None:
        """Send the first waiting trial whose shape is that of the worker."""
        for trial_id in self._waiting:
            job, shape = self._jobs[trial_id]
            if shape == seat.worker.shape:
                self._waiting.remove(trial_id)
                seat.trials.append(trial_id)
                self._seat_of[trial_id] = seat
                if len(seat.trials) == 1:
                    seat.began, seat.recalled = time.monotonic(), False
                self._board.send(seat.worker.id, _pack_job(job))
                return

    def _make_room(self) -> None:
        """Trials of another shape wait while idle workers hold the resources: end those."""
        shape = self._jobs[self._waiting[0]][1]
        for seat in list(self._seats.values()):
            if seat.idle and seat.worker.shape != shape:
                self._retire(seat)
                self._open_seat(shape)
                return

    def _open_seat(self, shape: Shape) -> None:
        parked = next((s for s in self._seats.values() if s.parked and s.worker.shape == shape), None)
        beside = None if parked is None else parked.worker
        worker = self._pool.take(shape, fresh=self._fresh, beside=beside)
        seat = self._seats[worker.id] = _Seat(worker, shares_group=beside is not None)
        self._pool.release(keep=shape)
        worker.serving = worker.actor.serve.remote(
            self._board.address, self._board.key, worker.id, self._trainable, self._parameters, self._relay_for(seat)
        )

    def _relay_for(self, seat: _Seat) -> list[Any]:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if self._relay is None and len([n for n in ray.nodes() if n["Alive"]]) > 1:
            here = NodeAffinitySchedulingStrategy(self._home, soft=False)
            self._relay = (
                ray.remote(Relay)
                .options(num_cpus=0, max_concurrency=1000, scheduling_strategy=here)
                .remote(self._board.address, self._board.key)
            )
        return [self._home, self._relay]

    # -------------------------------------------------------------------------------- losses

    def _lost(self, seat: _Seat) -> list[Event]:
        """The process of a worker is gone: its running trial has failed, those in line go elsewhere."""
        events: list[Event] = []
        text, preempted = ("", False) if seat.leaving and not seat.trials else self._cause(seat)
        for number, trial_id in enumerate(list(seat.trials)):
            del self._seat_of[trial_id]
            if number == 0 or trial_id in self._kill_at:
                self._kill_at.pop(trial_id, None)
                self._started.pop(trial_id, None)
                del self._jobs[trial_id]
                events.append(WorkerLost(time.time(), trial_id, text, preempted))
            else:
                self._waiting.append(trial_id)
        self._seats.pop(seat.worker.id, None)
        self._dispose(seat)
        return events

    def _cause(self, seat: _Seat) -> tuple[str, bool]:
        """Why a worker ended, in words, and whether its node was lost.

        Raises:
            TuneError: it could not load the trial function, so that no worker can.
        """
        import ray
        from ray.exceptions import ActorDiedError, GetTimeoutError, OutOfMemoryError, RayError, RayTaskError

        try:
            ray.get(seat.worker.serving, timeout=2.0)
        except GetTimeoutError:
            return "WorkerLostError: the process of the trial closed its connection", False
        except OutOfMemoryError as error:
            return f"WorkerLostError: the process of the trial was ended for want of memory. {error}", False
        except RayTaskError as error:
            raise TuneError(f"the trial function could not be loaded in a worker process:\n{error}") from error
        except ActorDiedError as error:
            text = " ".join(str(error).split())
            lowered = text.lower()
            if "out of memory" in lowered or "oom" in lowered or "memory usage threshold" in lowered:
                return f"WorkerLostError: the process of the trial was ended for want of memory. {text}", False
            dead = {str(node["NodeID"]) for node in ray.nodes() if not node["Alive"]}
            return f"WorkerLostError: the process of the trial died. {text}", seat.node in dead
        except RayError as error:
            return f"WorkerLostError: the process of the trial was lost. {error}", False
        return "WorkerLostError: the process of the trial left while the trial was running", False

    def _end_overdue(self, now: float) -> None:
        """End processes whose trial was told to stop now and did not come to its next report in time."""
        import ray

        for trial_id, deadline in list(self._kill_at.items()):
            seat = self._seat_of.get(trial_id)
            if seat is None:
                del self._kill_at[trial_id]
            elif now >= deadline and seat.trials and seat.trials[0] == trial_id:
                self._kill_at[trial_id] = now + 60
                ray.kill(seat.worker.actor)

    def kill_all(self) -> None:
        """End all processes at once, without waiting for anything."""
        for seat in self._seats.values():
            self._dispose(seat)
        self._seats.clear()
        self._board.close()

    def _look_after_seats(self, now: float) -> None:
        import ray

        for seat in list(self._seats.values()):
            if len(seat.trials) > 1 and not seat.recalled and now - seat.began > _RECALL_S:
                seat.recalled = True
                self._measure(now - seat.began)
                self._board.send(seat.worker.id, pack(Recall()))
            if not seat.connected and ray.wait([seat.worker.serving], timeout=0)[0]:
                self._failed_starts += 1
                text, _ = self._cause(seat)
                self._lost(seat)
                if self._failed_starts >= _MOST_FAILED_STARTS:
                    raise TuneError(f"{_MOST_FAILED_STARTS} worker processes died before they could start. {text}")

    def _retire(self, seat: _Seat) -> None:
        """Let a worker go for good; what it still has to say is heard until it closes its connection."""
        seat.leaving = True
        if not self._board.send(seat.worker.id, pack(None)):
            del self._seats[seat.worker.id]
            self._dispose(seat)

    def _dispose(self, seat: _Seat) -> None:
        others = any(s is not seat and s.worker.group is seat.worker.group for s in self._seats.values())
        seat.worker.dispose(keep_group=others)


def _pack_job(job: Job) -> bytes:
    from ray import cloudpickle

    # By value, because a config may hold functions and classes of the user's main module.
    data: bytes = cloudpickle.dumps(job)
    return data
