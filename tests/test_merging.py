"""Tests of pruning_core.merging: neighbouring linear maps become one, exactly."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pruning_core.merging import merge_linear_
from pruning_core.metrics import count_weights

MERGED: dict[str, tuple[Callable[[], nn.Sequential], tuple[int, ...], list[str]]] = {
    "two linear layers": (
        lambda: nn.Sequential(nn.Linear(7, 9), nn.Linear(9, 4)),
        (3, 7),
        ["0"],
    ),
    "without the first bias": (
        lambda: nn.Sequential(nn.Linear(7, 9, bias=False), nn.Linear(9, 4)),
        (3, 7),
        ["0"],
    ),
    "without the second bias": (
        lambda: nn.Sequential(nn.Linear(7, 9), nn.Linear(9, 4, bias=False)),
        (3, 7),
        ["0"],
    ),
    "without any bias, of tokens": (
        lambda: nn.Sequential(nn.Linear(7, 9, bias=False), nn.Linear(9, 4, bias=False)),
        (3, 5, 7),
        ["0"],
    ),
    "with identities between": (
        lambda: nn.Sequential(nn.Linear(7, 9), nn.Identity(), nn.Identity(), nn.Linear(9, 4)),
        (3, 7),
        ["0"],
    ),
    "in one inside another": (
        lambda: nn.Sequential(nn.Linear(7, 9), nn.Sequential(nn.Identity(), nn.Linear(9, 4))),
        (3, 7),
        ["0"],
    ),
    "behind one that is empty now": (
        lambda: nn.Sequential(nn.Linear(7, 9), nn.Sequential(), nn.Linear(9, 4), nn.ReLU()),
        (3, 7),
        ["0"],
    ),
    "three in a row": (
        lambda: nn.Sequential(nn.Linear(7, 9), nn.Linear(9, 8), nn.Linear(8, 4)),
        (3, 7),
        ["0", "1"],
    ),
    "a convolution and 1 × 1 filters with a stride": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2, padding=1), nn.Conv2d(8, 2, 1, stride=2)),
        (2, 3, 13, 13),
        ["0"],
    ),
    "a dilated one with reflections": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, dilation=2, padding=2, padding_mode="reflect"), nn.Conv2d(8, 2, 1)
        ),
        (2, 3, 13, 13),
        ["0"],
    ),
    "1 × 1 filters and a convolution": (
        lambda: nn.Sequential(nn.Conv1d(3, 9, 1), nn.Conv1d(9, 2, 3, stride=2, dilation=2)),
        (2, 3, 13),
        ["0"],
    ),
    "1 × 1 filters without a bias, then padding": (
        lambda: nn.Sequential(nn.Conv2d(3, 9, 1, bias=False), nn.Conv2d(9, 2, 3, padding="same")),
        (2, 3, 7, 7),
        ["0"],
    ),
    "in three dimensions": (
        lambda: nn.Sequential(nn.Conv3d(2, 5, (1, 2, 3)), nn.Conv3d(5, 2, 1, bias=False)),
        (2, 2, 5, 5, 5),
        ["0"],
    ),
}


@pytest.mark.parametrize("what", list(MERGED))
def test_linear_maps_in_a_row_become_one(what: str) -> None:
    torch.manual_seed(0)
    build, shape, merged = MERGED[what]
    model, x = build().double(), torch.randn(shape).double()
    weights, expected = count_weights(model), model(x)
    names = list(model.state_dict())
    assert merge_linear_(model) == merged
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)
    assert count_weights(model) <= weights
    assert len(list(model.parameters())) < len(names)
    assert {n.rsplit(".", 1)[0] for n in model.state_dict()} < {n.rsplit(".", 1)[0] for n in names}
    assert merge_linear_(model) == []


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(4, 4)
        self.first = nn.Sequential(self.shared, nn.Linear(4, 2))
        self.second = nn.Sequential(self.shared, nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(7, 9), nn.Linear(9, 4))
    model[0].register_forward_hook(lambda module, args, output: 2 * output)
    return model


STAY: dict[str, Callable[[], nn.Module]] = {
    "a bottleneck": lambda: nn.Sequential(nn.Linear(9, 2), nn.Linear(2, 9)),
    "something nonlinear between": lambda: nn.Sequential(
        nn.Linear(7, 9), nn.ReLU(), nn.Linear(9, 4)
    ),
    "a norm between": lambda: nn.Sequential(nn.Linear(7, 9), nn.BatchNorm1d(9), nn.Linear(9, 4)),
    "a weight that is used twice": Twice,
    "a hook": hooked,
    "a parametrization": lambda: nn.Sequential(weight_norm(nn.Linear(7, 9)), nn.Linear(9, 4)),
    "a bias before padding": lambda: nn.Sequential(
        nn.Conv2d(3, 9, 1), nn.Conv2d(9, 2, 3, padding=1)
    ),
    "a stride before filters": lambda: nn.Sequential(
        nn.Conv2d(3, 9, 1, stride=2), nn.Conv2d(9, 2, 3)
    ),
    "padding of 1 × 1 filters": lambda: nn.Sequential(
        nn.Conv2d(3, 9, 3), nn.Conv2d(9, 2, 1, padding=1)
    ),
    "two 3 × 3 filters": lambda: nn.Sequential(nn.Conv2d(3, 9, 3), nn.Conv2d(9, 2, 3)),
    "groups": lambda: nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(8, 2, 1)),
    "one in a list": lambda: nn.ModuleList([nn.Linear(7, 9), nn.Linear(9, 4)]),
}


@pytest.mark.parametrize("what", list(STAY))
def test_what_would_be_larger_or_another_function_stays(what: str) -> None:
    torch.manual_seed(0)
    model = STAY[what]()
    before = copy.deepcopy(model.state_dict())
    assert merge_linear_(model) == []
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_the_merged_layer_keeps_its_kind_of_number_and_what_may_learn() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 9), nn.Linear(9, 4)).to(torch.bfloat16).eval()
    for parameter in model[1].parameters():
        parameter.requires_grad_(False)
    merge_linear_(model)
    (layer,) = model
    assert not layer.training
    assert all(p.dtype == torch.bfloat16 and not p.requires_grad for p in layer.parameters())


def test_others_keep_their_names_and_a_choice_may_replace_the_sizes() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(9, 2), nn.Linear(2, 9), nn.ReLU(), nn.Linear(9, 3))
    x = torch.randn(4, 9)
    expected = model(x)
    assert merge_linear_(model, lambda name, first, second: name == "0") == ["0"]
    assert [name for name, _ in model.named_children()] == ["1", "2", "3"]
    torch.testing.assert_close(model(x), expected)
