"""What chance alone does: to an error on a test set, a best of many, a range, a verdict."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import integrate, stats


def noise_of_test_set(error_percent: float, examples: int) -> float:
    """Standard deviation, in percent, of the error of a fixed network over test sets of a size.

    Each image is drawn independently, so the number of mistakes is binomial.
    """
    share = error_percent / 100
    return 100 * float(np.sqrt(share * (1 - share) / examples))


def expected_largest(count: int) -> float:
    """Mean of the largest of ``count`` independent standard normal variables; 0 for one.

    By quadrature of x over its density, count · φ(x) Φ(x)^(count − 1).
    """
    if count < 1:
        raise ValueError(f"count is {count}; at least 1 was expected")
    mean, _ = integrate.quad(
        lambda x: x * count * stats.norm.pdf(x) * stats.norm.cdf(x) ** (count - 1), -10, 10
    )
    return float(mean)


def expected_range(count: int) -> float:
    """Mean of the largest minus the smallest of ``count`` standard normal variables."""
    return 2 * expected_largest(count)


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
