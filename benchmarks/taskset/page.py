"""Writes the table and the plot of the regrets into the documentation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.environment import ROOT
from benchmarks.registry import Record, difference, over_tasks
from benchmarks.taskset.data import short_name
from benchmarks.taskset.trace import FULL_TRAININGS, POINTS, WORKERS

PAGE = ROOT / "docs" / "schedulers" / "regret.md"
PLOT = ROOT / "docs" / "_static" / "regret.svg"


def publish(
    record: Record, facts: Sequence[tuple[str, str]], *, methods: Sequence[str], peers: Sequence[str], baseline: str
) -> list[Path]:
    """Write the page and its plot; returns their paths."""
    names = (*methods, *peers)
    PAGE.parent.mkdir(exist_ok=True)
    PLOT.parent.mkdir(exist_ok=True)
    PAGE.write_text(_page(record, facts, names, baseline))
    _plot(record, methods, peers)
    return [PAGE, PLOT]


def _page(record: Record, facts: Sequence[tuple[str, str]], names: Sequence[str], baseline: str) -> str:
    tasks = list(record.samples(baseline, "regret"))
    seeds = len(record.samples(baseline, "regret")[tasks[0]])
    lines = [
        "<!-- written by `make bench`; do not edit -->",
        "",
        "# Schedulers on real learning curves",
        "",
        "Random search over 1,000 configurations of an optimizer on six trainings of the TaskSet collection,",
        f"{WORKERS} virtual workers, the budget of {FULL_TRAININGS} full trainings, {seeds} seeds. With a seed all",
        "methods try the same configurations in the same order. Peers are driven over the same curves by calls of",
        "their own classes.",
        "",
        "![Regret over virtual time, one panel a task](../_static/regret.svg)",
        "",
        "## Regret, averaged over virtual time",
        "",
        *_table(record, names, "regret", tasks, baseline),
        "",
        "## Regret at the end of the budget",
        "",
        *_table(record, names, "final_regret", tasks, baseline),
        "",
        "## How to read this",
        "",
        "The *incumbent* is the model of the smallest validation loss reported so far, by any trial at any step.",
        "Its *regret* is 0 where it is the best of all 1,000 curves at any step, and 1 at or above the loss of an",
        "untrained model (the median over the configurations), as it also is before the first report; a loss that",
        "is NaN counts as worse than any. Less is better. After ± stands one standard error over the seeds. The",
        "last column is the mean difference to random search, which trains each configuration to its end, with",
        "its standard error; seeds are compared in pairs.",
        "",
        "A training has 50 steps, and a report follows each; the point before the first step is left out. Rungs",
        "begin at 1 step and the reduction factor is 3 for all methods that have them. ASHA decides from the",
        "first result at a rung on (`min_results_per_rung=1`), as the peers do; *default minimum* is ASHA as it",
        "comes. Syne Tune 0.16 has the stopping form only.",
        "",
        "```sh",
        "python -m benchmarks --only taskset_regret --taskset DIR",
        "```",
        "",
        "makes this page anew; `DIR` holds the curves, which are no part of this project.",
        "",
    ]
    lines += [f"- {name}: {value}" for name, value in facts if value and name not in ("Machine", "Rounds")]
    return "\n".join(lines) + "\n"


def _table(record: Record, names: Sequence[str], figure: str, tasks: Sequence[str], baseline: str) -> list[str]:
    headings = ("method", *(short_name(task) for task in tasks), "mean", "less than random search")
    lines = [_row(headings), _row(["---"] * len(headings))]
    for name in names:
        samples = record.samples(name, figure)
        if not samples:
            continue
        means = [statistics.fmean(samples[task]) for task in tasks]
        by_seed = over_tasks(samples)
        gap = ""
        if name != baseline:
            middle, low, _ = difference(by_seed, over_tasks(record.samples(baseline, figure)))
            gap = f"{-middle:.3f} ± {middle - low:.3f}"
        mean = f"{statistics.fmean(by_seed):.3f} ± {statistics.stdev(by_seed) / math.sqrt(len(by_seed)):.3f}"
        lines.append(_row((name, *(f"{value:.3f}" for value in means), mean, gap)))
    return lines


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plot(record: Record, methods: Sequence[str], peers: Sequence[str]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "regret"  # the same curves give the same file
    from matplotlib import pyplot as plt

    tasks = list(record.samples(methods[0], "course"))
    figure, panels = plt.subplots(2, 3, figsize=(11, 6.5), sharex=True)
    times = [FULL_TRAININGS * point / POINTS for point in range(1, POINTS + 1)]
    for task, panel in zip(tasks, panels.flat, strict=True):
        for number, name in enumerate((*methods, *peers)):
            course = record.samples(name, "course").get(task)
            if course:
                style = ":" if name in peers else "-"
                panel.plot(times, course, style, color=f"C{number}", label=name, linewidth=1.4)
        panel.set_title(short_name(task), fontsize=9)
        panel.set_yscale("log")
        panel.grid(alpha=0.3)
    for panel in panels[-1]:
        panel.set_xlabel("work, in full trainings")
    for panel in panels[:, 0]:
        panel.set_ylabel("regret of the incumbent")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=5, fontsize=9, frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(PLOT, metadata={"Date": None})
    plt.close(figure)
