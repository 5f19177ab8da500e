"""``python flights.py HOW DATA FOLDER``: 32 fixed XGBoost configurations on flights, two at a time, stopped early.

HOW is "auto" or "actors" (this package), "ray.tune", "optuna" (starts two processes) or "optuna-worker". Printed is the
best log loss. All of them train by `train`, with the same rungs and the same reduction factor.
"""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import xgboost

HOW, DATA, FOLDER = sys.argv[1:]
CONFIGS, ROUNDS, GRACE, FACTOR = 32, 120, 10, 4


def config(number):
    """Hyper-parameters of a configuration, the same on every side."""
    rng = random.Random(number)
    return {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "nthread": 1,
        "seed": number,
        "max_depth": rng.randint(3, 8),
        "eta": 10 ** rng.uniform(-2.0, -0.5),
        "min_child_weight": 10 ** rng.uniform(0, 2),
        "subsample": rng.uniform(0.6, 1.0),
    }


def train(number, callbacks):
    """One training."""
    with np.load(DATA) as data:
        training = xgboost.DMatrix(data["train"], data["train_late"], nthread=1)
        held_out = xgboost.DMatrix(data["validation"], data["validation_late"], nthread=1)
    xgboost.train(config(number), training, ROUNDS, evals=[(held_out, "eval")], callbacks=callbacks, verbose_eval=False)


def tuned(tune, schedulers, callback, **run):
    """This package, or Ray Tune."""

    def trial(config):
        train(config["number"], [callback(metrics=["eval-logloss"])])

    tuner = tune.Tuner(
        trial,
        param_space={"number": tune.grid_search(list(range(CONFIGS)))},
        tune_config=tune.TuneConfig(
            metric="eval-logloss",
            mode="min",
            max_concurrent_trials=2,
            reuse_actors=True,
            scheduler=schedulers.ASHAScheduler(max_t=ROUNDS, grace_period=GRACE, reduction_factor=FACTOR),
        ),
        run_config=tune.RunConfig(storage_path=FOLDER, verbose=0, **run),
    )
    found = tuner.fit()
    # The best of all reports: what a trial has last is not its best where it was stopped. Ray Tune keeps the last only.
    tables = [result.metrics_dataframe for result in found]
    values = [float(table["eval-logloss"].min()) for table in tables if table is not None and "eval-logloss" in table]
    return min(values or [float(result.metrics["eval-logloss"]) for result in found])


def study(optuna):
    """The study that both processes share."""
    return optuna.create_study(
        storage=f"sqlite:///{FOLDER}/study.db",
        study_name="flights",
        load_if_exists=True,
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=GRACE, reduction_factor=FACTOR),
    )


def with_optuna():
    """Two processes over one SQLite file."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    shared = study(optuna)
    for number in range(CONFIGS):
        shared.enqueue_trial({"number": number})
    command = [sys.executable, __file__, "optuna-worker", DATA, FOLDER]
    for process in [subprocess.Popen(command) for _ in range(2)]:
        if process.wait():
            raise RuntimeError("a process of Optuna failed")
    return min(value for trial in shared.trials for value in trial.intermediate_values.values())


def optuna_worker():
    """Train until nothing is left to train."""
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    class Pruning(xgboost.callback.TrainingCallback):
        def __init__(self, trial):
            self.trial = trial

        def after_iteration(self, model, epoch, evals_log):
            self.trial.report(evals_log["eval"]["logloss"][-1], epoch + 1)
            if self.trial.should_prune():
                raise optuna.TrialPruned
            return False

    def objective(trial):
        train(trial.suggest_int("number", 0, CONFIGS - 1), [Pruning(trial)])
        return 0.0

    shared = study(optuna)
    while shared.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        shared.optimize(objective, n_trials=1)


def main():
    """Print the best log loss."""
    if HOW == "optuna-worker":
        optuna_worker()
        return
    if HOW == "optuna":
        best = with_optuna()
    elif HOW == "ray.tune":
        import logging

        import ray
        from ray import tune
        from ray.tune import schedulers
        from ray.tune.integration.xgboost import TuneReportCallback

        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        best = tuned(tune, schedulers, TuneReportCallback)
    else:
        import tune_plugins as tune
        from tune_plugins import schedulers
        from tune_plugins.integrations.xgboost import TuneReportCallback

        best = tuned(tune, schedulers, TuneReportCallback, workers=HOW)
    print(f"best {best:.6f}")


if __name__ == "__main__":
    Path(FOLDER).mkdir(parents=True, exist_ok=True)
    main()
