"""What a run brings to a node: the training function and its large arguments, mapped by all processes, copied by none.

The buffers of arrays lie as they are (pickle protocol 5, PEP 574), so that an array in a process is a view of them,
which cannot be written to. The rest of an argument is unpickled in each process that runs trials.
"""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO

_ALIGNED = 64  # bytes: as arrays are that NumPy allocates for itself

Packed = tuple[bytes, list[memoryview]]
"""A pickle, and the buffers that lie outside it."""


class Cargo:
    """A file in memory; lives as long as this object, or a process that has mapped it.

    Args:
        trainable: the training function, pickled.
        parameters: its large arguments, packed by `packed`.
        setting: small facts that each process needs before it unpickles them.

    Raises:
        OSError: there is not enough memory.
    """

    def __init__(self, trainable: bytes, parameters: Mapping[str, Packed], setting: Any = None) -> None:
        parts: list[bytes | memoryview] = [pickle.dumps(setting), trainable]
        index: dict[str, tuple[int, int]] = {}
        for name, (data, buffers) in parameters.items():
            index[name] = (len(parts), len(buffers))
            parts += [data, *buffers]
        head = pickle.dumps((index, [len(part) for part in parts]))
        self._file = _memory_file()
        self._file.write(len(head).to_bytes(8, "big") + head)
        for part in parts:
            self._file.seek(_aligned(self._file.tell()))
            self._file.write(part)
        self._file.flush()

    @property
    def path(self) -> str:
        """Where another process of this user opens it, while this one lives."""
        return f"/proc/{os.getpid()}/fd/{self._file.fileno()}"

    def close(self) -> None:
        """Free the memory, as soon as nobody has it mapped."""
        self._file.close()


def packed(value: Any, dumps: Callable[..., bytes]) -> Packed:
    """A value in the form that `Cargo` takes; `dumps` is that of pickle or cloudpickle."""
    buffers: list[pickle.PickleBuffer] = []
    data = dumps(value, protocol=5, buffer_callback=buffers.append)
    return data, [buffer.raw() for buffer in buffers]


class Unloaded:
    """The `Cargo` at a path, mapped.

    Attributes:
        setting: as given.
        trainable: the pickled training function.
    """

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        size = int.from_bytes(whole[:8], "big")
        self._index, lengths = pickle.loads(whole[8 : 8 + size])
        self._parts = list(_parts(whole, 8 + size, lengths))
        self.setting: Any = pickle.loads(self._parts[0])
        self.trainable = bytes(self._parts[1])

    def parameters(self) -> dict[str, Any]:
        """The large arguments; imports what they need."""
        return {
            name: pickle.loads(self._parts[first], buffers=self._parts[first + 1 : first + 1 + count])
            for name, (first, count) in self._index.items()
        }


def _parts(whole: memoryview, start: int, lengths: Iterable[int]) -> Iterator[memoryview]:
    for length in lengths:
        start = _aligned(start)
        yield whole[start : start + length]
        start += length


def _aligned(position: int) -> int:
    return -(-position // _ALIGNED) * _ALIGNED


def _memory_file() -> BinaryIO:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("tune-cargo", os.MFD_CLOEXEC), "w+b")
    return tempfile.TemporaryFile()
