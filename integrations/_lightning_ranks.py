"""The processes of one training: what rank 0 is told in a report, the others do as well and in the same order."""

from __future__ import annotations

import os
import pickle
import random
import socket
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import torch

from tune_plugins import session as tune_session
from tune_plugins.errors import ArgumentError, TrialStopped, TrialUnwound, TuneError, WarmRestartNeeded

STOPPED = 75
"""Exit code of a rank that began a fit after the trial was told to stop; at 0 the launcher would wait for a result."""

T = TypeVar("T")
Methods = Mapping[str, Callable[..., Any]]

_random = random.SystemRandom()  # not the generator that the trial is seeded with
_PATIENCE = timedelta(minutes=5)  # of one look at the store, of which there may be any number


class Ranks:
    """Rank 0 conducts, the others follow; alone, a call is just a call.

    Rank 0 may have to wait long for a verdict (a paused trial stays in its report). The others wait at the key-value
    store of the process group, not in a collective operation, which would fail after half an hour.

    Args:
        rank: of this process.
        size: number of processes.
        methods: what rank 0 may call in all of them by `together`; all are told the same arguments.
    """

    def __init__(self, rank: int, size: int, methods: Methods) -> None:
        self.rank, self.size, self._methods = rank, size, methods
        self._sent = 0

    def conduct(self, call: Callable[[], T]) -> T:
        """Do `call` on rank 0 and return its result on every rank; an exception of it is raised on every rank.

        Inside `call`, `together` may be used; the others take part in that until `call` is over.
        """
        if self.size == 1:
            return call()
        try:
            if self.rank:
                result: T = self._follow()
                return result
            result = call()
        except BaseException as error:
            if isinstance(error, TrialStopped) and isinstance(error, SystemExit):
                error.code = STOPPED
            if not self.rank:
                self._send(("raise", _portable(error)))
            raise
        self._send(("return", result))
        return result

    def together(self, method: str, *arguments: Any) -> Any:
        """Call one of the methods on all ranks, from rank 0 inside `conduct`; returns what it returned here.

        Raises:
            WarmRestartNeeded: raised by it on some rank.
            TuneError: it failed on another rank.
        """
        if self.size > 1:
            self._send(("call", (method, arguments)))
        return self._call(method, arguments)

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, on all of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values

    def _follow(self) -> Any:
        while True:
            kind, value = self._receive()
            if kind == "return":
                return value
            if kind == "raise":
                raise value
            try:
                self._call(*value)
            except Exception:
                continue  # rank 0 knows, and says what follows

    def _call(self, method: str, arguments: tuple[Any, ...]) -> Any:
        error: Exception | None = None
        result = None
        try:
            result = self._methods[method](*arguments)
        except Exception as raised:
            error = raised
        said = None if error is None else (isinstance(error, WarmRestartNeeded), f"{type(error).__name__}: {error}")
        said_by_all = self.gather(said)
        if error is not None:
            raise error
        for rank, other in enumerate(said_by_all):
            if other is not None:
                warm, text = other
                raise (WarmRestartNeeded if warm else TuneError)(f"rank {rank} of the training says: {text}")
        return result

    def _send(self, message: Any) -> None:
        _store().set(self._key(), pickle.dumps(message))

    def _receive(self) -> Any:
        key, store = self._key(), _store()
        while True:
            try:
                store.wait([key], _PATIENCE)
            except RuntimeError as error:
                if "timeout" in str(error).lower():
                    continue
                raise
            message = store.get(key)
            if store.add(f"{key}/read", 1) == self.size - 1:  # by all the others: rank 0 may be further already
                store.delete_key(key)
                store.delete_key(f"{key}/read")
            return pickle.loads(message)  # written by rank 0 of this very training

    def _key(self) -> str:
        self._sent += 1
        return f"tune-plugins/{self._sent}"


def reserve_port() -> None:
    """Choose the port at which the processes of a training meet, unless the environment names one.

    Lightning would take one that is free at that moment and bind it much later, when another trial or any connection
    of this machine may have it. Those below the range of which systems give away ports (from 32768 on in Linux) stay
    free.
    """
    if "MASTER_PORT" in os.environ:
        return
    for _ in range(100):
        port = _random.randrange(20000, 32768)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        os.environ["MASTER_PORT"] = str(port)  # for this trial; the worker's environment is put back behind it
        return


def refuse_started_scripts(trainer: Any, where: str) -> None:
    """In a trial: ``strategy="ddp"`` starts the program anew for each rank, and this one is a worker of the engine.

    Raises:
        ArgumentError: it has; what was started is ended, and nobody waits for it.
    """
    launcher = trainer.strategy.launcher
    if not any(base.__name__ == "_SubprocessScriptLauncher" for base in type(launcher).__mro__):
        return
    if not launcher.procs:  # they were started by others, e.g. torchrun
        return
    # Lightning watches this very list, and kills the whole worker when a process in it fails.
    started = launcher.procs.copy()
    launcher.procs.clear()
    for process in started:
        process.kill()
        process.wait()
    raise ArgumentError(
        where,
        [
            "strategy: 'ddp' starts the running program once more for each process, which a trial cannot do. "
            "Write strategy='ddp_spawn', or 'ddp_fork'."
        ],
    )


def raise_what_ended_the_ranks(trainer: Any, error: Exception) -> None:
    """In the trial's own process, where the launcher of the ranks has failed: how the trial is left, if it is.

    A rank by which the trial is unwound just ends, and to the launcher that is an error like any other.

    Raises:
        TrialUnwound: the trial was evicted, restarted or stopped in a rank.
    """
    session = tune_session.current()
    if session is None:
        return
    try:
        session.raise_if_unwound()
        if getattr(error, "exit_code", None) == STOPPED:
            raise session.stopped("a fit after the one in which the trial was stopped")
    except TrialUnwound:
        trainer._teardown()  # as Lightning does behind this hook
        raise


def _store() -> Any:
    from torch.distributed.distributed_c10d import _get_default_store

    return _get_default_store()


def _portable(error: BaseException) -> BaseException:
    """The exception as the other ranks raise it."""
    if not isinstance(error, TrialUnwound):
        return TuneError(f"rank 0 of the training says: {type(error).__name__}: {error}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return type(error)(str(error))
    return error
