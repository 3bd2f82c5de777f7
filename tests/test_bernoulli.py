"""Tests of pruning_core.bernoulli: the objective, the step on θ, and when a unit is dead."""

import copy
import gc
import io
import math
import warnings
import weakref
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.estimators import ExactSum
from pruning_core.export import export
from pruning_core.gates import BernoulliGate, InputGate
from pruning_core.hyperprior import Beta, Fixed, Flattening, HyperPrior
from pruning_core.inputs import Inputs
from pruning_core.models import lenet_300_100
from pruning_core.pathwise import StraightThrough


class TwoGates(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, 4)
        self.gate1 = BernoulliGate(4, theta=0.6)
        self.fc2 = nn.Linear(4, 2)
        self.gate2 = BernoulliGate(2, theta=0.7)
        self.fc3 = nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.gate1(torch.relu(self.fc1(inputs)))
        return self.fc3(self.gate2(torch.relu(self.fc2(hidden))))


@pytest.fixture
def net() -> TwoGates:
    torch.manual_seed(1)
    model = TwoGates().double()
    for parameter in model.parameters():
        parameter.data.mul_(2)
    return model


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randn(24, 3, dtype=torch.float64), torch.randint(2, (24,))


def exact_pruner(
    model: nn.Module, log_gamma: float | HyperPrior, num_examples: int, theta_step: float = 1e-3
) -> BernoulliPruner:
    return BernoulliPruner(
        model, log_gamma, num_examples, estimator=ExactSum(), smoothing=0, theta_step=theta_step
    )


def exact_step(pruner: BernoulliPruner, inputs: Tensor, labels: Tensor) -> Tensor:
    """The step on θ from one batch with the exact gradient; θ itself is put back."""
    before = [gate.theta.detach().clone() for gate in pruner.gates.values()]
    pruner.backward(
        lambda: F.cross_entropy(pruner.model(inputs), labels, reduction="none"), len(labels)
    )
    pruner.step()
    steps = []
    for gate, old in zip(pruner.gates.values(), before, strict=True):
        steps.append(gate.theta.detach() - old)
        gate.theta.data.copy_(old)
        gate.gradient_average.zero_()
    return torch.cat(steps)


def objective(model: TwoGates, pruner: BernoulliPruner, inputs: Tensor, labels: Tensor) -> float:
    """J in nats over the data set, by the exact sum."""
    loss = ExactSum().backward(
        list(pruner.gates.values()),
        lambda: F.cross_entropy(model(inputs), labels, reduction="none"),
        len(labels),
    )
    for gate in pruner.gates.values():
        gate.theta.grad = None
    return pruner.num_examples * float(loss + pruner.penalty().detach())


@pytest.mark.parametrize("unit", range(6))
def test_the_objective_is_affine_in_each_theta(
    net: TwoGates, data: tuple[Tensor, Tensor], unit: int
) -> None:
    pruner = exact_pruner(net, 3.0, 24)
    theta, index = (net.gate1.theta, unit) if unit < 4 else (net.gate2.theta, unit - 4)
    values = []
    for point in (0.0, 0.25, 0.5, 1.0):
        theta.data[index] = point
        values.append(objective(net, pruner, *data))
    slopes = [(values[i] - values[0]) / point for i, point in ((1, 0.25), (2, 0.5), (3, 1.0))]
    assert slopes == pytest.approx([slopes[0]] * 3, rel=1e-9)


