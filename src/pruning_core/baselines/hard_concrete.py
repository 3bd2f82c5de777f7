"""Hard-concrete gates: L0 regularisation of units (Louizos, Welling & Kingma, arXiv 1712.01312)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pruning_core.pathwise import broadcast

TEMPERATURE = 2 / 3
LOW, HIGH = -0.1, 1.1
_SHIFT = TEMPERATURE * math.log(-LOW / HIGH)


class HardConcreteGate(nn.Module):
    """Multiply every unit by a random number in [0, 1] that is exactly 0 or 1 with some chance.

    z = clip(LOW + (HIGH − LOW) σ((log u − log(1 − u) + log α)/TEMPERATURE), 0, 1) with u uniform
    on (0, 1), drawn for every example in training mode. In evaluation mode z is
    clip(LOW + (HIGH − LOW) σ(log α), 0, 1). log α is a parameter: z follows it smoothly, so that
    ordinary gradients tell what a unit is worth.

    Args:
        num_units: number of units or filters, n.
        theta: P(z > 0) of every unit at the start, in (0, 1).

    Shape:
        input and output (N, n) or (N, n, …).

    Raises:
        ValueError: if ``theta`` is outside (0, 1).
    """

    def __init__(self, num_units: int, *, theta: float = 0.9) -> None:
        super().__init__()
        if not 0.0 < theta < 1.0:
            raise ValueError(f"theta is {theta}; a probability in (0, 1) was expected")
        start = math.log(theta / (1 - theta)) + _SHIFT
        self.log_alpha = nn.Parameter(torch.full((num_units,), start))

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            return inputs * broadcast(self.multipliers().unsqueeze(0), inputs)
        # One float32 in 2²⁴ is 0, whose logarithm is −∞; z is 0 then, and its derivative too.
        noise = torch.rand(len(inputs), len(self.log_alpha), device=inputs.device).logit_(eps=1e-6)
        return inputs * broadcast(_stretched((noise + self.log_alpha) / TEMPERATURE), inputs)

    def multipliers(self) -> Tensor:
        """z of the deterministic network; shape (n,)."""
        return _stretched(self.log_alpha)

    def open_probability(self) -> Tensor:
        """P(z > 0) = σ(log α − TEMPERATURE log(−LOW/HIGH)); shape (n,)."""
        return torch.sigmoid(self.log_alpha - _SHIFT)

    def extra_repr(self) -> str:
        return f"num_units={len(self.log_alpha)}"


def _stretched(logits: Tensor) -> Tensor:
    return (LOW + (HIGH - LOW) * torch.sigmoid(logits)).clamp(0.0, 1.0)
