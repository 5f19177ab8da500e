"""Comparing metrics: what counts as a value, and which trial is best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

from tune_plugins.core.metrics import Mode, Scope

SCOPES: tuple[Scope, ...] = get_args(Scope)

_WINDOWS = {"last": 1, "avg": None, "last-5-avg": 5, "last-10-avg": 10}


def number(value: Any) -> float | None:
    """`value` as a float, infinities included; None for NaN and what is no number."""
    if not isinstance(value, (int, float)):
        return None
    try:
        as_float = float(value)
    except OverflowError:  # a whole number beyond all floats
        return math.inf if value > 0 else -math.inf
    return None if math.isnan(as_float) else as_float


def finite(value: Any) -> float | None:
    """`value` as a finite float, or None."""
    as_float = number(value)
    return as_float if as_float is not None and math.isfinite(as_float) else None


def scope_score(values: Sequence[Any], scope: Scope, mode: Mode, *, allow_infinite: bool = False) -> float | None:
    """What a trial with these values of a metric, in order, is judged by; None: it can never be best.

    A mean over a window that holds something unusable is unusable: a diverged trial must not win by what is left.
    """
    if scope == "all":
        usable = [v for v in map(number if allow_infinite else finite, values) if v is not None]
        return (min(usable) if mode == "min" else max(usable)) if usable else None
    window = _WINDOWS[scope]
    chosen = [(number if allow_infinite else finite)(v) for v in (values if window is None else values[-window:])]
    usable = [v for v in chosen if v is not None]
    if not usable or len(usable) < len(chosen):
        return None
    return number(math.fsum(usable) / len(usable)) if all(map(math.isfinite, usable)) else number(sum(usable))


def best_index(scores: Sequence[float | None], mode: Mode) -> int | None:
    """Index of the best score, the first of equals; None if there is none."""
    ranked = [(score if mode == "min" else -score, i) for i, score in enumerate(scores) if score is not None]
    return min(ranked)[1] if ranked else None
