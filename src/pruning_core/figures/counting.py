"""Why prune: the counts of a network, and what removal does to a weight matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

from pruning_core.figures.style import (
    DENSE,
    KEPT,
    PALETTE,
    REMOVED,
    STYLE,
    WIDTH,
    Picture,
    legend_below,
)

MARKERS = "osD^v"


def zeros_and_gaps(sparse: Tensor, kept_rows: Tensor, kept_columns: Tensor) -> Figure:
    """A matrix with zeros anywhere beside one that has lost rows and columns.

    Args:
        sparse: the first matrix; shape (m, n).
        kept_rows: rows the second matrix still has; bool, shape (m,).
        kept_columns: its columns; bool, shape (n,).
    """
    smaller = kept_rows[:, None] & kept_columns[None, :]
    panels = {
        f"single weights removed\nstill {sparse.shape[0]} × {sparse.shape[1]}": sparse != 0,
        f"units removed\nstored as {int(kept_rows.sum())} × {int(kept_columns.sum())}": smaller,
    }
    colours = ListedColormap(["#f1e3d8", KEPT])
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Picture(figsize=(6.0, 2.9), layout="constrained")
        for axis, (title, kept) in zip(figure.subplots(1, 2), panels.items(), strict=True):
            axis.imshow(kept.numpy(), cmap=colours, interpolation="nearest", vmin=0, vmax=1)
            axis.set(title=title, xlabel="inputs", xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        figure.axes[0].set_ylabel("outputs")
    return figure


def shares_of_dense(shares: Mapping[str, Mapping[str, float]]) -> Figure:
    """Each count of each version of a network, in percent of the dense network's.

    Args:
        shares: by version, by count, percent of dense.
    """
    versions = list(shares)
    counts = list(shares[versions[0]])
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 1.2 + 0.95 * len(versions)), layout="constrained")
        axis = figure.subplots()
        for position, count in enumerate(counts):
            offset = 0.13 * (position - (len(counts) - 1) / 2)
            axis.plot(
                [shares[version][count] for version in versions],
                np.arange(len(versions)) + offset,
                MARKERS[position],
                color=PALETTE[position],
                markersize=7,
                label=count,
            )
        axis.axvline(100, color=DENSE, lw=1)
        for row, version in enumerate(versions):
            axis.text(1.5, row - 0.45, " ".join(version.split()), va="center", fontsize=10)
        axis.set(xlabel="percent of the dense network", xlim=(0, None), yticks=[])
        axis.set_ylim(len(versions) - 0.6, -0.7)
        legend_below(figure, axis)
    return figure


def where_the_counts_are(layers: Mapping[str, Mapping[str, int]]) -> Figure:
    """Two counts of a network, layer by layer, each as a share of its own total.

    Args:
        layers: by count, by layer.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 2.8), layout="constrained")
        axis = figure.subplots()
        names = list(next(iter(layers.values())))
        for shift, colour, (count, by_layer) in zip(
            (-0.2, 0.2), (KEPT, REMOVED), layers.items(), strict=True
        ):
            total = sum(by_layer.values())
            percent = [100 * value / total for value in by_layer.values()]
            places = np.arange(len(by_layer)) + shift
            bars = axis.barh(places, percent, height=0.36, color=colour, label=count)
            axis.bar_label(bars, fmt="%.1f", padding=3, fontsize=10)
        axis.set_yticks(range(len(names)), names)
        axis.invert_yaxis()
        axis.set(xlabel="percent of the whole network", xlim=(0, 105))
        axis.grid(visible=False, axis="y")
        axis.legend(loc="lower right")
    return figure


def compression_factors(zeros_percent: Tensor, factors: Mapping[str, Sequence[float]]) -> Figure:
    """What one network is said to be compressed by, under several conventions.

    Args:
        zeros_percent: shares of zeros; shape (k,).
        factors: by convention, the factor at each of the k shares.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.5), layout="constrained")
        axis = figure.subplots()
        for (name, factor), colour, style in zip(
            factors.items(), PALETTE, ("-", "--", "-.", ":"), strict=False
        ):
            axis.plot(zeros_percent, factor, style, color=colour, label=name, lw=2)
        axis.set(xlabel="zeros, percent", ylabel="compression factor", yscale="log")
        axis.set_yticks([0.5, 1, 3, 10, 30, 100], ["0.5", "1", "3", "10", "30", "100"])
        axis.minorticks_off()
        axis.axhline(1, color=DENSE, lw=1)
        axis.legend(loc="upper left", fontsize=10)
    return figure
