"""Ray started by us, by the user, by somebody else; several nodes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune


@pytest.mark.ends_ray
def test_ray_is_started_kept_and_ended_by_shutdown(fit: Any) -> None:
    import ray

    tune.shutdown()
    assert not ray.is_initialized()
    fit(lambda config: {"x": 1}, workers="auto")
    assert not ray.is_initialized(), "nothing needs it"
    fit(lambda config: {"x": 1}, workers="actors")
    address = ray.get_runtime_context().gcs_address
    for workers in ("actors", "auto"):
        fit(lambda config: {"x": 1}, workers=workers)
        assert ray.get_runtime_context().gcs_address == address
    assert ray.cluster_resources()["CPU"] == 2
    tune.shutdown()
    assert not ray.is_initialized()
    tune.shutdown()


@pytest.mark.ends_ray
def test_a_run_in_a_thread_of_a_process_without_ray(fit: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    tune.shutdown()
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(fit, lambda config: {"x": 1}).result(timeout=600)[0].metrics["x"] == 1


def test_signal_handlers_are_as_before_after_a_run(fit: Any) -> None:
    import signal

    def mine(number: int, frame: Any) -> None: ...

    before = [signal.signal(n, mine) for n in (signal.SIGINT, signal.SIGTERM)]
    try:
        fit(lambda config: {"x": 1})
        assert signal.getsignal(signal.SIGINT) is mine
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)


def test_the_ray_of_the_user_is_joined_left_running_and_given_back(ok: Callable[..., str]) -> None:
    out = ok(
        """
        import ray
        if __name__ == "__main__":
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            address = ray.get_runtime_context().gcs_address
            grid = tune.Tuner(
                lambda config: {"x": 1}, tune_config=tune.TuneConfig(num_samples=4),
                run_config=tune.RunConfig(verbose=0),
            ).fit()
            print("terminated", grid.num_terminated)
            # Needs all CPUs: idle workers of ours must not hold any.
            print("after", ray.get(ray.remote(num_cpus=2)(lambda: 42).remote(), timeout=600))
            tune.shutdown()
            print("same", ray.is_initialized() and ray.get_runtime_context().gcs_address == address)
        """
    )
    assert out.splitlines() == ["terminated 4", "after 42", "same True"]


_TWO_NODES = """
import ray
from ray.cluster_utils import Cluster

def train(config):
    checkpoint = tune.get_checkpoint()
    first = 0 if checkpoint is None else 3
    folder = os.path.join(tune.get_context().get_trial_dir(), "scratch")
    os.makedirs(folder, exist_ok=True)
    for step in range(first, 6):
        tune.report(
            step=step, node=ray.get_runtime_context().get_node_id(), pid=os.getpid(),
            checkpoint=tune.Checkpoint.from_directory(folder) if step == 2 else None,
        )
        print("printed", step, flush=True)
        if step == 4 and config["kill"] and first == 0:
            import signal, time
            while not os.path.exists(os.path.join(tune.get_context().get_trial_dir(), "seen")):
                time.sleep(0.005)
            os.kill(os.getpid(), signal.SIGKILL)

class Seen(tune.callbacks.Callback):
    lines = 0
    def on_trial_result(self, iteration, trials, trial, result, **info):
        if result["step"] == 4:
            open(os.path.join(PATH[0], "trial_" + trial.id, "seen"), "w").close()
    def setup(self, run, **info):
        PATH.append(run.path)
    def on_trial_output(self, iteration, trials, trial, lines, **info):
        self.lines += len(lines)

PATH = []
if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    os.environ["RAY_ADDRESS"] = cluster.address
    seen = Seen()
    # A worker that is killed on the other node is noticed though its connection goes through the relay.
    space = {"kill": tune.grid_search([False, True]), "n": tune.grid_search([0, 1, 2, 3])}
    grid = tune.Tuner(
        train, param_space=space,
        tune_config=tune.TuneConfig(scheduler=tune.schedulers.ASHAScheduler(metric="step", mode="max", max_t=6)),
        run_config=tune.RunConfig(
            verbose=0, callbacks=[seen], failure_config=tune.FailureConfig(max_failures=1)),
    ).fit()
    print("joined", ray.get_runtime_context().gcs_address == cluster.address)
    print("terminated", grid.num_terminated, [str(e)[:300] for e in grid.errors])
    print("nodes", len({r.metrics["node"] for r in grid}))
    print("steps", {tuple(r.metrics_dataframe["step"])[-3:] for r in grid if r.metrics["step"] == 5})
    print("lines", seen.lines > 20)
    ray.shutdown()
    cluster.shutdown()
