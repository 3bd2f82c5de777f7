"""A fresh model takes the shapes of a saved one, whose units and sections have partly left."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

from pruning_core.gates import BernoulliGate
from pruning_core.layers import inside_sections, layer_gates, leave_


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
    """Give every layer the shapes of ``tensors`` and the attributes of ``sizes``, in place.

    Units have left, so nothing can have grown; that is seen before memory is taken. Sections of
    which there are no tensors leave.

    Raises:
        ModelFileError: naming what differs, if the tensors are not this model's, or the sizes do
            not belong to them.
    """
    left = left_sections(model, tensors)
    check_names(model, tensors, left)
    leave_(model, left)
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
        if isinstance(module, BernoulliGate):
            module.keep_(torch.arange(len(tensor)))
        elif name in module._parameters:
            current.grad = None
            current.data = _empty_like(current, tensor.shape)
        else:
            empty = _empty_like(current, tensor.shape)
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


def left_sections(model: nn.Module, tensors: Iterable[str]) -> list[str]:
    """Names of the layer gates of which there are no tensors; without those inside of another.

    Args:
        model: as it was before a section left.
        tensors: names of those that were saved.
    """
    tensors = list(tensors)
    left = [name for name in layer_gates(model) if not inside_sections(model, tensors, [name])]
    inside = inside_sections(model, left, left)
    return [name for name in left if name not in inside]


def check_names(model: nn.Module, tensors: Iterable[str], left: Collection[str]) -> None:
    """Raises ModelFileError unless the tensors are those of the model without some sections."""
    own = set(model.state_dict())
    gates = tuple(f"{name}.gate." if name else "gate." for name in left)
    expected = own - inside_sections(model, own, left)
    expected -= {key for key in own if key.startswith(gates)}
    if expected != set(tensors):
        raise ModelFileError(
            "the saved model is another one: missing "
            f"{sorted(expected - set(tensors))}, unexpected {sorted(set(tensors) - expected)}"
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


def _empty_like(tensor: Tensor, shape: torch.Size) -> Tensor:
    """In another shape, on the same device and in the same memory format."""
    empty = torch.empty(shape, dtype=tensor.dtype, device=tensor.device)
    if tensor.dim() == 4:
        like = torch.empty_like(tensor, device="meta", memory_format=torch.channels_last)
        if tensor.stride() == like.stride():
            return empty.to(memory_format=torch.channels_last)
    return empty
