"""The two files of a study in ``results/``: read with care, and written whole."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from pruning_core.experiments.returns import WITHIN
from pruning_core.experiments.settings import Settings
from pruning_core.files import write_atomically
from pruning_core.sparsity import ZEROS_PERCENT
from pruning_core.studies.declaration import StudyError

COUNTED = ("weights_kept", "weights_total", "macs", "macs_dense")
MEASURED = (
    "test_error_percent",
    "best_test_error_percent",
    "undecided",
    "surviving_units",
    "stochastic_test_error_percent",
    "deterministic_test_error_percent",
    "seconds",
)
FOLLOWED = ("declared_dead", *(f"returned_{k}" for k in WITHIN), "returned", "open_again")
"""Of runs whose dead units stay; tables of other runs lack these columns."""

_NUMBERS = (
    *("seed", "epochs", "training_macs_percent", "zeros_percent", "test_error_percent"),
    *COUNTED,
)
"""Columns that no row leaves empty."""

_TOLD = ("run", "point", "model", "method", "dataset", "split", "architecture", "settings")
_SIZES = r"\d+(-\d+)+"
CURVE = tuple(f"error_at_{zeros:g}" for zeros in ZEROS_PERCENT)
VERSIONS = ("pruning-core", "torch", "torch-pruning", "cpu", "commit")
NOTED = ("loss", "penalty", "coefficient", "undecided", "test_error_percent", "seconds")


def read_rows(path: Path) -> pd.DataFrame:
    """The whole table in a file; empty if there is none."""
    if not path.exists():
        return pd.DataFrame({"run": pd.Series(dtype=str), "point": pd.Series(dtype=str)})
    try:
        rows = pd.read_csv(path, dtype={"run": str})
        check_rows(rows)
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error
    twice = rows.loc[rows["run"].duplicated(), "run"]
    if len(twice):
        raise StudyError(
            f"{path} has several rows of the run {twice.iloc[0]}, perhaps since two branches were "
            "merged; keep one of them, or take it from git again"
        )
    return rows


def check_rows(rows: pd.DataFrame) -> None:
    """Refuse a table that is not of runs, naming the first cell that cannot be.

    Raises:
        ValueError: if that is so.
    """
    if missing := {*_TOLD, *_NUMBERS} - set(rows.columns):
        raise ValueError(f"the columns {', '.join(sorted(missing))} are missing")
    for column in (*_NUMBERS, *MEASURED, *FOLLOWED, *CURVE):
        if column not in rows:
            continue
        bad = not_numbers(pd.Series(rows[column]), needed=column in _NUMBERS)
        _refuse(rows, column, bad, "a number was")
    sizes = rows["architecture"].astype(str)
    bad = ~sizes.str.fullmatch(_SIZES).to_numpy(dtype=bool)
    _refuse(rows, "architecture", bad, "sizes like 784-300-100 were")
    for key, text in zip(rows["run"], rows["settings"], strict=True):
        try:
            _settings(text)
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"the settings of the run {key} are {text!r}: {error}") from error


def _refuse(rows: pd.DataFrame, column: str, bad: np.ndarray, expected: str) -> None:
    if bad.any():
        run, value = rows.loc[bad, ["run", column]].astype(object).iloc[0]
        raise ValueError(f"{column} of the run {run} is {value!r}; {expected} expected")


def read_epochs(path: Path) -> pd.DataFrame:
    """All trajectories in a file; empty if there is none."""
    if not path.exists():
        return pd.DataFrame({"run": pd.Series(dtype=str)})
    try:
        epochs = pd.read_parquet(path)
        if missing := {"run", "epoch", "architecture", "weights_kept", "theta", *NOTED} - set(
            epochs.columns
        ):
            raise ValueError(f"the columns {', '.join(sorted(missing))} are missing")
        epochs[["epoch", "weights_kept", *NOTED]].astype(float)
    except (OSError, ValueError, TypeError) as error:
        raise damaged(path, error) from error
    return epochs


def write(path: Path, rows: pd.DataFrame, epochs: pd.DataFrame) -> None:
    """Both files of a study, whose trajectories are at ``path``."""
    if "threads" in rows:
        rows = rows.astype({"threads": "Int64"})  # rows from before the column have none
    buffer = io.BytesIO()
    epochs.to_parquet(buffer, index=False, compression="zstd")
    write_atomically(path, buffer.getvalue())
    write_atomically(path.with_suffix(".csv"), rows.to_csv(index=False).encode())


def damaged(path: Path, error: Exception) -> StudyError:
    """What is said of a recorded file that cannot be read."""
    return StudyError(f"{path} is damaged ({' '.join(str(error).split())}); take it from git again")


def settings_of(rows: pd.DataFrame) -> list[Settings]:
    """The settings of each recorded run; what is newer than the run is at its default."""
    return [_settings(text) for text in rows["settings"]]


@cache
def _settings(text: str) -> Settings:
    return Settings.from_json(json.loads(text))


def not_numbers(cells: pd.Series, *, needed: bool) -> np.ndarray:
    """Which cells of a file are not finite numbers; bool, shape (n,).

    Args:
        cells: a column as it was read.
        needed: an empty cell is none either.
    """
    numbers = np.asarray(pd.to_numeric(cells, errors="coerce"), dtype=float)
    return ~np.isfinite(numbers) & (needed | cells.notna().to_numpy())
