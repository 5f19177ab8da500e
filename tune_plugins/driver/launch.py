"""From a plan and a place to the record of a finished run: the same steps on every runtime."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tune_plugins.callbacks import Callback, RunInfo
from tune_plugins.core.experiment import Experiment
from tune_plugins.core.scheduler import TrialScheduler
from tune_plugins.core.trial import Trial
from tune_plugins.driver.jobs import JobMaker
from tune_plugins.driver.plan import Plan, rules_for, stop_rules
from tune_plugins.driver.runner import Runner
from tune_plugins.driver.runtime import Place, Task
from tune_plugins.driver.shared_files import SharedFiles
from tune_plugins.driver.suggestions import Suggestions
from tune_plugins.logger.by_name import create_logger
from tune_plugins.record.store import ExperimentStore
from tune_plugins.stoppers import split_stop


def carry_out(
    plan: Plan,
    place: Place,
    directory: Path,
    displays: Sequence[Callback],
    name: str = "",
    remarks: Sequence[str] = (),
) -> dict[str, dict[str, Any]]:
    """Run all trials to their end, or to Ctrl-C.

    Args:
        plan: what to do.
        place: where.
        directory: folder of the experiment, made here; the record is in it afterwards.
        displays: callbacks that come before the user's.
        name: of the experiment, for people; default: that of the folder.
        remarks: lines that the run has to say when it begins.

    Returns:
        The config of each trial by its id, as the trial has got it.

    Raises:
        TuneError: the run could not go on; says why and where the results are.
    """
    scheduler = plan.scheduler
    scheduler.cluster_resources, scheduler.trial_resources = dict(place.cluster), dict(place.resources)
    scheduler.request_of = place.request_of
    asked = plan.tune.max_resident_trials
    wanted = 0 if place.cold and asked is None else None
    rules = rules_for(plan, place.residents(asked), place.slots, directory, wanted=wanted)
    thresholds, stopper = split_stop(plan.run.stop)
    stop = stop_rules(thresholds, rules)
    info = RunInfo(
        name=name or directory.name,
        path=str(directory),
        metric=rules.metric,
        mode=rules.mode,
        total_trials=rules.trial_limit,
        slots=place.slots,
        resources=place.resources,
        cluster=place.cluster,
        time_budget_s=rules.time_budget_s,
        scheduler=type(scheduler).__name__,
        searcher=plan.searcher.label,
        parameters=plan.parameters,
        max_iterations=_max_iterations(thresholds, scheduler),
        seed=plan.seed,
        virtual_clock=place.virtual,
        metrics=rules.metrics,
        modes=rules.modes,
    )
    with ExperimentStore.create(
        directory,
        {
            **asdict(info),
            "trainable": plan.name,
            "param_space": plan.space.to_json(),
            "created_at": time.time(),  # also of a run whose own clock is virtual
        },
    ) as store:
        experiment = Experiment(scheduler, rules, stopper)
        make_job = JobMaker(plan, experiment, directory, stop)
        runtime = place.open(
            Task(
                rules=rules,
                stop=stop,
                seed=plan.seed,
                results_matter=plan.searcher.learns or scheduler.reads_results,
                fresh=plan.tune.reuse_actors is False,
                report_timeout_s=plan.run.failure_config.report_timeout_s,
                make_job=make_job,
            )
        )
        at_once = plan.searcher.instant or scheduler.wants_searcher or not runtime.waits
        suggestions = Suggestions(
            plan.searcher, runtime.time, None if at_once else runtime.wake, results_in=str(directory)
        )
        given_by_user = plan.run.callbacks or ()
        theirs = [create_logger(each) if isinstance(each, str) else each for each in given_by_user]
        callbacks = [*displays, *([TrialFolders()] if theirs and not place.virtual else []), *theirs]
        callbacks += scheduler.callbacks()
        more_warnings: Callable[[], list[str]] = list
        if not (place.virtual or plan.run.working_dir):
            shared = SharedFiles(os.getcwd(), str(directory.parent))
            callbacks.append(shared)
            more_warnings = shared.warnings
        given = (plan.run.stop, plan.tune.num_samples)
        Runner(experiment, suggestions, runtime, store, callbacks, info, *given, remarks, more_warnings).run()
    return {trial.id: trial.config for trial in experiment.trials.values()}


class TrialFolders(Callback):
    """Makes the folder of each trial before the user's callbacks are told of its start: they may write there."""

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """The trial function was entered."""
        with suppress(OSError):  # whoever writes there says it better
            os.makedirs(trial.path, exist_ok=True)


def _max_iterations(thresholds: Mapping[str, float], scheduler: TrialScheduler) -> float | None:
    ends = [thresholds.get("training_iteration")]
    if scheduler.time_attr == "training_iteration" and getattr(scheduler, "stop_last_trials", True):
        ends.append(getattr(scheduler, "max_t", None))
    known = [end for end in ends if end is not None]
    return min(known) if known else None
