"""The processes that run trials, of two kinds: forked from a preloading process, or Ray actors.

A forked one is there in milliseconds, with everything imported; see `tune_plugins.worker.preloader`. An actor is what
a trial needs that has to do with Ray itself: tasks, actors, objects of its own; several bundles; GPUs that Ray assigns.
"""

from __future__ import annotations

import itertools
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from tune_plugins.core.ends import EndCause
from tune_plugins.driver.ray.actor import WorkerActor
from tune_plugins.driver.ray.slots import Slot
from tune_plugins.driver.resources import Shape
from tune_plugins.errors import TuneError
from tune_plugins.worker.agent import Agent, ForkedProcess

_TRACE = 0.001  # of a GPU
_LOSS_S = 2.0  # how long it may take until it is known why a process has ended
_numbers = itertools.count()
_SUDDEN = (
    "died suddenly{how}. Either it was killed, by somebody or by the operating system for want of memory (see dmesg); "
    "or it crashed in native code; or the training function called os._exit"
)


class Environment:
    """A ``runtime_env`` of Ray's; compares by what it says."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = dict(given)
        self._said = repr(sorted(self.given.items(), key=lambda item: item[0]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Environment) and other._said == self._said

    def __hash__(self) -> int:
        return hash(self._said)


class Kind(NamedTuple):
    """Workers of one kind can take each other's trials.

    Attributes:
        code: what they have imported, as far as it matters: a version, and where it was imported.
        forked: from a preloading process; else a Ray actor.
        environment: of an actor, where it has one of its own.
    """

    shape: Shape
    code: Hashable
    forked: bool
    environment: Environment | None = None


class Loss(NamedTuple):
    """What became of a worker process, in words and as data.

    Attributes:
        preempted: the trial is not to blame: it goes on, and no retry is used up.
    """

    text: str
    cause: EndCause = EndCause.WORKER_LOST
    preempted: bool = False


@dataclass(frozen=True)
class Service:
    """What a worker needs to know to serve a run.

    Attributes:
        address, key: of the driver's `Switchboard`.
        home: id of the driver's node.
        cargo: path of the `Cargo`, for forked processes.
        for_actors: the pickled training function, references of its large arguments, the setting, the relay.
    """

    address: Any
    key: bytes
    home: str
    cargo: str
    for_actors: Callable[[], tuple[bytes, Mapping[str, Any], Any, Any]]


class PooledWorker(ABC):
    """A process and the slot that holds its resources.

    Attributes:
        warm: has served a run before.
        idle: serves none now.
        proven: a trial has come to a report in it.
        joined: a trial in it has joined Ray by itself, and so the process.
        fate: why it was ended, where that was done here for a reason.
    """

    def __init__(self, kind: Kind, slot: Slot) -> None:
        self.id = f"{os.getpid()}-{next(_numbers)}"
        self.kind, self.slot = kind, slot
        self.warm = self.idle = self.proven = self.joined = False
        self.fate: Loss | None = None
        slot.workers += 1
        slot.serving += 1

    @abstractmethod
    def serve(self, service: Service) -> None:
        """Have it connect to the driver and run trials."""

    def advance(self) -> None:
        """Go on with what has to wait for something else."""
        return

    @property
    def alive(self) -> bool:
        """Whether there is a process that may serve, as far as is known."""
        return True

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether it has left the run, or its process has ended."""

    @property
    @abstractmethod
    def stage(self) -> str:
        """What it waits for before it can connect, in words; empty: nothing."""

    @abstractmethod
    def kill(self) -> None:
        """End the process; the slot stays."""

    def end(self, fate: Loss) -> None:
        """End the process for a reason that is known here."""
        self.fate = fate
        self.kill()

    @abstractmethod
    def loss(self, node: str, pid: int) -> Loss:
        """Why it ended, once it is `over`; `node`, `pid`: where a trial ran in it, if any.

        Raises:
            TuneError: it could not load the trial function, so that no worker can.
        """

    def dispose(self) -> None:
        """End the process, and give its resources back unless another worker shares them."""
        self.kill()
        if not self.idle:
            self.slot.serving -= 1
        self.slot.workers -= 1
        if not self.slot.workers:
            self.slot.release()


