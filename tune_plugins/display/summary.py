"""The end of a run in a few lines."""

from __future__ import annotations

from collections import Counter

from tune_plugins.core.trial import TrialStatus
from tune_plugins.display.lines import Line, joined, line, padded, width
from tune_plugins.display.progress import Progress
from tune_plugins.display.text import clean, count, cut, duration, exact, leaves, metric_text, open_hint

_MOST_PARAMETERS = 40
_WORDS = {TrialStatus.ERROR: "failed"}
_STYLES = {TrialStatus.ERROR: "bold red"}


def summary(progress: Progress, reason: str, elapsed: float, statuses: Counter[TrialStatus]) -> list[Line]:
    """What became of the trials, the best one, where the results are and how to look at them.

    Args:
        progress: everything taken in.
        reason: why the run ended early; empty where it did not.
        elapsed: seconds since the run began.
        statuses: number of trials by status, all of them.
    """
    run, best = progress.run, progress.best
    lines: list[Line] = []
    hint = line("look at them with  ", (open_hint(run.path), "cyan")) if run.path else []
    if reason:
        lines.append(line(("ended early: " + clean(reason), "bold yellow")))
        if hint:
            lines.append(line("the results so far are kept; ", *hint))
        lines.append([])
    total = sum(statuses.values())
    by_status = [
        line((f"{number:,} {_WORDS.get(status, status.value.lower())}", _STYLES.get(status, "")))
        for status, number in sorted(statuses.items(), key=lambda pair: list(TrialStatus).index(pair[0]), reverse=True)
        if number
    ]
    head = line((count(total, "trial"), "bold"), f" in {duration(elapsed)}", ": " if by_status else "")
    lines.append(head + joined(by_status, ", "))
    if best is not None:
        lines.append(
            line(
                ("best ", "bold"),
                f"{cut(clean(str(progress.metric)), 80)} ",
                (metric_text(progress.value(best)), "bold green"),
                f" ({run.mode})" if run.mode else "",
                f": trial {clean(best.id, 40)} at iteration {best.iteration}",
            )
        )
        pairs = [(cut(clean(name), 40), exact(value)) for name, value in leaves(best.config)]
        longest = max((width([(name, "")]) for name, _ in pairs), default=0)
        lines += [line(("  " + padded(name, longest), "dim"), "  " + value) for name, value in pairs[:_MOST_PARAMETERS]]
        if len(pairs) > _MOST_PARAMETERS:
            lines.append(line((f"  ... {len(pairs) - _MOST_PARAMETERS} more", "dim")))
    elif run.metric is not None and total:
        lines.append(line((f"no trial has reported a finite number as {cut(clean(run.metric), 80)!r}", "yellow")))
    if len(run.metrics) > 1:
        names = cut(clean(", ".join(run.metrics)), 80)
        lines.append(line(f"the trials that no other betters in {names}:  ", ("results.pareto_front()", "cyan")))
    if run.path:
        lines.append(line(("results  ", "bold"), clean(run.path, 1000)))
        if not reason:
            lines.append(hint)
    return lines
