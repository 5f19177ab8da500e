"""Hyper-parameters of Keras optimizers: what is in use, and what can be changed in a training that runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any

import keras
import numpy as np

from tune_plugins.arguments import is_number
from tune_plugins.errors import WarmRestartNeeded

LEARNING_RATE = ("learning_rate", "lr")
"""Last parts of the names of hyper-parameters that are taken for the learning rate."""

ATTRIBUTES = (
    "beta_1",
    "beta_2",
    "clipnorm",
    "clipvalue",
    "ema_momentum",
    "epsilon",
    "global_clipnorm",
    "momentum",
    "rho",
    "weight_decay",
)
"""Plain Python attributes of Keras' optimizers that each step reads anew. A compiled step has them built in."""


def optimizers_of(model: Any) -> list[Any]:
    """All optimizers of a model, without wrappers: that of `compile` first, then those of `with_wrappers`."""
    return [
        optimizer
        for optimizer in with_wrappers(model)
        if not hasattr(optimizer, "inner_optimizer") and not hasattr(optimizer, "optimizers")
    ]


def with_wrappers(model: Any) -> list[Any]:
    """Every optimizer that Keras saves with a model: what it, or a layer of it, holds, also in lists and dicts."""
    found: dict[int, Any] = {}
    seen: set[int] = set()

    def visit(value: Any) -> None:
        if isinstance(value, keras.optimizers.Optimizer):
            if id(value) not in found:
                found[id(value)] = value
                visit(getattr(value, "inner_optimizer", None))  # of LossScaleOptimizer
                visit(getattr(value, "optimizers", None))  # of MultiOptimizer
        elif isinstance(value, (keras.Layer, dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            parts = vars(value) if isinstance(value, keras.Layer) else value
            for part in list(parts.values()) if isinstance(parts, dict) else parts:
                visit(part)

    visit(getattr(model, "optimizer", None))
    visit(model)
    return list(found.values())


def numbers_of_variables(model: Any) -> list[int]:
    """How many variables each optimizer has; few before its first step."""
    return [len(optimizer.variables) for optimizer in optimizers_of(model)]


def learning_rates(model: Any) -> list[float | None]:
    """Current learning rate of each optimizer; None where a schedule or a function computes it."""
    return [learning_rate(optimizer) for optimizer in optimizers_of(model)]


def learning_rate(optimizer: Any) -> float | None:
    """Current learning rate of an optimizer; None where a schedule or a function computes it."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate)) if _schedule(optimizer) is None else None


def set_learning_rates(model: Any, values: Sequence[float | None]) -> None:
    """Set the learning rate of each optimizer; None leaves one as it is."""
    for optimizer, value in zip(optimizers_of(model), values, strict=True):
        if value is not None and _schedule(optimizer) is None:
            with ours():
                optimizer.learning_rate = value


_ours: ContextVar[bool] = ContextVar("assigned by the adapter", default=False)


@contextmanager
def ours() -> Iterator[None]:
    """What is assigned in this block is no decision of the script's, for `LearningRateWatch`."""
    token = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(token)


class LearningRateWatch:
    """Notices who else assigns learning rates, also if the value stays the same.

    Such code may do so again, from a value that it keeps: a change from outside would hold until then only.

    Args:
        model: its optimizers are watched from now on.
    """

    KERAS = ("jax_state_sync", "_reduce_optimizer_lr")
    """Functions of Keras that put back what there was, or set it in proportion to that (ReduceLROnPlateau)."""
    ON_THE_WAY = ("__setattr__", "learning_rate", "assign", "assign_add", "assign_sub")

    def __init__(self, model: Any) -> None:
        self._assigned = False
        rates = [optimizer._learning_rate for optimizer in optimizers_of(model) if _schedule(optimizer) is None]
        self._variables = [rate for rate in rates if isinstance(rate, keras.Variable)]
        for variable in self._variables:
            variable.assign = _Assign(self, variable)

    def note(self) -> None:
        """A learning rate is being assigned."""
        self._assigned = self._assigned or self._by_others()

    def _by_others(self) -> bool:
        frame = sys._getframe(3)  # who calls `assign`
        while _of_keras(frame) and frame.f_code.co_name in self.ON_THE_WAY and frame.f_back is not None:
            frame = frame.f_back
        return not _ours.get() and not (_of_keras(frame) and frame.f_code.co_name in self.KERAS)

    def assigned(self, model: Any) -> bool:
        """Somebody has assigned a learning rate since, or has given the model another optimizer."""
        watched = {id(variable) for variable in self._variables}
        others = [optimizer for optimizer in optimizers_of(model) if id(optimizer._learning_rate) not in watched]
        return self._assigned or any(_schedule(optimizer) is None for optimizer in others)

    def end(self) -> None:
        """Watch no longer."""
        for variable in self._variables:
            vars(variable).pop("assign", None)


class _Assign:
    """Stands for the method `assign` of a variable; a copy of the variable has one of its own."""

    def __init__(self, watch: LearningRateWatch, variable: Any) -> None:
        self.watch, self.variable = watch, variable

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.watch.note()
        return type(self.variable).assign(self.variable, *args, **options)


def _of_keras(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "keras"


def rescaled(
    base: Sequence[float | None], saved_base: Sequence[float | None], saved: Sequence[float | None]
) -> list[float | None]:
    """Learning rates to go on with: those saved, in proportion to what the running script has set.

    Args:
        base: as the running script built its optimizers.
        saved_base: as the script that saved the state built them.
        saved: in use when the state was saved.
    """
    if len(saved) != len(base):
        return list(base)
    rates: list[float | None] = []
    for own, before, then in zip(base, saved_base, saved, strict=True):
        if own is None or before is None or then is None or then == before:
            rates.append(own)
        elif own == before or before == 0:
            rates.append(then)
        else:
            rates.append(then * (own / before))
    return rates


def learning_rate_names(config: Mapping[str, Any]) -> list[str]:
    """Those names of a flat config that stand for the learning rate."""
    return [name for name in config if _last(name) in LEARNING_RATE]


def check_learning_rate(
    model: Any, name: str, config: Mapping[str, Any], base: Sequence[float | None], new: Any
) -> None:
    """Make sure that `name` is the learning rate of the only optimizer.

    Args:
        model: the running one.
        name: of the hyper-parameter that has changed.
        config: the flat config before the change.
        base: learning rate of each optimizer as the script built it.
        new: the value to set.

    Raises:
        WarmRestartNeeded: it is not, or nobody can tell.
    """
    optimizer = _only_optimizer(model, name)
    if (schedule := _schedule(optimizer)) is not None:
        raise WarmRestartNeeded(
            f"{name!r} cannot be changed in a running training: the learning rate follows the schedule {schedule}, "
            "which was made with the old value"
        )
    _unambiguous(learning_rate_names(config), "learning rate")
    old = config.get(name)
    if not is_number(old) or not is_number(new) or np.float32(old) != np.float32(base[0]):
        raise WarmRestartNeeded(
            f"{name!r} cannot be changed in a running training: the optimizer was made with the learning rate "
            f"{base[0]!r}, the config says {old!r}, so the script computes one from the other"
        )


def set_attribute(model: Any, name: str, config: Mapping[str, Any], new: Any) -> bool:
    """Change e.g. `momentum` of the only optimizer, where the next training step will use it.

    Args:
        model: the running one.
        name: of the hyper-parameter that has changed.
        config: the flat config before the change.
        new: the value to set.

    Returns:
        False if `name` is nothing that an optimizer has.

    Raises:
        WarmRestartNeeded: it is, but the running training would not be what a new one is.
    """
    attribute = _last(name)
    if attribute not in ATTRIBUTES:
        return False
    optimizer = _only_optimizer(model, name)
    if not hasattr(optimizer, attribute):
        return False
    if not steps_are_interpreted(model):
        raise WarmRestartNeeded(
            f"{name!r} cannot be changed in a running training: the training step is compiled for the "
            f"{keras.backend.backend()} back end and has the old value built in"
        )
    _unambiguous([other for other in config if _last(other) == attribute], attribute)
    old, used = config.get(name), getattr(optimizer, attribute)
    if not is_number(old) or not is_number(new) or not is_number(used) or used != old:
        raise WarmRestartNeeded(
            f"{name!r} cannot be changed in a running training: the optimizer uses {used!r}, the config says {old!r}"
        )
    if attribute == "momentum" and not (old and new):
        raise WarmRestartNeeded(f"{name!r} cannot be switched on or off in a running training")
    setattr(optimizer, attribute, new)
    return True


def steps_are_interpreted(model: Any) -> bool:
    """Each training step runs as plain Python, so that a changed attribute takes effect in the next one."""
    if getattr(model, "run_eagerly", False):
        return True
    return keras.backend.backend() == "torch" and not getattr(model, "jit_compile", False)


def _only_optimizer(model: Any, name: str) -> Any:
    found = optimizers_of(model)
    if len(found) != 1:
        raise WarmRestartNeeded(
            f"{name!r} cannot be changed in a running training: the model has {len(found)} optimizers"
        )
    (optimizer,) = found
    if not optimizer.built or not int(keras.ops.convert_to_numpy(optimizer.iterations)):
        raise WarmRestartNeeded(
            f"{name!r} cannot be changed in a running training: the model's optimizer has not made a step, so that "
            "it is not known whether it is what trains the model"
        )
    return optimizer


def _unambiguous(names: Sequence[str], what: str) -> None:
    if len(names) > 1:
        raise WarmRestartNeeded(f"{', '.join(map(repr, names))}: it is not known which of them is the {what} in use")


def _schedule(optimizer: Any) -> str | None:
    """What computes the learning rate, in words; None where it is a variable."""
    rate = getattr(optimizer, "_learning_rate", None)
    if rate is None or isinstance(rate, keras.Variable):
        return None
    return getattr(rate, "__name__", type(rate).__name__)


def _last(name: str) -> str:
    return name.rpartition("/")[2]
