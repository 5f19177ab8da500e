"""The Lightning adapter: when it reports, what it restores, what an exploit changes, and what it leaves alone."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch
import pytest
import pytorch_lightning
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateFinder, ModelCheckpoint, StochasticWeightAveraging
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.tuner import Tuner
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from tune_plugins.errors import ArgumentError, TrialEvicted, TrialRestarted, TrialStopped, TuneError
from tune_plugins.integrations.lightning import TuneReportCallback, TuneReportCheckpointCallback
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.session import TrialContext
from tune_plugins.testing import Exploit, RecordingSession

EPOCHS = 4
CONFIG = {"lr": 0.05, "momentum": 0.9}


@pytest.fixture(autouse=True)
def _quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    for name in ("lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def tensors() -> tuple[TensorDataset, TensorDataset]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(48, 6, generator=generator)
    y = (x @ torch.randn(6, generator=generator) > 0).long()
    return TensorDataset(x[:32], y[:32]), TensorDataset(x[32:], y[32:])


class Data(LightningDataModule):
    """Shuffled, in 4 batches an epoch; has a state of its own."""

    def __init__(self, shuffle: bool = True) -> None:
        super().__init__()
        self.shuffle, self.served = shuffle, 0

    def train_dataloader(self) -> Any:
        return DataLoader(tensors()[0], batch_size=8, shuffle=self.shuffle)

    def val_dataloader(self) -> Any:
        return DataLoader(tensors()[1], batch_size=8)

    test_dataloader = predict_dataloader = val_dataloader

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.served += bool(self.trainer.training)
        return batch

    def state_dict(self) -> dict[str, Any]:
        return {"served": self.served}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.served = state_dict["served"]


class Net(LightningModule):
    """With dropout; `schedule` is the name of a learning rate schedule."""

    def __init__(self, config: dict[str, Any], schedule: str = "", width: int = 8, **more: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        torch.manual_seed(5)
        self.config, self.schedule = config, schedule
        self.hidden, self.dropout, self.out = nn.Linear(6, width), nn.Dropout(0.3), nn.Linear(width, 2)

    def forward(self, x: Any) -> Any:
        return self.out(self.dropout(torch.relu(self.hidden(x))))

    def training_step(self, batch: Any, index: int) -> Any:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def test_step(self, batch: Any, index: int) -> None:
        self.log("test_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def predict_step(self, batch: Any, index: int) -> Any:
        return self(batch[0])

    def on_train_epoch_end(self) -> None:
        self.log("late", float(self.current_epoch))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.config["lr"], momentum=self.config["momentum"])
        if not self.schedule:
            return optimizer
        schedule, options = {
            "step": (lr_scheduler.StepLR(optimizer, 2, 0.5), {}),
            "plateau": (lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5), {"monitor": "val_loss"}),
            "each step": (lr_scheduler.CosineAnnealingLR(optimizer, 16), {"interval": "step"}),
            "one cycle": (
                lr_scheduler.OneCycleLR(optimizer, max_lr=self.config["lr"], total_steps=16),
                {"interval": "step"},
            )
            if self.schedule == "one cycle"
            else (None, {}),
        }[self.schedule]
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, **options}}


def make_trainer(*callbacks: Any, package: Any = lightning.pytorch, **options: Any) -> Any:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    standard = {"max_epochs": EPOCHS, "enable_checkpointing": False, "devices": 1, "callbacks": list(callbacks)}
    return package.Trainer(**{**quiet, **standard, **options})


def fit(
    *callbacks: Any, config: dict[str, Any] | None = None, schedule: str = "", seed: int = 1, **options: Any
) -> Any:
    """A user's script: its trainer, after the fit."""
    model = Net(dict(CONFIG) if config is None else config, schedule)
    torch.manual_seed(seed)
    trainer = make_trainer(*callbacks, **options)
    trainer.fit(model, Data())
    return trainer


def session_of(config: dict[str, Any] | None = None, **options: Any) -> RecordingSession:
    return RecordingSession(context=TrialContext(config=dict(CONFIG) if config is None else config), **options)


