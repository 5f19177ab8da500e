"""What trials take, and how many there are at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tune_plugins as tune


def _most_at_a_time(grid: Any) -> int:
    ends = [(r.metrics["began"], 1) for r in grid] + [(r.metrics["ended"], -1) for r in grid]
    count = most = 0
    for _, step in sorted(ends):
        count += step
        most = max(most, count)
    return most


def _busy(config: dict[str, Any]) -> dict[str, Any]:
    began = time.time()
    if "meet" in config:
        # The first so many are there at the same time, however slowly their processes come.
        Path(config["directory"], tune.get_context().get_trial_id()).touch()
        while len(os.listdir(config["directory"])) < config["meet"]:
            time.sleep(0.005)
    while time.time() - began < 0.02:
        sum(range(1000))
    return {
        "began": began,
        "ended": time.time(),
        "cpus": tune.get_context().get_trial_resources().get("CPU"),
    }


@pytest.mark.parametrize(
    ("resources", "limit", "most"),
    [
        (None, None, 2),
        (None, 1, 1),
        ({"cpu": 2}, None, 1),
        ({"cpu": 0.5}, None, 4),
        ({"cpu": 0.5}, np.int64(3), 3),
    ],
)
def test_as_many_trials_at_a_time_as_fit_and_no_more(
    fit: Any, tmp_path: Path, resources: Any, limit: int | None, most: int
) -> None:
    train = _busy if resources is None else tune.with_resources(_busy, resources)
    (tmp_path / "met").mkdir()
    space = {"meet": most, "directory": str(tmp_path / "met")}
    grid = fit(train, space, num_samples=12, max_concurrent_trials=limit)
    assert _most_at_a_time(grid) == most


def test_shapes_may_differ_from_trial_to_trial(fit: Any) -> None:
    train = tune.with_resources(_busy, lambda config: {"cpu": config["cpus"]})
    grid = fit(train, {"cpus": tune.grid_search([1, 2, 1, 0.5])}, num_samples=2)
    assert [r.metrics["cpus"] for r in grid] == [1, 2, 1, 0.5] * 2


def test_a_trial_may_use_the_other_bundles_of_its_group(fit: Any) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        import ray

        @ray.remote(num_cpus=1)
        def child() -> tuple[int, bool]:
            import os

            return os.getpid(), ray.util.get_current_placement_group() is not None

        pid, captured = ray.get(child.remote())
        import os

        return {"other_process": pid != os.getpid(), "captured": captured}

    both = tune.PlacementGroupFactory([{"CPU": 1}, {"CPU": 1}])
    assert both.required_resources == {"CPU": 2}
    for result in fit(tune.with_resources(train, both), num_samples=2):
        assert result.status == "TERMINATED", result.error
        assert result.metrics["other_process"] is True
        assert result.metrics["captured"] is True


def test_a_trial_may_start_tasks_within_its_own_cpu(fit: Any) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        import ray

        return {"sum": ray.get(ray.remote(lambda: 6 * 7).remote())}

    assert [r.metrics["sum"] for r in fit(train, num_samples=4)] == [42] * 4


def test_a_resource_that_no_node_has_is_named_at_once(fit: Any) -> None:
    with pytest.raises(tune.ArgumentError, match=r"asks for TPU: 1, and no node has more than 0 \(nodes have CPU: 2"):
        fit(tune.with_resources(_busy, {"cpu": 1, "TPU": 1}))
    with pytest.raises(tune.ArgumentError, match="asks for CPU: 64, and no node has more than 2"):
        fit(tune.with_resources(_busy, {"cpu": 64}))
    with pytest.raises(tune.ArgumentError, match="no node or set of nodes can give at once"):
        fit(tune.with_resources(_busy, tune.PlacementGroupFactory([{"CPU": 2}, {"CPU": 1}])))
    with pytest.raises(tune.ArgumentError, match="asks for CPU: 9"):
        fit(tune.with_resources(_busy, lambda config: {"cpu": 9}))


def test_a_function_for_resources_that_raises_is_named(fit: Any) -> None:
    with pytest.raises(tune.TuneError, match="the function given to with_resources raised KeyError: 'gpus'"):
        fit(tune.with_resources(_busy, lambda config: {"gpu": config["gpus"]}))


def test_two_runs_at_a_time_in_threads_share_the_machine(fit: Any, tmp_path: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(fit, _busy, num_samples=8, name=f"run_{i}") for i in range(2)]
        grids = [run.result(timeout=600) for run in runs]
    assert [grid.num_terminated for grid in grids] == [8, 8]


def test_graphics_cards_are_shown_to_trials(ok: Callable[..., str]) -> None:
    out = ok(
        """
        import ray
        def train(config):
            return {"cards": os.environ.get("CUDA_VISIBLE_DEVICES", ""), "ids": str(ray.get_gpu_ids())}

        if __name__ == "__main__":
            ray.init(num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
            run = tune.RunConfig(verbose=0)
            for gpus in (1, 2, 0.5, 0):
                grid = tune.Tuner(
                    tune.with_resources(train, {"cpu": 0.5, "gpu": gpus}),
                    tune_config=tune.TuneConfig(num_samples=3), run_config=run,
                ).fit()
                print(gpus, sorted({r.metrics["cards"] for r in grid}), grid.num_errors)
        """
    )
    lines = out.splitlines()
    one = lines[0]
    assert one.startswith("1 [") and one.endswith(" 0") and ("'0'" in one or "'1'" in one)
    assert lines[1] in ("2 ['0,1'] 0", "2 ['1,0'] 0")
    assert lines[2].startswith("0.5 [") and "," not in lines[2].replace("', '", "")
    assert lines[3] == "0 [''] 0"
