"""Side-by-side times of training and inference, as ratios: medians over interleaved rounds.

python benchmarks/bench.py               one table, in about ten minutes
python benchmarks/bench.py --whole       with whole runs of both networks too: an hour
python benchmarks/bench.py --json PATH   write the table and what the machine is, too
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from pruning_core.experiments.data import FILES, Dataset, load
from pruning_core.experiments.loop import Trainer
from pruning_core.experiments.methods import Method
from pruning_core.experiments.provenance import device_name, versions
from pruning_core.experiments.run import Run
from pruning_core.experiments.settings import Settings, recommended
from pruning_core.export import load_model
from pruning_core.metrics import count_weights
from pruning_core.models import lenet_300_100

ROOT = Path(__file__).parents[1]
Tasks = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Scale:
    """How much is timed.

    Attributes:
        steps: of training in one round of a task; a tenth of them for LeNet-5.
        rounds: of each comparison.
        epochs: of a run from beginning to end; θ takes larger steps, so that it gets as far.
        seeds: trained one after another, or at once.
        widths: factors on LeNet-300-100's hidden layers.
        examples: that the networks of these widths train on.
        passes: of those over the examples.
    """

    steps: int = 100
    rounds: int = 9
    epochs: int = 15
    seeds: int = 10
    widths: tuple[int, ...] = (1, 2, 4, 8, 16)
    examples: int = 6_000
    passes: int = 15


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--whole", action="store_true", help="time whole runs, too: an hour")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the table here, too")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    data = load("mnist", device=options.device)
    about = machine(data)
    print("\n".join(f"{name}: {value}" for name, value in about.items()), end="\n\n", flush=True)
    print(f"{'':36}{'what':36}{'against':28}{'ratio':>9}   quartiles")
    rows: list[dict[str, object]] = []
    for row in table(data, Scale(), whole=options.whole):
        rows.append(row)
        print(line(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=2))


def machine(data: Dataset) -> dict[str, str]:
    """What the times were taken on."""
    models = Path("/proc/cpuinfo")
    names = [
        text.partition(":")[2].strip()
        for text in (models.read_text().splitlines() if models.exists() else [])
        if text.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "device": device_name(data.train_images.device),
        "versions": ", ".join(f"{name} {value}" for name, value in versions().items()),
        "busy at the start": f"{os.getloadavg()[0]:.1f} processes waiting or running",
    }


def table(data: Dataset, scale: Scale, *, whole: bool = False) -> Iterator[dict[str, object]]:
    """The rows one by one: what, against what, and the ratio with its quartiles."""
    steps, rounds = scale.steps, scale.rounds
    device = data.train_images.device
    with tempfile.TemporaryDirectory() as folder:
        loading = from_memory(data, steps, Path(folder))
        yield from compare("a step, data in memory", loading, rounds, device)
    yield from compare("a step of LeNet-300-100", gates(data, steps), rounds, device)
    yield from compare("a step, hidden gates", estimators(data, steps), rounds, device)
    yield from compare("a step, 8 gates in all", exact_sum(data, steps), rounds, device)
    for model in ("lenet-300-100", "lenet-5"):
        number = steps if model == "lenet-300-100" else max(1, steps // 10)
        yield from compare(f"a step of {model}, SGD", halo(model, data, number), rounds, device)
    for size in (1, 256):
        yield from compare(f"inference, {size} at a time", inference(data, size), rounds, device)
    yield from compare(
        f"{scale.seeds} seeds, dense", many_seeds(data, scale.seeds, steps), rounds, device
    )
    run = recommended("lenet-300-100", gate_inputs=True)
    yield from compare(
        f"run of {scale.epochs} epochs, quick θ",
        runs(data, quicker(run, scale.epochs)),
        1,
        device,
    )
    yield from widths(data, scale)
    deep = [recommended(name, sections=20) for name in ("residual-perceptron", "residual-cnn")]
    for pruned in (run, recommended("lenet-5"), *deep) if whole else ():
        yield from compare(
            f"whole run of {pruned.model}, {pruned.epochs} epochs", runs(data, pruned), 1, device
        )


def line(row: Mapping[str, object]) -> str:
    """A row of the table as text."""
    return (
        f"{row['what']:36}{row['name']:36}{row['against']:28}"
        f"{row['ratio']:9.2f}   {row['low']:.2f} to {row['high']:.2f}"
    )


def compare(
    what: str, tasks: Tasks, rounds: int, device: torch.device
) -> Iterator[dict[str, object]]:
    """Time every task once a round, one beside the other; ratios are to the first of them."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(-1 if rounds > 1 else 0, rounds):  # the first of several is not timed
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn >= 0:
                seconds[name].append(time.perf_counter() - started)
    against, base = next(iter(seconds.items()))
    for name, times in list(seconds.items())[1:]:
        ratios = sorted(t / b for t, b in zip(times, base, strict=True))
        quarter = len(ratios) // 4
        yield {
            "what": what,
            "name": name,
            "against": against,
            "ratio": statistics.median(ratios),
            "low": ratios[quarter],
            "high": ratios[-1 - quarter],
            "seconds": statistics.median(times),
            "rounds": rounds,
        }


