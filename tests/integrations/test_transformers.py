"""The adapter for the Trainer of transformers: against the real Trainer with a tiny model."""

from __future__ import annotations

import shutil
import warnings
from collections import Counter
from collections.abc import Collection, Mapping
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers_task as task
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from tune_plugins import session as tune_session
from tune_plugins.core.metrics import Mode
from tune_plugins.errors import ArgumentError, TrialEvicted, TrialRestarted, TuneError
from tune_plugins.integrations._transformers_state import plain_data
from tune_plugins.integrations.transformers import TuneReportCallback, TuneReportCheckpointCallback
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.session import TrialContext
from tune_plugins.testing import Exploit, RecordingSession

CONFIG = task.CONFIG


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


def recording(config: Mapping[str, Any] = CONFIG, **options: Any) -> RecordingSession:
    return RecordingSession(context=TrialContext(config=dict(config)), **options)


def go_on(session: RecordingSession, at: int, config: Mapping[str, Any] = CONFIG, **options: Any) -> RecordingSession:
    return recording(config, start_checkpoint=session.checkpoints[at], start_iteration=at, **options)


def assert_same(one: Any, other: Any) -> None:
    np.testing.assert_equal(task.state(one), task.state(other))


def trained(trainer: Trainer, *args: Any, **kwargs: Any) -> Trainer:
    trainer.train(*args, **kwargs)
    return trainer


# --- outside a trial


def test_alone_the_trainer_is_left_as_it_is(output: Path) -> None:
    assert tune_session.current() is None
    trainer = task.make(CONFIG, output, TuneReportCheckpointCallback("no such metric", on="log"), epochs=2)
    assert "train" not in vars(trainer) and "_maybe_log_save_evaluate" not in vars(trainer)
    trainer.train()
    assert_same(trained(task.make(CONFIG, output, epochs=2)), trainer)


def test_a_second_training_alone_follows_one_in_a_trial(output: Path) -> None:
    callback = TuneReportCheckpointCallback()
    with recording() as session:
        trained(task.make(CONFIG, output, callback, epochs=1))
    trained(task.make(CONFIG, output, callback, epochs=2))
    assert session.iterations == [1]


# --- arguments


def test_wrong_arguments_are_all_named() -> None:
    with pytest.raises(ArgumentError) as caught:
        TuneReportCheckpointCallback(metrics=[], on="epoch", frequency=-1)
    assert len(caught.value.mistakes) == 3
    events = "'evaluate', 'epoch_end', 'log'"
    for name in ("metrics:", f"on: expected one or several of {events}, got 'epoch'", "frequency:"):
        assert name in str(caught.value)


@pytest.mark.parametrize(("on", "option"), [("evaluate", "eval_strategy"), ("log", "logging_strategy")])
def test_nothing_to_report_is_a_mistake(output: Path, on: str, option: str) -> None:
    trainer_options = {option: "no"}
    with recording(), pytest.raises(ArgumentError, match=f"{option}='no'.*Set {option}='epoch'"):
        trained(task.make(CONFIG, output, TuneReportCheckpointCallback(on=on), **trainer_options))


