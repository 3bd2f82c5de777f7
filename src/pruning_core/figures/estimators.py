"""The gradient of θ: the loss along a gate, false equilibria, bias and noise of the estimators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from torch import Tensor

from pruning_core.figures.style import DENSE, KEPT, PALETTE, STYLE, WIDTH, Picture
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


def loss_along_a_gate(values: Tensor, loss: Tensor, slopes: Tensor, looks: Tensor) -> Figure:
    """ℓ(t) with the tangents at its ends and the chord; below it ℓ′(t), whose mean is the chord's.

    Args:
        values: t, increasing from 0 to 1; shape (k,).
        loss: ℓ(t) in nats; shape (k,).
        slopes: ℓ′(t) in nats; shape (k,).
        looks: positions in ``values`` at which a pass looks; int64.
    """
    t, height, slope = (x.detach().numpy() for x in (values, loss, slopes))
    chord, orange = height[-1] - height[0], PALETTE[1]
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 5.8), layout="constrained")
        above, below = figure.subplots(2, sharex=True, height_ratios=(5, 3))
        ends = [0.0, 1.0]
        for at in (0, -1):
            line = height[at] + slope[at] * (np.array(ends) - t[at])
            above.plot(ends, line, color=orange, ls="--", lw=1.8)
            below.plot(t[at], slope[at], "s", color=orange, ms=8, clip_on=False, zorder=4)
        above.plot(ends, height[[0, -1]], color="black", lw=1.8)
        above.plot(t, height, color=KEPT, lw=3)
        above.plot(ends, height[[0, -1]], "o", color=KEPT, ms=8, clip_on=False, zorder=4)
        below.plot(t, slope, color=KEPT, lw=3)
        below.axhline(chord, color="black", lw=1.8)
        for look in looks.tolist():
            reach = 0.07 * np.array([-1.0, 1.0])
            above.plot(
                t[look] + reach, height[look] + slope[look] * reach, color=PALETTE[2], lw=2.5
            )
            for axis, y in ((above, height), (below, slope)):
                axis.plot(t[look], y[look], "D", color=PALETTE[2], ms=7, zorder=5)
        foot = float(height[0] + slope[0])  # where the tangent at 0 ends
        first = int(looks.min())
        names = (
            (above, (0.36, height[0] + 0.36 * chord), (6, 4), f"chord: worth {-chord:.0f}"),
            (above, (0, height[-1] - slope[-1]), (5, -16), f"at 1: worth {-slope[-1]:.0f}"),
            (above, (0.72, foot), (-100, 4), f"at 0: worth {-slope[0]:.0f}"),
            (below, (t[first], slope[first]), (8, -12), "a look at a random t"),
            (below, (0.98, chord), (-152, -15), "the mean of all the slopes"),
        )
        for axis, place, shift, text in names:
            axis.annotate(text, place, shift, textcoords="offset points")
        above.set(ylabel="ℓ(t), nats", xlim=(0, 1))
        below.set(ylabel="slope ℓ′(t), nats", xlabel="value t of the gate")
    return figure


def bias_and_noise(found: Mapping[str, Quality]) -> Figure:
    """Every estimator's bias against the noise of one draw, relative to the exact gradient.

    The bars are two standard errors long to either side, but end at 0, as a norm does. Every point
    has its name beside it; of two that would cover each other the second is smaller and filled.

    Args:
        found: by name of the estimator.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 4.4), layout="constrained")
        axis = figure.subplots()
        most = max(q.bias_alone for q in found.values())
        drawn: list[tuple[float, float]] = []
        for index, (name, q) in enumerate(found.items()):
            bias, reach = q.bias_alone, 2 * q.error
            covers = any(_near(bias, q.noise, *other) for other in drawn)
            below = covers or any(_just_above(bias, q.noise, *other) for other in drawn)
            drawn.append((bias, q.noise))
            axis.errorbar(
                bias,
                q.noise,
                xerr=[[min(reach, bias)], [reach]],
                fmt=_MARKERS[index],
                color=PALETTE[index],
                mfc=PALETTE[index] if covers else "none",
                mew=2,
                ms=5 if covers else 11,
                capsize=3,
                clip_on=False,
            )
            left = bias > 0.6 * most
            shift = (-9 if left else 9, -16 if below else 7)
            side = "right" if left else "left"
            axis.annotate(name, (bias, q.noise), shift, textcoords="offset points", ha=side)
        axis.set(xlabel="bias (relative)", ylabel="noise of one draw (relative)", yscale="log")
        axis.set_yticks([0.1, 0.2, 0.5, 1, 2], ["0.1", "0.2", "0.5", "1", "2"])
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_xlim(0, 1.15 * most)
        axis.margins(y=0.12)
    return figure


def _near(bias: float, noise: float, other_bias: float, other_noise: float) -> bool:
    return abs(bias - other_bias) < 0.02 and abs(np.log(noise / other_noise)) < 0.15


def _just_above(bias: float, noise: float, other_bias: float, other_noise: float) -> bool:
    return abs(bias - other_bias) < 0.06 and 0 < np.log(other_noise / noise) < 0.25


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
