"""Notices files in the working directory that more than one trial has written: the last one wins there, silently.

After a trial the directory is looked through, in a thread of its own, and with bounds: nothing is done at each file
that is opened, and trials of milliseconds are not worth it. What is known of a file is when it was written last: by one
of the trials that were running then. Where no single trial can have written it each time, several have.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tune_plugins.callbacks import Callback
from tune_plugins.core.trial import Trial

_SHORTEST_S = 1.0  # of a trial that is worth a look
_DEPTH, _ENTRIES = 3, 2000
_SLACK_S = 0.05  # clocks of file systems are coarse
_PATIENCE_S = 5.0  # for the last look, of a file system that is slow
_SHOWN = 3


class SharedFiles(Callback):
    """Of one run.

    Args:
        directory: where trials run.
        storage: folder of experiments, which is left out.
    """

    def __init__(self, directory: str, storage: str) -> None:
        self._directory, self._storage = directory, os.path.realpath(storage)
        self._began = time.time()
        self._spans: dict[str, tuple[float, float]] = {}
        self._written: dict[str, tuple[float, set[str]]] = {}  # by path: when, and who can have written it all the time
        self._found: set[str] = set()
        self._wanted, self._closed = threading.Event(), False
        self._thread: threading.Thread | None = None

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """It may write from now on."""
        self._spans.setdefault(trial.id, (trial.started_at or time.time(), float("inf")))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """It writes no more: have a look, unless it was short."""
        began, _ = self._spans.get(trial.id, (self._began, 0.0))
        ended = trial.ended_at or time.time()
        self._spans[trial.id] = began, ended
        if ended - began >= _SHORTEST_S:
            if self._thread is None:
                self._thread = threading.Thread(target=self._look_when_wanted, name="tune-files", daemon=True)
                self._thread.start()
            self._wanted.set()

    on_trial_error = on_trial_complete

    def remarks(self) -> list[str]:
        """What there is to say at the end of the run: at most one line."""
        if self._thread is None:
            return []
        self._closed = True
        self._wanted.set()
        self._thread.join(_PATIENCE_S)
        found = sorted(self._found)
        if not found:
            return []
        more = f" and {len(found) - _SHOWN} more files" if len(found) > _SHOWN else ""
        return [
            f"several trials have written {', '.join(found[:_SHOWN])}{more} in {self._directory}, where each replaces "
            "what the other has written. Write into tune.get_context().get_trial_dir(), or give each trial a working "
            "directory of its own: RunConfig(working_dir='trial')"
        ]

    def _look_when_wanted(self) -> None:
        while not self._closed:
            self._wanted.wait()
            self._wanted.clear()
            with suppress(OSError):
                self._look()

    def _look(self) -> None:
        own = _opened_here()
        spans = dict(self._spans)
        for path, written in self._files():
            known = self._written.get(path)
            if written < self._began or path in own or (known is not None and known[0] == written):
                continue
            writers = {i for i, (began, ended) in spans.items() if began - _SLACK_S <= written <= ended + _SLACK_S}
            if known is None:
                self._written[path] = written, writers
                continue
            still = known[1] & writers
            # Nobody at all: it is written by something beside the trials, such as the script itself.
            if known[1] and writers and not still:
                self._found.add(os.path.relpath(path, self._directory))
            self._written[path] = written, still if known[1] and writers else set()

    def _files(self) -> Iterator[tuple[str, float]]:
        """Regular files and when they were written; not hidden ones, nor results, nor what Python makes."""
        left = _ENTRIES
        folders = [(self._directory, 1)]
        while folders:
            folder, depth = folders.pop(0)
            with suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        return
                    if entry.name.startswith((".", "__pycache__")):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if depth < _DEPTH and os.path.realpath(entry.path) != self._storage:
                            folders.append((entry.path, depth + 1))
                    elif entry.is_file(follow_symlinks=False):
                        yield entry.path, entry.stat().st_mtime


def _opened_here() -> set[str]:
    """Files that this process has open, such as its log."""
    found = set()
    with suppress(OSError):
        for link in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                found.add(os.readlink(link))
    return found
