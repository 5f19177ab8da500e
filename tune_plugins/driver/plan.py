"""What a run is asked to do, checked: everything that can be wrong with it is found here, all at once."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeAlias

from tune_plugins.arguments import Mistakes
from tune_plugins.config import RunConfig, TuneConfig
from tune_plugins.core.autofill import AUTOFILLED
from tune_plugins.core.experiment import Rules
from tune_plugins.core.leases import StopRule
from tune_plugins.core.metrics import DEFAULT_METRIC, Mode
from tune_plugins.core.scheduler import FIFOScheduler, TrialScheduler
from tune_plugins.core.trial import Names
from tune_plugins.driver.suggestions import prepare
from tune_plugins.errors import ArgumentError
from tune_plugins.record.folder import RESERVED, Taken, take, why_taken
from tune_plugins.record.names import check_name, numbered
from tune_plugins.schedulers.ray_style import as_scheduler
from tune_plugins.search import BasicVariantGenerator, Searcher, SearchTask
from tune_plugins.search.by_name import as_searcher
from tune_plugins.space import Space
from tune_plugins.stoppers import flags, set_up, split_stop, time_limit


@dataclass(frozen=True)
class Plan:
    """Arguments of a run, found to be right.

    Attributes:
        name: of what is trained.
    """

    name: str
    tune: TuneConfig
    run: RunConfig
    space: Space
    scheduler: TrialScheduler
    searcher: Searcher
    seed: int

    @property
    def parameters(self) -> tuple[str, ...]:
        """What is searched, also where the space was given to the searcher, which has been set up for the run."""
        return tuple(self.searcher.space.parameters)


def draw_seed(seed: int | None) -> int:
    """The user's seed, or one drawn for this run."""
    return secrets.randbelow(2**31) if seed is None else int(seed)  # one of NumPy would overflow


Algorithms: TypeAlias = tuple[TrialScheduler, Searcher]


def check_run(tune: TuneConfig, run: RunConfig, space: Space, mistakes: Mistakes) -> Algorithms:
    """Note all mistakes of the configuration; returns the scheduler and searcher that it names, or the defaults."""
    mistakes.found += tune.mistakes()
    mistakes.found += run.mistakes()
    scheduler = _scheduler(tune, mistakes)
    searcher = _searcher(tune, mistakes)
    own = searcher.own_objectives
    given, mode = tune.metrics or own[0], tune.mode or own[1]
    if tune.metrics and own[0] and (tune.metrics, tune.modes) != (own[0], own[1] or tune.modes):
        mistakes.add(
            f"metric: expected one metric, or one list of them, got {tune.metric!r} ({tune.mode!r}) in TuneConfig and "
            f"{list(own[0])!r} ({list(own[1])!r}) in {searcher.label}. Give them in one place."
        )
    if isinstance(scheduler, TrialScheduler):
        name = type(scheduler).__name__
        mistakes.found += [f"{name} {mistake}" for mistake in scheduler.mistakes()]
        if scheduler.takes_several:
            if not scheduler.metric and len(given) < 2:
                mistakes.add(
                    f"metric: expected the names of several metrics, since {name} compares trials by all of them, got "
                    f"{tune.metric!r}. Write TuneConfig(metric=[...], mode=[...]), or take ASHAScheduler()."
                )
            elif not (scheduler.modes or mode):
                mistakes.add(f"mode: expected 'min' or 'max' for each metric, since {name} compares trials. Add mode=.")
        elif scheduler.needs_metric and not (scheduler.metric or given or scheduler.mode or tune.mode):
            mistakes.add(
                f"metric: expected the name of a metric, since {name} compares trials by it, got None. "
                "Add TuneConfig(metric='...', mode='min' or 'max')."
            )
        elif scheduler.needs_metric and not scheduler.metric and len(given) > 1:
            mistakes.add(
                f"metric: expected one name, since {name} compares trials by one metric, got {list(given)!r}. "
                f"Write {name}(metric={given[0]!r}, mode=...), or take MultiObjectiveASHA()."
            )
        elif scheduler.needs_metric and not (scheduler.mode or mode):
            mistakes.add(f"mode: expected 'min' or 'max', since {name} compares trials, got None. Add mode=.")
    mistakes.found += space.mistakes()
    return scheduler, searcher


