"""Tune XGBoost on 336,776 real flights with ASHA: will this flight arrive more than 10 minutes late?

Run it with ``python examples/xgboost_flights.py``; ``--help`` lists the options. `train_flights` is an
ordinary XGBoost training with one callback added; everything below it is the search and the report.

Printed at the end: the best configuration, its log loss and AUC on validation and test days beside
those of XGBoost's defaults and of the base rate, how much training ASHA saved, and where the picture
of all learning curves is.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import flights_data
import numpy as np
import xgboost as xgb
from sklearn.metrics import log_loss, roc_auc_score

import tune_plugins as tune
from tune_plugins.integrations.xgboost import TuneReportCheckpointCallback
from tune_plugins.schedulers import ASHAScheduler

DEFAULT_ROUNDS = 100  # of XGBoost's scikit-learn estimators
EARLY_STOPPING_ROUNDS = 20
GRACE_ROUNDS = 20
REDUCTION_FACTOR = 2

SPACE = {
    # Narrow on purpose: at the first rung ASHA compares models of 20 rounds, where a higher rate looks better.
    "eta": tune.loguniform(0.05, 0.16),
    "max_depth": tune.randint(4, 13),  # 4 to 12
    "min_child_weight": tune.loguniform(1, 300),
    "subsample": tune.uniform(0.5, 1.0),
    "colsample_bytree": tune.uniform(0.2, 1.0),
    "gamma": tune.loguniform(0.01, 10),
    "lambda": tune.loguniform(0.1, 100),
    "alpha": tune.loguniform(0.01, 10),
}

# One training matrix a worker process, not one a trial: the same worker runs many trials. A plain dict,
# since a function of a script travels to the workers by value, and functools.lru_cache cannot do that.
_matrices: dict[str, tuple[xgb.DMatrix, xgb.DMatrix]] = {}


def train_flights(config: dict[str, Any], data: dict[str, Any]) -> None:
    """One trial: plain XGBoost, and one callback."""
    if data["name"] not in _matrices:
        _matrices[data["name"]] = make_matrices(data["train"], data["validation"], nthread=1)
    train, validation = _matrices[data["name"]]
    xgb.train(
        {**config, "objective": "binary:logistic", "eval_metric": ["auc", "logloss"], "nthread": 1},
        train,
        num_boost_round=data["rounds"],
        evals=[(validation, "eval")],
        early_stopping_rounds=EARLY_STOPPING_ROUNDS,  # ASHA compares trials with others, this a trial with itself
        callbacks=[TuneReportCheckpointCallback()],
        verbose_eval=False,
    )


def make_matrices(*parts: Any, nthread: int) -> tuple[xgb.DMatrix, ...]:
    """Binned matrices of (features, late, ...) tuples; the later ones use the bins of the first."""
    matrices: list[xgb.DMatrix] = []
    for features, late, *_ in parts:
        ref = matrices[0] if matrices else None
        matrices.append(xgb.QuantileDMatrix(features, late, ref=ref, nthread=nthread, enable_categorical=True))
    return tuple(matrices)


def main() -> None:
    """Load, tune, report."""
    args = parse_arguments()
    parts = flights_data.load(args.rows)
    print(describe(parts), flush=True)

    data = {
        "name": f"flights-{args.rows}",
        "rounds": args.max_rounds,
        "train": tuple(parts["train"][:2]),
        "validation": tuple(parts["validation"][:2]),
    }
    tuner = tune.Tuner(
        tune.with_parameters(train_flights, data=data),  # travels once to each worker
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric="eval-logloss",
            mode="min",
            num_samples=args.num_samples,
            scheduler=ASHAScheduler(
                max_t=args.max_rounds,
                grace_period=min(GRACE_ROUNDS, args.max_rounds),
                reduction_factor=REDUCTION_FACTOR,
            ),
            max_concurrent_trials=args.cpus,
            seed=args.seed,
        ),
        run_config=tune.RunConfig(
            storage_path=args.storage_path,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        ),
    )
    results = tuner.fit()

    best = results.get_best_result()
    print()
    print(compare(parts, best, threads=args.cpus or os.cpu_count() or 1))
    print()
    print(savings(results, args.max_rounds))
    print()
    picture = Path(results.experiment_path) / "learning_curves.png"
    draw_learning_curves(results, best, args.max_rounds, picture)
    print(f"Learning curves of all trials: {picture}")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tune XGBoost on real flights with ASHA.")
    parser.add_argument("--num-samples", type=int, default=64, help="configurations to try (default: 64)")
    parser.add_argument("--max-rounds", type=int, default=250, help="boosting rounds at most (default: 250)")
    parser.add_argument("--rows", type=int, help="about how many flights to use, as whole days (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="of the search (default: 1); the split is always the same")
    parser.add_argument("--storage-path", help="folder for the experiment (default: ~/tune_results)")
    parser.add_argument("--cpus", type=int, help="trials at a time, one core each (default: all cores)")
    args = parser.parse_args()
    for name in ("num_samples", "max_rounds", "rows", "cpus"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')}: expected at least 1, got {value}")
    return args


def describe(parts: dict[str, flights_data.Part]) -> str:
    """What there is to learn from."""
    lines = ["Flights from New York, 2013: does a flight arrive more than 10 minutes late?"]
    for name, part in parts.items():
        days = part.day.nunique()
        lines.append(f"  {name:<10} {len(part.late):>7,} flights, {days:>3} days, {part.late.mean():.1%} late")
    return "\n".join(lines)


def compare(parts: dict[str, flights_data.Part], best: Any, threads: int) -> str:
    """A table: the tuned model beside XGBoost's defaults and the base rate, on validation and test days."""
    train, validation, test = make_matrices(*parts.values(), nthread=threads)
    late_share = float(parts["train"].late.mean())
    rows: list[tuple[str, list[np.ndarray]]] = [
        ("base rate", [np.full(m.num_row(), late_share) for m in (validation, test)])
    ]

    curve: xgb.callback.TrainingCallback.EvalsLog = {}
    defaults = xgb.train(
        {"objective": "binary:logistic", "nthread": threads},
        train,
        num_boost_round=DEFAULT_ROUNDS,
        evals=[(validation, "eval")],
        evals_result=curve,
        verbose_eval=False,
    )
    rows.append((f"XGBoost defaults, {DEFAULT_ROUNDS} rounds", [defaults.predict(m) for m in (validation, test)]))
    rounds = int(np.argmin(curve["eval"]["logloss"])) + 1
    rows.append((f"XGBoost defaults, best round ({rounds})", predict(defaults, rounds, validation, test)))

    tuned = best.get_best_checkpoint().load_model()  # of the best round; `best.load_model()` is that of the last one
    tuned.set_param({"nthread": threads})
    rounds = tuned.num_boosted_rounds()
    rows.append((f"tuned, best round ({rounds})", predict(tuned, rounds, validation, test)))

    lines = [
        f"{'':<36}{'validation':>20}  {'test':>20}",
        f"{'':<36}{'log loss':>11}{'AUC':>9}  {'log loss':>11}{'AUC':>9}",
    ]
    for name, predictions in rows:
        cells = []
        for part, predicted in zip(("validation", "test"), predictions, strict=True):
            late = parts[part].late
            cells.append(f"{log_loss(late, predicted, labels=[0, 1]):>11.4f}{roc_auc_score(late, predicted):>9.4f}")
        lines.append(f"{name:<36}{'  '.join(cells)}")
    return "\n".join(lines)


