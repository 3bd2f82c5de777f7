"""Penalties on single weights: HALO, and those with one coefficient for all weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from pruning_core.halo import Halo
from pruning_core.methods.dense import Dense
from pruning_core.penalties import Bridge, Lasso, Penalty, Ridge
from pruning_core.sparsity import TOLERANCE, make_permanent_, prune_below_, sparsity_curve

if TYPE_CHECKING:
    from pruning_core.training import Trainer


class Shrinking(Dense):
    """Zeros come from shrinkage: after the last step, weights below ``TOLERANCE`` become zeros.

    Every parameter is penalised, biases too, as in HALO's MNIST code. Nothing is trained after
    the last step; how the error grows with more zeros is noted in ``sparsity_curve``.
    """

    def after_epoch(self, trainer: Trainer) -> None:
        if trainer.epoch + 1 == trainer.settings.epochs:
            data = trainer.dataset
            trainer.findings["sparsity_curve"] = sparsity_curve(
                trainer.model, data.eval_images, data.eval_labels
            )
            make_permanent_(prune_below_(trainer.model, TOLERANCE))


class HaloPenalty(Shrinking):
    """HALO: the optimizer learns the weights and their coefficients together, to the last step."""

    settings = frozenset({"xi", "psi", "proximal"})

    def start(self, trainer: Trainer) -> None:
        settings = trainer.settings
        self.halo = Halo(
            trainer.model, settings.xi, settings.psi, biases=True, proximal=settings.proximal
        )

    def parameters(self) -> list[nn.Parameter]:
        return [self.halo.coefficients]

    def backward(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        loss = super().backward(model, images, labels)
        self.halo.backward()
        return loss

    def after_step(self, trainer: Trainer) -> None:
        if self.halo.proximal:
            weights = trainer.optimizer.param_groups[0]
            self.halo.shrink_(weights["lr"] / (1 - weights.get("momentum", 0.0)))

    def record(self, trainer: Trainer) -> dict[str, Any]:
        return {"penalty": float(self.halo.value())}


class SingleCoefficient(Shrinking):
    """A penalty with one coefficient for all weights."""

    settings = frozenset({"strength"})
    kind: ClassVar[type[Penalty]]

    def start(self, trainer: Trainer) -> None:
        self.penalty = self.kind(trainer.settings.strength)

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
