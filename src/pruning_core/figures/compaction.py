"""Removing units: a network and its matrices before and after, and what fewer units save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from pruning_core.figures.style import DENSE, KEPT, PALETTE, STYLE, WIDTH, Picture

_LINES = ("-", "--", "-.")
_COMPUTES, _READS = PALETTE[1], PALETTE[4]
_BELOW = 0.36  # of the height of a drawing, for the matrices

Layers = tuple[Tensor, Tensor]
"""The weights that compute n hidden units, shape (n, m), and those that read them, (k, n)."""


def before_and_after(before: Layers, after: Layers, closed: Tensor) -> Figure:
    """A network with gates on its hidden units, some closed, and what is left without those.

    Below each drawing stand its two matrices. What belongs to a closed unit has one colour in both:
    the weights that compute it, a row of the first matrix, and those that read it, a column of the
    second.

    Args:
        before: of the network with all units.
        after: of the network without the closed ones.
        closed: which gates are; bool, shape (n,).

    Raises:
        ValueError: if ``after`` has not the units that are open.
    """
    hidden = after[0].shape[0], after[1].shape[1]
    left = int((~closed).sum())
    if hidden != (left, left):
        raise ValueError(f"{left} gates are open, but {hidden} units are left in the two matrices")
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Picture(figsize=(6.0, 4.8), layout="constrained")
        axes = figure.subplots(1, 2)
        for axis, title, layers in zip(axes, ("before", "after"), (before, after), strict=True):
            whole = layers is before
            shut = closed if whole else closed[~closed]
            places = np.arange(len(closed)) if whole else np.flatnonzero(~closed)
            axis.set_title(title)
            _draw_network(axis, layers, shut, places, len(closed))
            _draw_matrices(axis.inset_axes((0, 0, 1, _BELOW)), layers, shut, before)
    return figure


def shrinking_matrix(before: Tensor, after: Tensor, rows: Tensor, columns: Tensor) -> Figure:
    """A weight matrix with the rows and columns that go, and the matrix that is left.

    Args:
        before: shape (m, n).
        after: what is left of it.
        rows: which rows go; bool, shape (m,).
        columns: which columns go; bool, shape (n,).
    """
    limit = float(before.abs().max())
    gone = rows.numpy()[:, None] | columns.numpy()[None, :]
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Picture(figsize=(WIDTH, 4.2), layout="constrained")
        heights = [before.shape[0], after.shape[0]]
        axes = figure.subplots(2, height_ratios=heights)
        for axis, matrix in zip(axes, (before, after), strict=True):
            axis.imshow(matrix.numpy(), cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
            axis.set(xticks=[], yticks=[], xlim=(-0.5, before.shape[1] - 0.5))
            axis.set_title(f"{matrix.shape[0]} × {matrix.shape[1]}")
            axis.set_ylabel("computes")
            axis.spines[:].set_visible(False)
        axes[1].set_xlabel("reads", loc="left")
        shade = np.zeros((*gone.shape, 4))
        shade[gone] = (*mpl.colormaps["Greys"](0.55)[:3], 0.85)
        axes[0].imshow(shade, aspect="auto")
    return figure


def macs_against_units(percent: Sequence[float], macs: Mapping[str, Sequence[int]]) -> Figure:
    """Multiply-accumulates of several networks against the share of units kept in every layer.

    Args:
        percent: of the units, in each layer.
        macs: by label, for each share; the last share is the whole network.
    """
    share = np.asarray(percent)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.8), layout="constrained")
        axis = figure.subplots()
        axis.plot(share, share, color=DENSE, lw=1, ls=":", label="linear")
        axis.plot(share, share**2 / 100, color=DENSE, lw=1, label="quadratic")
        for index, (label, counts) in enumerate(macs.items()):
            relative = 100 * np.asarray(counts) / counts[-1]
            axis.plot(
                share, relative, color=PALETTE[index], ls=_LINES[index], marker="o", label=label
            )
        axis.set(xlabel="units kept in every layer (%)", ylabel="multiply-accumulates (%)")
        axis.set(xlim=(0, 101), ylim=(0, 101))
        axis.legend()
    return figure


def _draw_network(
    axis: Axes, layers: Layers, closed: Tensor, places: np.ndarray, num_places: int
) -> None:
    """Inputs, hidden units at these of so many places, outputs; links as thick as the weights."""
    computes, reads = layers
    tallest = max(num_places, computes.shape[1], reads.shape[0])
    inputs = _heights(computes.shape[1], tallest)
    outputs = _heights(reads.shape[0], tallest)
    hidden = _heights(num_places, tallest)[places]
    sides = ((0.0, 1.0, inputs, computes.T, 0), (1.35, 2.35, outputs, reads, 1))
    thickest = float(max(computes.abs().max(), reads.abs().max()))
    for start, end, outer, weights, reading in sides:
        for a, row in zip(outer, weights, strict=True):
            for h, weight, shut in zip(hidden, row, closed, strict=True):
                colour = (_READS if reading else _COMPUTES) if shut else "#aaaaaa"
                width = 0.6 + 2.4 * abs(float(weight)) / thickest
                y = (h, a) if reading else (a, h)
                axis.plot((start, end), y, color=colour, lw=width, ls="--" if shut else "-")
    for x, heights in ((0.0, inputs), (2.35, outputs)):
        axis.plot([x] * len(heights), heights, "o", color=DENSE, ms=9)
    for h, shut in zip(hidden, closed, strict=True):
        face = "white" if shut else KEPT
        axis.plot((1.0, 1.35), (h, h), color=KEPT, lw=2, zorder=3)
        axis.plot(1.0, h, "o", color=KEPT, mfc=face, mew=2, ms=11, zorder=4)
        axis.plot(1.35, h, "s", color=KEPT, mfc=face, mew=2, ms=11, zorder=4)
        gate = "ξ = 0" if shut else "ξ = 1"
        axis.annotate(gate, (1.17, h), (0, 9), textcoords="offset points", ha="center")
    axis.set(xlim=(-0.15, 2.5), ylim=(-0.4 - tallest * _BELOW / (1 - _BELOW), tallest - 0.4))
    axis.axis("off")


def _heights(count: int, tallest: int) -> np.ndarray:
    return np.arange(count)[::-1] + (tallest - count) / 2


def _draw_matrices(axis: Axes, layers: Layers, closed: Tensor, whole: Layers) -> None:
    """W and V side by side, a square an entry, as dark as it is large."""
    widest = whole[0].shape[1] + 1.5 + whole[1].shape[1]
    tallest = max(whole[0].shape[0], whole[1].shape[0])
    largest = float(max(w.abs().max() for w in whole))
    shift = 0.0
    for name, matrix, reading in (("W", layers[0], False), ("V", layers[1], True)):
        for (i, j), weight in np.ndenumerate(matrix.numpy()):
            shut = bool(closed[j] if reading else closed[i])
            colour = (_READS if reading else _COMPUTES) if shut else DENSE
            square = Rectangle((shift + j, -float(i) - 1), 0.9, 0.9)
            square.set(facecolor=(*to_rgb(colour), 0.25 + 0.75 * abs(weight) / largest))
            axis.add_patch(square)
        rows, columns = matrix.shape
        axis.text(shift, 0.15, f"{name}  {rows} × {columns}")
        shift += whole[0].shape[1] + 1.5
    axis.set(xlim=(-0.2, widest), ylim=(-tallest - 0.2, 1.1), aspect="equal")
    axis.axis("off")
