"""Tune CatBoost on handwritten digits with ASHA that pauses trials and takes the best ones up again.

Run it with ``python examples/catboost_digits.py``; ``--help`` lists the options, ``--alone`` runs the training alone.
`train_digits` is an ordinary CatBoost script. This is all that was changed in it::

    +from tune_plugins.integrations.catboost import TuneReportCheckpointCallback
     ...
    -    model.fit(x, y, eval_set=(x_val, y_val))
    +    callbacks = [TuneReportCheckpointCallback()]
    +    model.fit(x, y, eval_set=(x_val, y_val), callbacks=callbacks)

A trial is paused after 5 rounds, and goes on to 10, 20, ... when it belongs to the better half of those that came so
far. It goes on from CatBoost's own snapshot: the model is that of a training without a pause.
"""

from __future__ import annotations

import argparse
from typing import Any

from catboost import CatBoostClassifier
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import tune_plugins as tune
from tune_plugins.integrations.catboost import TuneReportCheckpointCallback
from tune_plugins.schedulers import ASHAScheduler

FIXED = {
    "loss_function": "MultiClass",
    "custom_metric": "Accuracy",
    "thread_count": 1,
    "random_seed": 0,
    "verbose": False,
    "allow_writing_files": False,
}
SPACE = {
    "learning_rate": tune.loguniform(0.02, 0.5),
    "depth": tune.randint(2, 6),
    "l2_leaf_reg": tune.loguniform(0.5, 10),
    "rsm": tune.uniform(0.2, 1.0),
    "random_strength": tune.uniform(0.0, 2.0),
}
ALONE = {"learning_rate": 0.2, "depth": 4}
GRACE_ROUNDS = 5


def train_digits(config: dict[str, Any], rounds: int) -> None:
    """One trial: plain CatBoost, and one callback."""
    (x, y), (x_val, y_val), _ = digits()
    model = CatBoostClassifier(**FIXED, **config, iterations=rounds)
    callbacks = [TuneReportCheckpointCallback()]
    model.fit(x, y, eval_set=(x_val, y_val), callbacks=callbacks)
    print(f"validation accuracy: {model.score(x_val, y_val):.4f}")


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
            metric="validation-MultiClass",
            mode="min",
            num_samples=args.num_samples,
            scheduler=ASHAScheduler(
                max_t=args.rounds,
                grace_period=min(GRACE_ROUNDS, args.rounds),
                reduction_factor=2,
                variant="promotion",
            ),
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
    right = model.score(x_test, y_test)
    print(f"Validation loss {best.metrics['validation-MultiClass']:.4f} at the end")
    print(f"Test accuracy {right:.4f} with the model of the best round, {model.tree_count_}")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tune CatBoost on handwritten digits with ASHA.")
    parser.add_argument("--num-samples", type=int, default=24, help="configurations to try (default: 24)")
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
