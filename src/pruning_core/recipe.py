"""What the recorded runs do around the step on θ: the price, its smoothing, and the end of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

NEAR_ZERO = 0.03
"""A unit may be dead once its θ, and the slow average of it, are below this."""

WORTH_MARGIN = 0.5
"""And once it is worth less than this part of its price."""

SLOW = 0.01
"""Part of the way that the slow average of θ goes in a step."""

_SETTLED_SHARE = 75 / 90
"""Of all steps, those after which LeNet-300-100's recorded runs settle."""

_MANY = 1_000_000


@dataclass(frozen=True)
class Recipe:
    """How price and smoothing follow the steps taken, and when θ is rounded.

    Attributes:
        smoothing: of the gradient at first; its window is 1/(1 − ``smoothing``) steps.
        ramp_steps: over which the price of a unit rises from 0 to log γ.
        total_steps: if given, the window grows to a tenth of the steps so far: quick to answer
            while the network changes, free of noise when the last units decide.
        settle_at: steps after which θ is rounded to 0 or 1, the rest being deterministic.
    """

    smoothing: float
    ramp_steps: float = 0
    total_steps: int | None = None
    settle_at: float = math.inf

    @classmethod
    def checked(
        cls,
        smoothing: float,
        ramp_steps: float,
        total_steps: int | None,
        settle_at: float | None,
    ) -> Recipe:
        """The recipe, after 75/90 of whose ``total_steps`` θ settles if nothing else is said.

        Raises:
            ValueError: for a number out of range, or one that means nothing without another.
        """
        if not 0.0 <= smoothing < 1.0:
            raise ValueError(f"smoothing is {smoothing}; a number in [0, 1) was expected")
        if total_steps is None:
            if ramp_steps or settle_at is not None:
                raise ValueError("ramp_steps and settle_at need total_steps=, the steps of the run")
            return cls(smoothing)
        if total_steps < 1:
            raise ValueError(f"total_steps is {total_steps}; the steps of the run are at least 1")
        if settle_at is None:
            settle_at = max(1, round(_SETTLED_SHARE * total_steps))
        if not settle_at >= 1:
            raise ValueError(
                f"settle_at is {settle_at}; a number of steps, at least 1, was expected"
            )
        if not 0 <= ramp_steps < min(settle_at, total_steps):
            raise ValueError(
                f"ramp_steps is {ramp_steps}; 0 to the {min(settle_at, total_steps):g} steps "
                "that θ moves, without them, was expected"
            )
        return cls(smoothing, ramp_steps, total_steps, settle_at)

    def price_scale(self, step: int) -> float:
        """The part of the costs that is charged after so many steps."""
        return min(1.0, step / self.ramp_steps) if self.ramp_steps else 1.0

    def smoothing_after(self, step: int) -> float:
        """Factor of the running average of the gradient after so many steps."""
        if self.total_steps is None:
            return self.smoothing
        return 1 - 1 / max(1 / (1 - self.smoothing), step / 10)

    def window_growth(self, step: int) -> float:
        """The window of that average after so many steps, over the first one."""
        return (1 - self.smoothing) / (1 - self.smoothing_after(step))

    def steps_to_remove(self, theta: float, theta_step: float) -> int:
        """Steps until a unit that is worth nothing counts as dead; at most a million.

        With s the smoothing, c the part of the price that is charged and ĝ in units of the price,

            ĝ ← s ĝ + (1 − s) c,   θ ← max(0, θ − theta_step · ĝ),   slow ← 0.99 slow + 0.01 θ,

        and the worth that is measured is c − ĝ. So they are about (θ − 0.03)/theta_step, what
        price and ĝ need to rise, and the 100 or so by which the slow average is late.
        """
        slow, gradient = theta, 0.0
        for step in range(_MANY):
            smoothing = self.smoothing_after(step)
            gradient = smoothing * gradient + (1 - smoothing) * self.price_scale(step)
            theta = max(0.0, theta - theta_step * gradient)
            slow += SLOW * (theta - slow)
            charged = self.price_scale(step + 1)
            if max(theta, slow) < NEAR_ZERO and charged - gradient < WORTH_MARGIN * charged:
                return step + 1
        return _MANY
