"""Tests of pruning_core.estimators: bias, against the exact sum and an enumeration of its own."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.estimators import (
    ESTIMATORS,
    MAX_EXACT_UNITS,
    DisARM,
    Estimator,
    ExactSum,
    Reinforce,
    SplitBatch,
)
from pruning_core.gates import BernoulliGate, named_gates
from pruning_core.pathwise import IntegratedGates, Pathwise, StraightThrough

REPEATS = 1_000
CHUNKS = 60


class SmallNet(nn.Module):
    """3 inputs, 5 and 3 gated units, 3 classes; its weights are large, so that gates interact."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, 5)
        self.gate1 = BernoulliGate(5)
        self.fc2 = nn.Linear(5, 3)
        self.gate2 = BernoulliGate(3)
        self.fc3 = nn.Linear(3, 3)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(3)
            self.gate1.theta.copy_(torch.tensor([0.2, 0.5, 0.7, 0.9, 0.35]))
            self.gate2.theta.copy_(torch.tensor([0.6, 0.25, 0.8]))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.gate1(torch.tanh(self.fc1(inputs)))
        return self.fc3(self.gate2(torch.relu(self.fc2(hidden) + 1)))


class OneGate(nn.Module):
    """A strongly curved loss along the only gate."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3.0))
        self.gate = BernoulliGate(1, theta=0.7)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([self.scale * self.gate(inputs), torch.zeros_like(inputs)], 1)


@pytest.fixture
def net() -> SmallNet:
    torch.manual_seed(3)
    return SmallNet()


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(4)
    return torch.randn(4, 3), torch.tensor([0, 1, 2, 1])


def gradients(
    model: nn.Module,
    estimator: Estimator,
    inputs: Tensor,
    labels: Tensor,
    names: tuple[str, ...] = (),
) -> Tensor:
    """One estimate of the gradients in every θ, and in the parameters named, as one vector."""
    gates = list(named_gates(model).values())
    parameters = [model.get_parameter(name) for name in names]
    model.zero_grad()
    for gate in gates:
        gate.theta.grad = None
        if isinstance(estimator, Pathwise):
            gate.estimator = estimator
    estimator.backward(
        gates, lambda: F.cross_entropy(model(inputs), labels, reduction="none"), len(labels)
    )
    found = [gate.theta.grad for gate in gates] + [parameter.grad for parameter in parameters]
    return torch.cat([g.flatten() for g in found if g is not None])


def mean_and_error(
    model: nn.Module,
    estimator: Estimator,
    data: tuple[Tensor, Tensor],
    names: tuple[str, ...] = (),
) -> tuple[Tensor, Tensor]:
    """Monte-Carlo mean and its standard error; every copy of an example draws gates of its own."""
    torch.manual_seed(5)
    model.train()
    inputs, labels = data[0].repeat(REPEATS, 1), data[1].repeat(REPEATS)
    order = torch.randperm(len(labels))
    inputs, labels = inputs[order], labels[order]
    samples = [gradients(model, estimator, inputs, labels, names).double() for _ in range(CHUNKS)]
    chunks = torch.stack(samples)
    return chunks.mean(0), chunks.std(0) / math.sqrt(CHUNKS)


def bias_in_errors(
    model: nn.Module, estimator: Estimator, data: tuple[Tensor, Tensor], names: tuple[str, ...] = ()
) -> Tensor:
    exact = gradients(model, ExactSum(), *data, names=names).double()
    mean, error = mean_and_error(model, estimator, data, names)
    return (mean - exact).abs() / error


def bias(model: nn.Module, estimator: Estimator, data: tuple[Tensor, Tensor]) -> float:
    """Root mean square over the gates."""
    exact = gradients(model, ExactSum(), *data).double()
    mean, _ = mean_and_error(model, estimator, data)
    return float((mean - exact).square().mean().sqrt())


def expected_loss(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Σ_ξ p(ξ) L(ξ), enumerated without help from the module under test."""
    gates = list(named_gates(model).values())
    thetas = [float(theta) for gate in gates for theta in gate.theta.detach()]
    total = 0.0
    for mask in itertools.product((0.0, 1.0), repeat=len(thetas)):
        probability = math.prod(t if on else 1 - t for t, on in zip(thetas, mask, strict=True))
        values, start = torch.tensor([mask], dtype=inputs.dtype), 0
        saved = [gate.hold(values) for gate in gates]
        for index, gate in enumerate(gates):
            saved[index] = gate.hold(values[:, start : start + gate.num_units])
            saved[index].__enter__()
            start += gate.num_units
        with torch.no_grad():
            total += probability * float(F.cross_entropy(model(inputs), labels))
        for context in saved:
            context.__exit__(None, None, None)
    return total


