"""Units at the moment they leave: how large their weights are, and how steep the loss is in them.

What the chapter "When a unit cannot come back" asks of a unit is measured here in a real run, over
the whole training set: ‖w‖ of all weights that leave with the unit, and the norm of the gradient in
them when its gate is open, which κ has to be at least.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.experiments.callbacks import Callback
from pruning_core.experiments.data import Dataset
from pruning_core.experiments.loop import Trainer
from pruning_core.experiments.methods.bernoulli import Bernoulli
from pruning_core.experiments.run import Run
from pruning_core.gates import BernoulliGate, InputGate, named_gates
from pruning_core.metrics import weighted_layers

_AT_ONCE = 2000
"""Images in a pass."""


class Steepness(NamedTuple):
    """Of some units of a gate, one with its gate open and all others as rounded; shape (k,) each.

    Attributes:
        norm: ‖w‖ of the weights that leave with the unit.
        gradient: ‖∂L/∂w‖ in nats over the training set.
        worth: L with the unit closed minus L with it open, in nats.
    """

    norm: Tensor
    gradient: Tensor
    worth: Tensor


class Leaving(Callback):
    """Notes every unit that a run of Bernoulli pruning removes, just before it goes.

    It draws nothing and changes nothing: the run is the one that it would be without.

    Attributes:
        rows: of each removed unit ``epoch``, ``gate``, ``unit`` (its number at the start),
            ``price`` (log γ as charged now), ``theta``, the fields of :class:`Steepness`,
            ``seen`` (the largest ‖∂L/∂w‖ at the end of an epoch at which it was open), and
            ``theta_rate`` (η, see :func:`theta_rate`).
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float | int | str]] = []
        self._seen: dict[str, Tensor] = {}

    def on_train_start(self, run: Run) -> None:
        if run.settings.method != "bernoulli":
            raise ValueError(f"Leaving needs method='bernoulli', not {run.settings.method!r}")
        self._seen = {n: torch.zeros(g.num_units) for n, g in named_gates(run.model).items()}

    def on_step_end(self, run: Run) -> None:
        if run.step % run.steps_per_epoch:
            return
        assert isinstance(run, Trainer)
        assert isinstance(run.method, Bernoulli)
        pruner = run.method.pruner
        if pruner is None:
            return
        model = run.model
        assert isinstance(model, nn.Sequential), "both models are"
        model.eval()
        for name, steep in gradients_of_open_units(model, run.dataset).items():
            gate = pruner.gates[name]
            at = gate.unit_index[gate.is_open()]
            self._seen[name][at] = torch.maximum(self._seen[name][at], steep)
        for name, dead in pruner.dead_units().items():
            units = dead.nonzero().flatten().tolist()
            if units:
                self._note(run, pruner, name, units)
        model.train()

    def _note(self, run: Run, pruner: BernoulliPruner, name: str, units: list[int]) -> None:
        model, gate = run.model, pruner.gates[name]
        assert isinstance(model, nn.Sequential)
        price = pruner.price_scale * pruner.hyper_priors[name].price
        rates = theta_rate(run, pruner, name)
        steep = measured(model, name, units, run.dataset)
        for place, unit in enumerate(units):
            number = int(gate.unit_index[unit])
            self.rows.append(
                {
                    "epoch": run.epoch + 1,
                    "gate": name,
                    "unit": number,
                    "price": price,
                    "theta": float(gate.theta.detach()[unit]),
                    **{key: float(value[place]) for key, value in steep._asdict().items()},
                    "seen": float(self._seen[name][number]),
                    "theta_rate": float(rates[unit]),
                }
            )


def measured(model: nn.Sequential, name: str, units: list[int], dataset: Dataset) -> Steepness:
    """The steepness of the training loss in the weights of closed units, one opened at a time.

    Args:
        model: in evaluation mode; its gates are rounded.
        name: of a gate that stands between two layers, or before the first one.
        units: of that gate, all of them closed.
        dataset: its training images.
    """
    around = _Around(model, name)
    leaves = [around.leaves(unit) for unit in units]
    sums = [[torch.zeros_like(leaf) for leaf in own] for own in leaves]
    worth = torch.zeros(len(units), dtype=torch.float64)
    for images, labels in _chunks(dataset):
        with torch.no_grad():
            inputs = around.before(images)
            closed = around.read(inputs)
            without = _loss(around.after(closed), labels)
        for place, own in enumerate(leaves):
            loss = _loss(around.after(closed + around.added(inputs, units[place], own)), labels)
            worth[place] += (without - loss.detach()).double()
            for total, found in zip(sums[place], torch.autograd.grad(loss, own), strict=True):
                total += found
    return Steepness(_norms(leaves), _norms(sums), worth)


def gradients_of_open_units(model: nn.Sequential, dataset: Dataset) -> dict[str, Tensor]:
    """‖∂L/∂w‖ of every open unit, by gate: one pass, since all of them are open in it."""
    parameters = dict(model.named_parameters())
    sums = {key: torch.zeros_like(value) for key, value in parameters.items()}
    for images, labels in _chunks(dataset):
        found = torch.autograd.grad(_loss(model(images), labels), list(parameters.values()))
        for total, gradient in zip(sums.values(), found, strict=True):
            total += gradient
    norms = {}
    for name, gate in named_gates(model).items():
        around = _Around(model, name)
        own = [around.entries(unit, sums) for unit in gate.is_open().nonzero().flatten().tolist()]
        norms[name] = _norms(own)
    return norms


