"""LightGBM goes on from checkpoints and exploits, bit by bit, also with scores to begin with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from lightgbm_task import (
    MODEL,
    PARAMS,
    SAMPLED,
    Recorder,
    X,
    Y,
    checkpoint_of,
    data_sets,
    fit,
    load,
    text,
    trees,
)
from sklearn.datasets import load_diabetes, load_wine

import tune_plugins as tune
from tune_plugins.errors import ArgumentError, TrialRestarted, TuneError
from tune_plugins.integrations.lightgbm import TuneReportCallback, TuneReportCheckpointCallback, _live
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.schedulers import ASHAScheduler, PopulationBasedTraining
from tune_plugins.session import TrialContext
from tune_plugins.testing import RecordingSession
from tune_plugins.testing.session import Exploit

# --- going on from a checkpoint, and exploits

WINE = load_wine(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)
REGRESSION = {**SAMPLED, "objective": "regression", "metric": ["l2", "l1"]}
CONTINUED: dict[str, tuple[dict[str, Any], tuple[np.ndarray, np.ndarray]]] = {
    "plain": (PARAMS, (X, Y)),
    "sampled": (SAMPLED, (X, Y)),
    "sampled-default-seed": ({k: v for k, v in SAMPLED.items() if k != "seed"}, (X, Y)),
    "dart": ({**SAMPLED, "boosting": "dart", "drop_rate": 0.5}, (X, Y)),
    "goss": ({**PARAMS, "data_sample_strategy": "goss"}, (X, Y)),
    "extra-trees": ({**SAMPLED, "extra_trees": True}, (X, Y)),
    "linear-trees": ({**REGRESSION, "linear_tree": True}, DIABETES),
    # Not with use_quantized_grad: LightGBM's own training then differs from itself now and then, or fails.
    "median": ({**REGRESSION, "objective": "regression_l1"}, DIABETES),
    "classes": (
        {**SAMPLED, "objective": "multiclass", "num_class": 3, "metric": "multi_logloss", "min_data_in_leaf": 5},
        WINE,
    ),
}


def fit_on(name: str, *callbacks: Any, rounds: int, change: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    params, (features, target) = CONTINUED[name]
    half = np.arange(len(target)) % 2 == 0
    training = lgb.Dataset(features[half], target[half])
    held_out = lgb.Dataset(features[~half], target[~half], reference=training)
    options = {"valid_sets": [training, held_out], "valid_names": ["train", "eval"], "callbacks": list(callbacks)}
    return lgb.train({**params, **(change or {})}, training, rounds, **options, **kwargs)


def same(model: Any, plain: Any, name: str) -> None:
    features, _ = CONTINUED[name][1]
    assert text(model) == text(plain)
    assert np.array_equal(model.predict(features), plain.predict(features))
    assert model.best_iteration == plain.best_iteration and model.best_score == plain.best_score


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("name", list(CONTINUED))
def test_continuation_is_that_of_init_model_to_the_last_bit(name: str, early: bool, tmp_path: Path) -> None:
    checkpoint = checkpoint_of(fit_on(name, rounds=5), tmp_path)
    expected: dict[str, Any] = {}
    change = {"early_stopping_round": 50} if early else {}
    told = Recorder()
    plain = fit_on(
        *(name, lgb.record_evaluation(expected), told),
        rounds=7,
        change=change,
        init_model=tmp_path / MODEL,
    )
    log: dict[str, Any] = {}
    recorder, before = Recorder(), Recorder(before=True)
    with RecordingSession(start_checkpoint=checkpoint, start_iteration=5) as session:
        callback = TuneReportCheckpointCallback()
        model = fit_on(name, callback, lgb.record_evaluation(log), recorder, before, rounds=12, change=change)
    assert session.iterations == list(range(6, 13))
    assert log == expected and recorder.seen == told.seen == before.seen
    same(model, plain, name)
    if not early:
        assert text(load(session.checkpoints[12])) == text(model)
    elif name != "dart":
        assert model.best_iteration > 5


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("name", list(CONTINUED))
def test_exploit_is_the_continuation_of_init_model_to_the_last_bit(name: str, early: bool, tmp_path: Path) -> None:
    donor = checkpoint_of(fit_on(name, rounds=5, change={"learning_rate": 0.4, "lambda_l2": 2.0}), tmp_path)
    new = {"learning_rate": 0.1, "num_leaves": 9}
    early_stopping = {"early_stopping_round": 50} if early else {}
    expected: dict[str, Any] = {}
    told = Recorder()
    plain = fit_on(
        *(name, lgb.record_evaluation(expected), told),
        rounds=7,
        change={**new, **early_stopping},
        init_model=tmp_path / MODEL,
    )
    config, log, recorder = {"learning_rate": 0.2, "num_leaves": 7}, {}, Recorder()  # type: ignore[var-annotated]
    verdict = {5: Exploit(donor, 5, new)}
    with RecordingSession(exploit_at=verdict, context=TrialContext(config=config)) as session:
        callback = TuneReportCheckpointCallback()
        change = {**early_stopping, **config}
        model = fit_on(name, callback, recorder, lgb.record_evaluation(log), rounds=12, change=change)
    assert session.exploits == ["state of iteration 5 loaded, 'learning_rate', 'num_leaves' applied"]
    assert config == new and session.iterations == list(range(1, 13))
    assert all(seen is model for seen in recorder.models)
    same(model, plain, name)
    # A continuation begins its history anew, and so does LightGBM's own record of it.
    assert log == expected and recorder.seen[5:] == told.seen


@pytest.mark.parametrize("name", sorted(_live(True)))
def test_every_live_parameter_by_every_name(name: str, tmp_path: Path) -> None:
    by_parameter: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "learning_rate": (0.2, 0.05, {}),
        "num_leaves": (7, 4, {}),
        "max_depth": (6, 2, {}),
        "min_sum_hessian_in_leaf": (0.001, 10.0, {}),
        "min_gain_to_split": (0.0, 5.0, {}),
        "lambda_l1": (0.0, 3.0, {}),
        "lambda_l2": (0.0, 9.0, {}),
        "max_delta_step": (0.0, 0.1, {}),
        "path_smooth": (0.0, 5.0, {}),
        "bagging_fraction": (0.9, 0.4, {}),
        "pos_bagging_fraction": (0.9, 0.4, {"neg_bagging_fraction": 0.7}),
        "neg_bagging_fraction": (0.9, 0.4, {"pos_bagging_fraction": 0.7}),
        "bagging_freq": (1, 3, {}),
        "feature_fraction": (0.9, 0.4, {}),
        "feature_fraction_bynode": (0.9, 0.4, {}),
        "extra_trees": (False, True, {}),
        "top_rate": (0.3, 0.1, {"data_sample_strategy": "goss", "learning_rate": 1.0}),
        "other_rate": (0.3, 0.1, {"data_sample_strategy": "goss", "learning_rate": 1.0}),
        "drop_rate": (0.9, 0.1, {"boosting": "dart"}),
        "max_drop": (50, 1, {"boosting": "dart", "drop_rate": 0.9}),
        "skip_drop": (0.0, 0.9, {"boosting": "dart", "drop_rate": 0.9}),
        "uniform_drop": (False, True, {"boosting": "dart", "drop_rate": 0.5}),
        "min_data_per_group": (5, 100, {}),
        "max_cat_threshold": (32, 1, {}),
        "max_cat_to_onehot": (4, 100, {}),
        "cat_l2": (10.0, 0.1, {}),
        "cat_smooth": (10.0, 0.1, {}),
        "scale_pos_weight": (1.0, 3.0, {}),
        "min_data_in_leaf": (20, 5, {}),
    }
    names = _live(True)[name]
    ((before, after, more),) = [case for parameter, case in by_parameter.items() if parameter in names]
    base = {**SAMPLED, "min_data_per_group": 5, "feature_pre_filter": False}
    if "data_sample_strategy" in more:
        base = {k: v for k, v in base.items() if not k.startswith("bagging")}
    base = {k: v for k, v in {**base, **more}.items() if k not in names}
    rng = np.random.default_rng(0)
    features = np.column_stack([rng.integers(0, 12, (400, 2)), rng.normal(size=(400, 6))])
    target = (features[:, 0] % 3 + features[:, 1] % 2 + features[:, 2:].sum(axis=1) > 1.5).astype(float)

    def train(value: Any, rounds: int, **options: Any) -> Any:
        data = lgb.Dataset(features, target, categorical_feature=[0, 1])
        return lgb.train({**base, name: value}, data, rounds, **options)

    donor = checkpoint_of(train(before, 4), tmp_path)
    plain = train(after, 8, init_model=tmp_path / MODEL)
    verdict = {4: Exploit(donor, 4, {name: after})}
    with RecordingSession(exploit_at=verdict, context=TrialContext(config={name: before})) as session:
        model = train(before, 12, callbacks=[TuneReportCheckpointCallback()])
    assert len(session.exploits) == 1 and text(model) == text(plain)
    assert trees(plain) != trees(train(before, 8, init_model=tmp_path / MODEL)), "it has no effect"


def test_resumed_training_exploits_a_donor_that_is_behind_or_ahead(tmp_path: Path) -> None:
    start = checkpoint_of(fit(params=SAMPLED, rounds=6), tmp_path / "a")
    for donor_at in (5, 9):
        donor = checkpoint_of(fit(params=SAMPLED, rounds=donor_at), tmp_path / f"{donor_at}")
        init = tmp_path / f"{donor_at}" / MODEL
        told = Recorder()
        plain = fit(told, params=SAMPLED, rounds=11 - donor_at, init_model=init)
        verdict = {8: Exploit(donor, donor_at, {})}
        recorder = Recorder()
        with RecordingSession(start_checkpoint=start, start_iteration=6, exploit_at=verdict) as session:
            model = fit(recorder, TuneReportCheckpointCallback(), params=SAMPLED, rounds=11)
        assert session.iterations == [7, 8, *range(donor_at + 1, 12)]
        assert text(model) == text(plain) and recorder.seen[2:] == told.seen
        assert model.best_iteration == plain.best_iteration == 0


def test_early_stopping_counts_anew_after_an_exploit(tmp_path: Path) -> None:
    params = {**PARAMS, "learning_rate": 1.0, "metric": "binary_logloss", "early_stopping_round": 2}
    donor = checkpoint_of(fit(params={**params, "learning_rate": 0.3}, rounds=5), tmp_path)
    plain = fit(params=params, rounds=35, init_model=tmp_path / MODEL)
    assert 5 < plain.best_iteration < 35
    slow = {"learning_rate": 1e-3}
    verdict = {5: Exploit(donor, 5, {"learning_rate": 1.0})}
    with RecordingSession(exploit_at=verdict, context=TrialContext(config=slow)) as session:
        model = fit(TuneReportCheckpointCallback(), params={**params, **slow}, rounds=40)
    assert session.iterations == list(range(1, plain.best_iteration + 3))
    assert text(model) == text(plain) and model.best_iteration == plain.best_iteration


def test_a_changing_list_of_rates_goes_on_at_its_place(tmp_path: Path) -> None:
    rates = [0.5, 0.4, 0.3, 0.2, 0.1, 0.05]

    class Rates:
        order = 50

        def __init__(self) -> None:
            self.seen: list[float] = []

        def __call__(self, env: Any) -> None:
            self.seen.append(env.params["learning_rate"])

    checkpoint = checkpoint_of(fit(rounds=3), tmp_path)
    seen = Rates()
    with RecordingSession(start_checkpoint=checkpoint, start_iteration=3):
        fit(lgb.reset_parameter(learning_rate=rates), TuneReportCheckpointCallback(), seen, rounds=6)
    assert seen.seen == rates[3:]


def test_a_function_of_rates_begins_anew_as_with_init_model(tmp_path: Path) -> None:
    def schedule() -> Any:
        return lgb.reset_parameter(learning_rate=lambda i: 0.3 * 0.5**i)

    checkpoint = checkpoint_of(fit(rounds=3), tmp_path)
    plain = fit(schedule(), rounds=3, init_model=tmp_path / MODEL)
    with RecordingSession(start_checkpoint=checkpoint, start_iteration=3):
        model = fit(schedule(), TuneReportCheckpointCallback(), rounds=6)
    assert text(model) == text(plain)


@pytest.mark.parametrize("rounds", [4, 6])
def test_complete_checkpoint_gets_no_further_round(rounds: int, tmp_path: Path) -> None:
    whole = fit(rounds=6)
    checkpoint = checkpoint_of(whole, tmp_path)
    recorder = Recorder()
    with RecordingSession(start_checkpoint=checkpoint, start_iteration=6) as session:
        model = fit(TuneReportCheckpointCallback(), recorder, rounds=rounds)
    assert trees(model) == trees(whole) and model.best_score == whole.best_score
    assert np.array_equal(model.predict(X), whole.predict(X)) and model.best_iteration == 0
    assert session.reports == [] and session.checkpoints == {} and recorder.seen == []


def test_rounds_of_an_initial_model_come_on_top(tmp_path: Path) -> None:
    base = fit(rounds=3)
    base.save_model(tmp_path / "base.txt")
    with RecordingSession(stop_at=5) as session:
        fit(TuneReportCheckpointCallback(), rounds=6, init_model=tmp_path / "base.txt")
    assert session.iterations == [4, 5]
    with RecordingSession(start_checkpoint=session.last_checkpoint, start_iteration=5) as session:
        model = fit(TuneReportCheckpointCallback(), rounds=6, init_model=tmp_path / "base.txt")
    assert session.iterations == [6, 7, 8, 9]
    assert np.allclose(model.predict(X), fit(rounds=6, init_model=tmp_path / "base.txt").predict(X))


def test_script_that_loads_the_checkpoint_itself_is_left_to_do_so(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(fit(params=SAMPLED, rounds=4), tmp_path)
    plain = fit(params=SAMPLED, rounds=2, init_model=tmp_path / MODEL)
    with RecordingSession(start_checkpoint=checkpoint, start_iteration=4) as session:
        callback = TuneReportCheckpointCallback()
        model = fit(callback, params=SAMPLED, rounds=2, init_model=tmp_path / MODEL)
    assert session.iterations == [5, 6] and text(model) == text(plain)


def test_missing_file_names_those_there_are(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(fit(rounds=1), tmp_path, "other.txt")
    session = RecordingSession(start_checkpoint=checkpoint, start_iteration=1)
    with session, pytest.raises(ArgumentError, match=r"no file 'model\.txt'; it has 'other\.txt'"):
        fit(TuneReportCheckpointCallback())


def test_data_binned_before_without_raw_data_cannot_be_gone_on_with(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(fit(rounds=3), tmp_path)
    training = data_sets()[0].construct()
    callback = TuneReportCheckpointCallback()
    with (
        RecordingSession(start_checkpoint=checkpoint, start_iteration=3),
        pytest.raises(TuneError, match="free_raw_data=False"),
    ):
        lgb.train(PARAMS, training, 6, callbacks=[callback])
    with RecordingSession(save_at={3}) as session:
        lgb.train(PARAMS, training, 6, callbacks=[callback])
    assert list(session.checkpoints) == [6] and not any(report.savable for report in session.reports)
    plain = fit(rounds=3, evals=False, init_model=tmp_path / MODEL)
    training = data_sets(free_raw_data=False)[0].construct()  # the same data set for one trial after another
    for _ in range(2):
        with RecordingSession(exploit_at={3: Exploit(checkpoint, 3, {})}) as session:
            model = lgb.train(PARAMS, training, 6, callbacks=[callback])
        assert session.exploits and trees(model) == trees(plain)


def taken_over(how: str, donor: Checkpoint) -> RecordingSession:
    """A session in which a training goes on from a model of 3 rounds."""
    if how == "resumed":
        return RecordingSession(start_checkpoint=donor, start_iteration=3)
    context = TrialContext(config={"learning_rate": 0.2})
    return RecordingSession(exploit_at={3: Exploit(donor, 3, {"learning_rate": 0.1})}, context=context)


@pytest.mark.parametrize("how", ["resumed", "exploited"])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("score", [True, False])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_data_set_begins_from_nothing_in_the_next_fit(
    how: str, keep: bool, score: bool, classes: int, tmp_path: Path
) -> None:
    features, target = load_wine(return_X_y=True) if classes == 3 else (X, Y)
    params = {**SAMPLED, **({"objective": "multiclass", "num_class": 3} if classes == 3 else {}), "metric": "None"}
    begin = np.outer(features[:, 0] / 100, np.arange(1, 1 + classes))
    options = {"free_raw_data": not keep, "init_score": begin if classes == 3 else begin[:, 0]} if score else {}
    options.setdefault("free_raw_data", not keep)

    def sets() -> tuple[lgb.Dataset, lgb.Dataset]:
        training = lgb.Dataset(features, target, **options)
        return training, lgb.Dataset(features, target, reference=training, **options)

    def train(training: Any, held_out: Any, *callbacks: Any, rounds: int = 6) -> Any:
        return lgb.train(params, training, rounds, valid_sets=[held_out], callbacks=list(callbacks))

    donor = checkpoint_of(train(*sets(), rounds=3), tmp_path)
    expected = text(train(*sets()))
    training, held_out = sets()
    with taken_over(how, donor) as session:
        train(training, held_out, TuneReportCheckpointCallback())
        second = train(training, held_out)  # in the same trial, without any callback
    assert len(session.iterations) == (3 if how == "resumed" else 6) and text(second) == expected
    for callback in (TuneReportCheckpointCallback(), TuneReportCallback()):  # and in trials of the same process
        with RecordingSession():
            assert text(train(training, held_out, callback)) == expected
    assert training._predictor is None and held_out._predictor is None
    assert (training.init_score is None) is not score and training.free_raw_data is not keep


@pytest.mark.parametrize("how", ["resumed", "exploited"])
def test_a_data_set_gets_back_the_scripts_own_initial_model(how: str, tmp_path: Path) -> None:
    base = fit(rounds=2, evals=False)
    donor = checkpoint_of(fit(rounds=3), tmp_path)

    def script(*callbacks: Any) -> list[str]:
        training = data_sets(free_raw_data=False)[0]
        first = lgb.train(PARAMS, training, 4, init_model=base, callbacks=list(callbacks))
        # LightGBM begins with scores of 0 here, and not with none
        return [text(first), text(lgb.train(PARAMS, training, 2))]

    with taken_over(how, donor):
        taken = script(TuneReportCheckpointCallback())
    alone = script()
    assert taken[1] == alone[1] != text(lgb.train(PARAMS, data_sets()[0], 2)) and taken[0] != alone[0]


def test_a_booster_that_is_kept_trains_on(tmp_path: Path) -> None:
    donor = checkpoint_of(fit(params=SAMPLED, rounds=3, evals=False), tmp_path)
    first, features = load(donor), X[:300]

    def train(rounds: int, score: Any, **options: Any) -> Any:
        training = data_sets(init_score=score)[0]
        model = lgb.train(SAMPLED, training, rounds, keep_training_booster=True, **options)
        model.update()
        return model.predict(features, raw_score=True)

    plain = train(3, X[:300, 0] + first.predict(features, raw_score=True))
    with taken_over("resumed", donor):
        found = train(6, X[:300, 0], callbacks=[TuneReportCheckpointCallback()])
    assert found - first.predict(features, raw_score=True) == pytest.approx(plain, abs=1e-12)


@pytest.mark.parametrize("where", ["metric", "before", "after"])
def test_an_error_leaves_nothing_on_the_data_sets(where: str, tmp_path: Path) -> None:
    donor = checkpoint_of(fit(params=SAMPLED, rounds=3, evals=False), tmp_path)
    training, held_out = data_sets()

    def broken(*args: Any) -> Any:
        raise RuntimeError("broken")

    recorder = Recorder(before=where == "before")
    if where != "metric":
        recorder.__class__ = type("Broken", (Recorder,), {"__call__": broken})
    with taken_over("resumed", donor), pytest.raises(RuntimeError, match="broken"):
        lgb.train(
            SAMPLED,
            training,
            6,
            valid_sets=[held_out],
            feval=broken if where == "metric" else None,
            callbacks=[TuneReportCheckpointCallback(), recorder],
        )
    with RecordingSession():
        model = lgb.train(SAMPLED, training, 6, valid_sets=[held_out], callbacks=[TuneReportCheckpointCallback()])
    assert text(model) == text(lgb.train(SAMPLED, data_sets()[0], 6))
    assert training.free_raw_data and training.data is not None


def test_a_data_set_that_outlives_a_new_entry_can_be_gone_on_with(tmp_path: Path) -> None:
    donor = checkpoint_of(fit(rounds=3, evals=False), tmp_path)
    training, _ = data_sets()

    def script() -> Any:
        return lgb.train(PARAMS, training, 6, callbacks=[TuneReportCheckpointCallback()])

    session = RecordingSession(exploit_at={3: Exploit(donor, 3, {"seed": 1})}, context=TrialContext(config={"seed": 0}))
    with session, pytest.raises(TrialRestarted):
        script()
    with taken_over("resumed", donor) as session:
        model = script()
    assert session.iterations == [4, 5, 6] and trees(model) == trees(
        fit(rounds=3, evals=False, init_model=tmp_path / MODEL)
    )
    assert training.free_raw_data and training.data is not None


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("callback", [TuneReportCheckpointCallback, TuneReportCallback])
def test_one_data_set_for_cv_and_train(keep: bool, callback: Any, tmp_path: Path) -> None:
    donor = checkpoint_of(fit(params=SAMPLED, rounds=3, evals=False), tmp_path)

    def script() -> Any:
        training = data_sets(free_raw_data=not keep)[0]
        lgb.cv(SAMPLED, training, 2, nfold=2, callbacks=[callback()])
        return lgb.train(SAMPLED, training, 6, callbacks=[TuneReportCheckpointCallback(frequency=2)])

    with RecordingSession() as session:
        model = script()
    assert text(model) == text(lgb.train(SAMPLED, data_sets()[0], 6))
    # what cannot be gone on from is not saved for that
    assert list(session.checkpoints) == ([3, 5, 7, 8] if keep else [8])
    assert [report.savable for report in session.reports] == [False] * 2 + [keep] * 6
    session = taken_over("resumed", donor)
    if keep:
        with session:
            assert text(script()) == text(fit(params=SAMPLED, rounds=3, evals=False, init_model=tmp_path / MODEL))
    else:
        with session, pytest.raises(TuneError, match=r"lightgbm\.cv or an earlier .*free_raw_data=False"):
            script()


@pytest.mark.parametrize(("name", "value"), [("boosting", "rf"), ("boosting_type", "random_forest"), ("boost", "RF")])
def test_a_random_forest_is_saved_at_the_end_only(name: str, value: str, tmp_path: Path) -> None:
    params = {**SAMPLED, name: value}
    with RecordingSession(save_at={3}) as session:
        model = fit(TuneReportCheckpointCallback(frequency=2), params=params)
    assert session.iterations == [1, 2, 3, 4, 5, 6] and not any(report.savable for report in session.reports)
    assert list(session.checkpoints) == [6] and text(load(session.last_checkpoint)) == text(model)
    assert text(model) == text(fit(params=params))
    donor = checkpoint_of(fit(rounds=3), tmp_path)
    session = RecordingSession(exploit_at={3: Exploit(donor, 3, {})})
    with session, pytest.raises(TrialRestarted, match="without a model"):
        fit(TuneReportCheckpointCallback(), params=params)
    with (
        RecordingSession(start_checkpoint=donor, start_iteration=3),
        pytest.raises(TuneError, match=f"cannot continue a random forest .boosting='{value}'"),
    ):
        fit(TuneReportCheckpointCallback(), params=params)
    if value == "rf":  # the first name that LightGBM looks at counts
        with RecordingSession(start_checkpoint=donor, start_iteration=3) as session:
            fit(TuneReportCheckpointCallback(), params={**PARAMS, "boosting": "gbdt", "boost": "rf"})
        assert session.iterations == [4, 5, 6]


# --- scores to begin with: an exposure, a prior

EXPOSURE = np.linspace(0.1, 5.0, len(X))
COUNTS = np.random.default_rng(7).poisson(EXPOSURE * (1 + (Y > 0)))
WINE = load_wine(return_X_y=True)
PRIORS = np.tile(np.log(np.bincount(WINE[1]) / len(WINE[1])), (len(WINE[1]), 1))
BEGUN: dict[str, tuple[dict[str, Any], Any, Any, Any]] = {
    "poisson": ({"objective": "poisson", "metric": "poisson"}, X, COUNTS, np.log(EXPOSURE)),
    "binary": ({"objective": "binary", "metric": "binary_logloss"}, X, Y, np.full(len(X), np.log(Y.mean()))),
    "multiclass": ({"objective": "multiclass", "num_class": 3, "metric": "multi_logloss"}, *WINE, PRIORS),
}


def begun(kind: str, how: str, *callbacks: Any) -> list[float]:
    """Train with scores to begin with; the metric of each round."""
    special, features, target, score = BEGUN[kind]
    params: dict[str, Any] = {"num_leaves": 4, "learning_rate": 0.1, "verbosity": -1, "deterministic": True, **special}
    recorded: dict[str, Any] = {}
    callbacks = (lgb.record_evaluation(recorded), *callbacks)
    valid = slice(0, len(features) // 3)
    if how == "train":
        training = lgb.Dataset(features, target, init_score=score)
        held_out = lgb.Dataset(features[valid], target[valid], init_score=score[valid], reference=training)
        lgb.train({**params, "num_threads": 1}, training, 8, valid_sets=[held_out], callbacks=list(callbacks))
    else:
        estimator = (lgb.LGBMRegressor if kind == "poisson" else lgb.LGBMClassifier)(n_estimators=8, n_jobs=1, **params)
        estimator.fit(
            features,
            target,
            init_score=score,
            eval_set=[(features[valid], target[valid])],
            eval_init_score=[score[valid]],
            callbacks=list(callbacks),
        )
    return [value for metrics in recorded.values() for value in metrics[special["metric"]]]


@pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated")
@pytest.mark.parametrize("how", ["train", "fit"])
@pytest.mark.parametrize("kind", list(BEGUN))
def test_scores_to_begin_with_count_in_a_continuation(kind: str, how: str) -> None:
    """Equal to the training that was never interrupted; LightGBM's own `init_model` forgets them."""
    alone = begun(kind, how)
    with RecordingSession(save_at={3}) as session:
        assert begun(kind, how, TuneReportCheckpointCallback()) == alone
    with RecordingSession(start_checkpoint=session.checkpoints[3], start_iteration=3):
        rest = begun(kind, how, TuneReportCheckpointCallback())
    assert rest == pytest.approx(alone[3:], rel=1e-9)  # a sum of the same numbers, in another order
    for _ in range(2):
        with RecordingSession(exploit_at={3: Exploit(session.checkpoints[3], 3, {})}) as exploited:
            rest = begun(kind, how, TuneReportCheckpointCallback())
        assert exploited.exploits and rest[-5:] == pytest.approx(alone[3:], rel=1e-9)


