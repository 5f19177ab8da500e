"""What a trial is to the code that trains in it: the contract of the session, its context and its verdicts.

A worker gives the trial a `Session`; `tune_plugins.report`, `get_checkpoint` and `get_context` end up there, and
adapters talk to it directly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from tune_plugins.core.metrics import Mode
from tune_plugins.errors import TrialStopped
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.session.model_port import ModelPort

PARENT_VARIABLE = "TUNE_PLUGINS_PARENT"
"""Environment variable by which child processes of a trial find it; see `tune_plugins.worker.children`."""


class Verdict(Enum):
    """What an adapter does after a report."""

    CONTINUE = "continue"
    STOP = "stop"  # end the training by the framework's own mechanism


class TrialResources(dict[str, float]):
    """What a trial may use, e.g. ``{"CPU": 1}``; memory in bytes.

    Attributes:
        bundles: the parts that it consists of, the trial's own first; one, unless it asked for several.
        strategy: how they lie on the nodes, as of `PlacementGroupFactory`.

    >>> TrialResources({"CPU": 2.0}).head_cpus
    2.0
    """

    def __init__(
        self,
        total: Mapping[str, float] | Iterable[tuple[str, float]] = (),
        bundles: Sequence[Mapping[str, float]] = (),
        strategy: str = "PACK",
    ) -> None:
        super().__init__(total)
        self.bundles = [dict(bundle) for bundle in bundles] or [dict(self)]
        self.strategy = strategy

    @property
    def required_resources(self) -> dict[str, float]:
        """The sum over all bundles."""
        return dict(self)

    @property
    def head_cpus(self) -> float:
        """Number of CPUs of the first bundle."""
        return self.bundles[0].get("CPU", 0.0)


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
    metric: str | None = None
    """By which the trials of the run are compared; None: by nothing."""
    mode: Mode | None = None

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

    def get_trial_resources(self) -> TrialResources:
        """What the trial may use, e.g. ``{"CPU": 1}``; its `bundles` are the parts of that."""
        given = self.trial_resources
        return given if isinstance(given, TrialResources) else TrialResources(given)

    def get_experiment_name(self) -> str:
        """Name of the experiment."""
        return self.experiment_name

    def get_storage_path(self) -> str:
        """Folder that holds the experiment's folder."""
        return str(Path(self.experiment_dir).parent)


class Session(Protocol):
    """One trial as seen from inside its process."""

    @property
    def context(self) -> TrialContext:
        """Facts about the trial, with the config in force."""
        ...

    start_checkpoint: Checkpoint | None
    """Checkpoint to go on from, None for a fresh start."""

    @property
    def has_reported(self) -> bool:
        """Something was reported since the training function was entered: a fit that begins now lets the session count.

        A training function may call `fit` several times, also of several frameworks. Only the first one can say by
        its own counter which `training_iteration` it is at.
        """
        ...

    @property
    def checkpoints_claimed(self) -> bool:
        """A fit has taken the checkpoints of the trial; see `claim_checkpoints`."""
        ...

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
        last: bool = False,
        goes_on: bool = True,
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
            last: the training comes to its planned end with this result, and there is nothing left to train: the trial
                is then neither paused nor told to go on from another state, and does not wait. (One that a callback
                of the script has stopped early may get another life from another trial's state.)
            goes_on: a training can go on from what `model` saves. False for a fit behind the one that has the
                checkpoints (`claim_checkpoints`): its model is saved for what is in it, when it is wanted for that.

        Raises:
            TrialUnwound: the function is to be left at once (evicted, restarted), or a report follows
                after the verdict was STOP.
        """
        ...

    def remark(self, text: str) -> None:
        """Tell the user something about the run that all trials have in common: one line, shown once a run."""
        ...

    def claim_checkpoints(self) -> bool:
        """Take the checkpoints of the trial for the fit that asks, which is told whether they are its own.

        They belong to the first fit that can have them, in whichever process of the trial, until the function is
        entered anew: it goes on from `start_checkpoint`. Later ones do not, and are repeated if the trial has to be
        resumed; the models that they offer are saved with ``goes_on=False``.
        """
        ...

    def finish(self, model: ModelPort, *, at_end: bool, goes_on: bool = True) -> None:
        """Training has come to its end (also after a stop): save a last checkpoint if one is wanted.

        Saves if the retention says so or else if `at_end`, unless the newest iteration is saved already. `goes_on` as
        in `report`.
        """
        ...

    def raise_if_unwound(self) -> None:
        """Raise again what has told this attempt to leave, for whoever may have caught it; else do nothing.

        A framework may turn the exception into one of its own: a launcher of processes, whose ranks just end, does.

        Raises:
            TrialUnwound: the attempt is evicted or restarted.
        """
        ...
