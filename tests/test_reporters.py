"""Reporters of progress in the style of Ray Tune's users: columns of their own, and classes that say when to report."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import tune_plugins as tune
from tune_plugins.display import make_display
from tune_plugins.display.live import LiveDisplay
from tune_plugins.display.reporters import TabledDisplay


def train(config: dict[str, Any]) -> None:
    for step in range(4):
        tune.report(loss=config["x"] / (step + 1), eval={"acc": step / 4}, name="some text")


def fit(tmp_path: Path, reporter: Any, **options: Any) -> tune.ResultGrid:
    return tune.Tuner(
        train,
        param_space={"x": tune.grid_search([1.0, 2.0, 3.0]), "net": {"width": tune.choice([8])}, "fixed": 1},
        tune_config=tune.TuneConfig(**{"metric": "loss", "mode": "min", **options}),
        run_config=tune.RunConfig(storage_path=tmp_path, runtime="inline", progress_reporter=reporter),
    ).fit()


def tables(text: str) -> list[list[str]]:
    """The title of each table that was printed, and its rows."""
    found: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("trial "):
            found.append([line])
        elif found and line[:5].isdigit():
            found[-1].append(line)
    return found


def test_columns_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = tune.CLIReporter(
        metric_columns={"eval/acc": "accuracy", "training_iteration": "round"},
        parameter_columns=["net/width"],
        max_report_frequency=0,
        max_progress_rows=2,
    )
    reporter.add_metric_column("name")
    reporter.add_parameter_column("fixed", "constant")
    fit(tmp_path, reporter)
    *_, (title, *rows) = tables(capsys.readouterr().out)
    assert title.split() == ["trial", "status", "net/width", "constant", "accuracy", "round", "name"]
    assert [row.split() for row in rows] == [
        [f"0000{n}", "TERMINATED", "8", "1", "0.7500", "4", "some", "text"] for n in (0, 1)
    ]
    with pytest.raises(ValueError, match="metric: expected a new one, got 'name', which is shown as 'name' already"):
        reporter.add_metric_column("name")


def test_without_columns_the_tables_of_the_display(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, tune.JupyterNotebookReporter(print_intermediate_tables=False))
    ((title, *rows),) = tables(out := capsys.readouterr().out)
    assert title.split() == ["trial", "status", "x", "width", "loss", "iter", "time"] and len(rows) == 3
    assert "best loss 0.2500 (min): trial 00000 at iteration 4" in out  # the summary, as ever


def test_a_metric_of_the_reporters_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, tune.CLIReporter(metric="loss", mode="max", print_intermediate_tables=False), metric=None, mode=None)
    ((_, *rows),) = tables(capsys.readouterr().out)
    assert [row.split()[0] for row in rows] == ["00002", "00001", "00000"]


class AtTheEndOfTrials(tune.CLIReporter):
    """From the documentation of Ray Tune: prints whenever a trial has ended."""

    def __init__(self) -> None:
        super().__init__(metric_columns=["loss"])
        self.num_terminated = 0

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        before = self.num_terminated
        self.num_terminated = len([t for t in trials if t.status == "TERMINATED"])
        return self.num_terminated > before


class Own(tune.ProgressReporter):
    def __init__(self) -> None:
        self.told: list[tuple[int, bool]] = []
        self.total: Any = None

    def setup(  # as in Ray Tune
        self, start_time: Any = None, total_samples: Any = None, metric: Any = None, mode: Any = None, **kwargs: Any
    ) -> None:
        super().setup(start_time, total_samples, metric, mode, **kwargs)
        assert (metric, mode) == ("loss", "min") and start_time > 1e9
        self.total = total_samples

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        return done or len(trials) == 2

    def report(self, trials: list[Any], done: bool, *sys_info: str) -> None:
        self.told.append((len(trials), done))


def test_a_reporter_that_says_when(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, AtTheEndOfTrials())
    found = tables(capsys.readouterr().out)
    assert 1 <= len(found) <= 3 and found[-1][0].split() == ["trial", "status", "x", "width", "loss"]
    own = Own()
    fit(tmp_path, own)
    assert own.total == 3 and own.told[-1] == (3, True) and {n for n, done in own.told if not done} <= {2}
    assert tables(capsys.readouterr().out) == []


def test_what_is_no_reporter(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        tune.CLIReporter("loss", [1], max_progress_rows=0, mode="best")  # type: ignore[arg-type, list-item]
    for name in ("metric_columns: expected a list", "parameter_columns:", "max_progress_rows:", "mode:"):
        assert name in str(caught.value)
    with pytest.raises(ValueError, match=r"expected an object, got the class CLIReporter. Write CLIReporter\(\)"):
        tune.RunConfig(progress_reporter=tune.CLIReporter)  # type: ignore[arg-type]


def test_a_terminal_is_drawn_in_place_unless_the_reporter_says_when() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80, legacy_windows=False)
    plain = tune.CLIReporter(max_progress_rows=7)
    assert isinstance(make_display(1, terminal, plain), LiveDisplay)
    assert isinstance(make_display(1, terminal, AtTheEndOfTrials()), TabledDisplay)
    assert isinstance(make_display(1, Console(file=io.StringIO()), plain), TabledDisplay)
    assert make_display(0, terminal, plain) is None
