"""The live table in a terminal."""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rich.live import Live
from rich.segment import Segment

from tune_plugins.display.drawn import DrawnDisplay
from tune_plugins.display.lines import Line

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions


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


class LiveDisplay(DrawnDisplay):
    """A table that is redrawn in place, at most four times a second and at most 2 % of the driver's time."""

    _live: Live | None = None

    def begin(self) -> None:
        """Take over the lower part of the terminal."""
        streams = (sys.stdout, sys.stderr)
        self._handlers: list[tuple[logging.StreamHandler[Any], Any]] = []
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
        self.ascii_only = self.console.options.ascii_only
        super().begin()

    def size(self) -> tuple[int, int] | None:
        """That of the terminal, but for its last row."""
        return None if self._live is None else (self.console.size.width, self.console.size.height - 1)

    def show(self, lines: Sequence[Line]) -> None:
        """Draw the lines over those before."""
        if self._live is not None:
            self._live.update(_Picture(lines, self.console), refresh=True)

    def end(self) -> None:
        """Leave the running trials and the best others on the screen, and give the terminal back."""
        super().end()
        self.write([[]])

    def abandon(self) -> None:
        """Give the terminal back: cursor, standard streams and logging."""
        live, self._live = self._live, None
        atexit.unregister(self.abandon)
        if live is None:
            return
        handlers, self._handlers = self._handlers, []
        for handler, stream in handlers:
            handler.setStream(stream)
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
