"""What a trial may change in its process, put back for the next one.

Directory, environment, search path, warning filters, logging, figures of matplotlib; threads, default type and
gradients of PyTorch. What else a process remembers (caches, options of other libraries, modules that were patched) the
next trial finds; with ``reuse_actors=False`` it has a process of its own.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class _Logger:
    handlers: list[logging.Handler]
    level: int
    propagate: bool
    disabled: bool


_FRESH = _Logger([], logging.NOTSET, True, False)


class Surroundings:
    """Those of this process, as they are now.

    Args:
        own: names of the user's modules: what their loggers get is a trial's own affair.
    """

    def __init__(self, own: Collection[str] = ()) -> None:
        self._own = {name.partition(".")[0] for name in own} | {"__main__"}
        self._cwd, self._environ, self._path = os.getcwd(), dict(os.environ), list(sys.path)
        self._disabled = logging.root.manager.disable
        self._loggers = {logger.name: _state(logger) for logger in _all_loggers()}
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        torch = sys.modules.get("torch")
        self._threads = max(1, int(self._environ.get("OMP_NUM_THREADS") or 1))
        self._dtype = None if torch is None else torch.get_default_dtype()

    def restore(self) -> None:
        """Put everything back."""
        # Not asking for the directory first: a trial may have removed the one it was in.
        os.chdir(self._cwd)
        if os.environ != self._environ:
            os.environ.clear()
            os.environ.update(self._environ)
        sys.path[:] = self._path
        self._warnings.__exit__(None, None, None)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        self._restore_logging()
        if (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:
            pyplot.close("all")
        if (torch := sys.modules.get("torch")) is not None:
            _restore_torch(torch, self._threads, self._dtype)

    def leave(self) -> None:
        """Put everything back for the last time."""
        with suppress(OSError):
            self.restore()
        self._warnings.__exit__(None, None, None)

    def _restore_logging(self) -> None:
        logging.disable(self._disabled)
        for logger in _all_loggers():
            before = self._loggers.get(logger.name)
            if before is None:
                top = logger.name.partition(".")[0]
                if top in sys.modules and top not in self._own:
                    continue  # of a library that was imported meanwhile, and is not imported again
                before = _FRESH
            if (
                logger.level == before.level
                and logger.handlers == before.handlers
                and logger.propagate == before.propagate
                and logger.disabled == before.disabled
            ):
                continue
            for handler in [handler for handler in logger.handlers if handler not in before.handlers]:
                logger.removeHandler(handler)
                with suppress(Exception):
                    handler.close()
            for handler in before.handlers:
                logger.addHandler(handler)
            logger.setLevel(before.level)
            logger.propagate, logger.disabled = before.propagate, before.disabled


def _all_loggers() -> list[logging.Logger]:
    known = list(logging.root.manager.loggerDict.values())
    return [logging.root, *(one for one in known if isinstance(one, logging.Logger))]


def _state(logger: logging.Logger) -> _Logger:
    return _Logger(list(logger.handlers), logger.level, logger.propagate, logger.disabled)


def _restore_torch(torch: Any, threads: int, dtype: Any) -> None:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if not torch.is_grad_enabled():
        torch.set_grad_enabled(True)
    wanted = torch.float32 if dtype is None else dtype
    if torch.get_default_dtype() != wanted:
        torch.set_default_dtype(wanted)
