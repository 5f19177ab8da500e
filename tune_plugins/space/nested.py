"""Nested configs as flat ones and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flatten(config: Mapping[Any, Any], sep: str = "/") -> dict[str, Any]:
    """Nested dicts as one flat dict whose keys are joined by `sep`. Lists and empty dicts are leaves.

    >>> flatten({"model": {"lr": 0.1, "layers": [8, 8]}, "epochs": 3})
    {'model/lr': 0.1, 'model/layers': [8, 8], 'epochs': 3}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            for name, leaf in flatten(value, sep).items():
                flat[f"{key}{sep}{name}"] = leaf
        else:
            flat[str(key)] = value
    return flat


def unflatten(flat: Mapping[str, Any], sep: str = "/") -> dict[str, Any]:
    """The inverse of `flatten`.

    Raises:
        ValueError: a name is a value and also the beginning of another name (``a`` beside ``a/b``).

    >>> unflatten({"model/lr": 0.1, "epochs": 3})
    {'model': {'lr': 0.1}, 'epochs': 3}
    """
    config: dict[str, Any] = {}
    made = {id(config)}  # the dicts made here; a dict that came in as a value is not to be written into
    for name, value in flat.items():
        *parents, last = name.split(sep)
        place = config
        for part in parents:
            if part not in place:
                place[part] = {}
                made.add(id(place[part]))
            place = place[part]
            if id(place) not in made:
                raise ValueError(f"{name!r} cannot stand beside {part!r}, which is a value. Rename one of them.")
        if last in place:
            raise ValueError(f"{name!r} is both a value and the beginning of other names. Rename one of them.")
        place[last] = value
    return config


def copy_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the nested dicts; the values in them are shared."""
    return {key: copy_of(value) if isinstance(value, Mapping) else value for key, value in config.items()}
