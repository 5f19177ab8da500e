"""Schedulers: which trials go on, which stop; and what one needs to write another."""

from typing import TYPE_CHECKING

from tune_plugins._imports import unknown_name
from tune_plugins.core.ends import EndCause
from tune_plugins.core.scheduler import Action, Decision, FIFOScheduler, TrialScheduler
from tune_plugins.core.trial import Lease, Milestone, Trial, TrialStatus
from tune_plugins.schedulers.asha import ASHAScheduler, AsyncHyperBandScheduler
from tune_plugins.schedulers.by_name import create_scheduler
from tune_plugins.schedulers.hyperband import HyperBandForBOHB, HyperBandScheduler
from tune_plugins.schedulers.median_stopping import MedianStoppingRule
from tune_plugins.schedulers.multi_objective_asha import MultiObjectiveASHA
from tune_plugins.schedulers.pb2 import PB2
from tune_plugins.schedulers.pbt import PopulationBasedTraining
from tune_plugins.schedulers.pbt_replay import PBTSchedule, PopulationBasedTrainingReplay, ScheduleStep
from tune_plugins.schedulers.percentile_stopping import PercentileStopping
from tune_plugins.schedulers.resource_changing import (
    DistributeResources,
    DistributeResourcesToTopJob,
    ResourceChangingScheduler,
)

__all__ = [
    "PB2",
    "ASHAScheduler",
    "Action",
    "AsyncHyperBandScheduler",
    "Decision",
    "DistributeResources",
    "DistributeResourcesToTopJob",
    "EndCause",
    "FIFOScheduler",
    "HyperBandForBOHB",
    "HyperBandScheduler",
    "Lease",
    "MedianStoppingRule",
    "Milestone",
    "MultiObjectiveASHA",
    "PBTSchedule",
    "PercentileStopping",
    "PopulationBasedTraining",
    "PopulationBasedTrainingReplay",
    "ResourceChangingScheduler",
    "ScheduleStep",
    "Trial",
    "TrialScheduler",
    "TrialStatus",
    "create_scheduler",
]

if not TYPE_CHECKING:
    __getattr__ = unknown_name(__name__)
