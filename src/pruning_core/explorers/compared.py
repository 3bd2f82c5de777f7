"""Explorers of recorded points: error against size, and HALO's curve of error against zeros."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

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
from pruning_core.explorers.trained import page_prices
from pruning_core.sparsity import ZEROS_PERCENT
from pruning_core.studies.archive import Archive
from pruning_core.studies.declaration import StudyError
from pruning_core.studies.intervals import mean_interval
from pruning_core.studies.published import load_published, operating_points, undominated
from pruning_core.studies.tables import runs, setting

OURS = ("Bernoulli pruning, our runs", "HALO, our runs")
KINDS = (*OURS, "published", "published, as recalled")
NAMES = {
    "pixels": "ours, pixels too",
    "hidden": "ours, hidden only",
    "price": "ours",
    "small": "ours, small",
}
"""Of each series of Bernoulli pruning, as it stands beside its line."""

START = {"lenet-300-100": 28.0, "lenet-5": 100.0}
"""Price in nats at which the explorers of Bernoulli pruning start: that of the text."""


def error_against_size(archive: Archive, model: str) -> Explorer:
    """Every published result on a network beside the recorded points of Bernoulli pruning.

    A slider goes through the points, by the price of their first gate.

    Args:
        archive: of the studies.
        model: "lenet-300-100" or "lenet-5".

    Raises:
        StudyError: if no point with ten seeds is recorded.
    """
    ours = _ours(archive, model, "bernoulli")
    ours = ours.assign(price=_prices(archive, ours)).sort_values(["price", "size"])
    prices = sorted(set(ours["price"]))
    rows = pd.concat([_published(archive, model, "structured"), ours])
    told = {
        f"{price:g}": [f"log γ = {price:g} nats:", *map(_told, group.to_dict("records"))]
        for price, group in ours.groupby("price")
    }
    start = _nearest(prices, START[model])
    near = {f"{price:g}": _nearest(prices, price) for price in page_prices(archive)}
    named = " of the first layer" if model == "lenet-5" else ""
    look = "The rings move along our lines with the price: a dearer unit leaves a smaller network"
    return Explorer(
        _points(rows, "datum.price == price").add_params(
            choice("price", f"price log γ{named}, nats", start, {p: f"{p:g}" for p in prices}),
            _intervals(),
            *computed(told=json.dumps(told)),
        ),
        "told['' + price]",
        f"{look} with a larger error. A point is beaten by one that lies below it and to its left.",
        shared=["price"] if prices == page_prices(archive) else [],
        follows={"price": ("price", near)} if prices != page_prices(archive) else None,
    )


def _nearest(prices: Sequence[float], wanted: float) -> float:
    return min(prices, key=lambda price: abs(np.log(price / wanted)))


def error_against_zeros(archive: Archive, model: str) -> Explorer:
    """HALO's recorded points, cut at every share of zeros, beside published sparse networks.

    Args:
        archive: of the studies.
        model: "lenet-300-100" or "lenet-5".

    Raises:
        StudyError: if no point with ten seeds is recorded.
    """
    curves = _curves(archive, model)
    shares = sorted(set(curves["zeros"]))
    told = {
        f"{share:g}": "; ".join(
            f"{row['label']} {row['error']:.2f} % [{row['low']:.2f}, {row['high']:.2f}]"
            for row in group.to_dict("records")
        )
        for share, group in curves.groupby("zeros")
    }
    n = curves["seeds"].min()
    once = _once_a_series(curves, "size")
    curves = curves.assign(label=("HALO, " + once).where(once != "", ""))
    rows = pd.concat([_published(archive, model, "unstructured"), curves])
    chart = _points(rows, "datum.zeros == share", cropped=True)
    start = 95.0 if 95.0 in shares else shares[0]
    return Explorer(
        chart.add_params(
            choice("share", "zeros, % of the weights", start, {s: f"{s:g}" for s in shares}),
            _intervals(),
            *computed(told=json.dumps(told)),
        ),
        f"['With ' + share + ' % zeros, n = {n} seeds, 95 % intervals:', told['' + share] + '.']",
        "Each line is level on the right, where the networks have more zeros than are asked for,"
        " and climbs on the left, where weights that were needed are cut.",
        follows={"price": ("share", _as_many_zeros(archive, model, shares))},
        predict=_prediction(curves) if model == "lenet-300-100" else None,
    )


def _as_many_zeros(archive: Archive, model: str, shares: Sequence[float]) -> dict[str, float]:
    """The share of zeros nearest to what pruning at each of a page's prices leaves out."""
    points = _ours(archive, model, "bernoulli")
    points = points.assign(price=_prices(archive, points)).loc[points["series"] != "hidden"]
    sizes = points.groupby("price")["size"].first()
    found = {}
    for price in page_prices(archive):
        zeros = 100 - sizes[_nearest(list(sizes.index), price)]
        found[f"{price:g}"] = min(shares, key=lambda share: abs(share - zeros))
    return found


