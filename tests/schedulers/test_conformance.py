"""Every scheduler of the project through the suite that is shipped to users."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from tune_plugins import schedulers
from tune_plugins.schedulers import (
    PB2,
    ASHAScheduler,
    DistributeResources,
    FIFOScheduler,
    HyperBandForBOHB,
    HyperBandScheduler,
    MedianStoppingRule,
    MultiObjectiveASHA,
    PBTSchedule,
    PercentileStopping,
    PopulationBasedTraining,
    PopulationBasedTrainingReplay,
    ResourceChangingScheduler,
    TrialScheduler,
)
from tune_plugins.schedulers.pbt_replay import ScheduleStep
from tune_plugins.space import uniform
from tune_plugins.testing.schedulers import SchedulerConformance, conformance_table


class TestFIFO(SchedulerConformance):
    scheduler = FIFOScheduler

    @pytest.fixture
    def make(self) -> Any:
        return lambda mode: FIFOScheduler()

    def is_milestone(self, iteration: int) -> bool:
        return False


class TestASHA(SchedulerConformance):
    scheduler = ASHAScheduler
    stops, max_t = True, 27

    @pytest.fixture
    def make(self) -> Any:
        return lambda mode: ASHAScheduler(max_t=27, reduction_factor=3, brackets=2)

    def is_milestone(self, iteration: int) -> bool:
        return iteration in (1, 3, 9)


class TestMedianStopping(SchedulerConformance):
    scheduler = MedianStoppingRule
    stops = True

    @pytest.fixture
    def make(self) -> Any:
        return lambda mode: MedianStoppingRule("training_iteration", grace_period=4)

    def is_milestone(self, iteration: int) -> bool:
        return iteration >= 4


class TestMedianPausing(SchedulerConformance):
    scheduler = MedianStoppingRule
    label = "MedianStoppingRule(hard_stop=False)"
    pauses = True

    @pytest.fixture
    def make(self) -> Any:
        return lambda mode: MedianStoppingRule("time_total_s", grace_period=4.0, min_time_slice=3.0, hard_stop=False)


class TestPercentile(SchedulerConformance):
    scheduler = PercentileStopping
    stops = True

    @pytest.fixture
    def make(self) -> Any:
        return lambda mode: PercentileStopping(25, patience=2, n_warmup_steps=3)

    def is_milestone(self, iteration: int) -> bool:
        return iteration >= 4


class TestASHAPromotion(TestASHA):
    label = "ASHAScheduler(variant='promotion')"
    stops, stops_failed, pauses, gives_up = False, True, True, True

    @pytest.fixture
    def make(self) -> Any:
        return lambda mode: ASHAScheduler(max_t=27, reduction_factor=3, variant="promotion")


class TestMultiObjectiveASHA(TestASHA):
    scheduler = MultiObjectiveASHA

    @pytest.fixture
    def make(self) -> Any:
        return lambda mode: MultiObjectiveASHA(["loss", "cost"], mode, max_t=27, reduction_factor=3)


class TestHyperBand(SchedulerConformance):
    scheduler = HyperBandScheduler
    stops, pauses, max_t = True, True, 27

    @pytest.fixture
    def make(self) -> Any:
        return lambda mode: HyperBandScheduler(max_t=27, reduction_factor=3)

    def is_milestone(self, iteration: int) -> bool:
        return iteration in (1, 3, 9)


class TestHyperBandForBOHB(TestHyperBand):
    scheduler = HyperBandForBOHB

    @pytest.fixture
    def make(self) -> Any:
        return lambda mode: HyperBandForBOHB(max_t=27, reduction_factor=3)


class TestPBT(SchedulerConformance):
    scheduler = PopulationBasedTraining
    pauses, exploits = True, True

    @pytest.fixture
    def make(self) -> Any:
        return lambda mode: PopulationBasedTraining(
            "training_iteration",
            perturbation_interval=5,
            hyperparam_mutations={"x": uniform(0, 1), "y": [0.1, 0.5, 0.9]},
        )

    def is_milestone(self, iteration: int) -> bool:
        return iteration % 5 == 0


class TestPBTSynchronous(TestPBT):
    label = "PopulationBasedTraining(synch=True)"

    @pytest.fixture
    def make(self) -> Any:
        return lambda mode: PopulationBasedTraining(
            "training_iteration", perturbation_interval=5, hyperparam_mutations={"x": uniform(0, 1)}, synch=True
        )


class TestPB2(TestPBT):
    scheduler = PB2
    trials = 12

    @pytest.fixture
    def make(self) -> Any:
        return lambda mode: PB2(
            "training_iteration", perturbation_interval=5, hyperparam_bounds={"x": [0.0, 1.0], "y": [0.0, 1.0]}
        )


class TestPBTReplay(SchedulerConformance):
    scheduler = PopulationBasedTrainingReplay
    exploits = True

    @pytest.fixture
    def make(self) -> Any:
        steps = (ScheduleStep(0, {"x": 0.5}), ScheduleStep(10, {"x": 0.25}), ScheduleStep(20, {"x": 0.125}))
        return lambda mode: PopulationBasedTrainingReplay(PBTSchedule(steps))

    def is_milestone(self, iteration: int) -> bool:
        return iteration in (10, 20)


class TestResourceChanging(TestASHA):
    scheduler = ResourceChangingScheduler
    pauses = True

    @pytest.fixture
    def make(self) -> Any:
        def scheduler(mode: str) -> ResourceChangingScheduler:
            base = ASHAScheduler(max_t=27, reduction_factor=3)
            return ResourceChangingScheduler(base, DistributeResources(total={"CPU": 16.0}), interval=5)

        return scheduler

    def is_milestone(self, iteration: int) -> bool:
        return iteration in (1, 3, 9) or iteration % 5 == 0


SUITES = [value for value in dict(globals()).values() if inspect.isclass(value) and hasattr(value, "scheduler")]


def test_no_scheduler_escapes() -> None:
    exported = {value for value in vars(schedulers).values() if inspect.isclass(value)}
    missing = {s for s in exported if issubclass(s, TrialScheduler)} - {TrialScheduler} - {s.scheduler for s in SUITES}
    assert not missing, f"add a suite to this file for: {sorted(s.__name__ for s in missing)}"


def test_table_names_every_case_and_scheduler(capsys: pytest.CaptureFixture[str]) -> None:
    table = conformance_table(SUITES)
    lines = table.splitlines()
    cases = [name for name in dir(SchedulerConformance) if name.startswith("test_")]
    assert len(lines) == 2 + 6 + len(cases)
    assert all(line.count("|") == len(SUITES) + 2 for line in lines)
    with capsys.disabled():
        print(f"\n{table}")
