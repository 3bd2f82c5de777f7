"""Two gates and their saddle: where it is, and the line of starts that run into it.

With all other probabilities held, J is bilinear in two of them, J = c + a θ₁ + b θ₂ + h θ₁θ₂.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pruning_core.theory.enumeration import differences


def slopes(table: Tensor, log_gamma: float, others: Tensor, theta: Tensor) -> Tensor:
    """∂J/∂θ₁ and ∂J/∂θ₂ in nats; shape (…, 2).

    Args:
        table: losses of all masks in nats, shape (2ⁿ,).
        log_gamma: price of a unit in nats.
        others: values at which the other probabilities are held, shape (n − 2,).
        theta: the two that move, shape (…, 2).
    """
    held = others.to(theta).expand(*theta.shape[:-1], -1)
    return differences(table, torch.cat([theta, held], -1))[..., :2] + log_gamma


def saddle(table: Tensor, log_gamma: float, others: Tensor) -> Tensor:
    """The point where both slopes vanish, inside the square or not; shape (2,).

    Raises:
        ValueError: if the worth of neither unit depends on the other, so that there is none.
    """
    corners = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    at_0, at_1 = slopes(table, log_gamma, others, corners)
    twist = at_1 - at_0  # (h, h): the slope in θ₁ is a + h θ₂, that in θ₂ is b + h θ₁
    if not bool((twist.abs() > 0).all()):
        raise ValueError("the two units do not affect each other's worth: J has no saddle")
    return -(at_0 / twist).flip(0)


def separatrix(
    table: Tensor, log_gamma: float, others: Tensor, steps: int = 400, start: float = 1e-4
) -> Tensor:
    """The stable manifold of the saddle within the square: what descent runs into it from.

    The flow down the gradient is followed backwards, by Runge and Kutta's method of fourth order
    and in steps of equal length, from two points beside the saddle in the direction in which J
    rises, until it leaves the square.

    Args:
        table: losses of all masks in nats, shape (2ⁿ,).
        log_gamma: price of a unit in nats.
        others: values at which the other probabilities are held, shape (n − 2,).
        steps: to cross the square along its side.
        start: distance from the saddle.

    Returns:
        Points from one edge through the saddle to the other, shape (k, 2).

    Raises:
        ValueError: if the saddle is not inside of the square.
    """
    middle = saddle(table, log_gamma, others)
    if not bool(((middle > 0) & (middle < 1)).all()):
        raise ValueError(f"the saddle {middle.tolist()} is not inside of the square")
    twist = slopes(table, log_gamma, others, middle + torch.tensor([0.0, 1.0]).double())[0]
    hessian = torch.stack([torch.zeros_like(twist), twist, twist, torch.zeros_like(twist)])
    _, directions = torch.linalg.eigh(hessian.reshape(2, 2))
    rising = directions[:, -1]  # of the positive eigenvalue, where the flow comes back to the point

    def uphill(theta: Tensor) -> Tensor:
        slope = slopes(table, log_gamma, others, theta)
        return slope / slope.norm()

    halves = []
    for side in (-1.0, 1.0):
        theta, half = middle + side * start * rising, list[Tensor]()
        while bool(((theta >= 0) & (theta <= 1)).all()):
            half.append(theta)
            k1 = uphill(theta)
            k2 = uphill(theta + k1 / (2 * steps))
            k3 = uphill(theta + k2 / (2 * steps))
            k4 = uphill(theta + k3 / steps)
            theta = theta + (k1 + 2 * k2 + 2 * k3 + k4) / (6 * steps)
        inside, outside = half[-1], theta.clamp(0, 1)
        share = _share(inside, theta, outside)
        half.append((inside + (theta - inside) * share).clamp(0, 1))  # a rounding aside
        halves.append(half)
    below, above = halves
    return torch.stack([*reversed(below), middle, *above])


def _share(inside: Tensor, beyond: Tensor, clipped: Tensor) -> Tensor:
    """How much of the last step stays within the square, from 0 to 1."""
    moved = beyond - inside
    allowed = torch.where(moved == 0, 1.0, (clipped - inside) / moved)
    return allowed.amin()
