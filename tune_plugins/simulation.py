"""`simulate`: a tuning run under a virtual clock, and `replay`: another scheduler on recorded curves."""

from __future__ import annotations

import secrets
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_plugins.callbacks import RunInfo
from tune_plugins.config import RunConfig, TuneConfig
from tune_plugins.core.events import Command, Event, RecordDecision, RecordExploit, RecordStatus, RecordTrial, Tick
from tune_plugins.core.experiment import Experiment
from tune_plugins.driver.plan import check_run, experiment_directory, rules_for, stop_rules, storage_mistakes
from tune_plugins.driver.simulated import Curve, Curves, SimulatedCluster, SimulatedRuntime, SimulatedTraining
from tune_plugins.errors import Mistakes, TuneError
from tune_plugins.schedulers import TrialScheduler
from tune_plugins.search import Searcher, Signal
from tune_plugins.space import Space
from tune_plugins.stoppers import split_stop

if TYPE_CHECKING:
    from tune_plugins.results import Result, ResultGrid

__all__ = ["Curve", "Curves", "SimulatedCluster", "SimulatedTraining", "replay", "simulate"]

_RECORDS = (RecordTrial, RecordStatus, RecordDecision, RecordExploit)
_GROUP = 20_000  # events in one transaction of the record


def simulate(
    training: SimulatedTraining | Callable[[dict[str, Any]], Any],
    *,
    param_space: Mapping[str, Any] | None = None,
    tune_config: TuneConfig | None = None,
    run_config: RunConfig | None = None,
    cluster: SimulatedCluster | None = None,
) -> ResultGrid:
    """Tune a training that is known beforehand; thousands of trials take seconds.

    The same core, schedulers and searchers run as in `Tuner.fit`; for the same order of events they decide the
    same. All times in the results are virtual seconds from 0.

    Args:
        training: a function of the config that returns a `Curve` (or the list of its values), or an object with
            `start` and `step` (see `SimulatedTraining`) where an exploit must carry state over.
        param_space: as for `Tuner`.
        tune_config: as for `Tuner`; `max_concurrent_trials` limits the virtual workers.
        run_config: as for `Tuner`; results go to a temporary folder unless `storage_path` or `name` is given.
        cluster: number of virtual workers, delays, stragglers, crashes.

    Raises:
        ArgumentError: lists everything that is wrong with the arguments.
        TuneError: the scheduler left trials waiting for each other.

    >>> from tune_plugins import TuneConfig, simulate, uniform
    >>> results = simulate(
    ...     lambda config: [config["x"] / step for step in range(1, 10)],
    ...     param_space={"x": uniform(0, 1)},
    ...     tune_config=TuneConfig(metric="value", mode="min", num_samples=5, seed=1),
    ... )
    >>> len(results), results[0].metrics["time_total_s"]
    (5, 9.0)
    """
    tune, run = tune_config or TuneConfig(), run_config or RunConfig()
    cluster = cluster or SimulatedCluster()
    if tune.max_concurrent_trials is not None:
        workers = min(cluster.workers, tune.max_concurrent_trials)
        cluster = SimulatedCluster(**{**asdict(cluster), "workers": workers})
    space = Space(param_space)
    mistakes = Mistakes("simulate")
    scheduler, searcher = check_run(tune, run, space, mistakes)
    if run.name is not None or run.storage_path is not None:
        mistakes.found += storage_mistakes(run)
    if not callable(training) and not isinstance(training, SimulatedTraining):
        mistakes.add(f"training: expected a function of the config or an object with start and step, got {training!r}.")
    mistakes.raise_if_any()
    known: SimulatedTraining
    if isinstance(training, SimulatedTraining):
        known = training
    else:
        known = Curves(_as_curves(training), tune.metric or scheduler.metric or "value")
    return _run(known, space, tune, run, cluster, scheduler, searcher, {})


def replay(results: ResultGrid, scheduler: TrialScheduler, *, workers: int | None = None, seed: int = 0) -> ResultGrid:
    """What another scheduler would have done with the trials of a finished run; see `ResultGrid.replay`."""
    from tune_plugins.record.store import ExperimentStore

    curves: list[Curve] = []
    workers = workers or int(results.info().get("slots") or 1)
    with ExperimentStore.open(results.experiment_path) as store:
        for result in results:
            rows = list({int(row["training_iteration"]): row for row in store.results(result.trial_id)}.values())
            _check_full(result, len(rows), len(results))
            seconds, before = [], 0.0
            for row in rows:
                seconds.append(max(0.0, float(row["time_total_s"]) - before))
                before = float(row["time_total_s"])
            curves.append(Curve([{k: v for k, v in row.items() if k not in _OURS} for row in rows], seconds))
    configs = {index: result.config for index, result in enumerate(results)}
    tune = TuneConfig(
        metric=results.metric,
        mode=results.mode,
        num_samples=len(curves),
        scheduler=scheduler,
        search_alg=_Recorded(configs),
        seed=seed,
    )
    space = Space(None)
    mistakes = Mistakes("replay")
    if not curves:
        mistakes.add(f"the experiment in {results.experiment_path} has no trials; replay a finished run.")
    run = RunConfig()
    _, searcher = check_run(tune, run, space, mistakes)
    mistakes.raise_if_any()
    training = _RecordedCurves(curves, configs)
    return _run(training, space, tune, run, SimulatedCluster(workers=workers), scheduler, searcher, configs)


