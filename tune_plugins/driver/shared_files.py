"""Notices files in the working directory that more than one trial has written: the last one wins there, silently.

While trials run the directory is looked through from time to time, in a thread of its own and with bounds: nothing is
done at each file that is opened, and trials of milliseconds are not worth it. What is known of a file is when it was
written, each time by one of the trials that were running then. Where no single trial can have written it every time,
several have.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tune_plugins.callbacks import Callback
from tune_plugins.core.trial import Trial

_SHORTEST_S = 1.0  # of a trial that is worth a look
_EACH_S, _SHARE = 1.0, 0.005  # how often there is a look, and the most of a core that it may take
_DEPTH, _ENTRIES = 3, 2000
_TIMES = 100  # that are remembered of a file
_LAST_ACT_S = 0.25  # how long before its end a trial writes last
_TICK_S = 0.01  # by which the time of a file may lie before that of the clock
_PATIENCE_S = 5.0  # for the last look, of a file system that is slow
_SHOWN = 3


@dataclass
class _File:
    """What was seen of a file.

    Attributes:
        times: when it was written, as far as somebody looked.
        size: of it, the last time.
        grows: it was never anything but longer than before: a log, to which many may write.
    """

    times: list[float] = field(default_factory=list)
    size: int = 0
    grows: bool = True

    def note(self, written: float, size: int) -> None:
        if written not in self.times[-1:] and len(self.times) < _TIMES:
            self.grows = self.grows and size > self.size
            self.times.append(written)
            self.size = size


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
        self._files: dict[str, _File] = {}
        self._wanted, self._over = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """It may write from now on."""
        self._spans.setdefault(trial.id, (trial.started_at or time.time(), float("inf")))
        if self._thread is None:
            self._thread = threading.Thread(target=self._look_again, name="tune-files", daemon=True)
            self._thread.start()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """It writes no more."""
        began, _ = self._spans.get(trial.id, (self._began, 0.0))
        self._spans[trial.id] = began, trial.ended_at or time.time()
        self._wanted.set()

    on_trial_error = on_trial_complete

    def warnings(self) -> list[str]:
        """What there is to say at the end of the run: at most one line."""
        if self._thread is None:
            return []
        self._over.set()
        self._wanted.set()
        self._thread.join(_PATIENCE_S)
        opened = _opened_by_anybody() if (found := self._shared()) else set()
        names = sorted(os.path.relpath(path, self._directory) for path in found if os.path.realpath(path) not in opened)
        if not names:
            return []
        more = f" and {len(names) - _SHOWN} more files" if len(names) > _SHOWN else ""
        return [
            f"{', '.join(names[:_SHOWN])}{more} in {self._directory} changed again and again while different trials "
            "ran: if trials write there, each replaces what the others have written, and reads what is not its own. "
            "Write into tune.get_context().get_trial_dir(), or give each trial a directory of its own by "
            "RunConfig(working_dir='trial')."
        ]

    def _shared(self) -> list[str]:
        """Files that no single trial can have written every time."""
        found = []
        for path, file in list(self._files.items()):
            if file.grows:
                continue
            running = [self._running_at(written) for written in file.times]
            ending = [self._ending_after(written) for written in file.times]  # a model is what a trial writes last
            # Where no trial ran at all, something beside them writes it, such as the script itself.
            if any(len(who) > 1 and all(who) and not set.intersection(*who) for who in (running, ending)):
                found.append(path)
        return found

    def _running_at(self, moment: float) -> set[str]:
        return {i for i, (began, ended) in self._spans.items() if began - _TICK_S <= moment <= ended}

    def _ending_after(self, moment: float) -> set[str]:
        return {i for i, (_, ended) in self._spans.items() if moment - _TICK_S <= ended <= moment + _LAST_ACT_S}

    # ------------------------------------------------------------------------------ in a thread of its own

    def _look_again(self) -> None:
        pause = _EACH_S
        while not self._over.is_set():
            self._wanted.wait(pause)  # or until a trial has ended
            self._wanted.clear()
            cost = self._look()
            self._over.wait(cost / _SHARE)
            pause = max(_EACH_S, cost / _SHARE)
        self._look()

    def _look(self) -> float:
        """Have a look where there is a trial that is worth it; returns how many seconds it took."""
        spans, now = list(self._spans.values()), time.time()
        if not any(min(ended, now) - began >= _SHORTEST_S for began, ended in spans):
            return 0.0
        start = time.perf_counter()
        with suppress(OSError):
            for path, written, size in self._listing():
                if written >= self._began:
                    self._files.setdefault(path, _File()).note(written, size)
        return time.perf_counter() - start

    def _listing(self) -> Iterator[tuple[str, float, int]]:
        """Regular files, when they were written, their sizes; not hidden ones, nor results, nor what Python makes."""
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
                        facts = entry.stat()
                        yield entry.path, facts.st_mtime, facts.st_size


def _opened_by_anybody() -> set[str]:
    """Files that a process of this user has open when all trials have ended, such as a log."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):
            for link in folder.iterdir():
                with suppress(OSError):
                    found.add(os.readlink(link))
    return found
