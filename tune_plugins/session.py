"""What training code and adapters talk to inside a trial.

`tune_plugins.report`, `get_checkpoint` and `get_context` end up here. A worker gives the trial a
`Session`; outside a trial there is none and `report` says so. Adapters use `current()`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from tune_plugins.checkpoint import Checkpoint
from tune_plugins.errors import TrialStopped, TuneError
from tune_plugins.model_port import ModelPort


class Verdict(Enum):
    """What an adapter does after a report."""

    CONTINUE = "continue"
    STOP = "stop"  # end the training by the framework's own mechanism


@dataclass(frozen=True)
class TrialContext:
    """Facts about the running trial; see `tune_plugins.get_context`."""

    trial_id: str = ""
    trial_name: str = ""
    trial_dir: str = ""
    experiment_name: str = ""
    experiment_dir: str = ""
    trial_resources: Mapping[str, float] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def get_trial_id(self) -> str:
        """Id of the trial."""
        return self.trial_id

    def get_trial_name(self) -> str:
        """Name of the trial, for people."""
        return self.trial_name

    def get_trial_dir(self) -> str:
        """The trial's own folder; made on the first call."""
        Path(self.trial_dir).mkdir(parents=True, exist_ok=True)
        return self.trial_dir

    def get_trial_resources(self) -> Mapping[str, float]:
        """What the trial may use, e.g. ``{"CPU": 1}``."""
        return self.trial_resources

    def get_experiment_name(self) -> str:
        """Name of the experiment."""
        return self.experiment_name

    def get_storage_path(self) -> str:
        """Folder that holds the experiment's folder."""
        return str(Path(self.experiment_dir).parent)


class Session(Protocol):
    """One trial as seen from inside its process."""

    context: TrialContext
    start_checkpoint: Checkpoint | None
    """Checkpoint to go on from, None for a fresh start."""

    @property
    def stopped(self) -> type[TrialStopped]:
        """What `tune_plugins.report` raises in a loop written by hand after the verdict STOP."""
        ...

    def report(
        self,
        metrics: Mapping[str, Any],
        *,
        iteration: int | None = None,
        checkpoint: Checkpoint | None = None,
        model: ModelPort | None = None,
        save_every: int = 0,
    ) -> Verdict:
        """Report one result and, at a milestone, wait for the verdict.

        If the verdict is to exploit another trial, it is done before this call returns: the state is loaded and
        the changed hyper-parameters are applied through `model`, the dict that the training function got as its
        config holds the new values, `context.config` too, and the next iteration is the one after the donor's.
        Where `model` cannot do that, TrialRestarted is raised, and the function is entered anew.

        Args:
            metrics: names and values; nested dicts are allowed, values are numbers or text.
            iteration: `training_iteration` of this result; default: the last one plus one.
            checkpoint: one that the user code has written; always kept.
            model: the running training. It is asked to save its state, in this thread and before this call
                returns, only if a checkpoint is needed now (the lease or the retention asks, or `save_every`
                reports have gone by).
            save_every: the adapter's own frequency; 0: never for that reason.

        Raises:
            TrialUnwound: the function is to be left at once (evicted, restarted), or a report follows
                after the verdict was STOP.
        """
        ...

    def finish(self, model: ModelPort, *, at_end: bool) -> None:
        """Training has come to its end (also after a stop): save a last checkpoint if one is wanted.

        Saves if the retention says so or else if `at_end`, unless the newest iteration is saved already.
        """
        ...

    def raise_if_unwound(self) -> None:
        """Raise again what has told this attempt to leave, for whoever may have caught it; else do nothing.

        A framework may turn the exception into one of its own: a launcher of processes, whose ranks just end, does.

        Raises:
            TrialUnwound: the attempt is evicted or restarted.
        """
        ...


PARENT_VARIABLE = "TUNE_PLUGINS_PARENT"
"""Environment variable by which child processes of a trial find it; see `tune_plugins.runtime.children`."""

_session: Session | None = None


def current() -> Session | None:
    """The session of the trial that runs in this process or in a parent of it, or None outside a trial."""
    if _session is None and (address := os.environ.get(PARENT_VARIABLE)):
        from tune_plugins.runtime.children import connect

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


def report(metrics: Mapping[str, Any] | None = None, *, checkpoint: Checkpoint | None = None, **kwargs: Any) -> None:
    """Report metrics from inside a trial, each call is one `training_iteration`.

    Args:
        metrics: names and values. May be given as keywords instead or in addition.
        checkpoint: a directory that holds the training state at this point, copied before this call returns.
        **kwargs: metrics by name.

    Raises:
        TrialStopped: the trial is to end here (derived from BaseException).
        TuneError: called outside a trial.

    >>> def train(config):
    ...     for epoch in range(10):
    ...         report(loss=config["lr"] * epoch)
    """
    session = _session or current()
    if session is None:
        raise TuneError(
            "report() was called outside a trial: there is nobody to report to. "
            "Run the function through Tuner(...).fit()."
        )
    if metrics is not None and not isinstance(metrics, Mapping):
        raise TypeError(f"report() takes a dict of metrics, or metrics as keywords, got {metrics!r}.")
    if kwargs:
        metrics = {**metrics, **kwargs} if metrics else kwargs
    elif metrics is None:
        metrics = {}
    if session.report(metrics, checkpoint=checkpoint) is Verdict.STOP:
        raise session.stopped


def get_checkpoint() -> Checkpoint | None:
    """The checkpoint that this trial is to go on from, or None for a fresh start (or outside a trial)."""
    return None if (session := current()) is None else session.start_checkpoint


def get_context() -> TrialContext:
    """Id, name, folder, resources and experiment of the running trial; empty values outside a trial."""
    return TrialContext() if (session := current()) is None else session.context
