"""Early stopping of candidates: in what their evaluation is cut into parts, and which scheduler compares them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.utils.multiclass import type_of_target

from tune_plugins.arguments import Mistakes
from tune_plugins.core.scheduler import TrialScheduler
from tune_plugins.integrations._sklearn.candidates import Search
from tune_plugins.integrations._sklearn.evaluation import Fidelity
from tune_plugins.integrations._sklearn.race import PairedRace
from tune_plugins.integrations._sklearn.rounds import COUNTERS, Course, Rounds, clone_of, last_step, rounds_of
from tune_plugins.schedulers import ASHAScheduler, HyperBandScheduler, MedianStoppingRule

logger = logging.getLogger(__name__)

SCHEDULERS = ("auto", "asha", "hyperband", "median", "race")
"""Names of schedulers; "race" is for folds only."""

_ETA = 4  # one candidate in so many goes on from a rung
_RUNGS = 2  # at most, below a whole training: with 1/64 of its trees a forest tells little of what it will be
_FEWEST_ROUNDS, _FEWEST_SAMPLES = 4, 20  # of a rung
_SEEN = 64  # configs of a search space, to see how many rounds there are


@dataclass(frozen=True)
class Stopping:
    """How candidates are stopped early.

    Attributes:
        scheduler: None: none is.
        fidelity: in what parts they are evaluated.
        levels: at which they are compared, beside the end.
    """

    scheduler: TrialScheduler | None
    fidelity: Fidelity
    levels: tuple[int, ...] = ()


def stopping(
    given: Any,
    fidelity: str | None,
    max_resources: int | None,
    *,
    estimator: Any,
    search: Search,
    splits: Sequence[tuple[Any, Any]],
    mistakes: Mistakes,
) -> Stopping:
    """Choose how candidates are stopped early, and note what is wrong with what the user has chosen.

    Args:
        given: a scheduler, the name of one, or None.
        fidelity: as `TuneSearchCV` takes it.
        max_resources: as `TuneSearchCV` takes it.
        estimator: that is tuned.
        search: the candidates.
        splits: of the data.
        mistakes: are noted here.
    """
    if given is None or fidelity is None:
        if given is not None:
            logger.warning("fidelity=None: candidates are evaluated as a whole, so that none can be stopped early.")
        return Stopping(None, Fidelity.FOLDS)
    rounds = _rounds(estimator, search, max_resources, max(len(train) for train, _ in splits))
    chosen = _fidelity(fidelity, given, rounds, len(splits), estimator, mistakes)
    if chosen is Fidelity.FOLDS:
        end, first = len(splits), 1
    elif chosen is Fidelity.SAMPLES:
        end = max(len(train) for train, _ in splits)
        first = min(end, max(_FEWEST_SAMPLES, math.ceil(end / _ETA**_RUNGS)))
    else:
        end = max((each.end for each in rounds), default=1)
        first = _first_rung(rounds, end)
    if max_resources is not None and chosen is not Fidelity.ROUNDS and rounds:
        mistakes.add(
            f"max_resources: expected None with fidelity={chosen.value!r}, where a candidate is evaluated in full by "
            f"{end} {chosen.value}, got {max_resources!r}. Leave it out: it is a number of rounds."
        )
    name = given
    if name == "auto":
        name = "race" if chosen is Fidelity.FOLDS and len(splits) > 2 else "asha"
    if name == "race" and chosen is not Fidelity.FOLDS:
        mistakes.add(
            f"scheduler: expected 'asha', 'hyperband' or 'median' with fidelity={chosen.value!r}, got 'race', which "
            "compares candidates fold by fold. Take one of these, or fidelity='folds'."
        )
    scheduler = _named(name, first, end, splits) if isinstance(name, str) else name
    levels = _levels(scheduler, first, end, least=_FEWEST_SAMPLES if chosen is Fidelity.SAMPLES else 1)
    limit = None if isinstance(name, str) else getattr(scheduler, "max_t", None)
    if chosen is not Fidelity.FOLDS and limit is not None and limit < end and scheduler.time_attr != "time_total_s":
        remedy = f"Write {type(scheduler).__name__}(max_t={end}, ...)"
        if chosen is Fidelity.ROUNDS:
            remedy += f", or max_resources={math.floor(limit)} to train no candidate further"
        mistakes.add(
            f"scheduler: expected max_t of at least {end}, which is what a whole training takes in {chosen.value}, "
            f"got {limit:g}: no candidate would be evaluated in full. {remedy}."
        )
    logger.info(
        "fidelity %r: %s are compared at %s of %d, by %s",
        chosen.value,
        _course_of(rounds) if chosen is Fidelity.ROUNDS else "candidates",
        ", ".join(map(str, levels)) or "the end",
        end,
        type(scheduler).__name__,
    )
    return Stopping(scheduler, chosen, levels)


def _fidelity(
    given: str, scheduler: Any, rounds: Sequence[Rounds], n_splits: int, estimator: Any, mistakes: Mistakes
) -> Fidelity:
    if given == "auto":
        if scheduler == "race":
            return Fidelity.FOLDS
        if any(each.end > 1 for each in rounds):
            return Fidelity.ROUNDS
        return Fidelity.FOLDS if n_splits > 2 else Fidelity.SAMPLES
    if given == Fidelity.ROUNDS and not any(each.end > 1 for each in rounds):
        name = type(last_step(estimator)).__name__
        counts = hasattr(last_step(estimator), "partial_fit")
        remedy = "Give max_resources=, the number of passes of partial_fit" if counts else "Take fidelity='folds'"
        mistakes.add(
            f"fidelity: expected an estimator that is trained in rounds (n_estimators, max_iter, partial_fit, ...) "
            f"with 'rounds', got {name}, of which no candidate has more than one. {remedy}, or 'auto'."
        )
    if given == Fidelity.FOLDS and n_splits < 2:
        mistakes.add(
            "fidelity: expected at least two folds with 'folds', since candidates are stopped between them, got "
            f"cv={n_splits} split. Take fidelity='samples'."
        )
    return Fidelity(given) if given in set(Fidelity) else Fidelity.FOLDS


def _rounds(estimator: Any, search: Search, max_resources: int | None, n_samples: int) -> list[Rounds]:
    """The rounds of the candidates that have some; of a search space, of a number of them."""
    if search.known is not None:
        candidates = search.known
    else:
        candidates = [search.parameters_of(search.space.sample(index, 0)) for index in range(_SEEN)]
    found: list[Rounds] = []
    alike: set[tuple[str, ...]] = set()
    for parameters in candidates:
        names = tuple(sorted(parameters))
        if names in alike:
            continue
        if not any(_may_count(name, value) for name, value in parameters.items()):
            alike.add(names)  # the number of rounds is the same for all of these
        try:
            candidate = clone_of(estimator).set_params(**clone(parameters, safe=False))
        except Exception:  # is told of when it is tried
            continue
        if (rounds := rounds_of(candidate, max_resources, n_samples)) is not None:
            found.append(rounds)
    return found


def _may_count(name: str, value: Any) -> bool:
    """Whether a parameter may say how many rounds there are."""
    return name.rpartition("__")[2] in (*COUNTERS, "fit_kwargs") or hasattr(value, "get_params")


def _first_rung(rounds: Sequence[Rounds], end: int) -> int:
    """Where candidates are compared first.

    An upper limit of iterations says little of how many there will be, so that rungs are counted from below.
    """
    if all(each.is_limit and each.course is not Course.GROWS for each in rounds):
        return min(_FEWEST_ROUNDS, end)
    return min(max(_FEWEST_ROUNDS, math.ceil(end / _ETA**_RUNGS)), end)


def _named(name: str, first: int, end: int, splits: Sequence[tuple[Any, Any]]) -> TrialScheduler:
    # Each ends where a candidate ends: how far that is, is known of a search space only from what was seen of it.
    if name == "hyperband":
        return HyperBandScheduler(max_t=max(end, 1), reduction_factor=3, stop_last_trials=False)
    if name == "median":
        return MedianStoppingRule(time_attr="training_iteration", grace_period=first)
    if name == "race":
        train, test = splits[0]
        return PairedRace(test_share=len(test) / max(1, len(train)))
    return ASHAScheduler(max_t=max(end, first), grace_period=first, reduction_factor=_ETA, stop_last_trials=False)


def _levels(scheduler: TrialScheduler, first: int, end: int, least: int) -> tuple[int, ...]:
    """Where candidates report before their end: where the scheduler compares them, else at each doubling."""
    setup = deepcopy(scheduler)
    setup.setup(metric="score", mode="max", seed=0)
    fidelity = setup.fidelity
    if fidelity is not None and fidelity.time_attr == "training_iteration" and fidelity.levels:
        levels = [math.ceil(level) for level in fidelity.levels]
    else:
        levels = [first * 2**number for number in range(64) if first * 2**number < end]
    return tuple(sorted({level for level in levels if least <= level < end}))


def _course_of(rounds: Sequence[Rounds]) -> str:
    courses = {each.course for each in rounds}
    if courses == {Course.GROWS}:
        return "candidates, which go on by warm_start,"
    if courses == {Course.PASSES}:
        return "candidates, which go on by partial_fit,"
    return "candidates"


def order_of_samples(splits: Sequence[tuple[Any, Any]], estimator: Any, y: Any, seed: int) -> list[Any]:
    """The training samples of each split in an order of which each beginning is a fair sample: of all classes, too."""
    rng = np.random.RandomState(seed)
    stratified = y is not None and is_classifier(estimator) and type_of_target(y) in ("binary", "multiclass")
    labels = np.asarray(y) if stratified else None
    orders = []
    for train, _ in splits:
        shuffled = rng.permutation(np.asarray(train))
        if labels is None:
            orders.append(shuffled)
            continue
        place = np.empty(len(shuffled))
        of_samples = labels[shuffled]
        for label in np.unique(of_samples):
            mine = np.flatnonzero(of_samples == label)
            place[mine] = (np.arange(len(mine)) + rng.random_sample()) / len(mine)
        orders.append(shuffled[np.argsort(place, kind="stable")])
    return orders
