"""Files that are durable: flushed to disk with their directories, private to the user."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tune_plugins.errors import ArgumentError

_PARALLEL_BYTES = 4 << 20  # above this, flushing and hashing overlap


def listing(root: Path, unlisted: frozenset[str]) -> tuple[dict[str, Path], list[Path]]:
    """Files by relative name, and folders deepest first; refuses what a checkpoint cannot hold."""
    base = root.resolve()
    files: dict[str, Path] = {}
    folders: list[Path] = []
    mistakes: list[str] = []
    for folder, names, file_names in os.walk(root):
        here = Path(folder)
        if here != root:
            folders.append(here)
        for name in sorted((*names, *file_names)):
            path = here / name
            relative = path.relative_to(root).as_posix()
            if path.is_symlink():
                to = os.readlink(path)
                if os.path.isabs(to) or not path.resolve().is_relative_to(base):
                    mistakes.append(f"{relative}: a link out of the checkpoint, to {to!r}. Copy the file into it.")
                    continue
                if path.is_dir():
                    continue  # its files are listed where they are
            mode = path.stat().st_mode if path.exists() else 0
            if stat.S_ISREG(mode):
                if relative not in unlisted:
                    files[relative] = path
            elif not stat.S_ISDIR(mode):
                mistakes.append(f"{relative}: neither a file nor a directory. Remove it from the checkpoint.")
    if mistakes:
        raise ArgumentError(f"Checkpoint {root}", mistakes)
    return dict(sorted(files.items())), folders[::-1]


def flush_and_hash(files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Flush every file to disk; returns their sizes in bytes and SHA-256 sums by name."""
    sizes = {name: file.stat().st_size for name, file in files.items()}
    if sum(sizes.values()) < _PARALLEL_BYTES:
        flush(files.values())
        sums = {name: sha256(file) for name, file in files.items()}
    else:
        with ThreadPoolExecutor(1, "checkpoint-flush") as pool:
            flushed = pool.submit(flush, list(files.values()))
            sums = {name: sha256(file) for name, file in files.items()}
            flushed.result()
    return {name: {"size": sizes[name], "sha256": sums[name]} for name in files}


def flush(files: Iterable[Path]) -> None:
    """Flush files to disk and make them private to the user (mode 0600)."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fchmod(descriptor, 0o600)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256(file: Path) -> str:
    """SHA-256 of the bytes of a file, in hexadecimal."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_durably(path: Path, text: str) -> None:
    """Write a whole small file, durably and with mode 0600, in place of the one there."""
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)
    os.replace(temporary, path)


def fsync_directory(path: Path) -> None:
    """Flush the names in a directory to disk, after files in it were made or renamed."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
