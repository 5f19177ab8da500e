"""What every scheduler must hold to, as tests: derive a class from `SchedulerConformance` and run pytest.

The suite drives a scheduler through the same core as a real run, under a virtual clock. No case is skipped: what
a scheduler cannot do it declares, and the declaration is tested instead.

>>> import pytest
>>> from tune_plugins.schedulers import ASHAScheduler
>>> class TestASHA(SchedulerConformance):
...     scheduler, stops, max_t = ASHAScheduler, True, 27
...
...     @pytest.fixture
...     def make(self):
...         return lambda mode: ASHAScheduler(max_t=27, reduction_factor=3, metric="loss", mode=mode)
...
...     def is_milestone(self, iteration):
...         return iteration in (1, 3, 9)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tune_plugins.core.ends import EndCause
from tune_plugins.core.events import (
    Command,
    Event,
    ExploitTrial,
    PauseTrial,
    RecordDecision,
    RecordStatus,
    RecordTrial,
    ResultsReported,
    StartTrial,
    TrialPaused,
)
from tune_plugins.core.experiment import Rules
from tune_plugins.core.metrics import Mode
from tune_plugins.core.trial import Lease, Milestone, Trial, TrialStatus
from tune_plugins.driver.simulated import SimulatedCluster, SimulatedRuntime
from tune_plugins.record.store import ExperimentStore
from tune_plugins.schedulers import Decision, TrialScheduler
from tune_plugins.search import Searcher, Signal
from tune_plugins.testing.experiment import SearchedExperiment
from tune_plugins.testing.simulated import run_simulated

__all__ = ["Outcome", "SchedulerConformance", "conformance_table", "state_of"]

MakeScheduler = Callable[[str], TrialScheduler]

STEPS = 30
"""So many steps a trial trains if nobody ends it before; schedulers under test have a `max_t` of less."""

_FAULTS = (math.nan, math.inf, -math.inf, None, "text", "missing")


# --------------------------------------------------------------------------- the run that all cases share


class _Training:
    """Learning curves that cross, with noise; the state is the loss reached, so that an exploit carries it over.

    Reports ``loss`` and ``cost``, of which less is better (more in mode "max": the same with the other sign).
    """

    def __init__(self, mode: Mode, steps: int, faults: float) -> None:
        self.sign, self.steps, self.faults = (1.0 if mode == "min" else -1.0), steps, faults

    def start(self, index: int, config: dict[str, Any], seed: int) -> Any:
        return index, 0, 1.0

    def step(self, state: Any, config: dict[str, Any]) -> tuple[Any, Mapping[str, Any], float] | None:
        index, step, level = state
        if step >= self.steps:
            return None
        rng = Random(f"{index}:{step}")
        level = level * (0.80 + 0.18 * config["x"]) + 0.02 * config["y"]
        loss: Any = self.sign * (level + 0.02 * rng.random())
        metrics = {"loss": loss, "cost": self.sign * (config["x"] + 0.1 * rng.random())}
        if rng.random() < self.faults:
            metrics["loss"] = rng.choice(_FAULTS)
        # The first report names the metrics; later ones may leave some out.
        if metrics["loss"] == "missing" and step:
            del metrics["loss"]
        return (index, step + 1, level), metrics, 0.5 + config["y"]


class _Given(Searcher):
    """Suggests so many configurations; waits for the end of earlier ones if told to."""

    reads_results = False

    def __init__(self, count: int, seed: int) -> None:
        rng = Random(f"configs:{seed}")
        self.configs = [{"x": rng.random(), "y": rng.random()} for _ in range(count)]

    def suggest(self, trial_id: str, index: int) -> dict[str, Any] | Signal:
        return dict(self.configs[index]) if index < len(self.configs) else Signal.COMPLETE


@dataclass
class Outcome:
    """What happened in one run: all events, and the commands that answered each."""

    experiment: SearchedExperiment
    scheduler: TrialScheduler
    events: list[Event] = field(default_factory=list)
    answers: list[list[Command]] = field(default_factory=list)

    @property
    def commands(self) -> list[Command]:
        """All commands in order."""
        return [command for answer in self.answers for command in answer]

    @property
    def decisions(self) -> list[RecordDecision]:
        """All decisions in order, with their reasons."""
        return [command for command in self.commands if isinstance(command, RecordDecision)]

    @property
    def verdicts(self) -> list[tuple[str, int, str]]:
        """All decisions in order, without their reasons."""
        return [(d.trial_id, d.iteration, d.action) for d in self.decisions]


class SchedulerConformance:
    """Abstract suite; declare what your scheduler does, and give a fixture `make`.

    `make` is a function of the mode ("min" or "max") that returns a fresh scheduler which compares trials by the
    metric ``loss``, and by ``cost`` too if it takes several. Hyper-parameters are ``x`` and ``y``, from 0 to 1.

    Attributes:
        scheduler: the class under test.
        label: what tables call it; default: the name of the class.
        stops, pauses, exploits: whether it ever does that; both yes and no are tested.
        stops_failed: whether it stops trials whose metric is no finite number; follows from `stops`.
        gives_up: whether paused trials may end without having been resumed.
        trials: number of trials of most runs; fewer for a scheduler that computes much.
        max_t: `training_iteration` that no trial goes beyond; None: trials end by themselves.
    """

    scheduler: ClassVar[type[TrialScheduler]]
    label: ClassVar[str] = ""
    stops: ClassVar[bool] = False
    pauses: ClassVar[bool] = False
    exploits: ClassVar[bool] = False
    stops_failed: ClassVar[bool] = False
    gives_up: ClassVar[bool] = False
    trials: ClassVar[int] = 40
    max_t: ClassVar[int | None] = None

    @pytest.fixture
    def make(self) -> MakeScheduler:
        """Returns a function that makes a fresh scheduler, given the mode."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `make`, see SchedulerConformance")

    def is_milestone(self, iteration: int) -> bool:
        """Whether a trial may have to wait for a verdict at this iteration; the default: at every one."""
        return True

    # ------------------------------------------------------------------------------- one run

    def run(
        self,
        make: MakeScheduler | None,
        mode: Mode = "min",
        *,
        scheduler: TrialScheduler | None = None,
        trials: int | None = None,
        workers: int = 4,
        steps: int = STEPS,
        seed: int = 0,
        faults: float = 0.0,
        crashes: float = 0.0,
        residents: int | None = None,
        delay: float = 0.0,
        checkpoint_s: float = 0.0,
    ) -> Outcome:
        """One run under the virtual clock, whose invariants are checked after each event and at its end."""
        if scheduler is None:
            assert make is not None
            scheduler = make(mode)
        trials = self.trials if trials is None else trials
        outcome = Outcome(_experiment(scheduler, mode, trials, seed, residents), scheduler)
        cluster = SimulatedCluster(workers, delay, checkpoint_s, crash_probability=crashes)
        runtime = SimulatedRuntime(_Training(mode, steps, faults), cluster, seed=seed)

        def note(event: Event, commands: list[Command]) -> None:
            outcome.events.append(event)
            outcome.answers.append(commands)
            outcome.experiment.validate()

        run_simulated(outcome.experiment, runtime, note)
        self.check(outcome, trials)
        return outcome

    def check(self, outcome: Outcome, count: int) -> None:
        """What holds in every run."""
        trials = outcome.experiment.trials
        assert len(trials) == count, f"{len(trials)} of {count} trials were created"
        for trial in trials.values():
            assert trial.status.finished, f"trial {trial.id} is {trial.status}"
            assert trial.reason, f"trial {trial.id} ended without a reason"
            if not self.gives_up:
                assert trial.cause is not EndCause.ABANDONED, f"trial {trial.id}: {trial.reason}"
        ran, evicted = set(), set()
        for event, answer in zip(outcome.events, outcome.answers, strict=True):
            if isinstance(event, ResultsReported):
                iterations = [result["training_iteration"] for result in event.results]
                if self.max_t is not None:
                    assert max(iterations) <= self.max_t, f"trial {event.trial_id} went on to {max(iterations)}"
                if event.waiting:
                    where = f"trial {event.trial_id} waits at {iterations[-1]}"
                    assert self.is_milestone(iterations[-1]), f"{where}, which is not declared"
                ran.add(event.trial_id)
            if isinstance(event, TrialPaused) and not event.resident:
                evicted.add(event.trial_id)
            for command in answer:
                if isinstance(command, PauseTrial):
                    assert self.pauses, f"trial {command.trial_id} was paused, which is not declared"
                if isinstance(command, ExploitTrial):
                    assert self.exploits, f"trial {command.trial_id} exploits, which is not declared"
                if isinstance(command, RecordDecision):
                    self._check_decision(command)
                if isinstance(command, StartTrial) and command.trial_id in evicted:
                    evicted.discard(command.trial_id)
                    assert command.checkpoint is not None, f"trial {command.trial_id} resumed without its checkpoint"
        if not self.gives_up:
            assert ran == set(trials), f"these never ran: {sorted(set(trials) - ran)}"

    def _check_decision(self, decision: RecordDecision) -> None:
        known = {"CONTINUE", "STOP", "PAUSE", "EXPLOIT", "RESTART", "RESUME", "RETRY", "UNDONE"}
        assert decision.action in known, f"{decision.action!r} is none of {sorted(known)}"
        assert self.stops or self.stops_failed or decision.action != "STOP", f"{decision} is not declared"
        assert decision.reason.strip(), f"{decision} has no reason"

    # --------------------------------------------------------------------------------- the cases

    def test_does_what_it_declares(self, make: MakeScheduler) -> None:
        """It stops, pauses and exploits if it says so, and else never; reasons are words with numbers."""
        outcome = self.run(make)
        actions = {decision.action for decision in outcome.decisions}
        kinds = {type(command) for command in outcome.commands}
        assert ("STOP" in actions) == self.stops
        assert (PauseTrial in kinds) == self.pauses
        assert (ExploitTrial in kinds) == self.exploits
        for decision in outcome.decisions:
            if decision.action in ("STOP", "PAUSE", "EXPLOIT"):
                assert any(letter.isdigit() for letter in decision.reason), f"no number in {decision.reason!r}"

    def test_same_seed_same_decisions(self, make: MakeScheduler) -> None:
        """Two runs with the same seed are the same to the last command, whatever happens in them."""
        one, two = (self.run(make, crashes=0.02, faults=0.1, seed=3) for _ in range(2))
        assert one.events == two.events or str(one.events) == str(two.events)  # NaN is not equal to itself
        assert one.commands == two.commands

    def test_never_deadlocks(self, make: MakeScheduler) -> None:
        """Any number of slots, trials, steps and residents: the run ends, and every trial with a reason."""

        @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
        @given(
            trials=st.integers(1, 30),
            workers=st.integers(1, 9),
            steps=st.integers(1, STEPS),
            residents=st.none() | st.integers(0, 3),
            seed=st.integers(0, 99),
            faults=st.sampled_from([0.0, 0.2, 1.0]),
            crashes=st.sampled_from([0.0, 0.05]),
            delay=st.sampled_from([0.0, 2.0]),
            checkpoint_s=st.sampled_from([0.0, 0.7]),
        )
        def ends(**how: Any) -> None:
            self.run(make, **how)

        ends()

    def test_never_exceeds_max_t(self, make: MakeScheduler) -> None:
        """No trial goes beyond `max_t`, and the best one gets there; without one, trials end by themselves."""
        outcome = self.run(make)
        last = max(trial.iteration for trial in outcome.experiment.trials.values())
        assert last == (STEPS if self.max_t is None else self.max_t)

    def test_resumes_an_evicted_trial_from_its_checkpoint(self, make: MakeScheduler) -> None:
        """With no room for paused trials in memory, each goes on where it was paused; no step is trained twice."""
        outcome = self.run(make, residents=0)
        paused_at: dict[str, int] = {}
        resumed = 0
        for event, answer in zip(outcome.events, outcome.answers, strict=True):
            if isinstance(event, TrialPaused):
                assert not event.resident
            for command in answer:
                if isinstance(command, PauseTrial):
                    assert command.evict
                    assert isinstance(event, ResultsReported)
                    paused_at[command.trial_id] = event.results[-1]["training_iteration"]
                if isinstance(command, StartTrial) and command.trial_id in paused_at:
                    resumed += 1
                    assert command.checkpoint is not None
                    assert self.exploits or command.iteration == paused_at.pop(command.trial_id)
        assert bool(resumed) == self.pauses

    def test_survives_crashes(self, make: MakeScheduler) -> None:
        """Workers die at random: some trials fail for good, all others end as ever."""
        outcome = self.run(make, crashes=0.02)
        assert any(trial.attempt for trial in outcome.experiment.trials.values()), "no trial was tried again"
        outcome = self.run(make, crashes=0.2)
        assert any(t.status is TrialStatus.ERROR for t in outcome.experiment.trials.values()), "no trial failed"

    def test_survives_values_that_are_none(self, make: MakeScheduler) -> None:
        """NaN, infinities, None, text and missing metrics, in some reports or in all of them."""
        self.run(make, faults=0.3)
        self.run(make, faults=1.0)

    def test_replay_gives_the_same(self, make: MakeScheduler, tmp_path: Path) -> None:
        """A record written to disk and read again leads to the same commands and the same state."""
        outcome = self.run(make, crashes=0.02, faults=0.1, residents=1, delay=0.5)
        records = [c for c in outcome.commands if isinstance(c, (RecordTrial, RecordStatus, RecordDecision))]
        with ExperimentStore.create(tmp_path / "run", {"metric": "loss"}) as store:
            store.commit(outcome.events, records)
        with ExperimentStore.open(tmp_path / "run") as store:
            events = list(store.events())
        configs: dict[int, dict[str, Any]] = {}
        for record in records:
            if isinstance(record, RecordTrial):
                configs.setdefault(record.index, record.config)
        again = make("min")
        experiment = _experiment(again, "min", self.trials, 0, 1, configs)
        assert experiment.replay(events) == outcome.commands
        assert state_of(again) == state_of(outcome.scheduler)

    def test_mode_max_mirrors_mode_min(self, make: MakeScheduler) -> None:
        """The same run with all metrics of the other sign gives the same decisions."""
        assert self.run(make, "max", faults=0.1).verdicts == self.run(make, "min", faults=0.1).verdicts

    def test_second_run_starts_afresh(self, make: MakeScheduler) -> None:
        """A scheduler that has served one run decides in the next one as if it were new."""
        scheduler = make("min")
        self.run(None, scheduler=scheduler, seed=1)
        again = self.run(None, scheduler=scheduler, seed=2)
        assert again.commands == self.run(make, seed=2).commands

    def test_ids_do_not_matter(self, make: MakeScheduler) -> None:
        """Told the same of trials whose ids sort the other way round, it answers the same."""
        tape = _Tape(make("min"))
        self.run(None, scheduler=tape, faults=0.1)  # type: ignore[arg-type]
        _replay_renamed(tape.calls, make("min"))


