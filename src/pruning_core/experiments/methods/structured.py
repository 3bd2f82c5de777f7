"""Whole units leave, at once: group lasso, and L0 with hard-concrete gates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruning_core.baselines.hard_concrete import HardConcreteGate
from pruning_core.baselines.penalties import Group, GroupLasso
from pruning_core.compaction import compact_
from pruning_core.experiments.methods.dense import Dense
from pruning_core.export import remove_gates_
from pruning_core.gates import BernoulliGate, InputGate, any_gates, named_gates
from pruning_core.metrics import weighted_layers

if TYPE_CHECKING:
    from pruning_core.experiments.loop import Trainer


Layer = nn.Linear | nn.Conv2d


class Structured(Dense):
    """Units without weights are removed before the last ``settings.fine_tune_epochs``.

    Those epochs train what is left, without any price. With none of them, the units leave after
    the last step.
    """

    gated = True
    settings = frozenset({"gate_inputs", "gate_features", "strength", "fine_tune_epochs"})

    def start(self, trainer: Trainer) -> None:
        self.active = not self.is_settled(trainer)
        if not self.active:
            return
        # The second time, after a checkpoint was loaded, other modules stand in for the gates.
        for name, gate in any_gates(trainer.model).items():
            _replace(trainer.model, name, self.stand_in(gate, trainer))
        self.prepare(trainer)

    def is_settled(self, trainer: Trainer) -> bool:
        return "units_removed" in trainer.findings

    def stand_in(self, gate: BernoulliGate, trainer: Trainer) -> nn.Module:
        """What takes the place of a gate during training."""
        return nn.Identity()

    def prepare(self, trainer: Trainer) -> None:
        """Called when every gate has its stand-in."""

    def finish_(self, trainer: Trainer) -> None:
        """Write what the method has decided into the weights, as zeros."""

    def before_epoch(self, trainer: Trainer) -> None:
        settings = trainer.settings
        if self.active and trainer.epoch == settings.epochs - settings.fine_tune_epochs:
            self._settle(trainer)

    def after_epoch(self, trainer: Trainer) -> None:
        if self.active and trainer.epoch + 1 == trainer.settings.epochs:
            self._settle(trainer)

    @torch.no_grad()
    def _settle(self, trainer: Trainer) -> None:
        self.finish_(trainer)
        self.active = False
        gates = named_gates(trainer.fresh_model())
        for name, gate in gates.items():
            gate.theta.fill_(1.0)
            _replace(trainer.model, name, gate)
        dead = {name: _without_weights(trainer.model, name, gate) for name, gate in gates.items()}
        for mask in dead.values():
            # A network needs one unit a layer, be it a constant.
            mask[0] &= not bool(mask.all())
        removed = compact_(trainer.model, dead, trainer.dataset.train_images[:32])
        remove_gates_(trainer.model)
        trainer.findings["units_removed"] = removed
        trainer.optimizer = trainer.fresh_optimizer()


class GroupLassoOnUnits(Structured):
    """Group lasso: the weights into a unit and its bias are one group, shrunk by proximal steps.

    Gated inputs are groups too: the weights that read them.
    """

    def prepare(self, trainer: Trainer) -> None:
        groups: list[Group] = []
        for name, gate in named_gates(trainer.fresh_model()).items():
            before, after = _neighbours(trainer.model, name)
            if before is None or isinstance(gate, InputGate):
                groups.append([(after.weight, 1)])
            else:
                groups.append([(before.weight, 0), (before.get_parameter("bias"), 0)])
        self.penalty = GroupLasso(trainer.settings.strength, groups)

    def after_step(self, trainer: Trainer) -> None:
        if self.active:
            self.penalty.shrink_(trainer.weight_step())

    def record(self, trainer: Trainer) -> dict[str, Any]:
        return {"penalty": float(self.penalty.value())} if self.active else {}


class L0(Structured):
    """L0 with hard-concrete gates: a unit pays for every weight that would leave with it."""

    settings = Structured.settings | {"theta"}

    def stand_in(self, gate: BernoulliGate, trainer: Trainer) -> nn.Module:
        stand_in = HardConcreteGate(gate.num_units, theta=trainer.settings.theta)
        return stand_in.to(trainer.device)

    def prepare(self, trainer: Trainer) -> None:
        modules = trainer.model.named_modules()
        self.gates = {name: m for name, m in modules if isinstance(m, HardConcreteGate)}
        self.prices = []
        for name, gate in self.gates.items():
            layers = [layer for layer in _neighbours(trainer.model, name) if layer is not None]
            weights = sum(layer.weight.numel() for layer in layers)
            self.prices.append(trainer.settings.strength * weights / len(gate.log_alpha))

    def backward(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        if not self.active:
            return super().backward(model, images, labels)
        loss = F.cross_entropy(model(images), labels)
        (loss + self._penalty()).backward()
        return loss.detach()

    def record(self, trainer: Trainer) -> dict[str, Any]:
        if not self.active:
            return {}
        with torch.no_grad():
            return {"penalty": float(self._penalty())}

    def finish_(self, trainer: Trainer) -> None:
        for name, gate in self.gates.items():
            after = _neighbours(trainer.model, name)[1]
            factors = gate.multipliers()
            by_input = factors.repeat_interleave(after.weight.shape[1] // len(factors))
            after.weight.mul_(by_input.view(-1, *[1] * (after.weight.dim() - 2)))

    def _penalty(self) -> Tensor:
        """The expected number of weights behind open gates, times ``strength``."""
        expected = torch.stack([gate.open_probability().sum() for gate in self.gates.values()])
        return expected @ expected.new_tensor(self.prices)


def _neighbours(model: nn.Module, gate: str) -> tuple[Layer | None, Layer]:
    """The layer before a gate in the order of the modules, if there is one; and the one after."""
    weighted = set(weighted_layers(model))
    names, modules = zip(*model.named_modules(), strict=True)
    place = names.index(gate)
    before = [m for m in modules[:place] if m in weighted]
    after = [m for m in modules[place:] if m in weighted]
    return (before[-1] if before else None), after[0]


def _without_weights(model: nn.Module, name: str, gate: BernoulliGate) -> Tensor:
    """Units that nothing but zeros leads to, or from; bool, shape (n,)."""
    before, after = _neighbours(model, name)
    reads = after.weight.unflatten(1, (gate.num_units, -1)).transpose(0, 1).flatten(1)
    dead = ~reads.any(1)
    if before is None or isinstance(gate, InputGate):
        return dead
    # ReLU makes zero of a constant that is not above it.
    silent = ~before.weight.flatten(1).any(1) & (before.get_parameter("bias") <= 0)
    return dead | silent


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
