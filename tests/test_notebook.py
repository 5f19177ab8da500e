"""In notebooks: one output that is replaced as a run goes on, the summary, and results as tables; text stays text."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from rich.console import Console

import tune_plugins as tune
from tune_plugins.core.trial import Trial, TrialStatus
from tune_plugins.display import make_display
from tune_plugins.display.html import preformatted
from tune_plugins.display.live import LiveDisplay

TAGS = {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td", "pre", "span"}
EVIL = "</script><img src=x onerror=alert(1)>"


class Checked(HTMLParser):
    """HTML of which nothing can do harm, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        assert all(name == "style" and "url" not in str(value) for name, value in attrs), attrs

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


class Watched(NotebookClient):
    """Takes down which messages the kernel has sent."""

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        self.kinds: list[str] = [*getattr(self, "kinds", ()), msg["header"]["msg_type"]]
        return super().process_message(msg, cell, cell_index)


SETUP = """
import tune_plugins as tune
def train(config):
    for step in range(1, 10):
        tune.report(**{NAME: config["x"] / step})
NAME = %r
tuner = tune.Tuner(
    train,
    param_space={"x": tune.grid_search([1, 2, 3]), NAME: NAME},
    tune_config=tune.TuneConfig(metric=NAME, mode="min", scheduler=tune.schedulers.ASHAScheduler(max_t=9)),
    run_config=tune.RunConfig(runtime="inline", storage_path=%r, name="in_a_notebook"),
)
"""


@pytest.mark.parametrize("name", ["loss", EVIL], ids=["plain", "evil"])
def test_a_notebook_is_executed(tmp_path: Path, name: str) -> None:
    cells = [SETUP % (name, str(tmp_path)), "tuner", "grid = tuner.fit()", "grid", "grid[0]"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = Watched(notebook, timeout=600, kernel_name="python3")
    client.execute()
    _, tuner, fit, grid, result = [cell["outputs"] for cell in notebook.cells]
    displays = [output for output in fit if output["output_type"] == "display_data"]
    (display,) = displays
    assert client.kinds.count("update_display_data") >= 2
    assert "3/3 trials" in Checked(display["data"]["text/html"]).text, "what was shown last is in the file"
    assert "3/3 trials" in display["data"]["text/plain"]
    said = "".join(output["text"] for output in fit if output["output_type"] == "stream")
    assert re.search(r"^3 trials in .*: 3 terminated$", said, re.MULTILINE) and "results  " in said
    assert "\x1b" not in said
    for (output,), expected in (
        (tuner, "Tuner\n"),
        (grid, "ResultGrid: 3 trials (3 TERMINATED)"),
        (result, "training_iteration"),
    ):
        assert expected in Checked(output["data"]["text/html"]).text
        assert name in Checked(output["data"]["text/html"]).text
        assert output["data"]["text/plain"]


def test_a_notebook_gets_a_display_of_its_own_and_a_terminal_of_ipython_does_not() -> None:
    console = Console(force_jupyter=True)
    assert type(make_display(1, console)).__name__ == "NotebookDisplay"
    terminal = Console(force_terminal=True, force_jupyter=False, _environ={"TERM": "xterm"})
    assert isinstance(make_display(1, terminal), LiveDisplay)
    code = (
        "import IPython.terminal.interactiveshell as i; shell = i.TerminalInteractiveShell.instance();"
        "from tune_plugins.display import make_display; print(type(make_display(1)).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("PlainDisplay")


def test_styled_lines_become_text_and_nothing_else() -> None:
    html = preformatted([[(EVIL, "bold red"), (" a & b", "")], [], [("\x1b", "no such style")]])
    assert Checked(html).text.replace("\n", "").startswith(EVIL + " a & b")
    assert html.count("<span") == 1 and "font-weight:bold;color:#" in html


def evil(tmp_path: Path) -> tune.ResultGrid:
    return tune.simulate(
        lambda config: [{EVIL: config["x"]}] * 5,
        param_space={"x": tune.uniform(0, 1), EVIL: tune.choice([EVIL]), "nested": {EVIL: 1}},
        tune_config=tune.TuneConfig(
            metric=EVIL, mode="min", num_samples=30, seed=1, trial_name_creator=lambda trial: EVIL
        ),
        run_config=tune.RunConfig(verbose=0, storage_path=tmp_path),
    )


def test_all_text_stays_text(tmp_path: Path) -> None:
    grid = evil(tmp_path)
    text = Checked(grid._repr_html_()).text
    assert text.count(EVIL) >= 20 and "... and 10 more" in text and f"best {EVIL}" in text
    text = Checked(grid[0]._repr_html_()).text
    assert f"{EVIL}: TERMINATED" in text and f"nested/{EVIL}" in text
    tuner = tune.Tuner(lambda config: None, param_space={EVIL: EVIL, "nested": {"x": tune.uniform(0, 1)}})
    assert f"'{EVIL}'" in (text := Checked(tuner._repr_html_()).text) and "nested/x\nuniform(0.0, 1.0)" in text


def test_html_of_what_failed_and_of_nothing(tmp_path: Path) -> None:
    def fail(config: dict[str, Any]) -> None:
        raise ValueError(EVIL)

    run = tune.RunConfig(verbose=0, storage_path=tmp_path, runtime="inline")
    grid = tune.Tuner(fail, run_config=run).fit()
    assert f"ValueError: {EVIL}" in Checked(grid._repr_html_()).text
    assert "ValueError" in (text := Checked(grid[0]._repr_html_()).text) and EVIL in text
    assert "Tuner" in Checked(tune.Tuner(fail)._repr_html_()).text


def test_warnings_are_in_the_html_and_the_repr() -> None:
    from tune_plugins.schedulers import ASHAScheduler

    grid = tune.simulate(
        lambda config: [0.5] * 9,
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=8, scheduler=ASHAScheduler(max_t=9)),
        run_config=tune.RunConfig(verbose=0),
    )
    assert "had the same loss, 0.5" in Checked(grid._repr_html_()).text
    assert "  warning: All 8 trials compared had the same loss" in repr(grid)


class Handle:
    """What IPython gives for an output."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, output: Any) -> None:
        self.shown.append(output._repr_html_())


def test_it_is_drawn_at_most_twice_a_second_and_never_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython.display

    handle = Handle()
    monkeypatch.setattr(IPython.display, "display", lambda output, display_id: handle)
    display: Any = make_display(1, Console(force_jupyter=True))
    now = 100.0
    display.clock = lambda: now
    display.setup(run=tune.callbacks.RunInfo(name=EVIL, total_trials=1, slots=1))
    trial = Trial("00000", 0, {"x": EVIL}, status=TrialStatus.RUNNING)
    display.on_trial_start(0, [trial], trial)
    for _ in range(100):
        now += 0.01
        display.on_step_end(0, [trial])
    assert 1 <= len(handle.shown) <= 4
    display.on_experiment_end([trial])
    count = len(handle.shown)
    display.step(1000.0)
    assert len(handle.shown) == count
    assert all(EVIL in Checked(html).text for html in handle.shown)
