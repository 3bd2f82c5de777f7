"""The chapter on where training started: ranges by hand and by simulation."""

import numpy as np
import pytest

from pruning_core.studies.intervals import estimated
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
