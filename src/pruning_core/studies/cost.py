"""What a training run cost beside a dense one, in multiply-accumulates, from its trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pruning_core.models import MODELS
from pruning_core.studies.intervals import mean_interval
from pruning_core.studies.records import multiply_accumulates
from pruning_core.studies.tables import setting


def costs(model: str, after: Sequence[Sequence[int]]) -> np.ndarray:
    """Multiply-accumulates of a forward pass before the first epoch and after each one.

    Args:
        model: whose dense sizes come first.
        after: the architecture after each epoch, E of them.

    Returns:
        Shape (E + 1,); an epoch costs what stands at its beginning.
    """
    known = MODELS[model]
    # Of a model whose number of sections may be chosen, each has a size, 0 once it has left.
    sections = len(after[0]) - len(known.units) + 1 if known.sections else 0
    sizes = [known.dense(sections=sections), *after]
    return np.array([multiply_accumulates(list(size), model) for size in sizes], dtype=float)


def relative_cost(costs: ArrayLike) -> float:
    """ρ: the cost of all epochs beside as many dense ones; ``costs`` as :func:`costs` has them."""
    c = np.asarray(costs)
    return float(c[:-1].mean() / c[0])


def departure(costs: ArrayLike) -> tuple[float, float]:
    """Share of the multiply-accumulates that left, and the mean epoch after which they did.

    Returns:
        s in [0, 1), and t̄ in [1, E], such that ρ = 1 − s (1 − t̄/E); t̄ is NaN if nothing left.
    """
    c = np.asarray(costs)
    left = c[:-1] - c[1:]
    gone = left.sum()
    when = np.arange(1, len(c)) @ left / gone if gone else np.nan
    return float(gone / c[0]), float(when)


def passes(architecture: Sequence[int], *, gated_inputs: bool) -> tuple[int, int]:
    """Multiply-accumulates of the forward and of the backward pass of a fully connected network.

    A bias is the weight of an input that is always 1. The backward pass needs the gradient of
    every weight, and of every input that depends on what is learned: not of the ones, and of the
    first layer's inputs only where gates on them have to learn.

    Args:
        architecture: inputs and hidden units; 10 outputs follow.
        gated_inputs: whether the inputs have gates.
    """
    sizes = [*architecture, 10]
    forward = sum((a + 1) * b for a, b in pairwise(sizes))
    without_gradient = sum(sizes[1:]) + (0 if gated_inputs else sizes[0] * sizes[1])
    return forward, 2 * forward - without_gradient


def by_epoch(epochs: pd.DataFrame) -> pd.DataFrame:
    """A row for each epoch of each run: share of the dense cost, and of what was saved so far.

    Args:
        epochs: of :func:`pruning_core.studies.tables.epochs`.

    Returns:
        Columns ``point``, ``seed``, ``epoch``; ``cost``, in percent of a dense epoch's; ``saved``,
        what this epoch and those before it saved, in percent of as many dense epochs; ``seconds``.
    """
    parts = []
    for _, run in epochs.groupby("run", sort=False):
        run = run.sort_values("epoch")
        c = costs(run["model"].iloc[0], list(run["architecture"]))
        share = 100 * c[:-1] / c[0]
        so_far = np.cumsum(100 - share) / np.arange(1, len(share) + 1)
        part = run[["point", "seed", "epoch", "seconds"]]
        parts.append(part.assign(cost=share, saved=so_far))
    return pd.concat(parts, ignore_index=True)


def departures(epochs: pd.DataFrame) -> pd.DataFrame:
    """Of each run: point, seed, epochs E, ρ in percent, share gone s in percent, and t̄."""
    found = []
    for _, run in epochs.groupby("run", sort=False):
        run = run.sort_values("epoch")
        c = costs(run["model"].iloc[0], list(run["architecture"]))
        gone, when = departure(c)
        first = run.iloc[0]
        found.append(
            {
                "point": first["point"],
                "seed": first["seed"],
                "epochs": len(run),
                "rho": 100 * relative_cost(c),
                "gone": 100 * gone,
                "departure": when,
                "dense_epochs": relative_cost(c) * len(run),
            }
        )
    return pd.DataFrame(found)


def with_work(rows: pd.DataFrame) -> pd.DataFrame:
    """Runs with ``work``, in epochs of the dense network, and ``price``; each run once.

    ``price`` is that of the first gate, in nats; NaN for dense networks. ``trained`` says both of
    them in words: "dense, 20 epochs", "pruned, 28 nats".

    Args:
        rows: of :func:`pruning_core.studies.tables.runs`, of dense and of Bernoulli runs, of one or
            several studies.
    """
    rows = rows.drop_duplicates("run")
    dense = rows["method"] == "dense"
    price = setting(rows, "log_gamma").astype(float)
    trained = rows["epochs"].map("dense, {:g} epochs".format)
    return rows.assign(
        work=rows["training_macs_percent"] / 100 * rows["epochs"],
        price=price.where(~dense),
        trained=trained.where(dense, price.map("pruned, {:g} nats".format)),
    )


def work_and_error(rows: pd.DataFrame) -> pd.DataFrame:
    """What each network cost to train, and its error: means over the seeds.

    Args:
        rows: of :func:`with_work`.

    Returns:
        A row for each model, method, price and number of epochs, with ``work``, in epochs of the
        dense network; ``error`` in percent with the ends ``low`` and ``high`` of its 95 % t
        interval; and ``n``.
    """
    kind, found = ["model", "method", "price", "epochs"], []
    for _, runs in rows.groupby(kind, dropna=False):
        error, low, high = mean_interval(runs["test_error_percent"].to_numpy())
        measured = {"work": runs["work"].mean(), "error": error, "low": low, "high": high}
        found.append({**runs[kind].iloc[0].to_dict(), **measured, "n": len(runs)})
    return pd.DataFrame(found, columns=[*kind, "work", "error", "low", "high", "n"])
