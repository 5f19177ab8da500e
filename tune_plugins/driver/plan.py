"""What a run is asked to do, checked: everything that can be wrong with it is found here, all at once."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tune_plugins.arguments import Mistakes
from tune_plugins.config import RunConfig, TuneConfig
from tune_plugins.core.experiment import Rules
from tune_plugins.core.leases import StopRule
from tune_plugins.core.metrics import Mode
from tune_plugins.core.scheduler import FIFOScheduler, TrialScheduler
from tune_plugins.core.trial import Names
from tune_plugins.driver.suggestions import prepare
from tune_plugins.record.file import FILE_NAME
from tune_plugins.record.names import check_name
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


def draw_seed(seed: int | None) -> int:
    """The user's seed, or one drawn for this run."""
    return secrets.randbelow(2**31) if seed is None else int(seed)  # one of NumPy would overflow


Algorithms: TypeAlias = tuple[TrialScheduler, Searcher]


def check_run(tune: TuneConfig, run: RunConfig, space: Space, mistakes: Mistakes) -> Algorithms:
    """Note all mistakes of the configuration; returns the scheduler and searcher that it names, or the defaults."""
    mistakes.found += tune.mistakes()
    mistakes.found += run.mistakes()
    scheduler, searcher = tune.scheduler or FIFOScheduler(), _searcher(tune, mistakes)
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
        elif scheduler.needs_metric and not (scheduler.metric or given):
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
    """Metrics and modes of a run: those of `TuneConfig`, else the scheduler's, else the searcher's."""
    if tune.metrics:
        return tune.metrics, tune.modes or ((scheduler.mode,) if scheduler.mode else ())
    if scheduler.takes_several:
        return tuple(scheduler.metrics), tuple(scheduler.modes)
    if scheduler.metric is not None:
        return (scheduler.metric,), (scheduler.mode,) if scheduler.mode else tune.modes
    return searcher.own_objectives


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
    limits = [limit for limit in (tune.time_budget_s, time_limit(run.stop)) if limit is not None]
    keep, failure = run.checkpoint_config, run.failure_config
    name = type(scheduler).__name__
    # A training whose only end is a threshold would never end if the name were mistyped.
    required = dict.fromkeys((n for n in split_stop(run.stop)[0] if n not in flags(run.stop)), "stop")
    if scheduler.needs_metric:
        required[scheduler.time_attr] = f"{name} time_attr"
    awaited = dict.fromkeys((*metrics, *searcher.own_objectives[0]), "metric")
    if scheduler.needs_metric and scheduler.metric is not None:
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
            tuple(plan.space.parameters),
            os.fspath(directory),
            tune.trial_name_creator,
            tune.trial_dirname_creator,
            frozenset(FILE_NAME + suffix for suffix in ("", "-wal", "-shm", "-journal")),
        ),
        searcher=searcher.label,
        metrics=metrics,
        modes=modes,
        searcher_reads_results=searcher.reads_results,
    )


def stop_rules(thresholds: Mapping[str, float], rules: Rules) -> tuple[StopRule, ...]:
    """Thresholds of the user; where less of the metric is better, it is reached from above."""
    less_is_better = rules.metric if rules.mode == "min" else None
    return tuple(StopRule(name, value, name == less_is_better) for name, value in thresholds.items())


def experiment_directory(run: RunConfig, trainable: str) -> Path:
    """Folder of a new experiment; a name made by us gets a number where it is taken already."""
    if run.name is not None:
        return run.storage_dir / run.name
    base = f"{trainable[:70]}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
    number = 0
    while (directory := run.storage_dir / (f"{base}_{number}" if number else base)).exists():
        number += 1
    return directory


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
    if isinstance(run.name, str) and check_name("name", run.name) is None and (folder / run.name / FILE_NAME).exists():
        return [
            f"name: there is an experiment {run.name!r} in {str(folder)!r} already, and a new one would hide its "
            f"results. Choose another name, or look at it with tune_plugins.ResultGrid({str(folder / run.name)!r})."
        ]
    return []
