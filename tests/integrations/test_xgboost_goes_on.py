"""XGBoost goes on from checkpoints and exploits, bit by bit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from sklearn.datasets import load_diabetes
from xgboost_task import (
    PARAMS,
    SAMPLED,
    VALID,
    Recorder,
    X,
    Y,
    checkpoint_of,
    early_log,
    fit,
    load,
    matrix,
    raw,
)

from tune_plugins.errors import (
    ArgumentError,
    TrialRestarted,
    TuneError,
)
from tune_plugins.integrations.xgboost import (
    _LIVE,
    TuneReportCallback,
    TuneReportCheckpointCallback,
    _same_number,
    _settings,
)
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.session import TrialContext
from tune_plugins.testing import RecordingSession
from tune_plugins.testing.session import Exploit

# --- going on from a checkpoint

CONTINUED = {
    "plain": PARAMS,
    "sampled": SAMPLED,
    "sampled-default-seed": {k: v for k, v in SAMPLED.items() if k != "seed"},
    "approx": {**SAMPLED, "tree_method": "approx"},
    "dart": {**SAMPLED, "booster": "dart", "rate_drop": 0.3},
    "linear": {"objective": "binary:logistic", "booster": "gblinear", "nthread": 1, "eta": 0.2, "reg_lambda": 2.0},
    "pairs": [*SAMPLED.items(), ("eval_metric", "auc"), ("eval_metric", "logloss")],
}


@pytest.mark.parametrize(
    ("name", "early"),
    [
        *((name, "none") for name in CONTINUED),
        *((name, early) for name in ("plain", "sampled", "linear") for early in ("before", "behind")),
    ],
)
def test_continuation_is_that_of_xgb_model_to_the_last_bit(name: str, early: str, tmp_path: Path) -> None:
    params = CONTINUED[name]
    checkpoint = checkpoint_of(fit(params=params, rounds=12), tmp_path)

    def stopping() -> list[Any]:
        return [] if early == "none" else [xgb.callback.EarlyStopping(rounds=50)]

    plain = fit(*stopping(), params=params, rounds=8, xgb_model=str(tmp_path / "model.ubj"))
    with RecordingSession(start_checkpoint=checkpoint, start_iteration=12) as session:
        callback = TuneReportCheckpointCallback()
        callbacks = [*stopping(), callback] if early == "before" else [callback, *stopping()]
        model = fit(*callbacks, params=params, rounds=20)
    assert session.iterations == list(range(13, 21))
    assert model.num_boosted_rounds() == 20
    assert model.get_dump() == plain.get_dump()
    assert raw(model) == raw(plain)
    assert np.array_equal(model.predict(matrix(VALID)), plain.predict(matrix(VALID)))
    assert raw(load(session.checkpoints[20])) == raw(model)
    if early != "none":
        assert model.best_iteration == plain.best_iteration >= 12


def test_learned_base_score_survives(tmp_path: Path) -> None:
    features, target = load_diabetes(return_X_y=True)
    params = {"objective": "reg:absoluteerror", "tree_method": "hist", "nthread": 1, "max_depth": 3}
    half = xgb.train(params, xgb.DMatrix(features, target), 5)
    shifted = xgb.DMatrix(features, target + 1000.0)  # another base score would be learned from this
    checkpoint = checkpoint_of(half, tmp_path)
    plain = xgb.train(params, shifted, 5, xgb_model=half)
    with RecordingSession(start_checkpoint=checkpoint, start_iteration=5):
        model = xgb.train(params, shifted, 10, callbacks=[TuneReportCheckpointCallback()])
    scores = [re.search(rb'"base_score":"([^"]*)"', bytes(m.save_raw("json"))) for m in (half, plain, model)]
    assert len({score.group(1) for score in scores if score}) == 1 and all(scores)
    assert raw(model) == raw(plain)


def test_a_stopped_trial_goes_on_where_it_was() -> None:
    with RecordingSession(stop_at=4) as before:
        fit(TuneReportCheckpointCallback(), params=SAMPLED, rounds=9)
    with RecordingSession(start_checkpoint=before.last_checkpoint, start_iteration=4) as after:
        model = fit(TuneReportCheckpointCallback(frequency=2), params=SAMPLED, rounds=9)
    assert after.iterations == [5, 6, 7, 8, 9] and list(after.checkpoints) == [6, 8, 9]
    assert model.num_boosted_rounds() == 9


def test_parameters_of_this_run_hold_not_those_of_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(fit(rounds=4), tmp_path)
    mutated = {**PARAMS, "eta": 0.01, "max_depth": 2}
    plain = fit(params=mutated, rounds=4, xgb_model=str(tmp_path / "model.ubj"))
    with RecordingSession(start_checkpoint=checkpoint, start_iteration=4):
        model = fit(TuneReportCheckpointCallback(), params=mutated, rounds=8)
    assert raw(model) == raw(plain)


@pytest.mark.parametrize("rounds", [4, 6])
@pytest.mark.parametrize("save_best", [False, True])
def test_complete_checkpoint_gets_no_further_round(rounds: int, save_best: bool, tmp_path: Path) -> None:
    whole = fit(xgb.callback.EarlyStopping(rounds=9), rounds=6)
    checkpoint = checkpoint_of(whole, tmp_path)
    early = [xgb.callback.EarlyStopping(rounds=9, save_best=True)] if save_best else []
    with RecordingSession(start_checkpoint=checkpoint, start_iteration=6) as session:
        model = fit(TuneReportCheckpointCallback(), *early, rounds=rounds)
    assert raw(model) == raw(whole)
    assert session.reports == [] and session.checkpoints == {}


def test_rounds_of_an_initial_model_come_on_top(tmp_path: Path) -> None:
    base = fit(rounds=3)
    with RecordingSession(stop_at=5) as session:
        fit(TuneReportCheckpointCallback(), rounds=6, xgb_model=base)
    assert session.iterations == [4, 5]
    with RecordingSession(start_checkpoint=session.last_checkpoint, start_iteration=5) as session:
        model = fit(TuneReportCheckpointCallback(), rounds=6, xgb_model=base)
    assert session.iterations == [6, 7, 8, 9]
    assert raw(model) == raw(fit(rounds=6, xgb_model=base))


def test_script_that_loads_the_checkpoint_itself_is_left_to_do_so(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(fit(params=SAMPLED, rounds=4), tmp_path)
    plain = fit(params=SAMPLED, rounds=2, xgb_model=str(tmp_path / "model.ubj"))
    with RecordingSession(start_checkpoint=checkpoint, start_iteration=4) as session:
        callback = TuneReportCheckpointCallback()
        model = fit(callback, params=SAMPLED, rounds=2, xgb_model=str(tmp_path / "model.ubj"))
    assert session.iterations == [5, 6]
    assert raw(model) == raw(plain)


def test_missing_file_names_those_there_are(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(fit(rounds=1), tmp_path, "other.ubj")
    with (
        RecordingSession(start_checkpoint=checkpoint, start_iteration=1),
        pytest.raises(ArgumentError, match=r"no file 'model\.ubj'; it has 'other\.ubj'"),
    ):
        fit(TuneReportCheckpointCallback())


def test_continuing_outside_of_train_is_refused(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(fit(rounds=1), tmp_path)
    with (
        RecordingSession(start_checkpoint=checkpoint, start_iteration=1),
        pytest.raises(TuneError, match=r"xgboost\.train"),
    ):
        TuneReportCheckpointCallback().before_training(model=xgb.Booster(PARAMS, [matrix()]))


# --- exploits in place


def exploit(
    script: Any,
    own: dict[str, Any],
    donor: Checkpoint,
    new: dict[str, Any],
    *,
    at: int,
    donor_at: int | None = None,
) -> tuple[RecordingSession, Any]:
    """Run a script under `own` that exploits `donor` at round `at`; returns the session and what the script returns."""
    verdict = Exploit(donor, at if donor_at is None else donor_at, new)
    with RecordingSession(exploit_at={at: verdict}, context=TrialContext(config=own)) as session:
        return session, script()


def refused(
    script: Any, donor: Checkpoint, config: dict[str, Any], new: dict[str, Any] | None = None, at: int = 3
) -> str:
    """The reason for which an exploit of a donor of 3 rounds is not carried out in place."""
    verdict = Exploit(donor, 3, config if new is None else new)
    session = RecordingSession(exploit_at={at: verdict}, context=TrialContext(config=config))
    with session, pytest.raises(TrialRestarted):
        script()
    (reason,) = session.restarts
    return reason


EXPLOITED: dict[str, Any] = {**CONTINUED}


del EXPLOITED["pairs"]

EXPLOITED["exact"] = {**PARAMS, "tree_method": "exact", "subsample": 0.5, "colsample_bytree": 0.5}
EXPLOITED["lossguide"] = {**SAMPLED, "grow_policy": "lossguide", "max_leaves": 5}


@pytest.mark.parametrize(
    ("name", "early"),
    [
        *((name, "none") for name in EXPLOITED),
        *((name, early) for name in ("plain", "sampled", "dart") for early in ("before", "behind")),
    ],
)
def test_exploit_is_the_continuation_of_xgb_model_to_the_last_bit(name: str, early: str, tmp_path: Path) -> None:
    params, other = dict(EXPLOITED[name]), {"eta": 0.4, "lambda": 3.0}
    donor = checkpoint_of(fit(params={**params, **other}, rounds=5), tmp_path)

    def stopping() -> list[Any]:
        return [] if early == "none" else [xgb.callback.EarlyStopping(rounds=50)]

    new = {**params, "eta": 0.1}
    expected: dict[str, dict[str, list[float]]] = {}
    plain = fit(*stopping(), params=new, rounds=7, xgb_model=str(tmp_path / "model.ubj"), evals_result=expected)

    recorder, log = Recorder(), {}  # type: ignore[var-annotated]
    config = dict(params)
    callback = TuneReportCheckpointCallback()
    callbacks = [*stopping(), callback, recorder] if early == "before" else [callback, recorder, *stopping()]
    session, model = exploit(
        lambda: fit(*callbacks, params=dict(config), rounds=12, evals_result=log), config, donor, new, at=5
    )
    assert session.exploits == ["state of iteration 5 loaded, 'eta' applied"] and config == new
    assert session.iterations == [*range(1, 6), *range(6, 13)] and recorder.rounds == 12
    assert model.get_dump(with_stats=True) == plain.get_dump(with_stats=True)
    assert raw(model) == raw(plain)
    assert np.array_equal(model.predict(matrix(VALID)), plain.predict(matrix(VALID)))
    for data, metrics in expected.items():  # predictions that XGBoost keeps of the data sets are those of the new model
        for metric, values in metrics.items():
            assert log[data][metric][5:] == values
            assert session.values(f"{data}-{metric}")[5:] == values
    assert raw(load(session.checkpoints[12])) == raw(model)
    if early != "none":
        assert model.best_iteration == plain.best_iteration >= 5
        assert model.best_score == plain.best_score


@pytest.mark.parametrize("name", sorted(_LIVE))
def test_every_live_parameter_by_every_name(name: str, tmp_path: Path) -> None:
    values: dict[str, tuple[float, float]] = {
        "max_depth": (3, 5),
        "max_leaves": (4, 9),
        "max_cat_to_onehot": (100, 2),
        "max_cat_threshold": (64, 2),
        "one_drop": (0, 1),
        "min_child_weight": (1.0, 5.0),
        "scale_pos_weight": (1.0, 3.0),
    }
    before, after = values.get(name, (0.9, 0.4))
    params = {**SAMPLED, name: before}
    if name in ("learning_rate", "eta"):
        del params["eta"]
        params[name] = before
    if name.endswith("drop"):
        params = {**params, "booster": "dart", "rate_drop": 0.05 if name == "one_drop" else 0.6, name: before}
    if name == "max_leaves":
        params["grow_policy"] = "lossguide"
    rng = np.random.default_rng(0)
    features = np.column_stack([rng.integers(0, 12, (400, 1)), rng.integers(0, 3, (400, 1)), rng.normal(size=(400, 9))])
    target = (features[:, 0] % 3 + features[:, 1] % 2 + features[:, 2:].sum(axis=1) > 1.5).astype(float)

    def data() -> Any:
        types = ["c", "c", *["q"] * 9]
        return xgb.DMatrix(features, target, feature_types=types, enable_categorical=True)

    donor = checkpoint_of(xgb.train(params, data(), 4), tmp_path)
    new = {**params, name: after}
    plain = xgb.train(new, data(), 4, xgb_model=str(tmp_path / "model.ubj"))
    _, same = exploit(
        lambda: xgb.train(dict(params), data(), 8, callbacks=[TuneReportCheckpointCallback()]),
        dict(params),
        donor,
        new,
        at=4,
    )
    assert raw(same) == raw(plain)
    assert raw(plain) != raw(xgb.train(params, data(), 4, xgb_model=str(tmp_path / "model.ubj"))), "it has no effect"


@pytest.mark.parametrize("given", [dict, lambda params: list(params.items())])
def test_the_script_may_pass_its_parameters_under_another_name(given: Any, tmp_path: Path) -> None:
    donor = checkpoint_of(fit(rounds=3), tmp_path)
    config = {"model": {"learning_rate": 0.2, "lambda": 1.0}}

    def params(config: dict[str, Any]) -> Any:
        return given({**PARAMS, "eta": config["model"]["learning_rate"], "reg_lambda": config["model"]["lambda"]})

    new = {"model": {"learning_rate": 0.05, "lambda": 2.0}}
    plain = fit(params=params(new), rounds=3, xgb_model=str(tmp_path / "model.ubj"))
    now = params(config)
    session, model = exploit(lambda: fit(TuneReportCheckpointCallback(), params=now), config, donor, new, at=3)
    assert raw(model) == raw(plain) and "'model/learning_rate', 'model/lambda' applied" in session.exploits[0]


def test_exploits_again_and_again_keep_what_was_applied_before(tmp_path: Path) -> None:
    donor = checkpoint_of(fit(params=SAMPLED, rounds=2), tmp_path / "a")
    other = checkpoint_of(fit(params={**SAMPLED, "eta": 0.5}, rounds=4), tmp_path / "b")
    config = {"eta": 0.2, "max_depth": 3}
    verdicts = {2: Exploit(donor, 2, {"eta": 0.1, "max_depth": 3}), 4: Exploit(other, 4, {"eta": 0.1, "max_depth": 5})}
    with RecordingSession(exploit_at=verdicts, context=TrialContext(config=config)) as session:
        model = fit(TuneReportCheckpointCallback(), params={**SAMPLED, **config}, rounds=8)
    assert len(session.exploits) == 2
    plain = fit(params={**SAMPLED, "eta": 0.1, "max_depth": 5}, rounds=4, xgb_model=str(tmp_path / "b" / "model.ubj"))
    assert raw(model) == raw(plain)


def test_a_donor_that_is_ahead_ends_the_training_earlier(tmp_path: Path) -> None:
    donor = checkpoint_of(fit(params=SAMPLED, rounds=7), tmp_path)
    plain = fit(xgb.callback.EarlyStopping(rounds=9), params=SAMPLED, rounds=3, xgb_model=str(tmp_path / "model.ubj"))
    early = xgb.callback.EarlyStopping(rounds=9)
    session, model = exploit(
        lambda: fit(TuneReportCheckpointCallback(), early, params=SAMPLED, rounds=10), {}, donor, {}, at=4, donor_at=7
    )
    assert session.iterations == [1, 2, 3, 4, 8, 9, 10]
    assert raw(model) == raw(plain) and model.best_iteration == plain.best_iteration
    assert session.finished == 1 and list(session.checkpoints)[-1] == 10


def test_a_resumed_training_takes_a_donor_that_is_behind(tmp_path: Path) -> None:
    start = checkpoint_of(fit(params=SAMPLED, rounds=6), tmp_path / "a")
    donor = checkpoint_of(fit(params=SAMPLED, rounds=5), tmp_path / "b")
    plain = fit(params=SAMPLED, rounds=5, xgb_model=str(tmp_path / "b" / "model.ubj"))
    session = RecordingSession(start_checkpoint=start, start_iteration=6, exploit_at={8: Exploit(donor, 5, {})})
    with session:
        model = fit(TuneReportCheckpointCallback(), params=SAMPLED, rounds=10)
    assert session.iterations == [7, 8, 6, 7, 8, 9, 10] and raw(model) == raw(plain)


def test_early_stopping_counts_anew_after_an_exploit(tmp_path: Path) -> None:
    params = early_log()
    donor = checkpoint_of(fit(params=params, rounds=5), tmp_path)
    plain = fit(xgb.callback.EarlyStopping(rounds=2), params=params, rounds=35, xgb_model=str(tmp_path / "model.ubj"))
    last = plain.num_boosted_rounds()
    assert last < 40
    slow = {**params, "eta": 1e-3}  # gets no better within the rounding of a metric, or hardly
    for save_best in (False, True):
        early = xgb.callback.EarlyStopping(rounds=2, save_best=save_best)
        callbacks = (TuneReportCheckpointCallback(), early)
        session, model = exploit(
            lambda c=callbacks: fit(*c, params=dict(slow), rounds=40), dict(slow), donor, params, at=5
        )
        assert session.iterations[5:] == list(range(6, last + 1)) and session.exploits
        assert model.best_iteration == plain.best_iteration
        assert model.num_boosted_rounds() == (plain.best_iteration + 1 if save_best else last)
        assert raw(load(session.checkpoints[last])) == raw(plain)


def test_learned_base_score_of_the_donor_holds(tmp_path: Path) -> None:
    features, target = load_diabetes(return_X_y=True)
    config = {"objective": "reg:absoluteerror", "tree_method": "hist", "nthread": 1, "max_depth": 3, "eta": 0.3}
    donor = checkpoint_of(xgb.train(config, xgb.DMatrix(features, target + 1000.0), 4), tmp_path)
    new = {**config, "eta": 0.1}
    plain = xgb.train(new, xgb.DMatrix(features, target), 4, xgb_model=str(tmp_path / "model.ubj"))
    callback = TuneReportCheckpointCallback()
    _, model = exploit(
        lambda: xgb.train(dict(config), xgb.DMatrix(features, target), 8, callbacks=[callback]),
        dict(config),
        donor,
        new,
        at=4,
    )
    assert raw(model) == raw(plain)


def multi_target(strategy: str) -> tuple[dict[str, Any], Any]:
    features, target = load_diabetes(return_X_y=True)
    both = np.column_stack([target, target[::-1]])
    params = {"multi_strategy": strategy, "tree_method": "hist", "nthread": 1, "max_depth": 3, "eta": 0.3, "seed": 1}
    return {**params, "subsample": 0.5, "colsample_bytree": 0.5}, xgb.DMatrix(features, both)


@pytest.mark.parametrize("strategy", ["one_output_per_tree", "multi_output_tree"])
def test_multi_target(strategy: str, tmp_path: Path) -> None:
    config, data = multi_target(strategy)
    donor = checkpoint_of(xgb.train(config, data, 3), tmp_path)
    new = {**config, "eta": 0.1}
    plain = xgb.train(new, multi_target(strategy)[1], 4, xgb_model=str(tmp_path / "model.ubj"))
    _, data = multi_target(strategy)

    def script() -> Any:
        callbacks = [TuneReportCheckpointCallback()]
        return xgb.train(dict(config), data, 7, evals=[(data, "train")], verbose_eval=False, callbacks=callbacks)

    session, model = exploit(script, dict(config), donor, new, at=3)
    assert session.iterations == list(range(1, 8)) and "train-rmse" in session.reports[0].metrics
    assert raw(model) == raw(plain) and np.array_equal(model.predict(data), plain.predict(data))
    with RecordingSession(start_checkpoint=donor, start_iteration=3):
        resumed = xgb.train(new, multi_target(strategy)[1], 7, callbacks=[TuneReportCheckpointCallback()])
    assert raw(resumed) == raw(plain)


def test_custom_objective_and_metric(tmp_path: Path) -> None:
    def squares(predictions: np.ndarray, data: Any) -> tuple[np.ndarray, np.ndarray]:
        return predictions - data.get_label(), np.ones_like(predictions)

    def largest(predictions: np.ndarray, data: Any) -> tuple[str, float]:
        return "largest", float(np.max(predictions))

    params = {"tree_method": "hist", "nthread": 1, "eta": 0.3, "subsample": 0.5, "seed": 2, "base_score": 0.5}
    custom = {"obj": squares, "custom_metric": largest}
    donor = checkpoint_of(fit(params=params, rounds=3, **custom), tmp_path)
    new = {**params, "eta": 0.1}
    plain = fit(params=new, rounds=3, xgb_model=str(tmp_path / "model.ubj"), **custom)
    session, model = exploit(
        lambda: fit(TuneReportCheckpointCallback("eval-largest"), params=dict(params), **custom),
        dict(params),
        donor,
        new,
        at=3,
    )
    assert raw(model) == raw(plain)
    largest_now = float(np.max(plain.predict(matrix(VALID), output_margin=True)))
    assert session.values("eval-largest")[-1] == pytest.approx(largest_now, rel=1e-6)  # XGBoost prints it to itself


def test_sklearn_estimator_exploits_in_place(tmp_path: Path) -> None:
    settings = {"max_depth": 3, "n_jobs": 1, "subsample": 0.5, "colsample_bytree": 0.5, "random_state": 3}
    half = xgb.XGBClassifier(n_estimators=4, learning_rate=0.4, **settings).fit(X, Y)
    donor = checkpoint_of(half.get_booster(), tmp_path)
    plain = xgb.XGBClassifier(n_estimators=6, learning_rate=0.1, **settings)
    plain.fit(X, Y, xgb_model=str(tmp_path / "model.ubj"))
    model = xgb.XGBClassifier(
        n_estimators=10, learning_rate=0.3, callbacks=[TuneReportCheckpointCallback()], **settings
    )
    own, new = {"learning_rate": 0.3, "max_depth": 3}, {"learning_rate": 0.1, "max_depth": 3}
    session, _ = exploit(lambda: model.fit(X, Y, eval_set=[(X, Y)], verbose=False), own, donor, new, at=4)
    assert len(session.exploits) == 1 and session.iterations == list(range(1, 11))
    assert raw(model.get_booster()) == raw(plain.get_booster())
    assert np.array_equal(model.predict_proba(X), plain.predict_proba(X))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0"])
def test_the_device_is_passed_through(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    make = xgb.Booster.__init__

    def made(self: Any, params: Any = None, cache: Any = None, model_file: Any = None) -> None:
        given.append(params)
        make(self, {**(params or {}), "device": "cpu"}, cache, model_file)  # this machine need not have a GPU

    donor = checkpoint_of(fit(rounds=3), tmp_path)
    monkeypatch.setattr(xgb.Booster, "__init__", made)
    params = {**PARAMS, "device": device}
    session, _ = exploit(lambda: fit(TuneReportCheckpointCallback(), params=params), {}, donor, {}, at=3)
    assert len(session.exploits) == 1 and len(given) == 2
    assert [dict(params)["device"] for params in given] == [device, device]


def test_what_cannot_be_done_in_place_says_why(tmp_path: Path) -> None:
    donor = checkpoint_of(fit(rounds=3), tmp_path)
    callback = TuneReportCheckpointCallback()

    class Patient(xgb.callback.EarlyStopping):
        pass

    def why(*more: Any, params: Any = PARAMS, config: Any = None, new: Any = None, **options: Any) -> str:
        return refused(lambda: fit(callback, *more, params=params), donor, config or {}, new, **options)

    assert "LearningRateScheduler" in why(xgb.callback.LearningRateScheduler(lambda epoch: 0.1))
    assert "Patient" in why(Patient(rounds=3))
    assert "seed_per_iteration" in why(params={**PARAMS, "seed_per_iteration": True})
    assert "the donor's model has 3 rounds and needs 3 more; xgboost.train has 2 left" in why(at=4)
    # what the config says is not what the training uses; a parameter that the data hang on; a name of the user's own
    eta = {"eta": 0.2}
    assert why(config={"eta": 0.4}, new={"eta": 0.1}) == "'eta' cannot be changed in a running training"
    assert why(config={"eta": 0.2, "x/eta": 0.2}, new={"eta": 0.1, "x/eta": 0.2}).startswith("'eta' cannot")
    assert why(config={**eta, "max_bin": 256}, new={**eta, "max_bin": 64}).startswith("'max_bin' cannot")
    assert why(config={"rate": 0.2}, new={"rate": 0.1}).startswith("'rate' cannot")
    assert why(config={"max_depth": 3.0}, new={"max_depth": 4.5}).startswith("'max_depth' cannot")
    assert why(config={"subsample": 1.0}, new={"subsample": 0.5}).startswith("'subsample' cannot")


class Decay(xgb.callback.TrainingCallback):
    """A user's own course of a parameter, from its value in the config."""

    def __init__(self, name: str, value: float, factor: float = 0.9) -> None:
        super().__init__()
        self.name, self.value, self.factor = name, value, factor

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        model.set_param({self.name: self.value * self.factor**epoch})
        return False


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("name", "given", "more"),
    [
        ("eta", "eta", {}),
        ("learning_rate", "eta", {}),
        ("lambda", "reg_lambda", {}),
        ("rate_drop", "rate_drop", {"booster": "dart"}),
        ("scale_pos_weight", "scale_pos_weight", {}),
    ],
)
def test_a_parameter_that_the_script_moves_itself_is_not_changed_in_place(
    name: str, given: str, more: dict[str, Any], first: bool, tmp_path: Path
) -> None:
    params = {**PARAMS, **more}
    donor = checkpoint_of(fit(params={**params, given: 0.3}, rounds=3), tmp_path)

    def script(factor: float) -> Any:
        callback, own = TuneReportCheckpointCallback(), Decay(name, 0.3, factor)
        return fit(*([callback, own] if first else [own, callback]), params={**params, given: 0.3})

    reason = refused(lambda: script(0.9), donor, {given: 0.3}, {given: 0.01})
    assert "the script itself has changed" in reason and "from 0.3 to 0.2" in reason
    session, _ = exploit(lambda: script(1.0), {given: 0.3}, donor, {given: 0.01}, at=3)  # set, and not changed
    assert session.exploits


