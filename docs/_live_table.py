"""Draws the picture of the live table for the first page: the example there, halfway through.

The trainings are real, their clock is not: under that of `tune.simulate` the picture is the same in each build.
"""

from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO
from typing import Any

import tune_plugins as tune
from tune_plugins.callbacks import RunInfo
from tune_plugins.core.trial import Trial
from tune_plugins.display.frame import picture
from tune_plugins.display.lines import Line, to_text
from tune_plugins.display.progress import Progress
from tune_plugins.schedulers import ASHAScheduler

COLUMNS, ROWS = 88, 18
LEVEL_S, MOMENT_S = 0.01, 1.5  # of the virtual clock: a level of a tree, and when the picture is taken


def _curve(config: dict[str, Any]) -> tune.Curve:
    import xgboost as xgb
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    x, x_eval, y, y_eval = train_test_split(*load_breast_cancer(return_X_y=True), random_state=0)
    record: dict[str, dict[str, list[float]]] = {}
    xgb.train(
        {"objective": "binary:logistic", "eval_metric": "logloss", "nthread": 1, **config},
        xgb.DMatrix(x, y),
        num_boost_round=100,
        evals=[(xgb.DMatrix(x_eval, y_eval), "eval")],
        evals_result=record,
        verbose_eval=False,
    )
    return tune.Curve(
        [{"eval-logloss": loss} for loss in record["eval"]["logloss"]], seconds=LEVEL_S * config["max_depth"]
    )


class _Camera(ASHAScheduler):
    """Takes the picture that the live display would show at one moment of the virtual clock.

    A scheduler sees each result when it comes; callbacks are told later, when the trials are further.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.lines: list[Line] = []
        self.progress = Progress(RunInfo())
        self._trials: list[Trial] = []
        self._now = 0.0

    def on_trial_add(self, trial: Trial) -> None:
        super().on_trial_add(trial)
        self._trials.append(trial)

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Any:
        before, self._now = self._now, result["timestamp"]
        self.progress.touched = {each.id: each for each in self._trials}
        self.progress.update(self._trials, self._now - before)
        if not self.lines and self._now >= MOMENT_S:
            facts: dict[str, Any] = {"columns": COLUMNS, "rows": ROWS, "elapsed": self._now, "now": self._now}
            self.lines = picture(self.progress, self.notes(), **facts)
        return super().on_trial_result(trial, result)


class _Facts(tune.Callback):
    """Hands the facts of the run to the camera."""

    def __init__(self, camera: _Camera) -> None:
        self._camera = camera

    def setup(self, *arguments: Any, run: RunInfo | None = None, **info: Any) -> None:
        self._camera.progress = Progress(replace(run or RunInfo(), name="train", scheduler="ASHAScheduler"))


def svg() -> str:
    """The picture. It names no font but that of the reader, and no other host."""
    from rich.console import Console

    camera = _Camera(max_t=100, grace_period=4)
    tune.simulate(
        _curve,
        param_space={"eta": tune.loguniform(0.01, 0.5), "max_depth": tune.randint(2, 8)},
        tune_config=tune.TuneConfig(metric="eval-logloss", mode="min", num_samples=20, scheduler=camera, seed=1),
        run_config=tune.RunConfig(verbose=0, callbacks=[_Facts(camera)]),
        cluster=tune.SimulatedCluster(workers=4),
    )
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    for line in camera.lines:
        console.print(to_text(line), highlight=False, markup=False, emoji=False, no_wrap=True)
    drawn = console.export_svg(title="python tune.py", unique_id="live")
    drawn = re.sub(r"@font-face \{.*?\}|<!--.*?-->", "", drawn, flags=re.S)
    return drawn.replace("Fira Code, monospace", "monospace")
