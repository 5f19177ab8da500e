"""Optuna's samplers by name, and what has to be known of them: where their random numbers come from, what they keep."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from random import Random
from typing import Any

__all__ = ["NAMES", "founders", "generators", "is_stateless", "named", "reseed"]

NAMES = ("tpe", "gp", "cmaes", "nsgaii", "qmc", "random")


def named(optuna: Any, name: str, seed: int) -> Any:
    """A new sampler; `seed` is of a sequence that all of its draws are from, others are to be seeded by `reseed`."""
    samplers = optuna.samplers
    tpe = partial(_made, samplers.TPESampler, constant_liar=True)
    # What these leave to another sampler, TPE does better than the random draws of Optuna's defaults.
    helped: dict[str, Any] = {"independent_sampler": tpe(), "warn_independent_sampling": False}
    match name:
        case "gp":
            return _made(samplers.GPSampler, **helped)
        case "cmaes":
            return _made(samplers.CmaEsSampler, **helped)
        case "nsgaii":
            return _made(samplers.NSGAIISampler)
        case "qmc":
            return _made(samplers.QMCSampler, scramble=True, seed=seed, warn_independent_sampling=False)
        case "random":
            return _made(samplers.RandomSampler)
    return tpe()


def _made(kind: Callable[..., Any], **options: Any) -> Any:
    """A sampler, with the options that this version of Optuna knows."""
    known = inspect.signature(kind).parameters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(**{name: value for name, value in options.items() if name in known})


def generators(sampler: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """All generators of random numbers of a sampler, with those of samplers inside of it."""
    seen = set() if seen is None else seen
    for value in getattr(sampler, "__dict__", {}).values():
        for each in value if isinstance(value, (list, tuple)) else [value]:
            if id(each) in seen:
                continue
            seen.add(id(each))
            if isinstance(each, Random) or type(each).__module__.startswith("numpy.random"):
                yield each
            elif type(each).__name__ == "LazyRandomState":
                yield each.rng
            elif hasattr(each, "sample_independent"):
                yield from generators(each, seen)


def reseed(sampler: Any, sources: Iterable[Any], random: Random) -> None:
    """Make what a sampler draws next a function of `random`, and of what its study holds.

    Args:
        sampler: of a study.
        sources: its `generators`.
        random: a fresh generator.
    """
    for source in sources:
        _seed(source, random.getrandbits(32))
    # Where the last fit of a Gaussian process ended would make the next one depend on how often the sampler was asked.
    for name in ("_gprs_cache_list", "_constraints_gprs_cache_list"):
        if hasattr(sampler, name):
            setattr(sampler, name, None)


def _seed(generator: Any, seed: int) -> None:
    if hasattr(generator, "seed"):  # of Python, or a RandomState
        generator.seed(seed)
    elif hasattr(generator, "bit_generator"):
        generator.bit_generator.state = type(generator.bit_generator)(seed).state


def is_stateless(sampler: Any) -> bool:
    """Whether all that a sampler knows of its earlier suggestions is in the parameters of the trials."""
    if type(sampler).__name__ not in ("RandomSampler", "TPESampler", "GPSampler") or getattr(sampler, "_group", False):
        return False
    return all(is_stateless(value) for value in vars(sampler).values() if hasattr(value, "sample_independent"))


def founders(sampler: Any) -> dict[str, Any]:
    """Attributes of a trial that a sampler has not suggested, by which it takes part in its evolution all the same."""
    key = getattr(sampler, "_get_generation_key", None)
    return {} if key is None else {key(): 0}
