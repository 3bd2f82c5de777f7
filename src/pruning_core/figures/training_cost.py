"""What training costs: epoch by epoch beside the dense network, and when the cost leaves."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from pruning_core.figures.results import plain_log
from pruning_core.figures.style import (
    DENSE,
    PALETTE,
    STYLE,
    WIDTH,
    Picture,
    label_beside,
    legend_below,
)

_TITLES = {"lenet-300-100": "LeNet-300-100", "lenet-5": "LeNet-5"}


def cost_by_epoch(shares: pd.DataFrame) -> Figure:
    """Cost of each epoch beside a dense one, and what was saved so far: mean and range of seeds.

    Args:
        shares: of :func:`pruning_core.studies.cost.by_epoch`.
    """
    panels = {
        "cost": "an epoch's cost, % of a dense epoch's",
        "saved": "saved so far, % of as many dense epochs",
    }
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 5.2), layout="constrained")
        axes = figure.subplots(2, sharex=True)
        for axis, (column, title) in zip(axes, panels.items(), strict=True):
            groups = shares.groupby("point", sort=False)
            for (point, runs), colour in zip(groups, PALETTE, strict=False):
                found = runs.groupby("epoch")[column].agg(["mean", "min", "max"])
                label = f"{point}, n = {runs['seed'].nunique()}"
                axis.fill_between(found.index, found["min"], found["max"], color=colour, alpha=0.2)
                axis.plot(found.index, found["mean"], color=colour, lw=2, label=label)
            axis.set(title=title, ylim=(0, 103), ylabel="%")
        axes[0].legend(loc="center right")
        axes[1].set(xlabel="epoch", xlim=(1, None))
    return figure


def rectangle(costs: np.ndarray, departure: float) -> Figure:
    """One run's cost as an area: a rectangle of what stays, and one up to the mean departure.

    Args:
        costs: of a forward pass before the first epoch and after each; shape (E + 1,).
        departure: t̄, the mean epoch after which the cost left.
    """
    share = 100 * costs / costs[0]
    epochs = len(costs) - 1
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.2), layout="constrained")
        axis = figure.subplots()
        axis.stairs(share[:-1], np.arange(epochs + 1), fill=True, color=PALETTE[0], alpha=0.3)
        axis.stairs(share[:-1], np.arange(epochs + 1), color=PALETTE[0], lw=2, label="the run")
        axis.plot(
            [0, departure, departure, epochs],
            [100, 100, share[-1], share[-1]],
            "--",
            color=PALETTE[1],
            lw=2,
            label="the same area",
        )
        axis.annotate(
            f"t̄ = {departure:.1f}",
            (departure, 60),
            (8, 0),
            textcoords="offset points",
            color=PALETTE[1],
        )
        axis.set(xlabel="epochs done", ylabel="cost, % of dense", xlim=(0, epochs), ylim=(0, 104))
        axis.legend(loc="center right")
    return figure


def seconds_against_cost(shares: pd.DataFrame) -> Figure:
    """Seconds of each epoch against its multiply-accumulates, both beside the run's first epoch.

    Args:
        shares: of :func:`pruning_core.studies.cost.by_epoch`.
    """
    first = shares.groupby(["point", "seed"])["seconds"].transform("first")
    shares = shares.assign(relative=100 * shares["seconds"] / first)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.4), layout="constrained")
        axis = figure.subplots()
        groups = shares.groupby("point", sort=False)
        for (point, runs), colour, mark in zip(groups, PALETTE, "os^D", strict=False):
            label = f"{point}, n = {runs['seed'].nunique()}"
            found = runs.groupby("epoch")[["cost", "relative"]].median()
            axis.plot(
                found["cost"], found["relative"], mark, color=colour, ms=4, alpha=0.6, label=label
            )
        axis.plot([0, 100], [0, 100], color=DENSE, lw=0.8, ls=":")
        axis.set(
            xlabel="multiply-accumulates, % of the first epoch's",
            ylabel="seconds, % of the first epoch's",
            xlim=(0, 103),
        )
        axis.set_ylim(bottom=0)
        axis.legend()
    return figure


def work_to_error(networks: pd.DataFrame, recommended: Mapping[str, float]) -> Figure:
    """Test error against the work of training, with 95 % intervals: a panel for each model.

    Dense networks are squares on a line, with their epochs; pruned ones are circles with the price
    of their first gate in nats, filled where it is the recommended one.

    Args:
        networks: of :func:`pruning_core.studies.cost.work_and_error`.
        recommended: by model in the order of the panels, the price.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 2.9 * len(recommended)), layout="constrained")
        axes = figure.subplots(len(recommended), squeeze=False)[:, 0]
        for axis, (model, price) in zip(axes, recommended.items(), strict=True):
            own = networks.loc[networks["model"] == model].sort_values("work")
            dense = own.loc[own["method"] == "dense"]
            seeds = " to ".join(f"{n}" for n in sorted({own["n"].min(), own["n"].max()}))
            axis.set(title=f"{_TITLES[model]}, n = {seeds}", ylabel="test error, %")
            axis.plot(dense["work"], dense["error"], color=DENSE, lw=1)
            _with_intervals(axis, dense, "s", DENSE, DENSE)
            pruned = own.loc[own["method"] != "dense"]
            at_price = pruned["price"] == price
            _with_intervals(axis, pruned.loc[~at_price], "o", PALETTE[0], "white")
            _with_intervals(axis, pruned.loc[at_price], "o", PALETTE[0], PALETTE[0])
            plain_log(axis, "x", own["work"].to_numpy())
            plain_log(axis, "y", own[["low", "high", "error"]].stack().to_numpy())
        axes[-1].set_xlabel("multiply-accumulates of training,\nin epochs of the dense network")
        for name, mark, colour, fill in (
            ("dense, with its epochs", "s-", DENSE, DENSE),
            ("pruned at the recommended price", "o", PALETTE[0], PALETTE[0]),
            ("pruned at other prices, in nats", "o", PALETTE[0], "white"),
        ):
            axes[0].plot([], [], mark, color=colour, mfc=fill, label=name)
        legend_below(figure, axes[0])
        figure.canvas.draw()
        for axis, model in zip(axes, recommended, strict=True):
            _name_points(axis, networks.loc[networks["model"] == model])
    return figure


