"""Names in a result, as constants that scripts for Ray Tune import; new scripts write the names themselves."""

from __future__ import annotations

from tune_plugins.core import autofill
from tune_plugins.core.metrics import DEFAULT_METRIC, DONE

__all__ = [
    "AUTO_RESULT_KEYS",
    "CONFIG_PREFIX",
    "DEFAULT_METRIC",
    "DEFAULT_RESULT_KEYS",
    "DONE",
    "EPISODES_THIS_ITER",
    "EPISODES_TOTAL",
    "EXPERIMENT_TAG",
    "HOSTNAME",
    "MEAN_ACCURACY",
    "MEAN_LOSS",
    "NODE_IP",
    "PID",
    "SHOULD_CHECKPOINT",
    "TIMESTAMP",
    "TIMESTEPS_THIS_ITER",
    "TIMESTEPS_TOTAL",
    "TIME_THIS_ITER_S",
    "TIME_TOTAL_S",
    "TRAINING_ITERATION",
    "TRIAL_ID",
]

CONFIG_PREFIX = "config"
EXPERIMENT_TAG = "experiment_tag"
HOSTNAME = "hostname"
NODE_IP = "node_ip"
PID = "pid"
SHOULD_CHECKPOINT = "should_checkpoint"
TIMESTAMP = "timestamp"
TIME_THIS_ITER_S = "time_this_iter_s"
TIME_TOTAL_S = "time_total_s"
TRAINING_ITERATION = "training_iteration"
TRIAL_ID = "trial_id"
(TIMESTEPS_THIS_ITER, TIMESTEPS_TOTAL), (EPISODES_THIS_ITER, EPISODES_TOTAL) = autofill.SUMMED.items()
MEAN_ACCURACY, MEAN_LOSS = "mean_accuracy", "mean_loss"
"""What trainings often call their metrics; nothing here goes by these names."""

AUTO_RESULT_KEYS = (TRAINING_ITERATION, TIME_TOTAL_S, TIMESTAMP, *sorted(autofill.AUTOFILLED))
"""What results have beside what was reported."""
DEFAULT_RESULT_KEYS = (TRAINING_ITERATION, TIME_TOTAL_S, TIMESTEPS_TOTAL, MEAN_ACCURACY, MEAN_LOSS)
"""What is often looked at."""
