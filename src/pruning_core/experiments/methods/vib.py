"""VIBNet, whose units pay for the information that their noise lets through."""

from __future__ import annotations

import torch
from torch import Tensor

from pruning_core.baselines.variational_bottleneck import BottleneckGate
from pruning_core.experiments.methods.structured import PricedGates
from pruning_core.experiments.run import Run


class VariationalBottleneck(PricedGates):
    """VIBNet: every unit has noise of its own, and leaves where that has drowned it.

    A nat that passes costs as much in one layer as in another, ``settings.strength`` nats of the
    loss per example.
    """

    kind = BottleneckGate

    def penalty(self, run: Run) -> Tensor:
        """What all gates together let through, times ``strength``."""
        passing = torch.stack([gate.information() for gate in self.gates.values()])
        return run.settings.strength * passing.sum()