def central_difference(tensor: Tensor, index: int, loss: Callable[[], float]) -> float:
    flat, step = tensor.detach().view(-1), 1e-5
    ends = []
    for sign in (1, -1):
        flat[index] += sign * step
        ends.append(loss())
        flat[index] -= sign * step
    return (ends[0] - ends[1]) / (2 * step)


def test_the_exact_sum_is_the_finite_difference_of_the_expected_loss(
    net: SmallNet, data: tuple[Tensor, Tensor]
) -> None:
    net.double()
    inputs, labels = data[0].double(), data[1]
    found = gradients(net, ExactSum(), inputs, labels, ("fc1.weight", "fc3.bias"))
    tensors = [net.gate1.theta, net.gate2.theta, net.fc1.weight, net.fc3.bias]
    expected = [
        central_difference(tensor, index, lambda: expected_loss(net, inputs, labels))
        for tensor in tensors
        for index in range(tensor.numel())
    ]
    torch.testing.assert_close(found, torch.tensor(expected).double(), rtol=1e-6, atol=1e-9)


def test_the_exact_sum_is_the_expected_loss(net: SmallNet, data: tuple[Tensor, Tensor]) -> None:
    gates = [net.gate1, net.gate2]
    loss = ExactSum().backward(
        gates, lambda: F.cross_entropy(net(data[0]), data[1], reduction="none"), 4
    )
    assert float(loss) == pytest.approx(expected_loss(net, *data), rel=1e-5)


@pytest.mark.parametrize("theta", [0.0, 1.0])
def test_the_exact_sum_holds_at_the_ends_of_the_interval(
    net: SmallNet, data: tuple[Tensor, Tensor], theta: float
) -> None:
    net.double()
    net.gate1.theta.data[2] = theta
    inputs, labels = data[0].double(), data[1]
    found = gradients(net, ExactSum(), inputs, labels)[2]
    ends = []
    for value in (0.0, 1.0):  # affine in θ_i: the slope is the difference of the ends
        net.gate1.theta.data[2] = value
        ends.append(expected_loss(net, inputs, labels))
    assert float(found) == pytest.approx(ends[1] - ends[0], rel=1e-9)


@pytest.mark.parametrize(
    "estimator", [Reinforce(2), Reinforce(5), DisARM()], ids=["two samples", "five", "disarm"]
)
def test_score_function_estimators_are_unbiased_in_theta_and_weights(
    net: SmallNet, data: tuple[Tensor, Tensor], estimator: Estimator
) -> None:
    names = ("fc1.weight", "fc2.bias", "fc3.weight")
    assert estimator.unbiased
    assert float(bias_in_errors(net, estimator, data, names).max()) < 4.5


def test_straight_through_is_significantly_biased_in_theta_but_not_in_the_weights(
    net: SmallNet, data: tuple[Tensor, Tensor]
) -> None:
    names = ("fc1.weight", "fc2.bias", "fc3.weight")
    bias = bias_in_errors(net, StraightThrough(), data, names)
    assert not StraightThrough.unbiased
    assert float(bias[:8].max()) > 30
    assert float(bias[8:].max()) < 4.5


@pytest.mark.parametrize("fraction", [1.0, 0.5, 0.25, 0.1])
def test_integrated_gates_are_unbiased_for_a_single_gate(fraction: float) -> None:
    data = torch.tensor([[0.5], [1.5], [-1.0], [2.0]]), torch.tensor([0, 1, 0, 1])
    model = OneGate()
    assert float(bias_in_errors(model, IntegratedGates(fraction), data).max()) < 4.5
    assert float(bias_in_errors(model, StraightThrough(), data).max()) > 6