def state(trainer: Any) -> list[Any]:
    """All that a training goes on from, to be compared exactly."""
    module, optimizers = trainer.lightning_module, trainer.optimizers
    weights = [value.tolist() for value in module.state_dict().values()]
    buffers = [[s["momentum_buffer"].tolist() for s in o.state_dict()["state"].values()] for o in optimizers]
    rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    schedules = [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
    return [weights, buffers, rates, schedules, trainer.current_epoch, trainer.global_step, trainer.datamodule.served]


def evicted_at(iteration: int, *callbacks: Any, config: dict[str, Any] | None = None, **options: Any) -> Any:
    """The session of a training that was saved and evicted after an iteration."""
    session = session_of(config, save_at={iteration}, raise_at={iteration: TrialEvicted()})
    with session, pytest.raises(TrialEvicted):
        fit(TuneReportCheckpointCallback(), *callbacks, config=config, **options)
    return session


def resumed(before: RecordingSession, at: int, **options: Any) -> RecordingSession:
    return session_of(start_checkpoint=before.checkpoints[at], start_iteration=at, **options)


def stored(session: RecordingSession, at: int) -> dict[str, Any]:
    return torch.load(Path(session.checkpoints[at].path, "checkpoint.ckpt"), weights_only=True)


# -------------------------------------------------------------------------------------------- arguments


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ArgumentError) as caught:
        TuneReportCheckpointCallback(metrics=3, filename="a/b", save_checkpoints="yes", on="epoch")  # type: ignore[arg-type]
    assert len(caught.value.mistakes) == 4
    assert "'validation_end', 'train_epoch_end', 'train_batch_end', 'train_end'" in str(caught.value)


@pytest.mark.parametrize("on", [[], 7, ["validation_end", "batch_start"]])
def test_hooks_that_do_not_exist(on: Any) -> None:
    with pytest.raises(ArgumentError, match="on: expected"):
        TuneReportCallback(on=on)


@pytest.mark.parametrize("package", [lightning.pytorch, pytorch_lightning])
def test_both_trainers_take_it(package: Any) -> None:
    callback = TuneReportCheckpointCallback()
    assert isinstance(callback, package.Callback)
    trainer = package.Trainer(callbacks=callback, logger=False, accelerator="cpu", enable_progress_bar=False)
    assert callback in trainer.callbacks


# -------------------------------------------------------------------------------------------- reporting


@pytest.mark.parametrize("on", ["validation_end", "train_epoch_end", ["validation_end", "train_epoch_end"]])
def test_each_epoch_is_reported_once(on: Any) -> None:
    with session_of() as session:
        fit(TuneReportCheckpointCallback(on=on))
    assert session.iterations == [1, 2, 3, 4]
    assert session.values("epoch") == [0, 1, 2, 3] and session.values("step") == [4, 8, 12, 16]


def test_reports_what_is_logged_at_the_very_end_of_an_epoch() -> None:
    with session_of() as session:
        fit(TuneReportCallback())
    assert set(session.reports[0].metrics) == {"train_loss", "val_loss", "late", "epoch", "step"}
    assert session.values("late") == session.values("epoch")


def test_an_epoch_without_validation_is_reported_only_if_asked_for() -> None:
    for on, epochs in (("validation_end", [1, 3]), (["validation_end", "train_epoch_end"], [0, 1, 2, 3])):
        with session_of() as session:
            fit(TuneReportCallback(on=on), check_val_every_n_epoch=2)
        assert session.values("epoch") == epochs


def test_a_metric_of_the_validation_may_be_missing_before_the_first_one() -> None:
    with session_of() as session:
        fit(TuneReportCallback(["val_loss", "train_loss"], on="train_epoch_end"), check_val_every_n_epoch=2)
    assert [set(report.metrics) for report in session.reports][:2] == [
        {"train_loss", "epoch", "step"},
        {"val_loss", "train_loss", "epoch", "step"},
    ]


def test_several_validations_in_an_epoch_make_one_report() -> None:
    with session_of() as session:
        trainer = fit(TuneReportCallback(), val_check_interval=0.5)
    assert session.iterations == [1, 2, 3, 4]
    assert session.values("val_loss")[-1] == trainer.callback_metrics["val_loss"].item()


