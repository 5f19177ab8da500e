"""Counts what code does instead of how long it takes: the same on every machine, however busy it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def steps_of(function: Callable[[], Any]) -> int:
    """Lines of Python that a call executes, in all functions that it calls; work inside of C is part of one of them.

    Lines, not instructions: Python 3.12 does not tell all of those.
    """
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


class Watched(float):
    """A number whose comparisons and sums are lines of Python, so that C code which goes through many counts."""

    def __lt__(self, other: float) -> bool:
        return float(self) < float(other)

    def __le__(self, other: float) -> bool:
        return float(self) <= float(other)

    def __gt__(self, other: float) -> bool:
        return float(self) > float(other)

    def __ge__(self, other: float) -> bool:
        return float(self) >= float(other)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and float(self) == float(other)

    def __hash__(self) -> int:
        return hash(float(self))

    def __add__(self, other: float) -> Watched:
        return Watched(float(self) + float(other))

    __radd__ = __add__