def conformance_table(suites: Iterable[type[SchedulerConformance]]) -> str:
    """What each scheduler declares and which cases apply to it, as a Markdown table."""
    columns = list(suites)
    names = [suite.label or suite.scheduler.__name__ for suite in columns]
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]

    def row(title: str, cells: Iterable[str]) -> None:
        lines.append(f"| {title} | {' | '.join(cells)} |")

    for name in ("stops", "pauses", "exploits"):
        row(name, ("yes" if getattr(suite, name) else "never" for suite in columns))
    row("stops where the metric is no number", ("yes" if s.stops or s.stops_failed else "never" for s in columns))
    row("ends at max_t", ("yes" if suite.max_t is not None else "has none" for suite in columns))
    row("a trial waits", (_waits(suite) for suite in columns))
    for name, case in vars(SchedulerConformance).items():
        if name.startswith("test_"):
            title = name.removeprefix("test_").replace("_", " ")
            row(f"*{title}*", (_tested(case.__name__, suite) for suite in columns))
    return "\n".join(lines)


def _waits(suite: type[SchedulerConformance]) -> str:
    at = [str(i) for i in range(1, STEPS + 1) if suite().is_milestone(i)]
    if len(at) > 8:
        return "at every report" if at[0] == "1" else f"at every report from {at[0]}"
    return f"at {', '.join(at)}" if at else "never"


