"""The chapter on the flattening hyper-prior, against quadrature and numerical minimisation."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit, logit

from pruning_core.hyperprior import Beta, Fixed, Flattening, HyperPrior, resting_theta
from pruning_core.theory import enumeration

THETAS = [0.01, 0.2, 0.5, 0.77, 0.995]


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def kl(theta: float, pi: float) -> float:
    """KL(Bernoulli(θ) ‖ Bernoulli(π)) in nats."""
    return float(stats.entropy([theta, 1 - theta], [pi, 1 - pi]))


def smallest(prior: HyperPrior, theta: float) -> tuple[float, float]:
    """inf over π of KL(θ ‖ π) − log p(π), and the log-odds of the best π."""

    def total(x: float) -> float:
        return kl(theta, float(expit(x))) - float(prior.log_density(tensor(float(expit(x)))))

    found: Any = minimize_scalar(total, bounds=(-30, 30), method="bounded")
    return float(found.fun), float(found.x)


@pytest.mark.parametrize("log_gamma", [0.1, 3.0, 30.0])
def test_eq_flattening_density(log_gamma: float) -> None:
    """It integrates to 1."""
    prior = Flattening(log_gamma)

    def density(pi: float) -> float:
        return float(prior.log_density(torch.tensor(pi, dtype=torch.float64)).exp())

    # Most of its mass lies within 1/γ of 0.
    total, _ = quad(density, 0, 1, points=[2.0**-k for k in range(1, 50)], limit=200)
    assert total == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("theta", THETAS)
def test_eq_flattening_stationary(theta: float) -> None:
    """The root of the condition is the minimiser, here under Beta(2, 5) of scipy."""

    def condition(pi: float) -> float:
        slope = (stats.beta.logpdf(pi + 1e-7, 2, 5) - stats.beta.logpdf(pi - 1e-7, 2, 5)) / 2e-7
        return float((pi - theta) / (pi * (1 - pi)) - slope)

    root = float(brentq(condition, 1e-4, 1 - 1e-4))  # pyright: ignore[reportArgumentType]
    assert root == pytest.approx(expit(smallest(Beta(2, 5), theta)[1]), abs=1e-4)


@pytest.mark.parametrize("prior", [Flattening(3.0), Beta(2.0, 5.0), Beta(1.0, 9.0)], ids=str)
@pytest.mark.parametrize("theta", THETAS)
def test_eq_flattening_envelope(prior: HyperPrior, theta: float) -> None:
    """The slope of the numerical infimum is the distance in log-odds."""
    slope = (smallest(prior, theta + 1e-3)[0] - smallest(prior, theta - 1e-3)[0]) / 2e-3
    assert slope == pytest.approx(logit(theta) - smallest(prior, theta)[1], abs=0.02)


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("log_gamma", [0.5, 4.0, 15.0])
def test_eq_flattening_optimal_pi(log_gamma: float, theta: float) -> None:
    """The numerical minimiser has it, and its odds are γ times those of θ the other way."""
    gamma, prior = math.exp(log_gamma), Flattening(log_gamma)
    assert smallest(prior, theta)[1] == pytest.approx(
        logit(theta / (gamma - (gamma - 1) * theta)), abs=1e-4
    )
    best = float(prior.optimal_pi(tensor(theta)))
    assert gamma * best / (1 + (gamma - 1) * best) == pytest.approx(theta)


def test_prop_flattening_identity() -> None:
    """Both sides at a thousand random θ, π and γ."""
    rng = np.random.default_rng(0)
    for theta, pi, log_gamma in zip(
        *rng.uniform(0.01, 0.99, (2, 1_000)), rng.uniform(0.1, 20, 1_000), strict=True
    ):
        gamma = math.exp(log_gamma)
        left = kl(theta, pi) - float(Flattening(log_gamma).log_density(tensor(pi)))
        u = gamma * pi / (1 + (gamma - 1) * pi)
        right = kl(theta, u) + theta * log_gamma + math.log(log_gamma / (gamma - 1))
        assert left == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize("log_gamma", [0.5, 4.0, 15.0])
def test_eq_flattening_cost(log_gamma: float) -> None:
    """The numerical infimum less its limit at 0, which is −log p(0), is θ log γ."""
    prior = Flattening(log_gamma)
    at_zero = -float(prior.log_density(tensor(0.0)))
    for theta in THETAS:
        assert smallest(prior, theta)[0] - at_zero == pytest.approx(theta * log_gamma, abs=1e-5)
        assert float(prior.cost(tensor(theta))) == pytest.approx(theta * log_gamma)


@pytest.mark.parametrize("alpha", [-2.0, 0.7, 4.0])
def test_thm_flattening_unique(alpha: float) -> None:
    """The density recovered from the affine cost, −log p(π) = max_θ [αθ − KL(θ ‖ π)] + const.

    And if log p is raised or lowered by a bump in log-odds, the cost bends under it.
    """

    def recovered(pi: float) -> float:
        found: Any = minimize_scalar(
            lambda x: kl(float(expit(x)), pi) - alpha * float(expit(x)),
            bounds=(-25, 25),
            method="bounded",
        )
        return math.exp(found.fun)

    mass, _ = quad(recovered, 0, 1, epsabs=1e-7)
    for pi in (0.03, 0.4, 0.9):
        expected = math.expm1(alpha) / alpha / (1 + math.expm1(alpha) * pi)
        assert recovered(pi) / mass == pytest.approx(expected, rel=1e-5)
        if alpha > 0:
            ours = float(Flattening(alpha).log_density(tensor(pi)).exp())
            assert ours == pytest.approx(recovered(pi) / mass, rel=1e-5)

    def cost(theta: float, place: float, height: float) -> float:
        x = np.linspace(-12, 12, 24_001)  # log-odds of π
        pi = expit(x)
        divergence = stats.entropy([theta, 1 - theta]) * -1 - theta * np.log(pi)
        divergence -= (1 - theta) * np.log1p(-pi)
        log_density = -np.log1p(math.expm1(alpha) * pi) + height * np.exp(-((x - place) ** 2))
        return float((divergence - log_density).min())

    thetas = expit(np.linspace(-4, 4, 41))
    line = alpha * thetas
    for height, bends in ((0.0, False), (0.1, True), (-0.1, True)):
        for place in (-2.0 - alpha, -alpha, 2.0 - alpha):
            found = np.array([cost(theta, place, height) for theta in thetas]) - line
            assert bool(np.ptp(found) > 0.02) == bends


@pytest.mark.parametrize("prior", [Flattening(4.0), Fixed(0.02), Beta(1, 20), Beta(2, 5)], ids=str)
@pytest.mark.parametrize("worth", [0.0, 3.9, 4.1, 9.0])
def test_eq_flattening_balance(prior: HyperPrior, worth: float) -> None:
    """θ at rest is the best one on a fine grid."""
    grid = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    best = float(grid[(prior.cost(grid) - worth * grid).argmin()])
    assert float(resting_theta(prior, tensor(worth))) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("pi", [0.001, 0.3, 0.8])
def test_eq_flattening_fixed(pi: float) -> None:
    """The cost is a difference of divergences, and its balance a logistic curve."""
    for theta in THETAS:
        expected = kl(theta, pi) - kl(0, pi)
        assert float(Fixed(pi).cost(tensor(theta))) == pytest.approx(expected, abs=1e-9)
    for worth in (-3.0, 0.0, 5.0):
        found: Any = minimize_scalar(
            lambda t, w=worth: kl(t, pi) - w * t, bounds=(0, 1), options={"xatol": 1e-9}
        )
        assert found.x == pytest.approx(expit(worth + logit(pi)), abs=1e-5)


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("prior", [Beta(1.0, 9.0), Beta(2.5, 4.0)], ids=str)
def test_eq_flattening_beta(prior: Beta, theta: float) -> None:
    """The best π is the numerical minimiser; the slope is a difference of numerical minima."""
    assert float(prior.optimal_pi(tensor(theta))) == pytest.approx(
        expit(smallest(prior, theta)[1]), abs=1e-5
    )
    slope = (smallest(prior, theta + 1e-4)[0] - smallest(prior, theta - 1e-4)[0]) / 2e-4
    assert float(prior.slope(tensor(theta))) == pytest.approx(slope, abs=0.02)


@pytest.mark.parametrize("worth", [-8.0, 0.0, 3.0, 10.0])
def test_prop_flattening_stall(worth: float) -> None:
    """Minimised numerically, θ is inside; or at 0 under Beta(1, b) if the worth is below log b."""

    def rest(prior: HyperPrior) -> float:
        found: Any = minimize_scalar(
            lambda x: float(prior.cost(tensor(float(expit(x))))) - worth * float(expit(x)),
            bounds=(-18, 18),
            method="bounded",
        )
        return float(expit(found.x))

    assert all(1e-6 < rest(prior) < 1 - 1e-6 for prior in (Fixed(0.02), Beta(2, 5)))
    b = 20.0
    expected = 0.0 if worth < math.log(b) else (math.exp(worth) - b) / (math.exp(worth) - 1)
    assert rest(Beta(1, b)) == pytest.approx(expected, abs=1e-4)


TABLE = tensor(7.0, 3.0, 4.5, 0.5, 6.0, 1.0, 5.0, 2.0)
PRICE = 1.7


def joint(mask: tuple[int, ...], loss: float) -> float:
    """p(y, ξ | π) with π = 1/(1 + γ), a product written out."""
    pi = 1 / (1 + math.exp(PRICE))
    return math.prod(pi if on else 1 - pi for on in mask) * math.exp(-loss)


def test_eq_flattening_temperature() -> None:
    """At T = 1 it is minus the bound under the fixed π, and at T = 0 it is J; by loops."""
    pi, constant = 1 / (1 + math.exp(PRICE)), 3 * math.log1p(math.exp(-PRICE))
    generator = np.random.default_rng(0)
    for theta in generator.uniform(0, 1, (20, 3)):
        bound = mean = 0.0
        for mask, loss in zip(itertools.product([0, 1], repeat=3), TABLE.tolist(), strict=True):
            q = math.prod(t if on else 1 - t for on, t in zip(mask, theta, strict=True))
            bound += q * (math.log(joint(mask, loss)) - math.log(q))
            mean += q * (loss + PRICE * sum(mask))
        found = [
            float(enumeration.tempered(TABLE, tensor(*theta), PRICE, t)) for t in (1.0, 0.5, 0.0)
        ]
        assert found[0] == pytest.approx(-bound - constant)
        assert found[2] == pytest.approx(mean)
        assert found[1] == pytest.approx((found[0] + found[2]) / 2)
        divergence = sum(kl(float(t), pi) for t in theta)
        assert found[0] - mean == pytest.approx(divergence - constant - PRICE * theta.sum())


def test_prop_flattening_map() -> None:
    """Differences of J are those of log posteriors; no point of the cube is below the best mask."""
    listed = list(zip(itertools.product([0, 1], repeat=3), TABLE.tolist(), strict=True))
    evidence = sum(joint(mask, loss) for mask, loss in listed)
    posterior = [joint(mask, loss) / evidence for mask, loss in listed]
    corners = enumeration.masks(3)
    values = enumeration.tempered(TABLE, corners, PRICE, 0.0)
    assert (values[0] - values).tolist() == pytest.approx(
        np.log(posterior) - math.log(posterior[0])
    )
    assert int(values.argmin()) == int(np.argmax(posterior))
    inside = torch.rand(20_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert float(enumeration.tempered(TABLE, inside, PRICE, 0.0).min()) > float(values.min())


def test_eq_flattening_tempered_rest() -> None:
    """Where F is smallest in one θ, by scipy's search; at a low temperature that is an end."""
    theta = tensor(0.3, 0.6, 0.8)
    for temperature in (1.0, 0.3):

        def along(t: float, temperature: float = temperature) -> float:
            return float(enumeration.tempered(TABLE, tensor(0.3, t, 0.8), PRICE, temperature))

        worth = -float(enumeration.differences(TABLE, theta)[1])
        found: Any = minimize_scalar(
            along, bounds=(0, 1), method="bounded", options={"xatol": 1e-9}
        )
        assert found.x == pytest.approx(expit((worth - PRICE) / temperature), abs=1e-5)


def test_fig_flattening_twins() -> None:
    """Of two units that do the same job: half each, nearly one, and one."""
    pi = torch.sigmoid(tensor(-4.0, -4.0))
    for worth, share in ((8.0, 0.95), (4.5, 0.25)):
        table = tensor(worth, 0.0, 0.0, 0.0)
        exact = enumeration.posterior(table, pi)
        assert float(exact[1]) == pytest.approx(float(exact[2]))
        product = enumeration.best_product(table, pi)
        bound = float(enumeration.elbo(table, product, pi))
        grid = torch.cartesian_prod(*[torch.linspace(0.001, 0.999, 300).double()] * 2)
        assert bound >= float(enumeration.elbo(table, grid, pi).max()) - 1e-9
        probabilities = enumeration.probabilities(product)
        assert (float(probabilities[1:3].max()) > share) == (worth == 8.0)
        path = enumeration.projected_descent(table, 4.0, tensor(0.9, 0.8), 0.01, 4000)
        assert path[-1].tolist() == [1.0, 0.0]
