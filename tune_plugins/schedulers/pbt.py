"""Population based training.

Jaderberg, Dalibard, Osindero, Czarnecki, Donahue, Razavi, Vinyals, Green, Dunning, Simonyan, Fernando,
Kavukcuoglu: *Population Based Training of Neural Networks*, 2017, https://arxiv.org/abs/1711.09846: algorithm 1
with truncation selection (section 4.1.1) and perturb or resample as exploration (`tune_plugins.schedulers.explore`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tune_plugins.arguments import Mistakes, is_finite
from tune_plugins.core.metrics import Mode, lookup
from tune_plugins.core.scheduler import Action, Decision, TrialScheduler
from tune_plugins.core.trial import Lease, Milestone, Trial, TrialStatus
from tune_plugins.errors import TuneError
from tune_plugins.schedulers import why_not
from tune_plugins.schedulers.explore import Explore, changes, complete, explore, mutation_mistakes
from tune_plugins.schedulers.pbt_log import PolicyLog
from tune_plugins.schedulers.pbt_replay import PopulationBasedTrainingReplay
from tune_plugins.space.nested import copy_of

__all__ = ["Member", "PopulationBasedTraining", "PopulationBasedTrainingReplay"]


@dataclass(eq=False)
class Member:
    """A trial of the population.

    Attributes:
        score: at its last milestone, less is better; None before the first.
        turns: milestones it has reached.
        marks: value of the time attribute at each milestone of the training it now holds, by iteration.
    """

    trial: Trial
    score: float | None = None
    turns: int = 0
    marks: dict[int, float] = field(default_factory=dict)

    @property
    def waits(self) -> bool:
        """Whether it could go on and has no slot."""
        return self.trial.status in (TrialStatus.PENDING, TrialStatus.PAUSED)


class PopulationBasedTraining(TrialScheduler):
    """PBT: at each milestone the worst trials copy the state of one of the best and change their hyper-parameters.

    All trials train at once. With more trials than slots they take turns from milestone to milestone.

    Args:
        time_attr: what milestones are counted in: ``time_total_s`` (seconds of training), ``training_iteration``
            or any metric that only grows.
        metric: metric to compare; None: the one of `TuneConfig`.
        mode: "min" or "max"; None: the one of `TuneConfig`.
        perturbation_interval: distance of two milestones, in units of `time_attr`.
        burn_in_period: no exploit before, in units of `time_attr`.
        hyperparam_mutations: what may change: ``{name: domain, list of values or function}``, nested like the
            config. A hyper-parameter that `param_space` leaves out is drawn from here.
        quantile_fraction: the worst so many (0 to 0.5) exploit one of the best so many.
        resample_probability: of a fresh draw in place of a move, for each hyper-parameter.
        perturbation_factors: a move multiplies by one of these.
        custom_explore_fn: takes the changed config and returns the one to use.
        log_config: state the changed hyper-parameters in the reason of each decision, and write them into the folder of
            the experiment at its end, in the form of Ray Tune: ``pbt_global.txt`` and ``pbt_policy_<trial>.txt``.
        require_attrs: a trial whose report at a milestone lacks the metric counts as the worst; False: it is left
            out of the comparison.
        synch: every trial waits until all have reached their milestone; default: nobody waits for anybody.
    """

    needs_population = True
    changes_configs = True

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: Mode | None = None,
        perturbation_interval: float = 60.0,
        burn_in_period: float = 0.0,
        hyperparam_mutations: Mapping[str, Any] | None = None,
        quantile_fraction: float = 0.25,
        resample_probability: float = 0.25,
        perturbation_factors: Sequence[float] = (1.2, 0.8),
        custom_explore_fn: Explore | None = None,
        log_config: bool = True,
        require_attrs: bool = True,
        synch: bool = False,
    ) -> None:
        super().__init__(metric=metric, mode=mode, time_attr=time_attr)
        self.perturbation_interval, self.burn_in_period = perturbation_interval, burn_in_period
        self.hyperparam_mutations = hyperparam_mutations
        self.quantile_fraction = quantile_fraction
        self.resample_probability, self.perturbation_factors = resample_probability, perturbation_factors
        self.custom_explore_fn = custom_explore_fn
        self.log_config, self.require_attrs, self.synch = log_config, require_attrs, synch
        self._reset()

    def _reset(self) -> None:
        self._members: dict[str, Member] = {}
        self._plan: dict[str, Decision] = {}  # synchronous: what the trials that wait go on as
        self._planned = 0  # the round it was made for
        self._exploits = self._without_donor = 0
        self._created = self._turns = 0
        self._ranked: set[str] = set()  # trials that had a score at a milestone
        self._best = math.inf
        self._ends = why_not.Ends()
        self._log = PolicyLog()

    def setup(self, *, metric: str | None, mode: Mode | None, seed: int) -> None:
        """Start with no population."""
        super().setup(metric=metric, mode=mode, seed=seed)
        self._reset()

    def mistakes(self) -> list[str]:
        """Everything that is wrong with the arguments, in words."""
        found = Mistakes(type(self).__name__, super().mistakes() + self._exploration_mistakes())
        found.number(
            "perturbation_interval", self.perturbation_interval, above=0, remedy=f"It counts {self.time_attr}."
        )
        found.number("burn_in_period", self.burn_in_period, least=0)
        found.number(
            "quantile_fraction",
            self.quantile_fraction,
            least=0,
            most=0.5,
            remedy="The worst and the best trials must be different ones.",
        )
        for name in ("synch", "log_config", "require_attrs"):
            found.flag(name, getattr(self, name))
        return found.found

    def _exploration_mistakes(self) -> list[str]:
        found = Mistakes(type(self).__name__)
        mutations, factors = self.hyperparam_mutations, self.perturbation_factors
        if not mutations and self.custom_explore_fn is None:
            found.add(
                f"hyperparam_mutations: expected what may change, got {mutations!r}. "
                'Write hyperparam_mutations={"lr": tune.loguniform(1e-4, 1e-1)}, or give custom_explore_fn.'
            )
        elif mutations and found.check(isinstance(mutations, Mapping), "hyperparam_mutations", "a dict", mutations):
            found.found += mutation_mistakes(mutations, "hyperparam_mutations")
        found.function("custom_explore_fn", self.custom_explore_fn, "of the config", arguments=1, none=True)
        found.number("resample_probability", self.resample_probability, least=0, most=1)
        found.check(
            isinstance(factors, (list, tuple)) and bool(factors) and all(is_finite(f) and f > 0 for f in factors),
            "perturbation_factors",
            "positive numbers",
            factors,
            "(1.2, 0.8) is usual.",
        )
        return found.found

    # ----------------------------------------------------------------------------- population

    def initial_config(self, index: int, config: dict[str, Any]) -> dict[str, Any]:
        """The config with a value drawn for each hyper-parameter that may change and that it lacks."""
        if not self.hyperparam_mutations:
            return config
        full = complete(config, self.hyperparam_mutations, Random(f"{self.seed}:initial:{index}"))
        return config if full == config else full

    def on_trial_add(self, trial: Trial) -> None:
        """A new member."""
        self._members[trial.id] = Member(trial)
        self._created += 1

    def on_search_end(self) -> None:
        """Known for the warnings."""
        self._ends.on_search_end()

    def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None) -> None:
        """One member less."""
        self._ends.on_trial_complete(trial, result, self.time_attr)
        self._remove(trial)

    def on_trial_error(self, trial: Trial) -> None:
        """One member less."""
        self._remove(trial)

    def callbacks(self) -> list[Any]:
        """What writes the policies."""
        return [self._log] if self.log_config else []

    def _remove(self, trial: Trial) -> None:
        self._log.look_back(trial)
        self._members.pop(trial.id, None)
        self._plan.pop(trial.id, None)
        # A donor that is gone is not waited for, and those that should have copied it are ranked anew.
        self._plan = {i: d for i, d in self._plan.items() if d.source_id != trial.id}

    # ------------------------------------------------------------------------------ milestones

    def next_milestone(self, trial: Trial) -> Lease:
        """The next point of the grid that begins at the burn-in and goes on by the interval."""
        member = self._members[trial.id]
        if self.time_attr == "training_iteration":
            now = float(trial.iteration)
        else:  # as far as it had got when the state it holds was saved
            now = max((time for at, time in member.marks.items() if at <= trial.iteration), default=0.0)
        first = max(self.burn_in_period, self.perturbation_interval)
        steps = math.floor((now - first) / self.perturbation_interval + 1e-9) + 1
        value = first if now < first else first + steps * self.perturbation_interval
        return Lease(Milestone(self.time_attr, value), save=True)

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision | str:
        """At a milestone: note the score, and exploit, go on or wait."""
        milestone = trial.lease.milestone
        reached = lookup(result, self.time_attr)
        if milestone is None or not isinstance(reached, (int, float)) or not reached >= milestone.value:
            return Action.CONTINUE
        member = self._members[trial.id]
        at = int(result["training_iteration"])
        member.turns += 1
        if self.time_attr != "training_iteration":
            member.marks = {i: time for i, time in member.marks.items() if i < at} | {at: float(reached)}
        self._note(member, result, float(reached))
        if member.score is not None:
            self._ranked.add(trial.id)
            self._best = min(self._best, member.score)
        self._turns += 1
        self._plan.pop(trial.id, None)
        if self.synch:
            others = [m for m in self._members.values() if m is not member]
            if not others:
                return self._logged(trial, self._verdict(member))
            behind = sum(m.turns < member.turns for m in others)
            if behind:
                return Decision(Action.PAUSE, f"waits at iteration {at} for {behind} of {len(others)} others")
            return Decision(Action.PAUSE, f"the last of {len(others) + 1} to arrive, at iteration {at}")
        waiting = [m for m in self._members.values() if m is not member and m.waits and m.turns <= member.turns]
        if waiting:
            return Decision(Action.PAUSE, f"makes room at iteration {at}: {len(waiting)} others wait for a slot")
        return self._logged(trial, self._verdict(member))

    def _note(self, member: Member, result: dict[str, Any], time: float) -> None:
        """Note what the trial reported at its milestone."""
        assert self.metric is not None
        missing = lookup(result, self.metric) is None
        member.score = None if missing and not self.require_attrs else self.score(result)

    def choose_trial_to_run(self, pending: Mapping[str, Trial], paused: Mapping[str, Trial]) -> Trial | None:
        """The trial that has had the fewest turns, and of those the one that waits longest."""
        candidates = [*pending.values(), *paused.values()]
        if not candidates:
            return None
        least = min(self._members[trial.id].turns for trial in candidates)
        if not self.synch:
            return next(trial for trial in candidates if self._members[trial.id].turns == least)
        if any(member.turns < least for member in self._members.values()):
            return next(iter(pending.values()), None)  # these were to be tried again
        ready = [trial for trial in candidates if self._members[trial.id].turns == least]
        if least > self._planned:
            self._planned = least
            self._make_plan()
        # Those that copy others come first: then every donor still stands where it was ranked.
        return min(ready, key=lambda trial: trial.id not in self._plan)

    def _make_plan(self) -> None:
        """All have arrived: what those will become that exploit is settled now, by the same ranking for all."""
        for member in self._members.values():
            if member.trial.status is TrialStatus.PAUSED:
                decision = self._verdict(member)
                if decision.action is Action.EXPLOIT:
                    self._plan[member.trial.id] = decision

    def on_trial_resume(self, trial: Trial) -> Decision:
        """A trial that has waited for its turn is ranked when it gets it; in synchronous runs it was before."""
        planned = self._plan.pop(trial.id, None)
        return self._logged(trial, planned or self._verdict(self._members[trial.id], only_told=self.synch))

    def _logged(self, trial: Trial, decision: Decision) -> Decision:
        if decision.action is Action.EXPLOIT and decision.source_id is not None and decision.config is not None:
            self._log.note(trial, self._members[decision.source_id].trial, decision.config)
        return decision

    # --------------------------------------------------------------------- exploit and explore

    def _ranking(self) -> list[Member]:
        """Members with a score, best first."""
        scored = [m for m in self._members.values() if m.score is not None]
        return sorted(scored, key=lambda m: (m.score, m.trial.index))

    def _verdict(self, member: Member, *, only_told: bool = False) -> Decision:
        trial = member.trial
        if member.score is None:
            return Decision(Action.CONTINUE, f"goes on: it has no {self.metric} to be ranked by")
        ranking = self._ranking()
        total, rank = len(ranking), ranking.index(member) + 1
        # Truncation selection; the upper and the lower part never overlap.
        count = min(math.ceil(total * self.quantile_fraction), total // 2)
        stands = f"rank {rank} of {total} with {self.shown(member.score)}"
        if rank <= total - count or only_told:
            return Decision(Action.CONTINUE, f"goes on: {stands}")
        best = [m for m in ranking[:count] if m.score is not None and math.isfinite(m.score)]
        donors = [m for m in best if m.trial.donation(trial.iteration) is not None]
        if not donors:
            self._without_donor += bool(best)
            why = "none of the best has a checkpoint" if best else f"no trial has a finite {self.metric}"
            return Decision(Action.CONTINUE, f"goes on: {stands}, but {why}")
        rng = Random(f"{self.seed}:exploit:{trial.index}:{member.turns}:{trial.iteration}")
        donor = rng.choice(donors)
        donation = donor.trial.donation(trial.iteration)
        assert donation is not None and donor.score is not None
        state = f"iteration {donation.iteration}"
        if donation.trial_id != donor.trial.id:
            state += f", saved by trial {donation.trial_id}"
        config = self._explored(member, donor, rng)
        told = f"; {changes(trial.config, config)}" if self.log_config else ""
        member.marks = dict(donor.marks)
        self._exploits += 1
        return Decision(
            Action.EXPLOIT,
            f"exploits trial {donor.trial.id} ({self.shown(donor.score)}, rank {ranking.index(donor) + 1} of {total}) "
            f"from {state}: {stands}{told}",
            source_id=donor.trial.id,
            config=config,
        )

    def _explored(self, member: Member, donor: Member, rng: Random) -> dict[str, Any]:
        """The config of `member` after it has copied `donor`."""
        config = self._changed(member, donor, rng)
        if self.custom_explore_fn is None:
            return config
        custom: Any = self.custom_explore_fn(copy_of(config))
        if not isinstance(custom, dict):
            raise TuneError(
                f"custom_explore_fn of {type(self).__name__} returned {custom!r}: expected the config, a dict. "
                "Add `return config`."
            )
        return custom

    def _changed(self, member: Member, donor: Member, rng: Random) -> dict[str, Any]:
        """A config near that of `donor`."""
        return explore(
            donor.trial.config,
            self.hyperparam_mutations or {},
            resample_probability=self.resample_probability,
            factors=self.perturbation_factors,
            rng=rng,
        )

    def notes(self) -> list[str]:
        """How many exploits there were, and whether any had to be left out."""
        lines = [f"{self._exploits} exploits in a population of {len(self._members)}"]
        if self._without_donor:
            lines.append(
                f"{self._without_donor} exploits left out, since no good trial has a checkpoint: "
                "hand one to report() at each milestone"
            )
        return lines

    def warnings(self) -> list[str]:
        """Whether there was anybody to copy, and any milestone at which to do so."""
        if not self._turns:
            first = max(self.burn_in_period, self.perturbation_interval)
            if self._ends.longest is None or self._ends.cut_off:
                return []
            remedy = "Lower perturbation_interval, or burn_in_period, below what a trial trains, or train longer."
            return [why_not.never_reached("the first perturbation", self.time_attr, first, self._ends.longest, remedy)]
        if self._created == 1:
            return ["The population is a single trial, which has nobody to copy. Set num_samples to 4 or more."]
        if not self._ranked:
            return [why_not.never_measured(self.metric, self.time_attr, self.perturbation_interval)]
        if self._best == math.inf:
            return [why_not.never_finite(self.metric, len(self._ranked))]
        if self._without_donor and not self._exploits:
            return [
                f"No trial could copy another one, {self._without_donor} times, since none of the best had a "
                "checkpoint. Hand one to report() at each perturbation, or use an adapter that saves them."
            ]
        return []
