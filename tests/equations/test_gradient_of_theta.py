"""The chapter on the gradient of θ, against enumeration, quadrature and root finding."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.random import Generator
from scipy.integrate import quad
from scipy.optimize import brentq
from torch import Tensor, nn

from pruning_core.estimators import DisARM, Estimator, ExactSum, Reinforce
from pruning_core.gates import BernoulliGate
from pruning_core.pathwise import IntegratedGates, Pathwise
from pruning_core.relaxations import Trapezoid
from pruning_core.theory import mixture
from pruning_core.theory.enumeration import expectation
from pruning_core.theory.one_gate import LogisticGate

THETA = np.array([0.2, 0.55, 0.9])
MASKS = np.array(list(itertools.product([0, 1], repeat=3)))


@pytest.fixture
def losses() -> dict[tuple[int, ...], float]:
    """A loss for each of the 2³ settings, without any structure."""
    values = np.random.default_rng(0).standard_normal(8)
    return {tuple(mask): float(value) for mask, value in zip(MASKS.tolist(), values, strict=True)}


def probability(mask: np.ndarray, theta: np.ndarray) -> float:
    return float(np.where(mask == 1, theta, 1 - theta).prod())


def differences(losses: dict[tuple[int, ...], float]) -> np.ndarray:
    """∂/∂θ of the expectation, by central differences; exact, since it is affine in each θ."""

    def expected(theta: np.ndarray) -> float:
        return sum(probability(mask, theta) * losses[tuple(mask.tolist())] for mask in MASKS)

    steps = 0.05 * np.eye(3)
    return np.array([(expected(THETA + s) - expected(THETA - s)) / 0.1 for s in steps])


def bilinear(xi: Tensor) -> Tensor:
    """A curved loss of two gates that interact, shape (N, 2) → (N,)."""
    return torch.exp(-1.5 * xi[:, 0] + 0.8 * xi[:, 1]) + 2 * xi[:, 0] * xi[:, 1] ** 2


def draws(
    estimator: Estimator,
    theta: list[float],
    examples: int,
    seed: int = 0,
    loss: Callable[[Tensor], Tensor] = bilinear,
) -> np.ndarray:
    """One estimate for each of many batches, through the gate of the package; (64, n)."""
    torch.manual_seed(seed)
    gate = BernoulliGate(len(theta))
    if isinstance(estimator, Pathwise):
        gate.estimator = estimator
    gate.theta.data = torch.tensor(theta)
    inputs, found = torch.ones(examples, len(theta), requires_grad=True), []
    for _ in range(64):
        gate.theta.grad = None
        estimator.backward([gate], lambda: loss(gate(inputs)), examples)
        assert gate.theta.grad is not None
        found.append(gate.theta.grad.numpy())
    return np.stack(found)


def test_eq_gradient_difference(losses: dict[tuple[int, ...], float]) -> None:
    """Finite differences of the expectation against the difference of two conditional ones."""
    for i, expected in enumerate(differences(losses)):
        others = np.delete(THETA, i)
        conditional = [0.0, 0.0]
        for mask in MASKS:
            weight = probability(np.delete(mask, i), others)
            conditional[mask[i]] += weight * losses[tuple(mask.tolist())]
        assert conditional[1] - conditional[0] == pytest.approx(expected)
    exact = draws(ExactSum(), [0.3, 0.6], 1)[0]
    table = {m: float(bilinear(torch.tensor([m], dtype=torch.float32))) for m in MASKS_2}
    assert exact[0] == pytest.approx(
        0.4 * (table[1, 0] - table[0, 0]) + 0.6 * (table[1, 1] - table[0, 1]), rel=1e-5
    )


MASKS_2 = [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_eq_gradient_straight_through_bias() -> None:
    """Bias (θ − ½) ℓ″ for a quadratic loss, by the two outcomes of the gate."""
    a, b = 1.7, -2.3

    def slope(t: float) -> float:
        return a * t + b

    difference, _ = quad(slope, 0, 1)
    for theta in (0.1, 0.5, 0.8):
        expected = theta * slope(1) + (1 - theta) * slope(0)
        assert expected - difference == pytest.approx((theta - 0.5) * a)


@pytest.mark.parametrize("log_gamma", [15.0, 40.0, 100.0, 190.0])
def test_eq_gradient_rest(log_gamma: float) -> None:
    """The zero of the expected step, found by Brent's method."""
    gate = LogisticGate()

    def expected(theta: float) -> float:
        eps = 1e-6
        ends = torch.tensor([-eps, eps, 1 - eps, 1 + eps], dtype=torch.float64)
        at = gate.loss(ends)
        at_0, at_1 = float(at[1] - at[0]) / (2 * eps), float(at[3] - at[2]) / (2 * eps)
        return theta * at_1 + (1 - theta) * at_0 + log_gamma

    root = brentq(expected, 0, 1)
    assert gate.straight_through_rest(log_gamma) == pytest.approx(root, abs=1e-4)
    slope = gate.straight_through_slope(torch.tensor(root), log_gamma)
    assert float(slope) == pytest.approx(0, abs=1e-3)


