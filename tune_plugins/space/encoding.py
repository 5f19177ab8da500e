"""Search spaces and configs as JSON: domains, tuples, odd keys, NumPy scalars and non-finite numbers survive.

Of any other object its repr is kept, never a pickle: what is read back is a `NotInRecord` in its place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from tune_plugins.errors import TuneError
from tune_plugins.space.jsonable import DEPTH_LIMIT, describe

DOMAIN_TYPES: dict[str, type[Any]] = {}
"""Kind of domain, as written under ``$domain``, to its class; `tune_plugins.space.domains` fills it."""

_MOST_ELEMENTS = 1000  # of an array; a larger one is data rather than a hyper-parameter
_AS_THEY_ARE = frozenset({str, int, bool, type(None)})


@dataclass(frozen=True, slots=True, repr=False)
class NotInRecord:
    """Stands for a class, a function or another object that JSON cannot hold, after it was read back.

    It prints as the object did, and stand-ins of equal text are equal. Whatever else is done with it raises an error
    that says so.

    >>> layer = NotInRecord("<class 'my.Layer'>")
    >>> layer, layer == NotInRecord("<class 'my.Layer'>")
    (<class 'my.Layer'>, True)
    """

    text: str

    def __repr__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[type[NotInRecord], tuple[str]]:
        return NotInRecord, (self.text,)

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        """Tell that it is none.

        Raises:
            TuneError: always.
        """
        raise TuneError(self._told("it cannot be called"))

    def __getattr__(self, name: str) -> NoReturn:
        # An AttributeError, by which copy, pickle, pandas and NumPy learn that it has none of their special methods.
        raise AttributeError(self._told(f"it has no attribute {name!r}"))

    def _told(self, what: str) -> str:
        return (
            f"{self.text}: {what}. This value was read from the record of an experiment, which holds plain values, and "
            "only the text of any other. Take the value that this text tells of from your own code."
        )


def encode(value: Any, depth: int = 0) -> Any:
    """`value` in terms of JSON. Dicts with a single key that starts with ``$`` carry what JSON lacks.

    >>> encode({"size": (1, 2)})
    {'size': {'$tuple': [1, 2]}}
    """
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if kind in DOMAIN_TYPES.values():
        return value.to_json()
    if depth < DEPTH_LIMIT:
        if isinstance(value, Mapping):
            if all(isinstance(key, str) and not key.startswith("$") for key in value):
                return {key: encode(item, depth + 1) for key, item in value.items()}
            return {"$dict": [[encode(key, depth + 1), encode(item, depth + 1)] for key, item in value.items()]}
        if isinstance(value, list):
            return [encode(item, depth + 1) for item in value]
        if isinstance(value, tuple):
            return {"$tuple": [encode(item, depth + 1) for item in value]}
    if _is_small_array(value):
        return {"$numpy": [value.dtype.str, encode(value.tolist(), depth + 1)]}
    if isinstance(value, str):  # a member of a StrEnum, and below of an IntEnum, equals such a value
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return encode(float.__float__(value))
    found = describe(value)
    return {"$repr": found["__repr__"]} if isinstance(found, dict) else encode(found)


def decode(data: Any) -> Any:
    """The inverse of `encode`, but for objects known by their repr only: those come back as `NotInRecord`.

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
        case "$numpy":
            dtype, value = data[mark]
            return _numpy(dtype, decode(value))
        case "$repr":
            return NotInRecord(data[mark])
    raise ValueError(f"expected a search space as JSON, got the unknown mark {mark}: {data[mark]!r}")


def _is_small_array(value: Any) -> bool:
    """Of numbers or text; a scalar of NumPy is one, too."""
    dtype = getattr(value, "dtype", None) if type(value).__module__ == "numpy" else None
    if dtype is None or getattr(value, "size", math.inf) > _MOST_ELEMENTS:  # a finfo has a type and no size
        return False
    return dtype.kind == "U" or (dtype.kind in "biuf" and dtype.itemsize <= 8)


def _numpy(dtype: str, value: Any) -> Any:
    try:
        import numpy
    except ImportError:  # whoever reads here has the plain number, or list of them
        return value
    return numpy.array(value, dtype)[()]  # of no dimension: the scalar
