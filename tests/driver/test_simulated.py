"""A simulated run is driven by the loop of every run: hooks, display, retention, signals, errors."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins.callbacks import Callback, RunInfo
from tune_plugins.core.events import ResultsReported
from tune_plugins.core.experiment import Experiment, Rules
from tune_plugins.core.scheduler import Decision, TrialScheduler
from tune_plugins.core.searcher import Searcher
from tune_plugins.core.trial import TrialStatus
from tune_plugins.driver import runner
from tune_plugins.driver.runner import Runner, Unrecorded
from tune_plugins.driver.simulated import Curve, Curves, SimulatedRuntime
from tune_plugins.driver.suggestions import Suggestions
from tune_plugins.record.store import ExperimentStore
from tune_plugins.schedulers import ASHAScheduler, PopulationBasedTraining


def curve(config: dict[str, Any]) -> list[float]:
    return [config["x"] / step for step in range(1, 10)]


def simulate(training: Any = curve, *, samples: int = 4, scheduler: Any = None, **options: Any) -> tune.ResultGrid:
    return tune.simulate(
        training,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(metric="value", mode="min", num_samples=samples, seed=1, scheduler=scheduler),
        run_config=tune.RunConfig(**{"verbose": 0, **options}),
        cluster=tune.SimulatedCluster(workers=2),
    )


class Noting(Callback):
    """Takes down the name of each hook, and of whom it told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.run: RunInfo | None = None

    def setup(self, *args: Any, run: RunInfo, **info: Any) -> None:
        self.run = run

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.calls.append(("start", trial.id))

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        self.calls.append(("result", trial.id))

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        assert trial.status is TrialStatus.TERMINATED
        self.calls.append(("complete", trial.id))

    def on_checkpoint(self, iteration: int, trials: Any, trial: Any, checkpoint: Any, **info: Any) -> None:
        self.calls.append(("checkpoint", trial.id))

    def on_experiment_end(self, trials: Any, *, reason: str, **info: Any) -> None:
        self.calls.append(("end", reason))


def test_hooks_are_called() -> None:
    noting = Noting()
    results = simulate(callbacks=[noting])
    assert noting.run is not None
    assert noting.run.virtual_clock
    assert (noting.run.slots, noting.run.total_trials) == (2, 4)
    for trial_id in ("00000", "00001", "00002", "00003"):
        told = [name for name, whom in noting.calls if whom == trial_id]
        assert told == ["start", *["result"] * 9, "complete"]
    assert noting.calls[-1] == ("end", "")
    assert len(results) == 4


def test_a_hook_that_raises_is_told_once_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
            raise ValueError("no")

    assert len(simulate(callbacks=[Broken()])) == 4
    assert caplog.text.count("Broken.on_trial_result raised") == 1


def test_verbose_is_honoured(capsys: pytest.CaptureFixture[str]) -> None:
    simulate(verbose=0)
    assert capsys.readouterr().out == ""
    simulate(verbose=1)
    shown = capsys.readouterr().out
    assert "4 trials in" in shown
    assert "trial 00000 done" not in shown
    simulate(verbose=2)
    assert "trial 00000 done after 9.0s at iteration 9" in capsys.readouterr().out


def test_a_progress_reporter_takes_the_place_of_the_display(capsys: pytest.CaptureFixture[str]) -> None:
    noting = Noting()
    simulate(verbose=1, progress_reporter=noting)
    assert capsys.readouterr().out == ""
    assert noting.calls


