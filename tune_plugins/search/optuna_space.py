"""The parameters of a space as those of a study of Optuna, and configs drawn from its samplers."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from tune_plugins.arguments import is_finite, is_number, is_whole
from tune_plugins.search.optuna_samplers import is_stateless
from tune_plugins.space import Categorical, Domain, Float, Integer, Parameter, Space
from tune_plugins.space.domains import same

__all__ = ["Dimension", "Parameters"]

_MOST_WHOLE = 2**53  # Optuna keeps whole numbers as floats
_MOST_STEPS = 10**6  # beyond, Optuna does not tell multiples from numbers between them

_NONE: Any = object()


class Dimension(NamedTuple):
    """A parameter of a space as one of a study.

    Attributes:
        parameter: in the space.
        label: in the study: the path in the config, with numbers of options where these are needed to tell two apart.
        distribution: in the study.
        value: of a value in the study, the flat one of the space; raises ValueError where there is none.
        param: the inverse.
    """

    parameter: Parameter
    label: str
    distribution: Any
    value: Callable[[Any], Any]
    param: Callable[[Any], Any]

    @property
    def name(self) -> str:
        """In the space."""
        return self.parameter.name

    @property
    def domain(self) -> Domain:
        """In the space."""
        return self.parameter.domain

    @property
    def conditions(self) -> tuple[tuple[str, int], ...]:
        """As of `Parameter`."""
        return self.parameter.conditions

    @property
    def choices(self) -> tuple[Any, ...]:
        """In the study, of one of several that have no order."""
        return getattr(self.distribution, "choices", ())

    @property
    def is_constant(self) -> bool:
        """There is but one value, which samplers are not asked for."""
        return bool(self.distribution.single())


class Parameters:
    """The parameters of a space as those of a study, each behind those that it depends on.

    Args:
        space: with the parameters.
        optuna: the module; None: the study has none of them.

    Attributes:
        dimensions: one for each parameter that has quantiles.
        distributions: all of them, by label.
        constants: values of those that have but one.
        varying: distributions of the others, by label.
        shared: those of them that every trial has.
        numbers: those of them that have an order.
        covered: those of `varying` that sequences of points cover.
    """

    def __init__(self, space: Space, optuna: Any = None) -> None:
        self.space, self._is_empty = space, optuna is None
        self.dimensions = () if optuna is None else tuple(_dimensions(space, optuna.distributions))
        self.distributions = {each.label: each.distribution for each in self.dimensions}
        self.constants = {
            each.label: each.choices[0] if each.choices else each.distribution.low
            for each in self.dimensions
            if each.is_constant
        }
        varying = {each.label: each for each in self.dimensions if not each.is_constant}
        self.varying = {label: varying[label].distribution for label in sorted(varying)}
        self.shared = {label: each for label, each in self.varying.items() if not varying[label].conditions}
        self.numbers = {label: each for label, each in self.shared.items() if not varying[label].choices}
        covers_choices = optuna is not None and int(optuna.__version__.partition(".")[0]) >= 5
        self.covered = {
            label: each for label, each in self.varying.items() if covers_choices or not varying[label].choices
        }

    def __reduce__(self) -> Any:
        """It holds functions made for the space, which cannot be pickled."""
        return _made_again, (self.space, self._is_empty)

    def translated(self) -> Iterator[str]:
        """Parameters of which a value in the study is not the value in the config, in words."""
        as_they_are = {each.name for each in self.dimensions if not each.conditions and _is_plain(each)}
        for parameter in self.space.walk():
            if parameter.name not in as_they_are:
                yield (
                    f"{parameter.name}: Optuna has no distribution for {parameter.domain!r}. Give all of the space to "
                    "OptunaSearch(space=...) as it is, or to Tuner(param_space=...)."
                )

    def read(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What the study knows of a config; the same for the same config, however that has come about.

        Raises:
            ArgumentError: it does not fit the space.
        """
        values = self.space.values_of(config)
        return {each.label: each.param(values[each.name]) for each in self.dimensions if each.name in values}

    def store(self, trial: Any, params: Mapping[str, Any]) -> None:
        """Give a trial its parameters."""
        for label, value in params.items():
            distribution = self.distributions[label]
            trial.storage.set_trial_param(trial._trial_id, label, distribution.to_internal_repr(value), distribution)

    def sampled(self, study: Any, trial: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        """Flat values that the sampler of a study draws, as `optuna.Trial` would have it draw them.

        That stores each value at once; here nothing is stored, so that values can be made legal, or drawn again.

        Args:
            study: with the sampler.
            trial: for which they are drawn.
            given: values in the study that are not drawn.
        """
        sampler = study.sampler
        relative = sampler.sample_relative(study, trial, self._together(study, trial))
        known = {**relative, **self.constants, **given}
        trial = copy.copy(trial)
        trial.params, trial.distributions = {}, {}
        values: dict[str, Any] = {}
        for each in self.dimensions:
            if any(values.get(name) != option for name, option in each.conditions):
                continue
            value = _NONE
            if each.label in known:
                with suppress(ValueError):  # a category that there is no more
                    value = each.value(known[each.label])
            if value is _NONE:
                value = each.value(sampler.sample_independent(study, trial, each.label, each.distribution))
            values[each.name] = value
            # Some samplers look at what the trial has got so far.
            trial.params[each.label], trial.distributions[each.label] = each.param(value), each.distribution
        return values

    def _together(self, study: Any, trial: Any) -> dict[str, Any]:
        """The distributions of parameters that a sampler is to draw together; the others it draws one by one.

        Left to themselves, samplers take those that all earlier trials had: at first also some of an option, which
        later trials do not have. CMA-ES cannot go on then, and QMC keeps to the parameters of the first trial.
        """
        kind = type(study.sampler).__name__
        if kind == "QMCSampler":
            return self.covered
        if kind == "CmaEsSampler":
            return self.numbers
        found: dict[str, Any] = study.sampler.infer_relative_search_space(study, trial)
        if is_stateless(study.sampler):
            return {label: distribution for label, distribution in found.items() if label in self.shared}
        return found


def _made_again(space: Space, is_empty: bool) -> Parameters:
    return Parameters(space, None if is_empty else import_module("optuna"))


def _dimensions(space: Space, distributions: Any) -> Iterator[Dimension]:
    found = [parameter for parameter in space.walk() if parameter.domain.has_quantiles]
    short = [re.sub(r"\[\d+\]", "", parameter.name) for parameter in found]
    count = Counter(short)
    for parameter, name in zip(found, short, strict=True):
        yield _dimension(distributions, parameter, name if count[name] == 1 else parameter.name)


def _dimension(distributions: Any, parameter: Parameter, label: str) -> Dimension:
    domain = parameter.domain
    make = partial(Dimension, parameter, label)
    if isinstance(domain, Categorical):
        if domain.ordered:
            last = len(domain.options) - 1
            return make(distributions.IntDistribution(0, last), lambda number: min(max(int(number), 0), last), int)
        choices = _choices(domain.options)
        return make(distributions.CategoricalDistribution(choices), choices.index, choices.__getitem__)
    if isinstance(domain, Integer) and max(abs(domain.lower), abs(domain.upper)) <= _MOST_WHOLE:
        low, high, q = domain.clip(domain.lower), domain.clip(domain.upper), domain.q
        if domain.log and q > 1:
            # Optuna has no multiples there. One stands for the numbers up to the next one, as in the domain.
            distribution = distributions.IntDistribution(low, high + q - 1, log=True)
            return make(distribution, lambda number: domain.clip(int(number) // q * q), int)
        return make(distributions.IntDistribution(low, high, log=domain.log, step=q), domain.clip, int)
    if isinstance(domain, Float) and is_finite(domain.upper - domain.lower):
        least, most, step = domain.clip(domain.lower), domain.clip(domain.upper), domain.q
        if step is None:
            distribution = distributions.FloatDistribution(least, most, log=domain.log)
        elif domain.log or most - least > _MOST_STEPS * step:
            # A multiple stands for the numbers that it is nearest to.
            distribution = distributions.FloatDistribution(least - step / 2, most + step / 2, log=domain.log)
        else:
            distribution = distributions.FloatDistribution(least, most, step=step)
        return make(distribution, domain.clip, float)
    return make(distributions.FloatDistribution(0.0, 1.0), domain.from_unit, domain.to_unit)


def _is_plain(dimension: Dimension) -> bool:
    """Whether its values in the study are those in the config."""
    domain = dimension.domain
    if isinstance(domain, Categorical):
        return bool(dimension.choices) and not domain.grid and all(map(same, dimension.choices, domain.options))
    if not isinstance(domain, (Float, Integer)) or not is_finite(domain.upper - domain.lower):
        return False
    return not domain.log or domain.q in (None, 1)


def _choices(options: Sequence[Any]) -> tuple[Any, ...]:
    """Options as categories of Optuna, which are numbers, words, True, False and None; all of them different."""
    plain = [_plain(option) for option in options]
    # Optuna tells neither True from 1 nor 1 from 1.0.
    count = Counter(option for option in plain if option is not _NONE)
    found = tuple(
        _text(number, option) if each is _NONE or count[each] > 1 else each
        for number, (each, option) in enumerate(zip(plain, options, strict=True))
    )
    return found if len(set(found)) == len(found) else tuple(range(len(found)))


def _plain(option: Any) -> Any:
    if option is None or isinstance(option, (bool, str)):
        return option
    if is_number(option) and option == option:
        return int(option) if is_whole(option) else float(option)
    return _NONE


def _text(number: int, option: Any) -> str:
    text = getattr(option, "__qualname__", None) or repr(option)
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", text)  # the same in every process
    return f"{number}: {text if len(text) <= 60 else text[:57] + '...'}"
