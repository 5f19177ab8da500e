"""Reading the durable record of an experiment, also while another process writes it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from tune_plugins.core.autofill import Attempt
from tune_plugins.core.ends import EndCause, ErrorInfo
from tune_plugins.core.events import Event
from tune_plugins.core.trial import CheckpointRecord, TrialStatus
from tune_plugins.record.codec import (
    RESULTS_KIND,
    PathTranslator,
    config_of,
    event_from_row,
    result_from_row,
    results_event_from_row,
)
from tune_plugins.record.file import BEGINNINGS, FILE_NAME, StorageError
from tune_plugins.space.jsonable import loads

__all__ = [
    "RecordReader",
    "RecordedCheckpoint",
    "RecordedConfig",
    "RecordedDecision",
    "RecordedExploit",
    "RecordedResult",
    "RecordedTrial",
]

_REPORTS = f"kind = '{RESULTS_KIND}'"
_CHUNK = 1000  # rows fetched at a time, so that a long read never blocks commits for long


@dataclass(frozen=True, slots=True)
class RecordedTrial:
    """A trial as the record knows it; times in seconds since the epoch.

    Attributes:
        number: of the trial, from 0.
        name: for people; empty where nobody gave it one.
        dirname: its folder inside that of the experiment.
        config: the one it has now; see `ExperimentStore.configs` for those it had.
    """

    trial_id: str
    number: int
    name: str
    dirname: str
    config: dict[str, Any]
    seed: int
    status: TrialStatus
    reason: str
    cause: EndCause | None
    error: ErrorInfo | None
    created_at: float | None
    started_at: float | None
    ended_at: float | None


class RecordedDecision(NamedTuple):
    """What was decided about a trial; `seq` is the event that led to it."""

    seq: int
    trial_id: str
    iteration: int
    action: str
    reason: str
    time: float


class RecordedConfig(NamedTuple):
    """A config that a trial has or had since event `seq`."""

    seq: int
    trial_id: str
    config: dict[str, Any]
    seed: int
    time: float


class RecordedExploit(NamedTuple):
    """A trial at `iteration` went on from what `source_id` was at `source_iteration`, under `config`."""

    seq: int
    trial_id: str
    iteration: int
    source_id: str
    source_iteration: int
    config: dict[str, Any]
    time: float


class RecordedCheckpoint(NamedTuple):
    """A checkpoint of a trial, saved with event `seq`; `deleted` by retention or not."""

    seq: int
    trial_id: str
    record: CheckpointRecord
    deleted: bool


class RecordedResult(NamedTuple):
    """What a trial has reported with event `seq`, and the attempt in which it did."""

    seq: int
    result: dict[str, Any]
    attempt: Attempt


class RecordReader:
    """What `ExperimentStore` can tell. All methods may be called from any thread."""

    def __init__(self, directory: Path, connection: sqlite3.Connection, readonly: bool) -> None:
        self.directory = directory
        self.file = directory / FILE_NAME
        self.readonly = readonly
        self._connection = connection
        self._lock = threading.RLock()
        self._paths = PathTranslator(directory)

    def meta(self, *keys: str) -> dict[str, Any]:
        """Facts about the experiment; with `keys`, those of them that there are."""
        where = f" WHERE key IN ({','.join('?' * len(keys))})" if keys else ""
        return {key: loads(value) for key, value in self._all(f"SELECT key, value FROM meta{where}", keys)}

    def counts(self) -> tuple[int, int, int]:
        """How many trials there are, how many of them have failed, and how many have no end."""
        row: tuple[int, int, int] = self._all(
            "SELECT count(*), count(*) FILTER (WHERE status = 'ERROR'), "
            "count(*) FILTER (WHERE status NOT IN ('ERROR', 'TERMINATED')) FROM trials"
        )[0]
        return row

    def has_results(self) -> bool:
        """Whether any trial has reported anything, or has come to its end well without that."""
        return bool(
            self._all("SELECT 1 FROM results LIMIT 1")
            or self._all("SELECT 1 FROM trials WHERE status = 'TERMINATED' AND cause = 'FINISHED' LIMIT 1")
        )

    def dirnames(self) -> set[str]:
        """Names of the folders of all trials; they need not exist."""
        return {row[0] for row in self._all("SELECT dirname FROM trials")}

    def trials(self) -> list[RecordedTrial]:
        """All trials in order of their numbers."""
        rows = self._all(
            "SELECT trial_id, number, name, dirname, config, seed, status, reason, cause, error_type, error_message, "
            "error_traceback, created_at, started_at, ended_at FROM trials ORDER BY number, trial_id"
        )
        return [_trial(*row) for row in rows]

    def configs(self, trial_id: str | None = None) -> list[RecordedConfig]:
        """Every config that trials have or had, in order; an exploit adds one."""
        rows = self._of_trial("SELECT seq, trial_id, config, seed, time FROM configs", trial_id)
        return [RecordedConfig(seq, trial, config_of(config), seed, time) for seq, trial, config, seed, time in rows]

    def decisions(self, trial_id: str | None = None) -> list[RecordedDecision]:
        """What was decided, in order, of one trial or of all."""
        rows = self._of_trial("SELECT seq, trial_id, iteration, action, reason, time FROM decisions", trial_id)
        return [RecordedDecision(*row) for row in rows]

    def exploits(self, trial_id: str | None = None) -> list[RecordedExploit]:
        """Every exploit, in order, of one trial or of all."""
        rows = self._of_trial(
            "SELECT seq, trial_id, iteration, source_id, source_iteration, config, time FROM exploits", trial_id
        )
        return [
            RecordedExploit(seq, trial, at, source, source_at, config_of(config), time)
            for seq, trial, at, source, source_at, config, time in rows
        ]

    def standing_exploits(self, trial_id: str | None = None) -> list[RecordedExploit]:
        """Those exploits that were not undone, in order, of one trial or of all."""
        undone = [(d.trial_id, d.seq) for d in self.decisions(trial_id) if d.action == "UNDONE"]
        standing = self.exploits(trial_id)
        for trial, seq in undone:  # the last one before
            standing.remove(next(e for e in reversed(standing) if e.trial_id == trial and e.seq <= seq))
        return standing

    def checkpoints(self, trial_id: str | None = None, include_deleted: bool = False) -> list[RecordedCheckpoint]:
        """Checkpoints in the order they were saved, of one trial or of all."""
        where = [] if trial_id is None else ["trial_id = ?"]
        if not include_deleted:
            where.append("NOT deleted")
        rows = self._all(
            "SELECT seq, trial_id, deleted, id, iteration, path, score, bytes FROM checkpoints "
            + (f"WHERE {' AND '.join(where)} " if where else "")
            + "ORDER BY seq",
            () if trial_id is None else (trial_id,),
        )
        return [
            RecordedCheckpoint(
                seq,
                trial,
                CheckpointRecord(name, iteration, self._paths.from_record(path), score, size, trial),
                bool(gone),
            )
            for seq, trial, gone, name, iteration, path, score, size in rows
        ]

    def results(self, trial_id: str) -> list[dict[str, Any]]:
        """All results of one trial as they were reported, in order."""
        return [reported.result for reported in self.reported(trial_id)]

    def reported(self, trial_id: str) -> list[RecordedResult]:
        """All results of one trial, in order; the attempts of consecutive ones are one object, if they are the same."""
        begun: list[tuple[int, Attempt]] = []
        for seq, data in self._all(
            f"SELECT seq, data FROM events WHERE trial_id = ? AND {BEGINNINGS} ORDER BY seq", (trial_id,)
        ):
            begun.append((seq, _attempt(loads(data), begun[-1][1] if begun else Attempt())))
        found: list[RecordedResult] = []
        attempt = Attempt()
        for seq, *row in self._all(
            "SELECT results.seq, training_iteration, time_total_s, timestamp, metrics FROM events JOIN results "
            "ON results.id >= json_extract(data, '$.first') "
            "AND results.id < json_extract(data, '$.first') + json_extract(data, '$.count') "
            f"WHERE events.trial_id = ? AND {_REPORTS} ORDER BY results.id",
            (trial_id,),
        ):
            while begun and begun[0][0] < seq:
                attempt = begun.pop(0)[1]
            found.append(RecordedResult(seq, result_from_row(*row), attempt))
        return found

    def last_attempts(self) -> dict[str, Attempt]:
        """The attempt that the newest result of each trial was made in; it is the next one that it is asked about."""
        newest: dict[str, tuple[int, int, float | None]] = {}
        in_parts: list[str] = []  # of which the newest result is more of the iteration of the one before
        for trial_id, seq, before, elapsed, same in self._all(
            "WITH spans AS ("
            "  SELECT trial_id, seq, json_extract(data, '$.first') AS first, json_extract(data, '$.count') AS count, "
            "  row_number() OVER (PARTITION BY trial_id ORDER BY seq DESC) AS place "
            f"  FROM events WHERE {_REPORTS}"
            ") SELECT newest.trial_id, newest.seq, coalesce(earlier.seq, newest.seq), previous.time_total_s, "
            "previous.training_iteration = last.training_iteration "
            "FROM spans AS newest JOIN results AS last ON last.id = newest.first + newest.count - 1 "
            "LEFT JOIN spans AS earlier "
            "  ON earlier.trial_id = newest.trial_id AND earlier.place = 2 AND newest.count = 1 "
            "LEFT JOIN results AS previous ON previous.id = coalesce(earlier.first + earlier.count - 1, nullif("
            "  newest.first + newest.count - 2, newest.first - 1)) WHERE newest.place = 1"
        ):
            newest[trial_id] = seq, before, elapsed
            if same:
                in_parts.append(trial_id)
        found = {trial_id: Attempt() for trial_id in newest}
        began: dict[str, int] = {}
        for seq, trial_id, data in self._all(f"SELECT seq, trial_id, data FROM events WHERE {BEGINNINGS} ORDER BY seq"):
            if trial_id in newest and seq < newest[trial_id][0]:
                found[trial_id], began[trial_id] = _attempt(loads(data), found[trial_id]), seq
        for trial_id, (_, before, elapsed) in newest.items():
            if elapsed is not None and before > began.get(trial_id, 0):
                found[trial_id].passed(elapsed)
        for trial_id in in_parts:
            reported = self.reported(trial_id)
            for _, result, attempt in reported[:-1]:
                attempt.counted(result)
            found[trial_id] = reported[-1].attempt
        return found

    def last_results(self) -> dict[str, dict[str, Any]]:
        """The newest result of each trial that has one."""
        rows = self._all(
            f"WITH newest AS (SELECT max(seq) AS seq FROM events WHERE kind = '{RESULTS_KIND}' GROUP BY trial_id) "
            "SELECT results.trial_id, training_iteration, time_total_s, timestamp, metrics "
            "FROM newest JOIN events USING (seq) "
            "JOIN results ON results.id = json_extract(data, '$.first') + json_extract(data, '$.count') - 1 "
            "ORDER BY results.trial_id"
        )
        return {row[0]: result_from_row(*row[1:]) for row in rows}

    def all_results(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Trial id and result of every result, in the order they were recorded."""
        after = 0
        while rows := self._all(
            "SELECT id, trial_id, training_iteration, time_total_s, timestamp, metrics FROM results "
            "WHERE id > ? ORDER BY id LIMIT ?",
            (after, _CHUNK),
        ):
            for row in rows:
                yield row[1], result_from_row(*row[2:])
            after = rows[-1][0]

    def events(self, after: int = 0) -> Iterator[Event]:
        """Everything that happened, in order, as equal event objects.

        Args:
            after: begin behind the event of this sequence number.
        """
        while rows := self._all(
            "SELECT seq, time, kind, trial_id, data FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after, _CHUNK)
        ):
            counts = [loads(row[4]) if row[2] == RESULTS_KIND else None for row in rows]
            spans = [c for c in counts if c is not None]
            results: list[dict[str, Any]] = []
            first = 0
            if spans:  # results of consecutive events are consecutive
                first = spans[0]["first"]
                results = self._results(first, spans[-1]["first"] + spans[-1]["count"] - first)
            for row, fact in zip(rows, counts, strict=True):
                if fact is None:
                    yield event_from_row(row, self._paths)
                else:
                    begin = fact["first"] - first
                    yield results_event_from_row(row, results[begin : begin + fact["count"]])
            after = rows[-1][0]

    def close(self) -> None:
        """Close the file. May be called twice."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ExperimentStore({str(self.directory)!r}{', readonly' if self.readonly else ''})"

    def _results(self, first: int, count: int) -> list[dict[str, Any]]:
        rows = self._all(
            "SELECT training_iteration, time_total_s, timestamp, metrics FROM results "
            "WHERE id >= ? AND id < ? ORDER BY id",
            (first, first + count),
        )
        return [result_from_row(*row) for row in rows]

    def _of_trial(self, select: str, trial_id: str | None) -> list[Any]:
        if trial_id is None:
            return self._all(f"{select} ORDER BY id")
        return self._all(f"{select} WHERE trial_id = ? ORDER BY id", (trial_id,))

    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock, self._errors("read"):
            return self._connection.execute(sql, values).fetchall()

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise StorageError(
                f"Cannot write to {self.file}: another process has written to the same experiment ({error}). "
                "End one of the two."
            ) from error
        except sqlite3.Error as error:
            remedy = "Free space on that disk and try again; nothing recorded so far is lost."
            if isinstance(error, sqlite3.ProgrammingError):
                remedy = "Open the experiment anew if it was closed."
            elif self.readonly and doing == "write":
                remedy = "It was opened for reading only."
            elif doing == "read":
                remedy = "If the file is damaged, take it from a backup together with its -wal file."
            raise StorageError(f"Cannot {doing} {self.file}: {error}. {remedy}") from error


def _attempt(fact: dict[str, Any], before: Attempt) -> Attempt:
    """The attempt that begins with a `TrialStarted`, or with an `ExploitDone` in the process of the one before."""
    began = fact.get("iteration", 0), fact.get("elapsed", 0.0)
    if "pid" in fact:
        return Attempt(fact["pid"], fact.get("hostname", ""), fact.get("node_ip", ""), *began)
    return Attempt(before.pid, before.hostname, before.node_ip, *began)


def _trial(*row: Any) -> RecordedTrial:
    trial_id, number, name, dirname, config, seed, status, reason, cause, kind, message, traceback, *times = row
    return RecordedTrial(
        trial_id,
        number,
        name,
        dirname,
        config_of(config),
        seed,
        TrialStatus(status),
        reason,
        None if cause is None else EndCause(cause),
        None if kind is None else ErrorInfo(kind, message, traceback),
        *times,
    )
