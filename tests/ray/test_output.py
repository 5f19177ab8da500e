"""What trials print, what callbacks see, what the run itself prints."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins.worker.output import OutputCapture


class _Lines(tune.callbacks.Callback):
    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {}

    def on_trial_output(self, iteration: int, trials: Any, trial: Any, lines: Any, **info: Any) -> None:
        self.lines.setdefault(trial.id, []).extend(lines)


def _chatty(config: dict[str, Any]) -> None:
    x = config["x"]
    print(f"python {x}")
    os.write(1, f"native {x}\n".encode())
    subprocess.run([sys.executable, "-c", f"print('child {x}')"], check=True)
    print(f"error {x}", file=sys.stderr)
    print(f"10%\r50%\r100% of {x}\r")
    print("\nno newline at the end", end="")
    tune.report(x=x)


def test_output_is_forwarded_to_the_right_trial(fit: Any) -> None:
    seen = _Lines()
    fit(_chatty, {"x": tune.grid_search(list(range(6)))}, callbacks=[seen])
    for x in range(6):
        lines = seen.lines[f"{x:05d}"]
        for kind in ("python", "native", "child", "error"):
            assert lines.count(f"{kind} {x}") == 1, lines
        assert f"100% of {x}" in lines
        assert lines[-1] == "no newline at the end"
        assert lines.count("") == 1
        assert len(lines) == 7


def test_text_that_utf_8_cannot_hold_is_printed_as_escapes(fit: Any) -> None:
    def chatty(config: dict[str, Any]) -> None:
        print("file \udcff")
        logging.getLogger("mine").warning("log of \udcff")
        os.write(1, b"raw \xff\n")
        tune.report(x=1)

    seen = _Lines()
    (result,) = fit(chatty, callbacks=[seen])
    assert result.error is None
    assert sorted(seen.lines["00000"]) == ["file \\udcff", "log of \\udcff", "raw \ufffd"]


@pytest.mark.parametrize(
    ("log_to_file", "out", "err"), [(True, "stdout", "stderr"), ("log.txt",) * 3, (("o", "e"), "o", "e")]
)
def test_output_goes_to_files_on_request(fit: Any, log_to_file: Any, out: str, err: str) -> None:
    seen = _Lines()
    grid = fit(_chatty, {"x": tune.grid_search([0, 1, 2])}, log_to_file=log_to_file, callbacks=[seen])
    for x, result in enumerate(grid):
        printed = Path(result.path, out).read_text()
        for kind in ("python", "native", "child"):
            assert printed.count(f"{kind} {x}") == 1
        assert f"error {x}" in Path(result.path, err).read_text()
    assert seen.lines == {}


def test_log_files_that_cannot_be_written_are_an_error_of_the_trial(fit: Any, tmp_path: Path) -> None:
    (tmp_path / "results" / "mine").mkdir(parents=True)
    (tmp_path / "results" / "mine" / "trial_00000").touch()
    grid = fit(lambda config: {"x": 1}, name="mine", log_to_file=True, num_samples=2)
    assert [r.status for r in grid] == ["ERROR", "TERMINATED"]
    assert "trial_00000" in str(grid[0].error)


def test_a_line_without_end_is_cut_and_a_flood_is_passed_on(tmp_path: Path) -> None:
    """In a process of its own, since it takes over the descriptors 1 and 2."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "from tune_plugins.worker.output import OutputCapture\n"
        "seen = []\n"
        "capture = OutputCapture(lambda trial, lines: seen.extend((trial, line) for line in lines))\n"
        "capture.begin('a', None)\n"
        "os.write(1, b'x' * 1_000_000)\n"
        "capture.end()\n"
        "capture.begin('b', None)\n"
        "print('\\n'.join(str(i) for i in range(50_000)), flush=True)\n"
        "capture.end()\n"
        "capture.close()\n"
        "a = [line for trial, line in seen if trial == 'a']\n"
        "assert all(set(line) == {'x'} and len(line) <= 2000 for line in a), a[-1]\n"
        "assert 10 < len(a) < 100, len(a)\n"
        "assert [line for trial, line in seen if trial == 'b'] == [str(i) for i in range(50_000)]\n"
        "print('fine')\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
    assert OutputCapture.__doc__ is not None