@pytest.mark.parametrize("kept", [True, False], ids=["raw_data_kept", "raw_data_freed"])
def test_subsets_can_be_gone_on_with(kept: bool) -> None:
    """They take their raw data from the whole, which has freed it, unless that lends it."""

    def subsets(*callbacks: Any) -> list[float]:
        recorded: dict[str, Any] = {}
        whole = lgb.Dataset(X, Y, free_raw_data=not kept)
        lgb.train(
            PARAMS,
            whole.subset(range(300)),
            6,
            valid_sets=[whole.subset(range(300, len(X)))],
            callbacks=[lgb.record_evaluation(recorded), *callbacks],
        )
        return [value for metrics in recorded.values() for values in metrics.values() for value in values]

    alone = subsets()
    with RecordingSession(save_at={3}) as session:
        assert subsets(TuneReportCheckpointCallback()) == alone
    with RecordingSession(start_checkpoint=session.checkpoints[3], start_iteration=3) as session:
        subsets(TuneReportCheckpointCallback())
    assert session.iterations == [4, 5, 6]


def test_scores_of_a_file_count_in_a_continuation(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "train.csv", np.column_stack([COUNTS, X]), delimiter=",")
    np.savetxt(tmp_path / "train.csv.init", np.log(EXPOSURE))
    params = {"objective": "poisson", "num_leaves": 4, "verbosity": -1, "num_threads": 1, "deterministic": True}

    def train(*callbacks: Any) -> Any:
        model = lgb.train(params, lgb.Dataset(str(tmp_path / "train.csv")), 8, callbacks=list(callbacks))
        return model.predict(X, raw_score=True)

    alone = train()
    with RecordingSession(save_at={3}) as session:
        train(TuneReportCheckpointCallback())
    with RecordingSession(start_checkpoint=session.checkpoints[3], start_iteration=3):
        assert train(TuneReportCheckpointCallback()) == pytest.approx(alone, abs=1e-9)


