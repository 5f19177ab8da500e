"""CatBoost: report every boosting round, save checkpoints, stop and go on, by one callback.

Works with `fit` of `CatBoost`, `CatBoostClassifier`, `CatBoostRegressor` and `CatBoostRanker`. Outside a tuning run the
callbacks do nothing, so that the same script trains alone.

>>> def train(config):
...     model = CatBoostClassifier(iterations=200, **config)
...     model.fit(x, y, eval_set=(x_eval, y_eval), callbacks=[TuneReportCheckpointCallback()])

How it works. CatBoost shows its callbacks the metrics of a round and nothing else. The model is made when the training
is over; what a callback raises becomes a CatBoostError; and no callback is told that a fit begins or ends. Two things
of CatBoost make up for that:

- Every fit goes through one method, `_CatBoostBase._train`, with the data, all parameters and `init_model`. In a trial,
  and only for a fit that has one of the callbacks below, `_train` of this module stands in its place.
- Snapshots (`save_snapshot=True`): CatBoost writes its whole state into a file when a training ends, also one that a
  callback has ended, and a training that finds that file goes on from it as if it had never ended: the same trees to
  the last bit, and the same metrics and count of the overfitting detector. It refuses a file that was written under
  other parameters, except for another learning rate, or for other data.

So a training with checkpoints runs in segments, in a thread beside the one of the script, which waits for it
after every round, and runs all callbacks. When a state is asked for, the segment is ended by CatBoost's own mechanism
(`after_iteration` returns False); its snapshot and its model are the checkpoint; and the next segment goes on from the
snapshot, from that of another trial after an exploit. Where CatBoost refuses a snapshot, the model becomes its
`init_model`. As long as nobody asks for a state there is one segment, which is the plain training.

What it touches of CatBoost beyond snapshots, `init_model` and `after_iteration` is in `INTERNALS`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from tune_plugins import session as tune_session
from tune_plugins._imports import require
from tune_plugins.errors import TuneError
from tune_plugins.integrations._adapter import Copy, Fit, Internals, leader, names_of_ray
from tune_plugins.integrations._boosting import BoostingAdapter, Postprocess, live_parameters, load_into
from tune_plugins.integrations._metrics import Metrics

require("catboost", extra="catboost", needed_by="tune_plugins.integrations.catboost")

from catboost import CatBoost, CatBoostClassifier, CatBoostError, CatBoostRanker, CatBoostRegressor  # noqa: E402
from catboost.core import _CatBoostBase  # noqa: E402

__all__ = ["TuneReportCallback", "TuneReportCheckpointCallback"]

INTERNALS = Internals(
    seen=("1.2.8", "1.2.10"),
    names=(
        "catboost.core._CatBoostBase._train: train_pool, test_pool, params, allow_clear_pool, init_model",
        "catboost.core._CatBoostBase: _object, _set_trained_model_attributes",
        "catboost.core._TrainCallbacksWrapper: _callbacks, after_iteration",
    ),
)


@dataclass(slots=True, kw_only=True)
class _Fit(Fit):
    """One call of `fit` inside a trial."""

    call: _Call
    others: list[Any]
    """The other callbacks of the script."""
    training: _Training | None = None
    """How the training is carried out where its model can be saved."""
    series: list[tuple[str, str, str]] | None = None
    """What to report: (name, data, metric)."""
    done: int = 0
    """Rounds of the model that are complete."""

    @property
    def model(self) -> Any:
        return self.call.model


class TuneReportCallback(BoostingAdapter):
    """Reports every boosting round to the tuning run; saves no checkpoints.

    Keys are ``"<data>-<metric>"`` with the names of CatBoost's own record (`evals_result_`): ``learn-Logloss``,
    ``validation-AUC``, with several evaluation sets ``validation_0-AUC``, ``validation_1-AUC``. `training_iteration` is
    the number of trees of the model. With ``metric_period=10``, by which CatBoost measures nothing in the rounds
    between, only the rounds in which it does are reported.

    A round is reported when every other callback has seen it, whatever the order in the list. Told to stop, the
    callback returns False, as CatBoost expects it. What it or another callback raises leaves `fit` as it is raised;
    CatBoost would make a CatBoostError of it. CatBoost takes no callbacks when it trains on a GPU.

    Args:
        metrics: what to report: None for all, a name, several names, or {name to report: source}.
        results_postprocessing_fn: gets the dict to be reported each round and returns the one to report.

    Raises:
        ArgumentError: an argument is wrong; or, after the first round, a metric does not exist (it
            lists those that do).
    """

    def __init__(self, metrics: Metrics = None, results_postprocessing_fn: Postprocess | None = None) -> None:
        self._set_up(metrics, results_postprocessing_fn)

    def after_iteration(self, info: Any) -> bool:
        """What CatBoost calls after each round of a training outside a tuning run: goes on."""
        if tune_session.current() is not None:
            raise TuneError(
                "The callback can report only from `fit` of CatBoost and its estimators, and was called from "
                "elsewhere. Train with one of them, or call tune_plugins.report()."
            )
        return True

    def _carry_out(self, call: _Call, callbacks: Collection[Any]) -> None:
        """Train, as `_CatBoostBase._train` does it."""
        others = [callback for callback in callbacks if not isinstance(callback, TuneReportCallback)]
        fit = self.begin_fit(partial(_Fit, call=call, others=others), callbacks)
        assert fit is not None
        try:
            if fit.saver is None:
                self._count_from(fit, call.begin)
                call.train_whole(lambda info: self._after_round(fit, info, call.begin + info.iteration))
            else:
                self._train_in_segments(fit)
        finally:
            self._fit = None

    def _train_in_segments(self, fit: _Fit) -> None:
        fit.training = training = _Training(fit.call)
        try:
            if fit.start is not None:
                with fit.start.as_directory() as directory:
                    training.take(Path(directory), self.checkpoint_file(directory), begins=True)
            self._count_from(fit, training.done)
            while (info := training.next()) is not None and self._after_round(fit, info, training.done):
                pass
            training.suspend()
            self.finish_fit()
        finally:
            training.close()

    def _count_from(self, fit: _Fit, done: int) -> None:
        # A trial that goes on, and a fit that does not: its rounds would count from 1 again.
        fresh = fit.session.start_checkpoint is not None and done == 0
        fit.counts = fit.counts and not fresh

    def _after_round(self, fit: _Fit, info: Any, done: int) -> bool:
        """Tell the other callbacks of a round, and report it; False if the training is to end."""
        goes_on = True
        for callback in fit.others:
            if not callback.after_iteration(info):
                goes_on = False
                break  # as CatBoost does it
        if fit.series is None:
            fit.series = self._series(info.metrics)
        values = {
            name: float(history[-1])
            for name, data, metric in fit.series
            if fit.call.measured(history := info.metrics[data][metric], info.iteration, last=done == fit.call.end)
        }
        if fit.series and not values:
            return goes_on
        fit.done = done
        return not self.send(self._processed(values), done, last=done >= fit.call.end) and goes_on

    def _series(self, record: Mapping[str, Mapping[str, list[float]]]) -> list[tuple[str, str, str]]:
        available = {f"{data}-{metric}": (data, metric) for data, metrics in record.items() for metric in metrics}
        selected = self.select(available, "Give the training a data set to evaluate on: fit(..., eval_set=(x, y)).")
        return [(name, *available[source]) for name, source in selected.items()]


class TuneReportCheckpointCallback(TuneReportCallback):
    """Reports every boosting round and saves checkpoints in CatBoost's own formats; goes on from one by itself.

    A trial that starts from a checkpoint continues it up to the number of rounds that the script asks for, by
    CatBoost's own snapshot: the trees are those of a training that was never interrupted, and so are `evals_result_`,
    the overfitting detector and `best_iteration_`. Under other parameters (except another learning rate) or on other
    data CatBoost accepts no snapshot; the training then goes on as by ``fit(..., init_model=checkpoint)``. If a script
    passes an `init_model` of its own to begin with, its rounds come on top, as they do without a checkpoint. A script
    that passes the checkpoint as `init_model` itself is left to do so.

    An exploit is carried out inside `fit`: the training goes on from the donor's state, and parameters such as
    `learning_rate`, `depth` and `l2_leaf_reg` are changed if the script passes them as they stand in the config. Other
    changes make the engine enter the function anew.

    Checkpoints are saved when the tuning run needs one, every `frequency` reports, and at the end. The model in them
    has all rounds, also after early stopping and with ``use_best_model=True``, by which `fit` cuts the model that it
    leaves in the script. The best round by the metric of the run is noted in them, and can be had as a model of its own
    (`Result.get_best_checkpoint`). With several fits in a trial, only the first one goes on from a checkpoint; later
    ones are reported with iterations that count on, and are repeated if the trial has to be resumed. Their models are
    saved at their ends, for what is in them: the last checkpoint is that of the last fit.

    To save a state, CatBoost must leave its training, and enter it again: this takes as long as it needs to begin one
    on this data (to bin it, mostly; a `Pool` that was quantized before needs none of that).

    Args:
        metrics: what to report: None for all, a name, several names, or {name to report: source}.
        filename: name of the model file in the checkpoint, ending in ``.cbm``.
        frequency: save a checkpoint every so many reports; 0: only when the tuning run asks for one.
        checkpoint_at_end: save one when the training ends.
        results_postprocessing_fn: gets the dict to be reported each round and returns the one to report.

    Raises:
        ArgumentError: an argument is wrong; a metric does not exist; the checkpoint to go on from
            lacks the file (it lists those there are).
        TuneError: the training is to go on from a checkpoint, and CatBoost accepts neither its snapshot nor its model.
    """

    saves = True
    endings = (".cbm",)

    def __init__(
        self,
        metrics: Metrics = None,
        filename: str = "model.cbm",
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

    @property
    def params(self) -> dict[str, Any]:
        """Parameters of the running training, by CatBoost's names; what `apply_config` writes holds from then on.

        For a script that computes its parameters: override `apply_config`, and set here what you compute there.
        """
        params: dict[str, Any] = self._fit.call.params
        return params

    def save_state(self, directory: Path) -> None:
        """Write model and snapshot; the engine calls it."""
        self._fit.training.save(directory, self.filename)
        kind = next(base.__name__ for base in type(self._fit.model).__mro__ if base.__name__ in _ESTIMATORS)
        (directory / _ESTIMATOR).write_text(json.dumps({"class": kind}), encoding="utf-8")

    def copy_model(self) -> Copy | None:
        """The number of rounds; None where each round weighs those before it anew."""
        fit: _Fit = self._fit
        return None if any(fit.call.params.get(name) for name in _SHRINKING) else int(fit.done)

    @classmethod
    def read_model(cls, directory: Path, filename: str, build: Any, config: Mapping[str, Any]) -> Any:
        """The model: a classifier, a regressor, a ranker, as it was trained; or of the class that is given."""
        if build is None:
            with suppress(FileNotFoundError):
                build = _ESTIMATORS.get(json.loads((directory / _ESTIMATOR).read_text(encoding="utf-8"))["class"])
        return load_into(build if build is not None else CatBoost, directory / filename)

    @classmethod
    def cut_model(cls, directory: Path, filename: str, rounds: int, target: Path) -> None:
        """Write the model with its first rounds only."""
        model = _load(directory / filename)
        if rounds < _rounds(model):
            model.shrink(rounds)
        model.save_model(str(target / filename))
        with suppress(FileNotFoundError):
            shutil.copyfile(directory / _ESTIMATOR, target / _ESTIMATOR)

    def load_state(self, directory: Path, iteration: int) -> None:
        """Let the training go on from another state; the engine calls it."""
        self._fit.training.take(directory, self.checkpoint_file(directory))
        self._fit.series = None

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        """Change parameters from the next round on; the engine calls it."""
        found = live_parameters(changed, before, self.params, _LIVE)
        self.params.update(found.values())
        return found


# Parameters of the trees, by all their names; `_CatBoostBase._train` gets the first. Those that the form of the data,
# of the model or of its metrics hang on (border_count, loss_function, boosting_type, ...) are not among them.
_LIVE = {
    name: names
    for names in (
        ("learning_rate", "eta"),
        ("depth", "max_depth"),
        ("l2_leaf_reg", "reg_lambda"),
        ("rsm", "colsample_bylevel"),
        ("max_leaves", "num_leaves"),
        ("min_data_in_leaf", "min_child_samples"),
        ("random_strength",),
        ("bagging_temperature",),
        ("subsample",),
        ("leaf_estimation_iterations",),
        ("model_size_reg",),
    )
    for name in names
}


_SHRINKING = ("model_shrink_rate", "model_shrink_mode", "langevin", "posterior_sampling", "monotone_constraints")
"""Parameters with which each round weighs those before it anew, or may by default."""


# ------------------------------------------------------------------------------ the call of CatBoost

_train_alone = _CatBoostBase._train


@wraps(_train_alone)
def _train(
    model: Any, train_pool: Any, test_pool: Any, params: dict[str, Any], allow_clear_pool: bool, init_model: Any
) -> None:
    """Stands in the place of `_CatBoostBase._train`: the same, except for a fit in a trial that has our callback."""
    callbacks = getattr(params.get("callbacks"), "_callbacks", ())
    own = [callback for callback in callbacks if isinstance(callback, TuneReportCallback)]
    if not own or tune_session.current() is None:
        _train_alone(model, train_pool, test_pool, params, allow_clear_pool, init_model)
    else:
        call = _Call(model, train_pool, test_pool, dict(params), allow_clear_pool, init_model)
        leader(own)._carry_out(call, callbacks)


_CatBoostBase._train = _train


@dataclass(slots=True)
class _Call:
    """Arguments of `_CatBoostBase._train`."""

    model: Any
    """The script's model, which becomes the trained one."""
    train_pool: Any
    test_pool: Any
    params: dict[str, Any]
    """All parameters, by the first of their names."""
    clears_pool: bool
    """CatBoost may let go of the raw data."""
    init_model: Any

    @property
    def begin(self) -> int:
        """Rounds of the script's own `init_model`."""
        return _rounds(self.init_model)

    @property
    def end(self) -> int:
        """Rounds of the model at the end."""
        return self.begin + int(self.params.get("iterations") or 1000)  # CatBoost's default

    def measured(self, history: list[float], iteration: int, last: bool) -> bool:
        """The last number of a history belongs to this round: CatBoost leaves out those between `metric_period`."""
        period = int(self.params.get("metric_period") or 1)
        return last or len(history) == iteration or (iteration - 1) % period == 0

    def train_whole(self, after_round: Callable[[Any], bool]) -> None:
        """Train as the script asks for it; an error of `after_round` ends the training, and is raised as it is."""
        relay = _Relay(after_round)
        params = {**self.params, "callbacks": relay}
        _train_alone(self.model, self.train_pool, self.test_pool, params, self.clears_pool, self.init_model)
        if relay.error is not None:
            raise relay.error


