"""Tests of pruning_core.pathwise: draws in strata, and a fraction that falls."""

import pytest
import torch
from torch import Tensor, nn

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.gates import BernoulliGate
from pruning_core.pathwise import IntegratedGates, SharedDraws, StraightThrough


class Numbers(SharedDraws):
    """Multiplies by its uniform numbers."""

    unbiased = False

    def _draw(self, theta: Tensor) -> Tensor:
        return self._uniform(theta)


@pytest.mark.parametrize("draws", [1, 3, 8, 64])
def test_a_draw_falls_into_each_part(draws: int) -> None:
    torch.manual_seed(0)
    estimator = Numbers(draws, stratified=True)
    values = estimator.multiply(torch.ones(draws, 400), torch.zeros(400))
    assert 0 <= float(values.min()) < float(values.max()) < 1
    parts = (values * draws).floor().sort(0).values
    assert torch.equal(parts, torch.arange(draws).float()[:, None].expand(draws, 400))


def test_within_a_draw_the_units_are_independent_and_uniform() -> None:
    """Every draw alone: its means, variances and covariances over many batches."""
    torch.manual_seed(0)
    estimator = Numbers(8, stratified=True)
    found = torch.stack(
        [estimator.multiply(torch.ones(8, 4), torch.zeros(4)) for _ in range(20_000)]
    )
    for draw in range(8):
        numbers = found[:, draw]
        assert float((numbers.mean(0) - 0.5).abs().max()) < 4.5 * (1 / 12 / 20_000) ** 0.5
        covariances = 12 * torch.cov(numbers.T)
        assert float((covariances - torch.eye(4)).abs().max()) < 0.035
    between = torch.corrcoef(found[:, :2, 0].T)[0, 1]
    assert float(between) == pytest.approx(-1 / 7, abs=0.02)  # of two draws of one unit


def test_strata_take_away_what_single_units_explain() -> None:
    """A sum over units becomes nearly free of noise; what two of them do together does not."""
    torch.manual_seed(0)

    def variance(stratified: bool, together: bool) -> float:
        estimator = Numbers(8, stratified=stratified)
        means = []
        for _ in range(4000):
            values = estimator.multiply(torch.ones(8, 6), torch.zeros(6)) - 0.5
            means.append((values[:, 0] * values[:, 1] if together else values.sum(1)).mean())
        return float(torch.stack(means).var())

    assert variance(True, False) < 0.03 * variance(False, False)
    assert variance(True, True) == pytest.approx(variance(False, True), rel=0.25)


def test_a_unit_is_looked_at_equally_often_in_every_batch() -> None:
    torch.manual_seed(0)
    theta = torch.full((300,), 0.5)
    estimator = IntegratedGates(draws=8, stratified=True)
    values = estimator.multiply(torch.ones(128, 300), theta)
    between = (values > 0) & (values < 1)
    assert torch.equal(between.sum(0), torch.full((300,), 128 // 4))


def test_the_fraction_is_halved_as_the_window_doubles() -> None:
    estimator = IntegratedGates(0.25, least=1 / 64)
    expected = {
        1.0: 0.25,
        1.9: 0.25,
        2.0: 0.125,
        5.0: 0.0625,
        16.0: 1 / 64,
        90.0: 1 / 64,
        1.5: 0.25,
    }
    for growth, fraction in expected.items():
        estimator.follow(growth)
        assert estimator.fraction == fraction
    steady = IntegratedGates(0.25)
    steady.follow(100)
    assert steady.fraction == 0.25
    StraightThrough().follow(100)


def test_the_pruner_tells_how_its_window_grows() -> None:
    """Of 10,000 steps: 100 steps of window at first, 1,000 at the end; also when it goes on."""
    estimator = IntegratedGates(0.25, least=1 / 64)
    gate = BernoulliGate(3)
    pruner = BernoulliPruner(nn.Sequential(gate), 5.0, 100, estimator=estimator, total_steps=10_000)
    assert estimator.fraction == 0.25
    pruner.steps = 9_000
    assert estimator.fraction == 1 / 32
    again = BernoulliPruner(nn.Sequential(gate), 5.0, 100, total_steps=10_000)
    assert estimator.fraction == 0.25
    again.load_state_dict(pruner.state_dict())
    assert estimator.fraction == 1 / 32
    while pruner.steps < 9_999:
        pruner.steps += 333
    (gate(torch.ones(8, 3)).sum()).backward()
    pruner.step()
    assert estimator.fraction == 1 / 32


def test_the_noise_of_the_average_stays_about_what_it_was() -> None:
    """1/(f · window) over a run of 35,000 steps is within a factor of two, until the least f."""
    estimator = IntegratedGates(0.25, least=1 / 64)
    pruner = BernoulliPruner(
        nn.Sequential(BernoulliGate(3)), 5.0, 100, estimator=estimator, total_steps=35_000
    )
    start = estimator.fraction / (1 - pruner.smoothing)
    for step in range(0, 16_000, 250):
        pruner.steps = step
        assert 1 <= estimator.fraction / (1 - pruner.smoothing) / start < 2.001


@pytest.mark.parametrize("least", [0.0, 0.5, -1.0])
def test_the_least_fraction_is_a_smaller_one(least: float) -> None:
    with pytest.raises(ValueError, match=f"least is {least}; a number in"):
        IntegratedGates(0.25, least=least)