def test_validation_that_follows_the_steps_is_reported_each_time() -> None:
    with session_of(stop_at=5) as session:
        trainer = fit(TuneReportCallback(), check_val_every_n_epoch=None, val_check_interval=3)
    assert session.values("step") == [3, 6, 9, 12, 15] and session.values("epoch") == [0, 1, 2, 2, 3]
    assert trainer.global_step == 15


def test_training_end_reports_the_last_epoch_once() -> None:
    for on, epochs in (("train_end", [3]), (["train_end", "train_epoch_end"], [0, 1, 2, 3])):
        with session_of(save_at={1}) as session:
            fit(TuneReportCheckpointCallback(on=on))
        assert session.values("epoch") == epochs and session.finished == 1


def test_no_validation_is_told() -> None:
    with session_of(), pytest.raises(ArgumentError, match="on='train_epoch_end'"):
        fit(TuneReportCallback(), limit_val_batches=0)
    with session_of() as session:
        fit(TuneReportCallback(on="train_epoch_end"), limit_val_batches=0)
    assert session.iterations == [1, 2, 3, 4]


def test_a_training_without_any_report_is_told() -> None:
    with (
        session_of(),
        pytest.raises(ArgumentError, match="check_val_every_n_epoch=10 no validation comes up to max_ep"),
    ):
        fit(TuneReportCheckpointCallback(), check_val_every_n_epoch=10)
    for options in ({"max_steps": 3}, {"check_val_every_n_epoch": None, "val_check_interval": 20}):
        with (
            session_of(),
            pytest.raises(ArgumentError, match=r"no validation came before .* Write on='train_epoch_end'"),
        ):
            fit(TuneReportCallback(), **options)


def test_a_training_without_any_report_may_have_been_resumed() -> None:
    options: dict[str, Any] = {"check_val_every_n_epoch": 3}
    before = evicted_at(1, **options)
    for at_end in (3, 4):
        with resumed(before, 1) as session:
            trainer = fit(TuneReportCheckpointCallback(), max_epochs=at_end, **options)
        assert session.iterations == [] and not session.checkpoints and trainer.current_epoch == at_end


def test_trainer_metrics_of_the_framework_are_untouched() -> None:
    alone = fit()
    with session_of() as session:
        tuned = fit(TuneReportCheckpointCallback())
    assert alone.callback_metrics == tuned.callback_metrics and state(alone) == state(tuned)
    assert session.values("val_loss")[-1] == alone.callback_metrics["val_loss"].item()


# ---------------------------------------------------------------------------------------------- stopping


def test_stop_stands_above_min_epochs() -> None:
    with session_of(stop_at=2) as session:
        trainer = fit(TuneReportCallback(), min_epochs=4, min_steps=3)
    assert session.iterations == [1, 2] and trainer.current_epoch == 2 and trainer.should_stop
    assert trainer.min_epochs == 4 and trainer.min_steps == 3


def test_early_stopping_of_the_script_ends_the_trial() -> None:
    stopping = EarlyStopping("train_loss", mode="max", patience=1)
    with session_of() as session:
        fit(TuneReportCheckpointCallback(), stopping)
    assert len(session.iterations) == stopping.stopped_epoch + 1 < EPOCHS
    assert list(session.checkpoints) == [session.iterations[-1]]


@pytest.mark.parametrize("error", [TrialEvicted(), ValueError("the user's own")])
def test_a_trainer_is_left_as_it_was(error: BaseException) -> None:
    trainer = make_trainer(TuneReportCheckpointCallback(), min_epochs=2)
    with session_of(raise_at={2: error}), pytest.raises(type(error)):
        trainer.fit(Net(CONFIG), Data())
    for part in (trainer.fit_loop, trainer.fit_loop.epoch_loop, trainer._checkpoint_connector):
        assert not [name for name, value in vars(part).items() if getattr(value, "__module__", "").startswith("tune_")]