def test_several_processes_are_refused(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with recording(), pytest.raises(TuneError, match=r"2 processes.*TrainState"):
        trainer = task.make(CONFIG, output, TuneReportCheckpointCallback())
        monkeypatch.setattr(TrainingArguments, "world_size", 2)
        trainer.train()


# --- what is reported


def test_epoch_and_step_are_reported(output: Path) -> None:
    with recording() as session:
        trained(task.make(CONFIG, output, TuneReportCheckpointCallback("eval_loss"), epochs=2))
    assert [set(report.metrics) for report in session.reports] == [{"eval_loss", "epoch", "global_step"}] * 2
    assert session.values("epoch") == [1.0, 2.0] and session.values("global_step") == [3, 6]


def test_evaluations_by_steps_are_reported_once(output: Path) -> None:
    with recording() as session:
        trainer = task.make(
            CONFIG, output, TuneReportCheckpointCallback(), epochs=2, eval_strategy="steps", eval_steps=2
        )
        trainer.evaluate()  # not in `train`
        trainer.train()
        trainer.evaluate()
    assert session.values("global_step") == [2, 4, 6]
    assert session.values("eval_loss") == task.history(trainer)["eval_loss"][-4:-1]


def test_evaluation_on_start_is_not_reported(output: Path) -> None:
    with recording() as session:
        trained(task.make(CONFIG, output, TuneReportCheckpointCallback(), epochs=2, eval_on_start=True))
    assert session.values("global_step") == [3, 6]


def test_several_evaluation_sets_are_one_report(output: Path) -> None:
    with recording() as session:
        trainer = task.make(CONFIG, output, TuneReportCheckpointCallback(), epochs=2)
        trainer.eval_dataset = {"near": task.VALID, "far": task.TRAIN}
        trainer.train()
    assert session.iterations == [1, 2]
    assert {"eval_near_loss", "eval_far_loss"} <= set(session.reports[0].metrics)


def test_epochs_without_an_evaluation(output: Path) -> None:
    with recording(save_at={1}) as session:
        trainer = task.make(CONFIG, output, TuneReportCallback(on="epoch_end"), epochs=3, eval_strategy="no")
        trainer.train()
    assert session.values("epoch") == [1.0, 2.0, 3.0]
    assert session.values("loss") == task.history(trainer)["loss"]


def test_logs(output: Path) -> None:
    with recording() as session:
        trainer = task.make(
            CONFIG, output, TuneReportCallback(on="log"), epochs=2, logging_strategy="steps", logging_steps=2
        )
        trainer.train()
    assert session.values("global_step") == [2, 4, 6]
    assert session.values("loss") == task.history(trainer)["loss"]


def test_a_metric_logged_before_the_checkpoint_is_still_known(output: Path) -> None:
    def script() -> None:
        # The loss is logged at step 2 and not again before the report that follows the resume.
        callback = TuneReportCheckpointCallback(["loss", "eval_loss"])
        trained(task.make(CONFIG, output, callback, epochs=2, logging_strategy="steps", logging_steps=2))

    with recording(save_at={1}, raise_at={1: TrialEvicted()}) as first, pytest.raises(TrialEvicted):
        script()
    with go_on(first, 1) as second:
        script()
    assert len(second.reports) == 1 and "loss" in second.reports[0].metrics


def test_the_class_may_be_given_instead_of_an_object(output: Path) -> None:
    with recording(save_at={1}) as session:
        trained(task.make(CONFIG, output, TuneReportCheckpointCallback, epochs=1))
    assert session.iterations == [1] and 1 in session.checkpoints


def test_added_after_the_trainer_was_made(output: Path) -> None:
    with recording() as session:
        trainer = task.make(CONFIG, output, epochs=2)
        trainer.add_callback(TuneReportCallback())
        trainer.train()
        trainer.train()
        assert session.iterations == [1, 2, 3, 4]
        late = task.make(CONFIG, output, epochs=2)
        late.add_callback(TuneReportCheckpointCallback())
        with pytest.raises(TuneError, match=r"callbacks=\[TuneReportCheckpointCallback\(\)\]"):
            late.train()


# --- checkpoints


def test_checkpoint_is_one_of_the_trainer_without_code_and_without_noise(
    output: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with recording(save_at={1}) as session:
        trainer = task.make(CONFIG, output, TuneReportCheckpointCallback(checkpoint_at_end=False), epochs=1)
        capfd.readouterr()
        trainer.train()
    assert capfd.readouterr() == ("", "")
    assert not any(output.iterdir())
    directory = Path(session.checkpoints[1].path)
    files = {path.name for path in directory.iterdir()}
    assert files == {
        *("config.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"),
        *("trainer_state.json", "tune_plugins.pt", ".model.json"),
    }
    for name in STATES:
        torch.load(directory / name, weights_only=True)
    loaded = BertForSequenceClassification.from_pretrained(directory)
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_frequency_and_end(output: Path) -> None:
    with recording() as session:
        trained(task.make(CONFIG, output, TuneReportCheckpointCallback(frequency=2), epochs=5))
    assert list(session.checkpoints) == [2, 4, 5] and session.finished == 1


def test_own_checkpoints_of_the_script_stay_its_own(output: Path) -> None:
    with recording(save_at={1, 2}):
        trained(task.make(CONFIG, output, TuneReportCheckpointCallback(), epochs=2, save_strategy="epoch"))
    assert {path.name for path in output.iterdir()} == {"checkpoint-3", "checkpoint-6"}


def test_last_checkpoint_has_the_newest_weights_not_the_best(output: Path) -> None:
    calls = 0

    def worse(prediction: Any) -> dict[str, float]:
        nonlocal calls
        calls += 1
        return {"score": -float(calls)}

    options = {"load_best_model_at_end": True, "metric_for_best_model": "score", "greater_is_better": True}
    with recording() as session:
        best = trained(
            task.make(
                CONFIG,
                output,
                TuneReportCheckpointCallback(),
                epochs=2,
                metrics=worse,
                save_strategy="epoch",
                **options,
            )
        )
    assert session.last_checkpoint is not None
    last = BertForSequenceClassification.from_pretrained(session.last_checkpoint.path).state_dict()
    newest = BertForSequenceClassification.from_pretrained(output / "checkpoint-6").state_dict()
    name = "classifier.weight"
    assert torch.equal(last[name], newest[name]) and not torch.equal(last[name], best.model.state_dict()[name])


def test_resume_in_the_middle_of_an_epoch(output: Path) -> None:
    options = {"epochs": 2, "eval_strategy": "steps", "eval_steps": 2}
    with recording(save_at={2}, raise_at={2: TrialEvicted()}) as first, pytest.raises(TrialEvicted):
        trained(task.make(CONFIG, output, TuneReportCheckpointCallback(), **options))
    with go_on(first, 2) as second:
        resumed = trained(task.make(CONFIG, output, TuneReportCheckpointCallback(), **options))
    assert second.values("global_step") == [6]
    assert_same(trained(task.make(CONFIG, output, **options), first.checkpoints[2].path), resumed)
    assert_same(trained(task.make(CONFIG, output, **options)), resumed)


@pytest.mark.parametrize("given", [False, True])
def test_a_script_that_resumes_by_itself_too(output: Path, given: bool) -> None:
    with recording(save_at={1}) as first:
        trained(task.make(CONFIG, output, TuneReportCheckpointCallback(), epochs=2))
    path = first.checkpoints[1].path if given else None
    with go_on(first, 1) as second:
        resumed = trained(task.make(CONFIG, output, TuneReportCheckpointCallback(), epochs=2), path)
    assert second.iterations == [2]
    assert_same(trained(task.make(CONFIG, output, epochs=2)), resumed)


def test_model_init(output: Path) -> None:
    def script() -> Trainer:
        trainer = Trainer(
            model_init=lambda: task.model_of(CONFIG),
            args=task.make(CONFIG, output, epochs=2).args,
            train_dataset=task.TRAIN,
            eval_dataset=task.VALID,
            callbacks=[TuneReportCheckpointCallback()],
        )
        trainer.train()
        return trainer

    alone = script()
    with recording(save_at={1}, raise_at={1: TrialEvicted()}) as first, pytest.raises(TrialEvicted):
        script()
    with go_on(first, 1):
        assert_same(alone, script())


def test_plateau_schedule_is_saved_after_its_step(output: Path) -> None:
    class Rising(TrainerCallback):
        """Makes every evaluation worse than the one before."""

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
            metrics["eval_loss"] = state.epoch

    options = {
        "epochs": 4,
        "lr_scheduler_type": "reduce_lr_on_plateau",
        "lr_scheduler_kwargs": {"patience": 0, "factor": 0.5},
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
        "warmup_steps": 0,
    }
    config = {k: v for k, v in CONFIG.items() if k != "adam_beta1"}
    with recording(save_at={2}, raise_at={2: TrialEvicted()}) as first, pytest.raises(TrialEvicted):
        trained(task.make(config, output, Rising(), TuneReportCheckpointCallback(), **options))
    with go_on(first, 2):
        resumed = task.make(config, output, Rising(), TuneReportCheckpointCallback(), **options)
        resumed.train()
    alone = task.make(config, output, Rising(), **options)
    alone.train()
    rates = [task.history(trainer)["learning_rate"] for trainer in (alone, resumed)]
    assert rates[0] == rates[1] == [0.02, 0.02, 0.01, 0.005]
    assert alone.state.best_metric == resumed.state.best_metric == 1.0


def test_new_rate_under_a_fixed_least_rate(output: Path) -> None:
    options = {
        "epochs": 3,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr": 0.004},
        "warmup_steps": 0,
    }
    new = {**CONFIG, "learning_rate": 0.01}
    with recording(save_at={1}, raise_at={1: TrialEvicted()}) as first, pytest.raises(TrialEvicted):
        trained(task.make(CONFIG, output, TuneReportCheckpointCallback(), **options))
    with go_on(first, 1, new):
        resumed = trained(task.make(new, output, TuneReportCheckpointCallback(), **options))
    alone = trained(task.make(new, output, **options))
    assert task.history(resumed)["learning_rate"][1:] == task.history(alone)["learning_rate"][1:]
    with recording(exploit_at={1: Exploit(first.checkpoints[1], 1, new)}) as session, pytest.raises(TrialRestarted):
        trained(task.make(CONFIG, output, TuneReportCheckpointCallback(), **options))
    assert "fixed min_lr" in session.restarts[0]


def test_a_foreign_checkpoint_is_named(output: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "state.pt").write_text("")
    start = Checkpoint.from_directory(tmp_path / "other")
    with (
        recording(start_checkpoint=start),
        pytest.raises(ArgumentError, match=r"no file 'trainer_state.json'; it has 'st"),
    ):
        trained(task.make(CONFIG, output, TuneReportCheckpointCallback()))


def test_a_checkpoint_with_other_batches_goes_on_in_its_epoch(output: Path) -> None:
    """The Trainer counts steps: three a epoch before, six now (ray-project/ray#13765 mutates the size)."""
    with recording(save_at={1}) as first:
        trained(task.make(CONFIG, output, TuneReportCheckpointCallback(), epochs=1))
    half = {"per_device_train_batch_size": 4, "epochs": 3}
    with go_on(first, 1) as session:
        trained(task.make(CONFIG, output, TuneReportCheckpointCallback(), **half))
    with recording() as whole:
        trained(task.make(CONFIG, output, TuneReportCheckpointCallback(), **half))
    assert session.values("epoch") == [2, 3] and session.values("global_step") == [12, 18]
    assert session.values("learning_rate") == whole.values("learning_rate")[1:]


def test_an_evaluation_of_the_training_data_is_not_the_end(output: Path) -> None:
    """A callback that logs how well the training data are known (asked for in huggingface/transformers#13759)."""

    class OnTraining(TrainerCallback):
        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            before = copy(control)
            self.trainer.evaluate(task.TRAIN, metric_key_prefix="train")
            return before

    callback = OnTraining()
    with recording() as session:
        trainer = task.make(CONFIG, output, callback, TuneReportCheckpointCallback(), epochs=2)
        callback.trainer = trainer
        trainer.train()
    assert session.values("epoch") == [1, 2]
    assert session.values("train_loss") != session.values("eval_loss")


def test_checkpoint_of_the_trainer_itself(output: Path) -> None:
    trained(task.make(CONFIG, output, epochs=2, save_strategy="epoch"))
    start = Checkpoint.from_directory(output / "checkpoint-3")
    (output / "checkpoint-3" / "training_args.bin").unlink()
    new = {**CONFIG, "learning_rate": 0.01}
    with recording(new, start_checkpoint=start, start_iteration=1) as session:
        resumed = trained(task.make(new, output, TuneReportCheckpointCallback(), epochs=2))
    assert session.iterations == [2] and resumed.lr_scheduler.base_lrs == [0.01, 0.01]


def test_a_second_training_in_a_trial_only_reports(output: Path) -> None:
    def script() -> None:
        for _ in range(2):
            trained(task.make(CONFIG, output, TuneReportCheckpointCallback(), epochs=2))

    with recording(save_at={1}) as first:
        script()
    assert first.iterations == [1, 2, 3, 4] and first.finished == 1
    assert [report.savable for report in first.reports] == [True, True, False, False]
    with go_on(first, 1) as second:
        script()
    assert second.iterations == [2, 3, 4]


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_numbers_of_numpy_are_saved_as_those_of_python(output: Path, kind: type[np.floating[Any]]) -> None:
    config = {**CONFIG, **{name: kind(CONFIG[name]) for name in ("learning_rate", "weight_decay", "max_grad_norm")}}
    new = {**config, "learning_rate": kind(0.01), "max_grad_norm": kind(0.5)}
    options = {"epochs": np.int64(3), "eval_steps": np.int64(3), "logging_steps": np.int64(3)}
    with recording(config, save_at={1}) as first:
        alone = trained(task.make(config, output, TuneReportCheckpointCallback(), **options))
    for checkpoint in (first.checkpoints[1], first.last_checkpoint):
        assert checkpoint is not None
        states = [torch.load(Path(checkpoint.path, name), weights_only=True) for name in STATES]
        assert [group["lr"] for group in states[0]["param_groups"]] == states[1]["_last_lr"]
    with go_on(first, 1, config):
        assert_same(alone, trained(task.make(config, output, TuneReportCheckpointCallback(), **options)))
    given = Exploit(first.checkpoints[1], 1, new)
    with recording(config, exploit_at={1: given}, save_at={2}) as session:
        exploited = trained(task.make(config, output, TuneReportCheckpointCallback(), **options))
    assert session.exploits == ["state of iteration 1 loaded, 'learning_rate', 'max_grad_norm' applied"]
    for name in STATES:
        torch.load(Path(session.checkpoints[2].path, name), weights_only=True)
    with go_on(first, 1, new):
        assert_same(trained(task.make(new, output, TuneReportCheckpointCallback(), **options)), exploited)


STATES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "tune_plugins.pt")


def test_plain_data() -> None:
    nested = {
        "groups": [{"lr": np.float64(0.1), "betas": (np.float32(0.5), 0.9)}, {"on": np.bool_(True)}],
        "milestones": Counter({np.int64(3): 1}),
        np.int64(0): {"rates": np.array([1.0, 2.0]), "weights": torch.ones(1)},
    }
    made = plain_data(nested)
    assert made == {
        "groups": [{"lr": 0.1, "betas": (0.5, 0.9)}, {"on": True}],
        "milestones": Counter({3: 1}),
        0: {"rates": [1.0, 2.0], "weights": torch.ones(1)},
    }
    assert type(made["milestones"]) is Counter and made[0]["weights"] is nested[np.int64(0)]["weights"]
    found = [*made["groups"][0]["betas"], made["groups"][0]["lr"], made["groups"][1]["on"], *made["milestones"], *made]
    assert {type(value) for value in found} == {float, bool, int, str}


# --- stopping


def test_stop_in_the_middle_of_an_epoch(output: Path) -> None:
    with recording(stop_at=2) as session:
        trainer = task.make(
            CONFIG, output, TuneReportCheckpointCallback(), epochs=3, eval_strategy="steps", eval_steps=2
        )
        trainer.train()
    assert session.values("global_step") == [2, 4] and trainer.state.global_step == 4
    assert list(session.checkpoints) == [2]


@pytest.mark.parametrize("ours_first", [True, False])
def test_early_stopping_of_the_script(output: Path, ours_first: bool) -> None:
    early = EarlyStoppingCallback(early_stopping_patience=1)
    ours = TuneReportCheckpointCallback()
    callbacks = [ours, early] if ours_first else [early, ours]
    options = {"metric_for_best_model": "score", "greater_is_better": True}
    with recording() as session, warnings.catch_warnings():
        trained(task.make(CONFIG, output, *callbacks, epochs=5, metrics=lambda _: {"score": 1.0}, **options))
    assert session.iterations == [1, 2] and list(session.checkpoints) == [2]


# --- exploits


def donor(output: Path, at: int, config: Mapping[str, Any] = CONFIG, **options: Any) -> Checkpoint:
    with recording(config, save_at={at}) as session:
        trained(task.make(config, output, TuneReportCheckpointCallback(), **{"epochs": 4, **options}))
    return session.checkpoints[at]


def exploiting(
    output: Path, at: int, given: Checkpoint, new: Mapping[str, Any], *callbacks: Any, **options: Any
) -> tuple[RecordingSession, Trainer]:
    with recording(exploit_at={at: Exploit(given, at, dict(new))}) as session:
        trainer = task.make(
            options.pop("config", CONFIG),
            output,
            *(callbacks or (TuneReportCheckpointCallback(),)),
            **{"epochs": 4, **options},
        )
        trainer.train()
    return session, trainer


def test_arguments_follow_what_is_applied(output: Path) -> None:
    given = donor(output, 2)
    session, trainer = exploiting(output, 2, given, task.LIVE)
    assert session.exploits and not session.restarts
    for name in ("learning_rate", "weight_decay", "adam_beta1", "max_grad_norm"):
        assert getattr(trainer.args, name) == task.LIVE[name]


def test_a_value_that_the_script_transforms_is_not_applied(output: Path) -> None:
    given = donor(output, 2)
    halved = {**CONFIG, "max_grad_norm": CONFIG["max_grad_norm"] / 2}
    new = {**CONFIG, "max_grad_norm": 0.7}
    with pytest.raises(TrialRestarted, match="'max_grad_norm' cannot be changed in a running training"):
        exploiting(output, 2, given, new, config=halved)


def test_logged_losses_are_those_of_the_continuation(output: Path) -> None:
    # Logged every fourth step: of two of them the exploit at step 6 throws the losses away.
    options = {"logging_strategy": "steps", "logging_steps": 4}
    given = donor(output, 2, task.LIVE, **options)
    _, trainer = exploiting(output, 2, given, CONFIG, config=task.LIVE, **options)
    alone = trained(task.make(task.LIVE, output, epochs=4, **options), given.path)
    logged = [[logs for logs in each.state.log_history if "loss" in logs] for each in (trainer, alone)]
    assert logged[0] == logged[1] and [logs["step"] for logs in logged[0]] == [4, 8, 12]


class Steps(TrainerCallback):
    """Counts the steps that are begun."""

    def __init__(self) -> None:
        self.begun = 0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.begun += 1


class NotesWeights(TrainerCallback):
    """Notes the weights after each epoch, by the step, before anything is reported of it."""

    def __init__(self) -> None:
        self.weights: dict[int, dict[str, torch.Tensor]] = {}

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.weights[state.global_step] = {name: value.clone() for name, value in model.state_dict().items()}


def assert_weights(model: torch.nn.Module, expected: Mapping[str, torch.Tensor], same: bool = True) -> None:
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items()) is same


