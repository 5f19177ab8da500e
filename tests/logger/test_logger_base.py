"""What holds for every logger: what it gets and in which order, and that it cannot harm the run."""

from __future__ import annotations

import copy
import logging
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
from logged_runs import TWO_RATES, fit, one_exploit, save, six_steps

import tune_plugins as tune
from tune_plugins.callbacks import callback_mistakes
from tune_plugins.logger import LoggedTrial, LoggerCallback
from tune_plugins.logger import background as background_module
from tune_plugins.logger.background import Background


class Everything(LoggerCallback):
    """Takes down what it is told, as one writes it for Ray Tune: without a word to the base class."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.threads: set[str] = set()
        self.trials: dict[Any, list[str]] = {}

    def setup(self, stop=None, num_samples=None, total_num_samples=None, **info):
        self.told.append(("setup", num_samples))

    def log_trial_start(self, trial):
        self._take("start", trial)

    def log_trial_restore(self, trial):
        self._take("restore", trial)

    def log_trial_save(self, trial):
        assert Path(trial.checkpoint.path).is_dir()
        self._take("save", trial, trial.checkpoint.iteration)

    def log_trial_result(self, iteration, trial, result):
        assert trial.last_result is result and trial.iteration == result["training_iteration"]
        assert trial.config == result["config"]
        self._take("result", trial, result["training_iteration"], result["config"]["lr"])

    def log_trial_end(self, trial, failed=False):
        self._take("end", trial, failed, trial.status)

    def on_experiment_end(self, trials, **info):
        self.told.append(("over", len(trials)))
        self.threads.discard(threading.current_thread().name)

    def _take(self, what: str, trial: Any, *more: Any) -> None:
        self.threads.add(threading.current_thread().name)
        self.trials.setdefault(trial, []).append(what)
        self.told.append((what, trial.id, *more))


def test_everything_is_told_in_order_and_as_it_was_then(tmp_path: Path) -> None:
    everything = Everything()
    fit(tmp_path, six_steps, TWO_RATES, everything, scheduler=one_exploit())
    told = everything.told
    assert told[0] == ("setup", 1) and told[-1] == ("over", 2)
    assert everything.threads == {"tune-Everything"}
    # A trial may be the key of a dict, though each method gets another object.
    assert sorted(str(trial) for trial in everything.trials) == ["six_steps_00000", "six_steps_00001"]
    worse = [(what, *more) for what, whom, *more in told[1:-1] if whom == "00001"]
    exploit = worse.index(("restore",))
    before, after = worse[:exploit], worse[exploit:]
    assert [entry for entry in before if entry[0] == "result"] == [("result", i, 0.4) for i in (1, 2)]
    assert [entry for entry in after if entry[0] == "result"] == [("result", i, 0.05) for i in (3, 4, 5, 6)]
    assert before[0] == ("start",)
    assert ("end", False, "TERMINATED") in after
    saved = [(what, *more) for what, whom, *more in told[1:-1] if whom == "00000" and what == "save"]
    assert saved == [("save", i) for i in range(1, 7)]


def test_a_trial_that_fails_ends_once(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        raise ValueError("for good")

    everything = Everything()
    failures = tune.FailureConfig(max_failures=1)
    fit(tmp_path, train, {"lr": 1}, everything, failure_config=failures)
    assert [what for what, *_ in everything.told] == ["setup", "start", "result", "start", "result", "end", "over"]
    assert everything.told[-2] == ("end", "00000", True, "ERROR")


def test_a_logger_that_raises_is_told_once_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(LoggerCallback):
        def __init__(self) -> None:
            self.asked = 0

        def log_trial_result(self, iteration, trial, result):
            self.asked += 1
            raise OSError("the disk is full")

    broken, everything = Broken(), Everything()
    results = fit(tmp_path, six_steps, TWO_RATES, broken, everything)
    assert broken.asked == 12 and [result.error for result in results] == [None, None]
    assert caplog.text.count("Broken.log_trial_result raised OSError: the disk is full") == 1
    assert sum(what == "result" for what, *_ in everything.told) == 12


def test_a_logger_that_calls_sys_exit_does_not_end_its_thread(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Leaving(LoggerCallback):
        asked = 0

        def log_trial_result(self, iteration, trial, result):
            self.asked += 1
            raise SystemExit(3)

    leaving = Leaving()
    fit(tmp_path, six_steps, {"lr": 1}, leaving)
    assert leaving.asked == 6 and "SystemExit" in caplog.text


class Waiting(LoggerCallback):
    """Holds its own thread up until it is released."""

    def __init__(self) -> None:
        self.entered, self.released = threading.Event(), threading.Event()
        self.got: list[str] = []

    def log_trial_start(self, trial):
        self.entered.set()
        self.released.wait()
        self.got.append("start")

    def log_trial_result(self, iteration, trial, result):
        self.got.append("result")

    def log_trial_end(self, trial, failed=False):
        self.got.append(f"end at {trial.last_result['training_iteration']}")


class HeldUp(tune.Callback):
    """Comes behind the logger, and lets the run go on when its thread is held up."""

    def __init__(self, waiting: Waiting) -> None:
        self.waiting = waiting

    def on_trial_start(self, trial, **info):  # type: ignore[override]
        assert self.waiting.entered.wait(600)


class Release(tune.Callback):
    """Comes before the logger, and releases it when all trials have come to their end."""

    def __init__(self, waiting: Waiting) -> None:
        self.waiting = waiting

    def on_experiment_end(self, trials, **info):
        assert self.waiting.got == [] and all(trial.status.finished for trial in trials)
        self.waiting.released.set()


def test_a_slow_logger_holds_nothing_up(tmp_path: Path) -> None:
    waiting, everything = Waiting(), Everything()
    fit(tmp_path, six_steps, TWO_RATES, everything, Release(waiting), waiting, HeldUp(waiting))
    assert waiting.released.is_set()  # or the run would not have come to its end
    assert waiting.got == ["start", *["result"] * 6, "end at 6"] * 2


def test_a_hook_of_a_subclass_is_not_lost_while_the_queue_is_worked_off(tmp_path: Path) -> None:
    """It runs in the thread, and calls the one that it overrides when the run has ended already."""

    class Overrides(Waiting):
        def on_trial_start(self, iteration, trials, trial, **info):
            super().on_trial_start(iteration, trials, trial, **info)

    waiting = Overrides()
    fit(tmp_path, six_steps, TWO_RATES, Release(waiting), waiting)
    assert waiting.got == ["start", *["result"] * 6, "end at 6"] * 2


def test_where_too_much_waits_results_are_left_out_and_ends_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background_module, "MOST_WAITING", 4)
    monkeypatch.setattr(background_module, "PATIENCE_S", 0.02)
    waiting = Waiting()
    fit(tmp_path, six_steps, TWO_RATES, Release(waiting), waiting, HeldUp(waiting))
    # The start holds the thread up, so it does not wait; the first trial's results up to the limit do.
    assert waiting.got == ["start", *["result"] * 4, "end at 6", "start", "end at 6"]
    assert caplog.text.count("Waiting is slower than the run: 4 results wait for it") == 1
    assert "Waiting was too slow for 8 results. They are in the record" in caplog.text


def test_a_queue_that_is_worked_off_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_module, "MOST_WAITING", 1)
    everything = Everything()
    fit(tmp_path, six_steps, TWO_RATES, everything)
    assert sum(what == "result" for what, *_ in everything.told) == 12


def call(name: str, function: Any) -> None:
    function()


def nothing() -> None:
    """As it says."""


class Shows(logging.Handler):
    """Sets an event when a message with some words comes."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words, self.seen = words, threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.words in record.getMessage():
            self.seen.set()


