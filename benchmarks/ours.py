"""Measures tune-plugins: ``python -m benchmarks.ours JOB``; see `benchmarks.side.run_job`."""

from benchmarks.engine import OURS
from benchmarks.side import run_job

FRAMEWORKS = ("lightning", "xgboost", "lightgbm", "keras", "sklearn")

if __name__ == "__main__":
    run_job(
        OURS,
        adapters={framework: f"tune_plugins.integrations.{framework}" for framework in FRAMEWORKS},
        distributions=(
            "tune-plugins",
            "ray",
            "xgboost",
            "torch",
            "lightning",
            "keras",
            "scikit-learn",
            "optuna",
            "numpy",
            "pandas",
        ),
    )
