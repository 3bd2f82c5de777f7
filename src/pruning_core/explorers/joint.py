"""Explorer: HALO's joint descent of a weight and its coefficient, at several speeds of λ."""

from __future__ import annotations

import itertools
import json

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pruning_core.explorers.chart import (
    COLOURS,
    WIDTH,
    Explorer,
    Prediction,
    choice,
    computed,
    inline,
    remembered,
)
from pruning_core.figures.style import REMOVED
from pruning_core.halo import PULL_LIMIT

XI = 0.19
PSIS = (0.06, 0.19, 0.6)
TARGETS = (0.4, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5)
RATIOS = (0.1, 0.3, 1.0, 3.0, 10.0)
STARTS = ((0.0, 1.0), (0.0, 0.4), (0.0, 1.8), (0.6, 0.4), (1.2, 0.5), (1.2, 1.8))
"""w and λ, where the paths begin; HALO itself begins with λ = 1."""

STEP, STEPS = 0.03, 3000
FLOOR = 1e-3
TOP = {"w": 1.6, "λ": 2.2}
FATES = ("ends at zero", "survives")
TOLERANCE = 0.002
"""Points of a path are left out where the line without them is nearer than this."""

_LEVELS = 36**2 - 1
_Array = NDArray[np.float64]


def joint_descent() -> Explorer:
    """Paths of (w, λ) by the recursion of :func:`pruning_core.theory.single_weight.joint_path`.

    They are computed beforehand for all stops of the sliders, as no chart can compute them.
    """
    table = paths()
    left: dict[str, int] = {}
    for psi, ratio, z, kept in table[["psi", "ratio", "z", "kept"]].to_numpy(float):
        setting = f"{psi:g}|{ratio:g}|{z:g}"
        left[setting] = left.get(setting, 0) + int(kept)
    turned = [
        choice("z", "what the data want, z", 0.9, {z: f"{z:g}" for z in TARGETS}),
        choice("ratio", "speed of λ over that of w", 1.0, {r: f"{r:g}" for r in RATIOS}),
        choice("psi", "ψ, price of the coefficients", 0.6, {p: f"{p:g}" for p in PSIS}),
    ]
    follow = computed(
        c=f"3 * pow(2, -2 / 3) * pow({XI}, 1 / 3) * pow(psi, 2 / 3)",
        jump="pow(4 * c / 3, 0.6)",
        threshold="jump + c / 3 * pow(jump, -2 / 3)",
        left=json.dumps(left),
    )
    data = inline(table.assign(start=np.arange(len(table)) % len(STARTS)))
    chart = alt.layer(*_best(), *_drawn(), data=data).properties(width=WIDTH - 60, height=330)
    return Explorer(
        chart.add_params(*turned, *follow),
        f"[left[psi + '|' + ratio + '|' + z] + ' of the {len(STARTS)} weights survive.',"
        f" 'Were λ always at its best, with ξ = {XI} they would from z = '"
        " + format(threshold, '.2f') + ' on.']",
        "A dot is where a weight and its λ start, a diamond where they end. The dashed curve is the"
        " best λ for each w: a fast λ goes to it at once, a slow one lets the weight move first.",
        predict=Prediction(
            "HALO starts a weight at λ = 1; let it start at w = 0. It survives when λ moves as fast"
            " as w. Will it when λ moves ten times as fast?",
            ["Yes: λ is sooner where it should be", "No: λ falls before the weight has grown"],
            1,
            "It dies: at w = 0 the best λ is 0, and a fast λ heads there at once; the penalty 1/λ² grows"
            " faster than the weight, and pulls it back. Turn the speed to compare.",
            sets={"ratio": 10},
        ),
    )


def paths() -> pd.DataFrame:
    """A row for each start and setting: ``kept``, and the ``path`` in two digits a coordinate."""
    rows = list(itertools.product(PSIS, RATIOS, TARGETS, STARTS))
    psi, ratio, z = (np.array([row[place] for row in rows], dtype=float) for place in range(3))
    begin = np.array([row[3] for row in rows])
    w, c = descend(z, begin[:, 0], begin[:, 1], psi, ratio)
    return pd.DataFrame(
        {"psi": psi, "ratio": ratio, "z": z, "kept": (w[-1] != 0).astype(int)}
        | {"path": [_coded(np.stack(path, 1)) for path in zip(w.T, c.T, strict=True)]}
    )


