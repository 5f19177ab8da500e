"""What holds on Ray, inline and under the virtual clock alike: hooks, causes of ends, errors, retention.

Many cases are those of bug reports about other tuners; where one is, its number stands beside it.
"""

from __future__ import annotations

import builtins
import os
import pickle
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins.callbacks import Callback
from tune_plugins.core.ends import EndCause, ErrorInfo
from tune_plugins.core.scheduler import Action, Decision
from tune_plugins.record.store import ExperimentStore
from tune_plugins.results import ResultGrid
from tune_plugins.schedulers import ASHAScheduler, HyperBandScheduler, MedianStoppingRule, PopulationBasedTraining
from tune_plugins.search import Searcher

Run = Callable[..., ResultGrid]
STEPS = 8


def _save(folder: Path, step: int) -> tune.Checkpoint:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "step").write_text(str(step))
    return tune.Checkpoint(folder)


def train(config: dict[str, Any]) -> None:
    """Eight steps, the loss of each is ``x / step``; goes on from its checkpoint."""
    first = 0
    if (start := tune.get_checkpoint()) is not None:
        first = int(Path(start.path, "step").read_text())
    folder = Path(tune.get_context().get_trial_dir(), "mine")
    for step in range(first + 1, STEPS + 1):
        tune.report({"loss": config["x"] / step}, checkpoint=_save(folder, step))


class Simulated:
    """The same training as `train`, known beforehand."""

    def start(self, index: int, config: dict[str, Any], seed: int) -> int:
        return 0

    def step(self, state: int, config: dict[str, Any]) -> tuple[int, dict[str, float], float] | None:
        return None if state == STEPS else (state + 1, {"loss": config["x"] / (state + 1)}, 1.0)


