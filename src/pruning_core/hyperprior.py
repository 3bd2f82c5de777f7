"""Hyper-priors over the Bernoulli prior parameter π, and what each makes a unit cost.

A unit with posterior ξ ~ Bernoulli(θ) and prior ξ ~ Bernoulli(π) is charged, with π chosen in its
favour,

    cost(θ) = min_π [ KL(Bernoulli(θ) ‖ Bernoulli(π)) − log p(π) ] − (the same at θ = 0)   nats.

Only the flattening hyper-prior makes this linear in θ.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_INSIDE = 1e-6
"""Slopes that are infinite at θ = 0 and 1 are taken this far inside: at most 14 nats."""


class HyperPrior(ABC):
    """Density of π, the π that minimises the cost of a unit, and that cost."""

    @abstractmethod
    def log_density(self, pi: Tensor) -> Tensor:
        """log p(π) in nats, elementwise, for π in [0, 1]."""

    @abstractmethod
    def optimal_pi(self, theta: Tensor) -> Tensor:
        """π*(θ), the prior parameter that minimises the cost, elementwise."""

    @abstractmethod
    def cost(self, theta: Tensor) -> Tensor:
        """Cost of a unit in nats, elementwise, with cost(0) = 0."""

    @abstractmethod
    def slope(self, theta: Tensor) -> Tensor:
        """d cost/dθ in nats, elementwise."""

    @property
    def price(self) -> float:
        """What a unit that is certainly kept must be worth, cost(1) − cost(0), in nats."""
        ends = self.cost(torch.tensor([0.0, 1.0], dtype=torch.float64))
        return float(ends[1] - ends[0])


@dataclass(frozen=True)
class Flattening(HyperPrior):
    """p(π) = (γ − 1)/log γ · 1/(1 + (γ − 1)π), whose cost is θ log γ (arXiv 2205.04650).

    Args:
        log_gamma: log γ > 0 in nats: the training log-likelihood a unit must be worth to survive.

    Raises:
        ValueError: unless ``log_gamma`` is finite and positive, that is γ > 1.
    """

    log_gamma: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.log_gamma) and self.log_gamma > 0):
            raise ValueError(
                f"log_gamma is {self.log_gamma}; a finite number above 0 nats (γ > 1) was expected"
            )

    def log_density(self, pi: Tensor) -> Tensor:
        # log((γ−1)/log γ) − log(1 + (γ−1)π), written so that γ itself is never formed.
        log_gamma = torch.as_tensor(self.log_gamma, dtype=pi.dtype, device=pi.device)
        log_gamma_minus_1 = log_gamma + torch.log(-torch.expm1(-log_gamma))
        return (
            log_gamma_minus_1
            - torch.log(log_gamma)
            - torch.logaddexp(torch.zeros_like(pi), log_gamma_minus_1 + torch.log(pi))
        )

    def optimal_pi(self, theta: Tensor) -> Tensor:
        # θ/(γ − (γ−1)θ), written so that γ itself is never formed.
        return torch.sigmoid(torch.logit(theta) - self.log_gamma)

    def cost(self, theta: Tensor) -> Tensor:
        return self.log_gamma * theta

    def slope(self, theta: Tensor) -> Tensor:
        return torch.full_like(theta, self.log_gamma)


@dataclass(frozen=True)
class Fixed(HyperPrior):
    """A fixed prior parameter: p is a point mass at ``pi``, the cost KL(θ ‖ π) − KL(0 ‖ π).

    Args:
        pi: in (0, 1).

    Raises:
        ValueError: if ``pi`` is outside (0, 1).
    """

    pi: float

    def __post_init__(self) -> None:
        if not 0.0 < self.pi < 1.0:
            raise ValueError(f"pi is {self.pi}; a probability strictly between 0 and 1 is needed")

    def log_density(self, pi: Tensor) -> Tensor:
        at_pi = torch.isclose(pi, torch.as_tensor(self.pi, dtype=pi.dtype, device=pi.device))
        return torch.where(at_pi, math.inf, -math.inf).to(pi.dtype)

    def optimal_pi(self, theta: Tensor) -> Tensor:
        return torch.full_like(theta, self.pi)

    def cost(self, theta: Tensor) -> Tensor:
        return _negative_entropy(theta) + theta * math.log((1 - self.pi) / self.pi)

    def slope(self, theta: Tensor) -> Tensor:
        return _logit(theta) - math.log(self.pi / (1 - self.pi))


@dataclass(frozen=True)
class Beta(HyperPrior):
    """p(π) = Beta(a, b) with a, b ≥ 1; the mode of the posterior is π* = (θ+a−1)/(a+b−1).

    Args:
        a: first shape parameter, ≥ 1.
        b: second shape parameter, ≥ 1; b > a makes units costly.

    Raises:
        ValueError: if a or b is below 1, where the cost is unbounded below.
    """

    a: float
    b: float

    def __post_init__(self) -> None:
        if not (1.0 <= self.a < math.inf and 1.0 <= self.b < math.inf):
            raise ValueError(f"Beta({self.a}, {self.b}): both parameters must be finite and ≥ 1")

    def log_density(self, pi: Tensor) -> Tensor:
        log_beta = math.lgamma(self.a) + math.lgamma(self.b) - math.lgamma(self.a + self.b)
        return torch.xlogy(self.a - 1, pi) + torch.special.xlog1py(self.b - 1, -pi) - log_beta

    def optimal_pi(self, theta: Tensor) -> Tensor:
        return (theta + self.a - 1) / (self.a + self.b - 1)

    def cost(self, theta: Tensor) -> Tensor:
        def total(theta: Tensor) -> Tensor:
            pi = self.optimal_pi(theta)
            return (
                _negative_entropy(theta)
                - torch.special.xlogy(theta + self.a - 1, pi)
                - torch.special.xlog1py(self.b - theta, -pi)
            )

        return total(theta) - total(torch.zeros_like(theta))

    def slope(self, theta: Tensor) -> Tensor:
        # At the optimum the derivative in π vanishes, so only the explicit θ counts.
        inside = theta.clamp(_INSIDE, 1 - _INSIDE)
        return _logit(theta) - torch.log((inside + self.a - 1) / (self.b - inside))


def fixed_of_price(price: float) -> Fixed:
    """The fixed π = 1/(1 + γ) at which a unit costs this price in nats, log γ.

    Raises:
        ValueError: if γ is beyond the numbers that a float can be.
    """
    return Fixed(1 / (1 + _gamma(price, "fixed")))


def beta_of_price(price: float) -> Beta:
    """Beta(1, b) with this price in nats, which is log b − (b − 1) log(1 − 1/b).

    Raises:
        ValueError: if b would be beyond the numbers that a float can be.
    """
    _gamma(price, "beta")
    low, high = 0.0, price
    for _ in range(60):
        middle = (low + high) / 2
        b = math.exp(middle)
        found = middle - (b - 1) * math.log1p(-1 / b) if middle > 0 else 0.0
        low, high = (middle, high) if found < price else (low, middle)
    return Beta(1.0, math.exp(low))


def resting_theta(prior: HyperPrior, worth: Tensor) -> Tensor:
    """Where θ comes to rest: the minimiser of cost(θ) − worth · θ over [0, 1], elementwise.

    The costs are convex or straight, so the minimum is where the slope passes the worth. A unit
    worth exactly its price, under a straight cost, is given 0. A θ within 10⁻⁶ of an end counts
    as that end.

    Args:
        prior: the hyper-prior that sets the cost.
        worth: what the unit is worth, in nats.
    """
    low = torch.zeros_like(worth, dtype=torch.float64)
    high = torch.ones_like(low)
    for _ in range(60):
        middle = (low + high) / 2
        below = prior.slope(middle) < worth
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return torch.where(high <= _INSIDE, 0.0, torch.where(low >= 1 - _INSIDE, 1.0, high))


HYPER_PRIORS: dict[str, Callable[[float], HyperPrior]] = {
    "flattening": Flattening,
    "fixed": fixed_of_price,
    "beta": beta_of_price,
}
"""Hyper-priors by name, as functions of the price of a unit in nats, log γ."""


def _gamma(log_gamma: float, hyper_prior: str) -> float:
    try:
        return math.exp(log_gamma)
    except OverflowError as error:
        raise ValueError(
            f"log_gamma is {log_gamma}; at most 709 nats were expected for the hyper-prior "
            f"{hyper_prior}, which computes with γ itself; use flattening"
        ) from error


def _negative_entropy(theta: Tensor) -> Tensor:
    """θ log θ + (1−θ) log(1−θ), in nats."""
    return torch.xlogy(theta, theta) + torch.special.xlog1py(1 - theta, -theta)


def _logit(theta: Tensor) -> Tensor:
    """log θ/(1−θ), kept finite so that a projected step can leave the ends."""
    return torch.logit(theta, eps=_INSIDE)