# ---------------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("schedule", ["", "step", "plateau", "each step", "one cycle"])
def test_resumed_it_is_the_training_that_was_never_interrupted(schedule: str) -> None:
    expected = state(fit(schedule=schedule))
    before = evicted_at(2, schedule=schedule)
    with resumed(before, 2) as session:
        trainer = fit(TuneReportCheckpointCallback(), schedule=schedule, seed=99)
    assert session.iterations == [3, 4] and session.values("step") == [12, 16]
    assert state(trainer) == expected


def test_resumed_with_max_steps() -> None:
    expected = state(fit(max_steps=14, max_epochs=-1))
    before = evicted_at(2, max_steps=14, max_epochs=-1)
    with resumed(before, 2) as session:
        trainer = fit(TuneReportCheckpointCallback(on="train_epoch_end"), max_steps=14, max_epochs=-1)
    assert session.values("step") == [12, 14]
    assert state(trainer) == expected


def test_callbacks_and_precision_go_on() -> None:
    class Counting(Precision):
        def __init__(self) -> None:
            super().__init__()
            self.steps = 0

        def optimizer_step(self, *args: Any, **kwargs: Any) -> Any:
            self.steps += 1
            return super().optimizer_step(*args, **kwargs)

        def state_dict(self) -> dict[str, Any]:
            return {"steps": self.steps}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.steps = state_dict["steps"]

    def extras() -> tuple[Any, dict[str, Any]]:
        stopping = EarlyStopping("val_loss", patience=10)
        return stopping, {"plugins": [Counting()]}

    whole, options = extras()
    fit(whole, **options)
    stopping, options = extras()
    before = evicted_at(2, stopping, **options)
    stopping, options = extras()
    with resumed(before, 2):
        trainer = fit(TuneReportCheckpointCallback(), stopping, **options)
    assert stopping.state_dict() == whole.state_dict()
    assert trainer.precision_plugin.steps == 16


def test_a_checkpoint_path_in_the_script_is_where_the_trial_begins() -> None:
    fit(ModelCheckpoint("begin", filename="it"), max_epochs=1, enable_checkpointing=True)

    def script(*callbacks: Any) -> Any:
        trainer = make_trainer(*callbacks)
        trainer.fit(Net(dict(CONFIG)), Data(), ckpt_path="begin/it.ckpt")
        return trainer

    with session_of(save_at={1}) as session:
        script(TuneReportCheckpointCallback())
    assert session.values("epoch") == [1, 2, 3]
    with resumed(session, 1) as again:
        script(TuneReportCheckpointCallback())
    assert again.values("epoch") == [2, 3] and again.iterations == [2, 3]


def test_a_missing_file_is_told() -> None:
    before = evicted_at(1)
    with resumed(before, 1), pytest.raises(ArgumentError, match=r"no file 'other.ckpt'; it has 'checkpoint.ckpt'"):
        fit(TuneReportCheckpointCallback(filename="other.ckpt"))


def test_lightning_loads_the_checkpoint_itself() -> None:
    before = evicted_at(2)
    path = Path(before.checkpoints[2].path, "checkpoint.ckpt")
    model = Net.load_from_checkpoint(path, weights_only=True)
    assert model.config == CONFIG
    trainer = make_trainer()
    trainer.fit(model, Data(), ckpt_path=path)
    assert trainer.global_step == 16


# ----------------------------------------------------------------------------------------------- content


def test_hyperparameters_that_are_no_data_are_left_out() -> None:
    class Odd(Net):
        def __init__(self) -> None:
            super().__init__(dict(CONFIG), function=print, kind=Net, nested={"a": [lambda: 0]}, good={"a": (1, "b")})

    with session_of(save_at={1}) as session:
        make_trainer(TuneReportCheckpointCallback(), max_epochs=1).fit(Odd(), Data())
    assert stored(session, 1)["hyper_parameters"] == {
        "config": CONFIG,
        "schedule": "",
        "width": 8,
        "good": {"a": (1, "b")},
    }


def test_objects_in_the_state_are_refused_by_name() -> None:
    class Odd(Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"parts": [1, Path], "number": torch.ones(2).numpy()[0]}

    with (
        session_of(save_at={1}),
        pytest.raises(TuneError, match=r"\['callbacks'\].*\['parts'\]\[1\] is a builtins.type"),
    ):
        fit(TuneReportCheckpointCallback(), Odd())


