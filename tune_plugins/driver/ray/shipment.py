"""What a run sends to its workers, and of which kind they can be: forked processes, or Ray actors."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from tune_plugins.arguments import Mistakes
from tune_plugins.driver.code import holds_ray, reach, snapshot
from tune_plugins.driver.ray.connecting import CPUS_VARIABLE
from tune_plugins.driver.ray.nodes import open_on
from tune_plugins.driver.ray.pickling import HoldsRay, Pickled, in_object_store, packed_parameters, pickled
from tune_plugins.driver.ray.preloading import Preloading, RemotePreloading, version_of
from tune_plugins.driver.ray.workers import Environment, Kind, threads_of
from tune_plugins.driver.resources import Shape
from tune_plugins.driver.trial_function import TrialFunction
from tune_plugins.errors import ArgumentError
from tune_plugins.worker.agent import Agent
from tune_plugins.worker.cargo import Cargo, Packed
from tune_plugins.worker.orders import Preload
from tune_plugins.worker.setting import Setting

logger = logging.getLogger(__name__)


class Shipment:
    """The training function with all that it needs.

    Args:
        trainable: as the user gave it.
        workers: "auto", or "actors": nothing is forked.
        mistakes: of the arguments so far; those of the trainable are added.

    Attributes:
        actors: why all workers are Ray actors; empty: they are not.
    """

    def __init__(self, trainable: TrialFunction, workers: str, mistakes: Mistakes) -> None:
        self._trainable = trainable
        found = reach(trainable.entry)
        ray = found.ray or ("it is given something of Ray's" if holds_ray(trainable.parameters) else "")
        self._pickled = Pickled()
        if callable(trainable.function):
            try:
                self._pickled = pickled(trainable, reaches_ray=bool(ray))
            except HoldsRay as error:
                ray = str(error)
                self._pickled = pickled(trainable, reaches_ray=True)
            except ArgumentError as error:
                mistakes.merge(error)
        # What the script has not imported may never be needed, or after an environment variable is set that it goes by.
        inside = () if found.environ else tuple(name for name in found.imports if name in sys.modules)
        self._packed: dict[str, Packed] = {}
        needed = self._pickled.modules
        if not (ray or workers == "actors"):
            try:
                self._packed, more = packed_parameters(trainable)
                needed += more
            except HoldsRay as error:
                ray = str(error)
                self._pickled = pickled(trainable, reaches_ray=True)
            except ArgumentError as error:
                mistakes.merge(error)
        self._modules = _in_order(needed, inside)
        self._setting = Setting.here(snapshot(found.imports))
        self._version = version_of(self._setting.snapshot)
        self._preloadings: dict[int, Preloading] = {}
        self._remote: dict[tuple[str, int], Preloading] = {}
        self._cargo: Cargo | None = None
        self._references: dict[str, Any] | None = None
        self.actors = ""
        self._environment: Environment | None = None
        if workers == "actors":
            self.use_actors("RunConfig(workers='actors')")
        elif ray:
            self.use_actors(f"the training function has to do with Ray: {ray}")

    def use_actors(self, why: str) -> None:
        """All workers are Ray actors from now on."""
        if not self.actors:
            self.actors = why
            logger.debug("trials run in Ray actors: %s", why)

    def set_environment(self, runtime_env: Mapping[str, Any]) -> None:
        """Workers are actors with this environment, which only Ray can make."""
        self.use_actors("RunConfig(runtime_env=...)")
        self._environment = Environment(runtime_env)
        if runtime_env.get("working_dir"):
            self.stay_in_directory()

    def stay_in_directory(self) -> None:
        """Workers stay where Ray puts them: there is the package that the user has chosen for that."""
        self._setting = replace(self._setting, directory="")

    def kind(self, shape: Shape, config: Mapping[str, Any], *, for_ray: bool = False) -> Kind:
        """Of which kind the worker of a trial has to be; `for_ray`: its config has to do with Ray."""
        forked = not (self.actors or for_ray or only_actors(shape) or holds_ray(config))
        code = self.preloading(shape).label if forked else (self._version, self._setting.directory == "")
        return Kind(shape, code, forked, self._environment)

    # --------------------------------------------------------------------------------- forked processes

    def preloading(self, shape: Shape) -> Preloading:
        """That for workers of a shape on this node, which begins to import when it is first asked for."""
        threads = threads_of(shape)
        if threads not in self._preloadings:
            setting = replace(self._setting, environ=_environment(threads))
            self._preloadings[threads] = Preloading(self._modules, self._version, setting)
        return self._preloadings[threads]

    def preloading_on(self, node: str, shape: Shape, relay: Callable[[], Any]) -> Preloading:
        """That for workers of a shape on another node; `relay`: gives the handle of the `Relay`."""
        threads = threads_of(shape)
        if (node, threads) not in self._remote:
            environ = {"OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}

            def open_there(preload: Preload, label: object) -> Agent:
                return open_on(node, preload, environ, self.for_actors(), relay(), label)

            self._remote[node, threads] = RemotePreloading(self._modules, self._version, self._setting, open_there)
        return self._remote[node, threads]

    @property
    def here(self) -> list[Preloading]:
        """Those on this node so far."""
        return list(self._preloadings.values())

    @property
    def preloadings(self) -> list[Preloading]:
        """All of them so far."""
        return [*self._preloadings.values(), *self._remote.values()]

    def drop_troubled(self) -> dict[str, str]:
        """Forget preloading processes on other nodes that are of no use; returns {id of the node: why}."""
        troubled = {key: each.trouble for key, each in self._remote.items() if each.trouble}
        for key in troubled:
            self._remote.pop(key).close()
        return {node: trouble for (node, _), trouble in troubled.items()}

    def load(self) -> None:
        """Put the large arguments where workers find them, those of the kind that is known by now.

        Raises:
            ArgumentError: names those that cannot be pickled.
        """
        if self.actors:
            self.for_actors()
        else:
            logger.debug("trials run in processes that are forked from one which has imported what they need")
            self._cargo = Cargo(self._pickled.data, self._packed, self._setting)
        self._packed = {}

    @property
    def cargo(self) -> str:
        """Path of the `Cargo`, for forked processes."""
        return "" if self._cargo is None else self._cargo.path

    # ----------------------------------------------------------------------------------- actors

    def for_actors(self) -> tuple[bytes, Mapping[str, Any], Setting]:
        """The pickled training function, references of its large arguments, and the setting.

        Raises:
            ArgumentError: names arguments that cannot be pickled.
        """
        if self._references is None:
            self._references = in_object_store(self._trainable)
        return self._pickled.data, self._references, self._setting

    def close(self) -> None:
        """The run is over."""
        for preloading in self.preloadings:
            preloading.close()
        if self._cargo is not None:
            self._cargo.close()


def only_actors(shape: Shape) -> str:
    """Why a trial of this shape needs a Ray actor; empty: it does not."""
    if len(shape.bundles) > 1:
        return "a trial has several bundles of resources"
    if any(name == "GPU" for name, _ in shape.bundles[0]):
        return "Ray assigns its GPUs"
    return ""


def _in_order(known: Collection[str], inside: tuple[str, ...]) -> tuple[str, ...]:
    """Modules in the order in which the driver has imported them, which may matter; then those of functions."""
    loaded = [name for name in list(sys.modules) if name in known]
    return tuple(dict.fromkeys((*loaded, *inside)))


def _environment(threads: int) -> dict[str, str]:
    """Environment variables of forked processes: the driver's, and those that Ray sets for its workers."""
    environ = dict(os.environ)
    environ["OMP_NUM_THREADS"] = environ[CPUS_VARIABLE] = str(threads)
    if environ.get("PYTHONBREAKPOINT", "").startswith("ray."):  # Ray sets it where it is started
        del environ["PYTHONBREAKPOINT"]
    if environ.get("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO") != "0":
        environ["CUDA_VISIBLE_DEVICES"] = ""  # they have asked for none
    return environ