def test_times_in_the_display_are_virtual() -> None:
    import io

    from rich.console import Console

    from tune_plugins.display.live import LiveDisplay

    file = io.StringIO()
    display = LiveDisplay(Console(file=file, force_terminal=True, width=150), 1)
    seen = []

    class Looking(Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
            seen.append(display.time_of_trials() - (trial.started_at or 0.0))

    simulate(lambda config: Curve([config["x"]] * 50, 60.0), progress_reporter=display, callbacks=[Looking()])
    assert len(seen) == 200
    assert all(0 <= age <= 2 * 50 * 60 for age in seen)


def test_retention_deletes_and_records_it(tmp_path: Path) -> None:
    config = tune.CheckpointConfig(num_to_keep=1)
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration", perturbation_interval=2, hyperparam_mutations={"x": tune.uniform(0, 1)}
    )
    noting = Noting()

    class Training:
        def start(self, index: int, config: dict[str, Any], seed: int) -> int:
            return 0

        def step(self, state: int, config: dict[str, Any]) -> tuple[int, dict[str, float], float] | None:
            return None if state == 20 else (state + 1, {"value": config["x"] / (state + 1)}, 1.0)

    simulate(
        Training(), scheduler=scheduler, storage_path=tmp_path, name="kept", checkpoint_config=config,
        callbacks=[noting],
    )  # fmt: skip
    with ExperimentStore.open(tmp_path / "kept") as store:
        left = [kept.trial_id for kept in store.checkpoints()]
        saved = store.checkpoints(include_deleted=True)
        exploits = store.exploits()
    assert exploits
    assert sorted(left) == ["00000", "00001", "00002", "00003"]
    assert len(saved) == sum(name == "checkpoint" for name, _ in noting.calls) > 10


def test_states_that_nobody_keeps_are_forgotten() -> None:
    class Given(Searcher):
        def suggest(self, trial_id: str, index: int) -> dict[str, Any]:
            return {"x": float(index)}

    class Saving(TrialScheduler):
        def next_milestone(self, trial: Any) -> Any:
            from tune_plugins.core.trial import Lease

            return Lease(super().next_milestone(trial), save=True)  # type: ignore[arg-type]

    scheduler = Saving(metric="value", mode="min")
    experiment = Experiment(scheduler, Rules(metric="value", mode="min", trial_limit=3, num_to_keep=2))
    training = Curves(lambda index, config: Curve([1.0] * 9))
    runtime = SimulatedRuntime(training, tune.SimulatedCluster(workers=2))
    Runner(experiment, Suggestions(Given()), runtime, Unrecorded()).run()
    assert len(runtime._checkpoints) == 3 * 2


def test_ctrl_c_stops_cleanly() -> None:
    calls = []

    def interrupted(config: dict[str, Any]) -> list[float]:
        calls.append(config)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return curve(config)

    results = simulate(interrupted, samples=1000)
    assert len(calls) < 10
    assert {result.reason for result in results} == {"the trial function returned", "interrupted by Ctrl-C"}


def test_a_scheduler_that_raises_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    class Broken(TrialScheduler):
        def on_trial_result(self, trial: Any, result: dict[str, Any]) -> Decision | str:
            if result["training_iteration"] == 5:
                raise ZeroDivisionError("by zero")
            return super().on_trial_result(trial, result)

    with pytest.raises(tune.TuneError, match="ZeroDivisionError in the scheduler or stopper"):
        simulate(scheduler=Broken(), storage_path=tmp_path, name="broken")
    results = tune.ResultGrid(tmp_path / "broken")
    assert max(result.metrics["training_iteration"] for result in results) == 5


def test_a_training_that_raises_is_told_as_it_is() -> None:
    def broken(config: dict[str, Any]) -> list[float]:
        raise ZeroDivisionError("by zero")

    with pytest.raises(ZeroDivisionError, match="by zero"):
        simulate(broken)


