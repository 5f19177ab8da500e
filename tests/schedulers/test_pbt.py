"""Population based training under the virtual clock."""

from __future__ import annotations

import json
import math
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from mistakes import mistakes_of
from pbt_runs import Run, Walk, run

import tune_plugins as tune
from tune_plugins.core.events import (
    ExploitTrial,
    PauseTrial,
    RecordExploit,
    ResultsReported,
    StartTrial,
    TrialFinished,
    TrialPaused,
)
from tune_plugins.core.leases import StopRule
from tune_plugins.core.trial import Ancestry, CheckpointRecord, Trial, TrialStatus
from tune_plugins.errors import ArgumentError, TuneError
from tune_plugins.schedulers import PBTSchedule, PopulationBasedTraining, PopulationBasedTrainingReplay
from tune_plugins.schedulers.pbt_replay import ScheduleStep

RATES = [{"rate": rate} for rate in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)]


def pbt(**arguments: Any) -> PopulationBasedTraining:
    chosen: dict[str, Any] = {
        "time_attr": "training_iteration",
        "perturbation_interval": 5,
        "hyperparam_mutations": {"rate": tune.uniform(0.0, 1.0)},
        **arguments,
    }
    return PopulationBasedTraining(**chosen)


def told(found: Run) -> list[tuple[Any, ...]]:
    return [(d.trial_id, d.iteration, d.action, d.reason) for d in found.decisions]


# ------------------------------------------------------------------------------ figure 2 of the paper


class Figure2:
    """Q = 1.2 - t0^2 - t1^2, of which a worker sees the gradient of 1.2 - h0 t0^2 - h1 t1^2 only."""

    def start(self, index: int, config: dict[str, Any], seed: int) -> tuple[float, float]:
        return 0.9, 0.9

    def step(self, state: tuple[float, float], config: dict[str, Any]) -> Any:
        h = config["h"]
        t0, t1 = (t - 0.02 * 2 * h[name] * t for t, name in zip(state, ("h0", "h1"), strict=True))
        return (t0, t1), {"q": 1.2 - t0**2 - t1**2}, 1.0


def figure2(seed: int, scheduler: Any) -> float:
    results = tune.simulate(
        Figure2(),
        param_space={"h": tune.grid_search([{"h0": 0.0, "h1": 1.0}, {"h0": 1.0, "h1": 0.0}])},
        tune_config=tune.TuneConfig(metric="q", mode="max", scheduler=scheduler, seed=seed),
        run_config=tune.RunConfig(stop={"training_iteration": 200}),
        cluster=tune.SimulatedCluster(workers=2),
    )
    return float(results.get_best_result().metrics["q"])


@pytest.mark.parametrize("synch", [False, True])
def test_figure_2_of_the_paper(synch: bool) -> None:
    assert figure2(0, None) == pytest.approx(0.39, abs=0.005), "grid search"
    part = tune.uniform(0.0, 1.0)
    reached = [
        figure2(seed, pbt(perturbation_interval=4, hyperparam_mutations={"h": {"h0": part, "h1": part}}, synch=synch))
        for seed in range(50)
    ]
    assert statistics.median(reached) == pytest.approx(1.2, abs=0.01)


# --------------------------------------------------------------------------------------- decisions


def test_the_worst_quarter_copies_one_of_the_best_quarter() -> None:
    found = run(pbt(synch=True), RATES, Walk(9), workers=8)
    assert [d.trial_id for d in found.exploits] == ["00000", "00001"]
    exploits = found.commands(ExploitTrial)
    assert all(c.checkpoint.trial_id in ("00006", "00007") and c.checkpoint.iteration == 5 for c in exploits)
    first = found.exploits[0].reason
    assert (
        first.startswith("exploits trial 0000")
        and "of 8) from iteration 5: rank 8 of 8 with 0.5; rate 0.1 -> " in first
    )
    goes_on = next(d for d in found.decisions if d.trial_id == "00004" and d.action == "CONTINUE")
    assert goes_on.reason == "goes on: rank 4 of 8 with 2.5"


