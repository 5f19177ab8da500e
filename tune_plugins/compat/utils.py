"""Small helpers that scripts for Ray Tune import from ``ray.tune.utils``."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from enum import IntEnum
from typing import Any

__all__ = ["Verbosity", "flatten_dict", "merge_dicts"]


class Verbosity(IntEnum):
    """Values of ``RunConfig(verbose=...)`` by Ray Tune's names."""

    V0_MINIMAL = 0
    V1_EXPERIMENT = 1
    V2_TRIAL_NORM = 2
    V3_TRIAL_DETAILS = 3


def flatten_dict(dt: Mapping[str, Any], delimiter: str = "/") -> dict[str, Any]:
    """The values of nested dicts by their joined keys.

    >>> flatten_dict({"a": {"b": 1}, "c": 2})
    {'a/b': 1, 'c': 2}
    """
    found: dict[str, Any] = {}
    for key, value in dt.items():
        if isinstance(value, Mapping) and value:
            found |= {f"{key}{delimiter}{inner}": each for inner, each in flatten_dict(value, delimiter).items()}
        else:
            found[str(key)] = value
    return found


def merge_dicts(d1: Mapping[str, Any], d2: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `d1` with the values of `d2`, where both are nested dicts of these.

    >>> merge_dicts({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}, "d": 4})
    {'a': {'b': 3, 'c': 2}, 'd': 4}
    """
    merged: dict[str, Any] = deepcopy(dict(d1))
    for key, value in d2.items():
        inner = merged.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        merged[key] = merge_dicts(inner, value) if both else deepcopy(value)  # type: ignore[arg-type]
    return merged
