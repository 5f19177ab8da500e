"""Loggers: what happens in a run, written to files and to the servers that teams look at.

Each is a callback: ``RunConfig(callbacks=[CSVLoggerCallback()])``. None is there by default, since the record of an
experiment holds everything. The library that one needs is imported when it is made.
"""

from typing import TYPE_CHECKING

from tune_plugins._imports import unknown_name
from tune_plugins.arguments import did_you_mean
from tune_plugins.logger.base import LoggedTrial, LoggerCallback
from tune_plugins.logger.by_name import create_logger
from tune_plugins.logger.comet import CometLoggerCallback
from tune_plugins.logger.files import CSVLoggerCallback, JsonLoggerCallback
from tune_plugins.logger.mlflow import MLflowLoggerCallback, setup_mlflow
from tune_plugins.logger.printing import pretty_print
from tune_plugins.logger.tensorboard import TBXLoggerCallback, TensorBoardLoggerCallback
from tune_plugins.logger.wandb import WandbLoggerCallback, setup_wandb

__all__ = [
    "CSVLoggerCallback",
    "CometLoggerCallback",
    "JsonLoggerCallback",
    "LoggedTrial",
    "LoggerCallback",
    "MLflowLoggerCallback",
    "TBXLoggerCallback",
    "TensorBoardLoggerCallback",
    "WandbLoggerCallback",
    "create_logger",
    "pretty_print",
    "setup_mlflow",
    "setup_wandb",
]

_OF_RAY = {
    "CSVLogger": "Write RunConfig(callbacks=[CSVLoggerCallback()]).",
    "JsonLogger": "Write RunConfig(callbacks=[JsonLoggerCallback()]).",
    "TBXLogger": "Write RunConfig(callbacks=[TBXLoggerCallback()]).",
    "UnifiedLogger": "Several loggers are several callbacks: RunConfig(callbacks=[CSVLoggerCallback(), ...]).",
    "DEFAULT_LOGGERS": "Write RunConfig(callbacks=[CSVLoggerCallback(), JsonLoggerCallback(), TBXLoggerCallback()]).",
    "Logger": "Derive from LoggerCallback: log_trial_result(iteration, trial, result) is what on_result(result) was.",
    "NoopLogger": "Without callbacks nothing is logged.",
    "AimLoggerCallback": "There is none for Aim, which cannot be installed with the Python versions of this package. "
    "Derive from LoggerCallback.",
}
_OF_RAY["LegacyLoggerCallback"] = _OF_RAY["Logger"]


def _hint(name: str) -> str:
    return _OF_RAY.get(name) or did_you_mean(name, __all__, 0.75).strip()


if not TYPE_CHECKING:
    __getattr__ = unknown_name(__name__, _hint)
