"""The session of a trial in a child process of it, e.g. a rank that Lightning or `torch.multiprocessing` spawns.

The process of the trial listens (`tune_plugins.worker.children`); its address and a secret stand in an environment
variable that children inherit, whether they are forked, spawned or started as programs. In a child
`tune_plugins.session.current()` connects and returns a `ChildSession`, which passes each call on to the real session
and lets that reach the child's model.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from multiprocessing.connection import Client, Connection
from typing import Any, NoReturn

from tune_plugins.errors import TrialEvicted, TrialRestarted, TrialStopped, TrialUnwound, TuneError, WarmRestartNeeded
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.session.contract import TrialContext, Verdict
from tune_plugins.session.model_port import ModelPort, names_applied
from tune_plugins.session.turns import CATCHES_EXCEPTIONS_ONLY, task_at_hand
from tune_plugins.session.values import plain


class ChildStopped(TrialStopped, SystemExit):
    """TrialStopped in a child process, which ends by it without a traceback and with exit code 0."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.code = 0


class ChildEvicted(TrialEvicted, SystemExit):
    """TrialEvicted in a child process, which ends by it without a traceback and with exit code 1."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.code = 1


class ChildRestarted(TrialRestarted, SystemExit):
    """TrialRestarted in a child process, which ends by it without a traceback and with exit code 1."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.code = 1


class PoolStopped(ChildStopped, Exception):
    """ChildStopped in a worker of a pool, which hands on to the trial what it catches: an `Exception`, and no other."""


class PoolEvicted(ChildEvicted, Exception):
    """ChildEvicted in a worker of a pool; see `PoolStopped`."""


class PoolRestarted(ChildRestarted, Exception):
    """ChildRestarted in a worker of a pool; see `PoolStopped`."""


_IN_CHILD: dict[str, tuple[type[TrialUnwound], type[TrialUnwound]]] = {
    TrialStopped.__name__: (ChildStopped, PoolStopped),
    TrialEvicted.__name__: (ChildEvicted, PoolEvicted),
    TrialRestarted.__name__: (ChildRestarted, PoolRestarted),
}


def _in_child(name: str) -> type[TrialUnwound]:
    plain_one, in_pool = _IN_CHILD[name]
    return in_pool if task_at_hand().pool == CATCHES_EXCEPTIONS_ONLY else plain_one


class ChildSession:
    """A `tune_plugins.session.Session` in a child process of the trial; see there."""

    def __init__(self, connection: Connection, context: TrialContext, start_checkpoint: Checkpoint | None) -> None:
        self._context, self.start_checkpoint = context, start_checkpoint
        self._connection = connection
        self._lock = threading.Lock()
        self._unwound: TrialUnwound | None = None
        self._task = task_at_hand()

    @property
    def stopped(self) -> type[TrialStopped]:
        """See `tune_plugins.session.Session.stopped`."""
        kind = _in_child(TrialStopped.__name__)
        assert issubclass(kind, TrialStopped)
        return kind

    @property
    def context(self) -> TrialContext:
        """See `tune_plugins.session.Session.context`; what an exploit has changed elsewhere is in it."""
        if self._lock.acquire(blocking=False):  # else it waits in a report, and is told by that
            try:
                self._connection.send(("config", {}, False))
                self._know(self._connection.recv()[1])
            except (EOFError, OSError):
                pass  # the next report says so
            finally:
                self._lock.release()
        return self._context

    def _know(self, config: Mapping[str, Any]) -> None:
        if isinstance(self._context.config, dict):
            self._context.config.clear()
            self._context.config.update(config)

    def is_over(self) -> bool:
        """The attempt is over, and this process has been given something else to do since.

        While it is at the same it belongs to that attempt, and is told to end by its next report.
        """
        task = task_at_hand()
        if task == self._task:
            return False
        try:
            over = bool(self._ask("is_over", {}, None))
        except TrialStopped:  # the process of the trial has hung up
            over = True
        if over:
            self._connection.close()
        else:
            self._task = task
        return over

    def report(
        self,
        metrics: Mapping[str, Any],
        *,
        iteration: int | None = None,
        checkpoint: Checkpoint | None = None,
        model: ModelPort | None = None,
        save_every: int = 0,
        last: bool = False,
        goes_on: bool = True,
    ) -> Verdict:
        """See `tune_plugins.session.Session.report`."""
        arguments = {
            "metrics": plain(metrics),
            "iteration": iteration,
            "checkpoint": None if checkpoint is None else checkpoint.path,
            "save_every": save_every,
            "last": last,
            "goes_on": goes_on,
        }
        verdict, config = self._ask("report", arguments, model)
        self._know(config)
        assert isinstance(verdict, Verdict)
        return verdict

    def finish(self, model: ModelPort, *, at_end: bool, goes_on: bool = True) -> None:
        """See `tune_plugins.session.Session.finish`."""
        self._ask("finish", {"at_end": at_end, "goes_on": goes_on}, model)

    @property
    def has_reported(self) -> bool:
        """See `tune_plugins.session.Session.has_reported`."""
        return bool(self._ask("has_reported", {}, None))

    @property
    def checkpoints_claimed(self) -> bool:
        """See `tune_plugins.session.Session.checkpoints_claimed`."""
        return bool(self._ask("checkpoints_claimed", {}, None))

    def remark(self, text: str) -> None:
        """See `tune_plugins.session.Session.remark`."""
        self._ask("remark", {"text": text}, None)

    def claim_checkpoints(self) -> bool:
        """See `tune_plugins.session.Session.claim_checkpoints`."""
        return bool(self._ask("claim_checkpoints", {}, None))

    def raise_if_unwound(self) -> None:
        """See `tune_plugins.session.Session.raise_if_unwound`."""
        if self._unwound is not None:
            raise self._unwound

    def _unwind(self, how: TrialUnwound) -> NoReturn:
        if not isinstance(how, TrialStopped):
            self._unwound = how
        raise how

    def _ask(self, call: str, arguments: dict[str, Any], model: ModelPort | None) -> Any:
        failure: Exception | None = None
        with self._lock:
            try:
                self._connection.send((call, arguments, model is not None))
                while True:
                    kind, value = self._connection.recv()
                    if kind != "model":
                        break
                    method, given = value
                    try:
                        found = getattr(model, method)(*given)
                        applied = list(names_applied(found, given[0])) if method == "apply_config" else None
                        answer: tuple[str, Any] = ("done", applied)
                    except WarmRestartNeeded as refusal:
                        answer = ("warm restart", str(refusal))
                    except Exception as error:
                        failure, answer = error, ("failed", f"{type(error).__name__}: {error}")
                    self._connection.send(answer)
            except (EOFError, OSError):
                raise self.stopped("the process of the trial is gone") from None
        if kind == "unwound":
            name, reason = value
            self._unwind(_in_child(name)(reason))
        if kind == "raised":
            raise TuneError(value) if failure is None else failure
        return value


def connect(address: str) -> ChildSession | None:
    """The session of the trial that this process is a child of.

    Args:
        address: value of the environment variable.

    Returns:
        The session, or None in the process of the trial itself, where no trial runs, or where the trial is gone.
    """
    pid, key, encoded = address.split(":")
    if int(pid) == os.getpid():
        return None
    try:
        connection = Client(bytes.fromhex(encoded).decode(), family="AF_UNIX", authkey=bytes.fromhex(key))
        greeting = connection.recv()
    except (OSError, EOFError):
        return None
    if greeting is None:
        connection.close()
        return None
    context, start = greeting
    return ChildSession(connection, context, None if start is None else Checkpoint(start))
