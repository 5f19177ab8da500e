"""The Keras adapter against the real Keras: on the back end that this process has.

tests/integrations/test_keras_conformance.py runs these cases on the other one, without those marked `one_back_end`:
what they are about is the same on each.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import pytest

import tune_plugins.session as tune_session
from tune_plugins.errors import ArgumentError, TrialEvicted, TrialRestarted, TrialStopped
from tune_plugins.integrations import _keras_optimizer as hyper
from tune_plugins.integrations.keras import TuneReportCallback, TuneReportCheckpointCallback
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.session import TrialContext
from tune_plugins.testing import Exploit, RecordingSession

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras with NumPy 2
BACKEND = keras.backend.backend()
EPOCHS = 4

_random = np.random.default_rng(0)
X = _random.normal(size=(24, 5)).astype("float32")
Y = (X.sum(1) > 0).astype("int32")
VALIDATION = {"validation_data": (X[16:], Y[16:])}


def build(optimizer: Any = None, *, built: bool = True, dropout: bool = True, **options: Any) -> Any:
    keras.utils.set_random_seed(5)
    layers = [keras.layers.Dense(4, activation="tanh"), *([keras.layers.Dropout(0.4)] if dropout else [])]
    layers += [keras.layers.Dense(2, activation="softmax")]
    model = keras.Sequential([*([keras.layers.Input((5,))] if built else []), *layers])
    model.compile(optimizer or keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy", **options)
    return model


class Subclassed(keras.Model):
    """Has no variables before it has seen data."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = keras.layers.Dense(4, activation="tanh")
        self.dropout = keras.layers.Dropout(0.4)
        self.out = keras.layers.Dense(2, activation="softmax")

    def call(self, x: Any, training: bool = False) -> Any:
        return self.out(self.dropout(self.hidden(x), training=training))


def build_subclassed() -> Any:
    keras.utils.set_random_seed(5)
    model = Subclassed()
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    return model


def fit(model: Any, *callbacks: Any, epochs: int = EPOCHS, data: Any = None, **options: Any) -> Any:
    x, y = (X[:16], Y[:16]) if data is None else (data, None)
    batch = {"batch_size": 4} if data is None else {}
    keras.utils.set_random_seed(9)  # for the shuffling, as a script does
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(9)
    return model.fit(x, y, epochs=epochs, verbose=0, callbacks=list(callbacks), **batch, **options)


def arrays(model: Any) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(v) for v in (*model.weights, *model.optimizer.variables)]


def same(one: Any, other: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(arrays(one), arrays(other), strict=True))


def rate(model: Any) -> float:
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))


def saved(session: RecordingSession, iteration: int) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(session.checkpoints[iteration].path, "training_state.json").read_text())
    return content


def trained(checkpoint: Checkpoint | None, model: Any) -> Any:
    """`model` with what a checkpoint holds, loaded by Keras alone."""
    assert checkpoint is not None
    model.optimizer.build(model.trainable_variables)
    model.load_weights(Path(checkpoint.path, "model.weights.h5"))
    return model


class Recorder(keras.callbacks.Callback):
    """What Keras tells its callbacks."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[int] = []
        self.ends = 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append(epoch)

    def on_train_end(self, logs: Any = None) -> None:
        self.ends += 1


# --- outside a trial


def test_without_a_trial_the_callback_changes_nothing() -> None:
    assert tune_session.current() is None
    model, bare = build(), build()
    recorder = Recorder()
    fit(model, TuneReportCheckpointCallback(metrics="no-such-metric", frequency=1), recorder)
    fit(bare)
    assert same(model, bare) and recorder.epochs == [0, 1, 2, 3]


def test_in_a_trial_the_model_is_the_same_too() -> None:
    model, bare = build(), build()
    with RecordingSession(save_at=range(99)):
        fit(model, TuneReportCheckpointCallback(), **VALIDATION)
    fit(bare, **VALIDATION)
    assert same(model, bare)


@pytest.mark.one_back_end
def test_batches_are_not_watched_unless_asked_for() -> None:
    """A callback with `on_train_batch_end` makes Keras read the metrics back after every step."""
    assert keras.src.utils.is_default(TuneReportCheckpointCallback().on_train_batch_end)
    assert not keras.src.utils.is_default(TuneReportCallback(None, "train_batch_end").on_train_batch_end)


@pytest.mark.one_back_end
def test_a_missing_back_end_is_named_with_those_there_are(tmp_path: Path) -> None:
    """PyTorch alone is installed, and nobody has said that Keras is to use it."""
    code = """
import pickle, sys
from importlib.machinery import PathFinder
from tune_plugins.errors import MissingDependencyError
find = PathFinder.find_spec
hidden = ("tensorflow", "jax")
PathFinder.find_spec = lambda name, *args: None if name.partition(".")[0] in hidden else find(name, *args)
try:
    import tune_plugins.integrations.keras
except MissingDependencyError as error:
    assert error.__suppress_context__ and not {"torch", *hidden} & set(sys.modules)
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, ImportError) and str(copy) == str(error)
    print(error.module, error)