@pytest.mark.slow
def test_thm_gradient_integral() -> None:
    """Quadrature of autograd's derivative along a gate of a ReLU network, kinks and all."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1), nn.Softplus()).double()
    inputs = 3 * torch.randn(1, 4, dtype=torch.float64)

    def loss(t: float) -> tuple[float, float]:
        gate = torch.tensor(t, dtype=torch.float64, requires_grad=True)
        value = net(torch.cat([gate * inputs[:, :2], inputs[:, 2:]], 1)).sum()
        (slope,) = torch.autograd.grad(value, gate)
        return float(value.detach()), float(slope)

    grid = (np.arange(20_000) + 0.5) / 20_000
    integral = np.mean([loss(t)[1] for t in grid])
    assert integral == pytest.approx(loss(1.0)[0] - loss(0.0)[0], abs=1e-4)


SIMPSON = [(k / 16, w / 48) for k, w in enumerate([1, *[4, 2] * 7, 4, 1])]


def trilinear(xi: Tensor) -> Tensor:
    """A curved loss of three gates that interact, shape (N, 3) → (N,)."""
    return torch.exp(-1.5 * xi[:, 0] + 0.8 * xi[:, 1]) + (xi @ xi.new_tensor([0.5, -1.0, 2.0])) ** 2


def mean_with_uniform(uniform: tuple[bool, ...], theta: np.ndarray) -> float:
    """E[L] with these gates uniform, by Simpson's rule, and the others Bernoulli, by masks."""
    each = [SIMPSON if u else [(0.0, 1 - t), (1.0, t)] for u, t in zip(uniform, theta, strict=True)]
    places = list(itertools.product(*each))
    weights = np.array([math.prod(weight for _, weight in place) for place in places])
    values = torch.tensor([[value for value, _ in place] for place in places]).double()
    return float(weights @ trilinear(values).numpy())


def mixture_mean(fraction: float, theta: np.ndarray) -> float:
    """E_mix[L], by which gates are uniform."""
    return sum(
        math.prod(fraction if u else 1 - fraction for u in uniform)
        * mean_with_uniform(uniform, theta)
        for uniform in itertools.product((False, True), repeat=3)
    )


@pytest.mark.parametrize("fraction", [1.0, 0.25])
def test_eq_gradient_mixture(fraction: float) -> None:
    """The mean loss of passes with the gate of the package is that of the mixture, J_f's first."""
    torch.manual_seed(0)
    gate = BernoulliGate(3, estimator=IntegratedGates(fraction))
    gate.theta.data = torch.tensor(THETA, dtype=torch.float32)
    losses = trilinear(gate(torch.ones(400_000, 3))).detach()
    error = float(losses.std()) / 400_000**0.5
    assert error < 0.02
    assert abs(float(losses.mean()) - mixture_mean(fraction, THETA)) < 4 * error
    assert abs(mixture_mean(fraction, THETA) - mixture_mean(0.0, THETA)) > 10 * error