class ForkedWorker(PooledWorker):
    """A process forked from a preloading one; `agent` gives that of a node, as soon as it is ready."""

    def __init__(self, kind: Kind, slot: Slot, agent: Callable[[str], Agent | None]) -> None:
        super().__init__(kind, slot)
        self._agent = agent
        self._source: Agent | None = None
        self._process: ForkedProcess | None = None
        self._service: Service | None = None
        self._ended = False

    def serve(self, service: Service) -> None:
        """See `PooledWorker.serve`."""
        self._service = service
        self.advance()

    def advance(self) -> None:
        """Fork, as soon as there are resources and everything is imported."""
        if self._service is None or self._ended:
            return
        if self._process is None:
            if (node := self.slot.node) is None or (agent := self._agent(node)) is None:
                return
            self._source, self._process = agent, agent.fork(self.id)
        service, self._service = self._service, None
        self._process.serve(service.address, service.key, service.cargo, service.home)

    @property
    def over(self) -> bool:
        """See `PooledWorker.over`."""
        if self._process is None:
            return self._ended
        return self._service is None and self._process.over

    @property
    def alive(self) -> bool:
        """See `PooledWorker.alive`."""
        return not self._ended and self._process is not None and self._process.code is None

    @property
    def pid(self) -> int | None:
        """Of the process, once it is there, as long as it lives, and if it is on this node."""
        if self._process is None or self._source is None or self._source.node is not None:
            return None
        return None if self._process.code is not None else self._process.pid

    @property
    def still(self) -> bool:
        """Whether it does nothing but wait for a lock, on another node (see `Watched`)."""
        return self._process is not None and self._process.still

    @property
    def stage(self) -> str:
        """See `PooledWorker.stage`."""
        if self._process is None:
            return "waiting for resources" if self.slot.node is None else "importing"
        return "" if self._process.pid is not None else "starting"

    def kill(self) -> None:
        """See `PooledWorker.kill`."""
        self._ended = True
        if self._process is not None:
            self._process.kill()

    def loss(self, node: str, pid: int) -> Loss:
        """See `PooledWorker.loss`."""
        process = self._process
        if process is None or self._source is None:
            return Loss("the process of the trial was ended before it had started")
        self._source.wait_until(lambda: process.over, _LOSS_S)
        if process.error is not None:
            raise _not_loaded(process.error)
        if process.shortage:
            return Loss(f"the process of the trial {process.shortage}", EndCause.OUT_OF_MEMORY)
        if self._source.node is not None and process.code is not None and is_dead(self._source.node):
            return _node_lost(self._source.node)
        if process.code == -signal.SIGKILL and self._source.killed_for_memory():
            text = "was ended by the operating system for want of memory (see dmesg)"
            return Loss(f"the process of the trial (pid {process.pid}) {text}", EndCause.OUT_OF_MEMORY)
        if process.code is None:
            left = "left while the trial was running" if process.over else "closed its connection"
            return Loss(f"the process of the trial {left}")
        return Loss(f"the process of the trial (pid {process.pid}) died suddenly: {_end_of(process)}")


