"""Checkpoints: complete or invisible, provably whole, private, and never leading out of themselves."""

from __future__ import annotations

import errno
import json
import logging
import os
import pickle
import signal
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tune_plugins.core.trial import CheckpointRecord
from tune_plugins.errors import ArgumentError
from tune_plugins.record.checkpoint import (
    MANIFEST,
    TEMPORARY,
    Checkpoint,
    CheckpointWriter,
    copy_into,
    newest_valid,
    remove,
    sweep,
    verify,
)


def save(target: Path, iteration: int = 1, text: str = "weights") -> CheckpointRecord:
    writer = CheckpointWriter(target)
    (writer.path / "model.txt").write_text(text)
    (writer.path / "optimizer").mkdir()
    (writer.path / "optimizer" / "state.bin").write_bytes(b"\0\1" * 50)
    return writer.commit(iteration, 0.5, {"loss": np.float32(0.5), ("a", 1): object()})


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_a_commit_makes_a_whole_directory_visible(tmp_path: Path) -> None:
    target = tmp_path / "trial" / "checkpoint_000003"
    record = save(target, 3)
    assert record == CheckpointRecord("checkpoint_000003", 3, str(target), 0.5, 107)
    assert names(target.parent) == ["checkpoint_000003"]
    assert verify(target) is None
    assert (target / "optimizer" / "state.bin").read_bytes() == b"\0\1" * 50
    manifest = json.loads((target / MANIFEST).read_text())
    assert manifest["metrics"]["loss"] == 0.5 and manifest["iteration"] == 3
    assert manifest["files"]["model.txt"]["size"] == 7


def test_nothing_is_visible_before_the_commit_nor_after_an_abort(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path / "c")
    (writer.path / "a").write_text("a")
    assert not (tmp_path / "c").exists() and writer.path.name.startswith(TEMPORARY)
    writer.abort()
    writer.abort()
    assert names(tmp_path) == []


def test_a_target_that_exists_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    ids = [save(tmp_path / "c", text=str(i)).id for i in range(3)]
    assert ids == ["c_1", "c_2", "c_3"]
    assert [(tmp_path / i / "model.txt").read_text() for i in ids] == ["0", "1", "2"]


def test_writers_of_the_same_target_in_many_threads_all_get_a_place(tmp_path: Path) -> None:
    records: list[CheckpointRecord] = []
    threads = [
        threading.Thread(target=lambda i=i: records.append(save(tmp_path / "c", text=str(i)))) for i in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({record.path for record in records}) == 12
    assert {Path(str(r.path), "model.txt").read_text() for r in records} == {str(i) for i in range(12)}
    assert all(verify(str(record.path)) is None for record in records)


def test_files_are_private(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path / "new" / "c")
    (writer.path / "open.txt").write_text("secret")
    (writer.path / "open.txt").chmod(0o666)
    (writer.path / "sub").mkdir(mode=0o755)
    (writer.path / "sub" / "x").write_text("x")
    root = Path(str(writer.commit(1, None).path))
    for path in [root, *root.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("size", [0, 5_000_000])
def test_sizes_from_empty_to_where_flushing_and_hashing_overlap(tmp_path: Path, size: int) -> None:
    writer = CheckpointWriter(tmp_path / "c")
    (writer.path / "big").write_bytes(os.urandom(size))
    record = writer.commit(1, None)
    assert record.bytes == size and verify(str(record.path)) is None


def damage_size(root: Path) -> None:
    (root / "model.txt").write_text("weight")


def damage_byte(root: Path) -> None:
    (root / "model.txt").write_text("weighty")


def damage_missing(root: Path) -> None:
    (root / "optimizer" / "state.bin").unlink()


def damage_manifest(root: Path) -> None:
    (root / MANIFEST).write_text('{"format": 1, "files"')


def damage_no_manifest(root: Path) -> None:
    (root / MANIFEST).unlink()


def damage_future(root: Path) -> None:
    (root / MANIFEST).write_text('{"format": 99}')


def damage_escape(root: Path) -> None:
    (root / MANIFEST).write_text('{"format": 1, "files": {"../../etc/x": {"size": 1, "sha256": ""}}}')


def damage_type(root: Path) -> None:
    (root / "model.txt").unlink()
    (root / "model.txt").mkdir()


def damage_all(root: Path) -> None:
    remove(root)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damage_size, "model.txt has 6 bytes instead of 7"),
        (damage_byte, "model.txt has changed: its checksum differs"),
        (damage_missing, "optimizer/state.bin is missing"),
        (damage_manifest, "cannot be read (JSONDecodeError"),
        (damage_no_manifest, "never completed"),
        (damage_future, "format 99 is newer than 1"),
        (damage_escape, "points out of the checkpoint"),
        (damage_type, "model.txt is no file"),
        (damage_all, "the directory is missing"),
    ],
)
def test_damage_is_named_and_the_one_before_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Any, says: str
) -> None:
    first, second = save(tmp_path / "c1", 1), save(tmp_path / "c2", 2)
    assert newest_valid([first, second]) == second
    damage(Path(str(second.path)))
    assert says in str(verify(str(second.path)))
    with caplog.at_level(logging.WARNING):
        assert newest_valid([first, second, CheckpointRecord("in_memory", 3, None)]) == first
    assert says in caplog.text and str(second.path) in caplog.text
    assert newest_valid([second]) is None


def test_metadata_may_change_after_the_commit(tmp_path: Path) -> None:
    checkpoint = Checkpoint(str(save(tmp_path / "c").path))
    assert checkpoint.get_metadata() == {}
    checkpoint.set_metadata({"framework": "x", "epoch": 1})
    checkpoint.update_metadata({"epoch": 2})
    assert checkpoint.get_metadata() == {"framework": "x", "epoch": 2}
    assert verify(checkpoint.path) is None


