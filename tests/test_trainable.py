"""Classes as trainables: what is called when, and what the messages say."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import tune_plugins as tune
from tune_plugins.driver.trial_function import TrialFunction
from tune_plugins.errors import TrialEvicted, TrialRestarted, TrialUnwound, TuneError
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.schedulers import Action, PopulationBasedTraining, TrialScheduler
from tune_plugins.session import TrialContext
from tune_plugins.testing import Exploit, RecordingSession
from tune_plugins.trainable import STATE_FILE
from tune_plugins.worker.class_trial import run_class


class Descent(tune.Trainable):
    """Gradient descent on x², whose state is x."""

    calls: ClassVar[list[tuple[Any, ...]]] = []
    steps = 6

    def setup(self, config: dict[str, Any], start: float = 8.0) -> None:
        self.calls.append(("setup", config["lr"]))
        self.x, self.lr = start, config["lr"]

    def step(self) -> dict[str, Any]:
        self.x -= self.lr * self.x
        self.calls.append(("step", self.iteration + 1))
        return {"x": self.x, "lr": self.lr, "object": id(self), "done": self.iteration + 1 >= self.steps}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any] | None:
        self.calls.append(("save", self.iteration))
        Path(checkpoint_dir, "x.json").write_text(json.dumps([self.x, self.lr]))
        return None

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.calls.append(("load",))
        # Like an optimizer's state, this one brings the donor's learning rate along.
        self.x, self.lr = json.loads(Path(checkpoint, "x.json").read_text())

    def cleanup(self) -> None:
        self.calls.append(("cleanup",))


class Resettable(Descent):
    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.calls.append(("reset", new_config["lr"]))
        assert self.config == new_config
        self.lr = new_config["lr"]
        return "width" not in new_config or new_config["width"] == 8


@pytest.fixture(autouse=True)
def _calls() -> None:
    Descent.calls.clear()


def run(trainable: type[tune.Trainable], config: dict[str, Any], **script: Any) -> RecordingSession:
    with RecordingSession(context=TrialContext("7", "d_7", config=config), **script) as session:
        run_class(trainable, config)
    return session


def donor(tmp_path: Path, lr: float = 0.5, at: int = 3) -> Checkpoint:
    session = run(Resettable, {"lr": lr}, save_at={at}, directory=tmp_path / "donor")
    Descent.calls.clear()
    return session.checkpoints[at]


def kinds() -> list[str]:
    return [call[0] for call in Descent.calls]


# ------------------------------------------------------------------------------------ the loop


def test_steps_until_done_and_leaves_the_last_state() -> None:
    session = run(Descent, {"lr": 0.5})
    assert session.iterations == [1, 2, 3, 4, 5, 6]
    assert session.values("x") == [8 * 0.5**n for n in range(1, 7)]
    assert list(session.checkpoints) == [6] and session.finished == 1
    assert kinds() == ["setup", *["step"] * 6, "save", "cleanup"]


def test_a_stop_ends_it_after_that_step() -> None:
    session = run(Descent, {"lr": 0.5}, stop_at=2)
    assert session.iterations == [1, 2]
    assert kinds() == ["setup", "step", "step", "save", "cleanup"]


def test_saves_when_step_asks() -> None:
    class Asking(Descent):
        def step(self) -> dict[str, Any]:
            return {**super().step(), "should_checkpoint": self.iteration + 1 in (2, 3)}

    assert list(run(Asking, {"lr": 0.5}).checkpoints) == [2, 3, 6]


def test_without_checkpoints_none_is_offered() -> None:
    class Plain(tune.Trainable):
        def step(self) -> dict[str, Any]:
            return {"loss": 1.0, "done": self.training_iteration == 2}

    session = run(Plain, {}, save_at={1, 2, 3}, save_at_end=True)
    assert session.iterations == [1, 2, 3] and not session.checkpoints
    assert not any(report.savable for report in session.reports)


def test_goes_on_from_a_checkpoint_with_the_config_of_the_script(tmp_path: Path) -> None:
    start = donor(tmp_path)
    session = run(Resettable, {"lr": 0.25}, start_checkpoint=start, start_iteration=3)
    assert session.iterations == [4, 5, 6]
    assert session.values("x") == [1 * 0.75**n for n in (1, 2, 3)]
    assert kinds()[:4] == ["setup", "load", "reset", "step"]


def test_one_that_was_done_takes_no_further_step(tmp_path: Path) -> None:
    session = run(Resettable, {"lr": 0.25}, start_checkpoint=donor(tmp_path, at=6), start_iteration=6)
    assert session.iterations == [] and kinds() == ["setup", "load", "reset", "cleanup"]


def test_facts_about_the_trial(tmp_path: Path) -> None:
    class Curious(tune.Trainable):
        def step(self) -> dict[str, Any]:
            told = [self.trial_id, self.trial_name, self.trial_dir, self.logdir, dict(self.trial_resources)]
            assert told == ["7", "seven", str(tmp_path / "t"), str(tmp_path / "t"), {"CPU": 2}]
            assert (self.iteration, self.training_iteration, self.config) == (0, 0, {"lr": 1, "net": {"width": 2}})
            return {"done": True}

    config = {"lr": 1, "net": {"width": 2}}
    facts = TrialContext("7", "seven", str(tmp_path / "t"), trial_resources={"CPU": 2}, config=config)
    with RecordingSession(context=facts) as session:
        run_class(Curious, config)
    assert session.iterations == [1] and (tmp_path / "t").is_dir()


def test_setup_may_write_into_its_config() -> None:
    class Greedy(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            config["net"].pop("width")

        def step(self) -> dict[str, Any]:
            return {"done": True}

    config = {"net": {"width": 2}}
    trainable = Greedy(config)
    assert config == trainable.config == {"net": {"width": 2}}


def test_works_by_hand_outside_a_trial() -> None:
    trainable = Descent({"lr": 0.5}, start=4.0)
    assert trainable.step()["x"] == 2.0
    assert (trainable.trial_id, trainable.trial_dir, dict(trainable.trial_resources)) == ("", "", {})
    with pytest.raises(TuneError, match=r"Descent was to be run as a trial outside of one"):
        run_class(Descent, {"lr": 0.5})


# ------------------------------------------------------------------------------------ exploits


def test_an_exploit_in_place_keeps_the_object(tmp_path: Path) -> None:
    exploit = Exploit(donor(tmp_path), 3, {"lr": 0.25, "net": {"width": 8}})
    config = {"lr": 0.125, "net": {"width": 8}}
    session = run(Resettable, config, exploit_at={4: exploit})
    assert session.exploits == ["state of iteration 3 loaded, 'lr' applied"] and not session.restarts
    assert session.iterations == [1, 2, 3, 4, 4, 5, 6], "the iteration follows the adopted state"
    assert session.values("x")[4:] == [0.75, 0.75**2, 0.75**3] and session.values("lr")[4:] == [0.25] * 3
    assert len(set(session.values("object"))) == 1
    assert kinds() == ["setup", *["step"] * 4, "save", "load", "reset", *["step"] * 3, "save", "cleanup"]


def test_an_exploit_in_place_of_nested_values(tmp_path: Path) -> None:
    seen = []

    class Nested(Descent):
        def reset_config(self, new_config: dict[str, Any]) -> bool:
            seen.append((new_config, dict(self.config), tune.get_context().config["net"]["drop"]))
            return True

    config = {"lr": 0.5, "net": {"drop": 0.1, "width": 8}, "a/b": 1}
    new = {"lr": 0.5, "net": {"drop": 0.2, "width": 8}, "a/b": 2}
    session = run(Nested, config, exploit_at={1: Exploit(donor(tmp_path), 3, new)})
    assert seen == [(new, new, 0.1)] and config == new
    assert session.exploits == ["state of iteration 3 loaded, 'net/drop', 'a/b' applied"]


def test_an_exploit_takes_over_that_the_donor_was_done(tmp_path: Path) -> None:
    session = run(Resettable, {"lr": 0.25}, exploit_at={2: Exploit(donor(tmp_path, at=6), 6, {"lr": 0.3})})
    assert session.iterations == [1, 2]
    session = run(Resettable, {"lr": 0.25}, exploit_at={5: Exploit(donor(tmp_path), 3, {"lr": 0.3})})
    assert session.iterations == [1, 2, 3, 4, 5, 4, 5, 6], "and that it was not"


@pytest.mark.parametrize(
    ("trainable", "config", "why"),
    [
        (Descent, {"lr": 0.3}, "Descent does not define reset_config"),
        (Resettable, {"lr": 0.25, "width": 9}, "'width' was not in the config before"),
    ],
)
def test_where_it_cannot_be_done_in_place_the_reason_is_told(
    tmp_path: Path, trainable: type[Descent], config: dict[str, Any], why: str
) -> None:
    start = donor(tmp_path)
    with pytest.raises(TrialRestarted, match=why):
        run(trainable, {"lr": 0.25}, exploit_at={2: Exploit(start, 3, config)})
    assert kinds()[-1] == "cleanup" and kinds().count("cleanup") == 1


def test_false_from_reset_config_asks_for_a_new_object(tmp_path: Path) -> None:
    config, new = {"lr": 0.25, "width": 8}, {"lr": 0.3, "width": 9}
    with pytest.raises(TrialRestarted, match=r"Resettable\.reset_config returned False"):
        run(Resettable, config, exploit_at={2: Exploit(donor(tmp_path), 3, new)})
    assert config == {"lr": 0.25, "width": 8}


def test_no_answer_of_reset_config_is_false(tmp_path: Path) -> None:
    class Silent(Resettable):
        def reset_config(self, new_config: dict[str, Any]) -> bool:
            return None  # type: ignore[return-value]

    with pytest.raises(TrialRestarted, match=r"Silent\.reset_config returned False"):
        run(Silent, {"lr": 0.25}, exploit_at={2: Exploit(donor(tmp_path), 3, {"lr": 0.3})})


def test_a_donor_that_the_object_cannot_load_asks_for_a_new_object(tmp_path: Path) -> None:
    class Sized(Resettable):
        def save_checkpoint(self, checkpoint_dir: str) -> Any:
            Path(checkpoint_dir, "weights").write_text("x" * self.config["width"])
            return Path(checkpoint_dir)

        def load_checkpoint(self, checkpoint: Any) -> None:
            if len(Path(checkpoint, "weights").read_text()) != self.config["width"]:
                raise RuntimeError("size mismatch\nfor layer 0")

    first = run(Sized, {"lr": 0.5, "width": 8}, save_at={3}, directory=tmp_path / "donor")
    exploit = Exploit(first.checkpoints[3], 3, {"lr": 0.5, "width": 8})
    session = RecordingSession(context=TrialContext(config={"lr": 0.5, "width": 4}), exploit_at={2: exploit})
    with session, pytest.raises(TrialRestarted, match=r"Sized\.load_checkpoint\(\) failed .*: size mismatch$"):
        run_class(Sized, session.context.config)
    assert run(Sized, {"lr": 0.5, "width": 8}, start_checkpoint=first.checkpoints[3], start_iteration=3).iterations
    with pytest.raises(RuntimeError, match="size mismatch"):
        run(Sized, {"lr": 0.5, "width": 4}, start_checkpoint=first.checkpoints[3], start_iteration=3)


def test_without_changes_no_reset_config_is_needed(tmp_path: Path) -> None:
    session = run(Descent, {"lr": 0.5}, exploit_at={1: Exploit(donor(tmp_path), 3, {"lr": 0.5})})
    assert session.iterations == [1, 4, 5, 6] and not session.restarts


# --------------------------------------------------------------------------- how it can end


@pytest.mark.parametrize("how", [TrialEvicted, TrialRestarted, KeyboardInterrupt])
def test_unwinding_cleans_up_once(how: type[BaseException]) -> None:
    with pytest.raises(how):
        run(Descent, {"lr": 0.5}, raise_at={2: how()})
    assert kinds() == ["setup", "step", "step", "cleanup"]


def test_an_error_of_step_is_the_users_and_cleans_up_once() -> None:
    class Broken(Descent):
        def step(self) -> dict[str, Any]:
            raise KeyError("inner")

    with pytest.raises(KeyError, match="inner"):
        run(Broken, {"lr": 0.5})
    assert kinds() == ["setup", "cleanup"]


def test_an_error_of_cleanup_is_told_unless_something_else_came_first(caplog: pytest.LogCaptureFixture) -> None:
    class Messy(Descent):
        def cleanup(self) -> None:
            raise OSError("no broom")

    with pytest.raises(OSError, match="no broom"):
        run(Messy, {"lr": 0.5})
    assert not caplog.records
    with pytest.raises(TrialUnwound):
        run(Messy, {"lr": 0.5}, raise_at={2: TrialEvicted()})
    assert "cleanup() of Messy failed, too" in caplog.text and "no broom" in caplog.text


def test_a_setup_that_fails_leaves_nothing_to_clean_up() -> None:
    class Unready(Descent):
        def setup(self, config: dict[str, Any], start: float = 8.0) -> None:
            raise ValueError("no data")

    with pytest.raises(ValueError, match="no data"):
        run(Unready, {"lr": 0.5})
    assert kinds() == []


# -------------------------------------------------------------------------------- the state


class AsDict(tune.Trainable):
    """Whose state is what the config says."""

    def step(self) -> dict[str, Any]:
        return {"done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> Any:
        return checkpoint_dir if self.config["state"] == "folder" else self.config["state"]

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.config["loaded"].append(checkpoint)


@pytest.mark.parametrize(
    "state", [{}, {"a": [1, 0.1, None, True, {"b": "text"}], "c": float("inf")}, OrderedDict(weights=[0.5])]
)
def test_a_dict_comes_back_as_it_was(state: dict[str, Any]) -> None:
    saved = run(AsDict, {"state": state}).last_checkpoint
    loaded: list[Any] = []
    run(AsDict, {"state": state, "loaded": loaded}, start_checkpoint=saved, start_iteration=1)
    assert loaded == [state] and json.dumps(loaded[0]) == json.dumps(state)


@pytest.mark.parametrize("state", [None, "folder"])
def test_otherwise_the_folder_does(state: Any) -> None:
    saved = run(AsDict, {"state": state}).last_checkpoint
    loaded: list[Any] = []
    run(AsDict, {"state": state, "loaded": loaded}, start_checkpoint=saved, start_iteration=1)
    assert saved is not None and loaded == [saved.path]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"a": np.zeros(2)}, r"\['a'\] is a numpy.ndarray"),
        ({"a": [1, (2, 3)]}, r"\['a'\]\[1\] is a builtins.tuple"),
        ({"a": np.float64(1)}, r"\['a'\] is a numpy.float64"),
        ({"a": {3: 1}}, r"\['a'\]\[3\] has a key that is no text"),
        (3, "must return None, .* or a dict of plain data, got int: 3"),
        ("elsewhere", "must return None, .* got str: elsewhere"),
    ],
)
def test_what_cannot_be_a_state(state: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        run(AsDict, {"state": state})


def test_the_name_of_the_own_file_is_taken() -> None:
    class Rival(AsDict):
        def save_checkpoint(self, checkpoint_dir: str) -> None:
            Path(checkpoint_dir, STATE_FILE).touch()

    with pytest.raises(TuneError, match=f"has written a file '{STATE_FILE}'"):
        run(Rival, {})


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").touch()
    with pytest.raises(TuneError, match="was not written by a Trainable"):
        run(AsDict, {}, start_checkpoint=Checkpoint.from_directory(tmp_path), start_iteration=1)


@pytest.mark.parametrize(
    ("method", "returned", "told"),
    [
        ("step", None, r"step\(\) must return a dict of metrics, got NoneType"),
        ("reset_config", "yes", r"reset_config\(\) must return True .* or False .*, got 'yes'"),
    ],
)
def test_what_a_method_must_return(tmp_path: Path, method: str, returned: Any, told: str) -> None:
    start = donor(tmp_path)
    wrong = type("Wrong", (Resettable,), {method: lambda self, *given: returned})
    with pytest.raises(TypeError, match=told):
        run(wrong, {"lr": 0.5}, start_checkpoint=start, start_iteration=3)


# --------------------------------------------------------------------------- what Tuner takes


class NoStep(tune.Trainable):
    def save_checkpoint(self, checkpoint_dir: str) -> None: ...


class NoSave(Descent):
    save_checkpoint = tune.Trainable.save_checkpoint


class WithoutConfig(Descent):
    def setup(self) -> None:  # type: ignore[override]
        """Too few arguments."""


@pytest.mark.parametrize(
    ("trainable", "told"),
    [
        (OrderedDict, ["or a class derived from tune_plugins.Trainable, got the class OrderedDict, which is not."]),
        (
            NoStep,
            [
                "expected a class that defines step(self), got NoStep",
                "NoStep defines save_checkpoint(self, checkpoint_dir) and not load_checkpoint(self, checkpoint).",
            ],
        ),
        (tune.Trainable, ["expected a class that defines step(self), got Trainable"]),
        (NoSave, ["NoSave defines load_checkpoint(self, checkpoint) and not save_checkpoint(self, checkpoint_dir)."]),
        (WithoutConfig, ["a method setup that takes the config, got WithoutConfig.setup(self)"]),
        (
            tune.with_parameters(Descent, data=1),
            ["takes the config and data as keywords, got Descent.setup(self, conf"],
        ),
        (Descent({"lr": 0.5}), ["expected the class Descent itself, got an object of it. Write Tuner(Descent, ...)"]),
    ],
)
def test_what_cannot_be_a_trainable(trainable: Any, told: list[str], tmp_path: Path) -> None:
    with pytest.raises(tune.ArgumentError) as caught:
        tune.Tuner(trainable, run_config=tune.RunConfig(storage_path=tmp_path, runtime="inline")).fit()
    assert len(caught.value.mistakes) == len(told)
    for mistake, words in zip(caught.value.mistakes, told, strict=True):
        assert words in mistake


def test_resources_and_parameters_go_with_a_class() -> None:
    given: Any = tune.with_parameters(tune.with_resources(Descent, {"cpu": 2}), start=2.0)
    assert isinstance(given, TrialFunction)
    assert (given.name, given.resources, given.mistakes()) == ("Descent", {"cpu": 2}, [])
    with RecordingSession() as session:
        given({"lr": 0.5})
    assert session.values("x")[0] == 1.0


# ----------------------------------------------------------------------------------- inline


def fit(trainable: Any, path: Path, **config: Any) -> tune.ResultGrid:
    return tune.Tuner(
        trainable,
        param_space={"lr": tune.grid_search([0.5, 0.25, 0.125])},
        tune_config=tune.TuneConfig(metric="x", mode="min", seed=3, **config),
        run_config=tune.RunConfig(storage_path=path, verbose=0, runtime="inline"),
    ).fit()


def test_inline(tmp_path: Path) -> None:
    results = fit(tune.with_parameters(Descent, start=1.0), tmp_path)
    assert [result.metrics["x"] for result in results] == [(1 - lr) ** 6 for lr in (0.5, 0.25, 0.125)]
    assert results.experiment_path.split("/")[-1].startswith("Descent_")
    assert all(result.checkpoint for result in results)


class Relay(TrialScheduler):
    """Every trial yields after each report."""

    def next_milestone(self, trial: Any) -> Any:
        from tune_plugins.core.trial import Lease, Milestone

        return Lease(Milestone("training_iteration", trial.iteration + 1), save=True)

    def on_trial_result(self, trial: Any, result: dict[str, Any]) -> str:
        return Action.PAUSE if result["training_iteration"] < 6 else Action.CONTINUE

    def choose_trial_to_run(self, pending: Any, paused: Any) -> Any:
        return min([*pending.values(), *paused.values()], key=lambda t: (t.iteration, t.index), default=None)


def test_evicted_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole = fit(Descent, tmp_path / "whole")
    Descent.calls.clear()
    parts = fit(Descent, tmp_path / "parts", scheduler=Relay())
    assert [r.metrics["x"] for r in parts] == [r.metrics["x"] for r in whole]
    assert kinds().count("setup") == kinds().count("cleanup") == 18


@pytest.mark.parametrize("trainable", [Descent, Resettable])
def test_population_inline(tmp_path: Path, trainable: type[Descent]) -> None:
    scheduler = PopulationBasedTraining(
        "training_iteration", perturbation_interval=2, hyperparam_mutations={"lr": tune.uniform(0.0, 0.6)}
    )
    results = fit(trainable, tmp_path, scheduler=scheduler)
    assert not results.errors
    assert [result.metrics["training_iteration"] for result in results] == [6, 6, 6]
    assert kinds().count("setup") == kinds().count("cleanup")
