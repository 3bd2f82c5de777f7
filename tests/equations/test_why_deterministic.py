"""The chapter on deterministic networks: Monte Carlo, finite differences, scipy's optimisers."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

from pruning_core.theory import mixture
from pruning_core.theory.enumeration import differences, expectation, masks

Array = NDArray[np.float64]
PRICE = 1.5


def table(seed: int, num_gates: int) -> Array:
    return np.random.default_rng(seed).normal(0, 4, 2**num_gates)


def J(losses: Array, theta: Array) -> float:
    """The expected loss, averaged one gate at a time from the last, and the price."""
    value = losses
    for probability in theta[::-1]:
        pairs = value.reshape(-1, 2)
        value = (1 - probability) * pairs[:, 0] + probability * pairs[:, 1]
    return float(value[0] + PRICE * theta.sum())


def gradient(losses: Array, theta: Array) -> Array:
    """By finite differences, which are exact for a multi-affine function up to rounding."""
    shifts = 1e-4 * np.eye(len(theta))
    return np.array([(J(losses, theta + s) - J(losses, theta - s)) / 2e-4 for s in shifts])


def corner_values(losses: Array, num_gates: int) -> Array:
    prices = [PRICE * sum(mask) for mask in itertools.product([0, 1], repeat=num_gates)]
    return losses + np.array(prices)


def descend(losses: Array, start: Array) -> Any:
    return minimize(lambda t: J(losses, t), start, bounds=[(0, 1)] * len(start))


def test_eq_deterministic_average() -> None:
    """The sum over corners is the mean over a million draws, within five standard errors."""
    rng, theta, losses = np.random.default_rng(0), np.array([0.2, 0.9, 0.6, 0.45]), table(1, 4)
    draws = rng.random((1_000_000, 4)) < theta
    values = losses[draws @ np.array([8, 4, 2, 1])] + PRICE * draws.sum(1)
    error = values.std() / math.sqrt(len(values))
    exact = float(expectation(torch.from_numpy(losses), torch.from_numpy(theta)))
    assert abs(values.mean() - exact - PRICE * theta.sum()) < 5 * error


@pytest.mark.parametrize("seed", range(5))
def test_prop_deterministic_slope(seed: int) -> None:
    """The differences are finite differences; the twist is one, of four conditional means."""
    losses, theta = table(seed, 4), np.random.default_rng(seed).uniform(0.1, 0.9, 4)
    ours = differences(torch.from_numpy(losses), torch.from_numpy(theta)).numpy() + PRICE
    np.testing.assert_allclose(ours, gradient(losses, theta), rtol=1e-6)
    shifts = 1e-2 * np.eye(4)
    twist = (gradient(losses, theta + shifts[2]) - gradient(losses, theta - shifts[2])) / 2e-2
    all_masks = masks(4).numpy()
    others = np.where(all_masks[:, [0, 3]] == 1, theta[[0, 3]], 1 - theta[[0, 3]]).prod(1)
    expected = (others * losses * np.where(all_masks[:, 1] == all_masks[:, 2], 1, -1)).sum()
    assert twist[1] == pytest.approx(expected, rel=1e-5)
    assert twist[2] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_thm_deterministic_global(seed: int) -> None:
    """No descent within the cube gets below the best corner, and some reach it; ties are faces."""
    losses = table(seed, 4)
    starts = np.random.default_rng(seed).random((30, 4))
    found = min(descend(losses, start).fun for start in starts)
    assert found == pytest.approx(corner_values(losses, 4).min(), abs=1e-6)
    tied = losses.reshape(2, 8).copy()
    tied[1] = tied[0] - PRICE  # the first unit is worth its price exactly, whatever the others
    best = tied[0] + PRICE * masks(3).sum(1).numpy()
    rest = masks(3)[int(best.argmin())].numpy()
    for theta in (0.0, 0.3, 1.0):
        assert J(tied.ravel(), np.array([theta, *rest])) == pytest.approx(best.min())


@pytest.mark.parametrize("seed", range(8))
def test_thm_deterministic_local(seed: int) -> None:
    """Descent with a generic table ends in a corner, and signed shifts leave the mean as it is."""
    losses, rng = table(seed, 5), np.random.default_rng(seed)
    end = descend(losses, rng.random(5)).x
    np.testing.assert_allclose(end, end.round(), atol=1e-6)
    theta, shift = rng.uniform(0.3, 0.7, 5), rng.uniform(0, 0.3, 5)
    signs = itertools.product([-1, 1], repeat=5)
    mean = np.mean([J(losses, theta + np.array(s) * shift) for s in signs])
    assert mean == pytest.approx(J(losses, theta))


@pytest.mark.parametrize("seed", range(3))
def test_cor_deterministic_mixture(seed: int) -> None:
    """A random loss on [0, 1]³, a polynomial: J_f from its definition, and from its corners."""
    rng, fraction = np.random.default_rng(seed), 0.25
    coefficients = rng.normal(0, 4, (4, 4, 4))  # of ξ₁^a ξ₂^b ξ₃^c

    def mixed(theta: Array) -> float:
        """E_mix[L] by the moments of one gate, and the price."""
        powers = np.arange(4)
        moments = [
            fraction / (powers + 1) + (1 - fraction) * np.where(powers == 0, 1.0, t) for t in theta
        ]
        value = float(np.einsum("abc,a,b,c->", coefficients, *moments))
        return value + (1 - fraction) * PRICE * float(theta.sum())

    corners = np.array([mixed(np.array(mask)) for mask in itertools.product([0.0, 1.0], repeat=3)])
    for _ in range(5):
        theta = rng.random(3)
        mean = np.prod(
            [
                np.where(np.array(m) == 1, theta, 1 - theta)
                for m in itertools.product([0, 1], repeat=3)
            ],
            axis=1,
        )
        assert mixed(theta) == pytest.approx(float(mean @ corners))
        assert mixed(theta) >= corners.min() - 1e-9
    end = minimize(mixed, rng.random(3), bounds=[(0, 1)] * 3).x
    np.testing.assert_allclose(end, end.round(), atol=1e-5)
    # The corners' totals are losses of networks with half-open gates, not those of J.
    plain = np.array(
        [
            float(np.einsum("abc,a,b,c->", coefficients, *np.array(m)[:, None] ** np.arange(4)))
            for m in itertools.product([0.0, 1.0], repeat=3)
        ]
    )
    grid = mixture.places(3, 4).numpy()
    values = np.einsum("abc,na,nb,nc->n", coefficients, *(grid.T[..., None] ** np.arange(4)))
    table = mixture.mixed_table(torch.from_numpy(values).reshape(6, 6, 6), fraction).numpy()
    prices = np.array([sum(mask) for mask in itertools.product([0, 1], repeat=3)])
    np.testing.assert_allclose(table + (1 - fraction) * PRICE * prices, corners)
    assert np.abs(table - plain).max() > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_prop_deterministic_twins(seed: int) -> None:
    """An ODE solver's end is the corner that the line through the saddle predicts."""
    rng = np.random.default_rng(seed)
    l10, l01 = rng.uniform(0, 3, 2)
    losses = np.array([8.0, l01, l10, max(l10, l01) + rng.uniform(-1, 1)])
    h = losses[3] - l10 - l01 + losses[0]
    saddle = np.array([losses[0] - l01 - PRICE, losses[0] - l10 - PRICE]) / h
    np.testing.assert_allclose(gradient(losses, saddle), 0, atol=1e-8)

    def flow(_: float, theta: Array) -> Array:
        inside = theta.clip(0, 1)
        speed = -gradient(losses, inside)
        return np.where(((theta <= 0) & (speed < 0)) | ((theta >= 1) & (speed > 0)), 0, speed)

    for start in rng.random((4, 2)):
        solved = solve_ivp(flow, (0, 20), start, max_step=0.05, rtol=1e-4)
        first_wins = start[0] - saddle[0] > start[1] - saddle[1]
        end = np.array([1, 0] if first_wins else [0, 1])
        np.testing.assert_allclose(solved.y[:, -1].clip(0, 1), end, atol=1e-3)


