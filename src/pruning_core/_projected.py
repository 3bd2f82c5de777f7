"""The projected step on θ of many gates at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from pruning_core.gates import BernoulliGate
from pruning_core.recipe import SLOW

_ANSWERS_AT_ONCE = ("cpu",)
"""Devices that may be asked for a number without waiting for what they still have to do."""


def projected_step_(
    gates: Sequence[BernoulliGate],
    rates: list[float] | list[Tensor],
    smoothing: float,
    inverse_scale: Tensor | None = None,
) -> int | Tensor:
    """Average ∂J/∂θ over ranks and time, go that far against it, and stay in [0, 1].

    Nothing moves unless every gradient is finite; on a GPU that is decided there.

    Args:
        gates: whose θ have gradients.
        rates: by gate, the step on θ for an averaged gradient of 1, negative; or one for each unit.
        smoothing: factor of the running average.
        inverse_scale: what the gradients are to be multiplied by, if they come scaled.

    Returns:
        1 if nothing moved, else 0.
    """
    thetas = [gate.theta for gate in gates]
    averages = [gate.gradient_average for gate in gates]
    slow = [gate.theta_average for gate in gates]
    sizes = [theta.numel() for theta in thetas]
    gradients: Sequence[Tensor] = [theta.grad for theta in thetas if theta.grad is not None]
    flat = torch.cat(gradients)
    if inverse_scale is not None or _ranks() > 1:
        if inverse_scale is not None:
            flat *= inverse_scale
        if _ranks() > 1:
            dist.all_reduce(flat)
            flat /= _ranks()
        gradients = flat.split(sizes)
    total = flat.sum()  # neither NaN nor ∞ is lost in it
    finite: Tensor | None = None
    if flat.device.type not in _ANSWERS_AT_ONCE:
        finite = total.isfinite()
        gradients = torch.where(finite, flat, torch.cat(averages)).split(sizes)
    elif not math.isfinite(total.item()):
        return 1
    torch._foreach_lerp_(averages, gradients, 1 - smoothing)
    steps = torch._foreach_mul(averages, rates)
    if finite is not None:
        torch._foreach_mul_(steps, finite.to(flat.dtype))
    torch._foreach_add_(thetas, steps)
    torch._foreach_clamp_min_(thetas, 0.0)
    torch._foreach_clamp_max_(thetas, 1.0)
    if finite is None:
        torch._foreach_lerp_(slow, thetas, SLOW)
        return 0
    targets = torch.where(finite, torch.cat(thetas), torch.cat(slow)).split(sizes)
    torch._foreach_lerp_(slow, targets, SLOW)
    return (~finite).long()


def _ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
