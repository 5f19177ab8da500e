"""Ray Tune's pair in every adapter: a callback that reports and one that saves, in one training, as scripts have it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import catboost
import keras
import lightgbm
import lightning.pytorch
import numpy as np
import pytest
import torch
import transformers_task
import xgboost

import tune_plugins as tune
from tune_plugins.errors import ArgumentError, TrialEvicted, TuneError
from tune_plugins.session import TrialContext
from tune_plugins.testing import Exploit, RecordingSession

ROUNDS = 4
X = np.random.default_rng(4).random((64, 3)).astype("float32")
Y = (X.sum(1) > 1.5).astype("int64")


def by_xgboost(*callbacks: Any) -> None:
    data = xgboost.DMatrix(X, Y)
    params = {"objective": "binary:logistic", "eval_metric": ["logloss", "error"], "nthread": 1}
    xgboost.train(params, data, ROUNDS, evals=[(data, "eval")], verbose_eval=False, callbacks=list(callbacks))


def by_lightgbm(*callbacks: Any) -> None:
    data = lightgbm.Dataset(X, Y, params={"verbose": -1})
    params = {"objective": "binary", "metric": ["binary_logloss", "auc"], "num_threads": 1, "verbose": -1}
    lightgbm.train(params, data, ROUNDS, valid_sets=[data], valid_names=["eval"], callbacks=list(callbacks))


def by_catboost(*callbacks: Any) -> None:
    model = catboost.CatBoostClassifier(
        iterations=ROUNDS, custom_metric="AUC", verbose=False, allow_writing_files=False, thread_count=1
    )
    model.fit(X, Y, eval_set=(X, Y), callbacks=list(callbacks))


def by_keras(*callbacks: Any) -> None:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(X, Y, epochs=ROUNDS, verbose=0, validation_data=(X, Y), callbacks=list(callbacks))


class Module(lightning.pytorch.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = torch.nn.Linear(3, 2)

    def loss(self, batch: Any) -> Any:
        return torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def training_step(self, batch: Any, index: int) -> Any:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def by_lightning(*callbacks: Any) -> None:
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y)), batch_size=32)
    trainer = lightning.pytorch.Trainer(
        max_epochs=ROUNDS,
        callbacks=list(callbacks),
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(), data, data)


def by_transformers(*callbacks: Any) -> None:
    config = transformers_task.CONFIG
    transformers_task.make(config, "output", *callbacks, epochs=ROUNDS).train()


TRAININGS: dict[str, tuple[Callable[..., None], str, str]] = {
    "xgboost": (by_xgboost, "eval-logloss", "eval-error"),
    "lightgbm": (by_lightgbm, "eval-binary_logloss", "eval-auc"),
    "catboost": (by_catboost, "validation-Logloss", "validation-AUC"),
    "keras": (by_keras, "val_loss", "accuracy"),
    "lightning": (by_lightning, "val_loss", "train_loss"),
    "transformers": (by_transformers, "eval_loss", "eval_accuracy"),
}
"""{module of the adapter: (a script, two metrics that there are)}."""
ALWAYS = {"epoch", "step", "global_step"}

every = pytest.mark.parametrize("name", TRAININGS)


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras with NumPy 2
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),  # few workers, few batches
]


def callbacks_of(name: str) -> tuple[Any, Any]:
    module = importlib.import_module(f"tune_plugins.integrations.{name}")
    return module.TuneReportCallback, module.TuneReportCheckpointCallback


def session_of(**options: Any) -> RecordingSession:
    return RecordingSession(context=TrialContext(config={}, metric="loss", mode="min"), **options)


@every
@pytest.mark.parametrize("reports_first", [True, False])
def test_each_iteration_is_reported_once_and_saved(name: str, reports_first: bool) -> None:
    """The callback that only saves came beside the one that reports (ray-project/ray#10220 and #10509 add both)."""
    (train, loss, _), (report, save) = TRAININGS[name], callbacks_of(name)
    pair = [report({"loss": loss}), save()]
    with session_of(save_at={2}) as session:
        train(*(pair if reports_first else reversed(pair)))
    assert session.iterations == [1, 2, 3, 4]
    assert set(session.reports[-1].metrics) - ALWAYS == {"loss"}, "what one of them names, and not all there is"
    assert list(session.checkpoints) == [2, 4] and session.finished == 1


@every
def test_what_any_of_them_names_is_reported(name: str) -> None:
    """Metrics of one callback and of another (ray-project/ray_lightning#219)."""
    (train, loss, other), (report, save) = TRAININGS[name], callbacks_of(name)
    with session_of() as session:
        train(report({"loss": loss}), report([other]), save({"the loss": loss}))
    assert session.iterations == [1, 2, 3, 4]
    assert set(session.reports[-1].metrics) - ALWAYS == {"loss", other, "the loss"}
    assert session.values("loss") == session.values("the loss") != session.values(other)


@every
def test_a_trial_goes_on_and_exploits_with_the_pair(name: str) -> None:
    (train, loss, _), (report, save) = TRAININGS[name], callbacks_of(name)
    with session_of(save_at={2}, raise_at={2: TrialEvicted()}) as before, pytest.raises(TrialEvicted):
        train(report({"loss": loss}), save())
    with session_of(start_checkpoint=before.checkpoints[2], start_iteration=2) as session:
        train(report({"loss": loss}), save())
    assert session.iterations == [3, 4]
    with session_of(exploit_at={2: Exploit(before.checkpoints[2], 2, {})}) as exploiting:
        train(save(), report({"loss": loss}))
    assert exploiting.iterations == [1, 2, 3, 4] and not exploiting.restarts
    assert exploiting.values("loss")[2:] == pytest.approx(session.values("loss"))


@every
def test_the_newest_checkpoint_is_kept(name: str, tmp_path: Path) -> None:
    """``CheckpointConfig(num_to_keep=1)`` with both callbacks, and with two hooks where there are any."""
    (train, loss, _), (report, save) = TRAININGS[name], callbacks_of(name)
    two = {"lightning": ["validation_end", "train_end"], "keras": ["epoch_end", "train_end"]}.get(name)
    hooks = {"on": two} if two else {}

    def script(config: dict[str, Any]) -> None:
        train(report({"loss": loss}), save(**hooks))

    (result,) = tune.Tuner(
        script,
        tune_config=tune.TuneConfig(metric="loss", mode="min"),
        run_config=tune.RunConfig(
            storage_path=tmp_path / "results",
            runtime="inline",
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_frequency=1),
        ),
    ).fit()
    assert list(result.metrics_dataframe["training_iteration"]) == [1, 2, 3, 4]
    # The newest one, and the newest to go on from: there is nothing to go on with behind the end.
    folders = sorted(path.name for path in Path(result.path).glob("checkpoint*") if path.is_dir())
    assert folders == ["checkpoint_000003", "checkpoint_000004"] and result.checkpoint.path.endswith(folders[-1])


