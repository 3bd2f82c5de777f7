"""Tests of penalties: slopes against autograd, thresholds against minimisation."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from torch import Tensor

from pruning_core.baselines.penalties import (
    AdaptiveLasso,
    Bridge,
    GroupLasso,
    Lasso,
    Penalty,
    Ridge,
    SharedShrinkage,
)
from pruning_core.halo import bridge_scale, halo_marginal

PENALTIES: dict[str, Callable[[float], Penalty]] = {
    "ridge": Ridge,
    "lasso": Lasso,
    "adaptive lasso": lambda s: AdaptiveLasso(s, [torch.tensor(0.7, dtype=torch.float64)]),
    "bridge": Bridge,
}
FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "ridge": lambda w: w**2,
    "lasso": lambda w: w.abs(),
    "adaptive lasso": lambda w: w.abs() / 0.7,
    "bridge": lambda w: w.abs() ** (1 / 3),
}
by_name = pytest.mark.parametrize("name", list(PENALTIES))
strengths = st.floats(1e-4, 10.0)
numbers = st.floats(-20.0, 20.0)


@by_name
def test_gradients_are_those_of_autograd_and_are_added(name: str) -> None:
    torch.manual_seed(0)
    weights = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((4, 3), (5,))]
    penalty = PENALTIES[name](0.3)
    if name == "adaptive lasso":
        penalty = AdaptiveLasso(0.3, [torch.full_like(w, -0.7) for w in weights])
    formula = 0.3 * torch.stack([FORMULAS[name](w).sum() for w in weights]).sum()
    torch.testing.assert_close(penalty.value(weights), formula.detach())
    formula.backward()
    expected = [2 * w.grad for w in weights if w.grad is not None]
    penalty.backward(weights)
    torch.testing.assert_close([w.grad for w in weights], expected)


@by_name
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    penalty = PENALTIES[name](0.3)
    for point in (-3.0, -0.2, 0.04, 1.7):
        weight = torch.tensor(point, dtype=torch.float64)
        above, below = (float(penalty.value([weight + d])) for d in (1e-6, -1e-6))
        (slope,) = penalty.slopes([weight])
        assert float(slope) == pytest.approx((above - below) / 2e-6, rel=1e-6)


@by_name
def test_a_weight_of_zero_has_slope_zero(name: str) -> None:
    weights = [torch.zeros((), dtype=torch.float64, requires_grad=True)]
    PENALTIES[name](2.0).backward(weights)
    assert weights[0].grad is not None
    assert float(weights[0].grad) == 0.0


@by_name
@given(first=numbers, second=numbers, strength=strengths)
def test_it_is_a_penalty(name: str, first: float, second: float, strength: float) -> None:
    a, b = (torch.tensor(x, dtype=torch.float64) for x in (first, second))
    penalty = PENALTIES[name](strength)
    assert float(penalty.value([a])) >= 0
    assert torch.equal(penalty.value([a]), penalty.value([-a]))
    if abs(first) >= abs(second):
        assert penalty.value([a]) >= penalty.value([b])


@by_name
@given(value=numbers, strength=strengths)
def test_the_thresholding_rule_minimises(name: str, value: float, strength: float) -> None:
    z = torch.tensor(value, dtype=torch.float64)
    penalty = PENALTIES[name](strength)
    candidates = torch.cat([penalty.thresholded(z).reshape(1), torch.linspace(-1, 1, 2001) * z])
    objective = 0.5 * (candidates - z) ** 2 + strength * FORMULAS[name](candidates)
    assert objective[0] <= objective.min() + 1e-9


@pytest.mark.parametrize("name", ["ridge", "lasso", "adaptive lasso"])
@given(first=numbers, second=numbers, strength=strengths)
def test_thresholding_by_a_convex_price_is_non_expansive(
    name: str, first: float, second: float, strength: float
) -> None:
    a, b = (torch.tensor(x, dtype=torch.float64) for x in (first, second))
    penalty = PENALTIES[name](strength)
    moved = (penalty.thresholded(a) - penalty.thresholded(b)).abs()
    assert moved <= (a - b).abs() * (1 + 1e-12) + 1e-12


@given(weight=numbers, xi=strengths, psi=strengths)
def test_the_bridge_is_halo_at_its_optimum(weight: float, xi: float, psi: float) -> None:
    w = torch.tensor(weight, dtype=torch.float64)
    bridge = Bridge(bridge_scale(xi, psi))
    torch.testing.assert_close(bridge.value([w]), halo_marginal(w, xi, psi))


@by_name
@pytest.mark.parametrize("strength", [-1.0, float("inf"), float("nan")])
def test_a_strength_out_of_range_is_named(name: str, strength: float) -> None:
    with pytest.raises(ValueError, match=f"strength is {strength}; a finite number ≥ 0"):
        PENALTIES[name](strength)
    with pytest.raises(ValueError, match=f"strength is {strength}; a finite number ≥ 0"):
        GroupLasso(strength, [])


def members(seed: int) -> tuple[Tensor, Tensor]:
    """A layer's weights and biases: three groups of five numbers each."""
    torch.manual_seed(seed)
    return torch.randn(3, 4, dtype=torch.float64), torch.randn(3, dtype=torch.float64)


