"""What a user sets: `TuneConfig`, `RunConfig`, `CheckpointConfig`, `FailureConfig`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tune_plugins.arguments import Mistakes, explains, is_whole, override_mistakes, shown_call
from tune_plugins.callbacks import Callback, callback_mistakes
from tune_plugins.core.metrics import Mode, modes_of, names_of, objective_mistakes
from tune_plugins.core.scheduler import TrialScheduler
from tune_plugins.core.searcher import Searcher
from tune_plugins.errors import ArgumentError
from tune_plugins.record.names import check_name, is_plain
from tune_plugins.stoppers import StopCondition, stop_mistakes

if TYPE_CHECKING:
    from tune_plugins.core.trial import Trial


__all__ = ["CheckpointConfig", "FailureConfig", "RunConfig", "TuneConfig"]


def default_storage_path() -> str:
    """``$TUNE_STORAGE_PATH``, or ``~/tune_results``."""
    return os.environ.get("TUNE_STORAGE_PATH") or "~/tune_results"


@explains(
    {
        "keep_checkpoints_num": "Write num_to_keep=.",
        "checkpoint_freq": "Write checkpoint_frequency=.",
        "checkpoint_score_attr": "Write checkpoint_score_attribute= and checkpoint_score_order='min' or 'max'.",
        "checkpoint_keep_all_ranks": "The checkpoint of rank 0 is the trial's; let other ranks write into its folder.",
    }
)
@dataclass
class CheckpointConfig:
    """Which checkpoints are taken and which are kept.

    Args:
        num_to_keep: how many to keep for each trial; None keeps all. The newest one is always kept, and in a trial with
            several fits also the newest of the first, from which it could go on.
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

    def __repr__(self) -> str:
        """What differs from the defaults."""
        return shown_call(self)

    def __post_init__(self) -> None:
        Mistakes("CheckpointConfig", self.mistakes()).raise_if_any()

    def mistakes(self) -> list[str]:
        """Everything that is wrong with this object, in words."""
        found = Mistakes("CheckpointConfig")
        found.whole("num_to_keep", self.num_to_keep, least=1, none=True, remedy="None keeps all.")
        found.metric("checkpoint_score_attribute", self.checkpoint_score_attribute, none=True)
        found.mode("checkpoint_score_order", self.checkpoint_score_order)
        found.whole("checkpoint_frequency", self.checkpoint_frequency, least=0, remedy="0: when somebody needs one.")
        found.one_of("checkpoint_at_end", self.checkpoint_at_end, (True, False), none=True)
        return found.found


@dataclass
class FailureConfig:
    """What happens when a trial fails.

    Args:
        max_failures: how often one trial is tried again from its last checkpoint; -1: without limit.
        fail_fast: True: the first failed trial ends the experiment; "raise": and raises its error.
        retry: "all"; or "lost": only trials whose process or node was lost, since an error that the training itself
            has raised would come again.
        report_timeout_s: seconds within which a running trial must report, counted from its start and from each report;
            the process of one that is silent for longer is ended, and the trial has failed. None: no limit. Not
            observed with ``runtime="inline"``, where nothing can end a trial but itself.
    """

    max_failures: int = 0
    fail_fast: bool | Literal["raise"] = False
    retry: Literal["all", "lost"] = "all"
    report_timeout_s: float | None = None

    def __repr__(self) -> str:
        """What differs from the defaults."""
        return shown_call(self)

    def __post_init__(self) -> None:
        Mistakes("FailureConfig", self.mistakes()).raise_if_any()

    def mistakes(self) -> list[str]:
        """Everything that is wrong with this object, in words."""
        found = Mistakes("FailureConfig")
        found.whole("max_failures", self.max_failures, least=-1, remedy="-1: without limit.")
        found.one_of("fail_fast", self.fail_fast, (True, False, "raise"))
        found.one_of("retry", self.retry, ("all", "lost"))
        found.number(
            "report_timeout_s",
            self.report_timeout_s,
            above=0,
            none=True,
            what="a number of seconds",
            remedy="Leave it out for no limit.",
        )
        return found.found


