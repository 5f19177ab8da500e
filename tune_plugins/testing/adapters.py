"""Conformance suite for adapters: what every framework's callback must hold to, shown with a real tiny training.

Derive from `AdapterConformance`, say how your framework trains, and run the class with pytest.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tune_plugins.core.metrics import Mode
from tune_plugins.core.scores import best_index, finite
from tune_plugins.errors import ArgumentError, TrialEvicted, TrialRestarted, TrialUnwound, TuneError
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.record.models import BestModel, ModelCard, cut
from tune_plugins.session import TrialContext
from tune_plugins.space.nested import flatten
from tune_plugins.testing.session import Exploit, RecordingSession

# Cases that are done by warm restarts where exploits in place are declared to be impossible.
_IN_PLACE = frozenset(
    (
        *("exploit_twice", "goes_on_after_an_exploit_and_an_eviction"),
        *("exploit_from_another_iteration", "exploit_from_a_donor_ahead"),
    )
)
_PICKLE = b"\x80"  # every pickle of protocol 2 and later begins with it


@dataclass
class Script:
    """One entry into a user's training script: what it is given, and what it notes.

    Attributes:
        config: hyper-parameters, as the training function gets them.
        iterations: epochs or rounds to train in all.
        adapter: arguments for the callback.
        saves: False: use the callback that reports only.
        nan: the first of the suite's `metrics` is to be NaN in iteration 2.
        models: the live model, noted by the script in each iteration.
        history: {metric: its value in each iteration of this entry}, from the framework's own record.
        ended: how often the script came past its call of fit or train.
    """

    config: dict[str, Any]
    iterations: int
    adapter: dict[str, Any] = field(default_factory=dict)
    saves: bool = True
    nan: bool = False
    models: list[Any] = field(default_factory=list)
    history: dict[str, list[float]] = field(default_factory=dict)
    ended: int = 0


class AdapterConformance:
    """Abstract suite; declare what your adapter does, and say how a script of your framework trains.

    Everything must be deterministic: states are compared to the last bit.

    Attributes:
        module: the adapter's module.
        adapters: the public classes of it that this suite covers.
        framework: import name of the framework, as it stands in the error when it is not installed.
        extra: the extra of this package that installs it; "" for an adapter outside this package.
        label: head of the column in the table.
        iterations: epochs or rounds of a whole training, 5 or more.
        config: hyper-parameters.
        live: the same, all of which differ that can be changed in a running training.
        entering: the same, with a change that needs a new entry into the training function.
        reshaped: the same, for a model whose state that of `config` cannot take (more units, other layers, ...).
        metrics: names of what is reported if nothing is said; at least one.
        always: names that are reported whatever is asked for.
        declared: {case: why the framework cannot}, for the cases of `MAY_BE_DECLARED`.
    """

    MAY_BE_DECLARED: ClassVar[tuple[str, ...]] = (
        "exploit_in_place",
        "exploit_from_another_iteration",
        "exploit_from_a_donor_ahead",
        "keeps_the_best_model",
        "reports_only",
    )

    module: str
    adapters: tuple[type, ...] = ()
    framework: str
    extra: str = ""
    label: str
    iterations: int = 6
    config: Mapping[str, Any]
    live: Mapping[str, Any]
    entering: Mapping[str, Any]
    reshaped: Mapping[str, Any]
    metrics: tuple[str, ...]
    always: tuple[str, ...] = ()
    declared: ClassVar[Mapping[str, str]] = {}

    # ----------------------------------------------------------------------- what a subclass says

    def train(self, script: Script) -> Any:
        """The user's script with the callback; returns the trained model and does what `Script` says."""
        raise NotImplementedError

    def train_alone(self, config: Mapping[str, Any], iterations: int) -> Any:
        """The same script in plain framework code; returns the trained model."""
        raise NotImplementedError

    def go_on_alone(self, config: Mapping[str, Any], iterations: int, directory: Path, at: int) -> Any:
        """Plain framework code that goes on from a checkpoint of `at` iterations up to `iterations` in all."""
        raise NotImplementedError

    def state(self, model: Any) -> Any:
        """A dict of weights, state of the optimizer and ``predictions``: bytes, numbers, arrays, in lists or dicts."""
        raise NotImplementedError

    def predictions(self, checkpoint: Checkpoint, config: Mapping[str, Any]) -> Any:
        """Those of `state`, by the model that a user loads: ``checkpoint.load_model(...)``."""
        raise NotImplementedError

    # ---------------------------------------------------------------------------------- reporting

    def test_reports_every_iteration_once(self) -> None:
        """Each iteration is reported once, and in order."""
        script, session, _ = self._run()
        assert session.iterations == list(range(1, self.iterations + 1))
        assert script.ended == 1

    def test_says_which_result_is_the_last(self) -> None:
        """Nothing is paused or exploited with nothing left to train: the script's own ending finds what it expects."""
        donor = self._evicted_at(2, self.config)
        exploits = {self.iterations: Exploit(donor.checkpoints[2], 2, dict(self.live))}
        script, session, model = self._run(exploit_at=exploits)
        assert [report.last for report in session.reports] == [False] * (self.iterations - 1) + [True]
        assert not session.exploits and not session.restarts and script.ended == 1
        self._assert_same(self.train_alone(self.config, self.iterations), model)
        _, session, _ = self._run(self.config, start=(donor, 2))
        assert [report.last for report in session.reports] == [False] * (self.iterations - 3) + [True]

    def test_reports_what_the_framework_measured(self) -> None:
        """Values are those in the framework's own record."""
        script, session, _ = self._run()
        for name in self.metrics:
            assert session.values(name) == script.history[name], name

    def test_selects_metrics(self) -> None:
        """`metrics` may be a name, several, or {name to report: source}."""
        source = self.metrics[0]
        for given, expected in ((source, source), ([source], source), ({"renamed": source}, "renamed")):
            script, session, _ = self._run(adapter={"metrics": given})
            for report in session.reports:
                assert set(report.metrics) == {expected, *self.always}
            assert session.values(expected) == script.history[source]

    def test_missing_metric_names_those_there_are(self) -> None:
        """A metric that does not exist ends the trial with a list of those that do."""
        with pytest.raises(Exception) as caught:
            self._run(adapter={"metrics": ["no such metric"]})
        error: BaseException | None = caught.value
        while error is not None and not isinstance(error, ArgumentError):
            error = error.__cause__ or error.__context__
        assert error is not None, f"expected an ArgumentError, got {caught.value!r}"
        assert "no such metric" in str(error) and self.metrics[0] in str(error)

    def test_reports_nan(self) -> None:
        """NaN is reported as it is, and the training goes on."""
        _, session, _ = self._run(nan=True)
        values = session.values(self.metrics[0])
        assert values[1] != values[1]
        assert len(values) >= 2

    def test_reports_only(self) -> None:
        """The callback that only reports saves nothing, whoever asks for it; it stops, unwinds and is inert as well."""
        if self._declares("reports_only"):
            return
        _, session, _ = self._run(saves=False, save_at=range(1, 100), save_at_end=True)
        assert session.iterations == list(range(1, self.iterations + 1))
        assert not session.checkpoints and not any(report.savable for report in session.reports)
        script, session, _ = self._run(saves=False, stop_at=3)
        assert session.iterations == [1, 2, 3] and script.ended == 1
        script = self._script(saves=False)
        with RecordingSession(raise_at={2: TrialEvicted()}), pytest.raises(TrialEvicted):
            self.train(script)
        assert script.ended == 0
        model = self.train(self._script(saves=False))
        self._assert_same(self.train_alone(self.config, self.iterations), model)

    # ------------------------------------------------------------------------------------- ending

    def test_stops_by_the_framework(self) -> None:
        """A stop ends the training after that iteration; the script's own code behind it runs once."""
        script, session, _ = self._run(stop_at=3)
        assert session.iterations == [1, 2, 3]
        assert len(script.models) == 3
        assert script.ended == 1

    @pytest.mark.parametrize("error", [TrialEvicted, TrialRestarted])
    def test_unwinds(self, error: type[TrialUnwound]) -> None:
        """Evict and restart leave the script at once: nothing behind the call of fit runs."""
        script = self._script()
        session = RecordingSession(raise_at={2: error()})
        with session, pytest.raises(error):
            self.train(script)
        assert script.ended == 0 and session.finished == 0
        assert session.iterations == [1, 2] and len(script.models) <= 3

    def test_is_inert_outside_a_tuning_run(self) -> None:
        """The same script runs alone, and trains what it would without the callback."""
        script = self._script()
        model = self.train(script)
        assert script.ended == 1
        self._assert_same(self.train_alone(self.config, self.iterations), model)

    # -------------------------------------------------------------------------------- checkpoints

    def test_goes_on_after_a_pause(self) -> None:
        """Saved and paused in every iteration, it trains what an uninterrupted training does."""
        _, session, model = self._run(save_at=range(1, 100))
        assert list(session.checkpoints)[: self.iterations] == list(range(1, self.iterations + 1))
        self._assert_same(self.train_alone(self.config, self.iterations), model)

    def test_checkpoint_round_trip(self) -> None:
        """The last checkpoint holds the trained model."""
        _, session, model = self._run(save_at={self.iterations}, save_at_end=True)
        directory = self._directory(session, self.iterations)
        self._assert_same(self.go_on_alone(self.config, self.iterations, directory, self.iterations), model)

    def test_goes_on_from_a_checkpoint_by_itself(self) -> None:
        """Evicted and resumed, it trains what the framework's own continuation from that checkpoint does."""
        half = self.iterations // 2
        before = self._evicted_at(half, self.config)
        script, session, model = self._run(start=(before, half))
        assert session.iterations == list(range(half + 1, self.iterations + 1)) and script.ended == 1
        directory = self._directory(before, half)
        self._assert_same(self.go_on_alone(self.config, self.iterations, directory, half), model)

    def test_new_config_wins_over_the_checkpoint(self) -> None:
        """Resumed under changed hyper-parameters, they hold, not those that the checkpoint was saved with."""
        half = self.iterations // 2
        before = self._evicted_at(half, self.config)
        _, _, model = self._run(self.live, start=(before, half))
        directory = self._directory(before, half)
        self._assert_same(self.go_on_alone(self.live, self.iterations, directory, half), model)

    def test_complete_training_is_left_as_it_is(self) -> None:
        """Resumed from a checkpoint that has all iterations, it trains none."""
        _, before, _ = self._run(save_at={self.iterations}, save_at_end=True)
        script, session, model = self._run(start=(before, self.iterations))
        assert session.reports == [] and script.ended == 1
        directory = self._directory(before, self.iterations)
        self._assert_same(self.go_on_alone(self.config, self.iterations, directory, self.iterations), model)

    def test_checkpoint_holds_no_code(self) -> None:
        """Checkpoints are data: nothing in them is executed by loading them."""
        _, session, _ = self._run(save_at={2})
        files = [path for path in self._directory(session, 2).rglob("*") if path.is_file()]
        assert files
        for path in files:
            _assert_data(path)

    # ------------------------------------------------------------------------------------ exploits

    def test_exploit_in_place(self) -> None:
        """An exploit enters nothing anew, keeps the model object, and trains as a continuation from the donor does."""
        # The new config differs from the donor's; from the running one; from both of them, which are the same.
        for own, donor, new in (
            (self.live, self.config, self.live),
            (self.config, self.live, self.live),
            (self.config, self.config, self.live),
        ):
            half = self.iterations // 2
            given = self._evicted_at(half, donor)
            self._exploit(own, new, given, half, at=half, declared=self._declares("exploit_in_place"))

    def test_exploit_twice(self) -> None:
        """A second exploit, of a training that has exploited before."""
        first, second = self._evicted_at(2, self.config), self._evicted_at(4, self.live)
        exploits = {
            2: Exploit(first.checkpoints[2], 2, dict(self.live)),
            4: Exploit(second.checkpoints[4], 4, dict(self.config)),
        }
        if self._declares("exploit_in_place"):
            self._restarted(self.config, exploits)
            self._restarted(self.live, exploits, start=(first, 2))
            _, session, model = self._run(self.config, start=(second, 4))
            assert session.iterations == list(range(5, self.iterations + 1))
        else:
            script, session, model = self._run(exploit_at=exploits)
            assert len(session.exploits) == 2 and not session.restarts
            assert session.iterations == list(range(1, self.iterations + 1)) and script.ended == 1
        directory = self._directory(second, 4)
        self._assert_same(self.go_on_alone(self.config, self.iterations, directory, 4), model)

    def test_goes_on_after_an_exploit_and_an_eviction(self) -> None:
        """A checkpoint saved after an exploit is one to go on from."""
        donor = self._evicted_at(2, self.config)
        exploits = {2: Exploit(donor.checkpoints[2], 2, dict(self.live))}
        evicted: dict[str, Any] = {"save_at": {4}, "raise_at": {4: TrialEvicted()}}
        script = self._script(self.live)
        if self._declares("exploit_in_place"):
            self._restarted(self.live, exploits)
            session = self._session(script, start=(donor, 2), **evicted)
        else:
            session = self._session(script, exploit_at=exploits, **evicted)
        with session, pytest.raises(TrialEvicted):
            self.train(script)
        _, after, model = self._run(self.live, start=(session, 4))
        assert after.iterations == list(range(5, self.iterations + 1))
        directory = self._directory(session, 4)
        self._assert_same(self.go_on_alone(self.live, self.iterations, directory, 4), model)

    def test_exploit_from_another_iteration(self) -> None:
        """A donor that is behind: its iterations are trained again; in place if the framework's counter can be set."""
        half = self.iterations // 2
        given = self._evicted_at(half - 1, self.config)
        declared = self._declares("exploit_in_place") or self._declares("exploit_from_another_iteration")
        self._exploit(self.live, self.live, given, half - 1, at=half, declared=declared)

    def test_exploit_from_a_donor_ahead(self) -> None:
        """A donor that is ahead: iterations between are left out; in place if the framework's counter can be set."""
        half = self.iterations // 2
        given = self._evicted_at(half + 1, self.config)
        declared = self._declares("exploit_in_place") or self._declares("exploit_from_a_donor_ahead")
        self._exploit(self.live, self.live, given, half + 1, at=half, declared=declared)

    def test_exploit_of_another_architecture(self) -> None:
        """A donor whose state the model cannot take (other layers): the function is entered anew, with the reason."""
        half = self.iterations // 2
        given = self._evicted_at(half, self.reshaped)
        self._exploit(self.config, self.reshaped, given, half, at=half, declared="no model takes another's shape")

    def test_exploit_by_a_new_entry(self) -> None:
        """A change that the running training cannot take: the function is entered anew, with the reason on record."""
        half = self.iterations // 2
        given = self._evicted_at(half, self.config)
        self._exploit(self.config, self.entering, given, half, at=half, declared="it is declared in `entering`")

    def test_apply_config_is_overridden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A script changes what only it knows by one override, the same in every framework; a wrong one is named."""
        half, adapter = self.iterations // 2, self.adapters[0]
        given, own = self._evicted_at(half, self.config), adapter.apply_config  # type: ignore[attr-defined]
        exploit = {half: Exploit(given.checkpoints[half], half, dict(self.live))}
        wrong: list[Any] = []
        seen: list[Any] = []

        def override(callback: Any, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Any:
            name, *others = changed
            seen.append((dict(before), callback.model))
            applied = set(own(callback, {other: changed[other] for other in others}, before))
            return wrong[0] if wrong else {name, *applied}

        monkeypatch.setattr(adapter, "apply_config", override)
        if self._declares("exploit_in_place"):
            return self._restarted(self.config, exploit)
        script, session, _ = self._run(exploit_at=dict(exploit))
        assert session.restarts == [] and len(session.exploits) == 1 and script.ended == 1
        ((before, model),) = seen
        assert before == flatten(self.config) and model is not None
        for returned in (None, "text", {"unknown"}):
            wrong[:] = [returned]
            with pytest.raises(TuneError, match=r"apply_config: expected the names that it has applied, some of '"):
                self._run(exploit_at=dict(exploit))
        return None

    # ----------------------------------------------------------------------------- the best model

    @pytest.mark.parametrize("mode", ["min", "max"])
    def test_keeps_the_best_model(self, mode: Mode) -> None:
        """A checkpoint has the best model up to it by the run's metric, also of a trial that has gone on from one."""
        if self._declares("keeps_the_best_model"):
            return
        named: dict[str, Any] = {"metric": self.metrics[0], "mode": mode, "save_at": range(1, self.iterations + 1)}
        _, session, model = self._run(**named)
        found = self.predictions(session.checkpoints[self.iterations], self.config)
        self._assert_equal(self.state(model)["predictions"], found)
        _, resumed, _ = self._run(start=(session, 3), **named)
        values = [*session.values(self.metrics[0])[:3], *resumed.values(self.metrics[0])]
        whole = {**session.checkpoints, **resumed.checkpoints}
        for at in (5, self.iterations):
            best = _best(values[:at], mode)
            assert _noted(whole[at]).value == values[best]
            expected = self.predictions(whole[best + 1], self.config)
            self._assert_equal(expected, self.predictions(_best_checkpoint(whole[at]), self.config))
        # What another trial has had is not of this training.
        _, other, _ = self._run(start=(session, 3), trial_id="another", **named)
        since = other.values(self.metrics[0])
        assert _noted(other.checkpoints[self.iterations]).value == since[_best(since, mode)]

    def test_leaves_the_model_of_a_later_fit(self) -> None:
        """The model of a second fit in a trial is saved at its end; nothing goes on from it."""
        if self._declares("keeps_the_best_model"):
            return
        script = self._script()
        session = self._session(script, metric=self.metrics[0], mode="min")
        with session:
            self.train(script)
            model = self.train(script)
        end = session.iterations[-1]
        assert list(session.checkpoints) == [self.iterations] and list(session.models) == [end]
        saved = session.models[end]
        self._assert_equal(self.state(model)["predictions"], self.predictions(saved, self.config))
        values = session.values(self.metrics[0])[self.iterations :]
        assert _noted(saved).value == values[_best(values, "min")], "the best one is that of this fit"

    @pytest.mark.parametrize("mode", ["min", "max"])
    def test_best_model_after_an_exploit(self, mode: Mode) -> None:
        """After an exploit the best model is one of the training that the trial has since."""
        if self._declares("keeps_the_best_model") or self._declares("exploit_in_place"):
            return
        donor = self._evicted_at(2, self.config)
        exploit = {2: Exploit(donor.checkpoints[2], 2, dict(self.live))}
        _, session, _ = self._run(exploit_at=exploit, metric=self.metrics[0], mode=mode)
        since = session.values(self.metrics[0])[2:]
        assert _noted(session.checkpoints[self.iterations]).value == since[_best(since, mode)]

    # --------------------------------------------------------------------------------- the package

    def test_missing_framework_is_named(self) -> None:
        """Without the framework the import fails, and names the module and the extra to install."""
        code = f"""
            import sys
            sys.path[:] = {sys.path!r}
            sys.modules[{self.framework!r}] = None
            try:
                import {self.module}
            except ImportError as error:
                print(type(error).__name__, error)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=100, check=False
        )
        said = done.stdout + done.stderr
        assert "Error" in said and "Traceback" not in said and self.framework in said, said
        assert not self.extra or ("MissingDependencyError" in said and f"tune-plugins[{self.extra}]" in said), said

    # -------------------------------------------------------------------------------------- helpers

    def _declares(self, case: str) -> str:
        return self.declared.get(case, "")

    def _script(self, config: Mapping[str, Any] | None = None, **options: Any) -> Script:
        return Script(dict(self.config if config is None else config), self.iterations, **options)

    def _session(self, script: Script, start: tuple[RecordingSession, int] | None = None, **options: Any) -> Any:
        if start is not None:
            before, at = start
            options |= {"start_checkpoint": before.checkpoints[at], "start_iteration": at}
        facts = {name: options.pop(name) for name in ("trial_id", "metric", "mode") if name in options}
        return RecordingSession(context=TrialContext(config=script.config, **facts), **options)

    def _run(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        adapter: dict[str, Any] | None = None,
        saves: bool = True,
        nan: bool = False,
        **session_options: Any,
    ) -> tuple[Script, RecordingSession, Any]:
        """The script with the callback, to its end."""
        script = self._script(config, adapter=adapter or {}, saves=saves, nan=nan)
        session: RecordingSession = self._session(script, **session_options)
        with session:
            model = self.train(script)
        return script, session, model

    def _evicted_at(self, iteration: int, config: Mapping[str, Any]) -> RecordingSession:
        """The session of a training that was saved and evicted after an iteration."""
        script = self._script(config)
        session: RecordingSession = self._session(script, save_at={iteration}, raise_at={iteration: TrialEvicted()})
        with session, pytest.raises(TrialEvicted):
            self.train(script)
        return session

    def _restarted(
        self,
        config: Mapping[str, Any],
        exploits: Mapping[int, Exploit],
        start: tuple[RecordingSession, int] | None = None,
    ) -> None:
        """The script is left by the first exploit that it comes to."""
        script = self._script(config)
        session = self._session(script, start, exploit_at=exploits)
        with session, pytest.raises(TrialRestarted):
            self.train(script)
        assert script.ended == 0 and not session.exploits and session.restarts[0]

    def _directory(self, session: RecordingSession, iteration: int) -> Path:
        return Path(session.checkpoints[iteration].path)

    def _exploit(
        self,
        own: Mapping[str, Any],
        new: Mapping[str, Any],
        given: RecordingSession,
        donor_at: int,
        *,
        at: int,
        declared: str,
    ) -> None:
        """Train under `own`, exploit at iteration `at`, and compare with a continuation from the donor under `new`."""
        exploit = Exploit(given.checkpoints[donor_at], donor_at, dict(new))
        if declared:
            self._restarted(own, {at: exploit})
            _, after, model = self._run(new, start=(given, donor_at))
            assert after.iterations == list(range(donor_at + 1, self.iterations + 1))
        else:
            script, session, model = self._run(own, exploit_at={at: exploit})
            assert session.restarts == [] and len(session.exploits) == 1
            assert script.ended == 1
            expected = [*range(1, at + 1), *range(donor_at + 1, self.iterations + 1)]
            assert session.iterations == expected and len(script.models) == len(expected)
            assert all(seen is script.models[0] for seen in script.models), "the model is another object"
            assert script.config == dict(new)
        directory = self._directory(given, donor_at)
        self._assert_same(self.go_on_alone(new, self.iterations, directory, donor_at), model)

    def _assert_same(self, expected: Any, model: Any) -> None:
        self._assert_equal(self.state(expected), self.state(model))

    def _assert_equal(self, expected: Any, found: Any) -> None:
        difference = _difference(expected, found)
        assert not difference, difference


def conformance_table(suites: Iterable[type[AdapterConformance]], outcomes: Mapping[tuple[str, str], str]) -> str:
    """What came of each case with each adapter, as a Markdown table.

    Args:
        suites: classes derived from `AdapterConformance`.
        outcomes: {(label of the suite, name of the case): outcome}, from a test run.
    """
    columns = list(suites)
    lines = [f"| | {' | '.join(suite.label for suite in columns)} |", f"|---|{'---|' * len(columns)}"]
    notes: list[str] = []

    def cell(suite: type[AdapterConformance], name: str) -> str:
        outcome = outcomes.get((suite.label, name), "not run")
        reason = suite.declared.get(name, "")
        if not reason and name in _IN_PLACE:
            reason = suite.declared.get("exploit_in_place", "")
        if not reason:
            return outcome
        if reason not in notes:
            notes.append(reason)
        shown = "none" if name == "reports_only" else "enters anew"
        return f"{shown} [{notes.index(reason) + 1}]" if outcome == "passed" else outcome

    for name, case in vars(AdapterConformance).items():
        if name.startswith("test_"):
            said = " ".join((case.__doc__ or "").split()).rstrip(".")
            cells = " | ".join(cell(suite, name.removeprefix("test_")) for suite in columns)
            lines.append(f"| {said} | {cells} |")
    lines += ["", *(f"[{number}] {note}\n" for number, note in enumerate(notes, 1))]
    return "\n".join(lines).rstrip() + "\n"


def _best(values: list[float], mode: Mode) -> int:
    index = best_index([finite(value) for value in values], mode)
    assert index is not None
    return index


def _noted(checkpoint: Checkpoint) -> BestModel:
    card = ModelCard.read(checkpoint.path)
    assert card is not None and card.best is not None
    return card.best


def _best_checkpoint(checkpoint: Checkpoint) -> Checkpoint:
    best = _noted(checkpoint)
    if best.rounds is None:
        return Checkpoint(Path(checkpoint.path, best.folder or ""))
    directory = tempfile.mkdtemp(prefix="best-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    cut(checkpoint.path, best.rounds, Path(directory))
    return Checkpoint(directory)


def _assert_data(path: Path) -> None:
    """The file can be loaded without executing anything that stands in it."""
    import zipfile

    with path.open("rb") as file:
        begins = file.read(2)
    assert begins[:1] != _PICKLE, f"{path.name} is a pickle"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith(".pkl")]
        if pickles:  # PyTorch's format, of which a part is a pickle that its restricted loader reads
            import torch

            torch.load(path, weights_only=True, map_location="cpu")


def _difference(expected: Any, found: Any, where: str = "state") -> str:
    """Where two states differ first, in words; empty where they are the same to the last bit."""
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping) or list(expected) != list(found):
            return (
                f"{where}: expected {list(expected)}, found {found if not isinstance(found, Mapping) else list(found)}"
            )
        pairs = [(f"{where}[{key!r}]", expected[key], found[key]) for key in expected]
    elif isinstance(expected, (list, tuple)):
        if len(expected) != len(found):
            return f"{where}: expected {len(expected)} items, found {len(found)}"
        pairs = [(f"{where}[{i}]", a, b) for i, (a, b) in enumerate(zip(expected, found, strict=True))]
    else:
        return _leaf_difference(expected, found, where)
    return next((text for name, a, b in pairs if (text := _difference(a, b, name))), "")


def _leaf_difference(expected: Any, found: Any, where: str) -> str:
    if hasattr(expected, "tobytes"):
        import numpy as np

        a, b = np.asarray(expected), np.asarray(found)
        if a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes():
            return ""
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"{where}: expected {a.dtype}{a.shape}, found {b.dtype}{b.shape}"
        gap = np.abs(a.astype(float) - b.astype(float)).max() if a.dtype.kind in "fiu" else "?"
        return f"{where}: arrays differ, by {gap} at most"
    if expected == found or (expected != expected and found != found):
        return ""
    if isinstance(expected, bytes):
        return f"{where}: bytes differ ({len(expected)} and {len(found)} of them)"
    return f"{where}: expected {expected!r}, found {found!r}"


__all__ = ["AdapterConformance", "Script", "conformance_table"]
