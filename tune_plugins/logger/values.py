"""What of a result and a config loggers can show: numbers, JSON without NaN, text."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from tune_plugins.space.jsonable import describe, to_plain
from tune_plugins.space.nested import flatten

FACTS = frozenset(
    ("config", "pid", "hostname", "node_ip", "date", "timestamp", "trial_id", "experiment_id", "experiment_tag", "done")
)
"""What a result says of the trial and the machine, beside what was reported."""


def reported(result: Mapping[str, Any], without: Collection[str] = FACTS) -> dict[str, Any]:
    """What was reported, nested names joined by ``/``."""
    return flatten({name: value for name, value in result.items() if name not in without})


def numbers(flat: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among some values, also truth values as 0 and 1; NaN and infinities too."""
    return {name: float(value) for name, value in flat.items() if isinstance(value, (bool, int, float))}


def changed(config: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Flat hyper-parameters that have another value than before, as after an exploit."""
    if config is before:
        return {}
    old, missing = flatten(before), object()
    return {name: value for name, value in flatten(config).items() if text(value) != text(old.get(name, missing))}


def text(value: Any) -> str:
    """A value as text: text as it is, other values as JSON."""
    return value if isinstance(value, str) else to_json(value)


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON as the standard has it: NaN and infinities become null, what JSON does not know is described."""
    encode = _strict(indent).encode
    try:
        return encode(value)
    except (TypeError, ValueError, RecursionError):  # NaN, keys that are no text, cycles, very deep nesting
        return encode(_finite(to_plain(value)))


@cache
def _strict(indent: int | None) -> json.JSONEncoder:
    return json.JSONEncoder(allow_nan=False, check_circular=False, default=describe, indent=indent)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