def test_checkpoint_is_a_value(tmp_path: Path) -> None:
    checkpoint = Checkpoint.from_directory(tmp_path)
    again = pickle.loads(pickle.dumps(checkpoint))
    assert again == checkpoint and hash(again) == hash(checkpoint) and checkpoint != Checkpoint(tmp_path / "x")
    assert repr(checkpoint) == f"Checkpoint({str(tmp_path)!r})"
    assert checkpoint != str(tmp_path)
    with checkpoint.as_directory() as directory:
        assert directory == str(tmp_path)


def test_from_directory_wants_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="found nothing at"):
        Checkpoint.from_directory(tmp_path / "none")
    with pytest.raises(ArgumentError, match="found a file at"):
        Checkpoint.from_directory(tmp_path / "file")


def test_to_directory_copies(tmp_path: Path) -> None:
    checkpoint = Checkpoint(str(save(tmp_path / "c").path))
    checkpoint.set_metadata({"a": 1})
    copied = Path(checkpoint.to_directory(tmp_path / "deep" / "copy"))
    assert (copied / "model.txt").read_text() == "weights"
    assert (copied / "optimizer" / "state.bin").exists() and not (copied / MANIFEST).exists()
    assert Checkpoint(copied).get_metadata() == {"a": 1}


@pytest.mark.parametrize("link", [False, True])
def test_copy_into_a_writer_and_commit(tmp_path: Path, link: bool) -> None:
    source = tmp_path / "mine"
    (source / "sub" / "empty").mkdir(parents=True)
    (source / "sub" / "w").write_text("one")
    (source / "latest").symlink_to("sub/w")
    writer = CheckpointWriter(tmp_path / "c")
    copy_into(source, writer.path, link=link)
    record = writer.commit(1, None)
    root = Path(str(record.path))
    assert (root / "latest").read_text() == "one" and (root / "sub" / "empty").is_dir()
    assert not (root / "latest").is_symlink()
    if not link:
        with open(source / "sub" / "w", "r+") as stream:  # writing in place must not reach the copy
            stream.write("two")
        assert verify(root) is None


def test_links_that_lead_out_and_things_that_are_no_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    source = tmp_path / "mine"
    source.mkdir()
    (source / "up").symlink_to("../secret")
    (source / "absolute").symlink_to(tmp_path / "secret")
    (source / "dangling").symlink_to("nothing")
    (source / "folder").symlink_to("..")
    os.mkfifo(source / "pipe")
    writer = CheckpointWriter(tmp_path / "c")
    with pytest.raises(ArgumentError) as caught:
        copy_into(source, writer.path)
    assert {m.partition(":")[0] for m in caught.value.mistakes} == {"folder", "absolute", "dangling", "pipe", "up"}
    assert names(writer.path) == []
    (writer.path / "up").symlink_to("../secret")
    with pytest.raises(ArgumentError, match="a link out of the checkpoint"):
        writer.commit(1, None)
    assert not (tmp_path / "c").exists()
    with pytest.raises(ArgumentError, match="expected a directory"):
        copy_into(tmp_path / "none", tmp_path)


def test_a_disk_error_is_named_and_nothing_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = CheckpointWriter(tmp_path / "c")
    (writer.path / "a").write_text("a")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left") as caught:
            writer.commit(1, None)
    assert caught.value.filename == str(tmp_path / "c") and not (tmp_path / "c").exists()
    assert verify(str(writer.commit(1, None).path)) is None  # goes on after space is freed


def test_remove_and_sweep(tmp_path: Path) -> None:
    record = save(tmp_path / "c")
    CheckpointWriter(tmp_path / "left")
    (tmp_path / f"{TEMPORARY}link").symlink_to(tmp_path / "c")
    assert sweep(tmp_path) == 1 and (tmp_path / "c").exists()
    remove(str(record.path))
    remove(str(record.path))
    remove(tmp_path / "no" / "such")
    assert names(tmp_path) == [f"{TEMPORARY}link"]
    assert sweep(tmp_path / "none") == 0


def killed_at(step: int, work: Any) -> bool:
    """Run `work` in a child that SIGKILLs itself just before its `step`-th call into the file system."""
    child = os.fork()
    if child == 0:
        left = step

        def counted(function: Any) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)

            return call

        for name in ("open", "fsync", "rename", "replace", "mkdir", "chmod", "fchmod", "unlink", "rmdir"):
            setattr(os, name, counted(getattr(os, name)))
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_killed_at_each_step_of_a_write(tmp_path: Path) -> None:
    before = save(tmp_path / "c1", 1)
    target = tmp_path / "c2"
    step = 0
    while killed_at(step, lambda: save(target, 2)):
        if target.exists():  # killed after the rename: then it must be whole
            assert verify(target) is None
            remove(target)
        else:
            assert newest_valid([before, CheckpointRecord("c2", 2, str(target))]) == before
        sweep(tmp_path)
        assert names(tmp_path) == ["c1"]
        step += 1
    assert step > 15 and verify(target) is None


def test_killed_at_each_step_of_a_removal(tmp_path: Path) -> None:
    step = 0
    target = tmp_path / "c"
    save(target)
    while killed_at(step, lambda: remove(target)):
        assert not target.exists() or verify(target) is None  # all or nothing
        if not target.exists():
            save(target)
        sweep(tmp_path)
        step += 1
    assert step > 4 and not target.exists()
