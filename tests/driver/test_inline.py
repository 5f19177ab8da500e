"""Trials in the caller's own process and thread."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins.core.trial import Lease, Milestone
from tune_plugins.schedulers import Action, ASHAScheduler, PopulationBasedTraining, TrialScheduler


def fit(function: Any, path: Path, *, run: dict[str, Any] | None = None, **config: Any) -> tune.ResultGrid:
    return tune.Tuner(
        function,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(**{"metric": "loss", "mode": "min", "seed": 3, **config}),
        run_config=tune.RunConfig(storage_path=path, verbose=0, runtime="inline", **(run or {})),
    ).fit()


def curve(config: dict[str, Any]) -> None:
    for step in range(1, 28):
        tune.report(loss=config["x"] + 1 / step)


def decisions(results: tune.ResultGrid) -> list[tuple[Any, ...]]:
    return [(d.trial_id, d.iteration, d.action, d.reason) for d in results.decisions]


def test_runs_in_this_process_and_thread(tmp_path: Path) -> None:
    seen = []

    def train(config: dict[str, Any]) -> dict[str, float]:
        seen.append((os.getpid(), threading.current_thread(), tune.get_context().get_trial_id()))
        return {"loss": config["x"]}

    results = fit(train, tmp_path, num_samples=3)
    assert seen == [(os.getpid(), threading.main_thread(), f"0000{i}") for i in range(3)]
    assert results.num_terminated == 3
    assert tune.get_context().get_trial_id() == "", "the session is gone after the run"


@pytest.mark.parametrize("scheduler", [None, ASHAScheduler(max_t=27, reduction_factor=3)])
def test_same_decisions_as_on_ray(tmp_path: Path, scheduler: TrialScheduler | None) -> None:
    inline = fit(curve, tmp_path / "inline", num_samples=12, scheduler=scheduler)
    on_ray = tune.Tuner(
        curve,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric="loss", mode="min", seed=3, num_samples=12, scheduler=scheduler, max_concurrent_trials=1
        ),
        run_config=tune.RunConfig(storage_path=tmp_path / "ray", verbose=0),
    ).fit()
    assert decisions(inline) == decisions(on_ray)
    assert [(r.config, r.metrics["training_iteration"], r.reason) for r in inline] == [
        (r.config, r.metrics["training_iteration"], r.reason) for r in on_ray
    ]


def test_a_failing_trial_does_not_end_the_run(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> dict[str, float]:
        if tune.get_context().get_trial_id() == "00001":
            raise KeyError("inner")
        return {"loss": config["x"]}

    results = fit(train, tmp_path, num_samples=3)
    assert [r.status.value for r in results] == ["TERMINATED", "ERROR", "TERMINATED"]
    assert "KeyError: 'inner'" in str(results.errors[0])


class RoundRobin(TrialScheduler):
    """Every trial yields after each report, as population based training does with more trials than slots."""

    def next_milestone(self, trial: Any) -> Any:
        from tune_plugins.core.trial import Lease, Milestone

        return Lease(Milestone("training_iteration", trial.iteration + 1), save=True)

    def on_trial_result(self, trial: Any, result: dict[str, Any]) -> str:
        return Action.PAUSE if result["training_iteration"] < 4 else Action.STOP

    def choose_trial_to_run(self, pending: Any, paused: Any) -> Any:
        if len(paused) + len(pending) < 3 and not any(t.iteration for t in paused.values()):
            return next(iter(pending.values()), None)
        waiting = [*pending.values(), *paused.values()]
        return min(waiting, key=lambda t: (t.iteration, t.index), default=None)


def test_paused_trials_go_on_from_their_checkpoints(tmp_path: Path) -> None:
    entered: list[tuple[str, int]] = []

    def train(config: dict[str, Any]) -> None:
        checkpoint, step = tune.get_checkpoint(), 0
        if checkpoint is not None:
            step = int((Path(checkpoint.path) / "step").read_text())
        entered.append((tune.get_context().get_trial_id(), step))
        while True:
            step += 1
            folder = tmp_path / f"state-{tune.get_context().get_trial_id()}"
            folder.mkdir(exist_ok=True)
            (folder / "step").write_text(str(step))
            tune.report({"loss": 1 / step}, checkpoint=tune.Checkpoint.from_directory(folder))

    results = fit(train, tmp_path / "results", num_samples=3, scheduler=RoundRobin())
    assert [r.metrics["training_iteration"] for r in results] == [4, 4, 4]
    assert len(entered) == 12
    assert all(results[i].metrics["loss"] == 0.25 for i in range(3))


def test_pausing_without_a_checkpoint_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(tune.TuneError, match="no checkpoint of iteration 1 to go on from"):
        fit(curve, tmp_path, num_samples=2, scheduler=RoundRobin())


def test_an_error_of_the_run_says_where_the_results_are(tmp_path: Path) -> None:
    with pytest.raises(tune.TuneError, match="no checkpoint of iteration 1") as caught:
        fit(curve, tmp_path, num_samples=2, scheduler=RoundRobin())
    (folder,) = tmp_path.iterdir()
    assert caught.value.__notes__ == [
        f'The results up to here are kept; look at them with tune_plugins.ResultGrid("{folder}")'
    ]
    assert len(tune.ResultGrid(folder)) == 2


def test_time_budget_acts_between_trials_and_reports(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        while True:
            tune.report(loss=1.0)

    results = fit(train, tmp_path, num_samples=50, time_budget_s=0.3)
    assert "time budget" in results[0].reason
    assert len(results) < 50


def population(config: dict[str, Any]) -> None:
    state: list[float] = [0.0, 0]
    if (checkpoint := tune.get_checkpoint()) is not None:
        state = json.loads((Path(checkpoint.path) / "state").read_text())
    while state[1] < 20:
        state = [state[0] + config["x"], state[1] + 1]
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "state").write_text(json.dumps(state))
            tune.report({"loss": -state[0]}, checkpoint=tune.Checkpoint.from_directory(folder))


def test_population_based_training_decides_as_on_ray(tmp_path: Path) -> None:
    def run(runtime: str) -> tune.ResultGrid:
        return tune.Tuner(
            population,
            param_space={"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(
                metric="loss",
                mode="min",
                seed=3,
                num_samples=4,
                max_concurrent_trials=1,
                max_resident_trials=0,
                scheduler=PopulationBasedTraining(
                    time_attr="training_iteration",
                    perturbation_interval=5,
                    hyperparam_mutations={"x": tune.uniform(0, 1)},
                ),
            ),
            run_config=tune.RunConfig(storage_path=tmp_path / runtime, verbose=0, runtime=runtime),
        ).fit()

    inline, on_ray = run("inline"), run("ray")
    assert decisions(inline) == decisions(on_ray)
    assert any(action == "EXPLOIT" for _, _, action, _ in decisions(inline))
    assert [r.metrics["loss"] for r in inline] == [r.metrics["loss"] for r in on_ray]


SCRIPT = """
import os, signal, sys
import tune_plugins as tune

signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background has it ignored

def train(config):
    tune.report(loss=1.0)
    os.kill(os.getpid(), signal.SIGINT)
    while True:
        pass

results = tune.Tuner(
    train,
    tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=3),
    run_config=tune.RunConfig(storage_path=sys.argv[1], verbose=1, runtime="inline"),
).fit()
print([(r.status.value, r.reason) for r in results])
"""


def test_ctrl_c_is_raised_in_the_training_function(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "[('TERMINATED', 'interrupted by Ctrl-C')]" in done.stdout
    assert "ResultGrid(" in done.stdout


def test_sigterm_stops_cleanly_with_its_exit_code(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in itertools.count():
            tune.report(loss=1.0 / (step + 1))
            if step == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        fit(train, tmp_path, run={"name": "ended"}, metric="loss", mode="min", num_samples=3)
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    results = tune.ResultGrid(tmp_path / "ended")
    assert [result.reason for result in results] == ["interrupted by SIGTERM"]
    assert results[0].metrics["training_iteration"] >= 4


def test_sigterm_reaches_a_training_that_reports_nothing(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("never reached")

    with pytest.raises(SystemExit) as ended:
        fit(train, tmp_path, run={"name": "ended"}, num_samples=3)
    assert ended.value.code == 128 + signal.SIGTERM
    (result,) = tune.ResultGrid(tmp_path / "ended")
    assert (result.cause, result.reason) == ("USER", "interrupted by SIGTERM")


def test_ctrl_c_while_an_evicted_training_tidies_up(tmp_path: Path) -> None:
    class Pausing(TrialScheduler):
        def next_milestone(self, trial: Any) -> Any:
            return Lease(Milestone("training_iteration", trial.iteration + 1), save=True)

        def on_trial_result(self, trial: Any, result: dict[str, Any]) -> str:
            return Action.PAUSE

    def train(config: dict[str, Any]) -> None:
        folder = Path(tune.get_context().get_trial_dir(), "mine")
        folder.mkdir(exist_ok=True)
        (folder / "state").write_text("1")
        try:
            tune.report(loss=1.0, checkpoint=tune.Checkpoint(folder))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    results = fit(train, tmp_path, num_samples=2, scheduler=Pausing())
    assert {(str(result.status), result.cause) for result in results} == {("TERMINATED", "USER")}


def test_ctrl_c_when_all_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the end of the training and the return of its runtime."""
    from tune_plugins.driver import inline

    def then_interrupted(*arguments: Any) -> None:
        run_job(*arguments)
        raise KeyboardInterrupt

    run_job = inline.run_job
    monkeypatch.setattr(inline, "run_job", then_interrupted)
    first, second = fit(lambda config: {"loss": 1.0}, tmp_path, num_samples=5)
    assert (first.cause, second.cause) == ("FINISHED", "USER"), "the second one had a slot, and was not begun"


