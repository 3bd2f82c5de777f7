"""A network that prunes itself: its probabilities, pixels, cost and mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from pruning_core.figures.style import DENSE, KEPT, REMOVED, STYLE, WIDTH, Picture


def theta_in_motion(history: Mapping[str, Tensor], titles: Mapping[str, str]) -> Figure:
    """θ of about fifty units over the epochs, a panel a gate, coloured by the unit's fate.

    Args:
        history: by name of the gate, θ after each epoch; shape (epochs + 1, units).
        titles: by name of the gate, what its units are.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 1.9 * len(history)), layout="constrained")
        axes = figure.subplots(len(history), sharex=True, squeeze=False)[:, 0]
        for axis, (name, theta) in zip(axes, history.items(), strict=True):
            lines = theta.numpy().T
            epochs = np.arange(lines.shape[1])
            kept = lines[:, -1] >= 0.5
            for fate, colour, height, label in (
                (~kept, REMOVED, 0, f"{int((~kept).sum())}\nremoved"),
                (kept, KEPT, 1, f"{int(kept.sum())}\nkept"),
            ):
                every = -(-len(lines) // 50)
                segments = [np.column_stack([epochs, line]) for line in lines[fate][::every]]
                axis.add_collection(LineCollection(segments, colors=[colour], linewidths=0.7))
                axis.annotate(
                    label,
                    (epochs[-1], height),
                    (7, 0),
                    textcoords="offset points",
                    va="top" if height else "bottom",
                    color=colour,
                )
            axis.set(title=titles[name], xlim=(0, epochs[-1]), ylim=(-0.03, 1.03), ylabel="θ")
        axes[-1].set_xlabel("epoch")
        axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def surviving_pixels(kept: Tensor, images: Tensor) -> Figure:
    """The mean training image beside the pixels that the network still reads.

    Args:
        kept: which pixels survive; bool, shape (784,).
        images: training images, shape (N, 1, 28, 28).
    """
    mask = kept.reshape(28, 28).numpy()
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Picture(figsize=(6.0, 3.3), layout="constrained")
        axes = figure.subplots(1, 2)
        mean = images.mean((0, 1)).numpy()
        axes[0].imshow(mean, cmap="Greys")
        axes[0].set_title("mean training image")
        axes[1].imshow(mean, cmap="Greys", alpha=0.35)
        rows, columns = np.nonzero(mask)
        axes[1].scatter(columns, rows, marker="s", s=20, color=KEPT)
        axes[1].set_title(f"{int(mask.sum())} pixels still read")
        for axis in axes:
            axis.set(xticks=[], yticks=[], xlim=(-0.5, 27.5), ylim=(27.5, -0.5))
            axis.spines[:].set_visible(True)
            axis.spines[:].set_color("#cccccc")
    return figure


def confusion(predicted: Tensor, labels: Tensor) -> Figure:
    """How often each digit is taken for each other one; the diagonal is left out.

    Args:
        predicted: predicted classes, int64, shape (N,).
        labels: true classes, int64, shape (N,).
    """
    classes = int(labels.max()) + 1
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (labels.numpy(), predicted.numpy()), 1)
    diagonal = np.eye(classes, dtype=bool)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Picture(figsize=(WIDTH, 4.6), layout="constrained")
        axis = figure.subplots()
        sns.heatmap(
            counts,
            mask=diagonal,
            annot=True,
            fmt="d",
            cmap="Blues",
            cbar=False,
            square=True,
            linewidths=0.5,
            annot_kws={"size": 10},
            ax=axis,
        )
        axis.set(xlabel="taken for", ylabel="digit")
        axis.tick_params(length=0, rotation=0)
    return figure


def confused_digits(images: Tensor, labels: Tensor, predicted: Tensor, count: int = 12) -> Figure:
    """The first few test images that a network gets wrong, with what it took them for."""
    wrong = (predicted != labels).nonzero().flatten()[:count]
    columns = 3
    rows = -(-len(wrong) // columns)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Picture(figsize=(WIDTH, 1.6 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, index in zip(axes.flat, wrong.tolist(), strict=False):
            axis.imshow(images[index, 0].numpy(), cmap="Greys")
            axis.set_title(
                f"{int(labels[index])} taken for {int(predicted[index])}",
                fontsize=10,
                loc="center",
            )
    return figure


def cost_and_error(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Seconds an epoch takes and test error after it, for several runs side by side.

    Args:
        runs: by label, the trajectory of a run, as in its summary.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 5.0), layout="constrained")
        axes = figure.subplots(2, sharex=True)
        for (label, trajectory), colour in zip(runs.items(), (DENSE, KEPT), strict=False):
            epochs = [record["epoch"] for record in trajectory]
            for axis, key in zip(axes, ("seconds", "test_error_percent"), strict=True):
                axis.plot(epochs, [r[key] for r in trajectory], color=colour, label=label, lw=2)
        axes[0].set(title="what an epoch costs", ylabel="seconds")
        axes[0].set_ylim(bottom=0)
        axes[1].set(title="test error after it", xlabel="epoch", ylabel="percent", yscale="log")
        axes[1].set_yticks([1.5, 2, 3, 5], ["1.5", "2", "3", "5"])
        axes[1].minorticks_off()
        axes[1].margins(y=0.12)
        axes[1].xaxis.set_major_locator(MaxNLocator(integer=True))
        for axis in axes:
            _name_at_the_end(axis)
    return figure


def _name_at_the_end(axis: Axes) -> None:
    """Each line's label beside its last point, the higher of two a little up, the other down."""
    lines = sorted(axis.get_lines(), key=lambda line: float(np.asarray(line.get_ydata())[-1]))
    for place, line in enumerate(lines):
        end = (np.asarray(line.get_xdata())[-1], np.asarray(line.get_ydata())[-1])
        axis.annotate(
            str(line.get_label()),
            end,
            (7, 0),
            textcoords="offset points",
            va="bottom" if place else "top",
            color=line.get_color(),
        )
