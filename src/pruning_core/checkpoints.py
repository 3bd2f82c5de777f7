"""Giving a fresh model the shapes of one whose units have partly left."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pruning_core.gates import BernoulliGate


class ModelFileError(ValueError):
    """A saved model that cannot be read: the file, what was expected and what to do."""


def layer_sizes(model: nn.Module) -> dict[str, dict[str, int]]:
    """The integer attributes of every layer with parameters, such as ``in_features``."""
    return {
        name: {
            key: value
            for key, value in vars(module).items()
            if isinstance(value, int) and not isinstance(value, bool)
        }
        for name, module in model.named_modules()
        if module._parameters or isinstance(module, BernoulliGate)
    }


def resize_(
    model: nn.Module, tensors: Mapping[str, Tensor], sizes: Mapping[str, Mapping[str, int]]
) -> None:
    """Give every layer the shapes of ``tensors`` and the attributes of ``sizes``.

    Raises:
        ModelFileError: naming what differs, if the tensors are not this model's.
    """
    expected = set(model.state_dict())
    if expected != set(tensors):
        raise ModelFileError(
            "the saved model is another one: missing "
            f"{sorted(expected - set(tensors))}, unexpected {sorted(set(tensors) - expected)}"
        )
    for key, tensor in tensors.items():
        path, _, name = key.rpartition(".")
        module = model.get_submodule(path)
        current = getattr(module, name)
        if current.shape == tensor.shape:
            continue
        empty = torch.empty(tensor.shape, dtype=current.dtype, device=current.device)
        if name in module._parameters:
            module._parameters[name] = nn.Parameter(empty, current.requires_grad)
        else:
            module._buffers[name] = empty.requires_grad_(current.requires_grad)
    for path, attributes in sizes.items():
        module = model.get_submodule(path)
        for key, value in attributes.items():
            setattr(module, key, value)
