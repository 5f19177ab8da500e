"""The config as a `sample_from` function sees it: values that other functions compute are computed when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tune_plugins.errors import ArgumentError
from tune_plugins.space.domains import rebuild


class Pending:
    """A value still to be computed, on the first access.

    Args:
        name: of the parameter.
        compute: gives the value.
        running: names of the parameters being computed, outermost first; shared by the whole config.
    """

    def __init__(self, name: str, compute: Callable[[], Any], running: list[str]) -> None:
        self.name, self.compute, self.running = name, compute, running

    def resolve(self) -> Any:
        """Compute the value.

        Raises:
            ArgumentError: the value needs itself, directly or through others.
        """
        if self.name in self.running:
            cycle = " -> ".join([*self.running[self.running.index(self.name) :], self.name])
            raise ArgumentError(
                "param_space",
                [f"{cycle}: these sample_from parameters need one another in a circle. Make one depend on nothing."],
            )
        self.running.append(self.name)
        try:
            return self.compute()
        finally:
            self.running.pop()


class Record(dict[Any, Any]):
    """A dict whose pending values are computed on access; its keys can be read as attributes too."""

    def __getitem__(self, key: Any) -> Any:
        value = super().__getitem__(key)
        if isinstance(value, Pending):
            value = self[key] = value.resolve()
        return value

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"the config has no {name!r} here; it has {', '.join(map(str, self)) or 'nothing'}")

    def __iter__(self) -> Iterator[Any]:
        return super().__iter__()  # overridden so that dict(record) does not go past __getitem__

    def get(self, key: Any, default: Any = None) -> Any:
        """See `dict.get`."""
        if key in self:
            return self[key]
        return default

    def values(self) -> Any:
        """See `dict.values`; computes all of them."""
        return dict(self).values()

    def items(self) -> Any:
        """See `dict.items`; computes all of them."""
        return dict(self).items()


class Root(Record):
    """The whole config, which is also its own ``config``: ``spec.config.lr`` is ``config["lr"]``."""

    def __getattr__(self, name: str) -> Any:
        return self if name == "config" else super().__getattr__(name)

    def __missing__(self, key: Any) -> Any:
        if key == "config":
            return self
        raise KeyError(key)


class Row(list[Any]):
    """A list whose pending values are computed on access; becomes what `like` is in the end (a tuple, ...)."""

    def __init__(self, items: list[Any], like: list[Any] | tuple[Any, ...]) -> None:
        super().__init__(items)
        self.like = like

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        value = super().__getitem__(index)
        if isinstance(value, Pending):
            value = self[index] = value.resolve()
        return value

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))


def plain(value: Any) -> Any:
    """`value` with all pending values computed and with plain dicts, lists and tuples only."""
    if isinstance(value, Record):
        return {key: plain(value[key]) for key in value}
    if isinstance(value, Row):
        return rebuild(value.like, [plain(item) for item in value])
    return value
