"""The session double that tests of adapters are built on."""

from __future__ import annotations

from pathlib import Path

import pytest

import tune_plugins.session as tune_session
from tune_plugins.checkpoint import Checkpoint
from tune_plugins.errors import ArgumentError, TrialEvicted, TrialStopped, TuneError
from tune_plugins.session import Session, Verdict
from tune_plugins.testing import RecordingSession


class Number(float):
    """Stands for a NumPy scalar, which is a float too."""


def write(directory: Path) -> None:
    (directory / "state").write_text("x", encoding="utf-8")


def test_is_a_session_and_restores_the_one_before() -> None:
    with RecordingSession() as outer:
        session: Session = outer
        with RecordingSession() as inner:
            assert tune_session.current() is inner
        assert tune_session.current() is session
    assert tune_session.current() is None


def test_iterations_count_on_and_must_grow() -> None:
    session = RecordingSession()
    session.report({"loss": 1.0})
    session.report({"loss": {"train": 1.0, "best": None}}, iteration=5)
    session.report({})
    assert session.iterations == [1, 5, 6]
    with pytest.raises(TuneError, match="6 was reported after 6"):
        session.report({}, iteration=6)


@pytest.mark.parametrize("value", [Number(1.0), [1.0], {"deep": object()}])
def test_values_must_be_plain(value: object) -> None:
    with pytest.raises(TuneError, match=r"'a.*expected a plain Python number"):
        RecordingSession().report({"a": value})


def test_saves_when_asked_by_the_script_or_the_frequency() -> None:
    session = RecordingSession(save_at={2})
    for _ in range(6):
        session.report({}, save=write, save_every=3)
    assert list(session.checkpoints) == [2, 5]  # the frequency counts from the last one saved
    session.finish(write, at_end=True)
    session.finish(write, at_end=True)
    assert list(session.checkpoints) == [2, 5, 6] and session.finished == 2


def test_end_follows_adapter_and_retention() -> None:
    for wanted, at_end, saved in [(False, False, []), (True, False, [1]), (False, True, [1])]:
        session = RecordingSession(save_at_end=wanted)
        session.report({})
        session.finish(write, at_end=at_end)
        assert list(session.checkpoints) == saved


def test_a_checkpoint_handed_over_is_copied(tmp_path: Path) -> None:
    write(tmp_path)
    session = RecordingSession()
    session.report({}, checkpoint=Checkpoint.from_directory(tmp_path))
    (tmp_path / "state").write_text("later", encoding="utf-8")
    assert session.last_checkpoint is not None
    assert Path(session.last_checkpoint.path, "state").read_text(encoding="utf-8") == "x"


def test_an_empty_checkpoint_is_a_mistake() -> None:
    with pytest.raises(TuneError, match="is empty"):
        RecordingSession(save_at={1}).report({}, save=lambda directory: None)


def test_stop_and_what_follows() -> None:
    session = RecordingSession(stop_at=2)
    assert session.report({}) is Verdict.CONTINUE
    assert session.report({}, iteration=3) is Verdict.STOP
    with pytest.raises(TrialStopped):
        session.report({})


def test_raises_after_saving() -> None:
    session = RecordingSession(save_at={1}, raise_at={1: TrialEvicted()})
    with pytest.raises(TrialEvicted):
        session.report({}, save=write)
    assert list(session.checkpoints) == [1]


def test_all_wrong_arguments_at_once() -> None:
    with pytest.raises(ArgumentError, match="3 mistakes"):
        RecordingSession(stop_at=0, start_iteration=3, save_at=2)  # type: ignore[arg-type]
