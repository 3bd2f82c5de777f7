"""Recorded results: error against zeros, paired differences, and the field of published results."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from pruning_core.figures.results import (
    beside_zeros,
    plain_log,
    seeds_and_interval,
    zeros_axis,
)
from pruning_core.figures.style import (
    DENSE,
    LOOKS,
    PALETTE,
    STYLE,
    WIDTH,
    Picture,
    label_beside,
    legend_below,
)
from pruning_core.sparsity import ZEROS_PERCENT
from pruning_core.studies.published import OURS, undominated


def error_against_zeros(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Test error against the share of zeros, one global threshold each: means of the seeds.

    Bars reach from the lowest seed to the highest, with a tick for each.

    Args:
        curves: by label, up to five, the rows of a point, with the columns ``error_at_…``.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 4.0), layout="constrained")
        axis = figure.subplots()
        zeros_axis(axis, ZEROS_PERCENT)
        names = [f"error_at_{zeros:g}" for zeros in ZEROS_PERCENT]
        for (label, rows), (colour, marker, dash), shift in zip(
            curves.items(), LOOKS, (0, -0.014, 0.014, -0.028, 0.028), strict=False
        ):
            errors = rows[names].dropna().to_numpy()
            places = beside_zeros(ZEROS_PERCENT, shift)
            axis.vlines(places, errors.min(0), errors.max(0), color=colour, lw=1)
            axis.plot(places, errors.T, ls="", marker="_", color=colour, ms=5, mew=0.7)
            style = {"color": colour, "marker": marker, "ls": dash, "lw": 2, "ms": 5}
            axis.plot(places, errors.mean(0), label=f"{label} (n = {len(errors)})", **style)
        every = pd.concat([rows[names].dropna() for rows in curves.values()])
        plain_log(axis, "y", every.to_numpy())
        axis.set_ylabel("test error, percent")
        axis.legend(loc="upper left", fontsize=10)
    return figure


def differences(found: Mapping[str, pd.Series], xlabel: str, least: float = 2.0) -> Figure:
    """A row for each comparison: seeds as ticks, the mean as a dot, its 95 % t interval.

    The axis is linear between -1 and 1 and logarithmic beyond. Arrows mark ends outside it.

    Args:
        found: differences over the seeds, by label.
        xlabel: what they are.
        least: how far the axis reaches at least on both sides of 0.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 0.5 * len(found) + 1.1), layout="constrained")
        axis = figure.subplots()
        axis.set_xscale("symlog", linthresh=1, linscale=1.6)
        limit = max([least, *(1.6 * float(values.abs().max()) for values in found.values())])
        axis.set_xlim(-limit, limit)
        for row, values in enumerate(found.values()):
            seeds_and_interval(axis, values.to_numpy(), row)
        axis.axvline(0, color="black", lw=1)
        labels = [f"{label}, n = {len(values)}" for label, values in found.items()]
        axis.set_yticks(range(len(found)), labels, fontsize=10)
        halves = (-0.5, 0.5) if limit < 4 else ()
        if limit < 1:
            halves = (-0.6, -0.3, 0.3, 0.6)
        ticks = [t for t in sorted((-10, -1, 0, 1, 10, *halves)) if abs(t) < limit]
        axis.set_xticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
        axis.minorticks_off()
        axis.set_ylim(len(found) - 0.5, -0.5)
        figure.supxlabel(xlabel, fontsize=11)
    return figure


