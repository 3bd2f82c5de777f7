"""The flow of one unit near (θ, w) = (0, 0): where it cannot come back, and a unit to try it on.

With w the weights of the unit, ΔL = E[L | ξ = 1] − E[L | ξ = 0] and η the speed of θ,

    ẇ = −λ w − θ ∂L/∂w,    θ̇ = −η (ΔL + log γ),    0 ≤ θ ≤ 1,

where only ‖∂L/∂w‖ ≤ κ and |ΔL| ≤ κ ‖w‖ are known. Chapter "When a unit cannot come back".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
    """What is known of a unit, and the regions from which it certainly dies.

    Args:
        log_gamma: price of the unit in nats, > 0.
        kappa: nats that a unit's worth changes by, at most, per unit of ‖w‖; > 0.
        decay: λ, the weight decay, ≥ 0.
        theta_rate: η, the speed of θ relative to that of the weights, > 0.

    Raises:
        ValueError: if one of them is out of range.
    """

    log_gamma: float
    kappa: float = 1.0
    decay: float = 0.0
    theta_rate: float = 1.0

    def __post_init__(self) -> None:
        for name in ("log_gamma", "kappa", "theta_rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}; a finite number above 0 was expected")
        if not (math.isfinite(self.decay) and self.decay >= 0):
            raise ValueError(f"decay is {self.decay}; a finite number, 0 or more, was expected")

    @property
    def mu(self) -> float:
        """How fast the worst case leaves its saddle, the positive root of μ² + λμ = ηκ²."""
        forcing = self.theta_rate * self.kappa**2
        return 2 * forcing / (self.decay + math.sqrt(self.decay**2 + 4 * forcing))

    @property
    def saddle(self) -> tuple[float, float]:
        """θ and ‖w‖ where the worst case stands still, λ log γ/κ² and log γ/κ."""
        return self.decay * self.log_gamma / self.kappa**2, self.log_gamma / self.kappa

    @property
    def largest_norm(self) -> float:
        """The largest ‖w‖ in the region of attraction, η κ log γ/μ²."""
        return self.theta_rate * self.kappa * self.log_gamma / self.mu**2

    def in_region(self, theta: ArrayLike, norm: ArrayLike) -> NDArray[np.bool_]:
        """The whole region, κθ + μ‖w‖ < ηκ log γ/μ; elementwise (thm-convergence-region)."""
        level = self.theta_rate * self.kappa * self.log_gamma / self.mu
        return self.kappa * np.asarray(theta) + self.mu * np.asarray(norm) < level

    def in_box(self, theta: ArrayLike, norm: ArrayLike) -> NDArray[np.bool_]:
        """The part of it below the saddle in both directions; elementwise."""
        theta_star, norm_star = self.saddle
        return (np.asarray(theta) < theta_star) & (np.asarray(norm) < norm_star)

    def in_triangle(self, theta: ArrayLike, norm: ArrayLike) -> NDArray[np.bool_]:
        """The part of it that needs no weight decay, θ/√η + ‖w‖ < log γ/κ; elementwise."""
        scaled = np.asarray(theta) / math.sqrt(self.theta_rate) + np.asarray(norm)
        return scaled < self.log_gamma / self.kappa


@dataclass(frozen=True)
class OneUnit:
    """A unit with one weight w whose worth is ``limit`` · tanh(κw / ``limit``) nats.

    It keeps the bounds, since |tanh x| ≤ |x| and tanh′ ≤ 1, and touches them as w → 0.

    Args:
        bounds: price, κ, weight decay and speed of θ.
        limit: what the unit is worth at most, in nats, > 0; infinite for the worst case, whose
            worth is κw.
    """

    bounds: Bounds
    limit: float = math.inf

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise ValueError(f"limit is {self.limit}; a number of nats above 0 was expected")

    def worth(self, w: ArrayLike) -> Array:
        """−ΔL in nats, elementwise."""
        linear = self.bounds.kappa * np.asarray(w, dtype=np.float64)
        return linear if math.isinf(self.limit) else self.limit * np.tanh(linear / self.limit)

    def gradient(self, w: ArrayLike) -> Array:
        """∂L/∂w at ξ = 1, elementwise."""
        linear = self.bounds.kappa * np.asarray(w, dtype=np.float64)
        return -self.bounds.kappa / np.cosh(linear / self.limit) ** 2

    def velocity(self, theta: Array, w: Array) -> tuple[Array, Array]:
        """(θ̇, ẇ) of the flow, θ kept in [0, 1] by projection; elementwise."""
        theta_dot = self.bounds.theta_rate * (self.worth(w) - self.bounds.log_gamma)
        theta_dot = np.where(theta <= 0, np.maximum(theta_dot, 0), theta_dot)
        theta_dot = np.where(theta >= 1, np.minimum(theta_dot, 0), theta_dot)
        return theta_dot, -self.bounds.decay * w - theta * self.gradient(w)

    def integrate(
        self, theta: ArrayLike, w: ArrayLike, duration: float, steps: int = 2000
    ) -> tuple[Array, Array]:
        """The flow from many starts at once, by Runge and Kutta's method of fourth order.

        Args:
            theta: θ(0), shape (k,) or a number.
            w: w(0), shape (k,) or a number.
            duration: of the flow.
            steps: of equal length.

        Returns:
            θ and w at all ``steps`` + 1 times, shape (``steps`` + 1, k) each.
        """
        step = duration / steps
        state = np.stack(np.broadcast_arrays(*map(np.atleast_1d, (theta, w)))).astype(np.float64)
        path = [state]
        for _ in range(steps):
            k1 = self._flow(state)
            k2 = self._flow(state + step / 2 * k1)
            k3 = self._flow(state + step / 2 * k2)
            k4 = self._flow(state + step * k3)
            state = state + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            state[0] = np.clip(state[0], 0, 1)
            path.append(state)
        thetas, weights = np.stack(path, axis=1)
        return thetas, weights

    def _flow(self, state: Array) -> Array:
        return np.stack(self.velocity(state[0], state[1]))


def noisy_descent(
    unit: OneUnit,
    theta: float,
    w: float,
    *,
    units: int = 500,
    steps: int = 4000,
    theta_step: float = 1 / 100,
    weight_step: float = 1 / 100,
    noise: float = 6.0,
    smoothing: float = 0.0,
    absorbing: bool = False,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Many copies of one unit, moved by steps on noisy gradients of θ as a pruner would.

    θ ← clip(θ − ``theta_step`` · ĝ / log γ, 0, 1), with ĝ the running average of
    ΔL + log γ + noise, and w ← w − ``weight_step`` · (λw + θ ∂L/∂w).

    Args:
        unit: all copies alike.
        theta: θ at the start.
        w: weight at the start.
        units: number of copies.
        steps: number of steps.
        theta_step: a unit worth nothing goes from 1 to 0 in 1/``theta_step`` steps.
        weight_step: step on the weight.
        noise: standard deviation of the gradient of θ, in prices of a unit.
        smoothing: factor of the running average, in [0, 1); 0 for none.
        absorbing: whether θ = 0 is for ever.
        seed: of the noise.

    Returns:
        θ and w at all steps, shape (``steps`` + 1, ``units``) each.
    """
    generator = np.random.default_rng(seed)
    price = unit.bounds.log_gamma
    thetas, weights = np.full(units, theta), np.full(units, w)
    average = np.zeros(units)
    path = [(thetas, weights)]
    for _ in range(steps):
        slope = price * (1 + noise * generator.standard_normal(units)) - unit.worth(weights)
        average = smoothing * average + (1 - smoothing) * slope
        moved = np.clip(thetas - theta_step * average / price, 0, 1)
        flow = unit.bounds.decay * weights + thetas * unit.gradient(weights)
        weights = weights - weight_step * flow
        thetas = np.where(thetas == 0, 0.0, moved) if absorbing else moved
        path.append((thetas, weights))
    all_thetas, all_weights = zip(*path, strict=True)
    return np.stack(all_thetas), np.stack(all_weights)
