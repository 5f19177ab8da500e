"""The Ray actor that a worker is. It loads nothing but what a trial needs: each fresh process pays for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from types import FunctionType
from typing import Any

from tune_plugins.worker.channel import RelayedWire, Wire, connect
from tune_plugins.worker.process import Worker


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
        directory: str,
        search_path: list[str],
        relay: list[Any],
    ) -> None:
        """Run trials of one experiment until the driver says leave.

        Args:
            address: of the driver's `Switchboard`.
            key: secret of the switchboard.
            worker: id of this worker.
            trainable: the user's function, by cloudpickle.
            parameters: names and object references of ``with_parameters``.
            directory: working directory of the driver.
            search_path: ``sys.path`` of the driver, so that modules it can import can be imported here.
            relay: driver's node id and the handle of the `Relay` actor, for workers on other nodes.
        """
        import ray
        from ray import cloudpickle

        with suppress(OSError):  # another node need not have it
            os.chdir(directory)
        sys.path += [path for path in search_path if path not in sys.path]
        node = str(ray.get_runtime_context().get_node_id())
        home, actor = relay
        try:
            wire: Wire = connect(address, key, worker) if node == home else RelayedWire(actor, worker, ray.get)
        except (OSError, EOFError, ray.exceptions.RayError):
            return  # the run was over before this process had started
        function = cloudpickle.loads(trainable)
        _name_in_main(function)
        if parameters:
            values = dict(zip(parameters, ray.get(list(parameters.values())), strict=True))
            Worker(wire, lambda config: function(config, **values), node).run()
        else:
            Worker(wire, function, node).run()


def _name_in_main(function: Any) -> None:
    """Put the functions and classes of the user's script where pickle looks for them: into ``__main__``.

    They came by value, and ``__main__`` is Ray's own script here. A process that the trial forks, such as a worker of a
    DataLoader, sends back what it has by that name; it would fail, and with an error of the script's wait for ever.
    """
    main = vars(sys.modules["__main__"])
    for part in (function, getattr(function, "func", None), *getattr(function, "args", ())):  # also of a partial
        for code in vars(part).values() if isinstance(part, type) else [part]:
            for name, value in getattr(code, "__globals__", {}).items():
                if isinstance(value, (type, FunctionType)) and value.__module__ == "__main__":
                    main[name] = value
