"""Loggers by name, as `RunConfig(callbacks=["csv"])` gives them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tune_plugins import arguments as checks
from tune_plugins.arguments import Mistakes
from tune_plugins.logger.base import LoggerCallback

__all__ = ["LOGGERS", "create_logger"]

LOGGERS: dict[str, str] = {
    "csv": "CSVLoggerCallback",
    "json": "JsonLoggerCallback",
    "tensorboard": "TensorBoardLoggerCallback",
    "tbx": "TensorBoardLoggerCallback",
    "mlflow": "MLflowLoggerCallback",
    "wandb": "WandbLoggerCallback",
    "comet": "CometLoggerCallback",
}
"""{name: class of `tune_plugins.logger`}."""


def create_logger(name: str, **arguments: Any) -> LoggerCallback:
    """The logger of a name.

    >>> type(create_logger("csv")).__name__
    'CSVLoggerCallback'

    Args:
        name: one of `LOGGERS`.
        arguments: of its class.

    Raises:
        ArgumentError: there is none of that name, or its arguments are wrong; lists all mistakes.
        MissingDependencyError: its library is not installed.
    """
    mistakes = Mistakes("create_logger")
    mistakes.found += name_mistakes("name", name)
    mistakes.raise_if_any()
    kind = logger_class(name)
    assert kind is not None
    logger: LoggerCallback = checks.made("create_logger", kind, arguments)
    return logger


def logger_class(name: str) -> type[LoggerCallback] | None:
    """The class of a name, None where there is none."""
    kind: type[LoggerCallback] | None = None
    if name in LOGGERS:
        kind = getattr(import_module("tune_plugins.logger"), LOGGERS[name])
    return kind


def name_mistakes(argument: str, name: str) -> list[str]:
    """What is wrong with a name, in words."""
    return checks.name_mistakes(argument, name, LOGGERS, "a logger")
