"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from benchmarks.environment import ROOT

SOURCES = ("tune_plugins", "integrations", "benchmarks")


def describe(cores_used: int) -> str:
    """Processor, memory and system in one line; `cores_used` 0: not limited."""
    limit = f", {cores_used} used" if cores_used else ""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_processor()}, {os.cpu_count()} cores{limit}, {memory_gib:.0f} GiB memory, "
        f"{platform.system()}, Python {platform.python_version()}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str:
    """Short hash of the commit measured, with a word where files differ from it; empty where git is missing."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        changed = _git(
            "status", "--porcelain", "--untracked-files=no", "--", "tune_plugins", "integrations", "benchmarks"
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{head} with local changes" if changed else head


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
