"""One weight: its path together with its coefficient, and the risk of a thresholding rule."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pruning_core.baselines.penalties import Penalty
from pruning_core.halo import Halo


def joint_path(
    target: Tensor,
    weight: Tensor | float,
    coefficient: Tensor | float,
    xi: float,
    psi: float,
    *,
    step: float,
    steps: int,
    ratio: float = 1.0,
    proximal: bool = True,
    cosine: bool = False,
    momentum: float = 0.0,
    curvature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Descent on ½(w − z)² + ξ|w|/λ² + ψλ in w and λ together, by :class:`pruning_core.Halo`.

    Args:
        target: z, one for each weight; shape (n,).
        weight: w at the start; shape (n,), or one number for all.
        coefficient: λ at the start; shape (n,), or one number for all.
        xi: ξ > 0.
        psi: ψ > 0.
        step: how far a constant gradient of 1 moves a weight in a step, in the long run: the
            learning rate over 1 − momentum.
        steps: how many.
        ratio: learning rate of the coefficients over that of the weights.
        proximal: the weights' steps stop at exactly 0; otherwise they follow the subgradient.
        cosine: both learning rates fall to 0 along half a cosine, as in training.
        momentum: of both, in [0, 1).
        curvature: factor on the first term; at 0 the loss does not care.

    Returns:
        w and λ, before the first step and after each; both of shape (steps + 1, n).
    """
    z = target.double()
    model = nn.Linear(1, len(z), bias=False, dtype=torch.float64)
    halo = Halo(model, xi, psi, proximal=proximal)
    w, c = model.weight, halo.coefficients
    with torch.no_grad():
        w.copy_(torch.as_tensor(weight, dtype=z.dtype).expand(len(z)).reshape(-1, 1))
        c.copy_(torch.as_tensor(coefficient))
    optimizer = torch.optim.SGD([{"params": w}, {"params": c}], step, momentum)
    weights, coefficients = [w.detach().flatten().clone()], [c.detach().clone()]
    for k in range(steps):
        rate = step * 0.5 * (1 + math.cos(math.pi * k / steps)) if cosine else step
        for group, factor in zip(optimizer.param_groups, (1.0, ratio), strict=True):
            group["lr"] = factor * rate * (1 - momentum)
        w.grad, c.grad = curvature * (w.detach() - z.unsqueeze(1)), None
        halo.backward()
        optimizer.step()
        if proximal:
            halo.shrink_(rate)
        weights.append(w.detach().flatten().clone())
        coefficients.append(c.detach().clamp_min(halo.floor))
    return torch.stack(weights), torch.stack(coefficients)


def risk(penalty: Penalty, truth: Tensor) -> Tensor:
    """E (T(z) − w)² for z ~ N(w, 1) and the penalty's thresholding rule T, by quadrature.

    Args:
        truth: w, in units of the noise; any shape.
    """
    noise, density = _normal_grid()
    values = penalty.thresholded(truth.double().unsqueeze(-1) + noise)
    return torch.trapezoid((values - truth.unsqueeze(-1)).square() * density, noise)


def kept_share(penalty: Penalty, truth: Tensor) -> Tensor:
    """The probability that T(z) is not zero, for z ~ N(w, 1); shaped like ``truth``."""
    noise, density = _normal_grid()
    values = penalty.thresholded(truth.double().unsqueeze(-1) + noise)
    return torch.trapezoid((values != 0) * density, noise)


def _normal_grid() -> tuple[Tensor, Tensor]:
    noise = torch.linspace(-9, 9, 6001, dtype=torch.float64)
    return noise, (-0.5 * noise.square()).exp() / math.sqrt(2 * math.pi)
