"""What the studies found: error against size, the networks that survive, and the way there.

The figures show every point that is recorded, with n, its number of seeds, and grow with them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from pruning_core.figures.style import DENSE, PALETTE, STYLE
from pruning_core.studies.ledger import mean_interval

_MARKERS = "os^Dv"


def error_against_size(
    rows: pd.DataFrame, size: str, label: str, series: Mapping[str, str]
) -> Figure:
    """Mean test error of each point against its mean size, with the 95 % interval of the error.

    Args:
        rows: recorded runs, one a row; faint dots.
        size: the column on the horizontal axis, which is logarithmic.
        label: of that axis.
        series: by the first word of a point's name, what its series is called.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 4.0), layout="constrained")
        axis = figure.subplots()
        for (word, name), colour, mark in zip(series.items(), PALETTE, _MARKERS, strict=False):
            own = rows[[point.split()[0] == word for point in rows["point"]]]
            if not len(own):
                continue
            axis.plot(own[size], own["test_error_percent"], ".", color=colour, alpha=0.3, ms=5)
            for point, runs in own.groupby("point", sort=False):
                error, low, high = mean_interval(runs["test_error_percent"].to_numpy())
                bars = None if np.isnan(low) else [[error - low], [high - error]]
                x = runs[size].mean()
                axis.errorbar(x, error, bars, fmt=mark, color=colour, capsize=4, ms=6, lw=2)
                setting = str(point).removeprefix(word).strip() or str(point)
                text = f"{setting.replace('log_gamma=', 'log γ = ')}, n = {len(runs)}"
                axis.annotate(
                    text, (x, error), (7, 7), textcoords="offset points", fontsize=9, color=colour
                )
            axis.plot([], [], mark, color=colour, label=name)
        _plain_log(axis, rows[size])
        axis.set(xlabel=label, ylabel="final test error, %")
        axis.legend(loc="best")
    return figure


def architectures(rows: pd.DataFrame, layers: Mapping[str, tuple[int, int]]) -> Figure:
    """Units that survive in each layer, a panel a layer: every seed, and the mean of each point.

    Args:
        rows: recorded runs.
        layers: by the layer's name, its place in the architecture, and its units at the start.
    """
    points = list(dict.fromkeys(rows["point"]))
    with mpl.rc_context(STYLE):
        height = 0.9 + 0.34 * len(points)
        figure = Figure(figsize=(6.0, height * len(layers)), layout="constrained")
        axes = figure.subplots(len(layers), squeeze=False)[:, 0]
        for axis, (name, (place, total)) in zip(axes, layers.items(), strict=True):
            labels = []
            for row, point in enumerate(points):
                sizes = rows.loc[rows["point"] == point, "architecture"]
                units = np.array([int(size.split("-")[place]) for size in sizes])
                axis.barh(row, units.mean(), color=PALETTE[0], alpha=0.35, height=0.6)
                axis.plot(units, np.full(len(units), row), "|", color="black", ms=9)
                labels.append(f"{point.replace('log_gamma=', 'log γ = ')}, n = {len(units)}")
            axis.set_yticks(range(len(points)), labels, fontsize=9)
            axis.set(title=f"{name}, of {total}", ylim=(len(points) - 0.5, -0.5), xlim=(0, None))
        axes[-1].set_xlabel("units left at the end")
    return figure


