"""Tune a pipeline of scikit-learn on flights: the search is changed by one line.

Run it with ``python examples/sklearn_flights.py``; ``--help`` lists the options, ``--plain`` runs scikit-learn's own
search instead. This is all that was changed in the script::

    -search = RandomizedSearchCV(pipeline, SPACE, n_iter=24, cv=3, n_jobs=2, random_state=0)
    +search = TuneSearchCV(pipeline, SPACE, n_trials=24, cv=3, n_jobs=2, random_state=0, scheduler="asha")

Which flights will be late is predicted by gradient boosting behind a `ColumnTransformer`. ASHA looks at the models
after a sixteenth and a quarter of their rounds, and lets the better ones go on; the columns are transformed once for
each fold.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import flights_data
import pandas as pd
from scipy.stats import loguniform, randint
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import TargetEncoder

from tune_plugins.integrations.sklearn import TuneSearchCV

SPACE = {
    "model__learning_rate": loguniform(0.02, 1.0),
    "model__max_leaf_nodes": randint(4, 64),
    "model__min_samples_leaf": randint(5, 200),
    "model__l2_regularization": loguniform(1e-3, 1e2),
    "columns__targetencoder__smooth": loguniform(1.0, 1e3),
}


def pipeline(rounds: int) -> Pipeline:
    """An ordinary pipeline."""
    columns = make_column_transformer(
        (TargetEncoder(random_state=0), flights_data.CATEGORIES),
        remainder="passthrough",
    )
    model = HistGradientBoostingClassifier(max_iter=rounds, early_stopping=False, random_state=0)
    return Pipeline([("columns", columns), ("model", model)])


def main() -> None:
    """Tune, and test the best pipeline on days that no fit has seen."""
    args = parse_arguments()
    parts = flights_data.load(rows=args.rows)
    train, test = parts["train"], parts["test"]
    common: dict[str, Any] = {"cv": 3, "scoring": "roc_auc", "n_jobs": args.jobs, "random_state": 0}
    start = time.perf_counter()
    if args.plain:
        search = RandomizedSearchCV(pipeline(args.rounds), SPACE, n_iter=args.candidates, **common)
    else:
        search = TuneSearchCV(
            pipeline(args.rounds), SPACE, n_trials=args.candidates, scheduler="asha", verbose=args.verbose, **common
        )
    search.fit(train.features, train.late)
    seconds = time.perf_counter() - start
    table = pd.DataFrame(search.cv_results_)
    if not args.plain:
        in_full = int((~table.stopped_early).sum())
        print(f"{len(table)} candidates, {in_full} of them trained for all {args.rounds} rounds")
    auc = roc_auc_score(test.late, search.predict_proba(test.features)[:, 1])
    print(f"best of cross-validation: AUC {search.best_score_:.4f}, {search.best_params_}")
    print(f"test AUC {auc:.4f} on {len(test.late):,} flights of other days; {seconds:.0f} s")


def parse_arguments() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description="Tune a pipeline of scikit-learn on flights.")
    parser.add_argument("--plain", action="store_true", help="use RandomizedSearchCV")
    parser.add_argument("--candidates", type=int, default=24, help="to try (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=100, help="of boosting (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=60_000, help="flights to read (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="candidates at a time (default: %(default)s)")
    parser.add_argument("--verbose", type=int, default=1, help="0: silent, 1: progress (default: %(default)s)")
    args = parser.parse_args()
    for name in ("candidates", "rounds", "rows"):
        if getattr(args, name) < 1:
            parser.error(f"--{name}: expected at least 1, got {getattr(args, name)}")
    return args


if __name__ == "__main__":
    main()
