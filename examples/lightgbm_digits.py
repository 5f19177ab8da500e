"""Tune LightGBM on handwritten digits with ASHA.

Run it with ``python examples/lightgbm_digits.py``; ``--help`` lists the options, ``--alone`` runs the training alone.
`train_digits` is an ordinary LightGBM script. This is all that was changed in it::

    +from tune_plugins.integrations.lightgbm import TuneReportCheckpointCallback
     ...
    -    model = lgb.train({**FIXED, **config}, train, rounds, [validation], ["eval"])
    +    callbacks = [TuneReportCheckpointCallback()]
    +    model = lgb.train({**FIXED, **config}, train, rounds, [validation], ["eval"], callbacks=callbacks)

ASHA looks at the models after 5, 10, 20, ... rounds, and lets the better half of them go on.
"""

from __future__ import annotations

import argparse
from typing import Any

import lightgbm as lgb
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import tune_plugins as tune
from tune_plugins.integrations.lightgbm import TuneReportCheckpointCallback
from tune_plugins.schedulers import ASHAScheduler

FIXED = {
    "objective": "multiclass",
    "num_class": 10,
    "metric": ["multi_logloss", "multi_error"],
    "num_threads": 1,
    "bagging_freq": 1,
    "seed": 0,
    "verbosity": -1,
}
SPACE = {
    "learning_rate": tune.loguniform(0.02, 0.5),
    "num_leaves": tune.randint(4, 32),
    "min_data_in_leaf": tune.randint(2, 30),
    "bagging_fraction": tune.uniform(0.5, 1.0),
    "feature_fraction": tune.uniform(0.2, 1.0),
    "lambda_l2": tune.loguniform(1e-3, 10),
}
ALONE = {"learning_rate": 0.1, "num_leaves": 8}
GRACE_ROUNDS = 5


def train_digits(config: dict[str, Any], rounds: int) -> None:
    """One trial: plain LightGBM, and one callback."""
    (x, y), (x_val, y_val), _ = digits()
    train = lgb.Dataset(x, y)
    validation = lgb.Dataset(x_val, y_val, reference=train)
    callbacks = [TuneReportCheckpointCallback()]
    model = lgb.train({**FIXED, **config}, train, rounds, [validation], ["eval"], callbacks=callbacks)
    print(f"validation error: {model.best_score['eval']['multi_error']:.4f}")


def digits() -> tuple[tuple[Any, Any], ...]:
    """Images of 8 x 8 grey values and their digits, for training, validation and test."""
    x, y = load_digits(return_X_y=True)
    x, x_rest, y, y_rest = train_test_split(x, y, test_size=0.4, random_state=0, stratify=y)
    x_val, x_test, y_val, y_test = train_test_split(x_rest, y_rest, test_size=0.5, random_state=0, stratify=y_rest)
    return (x, y), (x_val, y_val), (x_test, y_test)


def main() -> None:
    """Tune, and test the best model on digits that no trial has seen."""
    args = parse_arguments()
    if args.alone:
        train_digits(ALONE, args.rounds)  # outside a tuning run the callback does nothing
        return
    results = tune.Tuner(
        tune.with_parameters(train_digits, rounds=args.rounds),
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric="eval-multi_logloss",
            mode="min",
            num_samples=args.num_samples,
            scheduler=ASHAScheduler(max_t=args.rounds, grace_period=min(GRACE_ROUNDS, args.rounds), reduction_factor=2),
            seed=args.seed,
        ),
        run_config=tune.RunConfig(storage_path=args.storage_path),
    ).fit()

    best = results.get_best_result()
    trained = sum(int(result.metrics["training_iteration"]) for result in results)
    print(f"\nBest configuration: {best.config}")
    print(f"Rounds trained: {trained} of {len(results) * args.rounds}")
    _, _, (x_test, y_test) = digits()
    model = best.get_best_checkpoint().load_model()  # of the best round; `best.load_model()` is that of the last one
    right = float((model.predict(x_test).argmax(axis=1) == y_test).mean())
    print(f"Validation loss {best.metrics['eval-multi_logloss']:.4f} at the end")
    print(f"Test accuracy {right:.4f} with the model of the best round, {model.current_iteration()}")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tune LightGBM on handwritten digits with ASHA.")
    parser.add_argument("--num-samples", type=int, default=32, help="configurations to try (default: 32)")
    parser.add_argument("--rounds", type=int, default=80, help="boosting rounds at most (default: 80)")
    parser.add_argument("--seed", type=int, default=1, help="of the search (default: 1)")
    parser.add_argument("--storage-path", help="folder for the experiment (default: ~/tune_results)")
    parser.add_argument("--alone", action="store_true", help="one training by itself, without a tuning run")
    args = parser.parse_args()
    for name in ("num_samples", "rounds"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: expected at least 1, got {getattr(args, name)}")
    return args


if __name__ == "__main__":
    main()
