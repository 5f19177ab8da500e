"""What all adapters have in common, shown with several of them in one trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import lightgbm
import numpy as np
import pytest
import xgboost
from mistakes import mistakes_of

from tune_plugins.errors import TrialEvicted
from tune_plugins.integrations import keras as keras_adapter
from tune_plugins.integrations import lightgbm as lightgbm_adapter
from tune_plugins.integrations import xgboost as xgboost_adapter
from tune_plugins.testing import RecordingSession

X = np.random.default_rng(1).random((60, 3))
Y = (X[:, 0] > 0.5).astype(float)


def with_xgboost(rounds: int = 3) -> None:
    data = xgboost.DMatrix(X, Y)
    adapter = xgboost_adapter.TuneReportCheckpointCallback()
    xgboost.train({"nthread": 1}, data, rounds, evals=[(data, "eval")], verbose_eval=False, callbacks=[adapter])


def with_lightgbm(rounds: int = 3) -> None:
    data = lightgbm.Dataset(X, Y)
    adapter = lightgbm_adapter.TuneReportCheckpointCallback()
    params = {"num_threads": 1, "verbose": -1}
    lightgbm.train(params, data, rounds, valid_sets=[data], valid_names=["eval"], callbacks=[adapter])


def with_keras(epochs: int = 3) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(X, Y, epochs=epochs, verbose=0, callbacks=[keras_adapter.TuneReportCheckpointCallback()])


Train = Callable[[], Any]
PAIRS = [
    (with_xgboost, with_lightgbm),
    (with_lightgbm, with_xgboost),
    (with_xgboost, with_keras),
    (with_keras, with_xgboost),
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_checkpoints_belong_to_the_first_fit_whatever_its_framework(first: Train, second: Train) -> None:
    with RecordingSession(save_at=range(1, 100)) as session:
        first()
        second()
    assert session.iterations == [1, 2, 3, 4, 5, 6]
    assert [report.savable for report in session.reports] == [True] * 3 + [False] * 3
    assert list(session.checkpoints) == [1, 2, 3] and session.finished == 1


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_resumed_trial_gives_the_checkpoint_to_the_fit_that_saved_it(first: Train, second: Train) -> None:
    with RecordingSession(save_at={2}, raise_at={2: TrialEvicted()}) as before, pytest.raises(TrialEvicted):
        first()
    with RecordingSession(start_checkpoint=before.checkpoints[2], start_iteration=2) as session:
        first()
        second()
    assert session.iterations == [3, 4, 5, 6]
    assert [report.savable for report in session.reports] == [True] + [False] * 3


def test_names_of_metrics_that_are_none_are_listed() -> None:
    found = mistakes_of(
        xgboost_adapter.TuneReportCallback, metrics={"loss": ["eval-logloss"], 3: "", "auc": "eval-auc"}
    )
    assert found == ["metrics: expected names that are non-empty text, got ['eval-logloss'], 3, ''."]
    assert mistakes_of(xgboost_adapter.TuneReportCallback, metrics=[["a"]])[0].endswith("got ['a'].")
