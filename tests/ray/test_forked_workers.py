"""Processes forked from a preloading one: what they have imported, how they end, when actors take their place."""

from __future__ import annotations

import importlib
import logging
import os
import random
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cloudpickle
import pytest

import tune_plugins as tune
from tune_plugins.driver.ray import guard, nodes, preloading
from tune_plugins.schedulers import PopulationBasedTraining
from tune_plugins.worker.orders import Fork, Preload, Serve, Watched
from tune_plugins.worker.setting import Setting
from tune_plugins.worker.snapshot import Snapshot

BOTH = pytest.mark.parametrize("workers", ["auto", "actors"])


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """What the package has logged, debug messages included."""
    caplog.set_level(logging.DEBUG, "tune_plugins")
    return lambda: "\n".join(caplog.messages)


class Lines(tune.callbacks.Callback):
    """Keeps what the run itself has said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_trial_output(self, iteration: int, trials: Any, trial: Any, lines: Any, **info: Any) -> None:
        if trial is None:
            self.lines += lines


def _facts(config: dict[str, Any]) -> dict[str, Any]:
    parent = Path(f"/proc/{os.getppid()}/cmdline").read_text()
    return {"pid": os.getpid(), "forked": "preloader" in parent}


# ----------------------------------------------------------------------------------------- which kind


def _names_ray(config: dict[str, Any]) -> dict[str, Any]:
    import ray

    # A task of the trial's own runs inside its slot, and its actors belong to it.
    return {**_facts(config), "seen": ray.get(ray.remote(lambda: 7).remote()), "job": str(_job())}


def _job() -> Any:
    import ray

    return ray.get_runtime_context().get_job_id()


def test_trials_are_forked_unless_they_have_to_do_with_ray(fit: Any, said: Any) -> None:
    assert fit(_facts)[0].metrics["forked"]
    assert "forked from one which has imported" in said() and "actors" not in said()
    result = fit(_names_ray)[0]
    assert not result.metrics["forked"]
    assert result.metrics["seen"] == 7 and result.metrics["job"] == str(_job())
    assert "trials run in Ray actors: the training function has to do with Ray: it imports ray" in said()


def test_an_object_of_ray_in_a_config_or_an_argument_is_enough(fit: Any) -> None:
    import ray

    fit(_names_ray)  # has Ray up
    reference = ray.put(5)

    def train(config: dict[str, Any]) -> dict[str, Any]:
        return {**_facts(config), "kinds": type(config["x"]).__name__}

    def with_argument(config: dict[str, Any], given: list[Any]) -> dict[str, Any]:
        return {**_facts(config), "kinds": type(given[0]).__name__}

    grid = fit(train, {"x": tune.grid_search([reference, 3])})
    assert [(r.metrics["kinds"], r.metrics["forked"]) for r in grid] == [("ObjectRef", False), ("int", True)]
    (result,) = fit(tune.with_parameters(with_argument, given=[reference]))
    assert (result.metrics["kinds"], result.metrics["forked"]) == ("ObjectRef", False)


def test_objects_of_ray_that_are_hidden_in_others(fit: Any) -> None:
    import ray

    fit(_names_ray)  # has Ray up
    held = {"deep": [{"er": (ray.put(5),)}]}
    holder = type("Holder", (), {})()
    holder.reference = ray.put(6)

    def by_closure(config: dict[str, Any]) -> dict[str, Any]:
        return {**_facts(config), "kind": type(held["deep"][0]["er"][0]).__name__}

    def by_parameter(config: dict[str, Any], given: Any) -> dict[str, Any]:
        return {**_facts(config), "kind": type(given.reference).__name__}

    def by_config(config: dict[str, Any]) -> dict[str, Any]:
        return {**_facts(config), "kind": type(config["x"].reference).__name__}

    trials = [(by_closure, None), (tune.with_parameters(by_parameter, given=holder), None), (by_config, {"x": holder})]
    for trainable, space in trials:
        (result,) = fit(trainable, space)
        assert (result.metrics["kind"], result.metrics["forked"]) == ("ObjectRef", False)


@pytest.mark.parametrize(
    "resources",
    [tune.PlacementGroupFactory([{"CPU": 1}, {"CPU": 1}]), {"cpu": 1, "memory": 1000}],
    ids=["bundles", "memory"],
)
def test_what_only_ray_can_give(fit: Any, resources: Any) -> None:
    (result,) = fit(tune.with_resources(_facts, resources))
    assert result.metrics["forked"] == (not isinstance(resources, tune.PlacementGroupFactory))


def test_actors_by_option_and_by_environment(fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not fit(_facts, workers="actors")[0].metrics["forked"]
    monkeypatch.setenv("TUNE_WORKERS", "actors")
    assert not fit(_facts)[0].metrics["forked"]
    with pytest.raises(tune.errors.ArgumentError, match="workers: expected 'auto' or 'actors', got 'threads'"):
        fit(_facts, workers="threads")


def test_a_trial_that_uses_ray_where_nobody_could_see_it_joins(fit: Any) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        ray = __import__("r" + "ay")
        seen = ray.get([ray.remote(lambda x: x + 1).remote(x) for x in range(3)])
        return {**_facts(config), "seen": seen, "address": ray.get_runtime_context().gcs_address}

    grid = fit(train, num_samples=3)
    import ray

    for result in grid:
        assert result.error is None, result.error
        assert result.metrics["forked"] and result.metrics["seen"] == [1, 2, 3]
        assert result.metrics["address"] == ray.get_runtime_context().gcs_address


# ------------------------------------------------------------------------------------- one version of the code


@BOTH
def test_a_module_that_was_edited_is_new_in_the_next_fit(fit: Any, module: Any, workers: str) -> None:
    helper = module("edited_helper", "def answer():\n    return 1\n")
    for expected in (1, 2, 3):
        module("edited_helper", f"def answer():\n    return {expected}\n")
        helper = sys.modules["edited_helper"]

        def train(config: dict[str, Any], helper: Any = helper) -> dict[str, Any]:
            return {"answer": helper.answer(), "pid": os.getpid()}

        grid = fit(train, num_samples=4, workers=workers)
        assert {result.metrics["answer"] for result in grid} == {expected}


@BOTH
def test_all_trials_of_a_run_have_the_version_of_its_start(fit: Any, module: Any, tmp_path: Path, workers: str) -> None:
    """Also of what is imported late, inside a function, and in processes that are started late."""
    module("early_helper", "VERSION = 'old'\n")
    (tmp_path / "late_helper.py").write_text("import early_helper\nVERSION = early_helper.VERSION + ' old'\n")

    def train(config: dict[str, Any]) -> dict[str, Any]:
        for name in ("early_helper", "late_helper"):
            Path(config["folder"], f"{name}.py").write_text("VERSION = 'new'\n")
        import late_helper

        return {"version": late_helper.VERSION, "file": late_helper.__file__}

    grid = fit(train, {"folder": str(tmp_path)}, num_samples=4, reuse_actors=False, workers=workers)
    assert {result.metrics["version"] for result in grid} == {"old old"}
    assert {result.metrics["file"] for result in grid} == {str(tmp_path / "late_helper.py")}
    again = fit(lambda config: {"version": __import__("late_helper").VERSION}, workers=workers)
    assert again[0].metrics["version"] == "new"


def test_a_module_that_only_a_trial_could_name_belongs_to_the_version(fit: Any, module: Any, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        import importlib

        return {"answer": importlib.import_module(config["name"]).ANSWER}

    for expected in (1, 2, 3):
        (tmp_path / "named_in_config.py").write_text(f"ANSWER = {expected}\n")
        module("beside_it", "")
        grid = fit(train, {"name": "named_in_config"}, num_samples=3)
        assert [result.metrics["answer"] for result in grid] == [expected] * 3


def test_a_module_that_was_reloaded_is_loaded_anew(fit: Any, module: Any, tmp_path: Path) -> None:
    """With the same source: it may read something else."""
    import importlib

    (tmp_path / "data.txt").write_text("1")
    helper = module("reads_data", f"X = int(open({str(tmp_path / 'data.txt')!r}).read())\n")
    trainable: Any = lambda config: {"x": helper.X}  # noqa: E731
    assert fit(trainable)[0].metrics["x"] == 1
    (tmp_path / "data.txt").write_text("2")
    importlib.reload(helper)
    assert fit(trainable, num_samples=3)[0].metrics["x"] == 2


def test_processes_stay_warm_while_nothing_has_changed(fit: Any, module: Any) -> None:
    module("warm_helper", "X = 1\n")
    import warm_helper  # type: ignore[import-not-found]

    def pids() -> set[int]:
        return {r.metrics["pid"] for r in fit(lambda config: {"x": warm_helper.X, "pid": os.getpid()}, num_samples=4)}

    first = pids()
    module("another_helper", "Y = 1\n")  # nothing of it was loaded there
    assert pids() & first
    module("warm_helper", "X = 1  # edited\n")
    assert not pids() & first


# ------------------------------------------------------------------------------------------ what is imported


def test_everything_is_imported_before_the_first_trial(fit: Any, module: Any) -> None:
    module("lazy_helper", "import wave\n")

    def train(config: dict[str, Any]) -> dict[str, Any]:
        loaded = "lazy_helper" in sys.modules
        import lazy_helper  # type: ignore[import-not-found]

        return {"loaded": loaded, "name": lazy_helper.__name__}

    assert fit(train)[0].metrics["loaded"]


def test_what_a_trial_sets_before_it_imports_counts(fit: Any, module: Any) -> None:
    module("depends", "import os\nCHOSEN = os.environ.get('CHOICE_OF_TEST', 'default')\n")
    sys.modules.pop("depends")

    def train(config: dict[str, Any]) -> dict[str, Any]:
        os.environ["CHOICE_OF_TEST"] = "mine"
        import depends  # type: ignore[import-not-found]

        return {"chosen": depends.CHOSEN}

    for fresh in (False, True, True):
        grid = fit(train, num_samples=4, reuse_actors=not fresh)
        assert {result.metrics["chosen"] for result in grid} == {"mine"}


def test_processes_to_come_have_what_a_trial_was_seen_to_import(fit: Any, module: Any) -> None:
    module("seen_helper", "import os\nBY = os.getpid()\n")
    sys.modules.pop("seen_helper")

    def train(config: dict[str, Any]) -> dict[str, Any]:
        os.environ["MASTER_PORT"] = str(os.getpid())  # as Lightning does
        helper = __import__("seen" + "_helper")
        return {"by": helper.BY, "pid": os.getpid()}

    grid = fit(train, num_samples=6, max_concurrent_trials=1, reuse_actors=False)
    own = [result.metrics["by"] == result.metrics["pid"] for result in grid]
    assert own[0] and not any(own[2:]), "the first imports it by itself, later ones find it"


def test_a_module_that_cannot_be_imported_is_the_trials_affair(fit: Any) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        try:
            import there_is_no_such_module  # type: ignore[import-not-found] # noqa: F401
        except ImportError:
            return {"fine": 1}
        return {"fine": 0}

    assert fit(train)[0].metrics["fine"] == 1


@pytest.mark.parametrize(
    ("text", "hazard"),
    [
        ("import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n", "a thread runs"),
        (
            "import jax.numpy\nX = jax.numpy.ones(3).sum()\n",
            r"(a back end of jax is initialised|a library has opened threads)",
        ),
    ],
    ids=["thread", "jax"],
)
def test_what_is_not_safe_to_fork_is_imported_by_each(fit: Any, module: Any, said: Any, text: str, hazard: str) -> None:
    helper = module("not_safe", f"import os\nBY = os.getpid()\n{text}")

    def train(config: dict[str, Any]) -> dict[str, Any]:
        return {"own": os.getpid() == helper.BY, **_facts(config)}

    grid = fit(train, num_samples=2)
    assert [(r.metrics["own"], r.metrics["forked"]) for r in grid] == [(True, True)] * 2
    pattern = f"of no use: {hazard}.* when not_safe is imported"
    assert re.search(pattern, said())


def test_a_package_that_opens_threads_is_found_out_once(fit: Any, tmp_path: Path, monkeypatch: Any, said: Any) -> None:
    """Not one of its hundred modules after the other, while trials that could be forked wait."""
    package = tmp_path / "opens"
    package.mkdir()
    opens = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    (package / "__init__.py").write_text(opens)
    for number in range(100):
        (package / f"part_{number}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)

    def train(config: dict[str, Any]) -> dict[str, Any]:
        for number in range(100):
            importlib.import_module("op" + f"ens.part_{number}")
        return _facts({})

    grid = fit(train, num_samples=4, max_concurrent_trials=1, reuse_actors=False)
    assert all(result.metrics["forked"] for result in grid)
    assert "when opens is imported" in said() and said().count("another one without") == 1


def test_what_trials_were_seen_to_import_is_given_up_where_it_goes_on_to_make_trouble(
    fit: Any, module: Any, said: Any
) -> None:
    opens = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    for number in range(20):
        module(f"opens_{number}", f"import sys\n{opens}")
        del sys.modules[f"opens_{number}"]

    def train(config: dict[str, Any]) -> dict[str, Any]:
        for number in range(20):
            importlib.import_module("op" + f"ens_{number}")
        return _facts({})

    grid = fit(train, num_samples=4, max_concurrent_trials=1, reuse_actors=False)
    assert all(result.metrics["forked"] for result in grid)
    assert said().count("another one without") == 3


def test_the_thread_of_arrow_stands_in_nobodys_way(fit: Any, said: Any) -> None:
    import pyarrow

    def train(config: dict[str, Any]) -> dict[str, Any]:
        return {"sum": int(pyarrow.array([1, 2, 3]).to_numpy().sum()), **_facts({})}

    (result,) = fit(train)
    assert result.metrics["sum"] == 6 and result.metrics["forked"] and "of no use" not in said()


def test_what_is_not_to_be_shared_is_left_out_with_all_that_import_it(fit: Any, module: Any) -> None:
    module("has_generator", "import os, random\nBY, GENERATOR = os.getpid(), random.Random()\n")
    users = [module(f"user_{n}", "import has_generator\nBY = has_generator.BY\n") for n in range(5)]

    def train(config: dict[str, Any]) -> dict[str, Any]:
        return {**_facts(config), "own": all(os.getpid() == user.BY for user in users)}

    (result,) = fit(train)
    assert result.metrics["forked"] and result.metrics["own"]


def test_a_run_that_never_begins_leaves_nothing_behind(fit: Any) -> None:
    class Raises(tune.schedulers.FIFOScheduler):
        def setup(self, **options: Any) -> None:
            raise ValueError("cannot be set up")

    for _ in range(3):
        with pytest.raises(Exception, match="cannot be set up"):
            fit(_facts, scheduler=Raises())
    assert all(not agent.runs for agent in preloading._agents)


@pytest.mark.ends_ray
def test_a_ray_that_cannot_be_started_holds_no_slots(fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tune_plugins.driver.ray import connecting

    def fails(ray: Any) -> None:
        raise OSError("no room")

    tune.shutdown()
    with monkeypatch.context() as patch:
        patch.setattr(connecting, "_start_once", fails)
        patch.setattr(connecting, "_PAUSES_S", ())
        for _ in range(3):
            with pytest.raises(tune.errors.TuneError, match="cannot start a local Ray: no room"):
                fit(_names_ray)
    assert fit(_facts, num_samples=4)[0].metrics["forked"]


def test_a_preloading_process_that_dies_at_an_import_gives_way_to_actors(
    fit: Any, module: Any, said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        import os, sys
        if "ray" not in sys.modules and os.environ.get("DEADLY_PARENT") != str(os.getpid()):
            os._exit(7)
    """
    monkeypatch.setenv("DEADLY_PARENT", str(os.getpid()))
    helper = module("deadly", text)
    (result,) = fit(lambda config: {**_facts(config), "name": helper.__name__})
    assert not result.metrics["forked"]
    assert "since processes cannot be forked: it has ended (exit status 7)" in said()


