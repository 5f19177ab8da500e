"""ResultGrid and Result over a record in real files."""

from __future__ import annotations

import logging
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pandas as pd
import pytest

import tune_plugins as tune
from tune_plugins.core.autofill import AUTOFILLED, date_of
from tune_plugins.core.ends import EndCause, ErrorInfo
from tune_plugins.core.events import CheckpointSaved, DeleteCheckpoint, RecordDecision, RecordStatus, RecordTrial
from tune_plugins.core.events import ResultsReported as Reported
from tune_plugins.core.trial import TrialStatus
from tune_plugins.errors import ArgumentError, TrialError, TuneError
from tune_plugins.record.checkpoint import Checkpoint, CheckpointWriter
from tune_plugins.record.store import ExperimentStore, StorageError
from tune_plugins.results import Result, ResultGrid
from tune_plugins.space import Categorical, Space

NAN, INF = math.nan, math.inf


def make(
    directory: Path, losses: dict[str, list[Any]], mode: str | None = "min", config: dict[str, Any] | None = None
) -> Path:
    """An experiment whose trials reported these losses and ended."""
    meta = {"metric": "loss", "mode": mode} if mode else {}
    with ExperimentStore.create(directory, meta) as store:
        for number, (trial_id, values) in enumerate(losses.items()):
            results = tuple(
                {"loss": v, "training_iteration": i, "time_total_s": i * 0.5, "timestamp": 1.0}
                for i, v in enumerate(values, 1)
            )
            store.commit(
                [Reported(1.0, trial_id, results)] if results else [],
                [
                    RecordTrial(trial_id, number, {"lr": number / 10, "net": {"width": 8}, **(config or {})}, 0, 0.0),
                    RecordStatus(trial_id, "TERMINATED", "the trial function returned", 2.0, EndCause.FINISHED),
                ],
            )
    return directory


@pytest.mark.parametrize(
    ("scope", "mode", "best"),
    [
        ("last", "min", "c"),
        ("last", "max", "a"),
        ("all", "min", "b"),
        ("all", "max", "b"),
        ("avg", "min", "a"),
        ("avg", "max", "b"),
        ("last-5-avg", "min", "c"),
        ("last-5-avg", "max", "a"),
        ("last-10-avg", "min", "c"),
    ],
)
def test_scopes(tmp_path: Path, scope: str, mode: str, best: str) -> None:
    grid = ResultGrid(
        make(
            tmp_path / "exp",
            {
                "a": [3.0, 2.0, 4.0],
                "b": [90.0, 0.5, *[3.0] * 10],
                "c": [80.0, *[2.5] * 10, 0.75],
            },
        )
    )
    assert grid.get_best_result(mode=mode, scope=scope).trial_id == best


def test_none_is_a_value_that_is_missing(tmp_path: Path) -> None:
    """Trials are judged by the value last known, as if it were not there."""
    grid = ResultGrid(make(tmp_path / "exp", {"a": [None], "b": [0.5], "c": [0.1, None], "d": [9.0, None]}))
    assert [grid.get_best_result(mode=mode).trial_id for mode in ("min", "max")] == ["c", "d"]  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [NAN, INF, -INF, "low", [0.0], {}])
def test_what_is_no_number_is_never_best(tmp_path: Path, bad: Any) -> None:
    alone = ResultGrid(make(tmp_path / "alone", {"a": [bad]}))
    single = ResultGrid(make(tmp_path / "single", {"a": [bad, bad], "b": [0.5], "c": []}))
    mixed = ResultGrid(make(tmp_path / "mixed", {"a": [bad], "b": [0.5], "c": [0.1, bad], "d": [9.0, bad]}))
    for mode in ("min", "max"):
        for scope in ("last", "all", "avg", "last-5-avg", "last-10-avg"):
            assert single.get_best_result(mode=mode, scope=scope).trial_id == "b"
            expected = {"min": "c", "max": "d"}[mode] if scope == "all" else "b"
            assert mixed.get_best_result(mode=mode, scope=scope).trial_id == expected
            with pytest.raises(TuneError, match=r"No trial has a usable value of 'loss'.*Last values by trial: a: "):
                alone.get_best_result(mode=mode, scope=scope)


