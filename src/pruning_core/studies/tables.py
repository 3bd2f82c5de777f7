"""Recorded runs as the tables that the book shows; every table says how many seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pandas as pd

from pruning_core.sparsity import ZEROS_PERCENT
from pruning_core.studies.archive import Archive
from pruning_core.studies.intervals import interval, mean_interval
from pruning_core.studies.record_files import settings_of

MODELS = {
    "lenet-300-100": "LeNet-300-100",
    "lenet-5": "LeNet-5",
    "residual-perceptron": "the residual perceptron",
    "residual-cnn": "the residual CNN",
    "lenet-5-skip": "LeNet-5 with paths",
}
"""What readers call each network that was recorded."""

METHODS = {
    "dense": "dense",
    "bernoulli": "Bernoulli pruning",
    "halo": "HALO",
    "magnitude": "one-shot magnitude",
    "iterative-magnitude": "iterative magnitude",
    "random": "random pruning",
    "snip": "SNIP",
    "ridge": "ridge",
    "l1": "lasso",
    "sws": "one coefficient",
    "bridge": "bridge",
    "sparse-vd": "Sparse VD",
    "l0": "L0",
    "group-lasso": "group lasso",
    "vib": "VIBNet",
}
"""What readers call each method that was recorded."""


def runs(archive: Archive, study: str) -> pd.DataFrame:
    """Every recorded run of a study, with shares in percent, in the order of its declaration."""
    return archive.rows(study)


def by_point(archive: Archive, study: str) -> dict[str, pd.DataFrame]:
    """The recorded runs of each point of a study; points without any are left out."""
    return {str(point): rows for point, rows in runs(archive, study).groupby("point", sort=False)}


def at(rows: pd.DataFrame, point: str, column: str) -> pd.Series:
    """What was measured at a point, by seed; empty if nothing is recorded.

    The difference of two is paired: the same seed is the same data order.

    Args:
        rows: of :func:`runs`.
        point: its name.
        column: what was measured.
    """
    own = rows.loc[rows["point"] == point]
    if column not in own or not len(own):
        return pd.Series(dtype=float)
    return pd.Series(own.set_index("seed")[column]).dropna()


def said(values: pd.Series, unit: str = "%", digits: int = 2) -> str:
    """Mean ± half the width of its 95 % t interval with the unit, for a sentence.

    The number of seeds is told where it is not ten, and "not recorded yet" where there are none.
    """
    measured = values.dropna()
    if not len(measured):
        return "(not recorded yet)"
    text = f"{interval(measured, digits)} {unit}".rstrip().replace("-", "−")
    if len(measured) != 10:
        text += f" (n = {len(measured)})"
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def side(differences: pd.Series) -> str:
    """Where the whole 95 % t interval of differences lies: "below", "above", "open", "–"."""
    if not len(differences):
        return "–"
    _, low, high = mean_interval(differences.to_numpy(dtype=float))
    return "below" if high < 0 else "above" if low > 0 else "open"


def setting(rows: pd.DataFrame, name: str) -> pd.Series:
    """What a setting was in each run, its default if the run is older; of a tuple, the first."""

    found = [getattr(settings, name) for settings in settings_of(rows)]
    first = [value[0] if isinstance(value, tuple) else value for value in found]
    return pd.Series(first, index=rows.index)


def epochs(archive: Archive, study: str) -> pd.DataFrame:
    """A row for each epoch of each recorded run: its trajectory, with ``point`` and ``seed``."""
    found = runs(archive, study)
    if not len(found):
        return found.assign(epoch=pd.Series(dtype=int))
    known = found[["run", "point", "seed", "model"]]
    return known.merge(archive.trajectories(study), on="run", validate="1:m")


def every_run(archive: Archive) -> pd.DataFrame:
    """The recorded runs of all studies; a run that several of them share comes once for each."""
    tables = [runs(archive, name).assign(study=name) for name in archive.names()]
    return pd.concat([rows for rows in tables if len(rows)], ignore_index=True)


def progress(archive: Archive) -> pd.DataFrame:
    """Of each study, what it asks, on which split, and how many of its runs are recorded."""
    found = []
    for name in archive.names():
        study = archive.study(name)
        rows = archive.table(name)
        done, planned = Counter(rows["point"]), Counter(run.point for run in study.runs)
        found.append(
            {
                "study": name,
                "split": study.runs[0].split,
                "points": len(study.points),
                "complete": sum(done[point] == n for point, n in planned.items()),
                "runs": len(study.runs),
                "recorded": len(rows),
            }
        )
    return pd.DataFrame(found).set_index("study")


def summary(
    rows: pd.DataFrame, columns: Mapping[str, tuple[str, int]], by: str | list[str] = "point"
) -> pd.DataFrame:
    """Mean ± half the width of the 95 % t interval of each point, and n, the number of seeds.

    One seed has no interval; a dash stands where nothing was measured.

    Args:
        rows: of :func:`runs`.
        columns: by heading, the column and its digits.
        by: what a row of the result stands for; with several columns, each combination.
    """
    found = {
        name: {"n": len(group)}
        | {
            head: _told(pd.Series(group[column]), digits)
            for head, (column, digits) in columns.items()
        }
        for name, group in rows.groupby(by, sort=False)
    }
    # An unnamed index makes one row of headings.
    return pd.DataFrame.from_dict(found, orient="index", columns=["n", *columns])


def own_share(rows: pd.DataFrame) -> float | None:
    """The largest share of zeros on the curve that the runs reach on average without a cut.

    None if they do not reach the first, or if there are none.
    """
    zeros = float(pd.Series(rows["zeros_percent"]).mean())
    # A cut to 95 % is rounded to whole weights.
    return max((share for share in ZEROS_PERCENT if share <= zeros + 0.01), default=None)


def paired(first: pd.DataFrame, second: pd.DataFrame, column: str) -> pd.Series:
    """``column`` of the first runs minus that of the second, by seed; seeds of both only.

    Args:
        first: rows of one point.
        second: rows of another.
        column: what is compared.
    """
    one, two = (rows.set_index("seed")[column] for rows in (first, second))
    return pd.Series(one - two).dropna()


def gaps(differences: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Of differences over the seeds: mean ± interval, the side of 0 that holds all of it, and n.

    Args:
        differences: in points, by what is compared; what follows a line break stands last.
    """
    found = {}
    for label, values in differences.items():
        name, _, where = label.partition("\n")
        found[name] = {
            "difference, points": interval(values, 3).replace("-", "−"),
            "interval": side(values),
            "n": len(values),
            "where": where,
        }
    table = pd.DataFrame.from_dict(found, orient="index")
    return table if any(table["where"]) else table.drop(columns="where")