def field_of_results(
    published: pd.DataFrame,
    ours: pd.DataFrame,
    model: str,
    kind: str,
    size: str = "weights_percent",
) -> Figure:
    """Error against size: published results as squares, ours with 95 % intervals, a step below.

    A published result on or above the step is met by one of ours that is as small and as accurate.
    Those that no other published result dominates are larger and named; others are named where
    there is room, and the rows of one method are joined. Open squares are unconfirmed. The frame is
    drawn around the published results.

    Args:
        published: as :func:`pruning_core.studies.published.load_published` has it.
        ours: as :func:`pruning_core.studies.published.operating_points` has it.
        model: whose results are shown.
        kind: "structured" or "unstructured".
        size: "weights_percent" or "macs".
    """
    unit = 1e-3 if size == "macs" else 1
    ours = ours.loc[(ours["model"] == model) & ours["method"].isin(OURS[kind])]
    ours = ours.assign(size=unit * ours[size])
    theirs = published.loc[(published["model"] == model) & (published["kind"] == kind)]
    theirs = theirs.dropna(subset=size).assign(size=unit * theirs[size])
    theirs = theirs.assign(first=undominated(theirs[["size", "error_percent"]].to_numpy()))
    top = 1.15 * theirs["error_percent"].max()
    near = ours.loc[ours["error"] < top]
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 4.4), layout="constrained")
        axis = figure.subplots()
        plain_log(axis, "x", np.array([*theirs["size"], *near["size"]]), room=2)
        plain_log(axis, "y", np.array([*theirs["error_percent"], *near["low"]]))
        axis.set_xlabel("weights left, percent" if size != "macs" else "thousands of MACs")
        axis.set_ylabel("test error, percent")
        _step(axis, ours["size"].to_numpy(), ours["error"].to_numpy())
        for _, rows in theirs.groupby("method"):
            along = rows.sort_values("size")
            axis.plot(along["size"], along["error_percent"], color=DENSE, lw=0.8, alpha=0.5)
        for method, colour, marker, name in (
            ("halo", PALETTE[1], "D", "HALO, ours"),
            ("bernoulli", PALETTE[0], "o", "Bernoulli pruning, ours"),
        ):
            points = near.loc[near["method"] == method]
            if len(points):
                bars = points["error"] - points["low"]
                place = (points["size"], points["error"], bars)
                axis.errorbar(*place, fmt=marker, color=colour, ms=6, capsize=3, label=name)
        for confirmed, fill, name in (("yes", DENSE, "published"), ("no", "white", "recalled")):
            rows = theirs.loc[theirs["confirmed"] == confirmed]
            for first, width in ((True, 6.5), (False, 4)):
                these = rows.loc[rows["first"] == first]
                place = (these["size"], these["error_percent"])
                axis.plot(*place, "s", mec=DENSE, mfc=fill, ms=width)
            if len(rows):
                axis.plot([], [], "s", mec=DENSE, mfc=fill, ms=6, label=name)
        legend_below(figure, axis)
        in_order = theirs.sort_values(["first", "size"], ascending=False)
        named = in_order.drop_duplicates("method")["method"]
        _label(figure, axis, in_order, named, near)
    return figure


def _step(axis: Axes, sizes: np.ndarray, errors: np.ndarray) -> None:
    """The least error of the points that are at most as large."""
    order = np.argsort(sizes)
    least = np.minimum.accumulate(errors[order])
    ends = np.concatenate([sizes[order[:1]], sizes[order], [10 * sizes.max() + 1e6]])
    least = np.concatenate([[1e3], least, least[-1:]])
    axis.step(ends, least, where="post", color=PALETTE[0], lw=1, alpha=0.6)
    axis.fill_between(ends, least, 1e3, step="post", color=PALETTE[0], alpha=0.07, lw=0)


def _label(
    figure: Figure, axis: Axes, theirs: pd.DataFrame, named: pd.Series, ours: pd.DataFrame
) -> None:
    """A name beside each method's first row, where it hides no other name and no place.

    A row of the front is named in any case; of others, those are that have room.
    """
    figure.canvas.draw()
    places = [*theirs[["size", "error_percent"]].to_numpy(), *ours[["size", "error"]].to_numpy()]
    points = [axis.transData.transform(place) for place in places]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in points]
    for row in theirs.loc[named.index].to_dict("records"):
        label_beside(
            axis,
            row["method"],
            (row["size"], row["error_percent"]),
            taken,
            anyhow=row["first"],
            color="#222222" if row["first"] else "#555555",
            fontweight="bold" if row["first"] else "normal",
        )


def like_for_like(rows: Mapping[str, tuple[float, bool, pd.Series]]) -> Figure:
    """A row for each method: its published error as a square, ours over the seeds as above.

    Args:
        rows: by label, the published error in percent, whether it is confirmed, and our errors.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 0.42 * len(rows) + 1.4), layout="constrained")
        axis = figure.subplots()
        shown = [error for error, _, _ in rows.values()]
        shown += [error for _, _, ours in rows.values() for error in ours]
        axis.set_xlim(min(shown) - 0.3, max(shown) + 0.3)
        for row, (error, confirmed, ours) in enumerate(rows.values()):
            seeds_and_interval(axis, ours.to_numpy(), row)
            axis.plot(error, row, "s", mec=DENSE, mfc=DENSE if confirmed else "white", ms=8)
        labels = [f"{label}, n = {len(ours)}" for label, (_, _, ours) in rows.items()]
        axis.set_yticks(range(len(rows)), labels, fontsize=10)
        axis.set(xlabel="test error, percent", ylim=(len(rows) - 0.5, -0.5))
        for fill, name in ((DENSE, "published"), ("white", "recalled")):
            axis.plot([], [], "s", mec=DENSE, mfc=fill, label=name)
        axis.plot([], [], "o-", color=PALETTE[0], label="ours")
        legend_below(figure, axis)
    return figure
