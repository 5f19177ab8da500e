"""A tiny training with the Trainer of transformers, for the tests: made in code, nothing is downloaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

CONFIG: dict[str, Any] = {
    "learning_rate": 0.02,
    "weight_decay": 0.01,
    "adam_beta1": 0.9,
    "max_grad_norm": 1.0,
    "dropout": 0.1,
}
LIVE = {"learning_rate": 0.01, "weight_decay": 0.1, "adam_beta1": 0.8, "max_grad_norm": 0.5, "dropout": 0.1}

_random = np.random.default_rng(0)
TOKENS = _random.integers(1, 20, size=(40, 6))
LABELS = (TOKENS.sum(1) > 60).astype("int64")
ROWS = [{"input_ids": torch.tensor(t), "labels": torch.tensor(y)} for t, y in zip(TOKENS, LABELS, strict=True)]
TRAIN, VALID = ROWS[:24], ROWS[24:]


def model_of(config: Mapping[str, Any]) -> Any:
    """A BERT of a thousand weights; the same ones each time."""
    torch.manual_seed(3)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=20,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=config.get("intermediate_size", 16),
            max_position_embeddings=8,
            hidden_dropout_prob=config.get("dropout", 0.1),
            attn_implementation="eager",
        )
    )


def accuracy(prediction: Any) -> dict[str, float]:
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def make(
    config: Mapping[str, Any],
    output: Path | str,
    *callbacks: Any,
    epochs: int = 6,
    kind: type[Trainer] = Trainer,
    metrics: Any = accuracy,
    model: Any = None,
    **options: Any,
) -> Trainer:
    """A user's script up to the call of `train`; `config` has names of TrainingArguments and of the model."""
    own = {name: value for name, value in config.items() if name not in ("dropout", "intermediate_size")}
    arguments = {
        "output_dir": str(output),
        "num_train_epochs": epochs,
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 16,
        "eval_strategy": "epoch",
        "logging_strategy": "epoch",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "warmup_steps": 2,
    }
    trainer = kind(
        model=model_of(config) if model is None else model,
        args=TrainingArguments(**{**arguments, **own, **options}),
        train_dataset=TRAIN,
        eval_dataset=VALID,
        compute_metrics=metrics,
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class Notes(TrainerCallback):
    """Notes the live model after each evaluation."""

    def __init__(self, models: list[Any]) -> None:
        self.models = models

    def on_evaluate(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.models.append(model)


def history(trainer: Trainer) -> dict[str, list[float]]:
    """The Trainer's own record by metric."""
    found: dict[str, list[float]] = {}
    for logs in trainer.state.log_history:
        for name, value in logs.items():
            found.setdefault(name, []).append(value)
    return found


def state(trainer: Trainer) -> dict[str, Any]:
    """Weights, state of optimizer and schedule, place in the training, and predictions."""
    inner = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    optimizer, model = inner.state_dict(), trainer.model
    return {
        "weights": {name: value.numpy().copy() for name, value in model.state_dict().items()},
        "moments": {
            key: {name: np.asarray(value) for name, value in values.items()}
            for key, values in optimizer["state"].items()
        },
        "groups": [{k: v for k, v in group.items() if k != "params"} for group in optimizer["param_groups"]],
        "schedule": [trainer.lr_scheduler.last_epoch, *trainer.lr_scheduler.base_lrs],
        "position": [trainer.state.global_step, trainer.state.epoch],
        "predictions": predictions(model),
    }


def predictions(model: Any) -> np.ndarray:
    """Logits of the held-out data."""
    model.eval()
    with torch.no_grad():
        return np.asarray(model(input_ids=torch.stack([row["input_ids"] for row in VALID])).logits)
