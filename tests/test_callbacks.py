"""The form of callbacks: which are accepted, what they are called with, and what is said about the others."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, create_autospec

import pytest

import tune_plugins as tune
from tune_plugins.callbacks import HOOKS, callback_mistakes
from tune_plugins.record.store import FILE_NAME, ExperimentStore


def fit(folder: Path, *callbacks: Any, train: Any = None, space: Any = None, **options: Any) -> tune.ResultGrid:
    """Two trials of two reports each, inline."""

    def two_reports(config: dict[str, Any]) -> None:
        for step in (1, 2):
            tune.report(loss=config["x"] / step)

    run = {key: options.pop(key) for key in ("stop", "failure_config") if key in options}
    return tune.Tuner(
        train or two_reports,
        param_space=space or {"x": tune.grid_search([1, 2]), "fixed": 3},
        tune_config=tune.TuneConfig(metric="loss", mode="min", **options),
        run_config=tune.RunConfig(
            verbose=0, storage_path=folder, name="mine", runtime="inline", callbacks=callbacks, **run
        ),
    ).fit()


class Everything(tune.Callback):
    """Each hook as people write it for Ray Tune."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def setup(self, stop=None, num_samples=None, total_num_samples=None, **info):
        self.told.append(("setup", stop, num_samples, total_num_samples, info["run"].name))

    def on_step_begin(self, iteration, trials, **info):
        self.told.append(("step_begin", iteration))

    def on_step_end(self, iteration, trials, **info):
        self.told.append(("step_end", iteration))

    def on_trial_start(self, iteration, trials, trial, **info):
        self.told.append(("start", trial.trial_id))

    def on_trial_restore(self, iteration, trials, trial, **info):
        self.told.append(("restore", trial.trial_id))

    def on_trial_save(self, iteration, trials, trial, **info):
        self.told.append(("save", trial.trial_id))

    def on_trial_result(self, iteration, trials, trial, result, **info):
        assert trials[trial.index] is trial
        self.told.append(("result", trial.trial_id, result["loss"]))

    def on_trial_complete(self, iteration, trials, trial, **info):
        self.told.append(("complete", trial.trial_id, trial.status))

    def on_trial_recover(self, iteration, trials, trial, **info):
        self.told.append(("recover", trial.trial_id, info["error"].type))

    def on_trial_error(self, iteration, trials, trial, **info):
        self.told.append(("error", trial.trial_id, info["error"].message))

    def on_checkpoint(self, iteration, trials, trial, checkpoint, **info):
        assert Path(checkpoint.path).is_dir()
        self.told.append(("checkpoint", trial.trial_id))

    def on_experiment_end(self, trials, **info):
        self.told.append(("end", len(trials), info["reason"]))


