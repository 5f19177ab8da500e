"""What people write who extend a callback or connect a framework by hand, taken from public scripts and reports."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import torch
import xgboost

from tune_plugins.errors import TrialEvicted, TrialRestarted, TrialStopped
from tune_plugins.integrations import Adapter, Fit
from tune_plugins.integrations import lightgbm as lightgbm_adapter
from tune_plugins.integrations import xgboost as xgboost_adapter
from tune_plugins.integrations.torch import TrainState
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.session import TrialContext
from tune_plugins.testing import Exploit, RecordingSession

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
if str(EXAMPLES) not in sys.path:
    sys.path.append(str(EXAMPLES))

import own_adapter  # noqa: E402
import own_framework  # noqa: E402

X = np.random.default_rng(2).random((60, 3))
Y = (X[:, 0] > 0.5).astype(int)


def test_a_callback_adds_what_it_finds_in_the_model() -> None:
    """The number of leaves is reported beside the metrics (ray-project/lightgbm_ray#44)."""

    class Leaves(lightgbm_adapter.TuneReportCheckpointCallback):
        def send(self, metrics: Mapping[str, Any], iteration: int | None = None, **options: Any) -> bool:
            leaves = sum(tree["num_leaves"] for tree in self.model.dump_model()["tree_info"])
            return super().send({**metrics, "total_leaves": leaves}, iteration, **options)

    data = lightgbm.Dataset(X, Y)
    params = {"objective": "binary", "num_leaves": 3, "num_threads": 1, "verbose": -1, "min_data_in_leaf": 5}
    with RecordingSession() as session:
        model = lightgbm.train(params, data, 3, valid_sets=[data], callbacks=[Leaves()])
    leaves = [tree["num_leaves"] for tree in model.dump_model()["tree_info"]]
    assert session.values("total_leaves") == [sum(leaves[: rounds + 1]) for rounds in range(3)]
    assert "training-binary_logloss" in session.reports[0].metrics


def test_the_last_model_is_saved_whatever_the_frequency() -> None:
    """Ten rounds, saved every four: the end is missing in Ray Tune (ray-project/ray#40705)."""

    class Subclass(xgboost_adapter.TuneReportCheckpointCallback):
        def after_training(self, model: Any) -> Any:
            self.rounds = self.model.num_boosted_rounds()
            return super().after_training(model)

    data, callback = xgboost.DMatrix(X, Y), Subclass(frequency=4)
    with RecordingSession() as session:
        xgboost.train({"nthread": 1}, data, 10, evals=[(data, "eval")], verbose_eval=False, callbacks=[callback])
    assert list(session.checkpoints) == [4, 8, 10] and callback.rounds == 10 and callback.model is None


def test_a_population_sets_the_groups_of_the_optimizer_by_hand() -> None:
    """As `reset_config` in an example of PBT (ray-project/ray#7469), told what was changed from what (#8829)."""
    told = []

    class ByHand(TrainState):
        def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
            told.append({name: (before[name], value) for name, value in changed.items()})
            for group in optimizer.param_groups:
                if "lr" in changed:
                    group["lr"] = changed["lr"]
                if "momentum" in changed:
                    group["momentum"] = changed["momentum"]
            return {"lr", "momentum"} & changed.keys()

    def script(epochs: int) -> Any:
        nonlocal optimizer
        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        state = ByHand(model=model, optimizer=optimizer)
        for epoch in state.epochs(epochs):
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
            state.report(loss=1.0 / (epoch + 1))
        return optimizer

    optimizer: Any = None
    config = {"lr": 0.1, "momentum": 0.9}
    with RecordingSession(save_at={2}, context=TrialContext(config=dict(config))) as donor:
        script(3)
    exploit = {2: Exploit(donor.checkpoints[2], 2, {"lr": 0.2, "momentum": 0.5})}
    with RecordingSession(exploit_at=exploit, context=TrialContext(config=dict(config))) as session:
        (group,) = script(4).param_groups
    assert told == [{"lr": (0.1, 0.2), "momentum": (0.9, 0.5)}] and session.iterations == [1, 2, 3, 4]
    assert (group["lr"], group["momentum"]) == (0.2, 0.5)


def test_epochs_without_the_metric_are_passed_over() -> None:
    """A callback returns where there is no value yet (optuna/optuna#479): iterations are those that have one."""

    class EverySecond(own_adapter.TuneReportCheckpointCallback):
        def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
            if trainer.epoch % 2 == 0:
                super().on_epoch_end(trainer, logs)

    def script() -> int:
        trainer = own_framework.Trainer(own_framework.Model(3, 2))
        trainer.fit((X, Y), (X, Y), 6, callbacks=[EverySecond()])
        return trainer.epoch

    with RecordingSession(save_at={4}, raise_at={4: TrialEvicted()}) as before, pytest.raises(TrialEvicted):
        script()
    with RecordingSession(start_checkpoint=before.checkpoints[4], start_iteration=4) as session:
        assert script() == 6
    assert before.iterations == [2, 4] and session.iterations == [6]


class TwoFunctions(Adapter):
    """A framework that takes one function for evaluations and another for epochs (ray-project/ray#10533)."""

    saves = True

    def __init__(self) -> None:
        self.set_up(filename="epoch.txt")
        self.epoch, self.metrics = 0, dict[str, float]()

    def save_state(self, directory: Path) -> None:
        (directory / self.filename).write_text(str(self.epoch))

    def on_evaluation(self, **metrics: float) -> None:
        self.metrics.update(metrics)

    def on_epoch(self, epoch: int) -> bool:
        self.epoch = epoch
        return self.send(self.metrics, epoch)


def fit_by_functions(epochs: int, eval_end: Callable[..., Any], epoch_end: Callable[[int], bool]) -> int:
    for epoch in range(1, epochs + 1):
        eval_end(accuracy=epoch / 10)
        if epoch_end(epoch):
            return epoch
    return epochs


def test_two_functions_instead_of_a_callback() -> None:
    def script() -> int:
        adapter = TwoFunctions()
        adapter.begin_fit(Fit)
        epochs = fit_by_functions(5, adapter.on_evaluation, adapter.on_epoch)
        adapter.finish_fit()
        return epochs

    assert script() == 5  # alone
    with RecordingSession(stop_at=3) as session:
        assert script() == 3
    assert session.values("accuracy") == [0.1, 0.2, 0.3]
    assert Path(session.checkpoints[3].path, "epoch.txt").read_text() == "3"


def test_a_framework_that_cannot_be_told_to_stop_is_left() -> None:
    """A function whose result nobody looks at (huggingface/sentence-transformers#327) raises as a loop by hand does."""
    adapter = TwoFunctions()

    def callback(score: float, epoch: int, steps: int) -> None:
        if adapter.send({"score": score}, epoch):
            adapter.finish_fit()
            raise adapter._fit.session.stopped

    def trains_on() -> None:
        for epoch in range(1, 6):
            callback(0.5, epoch, -1)

    with RecordingSession(stop_at=2) as session, pytest.raises(TrialStopped):
        adapter.begin_fit(Fit)
        trains_on()
    assert session.iterations == [1, 2] and list(session.checkpoints) == [2]


def test_a_framework_that_swallows_what_callbacks_raise(tmp_path: Path) -> None:
    """As a loop in another language may do (optuna/optuna#2734): nothing is reported any more, and the engine knows."""

    class Number(TwoFunctions):
        def load_state(self, directory: Path, iteration: int) -> None:
            self.epoch = int((directory / self.filename).read_text())

    (tmp_path / "epoch.txt").write_text("2")
    exploit = {2: Exploit(Checkpoint(tmp_path), 2, {"lr": 0.2})}
    with RecordingSession(exploit_at=exploit, context=TrialContext(config={"lr": 0.1})) as session:
        adapter = Number()
        adapter.begin_fit(Fit)
        for epoch in range(1, 6):
            with suppress(BaseException):  # in the framework
                adapter.on_epoch(epoch)
        with pytest.raises(TrialRestarted, match="'lr' cannot be changed in a running training"):
            session.raise_if_unwound()
    assert session.iterations == [1, 2] and session.restarts