@pytest.mark.parametrize("prior", [3.0, Fixed(0.1), Beta(2.0, 5.0)], ids=str)
def test_the_gradient_of_theta_is_that_of_the_objective(
    net: TwoGates, data: tuple[Tensor, Tensor], prior: float | HyperPrior
) -> None:
    pruner = exact_pruner(net, prior, 24)
    inputs, labels = data
    pruner.backward(lambda: F.cross_entropy(net(inputs), labels, reduction="none"), 24)
    gradients = [gate.theta.grad for gate in (net.gate1, net.gate2)]
    net.gate1.theta.grad = net.gate2.theta.grad = None
    for gate, gradient in zip((net.gate1, net.gate2), gradients, strict=True):
        assert gradient is not None
        for index in range(gate.num_units):
            ends = []
            for sign in (1, -1):
                gate.theta.data[index] += sign * 1e-5
                ends.append(objective(net, pruner, *data))
                gate.theta.data[index] -= sign * 1e-5
            expected = (ends[0] - ends[1]) / 2e-5
            assert 24 * float(gradient[index]) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_backward_and_the_penalty_in_the_loss_give_the_same_gradients(net: TwoGates) -> None:
    inputs, labels = torch.randn(9, 3).double(), torch.randint(2, (9,))
    pruner = BernoulliPruner(net, 4.0, 100, estimator=StraightThrough())
    net.train()
    results = []
    for method in (True, False):
        torch.manual_seed(0)
        net.zero_grad()
        if method:
            pruner.backward(lambda: F.cross_entropy(net(inputs), labels, reduction="none"), 9)
        else:
            (F.cross_entropy(net(inputs), labels) + pruner.penalty()).backward()
        results.append([net.gate1.theta.grad, net.gate2.theta.grad, net.fc1.weight.grad])
        net.gate1.theta.grad = net.gate2.theta.grad = net.fc1.weight.grad = None
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("size", [1, 4, 6, 12])
def test_the_expected_step_is_independent_of_the_batch_size(
    net: TwoGates, data: tuple[Tensor, Tensor], size: int
) -> None:
    inputs, labels = data
    pruner = exact_pruner(net, 3.0, 24)
    whole = exact_step(pruner, inputs, labels)
    parts = [
        exact_step(pruner, x, y)
        for x, y in zip(inputs.split(size), labels.split(size), strict=True)
    ]
    torch.testing.assert_close(torch.stack(parts).mean(0), whole)


def test_twice_the_data_make_every_unit_worth_twice_as_much(
    net: TwoGates, data: tuple[Tensor, Tensor]
) -> None:
    """log γ is in nats over the data set: the same examples twice weigh as log γ / 2 would once."""
    inputs, labels = data
    once = exact_step(exact_pruner(net, 3.0, 24), inputs, labels)
    twice = exact_pruner(net, 6.0, 48)
    torch.testing.assert_close(exact_step(twice, inputs.repeat(2, 1), labels.repeat(2)), once)
    # A batch from the larger set is not twice as large; what it says is scaled by N.
    torch.testing.assert_close(exact_step(twice, inputs, labels), once)

    same_price = exact_step(exact_pruner(net, 3.0, 48), inputs, labels)
    fall = -1e-3  # of a unit worth nothing
    torch.testing.assert_close(same_price - fall, 2 * (once - fall))


def test_the_step_is_the_difference_of_losses_less_the_price(
    net: TwoGates, data: tuple[Tensor, Tensor]
) -> None:
    """A unit's θ rises exactly when it is worth more than log γ nats over the data set."""
    pruner = exact_pruner(net, 3.0, 24)
    pruner.backward(lambda: F.cross_entropy(net(data[0]), data[1], reduction="none"), 24)
    pruner.step()
    worths, expected = torch.cat(list(pruner.worth().values())), []
    net.gate1.theta.data.fill_(0.6)
    net.gate2.theta.data.fill_(0.7)
    free = exact_pruner(net, 1e-9, 24)
    for gate in (net.gate1, net.gate2):
        for index in range(gate.num_units):
            old, ends = float(gate.theta.detach()[index]), []
            for value in (0.0, 1.0):
                gate.theta.data[index] = value
                ends.append(objective(net, free, *data))
            gate.theta.data[index] = old
            expected.append(ends[0] - ends[1])
    torch.testing.assert_close(worths, torch.tensor(expected).double(), rtol=1e-6, atol=1e-6)
    steps = exact_step(exact_pruner(net, 3.0, 24), *data)
    torch.testing.assert_close(steps, 1e-3 * (worths - 3.0) / 3.0, rtol=1e-6, atol=1e-9)


def test_theta_stays_in_the_unit_interval(net: TwoGates) -> None:
    pruner = BernoulliPruner(net, 3.0, 10, theta_step=1.0, smoothing=0)
    net(torch.randn(2, 3).double())
    for gate in pruner.gates.values():
        gate.theta.grad = torch.full_like(gate.theta, 50.0)
    net.gate2.theta.grad = torch.full_like(net.gate2.theta, -50.0)
    pruner.step()
    assert net.gate1.theta.tolist() == [0.0] * 4
    assert net.gate2.theta.tolist() == [1.0] * 2
    assert net.gate1.theta.grad is None