def _objectives(
    tune: TuneConfig, scheduler: TrialScheduler, searcher: Searcher
) -> tuple[tuple[str, ...], tuple[Mode, ...]]:
    """Metrics and modes of a run: those of `TuneConfig`, else the scheduler's, else the searcher's.

    Where there is only a mode, it is that of the plain number that a training returns or yields.
    """
    if tune.metrics:
        return tune.metrics, tune.modes or ((scheduler.mode,) if scheduler.mode else ())
    if scheduler.takes_several:
        return tuple(scheduler.metrics), tuple(scheduler.modes)
    if scheduler.metric is not None:
        return (scheduler.metric,), (scheduler.mode,) if scheduler.mode else tune.modes
    own, mode = searcher.own_objectives, tune.mode or scheduler.mode
    return ((DEFAULT_METRIC,), (mode,)) if isinstance(mode, str) and not own[0] else own


def main_metric(tune: TuneConfig, scheduler: TrialScheduler, searcher: Searcher) -> str | None:
    """The metric of a run, of several the first one; None: there is none."""
    return (_objectives(tune, scheduler, searcher)[0] or (None,))[0]


def _scheduler(tune: TuneConfig, mistakes: Mistakes) -> TrialScheduler:
    if not isinstance(tune.scheduler, str):
        return as_scheduler(tune.scheduler) if isinstance(tune.scheduler, TrialScheduler) else FIFOScheduler()
    from tune_plugins.schedulers.by_name import create_scheduler

    return FIFOScheduler() if mistakes.found else create_scheduler(tune.scheduler)


def _searcher(tune: TuneConfig, mistakes: Mistakes) -> Searcher:
    if tune.search_alg is None or mistakes.found:
        return BasicVariantGenerator()
    return as_searcher(tune.search_alg)


def rules_for(
    plan: Plan, residents: int, slots: int, directory: str | os.PathLike[str] = "", *, wanted: int | None = None
) -> Rules:
    """Set the scheduler, the searcher and the stoppers up for a run, and state its rules.

    Args:
        plan: of the run.
        residents: how many paused trials may wait in memory.
        slots: trials at a time.
        directory: of the experiment.
        wanted: how many paused trials are to wait in memory, where they can be evicted; None: as many as may.
    """
    tune, run, scheduler, searcher, seed = plan.tune, plan.run, plan.scheduler, plan.searcher, plan.seed
    metrics, modes = _objectives(tune, scheduler, searcher)
    metric, mode = (metrics or (None,))[0], (modes or (None,))[0]
    scheduler.searcher = searcher if scheduler.wants_searcher else None
    if scheduler.takes_several and len(metrics) > 1:
        scheduler.setup(metric=metrics, mode=modes, seed=seed)  # type: ignore[arg-type]
    else:
        scheduler.setup(metric=metric, mode=mode, seed=seed)
    several = len(metrics) > 1
    prepare(
        searcher,
        SearchTask(
            plan.space,
            metrics if several else metric,
            modes if several else mode,
            seed,
            None if tune.num_samples == -1 else tune.num_samples,
            slots,
            scheduler.fidelity,
        ),
    )
    set_up(run.stop, metric=metric, mode=mode)
    limits = [limit for limit in (tune.budget_s, time_limit(run.stop)) if limit is not None]
    keep, failure = run.checkpoint_config, run.failure_config
    name = type(scheduler).__name__
    # A training whose only end is a threshold would never end if the name were mistyped.
    there_anyway = flags(run.stop) | AUTOFILLED
    wanted_first = (n for n in split_stop(run.stop)[0] if n not in there_anyway and not n.startswith("config/"))
    required = dict.fromkeys(wanted_first, "stop")
    if scheduler.needs_metric:
        required[scheduler.time_attr] = f"{name} time_attr"
    awaited = dict.fromkeys((*metrics, *searcher.own_objectives[0]), "metric")
    if metric == DEFAULT_METRIC != tune.metric:
        # Where nobody compares trials, it is only asked for when it is there.
        awaited = {DEFAULT_METRIC: _UNNAMED} if scheduler.needs_metric or searcher.learns else {}
    elif scheduler.needs_metric and scheduler.metric is not None:
        awaited[scheduler.metric] = "metric" if scheduler.metric == tune.metric else f"{name} metric"
    return Rules(
        metric=metric,
        mode=mode,
        required=required,
        awaited=awaited,
        seed=seed,
        trial_limit=searcher.total_trials,
        max_failures=failure.max_failures,
        retry=failure.retry,
        fail_fast=bool(failure.fail_fast),
        time_budget_s=min(limits, default=None),
        num_to_keep=keep.num_to_keep,
        score_attribute=keep.checkpoint_score_attribute,
        score_order=keep.checkpoint_score_order,
        max_resident_trials=residents,
        wanted_residents=wanted,
        names=Names(
            plan.name,
            plan.parameters,
            os.fspath(directory),
            tune.trial_name_creator,
            tune.trial_dirname_creator,
            RESERVED,
        ),
        searcher=searcher.label,
        metrics=metrics,
        modes=modes,
        searcher_reads_results=searcher.reads_results,
    )


