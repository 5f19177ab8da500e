"""The live table in a terminal."""

from __future__ import annotations

import atexit
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rich.live import Live
from rich.segment import Segment

from tune_plugins.display.frame import machine_memory, picture
from tune_plugins.display.lines import Line
from tune_plugins.display.reporter import Reporter
from tune_plugins.display.table import TrialTable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

_INTERVAL_S = 0.25
_SHARE = 0.02
"""At most this share of the driver's time goes into drawing."""

_LAST_ROWS = 10
_MEMORY_EVERY_S = 2.0


class _Picture:
    """Lines as a renderable whose segments are made once: it is drawn again with each line printed above it."""

    def __init__(self, lines: Sequence[Line], console: Console) -> None:
        newline = Segment.line()
        self.rows = len(lines)
        self._segments: list[Segment] = []
        for number, parts in enumerate(lines):
            if number:
                self._segments.append(newline)
            self._segments += [Segment(text, console.get_style(style) if style else None) for text, style in parts]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        yield from self._segments


class LiveDisplay(Reporter):
    """A table that is redrawn in place, at most four times a second and at most 2 % of the driver's time.

    Attributes:
        drawn: number of times the table was drawn anew.
    """

    def __init__(
        self,
        console: Console,
        verbose: int = 1,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(console, verbose, clock, wall)
        self.drawn = 0
        self._live: Live | None = None
        self._table = TrialTable()
        self._next = 0.0
        self._memory = ""
        self._memory_next = 0.0
        self._handlers: list[tuple[logging.StreamHandler[Any], Any]] = []

    def begin(self) -> None:
        """Take over the lower part of the terminal."""
        streams = (sys.stdout, sys.stderr)
        self._table = TrialTable()
        self._live = Live(
            _Picture([], self.console),
            console=self.console,
            auto_refresh=False,  # no thread: drawn from `step`
            # A stream that goes to a file or pipe stays there.
            redirect_stdout=_is_terminal(sys.stdout),
            redirect_stderr=_is_terminal(sys.stderr),
            vertical_overflow="crop",
        )
        atexit.register(self.abandon)  # a driver that dies on the way does not leave the cursor hidden
        self._live.start()
        self._redirect_logging(streams)
        self.step(self.began)

    def step(self, now: float) -> None:
        """Draw if it is time."""
        if self._live is not None and now >= self._next:
            cost = time.perf_counter()
            self._draw(now)
            cost = time.perf_counter() - cost
            self._next = now + max(_INTERVAL_S, cost / _SHARE)

    def _draw(self, now: float, most: int | None = None) -> None:
        if self._live is None:
            return
        if now >= self._memory_next:
            self._memory, self._memory_next = machine_memory(), now + _MEMORY_EVERY_S
        size = self.console.size
        lines = picture(
            self.progress,
            self.notes,
            columns=size.width,
            rows=size.height - 1,
            elapsed=self.elapsed,
            now=self.time_of_trials(),
            memory=self._memory,
            most=most,
            ascii_only=self.console.options.ascii_only,
            table=self._table,
        )
        self.drawn += 1
        self._live.update(_Picture(lines, self.console), refresh=True)

    def end(self) -> None:
        """Leave the running trials and the best others on the screen, and give the terminal back."""
        try:
            self._draw(self.clock(), most=_LAST_ROWS)
        finally:
            self.abandon()
        self.write([[]])

    def abandon(self) -> None:
        """Give the terminal back: cursor, standard streams and logging."""
        live, self._live = self._live, None
        atexit.unregister(self.abandon)
        handlers, self._handlers = self._handlers, []
        for handler, stream in handlers:
            handler.setStream(stream)
        if live is not None:
            live.stop()

    def _redirect_logging(self, before: tuple[TextIO, TextIO]) -> None:
        """Log handlers hold the streams that were there when they were made; lend them those of the live display.

        Otherwise a log record would be written into the middle of the table.
        """
        new = {id(old): stream for old, stream in zip(before, (sys.stdout, sys.stderr), strict=True)}
        loggers = [logging.getLogger(), *logging.getLogger().manager.loggerDict.values()]
        for logger in loggers:
            for handler in logger.handlers if isinstance(logger, logging.Logger) else ():
                if isinstance(handler, logging.StreamHandler) and id(handler.stream) in new:
                    stream = new[id(handler.stream)]
                    if stream is not handler.stream:
                        self._handlers.append((handler, handler.stream))
                        handler.setStream(stream)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (ValueError, OSError):
        return False
