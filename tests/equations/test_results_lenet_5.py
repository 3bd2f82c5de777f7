"""The chapter on pruned LeNet-5, against convolutions that count their own multiply-accumulates."""

import pytest
import torch
import torch.nn.functional as F

from pruning_core.studies.records import multiply_accumulates

SIZES = [(20, 50, 500), (12, 15, 52), (3, 7, 11)]


def counted(a: int, b: int, h: int) -> int:
    """With all inputs, weights and biases 1, an output is the number of what was added up."""

    def ones(*shape: int) -> torch.Tensor:
        return torch.ones(shape, dtype=torch.float64)

    first = F.conv2d(ones(1, 1, 28, 28), ones(a, 1, 5, 5), ones(a))
    second = F.conv2d(F.max_pool2d(first, 2).sign(), ones(b, a, 5, 5), ones(b))
    features = F.max_pool2d(second, 2).sign().flatten(1)
    third = F.linear(features, ones(h, features.shape[1]), ones(h))
    last = F.linear(third.sign(), ones(10, h), ones(10))
    return int(sum(x.sum() for x in (first, second, third, last)))


@pytest.mark.parametrize(("a", "b", "h"), SIZES)
def test_eq_five_macs(a: int, b: int, h: int) -> None:
    convolutions = (25 + 1) * a * 24**2 + (25 * a + 1) * b * 8**2
    assert counted(a, b, h) == convolutions + (16 * b + 1) * h + (h + 1) * 10
    assert counted(a, b, h) == multiply_accumulates([a, b, 16 * b, h])


@pytest.mark.parametrize(("a", "b", "h"), SIZES)
def test_eq_five_marginal(a: int, b: int, h: int) -> None:
    """One unit fewer of each kind, counted."""
    whole = counted(a, b, h)
    assert whole - counted(a - 1, b, h) == 26 * 24**2 + 25 * 8**2 * b
    assert whole - counted(a, b - 1, h) == (25 * a + 1) * 8**2 + 16 * h
    assert whole - counted(a, b, h - 1) == 16 * b + 11
