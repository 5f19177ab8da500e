"""Hooks that a user or a display can attach to a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tune_plugins.core.ends import ErrorInfo
    from tune_plugins.core.trial import CheckpointRecord, Trial


@dataclass
class RunInfo:
    """What is known of a run when it begins.

    Attributes:
        name: of the experiment.
        path: folder of the experiment.
        metric, mode: what is optimised, None where nothing is.
        total_trials: number of trials to come, None where unknown.
        slots: number of trials at a time.
        resources: what one trial takes, e.g. ``{"CPU": 1}``.
        cluster: what there is, e.g. ``{"CPU": 2, "memory": 1.2e10}`` (memory in bytes).
        time_budget_s: seconds, or None.
        scheduler, searcher: names of their classes.
        parameters: names of the hyper-parameters, nested ones joined by ``/``.
        max_iterations: `training_iteration` at which a trial ends at the latest, None where unknown.
        virtual_clock: it is simulated: times of trials and results are virtual seconds from 0.
    """

    name: str = ""
    path: str = ""
    metric: str | None = None
    mode: str | None = None
    total_trials: int | None = None
    slots: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    cluster: Mapping[str, float] = field(default_factory=dict)
    time_budget_s: float | None = None
    scheduler: str = "FIFOScheduler"
    searcher: str = "BasicVariantGenerator"
    parameters: Sequence[str] = ()
    max_iterations: float | None = None
    seed: int | None = None
    virtual_clock: bool = False


class Callback:
    """Base class; override what you need. Hooks run in the driver, after the results are durable.

    An exception in a hook is logged once as a warning and never harms the run.
    `trials` is a live mapping from trial id to `Trial`; read it, do not change it. Several events may be made durable
    together, so a trial may have gone further than the event that a hook tells of, in a simulation to its end; a
    `result` is that of its moment.
    """

    def setup(self, run: RunInfo) -> None:
        """Called once before the first trial starts."""

    def on_trial_start(self, trials: Mapping[str, Trial], trial: Trial) -> None:
        """The trial function was entered (again)."""

    def on_trial_result(self, trials: Mapping[str, Trial], trial: Trial, result: dict[str, Any]) -> None:
        """Called for each reported result, in order."""

    def on_trial_complete(self, trials: Mapping[str, Trial], trial: Trial) -> None:
        """The trial ended without error; `trial.reason` says why in words, `trial.cause` as data."""

    def on_trial_error(self, trials: Mapping[str, Trial], trial: Trial, error: ErrorInfo) -> None:
        """The trial failed for good; `error` is type, message and traceback."""

    def on_trial_recover(self, trials: Mapping[str, Trial], trial: Trial, error: ErrorInfo) -> None:
        """The trial failed with `error` and will be tried again."""

    def on_checkpoint(self, trials: Mapping[str, Trial], trial: Trial, checkpoint: CheckpointRecord) -> None:
        """A checkpoint of the trial is complete."""

    def on_trial_output(self, trial: Trial | None, lines: Sequence[str]) -> None:
        """Lines that a trial printed (only without `log_to_file`)."""

    def on_step(self, trials: Mapping[str, Trial], notes: Sequence[str]) -> None:
        """Called about ten times a second. `notes`: lines of the scheduler, e.g. rung cut-offs."""

    def on_experiment_end(self, trials: Mapping[str, Trial], reason: str) -> None:
        """Called once; `reason` is empty where all trials came to their end."""
