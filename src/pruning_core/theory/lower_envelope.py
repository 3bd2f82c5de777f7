"""The cost of a unit as a lower envelope: for each π a convex curve over θ, and the least of all.

F(θ, π) = KL(θ ‖ π) − log p(π), chapter "A price that does not depend on θ". Costs are measured from
the smallest F at θ = 0, as :meth:`pruning_core.hyperprior.HyperPrior.cost` does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pruning_core.hyperprior import Beta, Flattening


def total(prior: Flattening | Beta, theta: Tensor, pi: Tensor) -> Tensor:
    """F(θ, π) less the smallest F(0, ·), in nats, elementwise (eq-flattening-total).

    Args:
        prior: with a density; a point mass has a single curve, its cost.
        theta: in [0, 1].
        pi: in (0, 1).
    """
    return _charge(prior, theta, pi) - _least_at_0(prior, theta)


def dented(prior: Flattening | Beta, theta: Tensor, low: float, high: float) -> Tensor:
    """The envelope of the curves that are left when those with low < π < high are taken away.

    F(θ, ·) falls up to its minimum and rises after it, so where the best π is away, the best that
    is left is one of the two ends.

    Args:
        prior: with a density.
        theta: in [0, 1], shape (k,).
        low: smallest π of the gap, > 0.
        high: its largest, < 1.

    Returns:
        Costs of shape (k,), in nats; ``prior.cost`` where the best π stays, more elsewhere.

    Raises:
        ValueError: unless 0 < ``low`` < ``high`` < 1.
    """
    if not 0 < low < high < 1:
        raise ValueError(f"a gap from {low} to {high}; 0 < low < high < 1 was expected")
    best = prior.optimal_pi(theta)
    ends = torch.stack([total(prior, theta, torch.full_like(theta, end)) for end in (low, high)])
    away = (best > low) & (best < high)
    return torch.where(away, ends.amin(0), prior.cost(theta))


def _charge(prior: Flattening | Beta, theta: Tensor, pi: Tensor) -> Tensor:
    divergence = (
        torch.xlogy(theta, theta / pi)
        + torch.special.xlog1py(1 - theta, -theta)
        - torch.special.xlog1py(1 - theta, -pi)
    )
    return divergence - prior.log_density(pi)


def _least_at_0(prior: Flattening | Beta, like: Tensor) -> Tensor:
    pi = prior.optimal_pi(like.new_zeros(()))
    return -torch.log1p(-pi) - prior.log_density(pi)  # KL(0 ‖ π) − log p(π)
