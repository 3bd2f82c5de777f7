"""The model behind the gates: the prior of a gated weight, and the bound on the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from torch import Tensor

from pruning_core.figures.style import DENSE, KEPT, PALETTE, REMOVED, STYLE, WIDTH, Picture


def gated_weight(pis: Sequence[float], precision: float) -> Figure:
    """The distribution function of ξw with ξ ~ Bernoulli(π), w ~ Normal(0, 1/λ), for each π.

    Args:
        pis: prior probabilities, at most four.
        precision: λ.
    """
    reach = 3 / precision**0.5
    values = torch.linspace(-reach, reach, 602, dtype=torch.float64)  # none of them is 0
    normal = torch.special.ndtr(values * precision**0.5)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.4), layout="constrained")
        axis = figure.subplots()
        for pi, colour, dash in zip(pis, PALETTE, ("-", "--", "-.", ":"), strict=False):
            below = pi * normal + (1 - pi) * (values > 0)
            axis.plot(values, below, color=colour, ls=dash, lw=2, label=f"π = {pi:g}")
        axis.set(xlabel="gated weight v = ξw", ylabel="probability of being below v")
        axis.set(xlim=(-reach, reach), ylim=(-0.02, 1.02))
        axis.legend()
    return figure


def bound_against_evidence(bounds: Mapping[str, Tensor], theta: Tensor) -> Figure:
    """The evidence lower bound, measured from the log evidence, as one probability moves.

    Args:
        bounds: by label, bound minus log evidence in nats, each of shape (k,).
        theta: the probability that moves, shape (k,).
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.6), layout="constrained")
        axis = figure.subplots()
        axis.axhline(0, color=DENSE, lw=1.5)
        axis.text(0.02, 0.02, "log evidence", color=DENSE, va="bottom")
        for (label, bound), colour, dash in zip(bounds.items(), PALETTE, ("-", "--"), strict=False):
            best = int(np.argmax(bound.numpy()))
            axis.plot(theta, bound, color=colour, ls=dash, lw=2, label=label)
            axis.plot(theta[best], bound[best], "o", color=colour, ms=7)
        axis.set(xlabel="θ₁", ylabel="bound − log evidence (nats)", xlim=(0, 1))
        lowest = min(float(bound.min()) for bound in bounds.values())
        axis.set_ylim(lowest - 0.1, 0.12 * -lowest + 0.05)
        axis.legend(loc="lower center")
    return figure


def evidence_as_bars(parts: Mapping[str, tuple[float, float]]) -> Figure:
    """For each approximate posterior a bar: the bound, and the divergence up to the log evidence.

    Args:
        parts: by label, bound and divergence in nats; their sum is the same for all.

    Raises:
        ValueError: if the sums differ by more than 10⁻⁶ nats.
    """
    sums = [bound + divergence for bound, divergence in parts.values()]
    if max(sums) - min(sums) > 1e-6:
        raise ValueError(f"bound and divergence sum to {min(sums)} and to {max(sums)} nats")
    evidence, rows = sums[0], np.arange(len(parts))
    bounds, divergences = (np.array(values) for values in zip(*parts.values(), strict=True))
    left = evidence - 1.6 * float(divergences.max())
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 1.2 + 0.7 * len(parts)), layout="constrained")
        axis = figure.subplots()
        axis.barh(rows, bounds - left, 0.55, left=left, color=KEPT)
        axis.barh(rows, divergences, 0.55, left=bounds, color=REMOVED)
        axis.axvline(evidence, color=DENSE, lw=2)
        for row, label in enumerate(parts):
            axis.text(left, row - 0.33, label, va="bottom")
            axis.annotate(
                f"{divergences[row]:.2f}",
                (evidence, row),
                (5, 0),
                textcoords="offset points",
                va="center",
            )
        axis.text(evidence, -0.85, "log evidence", va="bottom", ha="center", color=DENSE)
        first = float(bounds[0])
        axis.text((left + first) / 2, 0, "bound", va="center", ha="center", color="white")
        axis.annotate(
            "divergence",
            (evidence, -0.33),
            (-4, 0),
            textcoords="offset points",
            va="bottom",
            ha="right",
            color=DENSE,
        )
        axis.set(xlabel="nats", yticks=[], xlim=(left, evidence + 0.2 * (evidence - left)))
        axis.set_ylim(len(parts) - 0.6, -0.85)
        axis.xaxis.set_major_locator(MultipleLocator(1))
        axis.grid(visible=False, axis="y")
        axis.spines["left"].set_visible(False)
    return figure


def over_masks(rows: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """What is believed of two gates: bars for the four masks, a panel each.

    Args:
        rows: by title of a row, and within it by title of a panel, the probabilities of the masks
            in the order of :func:`pruning_core.theory.enumeration.masks`, shape (4,).
    """
    names = ("none", "2", "1", "both")
    order = [0, 2, 1, 3]  # none, unit 1, unit 2, both
    columns = list(next(iter(rows.values())))
    colours = (REMOVED, KEPT, PALETTE[2])
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.0, 0.6 + 1.75 * len(rows)), layout="constrained")
        axes = figure.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
        for line, (title, panels) in zip(axes, rows.items(), strict=True):
            for axis, name, colour in zip(line, columns, colours, strict=False):
                values = [100 * float(panels[name][k]) for k in order]
                bars = axis.bar([names[k] for k in order], values, 0.7, color=colour)
                axis.bar_label(bars, [f"{value:.0f}" for value in values], fontsize=10)
                axis.grid(visible=False, axis="x")
            line[0].set(ylabel=f"{title}\nprobability (%)", ylim=(0, 118), yticks=[0, 50, 100])
        for axis, name in zip(axes[0], columns, strict=True):
            axis.set_title(name)
        for axis in axes[-1]:
            axis.set_xlabel("units that are on")
    return figure
