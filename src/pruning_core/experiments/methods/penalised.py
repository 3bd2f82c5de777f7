"""Prices of single weights, which end in zeros: HALO, penalties with one coefficient, noise."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from pruning_core.baselines.penalties import Bridge, Lasso, Penalty, Ridge, SharedShrinkage
from pruning_core.baselines.variational_dropout import LOG_ALPHA_LIMIT, VariationalDropout
from pruning_core.experiments.methods.method import Method
from pruning_core.experiments.run import Run
from pruning_core.experiments.settings import Settings
from pruning_core.halo import Halo
from pruning_core.metrics import weighted_layers
from pruning_core.sparsity import TOLERANCE, make_permanent_, prune_below_, sparsity_curve


class Shrinking(Method):
    """Zeros come from a price, which rises over the first ``settings.ramp_epochs`` to its full.

    After the last step, weights below ``TOLERANCE`` become zeros. Every parameter is penalised,
    biases too, as in HALO's MNIST code. Nothing is trained after the last step; how the error
    grows with more zeros is noted in ``sparsity_curve``.
    """

    def before_step(self, run: Run) -> None:
        ramp_steps = run.settings.ramp_epochs * run.steps_per_epoch
        if run.step <= ramp_steps:
            share = (run.step + 1) / (ramp_steps + 1)
            self.charge(run.settings, share)

    def charge(self, settings: Settings, share: float) -> None:
        """Set the price to this share, in (0, 1], of the full one."""

    def after_epoch(self, run: Run) -> None:
        if run.epoch + 1 == run.settings.epochs:
            self.end_in_zeros_(run.model)
            data = run.dataset
            run.findings["sparsity_curve"] = sparsity_curve(
                run.model, data.eval_images, data.eval_labels
            )

    def end_in_zeros_(self, model: nn.Module) -> None:
        make_permanent_(prune_below_(model, TOLERANCE))


class HaloPenalty(Shrinking):
    """HALO: the optimizer learns the weights and their coefficients together, to the last step."""

    def start(self, run: Run) -> None:
        settings = run.settings
        self.halo = Halo(
            run.model,
            settings.xi,
            settings.psi,
            initial=settings.initial_coefficient,
            biases=True,
            proximal=settings.proximal,
        )
        run.auxiliary = [self.halo.coefficients]

    def charge(self, settings: Settings, share: float) -> None:
        self.halo.psi = share * settings.psi

    def before_step(self, run: Run) -> None:
        super().before_step(run)
        _, coefficients = run.optimizer.param_groups
        coefficients["lr"] *= run.settings.coefficient_interval

    def backward(self, run: Run, images: Tensor, labels: Tensor) -> Tensor:
        loss = super().backward(run, images, labels)
        self.halo.backward(coefficients=run.step % run.settings.coefficient_interval == 0)
        return loss

    def after_step(self, run: Run) -> None:
        if self.halo.proximal:
            self.halo.shrink_(run.weight_step())

    def record(self, run: Run) -> dict[str, Any]:
        return {"penalty": float(self.halo.value())}


class SingleCoefficient(Shrinking):
    """A penalty with one coefficient for all weights."""

    kind: ClassVar[type[Penalty]]

    def start(self, run: Run) -> None:
        self.penalty = self.kind(run.settings.strength)

    def charge(self, settings: Settings, share: float) -> None:
        self.penalty.strength = share * settings.strength

    def backward(self, run: Run, images: Tensor, labels: Tensor) -> Tensor:
        loss = super().backward(run, images, labels)
        self.penalty.backward(list(run.model.parameters()))
        return loss

    def record(self, run: Run) -> dict[str, Any]:
        return {"penalty": float(self.penalty.value(list(run.model.parameters())))}


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

    def start(self, run: Run) -> None:
        settings = run.settings
        self.penalty = SharedShrinkage(
            settings.xi, settings.psi, initial=settings.initial_coefficient
        ).to(run.device)
        run.auxiliary = [self.penalty.coefficient]

    def charge(self, settings: Settings, share: float) -> None:
        self.penalty.psi = share * settings.psi

    def record(self, run: Run) -> dict[str, Any]:
        coefficient = float(self.penalty.coefficient.detach())
        return super().record(run) | {"coefficient": coefficient}


class SparseVariationalDropout(Shrinking):
    """Sparse variational dropout: weights end at zero where noise has drowned them."""

    def start(self, run: Run) -> None:
        if hasattr(self, "dropout"):
            self.dropout.remove()
        self.dropout = VariationalDropout(run.model)
        self.price = run.settings.strength
        run.auxiliary = list(self.dropout.parameters())

    def charge(self, settings: Settings, share: float) -> None:
        self.price = share * settings.strength

    def backward(self, run: Run, images: Tensor, labels: Tensor) -> Tensor:
        loss = super().backward(run, images, labels)
        self.dropout.backward(self.price)
        return loss

    def end_in_zeros_(self, model: nn.Module) -> None:
        self.dropout.remove()
        for layer, log_alpha in zip(weighted_layers(model), self.dropout.log_alpha(), strict=True):
            prune.custom_from_mask(layer, "weight", log_alpha.detach() <= LOG_ALPHA_LIMIT)
        make_permanent_(model)

    def record(self, run: Run) -> dict[str, Any]:
        with torch.no_grad():
            return {"penalty": float(self.price * self.dropout.divergence())}
