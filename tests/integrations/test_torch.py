"""Loops written by hand with `TrainState`: against real PyTorch, alone and with two ranks under DDP."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

import tune_plugins as tune
from tune_plugins import session as tune_session
from tune_plugins.core.events import TrialFinished
from tune_plugins.core.trial import FREE
from tune_plugins.errors import ArgumentError, TrialEvicted, TrialRestarted, TrialStopped, TrialUnwound, TuneError
from tune_plugins.integrations.torch import TrainState
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.session import TrialContext
from tune_plugins.testing import Exploit, RecordingSession
from tune_plugins.worker.children import children_may_report
from tune_plugins.worker.messages import Job
from tune_plugins.worker.session import TrialSession

FEATURES = torch.linspace(-1, 1, 60).reshape(20, 3)
LABELS = (FEATURES.sum(1) > 0).long()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(3)


def network(width: int = 4, dropout: float = 0.2) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, width), nn.Dropout(dropout), nn.Linear(width, 2))


def sgd(model: nn.Module, lr: float = 0.1) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def step(model: nn.Module, *optimizers: Any, rows: slice = slice(None)) -> float:
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(FEATURES[rows]), LABELS[rows])
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    return loss.item()


def train(config: Mapping[str, Any], epochs: int = 6, **options: Any) -> nn.Module:
    model = network()
    optimizer = sgd(model, config["lr"])
    state = TrainState(model=model, optimizer=optimizer, **options)
    for _ in state.epochs(epochs):
        state.report(loss=step(model, optimizer))
    return model


def recording(lr: float = 0.1, **options: Any) -> RecordingSession:
    return RecordingSession(context=TrialContext(config={"lr": lr}), **options)


def saved(checkpoint: Checkpoint | None, filename: str = "state.pt") -> dict[str, Any]:
    assert checkpoint is not None
    state: dict[str, Any] = torch.load(Path(checkpoint.path, filename), weights_only=True)
    return state


def weights(model: nn.Module) -> list[list[float]]:
    return [parameter.detach().flatten().tolist() for parameter in model.parameters()]


def donor(at: int, **config: float) -> Checkpoint:
    with recording(save_at={at}, **config) as session:
        torch.manual_seed(99)
        train({"lr": 0.1, **config}, epochs=at)
    return session.checkpoints[at]


# --- outside a tuning run


def test_alone_it_does_nothing() -> None:
    assert tune_session.current() is None
    model = network()
    state = TrainState(model=model, metrics="never reported", frequency=1)
    assert state.epochs(5) == range(5)
    state.report(loss=1.0)
    state.report(loss=1.0)


def test_wrong_arguments_are_all_named() -> None:
    with pytest.raises(ArgumentError) as caught:
        TrainState(
            model=3,
            things=[network(), "text"],
            kind=nn.Linear,
            metrics=[],
            filename="a/b",
            frequency=-1,
            apply_config="lr",  # type: ignore[arg-type]
        )
    assert len(caught.value.mistakes) == 7
    for name in ("model:", "things/1:", "kind:", "metrics:", "filename:", "frequency:", "apply_config:"):
        assert name in str(caught.value)


def test_nothing_to_save_is_a_mistake() -> None:
    with pytest.raises(ArgumentError, match="at least a model"):
        TrainState(scheduler=None)


@pytest.mark.parametrize("n", [-1, 2.5, True, None])
def test_number_of_epochs_is_checked(n: Any) -> None:
    with pytest.raises(ArgumentError, match=r"TrainState\.epochs.*\n.*n: expected a number of epochs"):
        TrainState(model=network()).epochs(n)


# --- what is reported


def test_metrics_become_plain_numbers() -> None:
    state = TrainState(model=network())
    with RecordingSession() as session:
        for _ in state.epochs(1):
            state.report(
                {"text": "good", "nested": {"tensor": torch.tensor(2.0)}},
                loss=torch.tensor([float("nan")]),
                count=np.int64(3),
            )
    (report,) = session.reports
    assert report.metrics["nested"] == {"tensor": 2.0} and report.metrics["text"] == "good"
    assert report.metrics["loss"] != report.metrics["loss"] and report.metrics["count"] == 3


def test_length_is_that_of_the_range() -> None:
    state = TrainState(model=network())
    with RecordingSession():
        epochs = state.epochs(4)
        assert len(epochs) == 4 and 3 in epochs and 4 not in epochs
        assert list(epochs) == [0, 1, 2, 3]
        with pytest.raises(TuneError, match="looped over once"):
            list(epochs)


def test_second_report_in_an_epoch_is_refused() -> None:
    state = TrainState(model=network())
    with RecordingSession() as session, pytest.raises(TuneError, match=r"twice in epoch 0.*with all metrics"):
        for _ in state.epochs(2):
            state.report(loss=1.0)
            state.report(accuracy=1.0)
    assert session.iterations == [1]


def test_epochs_without_a_report_count() -> None:
    state = TrainState(model=network())
    with recording(save_at={4}) as session:
        for epoch in state.epochs(7):
            if epoch % 2:
                state.report(epoch=epoch)
    assert session.iterations == [2, 4, 6] and session.values("epoch") == [1, 3, 5]
    assert saved(session.checkpoints[4])["epoch"] == 4
    assert saved(session.checkpoints[6])["epoch"] == 7, "the last one holds all epochs"


def test_report_before_the_loop_is_refused() -> None:
    state = TrainState(model=network())
    with RecordingSession(), pytest.raises(TuneError, match="before the loop"):
        state.report(loss=1.0)


def test_report_after_the_loop_counts_on_and_offers_no_checkpoint() -> None:
    state = TrainState(model=network())
    with recording(save_at=range(9)) as session:
        for _ in state.epochs(2):
            state.report(loss=1.0)
        state.report(test=2.0)
    assert session.iterations == [1, 2, 3] and not session.reports[2].savable


def test_exploit_after_the_loop_enters_anew() -> None:
    state = TrainState(model=network())
    checkpoint = donor(2)
    exploit = Exploit(checkpoint, 2, {"lr": 0.1})
    with recording(exploit_at={2: exploit}) as session, pytest.raises(TrialRestarted):
        for _ in state.epochs(1):
            state.report(loss=1.0)
        state.report(test=2.0)
    assert "without a model" in session.restarts[0]


def test_step_behind_the_report_is_noticed() -> None:
    """Its checkpoint would lack that step."""
    for behind in ("optimizer", "scheduler"):
        model = network()
        optimizer = sgd(model)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
        state = TrainState(model=model, optimizer=optimizer, scheduler=scheduler)
        with RecordingSession(), pytest.raises(TuneError, match=r"end of epoch 0.*last statement"):
            for _ in state.epochs(3):
                step(model, optimizer)
                state.report(loss=1.0)
                scheduler.step() if behind == "scheduler" else step(model, optimizer)


# --- how a loop ends


def test_break_saves_what_was_reported() -> None:
    state = TrainState(model=network())
    with RecordingSession() as session:
        for epoch in state.epochs(9):
            state.report(loss=1.0)
            if epoch == 2:
                break
    assert session.iterations == [1, 2, 3] and list(session.checkpoints) == [3] and session.finished == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("behind", ["a step behind the report", "a state that cannot be saved"])
def test_what_goes_wrong_at_a_break_is_on_record(tmp_path: Path, behind: str) -> None:
    """Python swallows what is raised while a `for` loop is left by break."""

    class Events:
        def result(self, result: Any) -> None: ...
        def event(self, event: Any) -> None: ...
        def stop_wanted(self) -> None: ...

    job = Job("trial", "trial", "trial", {}, FREE, "experiment", str(tmp_path))
    model = network()
    optimizer = sgd(model)
    others = {} if "step" in behind else {"other": SimpleNamespace(state_dict=object, load_state_dict=None)}
    if others:
        others["other"].load_state_dict = others["other"].state_dict
    with ThreadPoolExecutor(1) as background:
        session = TrialSession(job, Events(), background)  # type: ignore[arg-type]
        tune_session.activate(session)
        try:
            state = TrainState(model=model, optimizer=optimizer, **others)
            for _ in state.epochs(3):
                step(model, optimizer)
                state.report(loss=1.0)
                if not others:
                    step(model, optimizer)
                break
        finally:
            tune_session.activate(None)
        error = session.close(TrialFinished(0.0, "trial", ""))
    assert isinstance(error, TuneError)
    assert ("Make state_dict() return plain data" if others else "last statement of the loop") in str(error)
    assert not list(tmp_path.rglob("state.pt"))


def test_break_in_the_middle_of_an_epoch_saves_nothing() -> None:
    state = TrainState(model=network())
    with RecordingSession() as session:
        for epoch in state.epochs(9):
            if epoch == 2:
                break
            state.report(loss=1.0)
    assert session.iterations == [1, 2] and session.finished == 0


def test_code_behind_the_report_runs_before_a_stop() -> None:
    state, seen = TrainState(model=network()), []
    with RecordingSession(stop_at=2) as session:
        for epoch in state.epochs(9):
            state.report(loss=1.0)
            seen.append(epoch)
        for _ in state.epochs(3):
            raise AssertionError("the trial is stopped")
        with pytest.raises(TrialStopped):
            state.report(loss=1.0)
    assert seen == [0, 1] and session.iterations == [1, 2]


def test_no_checkpoint_at_the_end_if_not_wanted() -> None:
    with recording() as session:
        train({"lr": 0.1}, checkpoint_at_end=False)
    assert not session.checkpoints and session.finished == 1


def test_frequency_and_filename() -> None:
    with recording() as session:
        train({"lr": 0.1}, frequency=2, filename="all.pt")
    assert list(session.checkpoints) == [2, 4, 6]
    assert saved(session.checkpoints[2], "all.pt")["epoch"] == 2


# --- what is saved


def everything(seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    first, second = network(), network(5)
    optimizers = {"first": sgd(first), "second": torch.optim.AdamW(second.parameters(), amsgrad=True)}
    return {
        "model": [first, second],
        "optimizer": optimizers,
        "scheduler": [torch.optim.lr_scheduler.MultiStepLR(one, [1, 3]) for one in optimizers.values()],
        "scaler": torch.amp.GradScaler("cpu", init_scale=8.0),
        "ema": AveragedModel(first, use_buffers=True),
        "generator": torch.Generator().manual_seed(seed),
        "nothing": None,
    }


def states(things: dict[str, Any]) -> str:
    whole = [*things["model"], *things["optimizer"].values(), *things["scheduler"], things["scaler"], things["ema"]]
    with torch.random.fork_rng():
        return repr([thing.state_dict() for thing in whole]) + repr(things["generator"].get_state().tolist())


def test_all_objects_go_on() -> None:
    things = everything(1)
    with recording() as session:
        state = TrainState(**things)
        for _ in state.epochs(3):
            for model, optimizer in zip(things["model"], things["optimizer"].values(), strict=True):
                step(model, optimizer)
            things["ema"].update_parameters(things["model"][0])
            things["scaler"].scale(torch.ones(1)), things["scaler"].update(4.0)
            torch.rand(3, generator=things["generator"])
            for scheduler in things["scheduler"]:
                scheduler.step()
            state.report(loss=1.0)
    assert set(saved(session.last_checkpoint)["objects"]) == {
        *("model/0", "model/1", "optimizer/first", "optimizer/second", "scheduler/0", "scheduler/1"),
        *("scaler", "ema", "generator"),
    }
    others = everything(2)
    others["scaler"].scale(torch.ones(1))
    assert states(others) != states(things)
    with recording(start_checkpoint=session.last_checkpoint, start_iteration=3):
        TrainState(**others).epochs(3)
    assert states(others) == states(things)


def test_random_generators_go_on() -> None:
    def draw() -> list[float]:
        return [random.random(), float(np.random.rand()), float(torch.rand(1))]

    with recording(save_at={2}) as session:
        state = TrainState(model=network())
        for _ in state.epochs(3):
            drawn = draw()
            state.report(loss=1.0)
    draw()
    with recording(start_checkpoint=session.checkpoints[2], start_iteration=2):
        for _ in TrainState(model=network()).epochs(3):
            assert draw() == drawn


def test_state_that_is_not_data_is_refused_when_it_is_saved() -> None:
    class Sampler:
        def state_dict(self) -> dict[str, Any]:
            return {"order": np.arange(3), "path": Path("here")}

        def load_state_dict(self, state: Any) -> None:
            raise AssertionError

    state = TrainState(model=network(), sampler=Sampler())
    with recording(save_at={1}), pytest.raises(TuneError, match=r"sampler: its state_dict\(\) holds more than"):
        for _ in state.epochs(2):
            state.report(loss=1.0)


@pytest.mark.parametrize(
    "rate", [np.float64(0.1), np.sqrt(0.01), np.float32(0.1)], ids=lambda rate: type(rate).__name__
)
def test_rates_of_numpy_are_saved_as_numbers(rate: Any) -> None:
    with recording(rate, save_at={2}) as first:
        train({"lr": rate})
    with recording(rate, start_checkpoint=first.checkpoints[2], start_iteration=2) as second:
        train({"lr": rate})
    assert second.values("loss") == first.values("loss")[2:]
    assert type(saved(first.checkpoints[2])["objects"]["optimizer"]["param_groups"][0]["lr"]) is float


def test_a_metric_of_several_elements_is_named() -> None:
    state = TrainState(model=network())
    with recording(), pytest.raises(TuneError, match=r"one number for 'loss', got a tensor of shape \(3,\)"):
        for _ in state.epochs(1):
            state.report(loss=torch.ones(3))


def test_wrappers_are_not_saved() -> None:
    model = network()
    plain = set(model.state_dict())
    for wrapped in (DataParallel(model), torch.compile(model), torch.compile(DataParallel(model))):
        with recording() as session:
            state = TrainState(model=wrapped)
            for _ in state.epochs(1):
                state.report(loss=1.0)
        assert set(saved(session.last_checkpoint)["objects"]["model"]) == plain


# --- going on


def test_goes_on_under_a_new_rate() -> None:
    checkpoint = donor(3)
    with recording(0.01, start_checkpoint=checkpoint, start_iteration=3) as session:
        model = train({"lr": 0.01})
    plain = network()
    optimizer = sgd(plain, 0.01)
    state = saved(checkpoint)
    plain.load_state_dict(state["objects"]["model"])
    optimizer.load_state_dict(state["objects"]["optimizer"])
    optimizer.param_groups[0]["lr"] = 0.01
    torch.set_rng_state(state["random"][0]["torch"])
    losses = [step(plain, optimizer) for _ in range(3)]
    assert session.iterations == [4, 5, 6] and session.values("loss") == losses
    assert weights(model) == weights(plain)


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_several_loops_go_on_in_the_right_one(at: int) -> None:
    def script(seen: list[Any]) -> None:
        model = network()
        optimizer = sgd(model)
        state = TrainState(model=model, optimizer=optimizer)
        for name, n in (("first", 3), ("second", 2)):
            for epoch in state.epochs(n):
                seen.append((name, epoch))
                state.report(loss=step(model, optimizer))
        seen.append(weights(model))

    whole: list[Any] = []
    with recording(save_at={at}) as before:
        script(whole)
    assert before.iterations == [1, 2, 3, 4, 5]
    seen: list[Any] = []
    with recording(start_checkpoint=before.checkpoints[at], start_iteration=at) as session:
        script(seen)
    assert session.iterations == list(range(at + 1, 6))
    assert seen == whole[at:]


def test_report_between_loops_is_not_repeated() -> None:
    def script() -> None:
        state = TrainState(model=network())
        for _ in state.epochs(2):
            state.report(loss=1.0)
        state.report(between=1.0)
        for _ in state.epochs(2):
            state.report(loss=2.0)

    with recording(save_at={4}) as before:
        script()
    assert before.iterations == [1, 2, 3, 4, 5]
    with recording(start_checkpoint=before.checkpoints[4], start_iteration=4) as session:
        script()
    assert session.iterations == [5] and session.values("loss") == [2.0]


def test_missing_file_and_missing_state_are_named(tmp_path: Path) -> None:
    (tmp_path / "other.pt").touch()
    with (
        recording(start_checkpoint=Checkpoint(tmp_path), start_iteration=1),
        pytest.raises(ArgumentError, match=r"no file 'state\.pt'; it has 'other\.pt'"),
    ):
        train({"lr": 0.1})
    with (
        recording(start_checkpoint=donor(1), start_iteration=1),
        pytest.raises(ArgumentError, match=r"ema: .*no state of it; it has 'model', 'optimizer'"),
    ):
        train({"lr": 0.1}, ema=AveragedModel(network()))


def test_checkpoint_with_code_is_not_loaded(tmp_path: Path) -> None:
    torch.save({"objects": {"model": Path("code")}}, tmp_path / "state.pt")
    start = Checkpoint(tmp_path)
    with recording(start_checkpoint=start, start_iteration=1), pytest.raises(Exception, match="weights_only"):
        train({"lr": 0.1})


def test_second_state_of_a_trial_only_reports() -> None:
    with recording(save_at=range(9)) as session:
        train({"lr": 0.1}, epochs=2)
        train({"lr": 0.1}, epochs=2)
    assert session.iterations == [1, 2, 3, 4]
    assert [report.savable for report in session.reports] == [True, True, False, False]


def test_state_made_outside_of_the_function() -> None:
    model = network()
    optimizer = sgd(model)
    state = TrainState(model=model, optimizer=optimizer)
    for _ in range(2):
        with recording(save_at={2}) as session:
            for _ in state.epochs(2):
                state.report(loss=step(model, optimizer))
        assert session.iterations == [1, 2]
    with recording(start_checkpoint=session.checkpoints[2], start_iteration=2) as session:
        assert list(state.epochs(4)) == [2, 3]


# --- exploits


def exploit(at: int, new: Mapping[str, Any], donor_at: int = 2) -> dict[int, Exploit]:
    return {at: Exploit(donor(donor_at), donor_at, new)}


def test_rate_is_applied_in_place() -> None:
    with recording(0.05, exploit_at=exploit(4, {"lr": 0.02})) as session:
        train(session.context.config)
    assert session.exploits == ["state of iteration 2 loaded, 'lr' applied"]
    assert session.iterations == [1, 2, 3, 4, 3, 4, 5, 6]
    assert saved(session.last_checkpoint)["objects"]["optimizer"]["param_groups"][0]["lr"] == 0.02


def test_gradients_that_are_left_over_do_not_go_into_the_donor_s_state() -> None:
    """Gradient accumulation whose last batch makes no step."""

    def accumulate(config: Mapping[str, Any]) -> list[float]:
        model = network()
        optimizer = sgd(model, config["lr"])
        state = TrainState(model=model, optimizer=optimizer)
        losses = []
        for _ in state.epochs(6):
            for number in range(3):
                loss = model(torch.full((4, 3), float(number))).square().mean()
                loss.backward()
                if number % 2:
                    optimizer.step()
                    optimizer.zero_grad()
            losses.append(loss.item())
            state.report(loss=loss)
        return losses

    with recording(save_at={2}) as first:
        accumulate({"lr": 0.1})
    given = first.checkpoints[2]
    with recording(0.05, start_checkpoint=given, start_iteration=2):
        expected = accumulate({"lr": 0.05})
    with recording(0.05, exploit_at={4: Exploit(given, 2, {"lr": 0.05})}) as session:
        losses = accumulate(session.context.config)
    assert session.exploits and losses[4:] == expected


# --- what the loop changes once: layers unfrozen, with another optimizer or one more group of parameters


def two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def unfreeze(config: Mapping[str, Any], how: str, epochs: int = 8) -> list[float]:
    """Unfreeze the first layer behind two epochs, in the forms that the documentation names."""
    model = two_layers()
    model[0].requires_grad_(False)
    optimizer, frozen, losses = sgd(model[1], config["lr"]), True, []
    scheduler: Any = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.9) if "schedule" in how else None
    state = TrainState(model=model, optimizer=optimizer, scheduler=scheduler)
    loops = (2, epochs - 2) if how == "two loops" else (epochs,)
    for number, length in enumerate(loops):
        for epoch in state.epochs(length):
            if frozen and (number == 1 or epoch >= 2):
                frozen = False
                model[0].requires_grad_(True)
                if how == "group":
                    optimizer.add_param_group({"params": model[0].parameters(), "lr": config["lr"] / 2})
                elif scheduler is not None:
                    optimizer = sgd(model, config["lr"])
                    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.8)
                    assert state.replace(optimizer=optimizer, scheduler=scheduler) == (optimizer, scheduler)
                else:
                    optimizer = state.replace(optimizer=sgd(model, config["lr"]))
            losses.append(step(model, optimizer))
            if scheduler is not None:
                scheduler.step()
            state.report(loss=losses[-1], groups=len(optimizer.param_groups))
    return losses


@pytest.mark.parametrize("trained", [True, False])
def test_what_the_loop_freezes_or_unfreezes_stays_so(trained: bool) -> None:
    """At one epoch, by `requires_grad` alone: a trial that goes on behind that does not do it again."""

    def script() -> list[float]:
        torch.manual_seed(5)
        model = two_layers()
        model[0].requires_grad_(not trained)
        optimizer = sgd(model)
        state = TrainState(model=model, optimizer=optimizer)
        losses = []
        for epoch in state.epochs(6):
            if epoch == 2:
                model[0].requires_grad_(trained)
                for parameter in model[0].parameters():
                    parameter.grad = None
            losses.append(step(model, optimizer))
            state.report(loss=losses[-1])
        return losses

    alone = script()
    with recording(save_at={4}) as session:
        assert script() == alone
    with recording(start_checkpoint=session.checkpoints[4], start_iteration=4):
        assert script() == alone[4:]


@pytest.mark.parametrize("how", ["group", "replace", "replace with schedule", "two loops"])
@pytest.mark.parametrize("at", [1, 2, 3, 5])
def test_layers_that_the_loop_unfreezes_are_trained_on(how: str, at: int) -> None:
    torch.manual_seed(5)
    alone = unfreeze({"lr": 0.1}, how)
    torch.manual_seed(5)
    with recording(save_at={at}) as session:
        assert unfreeze({"lr": 0.1}, how) == alone
    with recording(start_checkpoint=session.checkpoints[at], start_iteration=at):
        assert unfreeze({"lr": 0.1}, how) == alone[at:]


@pytest.mark.parametrize("how", ["replace", "replace with schedule"])
def test_an_exploit_reaches_the_optimizer_that_is_in_use(how: str) -> None:
    with recording(0.1, save_at={5}) as session:
        unfreeze({"lr": 0.1}, how)
    donor = session.checkpoints[5]
    with recording(0.02, start_checkpoint=donor, start_iteration=5):
        expected = unfreeze({"lr": 0.02}, how)
    with recording(0.1, exploit_at={5: Exploit(donor, 5, {"lr": 0.02})}) as session:
        losses = unfreeze(session.context.config, how)
    assert session.exploits and "'lr' applied" in session.exploits[0]
    assert losses[5:] == pytest.approx(expected, rel=1e-6) and losses[6:] != unfreeze({"lr": 0.1}, how)[6:]


def test_an_exploit_between_frozen_and_unfrozen_enters_anew() -> None:
    with recording(save_at={2, 5}) as session:
        unfreeze({"lr": 0.1}, "replace")
    for target, donor in ((5, 2), (2, 5)):
        given = session.checkpoints[donor]
        exploited = recording(exploit_at={target: Exploit(given, donor, {"lr": 0.1})})
        with exploited, pytest.raises(TrialRestarted, match="replaced 'optimizer'"):
            unfreeze({"lr": 0.1}, "replace")


def test_a_rate_of_a_group_that_was_added_enters_anew() -> None:
    """What it was built with is lr / 2: 'lr' alone would not reach it."""
    with recording(0.1, save_at={5}) as session:
        unfreeze({"lr": 0.1}, "group")
    exploited = recording(0.1, exploit_at={5: Exploit(session.checkpoints[5], 5, {"lr": 0.02})})
    with exploited, pytest.raises(TrialRestarted, match="'lr' cannot be changed"):
        unfreeze(exploited.context.config, "group")


@pytest.mark.parametrize("how", ["group", "replace"])
def test_what_a_trial_that_goes_on_has_not_done_again_is_named(how: str) -> None:
    def script(epochs: int = 5) -> None:
        model = two_layers()
        optimizer = sgd(model[1])
        state = TrainState(model=model, optimizer=optimizer)
        for epoch in state.epochs(epochs):
            if epoch == 1:
                if how == "group":
                    optimizer.add_param_group({"params": model[0].parameters()})
                else:
                    optimizer = state.replace(optimizer=sgd(model))
            state.report(loss=step(model, optimizer))

    with recording(save_at={3}) as first:
        script(3)
    with recording(start_checkpoint=first.checkpoints[3], start_iteration=3), pytest.raises(TuneError) as caught:
        script()
    said = "2 groups of parameters" if how == "group" else "the loop makes anew"
    assert said in str(caught.value) and "if epoch >= 5 and" in str(caught.value)


def test_an_optimizer_that_was_not_given_is_named() -> None:
    def script() -> None:
        model = two_layers()
        optimizer = sgd(model[1])
        state = TrainState(model=model, optimizer=optimizer)
        for epoch in state.epochs(5):
            if epoch == 2:
                optimizer = sgd(model)
            state.report(loss=step(model, optimizer))

    script()  # nothing to say outside a trial
    with recording() as session, pytest.raises(TuneError, match=r"optimizer = state\.replace\(optimizer=optimizer\)"):
        script()
    assert session.iterations == [1, 2], "at its first step"
    script()
    with recording():  # nor where nothing is saved
        model = two_layers()
        other = sgd(model)
        for _ in (state := TrainState(model=model, optimizer=sgd(model[1]), save_checkpoints=False)).epochs(2):
            state.report(loss=step(model, other))


def test_optimizers_of_other_models_and_those_inside_another_are_none_of_it() -> None:
    class Outer(torch.optim.SGD):
        inner: torch.optim.SGD

        def step(self, closure: Any = None) -> Any:
            self.inner.step()
            return super().step(closure)

    model, teacher = network(), network()
    outer = Outer(model.parameters(), lr=0.1)
    outer.inner = sgd(model)
    with recording() as session:
        state, other = TrainState(model=model, optimizer=outer), sgd(teacher)
        for _ in state.epochs(2):
            step(teacher, other)
            state.report(loss=step(model, outer))
    assert session.iterations == [1, 2]


def test_a_schedule_that_was_not_given_is_named() -> None:
    """It would begin anew whenever the trial goes on."""

    def script(**options: Any) -> None:
        model = network()
        optimizer = sgd(model)
        state = TrainState(model=model, optimizer=optimizer, **options)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
        for _ in state.epochs(4):
            step(model, optimizer)
            scheduler.step()
            state.report(loss=1.0)

    with recording() as session, pytest.raises(TuneError, match=r"^optimizer: a learning .*scheduler=scheduler"):
        script()
    assert session.iterations == []
    with recording() as session:
        script(save_checkpoints=False)
    assert session.iterations == [1, 2, 3, 4]


def test_the_schedule_of_another_optimizer_is_not_enough() -> None:
    one, two = network(), network()
    optimizers = [sgd(one), sgd(two)]
    first, _ = (torch.optim.lr_scheduler.StepLR(optimizer, 2) for optimizer in optimizers)
    state = TrainState(model=[one, two], optimizer=optimizers, scheduler=first)
    with recording(), pytest.raises(TuneError, match=r"^optimizer.1.*: a learning .*scheduler=scheduler"):
        for _ in state.epochs(4):
            state.report(loss=1.0)


def test_what_is_replaced_wrongly_is_named() -> None:
    model = network()
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    state = TrainState(model=model, optimizer=optimizer, scheduler=scheduler)
    with pytest.raises(ArgumentError) as caught:
        state.replace(optimiser=sgd(model), optimizer=3)
    assert "optimiser: expected a name" in str(caught.value) and "'optimizer', 'scheduler'" in str(caught.value)
    assert "drives the old one" in str(caught.value) and "state_dict()" in str(caught.value)
    new = sgd(model)
    assert state.replace(optimizer=new, scheduler=None) == (new, None)


def test_rate_that_the_script_transforms_enters_anew() -> None:
    with recording(0.05, exploit_at=exploit(4, {"lr": 0.02})) as session, pytest.raises(TrialRestarted):
        train({"lr": 2 * session.context.config["lr"]})
    assert session.restarts == ["'lr' cannot be changed in a running training"]


def test_schedule_that_cannot_be_rescaled_enters_anew() -> None:
    def script(config: Mapping[str, Any]) -> list[float]:
        model = network()
        optimizer = sgd(model, config["lr"])
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, config["lr"], total_steps=8)
        state, rates = TrainState(model=model, optimizer=optimizer, scheduler=scheduler), []
        for _ in state.epochs(6):
            step(model, optimizer)
            scheduler.step()
            rates.append(optimizer.param_groups[0]["lr"])
            state.report(loss=1.0)
        return rates

    with recording(0.1, save_at={3}) as given:
        script({"lr": 0.1})
    exploits = {4: Exploit(given.checkpoints[3], 3, {"lr": 0.5})}
    with recording(0.3, exploit_at=exploits) as session, pytest.raises(TrialRestarted):
        script({"lr": 0.3})
    assert "OneCycleLR" in session.restarts[0]
    with recording(0.5, start_checkpoint=given.checkpoints[3], start_iteration=3):
        resumed = script({"lr": 0.5})
    assert resumed == script({"lr": 0.5})[3:], "the schedule as the script has built it, at the position"


class Droppable(TrainState):
    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        return {*super().apply_config(changed, before), *apply_dropout(self.model, changed, before)}


def apply_dropout(model: nn.Sequential, changed: Mapping[str, Any], before: Mapping[str, Any]) -> set[str]:
    assert tune.get_context().config == before == {"lr": 0.05, "dropout": 0.1}, "still the old config"
    if "dropout" in changed:
        model[1].p = changed["dropout"]
    return {"dropout"} & changed.keys()


@pytest.mark.parametrize("how", ["function", "method"])
def test_other_hyperparameters_by_the_script(how: str) -> None:
    context = TrialContext(config={"lr": 0.05, "dropout": 0.1})
    exploits = exploit(2, {"lr": 0.02, "dropout": 0.5})
    with RecordingSession(context=context, exploit_at=exploits) as session:
        model = network(dropout=0.1)
        optimizer = sgd(model, 0.05)
        if how == "method":
            state: TrainState = Droppable(model=model, optimizer=optimizer)
        else:
            state = TrainState(model=model, optimizer=optimizer, apply_config=partial(apply_dropout, model))
        for _ in state.epochs(4):
            state.report(loss=step(model, optimizer))
    assert len(session.exploits) == 1
    assert model[1].p == 0.5 and optimizer.param_groups[0]["lr"] == 0.02


@pytest.mark.parametrize("returned", [None, "lr", {"width"}])
def test_wrong_return_of_apply_config_is_named(returned: Any) -> None:
    with (
        recording(0.05, exploit_at=exploit(2, {"lr": 0.02})),
        pytest.raises(TuneError, match=r"apply_config: expected"),
    ):
        train({"lr": 0.05}, apply_config=lambda changed, before: returned)


def test_donor_of_another_shape_enters_anew_with_the_reason() -> None:
    with recording() as session:
        model = network(9)
        state = TrainState(model=model, optimizer=sgd(model))
        for _ in state.epochs(2):
            state.report(loss=1.0)
    exploits = {2: Exploit(session.checkpoints[2], 2, {"lr": 0.1})}
    with recording(exploit_at=exploits) as session, pytest.raises(TrialRestarted):
        train({"lr": 0.1})
    assert "the donor's model does not fit into this one" in session.restarts[0]


def test_donor_in_another_loop_enters_anew() -> None:
    def script() -> None:
        state = TrainState(model=network())
        for _ in range(2):
            for _ in state.epochs(2):
                state.report(loss=1.0)

    with recording(save_at={3}) as given:
        script()
    exploits = {1: Exploit(given.checkpoints[3], 3, {"lr": 0.1})}
    with recording(exploit_at=exploits) as session, pytest.raises(TrialRestarted):
        script()
    assert session.restarts == ["the donor is in loop 2 over epochs, this one in 1"]


# --- two ranks


def rank_main(rank: int, directory: str, lr: float, epochs: int, start: str | None) -> None:
    """The user's script in a rank; with `start` in plain PyTorch from that checkpoint."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{directory}/rendezvous", rank=rank, world_size=2)
    torch.manual_seed(rank)
    model = DistributedDataParallel(network(dropout=0.5))
    optimizer = sgd(model, lr)
    rows = slice(10 * rank, 10 * rank + 10)
    losses, notes = [], []

    def note() -> None:
        momenta = [one["momentum_buffer"] for one in optimizer.state.values()]
        notes.append(repr([optimizer.param_groups[0]["lr"], model.module.state_dict(), momenta]))

    try:
        if start is None:
            state = TrainState(model=model, optimizer=optimizer)
            for _ in state.epochs(epochs):
                losses.append(step(model, optimizer, rows=rows))
                note()
                state.report(loss=losses[-1], rank=rank)
        else:
            begun = torch.load(f"{start}/state.pt", weights_only=True)
            model.module.load_state_dict(begun["objects"]["model"])
            optimizer.load_state_dict(begun["objects"]["optimizer"])
            optimizer.param_groups[0]["lr"] = lr
            torch.set_rng_state(begun["random"][rank]["torch"])
            for _ in range(begun["epoch"], epochs):
                losses.append(step(model, optimizer, rows=rows))
                note()
        ended = "after the loop"
    except TrialUnwound as how:
        ended = f"{type(how).__name__}: {how}"
    Path(directory, f"rank{rank}").write_text(json.dumps({"ended": ended, "losses": losses, "notes": notes}))
    distributed.destroy_process_group()
    # Once in a hundred runs a thread of gloo still holds a tensor when Python ends, and PyTorch aborts the process
    # (described in pytorch/pytorch pull request 179291). So Python is left without that.
    os._exit(0)