def predict(model: xgb.Booster, rounds: int, *matrices: xgb.DMatrix) -> list[np.ndarray]:
    """Probability to be late, by the first `rounds` rounds of the model."""
    return [model.predict(matrix, iteration_range=(0, rounds)) for matrix in matrices]


def best_round(result: Any) -> int:
    """The boosting round, from 1, with the lowest validation loss of a trial."""
    frame = result.metrics_dataframe
    return int(frame.loc[frame["eval-logloss"].idxmin(), "training_iteration"])


def savings(results: Any, max_rounds: int) -> str:
    """How much training was left out, and by whom; seconds are of one core, at the pace each trial had."""
    labels = ("trained", "saved by ASHA", "saved by early stopping")
    rounds, seconds = dict.fromkeys(labels, 0), dict.fromkeys(labels, 0.0)
    for result in results:
        if not result.metrics:
            continue
        trained, took = result.metrics["training_iteration"], result.metrics["time_total_s"]
        rounds["trained"] += trained
        seconds["trained"] += took
        saver = "saved by ASHA" if "at rung" in result.reason else "saved by early stopping"
        rounds[saver] += max_rounds - trained
        seconds[saver] += (max_rounds - trained) * took / trained
    everything = sum(rounds.values())
    lines = [f"{'':<36}{'rounds':>11}{'share':>9}  {'core time':>11}"]
    for label in labels:
        lines.append(f"{label:<36}{rounds[label]:>11,}{rounds[label] / everything:>9.0%}  {seconds[label]:>9,.1f} s")
    return "\n".join(lines)


def draw_learning_curves(results: Any, best: Any, max_rounds: int, path: Path) -> None:
    """Validation loss over rounds of each trial, up to where it was stopped; ASHA's rungs as dashed lines."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    for result in results:
        frame = result.metrics_dataframe
        if frame is None or frame.empty or result.path == best.path:
            continue
        rounds, loss = frame["training_iteration"], frame["eval-logloss"]
        axes.plot(rounds, loss, color="tab:gray", alpha=0.5, linewidth=0.8)
        axes.plot(rounds.iloc[-1], loss.iloc[-1], "o", color="tab:gray", alpha=0.7, markersize=3)
    frame = best.metrics_dataframe
    label = f"best trial: {frame['eval-logloss'].min():.4f} at round {best_round(best)}"
    axes.plot(frame["training_iteration"], frame["eval-logloss"], color="tab:orange", linewidth=2, label=label)
    rung, label = GRACE_ROUNDS, "ASHA's rungs"
    while rung < max_rounds:
        axes.axvline(rung, color="tab:blue", linestyle="--", linewidth=0.8, label=label)
        rung, label = rung * REDUCTION_FACTOR, "_nolegend_"
    axes.set(
        xscale="log",
        xlabel="boosting rounds",
        ylabel="validation log loss",
        title=f"{len(results)} configurations; a dot is where a trial ended",
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(loc="upper right")
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