def test_neither_ray_nor_pickling_is_needed(tmp_path: Path) -> None:
    lock = threading.Lock()  # cannot be pickled

    def train(config: dict[str, Any]) -> dict[str, float]:
        with lock:
            return {"loss": config["x"]}

    assert fit(train, tmp_path, num_samples=2).num_terminated == 2


def test_unknown_runtime_is_an_argument_error() -> None:
    with pytest.raises(tune.ArgumentError, match="runtime: expected 'ray' or 'inline', got 'threads'"):
        tune.Tuner(curve, run_config=tune.RunConfig(runtime="threads")).fit()


def climb(config: dict[str, Any]) -> None:
    """Goes on from a checkpoint; the state says under which rate the last step was made."""
    step, height = 0, 0.0
    if (checkpoint := tune.get_checkpoint()) is not None:
        step, height, _ = json.loads(Path(checkpoint.path, "state.json").read_text())
    while step < 8:
        step, height = step + 1, height + config["x"]
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, "state.json").write_text(json.dumps([step, height, config["x"]]))
            tune.report(height=height, checkpoint=tune.Checkpoint.from_directory(directory))


def test_a_result_of_a_population_is_what_was_trained(tmp_path: Path) -> None:
    """Also where a trial copies, at its end, one that has come to the end: there is nothing to train any more."""
    undone = 0
    for seed in range(4):
        scheduler = PopulationBasedTraining(
            "training_iteration", perturbation_interval=2, hyperparam_mutations={"x": tune.uniform(0, 1)}
        )
        results = fit(climb, tmp_path, metric="height", mode="max", num_samples=4, seed=seed, scheduler=scheduler)
        ends = [decision for decision in results.decisions if decision.action == "UNDONE"]
        undone += len(ends)
        for result in results:
            assert result.checkpoint is not None
            _, height, rate = json.loads(Path(result.checkpoint.path, "state.json").read_text())
            assert (height, rate) == (result.metrics["height"], result.config["x"]), result.explain()
            for checkpoint, metrics in result.best_checkpoints:
                saved = json.loads(Path(checkpoint.path, "state.json").read_text())
                assert saved[:2] == [metrics["training_iteration"], metrics["height"]]
            if (schedule := result.pbt_schedule) is not None:
                assert schedule.steps[-1].config == result.config
            elif result.trial_id in {decision.trial_id for decision in ends}:
                assert "keeps its own config" in result.explain()
    assert undone


def test_what_a_function_returns_belongs_to_its_last_result(tmp_path: Path) -> None:
    def scored(config: dict[str, Any]) -> dict[str, float]:
        curve(config)
        return {"test": 2.0}

    (result,) = fit(scored, tmp_path)
    assert result.metrics["test"] == 2.0 and result.metrics["loss"] == result.metrics_dataframe["loss"].iloc[-2]
    assert result.metrics["training_iteration"] == 27


def test_a_function_may_end_with_its_model_if_it_has_reported(tmp_path: Path) -> None:
    def fitted(config: dict[str, Any]) -> object:
        curve(config)
        return object()

    (result,) = fit(fitted, tmp_path)
    assert result.error is None and result.metrics["training_iteration"] == 27
    (silent,) = fit(lambda config: object(), tmp_path)
    assert "must return None, a dict of metrics or a number, got object" in str(silent.error)
