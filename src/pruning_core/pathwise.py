"""How a gate is drawn, and how one ordinary backward pass finds its ∂L/∂θ: the pathwise estimators.

A gate in training mode multiplies by what its estimator draws. Estimators that compare losses at
several draws, the score functions, are in :mod:`pruning_core.estimators`; they belong to the
pruner, since no gate can do that alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Losses = Callable[[], Tensor]
"""Evaluates the model on the current batch and returns the loss of each example, shape (N,)."""


class Pathwise(ABC):
    """An estimator that a gate draws with, and that reads ∂L/∂θ off one ordinary backward pass.

    Stateless; one instance may serve all gates.
    """

    unbiased: bool
    """Whether the expectation of the estimate is the exact derivative."""

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


class IntegratedGates(Pathwise):
    """The difference as an integral: L(1) − L(0) = ∫₀¹ ∂L/∂ξ_i |_{ξ_i = t} dt.

    A multiplier is, with probability ``fraction``, a uniform t in place of a Bernoulli ξ;
    ∂L/∂ξ_i there is a one-sample estimate of the integral. It costs one ordinary backward pass.
    The only bias is that some of the other gates are then uniform too; it vanishes with
    ``fraction``, while the variance grows.

    Args:
        fraction: of the multipliers that are uniform, in (0, 1].
        draws: by default every example has a draw of its own. On a small network a gate costs
            less when the examples of a batch share so many independent draws evenly; batches
            that cannot be shared out evenly keep to the default.

    Raises:
        ValueError: if ``fraction`` or ``draws`` is out of range.
    """

    unbiased = False

    def __init__(self, fraction: float = 0.25, *, draws: int | None = None) -> None:
        if not 0.0 < fraction <= 1.0:
            raise ValueError(f"fraction is {fraction}; a number in (0, 1] was expected")
        if draws is not None and draws < 1:
            raise ValueError(f"draws is {draws}; at least 1 was expected, or None")
        self.fraction = fraction
        self.draws = draws

    def multiply(self, inputs: Tensor, theta: Tensor, dim: int = 1) -> Tensor:
        num_examples = inputs.shape[0]
        draws = self.draws
        if draws is None or num_examples % draws:
            draws = max(num_examples, 1)
        values = broadcast(self._draw(theta.expand(draws, -1)), inputs, dim)
        return (inputs.unflatten(0, (num_examples // draws, draws)) * values).flatten(0, 1)

    def _draw(self, theta: Tensor) -> Tensor:
        now = theta.detach()
        chosen, uniform = torch.rand(2, *theta.shape, dtype=theta.dtype, device=theta.device)
        chosen = chosen.lt(self.fraction).to(now)
        values = torch.lerp(uniform.lt(now).to(now), uniform, chosen)
        return torch.addcmul(values, chosen, theta - now, value=1 / self.fraction)


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
