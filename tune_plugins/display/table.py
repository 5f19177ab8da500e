"""The table of trials: which columns fit, and the lines of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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


@dataclass(slots=True)
class _Column:
    title: str
    cells: list[str]
    right: bool = True
    width: int = field(init=False)

    def __post_init__(self) -> None:
        self.width = min(max(cell_len(self.title), *(cell_len(cell) for cell in self.cells), 1), _WIDEST)


def trial_table(progress: Progress, trials: Sequence[Trial], columns: int, now: float) -> list[Line]:
    """A title line and a line for each of `trials`, none wider than `columns`.

    Trial and metric are always there; then status, iteration and time, then as many of the hyper-parameters that
    vary as fit, the most informative first. `now` is the wall clock in seconds since the epoch.
    """
    if not trials:
        return []
    best = progress.best
    left = [_Column("trial", [clean(trial.id, _WIDEST) for trial in trials], right=False)]
    right: list[_Column] = []
    if progress.metric is not None:
        values = [metric_text(progress.value(trial)) if trial.last_result else "" for trial in trials]
        right.append(_Column(_title(progress.metric), values))
    taken = sum(column.width + len(_GAP) for column in left + right)
    status = _Column("status", [trial.status.value for trial in trials], right=False)
    iteration = _Column("iter", [f"{trial.iteration}" if trial.iteration else "" for trial in trials])
    time = _Column("time", [_time(trial, now) for trial in trials])
    for column, place, at in ((status, left, 1), (iteration, right, 1), (time, right, 2)):
        if taken + column.width <= columns:
            place.insert(at, column)
            taken += column.width + len(_GAP)
    titles = _parameter_titles(progress.varying[:_MOST_PARAMETERS])
    for name, title in titles.items():
        column = _Column(title, [short(lookup(trial.config, name, ""), 16) for trial in trials])
        if taken + column.width <= columns:
            left.append(column)
            taken += column.width + len(_GAP)
    shown = left + right
    title_line = line((_GAP.join(padded(c.title, c.width, c.right) for c in shown), "bold dim"))
    lines = [title_line]
    for number, trial in enumerate(trials):
        base = "bold" if trial is best else ""
        parts: list[str | tuple[str, str]] = []
        for position, column in enumerate(shown):
            style = _STATUS_STYLES.get(trial.status, base) if column is status else base
            gap = _GAP if position < len(shown) - 1 else ""
            parts.append((padded(column.cells[number], column.width, column.right) + gap, style))
        lines.append(line(*parts))
    return lines


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