# -------------------------------------------------------------------------------------- callbacks


def test_callbacks_are_told_what_happens_in_order(fit: Any) -> None:
    calls: list[tuple[Any, ...]] = []

    class Listener(tune.callbacks.Callback):
        def setup(self, *args: Any, run: Any, **info: Any) -> None:
            calls.append(("setup", run.metric, run.mode, run.total_trials, run.slots))

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            calls.append(("start", trial.id))

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
            calls.append(("result", trial.id, result["loss"]))

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            calls.append(("complete", trial.id))

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, *, error: Any, **info: Any) -> None:
            calls.append(("error", trial.id, error.type == "ValueError" and error.message in error.traceback))

        def on_experiment_end(self, trials: Any, *, reason: str, **info: Any) -> None:
            calls.append(("end", len(trials), reason))

    def train(config: dict[str, Any]) -> None:
        tune.report(loss=config["x"])
        tune.report(loss=config["x"] / 2)
        if config["x"] == 2:
            raise ValueError

    fit(
        train,
        {"x": tune.grid_search([1, 2])},
        metric="loss",
        mode="min",
        max_concurrent_trials=1,
        callbacks=[Listener()],
    )
    assert calls == [
        ("setup", "loss", "min", 2, 1),
        ("start", "00000"),
        ("result", "00000", 1),
        ("result", "00000", 0.5),
        ("complete", "00000"),
        ("start", "00001"),
        ("result", "00001", 2),
        ("result", "00001", 1.0),
        ("error", "00001", True),
        ("end", 2, ""),
    ]


def test_a_callback_that_raises_is_reported_once_and_harms_nothing(fit: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(tune.callbacks.Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
            raise ZeroDivisionError("in a callback")

    grid = fit(lambda config: {"x": 1}, num_samples=5, callbacks=[Faulty()])
    assert grid.num_terminated == 5
    warnings = [record for record in caplog.records if "Faulty.on_trial_result raised" in record.message]
    assert len(warnings) == 1


def test_a_callback_need_not_derive_from_ours(fit: Any) -> None:
    class Foreign:
        seen = 0

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
            self.seen += 1

    foreign = Foreign()
    fit(lambda config: {"x": 1}, num_samples=3, callbacks=[foreign])
    assert foreign.seen == 3


# ------------------------------------------------------------------------------------------ silence


_QUIET_RUN = """
def train(config):
    print("a trial prints", flush=True)
    os.write(2, b"native noise\\n")
    for step in range(20):
        tune.report(loss=config["x"] / (step + 1))

if __name__ == "__main__":
    for reuse in (True, False):
        tune.Tuner(
            train,
            param_space={"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(
                metric="loss", mode="min", num_samples=6 if reuse else 2, reuse_actors=reuse,
                scheduler=tune.schedulers.ASHAScheduler(max_t=20),
            ),
            run_config=tune.RunConfig(verbose=VERBOSE),
        ).fit()
"""


def test_verbose_0_prints_nothing_at_all(driver: Callable[..., Any]) -> None:
    assert driver(_QUIET_RUN.replace("VERBOSE", "0")).end() == (0, "", "")


def test_without_a_terminal_there_are_plain_lines_and_no_noise_of_ray(driver: Callable[..., Any]) -> None:
    code, out, err = driver(_QUIET_RUN.replace("VERBOSE", "1")).end()
    assert (code, err) == (0, "")
    assert "a trial prints" in out
    assert "\x1b" not in out
    for noise in ("authentication", "raylet", "Exception ignored", "ray.init", "dashboard", "SystemExit"):
        assert noise not in out