class _Rows(lgb.Sequence):
    batch_size = 100

    def __getitem__(self, index: Any) -> Any:
        return X[index]

    def __len__(self) -> int:
        return len(X)


@pytest.mark.parametrize("kind", ["binary file", "sequence", "arrays", "binned"])
def test_data_that_cannot_be_predicted_are_not_gone_on_with(kind: str, tmp_path: Path) -> None:
    """Saved at the end only, as a random forest."""
    lgb.Dataset(X, Y).save_binary(tmp_path / "train.bin")

    def data() -> lgb.Dataset:
        if kind == "binned":
            return lgb.Dataset(X, Y).construct()
        raw = {"binary file": tmp_path / "train.bin", "sequence": _Rows(), "arrays": [X[:200], X[200:]]}[kind]
        return lgb.Dataset(raw, None if kind == "binary file" else Y)

    def train(config: dict[str, Any]) -> None:
        params = {**PARAMS, "learning_rate": config["learning_rate"]}
        training = data()
        lgb.train(params, training, 6, valid_sets=[training], callbacks=[TuneReportCheckpointCallback(frequency=1)])

    with RecordingSession(save_at={3}) as session:
        train({"learning_rate": 0.1})
    assert session.iterations == [1, 2, 3, 4, 5, 6] and list(session.checkpoints) == [6]
    results = tune.Tuner(
        train,
        param_space={"learning_rate": tune.grid_search([0.05, 0.1, 0.2])},
        tune_config=tune.TuneConfig(
            metric="training-binary_logloss", mode="min", scheduler=ASHAScheduler(max_t=6, grace_period=2)
        ),
        run_config=tune.RunConfig(storage_path=tmp_path / "results", verbose=0, runtime="inline"),
    ).fit()
    assert not results.errors, results.errors


