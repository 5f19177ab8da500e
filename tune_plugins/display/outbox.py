"""What scrolls by beside the progress: output of trials, failures, finished trials. Bounded in every way."""

from __future__ import annotations

from collections.abc import Sequence

from tune_plugins.core.ends import ErrorInfo
from tune_plugins.core.trial import Trial
from tune_plugins.display.lines import Line, line
from tune_plugins.display.text import clean, count, duration, error_lines, metric_text, open_hint, place_of

_LINES_PER_SECOND = 50
_FAILURES_IN_FULL = 3
_WINDOW_S = 1.0


class Outbox:
    """Collects lines until `take` fetches them, so that they are written in one go.

    Output of trials is limited to 50 lines a second; how many were left out is said in one line.
    """

    def __init__(self) -> None:
        self.failures = 0
        self._last_failure = ""
        self._retries = 0
        self._lines: list[Line] = []
        self._window_start = 0.0
        self._in_window = 0
        self._dropped = 0

    def take(self, now: float, last: bool = False) -> list[Line]:
        """The lines collected since the last call; `last` also tells what was left out until now."""
        if self._dropped and (last or now - self._window_start >= _WINDOW_S):
            self._tell_dropped()
        taken, self._lines = self._lines, []
        return taken

    def output(self, trial: Trial | None, output: Sequence[str], now: float) -> None:
        """Lines that a trial printed."""
        if now - self._window_start >= _WINDOW_S:
            if self._dropped:
                self._tell_dropped()
            self._window_start, self._in_window = now, 0
        room = max(_LINES_PER_SECOND - self._in_window, 0)
        kept = output[:room]
        self._in_window += len(kept)
        self._dropped += len(output) - len(kept)
        prefix = f"({clean(trial.id, 40)}) " if trial is not None else ""
        self._lines += [line((prefix + clean(text, 1000), "dim")) for text in kept]

    def _tell_dropped(self) -> None:
        noun = "line" if self._dropped == 1 else "lines"
        text = f"... {self._dropped:,} {noun} of trial output not shown; RunConfig(log_to_file=True) keeps them all"
        self._lines.append(line((text, "dim italic")))
        self._dropped = 0

    def failed(self, trial: Trial, error: ErrorInfo, path: str) -> bool:
        """A trial failed for good; the first three are told in full. True if there is something new to show."""
        self.failures += 1
        if self.failures > _FAILURES_IN_FULL:
            return False
        first, *rest = error_lines(error)
        same = str(error) == self._last_failure
        self._last_failure = str(error)
        place = "" if same else place_of(error)
        told = f"{first} (as before)" if same else first
        where_raised = (f"  ({place})", "dim") if place else ""
        self._lines.append(line((f"trial {clean(trial.id, 40)} failed: ", "bold red"), told, where_raised))
        self._lines += [line("  " + text) for text in rest] if not same else []
        where = f"print({open_hint(path)}[{trial.index}].error) shows the whole traceback" if path and not same else ""
        if self.failures == _FAILURES_IN_FULL:
            where += ("; " if where else "") + "further failures are only counted"
        if where:
            self._lines.append(line(("  " + where, "dim")))
        return True

    def recovered(self, trial: Trial, error: ErrorInfo) -> bool:
        """A trial failed and is tried again; the first three are told. True if there is something new to show."""
        self._retries += 1
        if self._retries > _FAILURES_IN_FULL:
            return False
        text = f"trial {clean(trial.id, 40)} failed and will be tried again: "
        self._lines.append(line((text, "yellow"), error_lines(error, 1)[0]))
        if self._retries == _FAILURES_IN_FULL:
            self._lines.append(line(("  further retries are not shown", "dim")))
        return True

    def finished(self, trial: Trial, metric: str | None, value: float) -> None:
        """A trial ended without error (``verbose=2``)."""
        shown = f", {clean(metric, 60)} {metric_text(value)}" if metric is not None else ""
        took = ""
        if trial.started_at is not None and trial.ended_at is not None:
            took = f" after {duration(trial.ended_at - trial.started_at)}"
        head = f"trial {clean(trial.id, 40)} done{took} at iteration {trial.iteration}{shown}"
        self._lines.append(line(head, (f": {clean(trial.reason)}" if trial.reason else "", "dim")))

    def retold(self) -> Line:
        """How many failures were only counted; empty where none was."""
        more = self.failures - _FAILURES_IN_FULL
        return line((f"{count(more, 'more trial')} failed, not shown above", "red")) if more > 0 else []
