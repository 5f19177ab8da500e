"""Loggers that write files into the folder of each trial: ``progress.csv``, ``result.json``, ``params.json``."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tune_plugins.core.trial import Trial
from tune_plugins.logger.base import LoggerCallback
from tune_plugins.logger.values import text, to_json
from tune_plugins.space.nested import flatten

__all__ = ["CSVLoggerCallback", "JsonLoggerCallback"]

_GATHERED = 200  # results before they are written even if more wait


class Gathering(LoggerCallback):
    """Writes what has come together at once: no file stays open, of which a process may have a thousand or so."""

    one_of_a_run = True

    def __init__(self) -> None:
        self._gathered: dict[str, list[Any]] = {}
        self._count = 0

    def _gather(self, trial: Trial, what: Any) -> None:
        self._gathered.setdefault(trial.path, []).append(what)
        self._count += 1
        if self._count >= _GATHERED:
            self._caught_up()

    def _caught_up(self) -> None:
        gathered, self._gathered, self._count = self._gathered, {}, 0
        trouble = None
        for path, entries in gathered.items():
            folder = Path(path)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._write(folder, entries)
            except Exception as error:
                trouble = error  # the others may have better luck
        if trouble is not None:
            raise trouble

    def _write(self, folder: Path, entries: list[Any]) -> None:
        raise NotImplementedError


class CSVLoggerCallback(Gathering):
    """Writes the results of each trial as ``progress.csv`` into its folder: a line each, a column for each name.

    Names of nested results and of hyper-parameters are joined by ``/``: ``eval/loss``, ``config/lr``. The config is the
    one in force at that result. Lists are JSON, NaN is ``nan``, what was not reported is empty.

    Columns are the names of the first result. When later ones have more, the file is written anew with more columns,
    which are empty in the lines before. (Ray Tune leaves such values out.) A trial that goes on after a failure adds
    lines; what it trains again is there twice.

    A run may have reported more than the file holds until its end: lines are written when the logger has caught up.
    """

    def __init__(self) -> None:
        super().__init__()
        self._columns: dict[Path, list[str]] = {}

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Add a line."""
        self._gather(trial, {name: _cell(value) for name, value in flatten(result).items() if value != {}})

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Write what has come together."""
        self._caught_up()
        self._columns.pop(Path(trial.path), None)

    def _write(self, folder: Path, entries: list[dict[str, Any]]) -> None:
        path = folder / "progress.csv"
        if (columns := self._columns.get(folder)) is None:
            columns = self._columns[folder] = _columns_of(path)
        names = dict.fromkeys(columns)
        for entry in entries:
            names.update(dict.fromkeys(entry))
        if len(names) > len(columns):
            _add_columns(path, list(names))
            columns = self._columns[folder] = list(names)
        _append(path, _lines([entry.get(name, "") for name in columns] for entry in entries))


def _cell(value: Any) -> Any:
    # A reader takes a carriage return for the end of a line; Python before 3.13 does not quote it.
    return value if value is None or isinstance(value, (int, float)) else text(value).replace("\r", "\\r")


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows(rows)
    return lines.getvalue()


def _columns_of(path: Path) -> list[str]:
    """The header of a file; empty where there is none, or nothing in it."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file), [])
    except FileNotFoundError:
        return []


def _add_columns(path: Path, columns: list[str]) -> None:
    """Write a file anew with more columns, behind those that it has; one that is not there gets a header."""
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(_lines([columns]).encode("utf-8", "backslashreplace"))
        if path.exists():
            more = b"," * (len(columns) - len(_columns_of(path)))
            with path.open("rb") as old:
                for number, row in enumerate(_rows(old)):
                    if number:
                        file.write(row + more + b"\n")
    os.replace(new, path)


def _rows(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The rows of a file as they are, without the ends of lines: a quoted cell may go over several lines."""
    row = b""
    for line in lines:
        row += line
        if row.count(b'"') % 2 == 0:
            yield row.removesuffix(b"\n")
            row = b""
    if row:
        yield row.removesuffix(b"\n")


def _append(path: Path, lines: str) -> None:
    """Add lines to a file; the last one may have been cut when the process was killed."""
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(lines.encode("utf-8", "backslashreplace"))


class JsonLoggerCallback(Gathering):
    """Writes ``result.json``, a line of JSON for each result, and ``params.json``, the config, into trials' folders.

    Each line has the config in force at that result; ``params.json`` has the newest one, also after an exploit. Both
    are JSON as the standard has it: NaN and infinities become null. Where a config is large, a subclass may leave it
    out: ``super().log_trial_result(iteration, trial, {**result, "config": {}})``.

    Ray Tune writes ``params.pkl`` too; here nothing is pickled.
    """

    def __init__(self) -> None:
        super().__init__()
        self._written: dict[str, Any] = {}

    def log_trial_start(self, trial: Trial) -> None:
        """Write the config."""
        self._keep_config(trial)

    def log_trial_restore(self, trial: Trial) -> None:
        """Write the config, which may be another one."""
        self._keep_config(trial)

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Add a line."""
        self._keep_config(trial)
        self._gather(trial, to_json(result))

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Write what has come together."""
        self._caught_up()
        self._written.pop(trial.path, None)

    def _keep_config(self, trial: Trial) -> None:
        if self._written.get(trial.path) is not trial.config:
            self._written[trial.path] = trial.config
            folder = Path(trial.path)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "params.json").write_text(to_json(trial.config, indent=2) + "\n", encoding="utf-8")

    def _write(self, folder: Path, entries: Iterable[str]) -> None:
        _append(folder / "result.json", "".join(f"{entry}\n" for entry in entries))