def test_the_copy_goes_on_from_the_donors_state_under_its_own_config() -> None:
    found = run(pbt(synch=True), RATES, Walk(9), workers=8)
    for exploit in found.commands(ExploitTrial):
        donor = RATES[int(exploit.checkpoint.trial_id)]["rate"]
        result = next(
            e.results[0]
            for e, _ in found.log
            if isinstance(e, ResultsReported)
            and e.trial_id == exploit.trial_id
            and e.results[0]["training_iteration"] == 6
        )
        assert result["score"] == pytest.approx(5 * donor + exploit.config["rate"])
        assert result["rate"] == exploit.config["rate"] != donor


@pytest.mark.parametrize("rates", [[math.nan, 0.5, 0.6, 0.7], [0.1, math.inf, 0.6, 0.7]])
def test_a_failed_metric_ranks_last_and_is_never_copied(rates: list[float]) -> None:
    bad = f"{next(i for i, r in enumerate(rates) if not math.isfinite(r)):05d}"
    found = run(pbt(synch=True), [{"rate": r} for r in rates], Walk(9), workers=4)
    assert [d.trial_id for d in found.exploits] == [bad]
    assert "rank 4 of 4 with nan" in found.exploits[0].reason


def test_all_failed_goes_on() -> None:
    found = run(pbt(), [{"rate": math.nan}] * 4, Walk(9), workers=4)
    assert not found.exploits
    assert any(d.reason == "goes on: rank 2 of 2 with nan, but no trial has a finite score" for d in found.decisions)


class Forgetful(Walk):
    """Trial 0 leaves the metric out."""

    def step(self, state: Any, config: dict[str, Any]) -> Any:
        done = super().step(state, config)
        if done is not None and config["rate"] == 0.1:
            del done[1]["score"]  # type: ignore[attr-defined]
        return done


@pytest.mark.parametrize(("require_attrs", "first"), [(True, "EXPLOIT"), (False, "CONTINUE")])
def test_missing_metric(require_attrs: bool, first: str) -> None:
    configs = [*RATES[1:4], RATES[0]]
    found = run(pbt(synch=True, require_attrs=require_attrs), configs, Forgetful(10), workers=4)
    decided = [d for d in found.decisions if d.trial_id == "00003" and d.action != "PAUSE"]
    assert decided[0].action == first
    if not require_attrs:
        assert decided[0].reason == "goes on: it has no score to be ranked by"


def test_burn_in_and_grid_of_milestones() -> None:
    found = run(pbt(burn_in_period=12), RATES, Walk(30), workers=8)
    assert sorted({d.iteration for d in found.decisions}) == [12, 17, 22, 27]


def test_milestones_in_seconds_follow_the_copied_state() -> None:
    found = run(pbt(time_attr="time_total_s", perturbation_interval=10.0), RATES[:4], Walk(60, spread=0.37), workers=4)
    assert found.exploits
    waiting = [e for e, _ in found.log if isinstance(e, ResultsReported) and e.waiting]
    for event in waiting:
        assert event.results[-1]["time_total_s"] >= 10
    # One milestone for each interval a state has lived through: no trial is asked at two reports in a row.
    for trial in found.experiment.trials:
        own = [e.results[-1]["training_iteration"] for e in waiting if e.trial_id == trial]
        assert all(b != a + 1 for a, b in pairwise(own))


@pytest.mark.parametrize("change", [lambda config: {**config, "rate": 0.123}])
def test_custom_explore_fn(change: Any) -> None:
    found = run(pbt(synch=True, hyperparam_mutations=None, custom_explore_fn=change), RATES, Walk(9), workers=8)
    assert [c.config["rate"] for c in found.commands(ExploitTrial)] == [0.123, 0.123]
    with pytest.raises(TuneError, match="custom_explore_fn of PopulationBasedTraining returned None: expected the con"):
        run(pbt(synch=True, custom_explore_fn=lambda config: None), RATES, Walk(9), workers=8)


def test_hyper_parameters_that_the_space_leaves_out_are_drawn() -> None:
    found = run(pbt(), [{}, {}], Walk(4))
    rates = [c.config["rate"] for c in found.commands(StartTrial)]
    assert rates[0] != rates[1] and all(0 <= rate <= 1 for rate in rates)


