"""What the Lightning adapter saves and gives back beyond Lightning's own state, and what it refuses in place."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import BaseFinetuning, EarlyStopping, ModelCheckpoint, Timer
from lightning.pytorch.loggers import CSVLogger
from test_lightning import (
    CONFIG,
    Data,
    Net,
    _quiet,
    evicted_at,
    fit,
    make_trainer,
    resumed,
    session_of,
    state,
    stored,
    tensors,
)
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from tune_plugins.errors import TrialEvicted, TrialRestarted, TuneError
from tune_plugins.integrations.lightning import TuneReportCheckpointCallback
from tune_plugins.session import TrialContext
from tune_plugins.testing import Exploit, RecordingSession

__all__ = ["_quiet"]  # the fixture


def fit_on(data: Any, *callbacks: Any, seed: int = 1, **options: Any) -> Any:
    """A user's script with other data: its trainer, after the fit."""
    model = Net(dict(CONFIG))
    torch.manual_seed(seed)
    trainer = make_trainer(*callbacks, **options)
    trainer.fit(model, data)
    return trainer


def exploit(donor: RecordingSession, at: int = 2, own: int = 2) -> RecordingSession:
    return session_of(exploit_at={own: Exploit(donor.checkpoints[at], at, dict(CONFIG))})


def saved_at(iteration: int, script: Callable[..., Any]) -> RecordingSession:
    session = session_of(save_at={iteration}, raise_at={iteration: TrialEvicted()})
    with session, pytest.raises(TrialEvicted):
        script(TuneReportCheckpointCallback(), seed=7)
    return session


# ------------------------------------------------------------------------------- generators outside the global ones


class OwnGenerator(Data):
    def train_dataloader(self) -> Any:
        return DataLoader(tensors()[0], batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(4))


class OwnSampler(Data):
    def train_dataloader(self) -> Any:
        sampler = WeightedRandomSampler([1.0] * 32, 32, generator=torch.Generator().manual_seed(4))
        return DataLoader(tensors()[0], batch_size=8, sampler=sampler)


class NoisyValidation(Data):
    """The validation shuffles and drops; its generator goes on where it was."""

    def val_dataloader(self) -> Any:
        generator = torch.Generator().manual_seed(4)
        return DataLoader(tensors()[1], batch_size=5, shuffle=True, drop_last=True, generator=generator)


@pytest.mark.parametrize("data", [OwnGenerator, OwnSampler, NoisyValidation])
def test_generators_of_loaders_and_samplers_go_on(data: Callable[[], Any]) -> None:
    with session_of() as whole:
        expected = state(fit_on(data(), TuneReportCheckpointCallback(), seed=7))
    donor = saved_at(2, lambda *callbacks, **options: fit_on(data(), *callbacks, **options))
    with resumed(donor, 2) as session:
        assert state(fit_on(data(), TuneReportCheckpointCallback(), seed=99)) == expected
    assert session.values("val_loss") == whole.values("val_loss")[2:]
    with exploit(donor, own=3) as session:
        trainer = fit_on(data(), TuneReportCheckpointCallback())
    assert state(trainer) == expected and session.values("val_loss")[3:] == whole.values("val_loss")[2:]


def test_generators_of_a_validation_that_comes_later_go_on() -> None:
    options: dict[str, Any] = {"check_val_every_n_epoch": 2, "num_sanity_val_steps": 0}
    with session_of() as whole:
        fit_on(NoisyValidation(), TuneReportCheckpointCallback(), seed=7, **options)
    donor = saved_at(1, lambda *callbacks, seed: fit_on(NoisyValidation(), *callbacks, seed=seed, **options))
    with resumed(donor, 1) as session:
        trainer = fit_on(NoisyValidation(), TuneReportCheckpointCallback(), **options)
    assert session.values("val_loss") == whole.values("val_loss")[1:]
    for loop in (trainer.fit_loop, trainer.fit_loop.epoch_loop.val_loop):
        assert not {"_load_combined_loader_states", "on_run_start", "setup_data"} & vars(loop).keys()


def test_double_precision_is_the_training_that_was_never_interrupted() -> None:
    options: dict[str, Any] = {"precision": "64-true"}
    expected = state(fit(seed=7, **options))
    donor = evicted_at(2, seed=7, **options)
    with resumed(donor, 2):
        assert state(fit(TuneReportCheckpointCallback(), **options)) == expected
    with exploit(donor):
        assert state(fit(TuneReportCheckpointCallback(), **options)) == expected