@explains(
    {
        "chdir_to_trial_dir": "Write RunConfig(working_dir='trial'), or nothing for the directory of the script.",
        "trial_name_string": "Write trial_name_creator=.",
    }
)
@dataclass
class TuneConfig:
    """How to tune.

    Args:
        metric: name of the reported metric to optimise; may be a path such as ``eval/loss``. A list of several: trials
            that no other betters in all of them are sought (`ResultGrid.pareto_front`); the display shows the first.
            With a mode and no name anywhere: the plain number that a training returns or yields.
        mode: "min" or "max"; of several metrics a list, or one for all. May be left out where no scheduler and no
            searcher compares trials; then there is no best trial until one asks for it with a mode.
        search_alg: a `Searcher`, or the name of one: "random", "sobol", "evolutionary", "tpe", "gp", "cmaes", "nsgaii",
            "qmc", "hyperopt"; one written for Ray Tune will do. Default: random and grid search.
        scheduler: a `TrialScheduler`, or the name of one, with its defaults: "asha", "hyperband", ...; default: "fifo".
        num_samples: number of configurations; with a grid, of repetitions of the whole grid. -1: as many as there is
            time for, until `time_budget_s`, a stop rule or Ctrl-C ends the run.
        max_concurrent_trials: at most so many trials at a time; None: as many as the cluster fits.
        time_budget_s: seconds, or a `datetime.timedelta`, after which the experiment ends; also acts between reports.
        max_resident_trials: how many paused trials may wait in memory, each in a process of its own; more are saved and
            their processes given back. One more that has no checkpoint to be saved ends the run with an error that
            tells the ways out. None: 32; with GPUs, or inline, none.
        reuse_actors: None: warm workers, which is the default; True: and an object of a class derived from `Trainable`
            serves one trial after the other, as far as its `reset_config` returns True; it must begin anew then. False:
            a fresh process for each trial.
        seed: one seed for everything random; None: drawn, and recorded.
        trial_name_creator: called with the `Trial`, returns its name for people.
        trial_dirname_creator: called with the `Trial`, returns the name of its folder; what does not fit into one
            becomes ``_``, and a name that another trial has gets the id added.
    """

    metric: str | Sequence[str] | None = None
    mode: Mode | Sequence[Mode] | None = None
    search_alg: Searcher | str | None = None
    scheduler: TrialScheduler | str | None = None
    num_samples: int = 1
    max_concurrent_trials: int | None = None
    time_budget_s: float | timedelta | None = None
    max_resident_trials: int | None = None
    reuse_actors: bool | None = None
    seed: int | None = None
    trial_name_creator: Callable[[Trial], str] | None = None
    trial_dirname_creator: Callable[[Trial], str] | None = None

    def __repr__(self) -> str:
        """What differs from the defaults."""
        return shown_call(self)

    def __post_init__(self) -> None:
        Mistakes("TuneConfig", self.mistakes()).raise_if_any()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of all metrics to optimise."""
        return names_of(self.metric)

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The mode of each of the metrics."""
        return modes_of(self.mode, len(self.metrics))

    @property
    def budget_s(self) -> float | None:
        """`time_budget_s` in seconds."""
        given = self.time_budget_s
        return given.total_seconds() if isinstance(given, timedelta) else given

    def mistakes(self) -> list[str]:
        """Everything that is wrong with this object by itself, in words; asked again when a run begins."""
        found = Mistakes("TuneConfig")
        found.found += objective_mistakes(self.metric, self.mode)
        if self.search_alg is not None:
            found.found += _searcher_mistakes(self.search_alg)
        found.found += _scheduler_mistakes(self.scheduler)
        if not (is_whole(self.num_samples) and self.num_samples == -1):
            remedy = "Give the number of configurations to try; -1 for as many as there is time for."
            found.whole("num_samples", self.num_samples, least=1, remedy=remedy)
        found.whole(
            "max_concurrent_trials",
            self.max_concurrent_trials,
            least=1,
            none=True,
            remedy="Leave it out to use the whole cluster.",
        )
        found.number(
            "time_budget_s",
            self.budget_s,
            above=0,
            none=True,
            what="a number of seconds, or a timedelta,",
            remedy="Leave it out for no limit.",
        )
        found.whole("max_resident_trials", self.max_resident_trials, least=0, none=True)
        found.one_of("reuse_actors", self.reuse_actors, (True, False), none=True)
        found.whole("seed", self.seed, least=0, none=True)
        for name in ("trial_name_creator", "trial_dirname_creator"):
            found.function(name, getattr(self, name), "of the trial that returns a name", arguments=1, none=True)
        return found.found


