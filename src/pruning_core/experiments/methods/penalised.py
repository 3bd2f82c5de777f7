"""Prices of single weights, which end in zeros: HALO, penalties with one coefficient, noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from pruning_core.baselines.penalties import Bridge, Lasso, Penalty, Ridge, SharedShrinkage
from pruning_core.baselines.variational_dropout import LOG_ALPHA_LIMIT, VariationalDropout
from pruning_core.experiments.methods.dense import Dense
from pruning_core.halo import Halo
from pruning_core.metrics import weighted_layers
from pruning_core.sparsity import TOLERANCE, make_permanent_, prune_below_, sparsity_curve

if TYPE_CHECKING:
    from pruning_core.experiments.loop import Trainer
    from pruning_core.experiments.settings import Settings


class Shrinking(Dense):
    """Zeros come from a price, which rises over the first ``settings.ramp_epochs`` to its full.

    After the last step, weights below ``TOLERANCE`` become zeros. Every parameter is penalised,
    biases too, as in HALO's MNIST code. Nothing is trained after the last step; how the error
    grows with more zeros is noted in ``sparsity_curve``.
    """

    def before_step(self, trainer: Trainer) -> None:
        ramp_steps = trainer.settings.ramp_epochs * trainer.steps_per_epoch
        if trainer.step <= ramp_steps:
            share = (trainer.step + 1) / (ramp_steps + 1)
            self.charge(trainer.settings, share)

    def charge(self, settings: Settings, share: float) -> None:
        """Set the price to this share, in (0, 1], of the full one."""

    def after_epoch(self, trainer: Trainer) -> None:
        if trainer.epoch + 1 == trainer.settings.epochs:
            self.end_in_zeros_(trainer.model)
            data = trainer.dataset
            trainer.findings["sparsity_curve"] = sparsity_curve(
                trainer.model, data.eval_images, data.eval_labels
            )

    def end_in_zeros_(self, model: nn.Module) -> None:
        make_permanent_(prune_below_(model, TOLERANCE))


class HaloPenalty(Shrinking):
    """HALO: the optimizer learns the weights and their coefficients together, to the last step."""

    settings = frozenset({"xi", "psi", "proximal", "budget", "initial_coefficient", "ramp_epochs"})

    def start(self, trainer: Trainer) -> None:
        settings = trainer.settings
        self.halo = Halo(
            trainer.model,
            settings.xi,
            settings.psi,
            initial=settings.initial_coefficient,
            biases=True,
            budget=settings.budget,
            proximal=settings.proximal,
        )

    def charge(self, settings: Settings, share: float) -> None:
        self.halo.psi = share * settings.psi

    def parameters(self) -> list[nn.Parameter]:
        return [self.halo.coefficients]

    def backward(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        loss = super().backward(model, images, labels)
        self.halo.backward()
        return loss

    def after_step(self, trainer: Trainer) -> None:
        if self.halo.proximal:
            self.halo.shrink_(trainer.weight_step())

    def record(self, trainer: Trainer) -> dict[str, Any]:
        return {"penalty": float(self.halo.value())}


class SingleCoefficient(Shrinking):
    """A penalty with one coefficient for all weights."""

    settings = frozenset({"strength", "ramp_epochs"})
    kind: ClassVar[type[Penalty]]

    def start(self, trainer: Trainer) -> None:
        self.penalty = self.kind(trainer.settings.strength)

    def charge(self, settings: Settings, share: float) -> None:
        self.penalty.strength = share * settings.strength

    def backward(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        loss = super().backward(model, images, labels)
        self.penalty.backward(list(model.parameters()))
        return loss

    def record(self, trainer: Trainer) -> dict[str, Any]:
        return {"penalty": float(self.penalty.value(list(trainer.model.parameters())))}


class L1(SingleCoefficient):
    """The lasso."""

    kind = Lasso


class L2(SingleCoefficient):
    """Ridge, or weight decay in the loss."""

    kind = Ridge


class BridgeThird(SingleCoefficient):
    """The bridge ℓ_{1/3}, HALO's own marginal: does learning λ matter?"""

    kind = Bridge


class Sws(SingleCoefficient):
    """HALO's own baseline: the one coefficient is learned."""

    settings = frozenset({"xi", "psi", "initial_coefficient", "ramp_epochs"})

    def start(self, trainer: Trainer) -> None:
        settings = trainer.settings
        self.penalty = SharedShrinkage(
            settings.xi, settings.psi, initial=settings.initial_coefficient
        ).to(trainer.device)

    def charge(self, settings: Settings, share: float) -> None:
        self.penalty.psi = share * settings.psi

    def parameters(self) -> list[nn.Parameter]:
        return [self.penalty.coefficient]

    def record(self, trainer: Trainer) -> dict[str, Any]:
        coefficient = float(self.penalty.coefficient.detach())
        return super().record(trainer) | {"coefficient": coefficient}


class SparseVariationalDropout(Shrinking):
    """Sparse variational dropout: weights end at zero where noise has drowned them."""

    settings = frozenset({"strength", "ramp_epochs"})

    def start(self, trainer: Trainer) -> None:
        if hasattr(self, "dropout"):
            self.dropout.remove()
        self.dropout = VariationalDropout(trainer.model)
        self.price = trainer.settings.strength

    def charge(self, settings: Settings, share: float) -> None:
        self.price = share * settings.strength

    def parameters(self) -> list[nn.Parameter]:
        return list(self.dropout.parameters())

    def backward(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        loss = super().backward(model, images, labels)
        self.dropout.backward(self.price)
        return loss

    def end_in_zeros_(self, model: nn.Module) -> None:
        self.dropout.remove()
        for layer, log_alpha in zip(weighted_layers(model), self.dropout.log_alpha(), strict=True):
            prune.custom_from_mask(layer, "weight", log_alpha.detach() <= LOG_ALPHA_LIMIT)
        make_permanent_(model)

    def record(self, trainer: Trainer) -> dict[str, Any]:
        with torch.no_grad():
            return {"penalty": float(self.price * self.dropout.divergence())}
