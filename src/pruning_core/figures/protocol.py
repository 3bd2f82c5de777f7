"""The protocol: how much the best error flatters, what an interval covers, what seeds can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pruning_core.figures.results import seeds_and_interval
from pruning_core.figures.style import DENSE, LOOKS, PALETTE, STYLE, WIDTH, Picture, legend_below


def flattery(rows: pd.DataFrame) -> Figure:
    """By how much the best error of a run lies below its final one: runs, mean and 95 % interval.

    Args:
        rows: recorded runs; a row of the figure for each model and method.
    """
    names = rows["model"] + ",\n" + rows["method"]
    flattered = rows["test_error_percent"] - rows["best_test_error_percent"]
    groups = {name: values.to_numpy() for name, values in flattered.groupby(names)}
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 0.9 + 0.5 * len(groups)), layout="constrained")
        axis = figure.subplots()
        axis.set_xlim(-0.005, 1.05 * max(values.max() for values in groups.values()))
        for place, values in enumerate(groups.values()):
            seeds_and_interval(axis, values, place)
        labels = [f"{name}, n = {len(values)}" for name, values in groups.items()]
        axis.set_yticks(range(len(groups)), labels, fontsize=10)
        axis.set_ylim(len(groups) - 0.5, -0.5)
        figure.supxlabel("final − best test error, points", fontsize=11)
    return figure


def coverage(curves: Mapping[str, Sequence[float]], seeds: Sequence[int]) -> Figure:
    """How often an interval around the mean holds the truth, against the number of seeds.

    Args:
        curves: by the interval's name, its coverage for each number of seeds, 0 to 1.
        seeds: their numbers.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.4), layout="constrained")
        axis = figure.subplots()
        colours = (PALETTE[0], PALETTE[1], PALETTE[3])
        for (name, values), colour, mark in zip(curves.items(), colours, "os^", strict=False):
            axis.plot(seeds, 100 * np.asarray(values), f"{mark}-", color=colour, ms=4, label=name)
        axis.axhline(95, color=DENSE, lw=0.8, ls=":")
        axis.axvline(10, color=DENSE, lw=0.8, ls=":")
        axis.set(xlabel="seeds", ylabel="intervals that hold the truth, %", ylim=(48, 100))
        axis.set_xticks([2, 5, 10, 15, 20])
        axis.legend(loc="lower right")
    return figure


def power(curves: Mapping[int, Sequence[float]], effects: Sequence[float]) -> Figure:
    """How often a difference is found, against its size in standard deviations.

    Args:
        curves: by number of seeds, the power at each effect, 0 to 1.
        effects: true differences, in standard deviations of one difference.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.4), layout="constrained")
        axis = figure.subplots()
        for (seeds, values), colour, dash in zip(
            curves.items(), PALETTE, ("-", "--", "-.", ":"), strict=False
        ):
            line = 100 * np.asarray(values)
            axis.plot(effects, line, dash, color=colour, lw=2, label=f"{seeds} seeds")
        axis.axhline(80, color=DENSE, lw=0.8, ls=":")
        axis.set(
            xlabel="true difference, standard deviations of one difference",
            ylabel="found, % of studies",
            ylim=(0, 101),
            xlim=(0, effects[-1]),
        )
        axis.legend(loc="lower right")
    return figure


def strictness(room: np.ndarray, by_rule: Mapping[str, np.ndarray]) -> Figure:
    """Probability that a condition is met, against how far the truth is inside its limit.

    Args:
        room: in standard deviations of one run; shape (n,).
        by_rule: probabilities, by label; shape (n,).
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.6), layout="constrained")
        axis = figure.subplots()
        for (label, values), (colour, _, dash) in zip(by_rule.items(), LOOKS, strict=False):
            axis.plot(room, values, color=colour, ls=dash, lw=2, label=label)
        axis.axvline(0, color="black", lw=1)
        axis.set(ylim=(-0.02, 1.02), ylabel="probability of being met")
        axis.set_xlabel("true mean inside the limit by,\nstandard deviations of a run")
        legend_below(figure, axis)
    return figure
