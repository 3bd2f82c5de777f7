"""Prices of single weights with one coefficient for all: ridge, lasso, adaptive lasso, bridge.

Each knows its value, its slope, and its thresholding rule

    argmin_w ½(w − z)² + P(w),

which shows what the price does to a weight that the data would have at z.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from pruning_core.halo import bridge_shrink

Tensors = list[Tensor] | tuple[Tensor, ...]
"""The weights, one tensor a layer, as torch's fused operations take them."""

_NEAR_ZERO = 1e-6
"""The bridge's slope is infinite at 0; it is taken this far from it at least."""


class Penalty(ABC):
    """A price P of weights, separate in each: even, 0 at 0 and growing with |w|.

    Args:
        strength: the coefficient, ≥ 0.

    Raises:
        ValueError: if ``strength`` is negative or not finite.
    """

    def __init__(self, strength: float) -> None:
        if not 0 <= strength < math.inf:
            raise ValueError(f"strength is {strength}; a finite number ≥ 0 was expected")
        self.strength = strength

    @abstractmethod
    def values(self, weights: Tensors) -> Tensors:
        """P of every weight; shaped like the weights."""

    @abstractmethod
    def slopes(self, weights: Tensors) -> Tensors:
        """dP/dw of every weight, 0 where it is 0; shaped like the weights."""

    @abstractmethod
    def thresholded(self, values: Tensor) -> Tensor:
        """argmin_w ½(w − z)² + P(w) for every z; shaped like ``values``."""

    @torch.no_grad()
    def value(self, weights: Tensors) -> Tensor:
        """P summed over all weights, a scalar."""
        return torch.stack([values.sum() for values in self.values(weights)]).sum()

    @torch.no_grad()
    def backward(self, weights: Tensors) -> None:
        """Add dP/dw to the gradients of the weights, in a few fused passes."""
        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        gradients = [w.grad for w in weights if w.grad is not None]
        torch._foreach_add_(gradients, self.slopes(weights))


class Ridge(Penalty):
    """s Σ w²: shrinks every weight by the same factor, and none to zero."""

    def values(self, weights: Tensors) -> Tensors:
        return torch._foreach_mul(torch._foreach_mul(weights, weights), self.strength)

    def slopes(self, weights: Tensors) -> Tensors:
        return torch._foreach_mul(weights, 2 * self.strength)

    def thresholded(self, values: Tensor) -> Tensor:
        return values / (1 + 2 * self.strength)


class Lasso(Penalty):
    """s Σ |w|: takes the same from every weight, from large ones too (Tibshirani 1996)."""

    def values(self, weights: Tensors) -> Tensors:
        return torch._foreach_mul(torch._foreach_abs(weights), self.strength)

    def slopes(self, weights: Tensors) -> Tensors:
        return torch._foreach_mul(torch._foreach_sign(weights), self.strength)

    def thresholded(self, values: Tensor) -> Tensor:
        return torch.nn.functional.softshrink(values, self.strength)


class AdaptiveLasso(Penalty):
    """s Σ |w|/|ŵ|, with ŵ an estimate made beforehand (Zou 2006): large weights pay less.

    Args:
        strength: s ≥ 0.
        estimates: ŵ, shaped like the weights that will be given.
    """

    def __init__(self, strength: float, estimates: Tensors) -> None:
        super().__init__(strength)
        self.prices = [strength / w.detach().abs().clamp_min(_NEAR_ZERO) for w in estimates]

    def values(self, weights: Tensors) -> Tensors:
        return torch._foreach_mul(torch._foreach_abs(weights), self.prices)

    def slopes(self, weights: Tensors) -> Tensors:
        return torch._foreach_mul(torch._foreach_sign(weights), self.prices)

    def thresholded(self, values: Tensor) -> Tensor:
        (price,) = self.prices
        return values - values.clamp(-price, price)


class Bridge(Penalty):
    """s Σ |w|^(1/3): HALO with its coefficients at their optimum, see ``bridge_scale``."""

    def values(self, weights: Tensors) -> Tensors:
        roots = torch._foreach_pow(torch._foreach_abs(weights), 1 / 3)
        return torch._foreach_mul(roots, self.strength)

    def slopes(self, weights: Tensors) -> Tensors:
        sizes = torch._foreach_clamp_min(torch._foreach_abs(weights), _NEAR_ZERO)
        slopes = torch._foreach_pow(sizes, -2 / 3)
        torch._foreach_mul_(slopes, torch._foreach_sign(weights))
        torch._foreach_mul_(slopes, self.strength / 3)
        return slopes

    def thresholded(self, values: Tensor) -> Tensor:
        return bridge_shrink(values, self.strength)
