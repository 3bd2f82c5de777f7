"""The chapter on prices in weights and in MACs, against sums over all networks."""

import itertools

import pytest
import torch
from torch import Tensor

from pruning_core.costs import SizePrice
from pruning_core.expected_size import ExpectedSize
from pruning_core.gates import named_gates
from pruning_core.inputs import Inputs
from pruning_core.metrics import count_macs
from pruning_core.models import MODELS, lenet_5, lenet_300_100
from pruning_core.theory import enumeration

IMAGES = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
FIRST, SECOND = 4, 3


def theta(units: int, seed: int = 0) -> Tensor:
    return torch.rand(units, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sizes() -> Tensor:
    """Weights that lead from a unit to a unit, of every mask of two hidden layers, one by one."""
    found = []
    for mask in enumeration.masks(FIRST + SECOND):
        first, second = mask[:FIRST], mask[FIRST:]
        layers = (torch.ones(784), first, second, torch.ones(10))
        weights = [
            torch.outer(a, b).count_nonzero()
            for a, b in itertools.pairwise(map(Tensor.double, layers))
        ]
        found.append(sum(weights))
    return torch.stack([torch.as_tensor(x) for x in found]).double()


def by_gate(values: Tensor) -> dict[str, Tensor]:
    return dict(zip(("gate1", "gate2"), values.split([FIRST, SECOND]), strict=True))


def test_eq_price_size() -> None:
    at = theta(FIRST + SECOND)
    expected = float(enumeration.expectation(sizes(), at))
    size = ExpectedSize(lenet_300_100((FIRST, SECOND)), Inputs(IMAGES), "weights")
    assert float(size(by_gate(at))) == pytest.approx(expected)
    a, b = float(at[:FIRST].sum()), float(at[FIRST:].sum())
    assert 784 * a + a * b + 10 * b == pytest.approx(expected)


def test_eq_price_five() -> None:
    """The mean over all networks of two filters, two filters and two hidden units, counted."""
    model = lenet_5((2, 2), 2)
    at = theta(6, 1)
    mean = 0.0
    for mask, chance in zip(
        enumeration.masks(6), enumeration.probabilities(at).tolist(), strict=True
    ):
        a, b, h = (int(part.sum()) for part in mask.split(2))
        if a and b and h:
            network = lenet_5((a, b), h, gated=False)
            mean += chance * count_macs(network, IMAGES[:1])
        else:  # no such network can be built; its MACs by the formula
            mean += chance * MODELS["lenet-5"].count_macs([a, b, 16 * b, h])
    means = [float(part.sum()) for part in at.split(2)]
    a, b, h = means
    convolutions = 26 * a * 24**2 + (25 * a + 1) * b * 8**2
    assert convolutions + (16 * b + 1) * h + (h + 1) * 10 == pytest.approx(mean)
    size = ExpectedSize(model, Inputs(IMAGES), "macs")
    # The biases of the output are MACs of no unit.
    found = float(size(dict(zip(named_gates(model), at.split(2), strict=True))))
    assert found == pytest.approx(mean)


def test_eq_price_unit() -> None:
    at, price = theta(FIRST + SECOND, 2), 0.7
    model = lenet_300_100((FIRST, SECOND))
    gates = named_gates(model)
    for name, value in by_gate(at).items():
        gates[name].theta.data = value.float()
    costs = SizePrice(price, "weights", gates)
    costs.prepare(model, Inputs(IMAGES))
    found = torch.cat(list(costs.slopes(gates).values()))
    now = torch.cat([gate.theta.detach() for gate in gates.values()]).double()
    expected = price * enumeration.differences(sizes(), now)
    torch.testing.assert_close(found, expected.float())
    a, b = float(now[:FIRST].sum()), float(now[FIRST:].sum())
    closed = torch.tensor([784 + b] * FIRST + [a + 10] * SECOND)
    torch.testing.assert_close(found, price * closed)


def losses(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    masks = 2 ** (FIRST + SECOND)
    return 40 * torch.rand(masks, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
def test_thm_price_corners(seed: int) -> None:
    """No point of the cube is below the best corner, and descent ends at a corner."""
    total = losses(seed) + 0.02 * sizes()
    points = torch.rand(2000, FIRST + SECOND, dtype=torch.float64)
    assert bool((enumeration.expectation(total, points) >= total.min() - 1e-9).all())
    corners = enumeration.expectation(total, enumeration.masks(FIRST + SECOND))
    torch.testing.assert_close(corners, total)
    # Affine in each: three points on an edge are on a line.
    on, off, between = points[:50].clone(), points[:50].clone(), points[:50].clone()
    on[:, 2], off[:, 2], between[:, 2] = 1.0, 0.0, 0.3
    values = [enumeration.expectation(total, p) for p in (on, off, between)]
    torch.testing.assert_close(values[2], 0.3 * values[0] + 0.7 * values[1])
    path = enumeration.projected_descent(total, 0.0, theta(FIRST + SECOND, seed), 0.01, 4000)
    assert bool(((path[-1] == 0) | (path[-1] == 1)).all())


def test_eq_price_prior() -> None:
    """The mode of the posterior under the prior exp(−c S) is the corner with the least J."""
    price, loss = 0.02, losses(7)
    prior = torch.exp(-price * (sizes() - sizes().min()))
    prior /= prior.sum()
    posterior = prior * torch.exp(-(loss - loss.min()))
    posterior /= posterior.sum()
    assert int(posterior.argmax()) == int((loss + price * sizes()).argmin())
    # One weight more is less likely by a factor of exp(−c).
    one_more = prior[sizes().argsort()]
    ratio = one_more[1:] / one_more[:-1]
    gaps = sizes().sort().values.diff()
    torch.testing.assert_close(ratio, torch.exp(-price * gaps))
