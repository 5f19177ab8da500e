"""XGBoost: report every boosting round, save checkpoints, stop and go on, by one callback.

Works with `xgboost.train`, `xgboost.cv` and the scikit-learn estimators of XGBoost. Outside a tuning
run the callbacks do nothing, so that the same script trains alone.

>>> def train(config):
...     xgboost.train(config, dtrain, num_boost_round=200, evals=[(dvalid, "eval")],
...                   callbacks=[TuneReportCheckpointCallback()])

What it touches of XGBoost: the documented interface of callbacks and of `Booster` (`save_model`, `set_param`,
`save_config`). Callbacks are not told the arguments of the training call, nor of each other: these are read from the
frames of the callers. The rest that is not documented is in `INTERNALS`, too: the handle of a Booster, which is
exchanged in an exploit, and the counts of `EarlyStopping`, which begin anew in one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_plugins._imports import require
from tune_plugins.errors import TuneError, WarmRestartNeeded
from tune_plugins.integrations._adapter import Copy, Fit, Internals, calling, names_of_ray, running_call
from tune_plugins.integrations._boosting import (
    BoostingAdapter,
    Course,
    Postprocess,
    live_parameters,
    load_into,
    moved_by_script,
)
from tune_plugins.integrations._metrics import Metrics

require("xgboost", extra="xgboost", needed_by="tune_plugins.integrations.xgboost")

import numpy as np  # noqa: E402
from xgboost import Booster  # noqa: E402
from xgboost.callback import (  # noqa: E402
    CallbackContainer,
    EarlyStopping,
    LearningRateScheduler,
    TrainingCallback,
    TrainingCheckPoint,
)

__all__ = ["TuneReportCallback", "TuneReportCheckpointCallback"]

INTERNALS = Internals(
    seen=("3.0.0", "3.2.0"),
    names=(
        "xgboost.training.train: params, dtrain, num_boost_round, evals",
        "xgboost.callback.CallbackContainer: callbacks",
        "xgboost.callback.CallbackContainer.before_training: self",
        "xgboost.core.Booster: handle",
        "xgboost.callback.EarlyStopping: starting_round, current_rounds, stopping_history, best_scores",
    ),
)


@dataclass(slots=True)
class _Fit(Fit):
    """One call of `xgboost.train` or `xgboost.cv` inside a trial."""

    end: int | None = None
    """Number of rounds of the model at which a continued training is complete."""
    begin: int = 0
    """Number of rounds of the model before the first of this call."""
    done: int = 0
    """Rounds of this call that are complete."""
    reported: int = 0
    """Rounds of this call that are reported."""
    stopped: bool = False
    over: bool = False
    """The last round is done: all that can follow is its report."""
    params: dict[str, Any] | None = None
    """Parameters that the model has been given by exploits, as changes to those of the call."""
    stuck: bool = False
    """Nothing can go on from a model of this training; the engine is then offered none before the end."""
    grows: bool = True
    """Each round adds to the model, and leaves as it is what was there: the first rounds are the earlier model."""
    model: Any = None
    evals_log: Any = None
    series: list[tuple[str, list[Any], int]] = field(default_factory=list)
    """Name to report, the history it is in, and which of (mean, std), or -1 for a plain number."""
    names: int = -1
    """Number of histories when `series` was made."""


class TuneReportCallback(TrainingCallback, BoostingAdapter):
    """Reports every boosting round to the tuning run; saves no checkpoints.

    Keys are ``"<data>-<metric>"``, e.g. ``eval-logloss`` for ``evals=[(dvalid, "eval")]``. With
    `xgboost.cv` each key holds the mean over the folds, and ``<key>-std`` their standard deviation.
    `training_iteration` is the number of rounds of the model.

    A round is reported when the next one is about to begin, or at the end of the training: by then
    every other callback has seen it, whatever the order in the list, and none of them, such as early
    stopping, can hide the last one. Told to stop, the callback returns True from `before_iteration`. An exploit happens
    there, too: it is that of `after_iteration`, after all other callbacks.

    Args:
        metrics: what to report: None for all, a name, several names, or {name to report: source}.
        results_postprocessing_fn: gets the dict to be reported each round and returns the one to report.

    Raises:
        ArgumentError: an argument is wrong; or, after the first round, a metric does not exist (it
            lists those that do).
    """

    def __init__(self, metrics: Metrics = None, results_postprocessing_fn: Postprocess | None = None) -> None:
        super().__init__()
        self._set_up(metrics, results_postprocessing_fn)

    def before_training(self, model: Any) -> Any:
        """Begin a fit; in a trial that is to go on from a checkpoint, return the model of that."""
        is_booster = isinstance(model, Booster)
        fit = self.begin_fit(_Fit, _callbacks(), savable=is_booster)
        if fit is None:
            return model
        if fit.start is not None:
            with fit.start.as_directory() as directory:
                model, fit.end = self._go_on(model, directory)
        fit.counts = fit.counts and is_booster
        if fit.saver is not None:
            call = _TrainCall.find()
            fit.stuck = call is not None and call.updates
            fit.grows = call is not None and call.grows(model)
        return model

    def _go_on(self, model: Booster, directory: str) -> tuple[Booster, int | None]:
        """The model to train, and the number of rounds at which it is complete (None: as the script says)."""
        call = _TrainCall.running()
        if call.updates:
            raise TuneError(
                "This trial is to go on from a checkpoint, and cannot: with process_type='update', XGBoost goes "
                "through the trees of `xgb_model` once, and a checkpoint has only those that it had come to. Let the "
                "trial begin anew; or use TuneReportCallback, and load tune_plugins.get_checkpoint() yourself."
            )
        begun = model.num_boosted_rounds()
        loaded = call.booster(self.checkpoint_file(directory))
        if begun and begun >= loaded.num_boosted_rounds():
            return model, None  # the script has loaded the checkpoint itself
        for callback in _callbacks():
            if callback is self:
                break  # those behind see the model by themselves
            if isinstance(callback, (EarlyStopping, TrainingCheckPoint)):
                callback.before_training(loaded)  # they note at how many rounds the training begins
        return loaded, begun + call.num_boost_round

    def before_iteration(self, model: Any, epoch: int, evals_log: TrainingCallback.EvalsLog) -> bool:
        """Report the round before this one; True if the training is to end here."""
        fit: _Fit | None = self._fit
        if fit is None:
            return False
        if fit.model is None:
            fit.begin = model.num_boosted_rounds()
        fit.model, fit.evals_log, fit.done = model, evals_log, epoch
        self._report(fit)
        return fit.stopped or (fit.end is not None and fit.begin + epoch >= fit.end)

    def after_iteration(self, model: Any, epoch: int, evals_log: TrainingCallback.EvalsLog) -> bool:
        """Note that the round is complete; never ends the training here."""
        # Ending it here would keep this round from the callbacks behind this one (early stopping then fails
        # in `after_training`), and `xgboost.cv` would look for a best iteration that nobody has set.
        if self._fit is not None:
            self._fit.done = epoch + 1
        return False

    def after_training(self, model: Any) -> Any:
        """Report the last round and leave the last checkpoint."""
        fit: _Fit | None = self._fit
        if fit is not None and fit.model is not None:
            # `fit.model` holds all rounds; `model` may have been cut to the best ones by EarlyStopping(save_best=True).
            # A callback that ends the training from `after_iteration` hides the last round from those behind it.
            fit.done, fit.over = max(fit.done, fit.model.num_boosted_rounds() - fit.begin), True
            self._report(fit)
            self.finish_fit()
        self._fit = None
        return model

    def _report(self, fit: _Fit) -> None:
        if fit.done <= fit.reported:
            return
        fit.reported = fit.done
        rounds = fit.begin + fit.done
        last = fit.over or (fit.end is not None and rounds >= fit.end)
        fit.stopped = self.send(self._values(fit), rounds, offers_state=not fit.stuck, last=last)

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
        return self._processed(values)

    def _series(self, log: Mapping[str, Mapping[str, list[Any]]]) -> list[tuple[str, list[Any], int]]:
        available: dict[str, tuple[list[Any], int]] = {}
        also: dict[str, str] = {}  # as in the table that xgboost.cv returns
        for data, histories in log.items():
            for metric, history in histories.items():
                key = f"{data}-{metric}"
                if isinstance(history[-1], tuple):  # xgboost.cv: (mean, std) over the folds
                    available[key], available[f"{key}-std"] = (history, 0), (history, 1)
                    also[f"{key}-mean"] = key
                else:
                    available[key] = (history, -1)
        selected = self.select(
            available,
            'Give the training a data set to evaluate on: evals=[(dvalid, "eval")], '
            "or eval_set=[(X, y)] in the scikit-learn estimators.",
            also,
        )
        return [(name, *available[source]) for name, source in selected.items()]


class TuneReportCheckpointCallback(TuneReportCallback):
    """Reports every boosting round and saves checkpoints in XGBoost's own format; goes on from one by itself.

    A trial that starts from a checkpoint continues it up to the number of rounds that the script asks
    for: with ``num_boost_round=200`` and a checkpoint of 120 rounds, 80 more are trained, identical to
    ``xgboost.train(..., num_boost_round=80, xgb_model=checkpoint)``. If a script passes an `xgb_model`
    of its own to begin with, its rounds come on top, as they do without a checkpoint. A script that
    passes the checkpoint as `xgb_model` itself is left to do so.

    An exploit is carried out inside `xgboost.train`: the Booster becomes what it would be in a training that goes on
    from the donor's checkpoint as `xgb_model`, and parameters such as `eta`, `max_depth` and `subsample` are changed
    if the script passes them as they stand in the config. Other changes make the engine enter the function anew.

    Checkpoints are saved when the tuning run needs one, every `frequency` rounds, and at the end. They hold all rounds;
    after early stopping the best iteration is noted in the model (``booster.best_iteration``). The best round by the
    metric of the run is noted in them, and can be had as a model of its own (`Result.get_best_checkpoint`). With
    several fits in a trial, only the first one goes on from a checkpoint; later ones are reported with iterations that
    count on, and are repeated if the trial has to be resumed. Their models are saved at their ends, for what is in
    them: the last checkpoint is that of the last fit. There are no checkpoints with `xgboost.cv`, which has no model
    but one for each fold. With ``process_type="update"`` the model is saved at the end only: in between it lacks the
    trees that are still to be updated.

    Args:
        metrics: what to report: None for all, a name, several names, or {name to report: source}.
        filename: name of the model file in the checkpoint, ending in ``.ubj`` (binary) or ``.json``.
        frequency: save a checkpoint every so many rounds; 0: only when the tuning run asks for one.
        checkpoint_at_end: save one when the training ends.
        results_postprocessing_fn: gets the dict to be reported each round and returns the one to report.

    Raises:
        ArgumentError: an argument is wrong; a metric does not exist; the checkpoint to go on from
            lacks the file (it lists those there are).
        TuneError: the trial is to go on from a checkpoint that was saved during ``process_type="update"``.
    """

    saves = True
    endings = (".ubj", ".json")

    def __init__(
        self,
        metrics: Metrics = None,
        filename: str = "model.ubj",
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        results_postprocessing_fn: Postprocess | None = None,
    ) -> None:
        TrainingCallback.__init__(self)
        self._set_up(
            metrics,
            results_postprocessing_fn,
            filename=filename,
            frequency=frequency,
            checkpoint_at_end=checkpoint_at_end,
        )

    def save_state(self, directory: Path) -> None:
        """Write the model in XGBoost's own format."""
        self.model.save_model(directory / self.filename)

    def copy_model(self) -> Copy | None:
        """The number of rounds; a copy of the model, where further rounds change those before (DART, gblinear)."""
        fit: _Fit = self._fit
        if fit.stuck:
            return None
        if fit.grows:
            return fit.begin + fit.done
        name, content = self.filename, bytes(self.model.save_raw(Path(self.filename).suffix[1:]))

        def write(directory: Path) -> None:
            (directory / name).write_bytes(content)

        return write

    @classmethod
    def read_model(cls, directory: Path, filename: str, build: Any, config: Mapping[str, Any]) -> Any:
        """The Booster, or an estimator of the class that is given."""
        return load_into(build if build is not None else Booster, directory / filename)

    @classmethod
    def cut_model(cls, directory: Path, filename: str, rounds: int, target: Path) -> None:
        """Write the Booster with its first rounds only."""
        whole = cls.read_model(directory, filename, None, {})
        booster = whole[:rounds]
        # What EarlyStopping has noted of the whole: predictions look for rounds up to there.
        booster.set_attr(best_iteration=None, best_score=None)
        booster.save_model(target / filename)

    def load_state(self, directory: Path, iteration: int) -> None:
        """Make the Booster what `xgboost.train` would begin with for the donor's model as `xgb_model`."""
        fit: _Fit = self._fit
        path = self.checkpoint_file(directory)
        if fit.over:
            raise WarmRestartNeeded("xgboost.train has done its last round")
        call = _TrainCall.running()
        params = {**dict(call.params), **(fit.params or {})}
        if reason := _bound_to_its_loop(params):
            raise WarmRestartNeeded(reason)
        end = fit.begin + call.num_boost_round if fit.end is None else fit.end
        # To ask the model itself would make XGBoost look at its parameters: gblinear takes no others after that.
        rounds = iteration if fit.counts else Booster(model_file=path).num_boosted_rounds()
        Course(end, call.num_boost_round - fit.done, fit.over).check(rounds, "xgboost.train")
        begin = rounds - fit.done
        _begin_anew(_callbacks(), begin, moved=begin != fit.begin)
        if params.get("booster") != "gblinear":  # which shows its defaults instead
            for name, now in _settings(fit.model).items():
                if params.get(name) is not None and not _same_number(params[name], now):
                    raise moved_by_script(name, params[name], now)
        fit.begin, fit.end = begin, end
        # The Booster that the user, `xgboost.train` and all callbacks hold becomes the one that `xgboost.train` makes
        # for `xgb_model`: random generator, parameters and cached predictions begin anew. `load_model` would leave
        # the generator as it is, and take the parameters away.
        live, given = fit.model, call.booster(path, fit.params)
        live.handle, given.handle = given.handle, live.handle

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        """Change parameters of the Booster (`self.model`) that the script passes as they stand in the config.

        For overriding it see `tune_plugins.integrations.Adapter.apply_config`.
        """
        fit: _Fit = self._fit
        used = {**dict(_TrainCall.running().params), **(fit.params or {})}
        found = live_parameters(changed, before, used, _LIVE)
        if new := dict(found.values()):
            fit.model.set_param(new)
            fit.params = {**(fit.params or {}), **new}
        return found.keys()


