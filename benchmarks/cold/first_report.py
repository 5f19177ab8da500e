"""``python first_report.py FRAMEWORK HOW FOLDER``: train a little, and print a line at the first round or epoch.

HOW is "plain" (no tuning engine), or what `RunConfig.workers` takes. The imports stand at the top, as in a script.
"""

import sys

FRAMEWORK, HOW, FOLDER = sys.argv[1:]

if FRAMEWORK == "xgboost":
    import xgboost
elif FRAMEWORK == "keras":
    import keras
else:
    import lightning.pytorch

if HOW != "plain":
    import importlib

    import tune_plugins as tune

    ADAPTER = importlib.import_module(f"tune_plugins.integrations.{FRAMEWORK}")

from benchmarks import digits  # noqa: E402

FIRST = "first report"


def train(config, make_callback):
    """A few rounds or epochs on digits."""
    if FRAMEWORK == "keras":
        digits.train_keras(2, [make_callback()])
    elif FRAMEWORK == "lightning":
        digits.train_lightning({"lr": config["lr"], "momentum": 0.8}, 2, [make_callback()])
    else:
        images, labels = digits.arrays()
        data = xgboost.DMatrix(images.reshape(len(images), -1), labels)
        parameters = {"objective": "multi:softprob", "num_class": 10, "nthread": 1, "eta": config["lr"]}
        xgboost.train(parameters, data, 3, evals=[(data, "train")], callbacks=[make_callback()], verbose_eval=False)


def printing():
    """A callback of the framework that says when the first round or epoch is over."""

    def say(*args, **options):
        print(FIRST, flush=True)

    if FRAMEWORK == "keras":
        return keras.callbacks.LambdaCallback(on_epoch_end=say)
    if FRAMEWORK == "lightning":

        class Printing(lightning.pytorch.Callback):
            on_validation_end = say

        return Printing()

    class Rounds(xgboost.callback.TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            say()
            return False

    return Rounds()


def tuned(config):
    """The same as a trial."""
    train(config, ADAPTER.TuneReportCallback)


if __name__ == "__main__":
    if HOW == "plain":
        train({"lr": 0.05}, printing)
    else:

        class Printing(tune.Callback):
            """Says when a report has come to the driver."""

            def on_trial_result(self, iteration, trials, trial, result, **info):  # noqa: D102
                print(FIRST, flush=True)

        tune.Tuner(
            tuned,
            param_space={"lr": tune.grid_search([0.05, 0.06])},
            run_config=tune.RunConfig(storage_path=FOLDER, verbose=0, callbacks=[Printing()], workers=HOW),
        ).fit()