"""
    environ = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environ["KERAS_HOME"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tensorflow tune_plugins.integrations.keras imports Keras, whose back end 'tensorfl")
    assert "KERAS_BACKEND (not set)" in done.stdout and "Installed: torch. Write" in done.stdout
    assert 'os.environ["KERAS_BACKEND"] = "torch" before the first import of Keras' in done.stdout


# --- what is reported


@pytest.mark.one_back_end
@pytest.mark.parametrize("first", [True, False])
def test_every_epoch_with_what_the_others_add(first: bool) -> None:
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.1 / (epoch + 1))
    with RecordingSession() as session:
        callback = TuneReportCallback()
        record = fit(build(), *((callback, scheduler) if first else (scheduler, callback)), **VALIDATION)
    assert session.iterations == [1, 2, 3, 4]
    assert set(session.reports[0].metrics) == {"loss", "val_loss", "learning_rate"} == set(record.history)
    assert session.values("learning_rate") == record.history["learning_rate"]
    assert all(type(value) is float for report in session.reports for value in report.metrics.values())


@pytest.mark.one_back_end
def test_metric_of_validation_that_is_not_in_every_epoch() -> None:
    with RecordingSession() as session:
        fit(build(), TuneReportCallback(["loss", "val_loss"]), validation_freq=2, **VALIDATION)
    assert [set(report.metrics) for report in session.reports] == [{"loss"}, {"loss", "val_loss"}] * 2
    with RecordingSession(), pytest.raises(ArgumentError, match="'val_accuracy'; there are 'loss', 'val_loss'"):
        fit(build(), TuneReportCallback(["val_accuracy"]), validation_freq=2, **VALIDATION)
    for callback in (TuneReportCallback("val_loss"), TuneReportCallback("val_loss", "train_batch_end")):
        options = VALIDATION if callback._report_on == "train_batch_end" else {}
        with RecordingSession() as session, pytest.raises(ArgumentError, match="'val_loss'"):
            fit(build(), callback, validation_freq=2, **options)
        assert session.reports == []


def test_metric_of_several_values() -> None:
    model = build()
    with RecordingSession() as session:
        targets = keras.utils.to_categorical(Y[:16], 2)
        model.compile("sgd", "categorical_crossentropy", metrics=[keras.metrics.F1Score(average=None)])
        model.fit(X[:16], targets, epochs=1, verbose=0, callbacks=[TuneReportCallback()])
    (score,) = session.values("f1_score")
    assert set(score) == {"0", "1"} and all(type(value) is float for value in score.values())


@pytest.mark.one_back_end
def test_all_wrong_arguments_at_once() -> None:
    with pytest.raises(ArgumentError, match="5 mistakes") as caught:
        TuneReportCheckpointCallback([1], "epoch_start", "train_begin", "../model.h5", -1)  # type: ignore[list-item]
    for name in ("metrics", "report_metrics_on", "checkpoint_on", "filename", "frequency"):
        assert any(mistake.startswith(f"{name}:") for mistake in caught.value.mistakes)
    assert "one or several of 'epoch_end', 'train_batch_end', 'test_end', 'train_end'" in str(caught.value)


# --- stopping


@pytest.mark.parametrize("stop_at", [1, 3, 4])
@pytest.mark.parametrize("first", [True, False])
def test_stop_ends_the_training_and_leaves_the_history(stop_at: int, first: bool) -> None:
    recorder, model = Recorder(), build()
    with RecordingSession(stop_at=stop_at) as session:
        callback = TuneReportCheckpointCallback()
        record = fit(model, *((callback, recorder) if first else (recorder, callback)))
    assert session.iterations == list(range(1, stop_at + 1))
    assert recorder.epochs == list(range(stop_at)) and recorder.ends == 1 and session.finished == 1
    assert record.epoch == recorder.epochs and record.history["loss"] == session.values("loss")
    assert same(trained(session.checkpoints[stop_at], build()), model)


@pytest.mark.parametrize("best", [False, True])
@pytest.mark.parametrize("first", [True, False])
def test_early_stopping_leaves_the_last_checkpoint_whatever_the_order(first: bool, best: bool) -> None:
    def early() -> Any:
        return keras.callbacks.EarlyStopping("loss", patience=1, min_delta=10.0, restore_best_weights=best)

    model, bare, last = build(), build(), build()
    fit(bare, early())
    fit(last, epochs=2)
    with RecordingSession() as session:
        callback = TuneReportCheckpointCallback()
        fit(model, *((callback, early()) if first else (early(), callback)))
    assert session.iterations == [1, 2] and session.finished == 1
    assert same(model, bare)
    assert same(trained(session.checkpoints[2], build()), last)


def test_nan_ends_the_training_and_is_reported() -> None:
    with RecordingSession() as session:
        fit(build(keras.optimizers.SGD(float("inf"))), TuneReportCheckpointCallback(), keras.callbacks.TerminateOnNaN())
    (loss,) = session.values("loss")
    assert loss != loss and session.finished == 1


def test_averaged_weights_are_not_what_is_gone_on_from() -> None:
    """With `use_ema` Keras puts the averages in place when the training ends."""

    def averaging() -> Any:
        return build(keras.optimizers.SGD(0.1, use_ema=True))

    whole, model = averaging(), averaging()
    fit(whole)
    with RecordingSession(stop_at=2) as before:
        fit(averaging(), TuneReportCheckpointCallback())
    with RecordingSession(start_checkpoint=before.last_checkpoint, start_iteration=2):
        fit(model, TuneReportCheckpointCallback())
    assert same(model, whole)


# --- going on


class Shuffled(keras.utils.PyDataset):
    """Data in batches; Keras shuffles them."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return X[4 * index : 4 * index + 4], Y[4 * index : 4 * index + 4]


def loader(shuffle: bool = True, **options: Any) -> Any:
    import torch

    data = torch.utils.data.TensorDataset(torch.tensor(X[:16]), torch.tensor(Y[:16]))
    return torch.utils.data.DataLoader(data, batch_size=4, shuffle=shuffle, **options)


