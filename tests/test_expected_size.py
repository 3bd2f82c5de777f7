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
from pruning_core.gates import BernoulliGate, named_gates
from pruning_core.inputs import Inputs
from pruning_core.insertion import insert_gates_
from pruning_core.metrics import count_macs, count_weights
from pruning_core.models import lenet_5, lenet_300_100

Of = Literal["weights", "macs"]
IMAGES = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
TOKENS = torch.arange(12).reshape(2, 6) % 9


class Residual(nn.Module):
    """A channel of the addition stays while either of two gates is open."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_gate = nn.Conv2d(1, 6, 5, stride=3), BernoulliGate(6)
        self.branch, self.branch_gate = nn.Conv2d(6, 6, 3, padding=1), BernoulliGate(6)
        self.hidden, self.hidden_gate = nn.Linear(6 * 64, 5), BernoulliGate(5)
        self.out = nn.Linear(5, 10)

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
        expected = size(opened(model))
        compact_(model, {name: ~mask for name, mask in opened(model).items()}, example)
        assert counted(model, of, example) == pytest.approx(expected, rel=1e-9)
        assert size({n: g.theta for n, g in named_gates(model).items()}) == pytest.approx(expected)


def test_between_0_and_1_the_size_is_the_mean_over_all_networks() -> None:
    model = lenet_300_100((2, 3))
    theta = torch.tensor([0.2, 0.7, 0.5, 0.9, 0.4])
    mean = 0.0
    for mask in itertools.product([0, 1], repeat=5):
        chance = math.prod(float(t if m else 1 - t) for t, m in zip(theta, mask, strict=True))
        first, second = sum(mask[:2]), sum(mask[2:])
        mean += chance * (784 * first + first * second + 10 * second)
    size = ExpectedSize(model, Inputs(IMAGES), "weights")
    assert size({"gate1": theta[:2], "gate2": theta[2:]}) == pytest.approx(mean)


def test_a_channel_of_two_gates_stays_while_either_is_open() -> None:
    model = Residual()
    size = ExpectedSize(model, Inputs(IMAGES), "weights")
    a, b, c = 0.3, 0.6, 0.5
    channels = 6 * (1 - (1 - a) * (1 - b))
    mean = 25 * channels + 9 * channels**2 + 64 * channels * 5 * c + 10 * 5 * c
    theta = {"stem_gate": a, "branch_gate": b, "hidden_gate": c}
    found = size({n: torch.full_like(g.theta, theta[n]) for n, g in named_gates(model).items()})
    assert found == pytest.approx(mean)
