"""What a trial takes, and whether and how often a cluster can give it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from tune_plugins.arguments import Mistakes, is_finite

Strategy = Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"]
_ALIASES = {"cpu": "CPU", "gpu": "GPU", "CPU": "CPU", "GPU": "GPU"}


@dataclass(frozen=True)
class PlacementGroupFactory:
    """Resources of one trial, as bundles that may lie on different nodes; the first one is the trial's own.

    Args:
        bundles: e.g. ``[{"CPU": 1}, {"CPU": 2, "GPU": 1}]``; memory in bytes.
        strategy: Ray's placement strategy: PACK, SPREAD, STRICT_PACK or STRICT_SPREAD.

    Raises:
        ArgumentError: lists all mistakes.
    """

    bundles: Sequence[Mapping[str, float]]
    strategy: Strategy = "PACK"

    def __post_init__(self) -> None:
        mistakes = Mistakes("PlacementGroupFactory")
        several = isinstance(self.bundles, Sequence) and not isinstance(self.bundles, str) and bool(self.bundles)
        if mistakes.check(several, "bundles", "a list of at least one dict", self.bundles, "Write [{'CPU': 1}]."):
            for number, bundle in enumerate(self.bundles):
                mistakes.found += _bundle_mistakes(f"bundles[{number}]", bundle)
        mistakes.one_of("strategy", self.strategy, get_args(Strategy))
        mistakes.raise_if_any()

    @property
    def head_cpus(self) -> float:
        """Number of CPUs of the first bundle."""
        first = self.bundles[0]
        return first.get("CPU", first.get("cpu", 0.0))

    @property
    def required_resources(self) -> dict[str, float]:
        """The sum over all bundles."""
        total: dict[str, float] = {}
        for bundle in self.bundles:
            for name, amount in bundle.items():
                total[name] = total.get(name, 0.0) + amount
        return total


@dataclass(frozen=True)
class Shape:
    """Resources of one trial in a form that can be compared: workers are shared by trials of one shape."""

    bundles: tuple[tuple[tuple[str, float], ...], ...]
    strategy: Strategy = "PACK"
    total: Mapping[str, float] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return " + ".join(
            "{" + ", ".join(f"{name}: {amount:g}" for name, amount in bundle) + "}" for bundle in self.bundles
        )


ResourceRequest = Mapping[str, float] | PlacementGroupFactory | None
Resources = ResourceRequest | Callable[[dict[str, Any]], ResourceRequest]


def resource_mistakes(request: Any) -> list[str]:
    """What is wrong with a request, in words."""
    if request is None or isinstance(request, PlacementGroupFactory):
        return []
    return _bundle_mistakes("resources", request)


def _bundle_mistakes(where: str, bundle: Any) -> list[str]:
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


def shape_of(request: ResourceRequest) -> Shape:
    """The shape of a request; None is one CPU.

    Raises:
        ValueError: says what is wrong with it, in words.
    """
    if found := resource_mistakes(request):
        raise ValueError(" ".join(found))
    factory = request if isinstance(request, PlacementGroupFactory) else PlacementGroupFactory([request or {"CPU": 1}])
    bundles = []
    for given in factory.bundles:
        bundle = {_ALIASES.get(name, name): float(amount) for name, amount in _with_custom(given).items()}
        bundles.append(tuple(sorted((n, a) for n, a in bundle.items() if a > 0)) or (("CPU", 0.001),))
    shape = Shape(tuple(bundles), factory.strategy)
    total = PlacementGroupFactory([dict(b) for b in shape.bundles]).required_resources
    return Shape(shape.bundles, shape.strategy, total)


def fits(shape: Shape, nodes: Iterable[Mapping[str, float]]) -> int:
    """How many trials of this shape the nodes hold at a time, if they are empty."""
    left = [dict(node) for node in nodes]
    count = 0
    while all(_take(dict(bundle), left) for bundle in shape.bundles):
        count += 1
        if count >= 100_000:
            break
    return count


def missing(shape: Shape, nodes: Sequence[Mapping[str, float]]) -> str:
    """In words, why not even one trial of this shape fits."""
    have = "; ".join(
        ", ".join(f"{name}: {amount:g}" for name, amount in sorted(node.items()) if ":" not in name) for node in nodes
    )
    for bundle in shape.bundles:
        for name, amount in bundle:
            most = max((node.get(name, 0.0) for node in nodes), default=0.0)
            if most < amount:
                return (
                    f"resources: a trial asks for {name}: {amount:g}, and no node has more than {most:g} "
                    f"(nodes have {have or 'nothing'}). Ask for less in with_resources, or add a node that has it."
                )
    return f"resources: a trial asks for {shape}, which no node or set of nodes can give at once (nodes have {have})."


def _take(bundle: dict[str, float], nodes: list[dict[str, float]]) -> bool:
    for node in nodes:
        if all(node.get(name, 0.0) >= amount - 1e-9 for name, amount in bundle.items()):
            for name, amount in bundle.items():
                node[name] -= amount
            return True
    return False
