"""Where this process is."""

from __future__ import annotations

import platform
import socket
from functools import cache


@cache
def place() -> tuple[str, str]:
    """Name of this machine, and the address by which others reach it; 127.0.0.1 where it is in no network."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))  # of no machine (RFC 5737): it chooses the way out, nothing is sent
            return platform.node(), str(probe.getsockname()[0])
    except OSError:
        return platform.node(), "127.0.0.1"
