"""Children of a trial's process report through it: forked, spawned, or programs of their own."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins import session as tune_session
from tune_plugins.errors import TrialEvicted, TrialRestarted, WarmRestartNeeded
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.session import TrialContext, Verdict
from tune_plugins.session.child import ChildSession
from tune_plugins.session.contract import PARENT_VARIABLE
from tune_plugins.testing import Exploit, RecordingSession
from tune_plugins.worker.children import children_may_report


class Model:
    def __init__(self, says: str = "") -> None:
        self.value, self.says = 0, says

    def save_state(self, directory: Path) -> None:
        if self.says == "fail":
            raise ValueError("the disk is full")
        (directory / "value").write_text(str(self.value))

    def load_state(self, directory: Path, iteration: int) -> None:
        if self.says == "refuse":
            raise WarmRestartNeeded("its counter cannot be set")
        self.value = int((directory / "value").read_text())

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        return set(changed)


def loop(says: str = "", steps: int = 4) -> None:
    session = tune_session.current()
    assert isinstance(session, ChildSession)
    model = Model(says)
    for _ in range(steps):
        model.value += 1
        lr = session.context.config["lr"]
        if session.report({"value": model.value, "lr": lr}, model=model) is Verdict.STOP:
            break
    session.finish(model, at_end=True)


def plain_loop() -> None:
    for step in range(4):
        tune.report(step=step)
    raise AssertionError("was to be stopped")


@pytest.fixture(autouse=True)
def _channel() -> Iterator[None]:
    with children_may_report():
        yield


def run(session: RecordingSession, function: Any = loop, *arguments: Any, method: str = "fork") -> int:
    child = multiprocessing.get_context(method).Process(target=function, args=arguments)
    with session:
        child.start()
        child.join(60)
    assert child.exitcode is not None
    return child.exitcode


def recording(**options: Any) -> RecordingSession:
    return RecordingSession(context=TrialContext(config={"lr": 0.1}), **options)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_reports_and_checkpoints_arrive(method: str) -> None:
    session = recording(save_at={2})
    assert run(session, loop, method=method) == 0
    assert session.values("value") == [1, 2, 3, 4]
    assert list(session.checkpoints) == [2, 4] and session.finished == 1
    assert Path(session.checkpoints[2].path, "value").read_text() == "2"


def test_a_program_of_its_own_reports() -> None:
    code = "import tune_plugins as tune; tune.report(loss=tune.get_context().config['lr'])"
    with recording() as session:
        subprocess.run([sys.executable, "-c", code], check=True)
    assert session.values("loss") == [0.1]


def test_stop_ends_the_loop() -> None:
    session = recording(stop_at=2)
    assert run(session) == 0
    assert session.values("value") == [1, 2] and session.finished == 1


def test_stop_ends_a_loop_written_by_hand_without_a_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    session = recording(stop_at=2)
    assert run(session, plain_loop) == 0
    assert session.iterations == [1, 2] and "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("how", [TrialEvicted, TrialRestarted])
def test_unwinds_without_a_traceback(how: type[BaseException], capfd: pytest.CaptureFixture[str]) -> None:
    session = recording(raise_at={2: how()})
    assert run(session) == 1
    assert session.iterations == [1, 2] and not session.finished
    assert "Traceback" not in capfd.readouterr().err


def test_exploit_reaches_the_model_in_the_child(tmp_path: Path) -> None:
    (tmp_path / "value").write_text("40")
    session = recording(exploit_at={2: Exploit(Checkpoint(tmp_path), 5, {"lr": 0.5})})
    assert run(session) == 0
    assert session.values("value") == [1, 2, 41, 42]
    assert session.values("lr") == [0.1, 0.1, 0.5, 0.5]
    assert session.iterations == [1, 2, 6, 7]


def test_exploit_that_the_child_refuses_unwinds_it(tmp_path: Path) -> None:
    session = recording(exploit_at={2: Exploit(Checkpoint(tmp_path), 5, {"lr": 0.5})})
    assert run(session, loop, "refuse") == 1
    assert session.restarts == ["its counter cannot be set"]


def test_trouble_with_saving_is_raised_in_the_child(capfd: pytest.CaptureFixture[str]) -> None:
    session = recording(save_at={1})
    assert run(session, loop, "fail") == 1
    assert "ValueError: the disk is full" in capfd.readouterr().err


def claim(expected: bool) -> None:
    session = tune_session.current()
    assert session is not None
    assert session.has_reported is session.checkpoints_claimed is not expected
    assert session.claim_checkpoints() is expected and session.checkpoints_claimed
    session.report({"claimed": expected})


def test_checkpoints_belong_to_the_first_that_claims_them_in_whichever_process() -> None:
    session = recording()
    assert [run(session, claim, True), run(session, claim, False)] == [0, 0]
    assert session.values("claimed") == [True, False] and not session.claim_checkpoints()


def test_outside_a_trial_a_child_has_no_session() -> None:
    code = "import tune_plugins.session as s; print(s.current())"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.strip() == "None"


def test_a_child_of_an_attempt_that_is_over_is_told_to_end() -> None:
    reported, go_on = multiprocessing.Event(), multiprocessing.Event()

    def two_reports() -> None:
        tune.report(step=1)
        reported.set()
        go_on.wait(300)
        tune.report(step=2)

    child = multiprocessing.get_context("fork").Process(target=two_reports)
    with recording() as first:
        child.start()
        assert reported.wait(300)
    with recording() as second:
        go_on.set()
        child.join(30)
    assert child.exitcode == 0
    assert (len(first.reports), len(second.reports)) == (1, 0)


def test_strangers_are_turned_away() -> None:
    import os
    from multiprocessing.connection import Client

    address = bytes.fromhex(os.environ[PARENT_VARIABLE].split(":")[2]).decode()
    with pytest.raises(Exception, match=r"digest|rejected|closed|EOF"), recording():
        Client(address, family="AF_UNIX", authkey=b"guess").recv()
    assert run(recording()) == 0, "and it goes on listening"


def test_nothing_is_left_listening() -> None:
    with children_may_report():
        before = threading.active_count()
    assert threading.active_count() <= before
