"""A framework of one's own, as small as can be: softmax regression, a training loop with callbacks, save and load.

It knows nothing of tuning; `own_adapter.py` plugs into it by its callbacks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Data = tuple[np.ndarray, np.ndarray]


class Callback:
    """Derive from it what is to happen during a fit."""

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Before the first epoch."""

    def on_epoch_end(self, trainer: Trainer, logs: dict[str, float]) -> None:
        """After each epoch; `logs` has ``train_loss``, ``loss`` and ``accuracy``."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last epoch."""


class Model:
    """Probabilities of the classes from the first `features` columns."""

    def __init__(self, features: int, classes: int) -> None:
        self.weights = np.zeros((features, classes))

    def predict(self, x: np.ndarray) -> np.ndarray:
        """A row of probabilities for each row of `x`."""
        scores = x[:, : len(self.weights)] @ self.weights
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))

    def loss(self, x: np.ndarray, y: np.ndarray) -> float:
        """Mean cross-entropy."""
        return float(-np.log(self.predict(x)[np.arange(len(y)), y] + 1e-12).mean())


class Trainer:
    """Stochastic gradient descent with momentum."""

    def __init__(self, model: Model, lr: float = 0.1, momentum: float = 0.9, seed: int = 0) -> None:
        self.model, self.lr, self.momentum = model, lr, momentum
        self.velocity = np.zeros_like(model.weights)
        self.random = np.random.default_rng(seed)
        self.epoch = 0
        """Epochs that are trained."""
        self.epochs = 0
        """Epochs to train in all."""
        self.stop = False
        """Set by a callback: no epoch follows."""
        self.callbacks: Sequence[Callback] = ()

    def fit(
        self, train: Data, held_out: Data, epochs: int, batch_size: int = 32, callbacks: Sequence[Callback] = ()
    ) -> None:
        """Train up to `epochs` epochs in all."""
        self.stop, self.epochs, self.callbacks = False, epochs, callbacks
        for callback in callbacks:
            callback.on_fit_begin(self)
        while self.epoch < epochs and not self.stop:
            order = self.random.permutation(len(train[1]))
            for start in range(0, len(order), batch_size):
                self._step(*(part[order[start : start + batch_size]] for part in train))
            self.epoch += 1
            right = self.model.predict(held_out[0]).argmax(axis=1) == held_out[1]
            losses = {"train_loss": self.model.loss(*train), "loss": self.model.loss(*held_out)}
            logs = {**losses, "accuracy": float(right.mean())}
            for callback in callbacks:
                callback.on_epoch_end(self, logs)
        for callback in callbacks:
            callback.on_fit_end(self)

    def _step(self, x: np.ndarray, y: np.ndarray) -> None:
        error = self.model.predict(x)
        error[np.arange(len(y)), y] -= 1
        gradient = x[:, : len(self.model.weights)].T @ error / len(y)
        self.velocity = self.momentum * self.velocity - self.lr * gradient
        self.model.weights = self.model.weights + self.velocity

    def save(self, path: str | Path) -> None:
        """Write all that changes in a training: weights, velocity, epoch and random state; no code."""
        rest = json.dumps({"epoch": self.epoch, "random": self.random.bit_generator.state})
        np.savez(path, weights=self.model.weights, velocity=self.velocity, rest=np.frombuffer(rest.encode(), np.uint8))

    def load(self, path: str | Path) -> None:
        """Go on from what was saved.

        Raises:
            ValueError: it is of a model with another shape.
        """
        with np.load(path) as saved:
            if saved["weights"].shape != self.model.weights.shape:
                raise ValueError(f"weights of shape {saved['weights'].shape}, here {self.model.weights.shape}")
            self.model.weights, self.velocity = saved["weights"], saved["velocity"]
            rest: dict[str, Any] = json.loads(bytes(saved["rest"]))
        self.epoch, self.random.bit_generator.state = rest["epoch"], rest["random"]
