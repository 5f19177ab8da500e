"""Checkpoints: directories that appear only when complete and prove that they are whole.

`Checkpoint` is what users and adapters hold. `CheckpointWriter` makes one: files go to a temporary
directory, get a manifest of sizes and SHA-256 sums, are flushed to disk and become visible by one
rename; whatever is killed in between leaves a ``.tmp-`` directory that `sweep` removes.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_plugins.core.trial import CheckpointRecord
from tune_plugins.errors import ArgumentError
from tune_plugins.record.files import flush, flush_and_hash, fsync_directory, listing, sha256, write_durably
from tune_plugins.space.jsonable import to_plain

if TYPE_CHECKING:
    from tune_plugins.record.models import Build

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
MANIFEST = ".manifest.json"
METADATA = ".metadata.json"
TEMPORARY = ".tmp-"
LINKS = f"{TEMPORARY}best-"
"""Folders in which a training has the files of its best model so far; needed while it runs."""

_UNLISTED = frozenset({MANIFEST, METADATA})  # metadata may change after the checkpoint is complete


class Checkpoint:
    """A directory that holds the state of a training run.

    Args:
        path: the directory; it need not exist on this machine yet.
        config: hyper-parameters of the trial that saved it, where they are known.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> checkpoint = Checkpoint.from_directory(folder)
    >>> checkpoint.set_metadata({"framework": "mine"})
    >>> checkpoint.get_metadata()
    {'framework': 'mine'}
    """

    __slots__ = ("_config", "path")

    def __init__(self, path: str | os.PathLike[str], *, config: Mapping[str, Any] | None = None) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self._config = config

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """A checkpoint over an existing directory; nothing is copied.

        Raises:
            ArgumentError: `path` is not a directory.
        """
        if not os.path.isdir(path):
            what = "a file" if os.path.exists(path) else "nothing"
            raise ArgumentError(
                "Checkpoint.from_directory",
                [f"path: expected an existing directory, found {what} at {os.fspath(path)!r}. Save into it first."],
            )
        return cls(path)

    def to_directory(self, path: str | os.PathLike[str] | None = None) -> str:
        """Copy the files to `path` (made if missing; default: a new temporary directory) and return it."""
        target = Path(tempfile.mkdtemp(prefix="checkpoint-") if path is None else path)
        target.mkdir(parents=True, exist_ok=True)
        copy_into(self.path, target)
        return str(target)

    @contextmanager
    def as_directory(self) -> Iterator[str]:
        """The directory for reading, without a copy. Do not write into it."""
        yield self.path

    def load_model(self, build: Build | None = None, *, config: Mapping[str, Any] | None = None) -> Any:
        """The model, as its framework knows it, ready to predict.

        XGBoost, LightGBM, CatBoost and Transformers store the whole model, Keras, Lightning and PyTorch its weights::

            booster = best.checkpoint.load_model()
            model = best.checkpoint.load_model(build_model)  # a function, or a class such as a LightningModule

        Args:
            build: makes the model that the weights are loaded into: called with the config if it needs one argument,
                with single values of the config if its parameters have their names, else with nothing. A model that
                is built already is loaded into and returned.
            config: for `build`; default: that of the trial, where the checkpoint comes from a `Result`.

        Raises:
            ArgumentError: `build` is needed, or does not fit.
            TuneError: the checkpoint was not saved by an adapter.
        """
        from tune_plugins.record.models import load_model

        return load_model(self.path, build, self._config or {} if config is None else config)

    def get_metadata(self) -> dict[str, Any]:
        """What `set_metadata` stored, else an empty dict."""
        try:
            text = Path(self.path, METADATA).read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        metadata: dict[str, Any] = json.loads(text)
        return metadata

    def set_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Store `metadata`, JSON values only, in place of what was there."""
        write_durably(Path(self.path, METADATA), json.dumps(dict(metadata), indent=1))

    def update_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to the metadata; keys that exist are replaced."""
        self.set_metadata({**self.get_metadata(), **metadata})

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"Checkpoint({self.path!r})"

    def __eq__(self, other: object) -> bool:
        return self.path == other.path if isinstance(other, Checkpoint) else NotImplemented

    def __hash__(self) -> int:
        return hash((Checkpoint, self.path))

    def __reduce__(self) -> Any:
        return partial(type(self), config=self._config) if self._config else type(self), (self.path,)


class CheckpointWriter:
    """Makes one checkpoint in two steps, which may run in different threads.

    User code fills `path`; then `commit` makes it durable and visible, or `abort` drops it.

    Args:
        target: the directory that is to appear; its parent is made if missing.

    >>> import tempfile
    >>> writer = CheckpointWriter(Path(tempfile.mkdtemp(), "checkpoint_000003"))
    >>> _ = (writer.path / "weights.txt").write_text("0.5")
    >>> record = writer.commit(iteration=3, score=0.9)
    >>> record.id, record.bytes, verify(record.path)
    ('checkpoint_000003', 3, None)
    """

    def __init__(self, target: str | os.PathLike[str]) -> None:
        self.target = Path(os.path.abspath(target))
        self.target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{self.target.name}-", dir=self.target.parent))

    def commit(
        self, iteration: int, score: float | None, metrics: Mapping[str, Any] | None = None, *, trial_id: str = ""
    ) -> CheckpointRecord:
        """Make the files durable, then visible under `target`, or ``target_1``, ... if that exists.

        Args:
            iteration: `training_iteration` whose state the files hold.
            score: value of the retention's score attribute, if there is one.
            metrics: the result at that iteration, noted in the manifest for people.
            trial_id: of the trial that saves it.

        Raises:
            ArgumentError: there is a link out of the directory, or something that is no file.
            OSError: the disk is full or not writable. Nothing has appeared; `abort` clears the rest.
        """
        try:
            files, folders = listing(self.path, _UNLISTED)
            listed = flush_and_hash(files)
            manifest = {
                "format": FORMAT_VERSION,
                "iteration": iteration,
                "score": score,
                "metrics": dict(metrics or {}),
                "files": listed,
            }
            write_durably(self.path / MANIFEST, json.dumps(to_plain(manifest), indent=1))
            if (self.path / METADATA).exists():
                flush([self.path / METADATA])
            for folder in (*folders, self.path):
                os.chmod(folder, 0o700)
                fsync_directory(folder)
            placed = self._place()
            fsync_directory(placed.parent)
        except OSError as error:
            if error.filename is None:  # fsync and write name no file
                raise OSError(error.errno, error.strerror, str(self.target)) from error
            raise
        size = sum(f["size"] for f in listed.values())
        return CheckpointRecord(placed.name, iteration, str(placed), score, size, trial_id)

    def abort(self) -> None:
        """Remove what was written. Harmless after `commit`."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _place(self) -> Path:
        candidate, number = self.target, 0
        while True:
            if not os.path.lexists(candidate):
                try:
                    os.rename(self.path, candidate)
                    return candidate
                except OSError as error:  # somebody else was faster
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                        raise
            number += 1
            candidate = self.target.with_name(f"{self.target.name}_{number}")


