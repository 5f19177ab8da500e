"""Tune a Keras network on handwritten digits with HyperBand.

Run it with ``python examples/keras_digits.py``; ``--help`` lists the options, ``--alone`` runs the training by itself.
`train_digits` is an ordinary Keras script. This is all that was changed in it::

    +from tune_plugins.integrations.keras import TuneReportCheckpointCallback
     ...
    -    model.fit(x, y, epochs=epochs, batch_size=32, validation_data=(x_val, y_val), verbose=0)
    +    callbacks = [TuneReportCheckpointCallback()]
    +    model.fit(x, y, epochs=epochs, batch_size=32, validation_data=(x_val, y_val), verbose=0, callbacks=callbacks)

HyperBand pauses trials and goes on with the better ones: each goes on in the epoch where it was, by itself.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")  # or jax, or tensorflow: whatever is installed

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import tune_plugins as tune
from tune_plugins.integrations.keras import TuneReportCheckpointCallback
from tune_plugins.schedulers import HyperBandScheduler

SPACE = {
    "lr": tune.loguniform(1e-4, 1e-1),
    "momentum": tune.uniform(0.0, 0.95),
    "filters": tune.choice([8, 16]),
    "dropout": tune.uniform(0.0, 0.6),
}
ALONE = {"lr": 0.01, "momentum": 0.9, "filters": 8, "dropout": 0.2}


def train_digits(config: dict[str, Any], epochs: int) -> None:
    """One trial: plain Keras, and one callback."""
    keras.utils.set_random_seed(0)
    x, x_val, _, y, y_val, _ = digits()
    model = make_model(config)
    callbacks = [TuneReportCheckpointCallback()]
    model.fit(x, y, epochs=epochs, batch_size=32, validation_data=(x_val, y_val), verbose=0, callbacks=callbacks)
    print("validation loss and accuracy:", model.evaluate(x_val, y_val, verbose=0))


def make_model(config: dict[str, Any]) -> Any:
    """A small convolutional network."""
    model = keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Conv2D(config["filters"], 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dropout(config["dropout"]),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.SGD(config["lr"], momentum=config["momentum"])
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def digits() -> tuple[Any, ...]:
    """Images (n x 8 x 8 x 1, between 0 and 1) for training, validation and test, then their labels."""
    data = load_digits()
    images = data.images[..., None].astype("float32") / 16
    x, x_rest, y, y_rest = train_test_split(images, data.target, test_size=0.4, random_state=0)
    x_val, x_test, y_val, y_test = train_test_split(x_rest, y_rest, test_size=0.5, random_state=0)
    return x, x_val, x_test, y, y_val, y_test


def main() -> None:
    """Tune, and test the best network on digits that no trial has seen."""
    args = parse_arguments()
    if args.alone:
        train_digits(ALONE, args.epochs)  # outside a tuning run the callback does nothing
        return
    results = tune.Tuner(
        tune.with_parameters(train_digits, epochs=args.epochs),
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric="val_loss",
            mode="min",
            num_samples=args.num_samples,
            scheduler=HyperBandScheduler(max_t=args.epochs, reduction_factor=3),
            max_resident_trials=0,  # paused ones are saved: so small a state loads faster than a process starts
            seed=args.seed,
        ),
        run_config=tune.RunConfig(storage_path=args.storage_path),
    ).fit()

    best = results.get_best_result()
    trained = sum(int(result.metrics["training_iteration"]) for result in results)
    print(f"\nBest configuration: {best.config}")
    print(f"Epochs trained: {trained} of {len(results) * args.epochs}")
    _, _, x_test, _, _, y_test = digits()
    model = best.get_best_checkpoint().load_model(make_model)  # of the best epoch; best.load_model(...): of the last
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"Validation loss {best.metrics['val_loss']:.4f} at the end")
    print(f"Test loss {loss:.4f}, test accuracy {accuracy:.4f} with the model of the best epoch")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tune a Keras network on handwritten digits with HyperBand.")
    parser.add_argument("--num-samples", type=int, default=27, help="configurations to try (default: 27)")
    parser.add_argument("--epochs", type=int, default=27, help="epochs at most (default: 27)")
    parser.add_argument("--seed", type=int, default=1, help="of the search (default: 1)")
    parser.add_argument("--storage-path", help="folder for the experiment (default: ~/tune_results)")
    parser.add_argument("--alone", action="store_true", help="one training by itself, without a tuning run")
    args = parser.parse_args()
    for name in ("num_samples", "epochs"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: expected at least 1, got {getattr(args, name)}")
    return args


if __name__ == "__main__":
    main()