def bert(layers: int = 1, width: int = 16) -> BertForSequenceClassification:
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=20,
            hidden_size=8,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=width,
            max_position_embeddings=8,
        )
    )


@pytest.mark.parametrize(
    ("theirs", "reason"),
    [
        ({"layers": 2, "width": 8}, r"intermediate\.dense\.bias is \(8,\), here \(16,\)"),
        ({"layers": 3}, r"layer\.2\.\S+ is \(8,\), here it is missing"),
        ({"layers": 1}, r"they lack bert\.encoder\.layer\.1\."),
    ],
)
def test_a_donor_of_another_shape(output: Path, theirs: dict[str, int], reason: str) -> None:
    given = donor(output, 2, model=bert(**theirs))
    steps, notes, model = Steps(), NotesWeights(), bert(layers=2)
    with recording(exploit_at={2: Exploit(given, 2, CONFIG)}) as session, pytest.raises(TrialRestarted, match=reason):
        trained(task.make(CONFIG, output, TuneReportCheckpointCallback(), steps, notes, epochs=4, model=model))
    assert "the donor's weights do not fit into this model" in session.restarts[0]
    assert steps.begun == 6 and session.iterations == [1, 2]
    assert list(session.checkpoints) == [2] and not session.finished  # saved before the exploit
    assert_weights(model, notes.weights[6])  # of which nothing is the donor's


