"""Measures the same work without a tuning engine: ``python -m benchmarks.bare JOB``; see `benchmarks.side.run_job`."""

from benchmarks.side import run_job

if __name__ == "__main__":
    run_job("", distributions=("xgboost", "torch", "lightning", "scikit-learn", "numpy"))
