"""What a study has recorded so far, as tables for people: means, intervals, paired differences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pruning_core.sparsity import ZEROS_PERCENT
from pruning_core.studies.declaration import load_study
from pruning_core.studies.ledger import interval, measures
from pruning_core.studies.records import table


def recorded(study: str, root: Path) -> pd.DataFrame:
    """A row for each finished run of a study, with its shares in percent.

    Args:
        study: its name.
        root: the folder of ``studies/`` and ``results/``.

    Raises:
        StudyError: if there is no such study.
    """
    return measures(table(load_study(study, root / "studies"), root / "results"))


def overview(
    rows: pd.DataFrame, columns: Mapping[str, str], *, by: str = "point", digits: int = 2
) -> pd.DataFrame:
    """Mean ± half the width of the 95 % t interval, a row for each point; n is the seeds.

    A point with one seed has no interval.

    Args:
        rows: of :func:`recorded`.
        columns: heading by column of ``rows``.
        by: what a row stands for.
        digits: after the decimal point.
    """
    found = {
        name: {"n": str(len(runs))}
        | {heading: _told(pd.Series(runs[column]), digits) for column, heading in columns.items()}
        for name, runs in rows.groupby(by, sort=False)
    }
    # An unnamed index makes one row of headings.
    return pd.DataFrame.from_dict(found, orient="index", columns=["n", *columns.values()])


def own_share(rows: pd.DataFrame) -> float | None:
    """The largest share of zeros on the curve that the runs reach on average without a cut.

    None if they do not reach the first.
    """
    zeros = float(rows["zeros_percent"].to_numpy().mean())
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


def _told(values: pd.Series, digits: int) -> str:
    measured = values.dropna().to_numpy()
    return interval(measured, digits) if len(measured) else "–"
