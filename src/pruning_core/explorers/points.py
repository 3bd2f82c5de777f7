"""Recorded points beside published ones, error against size: what two explorers draw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from pruning_core.explorers.chart import COLOURS, WIDTH, inline, remembered

OURS = ("Bernoulli pruning, our runs", "HALO, our runs")
KINDS = (*OURS, "published", "published, as recalled")
NAMES = {
    "pixels": "ours, pixels too",
    "hidden": "ours, hidden only",
    "price": "ours",
    "small": "ours, small",
}
"""Of each series of Bernoulli pruning, as it stands beside its line."""

_HEIGHT = 320
_TICKS = {
    "size": (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100),
    "error": (0.6, 0.7, 0.8, 1, 1.2, 1.5, 2, 2.5, 3, 4, 5),
}


def draw(rows: pd.DataFrame, chosen: str, cropped: bool = False) -> alt.LayerChart | alt.FacetChart:
    """Error against size; what is chosen stands out.

    Args:
        rows: ``kind``, ``label``, ``size`` and ``error`` in percent; ``first`` of published ones;
            ``low``, ``high`` and ``series`` of ours, whose points a line joins.
        chosen: Vega expression of what stands out.
        cropped: whether what is far above the published results is left out.
    """
    rows = rows.reset_index(drop=True)
    theirs = rows["kind"].isin(KINDS[2:])
    if cropped:
        rows = rows.loc[theirs | (rows["error"] <= 1.15 * rows.loc[theirs, "error"].max())]
    frame = {
        "size": (0.7 * rows["size"].min(), 1.5 * rows["size"].max()),
        "error": (0.95 * rows[["error", "low"]].min(axis=None), 1.07 * rows["error"].max()),
    }
    sources = list(dict.fromkeys(rows.loc[theirs, "source"]))
    rows = rows.assign(
        at=_placed(rows, frame),
        first=rows["first"].eq(True).astype(int),
        source=[sources.index(source) if source in sources else None for source in rows["source"]],
    )
    kept = [name for name in ("price", "zeros") if name in rows.columns]
    columns = ["kind", "label", "size", "error", "low", "high", "at", "first", "source", "series"]
    table = rows.reindex(columns=[*columns, *kept])
    table[["size", "error", "low", "high"]] = table[["size", "error", "low", "high"]].round(3)
    table["source"] = table["source"].astype("Int64")
    data = alt.Chart()
    place: dict[str, Any] = {
        name: channel(f"{field}:Q", title=title)
        .scale(type="log", domain=[round(end, 3) for end in frame[field]], nice=False, clamp=True)
        .axis(values=[x for x in _TICKS[field] if frame[field][0] <= x <= frame[field][1]])
        for name, field, channel, title in (
            ("x", "size", alt.X, "weights left, %"),
            ("y", "error", alt.Y, "test error, %"),
        )
    }
    colour = alt.Color("series:N", legend=None).scale(domain=list(_COLOURS), range=_RANGE)
    places = {side: {"align": a, "dx": dx, "dy": dy} for side, (a, dx, dy) in _NAMES_AT.items()}
    align, dx, dy = (alt.expr(f"({json.dumps(places)})[datum.at].{name}") for name in _TEXT)
    ink = alt.expr(f"({json.dumps(_COLOURS)})[datum.series] || 'currentColor'")
    names = data.transform_filter("datum.at").mark_text(
        fontSize=11, color=ink, align=align, dx=dx, dy=dy
    )
    published = data.transform_filter("!datum.series").transform_calculate(
        told="datum.label + ': ' + datum.error + ' % at ' + datum.size + ' % of the weights'"
        f" + (datum.first ? '' : ', beaten by another') + '. Source: ' + ({json.dumps(sources)}"
        "[datum.source] || 'not recorded')"
    )
    ours = data.transform_filter("datum.series").transform_calculate(
        told=f"({json.dumps(NAMES)}[isValid(datum.zeros) ? '' : datum.series]"
        " || 'HALO, ' + datum.series) + ': ' + datum.error + ' % ['"
        " + datum.low + ', ' + datum.high + '] at ' + datum.size + ' % of the weights'"
    )
    # A published result that another one dominates is small; the rows of a method are joined.
    shown = {
        "size": alt.condition("datum.first", alt.value(60), alt.value(22)),
        "opacity": alt.condition("datum.first", alt.value(1), alt.value(0.6)),
    }
    layers = [
        published.mark_line(strokeWidth=0.8, opacity=0.4, color="currentColor")
        .encode(detail="label:N"),
        ours.mark_line(strokeWidth=2).encode(detail="series:N", color=colour),
        names.encode(text="label:N"),
        ours.transform_filter("intervals").mark_rule(strokeWidth=2)
        .encode(y="low:Q", y2="high:Q", color=colour),
        published.mark_point(strokeWidth=2, shape="square", color="currentColor")
        .encode(fill=_filled(), **shown, tooltip="told:N"),
        ours.mark_point(filled=True, size=60, opacity=1).encode(color=colour, tooltip="told:N"),
        remembered(ours.transform_filter(chosen), "ring")
        .mark_point(size=420, strokeWidth=2.5, color="currentColor", opacity=1, tooltip=None),
    ]  # fmt: skip
    chart = alt.layer(*layers, data=inline(table)).encode(**place)
    return chart.properties(width=WIDTH - 60, height=_HEIGHT)


_COLOURS = {
    **{"pixels": COLOURS[0], "price": COLOURS[0], "hidden": COLOURS[2]},
    **{"default": COLOURS[1], "large": COLOURS[0], "small": COLOURS[4]},
}
_RANGE = list(_COLOURS.values())


def _filled() -> alt.Fill:
    """Recalled numbers are open squares."""
    scale = alt.Scale(domain=list(KINDS[2:]), range=["currentColor", "transparent"])
    look = {"symbolType": "square", "symbolStrokeColor": "currentColor", "symbolSize": 90}
    return alt.Fill("kind:N", scale=scale, legend=alt.Legend(title=None, **look))


_TEXT = ("align", "dx", "dy")
_NAMES_AT: dict[str, tuple[Any, int, int]] = {
    "right": ("left", 11, 0),
    "left": ("right", -11, 0),
    "above": ("center", 0, -11),
    "below": ("center", 0, 12),
}


def _placed(rows: pd.DataFrame, frame: Mapping[str, tuple[float, float]]) -> pd.Series:
    """On which side of each row its name stands, where it hides no other name and no point.

    Rows of the front and curves of ours are named in any case; another method is named once, if
    there is room.
    """
    across, up = (
        np.log(rows[name] / low) / np.log(high / low) for name, (low, high) in frame.items()
    )
    places = pd.DataFrame({"x": (WIDTH - 60) * across, "y": _HEIGHT * (1 - up)})
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in places.itertuples(index=False)]
    named = rows.loc[rows["label"].ne("")].assign(must=rows["first"].ne(False))
    named = named.sort_values("must", ascending=False, kind="stable").drop_duplicates("label")
    found = {}
    for row, (x, y) in zip(named.index, places.loc[named.index].to_numpy(), strict=True):
        width = 6.3 * len(str(named["label"][row]))
        for side, (align, dx, dy) in _NAMES_AT.items():
            left = x + dx - width * {"left": 0, "center": 0.5, "right": 1}[align]
            box = (left, y + dy - 6, left + width, y + dy + 6)
            inside = left > 0 and left + width < WIDTH - 60
            if inside and not any(_overlap(box, other) for other in taken):
                found[row] = side
                taken.append(box)
                break
        else:
            found[row] = "right" if named["must"][row] else ""
    return pd.Series(found, dtype=str).reindex(rows.index, fill_value="")


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
