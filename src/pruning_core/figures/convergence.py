"""When a unit cannot come back: its flow, its region of attraction, and premature pruning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pruning_core.figures.style import DENSE, KEPT, PALETTE, REMOVED, STYLE, WIDTH, Picture
from pruning_core.theory.dynamics import Bounds, OneUnit

Array = NDArray[np.float64]
_LINES = ("-", "--", "-.", ":")
_LAYERS = {
    "LeNet-300-100 at 28 nats": ("pixels", "hidden 1", "hidden 2"),
    "LeNet-5": ("filters 1", "filters 2", "hidden"),
}
"""What the gates of a network stand for, in the order of their names."""


def phase_portrait(
    unit: OneUnit,
    starts: Array,
    duration: float = 60.0,
    steps: int = 3000,
    *,
    regions: bool = True,
    adam: bool = False,
) -> Figure:
    """Trajectories in the plane of θ and ‖w‖ over the regions from which a unit certainly dies.

    Args:
        unit: whose flow is drawn.
        starts: θ(0) and w(0) of each, shape (k, 2).
        duration: of each trajectory.
        steps: that it is computed in.
        regions: draw them, and the saddle.
        adam: let w take the steps of Adam instead of the flow's.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 4.6), layout="constrained")
        axis = figure.subplots()
        top = 2.2 * unit.bounds.saddle[1]
        if regions:
            _shade(axis, unit.bounds, top)
        move = unit.adam if adam else unit.integrate
        paths = move(starts[:, 0], starts[:, 1], duration, steps)
        thetas, weights = (path[_seen(path)] for path in paths)
        for theta, weight in zip(thetas.T, weights.T, strict=True):
            colour = REMOVED if theta[-1] == 0 else KEPT
            axis.plot(theta, weight, color=colour, lw=1.3)
            axis.plot(theta[0], weight[0], "o", color=colour, ms=4)
            _arrow(axis, theta, weight, colour)
        if regions:
            axis.plot(*unit.bounds.saddle, "s", color="black", ms=6)
            axis.annotate("saddle", unit.bounds.saddle, (8, 2), textcoords="offset points")
        for colour, label in ((REMOVED, "dies"), (KEPT, "survives")):
            axis.plot([], [], color=colour, label=label)
        axis.set(xlim=(-0.015, 1.0), ylim=(0, top), xlabel="θ", ylabel="‖w‖")
        figure.legend(loc="outside upper center", ncols=3 if regions else 2)
    return figure


def norms_at_removal(rows: pd.DataFrame, least: float = 1e-3) -> Figure:
    """Share of the removed units whose r/r* is at most so much, a line for each gate.

    Args:
        rows: of :mod:`pruning_core.studies.removed_units`, with ``kappa``.
        least: what is smaller stands at the left edge.
    """
    networks = list(rows["network"].unique())
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.0, 3.4), layout="constrained")
        axes = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
        for axis, network in zip(axes, networks, strict=True):
            gates = rows.loc[rows["network"] == network].groupby("gate", sort=True)
            for (_, gate), layer, line in zip(gates, _LAYERS[network], _LINES, strict=False):
                ratio = np.sort((gate["kappa"] * gate["norm"] / gate["price"]).clip(lower=least))
                share = 100 * np.arange(1, len(ratio) + 1) / len(ratio)
                look = {"color": PALETTE[_LINES.index(line)], "ls": line, "lw": 2}
                axis.plot(ratio[_seen(ratio)], share[_seen(ratio)], label=layer, **look)
            axis.axvline(1, color=DENSE, lw=1)
            axis.set(xscale="log", xlabel="r/r* when removed", title=network, ylim=(0, 102))
            axis.tick_params(labelleft=True)
            axis.legend(fontsize=10)
        axes[0].set(ylabel="removed units (%)")
    return figure


def inside(rows: pd.DataFrame, fraction: float) -> pd.DataFrame:
    """Of each removed unit its κ at least, and whether it lies in its region of attraction.

    Args:
        rows: of :mod:`pruning_core.studies.removed_units`.
        fraction: f of the estimator.

    Returns:
        The rows with ``kappa``, the larger one of ‖∂L/∂w‖ and |ΔL|/‖w‖ when it is removed; whether
        it is ``inside`` with this f, and whether it would be ``inside_closed``, with f = 0; and
        ``needed_decay``, the λ that this f needs.
    """
    kappa = np.maximum(rows["gradient"], rows["worth"].abs() / rows["norm"])
    columns = rows[["price", "decay", "theta_rate", "theta", "norm"]].to_numpy(dtype=float)
    found = []
    for steep, (price, decay, rate, theta, norm) in zip(kappa, columns, strict=True):
        # Where nothing depends on the weights, every κ > 0 is a bound.
        cases = [Bounds(price, max(steep, 1e-9), decay, rate, f) for f in (fraction, 0.0)]
        within = [bool(case.in_region(theta, norm)) for case in cases]
        found.append([steep, *within, cases[0].needed_decay])
    names = ["kappa", "inside", "inside_closed", "needed_decay"]
    return rows.assign(**dict(zip(names, zip(*found, strict=True), strict=True)))


