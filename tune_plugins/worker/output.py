"""What trials print: caught at the file descriptors, so that output of C code is caught too."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_MARK = b"\0trial "
_LONGEST = 2000  # characters of one forwarded line
_PORTION = 65536  # bytes read at a time; a line does not get longer


class OutputCapture:
    """Redirects descriptors 1 and 2 of this process while trials run.

    Args:
        forward: called with the id of the trial and the lines it printed, in a thread of its own.
    """

    def __init__(self, forward: Callable[[str, list[str]], None]) -> None:
        self._forward = forward
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
                # To print the name of a broken file is no reason to fail; the driver shows it escaped, too.
                reconfigure(errors="backslashreplace")
        self._to_files = False
        self._saved = (os.dup(1), os.dup(2))
        read, self._write = os.pipe()
        os.dup2(self._write, 1)
        os.dup2(self._write, 2)
        self._thread = threading.Thread(target=self._pump, args=(read,), name="tune-output", daemon=True)
        self._thread.start()

    def begin(self, trial_id: str, log_files: tuple[str, str] | None) -> None:
        """Output is this trial's from now on; with `log_files` it goes to these two files instead."""
        # The mark travels in the stream itself: the reader may be behind.
        os.write(self._write, b"\n" + _MARK + trial_id.encode() + b"\n")
        if log_files is not None:
            self._to_files = True
            for path, descriptor in zip(log_files, (1, 2), strict=True):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                os.dup2(file, descriptor)
                os.close(file)

    def end(self) -> None:
        """The trial is over."""
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        if self._to_files:
            self._to_files = False
            os.dup2(self._write, 1)
            os.dup2(self._write, 2)

    def close(self) -> None:
        """Give the descriptors back; returns when everything printed was forwarded."""
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        for saved, descriptor in zip(self._saved, (1, 2), strict=True):
            os.dup2(saved, descriptor)
            os.close(saved)
        os.close(self._write)
        # A child process of the user's may hold the pipe open for ever.
        self._thread.join(timeout=1.0)

    def _pump(self, read: int) -> None:
        rest, trial_id, blank = b"", "", False
        while True:
            data = os.read(read, _PORTION)
            *lines, rest = (rest + data).split(b"\n")
            if rest and (not data or len(rest) >= _PORTION):
                lines.append(rest)
                rest = b""
            printed: list[str] = []
            for line in lines:
                if line.startswith(_MARK):
                    # The empty line before a mark is the mark's own.
                    self._pass_on(trial_id, printed)
                    trial_id, printed, blank = line[len(_MARK) :].decode(), [], False
                    continue
                if blank:
                    printed.append("")
                blank = not line
                if line:
                    printed.append(_readable(line))
            self._pass_on(trial_id, printed)
            if not data:
                os.close(read)
                return

    def _pass_on(self, trial_id: str, lines: list[str]) -> None:
        if lines:
            self._forward(trial_id, lines)


def _readable(line: bytes) -> str:
    """A line as a terminal would show it at last: of a progress bar that overwrites itself, the last state."""
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")[:_LONGEST]