def test_all_mistakes_at_once() -> None:
    found = mistakes_of(
        PopulationBasedTraining,
        perturbation_interval=0,
        burn_in_period=-1,
        hyperparam_mutations={"lr": 3},
        quantile_fraction=0.7,
        resample_probability=2,
        perturbation_factors=(),
        custom_explore_fn=4,
        mode="best",
    )
    assert len(found) == 8
    assert len(mistakes_of(PopulationBasedTraining)) == 1
    with pytest.raises(ArgumentError, match="metric: expected the name of a metric, since PopulationBasedTraining"):
        tune.simulate(lambda c: [1.0], tune_config=tune.TuneConfig(scheduler=pbt()))


# ------------------------------------------------------------------- turns, waiting, crashes, retention


@pytest.mark.parametrize("synch", [False, True])
@pytest.mark.parametrize("resident", [None, 0, 2])
@pytest.mark.parametrize("workers", [1, 3])
def test_more_trials_than_slots_take_turns(synch: bool, resident: int | None, workers: int) -> None:
    scheduler = pbt(synch=synch)
    found = run(scheduler, RATES, Walk(20), workers=workers, num_to_keep=1, max_resident_trials=resident)
    turns: dict[str, int] = dict.fromkeys(found.experiment.trials, 0)
    ended: set[str] = set()
    for event, _ in found.log:
        if isinstance(event, ResultsReported) and event.waiting:
            turns[event.trial_id] += 1
            live = [t for i, t in turns.items() if i not in ended]
            assert max(live) - min(live) <= 1, turns
        elif isinstance(event, TrialFinished):
            ended.add(event.trial_id)
    assert found.exploits
    pauses = [e.resident for e, _ in found.log if isinstance(e, TrialPaused)]
    evictions = [c.evict for c in found.commands(PauseTrial)]
    assert len(pauses) == len(evictions)
    assert (True in pauses) == (resident != 0) and (False in pauses) == (resident is not None)
    # An exploit of an evicted trial is a start from the donor's checkpoint.
    others = [c for c in found.commands(StartTrial) if c.checkpoint is not None and c.checkpoint.trial_id != c.trial_id]
    assert bool(others) == (resident is not None)
    for command in others:
        assert command.checkpoint is not None and command.iteration == command.checkpoint.iteration
    anew = [d.trial_id for d in found.decisions if d.action == "RESTART" and "waited on disk" in d.reason]
    assert {command.trial_id for command in others} <= set(anew)
    assert bool(anew) == (resident is not None)


def test_a_searcher_without_an_end_fills_the_slots() -> None:
    found = run(pbt(), RATES, Walk(20), workers=3, trial_limit=None)
    assert len(found.experiment.trials) == 8


def test_nobody_waits_with_a_slot_for_each() -> None:
    assert not run(pbt(), RATES, Walk(20, spread=0.1), workers=8).commands(PauseTrial)


def test_synchronous_trials_wait_for_the_last_one() -> None:
    found = run(pbt(synch=True), RATES, Walk(20, spread=0.5), workers=8)
    for event, commands in found.log:
        if isinstance(event, ResultsReported) and event.waiting and commands:
            last = event.trial_id == "00007"
            assert ("the last of 8 to arrive" in commands[0].reason) == last  # type: ignore[attr-defined]
    exploits = found.commands(ExploitTrial)
    assert exploits and all(c.checkpoint.iteration % 5 == 0 for c in exploits)