Ranks = list[dict[str, Any]]


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    def run(lr: float = 0.1, epochs: int = 6, start: Checkpoint | None = None, method: str = "fork") -> Ranks:
        directory = tmp_path_factory.mktemp("ranks")
        arguments = (str(directory), lr, epochs, None if start is None else start.path)
        multiprocessing.start_processes(rank_main, arguments, nprocs=2, start_method=method)
        return [json.loads((directory / f"rank{rank}").read_text()) for rank in range(2)]

    with children_may_report():
        yield run


@pytest.fixture(scope="module")
def stopped(two_ranks: Any) -> tuple[RecordingSession, Ranks]:
    with recording(0.1, save_at={2}, stop_at=2) as session:
        ranks = two_ranks(0.1, method="spawn")  # each imports PyTorch: once is enough
    return session, ranks


def test_ranks_stop_together(stopped: tuple[RecordingSession, Ranks]) -> None:
    session, ranks = stopped
    assert [rank["ended"] for rank in ranks] == ["after the loop"] * 2
    assert session.iterations == [1, 2] and session.values("rank") == [0, 0]
    assert session.values("loss") == ranks[0]["losses"] != ranks[1]["losses"] and len(ranks[1]["losses"]) == 2
    state = saved(session.last_checkpoint)
    assert set(state["objects"]["model"]) == set(network().state_dict()), "saved without the wrapper"
    assert len(state["random"]) == 2


