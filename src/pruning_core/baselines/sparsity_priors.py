"""Sparsity priors as prices that no method here trains with; in the book they stand by HALO."""

from __future__ import annotations

import math

import torch
from scipy.special import exp1
from torch import Tensor

from pruning_core.baselines.penalties import Penalty, Tensors


class StudentT(Penalty):
    """s log(1 + w²/τ²), minus the log density of Student's t with 2s − 1 degrees of freedom.

    Args:
        strength: s.
        scale: τ > 0, where the price turns from a square to a logarithm.
    """

    def __init__(self, strength: float, scale: float) -> None:
        super().__init__(strength)
        self.scale = scale

    def values(self, weights: Tensors) -> Tensors:
        return [self.strength * torch.log1p((w / self.scale) ** 2) for w in weights]

    def slopes(self, weights: Tensors) -> Tensors:
        return [2 * self.strength * w / (self.scale**2 + w**2) for w in weights]

    def thresholded(self, values: Tensor) -> Tensor:
        """By search, exact to |z|/4000."""
        weights = values[..., None] * torch.linspace(0, 1, 4001, dtype=values.dtype)
        (prices,) = self.values([weights])
        best = (0.5 * (weights - values[..., None]) ** 2 + prices).argmin(-1, keepdim=True)
        return weights.gather(-1, best)[..., 0]


class Count(Penalty):
    """s for every weight that is not zero, as spike-and-slab charges: the hard threshold."""

    def values(self, weights: Tensors) -> Tensors:
        return [self.strength * (w != 0).to(w) for w in weights]

    def slopes(self, weights: Tensors) -> Tensors:
        return [torch.zeros_like(w) for w in weights]

    def thresholded(self, values: Tensor) -> Tensor:
        return values.where(values.abs() > math.sqrt(2 * self.strength), 0.0)


class Horseshoe(Penalty):
    """−log p(w), up to a constant, for a normal w of half-Cauchy scale.

    p(w) = (2π³)^(−1/2) e^x E₁(x) with x = w²/2. It has a pole at 0, so that the minimum of loss
    and penalty is always at 0; the estimate is the posterior mean instead. For |w| below 35.
    """

    def __init__(self) -> None:
        super().__init__(1.0)

    def values(self, weights: Tensors) -> Tensors:
        return [-_scaled_exp1(w).log() for w in weights]

    def slopes(self, weights: Tensors) -> Tensors:
        return [2 / (w * _scaled_exp1(w)) - w for w in weights]

    def thresholded(self, values: Tensor) -> Tensor:
        """E[w | z] for z = w + standard normal noise.

        Given the scale a, the mean is (1 − κ)z with κ = 1/(1 + a²); with κ = sin² φ the mean of
        κ is a ratio of two smooth integrals over φ.
        """
        phi = torch.linspace(0, math.pi / 2, 2001, dtype=torch.float64)
        sine = phi.sin()
        density = sine * torch.exp(-0.5 * (values.double()[..., None] * sine) ** 2)
        kappa = torch.trapezoid(density * sine**2, phi) / torch.trapezoid(density, phi)
        return values * (1 - kappa).to(values)


def _scaled_exp1(weights: Tensor) -> Tensor:
    """e^x E₁(x) at x = w²/2."""
    half_square = 0.5 * weights.double() ** 2
    return torch.as_tensor(exp1(half_square.numpy())) * half_square.exp()
