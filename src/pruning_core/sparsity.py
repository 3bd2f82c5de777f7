"""Zeros among single weights: masks by magnitude, and the error at every share of zeros."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from pruning_core.metrics import error_percent, weight_values, weights

ZEROS_PERCENT = (90.0, 95.0, 97.0, 98.0, 98.5, 99.0, 99.5)
"""Where the curve of error against zeros is read."""

TOLERANCE = 1e-3
"""Weights below it in size are zeros that a penalty has made."""


def prune_(
    model: nn.Module,
    zeros_percent: float,
    scores: Sequence[Tensor] | None = None,
    *,
    layerwise: bool = False,
) -> nn.Module:
    """Set the weights of least score to zero, by masks of ``torch.nn.utils.prune``.

    The masks act whenever the model is called, until :func:`make_permanent_` takes them away.

    Args:
        model: its :func:`~pruning_core.metrics.weights` lose entries, never biases; they are what
            :class:`~pruning_core.halo.Halo` penalises. A tied weight has one mask.
        zeros_percent: share of zeros among all weights afterwards, in [0, 100).
        scores: one for each of those weights, in their order and shape; |w| by default.
        layerwise: the share holds in each weight, in place of one threshold for all.

    Raises:
        ValueError: if ``zeros_percent`` is out of range, scores do not fit, or the model has no
            weights or computes them from others (weight norm, parametrisations).
    """
    if not 0 <= zeros_percent < 100:
        raise ValueError(
            f"zeros_percent is {zeros_percent}; a share of the weights in [0, 100) was expected"
        )
    values = _prunable(model)
    if scores is None:
        scores = [value.abs() for value in values.values()]
    if (found := [tuple(s.shape) for s in scores]) != [tuple(v.shape) for v in values.values()]:
        expected = ", ".join(f"{name} {tuple(value.shape)}" for name, value in values.items())
        raise ValueError(f"scores have the shapes {found}; one for each of {expected} was expected")
    scored = list(zip(values, scores, strict=True))
    masks: dict[str, Tensor] = {}
    for group in [[pair] for pair in scored] if layerwise else [scored]:
        # torch's global_unstructured would do this, but refuses filters that are channels_last.
        flat = torch.cat([score.flatten() for _, score in group])
        least = flat.topk(round(zeros_percent / 100 * len(flat)), largest=False).indices
        kept = torch.ones_like(flat).index_fill_(0, least, 0)
        parts = kept.split([score.numel() for _, score in group])
        masks |= {
            name: part.view(score.shape) for (name, score), part in zip(group, parts, strict=True)
        }
    return _mask_(model, masks)


def prune_below_(model: nn.Module, tolerance: float) -> nn.Module:
    """Set every weight with |w| < ``tolerance`` to zero, by masks like :func:`prune_`.

    Raises:
        ValueError: if ``tolerance`` is negative or not finite, or for a model as in :func:`prune_`.
    """
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance is {tolerance}; a finite number ≥ 0 was expected")
    values = _prunable(model)
    return _mask_(model, {name: value.abs() >= tolerance for name, value in values.items()})


def make_permanent_(model: nn.Module) -> nn.Module:
    """Write the zeros of every mask into its weight, and take the mask away."""
    for module in model.modules():
        for name in _masked(module):
            order = list(module._parameters)
            memory = module.get_parameter(f"{name}_orig").data
            prune.remove(module, name)
            _put_in_place_(module, name, order, f"{name}_orig")
            # In the memory it had: one input channel makes torch forget that it is channels_last.
            weight = module.get_parameter(name)
            weight.data = memory.copy_(weight.data)
        for key, hook in list(module._forward_pre_hooks.items()):
            if hook is _apply_masks:
                del module._forward_pre_hooks[key]
    return model


def permanent_copy(model: nn.Module) -> nn.Module:
    """A copy for which :func:`make_permanent_` has been called; the model keeps its masks.

    ``copy.deepcopy`` alone refuses a model with masks that has been trained.
    """
    memo: dict[int, object] = {}
    for module in model.modules():
        for product in (getattr(module, name) for name in _masked(module)):
            memo[id(product)] = product.detach().clone()
    return make_permanent_(copy.deepcopy(model, memo))


def sparsity_curve(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    zeros_percent: Sequence[float] = ZEROS_PERCENT,
) -> dict[str, float]:
    """Error in percent against zeros in percent, one global threshold each, no fine-tuning."""
    curve = {}
    for zeros in zeros_percent:
        sparse = make_permanent_(prune_(permanent_copy(model), zeros))
        curve[f"{zeros:g}"] = error_percent(sparse, images, labels)
    return curve


def _prunable(model: nn.Module) -> dict[str, Tensor]:
    """The values of the weights, or the reason why none can be pruned."""
    for name, module in model.named_modules():
        hooks = module._forward_pre_hooks.values()
        old_style = any(isinstance(hook, (WeightNorm, SpectralNorm)) for hook in hooks)
        if old_style or parametrize.is_parametrized(module):
            raise ValueError(
                f"layer {name!r} ({type(module).__name__}) computes a weight from other parameters;"
                " write it out first, with torch.nn.utils.parametrize.remove_parametrizations or, "
                "in the old style, torch.nn.utils.remove_weight_norm or remove_spectral_norm"
            )
    values = weight_values(model)
    if not values:
        raise ValueError(
            f"{type(model).__name__} has no weights to prune; parameters of two or more dimensions "
            "were expected"
        )
    return values


def _mask_(model: nn.Module, masks: dict[str, Tensor]) -> nn.Module:
    """Put masks on the weights of these names, wherever they are tied to."""
    of_weight = {weight: masks[name] for name, weight in weights(model).items()}
    for module in model.modules():
        for key, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if parameter in of_weight:
                name = key.removesuffix("_orig")
                name = name if name in _masked(module) else key
                order = list(module._parameters)
                prune.custom_from_mask(module, name, of_weight[parameter])
                _put_in_place_(module, f"{name}_orig", order, key)
    if _apply_masks not in model._forward_pre_hooks.values():
        model.register_forward_pre_hook(_apply_masks, prepend=True)
    return model


def _put_in_place_(module: nn.Module, name: str, order: list[str], former: str) -> None:
    """Put a parameter where a former one stood in an order: torch puts what it renames last.

    What walks through ``model.parameters()`` would meet them in another order than before.
    """
    names = [name if key == former else key for key in order]
    module._parameters.update({key: module._parameters.pop(key) for key in names})


def _apply_masks(model: nn.Module, inputs: tuple[object, ...]) -> None:
    """Before a forward pass: torch's own hooks run only in modules that are called themselves.

    Attention's ``out_proj`` and lists of parameters are not; others read their weights.
    """
    for module in model.modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, prune.BasePruningMethod):
                hook(module, inputs)


def _masked(module: nn.Module) -> list[str]:
    """Names of the module's own tensors that have a mask."""
    names = (key.removesuffix("_mask") for key in module._buffers if key.endswith("_mask"))
    return [name for name in names if f"{name}_orig" in module._parameters]
