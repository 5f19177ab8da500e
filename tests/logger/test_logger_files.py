"""CSV and JSON in the folders of trials."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from logged_runs import TWO_RATES, begun_at, fit, one_exploit, save, six_steps

import tune_plugins as tune
from tune_plugins.logger import CSVLoggerCallback, JsonLoggerCallback, files


def lines_of(path: str) -> list[dict[str, Any]]:
    """``result.json``, read as strictly as the standard is."""

    def none(name: str) -> Any:
        raise AssertionError(f"{name} is no JSON")

    lines = Path(path, "result.json").read_text().splitlines()
    return [json.loads(line, parse_constant=none) for line in lines]


def table_of(path: str) -> pd.DataFrame:
    return pd.read_csv(Path(path, "progress.csv"), dtype={"trial_id": str})


def test_results_and_configs_with_an_exploit(tmp_path: Path) -> None:
    loggers = CSVLoggerCallback(), JsonLoggerCallback()
    results = fit(tmp_path, six_steps, TWO_RATES, *loggers, scheduler=one_exploit())
    worse = results[1].path
    rates = [0.4, 0.4, 0.05, 0.05, 0.05, 0.05]
    table, lines = table_of(worse), lines_of(worse)
    assert list(table["config/lr"]) == [line["config"]["lr"] for line in lines] == rates
    assert list(table["training_iteration"]) == [line["training_iteration"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert list(table["eval/auc"]) == [line["eval"]["auc"] for line in lines] == [i / 10 for i in range(1, 7)]
    assert list(table["loss"]) == [line["loss"] for line in lines]
    assert set(table["trial_id"]) == {line["trial_id"] for line in lines} == {"00001"}
    assert json.loads(Path(worse, "params.json").read_text()) == {"lr": 0.05}
    frame = results[1].metrics_dataframe
    assert list(frame["loss"]) == list(table["loss"])


def test_values_of_all_kinds(tmp_path: Path) -> None:
    nan, inf = math.nan, math.inf

    def train(config: dict[str, Any]) -> None:
        tune.report(loss=nan, high=inf, flag=True, note='a "quoted",\nlong text', some=[1, nan], none=None, ünï="ö")

    path = fit(tmp_path, train, {"deep": {"layers": [8, 8]}}, CSVLoggerCallback(), JsonLoggerCallback())[0].path
    (line,) = lines_of(path)
    assert [line[name] for name in ("loss", "high", "flag", "none", "ünï")] == [None, None, True, None, "ö"]
    assert line["some"] == [1, None] and line["note"] == 'a "quoted",\nlong text'
    assert line["config"] == {"deep": {"layers": [8, 8]}}
    with Path(path, "progress.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert [row[name] for name in ("loss", "high", "flag", "none", "ünï")] == ["nan", "inf", "True", "", "ö"]
    assert (row["note"], row["some"], row["config/deep/layers"]) == ('a "quoted",\nlong text', "[1, null]", "[8, 8]")


def test_values_in_a_config_that_json_does_not_know(tmp_path: Path) -> None:
    space = {"numpy": tune.sample_from(lambda: __import__("numpy").float64(0.5)), "where": Path("a"), "nan": math.nan}
    path = fit(tmp_path, lambda config: {"loss": 1.0}, space, CSVLoggerCallback(), JsonLoggerCallback())[0].path
    config = json.loads(Path(path, "params.json").read_text(), parse_constant=pytest.fail)
    assert config["numpy"] == 0.5 and "a" in config["where"]["__repr__"] and config["nan"] is None
    assert table_of(path)["config/numpy"][0] == 0.5


def test_a_trial_that_goes_on_after_a_failure_adds_lines(tmp_path: Path) -> None:
    """ray-project/ray#5263: nothing was logged after a restart; #18892: no second header, and none that is missing."""
    failed: list[int] = []

    def train(config: dict[str, Any]) -> None:
        for iteration in range(begun_at(), 5):
            tune.report({"loss": 1 / iteration}, checkpoint=save(iteration))
            if iteration == 2 and not failed:
                failed.append(iteration)
                raise OSError("once")

    failures = tune.FailureConfig(max_failures=1)
    results = fit(
        tmp_path, train, {"lr": 1}, CSVLoggerCallback(), JsonLoggerCallback(), failure_config=failures, name="again"
    )
    assert failed and list(table_of(results[0].path)["training_iteration"]) == [1, 2, 3, 4]
    assert [line["training_iteration"] for line in lines_of(results[0].path)] == [1, 2, 3, 4]


def _report_later(config: dict[str, Any]) -> None:
    for step in (1, 2, 3):
        tune.report({"loss": 1.0, "i": step})
    for step in (4, 5):
        tune.report({"loss": 0.5, "j": step, "eval": {"acc": 0.9}})


@pytest.mark.parametrize("gathered", [1, 1000])
def test_report_13766_names_that_come_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gathered: int) -> None:
    """ray-project/ray#13766: what only later results have was left out of progress.csv."""
    monkeypatch.setattr(files, "_GATHERED", gathered)
    table = table_of(fit(tmp_path, _report_later, {"lr": 1}, CSVLoggerCallback())[0].path)
    assert list(table["i"].fillna(0)) == [1, 2, 3, 0, 0]
    assert list(table["j"].fillna(0)) == [0, 0, 0, 4, 5]
    assert list(table["eval/acc"].fillna(0)) == [0, 0, 0, 0.9, 0.9]
    assert list(table["loss"]) == [1, 1, 1, 0.5, 0.5] and len(set(table.columns)) == len(table.columns)
    assert [path.name for path in Path(tmp_path, "run", "trial_00000").iterdir()] == ["progress.csv"]