def test_nothing_is_saved_that_was_not_asked_for(tmp_path: Path) -> None:
    with session_of() as session:
        fit(TuneReportCheckpointCallback(), enable_checkpointing=True)
    assert list(session.checkpoints) == [EPOCHS]
    ours = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.ckpt"))
    assert ours == ["checkpoints/epoch=3-step=16.ckpt"]  # Lightning's own


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"check_val_every_n_epoch": 2, "max_epochs": 3}, [8]),
        ({"check_val_every_n_epoch": 2, "max_epochs": 5}, [8, 16]),
        ({"max_steps": 14, "max_epochs": -1}, [4, 8, 12]),
        ({"max_steps": 12, "max_epochs": -1}, [4, 8, 12]),
        ({"max_steps": 5, "max_epochs": -1, "accumulate_grad_batches": 2}, [2, 4]),
        ({"check_val_every_n_epoch": None, "val_check_interval": 3}, [3, 6, 9, 12, 15]),
        ({"check_val_every_n_epoch": None, "val_check_interval": 8}, [8, 16]),
    ],
)
def test_a_checkpoint_is_that_of_its_report(options: dict[str, Any], steps: list[int]) -> None:
    with session_of() as session:
        fit(TuneReportCheckpointCallback(), **options)
    assert session.values("step") == steps and list(session.checkpoints) == [len(steps)]
    assert stored(session, len(steps))["global_step"] == steps[-1]
    with session_of() as session:
        trainer = fit(TuneReportCheckpointCallback(on=("validation_end", "train_end")), **options)
    (last,) = session.checkpoints
    assert last == session.iterations[-1] and stored(session, last)["global_step"] == trainer.global_step


def test_an_unforeseen_end_behind_the_last_report_is_in_no_checkpoint() -> None:
    stopping = EarlyStopping("train_loss", mode="max", patience=2, check_on_train_epoch_end=True)
    with session_of(save_at={1}) as session:
        trainer = fit(TuneReportCheckpointCallback(), stopping, check_val_every_n_epoch=2, max_epochs=8)
    assert trainer.current_epoch == 3 and session.iterations == [1] and list(session.checkpoints) == [1]
    assert stored(session, 1)["global_step"] == 8


def test_save_checkpoints_false_only_reports() -> None:
    with session_of(save_at={1, 2}, save_at_end=True) as session:
        fit(TuneReportCheckpointCallback(save_checkpoints=False))
    assert session.iterations == [1, 2, 3, 4] and not session.checkpoints


# ----------------------------------------------------------------------------------------------- exploit


@pytest.mark.parametrize("schedule", ["", "step", "plateau", "each step"])
def test_exploit_in_place_goes_on_as_the_donor_does(schedule: str) -> None:
    expected = state(fit(schedule=schedule, seed=7))
    donor = evicted_at(2, schedule=schedule, seed=7)
    with session_of(exploit_at={3: Exploit(donor.checkpoints[2], 2, dict(CONFIG))}) as session:
        trainer = fit(TuneReportCheckpointCallback(), schedule=schedule)
    assert session.iterations == [1, 2, 3, 3, 4] and session.restarts == []
    assert session.values("epoch") == [0, 1, 2, 2, 3]
    assert state(trainer) == expected


@pytest.mark.parametrize("schedule", ["", "step", "plateau", "each step"])
def test_exploit_in_place_is_what_a_new_entry_would_be(schedule: str) -> None:
    donor = evicted_at(2, schedule=schedule, seed=7)
    new = {"lr": 0.01, "momentum": 0.5}
    config = dict(CONFIG)
    with session_of(config, exploit_at={2: Exploit(donor.checkpoints[2], 2, new)}) as session:
        live = fit(TuneReportCheckpointCallback(), config=config, schedule=schedule)
    assert session.restarts == [] and config == new
    with resumed(donor, 2):
        entered = fit(TuneReportCheckpointCallback(), config=dict(new), schedule=schedule)
    assert state(live) == state(entered)
    assert live.lightning_module.hparams["config"] == new


