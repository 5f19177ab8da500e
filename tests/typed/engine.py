"""A user's script, for type checkers only: they report the lines that are marked `wrong`, and no others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypedDict, assert_type

import tune_plugins as tune
from tune_plugins.schedulers import ASHASchedular  # wrong
from tune_plugins.schedulers import ASHAScheduler, MedianStoppingRule, MultiObjectiveASHA, PopulationBasedTraining
from tune_plugins.space import Float, Integer
from tune_plugins.stoppers import MaximumIterationStopper, TrialPlateauStopper

# ------------------------------------------------------------------------------- names

tune.Tunerr(3)  # wrong
tune.ASHAScheduler()  # wrong
tune.schedulers.ASHASchedular()  # wrong
tune.search.OptunaSaerch()  # wrong
tune.stoppers.TrialPlateau()  # wrong
tune.callbacks.Calback()  # wrong
tune.testing.RecordingSesion()  # wrong
tune.integrations.xgbost  # wrong
tune.space.Flaot  # wrong
from tune_plugins import Tunerr  # wrong

assert_type(tune.schedulers.ASHAScheduler(), ASHAScheduler)
assert_type(tune.__version__, str)
assert_type(tune.stoppers.TimeoutStopper(60.0), tune.stoppers.TimeoutStopper)
tune.search.BasicVariantGenerator()
tune.callbacks.Callback()
tune.testing.RecordingSession()

# ------------------------------------------------------------------------------- spaces

assert_type(tune.uniform(0, 1), Float)
assert_type(tune.randint(1, 10), Integer)
space = {
    "model": {"layers": [tune.choice([16, 32]), tune.sample_from(lambda config: 2 ** config["depth"])]},
    "lr": tune.loguniform(1e-4, 1e-1),
    "depth": tune.grid_search([2, 3]),
    "optimizer": tune.choice([{"name": "sgd", "momentum": tune.uniform(0, 1)}, {"name": "adam"}]),
    "epochs": 3,
}
tune.uniform("0", 1)  # wrong
tune.uniform(0)  # wrong
tune.randint(0.5, 1)  # wrong
tune.choice(3)  # wrong
tune.quniform(0, 1, step=0.1)  # wrong

# ------------------------------------------------------------------------------- training functions


def train(config: dict[str, Any]) -> None:
    checkpoint = tune.get_checkpoint()
    assert_type(checkpoint, tune.Checkpoint | None)
    context = tune.get_context()
    assert_type(context.get_trial_id(), str)
    for step in range(10):
        tune.report({"loss": config["lr"] * step})
        tune.report(loss=1.0, accuracy=0.5)
        tune.report({"loss": 1.0}, checkpoint=tune.Checkpoint("folder"))
    tune.report(3)  # wrong
    tune.report({"loss": 1.0}, {"accuracy": 0.5})  # wrong


def returning(config: dict[str, float]) -> dict[str, float]:
    return {"loss": config["lr"]}


def with_data(config: dict[str, Any], data: list[float], *, factor: float = 1.0) -> None: ...


class Config(TypedDict):
    lr: float


def of_typed_dict(config: Config) -> None:
    tune.report(loss=config["lr"])


def of_nothing() -> None: ...


class Model:
    def fit(self, config: dict[str, Any]) -> dict[str, float]:
        return {"loss": 1.0}


tune.Tuner(train)
tune.Tuner(returning, param_space=space)
tune.Tuner(of_typed_dict, param_space=space)
tune.Tuner(Model().fit, param_space=space)
tune.Tuner(lambda config: {"loss": config["lr"]}, param_space={"lr": tune.uniform(0, 1)})
tune.Tuner(tune.with_parameters(with_data, data=[1.0], factor=2.0), param_space=space)
tune.Tuner(tune.with_resources(train, {"cpu": 2, "gpu": 0.5}))
tune.Tuner(tune.with_resources(tune.with_parameters(with_data, data=[1.0]), lambda config: {"cpu": config["n"]}))
tune.Tuner(tune.with_resources(train, tune.PlacementGroupFactory([{"CPU": 1}, {"CPU": 2}], strategy="PACK")))
tune.Tuner(of_nothing)  # wrong
tune.Tuner(train({}))  # wrong
tune.Tuner(3)  # wrong
tune.Tuner(train, space)  # wrong
tune.Tuner(train, config=space)  # wrong
tune.Tuner(train, param_space=[1, 2])  # wrong
tune.with_resources(train, {"cpu": "two"})  # wrong
tune.with_resources(train, 2)  # wrong
tune.with_resources(train)  # wrong
tune.PlacementGroupFactory([{"CPU": 1}], strategy="pack")  # wrong
tune.with_parameters(of_nothing, data=[1.0])  # wrong

# ------------------------------------------------------------------------------- configs

tune.TuneConfig(metric="loss", mode="min", num_samples=10, time_budget_s=60, max_concurrent_trials=2, seed=1)
tune.TuneConfig(metric="loss", mode="minimum")  # wrong
tune.TuneConfig(metric="loss", mode=min)  # wrong
tune.TuneConfig(metric=[3], mode="min")  # wrong
tune.TuneConfig(num_samples="10")  # wrong
tune.TuneConfig(scheduler=3)  # wrong
tune.TuneConfig(scheduler=ASHAScheduler)  # wrong
tune.TuneConfig(search_alg=ASHAScheduler())  # wrong
tune.TuneConfig(sheduler=ASHAScheduler())  # wrong
tune.TuneConfig(trial_name_creator=lambda trial: f"{trial.id}_{trial.config['lr']}")
tune.TuneConfig(trial_name_creator=lambda trial: trial.index)  # wrong

tune.RunConfig(name="first", storage_path=Path("results"), verbose=0, runtime="inline", log_to_file=True)
tune.RunConfig(stop={"training_iteration": 10, "loss": 0.1})
tune.RunConfig(stop=lambda trial_id, result: bool(result["loss"] < 0.1))
tune.RunConfig(stop=MaximumIterationStopper(10))
tune.RunConfig(stop=[{"training_iteration": 10}, TrialPlateauStopper("loss"), lambda trial_id, result: False])
tune.RunConfig(stop={"training_iteration": "10"})  # wrong
tune.RunConfig(stop=10)  # wrong
tune.RunConfig(stop=lambda result: False)  # wrong
tune.RunConfig(stop=[10])  # wrong
tune.RunConfig(runtime="local")  # wrong
tune.RunConfig(log_to_file=("out",))  # wrong
tune.RunConfig(callbacks=tune.callbacks.Callback())  # wrong
tune.RunConfig(progress_reporter="plain")  # wrong
tune.RunConfig(storage_path=3)  # wrong
tune.RunConfig(checkpoint_config={"num_to_keep": 2})  # wrong
tune.CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="loss", checkpoint_score_order="min")
tune.CheckpointConfig(checkpoint_score_order="ascending")  # wrong
tune.FailureConfig(max_failures=3, fail_fast="raise")
tune.FailureConfig(fail_fast="now")  # wrong

# ------------------------------------------------------------------------------- schedulers and stoppers that are there

ASHAScheduler(max_t=100, grace_period=5, reduction_factor=3, variant="promotion", mode="max", metric="accuracy")
ASHAScheduler(variant="promoting")  # wrong
ASHAScheduler(mode="maximize")  # wrong
ASHAScheduler(max_t="100")  # wrong
ASHAScheduler(max_epochs=100)  # wrong
MedianStoppingRule(hard_stop=False)
MultiObjectiveASHA(["loss", "latency"], ["min", "min"])
MultiObjectiveASHA(["loss", "latency"], "min")
MultiObjectiveASHA(["loss", "latency"], ["min", "less"])  # wrong
PopulationBasedTraining(hyperparam_mutations={"lr": tune.uniform(0, 1), "batch": [16, 32], "seed": lambda: 3})
PopulationBasedTraining(hyperparam_mutations=["lr"])  # wrong
TrialPlateauStopper("loss", mode="min", metric_threshold=0.1)
TrialPlateauStopper("loss", mode="down")  # wrong

# ------------------------------------------------------------------------------- results

results = tune.Tuner(train).fit()
assert_type(results, tune.ResultGrid)
for result in results:
    assert_type(result, tune.Result)
    assert_type(result.config, dict[str, Any])
    assert_type(result.error, tune.TrialError | None)
    assert_type(result.checkpoint, tune.Checkpoint | None)
    result.metrics["loss"] + 1
    result.metric  # wrong
assert_type(results[0], tune.Result)
assert_type(results.get_best_result("loss", "min").config, dict[str, Any])
results.get_best_result(metric="loss", mode="min", scope="last-5-avg").metrics_dataframe.plot()
results.get_best_result(scope="best")  # wrong
results.get_best_result("loss", "smallest")  # wrong
results.get_best_results()  # wrong
results.get_dataframe(filter_metric="loss", filter_mode="min").groupby("config/lr")
results.get_dataframe(filter_mode="first")  # wrong
len(results) + 1
results[0].get_best_checkpoint("loss", "min")
results[0].get_best_checkpoint("loss", "lowest")  # wrong
results[0].checkpoint.path  # wrong
results[0].load_model().predict([1.0])
results[0].load_model(lambda config: config["width"])
results[0].load_model(4)  # wrong
results[0].get_best_checkpoint().load_model()  # wrong
if (best := results[0].get_best_checkpoint()) is not None:
    best.load_model(dict, config={"width": 4}).keys()

simulated = tune.simulate(lambda config: [config["x"] / step for step in range(1, 10)], param_space={"x": 1})
assert_type(simulated, tune.ResultGrid)
tune.simulate(lambda config: tune.Curve([3.0, 2.0]), cluster=tune.SimulatedCluster(workers=4))
tune.simulate(lambda config: "curve")  # wrong


# ------------------------------------------------------------------------------- values with a type of their own

# A dict of something narrower than what is asked for; dicts are invariant, mappings are not.
resources: dict[str, int] = {"cpu": 2}
thresholds: dict[str, int] = {"training_iteration": 10}
domains: dict[str, Float] = {"lr": tune.uniform(0, 1)}
measured: dict[str, float] = {"loss": 1.0}
rules: list[TrialPlateauStopper] = [TrialPlateauStopper("loss")]
callbacks: list[tune.Callback] = []
tune.with_resources(train, resources)
tune.RunConfig(stop=thresholds, callbacks=callbacks)
tune.RunConfig(stop=rules)
tune.Tuner(train, param_space=domains)
PopulationBasedTraining(hyperparam_mutations=domains)
tune.report(measured)

# ------------------------------------------------------------------------------- a mode that is not written down


def tuned(mode: Literal["min", "max"], objective: Callable[[dict[str, Any]], None]) -> tune.ResultGrid:
    return tune.Tuner(objective, tune_config=tune.TuneConfig(metric="loss", mode=mode)).fit()


def tuned_by_text(mode: str) -> tune.TuneConfig:
    match mode:
        case "min" | "max":
            return tune.TuneConfig(metric="loss", mode=mode)
    return tune.TuneConfig(metric="loss", mode="max" if mode.startswith("max") else "min")


def tuned_by_any_text(mode: str) -> tune.TuneConfig:
    return tune.TuneConfig(metric="loss", mode=mode)  # wrong