def over_epochs(
    epochs: pd.DataFrame, panels: Mapping[str, str], *, logarithmic: Sequence[str] = ()
) -> Figure:
    """Columns of the trajectories against the epoch: mean of each point, and range of its seeds.

    Args:
        epochs: trajectories, with ``point`` and ``epoch``.
        panels: by column, the panel's title.
        logarithmic: columns with a logarithmic axis that begins with zero (symlog).
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 2.3 * len(panels)), layout="constrained")
        axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
        for axis, (column, title) in zip(axes, panels.items(), strict=True):
            known = epochs.dropna(subset=[column])
            groups = known.groupby("point", sort=False)
            for (point, runs), colour in zip(groups, PALETTE * 2, strict=False):
                found = runs.groupby("epoch")[column].agg(["mean", "min", "max"])
                name = str(point).replace("log_gamma=", "log γ = ")
                label = f"{name}, n = {runs['run'].nunique()}"
                axis.fill_between(found.index, found["min"], found["max"], color=colour, alpha=0.2)
                axis.plot(found.index, found["mean"], color=colour, lw=1.6, label=label)
            axis.set_title(title)
            if column in logarithmic:
                axis.set_yscale("symlog", linthresh=1)
                axis.yaxis.set_major_formatter(ScalarFormatter())
            axis.set_ylim(bottom=0)
        axes[0].legend(fontsize=9)
        axes[-1].set_xlabel("epoch")
        axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def theta_histograms(run: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """How the θ of the units still there are spread, epoch by epoch, a panel a gate.

    Args:
        run: the trajectory of one run.
        titles: by name of the gate, what its units are.
    """
    noted = [json.loads(theta) for theta in run.sort_values("epoch")["theta"]]
    noted = [theta for theta in noted if theta]
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(6.0, 1.75 * len(titles)), layout="constrained")
        axes = figure.subplots(len(titles), sharex=True, squeeze=False)[:, 0]
        for axis, (gate, title) in zip(axes, titles.items(), strict=True):
            counts = np.array([theta[gate]["histogram"] for theta in noted], dtype=float).T
            shown = axis.imshow(
                np.where(counts > 0, counts, np.nan),
                aspect="auto",
                origin="lower",
                extent=(0.5, len(noted) + 0.5, 0, 1),
                cmap="viridis_r",
                norm=LogNorm(1, 1000),
                interpolation="nearest",
            )
            axis.set(title=title, ylabel="θ", yticks=[0, 0.5, 1])
        axes[-1].set_xlabel("epoch")
        figure.colorbar(shown, ax=list(axes), label="units", aspect=40)
    return figure


def compared(rows: pd.DataFrame, panels: Mapping[str, str], points: Sequence[str]) -> Figure:
    """Columns of the points side by side: seeds as ticks, mean and 95 % interval.

    Args:
        rows: recorded runs.
        panels: by column, the label of its axis.
        points: all that are declared; a point without a run keeps an empty row.
    """
    with mpl.rc_context(STYLE):
        height = 0.8 + 0.36 * len(points)
        figure = Figure(figsize=(6.0, height * len(panels)), layout="constrained")
        axes = figure.subplots(len(panels), squeeze=False)[:, 0]
        for axis, (column, label) in zip(axes, panels.items(), strict=True):
            names = []
            for row, point in enumerate(points):
                values = rows.loc[rows["point"] == point, column].dropna().to_numpy()
                names.append(f"{point}, n = {len(values)}")
                if not len(values):
                    continue
                axis.plot(values, np.full(len(values), row), "|", color="#999999", ms=10)
                mean, low, high = mean_interval(values)
                axis.plot([low, high], [row, row], color=PALETTE[0], lw=2)
                axis.plot(mean, row, "o", color=PALETTE[0])
            axis.set_yticks(range(len(points)), names, fontsize=9)
            axis.set(xlabel=label, ylim=(len(points) - 0.5, -0.5))
            axis.set_xlim(left=min(0, axis.get_xlim()[0]))
    return figure


def resting(curves: Mapping[str, Sequence[float]], worth: Sequence[float], price: float) -> Figure:
    """Where θ rests under each hyper-prior, against what the unit is worth.

    Args:
        curves: by hyper-prior, θ at rest for each worth.
        worth: in nats.
        price: of a unit, in nats.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 3.0), layout="constrained")
        axis = figure.subplots()
        axis.axhspan(0.02, 0.98, color="#f2f2f2", zorder=0)
        for (name, theta), colour, dash in zip(
            curves.items(), PALETTE, ("-", "--", "-."), strict=False
        ):
            axis.plot(worth, theta, dash, color=colour, lw=2, label=name)
        axis.axvline(price, color=DENSE, lw=0.8, ls=":")
        axis.set(
            xlabel="what the unit is worth, nats", ylabel="θ at rest", xlim=(worth[0], worth[-1])
        )
        axis.legend(loc="upper left")
    return figure


def _plain_log(axis: Axes, values: pd.Series) -> None:
    """A logarithmic axis with plain numbers, wide enough for the values and their labels."""
    axis.set_xscale("log")
    low, high = float(values.min()), float(values.max())
    axis.set_xlim(low / 1.15, high * 1.5)
    steps = [m * 10.0**p for p in range(-2, 8) for m in (1, 2, 3, 5, 7)]
    ticks = [x for x in steps if low / 1.15 <= x <= high * 1.5]
    axis.set_xticks(ticks, [f"{x:,g}" for x in ticks])
    axis.xaxis.set_minor_formatter(NullFormatter())