_UNNAMED = "metric (none was given: the plain number that a training returns or yields)"


def stop_rules(thresholds: Mapping[str, float], rules: Rules) -> tuple[StopRule, ...]:
    """Thresholds of the user; where less of the metric is better, it is reached from above."""
    less_is_better = rules.metric if rules.mode == "min" else None
    return tuple(StopRule(name, value, name == less_is_better) for name, value in thresholds.items())


@dataclass(frozen=True)
class Folder:
    """Where a run is recorded.

    Attributes:
        path: of the folder.
        name: of the experiment, for people.
        remarks: lines that the run has to say when it begins.
    """

    path: Path
    name: str
    remarks: tuple[str, ...] = ()


@contextmanager
def experiment_folder(where: str, run: RunConfig, trainable: str) -> Iterator[Folder]:
    """A folder for a new experiment, which is nobody else's meanwhile.

    Args:
        where: what the user has called.
        run: says the name, and what becomes of an experiment that has it already.
        trainable: name of what is trained; with the time it makes a name where the user gives none.

    Raises:
        ArgumentError: the name is taken, and must not or cannot be freed.
        StorageError: the folder cannot be made.
    """
    for folder in _folders(run, trainable):
        try:
            # A name that nobody has asked for: even a run without a result keeps it.
            lock = take(folder.path, "error" if run.name is None else run.if_exists, folder.name)
        except Taken as taken:
            if run.name is None or run.if_exists == "number":
                continue
            raise ArgumentError(where, [_taken(run, str(taken))]) from taken
        try:
            yield folder
        finally:
            lock.release()
        return


def _folders(run: RunConfig, trainable: str) -> Iterator[Folder]:
    """Folders that a run may have, in order of preference."""
    storage = run.storage_dir
    if run.name is None:
        base = f"{trainable[:70]}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
        for number in count():
            path = storage / (f"{base}_{number}" if number else base)
            if not path.exists():
                yield Folder(path, path.name)
        return
    for number in count(1):
        name, folder = numbered(run.name, number)
        told = (f"{str(storage / numbered(run.name, 1)[1])!r} is taken; this run is called {name!r}.",)
        yield Folder(storage / folder, name, told if number > 1 else ())


def _taken(run: RunConfig, reason: str) -> str:
    """The mistake that a name is taken."""
    assert run.name is not None
    path = run.storage_dir / numbered(run.name, 1)[1]
    if run.if_exists == "replace":
        return (
            f"if_exists: expected an experiment that may be replaced, got 'replace' for {str(path)!r}, but {reason}. "
            "Move away what must stay, choose another name, or leave if_exists out: the run gets a number."
        )
    return (
        f"name: expected a new one, got {run.name!r}, but {reason}. Choose another name, or "
        "RunConfig(if_exists='number') for a number behind it (the default), if_exists='replace' to remove what is "
        f"there; if_exists='error' refuses. Look at what is there with tune_plugins.ResultGrid({str(path)!r})."
    )


def storage_mistakes(run: RunConfig) -> list[str]:
    """Whether results can be written where the user wants them, and are not there already."""
    if run.storage_path_mistake() is not None:
        return []  # among the mistakes of `run` itself
    folder = run.storage_dir
    remedy = "Give RunConfig(storage_path=...) a folder that you may write to."
    parent = folder
    while not parent.exists() and parent.parent != parent:
        parent = parent.parent
    if not parent.is_dir():
        return [f"storage_path: expected a folder, got {str(folder)!r}, but {str(parent)!r} is a file. {remedy}"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}-{secrets.token_hex(4)}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        return [f"storage_path: cannot write to {str(folder)!r} ({error.strerror}). {remedy}"]
    if run.if_exists in ("replace", "error") and run.name is not None and check_name("name", run.name) is None:
        reason = why_taken(folder / numbered(run.name, 1)[1], run.if_exists, run.name)
        return [] if reason is None else [_taken(run, reason)]
    return []
