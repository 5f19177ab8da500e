"""Tune XGBoost with population based training: learning rate and regularisation change while the trees grow.

Run it with ``python examples/xgboost_pbt.py``; ``--help`` lists the options, ``--alone`` runs the training by itself.
`train_cancer` is an ordinary XGBoost script. This is all that was changed in it::

    +from tune_plugins.integrations.xgboost import TuneReportCheckpointCallback
     ...
    -    model = xgb.train({**FIXED, **config}, train, rounds, evals=evals, verbose_eval=False)
    +    callbacks = [TuneReportCheckpointCallback()]
    +    model = xgb.train({**FIXED, **config}, train, rounds, evals=evals, verbose_eval=False, callbacks=callbacks)

Every few rounds the worst models become copies of the best ones, and go on with parameters of their own. That happens
inside the running `xgb.train`: no process, data matrix or training call begins anew.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import xgboost as xgb
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import tune_plugins as tune
from tune_plugins.integrations.xgboost import TuneReportCheckpointCallback
from tune_plugins.schedulers import PopulationBasedTraining

FIXED = {"objective": "binary:logistic", "eval_metric": ["error", "logloss"], "nthread": 1, "seed": 0}
SPACE = {
    "eta": tune.loguniform(1e-3, 0.5),
    "max_depth": tune.randint(1, 9),
    "min_child_weight": tune.loguniform(0.1, 10),
    "subsample": tune.uniform(0.5, 1.0),
    "colsample_bytree": tune.uniform(0.3, 1.0),
    "lambda": tune.loguniform(0.1, 100),
}
ALONE = {"eta": 0.1, "max_depth": 3}


def train_cancer(config: dict[str, Any], rounds: int) -> None:
    """One trial: plain XGBoost, and one callback."""
    train, validation, _ = matrices()
    evals = [(validation, "eval")]
    callbacks = [TuneReportCheckpointCallback()]
    model = xgb.train({**FIXED, **config}, train, rounds, evals=evals, verbose_eval=False, callbacks=callbacks)
    print(model.eval(validation, "eval"))


def matrices() -> list[xgb.DMatrix]:
    """Measurements of cell nuclei of 569 tumours, benign or malignant, for training, validation and test."""
    x, y = load_breast_cancer(return_X_y=True)
    x, x_rest, y, y_rest = train_test_split(x, y, test_size=0.5, random_state=0, stratify=y)
    x_val, x_test, y_val, y_test = train_test_split(x_rest, y_rest, test_size=0.5, random_state=0, stratify=y_rest)
    return [xgb.DMatrix(*part, nthread=1) for part in ((x, y), (x_val, y_val), (x_test, y_test))]


def main() -> None:
    """Tune, and test the best model on tumours that no trial has seen."""
    args = parse_arguments()
    if args.alone:
        train_cancer(ALONE, args.rounds)  # outside a tuning run the callback does nothing
        return
    results = tune.Tuner(
        tune.with_parameters(train_cancer, rounds=args.rounds),
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric="eval-logloss",
            mode="min",
            num_samples=args.population,
            scheduler=PopulationBasedTraining(
                "training_iteration", perturbation_interval=args.interval, hyperparam_mutations=SPACE, synch=True
            ),
            seed=args.seed,
        ),
        run_config=tune.RunConfig(storage_path=args.storage_path),
    ).fit()

    best = results.get_best_result()
    how = Counter(decision.action for decision in results.decisions)
    print(f"\nExploits in the running training: {how['IN_PLACE']}, by a new entry: {how['RESTART']}")
    print(f"Best configuration at the end: {best.config}")
    _, _, test = matrices()
    model = best.get_best_checkpoint().load_model()  # of the best round; `best.load_model()` is that of the last one
    right = float(((model.predict(test) > 0.5) == test.get_label()).mean())
    print(f"Validation loss {best.metrics['eval-logloss']:.4f} at the end")
    print(f"Test accuracy {right:.4f} with the model of the best round, {model.num_boosted_rounds()}")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tune XGBoost with population based training.")
    parser.add_argument("--population", type=int, default=8, help="models that train beside each other (default: 8)")
    parser.add_argument("--rounds", type=int, default=100, help="boosting rounds of each model (default: 100)")
    parser.add_argument("--interval", type=int, default=15, help="rounds between two exploits (default: 15)")
    parser.add_argument("--seed", type=int, default=1, help="of the search (default: 1)")
    parser.add_argument("--storage-path", help="folder for the experiment (default: ~/tune_results)")
    parser.add_argument("--alone", action="store_true", help="one training by itself, without a tuning run")
    args = parser.parse_args()
    for name, least in (("population", 2), ("rounds", 1), ("interval", 1)):
        if getattr(args, name) < least:
            parser.error(f"--{name}: expected at least {least}, got {getattr(args, name)}")
    return args


if __name__ == "__main__":
    main()
