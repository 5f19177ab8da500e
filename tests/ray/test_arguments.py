"""Bad input: a clear error at once, all mistakes together, and nothing left behind."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune


def _train(config: dict[str, Any]) -> dict[str, Any]:
    return {"loss": 1}


_LOCK = threading.Lock()


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    lock = threading.Lock()
    config = tune.TuneConfig(metric="loss", mode="min")
    tuner = tune.Tuner(
        tune.with_resources(lambda config: lock, {"gpu": 99}),
        tune_config=config,
        run_config=tune.RunConfig(storage_path=blocked / "results"),
    )
    config.num_samples = 0
    with pytest.raises(tune.ArgumentError) as caught:
        tuner.fit()
    mistakes = caught.value.mistakes
    for words in (
        "num_samples: expected a whole number of at least 1, got 0",
        "storage_path: expected a folder",
        "resources: a trial asks for GPU: 99",
        "because of the variable 'lock' of type lock",
    ):
        assert sum(words in mistake for mistake in mistakes) == 1, (words, mistakes)
    assert len(mistakes) == 4


@pytest.mark.parametrize(
    ("trainable", "told"),
    [
        (3, "expected a function train(config), got 3"),
        (_train({}), "expected a function train(config), got {'loss': 1}"),
        (dict, "got the class dict"),
        (lambda: None, "expected a function that can be called with one config"),
        (lambda config, data: None, "Use tune.with_parameters for more"),
        (lambda config: _LOCK, "the global variable '_LOCK' of type lock"),
        (lambda config, lock=_LOCK: None, "the default of 'lock' of type lock"),
    ],
)
def test_a_trainable_that_cannot_be_one(trainable: Any, told: str) -> None:
    with pytest.raises(tune.ArgumentError) as caught:
        tune.Tuner(trainable, run_config=tune.RunConfig(verbose=0)).fit()
    assert told in str(caught.value)
    assert len(caught.value.mistakes) == 1


def test_parameters_that_cannot_travel_are_named_and_leave_nothing_behind(fit: Any, tmp_path: Path) -> None:
    def train(config: dict[str, Any], good: int, bad: Any) -> None: ...

    with pytest.raises(tune.ArgumentError, match=r"with_parameters: .* 'bad' of type lock"):
        fit(tune.with_parameters(train, good=1, bad=threading.Lock()), name="lost")
    assert not (tmp_path / "results" / "lost").exists()


def test_a_folder_that_cannot_be_written(fit: Any) -> None:
    with pytest.raises(tune.ArgumentError, match="storage_path: cannot write to '/proc/tune'"):
        fit(_train, storage_path="/proc/tune")


def test_a_second_experiment_of_the_same_name(fit: Any) -> None:
    first, second = (fit(_train, name="lr=0.1, twice") for _ in range(2))
    assert [Path(grid.experiment_path).name for grid in (first, second)] == ["lr=0.1,_twice", "lr=0.1,_twice-2"]
    assert first[0].metrics["loss"] == second[0].metrics["loss"] == 1
    with pytest.raises(tune.ArgumentError, match=r"name: expected a new one, got 'lr=0\.1, twice'"):
        fit(_train, name="lr=0.1, twice", if_exists="error")
    assert fit(_train, name="lr=0.1, twice", if_exists="replace").experiment_path == first.experiment_path


def test_names_made_by_us_never_collide(fit: Any) -> None:
    paths = {fit(_train).experiment_path for _ in range(3)}
    assert len(paths) == 3


def test_get_results_before_and_after_a_run(tmp_path: Path) -> None:
    tuner = tune.Tuner(_train, run_config=tune.RunConfig(verbose=0, storage_path=tmp_path))
    with pytest.raises(tune.TuneError, match="Call fit"):
        tuner.get_results()
    assert tuner.fit() is tuner.get_results()


def test_creators_of_names_that_raise_are_named(fit: Any) -> None:
    with pytest.raises(tune.TuneError, match="trial_name_creator raised ZeroDivisionError"):
        fit(_train, trial_name_creator=lambda trial: 1 / 0)


def test_a_tilde_in_the_storage_path_is_the_home_folder(
    fit: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    fit(_train, storage_path="~/here", name="mine", runtime="inline")
    assert len(tune.ResultGrid(tmp_path / "here" / "mine")) == 1
    assert len(tune.ResultGrid("~/here/mine")) == 1
