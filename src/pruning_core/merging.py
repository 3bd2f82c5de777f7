"""Neighbouring linear maps as one: what is left between them when a nonlinear section has gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

Chosen = Callable[[str, nn.Module, nn.Module], bool]
"""Whether to merge the layer of a name, which is the first, with the second."""


def merge_linear_(model: nn.Module, chosen: Chosen | None = None) -> list[str]:
    """Merge linear maps that follow each other in an ``nn.Sequential``, in place, exactly.

    Two linear layers, or two convolutions of which one is 1 × 1, become one where that has no more
    parameters than both had; only ``nn.Identity`` may stand between them. What they compute is the
    same up to floating-point rounding. The merged layer takes the place and the name of the second,
    with parameters of its own; the first and what stood between leave the ``nn.Sequential``, in
    which the others keep their names. A layer with hooks, parametrizations or a weight that another
    shares stays.

    Args:
        model: in which to look, in all its ``nn.Sequential``, also where one follows another.
        chosen: decides by the name of the first layer, and both, in place of their sizes.

    Returns:
        Names of the layers that have been merged into another, in order.
    """
    merged: list[str] = []
    while (pair := next(_pairs(model, chosen or _is_smaller), None)) is not None:
        first, between, second = pair
        layers = model.get_submodule(first), model.get_submodule(second)
        _set(model, second, _product(*layers).train(layers[1].training))
        for name in (first, *between):
            parent, _, child = name.rpartition(".")
            del model.get_submodule(parent)._modules[child]
        merged.append(first)
    return merged


def _pairs(model: nn.Module, chosen: Chosen) -> Iterator[tuple[str, list[str], str]]:
    """Layers to merge: names of the first, of the identities between, and of the second."""
    shared = _shared(model)
    for chain in _chains(model):
        first: str | None = None
        between: list[str] = []
        for name in chain:
            module = model.get_submodule(name)
            if type(module) is nn.Identity and not _has_hooks(module):
                between.append(name)
                continue
            if first is not None:
                before = model.get_submodule(first)
                if _can_merge(before, module) and chosen(first, before, module):
                    yield first, between, name
            alone = _is_linear(module) and not shared & set(module.parameters())
            first, between = (name, []) if alone else (None, [])


def _chains(model: nn.Module) -> list[list[str]]:
    """Names of modules that are called one after the other."""
    chains: list[list[str]] = []
    nested: set[nn.Module] = set()
    for path, module in model.named_modules():
        if type(module) is nn.Sequential and module not in nested:
            chain: list[str] = []
            _append(path, module, chain, nested)
            chains.append(chain)
    return chains


def _append(path: str, module: nn.Sequential, chain: list[str], nested: set[nn.Module]) -> None:
    for name, child in module.named_children():
        within = f"{path}.{name}" if path else name
        if type(child) is nn.Sequential and not _has_hooks(child):
            nested.add(child)
            _append(within, child, chain, nested)
        else:
            chain.append(within)


def _shared(model: nn.Module) -> set[Tensor]:
    """Parameters of several names, or of a module of several."""
    names = model.named_parameters(remove_duplicate=False)
    seen: set[Tensor] = set()
    twice: set[Tensor] = set()
    for _, parameter in names:
        (twice if parameter in seen else seen).add(parameter)
    return twice


def _is_linear(module: nn.Module) -> bool:
    """Exactly a layer of torch, and nothing that computes with its weight otherwise."""
    known = type(module) is nn.Linear or type(module) in _CONVOLUTIONS
    return known and not _has_hooks(module)


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _can_merge(first: nn.Module, second: nn.Module) -> bool:
    if isinstance(first, nn.Linear) and isinstance(second, nn.Linear):
        return _is_linear(first) and _is_linear(second)
    if not (isinstance(first, _CONVOLUTIONS) and isinstance(second, _CONVOLUTIONS)):
        return False
    if type(first) is not type(second) or not (_is_linear(first) and _is_linear(second)):
        return False
    if first.groups != 1 or second.groups != 1:
        return False
    if _is_pointwise(second):
        return True
    # What the second pads with is 0, where the first's bias would be.
    padded = second.padding not in (0, "valid", (0,) * len(second.kernel_size))
    strided = set(first.stride) != {1}
    zeros = second.padding_mode == "zeros"
    return _is_pointwise(first) and not strided and (not padded or (first.bias is None and zeros))


def _is_pointwise(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> bool:
    unpadded = layer.padding in (0, "valid", (0,) * len(layer.kernel_size))
    return set(layer.kernel_size) == {1} and unpadded


def _is_smaller(name: str, first: nn.Module, second: nn.Module) -> bool:
    """Whether the product has no more parameters than both have."""
    both = sum(p.numel() for layer in (first, second) for p in layer.parameters())
    outputs, rest = second.get_parameter("weight"), first.get_parameter("weight")
    size = len(outputs) * rest.shape[1] * (outputs[0, 0].numel() * rest[0, 0].numel())
    has_bias = _bias(first) is not None or _bias(second) is not None
    return size + has_bias * len(outputs) <= both


def _bias(layer: nn.Module) -> Tensor | None:
    return layer._parameters["bias"]


def _product(first: nn.Module, second: nn.Module) -> nn.Module:
    """Second of first, as one layer."""
    with torch.no_grad():
        outer, inner = second.get_parameter("weight"), first.get_parameter("weight")
        if outer.dim() > 2 and outer[0, 0].numel() > 1:  # the first is 1 × 1
            weight = torch.einsum("oh...,hi->oi...", outer, inner.flatten(1))
        else:
            weight = torch.einsum("oh,hi...->oi...", outer.flatten(1), inner)
        bias, before = _bias(second), _bias(first)
        if before is not None:
            moved = outer.flatten(2).sum(2) if outer.dim() > 2 else outer
            shift = moved @ before
            bias = shift if bias is None else bias + shift
        return _layer(first, second, weight, bias)


def _layer(first: nn.Module, second: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    options: dict[str, Any] = {"bias": bias is not None, "device": "meta", "dtype": weight.dtype}
    if isinstance(first, nn.Linear):
        layer: nn.Module = nn.Linear(weight.shape[1], weight.shape[0], **options)
    else:
        assert isinstance(first, _CONVOLUTIONS)
        assert isinstance(second, _CONVOLUTIONS)
        like = first if _is_pointwise(second) else second
        kind: type[Any] = type(first)
        layer = kind(
            weight.shape[1],
            weight.shape[0],
            like.kernel_size,
            tuple(a * b for a, b in zip(first.stride, second.stride, strict=True)),
            like.padding,
            like.dilation,
            padding_mode=like.padding_mode,
            **options,
        )
    learns = second.get_parameter("weight").requires_grad
    layer.weight = nn.Parameter(weight.contiguous(), learns)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), learns)
    return layer


def _set(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
