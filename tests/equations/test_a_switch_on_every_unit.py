"""The chapter on the model and its bound: Monte Carlo, quadrature and sums over masks by hand."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import minimize

from pruning_core.hyperprior import Flattening
from pruning_core.theory.enumeration import elbo, log_evidence, mean_field, posterior

Array = NDArray[np.float64]
PI = np.array([0.3, 0.6, 0.15])


def regression(seed: int = 0, *, orthogonal: bool = False) -> tuple[Array, Array, Array]:
    """x of shape (12, 3), y and weights; unit noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(12, 3))
    x[:, 1] += x[:, 0]
    if orthogonal:
        x = np.linalg.qr(x)[0] * 2
    weights = np.array([1.0, -0.6, 0.4])
    return x, x @ (weights * np.array([1, 1, 0])) + rng.normal(size=12), weights


def losses(x: Array, y: Array, weights: Array) -> torch.Tensor:
    """L(ξ) in nats for all masks, by scipy's normal density."""
    return torch.tensor(
        [
            -stats.norm.logpdf(y, x @ (weights * np.array(mask))).sum()
            for mask in itertools.product([0, 1], repeat=3)
        ],
        dtype=torch.float64,
    )


def test_eq_switch_slab() -> None:
    """Moments of a gated weight over two million draws, within five standard errors."""
    rng, pi, precision = np.random.default_rng(0), 0.2, 4.0
    gate = rng.random(2_000_000) < pi
    v, v2 = (gate * rng.normal(0, precision**-0.5, gate.size) for _ in range(2))
    products = np.column_stack([v**2, v**4, v**2 * v2**2])
    error = 5 * products.std(0) / math.sqrt(gate.size)
    expected = np.array([pi / precision, 3 * pi / precision**2, pi / precision**2])
    assert (np.abs(products.mean(0) - expected) < error).all()


def test_eq_switch_evidence() -> None:
    """The sum over masks is the mean likelihood over draws from the prior."""
    x, y, weights = regression()
    rng = np.random.default_rng(1)
    gates = rng.random((200_000, 3)) < PI
    likelihood = np.exp(stats.norm.logpdf(y, (gates * weights) @ x.T).sum(1))
    error = likelihood.std() / math.sqrt(len(gates))
    ours = float(log_evidence(losses(x, y, weights), torch.from_numpy(PI)).exp())
    assert abs(likelihood.mean() - ours) < 5 * error


@pytest.mark.parametrize("seed", range(4))
def test_thm_switch_bound(seed: int) -> None:
    """Evidence less bound is the divergence from the exact posterior, summed by scipy."""
    table = losses(*regression(seed))
    theta = np.random.default_rng(seed).uniform(0.05, 0.95, 3)
    q = [
        np.where(np.array(mask) == 1, theta, 1 - theta).prod()
        for mask in itertools.product([0, 1], repeat=3)
    ]
    exact = posterior(table, torch.from_numpy(PI)).numpy()
    gap = log_evidence(table, torch.from_numpy(PI)) - elbo(
        table, torch.from_numpy(theta), torch.from_numpy(PI)
    )
    assert float(gap) == pytest.approx(stats.entropy(q, exact))
    assert float(gap) > 0


def test_eq_switch_elbo() -> None:
    """The bound is the mean of log p(y, ξ) − log q(ξ) over draws from q."""
    x, y, weights = regression()
    theta, rng = np.array([0.8, 0.4, 0.3]), np.random.default_rng(2)
    gates = rng.random((100_000, 3)) < theta
    values = stats.norm.logpdf(y, (gates * weights) @ x.T).sum(1)
    values += (stats.bernoulli.logpmf(gates, PI) - stats.bernoulli.logpmf(gates, theta)).sum(1)
    ours = elbo(losses(x, y, weights), torch.from_numpy(theta), torch.from_numpy(PI))
    assert abs(values.mean() - float(ours)) < 5 * values.std() / math.sqrt(len(gates))


def test_prop_switch_tight() -> None:
    """With orthogonal inputs the best product is the posterior; with correlated ones it is not."""
    pi = torch.from_numpy(PI)
    for orthogonal in (True, False):
        table = losses(*regression(orthogonal=orthogonal))
        found: Any = minimize(
            lambda t, table=table: -float(elbo(table, torch.from_numpy(t), pi)),
            [0.5] * 3,
            bounds=[(1e-6, 1 - 1e-6)] * 3,
            options={"ftol": 1e-14, "gtol": 1e-9},
        )
        gap = float(log_evidence(table, pi)) + found.fun
        assert (gap < 1e-6) if orthogonal else (gap > 1e-3)
        assert float(elbo(table, mean_field(table, pi), pi)) == pytest.approx(-found.fun, abs=1e-6)


def test_eq_switch_weights() -> None:
    """The divergence of a narrow Gaussian from the prior, by quadrature, is λw²/2 + const."""
    precision, width = 3.0, 0.01

    def divergence(w: float) -> float:
        def integrand(v: float) -> float:
            log_q = stats.norm.logpdf(v, w, width)
            return float(np.exp(log_q) * (log_q - stats.norm.logpdf(v, 0, precision**-0.5)))

        return quad(integrand, w - 9 * width, w + 9 * width, points=[w])[0]

    for w in (-1.0, 0.3, 2.0):
        assert divergence(w) - divergence(0.0) == pytest.approx(precision / 2 * w**2, abs=1e-6)


@pytest.mark.parametrize("log_gamma", [0.5, 4.0, 12.0])
def test_prop_switch_integrated(log_gamma: float) -> None:
    """A hyper-prior integrated out is its mean; that of the flattening one is the closed form."""
    prior = Flattening(log_gamma)

    def weighted(s: float) -> float:  # π = e^s
        density = prior.log_density(torch.tensor(math.exp(s), dtype=torch.float64)).exp()
        return math.exp(2 * s) * float(density)

    on, _ = quad(weighted, -60, 0, points=[-log_gamma], limit=200)
    assert on == pytest.approx(1 / log_gamma - 1 / math.expm1(log_gamma), rel=1e-6)


def test_eq_switch_objective() -> None:
    """−log p(W) − log p(π) − bound, with the best π found numerically, is J up to a constant."""
    x, y, weights = regression()
    log_gamma, precision = 3.0, 2.0
    table, prior = losses(x, y, weights), Flattening(log_gamma)

    def by_hand(theta: Array) -> float:
        def negative(logits: Array) -> float:
            pi = torch.sigmoid(torch.from_numpy(logits))
            return -float(elbo(table, torch.from_numpy(theta), pi) + prior.log_density(pi).sum())

        best: Any = minimize(negative, np.full(3, -2.0), options={"gtol": 1e-7})
        return best.fun - stats.norm.logpdf(weights, 0, precision**-0.5).sum()

    def J(theta: Array) -> float:
        masks = itertools.product([0, 1], repeat=3)
        q = [np.where(np.array(mask) == 1, theta, 1 - theta).prod() for mask in masks]
        ridge = precision / 2 * weights @ weights
        return float(np.dot(q, table.numpy()) + ridge + log_gamma * theta.sum())

    first, second = np.array([0.2, 0.5, 0.7]), np.array([0.9, 0.1, 0.4])
    assert by_hand(first) - by_hand(second) == pytest.approx(J(first) - J(second), abs=1e-4)
