"""What training costs: epoch by epoch beside the dense network, and when the cost leaves."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pruning_core.figures.style import DENSE, PALETTE, STYLE


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
        figure = Figure(figsize=(6.0, 5.2), layout="constrained")
        axes = figure.subplots(2, sharex=True)
        for axis, (column, title) in zip(axes, panels.items(), strict=True):
            groups = shares.groupby("point", sort=False)
            for (point, runs), colour in zip(groups, PALETTE, strict=False):
                found = runs.groupby("epoch")[column].agg(["mean", "min", "max"])
                label = f"{point}, n = {runs['seed'].nunique()}"
                axis.fill_between(found.index, found["min"], found["max"], color=colour, alpha=0.2)
                axis.plot(found.index, found["mean"], color=colour, lw=2, label=label)
            axis.set(title=title, ylim=(0, 103), ylabel="%")
        axes[0].legend()
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
        figure = Figure(figsize=(6.0, 3.2), layout="constrained")
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
        axis.legend()
    return figure


def seconds_against_cost(shares: pd.DataFrame) -> Figure:
    """Seconds of each epoch against its multiply-accumulates, both beside the run's first epoch.

    Args:
        shares: of :func:`pruning_core.studies.cost.by_epoch`.
    """
    first = shares.groupby(["point", "seed"])["seconds"].transform("first")
    shares = shares.assign(relative=100 * shares["seconds"] / first)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 3.4), layout="constrained")
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
