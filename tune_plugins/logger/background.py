"""A thread that carries out what a logger has to do, so that the loop of a run never waits for a disk or a server."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

logger = logging.getLogger("tune_plugins.logger")

MOST_WAITING = 50_000
"""Results that may wait for one logger; some 50 MB."""
PATIENCE_S = 10.0
"""So long, all in all, a run waits for a logger whose queue is full."""
_TELL_AFTER_S = 5.0
# A thread that computes gives the interpreter away every 5 ms only, and the loop, which waits for messages and disks
# all the time, would wait so long each time. So it rests by itself, as long as there is a run.
_WORK_S, _REST_S = 0.0005, 0.002


class Background:
    """Carries out entries in order, in a daemon thread of its own.

    What raises is told once for each name, and harms nothing.

    Args:
        name: of the logger, for messages.
        perform: called in the thread with the name of an entry and what belongs to it.
        caught_up: called in the thread whenever nothing more waits.
    """

    def __init__(self, name: str, perform: Callable[..., object], caught_up: Callable[[], object]) -> None:
        self._name, self._perform, self._caught_up = name, perform, caught_up
        self._waiting: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self._told: set[str] = set()
        self._patience_s, self._left_out, self._given_up = PATIENCE_S, 0, False
        self._rested = 0.0
        self._thread = threading.Thread(target=self._run, name=f"tune-{name}", daemon=True)
        self._thread.start()

    @property
    def is_this_thread(self) -> bool:
        """Whether it is this one that asks."""
        return threading.current_thread() is self._thread

    def put(self, name: str, *what: Any, may_be_left_out: bool = False) -> None:
        """Have something done; where too much waits already, what may be left out is left out."""
        if may_be_left_out and self._waiting.qsize() >= MOST_WAITING and not self._got_room():
            self._left_out += 1
            if self._left_out == 1:
                logger.warning(
                    "%s is slower than the run: %d results wait for it, and until it has caught up no further ones are "
                    "handed to it. They are in the record of the experiment.",
                    self._name,
                    MOST_WAITING,
                )
            return
        self._waiting.put((name, *what))

    def _got_room(self) -> bool:
        """Wait a little: a logger that writes files gets through thousands of results in that time."""
        began = now = time.monotonic()
        while (full := self._waiting.qsize() >= MOST_WAITING) and now - began < self._patience_s:
            time.sleep(0.001)
            now = time.monotonic()
        self._patience_s -= now - began
        return not full

    def drain(self) -> None:
        """Wait until everything is done, and end the thread; Ctrl-C gives up what is left."""
        self._waiting.put(None)
        self._rested = math.inf
        began, told = time.monotonic(), False
        try:
            while self._thread.is_alive():
                self._thread.join(0.5)
                if not told and time.monotonic() - began > _TELL_AFTER_S:
                    told = True
                    logger.warning(
                        "%s has %d entries left to write; Ctrl-C gives them up", self._name, self._waiting.qsize()
                    )
        except KeyboardInterrupt:
            self._given_up = True
            logger.warning("%s: %d entries were given up", self._name, self._waiting.qsize())
        if self._left_out:
            logger.warning(
                "%s was too slow for %d results. They are in the record of the experiment.", self._name, self._left_out
            )

    def _run(self) -> None:
        while not self._given_up:
            try:
                following = self._waiting.get_nowait()
            except Empty:
                self._do("writing", self._caught_up)
                following = self._waiting.get()
            if following is None:
                self._do("writing", self._caught_up)
                return
            self._do(following[0], self._perform, *following)
            if time.monotonic() - self._rested > _WORK_S:
                time.sleep(_REST_S)
                self._rested = max(self._rested, time.monotonic())

    def _do(self, name: str, call: Callable[..., object], *arguments: Any) -> None:
        try:
            call(*arguments)
        except BaseException as error:  # also SystemExit, at which the thread would end and nobody be told
            if name not in self._told:
                self._told.add(name)
                logger.warning(
                    "%s.%s raised %s: %s; it goes on being called (said once)",
                    self._name,
                    name,
                    type(error).__name__,
                    error,
                    exc_info=True,
                )
