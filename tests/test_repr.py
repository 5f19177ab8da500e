"""What users give reads as they have written it, in a repr and in a notebook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins.arguments import shown_call
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
    ScheduleStep,
    TrialScheduler,
)
from tune_plugins.search import (
    BasicVariantGenerator,
    ConcurrencyLimiter,
    EvolutionarySearch,
    Repeater,
    Searcher,
    SobolSearch,
)


def halve(config: dict[str, Any]) -> dict[str, Any]:
    return config


SCHEDULERS: dict[str, Callable[[], TrialScheduler]] = {
    "FIFOScheduler()": FIFOScheduler,
    "ASHAScheduler()": ASHAScheduler,
    "ASHAScheduler(metric='loss', mode='min', max_t=27, variant='promotion')": lambda: ASHAScheduler(
        "training_iteration", "loss", "min", 27, variant="promotion"
    ),
    "HyperBandScheduler(max_t=9)": lambda: HyperBandScheduler(max_t=9),
    "HyperBandForBOHB(reduction_factor=4)": lambda: HyperBandForBOHB(reduction_factor=4),
    "MedianStoppingRule(grace_period=5)": lambda: MedianStoppingRule(grace_period=5),
    "PercentileStopping(patience=1)": lambda: PercentileStopping(patience=1),
    "MultiObjectiveASHA()": MultiObjectiveASHA,
    "MultiObjectiveASHA(metrics=['a', 'b'], modes=['min', 'min'])": lambda: MultiObjectiveASHA(["a", "b"], "min"),
    "PopulationBasedTraining(hyperparam_mutations={'lr': uniform(0.0, 1.0)}, custom_explore_fn=halve)": lambda: (
        PopulationBasedTraining(hyperparam_mutations={"lr": tune.uniform(0, 1)}, custom_explore_fn=halve)
    ),
    "PB2(hyperparam_bounds={'lr': [0, 1]})": lambda: PB2(hyperparam_bounds={"lr": [0, 1]}),
    "ResourceChangingScheduler()": lambda: ResourceChangingScheduler(FIFOScheduler(), DistributeResources()),
    "ResourceChangingScheduler(base_scheduler=ASHAScheduler(max_t=9), interval=2)": lambda: ResourceChangingScheduler(
        ASHAScheduler(max_t=9), interval=2
    ),
}


@pytest.mark.parametrize("text", SCHEDULERS)
def test_schedulers(text: str) -> None:
    scheduler = SCHEDULERS[text]()
    assert repr(scheduler) == text
    if not scheduler.takes_several:
        scheduler.setup(metric="of_the_run", mode="max", seed=7)
    assert repr(scheduler) == text, "what a run has set is no argument"


def test_a_replay_tells_its_schedule() -> None:
    scheduler = PopulationBasedTrainingReplay(PBTSchedule((ScheduleStep(0, {"lr": 0.1}),)))
    assert repr(scheduler).startswith("PopulationBasedTrainingReplay(policy=PBTSchedule(")


def test_every_scheduler_is_looked_at() -> None:
    from tune_plugins import schedulers

    there = {
        each.__name__
        for name in schedulers.__all__
        if isinstance(each := getattr(schedulers, name), type) and issubclass(each, TrialScheduler)
    }
    looked_at = {text.partition("(")[0] for text in SCHEDULERS} | {"PopulationBasedTrainingReplay", "TrialScheduler"}
    assert there == looked_at


@pytest.mark.parametrize(
    ("searcher", "text"),
    [
        (BasicVariantGenerator(), "BasicVariantGenerator()"),
        (
            BasicVariantGenerator(points_to_evaluate=[{"x": 1}], max_concurrent=2),
            "BasicVariantGenerator(points_to_evaluate=[{'x': 1}], max_concurrent=2)",
        ),
        (SobolSearch(random_state=3), "SobolSearch(random_state=3)"),
        (
            EvolutionarySearch("loss", "min", population=9),
            "EvolutionarySearch(metric='loss', mode='min', population=9)",
        ),
        (
            ConcurrencyLimiter(Repeater("random", repeat=3), max_concurrent=2),
            "ConcurrencyLimiter(searcher=Repeater(searcher=BasicVariantGenerator(), repeat=3), max_concurrent=2)",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_searchers(searcher: Searcher, text: str) -> None:
    assert repr(searcher) == text


@pytest.mark.slow  # not in the fast half, which installs no library for search
def test_those_around_libraries() -> None:
    from tune_plugins.search import HyperOptSearch, OptunaSearch

    assert repr(OptunaSearch()) == "OptunaSearch()"
    assert repr(OptunaSearch(sampler="qmc", seed=3)) == "OptunaSearch(sampler='qmc', seed=3)"
    stored = OptunaSearch(study_name="a", storage="postgresql://me:secret@host/db", random_state=4)
    assert repr(stored) == "OptunaSearch(study_name='a', storage='postgresql://***@host/db', random_state=4)"
    assert repr(HyperOptSearch(random_state_seed=3, gamma=0.5)) == "HyperOptSearch(random_state_seed=3, gamma=0.5)"


def test_configs() -> None:
    assert repr(tune.TuneConfig()) == "TuneConfig()"
    assert repr(tune.RunConfig(name="a")) == "RunConfig(name='a')"
    config = tune.TuneConfig(metric="loss", mode="min", num_samples=4, scheduler=ASHAScheduler(max_t=9))
    assert repr(config) == "TuneConfig(metric='loss', mode='min', scheduler=ASHAScheduler(max_t=9), num_samples=4)"
    run = tune.RunConfig(checkpoint_config=tune.CheckpointConfig(num_to_keep=2), stop={"training_iteration": 9})
    assert repr(run) == ("RunConfig(stop={'training_iteration': 9}, checkpoint_config=CheckpointConfig(num_to_keep=2))")
    assert repr(tune.FailureConfig(fail_fast=True)) == "FailureConfig(fail_fast=True)"


def test_tuner() -> None:
    assert repr(tune.Tuner(halve)) == "Tuner(halve)"
    tuner = tune.Tuner(halve, param_space={"x": tune.uniform(0, 1)}, tune_config=tune.TuneConfig(num_samples=2))
    assert repr(tuner) == "Tuner(halve, param_space={'x': uniform(0.0, 1.0)}, tune_config=TuneConfig(num_samples=2))"


def test_a_class_of_the_users_own() -> None:
    class Own(ASHAScheduler):
        def __init__(self, patience: int, **more: Any) -> None:
            super().__init__(**more)
            self.patience = patience

    assert repr(Own(3, max_t=9)) == "Own(patience=3)"


class Given:
    def __init__(self, value: Any, other: Any = None) -> None:
        self.value = value


class Bad:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_values_are_shown_on_one_short_line() -> None:
    import numpy as np

    assert shown_call(Given(Bad())) == "Given(value=<Bad>)"
    assert shown_call(Given(object())) == "Given(value=<object>)"
    assert shown_call(Given(np.zeros((3, 3)))).count("\n") == 0
    secret = {"env_vars": {"KEY": "secret"}, "pip": ["a"]}
    assert shown_call(Given(secret)) == "Given(value={'env_vars': ['KEY'], 'pip': ['a']})"
    assert len(shown_call(Given("x" * 10_000))) < 250
    assert shown_call(Given([1] * 25)).endswith("1, ...])")
    assert shown_call(Given(({"f": halve}, (1,)))) == "Given(value=({'f': halve}, (1,)))"