def test_a_data_set_of_all_trials_is_gone_on_with(tmp_path: Path) -> None:
    """Made once, outside the function, with LightGBM's default free_raw_data=True."""
    training = lgb.Dataset(X, Y)

    def train(config: dict[str, Any]) -> None:
        params = {**PARAMS, "learning_rate": config["learning_rate"]}
        lgb.train(params, training, 8, valid_sets=[training], callbacks=[TuneReportCheckpointCallback()])

    pbt = PopulationBasedTraining(
        "training_iteration", perturbation_interval=2, hyperparam_mutations={"learning_rate": tune.uniform(0.1, 0.3)}
    )
    results = tune.Tuner(
        train,
        param_space={"learning_rate": tune.grid_search([0.001, 0.1, 0.2])},
        tune_config=tune.TuneConfig(metric="training-binary_logloss", mode="min", scheduler=pbt, seed=1),
        run_config=tune.RunConfig(storage_path=tmp_path, verbose=0, runtime="inline"),
    ).fit()
    assert not results.errors, results.errors
    assert [one for one in results.decisions if one.action in ("IN_PLACE", "RESTART")]


def test_a_subset_of_the_data_goes_on(tmp_path: Path) -> None:
    def train(rounds: int, **options: Any) -> Any:
        whole = lgb.Dataset(X, Y, free_raw_data=False)
        return lgb.train(SAMPLED, whole.subset(np.arange(0, 500, 2)), rounds, **options)

    checkpoint = checkpoint_of(train(3), tmp_path)
    plain = train(3, init_model=tmp_path / MODEL)
    with RecordingSession(start_checkpoint=checkpoint, start_iteration=3):
        assert text(train(6, callbacks=[TuneReportCheckpointCallback()])) == text(plain)
    with RecordingSession(exploit_at={3: Exploit(checkpoint, 3, {})}) as session:
        assert text(train(6, callbacks=[TuneReportCheckpointCallback()])) == text(plain)
    assert session.exploits


