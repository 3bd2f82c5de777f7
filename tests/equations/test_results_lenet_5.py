"""The chapter on pruned LeNet-5, against convolutions that count their own products."""

import pytest
import torch
import torch.nn.functional as F

from pruning_core.studies.records import multiply_accumulates

SIZES = [(20, 50, 500), (12, 15, 52), (3, 7, 11)]


def products(a: int, b: int, h: int) -> int:
    """With all inputs and weights 1, a sum has the value of its number of products."""

    def ones(*shape: int) -> torch.Tensor:
        return torch.ones(shape, dtype=torch.float64)

    first = F.conv2d(ones(1, 1, 28, 28), ones(a, 1, 5, 5))
    second = F.conv2d(F.max_pool2d(first, 2).sign(), ones(b, a, 5, 5))
    features = F.max_pool2d(second, 2).sign().flatten(1)
    third = F.linear(features, ones(h, features.shape[1]))
    last = F.linear(third.sign(), ones(10, h))
    return int(sum(x.sum() for x in (first, second, third, last)))


@pytest.mark.parametrize(("a", "b", "h"), SIZES)
def test_eq_five_macs(a: int, b: int, h: int) -> None:
    assert products(a, b, h) == 25 * a * 24**2 + 25 * a * b * 8**2 + 16 * b * h + 10 * h
    assert products(a, b, h) == multiply_accumulates([a, b, 16 * b, h])


@pytest.mark.parametrize(("a", "b", "h"), SIZES)
def test_eq_five_marginal(a: int, b: int, h: int) -> None:
    """One unit fewer of each kind, counted."""
    whole = products(a, b, h)
    assert whole - products(a - 1, b, h) == 25 * (576 + 64 * b)
    assert whole - products(a, b - 1, h) == 1600 * a + 16 * h
    assert whole - products(a, b, h - 1) == 16 * b + 10
