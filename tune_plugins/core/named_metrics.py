"""Metrics that the user has named: whether they are reported at all, and what counts where a result lacks one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tune_plugins.arguments import Mistakes, did_you_mean, is_slip
from tune_plugins.core.metrics import lookup
from tune_plugins.core.trial import Trial
from tune_plugins.space.nested import flatten

Results = Sequence[dict[str, Any]]


@dataclass
class NamedMetrics:
    """What is looked for in the results of a run; each name until it has been found once.

    Attributes:
        required: names that the first result must have, with the argument that each stands in.
        awaited: names that a trial which runs to its end must have reported by then, as well.
        compared: names by which trials are compared.
    """

    required: dict[str, str]
    awaited: dict[str, str]
    compared: tuple[str, ...]

    def look(self, trial: Trial, results: Results) -> None:
        """Look for them in new results of a trial.

        Raises:
            ArgumentError: a name is not there that must be, or one that is very much like another is not there.
        """
        if not self.required and not self.awaited:
            return
        mistakes, first = Mistakes("Tuner"), results[0]
        for name, argument in self.required.items():
            if lookup(first, name, _MISSING) is _MISSING:
                mistakes.add(_not_reported(argument, name, trial, first, "The first report must have it."))
        self.required = {}
        for name in [n for n in self.awaited if any(lookup(r, n, _MISSING) is not _MISSING for r in results)]:
            del self.awaited[name]
        for name, argument in self.awaited.items():
            # One that looks like a slip of the pen: others may come later, such as `val_loss` behind `loss`.
            if not trial.results_count and any(is_slip(name, other) for other in flatten(first)):
                mistakes.add(_not_reported(argument, name, trial, first))
        if mistakes.found:
            self.awaited = {}
        mistakes.raise_if_any()

    def look_at_end(self, trial: Trial) -> None:
        """A trial that ran to its end must have reported all of them.

        Raises:
            ArgumentError: it has not; names what it reported.
        """
        awaited, self.awaited = self.awaited, {}
        mistakes = Mistakes("Tuner")
        for name, argument in awaited.items():
            remedy = "This trial ran to its end, and no result has it."
            mistakes.add(_not_reported(argument, name, trial, trial.last_result, remedy))
        mistakes.raise_if_any()

    def as_compared(self, trial: Trial, results: Results) -> Results:
        """New results of a trial with the values last known where a metric is not measured each time."""
        names = self.compared
        if all(result.get(name) is not None for name in names for result in results):
            return results
        known = {name: lookup(trial.last_result, name) for name in names}
        found = []
        for result in results:
            values = {name: lookup(result, name) for name in names}
            added = {name: known[name] for name in names if values[name] is None and known[name] is not None}
            known.update({name: value for name, value in values.items() if value is not None})
            found.append({**result, **added} if added else result)
        return found


_MISSING = object()


def _not_reported(argument: str, name: str, trial: Trial, result: Mapping[str, Any], remedy: str = "") -> str:
    names = sorted(flatten(result))
    hint = did_you_mean(name, names) or (f" {remedy}" if remedy else "")
    return (
        f"{argument}: expected the name of a reported metric, got {name!r}; trial {trial.id} reported: "
        f"{', '.join(names) or 'nothing'}.{hint}"
    )
