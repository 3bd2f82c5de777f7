"""What a unit costs when what it holds is paid for."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from pruning_core.figures.results import plain_log
from pruning_core.figures.style import LOOKS, STYLE, Picture, legend_below
from pruning_core.models import MODELS
from pruning_core.studies.unit_prices import savings

_NAMES = {"weights": "a weight", "macs": "a multiply-accumulate"}


def prices_of_units(prices: Mapping[str, float]) -> Figure:
    """The price of a unit of each kind of LeNet-5 against the share of all units that is left.

    Args:
        prices: by currency, "weights" or "macs", nats for one.
    """
    shares = np.arange(2, 21, 2) / 20  # at these all sizes are whole numbers
    known = MODELS["lenet-5"]
    sizes = [known.dense([round(share * n) for n in known.hidden]) for share in shares]
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6, 3.6), layout="constrained")
        axes = figure.subplots(1, len(prices), squeeze=False)[0]
        for axis, (of, price) in zip(axes, prices.items(), strict=True):
            saved = [savings(units, of) for units in sizes]
            for kind, (colour, _, dashes) in zip(saved[0], LOOKS, strict=False):
                costs = price * np.array([each[kind] for each in saved])
                axis.plot(100 * shares, costs, color=colour, ls=dashes, lw=2, label=kind)
            axis.set(yscale="log", xlabel="units left, %", ylabel="nats")
            axis.set_title(f"{price:g} nats {_NAMES[of]}")
            axis.yaxis.set_major_formatter("{x:g}")
            plain_log(axis, "x", 100 * shares)
        legend_below(figure, axes[0])
    return figure
