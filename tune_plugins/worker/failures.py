"""Errors of user code as data."""

from __future__ import annotations

import os
import time
import traceback

from tune_plugins.core.ends import EndCause, ErrorInfo
from tune_plugins.core.events import TrialErrored
from tune_plugins.space.jsonable import storable

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def errored(trial_id: str, error: BaseException, *, fatal: bool = False) -> TrialErrored:
    """The event that says that user code raised; `fatal`: a retry cannot help."""
    cause = EndCause.OUT_OF_MEMORY if _out_of_memory(error) else EndCause.FAILED
    return TrialErrored(time.time(), trial_id, as_data(error), fatal, cause)


def as_data(error: BaseException) -> ErrorInfo:
    """Type, message and traceback of an error, without the frames of this engine."""
    try:
        frames = error.__traceback__
    except Exception:  # a property of the user's
        frames = None
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename.startswith(_HERE):
        frames = frames.tb_next
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    try:
        message = str(error)
        text = "".join(traceback.format_exception(kind, error, frames)).strip()
    except Exception as broken:  # a user's __str__ may raise
        message, text = f"<str() failed: {type(broken).__name__}>", "".join(traceback.format_tb(frames)).strip()
    return ErrorInfo(name, storable(message), storable(text))


def _out_of_memory(error: BaseException) -> bool:
    # PyTorch's own is no MemoryError, and is not to be imported for this.
    return isinstance(error, MemoryError) or any(base.__name__ == "OutOfMemoryError" for base in type(error).__mro__)