@pytest.mark.parametrize("fraction", [0.5, 0.25, 0.1])
def test_thm_gradient_exact(fraction: float) -> None:
    """Three gates: finite differences of J_f, exact as it is affine, and the mean of estimates.

    tests/test_mixture.py has the weights, and the estimator's mean without Monte Carlo.
    """
    log_gamma, step = 0.7, 0.05 * np.eye(3)

    def objective(theta: np.ndarray) -> float:
        return mixture_mean(fraction, theta) + (1 - fraction) * log_gamma * float(theta.sum())

    slopes = [(objective(THETA + s) - objective(THETA - s)) / 0.1 for s in step]
    curvatures = [objective(THETA + s) + objective(THETA - s) - 2 * objective(THETA) for s in step]
    assert curvatures == pytest.approx([0, 0, 0], abs=1e-12)
    found = draws(IntegratedGates(fraction), list(THETA), 20_000, loss=trilinear)
    error = found.std(0) / 8
    assert error.max() < 0.03
    expected = np.array(slopes) / (1 - fraction)
    assert (np.abs(found.mean(0) + log_gamma - expected) < 4 * error).all()


@pytest.mark.parametrize("fraction", [1.0, 0.25, 1 / 16])
def test_eq_gradient_half_open(fraction: float) -> None:
    """The sum over sets of gates; its slope at f = 0; the bound, with L's extremes on a grid."""
    grid = mixture.places(3, 8)
    table = mixture.mixed_table(trilinear(grid).reshape([10] * 3), fraction)
    found = float(expectation(table, torch.tensor(THETA)))
    assert found == pytest.approx(mixture_mean(fraction, THETA), rel=1e-5)
    exact = mixture_mean(0.0, THETA)
    one = [tuple(j == i for j in range(3)) for i in range(3)]
    slope = sum(mean_with_uniform(uniform, THETA) - exact for uniform in one)
    assert (mixture_mean(1e-6, THETA) - exact) / 1e-6 == pytest.approx(slope, rel=1e-4)
    spread = float(trilinear(grid).max() - trilinear(grid).min())
    assert abs(found - exact) <= (1 - (1 - fraction) ** 3) * spread <= 3 * fraction * spread


def test_the_mean_of_straight_through_is_the_gradient_of_nothing() -> None:
    """Its derivatives in the other θ differ: central differences of the mean over all masks."""

    def mean(theta: np.ndarray) -> np.ndarray:
        xi = torch.tensor(MASKS).double().requires_grad_()
        (slope,) = torch.autograd.grad(trilinear(xi).sum(), xi)
        return np.array([probability(mask, theta) for mask in MASKS]) @ slope.numpy()

    step = 1e-4 * np.eye(3)
    twist = np.stack([(mean(THETA + s) - mean(THETA - s)) / 2e-4 for s in step])
    assert abs(twist[0, 1] - twist[1, 0]) > 0.1


@pytest.mark.parametrize("fraction", [1.0, 0.25, 1 / 16])
def test_eq_gradient_trapezoid(fraction: float) -> None:
    """The slopes at both ends, averaged over the masks of p, against the mean of the class."""
    on = (1 - fraction) * THETA + fraction / 2
    xi = torch.tensor(MASKS).double().requires_grad_()
    (slope,) = torch.autograd.grad(trilinear(xi).sum(), xi)
    expected = []
    for i in range(3):
        half = on.copy()
        half[i] = 0.5
        weights = np.array([probability(mask, half) for mask in MASKS])
        expected.append(float(weights @ slope[:, i].numpy()))
    found = draws(Trapezoid(fraction), list(THETA), 20_000, loss=trilinear)
    error = found.std(0) / 8
    assert error.max() < 0.05
    assert (np.abs(found.mean(0) - expected) < 4 * error).all()


