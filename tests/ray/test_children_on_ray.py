"""Processes that a trial starts, such as the ranks of a distributed training, report through it; on the real engine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins import session as tune_session
from tune_plugins.results import ResultGrid
from tune_plugins.schedulers import ASHAScheduler, PopulationBasedTraining
from tune_plugins.session import Verdict

Fit = Callable[..., ResultGrid]
STEPS = 12


class Model:
    def __init__(self, live: bool) -> None:
        self.step, self.learned, self.live = 0, 0.0, live

    def save_state(self, directory: Path) -> None:
        (directory / "state").write_text(f"{self.step} {self.learned}")

    def load_state(self, directory: Path, iteration: int) -> None:
        step, learned = (directory / "state").read_text().split()
        self.step, self.learned = int(step), float(learned)

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        return changed if self.live else ()


def rank_zero(live: bool) -> None:
    session = tune_session.current()
    assert session is not None
    model, config = Model(live), session.context.config
    if (checkpoint := session.start_checkpoint) is not None:
        model.load_state(Path(checkpoint.path), 0)
    while model.step < STEPS:
        model.step += 1
        model.learned += config["rate"]
        metrics = {"learned": model.learned, "step": model.step}
        if session.report(metrics, iteration=model.step, model=model) is Verdict.STOP:
            break
    session.finish(model, at_end=True)


def in_a_child(config: dict[str, Any]) -> None:
    child = multiprocessing.get_context(config.get("method", "fork")).Process(
        target=rank_zero, args=(config.get("live", True),)
    )
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError(f"the child ended with {child.exitcode}")


def grid(count: int = 4, **fixed: Any) -> dict[str, Any]:
    return {"rate": tune.grid_search([0.1 * (count - i) for i in range(count)]), **fixed}


def test_a_scheduler_stops_children(fit: Fit) -> None:
    asha = ASHAScheduler(max_t=STEPS, grace_period=3, reduction_factor=2)
    results = fit(in_a_child, grid(method="spawn"), metric="learned", mode="max", scheduler=asha)
    assert not results.errors
    reached = [result.metrics["training_iteration"] for result in results]
    assert max(reached) == STEPS and min(reached) < STEPS
    assert all(result.checkpoint is not None for result in results)


@pytest.mark.parametrize("live", [True, False])
def test_population_in_children(fit: Fit, live: bool) -> None:
    pbt = PopulationBasedTraining(
        "training_iteration", perturbation_interval=3, hyperparam_mutations={"rate": tune.uniform(0.1, 0.5)}
    )
    results = fit(in_a_child, grid(live=live), metric="learned", mode="max", scheduler=pbt, seed=2)
    assert not results.errors, results.errors
    assert {result.metrics["step"] for result in results} == {STEPS}
    done = [d for d in results.decisions if d.action in ("IN_PLACE", "RESTART")]
    assert done
    for decision in done:
        in_place = live or ("applied" not in decision.reason and "changed" not in decision.reason)
        assert decision.action == ("IN_PLACE" if in_place else "RESTART"), decision


def test_a_child_that_dies_is_an_error_of_the_trial(fit: Fit) -> None:
    def dies(config: dict[str, Any]) -> None:
        child = multiprocessing.get_context("fork").Process(target=lambda: 1 / 0)
        child.start()
        child.join()
        if child.exitcode:
            raise RuntimeError(f"the child ended with {child.exitcode}")

    (result,) = fit(dies)
    assert result.error is not None and "the child ended with 1" in str(result.error)


SCRIPT = """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from torch.utils.data import DataLoader


    class BadRow(Exception):
        def __init__(self, number, why):
            super().__init__(f"row {number}: {why}")


    class Rows:
        def __len__(self):
            return 1

        def __getitem__(self, index):
            raise BadRow(index, "no label")


    def double(x):
        return 2 * x


    def load(config):
        list(DataLoader(Rows(), num_workers=1))


    def pool(config):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as executor:
            return {"x": list(executor.map(double, [1, 2]))[-1]}


    class Stepped(tune.Trainable):
        def step(self):
            return pool({})


    for train in (load, pool, Stepped):
        config = tune.RunConfig(verbose=0, stop={"training_iteration": 1})
        (result,) = tune.Tuner(train, run_config=config).fit()
        if train is load:
            assert isinstance(result.error, BadRow), result.error
            print(result.error.type_name, result.error.message)
        else:
            print(result.metrics["x"])
"""


def test_processes_that_a_trial_forks_know_the_script(ok: Callable[..., str]) -> None:
    """An error that the script defines, in a DataLoader; a function of it in a pool."""
    assert ok(SCRIPT).split("\n")[:3] == ["BadRow row 0: no label", "4", "4"]


def _fold(number: int) -> float:
    rate: float = tune.get_context().config["rate"]
    if number == 0:
        for _ in range(2):
            tune.report(rate=rate)
    return rate


def test_processes_of_joblib_belong_to_the_trial_that_uses_them(fit: Fit) -> None:
    import joblib

    def train(config: dict[str, Any]) -> None:
        known = joblib.Parallel(n_jobs=2)(joblib.delayed(_fold)(number) for number in range(3))
        assert known == [config["rate"]] * 3

    results = fit(train, grid(6))
    assert not results.errors, results.errors
    for result in results:
        assert result.metrics["rate"] == result.config["rate"] and result.metrics["training_iteration"] == 2


def test_folds_that_report_at_the_same_time_are_refused(fit: Fit, tmp_path: Path) -> None:
    import joblib

    def fold(number: int, folder: Path) -> None:
        try:
            tune.report(number=number)
        finally:
            (folder / str(number)).touch()
            while len(list(folder.iterdir())) < 2:
                multiprocessing.Event().wait(0.01)
        tune.report(number=number)

    def train(config: dict[str, Any]) -> None:
        joblib.Parallel(n_jobs=2)(joblib.delayed(fold)(number, tmp_path) for number in range(2))

    (result,) = fit(train)
    assert result.error is not None and "report the mean behind the loop" in str(result.error)
