"""Tests of pruning_core.expected_size: counts of networks whose units stay by chance."""

import itertools
import math
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from pruning_core.compaction import compact_
from pruning_core.expected_size import ExpectedSize
from pruning_core.gates import BernoulliGate, InputGate, named_gates
from pruning_core.inputs import Inputs
from pruning_core.insertion import insert_gates_
from pruning_core.layers import LayerGate
from pruning_core.metrics import count_macs, count_weights
from pruning_core.models import lenet_5, lenet_300_100
from pruning_core.theory import enumeration

Of = Literal["weights", "macs"]
IMAGES = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
TOKENS = torch.arange(12).reshape(2, 6) % 9


class Residual(nn.Module):
    """A channel of the addition stays while either of two gates is open."""

    def __init__(self, channels: int = 6, hidden: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 5, stride=3)
        self.branch = nn.Conv2d(channels, channels, 3, padding=1)
        self.stem_gate, self.branch_gate = BernoulliGate(channels), BernoulliGate(channels)
        self.hidden, self.hidden_gate = nn.Linear(channels * 64, hidden), BernoulliGate(hidden)
        self.out = nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_gate(torch.relu(self.stem(x)))
        x = x + self.branch_gate(torch.relu(self.branch(x)))
        return self.out(self.hidden_gate(torch.relu(self.hidden(x.flatten(1)))))


