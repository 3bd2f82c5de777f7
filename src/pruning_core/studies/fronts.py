"""How a point lies beside other results: how much larger, how much worse, and at equal size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

Estimate = tuple[float, float, float]
"""And the ends of its 95 % interval."""

_RESAMPLES = 2_000


def front(rows: pd.DataFrame, others: pd.DataFrame, size: str) -> Estimate:
    """Mean size, divided by that of the smallest other result that is at least as accurate.

    Above 1 if and only if another result is as accurate in less. An error that was printed with so
    many decimals is compared with ours rounded to as many. Nothing as accurate makes it 0.

    Args:
        rows: the runs of a point, with ``test_error_percent`` and the size.
        others: as :func:`pruning_core.studies.published.rivals` gives them.
        size: a column of both, "weights_percent" or "macs".

    Returns:
        The estimate from the means over the seeds, and the ends of its 95 % percentile bootstrap
        interval over the seeds, the other results being as they are.
    """
    sizes, errors, digits = (
        others.dropna(subset=size)[name].to_numpy() for name in (size, "error_percent", "digits")
    )

    def ratio(own_size: float, own_error: float) -> float:
        ours = np.array([round(own_error, int(d)) for d in digits])
        return own_size / float(np.min(sizes[errors <= ours], initial=np.inf))

    return _bootstrapped(ratio, rows[[size, "test_error_percent"]].to_numpy())


def lead(rows: pd.DataFrame, others: pd.DataFrame, size: str) -> Estimate:
    """Mean error, minus that of the most accurate other result that is at most as large.

    Args:
        rows: the runs of a point, with ``test_error_percent`` and the size.
        others: as :func:`pruning_core.studies.published.rivals` gives them.
        size: a column of both, "weights_percent" or "macs".

    Returns:
        As :func:`front`; in points, and −∞ if nothing is as small.
    """
    sizes, errors = (
        others.dropna(subset=size)[name].to_numpy() for name in (size, "error_percent")
    )

    def gap(own_size: float, own_error: float) -> float:
        return own_error - float(np.min(errors[sizes <= own_size], initial=np.inf))

    return _bootstrapped(gap, rows[[size, "test_error_percent"]].to_numpy())


def beside(rows: pd.DataFrame, curve: Sequence[pd.DataFrame], size: str) -> Estimate:
    """Mean error, minus that which other points have at the same mean size.

    Their means are joined by straight lines over the logarithm of the size; beyond the smallest
    and the largest, their error counts.

    Args:
        rows: the runs of a point, with ``test_error_percent`` and the size.
        curve: the runs of each of the others.
        size: a column of all, "weights_percent" or "macs".

    Returns:
        The estimate in points, and the ends of its 95 % percentile bootstrap interval over the
        seeds of all points.
    """
    pairs = [own[[size, "test_error_percent"]].to_numpy() for own in (rows, *curve)]

    def gap(means: np.ndarray) -> float:
        smallest, largest = means[1:, 0].min(), means[1:, 0].max()
        nearest = float(np.clip(means[0, 0], smallest, largest))
        return float(means[0, 1] - _on_the_line(nearest, means[1:]))

    random = np.random.default_rng(0)
    draws = np.stack(
        [p[random.integers(len(p), size=(_RESAMPLES, len(p)))].mean(axis=1) for p in pairs], axis=1
    )
    low, high = np.quantile([gap(means) for means in draws], (0.025, 0.975))
    return gap(np.stack([p.mean(axis=0) for p in pairs])), float(low), float(high)


def at_equal_size(
    rows: pd.DataFrame, reference: pd.DataFrame, along: pd.DataFrame, size: str = "weights_kept"
) -> float:
    """Mean error of some runs minus that of others, as if both were equally large, in points.

    What the sizes alone explain is taken away: the rise of a front between the two mean sizes.

    Args:
        rows: of a point, with ``test_error_percent`` and the size.
        reference: of the point it is compared with.
        along: of the points of a front, by ``point``; between its means the error is linear in
            the logarithm of the size.
        size: a column of all three.

    Returns:
        NaN where a mean size is not between those of the front, which then says nothing.
    """

    def mean(runs: pd.DataFrame) -> tuple[float, float]:
        sizes, errors = (runs[name].to_numpy(float) for name in (size, "test_error_percent"))
        return float(sizes.mean()), float(errors.mean())

    line = np.array([mean(runs) for _, runs in along.groupby("point")])

    def beyond_the_front(runs: pd.DataFrame) -> float:
        place, error = mean(runs)
        return error - _on_the_line(place, line)

    return beyond_the_front(rows) - beyond_the_front(reference)


def _on_the_line(size: float, points: np.ndarray) -> float:
    """The error at a size of straight lines over its logarithm through points; NaN beyond them.

    Args:
        size: where.
        points: sizes and errors, shape (k, 2), in any order.
    """
    sizes, errors = points[np.argsort(points[:, 0])].T
    return float(np.interp(np.log(size), np.log(sizes), errors, left=np.nan, right=np.nan))


def _bootstrapped(place: Callable[[float, float], float], pairs: np.ndarray) -> Estimate:
    """Of the means of sizes and errors, shape (n, 2): a seed is drawn with both."""
    draws = np.random.default_rng(0).integers(len(pairs), size=(_RESAMPLES, len(pairs)))
    places = [place(*means) for means in pairs[draws].mean(axis=1)]
    # One of the values: infinite ones have no mean.
    low, high = np.quantile(places, (0.025, 0.975), method="inverted_cdf")
    return place(*pairs.mean(axis=0)), float(low), float(high)
