"""What population based training has done, in the files that Ray Tune writes of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tune_plugins.core.trial import Trial
from tune_plugins.space.encoding import encode
from tune_plugins.space.jsonable import dumps


class Exploit(NamedTuple):
    """A line: a trial goes on from another one's state with another config.

    Attributes:
        trial_id: who.
        source_id: whose training the state is of.
        iteration: of the trial.
        source_iteration: of the state.
        before: the config that has led to that state.
        config: the new one.
    """

    trial_id: str
    source_id: str
    iteration: int
    source_iteration: int
    before: dict[str, Any]
    config: dict[str, Any]


class PolicyLog:
    """A callback that writes the exploits of a run into its folder when it is over.

    ``pbt_global.txt`` has all of them, ``pbt_policy_<trial>.txt`` those that have led to what the trial holds at its
    end, each in order, as JSON lists of what `Exploit` says.
    """

    def __init__(self) -> None:
        self._all: list[Exploit] = []
        self._policies: dict[str, list[Exploit]] = {}
        self._replaced: dict[
            str, tuple[int, list[Exploit]]
        ] = {}  # results until the last exploit, the policy before it
        self._folder: Path | None = None

    def note(self, trial: Trial, donor: Trial, config: dict[str, Any]) -> None:
        """A trial is about to go on from the state that the donor has for it."""
        self.look_back(trial)
        state = donor.donation(trial.iteration)
        assert state is not None
        # The state may be from before an exploit of the donor's own; its training was another one's then.
        policy = self._policies.get(donor.id, [])
        led_there = [exploit for exploit in policy if exploit.source_iteration < state.iteration]
        later = policy[len(led_there) :]
        source, before = (later[0].source_id, later[0].before) if later else (donor.id, donor.config)
        exploit = Exploit(trial.id, source, trial.iteration, state.iteration, before, config)
        self._all.append(exploit)
        self._replaced[trial.id] = trial.results_count, self._policies.get(trial.id, [])
        self._policies[trial.id] = [*led_there, exploit]

    def look_back(self, trial: Trial) -> None:
        """Take back the last exploit of a trial if the core has undone it, since nothing was trained behind it."""
        results, before = self._replaced.pop(trial.id, (0, None))
        if before is not None and (trial.ancestry is None or trial.ancestry.results_before != results):
            self._all.remove(self._policies[trial.id][-1])
            self._policies[trial.id] = before

    def setup(self, run: Any) -> None:
        """See `tune_plugins.Callback`."""
        self._folder = Path(run.path) if run.path else None

    def on_experiment_end(self) -> None:
        """See `tune_plugins.Callback`."""
        if self._folder is None or not self._all:
            return
        _write(self._folder / "pbt_global.txt", self._all)
        for trial_id, policy in self._policies.items():
            if policy:
                _write(self._folder / f"pbt_policy_{trial_id}.txt", policy)


def _write(path: Path, exploits: Iterable[Exploit]) -> None:
    lines = (dumps([*exploit[:4], encode(exploit.before), encode(exploit.config)]) for exploit in exploits)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
