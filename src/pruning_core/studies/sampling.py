"""What a few seeds can tell: coverage of an interval, power of a comparison, the best of many."""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.integrate import quad


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
    low, high = 0.0, 50.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle, n) < wanted else (low, middle)
    return high


def expected_best(m: int) -> float:
    """How far the best of m independent standard normal errors is expected to lie below 0."""

    def density(x: float) -> float:
        return float(x * m * stats.norm.pdf(x) * stats.norm.cdf(x) ** (m - 1))

    return quad(density, -10, 10, limit=200)[0]


def deviation_of_error(error_percent: float, images: int) -> float:
    """Standard deviation, in points, of an error measured on as many random images.

    Args:
        error_percent: the error on all images there could be, 0 to 100.
        images: drawn independently of one another and of the training.
    """
    share = error_percent / 100
    return float(100 * np.sqrt(share * (1 - share) / images))
