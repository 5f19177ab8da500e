"""What is known of the differences and no signature tells: why, and what to write. Kept by hand.

A test finds notes that are no longer true: of names that have come, and of arguments that are no longer refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

_FOLDER = "Results go to a local folder: give `storage_path=`, and copy the folder after the run."

DIFFERENT: Mapping[str, str] = {
    "Categorical": "`choice([...])` makes one.",
    "Checkpoint": f"A checkpoint is a folder. {_FOLDER}",
    "Domain": "One class a kind of domain, without a sampler beside it: `domain.sample(rng)`.",
    "Experiment": "It holds what `run` is given, and what `run` refuses is refused.",
    "ExperimentAnalysis": f"Made of a folder or a `ResultGrid`; the trials are read from the record. {_FOLDER}",
    "Float": "Write `uniform`, `loguniform`, `randn`, `quniform`, ... in place of a chain of calls.",
    "HyperOptSearch": "It takes `param_space` as it is, nothing is to be converted.",
    "Integer": "Write `randint`, `lograndint`, `qrandint`, ... in place of a chain of calls.",
    "Normal": "Write `randn(mean, sd)`.",
    "PlacementGroupFactory": "The group is made by the run, not by the script.",
    "ResourceChangingScheduler": "It says what a trial is to have; the run gives it.",
    "Result": f"Files are local: `result.path`. {_FOLDER}",
    "ResultGrid": f"Made of a folder or an `ExperimentAnalysis`. {_FOLDER}",
    "ResumeConfig": "It can be made; `run` refuses it, as runs cannot be resumed yet.",
    "RunConfig": _FOLDER,
    "SearchAlgorithm": "It is `Searcher`: one kind of object in place of two. A run makes trials of what it suggests.",
    "Searcher": "Its state follows from what it was told, and the run keeps that in its record.",
    "Trainable": "Nothing is uploaded. What a trial takes also says `with_resources`.",
    "Trial": "To be read: the run alone makes and changes trials.",
    "TrialScheduler": "Its state follows from the results, which are in the record.",
    "TuneConfig": "Write `RunConfig(working_dir='trial')`; the default is the directory of the script.",
    "Tuner": "Runs cannot be continued yet; `ResultGrid(folder)` reads one.",
    "WandbLoggerCallback": "Media are for `setup_wandb` in the training function.",
    "flatten_dict": "Lists stay as they are.",
    "register_trainable": "A name that was taken is given to the new one, without a word.",
    "run": "Each is an error that says what to write: `checkpoint_config=`, `storage_path=`, `working_dir=`.",
    "run_experiments": "One after the other, by `run`, which refuses the same.",
    "validate_save_restore": "It trains where it is called.",
}
"""{name: why it differs and what to write}."""

UNSEEN = ("Normal", "ResumeConfig")
"""Names that differ although no signature shows it."""

REFUSED: Mapping[str, Collection[str]] = {
    "run": (
        "storage_filesystem",
        "sync_config",
        "export_formats",
        "resume",
        "resume_config",
        "keep_checkpoints_num",
        "checkpoint_score_attr",
        "checkpoint_freq",
        "checkpoint_at_end",
        "chdir_to_trial_dir",
    ),
    "run_experiments": ("resume", "resume_config", "concurrent"),
    "Experiment": ("storage_filesystem", "sync_config", "export_formats"),
    "Trainable": ("storage",),
    "WandbLoggerCallback": ("upload_timeout", "video_kwargs", "image_kwargs"),
}
"""{name: arguments of Ray's that ours refuses, although its signature takes any}."""

RENAMED: Mapping[tuple[str, str], str] = {
    ("ExperimentAnalysis", "experiment_checkpoint_path"): "experiment_path",
    ("PopulationBasedTrainingReplay", "policy_file"): "policy",
    ("create_scheduler", "scheduler"): "name",
    ("create_searcher", "search_alg"): "name",
    ("validate_save_restore", "trainable_cls"): "trainable_class",
}
"""{(name, argument of Ray's): what it is called here}; the first argument, which scripts do not name."""

FORMS: Mapping[str, Collection[str]] = {
    "Searcher": ("error", "intermediate_values", "parameters", "pruned"),
    "TrialScheduler": ("tune_controller",),
}
"""{class: arguments of methods that may be called, and overridden, in either form: ours do not name those of Ray's}."""

HANDED_OUT = ("Result", "ResultGrid", "Trial", "TuneContext")
"""Classes that scripts are given and do not make: how they are made is not compared."""

INNER: Mapping[str, Collection[str]] = {
    "BasicVariantGenerator": ("CKPT_FILE_TMPL", "get_state", "set_state"),
    "ConcurrencyLimiter": ("on_pause", "on_unpause"),
    "Domain": ("cast", "default_sampler_cls", "domain_str", "get_sampler", "is_function", "is_grid", "set_sampler"),
    "Experiment": ("PUBLIC_KEYS", "from_json", "public_spec", "register_if_needed", "remote_path", "run_identifier"),
    "ExperimentPlateauStopper": ("has_plateaued",),
    "FunctionStopper": ("is_valid_function",),
    "HyperBandScheduler": ("state",),
    "JsonLoggerCallback": ("update_config",),
    "PlacementGroupFactory": ("head_bundle_is_empty",),
    "PopulationBasedTraining": ("last_scores", "reset_stats"),
    "SearchAlgorithm": ("has_checkpoint", "is_finished", "restore_from_dir", "save_to_dir", "set_finished"),
    "Searcher": ("CKPT_FILE_TMPL", "restore_from_dir", "save_to_dir"),
    "TBXLoggerCallback": ("VALID_HPARAMS", "VALID_NP_HPARAMS"),
    "Trainable": ("get_auto_filled_metrics", "get_current_ip_pid", "get_state", "is_actor", "train_buffered"),
    "TuneReportCheckpointCallback": ("CHECKPOINT_NAME",),
    "Trial": (
        "create_placement_group_factory",
        "from_directory",
        "from_json_state",
        "generate_id",
        "get_json_state",
        "get_ray_actor_ip",
        "get_trainable_cls",
        "handle_error",
        "has_reported_at_least_once",
        "invalidate_json_state",
        "is_restoring",
        "is_saving",
        "latest_checkpoint_result",
        "num_failures_after_restore",
        "on_checkpoint",
        "on_restore",
        "reset",
        "resolve_config_placeholders",
        "restore_run_metadata",
        "set_config",
        "set_experiment_tag",
        "set_location",
        "set_ray_actor",
        "set_status",
        "set_storage",
        "should_checkpoint",
        "should_recover",
        "should_stop",
        "update_last_result",
        "update_resources",
    ),
    "TrialScheduler": ("supports_buffered_results",),
    "WandbLoggerCallback": ("AUTO_CONFIG_KEYS",),
}
"""{class: methods and attributes of Ray's by which its own loop drives it}; they are not compared."""