@pytest.mark.parametrize("log_gamma", [1.5, 20.0, 300.0])
@pytest.mark.parametrize("batch_size", [3, 16])
@pytest.mark.parametrize("smoothing", [0.0, 0.95])
def test_a_worthless_unit_crosses_in_one_over_theta_step_steps(
    log_gamma: float, batch_size: int, smoothing: float
) -> None:
    """An input pixel that is always black, for any log γ and batch size."""
    torch.manual_seed(0)
    gate = InputGate(3, theta=1.0)
    model = nn.Sequential(gate, nn.Linear(3, 2)).train()
    pruner = BernoulliPruner(model, log_gamma, 1_000, theta_step=1 / 200, smoothing=smoothing)
    steps = 0
    while float(gate.theta.detach()[1]) > 0 and steps < 1_000:
        inputs, labels = torch.rand(batch_size, 3), torch.randint(2, (batch_size,))
        inputs[:, 1] = 0
        (F.cross_entropy(model(inputs), labels) + pruner.penalty()).backward()
        pruner.step()
        steps += 1
    delay = smoothing / (1 - smoothing)  # of the running average
    assert steps == pytest.approx(200 + delay, abs=2)


def test_every_gate_can_have_its_own_price(net: TwoGates) -> None:
    pruner = BernoulliPruner(net, {"gate1": 2.0, "gate2": Flattening(30.0)}, 10)
    net.gate1.theta.data.fill_(0.5)
    net.gate2.theta.data.fill_(0.25)
    assert 10 * float(pruner.penalty().detach()) == pytest.approx(4 * 0.5 * 2 + 2 * 0.25 * 30)
    pruner.penalty().backward()
    assert net.gate1.theta.grad is not None
    assert net.gate2.theta.grad is not None
    assert net.gate1.theta.grad.tolist() == pytest.approx([0.2] * 4)
    assert net.gate2.theta.grad.tolist() == pytest.approx([3.0] * 2)


def test_a_part_of_the_price_scales_the_cost_but_not_the_worth(
    net: TwoGates, data: tuple[Tensor, Tensor]
) -> None:
    pruner = exact_pruner(net, 3.0, 24)
    full = exact_step(pruner, *data)
    cost = float(pruner.penalty().detach())
    pruner.price_scale = 0.25
    assert float(pruner.penalty().detach()) == pytest.approx(0.25 * cost)
    # The step of a unit is theta_step · (worth − price) / log γ: the worth is as before.
    torch.testing.assert_close(exact_step(pruner, *data), full + 1e-3 * 0.75)

    worths = []
    for scale in (1.0, 0.25):
        pruner.price_scale = scale
        pruner.backward(lambda: F.cross_entropy(net(data[0]), data[1], reduction="none"), 24)
        for gate in pruner.gates.values():
            assert gate.theta.grad is not None
            gate.gradient_average.copy_(gate.theta.grad)
            gate.theta.grad = None
        worths.append(torch.cat(list(pruner.worth().values())))
    torch.testing.assert_close(worths[0], worths[1])


