"""The chapter on small networks, against other directions, plain autograd and quadrature."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor, nn

from pruning_core.experiments.methods.survivors import worst_inputs

RADIUS = 1e-4


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 3)).double()


def losses(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(model(images), labels, reduction="none")


@pytest.mark.parametrize("seed", range(5))
def test_eq_limits_linear(seed: int) -> None:
    """No direction of that length raises the loss more, and the rise is ε times the slope."""
    model = network(seed)
    images, labels = torch.rand(6, 12, dtype=torch.float64), torch.arange(6) % 3
    worst = worst_inputs(model, images, labels, RADIUS)
    inputs = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(losses(model, inputs, labels).sum(), inputs)
    rise = (losses(model, worst, labels) - losses(model, images, labels)).detach()
    torch.testing.assert_close(rise, RADIUS * slope.norm(dim=1), rtol=1e-3, atol=0)
    for _ in range(200):
        other = images + RADIUS * F.normalize(torch.randn_like(images))
        assert bool((losses(model, other, labels) <= losses(model, worst, labels)).all())


def test_eq_limits_worst() -> None:
    """Its gradient in the weights is that at the maximiser, held fixed: as by differences."""
    model = network(7)
    images, labels = torch.rand(4, 12, dtype=torch.float64), torch.arange(4) % 3
    weight = model.get_parameter("0.weight")
    radius = 0.01
    worst = worst_inputs(model, images, labels, radius)
    (held,) = torch.autograd.grad(losses(model, worst, labels).sum(), weight)

    def at_worst(step: float) -> float:
        with torch.no_grad():
            weight[2, 3] += step
        found = losses(model, worst_inputs(model, images, labels, radius), labels).sum()
        with torch.no_grad():
            weight[2, 3] -= step
        return float(found.detach())

    by_differences = (at_worst(1e-5) - at_worst(-1e-5)) / 2e-5
    # The linearised maximiser is off by O(ε²), and the gradient with it.
    assert by_differences == pytest.approx(float(held[2, 3]), abs=2 * radius**2)


@pytest.mark.parametrize(("mean", "spread"), [(1.0, 0.5), (0.3, 0.9), (2.0, 0.1)])
def test_eq_limits_bottleneck(mean: float, spread: float) -> None:
    """The information that one unit's noisy value has on which of three activations there was."""
    activations, chances = np.array([0.5, 1.0, 3.0]), np.array([0.2, 0.5, 0.3])

    def integrand(h: float) -> float:
        densities = norm.pdf(h, mean * activations, spread * activations)
        mixture = float(chances @ densities)
        return float(
            sum(
                c * d * np.log(d / mixture)
                for c, d in zip(chances, densities, strict=True)
                if d > 0
            )
        )

    information = quad(integrand, -15, 25, limit=400, points=[0, *(mean * activations)])[0]
    power = float(chances @ activations**2)
    bound = 0.5 * (
        np.log1p(mean**2 / spread**2) + np.log(power) - float(chances @ np.log(activations**2))
    )
    assert 0 < information <= bound
    # What is dropped of the bound knows neither the mean nor the spread, and is not negative.
    assert bound - 0.5 * np.log1p(mean**2 / spread**2) >= 0
