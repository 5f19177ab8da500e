"""Progress as plain lines, for pipes, files and CI."""

from __future__ import annotations

from tune_plugins.display.frame import plain_line
from tune_plugins.display.lines import line
from tune_plugins.display.reporter import Reporter
from tune_plugins.display.text import clean, count, rough_duration

_SHORTEST_S, _LONGEST_S = 5.0, 30.0


class PlainDisplay(Reporter):
    """One line at the start, then one every 5 s, growing to every 30 s as the run goes on."""

    _next = 0.0

    def begin(self) -> None:
        """Say what is run and where."""
        run = self.run
        trials = count(run.total_trials, "trial") if run.total_trials is not None else "trials"
        parts = [f"{trials}, {run.slots} at a time" if run.slots else trials, clean(run.scheduler, 60)]
        if run.searcher != "BasicVariantGenerator":
            parts.append(clean(run.searcher, 60))
        if run.metric is not None:
            parts.append(f"{run.mode} of {clean(run.metric, 80)}" if run.mode else clean(run.metric, 80))
        if run.time_budget_s is not None:
            parts.append(f"at most {rough_duration(run.time_budget_s)}")
        where = f" -> {clean(run.path, 1000)}" if run.path else ""
        self.write([line(f"{clean(run.name, 80) or 'tuning'}: {', '.join(part for part in parts if part)}{where}")])
        self._next = self.began

    def step(self, now: float) -> None:
        """Write a line if it is time."""
        if now >= self._next:
            elapsed = self.elapsed
            self.write([line(plain_line(self.progress, elapsed))])
            self._next = now + min(max(elapsed / 10, _SHORTEST_S), _LONGEST_S)

    def end(self) -> None:
        """Nothing to restore."""

    def abandon(self) -> None:
        """Nothing to restore."""
