"""The displays, driven through their hooks with trials made up here, and once under a real pseudo-terminal."""

import dataclasses
import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
import textwrap
from itertools import pairwise

import pytest
from rich.cells import cell_len
from rich.console import Console

from tune_plugins.callbacks import Callback, RunInfo
from tune_plugins.core.ends import EndCause, ErrorInfo
from tune_plugins.core.trial import Trial, TrialStatus
from tune_plugins.display import make_display
from tune_plugins.display.frame import machine_memory, picture, plain_line
from tune_plugins.display.live import LiveDisplay
from tune_plugins.display.plain import PlainDisplay
from tune_plugins.display.progress import Progress
from tune_plugins.display.summary import early_stopping
from tune_plugins.display.table import TrialTable
from tune_plugins.display.text import clean, duration, error_lines, exact, metric_text, rough_duration, short

RUN = RunInfo(
    name="flights",
    path="/results/flights",
    metric="eval-logloss",
    mode="min",
    total_trials=8,
    slots=2,
    resources={"CPU": 1},
    cluster={"CPU": 2, "memory": 8e9},
    scheduler="ASHAScheduler",
    parameters=("depth", "net/eta"),
)
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Clock:
    """Seconds that pass only when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Watched(list):
    """Trials that count how often all of them are read."""

    scans = 0

    def __iter__(self):
        self.scans += 1
        return super().__iter__()


class Stage:
    """A display, its output, a clock, and trials that play a run."""

    def __init__(self, *, live, run=RUN, verbose=1, width=120, height=24, file=None):
        self.file = file if file is not None else io.StringIO()
        self.clock = Clock()
        console = Console(
            file=self.file,
            force_terminal=live,
            width=width,
            height=height,
            _environ={"TERM": "xterm-256color"},
            legacy_windows=False,
        )
        kind = LiveDisplay if live else PlainDisplay
        self.display = kind(console, verbose, clock=self.clock, wall=self.clock)
        self.trials = Watched()
        self.display.setup(run=run)

    def start(self, number, config=None):
        config = {"depth": number, "net": {"eta": 0.5 / (number + 1)}} if config is None else config
        trial = Trial(f"{number:05d}", number, config, status=TrialStatus.RUNNING, started_at=self.clock.now)
        self.trials.append(trial)
        self.display.on_trial_start(0, self.trials, trial)
        return trial

    def report(self, trial, value, iteration=1, name="eval-logloss"):
        trial.iteration = iteration
        trial.last_result = {name: value, "training_iteration": iteration, "time_total_s": 2.0 * iteration}
        self.display.on_trial_result(0, self.trials, trial, trial.last_result)

    def finish(self, trial, value=None, iteration=1, reason="the trial function returned"):
        if value is not None:
            self.report(trial, value, iteration)
        trial.status, trial.reason, trial.ended_at = TrialStatus.TERMINATED, reason, self.clock.now
        self.display.on_trial_complete(0, self.trials, trial)

    def fail(self, trial, error):
        trial.status, trial.ended_at = TrialStatus.ERROR, self.clock.now
        told = error if isinstance(error, ErrorInfo) else ErrorInfo(*error.split(": ", 1))
        self.display.on_trial_error(0, self.trials, trial, error=told)

    def step(self, seconds=0.1, notes=(), stages=None):
        self.clock.now += seconds
        self.display.on_step_end(0, self.trials, notes=notes, stages=stages or {})

    def end(self, reason=""):
        self.display.on_experiment_end(self.trials, reason=reason)

    @property
    def text(self):
        return ANSI.sub("", self.file.getvalue()).replace("\r", "")

    def fresh(self):
        """What was written since the last call."""
        text = self.text
        self.file.seek(0)
        self.file.truncate()
        return text

    def rows(self, *, rows=24, columns=120, notes=(), **options):
        """The picture as plain lines."""
        elapsed = self.display.elapsed
        lines = picture(
            self.display.progress, notes, columns=columns, rows=rows, elapsed=elapsed, now=self.clock.now, **options
        )
        return ["".join(text for text, _ in line) for line in lines]


@pytest.fixture(params=[False, True], ids=["plain", "live"])
def live(request):
    return request.param


# ------------------------------------------------------------------------------------------ choice


def test_nothing_is_shown_with_verbose_0():
    assert make_display(0) is None


def test_kind_of_display_follows_the_console():
    def console(term, **options):
        return Console(file=io.StringIO(), _environ={"TERM": term}, **options)

    assert isinstance(make_display(1, console("xterm", force_terminal=True)), LiveDisplay)
    assert isinstance(make_display(1, console("dumb", force_terminal=True)), PlainDisplay)
    assert isinstance(make_display(1, console("xterm", force_terminal=False)), PlainDisplay)
    assert isinstance(make_display(2, console("xterm")), Callback)


def test_rich_is_loaded_only_for_a_display():
    code = (
        "import sys, tune_plugins.display as d; d.make_display(0); assert 'rich' not in sys.modules;"
        "d.make_display(1); assert 'rich' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ------------------------------------------------------------------------------------------- texts


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.000123456, "0.0001235"),
        (3, "3"),
        (123_456_789, "1.235e+08"),
        pytest.param(10**5000, "huge", id="huge"),
        (True, "True"),
        (None, "None"),
        (float("nan"), "nan"),
        ("x" * 100, "x" * 15 + "…"),
        (list(range(10**6)), "[0, 1, 2, 3, 4,…"),
        (os.path.join, "join"),
    ],
)
def test_short_values(value, expected):
    assert short(value) == expected


def test_values_of_numpy_are_shown_as_numbers():
    import numpy as np

    assert short(np.float32(0.1)) == "0.1"
    assert exact(np.int64(7)) == "7"
    assert exact(np.float64(0.1)) == "0.1"


def test_exact_values():
    assert exact(0.1 + 0.2) == "0.30000000000000004"
    assert exact("relu") == "'relu'"
    assert len(exact("x" * 10**6)) <= 200


def test_a_repr_that_raises_is_survived():
    class Bad:
        def __repr__(self):
            raise RuntimeError("no")

    assert "Bad" in short(Bad(), 80)


def test_untrusted_text_is_made_harmless():
    assert clean("\x1b[2J\x1b]0;title\x07gone\x00 \u202eevil") == "gone   evil"
    assert clean(" 10%\r 55%\r") == " 55%"
    assert clean("a\nb") == "a b"
    assert len(clean("y" * 10**7)) == 300


def test_metrics_and_durations():
    assert [metric_text(v) for v in (0.5, float("inf"), float("nan"), 1e-7)] == ["0.5000", "inf", "nan", "1e-07"]
    assert [duration(s) for s in (0, 9.97, 59.7, 3599.6)] == ["0.0s", "10s", "1m00s", "1h00m"]
    assert [rough_duration(s) for s in (0.1, 99, 100, 3600)] == ["1 s", "99 s", "2 min", "1 h 0 min"]


def test_errors_in_few_lines():
    assert error_lines(ErrorInfo("ValueError", "first\nsecond", "Traceback ...")) == ["ValueError: first", "second"]
    assert error_lines(ErrorInfo("MemoryError", "killed")) == ["MemoryError: killed"]
    assert error_lines(ErrorInfo("KeyboardInterrupt", "")) == ["KeyboardInterrupt"]
    assert error_lines(ErrorInfo("E", "1\n" + "more\n" * 50))[-1] == "more …"


# -------------------------------------------------------------------------------------- aggregates


def test_best_is_over_last_results_and_never_nan_or_infinite():
    stage = Stage(live=False)
    a, b, c = (stage.start(n) for n in range(3))
    stage.report(a, 0.3)
    stage.report(b, 0.4)
    stage.report(c, float("-inf"))
    stage.step()
    assert stage.display.progress.best is a
    stage.report(a, 0.9, iteration=2)  # its last result is what counts
    stage.step()
    assert stage.display.progress.best is b
    stage.report(b, float("nan"), iteration=2)
    stage.step()
    assert stage.display.progress.best is a
    stage.finish(a, None)
    stage.report(c, 0.1)
    stage.step()
    assert stage.display.progress.best is c


def test_mode_max_and_nested_metric():
    run = RunInfo(metric="eval/auc", mode="max", total_trials=2, slots=2)
    progress = Progress(run)
    trials = {
        name: Trial(name, i, {}, status=TrialStatus.RUNNING, last_result={"eval": {"auc": auc}})
        for i, (name, auc) in enumerate([("a", 0.6), ("b", 0.8), ("c", None), ("d", "0.9")])
    }
    progress.rescan(list(trials.values()))
    assert progress.best is trials["b"]
    trials["b"].status = TrialStatus.TERMINATED
    progress.update(list(trials.values()))
    assert progress.best is trials["b"]


def test_paused_trials_are_counted_and_wake_up():
    stage = Stage(live=False)
    trial = stage.start(0)
    stage.report(trial, 0.4)
    stage.step()
    trial.status = TrialStatus.PAUSED
    stage.step()
    progress = stage.display.progress
    assert (progress.counts[TrialStatus.PAUSED], len(progress.active)) == (1, 0)
    assert progress.best is trial
    trial.status = TrialStatus.RUNNING
    stage.report(trial, 0.7, iteration=2)
    stage.step()
    assert (progress.counts[TrialStatus.PAUSED], len(progress.active)) == (0, 1)


def test_running_trials_come_first_then_the_best_of_the_others():
    stage = Stage(live=False)
    trials = [stage.start(n) for n in range(6)]
    for trial, value in zip(trials[:4], (0.4, 0.2, float("nan"), 0.3), strict=True):
        stage.finish(trial, value)
    stage.step()
    assert [trial.index for trial in stage.display.progress.rows(10)] == [4, 5, 1, 3, 0, 2]
    assert [trial.index for trial in stage.display.progress.rows(3)] == [4, 5, 1]


def test_where_more_trials_run_than_fit_a_third_is_left_to_the_others():
    stage = Stage(live=False)
    for number in range(30):
        trial = stage.start(number)
        if number < 10:
            stage.finish(trial, 0.1 * number)
    stage.step()
    rows = stage.display.progress.rows(9)
    assert [trial.index for trial in rows] == [10, 11, 12, 13, 14, 15, 0, 1, 2]


def test_a_resumed_run_starts_from_what_there_is():
    stage = Stage(live=False)
    for number in range(4):
        trial = Trial(f"{number:05d}", number, {}, status=TrialStatus.TERMINATED)
        trial.last_result = {"eval-logloss": 0.1 * number}
        stage.trials.append(trial)
    stage.step()
    progress = stage.display.progress
    assert progress.finished == 4
    assert progress.best is stage.trials[0]
    assert progress.seconds_left(100.0) is None  # none of them tells how long one takes today


def test_an_exploit_that_changes_a_config_makes_its_parameters_vary():
    stage = Stage(live=False, run=RunInfo(metric="eval-logloss", mode="min", slots=2))
    same = [stage.start(n, {"depth": 3, "net": {"eta": 0.1}}) for n in range(2)]
    stage.step()
    assert stage.display.progress.shown_parameters == []
    same[0].config = {"depth": 3, "net": {"eta": 0.12}}
    stage.step()
    assert stage.display.progress.shown_parameters == ["net/eta"]


# --------------------------------------------------------------------------------------- time left


def test_time_left_counts_the_time_of_running_trials_too():
    stage = Stage(live=False)
    first = [stage.start(0), stage.start(1)]
    stage.step(0)
    assert stage.display.progress.seconds_left(0.0) is None
    stage.step(10.0)
    for trial in first:
        stage.finish(trial, 0.5)
    stage.start(2)
    stage.step(0)
    # 20 s of slot time for 2 finished trials: 10 s each; 6 are left on 2 slots.
    assert stage.display.progress.seconds_left(10.0) == (pytest.approx(30.0), True)


def test_time_left_is_bounded_by_the_budget_or_is_the_budget():
    endless = RunInfo(metric="m", mode="min", time_budget_s=60.0, slots=2)
    assert Progress(endless).seconds_left(20.0) == (40.0, False)
    assert "at most 40 s left" in line_after(endless, 20.0)
    assert Progress(RunInfo(slots=2)).seconds_left(20.0) is None
    assert "left" not in line_after(RunInfo(slots=2), 20.0)


def line_after(run, elapsed):
    stage = Stage(live=False, run=run)
    stage.fresh()
    stage.step(elapsed)
    return stage.fresh()


# ----------------------------------------------------------------------------------------- picture


def test_the_picture_tells_everything():
    stage = Stage(live=True)
    for number, value in enumerate((0.41, 0.32)):
        stage.finish(stage.start(number), value, iteration=7)
    stage.report(stage.start(2), 0.6, iteration=3)
    stage.step(10.0)
    rows = stage.rows(notes=["rung 9: cut 0.398 of 18 results"], memory="memory 1.0/8.0 GB")
    assert rows[0].startswith("flights  elapsed 10s  ASHAScheduler")
    assert rows[1] == "best eval-logloss 0.3200  trial 00001, iteration 7  depth=1 net/eta=0.25"
    assert rows[2].endswith(" 2/8 trials  1 running, 2 terminated")
    assert rows[3] == "1/2 CPU | memory 1.0/8.0 GB"
    assert rows[4] == "rung 9: cut 0.398 of 18 results"
    assert rows[6].split() == ["trial", "status", "depth", "eta", "eval-logloss", "iter", "time"]
    assert rows[7].split() == ["00002", "RUNNING", "2", "0.1667", "0.6000", "3", "6.0s"]
    assert [row.split()[0] for row in rows[8:]] == ["00001", "00000"]


@pytest.mark.parametrize("columns", [10, 30, 60, 80, 200])
@pytest.mark.parametrize("rows", [1, 4, 10, 40])
def test_the_picture_fits_the_terminal(columns, rows):
    stage = Stage(live=True)
    for number in range(50):
        config = {f"学習率{k}" * 5: "値" * 30 + str(number) for k in range(20)} | {"depth": number}
        trial = stage.start(number, config)
        stage.finish(trial, 0.1 * number) if number % 3 else stage.fail(trial, "ValueError: x")
    stage.step()
    found = stage.rows(columns=columns, rows=rows, notes=["rung 1: cut " + "9" * 300] * 50)
    assert len(found) <= rows
    # The two columns that are never left out take 25 together.
    assert max(cell_len(row) for row in found) <= max(columns, 25)


def test_the_rest_is_counted():
    stage = Stage(live=True, run=RunInfo(total_trials=10_000, slots=2))
    for number in range(10_000):
        trial = Trial(f"{number:05d}", number, {})
        stage.trials.append(trial)
    for number in range(10):
        trial = stage.trials[number]
        trial.status = TrialStatus.RUNNING
        stage.display.on_trial_start(0, stage.trials, trial)
    stage.step()
    assert stage.rows(rows=30)[-1] == "... 9,990 more trials"
    assert "9,990 pending" in "\n".join(stage.rows())


def header(rows):
    return next(row for row in rows if row.startswith("trial")).split()


def test_parameters_are_shown_in_the_order_in_which_the_user_wrote_them():
    run = RunInfo(metric="m", mode="min", parameters=("kind", "b/x", "depth", "a/x"), slots=2)
    stage = Stage(live=True, run=run)
    for n in range(6):
        stage.start(n, {"kind": "ab"[n % 2], "a": {"x": n}, "b": {"x": n * 100_000}, "depth": 7})
    stage.step()
    assert header(stage.rows()) == ["trial", "status", "kind", "b/x", "depth", "a/x", "m", "iter", "time"]
    assert header(stage.rows(columns=60)) == ["trial", "status", "kind", "b/x", "m", "iter", "time"]
    stage.report(stage.trials[0], 0.5, name="m")
    stage.step()
    assert stage.rows()[1].endswith("  kind=a b/x=0 depth=7 a/x=0")


def test_columns_do_not_move_while_it_runs():
    run = RunInfo(metric="m", mode="min", parameters=("lr", "depth", "name"), slots=2, max_iterations=1000)
    stage = Stage(live=True, run=run)
    table = TrialTable()
    titles = []

    def look(columns=80):
        stage.step()
        rows = stage.rows(columns=columns, table=table)
        assert max(map(cell_len, rows)) <= columns
        titles.append(next(row for row in rows if row.startswith("trial")))
        return titles[-1]

    trial = stage.start(0, {"lr": 0.5, "depth": 3, "name": "x"})
    first = look()
    stage.report(trial, 0.5, iteration=1)
    assert look() == first
    stage.report(trial, 0.000012345, iteration=999)
    stage.start(1, {"lr": 0.00012345, "depth": 30, "name": "xyz"})
    assert look() == first
    stage.start(2, {"lr": 0.5, "depth": 3, "name": "a name that is long"})
    grown = look()
    assert len(first) < len(grown) <= 80 and grown.split() == first.split()
    stage.finish(stage.trials[2], 0.1)
    stage.trials[2].config = {"lr": 0.5, "depth": 3, "name": "x"}
    assert look() == grown, "widths never shrink"
    narrow = look(columns=60)
    assert narrow.split() == ["trial", "status", "lr", "depth", "m", "iter", "time"]


def test_a_column_that_has_no_room_to_grow_is_cut():
    run = RunInfo(metric="m", mode="min", parameters=("name",), slots=2)
    stage = Stage(live=True, run=run)
    table = TrialTable()
    trial = stage.start(0, {"name": "x"})
    stage.step()
    stage.rows(columns=50, table=table)
    trial.config = {"name": "a long name"}
    rows = stage.rows(columns=50, table=table)
    assert max(map(cell_len, rows)) <= 50 and "…" in rows[-1]


def test_the_live_table_keeps_its_columns():
    stage = Stage(live=True, width=50, run=RunInfo(metric="m", mode="min", parameters=("name",), slots=2))
    trial = stage.start(0, {"name": "x"})
    stage.step(1.0)
    trial.config = {"name": "a long name"}
    stage.fresh()
    stage.step(1.0)
    assert "…" in stage.fresh()


def test_without_a_metric_there_is_no_best_line_and_the_first_number_is_shown():
    stage = Stage(live=True, run=RunInfo(total_trials=2, slots=2))
    stage.report(stage.start(0), 0.25, name="loss")
    stage.step()
    assert "best" not in "\n".join(stage.rows())
    assert "loss" in "\n".join(stage.rows())
    stage.end()
    assert "best" not in stage.text


def test_markup_and_escapes_in_names_and_values_are_shown_as_they_are():
    run = RunInfo(name="[red]x[/red]", path="/p", metric="[bold]m", mode="min", total_trials=2, slots=2)
    stage = Stage(live=True, run=run)
    for number, text in enumerate(("[/nonsense]", "\x1b[2J[link=x]")):
        stage.report(stage.start(number, {"[a]": text}), 0.5, name="[bold]m")
    stage.step(1.0)
    stage.end()
    assert "\x1b[2J" not in stage.file.getvalue()
    for expected in ("[red]x[/red]", "[bold]m", "[/nonsense]", "[link=x]", "[a]"):
        assert expected in stage.text


def test_memory_of_the_machine(tmp_path):
    file = tmp_path / "meminfo"
    file.write_text("MemTotal: 2000000 kB\nMemFree: 1 kB\nMemAvailable: 500000 kB\n")
    assert machine_memory(str(file)) == "memory 1.5/2.0 GB"
    assert machine_memory(str(tmp_path / "missing")) == ""
    file.write_text("rubbish")
    assert machine_memory(str(file)) == ""


# -------------------------------------------------------------------------------------------- cost


def test_with_20000_trials_a_step_reads_only_what_changed():
    stage = Stage(live=True, run=RunInfo(metric="eval-logloss", mode="min", total_trials=20_002, slots=2))
    for number in range(20_000):
        trial = stage.start(number)
        stage.finish(trial, 1.0 / (number + 1))
    running = [stage.start(20_000), stage.start(20_001)]
    stage.step()
    progress = stage.display.progress
    stage.trials.scans, reads, drawn = 0, progress.reads, stage.display.drawn
    for iteration in range(1, 11):
        for trial in running:
            for _ in range(100):
                stage.report(trial, 0.5, iteration)
        assert len(progress.touched) == 2  # a report costs one entry, however many there are
        stage.step(100.0)
    assert stage.trials.scans == 0
    assert progress.reads - reads == 20
    assert stage.display.drawn - drawn == 10
    assert len(stage.rows(rows=24)) <= 24
    assert progress.best is stage.trials[19999]
    stage.end()
    assert "20,002 trials" in stage.text


def test_the_table_is_drawn_at_most_four_times_a_second():
    stage = Stage(live=True)
    stage.start(0)
    drawn = stage.display.drawn
    for _ in range(100):
        stage.step(0.01)
    assert stage.display.drawn - drawn <= 4


# ------------------------------------------------------------------------------------- plain lines


def test_plain_lines_come_every_5_s_and_later_every_30_s():
    stage = Stage(live=False)
    assert stage.fresh() == ("flights: 8 trials, 2 at a time, ASHAScheduler, min of eval-logloss -> /results/flights\n")
    trial = stage.start(0)
    times = []
    for _ in range(10_000):
        stage.step(0.1)
        if line := stage.fresh():
            assert line.count("\n") == 1
            times.append(stage.display.elapsed)
    gaps = [after - before for before, after in pairwise(times)]
    assert times[0] < 0.2
    assert gaps[0] == pytest.approx(5.0, abs=0.2)
    assert gaps[-1] == pytest.approx(30.0, abs=0.2)
    stage.finish(trial, 0.53124, iteration=120)
    stage.step(60.0)
    assert stage.fresh() == (
        "[17m40s] 1/8 trials done, 0 running, best eval-logloss 0.5312 (trial 00000, iteration 120)\n"
    )


def test_plain_output_has_no_control_codes():
    stage = Stage(live=False)
    stage.finish(stage.start(0), 0.5)
    stage.step()
    stage.end()
    assert "\x1b" not in stage.file.getvalue()


def test_plain_output_to_a_file_that_only_takes_ascii():
    raw = io.BytesIO()
    stage = Stage(live=False, file=io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    stage.start(0, {"größe": "λ" * 300})
    stage.step()
    stage.report(stage.trials[0], 0.5)
    stage.end()
    assert not stage.display.broken
    assert b"best eval-logloss 0.5000" in raw.getvalue()


def test_the_name_of_a_broken_file_does_not_end_the_display():
    """UTF-8 cannot hold it: sqlite-utils' 507, llm's 546."""
    raw = io.BytesIO()
    run = dataclasses.replace(RUN, path="/data/größe \udcff")
    stage = Stage(live=False, run=run, file=io.TextIOWrapper(raw, encoding="utf-8", write_through=True))
    stage.start(0, {"file": "\udcff"})
    stage.display.on_trial_error(0, stage.trials, stage.trials[0], error=ErrorInfo("OSError", "no \udcff"))
    stage.step()
    stage.end()
    assert not stage.display.broken
    assert 'ResultGrid("/data/größe ?")' in raw.getvalue().decode()


def test_verbose_2_tells_each_finished_trial_with_its_reason(live):
    stage = Stage(live=live, verbose=2)
    trial = stage.start(0)
    stage.clock.now += 3.0
    stage.finish(trial, 0.412, 9, reason="stopped at rung 9: 0.412 worse than the cut 0.398, rank 7 of 18")
    stage.step()
    expected = "trial 00000 done after 3.0s at iteration 9, eval-logloss 0.4120: stopped at rung 9: 0.412 worse"
    assert expected in stage.text.replace("\n", "")
    quiet = Stage(live=live)
    quiet.finish(quiet.start(0), 0.4)
    quiet.step()
    assert "00000 done" not in quiet.text


# ----------------------------------------------------------------------------- output and failures


def test_output_of_trials_is_prefixed_and_limited(live):
    stage = Stage(live=live)
    trial = stage.start(0)
    stage.display.on_trial_output(0, stage.trials, trial, ["[b]hello[/b]", "\x1b[31mred"])
    stage.display.on_trial_output(0, stage.trials, None, ["from nobody"])
    stage.step(0.01)
    text = stage.fresh()
    assert "(00000) [b]hello[/b]\n" in text
    assert "(00000) red\n" in text
    assert "from nobody\n" in text
    for _ in range(10):
        stage.display.on_trial_output(0, stage.trials, trial, ["spam"] * 100)
    stage.step(0.01)
    assert stage.fresh().count("spam") == 47
    stage.step(2.0)
    text = stage.fresh()
    assert "... 953 lines of trial output not shown; RunConfig(log_to_file=True) keeps them all" in text
    stage.display.on_trial_output(0, stage.trials, trial, ["again"])
    stage.step(0.01)
    text = stage.fresh()
    assert "again" in text
    assert "not shown" not in text


def test_what_was_left_out_is_told_at_the_end_too(live):
    stage = Stage(live=live)
    stage.display.on_trial_output(0, stage.trials, stage.start(0), ["spam"] * 51)
    stage.end()
    assert "... 1 line of trial output not shown" in stage.text


def test_failures_show_at_once_and_once_and_later_ones_are_counted(live):
    stage = Stage(live=live)
    for number in range(5):
        trial = stage.start(number)
        stage.fresh()
        error = f"ValueError: [x] no {number}"
        stage.fail(trial, error)
        text = stage.fresh()
        if number < 3:
            assert f"trial {trial.id} failed: ValueError: [x] no {number}\n" in text
            expected = f'print(tune_plugins.ResultGrid("/results/flights")[{number}].error) shows the whole traceback'
            assert expected in text
            assert ("only counted" in text) == (number == 2)
        else:
            assert text == ""
    stage.step(1.0)
    assert "failed: ValueError" not in stage.fresh()
    stage.end()
    assert "2 more trials failed, not shown above" in stage.text
    assert "5 trials in 1.0s: 5 failed" in stage.text


def test_an_error_is_told_with_its_place_and_the_same_again_in_short(live):
    """What is underneath, of libraries, is in the traceback."""
    traceback = (
        "Traceback (most recent call last):\n"
        '  File "/home/me/work/train.py", line 12, in train\n    table[name]\n'
        '  File "/env/lib/python3.11/site-packages/pandas/core/frame.py", line 4107, in __getitem__\n    x\n'
        f'  File "{json.__file__}", line 1, in loads\n    x\n'
    )
    stage = Stage(live=live)
    for number in range(2):
        stage.fail(stage.start(number), ErrorInfo("KeyError", "'dep_dalay'", traceback))
    text = stage.fresh()
    assert "trial 00000 failed: KeyError: 'dep_dalay'  (train.py, line 12, in train)\n" in text
    assert "trial 00001 failed: KeyError: 'dep_dalay' (as before)\n" in text
    assert text.count("shows the whole traceback") == 1


def test_a_metric_that_no_result_has_is_told_with_those_there_are():
    progress = Progress(RunInfo(metric="val_accuracy", mode="max"))
    trial = Trial("00000", 0, {}, status=TrialStatus.RUNNING, iteration=1)
    progress.rescan([trial])
    assert "so far" not in plain_line(progress, 1.0)
    trial.last_result = {"val_acc": 0.5, "val_loss": 1.0, "training_iteration": 1, "time_total_s": 1.0}
    progress.touched[trial.id] = trial
    progress.update([trial])
    assert "no val_accuracy so far; results have val_acc, val_loss" in plain_line(progress, 1.0)


def test_what_was_saved_of_trainings_that_end_by_themselves():
    ended = [Trial(f"{n}", n, {}, trained=10, iteration=10, cause=EndCause.FINISHED) for n in range(3)]
    stopped = [Trial(f"{n}", n, {}, trained=1, iteration=1, cause=EndCause.SCHEDULER) for n in range(3, 8)]
    assert early_stopping([*ended, *stopped], 1000) == "5 of 8 stopped early, 35 of 80 rounds trained, 56 % saved"


def test_a_retry_is_told(live):
    stage = Stage(live=live)
    for number in range(5):
        trial = stage.start(number)
        trial.status = TrialStatus.PENDING
        stage.display.on_trial_recover(0, stage.trials, trial, error=ErrorInfo("OSError", "disk full"))
    stage.step()
    assert stage.text.count("failed and will be tried again: OSError: disk full") == 3
    assert stage.display.progress.waiting == 5


# --------------------------------------------------------------------------------------------- end


def test_the_summary(live):
    stage = Stage(live=live)
    stage.finish(stage.start(0, {"depth": 6, "net": {"eta": 0.1 + 0.2}}), 0.53125, iteration=120)
    stage.fail(stage.start(1), "ValueError: no")
    paused = stage.start(2)
    paused.status = TrialStatus.PAUSED  # told by no hook
    stage.step(72.0)
    stage.fresh()
    stage.end()
    assert stage.text.endswith(
        "3 trials in 1m12s: 1 failed, 1 terminated, 1 paused\n"
        "best eval-logloss 0.5312 (min): trial 00000 at iteration 120\n"
        "  depth    6\n"
        "  net/eta  0.30000000000000004\n"
        "results  /results/flights\n"
        'look at them with  tune_plugins.ResultGrid("/results/flights")\n'
    )


def test_what_early_stopping_did_is_told():
    stage = Stage(live=False, run=dataclasses.replace(RUN, max_iterations=100))
    for number in range(16):
        trial = stage.start(number)
        trial.trained = trial.iteration = 100 if number < 5 else 5
        trial.cause = EndCause.SCHEDULED_END if number < 5 else EndCause.SCHEDULER
        stage.finish(trial)
    stage.end()
    told = "11 of 16 stopped early, 555 of 1,600 rounds trained, 65 % saved\n"
    assert told in stage.text


def test_only_what_early_stopping_saved_is_saved():
    def trial(cause, trained):
        return Trial("x", 0, {}, trained=trained, cause=cause)

    finished, stopped, waited = (
        trial(cause, trained)
        for cause, trained in ((EndCause.FINISHED, 10), (EndCause.SCHEDULER, 2), (EndCause.ABANDONED, 4))
    )
    lost = [trial(EndCause.FAILED, 1), trial(EndCause.USER, 1), trial(None, 0)]
    assert early_stopping([finished, *lost], 10) == ""
    assert early_stopping([finished, stopped], None) == "1 of 2 stopped early"
    told = "1 of 6 stopped early, 1 never went on, 18 of 60 rounds trained, 23 % saved"
    assert early_stopping([finished, stopped, waited, *lost], 10) == told
    assert early_stopping([trial(EndCause.SCHEDULER, 14)], 10).endswith("14 of 10 rounds trained, 0 % saved")


def test_warnings_of_the_scheduler_are_told_at_the_end(live):
    stage = Stage(live=live)
    stage.finish(stage.start(0), 0.5)
    stage.display.on_experiment_end(stage.trials, reason="", warnings=["[b]all\x1b[2J[/b] equal. Lower it."])
    assert "warning [b]all[/b] equal. Lower it.\n" in stage.text


def test_an_early_end_is_said_first_with_how_to_look_at_the_results():
    stage = Stage(live=False)
    stage.start(0)
    stage.step()
    stage.fresh()
    stage.end("interrupted by Ctrl-C")
    assert stage.text.startswith(
        "ended early: interrupted by Ctrl-C\n"
        'the results so far are kept; look at them with  tune_plugins.ResultGrid("/results/flights")\n'
    )
    assert "no trial has reported a finite number as 'eval-logloss'" in stage.text


def test_the_end_of_a_run_without_trials(live):
    stage = Stage(live=live)
    stage.end("interrupted")
    assert "0 trials in 0.0s, 8 never began\n" in stage.text


# --------------------------------------------------------------------------------- harm to nobody


class Failing(io.StringIO):
    """A terminal that breaks."""

    fails = False

    def write(self, text):
        if self.fails:
            raise OSError("input/output error")
        return super().write(text)


def test_a_display_that_fails_is_switched_off_with_one_warning(live, caplog):
    file = Failing()
    stage = Stage(live=live, file=file)
    trial = stage.start(0)
    file.fails = True
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            stage.step(100.0)
        stage.finish(trial, 0.5)
        stage.end()
    assert [record.message for record in caplog.records] == [
        "the display of the run failed and is switched off; the run goes on"
    ]


def test_the_summary_is_tried_even_after_a_failure(live):
    file = Failing()
    stage = Stage(live=live, file=file)
    stage.finish(stage.start(0), 0.5)
    file.fails = True
    stage.step(100.0)
    assert stage.display.broken
    file.fails = False
    stage.end()
    assert "best eval-logloss 0.5000" in stage.text


def test_a_pipe_whose_reader_has_gone_does_not_end_the_run():
    code = textwrap.dedent("""
        from tune_plugins.callbacks import RunInfo
        from tune_plugins.display import make_display
        display = make_display(1)
        display.setup(run=RunInfo(name="x" * 100))
        for _ in range(100):
            display.on_trial_output(0, [], None, ["y"])
            display.on_step_end(0, [])
        display.on_experiment_end([])
        import sys
        print("the run went on", file=sys.stderr)
    """)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        done = subprocess.run([sys.executable, "-c", code], stdout=out, stderr=subprocess.PIPE, text=True, check=True)
    assert done.stderr == "the run went on\n"


def test_the_cursor_comes_back_after_the_end():
    stage = Stage(live=True)
    assert "\x1b[?25l" in stage.file.getvalue()
    stage.end("interrupted by Ctrl-C")
    codes = re.findall(r"\x1b\[\?25[lh]", stage.file.getvalue())
    assert codes == ["\x1b[?25l", "\x1b[?25h"]


DRIVER = """
import logging, sys
from tune_plugins.callbacks import RunInfo
from tune_plugins.display import make_display
from tune_plugins.core.trial import Trial, TrialStatus
logging.basicConfig(level=logging.INFO, format="%(message)s")
display = make_display(1)
assert type(display).__name__ == "LiveDisplay"
out, err = sys.stdout, sys.stderr
display.setup(run=RunInfo(name="a run", metric="loss", mode="min", total_trials=1, slots=1))
trial = Trial("00000", 0, {"lr": 0.1}, status=TrialStatus.RUNNING)
trials = [trial]
display.on_trial_start(0, trials, trial)
logging.info("a log record")
print("a print")
display.on_step_end(0, trials, notes=["rung 1: cut 0.5 of 2 results"])
{ending}
assert (sys.stdout, sys.stderr) == (out, err)
assert logging.getLogger().handlers[0].stream is err
print("after the run")
"""


def in_a_terminal(ending):
    """What the driver writes to a pseudo-terminal, and its exit status."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    code = DRIVER.replace("{ending}", ending)
    with subprocess.Popen([sys.executable, "-c", code], stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        written = b""
        try:
            while block := os.read(master, 65536):
                written += block
        except OSError:  # Linux says so when the other side is closed
            pass
        status = process.wait(600)
    os.close(master)
    return written.decode().replace("\r\n", "\n"), status


def test_in_a_real_terminal_prints_and_logs_do_not_meet_the_table():
    written, status = in_a_terminal("trial.status = TrialStatus.TERMINATED; display.on_experiment_end(trials)")
    assert status == 0, written
    # Each time the table was erased before and drawn again after the line.
    for expected in ("a log record", "a print"):
        assert re.search(r"\x1b\[2K" + expected + r"\n", written), written
        assert "a run" in written.partition(expected)[2]
    assert written.rindex("\x1b[?25h") < written.rindex("1 terminated")
    assert written.endswith("after the run\n")


def test_a_driver_that_dies_on_the_way_leaves_the_cursor_visible():
    written, status = in_a_terminal('raise KeyboardInterrupt("in the middle")')
    assert status != 0
    assert "in the middle" in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


def test_what_trials_wait_for_before_they_run_is_told_apart():
    stage = Stage(live=True)
    stage.start(0)
    stage.trials += [Trial(f"{number:05d}", number, {}) for number in range(1, 8)]
    stage.step(stages={"00001": "importing", "00002": "importing", "00003": "waiting for resources"})
    told = "1 running, 2 importing, 1 waiting for resources, 4 pending"
    assert told in stage.rows()[2 - 1]
    plain = Stage(live=False)
    plain.start(0)
    plain.step(10.0, stages={"00001": "importing", "00002": "importing"})
    assert "1 running, 2 importing" in plain.text
