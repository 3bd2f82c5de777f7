"""Tests of pruning_core.theory.mixture: J_f by a sum of its own, and what its estimator means."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exact_draws import INPUTS, LABELS, THETA, Smooth, mean_over_draws, slopes_of
from torch import Tensor

from pruning_core.pathwise import IntegratedGates
from pruning_core.theory import enumeration, mixture

AT = torch.tensor(THETA, dtype=torch.float64)
FRACTIONS = [1.0, 0.25, 1 / 16]
NODES = 10


@pytest.fixture
def model() -> Smooth:
    return Smooth().train()


def grid(model: Smooth) -> Tensor:
    """As loss_grid finds it, in one go."""
    losses = model.loss_at(mixture.places(3, NODES)).detach()
    return losses.reshape([2 + NODES] * 3)


def test_the_grid_holds_the_loss_at_all_places(model: Smooth) -> None:
    torch.testing.assert_close(mixture.loss_grid([model.gate], model.losses, NODES), grid(model))


def mean_loss(model: Smooth, fraction: float) -> Tensor:
    return enumeration.expectation(mixture.mixed_table(grid(model), fraction), AT)


def by_subsets(model: Smooth, fraction: float) -> float:
    """E_mix[L]: which gates are uniform, the masks of the others, and Simpson's rule."""
    simpson = [(k / 8, w / 24) for k, w in enumerate([1, 4, 2, 4, 2, 4, 2, 4, 1])]
    total = 0.0
    for uniform in itertools.product((False, True), repeat=3):
        values = [
            simpson if u else [(0.0, 1 - p), (1.0, p)] for u, p in zip(uniform, THETA, strict=True)
        ]
        places = list(itertools.product(*values))
        weights = torch.tensor([math.prod(w for _, w in place) for place in places]).double()
        losses = model.loss_at(torch.tensor([[v for v, _ in p] for p in places]).double())
        chance = math.prod(fraction if u else 1 - fraction for u in uniform)
        total += chance * float(weights @ losses.detach())
    return total


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_the_expectation_is_a_sum_over_which_gates_are_uniform(
    model: Smooth, fraction: float
) -> None:
    table = mixture.mixed_table(grid(model), fraction)
    found = float(enumeration.expectation(table, AT))
    assert found == pytest.approx(by_subsets(model, fraction), rel=1e-4)


def test_without_uniform_gates_it_is_the_table_of_the_masks(model: Smooth) -> None:
    expected = enumeration.loss_table([model.gate], model.losses)
    torch.testing.assert_close(mixture.mixed_table(grid(model), 0.0), expected)


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_the_differences_are_the_slopes_of_the_mixture(model: Smooth, fraction: float) -> None:
    """Also where f = 1 and the slopes are 0: then with the gate held at its ends."""
    slopes = enumeration.differences(mixture.mixed_table(grid(model), fraction), AT)
    found = mixture.mixed_differences(grid(model), AT, fraction)
    torch.testing.assert_close((1 - fraction) * found, slopes)
    for i in range(3):
        others = AT[torch.arange(3) != i]
        off, on = (
            mixture.mixed_table(grid(model).select(i, end), fraction)
            @ enumeration.probabilities(others)
            for end in (0, 1)
        )
        assert float(on - off) == pytest.approx(float(found[i]))


def test_the_objective_is_affine_in_every_theta(model: Smooth) -> None:
    """Second differences of E_mix[L] from its definition, not from its values at the corners."""
    here = grid(model)
    for i in range(3):
        values = []
        for theta in (0.1, 0.4, 0.7):
            at = AT.clone()
            at[i] = theta
            mean = here
            for chance in mixture.chances(at, 0.3, NODES):
                mean = torch.einsum("i,i...->...", chance, mean)
            values.append(float(mean))
        low, middle, high = values
        assert low + high - 2 * middle == pytest.approx(0, abs=1e-12)
        assert abs(high - low) > 1e-3


def test_it_tends_to_the_objective_and_by_how_much(model: Smooth) -> None:
    """The slope at f = 0, the polynomial of degree n in f, and the bound n f (max L − min L)."""
    here = grid(model)

    def gap(fraction: float) -> float:
        mixed = mixture.mixed_table(here, fraction) - mixture.mixed_table(here, 0.0)
        return float(enumeration.expectation(mixed, AT))

    slope = mixture.first_order(here, AT)
    assert abs(slope) > 0.01
    assert gap(1e-5) / 1e-5 == pytest.approx(slope, rel=1e-4)
    known = [0.0, 0.3, 0.6, 1.0]
    cubic = np.polynomial.Polynomial.fit(known, [gap(f) for f in known], 3)
    assert gap(0.8) == pytest.approx(cubic(0.8), rel=1e-9)
    spread = float(here.max() - here.min())
    for fraction in FRACTIONS:
        assert abs(gap(fraction)) <= (1 - (1 - fraction) ** 3) * spread <= 3 * fraction * spread