# Parameters that a Booster reads in each round, by all their names. Those that the data, the form of the model or the
# meaning of its metrics hang on (tree_method, max_bin, objective, num_class, seed, ...) are not among them.
_LIVE = {
    name: names
    for names in (
        ("eta", "learning_rate"),
        ("gamma", "min_split_loss"),
        ("lambda", "reg_lambda"),
        ("alpha", "reg_alpha"),
        ("max_depth",),
        ("max_leaves",),
        ("min_child_weight",),
        ("max_delta_step",),
        ("subsample",),
        ("colsample_bytree",),
        ("colsample_bylevel",),
        ("colsample_bynode",),
        ("scale_pos_weight",),
        ("max_cat_to_onehot",),
        ("max_cat_threshold",),
        ("rate_drop",),
        ("one_drop",),
        ("skip_drop",),
    )
    for name in names
}


def _settings(model: Booster) -> dict[str, str]:
    """Parameters of the trees, of DART and of the objective that a Booster uses, by all their names."""
    found: dict[str, str] = {}

    def look(part: Mapping[str, Any]) -> None:
        for name, value in part.items():
            if isinstance(value, dict):
                look(value)
            elif name in _LIVE and isinstance(value, str):
                found[name] = value

    learner = json.loads(model.save_config())["learner"]
    look(learner["gradient_booster"])
    look(learner["objective"])
    return found


