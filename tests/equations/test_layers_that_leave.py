"""The chapter on layers that leave, against sums over all networks and plain products."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pruning_core.expected_size import ExpectedSize
from pruning_core.gates import named_gates
from pruning_core.inputs import Inputs
from pruning_core.layers import LayerGate
from pruning_core.merging import merge_linear_
from pruning_core.residual import residual_perceptron
from pruning_core.theory import enumeration

CLOSED, OPEN = torch.zeros(1, 1), torch.ones(1, 1)


def test_eq_layers_section() -> None:
    """Open it adds what the section makes, closed nothing; drawn, one of both for each example."""
    torch.manual_seed(0)
    first, second, beside = (nn.Linear(n, 5, bias=False).double() for n in (4, 5, 4))
    weight1, weight2, path = (layer.weight.detach() for layer in (first, second, beside))
    module = LayerGate(nn.Sequential(first, nn.ReLU(), second), beside, theta=0.3).double()
    assert module.gate is not None
    x = torch.randn(4000, 4, dtype=torch.float64)
    passed = x @ path.T
    added = (x @ weight1.T).clamp_min(0) @ weight2.T
    with module.gate.hold(CLOSED.double()):
        torch.testing.assert_close(module(x), passed)
    with module.gate.hold(OPEN.double()):
        torch.testing.assert_close(module(x), passed + added)
    module.eval()
    module.gate.sampling = True
    drawn = module(x).detach()
    is_open = torch.isclose(drawn, passed + added).all(1)
    assert bool((is_open | torch.isclose(drawn, passed).all(1)).all())
    told = added.abs().amax(1) > 1e-3  # where open and closed are not the same
    assert 0.26 < float(is_open[told].double().mean()) < 0.34  # five standard errors


def test_eq_layers_merge() -> None:
    generator = np.random.default_rng(0)
    (p1, b1), (p2, b2) = ((generator.normal(size=(6, 6)), generator.normal(size=6)) for _ in "12")
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6)).double()
    for layer, weight, bias in ((model[0], p1, b1), (model[1], p2, b2)):
        layer.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)})
    assert merge_linear_(model) == ["0"]
    (weight, bias) = (parameter.detach() for parameter in model.parameters())
    np.testing.assert_allclose(weight, p2 @ p1)
    np.testing.assert_allclose(bias, p2 @ b1 + b2)


@pytest.mark.parametrize("seed", range(20))
def test_prop_layers_depth(seed: int) -> None:
    """One at a time from any start at or above it, down to the depth that is the best of all."""
    generator = np.random.default_rng(seed)
    gains = np.sort(generator.exponential(size=15))[::-1]
    loss = np.concatenate([[gains.sum()], gains.sum() - gains.cumsum()])
    price = generator.uniform(0, gains[0])
    total = loss + price * np.arange(16)
    best = int(total.argmin())
    assert best == 0 or loss[best - 1] - loss[best] >= price
    assert best == 15 or loss[best] - loss[best + 1] <= price
    for depth in range(best, 16):
        while depth and total[depth - 1] < total[depth]:
            depth -= 1
        assert depth == best


def test_prop_layers_depth_needs_gains_that_fall() -> None:
    """Two sections of which the second helps more: who starts with one ends with none."""
    total = np.array([10.0, 9.5, 3.0]) + 2.0 * np.arange(3)
    assert total.argmin() == 2
    assert total[0] < total[1]


def test_eq_layers_size() -> None:
    """The mean of the weights over all settings of the gates of sections and of units inside."""
    width, inner = 5, 3
    model = residual_perceptron(2, width, inner, gates="both")
    generator = torch.Generator().manual_seed(0)
    gates = named_gates(model)
    at = {n: torch.rand(g.num_units, generator=generator).double() for n, g in gates.items()}
    outside = 784 * width + width * 10

    def weights(parts: Sequence[Tensor]) -> float:
        """Parts are the gates in their order: units of a section, then the section itself."""
        inside = zip(parts[::2], parts[1::2], strict=True)
        return outside + sum(float(own) * 2 * width * float(units.sum()) for units, own in inside)

    flat = torch.cat(list(at.values()))
    sizes = [gate.num_units for gate in gates.values()]
    every = zip(enumeration.masks(len(flat)), enumeration.probabilities(flat), strict=True)
    mean = sum(float(chance) * weights(mask.split(sizes)) for mask, chance in every)
    assert weights(list(at.values())) == pytest.approx(mean)
    size = ExpectedSize(model, Inputs(torch.rand(2, 1, 28, 28)), "weights")
    assert float(size(at)) == pytest.approx(mean)
