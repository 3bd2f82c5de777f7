"""Statistics over the seeds, with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from statistics import median_low
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


def interval(values: ArrayLike, digits: int = 2) -> str:
    """Mean and half the width of its 95 % t interval, as text."""
    mean, low, high = mean_interval(np.asarray(values))
    half = "" if np.isnan(low) else f" ± {(high - low) / 2:.{digits}f}"
    return f"{mean:.{digits}f}{half}"


def mean_interval(sample: np.ndarray) -> tuple[float, float, float]:
    """Mean, and the ends of its 95 % t interval; NaN for one value alone."""
    mean = float(sample.mean())
    if len(sample) < 2:
        return mean, np.nan, np.nan
    half = float(_quantile(len(sample) - 1) * sample.std(ddof=1) / np.sqrt(len(sample)))
    return mean, mean - half, mean + half


@cache
def _quantile(freedom: int) -> float:
    """What 97.5 % of the t distribution are below."""
    return float(stats.t.ppf(0.975, freedom))


def relative_rises(values: ArrayLike, base: ArrayLike) -> np.ndarray:
    """Numbers whose mean is the ratio of two means minus 1, and which scatter as that does.

    The ratio R of the means of paired values a and b has, to first order, the error of the mean of
    (a − R b) / (mean of b); so an interval of the mean of R − 1 + (a − R b) / (mean of b) is one of
    R − 1 (equation eq-robustness-relative).

    Args:
        values: a, of each seed; shape (n,).
        base: b, of the same seeds; shape (n,).
    """
    a, b = np.asarray(values, dtype=float), np.asarray(base, dtype=float)
    ratio = a.mean() / b.mean()
    return ratio - 1 + (a - ratio * b) / b.mean()


def difference_interval(first: ArrayLike, second: ArrayLike) -> tuple[float, float, float]:
    """Mean of the first minus that of the second, and the ends of Welch's 95 % t interval.

    For samples that are not paired, each of at least two values.
    """
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    found = stats.ttest_ind(one, other, equal_var=False).confidence_interval()
    return float(one.mean() - other.mean()), float(found.low), float(found.high)


def estimated(statistic: str, samples: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """A statistic that a condition of the ledger may name, and the ends of its 95 % interval.

    The interval of a mean is Student's, and so is that of "beyond", whose limit is taken as given;
    of "spread", "range" and "ratio", the percentile bootstrap's with a fixed stream of random
    numbers; "largest" and "alike" have none.

    Args:
        statistic: its name.
        samples: values over the seeds, of each point.
    """
    return STATISTICS[statistic](samples)


def _mean(values: Sequence[np.ndarray]) -> tuple[float, float, float]:
    (sample,) = values
    return mean_interval(sample)


def _largest(values: Sequence[np.ndarray]) -> tuple[float, float, float]:
    (sample,) = values
    return float(sample.max()), np.nan, np.nan


def _spread(values: Sequence[np.ndarray]) -> tuple[float, float, float]:
    (sample,) = values
    return _bootstrap([sample], lambda x, axis: x.std(ddof=1, axis=axis) / x.mean(axis=axis))


def _range(values: Sequence[np.ndarray]) -> tuple[float, float, float]:
    def statistic(*samples: np.ndarray, axis: int) -> np.ndarray:
        means = np.stack([sample.mean(axis=axis) for sample in samples])
        return (means.max(axis=0) - means.min(axis=0)) / means.mean(axis=0)

    return _bootstrap(values, statistic)


def _ratio(values: Sequence[np.ndarray]) -> tuple[float, float, float]:
    first, second = values
    return _bootstrap([first, second], lambda a, b, axis: a.mean(axis=axis) / b.mean(axis=axis))


def _beyond(values: Sequence[np.ndarray]) -> tuple[float, float, float]:
    first, second = values
    _, _, limit = mean_interval(second)
    mean, low, high = mean_interval(first)
    return mean - limit, low - limit, high - limit


def _alike(values: Sequence[np.ndarray]) -> tuple[float, float, float]:
    middle = median_low(np.concatenate(values).tolist())
    return float(min((abs(sample - middle) <= 1).sum() for sample in values)), np.nan, np.nan


def _bootstrap(values: Sequence[np.ndarray], statistic: Any) -> tuple[float, float, float]:
    found = stats.bootstrap(
        values, statistic, vectorized=True, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return float(statistic(*values, axis=-1)), float(found.low), float(found.high)


STATISTICS = {
    "mean": _mean,
    "largest": _largest,
    "spread": _spread,
    "range": _range,
    "ratio": _ratio,
    "beyond": _beyond,
    "alike": _alike,
}
