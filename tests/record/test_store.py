"""The durable record: exact, in order, whole after any kill, and clear about what it cannot do."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import resource
import shutil
import signal
import sqlite3
import stat
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tune_plugins.core.ends import EndCause, ErrorInfo
from tune_plugins.core.events import (
    CheckpointSaved,
    DeleteCheckpoint,
    Event,
    ExploitDone,
    GrantLease,
    RecordDecision,
    RecordStatus,
    RecordTrial,
    ResultsReported,
    SlotsChanged,
    StopRequested,
    SuggestionMade,
    Tick,
    TrialErrored,
    TrialFinished,
    TrialPaused,
    TrialStarted,
    WorkerLost,
)
from tune_plugins.core.trial import FREE, CheckpointRecord, TrialStatus
from tune_plugins.errors import TuneError
from tune_plugins.record.codec import KINDS, PathTranslator, event_from_row, event_row
from tune_plugins.record.file import FORMAT_VERSION
from tune_plugins.record.store import FILE_NAME, ExperimentStore, StorageError


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with ExperimentStore.create(tmp_path / "exp", {"metric": "loss", "mode": "min"}) as made:
        yield made


def result(iteration: int, **metrics: Any) -> dict[str, Any]:
    return {"training_iteration": iteration, "time_total_s": iteration * 0.1, "timestamp": 1.7e9 + iteration, **metrics}


def reported(trial: str, *results: dict[str, Any], waiting: bool = False) -> ResultsReported:
    return ResultsReported(1.0, trial, results, waiting)


def bits(value: Any) -> Any:
    """A value in which NaN equals NaN, and 0.0 differs from -0.0 and from 0."""
    if isinstance(value, float):
        return ("float", "nan") if math.isnan(value) else ("float", struct.pack("<d", value))
    if isinstance(value, dict):
        return {key: bits(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(inner) for inner in value]
    if dataclasses.is_dataclass(value):
        return type(value), {f.name: bits(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return type(value), value


ALL_EVENTS: list[Event] = [
    SlotsChanged(1.0, 4),
    TrialStarted(2.5, "00000", "node", 77),
    reported("00000", result(1, loss=0.1), result(2, loss=1 / 3)),
    reported("00001", result(1, loss=5e-324), waiting=True),
    reported("00000", result(3, loss=-0.0, big=10**30, whole=7, flag=True, none=None, text="é\ud800\"'\n")),
    reported(
        "00000",
        result(4, loss=math.nan, up=math.inf, down=-math.inf),
        {"loss": 1.0},
        {"training_iteration": 2**70, "time_total_s": math.nan, "timestamp": math.inf, "loss": 1},
        {"training_iteration": True, "time_total_s": 3, "timestamp": None, "nested": {"a": {"b": [1, 2.5]}}},
    ),
    CheckpointSaved(3.0, "00000", CheckpointRecord("checkpoint_000003", 3, "/elsewhere/c", 0.25, 12, "00000")),
    CheckpointSaved(3.0, "00001", CheckpointRecord("checkpoint_000001", 1, None, trial_id="00001", goes_on=False)),
    TrialPaused(4.0, "00001", True),
    ExploitDone(4.5, "00001", False, "'width' cannot be changed"),
    TrialFinished(5.0, "00000", "stopped at rung 9"),
    TrialErrored(6.0, "00001", ErrorInfo("ValueError", "x\ny", "Traceback ..."), True, EndCause.OUT_OF_MEMORY),
    WorkerLost(7.0, "00001", ErrorInfo("WorkerLostError", "signal 9"), False),
    Tick(math.nan),
    SuggestionMade(3.5, "00003", 3, 17, {"lr": 0.1, "sizes": (1, 2), "m": {"k": None}}),
    SuggestionMade(3.5, "00003", 3, 17, None, "not ready"),
    StopRequested(9.0, "Ctrl-C"),
]


def test_every_event_comes_back_equal_to_the_last_bit(store: ExperimentStore) -> None:
    assert {type(event) for event in ALL_EVENTS} == set(KINDS.values())  # a new event must be added here
    store.commit(ALL_EVENTS[:4])
    assert store.commit(ALL_EVENTS[4:]) == len(ALL_EVENTS) == store.last_seq
    with ExperimentStore.open(store.directory) as other:
        found = list(other.events())
        assert [bits(event) for event in found] == [bits(event) for event in ALL_EVENTS]
        assert [bits(event) for event in other.events(after=9)] == [bits(event) for event in ALL_EVENTS[9:]]
        expected = [
            r for e in ALL_EVENTS if isinstance(e, ResultsReported) and e.trial_id == "00000" for r in e.results
        ]
        assert bits(other.results("00000")) == bits(expected)
        assert bits(other.last_results()) == bits({"00000": expected[-1], "00001": result(1, loss=5e-324)})
        everything = [(e.trial_id, r) for e in ALL_EVENTS if isinstance(e, ResultsReported) for r in e.results]
        assert bits(list(other.all_results())) == bits(everything)
    assert other.results  # methods stay; the file is closed
    with pytest.raises(StorageError, match="closed"):
        other.meta()


def test_a_record_of_before_checkpoints_told_whether_a_training_goes_on_from_them(tmp_path: Path) -> None:
    event = CheckpointSaved(3.0, "a", CheckpointRecord("c", 3, None, trial_id="a", goes_on=False))
    seq, time, kind, trial_id, data = event_row(1, event, PathTranslator(tmp_path))
    old = (seq, time, kind, trial_id, data.replace(',"goes_on":false', ""))
    assert old[4] != data
    assert event_from_row(old, PathTranslator(tmp_path)) == dataclasses.replace(
        event, checkpoint=dataclasses.replace(event.checkpoint, goes_on=True)
    )


def test_long_logs_are_read_in_pieces(store: ExperimentStore) -> None:
    events = [reported(f"{i % 3}", result(i), result(i + 1)) if i % 2 else Tick(float(i)) for i in range(2500)]
    store.commit(events)
    assert list(store.events()) == events
    assert sum(1 for _ in store.all_results()) == 2500
    assert store.results("1") == [
        r for e in events if isinstance(e, ResultsReported) and e.trial_id == "1" for r in e.results
    ]


def test_order_is_that_of_commits_not_of_clocks(store: ExperimentStore) -> None:
    for clock in (3600.0, 0.0, -5.0, 7200.0):
        store.commit([ResultsReported.dummy(trial="a", time=clock, loss=clock)])
    assert [r["loss"] for r in store.results("a")] == [3600.0, 0.0, -5.0, 7200.0]
    assert store.last_results()["a"]["loss"] == 7200.0
    assert [event.time for event in store.events()] == [3600.0, 0.0, -5.0, 7200.0]


def test_trials_configs_and_statuses(store: ExperimentStore) -> None:
    error = ErrorInfo("ValueError", "no", "Traceback ...")
    store.commit([], [RecordTrial("00001", 1, {"lr": 0.5}, 11, 10.0), RecordTrial("00000", 0, {"lr": 0.25}, 7, 10.0)])
    store.commit(
        [Tick(1.0)],
        [
            RecordStatus("00000", "RUNNING", "", 11.0),
            RecordStatus("00000", "PAUSED", "rung 3", 12.0),
            RecordStatus("00001", "STARTING", "", 12.0),
        ],
    )
    store.commit([], [RecordTrial("00000", 0, {"lr": 0.125}, 8, 13.0)])
    store.commit(
        [],
        [
            RecordStatus("00000", "RUNNING", "", 14.0),
            RecordStatus("00000", "TERMINATED", "done", 15.0, EndCause.FINISHED),
            RecordStatus("00001", "ERROR", "failed", 16.0, EndCause.FAILED, error),
        ],
    )
    first, second = store.trials()
    assert (first.trial_id, first.number, first.config, first.seed) == ("00000", 0, {"lr": 0.125}, 8)
    assert (first.status, first.reason, first.error) == (TrialStatus.TERMINATED, "done", None)
    assert (first.cause, second.cause) == (EndCause.FINISHED, EndCause.FAILED)
    assert (first.created_at, first.started_at, first.ended_at) == (10.0, 11.0, 15.0)
    assert (second.status, second.started_at) == (TrialStatus.ERROR, None)
    assert second.error == error
    assert [(c.seq, c.config) for c in store.configs("00000")] == [(0, {"lr": 0.25}), (1, {"lr": 0.125})]
    assert len(store.configs()) == 3
    store.commit([], [RecordStatus("00001", "PENDING", "tried again", 17.0)])
    assert store.trials()[1].ended_at is None
    assert store.trials()[1].error == error, "the last one there was"


def test_a_status_of_an_unknown_trial_is_a_bug_and_nothing_of_it_stays(store: ExperimentStore) -> None:
    with pytest.raises(TuneError, match="never recorded"):
        store.commit([Tick(1.0)], [RecordStatus("nobody", "RUNNING", "", 1.0)])
    assert list(store.events()) == [] and store.commit([Tick(1.0)]) == 1
    with pytest.raises(TuneError, match="GrantLease is a command to a runtime"):
        store.commit([], [GrantLease("00000", FREE)])


def test_decisions_keep_their_order_and_their_event(store: ExperimentStore) -> None:
    store.commit([Tick(1.0), Tick(2.0)], [RecordDecision("a", 9, "stop", "rank 7 of 18", 50.0)])
    store.commit([Tick(3.0)], [RecordDecision("b", 3, "pause", "", 4.0), RecordDecision("a", 9, "stop", "x", 1.0)])
    assert [tuple(d) for d in store.decisions("a")] == [
        (2, "a", 9, "stop", "rank 7 of 18", 50.0),
        (3, "a", 9, "stop", "x", 1.0),
    ]
    assert [d.trial_id for d in store.decisions()] == ["a", "b", "a"]


def test_checkpoints_move_with_the_folder(store: ExperimentStore, tmp_path: Path) -> None:
    inside = CheckpointRecord("c1", 1, str(store.directory / "trial_a" / "c1"), 0.5, 9, "a")
    memory = CheckpointRecord("c2", 2, None, trial_id="a")
    outside = CheckpointRecord("c3", 3, str(tmp_path / "c3"), trial_id="a")
    store.commit([CheckpointSaved(1.0, "a", c) for c in (inside, memory, outside)])
    store.commit([CheckpointSaved(2.0, "a", dataclasses.replace(memory, path=str(store.directory / "c2")))])
    store.commit([], [DeleteCheckpoint("a", outside)])
    store.close()
    moved = tmp_path / "moved"
    shutil.move(store.directory, moved)
    with ExperimentStore.open(moved) as other:
        found = other.checkpoints("a")
        assert [c.record.path for c in found] == [str(moved / "trial_a" / "c1"), str(moved / "c2")]
        assert found[0].record == dataclasses.replace(inside, path=str(moved / "trial_a" / "c1"))
        assert [(c.record.id, c.deleted) for c in other.checkpoints(include_deleted=True)] == [
            ("c1", False),
            ("c3", True),
            ("c2", False),
        ]
        assert other.checkpoints("b") == []
        events = [e for e in other.events() if isinstance(e, CheckpointSaved)]
        assert events[0].checkpoint.path == str(moved / "trial_a" / "c1")
        assert events[2].checkpoint == outside


def test_text_that_utf_8_cannot_hold_is_kept_as_escapes(store: ExperimentStore) -> None:
    odd, kept = "name of a file: \udcff", "name of a file: \\udcff"
    error = ErrorInfo(odd, odd, odd)
    store.commit(
        [TrialErrored(1.0, "a", error), ResultsReported.dummy(trial="a", text=odd)],
        [
            RecordTrial("a", 0, {"file": odd}, 0, 0.0, odd, "a"),
            RecordDecision("a", 1, "STOP", odd, 1.0),
            RecordStatus("a", "ERROR", odd, 1.0, EndCause.FAILED, error),
        ],
    )
    (trial,), (decision,) = store.trials(), store.decisions()
    assert (trial.name, trial.reason, decision.reason, trial.error) == (kept, kept, kept, ErrorInfo(kept, kept, kept))
    # JSON has escapes of its own, and gives back what was given.
    assert (trial.config, store.results("a")[0]["text"]) == ({"file": odd}, odd)
    assert next(iter(store.events())) == TrialErrored(1.0, "a", error)


def test_names(store: ExperimentStore) -> None:
    store.commit([], [RecordTrial("a", 0, {}, 0, 0.0), RecordTrial("b", 1, {}, 0, 0.0, "lr=1 (größer)", "lr_1")])
    store.commit([], [RecordTrial("a", 0, {"new": 1}, 0, 0.0)])
    assert [(t.name, t.dirname) for t in store.trials()] == [("", "trial_a"), ("lr=1 (größer)", "lr_1")]


class Planted:
    """Would run a command if it were ever pickled and loaded."""

    def __reduce__(self) -> Any:
        return os.system, ("echo planted",)

    def __repr__(self) -> str:
        return "<planted>"


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_values_that_are_not_json(store: ExperimentStore) -> None:
    cyclic: dict[str, Any] = {}
    cyclic["self"] = cyclic
    config = {
        "f32": np.float32(0.1),
        "f64": np.float64(0.1),
        "i": np.int64(3),
        "b": np.bool_(True),
        "object": Planted(),
        "bad": Unprintable(),
        "pair": (1, 2),
        "set": {1},
        3: {(1, 2): "key"},
    }
    store.commit(
        [reported("a", {"training_iteration": np.int64(4), "loss": np.float32(0.5), "time_total_s": 1.0})],
        [RecordTrial("a", 0, config, 0, 0.0), RecordTrial("b", 1, cyclic, 0, 0.0)],
    )
    first, second = store.trials()
    found = first.config
    assert bits({name: found[name] for name in config if name not in ("object", "bad", "set")}) == bits(
        {name: config[name] for name in config if name not in ("object", "bad", "set")}
    )
    assert [repr(found[name]) for name in ("object", "bad", "set")] == [
        "<planted>",
        "<Unprintable, whose repr raised RuntimeError>",
        "{1}",
    ]
    assert repr(second.config).count("self") > 10
    assert store.results("a") == [{"training_iteration": 4, "loss": 0.5, "time_total_s": 1.0}]


def test_configs_of_before_there_were_marks(store: ExperimentStore) -> None:
    """What an older version wrote, also where a key of the user's looks like a mark."""
    old = [{"lr": 0.1, "n": [1, None]}, {"x": {"__repr__": "<f>"}}, {"$ref": 3}, {"$tuple": 3}, {"$dict": [1]}]
    store.commit([], [RecordTrial(f"{i}", i, {}, 0, 0.0) for i in range(len(old))])
    store.close()
    with sqlite3.connect(store.file) as connection:
        for number, config in enumerate(old):
            connection.execute("UPDATE trials SET config = ? WHERE trial_id = ?", (json.dumps(config), f"{number}"))
    connection.close()
    with ExperimentStore.open(store.directory) as other:
        assert [trial.config for trial in other.trials()] == old


