"""`Tuner`: the front door."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tune_plugins.arguments import Mistakes, shown_value
from tune_plugins.config import RunConfig, TuneConfig
from tune_plugins.driver.trial_function import AnyTrainable, TrialFunction, as_trial_function
from tune_plugins.errors import TuneError

if TYPE_CHECKING:
    from tune_plugins.driver.plan import Algorithms, Plan
    from tune_plugins.driver.runtime import Place
    from tune_plugins.results import ResultGrid
    from tune_plugins.space import Space

logger = logging.getLogger(__name__)


class Tuner:
    """Tunes a training function.

    Args:
        trainable: ``train(config)`` that calls `report`, or returns or yields dicts of metrics; or a class derived
            from `Trainable`; or the name of one (`register_trainable`). See also `with_resources`, `with_parameters`.
        param_space: hyper-parameters: values, domains such as `uniform`, grids, nested dicts of these; or a
            `tune_plugins.space.Space` of them, with constraints.
        tune_config: see `TuneConfig`.
        run_config: see `RunConfig`.

    Raises:
        ArgumentError: lists everything that is wrong with the arguments by themselves.

    >>> import tune_plugins as tune
    >>> def train(config):
    ...     tune.report(loss=(config["x"] - 2) ** 2)
    >>> tuner = tune.Tuner(
    ...     train,
    ...     param_space={"x": tune.grid_search([1, 2, 3])},
    ...     tune_config=tune.TuneConfig(metric="loss", mode="min"),
    ...     run_config=tune.RunConfig(verbose=0),
    ... )
    >>> tuner.fit().get_best_result().config  # doctest: +SKIP
    {'x': 2}
    """

    def __init__(
        self,
        trainable: AnyTrainable | str,
        *,
        param_space: Mapping[str, Any] | Space | None = None,
        tune_config: TuneConfig | None = None,
        run_config: RunConfig | None = None,
    ) -> None:
        self._trainable = as_trial_function(trainable)
        self._param_space = param_space
        self._tune_config = TuneConfig() if tune_config is None else tune_config
        self._run_config = RunConfig() if run_config is None else run_config
        self._results: ResultGrid | None = None
        mistakes = Mistakes("Tuner")
        self._look_at_arguments(mistakes)
        mistakes.raise_if_any()

    def __repr__(self) -> str:
        """What was given, as far as it differs from the defaults."""
        parts = [self._trainable.name]
        if self._param_space is not None:
            parts.append(f"param_space={shown_value(self._param_space)}")
        for name, config in (("tune_config", self._tune_config), ("run_config", self._run_config)):
            if repr(config) != f"{type(config).__name__}()":
                parts.append(f"{name}={config!r}")
        return f"Tuner({', '.join(parts)})"

    def _repr_html_(self) -> str:
        from tune_plugins.display import html
        from tune_plugins.space.nested import flatten

        space = self._param_space
        given = flatten(space) if isinstance(space, Mapping) else {"space": space}
        rows = [(name, shown_value(value)) for name, value in given.items() if value is not None]
        return html.block(
            html.paragraph("Tuner", self._trainable.name),
            html.table(("hyper-parameter", "values"), rows) if rows else "",
            *(html.paragraph("", repr(config)) for config in (self._tune_config, self._run_config)),
            html.paragraph("results", self._results.experiment_path) if self._results is not None else "",
        )

    def fit(self) -> ResultGrid:
        """Run all trials; returns when the last one has ended, or after Ctrl-C.

        Raises:
            ArgumentError: lists everything that is wrong, before anything starts: resources that the cluster lacks, a
                storage that cannot be written, a trainable that cannot be sent to another process.
            TuneError: the run could not go on; says why and where the results are.
        """
        from tune_plugins.display import displays
        from tune_plugins.driver.launch import carry_out
        from tune_plugins.driver.plan import experiment_folder
        from tune_plugins.results import ResultGrid

        plan, place = self._check()
        for remark in plan.space.remarks():
            logger.warning("param_space: %s", remark)
        try:
            with experiment_folder("Tuner", plan.run, plan.name) as folder:
                configs = carry_out(plan, place, folder.path, displays(plan.run), folder.name, folder.remarks)
        finally:
            place.close()
        self._results = ResultGrid(folder.path, configs=configs)
        self._raise_first_error()
        return self._results

    def get_results(self) -> ResultGrid:
        """The results of the last `fit`.

        Raises:
            TuneError: there was none.
        """
        if self._results is None:
            raise TuneError("get_results() before fit(): there are no results yet. Call fit() first.")
        return self._results

    @classmethod
    def can_restore(cls, path: str | os.PathLike[str]) -> bool:
        """False: a run that was cut off cannot be gone on with yet."""
        return False

    @classmethod
    def restore(cls, path: str | os.PathLike[str], *args: Any, **options: Any) -> Tuner:
        """A run that was cut off cannot be gone on with yet.

        Raises:
            TuneError: says what to do.
        """
        raise TuneError(
            f"Tuner.restore({os.fspath(path)!r}): runs cannot be resumed yet. Look at what there is with "
            f"tune_plugins.ResultGrid({os.fspath(path)!r}), and start anew; a searcher takes these results as its "
            "warm_start."
        )

    def _raise_first_error(self) -> None:
        if self._run_config.failure_config.fail_fast == "raise" and self._results and self._results.num_errors:
            raise self._results.errors[0]

    # ---------------------------------------------------------------------------------- checks

    def _look_at_arguments(self, mistakes: Mistakes) -> tuple[Space, Algorithms] | None:
        """Everything that is wrong with the arguments by themselves; the configs may have changed since."""
        from tune_plugins.driver.plan import check_run
        from tune_plugins.space import Space

        tune, run, given = self._tune_config, self._run_config, self._param_space
        mistakes.found += self._trainable.mistakes()
        right = mistakes.check(
            isinstance(given, (Mapping, Space, type(None))), "param_space", "a dict of hyper-parameters", given
        )
        space = given if isinstance(given, Space) else Space(given if right else None)
        right = mistakes.check(isinstance(tune, TuneConfig), "tune_config", "a tune_plugins.TuneConfig", tune)
        right &= mistakes.check(isinstance(run, RunConfig), "run_config", "a tune_plugins.RunConfig", run)
        return (space, check_run(tune, run, space, mistakes)) if right else None

    def _check(self) -> tuple[Plan, Place]:
        """Everything that can be wrong, all at once; joins Ray, or starts it where that is needed."""
        from tune_plugins.driver.plan import Plan, draw_seed, storage_mistakes

        tune, run = self._tune_config, self._run_config
        mistakes = Mistakes("Tuner")
        found = self._look_at_arguments(mistakes)
        mistakes.found += storage_mistakes(run)
        trainable = replace(self._trainable, reuses_objects=tune.reuse_actors is True)
        place = _PLACES.get(run.runtime, _inline)(trainable, tune, run, mistakes)
        mistakes.raise_if_any()
        assert found is not None
        space, (scheduler, searcher) = found
        return Plan(self._trainable.name, tune, run, space, scheduler, searcher, draw_seed(tune.seed)), place


def _inline(trainable: TrialFunction, tune: TuneConfig, run: RunConfig, mistakes: Mistakes) -> Place:
    from tune_plugins.driver.inline import InlinePlace

    return InlinePlace(trainable)


def _on_ray(trainable: TrialFunction, tune: TuneConfig, run: RunConfig, mistakes: Mistakes) -> Place:
    from tune_plugins.driver.ray.place import RayPlace

    return RayPlace(trainable, tune.max_concurrent_trials, run.workers, run.runtime_env, mistakes)


_PLACES: dict[str, Callable[[TrialFunction, TuneConfig, RunConfig, Mistakes], Place]] = {
    "inline": _inline,
    "ray": _on_ray,
}
"""What `RunConfig.runtime` names; another name is among the mistakes already."""