def _prediction(curves: pd.DataFrame) -> Prediction | None:
    """What does cutting cost that no training follows?"""
    errors = curves.loc[curves["series"] == "large"].set_index("zeros")["error"]
    if not {95, 98} <= set(errors.index):
        return None
    before, after = errors[95], errors[98]
    return Prediction(
        "The smallest weights of the networks of `large` are cut until 98 % are zero, without any"
        f" training after that. With 95 % zeros their error is {before:.2f} %. What does it do?",
        ["It hardly changes", "It grows, to less than twice as much", "It more than doubles"],
        int(np.searchsorted([1.1, 2], after / before)),
        f"It is {after:.2f} %. The smaller prices of `large` leave weights that look small and are"
        " needed; larger prices have had them removed while the network trained.",
        (0.1, 0.5, 0.09),
    )


def _ours(archive: Archive, model: str, method: str) -> pd.DataFrame:
    points = operating_points(archive)
    points = points.loc[(points["model"] == model) & (points["method"] == method)]
    points = points.loc[points["metric"] == "test_error_percent"]
    if not len(points):
        raise StudyError(f"no point of {method} on {model} has ten recorded seeds yet")
    series = points["point"].str.extract(r"([a-z]+)", expand=False)
    label = _once_a_series(points.assign(series=series), "weights_percent")
    return points.assign(
        kind=OURS[0],
        label=label.map(NAMES).fillna(""),
        size=points["weights_percent"],
        series=series,
    )


def _prices(archive: Archive, points: pd.DataFrame) -> list[float]:
    """Price of the first gate of each point, in nats."""
    found = []
    for row in points.to_dict("records"):
        recorded = runs(archive, row["study"])
        own = recorded.loc[recorded["point"] == row["point"]]
        found.append(setting(own.iloc[:1], "log_gamma").iloc[0])
    return found


def _published(archive: Archive, model: str, kind: str) -> pd.DataFrame:
    """Rows of others; ``first`` are those that no other of them dominates."""
    rows = load_published(archive)
    rows = rows.loc[(rows["model"] == model) & (rows["kind"] == kind)]
    known = rows["confirmed"] == "yes"
    found = pd.DataFrame(
        {"label": rows["method"], "size": rows["weights_percent"], "error": rows["error_percent"]}
    )
    return found.assign(
        kind=np.where(known, *KINDS[2:]),
        source=rows["source"].fillna(""),
        first=undominated(found[["size", "error"]].to_numpy()),
    )


def _curves(archive: Archive, model: str) -> pd.DataFrame:
    """A row for each recorded HALO point and each share of zeros that it was cut to."""
    found: list[dict[str, Any]] = []
    study = f"halo-{model}"
    for point, group in runs(archive, study).groupby("point", sort=False):
        for share in ZEROS_PERCENT:
            errors = group[f"error_at_{share:g}"].dropna().to_numpy(dtype=float)
            if len(errors) < 2:
                continue
            error, low, high = mean_interval(errors)
            found.append(
                {"kind": OURS[1], "series": str(point), "zeros": share}
                | {"label": f"HALO, {point}"}
                | {"size": 100 - share, "error": error, "low": low, "high": high}
                | {"seeds": len(errors)}
            )
    if not found:
        raise StudyError(f"no run of {study} is recorded yet")
    return pd.DataFrame(found)


_IN_WORDS = {"pixels": "gates on pixels too", "hidden": "hidden units only", "small": "small"}


def _told(row: dict[str, Any]) -> str:
    curve = _IN_WORDS.get(row["series"], "")
    return (
        f"{row['error']:.2f} % [{row['low']:.2f}, {row['high']:.2f}] at {row['size']:.1f} % of"
        f" the weights{', ' * bool(curve)}{curve}, n = {row['seeds']}."
    )


def _once_a_series(rows: pd.DataFrame, size: str) -> pd.Series:
    """The name of a series at its largest row, and nothing at the others."""
    largest = rows.groupby("series")[size].transform("max")
    return pd.Series(rows["series"]).where(rows[size] == largest, "")


def _intervals() -> alt.Parameter:
    return alt.param(name="intervals", value=True, bind=alt.binding_checkbox(name="95 % intervals"))


_HEIGHT = 320
_TICKS = {
    "size": (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100),
    "error": (0.6, 0.7, 0.8, 1, 1.2, 1.5, 2, 2.5, 3, 4, 5),
}


def _points(
    rows: pd.DataFrame, chosen: str, cropped: bool = False
) -> alt.LayerChart | alt.FacetChart:
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
        source=rows["source"].map({source: place for place, source in enumerate(sources)}),
    )
    kept = [name for name in ("price", "zeros") if name in rows.columns]
    columns = ["kind", "label", "size", "error", "low", "high", "at", "first", "source", "series"]
    table = rows.reindex(columns=[*columns, *kept])
    table = table.round({"size": 3, "error": 3, "low": 3, "high": 3}).astype({"source": "Int64"})
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
    place_of = {name: alt.expr(f"({json.dumps(places)})[datum.at].{name}") for name in _TEXT}
    ink = alt.expr(f"({json.dumps(_COLOURS)})[datum.series] || 'currentColor'")
    names = data.transform_filter("datum.at").mark_text(fontSize=11, color=ink, **place_of)
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