def from_memory(data: Dataset, steps: int, folder: Path) -> Tasks:
    """A dense network, its batches cut from tensors, or by a loader from files in a folder."""
    settings = recommended("lenet-300-100", "dense")
    trainer = Trainer(settings, data)
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in FILES:
        packed = (ROOT / "data" / "mnist" / f"{file}.gz").read_bytes()
        (raw / file).write_bytes(gzip.decompress(packed))
    loader = DataLoader(
        datasets.MNIST(folder, transform=transforms.ToTensor()),
        batch_size=settings.batch_size,
        shuffle=True,
    )

    def with_loader() -> None:
        for images, labels in islice(loader, steps):
            trainer.optimizer.zero_grad()
            images, labels = images.to(trainer.device), labels.to(trainer.device)
            trainer.method.backward(trainer, images, labels)
            trainer.optimizer.step()

    return {"tensors": training(settings, data, steps), "torchvision's DataLoader": with_loader}


def gates(data: Dataset, steps: int) -> Tasks:
    """The dense network, with gates of two kinds, and with hard-concrete ones."""
    model, size = "lenet-300-100", 128
    l0 = recommended(model, "l0", batch_size=size)
    return {
        "dense": training(recommended(model, "dense", batch_size=size), data, steps),
        "gates on hidden units": training(recommended(model), data, steps),
        "gates on pixels, too": training(recommended(model, gate_inputs=True), data, steps),
        "L0, hidden units": training(l0, data, steps),
        "L0, pixels, too": training(replace(l0, gate_inputs=True), data, steps),
    }


def estimators(data: Dataset, steps: int) -> Tasks:
    """Those that can train a network of this size."""
    model = "lenet-300-100"
    names = ("integrated-shared", "integrated", "straight-through", "reinforce", "disarm")
    return {"dense": training(recommended(model, "dense"), data, steps)} | {
        name: training(recommended(model, estimator=name), data, steps) for name in names
    }


