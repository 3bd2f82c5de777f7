"""Units that leave late: how many are undecided, as less and less of the training loss is left."""

from __future__ import annotations

import json
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from pruning_core.figures.results import plain_log
from pruning_core.figures.style import (
    DENSE,
    LOOKS,
    STYLE,
    WIDTH,
    Picture,
    label_beside,
    legend_below,
)
from pruning_core.theory.spare_unit import SpareUnit


def loss_left(rows: pd.DataFrame, epochs: pd.DataFrame, num_examples: int) -> pd.DataFrame:
    """Of each point, the training loss at the end in prices of a unit, and who was undecided.

    Args:
        rows: recorded runs of Bernoulli pruning, with ``undecided_percent``.
        epochs: their trajectories.
        num_examples: N, over which the loss is a mean.

    Returns:
        By point: ``loss``, the mean over seeds of the whole training set's loss after the last
        epoch, over log γ; ``undecided_percent``; and ``price``, log γ in nats.
    """
    last = epochs.sort_values("epoch").groupby("run")["loss"].last()
    prices = [json.loads(text)["log_gamma"][0] for text in rows["settings"]]
    losses = num_examples * last.loc[rows["run"]].to_numpy() / np.array(prices)
    noted = rows[["point", "undecided_percent"]].assign(loss=losses, price=prices)
    return pd.DataFrame(noted.groupby("point", sort=False).mean())


def undecided_against_loss(points: pd.DataFrame, series: Mapping[str, str]) -> Figure:
    """Units undecided at the end of the Bernoulli phase against what is left of the loss.

    Args:
        points: as :func:`loss_left` returns it, of one study or several.
        series: by the first word of a point's name, what its series is called.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.8), layout="constrained")
        axis = figure.subplots()
        for (word, name), (colour, mark, _) in zip(series.items(), LOOKS, strict=False):
            own = points.loc[[str(point).split()[0] == word for point in points.index]]
            axis.plot(own["loss"], own["undecided_percent"], mark, color=colour, label=name)
        axis.axvline(1, color=DENSE, lw=1, ls="--")
        axis.annotate(
            "the price of one unit",
            (1, 0.97),
            (4, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            fontsize=10,
            color=DENSE,
        )
        plain_log(axis, "x", np.asarray(points["loss"]), room=1.5)
        axis.set(
            xlabel="training loss left at the end, prices of a unit",
            ylabel="units undecided, %",
        )
        legend_below(figure, axis)
        figure.draw_without_rendering()
        places = points[["loss", "undecided_percent"]].to_numpy()
        marks = axis.transData.transform(places)
        taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in marks]
        for (x, y), price in zip(places, points["price"], strict=True):
            label_beside(axis, f"{price:g}", (x, y), taken, anyhow=False, color=DENSE)
    return figure


def fates_of_a_spare_unit(unit: SpareUnit, decays: Mapping[str, float], duration: float) -> Figure:
    """Worth and θ of a spare unit over time, without weight decay and with it.

    Args:
        unit: price and data; its own decay is not read.
        decays: by label, λ.
        duration: of the flow.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 4.6), layout="constrained")
        above, below = figure.subplots(2, sharex=True)
        above.axhline(1, color=DENSE, lw=1, ls="--")
        for (label, decay), (colour, _, dashes) in zip(decays.items(), LOOKS, strict=False):
            own = SpareUnit(unit.log_gamma, unit.num_examples, decay)
            times, path = own.integrate(duration, theta_rate=1 / 300, start=0.9)
            worth = own.worth(path[:, 1], path[:, 2]) / own.log_gamma
            above.plot(times, worth, color=colour, ls=dashes, lw=2, label=label)
            below.plot(times, path[:, 0], color=colour, ls=dashes, lw=2)
        above.set(ylabel="worth, prices", xscale="log", ylim=(0, None))
        above.set_xlim(1, duration)
        below.set(ylabel="θ", xlabel="time", ylim=(-0.03, 1.03))
        legend_below(figure, above)
    return figure