@pytest.mark.slow
def test_ranks_exploit_in_place_and_go_on_after_an_eviction(
    two_ranks: Any, stopped: tuple[RecordingSession, Ranks]
) -> None:
    checkpoint = stopped[0].checkpoints[2]
    exploits = {3: Exploit(checkpoint, 2, {"lr": 0.02})}
    with recording(0.3, exploit_at=exploits, save_at={5}, raise_at={5: TrialEvicted("make room")}) as session:
        evicted = two_ranks(0.3)
    assert session.exploits == ["state of iteration 2 loaded, 'lr' applied"]
    assert session.iterations == [1, 2, 3, 3, 4, 5]
    assert [rank["ended"] for rank in evicted] == ["ChildEvicted: make room"] * 2
    with recording(0.02, start_checkpoint=session.checkpoints[5], start_iteration=5) as session:
        resumed = two_ranks(0.02)
    assert session.iterations == [6]
    plain = two_ranks(0.02, 6, checkpoint)
    for before, after, expected in zip(evicted, resumed, plain, strict=True):
        assert before["losses"][3:] + after["losses"] == expected["losses"]
        assert before["notes"][3:] + after["notes"] == expected["notes"]


@pytest.mark.slow
def test_ranks_restart_together(two_ranks: Any, stopped: tuple[RecordingSession, Ranks]) -> None:
    exploits = {2: Exploit(stopped[0].checkpoints[2], 2, {"lr": 0.1, "width": 8})}
    with recording(0.1, exploit_at=exploits) as session:
        ranks = two_ranks(0.1)
    assert session.restarts == ["'width' cannot be changed in a running training"]
    assert [rank["ended"] for rank in ranks] == [f"ChildRestarted: {session.restarts[0]}"] * 2


@pytest.mark.slow
def test_ranks_alone_do_nothing(two_ranks: Any) -> None:
    ranks = two_ranks(epochs=2)
    assert [len(rank["losses"]) for rank in ranks] == [2, 2]


def test_an_optimizer_of_another_model_is_refused() -> None:
    """Both made anew in the loop, and one of them given: the checkpoints would hold the old model."""
    state = TrainState(
        model=torch.nn.Linear(1, 1), optimizer=torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.1)
    )
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ArgumentError, match=r"write state\.replace\(model=model, optimizer=optimizer\)"):
        state.replace(optimizer=optimizer)
    assert state.replace(model=model, optimizer=optimizer) == (model, optimizer)
