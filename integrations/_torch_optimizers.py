"""Hyper-parameters of PyTorch optimizers across checkpoints and exploits: what the script has built wins.

A loaded optimizer or scheduler state brings the hyper-parameters of the run that saved it along. Shared by the adapters
for torch, Lightning and transformers, in this order::

    built = hyperparameters(optimizers, schedulers)            # when the script has built them; kept in checkpoints
    ...load_state_dict(...) of optimizers and schedulers...    # the state of another run or an earlier one
    restore_built(optimizers, schedulers, stored, built)       # the script's own values again
    applied = apply(optimizers, schedulers, changed, before, built)  # mutated ones, in a running training

The base learning rate of a parameter group is its ``initial_lr`` where a scheduler has set one, else ``lr``. With a
schedule that is linear in the base (steps, exponential, cosine down to 0, warm-up, ...) the current rate is
``current * (new / old)``, or exactly `new` where it was the base. Any other schedule (one-cycle, cyclic, cosine down to
a positive `eta_min`, ...) cannot be rescaled: in a running training that is refused, and at the start of one the
schedule which the script has built is stepped to the position of the loaded one.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy, deepcopy
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.optim import Optimizer, lr_scheduler

from tune_plugins.errors import WarmRestartNeeded
from tune_plugins.space.nested import flatten

Built = list[dict[str, list[dict[str, Any]]]]
"""For each optimizer ``{"groups": [one dict a group], "schedules": [one dict a scheduler]}``; plain data."""

_ALIASES = {
    "learning_rate": "lr",
    "wd": "weight_decay",
    "l2": "weight_decay",
    "beta1": "betas",
    "adam_beta1": "betas",
    "beta2": "betas",
    "adam_beta2": "betas",
    "epsilon": "eps",
    "adam_epsilon": "eps",
}
_PART = {"beta1": 0, "adam_beta1": 0, "beta2": 1, "adam_beta2": 1}  # of `betas`

# Names that mean other things as well: with the value that an optimizer has by default anyway, nothing is proved.
_AMBIGUOUS = frozenset(["alpha", "rho", "lambd", "etas", "l2", "eps", "epsilon"])

# What may change between two steps of an optimizer. Others (amsgrad, centered, ...) decide what its state holds.
_CHANGEABLE = frozenset(
    (
        *("lr", "weight_decay", "momentum", "betas", "eps", "dampening", "nesterov"),
        *("alpha", "rho", "lr_decay", "lambd", "momentum_decay", "etas"),
    )
)
_OF_SCHEDULES = frozenset(["max_lr", "min_lr", "swa_lr", "base_momentum", "max_momentum"])  # kept in parameter groups
_NOT_COMPARED = frozenset(["lr", "initial_lr"])  # compared by their base
_BASES = frozenset(["base_lrs", "_last_lr"])  # of a scheduler: follow from the groups

_LINEAR: tuple[type, ...] = (
    lr_scheduler.LambdaLR,
    lr_scheduler.MultiplicativeLR,
    lr_scheduler.StepLR,
    lr_scheduler.MultiStepLR,
    lr_scheduler.ConstantLR,
    lr_scheduler.LinearLR,
    lr_scheduler.ExponentialLR,
    lr_scheduler.PolynomialLR,
)
_COSINE: tuple[type, ...] = (lr_scheduler.CosineAnnealingLR, lr_scheduler.CosineAnnealingWarmRestarts)
_CONTAINERS: tuple[type, ...] = (lr_scheduler.SequentialLR, lr_scheduler.ChainedScheduler)

# (base, current, what `restore_built` made of it) of each group: `apply` rescales what was loaded once, not twice.
_loaded: WeakKeyDictionary[Optimizer, list[tuple[float, float, float]]] = WeakKeyDictionary()


def hyperparameters(optimizers: Iterable[Optimizer], schedulers: Iterable[Any] = ()) -> Built:
    """What the script has built: to be called before the first step and before any state is loaded.

    Args:
        optimizers: all of the training.
        schedulers: all of the training, each with an attribute `optimizer`.

    Returns:
        Plain data (numbers, text, None, lists, dicts), safe to load with ``weights_only=True``.
    """
    schedulers = list(schedulers)
    return [
        {
            "groups": [
                {k: v for k, value in group.items() if k not in ("params", "param_names") for v in _plain(value)}
                for group in optimizer.param_groups
            ],
            "schedules": [next(_plain(s.state_dict())) for s in _schedulers_of(optimizer, schedulers)],
        }
        for optimizer in optimizers
    ]


def restore_built(
    optimizers: Iterable[Optimizer], schedulers: Iterable[Any], stored: Built, built: Built, *, live: bool
) -> None:
    """Put the script's own hyper-parameters back after states have been loaded.

    Where both runs have built the same, nothing is touched: a rate that the script has changed by hand stays.

    Args:
        optimizers: with their states loaded.
        schedulers: with their states loaded.
        stored: what the run that saved the states had built.
        built: what this one has built.
        live: the training is running (exploit in place): only what is surely right is done. At the start of a
            training (False) a schedule that cannot be rescaled, or has other settings, is stepped to its position.

    Raises:
        WarmRestartNeeded: `live`, and the result might differ from that of a training entered anew; says why.
    """
    schedulers = list(schedulers)
    for index, (optimizer, own) in enumerate(zip(optimizers, built, strict=True)):
        other = stored[index] if index < len(stored) else {"groups": [], "schedules": []}
        _restore(optimizer, _schedulers_of(optimizer, schedulers), other, own, live)


def apply(
    optimizers: Iterable[Optimizer],
    schedulers: Iterable[Any],
    changed: Mapping[str, Any],
    before: Mapping[str, Any],
    built: Built,
) -> set[str]:
    """Change hyper-parameters of optimizers in a running training.

    A name is matched by the last part of its path, with the usual aliases (``learning_rate``, ``wd``, ``beta1``, ...).
    It is applied only where every group was built with the old config's value (or with 0, which stays: groups without
    weight decay), no other name of the config means the same, and no code of the script has changed the value since.

    Args:
        optimizers: those of the training.
        schedulers: those of the training.
        changed: new values by flat name.
        before: the config up to now.
        built: what `hyperparameters` returned; follows what is applied.

    Returns:
        The names that are applied; for any other one the training is to be entered anew.

    Raises:
        WarmRestartNeeded: the learning rate's schedule cannot be rescaled; says why.
    """
    optimizers, schedulers, old = list(optimizers), list(schedulers), flatten(before)
    meanings = Counter(_meaning(name) for name in old)
    applied = set()
    for name, value in changed.items():
        key, part = _meaning(name)
        others = sum(count for (k, p), count in meanings.items() if k == key and (None in (p, part) or p == part)) - 1
        if key not in _CHANGEABLE or name not in old or others:
            continue
        found = _groups_built_with(optimizers, schedulers, built, key, part, _number(old[name]))
        new = _number(value)
        if name.rpartition("/")[2] in _AMBIGUOUS and any(_is_default(o, key, own[key]) for o, _, _, own in found):
            continue
        if not found or new is None or not _same_kind(new, _number(old[name])):
            continue
        for optimizer, index, group, own in found:
            own_schedulers = _schedulers_of(optimizer, schedulers)
            if key == "lr":
                _refuse_unless_linear(optimizer, own_schedulers, [_base(own)])
                _set_rate(optimizer, index, new, own, own_schedulers)
            else:
                _refuse_scheduled(key, own_schedulers)
                _put(group, key, _with_part(group[key], part, new))
                own[key] = _with_part(own[key], part, new)
        applied.add(name)
    return applied


def why_not_linear(scheduler: Any, bases: Iterable[float] = ()) -> str | None:
    """Why the rates of a schedule are not proportional to the base learning rate, or None if they are.

    Args:
        scheduler: any.
        bases: base learning rates in use; a function of `LambdaLR` that holds one of them depends on it.
    """
    kind, name = type(scheduler), type(scheduler).__name__
    if kind in _CONTAINERS:
        return next((reason for s in scheduler._schedulers if (reason := why_not_linear(s, bases))), None)
    if kind in _COSINE:
        return f"{name} goes down to a fixed eta_min={scheduler.eta_min}" if scheduler.eta_min else None
    if kind is lr_scheduler.ReduceLROnPlateau:
        return f"{name} has a fixed min_lr={scheduler.min_lrs}" if any(scheduler.min_lrs) else None
    if kind not in _LINEAR:
        return f"the rates of {name} are not known to be proportional to the base learning rate"
    numbers = {float(base) for base in bases}
    if any(_holds(function, numbers) for function in getattr(scheduler, "lr_lambdas", ())):
        return f"a function of {name} makes use of the learning rate itself"
    return None


def _restore(
    optimizer: Optimizer, schedulers: list[Any], stored: Mapping[str, Any], own: dict[str, Any], live: bool
) -> None:
    groups, theirs = optimizer.param_groups, stored["groups"]
    pairs = list(zip(groups, own["groups"], [*theirs, *[{}] * (len(groups) - len(theirs))], strict=False))
    moved = any(_base(mine) != _base(other) for _, mine, other in pairs)
    other_keys = {k for _, mine, other in pairs for k in mine if k not in _NOT_COMPARED and not _equal(mine, other, k)}
    reshaped = [
        scheduler
        for scheduler, mine, other in zip(schedulers, own["schedules"], _padded(stored["schedules"]), strict=False)
        if _settings(mine) != _settings(other)
    ]
    if not moved and not other_keys and not reshaped:
        _note_loaded(optimizer, own)
        return
    bases = [_base(mine) for mine in own["groups"]]
    if live:
        if moved:
            _refuse_unless_linear(optimizer, schedulers, bases)
        if reshaped:
            raise WarmRestartNeeded(f"the donor's {type(reshaped[0]).__name__} has other settings than this one")
        if fixed := sorted(other_keys - _CHANGEABLE):
            raise WarmRestartNeeded(f"the donor's optimizer was built with another {fixed[0]!r}")
        for key in other_keys:
            _refuse_scheduled(key, schedulers)
    scheduled = moved and any(why_not_linear(s, bases) for s in schedulers)
    if (scheduled or reshaped or other_keys & _OF_SCHEDULES) and all(map(_can_be_stepped, schedulers)):
        _step_to_position(optimizer, schedulers, own)
        return
    loaded = []
    for group, mine, other in pairs:
        base, current = _base(other or group), float(group.get("lr", 0.0))
        rate = _rescaled(current, base, _base(mine))
        for key in other_keys & mine.keys():
            _put(group, key, mine[key])
        if moved:
            _put(group, "lr", rate)
            if "initial_lr" in group:
                _put(group, "initial_lr", _base(mine))
        loaded.append((base, current, rate))
    _loaded[optimizer] = loaded
    for scheduler, mine, other in zip(schedulers, own["schedules"], _padded(stored["schedules"]), strict=False):
        changes = {k: v for k, v in mine.items() if k not in _NOT_SETTINGS and other.get(k) != v}
        vars(scheduler).update(deepcopy(changes))
        if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) and moved:
            for group, least in zip(groups, scheduler.min_lrs, strict=False):
                _put(group, "lr", max(float(group["lr"]), least))
    if moved:
        _tell_schedulers(optimizer, schedulers)


# Of a scheduler's state: where it is, what follows from the groups, and what stands for objects.
_NOT_SETTINGS = _BASES | frozenset(
    (
        *("last_epoch", "_step_count", "T_cur", "T_i", "best", "num_bad_epochs", "cooldown_counter"),
        *("_schedulers", "lr_lambdas", "_scale_fn_custom"),
    )
)


def _step_to_position(optimizer: Optimizer, schedulers: list[Any], own: Mapping[str, Any]) -> None:
    """Take the schedules as built, with the values that they began with, to where the loaded ones are."""
    positions = [_position(scheduler) for scheduler in schedulers]
    for group, mine in zip(optimizer.param_groups, own["groups"], strict=False):
        for key, value in mine.items():
            _put(group, key, value)
    for scheduler, state in zip(schedulers, own["schedules"], strict=True):
        scheduler.load_state_dict(deepcopy(state))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no optimizer step lies between
        for scheduler, position in zip(schedulers, positions, strict=True):
            for _ in range(position - _position(scheduler)):
                scheduler.step()
    _note_loaded(optimizer, own)


def _note_loaded(optimizer: Optimizer, own: Mapping[str, Any]) -> None:
    pairs = zip(optimizer.param_groups, own["groups"], strict=False)
    rates = [(_base(mine), float(group.get("lr", 0.0))) for group, mine in pairs]
    _loaded[optimizer] = [(base, rate, rate) for base, rate in rates]


def _position(scheduler: Any) -> int:
    if isinstance(scheduler, lr_scheduler.ChainedScheduler):
        return _position(scheduler._schedulers[0])
    return int(scheduler.last_epoch)


def _can_be_stepped(scheduler: Any) -> bool:
    """By position alone, without a metric."""
    if not isinstance(scheduler, lr_scheduler.LRScheduler) or isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
        return False
    try:
        inspect.signature(scheduler.step).bind()
    except TypeError:
        return False
    return True


def _refuse_unless_linear(optimizer: Optimizer, schedulers: Sequence[Any], bases: Sequence[float]) -> None:
    if not schedulers:
        if any("initial_lr" in group for group in optimizer.param_groups):
            raise WarmRestartNeeded("the learning rate follows a scheduler that the adapter was not given")
        return
    for scheduler in schedulers:
        if reason := why_not_linear(scheduler, bases):
            raise WarmRestartNeeded(f"the learning rate cannot be changed in a running training: {reason}")


def _refuse_scheduled(key: str, schedulers: Sequence[Any]) -> None:
    if key not in ("momentum", "betas"):
        return
    for scheduler in _all(schedulers):
        if getattr(scheduler, "cycle_momentum", False):
            raise WarmRestartNeeded(f"{key!r} is moved by {type(scheduler).__name__}")


def _set_rate(optimizer: Optimizer, index: int, new: float, own: dict[str, Any], schedulers: Sequence[Any]) -> None:
    group = optimizer.param_groups[index]
    old, current = _base(own), float(group["lr"])
    loaded = _loaded.get(optimizer, ())
    if index < len(loaded) and loaded[index][2] == current:
        old, current, _ = loaded[index]
    _put(group, "lr", _rescaled(current, old, new))
    if "initial_lr" in group:
        _put(group, "initial_lr", new)
    own["lr"] = _rescaled(float(own["lr"]), _base(own), new)
    if "initial_lr" in own:
        own["initial_lr"] = new
    _tell_schedulers(optimizer, schedulers)


def _tell_schedulers(optimizer: Optimizer, schedulers: Sequence[Any]) -> None:
    for scheduler in _all(schedulers):
        for name, key in (("base_lrs", "initial_lr"), ("_last_lr", "lr")):
            if hasattr(scheduler, name):
                setattr(scheduler, name, [deepcopy(group.get(key, group["lr"])) for group in optimizer.param_groups])


def _groups_built_with(
    optimizers: Sequence[Optimizer], schedulers: Sequence[Any], built: Built, key: str, part: int | None, old: Any
) -> list[tuple[Optimizer, int, dict[str, Any], dict[str, Any]]]:
    """The groups that use the old value; none if a group uses another one, or has been changed since."""
    found, zeros = [], 0
    for optimizer, own in zip(optimizers, built, strict=True):
        if len(optimizer.param_groups) != len(own["groups"]):
            return []  # of a group that was added since nobody knows what it was built with
        scheduled = bool(_schedulers_of(optimizer, schedulers))
        for index, (group, mine) in enumerate(zip(optimizer.param_groups, own["groups"], strict=False)):
            if key not in mine:
                continue
            value = _base(mine) if key == "lr" else _part_of(mine[key], part)
            now = _part_of(next(_plain(group[key]), None), part)
            if key == "lr":  # with a schedule only the base is to be as it was
                now = value if scheduled and "initial_lr" not in group else _base(group)
            if value is None or value != now:
                return []
            if value == old and isinstance(value, bool) == isinstance(old, bool):
                found.append((optimizer, index, group, mine))
            elif type(value) in (int, float) and value == 0:
                zeros += 1
            else:
                return []
    if type(old) in (int, float) and old == 0 and len(found) > 1:
        return []  # which of them are 0 on purpose cannot be told
    return found


def _is_default(optimizer: Optimizer, key: str, value: Any) -> bool:
    parameter = inspect.signature(type(optimizer).__init__).parameters.get(key)
    return parameter is None or bool(_part_of(parameter.default, None) == _part_of(value, None))


def _meaning(name: str) -> tuple[str, int | None]:
    last = name.rpartition("/")[2]
    return _ALIASES.get(last, last), _PART.get(last)


def _number(value: Any) -> Any:
    """A number, or several, as plain Python; None for anything else."""
    if isinstance(value, (list, tuple)):
        numbers = [_number(item) for item in value]
        return None if None in numbers else tuple(numbers)
    item = getattr(value, "item", None)
    if item is not None:  # also of NumPy's float64, which is a float
        return item() if getattr(value, "shape", None) == () else None
    return value if isinstance(value, (bool, int, float)) else None


def _same_kind(new: Any, old: Any) -> bool:
    if isinstance(new, tuple) or isinstance(old, tuple):
        return isinstance(new, tuple) and isinstance(old, tuple) and len(new) == len(old)
    return isinstance(new, bool) == isinstance(old, bool)


def _part_of(value: Any, part: int | None) -> Any:
    value = tuple(value) if isinstance(value, list) else value
    if part is None:
        return value
    return value[part] if isinstance(value, tuple) and part < len(value) else None


def _with_part(value: Any, part: int | None, new: Any) -> Any:
    return new if part is None else (*value[:part], new, *value[part + 1 :])


def _base(group: Mapping[str, Any]) -> float:
    return float(group.get("initial_lr", group.get("lr", 0.0)))


def _rescaled(current: float, old: float, new: float) -> float:
    return new if current == old or old == 0 else current * (new / old)


def _put(group: dict[str, Any], key: str, value: Any) -> None:
    """Assign; a tensor (``capturable=True``) keeps its place in memory."""
    now = group.get(key)
    if isinstance(now, torch.Tensor):
        now.fill_(value)
    else:
        group[key] = tuple(value) if isinstance(now, tuple) else value


def _plain(value: Any) -> Iterator[Any]:
    """The value as plain data; nothing for what is not (functions, large tensors, objects)."""
    if value is None or type(value) in (bool, int, float, str):
        yield value
    elif isinstance(value, Counter):  # milestones of MultiStepLR
        yield Counter(value)
    elif isinstance(value, Mapping):
        yield {k: plain for k, item in value.items() if type(k) in (str, int) for plain in _plain(item)}
    elif isinstance(value, (list, tuple)):
        items = [next(_plain(item), None) for item in value]
        yield tuple(items) if isinstance(value, tuple) else items
    elif (number := _number(value)) is not None:
        yield number


def without_numpy(state: Any) -> Any:
    """A state with NumPy's numbers as Python's, which ``torch.load(weights_only=True)`` takes.

    A learning rate from `numpy.logspace` or `numpy.sqrt` is such a number, and goes into the states of optimizers and
    schedulers. Containers that hold none are returned as they are.
    """
    if type(state).__module__ == "numpy" and getattr(state, "shape", None) == () and hasattr(state, "item"):
        return state.item()
    if isinstance(state, dict):
        changed = {key: new for key, value in state.items() if (new := without_numpy(value)) is not value}
        if not changed:
            return state
        state = copy(state)
        state.update(changed)
        return state
    if type(state) in (list, tuple):
        items = [without_numpy(value) for value in state]
        return state if all(a is b for a, b in zip(items, state, strict=True)) else type(state)(items)
    return state


def _equal(mine: Mapping[str, Any], other: Mapping[str, Any], key: str) -> bool:
    return key in other and bool(_part_of(mine[key], None) == _part_of(other[key], None))


def _settings(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a scheduler as built, without what follows from the base learning rates."""
    kept = {key: value for key, value in state.items() if key not in _BASES}
    if isinstance(inner := kept.get("_schedulers"), list):
        kept["_schedulers"] = [_settings(one) for one in inner]
    return kept


def _padded(states: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from states
    while True:
        yield {}


def _schedulers_of(optimizer: Optimizer, schedulers: Iterable[Any]) -> list[Any]:
    return [scheduler for scheduler in schedulers if getattr(scheduler, "optimizer", None) is optimizer]


def _all(schedulers: Iterable[Any]) -> Iterator[Any]:
    for scheduler in schedulers:
        yield scheduler
        yield from _all(getattr(scheduler, "_schedulers", ()))


def _holds(function: Callable[..., Any], numbers: set[float]) -> bool:
    """Whether a function has one of the numbers in its closure, defaults, bound arguments or attributes."""
    held: list[Any] = []
    while isinstance(function, functools.partial):
        held += [*function.args, *function.keywords.values()]
        function = function.func
    held += [
        *(getattr(function, "__defaults__", None) or ()),
        *(getattr(function, "__kwdefaults__", None) or {}).values(),
    ]
    for cell in getattr(function, "__closure__", None) or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # empty
            continue
    if not inspect.isroutine(function):
        held += vars(function).values() if hasattr(function, "__dict__") else ()
    for value in held:
        values = flatten(value).values() if isinstance(value, Mapping) else (value,)
        if any(isinstance(v, float) and v in numbers for v in values):
            return True
    return False