def region_against(bounds: Bounds, prices: Sequence[float], decays: Sequence[float]) -> Figure:
    """The edge of the region of attraction for several prices and for several weight decays.

    Args:
        bounds: what stays fixed.
        prices: log γ, left panel.
        decays: λ, right panel.
    """
    left = [(Bounds(p, bounds.kappa, bounds.decay, bounds.theta_rate), f"{p:g}") for p in prices]
    right = [
        (Bounds(bounds.log_gamma, bounds.kappa, d, bounds.theta_rate), f"{d:g}") for d in decays
    ]
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.0, 3.2), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        theta = np.array([0.0, 1.0])
        for axis, cases, title in zip(axes, (left, right), ("log γ", "λ"), strict=True):
            for (case, label), line in zip(cases, _LINES, strict=False):
                colour = PALETTE[_LINES.index(line)]
                axis.plot(theta, _edge(case, theta), color=colour, ls=line, lw=2, label=label)
                axis.plot(*case.saddle, "s", color=colour, ms=6)
            axis.set(xlim=(0, 1), ylim=(0, None), xlabel="θ", ylabel="‖w‖")
            axis.tick_params(labelleft=True)
            axis.legend(title=title)
        axes[0].set(title=f"λ = {bounds.decay:g}")
        axes[1].set(title=f"log γ = {bounds.log_gamma:g}")
    return figure


def too_fast(paths: Mapping[float, tuple[Array, Array]], duration: float, price: float) -> Figure:
    """θ and the worth of one unit over time, for several speeds of θ.

    Args:
        paths: by speed η, θ and the worth in nats at equal times, shape (steps + 1,) each.
        duration: from the first to the last of these times.
        price: of the unit, log γ in nats.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 4.4), layout="constrained")
        axes = figure.subplots(2, sharex=True)
        for (rate, path), line in zip(paths.items(), _LINES, strict=False):
            for axis, values in zip(axes, path, strict=True):
                times = np.linspace(0, duration, len(values))
                colour = PALETTE[_LINES.index(line)]
                axis.plot(times, values, color=colour, ls=line, lw=2, label=f"η = {rate:g}")
        axes[1].axhline(price, color=DENSE, lw=1)
        axes[1].annotate(
            "price", (duration, price), (-4, 3), textcoords="offset points", ha="right"
        )
        axes[0].set(ylabel="θ", ylim=(-0.03, 1.03))
        axes[1].set(ylabel="worth (nats)", xlabel="time", xlim=(0, duration))
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, ncols=3, loc="outside upper center")
    return figure


def survivors(fates: Mapping[str, Array]) -> Figure:
    """Share of the units with θ ≥ 1/2 at every step, a line a variant of the step on θ.

    Args:
        fates: by label, θ of all units at every step, shape (steps + 1, units).
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.4), layout="constrained")
        axis = figure.subplots()
        for (label, theta), line in zip(fates.items(), _LINES, strict=False):
            share = 100 * (theta >= 0.5).mean(1)
            seen = np.arange(0, len(share), max(1, len(share) // 150))  # as many as a line shows
            colour = PALETTE[_LINES.index(line)]
            axis.plot(seen, share[seen], color=colour, ls=line, lw=2, label=label)
        axis.set(xlabel="step", ylabel="units with θ ≥ ½ (%)", ylim=(-2, 102))
        axis.xaxis.set_major_locator(MaxNLocator(4))
        figure.legend(loc="outside upper center")
    return figure


def _edge(bounds: Bounds, theta: Array) -> Array:
    return bounds.largest_norm - (1 - bounds.fraction) * bounds.kappa / bounds.mu * theta


def _seen(path: Array) -> NDArray[np.intp]:
    """At most 3001 of its points, the first and the last among them."""
    return np.linspace(0, len(path) - 1, min(len(path), 3001)).round().astype(np.intp)


def _shade(axis: Axes, bounds: Bounds, top: float) -> None:
    theta = np.linspace(0.0, 1.0, 201)
    edge = _edge(bounds, theta).clip(min=0)
    triangle = bounds.saddle[1] - theta / np.sqrt(bounds.theta_rate)
    theta_star, norm_star = bounds.saddle
    axis.fill_between(theta, edge, color="#dddddd", lw=0, label="whole region")
    axis.plot(theta, _edge(bounds, theta), color="#777777", lw=1.5)
    box = Rectangle((0, 0), theta_star, norm_star, label="box")
    box.set(facecolor="none", edgecolor="black", hatch="//", linewidth=1, alpha=0.5)
    axis.add_patch(box)
    if bounds.fraction == 0:
        axis.plot(theta, triangle, color="black", ls="--", lw=1.2, label="triangle")
    axis.set_ylim(0, top)


def _arrow(axis: Axes, theta: Array, weight: Array, colour: str | tuple[float, ...]) -> None:
    """In the direction of time, halfway along the trajectory as drawn."""
    length = np.concatenate([[0.0], np.hypot(np.diff(theta), np.diff(weight)).cumsum()])
    middle = int(np.searchsorted(length, 0.45 * length[-1])) + 1
    tail, head = (theta[middle - 1], weight[middle - 1]), (theta[middle], weight[middle])
    style = {"arrowstyle": "-|>", "color": colour, "lw": 0, "mutation_scale": 13}
    axis.annotate("", head, tail, arrowprops=style)