def test_rounds_that_add_no_tree_count_too() -> None:
    stuck = {**PARAMS, "learning_rate": 1.0, "min_gain_to_split": 5.0}
    rounds = fit(params=stuck, rounds=20).current_iteration()
    assert rounds < 8
    with RecordingSession(stop_at=10) as session:
        fit(TuneReportCheckpointCallback(), params=stuck, rounds=20)
    checkpoint = session.checkpoints[10]
    assert json.loads(Path(checkpoint.path, "rounds.json").read_text()) == {"rounds": 10}
    with RecordingSession(start_checkpoint=checkpoint, start_iteration=10) as session:
        model = fit(TuneReportCheckpointCallback(), params=stuck, rounds=20)
    assert session.iterations == list(range(11, 21)) and model.current_iteration() == rounds
    verdict = {10: Exploit(checkpoint, 10, {})}
    with RecordingSession(exploit_at=verdict) as session:
        fit(TuneReportCheckpointCallback(), rounds=20)
    assert session.exploits and session.iterations == list(range(1, 21))


def test_what_cannot_be_done_in_place_says_why(tmp_path: Path) -> None:
    donor = checkpoint_of(fit(rounds=3), tmp_path)

    def why(*more: Any, params: Any = PARAMS, config: Any = None, new: Any = None, at: int = 3) -> str:
        own = config or {}
        verdict = {at: Exploit(donor, at, own if new is None else new)}
        session = RecordingSession(exploit_at=verdict, context=TrialContext(config=own))
        with session, pytest.raises(TrialRestarted):
            fit(TuneReportCheckpointCallback(), *more, params=params)
        (reason,) = session.restarts
        return reason

    assert "reset_parameter" in why(lgb.reset_parameter(learning_rate=lambda i: 0.1))
    assert "the donor's model has 3 rounds and needs 3 more; lightgbm.train has 2 left" in why(at=4)
    rate = {"learning_rate": 0.2}
    assert why(config={"learning_rate": 0.4}, new=rate) == "'learning_rate' cannot be changed in a running training"
    assert why(config={**rate, "max_bin": 255}, new={**rate, "max_bin": 63}).startswith("'max_bin' cannot")
    assert why(config={"rate": 0.2}, new={"rate": 0.1}).startswith("'rate' cannot")
    leaf = {"min_child_samples": 20}
    leaf_params = {**PARAMS, **leaf}
    assert why(params=leaf_params, config=leaf, new={"min_child_samples": 5}).startswith("'min_child_samples' cannot")


@pytest.mark.parametrize(("name", "given"), [("learning_rate", "learning_rate"), ("eta", "learning_rate")])
@pytest.mark.parametrize("before", [True, False])
def test_a_parameter_that_the_script_moves_itself_is_not_changed_in_place(
    name: str, given: str, before: bool, tmp_path: Path
) -> None:
    donor = checkpoint_of(fit(rounds=3), tmp_path)

    class Decay:
        before_iteration = before

        def __call__(self, env: Any) -> None:
            env.model.reset_parameter({name: 0.2 * 0.9**env.iteration})

    verdict = {3: Exploit(donor, 3, {given: 0.01})}
    session = RecordingSession(exploit_at=verdict, context=TrialContext(config={given: 0.2}))
    with session, pytest.raises(TrialRestarted):
        fit(TuneReportCheckpointCallback(), Decay())
    (reason,) = session.restarts
    assert f"the script itself has changed {name!r} from" in reason or "has changed 'learning_rate'" in reason