@every
def test_a_callback_of_a_pair_acts_alone_the_next_time(name: str) -> None:
    (train, loss, other), (report, save) = TRAININGS[name], callbacks_of(name)
    reporting = report({"loss": loss})
    with session_of():
        train(reporting, save([other]))
    with session_of(stop_at=2) as session:
        train(reporting)
    assert session.iterations == [1, 2] and set(session.reports[0].metrics) - ALWAYS == {"loss"}
    assert not session.checkpoints


@every
def test_alone_the_pair_does_nothing(name: str) -> None:
    (train, *_), (report, save) = TRAININGS[name], callbacks_of(name)
    train(report("no such metric"), save("no such metric"))


@every
def test_what_cannot_be_joined_is_refused(name: str) -> None:
    (train, loss, other), (report, save) = TRAININGS[name], callbacks_of(name)
    with session_of() as session, pytest.raises(ArgumentError, match=r"'loss' is .* in one of the callbacks"):
        train(report({"loss": loss}), save({"loss": other}))
    with session, pytest.raises(ArgumentError, match=r"expected one callback that saves checkpoints .*, got 2"):
        train(save(), report(), save())
    assert not session.reports


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "catboost"])
def test_the_function_that_makes_the_results(name: str) -> None:
    """It may be in either."""
    (train, loss, _), (report, save) = TRAININGS[name], callbacks_of(name)

    def twice(values: dict[str, float]) -> dict[str, float]:
        return {"twice": 2 * values["loss"]}

    for pair in (
        [report({"loss": loss}, results_postprocessing_fn=twice), save()],
        [report({"loss": loss}), save(results_postprocessing_fn=twice)],
    ):
        with session_of() as session:
            train(*pair)
        assert [set(one.metrics) for one in session.reports] == [{"twice"}] * 4


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "catboost"])
def test_the_model_of_a_checkpoint(name: str) -> None:
    """`get_model`, as scripts take it from the result of a run."""
    train, save = TRAININGS[name][0], callbacks_of(name)[1]
    with session_of() as session:
        train(save())
    model = save.get_model(session.checkpoints[4])
    assert type(model) is type(session.checkpoints[4].load_model())
    assert type(save.get_model(session.checkpoints[4], filename=save().filename)) is type(model)


@every
@pytest.mark.parametrize("theirs", ["RayTrainReportCallback", "ReportCheckpointCallback", "TuneCheckpointCallback"])
def test_names_of_ray_say_what_to_import(name: str, theirs: str) -> None:
    module = f"tune_plugins.integrations.{name}"
    with pytest.raises(ImportError, match=f"from {module} import TuneReportCheckpointCallback"):
        exec(f"from {module} import {theirs}")


# --- when it is reported


