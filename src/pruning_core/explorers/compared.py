"""Explorers of recorded points: error against size, and HALO's curve of error against zeros."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from pruning_core.explorers.chart import (
    Explorer,
    Prediction,
    choice,
    computed,
)
from pruning_core.explorers.points import KINDS, NAMES, OURS, draw
from pruning_core.explorers.trained import page_prices
from pruning_core.sparsity import ZEROS_PERCENT
from pruning_core.studies.archive import Archive
from pruning_core.studies.declaration import StudyError
from pruning_core.studies.intervals import mean_interval
from pruning_core.studies.published import load_published, operating_points, undominated
from pruning_core.studies.tables import runs, setting

START = {"lenet-300-100": 28.0, "lenet-5": 100.0}
"""At these prices, in nats, the explorers of Bernoulli pruning start, as the text does."""


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
        draw(rows, "datum.price == price").add_params(
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
    chart = draw(rows, "datum.zeros == share", cropped=True)
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
        "The smallest weights of the networks of “large” are cut until 98 % are zero, without any"
        f" training after that. With 95 % zeros their error is {before:.2f} %. What does it do?",
        ["It hardly changes", "It grows, to less than twice as much", "It more than doubles"],
        int(np.searchsorted([1.1, 2], after / before)),
        f"It is {after:.2f} %. The smaller prices of “large” leave weights that look small and are"
        " needed; larger prices have had them removed while the network trained.",
        (0.1, 0.5, 0.09),
    )


def _ours(archive: Archive, model: str, method: str) -> pd.DataFrame:
    """The points of a method's main study of a network; others vary more than the price."""
    points = operating_points(archive)
    study = model if method == "bernoulli" else f"{method}-{model}"
    points = points.loc[(points["study"] == study) & (points["metric"] == "test_error_percent")]
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
