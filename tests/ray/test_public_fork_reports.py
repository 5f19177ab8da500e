"""Reports of others about processes, forks and warm workers, each as a small case; the name tells which."""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pytest
import torch
import xgboost
from sklearn.datasets import load_iris

import tune_plugins as tune

BOTH = pytest.mark.parametrize("workers", ["auto", "actors"])


def _boosting(config: dict[str, Any]) -> dict[str, Any]:
    x, y = load_iris(return_X_y=True)
    model = xgboost.XGBClassifier(n_estimators=5, n_jobs=-1).fit(x, y)
    other = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=2, verbose=-1).fit(x, y)
    return {"accuracy": float((model.predict(x) == y).mean() + (other.predict(x) == y).mean()) / 2}


@BOTH
def test_xgboost_7044_the_script_has_trained_before_it_tunes(fit: Any, workers: str) -> None:
    """xgboost #7044, #8315, LightGBM #4751: a forked process hangs where its parent has computed with threads."""
    here = _boosting({})["accuracy"]
    grid = fit(_boosting, num_samples=3, workers=workers)
    assert [result.metrics["accuracy"] for result in grid] == [here] * 3


@BOTH
def test_xgboost_6617_a_model_of_the_script_predicts_in_trials(fit: Any, workers: str) -> None:
    """xgboost #6617, LightGBM #6137: it was loaded and used before processes were made."""
    x, y = load_iris(return_X_y=True)
    model = xgboost.XGBClassifier(n_estimators=5).fit(x, y)
    expected = model.predict_proba(x).sum()

    def by_closure(config: dict[str, Any]) -> dict[str, Any]:
        return {"sum": float(model.predict_proba(x).sum())}

    def by_parameter(config: dict[str, Any], given: Any) -> dict[str, Any]:
        return {"sum": float(given.predict_proba(x).sum())}

    for trainable in (by_closure, tune.with_parameters(by_parameter, given=model)):
        (result,) = fit(trainable, workers=workers)
        assert result.metrics["sum"] == pytest.approx(expected)


def test_lightgbm_1789_a_module_trains_when_it_is_imported(fit: Any, module: Any) -> None:
    """With threads, which no fork has: it is left to each process."""
    helper = module(
        "trains_at_import",
        """
        import lightgbm, numpy
        X = numpy.arange(400.0).reshape(200, 2)
        PARAMETERS = {"objective": "regression", "verbose": -1, "num_threads": 2}
        MODEL = lightgbm.train(PARAMETERS, lightgbm.Dataset(X, X[:, 0]), 3)
        """,
    )
    expected = helper.MODEL.predict(helper.X).sum()

    def train(config: dict[str, Any]) -> dict[str, Any]:
        again = lightgbm.train(helper.PARAMETERS, lightgbm.Dataset(helper.X, helper.X[:, 0]), 3)
        return {"old": float(helper.MODEL.predict(helper.X).sum()), "new": float(again.predict(helper.X).sum())}

    for cpus in (1, 2):
        (result,) = fit(tune.with_resources(train, {"cpu": cpus}))
        assert result.metrics["old"] == result.metrics["new"] == pytest.approx(expected)


def _double(value: int) -> int:
    return 2 * value


@BOTH
def test_ray_27493_a_pool_of_forks_inside_a_trial(fit: Any, workers: str) -> None:
    """As Lightning asks for devices."""

    def train(config: dict[str, Any]) -> dict[str, Any]:
        with multiprocessing.get_context("fork").Pool(1) as pool:
            return {"seen": pool.apply(_double, (4,))}

    assert fit(train, workers=workers)[0].metrics["seen"] == 8


