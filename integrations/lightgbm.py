"""LightGBM: report every boosting round, save checkpoints, stop and go on, by one callback.

Works with `lightgbm.train`, `lightgbm.cv` and the scikit-learn estimators of LightGBM. Outside a tuning
run the callbacks do nothing, so that the same script trains alone.

>>> def train(config):
...     lightgbm.train(config, train_set, num_boost_round=200, valid_sets=[valid_set], valid_names=["eval"],
...                    callbacks=[TuneReportCheckpointCallback()])

What it touches of LightGBM: the documented interface of callbacks, `EarlyStopException`, and `Booster`. Callbacks are
not told the arguments of the training call, nor of each other: these are read, and the lists of callbacks changed, in
the frame of the call. To go on from a model, a data set is given predictions as `lightgbm.train` does it for
`init_model`, by methods that are private. All that is not documented is in `INTERNALS`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import weakref
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tune_plugins import session as tune_session
from tune_plugins._imports import require
from tune_plugins.errors import ArgumentError, TuneError, WarmRestartNeeded
from tune_plugins.integrations._adapter import Copy, Fit, Internals, names_of_ray, running_call
from tune_plugins.integrations._boosting import BoostingAdapter, Course, Postprocess, live_parameters, moved_by_script
from tune_plugins.integrations._metrics import Metrics

require("lightgbm", extra="lightgbm", needed_by="tune_plugins.integrations.lightgbm")

from lightgbm import Booster, Dataset, Sequence  # noqa: E402
from lightgbm.basic import LightGBMError, _choose_param_value, _ConfigAliases, _InnerPredictor  # noqa: E402
from lightgbm.callback import CallbackEnv, EarlyStopException, reset_parameter  # noqa: E402

__all__ = ["TuneReportCallback", "TuneReportCheckpointCallback"]

INTERNALS = Internals(
    seen=("4.4.0", "4.7.0"),
    names=(
        "lightgbm.engine.train: params, num_boost_round, train_set, reduced_valid_sets, name_valid_sets",
        "lightgbm.engine.train: is_valid_contain_train, train_data_name, init_iteration",
        "lightgbm.engine.train: callbacks_set, callbacks_before_iter, callbacks_after_iter",
        "lightgbm.engine.cv: params, num_boost_round, train_set",
        "lightgbm.engine.cv: callbacks_set, callbacks_before_iter, callbacks_after_iter",
        "lightgbm.basic._choose_param_value: main_param_name, params, default_value",
        "lightgbm.basic._ConfigAliases: get",
        "lightgbm.basic._InnerPredictor: current_iteration",
        "lightgbm.basic._InnerPredictor.from_model_file: model_file, pred_parameter",
        "lightgbm.basic.Dataset: _handle, _predictor, _set_predictor, data, free_raw_data, used_indices, version",
        "lightgbm.basic.Dataset._set_init_score_by_predictor: predictor, data, used_indices",
        "lightgbm.callback._ResetParameterCallback: kwargs",
    ),
)

Callback = Callable[[CallbackEnv], None]

_ResetParameter = type(reset_parameter())


@dataclass(slots=True)
class _Fit(Fit):
    """One call of `lightgbm.train` or `lightgbm.cv` inside a trial.

    The loop of LightGBM counts from `CallbackEnv.begin_iteration` of the script's own call. A model that is taken
    over, at the beginning or by an exploit, has rounds of its own; the other callbacks are told the numbers that they
    would be told if the script had passed it as `init_model`.
    """

    stuck: str = ""
    """Why nothing can go on from a model of this training; the engine is then offered none before the end."""
    taken: bool = False
    """The model is one that was taken over."""
    origin: int = 0
    """Number that the loop gives to the first round of the model as it was taken over, or begun."""
    begin: int = 0
    """Rounds in the model then."""
    before: int = 0
    """Rounds that had been done for it; more than `begin` where no tree could be grown any more."""
    end: int = 0
    """Rounds done at which the training is complete."""
    loop_begin: int = 0
    loop_end: int = 0
    done: int = 0
    """Rounds done since the model was taken over, or begun."""
    over: bool = False
    """The last round is done: all that can follow is its report."""
    model: Any = None
    first: list[Callback] = field(default_factory=list)
    """The other callbacks that are called before a round."""
    last: list[Callback] = field(default_factory=list)
    """Those that are called after it."""
    series: list[tuple[str, int, int]] = field(default_factory=list)
    """Name to report, which of the results it is, and where in that the number stands."""
    names: int = -1
    """Number of results when `series` was made."""

    def seen(self, env: CallbackEnv) -> CallbackEnv:
        """What other callbacks are told."""
        if not self.taken:
            return env
        return dataclasses.replace(
            env,
            iteration=self.begin + env.iteration - self.origin,
            begin_iteration=self.begin,
            end_iteration=self.begin + self.end - self.before,
        )

    def tell(self, callbacks: list[Callback], env: CallbackEnv) -> None:
        """Call the other callbacks."""
        seen = self.seen(env)
        for callback in callbacks:
            callback(self._schedule(seen) if self.taken and _has_list(callback) else seen)

    def _schedule(self, seen: CallbackEnv) -> CallbackEnv:
        """For ``reset_parameter(learning_rate=[...])``: the list has a value for each round of the whole training."""
        place = self.before + seen.iteration - self.begin - self.loop_begin
        begin = seen.iteration - place
        return dataclasses.replace(seen, begin_iteration=begin, end_iteration=begin + self.loop_end - self.loop_begin)

    def take(self, begin: int, before: int, origin: int) -> None:
        """Go on from a model of `begin` rounds, for which `before` had been done, in round `origin` of the loop."""
        self.taken, self.begin, self.before, self.origin, self.done = True, begin, before, origin, 0


class TuneReportCallback(BoostingAdapter):
    """Reports every boosting round to the tuning run; saves no checkpoints.

    Keys are ``"<data>-<metric>"``, e.g. ``eval-auc`` for ``valid_names=["eval"]``. With `lightgbm.cv` each
    key holds the mean over the folds, and ``<key>-std`` their standard deviation. `training_iteration` is the
    number of rounds done.

    A round is reported when every other callback has seen it, whatever their `order`, also if one of them ends the
    training by it, as early stopping does. Told to stop, the callback raises LightGBM's own EarlyStopException: the
    model has all rounds, as if the script had asked for no more.

    Args:
        metrics: what to report: None for all, a name, several names, or {name to report: source}.
        results_postprocessing_fn: gets the dict to be reported each round and returns the one to report.

    Raises:
        ArgumentError: an argument is wrong; or, after the first round, a metric does not exist (it
            lists those that do).
    """

    order = -math.inf  # the first of all that are called before a round

    def __init__(self, metrics: Metrics = None, results_postprocessing_fn: Postprocess | None = None) -> None:
        self._set_up(metrics, results_postprocessing_fn)

    @property
    def before_iteration(self) -> bool:
        """True: to be called before a round. LightGBM asks each callback for it, once, before it bins the data."""
        # That is the one moment at which a training can still be told to go on from a model: for `init_model`, too,
        # LightGBM predicts all raw data by it, and lets go of them when they are binned.
        call = _Call.running() if tune_session.current() is not None else None
        if call is not None:
            try:
                self._begin(call)
            except AttributeError as error:  # would be taken for a callback without this attribute
                raise TuneError(f"lightgbm.{call.function} has changed in a way that is not known here.") from error
        return True

    def __call__(self, env: CallbackEnv) -> None:
        """What LightGBM calls before each round."""
        fit: _Fit | None = self._fit
        if fit is None:
            if tune_session.current() is not None and not self.silent:
                raise TuneError(
                    "The callback can report only from lightgbm.train, lightgbm.cv or the scikit-learn estimators of "
                    "LightGBM, and was called from elsewhere. Train with one of them, or call tune_plugins.report()."
                )
            return
        if fit.model is None:
            self._enter(fit, env)
        if fit.before >= fit.end:
            env.model.update = _no_round  # the model is complete; LightGBM can be ended only after a round
            return
        try:
            fit.tell(fit.first, env)
        except BaseException:
            self._leave(fit)
            raise

    def _begin(self, call: _Call) -> None:
        """Look at a call of LightGBM before it has binned its data."""
        fit = self.begin_fit(_Fit, call.callbacks, savable=call.trains)
        if fit is None:  # another callback acts for this one
            return
        if not fit.session.has_reported:
            _Loan.end_all()  # an error may have ended a fit of an earlier trial where no callback sees it
        fit.origin = fit.begin = fit.before = call.begin
        fit.end = call.begin + call.rounds
        if fit.port is not None:
            fit.stuck = call.stuck()
            _Loan.take(call.data_sets)
            if fit.start is not None:
                try:
                    with fit.start.as_directory() as directory:
                        self._go_on(fit, call, directory)
                except BaseException:
                    self._leave(fit)
                    raise
        fit.counts = fit.counts and call.trains

    def _go_on(self, fit: _Fit, call: _Call, directory: str) -> None:
        """Begin with the model of a checkpoint."""
        given = call.predictor(self.checkpoint_file(directory))
        rounds = given.current_iteration()
        before = _rounds_done(directory, rounds)
        if call.begin and call.begin >= rounds:
            return  # the script has loaded the checkpoint itself
        if fit.stuck:
            raise TuneError(f"This trial is to go on from a checkpoint, and cannot: {fit.stuck}.")
        fit.take(rounds, before, origin=call.begin)
        try:
            call.go_on_from(given, fit.end - before)
        except LightGBMError as error:
            raise TuneError(
                "This trial is to go on from a checkpoint, for which LightGBM must predict the raw data of all data "
                f"sets; one of them was binned before the training and has let go of them: {error} "
                "Make it with Dataset(..., free_raw_data=False), or leave the binning to the training."
            ) from error

    def _enter(self, fit: _Fit, env: CallbackEnv) -> None:
        """Before the first round: from now on the other callbacks are called by this one."""
        # So it sees each round after all of them, and knows of the end, whoever brings it about; and they are told
        # the right number of the round after another model has been taken over.
        call = _Call.running()
        if call is None or not isinstance(call.before, list) or not isinstance(call.after, list):
            raise TuneError("lightgbm.train or lightgbm.cv calls its callbacks in a way that is not known here.")
        fit.model, fit.loop_begin, fit.loop_end = env.model, env.begin_iteration, env.end_iteration
        fit.first = [callback for callback in call.before if callback is not self]
        fit.last = list(call.after)
        call.before[:] = [self]
        call.after[:] = [self._after_round]

    def _after_round(self, env: CallbackEnv) -> None:
        fit: _Fit = self._fit
        try:
            ended = self._end_of_round(fit, env)
        except BaseException:
            self._leave(fit)
            raise
        if ended:
            self._leave(fit)

    def _leave(self, fit: _Fit) -> None:
        """The fit is over."""
        self._fit = None
        if fit.port is not None:
            _Loan.end_all()

    def _end_of_round(self, fit: _Fit, env: CallbackEnv) -> bool:
        """Report a round; True if it is the last one of the loop, EarlyStopException to make it so."""
        results = env.evaluation_result_list or []
        if fit.before >= fit.end:
            del env.model.update
            raise EarlyStopException(-1, results)
        ending: EarlyStopException | None = None
        try:
            fit.tell(fit.last, env)
        except EarlyStopException as error:
            ending = error
        fit.done = env.iteration - fit.origin + 1
        complete = fit.before + fit.done >= fit.end
        fit.over = complete or ending is not None
        values = self._values(fit, results)
        stopped = self.send(values, fit.before + fit.done, offers_state=not fit.stuck, last=fit.over)
        if not (fit.over or stopped):
            return False
        self.finish_fit()
        if ending is not None:
            raise ending
        if env.iteration + 1 < env.end_iteration:
            # `lightgbm.cv` cuts its history to the best round; `lightgbm.train` has none, as after its last round.
            raise EarlyStopException(-1 if isinstance(env.model, Booster) else env.iteration, results)
        return True

    def _values(self, fit: _Fit, results: Collection[Any]) -> dict[str, Any]:
        """The metrics of the newest round, as plain numbers."""
        numbers = [tuple(result) for result in results]
        if len(numbers) != fit.names:
            fit.series, fit.names = self._series(numbers), len(numbers)
        values = {name: float(numbers[index][part]) for name, index, part in fit.series}
        return self._processed(values)

    def _series(self, numbers: list[tuple[Any, ...]]) -> list[tuple[str, int, int]]:
        available: dict[str, tuple[int, int]] = {}
        also: dict[str, str] = {}  # as the history that lightgbm.cv returns has them
        for index, (data, metric, *rest) in enumerate(numbers):
            # lightgbm.cv before 4.7: ("cv_agg", "valid auc", mean, larger is better, standard deviation)
            key = metric.replace(" ", "-", 1) if data == "cv_agg" else f"{data}-{metric}"
            available[key] = (index, 2)
            if len(rest) > 2:
                available[f"{key}-std"] = (index, 4)
                also |= {f"{key}-mean": key, f"{key}-stdv": f"{key}-std"}
        selected = self.select(
            available,
            "Give the training a data set to evaluate on: valid_sets=[valid_set], "
            "or eval_set=[(X, y)] in the scikit-learn estimators.",
            also,
        )
        return [(name, *available[source]) for name, source in selected.items()]


class TuneReportCheckpointCallback(TuneReportCallback):
    """Reports every boosting round and saves checkpoints in LightGBM's own format; goes on from one by itself.

    A trial that starts from a checkpoint continues it up to the number of rounds that the script asks
    for: with ``num_boost_round=200`` and a checkpoint of 120 rounds, 80 more are trained, identical to
    ``lightgbm.train(..., num_boost_round=80, init_model=checkpoint)``; the other callbacks are told the same, too. If
    a script passes an `init_model` of its own to begin with, its rounds come on top, as they do without a
    checkpoint. A script that passes the checkpoint as `init_model` itself is left to do so.

    Checkpoints are saved when the tuning run needs one, every `frequency` rounds, and at the end. They hold all rounds,
    also after early stopping. The best round by the metric of the run is noted in them, and can be had as a model of
    its own (`Result.get_best_checkpoint`). With several fits in a trial, only the first one goes on from a checkpoint;
    later ones are reported with iterations that count on, and are repeated if the trial has to be resumed. Their models
    are saved at their ends, for what is in them: the last checkpoint is that of the last fit. There are no checkpoints
    with `lightgbm.cv`, which has no model but one for each fold.

    The data sets keep their raw data, by which LightGBM must predict to go on from another model. What a data set
    begins with (`init_score`, as for an exposure or a prior) counts in a continuation, too, which is then equal to the
    training that was never interrupted, up to rounding.

    LightGBM cannot continue a random forest (``boosting="rf"``). Such a training saves its model at the end only; it is
    never moved, and a paused trial waits in its process. The same holds where it cannot predict the data: a data set of
    a binary file, of a `lightgbm.Sequence` or of a list of arrays, or one that was binned before the training without
    ``free_raw_data=False``.

    Args:
        metrics: what to report: None for all, a name, several names, or {name to report: source}.
        filename: name of the model file in the checkpoint, ending in ``.txt``.
        frequency: save a checkpoint every so many rounds; 0: only when the tuning run asks for one.
        checkpoint_at_end: save one when the training ends.
        results_postprocessing_fn: gets the dict to be reported each round and returns the one to report.

    Raises:
        ArgumentError: an argument is wrong; a metric does not exist; the checkpoint to go on from
            lacks the file (it lists those there are).
        TuneError: a trial is to go on from a checkpoint, and its model is a random forest, or LightGBM cannot predict
            a data set.
    """

    saves = True
    endings = (".txt",)

    def __init__(
        self,
        metrics: Metrics = None,
        filename: str = "model.txt",
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        results_postprocessing_fn: Postprocess | None = None,
    ) -> None:
        self._set_up(
            metrics,
            results_postprocessing_fn,
            filename=filename,
            frequency=frequency,
            checkpoint_at_end=checkpoint_at_end,
        )

    def save_state(self, directory: Path) -> None:
        """Write the model in LightGBM's own format."""
        fit: _Fit = self._fit
        fit.model.save_model(directory / self.filename, num_iteration=-1)
        done = fit.before + fit.done
        if done != fit.model.current_iteration():
            (directory / _ROUNDS).write_text(json.dumps({"rounds": done}), encoding="utf-8")

    def copy_model(self) -> Copy | None:
        """The number of rounds; a copy of the model, where further rounds change those before (DART)."""
        fit: _Fit = self._fit
        rounds = fit.model.current_iteration()
        if rounds != fit.before + fit.done:
            return None  # no tree could be grown in some of the rounds
        if not any(fit.model.params.get(name) == "dart" for name in _ConfigAliases.get("boosting")):
            return int(rounds)
        name, text = self.filename, fit.model.model_to_string(num_iteration=-1)

        def write(directory: Path) -> None:
            (directory / name).write_text(text, encoding="utf-8")

        return write

    @classmethod
    def read_model(cls, directory: Path, filename: str, build: Any, config: Mapping[str, Any]) -> Booster:
        """The Booster; the file makes no estimator."""
        if build is not None:
            raise ArgumentError("load_model", [f"build: none is needed, LightGBM loads Boosters only; got {build!r}."])
        return Booster(model_file=directory / filename)

    @classmethod
    def cut_model(cls, directory: Path, filename: str, rounds: int, target: Path) -> None:
        """Write the Booster with its first rounds only."""
        cls.read_model(directory, filename, None, {}).save_model(target / filename, num_iteration=rounds)

    def load_state(self, directory: Path, iteration: int) -> None:
        """Make the Booster what `lightgbm.train` would begin with for the donor's model as `init_model`."""
        fit: _Fit = self._fit
        path = self.checkpoint_file(directory)
        call = _Call.running()
        if fit.over or call is None:
            raise WarmRestartNeeded("lightgbm.train has done its last round")
        if any(isinstance(callback, _ResetParameter) for callback in fit.first):
            raise WarmRestartNeeded("reset_parameter may follow the old config, and is not told of the new one")
        if any(call.params.get(name) for name in _ConfigAliases.get("machines")):
            raise WarmRestartNeeded("a training on several machines must take over a model on all of them at once")
        for name in _live(leaf_size=True):
            if call.params.get(name) != fit.model.params.get(name):
                raise moved_by_script(name, call.params.get(name), fit.model.params.get(name))
        given = call.predictor(path)
        rounds = given.current_iteration()
        before = _rounds_done(directory, rounds)
        origin = fit.origin + fit.done
        Course(fit.end, fit.loop_end - origin, fit.over).check(before, "lightgbm.train")
        try:
            call.go_on_from(given, fit.end - before)
        except LightGBMError as error:
            raise WarmRestartNeeded(f"LightGBM cannot predict the raw data by the donor's model: {error}") from error
        fit.take(rounds, before, origin)
        self._become(call.booster())

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        """Change parameters of the Booster (`self.model`) that the script passes as they stand in the config.

        For overriding it see `tune_plugins.integrations.Adapter.apply_config`.
        """
        call = _Call.running()
        if call is None:
            return set()
        found = live_parameters(changed, before, call.params, _live(call.params.get("feature_pre_filter") is False))
        if found:
            call.params.update(found.values())
            self._become(call.booster())
        return found.keys()

    def _become(self, given: Booster) -> None:
        """Make the Booster that the user, `lightgbm.train` and all callbacks hold the given one."""
        live = self.model
        live.__dict__, given.__dict__ = given.__dict__, live.__dict__


