"""What the units of a network cost, in nats: a price for each, or one price for all they hold."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from pruning_core.expected_size import CURRENCIES, ExpectedSize
from pruning_core.gates import BernoulliGate
from pruning_core.hyperprior import Flattening, HyperPrior
from pruning_core.inputs import Inputs

Gates = Mapping[str, BernoulliGate]
LogGamma = float | HyperPrior | Mapping[str, float | HyperPrior]
Price = Literal["units", "weights", "macs"] | Mapping[str, float]

_LEAST_SCALE = 1.0
"""Nats; the step on the θ of a unit that costs less is scaled as if it cost so much."""


class Costs(ABC):
    """The part of the objective that depends on θ alone, in nats."""

    @abstractmethod
    def prices(self) -> dict[str, float]:
        """By gate, in nats: of a unit, or of one of what units are paid for."""

    @abstractmethod
    def total(self, gates: Gates) -> Tensor:
        """The cost of the units of gates that still draw, whose gradient is the slopes."""

    @abstractmethod
    def slopes(self, gates: Gates) -> dict[str, Tensor]:
        """By gate, ∂cost/∂θ; shape (n,)."""

    @abstractmethod
    def scales(self, gates: Gates) -> Mapping[str, float | Tensor]:
        """By gate, what the step on θ is in units of; a number, or one for each unit."""

    def follow(self, gates: Gates) -> dict[str, Tensor]:
        """By gate, how much its slopes have changed by a step on θ; none if they cannot."""
        return {}


class UnitPrices(Costs):
    """Each unit costs what the hyper-prior of its gate says, whatever the others do."""

    def __init__(self, hyper_priors: Mapping[str, HyperPrior]) -> None:
        self.hyper_priors = dict(hyper_priors)
        # A prior that charges nothing, Beta(1, 1) say, still needs a scale for its step.
        self._prices = {n: max(abs(p.price), _LEAST_SCALE) for n, p in hyper_priors.items()}

    def prices(self) -> dict[str, float]:
        return self._prices

    def total(self, gates: Gates) -> Tensor:
        pairs = [(self.hyper_priors[n], g.theta) for n, g in gates.items() if not g.is_settled]
        return torch.stack([_with_slope(prior, theta).sum() for prior, theta in pairs]).sum()

    def slopes(self, gates: Gates) -> dict[str, Tensor]:
        return {n: self.hyper_priors[n].slope(gate.theta.detach()) for n, gate in gates.items()}

    def scales(self, gates: Gates) -> dict[str, float]:
        return self._prices


class SizePrice(Costs):
    """One price for all: so many nats for each weight, or multiply-accumulate, that is left.

    The cost is that price times the :class:`ExpectedSize`, and what a unit costs its derivative:
    what the network would save by the unit's leaving, given what else is still there. It falls as
    others leave.

    Args:
        log_gamma: nats for one of what is counted.
        of: what is counted, as :class:`ExpectedSize` takes it.
        gates: whose units pay.

    Raises:
        ValueError: unless the price is finite and positive.
    """

    def __init__(self, log_gamma: float, of: str | Mapping[str, float], gates: Gates) -> None:
        self._log_gamma = Flattening(log_gamma).log_gamma
        self._of = of
        self._names = list(gates)
        self._size: ExpectedSize | None = None
        self._at: dict[str, tuple[Tensor, int]] = {}
        self._slopes: dict[str, Tensor] = {}

    @property
    def is_prepared(self) -> bool:
        """Whether it is known what belongs to the units."""
        return self._size is not None

    def prepare(self, model: nn.Module, inputs: Inputs) -> None:
        """Find out what belongs to the units.

        Raises:
            CompactionError: if the model cannot be traced.
        """
        self._size = ExpectedSize(model, inputs, self._of)

    def prices(self) -> dict[str, float]:
        return dict.fromkeys(self._names, self._log_gamma)

    def total(self, gates: Gates) -> Tensor:
        assert self._size is not None
        slopes, thetas = self.slopes(gates), {n: g.theta.detach() for n, g in gates.items()}
        linear = [
            (slopes[name] * (gate.theta - thetas[name])).sum()
            for name, gate in gates.items()
            if not gate.is_settled
        ]
        cost = self._log_gamma * self._size(thetas)
        return torch.stack(linear).sum() + cost.to(linear[0].dtype)

    def slopes(self, gates: Gates) -> dict[str, Tensor]:
        assert self._size is not None
        if not self._knows(gates):
            thetas = {name: gate.theta.detach() for name, gate in gates.items()}
            found = self._size.slopes(thetas)
            self._at = {name: (theta, theta._version) for name, theta in thetas.items()}
            self._slopes = {name: self._log_gamma * slope for name, slope in found.items()}
        return self._slopes

    def scales(self, gates: Gates) -> dict[str, Tensor]:
        return {name: slope.clamp_min(_LEAST_SCALE) for name, slope in self.slopes(gates).items()}

    def follow(self, gates: Gates) -> dict[str, Tensor]:
        before = self._slopes
        return {
            name: slope - before[name]
            for name, slope in self.slopes(gates).items()
            if name in before and before[name].shape == slope.shape
        }

    def _knows(self, gates: Gates) -> bool:
        """Whether θ is what it was when the slopes were computed."""
        # Told by the memory it lies in and the count of its changes, so that no device is asked.
        return self._at.keys() == gates.keys() and all(
            at.data_ptr() == gate.theta.data_ptr()
            and at.shape == gate.theta.shape
            and version == gate.theta._version
            for gate, (at, version) in ((gates[name], self._at[name]) for name in gates)
        )


def costs_of(gates: Gates, log_gamma: LogGamma, price: Price) -> UnitPrices | SizePrice:
    """The costs that :class:`pruning_core.BernoulliPruner` is given in its arguments.

    Raises:
        ValueError: naming what cannot be.
    """
    if price == "units":
        return UnitPrices(_by_gate(log_gamma, gates))
    mix = {price: 1.0} if isinstance(price, str) else dict(price)
    known = ", ".join(map(repr, CURRENCIES))
    if not mix or set(mix) - {*CURRENCIES}:
        raise ValueError(f"price is {price!r}; {known}, or so much of each, was expected")
    if not all(isinstance(p, int | float) and 0 <= p < math.inf for p in mix.values()):
        raise ValueError(f"price is {price!r}; finite numbers, 0 or more, were expected")
    if not any(mix.values()):
        raise ValueError(f"price is {price!r}, by which nothing costs anything; one above 0 is")
    if not isinstance(log_gamma, int | float):
        raise ValueError(
            f"log_gamma is {log_gamma!r}; with the price {price!r} a number of nats for one of "
            "what is counted was expected, the same for all gates"
        )
    return SizePrice(float(log_gamma), mix, gates)


def _by_gate(log_gamma: LogGamma, gates: Gates) -> dict[str, HyperPrior]:
    if not isinstance(log_gamma, Mapping):
        log_gamma = dict.fromkeys(gates, log_gamma)
    if set(log_gamma) != set(gates):
        raise ValueError(
            f"log_gamma names the gates {sorted(log_gamma)}, but the model has {sorted(gates)}"
        )
    return {
        name: prior if isinstance(prior, HyperPrior) else Flattening(float(prior))
        for name, prior in ((name, log_gamma[name]) for name in gates)
    }


def _with_slope(prior: HyperPrior, theta: Tensor) -> Tensor:
    """cost(θ), whose gradient is the prior's slope: that is finite at 0 and 1 too."""
    at = theta.detach()
    return prior.cost(at) + prior.slope(at) * (theta - at)
