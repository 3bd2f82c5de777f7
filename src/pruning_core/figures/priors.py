"""Sparsity priors as penalties: the figures, and prices that no method here trains with."""

from __future__ import annotations

import math
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.special import exp1
from torch import Tensor

from pruning_core.figures.style import DENSE, KEPT, PALETTE, REMOVED, STYLE
from pruning_core.penalties import Penalty, Tensors

LINES = ("-", "--", "-.", ":", (0, (4, 1, 1, 1, 1, 1)))


class StudentT(Penalty):
    """s log(1 + w²/τ²), minus the log density of Student's t with 2s − 1 degrees of freedom.

    Args:
        strength: s.
        scale: τ > 0, where the price turns from a square to a logarithm.
    """

    def __init__(self, strength: float, scale: float) -> None:
        super().__init__(strength)
        self.scale = scale

    def values(self, weights: Tensors) -> Tensors:
        return [self.strength * torch.log1p((w / self.scale) ** 2) for w in weights]

    def slopes(self, weights: Tensors) -> Tensors:
        return [2 * self.strength * w / (self.scale**2 + w**2) for w in weights]

    def thresholded(self, values: Tensor) -> Tensor:
        """By search, exact to |z|/4000."""
        weights = values[..., None] * torch.linspace(0, 1, 4001, dtype=values.dtype)
        (prices,) = self.values([weights])
        best = (0.5 * (weights - values[..., None]) ** 2 + prices).argmin(-1, keepdim=True)
        return weights.gather(-1, best)[..., 0]


class Count(Penalty):
    """s for every weight that is not zero, as spike-and-slab charges: the hard threshold."""

    def values(self, weights: Tensors) -> Tensors:
        return [self.strength * (w != 0).to(w) for w in weights]

    def slopes(self, weights: Tensors) -> Tensors:
        return [torch.zeros_like(w) for w in weights]

    def thresholded(self, values: Tensor) -> Tensor:
        return values.where(values.abs() > math.sqrt(2 * self.strength), 0.0)


class Horseshoe(Penalty):
    """−log p(w), up to a constant, for a normal w of half-Cauchy scale.

    p(w) = (2π³)^(−1/2) e^x E₁(x) with x = w²/2. It has a pole at 0, so that the minimum of loss
    and penalty is always at 0; the estimate is the posterior mean instead. For |w| below 35.
    """

    def __init__(self) -> None:
        super().__init__(1.0)

    def values(self, weights: Tensors) -> Tensors:
        return [-_scaled_exp1(w).log() for w in weights]

    def slopes(self, weights: Tensors) -> Tensors:
        return [2 / (w * _scaled_exp1(w)) - w for w in weights]

    def thresholded(self, values: Tensor) -> Tensor:
        """E[w | z] for z = w + standard normal noise.

        Given the scale a, the mean is (1 − κ)z with κ = 1/(1 + a²); with κ = sin² φ the mean of
        κ is a ratio of two smooth integrals over φ.
        """
        phi = torch.linspace(0, math.pi / 2, 2001, dtype=torch.float64)
        sine = phi.sin()
        density = sine * torch.exp(-0.5 * (values.double()[..., None] * sine) ** 2)
        kappa = torch.trapezoid(density * sine**2, phi) / torch.trapezoid(density, phi)
        return values * (1 - kappa).to(values)


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
        figure = Figure(figsize=(6.0, 3.6), layout="constrained")
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
        figure = Figure(figsize=(6.0, 2.5), layout="constrained")
        axes = figure.subplots(1, len(balls), sharey=True)
        for axis, (title, q) in zip(axes, balls.items(), strict=True):
            point = touching_point(q, centre, curvature)
            level = float(_loss(point, centre, curvature))
            levels = [0.25 * level, level, 2.5 * level]
            axis.contour(grid, grid, loss, levels=levels, colors=DENSE, linewidths=1)
            axis.fill(*_unit_circle(q).T, color=KEPT, alpha=0.3, lw=0)
            axis.plot(*_unit_circle(q).T, color=KEPT, lw=1.5)
            axis.plot(*centre, "+", color=DENSE, markersize=9)
            axis.plot(*point, "o", color=REMOVED, markersize=8, markeredgecolor="white")
            axis.set(title=title, xlabel="$w_1$", aspect="equal", xlim=(-1.25, reach))
            axis.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1], ylim=(-1.25, reach))
        axes[0].set_ylabel("$w_2$")
    return figure


def estimates(rules: Mapping[str, Tensor], values: Tensor) -> Figure:
    """The estimate of a weight against where the data alone would put it, a panel a penalty.

    Args:
        rules: by name, the estimates; shape (k,).
        values: z; shape (k,).
    """
    columns = 3
    rows = -(-len(rules) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 2.05 * rows), layout="constrained")
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


def _scaled_exp1(weights: Tensor) -> Tensor:
    """e^x E₁(x) at x = w²/2."""
    half_square = 0.5 * weights.double() ** 2
    return torch.as_tensor(exp1(half_square.numpy())) * half_square.exp()


def _unit_circle(q: float) -> Tensor:
    """Points with |w₁|^q + |w₂|^q = 1, the corners among them; shape (k, 2)."""
    angles = torch.linspace(0, 2 * math.pi, 40_001, dtype=torch.float64)
    circle = torch.stack([angles.cos(), angles.sin()], -1)
    return circle.sign() * circle.abs() ** (2 / q)


def _loss(points: Tensor, centre: Tensor, curvature: Tensor) -> Tensor:
    away = points - centre
    return 0.5 * torch.einsum("...i,ij,...j", away, curvature, away)
