"""Published results beside ours: is there a point that is as small, and as accurate?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from pruning_core.models import MODELS
from pruning_core.studies.archive import Archive
from pruning_core.studies.intervals import mean_interval
from pruning_core.studies.published_file import load_published

OURS = {"structured": ("bernoulli",), "unstructured": ("bernoulli", "halo")}
"""Methods that are compared with each kind of row; a network with fewer units has fewer weights."""

SEEDS = 10
"""A point needs as many."""

BASELINE_SEEDS = 3
"""A baseline of ours needs as many to stand beside a point."""

DENSE_WEIGHTS = {
    name: model.count_weights(model.dense())
    for name, model in MODELS.items()
    if not model.has_sections  # of those nothing is published
}
"""What weights are percent of; a network of another size at the start is not compared."""


CONTROLS = frozenset(
    {
        *("robustness", "hyper-priors", "estimators", "training-cost", "reproduce"),
        *("worst-case", "worst-case-lenet-5", "premature", "faster"),
    }
)
"""Studies that are not compared with what is published.

The best of many starts or estimators would be luck, no published result on record was trained on
worst-case inputs, and ``premature`` and ``faster`` repeat points, with dead units left in and with
other batches.

:meta hide-value:
"""


_POINT = ["study", "point", "name", "model", "method", "seeds", "macs", "metric"]
_POINT += ["error", "low", "high", "best", "weights_percent"]

_RIVAL = ["name", "ours", "kind", "weights_percent", "macs", "error_percent", "digits", "n"]

_BASELINES = ("baselines-lenet-300-100", "baselines-lenet-5", "vib")
_REMOVING_UNITS = ("group-lasso", "l0", "vib")


def operating_points(archive: Archive) -> pd.DataFrame:
    """Size and error of every point on MNIST's test set, as means over the seeds.

    Points that started from a network of another size are left out, and so are the studies in
    :data:`CONTROLS`. Weights that were cut at a threshold without further training are points too:
    those of HALO's curve. ``name`` is the label of a point, for readers; ``best`` the mean of the
    best errors of any epoch, NaN for what was cut.
    """
    return _points(archive, set(archive.names()) - CONTROLS, SEEDS)


def rivals(archive: Archive, model: str, kind: str) -> pd.DataFrame:
    """All results that a point of ours has to stand beside, both published and our own baselines.

    Args:
        archive: of the studies.
        model: "lenet-300-100" or "lenet-5".
        kind: "structured", for points with fewer units, or "unstructured", for points with fewer
            weights, which stand beside structured results too.

    Returns:
        A row for each, with its ``name``; whether it is of ``ours``; its ``kind``;
        ``weights_percent`` left and ``macs`` (NaN where unknown); ``error_percent``, the published
        one or the mean of the final ones, and with how many decimals it is printed (``digits``;
        ours are not rounded); and ``n``, the seeds of ours (NaN for published ones). Rows that are
        not confirmed, points of ours with fewer than :data:`BASELINE_SEEDS` seeds, and cuts of them
        that another baseline dominates are left out.

    Raises:
        StudyError: if ``studies/published.csv`` cannot be read.
    """
    theirs = load_published(archive)
    kinds = ["structured"] if kind == "structured" else ["structured", "unstructured"]
    theirs = theirs.loc[
        (theirs["model"] == model) & theirs["kind"].isin(kinds) & (theirs["confirmed"] == "yes")
    ].drop_duplicates(["method", "weights_percent"])  # the dense network is of both kinds
    several = theirs["method"].duplicated(keep=False)
    size = theirs["weights_percent"].map("{:.3g}".format).astype(str)
    theirs = theirs.assign(
        name=theirs["method"].where(~several, theirs["method"] + " at " + size + " %"),
        ours=False,
        n=np.nan,
    )
    ours = _points(archive, {*_BASELINES} & set(archive.names()), BASELINE_SEEDS)
    others = ~ours["method"].isin([*OURS["unstructured"], "dense"])
    ours = ours.loc[others & (ours["model"] == model)]
    whole = ours["metric"] == "test_error_percent"
    first = undominated(ours[["weights_percent", "macs", "error"]].to_numpy(dtype=float))
    removing = whole & ours["method"].isin(_REMOVING_UNITS)
    ours = ours.rename(columns={"error": "error_percent", "seeds": "n"}).assign(
        name=ours["name"] + ", ours",
        ours=True,
        kind=np.where(removing, "structured", "unstructured"),
        digits=9,
    )
    ours = ours.loc[(whole | first) & ours["kind"].isin(kinds)]
    both = [rows[_RIVAL] for rows in (theirs, ours) if len(rows)]
    return pd.concat(both, ignore_index=True) if both else pd.DataFrame(columns=_RIVAL)


def dominance(
    points: pd.DataFrame, beside: pd.DataFrame, size: str = "weights_percent"
) -> pd.DataFrame:
    """Which rivals dominate each of our points, and which it dominates (def-field-dominance).

    A published error is known to the digits that are printed: beside it an error of ours counts as
    it is, or as rounded to these, whichever is larger.

    Args:
        points: as :func:`operating_points` has them.
        beside: as :func:`rivals` has them; those of unknown size are left out.
        size: "weights_percent" or "macs".

    Returns:
        The points, with the lists of names ``dominated_by`` and ``dominates``.
    """
    beside = beside.dropna(subset=size)
    theirs = beside[[size, "error_percent"]].to_numpy(dtype=float)
    found: dict[str, list[list[str]]] = {"dominated_by": [], "dominates": []}
    for row in points.to_dict("records"):
        counted = [max(row["error"], round(row["error"], d)) for d in beside["digits"]]
        ours = np.column_stack([np.full(len(theirs), float(row[size])), counted])
        for side, (one, other) in zip(found, ((theirs, ours), (ours, theirs)), strict=True):
            found[side].append(list(beside["name"][_dominates(one, other)]))
    return points.assign(**found)


def compared(archive: Archive) -> list[dict[str, Any]]:
    """Of each published row, whether a point of ours is at least as small and as accurate.

    Small is meant by weights; and, for structured rows that tell them, by multiply-accumulates too.
    The point named is the most accurate of those that are small enough; where there is none, both
    it and the verdict are None. Its ``best`` error of any epoch stands beside ``best_percent``.
    """
    ours = operating_points(archive)
    return [
        {key: _plain(value) for key, value in row.items()}
        | _best(row, ours, "weights_percent")
        | ({} if np.isnan(row["macs"]) else {"by_macs": _best(row, ours, "macs")["as_good"]})
        for row in load_published(archive).to_dict("records")
    ]


def undominated(points: np.ndarray) -> np.ndarray:
    """Which points no other point dominates.

    One dominates another if it is nowhere larger, and somewhere smaller.

    Args:
        points: sizes and errors, say, the smaller the better; shape (n, k).

    Returns:
        bool, shape (n,).
    """
    return np.logical_not(_dominates(points[:, None], points[None, :]).any(axis=0))


def as_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """What :func:`compared` found, for a page, in percent: a row for each published result.

    What decides comes first; the best errors of any epoch stand where the published one is known.
    """
    found = []
    for row in rows:
        met, ours = _told(row["as_good"]), row["point"] is not None
        half = (row["high"] - row["low"]) / 2 if ours else 0
        shown = {
            "": row["method"] + (", recalled" if row["confirmed"] == "no" else ""),
            "met": met,
            "our error": f"{row['error']:.2f} ± {half:.2f}" if ours else "",
            "its error": f"{row['error_percent']:.{row['digits']}f}",
        }
        if "by_macs" in row:
            shown["by MACs"] = _told(row["by_macs"])
        shown["our weights"] = f"{row['weights']:.2f}" if ours else ""
        shown["its weights"] = f"{row['weights_percent']:.3g}"
        if row["best_percent"] is not None:
            shown["our best"] = f"{row['best']:.2f}" if row.get("best") else ""
            shown["its best"] = f"{row['best_percent']:.{row['digits']}f}"
        if row["standard_error"] is not None:
            shown["its s.e."] = f"{row['standard_error']:g}"
        found.append(shown)
    return pd.DataFrame(found).set_index("").fillna("").rename_axis(None)


def as_text(rows: list[dict[str, Any]]) -> str:
    """What :func:`compared` found, in 80 columns: a table for each model and kind."""
    lines = ["Is a point of ours at most as large, and as accurate? By weights, and by MACs."]
    group = None
    for row in rows:
        if group != (group := (row["model"], row["kind"])):
            lines += ["", f"{group[0]}, {group[1]}"]
            lines.append(f"  {'published':23}{'weights':>9}{'error':>7}  met  MACs  ours")
        error = f"{row['error_percent']:.{row['digits']}f}"
        start = f"  {row['method']:23}{row['weights_percent']:7.2f} %{error:>5} %  "
        start += f"{_told(row['as_good']):5}{_told(row['by_macs']) if 'by_macs' in row else '':6}"
        if row["point"] is None:
            lines.append(f"{start}none is as small")
            continue
        interval = f"[{row['low']:.2f}, {row['high']:.2f}]"
        lines.append(f"{start}{row['error']:.2f} {interval} at {row['weights']:.2f}")
        if None not in (row["best"], row["best_percent"]):
            theirs = f"{row['best_percent']:.{row['digits']}f}"
            lines.append(f"    best error of any epoch: {theirs} %, ours {row['best']:.2f} %")
    return "\n".join(lines)


def _points(archive: Archive, studies: Iterable[str], least: int) -> pd.DataFrame:
    """The points of these studies that have at least so many seeds."""
    points = []
    seen = set()
    declared = [archive.study(name) for name in sorted(studies)]
    # The largest first, to name a point that several studies share.
    for study in sorted(declared, key=lambda study: -len(study.points)):
        rows = archive.rows(study.name)
        if not len(rows):
            continue
        rows = rows.loc[
            (rows["split"] == "test")
            & (rows["dataset"] == "mnist")
            & (rows["weights_total"] == rows["model"].map(DENSE_WEIGHTS.get))
        ]
        for point, runs in rows.groupby("point", sort=False):
            key = tuple(runs["run"])
            if len(runs) < least or key in seen:
                continue
            seen.add(key)
            common = {
                "study": study.name,
                "point": str(point),
                "model": runs["model"].iloc[0],
                "method": runs["method"].iloc[0],
                "seeds": len(runs),
                "macs": runs["macs"].mean(),
            }
            sizes = {"test_error_percent": float(runs["weights_percent"].mean())}
            for column in runs.dropna(axis="columns").columns:
                zeros = str(column).removeprefix("error_at_")
                if zeros != column and (kept := 100 - float(zeros)) < sizes["test_error_percent"]:
                    sizes[column] = kept
            for column, weights in sizes.items():
                error, low, high = mean_interval(np.asarray(runs[column]))
                found: dict[str, Any] = {"error": error, "low": low, "high": high}
                found["weights_percent"] = weights
                whole = column == "test_error_percent"
                found["best"] = runs["best_test_error_percent"].mean() if whole else np.nan
                cut = "" if whole else f", cut to {column.removeprefix('error_at_')} % zeros"
                found["name"] = study.labels.get(str(point), str(point)) + cut
                points.append(common | {"metric": column} | found)
    return pd.DataFrame(points, columns=_POINT)


def _dominates(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether each of the first is nowhere larger than the second, and somewhere smaller."""
    return np.logical_and((one <= other).all(-1), (one < other).any(-1))


def _best(row: dict[str, Any], ours: pd.DataFrame, size: str) -> dict[str, Any]:
    fit = ours.loc[
        (ours["model"] == row["model"])
        & ours["method"].isin(OURS[row["kind"]])
        & (ours[size] <= row[size])
    ]
    if not len(fit):
        return {"as_good": None, "study": None, "point": None}
    best = fit.sort_values("error").iloc[0]
    return {
        "as_good": bool(best["error"] <= row["error_percent"]),
        "study": best["study"],
        "point": best["point"],
        "metric": best["metric"],
        "weights": float(best["weights_percent"]),
        **{name: _plain(float(best[name])) for name in ("error", "low", "high", "best")},
    }


def _told(verdict: bool | None) -> str:
    return "–" if verdict is None else "yes" if verdict else "no"


def _plain(value: Any) -> Any:
    """As JSON has it: nothing for NaN."""
    return None if isinstance(value, float) and np.isnan(value) else value
