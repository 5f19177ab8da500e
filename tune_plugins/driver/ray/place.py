"""The cluster that a run on Ray has, and whether its trainable can get there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tune_plugins.arguments import Mistakes, is_whole
from tune_plugins.core.names import ask
from tune_plugins.driver.ray.cluster import find, runtime_env_of_job
from tune_plugins.driver.ray.pool import pool_for
from tune_plugins.driver.ray.runtime import RayRuntime
from tune_plugins.driver.ray.shipment import Shipment, only_actors
from tune_plugins.driver.ray.slots import needs_ray
from tune_plugins.driver.resources import PlacementGroupFactory, Resources, Shape, fits, missing, shape_of
from tune_plugins.driver.runtime import RESIDENTS, Place, Task
from tune_plugins.driver.trial_function import TrialFunction
from tune_plugins.errors import ArgumentError


class RayPlace(Place):
    """A running Ray, or a small local one that is started where something needs it.

    Args:
        trainable: what is to be run there.
        max_concurrent_trials: at most so many trials at a time; None: as many as fit.
        workers: "auto", or "actors": no process is forked.
        runtime_env: Ray's environment for workers.
        mistakes: of the arguments so far; those of the trainable are added.

    Raises:
        ArgumentError: lists all mistakes.
        TuneError: Ray cannot be reached or started.
    """

    def __init__(
        self,
        trainable: TrialFunction,
        max_concurrent_trials: int | None,
        workers: str,
        runtime_env: Mapping[str, Any] | None,
        mistakes: Mistakes,
    ) -> None:
        self._trainable = trainable
        self._shipment = Shipment(trainable, workers, mistakes)
        if runtime_env:
            self._shipment.set_environment(runtime_env)
        try:
            self._settle(max_concurrent_trials, mistakes)
            self._shipment.load()
        except BaseException:
            self._shipment.close()
            raise

    def _settle(self, max_concurrent_trials: int | None, mistakes: Mistakes) -> None:
        """Find out what there is, starting Ray where that is needed for it."""
        trainable, shipment = self._trainable, self._shipment
        if mistakes.found and trainable.resources is None:
            mistakes.raise_if_any()
        asked = _shape(trainable.resources)
        ask_ray = asked is None or needs_ray(asked)
        if asked is not None and (why := only_actors(asked)):
            shipment.use_actors(why)
        if asked is not None and not (shipment.actors or mistakes.found):
            preloading = shipment.preloading(asked)  # it imports while Ray starts
            if preloading.trouble:
                shipment.use_actors(preloading.trouble)
        self._ray = find(needs_ray=bool(shipment.actors or ask_ray))
        if self._ray.up and not self._ray.ours and (job := runtime_env_of_job()):
            shipment.use_actors("ray.init was given a runtime_env")
            if job.get("working_dir"):
                shipment.stay_in_directory()
        available = self._ray.nodes
        self._shape, self.slots = _slots(trainable, max_concurrent_trials, mistakes, available)
        mistakes.raise_if_any()
        self.resources = self._shape.total
        self.cluster = _sum(available)
        kind = shipment.kind(self._shape, {})
        self.cold = not kind.forked and pool_for(self._ray).count(kind) <= self.slots

    def residents(self, asked: int | None) -> int:
        """With GPUs none unless asked for: a process that waits would keep its GPU from others."""
        if asked is not None:
            return asked
        return 0 if "GPU" in self._shape.total else RESIDENTS

    def open(self, task: Task) -> RayRuntime:
        """The runtime of one run."""
        return RayRuntime(
            self._ray,
            shipment=self._shipment,
            shape=self._shape_function(),
            slots=self.slots,
            fresh=task.fresh,
            report_timeout_s=task.report_timeout_s,
            send_ahead=not task.results_matter,
            make_job=task.make_job,
        )

    def request_of(self, config: dict[str, Any]) -> PlacementGroupFactory:
        """See `Place.request_of`."""
        shape = self._shape_function()(config)
        return PlacementGroupFactory([dict(bundle) for bundle in shape.bundles], shape.strategy)

    def close(self) -> None:
        """See `Place.close`."""
        self._shipment.close()

    def _shape_function(self) -> Callable[[dict[str, Any]], Shape]:
        resources = self._trainable.resources
        if not callable(resources):
            return lambda config: self._shape

        def shape_for(config: dict[str, Any]) -> Shape:
            try:
                shape = shape_of(ask("the function given to with_resources", resources, config))
            except ValueError as error:
                raise ArgumentError("with_resources", [str(error)]) from error
            if needs_ray(shape):
                self._ray.start()
            available = self._ray.nodes
            if not fits(shape, available):
                raise ArgumentError("with_resources", [missing(shape, available)])
            return shape

        return shape_for


def _shape(resources: Resources) -> Shape | None:
    """The shape of each trial; None: not known before its config is, or wrong."""
    if callable(resources):
        return None
    try:
        return shape_of(resources)
    except ValueError:
        return None  # already among the mistakes


def _slots(
    trainable: TrialFunction, limit: int | None, mistakes: Mistakes, available: list[dict[str, float]]
) -> tuple[Shape, int]:
    resources = trainable.resources
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
    return shape, min(int(limit), most) if limit is not None and is_whole(limit) else most


def _sum(nodes: list[dict[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for node in nodes:
        for name, amount in node.items():
            total[name] = total.get(name, 0.0) + amount
    return total