def test_callbacks_take_over_the_state_of_the_donor() -> None:
    donor = evicted_at(2, EarlyStopping("val_loss", patience=10), seed=7)
    stopping, whole = EarlyStopping("val_loss", patience=10), EarlyStopping("val_loss", patience=10)
    fit(whole, seed=7)
    with session_of(exploit_at={2: Exploit(donor.checkpoints[2], 2, dict(CONFIG))}):
        fit(TuneReportCheckpointCallback(), stopping)
    assert stopping.state_dict() == whole.state_dict()


def test_exploit_with_max_steps() -> None:
    donor = evicted_at(2, seed=7)
    expected = state(fit(seed=7, max_steps=14, max_epochs=-1))
    with session_of(exploit_at={2: Exploit(donor.checkpoints[2], 2, dict(CONFIG))}) as session:
        trainer = fit(TuneReportCheckpointCallback(), max_steps=14, max_epochs=-1)
    assert session.restarts == [] and state(trainer) == expected


def test_a_donor_at_the_end_ends_the_training() -> None:
    donor = evicted_at(EPOCHS)
    with session_of(exploit_at={2: Exploit(donor.checkpoints[EPOCHS], EPOCHS, dict(CONFIG))}) as session:
        trainer = fit(TuneReportCheckpointCallback())
    assert session.iterations == [1, 2] and session.finished == 1
    assert trainer.global_step == 16


class Dropout(TuneReportCheckpointCallback):
    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> set[str]:
        applied = set(super().apply_config(changed, before))
        if "dropout" in changed:
            self.model.dropout.p = changed["dropout"]
            applied.add("dropout")
        return applied


def test_apply_config_can_be_overridden() -> None:
    before, after = {**CONFIG, "dropout": 0.3}, {**CONFIG, "lr": 0.2, "dropout": 0.1}
    donor = evicted_at(1, config=before)
    with session_of(dict(before), exploit_at={1: Exploit(donor.checkpoints[1], 1, after)}) as session:
        trainer = fit(Dropout(), config=dict(before))
    assert session.restarts == [] and len(session.exploits) == 1
    assert trainer.lightning_module.dropout.p == 0.1


def exploit_refused(callback: Any, *others: Any, new: dict[str, Any], donor: Any, at: int = 1, **options: Any) -> str:
    config = options.pop("config", None) or dict(CONFIG)
    exploit = Exploit(donor.checkpoints[at], at, new)
    with session_of(config, exploit_at={1: exploit}) as session, pytest.raises(TrialRestarted):
        fit(callback, *others, config=config, **options)
    (reason,) = session.restarts
    return reason


def test_what_is_read_only_once_is_not_claimed() -> None:
    before = {**CONFIG, "width": 8}
    reason = exploit_refused(
        TuneReportCheckpointCallback(),
        new={**before, "width": 16},
        donor=evicted_at(1, config=before),
        config=before,
    )
    assert reason == "'width' cannot be changed in a running training"


def test_a_module_of_another_shape_is_refused() -> None:
    session = session_of(save_at={1}, raise_at={1: TrialEvicted()})
    with session, pytest.raises(TrialEvicted):
        make_trainer(TuneReportCheckpointCallback()).fit(Net(dict(CONFIG), width=5), Data())
    reason = exploit_refused(TuneReportCheckpointCallback(), new=dict(CONFIG), donor=session)
    assert reason == "the donor's module has another shape: 'hidden.weight' is (5, 6) there and (8, 6) here"


def test_a_rate_that_the_script_transforms_is_refused() -> None:
    reason = exploit_refused(
        TuneReportCheckpointCallback(),
        new={**CONFIG, "lr": 0.2},
        donor=evicted_at(1, schedule="one cycle"),
        schedule="one cycle",
    )
    assert reason == "'lr' cannot be changed in a running training"  # OneCycleLR begins with a part of it


