"""What a driver and its preloading process say to each other; see `tune_plugins.worker.preloader`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tune_plugins.worker.snapshot import Snapshot


@dataclass(frozen=True)
class Preload:
    """To the preloading process, once: import these.

    Attributes:
        modules: names, in order; one that cannot be imported is left to the trials.
        search_path: ``sys.path``.
        snapshot: of the user's modules.
        argv: ``sys.argv`` of the driver.
    """

    modules: tuple[str, ...]
    search_path: tuple[str, ...]
    snapshot: Snapshot
    argv: tuple[str, ...] = ()


@dataclass(frozen=True)
class Succeed:
    """To the preloading process: fork another one like it that imports more; the socket of that follows.

    Attributes:
        modules: names, in order.
    """

    modules: tuple[str, ...]


@dataclass(frozen=True)
class Fork:
    """To the preloading process: fork a process that runs trials."""

    worker: str


@dataclass(frozen=True)
class Serve:
    """To a forked process: run trials of one experiment until the driver says leave.

    Attributes:
        address, key: where it connects, and the secret.
        cargo: path of the `Cargo`; its `setting` is a `Setting`.
        node: id of this node.
        turn: number of the run among those that this process has served.
    """

    worker: str
    address: Any
    key: bytes
    cargo: str
    node: str
    turn: int


@dataclass(frozen=True)
class Kill:
    """To the preloading process: end a forked process at once, with all that it has started."""

    worker: str


@dataclass(frozen=True)
class Preloaded:
    """From the preloading process: everything is imported.

    Attributes:
        modules: all that it has now.
        hazards: why it must not be forked, by the name of the module that is to blame; empty if it may.
    """

    modules: frozenset[str]
    hazards: Mapping[str, str]


@dataclass(frozen=True)
class Forked:
    """From the preloading process: a process is there."""

    worker: str
    pid: int


@dataclass(frozen=True)
class NotForked:
    """From the preloading process: the system gives no process; `why` in its words."""

    worker: str
    why: str


@dataclass(frozen=True)
class Left:
    """From a forked process: it serves no run now.

    Attributes:
        turn: number of the run that it has left.
        error: the training function could not be loaded; a traceback.
    """

    worker: str
    turn: int
    error: str | None = None


@dataclass(frozen=True)
class Watched:
    """From the agent of another node: what the kernel says there about a forked process.

    Attributes:
        still: it has done nothing but wait for a lock for `tune_plugins.worker.watch.STILL_S`.
        shortage: it is ended for want of memory, and why, in words; empty: it is not.
    """

    worker: str
    still: bool = False
    shortage: str = ""


@dataclass(frozen=True)
class Ended:
    """From the preloading process: a forked process is gone.

    Attributes:
        code: exit status, or the negative number of the signal that has ended it.
    """

    worker: str
    code: int
