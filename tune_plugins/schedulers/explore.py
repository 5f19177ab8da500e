"""Exploration of population based training: a new config near a good one, always inside the domains.

Jaderberg et al., *Population Based Training of Neural Networks*, 2017, https://arxiv.org/abs/1711.09846,
section 4.1.1: "perturb", which multiplies each hyper-parameter by a random factor, or "resample" from the prior.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from tune_plugins.space.domains import Categorical, Domain, Float, Function, Integer, Normal, draw, matches
from tune_plugins.space.nested import copy_of, flatten


def explore(
    config: Mapping[str, Any],
    mutations: Mapping[str, Any],
    *,
    resample_probability: float,
    factors: Sequence[float],
    rng: Random,
) -> dict[str, Any]:
    """A changed copy of `config`.

    Args:
        config: hyper-parameters, nested or not; left as they are.
        mutations: what may change, nested like the config or with paths such as ``model/lr`` as keys: a domain, a
            list of values, or a function that returns a value.
        resample_probability: of a fresh draw from the domain, for each hyper-parameter; else its value moves.
        factors: a number is multiplied by one of these, a value out of a list moves to a neighbour.
        rng: everything random.

    A value that is not in the config is drawn. 0, which no factor can change, and values of another kind than
    numbers outside a list are drawn anew; a whole or quantised number that rounding would keep moves by one step.
    """
    changed = copy_of(config)
    for name, domain in specs(mutations, changed):
        *parents, last = name
        place = changed
        for part in parents:
            place = place.setdefault(part, {})
        factor = rng.choice(factors)
        if last not in place or rng.random() < resample_probability:
            place[last] = _drawn(domain, changed, rng)
        else:
            place[last] = _moved(place[last], domain, factor, changed, rng)
    return changed


def complete(config: Mapping[str, Any], mutations: Mapping[str, Any], rng: Random) -> dict[str, Any]:
    """`config` with a value drawn for each hyper-parameter in `mutations` that it lacks."""
    full = copy_of(config)
    for name, domain in specs(mutations, full):
        *parents, last = name
        place = full
        for part in parents:
            place = place.setdefault(part, {})
        if last not in place:
            place[last] = _drawn(domain, full, rng)
    return full


def specs(mutations: Mapping[str, Any], config: Mapping[str, Any]) -> list[tuple[tuple[str, ...], Domain]]:
    """Path and domain of everything that may change, in the order of names."""
    found: list[tuple[tuple[str, ...], Domain]] = []
    for key in sorted(mutations, key=str):
        spec = mutations[key]
        path = (key,) if key in config or not isinstance(key, str) else tuple(key.split("/"))
        if isinstance(spec, Mapping):
            inner = config.get(key, {})
            if isinstance(inner, Mapping):  # else it is another branch of a conditional space
                found += [((*path, *rest), domain) for rest, domain in specs(spec, inner)]
        else:
            found.append((path, as_domain(spec)))
    return found


def as_domain(spec: Any) -> Domain:
    """The domain that a mutation stands for: itself, a list of values, or what a function returns.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(spec, Domain):
        return spec
    if isinstance(spec, (list, tuple)):
        return Categorical(tuple(spec))
    if callable(spec):
        return Function(spec)
    raise TypeError(f"expected a domain, a list of values, a function or a dict of these, got {spec!r}")


def mutation_mistakes(mutations: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with the mutations, in words."""
    found = []
    for key, spec in mutations.items():
        name = f"{where}[{key!r}]"
        if isinstance(spec, Mapping):
            found += mutation_mistakes(spec, name)
            continue
        if isinstance(spec, Function):
            found.append(
                f"{name}: expected a domain, a list of values, a function or a dict of these, got {spec!r}, which is "
                "for param_space. Write the function itself: lambda: value."
            )
            continue
        try:
            found += [f"{name}: {mistake}" for mistake in as_domain(spec).mistakes()]
        except TypeError as error:
            found.append(f"{name}: {error}. Write uniform(...), [values], or lambda: value.")
    return found


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The differences between two configs for people, e.g. ``lr 0.01 -> 0.012``."""
    old, new = flatten(before), flatten(after)
    told = [
        f"{name} {_shown(old[name]) if name in old else 'nothing'} -> {_shown(value)}"
        for name, value in new.items()
        if name not in old or not _same(old[name], value)
    ]
    return ", ".join([*told, *(f"{name} dropped" for name in old if name not in new)]) or "no hyper-parameter changed"


def _drawn(domain: Domain, config: dict[str, Any], rng: Random) -> Any:
    return domain.call(config, rng) if isinstance(domain, Function) else domain.sample(rng)


def _moved(value: Any, domain: Domain, factor: float, config: dict[str, Any], rng: Random) -> Any:
    """The value next to `value` in the direction of `factor`."""
    if isinstance(domain, Categorical):
        return _neighbour(value, domain, rng)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value == 0:
        return _drawn(domain, config, rng)
    target = value * factor
    if isinstance(domain, Function):
        if isinstance(value, float):
            return target
        return _unstuck(round(target), value, target, 1)
    if not isinstance(domain, (Float, Integer, Normal)):
        return _drawn(domain, config, rng)
    moved = domain.clip(target)
    return domain.clip(_unstuck(moved, domain.clip(value), target, domain.q)) if domain.q else moved


def _unstuck(moved: Any, value: Any, target: float, step: Any) -> Any:
    """Rounding must not undo the move: then it is one step in its direction."""
    if moved != value or target == value:
        return moved
    return value + step if target > value else value - step


def _neighbour(value: Any, domain: Categorical, rng: Random) -> Any:
    """The option before or after, in the order of their values if they are numbers; at an end it may stay."""
    options = list(domain.options)
    if all(isinstance(option, (int, float)) and not isinstance(option, bool) for option in options):
        options.sort()
    position = next((number for number, option in enumerate(options) if matches(option, value)), None)
    if position is None:
        return domain.sample(rng)
    moved = min(max(position + rng.choice((-1, 1)), 0), len(options) - 1)
    return value if moved == position else draw(options[moved], rng)


def _same(old: Any, new: Any) -> bool:
    return old is new or (type(old) is type(new) and matches(old, new))


def _shown(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


Explore = Callable[[dict[str, Any]], dict[str, Any]]
"""A user's own exploration: takes a config (a copy), returns the changed one."""

__all__ = ["Explore", "as_domain", "changes", "complete", "explore", "mutation_mistakes", "specs"]
