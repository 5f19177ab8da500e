"""The session double that tests of adapters are built on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

import tune_plugins.session as tune_session
from tune_plugins.errors import ArgumentError, TrialEvicted, TrialRestarted, TrialStopped, TuneError
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.session import Session, TrialContext, Verdict
from tune_plugins.testing import Exploit, RecordingSession


class Number(float):
    """Stands for a NumPy scalar, which is a float too."""


class Model:
    """A training whose state is a text and whose only hyper-parameter that can change is ``lr``."""

    def __init__(self, state: str = "x") -> None:
        self.state, self.lr = state, 0.0

    def save_state(self, directory: Path) -> None:
        if self.state:
            (directory / "state").write_text(self.state, encoding="utf-8")

    def load_state(self, directory: Path, iteration: int) -> None:
        self.state = (directory / "state").read_text(encoding="utf-8")

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        self.lr = changed.get("lr", self.lr)
        return {"lr"} & set(changed)


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
        session.report({}, model=Model(), save_every=3)
    assert list(session.checkpoints) == [2, 5]  # the frequency counts from the last one saved
    session.finish(Model(), at_end=True)
    session.finish(Model(), at_end=True)
    assert list(session.checkpoints) == [2, 5, 6] and session.finished == 2


def test_end_follows_adapter_and_retention() -> None:
    for wanted, at_end, saved in [(False, False, []), (True, False, [1]), (False, True, [1])]:
        session = RecordingSession(save_at_end=wanted)
        session.report({})
        session.finish(Model(), at_end=at_end)
        assert list(session.checkpoints) == saved


def test_a_checkpoint_handed_over_is_copied(tmp_path: Path) -> None:
    Model().save_state(tmp_path)
    session = RecordingSession()
    session.report({}, checkpoint=Checkpoint.from_directory(tmp_path))
    (tmp_path / "state").write_text("later", encoding="utf-8")
    assert session.last_checkpoint is not None
    assert Path(session.last_checkpoint.path, "state").read_text(encoding="utf-8") == "x"


def test_an_empty_checkpoint_is_a_mistake() -> None:
    with pytest.raises(TuneError, match="is empty"):
        RecordingSession(save_at={1}).report({}, model=Model(""))


def test_stop_and_what_follows() -> None:
    session = RecordingSession(stop_at=2)
    assert session.report({}) is Verdict.CONTINUE
    assert session.report({}, iteration=3) is Verdict.STOP
    with pytest.raises(TrialStopped):
        session.report({})


def test_raises_after_saving() -> None:
    session = RecordingSession(save_at={1}, raise_at={1: TrialEvicted()})
    with pytest.raises(TrialEvicted):
        session.report({}, model=Model())
    assert list(session.checkpoints) == [1]


def test_all_wrong_arguments_at_once() -> None:
    with pytest.raises(ArgumentError, match="3 mistakes"):
        RecordingSession(stop_at=0, start_iteration=3, save_at=2)  # type: ignore[arg-type]


def exploit_of(tmp_path: Path, config: dict[str, Any]) -> Exploit:
    Model("donor").save_state(tmp_path)
    return Exploit(Checkpoint.from_directory(tmp_path), 5, config)


def test_an_exploit_happens_inside_the_report(tmp_path: Path) -> None:
    model, config = Model(), {"lr": 0.1, "net": {"width": 8}}
    exploit = exploit_of(tmp_path, {"lr": 0.2, "net": {"width": 8}})
    with RecordingSession(exploit_at={2: exploit}, context=TrialContext(config=config)) as session:
        for _ in range(4):
            assert session.report({}, model=model) is Verdict.CONTINUE
    assert (model.state, model.lr) == ("donor", 0.2)
    assert session.iterations == [1, 2, 6, 7] and list(session.checkpoints) == [2]
    assert session.exploits == ["state of iteration 5 loaded, 'lr' applied"] and not session.restarts
    assert config == {"lr": 0.2, "net": {"width": 8}}


@pytest.mark.parametrize(
    ("config", "model", "why"),
    [
        ({"lr": 0.2, "net": {"width": 9}}, Model(), "'net/width' cannot be changed in a running training"),
        ({"lr": 0.2}, Model(), "'net/width' no longer exists in the new config"),
        ({"lr": 0.2, "net": {"width": 8}}, None, "without a model"),
    ],
)
def test_an_exploit_that_cannot_be_done_in_place_unwinds(
    tmp_path: Path, config: dict[str, Any], model: Model | None, why: str
) -> None:
    before = {"lr": 0.1, "net": {"width": 8}}
    session = RecordingSession(exploit_at={1: exploit_of(tmp_path, config)}, context=TrialContext(config=before))
    with pytest.raises(TrialRestarted, match=why):
        session.report({}, model=model)
    assert not session.exploits and why in session.restarts[0]
    assert before == {"lr": 0.1, "net": {"width": 8}}


@pytest.mark.parametrize("write", [{"lr": 0.4}, {"device": "cpu"}], ids=["other value", "other name"])
def test_a_script_that_writes_into_its_config_is_entered_anew(tmp_path: Path, write: dict[str, Any]) -> None:
    config = {"lr": 0.1, "net": {"width": 8}}
    exploit = exploit_of(tmp_path, {"lr": 0.2, "net": {"width": 8}})
    session = RecordingSession(exploit_at={1: exploit}, context=TrialContext(config=config))
    config.update(write)
    with pytest.raises(TrialRestarted, match=f"changed '{next(iter(write))}' in its own config"):
        session.report({}, model=Model())
    assert session.restarts and not session.exploits


def test_checkpoints_belong_to_the_first_that_claims_them() -> None:
    session: Session = RecordingSession()
    assert not session.checkpoints_claimed and not session.has_reported
    assert session.claim_checkpoints() and session.checkpoints_claimed
    assert not session.claim_checkpoints()
    session.report({})
    assert session.has_reported
    assert RecordingSession().claim_checkpoints()


@pytest.mark.parametrize("returned", [None, "lr", ["lr", "unknown"], 3])
def test_a_wrong_return_value_of_apply_config_is_named(returned: Any, tmp_path: Path) -> None:
    class Wrong(Model):
        def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Any:
            return returned

    (tmp_path / "state").write_text("y", encoding="utf-8")
    exploit = Exploit(Checkpoint(tmp_path), 1, {"lr": 0.2})
    session = RecordingSession(context=TrialContext(config={"lr": 0.1}), exploit_at={1: exploit})
    with pytest.raises(TuneError, match=r"apply_config: expected the names that it has applied, some of 'lr', got"):
        session.report({}, model=Wrong())


def test_apply_config_is_told_the_old_config_by_flat_names(tmp_path: Path) -> None:
    told = []

    class Nested(Model):
        def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
            told.append((dict(changed), dict(before)))
            return changed

    (tmp_path / "state").write_text("y", encoding="utf-8")
    config = {"lr": 0.1, "net": {"width": 8, "drop": 0.1}}
    exploit = Exploit(Checkpoint(tmp_path), 1, {"lr": 0.1, "net": {"width": 8, "drop": 0.2}})
    session = RecordingSession(context=TrialContext(config=config), exploit_at={1: exploit})
    session.report({}, model=Nested())
    assert told == [({"net/drop": 0.2}, {"lr": 0.1, "net/width": 8, "net/drop": 0.1})]