def test_a_rate_of_which_the_script_keeps_a_copy_is_told() -> None:
    class ByHand(Callback):
        def __init__(self, rate: float) -> None:
            self.rate = rate

        def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
            trainer.optimizers[0].param_groups[0]["lr"] = self.rate

    donor = evicted_at(1)
    new = {**CONFIG, "lr": 0.2}
    with (
        session_of(exploit_at={1: Exploit(donor.checkpoints[1], 1, new)}) as session,
        pytest.raises(TuneError, match=r"from 0.05 to 0.2 .* has put 0.05 back since"),
    ):
        fit(TuneReportCheckpointCallback(), ByHand(CONFIG["lr"]))
    assert session.iterations == [1] and session.restarts == []


def test_callbacks_that_restore_only_at_the_start_are_refused() -> None:
    reason = exploit_refused(
        TuneReportCheckpointCallback(),
        StochasticWeightAveraging(0.1, swa_epoch_start=1),
        new=dict(CONFIG),
        donor=evicted_at(1),
    )
    assert reason == "StochasticWeightAveraging restores its state at the start of a fit only"


def test_a_position_inside_an_epoch_is_refused() -> None:
    options: dict[str, Any] = {"check_val_every_n_epoch": None, "val_check_interval": 3}
    inside = evicted_at(1, **options)
    reason = exploit_refused(TuneReportCheckpointCallback(), new=dict(CONFIG), donor=inside, **options)
    assert reason == "the training is inside an epoch, where its data cannot be set to a position"
    reason = exploit_refused(TuneReportCheckpointCallback(), new=dict(CONFIG), donor=inside)
    assert reason == "the donor's state was saved inside an epoch"


def test_resumed_inside_an_epoch_as_lightning_does() -> None:
    options: dict[str, Any] = {"check_val_every_n_epoch": None, "val_check_interval": 3}
    before = evicted_at(1, **options)
    with resumed(before, 1) as session:
        trainer = fit(TuneReportCheckpointCallback(), **options)
    assert session.values("step") == [6, 9, 12, 15] and trainer.global_step == 16


# ------------------------------------------------------------------------------------- more than one fit


def test_two_fits_in_a_trial() -> None:
    def script() -> None:
        fit(TuneReportCheckpointCallback(), max_epochs=2)
        fit(TuneReportCheckpointCallback(), max_epochs=3)

    with session_of(save_at=range(1, 9)) as session:
        script()
    assert session.iterations == [1, 2, 3, 4, 5] and list(session.checkpoints) == [1, 2]
    with resumed(session, 1) as again:
        script()
    assert again.iterations == [2, 3, 4, 5] and again.values("epoch") == [1, 0, 1, 2]


def test_the_same_trainer_goes_on() -> None:
    with session_of() as session:
        trainer = fit(TuneReportCallback(), max_epochs=2)
        trainer.fit_loop.max_epochs = 3
        trainer.fit(trainer.lightning_module, Data())
    assert session.iterations == [1, 2, 3] and session.values("epoch") == [0, 1, 2]


def test_a_fit_after_the_stop_unwinds() -> None:
    with session_of(stop_at=1) as session, pytest.raises(TrialStopped):
        fit(TuneReportCallback())
        fit(TuneReportCallback())
    assert session.iterations == [1]


def test_validate_test_and_predict_report_nothing() -> None:
    with session_of(save_at=range(1, 9)) as session:
        trainer, data = make_trainer(TuneReportCheckpointCallback()), Data()
        model = Net(dict(CONFIG))
        trainer.validate(model, data, verbose=False)
        trainer.fit(model, data)
        trainer.validate(model, data, verbose=False)
        trainer.test(model, data, verbose=False)
        assert len(trainer.predict(model, data)) == 2
    assert session.iterations == [1, 2, 3, 4] and session.finished == 1


def test_a_search_for_the_learning_rate_is_no_fit_of_the_trial() -> None:
    def script() -> Any:
        trainer, model = make_trainer(TuneReportCheckpointCallback()), Net(dict(CONFIG))
        model.learning_rate = 0.1
        Tuner(trainer).lr_find(model, datamodule=Data(), num_training=4, attr_name="learning_rate", update_attr=False)
        trainer.fit(model, Data())
        return trainer

    with session_of(save_at={2}) as session:
        script()
    assert session.iterations == [1, 2, 3, 4] and list(session.checkpoints) == [2, 4]
    with resumed(session, 2) as again:
        script()
    assert again.iterations == [3, 4]