def _same_number(given: Any, used: str) -> bool:
    """XGBoost has made `used` of `given`: it keeps numbers in 32 bits, of which its reading may miss the last one."""
    here, there = np.float32(given), np.float32(used)
    return bool(abs(here - there) <= np.spacing(max(abs(here), abs(there))))


def _bound_to_its_loop(params: Mapping[str, Any]) -> str:
    """Why this training depends on the number of the round in its loop, which a continuation counts from 0."""

    def on(name: str) -> bool:
        return str(params.get(name, False)).lower() in ("true", "1")

    if on("seed_per_iteration"):
        return "seed_per_iteration draws by the number of the round in the loop, which cannot be set"
    if str(params.get("objective", "")).startswith("rank:"):
        if params.get("lambdarank_pair_method") == "mean":
            return "lambdarank_pair_method='mean' draws by the number of the round in the loop, which cannot be set"
        if on("lambdarank_unbiased"):
            return "lambdarank_unbiased has state that begins with the loop"
    return ""


def _begin_anew(callbacks: Collection[TrainingCallback], start: int, *, moved: bool) -> None:
    """Put XGBoost's own callbacks into the state in which they begin a continuation.

    Args:
        callbacks: all of the fit.
        start: rounds of the model before the first of this call, as they are to count from now on.
        moved: `start` was another number before.

    Raises:
        WarmRestartNeeded: one of them cannot; none has been touched.
    """
    for callback in callbacks:
        if isinstance(callback, LearningRateScheduler):
            raise WarmRestartNeeded("LearningRateScheduler counts by the loop, which cannot begin anew")
        if isinstance(callback, EarlyStopping) and type(callback) is not EarlyStopping:
            raise WarmRestartNeeded(f"{type(callback).__name__} may keep a count of its own, which must begin anew")
        if isinstance(callback, TrainingCheckPoint) and moved:
            raise WarmRestartNeeded("TrainingCheckPoint names its files by the loop, which is at another round")
    for callback in callbacks:
        if isinstance(callback, EarlyStopping):
            callback.starting_round = start
            callback.current_rounds, callback.stopping_history, callback.best_scores = 0, {}, {}


