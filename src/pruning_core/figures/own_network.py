"""Pruning a network of your own: units on their way out, and weights in two heaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from pruning_core.figures.style import DENSE, KEPT, LOOKS, STYLE, WIDTH, Picture


def expected_units(
    history: Mapping[str, Sequence[float]], units: Mapping[str, int], settled: float
) -> Figure:
    """The sum of θ over the units of each gate against the step, in percent of its units.

    Args:
        history: by what the units are, the sum after each step.
        units: by the same names, how many there were at the start.
        settled: the step at which every θ is rounded; drawn as a line.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.2), layout="constrained")
        axis = figure.subplots()
        for (name, sums), (colour, _, dashes) in zip(history.items(), LOOKS, strict=False):
            percent = [100 * expected / units[name] for expected in sums]
            label = f"{name}: {units[name]} → {sums[-1]:.0f}"
            axis.plot(range(1, len(sums) + 1), percent, ls=dashes, color=colour, label=label)
        axis.axvline(settled, color=DENSE, lw=1, ls="--")
        axis.set(xlabel="step", ylabel="expected open units, percent", ylim=(0, 104))
        axis.legend(loc="upper right")
    return figure


def weight_sizes(weights: Mapping[str, Tensor], tolerance: float) -> Figure:
    """How many weights there are of each size, a panel for each set of weights.

    Args:
        weights: by title; any shape.
        tolerance: below it a weight counts as zero; drawn as a line.
    """
    bins = np.linspace(-8, 1, 55)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 1.8 * len(weights)), layout="constrained")
        axes = figure.subplots(len(weights), sharex=True, squeeze=False)[:, 0]
        for axis, (title, values) in zip(axes, weights.items(), strict=True):
            sizes = values.detach().abs().flatten().double().clamp(1e-8, 10).log10()
            axis.hist(sizes.numpy(), bins=bins.tolist(), color=KEPT)
            axis.axvline(np.log10(tolerance), color=DENSE, lw=1.5, ls="--")
            axis.set(title=title, ylabel="weights")
        axes[-1].set_xlabel("size |w|")
        axes[-1].set_xticks(range(-8, 2, 2), [f"$10^{{{k}}}$" for k in range(-8, 2, 2)])
    return figure