def test_every_hook_of_ray_tune_is_called(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        checkpoint = tune.get_checkpoint()
        tune.report({"loss": config["x"]}, checkpoint=save(tmp_path))
        if config["x"] == 2 and checkpoint is None:
            raise OSError("once")
        if config["x"] == 3:
            raise ValueError("for good")

    everything = Everything()
    fit(
        tmp_path,
        everything,
        train=train,
        space={"x": tune.grid_search([1, 2, 3])},
        stop={"training_iteration": 9},
        failure_config=tune.FailureConfig(max_failures=1),
    )
    told = everything.told
    assert told[0] == ("setup", {"training_iteration": 9}, 1, 3, "mine")
    assert told[1] == ("step_begin", 0)
    assert told[-1] == ("end", 3, "")
    assert told[-2][0] == "step_end"
    steps = [(name, iteration) for name, iteration, *_ in told if name.startswith("step_")]
    assert steps == [(name, i) for i in range(len(steps) // 2) for name in ("step_begin", "step_end")]
    by_trial: dict[str, list[Any]] = {}
    for name, whom, *more in told:
        if isinstance(whom, str):
            by_trial.setdefault(whom, []).append((name, *more))
    first = [("start",), ("result", 1), ("save",), ("checkpoint",)]
    assert sorted(by_trial["00000"][:4]) == sorted(first)
    assert by_trial["00000"][4:] == [("complete", "TERMINATED")]
    names = [name for name, *_ in by_trial["00001"]]
    assert names.index("recover") < names.index("restore")
    assert names[names.index("restore") + 1] == "start"
    assert ("recover", "OSError") in by_trial["00001"]
    assert by_trial["00001"][-1] == ("complete", "TERMINATED")
    assert by_trial["00002"][-1] == ("error", "for good")


def save(folder: Path) -> tune.Checkpoint:
    path = folder / "state"
    path.mkdir(exist_ok=True)
    (path / "x").write_text("x")
    return tune.Checkpoint(path)


def test_hooks_are_called_by_name_with_what_they_take(tmp_path: Path) -> None:
    told = []

    class Few(tune.Callback):
        def on_trial_result(self, trial, result):  # type: ignore[override]
            told.append((trial.id, result["loss"]))

        def on_experiment_end(self, *, reason):  # type: ignore[override]
            told.append(reason)

        def on_trial_complete(self, *args, **kwargs):
            told.append((args, sorted(kwargs)))

        @staticmethod
        def on_trial_start(trial, unheard_of=None, **info):  # type: ignore[override]
            told.append((str(trial), unheard_of, "iteration" in info))

    fit(tmp_path, Few(), space={"x": 1})
    all_of_it = ((), ["iteration", "trial", "trials"])
    assert told == [("two_reports_00000", None, True), ("00000", 1), ("00000", 0.5), all_of_it, ""]


def test_a_decorated_hook_an_instance_attribute_and_a_mock_are_hooks(tmp_path: Path) -> None:
    told = []

    def logged(hook: Any) -> Any:
        @functools.wraps(hook)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return hook(*args, **kwargs)

        return wrapper

    class Decorated(tune.Callback):
        @logged
        def on_trial_start(self, iteration, trials, trial, **info):
            told.append("decorated")

    attached = tune.Callback()
    attached.on_trial_start = lambda trial, **info: told.append("attached")  # type: ignore[method-assign]
    mock, specified = MagicMock(spec=tune.Callback), create_autospec(tune.Callback, instance=True)
    mock.get_state.return_value = specified.get_state.return_value = None
    fit(tmp_path, Decorated(), attached, mock, specified, space={"x": 1})
    assert told == ["decorated", "attached"]
    assert mock.on_trial_result.call_count == specified.on_trial_result.call_count == 2


class Positional(tune.Callback):
    """Takes arguments by position alone."""

    def on_trial_start(self, *args):  # type: ignore[override]
        """As it says."""


class Renamed(tune.Callback):
    """Calls an argument otherwise."""

    def on_trial_result(self, iteration, trials, trial, results, **info):  # type: ignore[override]
        """As it says."""


class First(tune.Callback):
    """Takes the first by position alone."""

    def on_trial_start(self, iteration, /, **info):  # type: ignore[override]
        """As it says."""


class NoStars(tune.Callback):
    """Expects one argument where the rest is given."""

    def on_trial_start(self, iteration, trials, trial, info):  # type: ignore[override]
        """As it says."""


class Misspelled(tune.Callback):
    """Would never be called."""

    def on_trial_results(self, iteration, trials, trial, result, **info):
        """As it says."""


class Asynchronous(tune.Callback):
    """Nobody would wait for it."""

    async def on_trial_complete(self, iteration, trials, trial, **info):  # type: ignore[override]
        """As it says."""


class Foreign:
    """A callback of another framework; PyTorch Lightning's has `setup`, Transformers' `on_step_end`."""

    def setup(self, trainer, pl_module, stage):
        """As it says."""

    def on_step_end(self, args, state, control, **kwargs):
        """As it says."""


class OfALogger(tune.Callback):
    """The hooks of Ray Tune's LoggerCallback."""

    def log_trial_result(self, iteration, trial, result):
        """As it says."""


class NoMethod(tune.Callback):
    """Has something else in the place of a hook."""

    on_trial_start = 3  # type: ignore[assignment]


WRONG = {
    "positional": (Positional(), "got def on_trial_start(self, *args) in Positional"),
    "renamed": (Renamed(), "expected def on_trial_result(self, iteration, trials, trial, result, **info), got def"),
    "first by position": (First(), "got def on_trial_start(self, iteration, /, **info) in First"),
    "no stars": (NoStars(), "got def on_trial_start(self, iteration, trials, trial, info) in NoStars"),
    "misspelled": (
        Misspelled(),
        "Misspelled.on_trial_results is no hook, and nobody would call it. Did you mean 'on_trial_result'?",
    ),
    "async": (Asynchronous(), "which is async or yields"),
    "foreign": (Foreign(), "belong into the training function"),
    "class": (Renamed, "expected an object, got the class Renamed. Write Renamed()."),
    "nothing": (object(), "expected a tune_plugins.Callback, got <object"),
    "logger": (
        OfALogger(),
        "OfALogger.log_trial_result is no hook, and nobody would call it. Derive from tune_plugins.logger.Logger",
    ),
    "no method": (NoMethod(), "got NoMethod.on_trial_start = 3"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_could_not_be_called_is_refused_before_the_run(tmp_path: Path, name: str) -> None:
    callback, message = WRONG[name]
    (mistake,) = callback_mistakes("callbacks[0]", callback)
    assert message in mistake
    with pytest.raises(tune.ArgumentError) as caught:
        fit(tmp_path, callback)
    assert mistake in caught.value.mistakes
    assert not (tmp_path / "mine").exists()


def test_a_trial_may_be_the_key_of_a_dict(tmp_path: Path) -> None:
    """As the loggers of Ray Tune keep a file for each."""
    files: dict[Any, list[float]] = {}

    class Files(tune.Callback):
        def on_trial_result(self, iteration, trials, trial, result, **info):
            files.setdefault(trial, []).append(result["loss"])

    fit(tmp_path, Files())
    assert list(files.values()) == [[1, 0.5], [2, 1]]


def test_nothing_of_a_callback_is_touched_but_its_hooks() -> None:
    class Lazy(tune.Callback):
        @property
        def client(self) -> Any:
            raise ConnectionError("asked for too early")

    assert callback_mistakes("x", Lazy()) == []


def test_all_callbacks_are_looked_at(tmp_path: Path) -> None:
    with pytest.raises(tune.ArgumentError) as caught:
        fit(tmp_path, Renamed(), Everything(), Positional())
    assert [mistake.partition(":")[0] for mistake in caught.value.mistakes] == ["callbacks[0]", "callbacks[2]"]


def test_the_base_class_has_no_mistakes() -> None:
    assert callback_mistakes("x", tune.Callback()) == callback_mistakes("x", Everything()) == []
    assert set(HOOKS) >= {"setup", "get_state", "set_state", "on_trial_result", "on_checkpoint"}


def test_the_state_of_callbacks_is_in_the_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Counting(tune.Callback):
        count = 0

        def on_trial_result(self, **info):
            self.count += 1

        def get_state(self):
            return {"count": self.count}

    class Unable(tune.Callback):
        def get_state(self):
            raise RuntimeError("not now")

    with caplog.at_level(logging.WARNING):
        fit(tmp_path, Counting(), Unable(), Everything())
    with ExperimentStore.open(tmp_path / "mine") as store:
        assert store.meta()["callbacks"] == [["Counting", {"count": 4}]]
    assert caplog.text.count("Unable.get_state raised") == 1


# ------------------------------------------------------------------------------------ names of trials


class Named(tune.Callback):
    """Takes down what a trial says of itself."""

    def __init__(self) -> None:
        self.trials: list[Any] = []

    def on_experiment_end(self, trials, **info):
        self.trials = list(trials)


def test_what_a_trial_says_of_itself(tmp_path: Path) -> None:
    named = Named()
    space = {"lr": tune.grid_search([0.1, 0.01]), "net": {"depth": tune.choice([4])}, "fixed": 3, "x": 1}
    results = fit(tmp_path, named, space=space)
    trial = named.trials[1]
    assert (trial.trial_id, trial.id, trial.index) == ("00001", "00001", 1)
    assert (trial.trainable_name, str(trial), trial.name) == ("two_reports", "two_reports_00001", "two_reports_00001")
    assert trial.evaluated_params == {"lr": 0.01, "net/depth": 4}
    assert trial.experiment_tag == "1_lr=0.01,depth=4"
    assert trial.config == {"lr": 0.01, "net": {"depth": 4}, "fixed": 3, "x": 1}
    assert trial.last_result["loss"] == 0.5
    assert (trial.checkpoint, trial.status) == (None, "TERMINATED")
    assert trial.path == results[1].path


def test_creators_written_for_ray_tune(tmp_path: Path) -> None:
    named = Named()

    def name(trial: Any) -> str:
        return f"{trial.trainable_name}_{trial.trial_id}_{trial.evaluated_params['x']} / größer"

    def dirname(trial: Any) -> str:
        assert trial.last_result == {}
        return f"{trial}_{trial.experiment_tag}"

    results = fit(tmp_path, named, trial_name_creator=name, trial_dirname_creator=dirname)
    assert [trial.name for trial in named.trials] == ["two_reports_00000_1 / größer", "two_reports_00001_2 / größer"]
    assert [result.trial_name for result in results] == [trial.name for trial in named.trials]
    assert [Path(result.path).name for result in results] == [
        "two_reports_00000_1_gr_er_0_x=1",
        "two_reports_00001_2_gr_er_1_x=2",
    ]


def test_trials_do_not_share_a_folder(tmp_path: Path) -> None:
    seen = []

    def train(config: dict[str, Any]) -> None:
        seen.append(Path(tune.get_context().get_trial_dir()).name)
        tune.report(loss=0)

    names = iter(["same", "Same", "same_00001", "../up", "..", "x" * 300, FILE_NAME])
    fit(tmp_path, train=train, space={"x": 1}, num_samples=7, trial_dirname_creator=lambda trial: next(names))
    assert seen == ["same", "Same_00001", "same_00001_00002", ".._up", "_", "x" * 100, f"{FILE_NAME}_00006"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_a_creator_that_returns_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(tune.TuneError, match="trial_dirname_creator: expected a name, got None for trial 00000"):
        fit(tmp_path, trial_dirname_creator=lambda trial: None)


def test_names_are_made_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def name(trial: Any) -> str:
        asked.append(trial.id)
        return f"number {len(asked)}"

    def train(config: dict[str, Any]) -> None:
        if len(tried) < 2:
            tried.append(1)
            raise OSError("again")
        tune.report(loss=0)

    tried: list[int] = []
    results = fit(
        tmp_path,
        train=train,
        space={"x": 1},
        trial_name_creator=name,
        failure_config=tune.FailureConfig(max_failures=3),
    )
    assert asked == ["00000"]
    assert results[0].trial_name == "number 1"


# ------------------------------------------------------- what people have written for Ray Tune, in public


class PrintsResult(tune.Callback):
    """Result, config and time, as a task queue wants them (a web service for anomaly repair)."""

    def __init__(self):
        self.data = []

    def on_trial_result(self, iteration, trials, trial, result, **info):
        self.data.append({"score": result["loss"], "x": result["config"]["x"], "config": result["config"].copy()})


class CleansUp(tune.Callback):
    """Removes what it does not want to keep from a trial's folder (an RLlib economy)."""

    def __init__(self, keep_checkpoints=1):
        self.seen = set()

    def on_trial_result(self, iteration, trials, trial, result, **info):
        self.seen.add((trial.local_path, iteration >= 0))


class FlatMetric(tune.Callback):
    """Logs the mean reward, if there is any (a game of capture the flag)."""

    said = ""

    def on_trial_result(self, iteration, trials, trial, result, **info):
        mean_reward = result.get("env_runners/episode_return_mean", None)
        if mean_reward is not None:
            self.said += f"Trial {trial.trial_id} - Iteration {iteration}: Mean Reward = {mean_reward:.2f}"


class Recommender:
    """No callback by birth; has hooks of its own beside Ray Tune's (a framework of recommenders)."""

    def __init__(self):
        self.trial_reports, self.datasets = [], 0

    def on_dataset_creation(self, main_dataset, *folds):
        self.datasets += 1

    def on_trial_result(self, iteration, trials, trial, result, **info):
        params = {key: value for key, value in trial.config.items() if not isinstance(value, dict)}
        self.trial_reports.append({"trial": str(trial), "params": params, "report": result.get("training_iteration")})

    def on_training_complete(self, model, *args, **kwargs):
        self.datasets += 1


class CountsFinished(tune.Callback):
    """Progress in words: how many are done (an issue about short logs)."""

    def __init__(self):
        self.lines = []

    def on_trial_complete(self, iteration, trials, trial, **info):
        done = len([t for t in trials if t.status in ("TERMINATED", "ERROR")])
        self.lines.append(f"{done}/{len(trials)}")


def test_public_callbacks(tmp_path: Path) -> None:
    printing, cleaning, flat, counting = PrintsResult(), CleansUp(), FlatMetric(), CountsFinished()
    foreign = Recommender()
    results = fit(tmp_path, printing, cleaning, flat, foreign, counting)
    assert [(each["score"], each["x"]) for each in printing.data] == [(1, 1), (0.5, 1), (2, 2), (1, 2)]
    assert cleaning.seen == {(result.path, True) for result in results}
    assert flat.said == ""
    assert foreign.trial_reports[0] == {"trial": "two_reports_00000", "params": {"x": 1, "fixed": 3}, "report": 1}
    assert foreign.datasets == 0
    assert counting.lines[-1] == "2/2"


@pytest.mark.parametrize(
    ("creator", "expected"),
    [
        (lambda trial: "{}_{}_123".format(trial.trainable_name, trial.trial_id), "two_reports_00001_123"),  # noqa: UP032
        (lambda trial: trial.__str__() + "_" + trial.experiment_tag + ",", "two_reports_00001_1_x=2,"),
        (lambda t: f"trial-{t.experiment_tag}", "trial-1_x=2"),
        (lambda trial: str(trial), "two_reports_00001"),
        (
            lambda t: f"{t.trial_id}_{'.'.join(f'{k}={v:.2f}' for k, v in t.evaluated_params.items())}",
            "00001_x=2.00",
        ),
        (lambda trial: f"run_{trial.trial_id[-2:]}", "run_01"),
        (lambda trial: "the_same", "the_same_00001"),
    ],
)
def test_public_creators_of_folder_names(tmp_path: Path, creator: Any, expected: str) -> None:
    results = fit(tmp_path, trial_dirname_creator=creator)
    assert Path(results[1].path).name == expected