def _tested(case: str, suite: type[SchedulerConformance]) -> str:
    """What of a case a scheduler has to show; where it does not do the thing, that it never does is tested."""
    if case == "test_never_exceeds_max_t" and suite.max_t is None:
        return "tested: trials end by themselves"
    if case == "test_resumes_an_evicted_trial_from_its_checkpoint" and not suite.pauses:
        return "tested: never pauses"
    return "tested"


def _experiment(
    scheduler: TrialScheduler,
    mode: Mode,
    trials: int,
    seed: int,
    residents: int | None,
    suggestions: Mapping[int, dict[str, Any]] | None = None,
) -> SearchedExperiment:
    searcher = _Given(trials, seed)
    rules = Rules("loss", mode, seed=seed, trial_limit=trials, max_failures=2, max_resident_trials=residents)
    scheduler.setup(metric="loss", mode=mode, seed=seed)
    return SearchedExperiment(searcher, scheduler, rules, suggestions=suggestions or {})


# -------------------------------------------------------------------------------- state of an object


def state_of(value: Any) -> Any:
    """An object with everything in it as nested tuples, so that two of them can be compared.

    Trials are named by their id; NaN is equal to itself.
    """
    return _state(value, ())


def _state(value: Any, above: tuple[int, ...]) -> Any:
    if value is None or (isinstance(value, (bool, int, str, bytes)) and not isinstance(value, Enum)):
        return value
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value
    if isinstance(value, Enum):
        return str(value)
    if isinstance(value, Trial):
        return "trial", value.id
    if isinstance(value, Random):
        return value.getstate()
    if id(value) in above:
        return "itself"
    above = (*above, id(value))
    if isinstance(value, Mapping):
        return tuple((_state(k, above), _state(v, above)) for k, v in value.items())
    if isinstance(value, (set, frozenset)):
        return tuple(sorted((_state(v, above) for v in value), key=repr))
    if callable(getattr(value, "tolist", None)):
        return _state(value.tolist(), above)
    if isinstance(value, Iterable):
        return tuple(_state(v, above) for v in value)
    if isinstance(value, type) or callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    names = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    inside = {name: getattr(value, name) for name in names if hasattr(value, name)} | getattr(value, "__dict__", {})
    return type(value).__qualname__, _state(inside, above)


