"""Loggers by name, names of Ray Tune's that are other ones here, and a result as text."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins import logger as loggers
from tune_plugins.logger import create_logger, pretty_print, setup_mlflow, setup_wandb
from tune_plugins.logger.by_name import LOGGERS

NEEDS = {
    "tensorboard": "tensorboard",
    "tbx": "tensorboard",
    "mlflow": "mlflow",
    "wandb": "wandb",
    "comet": "comet_ml",
}
"""{name: the package that it needs}; "csv" and "json" need none."""


def test_each_name_makes_its_logger() -> None:
    assert set(LOGGERS) == {"csv", "json", *NEEDS}
    for name in ("csv", "json"):
        assert type(create_logger(name)) is getattr(loggers, LOGGERS[name])


def forget(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were not installed."""
    for module in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)


@pytest.mark.parametrize("name", NEEDS)
def test_a_library_that_is_missing_is_told_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forget(NEEDS[name], monkeypatch)
    with pytest.raises(tune.MissingDependencyError) as caught:
        create_logger(name)
    extra = "tensorboard" if name == "tbx" else name
    assert f"{LOGGERS[name]} needs the module '{NEEDS[name]}" in str(caught.value)
    assert f"pip install 'tune-plugins[{extra}]'" in str(caught.value)


@pytest.mark.parametrize(("setup", "package"), [(setup_mlflow, "mlflow"), (setup_wandb, "wandb")])
def test_so_it_is_inside_a_trial(setup: Any, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forget(package, monkeypatch)
    with pytest.raises(tune.MissingDependencyError, match=f"setup_{package} needs the module '{package}'"):
        setup({})


def test_names_and_arguments_that_are_wrong() -> None:
    with pytest.raises(tune.ArgumentError) as caught:
        create_logger("csvv")
    assert "name: expected 'csv', 'json'" in str(caught.value) and "Did you mean 'csv'?" in str(caught.value)
    with pytest.raises(tune.ArgumentError, match="path: there is no such argument"):
        create_logger("csv", path="x")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("CSVLogger", "Write RunConfig(callbacks=[CSVLoggerCallback()])."),
        ("JsonLogger", "Write RunConfig(callbacks=[JsonLoggerCallback()])."),
        ("TBXLogger", "Write RunConfig(callbacks=[TBXLoggerCallback()])."),
        ("DEFAULT_LOGGERS", "CSVLoggerCallback(), JsonLoggerCallback(), TBXLoggerCallback()"),
        ("UnifiedLogger", "Several loggers are several callbacks"),
        ("LegacyLoggerCallback", "Derive from LoggerCallback"),
        ("Logger", "Derive from LoggerCallback"),
        ("AimLoggerCallback", "There is none for Aim"),
        ("CSVLogerCallback", "Did you mean 'CSVLoggerCallback'?"),
    ],
)
def test_old_names_say_what_to_write_instead(name: str, told: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(loggers, name)
    assert told in str(caught.value)
    with pytest.raises(ImportError) as imported:
        exec(f"from tune_plugins.logger import {name}")
    assert told in str(imported.value)


def test_a_result_as_text() -> None:
    """ray-project/ray#1812: NaN was no JSON, and could not be printed."""
    result = {"loss": float("nan"), "config": {"lr": 1}, "eval": {"b": 2, "a": True}, "none": None, "some": [1, "x"]}
    assert pretty_print(result) == 'eval:\n  a: true\n  b: 2\nloss: nan\nsome: [1, "x"]'
    assert pretty_print(result, exclude=["eval", "some"]) == "loss: nan"
