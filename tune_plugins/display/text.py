"""Short texts for people: numbers, durations, names and error messages, safe to show in a terminal."""

from __future__ import annotations

import math
import os
import re
import reprlib
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from typing import Any

from tune_plugins.core.ends import ErrorInfo

_LIBRARY = os.path.dirname(os.__file__)
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
"""ANSI escape sequences: CSI, OSC and two-character ones (ECMA-48, 5.4 and 5.6)."""


def clean(text: str, limit: int = 300) -> str:
    r"""One line without escape sequences or unprintable characters, at most `limit` characters.

    Of a line that was overwritten by carriage returns (a progress bar) the last state is kept.

    >>> clean("\x1b[31mred\x1b[0m")
    'red'
    """
    if text.isprintable() and len(text) <= limit:
        return text
    text = _ESCAPE.sub("", text[: 20 * limit]).rstrip()
    text = text[text.rfind("\r") + 1 :]
    text = "".join(c if c.isprintable() else " " for c in text.expandtabs(4))
    return cut(text, limit)


def cut(text: str, limit: int) -> str:
    """The text, or its beginning with an ellipsis where it is longer than `limit` characters."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"


def to_float(value: Any) -> float:
    """A metric as a number; NaN for anything that is none (None, text, missing)."""
    if isinstance(value, float):
        return float(value)
    try:
        return float(value) if not isinstance(value, str) else math.nan
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return math.nan


def short(value: Any, limit: int = 16) -> str:
    """A value for a cell of the table: four significant digits, at most `limit` characters.

    >>> short(0.000123456), short(1e9), short(True), short(float("-inf"))
    ('0.0001235', '1e+09', 'True', '-inf')
    """
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, Integral):
        whole = int(value)
        return str(whole) if abs(whole) < 10_000_000 else f"{whole:.4g}" if _fits(whole) else "huge"
    if isinstance(value, Real):
        return f"{float(value):.4g}"
    return cut(_described(value, limit), limit)


def exact(value: Any, limit: int = 200) -> str:
    """A value as one would write it in Python, at most `limit` characters."""
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, Integral):
        return str(int(value)) if _fits(int(value)) else "huge"
    if isinstance(value, Real):
        return repr(float(value))
    if isinstance(value, str):
        return clean(repr(value[: limit + 1]), limit)
    return _described(value, limit)


def metric_text(value: float) -> str:
    """A metric: four decimals where that says enough, else four significant digits.

    >>> metric_text(0.53123), metric_text(12345.678), metric_text(1.5e-6), metric_text(float("nan"))
    ('0.5312', '1.235e+04', '1.5e-06', 'nan')
    """
    if math.isfinite(value) and 0.01 <= abs(value) < 1000:
        return f"{value:.4f}"
    return f"{value:.4g}"


def _fits(value: int) -> bool:
    return value.bit_length() < 1000  # a float holds it, and str() of it is cheap


def _described(value: Any, limit: int) -> str:
    if isinstance(value, str):
        return clean(value, limit)
    if callable(value) and hasattr(value, "__name__"):
        return clean(str(value.__name__), limit)
    describe = reprlib.Repr()  # never walks a long container, and survives a __repr__ that raises
    describe.maxlevel, describe.maxother, describe.maxstring = 3, limit, limit
    return clean(describe.repr(value), limit)


def duration(seconds: float) -> str:
    """Seconds, minutes or hours.

    >>> duration(0.84), duration(45), duration(65), duration(7384)
    ('0.8s', '45s', '1m05s', '2h03m')
    """
    if not math.isfinite(seconds):
        return "?"
    seconds = max(seconds, 0.0)
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def rough_duration(seconds: float) -> str:
    """A duration no more precise than an estimate is.

    >>> rough_duration(43.2), rough_duration(250), rough_duration(4300)
    ('43 s', '4 min', '1 h 12 min')
    """
    if seconds < 99.5:
        return f"{max(round(seconds), 1)} s"
    minutes = max(round(seconds / 60), 1)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def count(number: int, noun: str) -> str:
    """A number and its noun.

    >>> count(1, "trial"), count(9980, "trial")
    ('1 trial', '9,980 trials')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def open_hint(path: str) -> str:
    """The Python expression that opens the results at `path`."""
    quoted = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'tune_plugins.ResultGrid("{quoted}")'


def leaves(config: Mapping[Any, Any], prefix: str = "", depth: int = 6) -> Iterator[tuple[str, Any]]:
    """Names and values of a nested config; names are joined by ``/``."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and depth:
            yield from leaves(value, f"{name}/", depth - 1)
        else:
            yield name, value


_FRAME = re.compile(r'^ +File "(.+)", line (\d+), in (.+)$', re.M)


def place_of(error: ErrorInfo) -> str:
    r"""Where in the user's own code it was raised: the innermost line outside of installed packages, if there is any.

    >>> place_of(ErrorInfo("E", "", 'Traceback:\n  File "/a/train.py", line 7, in train\n    x'))
    'train.py, line 7, in train'
    """
    frames = [found.groups() for found in _FRAME.finditer(error.traceback)]
    own = [f for f in frames if not any(part in f[0] for part in ("site-packages", "dist-packages", "tune_plugins"))]
    own = [f for f in own if os.path.dirname(f[0]) != _LIBRARY and not f[0].startswith(("<frozen", _LIBRARY + os.sep))]
    if not own:
        return ""
    file, number, function = own[-1]
    return clean(f"{os.path.basename(file)}, line {number}, in {function}", 120)


def error_lines(error: ErrorInfo, lines: int = 6) -> list[str]:
    """Type and message of an error, safe to show.

    >>> error_lines(ErrorInfo("ValueError", "no"))
    ['ValueError: no']
    """
    text = [line for line in str(error).splitlines() if line.strip()]
    found = [clean(line) for line in text[:lines]]
    if len(text) > lines:
        found[-1] = cut(found[-1], 290) + " …"
    return found or ["unknown error"]