class Persistent(Data):
    def train_dataloader(self) -> Any:
        return DataLoader(tensors()[0], batch_size=8, num_workers=1, persistent_workers=True)


@pytest.mark.parametrize(
    ("data", "options", "reason"),
    [
        (Persistent, {}, "the workers of a data loader with persistent_workers=True"),
        (Data, {"reload_dataloaders_every_n_epochs": 1}, "reload_dataloaders_every_n_epochs counts from the start"),
    ],
)
def test_data_that_cannot_go_on_in_place(data: Callable[[], Any], options: dict[str, Any], reason: str) -> None:
    donor = evicted_at(1)
    with exploit(donor, at=1, own=1) as session, pytest.raises(TrialRestarted):
        fit_on(data(), TuneReportCheckpointCallback(), **options)
    assert session.restarts[0].startswith(reason)


# --------------------------------------------------------------------------------------------------- callbacks


class Patience(EarlyStopping):
    """With a base class that has the argument."""


@pytest.mark.parametrize("kind", [EarlyStopping, Patience])
def test_arguments_of_callbacks_are_those_of_the_script(kind: Any) -> None:
    before = evicted_at(2, kind("val_loss", patience=10))
    stopping = kind("val_loss", patience=3)
    with resumed(before, 2):
        fit(TuneReportCheckpointCallback(), stopping)
    assert stopping.patience == 3 and stopping.best_score < 1
    assert list(stored(before, 2)["tune_plugins"]["callbacks"][stopping.state_key]) == ["patience"]  # no others
    stopping = kind("val_loss", patience=3)
    with exploit(before):
        fit(TuneReportCheckpointCallback(), stopping)
    assert stopping.patience == 3


def test_an_argument_that_moves_on_is_restored() -> None:
    class Ramp(Callback):
        def __init__(self, level: int = 0) -> None:
            self.level = level

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            self.level += 1

        def state_dict(self) -> dict[str, Any]:
            return {"level": self.level}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.level = state_dict["level"]

    before, ramp = evicted_at(2, Ramp()), Ramp()
    with resumed(before, 2):
        fit(TuneReportCheckpointCallback(), ramp)
    assert ramp.level == 4


def test_a_stop_of_the_training_that_is_given_up_does_not_count() -> None:
    donor = evicted_at(2, EarlyStopping("train_loss", patience=10), seed=7)
    stopping = EarlyStopping("train_loss", patience=1, stopping_threshold=0.0)
    stopping._evaluate_stopping_criteria = lambda current: (stopping.wait_count == 0, "")
    with exploit(donor, at=2, own=1) as session:
        fit(TuneReportCheckpointCallback(), stopping)
    assert session.iterations[:2] == [1, 3]


class Clock(Timer):
    """A second goes by in each epoch."""

    def time_elapsed(self, stage: Any = "train") -> float:
        return self._offset + self.epochs

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self.epochs = 0

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        self.epochs += 1

    epochs = 0


def test_time_of_the_training_that_is_given_up_does_not_count() -> None:
    donor, clock = evicted_at(2, Clock("00:00:01:00"), seed=7), Clock("00:00:01:00")
    with exploit(donor):
        fit(TuneReportCheckpointCallback(), clock)
    assert clock.time_elapsed() == 4
    with exploit(donor) as session:  # and the donor's does
        fit(TuneReportCheckpointCallback(), Clock({"seconds": 3}, interval="epoch"))
    assert session.iterations == [1, 2, 3]
    timer = Timer("00:00:01:00")
    donor = evicted_at(1, Timer("00:00:01:00"))
    with exploit(donor, at=1, own=1):
        fit(TuneReportCheckpointCallback(), timer)
    assert timer.start_time() > 0 and timer._start_time["train"] == timer.start_time()


def test_lightnings_own_checkpoints_go_on_at_the_same_step() -> None:
    saved: list[int] = []

    class Noting(ModelCheckpoint):
        def _save_checkpoint(self, trainer: Any, filepath: str) -> None:
            saved.append(trainer.global_step)
            super()._save_checkpoint(trainer, filepath)

    donor = evicted_at(2, seed=7)
    with exploit(donor, own=3):
        fit(TuneReportCheckpointCallback(), Noting("own", save_top_k=-1), enable_checkpointing=True)
    assert saved == [4, 8, 12, 12, 16]


