"""Published results beside ours: is there a point that is as small, and as accurate?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pruning_core.studies.declaration import StudyError, load_study, names
from pruning_core.studies.intervals import mean_interval
from pruning_core.studies.records import measures, table

OURS = {"structured": ("bernoulli",), "unstructured": ("bernoulli", "halo")}
"""Methods that are compared with each kind of row; a network with fewer units has fewer weights."""

SEEDS = 10
"""A point needs as many."""

DENSE_WEIGHTS = {"lenet-300-100": 266_200, "lenet-5": 430_500}
"""What weights are percent of; a network of another size at the start is not compared."""


CONTROLS = frozenset({"robustness", "hyper-priors", "estimators", "training-cost", "reproduce"})
"""Studies that are not compared, as the best of many starts or estimators would be luck.

:meta hide-value:
"""


_POINT = ["study", "point", "model", "method", "seeds", "macs", "metric"]
_POINT += ["error", "low", "high", "weights_percent"]


def load_published(root: Path) -> pd.DataFrame:
    """``studies/published.csv``: a row for each published result, with its size and its error.

    Raises:
        StudyError: if it cannot be read.
    """
    path = root / "studies" / "published.csv"
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from error


def operating_points(root: Path) -> pd.DataFrame:
    """Size and error of every point on MNIST's test set, as means over the seeds.

    Points that started from a network of another size are left out, and so are the studies in
    :data:`CONTROLS`. Weights that were cut at a threshold without further training are points too:
    those of HALO's curve.
    """
    points = []
    studies = [load_study(name, root / "studies") for name in names(root / "studies")]
    studies = [study for study in studies if study.name not in CONTROLS]
    seen = set()
    # The largest first, to name a point that several studies share.
    for study in sorted(studies, key=lambda study: -len(study.points)):
        rows = measures(table(study, root / "results"))
        if not len(rows):
            continue
        rows = rows.loc[
            (rows["split"] == "test")
            & (rows["dataset"] == "mnist")
            & (rows["weights_total"] == rows["model"].map(DENSE_WEIGHTS.__getitem__))
        ]
        for point, runs in rows.groupby("point", sort=False):
            key = tuple(runs["run"])
            if len(runs) < SEEDS or key in seen:
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
                found = {"error": error, "low": low, "high": high, "weights_percent": weights}
                points.append(common | {"metric": column} | found)
    return pd.DataFrame(points, columns=_POINT)


def compared(root: Path) -> list[dict[str, Any]]:
    """Of each published row, whether a point of ours is at least as small and as accurate.

    Small is meant by weights; and, for structured rows that tell them, by multiply-accumulates too.
    The point named is the most accurate of those that are small enough; where there is none, both
    it and the verdict are None.
    """
    ours = operating_points(root)
    return [
        {key: _plain(value) for key, value in row.items()}
        | _best(row, ours, "weights_percent")
        | ({} if np.isnan(row["macs"]) else {"by_macs": _best(row, ours, "macs")["as_good"]})
        for row in load_published(root).to_dict("records")
    ]


def undominated(points: np.ndarray) -> np.ndarray:
    """Which points no other point dominates.

    One dominates another if it is nowhere larger, and somewhere smaller.

    Args:
        points: sizes and errors, say, the smaller the better; shape (n, k).

    Returns:
        bool, shape (n,).
    """
    one, other = points[:, None], points[None, :]
    dominates = (one <= other).all(-1) & (one < other).any(-1)
    return np.logical_not(dominates.any(axis=0))


def as_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """What :func:`compared` found, for a page: a row for each published result."""
    found = []
    for row in rows:
        name = row["method"] + (", recalled" if row["confirmed"] == "no" else "")
        verdict = {"met": _said(row["as_good"])}
        if "by_macs" in row:
            verdict["by MACs"] = _said(row["by_macs"])
        ours = {}
        if row["point"] is not None:
            half = (row["high"] - row["low"]) / 2
            ours = {
                "our error, %": f"{row['error']:.2f} ± {half:.2f}",
                "our weights, %": f"{row['weights']:.2f}",
            }
        size, error = f"{_weights(row):.3g}", f"{row['error_percent']:.2f}"
        found.append({"": name} | verdict | {"weights, %": size, "error, %": error} | ours)
    return pd.DataFrame(found).set_index("").fillna("").rename_axis(None)


def as_text(rows: list[dict[str, Any]]) -> str:
    """A table for people."""
    head = "ours at most as large: error % [95 % interval], weights %"
    lines = [f"{'published':36}{'weights %':>10}{'error %':>9}  {head}"]
    for row in rows:
        weights = _weights(row)
        name = f"{row['model']} {row['method']}"
        line = f"{name:36}{weights:10.2f}{row['error_percent']:9.2f}  "
        if row["point"] is None:
            lines.append(f"{line}no point is as small")
            continue
        macs = f", by MACs {_said(row['by_macs'])}" if "by_macs" in row else ""
        lines.append(
            f"{line}{_said(row['as_good'])}{macs}: "
            f"{row['error']:.2f} [{row['low']:.2f}, {row['high']:.2f}], "
            f"{row['weights']:.2f} ({row['study']}, {row['point']})"
        )
    return "\n".join(lines)


def _best(row: dict[str, Any], ours: pd.DataFrame, size: str) -> dict[str, Any]:
    limit = _weights(row) if size == "weights_percent" else row[size]
    fit = ours.loc[
        (ours["model"] == row["model"])
        & ours["method"].isin(OURS[row["kind"]])
        & (ours[size] <= limit)
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
        **{name: float(best[name]) for name in ("error", "low", "high")},
    }


def _said(verdict: bool | None) -> str:
    return "–" if verdict is None else "yes" if verdict else "no"


def _weights(row: dict[str, Any]) -> float:
    """Weights kept, in percent."""
    if row["kind"] == "structured":
        return float(row["weights_percent"])
    return 100 - float(row["zeros_percent"])


def _plain(value: Any) -> Any:
    """As JSON has it: nothing for NaN."""
    return None if isinstance(value, float) and np.isnan(value) else value
