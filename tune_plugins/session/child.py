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


_IN_CHILD: dict[str, type[TrialUnwound]] = {
    TrialStopped.__name__: ChildStopped,
    TrialEvicted.__name__: ChildEvicted,
    TrialRestarted.__name__: ChildRestarted,
}


class ChildSession:
    """A `tune_plugins.session.Session` in a child process of the trial; see there."""

    stopped = ChildStopped

    def __init__(self, connection: Connection, context: TrialContext, start_checkpoint: Checkpoint | None) -> None:
        self.context, self.start_checkpoint = context, start_checkpoint
        self._connection = connection
        self._lock = threading.Lock()
        self._unwound: TrialUnwound | None = None

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
        if isinstance(self.context.config, dict):
            self.context.config.clear()
            self.context.config.update(config)
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
                raise ChildStopped("the process of the trial is gone") from None
        if kind == "unwound":
            name, reason = value
            self._unwind(_IN_CHILD[name](reason))
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