@pytest.mark.parametrize("draws", [1, 2])
def test_shared_draws_estimate_the_same_gradient(
    net: SmallNet, data: tuple[Tensor, Tensor], draws: int
) -> None:
    """Against draws of each example's own: both are of the mixture, see test_mixture.py."""
    own, error = mean_and_error(net, IntegratedGates(), data)
    estimator = IntegratedGates(draws=draws)
    shared = torch.stack([gradients(net, estimator, *data).double() for _ in range(2_000)])
    spread = (shared.var(0) / len(shared) + error**2).sqrt()
    assert float(((shared.mean(0) - own) / spread).abs().max()) < 4.5


def test_the_bias_of_integrated_gates_vanishes_with_the_fraction(
    net: SmallNet, data: tuple[Tensor, Tensor]
) -> None:
    always, often, rarely = (bias(net, IntegratedGates(f), data) for f in (1.0, 0.25, 0.02))
    assert rarely < 0.5 * often < 0.5 * 0.5 * always
    assert not IntegratedGates.unbiased
    assert float(bias_in_errors(net, IntegratedGates(1.0), data).max()) > 10


def test_integrated_gates_are_less_biased_than_straight_through(
    net: SmallNet, data: tuple[Tensor, Tensor]
) -> None:
    straight_through = bias(net, StraightThrough(), data)
    assert bias(net, IntegratedGates(), data) < 0.6 * straight_through
    assert bias(net, IntegratedGates(1 / 16), data) < 0.25 * straight_through


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_split_batch_is_exact_for_j_in_the_weights_and_for_the_mixture_in_theta(
    net: SmallNet, data: tuple[Tensor, Tensor], share: float
) -> None:
    names = ("fc1.weight", "fc2.bias", "fc3.weight")
    estimator = SplitBatch(share, 0.5)
    assert float(bias_in_errors(net, estimator, data, names)[8:].max()) < 4.5
    assert float(bias_in_errors(net, IntegratedGates(0.5), data, names)[8:].max()) > 10
    mixed, error = mean_and_error(net, IntegratedGates(0.5), data)
    split, split_error = mean_and_error(net, estimator, data)
    away = (mixed - split).abs() / (error.square() + split_error.square()).sqrt()
    assert float(away.max()) < 4.5
    assert float(bias_in_errors(net, estimator, data)[:8].max()) > 8


def test_a_split_batch_takes_its_examples_anew_and_each_once(net: SmallNet) -> None:
    """θ from one example, the weights from the other: never both gradients from the same one."""
    inputs = torch.ones(2, 3)
    seen = set()
    for _ in range(20):
        leaf = torch.zeros(2, requires_grad=True)
        for gate in (net.gate1, net.gate2):
            gate.theta.grad = None

        def losses(leaf: Tensor = leaf) -> Tensor:
            return F.cross_entropy(net(inputs), torch.tensor([0, 1]), reduction="none") + leaf

        SplitBatch(0.5, 1.0).backward([net.gate1, net.gate2], losses, 2)
        assert leaf.grad is not None
        seen.add(tuple(leaf.grad.tolist()))  # which loss the weights' pass came from
    assert seen == {(0.0, 1.0), (1.0, 0.0)}


def test_a_split_batch_leaves_alone_what_does_not_learn(net: SmallNet) -> None:
    net.gate1.theta.requires_grad_(False)
    inputs = torch.ones(4, 3)
    SplitBatch().backward(
        [net.gate1, net.gate2],
        lambda: F.cross_entropy(net(inputs), torch.tensor([0, 1, 2, 0]), reduction="none"),
        4,
    )
    assert net.gate1.theta.grad is None
    assert net.gate2.theta.grad is not None
    net.gate1.theta.requires_grad_(True)


@pytest.mark.parametrize("share", [0.0, 1.0, math.nan])
def test_a_share_is_a_part(share: float) -> None:
    with pytest.raises(ValueError, match=f"share is {share}; a number in"):
        SplitBatch(share)


