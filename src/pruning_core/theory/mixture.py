"""The objective J_f that a pass with integrated gates descends on, exactly, for tiny models.

Every gate is drawn from the mixture (1 − f) · Bernoulli(θ_i) + f · Uniform(0, 1), and

    J_f(W, θ) = E_mix[L] + (1 − f) log γ Σ_i θ_i + (λ/2) ‖W‖².

Here E_mix is a sum over which gates are uniform, over the masks of the others, and, by the rule of
Gauss and Legendre, over what the uniform ones are: all at once, each gate takes the values 0, 1 and
the rule's nodes. A *grid* holds the loss at all these places. Nothing here differentiates a loss in
a gate, as the estimators do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pruning_core.estimators import Comparing
from pruning_core.gates import BernoulliGate, hold_all
from pruning_core.pathwise import Losses, checked_fraction

MOST_PLACES = 100_000
"""Of a grid; (2 + nodes)ⁿ for n gates."""


def rule(nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the Gauss–Legendre rule on [0, 1]; float64, shape (nodes,)."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    return torch.from_numpy((places + 1) / 2), torch.from_numpy(weights / 2)


def chances(theta: Tensor, fraction: float, nodes: int) -> Tensor:
    """The probability of 0, of 1 and of each node, for every gate; shape (n, 2 + nodes)."""
    theta = theta.double()
    uniform = rule(nodes)[1].expand(theta.numel(), -1)
    off_or_on = torch.stack([1 - theta, theta], 1)
    return torch.cat([(1 - fraction) * off_or_on, fraction * uniform], 1)


def places(num_gates: int, nodes: int) -> Tensor:
    """Every gate at 0, 1 and each node, float64, shape ((2 + nodes)ⁿ, n); the last one fastest.

    Raises:
        ValueError: if there would be more than ``MOST_PLACES``.
    """
    if (2 + nodes) ** num_gates > MOST_PLACES:
        raise ValueError(
            f"{num_gates} gates with {nodes} nodes are {(2 + nodes) ** num_gates} places; at most "
            f"{MOST_PLACES} were expected, so take fewer gates or nodes"
        )
    one = torch.cat([torch.tensor([0.0, 1.0], dtype=torch.float64), rule(nodes)[0]])
    return torch.cartesian_prod(*[one] * num_gates).reshape(-1, num_gates)


@torch.no_grad()
def loss_grid(gates: Sequence[BernoulliGate], losses: Losses, nodes: int = 8) -> Tensor:
    """L at all :func:`places`, in nats over the examples; float64, shape (2 + nodes, …), n times.

    Args:
        gates: all gates of the model.
        losses: evaluates the model and returns the loss of each example, shape (N,).
        nodes: of the rule; a loss of degree 2 · ``nodes`` − 1 at most in a gate is summed exactly.
    """
    sizes = [gate.num_units for gate in gates]
    grid = []
    for place in places(sum(sizes), nodes):
        with hold_all(gates, place.to(gates[0].theta).unsqueeze(0).split(sizes, dim=1)):
            grid.append(losses().double().sum())
    return torch.stack(grid).reshape([2 + nodes] * sum(sizes))


def mixed_table(grid: Tensor, fraction: float) -> Tensor:
    """The mean loss of every mask while each gate is, with probability f, uniform instead.

    The values of E_mix[L] at the corners, of which it is the multilinear extension: all that
    :mod:`pruning_core.theory.enumeration` does with a table holds for it.

    Args:
        grid: of :func:`loss_grid`.
        fraction: f.

    Returns:
        float64, shape (2ⁿ,), in the order of :func:`pruning_core.theory.enumeration.masks`.
    """
    ends = chances(torch.tensor([0.0, 1.0]), fraction, grid.shape[0] - 2)
    for _ in range(grid.dim()):
        grid = torch.einsum("i...,ji->...j", grid, ends)  # the first gate goes to the end
    return grid.flatten()


def mixed_differences(grid: Tensor, theta: Tensor, fraction: float) -> Tensor:
    """E_mix[L | ξ_i = 1] − E_mix[L | ξ_i = 0] for every gate, shape (n,).

    It is (∂J_f/∂θ_i)/(1 − f) − log γ, and means the same where f is 1 and J_f has no slope.

    Args:
        grid: of :func:`loss_grid`.
        theta: shape (n,).
        fraction: f, of the other gates.
    """
    each = chances(theta, fraction, grid.shape[0] - 2)
    found = []
    for i in range(grid.dim()):
        along = grid.movedim(i, -1)
        for chance in itertools.chain(each[:i], each[i + 1 :]):
            along = torch.einsum("i,i...->...", chance, along)
        found.append(along[1] - along[0])
    return torch.stack(found)


class MixtureSum(Comparing):
    """What a pass with :class:`pruning_core.IntegratedGates` finds on average, as a sum.

    Its gradient of the weights is that of the mean loss in J_f, and that of θ is
    :func:`mixed_differences`, the same of J_f over 1 − f. All examples share the gates.

    Args:
        fraction: f, in (0, 1].
        nodes: of the rule.

    Raises:
        ValueError: for a fraction out of range, or on ``backward`` for too many gates.
    """

    unbiased = False
    forward_passes = MOST_PLACES  # at most

    def __init__(self, fraction: float = 0.25, nodes: int = 4) -> None:
        self.fraction = checked_fraction(fraction)
        self.nodes = nodes

    def backward(self, gates: Sequence[BernoulliGate], losses: Losses, num_examples: int) -> Tensor:
        sizes = [gate.num_units for gate in gates]
        theta = torch.cat([gate.theta.detach() for gate in gates])
        each = chances(theta, self.fraction, self.nodes)
        probabilities = torch.cartesian_prod(*each).reshape(-1, len(theta)).prod(1)
        values = []
        for place, chance in zip(places(len(theta), self.nodes), probabilities, strict=True):
            with hold_all(gates, place.to(gates[0].theta).unsqueeze(0).split(sizes, dim=1)):
                loss = losses().mean()
            (chance * loss).backward()
            values.append(loss.detach().double())
        grid = torch.stack(values)
        differences = mixed_differences(
            grid.reshape([2 + self.nodes] * len(theta)), theta, self.fraction
        )
        for gate, found in zip(gates, differences.split(sizes), strict=True):
            found = found.to(gate.theta)
            gate.theta.grad = found if gate.theta.grad is None else gate.theta.grad + found
        return (probabilities @ grid).to(gates[0].theta)


def first_order(grid: Tensor, theta: Tensor) -> float:
    """d/df of E_mix[L] at f = 0: Σ_i (E[L], gate i uniform) − E[L], all others Bernoulli."""
    each = chances(theta, 0.0, grid.shape[0] - 2)
    uniform = chances(theta, 1.0, grid.shape[0] - 2)
    bernoulli = _mean(grid, list(each))
    return float(
        math.fsum(
            _mean(grid, [uniform[j] if j == i else each[j] for j in range(grid.dim())]) - bernoulli
            for i in range(grid.dim())
        )
    )


def _mean(grid: Tensor, each: Sequence[Tensor]) -> float:
    for chance in each:
        grid = torch.einsum("i,i...->...", chance, grid)
    return float(grid)
