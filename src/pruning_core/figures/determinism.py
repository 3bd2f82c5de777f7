"""Why θ ends at 0 or 1: the objective over two probabilities, their paths, and moving weights."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from pruning_core.figures.style import DENSE, PALETTE, STYLE, WIDTH, Picture
from pruning_core.theory.enumeration import differences, expectation
from pruning_core.theory.saddle import saddle, separatrix

SEPARATRIX, PATH = PALETTE[1], "#1f2933"


def landscape(table: Tensor, log_gamma: float, others: Tensor, paths: Tensor) -> Figure:
    """J over θ₁ and θ₂, its saddle and separatrix, and paths of projected gradient steps.

    Args:
        table: losses of all masks in nats, shape (2ⁿ,).
        log_gamma: price of a unit in nats.
        others: values at which the other probabilities are held, shape (n − 2,).
        paths: of the first two probabilities, shape (steps + 1, paths, ≥ 2).
    """
    axis_values = torch.linspace(0, 1, 41, dtype=torch.float64)
    first, second = torch.meshgrid(axis_values, axis_values, indexing="xy")
    rest = others.to(torch.float64).expand(*first.shape, -1)
    theta = torch.cat([first[..., None], second[..., None], rest], -1)
    height = expectation(table, theta) + log_gamma * theta.sum(-1)
    downhill = -(differences(table, theta)[..., :2] + log_gamma)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Picture(figsize=(WIDTH, 3.5), layout="constrained")
        axis = figure.subplots()
        filled = axis.contourf(first, second, height, levels=10, cmap="Blues")
        figure.colorbar(filled, ax=axis, label="J (nats)", location="bottom", shrink=0.8)
        axis.streamplot(
            axis_values.numpy(),
            axis_values.numpy(),
            downhill[..., 0].numpy(),
            downhill[..., 1].numpy(),
            color="#ffffff",
            linewidth=0.6,
            arrowsize=0.8,
            density=0.7,
        )
        line = separatrix(table, log_gamma, others)
        middle = saddle(table, log_gamma, others).tolist()
        axis.plot(*line.T, color=SEPARATRIX, lw=3, ls=(0, (4, 1.5)))
        axis.plot(*middle, "X", color=SEPARATRIX, mec="white", ms=13)
        for path in paths.movedim(0, 1).numpy():
            axis.plot(path[:, 0], path[:, 1], color=PATH, lw=1.8, clip_on=False)
            axis.plot(*path[0, :2], "o", color="white", mec=PATH, ms=7, clip_on=False)
            axis.plot(*path[-1, :2], "o", color=PATH, mec="white", ms=10, clip_on=False, zorder=5)
        axis.text(middle[0] + 0.03, middle[1] - 0.04, "saddle", ha="center", va="top", color=PATH)
        axis.text(0.96, 0.03, "unit 1 stays", ha="right", color=PATH)
        axis.text(0.04, 0.96, "unit 2 stays", ha="left", va="top", color=PATH)
        axis.set(xlabel="θ₁", ylabel="θ₂", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return figure


def paths_to_the_ends(path: Tensor, labels: list[str]) -> Figure:
    """Every θ_i against the number of steps.

    Args:
        path: shape (steps + 1, n).
        labels: what the n units are.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.2), layout="constrained")
        axis = figure.subplots()
        for i, (label, line) in enumerate(zip(labels, path.T.numpy(), strict=True)):
            axis.plot(line, color=PALETTE[i], lw=2, ls=["-", "--", "-.", ":"][i % 4], label=label)
        axis.set(xlabel="step", ylabel="θ", xlim=(0, len(path) - 1), ylim=(-0.03, 1.03))
        axis.legend(loc="center right")
    return figure


def lines_and_envelope(off: Tensor, on: Tensor) -> Figure:
    """J(W, θ) against θ for several weights W, straight lines, and the lowest at each θ.

    Args:
        off: J at θ = 0 for each of the weights, in nats, shape (k,).
        on: J at θ = 1, shape (k,).
    """
    theta = np.linspace(0, 1, 201)
    lines = np.outer(off, 1 - theta) + np.outer(on, theta)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.4), layout="constrained")
        axis = figure.subplots()
        segments = [[(0.0, float(a)), (1.0, float(b))] for a, b in zip(off, on, strict=True)]
        axis.add_collection(LineCollection(segments, colors=["#b5b5b5"], linewidths=0.8))
        axis.plot([], [], color="#b5b5b5", label="one setting of the weights")
        axis.plot(theta, lines.min(0), color=PALETTE[0], lw=2.5, label="the best weights for θ")
        ends = lines.min(0)[[0, -1]]
        axis.plot([0, 1], ends, color=DENSE, ls=":", label="chord")
        axis.set(xlabel="θ", ylabel="J (nats)", xlim=(0, 1))
        span = float(ends.max() - lines.min())
        axis.set_ylim(float(lines.min()) - 0.1 * span, float(ends.max()) + 0.6 * span)
        axis.legend()
    return figure