def test_prop_deterministic_decay() -> None:
    """The least J of a mask that fits the data sinks to its price as λ → 0; of another, it cannot.

    Three features as units of a logistic regression, which is convex: 0 separates the classes, so
    does 1, and 2 does not.
    """
    generator = np.random.default_rng(0)
    labels = np.repeat([-1.0, 1.0], 20)
    features = np.stack(
        [
            labels * generator.uniform(1, 2, 40),
            labels * generator.uniform(0.5, 1, 40),
            generator.standard_normal(40),
        ],
        axis=1,
    )

    def least(mask: tuple[int, ...], decay: float) -> float:
        margins = labels[:, None] * features[:, np.array(mask, dtype=bool)]

        def value(weights: np.ndarray) -> tuple[float, np.ndarray]:
            each = margins @ weights
            slope = -np.exp(-np.logaddexp(0, each)) @ margins + decay * weights
            ridge = decay / 2 * float(weights @ weights)
            return float(np.logaddexp(0, -each).sum()) + ridge, slope

        start = np.ones(margins.shape[1])
        return float(minimize(value, start, jac=True, options={"gtol": 1e-12}).fun)

    masks = [mask for mask in itertools.product([0, 1], repeat=3) if any(mask)]
    for mask in masks:
        nats = [least(mask, decay) for decay in (1e-1, 1e-3, 1e-5, 1e-7)]
        if mask[0] or mask[1]:
            assert nats == sorted(nats, reverse=True)
            assert 0 < nats[-1] < 1e-4
        else:
            assert nats[-1] > 20
    # So it is the price that chooses at λ > 0, and only the count of units at λ → 0.
    worths = [least((0, 1, 0), decay) - least((1, 1, 0), decay) for decay in (1e-1, 1e-3, 1e-7)]
    assert worths == sorted(worths, reverse=True)
    assert worths[0] > 0.3 > 1e-3 > worths[-1] > 0


