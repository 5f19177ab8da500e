"""The file of the durable record: its tables, how it comes into being and how it is opened."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tune_plugins.errors import TuneError
from tune_plugins.record.files import flush
from tune_plugins.space.jsonable import dumps

FILE_NAME = "experiment.db"
FORMAT_VERSION = 2
"""Of the tables and of what is in them; another number is refused. It rises until the first release."""
APPLICATION_ID = 0x74756E65  # "tune", in the header of the file
BUSY_TIMEOUT_S = 30.0

BEGINNINGS = "kind IN ('TrialStarted', 'ExploitDone')"
"""Events with which a trial's training begins, or goes on from a state."""
SCHEMA = f"""
BEGIN;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events (seq INTEGER PRIMARY KEY, time REAL, kind TEXT NOT NULL, trial_id TEXT, data TEXT NOT NULL);
CREATE INDEX events_with_results ON events (trial_id) WHERE kind = 'ResultsReported';
CREATE INDEX events_that_begin ON events (trial_id) WHERE {BEGINNINGS};
CREATE TABLE results (
    id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, trial_id TEXT NOT NULL,
    training_iteration INTEGER, time_total_s REAL, timestamp REAL,
    metrics TEXT NOT NULL  -- JSON; what the three columns before hold exactly is not repeated here
);
CREATE TABLE trials (
    trial_id TEXT PRIMARY KEY, number INTEGER NOT NULL, name TEXT NOT NULL, dirname TEXT NOT NULL,
    config TEXT NOT NULL, seed INTEGER NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL, cause TEXT,
    error_type TEXT, error_message TEXT, error_traceback TEXT,
    created_at REAL, started_at REAL, ended_at REAL
) WITHOUT ROWID;
CREATE TABLE configs (  -- every config a trial ever had, in order
    id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, trial_id TEXT NOT NULL, config TEXT NOT NULL,
    seed INTEGER NOT NULL, time REAL
);
CREATE INDEX configs_of_trial ON configs (trial_id);
CREATE TABLE decisions (
    id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, trial_id TEXT NOT NULL, iteration INTEGER NOT NULL,
    action TEXT NOT NULL, reason TEXT NOT NULL, time REAL
);
CREATE INDEX decisions_of_trial ON decisions (trial_id);
CREATE TABLE exploits (  -- a trial goes on from the state of another one, under a new config
    id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, trial_id TEXT NOT NULL, iteration INTEGER NOT NULL,
    source_id TEXT NOT NULL, source_iteration INTEGER NOT NULL, config TEXT NOT NULL, time REAL
);
CREATE TABLE checkpoints (
    trial_id TEXT NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL, iteration INTEGER NOT NULL,
    path TEXT,  -- relative to the folder of the experiment where inside it
    score REAL, bytes INTEGER NOT NULL, time REAL, deleted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (trial_id, id)
) WITHOUT ROWID;
COMMIT;
"""


class StorageError(TuneError):
    """The record cannot be written or read; the message names the file, the reason and what to do."""


def create_file(directory: Path, meta: Mapping[str, Any]) -> Path:
    """Make a record that holds `meta` in `directory`, which is made if missing; it appears only when complete.

    Raises:
        StorageError: there is an experiment already, or the folder cannot be written.
    """
    file = directory / FILE_NAME
    temporary = directory / f".tmp-{secrets.token_hex(4)}-{FILE_NAME}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            connection = sqlite3.connect(temporary, isolation_level=None)
            try:
                # Nobody sees the file yet: it is flushed once, when it is complete, instead of at each step.
                connection.execute("PRAGMA synchronous = OFF")
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
                connection.executescript(SCHEMA.removesuffix("COMMIT;\n"))
                rows = [(key, dumps(value)) for key, value in meta.items()]
                connection.executemany("INSERT INTO meta VALUES (?,?)", rows)
                connection.execute("COMMIT")
                connection.execute("PRAGMA journal_mode = WAL")
            finally:
                connection.close()  # folds the write-ahead log into the file
            flush([temporary])
            try:
                os.link(temporary, file)  # unlike a rename, never replaces what is there
            except FileExistsError:
                raise
            except OSError:  # a file system without hard links
                if file.exists():
                    raise FileExistsError(file) from None
                os.rename(temporary, file)
        finally:
            for suffix in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.unlink(f"{temporary}{suffix}")
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except FileExistsError as error:
        if not directory.is_dir():
            raise StorageError(
                f"Cannot make an experiment in {directory}: it is a file. Choose another folder."
            ) from error
        raise StorageError(
            f"There is an experiment already: {file}. Choose another name, look at it with "
            f"tune_plugins.ResultGrid({str(directory)!r}), or remove that folder."
        ) from error
    except (OSError, sqlite3.Error) as error:
        raise StorageError(
            f"Cannot write to the storage path {directory}: {getattr(error, 'strerror', None) or error}. "
            "Choose a folder that you may write to, on a disk with free space."
        ) from error
    return file