@dataclass(frozen=True, slots=True)
class _TrainCall:
    """Arguments of the `xgboost.train` call that is running: callbacks are not told them."""

    params: Any
    dtrain: Any
    num_boost_round: int
    evals: Any

    @classmethod
    def find(cls) -> _TrainCall | None:
        """Find it among the callers; None if it is not there."""
        if (frame := running_call("xgboost.training", "train")) is None:
            return None
        given = frame.f_locals
        return cls(given["params"], given["dtrain"], given["num_boost_round"], given["evals"] or ())

    @classmethod
    def running(cls) -> _TrainCall:
        """Find it among the callers.

        Raises:
            TuneError: it is not there.
        """
        if (call := cls.find()) is not None:
            return call
        raise TuneError(
            "A trial can go on from a checkpoint by itself only inside xgboost.train or the scikit-learn estimators of "
            "XGBoost, and this callback was called from elsewhere. Train with xgboost.train, or load "
            "tune_plugins.get_checkpoint() yourself and use TuneReportCallback."
        )

    @property
    def updates(self) -> bool:
        """Trees of the given model are changed, and none are added."""
        return dict(self.params).get("process_type") == "update"

    def grows(self, model: Booster) -> bool:
        """Whether a round leaves as it is what the model has: not with DART, which weighs trees anew, nor gblinear."""
        if self.updates:
            return False
        kind = dict(self.params).get("booster")
        if kind is None and model.num_boosted_rounds():  # that of the model it goes on from
            kind = json.loads(model.save_config())["learner"]["gradient_booster"]["name"]
        return kind in (None, "gbtree")

    def booster(self, path: str, params: Mapping[str, Any] | None = None) -> Booster:
        """The model that `xgboost.train` itself makes for ``xgb_model=path``, with changes of its parameters."""
        booster = Booster(self.params, [self.dtrain, *(data for data, _ in self.evals)], model_file=path)
        booster.set_param(dict(params or {}))
        return booster


def _callbacks() -> Collection[TrainingCallback]:
    """All callbacks of the fit that calls; empty if it is none of XGBoost's."""
    container = calling(CallbackContainer)
    return () if container is None else container.callbacks


if not TYPE_CHECKING:
    __getattr__ = names_of_ray(__name__)
