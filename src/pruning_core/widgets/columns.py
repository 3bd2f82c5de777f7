"""What of a run's units is left, and what they are worth: noted for its pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from pruning_core.experiments.callbacks import Callback
from pruning_core.experiments.methods.bernoulli import Bernoulli
from pruning_core.experiments.methods.method import Method
from pruning_core.experiments.run import Run
from pruning_core.figures.live import PIXELS, Column
from pruning_core.metrics import weighted_layers
from pruning_core.models import MODELS


class Columns(Callback):
    """Follows the units of a run from epoch to epoch, by the numbers they had at the start.

    Args:
        method: of the run; that by Bernoulli gates is asked what the units are worth.

    Attributes:
        columns: after the last epoch, in the order of the layers. Pixels are among them if they
            have a gate, or if the method has none.
        links: Σ|w| from each unit to each of the next column, and from the last to the digits;
            each of shape (units of the next, units of this).
    """

    def __init__(self, method: Method) -> None:
        self._method = method
        self.columns: list[Column] = []
        self.links: list[np.ndarray] = []
        self._gated: list[Column] = []  # as they were before the gates went

    def on_train_start(self, run: Run) -> None:
        model, settings = MODELS[run.settings.model], run.settings
        units = model.dense(settings.hidden, settings.sections)
        sizes = dict(zip(model.names(units), units, strict=True))
        without = {"features"}
        if isinstance(self._method, Bernoulli) and not settings.gate_inputs:
            without.add(PIXELS)
        self.columns = [
            Column(name, size, np.arange(size), np.ones(size), np.zeros(0, int))
            for name, size in sizes.items()
            if name not in without
        ]
        self._gated = self.columns

    def on_step_end(self, run: Run) -> None:
        if run.step % run.steps_per_epoch == 0:
            self._note_gates()  # after the epoch's last step the gates may go

    def on_epoch_end(self, run: Run) -> None:
        self.links = _links(run)[-len(self.columns) :]
        before = self.columns
        if self._has_gates():
            self._note_gates()
            now = self._gated
        elif isinstance(self._method, Bernoulli):
            now = [_settled(c, w.shape[1]) for c, w in zip(self._gated, self.links, strict=True)]
        else:
            now = [_weighed(c, w) for c, w in zip(self.columns, self._sums(), strict=True)]
        self.columns = [
            replace(column, gone=np.setdiff1d(earlier.index, column.index))
            for earlier, column in zip(before, now, strict=True)
        ]

    def _has_gates(self) -> bool:
        return isinstance(self._method, Bernoulli) and self._method.pruner is not None

    def _note_gates(self) -> None:
        if not isinstance(self._method, Bernoulli) or self._method.pruner is None:
            return
        pruner = self._method.pruner
        worth = pruner.worth()
        self._gated = [
            replace(
                column,
                index=gate.unit_index.cpu().numpy().copy(),
                strength=gate.theta.detach().cpu().numpy().copy(),
                worth=worth[name].cpu().numpy(),
                price=pruner.hyper_priors[name].price * pruner.price_scale,
            )
            for column, (name, gate) in zip(self.columns, pruner.gates.items(), strict=True)
        ]

    def _sums(self) -> list[np.ndarray]:
        """What arrives at each unit, in Σ|w|; of the first column, what leaves it."""
        return [self.links[0].sum(0), *(links.sum(1) for links in self.links[:-1])]


def _settled(column: Column, left: int) -> Column:
    """The units that are left of a column once θ has been rounded: those of the largest."""
    stays = np.sort(np.argsort(-column.strength, kind="stable")[:left])
    worth = None if column.worth is None else column.worth[stays]
    return replace(column, index=column.index[stays], strength=np.ones(left), worth=worth)


def _weighed(column: Column, sums: np.ndarray) -> Column:
    return replace(column, strength=sums / max(sums.max(), 1e-12))


@torch.no_grad()
def _links(run: Run) -> list[np.ndarray]:
    """Σ|w| from unit to unit, layer by layer; that of a filter's features together."""
    links: list[np.ndarray] = []
    for layer in weighted_layers(run.model):
        weight = layer.weight.abs()
        groups = len(links[-1]) if links else weight.shape[1]
        links.append(weight.reshape(len(weight), groups, -1).sum(-1).cpu().numpy())
    return links