def test_meta(store: ExperimentStore) -> None:
    store.set_meta({"mode": "max", "seed": 3, "space": {"lr": [0.1, math.inf]}})
    assert store.meta() == {"metric": "loss", "mode": "max", "seed": 3, "space": {"lr": [0.1, math.inf]}}


def test_files_are_private(tmp_path: Path) -> None:
    with ExperimentStore.create(tmp_path / "a" / "exp", {}) as made:
        made.commit([Tick(1.0)])
        found = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in made.directory.iterdir()}
    assert found == {FILE_NAME: 0o600, f"{FILE_NAME}-wal": 0o600, f"{FILE_NAME}-shm": 0o600}
    assert stat.S_IMODE((tmp_path / "a" / "exp").stat().st_mode) == 0o700


def test_commits_from_many_threads(store: ExperimentStore) -> None:
    def work(trial: str) -> None:
        for i in range(25):
            store.commit([reported(trial, result(i))])
            assert len(store.results(trial)) == i + 1

    threads = [threading.Thread(target=work, args=(str(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(store.results(str(i)) == [result(n) for n in range(25)] for i in range(4))
    assert store.last_seq == 100


# --------------------------------------------------------------------------- opening what is not right


def test_an_experiment_is_never_replaced(store: ExperimentStore) -> None:
    store.commit([Tick(1.0)])
    with pytest.raises(StorageError, match=r"There is an experiment already: .*exp/experiment.db"):
        ExperimentStore.create(store.directory, {})
    assert list(store.events()) == [Tick(1.0)]
    assert not [p for p in store.directory.iterdir() if p.name.startswith(".tmp-")]


def test_storage_path_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"it is a file"):
        ExperimentStore.create(tmp_path / "file", {})
    with pytest.raises(StorageError, match=r"Cannot write to the storage path .*file/exp: Not a directory"):
        ExperimentStore.create(tmp_path / "file" / "exp", {})
    with pytest.raises(StorageError, match=r"Cannot write to the storage path /proc/exp: "):
        ExperimentStore.create("/proc/exp", {})


def test_opening_what_is_no_experiment(tmp_path: Path) -> None:
    def says(directory: Path = tmp_path) -> str:
        with pytest.raises(StorageError) as caught:
            ExperimentStore.open(directory)
        return str(caught.value)

    file = tmp_path / FILE_NAME
    assert f"There is no experiment in {tmp_path}" in says()
    ExperimentStore.create(tmp_path / "one", {}).close()
    assert "Experiments below it, newest first: one." in says()
    file.write_bytes(b"")
    assert f"{file} is empty" in says()
    file.write_bytes(b"hello, this is a text file")
    assert f"{file} is not the record" in says()
    file.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    assert f"Cannot open the record {file}" in says()
    file.unlink()
    with sqlite3.connect(file) as foreign:
        foreign.execute("CREATE TABLE songs (a)")
    foreign.close()
    assert "not the record of an experiment" in says()
    other = tmp_path / "one"
    for version, remedy in ((FORMAT_VERSION + 1, "pip install -U"), (FORMAT_VERSION - 1, "the version that wrote it")):
        with sqlite3.connect(other / FILE_NAME) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
        connection.close()
        assert f"{other / FILE_NAME} has format {version}" in says(other) and remedy in says(other)


def test_an_event_of_a_newer_version_is_named(store: ExperimentStore) -> None:
    store.commit([Tick(1.0)])
    store._connection.execute("UPDATE events SET kind = 'TrialTeleported'")
    with pytest.raises(TuneError, match="'TrialTeleported'"):
        list(store.events())


def test_readonly_refuses_to_write(store: ExperimentStore) -> None:
    with (
        ExperimentStore.open(store.directory) as reader,
        pytest.raises(StorageError, match="opened for reading only"),
    ):
        reader.commit([Tick(1.0)])
    assert repr(reader) == f"ExperimentStore({str(store.directory)!r}, readonly)"


def test_a_second_driver_cannot_mix_its_events_in(store: ExperimentStore) -> None:
    with ExperimentStore.open(store.directory, readonly=False) as second:
        store.commit([Tick(1.0)])
        with pytest.raises(StorageError, match="another process has written"):
            second.commit([Tick(2.0)])
    assert list(store.events()) == [Tick(1.0)]


# --------------------------------------------------------------------------- faults


def test_full_disk_is_named_and_the_same_commit_works_later(store: ExperimentStore) -> None:
    store.commit([reported("a", result(1))])
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    big = [reported("a", *(result(i, text="x" * 500) for i in range(100)))]
    with pytest.raises(StorageError, match=r"Cannot write .*experiment.db: database or disk is full. Free space"):
        store.commit(big, [RecordTrial("a", 0, {}, 0, 0.0)])
    assert store.results("a") == [result(1)] and store.trials() == []
    store._connection.execute("PRAGMA max_page_count = 1000000")
    assert store.commit(big, [RecordTrial("a", 0, {}, 0, 0.0)]) == 2
    assert len(store.results("a")) == 101 and len(store.trials()) == 1


def test_the_system_refusing_to_write_is_named_and_survived(tmp_path: Path) -> None:
    """The kernel itself fails the write (a limit on the size of files), in a process of its own."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            made = ExperimentStore.create(tmp_path / "exp", {})
            made.commit([reported("a", result(1))])
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
            big = [reported("a", *(result(i, text="x" * 500) for i in range(1000)))]
            try:
                made.commit(big)
            except StorageError as error:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
                if str(made.file) in str(error) and made.results("a") == [result(1)]:
                    made.commit(big)
                    code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with ExperimentStore.open(tmp_path / "exp") as other:
        assert len(other.results("a")) == 1001


WRITER = """
import sys
from tune_plugins.core.events import RecordDecision, ResultsReported
from tune_plugins.record.store import ExperimentStore

store = ExperimentStore.open(sys.argv[1], readonly=False)
number = len(store.results("a"))
while True:
    results = tuple({"training_iteration": number + i, "loss": (number + i) / 7} for i in range(1, 8))
    store.commit([ResultsReported(1.0, "a", results)], [RecordDecision("a", number + 7, "go", "on", 1.0)])
    number += 7
    print(number, flush=True)
"""


def test_sigkill_loses_nothing_acknowledged(tmp_path: Path) -> None:
    directory = tmp_path / "exp"
    ExperimentStore.create(directory, {}).close()
    root = str(Path(__file__).parents[1])
    for run in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(directory)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": root},
            text=True,
        ) as process:
            assert process.stdout is not None
            acknowledged = 0
            for line in process.stdout:
                acknowledged = int(line)
                if acknowledged % (7 * (20 + 13 * run)) == 0:
                    process.send_signal(signal.SIGKILL)
                    break
            acknowledged = max([acknowledged, *map(int, process.stdout.read().split("\n")[:-1])])
        with ExperimentStore.open(directory, readonly=run % 2 == 0) as store:
            found = store.results("a")
            assert len(found) >= acknowledged > 0 and len(found) % 7 == 0
            assert found == [{"training_iteration": i, "loss": i / 7} for i in range(1, len(found) + 1)]
            assert [d.iteration for d in store.decisions("a")] == list(range(7, len(found) + 1, 7))


def test_a_torn_last_write_loses_only_itself(store: ExperimentStore, tmp_path: Path) -> None:
    store.commit([reported("a", result(1))], [RecordTrial("a", 0, {}, 0, 0.0)])
    wal = Path(f"{store.file}-wal")
    whole = wal.stat().st_size
    store.commit([reported("a", result(2, text="y" * 3000))])
    longer = wal.stat().st_size
    assert longer > whole
    cuts = sorted({*range(whole, longer, 523), whole + 1, whole + 24, longer - 1, longer})
    for cut in cuts:
        copy = tmp_path / f"cut{cut}"
        copy.mkdir()
        shutil.copy(store.file, copy)
        (copy / wal.name).write_bytes(wal.read_bytes()[:cut])
        expected = [result(1), result(2, text="y" * 3000)] if cut == longer else [result(1)]
        with ExperimentStore.open(copy) as reader:
            assert reader.results("a") == expected
        with ExperimentStore.open(copy, readonly=False) as again:
            again.commit([reported("a", result(3))])
        with ExperimentStore.open(copy) as reader:
            assert reader.results("a") == [*expected, result(3)]
            assert len(list(reader.events())) == len(expected) + 1
        shutil.rmtree(copy)


READER = """
import sys
from tune_plugins.record.store import ExperimentStore

print("ready", flush=True)
seen = 0
while seen < 300:
    with ExperimentStore.open(sys.argv[1]) as store:
        found = store.results("a")
        assert len(found) >= seen and found == [{"loss": i / 7} for i in range(len(found))]
        assert sum(1 for _ in store.events()) >= len(found)
        seen = len(found)
print("done", flush=True)
"""


def test_another_process_reads_meanwhile(store: ExperimentStore) -> None:
    root = str(Path(__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(store.directory)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for i in range(300):
            store.commit([reported("a", {"loss": i / 7})])
        assert process.stdout.readline() == "done\n"
    assert process.returncode == 0


def test_an_experiment_on_a_folder_without_write_permission_can_be_read(tmp_path: Path) -> None:
    directory = tmp_path / "exp"
    with ExperimentStore.create(directory, {}) as made:
        made.commit([reported("a", result(1))])
    directory.chmod(0o500)
    try:
        with ExperimentStore.open(directory) as reader:
            assert reader.results("a") == [result(1)]
    finally:
        directory.chmod(0o700)


# --------------------------------------------------------------------------- cost


def test_a_result_costs_microseconds(store: ExperimentStore) -> None:
    """CPU time of the committing thread: about 4 us a result here, the driver's budget is 8."""
    batches = [
        [
            reported(f"{t:05d}", *(result(15 * b + i, **{"train-loss": i / 3, "eval-loss": i / 7}) for i in range(15)))
            for t in range(20)
        ]
        for b in range(30)
    ]
    costs = []
    for batch in batches:
        before = time.thread_time()
        store.commit(batch)
        costs.append((time.thread_time() - before) / 300)
    assert sorted(costs)[len(costs) // 2] < 25e-6  # three times the budget: other machines, other load
