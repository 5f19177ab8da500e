"""Drives Syne Tune and Optuna: ``python -m benchmarks.peers.hpo JOB``; see `benchmarks.side.run_job`.

Run by the Python of the environment that `benchmarks.environment` makes. How their schedulers are called is in
`benchmarks.taskset.peers`.
"""

from benchmarks.side import run_job

if __name__ == "__main__":
    run_job("", distributions=("syne-tune", "optuna", "numpy"))