def test_infinite_values_may_be_asked_for_nan_never(tmp_path: Path) -> None:
    grid = ResultGrid(make(tmp_path / "exp", {"a": [NAN], "b": [0.5], "c": [-INF], "d": [INF, -INF]}))
    assert grid.get_best_result(filter_nan_and_inf=False).trial_id == "c"
    assert grid.get_best_result(filter_nan_and_inf=False, mode="max", scope="all").trial_id == "d"
    assert grid.get_best_result(filter_nan_and_inf=False, mode="max", scope="avg").trial_id == "b"


def test_the_last_value_counts_where_the_last_result_lacks_the_metric(tmp_path: Path) -> None:
    make(tmp_path / "exp", {"a": [0.5], "b": [0.25]})
    with ExperimentStore.open(tmp_path / "exp", readonly=False) as store:
        store.commit([Reported(3.0, "b", ({"done": True, "nested": {"score": 7}},))])
    grid = ResultGrid(tmp_path / "exp")
    assert grid.get_best_result().trial_id == "b"
    expected = {"done": True, "nested": {"score": 7}, "loss": 0.25}  # the run's metric as it was last known
    assert expected.items() <= grid.get_best_result("nested/score", "max").metrics.items()


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    grid = ResultGrid(make(tmp_path / "exp", {"a": [1.0]}, mode=None))
    assert grid.get_best_result() == grid[0]  # there is nothing to compare it with
    with pytest.raises(ArgumentError, match="metric: expected the name"):
        ResultGrid(make(tmp_path / "two", {"a": [1.0], "b": [2.0]}, mode=None)).get_best_result()
    with pytest.raises(ArgumentError) as caught:
        grid.get_best_result(scope="best")
    assert [m.partition(":")[0] for m in caught.value.mistakes] == ["metric", "mode", "scope"]
    with pytest.raises(TuneError, match=r"by any trial. Did you mean 'loss'. Those reported: loss, time_total_s"):
        grid.get_best_result("los", "min")
    with pytest.raises(TuneError, match=r"None of the 1 trials has reported a result\. Add the callback"):
        ResultGrid(make(tmp_path / "none", {"a": []})).get_best_result()
    with pytest.raises(TuneError, match="has no trials yet"):
        ResultGrid(make(tmp_path / "empty", {})).get_best_result()
    with pytest.raises(StorageError, match="There is no experiment in"):
        ResultGrid(tmp_path / "nothing")


def test_grid_over_all_trials(tmp_path: Path) -> None:
    grid = ResultGrid(make(tmp_path / "exp", {"a": [1.0, 0.5], "b": [2.0], "c": []}))
    assert len(grid) == 3 and [r.trial_id for r in grid] == ["a", "b", "c"]
    first = grid[0]
    assert isinstance(first, Result) and first is grid[0]
    reported = {"loss": 0.5, "training_iteration": 2, "time_total_s": 1.0, "timestamp": 1.0}
    added = {"trial_id": "a", "experiment_tag": "0", "config": first.config, "date": date_of(1.0), "done": True}
    counted = {"time_this_iter_s": 0.5, "time_since_restore": 1.0, "iterations_since_restore": 2}
    assert first.metrics == {**reported, **added, **counted, "pid": 0, "hostname": "", "node_ip": ""}
    assert first.config == {"lr": 0.0, "net": {"width": 8}} and repr(first).count("lr=") == 1
    assert first.path == str(tmp_path / "exp" / "trial_a")
    assert (first.status, first.reason, first.error) == (TrialStatus.TERMINATED, "the trial function returned", None)
    assert (grid.num_terminated, grid.num_errors, grid.errors) == (3, 0, [])
    assert grid[2].metrics == {} and grid[2].checkpoint is None and grid[2].metrics_dataframe.empty
    assert grid.experiment_path == str(tmp_path / "exp")