@pytest.mark.parametrize("source", ["arrays", "dataset", "loader"])
@pytest.mark.parametrize("model", [build, build_subclassed, lambda: build(built=False)])
def test_a_stopped_trial_goes_on_as_if_it_had_never_been(source: str, model: Any) -> None:
    data = {"arrays": lambda: None, "dataset": Shuffled, "loader": loader}[source]
    whole, resumed = model(), model()
    fit(whole, data=data(), **VALIDATION)
    with RecordingSession(stop_at=2) as before:
        fit(model(), TuneReportCheckpointCallback(), data=data(), **VALIDATION)
    with RecordingSession(start_checkpoint=before.last_checkpoint, start_iteration=2) as session:
        record = fit(resumed, TuneReportCheckpointCallback(), data=data(), **VALIDATION)
    assert session.iterations == [3, 4] and record.epoch == [2, 3]
    assert same(resumed, whole)


@pytest.mark.one_back_end
def test_a_model_that_fit_leaves_unbuilt_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under TensorFlow, where the first batch builds the model."""
    with RecordingSession(stop_at=2) as before:
        fit(build_subclassed(), TuneReportCheckpointCallback())
    build_now, calls = Subclassed._symbolic_build, []

    def late(self: Any, *args: Any, **kwargs: Any) -> None:
        calls.append(self)
        if len(calls) > 1:
            build_now(self, *args, **kwargs)

    whole, resumed = build_subclassed(), build_subclassed()
    fit(whole)
    monkeypatch.setattr(Subclassed, "_symbolic_build", late)
    with RecordingSession(start_checkpoint=before.last_checkpoint, start_iteration=2) as session:
        fit(resumed, TuneReportCheckpointCallback())
    assert len(calls) >= 2 and session.iterations == [3, 4]
    assert same(resumed, whole)


@pytest.mark.one_back_end
def test_complete_checkpoint_gets_no_further_epoch() -> None:
    with RecordingSession() as before:
        fit(build(), TuneReportCheckpointCallback())
    model = build()
    with RecordingSession(start_checkpoint=before.last_checkpoint, start_iteration=4) as session:
        record = fit(model, TuneReportCheckpointCallback())
        assert session.reports == [] and session.checkpoints == {} and record.epoch == []
        fit(model, TuneReportCallback(), epochs=1)  # and Keras has forgotten where the first one began
    assert session.iterations == [5]


@pytest.mark.one_back_end
@pytest.mark.parametrize("first", [True, False])
def test_a_backup_of_keras_does_not_take_the_place_of_the_checkpoint(first: bool, tmp_path: Path) -> None:
    def callbacks() -> list[Any]:
        both = [TuneReportCheckpointCallback(), keras.callbacks.BackupAndRestore(tmp_path / "backup")]
        return both if first else both[::-1]

    whole, resumed = build(), build()
    fit(whole)
    with RecordingSession(save_at={2}, raise_at={3: TrialEvicted()}) as before, pytest.raises(TrialEvicted):
        fit(build(), *callbacks())
    assert json.loads((tmp_path / "backup" / "training_metadata.json").read_text())["epoch"] == 3
    with RecordingSession(start_checkpoint=before.checkpoints[2], start_iteration=2) as session:
        record = fit(resumed, *(used := callbacks()))
        assert session.iterations == [3, 4] and record.epoch == [2, 3] and same(resumed, whole)
        assert not any("on_train_begin" in vars(callback) for callback in used)
        fit(resumed, TuneReportCallback(), epochs=1)
    assert session.iterations == [3, 4, 5]  # Keras has forgotten where the backup had begun


@pytest.mark.one_back_end
def test_weights_alone_begin_with_the_first_epoch_whatever_a_backup_says(tmp_path: Path) -> None:
    fit(build(), keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False), epochs=2)
    build().save_weights(tmp_path / "model.weights.h5")
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with RecordingSession(start_checkpoint=Checkpoint.from_directory(tmp_path), start_iteration=1):
        record = fit(build(), backup, TuneReportCheckpointCallback())
    assert record.epoch == [0, 1, 2, 3]


@pytest.mark.one_back_end
def test_initial_epoch_of_the_script_counts() -> None:
    with RecordingSession() as session:
        fit(build(), TuneReportCheckpointCallback(), initial_epoch=2)
    assert session.iterations == [3, 4] and saved(session, 4)["epoch"] == 4


@pytest.mark.parametrize("with_optimizer", [True, False])
def test_weights_alone_begin_with_the_first_epoch(with_optimizer: bool, tmp_path: Path) -> None:
    source = build()
    fit(source, epochs=2)
    if not with_optimizer:
        weights = source.get_weights()
        source = keras.Sequential([keras.layers.Input((5,)), *source.layers])
        source.set_weights(weights)
    source.save_weights(tmp_path / "start.weights.h5")
    plain, model = build(), build()
    plain.optimizer.build(plain.trainable_variables)
    plain.load_weights(tmp_path / "start.weights.h5")
    if with_optimizer:
        assert int(plain.optimizer.iterations) == 8
    fit(plain)
    start = Checkpoint.from_directory(tmp_path)
    with RecordingSession(start_checkpoint=start, start_iteration=7) as session:
        record = fit(model, TuneReportCheckpointCallback(filename="start.weights.h5"))
    assert session.iterations == [8, 9, 10, 11] and record.epoch == [0, 1, 2, 3]
    assert same(model, plain)


@pytest.mark.one_back_end
def test_weights_of_a_checkpoint_load_into_a_bare_model() -> None:
    model, bare = build(), build()
    with RecordingSession() as session:
        fit(model, TuneReportCheckpointCallback())
    assert session.last_checkpoint is not None
    inference = keras.Sequential([keras.layers.Input((5,)), *bare.layers])
    inference.load_weights(Path(session.last_checkpoint.path, "model.weights.h5"))
    assert np.array_equal(inference.predict(X, verbose=0), model.predict(X, verbose=0))


@pytest.mark.one_back_end
def test_missing_file_names_those_there_are() -> None:
    with RecordingSession() as before:
        fit(build(), TuneReportCheckpointCallback(filename="other.weights.h5"), epochs=1)
    with (
        RecordingSession(start_checkpoint=before.last_checkpoint, start_iteration=1),
        pytest.raises(ArgumentError, match=r"no file 'model\.weights\.h5'; it has 'other\.weights\.h5'"),
    ):
        fit(build(), TuneReportCheckpointCallback())


# --- several fits, evaluate, predict


def test_later_fits_count_on_and_leave_the_checkpoints_alone() -> None:
    callback, model = TuneReportCheckpointCallback(frequency=2), build()
    with RecordingSession() as session:
        fit(model, callback)
        fit(model, callback, epochs=2)
    assert session.iterations == [1, 2, 3, 4, 5, 6] and list(session.checkpoints) == [2, 4]
    resumed = build()
    with RecordingSession(start_checkpoint=session.checkpoints[2], start_iteration=2) as again:
        fit(resumed, TuneReportCheckpointCallback())
        fit(resumed, TuneReportCheckpointCallback(), epochs=2)
    assert again.iterations == [3, 4, 5, 6]
    assert same(resumed, model)


@pytest.mark.one_back_end
def test_fit_after_the_stop_is_refused() -> None:
    with RecordingSession(stop_at=2) as session:
        fit(build(), TuneReportCallback())
        with pytest.raises(TrialStopped):
            fit(build(), TuneReportCallback())
    assert session.iterations == [1, 2]


@pytest.mark.one_back_end
def test_evaluate_and_predict_in_a_trial_report_nothing() -> None:
    model, callback = build(), TuneReportCheckpointCallback()

    class Evaluates(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.evaluate(X, Y, verbose=0, callbacks=[callback])

    with RecordingSession() as session:
        model.evaluate(X, Y, verbose=0, callbacks=[callback])
        fit(model, Evaluates(), callback)
        model.evaluate(X, Y, verbose=0, callbacks=[callback])
        model.predict(X, verbose=0, callbacks=[callback])
    assert session.iterations == [1, 2, 3, 4]


@pytest.mark.one_back_end
def test_evaluations_are_reported_if_asked_for() -> None:
    model, callback = build(), TuneReportCheckpointCallback(report_metrics_on="test_end")
    with RecordingSession(save_at={1}) as session:
        record = fit(model, callback, validation_freq=2, **VALIDATION)
        loss = model.evaluate(X, Y, verbose=0, callbacks=[callback])
    assert session.iterations == [1, 2, 3]
    assert session.values("loss") == [*record.history["val_loss"], loss]
    assert saved(session, 1)["epoch"] == 2 and list(session.checkpoints) == [1, 2]


# --- batches


def test_every_batch_is_reported_and_epochs_are_saved() -> None:
    whole, resumed = build(), build()
    fit(whole)
    with RecordingSession(save_at=range(99), raise_at={9: TrialEvicted()}) as before, pytest.raises(TrialEvicted):
        fit(build(), TuneReportCheckpointCallback(report_metrics_on="train_batch_end"))
    assert before.iterations == list(range(1, 10)) and list(before.checkpoints) == [4, 8]
    with RecordingSession(start_checkpoint=before.checkpoints[8], start_iteration=8) as session:
        fit(resumed, TuneReportCheckpointCallback(report_metrics_on="train_batch_end"))
    assert session.iterations == list(range(9, 17)) and list(session.checkpoints) == [16]
    assert same(resumed, whole)


def test_stop_in_the_middle_of_an_epoch() -> None:
    recorder = Recorder()
    on_batches = {"report_metrics_on": "train_batch_end", "checkpoint_on": "train_batch_end"}
    with RecordingSession(stop_at=6, save_at={5}) as session:
        fit(build(), TuneReportCheckpointCallback(**on_batches), recorder, **VALIDATION)
    assert session.iterations == [1, 2, 3, 4, 5, 6] and recorder.ends == 1
    state = saved(session, 5)
    assert (state["epoch"], state["batch"]) == (1, 1)
    assert (saved(session, 6)["epoch"], saved(session, 6)["batch"]) == (1, 2)
    resumed, plain = build(), build()
    with RecordingSession(start_checkpoint=session.checkpoints[6], start_iteration=6) as again:
        record = fit(resumed, TuneReportCheckpointCallback(**on_batches))
    assert record.epoch == [1, 2, 3] and again.iterations == list(range(7, 19))  # the second epoch begins anew
    trained(session.checkpoints[6], plain)
    assert int(plain.optimizer.iterations) == 6


@pytest.mark.one_back_end
def test_a_generator_tells_the_number_of_batches_after_an_epoch() -> None:
    def batches() -> Any:
        for _ in range(EPOCHS):
            for i in range(4):
                yield X[4 * i : 4 * i + 4], Y[4 * i : 4 * i + 4]

    with RecordingSession(save_at=range(99)) as session:
        callback = TuneReportCheckpointCallback(report_metrics_on="train_batch_end")
        fit(build(), callback, data=batches(), steps_per_epoch=4)
    assert session.iterations == list(range(1, 17)) and list(session.checkpoints) == [4, 8, 12, 16]


# --- exploits


def exploit(
    model: Any,
    changed: Mapping[str, Any],
    *callbacks: Any,
    config: Mapping[str, Any] | None = None,
    donor: Any = None,
    donor_callbacks: Collection[Any] = (),
    callback: Any = None,
    **options: Any,
) -> RecordingSession:
    """Train `model`, which after 2 epochs goes on from a donor under a changed config."""
    given = {"lr": 0.05} if config is None else dict(config)
    with RecordingSession(stop_at=2) as other:
        fit(build() if donor is None else donor, TuneReportCheckpointCallback(), *donor_callbacks, **options)
    assert other.last_checkpoint is not None
    then = Exploit(other.last_checkpoint, 2, {**given, **changed})
    session = RecordingSession(exploit_at={2: then}, context=TrialContext(config=given))
    with session:
        fit(model, callback or TuneReportCheckpointCallback(), *callbacks, **options)
    return session


def test_learning_rate_is_changed_in_place() -> None:
    model = build()
    session = exploit(model, {"lr": 0.02})
    assert session.exploits and rate(model) == np.float32(0.02)


@pytest.mark.parametrize(
    ("optimizer", "config", "changed", "reason"),
    [
        (
            lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.05, 9, 0.5)),
            {"lr": 0.05},
            {"lr": 0.1},
            "follows the schedule ExponentialDecay",
        ),
        (lambda: keras.optimizers.SGD(0.005), {"lr": 0.05}, {"lr": 0.1}, "the script computes one from the other"),
        (
            lambda: keras.optimizers.SGD(0.05),
            {"a": {"lr": 0.05}, "b": {"lr": 0.05}},
            {"a": {"lr": 0.1}},
            "not known which",
        ),
        (lambda: keras.optimizers.SGD(0.05), {"width": 3}, {"width": 4}, "'width' cannot be changed"),
        (
            lambda: keras.optimizers.SGD(0.05, momentum=0.0),
            {"momentum": 0.0},
            {"momentum": 0.5},
            "switched on|compiled",
        ),
        (lambda: keras.optimizers.Adam(0.05, beta_1=0.8), {"beta_1": 0.9}, {"beta_1": 0.5}, "uses 0.8|compiled"),
        (lambda: keras.optimizers.SGD(0.05), {"rho": 0.9}, {"rho": 0.5}, "'rho' cannot be changed"),
    ],
)
def test_what_cannot_be_changed_enters_anew_with_the_reason(
    optimizer: Any, config: dict[str, Any], changed: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TrialRestarted, match=reason):
        exploit(build(optimizer()), changed, config=config, donor=build(optimizer()))


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda c: keras.optimizers.SGD(0.05, momentum=c["momentum"]), {"momentum": (0.9, 0.5)}),
        (
            lambda c: keras.optimizers.AdamW(
                0.05, weight_decay=c["weight_decay"], beta_1=c["beta_1"], clipnorm=c["clipnorm"]
            ),
            {"weight_decay": (0.1, 0.2), "beta_1": (0.9, 0.7), "clipnorm": (1.0, 0.1)},
        ),
        (
            lambda c: keras.optimizers.RMSprop(0.05, rho=c["rho"], epsilon=c["epsilon"]),
            {"rho": (0.9, 0.5), "epsilon": (1e-7, 1e-2)},
        ),
    ],
)
@pytest.mark.parametrize("eagerly", [False, True])
def test_attributes_take_effect_where_steps_are_interpreted(make: Any, names: dict[str, Any], eagerly: bool) -> None:
    """Equal to a continuation by Keras alone under the new values; a compiled step enters anew instead."""
    old = {name: values[0] for name, values in names.items()}
    new = {name: values[1] for name, values in names.items()}

    def model_of(config: dict[str, Any]) -> Any:
        return build(make(config), dropout=False, run_eagerly=eagerly)

    model, plain = model_of(old), model_of(new)
    if BACKEND != "torch" and not eagerly:
        with pytest.raises(TrialRestarted, match="the training step is compiled for the jax back end"):
            exploit(model, new, config=old, donor=model_of(old), shuffle=False)
        return
    session = exploit(model, new, config=old, donor=model_of(old), shuffle=False)
    assert len(session.exploits) == 1
    with RecordingSession(stop_at=2) as other:
        fit(model_of(old), TuneReportCheckpointCallback(), shuffle=False)
    fit(trained(other.last_checkpoint, plain), initial_epoch=2, shuffle=False)
    assert same(model, plain)
    unchanged = model_of(old)
    fit(trained(other.last_checkpoint, unchanged), initial_epoch=2, shuffle=False)
    assert not same(model, unchanged)


def test_a_scheduler_in_the_script_enters_anew() -> None:
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 0.05)
    with pytest.raises(TrialRestarted, match="a LearningRateScheduler sets the learning rate"):
        exploit(build(), {"lr": 0.1}, scheduler)

    class Halves(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.optimizer.learning_rate = 0.025

    with pytest.raises(TrialRestarted, match="something in the script sets the learning rate"):
        exploit(build(), {"lr": 0.1}, Halves())


def plateau() -> Any:
    return keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=10.0)


class Sets(keras.callbacks.Callback):
    """Sets the learning rate from a value that it keeps."""

    def __init__(self, how: str, when: Collection[int] = range(EPOCHS)) -> None:
        super().__init__()
        self.how, self.when = how, when

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        optimizer = self.model.optimizer
        if epoch not in self.when:
            return
        if self.how == "attribute":
            optimizer.learning_rate = 0.05
        elif self.how == "variable":
            optimizer.learning_rate.assign(0.05)
        else:
            optimizer.learning_rate.assign_add(0.0)


@pytest.mark.parametrize("how", ["attribute", "variable", "by adding"])
def test_a_script_that_sets_the_same_learning_rate_enters_anew(how: str) -> None:
    with pytest.raises(TrialRestarted, match="something in the script sets the learning rate"):
        exploit(build(), {"lr": 0.02}, Sets(how))
    assert exploit(build(), {}, Sets(how)).exploits  # no matter if the learning rate stays


def test_a_donor_whose_script_sets_the_learning_rate_makes_enter_anew() -> None:
    with pytest.raises(TrialRestarted, match="something in the script sets the learning rate"):
        exploit(build(), {"lr": 0.02}, donor_callbacks=[Sets("attribute", when=[1])])


def test_a_learning_rate_is_changed_in_place_again_and_again() -> None:
    """What the adapter itself and Keras assign does not count."""
    with RecordingSession(save_at=range(9)) as other:
        fit(build(), TuneReportCheckpointCallback())

    class Own(TuneReportCheckpointCallback):
        def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
            copy.deepcopy(self.model.optimizer.learning_rate).assign(7.0)  # a copy is a variable of its own
            self.model.optimizer.learning_rate = self.model.optimizer.learning_rate + 0.0
            return super().apply_config(changed, before)

    model = build()
    then = {i: Exploit(other.checkpoints[i], i, {"lr": 0.05 / i}) for i in (2, 3)}
    with RecordingSession(exploit_at=then, context=TrialContext(config={"lr": 0.05})) as session:
        fit(model, Own(), keras.callbacks.ReduceLROnPlateau("loss", patience=99))
    assert len(session.exploits) == 2 and rate(model) == np.float32(0.05 / 3)
    assert "assign" not in vars(model.optimizer.learning_rate)


def test_a_reduced_learning_rate_goes_on_in_proportion() -> None:
    with RecordingSession(stop_at=2) as before:
        first = build()
        fit(first, plateau(), TuneReportCheckpointCallback())
    assert rate(first) == np.float32(0.025)
    for own, expected in ((0.05, 0.025), (0.2, 0.1)):
        model = build(keras.optimizers.Adam(own))
        with RecordingSession(start_checkpoint=before.last_checkpoint, start_iteration=2):
            fit(model, TuneReportCheckpointCallback(), epochs=3)
        assert rate(model) == np.float32(expected)
    # In place the same, from a donor that is reduced and by a training that is not.
    model = build()
    session = exploit(
        model, {"lr": 0.2}, keras.callbacks.ReduceLROnPlateau("loss", patience=99), donor_callbacks=[plateau()]
    )
    assert session.exploits and rate(model) == np.float32(0.1)


@pytest.mark.one_back_end
def test_an_exploit_forgets_what_early_stopping_remembers() -> None:
    class Watches(keras.callbacks.EarlyStopping):
        begun = 0

        def on_train_begin(self, logs: Any = None) -> None:
            self.begun += 1
            super().on_train_begin(logs)

    early = Watches("loss", patience=1, min_delta=10.0)  # gives up in the second epoch, and after that again
    model = build()
    session = exploit(model, {"lr": 0.02}, early)
    assert session.exploits and early.begun == 2
    assert session.iterations == [1, 2, 3, 4]


@pytest.mark.one_back_end
def test_an_exploit_forgets_what_model_checkpoint_remembers(tmp_path: Path) -> None:
    """As the callback of a training that is entered anew: it has its threshold alone."""
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.keras", "loss", save_best_only=True, initial_value_threshold=1e9
    )
    bests: list[Any] = []

    class Notes(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            bests.append(best.best)

    session = exploit(build(), {"lr": 0.02}, best, Notes())
    losses = session.values("loss")
    assert session.exploits and bests == [1e9, losses[0], 1e9, losses[2]]


@pytest.mark.one_back_end
def test_data_that_run_on_enter_anew() -> None:
    with pytest.raises(TrialRestarted, match="steps_per_epoch"):
        exploit(build(), {"lr": 0.02}, steps_per_epoch=2)

    def batches() -> Any:
        while True:
            yield X[:4], Y[:4]

    with pytest.raises(TrialRestarted, match="steps_per_epoch"):
        exploit(build(), {"lr": 0.02}, data=batches(), steps_per_epoch=2)


class ShufflesItself(Shuffled):
    """Data that change between epochs."""

    def on_epoch_end(self) -> None:
        self.order = np.random.permutation(4)


class OwnSampler:
    """Keeps an order of its own."""

    def __iter__(self) -> Any:
        return iter(range(16))

    def __len__(self) -> int:
        return 16


@pytest.mark.one_back_end
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (ShufflesItself, r"ShufflesItself may change itself between epochs \(on_epoch_end\)"),
        (lambda: loader(shuffle=False, sampler=OwnSampler()), "the DataLoader's OwnSampler may keep a state"),
    ],
)
def test_data_that_may_keep_a_state_enter_anew(data: Any, reason: str) -> None:
    with pytest.raises(TrialRestarted, match=reason):
        exploit(build(), {"lr": 0.02}, data=data())


@pytest.mark.parametrize("place", ["loader", "sampler"])
def test_a_loader_with_a_generator_of_its_own_goes_on(place: str) -> None:
    def data(seed: int = 2) -> Any:
        import torch

        generator = torch.Generator().manual_seed(seed)
        if place == "loader":
            return loader(generator=generator)
        return loader(shuffle=False, sampler=torch.utils.data.RandomSampler(range(16), generator=generator))

    whole, resumed, live = build(), build(), build()
    fit(whole, data=data())
    with RecordingSession(stop_at=2) as before:
        fit(build(), TuneReportCheckpointCallback(), data=data())
    with RecordingSession(start_checkpoint=before.last_checkpoint, start_iteration=2):
        fit(resumed, TuneReportCheckpointCallback(), data=data(seed=3))
    assert same(resumed, whole) and before.last_checkpoint is not None
    then = {2: Exploit(before.last_checkpoint, 2, {})}
    with RecordingSession(exploit_at=then, context=TrialContext(config={})) as session:
        fit(live, TuneReportCheckpointCallback(), data=data(seed=3))
    assert session.exploits and same(live, whole)
    session = RecordingSession(exploit_at=then, context=TrialContext(config={}))
    with session, pytest.raises(TrialRestarted, match="the donor's DataLoader has other random generators"):
        fit(build(), TuneReportCheckpointCallback(), data=loader())


@pytest.mark.one_back_end
def test_within_an_epoch_it_enters_anew() -> None:
    on_batches = {"report_metrics_on": "train_batch_end", "checkpoint_on": "train_batch_end"}
    with pytest.raises(TrialRestarted, match="Keras begins an epoch anew"):
        exploit(build(), {"lr": 0.02}, callback=TuneReportCheckpointCallback(**on_batches))


@pytest.mark.one_back_end
def test_a_checkpoint_of_weights_alone_enters_anew(tmp_path: Path) -> None:
    donor = build()
    donor.save_weights(tmp_path / "model.weights.h5")
    then = {2: Exploit(Checkpoint.from_directory(tmp_path), 2, {"lr": 0.1})}
    session = RecordingSession(exploit_at=then, context=TrialContext(config={"lr": 0.05}))
    with session, pytest.raises(TrialRestarted, match="weights alone"):
        fit(build(), TuneReportCheckpointCallback())


def other_architecture(units: int = 4, depth: int = 1, dropout: bool = True) -> Any:
    keras.utils.set_random_seed(5)
    hidden = [keras.layers.Dense(units, activation="tanh") for _ in range(depth)]
    layers = [*hidden, *([keras.layers.Dropout(0.4)] if dropout else []), keras.layers.Dense(2, activation="softmax")]
    model = keras.Sequential([keras.layers.Input((5,)), *layers])
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    return model


@pytest.mark.one_back_end
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"units": 8}, "A total of 3 objects could not be loaded"),
        ({"depth": 2}, r"its optimizers have \[14\] variables, those of the running model \[10\]"),
        ({"dropout": False}, "0 seed generators"),
    ],
)
def test_a_donor_of_another_architecture_enters_anew(changed: dict[str, Any], reason: str) -> None:
    config = {"units": 4, "depth": 1, "dropout": True}
    with pytest.raises(TrialRestarted, match=f"the donor's state does not fit the running model: .*{reason}"):
        exploit(build(), changed, config=config, donor=other_architecture(**changed))


@pytest.mark.one_back_end
def test_a_script_says_what_else_can_be_changed() -> None:
    class Own(TuneReportCheckpointCallback):
        def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
            self.seen = changed, before
            return {"noise", *super().apply_config(changed, before)}

    callback = Own()
    session = exploit(build(), {"lr": 0.1, "noise": 2}, config={"lr": 0.05, "noise": 1}, callback=callback)
    assert callback.seen == ({"lr": 0.1, "noise": 2}, {"lr": 0.05, "noise": 1}) and len(session.exploits) == 1


def test_all_optimizers_of_a_model_are_found() -> None:
    model = build(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.05)))
    model.discriminator_optimizer = keras.optimizers.SGD(0.25)
    assert hyper.learning_rates(model) == [np.float32(0.05), 0.25]
    hyper.set_learning_rates(model, [0.5, None])
    assert hyper.learning_rates(model) == [0.5, 0.25]
    with pytest.raises(Exception, match="the model has 2 optimizers"):
        hyper.check_learning_rate(model, "lr", {"lr": 0.5}, [0.5, 0.25], 0.1)


class Second(keras.callbacks.Callback):
    """Steps an optimizer that the model holds besides its own; Keras builds it with its first step."""

    def __init__(self, *epochs: int) -> None:
        super().__init__()
        self.steps_in = epochs or range(EPOCHS)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch in self.steps_in:
            bias = self.model.layers[0].bias
            second(self.model).apply([keras.ops.ones(bias.shape) * (epoch + 1.0)], [bias])


def second(model: Any) -> Any:
    return model.held["others"][0]


def build_with_second(rate: float = 0.1, wrapper: Any = None) -> Any:
    model = build()
    optimizer = keras.optimizers.Adam(rate)
    model.held = {"others": [wrapper(optimizer) if wrapper else optimizer]}
    return model


def state_of_both(model: Any) -> list[np.ndarray]:
    return [*arrays(model), *(keras.ops.convert_to_numpy(v) for v in second(model).variables)]


# Under JAX nothing can be built within a step of LossScaleOptimizer.
@pytest.mark.parametrize("wrapper", [None, *([keras.optimizers.LossScaleOptimizer] if BACKEND == "torch" else [])])
@pytest.mark.parametrize("idle", [False, True])
def test_an_optimizer_that_is_built_late_goes_on_with_its_variables(wrapper: Any, idle: bool) -> None:
    whole, resumed = build_with_second(wrapper=wrapper), build_with_second(wrapper=wrapper)
    steps_in = (0, 1, 3) if idle else (0, 1, 2, 3)
    fit(whole, Second(*steps_in))
    with RecordingSession(stop_at=2) as before:
        fit(build_with_second(wrapper=wrapper), Second(*steps_in), TuneReportCheckpointCallback())
    start, at = before.last_checkpoint, 2
    if idle:  # and a checkpoint before it is built again keeps them
        with RecordingSession(start_checkpoint=start, start_iteration=at, stop_at=3) as between:
            fit(build_with_second(0.7, wrapper), Second(*steps_in), TuneReportCheckpointCallback())
        start, at = between.last_checkpoint, 3
    with RecordingSession(start_checkpoint=start, start_iteration=at):
        fit(resumed, Second(*steps_in), TuneReportCheckpointCallback())
    assert all(np.array_equal(a, b) for a, b in zip(state_of_both(whole), state_of_both(resumed), strict=True))
    assert not {"build", "load_own_variables", "save_own_variables"} & set(vars(second(resumed)))


def test_the_learning_rate_of_the_script_holds_for_every_optimizer() -> None:
    with RecordingSession(stop_at=2) as before:
        fit(build_with_second(), Second(), TuneReportCheckpointCallback())
    for built in (False, True):
        resumed = build_with_second(0.7)
        if built:
            second(resumed).build([resumed.layers[0].bias])
        with RecordingSession(start_checkpoint=before.last_checkpoint, start_iteration=2):
            fit(resumed, Second(), TuneReportCheckpointCallback())
        assert hyper.learning_rates(resumed) == [np.float32(0.05), np.float32(0.7)]
        assert int(keras.ops.convert_to_numpy(second(resumed).iterations)) == EPOCHS


def test_optimizers_that_differ_in_their_variables_enter_anew() -> None:
    config = {"lr": 0.05}
    with pytest.raises(TrialRestarted, match=r"its optimizers have \[10, 4\] variables, those of the .* \[10, 2\]"):
        exploit(build_with_second(), {}, config=config, donor=build_with_second(), donor_callbacks=[Second()])
    with pytest.raises(TrialRestarted, match="the model has 2 optimizers"):
        exploit(build_with_second(), {"lr": 0.1}, config=config, donor=build_with_second())


def test_an_optimizer_that_makes_no_step_enters_anew() -> None:
    """Something else trains, for which the learning rate of the config may be."""

    class Trains(Subclassed):
        def train_step(self, *args: Any) -> Any:
            return ({}, args[0]) if BACKEND == "jax" else {}

    def make() -> Any:
        keras.utils.set_random_seed(5)
        model = Trains()
        model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
        return model

    with pytest.raises(TrialRestarted, match="the model's optimizer has not made a step"):
        exploit(make(), {"lr": 0.1}, donor=make())


@pytest.mark.one_back_end
def test_keras_makes_no_layers_when_a_state_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does for each object of the model, which takes a quarter of the time of an exploit."""
    made: list[type] = []
    with RecordingSession(stop_at=2) as other:
        fit(build(), TuneReportCheckpointCallback())
    assert other.last_checkpoint is not None
    begin = keras.Layer.__init__

    class Counts(TuneReportCheckpointCallback):
        def _load(self, *args: Any) -> Any:
            with monkeypatch.context() as patch:
                patch.setattr(keras.Layer, "__init__", lambda self, **o: (made.append(type(self)), begin(self, **o))[1])
                return super()._load(*args)

    then = {2: Exploit(other.last_checkpoint, 2, {})}
    with RecordingSession(exploit_at=then, context=TrialContext(config={})) as session:
        fit(build(), Counts())
    assert session.exploits and made == []


