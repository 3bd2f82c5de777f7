"""Tests of pruning_core.inputs: calls of every form are kept, shortened and repeated."""

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pruning_core.inputs import Inputs


class Echo(nn.Module):
    def forward(self, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, kwargs


x, y = torch.rand(5, 3), torch.rand(5)


@pytest.mark.parametrize(
    ("value", "args", "kwargs"),
    [
        (x, (x,), {}),
        ((x, y), (x, y), {}),
        ({"a": x, "b": None}, (), {"a": x, "b": None}),
        (Inputs(x, b=[y, 3]), (x,), {"b": [y, 3]}),
        (Inputs({"a": x}), ({"a": x},), {}),
        ((), (), {}),
    ],
    ids=["tensor", "tuple", "dict", "inputs", "one dict", "nothing"],
)
def test_a_model_is_called_with_what_was_meant(
    value: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    assert repr(Inputs.of(value).call(Echo())) == repr((args, kwargs))


@pytest.mark.parametrize("value", [[x, y], 3, None, {1: x}], ids=["list", "int", "None", "keys"])
def test_what_could_mean_either_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=rf"are a {type(value).__name__}; a tensor, a tuple.*dict"):
        Inputs.of(value)


def test_inputs_stay_as_they_are() -> None:
    inputs = Inputs(x)
    assert Inputs.of(inputs) is inputs
    with pytest.raises(dataclasses.FrozenInstanceError):
        inputs.args = ()  # pyright: ignore[reportAttributeAccessIssue]


def test_a_function_reaches_every_tensor_and_nothing_else() -> None:
    inputs = Inputs([x, (y, "text")], 7, mask={"inner": y, "none": None}).map(lambda t: t + 1)
    (first, (second, text)), seven = inputs.args
    assert torch.equal(first, x + 1)
    assert torch.equal(second, y + 1)
    assert (text, seven, inputs.kwargs["mask"]["none"]) == ("text", 7, None)
    assert torch.equal(inputs.kwargs["mask"]["inner"], y + 1)
    assert [t.shape for t in inputs.tensors()] == [x.shape, y.shape, y.shape]


def test_the_first_examples_are_those_of_every_tensor_with_the_batch() -> None:
    tokens, scale, positions = torch.arange(40).view(8, 5), torch.tensor(2.0), torch.rand(5, 5)
    short = Inputs(scale, tokens, positions, [tokens[:, 0]], labels=tokens[:, 1]).first(3)
    assert torch.equal(short.args[0], scale)
    assert torch.equal(short.args[1], tokens[:3])
    assert torch.equal(short.args[2], positions)
    assert torch.equal(short.args[3][0], tokens[:3, 0])
    assert torch.equal(short.kwargs["labels"], tokens[:3, 1])
    assert Inputs(tokens).first(100).args[0].shape == (8, 5)
    assert Inputs(3).first(2).args == (3,)


def test_the_first_examples_are_detached_copies() -> None:
    weights = torch.rand(4, 3, requires_grad=True)
    derived = weights * 2
    short = Inputs(derived, weights).first(4)
    assert not any(t.requires_grad for t in short.tensors())
    before = short.args[0].clone()
    with torch.no_grad():
        derived.zero_()
    assert torch.equal(short.args[0], before)
    image = torch.rand(4, 3, 2, 2).to(memory_format=torch.channels_last)
    assert Inputs(image).first(2).args[0].is_contiguous(memory_format=torch.channels_last)


def test_tensors_without_rows_are_copied_whole() -> None:
    nested = torch.nested.nested_tensor([x, x[:2]], layout=torch.jagged)
    sparse = torch.eye(4).to_sparse()
    short = Inputs(nested, sparse, x).first(2)
    assert short.args[0].is_nested
    assert short.args[1].shape == (4, 4)
    assert torch.equal(short.args[2], x[:2])


def test_inputs_can_be_copied() -> None:
    inputs = Inputs(x, b=[y])
    twin = copy.deepcopy(inputs)
    tensors: list[tuple[Tensor, Tensor]] = list(zip(inputs.tensors(), twin.tensors(), strict=True))
    assert len(tensors) == 2
    assert all(torch.equal(a, b) and a is not b for a, b in tensors)
