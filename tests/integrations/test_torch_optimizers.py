"""Hyper-parameters of optimizers across checkpoints: the script's own win, rates are rescaled where that is exact."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam, lr_scheduler
from torch.optim.swa_utils import SWALR

from tune_plugins.errors import WarmRestartNeeded
from tune_plugins.integrations._torch_optimizers import apply, hyperparameters, restore_built, why_not_linear

Schedule = Callable[[Any, float], Any]


def sgd(lr: float = 0.1, **settings: Any) -> SGD:
    """Two groups, the second without weight decay."""
    decay = settings.pop("weight_decay", 0.01)
    groups = [
        {"params": [torch.nn.Parameter(torch.ones(2))], "weight_decay": decay},
        {"params": [torch.nn.Parameter(torch.ones(3))], "weight_decay": 0.0},
    ]
    return SGD(groups, lr=lr, **{"momentum": 0.9, **settings})


def train(optimizer: Any, scheduler: Any, steps: int) -> None:
    for step in range(steps):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.full_like(parameter, 0.1)
        optimizer.step()
        if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
            scheduler.step(float(step // 2))  # never better: it reduces
        elif scheduler is not None:
            scheduler.step()


def rates(optimizer: Any) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


class Run:
    """Optimizer and scheduler as a script builds them, and what it has built."""

    def __init__(self, lr: float, schedule: Schedule | None = None, **settings: Any) -> None:
        self.optimizer = sgd(lr, **settings)
        self.scheduler = None if schedule is None else schedule(self.optimizer, lr)
        self.all = [self.optimizer], [self.scheduler] if self.scheduler is not None else []
        self.built = hyperparameters(*self.all)

    def train(self, steps: int) -> Run:
        train(self.optimizer, self.scheduler, steps)
        return self

    def state(self) -> dict[str, Any]:
        file = io.BytesIO()
        scheduler = self.scheduler.state_dict() if self.scheduler is not None else None
        torch.save({"optimizer": self.optimizer.state_dict(), "scheduler": scheduler, "built": self.built}, file)
        file.seek(0)
        loaded: dict[str, Any] = torch.load(file, weights_only=True)
        return loaded

    def load(self, state: dict[str, Any], live: bool) -> Run:
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        restore_built(*self.all, state["built"], self.built, live=live)
        return self

    def apply(self, changed: dict[str, Any], before: dict[str, Any]) -> set[str]:
        return apply(*self.all, changed, before, self.built)


LINEAR: dict[str, Schedule] = {
    "LambdaLR": lambda o, lr: lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch),
    "MultiplicativeLR": lambda o, lr: lr_scheduler.MultiplicativeLR(o, lambda epoch: 0.9),
    "StepLR": lambda o, lr: lr_scheduler.StepLR(o, 2),
    "MultiStepLR": lambda o, lr: lr_scheduler.MultiStepLR(o, [1, 3, 6]),
    "ConstantLR": lambda o, lr: lr_scheduler.ConstantLR(o, 0.5, 2),
    "LinearLR": lambda o, lr: lr_scheduler.LinearLR(o, 0.1, total_iters=4),
    "ExponentialLR": lambda o, lr: lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o, lr: lr_scheduler.PolynomialLR(o, 20, 2.0),
    "CosineAnnealingLR": lambda o, lr: lr_scheduler.CosineAnnealingLR(o, 20),
    "CosineAnnealingWarmRestarts": lambda o, lr: lr_scheduler.CosineAnnealingWarmRestarts(o, 3, 2),
    "SequentialLR": lambda o, lr: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.ExponentialLR(o, 0.9)], [3]
    ),
    "ChainedScheduler": lambda o, lr: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, 0.5, 2), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "ReduceLROnPlateau": lambda o, lr: lr_scheduler.ReduceLROnPlateau(o, patience=1, factor=0.5),
}
BENT: dict[str, Schedule] = {
    "OneCycleLR": lambda o, lr: lr_scheduler.OneCycleLR(o, lr, total_steps=20, cycle_momentum=False),
    "OneCycleLR with momentum": lambda o, lr: lr_scheduler.OneCycleLR(o, lr, total_steps=20),
    "CyclicLR": lambda o, lr: lr_scheduler.CyclicLR(o, 0.01, lr, step_size_up=3, cycle_momentum=False),
    "SWALR": lambda o, lr: SWALR(o, lr / 3, anneal_epochs=8),
    "CosineAnnealingLR": lambda o, lr: lr_scheduler.CosineAnnealingLR(o, 20, eta_min=0.001),
    "CosineAnnealingWarmRestarts": lambda o, lr: lr_scheduler.CosineAnnealingWarmRestarts(o, 3, eta_min=0.001),
    "SequentialLR": lambda o, lr: lr_scheduler.SequentialLR(
        o,
        [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.CosineAnnealingLR(o, 9, eta_min=0.001)],
        [3],
    ),
    "ChainedScheduler": lambda o, lr: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, 0.5, 2), lr_scheduler.CosineAnnealingLR(o, 9, eta_min=0.001)]
    ),
    "own class": lambda o, lr: Own(o),
    "LambdaLR of the rate": lambda o, lr: lr_scheduler.LambdaLR(o, lambda epoch: max(0.9**epoch, 0.01 / lr)),
    "LambdaLR of a config": lambda o, lr: _lambda_of_config(o, {"net": {"lr": lr}}),
    "LambdaLR of a partial": lambda o, lr: lr_scheduler.LambdaLR(o, partial(_down_to, begin=lr)),
}


class Own(lr_scheduler.LRScheduler):
    def get_lr(self) -> list[Any]:
        return [0.01 + (base - 0.01) / (1 + self.last_epoch) for base in self.base_lrs]


def _lambda_of_config(optimizer: Any, config: dict[str, Any]) -> Any:
    return lr_scheduler.LambdaLR(optimizer, lambda epoch: max(0.9**epoch, 0.01 / config["net"]["lr"]))


def _down_to(epoch: int, begin: float) -> float:
    return max(0.9**epoch, 0.01 / begin)


def with_names(schedules: dict[str, Schedule]) -> Any:
    return pytest.mark.parametrize("schedule", schedules.values(), ids=schedules.keys())


# --- what is built


@with_names({**LINEAR, **BENT})
def test_what_is_built_is_safe_plain_data(schedule: Schedule) -> None:
    run = Run(0.1, schedule)
    assert run.state()["built"] == run.built
    (built,) = run.built
    assert [group["weight_decay"] for group in built["groups"]] == [0.01, 0.0]
    assert "params" not in built["groups"][0] and len(built["schedules"]) == 1


def test_tensors_become_numbers() -> None:
    optimizer = Adam([torch.nn.Parameter(torch.ones(2))], lr=torch.tensor(0.5), capturable=False, foreach=False)
    (built,) = hyperparameters([optimizer])
    assert built["groups"][0]["lr"] == 0.5 and type(built["groups"][0]["lr"]) is float
    assert built["groups"][0]["betas"] == (0.9, 0.999)


# --- resumed


@pytest.mark.parametrize("live", [False, True])
@with_names({**LINEAR, **BENT})
def test_plain_resume_touches_nothing(schedule: Schedule, live: bool) -> None:
    donor = Run(0.1, schedule).train(5)
    donor.optimizer.param_groups[1]["lr"] = 0.0123  # by hand
    run = Run(0.1, schedule).load(donor.state(), live)
    assert rates(run.optimizer) == rates(donor.optimizer)
    for _ in range(3):
        donor.train(1), run.train(1)
        assert rates(run.optimizer) == rates(donor.optimizer)


@pytest.mark.parametrize("live", [False, True])
@with_names(LINEAR)
def test_rate_follows_its_schedule_from_the_script_s_own_base(schedule: Schedule, live: bool) -> None:
    whole, run = Run(0.3, schedule).train(5), Run(0.3, schedule)
    run.load(Run(0.1, schedule).train(5).state(), live)
    assert rates(run.optimizer) == pytest.approx(rates(whole.optimizer))
    for _ in range(6):
        whole.train(1), run.train(1)
        assert rates(run.optimizer) == pytest.approx(rates(whole.optimizer))
        assert run.scheduler.get_last_lr() == rates(run.optimizer)


@with_names(BENT)
def test_schedule_that_is_not_linear_is_refused_live(schedule: Schedule) -> None:
    state = Run(0.1, schedule).train(5).state()
    with pytest.raises(WarmRestartNeeded, match=r"\w"):
        Run(0.3, schedule).load(state, live=True)


@with_names(BENT)
def test_schedule_that_is_not_linear_keeps_its_own_shape_at_the_position(schedule: Schedule) -> None:
    whole, run = Run(0.3, schedule).train(5), Run(0.3, schedule)
    run.load(Run(0.1, schedule).train(5).state(), live=False)
    for _ in range(6):
        assert rates(run.optimizer) == rates(whole.optimizer)
        momenta = [[g["momentum"] for g in r.optimizer.param_groups] for r in (run, whole)]
        assert momenta[0] == momenta[1]
        whole.train(1), run.train(1)


@pytest.mark.parametrize("live", [False, True])
def test_without_a_scheduler_the_rate_is_exactly_the_script_s(live: bool) -> None:
    run = Run(0.3).load(Run(0.1).train(3).state(), live)
    assert rates(run.optimizer) == [0.3, 0.3]


@pytest.mark.parametrize("live", [False, True])
def test_other_settings_are_the_script_s_and_buffers_the_donor_s(live: bool) -> None:
    donor = Run(0.1, weight_decay=0.5, momentum=0.8).train(3)
    run = Run(0.1, weight_decay=0.2, momentum=0.95).load(donor.state(), live)
    assert [(g["weight_decay"], g["momentum"]) for g in run.optimizer.param_groups] == [(0.2, 0.95), (0.0, 0.95)]
    buffers = [[s["momentum_buffer"].tolist() for s in r.optimizer.state.values()] for r in (run, donor)]
    assert buffers[0] == buffers[1]


def test_mutated_settings_of_the_schedule_hold() -> None:
    def schedule(gamma: float) -> Schedule:
        return lambda optimizer, lr: lr_scheduler.StepLR(optimizer, 2, gamma=gamma)

    state = Run(0.1, schedule(0.1)).train(5).state()
    run, whole = Run(0.1, schedule(0.5)), Run(0.1, schedule(0.5)).train(5)
    assert run.load(state, live=False).scheduler.gamma == 0.5
    run.train(3), whole.train(3)
    assert rates(run.optimizer) == rates(whole.optimizer)
    with pytest.raises(WarmRestartNeeded, match="StepLR has other settings"):
        Run(0.1, schedule(0.5)).load(state, live=True)


def test_plateau_keeps_its_reductions_and_its_own_settings() -> None:
    def schedule(least: float, patience: int) -> Schedule:
        return lambda o, lr: lr_scheduler.ReduceLROnPlateau(o, patience=patience, factor=0.5, min_lr=least)

    donor = Run(0.1, schedule(0.01, 1)).train(4)
    assert rates(donor.optimizer) == [0.05, 0.05]
    with pytest.raises(WarmRestartNeeded, match="min_lr"):
        Run(0.4, schedule(0.01, 1)).load(donor.state(), live=True)
    run = Run(0.4, schedule(0.3, 5)).load(donor.state(), live=False)
    assert rates(run.optimizer) == [0.3, 0.3]  # half of 0.4, but not below the least
    assert run.scheduler.patience == 5 and run.scheduler.best == donor.scheduler.best


def test_setting_that_shapes_the_state_is_refused_live() -> None:
    def run(**settings: Any) -> tuple[Adam, Any]:
        optimizer = Adam([torch.nn.Parameter(torch.ones(2))], **settings)
        return optimizer, hyperparameters([optimizer])

    (_, stored), (optimizer, built) = run(amsgrad=False), run(amsgrad=True)
    with pytest.raises(WarmRestartNeeded, match="amsgrad"):
        restore_built([optimizer], [], stored, built, live=True)


def test_checkpoint_that_does_not_say_what_was_built() -> None:
    donor = Run(0.1, LINEAR["StepLR"], momentum=0.5).train(5)
    state = {**donor.state(), "built": []}
    run, whole = Run(0.3, LINEAR["StepLR"]), Run(0.3, LINEAR["StepLR"]).train(5)
    run.load(state, live=False)
    assert rates(run.optimizer) == pytest.approx(rates(whole.optimizer))
    assert run.optimizer.param_groups[0]["momentum"] == 0.9


def test_scheduler_that_nobody_was_told_of_is_noticed() -> None:
    def run(lr: float) -> tuple[Any, Any]:
        optimizer = sgd(lr)
        lr_scheduler.StepLR(optimizer, 2)
        return optimizer, hyperparameters([optimizer])

    (_, stored), (optimizer, built) = run(0.1), run(0.3)
    with pytest.raises(WarmRestartNeeded, match="not given"):
        restore_built([optimizer], [], stored, built, live=True)


# --- live


def test_names_and_aliases() -> None:
    run = Run(0.1)
    before = {"optimizer": {"learning_rate": 0.1}, "wd": 0.01, "momentum": 0.9, "width": 3, "nesterov": False}
    changed = {"optimizer/learning_rate": 0.2, "wd": 0.04, "momentum": 0.5, "width": 4, "nesterov": True}
    assert run.apply(changed, before) == {"optimizer/learning_rate", "wd", "momentum", "nesterov"}
    first, second = run.optimizer.param_groups
    assert (first["lr"], first["weight_decay"], first["momentum"], first["nesterov"]) == (0.2, 0.04, 0.5, True)
    assert (second["lr"], second["weight_decay"], second["momentum"]) == (0.2, 0.0, 0.5)
    assert run.built == Run(0.2, weight_decay=0.04, momentum=0.5, nesterov=True).built


def test_betas_as_a_pair_and_one_by_one() -> None:
    optimizer = Adam([torch.nn.Parameter(torch.ones(2))], betas=(0.8, 0.99))
    built = hyperparameters([optimizer])
    assert apply([optimizer], [], {"beta1": 0.7}, {"beta1": 0.8, "beta2": 0.99}, built) == {"beta1"}
    assert optimizer.param_groups[0]["betas"] == (0.7, 0.99)
    assert apply([optimizer], [], {"betas": [0.5, 0.9]}, {"betas": [0.7, 0.99]}, built) == {"betas"}
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.9) == built[0]["groups"][0]["betas"]
    both = {"betas": [0.5, 0.9], "beta1": 0.5}
    assert apply([optimizer], [], {"beta1": 0.6}, both, built) == set()


@pytest.mark.parametrize(
    ("changed", "before"),
    [
        ({"lr": 0.2}, {"lr": 0.05}),  # the script multiplies it by 2
        ({"lr": 0.2}, {}),  # was not in the config
        ({"momentum": True}, {"momentum": 0.9}),
        ({"momentum": "high"}, {"momentum": 0.9}),
        ({"weight_decay": 0.2}, {"weight_decay": 0.0}),  # which groups are 0 on purpose?
        ({"a/lr": 0.2}, {"a": {"lr": 0.1}, "b": {"lr": 0.1}}),  # which of the two is meant?
        ({"lr": 0.2}, {"lr": 0.1, "warm": {"learning_rate": 0.1}}),
        ({"dropout": 0.9}, {"dropout": 0.1}),
        ({"foreach": True}, {"foreach": None}),
    ],
)
def test_what_is_not_surely_meant_is_left_out(changed: dict[str, Any], before: dict[str, Any]) -> None:
    run = Run(0.1)
    untouched = copy.deepcopy(run.optimizer.state_dict())
    assert run.apply(changed, before) == set()
    assert run.optimizer.state_dict() == untouched


def test_rates_that_differ_between_groups_are_left_out() -> None:
    parameters = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    optimizer = SGD([{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.01}], lr=0.1)
    assert apply([optimizer], [], {"lr": 0.2}, {"lr": 0.1}, hyperparameters([optimizer])) == set()


def test_rate_that_the_script_has_changed_by_hand_is_left_out() -> None:
    run = Run(0.1)
    run.optimizer.param_groups[0]["lr"] = 0.05
    assert run.apply({"lr": 0.2}, {"lr": 0.1}) == set()


def test_zero_weight_decay_of_the_only_group() -> None:
    optimizer = SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    built = hyperparameters([optimizer])
    assert apply([optimizer], [], {"weight_decay": 0.2}, {"weight_decay": 0.0}, built) == {"weight_decay"}
    assert optimizer.param_groups[0]["weight_decay"] == 0.2


@with_names(LINEAR)
def test_rate_is_rescaled_on_its_schedule(schedule: Schedule) -> None:
    whole, run = Run(0.3, schedule).train(5), Run(0.1, schedule).train(5)
    assert run.apply({"lr": 0.3}, {"lr": 0.1}) == {"lr"}
    for _ in range(6):
        assert rates(run.optimizer) == pytest.approx(rates(whole.optimizer))
        assert run.scheduler.get_last_lr() == rates(run.optimizer)
        whole.train(1), run.train(1)


@with_names(BENT)
def test_rate_on_another_schedule_is_refused(schedule: Schedule) -> None:
    run = Run(0.1, schedule).train(5)
    base = run.built[0]["groups"][0]["initial_lr"]
    with pytest.raises(WarmRestartNeeded, match=r"cannot be changed in a running training: .*LR|own|Own"):
        run.apply({"lr": 0.3}, {"lr": base})


def test_other_settings_change_live_on_any_schedule() -> None:
    run = Run(0.1, BENT["OneCycleLR"]).train(3)
    assert run.apply({"weight_decay": 0.5, "momentum": 0.3}, {"weight_decay": 0.01, "momentum": 0.9}) == {
        "weight_decay",
        "momentum",
    }
    cycled = Run(0.1, BENT["OneCycleLR with momentum"])
    with pytest.raises(WarmRestartNeeded, match="'momentum' is moved by OneCycleLR"):
        cycled.apply({"momentum": 0.3}, {"momentum": cycled.optimizer.param_groups[0]["momentum"]})


@with_names({"none": lambda o, lr: None, **LINEAR})
def test_exploit_in_place_equals_a_resume_to_the_last_bit(schedule: Schedule) -> None:
    """Donor 0.1, own 0.7, mutated 0.12: the rate goes from the donor's to the mutated one in one rounding."""
    state = Run(0.1, schedule).train(5).state()
    live = Run(0.7, schedule).train(4).load(copy.deepcopy(state), live=True)
    assert live.apply({"lr": 0.12}, {"lr": 0.7}) == {"lr"}
    entered = Run(0.12, schedule).load(state, live=False)
    for _ in range(4):
        assert rates(live.optimizer) == rates(entered.optimizer)
        assert all(map(math.isfinite, rates(live.optimizer)))
        live.train(1), entered.train(1)


