"""Sections that may leave: where their gates stand, how many are left, and which."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from pruning_core.figures.style import KEPT, LOOKS, REMOVED, STYLE, WIDTH, Picture, legend_below

_STEP = 3.2
"""From one section of the drawing to the next."""


def sections_beside_their_paths() -> Figure:
    """Three sections with their gates, and the same network once the second has left."""
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Picture(figsize=(WIDTH, 2.5), layout="constrained")
        axes = figure.subplots(2)
        for axis, there, title in zip(
            axes,
            ((True, True, True), (True, False, True)),
            ("ξ₂ is closed for good …", "… and the second section has left"),
            strict=True,
        ):
            _chain(axis, there)
            axis.set_title(title)
    return figure


def _chain(axis: Axes, there: tuple[bool, ...]) -> None:
    """The stream from left to right, and above it the sections that are there."""
    end = _STEP * len(there)
    line = {"color": "black", "lw": 1.4}
    arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, **line}
    axis.annotate("", (end + 0.7, 0), (-0.8, 0), arrowprops=arrow)
    axis.text(-1.0, 0, "x", ha="right", va="center")
    for number, present in enumerate(there, start=1):
        left = _STEP * (number - 1)
        if not present:
            continue
        closed = all(there) and number == 2
        colour = REMOVED if closed else KEPT
        own = {"color": colour, "lw": 1.4, "ls": "--" if closed else "-"}
        axis.plot([left, left, left + 0.3], [0, 1.3, 1.3], **own)
        axis.plot([left + 1.3, left + 2.6, left + 2.6], [1.3, 1.3, 0.25], **own)
        box = FancyBboxPatch(
            (left + 0.35, 0.9), 0.9, 0.8, boxstyle="round,pad=0.05", fc="white", ec=colour, lw=1.4
        )
        gate = Circle((left + 1.95, 1.3), 0.42, fc="white", ec=colour, lw=1.4)
        plus = Circle((left + 2.6, 0), 0.25, fc="white", ec="black", lw=1.4)
        for patch in (box, gate, plus):
            axis.add_patch(patch).set_zorder(3)
        centred = {"ha": "center", "va": "center", "zorder": 4}
        index = "₁₂₃"[number - 1]
        axis.text(left + 0.8, 1.3, f"F{index}", **centred)
        axis.text(left + 1.95, 1.3, f"ξ{index}", **centred)
        axis.text(left + 2.6, 0, "+", **centred)
    axis.set(xlim=(-1.6, end + 0.8), ylim=(-0.4, 2.0), aspect="equal")
    axis.set_axis_off()


def depth_over_epochs(panels: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """Sections left after each epoch: every seed as a faint line, the mean as a strong one.

    Args:
        panels: by title, by label of up to five, trajectories with epoch, run and sections.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 0.7 + 2.3 * len(panels)), layout="constrained")
        axes = figure.subplots(len(panels), squeeze=False)[:, 0]
        for axis, (title, groups) in zip(axes, panels.items(), strict=True):
            for (label, epochs), (colour, _, dashes) in zip(groups.items(), LOOKS, strict=False):
                wide = epochs.pivot_table(index="epoch", columns="run", values="sections")
                start = pd.DataFrame(float(label.split()[1]), index=[0], columns=wide.columns)
                wide = pd.concat([start, wide])
                axis.plot(wide, color=colour, alpha=0.25, lw=0.8)
                text = f"{label}, n = {wide.shape[1]}"
                axis.plot(wide.mean(axis=1), color=colour, ls=dashes, lw=2.2, label=text)
            axis.set(title=title, ylabel="sections left", ylim=(0, None))
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_below(figure, axes[0])
        axes[-1].set_xlabel("epoch")
    return figure


def which_are_left(panels: Mapping[str, np.ndarray]) -> Figure:
    """The share of the seeds in which each section is left, a panel for each start.

    Args:
        panels: by title, for each seed and section whether it is left; bool (seeds, sections).
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 1.5 * len(panels)), layout="constrained")
        axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
        for axis, (title, left) in zip(axes, panels.items(), strict=True):
            numbers = np.arange(1, left.shape[1] + 1)
            axis.bar(numbers, 100 * left.mean(axis=0), color=KEPT, width=0.8)
            axis.set(title=f"{title}, n = {len(left)}", ylim=(0, 100), yticks=(0, 50, 100))
            axis.set_ylabel("left in, %")
        axes[-1].set_xlabel("section, from the input")
        axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