def test_dataframes(tmp_path: Path) -> None:
    grid = ResultGrid(make(tmp_path / "exp", {"a": [1.0, 0.5, NAN, 0.75], "b": [2.0], "c": [], "d": [NAN]}))
    frame = grid.get_dataframe()
    assert list(frame["trial_id"]) == ["a", "b", "c", "d"] and list(frame["status"]) == ["TERMINATED"] * 4
    assert list(frame["loss"][:2]) == [0.75, 2.0] and frame["loss"][2:].isna().all()
    assert list(frame["config/lr"]) == [0.0, 0.1, 0.2, 0.3] and set(frame["config/net/width"]) == {8}
    best = grid.get_dataframe("loss", "min")
    assert list(best["loss"][:2]) == [0.5, 2.0] and best["training_iteration"][0] == 2
    assert grid.get_dataframe(filter_metric="loss", filter_mode="max")["loss"][0] == 1.0
    assert list(grid[0].metrics_dataframe["training_iteration"]) == [1, 2, 3, 4]
    assert list(grid[0].metrics_dataframe["loss"][:2]) == [1.0, 0.5]
    with pytest.raises(ArgumentError, match="mode: expected 'min' or 'max', got 'best'"):
        grid.get_dataframe("loss", "best")


ROWS = [
    {"whole": 1, "late": None, "flag": True, "real": 0.5, "text": "x", "either": 1, "big": 2**60 + 1, "huge": 2**70},
    {"whole": 2, "late": 3, "flag": None, "real": None, "text": None, "either": None, "big": None, "huge": None},
    {"whole": 3, "late": 5, "flag": False, "real": 2.0, "text": "y", "either": 2.5, "often": 7},
]


def test_a_missing_integer_makes_no_floats_of_the_others(tmp_path: Path) -> None:
    """pandas' 51451 and 57313: a None turns 2**60 + 1 into 2**60."""
    path = make(tmp_path / "exp", {name: [] for name in "abc"}, config={})
    whole_rows = [{"training_iteration": i, **row} for i, row in enumerate(ROWS)]
    with ExperimentStore.open(path, readonly=False) as store:
        store.commit([Reported(1.0, "a", tuple(whole_rows))])
        store.commit([Reported(1.0, name, (row,)) for name, row in zip("bc", whole_rows, strict=False)])
    grid = ResultGrid(path)
    frame = grid[0].metrics_dataframe
    reported = [name for name in frame if name not in AUTOFILLED and not name.startswith("config/")]
    assert {name: str(frame[name].dtype) for name in reported} == {
        "training_iteration": "int64",
        "whole": "int64",
        "late": "Int64",
        "flag": "boolean",
        "real": "float64",
        "text": str(pd.Series(["x", None]).dtype),
        "either": "float64",
        "big": "Int64",
        "huge": "object",
        "often": "Int64",
    }
    assert frame["big"][0] == 2**60 + 1 and frame["huge"][0] == 2**70
    assert (
        frame["late"].mean() == 4 and frame["flag"].sum() == 1 and frame["late"].isna().tolist() == [True, False, False]
    )
    assert frame.to_csv(columns=["late", "flag"], index=False).splitlines() == ["late,flag", ",True", "3,", "5,False"]
    assert grid.get_dataframe().dtypes.astype(str)[["late", "flag", "real"]].tolist() == ["Int64", "boolean", "float64"]


def test_missing_integers_are_plotted(tmp_path: Path) -> None:
    from matplotlib import pyplot

    with ExperimentStore.open(make(tmp_path / "exp", {"a": []}), readonly=False) as store:
        store.commit([Reported(1.0, "a", tuple({"training_iteration": i, **row} for i, row in enumerate(ROWS)))])
    frame = ResultGrid(tmp_path / "exp")[0].metrics_dataframe
    for draw in (
        lambda: frame.plot(x="training_iteration", y="late"),
        lambda: pyplot.subplots()[1].plot(frame["training_iteration"], frame["late"])[0].axes,
    ):
        (line,) = draw().get_lines()
        assert numpy.asarray(line.get_ydata(), float)[1:].tolist() == [3.0, 5.0]
        pyplot.close("all")


def test_integers_that_only_some_configs_have(tmp_path: Path) -> None:
    results = tune.Tuner(
        lambda config: {"loss": 1},
        param_space={
            "n": tune.grid_search([None, 3, numpy.int64(4)]),
            "p": tune.grid_search([{"flag": True}, {"depth": 2}, {}]),
        },
        run_config=tune.RunConfig(verbose=0, runtime="inline", storage_path=tmp_path),
    ).fit()
    for grid in (results, ResultGrid(results.experiment_path)):
        types = grid.get_dataframe().dtypes.astype(str)
        assert types[["config/n", "config/p/depth", "config/p/flag"]].tolist() == ["Int64", "Int64", "boolean"]


