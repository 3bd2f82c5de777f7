"""How a gate is drawn, and how one ordinary backward pass finds its ∂L/∂θ: the pathwise estimators.

A gate in training mode multiplies by what its estimator draws. Others that do so are in
:mod:`pruning_core.relaxations`. Estimators that compare losses at several draws, the score
functions, are in :mod:`pruning_core.estimators`; they belong to the pruner, since no gate can do
that alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Losses = Callable[[], Tensor]
"""Evaluates the model on the current batch and returns the loss of each example, shape (N,)."""


class Pathwise(ABC):
    """An estimator that a gate draws with, and that reads ∂L/∂θ off one ordinary backward pass.

    One instance may serve all gates: it holds nothing of them, and nothing of the run but what
    :meth:`follow` told it last.
    """

    unbiased: bool
    """Whether the expectation of the estimate is the exact derivative of J, all gates Bernoulli."""

    forward_passes = 1
    """Evaluations of the model per step."""

    @abstractmethod
    def multiply(self, inputs: Tensor, theta: Tensor, dim: int = 1) -> Tensor:
        """ξ · inputs with ξ newly drawn, as a gate does it in training mode.

        The backward pass of the result adds this estimator's ∂L/∂θ to ``theta.grad``.

        Args:
            inputs: shape (N, n, …), or with the units along another dimension.
            theta: probabilities, shape (n,).
            dim: of the units in ``inputs``, not 0.
        """

    def backward(self, gates: Sequence[object], losses: Losses, num_examples: int) -> Tensor:
        """As for every estimator; each gate draws with its own."""
        return mean_backward(losses)

    def follow(self, growth: float) -> None:
        """Told by the pruner how many times its averaging window is as long as at first."""
        return


def mean_backward(losses: Losses) -> Tensor:
    """One ordinary backward pass of the mean loss, which is returned, detached."""
    loss = losses().mean()
    loss.backward()
    return loss.detach()


class StraightThrough(Pathwise):
    """∂L/∂ξ_i at the sampled ξ_i: a first-order guess at the difference, and biased by it.

    The guess over-values a unit that is off and under-values one that is on wherever the loss is
    convex along the gate, which leaves equilibria between 0 and 1.
    """

    unbiased = False

    def multiply(self, inputs: Tensor, theta: Tensor, dim: int = 1) -> Tensor:
        values = bernoulli(theta.detach(), inputs.shape[0]) + (theta - theta.detach())
        return inputs * broadcast(values, inputs, dim)


class SharedDraws(Pathwise):
    """An estimator whose draws the examples of a batch may share, and may take in strata.

    Args:
        draws: by default every example has a draw of its own. On a small network a gate costs
            less when the examples of a batch share so many independent draws evenly; batches
            that cannot be shared out evenly keep to the default.
        stratified: of the uniform numbers that a unit's draws are made of, one falls into each of
            as many equal parts of [0, 1] as there are draws (Latin hypercube sampling, McKay,
            Beckman & Conover 1979). Within a draw the units are as independent as before, so no
            expectation changes; the variance loses all that a sum over single units explains.

    Raises:
        ValueError: if ``draws`` is out of range.
    """

    def __init__(self, draws: int | None = None, *, stratified: bool = False) -> None:
        if draws is not None and draws < 1:
            raise ValueError(f"draws is {draws}; at least 1 was expected, or None")
        self.draws = draws
        self.stratified = stratified

    def multiply(self, inputs: Tensor, theta: Tensor, dim: int = 1) -> Tensor:
        num_examples = inputs.shape[0]
        draws = self.draws
        if draws is None or num_examples % draws:
            draws = max(num_examples, 1)
        values = broadcast(self._draw(theta.expand(draws, -1)), inputs, dim)
        return (inputs.unflatten(0, (num_examples // draws, draws)) * values).flatten(0, 1)

    @abstractmethod
    def _draw(self, theta: Tensor) -> Tensor:
        """Multipliers with their derivative in θ; both of shape (draws, n)."""

    def _uniform(self, theta: Tensor) -> Tensor:
        """Uniform on [0, 1) for every draw and unit, in strata if asked."""
        uniform = torch.rand(theta.shape, dtype=theta.dtype, device=theta.device)
        if not self.stratified:
            return uniform
        draws = len(theta)
        order = torch.rand_like(uniform).argsort(0)
        return (order + uniform) * ((1 - torch.finfo(theta.dtype).eps) / draws)  # 1 is left out


class IntegratedGates(SharedDraws):
    """The difference as an integral: L(1) − L(0) = ∫₀¹ ∂L/∂ξ_i |_{ξ_i = t} dt.

    A multiplier is, with probability f, the ``fraction``, a uniform t in place of a Bernoulli ξ;
    ∂L/∂ξ_i there, over f, is a one-sample estimate of the integral. It costs one ordinary backward
    pass. That pass is of the objective in which every gate is such a mixture,

        J_f(W, θ) = E_mix[L] + (1 − f) log γ Σ_i θ_i + (λ/2) ‖W‖²,

    and exact for it, for any number of gates: the estimate plus log γ has the expectation
    ∂J_f/∂θ_i / (1 − f), and the gradient of the weights has that of J_f. Like J, J_f is affine in
    every θ_i. It tends to J with f, while the variance of the estimate grows as 1/f. See
    :mod:`pruning_core.theory.mixture`.

    Args:
        fraction: f of the multipliers, in (0, 1].
        draws: as for :class:`SharedDraws`.
        stratified: as for :class:`SharedDraws`.
        least: if given, the fraction is halved whenever the pruner's averaging window has doubled,
            down to this. The variance of the averaged estimate, in proportion to 1/(f · window),
            then stays about what it was, and the objective tends to J.

    Raises:
        ValueError: if ``fraction``, ``draws`` or ``least`` is out of range.
    """

    unbiased = False

    def __init__(
        self,
        fraction: float = 0.25,
        *,
        draws: int | None = None,
        stratified: bool = False,
        least: float | None = None,
    ) -> None:
        super().__init__(draws, stratified=stratified)
        self.fraction = self._first = checked_fraction(fraction)
        if least is not None and not 0.0 < least <= fraction:
            raise ValueError(f"least is {least}; a number in (0, {fraction}] was expected, or None")
        self.least = least

    def follow(self, growth: float) -> None:
        if self.least is not None:
            # By halves: a compiled model is compiled anew for each value, so there are to be few.
            halved = self._first / 2 ** math.floor(math.log2(max(growth, 1.0)))
            self.fraction = max(self.least, halved)

    def _draw(self, theta: Tensor) -> Tensor:
        now = theta.detach()
        if self.stratified:
            uniform = self._uniform(now)
            chosen = uniform.lt(self.fraction)
            # What is left of the number is uniform too, given which of both it has chosen.
            rest = torch.where(
                chosen,
                uniform / self.fraction,
                (uniform - self.fraction) / max(1 - self.fraction, torch.finfo(now.dtype).tiny),
            )
        else:
            chosen, rest = torch.rand(2, *theta.shape, dtype=theta.dtype, device=theta.device)
            chosen = chosen.lt(self.fraction)
        chosen = chosen.to(now)
        values = torch.lerp(rest.lt(now).to(now), self._point(rest), chosen)
        return torch.addcmul(values, chosen, theta - now, value=1 / self.fraction)

    def _point(self, uniform: Tensor) -> Tensor:
        """Where along the gate a uniform number looks."""
        return uniform


def checked_fraction(fraction: float) -> float:
    """The fraction, if it is one in (0, 1]; else a ValueError."""
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"fraction is {fraction}; a number in (0, 1] was expected")
    return fraction


def bernoulli(theta: Tensor, num_examples: int) -> Tensor:
    """ξ ~ Bernoulli(θ) for every example and unit, shape (N, n)."""
    return torch.bernoulli(theta.expand(num_examples, -1))


def broadcast(values: Tensor, inputs: Tensor, dim: int = 1) -> Tensor:
    """Units (n,), or (N, n) for every example, shaped and typed to multiply ``inputs``.

    Args:
        values: of the units.
        inputs: shape (N, …) with n entries along ``dim``.
        dim: not 0.
    """
    dim %= inputs.dim()
    shape = [1] * (dim - 1) + [values.shape[-1]] + [1] * (inputs.dim() - 1 - dim)
    return values.reshape(*values.shape[:-1], *shape).to(inputs.dtype)
