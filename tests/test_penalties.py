"""Tests of pruning_core.penalties: slopes against autograd, thresholds against minimisation."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pruning_core.halo import bridge_scale, halo_marginal
from pruning_core.penalties import AdaptiveLasso, Bridge, Lasso, Penalty, Ridge

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