_ROUNDS = "rounds.json"
"""In a checkpoint whose model has fewer rounds than were done: LightGBM adds none if it can split no leaf."""


def _rounds_done(directory: str | Path, rounds: int) -> int:
    path = Path(directory, _ROUNDS)
    return int(json.loads(path.read_text(encoding="utf-8"))["rounds"]) if path.is_file() else rounds


def _no_round(*args: Any, **kwargs: Any) -> bool:
    """Stands for `Booster.update` where there is nothing left to train."""
    return True


def _has_list(callback: Callback) -> bool:
    return isinstance(callback, _ResetParameter) and any(isinstance(value, list) for value in callback.kwargs.values())


@cache
def _live(leaf_size: bool) -> dict[str, set[str]]:
    """Parameters that a Booster reads in each round, by all their names.

    Those that the data, the form of the model or the meaning of its metrics hang on (max_bin, objective, num_class,
    seed, ...) are not among them.

    Args:
        leaf_size: with `min_data_in_leaf`, by which LightGBM drops features when it bins the data, unless told not to.
    """
    names = (
        "learning_rate",
        "num_leaves",
        "max_depth",
        "min_sum_hessian_in_leaf",
        "min_gain_to_split",
        "lambda_l1",
        "lambda_l2",
        "max_delta_step",
        "path_smooth",
        "bagging_fraction",
        "pos_bagging_fraction",
        "neg_bagging_fraction",
        "bagging_freq",
        "feature_fraction",
        "feature_fraction_bynode",
        "extra_trees",
        "top_rate",
        "other_rate",
        "drop_rate",
        "max_drop",
        "skip_drop",
        "uniform_drop",
        "min_data_per_group",
        "max_cat_threshold",
        "max_cat_to_onehot",
        "cat_l2",
        "cat_smooth",
        "scale_pos_weight",
        *(["min_data_in_leaf"] if leaf_size else []),
    )
    return {alias: _ConfigAliases.get(name) for name in names for alias in _ConfigAliases.get(name)}


