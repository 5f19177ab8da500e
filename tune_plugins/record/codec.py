"""Events as rows of the record, and back to equal frozen objects."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from tune_plugins.core import events as event_module
from tune_plugins.core.ends import EndCause, ErrorInfo
from tune_plugins.core.events import Event, ResultsReported
from tune_plugins.core.trial import CheckpointRecord
from tune_plugins.errors import TuneError
from tune_plugins.space.encoding import decode, encode
from tune_plugins.space.jsonable import dumps, loads

KINDS: dict[str, type[Event]] = {
    name: kind
    for name, kind in vars(event_module).items()
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
}
"""Every event class by its name, which is what the record's column `kind` holds."""

RESULTS_KIND = ResultsReported.__name__

_IN_COLUMNS = frozenset({"time", "trial_id"})
_DATA_FIELDS = {kind: tuple(f.name for f in fields(kind) if f.name not in _IN_COLUMNS) for kind in KINDS.values()}


def _fields_of(wanted: type) -> dict[type[Event], frozenset[str]]:
    """The fields of each kind of event that are of this type."""
    return {
        kind: frozenset(name for name, found in get_type_hints(kind).items() if found is wanted)
        for kind in KINDS.values()
    }


_CHECKPOINTS, _ERRORS, _CAUSES = _fields_of(CheckpointRecord), _fields_of(ErrorInfo), _fields_of(EndCause)
_WITH_TRIAL = frozenset(kind for kind in KINDS.values() if any(f.name == "trial_id" for f in fields(kind)))

_INT64 = 2**63

EventRow = tuple[int, float, str, str | None, str]  # seq, time, kind, trial_id, data
ResultRow = tuple[int, int, str, Any, Any, Any, str]  # id, seq, trial_id, iteration, total s, timestamp, metrics


class PathTranslator:
    """Paths inside the experiment's folder are recorded relative to it, so that a moved folder still opens."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = os.path.abspath(directory)
        self._prefixes = tuple({self.directory + os.sep, os.path.realpath(directory) + os.sep})

    def to_record(self, path: str | None) -> str | None:
        """The path as it is recorded."""
        if path is not None:
            absolute = os.path.abspath(path)
            for prefix in self._prefixes:
                if absolute.startswith(prefix):
                    return Path(absolute[len(prefix) :]).as_posix()
            return absolute
        return None

    def from_record(self, path: str | None) -> str | None:
        """The path where the folder is now."""
        return None if path is None else os.path.join(self.directory, path)


def config_text(config: Mapping[str, Any]) -> str:
    """A config as JSON that `config_of` makes an equal one of, as far as JSON goes; see `encode`."""
    return dumps(encode(config))


def config_of(text: str) -> dict[str, Any]:
    """The config of a text that `config_text` wrote."""
    config: dict[str, Any] = loads(text)
    with suppress(ValueError, TypeError):  # of before there were marks, with a key of the user's that looks like one
        config = decode(config)
    return config


def event_row(seq: int, event: Event, paths: PathTranslator) -> EventRow:
    """The row of any event but `ResultsReported`."""
    kind = type(event)
    data: dict[str, Any] = {}
    for name in _DATA_FIELDS[kind]:
        value = getattr(event, name)
        if isinstance(value, CheckpointRecord):
            value = {
                "id": value.id,
                "iteration": value.iteration,
                "path": paths.to_record(value.path),
                "score": value.score,
                "bytes": value.bytes,
                "goes_on": value.goes_on,
            }
        elif isinstance(value, ErrorInfo):
            value = {"type": value.type, "message": value.message, "traceback": value.traceback}
        elif isinstance(value, dict):
            value = encode(value)
        data[name] = value
    return seq, event.time, kind.__name__, getattr(event, "trial_id", None), dumps(data)


def event_from_row(row: EventRow, paths: PathTranslator) -> Event:
    """The event of a row written by `event_row`."""
    kind, data = kind_of(row), loads(row[4])
    for name in _CHECKPOINTS[kind]:
        saved = {**data[name], "path": paths.from_record(data[name]["path"]), "trial_id": row[3]}
        data[name] = CheckpointRecord(**saved)
    for name in _ERRORS[kind]:
        data[name] = ErrorInfo(**data[name])
    for name in _CAUSES[kind]:
        data[name] = EndCause(data[name])
    for name, value in data.items():
        if isinstance(value, dict):
            data[name] = decode(value)
    if kind in _WITH_TRIAL:
        data["trial_id"] = row[3]
    return kind(time=_time(row[1]), **data)


def kind_of(row: EventRow) -> type[Event]:
    """The event class of a row.

    Raises:
        TuneError: this version has no such event.
    """
    try:
        return KINDS[row[2]]
    except KeyError:
        raise TuneError(
            f"The record holds an event {row[2]!r} (number {row[0]}) that this version of tune-plugins does not "
            "know. Open it with the version that wrote it, or a newer one."
        ) from None


def results_event_row(seq: int, event: ResultsReported, first_id: int) -> EventRow:
    """The row of `ResultsReported`; it says only which rows of `results` belong to it."""
    waiting = "true" if event.waiting else "false"
    data = f'{{"first":{first_id},"count":{len(event.results)},"waiting":{waiting}}}'
    return seq, event.time, RESULTS_KIND, event.trial_id, data


def results_event_from_row(row: EventRow, results: Sequence[dict[str, Any]]) -> ResultsReported:
    """The event of a row written by `results_event_row` and its results."""
    return ResultsReported(_time(row[1]), row[3] or "", tuple(results), loads(row[4])["waiting"])


def result_rows(seq: int, event: ResultsReported, first_id: int) -> list[ResultRow]:
    """One row for each result. What a column holds exactly is not repeated in the JSON, which halves its cost."""
    rows: list[ResultRow] = []
    trial_id = event.trial_id
    for number, result in enumerate(event.results, first_id):
        iteration, total, stamp = (
            result.get("training_iteration"),
            result.get("time_total_s"),
            result.get("timestamp"),
        )
        if (
            type(iteration) is int
            and type(total) is float
            and type(stamp) is float
            and total == total  # SQLite makes NULL of NaN
            and stamp == stamp
            and -_INT64 <= iteration < _INT64
        ):
            metrics = dict(result)
            del metrics["training_iteration"], metrics["time_total_s"], metrics["timestamp"]
            rows.append((number, seq, trial_id, iteration, total, stamp, dumps(metrics)))
        else:
            columns = (_column(iteration), _column(total), _column(stamp))
            rows.append((number, seq, trial_id, *columns, dumps(result)))
    return rows


def result_from_row(iteration: Any, total: Any, stamp: Any, metrics: str) -> dict[str, Any]:
    """The result of a row written by `result_rows`."""
    result: dict[str, Any] = loads(metrics)
    if iteration is not None:
        result.setdefault("training_iteration", iteration)
    if total is not None:
        result.setdefault("time_total_s", total)
    if stamp is not None:
        result.setdefault("timestamp", stamp)
    return result


def _column(value: Any) -> int | float | None:
    """`value` where SQLite can hold it as a number; the JSON has the exact one."""
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int) and -_INT64 <= value < _INT64:
        return int(value)
    return None


def _time(value: float | None) -> float:
    return math.nan if value is None else value