def theta_rate(run: Run, pruner: BernoulliPruner, name: str) -> Tensor:
    """η of every unit of a gate: how far θ goes for the way that its weights go, per nat.

    A nat of slope moves θ by ``theta_step`` / log γ a step. With the averages that Adam holds at
    the moment, a nat of slope moves weight j by ρ_j / N, ρ_j its learning rate over the root of its
    average; of the unit's weights the median is taken. Another optimizer has one ρ for all.
    """
    group = run.optimizer.param_groups[0]
    rates = {}
    for key, parameter in run.model.named_parameters():
        state = run.optimizer.state[parameter]
        rates[key] = torch.full_like(parameter.detach(), run.weight_step())
        if "exp_avg_sq" in state:
            unbiased = state["exp_avg_sq"] / (1 - group["betas"][1] ** float(state["step"]))
            rates[key] = group["lr"] / (unbiased.sqrt() + group["eps"])
    assert isinstance(run.model, nn.Sequential)
    around = _Around(run.model, name)
    price = pruner.hyper_priors[name].price
    step = next(g["lr"] for g in pruner.param_groups if g["name"] == name)
    medians = [
        torch.cat([part.flatten() for part in around.entries(unit, rates)]).median()
        for unit in range(pruner.gates[name].num_units)
    ]
    return step / price * pruner.num_examples / torch.stack(medians)


class _Around:
    """The layers of a network as a gate sees them: what makes its units, and what reads them."""

    def __init__(self, model: nn.Sequential, name: str) -> None:
        gate, layers = model.get_submodule(name), dict(model.named_children())
        assert isinstance(gate, BernoulliGate)
        weighted = set(weighted_layers(model))
        names, place = list(layers), list(layers).index(name)
        makers = [n for n in names[:place] if layers[n] in weighted]
        if isinstance(gate, InputGate) == bool(makers):
            raise ValueError(f"the units of {name!r} are neither inputs nor made by one layer")
        self.gate = gate
        self.reader = next(n for n in names[place:] if layers[n] in weighted)
        self.maker = makers[-1] if makers else None
        start = names.index(self.maker) if self.maker else place
        cuts = [0, start, place, names.index(self.reader), len(names)]
        parts = [nn.Sequential(*(layers[n] for n in names[a:b])) for a, b in pairwise(cuts)]
        self.before, making, behind, _ = parts
        self._layers, self._making = layers, making
        self._between, self._behind = making[1:], behind[1:]
        self.after = nn.Sequential(*(layers[n] for n in names[cuts[3] + 1 :]))

    def read(self, inputs: Tensor) -> Tensor:
        """What the reader makes of all units, those that are closed left out."""
        return self._layers[self.reader](self._behind(self.gate(self._making(inputs))))

    def added(self, inputs: Tensor, unit: int, leaves: list[Tensor]) -> Tensor:
        """What it makes of one unit in addition, as a function of the unit's own weights."""
        if self.maker is None:
            features = inputs.index_select(1, self.gate.get_buffer("selected")[[unit]])
        else:
            features = self._between(_apply(self._layers[self.maker], inputs, *leaves[:2]))
        return _apply(self._layers[self.reader], self._behind(features), leaves[-1])

    def leaves(self, unit: int) -> list[Tensor]:
        """Copies of the weights that leave with a unit: a row, its bias, and columns."""
        values = {
            f"{name}.{key}": parameter.detach()
            for name, layer in self._layers.items()
            for key, parameter in layer.named_parameters()
        }
        return [part.clone().requires_grad_() for part in self.entries(unit, values)]

    def entries(self, unit: int, values: Mapping[str, Tensor]) -> list[Tensor]:
        """The same entries of anything that has the shapes of the weights, by their names."""
        columns = values[f"{self.reader}.weight"]
        each = columns.shape[1] // self.gate.num_units  # features that a filter became
        columns = columns[:, unit * each : (unit + 1) * each]
        if self.maker is None:
            return [columns]
        rows = [values[f"{self.maker}.{key}"][unit : unit + 1] for key in ("weight", "bias")]
        return [*rows, columns]


def _apply(layer: nn.Module, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A layer with other weights."""
    if isinstance(layer, nn.Conv2d):
        return F.conv2d(inputs, weight, bias, layer.stride, layer.padding, layer.dilation)
    return F.linear(inputs, weight, bias)


def _chunks(dataset: Dataset) -> Iterator[tuple[Tensor, Tensor]]:
    images, labels = dataset.train_images, dataset.train_labels
    yield from zip(images.split(_AT_ONCE), labels.split(_AT_ONCE), strict=True)


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="sum")


def _norms(parts: list[list[Tensor]]) -> Tensor:
    """Of each list of tensors, the norm of all their entries together."""
    squares = [sum(float(part.detach().double().square().sum()) for part in own) for own in parts]
    return torch.tensor(squares).sqrt()
