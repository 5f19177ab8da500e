"""Where a process that runs trials finds itself: directory, search path, environment, names in ``__main__``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from tune_plugins.worker.snapshot import Snapshot


@dataclass(frozen=True)
class Setting:
    """Those of the driver.

    Attributes:
        directory: the working directory; another node need not have it.
        search_path: ``sys.path``, absolute, so that modules that the driver can import can be imported here.
        environ: environment variables; None: those of the process.
        snapshot: of the user's modules.
    """

    directory: str
    search_path: tuple[str, ...]
    environ: Mapping[str, str] | None = None
    snapshot: Snapshot = field(default_factory=Snapshot)

    @classmethod
    def here(cls, snapshot: Snapshot, environ: Mapping[str, str] | None = None) -> Setting:
        """That of this process."""
        return cls(os.getcwd(), tuple(os.path.abspath(path) for path in sys.path), environ, snapshot)

    def enter(self) -> None:
        """Make it that of this process."""
        self.snapshot.install()
        with suppress(OSError):
            os.chdir(self.directory)
        if self.environ is None:
            sys.path += [path for path in self.search_path if path not in sys.path]
            return
        sys.path[:] = self.search_path
        if os.environ != self.environ:
            os.environ.clear()
            os.environ.update(self.environ)


def name_in_main(function: Any) -> None:
    """Put the functions and classes of the user's script where pickle looks for them: into ``__main__``.

    They came by value, and ``__main__`` is not the user's script here. A process that the trial forks, such as a worker
    of a DataLoader, sends back what it has by that name; it would fail, and with an error of the script wait for ever.
    """
    main = vars(sys.modules["__main__"])
    for part in (function, getattr(function, "func", None), *getattr(function, "args", ())):  # also of a partial
        for code in vars(part).values() if isinstance(part, type) else [part]:
            for name, value in getattr(code, "__globals__", {}).items():
                if isinstance(value, (type, FunctionType)) and value.__module__ == "__main__":
                    main[name] = value
