"""What another scheduler would have done with the trials of a finished run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tune_plugins.arguments import Mistakes
from tune_plugins.config import RunConfig, TuneConfig
from tune_plugins.core.metrics import Mode
from tune_plugins.core.scheduler import TrialScheduler
from tune_plugins.core.searcher import Searcher, Signal
from tune_plugins.driver.launch import carry_out
from tune_plugins.driver.plan import Plan, check_run
from tune_plugins.driver.simulated import Curve, Curves, SimulatedCluster, SimulatedPlace, TemporaryFolder
from tune_plugins.errors import TuneError
from tune_plugins.record.reader import RecordedTrial
from tune_plugins.record.store import ExperimentStore
from tune_plugins.space import Space


def replay(
    experiment: Path,
    scheduler: TrialScheduler,
    *,
    metric: Sequence[str] | None,
    mode: Sequence[Mode] | None,
    workers: int | None,
    seed: int,
) -> TemporaryFolder:
    """Simulate the trials recorded in the folder `experiment` along their curves; see `ResultGrid.replay`."""
    curves: list[Curve] = []
    with ExperimentStore.open(experiment) as store:
        workers = workers or int(store.meta().get("slots") or 1)
        trials = store.trials()
        for trial in trials:
            rows = list({int(row["training_iteration"]): row for row in store.results(trial.trial_id)}.values())
            _check_full(trial, len(rows), len(trials))
            seconds, before = [], 0.0
            for row in rows:
                seconds.append(max(0.0, float(row["time_total_s"]) - before))
                before = float(row["time_total_s"])
            curves.append(Curve([{k: v for k, v in row.items() if k not in _OURS} for row in rows], seconds))
    configs = {index: trial.config for index, trial in enumerate(trials)}
    tune = TuneConfig(
        metric=metric,
        mode=mode,
        num_samples=len(curves),
        scheduler=scheduler,
        search_alg=_Recorded(configs),
        seed=seed,
    )
    space, run = Space(None), RunConfig(verbose=0)
    mistakes = Mistakes("replay")
    if not curves:
        mistakes.add(f"the experiment in {experiment} has no trials; replay a finished run.")
    _, searcher = check_run(tune, run, space, mistakes)
    mistakes.raise_if_any()
    plan = Plan("replay", tune, run, space, scheduler, searcher, seed)
    place = SimulatedPlace(_RecordedCurves(curves, configs), SimulatedCluster(workers=workers))
    folder = TemporaryFolder("simulation")
    carry_out(plan, place, folder.path, ())
    return folder


_OURS = ("training_iteration", "time_total_s", "timestamp")


class _Recorded(Searcher):
    """Suggests what was suggested before."""

    instant = True

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


def _check_full(trial: RecordedTrial, length: int, total: int) -> None:
    """A curve that a scheduler cut short says nothing about what another one would have seen."""
    if trial.cause is None or not trial.cause.full or not length:
        raise TuneError(
            f"replay needs full curves: trial {trial.trial_id} of {total} is {trial.status} after {length} results "
            f"({trial.reason or 'no reason recorded'}). Replay a run that was made without early stopping."
        )
