"""What people see of a run: a live table in a terminal or notebook, plain lines elsewhere, and a summary at the end.

Modules: `text` (numbers, durations and untrusted strings made short), `progress` (running aggregates),
`lines` (styled lines), `table` (the trials), `frame` (one picture of the live display), `summary` (the end),
`outbox` (what scrolls by above the table), `plain`, `live` and `notebook` (the displays; the last two are `drawn`),
`html` (for notebooks).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from tune_plugins.callbacks import Callback
    from tune_plugins.config import RunConfig
    from tune_plugins.display.drawn import DrawnDisplay
    from tune_plugins.display.reporters import CLIReporter


def displays(run: RunConfig) -> list[Callback]:
    """What shows a run, as its `progress_reporter` or else its `verbose` says; at most one callback."""
    from tune_plugins.display.reporters import CLIReporter

    reporter = run.progress_reporter
    chosen = reporter if isinstance(reporter, CLIReporter) else None
    display = reporter if reporter is not None and chosen is None else make_display(run.verbose, reporter=chosen)
    return [] if display is None else [display]


def make_display(verbose: int, console: Console | None = None, reporter: CLIReporter | None = None) -> Callback | None:
    """The display of a run, as a callback.

    Args:
        verbose: 0: nothing at all; 1: progress and the final summary; 2 and more: also a line for each finished trial.
        console: where to write; default: standard output. A live table is drawn where it is a terminal
            that can move its cursor, and in a notebook; else plain lines are written.
        reporter: has chosen what the table shows.

    Returns:
        The callback, or None for ``verbose=0``.
    """
    if verbose <= 0:
        return None
    from rich.console import Console

    from tune_plugins.display.live import LiveDisplay
    from tune_plugins.display.notebook import NotebookDisplay
    from tune_plugins.display.plain import PlainDisplay
    from tune_plugins.display.reporters import TabledDisplay

    console = console or Console()
    drawn: type[DrawnDisplay] | None = None
    if console.is_jupyter:
        # Lines are to be text of the cell's output, not a display each.
        drawn, console = NotebookDisplay, Console(force_jupyter=False, force_terminal=False)
    elif console.is_terminal and not console.is_dumb_terminal:
        drawn = LiveDisplay
    if reporter is not None and (drawn is None or reporter.own):
        return TabledDisplay(console, verbose, reporter)
    return PlainDisplay(console, verbose) if drawn is None else drawn(console, verbose, reporter=reporter)