def connect(directory: Path, readonly: bool) -> sqlite3.Connection:
    """Open the record in `directory`.

    Raises:
        StorageError: it is missing, empty, no record of ours, damaged, or of another format.
    """
    file = directory / FILE_NAME
    _check_header(file)
    try:
        try:
            return _prepare(_connect(file, "mode=ro" if readonly else "mode=rw"), file, readonly)
        except sqlite3.OperationalError:
            wal = Path(f"{file}-wal")
            if not readonly or (wal.exists() and wal.stat().st_size):
                raise
            # a folder that may not be written to, and nobody writes there
            return _prepare(_connect(file, "mode=ro&immutable=1"), file, readonly)
    except sqlite3.Error as error:
        raise StorageError(
            f"Cannot open the record {file}: {error}. If the file is damaged, take it from a backup; "
            "its -wal file belongs to it and must be copied with it."
        ) from error


def experiments_below(folder: Path) -> list[Path]:
    """Folders in `folder` that hold a record, readable or not, the one last written to first."""
    found = []
    for file in folder.glob(f"*/{FILE_NAME}"):
        with suppress(OSError):  # gone since, or a link to nowhere
            found.append((file.stat().st_mtime_ns, file.parent))
    return [folder for _, folder in sorted(found, reverse=True)]


def _prepare(connection: sqlite3.Connection, file: Path, readonly: bool) -> sqlite3.Connection:
    try:
        connection.execute("PRAGMA trusted_schema = OFF")  # a planted file must not run functions
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        ours = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        if not ours:
            raise StorageError(
                f"{file} is an SQLite file, but not the record of an experiment. Give the folder of an experiment."
            )
        if version != FORMAT_VERSION:
            remedy = "Install a newer tune-plugins: pip install -U tune-plugins"
            if version < FORMAT_VERSION:
                remedy = "Open it with the version that wrote it."
            raise StorageError(
                f"{file} has format {version}; this version of tune-plugins reads format {FORMAT_VERSION}. {remedy}"
            )
        if not {"meta", "events", "results", "trials", "configs", "decisions", "exploits", "checkpoints"} <= names:
            raise StorageError(f"{file} lacks tables of the record, so it is damaged. Take it from a backup.")
        if not readonly:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")  # a commit is on disk when it returns
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(file: Path, parameters: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(os.fsencode(os.path.abspath(file)))}?{parameters}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_TIMEOUT_S,
    )


def _check_header(file: Path) -> None:
    try:
        with open(file, "rb") as stream:
            head = stream.read(16)
    except FileNotFoundError:
        hint = "Give the folder of one experiment."
        with suppress(OSError):
            found = [folder.name for folder in experiments_below(file.parent)]
            if found:
                more = ", ..." if len(found) > 10 else ""
                hint = (
                    f"Experiments below it, newest first: {', '.join(found[:10])}{more}. "
                    f"tune_plugins.experiments({str(file.parent)!r}) tells more of them."
                )
        raise StorageError(f"There is no experiment in {file.parent}: {FILE_NAME} is missing. {hint}") from None
    except OSError as error:
        raise StorageError(f"Cannot read {file}: {error.strerror}. Check its permissions.") from error
    if not head:
        raise StorageError(
            f"{file} is empty, so it holds no experiment. Take it from a backup, or remove it and start anew."
        )
    if head != b"SQLite format 3\0":
        raise StorageError(f"{file} is not the record of an experiment (no SQLite file). Give another folder.")
