"""Bias, noise and cost of the estimators of ∂J/∂θ, and what each makes of LeNet-300-100.

python benchmarks/estimators.py            against the exact sum; noise on LeNet-300-100
python benchmarks/estimators.py --train    short runs on the validation split as well: minutes
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from pruning_core.estimators import ESTIMATORS, Estimator, ExactSum
from pruning_core.experiments.data import Dataset, load
from pruning_core.experiments.loop import Trainer
from pruning_core.experiments.settings import recommended
from pruning_core.gates import named_gates
from pruning_core.pathwise import IntegratedGates
from pruning_core.theory.estimator_quality import quality, small_network, theta_gradient

DRAWS = 2000
CONTENDERS: dict[str, Callable[[], Estimator]] = {
    name: build for name, build in ESTIMATORS.items() if name != "exact"
} | {"integrated, fraction 1/16": lambda: IntegratedGates(1 / 16)}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", action="store_true", help="short training runs too")
    options = parser.parse_args()
    data = load("mnist", split="validation")
    against_the_exact_sum(data)
    noise_in_training(data)
    if options.train:
        in_training(data)


def against_the_exact_sum(data: Dataset) -> None:
    """Relative bias and noise of the gradient on a small network, halfway through learning."""
    model = small_network(data)
    images, labels = data.train_images[:256], data.train_labels[:256]
    exact = theta_gradient(model, ExactSum(), images, labels)
    print(f"gradient in θ of 12 gates, {DRAWS} draws; relative to the norm of the exact sum")
    print(f"  {'':32}{'bias':>8}{'± (noise)':>12}{'std of one':>12}{'ms':>8}")
    for name, build in CONTENDERS.items():
        found = quality(model, build(), images, labels, exact, DRAWS)
        print(
            f"  {name:32}{found.bias:8.3f}{found.error:12.3f}{found.noise:12.2f}"
            f"{found.milliseconds:8.2f}"
        )
    print()


def noise_in_training(data: Dataset) -> None:
    """Noise of one step's estimate of what a unit is worth, after five epochs of training."""
    trainer = Trainer(recommended("lenet-300-100", gate_inputs=True, epochs=5), data)
    trainer.set_generators()
    for _ in range(5):
        trainer._train_epoch()

    def worth(estimator: Estimator) -> Tensor:
        index = torch.randint(len(data.train_labels), (128,))
        images, labels = data.train_images[index], data.train_labels[index]
        return -len(data.train_labels) * theta_gradient(trainer.model, estimator, images, labels)

    sizes = [gate.num_units for gate in named_gates(trainer.model).values()]
    print("LeNet-300-100 after 5 epochs, batches of 128: one estimate of a unit's worth in nats,")
    print("median over the units of the mean and of the standard deviation of 200 estimates")
    print(f"  {'':32}{'pixels':>16}{'hidden 1':>16}{'hidden 2':>16}")
    for name, build in CONTENDERS.items():
        draws = torch.stack([worth(build()) for _ in range(200)])
        mean, std = (m.split(sizes) for m in (draws.mean(0), draws.std(0)))
        cells = [
            f"{float(m.median()):.0f} ± {float(s.median()):.0f}"
            for m, s in zip(mean, std, strict=True)
        ]
        print(f"  {name:32}" + "".join(f"{cell:>16}" for cell in cells))
    print()


def in_training(data: Dataset) -> None:
    """Twenty epochs of LeNet-300-100 with gates on hidden units, error on the validation split."""
    print("LeNet-300-100, hidden gates, 20 epochs, validation split")
    print(f"  {'':20}{'kept':>14}{'undecided':>11}{'sampled %':>11}{'rounded %':>11}{'s':>7}")
    for name in (name for name in ESTIMATORS if name != "exact"):
        settings = recommended("lenet-300-100", estimator=name, epochs=20)
        trainer = Trainer(settings, data)
        trainer.fit()
        summary = trainer.summary()
        kept = "-".join(map(str, summary["architecture"]))
        undecided = f"{summary['undecided']}/{summary['surviving_units']}"
        print(
            f"  {name:20}{kept:>14}{undecided:>11}"
            f"{summary['stochastic_test_error_percent']:>11.2f}"
            f"{summary['deterministic_test_error_percent']:>11.2f}{summary['seconds']:>7.0f}"
        )


if __name__ == "__main__":
    main()
