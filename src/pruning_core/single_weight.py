"""One weight under HALO: the path that it takes together with its coefficient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
) -> tuple[Tensor, Tensor]:
    """Descent on ½(w − z)² + ξ|w|/λ² + ψλ in w and λ together, by :class:`pruning_core.Halo`.

    Args:
        target: z, one for each weight; shape (n,).
        weight: w at the start; shape (n,), or one number for all.
        coefficient: λ at the start; shape (n,), or one number for all.
        xi: ξ > 0.
        psi: ψ > 0.
        step: learning rate of the weights.
        steps: how many.
        ratio: learning rate of the coefficients over that of the weights.
        proximal: the weights' steps stop at exactly 0; otherwise they follow the subgradient.

    Returns:
        w and λ, before the first step and after each; both of shape (steps + 1, n).
    """
    z = target.double()
    model = nn.Linear(1, len(z), bias=False, dtype=torch.float64)
    halo = Halo(model, xi, psi, proximal=proximal)
    w, c = model.weight, halo.coefficients
    with torch.no_grad():
        w.copy_(torch.as_tensor(weight).expand(len(z)).reshape(-1, 1))
        c.copy_(torch.as_tensor(coefficient))
    optimizer = torch.optim.SGD([{"params": w}, {"params": c, "lr": ratio * step}], step)
    weights, coefficients = [w.detach().flatten().clone()], [c.detach().clone()]
    for _ in range(steps):
        w.grad, c.grad = w.detach() - z.unsqueeze(1), None
        halo.backward()
        optimizer.step()
        if proximal:
            halo.shrink_(step)
        weights.append(w.detach().flatten().clone())
        coefficients.append(c.detach().clamp_min(halo.floor))
    return torch.stack(weights), torch.stack(coefficients)
