"""Search spaces as JSON: domains, tuples, odd keys and non-finite numbers survive, other objects become their repr."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

DOMAIN_TYPES: dict[str, type[Any]] = {}
"""Kind of domain, as written under ``$domain``, to its class; `tune_plugins.space.domains` fills it."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """Stands for an object that is not JSON after a space was read back: only its repr is known."""

    text: str

    def __repr__(self) -> str:
        return self.text


def encode(value: Any) -> Any:
    """`value` in terms of JSON. Dicts with a single key that starts with ``$`` carry what JSON lacks.

    >>> encode({"size": (1, 2)})
    {'size': {'$tuple': [1, 2]}}
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, (bool, int)):
        return value
    if type(value) in DOMAIN_TYPES.values():
        return value.to_json()
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: encode(item) for key, item in value.items()}
        return {"$dict": [[encode(key), encode(item)] for key, item in value.items()]}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, tuple):
        return {"$tuple": [encode(item) for item in value]}
    return {"$repr": repr(value)}


def decode(data: Any) -> Any:
    """The inverse of `encode`, but for objects known by their repr only: those come back as `Opaque`.

    Raises:
        ValueError: a ``$`` mark that this version does not know.
    """
    if isinstance(data, list):
        return [decode(item) for item in data]
    if not isinstance(data, dict):
        return data
    mark = next((key for key in data if key.startswith("$")), None)
    match mark:
        case None:
            return {key: decode(item) for key, item in data.items()}
        case "$domain" if data[mark] in DOMAIN_TYPES:
            return DOMAIN_TYPES[data[mark]].from_json(data)
        case "$float":
            return float(data[mark])
        case "$tuple":
            return tuple(decode(item) for item in data[mark])
        case "$dict":
            return {decode(key): decode(item) for key, item in data[mark]}
        case "$repr":
            return Opaque(data[mark])
    raise ValueError(f"expected a search space as JSON, got the unknown mark {mark}: {data[mark]!r}")
