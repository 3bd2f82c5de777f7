"""What learning λ does: penalties and slopes, thresholding rules, paths of (w, λ)."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pruning_core.baselines.penalties import Penalty
from pruning_core.figures.style import DENSE, PALETTE, STYLE, WIDTH, Picture, legend_below
from pruning_core.halo import optimal_coefficient

COLOURS = {"ridge": DENSE, "lasso": PALETTE[1], "hard": PALETTE[2], "bridge": PALETTE[0]}
DASHES = {"ridge": ":", "lasso": "--", "hard": "-.", "bridge": "-"}

Path = tuple[Tensor, Tensor]
"""w and λ after every step, as :func:`~pruning_core.theory.single_weight.joint_path` has them."""


def penalties_and_slopes(penalties: Mapping[str, Penalty], largest: float = 2.0) -> Figure:
    """Each penalty beside its slope, against |w|.

    Args:
        penalties: by name, a key of ``COLOURS``.
        largest: end of the axis of |w|.
    """
    sizes = torch.linspace(1e-3, largest, 800, dtype=torch.float64)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.0, 3.2), layout="constrained")
        axes = figure.subplots(1, 2)
        for name, penalty in penalties.items():
            style = {"color": COLOURS[name], "ls": DASHES[name], "lw": 2, "label": name}
            axes[0].plot(sizes, penalty.values([sizes])[0], **style)
            axes[1].plot(sizes, penalty.slopes([sizes])[0], **style)
        axes[0].set(title="price of a weight", ylabel="P", ylim=(0, 2.5))
        axes[1].set(title="its slope", ylabel="dP/d|w|", ylim=(0, 2.5))
        for axis in axes:
            axis.set(xlabel="|w|", xlim=(0, largest))
        axes[0].legend(loc="upper left")
    return figure


def thresholding_rules(rules: Mapping[str, Tensor], values: Tensor, threshold: float) -> Figure:
    """What each rule makes of z; gaps are drawn where a rule jumps.

    Args:
        rules: by name, a key of ``COLOURS``, the minimiser w for every z; shape (n,).
        values: z, increasing; shape (n,).
        threshold: where the rules leave zero, marked.
    """
    z = values.numpy()
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 4.4), layout="constrained")
        axis = figure.subplots()
        axis.plot(z, z, color="#bbbbbb", lw=1)
        axis.axvline(threshold, color="#bbbbbb", lw=1)
        axis.text(threshold, z[-1], " threshold", va="top", color=DENSE)
        for name, minimiser in rules.items():
            w = minimiser.numpy().copy()
            jumps = np.abs(np.diff(w, append=w[-1])) > 10 * (z[1] - z[0])
            w[jumps] = np.nan
            axis.plot(z, w, color=COLOURS[name], ls=DASHES[name], lw=2, label=name)
        axis.set(xlabel="weight without a penalty, z", ylabel="weight with it, w")
        legend_below(figure, axis)
    return figure


def paths(by_title: Mapping[str, Path], xi: float, psi: float) -> Figure:
    """Paths of (w, λ) from several starts, a panel each, with the curve λ = λ*(w).

    Args:
        by_title: by title of the panel, w and λ of shape (steps + 1, starts).
        xi: ξ of the curve.
        psi: ψ of the curve.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.0, 3.4), layout="constrained")
        axes = figure.subplots(1, len(by_title), sharex=True, sharey=True, squeeze=False)[0]
        for axis, (title, (weights, coefficients)) in zip(axes, by_title.items(), strict=True):
            sizes = torch.linspace(0, 1.3, 400, dtype=torch.float64)
            curve = optimal_coefficient(sizes, xi, psi)
            axis.plot(sizes, curve, color=DENSE, ls="--", label="λ*(w)")
            for w, c in zip(weights.T.numpy(), coefficients.T.numpy(), strict=True):
                colour = PALETTE[0] if w[-1] else PALETTE[1]
                axis.plot(w, c, color=colour, lw=1.6)
                axis.plot(w[0], c[0], "o", color=colour, ms=5)
                axis.plot(w[-1], c[-1], "*", color="black", ms=11, zorder=5, clip_on=False)
            axis.set(title=title, xlabel="w", ylabel="λ", xlim=(-0.05, 1.3), ylim=(0, 2.1))
            axis.tick_params(labelleft=True)
            axis.legend(loc="lower right")
    return figure


def lag(by_ratio: Mapping[float, Path], step: float, xi: float, psi: float) -> Figure:
    """One weight and its λ over time, for several speeds of λ; dashed, λ*(w) at that time.

    Args:
        by_ratio: by learning rate of λ over that of w, both of shape (steps + 1, 1).
        step: learning rate of w; time is step × steps.
        xi: ξ.
        psi: ψ.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 4.6), layout="constrained")
        axes = figure.subplots(2, sharex=True)
        for colour, (ratio, (weights, coefficients)) in zip(
            (PALETTE[1], PALETTE[0], PALETTE[2]), by_ratio.items(), strict=False
        ):
            time = step * np.arange(len(weights))
            axes[0].plot(time, weights[:, 0], color=colour, lw=2, label=f"ratio {ratio:g}")
            axes[1].plot(time, coefficients[:, 0], color=colour, lw=2)
            best = optimal_coefficient(weights[:, 0], xi, psi)
            axes[1].plot(time, best, color=colour, lw=1.3, ls="--")
        axes[0].set(title="the weight", ylabel="w", ylim=(-0.03, 1.03))
        axes[1].set(title="its coefficient, and λ*(w) dashed", ylabel="λ", xlabel="time")
        axes[1].set_ylim(bottom=0)
        axes[0].legend()
    return figure


def reached(values: Tensor, rule: Tensor, ends: Mapping[str, Tensor]) -> Figure:
    """Where joint descent ends for every z, beside the thresholding rule of the marginal.

    Args:
        values: z; shape (n,).
        rule: the global minimiser for every z; shape (n,).
        ends: by label, w after the last step; shape (n,).
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 4.0), layout="constrained")
        axis = figure.subplots()
        lines = {"least of the marginal": rule, **ends}
        looks = (("#cccccc", 9), (PALETTE[1], 6), (PALETTE[0], 3.5), ("black", 1.2))
        for (label, end), (colour, width) in zip(lines.items(), looks, strict=False):
            axis.plot(values, end, color=colour, lw=width, label=label)
        axis.set(xlabel="weight without a penalty, z", ylabel="weight with it, w")
        axis.legend(loc="upper left")
    return figure
