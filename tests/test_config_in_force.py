"""Who asks for a trial's config behind an exploit is told the one that it trains with."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins import session as tune_session
from tune_plugins.results import ResultGrid
from tune_plugins.schedulers import PopulationBasedTraining
from tune_plugins.search import BasicVariantGenerator, Outcome
from tune_plugins.session import TrialContext
from tune_plugins.session.child import ChildSession
from tune_plugins.testing import Exploit, RecordingSession
from tune_plugins.worker.children import children_may_report

STEPS = 8


class Model:
    def __init__(self, live: bool) -> None:
        self.step, self.live = 0, live

    def save_state(self, directory: Path) -> None:
        (directory / "step").write_text(str(self.step))

    def load_state(self, directory: Path, iteration: int) -> None:
        self.step = int((directory / "step").read_text())

    def apply_config(self, changed: Any, before: Any) -> Any:
        return changed if self.live else ()


def train(config: dict[str, Any]) -> None:
    session = tune_session.current()
    assert session is not None
    model = Model(config["live"])
    if session.start_checkpoint is not None:
        model.load_state(Path(session.start_checkpoint.path), 0)
    while model.step < STEPS:
        model.step += 1
        metrics = {"score": config["lr"], "known": tune.get_context().config["lr"]}
        session.report(metrics, iteration=model.step, model=model, last=model.step == STEPS)
        assert tune.get_context().config["lr"] == config["lr"]


class Seen(tune.Callback):
    def __init__(self) -> None:
        self.results: list[tuple[float, ...]] = []
        self.ends: list[tuple[float, ...]] = []

    def on_trial_result(self, iteration: Any, trials: Any, trial: Any, result: Any, **info: Any) -> None:
        self.results.append((result["score"], result["known"], result["config"]["lr"]))

    def on_trial_complete(self, iteration: Any, trials: Any, trial: Any, **info: Any) -> None:
        self.ends.append((trial.last_result["score"], trial.config["lr"]))


class Learns(BasicVariantGenerator):
    reads_results = True

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, float, float]] = []

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.told.append((trial_id, result["score"], result["config"]["lr"]))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
    ) -> None:
        assert result is not None
        self.told.append(("end", result["score"], result["config"]["lr"]))


def exploits(fit: Callable[..., ResultGrid], live: bool) -> None:
    pbt = PopulationBasedTraining(
        "training_iteration", perturbation_interval=2, hyperparam_mutations={"lr": tune.uniform(0.1, 1.0)}
    )
    seen, searcher = Seen(), Learns()
    results = fit(train, live, pbt, searcher, seen)
    assert not results.errors, results.errors
    assert any(one.action in ("IN_PLACE", "RESTART") for one in results.decisions)
    assert len(seen.ends) == 3 and all(len(set(each)) == 1 for each in (*seen.results, *seen.ends)), seen.results
    assert len([told for told in searcher.told if told[0] == "end"]) == 3
    assert all(score == rate for _, score, rate in searcher.told)
    for result in results:
        assert result.config["lr"] == result.metrics["score"] == result.metrics["known"]


@pytest.mark.parametrize("live", [True, False])
def test_callbacks_searchers_and_results_inline(live: bool, tmp_path: Path) -> None:
    def fit(function: Any, live: bool, pbt: Any, searcher: Any, seen: Any) -> ResultGrid:
        return tune.Tuner(
            function,
            param_space={"lr": tune.grid_search([0.1, 0.5, 0.9]), "live": live},
            tune_config=tune.TuneConfig(metric="score", mode="max", scheduler=pbt, search_alg=searcher, seed=1),
            run_config=tune.RunConfig(storage_path=tmp_path, verbose=0, runtime="inline", callbacks=[seen]),
        ).fit()

    exploits(fit, live)


def asks_twice(first: Any, second: Any, found: Any) -> None:
    assert isinstance(tune_session.current(), ChildSession)
    context = tune.get_context()
    found.put(context.config["lr"])
    first.set()
    second.wait(300)
    found.put((context.config["lr"], tune.get_context().config["lr"]))


def test_a_child_knows_of_an_exploit_elsewhere(tmp_path: Path) -> None:
    """The function itself reports and is given another config, while a child of it is at work."""
    (tmp_path / "step").write_text("1")
    context = multiprocessing.get_context("fork")
    first, second, found = context.Event(), context.Event(), context.Queue()
    given = Exploit(tune.Checkpoint(tmp_path), 1, {"lr": 0.5})
    with (
        children_may_report(),
        RecordingSession(context=TrialContext(config={"lr": 0.1}), exploit_at={1: given}) as session,
    ):
        child = context.Process(target=asks_twice, args=(first, second, found))
        child.start()
        assert found.get(timeout=300) == 0.1 and first.wait(300)
        session.report({"loss": 1.0}, model=Model(live=True))
        second.set()
        assert found.get(timeout=300)[1] == 0.5
        child.join()
    assert child.exitcode == 0
