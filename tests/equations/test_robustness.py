"""The chapter on where training started: ranges by hand and by simulation."""

import numpy as np
import pytest

from pruning_core.studies.intervals import (
    difference_interval,
    estimated,
    mean_interval,
    relative_rises,
)
from pruning_core.studies.sampling import expected_range


def test_eq_robustness_range() -> None:
    """It is the largest relative difference of any pair of means; its interval is resampled."""
    rng = np.random.default_rng(0)
    samples = [rng.normal(mean, 1, 10) for mean in (20, 22, 21)]
    means = [float(np.mean(sample)) for sample in samples]
    pairs = max(abs(one - other) for one in means for other in means)
    found, low, high = estimated("range", samples)
    assert found == pytest.approx(pairs / np.mean(means))
    resampled = []
    for _ in range(4_000):
        drawn = [rng.choice(sample, 10).mean() for sample in samples]
        resampled.append((max(drawn) - min(drawn)) / np.mean(drawn))
    expected = np.quantile(resampled, [0.025, 0.975])
    assert (low, high) == pytest.approx(tuple(expected), abs=0.006)


@pytest.mark.parametrize("k", [2, 4, 12])
@pytest.mark.parametrize("n", [5, 10])
def test_eq_robustness_chance(k: int, n: int) -> None:
    """The mean range of k equal starts, simulated 10,000 times, to 4 standard errors."""
    deviation = 0.07
    runs = np.random.default_rng(k).normal(1.6, deviation, (10_000, k, n))
    ranges = np.ptp(runs.mean(2), axis=1)
    error = 4 * ranges.std() / 100
    expected = expected_range(k) * deviation / np.sqrt(n)
    assert expected == pytest.approx(ranges.mean(), abs=error)


@pytest.mark.slow
def test_eq_robustness_relative() -> None:
    """Of 2,000 simulated studies, 95 % hold the true cost, and the true difference of two."""
    rng = np.random.default_rng(0)
    covariance = np.array([[0.010, 0.004], [0.004, 0.006]])
    kept = {"one": 0, "difference": 0}
    for _ in range(2_000):
        small, large = (
            rng.multivariate_normal(means, scale * covariance, 10).T
            for means, scale in (([1.6, 1.5], 1), ([11.5, 10.0], 3))
        )
        costs = [relative_rises(*errors) for errors in (small, large)]
        assert costs[0].mean() == pytest.approx(small[0].mean() / small[1].mean() - 1)
        _, low, high = mean_interval(costs[0])
        kept["one"] += low <= 1.6 / 1.5 - 1 <= high
        estimate, low, high = difference_interval(costs[1], costs[0])
        assert estimate == pytest.approx(costs[1].mean() - costs[0].mean())
        kept["difference"] += low <= 11.5 / 10.0 - 1.6 / 1.5 <= high
    error = 4 * np.sqrt(0.95 * 0.05 / 2_000)
    for count in kept.values():
        assert count / 2_000 == pytest.approx(0.95, abs=error)


def test_eq_robustness_relative_to_first_order() -> None:
    """The deviation of the ratio itself over many simulated studies is that of the mean."""
    rng = np.random.default_rng(1)
    covariance = np.array([[0.010, 0.004], [0.004, 0.006]])
    errors = rng.multivariate_normal([1.6, 1.5], covariance, (20_000, 10))
    ratios = errors[..., 0].mean(1) / errors[..., 1].mean(1) - 1
    rises = np.array([relative_rises(*study.T).std(ddof=1) for study in errors[:2_000]])
    expected = np.sqrt(np.mean(rises**2) / 10)
    assert ratios.std() == pytest.approx(expected, rel=0.05)
