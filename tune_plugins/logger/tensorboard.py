"""Results as TensorBoard shows them: event files in the folder of each trial.

They are written with the message formats of the package `tensorboard` itself, and by one thread: its own writers, and
those of other packages, have a thread and an open file for each trial.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from tune_plugins._imports import require
from tune_plugins.arguments import is_finite, is_number
from tune_plugins.core.trial import Trial
from tune_plugins.logger.files import Gathering
from tune_plugins.logger.values import FACTS, reported, text
from tune_plugins.space.nested import flatten

__all__ = ["TBXLoggerCallback", "TensorBoardLoggerCallback"]

# Not while a trial runs: the loop may look at modules of NumPy that another thread has loaded half.
_MODULES = (
    "compat.proto.event_pb2",
    "compat.proto.summary_pb2",
    "plugins.histogram.summary_v2",
    "plugins.hparams.api_pb2",
    "plugins.hparams.metadata",
    "plugins.hparams.plugin_data_pb2",
    "plugins.hparams.summary_v2",
    "plugins.text.summary_v2",
    "summary.writer.record_writer",
)
_WITHOUT = FACTS | {"training_iteration", "timesteps_total"}


class TensorBoardLoggerCallback(Gathering):
    """Writes an event file into the folder of each trial: ``tensorboard --logdir`` the folder of the experiment.

    Each number is a scalar under its own name, nested ones joined by ``/`` (Ray Tune puts ``ray/tune/`` in front); the
    step is ``timesteps_total`` where that is reported, else ``training_iteration``. Truth values are 0 and 1, lists of
    numbers histograms, text is shown where it is another one than before. Arrays do not travel with a report: pictures
    are written by the training, into ``tune.get_context().get_trial_dir()``.

    At its end a trial has a row in the HPARAMS tab, with its config, the newest one after exploits, its last metrics
    and whether it failed.

    Raises:
        MissingDependencyError: `tensorboard` is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._texts: dict[str, dict[str, str]] = {}
        # TensorBoard knows its files by the beginning of their names, and reads those of a folder in their order.
        self._file = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.tune"
        for name in _MODULES:
            require(f"tensorboard.{name}", extra="tensorboard", needed_by=type(self).__name__)

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Add its numbers."""
        step = result.get("timesteps_total") or result.get("training_iteration", 0)
        values = [
            value for name, given in reported(result, _WITHOUT).items() for value in self._as_values(trial, name, given)
        ]
        self._add(trial, values, step=int(step), wall_time=float(result.get("timestamp", time.time())))

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Add its row in the table of hyper-parameters."""
        self._texts.pop(trial.path, None)
        self._add(trial, _session(trial, failed), step=0, wall_time=time.time())
        self._caught_up()

    def _as_values(self, trial: Trial, name: str, value: Any) -> Iterable[Any]:
        if isinstance(value, (bool, int, float)):
            yield _module("compat.proto.summary_pb2").Summary.Value(tag=name, simple_value=float(value))
        elif isinstance(value, list) and value and all(map(is_finite, value)):
            yield from _module("plugins.histogram.summary_v2").histogram_pb(name, value).value
        elif isinstance(value, str):
            known = self._texts.setdefault(trial.path, {})
            if known.get(name) != value:
                known[name] = value
                yield from _module("plugins.text.summary_v2").text_pb(name, value).value

    def _add(self, trial: Trial, values: list[Any], **when: float) -> None:
        event = _module("compat.proto.event_pb2").Event(**when)
        event.summary.value.extend(values)
        self._gather(trial, event)

    def _write(self, folder: Path, entries: list[Any]) -> None:
        with (folder / self._file).open("ab") as file:
            writer = _module("summary.writer.record_writer").RecordWriter(file)
            if not file.tell():
                first = _module("compat.proto.event_pb2").Event(wall_time=time.time(), file_version="brain.Event:2")
                writer.write(first.SerializeToString())
            for event in entries:
                writer.write(event.SerializeToString())


TBXLoggerCallback = TensorBoardLoggerCallback
"""Ray Tune's name of it."""


def _session(trial: Trial, failed: bool) -> list[Any]:
    """The row of a trial in the HPARAMS tab. Its metrics TensorBoard takes from the scalars beside it.

    What all rows have in common (the "experiment" of the plugin) is left out: TensorBoard would believe the one it
    finds first, also about trials that report more; without any it looks at all rows.
    """
    hparams, metadata, data = (
        _module(f"plugins.hparams.{name}") for name in ("summary_v2", "metadata", "plugin_data_pb2")
    )
    config = {name: _parameter(value) for name, value in flatten(trial.config).items()}
    start = hparams.hparams_pb(config, trial_id=trial.path, start_time_secs=trial.started_at)
    end = data.SessionEndInfo(
        status=_module("plugins.hparams.api_pb2").Status.Value("STATUS_FAILURE" if failed else "STATUS_SUCCESS"),
        end_time_secs=trial.ended_at or time.time(),
    )
    value = _module("compat.proto.summary_pb2").Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(data.HParamsPluginData(session_end_info=end)),
        tensor=metadata.NULL_TENSOR,
    )
    return [*start.value, value]


def _parameter(value: Any) -> bool | float | str:
    return value if isinstance(value, bool) else float(value) if is_number(value) else text(value)


@cache
def _module(name: str) -> Any:
    return import_module(f"tensorboard.{name}")