def test_report_15106_an_empty_file_gets_a_header(tmp_path: Path) -> None:
    """ray-project/ray#15106, #9444: a trial that was ended before its first report left an empty file behind."""
    (tmp_path / "progress.csv").touch()
    CSVLoggerCallback()._write(tmp_path, [{"loss": 1, "lr": 2}])
    assert (tmp_path / "progress.csv").read_text() == "loss,lr\n1,2\n"


def test_no_file_before_the_first_report(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        raise ValueError("at once")

    path = fit(tmp_path, train, {"lr": 1}, CSVLoggerCallback(), JsonLoggerCallback())[0].path
    assert [file.name for file in Path(path).iterdir()] == ["params.json"]


def test_files_of_an_earlier_process_are_continued(tmp_path: Path) -> None:
    """Also where it was killed in the middle of a line."""
    (tmp_path / "progress.csv").write_text("loss,lr\n1,2\n3,")
    (tmp_path / "result.json").write_text('{"loss": 1}\n{"los')
    CSVLoggerCallback()._write(tmp_path, [{"lr": 5, "loss": 4}])
    JsonLoggerCallback()._write(tmp_path, ['{"loss": 4}'])
    assert (tmp_path / "progress.csv").read_text() == "loss,lr\n1,2\n3,\n4,5\n"
    assert (tmp_path / "result.json").read_text() == '{"loss": 1}\n{"los\n{"loss": 4}\n'
    CSVLoggerCallback()._write(tmp_path, [{"new": 6}])
    assert (tmp_path / "progress.csv").read_text() == "loss,lr,new\n1,2,\n3,,\n4,5,\n,,6\n"


def test_report_3398_params_json_can_be_read_by_people(tmp_path: Path) -> None:
    """ray-project/ray#3398: all in one line."""
    path = fit(tmp_path, lambda config: {"loss": 1.0}, {"a": 1, "b": {"c": 2}}, JsonLoggerCallback())[0].path
    assert Path(path, "params.json").read_text() == '{\n  "a": 1,\n  "b": {\n    "c": 2\n  }\n}\n'


def test_report_48019_a_large_config_can_be_left_out(tmp_path: Path) -> None:
    """ray-project/ray#48019: a line for each result, each with the whole config; with the remedy that is told there."""

    class Small(JsonLoggerCallback):
        def log_trial_result(self, iteration, trial, result):
            filtered_result = result.copy()
            del filtered_result["config"]
            super().log_trial_result(iteration, trial, filtered_result)

    path = fit(tmp_path, six_steps, {"lr": 1, "large": "x" * 10_000}, Small())[0].path
    assert len(lines_of(path)) == 6 and Path(path, "result.json").stat().st_size < 10_000
    assert "xxx" in Path(path, "params.json").read_text()


def test_the_files_of_one_trial_that_cannot_be_written_do_not_cost_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def train(config: dict[str, Any]) -> None:
        if config["lr"] == 0.1:
            (Path(tune.get_context().get_trial_dir()) / "progress.csv").mkdir()
        six_steps(config)

    results = fit(tmp_path, train, TWO_RATES, CSVLoggerCallback())
    assert len(table_of(results[1].path)) == 6
    assert "CSVLoggerCallback" in caplog.text and "IsADirectoryError" in caplog.text


def test_a_simulation_is_logged_too(tmp_path: Path) -> None:
    def curve(config: dict[str, Any]) -> Any:
        return [{"loss": config["x"] / step} for step in (1, 2, 3)]

    results = tune.simulate(
        curve,
        param_space={"x": tune.grid_search([1, 2])},
        tune_config=tune.TuneConfig(metric="loss", mode="min"),
        run_config=tune.RunConfig(callbacks=[CSVLoggerCallback()], verbose=0),
    )
    assert list(table_of(results[1].path)["loss"]) == [2, 1, 2 / 3]


def test_a_column_that_comes_behind_a_large_cell(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1, text='"x",\n' * 50_000)
        tune.report(loss=2, text="a\rb", extra=1)
        tune.report(loss=3, **{"name \udc80": 2})

    csv_logger = CSVLoggerCallback()
    grid = fit(tmp_path, train, {}, csv_logger)
    csv.field_size_limit(10**9)
    try:
        with Path(grid[0].path, "progress.csv").open(encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))
    finally:
        csv.field_size_limit(131072)
    assert [row["loss"] for row in table] == ["1", "2", "3"] and [row["extra"] for row in table] == ["", "1", ""]
    assert table[1]["text"] == "a\\rb" and table[2]["name \\udc80"] == "2"


def test_two_of_a_kind_would_write_into_one_file() -> None:
    for given in (["csv", CSVLoggerCallback()], [JsonLoggerCallback(), "csv", "json"], ["tbx", "tensorboard"]):
        with pytest.raises(ValueError, match=r"expected one \w+LoggerCallback, got another one"):
            tune.RunConfig(callbacks=given)
    tune.RunConfig(callbacks=["csv", "json"])
