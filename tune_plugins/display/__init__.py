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


def displays(run: RunConfig) -> list[Callback]:
    """What shows a run, as its `progress_reporter` or else its `verbose` says; at most one callback."""
    display = run.progress_reporter or make_display(run.verbose)
    return [] if display is None else [display]


def make_display(verbose: int, console: Console | None = None) -> Callback | None:
    """The display of a run, as a callback.

    Args:
        verbose: 0: nothing at all; 1: progress and the final summary; 2 and more: also a line for each finished trial.
        console: where to write; default: standard output. A live table is drawn where it is a terminal
            that can move its cursor, and in a notebook; else plain lines are written.

    Returns:
        The callback, or None for ``verbose=0``.
    """
    if verbose <= 0:
        return None
    from rich.console import Console

    from tune_plugins.display.live import LiveDisplay
    from tune_plugins.display.notebook import NotebookDisplay
    from tune_plugins.display.plain import PlainDisplay

    console = console or Console()
    if console.is_jupyter:
        # Lines are to be text of the cell's output, not a display each.
        return NotebookDisplay(Console(force_jupyter=False, force_terminal=False), verbose)
    live = console.is_terminal and not console.is_dumb_terminal
    return (LiveDisplay if live else PlainDisplay)(console, verbose)