@pytest.fixture(params=["ray", "inline", "simulated"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Tunes the same training on one of the runtimes."""
    kind = request.param

    def go(*, samples: int = 4, budget: float | None = None, **options: Any) -> ResultGrid:
        chosen = {name: options.pop(name, None) for name in ("scheduler", "search_alg")}
        tuning = tune.TuneConfig(metric="loss", mode="min", num_samples=samples, seed=3, time_budget_s=budget, **chosen)
        config = tune.RunConfig(**{"verbose": 0, "storage_path": tmp_path, "name": "run", **options})
        space = {"x": tune.uniform(1, 2)}
        if kind == "simulated":
            cluster = tune.SimulatedCluster(workers=2)
            return tune.simulate(Simulated(), param_space=space, tune_config=tuning, run_config=config, cluster=cluster)
        config.runtime = kind
        return tune.Tuner(train, param_space=space, tune_config=tuning, run_config=config).fit()

    return go


class Listener(Callback):
    """Takes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def setup(self, *args: Any, run: Any, **info: Any) -> None:
        self.calls.append(("setup", run.total_trials))

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.calls.append(("start", trial.id))

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        self.calls.append(("result", trial.id, result["training_iteration"]))

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.calls.append(("complete", trial.id, trial.cause))

    def on_experiment_end(self, trials: Any, *, reason: str, **info: Any) -> None:
        self.calls.append(("end", reason))


def test_hooks_come_in_the_same_order(run: Run) -> None:
    listener = Listener()
    run(callbacks=[listener], stop={"training_iteration": 5})
    assert listener.calls[0] == ("setup", 4)
    assert listener.calls[-1] == ("end", "")
    for trial_id in ("00000", "00001", "00002", "00003"):
        assert [call[::2] if len(call) > 2 else call[:1] for call in listener.calls if trial_id in call[1:2]] == [
            ("start",),
            *[("result", iteration) for iteration in range(1, 6)],
            ("complete", EndCause.THRESHOLD),
        ]


def test_a_callback_that_raises_harms_nothing(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Optuna's 2017: a logger that cannot be reached ends the study."""

    class Unreachable(Callback):
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            raise ConnectionError("no route to host")

    results = run(callbacks=[Unreachable()])
    assert [result.cause for result in results] == [EndCause.FINISHED] * 4
    assert caplog.text.count("Unreachable.on_trial_complete raised") == 1


CAUSES: dict[str, tuple[dict[str, Any], set[EndCause]]] = {
    "nothing": ({}, {EndCause.FINISHED}),
    "threshold": ({"stop": {"training_iteration": 3}}, {EndCause.THRESHOLD}),
    "function": ({"stop": lambda trial_id, result: result["training_iteration"] == 3}, {EndCause.STOPPER}),
    "nobody": (
        {"scheduler": MedianStoppingRule(grace_period=100, time_attr="training_iteration")},
        {EndCause.FINISHED},
    ),
    "asha": (
        {"scheduler": ASHAScheduler(max_t=4, grace_period=1, reduction_factor=2, min_results_per_rung=1)},
        {EndCause.SCHEDULED_END, EndCause.SCHEDULER},
    ),
    "hyperband": ({"scheduler": HyperBandScheduler(max_t=4, reduction_factor=2), "samples": 8}, set()),
}


@pytest.mark.parametrize("how", CAUSES)
def test_causes_of_ends(run: Run, how: str) -> None:
    options, expected = CAUSES[how]
    results = run(**options)
    causes = {result.cause for result in results}
    assert causes == expected if expected else causes <= {EndCause.SCHEDULED_END, EndCause.SCHEDULER}
    for result in results:
        assert result.reason
        assert result.cause is not None
        assert result.cause.full == (result.cause not in (EndCause.SCHEDULER, EndCause.STOPPER))


@pytest.mark.parametrize("run", ["ray", "inline"], indirect=True)  # tests/driver/test_simulated.py has the third one
def test_ctrl_c_is_the_users(run: Run) -> None:
    class Impatient(Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
            if result["training_iteration"] == 3 and trial.id == "00001":
                os.kill(os.getpid(), signal.SIGINT)

    results = run(samples=50, callbacks=[Impatient()])
    assert len(results) < 50
    causes = {result.cause for result in results}
    assert causes <= {EndCause.FINISHED, EndCause.USER}
    assert all("Ctrl-C" in result.reason for result in results if result.cause is EndCause.USER)


@pytest.mark.parametrize("keep", [1, 2])
def test_a_population_with_few_checkpoints_kept(run: Run, keep: int, tmp_path: Path) -> None:
    """Ray's 8441, 9036 and 27170: a donor's checkpoint is deleted before it was loaded, or was never there."""
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=2,
        quantile_fraction=0.5,
        hyperparam_mutations={"x": tune.uniform(1, 2)},
    )
    results = run(scheduler=scheduler, checkpoint_config=tune.CheckpointConfig(num_to_keep=keep))
    assert [str(result.status) for result in results] == ["TERMINATED"] * 4
    with ExperimentStore.open(tmp_path / "run") as store:
        assert store.exploits()
        left = [kept.record for kept in store.checkpoints()]
        saved = store.checkpoints(include_deleted=True)
    assert len(saved) > len(left)
    for result in results:
        own = [checkpoint for checkpoint in left if checkpoint.trial_id == result.trial_id]
        assert 1 <= len(own) <= keep
    for checkpoint in left:
        assert checkpoint.path is None or Path(checkpoint.path).is_dir(), "the record says that it is there"
    on_disk = {str(path) for path in (tmp_path / "run").glob("trial_*/checkpoint_*")}
    assert on_disk == {checkpoint.path for checkpoint in left if checkpoint.path is not None}


class Unpicklable(RuntimeError):
    """Cannot travel: Ray's pull request 23475."""

    def __reduce__(self) -> Any:
        raise TypeError("this exception cannot be pickled")


class Demanding(ValueError):
    """Its constructor wants more than pickle gives: Ray's 54379."""

    def __init__(self, code: int, *, detail: str) -> None:
        super().__init__(f"code {code}: {detail}")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even a message")


class OutOfMemoryError(RuntimeError):
    """As PyTorch names its own, which is no MemoryError: Ray's 3947 and 4061, Optuna's 1224."""


def _chained() -> None:
    try:
        {}["inner"]
    except KeyError as error:
        raise ValueError("outer") from error


def _raise(error: BaseException) -> None:
    raise error


@dataclass(frozen=True)
class Frozen(Exception):
    """Nothing can be set on it, and it compares by fields that only the original has."""

    code: int


class Rows:
    """A data set with a row that cannot be read: PyTorch's 16647, 25522 and 30147."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        try:
            raise OSError("the file of the row")
        finally:
            raise self.error


def _load(error: Exception) -> None:
    from torch.utils.data import DataLoader

    list(DataLoader(Rows(error), num_workers=1))  # type: ignore[arg-type]


def _in_joblib() -> None:
    from joblib import Parallel, delayed

    Parallel(n_jobs=2)(delayed(_raise)(ValueError("in joblib")) for _ in range(2))


def _noted() -> None:
    error = ValueError("bad")
    error.add_note("in row 3 of \udcff")
    raise error


def _recursive(down: int = 0) -> None:
    _recursive(down + 1)


def _group() -> None:
    raise ExceptionGroup("many", [ValueError(f"part {number}") for number in range(20)])


SEVERAL_LINES = "one\nTraceback (most recent call last):\n  two"
FAILURES: dict[str, tuple[Callable[[], Any], str, str, EndCause]] = {
    "unpicklable": (lambda: _raise(Unpicklable("no")), "Unpicklable", "no", EndCause.FAILED),
    "demanding": (lambda: _raise(Demanding(3, detail="bad")), "Demanding", "code 3: bad", EndCause.FAILED),
    "mute": (lambda: _raise(Mute()), "Mute", "<str() failed: RuntimeError>", EndCause.FAILED),
    "chained": (_chained, "ValueError", "outer", EndCause.FAILED),
    "multiline": (lambda: _raise(ValueError(SEVERAL_LINES)), "ValueError", SEVERAL_LINES, EndCause.FAILED),
    "empty": (lambda: _raise(ValueError()), "ValueError", "", EndCause.FAILED),
    "group": (
        lambda: _raise(ExceptionGroup("both", [KeyError()])),
        "ExceptionGroup",
        "both (1 sub-exception)",
        EndCause.FAILED,
    ),
    "frozen": (lambda: _raise(Frozen(7)), "Frozen", "7", EndCause.FAILED),
    "loader": (lambda: _load(KeyError("label")), "KeyError", "'label'", EndCause.FAILED),
    "joblib": (_in_joblib, "ValueError", "in joblib", EndCause.FAILED),
    "noted": (_noted, "ValueError", "bad", EndCause.FAILED),
    "recursion": (_recursive, "RecursionError", "maximum recursion depth exceeded", EndCause.FAILED),
    "large group": (_group, "ExceptionGroup", "many (20 sub-exceptions)", EndCause.FAILED),
    "memory in a group": (
        lambda: _raise(ExceptionGroup("both", [ValueError(), MemoryError()])),
        "ExceptionGroup",
        "both (2 sub-exceptions)",
        EndCause.OUT_OF_MEMORY,
    ),
    "exit": (lambda: _raise(SystemExit(3)), "SystemExit", "3", EndCause.FAILED),
    "not utf-8": (lambda: _raise(ValueError("\udcff broken")), "ValueError", "\\udcff broken", EndCause.FAILED),
    "memory": (lambda: _raise(MemoryError("no room")), "MemoryError", "no room", EndCause.OUT_OF_MEMORY),
    "device memory": (lambda: _raise(OutOfMemoryError("CUDA")), "OutOfMemoryError", "CUDA", EndCause.OUT_OF_MEMORY),
}


def _forgetful(config: dict[str, Any]) -> None:
    for step in range(1, 10):
        tune.report(loss=config["x"] / step)


@pytest.mark.parametrize("runtime", ["ray", "inline"])
@pytest.mark.parametrize("kind", ["hyperband", "pbt"])
def test_pauses_that_need_a_checkpoint_are_told_at_the_first_one(
    fit: Any, runtime: str, kind: str, tmp_path: Path
) -> None:
    scheduler = HyperBandScheduler(max_t=9)
    if kind == "pbt":
        mutations = {"x": tune.uniform(0, 1)}
        scheduler = PopulationBasedTraining(
            time_attr="training_iteration", perturbation_interval=2, hyperparam_mutations=mutations
        )
    chosen = {"num_samples": 6, "metric": "loss", "mode": "min", "scheduler": scheduler, "max_resident_trials": 0}
    with pytest.raises(
        tune.TuneError,
        match=r"^The scheduler pauses trial 0000[01], and it has no checkpoint of iteration [12] to go on "
        r"from later \(.*\)\. "
        r"At most 0 paused trials may wait in memory, .*\(tune\.report\(\.\.\., checkpoint=.*max_resident_trials=",
    ):
        fit(_forgetful, {"x": tune.uniform(0, 1)}, runtime=runtime, name="run", **chosen)
    results = ResultGrid(tmp_path / "results" / "run")
    assert all(result.status.finished for result in results)
    assert results.num_errors == 0, "they have done nothing wrong"


def test_trials_without_checkpoints_wait_in_memory_where_there_is_room(fit: Any) -> None:
    scheduler = HyperBandScheduler(max_t=9)
    space = {"x": tune.uniform(0, 1)}
    results = fit(_forgetful, space, num_samples=6, metric="loss", mode="min", scheduler=scheduler)
    assert results.num_errors == 0
    assert max(result.metrics["training_iteration"] for result in results) == 9


@pytest.mark.parametrize("runtime", ["ray", "inline"])
def test_text_that_utf_8_cannot_hold_ends_nothing(fit: Any, runtime: str, tmp_path: Path) -> None:
    """In names, configs, results, reasons, folders and files: sqlite-utils' 507, llm's 546, maestral's 230."""
    odd = "a\udcffb"

    class Sceptic(ASHAScheduler):
        def on_trial_result(self, trial: Any, result: dict[str, Any]) -> Any:
            return Decision(Action.STOP, f"because of {result['text']}")

    def failing(config: dict[str, Any]) -> None:
        folder = Path(tune.get_context().get_trial_dir(), odd)
        folder.mkdir(parents=True)
        (folder / odd).write_text("1")
        tune.report({"loss": 1.0, "text": config[odd], odd: {odd: [odd]}}, checkpoint=tune.Checkpoint(folder))

    grid = fit(
        failing,
        {odd: tune.choice([odd]), "file": odd},
        runtime=runtime,
        scheduler=Sceptic(max_t=8),
        metric="loss",
        mode="min",
        trial_name_creator=lambda trial: odd,
        trial_dirname_creator=lambda trial: odd,
        storage_path=tmp_path / odd,
    )
    for results in (grid, ResultGrid(grid.experiment_path)):
        (result,) = results
        assert (result.config, result.metrics["text"], result.metrics[odd]) == (
            {odd: odd, "file": odd},
            odd,
            {odd: [odd]},
        )
        assert (result.trial_name, result.reason) == ("a\\udcffb", "because of a\\udcffb")
        assert Path(result.checkpoint.path, odd).read_text() == "1"


TOLD_BY_THE_TRACEBACK = {
    "chained": ("KeyError: 'inner'", "direct cause"),
    "mute": ("Mute: <exception str() failed>",),
    "loader": ("OSError: the file of the row", "Caught KeyError in DataLoader worker process 0"),
    "joblib": ("in _raise", "in _in_joblib"),
    "noted": ("ValueError: bad\nin row 3 of \\udcff",),
    "recursion": ("Previous line repeated",),
    "large group": ("ValueError: part 0\n", "ValueError: part 19\n"),
}


@pytest.mark.parametrize("runtime", ["ray", "inline"])
@pytest.mark.parametrize("name", FAILURES)
def test_errors_arrive_as_type_message_and_traceback(fit: Any, runtime: str, name: str) -> None:
    fail, kind, message, cause = FAILURES[name]
    told: list[ErrorInfo] = []

    class Notifier(Callback):
        def on_trial_error(self, iteration: int, trials: Any, trial: Any, *, error: ErrorInfo, **info: Any) -> None:
            told.append(error)

    def failing(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        fail()

    (result,) = fit(failing, runtime=runtime, callbacks=[Notifier()])
    assert (str(result.status), result.cause) == ("ERROR", cause)
    error = result.error
    assert error is not None
    assert error.type_name.rpartition(".")[2] == kind
    assert error.message == message
    assert "in failing" in error.traceback and "worker/attempt.py" not in error.traceback
    for part in TOLD_BY_THE_TRACEBACK.get(name, ()):
        assert part in error.traceback
    original = globals().get(kind) or getattr(builtins, kind)
    made_as_any = issubclass(original, Exception) and not issubclass(original, ExceptionGroup)
    assert isinstance(error, original) is made_as_any, "it is caught by its own name"
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == f"{error.type_name}: {message}\n\n{error.traceback}"
    assert result.metrics["loss"] == 1.0, "what was reported before it failed is there"
    assert [(one.type, one.message) for one in told] == [(error.type_name, error.message)]


@pytest.mark.parametrize("runtime", ["ray", "inline"])
def test_the_first_trial_may_fail_and_the_best_of_the_others_is_found(fit: Any, runtime: str) -> None:
    """neptune-optuna's 4: the first trial raises, and nothing can be asked any more."""

    def failing(config: dict[str, Any]) -> dict[str, Any]:
        if config["x"] == 0:
            raise ZeroDivisionError
        return {"loss": config["x"]}

    grid = fit(failing, {"x": tune.grid_search([0, 2, 1])}, runtime=runtime, metric="loss", mode="min")
    assert grid.get_best_result().config == {"x": 1}
    assert [result.cause for result in grid] == [EndCause.FAILED, EndCause.FINISHED, EndCause.FINISHED]


@pytest.mark.parametrize("runtime", ["ray", "inline"])
def test_fail_fast_raises_what_the_trial_raised(fit: Any, runtime: str) -> None:
    """Ray's 9672 and 2814: the underlying error is wanted, not one about it."""

    def failing(config: dict[str, Any]) -> None:
        raise Demanding(7, detail="wrong data")

    with pytest.raises(Demanding, match="code 7: wrong data") as caught:
        fit(failing, runtime=runtime, fail_fast="raise")
    assert isinstance(caught.value, tune.TrialError)
    assert caught.value.type_name.endswith("Demanding")


class Broken(ASHAScheduler):
    def on_trial_result(self, trial: Any, result: dict[str, Any]) -> Any:
        raise ZeroDivisionError("by zero")


class BrokenSearcher(Searcher):
    def suggest(self, trial_id: str, index: int) -> dict[str, Any]:
        return self.space.sample(index, self.seed)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        raise ZeroDivisionError("by zero")


def _broken(trial_id: str, result: dict[str, Any]) -> bool:
    raise ZeroDivisionError("by zero")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"scheduler": Broken(max_t=8)}, r"the scheduler or stopper of this run \(Broken\)"),
        ({"stop": _broken}, "the scheduler or stopper .*FunctionStopper"),
        ({"search_alg": BrokenSearcher()}, r"BrokenSearcher\.on_trial_result, trial 0000"),
    ],
    ids=["scheduler", "stopper", "searcher"],
)
def test_an_error_of_the_users_scheduler_ends_the_run_and_names_it(
    run: Run, options: dict[str, Any], named: str, tmp_path: Path
) -> None:
    """It passes through the training where that shares the thread, and must not be taken for an error of it."""
    with pytest.raises(tune.TuneError, match=f"ZeroDivisionError in {named}.*by zero"):
        run(**options)
    assert all(result.cause is not EndCause.FAILED for result in ResultGrid(tmp_path / "run"))