class Tokens(nn.Module):
    """Attention, whose products have no weights, and an embedding of words tied to the output."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(9, 8), nn.Linear(8, 9, bias=False)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.out.weight = self.words.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.layer(self.words(tokens)))


def inserted(model: nn.Module, example: Tensor) -> nn.Module:
    insert_gates_(model, example)
    return model


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, 2, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, groups=12),
        nn.ReLU(),
        nn.Conv2d(12, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(648, 10),
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "LeNet-300-100": lambda: lenet_300_100((30, 20), gate_inputs=True),
    "LeNet-5": lambda: lenet_5((5, 8), 20, gate_features=True),
    "residual": Residual,
    "convolutions": lambda: inserted(convolutions(), IMAGES),
    "tokens": lambda: inserted(Tokens(), TOKENS),
}


def opened(model: nn.Module) -> dict[str, Tensor]:
    return {name: gate.is_open() for name, gate in named_gates(model).items()}


def counted(model: nn.Module, of: Of, example: Tensor) -> int:
    return count_weights(model) if of == "weights" else count_macs(model, example[:1])


@pytest.mark.parametrize("of", ["weights", "macs"])
@pytest.mark.parametrize("name", list(MODELS))
def test_with_units_open_or_closed_the_size_is_that_of_the_network_without_them(
    name: str, of: Of
) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    example = TOKENS if name == "tokens" else IMAGES
    size = ExpectedSize(model, Inputs(example), of)
    for _ in range(2):  # then of a network from which some have left already
        for gate in named_gates(model).values():
            gate.theta.data = (torch.rand(gate.num_units) < 0.6).float()
            gate.theta.data[0] = 1.0
        expected = float(size(opened(model)))
        compact_(model, {name: ~mask for name, mask in opened(model).items()}, example)
        assert counted(model, of, example) == pytest.approx(expected, rel=1e-9)
        now = size({n: g.theta.detach() for n, g in named_gates(model).items()})
        assert float(now) == pytest.approx(expected)


def test_between_0_and_1_the_size_is_the_mean_over_all_networks() -> None:
    model = lenet_300_100((2, 3))
    theta = torch.tensor([0.2, 0.7, 0.5, 0.9, 0.4])
    mean = 0.0
    for mask in itertools.product([0, 1], repeat=5):
        chance = math.prod(float(t if m else 1 - t) for t, m in zip(theta, mask, strict=True))
        first, second = sum(mask[:2]), sum(mask[2:])
        mean += chance * (784 * first + first * second + 10 * second)
    size = ExpectedSize(model, Inputs(IMAGES), "weights")
    assert float(size({"gate1": theta[:2], "gate2": theta[2:]})) == pytest.approx(mean)


def test_a_channel_of_two_gates_stays_while_either_is_open() -> None:
    model = Residual()
    size = ExpectedSize(model, Inputs(IMAGES), "weights")
    a, b, c = 0.3, 0.6, 0.5
    one = 1 - (1 - a) * (1 - b)
    # The branch reads and writes the same channels: a weight from one to itself needs that one.
    pairs = 6 * 5 * one**2 + 6 * one
    mean = 25 * 6 * one + 9 * pairs + 64 * 6 * one * 5 * c + 10 * 5 * c
    theta = {"stem_gate": a, "branch_gate": b, "hidden_gate": c}
    found = size({n: torch.full_like(g.theta, theta[n]) for n, g in named_gates(model).items()})
    assert float(found) == pytest.approx(mean)


def residual_sizes() -> Tensor:
    """By mask of 2 stem, 2 branch and 2 hidden units, the weights that stay of a small Residual."""
    found = []
    for mask in itertools.product([0, 1], repeat=6):
        stem, branch, hidden = mask[:2], mask[2:4], sum(mask[4:])
        channels = sum(max(pair) for pair in zip(stem, branch, strict=True))
        sizes = (25 * channels, 9 * channels**2, 64 * channels * hidden, 10 * hidden)
        found.append(float(sum(sizes)))
    return torch.tensor(found, dtype=torch.float64)


def chain_sizes() -> Tensor:
    """The same of 3 pixels, 2 and 3 hidden units."""
    masks = itertools.product([0, 1], repeat=8)
    counts = [(sum(mask[:3]), sum(mask[3:5]), sum(mask[5:])) for mask in masks]
    return torch.tensor([a * b + b * c + 10 * c for a, b, c in counts], dtype=torch.float64)


@pytest.mark.parametrize(
    ("model", "example", "table"),
    [
        (Residual(2, 2), IMAGES, residual_sizes()),
        (
            nn.Sequential(
                InputGate(3),
                *(nn.Linear(3, 2), nn.ReLU(), BernoulliGate(2)),
                *(nn.Linear(2, 3), nn.ReLU(), BernoulliGate(3)),
                nn.Linear(3, 10),
            ),
            torch.rand(4, 3),
            chain_sizes(),
        ),
    ],
    ids=["residual", "chain"],
)
def test_size_and_savings_are_those_of_the_sum_over_all_networks(
    model: nn.Module, example: Tensor, table: Tensor
) -> None:
    torch.manual_seed(0)
    sizes = [gate.num_units for gate in named_gates(model).values()]
    size = ExpectedSize(model, Inputs(example), "weights")
    for theta in (torch.rand(sum(sizes)), (torch.rand(sum(sizes)) < 0.5).float()):
        by_gate = dict(zip(named_gates(model), theta.split(sizes), strict=True))
        mean = enumeration.expectation(table, theta.double())
        torch.testing.assert_close(size(by_gate), mean)
        saved = enumeration.differences(table, theta.double()).float()
        torch.testing.assert_close(torch.cat(list(size.slopes(by_gate).values())), saved)


def test_a_mix_buys_so_much_of_each() -> None:
    model = lenet_5((5, 8), 20)
    theta = {name: torch.rand(gate.num_units) for name, gate in named_gates(model).items()}
    inputs = Inputs(IMAGES)
    weights, macs = (float(ExpectedSize(model, inputs, of)(theta)) for of in ("weights", "macs"))
    units = sum(float(value.sum()) for value in theta.values())
    mix = ExpectedSize(model, inputs, {"weights": 2.0, "macs": 0.1, "units": 3.0})
    assert float(mix(theta)) == pytest.approx(2 * weights + 0.1 * macs + 3 * units)
    assert float(ExpectedSize(model, inputs, "units")(theta)) == pytest.approx(units)


def test_what_cannot_be_counted_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"\['bytes'\] cannot be counted; units, weights, macs can"
    ):
        ExpectedSize(lenet_300_100((3, 2)), Inputs(IMAGES), "bytes")


def section_sizes() -> Tensor:
    """Weights of two sections, of 2 and of 3 units, by masks of all gates in their order."""
    found = []
    for mask in itertools.product([0, 1], repeat=7):
        # The order of the modules: units of the first, its gate, units of the second, its gate.
        first, there, second, there_too = sum(mask[:2]), mask[2], sum(mask[3:6]), mask[6]
        found.append(5.0 * 3 + there * 6 * first + there_too * 6 * second + 3 * 10)
    return torch.tensor(found, dtype=torch.float64)


def test_what_a_section_holds_is_there_when_it_is() -> None:
    def section(inner: int) -> LayerGate:
        parts = nn.Linear(3, inner), nn.ReLU(), BernoulliGate(inner), nn.Linear(inner, 3)
        return LayerGate(nn.Sequential(*parts))

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 3), section(2), section(3), nn.Linear(3, 10))
    gates = named_gates(model)
    sizes = [gate.num_units for gate in gates.values()]
    assert sizes == [2, 1, 3, 1]
    size = ExpectedSize(model, Inputs(torch.rand(4, 5)), "weights")
    theta = torch.rand(7)
    by_gate = dict(zip(gates, theta.split(sizes), strict=True))
    table = section_sizes()
    mean = enumeration.expectation(table, theta.double())
    torch.testing.assert_close(size(by_gate), mean)
    saved = enumeration.differences(table, theta.double()).float()
    torch.testing.assert_close(torch.cat(list(size.slopes(by_gate).values())), saved)
    # Without the second section, whose gates have left with it.
    left = dict(list(by_gate.items())[:2])
    there = torch.cat([theta[:3], torch.zeros(4)]).double()
    torch.testing.assert_close(size(left), enumeration.expectation(table, there))
