"""Priors of one weight, each a mixture over its scale, and what they make of an observation.

A prior is a function that gives log p(w), elementwise and for any shape. Those here have unit
scale; :func:`with_median` gives them another.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

LogDensity = Callable[[Tensor], Tensor]

# Even in the logarithm, because some of the densities or of their slopes are infinite at 0.
_SIZES = torch.logspace(-10, 5, 2001, dtype=torch.float64)


def normal(weight: Tensor) -> Tensor:
    """−w²/2 up to a constant: ridge."""
    return -0.5 * weight.square() - 0.5 * math.log(2 * math.pi)


def laplace(weight: Tensor) -> Tensor:
    """−|w| up to a constant: the lasso."""
    return -weight.abs() - math.log(2)


def student_t(weight: Tensor, degrees: float = 3.0) -> Tensor:
    """−(ν + 1)/2 log(1 + w²/ν) up to a constant."""
    return torch.distributions.StudentT(torch.tensor(degrees).to(weight)).log_prob(weight)


def horseshoe(weight: Tensor) -> Tensor:
    """Normal with a standard deviation that is half-Cauchy, integrated out by quadrature."""
    deviation = _SIZES
    given = -0.5 * (weight.unsqueeze(-1) / deviation).square() - deviation.log()
    mixing = math.log(2 / math.pi) - torch.log1p(deviation.square())
    return _integrated(given - 0.5 * math.log(2 * math.pi) + mixing)


def halo(weight: Tensor, shape: float = 3.0) -> Tensor:
    """Laplace with |w| of mean λ², λ ~ Gamma(shape, 1), integrated out by quadrature.

    ``shape`` 3 is HALO's penalty with ξ = ψ = 1, 1 the one with the Laplace normaliser. Other
    prices change the scale alone, to 1/(ξψ²).
    """
    coefficient = _SIZES
    given = -weight.abs().unsqueeze(-1) / coefficient.square() - 2 * coefficient.log()
    mixing = (shape - 1) * coefficient.log() - coefficient - math.lgamma(shape)
    return _integrated(given - math.log(2) + mixing)


def with_median(prior: LogDensity, median: float) -> LogDensity:
    """The prior in the scale in which |w| has this median."""
    mass = (prior(_SIZES) + _SIZES.log()).exp()
    below = mass.cumsum(0) - 0.5 * mass  # each of the sizes, by the trapezoidal rule
    half = mass.sum() / 2
    after = int(torch.searchsorted(below, half))
    share = (half - below[after - 1]) / (below[after] - below[after - 1])
    scale = median / float(torch.lerp(_SIZES[after - 1], _SIZES[after], share))
    return lambda weight: prior(weight / scale) - math.log(scale)


def posterior_mean(prior: LogDensity, observed: Tensor) -> Tensor:
    """E[w | z] for z ~ N(w, 1), by quadrature.

    Args:
        prior: log p(w).
        observed: z; shape (n,).
    """
    log_mass = prior(_SIZES) + _SIZES.log()
    z = observed.double().unsqueeze(-1)
    # The two signs of w, each times the common mass.
    positive = (log_mass - 0.5 * (z - _SIZES).square()).exp()
    negative = (log_mass - 0.5 * (z + _SIZES).square()).exp()
    return ((positive - negative) * _SIZES).sum(-1) / (positive + negative).sum(-1)


def spike_and_slab_mean(observed: Tensor, share: float, deviation: float) -> Tensor:
    """E[w | z] for z ~ N(w, 1), where w is 0 with 1 − share and N(0, deviation²) otherwise."""
    variance = deviation**2
    log_odds = (
        math.log(share / (1 - share))
        - 0.5 * math.log(1 + variance)
        + 0.5 * observed.square() * variance / (1 + variance)
    )
    return log_odds.sigmoid() * observed * variance / (1 + variance)


def _integrated(log_values: Tensor) -> Tensor:
    """Logarithm of the trapezoidal rule over ``_SIZES``, along the last dimension."""
    spacing = float((_SIZES[1] / _SIZES[0]).log())
    return (log_values + _SIZES.log()).logsumexp(-1) + math.log(spacing)
