"""What a user sets: `TuneConfig`, `RunConfig`, `CheckpointConfig`, `FailureConfig`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tune_plugins.callbacks import Callback, callback_mistakes
from tune_plugins.core.metrics import Mode
from tune_plugins.errors import Mistakes
from tune_plugins.record.names import check_name
from tune_plugins.stoppers import StopCondition, stop_mistakes

if TYPE_CHECKING:
    from tune_plugins.core.trial import Trial
    from tune_plugins.schedulers import TrialScheduler
    from tune_plugins.search import Searcher


def default_storage_path() -> str:
    """``$TUNE_STORAGE_PATH``, or ``~/tune_results``."""
    return os.environ.get("TUNE_STORAGE_PATH") or "~/tune_results"


@dataclass
class CheckpointConfig:
    """Which checkpoints are taken and which are kept.

    Args:
        num_to_keep: how many to keep for each trial; None keeps all. The newest one is always kept.
        checkpoint_score_attribute: metric by which to keep the best; None keeps the newest.
        checkpoint_score_order: "max" or "min".
        checkpoint_frequency: adapters save every so many reports; 0: only when somebody needs one.
        checkpoint_at_end: adapters save at the end of training; None: as the adapter itself says.

    Raises:
        ArgumentError: lists all mistakes.
    """

    num_to_keep: int | None = None
    checkpoint_score_attribute: str | None = None
    checkpoint_score_order: Mode = "max"
    checkpoint_frequency: int = 0
    checkpoint_at_end: bool | None = None

    def __post_init__(self) -> None:
        mistakes = Mistakes("CheckpointConfig")
        if self.num_to_keep is not None and not _is_int(self.num_to_keep, 1):
            mistakes.add(f"num_to_keep: expected None or a whole number of at least 1, got {self.num_to_keep!r}.")
        if self.checkpoint_score_order not in ("min", "max"):
            mistakes.add(f"checkpoint_score_order: expected 'min' or 'max', got {self.checkpoint_score_order!r}.")
        if not _is_int(self.checkpoint_frequency, 0):
            mistakes.add(
                f"checkpoint_frequency: expected a whole number of at least 0, got {self.checkpoint_frequency!r}."
            )
        mistakes.raise_if_any()


@dataclass
class FailureConfig:
    """What happens when a trial fails.

    Args:
        max_failures: how often one trial is tried again from its last checkpoint; -1: without limit.
        fail_fast: True: the first failed trial ends the experiment; "raise": and raises its error.
    """

    max_failures: int = 0
    fail_fast: bool | Literal["raise"] = False

    def __post_init__(self) -> None:
        mistakes = Mistakes("FailureConfig")
        if not _is_int(self.max_failures, -1):
            mistakes.add(f"max_failures: expected -1, 0 or a positive whole number, got {self.max_failures!r}.")
        if self.fail_fast not in (True, False, "raise"):
            mistakes.add(f"fail_fast: expected True, False or 'raise', got {self.fail_fast!r}.")
        mistakes.raise_if_any()


@dataclass
class TuneConfig:
    """How to tune.

    Args:
        metric: name of the reported metric to optimise; may be a path such as ``eval/loss``.
        mode: "min" or "max".
        search_alg: a `Searcher`; default: random and grid search over ``param_space``.
        scheduler: a `TrialScheduler`; default: `FIFOScheduler`.
        num_samples: number of configurations; with a grid, of repetitions of the whole grid.
        max_concurrent_trials: at most so many trials at a time; None: as many as the cluster fits.
        time_budget_s: seconds after which the experiment ends; also acts between reports.
        max_resident_trials: how many paused trials may wait in memory, each in a process of its own; more are saved and
            their processes given back. None: 32; with GPUs, or inline, none.
        reuse_actors: True (default): warm workers; False: a fresh process for each trial.
        seed: one seed for everything random; None: drawn, and recorded.
        trial_name_creator: called with the `Trial`, returns its name for people.
        trial_dirname_creator: called with the `Trial`, returns the name of its folder; what does not fit into one
            becomes ``_``, and a name that another trial has gets the id added.
    """

    metric: str | None = None
    mode: Mode | None = None
    search_alg: Searcher | None = None
    scheduler: TrialScheduler | None = None
    num_samples: int = 1
    max_concurrent_trials: int | None = None
    time_budget_s: float | None = None
    max_resident_trials: int | None = None
    reuse_actors: bool = True
    seed: int | None = None
    trial_name_creator: Callable[[Trial], str] | None = None
    trial_dirname_creator: Callable[[Trial], str] | None = None

    def mistakes(self) -> list[str]:
        """Everything that is wrong with this object by itself, in words."""
        found: list[str] = []
        if self.mode is not None and self.mode not in ("min", "max"):
            found.append(f"mode: expected 'min' or 'max', got {self.mode!r}. Use 'min' for a loss, 'max' for a score.")
        if self.metric is not None and (not isinstance(self.metric, str) or not self.metric):
            found.append(f"metric: expected the name of a reported metric, got {self.metric!r}. Leave it out for none.")
        if not isinstance(self.reuse_actors, bool):
            found.append(f"reuse_actors: expected True or False, got {self.reuse_actors!r}.")
        for name in ("trial_name_creator", "trial_dirname_creator"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                found.append(
                    f"{name}: expected a function of the trial that returns a name, got {getattr(self, name)!r}."
                )
        if self.metric is not None and self.mode is None:
            found.append(f"mode: expected 'min' or 'max' beside metric={self.metric!r}, got None. Add mode=.")
        if not _is_int(self.num_samples, 1):
            found.append(
                f"num_samples: expected a whole number of at least 1, got {self.num_samples!r}. "
                "Give the number of configurations to try."
            )
        if self.max_concurrent_trials is not None and not _is_int(self.max_concurrent_trials, 1):
            found.append(
                f"max_concurrent_trials: expected None or a whole number of at least 1, "
                f"got {self.max_concurrent_trials!r}. Leave it out to use the whole cluster."
            )
        if self.time_budget_s is not None and not _is_positive(self.time_budget_s):
            found.append(
                f"time_budget_s: expected None or a positive number of seconds, got {self.time_budget_s!r}. "
                "Leave it out for no limit."
            )
        if self.max_resident_trials is not None and not _is_int(self.max_resident_trials, 0):
            found.append(
                f"max_resident_trials: expected None or a whole number of at least 0, got {self.max_resident_trials!r}."
            )
        if self.seed is not None and not _is_int(self.seed, 0):
            found.append(f"seed: expected None or a whole number of at least 0, got {self.seed!r}.")
        return found


@dataclass
class RunConfig:
    """Where results go, when a trial ends, what is shown.

    Args:
        name: of the experiment and of its folder; default: made of the trainable and the time.
        storage_path: folder that holds experiments; default ``$TUNE_STORAGE_PATH`` or ``~/tune_results``.
        stop: ``{"metric": threshold, "training_iteration": n}``: a trial ends at the first report
            at which one of them is reached (at or past the value), and the very first report must have them; a callable
            ``(trial_id, result) -> bool``; a `Stopper`; or a list of these, of which any one is enough.
        checkpoint_config: see `CheckpointConfig`.
        failure_config: see `FailureConfig`.
        callbacks: see `tune_plugins.Callback`.
        verbose: 0: silent; 1: progress and the final summary; 2: each finished trial as well.
        progress_reporter: shows progress in place of the built-in display.
        log_to_file: True: what trials print goes to ``stdout`` and ``stderr`` in the trial's folder; a name: both
            go to that file; a pair of names.
        runtime: "ray"; or "inline": trials run one after another in this process and thread, for debuggers and
            coverage (`pdb` works). A scheduler that pauses trials needs checkpoints then.
    """

    name: str | None = None
    storage_path: str | os.PathLike[str] | None = None
    stop: StopCondition | Sequence[StopCondition] | None = None
    checkpoint_config: CheckpointConfig = field(default_factory=CheckpointConfig)
    failure_config: FailureConfig = field(default_factory=FailureConfig)
    callbacks: Sequence[Callback] = ()
    verbose: int = 1
    progress_reporter: Callback | None = None
    log_to_file: bool | str | tuple[str, str] = False
    runtime: Literal["ray", "inline"] = "ray"

    def mistakes(self) -> list[str]:
        """Everything that is wrong with this object by itself, in words."""
        found: list[str] = []
        if self.name is not None:
            wrong = check_name("name", self.name) if isinstance(self.name, str) else f"name: got {self.name!r}."
            if wrong:
                found.append(wrong)
        if (mistake := self.storage_path_mistake()) is not None:
            found.append(mistake)
        for name, kind in (("checkpoint_config", CheckpointConfig), ("failure_config", FailureConfig)):
            if not isinstance(getattr(self, name), kind):
                found.append(
                    f"{name}: expected a {kind.__name__}, got {getattr(self, name)!r}. Leave it out for defaults."
                )
        found += stop_mistakes(self.stop)
        if not _is_int(self.verbose, 0):
            found.append(f"verbose: expected 0, 1 or 2, got {self.verbose!r}.")
        if self.runtime not in ("ray", "inline"):
            found.append(f"runtime: expected 'ray' or 'inline', got {self.runtime!r}. Use 'inline' to debug.")
        logs = self.log_to_file
        if not isinstance(logs, bool):
            names = logs if isinstance(logs, tuple) else (logs,)
            if len(names) > 2 or not all(isinstance(n, str) and check_name("log_to_file", n) is None for n in names):
                found.append(f"log_to_file: expected True, False, a file name or a pair of them, got {logs!r}.")
        if not isinstance(self.callbacks, Sequence) or isinstance(self.callbacks, str):
            found.append(f"callbacks: expected a list of tune_plugins.Callback, got {self.callbacks!r}.")
        else:
            for number, callback in enumerate(self.callbacks):
                found += callback_mistakes(f"callbacks[{number}]", callback)
        if self.progress_reporter is not None:
            found += callback_mistakes("progress_reporter", self.progress_reporter)
        return found

    def storage_path_mistake(self) -> str | None:
        """What is wrong with `storage_path` by itself, in words."""
        if not isinstance(self.storage_path, (str, os.PathLike, type(None))):
            return f"storage_path: expected the path of a folder, got {self.storage_path!r}."
        if self.storage_path is not None and "://" in os.fspath(self.storage_path):
            return (
                f"storage_path: expected a local folder, got {os.fspath(self.storage_path)!r}. "
                "Give a local folder and copy it when the run is over."
            )
        return None

    @property
    def storage_dir(self) -> Path:
        """`storage_path` with ``~`` expanded, absolute."""
        return Path(os.path.expanduser(self.storage_path or default_storage_path())).absolute()


def _is_int(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_positive(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and float(value) > 0
