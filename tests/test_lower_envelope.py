"""Tests of pruning_core.theory.lower_envelope, against scipy."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import minimize_scalar
from scipy.special import expit

from pruning_core.hyperprior import Beta, Flattening
from pruning_core.theory import lower_envelope

PRIORS = [Flattening(1.5), Flattening(6.0), Beta(1.0, 9.0), Beta(2.0, 5.0)]
THETA = [0.02, 0.3, 0.5, 0.77, 0.96]


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def log_density(prior: Flattening | Beta, pi: float) -> float:
    """log p(π), written down anew."""
    if isinstance(prior, Beta):
        return float(stats.beta.logpdf(pi, prior.a, prior.b))
    gamma = np.exp(prior.log_gamma)
    return float(np.log((gamma - 1) / prior.log_gamma / (1 + (gamma - 1) * pi)))


def charge(prior: Flattening | Beta, theta: float, pi: float) -> float:
    """KL(θ ‖ π) − log p(π) in nats, the divergence from scipy."""
    divergence = stats.entropy([theta, 1 - theta], [pi, 1 - pi])
    return float(divergence) - log_density(prior, pi)


def least(prior: Flattening | Beta, theta: float, low: float = 0.0, high: float = 0.0) -> float:
    """The smallest charge over π outside of (low, high), by scipy's minimisation and the ends."""
    spans = [(1e-12, low), (high, 1 - 1e-12)] if high else [(1e-12, 1 - 1e-12)]
    found = []
    for left, right in spans:
        a, b = np.log(left / (1 - left)), np.log(right / (1 - right))
        inner: Any = minimize_scalar(
            lambda x: charge(prior, theta, float(expit(x))),
            bounds=(a, b),
            method="bounded",
            options={"xatol": 1e-9},
        )
        found += [inner.fun, charge(prior, theta, left), charge(prior, theta, right)]
    return min(found)


@pytest.mark.parametrize("prior", PRIORS, ids=str)
@pytest.mark.parametrize("theta", THETA)
def test_a_curve_is_the_divergence_less_the_log_density(
    prior: Flattening | Beta, theta: float
) -> None:
    found = lower_envelope.total(prior, double(theta), double(0.03, 0.4, 0.9))
    at_0 = min(charge(prior, 0.0, float(expit(x))) for x in np.linspace(-30, 30, 6001))
    expected = [charge(prior, theta, pi) - at_0 for pi in (0.03, 0.4, 0.9)]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_every_curve_touches_the_cost_where_its_pi_is_best_and_nowhere_crosses_it(
    prior: Flattening | Beta,
) -> None:
    theta = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    for touching in THETA:
        pi = prior.optimal_pi(double(touching))
        above = lower_envelope.total(prior, theta, pi.expand(99)) - prior.cost(theta)
        assert float(above.min()) > -1e-9
        assert float(theta[above.argmin()]) == pytest.approx(touching, abs=0.005)


@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_the_dent_is_the_least_of_the_curves_that_are_left(prior: Flattening | Beta) -> None:
    low, high = prior.optimal_pi(double(0.25, 0.6)).tolist()
    found = lower_envelope.dented(prior, double(*THETA), low, high)
    at_0 = min(charge(prior, 0.0, float(expit(x))) for x in np.linspace(-30, 30, 6001))
    expected = [least(prior, theta, low, high) - at_0 for theta in THETA]
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    dent = found - prior.cost(double(*THETA))
    assert (dent > 1e-3).tolist() == [False, True, True, False, False]


@pytest.mark.parametrize("gap", [(0.5, 0.5), (0.6, 0.5), (0.0, 0.5), (0.5, 1.0)])
def test_a_gap_needs_two_ends_inside(gap: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=f"a gap from {gap[0]} to {gap[1]}"):
        lower_envelope.dented(Flattening(2.0), double(0.5), *gap)