"""


def test_trials_run_on_all_nodes_of_a_cluster_named_by_ray_address(driver: Callable[..., Any]) -> None:
    code, out, err = driver(_TWO_NODES).end()
    assert code == 0, err
    # Ray itself may say on standard output that workers died.
    for line in ("joined True", "terminated 8 []", "nodes 2", "steps {(3, 4, 5)}", "lines True"):
        assert line in out.splitlines()


def test_an_address_where_nobody_answers_is_told(driver: Callable[..., Any]) -> None:
    fit = """
    if __name__ == "__main__":
        tune.Tuner(lambda config: {"x": 1}, run_config=tune.RunConfig(verbose=0)).fit()
    """
    code, _, err = driver(fit, {"RAY_ADDRESS": "127.0.0.1:1"}).end()
    assert code == 1
    assert "TuneError: cannot join Ray at RAY_ADDRESS='127.0.0.1:1': [Errno" in err
    code, _, err = driver(fit, {"RAY_ADDRESS": "ray://127.0.0.1:1"}).end()
    assert code == 1
    assert "Ray Client is not supported" in err


_LOADED = """
import tune_plugins.driver.ray.connecting as connecting

init, failures = connecting._init, [None] * int(os.environ["FAILURES"])
def times_out(ray, config):
    if failures:
        failures.pop()
        raise RuntimeError("The current node timed out during startup.")
    init(ray, config)

connecting._init, connecting._PAUSES_S, connecting._SLOW_S = times_out, (0.01, 0.02), 0.01
if __name__ == "__main__":
    grid = tune.Tuner(
        tune.with_resources(lambda config: {"x": 1}, {"cpu": 1}), run_config=tune.RunConfig(verbose=0, workers="actors")
    ).fit()
    print("x", grid[0].metrics["x"])
"""


def test_a_ray_that_does_not_come_up_at_once_is_tried_again(driver: Callable[..., Any]) -> None:
    # Each time first with as few processes as it needs, and then as it does by itself.
    code, out, err = driver(_LOADED, {"FAILURES": "4"}).end()
    assert (code, out) == (0, "x 1\n"), err
    assert "a local Ray is being started; it has taken 0.01 s so far" in err
    assert err.count("Ray did not start (The current node timed out during startup.); it is tried again") == 2
    code, _, err = driver(_LOADED, {"FAILURES": "6"}).end()
    assert code == 1
    assert "TuneError: cannot start a local Ray: The current node timed out during startup. (tried 3 times in" in err
    assert "RunConfig(runtime='inline')" in err


_LOCKED = """
import time
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="a" * 40)
import subprocess
from ray.cluster_utils import Cluster

TUNES = '''
import tune_plugins as tune
tune.Tuner(lambda config: {"x": 1}, run_config=tune.RunConfig(verbose=0)).fit()
'''
if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    environ = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"RAY_ADDRESS": cluster.address}
    done = subprocess.run([sys.executable, "-c", TUNES], env=environ, capture_output=True, text=True)
    print(done.returncode, done.stderr)
    cluster.shutdown()
"""


def test_a_cluster_that_wants_a_token_is_told_as_such(driver: Callable[..., Any]) -> None:
    _, out, err = driver(_LOCKED).end()
    assert out.startswith("1 "), err
    (told,) = (line for line in out.splitlines() if "TuneError: cannot join Ray at RAY_ADDRESS=" in line)
    assert "InvalidAuthToken" in told and "set RAY_AUTH_MODE=token" in told
    assert "gcs_client.cc" not in out


_FORKED_ON_NODES = """
import time
import ray
from ray.cluster_utils import Cluster

def train(config, data):
    parent = open(f"/proc/{os.getppid()}/cmdline").read()
    checkpoint = tune.get_checkpoint()
    first = 0 if checkpoint is None else int(open(os.path.join(checkpoint.path, "step")).read())
    folder = os.path.join(tune.get_context().get_trial_dir(), "scratch")
    os.makedirs(folder, exist_ok=True)
    for step in range(first + 1, 21):
        with open(os.path.join(folder, "step"), "w") as file:
            file.write(str(step))
        tune.report(
            step=step, total=float(data.sum()) * step, forked="preloader" in parent, agent=os.getppid(),
            checkpoint=tune.Checkpoint.from_directory(folder),
        )
        while step == 10 and not os.path.exists(config["gone"]):
            time.sleep(0.01)

