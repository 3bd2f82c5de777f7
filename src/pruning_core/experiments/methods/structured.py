"""Whole units leave, at once: group lasso, and L0 with hard-concrete gates."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruning_core.baselines.hard_concrete import HardConcreteGate
from pruning_core.baselines.penalties import Group, GroupLasso
from pruning_core.compaction import compact_
from pruning_core.experiments.methods.method import Method
from pruning_core.experiments.run import Run
from pruning_core.export import remove_gates_
from pruning_core.gates import BernoulliGate, InputGate, any_gates, named_gates
from pruning_core.metrics import weighted_layers
from pruning_core.models import MODELS

Layer = nn.Linear | nn.Conv2d


class Structured(Method):
    """Units without weights are removed before the last ``settings.fine_tune_epochs``.

    Those epochs train what is left, without any price. With none of them, the units leave after
    the last step.
    """

    def start(self, run: Run) -> None:
        if run.phase == "settled":
            return
        settings = run.settings
        if MODELS[settings.model].has_sections:
            raise ValueError(
                f"{settings.method} is for networks whose layers follow each other, not for "
                f"{settings.model}; choose bernoulli"
            )
        # The second time, after a checkpoint was loaded, other modules stand in for the gates.
        for name, gate in any_gates(run.model).items():
            _replace(run.model, name, self.stand_in(gate, run))
        self.prepare(run)

    def stand_in(self, gate: BernoulliGate, run: Run) -> nn.Module:
        """What takes the place of a gate during training."""
        return nn.Identity()

    def prepare(self, run: Run) -> None:
        """Called when every gate has its stand-in."""

    def finish_(self, run: Run) -> None:
        """Write what the method has decided into the weights, as zeros."""

    def before_epoch(self, run: Run) -> None:
        settings = run.settings
        if run.phase == "pruning" and run.epoch == settings.epochs - settings.fine_tune_epochs:
            self._settle(run)

    def after_epoch(self, run: Run) -> None:
        if run.phase == "pruning" and run.epoch + 1 == run.settings.epochs:
            self._settle(run)

    @torch.no_grad()
    def _settle(self, run: Run) -> None:
        self.finish_(run)
        gates = named_gates(run.fresh_model())
        for name, gate in gates.items():
            gate.theta.fill_(1.0)
            _replace(run.model, name, gate)
        dead = {name: _without_weights(run.model, name, gate) for name, gate in gates.items()}
        for mask in dead.values():
            # A network needs one unit a layer, be it a constant.
            mask[0] &= not bool(mask.all())
        removed = compact_(run.model, dead, run.dataset.train_images[:32])
        remove_gates_(run.model)
        run.findings["units_removed"] = removed
        run.optimizer = run.fresh_optimizer()
        run.phase = "settled"


class GroupLassoOnUnits(Structured):
    """Group lasso: the weights into a unit and its bias are one group, shrunk by proximal steps.

    Gated inputs are groups too: the weights that read them.
    """

    def prepare(self, run: Run) -> None:
        groups: list[Group] = []
        for name, gate in named_gates(run.fresh_model()).items():
            before, after = _neighbours(run.model, name)
            if before is None or isinstance(gate, InputGate):
                groups.append([(after.weight, 1)])
            else:
                groups.append([(before.weight, 0), (before.get_parameter("bias"), 0)])
        self.penalty = GroupLasso(run.settings.strength, groups)

    def after_step(self, run: Run) -> None:
        if run.phase == "pruning":
            self.penalty.shrink_(run.weight_step())

    def record(self, run: Run) -> dict[str, Any]:
        return {"penalty": float(self.penalty.value())} if run.phase == "pruning" else {}


class PricedGates(Structured):
    """Random gates that learn with the weights, at a price, and end as factors of the weights."""

    kind: ClassVar[type[nn.Module]]

    def stand_in(self, gate: BernoulliGate, run: Run) -> nn.Module:
        return self.kind(gate.num_units).to(run.device)

    def prepare(self, run: Run) -> None:
        modules = run.model.named_modules()
        self.gates: dict[str, Any] = {
            name: module for name, module in modules if isinstance(module, self.kind)
        }

    def penalty(self, run: Run) -> Tensor:
        """The price of the gates as they are, in nats per example; a scalar."""
        raise NotImplementedError

    def backward(self, run: Run, images: Tensor, labels: Tensor) -> Tensor:
        if run.phase == "settled":
            return super().backward(run, images, labels)
        loss = F.cross_entropy(run.model(images), labels)
        (loss + self.penalty(run)).backward()
        return loss.detach()

    def record(self, run: Run) -> dict[str, Any]:
        if run.phase == "settled":
            return {}
        with torch.no_grad():
            return {"penalty": float(self.penalty(run))}

    def finish_(self, run: Run) -> None:
        for name, gate in self.gates.items():
            after = _neighbours(run.model, name)[1]
            factors = gate.multipliers()
            by_input = factors.repeat_interleave(after.weight.shape[1] // len(factors))
            after.weight.mul_(by_input.view(-1, *[1] * (after.weight.dim() - 2)))


class L0(PricedGates):
    """L0 with hard-concrete gates: a unit pays for every weight that would leave with it."""

    kind = HardConcreteGate

    def stand_in(self, gate: BernoulliGate, run: Run) -> nn.Module:
        stand_in = HardConcreteGate(gate.num_units, theta=run.settings.theta)
        return stand_in.to(run.device)

    def prepare(self, run: Run) -> None:
        super().prepare(run)
        self.prices = []
        for name, gate in self.gates.items():
            layers = [layer for layer in _neighbours(run.model, name) if layer is not None]
            weights = sum(layer.weight.numel() for layer in layers)
            self.prices.append(run.settings.strength * weights / len(gate.log_alpha))

    def penalty(self, run: Run) -> Tensor:
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