def exact_sum(data: Dataset, steps: int) -> Tasks:
    """The exact sum over 2⁸ settings of the gates of a network with 5 + 3 units."""
    small = recommended("lenet-300-100", hidden=(5, 3))
    few = max(1, steps // 50)
    return {
        "integrated-shared": training(small, data, few),
        "exact sum": training(replace(small, estimator="exact"), data, few),
    }


def halo(model: str, data: Dataset, steps: int) -> Tasks:
    """No penalty, and HALO in three ways."""
    plain = recommended(model, "magnitude")
    return {
        "no penalty": training(replace(plain, method="dense"), data, steps),
        "HALO": training(recommended(model, "halo"), data, steps),
        "HALO, proximal": training(recommended(model, "halo", proximal=True), data, steps),
        "HALO, a loop over parameters": training(plain, data, steps, NaiveHalo),
    }


class NaiveHalo(Method):
    """The penalty as one writes it down, for autograd to differentiate."""

    def start(self, run: Run) -> None:
        self.pairs = [(w, nn.Parameter(torch.ones_like(w))) for w in run.model.parameters()]
        run.auxiliary = [coefficient for _, coefficient in self.pairs]

    def backward(self, run: Run, images: Tensor, labels: Tensor) -> Tensor:
        loss = F.cross_entropy(run.model(images), labels)
        for weight, coefficient in self.pairs:
            loss = loss + 2e-5 * (weight.abs() / coefficient**2).sum()
            loss = loss + 5e-5 * coefficient.abs().sum()
        loss.backward()
        return loss.detach()


def training(
    settings: Settings, data: Dataset, steps: int, method: type[Method] | None = None
) -> Callable[[], None]:
    """So many steps of a network that has not been trained; nothing is removed."""
    trainer = Trainer(settings, data)
    if method is not None:
        trainer.method = method()
        trainer.method.start(trainer)
        trainer.optimizer = trainer.fresh_optimizer()
    trainer.model.train()
    number = min(steps * settings.batch_size, len(data.train_labels))
    images, labels = data.train_images[:number], data.train_labels[:number]

    def task() -> None:
        for index in torch.randperm(number, device=images.device).split(settings.batch_size):
            trainer.optimizer.zero_grad()
            trainer.method.backward(
                trainer, images.index_select(0, index), labels.index_select(0, index)
            )
            trainer.optimizer.step()
            trainer.method.after_step(trainer)

    return task


def inference(data: Dataset, size: int) -> Tasks:
    """The networks of ``results/models``, on batches of a size, a hundred times."""
    images = data.eval_images[:size]

    def task(name: str) -> Callable[[], None]:
        model = load_model(ROOT / f"results/models/lenet-300-100-{name}").to(images.device)

        @torch.no_grad()
        def repeat() -> None:
            for _ in range(100):
                model(images)

        return repeat

    return {"dense": task("dense"), "pruned": task("price-28")}


def many_seeds(data: Dataset, seeds: int, steps: int) -> Tasks:
    """Dense networks of several seeds by plain SGD, one after another, or at once by torch.func."""
    size, device = 128, data.train_images.device
    draw = torch.Generator().manual_seed(0)
    order = torch.randint(len(data.train_labels), (seeds, steps, size), generator=draw).to(device)

    def networks() -> list[nn.Module]:
        found = []
        for seed in range(seeds):
            torch.manual_seed(seed)
            found.append(lenet_300_100(gated=False).to(device))
        return found

    def one_after_another() -> list[Tensor]:
        found = networks()
        for network, batches in zip(found, order, strict=True):
            optimizer = torch.optim.SGD(network.parameters(), 0.1, fused=True)
            for index in batches:
                optimizer.zero_grad()
                images, labels = data.train_images[index], data.train_labels[index]
                F.cross_entropy(network(images), labels).backward()
                optimizer.step()
        return [torch.stack(ws) for ws in zip(*(n.parameters() for n in found), strict=True)]

    def at_once() -> list[Tensor]:
        found = networks()
        weights, _ = stack_module_state(found)

        def loss(weights: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(functional_call(found[0], weights, images), labels)

        gradients = vmap(grad(loss))
        optimizer = torch.optim.SGD(weights.values(), 0.1, fused=True)
        for index in order.unbind(1):
            images, labels = data.train_images[index], data.train_labels[index]
            for name, gradient in gradients(weights, images, labels).items():
                weights[name].grad = gradient
            optimizer.step()
        return list(weights.values())

    return {"one after another": one_after_another, "at once": at_once}


def quicker(settings: Settings, epochs: int) -> Settings:
    """A shorter run, whose θ takes steps that are larger by as much."""
    short = recommended(settings.model, epochs=epochs, gate_inputs=settings.gate_inputs)
    return replace(short, theta_step=settings.theta_step * settings.epochs / epochs)


def runs(data: Dataset, pruned: Settings) -> Tasks:
    """Whole runs: dense, pruning itself, with batches that grow, and with dead units left in."""
    dense = recommended(pruned.model, "dense", epochs=pruned.epochs)
    dense = replace(dense, sections=pruned.sections)
    choices = {
        "dense": dense,
        "pruned": pruned,
        "pruned, batches that grow": replace(pruned, batch_growth=4),
        "pruned, nothing removed": replace(pruned, compact=False),
    }
    return {
        name: lambda settings=settings: Trainer(settings, data).fit()
        for name, settings in choices.items()
    }


def widths(data: Dataset, scale: Scale) -> Iterator[dict[str, object]]:
    """What a run costs and leaves as the hidden layers of LeNet-300-100 are made wider."""
    number = scale.examples
    part = replace(
        data,
        train_images=data.train_images[:number].clone(),
        train_labels=data.train_labels[:number].clone(),
        eval_images=data.eval_images[:number].clone(),
        eval_labels=data.eval_labels[:number].clone(),
    )
    found: dict[int, dict[str, float]] = {}
    for width in scale.widths:
        # A process of its own, whose memory has not been at a peak before.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found[width] = pool.submit(grown, width, part, scale.passes).result()
    least, *others = scale.widths
    for width in others:
        for name in found[width]:
            ratio = found[width][name] / found[least][name]
            yield {
                "what": f"run, hidden layers {width} × as wide",
                "name": name,
                "against": f"{least} × as wide",
                "ratio": ratio,
                "low": ratio,
                "high": ratio,
                "rounds": 1,
            }


def grown(width: int, data: Dataset, passes: int) -> dict[str, float]:
    """Seconds, peak of memory, and weights, of a short run of LeNet-300-100 so many times as wide.

    The price and the steps of θ are in proportion to the examples and to the steps there are.
    """
    usual = recommended("lenet-300-100", gate_inputs=True)
    share = len(data.train_labels) / 60_000
    settings = replace(
        recommended("lenet-300-100", gate_inputs=True, epochs=passes),
        hidden=(300 * width, 100 * width),
        log_gamma=(usual.log_gamma[0] * share,),
        theta_step=min(1.0, usual.theta_step * usual.epochs / (passes * share)),
    )
    in_use = forget_peak(data.train_images.device)
    trainer = Trainer(settings, data)
    weights = count_weights(trainer.model)
    started = time.perf_counter()
    small = trainer.fit()
    return {
        "time": time.perf_counter() - started,
        "peak of memory": peak(data.train_images.device) - in_use,
        "weights at the start": weights,
        "weights left": count_weights(small),
    }


def forget_peak(device: torch.device) -> float:
    """Begin anew to look for the peak of memory; returns what is in use now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak(device)


def peak(device: torch.device) -> float:
    """The most memory that this process has used, on the GPU in bytes, or on Linux in kilobytes."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return float(next(line.split()[1] for line in status if line.startswith("VmHWM:")))


if __name__ == "__main__":
    main()