# --- the callback object


@pytest.mark.one_back_end
def test_the_same_callback_in_one_trial_after_another() -> None:
    callback = TuneReportCheckpointCallback()
    for _ in range(2):
        with RecordingSession() as session:
            fit(build(), callback, epochs=2)
        assert session.iterations == [1, 2] and list(session.checkpoints) == [2]


@pytest.mark.one_back_end
def test_callback_can_be_copied_and_pickled() -> None:
    callback = TuneReportCheckpointCallback({"error": "loss"}, "train_batch_end")
    for other in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        with RecordingSession() as session:
            fit(build(), other, epochs=1)
        assert session.iterations == [1, 2, 3, 4] and list(session.reports[0].metrics) == ["error"]


# ------------------------------------------------------------------------------- the model to predict with


def build_model(width: int = 4) -> Any:
    model = Subclassed()
    model(keras.ops.zeros((1, 5)))
    return model


def build_by_name_only() -> Any:
    """`build` of a class derived from `Model` says that it is built, and makes no weights."""
    model = Subclassed()
    model.build((None, 5))
    return model


@pytest.mark.filterwarnings("ignore:.*does not have a `build:UserWarning")
def test_weights_are_loaded_into_a_model_that_has_some() -> None:
    with RecordingSession(context=TrialContext(metric="val_loss", mode="max"), save_at={EPOCHS}) as session:
        model = build_subclassed()
        fit(model, TuneReportCheckpointCallback(), **VALIDATION)
    last = session.checkpoints[EPOCHS]
    expected = model.predict(X, verbose=0)
    for build in (build_model, build_model()):
        assert np.array_equal(last.load_model(build).predict(X, verbose=0), expected)
    best = Checkpoint(Path(last.path, "best")).load_model(build_model)
    best.compile(loss="sparse_categorical_crossentropy")
    values = session.values("val_loss")
    assert max(values) == values[0] and best.evaluate(*VALIDATION["validation_data"], verbose=0) == pytest.approx(
        values[0], rel=1e-5
    )
    for unbuilt in (Subclassed, build_by_name_only, lambda: keras.Sequential([keras.layers.Dense(4)])):
        with pytest.raises(ArgumentError, match=r"there are none yet in .*dense.*\. Give the model an Input layer, or"):
            last.load_model(unbuilt)
