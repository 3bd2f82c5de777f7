"""Tests of pruning_core.baselines.variational_bottleneck: the price against numerical integrals."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize
from scipy.stats import norm
from torch import nn

from pruning_core.baselines.variational_bottleneck import BottleneckGate

ACTIVATIONS, SHARES = np.array([0.4, 1.0, 2.5]), np.array([0.5, 0.3, 0.2])
"""What a unit computes, and how often."""

GATES = [(1.0, 0.01), (1.0, 0.3), (-0.7, 0.7), (0.2, 1.0)]


def gate_with(*moments: tuple[float, float]) -> BottleneckGate:
    """Of units with these μ and σ."""
    gate = BottleneckGate(len(moments)).double()
    mean, spread = torch.tensor(moments, dtype=torch.float64).T
    with torch.no_grad():
        gate.mean.copy_(mean)
        gate.log_variance.copy_(2 * spread.log())
    return gate


def divergence(mean: float, spread: float, prior_variance: float) -> float:
    """E_x KL(N(μ f, σ² f²) ‖ N(0, s)), each an integral over ten deviations to either side."""
    found = 0.0
    for f, share in zip(ACTIVATIONS, SHARES, strict=True):
        places, width = np.linspace(-10, 10, 2001, retstep=True)
        places, width = mean * f + spread * f * places, spread * f * width
        density = norm.pdf(places, mean * f, spread * f)
        ratio = norm.logpdf(places, mean * f, spread * f) - norm.logpdf(
            places, 0, prior_variance**0.5
        )
        found += share * float(density @ ratio) * width
    return found


@pytest.mark.parametrize(("mean", "spread"), GATES)
def test_the_price_is_the_least_divergence_from_a_centred_normal_up_to_what_no_gate_moves(
    mean: float, spread: float
) -> None:
    """The scale s of the marginal is found by a search, not by its formula."""
    log_s, least, *_ = optimize.fminbound(
        lambda log_s: divergence(mean, spread, math.exp(log_s)), -8, 4, full_output=True
    )
    of_activations = math.log(SHARES @ ACTIVATIONS**2) - SHARES @ np.log(ACTIVATIONS**2)
    assert of_activations > 0
    found = float(gate_with((mean, spread)).information().detach())
    assert found == pytest.approx(least - of_activations / 2, abs=1e-4)
    assert math.exp(log_s) == pytest.approx(
        (mean**2 + spread**2) * (SHARES @ ACTIVATIONS**2), rel=1e-3
    )


@pytest.mark.parametrize(("mean", "spread"), GATES)
def test_the_bound_is_above_the_mutual_information(mean: float, spread: float) -> None:
    """I(h; x) as the integral of p log p over the mixture, on a fine grid."""
    edge = 2.5 * (abs(mean) + 10 * spread)
    places = np.linspace(-edge, edge, 400_001)
    parts = np.stack([norm.pdf(places, mean * f, spread * f) for f in ACTIVATIONS])
    mixture = SHARES @ parts
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(parts > 0, parts * np.log(parts / mixture), 0.0)
    information = float(SHARES @ terms.sum(1)) * (places[1] - places[0])
    of_activations = math.log(SHARES @ ACTIVATIONS**2) - SHARES @ np.log(ACTIVATIONS**2)
    bound = float(gate_with((mean, spread)).information().detach()) + of_activations / 2
    assert 1e-3 < information < bound


def test_gradients_are_those_of_differences_and_of_the_formulas() -> None:
    gate = gate_with(*GATES)
    gate.information().backward()
    step = 1e-6
    for parameter in (gate.mean, gate.log_variance):
        assert parameter.grad is not None
        for unit in range(len(GATES)):
            ends = []
            for move in (step, -step):
                with torch.no_grad():
                    parameter[unit] += move
                    ends.append(float(gate.information()))
                    parameter[unit] -= move
            assert float(parameter.grad[unit]) == pytest.approx(
                (ends[0] - ends[1]) / (2 * step), abs=1e-6
            )
    for unit, (mean, spread) in enumerate(GATES):
        assert gate.mean.grad is not None
        assert gate.log_variance.grad is not None
        power = mean**2 + spread**2
        assert float(gate.mean.grad[unit]) == pytest.approx(mean / power)
        assert float(gate.log_variance.grad[unit]) == pytest.approx(-(mean**2) / power / 2)


def test_the_price_does_not_change_with_the_scale_of_the_gate() -> None:
    one, scaled = (gate_with((c * 0.8, c * 0.3), (c * -0.1, c * 0.2)) for c in (1.0, 50.0))
    torch.testing.assert_close(one.information(), scaled.information())


def test_draws_have_the_moments_of_the_definition_and_one_covers_a_filter() -> None:
    torch.manual_seed(0)
    draws = gate_with(*GATES).train()(2 * torch.ones(100_000, len(GATES)).double()).detach()
    for column, (mean, spread) in zip(draws.T, GATES, strict=True):
        deviation = float(column.std())
        assert deviation == pytest.approx(2 * spread, rel=0.02)
        assert float(column.mean()) == pytest.approx(2 * mean, abs=4.5 * 2 * spread / 100_000**0.5)
    assert abs(float(torch.corrcoef(draws.T)[0, 1])) < 0.02
    maps = gate_with((1.0, 0.5), (1.0, 0.5)).train()(torch.ones(6, 2, 4, 5).double()).flatten(2)
    assert torch.equal(maps, maps[:, :, :1].expand_as(maps))
    assert len(maps[:, :, 0].unique()) == 12


def test_evaluation_multiplies_by_the_mean_or_by_zero_where_noise_is_as_large() -> None:
    gate = gate_with((1.5, 0.2), (-0.5, 0.49), (-0.5, 0.51), (0.0, 1.0)).eval()
    found = gate(3 * torch.ones(2, 4).double())
    assert found.tolist() == [pytest.approx([4.5, -1.5, 0.0, 0.0])] * 2


def test_it_starts_with_a_noise_of_one_percent_and_trains_inside_a_network() -> None:
    torch.manual_seed(0)
    gate = BottleneckGate(3)
    assert gate.mean.tolist() == [1.0] * 3
    assert torch.exp(0.5 * gate.log_variance).tolist() == pytest.approx([0.01] * 3)
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), gate, nn.Linear(3, 1))
    (network(torch.randn(8, 4)).sum() + gate.information()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_the_price_and_its_gradients_are_finite_at_the_extremes() -> None:
    gate = gate_with((0.0, 1e-20), (1e6, 1e-20), (1e-20, 1e6))
    gate.information().backward()
    for parameter in gate.parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad.isfinite().all())