class Removes(tune.Callback):
    "Takes the other node away when trials are half way on both."
    def on_trial_result(self, iteration, trials, trial, result, **info):
        HALF.add(trial.id) if result["step"] == 10 else None
        AGENTS.add(result["agent"])
        if len(HALF) == 2 and not os.path.exists(GONE):
            cluster.remove_node(other)
            open(GONE, "w").close()

HALF, AGENTS, GONE = set(), set(), os.path.abspath("gone")
if __name__ == "__main__":
    import numpy as np
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    other = cluster.add_node(num_cpus=1)
    os.environ["RAY_ADDRESS"] = cluster.address
    grid = tune.Tuner(
        tune.with_parameters(train, data=np.ones(100)), param_space={"gone": GONE},
        tune_config=tune.TuneConfig(num_samples=3),
        run_config=tune.RunConfig(verbose=0, callbacks=[Removes()]),
    ).fit()
    print("errors", [str(error)[:300] for error in grid.errors])
    print("steps", {result.metrics["step"] for result in grid}, {result.metrics["total"] for result in grid})
    print("forked", {result.metrics["forked"] for result in grid}, len(AGENTS))
    ray.shutdown()
    cluster.shutdown()
"""


def test_forked_trials_run_on_all_nodes_and_survive_the_loss_of_one(driver: Callable[..., Any]) -> None:
    """Without retries: the loss of a node uses none up."""
    code, out, err = driver(_FORKED_ON_NODES).end()
    assert code == 0, err
    for line in ("errors []", "steps {20} {2000.0}", "forked {True} 2"):
        assert line in out.splitlines(), f"{out}\n{err}"


_SHORT_ON_NODES = """
import time
import ray
from ray.cluster_utils import Cluster

def train(config):
    held = bytearray(200_000_000)
    held[::4096] = b"x" * len(held[::4096])
    while True:
        time.sleep(0.02)
        tune.report(held=len(held))

if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    grid = tune.Tuner(
        train, tune_config=tune.TuneConfig(num_samples=2, time_budget_s=300), run_config=tune.RunConfig(verbose=0)
    ).fit()
    print("causes", [str(result.cause) for result in grid])
    # In our words: Ray's monitor is off.
    print("told", all("of the trials it held most" in str(result.error) for result in grid))
    ray.shutdown()
    cluster.shutdown()
"""


def test_memory_is_watched_on_all_nodes(driver: Callable[..., Any]) -> None:
    environ = {"RAY_memory_usage_threshold": "0.0001", "RAY_memory_monitor_refresh_ms": "0"}
    code, out, err = driver(_SHORT_ON_NODES, environ).end()
    assert code == 0, err
    for line in ("causes ['OUT_OF_MEMORY', 'OUT_OF_MEMORY']", "told True"):
        assert line in out.splitlines(), f"{out}\n{err}"


_WAITING = """
import ray
import tune_plugins.driver.ray.waits as waits
from ray.cluster_utils import Cluster

waits._PATIENCE_S = waits._EACH_S = 0.2

class Listens(tune.Callback):
    def on_trial_output(self, iteration, trials, trial, lines, **info):
        for line in lines:
            if "has waited" in line:
                print(line, flush=True)
                HELP()

if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    SETUP
    grid = tune.Tuner(
        tune.with_resources(train, RESOURCES), run_config=tune.RunConfig(verbose=0, callbacks=[Listens()])
    ).fit()
    print("result", [result.metrics for result in grid][0]["x"], grid.num_errors)
    ray.shutdown()
    cluster.shutdown()
"""
_VANISHES = _WAITING.replace("RESOURCES", '{"special": 1}').replace(
    "SETUP",
    """
    other = cluster.add_node(num_cpus=1, resources={"special": 1})
    ray.init(address=cluster.address, log_to_driver=False)
    here = os.getcwd()
    def train(config):
        import time
        first = not os.path.exists(os.path.join(here, "gone"))
        tune.report(x=1)
        while first:
            time.sleep(0.01)
    class Removes(tune.Callback):
        def on_trial_result(self, iteration, trials, trial, result, **info):
            if not os.path.exists("gone"):
                open("gone", "w").close()
                cluster.remove_node(other)
    Listens.on_trial_result = Removes.on_trial_result
    HELP = lambda: cluster.add_node(num_cpus=1, resources={"special": 1})
    """,
)
_HELD = _WAITING.replace("RESOURCES", '{"cpu": 1}').replace(
    "SETUP",
    """
    ray.init(address=cluster.address, log_to_driver=False)
    class Holder:
        def ready(self): pass
    holder = ray.remote(num_cpus=1)(Holder).remote()
    ray.get(holder.ready.remote())
    train = lambda config: {"x": 1}
    HELP = lambda: ray.kill(holder)
    """,
)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (_VANISHES, "for {special: 1}: no node of the cluster has that any more (nodes have CPU: 1"),
        (_HELD, "for {CPU: 1}: others hold it (0 of 1 CPU free)"),
    ],
    ids=["vanishes", "held"],
)
def test_what_trials_wait_for_is_told_with_the_reason(driver: Callable[..., Any], code: str, told: str) -> None:
    status, out, err = driver(code).end()
    assert status == 0, err
    (line,) = (line for line in out.splitlines() if "has waited" in line)
    assert told in line
    assert "result 1 0" in out.splitlines()


_OWN_RAY = """
import tune_plugins.driver.ray.cluster as cluster
import tune_plugins.driver.ray.connecting as connecting
import tune_plugins.driver.ray.lean as lean

