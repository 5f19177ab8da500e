"""The Lightning adapter in a training of two processes: all of them do what rank 0 is told, and none waits forever."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tune_plugins import Checkpoint
from tune_plugins.errors import TrialEvicted, TrialRestarted, TrialStopped
from tune_plugins.integrations.lightning import TuneReportCheckpointCallback
from tune_plugins.session import TrialContext
from tune_plugins.testing import Exploit, RecordingSession
from tune_plugins.worker.children import children_may_report

EPOCHS = 4
CONFIG = {"lr": 0.05, "momentum": 0.9}

pytestmark = pytest.mark.timeout(600, method="signal")  # a hang is the failure looked for


@pytest.fixture(autouse=True)
def _channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "level", logging.ERROR)
    torch.set_num_threads(1)
    with warnings.catch_warnings(), children_may_report():
        warnings.simplefilter("ignore")
        yield


class Net(LightningModule):
    """With dropout, which differs between the ranks as they see other data."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.config = config
        self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))

    def training_step(self, batch: Any, index: int) -> Any:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]), sync_dist=True)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.config["lr"], momentum=self.config["momentum"])

    def loader(self, shuffle: bool) -> Any:
        generator = torch.Generator().manual_seed(3)
        x = torch.randn(32, 6, generator=generator)
        return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=4, shuffle=shuffle)

    def train_dataloader(self) -> Any:
        return self.loader(True)

    def val_dataloader(self) -> Any:
        return self.loader(False)