def test_lightning_reports_steps() -> None:
    """Each batch, and each epoch once, whatever else was chosen (ray-project/ray#10220: any hook)."""
    report, save = callbacks_of("lightning")
    with session_of() as session:
        by_lightning(save({"loss": "train_loss"}, on=["batch_end", "validation_end", "fit_end"]))
    assert session.values("step") == list(range(1, 9)) and session.iterations == list(range(1, 9))
    assert session.values("epoch") == [0, 0, 1, 1, 2, 2, 3, 3] and len(session.values("loss")) == 8
    with session_of() as session:
        by_lightning(report({"loss": "val_loss"}, on="validation_end"), save(on="train_end"))
    assert session.values("epoch") == [0, 1, 2, 3] and list(session.checkpoints) == [4]


@pytest.mark.parametrize("theirs", ["validation_epoch_end", "epoch_end", ("validation_end", "epoch_end", "fit_end")])
def test_hooks_of_lightning_by_other_names(theirs: Any) -> None:
    with session_of() as session:
        by_lightning(callbacks_of("lightning")[1](on=theirs))
    assert session.values("epoch") == [0, 1, 2, 3]


def test_hooks_of_lightning_that_report_nothing() -> None:
    with pytest.raises(ArgumentError, match="on: expected one or several of 'validation_end', 'train_epoch_end'"):
        callbacks_of("lightning")[0](on=["validation_end", "init_end"])


def test_keras_reports_by_its_older_name() -> None:
    """``on=`` and a name without ending, as the examples of Ray Tune had it (ray-project/ray#25482)."""
    report, save = callbacks_of("keras")
    with session_of() as session:
        by_keras(report({"mean_accuracy": "accuracy"}, on="epoch_end"))
    assert session.iterations == [1, 2, 3, 4] and set(session.reports[0].metrics) == {"mean_accuracy"}
    with session_of(save_at=lambda iteration: True) as session:
        by_keras(save(metrics={"mean_accuracy": "accuracy"}, filename="model", on="epoch_end"))
    assert list(session.checkpoints) == [1, 2, 3, 4]
    assert Path(session.checkpoints[4].path, "model.weights.h5").is_file()


@pytest.mark.parametrize(
    ("events", "iterations"),
    [
        ("train_end", 1),
        (["train_end"], 1),
        (["epoch_end", "train_end"], 4),
        (["test_end", "epoch_end"], 4),
        (("train_batch_end", "epoch_end"), 8),
        (["train_batch_end", "test_end", "train_end"], 8),
    ],
)
def test_keras_reports_on_several_events(events: Any, iterations: int) -> None:
    """Metrics of batches beside those of epochs (ray-project/ray#31213); no epoch comes twice."""
    with session_of(save_at=lambda iteration: True) as session:
        by_keras(callbacks_of("keras")[1](report_metrics_on=events, checkpoint_on=["epoch_end", "train_end"]))
    assert session.iterations == list(range(1, iterations + 1))
    assert "loss" in session.reports[-1].metrics
    assert list(session.checkpoints) == (
        [1] if iterations == 1 else list(range(iterations // 4, iterations + 1, iterations // 4))
    )


def test_keras_saves_with_a_report() -> None:
    """A checkpoint at an event at which nothing was to be reported: metrics come with it, as Ray's callback says."""
    with session_of(save_at=lambda iteration: True) as session:
        by_keras(callbacks_of("keras")[1](report_metrics_on="epoch_end", checkpoint_on=["train_batch_end"]))
    assert session.iterations == list(session.checkpoints) == list(range(1, 9))


def test_a_metric_of_the_validation_is_not_asked_of_batches() -> None:
    with session_of() as session:
        by_keras(callbacks_of("keras")[0]({"score": "val_loss"}, ["train_batch_end", "epoch_end"]))
    assert [set(one.metrics) for one in session.reports] == [set(), {"score"}] * 4


def test_the_trainer_reports_evaluations_and_logs() -> None:
    report, save = callbacks_of("transformers")
    with session_of() as session:
        by_transformers(
            report({"the loss": "loss"}, on="log"), save({"loss": "eval_loss"}, on=["evaluate", "epoch_end"])
        )
    assert session.values("epoch") == [1, 2, 3, 4]
    assert set(session.reports[-1].metrics) - ALWAYS == {"loss", "the loss"}


def test_a_callback_that_is_added_to_a_trainer_beside_one_that_saves() -> None:
    report, save = callbacks_of("transformers")
    with session_of() as session:
        trainer = transformers_task.make(transformers_task.CONFIG, "output", save(), epochs=2)
        trainer.add_callback(report({"loss": "eval_loss"}))
        trainer.train()
        with pytest.raises(TuneError, match="given to the Trainer after that was made"):
            late = transformers_task.make(transformers_task.CONFIG, "output", epochs=1)
            late.add_callback(save())
            late.train()
    assert session.iterations == [1, 2] and list(session.checkpoints) == [2]
    assert set(session.reports[-1].metrics) - ALWAYS == {"loss"}
