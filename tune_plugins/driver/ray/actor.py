"""The Ray actor that a worker is. It loads nothing but what a trial needs: each fresh process pays for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tune_plugins.worker.channel import RelayedWire, Wire, connect
from tune_plugins.worker.process import Worker
from tune_plugins.worker.setting import Setting, name_in_main


class WorkerActor:
    """The Ray actor of a worker. Its one method runs in the main thread of its process."""

    def __init__(self, threads: int) -> None:
        # Ray sets 1 for an actor without CPUs; the slot's CPUs are what user code may use.
        os.environ["OMP_NUM_THREADS"] = str(threads)

    def serve(
        self,
        address: Any,
        key: bytes,
        worker: str,
        trainable: bytes,
        parameters: Mapping[str, Any],
        setting: Setting,
        relay: list[Any],
    ) -> None:
        """Run trials of one experiment until the driver says leave.

        Args:
            address: of the driver's `Switchboard`.
            key: secret of the switchboard.
            worker: id of this worker.
            trainable: the user's function, by cloudpickle.
            parameters: names and object references of ``with_parameters``.
            setting: the driver's.
            relay: driver's node id and the handle of the `Relay` actor, for workers on other nodes.
        """
        import ray
        from ray import cloudpickle

        setting.enter()
        node = str(ray.get_runtime_context().get_node_id())
        home, actor = relay
        try:
            wire: Wire = connect(address, key, worker) if node == home else RelayedWire(actor, worker, ray.get)
        except (OSError, EOFError, ray.exceptions.RayError):
            return  # the run was over before this process had started
        function = cloudpickle.loads(trainable)
        name_in_main(function)
        values = dict(zip(parameters, ray.get(list(parameters.values())), strict=True))
        call = (lambda config: function(config, **values)) if values else function
        Worker(wire, call, node, setting.snapshot.sources).run()
