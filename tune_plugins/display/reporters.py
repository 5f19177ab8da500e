"""Displays with columns and rows of the user's choice: `CLIReporter` and `JupyterNotebookReporter`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tune_plugins.arguments import Mistakes
from tune_plugins.callbacks import ProgressReporter, RunInfo
from tune_plugins.core.metrics import Mode
from tune_plugins.core.trial import Trial
from tune_plugins.display.frame import picture
from tune_plugins.display.lines import to_text
from tune_plugins.display.plain import PlainDisplay
from tune_plugins.display.progress import Progress
from tune_plugins.display.table import Chosen, TrialTable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["CLIReporter", "JupyterNotebookReporter"]

_COLUMNS = 120  # where the output is no terminal


class CLIReporter(ProgressReporter):
    """The display of a run with columns of your own choice, for ``RunConfig(progress_reporter=...)``.

    In a terminal and in a notebook the table is drawn in place; elsewhere it is printed every `max_report_frequency`
    seconds. A subclass that overrides `should_report` says itself when it is printed.

    Args:
        metric_columns: names of metrics, nested ones joined by ``/``, or {name: title}; default: the metric of the run,
            iteration and time.
        parameter_columns: names of hyper-parameters, or {name: title}; default: as many as fit.
        max_progress_rows: at most so many trials, running ones and the best of the others.
        max_error_rows: nothing; errors are shown as they come.
        max_column_length: characters.
        max_report_frequency: seconds from one table to the next, where it is printed.
        infer_limit: at most so many hyper-parameters, where `parameter_columns` says nothing.
        print_intermediate_tables: False: only the last table is printed.
        metric, mode: by which trials are sorted; default: those of the run.
        sort_by_metric: nothing; the best trials always come first.

    Raises:
        ArgumentError: lists all mistakes.

    >>> reporter = CLIReporter(metric_columns={"eval/loss": "loss"}, parameter_columns=["lr"], max_progress_rows=10)
    >>> reporter.add_metric_column("eval/accuracy", "accuracy")
    """

    def __init__(
        self,
        metric_columns: Sequence[str] | Mapping[str, str] | None = None,
        parameter_columns: Sequence[str] | Mapping[str, str] | None = None,
        *,
        max_progress_rows: int = 20,
        max_error_rows: int = 20,
        max_column_length: int = 24,
        max_report_frequency: float = 5,
        infer_limit: int | None = None,
        print_intermediate_tables: bool | None = None,
        metric: str | None = None,
        mode: Mode | None = None,
        sort_by_metric: bool = False,
        total_samples: int | None = None,
    ) -> None:
        mistakes = Mistakes(type(self).__name__)
        for name, columns in (("metric_columns", metric_columns), ("parameter_columns", parameter_columns)):
            right = columns is None or (
                isinstance(columns, (Sequence, Mapping))
                and not isinstance(columns, str)
                and all(isinstance(each, str) for each in [*columns, *dict(_titles(columns)).values()])
            )
            mistakes.check(right, name, "a list of names, or a dict {name: title}", columns)
        mistakes.whole("max_progress_rows", max_progress_rows, least=1)
        mistakes.whole("max_column_length", max_column_length, least=1)
        mistakes.number("max_report_frequency", max_report_frequency, least=0, what="a number of seconds")
        mistakes.metric("metric", metric, none=True)
        mistakes.mode("mode", mode, none=True)
        mistakes.raise_if_any()
        self.metric_columns = _titles(metric_columns or ())
        self.parameter_columns = None if parameter_columns is None else _titles(parameter_columns)
        self.max_progress_rows, self.max_column_length = max_progress_rows, max_column_length
        self.max_report_frequency, self.infer_limit = max_report_frequency, infer_limit
        self.print_intermediate_tables = print_intermediate_tables
        self.metric, self.mode = metric, mode
        self._run, self._began, self._next = RunInfo(), time.monotonic(), 0.0

    def add_metric_column(self, metric: str, representation: str | None = None) -> None:
        """Show a metric as well, under its name or this title.

        Raises:
            ArgumentError: it is there already.
        """
        _add("metric", self.metric_columns, metric, representation)

    def add_parameter_column(self, parameter: str, representation: str | None = None) -> None:
        """Show a hyper-parameter as well, under its name or this title.

        Raises:
            ArgumentError: it is there already.
        """
        self.parameter_columns = {} if self.parameter_columns is None else self.parameter_columns
        _add("parameter", self.parameter_columns, parameter, representation)

    @property
    def own(self) -> bool:
        """A subclass says itself when, or what, it reports."""
        kind = type(self)
        return (kind.should_report, kind.report) != (CLIReporter.should_report, CLIReporter.report)

    def setup(self, *args: Any, run: RunInfo | None = None, **info: Any) -> None:
        """The run begins."""
        self._run, self._began = self.of(run or RunInfo()), time.monotonic()

    def of(self, run: RunInfo) -> RunInfo:
        """What is known of a run, with the metric and mode that trials are sorted by."""
        return replace(run, metric=self.metric or run.metric, mode=self.mode or run.mode)

    def should_report(self, trials: list[Trial], done: bool = False) -> bool:
        """Whether it is time for a table."""
        now = time.monotonic()
        if not done and (self.print_intermediate_tables is False or now < self._next):
            return False
        self._next = now + self.max_report_frequency
        return True

    def report(self, trials: list[Trial], done: bool, *sys_info: str) -> None:
        """Print a table of the trials."""
        print(self.table(trials), end="\n\n")

    def table(self, trials: list[Trial]) -> str:
        """The trials as text, lines of at most 120 characters."""
        progress = Progress(self._run)
        progress.rescan(trials)
        lines = picture(
            progress,
            (),
            columns=_COLUMNS,
            rows=self.max_progress_rows + 20,
            elapsed=time.monotonic() - self._began,
            now=time.time(),
            most=self.max_progress_rows,
            table=TrialTable(columns_of(self)),
        )
        return "\n".join(to_text(line).plain for line in lines)


def columns_of(reporter: CLIReporter) -> Chosen:
    """The columns of its table."""
    columns = dict(reporter.metric_columns), reporter.parameter_columns
    return Chosen(*columns, reporter.max_column_length, reporter.infer_limit)


class JupyterNotebookReporter(CLIReporter):
    """The same as `CLIReporter`: in a notebook the table is drawn in place.

    Args:
        overwrite: nothing; what was printed by trials stays, the table is replaced.
        *args: as of `CLIReporter`.
        **options: as of `CLIReporter`.
    """

    def __init__(self, overwrite: bool = True, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)


class TabledDisplay(PlainDisplay):
    """Lines as `PlainDisplay` writes them, and tables when the reporter wants to show one."""

    def __init__(self, console: Console, verbose: int, reporter: CLIReporter) -> None:
        super().__init__(console, verbose)
        self.reporter = reporter
        self._trials: list[Trial] = []

    def begin(self) -> None:
        """Say what is run and where."""
        self.reporter.setup(run=self.run)
        super().begin()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Called about ten times a second."""
        self._trials = trials
        super().on_step_end(iteration, trials, **info)

    def step(self, now: float) -> None:
        """Show a table if it is time."""
        self._show(done=False)

    def end(self) -> None:
        """Show the last table."""
        self._show(done=True)

    def _show(self, *, done: bool) -> None:
        if self.reporter.should_report(self._trials, done):
            self.reporter.report(self._trials, done)


def _titles(columns: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    return dict(columns) if isinstance(columns, Mapping) else {name: name for name in columns}


def _add(what: str, columns: dict[str, str], name: str, title: str | None) -> None:
    mistakes = Mistakes(f"add_{what}_column")
    if name in columns:
        mistakes.add(f"{what}: expected a new one, got {name!r}, which is shown as {columns[name]!r} already.")
    mistakes.raise_if_any()
    columns[name] = title or name
