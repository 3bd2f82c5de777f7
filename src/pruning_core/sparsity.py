"""Zeros among single weights: masks by magnitude, and the error at every share of zeros."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from pruning_core.metrics import error_percent, weighted_layers

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
    """Set the weights of least score to zero, by a mask of ``torch.nn.utils.prune`` on each layer.

    Args:
        model: its linear and convolution layers lose weights, never biases.
        zeros_percent: share of zeros among all weights afterwards, in [0, 100).
        scores: by layer, shaped like its weight; |w| by default.
        layerwise: the share holds in each layer, in place of one threshold for all.

    Raises:
        ValueError: if ``zeros_percent`` is out of range.
    """
    if not 0 <= zeros_percent < 100:
        raise ValueError(
            f"zeros_percent is {zeros_percent}; a share of the weights in [0, 100) was expected"
        )
    layers = weighted_layers(model)
    if scores is None:
        scores = [layer.weight.detach().abs() for layer in layers]
    scored = list(zip(layers, scores, strict=True))
    for group in [[pair] for pair in scored] if layerwise else [scored]:
        # torch's global_unstructured would do this, but refuses filters that are channels_last.
        flat = torch.cat([score.flatten() for _, score in group])
        least = flat.topk(round(zeros_percent / 100 * len(flat)), largest=False).indices
        kept = torch.ones_like(flat).index_fill_(0, least, 0)
        parts = kept.split([score.numel() for _, score in group])
        for (layer, score), part in zip(group, parts, strict=True):
            prune.custom_from_mask(layer, "weight", part.view(score.shape))
    return model


def prune_below_(model: nn.Module, tolerance: float) -> nn.Module:
    """Set every weight with |w| < ``tolerance`` to zero, by masks like :func:`prune_`."""
    for layer in weighted_layers(model):
        prune.custom_from_mask(layer, "weight", layer.weight.detach().abs() >= tolerance)
    return model


def make_permanent_(model: nn.Module) -> nn.Module:
    """Write the zeros of every mask into its weight, and take the mask away."""
    for layer in weighted_layers(model):
        if prune.is_pruned(layer):
            memory = layer.get_parameter("weight_orig").data
            prune.remove(layer, "weight")
            # In the memory it had: one input channel makes torch forget that it is channels_last.
            layer.weight.data = memory.copy_(layer.weight.data)
    return model


def sparsity_curve(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    zeros_percent: Sequence[float] = ZEROS_PERCENT,
) -> dict[str, float]:
    """Error in percent against zeros in percent, one global threshold each, no fine-tuning."""
    curve = {}
    for zeros in zeros_percent:
        sparse = make_permanent_(prune_(copy.deepcopy(model), zeros))
        curve[f"{zeros:g}"] = error_percent(sparse, images, labels)
    return curve
