"""Searchers that take their time, fail, or never answer, while trials run."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins.core.events import SuggestionMade
from tune_plugins.core.scheduler import TrialScheduler
from tune_plugins.errors import TuneError
from tune_plugins.record.store import ExperimentStore
from tune_plugins.results import ResultGrid
from tune_plugins.search import Outcome, Searcher


class AsksAtEveryReport(TrialScheduler):
    needs_metric = False


class Slow(Searcher):
    """Its second suggestion takes until a file is there; notes in which thread it was called."""

    def __init__(self, awaited: Path | None) -> None:
        super().__init__()
        self.awaited = awaited
        self.released = threading.Event()
        self.threads: set[bool] = set()
        self.ends: dict[str, Outcome] = {}

    def suggest(self, trial_id: str, index: int) -> Any:
        self.threads.add(threading.current_thread() is threading.main_thread())
        while index == 1 and not (self.awaited is not None and self.awaited.exists()) and not self.released.wait(0.01):
            pass
        return {"index": index}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
    ) -> None:
        self.ends[trial_id] = outcome


def _reports(config: dict[str, Any]) -> None:
    for step in range(1, 6):
        tune.report(step=step)
    Path(config["folder"], "reported").touch()


def test_no_verdict_waits_for_a_suggestion(fit: Any, tmp_path: Path) -> None:
    """The first trial gets five verdicts while the second suggestion is being computed, which ends behind them."""
    searcher = Slow(tmp_path / "reported")

    def suggest(trial_id: str, index: int) -> Any:
        return {**Slow.suggest(searcher, trial_id, index), "folder": str(tmp_path)}

    searcher.suggest = suggest  # type: ignore[method-assign]
    results = fit(_reports, search_alg=searcher, num_samples=4, scheduler=AsksAtEveryReport())
    assert [result.metrics["step"] for result in results] == [5] * 4
    assert searcher.threads == {False}
    assert searcher.ends == {f"0000{n}": Outcome.COMPLETED for n in range(4)}
    with ExperimentStore.open(results.experiment_path) as store:
        made = [event for event in store.events() if isinstance(event, SuggestionMade)]
    # What it knew when it was asked, not when it answered.
    assert [(event.index, event.told) for event in made][:2] == [(0, 0), (1, 0)]


def _for_ever(config: dict[str, Any]) -> None:
    step = 0
    while True:
        step += 1
        tune.report(step=step)


def test_the_time_budget_acts_while_a_suggestion_is_computed(fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune_plugins.driver.suggestions._GRACE_S", 0.1)
    searcher = Slow(None)
    results = fit(_for_ever, search_alg=searcher, num_samples=4, time_budget_s=2)
    (result,) = results
    assert result.cause == "TIME_BUDGET" and result.metrics["step"] > 0, result.error
    searcher.released.set()


def test_one_that_never_answers_is_an_error_with_its_name(
    fit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tune_plugins.driver.suggestions._GRACE_S", 0.1)
    searcher = Slow(None)
    searcher.timeout_s = 0.5
    with pytest.raises(TuneError, match=r"Slow\.suggest has not returned for \d+ s, and no trial is running"):
        fit(lambda config: {"step": 1}, search_alg=searcher, num_samples=4, name="run")
    searcher.released.set()
    (result,) = ResultGrid(tmp_path / "results" / "run")
    assert result.metrics["step"] == 1


def test_one_that_raises_is_named_and_results_are_kept(fit: Any, tmp_path: Path) -> None:
    class Broken(Slow):
        def suggest(self, trial_id: str, index: int) -> Any:
            return {"index": index} if index < 2 else {}["model"]

    with pytest.raises(TuneError, match=r"KeyError in Broken\.suggest, trial 00002: 'model'\. All results up to here"):
        fit(lambda config: {"step": 1}, search_alg=Broken(None), num_samples=4, name="run")
    assert [result.status.finished for result in ResultGrid(tmp_path / "results" / "run")] == [True, True]