def updating(base: Any, callback: Any, rounds: int = 6) -> Any:
    params = {**PARAMS, "process_type": "update", "updater": "refresh", "refresh_leaf": True}
    return xgb.train(params, xgb.DMatrix(X[300:], Y[300:]), rounds, xgb_model=base, callbacks=[callback])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_updates_of_a_model_are_saved_at_the_end_only(tmp_path: Path) -> None:
    base = fit()
    with RecordingSession(save_at={3}) as session:
        model = updating(base, TuneReportCheckpointCallback(frequency=2))
    assert session.iterations == [1, 2, 3, 4, 5, 6] and not any(report.savable for report in session.reports)
    assert list(session.checkpoints) == [6] and raw(load(session.last_checkpoint)) == raw(model)
    assert raw(model) == raw(updating(base, Recorder()))
    donor = checkpoint_of(fit(rounds=3), tmp_path)
    assert "without a model" in refused(lambda: updating(base, TuneReportCheckpointCallback()), donor, {})
    with (
        RecordingSession(start_checkpoint=donor, start_iteration=3),
        pytest.raises(TuneError, match="process_type='update'"),
    ):
        updating(base, TuneReportCheckpointCallback())
    with RecordingSession(start_checkpoint=donor, start_iteration=3) as session:  # the script loads it itself
        again = updating(load(donor), TuneReportCallback(), 3)
    assert session.iterations == [4, 5, 6] and raw(again) == raw(updating(load(donor), Recorder(), 3))


