"""A run while it trains: the panels of the page "Prune it in the page", from a run in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from pruning_core.figures.style import DENSE, KEPT, PALETTE, REMOVED, STYLE

PIXELS = "input pixels"
"""Name of the column that is drawn as an image."""

_COLOURS = (PALETTE[1], PALETTE[2], PALETTE[4])
"""Of the columns; that of the pixels is PALETTE[0]."""

_LINKS = 150
"""Drawn between two columns: the strongest."""

_ROWS = 50
"""Units above each other; larger columns are as many units wide as they need."""

_PERCENT = [1, 2, 5, 10, 20, 50, 100]


@dataclass(frozen=True)
class Column:
    """The units of one layer, as they are after an epoch; n of them are left.

    Attributes:
        name: of the kind of units.
        total: units at the start.
        index: numbers that the units had at the start; shape (n,).
        strength: θ, or another size from 0 to 1; shape (n,).
        gone: numbers of those that have left since the picture before.
        worth: in nats, if it was measured; shape (n,).
        price: in nats, that each is charged at present.
    """

    name: str
    total: int
    index: np.ndarray
    strength: np.ndarray
    gone: np.ndarray
    worth: np.ndarray | None = None
    price: float | None = None

    @property
    def title(self) -> str:
        """The name, with how many are left."""
        return f"{self.name}\n{len(self.index)} of {self.total}"


def progress(
    trajectory: Sequence[Mapping[str, Any]],
    recorded: pd.DataFrame,
    weights_total: int,
    columns: Sequence[Column],
    links: Sequence[np.ndarray],
    weights: np.ndarray,
    coefficients: np.ndarray | None = None,
) -> Figure:
    """Pixels and units with what is left of them, what they are worth, error and size over time.

    In place of the worth there stand HALO's coefficients beside the weights, or the weights.

    Args:
        trajectory: as :class:`pruning_core.experiments.loop.Trainer` has it; one epoch at least.
        recorded: operating points of the same model, with columns weights_percent and error.
        weights_total: of the dense network.
        columns: the units in the order of the layers; pixels are drawn as an image.
        links: between two columns that follow each other, and from the last to the digits: how
            strong; shape (n of the next, n of this).
        weights: |w| of every weight; shape (m,).
        coefficients: λ of every weight; shape (m,).
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 8.4), layout="constrained")
        rows: Any = figure.subfigures(3, 1, height_ratios=(3.4, 2.6, 2.2))
        has_mask = columns[0].name == PIXELS
        board = rows[0].subplots(1, 1 + has_mask, squeeze=False)[0]
        if has_mask:
            _draw_mask(board[0], columns[0])
        _draw_network(board[-1], columns, links)
        chart = rows[1].subplots()
        if columns[0].worth is not None:
            _draw_worth(chart, columns)
        elif coefficients is not None:
            _draw_coefficients(chart, weights, coefficients)
        else:
            chart.hist(np.log10(weights[weights > 0]), bins=60, color=KEPT)
            chart.set(title="log₁₀ |w| of the weights that are not zero", yscale="log")
        _draw_time(rows[2].subplots(1, 3), trajectory, recorded, weights_total)
    return figure


def _draw_mask(axis: Axes, pixels: Column) -> None:
    side = math.isqrt(pixels.total)
    image = np.zeros(pixels.total)
    image[pixels.index] = 0.1 + 0.9 * pixels.strength
    light = LinearSegmentedColormap.from_list("", ["#eef1f4", PALETTE[0]])
    axis.imshow(image.reshape(side, side), cmap=light, vmin=0, vmax=1)
    if len(pixels.gone):
        y, x = np.divmod(pixels.gone, side)
        axis.plot(x, y, "s", mfc="none", mec=REMOVED, ms=3, mew=0.8)
    axis.set_title(pixels.title.replace("\n", ": "))
    axis.set_axis_off()


def _draw_network(axis: Axes, columns: Sequence[Column], links: Sequence[np.ndarray]) -> None:
    """Columns of units, faint where θ is small; those that have left are rings, and then specks."""
    shown = [column for column in columns if column.name != PIXELS]
    places = [_places(column.total, across) for across, column in enumerate(shown)]
    ends = [(place, column.index) for place, column in zip(places, shown, strict=True)]
    ends.append((_places(10, len(shown)), np.arange(links[-1].shape[0])))
    for (start, end), strengths in zip(pairwise(ends), links[-len(shown) :], strict=True):
        _draw_links(axis, start[0][start[1]], end[0][end[1]], strengths)
    for place, column, colour in zip(places, shown, _COLOURS, strict=False):
        size = 26 if column.total <= 2 * _ROWS else 5
        axis.scatter(*place.T, s=size / 8, color="#c9d0d7", linewidths=0, zorder=2)
        axis.scatter(*place[column.gone].T, s=size, c="none", edgecolors=[colour], lw=0.8, zorder=3)
        axis.scatter(*place[column.index].T, s=size, color="white", linewidths=0, zorder=3)
        faded = _faded(colour, column.strength)
        axis.scatter(*place[column.index].T, s=size, c=faded, linewidths=0, zorder=4)
    for digit, (x, y) in enumerate(ends[-1][0][: links[-1].shape[0]]):
        axis.text(x, y, str(digit), ha="center", va="center", backgroundcolor="white", fontsize=9)
    axis.set_xticks(range(len(shown) + 1), [*(column.title for column in shown), "digits"])
    axis.tick_params(axis="x", length=0, top=False, labeltop=True, labelbottom=False)
    axis.yaxis.set_major_locator(NullLocator())
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    axis.set(xlim=(-0.45, len(shown) + 0.25), ylim=(-1.05, 1.05))