def test_a_trial_that_hangs_after_the_fork_starts_anew_in_an_actor(
    fit: Any, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a library was used when it was imported: here a lock that is held in the process of the import."""
    monkeypatch.setattr(guard, "STILL_S", 1.0)
    helper = module("computes", "import os, threading\nBY, LOCK = os.getpid(), threading.Lock()\nLOCK.acquire()\n")

    def train(config: dict[str, Any]) -> dict[str, Any]:
        if os.getpid() != helper.BY:
            helper.LOCK.acquire()
        return {**_facts(config), "x": config["x"]}

    lines = Lines()
    grid = fit(train, {"x": tune.grid_search([1, 2, 3])}, callbacks=[lines])
    assert [(r.metrics["x"], r.metrics["forked"]) for r in grid] == [(1, False), (2, False), (3, False)]
    assert not grid.errors
    told = [line for line in lines.lines if "hung before its first report" in line]
    assert len(told) == 1 and "starts anew in a Ray actor" in told[0]


def test_a_trial_that_only_sleeps_does_not_hang(fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "STILL_S", 0.5)
    lines = Lines()

    def train(config: dict[str, Any]) -> dict[str, Any]:
        time.sleep(2)
        return _facts(config)

    assert fit(train, callbacks=[lines])[0].metrics["forked"]
    assert not lines.lines


class _HangsWhenLoaded:
    def __reduce__(self) -> Any:
        return eval, ("[lock.acquire() for lock in [__import__('threading').Lock()] * 2]",)


def test_on_another_node_its_agent_says_what_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "STILL_S", 0.3)
    setting = Setting.here(Snapshot())
    preload = Preload((), tuple(sys.path), Snapshot(), ())
    agent = nodes.NodeAgent(preload, {}, cloudpickle.dumps(_HangsWhenLoaded()), {}, setting, None, "elsewhere")
    said: list[Any] = []
    try:
        agent.tell(Fork("one"))
        agent.tell(Serve("one", "", b"", "", "", 1))
        while not any(isinstance(each, Watched) and each.still for each in said):
            said += agent.news() or []
    finally:
        agent.close()
    worker = Mock(pid=None, still=True)
    now = time.monotonic()
    assert guard.Guard().hanging({worker: now - 1000}) == [worker]
    assert not guard.Guard().hanging({worker: now})


# ------------------------------------------------------------------------------------------- how they end


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "SIGSEGV"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"),
        (lambda: os._exit(3), "exit status 3"),
    ],
    ids=["segfault", "kill", "exit"],
)
def test_the_true_end_of_a_process_is_told(fit: Any, how: Any, told: str) -> None:
    (result,) = fit(lambda config: how())
    assert result.cause == "WORKER_LOST" and told in str(result.error), result.error


def _goes_on(config: dict[str, Any]) -> None:
    checkpoint = tune.get_checkpoint()
    first = 0 if checkpoint is None else int(Path(checkpoint.path, "step").read_text())
    for step in range(first + 1, 6):
        folder = Path(tune.get_context().get_trial_dir(), "scratch")
        folder.mkdir(exist_ok=True)
        (folder / "step").write_text(str(step))
        tune.report(step=step, checkpoint=tune.Checkpoint.from_directory(folder))
        if step == 3 and not (done := folder.parent / "once").exists():
            done.touch()
            config["how"]()


def test_the_preloading_process_may_die_while_trials_run(fit: Any) -> None:
    """All processes end with it; the trials go on from their checkpoints in others."""

    def end_it() -> None:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)

    grid = fit(_goes_on, {"how": tune.grid_search([end_it, lambda: None])}, max_failures=2)
    assert [result.metrics.get("step") for result in grid] == [5, 5], grid.errors


def test_a_trial_is_ended_with_all_that_it_has_started(fit: Any, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        import subprocess

        child = subprocess.Popen(["sleep", "600"])
        Path(config["file"]).write_text(str(child.pid))
        os._exit(1)

    fit(train, {"file": str(tmp_path / "pid")})
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_shortage_of_memory_ends_the_trial_that_holds_most(fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.0001")
    lines = Lines()

    def train(config: dict[str, Any]) -> None:
        held = bytearray(config["bytes"])
        held[::4096] = b"x" * len(held[::4096])
        while True:
            time.sleep(0.02)
            tune.report(held=len(held))

    small, large = fit(train, {"bytes": tune.grid_search([1000, 200_000_000])}, time_budget_s=30, callbacks=[lines])
    assert large.cause == "OUT_OF_MEMORY"
    assert "for want of memory" in str(large.error) and "max_concurrent_trials" in str(large.error)
    assert small.metrics["held"] == 1000


def test_processes_end_when_their_driver_is_killed(driver: Callable[..., Any]) -> None:
    run = driver(
        """
        import time
        def train(config):
            print("pid", os.getpid(), os.getppid(), flush=True)
            tune.report(x=1)
            time.sleep(600)

        class Told(tune.callbacks.Callback):
            def on_trial_output(self, iteration, trials, trial, lines, **info):
                print(*lines, flush=True)

        if __name__ == "__main__":
            tune.Tuner(train, run_config=tune.RunConfig(verbose=0, callbacks=[Told()])).fit()
        """
    )
    pids = [int(pid) for pid in run.wait_for("pid").split()[1:]]
    run.process.kill()
    deadline = time.monotonic() + 120
    while any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_text() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ------------------------------------------------------------------------------------- from trial to trial


def _leaves_traces(config: dict[str, Any]) -> dict[str, Any]:
    import matplotlib.pyplot as plt
    import torch

    found = {
        "handlers": len(logging.getLogger("my.experiment").handlers),
        "root": len(logging.getLogger().handlers),
        "level": logging.getLogger("my.experiment").level,
        "path": "/no/such/folder" in sys.path,
        "filters": any(each[0] == "error" and each[2] is UserWarning for each in warnings.filters),
        "figures": len(plt.get_fignums()),
        "dtype": str(torch.get_default_dtype()),
        "threads": torch.get_num_threads(),
        "pid": os.getpid(),
    }
    logging.getLogger("my.experiment").addHandler(logging.StreamHandler())
    logging.getLogger("my.experiment").setLevel(logging.DEBUG)
    logging.getLogger().addHandler(logging.StreamHandler())
    sys.path.append("/no/such/folder")
    warnings.simplefilter("error", UserWarning)
    plt.figure()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    return found


@BOTH
def test_nothing_leaks_from_trial_to_trial(fit: Any, workers: str) -> None:
    grid = fit(_leaves_traces, num_samples=3, max_concurrent_trials=1, workers=workers)
    assert len({result.metrics["pid"] for result in grid}) == 1
    traces = ("handlers", "root", "level", "path", "filters", "figures", "dtype", "threads")
    first, *later = [{name: result.metrics[name] for name in traces} for result in grid]
    assert first["threads"] == 1 and first["dtype"] == "torch.float32" and not first["handlers"]
    assert later == [first, first]


def test_a_fresh_process_a_trial_knows_nothing_of_others(fit: Any, module: Any) -> None:
    helper = module("remembers", "SEEN = []\n")

    def train(config: dict[str, Any]) -> dict[str, Any]:
        helper.SEEN.append(config["x"])
        return {"seen": list(helper.SEEN), **_facts(config)}

    grid = fit(train, {"x": tune.grid_search([1, 2, 3])}, reuse_actors=False)
    assert [result.metrics["seen"] for result in grid] == [[1], [2], [3]]
    assert len({result.metrics["pid"] for result in grid}) == 3


@BOTH
def test_threads_fit_the_slot(fit: Any, workers: str) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        import torch

        return {"omp": os.environ["OMP_NUM_THREADS"], "torch": torch.get_num_threads()}

    for cpus in (1, 2):
        (result,) = fit(tune.with_resources(train, {"cpu": cpus}), workers=workers)
        assert (result.metrics["omp"], result.metrics["torch"]) == (str(cpus), cpus)


@BOTH
def test_a_population_is_the_same_in_both(fit: Any, workers: str) -> None:
    def train(config: dict[str, Any]) -> None:
        total = 0.0
        for _ in range(6):
            total += config["x"] * random.random()
            tune.report(total=total)

    scheduler = PopulationBasedTraining(
        "training_iteration", perturbation_interval=2, hyperparam_mutations={"x": tune.uniform(0, 1)}
    )
    grid = fit(
        train,
        {"x": tune.uniform(0, 1)},
        num_samples=4,
        metric="total",
        mode="max",
        scheduler=scheduler,
        seed=1,
        workers=workers,
        max_concurrent_trials=1,
    )
    totals = [round(result.metrics["total"], 12) for result in grid]
    assert totals == _seen.setdefault("totals", totals)


_seen: dict[str, list[float]] = {}


def test_agents_are_closed_when_their_version_is_old(fit: Any, module: Any) -> None:
    for number in range(3):
        helper = module("ages", f"X = {number}\n")
        fit(lambda config, helper=helper: {"x": helper.X})
    assert len({agent.label for agent in preloading._agents}) == 1, "only those of the last version wait"


def test_a_fork_that_fails_costs_nobody_else_anything(fit: Any, module: Any, said: Any) -> None:
    """No process, memory or descriptor left: the trials that run go on."""
    module(
        "few_processes",
        """
        import os, sys
        if "tune_plugins.worker.preloader" in sys.modules and "ray" not in sys.modules:
            fork, forked = os.fork, []
            def few():
                forked.append(1)
                if len(forked) == 2:
                    raise OSError(11, "Resource temporarily unavailable")
                return fork()
            os.fork = few
        """,
    )
    import few_processes  # type: ignore[import-not-found]

    def train(config: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.3)
        return {"name": few_processes.__name__, **_facts(config)}

    grid = fit(train, num_samples=4, reuse_actors=False)
    assert not grid.errors and len({result.metrics["pid"] for result in grid}) == 4
