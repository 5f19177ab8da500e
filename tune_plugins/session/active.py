"""The session of the running trial, and the functions by which training code talks to it."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary, finalize

from tune_plugins.errors import ArgumentError, TuneError
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.session.contract import PARENT_VARIABLE, Session, TrialContext, Verdict

logger = logging.getLogger(__name__)

_session: Session | None = None
_of_thread = threading.local()
"""The session of a trial that runs in a thread of its own, beside another one of this process."""


def current() -> Session | None:
    """The session of the trial that runs in this process or in a parent of it, or None outside a trial."""
    own: Session | None = getattr(_of_thread, "session", None)
    if own is not None:
        return own
    if (is_over := getattr(_session, "is_over", None)) is not None and is_over():
        activate(None)  # in a child, which serves a pool: it belongs to the trial that uses it now
    if _session is None and (address := os.environ.get(PARENT_VARIABLE)):
        from tune_plugins.session.child import connect

        activate(connect(address))
    return _session


def _forget() -> None:
    """A forked child is not the trial: it reports through its parent."""
    activate(None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def activate(session: Session | None) -> None:
    """Make `session` the one that training code talks to. For runtimes."""
    global _session
    _session = session


def enter(session: Session) -> Callable[[], None]:
    """Make `session` the one that training code talks to, also inside of a trial; returns what ends that.

    Where a trial starts runs of its own in several threads, each of these has a session of its own.
    """
    if is_beside_another():
        inner = getattr(_of_thread, "session", None)
        _of_thread.session = session
        return lambda: setattr(_of_thread, "session", inner)
    outer = _session
    activate(session)
    return lambda: activate(outer)


_at_end: WeakKeyDictionary[Session, list[Callable[[], object]]] = WeakKeyDictionary()


def at_end_of_trial(call: Callable[[], object]) -> None:
    """Have something called when the trial of this process has come to its end; the process goes on to another.

    Not where it is paused or entered anew: then it is not over. Nothing outside a trial.
    """
    if (session := current()) is not None:
        _at_end.setdefault(session, []).append(call)


def ended(session: Session) -> None:
    """The trial has come to its end. For runtimes."""
    for call in reversed(_at_end.pop(session, [])):
        try:
            call()
        except Exception:
            logger.warning("What was to be done at the end of a trial failed", exc_info=True)


def is_beside_another() -> bool:
    """Whether a trial in this thread is beside one that has the process."""
    return _session is not None and threading.current_thread() is not threading.main_thread()


def report(metrics: Mapping[str, Any] | None = None, *, checkpoint: Checkpoint | None = None, **kwargs: Any) -> None:
    """Report metrics from inside a trial, each call is one `training_iteration`.

    Args:
        metrics: names and values. May be given as keywords instead or in addition.
        checkpoint: a directory that holds the training state at this point, copied before this call returns.
        **kwargs: metrics by name.

    Raises:
        TrialStopped: the trial is to end here (derived from BaseException).
        TuneError: called outside a trial.
        ArgumentError: `metrics` is no dict, or `checkpoint` no `Checkpoint`.

    >>> def train(config):
    ...     for epoch in range(10):
    ...         report(loss=config["lr"] * epoch)
    """
    session = current()
    if session is None:
        raise TuneError(
            "report() was called outside a trial: there is nobody to report to. "
            "Run the function through Tuner(...).fit()."
        )
    if not isinstance(metrics, (Mapping, type(None))) or not isinstance(checkpoint, (Checkpoint, type(None))):
        wrong = []
        if not isinstance(metrics, (Mapping, type(None))):
            wrong.append(f"metrics: expected a dict, or metrics as keywords, got {metrics!r}. Write report(loss=0.5).")
        if not isinstance(checkpoint, (Checkpoint, type(None))):
            remedy = "Write Checkpoint.from_directory(folder)."
            wrong.append(f"checkpoint: expected a tune_plugins.Checkpoint, got {checkpoint!r}. {remedy}")
        raise ArgumentError("report", wrong)
    if kwargs:
        metrics = {**metrics, **kwargs} if metrics else kwargs
    elif metrics is None:
        metrics = {}
    filled = _saved.pop(session, None)
    if checkpoint is None and filled is not None and (what := filled.peek()) is not None:
        checkpoint = Checkpoint(what[2][0])
    try:
        if session.report(metrics, checkpoint=checkpoint) is Verdict.STOP:
            raise session.stopped
    finally:
        if filled is not None:
            filled()


@contextmanager
def checkpoint_dir(step: int | None = None) -> Iterator[str]:
    """A folder to save the state into, which the next `report` hands over.

    An older form of ``report(..., checkpoint=Checkpoint.from_directory(folder))``::

        with tune.checkpoint_dir(step) as folder:
            torch.save(model.state_dict(), os.path.join(folder, "model.pt"))
        tune.report(loss=loss)

    Args:
        step: nothing; checkpoints are numbered by `training_iteration`.

    Raises:
        TuneError: called outside a trial.
    """
    session = current()
    if session is None:
        raise TuneError(
            "checkpoint_dir() was called outside a trial: there is nobody to keep a checkpoint. "
            "Run the function through Tuner(...).fit()."
        )
    folder = tempfile.mkdtemp(prefix="checkpoint-")
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if (earlier := _saved.pop(session, None)) is not None:
        earlier()  # nothing was reported since
    _saved[session] = finalize(session, shutil.rmtree, folder, ignore_errors=True)


_saved: WeakKeyDictionary[Session, finalize[..., Session]] = WeakKeyDictionary()
"""By session, what removes the folder that was filled for its next report."""


class WithCheckpointDir:
    """A function ``train(config, checkpoint_dir=None)``, which gets the state to go on from as a folder.

    Args:
        function: the user's.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, config: dict[str, Any], **parameters: Any) -> Any:
        """Call it with what `get_checkpoint` says."""
        checkpoint = get_checkpoint()
        folder = None if checkpoint is None else checkpoint.path
        return self.function(config, checkpoint_dir=folder, **parameters)


class GoingOnFrom:
    """A trial function whose trials go on from a state that was saved before the run.

    Args:
        checkpoint: the state.
        function: called with the config, in a trial.
    """

    def __init__(self, checkpoint: Checkpoint, function: Callable[..., Any]) -> None:
        self.checkpoint, self.function = checkpoint, function

    def __call__(self, config: dict[str, Any], **parameters: Any) -> Any:
        """Call it; a trial that was paused or has failed goes on from its own state."""
        if (session := current()) is not None and session.start_checkpoint is None:
            session.start_checkpoint = self.checkpoint
        return self.function(config, **parameters)


def get_checkpoint() -> Checkpoint | None:
    """The checkpoint that this trial is to go on from, or None for a fresh start (or outside a trial)."""
    return None if (session := current()) is None else session.start_checkpoint


def get_context() -> TrialContext:
    """Id, name, folder, resources and experiment of the running trial; empty values outside a trial."""
    return TrialContext() if (session := current()) is None else session.context