def draws(fraction: float) -> tuple[list[Tensor], list[Tensor]]:
    """Of each gate: whether it is uniform and a second number, and how likely each pair is."""
    points, weights = mixture.rule(NODES)
    numbers, chances = [], []
    looked_at, not_looked_at = fraction / 2, (1 + fraction) / 2
    for theta in THETA:
        looks = torch.stack([torch.full_like(points, looked_at), points], 1)
        on_and_off = [[not_looked_at, theta / 2], [not_looked_at, (1 + theta) / 2]]
        numbers.append(torch.cat([looks, torch.tensor(on_and_off).double()]))
        rest = torch.tensor([theta, 1 - theta]).double()
        chances.append(torch.cat([fraction * weights, (1 - fraction) * rest]))
    return numbers, chances


def strata(fraction: float) -> tuple[list[Tensor], list[Tensor]]:
    """The same from one number for both, as in strata."""
    points, weights = mixture.rule(NODES)
    numbers, chances = [], []
    for theta in THETA:
        rest = torch.tensor([theta, 1 - theta]).double()
        ends = fraction + (1 - fraction) * torch.tensor([theta / 2, (1 + theta) / 2]).double()
        numbers.append(torch.cat([fraction * points, ends]))
        chances.append(torch.cat([fraction * weights, (1 - fraction) * rest]))
    return numbers, chances


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("fraction", [0.25, 1 / 16, 0.9])
def test_integrated_gates_are_exact_for_it_in_theta_and_in_the_weights(
    model: Smooth, fraction: float, stratified: bool
) -> None:
    """No Monte Carlo: the class runs on every draw of three gates."""
    estimator = IntegratedGates(fraction, stratified=stratified)
    given = (strata if stratified else draws)(fraction)
    found, weights = mean_over_draws(model, estimator, *given)
    expected = mixture.mixed_differences(grid(model), AT, fraction)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)
    bernoulli = mixture.mixed_differences(grid(model), AT, 0.0)
    assert float((found - bernoulli).abs().min()) > 0.1 * fraction  # it is not exact for J

    slopes = slopes_of(model, lambda: mean_loss(model, fraction))
    gradient = torch.cat([weight.flatten() for weight in weights])
    torch.testing.assert_close(gradient, slopes, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("draws", [None, 8])
@pytest.mark.parametrize("stratified", [False, True])
def test_draws_of_every_kind_have_that_mean(
    model: Smooth, draws: int | None, stratified: bool
) -> None:
    torch.manual_seed(0)
    inputs, labels = many(64)
    model.gate.estimator = IntegratedGates(draws=draws, stratified=stratified)
    thetas, weights = [], []
    for _ in range(1200):
        model.zero_grad()
        model.gate.theta.grad = None
        loss = F.cross_entropy(model(inputs), labels)
        (3 * loss).backward()
        assert model.gate.theta.grad is not None
        assert model.second.weight.grad is not None
        thetas.append(model.gate.theta.grad)
        weights.append(model.second.weight.grad.flatten().clone())
    exact = mixture.MixtureSum(0.25, 6)
    model.zero_grad()
    model.gate.theta.grad = None
    exact.backward([model.gate], model.losses, 3)
    assert model.gate.theta.grad is not None
    assert model.second.weight.grad is not None
    for found, expected in (
        (torch.stack(thetas), 3 * model.gate.theta.grad),
        (torch.stack(weights), 3 * model.second.weight.grad.flatten()),
    ):
        error = found.std(0) / len(found) ** 0.5
        assert float(((found.mean(0) - expected).abs() / error).max()) < 4.5


def many(copies: int) -> tuple[Tensor, Tensor]:
    """The examples many times over, shuffled, in a number that eight draws share out evenly."""
    order = torch.randperm(3 * copies)
    return INPUTS.repeat(copies, 1)[order], LABELS.repeat(copies)[order]


@pytest.mark.parametrize("fraction", [1.0, 0.3])
def test_the_sum_as_an_estimator_is_the_gradient_of_the_objective(
    model: Smooth, fraction: float
) -> None:
    exact = mixture.MixtureSum(fraction, NODES)
    loss = exact.backward([model.gate], model.losses, 3)
    table = mixture.mixed_table(grid(model), fraction)
    assert 3 * float(loss) == pytest.approx(float(enumeration.expectation(table, AT)))
    assert model.gate.theta.grad is not None
    expected = mixture.mixed_differences(grid(model), AT, fraction)
    torch.testing.assert_close(3 * model.gate.theta.grad, expected)
    found = torch.cat([3 * p.grad.flatten() for p in model.parameters() if p.grad is not None])
    slopes = slopes_of(model, lambda: mean_loss(model, fraction))
    torch.testing.assert_close(found, slopes, rtol=1e-6, atol=1e-7)


def test_too_large_a_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="5 gates with 9 nodes are 161051 places"):
        mixture.places(5, 9)
