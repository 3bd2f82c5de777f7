"""The size of a network whose units stay by chance: weights or MACs, on average."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pruning_core.coupling import FEATURES, Coupling
from pruning_core.gates import InputGate, named_gates
from pruning_core.inputs import Inputs
from pruning_core.metrics import macs_by_layer, weights
from pruning_core.rehearsal import copied, untouched


class ExpectedSize:
    """Weights or MACs that are left on average of a model whose units stay or go independently.

    A weight stays if a unit it is coupled with on each of its axes stays, so the mean of a layer's
    is the product over its axes of the mean part that stays. Where gates share their channels, as
    in a residual addition, one that is open keeps a channel. For θ of 0 and 1 it is the count of
    the network without its closed units (to a thousandth in MACs, where transposed convolutions
    have a bias).

    Args:
        model: with gates.
        inputs: a few examples.
        of: "weights" or "macs"; the latter go with the entries of the layer that multiplies, and
            stay where it has none, as in the products of attention.

    Raises:
        CompactionError: if the model cannot be traced.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, of: str) -> None:
        one = inputs.first(1)
        self._gates = named_gates(model)
        with untouched(model):
            twin = copied(model)
            coupled = Coupling(twin, one).coupled()
            self._counts = _weights(twin) if of == "weights" else _macs(twin, one)
        # Units keep the numbers they have now, whatever leaves later.
        self._numbers = {name: gate.unit_index.cpu() for name, gate in self._gates.items()}
        self._selected = {
            name: gate.selected.cpu()
            for name, gate in self._gates.items()
            if isinstance(gate, InputGate)
        }
        self._owners: dict[tuple[str, str], dict[int, dict[str, Tensor]]] = {}
        for each in coupled:
            place, module = (each.layer, each.tensor), twin.get_submodule(each.layer)
            if isinstance(module, InputGate):
                size = module.num_features
            elif place in self._counts:
                size = getattr(module, each.tensor).shape[each.axis]
            else:
                continue
            by_gate = self._owners.setdefault(place, {}).setdefault(each.axis, {})
            owner = by_gate.setdefault(each.gate, torch.full((size,), -1))
            owner[each.positions] = self._numbers[each.gate][each.units]

    def __call__(self, theta: Mapping[str, Tensor]) -> float:
        """The mean count, if the units that a gate has now stay with these probabilities.

        Args:
            theta: by gate, shape (n,).
        """
        stays = {}
        for name, value in theta.items():
            # The last one, which −1 finds, is of the entries that are no unit's.
            stays[name] = torch.zeros(int(self._numbers[name].max()) + 2, dtype=torch.float64)
            stays[name][self._gates[name].unit_index.cpu()] = value.detach().double().cpu()
        for name, selected in self._selected.items():
            for by_gate in self._owners.get((name, FEATURES), {}).values():
                stays[name][self._numbers[name]] *= _open(by_gate, stays)[selected]
        total = 0.0
        for place, count in self._counts.items():
            axes = self._owners.get(place, {}).values()
            total += count * math.prod(float(_open(by_gate, stays).mean()) for by_gate in axes)
        return total


def _open(by_gate: Mapping[str, Tensor], stays: Mapping[str, Tensor]) -> Tensor:
    """By position, the chance that a unit coupled with it stays; 1 where there is none."""
    gone = torch.stack([1 - stays[name][unit] for name, unit in by_gate.items()]).prod(0)
    nobodys = torch.stack([unit < 0 for unit in by_gate.values()]).all(0)
    return torch.where(nobodys, 1.0, 1 - gone)


def _weights(model: nn.Module) -> dict[tuple[str, str], float]:
    return {_split(name): float(weight.numel()) for name, weight in weights(model).items()}


def _macs(model: nn.Module, inputs: Inputs) -> dict[tuple[str, str], float]:
    """Those of a layer, shared out among the tensors it has itself."""
    counts: dict[tuple[str, str], float] = {}
    for layer, macs in macs_by_layer(model, inputs).items():
        own = dict(model.get_submodule(layer).named_parameters(recurse=False))
        entries = sum(tensor.numel() for tensor in own.values())
        counts |= {(layer, key): macs * t.numel() / entries for key, t in own.items()}
        if not own:
            counts[layer, ""] = float(macs)
    return counts


def _split(name: str) -> tuple[str, str]:
    path, _, key = name.rpartition(".")
    return path, key