@pytest.mark.parametrize("scheduler", [None, ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3)])
def test_nobody_is_left_waiting_unnoticed(scheduler: TrialScheduler | None) -> None:
    class Mute(SimulatedRuntime):
        """Workers that swallow every start."""

        def perform(self, commands: Any) -> None:
            return

    class Given(Searcher):
        def suggest(self, trial_id: str, index: int) -> dict[str, Any]:
            return {"x": float(index)}

    scheduler = scheduler or TrialScheduler()
    scheduler.setup(metric="value", mode="min", seed=0)
    experiment = Experiment(scheduler, Rules(trial_limit=3))
    runtime = Mute(Curves(lambda index, config: Curve([1.0])), tune.SimulatedCluster(workers=2))
    with pytest.raises(tune.TuneError, match=f"{type(scheduler).__name__} left 2 trials waiting for each other"):
        Runner(experiment, Suggestions(Given()), runtime, Unrecorded()).run()


def test_the_record_does_not_depend_on_when_the_driver_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That depends on the clock of the wall; states are deleted then, and several events may be committed together."""

    class Steps:
        def start(self, index: int, config: dict[str, Any], seed: int) -> int:
            return 0

        def step(self, state: int, config: dict[str, Any]) -> tuple[int, dict[str, float], float] | None:
            return None if state == 40 else (state + 1, {"value": config["x"] * (7 * state % 5 + 1)}, 1.0)

    logs = []
    for name, seconds in (("at once", 0.0), ("at the end", 1e9)):
        monkeypatch.setattr(runner, "_COMMIT_S", seconds)
        tune.simulate(
            Steps(),
            param_space={"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(
                metric="value",
                mode="min",
                num_samples=6,
                seed=3,
                scheduler=PopulationBasedTraining(
                    time_attr="training_iteration",
                    perturbation_interval=1,
                    quantile_fraction=0.5,
                    hyperparam_mutations={"x": tune.uniform(1, 2)},
                ),
            ),
            run_config=tune.RunConfig(
                verbose=0,
                storage_path=tmp_path,
                name=name.replace(" ", "-"),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            ),
            # Some lag, so that exploits lead back to iterations that were saved before.
            cluster=tune.SimulatedCluster(workers=6, straggler_probability=0.5, straggler_factor=9.7),
        )
        with ExperimentStore.open(tmp_path / name.replace(" ", "-")) as store:
            logs.append((list(store.events()), store.decisions(), store.configs(), store.exploits()))
    assert logs[0] == logs[1]
    events, decisions, _, _ = logs[0]
    assert decisions
    for decision in decisions:
        led = events[decision.seq - 1]
        if decision.action == "EXPLOIT":
            assert isinstance(led, ResultsReported) and led.waiting and led.trial_id == decision.trial_id


def test_the_best_are_kept(tmp_path: Path) -> None:
    keep = tune.CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="value", checkpoint_score_order="min")
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration", perturbation_interval=1, hyperparam_mutations={"x": tune.uniform(0, 1)},
        quantile_fraction=0.0,
    )  # fmt: skip
    values = [5.0, 1.0, 2.0, 9.0, 8.0]
    simulate(
        lambda config: values,
        samples=2,
        scheduler=scheduler,
        storage_path=tmp_path,
        name="best",
        checkpoint_config=keep,
    )
    with ExperimentStore.open(tmp_path / "best") as store:
        kept = [(saved.record.iteration, saved.record.score) for saved in store.checkpoints("00000")]
    assert {(2, 1.0), (3, 2.0)} <= set(kept)
    assert len(kept) <= 3, "the newest one is kept as well"


def test_trials_have_the_names_that_the_user_makes(tmp_path: Path) -> None:
    results = tune.simulate(
        curve,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric="value", mode="min", num_samples=2, trial_name_creator=lambda trial: f"number {trial.index}"
        ),
        run_config=tune.RunConfig(verbose=0),
    )
    assert [result.trial_name for result in results] == ["number 0", "number 1"]
    assert simulate(samples=1)[0].trial_name == "simulation_00000"


def test_a_second_ctrl_c_ends_a_slow_step_at_once() -> None:
    def slow(config: dict[str, Any]) -> list[float]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("never reached")

    with pytest.raises(KeyboardInterrupt):
        simulate(slow)
