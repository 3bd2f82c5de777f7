"""Tests of pruning_core.baselines.hard_concrete: frequencies and means against quadrature."""

import math

import pytest
import torch
from scipy import integrate
from torch import nn

from pruning_core.baselines.hard_concrete import HIGH, LOW, TEMPERATURE, HardConcreteGate


def gate_with(*log_alpha: float) -> HardConcreteGate:
    gate = HardConcreteGate(len(log_alpha))
    gate.log_alpha.data.copy_(torch.tensor(log_alpha))
    return gate


def multiplier(u: float, log_alpha: float) -> float:
    """z for one uniform number, straight from the definition."""
    s = 1 / (1 + math.exp(-(math.log(u / (1 - u)) + log_alpha) / TEMPERATURE))
    return min(1.0, max(0.0, LOW + (HIGH - LOW) * s))


LOG_ALPHA = (-4.0, -1.5, 0.0, 1.5, 4.0)


def test_draws_are_zero_and_one_as_often_and_of_the_mean_that_quadrature_says() -> None:
    torch.manual_seed(0)
    gate = gate_with(*LOG_ALPHA).train()
    draws = gate(torch.ones(100_000, len(LOG_ALPHA))).detach()
    for column, log_alpha, probability in zip(
        draws.T, LOG_ALPHA, gate.open_probability().tolist(), strict=True
    ):
        # z > 0 where σ(·) > −LOW/(HIGH − LOW): solved for u.
        edge = TEMPERATURE * math.log(-LOW / HIGH) - log_alpha
        assert probability == pytest.approx(1 - 1 / (1 + math.exp(-edge)), rel=1e-5)
        tolerance = 4.5 * math.sqrt(0.25 / len(column))
        assert float((column > 0).float().mean()) == pytest.approx(probability, abs=tolerance)
        mean, _ = integrate.quad(multiplier, 0, 1, args=(log_alpha,), limit=200)
        assert float(column.mean()) == pytest.approx(mean, abs=tolerance)
        assert float(column.min()) >= 0.0
        assert float(column.max()) <= 1.0


def test_the_deterministic_gate_is_the_stretched_sigmoid_of_log_alpha() -> None:
    gate = gate_with(*LOG_ALPHA).eval()
    expected = [min(1.0, max(0.0, 1.2 / (1 + math.exp(-x)) - 0.1)) for x in LOG_ALPHA]
    found = gate(2 * torch.ones(3, len(LOG_ALPHA)))
    torch.testing.assert_close(found, 2 * torch.tensor([expected] * 3))
    assert (expected[0], expected[-1]) == (0.0, 1.0)


def test_the_gradient_of_the_mean_multiplier_is_that_of_the_quadrature() -> None:
    torch.manual_seed(0)
    gate = gate_with(0.5).train()
    gate(torch.ones(200_000, 1)).mean().backward()
    step = 1e-3
    above, below = (
        integrate.quad(multiplier, 0, 1, args=(0.5 + d,), limit=200)[0] for d in (step, -step)
    )
    assert gate.log_alpha.grad is not None
    assert float(gate.log_alpha.grad) == pytest.approx((above - below) / (2 * step), abs=0.003)


@pytest.mark.parametrize("theta", [0.1, 0.5, 0.9])
def test_theta_is_the_probability_to_be_open_at_the_start(theta: float) -> None:
    gate = HardConcreteGate(4, theta=theta)
    torch.testing.assert_close(gate.open_probability(), torch.full((4,), theta))


def test_one_draw_covers_all_pixels_of_a_filter() -> None:
    torch.manual_seed(0)
    draws = gate_with(0.0, 0.0, 0.0).train()(torch.ones(6, 3, 4, 5)).detach().flatten(2)
    assert torch.equal(draws, draws[:, :, :1].expand_as(draws))
    assert len(draws[:, :, 0].unique()) > 3


def test_draws_and_gradients_are_finite_at_the_extremes() -> None:
    torch.manual_seed(0)
    gate = gate_with(-200.0, 200.0).train()
    outputs = gate(torch.ones(100_000, 2))
    outputs.sum().backward()
    assert outputs.detach().mean(0).tolist() == [0.0, 1.0]
    assert gate.log_alpha.grad is not None
    assert bool(gate.log_alpha.grad.isfinite().all())


@pytest.mark.parametrize("theta", [0.0, 1.0, -0.5])
def test_a_probability_out_of_range_is_named(theta: float) -> None:
    with pytest.raises(ValueError, match=f"theta is {theta}; a probability in \\(0, 1\\)"):
        HardConcreteGate(2, theta=theta)


def test_it_trains_inside_a_network() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), HardConcreteGate(3), nn.Linear(3, 1))
    network(torch.randn(8, 4)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())