def test_a_price_that_changes_while_training_is_as_if_it_had_always_been_that(
    net: TwoGates, data: tuple[Tensor, Tensor]
) -> None:
    other = copy.deepcopy(net)
    changed, given = BernoulliPruner(net, 2.0, 24), BernoulliPruner(other, 5.0, 24)
    for _ in range(3):
        for pruner in (changed, given):
            torch.manual_seed(0)
            (F.cross_entropy(pruner.model(data[0]), data[1]) + pruner.penalty()).backward()
            for gate in pruner.gates.values():
                gate.theta.data.fill_(0.7)  # only the averages and prices may differ
            pruner.step()
    gates = list(zip(changed.gates.values(), given.gates.values(), strict=True))
    worth = changed.worth()
    changed.price_factor = 2.5
    for name, value in changed.worth().items():
        torch.testing.assert_close(value, worth[name])
    warmed = 1 - 0.99**3  # of an average that has begun at 0
    for mine, theirs in gates:
        torch.testing.assert_close(
            mine.gradient_average, theirs.gradient_average + 3 * (1 - warmed) / 24
        )
        mine.gradient_average.copy_(theirs.gradient_average)
        theirs.theta.data.copy_(mine.theta)
    assert float(changed.penalty().detach()) == pytest.approx(float(given.penalty().detach()))
    for pruner in (changed, given):
        torch.manual_seed(1)
        (F.cross_entropy(pruner.model(data[0]), data[1]) + pruner.penalty()).backward()
        pruner.step()
    for mine, theirs in gates:
        torch.testing.assert_close(mine.theta, theirs.theta)
    resumed = BernoulliPruner(copy.deepcopy(net), 2.0, 24)
    resumed.load_state_dict(changed.state_dict())
    assert resumed.price_factor == 2.5
    dead = {name: mask.tolist() for name, mask in changed.dead_units().items()}
    assert dead == {name: mask.tolist() for name, mask in given.dead_units().items()}


def test_a_price_that_cannot_change_is_refused(net: TwoGates) -> None:
    with pytest.raises(ValueError, match=r"price_factor is 0; a finite number above 0"):
        BernoulliPruner(net, 2.0, 24).price_factor = 0
    with pytest.raises(ValueError, match=r"'gate2' has the hyper-prior Fixed.*only the price of"):
        BernoulliPruner(net, {"gate1": 2.0, "gate2": Fixed(0.1)}, 24).price_factor = 2


@pytest.mark.parametrize("names", [("gate1",), ("gate1", "gate2", "gate9"), ()])
def test_prices_by_gate_must_name_every_gate(net: TwoGates, names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"log_gamma names the gates \[.*the model has \['gate1'"):
        BernoulliPruner(net, dict.fromkeys(names, 2.0), 10)


@pytest.mark.parametrize("prior", [Fixed(0.1), Beta(1.0, 5.0), Beta(5.0, 1.0)], ids=str)
def test_theta_survives_the_ends_of_the_interval_under_other_priors(
    net: TwoGates, prior: HyperPrior
) -> None:
    pruner = BernoulliPruner(net, prior, 24, theta_step=0.1)
    net.gate1.theta.data.copy_(torch.tensor([0.0, 1.0, 0.0, 1.0]))
    for _ in range(3):
        (net.train()(torch.randn(24, 3).double()).square().mean() + pruner.penalty()).backward()
        pruner.step()
    assert bool(net.gate1.theta.isfinite().all())


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_the_optimizer_of_the_weights_leaves_theta_alone(
    net: TwoGates, optimizer: type[torch.optim.Adam]
) -> None:
    weights = optimizer(net.parameters(), lr=0.5, weight_decay=0.3)
    before, theta = net.fc1.weight.detach().clone(), net.gate1.theta.detach().clone()
    net.train()(torch.randn(5, 3).double()).square().mean().backward()
    weights.step()
    weights.zero_grad()
    assert not torch.equal(net.fc1.weight, before)
    assert torch.equal(net.gate1.theta, theta)
    assert net.gate1.theta.grad is not None


def test_the_last_unit_of_a_layer_is_kept_with_a_warning() -> None:
    model = lenet_300_100((6, 5))
    pruner = BernoulliPruner(model, 5.0, 100, example_inputs=torch.rand(4, 1, 28, 28))
    gate = model.get_submodule("gate2")
    assert isinstance(gate, BernoulliGate)
    gate.theta.data.copy_(torch.tensor([0.0, 0.0, 0.01, 0.0, 0.0]))
    gate.theta_average.zero_()
    gate.gradient_average.fill_(5.0 / 100)  # worth nothing
    told = (
        "last units of gate 'gate2' .* unit 2 is kept.*0.01 after 0 steps.*log_gamma is too large"
    )
    with pytest.warns(UserWarning, match=told):
        assert pruner.compact_() == 4
    assert gate.unit_index.tolist() == [2]
    assert gate.theta.tolist() == [1.0]
    gate.theta.data.zero_()
    with pytest.warns(UserWarning, match="gate 'gate2'.*unit 2 is kept"):
        assert pruner.settle_() == 0
    assert model(torch.rand(3, 1, 28, 28)).shape == (3, 10)


