"""Sparsity priors as penalties: the figures."""

from __future__ import annotations

import math
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pruning_core.baselines.penalties import Penalty
from pruning_core.figures.style import DENSE, KEPT, PALETTE, REMOVED, STYLE, WIDTH, Picture

LINES = ("-", "--", "-.", ":", (0, (4, 1, 1, 1, 1, 1)))


def touching_point(q: float, centre: Tensor, curvature: Tensor) -> Tensor:
    """Where the unit ball of ℓ_q is met by the first level of ½(w − c)ᵀA(w − c); shape (2,).

    Args:
        q: > 0.
        centre: c, outside of the ball; shape (2,).
        curvature: A, positive definite; shape (2, 2).
    """
    points = _unit_circle(q)
    return points[_loss(points, centre, curvature).argmin()]


def prices_and_slopes(penalties: Mapping[str, Penalty], largest: float = 3.0) -> Figure:
    """P(w), and its derivative for w > 0, for several penalties."""
    right = torch.linspace(1e-3, largest, 600, dtype=torch.float64)
    both = torch.cat([-right.flip(0), right])
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.0, 3.6), layout="constrained")
        axes = figure.subplots(1, 2)
        for index, (name, penalty) in enumerate(penalties.items()):
            look = {"color": PALETTE[index], "ls": LINES[index], "lw": 2, "label": name}
            axes[0].plot(both, penalty.values([both])[0], **look)
            axes[1].plot(right, penalty.slopes([right])[0], **look)
        axes[0].set(title="price P(w), nats", xlabel="weight w", ylim=(-1.5, 4.5))
        axes[1].set(title="derivative P′(w)", xlabel="weight w", ylim=(0, 4.5))
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def loss_meets_balls(
    balls: Mapping[str, float], centre: Tensor, curvature: Tensor, reach: float = 1.75
) -> Figure:
    """Levels of a quadratic loss in two weights, and the point of a ball that they touch first.

    Args:
        balls: by title, q of the unit ball of ℓ_q.
        centre: minimum of the loss; shape (2,).
        curvature: its second derivative; shape (2, 2).
        reach: largest weight shown.
    """
    grid = torch.linspace(-1.25, reach, 200, dtype=torch.float64)
    plane = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1)
    loss = _loss(plane, centre, curvature)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.0, 2.5), layout="constrained")
        axes = figure.subplots(1, len(balls), sharey=True)
        for axis, (title, q) in zip(axes, balls.items(), strict=True):
            point = touching_point(q, centre, curvature)
            level = float(_loss(point, centre, curvature))
            levels = [0.25 * level, level, 2.5 * level]
            axis.contour(grid, grid, loss, levels=levels, colors=DENSE, linewidths=1)
            ball = _unit_circle(q, 401)
            axis.fill(*ball.T, color=KEPT, alpha=0.3, lw=0)
            axis.plot(*ball.T, color=KEPT, lw=1.5)
            axis.plot(*centre, "+", color=DENSE, markersize=9)
            axis.plot(*point, "o", color=REMOVED, markersize=8, markeredgecolor="white")
            axis.set(title=title, xlabel="w₁", aspect="equal", xlim=(-1.25, reach))
            axis.set_ylabel("w₂")
            axis.tick_params(labelleft=True)
            axis.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1], ylim=(-1.25, reach))
    return figure


def estimates(rules: Mapping[str, Tensor], values: Tensor) -> Figure:
    """The estimate of a weight against where the data alone would put it, a panel a penalty.

    Args:
        rules: by name, the estimates; shape (k,).
        values: z; shape (k,).
    """
    columns = 2
    rows = -(-len(rules) // columns)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 1.9 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axis, (name, rule) in zip(axes.flat, rules.items(), strict=True):
            jumps = (rule.diff().abs() > 0.3).nonzero().flatten() + 1
            drawn = np.insert(rule.double().numpy(), jumps.numpy(), np.nan)
            places = np.insert(values.double().numpy(), jumps.numpy(), np.nan)
            axis.plot(values, values, color=DENSE, lw=1, ls=":")
            axis.plot(places, drawn, color=KEPT, lw=2)
            axis.set(title=name, xlim=(float(values[0]), float(values[-1])))
        for axis in axes[-1]:
            axis.set_xlabel("data alone, z")
        for axis in axes[:, 0]:
            axis.set_ylabel("estimate")
    return figure


def _unit_circle(q: float, count: int = 40_001) -> Tensor:
    """Points with |w₁|^q + |w₂|^q = 1, the corners among them if 4 divides count − 1."""
    angles = torch.linspace(0, 2 * math.pi, count, dtype=torch.float64)
    circle = torch.stack([angles.cos(), angles.sin()], -1)
    return circle.sign() * circle.abs() ** (2 / q)


def _loss(points: Tensor, centre: Tensor, curvature: Tensor) -> Tensor:
    away = points - centre
    return 0.5 * torch.einsum("...i,ij,...j", away, curvature, away)
