"""Names of trials and of their folders: which text fits into a path, and how hyper-parameters become a short word."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tune_plugins.errors import TuneError

_UNFIT = re.compile(r"[^A-Za-z0-9._=,+@-]+")
_LONGEST = 100  # characters: Windows counts whole paths, and 260 are all of it


def as_file_name(text: str, end: str = "") -> str:
    """The text as the name of a file or folder, on every system: other characters become ``_``, too long a one is cut.

    Args:
        text: any.
        end: what the name ends with; of characters that fit.

    >>> as_file_name("lr=1e-3 / Adam")
    'lr=1e-3_Adam'
    >>> as_file_name("..")
    '_'
    """
    name = _UNFIT.sub("_", text)[: _LONGEST - len(end)]
    return (name if name.strip("._") else "_") + end


def ask(what: str, function: Callable[[Any], Any], argument: Any) -> Any:
    """Call a function of the user's.

    Raises:
        TuneError: it raised.
    """
    try:
        return function(argument)
    except Exception as error:
        raise TuneError(f"{what} raised {type(error).__name__}: {error}") from error


def tag(number: int, parameters: Mapping[str, Any]) -> str:
    """The number of a trial and its hyper-parameters in one word that fits into the name of a file.

    >>> tag(3, {"lr": 0.0123456, "net/depth": 4, "act": "relu"})
    '3_lr=0.01235,depth=4,act=relu'
    """
    parts = [f"{name.rpartition('/')[2]}={_short(value)}" for name, value in parameters.items()]
    return as_file_name("_".join([str(number), ",".join(parts)]) if parts else str(number))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:20]