# ---------------------------------------------------------------------- the same calls with other ids


class _Tape:
    """Stands in for a scheduler and writes down all calls with what was answered."""

    def __init__(self, scheduler: TrialScheduler) -> None:
        self._scheduler = scheduler
        self.calls: list[tuple[str, list[Any], dict[str, Any], Any]] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._scheduler, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            told = [_frozen(argument) for argument in arguments]
            answer = found(*arguments, **named)
            if not isinstance(answer, (str, Mapping, Sequence)) and isinstance(answer, Iterable):
                answer = list(answer)
            self.calls.append((name, told, dict(named), _frozen(answer)))
            return answer

        return call


def _frozen(value: Any) -> Any:
    """A copy in which trials are as they are now."""
    if isinstance(value, Trial):
        return dataclasses.replace(value, checkpoints=list(value.checkpoints), history=[], config=dict(value.config))
    if isinstance(value, (Decision, Lease, Milestone)):
        return value
    if isinstance(value, Mapping):
        return {key: _frozen(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_frozen(inner) for inner in value)
    return value


def _replay_renamed(calls: Sequence[tuple[str, list[Any], dict[str, Any], Any]], scheduler: TrialScheduler) -> None:
    """Make the same calls of another scheduler with ids that sort the other way round, and compare the answers."""
    ids: dict[str, str] = {}
    trials: dict[str, Trial] = {}

    def renamed(value: Any) -> Any:
        if isinstance(value, str):
            return ids.get(value, value)
        if isinstance(value, Trial):
            name = ids.setdefault(value.id, f"z{99_999 - value.index}")
            trial = trials.setdefault(name, dataclasses.replace(value, id=name))
            for attribute in dataclasses.fields(Trial):
                if attribute.name != "id":
                    setattr(trial, attribute.name, renamed(getattr(value, attribute.name)))
            return trial
        if isinstance(value, Decision):
            return dataclasses.replace(value, source_id=renamed(value.source_id))
        if isinstance(value, Mapping):
            return {renamed(key): renamed(inner) for key, inner in value.items()}
        if type(value) in (list, tuple):
            return type(value)(renamed(inner) for inner in value)
        return value

    for name, arguments, named, answer in calls:
        told = [renamed(argument) for argument in arguments]
        said = getattr(scheduler, name)(*told, **named)
        if not isinstance(said, (str, Mapping, Sequence)) and isinstance(said, Iterable):
            said = list(said)
        assert _plain(said) == _plain(renamed(answer)), f"{name}{tuple(told)} with other ids"


def _plain(answer: Any) -> Any:
    """An answer without the words, which may name trials."""
    if isinstance(answer, Trial):
        return answer.id
    if isinstance(answer, Decision):
        return answer.action, answer.source_id, answer.config
    if isinstance(answer, list):
        return [_plain(inner) for inner in answer]
    if type(answer) is tuple:
        return tuple(_plain(inner) for inner in answer if not isinstance(inner, str))
    return bool(answer) if type(answer) is str else answer
