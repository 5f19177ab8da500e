"""What a trial takes, and whether and how often a cluster can give it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tune_plugins.core.resources import PlacementGroupFactory, Strategy, as_request, bundle_mistakes, total_of

__all__ = [
    "PlacementGroupFactory",
    "ResourceRequest",
    "Resources",
    "Shape",
    "fits",
    "missing",
    "resource_mistakes",
    "shape_of",
]


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
    return bundle_mistakes("resources", request)


def shape_of(request: ResourceRequest) -> Shape:
    """The shape of a request; None is one CPU.

    Raises:
        ValueError: says what is wrong with it, in words.
    """
    if found := resource_mistakes(request):
        raise ValueError(" ".join(found))
    asked = as_request(request)
    bundles = [{}, *asked.bundles] if asked.head_bundle_is_empty else asked.bundles
    # A process that takes nothing has to be placed somewhere, too.
    placed = [bundle or {"CPU": 0.001} for bundle in bundles]
    return Shape(tuple(tuple(bundle.items()) for bundle in placed), asked.strategy, total_of(placed))


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
