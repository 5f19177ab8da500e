"""Slots: the resources of one trial, held while a worker of it lives."""

from __future__ import annotations

from typing import Any

from tune_plugins.driver.ray.cluster import Cluster
from tune_plugins.driver.resources import Shape


class Slot:
    """A placement group; while our own Ray is not up, a number of this machine's CPUs.

    Attributes:
        shape: what it holds.
        workers: how many processes live in it: one, and those whose trial is paused in memory.
        serving: how many of them serve a run; the others are idle.
    """

    def __init__(self, cluster: Cluster, shape: Shape) -> None:
        self.cluster, self.shape = cluster, shape
        self.workers = self.serving = 0
        self._group: Any = None
        self._granted = False
        self._node: str | None = None
        cluster.hold(self)

    @property
    def group(self) -> Any:
        """The placement group; starts Ray where that is not up."""
        self.cluster.start()
        if self._group is None:  # it was left to a job
            self.move_to_ray()
        return self._group

    def move_to_ray(self) -> None:
        """Make the placement group."""
        from ray.util.placement_group import placement_group

        self._group = placement_group([dict(bundle) for bundle in self.shape.bundles], strategy=self.shape.strategy)
        self._node = None

    @property
    def node(self) -> str | None:
        """Id of the node of its first bundle; None while it has to wait for its resources."""
        if self._group is None:
            self._granted = self._granted or self._may_be_granted()
            return (self._node or self.cluster.home) if self._granted else None
        if self._node is None:
            from ray.util.placement_group import placement_group_table

            table = placement_group_table(self._group)
            if table.get("state") == "CREATED":
                self._node = str(table["bundles_to_node_id"][0])
        return self._node

    def _may_be_granted(self) -> bool:
        """In turn: the CPUs that those before it hold, or wait for, are not to be had."""
        (node,) = self.cluster.nodes
        slots = self.cluster.slots
        return sum(slot.shape.total["CPU"] for slot in slots[: slots.index(self) + 1]) <= node["CPU"] + 1e-9

    def leave_to_job(self) -> None:
        """The trial in it uses Ray by itself, so that what it holds must be free there; there is no other for it."""
        if self._group is not None:
            self._node = self.node
            self._free()

    def release(self) -> None:
        """Give the resources back."""
        if self._group is not None:
            self._free()
        elif self in self.cluster.slots:
            self.cluster.slots.remove(self)

    def _free(self) -> None:
        from ray.util.placement_group import remove_placement_group

        group, self._group = self._group, None
        self._granted = True
        remove_placement_group(group)


def needs_ray(shape: Shape) -> str:
    """Why a slot of this shape cannot do without Ray; empty: it can."""
    if len(shape.bundles) > 1:
        return "a trial has several bundles"
    if set(shape.total) != {"CPU"}:
        return f"a trial takes {shape}"
    return ""
