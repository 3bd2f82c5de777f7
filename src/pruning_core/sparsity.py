"""Zeros among single weights: masks by magnitude, and the error at every share of zeros."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.utils import prune

from pruning_core.metrics import error_percent, weighted_layers

ZEROS_PERCENT = (90.0, 95.0, 97.0, 98.0, 98.5, 99.0, 99.5)
"""Where the curve of error against zeros is read."""

TOLERANCE = 1e-3
"""Weights below it in size are zeros that a penalty has made."""


def prune_magnitude_(
    model: nn.Module, zeros_percent: float, *, layerwise: bool = False
) -> nn.Module:
    """Set the smallest weights to zero, by a mask of ``torch.nn.utils.prune`` on every layer.

    Args:
        model: its linear and convolution layers lose weights, never biases.
        zeros_percent: share of zeros among all weights afterwards, in [0, 100).
        layerwise: the share holds in each layer, in place of one threshold for all.

    Raises:
        ValueError: if ``zeros_percent`` is out of range.
    """
    _check(zeros_percent)
    layers = list(weighted_layers(model))
    if layerwise:
        for layer in layers:
            amount = round(zeros_percent / 100 * layer.weight.numel())
            prune.l1_unstructured(layer, "weight", amount)
    else:
        total = sum(layer.weight.numel() for layer in layers)
        prune.global_unstructured(
            [(layer, "weight") for layer in layers],
            pruning_method=prune.L1Unstructured,
            amount=round(zeros_percent / 100 * total),
        )
    return model


def prune_below_(model: nn.Module, tolerance: float) -> nn.Module:
    """Set every weight with |w| < ``tolerance`` to zero, by masks like :func:`prune_magnitude_`."""
    for layer in weighted_layers(model):
        prune.custom_from_mask(layer, "weight", layer.weight.detach().abs() >= tolerance)
    return model


def make_permanent_(model: nn.Module) -> nn.Module:
    """Write the zeros of every mask into its weight, and take the mask away."""
    for layer in weighted_layers(model):
        if prune.is_pruned(layer):
            prune.remove(layer, "weight")
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
        sparse = make_permanent_(prune_magnitude_(copy.deepcopy(model), zeros))
        curve[f"{zeros:g}"] = error_percent(sparse, images, labels)
    return curve


def _check(zeros_percent: float) -> None:
    if not 0 <= zeros_percent < 100:
        raise ValueError(
            f"zeros_percent is {zeros_percent}; a share of the weights in [0, 100) was expected"
        )
