"""The chapter on the protocol, against quadrature, enumeration and simulation."""

from itertools import product

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from pruning_core.studies.intervals import mean_interval
from pruning_core.studies.sampling import coverage, deviation_of_error, expected_best, power


@pytest.mark.parametrize("m", [2, 10, 90])
def test_eq_protocol_best(m: int) -> None:
    """The mean of the largest from its distribution function; it keeps the bound."""
    above, _ = quad(lambda x: 1 - stats.norm.cdf(x) ** m, 0, 12)
    below, _ = quad(lambda x: stats.norm.cdf(x) ** m, -12, 0)
    assert expected_best(m) == pytest.approx(above - below, abs=1e-6)
    assert above - below <= np.sqrt(2 * np.log(m))


@pytest.mark.parametrize("n", [3, 10])
def test_eq_protocol_t(n: int) -> None:
    """P(|Z| ≤ c S), the mean over the law of S², is the t distribution's."""
    for c in (0.5, 1.0, 2.3):
        inside, _ = quad(
            lambda v, c=c: (
                (2 * stats.norm.cdf(c * np.sqrt(v / (n - 1))) - 1) * stats.chi2.pdf(v, n - 1)
            ),
            0,
            200,
            limit=200,
        )
        assert coverage(c, n) == pytest.approx(inside, abs=1e-6)


def test_eq_protocol_interval() -> None:
    """It holds the truth in 95 % of 4,000 simulated studies of ten seeds, to three errors."""
    rng = np.random.default_rng(0)
    found = [mean_interval(x) for x in rng.normal(1.6, 0.1, (4_000, 10))]
    share = np.mean([low <= 1.6 <= high for _, low, high in found])
    assert share == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 4_000))


@pytest.mark.parametrize("error", [0.7, 1.6, 12.0])
def test_eq_protocol_testset(error: float) -> None:
    """The deviation of scipy's binomial number of mistakes."""
    expected = 100 * stats.binom(10_000, error / 100).std() / 10_000
    assert deviation_of_error(error, 10_000) == pytest.approx(expected)


def test_eq_protocol_paired() -> None:
    """By enumeration of all pairs of samples of a discrete joint law, n = 2."""
    pairs = np.array([(1.5, 1.9), (1.6, 1.8), (1.7, 2.2), (1.4, 1.7)])
    chances = np.array([0.1, 0.4, 0.2, 0.3])
    mean = chances @ pairs
    (a, ab), (_, b) = (pairs - mean).T @ (chances[:, None] * (pairs - mean))
    rho = ab / np.sqrt(a * b)
    draws = list(product(range(4), repeat=2))
    weight = np.array([chances[list(d)].prod() for d in draws])
    differences = np.array([(pairs[list(d), 1] - pairs[list(d), 0]).mean() for d in draws])
    found = weight @ differences**2 - (weight @ differences) ** 2
    assert found == pytest.approx((a + b - 2 * rho * np.sqrt(a * b)) / 2)


def test_eq_protocol_bootstrap() -> None:
    """By enumeration of all 5⁵ resamples of five values."""
    sample = np.array([1.41, 1.52, 1.53, 1.75, 1.69])
    means = np.array([np.mean(s) for s in product(sample, repeat=5)])
    expected = 4 / 5 * sample.var(ddof=1) / 5
    assert means.var() == pytest.approx(expected)


@pytest.mark.parametrize(("effect", "n"), [(0.0, 10), (1.0, 10), (1.5, 3)])
def test_eq_protocol_power(effect: float, n: int) -> None:
    """The share of 4,000 simulated studies whose interval excludes 0, to four errors."""
    rng = np.random.default_rng(1)
    found = [mean_interval(x) for x in rng.normal(effect, 1, (4_000, n))]
    share = np.mean([low > 0 or high < 0 for _, low, high in found])
    assert share == pytest.approx(power(effect, n), abs=4 * np.sqrt(0.25 / 4_000))
