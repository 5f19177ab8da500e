"""The benchmarks, one module each, found by `discover`.

A module defines ``BENCHMARK`` and the work functions that its jobs name. It is imported by the Python of every side,
so at its top it imports nothing but the standard library and `benchmarks`.
"""

from __future__ import annotations

import importlib
import pkgutil

from benchmarks.registry import Benchmark


def discover() -> dict[str, Benchmark]:
    """All benchmarks in `benchmarks.suite` by name, in the order of their modules' names."""
    found: dict[str, Benchmark] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        benchmark: Benchmark = importlib.import_module(f"{__name__}.{module.name}").BENCHMARK
        if benchmark.name in found:
            raise ValueError(f"two benchmarks are named {benchmark.name!r}; give one another name.")
        found[benchmark.name] = benchmark
    return found
