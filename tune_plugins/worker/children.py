"""Reports from child processes of a trial: the half that runs in the process of the trial.

Each child that connects (see `tune_plugins.session.child`) is answered in a thread of its own.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any
from weakref import WeakSet

from tune_plugins import session as tune_session
from tune_plugins.errors import TrialStopped, TrialUnwound, TuneError, WarmRestartNeeded
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.session.contract import PARENT_VARIABLE, Verdict
from tune_plugins.session.turns import speak_for

told_to_stop: WeakSet[Any] = WeakSet()
"""Sessions of which a child was told to stop in a loop written by hand: it ends, and those that wait may fail."""


@contextmanager
def children_may_report() -> Iterator[None]:
    """While this is open, children of this process talk to the session that is active in it.

    A process listens at the same address whenever it does: a child that serves a pool may outlive the trial that has
    started it and be used by the next one. Only a run inside a run has an address of its own.
    """
    address, key = _address(os.getpid())
    try:
        listener = Listener(address, family="AF_UNIX", authkey=key)
    except OSError:  # in use
        address, key = _new_address()
        listener = Listener(address, family="AF_UNIX", authkey=key)
    _listening.add(listener)
    before = os.environ.get(PARENT_VARIABLE)
    os.environ[PARENT_VARIABLE] = ":".join([str(os.getpid()), key.hex(), address.encode().hex()])
    closing = threading.Event()
    accepting = threading.Thread(target=_accept, args=(listener, closing), name="tune-children", daemon=True)
    accepting.start()
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(PARENT_VARIABLE, None)
        else:
            os.environ[PARENT_VARIABLE] = before
        closing.set()
        with suppress(OSError, EOFError):
            Client(address).close()  # a blocked accept does not notice that its socket is closed
        accepting.join(10)  # else it would hold the address
        _listening.discard(listener)
        listener.close()


_listening: set[Listener] = set()


def _close_inherited() -> None:
    """In a forked child: it would keep the address in use when the trial is over, and be spoken to instead of us."""
    for listener in _listening:
        with suppress(Exception):
            listener._listener._socket.close()  # type: ignore[attr-defined]
    _listening.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)


@cache
def _address(pid: int) -> tuple[str, bytes]:
    """Where the process of this id listens, and the secret that a child has to know."""
    return _new_address()


def _new_address() -> tuple[str, bytes]:
    if sys.platform == "linux":
        address = f"\0tune-{os.getpid()}-{secrets.token_hex(8)}"  # no file that a killed process would leave behind
    else:
        directory = tempfile.mkdtemp(prefix="tune-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        address = os.path.join(directory, "s")
    return address, secrets.token_bytes(32)


# --------------------------------------------------------------------------- in the trial's process


def _accept(listener: Listener, closing: threading.Event) -> None:
    while not closing.is_set():
        try:
            connection = listener.accept()
        except Exception:
            continue  # a stranger without the key, or a child that died
        threading.Thread(target=_serve, args=(connection,), name="tune-child", daemon=True).start()


def _serve(connection: Connection) -> None:
    """Answer one child until it hangs up."""
    session = tune_session.current()
    speak_for(connection)
    with connection, suppress(EOFError, OSError):
        if session is None:
            connection.send(None)
            return
        start = session.start_checkpoint
        connection.send((session.context, None if start is None else start.path))
        while True:
            call, arguments, offers_model = connection.recv()
            if call == "is_over":
                connection.send(("done", session is not tune_session.current()))
                continue
            if call == "config":
                connection.send(("done", dict(session.context.config)))
                continue
            model = _RemoteModel(connection) if offers_model else None
            try:
                if session is not tune_session.current():
                    raise TrialStopped("the attempt that started this process is over")
                answer: tuple[str, Any]
                if call == "finish":
                    assert model is not None
                    session.finish(model, **arguments)
                    answer = ("done", None)
                elif call == "remark":
                    session.remark(**arguments)
                    answer = ("done", None)
                elif call == "claim_checkpoints":
                    answer = ("done", session.claim_checkpoints())
                elif call != "report":
                    answer = ("done", getattr(session, call))
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
                answer = ("raised", f"{error}" if isinstance(error, TuneError) else f"{type(error).__name__}: {error}")
            connection.send(answer)


class _RemoteModel:
    """The model of a child, reached while that waits in `report`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def save_state(self, directory: Path) -> None:
        self._ask("save_state", directory)

    def load_state(self, directory: Path, iteration: int) -> None:
        self._ask("load_state", directory, iteration)

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        applied: list[str] = self._ask("apply_config", dict(changed), dict(before))
        return applied

    def _ask(self, method: str, *arguments: Any) -> Any:
        self._connection.send(("model", (method, arguments)))
        kind, value = self._connection.recv()
        if kind == "warm restart":
            raise WarmRestartNeeded(value)
        if kind == "failed":
            raise TuneError(value)
        return value
