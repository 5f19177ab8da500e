"""A user's own trainables, schedulers, searchers, stoppers and callbacks; see engine.py."""

from typing import Any

import tune_plugins as tune
from tune_plugins.callbacks import Callback, CheckpointRecord, ErrorInfo, RunInfo
from tune_plugins.schedulers import Action, Decision, EndCause, Lease, Milestone, Trial, TrialScheduler, TrialStatus
from tune_plugins.search import Searcher, SearchTask, Signal
from tune_plugins.stoppers import Stopper

# ------------------------------------------------------------------------------- trainables


class Quadratic(tune.Trainable):
    """As in the documentation of the class, without types."""

    def setup(self, config):  # type: ignore[no-untyped-def]
        self.x = 10.0

    def step(self):  # type: ignore[no-untyped-def]
        self.x -= self.config["lr"] * 2 * self.x
        return {"loss": self.x**2, "done": self.x**2 < 1e-6}


class Typed(tune.Trainable):
    """As people write it for Ray Tune."""

    def setup(self, config: dict[str, Any]) -> None:
        self.lr = float(config["lr"])

    def step(self) -> dict[str, float]:
        return {"loss": self.lr * self.iteration}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any] | None:
        return {"lr": self.lr}

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.lr = checkpoint["lr"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.lr = new_config["lr"]
        return True

    def cleanup(self) -> None:
        print(self.trial_name, self.trial_dir, self.trial_resources["CPU"])


class OtherNames(tune.Trainable):
    """Any names, and parameters from `with_parameters`."""

    def setup(self, settings: dict[str, Any], data: list[float], *, factor: float = 1.0) -> None:
        self.total = sum(data) * factor

    def step(self) -> dict[str, Any]:
        return {"loss": self.total}

    def save_checkpoint(self, tmp_checkpoint_dir: str) -> str:
        return tmp_checkpoint_dir

    def load_checkpoint(self, path: str) -> None: ...


class Wrong(tune.Trainable):
    def setup(self) -> None: ...  # wrong: mypy

    def step(self) -> float:  # wrong
        return 1.0

    def save_checkpoint(self, checkpoint_dir: str) -> int:  # wrong
        return self.iterations  # wrong

    def reset_config(self, new_config: dict[str, Any], old_config: dict[str, Any]) -> bool:  # wrong
        return True


tune.Tuner(Quadratic)
tune.Tuner(tune.with_parameters(OtherNames, data=[1.0, 2.0]))
tune.Tuner(tune.with_resources(Typed, {"cpu": 2}))
tune.Tuner(Typed({"lr": 0.1}))  # wrong
Typed({"lr": 0.1}).step()["loss"] + 1
Typed(3)  # wrong

# ------------------------------------------------------------------------------- schedulers


class Halving(TrialScheduler):
    def next_milestone(self, trial: Trial) -> Milestone:
        return Milestone(self.time_attr, 2.0 * max(1, trial.iteration))

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision:
        if self.score(result) > 1:
            return Decision(Action.STOP, f"{self.shown(self.score(result))} is more than 1")
        return Decision(Action.CONTINUE)

    def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None) -> None:
        assert trial.status is TrialStatus.TERMINATED and trial.cause is not EndCause.FAILED


class Plain(TrialScheduler):
    def __init__(self, limit: float) -> None:
        super().__init__(metric="loss", mode="min")
        self.limit = limit

    def setup(self, *, metric: str | None, mode: str | None, seed: int) -> None: ...

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> str:
        return self.STOP if result["loss"] > self.limit else self.CONTINUE


class Leasing(TrialScheduler):
    def next_milestone(self, trial: Trial) -> Lease | None:
        return Lease(Milestone("training_iteration", 3), save=True) if trial.index else None

    def choose_trial_to_run(self, pending: Any, paused: Any) -> Trial | None:
        return None


class WrongScheduler(TrialScheduler):
    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> bool:  # wrong
        return Decision(Action.STOPP)  # wrong

    def next_milestone(self, trial: Trial) -> int:  # wrong
        return trial.iterations  # wrong


tune.TuneConfig(scheduler=Halving(mode="max"))
tune.TuneConfig(scheduler=Halving(mode="best"))  # wrong
tune.TuneConfig(scheduler=Plain(1.0))
tune.TuneConfig(scheduler=Plain())  # wrong

# ------------------------------------------------------------------------------- searchers and stoppers


class Powers(Searcher):
    def suggest(self, trial_id: str, index: int) -> dict[str, Any] | Signal:
        if index > 10:
            return Signal.COMPLETE
        return {**self.space.sample(index, self.seed), "lr": self.rng(index).random() * 0.5**index}

    def setup(self, task: SearchTask) -> None:
        super().setup(task)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.last = result["loss"]


class Lazy(Searcher): ...


tune.TuneConfig(search_alg=Powers())
tune.TuneConfig(search_alg=Lazy())  # wrong


class Patience(Stopper):
    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.reason = "it is late"
        return bool(result["loss"] > 1)


class WrongStopper(Stopper):
    def __call__(self, result: dict[str, Any]) -> bool:  # wrong
        return False


tune.RunConfig(stop=Patience())
tune.RunConfig(stop=Patience)  # wrong

# ------------------------------------------------------------------------------- callbacks


class Printing(tune.Callback):
    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        print(trial.id, trial.config["lr"], result["loss"])

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, *, error: ErrorInfo, **info: Any
    ) -> None:
        print(error.type, error.message)

    def on_checkpoint(
        self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: CheckpointRecord, **info: Any
    ) -> None:
        print(checkpoint.path)


class RayTunes(Callback):
    """As people write it for Ray Tune."""

    def setup(
        self, stop: Any = None, num_samples: int | None = None, total_num_samples: int | None = None, **info: Any
    ) -> None: ...

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None: ...

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None: ...

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None: ...

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None: ...

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None: ...

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None: ...


class Untyped(Callback):
    def on_trial_result(self, iteration, trials, trial, result, **info):  # type: ignore[no-untyped-def]
        print(result)


class WithRun(Callback):
    def setup(self, *args: Any, run: RunInfo, **info: Any) -> None:
        print(run.metric, run.slots)


class WrongCallback(Callback):
    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> None: ...  # wrong

    def on_trial_complete(self, iteration: int, trials: dict[str, Trial], trial: Trial, **info: Any) -> None:  # wrong
        print(trial.last_results)  # wrong


tune.RunConfig(callbacks=[Printing(), RayTunes(), WithRun()])
tune.RunConfig(callbacks=[Printing])  # wrong
tune.RunConfig(callbacks=[Patience()])  # wrong
tune.RunConfig(progress_reporter=Printing())
