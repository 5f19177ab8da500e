"""A small real training for the benchmarks: a convolutional network on the 8 x 8 digits that scikit-learn brings."""

from __future__ import annotations

import functools
from typing import Any

HELD_OUT, BATCH = 360, 32


@functools.cache
def arrays() -> tuple[Any, Any]:
    """Images (float32, 1,797 x 1 x 8 x 8, between 0 and 1) and labels, in random order, the same each time."""
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = (digits.images[order, None] / 16).astype(np.float32)
    return images, digits.target[order].astype(np.int64)


@functools.cache
def module_type() -> Any:
    """The Lightning module, as a user's script has it; a function, since the bare import must not load PyTorch."""
    import torch
    from lightning.pytorch import LightningModule
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(1)

    class Digits(LightningModule):
        def __init__(self, lr: float, momentum: float) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.network = nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(512, 64),
                nn.ReLU(),
                nn.Linear(64, 10),
            )

        def forward(self, images: Any) -> Any:
            return self.network(images)

        def training_step(self, batch: Any, index: int) -> Any:
            images, labels = batch
            return functional.cross_entropy(self(images), labels)

        def validation_step(self, batch: Any, index: int) -> None:
            images, labels = batch
            scores = self(images)
            self.log("val_loss", functional.cross_entropy(scores, labels))
            self.log("val_accuracy", (scores.argmax(1) == labels).float().mean())

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=self.hparams.momentum)

    return Digits


def train_lightning(config: dict[str, Any], epochs: int, callbacks: list[Any], checkpoint: str | None = None) -> Any:
    """One Lightning training; returns its trainer.

    Args:
        config: ``lr`` and ``momentum``.
        epochs: in all, those of `checkpoint` included.
        callbacks: of the trainer.
        checkpoint: path of a Lightning checkpoint to go on from.
    """
    import logging
    import warnings

    import torch
    from lightning.pytorch import Trainer, seed_everything
    from torch.utils.data import DataLoader, TensorDataset

    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    seed_everything(0, verbose=False)
    module = module_type()(config["lr"], config["momentum"])
    images, labels = (torch.from_numpy(array) for array in arrays())
    training = TensorDataset(images[HELD_OUT:], labels[HELD_OUT:])
    held_out = TensorDataset(images[:HELD_OUT], labels[:HELD_OUT])
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, DataLoader(training, BATCH, shuffle=True), DataLoader(held_out, HELD_OUT), ckpt_path=checkpoint)
    return trainer


def train_keras(epochs: int, callbacks: list[Any]) -> Any:
    """One Keras training on the PyTorch back end, which ``KERAS_BACKEND`` must name; returns the model."""
    import keras
    import torch
    from keras import layers

    torch.set_num_threads(1)
    keras.utils.set_random_seed(0)
    images, labels = arrays()
    images = images.reshape(-1, 8, 8, 1)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        images[HELD_OUT:],
        labels[HELD_OUT:],
        batch_size=BATCH,
        epochs=epochs,
        validation_data=(images[:HELD_OUT], labels[:HELD_OUT]),
        callbacks=callbacks,
        verbose=0,
    )
    return model
