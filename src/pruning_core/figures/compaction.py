"""Removing units: a layer's weights before and after, and what fewer units save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from pruning_core.figures.style import DENSE, PALETTE, STYLE, WIDTH, Picture

_LINES = ("-", "--", "-.")


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
