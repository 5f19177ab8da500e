"""What one trial asks for: bundles of resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from tune_plugins.arguments import Mistakes, is_finite

__all__ = ["PlacementGroupFactory", "Strategy", "as_request", "bundle_mistakes", "named", "total_of"]

Strategy = Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"]
_ALIASES = {"cpu": "CPU", "gpu": "GPU"}


class PlacementGroupFactory:
    """Resources of one trial, as bundles that may lie on different nodes; the first one is the trial's own.

    Two are equal that ask for the same.

    Args:
        bundles: e.g. ``[{"CPU": 1}, {"CPU": 2, "GPU": 1}]``; memory in bytes. An empty first one, where more follow,
            is that of a trial that takes nothing itself.
        strategy: Ray's placement strategy: PACK, SPREAD, STRICT_PACK or STRICT_SPREAD.
        name: taken for scripts that were written for Ray Tune; slots serve one trial after the other and have no name.
        lifetime: None: what a trial takes is given back when it ends.

    Attributes:
        bundles: without what was asked for as 0, and without an empty first one.

    Raises:
        ArgumentError: lists all mistakes.
    """

    def __init__(
        self,
        bundles: Sequence[Mapping[str, float]],
        strategy: Strategy = "PACK",
        name: str = "",
        lifetime: None = None,
    ) -> None:
        mistakes = Mistakes("PlacementGroupFactory")
        several = isinstance(bundles, Sequence) and not isinstance(bundles, str) and bool(bundles)
        if mistakes.check(several, "bundles", "a list of at least one dict", bundles, "Write [{'CPU': 1}]."):
            for number, bundle in enumerate(bundles):
                if bundle != {} or number or len(bundles) == 1:
                    mistakes.found += bundle_mistakes(f"bundles[{number}]", bundle)
        mistakes.one_of("strategy", strategy, get_args(Strategy))
        mistakes.check(lifetime is None, "lifetime", "None", lifetime, "A trial gives back what it takes when it ends.")
        mistakes.raise_if_any()
        asked = [named(bundle) for bundle in bundles]
        self.head_bundle_is_empty = not asked[0] and len(asked) > 1
        self.bundles: list[dict[str, float]] = asked[1:] if self.head_bundle_is_empty else asked
        self.strategy = strategy

    def __repr__(self) -> str:
        bundles = [{}, *self.bundles] if self.head_bundle_is_empty else self.bundles
        return f"PlacementGroupFactory({bundles}, strategy={self.strategy!r})"

    def __eq__(self, other: object) -> bool:
        return repr(self) == repr(other) if isinstance(other, PlacementGroupFactory) else NotImplemented

    def __hash__(self) -> int:
        return hash(repr(self))

    @property
    def head_cpus(self) -> float:
        """Number of CPUs that the trial takes itself."""
        return 0.0 if self.head_bundle_is_empty else self.bundles[0].get("CPU", 0.0)

    @property
    def required_resources(self) -> dict[str, float]:
        """The sum over all bundles."""
        return total_of(self.bundles)


def as_request(given: Mapping[str, float] | PlacementGroupFactory | None) -> PlacementGroupFactory:
    """What a user asks for, in bundles; None is one CPU.

    Raises:
        ArgumentError: says what is wrong with it.
    """
    return given if isinstance(given, PlacementGroupFactory) else PlacementGroupFactory([given or {"CPU": 1}])


def total_of(bundles: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The sum over all bundles."""
    total: dict[str, float] = {}
    for bundle in bundles:
        for name, amount in bundle.items():
            total[name] = total.get(name, 0.0) + amount
    return total


def named(bundle: Mapping[str, Any]) -> dict[str, float]:
    """A bundle with Ray's names, sorted, without what it asks for as 0."""
    amounts = {_ALIASES.get(name, name): float(amount) for name, amount in _with_custom(bundle).items()}
    return {name: amount for name, amount in sorted(amounts.items()) if amount > 0}


def bundle_mistakes(where: str, bundle: Any) -> list[str]:
    """What is wrong with a bundle, in words."""
    if not isinstance(bundle, Mapping) or not bundle:
        return [f"{where}: expected a dict such as {{'cpu': 1, 'gpu': 0.5}}, got {bundle!r}."]
    return [
        f"{where}: expected a number of at least 0 for {name!r}, got {amount!r}."
        for name, amount in _with_custom(bundle).items()
        if not is_finite(amount) or amount < 0
    ]


def _with_custom(bundle: Mapping[str, Any]) -> dict[str, Any]:
    """A bundle in which ``{"custom_resources": {...}}``, as older scripts write it, is resolved."""
    custom = bundle.get("custom_resources")
    if not isinstance(custom, Mapping):
        return dict(bundle)
    return {**{name: amount for name, amount in bundle.items() if name != "custom_resources"}, **custom}
