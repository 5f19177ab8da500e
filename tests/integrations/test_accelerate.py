"""Loops written by hand around `accelerate`: the two lines of `TrainState` do for them what they do for any loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch.utils.data import DataLoader, TensorDataset

from tune_plugins.errors import TrialEvicted, TrialRestarted
from tune_plugins.integrations.torch import TrainState
from tune_plugins.session import TrialContext
from tune_plugins.testing import Exploit, RecordingSession

CONFIG = {"lr": 0.02, "weight_decay": 0.01}
NEW = {"lr": 0.01, "weight_decay": 0.1}
EPOCHS = 4

_random = np.random.default_rng(0)
X = torch.tensor(_random.normal(size=(40, 5)), dtype=torch.float32)
Y = (X.sum(1) > 0).long()


@pytest.fixture(autouse=True)
def _fresh() -> Any:
    """Accelerate keeps its state for the whole process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def train(config: Mapping[str, Any], tuned: bool = True, epochs: int = EPOCHS, late: bool = False) -> dict[str, Any]:
    """A user's script; `tuned`: with the two lines. Everything that is random is in it: shuffling and dropout.

    `late`: the state is made of what `prepare` returns.
    """
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"], weight_decay=config["weight_decay"])
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5 * EPOCHS)
    loop: Any = range(epochs)
    if tuned and not late:
        state = TrainState(model=model, optimizer=optimizer, scheduler=scheduler)
        loop = state.epochs(epochs)
    loader = DataLoader(TensorDataset(X, Y), batch_size=8, shuffle=True)
    prepared, stepper, loader, schedule = accelerator.prepare(model, optimizer, loader, scheduler)
    if tuned and late:
        state = TrainState(model=prepared, optimizer=stepper, scheduler=schedule)
        loop = state.epochs(epochs)
    for _ in loop:
        total = 0.0
        for inputs, labels in loader:
            with accelerator.accumulate(prepared):
                loss = torch.nn.functional.cross_entropy(prepared(inputs), labels)
                accelerator.backward(loss)
                stepper.step()
                schedule.step()
                stepper.zero_grad()
            total += loss.item()
        if tuned:
            state.report(loss=total, rate=schedule.get_last_lr()[0])
    return {
        "weights": {name: value.numpy().copy() for name, value in model.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "schedule": scheduler.state_dict(),
    }


def recording(config: Mapping[str, Any] = CONFIG, **options: Any) -> RecordingSession:
    return RecordingSession(context=TrialContext(config=dict(config)), **options)


def assert_same(one: Any, other: Any) -> None:
    torch.testing.assert_close(one["weights"], other["weights"], rtol=0, atol=0)
    for key, values in one["optimizer"]["state"].items():
        torch.testing.assert_close(values, other["optimizer"]["state"][key], rtol=0, atol=0)
    assert one["optimizer"]["param_groups"] == other["optimizer"]["param_groups"]
    assert one["schedule"] == other["schedule"]


def test_alone_it_trains_what_the_loop_without_it_does() -> None:
    assert_same(train(CONFIG, tuned=False), train(CONFIG))


def test_reports_and_stops() -> None:
    with recording(stop_at=2) as session:
        train(CONFIG)
    assert session.iterations == [1, 2] and list(session.checkpoints) == [2]


def test_goes_on_by_itself_as_if_never_interrupted() -> None:
    with recording(save_at={2}, raise_at={2: TrialEvicted()}) as first, pytest.raises(TrialEvicted):
        train(CONFIG)
    with recording(start_checkpoint=first.checkpoints[2], start_iteration=2) as second:
        resumed = train(CONFIG)
    assert second.iterations == [3, 4]
    assert_same(train(CONFIG, tuned=False), resumed)


@pytest.mark.parametrize("late", [False, True], ids=["objects given to prepare", "objects it returns"])
@pytest.mark.parametrize("at", [1, 3])  # the donor's epoch is 2
def test_exploit_in_place_is_the_continuation(at: int, late: bool) -> None:
    with recording(save_at={2}) as donor:
        train(CONFIG)
    given = donor.checkpoints[2]
    with recording(NEW, start_checkpoint=given, start_iteration=2):
        continuation = train(NEW)
    with recording(exploit_at={at: Exploit(given, 2, NEW)}) as session:
        exploited = train(CONFIG, late=late)
    assert session.exploits == ["state of iteration 2 loaded, 'lr', 'weight_decay' applied"]
    assert session.iterations == [*range(1, at + 1), 3, 4]
    assert_same(continuation, exploited)
    assert exploited["optimizer"]["param_groups"][0]["initial_lr"] == 0.01


def test_what_no_optimizer_has_is_entered_anew() -> None:
    with recording({**CONFIG, "width": 8}, save_at={1}) as donor:
        train(CONFIG)
    exploit = Exploit(donor.checkpoints[1], 1, {**CONFIG, "width": 4})
    with recording({**CONFIG, "width": 8}, exploit_at={2: exploit}) as session, pytest.raises(TrialRestarted):
        train(CONFIG)
    assert "'width'" in session.restarts[0]