class Notes(Callback):
    """Each rank notes its epochs in a file, and its rate at the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        with open(self.directory / f"rank{trainer.global_rank}", "a") as file:
            file.write(f"{trainer.current_epoch}:{trainer.optimizers[0].param_groups[0]['lr']} ")


def fit(method: str, notes: Path | None = None, config: dict[str, Any] | None = None, *callbacks: Any) -> Any:
    model = Net(dict(CONFIG) if config is None else config)
    torch.manual_seed(1)
    trainer = Trainer(
        strategy=f"ddp_{method}",
        devices=2,
        accelerator="cpu",
        max_epochs=EPOCHS,
        callbacks=[*callbacks, *([Notes(notes)] if notes else [])],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model)
    return [value.tolist() for value in trainer.lightning_module.state_dict().values()]


def said(notes: Path) -> list[list[str]]:
    return [(notes / f"rank{rank}").read_text().split() for rank in (0, 1)]


def session_of(**options: Any) -> RecordingSession:
    return RecordingSession(context=TrialContext(config=dict(CONFIG)), **options)


def evicted_at(iteration: int, method: str) -> RecordingSession:
    session = session_of(save_at={iteration}, raise_at={iteration: TrialEvicted("evicted")})
    with session, pytest.raises(TrialEvicted):
        fit(method, None, None, TuneReportCheckpointCallback())
    return session


def test_rank_zero_reports_and_a_stop_reaches_all(tmp_path: Path) -> None:
    with session_of(stop_at=2, save_at={1}) as session:
        fit("fork", tmp_path, None, TuneReportCheckpointCallback())
    assert session.iterations == [1, 2] and session.values("step") == [4, 8]
    assert list(session.checkpoints) == [1, 2] and session.finished == 1
    assert said(tmp_path) == [["0:0.05", "1:0.05"]] * 2


def test_checkpoints_belong_to_the_first_fit_also_where_each_has_processes_of_its_own() -> None:
    with session_of(save_at=range(1, 100)) as session:
        fit("fork", None, None, TuneReportCheckpointCallback())
        weights = fit("fork", None, None, TuneReportCheckpointCallback())
    assert session.iterations == list(range(1, 2 * EPOCHS + 1)) and session.finished == 1
    assert [report.savable for report in session.reports] == [True] * EPOCHS + [False] * EPOCHS
    # What the second one has trained is saved for whoever predicts with it.
    assert list(session.models) == [2 * EPOCHS]
    model = session.models[2 * EPOCHS].load_model(lambda: Net(dict(CONFIG)))
    assert [value.tolist() for value in model.state_dict().values()] == weights


def test_the_best_model_is_kept_by_rank_zero() -> None:
    context = TrialContext(config=dict(CONFIG), metric="step", mode="min")
    with RecordingSession(context=context, save_at={1}) as session:
        fit("fork", None, None, TuneReportCheckpointCallback())
    first, last = session.checkpoints[1], session.checkpoints[EPOCHS]
    found = [Checkpoint(path).load_model(lambda: Net(dict(CONFIG))) for path in (first.path, f"{last.path}/best")]
    assert all(torch.equal(a, b) for a, b in zip(*(each.state_dict().values() for each in found), strict=True))


def test_it_trains_what_it_does_alone() -> None:
    with session_of(save_at={1, 2}) as session:
        tuned = fit("fork", None, None, TuneReportCheckpointCallback())
    assert session.iterations == [1, 2, 3, 4]
    assert tuned == fit("fork")


def test_evicted_and_resumed_it_is_the_training_that_was_never_interrupted(capfd: pytest.CaptureFixture[str]) -> None:
    before = evicted_at(2, "fork")
    assert before.iterations == [1, 2] and not before.finished
    assert "Traceback" not in capfd.readouterr().err
    with session_of(start_checkpoint=before.checkpoints[2], start_iteration=2) as session:
        weights = fit("fork", None, None, TuneReportCheckpointCallback())
    assert session.iterations == [3, 4]
    assert weights == fit("fork")


def test_the_script_cannot_take_an_eviction_for_an_error() -> None:
    ran = []
    with session_of(save_at={1}, raise_at={1: TrialEvicted("evicted")}), pytest.raises(TrialEvicted, match="evicted"):
        try:
            fit("fork", None, None, TuneReportCheckpointCallback())
        except Exception as error:
            ran.append(error)
        ran.append("behind the fit")
    assert ran == []


def test_a_fit_after_the_stop_unwinds_and_does_not_wait() -> None:
    with session_of(stop_at=1) as session, pytest.raises(TrialStopped, match="a fit after"):
        fit("fork", None, None, TuneReportCheckpointCallback())
        fit("fork", None, None, TuneReportCheckpointCallback())
    assert session.iterations == [1]


def test_an_error_of_the_script_in_a_rank_stays_one() -> None:
    class Failing(Callback):
        def on_train_end(self, trainer: Any, module: Any) -> None:
            raise ValueError("of the script")

    with session_of(stop_at=1), pytest.raises(Exception, match="of the script"):
        fit("fork", None, None, Failing(), TuneReportCheckpointCallback())


@pytest.mark.slow
def test_spawned_ranks_report_go_on_and_stop(tmp_path: Path) -> None:
    before = evicted_at(1, "fork")
    session = session_of(start_checkpoint=before.checkpoints[1], start_iteration=1, stop_at=3, save_at={2})
    with session:
        fit("spawn", tmp_path, None, TuneReportCheckpointCallback())
    assert session.iterations == [2, 3] and session.values("step") == [8, 12]
    assert list(session.checkpoints) == [2, 3] and session.finished == 1
    assert said(tmp_path) == [["1:0.05", "2:0.05"]] * 2


@pytest.mark.slow
def test_spawned_ranks_are_evicted(capfd: pytest.CaptureFixture[str]) -> None:
    before = evicted_at(1, "spawn")
    assert before.iterations == [1] and list(before.checkpoints) == [1] and not before.finished
    assert "Traceback" not in capfd.readouterr().err


def test_exploit_in_place_on_all_ranks(tmp_path: Path) -> None:
    donor = evicted_at(1, "fork")
    new = {"lr": 0.2, "momentum": 0.5}
    with session_of(exploit_at={3: Exploit(donor.checkpoints[1], 1, new)}) as session:
        live = fit("fork", tmp_path, None, TuneReportCheckpointCallback())
    assert session.iterations == [1, 2, 3, 2, 3, 4] and session.restarts == []
    assert said(tmp_path) == [["0:0.05", "1:0.05", "2:0.05", "1:0.2", "2:0.2", "3:0.2"]] * 2
    with session_of(start_checkpoint=donor.checkpoints[1], start_iteration=1):
        assert fit("fork", None, new, TuneReportCheckpointCallback()) == live


class Refusing(TuneReportCheckpointCallback):
    """One rank fails at it, or refuses."""

    how = ""

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> set[str]:
        if self.how == "fails on rank 1" and self.trainer.global_rank == 1:
            raise ValueError("no room")
        return set()


@pytest.mark.parametrize("how", ["refuses", "fails on rank 1"])
def test_an_exploit_that_is_refused_unwinds_all(how: str, capfd: pytest.CaptureFixture[str]) -> None:
    donor = evicted_at(1, "fork")
    callback = Refusing()
    callback.how = how
    with session_of(exploit_at={1: Exploit(donor.checkpoints[1], 1, {**CONFIG, "lr": 1.0})}) as session:
        with pytest.raises(BaseException) as caught:
            fit("fork", None, None, callback)
        if how == "refuses":
            assert session.restarts == ["'lr' cannot be changed in a running training"]
            assert isinstance(caught.value, TrialRestarted)
        else:
            assert "rank 1 of the training says: ValueError: no room" in str(caught.value)
    assert session.iterations == [1]


def test_a_wrong_metric_ends_all_ranks() -> None:
    with session_of() as session, pytest.raises(Exception, match="there is no 'nothing'"):
        fit("fork", None, None, TuneReportCheckpointCallback("nothing"))
    assert session.reports == []


def test_outside_a_tuning_run_the_ranks_train_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNE_PLUGINS_PARENT")
    assert fit("fork", None, None, TuneReportCheckpointCallback()) == fit("fork")
    assert "RANK" not in os.environ


def test_a_strategy_that_starts_the_program_again_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
            import threading
            from lightning.pytorch import Trainer
            from lightning.pytorch.demos.boring_classes import BoringModel
            from tune_plugins.errors import ArgumentError
            from tune_plugins.integrations.lightning import TuneReportCallback
            from tune_plugins.testing import RecordingSession

            with RecordingSession() as session:
                trainer = Trainer(strategy="ddp", devices=2, accelerator="cpu", callbacks=[TuneReportCallback()])
                try:
                    trainer.fit(BoringModel())
                except ArgumentError as error:
                    print("ArgumentError", error)
            for thread in threading.enumerate():  # it kills all when a process that it watches has failed
                if thread.name == "child-process-observer":
                    thread.join(300)
            print("alive")
        """)
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert "ArgumentError" in done.stdout and "Write strategy='ddp_spawn'" in done.stdout, done.stderr
    assert done.returncode == 0 and done.stdout.endswith("alive\n"), done.stderr
