"""The chapter on removing units, against plain numpy, masked training and torch's own counters."""

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pruning_core.compaction import compact_
from pruning_core.gates import BernoulliGate, named_gates
from pruning_core.metrics import count_macs
from pruning_core.models import lenet_5, lenet_300_100


def test_thm_removing_exact() -> None:
    """For every setting of the other gates and integer weights, the same output to the last bit."""
    generator = np.random.default_rng(0)
    w1, b1, w2, b2 = (generator.integers(-9, 10, s) for s in ((5, 3), (5,), (2, 5), (2,)))
    inputs, dead, kept = generator.integers(-9, 10, (3, 20)), [1, 4], [0, 2, 3]
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), BernoulliGate(5), nn.Linear(5, 2)).double()
    for index, (weight, bias) in ((0, (w1, b1)), (3, (w2, b2))):
        layer = model.get_submodule(str(index))
        layer.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)})
    mask = torch.zeros(5, dtype=torch.bool)
    mask[dead] = True
    x = torch.tensor(inputs.T, dtype=torch.float64)
    compact_(model, {"2": mask}, x)
    gate = named_gates(model)["2"]
    for setting in itertools.product([0, 1], repeat=3):
        gates = np.zeros(5, dtype=int)
        gates[kept] = setting
        hidden = np.maximum(w1 @ inputs + b1[:, None], 0) * gates[:, None]
        expected = w2 @ hidden + b2[:, None]
        with gate.hold(torch.tensor([setting], dtype=torch.float64)):
            found = model(x).detach().numpy().T
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_thm_removing_trajectory(name: str) -> None:
    """Twenty steps of the compacted network beside twenty of the masked one, Adam's memory too."""
    torch.manual_seed(0)
    masked = lenet_300_100((12, 8)).double().eval()
    images, labels = torch.rand(64, 1, 28, 28).double(), torch.randint(10, (64,))

    def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
        if name == "Adam":
            return torch.optim.Adam(model.parameters(), 1e-2, weight_decay=1e-3)
        return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)

    def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()

    optimizer = optimizer_of(masked)
    train(masked, optimizer, 5)
    for gate in named_gates(masked).values():
        gate.theta.data[::3] = 0.0
    smaller = copy.deepcopy(masked)
    copied = optimizer_of(smaller)
    copied.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    dead = {name: ~gate.is_open() for name, gate in named_gates(smaller).items()}
    compact_(smaller, dead, images, copied)
    train(masked, optimizer, 20)
    train(smaller, copied, 20)
    assert torch.allclose(masked(images), smaller(images), atol=1e-12, rtol=0)


def test_eq_removing_constant() -> None:
    """A unit that is closed before its activation emits φ(0); folding that is exact."""
    generator = np.random.default_rng(1)
    w2, b2, hidden = (
        generator.standard_normal((3, 4)),
        generator.standard_normal(3),
        np.tanh(generator.standard_normal((4, 30))),
    )
    hidden[2] = 1 / (1 + np.exp(0.0))  # a sigmoid whose gate, before it, is closed
    expected = w2 @ hidden + b2[:, None]
    folded = b2 + w2[:, 2] * 0.5
    found = np.delete(w2, 2, axis=1) @ np.delete(hidden, 2, axis=0) + folded[:, None]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("hidden", [(300, 100), (40, 30)])
def test_eq_removing_macs(hidden: tuple[int, int]) -> None:
    """Torch counts floating-point operations, two for a multiply-accumulate, biases apart."""
    model = lenet_300_100(hidden, gated=False)
    widths = [784, *hidden, 10]
    example = torch.zeros(1, 1, 28, 28)
    with FlopCounterMode(display=False) as counter:
        model(example)
    expected = counter.get_total_flops() // 2 + sum(widths[1:])
    by_formula = sum((n + 1) * m for n, m in itertools.pairwise(widths))
    assert count_macs(model, example) == by_formula == expected


def test_eq_removing_macs_convolution() -> None:
    model, example = lenet_5((7, 9), 30, gated=False), torch.zeros(1, 1, 28, 28)
    with FlopCounterMode(display=False) as counter:
        model(example)
    by_formula = 24**2 * 7 * (25 + 1) + 8**2 * 9 * (25 * 7 + 1) + (9 * 16 + 1) * 30 + 31 * 10
    biases = 24**2 * 7 + 8**2 * 9 + 30 + 10
    assert count_macs(model, example) == by_formula == counter.get_total_flops() // 2 + biases