def test_what_is_built_follows_so_that_a_later_resume_is_right() -> None:
    run = Run(0.1, LINEAR["StepLR"]).train(3)
    run.apply({"lr": 0.3}, {"lr": 0.1})
    again = Run(0.3, LINEAR["StepLR"]).load(run.train(2).state(), live=False)
    assert rates(again.optimizer) == rates(run.optimizer)


def test_rate_in_a_tensor_stays_in_its_tensor() -> None:
    rate = torch.tensor(0.5, dtype=torch.float64)
    optimizer = Adam([torch.nn.Parameter(torch.ones(2))], lr=rate, foreach=False)
    built = hyperparameters([optimizer])
    assert apply([optimizer], [], {"lr": 0.25}, {"lr": 0.5}, built) == {"lr"}
    assert optimizer.param_groups[0]["lr"] is rate and rate.item() == 0.25


def test_reasons() -> None:
    assert why_not_linear(LINEAR["SequentialLR"](sgd(), 0.1), [0.1]) is None
    reason = why_not_linear(BENT["SequentialLR"](sgd(), 0.1), [0.1])
    assert reason == "CosineAnnealingLR goes down to a fixed eta_min=0.001"


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [(torch.optim.RMSprop, "alpha", 0.99), (torch.optim.AdamW, "l2", 0.01), (torch.optim.Adadelta, "rho", 0.9)],
)
def test_what_only_looks_like_the_setting_of_an_optimizer_is_left_out(make: Any, name: str, value: float) -> None:
    """The script uses the name for something of its own, and the optimizer has the same number by default."""
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = make([parameter], lr=0.1)
    built = hyperparameters([optimizer])
    assert apply([optimizer], [], {name: value / 2}, {name: value}, built) == set()
    chosen = make([parameter], lr=0.1, **{"weight_decay" if name == "l2" else name: value / 3})
    built = hyperparameters([chosen])
    assert apply([chosen], [], {name: value / 2}, {name: value / 3}, built) == {name}
