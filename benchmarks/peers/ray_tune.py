"""Measures Ray Tune: ``python -m benchmarks.peers.ray_tune JOB``; see `benchmarks.side.run_job`.

Run by the Python of the environment that `benchmarks.environment` makes. The only place that uses `ray.tune`.
"""

from benchmarks.side import run_job

ADAPTERS = {
    "lightning": "ray.tune.integration.pytorch_lightning",
    "xgboost": "ray.tune.integration.xgboost",
    "lightgbm": "ray.tune.integration.lightgbm",
    "keras": "ray.tune.integration.keras",
}

if __name__ == "__main__":
    run_job(
        "ray.tune",
        adapters=ADAPTERS,
        distributions=("ray", "xgboost", "torch", "lightning", "numpy", "pandas", "pyarrow"),
    )
