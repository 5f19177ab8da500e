"""How a run can be cut off: Ctrl-C, SIGTERM, SIGKILL of the driver."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins.record.folder import is_held

pytestmark = pytest.mark.both_kinds

EPOCH = 3600  # seconds; what does not wait for it is far below, on a busy machine too
_LONG_EPOCH = """
import threading

def train(config):
    tune.report(x=1)
    print("pid", os.getpid(), flush=True)
    threading.Event().wait(3600)

class Told(tune.callbacks.Callback):
    started = 0
    def on_trial_output(self, iteration, trials, trial, lines, **info):
        self.started += 1
        if self.started == 2:
            print("both are busy", flush=True)

if __name__ == "__main__":
    tuner = tune.Tuner(
        train, tune_config=tune.TuneConfig(num_samples=5),
        run_config=tune.RunConfig(name="mine", verbose=VERBOSE, callbacks=[Told()]),
    )
    grid = tuner.fit()
    print("back", len(grid), {r.status.value for r in grid}, {r.reason for r in grid}, flush=True)
"""


def _gone(pids: Iterable[int], within: float) -> bool:
    """Whether processes end in time."""
    deadline = time.monotonic() + within
    left = set(pids)
    while left and time.monotonic() < deadline:
        left = {pid for pid in left if _alive(pid)}
        time.sleep(0.005)
    return not left


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_ctrl_c_stops_cleanly_in_the_middle_of_an_epoch_and_says_where_the_results_are(
    driver: Callable[..., Any], tmp_path: Path
) -> None:
    run = driver(_LONG_EPOCH.replace("VERBOSE", "1"))
    run.wait_for("both are busy")
    began = time.monotonic()
    # To the whole group, as a terminal does.
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.process.stdout is not None
    printed = []
    for line in run.process.stdout:
        printed.append(line)
        if line.startswith("back "):
            break
    assert time.monotonic() - began < EPOCH / 10
    assert "{'TERMINATED'}" in printed[-1] and "interrupted by Ctrl-C" in printed[-1]
    before = "".join(printed[:-1])
    assert "Ctrl-C" in before and "ResultGrid" in before
    assert str(tmp_path / "results" / "mine") in before
    assert run.end() == (0, "", "")
    grid = tune.ResultGrid(tmp_path / "results" / "mine")
    assert [r.metrics["x"] for r in grid if r.metrics] == [1, 1]


def test_ctrl_c_twice_ends_at_once(driver: Callable[..., Any]) -> None:
    # The first signal alone would leave the epochs this time to end.
    patient = "import tune_plugins.driver.ray.runtime as runtime\nruntime._GRACE_S = EPOCH\n".replace(
        "EPOCH", str(EPOCH)
    )
    run = driver(patient + _LONG_EPOCH.replace("VERBOSE", "0"))
    run.wait_for("both are busy")
    began = time.monotonic()
    os.killpg(run.process.pid, signal.SIGINT)
    os.killpg(run.process.pid, signal.SIGINT)
    # The kernel may merge two signals that are not taken yet: a third one ends the run, too.
    while run.process.poll() is None and time.monotonic() - began < 1:
        time.sleep(0.005)
    if run.process.poll() is None:
        os.killpg(run.process.pid, signal.SIGINT)
    line = run.wait_for("back ")
    assert time.monotonic() - began < EPOCH / 10
    assert "{'TERMINATED'}" in line
    assert run.end()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_processes_stops_cleanly_with_its_exit_code(
    driver: Callable[..., Any], tmp_path: Path, number: signal.Signals
) -> None:
    default = f"import signal; signal.signal({int(number)}, signal.SIG_DFL)"  # these tests may run under nohup
    run = driver(f"{default}\n{_LONG_EPOCH.replace('VERBOSE', '0')}")
    run.wait_for("both are busy")
    began = time.monotonic()
    run.process.send_signal(number)
    assert run.end() == (128 + number, "", "")
    assert time.monotonic() - began < EPOCH / 10
    grid = tune.ResultGrid(tmp_path / "results" / "mine")
    assert {r.status for r in grid} == {"TERMINATED"}
    assert f"interrupted by {number.name}" in grid[0].reason


def test_a_hang_up_that_is_ignored_ends_nothing(driver: Callable[..., Any]) -> None:
    """As under nohup."""
    code = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{_LONG_EPOCH.replace('VERBOSE', '0')}"
    run = driver(code)
    run.wait_for("both are busy")
    run.process.send_signal(signal.SIGHUP)
    run.process.send_signal(signal.SIGTERM)
    code, _, err = run.end()
    assert (code, err) == (143, "")


_ACKNOWLEDGING = """
def train(config):
    for step in range(10_000_000):
        tune.report(step=step)
        if step == 0:
            print("pid", os.getpid(), flush=True)

class Acknowledge(tune.callbacks.Callback):
    def on_trial_result(self, iteration, trials, trial, result, **info):
        if result["step"] % 100 == 0:
            print("acknowledged", trial.id, result["step"], flush=True)
    def on_trial_output(self, iteration, trials, trial, lines, **info):
        for line in lines:
            print(line, flush=True)

if __name__ == "__main__":
    tune.Tuner(
        train, tune_config=tune.TuneConfig(num_samples=2, SCHEDULER),
        run_config=tune.RunConfig(name="mine", verbose=0, callbacks=[Acknowledge()]),
    ).fit()
"""


@pytest.mark.parametrize(
    "scheduler", ["", "scheduler=tune.schedulers.ASHAScheduler(metric='step', mode='max', max_t=10_000_000)"]
)
def test_what_was_acknowledged_survives_a_sigkill_of_the_driver(
    driver: Callable[..., Any], tmp_path: Path, scheduler: str
) -> None:
    run = driver(_ACKNOWLEDGING.replace("SCHEDULER", scheduler))
    seen: dict[str, int] = {}
    pids: set[int] = set()
    for line in run.process.stdout:
        word, *rest = line.split()
        if word == "pid":
            pids.add(int(rest[0]))
        else:
            seen[rest[0]] = int(rest[1])
            if len(pids) == 2 and sum(seen.values()) > 3000:
                break
    assert is_held(tmp_path / "results" / "mine") is True
    run.process.kill()
    run.process.wait()
    assert is_held(tmp_path / "results" / "mine") is False  # whatever it has started lives on a little
    for line in run.process.stdout:  # what it had printed before
        if line.startswith("acknowledged") and line.endswith("\n"):
            _, trial, step = line.split()
            seen[trial] = int(step)
    assert _gone(pids, within=300)
    grid = tune.ResultGrid(tmp_path / "results" / "mine")
    assert len(grid) == 2
    for result in grid:
        steps = [row["step"] for row in result.metrics_dataframe.to_dict("records")]
        assert steps == list(range(len(steps)))
        assert len(steps) > seen.get(result.trial_id, -1)
    assert sum(seen.values()) > 3000


_LEFT_OPEN = """
def train(config):
    tune.report(x=1)

if __name__ == "__main__":
    tune.Tuner(train, run_config=tune.RunConfig(verbose=0)).fit()
    print("processes", *descendants(os.getpid()), flush=True)
"""


def test_a_script_that_ends_leaves_no_process_behind(driver: Callable[..., Any]) -> None:
    """The Ray or preloading process that the first fit has started, and workers that wait warm for another one."""
    run = driver(_LEFT_OPEN)
    pids = [int(pid) for pid in run.wait_for("processes").split()[1:]]
    assert len(pids) >= 2, "at least the preloading process and the worker"
    code, _, err = run.end()
    assert code == 0, err
    assert _gone(pids, within=300)