def train(config):
    import ray
    return {"nodes": len(ray.nodes())}

if HOW == "fails":
    def fails():
        raise OSError("no room")
    connecting.lean = fails
elif HOW == "unknown version":
    lean.TESTED = ("1.0",)
if __name__ == "__main__":
    cluster.find(needs_ray=True)
    print("processes", len(descendants(os.getpid())))
    grid = tune.Tuner(train, run_config=tune.RunConfig(verbose=0)).fit()
    print("nodes", grid[0].metrics["nodes"])
"""


@pytest.mark.parametrize("how", ["lean", "fails", "unknown version"])
def test_our_own_ray_has_the_processes_that_it_needs(ok: Callable[..., str], how: str) -> None:
    out = ok(f"HOW = {how!r}\n{_OWN_RAY}")
    (count,) = (int(line.split()[1]) for line in out.splitlines() if line.startswith("processes"))
    # The two daemons and their agents; a version of Ray that was not tested starts as it does by itself.
    assert count <= 4 if how == "lean" else count > 4
    assert "nodes 1" in out


def test_a_population_of_cold_actors_takes_turns_in_few_processes(fit: Any) -> None:
    """A paused trial with a checkpoint gives its process to the next one, rather than that another one imports."""

    def train(config: dict[str, Any]) -> None:
        import tempfile

        checkpoint = tune.get_checkpoint()
        first = 0 if checkpoint is None else int(Path(checkpoint.path, "step").read_text())
        for step in range(first + 1, 7):
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "step").write_text(str(step))
                tune.report(
                    score=config["x"] * step, pid=os.getpid(), checkpoint=tune.Checkpoint.from_directory(folder)
                )

    def population(**options: Any) -> set[int]:
        scheduler = tune.schedulers.PopulationBasedTraining(
            "training_iteration", perturbation_interval=2, hyperparam_mutations={"x": tune.uniform(0, 1)}
        )
        space = {"x": tune.uniform(0, 1)}
        options = {"metric": "score", "mode": "max", "scheduler": scheduler, "num_samples": 5, **options}
        grid = fit(train, space, workers="actors", **options)
        assert not grid.errors and len(grid) == 5
        return {pid for result in grid for pid in result.metrics_dataframe["pid"]}

    tune.shutdown()
    assert len(population()) <= 2
    assert len(population(max_resident_trials=8)) > 2, "as the user says"


def test_a_ray_that_the_user_starts_after_us_is_joined(ok: Callable[..., str]) -> None:
    out = ok(
        """
        import time
        import ray

        def hidden(config):
            while not os.path.exists(config["up"]):
                time.sleep(0.01)  # a trial that asks first is given a Ray of ours
            ray = __import__("r" + "ay")
            return {"seen": ray.get(ray.remote(lambda: 7).remote())}

        class Starts(tune.Callback):
            def on_trial_start(self, iteration, trials, trial, **info):
                if not ray.is_initialized():
                    try:
                        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
                    finally:
                        open("up", "w").close()
                    ADDRESS.append(ray.get_runtime_context().gcs_address)

        ADDRESS = []
        if __name__ == "__main__":
            config = tune.RunConfig(verbose=0, callbacks=[Starts()])
            space, samples = {"up": os.path.abspath("up")}, tune.TuneConfig(num_samples=3)
            grid = tune.Tuner(hidden, param_space=space, tune_config=samples, run_config=config).fit()
            print("seen", [result.metrics.get("seen") for result in grid])
            tune.shutdown()
            print("same", [ray.get_runtime_context().gcs_address] == ADDRESS)
        """
    )
    assert "seen [7, 7, 7]" in out and "same True" in out