def test_a_training_that_swallows_the_drivers_error_does_not_hide_it(fit: Any) -> None:
    entered: list[int] = []

    def stubborn(config: dict[str, Any]) -> None:
        for step in range(3):
            try:
                tune.report(loss=1.0)
            except Exception:
                entered.append(step)

    with pytest.raises(tune.TuneError, match="ZeroDivisionError"):
        fit(stubborn, runtime="inline", scheduler=Broken(max_t=8), metric="loss", mode="min", num_samples=3)
    assert not entered, "it leaves the training, which is not to take it for an error of its own"


@pytest.mark.parametrize("jump", [3600.0, -3600.0], ids=["forward", "back"])
@pytest.mark.parametrize("runtime", ["ray", "inline"])
def test_limits_and_durations_do_not_follow_the_clock_that_can_be_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Any, jump: float
) -> None:
    """As when it is corrected, or daylight saving begins: of the driver's machine and of the worker's."""
    real, moved = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + moved[0])

    class Moves(Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
            moved[0] = jump

    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        before = time.time
        time.time = lambda: before() + jump
        try:
            while True:
                tune.report(loss=1.0)
                time.sleep(0.01)
        finally:
            time.time = before

    tuning = tune.TuneConfig(time_budget_s=2.0)
    config = tune.RunConfig(verbose=0, storage_path=tmp_path, runtime=runtime, callbacks=[Moves()])
    (result,) = tune.Tuner(train, tune_config=tuning, run_config=config).fit()
    assert result.cause == EndCause.TIME_BUDGET
    assert 0.0 < result.metrics["time_total_s"] < 1800.0
