"""Starts a local Ray with no more processes than it needs: 4 instead of 9, in half of the time.

``ray.init(include_dashboard=False)`` still starts the API server of the dashboard, an autoscaler, a monitor of log
files and one idle worker a CPU, and has no public option to leave them out. What is replaced for that has no public
name, so it is done for the versions of Ray with which it was tested; others start as they do by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

TESTED = ("2.60",)
"""Versions of Ray, the first two numbers."""


def can_be_lean(version: str) -> bool:
    """Whether a version of Ray was tested."""
    return ".".join(version.split(".")[:2]) in TESTED


@contextmanager
def lean() -> Iterator[dict[str, Any]]:
    """While this is open, ``ray.init`` starts what it needs; yields entries for its ``_system_config``."""
    from ray._private import node, services

    start: Callable[..., Any] = services.start_ray_process

    def start_ray_process(command: list[str], process_type: str, *args: Any, **options: Any) -> Any:
        idle = "--num_prestart_python_workers="
        command = [f"{idle}0" if word.startswith(idle) else word for word in command]
        return start(command, process_type, *args, **options)

    def start_api_server(self: Any, **options: Any) -> None:
        self._webui_url = ""

    with ExitStack() as stack:
        for name in ("start_monitor", "start_log_monitor"):
            stack.enter_context(patch.object(node.Node, name, lambda self: None))
        stack.enter_context(patch.object(node.Node, "start_api_server", start_api_server))
        stack.enter_context(patch.object(services, "start_ray_process", start_ray_process))
        yield {"prestart_worker_first_driver": False}
