"""Tiny models exactly: every expectation over the gates as a sum over all their settings.

With n gates there are 2ⁿ masks. A *table* holds the loss of each of them, the negative
log-likelihood L(ξ) in nats over the training set, in the order of :func:`masks`; everything else
about fixed weights follows from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pruning_core.estimators import MAX_EXACT_UNITS
from pruning_core.gates import BernoulliGate, hold_all
from pruning_core.pathwise import Losses


def masks(num_gates: int) -> Tensor:
    """All settings of the gates, float64, shape (2ⁿ, n); the last gate changes fastest.

    Raises:
        ValueError: unless ``num_gates`` is from 1 to ``MAX_EXACT_UNITS``.
    """
    if not 1 <= num_gates <= MAX_EXACT_UNITS:
        raise ValueError(f"{num_gates} gates; from 1 to {MAX_EXACT_UNITS} were expected")
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    return torch.cartesian_prod(*[ends] * num_gates).reshape(-1, num_gates)


@torch.no_grad()
def loss_table(gates: Sequence[BernoulliGate], losses: Losses) -> Tensor:
    """L(ξ) for every mask, in nats over the examples, float64, shape (2ⁿ,).

    Args:
        gates: all gates of the model.
        losses: evaluates the model and returns the loss of each example, shape (N,).
    """
    sizes = [gate.num_units for gate in gates]
    table = []
    for mask in masks(sum(sizes)):
        values = torch.split(mask.to(gates[0].theta).unsqueeze(0), sizes, dim=1)
        with hold_all(gates, values):
            table.append(losses().double().sum())
    return torch.stack(table)


def loss_along(
    gates: Sequence[BernoulliGate], losses: Losses, index: int, values: Tensor
) -> Tensor:
    """E[L(ξ) | ξ_i = t] for every t of ``values``, the other gates Bernoulli draws by their θ.

    Args:
        gates: all gates of the model.
        losses: evaluates the model and returns the loss of each example, shape (N,).
        index: i, counted through all gates.
        values: t, shape (k,); the result can be differentiated in it.

    Returns:
        In nats over the examples, float64, shape (k,).

    Raises:
        ValueError: if there is no such gate.
    """
    sizes = [gate.num_units for gate in gates]
    if not 0 <= index < sum(sizes):
        raise ValueError(f"index is {index}; a unit from 0 to {sum(sizes) - 1} was expected")
    theta = torch.cat([gate.theta.detach() for gate in gates]).double()
    others = masks(len(theta))
    others = others[others[:, index] == 0]
    chance = torch.where(others == 1, theta, 1 - theta)
    chance[:, index] = 1
    along = torch.arange(len(theta)) == index
    found = []
    for value in values:
        total = values.new_zeros((), dtype=torch.float64)
        for mask, probability in zip(others, chance.prod(1), strict=True):
            held = torch.where(along, value, mask).to(gates[0].theta).unsqueeze(0)
            with hold_all(gates, torch.split(held, sizes, dim=1)):
                total = total + probability * losses().double().sum()
        found.append(total)
    return torch.stack(found)


def regression_table(inputs: Tensor, weights: Tensor, targets: Tensor) -> Tensor:
    """L(ξ) of the regression y = Σ_i ξ_i w_i x_i + noise of unit variance; shape (2ⁿ,), in nats.

    Args:
        inputs: shape (N, n).
        weights: shape (n,).
        targets: shape (N,).
    """
    residuals = targets - (masks(weights.numel()) * weights) @ inputs.T
    return (residuals**2 + math.log(2 * math.pi)).sum(1) / 2


def probabilities(theta: Tensor) -> Tensor:
    """The probability of every mask when the gates are independent; shape (…, n) to (…, 2ⁿ)."""
    all_masks = masks(theta.shape[-1])
    return torch.where(all_masks == 1, theta.unsqueeze(-2), 1 - theta.unsqueeze(-2)).prod(-1)


def expectation(table: Tensor, theta: Tensor) -> Tensor:
    """E[L(ξ)] for independent gates ξ_i ~ Bernoulli(θ_i); θ of shape (…, n), result (…)."""
    return probabilities(theta) @ table


def differences(table: Tensor, theta: Tensor) -> Tensor:
    """E[L | ξ_i = 1] − E[L | ξ_i = 0] for every gate, shape (…, n): minus what it is worth."""
    columns = []
    for i in range(theta.shape[-1]):
        on, off = theta.clone(), theta.clone()
        on[..., i], off[..., i] = 1.0, 0.0
        columns.append(expectation(table, on) - expectation(table, off))
    return torch.stack(columns, -1)


def projected_descent(
    table: Tensor, log_gamma: float, start: Tensor, step: float, steps: int
) -> Tensor:
    """The path of θ ← clip(θ − step · ∂J/∂θ, 0, 1) with J = E[L] + log γ Σ θ.

    Args:
        table: losses of the masks, shape (2ⁿ,).
        log_gamma: price of a unit in nats.
        start: first θ, shape (…, n).
        step: of the descent, per nat.
        steps: how many.

    Returns:
        θ before the first and after every step, shape (steps + 1, …, n).
    """
    path = [start]
    for _ in range(steps):
        slope = differences(table, path[-1]) + log_gamma
        path.append((path[-1] - step * slope).clamp(0, 1))
    return torch.stack(path)


def log_evidence(table: Tensor, pi: Tensor) -> Tensor:
    """log Σ_ξ p(ξ | π) e^{−L(ξ)}, the log evidence in nats; π of shape (…, n), result (…)."""
    return torch.logsumexp(probabilities(pi).log() - table, -1)


def posterior(table: Tensor, pi: Tensor) -> Tensor:
    """p(ξ | data) of every mask, shape (…, n) to (…, 2ⁿ)."""
    return torch.softmax(probabilities(pi).log() - table, -1)


def elbo(table: Tensor, theta: Tensor, pi: Tensor) -> Tensor:
    """The evidence lower bound −E[L] − Σ_i KL(θ_i ‖ π_i) in nats; shapes (…, n) to (…)."""
    divergence = (
        torch.xlogy(theta, theta / pi)
        + torch.special.xlog1py(1 - theta, -theta)
        - torch.special.xlog1py(1 - theta, -pi)
    )
    return -expectation(table, theta) - divergence.sum(-1)


def mean_field(
    table: Tensor, pi: Tensor, sweeps: int = 200, *, start: Tensor | None = None
) -> Tensor:
    """A θ that no change of a single θ_i improves the bound of, by coordinate ascent; shape (n,).

    Each coordinate has its maximum where logit θ_i = logit π_i + worth_i. It starts from π, or
    from another θ.
    """
    theta = (pi if start is None else start).clone()
    for _ in range(sweeps):
        for i in range(theta.numel()):
            theta[i] = torch.sigmoid(torch.logit(pi[i]) - differences(table, theta)[i])
    return theta


def best_product(table: Tensor, pi: Tensor) -> Tensor:
    """The θ with the largest bound among those that ascent finds from near each mask; (n,)."""
    starts = 0.02 + 0.96 * masks(pi.numel())
    found = [mean_field(table, pi, start=start) for start in starts]
    return max(found, key=lambda theta: float(elbo(table, theta, pi)))


def tempered(table: Tensor, theta: Tensor, log_gamma: float, temperature: float) -> Tensor:
    """E[L] + log γ Σθ − T Σ H(θ) in nats, with H the entropy of a gate; shape (…, n) to (…)."""
    entropy = torch.special.entr(theta) + torch.special.entr(1 - theta)
    cost = log_gamma * theta - temperature * entropy
    return expectation(table, theta) + cost.sum(-1)
