"""Tests of pruning_core.costs, and of the pruner that charges one price for what units hold."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.costs import SizePrice, UnitPrices
from pruning_core.estimators import ExactSum
from pruning_core.expected_size import ExpectedSize
from pruning_core.gates import BernoulliGate, named_gates
from pruning_core.hyperprior import Beta, Flattening
from pruning_core.inputs import Inputs
from pruning_core.layers import LayerGate
from pruning_core.models import lenet_5, lenet_300_100
from pruning_core.theory import enumeration

IMAGES = torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 10


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return lenet_300_100((6, 4))


def pruner_of(model: torch.nn.Module, log_gamma: Any = 0.5, **options: Any) -> BernoulliPruner:
    options = {"price": "weights", "example_inputs": IMAGES, **options}
    return BernoulliPruner(model, log_gamma, 100, **options)


def test_the_penalty_is_the_price_of_what_is_left_on_average() -> None:
    model = network()
    pruner = pruner_of(model)
    for gate in pruner.gates.values():
        gate.theta.data = torch.rand(gate.num_units)
    first, second = (gate.theta.detach().double().sum() for gate in pruner.gates.values())
    left = 784 * first + first * second + 10 * second
    penalty = pruner.penalty()
    assert float(penalty.detach()) == pytest.approx(0.5 * float(left) / 100)
    penalty.backward()
    saved = {"gate1": 784 + second, "gate2": first + 10}
    for name, gate in pruner.gates.items():
        assert gate.theta.grad is not None
        expected = torch.full_like(gate.theta.detach(), 0.5 * float(saved[name]) / 100)
        torch.testing.assert_close(gate.theta.grad, expected)


def test_both_ways_to_the_gradient_agree() -> None:
    model = network()
    pruner = pruner_of(model, estimator=ExactSum())
    pruner.backward(lambda: F.cross_entropy(model(IMAGES), LABELS, reduction="none"), 8)
    found = [gate.theta.grad for gate in pruner.gates.values()]
    table = enumeration.loss_table(
        list(pruner.gates.values()),
        lambda: F.cross_entropy(model(IMAGES), LABELS, reduction="none"),
    )
    theta = torch.cat([gate.theta.detach() for gate in pruner.gates.values()]).double()
    sizes = torch.tensor(
        [784 * m[:6].sum() + m[:6].sum() * m[6:].sum() + 10 * m[6:].sum() for m in masks()],
        dtype=torch.float64,
    )
    objective = table / 8 + 0.5 * sizes / 100
    expected = enumeration.differences(objective, theta).float()
    torch.testing.assert_close(torch.cat([g for g in found if g is not None]), expected)


def masks() -> Tensor:
    return enumeration.masks(10)


@pytest.mark.parametrize("of", ["weights", "macs"])
def test_the_price_of_a_unit_is_what_the_network_saves_by_its_leaving(of: str) -> None:
    model = lenet_5((4, 5), 6)
    gates = named_gates(model)
    for gate in gates.values():
        gate.theta.data = torch.rand(gate.num_units)
    size, costs = ExpectedSize(model, Inputs(IMAGES), of), SizePrice(0.3, of, gates)
    costs.prepare(model, Inputs(IMAGES))
    for name, gate in gates.items():
        for unit in (0, gate.num_units - 1):
            there = {n: g.theta.detach().clone() for n, g in gates.items()}
            gone = {n: t.clone() for n, t in there.items()}
            there[name][unit], gone[name][unit] = 1.0, 0.0
            saved = 0.3 * float(size(there) - size(gone))
            assert float(costs.slopes(gates)[name][unit]) == pytest.approx(saved, rel=1e-6)


def test_slopes_follow_theta_and_tell_their_change() -> None:
    model = network()
    gates = named_gates(model)
    costs = SizePrice(1.0, "weights", gates)
    costs.prepare(model, Inputs(IMAGES))
    before = costs.slopes(gates)
    assert float(before["gate1"][0]) == pytest.approx(784 + 0.9 * 4)
    assert costs.slopes(gates) is before  # nothing has changed, nothing is computed
    with torch.no_grad():
        gates["gate2"].theta.fill_(0.5)
    change = costs.follow(gates)
    assert float(change["gate1"][0]) == pytest.approx(-0.4 * 4, rel=1e-4)
    assert float(change["gate2"].abs().max()) == 0.0
    assert not any(bool(c.any()) for c in costs.follow(gates).values())
    assert UnitPrices({"gate1": Flattening(2.0)}).follow(gates) == {}


def test_a_price_that_falls_does_not_look_like_a_worth_that_falls() -> None:
    """The averages have every unit's present price, as if it had always been that."""
    model = network()
    pruner = pruner_of(model, 0.1, smoothing=0.9, theta_step=0.02)
    worth = {name: 3.0 + torch.arange(g.num_units) for name, g in pruner.gates.items()}
    for _ in range(300):
        model(IMAGES)
        data = sum(-(worth[name] * gate.theta).sum() / 100 for name, gate in pruner.gates.items())
        (data + pruner.penalty()).backward()
        pruner.step()
    prices = pruner.costs.slopes(pruner.gates)
    assert float(prices["gate2"][0]) < 0.1 * (6 * 0.9 + 10) - 0.3  # others have left
    for name, measured in pruner.worth().items():
        torch.testing.assert_close(measured, worth[name], rtol=1e-3, atol=1e-3)


