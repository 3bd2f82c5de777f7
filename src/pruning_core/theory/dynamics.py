"""The flow of one unit near (θ, w) = (0, 0): where it cannot come back, and a unit to try it on.

With w the weights of the unit, ΔL = E[L | ξ = 1] − E[L | ξ = 0], g_t = ∂/∂w E[L | ξ = t], f the
fraction of the gates that are half open, and η the speed of θ,

    ẇ = −λ w − (1 − f) θ g_1 − f ∫₀¹ g_t dt,    θ̇ = −η (ΔL + log γ),    0 ≤ θ ≤ 1,

where only ‖g_t‖ ≤ t κ and |ΔL| ≤ κ ‖w‖ are known. Chapter "When a unit cannot come back".
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
        fraction: f, of the gates that are half open, in [0, 1).

    Raises:
        ValueError: if one of them is out of range.
    """

    log_gamma: float
    kappa: float = 1.0
    decay: float = 0.0
    theta_rate: float = 1.0
    fraction: float = 0.0

    def __post_init__(self) -> None:
        for name in ("log_gamma", "kappa", "theta_rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}; a finite number above 0 was expected")
        if not (math.isfinite(self.decay) and self.decay >= 0):
            raise ValueError(f"decay is {self.decay}; a finite number, 0 or more, was expected")
        if not 0 <= self.fraction < 1:
            raise ValueError(f"fraction is {self.fraction}; a number in [0, 1) was expected")

    @property
    def mu(self) -> float:
        """How fast the worst case leaves its saddle, the positive root of μ² + λμ = (1 − f)ηκ²."""
        forcing = (1 - self.fraction) * self.theta_rate * self.kappa**2
        return 2 * forcing / (self.decay + math.sqrt(self.decay**2 + 4 * forcing))

    @property
    def needed_decay(self) -> float:
        """The λ above which there is a region of attraction, f κ²/(2 log γ)."""
        return self.fraction * self.kappa**2 / (2 * self.log_gamma)

    @property
    def is_safe(self) -> bool:
        """Whether some starts certainly die, with enough decay, or none needed since f = 0."""
        return self.decay > self.needed_decay or self.fraction == 0

    @property
    def saddle(self) -> tuple[float, float]:
        """θ and ‖w‖ where the worst case stands still, (λ log γ/κ² − f/2)/(1 − f) and log γ/κ."""
        theta = self.decay * self.log_gamma / self.kappa**2 - self.fraction / 2
        return theta / (1 - self.fraction), self.log_gamma / self.kappa

    @property
    def largest_norm(self) -> float:
        """The largest ‖w‖ in the region of attraction, at θ = 0; 0 if there is no region."""
        if not self.is_safe:
            return 0.0
        theta, norm = self.saddle
        return norm + (1 - self.fraction) * self.kappa * theta / self.mu

    def in_region(self, theta: ArrayLike, norm: ArrayLike) -> NDArray[np.bool_]:
        """The whole region, (1 − f)κθ + μ‖w‖ < μ · largest_norm (thm-convergence-region)."""
        level = self.mu * self.largest_norm
        slope = (1 - self.fraction) * self.kappa
        return slope * np.asarray(theta) + self.mu * np.asarray(norm) < level

    def in_box(self, theta: ArrayLike, norm: ArrayLike) -> NDArray[np.bool_]:
        """The part of it below the saddle in both directions; elementwise."""
        theta_star, norm_star = self.saddle
        return (np.asarray(theta) < theta_star) & (np.asarray(norm) < norm_star)

    def in_triangle(self, theta: ArrayLike, norm: ArrayLike) -> NDArray[np.bool_]:
        """The part of it that needs no weight decay, θ/√η + ‖w‖ < log γ/κ; none if f > 0."""
        scaled = np.asarray(theta) / math.sqrt(self.theta_rate) + np.asarray(norm)
        return (scaled < self.log_gamma / self.kappa) & (self.fraction == 0)


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

    def half_open_gradient(self, w: ArrayLike) -> Array:
        """∫₀¹ ∂/∂w E[L | ξ = t] dt, what the weight learns from a gate that is half open."""
        linear = self.bounds.kappa * np.asarray(w, dtype=np.float64)
        a = np.abs(linear) / self.limit
        small = a < 1e-3
        safe = np.where(small, 1.0, a)
        log_cosh = safe + np.log1p(np.exp(-2 * safe)) - math.log(2)
        whole = np.tanh(safe) / safe - log_cosh / safe**2
        return -self.bounds.kappa * np.where(small, 0.5 - a**2 / 4, whole)

    def slope(self, theta: ArrayLike, w: ArrayLike) -> Array:
        """Of the objective in w, as the gate is drawn: what the flow and Adam descend."""
        f, decayed = self.bounds.fraction, self.bounds.decay * np.asarray(w)
        found = decayed + (1 - f) * np.asarray(theta) * self.gradient(w)
        return found + f * self.half_open_gradient(w) if f else found

    def velocity(self, theta: Array, w: Array) -> tuple[Array, Array]:
        """(θ̇, ẇ) of the flow, θ kept in [0, 1] by projection; elementwise."""
        theta_dot = self.bounds.theta_rate * (self.worth(w) - self.bounds.log_gamma)
        theta_dot = np.where(theta <= 0, np.maximum(theta_dot, 0), theta_dot)
        theta_dot = np.where(theta >= 1, np.minimum(theta_dot, 0), theta_dot)
        return theta_dot, -self.slope(theta, w)

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

    def adam(
        self,
        theta: ArrayLike,
        w: ArrayLike,
        duration: float,
        steps: int = 12000,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> tuple[Array, Array]:
        """As :meth:`integrate`, but w takes the steps of Adam on the same gradients.

        Its learning rate is that with which w moves as fast as by the flow where the gradient is
        κ: that is θ = 1 and w small. θ takes the steps of the flow. Arguments and returns are those
        of :meth:`integrate`, and beside them Adam's constants.
        """
        step = duration / steps
        state = np.stack(np.broadcast_arrays(*map(np.atleast_1d, (theta, w)))).astype(np.float64)
        mean, square = np.zeros_like(state[1]), np.zeros_like(state[1])
        path = [state]
        for count in range(1, steps + 1):
            thetas, weights = state
            slope = self.slope(thetas, weights)
            mean = betas[0] * mean + (1 - betas[0]) * slope
            square = betas[1] * square + (1 - betas[1]) * slope**2
            root = np.sqrt(square / (1 - betas[1] ** count)) + epsilon
            moved = step * self.bounds.kappa * mean / (1 - betas[0] ** count) / root
            theta_dot, _ = self.velocity(thetas, weights)
            state = np.stack([np.clip(thetas + step * theta_dot, 0, 1), weights - moved])
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
        weights = weights - weight_step * unit.slope(thetas, weights)
        thetas = np.where(thetas == 0, 0.0, moved) if absorbing else moved
        path.append((thetas, weights))
    all_thetas, all_weights = zip(*path, strict=True)
    return np.stack(all_thetas), np.stack(all_weights)