def test_a_long_wait_at_the_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_module, "_TELL_AFTER_S", 0.0)
    shows = Shows("Slow has 2 entries left to write; Ctrl-C gives them up")
    background_module.logger.addHandler(shows)
    try:
        slow, began = Background("Slow", call, nothing), threading.Event()
        slow.put("log", lambda: (began.set(), shows.seen.wait()))
        assert began.wait(600)
        slow.put("log", nothing)
        slow.drain()  # else it would not end
        assert shows.seen.is_set()
    finally:
        background_module.logger.removeHandler(shows)


def test_ctrl_c_gives_up_what_is_left(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    hung = threading.Event()
    server = Background("Server", call, nothing)
    done: list[int] = []
    server.put("log", hung.wait)
    server.put("log", lambda: done.append(1))
    thread = server._thread

    def interrupted(timeout: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(thread, "join", interrupted)
    server.drain()
    assert "Server: " in caplog.text and "were given up" in caplog.text
    monkeypatch.undo()
    hung.set()
    thread.join(600)
    assert not thread.is_alive() and done == []


def test_one_logger_for_two_runs(tmp_path: Path) -> None:
    everything = Everything()
    for name in ("one", "two"):
        fit(tmp_path, six_steps, {"lr": 1}, everything, name=name)
    assert len(everything.trials) == 2  # both have the id 00000
    assert [what for what, *_ in everything.told].count("over") == 2


def test_a_training_function_may_refer_to_a_logger(tmp_path: Path) -> None:
    waiting = Everything()
    waiting.on_trial_start(0, [], _some_trial(tmp_path))
    assert waiting._background is not None
    again = pickle.loads(pickle.dumps(waiting))
    assert again._background is None and copy.deepcopy(waiting)._background is None
    waiting.on_experiment_end([])
    assert ("start", "00000") in waiting.told


def _some_trial(folder: Path) -> Any:
    seen: list[Any] = []

    class Keep(tune.Callback):
        def on_trial_start(self, trial, **info):
            seen.append(trial)

    fit(folder, lambda config: {"loss": 1.0}, {"lr": 1}, Keep(), name="kept")
    return seen[0]


def test_a_logged_trial_equals_the_trial(tmp_path: Path) -> None:
    trial = _some_trial(tmp_path)
    logger = Everything()
    logger.on_trial_start(0, [], trial)
    logger.on_experiment_end([])
    (logged,) = logger.trials
    assert isinstance(logged, LoggedTrial) and logged == trial and trial == logged
    assert {trial: 1}[logged] == 1 and str(logged) == str(trial) and logged.path == trial.path


# ------------------------------------------------------------------------------------ methods that are wrong


class Misspelled(LoggerCallback):
    """Nobody would call this."""

    def log_trial_reslt(self, iteration, trial, result):
        """As it says."""


class NoFlag(LoggerCallback):
    """Takes no `failed`."""

    def log_trial_end(self, trial):  # type: ignore[override]
        """As it says."""


class TooFew(LoggerCallback):
    """Has the form of the old loggers of Ray Tune."""

    def log_trial_result(self, result):  # type: ignore[override]
        """As it says."""


class Asynchronous(LoggerCallback):
    """Nobody would wait for it."""

    async def log_trial_start(self, trial):  # type: ignore[override]
        """As it says."""


WRONG = [
    (Misspelled(), "Misspelled.log_trial_reslt is no hook, and nobody would call it. Did you mean 'log_trial_result'?"),
    (NoFlag(), "expected def log_trial_end(self, trial, failed=False), got def log_trial_end(self, trial) in NoFlag."),
    (TooFew(), "expected def log_trial_result(self, iteration, trial, result), got def log_trial_result(self, result)"),
    (Asynchronous(), "expected def log_trial_start, got Asynchronous.log_trial_start, which is async"),
]


@pytest.mark.parametrize(("logger", "message"), WRONG, ids=lambda value: type(value).__name__)
def test_what_could_not_be_called_is_refused_before_the_run(logger: Any, message: str) -> None:
    with pytest.raises(tune.ArgumentError) as caught:
        tune.RunConfig(callbacks=[logger])
    (mistake,) = caught.value.mistakes
    assert mistake.startswith("callbacks[0]: ") and message in mistake


def test_right_loggers_are_accepted() -> None:
    class OfItsOwn(LoggerCallback):
        def log_trial_result(self, number, its_trial, what, **more):
            self.log_trial_picture(what)

        def log_trial_picture(self, what):
            """A method of its own, like none of those that are called."""

        def log_trial_end(self, trial, *, failed):  # type: ignore[override]
            """Right: it is passed by name."""

    for logger in (OfItsOwn(), Everything(), Waiting(), LoggerCallback()):
        assert callback_mistakes("x", logger) == []


# --------------------------------------------------------------------------------------- scripts for Ray Tune


def test_a_file_for_each_trial_as_in_rays_documentation(tmp_path: Path) -> None:
    class CustomLoggerCallback(LoggerCallback):
        def __init__(self, filename="log.txt"):
            self._trial_files = {}
            self._filename = filename

        def log_trial_start(self, trial):
            Path(trial.local_path).mkdir(parents=True, exist_ok=True)
            self._trial_files[trial] = (Path(trial.local_path) / self._filename).open("at")

        def log_trial_result(self, iteration, trial, result):
            if trial in self._trial_files:
                self._trial_files[trial].write(f"{result['training_iteration']} {result['loss']}\n")

        def on_trial_complete(self, iteration, trials, trial, **info):
            super().on_trial_complete(iteration, trials, trial, **info)

        def log_trial_end(self, trial, failed=False):
            if trial in self._trial_files:
                self._trial_files.pop(trial).close()

    logger = CustomLoggerCallback("mine.txt")
    for result in fit(tmp_path, six_steps, TWO_RATES, logger):
        lines = Path(result.path, "mine.txt").read_text().splitlines()
        assert lines == [f"{i} {result.config['lr'] / i}" for i in range(1, 7)]
    assert logger._trial_files == {}


def test_report_41364_what_a_logger_has_gathered_is_there_after_the_run(tmp_path: Path) -> None:
    """ray-project/ray#41364: the logger object that the script made is the one that was called."""

    class Best(LoggerCallback):
        best = float("inf")

        def log_trial_result(self, iteration, trial, result):
            self.best = min(self.best, result["loss"])

    best = Best()
    results = fit(tmp_path, six_steps, TWO_RATES, best)
    assert best.best == results.get_best_result().metrics["loss"]


def test_report_8548_a_table_of_last_results(tmp_path: Path) -> None:
    """ray-project/ray#8548: one file in the folder of the experiment, with a line for each trial that has ended."""

    class Table(LoggerCallback):
        def log_trial_end(self, trial, failed=False):
            with (Path(trial.path).parent / "table.txt").open("a") as file:
                print(trial.trial_id, trial.last_result["loss"], file=file)

    results = fit(tmp_path, six_steps, TWO_RATES, Table())
    table = Path(results.experiment_path, "table.txt").read_text().split()
    assert table == ["00000", str(0.1 / 6), "00001", str(0.4 / 6)]


def test_a_checkpoint_is_told_of_with_its_own_folder(tmp_path: Path) -> None:
    """Also where later ones are there already."""
    kept: list[tuple[int, str]] = []

    class Copies(LoggerCallback):
        def log_trial_save(self, trial):
            kept.append((trial.checkpoint.iteration, (Path(trial.checkpoint.path) / "iteration").read_text()))

    def train(config: dict[str, Any]) -> None:
        for iteration in (1, 2, 3):
            tune.report({"loss": 1.0}, checkpoint=save(iteration))

    fit(tmp_path, train, {"lr": 1}, Copies())
    assert kept == [(1, "1"), (2, "2"), (3, "3")]


def test_hooks_of_a_logger_come_behind_what_was_logged_before(tmp_path: Path) -> None:
    """A logger as in the guide of Ray Tune, which closes its file in `on_trial_complete`."""

    class Guide(LoggerCallback):
        def __init__(self) -> None:
            self.files: dict[Any, Any] = {}

        def log_trial_start(self, trial: Any) -> None:
            trial.init_local_path()
            self.files[trial] = Path(trial.local_path, "log.txt").open("at")  # noqa: SIM115

        def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
            if trial in self.files:
                print(result["loss"], file=self.files[trial])

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            if trial in self.files:
                self.files.pop(trial).close()

    class Derived(Guide):
        ends = 0

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            super().on_trial_complete(iteration, trials, trial, **info)
            LoggerCallback.on_trial_complete(self, iteration, trials, trial, **info)

        def log_trial_end(self, trial: Any, failed: bool = False) -> None:
            self.ends += 1

    def train(config: dict[str, Any]) -> None:
        for step in range(5):
            tune.report(loss=step)

    for logger in (Guide(), Derived()):
        grid = fit(tmp_path / type(logger).__name__, train, {"x": tune.grid_search([1, 2])}, logger)
        assert [Path(result.path, "log.txt").read_text().split() for result in grid] == [list("01234")] * 2
        assert logger.files == {} and getattr(logger, "ends", 2) == 2
