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

    Units have left, so nothing can have grown; that is seen before memory is taken.

    Raises:
        ModelFileError: naming what differs, if the tensors are not this model's, or the sizes do
            not belong to them.
    """
    expected = set(model.state_dict())
    if expected != set(tensors):
        raise ModelFileError(
            "the saved model is another one: missing "
            f"{sorted(expected - set(tensors))}, unexpected {sorted(set(tensors) - expected)}"
        )
    own = layer_sizes(model)
    for path, attributes in sizes.items():
        for key, value in attributes.items():
            known = own.get(path, {}).get(key)
            shrunk = type(value) is int and known is not None and 0 < value <= known
            if not shrunk and (value != known or type(value) is not int):
                raise ModelFileError(
                    f"the saved {path}.{key} is {value!r}; "
                    f"{'no such size' if known is None else f'at most {known}'} was expected"
                )
    for key, tensor in tensors.items():
        path, _, name = key.rpartition(".")
        module = model.get_submodule(path)
        current = getattr(module, name)
        if current.shape == tensor.shape:
            continue
        grown = any(new > old for new, old in zip(tensor.shape, current.shape, strict=False))
        if tensor.dim() != current.dim() or grown or not tensor.numel():
            raise ModelFileError(
                f"the saved {key} has the shape {tuple(tensor.shape)}; "
                f"{tuple(current.shape)} or smaller was expected"
            )
        empty = torch.empty(tensor.shape, dtype=current.dtype, device=current.device)
        if name in module._parameters:
            module._parameters[name] = nn.Parameter(empty, current.requires_grad)
        else:
            module._buffers[name] = empty.requires_grad_(current.requires_grad)
    for path, attributes in sizes.items():
        module = model.get_submodule(path)
        for key, value in attributes.items():
            setattr(module, key, value)
    for path, module in model.named_modules():
        for key, expected in _expected_shapes(module).items():
            tensor = module._parameters.get(key, module._buffers.get(key))
            if tensor is not None and tuple(tensor.shape) != expected:
                raise ModelFileError(
                    f"the saved {path}.{key} has the shape {tuple(tensor.shape)}, but the layer's "
                    f"sizes ask for {expected}"
                )


def _expected_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """What the sizes of a layer say of its tensors; nothing for kinds that are not known here."""
    if isinstance(module, nn.Linear):
        outputs = module.out_features
        return {"weight": (outputs, module.in_features), "bias": (outputs,)}
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        outputs, inputs = module.out_channels, module.in_channels // module.groups
        return {"weight": (outputs, inputs, *module.kernel_size), "bias": (outputs,)}
    if isinstance(module, nn.modules.batchnorm._NormBase):
        names = ("weight", "bias", "running_mean", "running_var")
        return dict.fromkeys(names, (module.num_features,))
    return {}