def test_a_donor_with_other_parameter_groups(output: Path) -> None:
    def script(groups: int, *callbacks: Any) -> None:
        model = Plain()
        parameters = list(model.parameters())
        chunks = [parameters] if groups == 1 else [parameters[:1], parameters[1:]]
        optimizer = torch.optim.SGD([{"params": chunk} for chunk in chunks], lr=0.5)
        Trainer(
            model=model,
            args=task.make({}, output, epochs=4).args,
            train_dataset=task.TRAIN,
            eval_dataset=task.VALID,
            optimizers=(optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)),
            callbacks=[TuneReportCheckpointCallback(), *callbacks],
        ).train()

    with recording({}, save_at={2}) as first:
        script(2)
    steps = Steps()
    reason = r"does not fit into this training: loaded state dict has a different number of parameter groups$"
    given = Exploit(first.checkpoints[2], 2, {})
    with recording({}, exploit_at={2: given}) as session, pytest.raises(TrialRestarted, match=reason):
        script(1, steps)
    assert steps.begun == 6 and session.iterations == [1, 2]
    assert list(session.checkpoints) == [2] and not session.finished  # saved before the exploit


def test_a_donor_whose_weights_are_tied(output: Path) -> None:
    class Tied(torch.nn.Module):
        """As of a language model: a weight under two names, of which one is saved."""

        _keys_to_ignore_on_save = ("scale",)

        def __init__(self) -> None:
            super().__init__()
            self.inner = Plain()
            self.first, self.second = self.inner.head, self.inner.head
            self.register_buffer("scale", torch.ones(1))

        def forward(self, input_ids: Any, labels: Any = None) -> Any:
            return self.inner(input_ids, labels)

    class Saving(Trainer):
        def _save(self, output_dir: Any = None, state_dict: Any = None) -> None:
            left = {"first.weight", "first.bias", "second.weight", "second.bias", "scale"}
            super()._save(output_dir, {k: v for k, v in self.model.state_dict().items() if k not in left})

    def script(*callbacks: Any) -> Trainer:
        return trained(task.make({}, output, *callbacks, kind=Saving, epochs=3, model=Tied(), metrics=None))

    with recording({}, save_at={1}) as first:
        script(TuneReportCheckpointCallback())
    with recording({}, exploit_at={1: Exploit(first.checkpoints[1], 1, {})}) as session:
        script(TuneReportCheckpointCallback())
    assert session.exploits and session.iterations == [1, 2, 3]


