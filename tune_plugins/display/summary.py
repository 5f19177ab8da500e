"""The end of a run in a few lines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from tune_plugins.core.ends import EndCause
from tune_plugins.core.trial import Trial, TrialStatus
from tune_plugins.display.lines import Line, joined, line, padded, width
from tune_plugins.display.progress import Progress
from tune_plugins.display.text import clean, count, cut, duration, exact, leaves, metric_text, open_hint

_MOST_PARAMETERS = 40
_WORDS = {TrialStatus.ERROR: "failed"}
_STYLES = {TrialStatus.ERROR: "bold red"}


def summary(
    progress: Progress, reason: str, elapsed: float, trials: Sequence[Trial], warnings: Sequence[str] = ()
) -> list[Line]:
    """What became of the trials, the best one, where the results are and how to look at them.

    Args:
        progress: everything taken in.
        reason: why the run ended early; empty where it did not.
        elapsed: seconds since the run began.
        trials: all of them.
        warnings: of the scheduler.
    """
    run, best = progress.run, progress.best
    lines: list[Line] = []
    hint = line("look at them with  ", (open_hint(run.path), "cyan")) if run.path else []
    if reason:
        lines.append(line(("ended early: " + clean(reason), "bold yellow")))
        if hint:
            lines.append(line("the results so far are kept; ", *hint))
        lines.append([])
    total, statuses = len(trials), Counter(trial.status for trial in trials)
    by_status = [
        line((f"{number:,} {_WORDS.get(status, status.value.lower())}", _STYLES.get(status, "")))
        for status, number in sorted(statuses.items(), key=lambda pair: list(TrialStatus).index(pair[0]), reverse=True)
        if number
    ]
    head = line((count(total, "trial"), "bold"), f" in {duration(elapsed)}", ": " if by_status else "")
    lines.append(head + joined(by_status, ", "))
    if reason and run.total_trials is not None and run.total_trials > total:
        lines[-1] += line(f", {run.total_trials - total:,} never began")
    if words := early_stopping(trials, run.max_iterations):
        lines.append(line(words))
    for warning in warnings:
        lines.append(line(("warning ", "bold yellow"), clean(warning, 1000)))
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
    elif run.metric is not None and run.mode is not None and total:
        lines.append(line((f"no trial has reported a finite number as {cut(clean(run.metric), 80)!r}", "yellow")))
    if len(run.metrics) > 1:
        names = cut(clean(", ".join(run.metrics)), 80)
        lines.append(line(f"the trials that no other betters in {names}:  ", ("results.pareto_front()", "cyan")))
    if run.path:
        lines.append(line(("results  ", "bold"), clean(run.path, 1000)))
        if not reason:
            lines.append(hint)
    return lines


def early_stopping(trials: Sequence[Trial], planned: float | None) -> str:
    """What early stopping did, in numbers; empty where it did nothing.

    Args:
        trials: all of them.
        planned: iterations at which a trial ends at the latest; None: not known.

    >>> stopped = Trial("00000", 0, {}, trained=10, iteration=10, cause=EndCause.SCHEDULER)
    >>> early_stopping([stopped, Trial("00001", 1, {}, trained=100, iteration=100)], 100)
    '1 of 2 stopped early, 110 of 200 rounds trained, 45 % saved'
    """
    stopped = [trial for trial in trials if trial.cause is EndCause.SCHEDULER]
    waiting = [trial for trial in trials if trial.cause is EndCause.ABANDONED]
    if not (stopped or waiting):
        return ""
    parts = [f"{len(stopped):,} of {len(trials):,} stopped early"]
    if waiting:
        parts.append(f"{len(waiting):,} never went on")
    if planned is not None:
        # A training that comes to its end by itself may do so long before the scheduler would end it.
        ended = max((trial.trained for trial in trials if trial.cause is EndCause.FINISHED), default=planned)
        planned = min(planned, max(ended, *(trial.trained for trial in trials)))
        whole = planned * len(trials)
        # What others have not trained, since they failed or the run was interrupted, was not saved.
        saved = sum(max(planned - trial.trained, 0) for trial in (*stopped, *waiting))
        trained = sum(trial.trained for trial in trials)
        parts += [f"{trained:,} of {whole:,.0f} rounds trained", f"{math.floor(100 * saved / whole)} % saved"]
    return ", ".join(parts)