def copy_into(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    link: bool = False,
    without: Collection[str] = (),
) -> None:
    """Copy the files of a checkpoint directory into the existing directory `target`.

    The manifest of a finished checkpoint is left behind: the copy gets its own.

    Args:
        source: directory to copy, e.g. one that user code handed to `report`.
        target: e.g. `CheckpointWriter.path`.
        link: hard links in place of copies. Only for files that nobody will write to again, since
            a later write in place would change both.
        without: files and folders at the top of it that are left out.

    Raises:
        ArgumentError: `source` is no directory, has a link out of itself, or something that is no file.
    """
    if not os.path.isdir(source):
        raise ArgumentError("copy_into", [f"source: expected a directory, found none at {os.fspath(source)!r}."])
    root, destination = Path(source), Path(target)
    files, folders = listing(root, _UNLISTED)
    names = [name for name in files if name.partition("/")[0] not in without]
    for folder in [f for f in reversed(folders) if f.relative_to(root).parts[0] not in without]:
        (destination / folder.relative_to(root)).mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in names:
        file, copy = files[name], destination / name
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if link:
            with suppress(OSError):  # another file system, or one without hard links
                os.link(file.resolve(), copy)
                continue
        shutil.copyfile(file, copy)
        os.chmod(copy, 0o600)
    with suppress(FileNotFoundError):
        shutil.copyfile(root / METADATA, destination / METADATA)


def reported_with(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The result that a checkpoint was saved with, as its manifest has it; empty if it has none."""
    try:
        noted: dict[str, Any] = json.loads((Path(path) / MANIFEST).read_text(encoding="utf-8"))["metrics"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return noted


def verify(path: str | os.PathLike[str]) -> str | None:
    """What is wrong with the checkpoint at `path`, in words; None if it is whole. Reads every byte."""
    root = Path(path)
    if not root.is_dir():
        return "the directory is missing"
    try:
        manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] > FORMAT_VERSION:
            return f"its format {manifest['format']} is newer than {FORMAT_VERSION}, which this version reads"
        expected: dict[str, dict[str, Any]] = manifest["files"]
        entries = [(name, int(entry["size"]), str(entry["sha256"])) for name, entry in expected.items()]
    except FileNotFoundError:
        return f"the manifest {MANIFEST} is missing, so it was never completed"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"the manifest {MANIFEST} cannot be read ({type(error).__name__}: {error})"
    base = root.resolve()
    for name, size, digest in entries:
        file = root / name
        if not file.resolve().is_relative_to(base):
            return f"{name} points out of the checkpoint"
        try:
            found = file.stat()
            if not stat.S_ISREG(found.st_mode):
                return f"{name} is no file"
            if found.st_size != size:
                return f"{name} has {found.st_size} bytes instead of {size}"
            if sha256(file) != digest:
                return f"{name} has changed: its checksum differs"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return None


def newest_valid(records: Iterable[CheckpointRecord]) -> CheckpointRecord | None:
    """The newest of `records` (oldest first) that is whole on disk; warns of each one passed over."""
    for record in reversed(list(records)):
        if record.path is None:
            continue  # was in memory only
        wrong = verify(record.path)
        if wrong is None:
            return record
        logger.warning("Checkpoint %s cannot be used: %s. Falling back to the one before.", record.path, wrong)
    return None


def remove(path: str | os.PathLike[str]) -> None:
    """Delete a checkpoint so that no reader ever sees half of it. One that is gone is no error."""
    source = Path(os.path.abspath(path))
    holder = None
    try:
        holder = tempfile.mkdtemp(prefix=f"{TEMPORARY}removed-", dir=source.parent)
        os.rename(source, os.path.join(holder, source.name))
    except FileNotFoundError:
        pass
    finally:
        if holder is not None:
            shutil.rmtree(holder, ignore_errors=True)


def sweep(directory: str | os.PathLike[str], prefix: str = TEMPORARY) -> int:
    """Remove what killed writers left in `directory` and return how many; only while nobody writes there.

    Args:
        directory: need not exist.
        prefix: of the folders to remove.
    """
    count = 0
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in list(entries):
            if entry.name.startswith(prefix) and entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
                count += 1
    return count
