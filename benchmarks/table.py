"""Judges what was measured and shows it, in a terminal and as a page of the documentation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from benchmarks.registry import AtMostTimes, BelowOnEach, NotAbove, Record, Row

if TYPE_CHECKING:
    from rich.table import Table

MARKER = "<!-- written by `make bench`; do not edit -->"
"""Above it stands what makes the file a page by itself, below it what `docs/benchmarks.md` includes."""

HEADINGS = ("benchmark", "ours", "peer", "goal", "ratio", "")


class Outcome(StrEnum):
    """What became of a row."""

    MET = "met"
    MISSED = "missed"
    CRASHED = "crashed"  # counts as missed
    SHOWN = ""  # no goal
    NOT_JUDGED = "not judged"  # the peer was left out


@dataclass(frozen=True)
class Line:
    """One row of the table, judged and in words; the cells belong to `HEADINGS` without the last."""

    cells: tuple[str, str, str, str, str]
    outcome: Outcome

    @property
    def failed(self) -> bool:
        """True where this line makes the run end with an error."""
        return self.outcome in (Outcome.MISSED, Outcome.CRASHED)


def number(value: float) -> str:
    """Three significant digits, thousands separated.

    >>> [number(value) for value in (0.06214, 12.3456, 1234.5, 45678.0)]
    ['0.0621', '12.3', '1,234', '45,678']
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def judge(record: Record) -> list[Line]:
    """One line for each row of the benchmark, from the medians over the rounds."""
    return [_line(record, row) for row in record.benchmark.rows]


def _line(record: Record, row: Row) -> Line:
    ours, peer = _median(record, row.ours, row.figure), _median(record, row.peer, row.figure)
    crashed = any(label in record.crashes for label in (row.ours, row.peer))
    if crashed:
        outcome = Outcome.CRASHED
    elif row.goal is None:
        outcome = Outcome.SHOWN
    elif math.isnan(ours) or (row.goal.needs_peer and math.isnan(peer)):
        outcome = Outcome.NOT_JUDGED
    elif isinstance(row.goal, (BelowOnEach, NotAbove)):
        met = row.goal.met_by_samples(record.samples(row.ours, row.figure), record.samples(row.peer, row.figure))
        outcome = Outcome.MET if met else Outcome.MISSED
    else:
        outcome = Outcome.MET if row.goal.met(ours, peer) else Outcome.MISSED
    beside = _cell(record, row.peer, peer, row.unit)
    if row.peer is not None and beside:
        beside += f" ({row.peer})"
    cells = (
        row.name,
        _cell(record, row.ours, ours, row.unit),
        beside,
        row.goal.text(row.unit) if row.goal else "",
        _ratio(row, ours, peer),
    )
    return Line(cells, outcome)


def _median(record: Record, label: str | None, figure: str) -> float:
    values = record.values(label, figure) if label is not None else []
    return statistics.median(values) if values else math.nan


def _cell(record: Record, label: str | None, value: float, unit: str) -> str:
    if label in record.crashes:
        return "crashed"
    return "" if math.isnan(value) else f"{number(value)} {unit}"


def _ratio(row: Row, ours: float, peer: float) -> str:
    if math.isnan(ours) or math.isnan(peer) or ours <= 0 or peer <= 0:
        return ""
    if row.higher_is_better:
        return f"{number(ours / peer)} x as many"
    if not row.is_duration:
        return f"{ours / peer:.3f} x the peer"
    if isinstance(row.goal, AtMostTimes) or ours > peer:
        return f"{ours / peer:.3f} x as long"
    return f"{number(peer / ours)} x faster"


def terminal_table(records: Sequence[Record]) -> Table:
    """The table for people at a terminal."""
    from rich.table import Table

    table = Table(title="Medians over the rounds")
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading in ("ours", "peer", "ratio") else "left")
    colours = {Outcome.MET: "green", Outcome.MISSED: "bold red", Outcome.CRASHED: "bold red"}
    for record in records:
        for line in judge(record):
            colour = colours.get(line.outcome, "default")
            table.add_row(*line.cells, f"[{colour}]{line.outcome.value}[/{colour}]")
        table.add_section()
    return table


def markdown(records: Sequence[Record], facts: Sequence[tuple[str, str]]) -> str:
    """The page that `docs/benchmarks.md` includes: facts of the run, the table, and all jobs with their spread."""
    lines = ["---", "orphan: true", "---", "", "# Benchmark results", "", MARKER, ""]
    lines += [f"- {name}: {value}" for name, value in facts if value]
    lines += ["", *_markdown_row(HEADINGS), *_markdown_row(["---"] * len(HEADINGS))]
    for record in records:
        for line in judge(record):
            lines += _markdown_row([*line.cells, line.outcome.value])
    lines += ["", "Every figure measured, median and, over the rounds, smallest to largest:", ""]
    headings = ("benchmark", "job", "figure", "median", "range", "rounds")
    lines += [*_markdown_row(headings), *_markdown_row(["---"] * len(headings))]
    for record in records:
        for label, measurements in record.measurements.items():
            for figure in measurements[0].figures:
                values = record.values(label, figure)
                spread = f"{number(min(values))} to {number(max(values))}"
                middle = number(statistics.median(values))
                lines += _markdown_row([record.benchmark.name, label, f"`{figure}`", middle, spread, str(len(values))])
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(cells) + " |"]
