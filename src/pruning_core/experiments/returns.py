"""Units that were declared dead but stay: which of them open again, and how soon.

A removed unit cannot show that it was removed too early. So a run with ``compact`` off, whose dead
units stay in the network with a θ that goes on moving, is followed in their place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pruning_core.gates import BernoulliGate

WITHIN = (1, 5, 10)
"""Epochs after which it is asked whether a unit has come back."""

Noted = Mapping[str, Mapping[str, Sequence[int]]]
"""By gate, of an epoch, ``declared``, the units first declared dead at its end, and ``opened``,
those declared before whose θ was 1/2 or more after one of its steps."""


class Returns:
    """Follows the units of a pruner's gates through a run in which none is removed.

    Args:
        gates: by name; they keep all of their units.
        earlier: what was noted of the epochs before, for a run that goes on.
    """

    def __init__(self, gates: Mapping[str, BernoulliGate], earlier: Sequence[Noted] = ()) -> None:
        self.gates = gates
        self.epochs = list(earlier)
        self._highest = self._lowest_possible()

    def after_step(self) -> None:
        """Remember the largest θ of every unit since the epoch began."""
        for name, gate in self.gates.items():
            torch.maximum(self._highest[name], gate.theta.detach(), out=self._highest[name])

    def after_epoch(self, dead: Mapping[str, Tensor]) -> Noted:
        """What is to be noted of the epoch, at whose end these units count as dead."""
        noted = {}
        for name, highest in self._highest.items():
            before = sorted({unit for epoch in self.epochs for unit in epoch[name]["declared"]})
            known = torch.zeros_like(dead[name])
            known[before] = True
            noted[name] = {
                "declared": (dead[name] & ~known).nonzero().flatten().tolist(),
                "opened": (known & (highest >= 0.5)).nonzero().flatten().tolist(),
            }
        self.epochs.append(noted)
        self._highest = self._lowest_possible()
        return noted

    def counts(self) -> dict[str, int]:
        """Of the whole run so far, see :func:`counted`; and ``open_again``, those open now."""
        open_again = 0
        for name, gate in self.gates.items():
            declared = sorted({unit for epoch in self.epochs for unit in epoch[name]["declared"]})
            open_again += int(gate.is_open()[declared].sum())
        return {**counted(self.epochs), "open_again": open_again}

    def _lowest_possible(self) -> dict[str, Tensor]:
        return {name: torch.zeros_like(gate.theta) for name, gate in self.gates.items()}


def counted(epochs: Sequence[Noted]) -> dict[str, int]:
    """How many units were declared dead, and how many of them came back.

    A unit has come back with the first step after its declaration at which its θ is 1/2 or more.

    Returns:
        ``declared_dead``; ``returned_1``, ``returned_5`` and ``returned_10``, those that came back
        within so many epochs; and ``returned``, those that ever did.
    """
    waits = [wait for _, _, wait in declared_and_waits(epochs)]
    came = [wait for wait in waits if wait is not None]
    return {
        "declared_dead": len(waits),
        **{f"returned_{k}": sum(wait <= k for wait in came) for k in WITHIN},
        "returned": len(came),
    }


def declared_and_waits(epochs: Sequence[Noted]) -> list[tuple[str, int, int | None]]:
    """Of each unit that was declared dead: its gate, the epoch, and how many until it came back.

    Epochs count from 1; a unit that opened in the epoch after its declaration waited for one. None
    stands for those that did not come back.
    """
    found = []
    for index, epoch in enumerate(epochs):
        for name, noted in epoch.items():
            later = [set(e[name]["opened"]) for e in epochs[index + 1 :]]
            for unit in noted["declared"]:
                wait = next((k for k, opened in enumerate(later, 1) if unit in opened), None)
                found.append((name, index + 1, wait))
    return found


def noted_in(trajectory: Sequence[Mapping[str, Any]]) -> list[Noted]:
    """What a run's records, as far as θ moves, hold of it; empty if the run is not followed."""
    thetas = [record["theta"] for record in trajectory if record.get("theta")]
    return [theta for theta in thetas if all("declared" in gate for gate in theta.values())]
