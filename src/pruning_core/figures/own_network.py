"""Pruning a network of your own: units that leave, and weights in two heaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from pruning_core.figures.style import DENSE, KEPT, PALETTE, STYLE


def units_left(history: Mapping[str, Sequence[int]]) -> Figure:
    """Units in the network after each epoch, in percent of those at the start.

    Args:
        history: by what the units are, their number at the start and after each epoch.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 3.2), layout="constrained")
        axis = figure.subplots()
        for (name, units), colour, style in zip(
            history.items(), PALETTE, ("-", "--", "-.", ":"), strict=False
        ):
            percent = [100 * number / units[0] for number in units]
            label = f"{name}: {units[0]} → {units[-1]}"
            axis.step(range(len(units)), percent, style, where="post", color=colour, label=label)
        axis.set(xlabel="epoch", ylabel="units left, percent", ylim=(0, 104))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(loc="lower left")
    return figure


def weight_sizes(weights: Mapping[str, Tensor], tolerance: float) -> Figure:
    """How many weights there are of each size, a panel for each set of weights.

    Args:
        weights: by title; any shape.
        tolerance: below it a weight counts as zero; drawn as a line.
    """
    bins = np.linspace(-8, 1, 55)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 1.8 * len(weights)), layout="constrained")
        axes = figure.subplots(len(weights), sharex=True, squeeze=False)[:, 0]
        for axis, (title, values) in zip(axes, weights.items(), strict=True):
            sizes = values.detach().abs().flatten().double().clamp(1e-8, 10).log10()
            axis.hist(sizes.numpy(), bins=bins.tolist(), color=KEPT)
            axis.axvline(np.log10(tolerance), color=DENSE, lw=1.5, ls="--")
            axis.set(title=title, ylabel="weights")
        axes[-1].set_xlabel("size |w|")
        axes[-1].set_xticks(range(-8, 2, 2), [f"$10^{{{k}}}$" for k in range(-8, 2, 2)])
    return figure
