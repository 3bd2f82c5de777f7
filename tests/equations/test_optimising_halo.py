"""The chapter on optimising HALO, against simulation, minimisation and torch's own optimizer."""

import itertools
import math
from typing import Any

import pytest
import torch
from scipy.optimize import minimize, minimize_scalar
from torch import nn

from pruning_core.halo import PULL_LIMIT, Halo, dose
from pruning_core.theory.single_weight import joint_path


def test_eq_optimising_bounds() -> None:
    """No gradient of P exceeds the bounds, at 20,000 random points over 60 orders of magnitude."""
    torch.manual_seed(0)
    model = nn.Linear(20_000, 1, bias=False, dtype=torch.float64)
    halo = Halo(model, 3e-5, 5e-5)
    sizes = torch.empty(1, 20_000, dtype=torch.float64).uniform_(-30, 30)
    model.weight.data = 10**sizes
    halo.coefficients.data = 10 ** torch.empty(20_000, dtype=torch.float64).uniform_(-30, 30)
    halo.backward()
    assert model.weight.grad is not None
    assert halo.coefficients.grad is not None
    assert float(model.weight.grad.abs().max()) <= 3e-5 / halo.floor**2 * (1 + 1e-9)
    assert float(halo.coefficients.grad.max()) <= 5e-5
    lowest = float(halo.coefficients.grad.min())
    assert lowest == pytest.approx(-(PULL_LIMIT - 1) * 5e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("xi", "psi", "step"), [(0.01, 0.01, 0.1), (0.002, 0.01, 0.05)])
def test_eq_optimising_chatter(xi: float, psi: float, step: float) -> None:
    """A simulated weight of no use never reaches 0; size and λ are on average as derived."""
    best = (step * xi**2 / psi) ** 0.2
    still = {"proximal": False, "curvature": 0.0}  # and a loss that does not care
    w, c = joint_path(torch.zeros(1), 0.3, 2 * best, xi, psi, step=step, steps=20_000, **still)
    late_w, late_c = w[-4000:, 0], c[-4000:, 0]
    assert bool((late_w != 0).all())
    assert float(late_c.mean()) == pytest.approx(best, rel=0.01)
    assert float(late_w.abs().mean()) == pytest.approx(step * xi / best**2 / 2, rel=0.02)


@pytest.mark.parametrize("momentum", [0.3, 0.5, 0.9])
def test_eq_optimising_momentum(momentum: float) -> None:
    """torch's SGD keeps up the fastest rhythm, once in it, and there λ_c is where λ is at rest."""
    xi, psi, step = 0.01, 0.01, 0.1
    shorter = (1 - momentum) / (1 + momentum)
    best = (shorter * step * xi**2 / psi) ** 0.2
    stride = shorter * step * xi / best**2
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(model.weight, 0.3 * stride)
    halo = Halo(model, xi, psi, initial=best)
    optimizer = torch.optim.SGD(model.parameters(), (1 - momentum) * step, momentum)
    swinging = torch.full_like(model.weight, -xi / best**2 / (1 + momentum))
    optimizer.state[model.weight]["momentum_buffer"] = swinging
    sizes, pulls = [], []
    for _ in range(500):
        optimizer.zero_grad()
        halo.zero_grad()
        halo.backward()
        assert halo.coefficients.grad is not None
        pulls.append(float(halo.coefficients.grad))
        sizes.append(float(model.weight.detach()))
        optimizer.step()
    assert all(a * b < 0 for a, b in itertools.pairwise(sizes))
    assert sum(map(abs, sizes)) / 500 == pytest.approx(stride / 2)
    assert sum(pulls) / 500 == pytest.approx(0, abs=1e-6 * psi)


@pytest.mark.parametrize("weight", [0.9, -0.9, 0.2, -0.01])
@pytest.mark.parametrize("coefficient", [0.4, 1.0, 3.0])
def test_eq_optimising_soft(weight: float, coefficient: float) -> None:
    """The proximal step is what a numerical minimiser finds."""
    step, xi = 0.5, 0.3

    def objective(u: float) -> float:
        return (u - weight) ** 2 / (2 * step) + xi * abs(u) / coefficient**2

    found: Any = minimize_scalar(objective, bounds=(-1, 1), options={"xatol": 1e-10})
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, weight)
    halo = Halo(model, xi, 1.0, initial=coefficient, proximal=True)
    halo.shrink_(step)
    assert float(model.weight.detach()) == pytest.approx(found.x, abs=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_eq_optimising_dose(momentum: float) -> None:
    """torch's SGD takes λ of a weight at 0 down by the dose, along a cosine."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    psi, rate, steps = 1e-4, 0.1, 5000
    halo = Halo(model, 1e-5, psi, proximal=True)
    optimizer = torch.optim.SGD(halo.parameters(), rate, momentum=momentum)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        halo.backward()
        optimizer.step()
        schedule.step()
    expected = dose(psi, rate, steps, momentum)
    assert 1 - float(halo.coefficients.detach()) == pytest.approx(expected, rel=0.01)


def test_eq_optimising_budget() -> None:
    """Minimising over coefficients of a given sum finds ξ/P² times the ℓ_{1/3} size."""
    sizes, xi, total = [0.1, 0.5, 2.0, 3.0], 0.7, 5.0
    found = minimize(
        lambda c: sum(xi * w / x**2 for w, x in zip(sizes, c, strict=True)),
        [total / 4] * 4,
        constraints={"type": "eq", "fun": lambda c: sum(c) - total},
        bounds=[(0.05, None)] * 4,
        options={"ftol": 1e-12, "maxiter": 1000},
    )
    roots = [w ** (1 / 3) for w in sizes]
    assert found.fun == pytest.approx(xi * sum(roots) ** 3 / total**2, rel=1e-5)
    expected = [total * root / sum(roots) for root in roots]
    assert found.x.tolist() == pytest.approx(expected, rel=1e-2)


def test_eq_optimising_trap() -> None:
    """Under any gradients below ξ/λ², a weight at zero stays there while λ falls."""
    torch.manual_seed(0)
    model = nn.Linear(50, 1, bias=False)
    nn.init.zeros_(model.weight)
    halo = Halo(model, 0.1, 0.01, proximal=True)
    optimizer = torch.optim.SGD([*model.parameters(), *halo.parameters()], 0.1)
    for _ in range(500):
        optimizer.zero_grad()
        halo.backward()
        price = 0.1 / float(halo.coefficients.detach().max()) ** 2
        model.weight.grad = torch.empty_like(model.weight).uniform_(-price, price)
        optimizer.step()
        halo.shrink_(0.1)
        assert int(model.weight.count_nonzero()) == 0
    assert math.isclose(float(halo.coefficients.detach().mean()), 0.5, rel_tol=1e-3)
