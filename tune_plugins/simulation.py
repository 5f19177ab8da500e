"""`simulate`: a tuning run under a virtual clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tune_plugins.arguments import Mistakes
from tune_plugins.config import RunConfig, TuneConfig
from tune_plugins.driver.plan import Plan, check_run, draw_seed, experiment_folder, main_metric, storage_mistakes
from tune_plugins.driver.simulated import (
    Curve,
    Curves,
    SimulatedCluster,
    SimulatedPlace,
    SimulatedTraining,
    TemporaryFolder,
)
from tune_plugins.space import Space

if TYPE_CHECKING:
    from tune_plugins.results import ResultGrid

__all__ = ["Curve", "Curves", "SimulatedCluster", "SimulatedTraining", "simulate"]

_NAME = "simulation"


def simulate(
    training: SimulatedTraining | Callable[[dict[str, Any]], Curve | Iterable[float | Mapping[str, Any]]],
    *,
    param_space: Mapping[str, Any] | Space | None = None,
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
        run_config: as for `Tuner`; results go to a temporary folder unless `storage_path` or `name` is given, and
            `runtime`, `runtime_env`, `working_dir`, `log_to_file`, `report_timeout_s`, `checkpoint_frequency` and
            `checkpoint_at_end` mean nothing here.
        cluster: number of virtual workers, delays, stragglers, crashes.

    Raises:
        ArgumentError: lists everything that is wrong with the arguments.
        TuneError: the scheduler left trials waiting for each other.

    >>> from tune_plugins import RunConfig, TuneConfig, simulate, uniform
    >>> results = simulate(
    ...     lambda config: [config["x"] / step for step in range(1, 10)],
    ...     param_space={"x": uniform(0, 1)},
    ...     tune_config=TuneConfig(metric="value", mode="min", num_samples=5, seed=1),
    ...     run_config=RunConfig(verbose=0),
    ... )
    >>> len(results), results[0].metrics["time_total_s"]
    (5, 9.0)
    """
    from tune_plugins.display import displays
    from tune_plugins.driver.launch import carry_out
    from tune_plugins.results import ResultGrid

    tune = TuneConfig() if tune_config is None else tune_config
    run = RunConfig() if run_config is None else run_config
    cluster = SimulatedCluster() if cluster is None else cluster
    mistakes = Mistakes("simulate")
    for name, given, kind in (
        ("tune_config", tune, TuneConfig),
        ("run_config", run, RunConfig),
        ("cluster", cluster, SimulatedCluster),
    ):
        mistakes.check(isinstance(given, kind), name, f"a tune_plugins.{kind.__name__}", given)
    mistakes.raise_if_any()
    space = param_space if isinstance(param_space, Space) else Space(param_space)
    scheduler, searcher = check_run(tune, run, space, mistakes)
    temporary = run.name is None and run.storage_path is None
    if not temporary:
        mistakes.found += storage_mistakes(run)
    if not callable(training) and not isinstance(training, SimulatedTraining):
        mistakes.add(f"training: expected a function of the config or an object with start and step, got {training!r}.")
    mistakes.raise_if_any()
    if tune.max_concurrent_trials is not None:
        cluster = replace(cluster, workers=min(cluster.workers, tune.max_concurrent_trials))
    if not isinstance(training, SimulatedTraining):
        training = Curves(_as_curves(training), main_metric(tune, scheduler, searcher) or "value")
    plan = Plan(_NAME, tune, run, space, scheduler, searcher, draw_seed(tune.seed))
    place = SimulatedPlace(training, cluster)
    if not temporary:
        with experiment_folder("simulate", run, _NAME) as folder:
            configs = carry_out(plan, place, folder.path, displays(run), folder.name, folder.remarks)
        return ResultGrid(folder.path, configs=configs)
    temporary_folder = TemporaryFolder(_NAME)
    configs = carry_out(plan, place, temporary_folder.path, displays(run))
    return ResultGrid(temporary_folder.path, configs=configs, keeper=temporary_folder)


def _as_curves(function: Callable[[dict[str, Any]], Curve | Iterable[Any]]) -> Callable[[int, dict[str, Any]], Curve]:
    def curve_of(index: int, config: dict[str, Any]) -> Curve:
        curve: Any = function(config)
        if isinstance(curve, Curve):
            return curve
        return Curve(list(curve) if isinstance(curve, Iterable) and not isinstance(curve, (str, Mapping)) else curve)

    return curve_of
