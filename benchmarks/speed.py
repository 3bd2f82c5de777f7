"""Side-by-side timings of training, as ratios: the median over interleaved rounds.

python benchmarks/speed.py            a step, and an epoch against torchvision's loader
python benchmarks/speed.py --whole    whole runs as well, pruned against dense: minutes
"""

from __future__ import annotations

import argparse
import gzip
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from pruning_core.data import FILES, Dataset, load
from pruning_core.methods import Dense
from pruning_core.settings import Settings, recommended
from pruning_core.training import Trainer

MNIST = Path(__file__).parents[1] / "data" / "mnist"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whole", action="store_true", help="time whole runs too")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    data = load("mnist")
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print_ratios("100 steps of LeNet-300-100, nothing removed", gate_steps(data), options.rounds)
    for model, rounds in (("lenet-300-100", options.rounds), ("lenet-5", options.rounds // 3)):
        print_ratios(f"100 steps of {model}, SGD", halo_steps(model, data), max(1, rounds))
    print_ratios("epoch of LeNet-300-100, dense", epochs(data), max(1, options.rounds // 5))
    if options.whole:
        for pruned in (recommended("lenet-300-100", gate_inputs=True), recommended("lenet-5")):
            print_whole_run(pruned, data)


def print_whole_run(pruned: Settings, data: Dataset) -> None:
    """A run that prunes itself, against as many dense epochs: those timed before and after it."""
    dense = recommended(pruned.model, "dense", epochs=2)
    times = {}
    for name, settings in (("before", dense), ("pruned", pruned), ("after", dense)):
        started = time.perf_counter()
        Trainer(settings, data).fit()
        times[name] = time.perf_counter() - started
    dense_run = (times["before"] + times["after"]) / (2 * dense.epochs) * pruned.epochs
    print(f"whole run of {pruned.model}, {pruned.epochs} epochs")
    print(f"  {'dense':32}{dense_run:10.1f} s{1:8.2f} ×")
    print(f"  {'pruning itself':32}{times['pruned']:10.1f} s{times['pruned'] / dense_run:8.2f} ×\n")


def print_ratios(title: str, tasks: Mapping[str, Callable[[], object]], rounds: int) -> None:
    """Time every task once a round; print medians, and medians of the ratio to the first."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    if rounds > 1:
        for task in tasks.values():
            task()
    for _ in range(rounds):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - started)
    base = next(iter(seconds.values()))
    print(f"{title}, {rounds} rounds")
    for name, times in seconds.items():
        ratio = statistics.median(t / b for t, b in zip(times, base, strict=True))
        print(f"  {name:32}{statistics.median(times):10.3f} s{ratio:8.2f} ×")
    print()


def gate_steps(data: Dataset) -> dict[str, Callable[[], None]]:
    """A hundred steps each: the dense network, with hidden gates, with input gates too."""
    model = "lenet-300-100"
    return {
        "dense": hundred_steps(recommended(model, "dense"), data),
        "gates on hidden units": hundred_steps(recommended(model), data),
        "gates on hidden units and pixels": hundred_steps(
            recommended(model, gate_inputs=True), data
        ),
    }


def halo_steps(model: str, data: Dataset) -> dict[str, Callable[[], None]]:
    """A hundred steps of SGD each: without a penalty, with HALO in three ways."""
    plain = recommended(model, "magnitude")
    return {
        "no penalty": hundred_steps(replace(plain, method="dense"), data),
        "HALO": hundred_steps(recommended(model, "halo"), data),
        "HALO, proximal": hundred_steps(recommended(model, "halo", proximal=True), data),
        "HALO, a loop over the parameters": hundred_steps(plain, data, NaiveHalo),
    }


class NaiveHalo(Dense):
    """The penalty as one writes it down, for autograd to differentiate."""

    def start(self, trainer: Trainer) -> None:
        self.pairs = [(w, nn.Parameter(torch.ones_like(w))) for w in trainer.model.parameters()]

    def parameters(self) -> list[nn.Parameter]:
        return [coefficient for _, coefficient in self.pairs]

    def backward(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        loss = F.cross_entropy(model(images), labels)
        for weight, coefficient in self.pairs:
            loss = loss + 2e-5 * (weight.abs() / coefficient**2).sum()
            loss = loss + 5e-5 * coefficient.abs().sum()
        loss.backward()
        return loss.detach()


def hundred_steps(
    settings: Settings, data: Dataset, method: type[Dense] | None = None
) -> Callable[[], None]:
    """A hundred training steps of a network that has not been trained."""
    trainer = Trainer(settings, data)
    if method is not None:
        trainer.method = method()
        trainer.method.start(trainer)
        trainer.optimizer = trainer.fresh_optimizer()
    trainer.model.train()
    number = 100 * settings.batch_size
    images, labels = data.train_images[:number], data.train_labels[:number]

    def task() -> None:
        for index in torch.randperm(number).split(settings.batch_size):
            trainer.optimizer.zero_grad()
            trainer.method.backward(
                trainer.model, images.index_select(0, index), labels.index_select(0, index)
            )
            trainer.optimizer.step()
            trainer.method.after_step(trainer)

    return task


def epochs(data: Dataset) -> dict[str, Callable[[], object]]:
    """An epoch with the data in memory, and with torchvision's data set and torch's loader."""
    trainer = Trainer(recommended("lenet-300-100", "dense"), data)
    folder = tempfile.TemporaryDirectory()
    raw = Path(folder.name) / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in FILES:
        (raw / file).write_bytes(gzip.decompress((MNIST / f"{file}.gz").read_bytes()))
    loader = DataLoader(
        datasets.MNIST(folder.name, transform=transforms.ToTensor()), batch_size=128, shuffle=True
    )

    def with_loader(_keep: object = folder) -> None:
        trainer.model.train()
        for images, labels in loader:
            trainer.optimizer.zero_grad()
            F.cross_entropy(trainer.model(images), labels).backward()
            trainer.optimizer.step()

    return {"ours": trainer._train_epoch, "torchvision and DataLoader": with_loader}


if __name__ == "__main__":
    main()
