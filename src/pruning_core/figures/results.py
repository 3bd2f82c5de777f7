"""What the studies found: error against size, the networks that survive, and the way there.

The figures show every point that is recorded, with n, its number of seeds, and grow with them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter
from matplotlib.transforms import Bbox

from pruning_core.figures.style import LOOKS, PALETTE, STYLE, WIDTH, Picture, legend_below
from pruning_core.studies.intervals import mean_interval

_MARKERS = "os^Dv"
_SEED = "#999999"
_OUTLINE = [withStroke(linewidth=2.5, foreground="white")]
"""Around letters that stand among dots."""
_PLACES: list[dict[str, Any]] = [
    {"position": (x, y), "horizontalalignment": "left" if x > 0 else "right"}
    for x, y in ((7, 7), (7, -14), (-7, -14), (-7, 7))
]
"""Of a label beside its point, in points of print."""
_SHADES = np.linspace(0.3, 1, 64)
"""Of one hue: a single unit is pale but seen, many are dark."""
_TICKED = (
    (4, (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)),
    (8, (1, 2, 3, 5, 7)),
    (80, (1, 2, 5)),
    (np.inf, (1,)),
)
"""What is ticked of each power of ten, on an axis that spans less than so much."""


def error_against_size(
    rows: pd.DataFrame, size: str, label: str, series: Mapping[str, str]
) -> Figure:
    """Mean test error of each point against its mean size, with the 95 % interval of the error.

    Args:
        rows: recorded runs, one a row; each is a faint dot.
        size: the column on the horizontal axis, which is logarithmic.
        label: of that axis.
        series: by the first word of a point's name, what its series is called.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 4.0), layout="constrained")
        axis = figure.subplots()
        legend = any(name != word for word, name in series.items())
        labels: list[Annotation] = []
        for (word, name), colour, mark in zip(series.items(), PALETTE, _MARKERS, strict=False):
            own = rows.loc[[point.split()[0] == word for point in rows["point"]]]
            if not len(own):
                continue
            seeds = Counter(own["point"])
            least, most = min(seeds.values()), max(seeds.values())
            few = len(seeds) <= 4
            axis.plot(own[size], own["test_error_percent"], ".", color=colour, alpha=0.35, ms=4)
            for point, runs in own.groupby("point", sort=False):
                error, low, high = mean_interval(np.asarray(runs["test_error_percent"]))
                bars = None if len(runs) < 2 else [[error - low], [high - error]]
                x = runs[size].mean()
                axis.errorbar(x, error, bars, fmt=mark, color=colour, capsize=4, ms=6, lw=2)
                setting = _name(str(point).removeprefix(word).strip() or point)
                text = setting if few else setting.split()[-1]
                text += f", n = {len(runs)}" if few and (least < most or not legend) else ""
                style = {"fontsize": 10, "color": colour, "path_effects": _OUTLINE, "zorder": 4}
                style["textcoords"] = "offset points"
                labels.append(axis.annotate(text, (x, error), (7, 7), **style))
            n = f"{most}" if least == most else f"{least} to {most}"
            axis.plot([], [], mark, color=colour, label=f"{name}, n = {n}")
        plain_log(axis, "x", np.asarray(rows[size]), room=1.5)
        axis.set(xlabel=label, ylabel="final test error, %")
        if legend:
            legend_below(figure, axis)
        _keep_apart(figure, axis, labels)
    return figure


def architectures(rows: pd.DataFrame, layers: Mapping[str, tuple[int, int]]) -> Figure:
    """Units that survive in each layer, a panel a layer: every seed, and the mean of each point.

    Args:
        rows: recorded runs.
        layers: by the layer's name, its place in the architecture, and its units at the start.
    """
    points = list(dict.fromkeys(rows["point"]))
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 1.3 + 0.34 * len(points)), layout="constrained")
        axes = figure.subplots(1, len(layers), sharey=True, squeeze=False)[0]
        for axis, (name, (place, total)) in zip(axes, layers.items(), strict=True):
            labels = []
            for row, point in enumerate(points):
                sizes = rows.loc[rows["point"] == point, "architecture"]
                units = np.array([int(size.split("-")[place]) for size in sizes])
                axis.barh(row, units.mean(), color=PALETTE[0], alpha=0.35, height=0.6)
                axis.plot(units, np.full(len(units), row), "|", color="black", ms=9, mew=0.7)
                labels.append(f"{_name(point)}, n = {len(units)}".replace(", ", ",\n", 1))
            axis.set_yticks(range(len(points)), labels, fontsize=10)
            axis.set(ylim=(len(points) - 0.5, -0.5), xlim=(0, None))
            axis.set_title(fill(name, 11) + f",\nof {total}", fontsize=10)
            axis.xaxis.set_major_locator(MaxNLocator(2, integer=True))
        figure.supxlabel("left at the end", fontsize=11)
    return figure