_OURS = ("training_iteration", "time_total_s", "timestamp")


class _Recorded(Searcher):
    """Suggests what was suggested before."""

    reads_results = False

    def __init__(self, configs: Mapping[int, dict[str, Any]]) -> None:
        self._configs = configs

    @property
    def total_trials(self) -> int:
        return len(self._configs)

    def suggest(self, trial_id: str, index: int) -> dict[str, Any] | Signal:
        return self._configs.get(index, Signal.COMPLETE)


class _RecordedCurves(Curves):
    """Curves that are known for the recorded configs only."""

    def __init__(self, curves: Sequence[Curve], configs: Mapping[int, dict[str, Any]]) -> None:
        super().__init__(lambda index, config: curves[index])
        self._configs = {id(curve): configs[index] for index, curve in enumerate(curves)}

    def step(self, state: Any, config: dict[str, Any]) -> tuple[Any, Mapping[str, Any], float] | None:
        if config != self._configs[id(state[0])]:
            raise TuneError(
                "replay cannot tell what happens under a config that was not run: the scheduler changed "
                f"{self._configs[id(state[0])]!r} to {config!r}. Replay one that only stops, pauses and resumes "
                "trials, or simulate with a training that has start and step."
            )
        return super().step(state, config)


_FULL = ("the trial function returned", "stop rule reached", "reached ")


def _check_full(result: Result, length: int, total: int) -> None:
    """A curve that a scheduler cut short says nothing about what another one would have seen."""
    if result.status != "TERMINATED" or not result.reason.startswith(_FULL) or not length:
        raise TuneError(
            f"replay needs full curves: trial {result.trial_id} of {total} is {result.status} after {length} results "
            f"({result.reason or 'no reason recorded'}). Replay a run that was made without early stopping."
        )


def _as_curves(function: Callable[[dict[str, Any]], Any]) -> Callable[[int, dict[str, Any]], Curve]:
    def curve_of(index: int, config: dict[str, Any]) -> Curve:
        curve = function(config)
        return curve if isinstance(curve, Curve) else Curve(list(curve))

    return curve_of


class _Keeper:
    """Held by the results of a simulation: when the last of them is gone, so is the folder."""


def _run(
    training: SimulatedTraining,
    space: Space,
    tune: TuneConfig,
    run: RunConfig,
    cluster: SimulatedCluster,
    scheduler: TrialScheduler,
    searcher: Searcher,
    suggestions: Mapping[int, dict[str, Any]],
) -> ResultGrid:
    from tune_plugins.record.store import ExperimentStore
    from tune_plugins.results import ResultGrid

    seed = tune.seed if tune.seed is not None else secrets.randbelow(2**31)
    scheduler.cluster_resources = {"CPU": float(cluster.workers)}
    rules = rules_for(tune, run, scheduler, searcher, space, seed)
    thresholds, stopper = split_stop(run.stop)
    experiment = Experiment(searcher, scheduler, rules, stopper, suggestions)
    runtime = SimulatedRuntime(
        training, cluster, seed=seed, stop=stop_rules(thresholds, rules), time_budget_s=rules.time_budget_s
    )
    temporary = None
    if run.name is None and run.storage_path is None:
        temporary = tempfile.TemporaryDirectory(prefix="tune-simulation-")
        directory = Path(temporary.name) / "simulation"
    else:
        directory = experiment_directory(run, "simulation")
    info = RunInfo(
        name=directory.name,
        path=str(directory),
        metric=rules.metric,
        mode=rules.mode,
        total_trials=rules.trial_limit,
        slots=cluster.workers,
        resources={"CPU": 1},
        time_budget_s=rules.time_budget_s,
        scheduler=type(scheduler).__name__,
        searcher=type(searcher).__name__,
        parameters=space.parameters,
        seed=seed,
    )
    with ExperimentStore.create(directory, {**asdict(info), "virtual_clock": True}) as store:
        unwritten: list[Event] = []
        records: list[Command] = []
        for event, commands in drive(experiment, runtime):
            if not isinstance(event, Tick):
                unwritten.append(event)
            records += [c for c in commands if isinstance(c, _RECORDS)]
            if len(unwritten) >= _GROUP:
                store.commit(unwritten, records)
                unwritten, records = [], []
        store.commit(unwritten, records)
    results = ResultGrid(directory, metric=rules.metric, mode=rules.mode)
    if temporary is not None:
        # The folder lives as long as the results that are read from it.
        results._keeper = _Keeper()
        weakref.finalize(results._keeper, temporary.cleanup)
    return results


def drive(experiment: Experiment, runtime: SimulatedRuntime) -> Any:
    """Run to the end, yielding each event with the commands that answered it.

    Raises:
        TuneError: nothing will ever happen again, and the experiment is not over.
    """
    while not experiment.finished:
        events = runtime.poll()
        if not events:
            waiting = [t.id for t in experiment.trials.values() if not t.status.finished]
            raise TuneError(
                f"{type(experiment.scheduler).__name__} left {len(waiting)} trials waiting for each other "
                f"(first ones: {', '.join(waiting[:5])}), and no event will ever come. This is a defect of it."
            )
        for event in events:
            commands = experiment.handle(event)
            runtime.perform(commands)
            yield event, commands