class Arrays(Callback):
    """Keeps arrays of NumPy in its state."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {
            "matrix": np.arange(6, dtype=">i4").reshape(2, 3).T,
            "flags": [np.array([True, False])],
            "pair": (np.float64(0.5), np.array(3.0)),
            "none": np.zeros((0, 2), dtype="complex64"),
        }
        self.loaded: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        return self.kept

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loaded = state_dict


def test_arrays_of_numpy_come_back() -> None:
    before, callback = evicted_at(2, Arrays()), Arrays()
    with resumed(before, 2):
        fit(TuneReportCheckpointCallback(), callback)
    for name in ("matrix", "none"):
        there, here = callback.loaded[name], callback.kept[name]
        assert there.dtype == here.dtype and np.array_equal(there, here) and there.shape == here.shape
    assert callback.loaded["flags"][0].tolist() == [True, False]
    assert callback.loaded["pair"] == (0.5, 3.0) and callback.loaded["pair"][1].shape == ()


def test_arrays_of_objects_are_refused() -> None:
    callback = Arrays()
    callback.kept = {"objects": np.array([Callback])}
    with session_of(save_at={1}), pytest.raises(TuneError, match=r"\['objects'\] is a numpy.ndarray"):
        fit(TuneReportCheckpointCallback(), callback)


# ------------------------------------------------------------------------------------- a state that does not fit


@pytest.mark.parametrize("error", [TypeError("of another kind\nand more"), AssertionError(), IndexError("too short")])
def test_code_of_the_script_that_cannot_load_a_state_is_a_reason(error: Exception) -> None:
    class Choosy(Arrays):
        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            raise error

    donor = evicted_at(1, Choosy())
    with exploit(donor, at=1, own=1) as session, pytest.raises(TrialRestarted):
        fit(TuneReportCheckpointCallback(), Choosy())
    expected = str(error).partition("\n")[0] or "AssertionError"
    assert session.restarts == [f"the donor's state does not fit: {expected}"]


# ------------------------------------------------------------------------------------- the memory of ModelCheckpoint

MEMORY = ("best_model_score", "best_model_path", "best_k_models", "kth_best_model_path", "kth_value", "last_model_path")


def memory(saver: Any) -> dict[str, Any]:
    return {name: copy.copy(getattr(saver, name)) for name in MEMORY}


def paths(saver: Any) -> list[str]:
    """Every file that it knows of."""
    return [saver.best_model_path, saver.kth_best_model_path, saver.last_model_path, *saver.best_k_models]


def in_trial(trial: str, **options: Any) -> RecordingSession:
    return RecordingSession(context=TrialContext(trial_id=trial, config=dict(CONFIG)), **options)


class Saver(ModelCheckpoint):
    """Notes its memory when the fit begins, and when it goes on behind each epoch."""

    def __init__(self, dirpath: str | None, mode: str = "min", **options: Any) -> None:
        super().__init__(dirpath, monitor="val_loss", mode=mode, save_top_k=2, save_last=True, **options)
        self.notes: list[dict[str, Any]] = []

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        self.notes.append(memory(self))


def donor_of(trial: str, saver: Any, at: int = 2, **options: Any) -> RecordingSession:
    session = in_trial(trial, save_at={at}, raise_at={at: TrialEvicted()})
    with session, pytest.raises(TrialEvicted):
        fit(TuneReportCheckpointCallback(), saver, seed=7, enable_checkpointing=True, **options)
    assert saver.best_model_path and saver.best_k_models
    return session


def with_saver(session: RecordingSession, saver: Any, **options: Any) -> Any:
    """Its trainer, after a fit in which Lightning has not warned of a directory that has changed."""
    with session, warnings.catch_warnings():
        warnings.filterwarnings("error", message="The dirpath has changed")
        return fit(TuneReportCheckpointCallback(), saver, enable_checkpointing=True, **options)


@pytest.mark.parametrize("ids", [("a", "b"), ("", "")])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_model_checkpoint_begins_anew_with_the_state_of_another_trial(mode: str, ids: tuple[str, str]) -> None:
    empty = memory(Saver("new", mode))
    donor = donor_of(ids[0], Saver("a", mode))
    live, entered = Saver("live", mode), Saver("entered", mode)
    with_saver(in_trial(ids[1], exploit_at={2: Exploit(donor.checkpoints[2], 2, dict(CONFIG))}), live)
    assert live.notes[1] != empty and live.notes[2] == empty
    trainer = with_saver(in_trial(ids[1], start_checkpoint=donor.checkpoints[2], start_iteration=2), entered)
    assert entered.notes[0] == empty
    for saver, name in ((live, "live"), (entered, "entered")):
        assert all(Path(path).parent == Path(name).resolve() and Path(path).exists() for path in paths(saver))
        assert len(saver.best_k_models) == 2
    assert list(live.best_k_models.values()) == list(entered.best_k_models.values())
    (validated,) = trainer.validate(trainer.lightning_module, Data(), ckpt_path="best", verbose=False)
    assert validated["val_loss"] == pytest.approx(float(entered.best_model_score))


def test_model_checkpoint_keeps_its_memory_when_its_trial_is_resumed() -> None:
    before, saver = Saver("own"), Saver("own")
    donor = donor_of("a", before)
    with_saver(in_trial("a", start_checkpoint=donor.checkpoints[2], start_iteration=2), saver)
    assert saver.notes[0] == memory(before)


@pytest.mark.parametrize("logger", [False, True])
def test_model_checkpoint_without_a_directory(logger: bool) -> None:
    """Without a logger the trials share one; with one, each fit has another, also that of a resumed trial."""

    def own() -> dict[str, Any]:
        return {"logger": CSVLogger("logs") if logger else False}

    before, empty = Saver(None), memory(Saver(None))
    donor = donor_of("a", before, **own())
    known = memory(before)
    live, entered, same = Saver(None), Saver(None), Saver(None)
    with_saver(in_trial("b", exploit_at={2: Exploit(donor.checkpoints[2], 2, dict(CONFIG))}), live, **own())
    with_saver(in_trial("b", start_checkpoint=donor.checkpoints[2], start_iteration=2), entered, **own())
    assert live.notes[2] == entered.notes[0] == empty
    assert all(Path(path).exists() for path in known["best_k_models"])  # nobody has deleted the donor's
    with in_trial("a", start_checkpoint=donor.checkpoints[2], start_iteration=2):
        fit(TuneReportCheckpointCallback(), same, enable_checkpointing=True, **own())
    assert same.notes[0] == ({**empty, "best_model_path": known["best_model_path"]} if logger else known)  # Lightning's


def test_model_checkpoint_has_a_file_where_nothing_is_left_to_train() -> None:
    donor = donor_of("a", Saver("a"), at=4)
    live, entered = Saver("live"), Saver("entered")
    exploited = in_trial("b", exploit_at={2: Exploit(donor.checkpoints[4], 4, dict(CONFIG))})
    resumed = in_trial("b", start_checkpoint=donor.checkpoints[4], start_iteration=4)
    for session, saver in ((exploited, live), (resumed, entered)):
        trainer = with_saver(session, saver)
        assert Path(saver.best_model_path).parent == Path(str(saver.dirpath)) and saver.best_model_score is None
        weights = torch.load(saver.best_model_path, weights_only=True)["state_dict"]
        assert all(torch.equal(weights[name], value) for name, value in trainer.lightning_module.state_dict().items())
        trainer.validate(trainer.lightning_module, Data(), ckpt_path="best", verbose=False)
    assert Path(live.last_model_path).parent == Path("live").resolve() and Path(live.last_model_path).exists()


def test_layers_that_a_callback_has_unfrozen_are_trained_on() -> None:
    """Resumed by Lightning alone they are frozen again, though the optimizer has them."""

    class Two(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
            self.head = torch.nn.Linear(4, 2)

        def training_step(self, batch: Any, index: int) -> Any:
            features, labels = batch
            loss = torch.nn.functional.cross_entropy(self.head(self.backbone(features)), labels)
            self.log("loss", loss, on_epoch=True, on_step=False)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.1, momentum=0.9)

    class Unfreezes(BaseFinetuning):
        def freeze_before_training(self, pl_module: Any) -> None:
            self.freeze(pl_module.backbone)

        def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
            if epoch == 2:
                self.unfreeze_and_add_param_group(pl_module.backbone, optimizer, lr=0.05)

    def train(*callbacks: Any) -> list[float]:
        torch.manual_seed(0)
        rows = TensorDataset(torch.linspace(-1, 1, 60).reshape(20, 3), (torch.arange(20) > 9).long())
        losses: list[float] = []

        class Losses(Callback):
            def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
                losses.append(trainer.callback_metrics["loss"].item())

        make_trainer(Losses(), Unfreezes(), *callbacks, max_epochs=6).fit(Two(), DataLoader(rows, 10))
        return losses

    alone = train()
    with RecordingSession(save_at={2, 4}) as session:
        assert train(TuneReportCheckpointCallback(on="train_epoch_end")) == alone
    for at in (2, 4):
        with RecordingSession(start_checkpoint=session.checkpoints[at], start_iteration=at):
            assert train(TuneReportCheckpointCallback(on="train_epoch_end")) == alone[at:]