def over_epochs(epochs: pd.DataFrame, panels: Mapping[str, str]) -> Figure:
    """Columns of the trajectories against the epoch: the mean of each point.

    Axes are logarithmic; linear below 1 for a column that reaches 0.

    Args:
        epochs: trajectories, with ``point`` and ``epoch``.
        panels: by column, the panel's title.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 0.6 + 2.3 * len(panels)), layout="constrained")
        axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
        for axis, (column, title) in zip(axes, panels.items(), strict=True):
            known = epochs.dropna(subset=[column])
            groups = known.groupby("point", sort=False)
            colours = _colours(len(groups))
            for (point, runs), colour in zip(groups, colours, strict=False):
                found = runs.groupby("epoch")[column].agg(["mean"])
                label = f"{_name(point)}, n = {len(set(runs['run']))}"
                axis.plot(found.index, found["mean"], color=colour, lw=1.6, label=label)
            axis.set_title(title)
            if np.all(known[column] > 0):
                plain_log(axis, "y", np.asarray(known[column]))
            else:
                axis.set_yscale("symlog", linthresh=1)
                axis.yaxis.set_major_formatter(ScalarFormatter())
                axis.set_ylim(bottom=0)
        legend_below(figure, axes[0])
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
        figure = Picture(figsize=(WIDTH, 1.75 * len(titles)), layout="constrained")
        axes = figure.subplots(len(titles), sharex=True, squeeze=False)[:, 0]
        norm, shades = LogNorm(1, 1000), ListedColormap(mpl.colormaps["Blues"](_SHADES))
        for axis, (gate, title) in zip(axes, titles.items(), strict=True):
            counts = np.array([theta[gate]["histogram"] for theta in noted], dtype=float).T
            axis.imshow(
                np.where(counts > 0, counts, np.nan),
                aspect="auto",
                origin="lower",
                extent=(0.5, len(noted) + 0.5, 0, 1),
                cmap=shades,
                norm=norm,
                interpolation="nearest",
            )
            axis.set(title=title, ylabel="θ", yticks=[0, 0.5, 1])
        axes[-1].set_xlabel("epoch")
        figure.colorbar(
            ScalarMappable(norm, shades), ax=list(axes), label="units", aspect=40, format="{x:g}"
        )
    return figure


def compared(rows: pd.DataFrame, panels: Mapping[str, str], points: Sequence[str]) -> Figure:
    """Columns of the points side by side: seeds as ticks, mean and 95 % interval.

    Args:
        rows: recorded runs.
        panels: by column, the label of its axis.
        points: one a row of the figure; a point without a run keeps an empty row.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 1.2 + 0.3 * len(points)), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (column, label) in zip(axes, panels.items(), strict=True):
            found = [rows.loc[rows["point"] == p, column].dropna().to_numpy() for p in points]
            ends = np.concatenate([[*x, *mean_interval(x)] for x in found if len(x)])
            low, high = np.nanmin(ends), np.nanmax(ends)
            room = 0.1 * (high - low)
            axis.set_xlim(0 if 0 <= low < high - low else low - room, high + room)
            for row, values in enumerate(found):
                if len(values):
                    seeds_and_interval(axis, values, row)
            axis.set_ylim(len(points) - 0.5, -0.5)
            axis.set_xlabel(fill(label, 33 // len(panels)), fontsize=10)
            axis.xaxis.set_major_locator(MaxNLocator(4 - len(panels) // 2))
            axis.tick_params(labelsize=10)
        counts = Counter(rows["point"])
        labels = [f"{point}, n = {counts[point]}" for point in points]
        axes[0].set_yticks(range(len(points)), labels, fontsize=10)
    return figure


def seeds_and_interval(axis: Axes, values: np.ndarray, row: int) -> None:
    """One row of a figure: seeds as ticks, the mean as a dot, its 95 % t interval as a line.

    An open dot is a single seed. Ends of an interval outside the axis become arrows.

    Args:
        axis: with its limits set.
        values: over the seeds; shape (n,).
        row: where.
    """
    axis.plot(values, [row] * len(values), "|", color=_SEED, ms=12)
    mean, low, high = mean_interval(values)
    left, right = axis.get_xlim()
    axis.plot(np.clip([low, high], left, right), [row, row], color=PALETTE[0], lw=2)
    for end, edge, marker in ((low, left, "<"), (high, right, ">")):
        if (end < left) if marker == "<" else (end > right):
            axis.plot(edge, row, marker, color=PALETTE[0], ms=7, clip_on=False)
    axis.plot(mean, row, "o", color=PALETTE[0], mfc=PALETTE[0] if len(values) > 1 else "white")


def size_over_epochs(groups: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """Weights left after each epoch, means over the seeds, a panel for each group.

    Args:
        groups: by title, by label of up to five, rows with the columns epoch and weights_kept.
    """
    with mpl.rc_context(STYLE):
        rows, columns = -(-len(groups) // 2), min(2, len(groups))
        figure = Picture(figsize=(6.0, 2.6 * rows + 0.4), layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axis in axes.flat[len(groups) :]:
            axis.set_axis_off()
        for axis, (title, group) in zip(axes.flat, groups.items(), strict=False):
            for (label, epochs), (colour, _, dash) in zip(group.items(), LOOKS, strict=False):
                weights = pd.Series(epochs.groupby("epoch")["weights_kept"].mean()) / 1000
                axis.plot(weights, color=colour, ls=dash, lw=2, label=label)
            axis.set(title=fill(title, 28), xlabel="epoch", ylabel="weights, thousands")
            axis.set_yscale("log")
            axis.tick_params(labelleft=True, labelbottom=True)
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.minorticks_off()
            axis.legend(fontsize=10)
    return figure


def plain_log(axes: Axes, name: str, values: np.ndarray, room: float = 1.15) -> None:
    """A logarithmic axis, "x" or "y", with plain numbers, and room above the values for labels."""
    low, high = float(values.min()) / 1.15, float(values.max()) * room
    axes.set(**{f"{name}scale": "log", f"{name}lim": (low, high)})
    axis = {"x": axes.xaxis, "y": axes.yaxis}[name]
    factors = next(ticked for span, ticked in _TICKED if high < span * low)
    steps = [m * 10.0**p for p in range(-2, 9) for m in factors]
    ticks = [x for x in steps if low <= x <= high]
    axis.set_ticks(ticks, labels=[f"{x:,g}" for x in ticks])
    axis.set_minor_formatter(NullFormatter())


def zeros_axis(axes: Axes, shares: Sequence[float]) -> None:
    """The horizontal axis is of zeros in percent, logarithmic in the weights that are left.

    Most of what happens does so in the last two percent, where a linear axis has no room.

    Args:
        shares: in percent, below 100; these are the ticks.
    """
    axes.set_xscale("function", functions=(_of_zeros, _zeros_at))
    axes.set_xticks(list(shares), [f"{share:g}" for share in shares])
    axes.set_xlabel("zeros among the weights, percent\n(logarithmic in what is left)")


def beside_zeros(shares: Sequence[float], shift: float) -> np.ndarray:
    """Places on :func:`zeros_axis`, moved to the right by so many powers of ten."""
    return _zeros_at(_of_zeros(np.asarray(shares, dtype=float)) + shift)


def _of_zeros(shares: np.ndarray) -> np.ndarray:
    return -np.log10(np.clip(100 - shares, 1e-6, None))


def _zeros_at(places: np.ndarray) -> np.ndarray:
    return 100 - 10**-places


def _keep_apart(figure: Figure, axis: Axes, labels: Sequence[Annotation]) -> None:
    """Put each label beside its point where it covers least of the others and of their points."""
    figure.draw_without_rendering()
    points = axis.transData.transform(np.reshape([label.xy for label in labels], (-1, 2)))
    taken = [Bbox([point - 6, point + 6]) for point in points]
    for label in labels:
        covered: list[tuple[int, int]] = []
        for number, place in enumerate(_PLACES):
            label.set(**place)
            box = label.get_window_extent()
            inside = axis.bbox.contains(*box.min) and axis.bbox.contains(*box.max)
            covered.append((box.count_overlaps(taken) + (not inside), number))
        label.set(**_PLACES[min(covered)[1]])
        taken.append(label.get_window_extent())


def _name(point: object) -> str:
    return str(point).replace("log_gamma=", "log γ = ")


def _colours(count: int) -> Sequence[object]:
    """Of as many points: the palette's, or a scale from dark to light if they are many."""
    return PALETTE if count <= 4 else list(mpl.colormaps["viridis"](np.linspace(0, 0.9, count)))