def test_a_layer_that_had_not_decided_when_theta_was_rounded_is_said_to_lack_steps() -> None:
    model, images = lenet_300_100((6, 5), theta=0.45), torch.rand(4, 1, 28, 28)
    pruner = BernoulliPruner(model, 5.0, 100, example_inputs=images)
    (F.cross_entropy(model(images), torch.arange(4)) + pruner.penalty()).backward()
    pruner.step()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pruner.round_()
    assert len(caught) == 2
    for name, warned in zip(("gate1", "gate2"), caught, strict=True):
        assert f"gate '{name}'" in str(warned.message)
        assert "largest θ is 0.45 after 1 steps of 0.00067; so it had not" in str(warned.message)


def test_settling_rounds_theta_and_removes_what_is_closed() -> None:
    model = lenet_300_100((6, 5))
    pruner = BernoulliPruner(model, 5.0, 100, example_inputs=torch.rand(4, 1, 28, 28))
    gate1, gate2 = pruner.gates.values()
    gate1.theta.data.copy_(torch.tensor([0.1, 0.5, 0.49, 1.0, 0.97, 0.0]))
    gate2.theta.data.fill_(0.99)
    assert pruner.undecided() == {"gate1": 4, "gate2": 0}
    outputs = model.eval()(images := torch.rand(3, 1, 28, 28))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pruner.settle_() == 3
    assert gate1.unit_index.tolist() == [1, 3, 4]
    assert gate1.theta.tolist() == [1.0] * 3
    assert gate2.theta.tolist() == [1.0] * 5
    torch.testing.assert_close(model(images), outputs)


