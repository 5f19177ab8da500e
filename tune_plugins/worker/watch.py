"""What the kernel says about processes that this package has forked: their memory, and whether one hangs.

Ray's memory monitor and its actors' health checks know nothing of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

STILL_S = 60.0
"""A first trial that waits for a lock so long, and does nothing else, hangs."""

RELIEF_S = 2.0
"""How long it may take until the memory of a process that was ended is free."""

_CGROUP = Path("/sys/fs/cgroup")
_GIB = 2**30


def memory_limit() -> float:
    """The share of memory in use above which a process is ended: that of Ray, ``$RAY_memory_usage_threshold``."""
    try:
        return float(os.environ.get("RAY_memory_usage_threshold", "0.95"))  # noqa: SIM112
    except ValueError:
        return 0.95


def memory() -> tuple[int, int]:
    """Bytes in use, and in all: of this container where it has a limit, else of this machine; (0, 0): not known."""
    found = {}
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, value = line.partition(":")
            found[name] = int(value.split()[0]) * 1024
    total = found.get("MemTotal", 0)
    used = total - found.get("MemAvailable", total)
    with suppress(OSError, ValueError):
        limit = int((_CGROUP / "memory.max").read_text())  # "max" where there is none
        if limit < total:
            statistics = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
            # As Ray counts: pages of files can be had back.
            files = int(statistics.get("inactive_file", 0)) + int(statistics.get("active_file", 0))
            return int((_CGROUP / "memory.current").read_text()) - files, limit
    with suppress(OSError, ValueError):  # the older kind of control groups
        folder = _CGROUP / "memory"
        limit = int((folder / "memory.limit_in_bytes").read_text())
        if limit < total:
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            files = int(statistics["total_inactive_file"]) + int(statistics["total_active_file"])
            return int((folder / "memory.usage_in_bytes").read_text()) - files, limit
    return used, total


def oom_kills() -> int:
    """How many processes the kernel has ended for want of memory since it was started."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def own_bytes(pid: int) -> int:
    """Memory of a process that it shares with no other: what is free when it ends; 0 if it is gone."""
    with suppress(OSError, ValueError, IndexError):
        pages = Path(f"/proc/{pid}/statm").read_text().split()
        return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")
    return 0


def largest_in_shortage(pids: Iterable[int]) -> tuple[int, str] | None:
    """Where memory is short: which of these processes to end, and why in words; None where it is not."""
    used, total = memory()
    if not total or used <= memory_limit() * total:
        return None
    sizes = {pid: own_bytes(pid) for pid in pids}
    if not sizes:
        return None
    pid = max(sizes, key=lambda each: sizes[each])
    return pid, (
        f"was ended for want of memory: {used / total:.0%} of {total / _GIB:.1f} GiB were in use, and of the trials it "
        f"held most ({sizes[pid] / _GIB:.1f} GiB). Let fewer run at a time (max_concurrent_trials), or let each take "
        "less; the limit is RAY_memory_usage_threshold"
    )


def _threads(pid: int) -> int:
    with suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/task"))
    return 0


class Stillness:
    """For how long a process has done nothing but wait for a lock, in seconds, without children or threads of its own.

    That is what a process looks like that was forked while another thread held a lock, or that waits for threads of a
    library which do not exist in it. One that sleeps, reads or waits for the network looks different.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._computed = -1
        self._threads = _threads(pid)  # those that the process has before it runs anything of the user's
        self._since = time.monotonic()

    def seconds(self) -> float:
        """To be asked from time to time."""
        computed = self._cpu()
        if computed != self._computed or not self._waits_for_lock():
            self._computed, self._since = computed, time.monotonic()
        return time.monotonic() - self._since

    def _cpu(self) -> int:
        with suppress(OSError, ValueError, IndexError):
            values = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
            return sum(int(value) for value in values[11:15])
        return -1

    def _waits_for_lock(self) -> bool:
        with suppress(OSError):
            if (
                _threads(self._pid) > self._threads
                or Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().strip()
            ):
                return False
            return Path(f"/proc/{self._pid}/wchan").read_text().startswith("futex")
        return False