class _Relay:
    """What CatBoost takes for its callbacks."""

    def __init__(self, after_round: Callable[[Any], bool]) -> None:
        self.after_round = after_round
        self.error: BaseException | None = None

    def after_iteration(self, info: Any) -> bool:
        try:
            return self.after_round(info)
        except BaseException as error:  # CatBoost would make a CatBoostError of it
            self.error = error
            return False


class _Segment:
    """A part of a training, in a thread of its own, where CatBoost waits after each round until it is let go on."""

    def __init__(self, train: Callable[[_Segment], None]) -> None:
        self._rounds: SimpleQueue[Any] = SimpleQueue()
        self._answers: SimpleQueue[bool] = SimpleQueue()
        self._waits = self._ended = False
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, args=(train,), name="catboost", daemon=True)
        self._thread.start()

    def _run(self, train: Callable[[_Segment], None]) -> None:
        try:
            train(self)
        except BaseException as error:
            self._error = error
        self._rounds.put(None)

    def after_iteration(self, info: Any) -> bool:
        """What CatBoost calls, in its thread."""
        self._rounds.put(info)
        return self._answers.get()

    def next(self) -> Any:
        """What CatBoost says of the next round; None at the end.

        Raises:
            CatBoostError: the training has failed.
        """
        if self._waits:
            self._waits = False
            self._answers.put(True)
        return self._told()

    def end(self) -> None:
        """End the training after the round that it is in, and wait for its snapshot and its model."""
        if not self._ended:
            self._answers.put(False)  # whether CatBoost waits for it by now or not
        while self._told() is not None:
            pass

    def _told(self) -> Any:
        info = None if self._ended else self._rounds.get()
        self._waits = info is not None
        if info is None and not self._ended:
            self._ended = True
            self._thread.join()
            if self._error is not None:
                raise self._error
        return info


