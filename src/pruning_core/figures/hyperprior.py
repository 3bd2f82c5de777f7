"""Hyper-priors: their densities, what they make a unit cost, and where θ comes to rest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from pruning_core.figures.style import DENSE, KEPT, PALETTE, REMOVED, STYLE, WIDTH, Picture
from pruning_core.hyperprior import Fixed, Flattening, HyperPrior, resting_theta
from pruning_core.theory import lower_envelope

_COLOURS = [PALETTE[0], PALETTE[1], PALETTE[2]]
_DASHES = ["-", "--", "-."]
_BY_PI = LinearSegmentedColormap.from_list("pi", [PALETTE[0], PALETTE[4], PALETTE[1]])
"""From a small prior probability to a large one."""


def envelope(
    prior: Flattening, curves: int = 40, shown: Sequence[float] = (0.2, 0.45, 0.7)
) -> Figure:
    """F(θ, π) over θ, a curve for each of many π, and the straight line that all of them touch.

    Args:
        prior: whose cost is the line.
        curves: how many, with the points where they touch spread evenly over θ.
        shown: θ at which the touching curve is drawn strongly.
    """
    theta = _denser_at_the_ends(81)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Picture(figsize=(WIDTH, 3.8), layout="constrained")
        axis = figure.subplots()
        _fan(axis, prior, theta, (torch.arange(curves) + 0.5) / curves, lw=0.8, alpha=0.75)
        axis.plot(theta, prior.cost(theta), color=DENSE, lw=2)
        axis.text(0.98, 0, "the cost: θ log γ", ha="right", va="bottom", color=DENSE)
        for touch in shown:
            at = torch.tensor(touch, dtype=torch.float64)
            pi, cost = prior.optimal_pi(at), float(prior.cost(at))
            curve = lower_envelope.total(prior, theta, pi.expand(len(theta)))
            axis.plot(theta, curve, color=_BY_PI(touch), lw=2.5)
            axis.plot(touch, cost, "o", color=_BY_PI(touch), mec="white", ms=8, zorder=4)
            axis.annotate(
                f"π = {float(pi):.2f}",
                (touch, cost),
                (6, -8),
                textcoords="offset points",
                color=_BY_PI(touch),
                va="top",
            )
        axis.set(xlabel="posterior probability θ", ylabel="nats", xlim=(0, 1))
        axis.set_ylim(-0.12 * prior.price, 2.2 * prior.price)
    return figure


def dent(prior: Flattening, gap: tuple[float, float], curves: int = 40) -> Figure:
    """The same curves above the line, those that touch it within a gap taken away.

    Args:
        prior: whose cost is the line.
        gap: the θ between which the curves that touch the line are taken away.
        curves: how many there were before.
    """
    theta = _denser_at_the_ends(81)
    touching = (torch.arange(curves) + 0.5) / curves
    left = touching[(touching <= gap[0]) | (touching >= gap[1])]
    low, high = prior.optimal_pi(torch.tensor(gap, dtype=torch.float64)).tolist()
    hollow = lower_envelope.dented(prior, theta, low, high) - prior.cost(theta)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Picture(figsize=(WIDTH, 2.8), layout="constrained")
        axis = figure.subplots()
        _fan(axis, prior, theta, left, above_the_line=True, lw=0.8, alpha=0.75)
        axis.fill_between(theta, hollow, color=REMOVED, alpha=0.35, lw=0)
        axis.plot(theta, hollow, color=DENSE, lw=2)
        peak, height = float(theta[hollow.argmax()]), float(hollow.max())
        axis.text(peak, -0.12 * height, "the dent", ha="center", va="top", color=DENSE)
        axis.set(xlabel="posterior probability θ", ylabel="nats above the line", xlim=(0, 1))
        axis.set_ylim(-0.9 * height, 4 * height)
    return figure


def _denser_at_the_ends(points: int) -> Tensor:
    """From 0 to 1, in steps that are shorter where a bowl is steeper."""
    return torch.linspace(0, torch.pi / 2, points, dtype=torch.float64).sin() ** 2


def _fan(
    axis: Axes,
    prior: Flattening,
    theta: Tensor,
    touching: Tensor,
    *,
    above_the_line: bool = False,
    **look: float,
) -> None:
    """The curves that touch the cost at these θ, coloured by π from small to large."""
    base = prior.cost(theta) if above_the_line else torch.zeros_like(theta)
    at = touching.double()
    lines = [
        np.column_stack([theta, lower_envelope.total(prior, theta, pi.expand(len(theta))) - base])
        for pi in prior.optimal_pi(at)
    ]
    colours = _BY_PI(at.numpy())
    axis.add_collection(
        LineCollection(lines, colors=colours, linewidths=look["lw"], alpha=look["alpha"])
    )


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


def theta_at_the_end(epochs: pd.DataFrame, panels: Mapping[str, str]) -> Figure:
    """Shares of the units left, by θ, when their gates are settled; a panel a point, over all runs.

    Args:
        epochs: a row an epoch of each run, with ``point``, ``run``, ``epoch`` and ``theta``.
        panels: by point, its title.

    Raises:
        ValueError: if a point has no run.
    """
    rows = -(-len(panels) // 2)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 1.9 * rows), layout="constrained")
        axes = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False)
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        for axis, (point, title) in zip(axes.flat, panels.items(), strict=False):
            counts = last_theta(epochs.loc[epochs["point"] == point])
            edges = np.linspace(0, 1, len(counts) + 1)
            axis.stairs(100 * counts / counts.sum(), edges, fill=True, color=KEPT)
            axis.set(title=title, xlim=(0, 1), ylim=(0, 100), xticks=[0, 0.5, 1])
        for axis in axes[-1]:
            axis.set_xlabel("θ")
        for axis in axes[:, 0]:
            axis.set_ylabel("% of units")
    return figure


def last_theta(epochs: pd.DataFrame) -> np.ndarray:
    """Units by θ in equal bins from 0 to 1, all gates and runs together, when gates are settled.

    Raises:
        ValueError: if no run has noted θ.
    """
    noted = epochs.loc[epochs["theta"].str.len() > 2]  # {} once the gates are gone
    if not len(noted):
        raise ValueError("no run has noted θ")
    last = noted.loc[noted.groupby("run")["epoch"].idxmax(), "theta"]
    gates = [gate for text in last for gate in json.loads(text).values()]
    return np.sum([gate["histogram"] for gate in gates], axis=0)
