"""Which experiments lie in a folder, and how each of them stands."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune_plugins.core.metrics import Mode, lookup
from tune_plugins.core.scores import best_index, finite
from tune_plugins.record.file import FILE_NAME, experiments_below
from tune_plugins.record.folder import is_held
from tune_plugins.record.store import ExperimentStore

__all__ = ["ExperimentSummary", "Experiments"]

_FEW = 1000  # trials whose last results are read to tell the best value
_SHOWN = 50  # experiments in a repr


@dataclass(frozen=True)
class ExperimentSummary:
    """How an experiment stood when it was looked at.

    Attributes:
        name: of the experiment, for people.
        path: its folder.
        time: when it began, in seconds since the epoch; of a damaged one, when its record was last written to.
        trials: number of trials.
        failed: number of those that have failed.
        metric: what is optimised; None where nothing is, or several metrics are.
        mode: "min" or "max".
        best: best of the last values of the metric; None where there is none, where a trial's last result lacks it, and
            with more than a thousand trials: `ResultGrid(path)` tells.
        unfinished: number of trials whose end is not recorded.
        running: whether a living process runs it; None: it cannot be told, for lack of permission.
        trouble: why its record cannot be read; empty where it can.
    """

    name: str
    path: str
    time: float
    trials: int = 0
    failed: int = 0
    metric: str | None = None
    mode: Mode | None = None
    best: float | None = None
    running: bool | None = False
    unfinished: int = 0
    trouble: str = ""

    @property
    def state(self) -> str:
        """In a word or two: "running", "over", "was killed", or the trouble."""
        if self.trouble or self.running is None:
            return self.trouble or "over or running"
        return "running" if self.running else "was killed" if self.unfinished else "over"


class Experiments(list[ExperimentSummary]):
    """Experiments, newest first; prints as a table."""

    def __repr__(self) -> str:
        if not self:
            return "no experiments"
        rows = [("name", "folder", "began", "trials", "failed", "best", "state")]
        for each in self[:_SHOWN]:
            began = time.strftime("%Y-%m-%d %H:%M", time.localtime(each.time))
            best = "" if each.metric is None else f"{each.metric}={'?' if each.best is None else f'{each.best:.6g}'}"
            counts = ("", "") if each.trouble else (str(each.trials), str(each.failed))
            rows.append((_shown(each.name), Path(each.path).name, began, *counts, _shown(best), _shown(each.state)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        if len(self) > _SHOWN:
            lines.append(f"... and {len(self) - _SHOWN} more")
        return "\n".join(lines)


def overview(folder: Path) -> Experiments:
    """All experiments directly in a folder, or the one that it is; damaged ones are listed with their trouble."""
    found = [folder] if (folder / FILE_NAME).exists() else experiments_below(folder)
    return Experiments(sorted(map(_summary, found), key=lambda each: each.time, reverse=True))


def _summary(directory: Path) -> ExperimentSummary:
    try:
        written = (directory / FILE_NAME).stat().st_mtime
    except OSError:
        written = 0.0
    try:
        return _read(directory, written)
    except Exception as error:  # no record of ours, or not what we write into one: the others are to be seen
        return ExperimentSummary(directory.name, str(directory), written, trouble=f"{error}")


def _read(directory: Path, written: float) -> ExperimentSummary:
    with ExperimentStore.open(directory) as store:
        meta: dict[str, Any] = store.meta("name", "created_at", "metric", "mode", "metrics")
        trials, failed, unfinished = store.counts()
        metric, mode = meta.get("metric"), meta.get("mode")
        if len(meta.get("metrics", ())) > 1:
            metric = mode = None
        best = None
        if metric is not None and mode is not None and trials <= _FEW:
            values = [lookup(result, metric) for result in store.last_results().values()]
            if None not in values and (index := best_index(list(map(finite, values)), mode)) is not None:
                best = float(values[index])
    return ExperimentSummary(
        str(meta.get("name", directory.name)),
        str(directory),
        float(meta.get("created_at", written)),
        trials,
        failed,
        metric,
        mode,
        best,
        is_held(directory),
        unfinished,
    )


def _shown(text: str) -> str:
    """Without what a terminal would obey, and not too long for a table."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= 60 else f"{text[:57]}..."
