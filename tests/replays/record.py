"""Records runs driven in memory: the events, and the commands that the core answered each with.

Writes one file of JSON lines for each run of `RUNS`, beside this one: first a line that says what it is, then a
line for each event. `tests/core/test_replay.py` replays them. Run it after a deliberate change of decisions, and
read the diff: ``python tests/replays/record.py``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "core"), str(HERE.parent.parent)]

from core_driver import CheckedExperiment, Driver, ListSearcher, Workers  # noqa: E402

from tune_plugins.core.events import Command, Event, ResultsReported  # noqa: E402
from tune_plugins.core.experiment import Rules  # noqa: E402
from tune_plugins.core.trial import Lease, Milestone, Trial  # noqa: E402
from tune_plugins.record.codec import (  # noqa: E402
    PathTranslator,
    event_from_row,
    event_row,
    kind_of,
    result_from_row,
    result_rows,
    results_event_from_row,
    results_event_row,
)
from tune_plugins.schedulers import Action, ASHAScheduler, Decision, FIFOScheduler, TrialScheduler  # noqa: E402
from tune_plugins.search import BasicVariantGenerator, Searcher, SearchTask  # noqa: E402
from tune_plugins.space import Space, loguniform, uniform  # noqa: E402

PATHS = PathTranslator("/experiment")
Suggestions = Mapping[int, dict[str, Any]]


# ------------------------------------------------------------------------------------------ the runs


class TakesTurns(TrialScheduler):
    """Pauses at each second report, goes on with who is behind most, and lets the worst adopt the best at 6."""

    def __init__(self) -> None:
        super().__init__()
        self.best: tuple[float, str] | None = None
        self.count = 0

    def on_trial_add(self, trial: Trial) -> None:
        self.count += 1

    def next_milestone(self, trial: Trial) -> Lease:
        return Lease(Milestone("training_iteration", trial.iteration + 2), save=True)

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision | str:
        score = self.score(result)
        if self.best is None or score < self.best[0]:
            self.best = (score, trial.id)
        iteration = result["training_iteration"]
        if iteration == 6 and self.best[1] != trial.id:
            reason = f"{self.shown(score)} against {self.shown(self.best[0])} of trial {self.best[1]}"
            return Decision(Action.EXPLOIT, reason, self.best[1], {**trial.config, "x": trial.config["x"] / 2})
        return Decision(Action.PAUSE, f"{iteration} iterations done") if iteration % 2 == 0 else Action.CONTINUE

    def choose_trial_to_run(self, pending: Mapping[str, Trial], paused: Mapping[str, Trial]) -> Trial | None:
        if pending:
            return next(iter(pending.values()))
        if self.count < 4:
            return None
        return min(paused.values(), key=lambda t: (t.iteration, t.id), default=None)


def curve(config: dict[str, Any], iteration: int) -> dict[str, Any]:
    return {"loss": round(config["x"] + 1 / iteration, 6)}


def build(
    searcher: Searcher, scheduler: TrialScheduler, suggestions: Suggestions | None = None, **rules: Any
) -> CheckedExperiment:
    asked = Rules(metric="loss", mode="min", **rules)
    space = Space({"x": uniform(0, 1), "lr": loguniform(1e-4, 1e-1)})
    searcher.prepare(SearchTask(space, "loss", "min", asked.seed, num_samples=8))
    scheduler.setup(metric="loss", mode="min", seed=asked.seed)
    return CheckedExperiment(searcher, scheduler, asked, suggestions=suggestions or {})


def asha(suggestions: Suggestions | None = None) -> CheckedExperiment:
    configs = [{"x": ((i * 7) % 16) / 16, "seconds": 1 + i % 3} for i in range(16)]
    scheduler = ASHAScheduler(max_t=27, reduction_factor=3, brackets=2)
    return build(ListSearcher(configs), scheduler, suggestions, seed=1, trial_limit=16, max_failures=1, num_to_keep=2)


def turns(suggestions: Suggestions | None = None) -> CheckedExperiment:
    configs = [{"x": x} for x in (0.5, 0.25, 0.75, 1.0)]
    return build(ListSearcher(configs), TakesTurns(), suggestions, seed=2, trial_limit=4, max_resident_trials=1)


def fifo(suggestions: Suggestions | None = None) -> CheckedExperiment:
    return build(BasicVariantGenerator(), FIFOScheduler(), suggestions, seed=3, trial_limit=8)


def run_asha() -> Driver:
    trouble = {("00001", 2): "lost", ("00004", 4): "failed", ("00005", 1): "preempted", ("00009", 0): "fatal"}
    return Driver(asha(), Workers(curve, 40, save_every=3), slots=3).run(trouble)


def run_turns() -> Driver:
    return Driver(turns(), Workers(curve, 9), slots=2).run()


def run_fifo() -> Driver:
    driver = Driver(fifo(), Workers(curve, 6, batch=4), slots=2)
    return driver.run(interrupt_at=14.0)


RUNS: dict[str, tuple[Callable[..., CheckedExperiment], Callable[[], Driver]]] = {
    "asha_with_failures": (asha, run_asha),
    "pauses_and_exploits": (turns, run_turns),
    "fifo_interrupted": (fifo, run_fifo),
}


# ------------------------------------------------------------------------------------------ the files


def readable(command: Command) -> str:
    """A command as one line; fields that have their default are left out."""
    shown = [f"{f.name}={getattr(command, f.name)!r}" for f in fields(command) if not _is_default(command, f)]
    return f"{type(command).__name__}({', '.join(shown)})"


def _is_default(command: Command, field: Any) -> bool:
    return field.default is not MISSING and getattr(command, field.name) == field.default


def to_line(seq: int, event: Event, commands: Iterable[Command]) -> str:
    line: dict[str, Any] = {}
    if isinstance(event, ResultsReported):
        line["event"] = results_event_row(seq, event, 0)
        line["results"] = [row[3:] for row in result_rows(seq, event, 0)]
    else:
        line["event"] = event_row(seq, event, PATHS)
    line["commands"] = [readable(command) for command in commands]
    return json.dumps(line)


def from_line(text: str) -> tuple[Event, list[str]]:
    line = json.loads(text)
    row = tuple(line["event"])
    if kind_of(row) is ResultsReported:
        return results_event_from_row(row, [result_from_row(*r) for r in line["results"]]), line["commands"]
    return event_from_row(row, PATHS), line["commands"]


def read(name: str) -> Iterator[tuple[Event, list[str]]]:
    """The events of a recorded run, each with the commands it was answered with."""
    lines = (HERE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return map(from_line, lines[1:])


def write(name: str) -> None:
    driver = RUNS[name][1]()
    lines = [json.dumps({"run": name, "events": len(driver.events), "made_by": "tests/replays/record.py"})]
    pairs = zip(driver.events, driver.answers, strict=True)
    lines += [to_line(seq, event, commands) for seq, (event, commands) in enumerate(pairs, 1)]
    (HERE / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for run in RUNS:
        write(run)
        print(HERE / f"{run}.jsonl")
