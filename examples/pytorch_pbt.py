"""Population based training of a small residual network in a PyTorch loop written by hand.

Run it with ``python examples/pytorch_pbt.py``; ``--help`` lists the options, ``--alone`` trains one network by itself.
The network has the shape of ResNet-18 (four stages of two residual blocks), narrower, and learns to read handwritten
digits of 8 x 8 pixels. `train_digits` is an ordinary PyTorch script. This is all that was changed in it::

    +    state = TrainState(model=model, optimizer=optimizer, scheduler=scheduler)
    -    for epoch in range(epochs):
    +    for epoch in state.epochs(epochs):
             ...
    +        state.report(accuracy=accuracy, rate=optimizer.param_groups[0]["lr"])

Each network is trained until it reads `--accuracy` of the held-out digits or has had `--epochs`. Every few epochs the
worst take over weights, momentum and random state of the best, inside the running loop, and try another learning rate,
momentum and weight decay.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import tune_plugins as tune
from tune_plugins.integrations.torch import TrainState
from tune_plugins.schedulers import PopulationBasedTraining

HELD_OUT = 360  # digits, the last of 1,797
BATCH = 64
SPACE = {
    "lr": tune.loguniform(1e-4, 0.3),
    "momentum": tune.uniform(0.5, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-2),
}
ALONE = {"lr": 0.02, "momentum": 0.9, "weight_decay": 1e-4}


def train_digits(config: dict[str, Any], epochs: int, width: int) -> None:
    """One trial: a plain loop, and three lines."""
    torch.set_num_threads(1)
    (images, labels), held_out = digits()
    model = ResNet18(width)
    optimizer = torch.optim.SGD(model.parameters(), **config)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    state = TrainState(model=model, optimizer=optimizer, scheduler=scheduler)
    for epoch in state.epochs(epochs):
        model.train()
        for batch in torch.randperm(len(labels)).split(BATCH):
            optimizer.zero_grad()
            loss = cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
        scheduler.step()
        accuracy = evaluate(model, *held_out)
        print(f"epoch {epoch}: accuracy {accuracy:.3f}", flush=True)
        state.report(accuracy=accuracy, rate=optimizer.param_groups[0]["lr"])


@torch.no_grad()
def evaluate(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of digits that are read rightly."""
    model.eval()
    return float((model(images).argmax(1) == labels).float().mean())


def digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Images (n x 1 x 8 x 8, between 0 and 1) and labels (n), for training and held out."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(data.target)
    return (images[:-HELD_OUT], labels[:-HELD_OUT]), (images[-HELD_OUT:], labels[-HELD_OUT:])


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """From n x inputs x h x w to n x outputs x (h / stride) x (w / stride)."""
        return torch.relu(self.convolutions(x) + self.shortcut(x))


class ResNet18(nn.Module):
    """Four stages of two blocks, each of half the size and twice the width of the one before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        inputs = width
        for stage in range(4):
            outputs = width * 2**stage
            stages += [Block(inputs, outputs, 1 if stage == 0 else 2), Block(outputs, outputs, 1)]
            inputs = outputs
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            *stages,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(inputs, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images n x 1 x 8 x 8 to scores n x 10."""
        scores: Tensor = self.layers(x)
        return scores


def main() -> None:
    """Tune, report."""
    args = parse_arguments()
    if args.alone:
        train_digits(ALONE, args.epochs, args.width)
        return
    results = tune.Tuner(
        tune.with_parameters(train_digits, epochs=args.epochs, width=args.width),
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            num_samples=args.population,
            scheduler=PopulationBasedTraining(
                time_attr="training_iteration",
                perturbation_interval=args.interval,
                hyperparam_mutations=SPACE,
            ),
            seed=args.seed,
        ),
        run_config=tune.RunConfig(
            stop={"accuracy": args.accuracy, "training_iteration": args.epochs},
            storage_path=args.storage_path,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        ),
    ).fit()

    best = results.get_best_result()
    print()
    print(f"Best accuracy {best.metrics['accuracy']:.4f} after {best.metrics['training_iteration']} epochs, with")
    for name, value in best.config.items():
        print(f"  {name:<13}{value:.6g}")
    done = Counter(decision.action for decision in results.decisions)
    print(f"Exploits inside the running loop: {done['IN_PLACE']}, by a new entry into the function: {done['RESTART']}")
    model = best.get_best_checkpoint().load_model(ResNet18(args.width))  # of the best epoch since its last exploit
    print(f"Accuracy of its best network, loaded: {evaluate(model, *digits()[1]):.4f}")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Population based training of a residual network on digits.")
    parser.add_argument("--population", type=int, default=8, help="networks (default: 8)")
    parser.add_argument("--epochs", type=int, default=24, help="epochs at most (default: 24)")
    parser.add_argument("--interval", type=int, default=3, help="epochs between two exploits (default: 3)")
    parser.add_argument("--accuracy", type=float, default=0.975, help="stop a network that has it (default: 0.975)")
    parser.add_argument("--width", type=int, default=8, help="channels of the first stage (default: 8)")
    parser.add_argument("--seed", type=int, default=1, help="of the search (default: 1)")
    parser.add_argument("--storage-path", help="folder for the experiment (default: ~/tune_results)")
    parser.add_argument("--alone", action="store_true", help="train one network, without tuning")
    args = parser.parse_args()
    for name in ("population", "epochs", "interval", "width"):
        if getattr(args, name) < 1:
            parser.error(f"--{name}: expected at least 1, got {getattr(args, name)}")
    return args


if __name__ == "__main__":
    main()
