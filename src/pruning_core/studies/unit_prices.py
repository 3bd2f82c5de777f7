"""LeNet-5 with one price for weights, or for MACs: what its units cost, and how fast it runs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import pandas as pd
import torch
from torch import nn

from pruning_core.models import MODELS, lenet_5
from pruning_core.studies.record_files import settings_of

KINDS = {"filter 1": (1, 0, 0, 0), "filter 2": (0, 1, 16, 0), "hidden unit": (0, 0, 0, 1)}
"""What leaves with a unit, in filters of either convolution, features and hidden units."""


def savings(architecture: Sequence[int], of: str) -> dict[str, int]:
    """By kind of unit, how many weights or MACs one fewer saves.

    Both counts are of first degree in the units of each kind, so that is the derivative too.

    Args:
        architecture: sizes of LeNet-5, as a study records them.
        of: "weights" or "macs".
    """
    known = MODELS["lenet-5"]
    count = known.count_weights if of == "weights" else known.count_macs
    whole = count(list(architecture))
    return {
        kind: whole - count([n - fewer for n, fewer in zip(architecture, gone, strict=True)])
        for kind, gone in KINDS.items()
    }


def over_epochs(rows: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """The trajectories with a column for each kind of unit: its price in nats after the epoch.

    It is what a unit costs once all of the price is charged, computed from the sizes recorded.

    Args:
        rows: recorded runs of LeNet-5 whose price is that of weights or of MACs.
        epochs: their trajectories.
    """
    settings = dict(zip(rows["run"], settings_of(rows), strict=True))
    own = epochs.loc[epochs["run"].isin(list(settings))]
    found = []
    for run, units in zip(own["run"], own["architecture"], strict=True):
        paid = settings[run]
        saved = savings([int(n) for n in units], paid.price)
        found.append({kind: paid.log_gamma[0] * n for kind, n in saved.items()})
    return own.assign(**pd.DataFrame(found, index=own.index))


@torch.no_grad()
def relative_times(
    rows: pd.DataFrame, base: str, batch_size: int, rounds: int = 200
) -> dict[str, float]:
    """By point, the median time of a forward pass of its networks, over that of the base point.

    One pass of each point in turn, on a network of the sizes of one of its seeds; the ratio is the
    median over the rounds. Times do not depend on the weights, which are drawn anew.

    Args:
        rows: recorded runs of LeNet-5.
        base: the point whose time is 1.
        batch_size: images of a pass.
        rounds: of all points.
    """
    networks: dict[str, list[nn.Module]] = {}
    for point, sizes in zip(rows["point"], rows["architecture"], strict=True):
        first, second, _, hidden = map(int, sizes.split("-"))
        networks.setdefault(point, []).append(lenet_5((first, second), hidden, gated=False).eval())
    images = torch.zeros(batch_size, 1, 28, 28)
    seconds = {point: list[float]() for point in networks}
    for turn in range(-10, rounds):
        for point, models in networks.items():
            model = models[turn % len(models)]
            started = time.perf_counter()
            model(images)
            if turn >= 0:  # the first are for the caches
                seconds[point].append(time.perf_counter() - started)
    return {
        point: statistics.median(t / b for t, b in zip(times, seconds[base], strict=True))
        for point, times in seconds.items()
    }
