"""Runs our schedulers over the curves of a task: the engine's own core and simulated runtime, without a record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.taskset.data import Task
from benchmarks.taskset.trace import WORKERS, budget


def run(
    task: Task, order: Sequence[int], seed: int, make_scheduler: Callable[[Any, int], Any]
) -> list[tuple[float, float]]:
    """One run; returns virtual time and loss of each report.

    Args:
        task: whose curves.
        order: configurations in the order in which they are tried.
        seed: of the run.
        make_scheduler: called with the package's module of schedulers and the number of steps of a full training.
    """
    from tune_plugins import schedulers
    from tune_plugins.core.events import ResultsReported
    from tune_plugins.core.experiment import Experiment, Rules
    from tune_plugins.driver.runner import Runner
    from tune_plugins.driver.simulated import Curve, Curves, SimulatedCluster, SimulatedRuntime
    from tune_plugins.driver.suggestions import Suggestions
    from tune_plugins.search import Searcher

    class InOrder(Searcher):
        """Suggests the configurations in the order given."""

        reads_results = False

        def suggest(self, trial_id: str, index: int) -> dict[str, Any]:
            return {"index": order[index]}

    scheduler = make_scheduler(schedulers, task.steps)
    scheduler.setup(metric="loss", mode="min", seed=seed)
    rules = Rules(metric="loss", mode="min", seed=seed, trial_limit=len(order), time_budget_s=budget(task))
    experiment = Experiment(scheduler, rules)
    training = Curves(lambda index, config: Curve(task.curves[config["index"]]), metric="loss")
    runtime = SimulatedRuntime(training, SimulatedCluster(WORKERS), seed=seed, time_budget_s=budget(task))
    reports: list[tuple[float, float]] = []

    class Reports:
        """Takes down the results in the place of a record."""

        def commit(self, events: Sequence[Any], records: Sequence[Any], behind: Sequence[int]) -> None:
            for event in events:
                if isinstance(event, ResultsReported):
                    reports.extend((result["timestamp"], result["loss"]) for result in event.results)

    Runner(experiment, Suggestions(InOrder()), runtime, Reports()).run()
    return reports