class _Numbers(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> Any:
        return torch.tensor(float(index))


@BOTH
@pytest.mark.parametrize("context", ["fork", "forkserver", "spawn"])
def test_ray_7047_workers_of_a_data_loader(fit: Any, workers: str, context: str) -> None:
    """Ray #7047, #58967, PyTorch #15950: a process that runs trials may have children, however they are started."""

    def train(config: dict[str, Any]) -> dict[str, Any]:
        options: dict[str, Any] = {"num_workers": 2, "multiprocessing_context": context}
        batches = torch.utils.data.DataLoader(_Numbers(), batch_size=4, **options)
        return {"sum": float(sum(batch.sum() for batch in batches))}

    (result,) = fit(train, workers=workers)
    assert result.error is None and result.metrics["sum"] == 120


@BOTH
def test_joblib_inside_a_trial(fit: Any, workers: str) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        return {"found": joblib.Parallel(n_jobs=2)(joblib.delayed(_double)(number) for number in range(4))}

    (result,) = fit(train, workers=workers)
    assert result.metrics["found"] == [0, 2, 4, 6]


@BOTH
def test_asyncio_and_signal_handlers_inside_a_trial(fit: Any, workers: str) -> None:
    """Both need the main thread."""

    async def compute() -> int:
        await asyncio.sleep(0)
        return 5

    def train(config: dict[str, Any]) -> dict[str, Any]:
        signal.signal(signal.SIGUSR1, lambda number, frame: None)
        os.kill(os.getpid(), signal.SIGUSR1)
        return {"found": asyncio.run(compute())}

    assert fit(train, workers=workers)[0].metrics["found"] == 5


_SAME_NAME = """
import time
def train(config):
    for step in range(20):
        tune.report(answer=ANSWER, step=step)
        time.sleep(0.02)

ANSWER = int(os.environ["ANSWER"])
if __name__ == "__main__":
    grid = tune.Tuner(
        train, tune_config=tune.TuneConfig(num_samples=6), run_config=tune.RunConfig(verbose=0, name=f"run{ANSWER}"),
    ).fit()
    print("answers", {result.metrics["answer"] for result in grid}, len(grid.errors))
"""


def test_ray_31330_two_scripts_with_a_function_of_one_name(driver: Callable[..., Any]) -> None:
    """Each has its own code, also at the same time."""
    runs = [driver(_SAME_NAME, {"ANSWER": str(answer)}) for answer in (111, 222)]
    for run, answer in zip(runs, (111, 222), strict=True):
        code, out, err = run.end()
        assert code == 0 and f"answers {{{answer}}} 0" in out, err


@BOTH
def test_a_notebook_reloads_a_module_after_an_edit(fit: Any, module: Any, tmp_path: Path, workers: str) -> None:
    """``%autoreload``, or ``importlib.reload``: Ray Tune's reused actors go on with the old one."""
    helper = module("model_of_notebook", "class Model:\n    def score(self):\n        return 1\n")

    def train(config: dict[str, Any]) -> dict[str, Any]:
        return {"score": helper.Model().score()}

    assert fit(train, workers=workers)[0].metrics["score"] == 1
    (tmp_path / "model_of_notebook.py").write_text("class Model:\n    def score(self):\n        return 2\n")
    importlib.reload(helper)
    assert fit(train, num_samples=4, workers=workers)[0].metrics["score"] == 2


@BOTH
@pytest.mark.parametrize(
    "made",
    [
        "import numpy\nRNG = numpy.random.default_rng()\ndef draw():\n    return float(RNG.random())\n",
        "import random\nRNG = random.Random()\ndef draw():\n    return RNG.random()\n",
        "import uuid\nRUN = uuid.uuid4()\ndef draw():\n    return str(RUN)\n",
    ],
    ids=["numpy", "random", "uuid"],
)
def test_what_a_module_draws_when_it_is_imported_differs(fit: Any, module: Any, made: str, workers: str) -> None:
    """As it does where each process imports by itself: names of files made of it must not collide."""
    helper = module("draws", made)
    grid = fit(lambda config: {"drawn": helper.draw()}, num_samples=3, reuse_actors=False, workers=workers)
    assert len({result.metrics["drawn"] for result in grid}) == 3


@BOTH
def test_a_database_that_a_module_opens_is_opened_by_each(fit: Any, module: Any, workers: str) -> None:
    """A connection must not be carried across a fork (SQLite, "How to corrupt", 2.6)."""
    helper = module(
        "opens",
        """
        import os, sqlite3, tempfile
        BY, PATH = os.getpid(), os.path.join(tempfile.gettempdir(), f"tune-test-{os.getppid()}.db")
        DATABASE = sqlite3.connect(":memory:")
        DATABASE.execute("CREATE TABLE seen (number)")
        """,
    )

    def train(config: dict[str, Any]) -> dict[str, Any]:
        helper.DATABASE.execute("INSERT INTO seen VALUES (1)")
        (count,) = helper.DATABASE.execute("SELECT COUNT(*) FROM seen").fetchone()
        return {"own": os.getpid() == helper.BY, "count": count}

    grid = fit(train, num_samples=3, reuse_actors=False, workers=workers)
    assert [(result.metrics["own"], result.metrics["count"]) for result in grid] == [(True, 1)] * 3


@BOTH
def test_large_data_and_many_small_objects_as_arguments(fit: Any, workers: str) -> None:
    """Ray #13475, #42334: they are given once, whatever becomes of the processes."""
    data = {"x": np.arange(100_000.0), "names": [f"row {number}" for number in range(1000)]}

    def train(config: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        return {"sum": float(data["x"].sum()), "last": data["names"][-1], "writeable": data["x"].flags.writeable}

    grid = fit(tune.with_parameters(train, data=data), num_samples=4, reuse_actors=False, workers=workers)
    found = {(r.metrics["sum"], r.metrics["last"], r.metrics["writeable"]) for r in grid}
    assert found == {(float(data["x"].sum()), "row 999", False)}  # type: ignore[attr-defined]
