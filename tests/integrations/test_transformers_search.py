"""`hyperparameter_search`: the Trainer's own search on this engine, with a tiny model made from a config."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from copy import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers_task as task
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import BestRun

import tune_plugins as tune
from tune_plugins.compat.analysis import ExperimentAnalysis
from tune_plugins.errors import ArgumentError, TuneError
from tune_plugins.integrations import transformers as adapter
from tune_plugins.integrations.transformers import TuneReportCheckpointCallback, hyperparameter_search
from tune_plugins.schedulers import ASHAScheduler, PopulationBasedTraining
from tune_plugins.search.hyperopt import HyperOptSearch

RATES: Mapping[str, Any] = {"learning_rate": tune.grid_search([1e-5, 0.03, 1e-4, 0.01])}
made: list[Any] = []
"""Models that `build` has made."""


def build(trial: Mapping[str, Any] | None = None) -> Any:
    made.append(dict(trial or {}))
    return task.model_of(trial or {})


def trainer_of(tmp_path: Path, *callbacks: Any, **options: Any) -> Trainer:
    """A user's script up to the search."""
    arguments = {
        "output_dir": str(tmp_path / "output"),
        "num_train_epochs": 3,
        "per_device_train_batch_size": 8,
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    trainer = Trainer(
        args=TrainingArguments(**{**arguments, **options}),
        model_init=build,
        train_dataset=task.TRAIN,
        eval_dataset=task.VALID,
        compute_metrics=task.accuracy,
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made.clear()
    yield
    torch.set_num_threads(threads)
    assert "ray.tune" not in sys.modules


@pytest.fixture
def here(tmp_path: Path) -> dict[str, Any]:
    """Arguments of a search in this process."""
    return {"runtime": "inline", "storage_path": tmp_path / "results", "verbose": 0, "seed": 1}


@pytest.fixture
def installed() -> Iterator[None]:
    adapter.install()
    yield
    adapter.uninstall()


def loss(metrics: dict[str, float]) -> float:
    return metrics["eval_loss"]


# --- what is returned


def test_the_least_loss_with_asha(tmp_path: Path, here: dict[str, Any]) -> None:
    trainer = trainer_of(tmp_path)
    scheduler = ASHAScheduler(max_t=3, grace_period=1, reduction_factor=2)
    best = hyperparameter_search(trainer, lambda _: RATES, 1, compute_objective=loss, scheduler=scheduler, **here)
    assert isinstance(best, BestRun) and isinstance(best.run_summary, ExperimentAnalysis)
    results = {one.trial_id: one for one in best.run_summary.grid}
    assert best.objective == min(one.metrics["objective"] for one in results.values())
    assert best.hyperparameters == results[best.run_id].config
    assert len(results) == 4 and {one.metrics["training_iteration"] for one in results.values()} >= {1, 3}
    for one in results.values():
        frame = one.metrics_dataframe
        assert list(frame["objective"]) == list(frame["eval_loss"])
        assert {"eval_accuracy", "epoch", "global_step"} <= set(frame.columns)


def test_the_objective_is_the_sum_of_the_metrics_and_is_maximised(tmp_path: Path, here: dict[str, Any]) -> None:
    best = hyperparameter_search(trainer_of(tmp_path), lambda _: RATES, 1, "maximize", **here)
    results = list(best.run_summary.grid)
    assert best.objective == max(one.metrics["eval_accuracy"] for one in results)
    assert len({one.metrics["eval_accuracy"] for one in results}) > 1


def test_several_objectives(tmp_path: Path, here: dict[str, Any]) -> None:
    found = hyperparameter_search(
        trainer_of(tmp_path),
        lambda _: RATES,
        1,
        ["minimize", "maximize"],
        lambda metrics: [metrics["eval_loss"], metrics["eval_accuracy"]],
        **here,
    )
    results = list(found[0].run_summary.grid)
    best = min(one.metrics["eval_loss"] for one in results), max(one.metrics["eval_accuracy"] for one in results)
    assert best[0] in [run.objective[0] for run in found] and best[1] in [run.objective[1] for run in found]
    assert all(isinstance(run, BestRun) for run in found) and 1 <= len(found) < len(results)


def test_the_last_result_counts_unless_told_otherwise(
    tmp_path: Path, here: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials that overfit (huggingface/transformers#16683): a scope for what is best."""

    def rises(metrics: dict[str, float]) -> float:
        return metrics["eval_loss"] * (1 if metrics["epoch"] == 1 else 1000)

    def best(scope: str) -> BestRun:
        monkeypatch.setenv("RAY_SCOPE", scope)
        space = {"num_train_epochs": tune.grid_search([1, 2]), "learning_rate": 0.03}
        run: BestRun = hyperparameter_search(trainer_of(tmp_path), lambda _: space, 1, "maximize", rises, **here)
        return run

    assert best("last").hyperparameters["num_train_epochs"] == 2
    monkeypatch.setenv("RAY_SCOPE", "first")
    with pytest.raises(ArgumentError, match="RAY_SCOPE: expected 'last', 'all'"):
        best("first")


# --- the script's Trainer


def test_the_trainer_stays_as_it_is(tmp_path: Path, here: dict[str, Any]) -> None:
    trainer = trainer_of(tmp_path)
    trainer.train()
    before, arguments = dict(vars(trainer)), trainer.args.to_dict()
    handler = dict(vars(trainer.callback_handler))
    hyperparameter_search(trainer, lambda _: {"learning_rate": 0.01, "seed": 5}, 1, **here)
    added = {"hp_space", "hp_name", "compute_objective"}
    after = {name: value for name, value in vars(trainer).items() if name not in added}
    assert after.keys() == before.keys() - added
    assert all(after[name] is before[name] for name in after)
    assert trainer.args.to_dict() == arguments and vars(trainer.callback_handler) == handler
    assert trainer.state.global_step == 9 and trainer.hp_search_backend is None


def test_it_is_put_back_where_a_trial_fails(tmp_path: Path, here: dict[str, Any]) -> None:
    trainer = trainer_of(tmp_path)
    model = trainer.model

    def fails(metrics: dict[str, float]) -> float:
        raise KeyError("eval_f1")

    with pytest.raises(TuneError, match=r"1 of 1 trials failed.*eval_f1"):
        hyperparameter_search(trainer, lambda _: {"learning_rate": 0.01}, 1, compute_objective=fails, **here)
    assert trainer.model is model is not None and trainer.accelerator is not None


def test_the_best_hyperparameters_train_the_trainer(tmp_path: Path, here: dict[str, Any]) -> None:
    """The loop that scripts have behind the search (huggingface/notebooks, text_classification)."""
    trainer = trainer_of(tmp_path)
    best = hyperparameter_search(trainer, n_trials=2, direction="maximize", **here)
    assert set(best.hyperparameters) == {"learning_rate", "num_train_epochs", "seed", "per_device_train_batch_size"}
    for name, value in best.hyperparameters.items():
        setattr(trainer.args, name, value)
    trainer.train()
    assert trainer.evaluate()["eval_accuracy"] == best.objective


def test_a_callback_that_holds_the_trainer(tmp_path: Path, here: dict[str, Any]) -> None:
    """It evaluates the training data at the end of an epoch (asked for in huggingface/transformers#13759)."""

    class OnTraining(TrainerCallback):
        def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> Any:
            assert self.trainer.model is model, "the Trainer that trains, and not the script's"
            before = copy(control)
            self.trainer.evaluate(task.TRAIN, metric_key_prefix="train")
            return before

    callback = OnTraining()
    trainer = trainer_of(tmp_path, callback)
    callback.trainer = trainer
    best = hyperparameter_search(trainer, lambda _: {"learning_rate": 0.01}, 1, compute_objective=loss, **here)
    (result,) = best.run_summary.grid
    assert list(result.metrics_dataframe["training_iteration"]) == [1, 2, 3]
    assert result.metrics["objective"] == result.metrics["eval_loss"] != result.metrics["train_loss"]


def test_trials_share_the_data_and_nothing_else(tmp_path: Path, here: dict[str, Any]) -> None:
    seen: list[tuple[Any, ...]] = []

    class Look(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seen.append((self, args, self.trainer, self.trainer.train_dataset, self.trainer.eval_dataset))

    callback = Look()
    trainer = trainer_of(tmp_path, callback)
    callback.trainer = trainer
    hyperparameter_search(trainer, lambda _: RATES, 1, **here)
    own = [(callback, trainer.args, trainer, task.TRAIN, task.VALID), *seen]
    assert [len({id(each[place]) for each in own}) for place in range(5)] == [5, 5, 5, 1, 1]
    assert [each[1].learning_rate for each in seen] == RATES["learning_rate"]["grid_search"]


def test_what_cannot_be_copied_is_left_out(tmp_path: Path, here: dict[str, Any]) -> None:
    """A memory tracker, and a writer to TensorBoard that has written (huggingface/transformers#11249, #12177)."""

    class Writer:
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("cannot pickle '_thread.RLock' object")

        def close(self) -> None:
            pass

    board: Any = TensorBoardCallback(tb_writer=Writer())
    trainer = trainer_of(tmp_path, board, TuneReportCheckpointCallback(), skip_memory_metrics=False, disable_tqdm=False)
    best = hyperparameter_search(trainer, lambda _: {"learning_rate": 0.01}, 1, compute_objective=loss, **here)
    assert list(best.run_summary.grid[0].metrics_dataframe["training_iteration"]) == [1, 2, 3]
    kinds = {type(each) for each in trainer.callback_handler.callbacks}
    assert {TensorBoardCallback, TuneReportCheckpointCallback, ProgressCallback} <= kinds


# --- the trials


def test_sizes_of_the_model(tmp_path: Path, here: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """`model_init` is given the hyper-parameters (ray-project/ray#16340)."""
    space = {"intermediate_size": tune.grid_search([8, 32]), "learning_rate": 0.01}
    best = hyperparameter_search(trainer_of(tmp_path), lambda _: space, 1, compute_objective=loss, **here)
    assert made == [{}, *[{"intermediate_size": size, "learning_rate": 0.01} for size in (8, 32)]]
    for result in best.run_summary.grid:
        model = result.load_model()
        assert model.config.intermediate_size == result.config["intermediate_size"]
    assert not [record for record in caplog.records if "no corresponding field" in record.message]


def test_a_name_on_which_nothing_depends_is_told(
    tmp_path: Path, here: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    trainer = trainer_of(tmp_path)
    trainer.model_init = lambda: task.model_of({})
    hyperparameter_search(trainer, lambda _: {"learnig_rate": tune.choice([0.1]), "seed": 3}, 1, **here)
    assert "nothing depends on 'learnig_rate'" in caplog.text and "'seed'" not in caplog.text


def test_values_have_the_type_of_the_field(tmp_path: Path, here: dict[str, Any]) -> None:
    """Ray's own default draws the seed as a float."""
    seeds = []

    class Look(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seeds.append(args.seed)

    space = {"seed": tune.uniform(1, 40)}
    best = hyperparameter_search(trainer_of(tmp_path, Look()), lambda _: space, 2, **here)
    drawn = [result.config["seed"] for result in best.run_summary.grid]
    assert seeds == list(map(int, drawn)) and type(seeds[0]) is int and type(drawn[0]) is float


@pytest.mark.parametrize(
    "options",
    [
        {"eval_strategy": "no"},
        {"eval_strategy": "epoch", "eval_delay": 100},
        {"eval_strategy": "steps", "eval_steps": 1000, "eval_delay": 1000},
    ],
)
def test_without_evaluations_there_is_one_at_the_end(
    tmp_path: Path, here: dict[str, Any], options: dict[str, Any]
) -> None:
    best = hyperparameter_search(trainer_of(tmp_path, **options), lambda _: RATES, 1, compute_objective=loss, **here)
    for result in best.run_summary.grid:
        assert list(result.metrics_dataframe["epoch"]) == [3.0]
        assert result.checkpoint is not None
    assert best.objective == min(one.metrics["eval_loss"] for one in best.run_summary.grid)


def test_names_of_trials(tmp_path: Path, here: dict[str, Any]) -> None:
    best = hyperparameter_search(
        trainer_of(tmp_path, save_strategy="epoch"),
        lambda _: RATES,
        1,
        hp_name=lambda trial: f"rate {trial['learning_rate']}",
        **here,
    )
    names = [f"rate {rate}" for rate in RATES["learning_rate"]["grid_search"]]
    assert [result.trial_name for result in best.run_summary.grid] == names
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == sorted(names)


def test_checkpoints_of_the_best_run(tmp_path: Path, here: dict[str, Any]) -> None:
    """How to get the best model (huggingface/transformers#12729): from the run, or from `output_dir` as documented."""
    best = hyperparameter_search(
        trainer_of(tmp_path, save_strategy="epoch", load_best_model_at_end=True, metric_for_best_model="loss"),
        lambda _: RATES,
        1,
        compute_objective=loss,
        keep_checkpoints_num=1,
        checkpoint_score_attr="min-objective",
        **here,
    )
    folder = tmp_path / "output" / f"run-{best.run_id}"
    assert [path.name for path in sorted(folder.glob("checkpoint-*"))] == [
        "checkpoint-3",
        "checkpoint-6",
        "checkpoint-9",
    ]
    trial = best.run_summary.get_best_trial()
    model = best.run_summary.get_best_checkpoint(trial).load_model()
    by_hand = trainer_of(tmp_path)
    by_hand.model = model
    assert by_hand.evaluate()["eval_loss"] == pytest.approx(min(trial.metrics_dataframe["eval_loss"]), rel=1e-5)


# --- in place of Ray Tune


@pytest.mark.usefixtures("installed")
def test_a_population_with_other_batches(tmp_path: Path, here: dict[str, Any]) -> None:
    """The example of Ray Tune's, pbt_transformers: the size of the batches is mutated too (ray-project/ray#13765)."""
    trainer = trainer_of(
        tmp_path, save_strategy="epoch", load_best_model_at_end=True, per_device_eval_batch_size=16, logging_steps=1
    )
    best = trainer.hyperparameter_search(
        hp_space=lambda _: {"num_train_epochs": 4, "max_steps": -1, "learning_rate": RATES["learning_rate"]},
        backend="ray",
        n_trials=1,
        resources_per_trial={"cpu": 1, "gpu": 0},
        scheduler=PopulationBasedTraining(
            time_attr="training_iteration",
            metric="eval_loss",
            mode="min",
            perturbation_interval=1,
            quantile_fraction=0.5,
            hyperparam_mutations={
                "weight_decay": tune.uniform(0.0, 0.3),
                "learning_rate": tune.uniform(1e-5, 5e-2),
                "per_device_train_batch_size": [4, 8, 12],
            },
        ),
        checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="training_iteration"),
        stop=None,
        progress_reporter=tune.CLIReporter(
            parameter_columns={"weight_decay": "w_decay", "per_device_train_batch_size": "train_bs/gpu"},
            metric_columns=["eval_accuracy", "eval_loss", "epoch", "training_iteration"],
        ),
        local_dir=here.pop("storage_path"),
        name="tune_transformer_pbt",
        log_to_file=True,
        **here,
    )
    grid = best.run_summary.grid
    assert Path(grid.experiment_path).name == "tune_transformer_pbt" and trainer.hp_search_backend is None
    changed = [each for each in grid.decisions if each.action == "EXPLOIT" and "per_device_train_batch" in each.reason]
    assert changed, "the size of the batches was mutated"
    for result in grid:
        frame = result.metrics_dataframe
        assert list(frame["epoch"]) == list(frame["training_iteration"]) and frame["epoch"].iloc[-1] == 4
        steps = 24 // result.config["per_device_train_batch_size"]
        assert frame["global_step"].iloc[-1] == 4 * steps
        # `linear` has come to its end, whatever the batches were.
        assert frame["learning_rate"].iloc[-1] == pytest.approx(result.config["learning_rate"] / (4 * steps))


@pytest.mark.usefixtures("installed")
def test_a_search_by_a_library(tmp_path: Path, here: dict[str, Any]) -> None:
    """As in the post that introduced it (huggingface/blog, ray-tune): a searcher and a scheduler know the metric."""
    best = trainer_of(tmp_path).hyperparameter_search(
        direction="maximize",
        backend="ray",
        n_trials=3,
        search_alg=HyperOptSearch(metric="objective", mode="max"),
        scheduler=ASHAScheduler(metric="objective", mode="max"),
        **here,
    )
    assert len(best.run_summary.trials) == 3
    assert best.objective == best.run_summary.best_result["objective"]
    assert {"objective", "config/learning_rate"} <= set(best.run_summary.dataframe().columns)  # transformers#22037


def test_ray_tune_is_given_back() -> None:
    from transformers.hyperparameter_search import ALL_HYPERPARAMETER_SEARCH_BACKENDS as BACKENDS
    from transformers.hyperparameter_search import RayTuneBackend
    from transformers.trainer_utils import HPSearchBackend

    before = dict(BACKENDS)
    adapter.install()
    assert BACKENDS.pop(HPSearchBackend.RAY) is not RayTuneBackend
    adapter.uninstall()
    assert before == BACKENDS


# --- mistakes


def test_wrong_arguments_are_all_named(tmp_path: Path) -> None:
    trainer = task.make(task.CONFIG, tmp_path, eval_strategy="no")
    foreign = type("Float", (), {"__module__": "ray.tune.search.sample"})()
    with pytest.raises(ArgumentError) as caught:
        hyperparameter_search(
            trainer,
            lambda _: {"learning_rate": foreign},
            0,
            "up",
            3,  # type: ignore[arg-type]
            lambda: "name",  # type: ignore[arg-type, misc]
            scheduler="asha",
            keep_checkpoints_num=-1,
            resources_per_trial={"cpu": -1},
            verbos=1,
            backend="ray",
            storage_path="a",
            local_dir="b",
            failure_config=tune.FailureConfig(max_failures=1),
            max_failures=2,
        )
    for mistake in (
        "trainer: expected one made with model_init",
        "direction: expected 'minimize' or 'maximize', got 'up'",
        "compute_objective: expected a function",
        "hp_name: expected a function",
        "n_trials: expected a whole number of at least 1, got 0",
        "scheduler: expected none, since the TrainingArguments say eval_strategy='no'",
        "num_to_keep: expected None or a whole number",
        "cpu",
        "verbos: there is no such argument. Did you mean 'verbose'?",
        "backend: there is no such argument. Leave it out.",
        "local_dir: expected once, got 'b' beside storage_path='a'",
        "failure_config: expected all of it in one place",
        "learning_rate: expected",
    ):
        assert mistake in str(caught.value), mistake
    assert "Use the function of the same name from tune_plugins" in str(caught.value)
    assert len(caught.value.mistakes) == 13


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (lambda trial: {"lr": trial.suggest_float("lr", 0, 1)}, "has raised AttributeError"),  # one for Optuna
        (lambda: {"lr": 1}, "called with 1 argument"),
        (lambda _: [1], "it has returned [1]"),
        ({"lr": 1}, "expected a function that returns the search space"),
    ],
)
def test_wrong_spaces(tmp_path: Path, space: Any, said: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        hyperparameter_search(trainer_of(tmp_path), space)
    assert said in str(caught.value) and "tune.loguniform(1e-6, 1e-4)" in str(caught.value)
    assert len(caught.value.mistakes) == 1


def test_several_directions_need_a_function(tmp_path: Path, here: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="compute_objective: expected a function that returns 2 numbers"):
        hyperparameter_search(trainer_of(tmp_path), direction=["minimize", "maximize"])
    with pytest.raises(
        TuneError, match=r"expected a function that returns 2 numbers, one a direction, it has returned 0"
    ):
        hyperparameter_search(
            trainer_of(tmp_path), lambda _: {"seed": 1}, 1, ["minimize", "maximize"], lambda metrics: 0, **here
        )


def test_something_else_than_a_trainer() -> None:
    with pytest.raises(ArgumentError, match=r"trainer: expected a transformers.Trainer, got <function"):
        hyperparameter_search(lambda trial: {"learning_rate": 1})  # type: ignore[arg-type]