def test_a_batch_of_one_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="a batch of 1 cannot be split"):
        SplitBatch().backward([BernoulliGate(1)], lambda: torch.zeros(1), 1)


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name != "exact"])
def test_every_estimator_but_the_exact_one_calls_the_model_as_often_as_it_says(
    net: SmallNet, data: tuple[Tensor, Tensor], name: str
) -> None:
    calls = []
    net.train().register_forward_hook(lambda *_: calls.append(1))
    estimator = ESTIMATORS[name]()
    gradients(net, estimator, *data)
    assert len(calls) == estimator.forward_passes


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_the_returned_loss_is_a_detached_mean(
    net: SmallNet, data: tuple[Tensor, Tensor], name: str
) -> None:
    estimator = ESTIMATORS[name]()
    for gate in (net.gate1, net.gate2):
        if isinstance(estimator, Pathwise):
            gate.estimator = estimator
        gate.theta.data.fill_(1.0)  # no randomness is left but in what is interpolated
    net.train()
    inputs, labels = data
    loss = estimator.backward(
        [net.gate1, net.gate2], lambda: F.cross_entropy(net(inputs), labels, reduction="none"), 4
    )
    assert loss.shape == ()
    assert not loss.requires_grad
    if name in ("exact", "straight-through"):
        expected = F.cross_entropy(net.eval()(inputs), labels)
        assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-5)


@pytest.mark.parametrize("estimator", [Reinforce(), DisARM(), SplitBatch(), ExactSum()])
def test_estimators_with_a_pass_of_their_own_refuse_an_ordinary_backward_pass(
    net: SmallNet, data: tuple[Tensor, Tensor], estimator: Estimator
) -> None:
    pruner = BernoulliPruner(net, 5.0, 100, estimator=estimator)
    name = type(estimator).__name__
    before = net.gate1.theta.detach().clone()
    (F.cross_entropy(net.train()(data[0]), data[1]) + pruner.penalty()).backward()
    with pytest.raises(
        RuntimeError, match=f"{name} has a backward pass of its own: call pruner.backward"
    ):
        pruner.step()
    assert torch.equal(net.gate1.theta, before)
    pruner.zero_grad()
    pruner.backward(lambda: F.cross_entropy(net(data[0]), data[1], reduction="none"), 4)
    pruner.step()
    assert not torch.equal(net.gate1.theta, before)
    assert net.eval()(data[0]).shape == (4, 3)


@pytest.mark.parametrize("estimator", [Reinforce(), DisARM(), ExactSum()])
def test_a_gate_cannot_draw_with_an_estimator_that_compares(estimator: Estimator) -> None:
    name = type(estimator).__name__
    expected = rf"{name} is no estimator that a gate can draw with.*estimator={name}\(…\)\)"
    with pytest.raises(TypeError, match=expected):
        BernoulliGate(3, estimator=estimator)  # pyright: ignore[reportArgumentType]
    gate = BernoulliGate(3)
    with pytest.raises(TypeError, match=expected):
        gate.estimator = estimator  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(gate.estimator, IntegratedGates)


def test_gates_may_draw_in_different_ways(net: SmallNet, data: tuple[Tensor, Tensor]) -> None:
    """Each by its own estimator, whichever way the gradients are asked for."""
    drawn = []

    class Counted(StraightThrough):
        def multiply(self, inputs: Tensor, theta: Tensor, dim: int = 1) -> Tensor:
            drawn.append(len(theta))
            return super().multiply(inputs, theta, dim)

    net.gate2.estimator = Counted()
    pruner = BernoulliPruner(net.train(), 5.0, 100)
    pruner.backward(lambda: F.cross_entropy(net(data[0]), data[1], reduction="none"), 4)
    pruner.step()
    assert drawn == [3]
    assert isinstance(net.gate1.estimator, IntegratedGates)


@pytest.mark.parametrize("sizes", [(MAX_EXACT_UNITS + 1,), (MAX_EXACT_UNITS, 1)])
def test_the_exact_sum_refuses_large_nets(sizes: tuple[int, ...]) -> None:
    gates = [BernoulliGate(size) for size in sizes]
    with pytest.raises(ValueError, match=f"has 15 gated units, .* limited to {MAX_EXACT_UNITS}"):
        ExactSum().backward(gates, lambda: torch.zeros(1), 1)


@pytest.mark.parametrize("samples", [1, 0, -3])
def test_leave_one_out_needs_two_samples(samples: int) -> None:
    with pytest.raises(ValueError, match=f"samples is {samples};"):
        Reinforce(samples)


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5, math.nan])
def test_a_fraction_is_above_zero_and_at_most_one(fraction: float) -> None:
    with pytest.raises(ValueError, match=f"fraction is {fraction};"):
        IntegratedGates(fraction)


@pytest.mark.parametrize("draws", [0, -2])
def test_a_batch_shares_at_least_one_draw(draws: int) -> None:
    with pytest.raises(ValueError, match=f"draws is {draws};"):
        IntegratedGates(draws=draws)