def test_a_unit_that_is_worth_its_price_is_not_dead_however_small_its_theta(net: TwoGates) -> None:
    pruner = BernoulliPruner(net, 10.0, 100)
    gate = net.gate1
    gate.theta.data.copy_(torch.tensor([0.0, 0.0, 0.0, 0.5]))
    gate.theta_average.copy_(torch.tensor([0.0, 0.0, 0.5, 0.0]))
    worth = torch.tensor([12.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    gate.gradient_average.copy_((10.0 - worth) / 100)
    torch.testing.assert_close(pruner.worth()["gate1"], worth)
    assert pruner.dead_units()["gate1"].tolist() == [False, True, False, False]
    assert not bool(pruner.dead_units()["gate2"].any())


def flow(
    start: tuple[float, float], kappa: float, log_gamma: float, kind: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """ẇ = −θ ∂L/∂w, θ̇ = −(ΔL + log γ) from (θ, ‖w‖) until θ is 0, or 1; the adversary has κ."""
    rng = np.random.default_rng(seed)
    direction, frequency, phase = rng.normal(size=3), rng.uniform(0.5, 20, 4), rng.uniform(0, 6, 4)

    def field(t: float, state: np.ndarray) -> np.ndarray:
        theta, w = state[0], state[1:]
        size = np.linalg.norm(w)
        if kind == "worst":  # pushes w outwards, and says that the unit is worth all it can be
            gradient, difference = -kappa * w / size, -kappa * size
        else:
            noise = np.sin(frequency * t + phase)
            gradient = kappa * noise[:3] / max(np.linalg.norm(noise[:3]), 1)
            difference = kappa * size * noise[3]
        return np.concatenate([[-(difference + log_gamma)], -theta * gradient])

    def decided(t: float, state: np.ndarray) -> float:
        return state[0] * (1 + 1e-9 - state[0])

    setattr(decided, "terminal", True)  # noqa: B010 (a function has no such attribute for pyright)
    w = start[1] * direction / np.linalg.norm(direction)
    solution = solve_ivp(field, (0, 200), [start[0], *w], events=decided, rtol=1e-9, atol=1e-12)
    return solution.y[0], np.linalg.norm(solution.y[1:], axis=0)


@pytest.mark.parametrize("kind", ["worst", "random"])
@pytest.mark.parametrize("seed", range(8))
def test_the_region_of_attraction_is_invariant_and_theta_dies_in_it(kind: str, seed: int) -> None:
    """{κθ + κ‖w‖ < log γ} for any ∂L/∂w and ΔL within the bounds; E does not increase."""
    rng = np.random.default_rng(seed)
    log_gamma = rng.uniform(0.5, 5)
    kappa = log_gamma * rng.uniform(1.0, 20)
    total = rng.uniform(0.2, 0.98) * log_gamma / kappa
    theta = total * rng.uniform(0.05, 0.95)
    thetas, sizes = flow((theta, total - theta), kappa, log_gamma, kind, seed)
    assert bool((kappa * (thetas + sizes) < log_gamma).all())
    assert thetas[-1] == pytest.approx(0, abs=1e-9)
    energy = kappa * thetas**2 / 2 + sizes * log_gamma - kappa * sizes**2 / 2
    assert bool((np.diff(energy) <= 1e-7 * energy[0]).all())


def test_outside_the_region_a_unit_can_return() -> None:
    log_gamma, kappa = 1.0, 4.0
    thetas, sizes = flow((0.2, 0.2), kappa, log_gamma, "worst", 0)
    assert kappa * (thetas[0] + sizes[0]) > log_gamma
    assert thetas[-1] >= 1
    assert float(thetas.min()) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_examples": 0}, "num_examples is 0;"),
        ({"theta_step": 0.0}, r"theta_step is 0\.0;"),
        ({"theta_step": 1.5}, r"theta_step is 1\.5;"),
        ({"theta_step": math.nan}, "theta_step is nan;"),
        ({"smoothing": 1.0}, r"smoothing is 1\.0;"),
        ({"smoothing": -0.5}, r"smoothing is -0\.5;"),
        ({"log_gamma": 0.0}, r"log_gamma is 0\.0;.*γ > 1"),
        ({"log_gamma": -3}, r"log_gamma is -3\.0;"),
    ],
)
def test_a_number_out_of_range_is_named(
    net: TwoGates, arguments: dict[str, float], message: str
) -> None:
    options = {"log_gamma": 5.0, "num_examples": 10, **arguments}
    with pytest.raises(ValueError, match=message):
        BernoulliPruner(net, **options)


def test_a_step_without_a_gradient_is_an_error(net: TwoGates) -> None:
    pruner = BernoulliPruner(net, 5.0, 10)
    with pytest.raises(RuntimeError, match=r"has no gradient; call loss\.backward"):
        pruner.step()
    net(torch.randn(2, 3).double())
    with pytest.raises(RuntimeError, match=r"θ of gate 'gate1' has no gradient"):
        pruner.step()
    net.eval()(torch.randn(2, 3).double()).sum().backward()


def test_compacting_before_the_first_batch_is_an_error(net: TwoGates) -> None:
    pruner = BernoulliPruner(net, 5.0, 10)
    net.gate1.theta.data[:2] = 0
    with pytest.raises(RuntimeError, match="has not been called yet; train before, or"):
        pruner.settle_()


def test_the_first_inputs_the_model_is_called_with_serve_as_the_example() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), BernoulliGate(4), nn.Linear(4, 2)).train()
    pruner = BernoulliPruner(model, 5.0, 10)
    model(torch.rand(50, 3))
    model(torch.rand(7, 3))
    gate = model[2]
    assert isinstance(gate, BernoulliGate)
    gate.theta.data[0] = 0
    assert pruner.settle_() == 1
    assert model.training
    assert gate.unit_index.tolist() == [1, 2, 3]


def small_network(units: int = 24) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, units), nn.ReLU(), BernoulliGate(units), nn.Linear(units, 2))


def small_batch(step: int) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(step))
    return inputs, (inputs[:, 0] * inputs[:, 1] > 0).long()


