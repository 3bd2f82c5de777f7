"""Tests of pruning_core.relaxations: the mean of each estimator on every draw, and its bias."""

import math

import pytest
import torch
import torch.nn.functional as F
from exact_draws import THETA, Smooth, mean_over_draws, slopes_of
from torch import Tensor, nn

from pruning_core.gates import BernoulliGate
from pruning_core.pathwise import IntegratedGates, Pathwise, SharedDraws
from pruning_core.relaxations import Concrete, GaussLegendre, Trapezoid
from pruning_core.theory import enumeration, mixture

AT = torch.tensor(THETA, dtype=torch.float64)


@pytest.fixture
def model() -> Smooth:
    return Smooth().train()


def table(model: Smooth) -> Tensor:
    return model.loss_at(enumeration.masks(3)).detach()


def flat(gradients: list[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])


def slope_at(model: Smooth, gate: int, places: Tensor, chances: Tensor) -> Tensor:
    """Σ chances · ∂L/∂ξ_gate at places (m, 3), by central differences."""
    step = torch.zeros(3, dtype=torch.float64)
    step[gate] = 1e-5
    ends = model.loss_at(places + step) - model.loss_at(places - step)
    return (chances @ ends).detach() / 2e-5


@pytest.mark.parametrize("points", [2, 3])
def test_gauss_legendre_looks_at_the_points_of_its_rule(model: Smooth, points: int) -> None:
    """θ: the rule along the gate, the others mixed. Weights: the mean loss at its places."""
    fraction = 0.25
    nodes, weights = mixture.rule(points)
    bounds = weights.cumsum(0)
    middles = fraction * (bounds - weights / 2)  # one number of each cell chooses its point
    numbers = [
        torch.cat([middles, fraction + (1 - fraction) * torch.tensor([t / 2, (1 + t) / 2])])
        for t in AT
    ]
    chances = list(mixture.chances(AT, fraction, points)[:, [*range(2, 2 + points), 1, 0]])
    estimator = GaussLegendre(points, fraction, stratified=True)
    found, gradients = mean_over_draws(model, estimator, numbers, chances)

    places = mixture.places(3, points)
    each = mixture.chances(AT, fraction, points)
    for i in range(3):
        held = each.clone()
        held[i] = torch.cat([torch.zeros(2).double(), weights])
        expected = slope_at(model, i, places, torch.cartesian_prod(*held).prod(1))
        assert float(found[i]) == pytest.approx(float(expected), rel=1e-6)
    chance = torch.cartesian_prod(*each).prod(1)
    slopes = slopes_of(model, lambda: chance @ model.loss_at(places).detach())
    torch.testing.assert_close(flat(gradients), slopes, rtol=1e-6, atol=1e-7)
    assert nodes.tolist() == pytest.approx(estimator.points)


@pytest.mark.parametrize("points", [1, 2, 3])
def test_a_rule_is_exact_for_a_polynomial_along_the_gate(points: int) -> None:
    """Of degree 2 · points, and no higher."""

    def mean_slope(degree: int) -> float:
        estimator = GaussLegendre(points)
        return sum(
            weight * degree * t ** (degree - 1)
            for t, weight in zip(estimator.points, estimator.weights, strict=True)
        )

    for degree in range(1, 2 * points + 1):
        assert mean_slope(degree) == pytest.approx(1)
    assert mean_slope(2 * points + 1) != pytest.approx(1, abs=1e-3)


def test_a_unit_visits_the_points_evenly() -> None:
    """Eight draws in strata, a quarter of them uniform: each of two points once, in every batch."""
    torch.manual_seed(0)
    estimator = GaussLegendre(2, draws=8, stratified=True)
    values = estimator.multiply(torch.ones(8, 500), torch.full((500,), 0.5))
    for point in estimator.points:
        assert torch.equal((values - point).abs().lt(1e-6).sum(0), torch.ones(500).long())


