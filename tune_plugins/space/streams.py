"""Random numbers that are a function of their place: one stream for each parameter, read at any number of a config.

SplitMix64 (Steele, Lea, Flood, 2014, Fast Splittable Pseudorandom Number Generators, figure 16), which passes BigCrush:
number i of a stream is the mixed sum of its start and i times an odd constant. To seed Python's own generator anew for
each value would take longer than all the rest of a config.
"""

from __future__ import annotations

import sys
from hashlib import blake2b

_MASK = 2**64 - 1
_GAMMA = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_AS_UNIT = 2.0**-53


def hashed(text: str) -> int:
    """64 bits that follow from a text, the same ones in every process."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def started(seed: int, key: int) -> int:
    """Where the stream of a parameter starts."""
    return _mixed((seed + key) & _MASK)


def unit(start: int, number: int) -> float:
    """The number from 0 to 1 (exclusive) at a place of a stream."""
    return (_mixed((start + (number + 1) * _GAMMA) & _MASK) >> 11) * _AS_UNIT


def units(start: int, first: int, count: int) -> list[float]:
    """`unit` at `count` places from `first` on; by NumPy where that is loaded anyway."""
    numpy = sys.modules.get("numpy")
    if numpy is None or count < 16:
        return [unit(start, number) for number in range(first, first + count)]
    places = numpy.arange(1, count + 1, dtype=numpy.uint64)
    with numpy.errstate(over="ignore"):
        z = numpy.uint64((start + first * _GAMMA) & _MASK) + places * numpy.uint64(_GAMMA)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(_FIRST)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(_SECOND)
        z = z ^ (z >> numpy.uint64(31))
    found: list[float] = ((z >> numpy.uint64(11)).astype(numpy.float64) * _AS_UNIT).tolist()
    return found


def _mixed(z: int) -> int:
    z = ((z ^ (z >> 30)) * _FIRST) & _MASK
    z = ((z ^ (z >> 27)) * _SECOND) & _MASK
    return z ^ (z >> 31)
