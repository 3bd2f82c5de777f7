"""The chapter on counts, against shapes, files and enumeration."""

from itertools import combinations
from typing import cast

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from scipy.stats import binom
from torch import Tensor, nn

from pruning_core import BernoulliPruner, export, named_gates
from pruning_core.metrics import count_weights, macs_by_layer, weighted_layers
from pruning_core.models import build_model, lenet_300_100
from pruning_core.sparsity import make_permanent_, prune_
from pruning_core.theory.counting import codebook_factor, count_sparse_bytes, position_bits

IMAGE = torch.zeros(1, 1, 28, 28)


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5"])
def test_eq_count_layer(name: str) -> None:
    """Both lines of the equation, from the shapes that go through each layer."""
    model = build_model(name, gated=False).eval()
    outputs: list[tuple[nn.Module, Tensor]] = []
    for layer in weighted_layers(model):
        layer.register_forward_hook(lambda *call: outputs.append((call[0], call[2])))
    with torch.no_grad():
        model(IMAGE)
    weights, macs = [], []
    for layer, output in outputs:
        reads = (
            layer.in_channels * layer.kernel_size[0] ** 2
            if isinstance(layer, nn.Conv2d)
            else cast("nn.Linear", layer).in_features
        )
        weights.append(output.shape[1] * reads)
        macs.append(output.shape[1] * (reads + 1) * output[0, 0].numel())
    assert list(macs_by_layer(model, IMAGE).values()) == macs
    assert count_weights(model) == sum(weights)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_prop_quadratic(share: float) -> None:
    """Gates close on all but a share of the units, and the weights of what is left are counted."""
    model = lenet_300_100(gate_inputs=True)
    for gate in named_gates(model).values():
        gate.theta.data.copy_(torch.arange(gate.num_units) < share * gate.num_units)
    BernoulliPruner(model, 1.0, num_examples=1, example_inputs=IMAGE).settle_()
    left = count_weights(export(model))
    assert left == round(share**2 * (784 * 300 + 300 * 100) + share * 100 * 10)


@pytest.mark.parametrize("zeros", [0.0, 60.0, 99.0])
def test_eq_count_csr(zeros: float) -> None:
    """scipy's arrays, measured."""
    model = make_permanent_(prune_(lenet_300_100(gated=False), zeros))
    total = 4 * (300 + 100 + 10)
    for layer in weighted_layers(model):
        matrix = csr_array(layer.weight.detach().numpy())
        total += matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
    assert count_sparse_bytes(model) == total


def test_eq_count_row() -> None:
    """Rows of random zeros are drawn and those without any weight counted."""
    share, inputs, rows = 0.2, 15, 200_000
    empty = (np.random.default_rng(0).random((rows, inputs)) >= share).all(1).mean()
    expected = (1 - share) ** inputs
    error = np.sqrt(expected * (1 - expected) / rows)
    assert abs(empty - expected) < 4 * error


def test_eq_count_bits() -> None:
    """Every weight is written as a string of bits, and the string is measured."""
    index_bits, code_bits, weights, kept = 5, 4, 400, 40
    gaps = np.full(kept, weights // kept - 1)  # evenly spread, so that every gap fits
    codes = np.arange(kept) % 2**code_bits
    text = "".join(f"{g:0{index_bits}b}{c:0{code_bits}b}" for g, c in zip(gaps, codes, strict=True))
    book = 32 * 2**code_bits
    found = codebook_factor(weights, kept, index_bits, code_bits)
    assert 32 * weights / (len(text) + book) == pytest.approx(found)


def test_prop_positions() -> None:
    """All placements are listed; and the most likely count of a binomial bounds their number."""
    listed = sum(1 for _ in combinations(range(12), 4))
    assert 2 ** position_bits(12, 4) == pytest.approx(listed)
    for weights, kept in ((200, 10), (5000, 1700)):
        share = kept / weights
        entropy = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
        slack = weights * entropy - position_bits(weights, kept)
        assert 0 <= slack <= np.log2(weights + 1)
        assert slack == pytest.approx(-np.log2(binom.pmf(kept, weights, share)), abs=1e-6)


def test_def_counts() -> None:
    """LeNet-300-100 by hand: products of neighbouring sizes."""
    assert count_weights(lenet_300_100(gated=False)) == 784 * 300 + 300 * 100 + 100 * 10
