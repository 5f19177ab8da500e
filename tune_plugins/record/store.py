"""The durable record of an experiment: one SQLite file, written in group commits.

What `ExperimentStore.commit` has returned from is on disk, whatever is killed afterwards. Other
processes may read the file meanwhile. Order is that of sequence numbers, never of clocks.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tune_plugins.core.events import (
    CheckpointSaved,
    Command,
    DeleteCheckpoint,
    Event,
    RecordDecision,
    RecordExploit,
    RecordStatus,
    RecordTrial,
    ResultsReported,
)
from tune_plugins.core.trial import TrialStatus
from tune_plugins.errors import TuneError
from tune_plugins.record.codec import EventRow, ResultRow, config_text, event_row, result_rows, results_event_row
from tune_plugins.record.file import FILE_NAME, StorageError, connect, create_file
from tune_plugins.record.reader import (
    RecordedCheckpoint,
    RecordedConfig,
    RecordedDecision,
    RecordedExploit,
    RecordedTrial,
    RecordReader,
)
from tune_plugins.space.jsonable import dumps, storable

__all__ = [
    "FILE_NAME",
    "ExperimentStore",
    "RecordedCheckpoint",
    "RecordedConfig",
    "RecordedDecision",
    "RecordedExploit",
    "RecordedTrial",
    "StorageError",
]


class ExperimentStore(RecordReader):
    """The record of one experiment; made by `create` or `open`. All methods may be called from any thread.

    >>> import tempfile
    >>> with ExperimentStore.create(tempfile.mkdtemp(), {"metric": "loss", "mode": "min"}) as store:
    ...     _ = store.commit([ResultsReported.dummy(trial="00000", loss=0.5)])
    ...     [result["loss"] for result in store.results("00000")]
    [0.5]
    """

    def __init__(self, directory: Path, connection: sqlite3.Connection, readonly: bool) -> None:
        super().__init__(directory, connection, readonly)
        self._seq: int = self._all("SELECT coalesce(max(seq), 0) FROM events")[0][0]
        self._result_id: int = self._all("SELECT coalesce(max(id), 0) FROM results")[0][0]

    @classmethod
    def create(cls, directory: str | os.PathLike[str], meta: Mapping[str, Any]) -> Self:
        """Make the record of a new experiment in the folder `directory`, made if missing.

        Args:
            directory: folder of the experiment, on a local disk.
            meta: facts about the experiment, e.g. its metric and mode.

        Raises:
            StorageError: there is an experiment already, or the folder cannot be written.
        """
        folder = Path(os.path.abspath(directory))
        create_file(folder, meta)
        return cls.open(folder, readonly=False)

    @classmethod
    def open(cls, directory: str | os.PathLike[str], readonly: bool = True) -> Self:
        """Open the record of an experiment, for reading unless told otherwise.

        Raises:
            StorageError: it is missing, empty, something else, damaged, or of another format.
        """
        folder = Path(os.path.abspath(directory))
        return cls(folder, connect(folder, readonly), readonly)

    def commit(
        self, events: Sequence[Event], records: Sequence[Command] = (), behind: Sequence[int] | None = None
    ) -> int:
        """Write all of it in one transaction; when this returns it is on disk.

        Args:
            events: what happened, in order.
            records: RecordTrial, RecordStatus, RecordDecision, RecordExploit and DeleteCheckpoint commands, in order.
            behind: for each of `records`, how many of `events` had come when it was made; None: all of them. A record
                so belongs to the event that led to it, however many are committed together.

        Returns:
            The sequence number of the last event recorded so far.

        Raises:
            StorageError: the disk is full, or the like. Nothing of it was written, and the same
                commit may be tried again.
        """
        with self._lock:
            if not events and not records:
                return self._seq
            seq, result_id = self._seq, self._result_id
            event_rows: list[EventRow] = []
            results: list[ResultRow] = []
            checkpoints: list[tuple[Any, ...]] = []
            for event in events:
                seq += 1
                if isinstance(event, ResultsReported):
                    event_rows.append(results_event_row(seq, event, result_id + 1))
                    results += result_rows(seq, event, result_id + 1)
                    result_id += len(event.results)
                else:
                    event_rows.append(event_row(seq, event, self._paths))
                    if isinstance(event, CheckpointSaved):
                        saved = event.checkpoint
                        path = self._paths.to_record(saved.path)
                        checkpoints.append(
                            (event.trial_id, saved.id, seq, saved.iteration, path, saved.score, saved.bytes, event.time)
                        )
            with self._transaction() as connection:
                many = connection.executemany
                many("INSERT INTO events VALUES (?,?,?,?,?)", event_rows)
                many("INSERT INTO results VALUES (?,?,?,?,?,?,?)", results)
                if checkpoints:
                    many("INSERT OR REPLACE INTO checkpoints VALUES (?,?,?,?,?,?,?,?,0)", checkpoints)
                if records:
                    seqs = [seq] * len(records) if behind is None else [self._seq + count for count in behind]
                    self._write_records(connection, records, seqs)
            self._seq, self._result_id = seq, result_id
            return seq

    def _write_records(self, connection: sqlite3.Connection, records: Sequence[Command], seqs: Sequence[int]) -> None:
        trials: list[tuple[Any, ...]] = []
        configs: list[tuple[Any, ...]] = []
        decisions: list[tuple[Any, ...]] = []
        exploits: list[tuple[Any, ...]] = []
        deleted: list[tuple[str, str]] = []
        statuses: dict[str, list[Any]] = {}
        for seq, record in zip(seqs, records, strict=True):
            if isinstance(record, RecordDecision):
                reason = storable(record.reason)
                decisions.append((seq, record.trial_id, record.iteration, record.action, reason, record.time))
            elif isinstance(record, RecordStatus):
                # only the last status of a trial stays in its row, and the first time it ran
                row = statuses.setdefault(record.trial_id, [None] * 9)
                if row[6] is None and record.status == TrialStatus.RUNNING:
                    row[6] = record.time
                ended = record.time if TrialStatus(record.status).finished else None
                row[:3] = str(record.status), storable(record.reason), record.cause
                if (error := record.error) is not None:
                    row[3:6] = map(storable, (error.type, error.message, error.traceback))
                row[7:] = ended, record.trial_id
            elif isinstance(record, RecordTrial):
                config = config_text(record.config)
                names = storable(record.name), record.dirname or f"trial_{record.trial_id}"
                trials.append((record.trial_id, record.index, *names, config, record.seed, record.time))
                configs.append((seq, record.trial_id, config, record.seed, record.time))
            elif isinstance(record, RecordExploit):
                at, source = record.iteration, (record.source_id, record.source_iteration)
                exploits.append((seq, record.trial_id, at, *source, config_text(record.config), record.time))
            elif isinstance(record, DeleteCheckpoint):
                deleted.append((record.trial_id, record.checkpoint.id))
            else:
                raise TuneError(f"{type(record).__name__} is a command to a runtime; the record does not take it.")
        many = connection.executemany
        if trials:
            many(
                "INSERT INTO trials VALUES (?,?,?,?,?,?,'PENDING','',NULL,NULL,NULL,NULL,?,NULL,NULL) "
                "ON CONFLICT (trial_id) "
                "DO UPDATE SET number = excluded.number, config = excluded.config, seed = excluded.seed",
                trials,
            )
            many("INSERT INTO configs (seq, trial_id, config, seed, time) VALUES (?,?,?,?,?)", configs)
        if statuses:
            updated = many(
                "UPDATE trials SET status = ?, reason = ?, cause = ?, error_type = coalesce(?, error_type), "
                "error_message = coalesce(?, error_message), error_traceback = coalesce(?, error_traceback), "
                "started_at = coalesce(started_at, ?), ended_at = ? WHERE trial_id = ?",
                statuses.values(),
            ).rowcount
            if updated != len(statuses):
                raise TuneError(f"A status was recorded for a trial that was never recorded: one of {list(statuses)}.")
        if decisions:
            many(
                "INSERT INTO decisions (seq, trial_id, iteration, action, reason, time) VALUES (?,?,?,?,?,?)", decisions
            )
        if exploits:
            many(
                "INSERT INTO exploits (seq, trial_id, iteration, source_id, source_iteration, config, time) "
                "VALUES (?,?,?,?,?,?,?)",
                exploits,
            )
        if deleted:
            many("UPDATE checkpoints SET deleted = 1 WHERE trial_id = ? AND id = ?", deleted)

    def set_meta(self, meta: Mapping[str, Any]) -> None:
        """Add facts about the experiment; keys that exist are replaced."""
        rows = [(key, dumps(value)) for key, value in meta.items()]
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?,?)", rows)

    @property
    def last_seq(self) -> int:
        """Sequence number of the last event that this object has written or, when opened, found."""
        return self._seq

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._errors("write"):
            connection = self._connection
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
