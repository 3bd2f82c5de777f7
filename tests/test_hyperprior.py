"""Tests of pruning_core.hyperprior, against quadrature and numerical minimisation by scipy."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from pruning_core.hyperprior import HYPER_PRIORS, Beta, Fixed, Flattening, HyperPrior, resting_theta

LEARNED = [
    Flattening(0.1),
    Flattening(3.0),
    Flattening(20.0),
    Flattening(200.0),
    Beta(2.0, 5.0),
    Beta(3.5, 1.2),
    Beta(1.0, 4.0),
    Beta(6.0, 1.0),
]
INSIDE = [0.003, 0.1, 0.37, 0.5, 0.82, 0.999]


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def log_density(prior: HyperPrior, x: float) -> float:
    """log p(π) at π = sigmoid(x), written down anew."""
    log_pi, log_not_pi = -np.logaddexp(0, -x), -np.logaddexp(0, x)
    if isinstance(prior, Flattening):
        log_gamma = prior.log_gamma
        log_gamma_minus_1 = log_gamma + math.log1p(-math.exp(-log_gamma))
        return log_gamma_minus_1 - math.log(log_gamma) - np.logaddexp(0, log_gamma_minus_1 + log_pi)
    assert isinstance(prior, Beta)
    beta = math.exp(math.lgamma(prior.a) + math.lgamma(prior.b) - math.lgamma(prior.a + prior.b))
    return (prior.a - 1) * log_pi + (prior.b - 1) * log_not_pi - math.log(beta)


def kl(theta: float, x: float) -> float:
    """KL(Bernoulli(θ) ‖ Bernoulli(sigmoid(x))) in nats."""
    entropy = float(stats.bernoulli(theta).entropy())
    return -entropy + theta * np.logaddexp(0, -x) + (1 - theta) * np.logaddexp(0, x)


def minimise(prior: HyperPrior, theta: float) -> tuple[float, float]:
    """min over π of KL(θ ‖ π) − log p(π), and the logit of π at the minimum."""
    reach = 60 + (prior.log_gamma if isinstance(prior, Flattening) else 0)
    found: Any = minimize_scalar(
        lambda x: kl(theta, x) - log_density(prior, x),
        bounds=(-reach, reach),
        method="bounded",
        options={"xatol": 1e-10, "maxiter": 10_000},
    )
    return float(found.fun), float(found.x)


@pytest.mark.parametrize("log_gamma", [1e-3, 0.1, 1.0, 5.0, 20.0, 200.0, 600.0])
def test_the_flattening_density_integrates_to_one(log_gamma: float) -> None:
    prior = Flattening(log_gamma)

    def integrand(s: float) -> float:  # π = e^s: at large γ the mass is even in s, not in π
        return math.exp(float(prior.log_density(double(math.exp(s)))) + s)

    mass, _ = quad(integrand, -log_gamma - 40, 0, points=[-log_gamma], epsabs=1e-10, limit=500)
    assert mass == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("prior", [Flattening(3.0), Beta(1.0, 4.0), Beta(2.5, 1.5)], ids=str)
def test_a_density_integrates_to_one_over_pi_itself(prior: HyperPrior) -> None:
    mass, _ = quad(lambda pi: math.exp(float(prior.log_density(double(pi)))), 0, 1)
    assert mass == pytest.approx(1, abs=1e-7)


def test_the_flattening_density_is_that_of_the_paper_at_both_ends() -> None:
    for log_gamma in (0.5, 2.0, 10.0):
        gamma = math.exp(log_gamma)
        ends = Flattening(log_gamma).log_density(double(0.0, 0.3, 1.0)).exp()
        expected = [(gamma - 1) / log_gamma / (1 + (gamma - 1) * pi) for pi in (0.0, 0.3, 1.0)]
        assert ends.tolist() == pytest.approx(expected)


def test_beta_has_scipys_density() -> None:
    for a, b in ((1.0, 1.0), (1.1, 7.0), (4.0, 2.5)):
        pi = np.linspace(0.01, 0.99, 7)
        ours = Beta(a, b).log_density(torch.from_numpy(pi))
        np.testing.assert_allclose(ours.numpy(), stats.beta.logpdf(pi, a, b), rtol=1e-12)


def test_a_fixed_prior_has_its_mass_at_its_pi() -> None:
    density = Fixed(0.2).log_density(double(0.1, 0.2, 0.3))
    assert density.tolist() == [-math.inf, math.inf, -math.inf]
    assert Fixed(0.2).optimal_pi(double(0.0, 0.7)).tolist() == [0.2, 0.2]


@pytest.mark.parametrize("prior", LEARNED, ids=str)
@pytest.mark.parametrize("theta", INSIDE)
def test_the_optimal_pi_minimises_kl_minus_log_density(prior: HyperPrior, theta: float) -> None:
    _, x = minimise(prior, theta)
    assert logit(float(prior.optimal_pi(double(theta)))) == pytest.approx(x, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("log_gamma", [0.01, 20.0, 200.0, 2000.0])
def test_a_certain_unit_has_a_certain_prior(log_gamma: float, dtype: torch.dtype) -> None:
    ends = Flattening(log_gamma).optimal_pi(torch.tensor([0.0, 1.0], dtype=dtype))
    assert ends.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("prior", LEARNED, ids=str)
@pytest.mark.parametrize("theta", [*INSIDE, 1.0])
def test_the_cost_is_the_minimum_over_pi_less_that_at_zero(prior: HyperPrior, theta: float) -> None:
    expected = minimise(prior, theta)[0] - minimise(prior, 0.0)[0]
    assert float(prior.cost(double(theta))) == pytest.approx(expected, rel=1e-6, abs=1e-4)


@pytest.mark.parametrize("pi", [1e-6, 0.05, 0.5, 0.9])
@pytest.mark.parametrize("theta", [*INSIDE, 1.0])
def test_the_cost_under_a_fixed_prior_is_the_divergence_less_that_at_zero(
    pi: float, theta: float
) -> None:
    expected = kl(theta, float(logit(pi))) - kl(0.0, float(logit(pi)))
    assert float(Fixed(pi).cost(double(theta))) == pytest.approx(expected, rel=1e-6, abs=1e-4)


@given(theta=st.floats(0, 1), log_gamma=st.floats(1e-3, 500))
def test_the_flattening_cost_is_exactly_linear(theta: float, log_gamma: float) -> None:
    prior = Flattening(log_gamma)
    assert float(prior.cost(double(theta))) == log_gamma * theta
    assert float(prior.slope(double(theta))) == log_gamma


@pytest.mark.parametrize(
    "prior", [Fixed(0.01), Fixed(0.5), Beta(1.0, 20.0), Beta(2.0, 5.0)], ids=str
)
def test_the_other_costs_are_curved(prior: HyperPrior) -> None:
    theta = torch.linspace(0, 1, 101, dtype=torch.float64)
    chord = theta * prior.price
    assert float((prior.cost(theta) - chord).abs().max()) > 0.1


@pytest.mark.parametrize("worth", [-3.0, 1.0, 3.9, 4.1, 8.0])
def test_only_the_flattening_cost_drives_theta_to_an_end(worth: float) -> None:
    """Minimise cost(θ) − worth · θ: a vertex for one, an undecided θ for a fixed prior."""
    theta = torch.linspace(0, 1, 10_001, dtype=torch.float64)

    def best(prior: HyperPrior) -> float:
        return float(theta[(prior.cost(theta) - worth * theta).argmin()])

    assert best(Flattening(4.0)) == float(worth > 4.0)
    fixed = Fixed(float(expit(-4.0)))  # of the same price, 4 nats
    assert fixed.price == pytest.approx(4.0, abs=1e-4)
    assert best(fixed) == pytest.approx(expit(worth - 4.0), abs=1e-4)


@given(
    theta=st.floats(0.001, 0.999),
    pi=st.floats(1e-6, 1 - 1e-6),
    log_gamma=st.floats(0.01, 50),
)
def test_the_flattening_posterior_is_a_divergence_plus_a_linear_cost(
    theta: float, pi: float, log_gamma: float
) -> None:
    """KL(θ‖π) − log p(π|γ) = KL(θ‖u) + θ log γ + const, with u = γπ/(1 + (γ−1)π)."""
    x = float(logit(pi))
    left = kl(theta, x) - float(Flattening(log_gamma).log_density(double(pi)))
    constant = -math.log(math.expm1(log_gamma) / log_gamma)
    right = kl(theta, x + log_gamma) + theta * log_gamma + constant  # logit u = logit π + log γ
    assert left == pytest.approx(right, rel=1e-8, abs=1e-8)


CURVED = [Fixed(0.3), Beta(2.0, 5.0), Beta(1.0, 5.0), Beta(900.0, 1.0), Beta(1.0, 1.0)]


@pytest.mark.parametrize("prior", [*CURVED, Flattening(6.0)], ids=str)
@pytest.mark.parametrize("theta", INSIDE)
def test_the_slope_is_that_of_finite_differences(prior: HyperPrior, theta: float) -> None:
    ends = prior.cost(double(theta - 1e-6, theta + 1e-6))
    expected = float(ends[1] - ends[0]) / 2e-6
    assert float(prior.slope(double(theta))) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("prior", CURVED, ids=str)
def test_a_projected_theta_can_leave_either_end(prior: HyperPrior, dtype: torch.dtype) -> None:
    """The slope is infinite there, under a fixed prior; it is that of θ a little further inside."""
    at_ends = prior.slope(torch.tensor([0.0, 1.0], dtype=dtype))
    inside = prior.slope(double(1e-6, 1 - 1e-6))
    assert at_ends.tolist() == pytest.approx(inside.tolist(), abs=0.1)


@pytest.mark.parametrize("prior", [Flattening(7.0), Fixed(0.2), Beta(2.0, 9.0)], ids=str)
def test_the_price_is_the_cost_of_a_kept_unit(prior: HyperPrior) -> None:
    ends = prior.cost(double(0.0, 1.0))
    assert prior.price == pytest.approx(float(ends[1] - ends[0]))
    assert float(ends[0]) == pytest.approx(0, abs=2e-5)


def test_prices_in_closed_form() -> None:
    assert Flattening(7.0).price == 7.0
    assert Fixed(0.2).price == pytest.approx(math.log(0.8 / 0.2))
    # at θ = 0 and 1 the divergence is −log(1−π) and −log π, and π* = a−1/(a+b−1), a/(a+b−1)
    at_0, at_1 = 1 * math.log(1 / 10) + 9 * math.log(9 / 10), 2 * math.log(0.2) + 8 * math.log(0.8)
    assert Beta(2.0, 9.0).price == pytest.approx(at_0 - at_1)


@pytest.mark.parametrize("name", list(HYPER_PRIORS))
@pytest.mark.parametrize("price", [0.5, 2.0, 28.0, 110.0])
def test_hyper_priors_by_name_have_the_price_asked_for(name: str, price: float) -> None:
    assert HYPER_PRIORS[name](price).price == pytest.approx(price, rel=1e-6)


@pytest.mark.parametrize("log_gamma", [0.0, -2.5, math.inf, -math.inf, math.nan])
def test_gamma_must_exceed_one(log_gamma: float) -> None:
    with pytest.raises(ValueError, match=f"log_gamma is {log_gamma}; .*γ > 1"):
        Flattening(log_gamma)


@pytest.mark.parametrize("pi", [0.0, 1.0, -0.25, 1.5, math.nan])
def test_a_fixed_pi_must_be_inside_the_interval(pi: float) -> None:
    with pytest.raises(ValueError, match=f"pi is {pi};"):
        Fixed(pi)


@pytest.mark.parametrize(
    ("a", "b"), [(0.5, 2.0), (2.0, 0.5), (-1.0, 1.0), (math.inf, 2.0), (2.0, math.nan)]
)
def test_beta_refuses_parameters_below_one(a: float, b: float) -> None:
    with pytest.raises(ValueError, match=rf"Beta\({a}, {b}\)"):
        Beta(a, b)


@pytest.mark.parametrize("prior", [Flattening(4.0), Fixed(0.02), Beta(1.0, 20.0), Beta(2.0, 9.0)])
@pytest.mark.parametrize("worth", [-30.0, 1.0, 3.9, 4.1, 8.0, 40.0])
def test_theta_rests_where_cost_less_worth_is_smallest(prior: HyperPrior, worth: float) -> None:
    theta = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    best = float(theta[(prior.cost(theta) - worth * theta).argmin()])
    assert float(resting_theta(prior, double(worth))) == pytest.approx(best, abs=2e-5)


@pytest.mark.parametrize("name", ["fixed", "beta"])
def test_a_price_beyond_the_numbers_is_named(name: str) -> None:
    assert HYPER_PRIORS[name](709.0).price == pytest.approx(709.0)
    for price in (710.0, 1e3, 1e30):
        with pytest.raises(ValueError, match=f"at most 709 nats were expected .* {name}"):
            HYPER_PRIORS[name](price)
    assert HYPER_PRIORS["flattening"](1e3).price == pytest.approx(1e3)