@pytest.mark.parametrize("synch", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_crashes_cost_no_donor_and_no_deadlock(synch: bool, seed: int) -> None:
    found = run(
        pbt(synch=synch), RATES, Walk(30, spread=0.2), workers=3, seed=seed, crash_probability=0.05, num_to_keep=1,
        max_resident_trials=2,
    )  # fmt: skip
    assert found.exploits
    # One that lags may copy a donor that has come to the end: then it has nothing to train, and stays what it was.
    undone = {decision.trial_id for decision in found.decisions if decision.action == "UNDONE"}
    assert all(trial.iteration == 30 or trial.id in undone for trial in found.experiment.trials.values())
    for trial in found.experiment.trials.values():
        assert trial.last_result is not None and trial.iteration == trial.last_result["training_iteration"]


def test_a_copy_that_crashes_goes_on_from_the_donors_checkpoint() -> None:
    trial = Trial("00000", 0, {})
    trial.checkpoints = [CheckpointRecord("own", 20, None, trial_id="00000")]
    donor = CheckpointRecord("donor", 10, None, trial_id="00001")
    trial.ancestry = Ancestry(donor, (), frozenset(["own"]), {}, 20)
    assert trial.resume_point() == trial.adopted == donor
    trial.ancestry.adopted = None
    assert trial.resume_point() == trial.checkpoints[0]


def test_which_checkpoint_a_donor_gives() -> None:
    donor = Trial("00001", 1, {})
    old, five, ten = (CheckpointRecord(f"c{i}", i, None, trial_id="00001") for i in (4, 5, 10))
    assert donor.donation(5) is None
    donor.checkpoints = [old, five, ten]
    assert donor.donation(5) == five, "that of the same milestone"
    assert donor.donation(7) == ten, "else the newest"
    donor.ancestry = Ancestry(None, (), frozenset({"c4", "c5"}), {}, 0)
    assert donor.donation(5) == ten, "none of another training"
    four_of_another, five_of_another = (CheckpointRecord(f"c{i}", i, None, trial_id="00007") for i in (4, 5))
    donor.ancestry = Ancestry(five_of_another, (), frozenset({"c4", "c5", "c10"}), {}, 0)
    assert donor.donation(10) == five_of_another, "what it stands on itself"
    donor.ancestry.inherited = (four_of_another, five_of_another)
    assert donor.donation(4) == four_of_another, "what its training was before it was its own"
    assert donor.donation(10) == five_of_another


@pytest.mark.parametrize("seed", range(10))
def test_one_that_lags_copies_no_later_state_than_its_own(seed: int) -> None:
    """Though the donor has gone on, and has itself copied others since."""
    found = run(pbt(quantile_fraction=0.5), RATES, Walk(30, spread=0.8), workers=8, seed=seed, crash_probability=0.1)
    told = found.commands(RecordExploit)
    assert told
    assert all(exploit.source_iteration <= exploit.iteration for exploit in told), (
        "or of an earlier one: nothing is skipped"
    )
    assert not [decision for decision in found.decisions if decision.action == "UNDONE"]
    assert all(trial.iteration == 30 for trial in found.experiment.trials.values())


@pytest.mark.parametrize("synch", [False, True])
def test_same_seed_same_decisions_and_replay(synch: bool) -> None:
    first, again = (
        run(pbt(synch=synch), RATES, Walk(30, spread=0.3), workers=3, seed=7, crash_probability=0.02) for _ in range(2)
    )
    assert told(first) == told(again)
    scheduler = pbt(synch=synch)
    scheduler.setup(metric="score", mode="max", seed=7)
    replayed = type(first.experiment)(first.experiment.searcher, scheduler, first.experiment.rules)
    assert replayed.replay([event for event, _ in first.log]) == [c for _, answer in first.log for c in answer]
    other = run(pbt(synch=synch), RATES, Walk(30, spread=0.3), workers=3, seed=8, crash_probability=0.02)
    assert told(other) != told(first)


def test_stop_rules_end_trials_between_milestones() -> None:
    found = run(pbt(), RATES, Walk(100), workers=3, stop=(StopRule("training_iteration", 23.0),))
    assert all(t.iteration == 23 for t in found.experiment.trials.values())


def test_trials_without_checkpoints_go_on_and_are_told_of() -> None:
    scheduler = pbt()
    scheduler.setup(metric="score", mode="max", seed=0)
    trials = [Trial(f"{i:05d}", i, {"rate": 0.5}) for i in range(2)]
    for trial in trials:
        scheduler.on_trial_add(trial)
        trial.status = TrialStatus.RUNNING
    for trial, score in zip(trials, (2.0, 1.0), strict=True):
        trial.iteration, trial.lease = 5, scheduler.next_milestone(trial)
        decision = scheduler.on_trial_result(trial, {"training_iteration": 5, "score": score})
    assert "none of the best has a checkpoint" in decision.reason  # type: ignore[union-attr]
    assert any("hand one to report() at each milestone" in note for note in scheduler.notes())


# ------------------------------------------------------------------------------- schedule and replay


def simulated(scheduler: Any, samples: int = 1) -> Any:
    return tune.simulate(
        Walk(43),  # no milestone: who copies at the very end trains no more
        param_space={"rate": tune.uniform(0.0, 0.2), "batch": 8},
        tune_config=tune.TuneConfig(metric="score", mode="max", scheduler=scheduler, num_samples=samples, seed=3),
        cluster=tune.SimulatedCluster(workers=samples),
    )


@pytest.mark.parametrize("synch", [False, True])
def test_replay_of_a_schedule_ends_where_the_trial_ended(synch: bool, tmp_path: Path) -> None:
    results = simulated(pbt(synch=synch, quantile_fraction=0.5), 6)
    copies = [result for result in results if result.pbt_schedule is not None]
    assert copies and any(len(result.pbt_schedule.steps) > 2 for result in copies)
    for result in copies:
        schedule = result.pbt_schedule
        assert schedule.steps[0].iteration == 0 and schedule.config_at(10**9) == result.config
        schedule.save(tmp_path / "schedule.json")
        for policy in (schedule, tmp_path / "schedule.json"):
            replayed = simulated(PopulationBasedTrainingReplay(policy))
            again = replayed[0]
            assert again.metrics["score"] == pytest.approx(result.metrics["score"])
            assert again.config == result.config
            assert "of the schedule: rate " in again.explain()


def test_a_trial_that_copied_nobody_has_no_schedule() -> None:
    results = simulated(None)
    result = results[0]
    assert result.pbt_schedule is None
    with pytest.raises(TuneError, match=r"the trial has no schedule\. Use result\.pbt_schedule of a run with Pop"):
        PopulationBasedTrainingReplay(result.pbt_schedule)


def test_policy_files_of_ray_tune(tmp_path: Path) -> None:
    lines: list[Any] = [
        ["0", "9", 10, 10, {"rate": 9}, {"rate": 8}],  # overwritten by what follows
        ["2", "1", 20, 20, {"rate": 1}, {"rate": 2}],
        ["0", "2", 40, 30, {"rate": 2}, {"rate": 3}],
    ]
    file = tmp_path / "pbt_policy_0.txt"
    file.write_text("\n".join(map(json.dumps, lines)))
    schedule = PBTSchedule.load(file)
    assert [(s.iteration, s.config) for s in schedule.steps] == [(0, {"rate": 1}), (20, {"rate": 2}), (30, {"rate": 3})]


@pytest.mark.parametrize("text", ["", "3", '{"pbt_schedule": []}', "[1, 2]", "not json", '{"other": 1}'])
def test_files_without_a_schedule(tmp_path: Path, text: str) -> None:
    file = tmp_path / "schedule.json"
    file.write_text(text)
    with pytest.raises(ArgumentError, match=r"expected a file with a schedule, got .*: .*Use result\.pbt_schedule"):
        PBTSchedule.load(file)
    with pytest.raises(ValueError, match=r"expected a file with a schedule, got '.*No such file"):
        PopulationBasedTrainingReplay(tmp_path / "missing.json")


def test_a_schedule_in_a_file_keeps_tuples_and_odd_keys(tmp_path: Path) -> None:
    schedule = PBTSchedule((ScheduleStep(0, {"betas": (0.9, 0.99), "sizes": {0: "s"}, "lr": math.inf}),))
    schedule.save(tmp_path / "schedule.json")
    assert PBTSchedule.load(tmp_path / "schedule.json") == schedule


def test_config_at() -> None:
    schedule = PBTSchedule((ScheduleStep(0, {"x": 1}), ScheduleStep(5, {"x": 2})))
    assert [schedule.config_at(i)["x"] for i in (0, 4, 5, 6)] == [1, 1, 2, 2]
