"""Event files, read back by TensorBoard itself."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from logged_runs import TWO_RATES, fit, one_exploit, six_steps

import tune_plugins as tune
from tune_plugins.logger import LoggerCallback, TBXLoggerCallback, TensorBoardLoggerCallback

pytestmark = pytest.mark.slow  # needs an optional library


def events_of(path: str) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(path).Reload()


def scalars(path: str, name: str) -> list[tuple[int, float]]:
    return [(event.step, round(event.value, 6)) for event in events_of(path).Scalars(name)]


def hparams_of(folder: str) -> dict[str, dict[str, Any]]:
    """The table of the HPARAMS tab, made by TensorBoard's plugin: {run: {hyper-parameter or metric: value}}."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams.backend_context import Context
    from tensorboard.plugins.hparams.get_experiment import Handler as GetExperiment
    from tensorboard.plugins.hparams.list_session_groups import Handler as ListSessionGroups

    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(folder)
    multiplexer.Reload()
    context = Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, folder)))
    what = api_pb2.GetExperimentRequest(include_metrics=True)
    experiment = GetExperiment(RequestContext(), context, "all", what).run()
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0, slice_size=100, aggregation_type=api_pb2.AGGREGATION_AVG, include_metrics=True
    )
    request.allowed_statuses.extend([api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE])
    for info in experiment.metric_infos:
        request.col_params.add().metric.CopyFrom(info.name)
    for info in experiment.hparam_infos:
        request.col_params.add().hparam = info.name
    rows = {}
    for group in ListSessionGroups(RequestContext(), context, "all", request).run().session_groups:
        (session,) = group.sessions
        row: dict[str, Any] = {name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()}
        row |= {metric.name.tag: metric.value for metric in group.metric_values}
        rows[Path(session.name).name] = row | {"status": api_pb2.Status.Name(session.status)}
    return rows


def test_scalars_and_the_table_of_hyper_parameters_with_an_exploit(tmp_path: Path) -> None:
    results = fit(tmp_path, six_steps, TWO_RATES, TBXLoggerCallback(), scheduler=one_exploit())
    worse = results[1]
    assert scalars(worse.path, "eval/auc") == [(i, i / 10) for i in range(1, 7)]
    losses = [(i, round((0.4 if i < 3 else 0.05) / i, 6)) for i in range(1, 7)]
    assert scalars(worse.path, "loss") == losses
    table = hparams_of(results.experiment_path)
    assert set(table) == {"trial_00000", "trial_00001"}
    row = table["trial_00001"]
    assert (row["lr"], row["status"]) == (0.05, "STATUS_SUCCESS")
    assert row["loss"] == pytest.approx(0.05 / 6) and row["eval/auc"] == pytest.approx(0.6)  # of 32 bits


def test_values_of_all_kinds(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in (1, 2, 3):
            some = [0.0, 1.0, float(step)]
            word = "calm" if step < 3 else "wild"
            tune.report(loss=math.nan, flag=step > 1, word=word, some=some, mixed=[1, "a"], none=None)

    path = fit(tmp_path, train, {"lr": 1}, TensorBoardLoggerCallback())[0].path
    events = events_of(path)
    assert [event.value for event in events.Scalars("flag")] == [0, 1, 1]
    assert all(math.isnan(event.value) for event in events.Scalars("loss"))
    words = [(event.step, event.tensor_proto.string_val) for event in events.Tensors("word")]
    assert words == [(1, [b"calm"]), (3, [b"wild"])]
    assert len(events.Tensors("some")) == 3
    tags = events.Tags()
    assert tags["tensors"] == ["word", "some", "_hparams_/session_start_info", "_hparams_/session_end_info"]
    assert not {"pid", "timestamp", "training_iteration", "done", "config/lr"} & set(tags["scalars"])


def test_a_trial_that_failed_is_a_failure_in_the_table(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=config["lr"])
        if config["lr"] == 0.4:
            raise ValueError("for good")
        tune.report({"loss": 0.0, "extra": 3.0})

    table = hparams_of(fit(tmp_path, train, TWO_RATES, TBXLoggerCallback()).experiment_path)
    assert [row["status"] for _, row in sorted(table.items())] == ["STATUS_SUCCESS", "STATUS_FAILURE"]
    # Metrics of all trials are there, whichever TensorBoard reads first.
    assert table["trial_00000"]["extra"] == 3 and "extra" not in table["trial_00001"]


def test_the_step_is_timesteps_total_where_that_is_reported(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in (1, 2):
            tune.report({"loss": 1.0, "timesteps_total": 100 * step})

    path = fit(tmp_path, train, {"lr": 1}, TBXLoggerCallback())[0].path
    assert scalars(path, "loss") == [(100, 1.0), (200, 1.0)]


def test_many_trials_in_turns_keep_no_file_open(tmp_path: Path) -> None:
    open_files: list[int] = []

    class Counts(LoggerCallback):
        def log_trial_result(self, iteration, trial, result):
            open_files.append(0)
            for link in Path("/proc/self/fd").iterdir():
                with suppress(OSError):  # other threads close files meanwhile
                    open_files[-1] += "tfevents" in os.readlink(link)

    space = {"lr": tune.grid_search([0.1 * step for step in range(1, 9)])}
    results = fit(tmp_path, six_steps, space, TBXLoggerCallback(), Counts(), scheduler=one_exploit())
    assert len(open_files) == 48 and max(open_files) <= 1  # one that is being written at this moment
    for result in results:
        assert len(list(Path(result.path).glob("events.out.tfevents.*"))) == 1
        assert len(scalars(result.path, "loss")) == 6


def test_report_39741_names_have_no_prefix(tmp_path: Path) -> None:
    """ray-project/ray#39741: all under ray/tune/, in one section of the board."""
    path = fit(tmp_path, six_steps, {"lr": 1}, TBXLoggerCallback())[0].path
    assert {"loss", "eval/auc", "time_total_s"} <= set(events_of(path).Tags()["scalars"])


def test_report_7435_a_tuple_among_the_hyper_parameters(tmp_path: Path) -> None:
    """ray-project/ray#7435: the run ended with an error; also lists, None and objects."""
    space = {"shape": (8, 8), "layers": [4, 4], "none": None, "kind": object, "flag": True, "deep": {"lr": 0.5}}
    row = hparams_of(fit(tmp_path, lambda config: {"loss": 1.0}, space, TBXLoggerCallback()).experiment_path)
    (values,) = row.values()
    assert (values["shape"], values["layers"], values["none"], values["flag"]) == ("[8, 8]", "[4, 4]", "null", True)
    assert values["deep/lr"] == 0.5 and "object" in values["kind"]


def test_report_40053_parameters_of_sample_from_are_there(tmp_path: Path) -> None:
    """ray-project/ray#40053: what tune.sample_from gave was not shown, other hyper-parameters were."""
    space = {"scaler": tune.choice(["standard"]), "components": tune.sample_from(lambda spec: 7)}
    (row,) = hparams_of(
        fit(tmp_path, lambda config: {"loss": 1.0}, space, TBXLoggerCallback()).experiment_path
    ).values()
    assert (row["scaler"], row["components"]) == ("standard", 7)