def test_the_loop_of_the_readme_follows_the_recipe_to_the_end() -> None:
    """Ramp, window, rounding, removal, deterministic last steps: nothing but compact_ is called."""
    model = small_network()
    gate = model[2]
    assert isinstance(gate, BernoulliGate)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    pruner = BernoulliPruner(
        model, 60.0, 5_000, theta_step=1 / 100, total_steps=1_200, ramp_steps=60
    )
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    removed, sizes, looks = 0, [], 0
    dead_units = pruner.dead_units

    def counted() -> dict[str, Tensor]:
        nonlocal looks
        looks += 1
        return dead_units()

    pruner.dead_units = counted
    for step in range(1_200):
        if not pruner.is_settled:
            assert pruner.price_scale == min(1.0, step / 60)
            assert 1 / (1 - pruner.smoothing) == pytest.approx(max(100, step / 10))
        assert pruner.is_settled == (step >= 1_000)
        inputs, labels = small_batch(step)
        loss = F.cross_entropy(model(inputs), labels) + pruner.penalty()
        optimizer.zero_grad()
        pruner.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.step(pruner)
        scaler.update()
        removed += pruner.compact_(optimizer)
        sizes.append(gate.num_units)
        if step + 1 == 1_000:  # this was the last step on θ
            assert set(gate.theta.tolist()) == {1.0}
    assert looks == 84  # after steps 1, 13, …, 997; when θ has settled there is no need
    assert 0 < removed == 24 - gate.num_units < 24
    assert sizes[998] < 24, "units leave while θ moves"
    assert len(set(sizes[1_000:])) == 1
    inputs, labels = small_batch(99)
    assert torch.equal(model.train()(inputs), model.eval()(inputs))
    assert float((model(inputs).argmax(1) == labels).float().mean()) > 0.85
    penalty = pruner.penalty()
    assert float(penalty) == 0
    assert not penalty.requires_grad
    torch.testing.assert_close(export(model)(inputs), model(inputs))


def test_a_step_settles_where_nothing_is_ever_compacted() -> None:
    model = small_network()
    gate = model[2]
    assert isinstance(gate, BernoulliGate)
    pruner = BernoulliPruner(
        model, 5.0, 100, theta_step=1 / 10, smoothing=0.0, total_steps=700, settle_at=600
    )
    gate.theta.data[:4] = torch.tensor([0.1, 0.3, 0.6, 0.9])
    pruner.steps = 599
    (F.cross_entropy(model(small_batch(0)[0]), small_batch(0)[1]) + pruner.penalty()).backward()
    pruner.step()
    assert gate.is_settled
    assert gate.num_units == 24
    assert set(gate.theta.tolist()) == {0.0, 1.0}
    assert gate.theta[0] == 0
    inputs = small_batch(1)[0]
    closed = gate.theta == 0
    assert not bool(model[:3].train()(inputs)[:, closed].any())
    outputs = model(inputs)
    before = gate.theta.clone()
    F.cross_entropy(model(inputs), small_batch(1)[1]).backward()
    pruner.step()
    assert torch.equal(gate.theta, before)
    assert pruner.compact_() == int(closed.sum())
    torch.testing.assert_close(model(inputs), outputs)
    assert pruner.compact_() == 0


def test_a_settled_model_is_settled_where_it_is_loaded() -> None:
    model = small_network()
    BernoulliPruner(model, 5.0, 100, example_inputs=small_batch(0)[0]).settle_()
    other = small_network()
    other.load_state_dict(model.state_dict())
    pruner = BernoulliPruner(other, 5.0, 100)
    assert pruner.is_settled
    assert float(pruner.penalty()) == 0


def test_a_look_costs_nothing_between_two_looks() -> None:
    model = small_network()
    gate = model[2]
    assert isinstance(gate, BernoulliGate)
    pruner = BernoulliPruner(model, 5.0, 100, example_inputs=small_batch(0)[0], look_every=10)
    assert pruner.compact_() == 0
    gate.theta.data[:2] = gate.theta_average[:2] = 0.0
    gate.gradient_average[:2] = 5.0 / 100
    pruner.steps = 9
    assert pruner.compact_() == 0
    pruner.steps = 10
    assert pruner.compact_() == 2


