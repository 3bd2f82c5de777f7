"""A unit that the network could spare, on data it can fit without it: what it is worth, and when.

One weight v stays, a second, w, has a gate. All N examples have the margin v + ξw, so

    L(ξ) = N log(1 + e^−(v + ξw)),    worth = L(0) − L(1).

Time is counted such that a weight moves by its gradient per example:

    v̇ = (1 − θ) σ(−v) + θ σ(−v − w) − λv/N,   ẇ = θ σ(−v − w) − λw/N,   θ̇ = η (worth/log γ − 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

LARGEST_WORTH = math.log((1 + math.sqrt(2)) / 2)
"""Of the spare unit, in nats an example, while it grows as the other does; for e^−v = √2 − 1."""


@dataclass(frozen=True)
class SpareUnit:
    """Price, decay and data of the model.

    Args:
        log_gamma: price of the spare unit in nats, > 0 and below ``num_examples`` times
            :data:`LARGEST_WORTH`: a dearer one is never worth its price.
        num_examples: N.
        decay: λ of (λ/2) ‖W‖² in nats, ≥ 0.

    Raises:
        ValueError: if one of them is out of range.
    """

    log_gamma: float
    num_examples: float
    decay: float = 0.0

    def __post_init__(self) -> None:
        if not self.num_examples > 0:
            raise ValueError(f"num_examples is {self.num_examples}; a number above 0 was expected")
        most = self.num_examples * LARGEST_WORTH
        if not 0 < self.log_gamma < most:
            raise ValueError(
                f"log_gamma is {self.log_gamma}; a number above 0 and below {most:.4g}, the most "
                "that the unit is ever worth, was expected"
            )
        if not (math.isfinite(self.decay) and self.decay >= 0):
            raise ValueError(f"decay is {self.decay}; a finite number, 0 or more, was expected")

    def worth(self, v: ArrayLike, w: ArrayLike) -> Array:
        """L(0) − L(1) in nats, elementwise."""
        without, together = _loss(v), _loss(np.add(v, w))
        return self.num_examples * (without - together)

    @property
    def priced_out(self) -> float:
        """The weight v = w beyond which the spare unit is worth less than its price.

        With x = e^−v and g = e^(log γ/N) it is the smaller root of g x² − x + g − 1 = 0.
        """
        excess = math.expm1(self.log_gamma / self.num_examples)  # g − 1
        x = 2 * excess / (1 + math.sqrt(1 - 4 * (1 + excess) * excess))
        return -math.log(x)

    @property
    def time_priced_out(self) -> float:
        """When two weights that start at 0 without decay get there, by 2v + e^2v = 2t + 1."""
        margin = 2 * self.priced_out
        return (margin + math.expm1(margin)) / 2

    @property
    def least_decay(self) -> float:
        """The λ above which the spare unit stays, where λ v = N σ(−2v) at the weight above."""
        v = self.priced_out
        return self.num_examples * float(_sigmoid(-2 * v)) / v

    @property
    def resting_weight(self) -> float:
        """v = w where the weights rest as long as θ = 1; infinite without decay."""
        if self.decay == 0:
            return math.inf
        low, high = 0.0, self.num_examples / self.decay
        while high - low > 1e-14 * high:
            middle = (low + high) / 2
            pull = self.num_examples * float(_sigmoid(-2 * middle)) - self.decay * middle
            low, high = (middle, high) if pull > 0 else (low, middle)
        return (low + high) / 2

    def velocity(self, state: Array, theta_rate: float) -> Array:
        """(θ̇, v̇, ẇ) at the state (θ, v, w), θ kept in [0, 1] by projection."""
        theta, v, w = state
        theta_dot = theta_rate * (float(self.worth(v, w)) / self.log_gamma - 1)
        if (theta <= 0 and theta_dot < 0) or (theta >= 1 and theta_dot > 0):
            theta_dot = 0.0
        decay = self.decay / self.num_examples
        both = theta * _sigmoid(-v - w)
        alone = (1 - theta) * _sigmoid(-v)
        return np.array([theta_dot, alone + both - decay * v, both - decay * w])

    def integrate(
        self, duration: float, theta_rate: float, steps: int = 4000, start: float = 1e-2
    ) -> tuple[Array, Array]:
        """The flow from θ = 1 and weights of ``start``, by Runge and Kutta's method, fourth order.

        The times are equally spaced in log(1 + t), since without decay weights grow like log t.

        Returns:
            Times, shape (``steps`` + 1,), and the states (θ, v, w), shape (``steps`` + 1, 3).
        """
        times = np.expm1(np.linspace(0, math.log1p(duration), steps + 1))
        state = np.array([1.0, start, start])
        path = [state]
        for step in np.diff(times):
            k1 = self.velocity(state, theta_rate)
            k2 = self.velocity(state + step / 2 * k1, theta_rate)
            k3 = self.velocity(state + step / 2 * k2, theta_rate)
            k4 = self.velocity(state + step * k3, theta_rate)
            state = state + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            state[0] = min(max(state[0], 0.0), 1.0)
            path.append(state)
        return times, np.stack(path)


def _loss(margin: ArrayLike) -> Array:
    return np.logaddexp(0.0, -np.asarray(margin, dtype=np.float64))


def _sigmoid(x: ArrayLike) -> Array:
    return np.exp(-_loss(x))
