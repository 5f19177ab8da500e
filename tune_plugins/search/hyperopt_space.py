"""A search space that is written in HyperOpt's own terms, as far as a searcher asks a space.

Such a space is a graph: literals, dicts and sequences, choices (``switch``), and parameters with a label. It is
evaluated here and not by `hyperopt.space_eval`, which returns numbers of NumPy and makes tuples of lists. The way back
from a config to the values of the labels, which points of the user's and a resumed run need, is possible wherever a
parameter shows as it is, and not where the graph computes with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tune_plugins.arguments import did_you_mean, is_number
from tune_plugins.errors import ArgumentError
from tune_plugins.space import Space
from tune_plugins.space.domains import rebuild, same

_CASTS = {"int": int, "float": float}


class HyperOptSpace(Space):
    """A space of HyperOpt's behind the methods of `Space` that have to do with configs; it lists no parameters.

    Args:
        given: nested dicts and lists with ``hp.uniform(...)`` and the like, or an ``hp.choice`` of dicts.
        constants: what each config holds as well.
        library: the module `hyperopt`.
    """

    def __init__(self, given: Any, constants: Mapping[str, Any], library: Any) -> None:
        super().__init__()
        self.graph, self._constants, self._library = given, constants, library

    def __repr__(self) -> str:
        return f"HyperOptSpace({self.graph!r})"

    def mistakes(self) -> list[str]:
        """What is wrong: two parameters of the same label, a graph that HyperOpt cannot read."""
        try:
            self._library.base.Domain(lambda config: config, self.graph)
        except self._library.exceptions.DuplicateLabel as error:
            return [f"space: two parameters have the label {error.args[0]!r}. Rename one of them."]
        except Exception as error:
            return [f"space: HyperOpt cannot read it: {type(error).__name__}: {error}."]
        return []

    def config_of(self, values: Mapping[str, Any], seed: int | str = 0) -> dict[str, Any]:
        """The config of values by label."""
        made = self._value(self.graph, values)
        if not isinstance(made, dict):
            raise ArgumentError("param_space", [f"space: expected one that makes dicts, got {made!r} from it."])
        return {**self._constants, **made}

    def values_of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The values by label that make a config.

        Raises:
            ArgumentError: none do, or the graph computes with them so that they cannot be traced back.
        """
        wrong = [
            f"{name}: param_space fixes it at {value!r}, got {config[name]!r}."
            for name, value in self._constants.items()
            if name in config and not same(config[name], value)
        ]
        own = {name: value for name, value in config.items() if name not in self._constants}
        try:
            values = dict(self._read(self.graph, own, ""))
        except _MisfitError as error:
            wrong.append(str(error))
        if wrong:
            raise ArgumentError("HyperOptSpace.values_of", wrong)
        return values

    def check_point(self, point: Any, *, loose: bool = False) -> list[str]:
        """Why a point cannot be tried; it must be whole."""
        if not isinstance(point, Mapping):
            return [f"expected a dict, got {point!r}."]
        try:
            self.values_of(point)
        except ArgumentError as error:
            return list(error.mistakes)
        return []

    def variant(self, draw: str, grid_point: int = 0, fixed: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The config of a point."""
        return self.config_of(self.values_of(fixed or {}))

    def _value(self, node: Any, values: Mapping[str, Any]) -> Any:
        if isinstance(node, dict):
            return {key: self._value(item, values) for key, item in node.items()}
        if isinstance(node, (list, tuple)):
            return rebuild(node, [self._value(item, values) for item in node])
        if not isinstance(node, self._library.pyll.Apply):
            return node
        match node.name:
            case "literal":
                return node.obj
            case "dict" if not node.pos_args:
                return {key: self._value(item, values) for key, item in node.named_args}
            case "pos_args":
                items = [self._value(item, values) for item in node.pos_args]
                return items if node.o_len is None else tuple(items)  # so HyperOpt tells a list from a tuple
            case "hyperopt_param":
                return values[node.arg["label"].obj]
            case "switch":
                return self._value(node.pos_args[1 + self._value(node.pos_args[0], values)], values)
            case "int" | "float":
                return _CASTS[node.name](self._value(node.pos_args[0], values))
        parameters = [each for each in self._library.pyll.dfs(node) if each.name == "hyperopt_param"]
        memo = {each: values[label] for each in parameters if (label := each.arg["label"].obj) in values}
        return plain(self._library.pyll.rec_eval(node, memo=memo))

    def _read(self, node: Any, value: Any, name: str) -> Iterator[tuple[str, Any]]:
        """Label and value of each parameter, where `node` makes `value`."""
        if not isinstance(node, self._library.pyll.Apply):
            if isinstance(node, (dict, list, tuple)):
                yield from self._read_items(node, value, name)
            elif not same(node, value):
                raise _MisfitError(f"{name}: expected {node!r}, got {value!r}.")
            return
        match node.name:
            case "literal":
                yield from self._read(node.obj, value, name)
            case "dict" if not node.pos_args:
                yield from self._read_items(dict(node.named_args), value, name)
            case "pos_args":
                yield from self._read_items(node.pos_args, value, name)
            case "hyperopt_param":
                yield node.arg["label"].obj, _checked(node.arg["obj"], value, name)
            case "switch":
                label, options = node.pos_args[0].arg["label"].obj, node.pos_args[1:]
                for number, option in enumerate(options):
                    try:
                        inside = list(self._read(option, value, name))
                    except _MisfitError:
                        continue
                    yield label, number
                    yield from inside
                    return
                raise _MisfitError(f"{name or label}: {value!r} is none of the {len(options)} options.")
            case "int" | "float":
                yield from self._read(node.pos_args[0], value, name)
            case _:
                raise _MisfitError(
                    f"{name}: HyperOpt computes it by {node.name!r} from its parameters, which cannot be told from "
                    f"{value!r}. Compute it in the training, or write the space with domains of tune_plugins."
                )

    def _read_items(self, node: Any, value: Any, name: str) -> Iterator[tuple[str, Any]]:
        if not isinstance(node, dict):
            if not isinstance(value, (list, tuple)) or len(value) != len(node):
                raise _MisfitError(f"{name}: expected a list of {len(node)} values, got {value!r}.")
            node, value = dict(enumerate(node)), dict(enumerate(value))
        elif not isinstance(value, Mapping):
            raise _MisfitError(f"{name}: expected a dict, got {value!r}.")
        at = f"{name}/" if name else ""
        for key in value:
            if key not in node:
                known = [str(each) for each in node]
                raise _MisfitError(f"{at}{key}: no such parameter.{did_you_mean(str(key), known)}")
        for key, item in node.items():
            if key not in value:
                raise _MisfitError(f"{at}{key}: missing; a point of a space of HyperOpt's has to be whole.")
            yield from self._read(item, value[key], f"{at}{key}")


class _MisfitError(Exception):
    """A value that the graph does not make."""


def plain(value: Any) -> Any:
    """A number of NumPy as one of Python's; anything else as it is."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0 else value


def _checked(drawn: Any, value: Any, name: str) -> Any:
    """`value`, if the distribution may draw it: near one that it may not, HyperOpt would look for numbers for ever."""
    if not is_number(value):
        raise _MisfitError(f"{name}: expected a number, got {value!r}.")
    low, high = (getattr(drawn.arg.get(end), "obj", None) for end in ("low", "high"))
    if drawn.name == "randint" and high is None:
        low, high = 0, low
    if low is None or high is None:
        return value
    if "log" in drawn.name:
        low, high = math.exp(low), math.exp(high)
    # Rounding to a multiple of q may leave the bounds.
    slack = (drawn.arg["q"].obj / 2 if "q" in drawn.arg else 0) + 1e-9 * (high - low)
    if not low - slack <= value <= high + slack or (drawn.name == "randint" and value == high):
        raise _MisfitError(f"{name}: {value!r} is outside of {drawn.name}({low:g}, {high:g}).")
    return value