def descend(
    z: _Array, weight: _Array, coefficient: _Array, psi: _Array, ratio: _Array
) -> tuple[_Array, _Array]:
    """w and λ before the first step and after each, all settings at once: (steps + 1, n)."""
    w, c = weight.copy(), coefficient.copy()
    weights, coefficients = [w], [c]
    for _ in range(STEPS):
        pull = psi - np.minimum(2 * XI * np.abs(w) / c**3, PULL_LIMIT * psi)
        c = np.maximum(c - STEP * ratio * pull, FLOOR)
        w = w - STEP * (w - z)
        w = w - np.clip(w, -STEP * XI / c**2, STEP * XI / c**2)
        weights.append(w)
        coefficients.append(c)
    return np.stack(weights), np.stack(coefficients)


def _coded(path: _Array) -> str:
    """Each coordinate as two digits to the base 36, of a path without its needless points."""
    scaled = np.rint(_thinned(path) / list(TOP.values()) * _LEVELS).astype(int)
    return "".join(np.base_repr(value, 36).zfill(2) for value in scaled.ravel())


def _thinned(path: _Array) -> _Array:
    """By Douglas and Peucker: of the points between two that stay, the farthest, if it is far."""
    kept, open_ends = {0, len(path) - 1}, [(0, len(path) - 1)]
    while open_ends:
        first, last = open_ends.pop()
        if last - first < 2:
            continue
        between, along = path[first + 1 : last] - path[first], path[last] - path[first]
        share = np.clip(between @ along / max(along @ along, 1e-12), 0, 1)
        far = np.linalg.norm(between - share[:, None] * along, axis=1)
        worst = first + 1 + int(far.argmax())
        if far.max() > TOLERANCE:
            kept.add(worst)
            open_ends += [(first, worst), (worst, last)]
    return path[sorted(kept)]


_X = alt.X("w:Q", title="w").scale(domain=[0, TOP["w"]], nice=False)
_Y = alt.Y("coefficient:Q", title="λ").scale(domain=[0, TOP["λ"]], nice=False)


def _best() -> list[alt.Chart]:
    curve = alt.Chart(alt.sequence(0, TOP["w"] + 0.001, 0.01, as_="w")).transform_calculate(
        coefficient=f"pow(2 * {XI} * datum.w / psi, 1 / 3)"
    )
    wanted = alt.Chart(alt.sequence(0, 1)).transform_calculate(w="z", coefficient=f"{TOP['λ']}")
    dashed = {"strokeDash": [6, 4], "strokeWidth": 1.5, "color": "currentColor", "clip": True}
    return [
        remembered(curve, "best").mark_line(**dashed).encode(x=_X, y=_Y),
        curve.transform_filter("datum.w == 1.3")
        .mark_text(text="best λ", align="left", dy=-14, fontSize=12)
        .encode(x=_X, y=_Y),
        wanted.mark_rule(strokeWidth=1, opacity=0.5).encode(x=_X),
        wanted.mark_text(text="z", dx=8, dy=8, fontSize=12).encode(x=_X, y=_Y),
    ]


def _drawn() -> list[alt.Chart]:
    number = "parseInt(substring(datum.path, {0}, {0} + 2), 36) / " + str(_LEVELS)
    flow = (
        alt.Chart()
        .transform_filter("datum.psi == psi && datum.ratio == ratio && datum.z == z")
        .transform_calculate(
            step="sequence(length(datum.path) / 4)",
            last="length(datum.path) / 4 - 1",
            fate=f"datum.kept ? '{FATES[1]}' : '{FATES[0]}'",
        )
        .transform_flatten(["step"])
        .transform_calculate(
            w=number.format("4 * datum.step") + f" * {TOP['w']}",
            coefficient=number.format("4 * datum.step + 2") + f" * {TOP['λ']}",
            told="'w = ' + format(datum.w, '.2f') + ', λ = ' + format(datum.coefficient, '.2f')"
            " + ': ' + datum.fate",
        )
    )
    look = alt.Scale(domain=list(FATES), range=[REMOVED, COLOURS[0]])
    encoding = {"x": _X, "y": _Y, "color": alt.Color("fate:N", scale=look, title=None)}
    begin, end = (flow.transform_filter(f"datum.step == {step}") for step in ("0", "datum.last"))
    point = {"filled": True, "opacity": 1}
    return [
        remembered(flow, "paths").mark_line(clip=True).encode(
            detail="start:N", order="step:Q", **encoding
        ),
        begin.mark_point(size=60, **point).encode(tooltip="told:N", **encoding),
        end.mark_point(shape="diamond", size=160, **point).encode(tooltip="told:N", **encoding),
    ]  # fmt: skip
