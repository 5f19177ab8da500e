"""The table of trials: which columns fit, and the lines of the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral, Real

from rich.cells import cell_len

from tune_plugins.core.metrics import lookup
from tune_plugins.core.trial import Trial, TrialStatus
from tune_plugins.display.lines import Line, line, padded
from tune_plugins.display.progress import Progress
from tune_plugins.display.text import clean, cut, duration, metric_text, short, to_float

_STATUS_STYLES = {
    TrialStatus.STARTING: "cyan",
    TrialStatus.RUNNING: "green",
    TrialStatus.STOPPING: "cyan",
    TrialStatus.PAUSED: "yellow",
    TrialStatus.ERROR: "bold red",
}
_GAP = "  "
_WIDEST = 24
_MOST_PARAMETERS = 40
_STATUS = max(len(status.value) for status in TrialStatus)
_TIME = len("59m59s")
_NUMBER = len("0.0001234")


@dataclass(slots=True)
class _Column:
    """A column, as wide as it has ever had to be, and `least` from the start: what is to come must not move others."""

    title: str
    text: Callable[[Trial, float], str]
    right: bool = True
    least: int = 0
    width: int = 0

    def wanted(self, cells: Iterable[str]) -> int:
        return min(max(self.width, self.least, cell_len(self.title), *map(cell_len, cells)), _WIDEST)


@dataclass(frozen=True)
class Chosen:
    """Columns that the user wants to see in place of ours.

    Attributes:
        metrics: {name in a result: title}; empty: the metric of the run, iteration and time.
        parameters: {name of a hyper-parameter, nested ones joined by ``/``: title}; None: those that fit.
        widest: most characters of a column.
        most_parameters: that are chosen for the user; None: as many as fit.
    """

    metrics: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] | None = None
    widest: int = _WIDEST
    most_parameters: int | None = None


class TrialTable:
    """The table of trials. Its columns are chosen once, and do not move as long as the terminal keeps its width.

    Trial and metric are always there; then status, iteration and time, then as many of the hyper-parameters as fit, in
    the order in which the user wrote them; or what was `chosen`. Columns grow while there is room, and never shrink.
    """

    def __init__(self, chosen: Chosen | None = None) -> None:
        self.wanted = chosen or Chosen()
        self._columns = 0
        self._left: list[_Column] = []
        self._right: list[_Column] = []
        self._chosen = False

    def lines(self, progress: Progress, trials: Sequence[Trial], columns: int, now: float) -> list[Line]:
        """A title line and a line for each of `trials`, none wider than `columns`.

        `now` is the wall clock in seconds since the epoch.
        """
        if not trials:
            return []
        if columns != self._columns:
            self._columns, self._chosen, self._left, self._right = columns, False, [], []
        if not self._chosen:
            self._choose(progress, trials, now)
        shown = self._left + self._right
        cells = [[column.text(trial, now) for trial in trials] for column in shown]
        self._grow(shown, cells)
        lines = [line((_GAP.join(padded(c.title, c.width, c.right) for c in shown), "bold dim"))]
        best = progress.best
        for number, trial in enumerate(trials):
            base = "bold" if trial is best else ""
            parts: list[str | tuple[str, str]] = []
            for position, column in enumerate(shown):
                is_status = column.title == "status" and not column.right  # not a hyper-parameter of that name
                style = _STATUS_STYLES.get(trial.status, base) if is_status else base
                gap = _GAP if position < len(shown) - 1 else ""
                parts.append((padded(cells[position][number], column.width, column.right) + gap, style))
            lines.append(line(*parts))
        return lines

    def _grow(self, shown: Sequence[_Column], cells: Sequence[Sequence[str]]) -> None:
        room = self._columns - sum(column.width for column in shown) - len(_GAP) * (len(shown) - 1)
        for column, texts in zip(shown, cells, strict=True):
            more = min(column.wanted(texts) - column.width, max(room, 0))
            column.width, room = column.width + more, room - more

    def _choose(self, progress: Progress, trials: Sequence[Trial], now: float) -> None:
        """Choose the columns, for good where there is something to choose from."""
        before = {column.title: column.width for column in self._left + self._right}
        self._left, self._right, taken = [], [], 0

        def add(place: list[_Column], column: _Column, *, always: bool = False) -> None:
            nonlocal taken
            column.least = max(column.least, before.get(column.title, 0))
            column.width = column.wanted(column.text(trial, now) for trial in trials)
            if always or taken + column.width <= self._columns:
                place.append(column)
                taken += column.width + len(_GAP)

        longest = f"{progress.run.max_iterations or 0:.0f}"
        wanted = self.wanted
        add(self._left, _Column("trial", lambda trial, _: clean(trial.id, _WIDEST), right=False), always=True)
        if progress.metric is not None and not wanted.metrics:
            value = _Column(_title(progress.metric), lambda trial, _: _value(progress, trial), least=_NUMBER)
            add(self._right, value, always=True)
        add(self._left, _Column("status", lambda trial, _: trial.status.value, right=False, least=_STATUS))
        for name, title in wanted.metrics.items():
            add(self._right, _Column(cut(clean(title), wanted.widest), partial(_reported, name), least=_NUMBER))
        if not wanted.metrics:
            add(self._right, _Column("iter", lambda trial, _: f"{trial.iteration or ''}", least=len(longest)))
            add(self._right, _Column("time", _time, least=_TIME))
        names = progress.shown_parameters[: wanted.most_parameters or _MOST_PARAMETERS]
        titles = _parameter_titles(names) if wanted.parameters is None else wanted.parameters
        for name, title in titles.items():
            add(self._left, _parameter(name, cut(clean(title), wanted.widest), trials))
        self._chosen = bool(titles) and progress.metric is not None


def _parameter(name: str, title: str, trials: Sequence[Trial]) -> _Column:
    values = [lookup(trial.config, name, "") for trial in trials]
    broken = any(isinstance(value, Real) and not isinstance(value, Integral) for value in values)
    return _Column(title, lambda trial, _: short(lookup(trial.config, name, ""), 16), least=_NUMBER if broken else 0)


def _reported(name: str, trial: Trial, _: float) -> str:
    value = lookup(trial.last_result, name, "")
    number = to_float(value)
    return metric_text(number) if number == number and not isinstance(value, Integral) else short(value, 16)


def _value(progress: Progress, trial: Trial) -> str:
    return metric_text(progress.value(trial)) if trial.last_result else ""


def _title(name: str) -> str:
    return cut(clean(name), _WIDEST)


def _parameter_titles(names: Sequence[str]) -> dict[str, str]:
    """The last part of each name where that is unique, else the whole name."""
    ends = [name.rpartition("/")[2] for name in names]
    return {name: _title(end if ends.count(end) == 1 and end else name) for name, end in zip(names, ends, strict=True)}


def _time(trial: Trial, now: float) -> str:
    """Training time as the trial reported it, else the time since it started."""
    reported = to_float(trial.last_result.get("time_total_s"))
    if reported == reported:
        return duration(reported)
    if trial.started_at is None:
        return ""
    return duration((trial.ended_at if trial.ended_at is not None else now) - trial.started_at)
