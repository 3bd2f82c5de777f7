"""The size of a network whose units stay by chance: weights, MACs or units, on average."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pruning_core.coupling import FEATURES, Coupling
from pruning_core.gates import InputGate, named_gates
from pruning_core.inputs import Inputs
from pruning_core.layers import sections_of
from pruning_core.metrics import macs_by_layer, weights
from pruning_core.rehearsal import copied, untouched

CURRENCIES = ("units", "weights", "macs")
"""What can be counted."""

_Place = tuple[str, str]
"""Layer and tensor."""

_ONE = torch.zeros(1, dtype=torch.long)
"""The owner of a whole section: the single unit of its gate."""


class ExpectedSize:
    """What is left on average of a model whose units stay or go independently.

    A weight stays if a unit it is coupled with on each of its axes stays. So with S(θ) the mean
    number of entries that stay along an axis, a dense layer keeps S_in(θ) · S_out(θ) weights on
    average, a convolution as many times the size of its kernel, and each is multiplied as often as
    there are places in an image. All within the section of a :class:`pruning_core.LayerGate` counts
    as often as the section is there. Where gates share their channels, as in a residual addition,
    one that is open keeps a channel. The sum over the layers is a polynomial, affine in every
    single θ, whose derivative is what a unit would save, given what else is still there. For θ of 0
    and 1 it is the count of the network without its closed units (to a thousandth in MACs, where
    transposed convolutions have a bias).

    Args:
        model: with gates.
        inputs: a few examples.
        of: "weights", "macs" or "units", or so much of each: ``{"weights": 1, "macs": 0.01}``.
            MACs go with the entries of the layer that multiplies, and stay where it has none, as
            in the products of attention. Units are those that gates have.

    Raises:
        CompactionError: if the model cannot be traced.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, of: str | Mapping[str, float]) -> None:
        mix = {of: 1.0} if isinstance(of, str) else dict(of)
        one = inputs.first(1)
        self._gates = named_gates(model)
        # Units keep the numbers they have now, whatever leaves later.
        self._numbers = {name: gate.unit_index.cpu() for name, gate in self._gates.items()}
        self._per_unit = mix.get("units", 0.0)
        with untouched(model):
            twin = copied(model)
            coupled = Coupling(twin, one).coupled()
            counts = _counted(twin, one, mix)
        owners: dict[_Place, dict[int, dict[str, Tensor]]] = {}
        for each in coupled:
            place, module = (each.layer, each.tensor), twin.get_submodule(each.layer)
            if isinstance(module, InputGate):
                size = module.num_features
            elif place in counts:
                size = getattr(module, each.tensor).shape[each.axis]
            else:
                continue
            by_gate = owners.setdefault(place, {}).setdefault(each.axis, {})
            owner = by_gate.setdefault(each.gate, torch.full((size,), -1))
            owner[each.positions] = self._numbers[each.gate][each.units]
        self._fed: dict[str, tuple[_Axis, Tensor]] = {}
        for name, gate in self._gates.items():
            fed = owners.get((name, FEATURES), {})
            if isinstance(gate, InputGate) and fed:
                self._fed[name] = _Axis(fed[0]), gate.selected.cpu()
        within = sections_of(model)
        axes: dict[tuple[object, ...], int] = {}
        terms: list[tuple[float, list[int]]] = []
        self._axes: list[_Axis] = []
        self._shared: list[tuple[float, int, list[int], Tensor]] = []
        for place, count in counts.items():
            term = []
            sections = [{gate: _ONE} for gate, inside in within.items() if _is_in(place, inside)]
            for by_gate in (*owners.get(place, {}).values(), *sections):
                axis = _Axis(by_gate)
                term.append(axes.setdefault(axis.key, len(axes)))
                if len(axes) > len(self._axes):
                    self._axes.append(axis)
                count /= axis.size
            terms.append((count, term))
            if len(owners.get(place, {})) == 2:
                first, second = (self._axes[index] for index in term[:2])
                twins = first.twins(second)
                if twins is not None:
                    self._shared.append((count, term[0], term[2:], twins))
        width = max((len(term) for _, term in terms), default=0)
        padded = [term + [len(self._axes)] * (width - len(term)) for _, term in terms]
        self._factors = torch.tensor(padded, dtype=torch.long).reshape(len(terms), width)
        self._counts = torch.tensor([count for count, _ in terms], dtype=torch.float64)

    def __call__(self, theta: Mapping[str, Tensor]) -> Tensor:
        """The mean count, if the units that a gate has now stay with these probabilities.

        Args:
            theta: by gate, shape (n,).

        Returns:
            A scalar, float64, which can be differentiated in θ.
        """
        stays = {name: self._by_number(name, theta) for name in self._numbers}
        for name, (axis, selected) in self._fed.items():
            kept = axis.chances(stays)[selected.to(stays[name].device)]
            numbers = self._numbers[name].to(kept.device)
            stays[name] = stays[name] * torch.ones_like(stays[name]).index_copy(0, numbers, kept)
        means = [axis.mean(stays) for axis in self._axes]
        one = next(iter(stays.values())).new_ones(())
        factors = torch.stack([*means, one])[self._factors.to(one.device)]
        products = factors[:, 0] if factors.shape[1] else one.expand(len(factors))
        for column in range(1, factors.shape[1]):
            products = products * factors[:, column]
        total = products @ self._counts.to(one.device)
        for count, index, sections, twins in self._shared:
            chance = self._axes[index].chances(stays)
            for section in sections:
                count = count * means[section]
            total = total + count * (twins.to(one.device) * (chance - chance**2)).sum()
        if self._per_unit:
            total = total + self._per_unit * torch.stack([t.sum() for t in theta.values()]).sum()
        return total

    def slopes(self, theta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By gate, what each unit would save if it left: ∂/∂θ, shape (n,), of θ's type.

        Args:
            theta: by gate, shape (n,).
        """
        leaves = {name: value.detach().requires_grad_() for name, value in theta.items()}
        with torch.enable_grad():
            found = torch.autograd.grad(self(leaves), list(leaves.values()), materialize_grads=True)
        return dict(zip(leaves, found, strict=True))

    def _by_number(self, name: str, theta: Mapping[str, Tensor]) -> Tensor:
        """By the number of the unit; the last, which −1 finds, is of entries that are no unit's."""
        size = int(self._numbers[name][-1]) + 2
        if name not in theta:  # the gate has left, with all its units
            return next(iter(theta.values())).new_zeros(size, dtype=torch.float64)
        values = theta[name].double()
        numbers = self._gates[name].unit_index.to(values.device)
        return values.new_zeros(size).index_copy(0, numbers, values)


@dataclass
class _Axis:
    """Entries along an axis, and by gate the number of the unit that each is coupled with.

    Attributes:
        owners: shape (size,); −1 where an entry is coupled with none of the gate's units.
    """

    owners: Mapping[str, Tensor]
    _counts: Tensor | None = field(default=None, init=False)
    _nobodys: int = field(default=0, init=False)

    @property
    def size(self) -> int:
        return len(next(iter(self.owners.values())))

    @property
    def key(self) -> tuple[object, ...]:
        """The same for axes whose entries stay and go together."""
        return tuple((name, tuple(owner.tolist())) for name, owner in self.owners.items())

    def chances(self, stays: Mapping[str, Tensor]) -> Tensor:
        """By entry, the chance that one of its units stays; 1 where there is none."""
        owners = {name: owner.to(stays[name].device) for name, owner in self.owners.items()}
        gone = [1 - stays[name][owner] for name, owner in owners.items()]
        nobodys = torch.stack([owner < 0 for owner in owners.values()]).all(0)
        return torch.where(nobodys, 1.0, 1 - torch.stack(gone).prod(0))

    def mean(self, stays: Mapping[str, Tensor]) -> Tensor:
        """Entries that stay on average; float64, a scalar."""
        if len(self.owners) > 1:
            return self.chances(stays).sum()
        ((name, owner),) = self.owners.items()
        chances = stays[name]
        if self._counts is None or self._counts.device != chances.device:
            counts = torch.bincount(owner[owner >= 0], minlength=len(chances))
            self._counts = counts.double().to(chances.device)
            self._nobodys = self.size - int(counts.sum())
        return self._counts @ chances + self._nobodys

    def twins(self, other: _Axis) -> Tensor | None:
        """By entry, how many of another axis have just its units; None where there are none.

        Both of such a pair stay or go as one, so their weight stays with the chance of one of them,
        and not with its square.
        """
        if set(self.owners) != set(other.owners):
            return None
        mine, theirs = (
            list(zip(*(axis.owners[name].tolist() for name in self.owners), strict=True))
            for axis in (self, other)
        )
        counts: dict[tuple[int, ...], int] = {}
        for units in theirs:
            counts[units] = counts.get(units, 0) + (max(units) >= 0)
        twins = torch.tensor([counts.get(units, 0) for units in mine], dtype=torch.float64)
        return twins if bool(twins.any()) else None


def _counted(model: nn.Module, inputs: Inputs, mix: Mapping[str, float]) -> dict[_Place, float]:
    """What each tensor of a layer counts."""
    if unknown := set(mix) - {*CURRENCIES}:
        raise ValueError(f"{sorted(unknown)} cannot be counted; {', '.join(CURRENCIES)} can")
    counts: dict[_Place, float] = {}
    for currency, found in (("weights", _weights), ("macs", _macs)):
        if share := mix.get(currency, 0.0):
            for place, count in found(model, inputs).items():
                counts[place] = counts.get(place, 0.0) + share * count
    return counts


def _weights(model: nn.Module, _: Inputs) -> dict[_Place, float]:
    return {_split(name): float(weight.numel()) for name, weight in weights(model).items()}


def _macs(model: nn.Module, inputs: Inputs) -> dict[_Place, float]:
    """Those of a layer, shared out among the tensors it has itself."""
    counts: dict[_Place, float] = {}
    for layer, macs in macs_by_layer(model, inputs).items():
        own = dict(model.get_submodule(layer).named_parameters(recurse=False))
        entries = sum(tensor.numel() for tensor in own.values())
        counts |= {(layer, key): macs * t.numel() / entries for key, t in own.items()}
        if not own:
            counts[layer, ""] = float(macs)
    return counts


def _is_in(place: _Place, section: str) -> bool:
    return f"{place[0]}.".startswith(f"{section}.")


def _split(name: str) -> _Place:
    path, _, key = name.rpartition(".")
    return path, key