_ESTIMATOR = "estimator.json"
"""In a checkpoint: the class of the model."""
_ESTIMATORS = {kind.__name__: kind for kind in (CatBoostClassifier, CatBoostRegressor, CatBoostRanker, CatBoost)}
_SNAPSHOT = "snapshot"
"""In a checkpoint: CatBoost's state."""
_INIT_MODEL = "init_model.cbm"
"""In a checkpoint: the model that the training began with, where it is not the one that the script passes."""
_REFUSED = "Can't load progress from snapshot file"
_NEVER = 10**9
"""Seconds between snapshots: CatBoost writes one at the end in any case."""


class _Training:
    """A training in segments.

    Attributes:
        done: rounds of the model, those of its `init_model` among them.
    """

    def __init__(self, call: _Call) -> None:
        self._call = call
        self._init_model = call.init_model
        self._begun = self.done = call.begin
        self._segment: _Segment | None = None
        self._given: Any = None  # model of the checkpoint that the next segment goes on from, if it is not our own
        self._folder = Path(tempfile.mkdtemp(prefix="catboost-"))
        self._snapshot = self._folder / _SNAPSHOT

    def next(self) -> Any:
        """Train one round more: what CatBoost says of it; None if the training has come to its end.

        Raises:
            CatBoostError: the training has failed.
            TuneError: CatBoost cannot go on from the checkpoint.
        """
        info = self._begin_segment() if self._segment is None else self._segment.next()
        if info is not None:
            self.done = self._begun + info.iteration
        return info

    def suspend(self) -> None:
        """End the segment; the next one goes on from its snapshot."""
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.end()

    def close(self) -> None:
        """No round follows; whatever has ended the training is not hidden by what comes of it."""
        try:
            with suppress(Exception):
                self.suspend()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def save(self, directory: Path, filename: str) -> None:
        """Write the state into a checkpoint."""
        self.suspend()
        model = self._call.model
        if _rounds(model) < self.done:
            model = self._uncut()
        model.save_model(str(directory / filename))
        if self._snapshot.exists():
            shutil.copyfile(self._snapshot, directory / _SNAPSHOT)
        if self._init_model is not None and self._init_model is not self._call.init_model:
            self._init_model.save_model(str(directory / _INIT_MODEL))

    def _uncut(self) -> Any:
        """The model with all rounds, where the script's was cut to its best one: that of the snapshot.

        CatBoost gives it at the end of a training only, and what it makes of its parameters may hang on `iterations`,
        so that it would refuse the snapshot with fewer. So one round more is trained, and taken away again.
        """
        kept = self._folder / "kept"
        shutil.copyfile(self._snapshot, kept)
        model = CatBoost()
        try:
            self._train(_NoMore(), model, use_best_model=False)
        finally:
            kept.replace(self._snapshot)
        if _rounds(model) > self.done:
            model.shrink(self.done)
        return model

    def take(self, directory: Path, file: str, *, begins: bool = False) -> None:
        """Go on from the state in a checkpoint, whose model is in `file`."""
        given = _load(file)
        if begins and self._begun and self._begun >= _rounds(given):
            return  # the script has loaded the checkpoint itself
        self.suspend()
        self._given = given
        own = directory / _INIT_MODEL
        self._init_model = _load(own) if own.is_file() else self._call.init_model
        self._begun, self.done = _rounds(self._init_model), _rounds(given)
        self._snapshot.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            shutil.copyfile(directory / _SNAPSHOT, self._snapshot)

    def _begin_segment(self) -> Any:
        given, self._given = self._given, None
        if given is not None and not self._snapshot.exists():
            return self._continue(given, "there is none")
        self._segment = _Segment(self._train)
        try:
            info = self._segment.next()
        except CatBoostError as error:
            if given is None or _REFUSED not in str(error):
                raise
            return self._continue(given, str(error))
        if info is None or self._begun + info.iteration == self.done + 1:
            return info
        # CatBoost prints a warning, and begins anew, where it cannot read its file: that of another version, say.
        self.suspend()
        if given is None:
            raise TuneError(f"CatBoost did not go on with round {self.done + 1}: it cannot read its own snapshot.")
        return self._continue(given, "CatBoost cannot read it")

    def _continue(self, model: Any, why: str) -> Any:
        """Go on as with ``init_model=model``, where CatBoost does not accept the snapshot."""
        self._snapshot.unlink(missing_ok=True)
        self._init_model, self._begun = model, _rounds(model)
        if self._begun >= self._call.end:  # CatBoost trains one round at least
            self._call.model._object = model._object
            self._call.model._set_trained_model_attributes()
            return None
        pool = self._call.train_pool
        try:
            if pool.get_text_feature_indices() or pool.get_embedding_feature_indices():
                raise CatBoostError("models with text or embedding features cannot be continued")
            self._segment = _Segment(self._train)
            return self._segment.next()
        except CatBoostError as error:
            raise TuneError(
                "This trial is to go on from a checkpoint, and cannot: CatBoost accepts neither its snapshot, nor its "
                f"model as `init_model`.\nThe snapshot: {why}\nThe model: {error}"
            ) from error

    def _train(self, segment: _Segment | _NoMore, model: Any = None, **changes: Any) -> None:
        """CatBoost's own training."""
        call = self._call
        params = {
            **call.params,
            "callbacks": segment,
            "iterations": call.end - self._begun,
            "save_snapshot": True,
            "snapshot_file": str(self._snapshot),
            "snapshot_interval": _NEVER,
            **changes,
        }
        if params.get("allow_writing_files") is False:  # with which CatBoost writes no snapshot either
            params |= {"allow_writing_files": True, "train_dir": str(self._folder / "train_dir")}
        target = call.model if model is None else model
        _train_alone(target, call.train_pool, call.test_pool, params, False, self._init_model)


class _NoMore:
    """Ends a training after its first round."""

    def after_iteration(self, info: Any) -> bool:
        return False


def _load(path: str | Path) -> Any:
    return CatBoost().load_model(str(path))


def _rounds(model: Any) -> int:
    """Number of trees; 0 for none."""
    return 0 if model is None else int(model.tree_count_)


if not TYPE_CHECKING:
    __getattr__ = names_of_ray(__name__)