class Scores:
    """Gives each evaluation the next of some scores."""

    def __init__(self, *scores: float) -> None:
        self.scores = iter(scores)

    def __call__(self, prediction: Any) -> dict[str, float]:
        return {"score": next(self.scores)}


BEST = {
    "epochs": 4,
    "save_strategy": "epoch",
    "load_best_model_at_end": True,
    "metric_for_best_model": "score",
    "greater_is_better": True,
}


@pytest.mark.parametrize("live", [True, False])
def test_the_best_model_of_another_trial_is_not_looked_for_here(tmp_path: Path, live: bool) -> None:
    given = donor(tmp_path / "donor", 2, metrics=Scores(0.1, 0.9, 0.3, 0.4), **BEST)
    own, before, after = tmp_path / "own", NotesWeights(), NotesWeights()
    new = {**CONFIG, "learning_rate": 0.01} if live else {**CONFIG, "dropout": 0.3}

    def script(config: Mapping[str, Any], notes: NotesWeights, *scores: float) -> Trainer:
        return trained(task.make(config, own, notes, TuneReportCheckpointCallback(), metrics=Scores(*scores), **BEST))

    with recording(exploit_at={2: Exploit(given, 2, new)}, save_at={3}) as session:
        if live:
            trainer = script(CONFIG, before, 0.2, 0.5, 0.7, 0.6)
            after = before
        else:
            with pytest.raises(TrialRestarted):
                script(CONFIG, before, 0.2, 0.5)
    if not live:
        with recording(new, start_checkpoint=given, start_iteration=2, save_at={3}) as session:
            trainer = script(new, after, 0.7, 0.6)
    best = (trainer.state.best_metric, trainer.state.best_global_step, trainer.state.best_model_checkpoint)
    assert best == (0.7, 9, str(own / "checkpoint-9"))
    assert_weights(trainer.model, after.weights[9])
    assert_weights(trainer.model, before.weights[6], same=False)
    # The best since then is this trial's own.
    with go_on(session, 3, new):
        resumed = script(new, NotesWeights(), 0.6)
    assert (resumed.state.best_metric, resumed.state.best_global_step) == (0.7, 9)
    assert_weights(resumed.model, after.weights[9])