def test_a_search_for_the_learning_rate_inside_the_fit() -> None:
    before = evicted_at(2)
    with resumed(before, 2) as session:
        trainer = fit(TuneReportCheckpointCallback(), LearningRateFinder(num_training_steps=4, update_attr=False))
    assert session.iterations == [3, 4] and session.values("step") == [12, 16]
    assert len(state(trainer)[1][0]) == 4  # the momentum buffers, which the search does not restore


def test_several_optimizers_by_hand() -> None:
    class TwoOptimizers(Net):
        def __init__(self, config: dict[str, Any]) -> None:
            super().__init__(config)
            self.automatic_optimization = False

        def training_step(self, batch: Any, index: int) -> None:
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                self.manual_backward(super().training_step(batch, index))
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return [
                torch.optim.SGD(part.parameters(), lr=self.config["lr"], momentum=self.config["momentum"])
                for part in (self.hidden, self.out)
            ]

    def script(*callbacks: Any, config: dict[str, Any]) -> Any:
        trainer, model = make_trainer(*callbacks), TwoOptimizers(config)
        torch.manual_seed(1)
        trainer.fit(model, Data())
        return trainer

    donor = session_of(save_at={2}, raise_at={2: TrialEvicted()})
    with donor, pytest.raises(TrialEvicted):
        script(TuneReportCheckpointCallback(), config=dict(CONFIG))
    new = {"lr": 0.01, "momentum": 0.9}
    config = dict(CONFIG)
    with session_of(config, exploit_at={2: Exploit(donor.checkpoints[2], 2, new)}) as session:
        live = script(TuneReportCheckpointCallback(), config=config)
    assert session.restarts == [] and session.values("step") == [8, 16, 24, 32]
    with resumed(donor, 2):
        assert state(script(TuneReportCheckpointCallback(), config=dict(new))) == state(live)


def test_type_of_trainer_is_the_plain_one() -> None:
    assert type(make_trainer()) is Trainer


# -------------------------------------------------------------------------------- the model to predict with


class Whole(Net):
    """Saves all of its hyper-parameters (that of `Net`)."""


class Partly(Net):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self._hparams = {}
        self.save_hyperparameters({"lr": config["lr"]})


class Without(Net):
    def __init__(self, lr: float, momentum: float, width: int = 8) -> None:
        super().__init__({"lr": lr, "momentum": momentum}, width=width)
        self._hparams = {}
        self.save_hyperparameters("width")


MODULES: dict[type[Net], Any] = {
    Whole: lambda: Whole(CONFIG, width=5),
    Partly: lambda: Partly(CONFIG),
    Without: lambda: Without(CONFIG["lr"], CONFIG["momentum"], width=5),
}


@pytest.mark.parametrize("kind", MODULES)
def test_a_module_is_made_of_its_hyper_parameters_and_of_the_config(kind: type[Net]) -> None:
    """Of those that it saves, and of the config for what it does not save; ready to predict."""
    session = RecordingSession(context=TrialContext(config=CONFIG, metric="val_loss", mode="max"), save_at={EPOCHS})
    with session:
        trainer = make_trainer(TuneReportCheckpointCallback())
        trainer.fit(module := MODULES[kind](), Data())
    last = session.checkpoints[EPOCHS]
    values = session.values("val_loss")
    best = Checkpoint(Path(last.path, "best"))
    assert max(values) > values[-1]
    for checkpoint, value in ((last, values[-1]), (best, max(values))):
        for build in (kind, MODULES[kind], MODULES[kind]()):
            loaded = checkpoint.load_model(build, config=CONFIG)
            assert type(loaded) is kind and not loaded.training
            (found,) = make_trainer().validate(loaded, Data(), verbose=False)
            assert found["val_loss"] == pytest.approx(value, rel=1e-5)
    x = torch.ones(3, 6)
    assert torch.equal(last.load_model(kind, config=CONFIG)(x), module.eval()(x))