def _faded(colour: Any, strength: np.ndarray) -> np.ndarray:
    """The colour of each unit, shape (n, 4): the stronger, the less transparent."""
    colours = np.tile(to_rgba(colour), (len(strength), 1))
    colours[:, 3] = 0.15 + 0.85 * strength
    return colours


def _places(total: int, across: int) -> np.ndarray:
    """Of the units of a column, shape (total, 2): row by row, from the top."""
    wide = math.ceil(total / _ROWS)
    unit = np.arange(total)
    tall = max(2, math.ceil(total / wide))
    x = across + 0.05 * (unit % wide - (wide - 1) / 2)
    return np.stack([x, 1 - 2 * (unit // wide) / (tall - 1)], axis=1)


def _draw_links(axis: Axes, start: np.ndarray, end: np.ndarray, strengths: np.ndarray) -> None:
    if not strengths.any():
        return
    strongest = np.argsort(strengths, axis=None)[-_LINKS:]
    outputs, inputs = np.unravel_index(strongest, strengths.shape)
    alpha = 0.35 * strengths[outputs, inputs] / strengths.max()
    lines = np.stack([start[inputs], end[outputs]], axis=1)
    axis.add_collection(
        LineCollection(list(lines), colors=_faded(DENSE, alpha), linewidths=0.7, zorder=1)
    )


def _draw_worth(axis: Axes, columns: Sequence[Column]) -> None:
    """A dot for each unit, and a line for the price, in a band for each column."""
    colours = iter(_COLOURS)
    for band, column in enumerate(columns):
        assert column.worth is not None
        assert column.price is not None
        colour = PALETTE[0] if column.name == PIXELS else next(colours)
        # A height of its own for each unit, which it keeps.
        height = band - 0.35 + 0.7 * (0.618034 * column.index % 1)
        axis.scatter(column.worth, height, s=10, c=_faded(colour, column.strength), linewidths=0)
        axis.plot([column.price] * 2, [band - 0.48, band + 0.48], color=PALETTE[3], lw=2)
        axis.annotate(
            f"price {column.price:.3g}",
            (column.price, band - 0.48),
            (3, 0),
            textcoords="offset points",
            color=PALETTE[3],
            fontsize=9,
            va="top",
            bbox={"color": "white", "pad": 0.5, "alpha": 0.8},
        )
    axis.set_xscale("symlog", linthresh=10)
    axis.set_yticks(range(len(columns)), [column.name for column in columns])
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="y", length=0)
    axis.set(
        title="what each unit is worth, and what it costs",
        xlabel="nats over the training set",
        xlim=(-300, 3e4),
        ylim=(len(columns) - 0.5, -0.6),
    )


def _draw_coefficients(axis: Axes, weights: np.ndarray, coefficients: np.ndarray) -> None:
    """Where the weights are among |w| and λ, darker for more of them."""
    axis.hexbin(
        np.maximum(weights, 1e-8),
        coefficients,
        xscale="log",
        yscale="log",
        bins="log",
        gridsize=(70, 22),
        extent=(-8, 1, -3, 1),
        cmap=LinearSegmentedColormap.from_list("", ["#dbe7f1", KEPT, "#06304d"]),
        mincnt=1,
        linewidths=0.1,
    )
    axis.set(
        title="λ of each weight, and its size; darker for more weights",
        xlabel="|w|, those below 10⁻⁸ at its left end",
        ylabel="λ",
    )


def _draw_time(
    axes: np.ndarray,
    trajectory: Sequence[Mapping[str, Any]],
    recorded: pd.DataFrame,
    weights_total: int,
) -> None:
    epochs = [record["epoch"] for record in trajectory]
    errors = [record["test_error_percent"] for record in trajectory]
    kept = [100 * record["weights_kept"] / weights_total for record in trajectory]
    error, size, plane = axes
    error.plot(epochs, errors, ".-", color=KEPT)
    error.set(title="test error, %", xlabel="epoch", yscale="log", ylim=(0.5, 110))
    size.plot(epochs, kept, ".-", color=KEPT)
    size.set(title="weights kept, %", xlabel="epoch", yscale="log", ylim=(0.8, 110))
    plane.plot(
        recorded["weights_percent"], recorded["error"], "o", color=DENSE, ms=3, label="recorded"
    )
    plane.plot(kept[-1], errors[-1], "*", color=PALETTE[1], ms=12, label="this run")
    plane.set(title="error against weights", xscale="log", yscale="log")
    plane.set(xlim=(0.8, 130), ylim=(0.5, 110))
    plane.legend(fontsize=9)
    for axis in (error, size):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (error.yaxis, size.yaxis, plane.xaxis, plane.yaxis):
        axis.set_ticks(_PERCENT, list(map(str, _PERCENT)))
        axis.set_minor_locator(NullLocator())
