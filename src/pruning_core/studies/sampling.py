"""What a few seeds can tell, and what chance alone does: intervals, power, the best of many."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import root_scalar


def coverage(multiple: float, n: int) -> float:
    """How often mean ± ``multiple`` standard errors holds the truth, for n normal values.

    Args:
        multiple: half the width of the interval, in standard errors of the mean.
        n: values, at least 2.
    """
    return float(2 * stats.t.cdf(multiple, n - 1) - 1)


def power(effect: float, n: int) -> float:
    """How often the 95 % t interval of n differences excludes 0, on either side.

    Args:
        effect: true mean of the differences, in standard deviations of one difference.
        n: differences, at least 2.
    """
    limit, shift = stats.t.ppf(0.975, n - 1), effect * np.sqrt(n)
    # The smaller tail of the noncentral t is lost to rounding where it is next to nothing.
    below = np.nan_to_num(stats.nct.cdf(-limit, n - 1, shift))
    return float(stats.nct.sf(limit, n - 1, shift) + below)


def detectable(n: int, wanted: float = 0.8) -> float:
    """The effect, in standard deviations of one difference, that n differences find so often."""
    return float(root_scalar(lambda effect: power(effect, n) - wanted, bracket=(0, 50)).root)


def expected_best(m: int) -> float:
    """How far the best of m independent standard normal errors is expected to lie below 0."""

    def density(x: float) -> float:
        return float(x * m * stats.norm.pdf(x) * stats.norm.cdf(x) ** (m - 1))

    return quad(density, -10, 10, limit=200)[0]


def expected_range(m: int) -> float:
    """Mean of the largest minus the smallest of m independent standard normal variables."""
    return 2 * expected_best(m)


def deviation_of_error(error_percent: float, images: int) -> float:
    """Standard deviation, in points, of an error measured on as many random images.

    Args:
        error_percent: the error on all images there could be, 0 to 100.
        images: drawn independently of one another and of the training.
    """
    share = error_percent / 100
    return float(100 * np.sqrt(share * (1 - share) / images))


def probability_met(room: ArrayLike, seeds: int, *, whole_interval: bool = False) -> np.ndarray:
    """Probability that a condition on a mean is met, for normal values.

    Args:
        room: how far the true mean is inside its limit, in standard deviations of one run.
        seeds: in the mean, at least 2.
        whole_interval: the 95 % t interval has to keep the limit, not only the mean.
    """
    if seeds < 2:
        raise ValueError(f"seeds is {seeds}; at least 2 were expected")
    distance = np.sqrt(seeds) * np.asarray(room, dtype=float)
    if not whole_interval:
        return stats.norm.cdf(distance)
    # (limit - mean) / (s / √n) has the non-central t distribution.
    return stats.nct.sf(stats.t.ppf(0.975, seeds - 1), seeds - 1, distance)