def test_the_group_lasso_is_the_sum_of_the_norms() -> None:
    weight, bias = members(0)
    rows = torch.cat([weight, bias.unsqueeze(1)], 1)
    expected = 0.3 * 5**0.5 * rows.norm(dim=1).sum()
    torch.testing.assert_close(GroupLasso(0.3, [[(weight, 0), (bias, 0)]]).value(), expected)
    columns = 0.3 * 3**0.5 * weight.norm(dim=0).sum()
    torch.testing.assert_close(GroupLasso(0.3, [[(weight, 1)]]).value(), columns)
    both = GroupLasso(0.3, [[(weight, 0), (bias, 0)], [(weight, 1)]])
    torch.testing.assert_close(both.value(), expected + columns)


@pytest.mark.parametrize("strength", [0.0, 0.2, 1.0, 50.0])
def test_the_step_on_a_group_is_the_proximal_one(strength: float) -> None:
    weight, bias = members(1)
    start = torch.cat([weight, bias.unsqueeze(1)], 1)
    penalty = GroupLasso(strength, [[(weight, 0), (bias, 0)]])
    penalty.shrink_(0.5)
    found = torch.cat([weight, bias.unsqueeze(1)], 1)
    for before, after in zip(start, found, strict=True):
        price = 0.5 * strength * 5**0.5
        best = optimize.minimize(
            lambda w, z, c: 0.5 * ((w - z) ** 2).sum() + c * (w @ w) ** 0.5,
            before.numpy() / 2 + 1e-3,
            args=(before.numpy(), price),
            method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 20_000, "maxfev": 20_000},
        )
        torch.testing.assert_close(after, torch.from_numpy(best.x), atol=1e-5, rtol=0)
    if strength == 50.0:
        assert int(found.count_nonzero()) == 0
        penalty.shrink_(0.5)
        assert int(found.count_nonzero()) == 0


@given(seed=st.integers(0, 1000), strength=strengths)
def test_the_step_on_groups_is_non_expansive(seed: int, strength: float) -> None:
    (a, _), (b, _) = members(seed), members(seed + 1)
    distance = (a - b).norm()
    for weight in (a, b):
        GroupLasso(strength, [[(weight, 0)]]).shrink_(1.0)
    assert (a - b).norm() <= distance * (1 + 1e-12)


def test_one_coefficient_for_all_has_the_gradients_of_autograd() -> None:
    weights = [w.requires_grad_() for w in members(2)]
    penalty = SharedShrinkage(0.2, 0.7, initial=0.6).double()
    coefficient = penalty.coefficient.detach().clone().requires_grad_()
    total = torch.stack([w.abs().sum() for w in weights]).sum()
    value = 0.2 * total / coefficient**2 + 0.7 * coefficient**2
    torch.testing.assert_close(penalty.value(weights), value.detach().squeeze())
    value.sum().backward()
    expected = [2 * w.grad for w in weights if w.grad is not None]
    penalty.backward(weights)
    torch.testing.assert_close([w.grad for w in weights], expected)
    torch.testing.assert_close(penalty.coefficient.grad, coefficient.grad)


@given(xi=strengths, psi=strengths)
def test_one_coefficient_at_its_optimum_is_worth_the_square_root(xi: float, psi: float) -> None:
    weights = [torch.tensor([0.5, -2.0], dtype=torch.float64)]
    best = (xi * 2.5 / psi) ** 0.25
    penalty = SharedShrinkage(xi, psi, initial=best).double()
    least = 2 * (xi * psi * 2.5) ** 0.5
    assert float(penalty.value(weights)) == pytest.approx(least, rel=1e-5)
    for other in (0.9 * best, 1.1 * best):
        assert float(SharedShrinkage(xi, psi, initial=other).double().value(weights)) > least


def test_a_coefficient_that_fell_below_its_floor_is_moved_back() -> None:
    penalty = SharedShrinkage(1.0, 1.0)
    with torch.no_grad():
        penalty.coefficient.fill_(-3.0)
    weights = [torch.ones(2, requires_grad=True)]
    penalty.backward(weights)
    assert float(penalty.coefficient.detach()) == pytest.approx(1e-3)
    assert weights[0].grad is not None
    assert bool(weights[0].grad.isfinite().all())


@pytest.mark.parametrize("name", ["xi", "psi", "initial", "floor"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("inf")])
def test_a_number_of_shared_shrinkage_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}; a finite number above 0"):
        SharedShrinkage(**{"xi": 1.0, "psi": 1.0, name: value})
