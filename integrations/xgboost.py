"""XGBoost: report every boosting round, save checkpoints, stop and go on, by one callback.

Works with `xgboost.train`, `xgboost.cv` and the scikit-learn estimators of XGBoost. Outside a tuning
run the callbacks do nothing, so that the same script trains alone.

>>> def train(config):
...     xgboost.train(config, dtrain, num_boost_round=200, evals=[(dvalid, "eval")],
...                   callbacks=[TuneReportCheckpointCallback()])
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tune_plugins import session as tune_session
from tune_plugins._optional import require
from tune_plugins.checkpoint import Checkpoint
from tune_plugins.errors import ArgumentError, Mistakes, TuneError, WarmRestartNeeded
from tune_plugins.integrations._metrics import Metrics, check_metrics, plain, select_metrics

require("xgboost", extra="xgboost", needed_by="tune_plugins.integrations.xgboost")

from xgboost import Booster  # noqa: E402
from xgboost.callback import CallbackContainer, EarlyStopping, TrainingCallback, TrainingCheckPoint  # noqa: E402

__all__ = ["TuneReportCallback", "TuneReportCheckpointCallback"]

Postprocess = Callable[[dict[str, float]], Mapping[str, Any]]


@dataclass(slots=True)
class _SessionUse:
    """What the fits of one trial have made of its session so far."""

    session: tune_session.Session | None
    reported: bool = False
    """A fit has reported: later ones let the session count on."""
    owned: bool = False
    """A fit has taken the checkpoints: they belong to the first one that can have them."""


_use = _SessionUse(None)


def _use_of(session: tune_session.Session) -> _SessionUse:
    global _use
    if _use.session is not session:
        _use = _SessionUse(session)
    return _use


@dataclass(slots=True)
class _Fit:
    """One call of `xgboost.train` or `xgboost.cv` inside a trial."""

    session: tune_session.Session
    counts_rounds: bool
    """`training_iteration` is the number of rounds of the model; otherwise the session counts."""
    saves: bool
    end: int | None = None
    """Number of rounds of the model at which a continued training is complete."""
    start: int = 0
    """Number of rounds of the model before the first of this call."""
    done: int = 0
    """Rounds of this call that are complete."""
    reported: int = 0
    """Rounds of this call that are reported."""
    stopped: bool = False
    model: Any = None
    evals_log: Any = None
    series: list[tuple[str, list[Any], int]] = field(default_factory=list)
    """Name to report, the history it is in, and which of (mean, std), or -1 for a plain number."""
    names: int = -1
    """Number of histories when `series` was made."""


class TuneReportCallback(TrainingCallback):
    """Reports every boosting round to the tuning run; saves no checkpoints.

    Keys are ``"<data>-<metric>"``, e.g. ``eval-logloss`` for ``evals=[(dvalid, "eval")]``. With
    `xgboost.cv` each key holds the mean over the folds, and ``<key>-std`` their standard deviation.
    `training_iteration` is the number of rounds of the model.

    A round is reported when the next one is about to begin, or at the end of the training: by then
    every other callback has seen it, whatever the order in the list, and none of them, such as early
    stopping, can hide the last one. Told to stop, the callback returns True from `before_iteration`.

    Args:
        metrics: what to report: None for all, a name, several names, or {name to report: source}.
        results_postprocessing_fn: gets the dict to be reported each round and returns the one to report.

    Raises:
        ArgumentError: an argument is wrong; or, after the first round, a metric does not exist (it
            lists those that do).
    """

    def __init__(self, metrics: Metrics = None, results_postprocessing_fn: Postprocess | None = None) -> None:
        super().__init__()
        mistakes = Mistakes(type(self).__name__)
        self._set_up(metrics, results_postprocessing_fn, mistakes)
        mistakes.raise_if_any()

    def _set_up(self, metrics: Any, postprocess: Any, mistakes: Mistakes) -> None:
        self._metrics = check_metrics(metrics, mistakes)
        self._postprocess: Postprocess | None = postprocess
        self._fit: _Fit | None = None
        if postprocess is not None and not callable(postprocess):
            mistakes.add(
                f"results_postprocessing_fn: expected a function of the metrics dict, got {postprocess!r}. "
                "Leave it out to report the metrics as they are."
            )

    def before_training(self, model: Any) -> Any:
        """Begin a fit; in a trial that is to go on from a checkpoint, return the model of that."""
        self._fit = None
        session = tune_session.current()
        if session is None:
            return model
        self._refuse_second_reporter()
        is_booster = isinstance(model, Booster)
        use = _use_of(session)
        first, use.reported = not use.reported, True
        owner = is_booster and self._saves() and not use.owned
        end = None
        if owner:
            use.owned = True
            model, end = self._begin(model, session.start_checkpoint)
        # A trial that goes on, and a fit that does not: its rounds would count from 1 again.
        fresh = is_booster and session.start_checkpoint is not None and model.num_boosted_rounds() == 0
        self._fit = _Fit(session, counts_rounds=first and is_booster and not fresh, saves=owner, end=end)
        return model

    def before_iteration(self, model: Any, epoch: int, evals_log: TrainingCallback.EvalsLog) -> bool:
        """Report the round before this one; True if the training is to end here."""
        fit = self._fit
        if fit is None:
            return False
        if fit.model is None:
            fit.start = model.num_boosted_rounds()
        fit.model, fit.evals_log, fit.done = model, evals_log, epoch
        self._report(fit)
        return fit.stopped or (fit.end is not None and fit.start + epoch >= fit.end)

    def after_iteration(self, model: Any, epoch: int, evals_log: TrainingCallback.EvalsLog) -> bool:
        """Note that the round is complete; never ends the training here."""
        # Ending it here would keep this round from the callbacks behind this one (early stopping then fails
        # in `after_training`), and `xgboost.cv` would look for a best iteration that nobody has set.
        if self._fit is not None:
            self._fit.done = epoch + 1
        return False

    def after_training(self, model: Any) -> Any:
        """Report the last round and leave the last checkpoint."""
        fit, self._fit = self._fit, None
        if fit is None or fit.model is None:
            return model
        # `fit.model` holds all rounds; `model` may have been cut to the best ones by EarlyStopping(save_best=True).
        # A callback that ends the training from `after_iteration` hides the last round from those behind it.
        fit.done = max(fit.done, fit.model.num_boosted_rounds() - fit.start)
        self._report(fit)
        self._finish(fit)
        return model

    def _report(self, fit: _Fit) -> None:
        if fit.done <= fit.reported:
            return
        fit.reported = fit.done
        metrics = self._values(fit)
        iteration = fit.start + fit.done if fit.counts_rounds else None
        fit.stopped = self._send(fit, metrics, iteration) is tune_session.Verdict.STOP

    def _send(self, fit: _Fit, metrics: dict[str, Any], iteration: int | None) -> tune_session.Verdict:
        return fit.session.report(metrics, iteration=iteration)

    def _finish(self, fit: _Fit) -> None:
        """Nothing is left behind by a callback without checkpoints."""

    def _saves(self) -> bool:
        return False

    def _begin(self, model: Booster, checkpoint: Checkpoint | None) -> tuple[Booster, int | None]:
        """The model to train, and the number of rounds at which it is complete (None: as the script says)."""
        return model, None

    def _values(self, fit: _Fit) -> dict[str, Any]:
        """The metrics of the newest round, as plain numbers."""
        log = fit.evals_log
        names = sum(map(len, log.values()))
        if names != fit.names:
            fit.series, fit.names = self._series(log), names
        # The histories are lists that XGBoost appends to: no look-up by name, no copy in each round.
        values = {
            name: float(history[-1]) if part < 0 else float(history[-1][part]) for name, history, part in fit.series
        }
        if self._postprocess is None:
            return values
        return plain(self._postprocess(values), where="results_postprocessing_fn")

    def _series(self, log: Mapping[str, Mapping[str, list[Any]]]) -> list[tuple[str, list[Any], int]]:
        available: dict[str, tuple[list[Any], int]] = {}
        for data, histories in log.items():
            for metric, history in histories.items():
                key = f"{data}-{metric}"
                if isinstance(history[-1], tuple):  # xgboost.cv: (mean, std) over the folds
                    available[key], available[f"{key}-std"] = (history, 0), (history, 1)
                else:
                    available[key] = (history, -1)
        selected = select_metrics(
            self._metrics,
            available,
            where=type(self).__name__,
            if_none='Give the training a data set to evaluate on: evals=[(dvalid, "eval")], '
            "or eval_set=[(X, y)] in the scikit-learn estimators.",
        )
        return [(name, *available[source]) for name, source in selected.items()]

    def _refuse_second_reporter(self) -> None:
        container = _container()
        if container is not None and sum(isinstance(c, TuneReportCallback) for c in container.callbacks) > 1:
            raise ArgumentError(
                type(self).__name__,
                [
                    "callbacks: expected one callback that reports to the tuning run, got several, so that each "
                    "round would be reported more than once. Keep one of them."
                ],
            )


class TuneReportCheckpointCallback(TuneReportCallback):
    """Reports every boosting round and saves checkpoints in XGBoost's own format; goes on from one by itself.

    A trial that starts from a checkpoint continues it up to the number of rounds that the script asks
    for: with ``num_boost_round=200`` and a checkpoint of 120 rounds, 80 more are trained, identical to
    ``xgboost.train(..., num_boost_round=80, xgb_model=checkpoint)``. If a script passes an `xgb_model`
    of its own to begin with, its rounds come on top, as they do without a checkpoint. A script that
    passes the checkpoint as `xgb_model` itself is left to do so.

    Checkpoints are saved when the tuning run needs one, every `frequency` rounds, and at the end. They hold
    all rounds; after early stopping the best iteration is noted in the model (``booster.best_iteration``).
    With several fits in a trial, checkpoints belong to the first call of `xgboost.train`; later fits
    are reported with iterations that count on, and are repeated if the trial has to be resumed. There
    are no checkpoints with `xgboost.cv`, which has no model but one for each fold.

    Args:
        metrics: what to report: None for all, a name, several names, or {name to report: source}.
        filename: name of the model file in the checkpoint, ending in ``.ubj`` (binary) or ``.json``.
        frequency: save a checkpoint every so many rounds; 0: only when the tuning run asks for one.
        checkpoint_at_end: save one when the training ends.
        results_postprocessing_fn: gets the dict to be reported each round and returns the one to report.

    Raises:
        ArgumentError: an argument is wrong; a metric does not exist; the checkpoint to go on from
            lacks the file (it lists those there are).
    """

    def __init__(
        self,
        metrics: Metrics = None,
        filename: str = "model.ubj",
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        results_postprocessing_fn: Postprocess | None = None,
    ) -> None:
        TrainingCallback.__init__(self)
        mistakes = Mistakes(type(self).__name__)
        self._set_up(metrics, results_postprocessing_fn, mistakes)
        self._filename, self._frequency, self._at_end = filename, frequency, checkpoint_at_end
        if not isinstance(filename, str) or Path(filename).name != filename or Path(filename).suffix not in _FORMATS:
            mistakes.add(
                f"filename: expected a plain file name ending in {' or '.join(_FORMATS)}, got {filename!r}. "
                "Write e.g. 'model.ubj'."
            )
        if not isinstance(frequency, int) or isinstance(frequency, bool) or frequency < 0:
            mistakes.add(
                f"frequency: expected a number of rounds, 0 or more, got {frequency!r}. "
                "Write 0 to save only when the tuning run asks for it."
            )
        mistakes.raise_if_any()

    def _saves(self) -> bool:
        return True

    def _send(self, fit: _Fit, metrics: dict[str, Any], iteration: int | None) -> tune_session.Verdict:
        if not fit.saves:
            return fit.session.report(metrics, iteration=iteration)
        return fit.session.report(
            metrics,
            iteration=iteration,
            model=_Port(self, fit),
            save_every=self._frequency,
        )

    def _finish(self, fit: _Fit) -> None:
        if fit.saves:
            fit.session.finish(_Port(self, fit), at_end=self._at_end)

    def _save(self, model: Booster, directory: Path) -> None:
        model.save_model(os.path.join(directory, self._filename))

    def _load(self, call: _TrainCall, path: str) -> Booster:
        """The model that `xgboost.train` itself makes for ``xgb_model=path``.

        Loading into the model that is there would not do: once configured (early stopping does so), it loses
        its parameters by it, and the random generator would not be seeded anew.
        """
        return Booster(call.params, [call.dtrain, *(data for data, _ in call.evals)], model_file=path)

    def _begin(self, model: Booster, checkpoint: Checkpoint | None) -> tuple[Booster, int | None]:
        if checkpoint is None:
            return model, None
        call = _TrainCall.running()
        begun = model.num_boosted_rounds()
        with checkpoint.as_directory() as directory:
            path = os.path.join(directory, self._filename)
            if not os.path.isfile(path):
                raise ArgumentError(type(self).__name__, [_missing_file(checkpoint, directory, self._filename)])
            loaded = self._load(call, path)
        if begun and begun >= loaded.num_boosted_rounds():
            return model, None  # the script has loaded the checkpoint itself
        container = _container()
        for callback in container.callbacks if container is not None else ():
            if callback is self:
                break  # those behind see the model by themselves
            if isinstance(callback, (EarlyStopping, TrainingCheckPoint)):
                callback.before_training(loaded)  # they note at how many rounds the training begins
        return loaded, begun + call.num_boost_round


@dataclass(frozen=True, slots=True)
class _Port:
    """See `tune_plugins.model_port.ModelPort`."""

    callback: TuneReportCheckpointCallback
    fit: _Fit

    def save_state(self, directory: Path) -> None:
        self.callback._save(self.fit.model, directory)

    def load_state(self, directory: Path, iteration: int) -> None:
        raise WarmRestartNeeded("this adapter enters the training anew")

    def apply_config(self, changed: Mapping[str, Any]) -> Collection[str]:
        return ()


_FORMATS = (".ubj", ".json")


def _missing_file(checkpoint: Checkpoint, directory: str, filename: str) -> str:
    names = os.listdir(directory) if os.path.isdir(directory) else []
    there = sorted(name for name in names if not name.startswith("."))
    found = f"it has {', '.join(map(repr, there))}" if there else "it is empty or gone"
    return (
        f"filename: the checkpoint {checkpoint.path!r}, from which this trial is to go on, has no file {filename!r}; "
        f"{found}. Give the callback the name under which the model was saved."
    )


@dataclass(frozen=True, slots=True)
class _TrainCall:
    """Arguments of the `xgboost.train` call that is running: callbacks are not told them."""

    params: Any
    dtrain: Any
    num_boost_round: int
    evals: Any

    @classmethod
    def running(cls) -> _TrainCall:
        """Find it among the callers.

        Raises:
            TuneError: it is not there.
        """
        for frame in _callers():
            if frame.f_code.co_name == "train" and frame.f_globals.get("__name__") == "xgboost.training":
                given = frame.f_locals
                return cls(given["params"], given["dtrain"], given["num_boost_round"], given["evals"] or ())
        raise TuneError(
            "A trial can go on from a checkpoint by itself only inside xgboost.train or the scikit-learn estimators of "
            "XGBoost, and this callback was called from elsewhere. Train with xgboost.train, or load "
            "tune_plugins.get_checkpoint() yourself and use TuneReportCallback."
        )


def _container() -> CallbackContainer | None:
    """XGBoost's list of the callbacks that this one is called with."""
    for frame in _callers():
        if frame.f_code.co_name == "before_training" and frame.f_globals.get("__name__") == "xgboost.callback":
            caller = frame.f_locals.get("self")
            if isinstance(caller, CallbackContainer):
                return caller
    return None


def _callers() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back