def test_a_unit_stays_when_it_is_worth_what_it_holds() -> None:
    model = network()
    pruner = pruner_of(model, 0.1, smoothing=0.0, theta_step=0.02)
    for _ in range(600):
        model(IMAGES)
        # A unit of gate1 costs 78.8 nats or less, one of gate2 at most 1.6.
        earned = {"gate1": 81.0, "gate2": torch.tensor([0.5, 0.9, 2.5, 2.5])}
        data = sum(-(earned[n] * g.theta).sum() / 100 for n, g in pruner.gates.items())
        (data + pruner.penalty()).backward()
        pruner.step()
    assert pruner.gates["gate1"].theta.tolist() == [1.0] * 6
    assert pruner.gates["gate2"].theta.tolist() == [0.0, 0.0, 1.0, 1.0]
    dead = pruner.dead_units()["gate2"].tolist()
    assert dead == [True, False, False, False]  # the second earns over half of its 1.6 nats
    assert pruner.compact_(torch.optim.Adam(model.parameters())) == 1
    assert float(pruner.penalty().detach()) == pytest.approx(0.1 * (784 * 6 + 6 * 2 + 20) / 100)


def test_sections_and_units_pay_in_one_currency() -> None:
    torch.manual_seed(0)
    parts = (torch.nn.Linear(784, 5), *(section() for _ in range(2)), torch.nn.Linear(5, 10))
    model = torch.nn.Sequential(torch.nn.Flatten(), *parts)
    optimizer = torch.optim.Adam(model.parameters())
    pruner = pruner_of(model, 0.1, smoothing=0.0, theta_step=0.02)
    names = list(pruner.gates)
    assert names == ["2.section.2", "2.gate", "3.section.2", "3.gate"]
    unit, whole = 0.1 * 10 * 0.9, 0.1 * 10 * 4 * 0.9
    prices = [float(slope[0]) for slope in pruner.costs.slopes(pruner.gates).values()]
    assert prices == pytest.approx([unit, whole, unit, whole])
    # Every unit earns its weights; the second section less than they all cost, 4 nats at last.
    earned = dict(zip(names, (2.0, 9.0, 2.0, 1.5), strict=True))
    for _ in range(400):
        model(IMAGES)
        data = sum(-(earned[n] * g.theta).sum() / 100 for n, g in pruner.gates.items())
        (data + pruner.penalty()).backward()
        pruner.step()
        pruner.compact_(optimizer)
    assert list(pruner.gates) == names[:2]
    assert float(pruner.penalty().detach()) == pytest.approx(0.1 * (784 * 5 + 10 * 4 + 50) / 100)


def section() -> LayerGate:
    inside = torch.nn.Linear(5, 4), torch.nn.ReLU(), BernoulliGate(4), torch.nn.Linear(4, 5)
    return LayerGate(torch.nn.Sequential(*inside))


def test_a_mix_is_paid_in_all_its_currencies() -> None:
    model = network()
    mixed = pruner_of(model, 2.0, price={"weights": 0.5, "units": 3.0})
    first, second = (0.9 * gate.num_units for gate in mixed.gates.values())
    cost = 2.0 * (0.5 * (784 * first + first * second + 10 * second) + 3.0 * (first + second))
    assert float(mixed.penalty().detach()) == pytest.approx(cost / 100)
    assert mixed.hyper_priors == {}


def test_the_price_can_be_had_of_the_first_call() -> None:
    model = network()
    pruner = BernoulliPruner(model, 0.5, 100, price="weights")
    with pytest.raises(RuntimeError, match="has not been called yet"):
        pruner.penalty()
    loss = F.cross_entropy(model(IMAGES), LABELS) + pruner.penalty()
    loss.backward()
    pruner.step()
    assert pruner.steps == 1


def test_a_factor_of_the_price_leaves_the_worths_as_they_are() -> None:
    model = network()
    pruner = pruner_of(model)
    for _ in range(5):
        (F.cross_entropy(model(IMAGES), LABELS) + pruner.penalty()).backward()
        pruner.step()
    before = {name: value.clone() for name, value in pruner.worth().items()}
    penalty = float(pruner.penalty().detach())
    pruner.price_factor = 3.0
    assert float(pruner.penalty().detach()) == pytest.approx(3 * penalty)
    for name, value in pruner.worth().items():
        torch.testing.assert_close(value, before[name], rtol=1e-3, atol=1e-3)


def test_it_goes_on_from_a_state_as_if_it_had_not_stopped() -> None:
    def steps(model: torch.nn.Module, pruner: BernoulliPruner, seed: int) -> None:
        torch.manual_seed(seed)
        for _ in range(4):
            (F.cross_entropy(model(IMAGES), LABELS) + pruner.penalty()).backward()
            pruner.step()

    model = network()
    pruner = pruner_of(model, theta_step=0.01)
    steps(model, pruner, 1)
    other = network()
    resumed = pruner_of(other, theta_step=0.01)
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(pruner.state_dict())
    steps(model, pruner, 2)
    steps(other, resumed, 2)
    for name, gate in pruner.gates.items():
        assert torch.equal(gate.theta, resumed.gates[name].theta)
        assert torch.equal(gate.gradient_average, resumed.gates[name].gradient_average)


@pytest.mark.parametrize(
    ("log_gamma", "price", "message"),
    [
        (0.5, "bytes", r"price is 'bytes'; 'units', 'weights', 'macs', or so much of each"),
        (0.5, {"weights": -1.0}, r"finite numbers, 0 or more"),
        (0.5, {"weights": math.inf}, r"finite numbers, 0 or more"),
        (0.5, {"weights": 0.0}, r"nothing costs anything"),
        (0.5, {}, r"so much of each"),
        (Beta(1, 5), "weights", r"a number of nats for one of what is counted"),
        ({"gate1": 1.0, "gate2": 2.0}, "macs", r"the same for all gates"),
        (-0.5, "weights", r"log_gamma is -0.5; a finite number above 0"),
    ],
)
def test_a_price_that_cannot_be_is_refused(log_gamma: Any, price: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pruner_of(network(), log_gamma, price=price)
