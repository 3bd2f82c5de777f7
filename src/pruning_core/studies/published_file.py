"""Published results, as ``studies/published.csv`` has them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pruning_core.studies.archive import Archive
from pruning_core.studies.declaration import StudyError
from pruning_core.studies.record_files import not_numbers

_TEXT = ("model", "kind", "method", "kept", "error_percent", "reports", "confirmed", "source")
_NUMBERS = ("weights_percent", "macs", "zeros_percent", "best_percent", "standard_error")


def load_published(archive: Archive) -> pd.DataFrame:
    """``studies/published.csv``: a row for each published result, with its size and its error.

    ``weights_percent`` are weights left, of unstructured rows computed from their zeros. ``macs``
    are multiply-accumulates of a forward pass, a bias counted as one, as in ``results/``.
    ``error_percent`` is printed at the ``source`` with as many decimals as ``digits`` says. It is
    the final one, or the best ever observed, or unknown to be either, as ``reports`` says:
    "final", "best" or "". ``best_percent`` is the best ever observed, where that is known.

    Raises:
        StudyError: if it cannot be read, or if a confirmed row does not name its source.
    """
    return archive.read(_read, archive.studies / "published.csv").copy()


def _read(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, str))
    except FileNotFoundError as error:
        raise StudyError(f"there is no {path}; name the folder of studies/ by --root") from error
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from error
    if missing := {*_TEXT, *_NUMBERS} - set(rows.columns):
        raise StudyError(f"{path} lacks the columns {', '.join(sorted(missing))}")
    for column in ("error_percent", *_NUMBERS):
        bad = not_numbers(pd.Series(rows[column]), needed=column == "error_percent")
        if bad.any():
            row = rows.loc[bad].iloc[0]
            raise StudyError(
                f"{path}: {column} of {row['method']} on {row['model']} is {row[column]!r}; a "
                "number was expected"
            )
    rows = rows.fillna({"source": "", "reports": ""})
    error = rows["error_percent"].astype(float)
    rows = rows.assign(
        weights_percent=rows["weights_percent"].fillna((100 - rows["zeros_percent"]).round(6)),
        error_percent=error,
        digits=rows["error_percent"].str.partition(".")[2].str.len(),
        best_percent=rows["best_percent"].fillna(error.where(rows["reports"] == "best")),
    )
    for row in rows.to_dict("records"):
        if row["confirmed"] == "yes" and not row["source"].strip():
            raise StudyError(
                f"{path}: {row['method']} on {row['model']}, {row['error_percent']:g} % at "
                f"{row['weights_percent']:g} % of the weights, is confirmed without a source; say "
                "where it was read, or that it is not confirmed"
            )
    return rows