@pytest.mark.parametrize("fraction", [1.0, 0.25, 1e-9])
def test_the_trapezoid_averages_the_slopes_at_both_ends(model: Smooth, fraction: float) -> None:
    """The others Bernoulli with p = (1 − f) θ + f/2, at which the weights' gradient is J's."""
    on = (1 - fraction) * AT + fraction / 2
    numbers = [torch.stack([p / 2, (1 + p) / 2]) for p in on]
    chances = [torch.stack([p, 1 - p]) for p in on]
    found, gradients = mean_over_draws(model, Trapezoid(fraction), numbers, chances)
    masks = enumeration.masks(3)
    for i in range(3):
        half = on.clone()
        half[i] = 0.5
        expected = slope_at(model, i, masks, enumeration.probabilities(half))
        assert float(found[i]) == pytest.approx(float(expected), rel=1e-6)
    slopes = slopes_of(model, lambda: enumeration.expectation(table(model), on))
    torch.testing.assert_close(flat(gradients), slopes, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("theta", [0.1, 0.5, 0.97])
@pytest.mark.parametrize("xi", [0.0, 1.0])
def test_without_a_fraction_it_is_reinmax(theta: float, xi: float) -> None:
    """Algorithm of Liu et al. (2023), of two categories, with its Jacobians of the softmax."""
    logits = torch.tensor([math.log(theta), math.log(1 - theta)], dtype=torch.float64)
    drawn = torch.tensor([xi, 1 - xi], dtype=torch.float64)
    slope = torch.tensor([1.7, 0.0], dtype=torch.float64)  # ∂L/∂(one hot), of the first category

    def through(pi: Tensor) -> Tensor:
        return (torch.diag(pi) - torch.outer(pi, pi)) @ slope

    pi = logits.softmax(0)
    expected = 2 * through((pi + drawn) / 2) - through(pi) / 2

    parameter = torch.tensor([theta], dtype=torch.float64, requires_grad=True)
    with pytest.MonkeyPatch.context() as patch:
        number = theta / 2 if xi else (1 + theta) / 2
        patch.setattr(SharedDraws, "_uniform", lambda *_: torch.tensor([[number]]).double())
        value = Trapezoid(1e-12).multiply(torch.ones(1, 1, dtype=torch.float64), parameter)
    assert float(value.detach()) == xi
    (1.7 * value.sum()).backward()
    assert parameter.grad is not None
    # ReinMax's is by the logit of the first category, d θ / d logit = θ (1 − θ)
    assert float(parameter.grad) * theta * (1 - theta) == pytest.approx(float(expected[0]))


class Parabola(nn.Module):
    """A loss of degree two in each of its two gates, which interact."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = BernoulliGate(2)
        self.gate.theta.data = torch.tensor([0.02, 0.7])

    def losses(self, examples: int) -> Tensor:
        a, b = self.gate(torch.ones(examples, 2)).unbind(1)
        return 3 * a**2 - 2 * a + a * b + b**2 / 2


@pytest.mark.parametrize("estimator", [Trapezoid(), Trapezoid(1 / 16), GaussLegendre(1)])
def test_what_looks_at_few_places_is_right_for_a_parabola(estimator: Pathwise) -> None:
    """And straight from the class: d = 1 + E[b] and ½ + E[a], with E of the mixture."""
    torch.manual_seed(0)
    model = Parabola()
    model.gate.estimator = estimator
    found = []
    for _ in range(40):
        model.gate.theta.grad = None
        model.losses(4000).mean().backward()
        assert model.gate.theta.grad is not None
        found.append(model.gate.theta.grad)
    assert isinstance(estimator, Trapezoid | GaussLegendre)
    mixed = (1 - estimator.fraction) * model.gate.theta.detach() + estimator.fraction / 2
    expected = torch.stack([1 + mixed[1], 0.5 + mixed[0]])
    mean, error = torch.stack(found).mean(0), torch.stack(found).std(0) / 40**0.5
    assert float(((mean - expected).abs() / error).max()) < 4.5
    assert float(error.max()) < 0.05


@pytest.mark.parametrize("temperature", [2 / 3, 2.0])
def test_concrete_is_exact_for_its_own_objective(model: Smooth, temperature: float) -> None:
    """By a rule in the logistic noise, against finite differences of the mean loss in θ and W."""
    noise = torch.linspace(-14, 14, 57, dtype=torch.float64)
    spacing = float(noise[1] - noise[0])
    chance = spacing * noise.sigmoid() * (1 - noise.sigmoid())
    found, gradients = mean_over_draws(
        model, Concrete(temperature), [noise.sigmoid()] * 3, [chance] * 3
    )
    chances = torch.cartesian_prod(*[chance] * 3).prod(1)

    def mean_loss(theta: Tensor) -> Tensor:
        each = ((theta.logit()[:, None] + noise) / temperature).sigmoid()
        return chances @ model.loss_at(torch.cartesian_prod(*each)).detach()

    for i in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[i] = 1e-5
        expected = (mean_loss(AT + step) - mean_loss(AT - step)) / 2e-5
        assert float(found[i]) == pytest.approx(float(expected), rel=1e-5)
    slopes = slopes_of(model, lambda: mean_loss(AT))
    torch.testing.assert_close(flat(gradients), slopes, rtol=1e-5, atol=1e-6)
    # Not for J, and not affine in θ: its slope is another where another θ_i is the only change.
    exact = enumeration.differences(table(model), AT)
    assert float((found - exact).abs().max()) > 0.05


def test_concrete_is_finite_at_the_ends() -> None:
    theta = torch.tensor([0.0, 1.0], requires_grad=True)
    values = Concrete(0.1).multiply(torch.ones(10_000, 2), theta)
    values.sum().backward()
    assert theta.grad is not None
    assert bool(theta.grad.isfinite().all())
    assert bool(values.isfinite().all())


@pytest.mark.parametrize(
    "estimator",
    [IntegratedGates(stratified=True), GaussLegendre(stratified=True), Trapezoid(stratified=True)],
    ids=["integrated", "gauss-legendre", "trapezoid"],
)
@pytest.mark.parametrize("theta", [0.0, 1.0])
def test_a_gate_at_an_end_is_there_unless_it_is_looked_at(
    estimator: IntegratedGates | Trapezoid, theta: float
) -> None:
    torch.manual_seed(0)
    values = estimator.multiply(torch.ones(64, 2000), torch.full((2000,), theta))
    elsewhere = float((values != theta).float().mean())
    of_a_coin = isinstance(estimator, Trapezoid)
    assert elsewhere == pytest.approx(estimator.fraction / (2 if of_a_coin else 1), abs=0.01)


@pytest.mark.parametrize("points", [0, 9])
def test_a_rule_has_one_to_eight_points(points: int) -> None:
    with pytest.raises(ValueError, match=f"points is {points}; 1 to 8 was expected"):
        GaussLegendre(points)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_is_above_zero(temperature: float) -> None:
    with pytest.raises(ValueError, match=f"temperature is {temperature}; a number above 0"):
        Concrete(temperature)


@pytest.mark.parametrize("fraction", [0.0, 1.5, math.nan])
def test_fractions_are_checked(fraction: float) -> None:
    for build in (lambda: Trapezoid(fraction), lambda: GaussLegendre(2, fraction)):
        with pytest.raises(ValueError, match=f"fraction is {fraction};"):
            build()


def test_they_train_in_units_along_any_dimension() -> None:
    for estimator in (GaussLegendre(), Trapezoid(), Concrete()):
        theta = torch.full((3,), 0.5, requires_grad=True)
        values = estimator.multiply(torch.ones(4, 5, 3), theta, dim=-1)
        assert values.shape == (4, 5, 3)
        assert torch.equal(values[:, :1].expand(4, 5, 3), values)  # one multiplier for a unit
        F.softplus(-values).sum().backward()
        assert theta.grad is not None
        assert bool((theta.grad != 0).any())
