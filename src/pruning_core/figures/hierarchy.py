"""HALO as a hierarchy: densities of priors, their tails, and what they make of an observation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pruning_core.figures.style import DENSE, PALETTE, STYLE, WIDTH, Picture
from pruning_core.theory.priors import LogDensity

_LOOKS: tuple[dict[str, Any], ...] = (
    {"color": PALETTE[0], "ls": "-"},
    {"color": PALETTE[1], "ls": "--"},
    {"color": PALETTE[2], "ls": "-."},
    {"color": PALETTE[4], "ls": (0, (5, 1, 1, 1, 1, 1))},
    {"color": "black", "ls": ":"},
)


def densities(priors: Mapping[str, LogDensity], near: float = 1.0, far: float = 10.0) -> Figure:
    """Each prior's density on a logarithmic axis: near zero, and out in its tails.

    Args:
        priors: by name, log p(w); at most five.
        near: end of the left panel's axis of |w|.
        far: end of the right panel's.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.0, 3.9), layout="constrained")
        axes = figure.subplots(1, 2)
        for axis, end in zip(axes, (near, far), strict=True):
            sizes = torch.linspace(2e-3, end, 400, dtype=torch.float64)
            for (name, prior), look in zip(priors.items(), _LOOKS, strict=False):
                axis.semilogy(sizes, prior(sizes).exp(), lw=2, label=name, **look)
            axis.set(xlabel="|w|", xlim=(0, end))
        axes[0].set(title="near zero", ylabel="density p(w)", ylim=(0.03, 20))
        axes[1].set(title="in the tails", ylim=(1e-8, 20))
        _legend_below(figure, axes[0])
    return figure


def integrated_and_maximised(
    sizes: Tensor, integrated: Tensor, maximised: Tensor, tail: Tensor
) -> Figure:
    """−log of the marginal prior beside the marginal penalty, and their difference.

    Args:
        sizes: |w|, increasing; shape (n,).
        integrated: −log p(w) less its value at 0; shape (n,).
        maximised: the least of the penalty over λ; shape (n,).
        tail: the asymptotic form of ``integrated``; shape (n,).
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.6), layout="constrained")
        axis = figure.subplots()
        axis.semilogx(sizes, maximised, lw=2, label="λ at its best", **_LOOKS[1])
        axis.semilogx(sizes, integrated, lw=2, label="λ integrated out", **_LOOKS[0])
        far = sizes > 0.3
        axis.semilogx(sizes[far], tail[far], lw=2, label="its form for large |w|", **_LOOKS[4])
        axis.set(xlabel="|w|, in units of 1/(ξψ²)", ylabel="price above that of w = 0, nats")
        axis.legend()
    return figure


def shrinkage_profiles(
    observed: Tensor, means: Mapping[str, Tensor], modes: Mapping[str, Tensor]
) -> Figure:
    """What is taken from an observation z: by posterior means, and by minimisers of penalties.

    Args:
        observed: z, increasing; shape (n,).
        means: by name of the prior, E[w | z]; shape (n,); at most five.
        modes: by name of the penalty, its thresholding rule; shape (n,); at most five.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.0, 4.6), layout="constrained")
        axes = figure.subplots(1, 2, sharex=True, sharey=True)
        titles = ("posterior mean", "posterior mode")
        for axis, title, found in zip(axes, titles, (means, modes), strict=True):
            axis.plot(observed, observed, color="#bbbbbb", lw=1)
            for (name, values), look in zip(found.items(), _LOOKS, strict=False):
                axis.plot(observed, observed - values, lw=2, label=name, **look)
            axis.set(title=title, xlabel="observation z", ylim=(0, 3.9))
            axis.set_ylabel("taken from it, z − w")
            axis.tick_params(labelleft=True)
            axis.text(2.6, 3.3, "all of it", color=DENSE, ha="right")
            axis.legend(fontsize=10, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


def _legend_below(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