@dataclass(frozen=True, slots=True)
class _Call:
    """The call of `lightgbm.train` or `lightgbm.cv` that is running: callbacks are not told its arguments."""

    function: str
    given: Mapping[str, Any]
    """Its local variables."""

    @classmethod
    def running(cls) -> _Call | None:
        """Find it among the callers; None if it is not there."""
        frame = running_call("lightgbm.engine", "train", "cv")
        return None if frame is None else cls(frame.f_code.co_name, frame.f_locals)

    @property
    def trains(self) -> bool:
        return self.function == "train"

    @property
    def callbacks(self) -> Collection[Callback]:
        return self.given["callbacks_set"]

    @property
    def before(self) -> list[Callback] | None:
        return self.given.get("callbacks_before_iter")

    @property
    def after(self) -> list[Callback] | None:
        return self.given.get("callbacks_after_iter")

    @property
    def begin(self) -> int:
        """Rounds of the script's own `init_model`, where the loop begins to count."""
        return self.given.get("init_iteration", 0)

    @property
    def rounds(self) -> int:
        """Rounds that the loop can do."""
        return self.given["num_boost_round"]

    @property
    def params(self) -> dict[str, Any]:
        """LightGBM's own copy of the parameters, of which its Booster is made and which callbacks are shown."""
        return self.given["params"]

    @property
    def data_sets(self) -> list[Dataset]:
        return [self.given["train_set"], *self.given.get("reduced_valid_sets", ())]

    def stuck(self) -> str:
        """Why nothing can go on from a model of this training; empty if it can."""
        boosting = str(_choose_param_value("boosting", dict(self.params), "gbdt")["boosting"])
        if boosting.lower() in ("rf", "random_forest"):
            return (
                f"LightGBM cannot continue a random forest (boosting={boosting!r}), also not with `init_model`. Let "
                "the trial begin anew, or take another `boosting`, such as 'gbdt' or 'dart'"
            )
        return next((why for data in self.data_sets if (why := _why_unpredictable(data))), "")

    def predictor(self, path: str) -> _InnerPredictor:
        """What `lightgbm.train` makes of ``init_model=path``."""
        return _InnerPredictor.from_model_file(model_file=path, pred_parameter=self.params)

    def go_on_from(self, given: _InnerPredictor, rounds: int) -> None:
        """Do with a model what `lightgbm.train` does with its `init_model`, for so many rounds more.

        Raises:
            LightGBMError: a data set has let go of its raw data.
        """
        _Loan.give(given)
        if rounds > 0:
            self.params["num_iterations"] = rounds

    def booster(self) -> Booster:
        """The Booster that `lightgbm.train` makes of its parameters and data sets."""
        given = self.given
        booster = Booster(params=self.params, train_set=given["train_set"])
        if given["is_valid_contain_train"]:
            booster.set_train_data_name(given["train_data_name"])
        for data, name in zip(given["reduced_valid_sets"], given["name_valid_sets"], strict=True):
            booster.add_valid(data, name)
        booster.best_iteration = 0
        return booster


