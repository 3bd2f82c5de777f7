"""Pathwise estimators beside integrated gates: two quadratures along the gate, and a relaxation.

The integral L(1) − L(0) = ∫₀¹ ∂L/∂ξ_i |_{ξ_i = t} dt that :class:`IntegratedGates` samples may be
replaced by a rule with a few points: those of Gauss and Legendre, or the two ends, the trapezoid
rule. Concrete replaces the gate itself by a smooth one.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pruning_core.pathwise import IntegratedGates, SharedDraws, checked_fraction

_MOST_POINTS = 8
"""Of a rule; more would not be told from uniform ones."""

_INSIDE = 1e-3
"""Concrete has log-odds, so it draws with θ kept this far inside of [0, 1]."""


class GaussLegendre(IntegratedGates):
    """Integrated gates that look at the points of a Gauss–Legendre rule.

    With probability ``fraction`` a multiplier is one of the rule's points, drawn with the rule's
    weights, in place of a uniform t. Along its own gate a loss that is a polynomial of degree
    2 · ``points`` at most is integrated exactly; the other gates then are such mixtures too. With
    stratified draws a unit visits its points evenly in every batch.

    Args:
        points: of the rule, 1 to 8.
        fraction: of the multipliers, in (0, 1].
        draws: as for :class:`SharedDraws`.
        stratified: as for :class:`SharedDraws`.

    Raises:
        ValueError: for a number out of range.
    """

    unbiased = False

    def __init__(
        self,
        points: int = 2,
        fraction: float = 0.25,
        *,
        draws: int | None = None,
        stratified: bool = False,
    ) -> None:
        super().__init__(fraction, draws=draws, stratified=stratified)
        if not 1 <= points <= _MOST_POINTS:
            raise ValueError(f"points is {points}; 1 to {_MOST_POINTS} was expected")
        nodes, weights = np.polynomial.legendre.leggauss(points)
        self.points = tuple(((nodes + 1) / 2).tolist())
        self.weights = tuple((weights / 2).tolist())

    def _point(self, uniform: Tensor) -> Tensor:
        bounds = np.cumsum(self.weights)[:-1]
        values = torch.full_like(uniform, self.points[0])
        for bound, point in zip(bounds.tolist(), self.points[1:], strict=True):
            values.masked_fill_(uniform >= bound, point)
        return values


class Trapezoid(SharedDraws):
    """The derivatives at both ends, averaged: ½ (∂L/∂ξ_i at 0 + ∂L/∂ξ_i at 1).

    Exact where the loss is a parabola along the gate. Every multiplier is 0 or 1: ξ_i is drawn
    from p_i = (1 − f) θ_i + f/2, as if with probability f, the ``fraction``, a fair coin decided.
    One pass sees one end only, so ∂L/∂ξ_i is divided by twice the probability of that end,

        d̂_i = ∂L/∂ξ_i / (2 P(ξ_i)),   P(1) = p_i,   P(0) = 1 − p_i,

    which is at most 1/f times ∂L/∂ξ_i. The weights' gradient is exactly that of J at p.

    As f → 0 it is ReinMax (Liu, Dong, Liu, Yu & Gao 2023) for a Bernoulli variable: of its estimate
    2 π′(1 − π′) − ½ θ(1 − θ) times ∂L/∂ξ with π′ = (θ + ξ)/2, for the log-odds of θ, what is left
    is θ(1 − θ) / (2 P(ξ)); the first factor is dθ by the log-odds. ReinMax itself sees one end
    only where θ is 0 or 1, and its variance grows without bound on the way there.

    Args:
        fraction: f, in (0, 1].
        draws: as for :class:`SharedDraws`.
        stratified: as for :class:`SharedDraws`.

    Raises:
        ValueError: for a number out of range.
    """

    unbiased = False

    def __init__(
        self, fraction: float = 0.25, *, draws: int | None = None, stratified: bool = False
    ) -> None:
        super().__init__(draws, stratified=stratified)
        self.fraction = checked_fraction(fraction)

    def _draw(self, theta: Tensor) -> Tensor:
        now = theta.detach()
        on = torch.lerp(now, torch.full_like(now, 0.5), self.fraction)
        drawn = self._uniform(now).lt(on)
        probability = torch.where(drawn, on, 1 - on)
        return torch.addcdiv(drawn.to(now), theta - now, probability, value=0.5)


class Concrete(SharedDraws):
    """The binary Concrete or Gumbel-softmax relaxation, for comparison.

    ξ_i = σ((log(θ_i/(1 − θ_i)) + log(u/(1 − u))) / τ) with u uniform, which is differentiated in
    θ_i (Maddison, Mnih & Teh 2017; Jang, Gu & Poole 2017). The gradients of θ and of the weights
    are exact for the expected loss of *these* gates, which are nowhere 0 or 1 and whose objective
    is not affine in θ_i; they become Bernoulli as τ → 0, while the variance of the estimate grows
    without bound. θ within 0.001 of 0 or 1 draws as if it were there.

    Args:
        temperature: τ > 0.
        draws: as for :class:`SharedDraws`.
        stratified: as for :class:`SharedDraws`.

    Raises:
        ValueError: for a number out of range.
    """

    unbiased = False

    def __init__(
        self, temperature: float = 2 / 3, *, draws: int | None = None, stratified: bool = False
    ) -> None:
        super().__init__(draws, stratified=stratified)
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}; a number above 0 was expected")
        self.temperature = temperature

    def _draw(self, theta: Tensor) -> Tensor:
        now = theta.detach()
        inside = now.clamp(_INSIDE, 1 - _INSIDE)
        noise = self._uniform(now).logit(torch.finfo(now.dtype).eps)
        values = ((inside.logit() + noise) / self.temperature).sigmoid()
        slope = values * (1 - values) / (self.temperature * inside * (1 - inside))
        return torch.addcmul(values, slope, theta - now)
