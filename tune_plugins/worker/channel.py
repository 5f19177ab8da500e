"""A worker's end of the wire to its driver: frames of bytes over an authenticated local socket.

A worker on the driver's machine connects to a Unix socket in a private directory (a named pipe on
Windows): a round trip is about a tenth of a Ray actor call, and no port is opened. A worker on another node
talks to a `Relay`, a Ray actor beside the driver that connects in its place; the driver
(`tune_plugins.driver.ray.switchboard`) sees no difference.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Client
from typing import Any, Protocol


class Wire(Protocol):
    """One end of a connection, as a worker sees it."""

    def send_bytes(self, data: bytes) -> None:
        """Send one frame; blocks while the other side does not keep up."""

    def recv_bytes(self) -> bytes:
        """Wait for one frame; EOFError when the other side is gone."""

    def close(self) -> None:
        """Give the connection up."""


def connect(address: Any, key: bytes, worker: str) -> Wire:
    """Connect to the driver on this machine."""
    connection = Client(address, authkey=key)
    connection.send_bytes(worker.encode())
    return connection


class RelayedWire:
    """A worker's end of a connection through a `Relay`."""

    def __init__(self, relay: Any, worker: str, get: Callable[[Any], Any]) -> None:
        self._relay, self._worker, self._get = relay, worker, get
        self._call(relay.connect)

    def send_bytes(self, data: bytes) -> None:
        """Send one frame."""
        self._call(self._relay.send, data)

    def recv_bytes(self) -> bytes:
        """Wait for one frame."""
        data = self._call(self._relay.receive)
        if data is None:
            raise EOFError
        assert isinstance(data, bytes)
        return data

    def close(self) -> None:
        """Close the connection."""
        with suppress(OSError):
            self._call(self._relay.close)

    def _call(self, method: Any, *arguments: Any) -> Any:
        try:
            return self._get(method.remote(self._worker, *arguments))
        except Exception as error:
            # The relay, its node or the driver is gone: for the worker it is all the same.
            raise OSError(f"the relay beside the driver does not answer: {error}") from error


def pack(message: Any) -> bytes:
    """A message as a frame. Only ever unpacked by the process at the other end of an authenticated connection."""
    return pickle.dumps(message, protocol=5)


def unpack(frame: bytes) -> Any:
    """The message of a frame."""
    return pickle.loads(frame)
