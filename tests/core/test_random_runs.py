"""Whatever workers legally do, and in whatever order: invariants hold, every trial ends, the finish comes once."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from core_driver import CheckedExperiment, Driver, ListSearcher, Workers
from hypothesis import given, settings
from hypothesis import strategies as st

from tune_plugins.core.ends import ErrorInfo
from tune_plugins.core.events import (
    Event,
    Finish,
    RecordStatus,
    SlotsChanged,
    StopRequested,
    Tick,
    TrialErrored,
)
from tune_plugins.core.experiment import Rules
from tune_plugins.core.trial import Milestone, Trial
from tune_plugins.schedulers import Action, ASHAScheduler, Decision, FIFOScheduler, TrialScheduler
from tune_plugins.search import Outcome, Signal
from tune_plugins.stoppers import FunctionStopper


class Whims(TrialScheduler):
    """Decides by dice, which a replay throws again."""

    needs_metric = False

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.dice = Random(seed)
        self.trials: dict[str, Trial] = {}

    def on_trial_add(self, trial: Trial) -> None:
        self.trials[trial.id] = trial

    def next_milestone(self, trial: Trial) -> Milestone | None:
        ahead = self.dice.randint(0, 3)
        return Milestone("training_iteration", trial.iteration + ahead) if ahead else None

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision | str:
        throw = self.dice.random()
        if throw < 0.1:
            return Decision(Action.STOP, f"threw {throw:.2f}")
        if throw < 0.4:
            return Decision(Action.PAUSE, f"threw {throw:.2f}")
        donors = [t for t in self.trials.values() if t.checkpoints]
        if throw < 0.6 and donors:
            return Decision(Action.EXPLOIT, f"threw {throw:.2f}", self.dice.choice(donors).id, {"x": throw})
        return Action.CONTINUE

    def discarded(self) -> list[tuple[Trial, str]]:
        paused = [t for t in self.trials.values() if t.status == "PAUSED"]
        return [(self.dice.choice(paused), "bad luck")] if paused and self.dice.random() < 0.1 else []

    def choose_trial_to_run(self, pending: Mapping[str, Trial], paused: Mapping[str, Trial]) -> Trial | None:
        # Who left without ever saving anything has nothing to go on from, and is no legal choice.
        there = [*pending.values(), *(t for t in paused.values() if t.resident or t.checkpoints)]
        return self.dice.choice([*there, None])


class Sometimes(ListSearcher):
    """Is not ready now and then while trials are alive."""

    def __init__(self, count: int, seed: int) -> None:
        super().__init__([{"x": i} for i in range(count)], reads_results=bool(seed % 2))
        self.dice, self.alive = Random(seed), 0

    def suggest(self, trial_id: str, index: int) -> dict[str, Any] | Signal:
        if self.alive and self.dice.random() < 0.3:
            return Signal.NOT_READY
        suggested = super().suggest(trial_id, index)
        self.alive += suggested is not Signal.COMPLETE
        return suggested

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
    ) -> None:
        self.alive -= 1


def make(setting: dict[str, Any]) -> CheckedExperiment:
    rules = Rules(
        metric="loss",
        mode="min",
        max_failures=setting["max_failures"],
        fail_fast=setting["fail_fast"],
        num_to_keep=setting["num_to_keep"],
        # Where nothing can be saved, too many that wait end the run: a case of its own in test_experiment.
        max_resident_trials=setting["max_resident"] if setting["can_save"] else None,
    )
    seed = setting["seed"]
    scheduler: TrialScheduler = {
        "fifo": FIFOScheduler,
        "asha": lambda: ASHAScheduler(max_t=8, reduction_factor=2, brackets=2),
        "whims": lambda: Whims(seed),
    }[setting["scheduler"]]()
    scheduler.setup(metric="loss", mode="min", seed=seed)
    stopper = FunctionStopper(lambda trial_id, result: result["loss"] < 0.15) if setting["stopper"] else None
    return CheckedExperiment(Sometimes(setting["trials"], seed), scheduler, rules, stopper)


SETTINGS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**16),
        "trials": st.integers(0, 6),
        "slots": st.integers(1, 3),
        "scheduler": st.sampled_from(["fifo", "asha", "whims", "whims"]),
        "max_failures": st.sampled_from([0, 1, -1]),
        "fail_fast": st.booleans(),
        "num_to_keep": st.sampled_from([None, 1, 2]),
        "max_resident": st.sampled_from([None, 0, 1]),
        "stopper": st.booleans(),
        "can_save": st.booleans(),
        "save_every": st.integers(0, 2),
    }
)


ACTS = ["step"] * 12 + ["lose", "preempt", "fail", "fatal", "save", "tick", "slots", "stop", "late"]


@settings(max_examples=150, deadline=None)
@given(SETTINGS, st.data())
def test_any_legal_order_of_events(setting: dict[str, Any], data: st.DataObject) -> None:
    experiment = make(setting)
    workers = Workers(
        lambda config, iteration: {"loss": 1 / (iteration + config["x"] % 3)},
        iterations=8,
        can_save=setting["can_save"],
        save_every=setting["save_every"],
        batch=2,
    )
    driver = Driver(experiment, workers)
    most = setting["slots"]
    slots_shrank = False

    def tell(*events: Event) -> None:
        for event in events:
            driver.tell(event)
            active = sum(t.status.holds_slot for t in experiment.trials.values())
            # A resident trial told to stop runs its last lines beside the others.
            stopping = sum(t.status == "STOPPING" for t in experiment.trials.values())
            assert slots_shrank or active - stopping <= most

    tell(SlotsChanged(0.0, most))
    for _ in range(data.draw(st.integers(0, 60), label="steps")):
        if experiment.finished:
            break
        workers.clock += 0.25
        ready = workers.ready()
        act = data.draw(st.sampled_from(ACTS))
        if act == "step" and ready:
            tell(*workers.step(data.draw(st.sampled_from(ready))))
        elif act in ("lose", "preempt") and workers.seats:
            tell(*workers.lose(data.draw(st.sampled_from(sorted(workers.seats))), act == "preempt"))
        elif act in ("fail", "fatal"):
            if running := [i for i in ready if workers.seats[i].state == "running"]:
                tell(*workers.fail(data.draw(st.sampled_from(running)), act == "fatal"))
        elif act == "save":
            if running := [i for i in ready if workers.seats[i].state == "running"]:
                tell(workers.save(data.draw(st.sampled_from(running))))
        elif act == "tick":
            tell(Tick(workers.clock))
        elif act == "slots":
            now = data.draw(st.integers(0, 3))
            slots_shrank = slots_shrank or now < most
            most = max(most, now)
            tell(SlotsChanged(workers.clock, now))
        elif act == "stop" and data.draw(st.integers(0, 5)) == 0:
            tell(StopRequested(workers.clock, "enough"))
        elif act == "late" and workers.ended:
            trial_id = data.draw(st.sampled_from(workers.ended))
            late = TrialErrored(workers.clock, trial_id, ErrorInfo("OSError", "disk full"), fatal=True)
            tell(late if data.draw(st.booleans()) else workers.save(trial_id))

    # From here on nothing goes wrong any more.
    tell(SlotsChanged(workers.clock, max(1, most)))
    for _ in range(2000):
        if experiment.finished:
            break
        ready = workers.ready()
        tell(*workers.step(ready[0])) if ready else tell(Tick(workers.clock))
    assert experiment.finished, [(t.id, t.status.value, t.history) for t in experiment.trials.values()]
    assert not workers.seats
    assert all(t.status.finished for t in experiment.trials.values())
    assert sum(isinstance(c, Finish) for c in driver.commands) == 1

    ends = [c for c in driver.commands if isinstance(c, RecordStatus) and c.status in ("TERMINATED", "ERROR")]
    terminated = [c.trial_id for c in ends if c.status == "TERMINATED"]
    assert len(terminated) == len(set(terminated))
    assert {c.trial_id for c in ends} == set(experiment.trials)
    assert all(c.reason for c in ends)

    # The same events give the same answers: nothing but events went in.
    again = make(setting)
    assert [again.handle(event) for event in driver.events] == driver.answers