def beside_at(ours: pd.DataFrame, others: Mapping[str, pd.DataFrame], share: float) -> pd.DataFrame:
    """Test error of ours minus that of each other method at a share of zeros, paired by seed.

    Where a method's own share of zeros is smaller, its network was cut to that share.

    Args:
        ours: rows of a point.
        others: rows of a method, by its name; those without a curve are left out.
        share: in percent, one of the curve's.

    Returns:
        As :func:`gaps`, and the zeros that each method has by itself.
    """
    found = {name: paired(ours, rows, f"error_at_{share:g}") for name, rows in others.items()}
    found = {name: values for name, values in found.items() if len(values)}
    own = [f"{others[name]['zeros_percent'].mean():.1f}" for name in found]
    return gaps(found).assign(**{"its own zeros, %": own})


def fair_differences(
    ours: Mapping[str, pd.DataFrame], others: Mapping[str, pd.DataFrame]
) -> dict[str, pd.Series]:
    """Test error of ours minus that of each other method, by seed, where neither had to be cut.

    Each is compared at the largest share of zeros on the curve that it reaches by itself, with the
    first of ours that reaches it too. Methods without a curve, or without zeros, are left out.

    Args:
        ours: rows of a point, by its name; fewest zeros first.
        others: rows of a method, by its name.

    Returns:
        Labels of two lines, of method, share and rival, with the differences.
    """
    shares = {name: own_share(rows) or 0 for name, rows in ours.items()}
    found = {}
    for method, rows in others.items():
        share = own_share(rows.dropna(subset="error_at_90"))
        rival = next((name for name, own in shares.items() if share and own >= share), None)
        if rival is not None:
            label = f"{method}\nat {share:g} %, against {rival}"
            found[label] = paired(ours[rival], rows, f"error_at_{share:g}")
    return found


def _told(values: pd.Series, digits: int) -> str:
    measured = values.dropna().to_numpy()
    return interval(measured, digits) if len(measured) else "–"
