"""What limits the error of a small network: its pixels, its units, or how it was trained.

    python -m pruning_core.studies.small_networks [--root DIR] [--jobs N]

takes an hour and a half of one core, and nothing once DIR/results (here, by default) has its table.
It may be killed at any moment: what has ended is recorded, and the next start goes on from there.

Bernoulli pruning finds a network at each of two prices of a unit, and beside each of them others
are trained, of the same seed, that differ from it in one thing or two:

- wide on the same pixels: 300-100 hidden units, with dropout, on the pixels that were found;
- wide on random pixels: the same on as many of the 784, drawn anew for each seed;
- wide on a lattice: the same on as many pixels in rows over the middle of the image;
- from scratch: the found network itself, on its pixels, with new weights and the same training.

One more, wide on all pixels, is beside both. The test images are read once, at the end. Everything
around dropout was chosen on the validation split, with the seed 0.

What it was asked to show, before its first run, stands with all other claims in
``studies/claims.toml``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from joblib import Parallel, delayed
from torch import Tensor, nn
from tqdm import tqdm

from pruning_core.experiments.data import Dataset, Split, batches
from pruning_core.experiments.data import load as load_data
from pruning_core.experiments.loop import Trainer
from pruning_core.experiments.settings import recommended
from pruning_core.files import make_writable, write_atomically
from pruning_core.metrics import architecture, count_nonzero_weights, error_percent
from pruning_core.models import MODELS
from pruning_core.studies import own_tables
from pruning_core.studies.intervals import mean_interval

FILE = "results/small-networks.csv"

PRICES, SEEDS = (56, 28), 10
"""Nats that a unit must be worth to stay; and how many seeds there are of everything."""

_MODEL = MODELS["lenet-300-100"]
_PIXELS = _MODEL.dense()[0]
_SIDE, _MARGIN = 22, 3  # digits fill 20 × 20 of the 28 × 28 pixels, around their centre of mass
_DROPPED = (0.1, 0.3)  # shares of the inputs, and of the hidden units
_WIDE_EPOCHS = 40
_NUMBERS = ("seed", "pixels", "weights_percent", "test_error_percent", "train_error_percent")


class Network(NamedTuple):
    """A network beside the one that is found at a price; that of all pixels has no price."""

    kind: str
    price: int | None = None

    @property
    def point(self) -> str:
        """What readers call it."""
        return self.kind if self.price is None else f"{self.kind}, {self.price} nats"


FOUND, SAME, RANDOM, LATTICE, SCRATCH, ALL = (
    *("found", "wide on the same pixels", "wide on random pixels", "wide on a lattice"),
    *("from scratch", "wide on all pixels"),
)
BESIDE = [Network(k, p) for p in PRICES for k in (SAME, RANDOM, LATTICE, SCRATCH)]
NETWORKS = [*(Network(FOUND, price) for price in PRICES), *BESIDE, Network(ALL)]
"""All of them, in the order in which they are trained.

:meta hide-value:
"""

POINTS = [network.point for network in NETWORKS]
"""What they are called in the table.

