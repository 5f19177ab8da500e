"""Errors of user code as data."""

from __future__ import annotations

import os
import re
import time
import traceback

from tune_plugins.core.ends import EndCause, ErrorInfo
from tune_plugins.core.events import TrialErrored
from tune_plugins.space.jsonable import storable

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

# Of an error in another process, PyTorch (a worker of a DataLoader, a spawned rank, a replica) raises a new one whose
# message is the whole traceback; the error that the user wants to read is at its end.
_TOLD_BY_PYTORCH = re.compile(
    r"\s*(?:Caught \w+ in [^\n]*|-- Process \d+ terminated with the following error:)\n"
    r"(?=(?:Original )?Traceback \(most recent call last\):\n)"
)
_CHAINED = re.compile(
    r"\n\n(?:During handling of the above exception, another exception occurred"
    r"|The above exception was the direct cause of the following exception):\n\n(?=Traceback \()"
)
_LAST = re.compile(r"[^\n]*Traceback \(most recent call last\):\n(?:\s[^\n]*\n)*([\w.<>]+)(?:: (.*))?", re.DOTALL)

_MOST_PARTS, _DEEPEST = 1000, 100  # of an exception group; Python would print 15 parts and 10 levels


def errored(trial_id: str, error: BaseException, *, fatal: bool = False) -> TrialErrored:
    """The event that says that user code raised; `fatal`: a retry cannot help."""
    cause = EndCause.OUT_OF_MEMORY if _out_of_memory(error) else EndCause.FAILED
    return TrialErrored(time.time(), trial_id, as_data(error), fatal, cause)


def as_data(error: BaseException) -> ErrorInfo:
    """Type, message and traceback of an error, without the frames of this engine.

    Where it stands for one that was raised in another process, type and message are of that one; the traceback shows
    both.
    """
    try:
        frames = error.__traceback__
    except Exception:  # a property of the user's
        frames = None
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename.startswith(_HERE):
        frames = frames.tb_next
    kind, message = _told(error)
    try:
        printed = traceback.TracebackException(
            type(error), error, frames, compact=True, max_group_width=_MOST_PARTS, max_group_depth=_DEEPEST
        )
        text = "".join(printed.format()).strip()
    except Exception:  # an attribute of the user's that Python's own printing does not expect
        text = "".join([*traceback.format_tb(frames), f"{kind}: {message}"]).strip()
    return ErrorInfo(storable(kind), storable(message), storable(text))


def _told(error: BaseException) -> tuple[str, str]:
    """Name of the type, and message."""
    kind = type(error)
    if kind.__module__ == "ray.exceptions" and isinstance(cause := getattr(error, "cause", None), BaseException):
        return _told(cause)  # of a task that the trial started; the message would be all of its traceback
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    try:
        message = str(error)
    except Exception as broken:  # a user's __str__ may raise
        return name, f"<str() failed: {type(broken).__name__}>"
    if found := _TOLD_BY_PYTORCH.match(message):
        original = _CHAINED.split(message[found.end() :])[-1]
        if last := _LAST.match(original):
            return last[1], (last[2] or "").rstrip("\n")
    return name, message


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_out_of_memory, error.exceptions))
    # PyTorch's own is no MemoryError, and is not to be imported for this.
    return isinstance(error, MemoryError) or any(base.__name__ == "OutOfMemoryError" for base in type(error).__mro__)