@pytest.mark.parametrize("fraction", [1.0, 0.3, 0.1])
def test_eq_gradient_variance(fraction: float) -> None:
    """One gate, one draw: second moment by quadrature, variance by simulation."""
    torch.manual_seed(0)
    loss = LogisticGate(num_examples=1, log_odds=2.0)
    gate = BernoulliGate(100_000, theta=0.4, estimator=IntegratedGates(fraction))
    loss.loss(gate(torch.ones(1, 100_000))).sum().backward()
    assert gate.theta.grad is not None
    second, _ = quad(lambda t: loss.derivative(t) ** 2, 0, 1)
    expected = second / fraction - loss.worth**2
    assert float(gate.theta.grad.var()) == pytest.approx(expected, rel=0.03)


def test_eq_gradient_score(losses: dict[tuple[int, ...], float]) -> None:
    """Mean over all pairs of masks of the leave-one-out estimate with two draws."""
    mean = np.zeros(3)
    for first, second in itertools.product(MASKS, repeat=2):
        weight = probability(first, THETA) * probability(second, THETA)
        l1, l2 = losses[tuple(first.tolist())], losses[tuple(second.tolist())]
        scores = [(mask - THETA) / (THETA * (1 - THETA)) for mask in (first, second)]
        mean += weight * ((l1 - l2) * scores[0] + (l2 - l1) * scores[1]) / 2
    assert mean == pytest.approx(differences(losses))


def test_eq_gradient_score_variance() -> None:
    """A unit that does nothing: variance over all pairs of masks, Var(L)/(θ(1 − θ)) in all."""
    table = {(0, 0): 1.3, (0, 1): -0.4, (1, 0): 2.2, (1, 1): 0.1}  # of gates 1 and 2, not of 0
    mean_loss = second = variance = 0.0
    for mask in MASKS:
        value, weight = table[mask[1], mask[2]], probability(mask, THETA)
        mean_loss += weight * value
        second += weight * value**2
    for a, b in itertools.product(MASKS, repeat=2):
        weight = probability(a, THETA) * probability(b, THETA)
        score = (a[0] - b[0]) / (THETA[0] * (1 - THETA[0]))
        variance += weight * ((table[a[1], a[2]] - table[b[1], b[2]]) * score / 2) ** 2
    expected = (second - mean_loss**2) / (THETA[0] * (1 - THETA[0]))
    assert variance == pytest.approx(expected)


def test_thm_gradient_disarm(losses: dict[tuple[int, ...], float]) -> None:
    """Integrated over the cells of u on which both draws are constant."""
    cuts = [sorted({0.0, float(t), float(1 - t), 1.0}) for t in THETA]
    mean = np.zeros(3)
    for cell in itertools.product(*[list(itertools.pairwise(c)) for c in cuts]):
        u = np.array([(low + high) / 2 for low, high in cell])
        volume = math.prod(high - low for low, high in cell)
        b, b_tilde = (u < THETA).astype(int), (1 - u < THETA).astype(int)
        half = (losses[tuple(b.tolist())] - losses[tuple(b_tilde.tolist())]) / 2
        mean += volume * half * (b - b_tilde) / np.minimum(THETA, 1 - THETA)
    assert mean == pytest.approx(differences(losses))


@pytest.mark.parametrize("estimator", [Reinforce(2), Reinforce(4), DisARM()])
def test_the_code_of_the_score_function_estimators_has_that_mean(estimator: Estimator) -> None:
    exact = draws(ExactSum(), [0.3, 0.6], 1)[0]
    found = draws(estimator, [0.3, 0.6], 5000)
    assert (np.abs(found.mean(0) - exact) < 4 * found.std(0) / 8).all()


def test_eq_gradient_smoothing() -> None:
    """Standard deviation of the running average of white noise."""
    generator: Generator = np.random.default_rng(0)
    average, beta, seen = np.zeros(4000), 0.9, []
    for step in range(300):
        average = beta * average + (1 - beta) * generator.standard_normal(4000)
        if step >= 100:
            seen.append(average)
    assert float(np.std(seen)) == pytest.approx(math.sqrt((1 - beta) / (1 + beta)), rel=0.02)