def _scheduler_mistakes(given: Any) -> list[str]:
    if isinstance(given, str):
        from tune_plugins.schedulers.by_name import create_scheduler, name_mistakes

        if mistakes := name_mistakes("scheduler", given):
            return mistakes
        try:
            create_scheduler(given)
        except ArgumentError as error:
            return [f"scheduler: {given!r} needs arguments: {mistake}" for mistake in error.mistakes]
        return []
    found = Mistakes("TuneConfig")
    remedy = f"Write {given.__name__}()." if isinstance(given, type) else "Or give a name, such as 'asha'."
    right = given is None or isinstance(given, TrialScheduler)
    found.check(right, "scheduler", "a tune_plugins.schedulers.TrialScheduler", given, remedy)
    return found.found


def _searcher_mistakes(given: Any) -> list[str]:
    from tune_plugins.search.by_name import name_mistakes
    from tune_plugins.search.ray_style import RayForms

    if isinstance(given, str):
        return name_mistakes("search_alg", given)
    found = Mistakes("TuneConfig")
    right = callable(getattr(given, "suggest", None)) and not isinstance(given, type)
    remedy = f"Write {given.__name__}()." if isinstance(given, type) else ""
    if found.check(right, "search_alg", "a tune_plugins.search.Searcher", given, remedy):
        found.found += override_mistakes("search_alg", given, Searcher, RayForms)
        if isinstance(given, Searcher):
            found.found += [f"search_alg: {mistake}" for mistake in given.mistakes()]
    return found.found


@explains(
    {
        "local_dir": "Write storage_path=.",
        "storage_filesystem": "Results go to a local folder: write storage_path=, and copy the folder after the run.",
        "sync_config": "Nothing is uploaded meanwhile: write storage_path=, and copy the folder after the run.",
        "checkpoint_frequency": "Write checkpoint_config=CheckpointConfig(checkpoint_frequency=...).",
    }
)
@dataclass
class RunConfig:
    """Where results go, when a trial ends, what is shown.

    Args:
        name: of the experiment, any line of text without slashes; default: made of the trainable and the
            time. In the name of its folder, what does not fit becomes ``_``.
        if_exists: what happens where there is an experiment of this name: "number": the new one is called ``name-2``,
            ``name-3``, ..., unless the old one has no result and is removed; "replace": the old one is removed, unless
            it runs, or its folder holds anything else than its record and its trials' folders; "error": the new one is
            refused.
        storage_path: folder that holds experiments; default ``$TUNE_STORAGE_PATH`` or ``~/tune_results``.
        stop: ``{"metric": threshold, "training_iteration": n}``: a trial ends at the first report
            at which one of them is reached (at or past the value), and the very first report must have them;
            ``{"converged": True}``: where it is true, in whichever report; a callable
            ``(trial_id, result) -> bool``; a `Stopper`; or a list of these, of which any one is enough.
        checkpoint_config: see `CheckpointConfig`.
        failure_config: see `FailureConfig`.
        callbacks: objects, see `tune_plugins.Callback`; or names of loggers: "csv", "json", "tensorboard", "mlflow",
            "wandb", "comet".
        verbose: 0 or False: silent; 1 or True: progress and the final summary; 2 or more: each finished trial as well.
        progress_reporter: shows progress in place of the built-in display.
        log_to_file: True: what trials print goes to ``stdout`` and ``stderr`` in the trial's folder; a name: both
            go to that file; a pair of names.
        runtime: "ray"; or "inline": trials run one after another in this process and thread, for debuggers and
            coverage (`pdb` works). A scheduler that pauses trials needs checkpoints then.
        working_dir: where trials run. None: in the directory of this script, where all of them read and write the same
            files; "trial": each in its own folder (that of this script is in ``$TUNE_ORIG_WORKING_DIR``).
        runtime_env: environment of the workers, as Ray takes it for an actor: ``env_vars``, ``pip``, ... Local folders
            (``working_dir``, ``py_modules``) Ray takes for a whole job only, by ``ray.init(runtime_env=...)``.
        workers: the processes of trials on Ray. "auto": forked from one that has imported everything, where that is
            safe, else Ray actors; "actors": Ray actors, each of which imports by itself. Default: ``$TUNE_WORKERS``, or
            "auto".
    """

    name: str | None = None
    storage_path: str | os.PathLike[str] | None = None
    stop: StopCondition | Sequence[StopCondition] | None = None
    checkpoint_config: CheckpointConfig = field(default_factory=CheckpointConfig)
    failure_config: FailureConfig = field(default_factory=FailureConfig)
    callbacks: Sequence[Callback | str] | None = ()
    verbose: int = 1
    progress_reporter: Callback | None = None
    log_to_file: bool | str | tuple[str, str] = False
    runtime: Literal["ray", "inline"] = "ray"
    if_exists: Literal["number", "replace", "error"] = "number"
    working_dir: Literal["trial"] | None = None
    runtime_env: Mapping[str, Any] | None = None
    workers: Literal["auto", "actors"] = field(default_factory=lambda: os.environ.get("TUNE_WORKERS", "auto"))  # type: ignore[arg-type,return-value]

    def __repr__(self) -> str:
        """What differs from the defaults."""
        return shown_call(self)

    def __post_init__(self) -> None:
        Mistakes("RunConfig", self.mistakes()).raise_if_any()

    def mistakes(self) -> list[str]:
        """Everything that is wrong with this object by itself, in words; asked again when a run begins."""
        found = Mistakes("RunConfig")
        if self.name is not None and (wrong := check_name("name", self.name)):
            found.add(wrong)
        if (mistake := self.storage_path_mistake()) is not None:
            found.add(mistake)
        for name, kind in (("checkpoint_config", CheckpointConfig), ("failure_config", FailureConfig)):
            given = getattr(self, name)
            if found.check(isinstance(given, kind), name, f"a {kind.__name__}", given, "Leave it out for defaults."):
                found.found += given.mistakes()
        found.found += stop_mistakes(self.stop)
        if not isinstance(self.verbose, bool):
            found.whole("verbose", self.verbose, least=0, remedy="0: silent; 1: progress; 2: each trial as well.")
        found.one_of("runtime", self.runtime, ("ray", "inline"), remedy="Use 'inline' to debug.")
        found.one_of("if_exists", self.if_exists, ("number", "replace", "error"), remedy="Leave it out for a number.")
        found.one_of("working_dir", self.working_dir, ("trial",), none=True, remedy="None: that of this script.")
        found.found += _environment_mistakes(self.runtime_env, self.runtime)
        found.one_of("workers", self.workers, ("auto", "actors"), remedy="Leave it out.")
        logs = self.log_to_file
        names = logs if isinstance(logs, tuple) else (logs,)
        right = isinstance(logs, bool) or (len(names) <= 2 and all(is_plain(name) for name in names))
        found.check(right, "log_to_file", "True, False, a file name or a pair of them", logs)
        given = self.callbacks
        several = isinstance(given, (Sequence, type(None))) and not isinstance(given, str)
        if found.check(several, "callbacks", "a list of tune_plugins.Callback, or of names of loggers", given):
            for number, callback in enumerate(given or ()):
                found.found += _callback_mistakes(f"callbacks[{number}]", callback)
            found.found += _doubles(given or ())
        if self.progress_reporter is not None:
            found.found += callback_mistakes("progress_reporter", self.progress_reporter)
        return found.found

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


