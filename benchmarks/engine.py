"""A tuning engine as a benchmark sees it: the same calls for ours and for Ray Tune.

Both have the same public names, so a work function is written once and does the same on either side.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

OURS = "tune_plugins"
CORES = 2
"""CPU cores that every job is held to, and trials that run at a time."""


@dataclass(frozen=True)
class Fit:
    """One `Tuner.fit()`: how long that call took, in seconds, and its `ResultGrid`."""

    wall_s: float
    grid: Any


@dataclass
class Engine:
    """One side of a comparison.

    Attributes:
        package: import name, "tune_plugins" or "ray.tune"; empty on the bare side.
        storage: an empty folder for this job, on the disk that holds the checkout.
        adapters: module of the adapter by framework.
        distributions: whose versions the results page names.
    """

    package: str
    storage: Path
    adapters: Mapping[str, str] = field(default_factory=dict)
    distributions: tuple[str, ...] = ()

    @property
    def tune(self) -> ModuleType:
        """The engine's package, imported on use."""
        return importlib.import_module(self.package)

    @property
    def schedulers(self) -> ModuleType:
        """The engine's schedulers."""
        return importlib.import_module(f"{self.package}.schedulers")

    def adapter(self, framework: str) -> ModuleType:
        """The module with the engine's callbacks for a framework, e.g. "xgboost"."""
        return importlib.import_module(self.adapters[framework])

    def versions(self) -> dict[str, str]:
        """Versions of the packages that matter, of those installed."""
        found = {}
        for name in self.distributions:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return found

    @contextmanager
    def cluster(self) -> Iterator[None]:
        """A local Ray of `CORES` CPUs, the same on both sides; starting it is no part of any figure.

        Ours starts it by itself in the first fit, which only warms up, with the CPUs that this process is held to:
        workers stay warm between two fits only on a Ray that the package has started.
        """
        if self.package == OURS:
            try:
                yield
            finally:
                self.tune.shutdown()
            return
        import ray

        ray.init(num_cpus=CORES, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        try:
            yield
        finally:
            ray.shutdown()

    def fit(
        self,
        trainable: Callable[[dict[str, Any]], Any],
        space: Mapping[str, Any],
        *,
        trials: int,
        iterations: int,
        samples: int = 1,
        options: Mapping[str, Any] | None = None,
        stop: Any = None,
        concurrent: int | None = CORES,
        run: Mapping[str, Any] | None = None,
    ) -> Fit:
        """Tune, time the call of `Tuner.fit` alone, and check that the work was done.

        Args:
            trainable: the training function.
            space: `param_space`.
            trials: number of trials that must come of it.
            iterations: number of reports that each trial must have made; 0: not checked (early stopping).
            samples: `num_samples`.
            options: further arguments of `TuneConfig`.
            stop: `RunConfig.stop`.
            concurrent: `max_concurrent_trials`; None: as many as there are CPUs.
            run: further arguments of `RunConfig`.

        Raises:
            RuntimeError: a trial failed, or there are fewer trials or reports than asked for.
        """
        tune = self.tune
        tuner = tune.Tuner(
            trainable,
            param_space=dict(space),
            tune_config=tune.TuneConfig(num_samples=samples, max_concurrent_trials=concurrent, **(options or {})),
            run_config=tune.RunConfig(storage_path=str(self.storage), verbose=0, stop=stop, **(run or {})),
        )
        start = time.perf_counter()
        grid = tuner.fit()
        wall_s = time.perf_counter() - start
        if grid.errors:
            raise RuntimeError(f"{len(grid.errors)} of {trials} trials failed, the first with: {grid.errors[0]}")
        if len(grid) != trials:
            raise RuntimeError(f"expected {trials} trials, got {len(grid)}.")
        reports = {result.metrics["training_iteration"] for result in grid}
        if iterations and reports != {iterations}:
            raise RuntimeError(f"expected {iterations} reports of every trial, got {sorted(reports)}.")
        return Fit(wall_s, grid)
