"""Tests of pruning_core.theory.single_weight: joint descent ends where the theory says it can."""

import math
from functools import partial

import pytest
import torch

from pruning_core.baselines.penalties import Bridge, Lasso, Penalty, Ridge
from pruning_core.halo import optimal_coefficient
from pruning_core.theory.single_weight import joint_path, kept_share, risk


@pytest.mark.parametrize("ratio", [0.3, 1.0, 4.0])
def test_a_weight_ends_at_zero_or_where_both_gradients_vanish(ratio: float) -> None:
    target = torch.tensor([-2.0, 0.05, 1.0, 3.0])
    weights, coefficients = joint_path(
        target, 0.0, 1.0, 0.1, 0.1, step=0.05, steps=6000, ratio=ratio
    )
    assert weights.shape == coefficients.shape == (6001, 4)
    w, c = weights[-1], coefficients[-1]
    assert w.sign().tolist() == [-1, 0, 1, 1]
    kept = w != 0
    torch.testing.assert_close(c[kept], optimal_coefficient(w[kept], 0.1, 0.1), rtol=1e-6, atol=0)
    slope = (w - target + 0.1 * w.sign() / c**2)[kept]
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-6)


def test_the_start_is_kept_and_only_the_proximal_step_ends_in_zeros() -> None:
    start = torch.tensor([0.3, -0.2])
    for proximal in (True, False):
        weights, coefficients = joint_path(
            torch.zeros(2), start, 0.5, 0.1, 0.1, step=0.1, steps=50, proximal=proximal
        )
        torch.testing.assert_close(weights[0], start.double())
        assert coefficients[0].tolist() == [0.5, 0.5]
        assert bool((weights[-1] == 0).all()) == proximal


def test_the_cosine_brings_an_unused_coefficient_half_as_far() -> None:
    unused = partial(joint_path, torch.zeros(1), 0.0, 1.0, 0.1, 0.02, step=0.1, steps=200)
    (_, level), (_, falling) = unused(), unused(cosine=True)
    assert float(1 - level[-1]) == pytest.approx(0.1 * 200 * 0.02)
    assert float(1 - falling[-1]) == pytest.approx(0.5 * 0.1 * 200 * 0.02, rel=0.01)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_momentum_keeps_the_step_of_a_constant_gradient(momentum: float) -> None:
    far = torch.tensor([1e4])  # so that the slope is the same all the while
    weights, _ = joint_path(far, 1.0, 1.0, 0.1, 0.1, step=1e-6, steps=300, momentum=momentum)
    assert float(weights[-1] - weights[-101]) == pytest.approx(100 * 1e-6 * 1e4, rel=2e-3)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("start", [0.3, 0.01])
def test_the_chatter_of_a_weight_of_no_use_is_that_of_a_plain_loop(
    momentum: float, start: float
) -> None:
    xi, psi, step, steps = 0.01, 0.01, 0.1, 1500
    w, c, v, u = start, 1.0, 0.0, 0.0
    sizes, levels = [], []
    for _ in range(steps):
        v = momentum * v + math.copysign(xi, w) / c**2
        u = momentum * u + psi - 2 * xi * abs(w) / c**3
        w, c = w - (1 - momentum) * step * v, c - (1 - momentum) * step * u
        sizes.append(abs(w))
        levels.append(c)
    way = {"step": step, "steps": steps, "momentum": momentum}
    weights, coefficients = joint_path(
        torch.zeros(1), start, 1.0, xi, psi, proximal=False, curvature=0.0, **way
    )
    assert float(coefficients[-200:].mean()) == pytest.approx(sum(levels[-200:]) / 200, rel=0.01)
    assert float(weights[-200:].abs().mean()) == pytest.approx(sum(sizes[-200:]) / 200, rel=0.03)


@pytest.mark.parametrize("penalty", [Ridge(0.3), Lasso(1.2), Bridge(1.5)])
def test_risk_and_share_are_those_of_a_million_draws(penalty: Penalty) -> None:
    """The standard error of the means is at most 0.006."""
    torch.manual_seed(0)
    truth = torch.tensor([0.0, 1.0, 5.0], dtype=torch.float64)
    values = penalty.thresholded(truth + torch.randn(1_000_000, 3, dtype=torch.float64))
    expected = (values - truth).square().mean(0)
    torch.testing.assert_close(risk(penalty, truth), expected, rtol=0, atol=0.025)
    shares = (values != 0).double().mean(0)
    torch.testing.assert_close(kept_share(penalty, truth), shares, rtol=0, atol=0.005)