def test_a_run_too_short_to_remove_anything_is_announced() -> None:
    with pytest.warns(UserWarning, match=r"θ moves for 250.*0\.9 it takes \d+ by.* train for"):
        BernoulliPruner(small_network(), 5.0, 100, total_steps=300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BernoulliPruner(small_network(), 5.0, 100, total_steps=3_000)


def test_settling_after_too_few_steps_says_how_many_it_takes() -> None:
    model = small_network()
    pruner = BernoulliPruner(model, 5.0, 100)
    for step in range(3):
        inputs, labels = small_batch(step)
        (F.cross_entropy(model(inputs), labels) + pruner.penalty()).backward()
        pruner.step()
    needed = pruner.recipe.steps_to_remove(0.9, 1 / 1500)
    assert 1_305 < needed < 1_800
    with pytest.warns(UserWarning, match=r"θ moves for 3,.*train for 1[3-7]\d\d steps in all"):
        assert pruner.settle_() == 0


class Forms(nn.Module):
    """Takes its images in many forms."""

    def __init__(self) -> None:
        super().__init__()
        self.body = small_network()

    def forward(
        self,
        pixels: Tensor | dict[str, Tensor] | list[Tensor],
        labels: Tensor | None = None,
    ) -> Tensor:
        if isinstance(pixels, dict):
            pixels = pixels["x"]
        if isinstance(pixels, list):
            pixels = torch.stack(pixels)
        return self.body(pixels) if labels is None else self.body(pixels) + labels[:, None]


x = small_batch(0)[0]
CALLS: dict[str, Inputs] = {
    "tensor": Inputs(x),
    "keyword": Inputs(pixels=x),
    "dict": Inputs({"x": x}),
    "list": Inputs(list(x)),
    "both": Inputs(x, labels=torch.arange(64)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_however_the_model_is_called_its_units_can_leave(call: Inputs) -> None:
    model = Forms()
    pruner = BernoulliPruner(model, 5.0, 100)
    call.call(model)
    gate = pruner.gates["body.2"]
    gate.theta.data[:5] = 0.0
    outputs = call.call(model.eval())
    assert pruner.settle_() == 5
    torch.testing.assert_close(call.call(model), outputs)


@pytest.mark.parametrize(
    "given", [x, (x,), {"pixels": x}, Inputs(x)], ids=lambda g: type(g).__name__
)
def test_examples_may_be_given_in_every_form(given: Any) -> None:
    model = Forms()
    pruner = BernoulliPruner(model, 5.0, 100, example_inputs=given)
    pruner.gates["body.2"].theta.data[:5] = 0.0
    assert pruner.settle_() == 5


def test_examples_of_another_kind_are_refused() -> None:
    with pytest.raises(TypeError, match="the example inputs are a list; a tensor, a tuple"):
        BernoulliPruner(Forms(), 5.0, 100, example_inputs=list(x))  # pyright: ignore[reportArgumentType]


def test_a_watched_model_can_be_saved_and_copied_and_a_copy_is_not_watched() -> None:
    model = Forms()
    pruner = BernoulliPruner(model, 5.0, 100)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    for other in (loaded, copy.deepcopy(model)):
        other(x[:1])
    pruner.gates["body.2"].theta.data[:5] = 0.0
    with pytest.raises(RuntimeError, match="has not been called yet"):
        pruner.settle_()
    model(x)
    assert pruner.settle_() == 5


def test_a_watched_model_outlives_its_pruner() -> None:
    model = Forms()
    pruner = BernoulliPruner(model, 5.0, 100)
    alive = weakref.ref(pruner)
    del pruner
    gc.collect()
    assert alive() is None
    assert model(x).shape == (64, 2)


def test_a_pruner_of_a_wrapped_model_names_the_gates_as_the_model_does() -> None:
    model = small_network()
    pruner = BernoulliPruner(torch.optim.swa_utils.AveragedModel(model), 5.0, 100)
    assert list(pruner.gates) == ["2"]


def test_averages_of_the_model_lose_the_same_units() -> None:
    model = small_network()
    average = torch.optim.swa_utils.AveragedModel(model)
    pruner = BernoulliPruner(model, 5.0, 100, example_inputs=x)
    gate = pruner.gates["2"]
    gate.theta.data[:2] = gate.theta_average[:2] = 0.0
    gate.gradient_average[:2] = 5.0 / 100
    assert pruner.compact_(copies=[average]) == 2
    gate.theta.data[:3] = 0.0
    assert pruner.settle_(copies=[average]) == 3
    average.update_parameters(model)
    assert average.module.get_parameter("0.weight").shape == (19, 4)