class ActorWorker(PooledWorker):
    """A Ray actor in a placement group."""

    def __init__(self, kind: Kind, slot: Slot) -> None:
        group = slot.group  # starts Ray, which may fail
        super().__init__(kind, slot)
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        own = dict(kind.shape.bundles[0])
        # The slot holds the CPUs, the process none: so a paused trial can wait in memory without a slot. GPUs
        # must be asked for by the process, or Ray hides them from it; a trace of the slot's only one is enough.
        gpus = own.get("GPU", 0.0)
        in_slot = PlacementGroupSchedulingStrategy(
            placement_group=group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
        )
        self._actor: Any = (
            ray.remote(WorkerActor)
            .options(
                num_cpus=0,
                num_gpus=gpus if gpus > 1 else min(gpus, _TRACE),
                max_restarts=0,
                scheduling_strategy=in_slot,
                **({} if kind.environment is None else {"runtime_env": kind.environment.given}),
            )
            .remote(threads_of(kind.shape))
        )
        self._serving: Any = None

    def serve(self, service: Service) -> None:
        """See `PooledWorker.serve`."""
        trainable, parameters, setting, relay = service.for_actors()
        self._serving = self._actor.serve.remote(
            service.address,
            service.key,
            self.id,
            trainable,
            parameters,
            setting,
            [service.home, relay],
        )

    @property
    def over(self) -> bool:
        """See `PooledWorker.over`."""
        import ray

        return bool(ray.wait([self._serving], timeout=0, fetch_local=False)[0])

    @property
    def stage(self) -> str:
        """See `PooledWorker.stage`."""
        return "waiting for resources" if self.slot.node is None else "importing"

    def kill(self) -> None:
        """See `PooledWorker.kill`."""
        import ray

        ray.kill(self._actor)

    def loss(self, node: str, pid: int) -> Loss:
        """See `PooledWorker.loss`."""
        import ray
        from ray.exceptions import (
            ActorDiedError,
            GetTimeoutError,
            OutOfMemoryError,
            RayError,
            RayTaskError,
            RuntimeEnvSetupError,
        )

        try:
            ray.get(self._serving, timeout=_LOSS_S)
        except GetTimeoutError:
            return Loss("the process of the trial closed its connection")
        except OutOfMemoryError as error:
            return Loss(f"the process of the trial was ended for want of memory. {error}", EndCause.OUT_OF_MEMORY)
        except RuntimeEnvSetupError as error:
            *_, cause = str(error).strip().splitlines()
            raise TuneError(f"the runtime_env of the workers cannot be made: {cause}\n{error}") from error
        except RayTaskError as error:
            if node:
                return Loss(f"the worker process of the trial failed. {error}")
            raise _not_loaded(str(error)) from error
        except ActorDiedError as error:
            text = " ".join(str(error).split())
            if "NODE_OUT_OF_MEMORY" in text or "running low on memory" in text:
                return Loss(f"the process of the trial was ended for want of memory. {text}", EndCause.OUT_OF_MEMORY)
            if is_dead(node):
                return _node_lost(node)
            if "connection error code" in text:
                return Loss(f"the process of the trial (pid {pid}) {_SUDDEN.format(how='')}")
            return Loss(f"the process of the trial died. {text}")
        except RayError as error:
            return Loss(f"the process of the trial was lost. {error}")
        return Loss("the process of the trial left while the trial was running")


def _end_of(process: ForkedProcess) -> str:
    how = process.how()
    if process.fate or process.code is None:
        return how
    if process.code == -signal.SIGKILL:
        return f"{how}, by somebody or by the operating system for want of memory (see dmesg)"
    if process.code < 0:
        return f"{how}, as where it crashes in native code"
    return f"{how}, as where the training function calls os._exit"


def is_dead(node: str) -> bool:
    """Whether a node of the cluster is lost."""
    import ray

    return node in {str(each["NodeID"]) for each in ray.nodes() if not each["Alive"]}


def _node_lost(node: str) -> Loss:
    return Loss(f"the node of the trial was lost (node {node})", EndCause.NODE_LOST, preempted=True)


def threads_of(shape: Shape) -> int:
    """How many threads a trial may use: the CPUs of its own bundle."""
    return max(1, int(dict(shape.bundles[0]).get("CPU", 1)))


def _not_loaded(traceback: str) -> TuneError:
    *_, cause = traceback.strip().splitlines()
    return TuneError(f"the trial function could not be loaded in a worker process: {cause}\n{traceback}")
