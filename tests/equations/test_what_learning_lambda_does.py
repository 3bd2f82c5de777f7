"""The chapter on what learning λ does, against minimisation, differentiation and an ODE solver."""

import itertools
from typing import Any

import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar

from pruning_core.baselines.penalties import Bridge
from pruning_core.halo import (
    bridge_scale,
    bridge_shrink,
    bridge_threshold,
    halo_marginal,
    optimal_coefficient,
)
from pruning_core.theory.single_weight import joint_path

PRICES = pytest.mark.parametrize(("xi", "psi"), [(0.19, 0.19), (3e-5, 5e-5), (2.0, 0.1)])
SCALES = pytest.mark.parametrize("scale", [1e-3, 0.36, 5.0])


def bridge_minimum(z: float, scale: float) -> float:
    """By brute force: 200 starts of a bounded minimisation, and zero."""

    def objective(w: float) -> float:
        return 0.5 * (w - z) ** 2 + scale * w ** (1 / 3)

    edges = torch.linspace(0, z, 201, dtype=torch.float64).tolist()
    found: list[Any] = [
        minimize_scalar(objective, bounds=pair, method="bounded", options={"xatol": 1e-9})
        for pair in itertools.pairwise(edges)
    ]
    best = min(found, key=lambda result: result.fun)
    return best.x if best.fun < objective(0.0) else 0.0


@PRICES
@pytest.mark.parametrize("weight", [1e-4, 0.5, 30.0])
def test_eq_lambda_marginal(weight: float, xi: float, psi: float) -> None:
    """Minimising over λ numerically finds the coefficient and the bridge."""
    found: Any = minimize_scalar(
        lambda c: xi * weight / c**2 + psi * c, bounds=(1e-6, 1e4), options={"xatol": 1e-9}
    )
    w = torch.tensor(weight, dtype=torch.float64)
    assert float(optimal_coefficient(w, xi, psi)) == pytest.approx(found.x, rel=1e-3)
    assert float(halo_marginal(w, xi, psi)) == pytest.approx(found.fun, rel=1e-6)


@PRICES
@pytest.mark.parametrize("weight", [1e-3, 0.5, 30.0])
def test_eq_lambda_slope(weight: float, xi: float, psi: float) -> None:
    """ξ/λ*² and the bridge's slope are the finite difference of the numerical minimum over λ."""

    def least(w: float) -> float:
        found: Any = minimize_scalar(
            lambda c: xi * w / c**2 + psi * c, bounds=(1e-6, 1e4), options={"xatol": 1e-10}
        )
        return float(found.fun)

    expected = (least(1.001 * weight) - least(0.999 * weight)) / (0.002 * weight)
    w = torch.tensor(weight, dtype=torch.float64)
    assert xi / float(optimal_coefficient(w, xi, psi)) ** 2 == pytest.approx(expected, rel=1e-4)
    (slope,) = Bridge(bridge_scale(xi, psi)).slopes([w])
    assert float(slope) == pytest.approx(expected, rel=1e-4)


@SCALES
def test_eq_lambda_threshold(scale: float) -> None:
    """Brute force finds zero below 5/4 w°, the jump to w° at it, and the rule above."""
    threshold, jump = bridge_threshold(scale)
    assert jump == pytest.approx(0.8 * threshold)
    assert bridge_minimum(0.999 * threshold, scale) == 0.0
    assert bridge_minimum(1.0001 * threshold, scale) == pytest.approx(jump, rel=1e-3)
    for factor in (0.5, 1.3, 4.0):
        z = factor * threshold
        found = float(bridge_shrink(torch.tensor(z, dtype=torch.float64), scale))
        assert found == pytest.approx(bridge_minimum(z, scale), rel=1e-4, abs=1e-9)


@SCALES
def test_eq_lambda_bias(scale: float) -> None:
    """Brute force loses at most a fifth of the threshold, and c/3 z^(−2/3) in the limit."""
    threshold, _ = bridge_threshold(scale)
    for factor in (1.001, 1.5, 10.0, 300.0):
        z = factor * threshold
        loss, limit = z - bridge_minimum(z, scale), scale / 3 * z ** (-2 / 3)
        assert loss <= threshold / 5
        assert 0.999 * limit <= loss <= 1.001 * 1.25 ** (2 / 3) * limit
    assert loss == pytest.approx(limit, rel=1e-3)


@pytest.mark.parametrize("ratio", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("start", [(0.6, 0.5), (1.2, 2.0)])
def test_eq_lambda_flow(start: tuple[float, float], ratio: float) -> None:
    """Small joint steps follow the flow as an ODE solver integrates it."""
    xi = psi = 0.19

    def flow(_: float, point: list[float]) -> list[float]:
        w, c = point
        return [1.0 - w - xi / c**2, -ratio * (psi - 2 * xi * w / c**3)]

    solved = solve_ivp(flow, (0, 3), start, rtol=1e-9).y[:, -1]
    w, c = joint_path(torch.ones(1), *start, xi, psi, step=1e-3, steps=3000, ratio=ratio)
    assert float(w[-1]) == pytest.approx(solved[0], rel=3e-3)
    assert float(c[-1]) == pytest.approx(solved[1], rel=3e-3)


@pytest.mark.parametrize("weight", [0.05, 2.0])
def test_eq_lambda_rest(weight: float) -> None:
    """From 1 % beside λ*, the solver loses a factor e in the time λ*/(3ρψ)."""
    xi, psi, ratio = 0.02, 0.3, 0.7
    best = (2 * xi * weight / psi) ** (1 / 3)
    time = best / (3 * ratio * psi)
    solved = solve_ivp(
        lambda _, c: -ratio * (psi - 2 * xi * weight / c**3), (0, time), [1.01 * best], rtol=1e-10
    )
    assert (solved.y[0, -1] - best) / (0.01 * best) == pytest.approx(torch.e**-1, rel=0.02)


@SCALES
def test_eq_lambda_valley(scale: float) -> None:
    """The objective falls somewhere on w > 0 exactly from 0.68 of the threshold on."""
    threshold, _ = bridge_threshold(scale)
    valley = 2 * 6**-0.6 * threshold
    assert valley == pytest.approx(2.5 * (2 * scale / 9) ** 0.6)
    w = threshold * torch.logspace(-4, 0, 200_001, dtype=torch.float64)
    for factor, falls in ((0.999, False), (1.001, True)):
        values = 0.5 * (w - factor * valley) ** 2 + scale * w.pow(1 / 3)
        assert bool((values.diff() < 0).any()) == falls
