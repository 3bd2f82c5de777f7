"""The gradient of θ: false equilibria, bias against noise, noise against the number of gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from torch import Tensor

from pruning_core.figures.style import DENSE, PALETTE, STYLE, WIDTH, Picture
from pruning_core.theory.estimator_quality import Quality
from pruning_core.theory.one_gate import LogisticGate

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", "-.", ":")


def false_equilibria(gate: LogisticGate, log_gamma: float, paths: Mapping[str, Tensor]) -> Figure:
    """What a step on θ expects as slope, and where θ goes with each estimator.

    Args:
        gate: the loss along the only gate.
        log_gamma: price in nats.
        paths: by label, θ after every step, shape (steps + 1, starts); straight-through first.
    """
    theta = torch.linspace(0, 1, 50)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.0, 3.5), layout="constrained")
        axes = figure.subplots(1, 2)
        left, right = axes
        colours = dict(zip(paths, (PALETTE[1], PALETTE[0]), strict=False))
        first, *rest = colours
        left.axhline(0, color=DENSE, lw=1)
        slope = gate.straight_through_slope(theta, log_gamma)
        left.plot(theta, slope, color=colours[first], ls="--", lw=2)
        for label in rest:
            left.axhline(log_gamma - gate.worth, color=colours[label], lw=2)
        rests = gate.straight_through_rest(log_gamma)
        left.plot(rests, 0, "o", color=colours[first], ms=8, clip_on=False)
        left.set(xlabel="θ", ylabel="expected slope (nats)", xlim=(0, 1))
        for (label, path), line in zip(paths.items(), ("--", "-"), strict=False):
            for start in range(path.shape[1]):
                text = label if start == 0 else None
                right.plot(path[:, start], color=colours[label], ls=line, lw=1.5, label=text)
        right.set(xlabel="step", ylabel="θ", ylim=(-0.03, 1.03))
        handles, labels = right.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure


def bias_and_noise(found: Mapping[str, Quality]) -> Figure:
    """Every estimator's bias against the noise of one draw, relative to the exact gradient.

    The bars are two standard errors long to either side, but end at 0, as a norm does.

    Args:
        found: by name of the estimator.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.8), layout="constrained")
        axis = figure.subplots()
        for index, (name, q) in enumerate(found.items()):
            bias, reach = q.bias_alone, 2 * q.error
            axis.errorbar(
                bias,
                q.noise,
                xerr=[[min(reach, bias)], [reach]],
                fmt=_MARKERS[index],
                color=PALETTE[index],
                ms=8,
                capsize=3,
                label=name,
            )
        axis.set(xlabel="bias (relative)", ylabel="noise of one draw (relative)", yscale="log")
        axis.set_yticks([0.2, 0.5, 1, 2], ["0.2", "0.5", "1", "2"])
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_xlim(left=-0.02)
        axis.axvline(0, color=DENSE, lw=1)
        figure.legend(loc="outside upper center", ncols=2, fontsize=10)
    return figure


def noise_by_gates(gates: Sequence[int], noise: Mapping[str, Sequence[float]]) -> Figure:
    """Noise of one estimate of the gradient in θ, against the number of gates.

    Args:
        gates: numbers of gates.
        noise: by estimator, relative to the gradient, for each number of gates.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3.6), layout="constrained")
        axis = figure.subplots()
        for index, (name, values) in enumerate(noise.items()):
            axis.plot(
                gates,
                values,
                color=PALETTE[index],
                marker=_MARKERS[index],
                ls=_LINES[index],
                lw=2,
                label=name,
            )
        axis.set(xscale="log", yscale="log", xlabel="number of gates")
        axis.set_ylabel("noise of one draw (relative)")
        axis.set_xticks(list(gates), [str(count) for count in gates])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_yticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.legend()
    return figure
