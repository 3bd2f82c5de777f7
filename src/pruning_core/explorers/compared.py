"""Explorers of recorded points: error against size, HALO's curve, and where each start ends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from pruning_core.explorers.chart import COLOURS, WIDTH, Explorer, choice, computed, inline
from pruning_core.sparsity import ZEROS_PERCENT
from pruning_core.studies.declaration import StudyError
from pruning_core.studies.intervals import interval, mean_interval
from pruning_core.studies.published import load_published, operating_points
from pruning_core.studies.tables import runs

KINDS = ("Bernoulli, ours", "HALO, ours", "published", "recalled")
COLOURS_OF = dict(zip(KINDS, (COLOURS[0], COLOURS[1], "currentColor", "currentColor"), strict=True))
SHAPES = dict(zip(KINDS, ("circle", "diamond", "square", "square"), strict=True))
MEASURES = {
    "test_error_percent": "final test error, %",
    "pixels": "pixels left",
    "first": "first hidden layer",
    "second": "second hidden layer",
}


def error_against_size(root: Path, model: str) -> Explorer:
    """Every published result on a network beside the recorded points of Bernoulli pruning.

    A slider goes through the points, by the price of their first gate.

    Args:
        root: folder of ``studies/`` and ``results/``.
        model: "lenet-300-100" or "lenet-5".

    Raises:
        StudyError: if no point with ten seeds is recorded.
    """
    ours = _ours(root, model, "bernoulli")
    ours = ours.assign(price=_prices(root, ours)).sort_values(["price", "size"])
    prices = sorted(set(ours["price"]))
    rows = pd.concat([_published(root, model, "structured"), ours])
    told = {
        f"{price:g}": "; ".join(_told(row) for row in group.to_dict("records"))
        for price, group in ours.groupby("price")
    }
    return Explorer(
        _points(rows, "datum.price == price").add_params(
            choice("price", "price log γ, nats", prices[0], {p: f"{p:g}" for p in prices}),
            _intervals(),
            *computed(told=json.dumps(told)),
        ),
        "['log γ = ' + price + ' nats:', told['' + price] + '.']",
    )


def error_against_zeros(root: Path, model: str) -> Explorer:
    """HALO's recorded points, cut at every share of zeros, beside published sparse networks.

    Args:
        root: folder of ``studies/`` and ``results/``.
        model: "lenet-300-100" or "lenet-5".

    Raises:
        StudyError: if no point with ten seeds is recorded.
    """
    curves = _curves(root, model)
    shares = sorted(set(curves["zeros"]))
    told = {
        f"{share:g}": "; ".join(
            f"{row['label']} {row['error']:.2f} % [{row['low']:.2f}, {row['high']:.2f}]"
            for row in group.to_dict("records")
        )
        for share, group in curves.groupby("zeros")
    }
    n = curves["seeds"].min()
    rows = pd.concat([_published(root, model, "unstructured"), curves])
    chart = _points(rows, "datum.zeros == share", line=True)
    start = 98.0 if 98.0 in shares else shares[-1]
    return Explorer(
        chart.add_params(
            choice("share", "zeros, % of the weights", start, {s: f"{s:g}" for s in shares}),
            _intervals(),
            *computed(told=json.dumps(told)),
        ),
        f"['With ' + share + ' % zeros, n = {n} seeds, 95 % intervals:', told['' + share] + '.']",
    )


def where_starts_end(root: Path) -> Explorer:
    """Error and architecture of every recorded start, seed by seed; one of them in colour.

    Raises:
        StudyError: if nothing is recorded.
    """
    rows = runs(root, "robustness")
    if not len(rows):
        raise StudyError("no run of robustness is recorded yet")
    sizes = np.array([architecture.split("-") for architecture in rows["architecture"]], dtype=int)
    rows = rows.assign(pixels=sizes[:, 0], first=sizes[:, 1], second=sizes[:, 2])
    starts = list(dict.fromkeys(rows["point"]))
    means, told = [], {}
    for start in starts:
        group = rows.loc[rows["point"] == start]
        label, parts = f"{start}, n = {len(group)}", []
        for measure, name in MEASURES.items():
            values = group[measure].to_numpy(dtype=float)
            mean, low, high = mean_interval(values)
            digits = 2 if measure == "test_error_percent" else 1
            unit = " %" if name.endswith("%") else ""
            parts.append(f"{name.removesuffix(', %')} {interval(values, digits)}{unit}")
            means.append(
                {"label": label, "measure": measure, "mean": mean, "low": low, "high": high}
            )
        told[start] = [f"{label}: {'; '.join(parts[:2])};", f"{'; '.join(parts[2:])}."]
    table = pd.DataFrame(means).round(3)
    size = rows.groupby("point")["point"].transform("size").astype(str)
    seeds = rows[list(MEASURES)].assign(label=rows["point"] + ", n = " + size).round(3)
    panels = [
        _strip(table.loc[table["measure"] == measure].drop(columns="measure"), measure)
        for measure in MEASURES
    ]
    return Explorer(
        alt.concat(*panels, columns=2, data=inline(seeds)).add_params(
            choice("start", "start", starts[0], starts), *computed(told=json.dumps(told))
        ),
        "told[start]",
    )


# --- points of error and size ---


def _ours(root: Path, model: str, method: str) -> pd.DataFrame:
    points = operating_points(root)
    points = points.loc[(points["model"] == model) & (points["method"] == method)]
    points = points.loc[points["metric"] == "test_error_percent"]
    if not len(points):
        raise StudyError(f"no point of {method} on {model} has ten recorded seeds yet")
    return points.assign(
        kind=KINDS[0], label="", size=points["weights_percent"], series=points["point"]
    )


def _prices(root: Path, points: pd.DataFrame) -> list[float]:
    """Price of the first gate of each point, in nats."""
    found = []
    for row in points.to_dict("records"):
        recorded = runs(root, row["study"])
        settings = recorded.loc[recorded["point"] == row["point"], "settings"].iloc[0]
        found.append(json.loads(settings)["log_gamma"][0])
    return found


def _published(root: Path, model: str, kind: str) -> pd.DataFrame:
    rows = load_published(root)
    rows = rows.loc[(rows["model"] == model) & (rows["kind"] == kind)]
    size = rows["weights_percent"].fillna(100 - rows["zeros_percent"])
    known = rows["confirmed"] == "yes"
    return pd.DataFrame(
        {"label": rows["method"], "size": size, "error": rows["error_percent"]}
    ).assign(kind=np.where(known, KINDS[2], KINDS[3]))


def _curves(root: Path, model: str) -> pd.DataFrame:
    """A row for each recorded HALO point and each share of zeros that it was cut to."""
    found: list[dict[str, Any]] = []
    study = f"halo-{model}"
    for point, group in runs(root, study).groupby("point", sort=False):
        for share in ZEROS_PERCENT:
            errors = group[f"error_at_{share:g}"].dropna().to_numpy(dtype=float)
            if len(errors) < 2:
                continue
            error, low, high = mean_interval(errors)
            found.append(
                {"kind": KINDS[1], "series": str(point), "label": str(point), "zeros": share}
                | {"size": 100 - share, "error": error, "low": low, "high": high}
                | {"seeds": len(errors)}
            )
    if not found:
        raise StudyError(f"no run of {study} is recorded yet")
    return pd.DataFrame(found)


def _told(row: dict[str, Any]) -> str:
    what = str(row["point"]).split(" ")[0]
    return (
        f"{what} {row['error']:.2f} % [{row['low']:.2f}, {row['high']:.2f}] at"
        f" {row['size']:.1f} % of the weights, n = {row['seeds']}"
    )


def _intervals() -> alt.Parameter:
    return alt.param(
        name="intervals", value=False, bind=alt.binding_checkbox(name="95 % intervals")
    )


def _points(rows: pd.DataFrame, chosen: str, line: bool = False) -> alt.LayerChart | alt.FacetChart:
    """Error against size; what is chosen stands out.

    Args:
        rows: ``kind``, ``label``, ``size`` and ``error`` in percent; ``low`` and ``high`` of ours.
        chosen: Vega expression of what stands out.
        line: join points of one ``series``.
    """
    kept = [name for name in ("price", "zeros", "series") if name in rows.columns]
    columns = ["kind", "label", "size", "error", "low", "high", "name_at", *kept]
    published = rows["kind"].isin(KINDS[2:])
    rows = rows.assign(name_at="")
    rows.loc[published, "name_at"] = _sides(rows.loc[published])
    table = rows.reindex(columns=columns).round({"size": 3, "error": 3, "low": 3, "high": 3})
    sizes, errors = rows["size"].to_numpy(), rows["error"].to_numpy()
    low, high = 0.6 * float(sizes.min()), 1.7 * float(sizes.max())
    data = alt.Chart(inline(table))
    heights = np.array([*errors, *rows["high"]], dtype=float)
    if line:
        # Curves leave the frame at the top: it is drawn around the published results.
        worst = 1.4 * float(errors[published.to_numpy()].max())
        heights = heights[heights <= worst]
        data = data.transform_filter(f"datum.error <= {worst:.3f}")
    lowest, highest = float(np.nanmin([*errors, *rows["low"]])), float(np.nanmax(heights))
    frame = [round(lowest - 0.05, 2), round(highest + 0.05, 2)]
    ours = data.transform_filter("datum.kind == 'Bernoulli, ours' || datum.kind == 'HALO, ours'")
    x = alt.X("size:Q", title="weights left, %").scale(type="log", domain=[low, high], nice=False)
    ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100) if low <= tick <= high]
    x = x.axis(values=ticks)
    y = alt.Y("error:Q", title="test error, %").scale(domain=frame)
    kinds = [kind for kind in KINDS if kind in set(rows["kind"])]
    look = {
        "color": _by_kind(alt.Color, kinds, COLOURS_OF),
        "fill": _by_kind(alt.Fill, kinds, {**COLOURS_OF, "recalled": "transparent"}),
        "shape": _by_kind(alt.Shape, kinds, SHAPES),
    }
    theirs = data.transform_filter("datum.kind == 'published' || datum.kind == 'recalled'")
    names = [
        theirs.transform_filter(f"datum.name_at == '{side}'")
        .mark_text(align=align, dx=dx, dy=dy, fontSize=10)
        .encode(x=x, y=y, text="label:N")
        for side, (align, dx, dy) in _NAMES_AT.items()
    ]
    curve = ours.mark_line(strokeWidth=1.5).encode(x=x, y=y, detail="series:N", color=look["color"])
    layers = [
        *([curve] if line else []),
        *names,
        ours.transform_filter("intervals").mark_rule(strokeWidth=2)
        .encode(x=x, y="low:Q", y2="high:Q", color=look["color"]),
        data.mark_point(size=60, strokeWidth=2, opacity=1).encode(x=x, y=y, **look),
        ours.transform_filter(chosen)
        .mark_point(size=420, strokeWidth=2.5, color="currentColor", opacity=1)
        .encode(x=x, y=y),
    ]  # fmt: skip
    return alt.layer(*layers).properties(width=WIDTH - 60, height=320)


def _by_kind(channel: Any, kinds: Sequence[str], looks: Mapping[Any, str]) -> Any:
    scale = alt.Scale(domain=list(kinds), range=[looks[kind] for kind in kinds])
    legend = alt.Legend(title=None, symbolSize=90, columns=2)
    return channel("kind:N", scale=scale, legend=legend)


_NAMES_AT: dict[str, tuple[Any, int, int]] = {
    "left": ("right", -8, 0),
    "right": ("left", 8, 0),
    "above": ("center", 0, -11),
}


def _sides(rows: pd.DataFrame) -> list[str]:
    """Where the name of each point stands, away from points of about the same size and error."""
    size, error = (rows[name].to_numpy() for name in ("size", "error"))
    ratio = size / size[:, None]
    level = np.abs(error - error[:, None]) < 0.03
    from_left = (level & (ratio < 1) & (ratio > 0.25)).any(1)
    from_right = (level & (ratio > 1) & (ratio < 4)).any(1)
    return np.where(from_right, np.where(from_left, "above", "left"), "right").tolist()


# --- where starts end ---


_CHOSEN = "split(datum.label, ', n = ')[0] == start"


def _strip(means: pd.DataFrame, measure: str) -> alt.LayerChart | alt.FacetChart:
    """Seeds as ticks, mean and interval, a row for each start."""
    x = {"title": MEASURES[measure], "scale": alt.Scale(zero=False, padding=8)}
    y = alt.Y("label:N", title=None, sort=list(means["label"])).axis(labelLimit=150)
    colour = alt.condition(_CHOSEN, alt.value(COLOURS[0]), alt.value("currentColor"))
    faint = alt.condition(_CHOSEN, alt.value(1), alt.value(0.35))
    look = {"y": y, "color": colour, "opacity": faint}
    mean = alt.Chart(inline(means)).encode(**look)
    return alt.layer(
        alt.Chart().mark_tick(thickness=1.5, size=16).encode(x=alt.X(f"{measure}:Q", **x), **look),
        mean.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", **x), x2="high:Q"),
        mean.mark_point(size=50, filled=True).encode(x=alt.X("mean:Q", **x)),
    ).properties(width=WIDTH // 2 - 130, height={"step": 22})
