"""A wanted size in place of a price: log γ follows while the network trains."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.expected_size import ExpectedSize
from pruning_core.gates import BernoulliGate

_LOOKS = 100
"""Times in a run that the price is judged."""

_ARRIVES = 0.72
"""The size is the wanted one after this part of the steps that θ moves: 60 % of a whole run."""

_AHEAD = 0.05
"""The price is judged by the size it leads to, in so many steps as a part of the run."""

_AT_ONCE = 1.2
"""A look changes the price by this factor at most."""

_LEAST, _MOST = 1e-3, 1e3
"""The price stays between these multiples of what was given."""

_HALVINGS = 6

_CLOSE = 0.2
"""Further from the wanted share than this part of it, there is a warning."""


class TargetSize:
    """Moves the price of :class:`pruning_core.BernoulliPruner` until a wanted share is left.

    For those who know how small the network shall be, and not what a unit shall be worth::

        pruner = BernoulliPruner(
            model, log_gamma=20.0, num_examples=60_000, total_steps=steps, example_inputs=images
        )
        target = TargetSize(pruner, 0.1, of="weights")
        ...
            optimizer.step(); pruner.step(); target.step()
        ...
        print(target)    # what is left, and the price of a unit at which it is

    The wanted size falls from what it is at first to ``share``, each step by the same factor, and
    arrives after 60 % of a run with the pruner's own ``settle_at``. A hundred times in the run the
    size that is expected of independent gates, each unit staying with its probability θ, is
    foretold for a twentieth of the run later, as θ moves by the worths measured now; and of the
    prices up to 20 % above or below the present one, that which leads to the wanted size then is
    taken. ``log_gamma`` is where the price starts, and how the prices of gates compare.

    A price too high at first closes units before they have learnt: start rather low than high.

    Attributes:
        share: that is wanted.
        of: "weights", as :func:`~pruning_core.metrics.count_weights` counts them, or "macs", as
            :func:`~pruning_core.metrics.count_macs` does.

    Args:
        pruner: of a model that no unit has left yet, with ``total_steps``, ``example_inputs`` and
            the flattening hyper-prior.
        share: of the weights or MACs of the whole model, layers without gates included, in (0, 1).
        of: what is counted.

    Raises:
        ValueError: for a share that cannot be reached, with the least that can; or a pruner that
            lacks something.
        CompactionError: if what belongs to the units cannot be found, as in
            :func:`pruning_core.compact_`.
    """

    def __init__(
        self, pruner: BernoulliPruner, share: float, of: Literal["weights", "macs"] = "weights"
    ) -> None:
        if not 0 < share < 1:
            raise ValueError(f"share is {share}; a part of the whole, in (0, 1), was expected")
        if of not in ("weights", "macs"):
            raise ValueError(f"of is {of!r}; 'weights' or 'macs' was expected")
        if pruner.recipe.total_steps is None or pruner.example_inputs is None:
            raise ValueError(
                "a wanted size needs BernoulliPruner(…, total_steps=, example_inputs=): how long "
                "the run is, and what to find the units' weights with"
            )
        pruner.price_factor = pruner.price_factor  # raises where the price cannot change
        self.pruner = pruner
        self.share = share
        self.of = of
        self._size = ExpectedSize(pruner.model, pruner.example_inputs, of)
        gates = pruner.gates
        self._whole = float(self._size({n: torch.ones_like(g.theta) for n, g in gates.items()}))
        least = self._share_of({name: _fewest(gate) for name, gate in gates.items()})
        if share < least:
            raise ValueError(
                f"share is {share}; with a single unit in each gate {least:.3g} of the {of} are "
                "left, the least that can be wanted; give more layers gates to go below"
            )
        self._total = pruner.recipe.total_steps
        self._start: tuple[int, float] | None = None  # the step of the first look, and the share
        self._has_ended = False

    @property
    def expected(self) -> float:
        """The share that is left on average, while units come and go by their θ."""
        return self._share_of({n: g.theta for n, g in self.pruner.gates.items()})

    @property
    def reached(self) -> float:
        """The share that is left when units with θ < 1/2 are closed."""
        return self._share_of({n: g.is_open() for n, g in self.pruner.gates.items()})

    def __str__(self) -> str:
        costs = self.pruner.costs.prices().values()
        prices = [price * self.pruner.price_factor for price in costs]
        least, most = f"{min(prices):.3g}", f"{max(prices):.3g}"
        price = least if least == most else f"{least} to {most}"
        return (
            f"{self.reached:.3g} of the {self.of} left, {self.share:g} wanted; "
            f"log γ is {price} nats"
        )

    def step(self) -> None:
        """Adjust the price, in one step of many; to be called after each of the pruner's.

        Warns:
            UserWarning: when θ has settled, if the share is more than 20 % off.
        """
        pruner = self.pruner
        if pruner.is_settled:
            self._end()
            return
        # Averages that have hardly begun know nothing.
        begin = 2 / (1 - pruner.recipe.smoothing)
        if pruner.steps % max(1, self._total // _LOOKS) or pruner.steps < begin:
            return
        if self._start is None:
            self._start = pruner.steps, max(self.expected, self.share)
        wanted = self._wanted(pruner.steps + _AHEAD * self._total)
        worths = pruner.worth()
        low = math.log(max(pruner.price_factor / _AT_ONCE, _LEAST))
        high = math.log(min(pruner.price_factor * _AT_ONCE, _MOST))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            larger = self._share_of(self._foretold(worths, math.exp(middle))) > wanted
            low, high = (middle, high) if larger else (low, middle)
        pruner.price_factor = math.exp((low + high) / 2)

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on needs, beside the states of the model and the pruner."""
        return {
            "share": self.share,
            "of": self.of,
            "whole": self._whole,
            "start": self._start,
            "has_ended": self._has_ended,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a ``state_dict``; the price is in that of the pruner.

        Raises:
            ValueError: if another size was wanted.
        """
        saved, own = ((state["share"], state["of"]) for state in (state_dict, self.state_dict()))
        if saved != own:
            raise ValueError(
                f"the saved target is {saved[0]} of the {saved[1]}, but this one {own[0]} of the "
                f"{own[1]}; build it as it was"
            )
        self._whole = state_dict["whole"]
        self._start = state_dict["start"]
        self._has_ended = state_dict["has_ended"]

    def _share_of(self, theta: Mapping[str, Tensor]) -> float:
        return float(self._size(theta).detach()) / self._whole

    def _wanted(self, step: float) -> float:
        """The share that the schedule asks for after so many steps."""
        assert self._start is not None
        begun, start = self._start
        arrives = _ARRIVES * min(self._total, self.pruner.recipe.settle_at)
        part = min(1.0, (step - begun) / (arrives - begun)) if arrives > begun else 1.0
        return start ** (1 - part) * self.share**part

    def _foretold(self, worths: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
        """θ a while later at that factor of the price, if the worths stay as they are."""
        foretold = {}
        gates, costs = self.pruner.gates, self.pruner.costs
        prices, scales = costs.slopes(gates), costs.scales(gates)
        for group in self.pruner.param_groups:
            name = group["name"]
            if name not in gates:
                continue  # it left with its section
            gate = gates[name]
            theta = gate.theta.detach()
            if gate.theta.requires_grad and not gate.is_settled:
                slope = self.pruner.price_scale * factor * prices[name] - worths[name]
                moved = _AHEAD * self._total * group["lr"] * slope / (scales[name] * factor)
                theta = (theta - moved).clamp(0, 1)
            foretold[name] = theta
        return foretold

    def _end(self) -> None:
        if not self._has_ended and abs(self.reached / self.share - 1) > _CLOSE:
            warnings.warn(
                f"{self}: θ had too few or too short steps; raise total_steps or theta_step, or "
                "start from a log_gamma that is nearer",
                stacklevel=3,
            )
        self._has_ended = True


def _fewest(gate: BernoulliGate) -> Tensor:
    """The first unit alone; of a gate that does not learn, those that are open."""
    learns = gate.theta.requires_grad and not gate.is_settled
    return torch.arange(gate.num_units) < 1 if learns else gate.is_open()
