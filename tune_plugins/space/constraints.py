"""What must hold between the values of a config."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tune_plugins.arguments import Mistakes
from tune_plugins.errors import ArgumentError

__all__ = ["Constraint", "constraint"]


@dataclass(frozen=True, slots=True)
class Constraint:
    """What must hold for every config of a space; made by `constraint`.

    Attributes:
        func: gets a config, a dict of its own, and says whether it is legal.
        name: for people.
    """

    func: Callable[[dict[str, Any]], object]
    name: str

    def holds(self, config: dict[str, Any]) -> bool:
        """Whether a config is legal.

        Raises:
            ArgumentError: the function raised.
        """
        try:
            return bool(self.func(config))
        except Exception as error:
            raise ArgumentError(
                "param_space",
                [f"constraint {self.name}: raised {type(error).__name__}: {error}. It was given {config!r}."],
            ) from error


def constraint(func: Callable[[dict[str, Any]], object], name: str | None = None) -> Constraint:
    """What must hold for every config: ``Space({...}, constraints=[constraint(lambda cfg: cfg["a"] < cfg["b"])])``.

    Args:
        func: gets a config and returns whether it is legal.
        name: for messages; default: that of the function.

    Raises:
        ArgumentError: it is no function of one argument.
    """
    mistakes = Mistakes("constraint")
    remedy = "Write lambda config: config['a'] < config['b']."
    mistakes.function("func", func, "of the config", arguments=1, remedy=remedy)
    mistakes.raise_if_any()
    return Constraint(func, name or getattr(func, "__qualname__", None) or repr(func))