@pytest.mark.parametrize("other", ["trial", "output_dir"])
def test_whose_the_best_model_is(tmp_path: Path, other: str) -> None:
    theirs = tmp_path / "own" if other == "trial" else tmp_path / "donor"
    with RecordingSession(context=TrialContext(trial_id="a", config=CONFIG), save_at={2}) as first:
        trained(task.make(CONFIG, theirs, TuneReportCheckpointCallback(), metrics=Scores(0.1, 0.9, 0.3, 0.4), **BEST))
    context = TrialContext(trial_id="b" if other == "trial" else "a", config=CONFIG)
    with RecordingSession(context=context, start_checkpoint=first.checkpoints[2], start_iteration=2):
        trainer = task.make(CONFIG, tmp_path / "own", TuneReportCheckpointCallback(), metrics=Scores(0.7, 0.6), **BEST)
        trainer.train()
    assert (trainer.state.best_metric, trainer.state.best_global_step) == (0.7, 9)


@pytest.mark.parametrize("there", [True, False])
def test_a_resumed_trial_keeps_its_best_model(output: Path, there: bool) -> None:
    scores = (0.1, 0.9, 0.3, 0.4)
    notes = NotesWeights()
    with recording(save_at={3}, raise_at={3: TrialEvicted()}) as first, pytest.raises(TrialEvicted):
        trained(task.make(CONFIG, output, notes, TuneReportCheckpointCallback(), metrics=Scores(*scores), **BEST))
    if not there:
        shutil.rmtree(output / "checkpoint-6")
    with go_on(first, 3):
        resumed = task.make(CONFIG, output, notes, TuneReportCheckpointCallback(), metrics=Scores(0.4), **BEST)
        resumed.train()
    step, score = (6, 0.9) if there else (12, 0.4)
    assert (resumed.state.best_global_step, resumed.state.best_metric) == (step, score)
    assert resumed.state.best_model_checkpoint == str(output / f"checkpoint-{step}")
    assert_weights(resumed.model, notes.weights[step])


