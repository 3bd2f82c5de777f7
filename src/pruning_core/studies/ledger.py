"""The ledger of claims: what was said before the studies ran, and what they found."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


def interval(values: ArrayLike, digits: int = 2) -> str:
    """Mean and half the width of its 95 % t interval, as text."""
    mean, half = mean_interval(np.asarray(values))
    return f"{mean:.{digits}f}" + ("" if half is None else f" ± {half:.{digits}f}")


def mean_interval(values: np.ndarray) -> tuple[float, float | None]:
    """Mean and half the width of its 95 % t interval, which one value alone does not have."""
    if len(values) < 2:
        return float(values.mean()), None
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return float(values.mean()), float(half)
