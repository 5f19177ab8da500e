"""Says why trials wait for resources, where that takes long."""

from __future__ import annotations

from collections.abc import Iterable

from tune_plugins.driver.ray.cluster import Cluster
from tune_plugins.driver.ray.slots import Slot
from tune_plugins.driver.resources import fits

_PATIENCE_S = 10.0
_ON_ITS_WAY_S = 30.0  # from free resources to a slot Ray takes less
_EACH_S = 5.0  # how often there is another look


class Waits:
    """Of one run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._since: dict[Slot, float] = {}
        self._look_at = 0.0
        self._told = ""

    def look(self, waiting: Iterable[Slot], now: float) -> str:
        """What there is to say, once a reason; mostly nothing.

        Args:
            waiting: slots that have not got their resources.
            now: in seconds, on a clock that only goes forward.
        """
        self._since = {slot: self._since.get(slot, now) for slot in waiting}
        slot = min(self._since, key=lambda each: self._since[each], default=None)
        if slot is None:
            self._told = ""
            return ""
        seconds = now - self._since[slot]
        if seconds < _PATIENCE_S or now < self._look_at:
            return ""
        self._look_at = now + _EACH_S
        kind, why = self._why(slot, seconds)
        if kind in ("", self._told):
            return ""
        self._told = kind
        return f"a trial has waited {seconds:.0f} s for {slot.shape}: {why}"

    def _why(self, slot: Slot, seconds: float) -> tuple[str, str]:
        """The kind of reason (empty: there is none), and the reason."""
        nodes, asked = self._cluster.nodes, slot.shape.total
        if not fits(slot.shape, nodes):
            there = "; ".join(_words(node) for node in nodes) or "nothing"
            return "gone", (
                f"no node of the cluster has that any more (nodes have {there}). It goes on as soon as one that has it "
                "joins; Ctrl-C ends the run"
            )
        if not self._cluster.up:
            return "held", "other runs of this process hold it"
        import ray

        free = ray.available_resources()
        total = {name: sum(node.get(name, 0.0) for node in nodes) for name in asked}
        left = ", ".join(f"{free.get(name, 0.0):g} of {total[name]:g} {name}" for name in asked)
        if any(free.get(name, 0.0) < amount for name, amount in asked.items()):
            return "held", f"others hold it ({left} free)"
        if seconds < _ON_ITS_WAY_S:
            return "", ""
        return "split", f"others hold it on every node that could give it at once (on all of them together {left} free)"


def _words(node: dict[str, float]) -> str:
    return ", ".join(f"{name}: {node[name]:g}" for name in sorted(node) if ":" not in name and "memory" not in name)
