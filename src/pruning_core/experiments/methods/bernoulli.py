"""Bernoulli variational pruning as a training method."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor, nn

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.estimators import ESTIMATORS
from pruning_core.experiments.methods.dense import Dense
from pruning_core.export import remove_gates_
from pruning_core.gates import named_gates, sampled_gates
from pruning_core.hyperprior import HYPER_PRIORS
from pruning_core.metrics import error_percent

if TYPE_CHECKING:
    from pruning_core.experiments.loop import Trainer


class Bernoulli(Dense):
    """Bernoulli variational pruning, then deterministic epochs of the network it leaves.

    θ moves during the first ``settings.bernoulli_epochs``, by the pruner's recipe for a run of
    known length. Over ``settings.ramp_epochs`` the price of a unit rises to log γ. Dead units leave
    after every epoch.
    """

    gated = True
    settings = frozenset(
        {
            "log_gamma",
            "gate_inputs",
            "gate_features",
            "hyper_prior",
            "theta",
            "theta_step",
            "smoothing",
            "estimator",
            "bernoulli_epochs",
            "ramp_epochs",
            "compact",
        }
    )

    def __init__(self) -> None:
        self.pruner: BernoulliPruner | None = None

    def start(self, trainer: Trainer) -> None:
        if self.is_settled(trainer):
            self.pruner = None
            return
        settings = trainer.settings
        gates = named_gates(trainer.model)
        log_gamma = settings.log_gamma
        if len(log_gamma) not in (1, len(gates)):
            raise ValueError(
                f"log_gamma has {len(log_gamma)} values; one, or one for each of the gates "
                f"{', '.join(gates)} was expected"
            )
        by_gate = log_gamma * len(gates) if len(log_gamma) == 1 else log_gamma
        self.pruner = BernoulliPruner(
            trainer.model,
            {
                name: HYPER_PRIORS[settings.hyper_prior](price)
                for name, price in zip(gates, by_gate, strict=True)
            },
            num_examples=len(trainer.dataset.train_labels),
            theta_step=settings.theta_step,
            smoothing=settings.smoothing,
            estimator=ESTIMATORS[settings.estimator](),
            example_inputs=trainer.dataset.train_images[:32],
            total_steps=settings.epochs * trainer.steps_per_epoch,
            ramp_steps=settings.ramp_epochs * trainer.steps_per_epoch,
            settle_at=math.inf,  # see before_epoch: first it is noted what is undecided
            look_every=1,
        )
        self.pruner.steps = trainer.step

    def is_settled(self, trainer: Trainer) -> bool:
        return "undecided" in trainer.findings

    def before_epoch(self, trainer: Trainer) -> None:
        if self.pruner is not None and trainer.epoch == trainer.settings.bernoulli_epochs:
            self._settle(trainer)

    def backward(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        if self.pruner is None:
            return super().backward(model, images, labels)
        return self.pruner.backward(
            lambda: F.cross_entropy(model(images), labels, reduction="none"), len(labels)
        )

    def after_step(self, trainer: Trainer) -> None:
        if self.pruner is not None:
            self.pruner.step()

    def after_epoch(self, trainer: Trainer) -> None:
        if self.pruner is None:
            return
        if trainer.settings.compact:
            self.pruner.compact_(trainer.optimizer)
        if trainer.epoch + 1 == trainer.settings.epochs == trainer.settings.bernoulli_epochs:
            self._settle(trainer)

    def record(self, trainer: Trainer) -> dict[str, Any]:
        if self.pruner is None:
            return {}
        undecided = self.pruner.undecided()
        return {
            "penalty": float(self.pruner.penalty().detach()),
            "undecided": undecided,
            "theta": {
                name: {
                    "units": gate.num_units,
                    "mean": float(gate.theta.detach().mean()),
                    "histogram": gate.theta.detach().cpu().histc(20, 0.0, 1.0).int().tolist(),
                }
                for name, gate in self.pruner.gates.items()
            },
        }

    def _settle(self, trainer: Trainer) -> None:
        """Note how decided θ is, then round it and go on with the plain network."""
        assert self.pruner is not None
        data = trainer.dataset
        surviving = sum(int(gate.is_open().sum()) for gate in self.pruner.gates.values())
        with sampled_gates(trainer.model):
            stochastic = error_percent(trainer.model, data.eval_images, data.eval_labels)
        trainer.findings.update(
            undecided=sum(self.pruner.undecided().values()),
            surviving_units=surviving,
            stochastic_test_error_percent=stochastic,
            deterministic_test_error_percent=error_percent(
                trainer.model, data.eval_images, data.eval_labels
            ),
        )
        self.pruner.settle_(trainer.optimizer)
        remove_gates_(trainer.model)
        self.pruner = None
