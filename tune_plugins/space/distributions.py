"""Domains of distributions that have no function of their own: those of `scipy.stats`, and what a function draws."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tune_plugins.arguments import is_finite, is_whole
from tune_plugins.space.domains import LEAST, Domain, as_number, legal
from tune_plugins.space.encoding import DOMAIN_TYPES, decode, encode


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Distribution(Domain):
    """Numbers of a distribution of `scipy.stats`, or what a function draws.

    Args:
        source: a frozen distribution, such as ``scipy.stats.beta(2, 5)``, or one of scipy's newer ones, such as
            ``scipy.stats.Mixture([...], weights=[...])``; or a function that gets a `random.Random` and returns a
            value: it has no quantiles. None: read back from JSON, where only its name is known.
        text: name of the function, for people.
    """

    source: Any
    text: str = ""
    kind: ClassVar[str] = "distribution"

    def __post_init__(self) -> None:
        if not self.text and not self._by_name:
            text = getattr(self.source, "__qualname__", None) or " ".join(str(self.source).split())
            object.__setattr__(self, "text", text)

    def __repr__(self) -> str:
        if not self._by_name:
            return f"distribution({self.text})"
        given = [*map(repr, self.source.args), *(f"{name}={value!r}" for name, value in self.source.kwds.items())]
        return f"distribution({self.source.dist.name}({', '.join(given)}))"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Distribution) and (self.source is other.source or self.to_json() == other.to_json())

    def __hash__(self) -> int:
        return hash((Distribution, repr(self)))

    @property
    def has_quantiles(self) -> bool:
        """It is one of scipy."""
        return self.frozen

    @property
    def frozen(self) -> bool:
        """It is a distribution of `scipy.stats`, and has quantiles."""
        return self._by_name or all(hasattr(self.source, name) for name in ("icdf", "cdf", "support"))

    @property
    def _by_name(self) -> bool:
        """It is a frozen one, which can be made again from its name and parameters."""
        return all(hasattr(self.source, name) for name in ("ppf", "cdf", "dist"))

    @property
    def _whole(self) -> bool:
        if self._by_name:
            return hasattr(self.source.dist, "pmf")
        return any(kind.__name__ == "DiscreteDistribution" for kind in type(self.source).__mro__)

    def _drawn(self, rng: random.Random) -> Any:
        if self.frozen:
            return self.from_unit(rng.random())
        if self.source is None:
            raise ValueError(f"{self!r} was read from a record, which holds the name only. Give the space again.")
        return self.source(random.Random(rng.getrandbits(64)))

    def from_unit(self, u: float) -> float | int:
        """See `Domain.from_unit`."""
        if not self.frozen:
            raise ValueError(f"{self!r} has no quantiles: it is drawn by a function")
        quantile = self.source.ppf if self._by_name else self.source.icdf
        value = float(quantile(min(max(u, LEAST), 1 - LEAST)))
        return int(value) if self._whole else value

    def to_unit(self, value: Any) -> float:
        """See `Domain.to_unit`."""
        if not self.frozen:
            raise ValueError(f"{self!r} has no quantiles: it is drawn by a function")
        cdf, value = self.source.cdf, legal(self, value)
        return float((cdf(value - 1) + cdf(value)) / 2 if self._whole else cdf(value))

    def contains(self, value: Any) -> bool:
        """Whether `value` is a number in the support; of a function anything may be."""
        if not self.frozen:
            return True
        lower, upper = self.source.support()
        return is_finite(value) and bool(lower <= value <= upper) and (is_whole(value) or not self._whole)

    def clip(self, value: Any) -> Any:
        """The number of the support that is nearest to the number `value`."""
        if not self.frozen:
            return value
        lower, upper = map(float, self.source.support())
        inside = min(max(float(as_number(value, self)), lower), upper)
        return round(inside) if self._whole else inside

    def mistakes(self) -> list[str]:
        """See `Domain.mistakes`."""
        if self.source is None or self.frozen or callable(self.source):
            example = "distribution(scipy.stats.beta(2, 5))"
            if type(self.source).__module__.startswith("scipy.stats") and not self.frozen:
                return [f"{self!r}: expected a frozen distribution, with its parameters. Write e.g. {example}."]
            return []
        return [f"{self!r}: expected a distribution of scipy.stats or a function, got {self.source!r}."]

    def to_json(self) -> dict[str, Any]:
        """Name and parameters of the distribution; of a function the name."""
        if not self._by_name:
            return {"$domain": self.kind, "repr": repr(self), "name": self.text}
        source = self.source
        args, kwds = [encode(arg) for arg in source.args], {name: encode(v) for name, v in source.kwds.items()}
        return {"$domain": self.kind, "scipy": source.dist.name, "args": args, "kwds": kwds}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Distribution:
        """The same distribution; for a function one of its name that cannot be drawn from."""
        if "scipy" not in data:
            return Distribution(None, data["name"])
        from scipy import stats

        args = [decode(arg) for arg in data["args"]]
        return Distribution(getattr(stats, data["scipy"])(*args, **{n: decode(v) for n, v in data["kwds"].items()}))


DOMAIN_TYPES[Distribution.kind] = Distribution
