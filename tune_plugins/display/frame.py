"""One picture of the live display: head lines and as much of the table as fits the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tune_plugins.callbacks import RunInfo
from tune_plugins.core.metrics import lookup
from tune_plugins.core.trial import Trial, TrialStatus
from tune_plugins.display.lines import Line, fitted, joined, line
from tune_plugins.display.progress import OWN_METRICS, Progress
from tune_plugins.display.table import TrialTable
from tune_plugins.display.text import clean, count, cut, duration, leaves, metric_text, rough_duration, short

_NOTE_LINES = 3
_BAR = 24


def picture(
    progress: Progress,
    notes: Sequence[str],
    *,
    columns: int,
    rows: int,
    elapsed: float,
    now: float,
    memory: str = "",
    most: int | None = None,
    ascii_only: bool = False,
    table: TrialTable | None = None,
) -> list[Line]:
    """At most `rows` lines of at most `columns` columns.

    Args:
        progress: what is known.
        notes: lines of the scheduler.
        columns: width of the terminal.
        rows: height of the terminal.
        elapsed: seconds since the run began.
        now: seconds since the epoch.
        memory: of the machine, in words.
        most: at most so many trials, even if more would fit.
        ascii_only: the terminal can show nothing else.
        table: as it was drawn before, whose columns are kept.
    """
    head = [
        title_line(progress.run, elapsed),
        best_line(progress),
        progress_line(progress, elapsed, ascii_only),
        resources_line(progress, memory),
        *note_lines(notes, columns),
    ]
    head = [fitted(each, columns) for each in head if each]
    space = rows - len(head) - 3  # an empty line, the titles, and the line that counts what is not shown
    if most is not None:
        space = min(space, most)
    if space < 1:
        return head[:rows]
    shown = progress.rows(space)
    drawn = (table or TrialTable()).lines(progress, shown, columns, now)
    if not drawn:
        return head
    hidden = progress.created - len(shown)
    more = [line((f"... {hidden:,} more trial{'' if hidden == 1 else 's'}", "dim"))] if hidden > 0 else []
    return [*head, [], *drawn, *more]


def title_line(run: RunInfo, elapsed: float) -> Line:
    """Name, elapsed time, scheduler and searcher."""
    facts = [clean(run.scheduler, 60), clean(run.searcher, 60)]
    return line(
        (clean(run.name, 60) or "tuning", "bold"),
        f"  elapsed {duration(elapsed)}  ",
        (", ".join(fact for fact in facts if fact), "dim"),
    )


def best_line(progress: Progress) -> Line:
    """The best trial so far, or that no result has the metric; empty where there is neither."""
    best = progress.best
    if best is None:
        return line((missing_words(progress), "yellow"))
    names = progress.run.parameters or [name for name, _ in leaves(best.config)]
    pairs = [f"{cut(clean(name), 24)}={short(lookup(best.config, name, '-'))}" for name in names[:30]]
    return line(
        ("best ", "bold"),
        f"{cut(clean(str(progress.metric)), 40)} ",
        (metric_text(progress.value(best)), "bold green"),
        f"  trial {clean(best.id, 24)}, iteration {best.iteration}",
        ("  " + " ".join(pairs), "dim"),
    )


def progress_line(progress: Progress, elapsed: float, ascii_only: bool = False) -> Line:
    """Bar, finished of total, time left, counts by status."""
    total, finished = progress.total, progress.finished
    left = time_left(progress, elapsed)
    if total:
        done = min(_BAR * finished // total, _BAR)
        full, empty = ("#", "-") if ascii_only else ("━", "━")
        bar = line((full * done, "green"), (empty * (_BAR - done), "bright_black"), f" {finished:,}/{total:,} trials")
    else:
        bar = line(f"{count(finished, 'trial')} done")
    return joined([bar, line(left) if left else [], counts_line(progress)], "  ")


def counts_line(progress: Progress) -> Line:
    """Counts by status, those that are not zero."""
    counts = progress.counts
    failed, paused = counts[TrialStatus.ERROR], counts[TrialStatus.PAUSED]
    return joined(
        [
            line((f"{progress.running:,} running", "green")) if progress.running else [],
            line((f"{paused:,} paused", "yellow")) if paused else [],
            *(line((f"{number:,} {stage}", "cyan")) for stage, number in progress.stages.items()),
            line(f"{progress.waiting:,} pending") if progress.waiting else [],
            line(f"{counts[TrialStatus.TERMINATED]:,} terminated") if counts[TrialStatus.TERMINATED] else [],
            line((f"{failed:,} failed", "bold red")) if failed else [],
        ],
        ", ",
    )


def time_left(progress: Progress, elapsed: float) -> str:
    """``~45 s left``, or an empty text where nobody can know."""
    left = progress.seconds_left(elapsed)
    if left is None or (progress.total is not None and progress.finished >= progress.total):
        return ""
    seconds, estimated = left
    return f"{'~' if estimated else 'at most '}{rough_duration(seconds)} left"


def resources_line(progress: Progress, memory: str) -> Line:
    """What the running trials take of what there is, e.g. ``2/2 CPU``, and the memory of the machine."""
    run, parts = progress.run, []
    for name, each in run.resources.items():
        there = run.cluster.get(name)
        if each and there:
            unit, scale = ("GB " + name, 1e9) if "memory" in name else (name, 1.0)
            used = min(progress.running * each, there)
            parts.append(f"{used / scale:.4g}/{there / scale:.4g} {clean(unit, 40)}")
    if memory:
        parts.append(memory)
    return line((" | ".join(parts), "dim")) if parts else []


def note_lines(notes: Sequence[str], columns: int) -> list[Line]:
    """The scheduler's notes, several to a line, in at most three lines."""
    rows: list[str] = []
    for note in (clean(note, max(columns, 1)) for note in notes[:100]):
        if rows and len(rows[-1]) + 3 + len(note) <= columns:
            rows[-1] += " | " + note
        elif len(rows) < _NOTE_LINES:
            rows.append(note)
        else:
            break
    return [line((row, "dim")) for row in rows]