def _name_points(axis: Axes, own: pd.DataFrame) -> None:
    """Epochs or price beside each point, away from the others and their intervals."""
    ends = [axis.transData.transform(own[["work", end]].to_numpy()) for end in ("low", "high")]
    taken = [
        Bbox([[x - 5, low - 3], [x + 5, high + 3]])
        for (x, low), (_, high) in zip(*ends, strict=True)
    ]
    line = own.loc[own["method"] == "dense", ["work", "error"]].sort_values("work").to_numpy()
    for start, end in pairwise(axis.transData.transform(line)):
        taken += [Bbox.from_bounds(x - 1, y - 1, 2, 2) for x, y in np.linspace(start, end, 20)]
    for row in own.sort_values("work").to_dict("records"):
        dense = row["method"] == "dense"
        text = f"{row['epochs']}" if dense else f"{row['price']:g}"
        colour = DENSE if dense else PALETTE[0]
        label_beside(axis, text, (row["work"], row["error"]), taken, color=colour)


def _with_intervals(
    axis: Axes, rows: pd.DataFrame, mark: str, colour: object, fill: object
) -> None:
    """A marker at each error, with its 95 % interval."""
    bars = [rows["error"] - rows["low"], rows["high"] - rows["error"]]
    place = (rows["work"], rows["error"], bars)
    axis.errorbar(*place, fmt=mark, color=colour, mfc=fill, capsize=3, ms=5, lw=1.5)
