"""The chapter on pruned LeNet-300-100, against enumeration of gates and of subsets of units."""

from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from pruning_core.hyperprior import HYPER_PRIORS, resting_theta

SUBSETS = [frozenset(k) for n in range(5) for k in combinations(range(4), n)]


def test_eq_three_gap() -> None:
    """Over all settings of eight gates, for random errors and random θ."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        theta = rng.choice([rng.uniform(), 0.001, 0.999], 8)
        gates = np.array(list(product([0, 1], repeat=8)))
        chance = np.where(gates == 1, theta, 1 - theta).prod(axis=1)
        error = 100 * rng.uniform(size=len(gates))
        rounded = (gates == (theta >= 0.5)).all(axis=1)
        differs = chance[~rounded].sum()
        assert differs == pytest.approx(1 - np.maximum(theta, 1 - theta).prod())
        assert differs <= np.minimum(theta, 1 - theta).sum() + 1e-12
        assert abs(chance @ error - error[rounded][0]) <= 100 * differs + 1e-9


def least_squares(x: np.ndarray, y: np.ndarray, units: frozenset[int]) -> tuple[float, np.ndarray]:
    """Least loss with these units, and its weights, 0 for the others."""
    w = np.zeros(x.shape[1])
    if units:
        w[list(units)] = np.linalg.lstsq(x[:, list(units)], y, rcond=None)[0]
    return float(((y - x @ w) ** 2).sum() / 2), w


def test_eq_three_worth() -> None:
    """For linear units with correlated outputs: dropped as they stand, and trained again."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4))
    y = x @ rng.normal(size=4) + rng.normal(size=60)
    full, w = least_squares(x, y, frozenset(range(4)))
    for unit in range(4):
        without = np.where(np.arange(4) == unit, 0, w)
        left = ((y - x @ without) ** 2).sum() / 2 - full
        right = least_squares(x, y, frozenset(range(4)) - {unit})[0] - full
        assert left >= right - 1e-9
        assert left > 1.05 * right


def test_eq_three_exchange() -> None:
    """Best subsets at two prices, over random losses of all sixteen."""
    rng = np.random.default_rng(0)
    seen = 0
    for _ in range(300):
        losses = {k: float(rng.uniform(0, 30)) for k in SUBSETS}
        a, b = sorted(rng.uniform(0, 10, 2))
        best = [min(SUBSETS, key=lambda k, p=p: losses[k] + p * len(k)) for p in (a, b)]
        assert len(best[0]) >= len(best[1])
        if len(best[0]) > len(best[1]):
            seen += 1
            rate = (losses[best[1]] - losses[best[0]]) / (len(best[0]) - len(best[1]))
            assert a <= rate <= b
    assert seen > 20


@pytest.mark.parametrize("distance", [-4.1, -3.7, 0.0, 3.7, 4.1])
def test_eq_three_window(distance: float) -> None:
    """The numerical minimum under the fixed prior is undecided exactly inside the window."""
    prior = HYPER_PRIORS["fixed"](28.0)

    def total(x: float) -> float:
        theta = torch.tensor(1 / (1 + np.exp(-x)), dtype=torch.float64)
        return float(prior.cost(theta) - (28 + distance) * theta)

    found: Any = minimize_scalar(total, bounds=(-12, 12), method="bounded")
    theta = 1 / (1 + np.exp(-found.x))
    assert (0.02 < theta < 0.98) == (abs(distance) < np.log(49))
    at_rest = resting_theta(prior, torch.tensor([28 + distance], dtype=torch.float64))
    assert float(at_rest) == pytest.approx(theta, abs=1e-4)