:meta hide-value:
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is not in the table yet, and print means over the seeds and paired differences.

    Returns:
        The exit code, 2 if the table is damaged.
    """
    what = "What limits the error of a small network."
    return own_tables.run(what, FILE, completed, told, arguments, jobs=True)


def told(rows: pd.DataFrame) -> str:
    """Means over the seeds with their standard errors, and the paired differences."""
    columns = ["pixels", *_NUMBERS[2:]]
    means = rows.groupby("point", sort=False)[columns].agg(["mean", "sem"]).round(3)
    return f"{means.to_string()}\n{differences(rows).round(3).to_string(index=False)}"


def load(path: Path) -> pd.DataFrame:
    """A row for each network and seed; empty if there is no such file.

    Raises:
        StudyError: if it is damaged.
    """
    return own_tables.read(path, ("point", "architecture", "selected"), _NUMBERS)


def completed(path: Path, jobs: int = -1) -> pd.DataFrame:
    """The table in a file, with what it lacked trained now and written as soon as it ends.

    Args:
        path: of the file.
        jobs: processes at a time, with one thread each; −1 for one a core.
    """
    rows = load(path)
    make_writable(path.parent)
    every = [(network, seed) for network in NETWORKS for seed in range(SEEDS)]
    first = [(n, seed) for n, seed in every if n.kind == FOUND]  # the others read their pixels
    for wave in (first, every):
        there = _by_place(rows)
        tasks = [(n, seed, _found(there, n, seed)) for n, seed in wave if (n, seed) not in there]
        ended = Parallel(n_jobs=jobs, return_as="generator_unordered")(
            delayed(measured)(*task) for task in tasks
        )
        for row in tqdm(ended, total=len(tasks), disable=not sys.stderr.isatty()):
            rows = pd.concat([rows, pd.DataFrame([row])]) if len(rows) else pd.DataFrame([row])
            write_atomically(path, rows.to_csv(index=False).encode())
    rows = (
        rows.assign(point=pd.Categorical(rows["point"], POINTS))
        .sort_values(["point", "seed"])
        .astype({"point": str})
    )
    rows = rows.reset_index(drop=True)
    write_atomically(path, rows.to_csv(index=False).encode())
    return rows


def measured(
    network: Network, seed: int, found: dict[str, Any] | None = None, split: Split = "test"
) -> dict[str, Any]:
    """Train a network and measure it; one row of the table.

    Args:
        network: which.
        seed: of its weights, the order of the examples, dropout and random pixels.
        found: the row of the pruned network of this price and seed, for those beside one.
        split: what it is tested on; "validation" to choose settings.
    """
    torch.set_num_threads(1)
    data = _data(split)
    if network.kind == FOUND:
        assert network.price is not None
        changes: dict[str, Any] = {"log_gamma": (float(network.price),), "gate_inputs": True}
        model = Trainer(recommended("lenet-300-100", seed=seed, **changes), data).fit()
        pixels = model.state_dict().get("gate0.index", torch.arange(_PIXELS))
        views = data.train_images, data.eval_images
    else:
        pixels = torch.arange(_PIXELS)
        hidden: Sequence[int] = _MODEL.hidden
        if found is not None:
            pixels = chosen_pixels(network.kind, found, seed)
        if network.kind == SCRATCH:
            assert found is not None
            hidden = [int(size) for size in str(found["architecture"]).split("-")[1:]]
        views = tuple(x.flatten(1)[:, pixels] for x in (data.train_images, data.eval_images))
        sizes = [len(pixels), *hidden, data.num_classes]
        model = fitted(sizes, views[0], data.train_labels, seed, dropout=network.kind != SCRATCH)
    return {
        "point": network.point,
        "seed": seed,
        "architecture": "-".join(map(str, architecture(model))),
        "pixels": len(pixels),
        "weights_percent": round(
            100
            * count_nonzero_weights(model)
            / _MODEL.count_weights(_MODEL.dense(), data.num_classes),
            4,
        ),
        "test_error_percent": error_percent(model, views[1], data.eval_labels),
        "train_error_percent": error_percent(model, views[0], data.train_labels),
        "selected": " ".join(map(str, pixels.tolist())) if network.kind == FOUND else "",
    }


def chosen_pixels(kind: str, found: dict[str, Any], seed: int) -> Tensor:
    """As many pixels as a found network reads, by their numbers; int64, increasing."""
    own = torch.tensor([int(pixel) for pixel in str(found["selected"]).split()])
    if kind == RANDOM:
        drawn = torch.randperm(_PIXELS, generator=torch.Generator().manual_seed(seed))
        return drawn[: len(own)].sort().values
    return lattice(len(own)) if kind == LATTICE else own


def lattice(count: int) -> Tensor:
    """So many pixels in about √count rows over the middle 22 × 22; int64, increasing.

    The rows are as far apart as the pixels in them, as nearly as whole numbers allow.

    Raises:
        ValueError: if the middle has not so many.
    """
    if not 1 <= count <= _SIDE**2:
        raise ValueError(f"{count} pixels were asked for; 1 to {_SIDE**2} was expected")
    rows = max(round(math.sqrt(count)), -(-count // _SIDE))
    ends = [place * count // rows for place in range(rows + 1)]
    found = [
        28 * (_MARGIN + (2 * row + 1) * _SIDE // (2 * rows))
        + _MARGIN
        + (2 * column + 1) * _SIDE // (2 * (end - start))
        for row, (start, end) in enumerate(pairwise(ends))
        for column in range(end - start)
    ]
    return torch.tensor(found)


def fitted(
    sizes: Sequence[int], images: Tensor, labels: Tensor, seed: int, *, dropout: bool
) -> nn.Sequential:
    """A network of these sizes, trained as pruning trains: Adam, whose steps fall along a cosine.

    Args:
        sizes: inputs, hidden layers and classes.
        images: shape (N, inputs).
        labels: shape (N,).
        seed: of everything that is drawn.
        dropout: train with it, for fewer epochs; or as long as pruning does, without.
    """
    settings = recommended("lenet-300-100")
    epochs = _WIDE_EPOCHS if dropout else settings.epochs
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for place, (inputs, outputs) in enumerate(pairwise(sizes)):
            layers += [nn.ReLU()] if place else []
            layers += [nn.Dropout(_DROPPED[place > 0])] if dropout else []
            layers.append(nn.Linear(inputs, outputs))
        model = nn.Sequential(*layers).train()
        optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate, fused=True)
        steps = epochs * -(-len(labels) // settings.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(epochs):
            for index in batches(len(labels), settings.batch_size):
                optimizer.zero_grad()
                F.cross_entropy(model(images[index]), labels[index]).backward()
                optimizer.step()
                schedule.step()
    return model.eval()


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Test error of each network minus that of the wide one on the same pixels, by seed.

    Returns:
        A row for each network beside a found one, that itself and the one of all pixels; of each
        ``price``, ``kind``, the mean ``difference`` in points, and ``low`` and ``high``, the ends
        of its 95 % interval. Those of which there are no two seeds are left out.
    """
    errors = rows.pivot_table(index="seed", columns="point", values="test_error_percent")
    found = []
    for price in PRICES:
        base = Network(SAME, price).point
        for kind in (FOUND, SCRATCH, RANDOM, LATTICE, ALL):
            point = Network(kind, None if kind == ALL else price).point
            if {base, point} <= set(errors.columns):
                paired = (errors[point] - errors[base]).dropna().to_numpy()
                if len(paired) > 1:
                    found.append((price, kind, *mean_interval(paired)))
    return pd.DataFrame(found, columns=["price", "kind", "difference", "low", "high"])


def _by_place(rows: pd.DataFrame) -> dict[tuple[Network, int], dict[str, Any]]:
    known = {network.point: network for network in NETWORKS}
    return {
        (known[row["point"]], int(row["seed"])): row
        for row in rows.to_dict("records")
        if row["point"] in known
    }


def _found(
    there: dict[tuple[Network, int], dict[str, Any]], network: Network, seed: int
) -> dict[str, Any] | None:
    """The row of the pruned network that another is beside."""
    if network.price is None or network.kind == FOUND:
        return None
    return there[Network(FOUND, network.price), seed]


@lru_cache(maxsize=1)
def _data(split: Split) -> Dataset:
    """Loaded once in each process."""
    return load_data(split=split)


if __name__ == "__main__":
    sys.exit(main())