@pytest.mark.parametrize("elsewhere", [True, False])
def test_best_model_of_a_checkpoint_of_the_trainer_itself(tmp_path: Path, elsewhere: bool) -> None:
    first, second = tmp_path / "first", tmp_path / ("second" if elsewhere else "first")
    trained(task.make(CONFIG, first, metrics=Scores(0.1, 0.9, 0.3, 0.4), **BEST))
    start = Checkpoint.from_directory(first / "checkpoint-9")
    with recording(start_checkpoint=start, start_iteration=3):
        resumed = task.make(CONFIG, second, TuneReportCheckpointCallback(), metrics=Scores(0.4), **BEST)
        resumed.train()
    assert resumed.state.best_model_checkpoint == str(second / ("checkpoint-12" if elsewhere else "checkpoint-6"))


def test_in_the_middle_of_an_epoch_the_function_is_entered_anew(output: Path) -> None:
    options = {"eval_strategy": "steps", "eval_steps": 2}
    given = donor(output, 1, **options)
    with pytest.raises(TrialRestarted, match="in the middle of an epoch"):
        exploiting(output, 1, given, CONFIG, **options)


def test_steps_that_end_an_epoch(output: Path) -> None:
    options = {"eval_strategy": "steps", "eval_steps": 3}
    given = donor(output, 2, task.LIVE, **options)
    session, trainer = exploiting(output, 2, given, task.LIVE, **options)
    assert session.exploits and session.values("global_step") == [3, 6, 9, 12]
    with recording(task.LIVE, start_checkpoint=given, start_iteration=2):
        resumed = trained(task.make(task.LIVE, output, TuneReportCheckpointCallback(), epochs=4, **options))
    assert_same(resumed, trainer)


def test_schedule_that_depends_on_its_rate(output: Path) -> None:
    options = {"lr_scheduler_type": "polynomial"}
    given = donor(output, 2, **options)
    with pytest.raises(TrialRestarted, match="makes use of the learning rate itself"):
        exploiting(output, 2, given, {**CONFIG, "learning_rate": 0.01}, **options)


def test_count_of_early_stopping_begins_anew(output: Path) -> None:
    options = {"metric_for_best_model": "score", "greater_is_better": True, "metrics": lambda _: {"score": 1.0}}
    given = donor(output, 2, **options)
    early = EarlyStoppingCallback(early_stopping_patience=2)
    session, _ = exploiting(output, 2, given, CONFIG, TuneReportCheckpointCallback(), early, **options)
    # Without the exploit it would have stopped after the third evaluation.
    assert session.exploits and session.iterations == [1, 2, 3, 4]


