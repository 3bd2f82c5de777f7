"""The model behind the gates: the prior of a gated weight, and the bound on the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pruning_core.figures.style import DENSE, PALETTE, STYLE, WIDTH, Picture


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
