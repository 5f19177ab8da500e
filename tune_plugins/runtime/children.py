"""Reports from child processes of a trial, e.g. the ranks that Lightning or `torch.multiprocessing` spawns.

The process of the trial listens; its address and a secret stand in an environment variable that children inherit,
whether they are forked, spawned or started as programs. In a child `tune_plugins.session.current()` connects and
returns a `ChildSession`, which passes each call on to the real session and lets that reach the child's model.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, NoReturn
from weakref import WeakSet

from tune_plugins import session as tune_session
from tune_plugins.checkpoint import Checkpoint
from tune_plugins.errors import TrialEvicted, TrialRestarted, TrialStopped, TrialUnwound, TuneError, WarmRestartNeeded
from tune_plugins.model_port import ModelPort
from tune_plugins.session import PARENT_VARIABLE, TrialContext, Verdict


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


told_to_stop: WeakSet[Any] = WeakSet()
"""Sessions of which a child was told to stop in a loop written by hand: it ends, and those that wait may fail."""


@contextmanager
def children_may_report() -> Iterator[None]:
    """While this is open, children of this process talk to the session that is active in it."""
    directory = None
    if sys.platform == "linux":
        address = f"\0tune-{os.getpid()}-{secrets.token_hex(8)}"  # no file that a killed process would leave behind
    else:
        directory = tempfile.mkdtemp(prefix="tune-")
        address = os.path.join(directory, "s")
    key = secrets.token_bytes(32)
    listener = Listener(address, family="AF_UNIX", authkey=key)
    before = os.environ.get(PARENT_VARIABLE)
    os.environ[PARENT_VARIABLE] = ":".join([str(os.getpid()), key.hex(), address.encode().hex()])
    threading.Thread(target=_accept, args=(listener,), name="tune-children", daemon=True).start()
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(PARENT_VARIABLE, None)
        else:
            os.environ[PARENT_VARIABLE] = before
        with suppress(OSError, EOFError):
            Client(address).close()  # a blocked accept does not notice that its socket is closed
        listener.close()
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)


# --------------------------------------------------------------------------- in the trial's process


def _accept(listener: Listener) -> None:
    while True:
        try:
            connection = listener.accept()
        except Exception as error:
            if isinstance(error, OSError) and listener._listener is None:  # type: ignore[attr-defined]
                return
            continue  # a stranger without the key, or a child that died
        threading.Thread(target=_serve, args=(connection,), name="tune-child", daemon=True).start()


def _serve(connection: Connection) -> None:
    """Answer one child until it hangs up."""
    session = tune_session.current()
    with connection, suppress(EOFError, OSError):
        if session is None:
            connection.send(None)
            return
        start = session.start_checkpoint
        connection.send((session.context, None if start is None else start.path))
        while True:
            call, arguments, offers_model = connection.recv()
            model = _RemoteModel(connection) if offers_model else None
            try:
                if session is not tune_session.current():
                    raise TrialStopped("the attempt that started this process is over")
                if call == "finish":
                    assert model is not None
                    session.finish(model, **arguments)
                    answer: tuple[str, Any] = ("done", None)
                else:
                    path = arguments.pop("checkpoint")
                    checkpoint = None if path is None else Checkpoint(path)
                    verdict = session.report(**arguments, checkpoint=checkpoint, model=model)
                    answer = ("verdict", (verdict, dict(session.context.config)))
                    if verdict is Verdict.STOP and model is None:
                        told_to_stop.add(session)
            except TrialUnwound as how:
                answer = ("unwound", (type(how).__name__, str(how)))
            except (EOFError, ConnectionError):
                return
            except Exception as error:
                answer = ("raised", f"{type(error).__name__}: {error}")
            connection.send(answer)


class _RemoteModel:
    """The model of a child, reached while that waits in `report`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def save_state(self, directory: Path) -> None:
        self._ask("save_state", directory)

    def load_state(self, directory: Path, iteration: int) -> None:
        self._ask("load_state", directory, iteration)

    def apply_config(self, changed: Mapping[str, Any]) -> Collection[str]:
        applied: list[str] = self._ask("apply_config", dict(changed))
        return applied

    def _ask(self, method: str, *arguments: Any) -> Any:
        self._connection.send(("model", (method, arguments)))
        kind, value = self._connection.recv()
        if kind == "warm restart":
            raise WarmRestartNeeded(value)
        if kind == "failed":
            raise TuneError(value)
        return value


# ----------------------------------------------------------------------------- in the child's process


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
    ) -> Verdict:
        """See `tune_plugins.session.Session.report`."""
        from tune_plugins.runtime.trial_session import plain

        arguments = {
            "metrics": plain(metrics),
            "iteration": iteration,
            "checkpoint": None if checkpoint is None else checkpoint.path,
            "save_every": save_every,
        }
        verdict, config = self._ask("report", arguments, model)
        if isinstance(self.context.config, dict):
            self.context.config.clear()
            self.context.config.update(config)
        assert isinstance(verdict, Verdict)
        return verdict

    def finish(self, model: ModelPort, *, at_end: bool) -> None:
        """See `tune_plugins.session.Session.finish`."""
        self._ask("finish", {"at_end": at_end}, model)

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
                        answer: tuple[str, Any] = ("done", list(found) if method == "apply_config" else None)
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
