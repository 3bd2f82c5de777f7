"""Prices of single weights with one coefficient for all: ridge, lasso, adaptive lasso, bridge.

Each knows its value, its slope, and its thresholding rule

    argmin_w ½(w − z)² + P(w),

which shows what the price does to a weight that the data would have at z.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

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
        self.strength = _checked(strength)

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
        add_to_gradients(weights, self.slopes(weights))


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


Group = list[tuple[Tensor, int]]
"""Tensors and a dimension of each; their k-th slices along it are the k-th group together."""


class GroupLasso:
    """s Σ_g √|g| ‖w_g‖₂: the |g| weights of a group vanish together (Yuan & Lin 2006).

    Args:
        strength: s ≥ 0.
        groups: every entry describes as many groups as its tensors have slices. Where entries
            share weights, :meth:`shrink_` takes one after the other.

    Raises:
        ValueError: if ``strength`` is negative or not finite.
    """

    def __init__(self, strength: float, groups: list[Group]) -> None:
        self.strength = _checked(strength)
        self.groups = groups

    @torch.no_grad()
    def value(self) -> Tensor:
        """P summed over all groups, a scalar."""
        totals = [_root_size(group) * _norms(group).sum() for group in self.groups]
        return self.strength * torch.stack(totals).sum()

    @torch.no_grad()
    def shrink_(self, step: float) -> None:
        """The proximal step: ‖w_g‖ falls by ``step`` · s √|g|, and stops at exactly 0.

        Args:
            step: learning rate of the weights, divided by 1 − momentum if they have any.
        """
        for group in self.groups:
            fall = step * self.strength * _root_size(group)
            kept = 1 - (fall / _norms(group).clamp_min(_NEAR_ZERO)).clamp_max(1.0)
            for tensor, dim in group:
                tensor.mul_(kept.view([-1 if d == dim else 1 for d in range(tensor.dim())]))


class SharedShrinkage(nn.Module):
    """ξ‖w‖₁/λ² + ψλ² with one learned λ for all weights: HALO without its hierarchy (SWS).

    The least over λ, at λ² = (ξ‖w‖₁/ψ)^½, is 2(ξψ‖w‖₁)^½: a lasso whose price falls as the
    weights grow.

    Attributes:
        coefficient: λ, this module's one parameter; shape (1,).

    Args:
        xi: ξ > 0, price of the weights.
        psi: ψ > 0, price of the coefficient.
        initial: of λ, above 0.
        floor: the least λ, above 0; a step that took λ below it is taken back.

    Raises:
        ValueError: for a number out of range.
    """

    def __init__(self, xi: float, psi: float, *, initial: float = 1.0, floor: float = 1e-3) -> None:
        super().__init__()
        for name, value in (("xi", xi), ("psi", psi), ("initial", initial), ("floor", floor)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}; a finite number above 0 was expected")
        self.xi, self.psi, self.floor = xi, psi, floor
        self.coefficient = nn.Parameter(torch.full((1,), initial))

    @torch.no_grad()
    def value(self, weights: Tensors) -> Tensor:
        """P, a scalar."""
        squared = self.coefficient.clamp_min_(self.floor).square()
        return (self.xi * _total(weights) / squared + self.psi * squared).squeeze()

    @torch.no_grad()
    def backward(self, weights: Tensors) -> None:
        """Add the gradients of P to those of the weights and of the coefficient."""
        coefficient = self.coefficient.clamp_min_(self.floor)
        slopes = torch._foreach_sign(weights)
        torch._foreach_mul_(slopes, self.xi / coefficient.square().squeeze())
        add_to_gradients(weights, slopes)
        slope = 2 * self.psi * coefficient - 2 * self.xi * _total(weights) / coefficient**3
        add_to_gradients([self.coefficient], [slope])


def _total(weights: Tensors) -> Tensor:
    return torch.stack(torch._foreach_norm(weights, 1)).sum()


def add_to_gradients(parameters: Tensors, slopes: Tensors) -> None:
    """Add each slope to the gradient of its parameter, which may have none yet."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    torch._foreach_add_([p.grad for p in parameters if p.grad is not None], slopes)


def _checked(strength: float) -> float:
    if not 0 <= strength < math.inf:
        raise ValueError(f"strength is {strength}; a finite number ≥ 0 was expected")
    return strength


def _norms(group: Group) -> Tensor:
    by_group = [t.movedim(dim, 0).reshape(t.shape[dim], -1) for t, dim in group]
    return torch.stack([slices.square().sum(1) for slices in by_group]).sum(0).sqrt()


def _root_size(group: Group) -> float:
    return math.sqrt(sum(tensor.numel() / tensor.shape[dim] for tensor, dim in group))
