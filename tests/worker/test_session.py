"""The session of a trial, talked to without a process around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tune_plugins.core.events import ExploitDone, ExploitTrial
from tune_plugins.core.trial import FREE, CheckpointRecord, Lease, Milestone
from tune_plugins.errors import TrialRestarted
from tune_plugins.worker.messages import Job
from tune_plugins.worker.session import TrialSession

OLD, NEW = {"lr": 0.1, "net": {"width": 8}}, {"lr": 0.3, "net": {"width": 8}}


class Mail:
    """Answers the first wait with an exploit."""

    def __init__(self, exploit: ExploitTrial) -> None:
        self.exploit, self.events, self.results = exploit, list[Any](), list[dict[str, Any]]()

    def result(self, result: dict[str, Any]) -> None:
        self.results.append(result)

    milestone = result

    def event(self, event: Any) -> None:
        self.events.append(event)

    def verdict(self) -> ExploitTrial:
        return self.exploit

    def stop_wanted(self) -> None:
        return None

    def remark(self, text: str) -> None:
        return None


class Model:
    """Takes every state and every change."""

    def __init__(self) -> None:
        self.loaded = 0

    def save_state(self, directory: Path) -> None:
        (directory / "state").write_text("state")

    def load_state(self, directory: Path, iteration: int) -> None:
        self.loaded += 1

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
        return list(changed)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[TrialSession]:
    donor = CheckpointRecord("checkpoint_000001", iteration=1, path=str(tmp_path), trial_id="donor")
    exploit = ExploitTrial("trial", checkpoint=donor, config=NEW, lease=FREE)
    lease = Lease(Milestone("training_iteration", 1))
    job = Job("trial", "trial", "trial", {**OLD, "net": dict(OLD["net"])}, lease, "experiment", str(tmp_path))
    with ThreadPoolExecutor(1) as background:
        yield TrialSession(job, Mail(exploit), background)


def test_an_exploit_in_place_updates_the_dict_that_the_function_has(session: TrialSession) -> None:
    model, config = Model(), session.config
    session.report({"loss": 1.0}, model=model)
    assert model.loaded == 1 and config == NEW and config is session.context.config
    (done,) = (event for event in session.mail.events if isinstance(event, ExploitDone))
    assert done.in_place


@pytest.mark.parametrize("write", [{"lr": 0.2}, {"device": "cpu"}, {"net": {"width": 16}}], ids=str)
def test_a_function_that_writes_into_its_config_is_entered_anew(session: TrialSession, write: dict[str, Any]) -> None:
    model = Model()
    session.config.update(write)
    with pytest.raises(TrialRestarted, match="in its own config"):
        session.report({"loss": 1.0}, model=model)
    (done,) = (event for event in session.mail.events if isinstance(event, ExploitDone))
    assert not done.in_place and done.reason.startswith("the training function has changed")
    assert model.loaded == 0 and session.job.config == OLD


def test_a_name_that_the_function_takes_out_counts_as_well(session: TrialSession) -> None:
    session.config.pop("lr")
    with pytest.raises(TrialRestarted, match="'lr' in its own config"):
        session.report({"loss": 1.0}, model=Model())


def test_what_a_function_returns_that_swallows_its_unwinding_does_not_count(session: TrialSession) -> None:
    session.config.pop("lr")
    with pytest.raises(TrialRestarted):
        session.report({"loss": 1.0}, model=Model())
    reported = len(session.mail.results)
    with pytest.raises(TrialRestarted):
        session.report_returned({"test": 2.0})
    assert len(session.mail.results) == reported == 1


def test_checkpoints_belong_to_the_first_that_claims_them(session: TrialSession) -> None:
    assert not session.checkpoints_claimed and not session.has_reported
    with ThreadPoolExecutor(8) as ranks:
        assert sorted(ranks.map(lambda _: session.claim_checkpoints(), range(20))) == [False] * 19 + [True]
    assert session.checkpoints_claimed
    session.report({"loss": 1.0}, model=Model())
    assert session.has_reported