@pytest.mark.parametrize(
    "error",
    [
        ErrorInfo("ValueError", "no", "Traceback (most recent call last): ..."),
        ErrorInfo("my.module.MyError", "first: line\nTraceback (most recent call last):\n  second", "Traceback ..."),
        ErrorInfo("WorkerLostError", "the worker died: signal 9"),
        ErrorInfo("KeyboardInterrupt", ""),
    ],
)
def test_errors_are_as_they_were_recorded(tmp_path: Path, error: ErrorInfo) -> None:
    make(tmp_path / "exp", {"a": [1.0], "b": []})
    with ExperimentStore.open(tmp_path / "exp", readonly=False) as store:
        store.commit([], [RecordStatus("b", "ERROR", "failed", 3.0, EndCause.FAILED, error)])
    grid = ResultGrid(tmp_path / "exp")
    found = grid[1].error
    assert isinstance(found, TrialError) and grid.errors == [found]
    assert (found.type_name, found.message, found.traceback) == (error.type, error.message, error.traceback)
    assert (grid[0].cause, grid[1].cause) == (EndCause.FINISHED, EndCause.FAILED)
    assert (grid.num_errors, grid.num_terminated) == (1, 1) and grid.get_best_result().trial_id == "a"


def with_checkpoints(path: Path) -> list[Path]:
    """Adds checkpoints of trial a at iterations 1 to 3; the one of 4 was deleted again."""
    saved = []
    with ExperimentStore.open(path, readonly=False) as store:
        for iteration in (1, 2, 3, 4):
            writer = CheckpointWriter(path / "trial_a" / f"checkpoint_{iteration:06d}")
            (writer.path / "model").write_text(f"model {iteration}")
            record = writer.commit(iteration, None)
            saved.append(Path(str(record.path)))
            store.commit([CheckpointSaved(1.0, "a", record)])
        store.commit([], [DeleteCheckpoint("a", record)])
    return saved


