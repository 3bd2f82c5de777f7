"""Optimising HALO: weights coming to rest, coefficients after training, error against zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from pruning_core.figures.results import plain_log, zeros_axis
from pruning_core.figures.style import DENSE, PALETTE, STYLE, WIDTH, Picture, legend_below
from pruning_core.halo import optimal_coefficient
from pruning_core.sparsity import TOLERANCE

Path = tuple[Tensor, Tensor]
"""w and λ after every step, as :func:`~pruning_core.theory.single_weight.joint_path` has them."""


def coming_to_rest(by_label: Mapping[str, Path], resting: float) -> Figure:
    """|w| and λ of one unneeded weight over the steps, for several ways to take them.

    Args:
        by_label: w and λ of shape (steps + 1, 1).
        resting: λ where a chattering weight holds it, marked.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 5.0), layout="constrained")
        axes = figure.subplots(2, sharex=True)
        looks = zip((PALETTE[1], PALETTE[0], PALETTE[2]), ("-", "-", "--"), strict=True)
        for (label, (weights, coefficients)), (colour, dash) in zip(
            by_label.items(), looks, strict=False
        ):
            w = weights[:, 0].abs().numpy()
            steps = np.arange(len(w))
            # A chattering weight is drawn by the mean of its two values.
            smooth = np.convolve(w, [0.5, 0.5], mode="valid")
            smooth[smooth == 0] = np.nan
            axes[0].semilogy(steps[1:], smooth, color=colour, ls=dash, lw=2)
            axes[1].plot(steps, coefficients[:, 0], color=colour, ls=dash, lw=2, label=label)
            if w[-1] == 0:
                last = int(np.flatnonzero(w)[-1])
                axes[0].plot(last, smooth[last - 1], "o", color=colour, ms=8)
        axes[1].axhline(resting, color=DENSE, lw=1, ls=":")
        axes[0].set(title="the weight", ylabel="|w|")
        axes[1].set(title="its coefficient", ylabel="λ", xlabel="step", ylim=(0, 1.02))
        legend_below(figure, axes[1])
    return figure


def histograms(sizes: Sequence[Tensor], coefficients: Sequence[Tensor]) -> Figure:
    """How many weights have which |w|, and which λ, after the first, a middle and the last epoch.

    Args:
        sizes: |w| after each epoch, each of shape (n,); exact zeros are counted in the legend.
        coefficients: λ after each epoch, each of shape (n,).
    """
    chosen = (0, len(sizes) // 2, len(sizes) - 1)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 5.4), layout="constrained")
        axes = figure.subplots(2)
        for epoch, colour, dash in zip(
            chosen, (DENSE, PALETTE[1], PALETTE[0]), (":", "--", "-"), strict=True
        ):
            w, c = sizes[epoch].numpy(), coefficients[epoch].numpy()
            style = {"histtype": "step", "lw": 2, "color": colour, "ls": dash}
            zeros = f", {int((w == 0).sum()):,} zeros" if (w == 0).any() else ""
            axes[0].hist(w[w > 0], bins=np.geomspace(1e-6, 2, 80).tolist(), **style)
            axes[1].hist(c, bins=np.linspace(0, 1.05, 106).tolist(), **style)
            axes[0].plot([], [], color=colour, ls=dash, lw=2, label=f"epoch {epoch + 1}{zeros}")
        axes[0].axvline(TOLERANCE, color="black", lw=1)
        axes[0].text(TOLERANCE, 5e6, " tolerance", va="top")
        axes[0].set(xscale="log", yscale="log", xlabel="|w|", ylabel="parameters", ylim=(0.7, 1e7))
        axes[1].set(yscale="log", xlabel="λ", ylabel="parameters")
        legend_below(figure, axes[0])
    return figure


def weights_and_coefficients(sizes: Tensor, coefficients: Tensor, xi: float, psi: float) -> Figure:
    """λ against |w| of the weights that are left, with the curve λ*(w).

    Args:
        sizes: |w|; shape (n,).
        coefficients: λ; shape (n,).
        xi: ξ of the curve.
        psi: ψ of the curve.
    """
    kept, resting = sizes >= TOLERANCE, (sizes > 0) & (sizes < TOLERANCE)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.8), layout="constrained")
        axis = figure.subplots()
        for chosen, colour, label in (
            (kept, PALETTE[0], "above the tolerance"),
            (resting, PALETTE[1], "biases below it, not rounded"),
        ):
            look = {"color": colour, "ls": "", "marker": "."}
            axis.plot(sizes[chosen], coefficients[chosen], ms=2, rasterized=True, **look)
            axis.plot([], [], label=f"{int(chosen.sum()):,} {label}", **look)
        line = sizes.new_tensor(np.geomspace(TOLERANCE, float(sizes.max()), 200))
        axis.plot(line, optimal_coefficient(line, xi, psi), color="black", ls="--", label="λ*(w)")
        axis.set(xscale="log", xlabel="|w|", ylabel="λ", ylim=(0, None))
        axis.legend(loc="upper left")
    return figure


def error_against_zeros(curves: Mapping[str, Mapping[str, float]]) -> Figure:
    """Test error against the share of zeros, one global threshold each.

    Args:
        curves: by label, error in percent by zeros in percent, as
            :func:`pruning_core.sparsity.sparsity_curve` returns it.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.8), layout="constrained")
        axis = figure.subplots()
        looks = zip((PALETTE[0], DENSE, PALETTE[1]), ("o-", "s--", "^:"), strict=True)
        for (label, curve), (colour, look) in zip(curves.items(), looks, strict=False):
            zeros = [float(share) for share in curve]
            axis.plot(zeros, list(curve.values()), look, color=colour, lw=2, label=label)
        zeros_axis(axis, sorted({float(share) for curve in curves.values() for share in curve}))
        plain_log(axis, "y", np.array([e for curve in curves.values() for e in curve.values()]))
        axis.set_ylabel("test error, percent")
        axis.legend(loc="upper left")
    return figure
