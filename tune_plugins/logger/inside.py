"""What the functions share that open a run of a tracker inside a trial."""

from __future__ import annotations

import gc
import os
import sys
import weakref
from collections.abc import Callable

from tune_plugins.session import current


class Nothing:
    """Takes the place of a tracker where nothing is to be logged: whatever is asked of it, nothing happens."""

    def __getattr__(self, name: str) -> Nothing:
        if name.startswith("__"):
            raise AttributeError(name)  # copy and pickle ask for these
        return self

    def __call__(self, *arguments: object, **options: object) -> Nothing:
        """Nothing."""
        return self

    def __enter__(self) -> Nothing:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing."""


def is_first_rank() -> bool:
    """Whether this is the first process of a distributed training, or none."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return bool(distributed.get_rank() == 0)
    return os.environ.get("RANK", "0") == "0"


def at_end_of_trial(end: Callable[[], object]) -> None:
    """Have something called when the trial of this process has come to its end: the process goes on to another.

    Then its session is dropped. One that was left to be entered anew (paused, restarted) is still held by what has
    unwound it, and is found by the garbage collector some time later: there is nothing to be ended then.
    """
    if (session := current()) is None:
        return
    if _note not in gc.callbacks:
        gc.callbacks.append(_note)
    weakref.finalize(session, lambda: None if _collecting else end()).atexit = False


_collecting = False


def _note(phase: str, info: dict[str, int]) -> None:
    global _collecting
    _collecting = phase == "start"