def test_checkpoints(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = make(tmp_path / "exp", {"a": [0.3, 0.1, 0.2, 0.0]})
    one, two, three, _ = with_checkpoints(path)
    result = ResultGrid(path)[0]
    assert result.checkpoint == Checkpoint(three)
    assert [(c.path, m["loss"]) for c, m in result.best_checkpoints] == [
        (str(one), 0.3),
        (str(two), 0.1),
        (str(three), 0.2),
    ]
    assert result.get_best_checkpoint("loss", "min") == Checkpoint(two)
    assert result.get_best_checkpoint("loss", "max") == Checkpoint(one)
    with pytest.raises(TuneError, match=r"'los' was not reported by trial a\. Did you mean 'loss'\? Those"):
        result.get_best_checkpoint("los", "min")
    with pytest.raises(ArgumentError, match="mode"):
        result.get_best_checkpoint("loss", "best")
    with caplog.at_level(logging.WARNING):
        (three / "model").write_text("Model 3")
        assert result.checkpoint == Checkpoint(two)
        (two / "model").unlink()
        assert result.checkpoint == Checkpoint(one)
        assert result.get_best_checkpoint("loss", "min") == Checkpoint(one)
        assert [c.path for c, _ in result.best_checkpoints] == [str(one)]
    assert "model has changed" in caplog.text and "model is missing" in caplog.text


def test_a_checkpoint_has_the_result_it_was_saved_with(tmp_path: Path) -> None:
    """After an exploit the same iterations may come again."""
    path = make(tmp_path / "exp", {"a": []})
    rows = [
        {"loss": loss, "training_iteration": iteration, "time_total_s": 1.0, "timestamp": time}
        for time, (iteration, loss) in enumerate([(1, 0.9), (2, 0.5), (2, 0.1)])
    ]
    with ExperimentStore.open(path, readonly=False) as store:
        store.commit([Reported(1.0, "a", tuple(rows))], [])
        for name, row in (("checkpoint_000002", rows[1]), ("checkpoint_000002_1", rows[2])):
            writer = CheckpointWriter(path / "a" / name)
            (writer.path / "model").write_text(name)
            store.commit([CheckpointSaved(2.0, "a", writer.commit(2, None, row))], [])
    result = ResultGrid(path)[0]
    assert [metrics["loss"] for _, metrics in result.best_checkpoints] == [0.5, 0.1]
    best = result.get_best_checkpoint("loss", "min")
    assert best is not None and Path(best.path, "model").read_text() == "checkpoint_000002_1"


def test_a_moved_experiment_opens_with_its_checkpoints(tmp_path: Path) -> None:
    path = make(tmp_path / "exp", {"a": [0.3, 0.1, 0.2, 0.0]})
    with_checkpoints(path)
    moved = path.rename(tmp_path / "elsewhere")
    found = ResultGrid(moved).get_best_result().checkpoint
    assert found is not None and found.path == str(moved / "trial_a" / "checkpoint_000003")


def test_decisions_and_explain(tmp_path: Path) -> None:
    path = make(tmp_path / "exp", {"a": [0.3], "b": [0.2]})
    with ExperimentStore.open(path, readonly=False) as store:
        store.commit(
            [],
            [
                RecordDecision("a", 3, "continue", "rung 3: rank 1 of 4", 1.0),
                RecordDecision("a", 9, "stop", "0.412 worse than the cut 0.398", 2.0),
            ],
        )
    grid = ResultGrid(path)
    assert grid[0].explain().splitlines() == [
        "Trial a: TERMINATED, the trial function returned",
        "  iteration 3: continue: rung 3: rank 1 of 4",
        "  iteration 9: stop: 0.412 worse than the cut 0.398",
    ]
    assert "took no decision" in grid[1].explain()
    frame = pd.DataFrame(grid.decisions)
    assert list(frame["action"]) == ["continue", "stop"] and list(frame["iteration"]) == [3, 9]


def test_repr_is_for_people(tmp_path: Path) -> None:
    grid = ResultGrid(make(tmp_path / "exp", {f"{i:02d}": [1 / 3] for i in range(25)}, config={"note": "z" * 200}))
    lines = repr(grid).splitlines()
    assert lines[0] == f"ResultGrid: 25 trials (25 TERMINATED) in {tmp_path / 'exp'}"
    assert "00 TERMINATED: loss=0.333333, training_iteration=1" in lines[1] and "net/width=8" in lines[1]
    assert lines[-1] == "  ... and 5 more" and max(map(len, lines)) < 250
    assert repr(ResultGrid(make(tmp_path / "empty", {}))).startswith("ResultGrid: 0 trials in")


REPLACED = r"The experiment in .*/x was replaced: .*tune_plugins\.ResultGrid\('.*/x'\)"
READING: dict[str, Callable[[ResultGrid], Any]] = {
    "len": len,
    "repr": repr,
    "info": ResultGrid.info,
    "warnings": lambda grid: grid.warnings,
    "decisions": lambda grid: grid.decisions,
    "get_best_result": ResultGrid.get_best_result,
    "replay": lambda grid: grid.replay(tune.schedulers.FIFOScheduler()),
}
READING_ONE: dict[str, Callable[[Result], Any]] = {
    "metrics_dataframe": lambda result: result.metrics_dataframe,
    "checkpoint": lambda result: result.checkpoint,
    "best_checkpoints": lambda result: result.best_checkpoints,
    "get_best_checkpoint": Result.get_best_checkpoint,
    "explain": Result.explain,
    "pbt_schedule": lambda result: result.pbt_schedule,
}


def simulated(storage: Path, loss: float) -> ResultGrid:
    """A run of one trial, in the place of the one before."""
    run = tune.RunConfig(name="x", storage_path=storage, if_exists="replace", verbose=0)
    return tune.simulate(lambda config: [loss], tune_config=tune.TuneConfig(metric="value", mode="min"), run_config=run)


@pytest.mark.parametrize("name", READING)
def test_a_grid_does_not_show_the_results_of_the_run_that_replaced_its_own(tmp_path: Path, name: str) -> None:
    first = simulated(tmp_path, 1.0)
    second = simulated(tmp_path, 2.0)
    with pytest.raises(TuneError, match=REPLACED):
        READING[name](first)
    READING[name](second)
    assert second[0].metrics["value"] == ResultGrid(first.experiment_path)[0].metrics["value"] == 2.0


@pytest.mark.parametrize("name", READING_ONE)
def test_a_result_reads_nothing_of_the_run_that_replaced_its_own(tmp_path: Path, name: str) -> None:
    first = simulated(tmp_path, 1.0)
    result, kept = first[0], pickle.loads(pickle.dumps(first[0]))
    READING_ONE[name](first[0])
    second = simulated(tmp_path, 2.0)
    for each in (kept, first[0]) if name != "metrics_dataframe" else (kept,):  # that has been read
        with pytest.raises(TuneError, match=REPLACED):
            READING_ONE[name](each)
    READING_ONE[name](second[0])
    assert (result.metrics["value"], len(first), second[0].metrics["value"]) == (1.0, 1, 2.0)


def test_grids_and_results_are_pickled(tmp_path: Path) -> None:
    grid = ResultGrid(make(tmp_path / "exp", {"a": [0.3, 0.2]}))
    again = pickle.loads(pickle.dumps(grid))
    assert again.get_best_result().metrics == grid[0].metrics
    assert len(pickle.loads(pickle.dumps(grid[0])).metrics_dataframe) == 2


def test_reading_needs_nothing_heavy(tmp_path: Path) -> None:
    path = make(tmp_path / "exp", {"a": [0.3]})
    code = (
        "import sys; from tune_plugins.results import ResultGrid; "
        f"assert ResultGrid({str(path)!r}).get_best_result().metrics['loss'] == 0.3; "
        "print(sorted({'numpy', 'pandas', 'ray', 'torch', 'fsspec'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


class Layer:
    """An option that is no plain value."""


@dataclass(frozen=True)
class Shape:
    """Another one."""

    width: int


def test_configs_are_what_the_trials_got(tmp_path: Path) -> None:
    options: list[Any] = [
        Layer,
        Shape(3),
        len,
        Path("data"),
        TrialStatus.RUNNING,
        (1, 2),
        {1: "one"},
        numpy.float32(0.5),
    ]
    seen: dict[str, Any] = {}

    def train(config: dict[str, Any]) -> None:
        seen[tune.get_context().get_trial_id()] = config["option"]
        tune.report(loss=1)

    results = tune.Tuner(
        train,
        param_space={"option": tune.grid_search(options)},
        run_config=tune.RunConfig(verbose=0, runtime="inline", storage_path=tmp_path),
    ).fit()
    for result, option in zip(results, options, strict=True):
        assert result.config["option"] == seen[result.trial_id] == option
        assert type(result.config["option"]) is type(option)

    # In another process, that knows of the record only.
    kept: list[Any] = [TrialStatus.RUNNING.value, (1, 2), {1: "one"}, numpy.float32(0.5)]
    found = [result.config["option"] for result in ResultGrid(results.experiment_path)]
    assert found[4:] == kept and [type(value) for value in found[4:]] == [type(value) for value in kept]
    assert [repr(value) for value in found[:4]] == [repr(option) for option in options[:4]]
    frame = ResultGrid(results.experiment_path).get_dataframe()
    assert list(frame["config/option"][:6]) == found[:6]
    with pytest.raises(TuneError, match=r"Layer'>: it cannot be called\. This value was read from the record"):
        found[0]()


def test_a_drawn_category_is_the_one_of_the_recorded_space(tmp_path: Path) -> None:
    """Also where it is no plain value: its place among the categories tells which one it was."""
    options = [None, (1, 2), [1, 2], {"a": (3,)}, Layer, True, 1.0, "x"]
    results = tune.Tuner(
        lambda config: {"loss": 1},
        param_space={"net": {"option": tune.choice(options)}, "grid": tune.grid_search([(0,), 1])},
        tune_config=tune.TuneConfig(num_samples=20, seed=1),
        run_config=tune.RunConfig(verbose=0, runtime="inline", storage_path=tmp_path),
    ).fit()
    grid = ResultGrid(results.experiment_path)
    recorded = Space.from_json(grid.info()["param_space"]).domains["net/option"]
    assert isinstance(recorded, Categorical)
    for here, there in zip(results, grid, strict=True):
        value = there.config["net"]["option"]
        (place,) = [
            at
            for at, o in enumerate(options)
            if type(o) is type(here.config["net"]["option"]) and o == here.config["net"]["option"]
        ]
        assert value == recorded.options[place] and type(value) is type(recorded.options[place])
        assert there.config["grid"] == here.config["grid"]
