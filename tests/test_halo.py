"""Tests of pruning_core.halo: closed forms against autograd, and against numerical minimisation."""

import copy
import math
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from pruning_core.halo import (
    PULL_LIMIT,
    Halo,
    bridge_scale,
    bridge_shrink,
    bridge_threshold,
    halo_marginal,
    negative_log_prior,
    normalised_coefficient,
    optimal_coefficient,
)
from pruning_core.models import lenet_5

prices = st.floats(1e-6, 10.0)
# Below 1e-30 the products of these lose digits to the least of all numbers.
sizes = st.floats(-50.0, 50.0).map(lambda size: size if abs(size) > 1e-30 else 0.0)


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 7), nn.ReLU(), nn.Linear(7, 3)
    )


def written_out(halo: Halo) -> Tensor:
    """P by its formula, for autograd to differentiate."""
    weights = torch.cat([w.reshape(-1) for w in halo.weights])
    total = halo.coefficients.abs().sum()
    if halo.budget is not None:
        total = (total - halo.budget).abs()
    return halo.xi * (weights.abs() / halo.coefficients.square()).sum() + halo.psi * total


def gradients(halo: Halo) -> list[Tensor]:
    found = [p.grad for p in (halo.coefficients, *halo.weights)]
    for parameter in (halo.coefficients, *halo.weights):
        parameter.grad = None
    return [g.clone() for g in found if g is not None]


