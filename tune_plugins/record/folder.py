"""The folder of an experiment: who has it, whether a new experiment may have it, and how an old one is removed from it.

A run holds the lock in its folder from before its record is made until it is over. The kernel releases the lock when
the process ends, in whatever way, so that a lock that is held means a process that lives.

Removing takes only what the record names: its own files, and the folders of its trials. The record goes last: what was
interrupted can be repeated.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Literal, TypeAlias

from filelock import BaseFileLock, FileLock, Timeout

from tune_plugins.errors import TuneError
from tune_plugins.record.file import FILE_NAME, StorageError, connect
from tune_plugins.record.store import ExperimentStore

LOCK_NAME = "experiment.lock"
RESERVED = frozenset({LOCK_NAME, *(FILE_NAME + suffix for suffix in ("", "-wal", "-shm", "-journal"))})
"""Names of our own in the folder of an experiment."""
_UNFINISHED = re.compile(rf"\.tmp-[0-9a-f]{{8}}-{re.escape(FILE_NAME)}(-wal|-shm|-journal)?")  # a record half made
_LOOK_S = 0.2  # who only looks whether a lock is held has it for microseconds
_BUSY_MS = 1000

IfExists: TypeAlias = Literal["number", "replace", "error"]
"""Which record makes way for a new one of its name: one without any result or file of a trial; any; none."""


class Taken(TuneError):
    """A new experiment may not have a folder; the message says why and names what is in the way."""


def take(directory: Path, if_exists: IfExists, name: str | None = None) -> BaseFileLock:
    """Have a folder for a new experiment, made if missing and rid of an old record where `if_exists` lets it go.

    Args:
        directory: the folder.
        if_exists: see `IfExists`.
        name: of the new experiment, for people: one of another name that has this folder does not make way. None: any.

    Returns:
        The lock on it; held until it is released or this process ends.

    Raises:
        Taken: somebody else has it, or has left something there that must stay.
        StorageError: it cannot be made, or nothing can be locked there.
    """
    _old_experiment(directory, if_exists, name)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"Cannot make the folder {directory}: {error.strerror}. Choose one that you may write to."
        ) from error
    lock = _lock(directory)
    try:
        lock.acquire(timeout=_LOOK_S, poll_interval=_LOOK_S / 10)
    except Timeout:
        raise Taken(_lives(directory)) from None
    except OSError as error:
        raise StorageError(
            f"Cannot lock {directory / LOCK_NAME}: {error.strerror}. Give RunConfig(storage_path=...) a folder on a "
            "file system that knows locks, such as a local disk."
        ) from error
    try:
        if old := _old_experiment(directory, if_exists, name):  # again: it may have changed before the lock was had
            _remove(directory, old)
    except BaseException:
        lock.release()
        raise
    return lock


def is_held(directory: Path) -> bool | None:
    """Whether a living process runs an experiment in the folder; None: it cannot be told, for lack of permission."""
    if not os.path.lexists(directory / LOCK_NAME):
        return False
    try:
        with _lock(directory).acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return None


def why_taken(directory: Path, if_exists: IfExists, name: str | None = None) -> str | None:
    """Why a new experiment may not have a folder, in words that name what is in the way; None: it may."""
    if is_held(directory):
        return _lives(directory)
    try:
        _old_experiment(directory, if_exists, name)
    except Taken as taken:
        return str(taken)
    return None


def _lock(directory: Path) -> BaseFileLock:
    return FileLock(directory / LOCK_NAME, mode=0o600, thread_local=False)


def _lives(directory: Path) -> str:
    return f"it runs: a living process holds {directory / LOCK_NAME}"


def _old_experiment(directory: Path, if_exists: IfExists, name: str | None) -> list[os.DirEntry[str]]:
    """What lies in a folder and makes way for a new experiment; empty where there is no record.

    Raises:
        Taken: the folder, or something in it, does not make way.
    """
    if os.path.lexists(directory) and not directory.is_dir():
        raise Taken(f"{directory} is no folder")
    if not os.path.lexists(directory / FILE_NAME):
        return []  # missing, empty, or somebody's, where a record does no harm
    if if_exists == "error":
        raise Taken(f"{directory} holds an experiment")
    if directory.is_symlink():
        raise Taken(f"{directory} is a symbolic link")
    try:
        with ExperimentStore.open(directory) as store:
            other = store.meta().get("name", name)
            if name is not None and other != name:
                raise Taken(f"{directory} holds the experiment {other!r}")
            if if_exists == "number" and store.has_results():
                raise Taken(f"{directory} holds results")
            trials = store.dirnames()
        with os.scandir(directory) as entries:
            found = list(entries)
    except StorageError as error:
        raise Taken(str(error)) from error
    except OSError as error:
        raise Taken(f"{directory} cannot be read ({error.strerror})") from error
    for entry in found:
        ours = entry.name in RESERVED or _UNFINISHED.fullmatch(entry.name)
        if entry.is_symlink():
            raise Taken(f"{entry.path} is a symbolic link")
        if not (entry.is_file() if ours else entry.is_dir() and entry.name in trials):
            raise Taken(f"{entry.path} is not of the experiment")
        if if_exists == "number" and not ours and (file := _first_file(entry.path)):
            raise Taken(f"{file} may be wanted")
    return found


def _first_file(folder: str) -> str:
    """One of the files that a trial, or its log, has left; empty where there is none."""
    return next((os.path.join(where, name) for where, _, names in os.walk(folder) for name in names), "")


def _remove(directory: Path, entries: list[os.DirEntry[str]]) -> None:
    """Remove an experiment from its folder, whose lock is held; the lock stays.

    Raises:
        Taken: somebody has the record open; something may not be removed.
    """
    file = directory / FILE_NAME
    try:
        # A reader that has the record open would take the files beside the next record for those of this one. The
        # journal can be changed only where nobody has it open, and then there are no files beside it.
        with closing(connect(directory, readonly=False)) as connection:
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            connection.execute("PRAGMA journal_mode = DELETE")
        for entry in entries:
            if entry.is_dir():
                shutil.rmtree(entry.path)
            elif _UNFINISHED.fullmatch(entry.name):
                os.unlink(entry.path)
        file.unlink()
    except sqlite3.Error as error:
        raise Taken(f"{file} is open in another process ({error})") from error
    except StorageError as error:
        raise Taken(str(error)) from error
    except OSError as error:
        raise Taken(f"{error.filename or file} cannot be removed ({error.strerror})") from error