def plain_line(progress: Progress, elapsed: float) -> str:
    """All of it in one line, for where there is no terminal."""
    total, best = progress.total, progress.best
    done = f"{progress.finished:,}/{total:,} trials done" if total else f"{count(progress.finished, 'trial')} done"
    parts = [done, f"{progress.running:,} running"]
    parts += [f"{number:,} {stage}" for stage, number in progress.stages.items()]
    if progress.counts[TrialStatus.PAUSED]:
        parts.append(f"{progress.counts[TrialStatus.PAUSED]:,} paused")
    if progress.counts[TrialStatus.ERROR]:
        parts.append(f"{progress.counts[TrialStatus.ERROR]:,} failed")
    if best is not None:
        parts.append(f"best {best_words(progress, best)}")
    elif missing := missing_words(progress):
        parts.append(missing)
    left = time_left(progress, elapsed)
    return f"[{duration(elapsed):>6}] " + ", ".join([*parts, left] if left else parts)


def missing_words(progress: Progress) -> str:
    """``no val_loss so far; results have loss, accuracy``; empty where a result has it, or there is none yet."""
    metric, seen = progress.run.metric, progress.last_seen
    if metric is None or seen is None or lookup(seen, metric) is not None:
        return ""
    names = [cut(clean(name), 40) for name, _ in leaves(seen) if name not in OWN_METRICS][:6]
    return f"no {cut(clean(metric), 60)} so far; results have {', '.join(names) or 'nothing'}"


def best_words(progress: Progress, best: Trial) -> str:
    """``eval-logloss 0.5312 (trial 00009, iteration 120)``."""
    name = cut(clean(str(progress.metric)), 60)
    return f"{name} {metric_text(progress.value(best))} (trial {clean(best.id, 40)}, iteration {best.iteration})"


def machine_memory(path: str = "/proc/meminfo") -> str:
    """Memory in use and there, e.g. ``memory 5.1/15.6 GB``; empty where the system does not tell in this way."""
    try:
        facts = dict(row.split(":", 1) for row in Path(path).read_text().splitlines() if ":" in row)
        total, free = (int(facts[name].split()[0]) * 1024 / 1e9 for name in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, KeyError, IndexError):
        return ""
    return f"memory {total - free:.1f}/{total:.1f} GB"