def test_checkpoints_of_xgboost_itself_would_get_other_names(tmp_path: Path) -> None:
    donor = checkpoint_of(fit(rounds=4), tmp_path / "donor")
    verdict = Exploit(donor, 4, {})
    saving = xgb.callback.TrainingCheckPoint(tmp_path, interval=2)
    with RecordingSession(exploit_at={3: verdict}) as session, pytest.raises(TrialRestarted):
        fit(TuneReportCheckpointCallback(), saving)
    assert "TrainingCheckPoint" in session.restarts[0]
    with RecordingSession(exploit_at={4: verdict}) as session:
        fit(TuneReportCheckpointCallback(), saving)
    assert len(session.exploits) == 1


@pytest.mark.parametrize(
    "more", [{"lambdarank_pair_method": "mean", "lambdarank_num_pair_per_sample": 2}, {"lambdarank_unbiased": True}, {}]
)
def test_ranking(more: dict[str, Any], tmp_path: Path) -> None:
    def data() -> Any:
        return xgb.DMatrix(X[:300], Y[:300], qid=np.arange(300) // 10)

    params = {"objective": "rank:ndcg", "nthread": 1, "subsample": 0.5, **more}
    donor = checkpoint_of(xgb.train(params, data(), 3), tmp_path)

    def script() -> Any:
        return xgb.train(params, data(), 6, callbacks=[TuneReportCheckpointCallback()])

    if more:
        assert "loop" in refused(script, donor, {})
    else:
        _, model = exploit(script, {}, donor, {}, at=3)
        assert raw(model) == raw(xgb.train(params, data(), 3, xgb_model=str(tmp_path / "model.ubj")))


def test_cross_validation_has_no_model_to_exploit(tmp_path: Path) -> None:
    donor = checkpoint_of(fit(rounds=3), tmp_path)
    callback = TuneReportCheckpointCallback()
    reason = refused(lambda: xgb.cv(PARAMS, matrix(), 5, nfold=2, callbacks=[callback]), donor, {})
    assert "without a model" in reason


def test_a_later_fit_is_not_the_one_to_exploit(tmp_path: Path) -> None:
    donor = checkpoint_of(fit(rounds=3), tmp_path)

    def script() -> None:
        fit(TuneReportCheckpointCallback(), rounds=4)
        fit(TuneReportCheckpointCallback(), rounds=4)

    assert "without a model" in refused(script, donor, {}, at=6)


def test_a_training_behind_a_cross_validation_exploits_in_place(tmp_path: Path) -> None:
    donor = checkpoint_of(fit(params=SAMPLED, rounds=4), tmp_path)
    plain = fit(params={**SAMPLED, "eta": 0.1}, rounds=3, xgb_model=str(tmp_path / "model.ubj"))

    def script() -> Any:
        xgb.cv(PARAMS, matrix(), 3, nfold=2, callbacks=[TuneReportCallback({"loss": "test-logloss"})])
        return fit(TuneReportCheckpointCallback({"loss": "eval-logloss"}), params=SAMPLED, rounds=7)

    session, model = exploit(script, {"eta": 0.2}, donor, {"eta": 0.1}, at=7)
    assert session.exploits and session.iterations == list(range(1, 11)) and raw(model) == raw(plain)


def test_a_donor_without_the_file_is_named(tmp_path: Path) -> None:
    donor = checkpoint_of(fit(rounds=3), tmp_path, "other.ubj")
    session = RecordingSession(exploit_at={3: Exploit(donor, 3, {})})
    with session, pytest.raises(ArgumentError, match=r"no file 'model\.ubj'; it has 'other\.ubj'"):
        fit(TuneReportCheckpointCallback())


@pytest.mark.parametrize("how", ["train", "fit"])
def test_margins_to_begin_with_count_in_a_continuation(how: str) -> None:
    """The logarithm of an exposure, with a Poisson objective."""
    random = np.random.default_rng(0)
    features, exposure = random.normal(size=(300, 4)), random.uniform(0.1, 5.0, 300)
    counts, margin = random.poisson(exposure * np.exp(features[:, 0] / 2)), np.log(exposure)
    params = {"objective": "count:poisson", "max_depth": 3}

    def train(*callbacks: Any) -> list[float]:
        recorded: dict[str, Any] = {}
        if how == "train":
            data = xgb.DMatrix(features, counts, base_margin=margin)
            evals = [(data, "eval")]
            xgb.train(
                params, data, 8, evals=evals, evals_result=recorded, callbacks=list(callbacks), verbose_eval=False
            )
        else:
            model = xgb.XGBRegressor(n_estimators=8, callbacks=list(callbacks), **params)
            model.fit(
                features,
                counts,
                base_margin=margin,
                eval_set=[(features, counts)],
                base_margin_eval_set=[margin],
                verbose=False,
            )
            recorded = model.evals_result()
        return next(iter(next(iter(recorded.values())).values()))

    alone = train()
    with RecordingSession(save_at={3}) as session:
        assert train(TuneReportCheckpointCallback()) == alone
    donor = session.checkpoints[3]
    with RecordingSession(start_checkpoint=donor, start_iteration=3):
        assert train(TuneReportCheckpointCallback())[-5:] == alone[3:]
    with RecordingSession(exploit_at={3: Exploit(donor, 3, {})}) as session:
        assert train(TuneReportCheckpointCallback())[-5:] == alone[3:] and session.exploits


def test_numbers_that_xgboost_reads_a_bit_differently_are_the_same() -> None:
    """It makes 2.98550797 of 2.9855078264598545, and not what NumPy does; the exploit was refused for that."""
    value = 2.9855078264598545
    training = xgb.DMatrix(X[:50], Y[:50])
    booster = xgb.train({"min_child_weight": value, "objective": "binary:logistic"}, training, 1)
    used = _settings(booster)["min_child_weight"]
    assert _same_number(value, used)
    assert not _same_number(value, "2.9855") and not _same_number(0.3, "0.15")
    assert _same_number(0, "0") and _same_number(1e-20, "9.99999968e-21")


def test_cv_takes_the_names_of_its_own_table() -> None:
    metrics = ["test-logloss-mean", "test-logloss-std"]
    with RecordingSession() as session:
        table = xgb.cv(PARAMS, matrix(), 5, nfold=3, callbacks=[TuneReportCallback(metrics)])
    for name in metrics:
        assert session.values(name) == pytest.approx(table[name].tolist())
