"""Hyper-priors: their densities, what they make a unit cost, and where θ comes to rest."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pruning_core.figures.style import PALETTE, STYLE, WIDTH, Picture
from pruning_core.hyperprior import Fixed, HyperPrior, resting_theta

_COLOURS = [PALETTE[0], PALETTE[1], PALETTE[2]]
_DASHES = ["-", "--", "-."]


def densities(priors: Mapping[str, HyperPrior]) -> Figure:
    """p(π) of each hyper-prior on a logarithmic axis; a point mass is an upright line.

    Args:
        priors: at most three, by label.
    """
    pi = torch.linspace(0, 0.999, 1_000, dtype=torch.float64)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.4), layout="constrained")
        axis = figure.subplots()
        for (label, prior), colour, dash in zip(priors.items(), _COLOURS, _DASHES, strict=False):
            if isinstance(prior, Fixed):
                axis.axvline(prior.pi, color=colour, ls=dash, lw=2, label=label)
            else:
                density = prior.log_density(pi).exp().numpy()
                axis.plot(pi.numpy(), density, color=colour, ls=dash, lw=2, label=label)
        axis.set(xlabel="prior probability π", ylabel="density p(π)", yscale="log")
        axis.set(xlim=(-0.02, 1), ylim=(1e-3, 50))
        axis.legend()
    return figure


def costs(priors: Mapping[str, HyperPrior]) -> Figure:
    """cost(θ) in nats under each hyper-prior.

    Args:
        priors: at most three, by label.
    """
    theta = torch.linspace(0, 1, 1_001, dtype=torch.float64)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.6), layout="constrained")
        axis = figure.subplots()
        for (label, prior), colour, dash in zip(priors.items(), _COLOURS, _DASHES, strict=False):
            axis.plot(theta, prior.cost(theta), color=colour, ls=dash, lw=2, label=label)
        axis.set(xlabel="posterior probability θ", ylabel="cost of the unit (nats)", xlim=(0, 1))
        axis.legend()
    return figure


def resting_places(priors: Mapping[str, HyperPrior], worth: Tensor) -> Figure:
    """Where θ comes to rest under each hyper-prior, against what the unit is worth.

    Args:
        priors: at most three, by label.
        worth: in nats, increasing, shape (k,).
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.6), layout="constrained")
        axis = figure.subplots()
        axis.axhspan(0.02, 0.98, color="#f3f3f3", zorder=0)
        axis.text(float(worth[0]) + 0.1, 0.9, "undecided", color="#555555", va="top")
        for (label, prior), colour, dash in zip(priors.items(), _COLOURS, _DASHES, strict=False):
            rest = resting_theta(prior, worth)
            axis.plot(worth, rest, color=colour, ls=dash, lw=2, label=label)
        axis.set(xlabel="what the unit is worth (nats)", ylabel="θ at rest")
        axis.set(xlim=(float(worth[0]), float(worth[-1])), ylim=(-0.03, 1.03))
        axis.legend(loc="center right")
    return figure