def _callback_mistakes(where: str, given: Any) -> list[str]:
    if not isinstance(given, str):
        return callback_mistakes(where, given)
    from tune_plugins.logger.by_name import create_logger, name_mistakes

    if mistakes := name_mistakes(where, given):
        return mistakes
    try:
        create_logger(given)
    except ArgumentError as error:
        return [f"{where}: {given!r} needs arguments: {mistake}" for mistake in error.mistakes]
    return []


def _doubles(given: Sequence[Any]) -> list[str]:
    """Loggers of which there may be one, and are several."""
    from tune_plugins.logger.by_name import logger_class

    kinds = [logger_class(each) if isinstance(each, str) else type(each) for each in given]
    return [
        f"callbacks[{number}]: expected one {kind.__name__}, got another one: both would write into the same files. "
        "Leave one out."
        for number, kind in enumerate(kinds)
        if kind is not None and getattr(kind, "one_of_a_run", False) and kind in kinds[:number]
    ]


def _environment_mistakes(given: Any, runtime: str) -> list[str]:
    found = Mistakes("RunConfig")
    if given is None or not found.check(
        isinstance(given, Mapping), "runtime_env", "a dict, as ray.init(runtime_env=...) takes", given
    ):
        return found.found
    if runtime == "inline":
        found.add(f"runtime_env: expected None with runtime='inline', which starts no process, got {given!r}.")
    modules = given.get("py_modules") or []
    for local in [given.get("working_dir"), *(modules if isinstance(modules, Sequence) else [])]:
        if local is not None and "://" not in str(local):
            found.add(
                f"runtime_env: expected the URI of a package, such as 's3://.../code.zip', got the local {local!r}, "
                "which Ray takes for a whole job only. Call ray.init(runtime_env=...) with it before fit()."
            )
    return found.found
