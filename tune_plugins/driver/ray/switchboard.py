"""The driver's end of the wires to its workers, see `tune_plugins.worker.channel`."""

from __future__ import annotations

import os
import queue
import secrets
import shutil
import tempfile
import threading
from contextlib import suppress
from multiprocessing.connection import Client, Connection, Listener, wait
from pathlib import Path
from typing import Any

from tune_plugins.worker.channel import Wire, connect

_FRAMES_A_TURN = 64  # of one worker, so that a busy one cannot hold up the others


class Switchboard:
    """The driver's end of all connections.

    Attributes:
        address: where workers connect.
        key: secret that both sides prove to know.
        beside: other connections that make `receive` return when something comes; it is left to be read by others.
    """

    def __init__(self) -> None:
        self._directory = tempfile.mkdtemp(prefix="tune-")
        self.key = secrets.token_bytes(32)
        address = None if os.name == "nt" else str(Path(self._directory) / "s")
        self._listener = Listener(address, backlog=1024, authkey=self.key)
        self.address: Any = self._listener.address
        self.beside: list[Connection] = []
        self._closed = False
        self._workers: dict[Connection, str] = {}
        self._connections: dict[str, Connection] = {}
        self._arrived: queue.SimpleQueue[tuple[str, Connection]] = queue.SimpleQueue()
        self._waker, self._woken = _pipe()
        # Its own thread, because the handshake with a newcomer must not hold up the others.
        self._accepting = threading.Thread(target=self._accept, name="tune-accept", daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
                worker = connection.recv_bytes().decode()
            except Exception:
                # A stranger without the key, or somebody who hung up: not our worker.
                if self._closed:
                    return
                continue
            if self._closed:
                return
            self._arrived.put((worker, connection))
            self.wake()

    def wake(self) -> None:
        """Make `receive` return early; may be called from any thread and from signal handlers."""
        # A signal may come when everything is closed already.
        with suppress(OSError):
            self._waker.send_bytes(b"")

    def receive(self, timeout: float) -> list[tuple[str, bytes | None]]:
        """Frames that have arrived, waiting at most `timeout` seconds for the first.

        Returns:
            Pairs of worker id and frame; an empty frame: the worker has just connected; None: it is gone.
        """
        frames: list[tuple[str, bytes | None]] = []
        try:
            found = wait([self._woken, *self._workers, *self.beside], timeout)
        except (OSError, ValueError):  # another thread has closed one of those beside
            self.beside = []
            found = wait([self._woken, *self._workers], timeout)
        for ready in found:
            assert isinstance(ready, Connection)
            if ready in self.beside:
                continue
            if ready is self._woken:
                self._woken.recv_bytes()
                while not self._arrived.empty():
                    worker, connection = self._arrived.get()
                    self._workers[connection] = worker
                    self._connections[worker] = connection
                    frames.append((worker, b""))
                continue
            worker = self._workers[ready]
            try:
                frames.append((worker, ready.recv_bytes()))
                for _ in range(_FRAMES_A_TURN):
                    if not ready.poll():
                        break
                    frames.append((worker, ready.recv_bytes()))
            except (EOFError, OSError):
                self.drop(worker)
                frames.append((worker, None))
        return frames

    def send(self, worker: str, message: bytes) -> bool:
        """Send one frame; False if the worker is gone (`receive` will say so, too)."""
        connection = self._connections.get(worker)
        if connection is None:
            return False
        try:
            connection.send_bytes(message)
        except OSError:
            return False
        return True

    def drop(self, worker: str) -> None:
        """Close the connection to a worker."""
        connection = self._connections.pop(worker, None)
        if connection is not None:
            del self._workers[connection]
            connection.close()

    def close(self) -> None:
        """Close all connections and stop listening."""
        if self._closed:
            return
        self._closed = True
        with suppress(OSError, EOFError):
            # A blocked accept does not notice that its socket is closed; a caller makes it return. One who waits for
            # no answer, since the last newcomer may have made it return already.
            Client(self.address).close()
        for worker in list(self._connections):
            self.drop(worker)
        self._accepting.join(timeout=1.0)
        self._listener.close()
        while not self._arrived.empty():  # these have connected, and nobody has looked yet
            self._arrived.get()[1].close()
        self._waker.close()
        self._woken.close()
        shutil.rmtree(self._directory, ignore_errors=True)


def _pipe() -> tuple[Connection, Connection]:
    from multiprocessing import Pipe

    reader, writer = Pipe(duplex=False)
    return writer, reader


class Relay:
    """Ray actor beside the driver: connects to it for workers on other nodes (long polls, in threads)."""

    def __init__(self, address: Any, key: bytes) -> None:
        self._address, self._key = address, key
        self._wires: dict[str, Wire] = {}

    def connect(self, worker: str) -> None:
        """Open the connection of a worker."""
        self._wires[worker] = connect(self._address, self._key, worker)

    def send(self, worker: str, data: bytes) -> None:
        """Pass a frame on to the driver."""
        self._wires[worker].send_bytes(data)

    def receive(self, worker: str) -> bytes | None:
        """Wait for a frame from the driver; None when it is gone."""
        try:
            return self._wires[worker].recv_bytes()
        except (EOFError, OSError):
            return None

    def close(self, worker: str) -> None:
        """Close the connection of a worker."""
        self._wires.pop(worker).close()