@pytest.mark.parametrize("budget", [None, 10.0, 1e6])
@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_both_gradients_are_those_of_autograd(
    budget: float | None, biases: bool, layout: torch.memory_format
) -> None:
    model = small_net().to(memory_format=layout)
    halo = Halo(model, 0.03, 0.2, biases=biases, budget=budget)
    halo.coefficients.data.uniform_(0.1, 2.0)
    written_out(halo).backward()
    expected = gradients(halo)
    halo.backward()
    torch.testing.assert_close(gradients(halo), expected, rtol=1e-6, atol=1e-6)
    (3 * halo()).backward()
    tripled = [3 * g for g in expected]
    torch.testing.assert_close(gradients(halo), tripled, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(halo().detach(), written_out(halo).detach())


def test_the_gradient_is_the_finite_difference() -> None:
    model = small_net().double()
    halo = Halo(model, 0.03, 0.2)
    halo.coefficients.data.uniform_(0.3, 2.0)
    halo.backward()
    of_coefficients, *of_weights = gradients(halo)
    for parameter, gradient in zip(
        (halo.coefficients, *halo.weights), (of_coefficients, *of_weights), strict=True
    ):
        flat, slope = parameter.data.view(-1), gradient.view(-1)
        for index in (0, flat.numel() // 2, flat.numel() - 1):
            values = []
            for change in (1e-6, -2e-6):
                flat[index] += change
                values.append(float(halo.value()))
            flat[index] += 1e-6
            assert float(slope[index]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


def test_the_coefficients_may_be_left_out_of_a_step() -> None:
    halo = Halo(small_net(), 0.03, 0.2)
    halo.coefficients.data.uniform_(0.1, 2.0)
    before = halo.coefficients.detach().clone()
    halo.backward()
    _, *of_weights = gradients(halo)
    optimizer = torch.optim.SGD(halo.parameters(), 0.1, momentum=0.9)
    halo.backward()
    optimizer.step()
    moved = halo.coefficients.detach().clone()
    assert not torch.equal(moved, before)
    halo.coefficients.data.copy_(before)
    gradients(halo)
    halo.backward(coefficients=False)
    assert halo.coefficients.grad is None
    torch.testing.assert_close([w.grad for w in halo.weights], of_weights)
    optimizer.step()
    assert torch.equal(halo.coefficients, before), "no momentum moves them either"


def test_gradients_are_added_to_those_of_the_loss() -> None:
    model = small_net()
    halo = Halo(model, 0.03, 0.2)
    halo.backward()
    expected = gradients(halo)
    halo.backward()
    halo.backward()
    torch.testing.assert_close(gradients(halo), [2 * g for g in expected])


@given(weight=sizes, xi=prices, psi=prices)
def test_the_optimal_coefficient_minimises_the_penalty(
    weight: float, xi: float, psi: float
) -> None:
    def penalty(log_coefficient: float) -> float:
        coefficient = math.exp(log_coefficient)
        return xi * abs(weight) / coefficient**2 + psi * coefficient

    w = torch.tensor(weight, dtype=torch.float64)
    marginal = float(halo_marginal(w, xi, psi))
    if weight == 0.0:
        assert marginal == 0.0
        return
    best = float(optimal_coefficient(w, xi, psi))
    found: Any = minimize_scalar(penalty, bracket=(math.log(best) - 1, math.log(best) + 2))
    assert math.log(best) == pytest.approx(found.x, abs=1e-4)
    assert marginal == pytest.approx(found.fun, rel=1e-9)
    assert marginal == pytest.approx(penalty(math.log(best)), rel=1e-9)


@given(weight=sizes, coefficient=st.floats(0.1, 10.0), xi=prices, psi=prices)
def test_the_hierarchy_is_laplace_and_gamma_or_with_the_normaliser_exponential(
    weight: float, coefficient: float, xi: float, psi: float
) -> None:
    w, c = (torch.tensor(x, dtype=torch.float64) for x in (weight, coefficient))
    # scipy's laplace would take the logarithm of an underflow.
    given_coefficient = stats.gennorm.logpdf(weight, 1, scale=coefficient**2 / xi)
    for normaliser, shape in ((False, 3), (True, 1)):
        found = float(negative_log_prior(w, c, xi, psi, normaliser=normaliser))
        expected = -given_coefficient - stats.gamma.logpdf(coefficient, shape, scale=1 / psi)
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(weight=st.floats(1e-6, 50.0), xi=prices, psi=prices)
def test_the_normalised_coefficient_minimises_the_negative_log_prior(
    weight: float, xi: float, psi: float
) -> None:
    w = torch.tensor(weight, dtype=torch.float64)
    best = float(normalised_coefficient(w, xi, psi))

    def price(log_coefficient: float) -> float:
        c = torch.tensor(math.exp(log_coefficient), dtype=torch.float64)
        return float(negative_log_prior(w, c, xi, psi, normaliser=True))

    found: Any = minimize_scalar(price, bracket=(math.log(best) - 1, math.log(best) + 2))
    assert math.log(best) == pytest.approx(found.x, abs=1e-4)
    assert best**2 * (psi * best + 2) == pytest.approx(2 * xi * weight, rel=1e-12)


def test_with_the_normaliser_zero_is_worth_everything_and_large_weights_pay_the_bridge() -> None:
    weights = torch.tensor([0.0, 1e-12, 1e-9, 1e9, 1e12], dtype=torch.float64)
    best = normalised_coefficient(weights, 2.0, 3.0)
    prices = negative_log_prior(weights, best, 2.0, 3.0, normaliser=True)
    assert float(best[0]) == 0.0
    # A thousandth of a small weight costs log 1000 less, whatever ξ and ψ.
    assert float(prices[2] - prices[1]) == pytest.approx(math.log(1000), rel=1e-4)
    torch.testing.assert_close(
        best[3:], optimal_coefficient(weights[3:], 2.0, 3.0), rtol=0.01, atol=0
    )


@given(value=st.floats(-20.0, 20.0), scale=st.floats(1e-4, 10.0))
def test_the_thresholding_rule_minimises_its_objective(value: float, scale: float) -> None:
    def objective(weight: float) -> float:
        return 0.5 * (weight - value) ** 2 + scale * abs(weight) ** (1 / 3)

    found = float(bridge_shrink(torch.tensor(value, dtype=torch.float64), scale))
    grid = torch.linspace(-abs(value), abs(value), 2001, dtype=torch.float64)
    assert (
        objective(found)
        <= float((0.5 * (grid - value).square() + scale * grid.abs().pow(1 / 3)).min()) + 1e-9
    )


@pytest.mark.parametrize("scale", [1e-3, 0.1, 4.0])
def test_at_the_threshold_zero_and_the_jump_are_worth_the_same(scale: float) -> None:
    threshold, jump = bridge_threshold(scale)
    at_jump = 0.5 * (jump - threshold) ** 2 + scale * jump ** (1 / 3)
    assert at_jump == pytest.approx(0.5 * threshold**2)
    below, above = torch.tensor([0.999, 1.001], dtype=torch.float64) * threshold
    assert float(bridge_shrink(below, scale)) == 0.0
    assert float(bridge_shrink(above, scale)) == pytest.approx(jump, rel=0.1)
    assert float(bridge_shrink(-above, scale)) == -float(bridge_shrink(above, scale))


def test_large_values_are_hardly_shrunk_and_zero_price_shrinks_nothing() -> None:
    values = torch.tensor([-300.0, -0.5, 0.0, 0.5, 300.0], dtype=torch.float64)
    assert torch.equal(bridge_shrink(values, 0.0), values)
    assert float(bridge_shrink(values, 1.0)[-1]) == pytest.approx(300 - 300 ** (-2 / 3) / 3)


@given(st.lists(st.tuples(sizes, sizes), min_size=1, max_size=30), prices, prices)
def test_the_marginal_is_a_penalty(pairs: list[tuple[float, float]], xi: float, psi: float) -> None:
    first, second = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    value = halo_marginal(first, xi, psi)
    assert bool((value >= 0).all())
    assert torch.equal(halo_marginal(-first, xi, psi), value)
    larger = first.abs() >= second.abs()
    assert bool((value >= halo_marginal(second, xi, psi))[larger].all())


@pytest.mark.parametrize("initial", [1e-6, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("weight", [0.0, 1e-30, 1.0, 1e6])
@pytest.mark.parametrize("proximal", [False, True])
def test_no_step_is_infinite_from_extreme_starts(
    initial: float, weight: float, proximal: bool
) -> None:
    model = nn.Linear(4, 3)
    nn.init.constant_(model.weight, weight)
    halo = Halo(model, 1e-5, 1e-4, initial=initial, proximal=proximal)
    optimizer = torch.optim.SGD([model.weight, *halo.parameters()], 0.1)
    for _ in range(50):
        optimizer.zero_grad()
        halo.backward()
        before = halo.coefficients.detach().clone()
        optimizer.step()
        moved = (halo.coefficients.detach() - before).abs().max()
        assert float(moved) <= 0.11 * PULL_LIMIT * halo.psi
        if proximal:
            halo.shrink_(0.1)
        assert bool(model.weight.isfinite().all())
    assert math.isfinite(float(halo.value()))
    assert bool((halo.coefficients >= halo.floor).all())


@pytest.mark.parametrize("weight", [0.3, -2.0])
def test_coefficients_settle_at_their_optimum(weight: float) -> None:
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, weight)
    halo = Halo(model, 0.02, 0.1, initial=3.0)
    optimizer = torch.optim.SGD(halo.parameters(), 0.05)
    for _ in range(3000):
        optimizer.zero_grad()
        halo.backward()
        optimizer.step()
    expected = optimal_coefficient(model.weight.detach().flatten(), 0.02, 0.1)
    torch.testing.assert_close(halo.coefficients.detach(), expected, rtol=1e-3, atol=0.0)
    assert float(halo.value()) == pytest.approx(
        bridge_scale(0.02, 0.1) * abs(weight) ** (1 / 3), rel=1e-5
    )


def test_the_budget_holds_the_sum_of_the_coefficients() -> None:
    halo = Halo(small_net(), 1e-9, 1.0, budget=50.0)
    optimizer = torch.optim.SGD(halo.parameters(), 1e-3)
    for _ in range(2000):
        optimizer.zero_grad()
        halo.backward()
        optimizer.step()
    assert float(halo.coefficients.detach().sum()) == pytest.approx(50.0, abs=1.0)


def test_the_proximal_step_is_soft_thresholding_with_each_weights_own_threshold() -> None:
    model = nn.Linear(4, 1, bias=False)
    model.weight.data = torch.tensor([[0.5, -0.5, 0.001, -3.0]])
    halo = Halo(model, 0.1, 1.0, proximal=True)
    halo.coefficients.data = torch.tensor([1.0, 0.5, 1.0, 2.0])
    halo.shrink_(2.0)
    expected = torch.tensor([[0.3, 0.0, 0.0, -2.95]])
    torch.testing.assert_close(model.weight.detach(), expected)
    assert int((model.weight == 0).sum()) == 2
    halo.backward()
    assert model.weight.grad is None


def test_only_a_proximal_penalty_shrinks() -> None:
    with pytest.raises(RuntimeError, match="proximal=True"):
        Halo(nn.Linear(2, 2), 1.0, 1.0).shrink_(0.1)


def test_weights_with_little_use_vanish_and_others_stay() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(200, 20)
    truth = torch.zeros(20)
    truth[:3] = torch.tensor([2.0, -1.5, 1.0])
    targets = inputs @ truth + 0.1 * torch.randn(200)
    model = nn.Linear(20, 1, bias=False)
    halo = Halo(model, 0.02, 0.02, proximal=True)
    optimizer = torch.optim.SGD([*model.parameters(), *halo.parameters()], 0.05)
    for _ in range(3000):
        optimizer.zero_grad()
        F.mse_loss(model(inputs).squeeze(1), targets).backward()
        halo.backward()
        optimizer.step()
        halo.shrink_(0.05)
    found = model.weight.detach().squeeze(0)
    assert found.nonzero().flatten().tolist() == [0, 1, 2]
    torch.testing.assert_close(found[:3], truth[:3], rtol=0.1, atol=0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"xi": 0.0}, "xi is 0.0; a finite number above 0"),
        ({"psi": -1.0}, "psi is -1.0"),
        ({"psi": math.nan}, "psi is nan"),
        ({"initial": math.inf}, "initial is inf"),
        ({"floor": 0.0}, "floor is 0.0"),
        ({"budget": -1.0}, "budget is -1.0"),
    ],
)
def test_a_number_out_of_range_is_named(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Halo(nn.Linear(2, 2), **({"xi": 1.0, "psi": 1.0} | change))  # type: ignore[arg-type]


def test_a_model_without_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="ReLU has no parameter to penalise"):
        Halo(nn.ReLU(), 1.0, 1.0)


def test_every_weight_has_one_coefficient() -> None:
    model = lenet_5(gated=False)
    assert Halo(model, 1.0, 1.0).coefficients.numel() == 430_500
    assert Halo(model, 1.0, 1.0, biases=True).coefficients.numel() == 431_080
    assert len(list(Halo(model, 1.0, 1.0).parameters())) == 1


@pytest.mark.parametrize("how", ["in the loss", "backward", "shrink_"])
def test_frozen_weights_stay_and_the_others_move(how: str) -> None:
    model = small_net()
    frozen, moving = model.get_parameter("0.weight"), model.get_parameter("3.weight")
    frozen.requires_grad_(False)
    before = frozen.clone(), moving.detach().clone()
    halo = Halo(model, 1e-2, 1e-1, proximal=how == "shrink_")
    optimizer = torch.optim.SGD([*model.parameters(), *halo.parameters()], 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        if how == "in the loss":
            halo().backward()
        else:
            halo.backward()
        optimizer.step()
        if halo.proximal:
            halo.shrink_(0.1)
    assert frozen.grad is None
    assert torch.equal(frozen, before[0])
    assert not torch.equal(moving, before[1])


def test_frozen_coefficients_get_no_gradient() -> None:
    halo = Halo(small_net(), 1e-2, 1e-1).requires_grad_(False)
    halo.backward()
    assert halo.coefficients.grad is None
    assert all(w.grad is not None for w in halo.weights)
    for weight in halo.weights:
        weight.requires_grad_(False).grad = None
    halo.backward()
    assert all(w.grad is None for w in halo.weights)


@pytest.mark.parametrize("how", ["in the loss", "backward"])
def test_a_gradient_scaler_changes_nothing(how: str) -> None:
    found = []
    for scaler in (torch.amp.GradScaler("cpu", enabled=False), torch.amp.GradScaler("cpu")):
        model = small_net()
        halo = Halo(model, 1e-2, 1e-1)
        optimizer = torch.optim.SGD([*model.parameters(), *halo.parameters()], 0.1)
        images, labels = torch.rand(8, 1, 6, 6), torch.arange(8) % 3
        for _ in range(4):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            scaler.scale(loss + halo() if how == "in the loss" else loss).backward()
            if how == "backward":
                halo.backward(scaler.get_scale())
            scaler.step(optimizer)
            scaler.update()
        found.append([p.detach() for p in (*model.parameters(), halo.coefficients)])
    # The scale is a power of two, so no digit is lost.
    assert all(torch.equal(plain, scaled) for plain, scaled in zip(*found, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_coefficients_of_half_precision_weights_are_float32(dtype: torch.dtype) -> None:
    model = small_net().to(dtype)
    halo = Halo(model, 0.03, 0.2, initial=0.3)
    double = Halo(copy.deepcopy(model).double(), 0.03, 0.2, initial=0.3)
    assert halo.coefficients.dtype == torch.float32
    assert double.coefficients.dtype == torch.float64
    torch.testing.assert_close(halo().double(), double(), rtol=1e-5, atol=0.0)
    double.backward()
    expected = gradients(double)
    halo.backward()
    tolerance = 2 * torch.finfo(dtype).eps
    for _ in range(2):
        found = gradients(halo)
        assert [g.dtype for g in found] == [torch.float32, dtype, dtype, dtype]
        for gradient, exact in zip(found, expected, strict=True):
            torch.testing.assert_close(gradient.double(), exact, rtol=tolerance, atol=1e-7)
        halo().backward()
    # Steps that bfloat16 has not the digits for: 1 − 1e-3 is 1 there.
    torch.optim.SGD(halo.parameters(), 1e-3).step()
    halo.coefficients.grad = torch.ones_like(halo.coefficients)
    start = halo.coefficients.detach().clone()
    torch.optim.SGD(halo.parameters(), 1e-5).step()
    assert bool((halo.coefficients < start).all())


def test_parameters_that_the_model_replaces_are_followed() -> None:
    model = small_net()
    halo = Halo(model, 1e-2, 1e-1)
    state = {name: value + 1.0 for name, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    now = [p for p in model.parameters() if p.dim() > 1]
    assert all(found is p for found, p in zip(halo.weights, now, strict=True))
    halo.backward()
    assert all(p.grad is not None for p in now)
    torch.testing.assert_close(halo().detach(), written_out(halo).detach())


def test_weights_are_followed_when_their_names_change() -> None:
    model = small_net()
    halo = Halo(model, 1e-2, 1e-1)
    before = halo.weights
    model[0] = nn.Sequential(model[0], nn.ReLU())
    assert all(a is b for a, b in zip(halo.weights, before, strict=True))


def test_a_weight_that_the_model_has_lost_is_named() -> None:
    model = small_net()
    halo = Halo(model, 1e-2, 1e-1)
    model[3] = nn.Identity()
    for use in (halo, halo.backward, halo.value):
        with pytest.raises(RuntimeError, match=r"has lost the weight '3.weight' that Halo penal"):
            use()


def test_weights_on_another_device_are_named() -> None:
    halo = Halo(model := small_net(), 1e-2, 1e-1)
    model.to("meta")
    with pytest.raises(RuntimeError, match=r"on meta .* on cpu; move them with halo.to\('meta'\)"):
        halo.backward()


def kept_of(halo: Halo) -> dict[nn.Parameter, Mapping[int, Tensor]]:
    """One filter of three stays, three features of seven, and two of what these read and give."""
    filters, middle, last = halo.weights
    features = torch.arange(16)
    return {
        filters: {0: torch.tensor([1])},
        middle: {0: torch.tensor([0, 2, 6]), 1: 16 + features},
        last: {1: torch.tensor([0, 2, 6])},
    }


def test_the_surviving_entries_are_those_of_the_weights() -> None:
    model = small_net()
    halo = Halo(model, 0.02, 0.1)
    with torch.no_grad():  # each λ tells which weight it belongs to
        halo.coefficients.copy_(torch.cat([w.reshape(-1) for w in halo.weights]).abs() + 1.0)
    optimizer = torch.optim.SGD(halo.parameters(), 0.1)
    (coefficients,) = optimizer.param_groups[0]["params"]
    kept = kept_of(halo)
    survivors = coefficients.shrinks_with(kept)
    assert survivors.dtype == torch.int64
    assert torch.equal(survivors, halo._surviving_entries(kept))
    whole = halo._surviving_entries({})
    assert torch.equal(whole, torch.arange(len(halo.coefficients)))

    slices = (slice(1, 2), slice(None)), ([0, 2, 6], slice(16, 32)), (slice(None), [0, 2, 6])
    for weight, part in zip(halo.weights, slices, strict=True):
        weight.data = weight.data[part].clone()
    with pytest.raises(RuntimeError, match=r"have 66 entries and halo.coefficients 384; where"):
        halo()
    halo.coefficients.data = halo.coefficients.data[survivors]
    expected = torch.cat([w.detach().reshape(-1) for w in halo.weights]).abs() + 1.0
    assert torch.equal(halo.coefficients.detach(), expected)
    halo.backward()
    torch.testing.assert_close(halo().detach(), written_out(halo).detach())


def test_a_copy_and_a_pickle_shrink_with_their_own_weights() -> None:
    halo = Halo(small_net(), 0.02, 0.1)
    halo.coefficients.data.uniform_(0.5, 1.0)
    copies = [copy.deepcopy(halo), pickle.loads(pickle.dumps(halo))]
    expected = halo._surviving_entries(kept_of(halo))
    for other in copies:
        assert torch.equal(other(), halo())
        shrinks_with = vars(other.coefficients)["shrinks_with"]
        assert torch.equal(shrinks_with(kept_of(other)), expected)
        # Weights of the original are not among the copy's.
        assert len(shrinks_with(kept_of(halo))) == len(halo.coefficients)


def test_loaded_coefficients_shrink_too_and_those_of_a_lost_halo_say_so() -> None:
    model = small_net()
    halo = Halo(model, 0.02, 0.1)
    halo.load_state_dict({"coefficients": torch.full((384,), 0.5)}, assign=True)
    halo.backward()
    coefficients = halo.coefficients
    assert len(vars(coefficients)["shrinks_with"]({})) == 384
    del halo
    with pytest.raises(RuntimeError, match="holds the coefficients of a Halo that is gone"):
        vars(coefficients)["shrinks_with"]({})