def test_prop_deterministic_weights() -> None:
    """Joint descent on a regression with 3 gates finds the best subset of ridge regressions."""
    rng, penalty, num = np.random.default_rng(3), 0.5, 3
    x = rng.normal(size=(20, num))
    x[:, 1] = x[:, 0] + 0.2 * x[:, 1]
    y = x @ np.array([1.0, 0.2, 0.5]) + 0.3 * rng.normal(size=20)

    def total(w: Array, theta: Array) -> float:  # the expected square in closed form
        mean = y - x @ (theta * w)
        spread = (theta * (1 - theta) * w**2 * (x**2).sum(0)).sum()
        return 0.5 * float(mean @ mean + spread + penalty * w @ w) + PRICE * float(theta.sum())

    def fitted(theta: Array) -> Array:
        square = (x.T @ x) * np.outer(theta, theta)
        np.fill_diagonal(square, (x**2).sum(0) * theta)
        solved = np.linalg.solve(square + penalty * np.eye(num), theta * (x.T @ y))
        return solved.astype(np.float64)

    def V(theta: Array) -> float:
        return total(fitted(theta), theta)

    best = min(V(np.array(mask)) for mask in itertools.product([0.0, 1.0], repeat=num))
    bounds = [(None, None)] * num + [(0, 1)] * num
    ends = [
        minimize(lambda v: total(v[:num], v[num:]), start, bounds=bounds)
        for start in rng.random((30, 2 * num))
    ]
    assert min(end.fun for end in ends) == pytest.approx(best, abs=1e-5)
    for theta, i in zip(
        rng.uniform(0.2, 0.8, (20, num)), itertools.cycle(range(num)), strict=False
    ):
        shift = 0.2 * np.eye(num)[i]
        assert V(theta) >= (V(theta - shift) + V(theta + shift)) / 2 - 1e-9
