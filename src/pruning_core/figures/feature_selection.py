"""Feature selection: risk against threshold, weights found, and the recorded study."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from pruning_core.figures.style import DENSE, PALETTE, STYLE, WIDTH, Picture
from pruning_core.studies.intervals import mean_interval


def intervals(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean over the seeds and half the width of its 95 % t interval, by penalty."""
    found = {
        name: mean_interval(values.to_numpy())
        for name, values in table.groupby("penalty", sort=False)[column]
    }
    rows = [(mean, (high - low) / 2) for mean, low, high in found.values()]
    return pd.DataFrame(rows, index=pd.Index(found), columns=["mean", "half_width"])


def risk_and_false_selections(
    thresholds: Tensor, risks: Mapping[str, Tensor], false_selections: Mapping[str, Tensor]
) -> Figure:
    """Total risk and expected false selections against the threshold; a dot where risk is least.

    Args:
        thresholds: in units of the noise; shape (n,).
        risks: by penalty; shape (n,).
        false_selections: by penalty; shape (n,).
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.0, 3.6), layout="constrained")
        axes = figure.subplots(1, 2)
        for (name, values), colour, dash, order in zip(
            risks.items(), (PALETTE[1], PALETTE[0]), ("--", "-"), (3, 2), strict=False
        ):
            best = int(values.argmin())
            for axis, line in zip(axes, (values, false_selections[name]), strict=True):
                axis.plot(thresholds, line, color=colour, ls=dash, lw=2, label=name, zorder=order)
                axis.plot(thresholds[best], line[best], "o", color=colour, ms=8, zorder=5)
        axes[0].set(title="squared error of all weights", ylim=(0, 120), ylabel="noise variances")
        axes[1].set(title="zeros that are selected", ylim=(0, 80), ylabel="features")
        for axis in axes:
            axis.set_xlabel("threshold, noise deviations")
        axes[1].legend()
    return figure


def weights_found(truth: Tensor, found: Mapping[str, Tensor]) -> Figure:
    """Every weight that each penalty selects, with the true ones as crosses, and how many.

    Args:
        truth: shape (p,).
        found: by penalty; shape (p,).
    """
    relevant = truth.nonzero().flatten()
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 1.6 * len(found)), layout="constrained")
        axes = figure.subplots(len(found), sharex=True, sharey=True)
        for axis, (name, weights) in zip(axes, found.items(), strict=True):
            counts: list[int] = []
            for is_true, colour in ((True, PALETTE[0]), (False, PALETTE[1])):
                chosen = ((weights != 0) & ((truth != 0) == is_true)).nonzero().flatten()
                axis.vlines(chosen, 0, weights[chosen], color=colour, lw=1)
                counts.append(len(chosen))
                axis.plot(chosen, weights[chosen], "o", color=colour, ms=4)
            axis.plot(relevant, truth[relevant], "x", color="black", ms=7)
            axis.axhline(0, color=DENSE, lw=0.8)
            title = f"{name}: {counts[0]} with effect, {counts[1]} without"
            axis.set(title=title, ylabel="weight")
        axes[-1].set_xlabel("feature")
    return figure


def recorded(table: pd.DataFrame) -> Figure:
    """Error and false selections of each penalty in the recorded study: seeds, means, intervals.

    Args:
        table: a row for each penalty and seed, as the study writes it.
    """
    panels = (
        ("relative_error", "relative error of the weights"),
        ("selected_irrelevant", "features selected without effect"),
    )
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 5.0), layout="constrained")
        axes = figure.subplots(2)
        for axis, (column, label) in zip(axes, panels, strict=True):
            found = intervals(table, column)
            for row, name in enumerate(found.index):
                seeds = table.loc[table["penalty"] == name, column]
                axis.plot(seeds, [row] * len(seeds), "|", color="#aaaaaa", ms=12)
            axis.errorbar(
                found["mean"],
                range(len(found)),
                xerr=found["half_width"],
                fmt="o",
                color=PALETTE[0],
                capsize=4,
                lw=2,
            )
            axis.set_yticks(range(len(found)), list(found.index))
            axis.set(xlabel=label, ylim=(len(found) - 0.5, -0.5))
            axis.set_xlim(left=-0.02 * axis.get_xlim()[1])
    return figure