def test_a_training_that_stops_by_itself_is_entered_anew(output: Path) -> None:
    class StopAt(TrainerCallback):
        def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = True

    given = donor(output, 1)
    with pytest.raises(TrialRestarted, match="another callback has told the Trainer to stop"):
        exploiting(output, 1, given, CONFIG, TuneReportCheckpointCallback(), StopAt())


def test_apply_config_may_be_overridden(output: Path) -> None:
    class WithDropout(TuneReportCheckpointCallback):
        def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
            applied = set(super().apply_config(changed, before))
            if "dropout" in changed:
                assert self.model is self.trainer.model
                for module in self.model.modules():
                    if isinstance(module, torch.nn.Dropout) and module.p == before["dropout"]:
                        module.p = changed["dropout"]
                applied.add("dropout")
            return applied

    given, new = donor(output, 2), {**CONFIG, "dropout": 0.3, "learning_rate": 0.01}
    session, trainer = exploiting(output, 2, given, new, WithDropout())
    assert session.exploits == ["state of iteration 2 loaded, 'learning_rate', 'dropout' applied"]
    assert {m.p for m in trainer.model.modules() if isinstance(m, torch.nn.Dropout)} >= {0.3}


class Plain(torch.nn.Module):
    """A model that is none of transformers'."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.embedding, self.dropout, self.head = (
            torch.nn.Embedding(20, 4),
            torch.nn.Dropout(0.2),
            torch.nn.Linear(4, 2),
        )

    def forward(self, input_ids: Any, labels: Any = None) -> Any:
        logits = self.head(self.dropout(self.embedding(input_ids).mean(1)))
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def own_parts(config: Mapping[str, Any], output: Path, *callbacks: Any) -> Trainer:
    """A script with a model, an optimizer and a schedule of its own."""
    model = Plain()
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"], momentum=config["momentum"])
    trainer = Trainer(
        model=model,
        args=task.make({}, output, epochs=4).args,
        train_dataset=task.TRAIN,
        eval_dataset=task.VALID,
        optimizers=(optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)),
        callbacks=list(callbacks),
    )
    trainer.train()
    return trainer


def test_model_optimizer_and_schedule_of_the_script(output: Path) -> None:
    old, new = {"lr": 0.5, "momentum": 0.9}, {"lr": 0.25, "momentum": 0.5}
    with recording(old, save_at={2}) as session:
        own_parts(old, output, TuneReportCheckpointCallback())
    given = session.checkpoints[2]
    with recording(new, start_checkpoint=given, start_iteration=2):
        resumed = own_parts(new, output, TuneReportCheckpointCallback())
    with recording(old, exploit_at={2: Exploit(given, 2, new)}) as session:
        exploited = own_parts(old, output, TuneReportCheckpointCallback())
    assert session.exploits and session.iterations == [1, 2, 3, 4]
    for trainer in (resumed, exploited):
        (group,) = trainer.optimizer.param_groups
        assert (group["initial_lr"], group["momentum"]) == (0.25, 0.5)
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, exploited.model.state_dict()[name])


# ------------------------------------------------------------------------------- the model to predict with


def with_adapters(config: Mapping[str, Any] = CONFIG) -> Any:
    """As a user trains a few weights beside those of a model (LoRA)."""
    options = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"], lora_dropout=0.3)
    return peft.get_peft_model(task.model_of(config), options)


@pytest.mark.parametrize(("build", "mode"), [(task.model_of, "min"), (with_adapters, "max")])
def test_last_and_best_model(output: Path, build: Any, mode: Mode) -> None:
    """Loaded into what a function makes, or into a model that is there, and ready to predict."""
    context = TrialContext(config=CONFIG, metric="eval_loss", mode=mode)
    with RecordingSession(context=context, save_at={6}) as session:
        trained(task.make(CONFIG, output, TuneReportCheckpointCallback(), model=build(CONFIG)))
    last = session.checkpoints[6]
    values = session.values("eval_loss")
    best = min(values) if mode == "min" else max(values)
    assert best != values[-1]
    for checkpoint, value in ((last, values[-1]), (Checkpoint(Path(last.path, "best")), best)):
        for given in (build, build(CONFIG)):
            model = checkpoint.load_model(given, config=CONFIG)
            assert not model.training
            assert task.make(CONFIG, output, model=model).evaluate()["eval_loss"] == pytest.approx(value, rel=1e-4)


def test_a_model_without_adapters_for_a_checkpoint_that_has_these_alone(output: Path) -> None:
    with recording(save_at={1}) as session:
        trained(task.make(CONFIG, output, TuneReportCheckpointCallback(), model=with_adapters(), epochs=1))
    with pytest.raises(ArgumentError, match=r"expected what makes a model with adapters \(PEFT\), .* got a BertFor"):
        session.checkpoints[1].load_model(task.model_of, config=CONFIG)