def _why_unpredictable(data: Dataset) -> str:
    """Why LightGBM cannot predict this data set by a model, now or when it is binned; empty if it can."""
    raw = data.data
    if raw is None and data.used_indices is not None and data.reference is not None:
        raw = data.reference.data
    if raw is None:
        return (
            "a data set was binned before the training (by Dataset.construct, lightgbm.cv or an earlier training) and "
            "let go of its raw data, and LightGBM must predict these to continue a model. Make it with "
            "Dataset(..., free_raw_data=False)"
        )
    if isinstance(raw, (str, Path)) and _is_binary(raw):
        return (
            f"the file {str(raw)!r} holds a data set that is binned already, and LightGBM must predict the raw data to "
            "continue a model. Make the Dataset of these"
        )
    parts = raw if isinstance(raw, list) else [raw]
    if any(isinstance(part, Sequence) for part in parts) or (isinstance(raw, list) and hasattr(raw[0], "shape")):
        return (
            "LightGBM must predict the raw data of a data set to continue a model, and cannot where they are a "
            "lightgbm.Sequence or a list of arrays. Make the Dataset of one array or data frame"
        )
    return ""


def _is_binary(path: str | Path) -> bool:
    """The file was written by `Dataset.save_binary`."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_BINARY)) == _BINARY
    except OSError:  # LightGBM says what is wrong
        return False


_BINARY = b"______LightGBM_Binary_File_Token______"


class _Loan:
    """What a fit changes on a data set of the script, which may use it again, also in another trial.

    To go on from a model, a data set needs its raw data while the training runs, and begins with the predictions of the
    model, on top of the scores that the script gives it (`init_score`).
    """

    _open: ClassVar[list[_Loan]] = []
    """All that are not ended. Of the one fit that has the checkpoints, or left by an error."""

    def __init__(self, data: Dataset, *, raw_only: bool = False) -> None:
        self._raw_only = raw_only  # it is not trained with, and only lends its raw data to a subset
        self._data = weakref.ref(data)  # the data set may be gone with the function that made it
        self._frees = data.free_raw_data and data.data is not None and data._handle is None
        if self._frees:
            data.free_raw_data = False
        self._predictor, self._init_score = data._predictor, data.init_score
        self._given: _InnerPredictor | None = None
        self._own: Any = None
        """The scores to begin with that are the script's, or of a file, once the data set is binned."""
        self._knows_own = self._predictor is not None  # which has replaced them

    @classmethod
    def take(cls, data_sets: Collection[Dataset]) -> None:
        """Begin with the data sets of a fit, and end with all others."""
        cls.end_all()
        whole = [d.reference for d in data_sets if d.used_indices is not None and d.reference is not None]
        cls._open = [
            *(cls(data) for data in data_sets),
            *(cls(data, raw_only=True) for data in whole if all(data is not other for other in data_sets)),
        ]

    @classmethod
    def give(cls, predictor: _InnerPredictor) -> None:
        """Let the data sets begin with the predictions of a model.

        Raises:
            LightGBMError: one of them has let go of its raw data.
        """
        for loan in cls._open:
            if loan._raw_only:
                continue
            data = loan._data()
            assert data is not None  # the running training has it
            loan._given = predictor  # if this fails half way, too
            data._set_init_score_by_predictor = loan._begin_with
            data._set_predictor(predictor)

    @classmethod
    def end_all(cls) -> None:
        """Take the predictions back. Data sets that outlive the fit keep their raw data: the next trial has them."""
        for loan in cls._open:
            loan._undo()
            if loan._frees and (data := loan._data()) is not None:
                data.free_raw_data = True
        cls._open = []

    def _begin_with(self, predictor: _InnerPredictor, data: Any, used_indices: Any) -> Dataset:
        """Stands for the method of the data set, which puts the predictions in the place of the script's scores.

        LightGBM takes a model to go on from for one that was trained without any: an exposure or a prior would be gone
        for the rounds that follow.
        """
        own = self._data()
        assert own is not None
        if not self._knows_own:
            if own.init_score is not None:
                own.set_init_score(own.init_score)
            self._own, self._knows_own = own.get_field("init_score"), True
        Dataset._set_init_score_by_predictor(own, predictor, data, used_indices)
        if self._own is not None:
            own.set_init_score(self._own + own.get_field("init_score"))
        return own

    def _undo(self) -> None:
        data, given, self._given = self._data(), self._given, None
        # `lightgbm.train` may have begun with the data set once more: it then has another predictor, which is right,
        # or none, and scores of 0, for which LightGBM would begin otherwise than without any.
        if data is None or given is None:
            return
        vars(data).pop("_set_init_score_by_predictor", None)
        if data._predictor is not given and (data._predictor is not None or self._predictor is not None):
            return
        version = data.version  # a Booster that is kept would take the data set for a new one
        if self._predictor is not None:
            data._set_predictor(self._predictor)  # that of the script's own `init_model`
        else:
            data._predictor = None
            data.set_init_score(self._init_score)
            if self._init_score is None and data._handle is not None:
                data.set_field("init_score", self._own)
        data.version = version


if not TYPE_CHECKING:
    __getattr__ = names_of_ray(__name__)
