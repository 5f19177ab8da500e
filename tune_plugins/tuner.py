"""`Tuner`: the front door."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from tune_plugins.callbacks import RunInfo
from tune_plugins.config import RunConfig, TuneConfig
from tune_plugins.core.experiment import Experiment
from tune_plugins.core.scheduler import TrialScheduler
from tune_plugins.driver.jobs import JobMaker, ask
from tune_plugins.driver.plan import check_run, experiment_directory, rules_for, storage_mistakes
from tune_plugins.driver.resources import Shape, fits, missing, shape_of
from tune_plugins.driver.trial_function import TrialFunction, as_trial_function
from tune_plugins.errors import ArgumentError, Mistakes, TuneError
from tune_plugins.stoppers import split_stop

if TYPE_CHECKING:
    from tune_plugins.driver.ray.cluster import Cluster
    from tune_plugins.driver.runner import Runtime
    from tune_plugins.results import ResultGrid
    from tune_plugins.search import Searcher
    from tune_plugins.space import Space
    from tune_plugins.trainable import Trainable


class Tuner:
    """Tunes a training function.

    Args:
        trainable: ``train(config)`` that calls `report`, or returns or yields dicts of metrics; or a class derived
            from `Trainable`. See also `with_resources` and `with_parameters`.
        param_space: hyper-parameters: values, domains such as `uniform`, grids, nested dicts of these.
        tune_config: see `TuneConfig`.
        run_config: see `RunConfig`.

    >>> import tune_plugins as tune
    >>> def train(config):
    ...     tune.report(loss=(config["x"] - 2) ** 2)
    >>> tuner = tune.Tuner(
    ...     train,
    ...     param_space={"x": tune.grid_search([1, 2, 3])},
    ...     tune_config=tune.TuneConfig(metric="loss", mode="min"),
    ...     run_config=tune.RunConfig(verbose=0),
    ... )
    >>> tuner.fit().get_best_result().config  # doctest: +SKIP
    {'x': 2}
    """

    def __init__(
        self,
        trainable: Callable[..., Any] | type[Trainable] | TrialFunction,
        *,
        param_space: Mapping[str, Any] | None = None,
        tune_config: TuneConfig | None = None,
        run_config: RunConfig | None = None,
    ) -> None:
        self._trainable = as_trial_function(trainable)
        self._param_space = param_space
        self._tune_config = tune_config or TuneConfig()
        self._run_config = run_config or RunConfig()
        self._results: ResultGrid | None = None

    def fit(self) -> ResultGrid:
        """Run all trials; returns when the last one has ended, or after Ctrl-C.

        Raises:
            ArgumentError: lists everything that is wrong with the arguments, before anything starts.
            TuneError: the run could not go on; says why and where the results are.
        """
        from tune_plugins.display import make_display
        from tune_plugins.driver.runner import Runner
        from tune_plugins.record.store import ExperimentStore
        from tune_plugins.results import ResultGrid

        tune, run = self._tune_config, self._run_config
        plan = self._check()
        plan.scheduler.cluster_resources = _sum(plan.nodes)
        plan.scheduler.trial_resources = dict(plan.shape.total)
        rules = rules_for(tune, run, plan.scheduler, plan.searcher, plan.space, plan.seed)
        if plan.cluster is None or (tune.max_resident_trials is None and "GPU" in plan.shape.total):
            # Inline there is no process to wait in; and a process that waits would keep its GPU from others.
            rules = replace(rules, max_resident_trials=0)
        thresholds, stopper = split_stop(run.stop)
        directory = experiment_directory(run, self._trainable.name)
        info = RunInfo(
            name=directory.name,
            path=str(directory),
            metric=rules.metric,
            mode=rules.mode,
            total_trials=rules.trial_limit,
            slots=plan.slots,
            resources=plan.shape.total,
            cluster=_sum(plan.nodes),
            time_budget_s=rules.time_budget_s,
            scheduler=type(plan.scheduler).__name__,
            searcher=type(plan.searcher).__name__,
            parameters=plan.space.parameters,
            max_iterations=_max_iterations(thresholds, plan.scheduler),
            seed=plan.seed,
        )
        with ExperimentStore.create(directory, {**asdict(info), "param_space": plan.space.to_json()}) as store:
            experiment = Experiment(plan.searcher, plan.scheduler, rules, stopper)
            make_job = JobMaker(experiment, store, directory, self._trainable.name, tune, run, thresholds)
            runtime = self._runtime(plan, make_job)
            display = run.progress_reporter or make_display(run.verbose)
            callbacks = [*([display] if display else []), *run.callbacks]
            runner = Runner(experiment, runtime, store, callbacks, info)
            runtime.attach(runner.turn)
            runner.run()
        self._results = ResultGrid(directory, metric=rules.metric, mode=rules.mode)
        self._raise_first_error()
        return self._results

    def _runtime(self, plan: _Plan, make_job: JobMaker) -> Runtime:
        if plan.cluster is None:
            from tune_plugins.driver.inline import InlineRuntime

            return InlineRuntime(self._trainable, make_job)
        from tune_plugins.driver.ray.runtime import RayRuntime

        return RayRuntime(
            plan.cluster,
            trainable=plan.pickled,
            parameters=plan.parameters,
            shape=self._shape_function(plan.shape),
            slots=plan.slots,
            fresh=not self._tune_config.reuse_actors,
            send_ahead=not (plan.searcher.reads_results or plan.scheduler.reads_results),
            make_job=make_job,
        )

    def get_results(self) -> ResultGrid:
        """The results of the last `fit`.

        Raises:
            TuneError: there was none.
        """
        if self._results is None:
            raise TuneError("get_results() before fit(): there are no results yet. Call fit() first.")
        return self._results

    def _raise_first_error(self) -> None:
        if self._run_config.failure_config.fail_fast == "raise" and self._results and self._results.num_errors:
            raise self._results.errors[0]

    # ---------------------------------------------------------------------------------- checks

    def _check(self) -> _Plan:
        """Everything that can be wrong, all at once; starts or joins Ray."""
        from tune_plugins.driver.ray.cluster import join_or_start, nodes
        from tune_plugins.space import Space

        tune, run = self._tune_config, self._run_config
        mistakes = Mistakes("Tuner")
        for name, given, kind in (("tune_config", tune, TuneConfig), ("run_config", run, RunConfig)):
            if not isinstance(given, kind):
                mistakes.add(f"{name}: expected a tune_plugins.{kind.__name__}, got {given!r}.")
        mistakes.raise_if_any()  # nothing else can be looked at
        mistakes.found += self._trainable.mistakes()
        space = Space(self._param_space if isinstance(self._param_space, (Mapping, type(None))) else None)
        if not isinstance(self._param_space, (Mapping, type(None))):
            mistakes.add(f"param_space: expected a dict of hyper-parameters, got {self._param_space!r}.")
        scheduler, searcher = check_run(tune, run, space, mistakes)
        if not any(m.startswith("storage_path") for m in mistakes.found):
            mistakes.found += storage_mistakes(run)
        seed = tune.seed if isinstance(tune.seed, int) else secrets.randbelow(2**31)
        if run.runtime == "inline":
            mistakes.raise_if_any()
            return _Plan(scheduler, searcher, space, b"", {}, None, [], shape_of(None), 1, seed)
        from tune_plugins.driver.ray.pickling import in_object_store, pickled

        data = b""
        if callable(self._trainable.function):
            try:
                data = pickled(self._trainable)
            except ArgumentError as error:
                mistakes.merge(error)
        if mistakes.found and self._trainable.resources is None:
            mistakes.raise_if_any()
        cluster = join_or_start()
        available = nodes()
        shape, slots = self._slots(mistakes, available)
        mistakes.raise_if_any()
        parameters = in_object_store(self._trainable)
        return _Plan(scheduler, searcher, space, data, parameters, cluster, available, shape, slots, seed)

    def _slots(self, mistakes: Mistakes, available: list[dict[str, float]]) -> tuple[Shape, int]:
        resources = self._trainable.resources
        if callable(resources):
            # What a trial takes is known with its config only; no more trials than CPUs at a time.
            shape = shape_of(None)
            most = max(1, int(sum(node.get("CPU", 0.0) for node in available)))
        else:
            try:
                shape = shape_of(resources)
            except ValueError:
                return shape_of(None), 0  # already among the mistakes
            most = fits(shape, available)
            if most == 0:
                mistakes.add(missing(shape, available))
        limit = self._tune_config.max_concurrent_trials
        return shape, most if limit is None else min(limit, most) if isinstance(limit, int) else most

    def _shape_function(self, default: Shape) -> Callable[[dict[str, Any]], Shape]:
        resources = self._trainable.resources
        if not callable(resources):
            return lambda config: default
        from tune_plugins.driver.ray.cluster import nodes

        def shape_for(config: dict[str, Any]) -> Shape:
            try:
                shape = shape_of(ask("the function given to with_resources", resources, config))
            except ValueError as error:
                raise ArgumentError("with_resources", [str(error)]) from error
            available = nodes()
            if not fits(shape, available):
                raise ArgumentError("with_resources", [missing(shape, available)])
            return shape

        return shape_for


@dataclass(frozen=True)
class _Plan:
    """Arguments of a run, found to be right."""

    scheduler: TrialScheduler
    searcher: Searcher
    space: Space
    pickled: bytes
    parameters: Mapping[str, Any]
    cluster: Cluster | None
    nodes: list[dict[str, float]]
    shape: Shape
    slots: int
    seed: int


def _max_iterations(thresholds: Mapping[str, float], scheduler: TrialScheduler) -> float | None:
    ends = [thresholds.get("training_iteration")]
    if scheduler.time_attr == "training_iteration":
        ends.append(getattr(scheduler, "max_t", None))
    known = [end for end in ends if end is not None]
    return min(known) if known else None


def _sum(nodes: list[dict[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for node in nodes:
        for name, amount in node.items():
            total[name] = total.get(name, 0.0) + amount
    return total
