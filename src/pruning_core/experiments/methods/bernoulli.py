"""Bernoulli variational pruning as a training method."""

from __future__ import annotations

import math
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.estimators import ESTIMATORS
from pruning_core.experiments.methods.method import Method
from pruning_core.experiments.returns import Noted, Returns, noted_in
from pruning_core.experiments.run import Run
from pruning_core.export import remove_gates_
from pruning_core.gates import any_gates, sampled_gates
from pruning_core.hyperprior import HYPER_PRIORS, HyperPrior
from pruning_core.metrics import error_percent
from pruning_core.models import MODELS


class Bernoulli(Method):
    """Bernoulli variational pruning, then deterministic epochs of the network it leaves.

    θ moves during the first ``settings.bernoulli_epochs``, by the pruner's recipe for a run of
    known length. Over ``settings.ramp_epochs`` the price of a unit rises to log γ. Dead units leave
    after every epoch; or else, without ``settings.compact``, it is noted which of them open again.
    """

    def __init__(self) -> None:
        self.pruner: BernoulliPruner | None = None
        self.returns: Returns | None = None

    def start(self, run: Run) -> None:
        if run.phase == "settled":
            self.pruner = None
            return
        settings = run.settings
        self.pruner = BernoulliPruner(
            run.model,
            settings.log_gamma[0] if settings.price != "units" else _hyper_priors(run),
            num_examples=len(run.dataset.train_labels),
            theta_step=settings.theta_step,
            smoothing=settings.smoothing,
            estimator=ESTIMATORS[settings.estimator](),
            example_inputs=run.dataset.train_images[:32],
            total_steps=settings.epochs * run.steps_per_epoch,
            ramp_steps=settings.ramp_epochs * run.steps_per_epoch,
            settle_at=math.inf,  # see before_epoch: first it is noted what is undecided
            look_every=1,
            price=cast("Any", settings.price),
        )
        self.pruner.steps = run.step
        if not settings.compact:
            self.returns = Returns(self.pruner.gates, noted_in(run.trajectory))

    def growth(self, run: Run) -> int:
        """As a step's work halves, its examples double, so that it is not left with calls alone."""
        settings, growth = run.settings, 1
        if settings.batch_growth > 1 and run.trajectory:
            known = MODELS[settings.model]
            units = known.dense(settings.hidden, settings.sections)
            total = known.count_weights(units, run.dataset.num_classes)
            left = max(1, run.trajectory[-1]["weights_kept"])
            while growth * 2 <= min(settings.batch_growth, total // left):
                growth *= 2
        return growth

    def before_epoch(self, run: Run) -> None:
        if self.pruner is not None and run.epoch == run.settings.bernoulli_epochs:
            self._settle(run)
        self._grow(run, run.step)

    def backward(self, run: Run, images: Tensor, labels: Tensor) -> Tensor:
        if self.pruner is None:
            return super().backward(run, images, labels)
        return self.pruner.backward(
            lambda: F.cross_entropy(run.model(images), labels, reduction="none"), len(labels)
        )

    def after_step(self, run: Run) -> None:
        if self.pruner is not None:
            self.pruner.step()
            self._grow(run, run.step + run.growth)
        if self.returns is not None:
            self.returns.after_step()

    def after_epoch(self, run: Run) -> None:
        if self.pruner is None:
            return
        if self.returns is None:
            self.pruner.compact_(run.optimizer)
        else:
            self.returns.after_epoch(self.pruner.dead_units())
        if run.epoch + 1 == run.settings.epochs == run.settings.bernoulli_epochs:
            self._settle(run)

    def record(self, run: Run) -> dict[str, Any]:
        if self.pruner is None:
            return {}
        undecided = self.pruner.undecided()
        followed: Noted = self.returns.epochs[-1] if self.returns is not None else {}
        return {
            "penalty": float(self.pruner.penalty().detach()),
            "undecided": undecided,
            "theta": {
                name: {
                    "units": gate.num_units,
                    "mean": float(gate.theta.detach().mean()),
                    "histogram": gate.theta.detach().cpu().histc(20, 0.0, 1.0).int().tolist(),
                    **followed.get(name, {}),
                }
                for name, gate in self.pruner.gates.items()
            },
        }

    def _grow(self, run: Run, steps: int) -> None:
        """Let a step stand for as many of the recipe's as it has times as many examples."""
        if self.pruner is not None and run.growth > 1:
            self.pruner.theta_step = min(1.0, run.settings.theta_step * run.growth)
            self.pruner.steps = steps  # which sets the smoothing of a single one
            self.pruner.smoothing = max(0.0, 1 - run.growth * (1 - self.pruner.smoothing))

    def _settle(self, run: Run) -> None:
        """Note how decided θ is, then round it and go on with the plain network."""
        assert self.pruner is not None
        data = run.dataset
        surviving = sum(int(gate.is_open().sum()) for gate in self.pruner.gates.values())
        with sampled_gates(run.model):
            stochastic = error_percent(run.model, data.eval_images, data.eval_labels)
        run.findings.update(
            undecided=sum(self.pruner.undecided().values()),
            surviving_units=surviving,
            stochastic_test_error_percent=stochastic,
            deterministic_test_error_percent=error_percent(
                run.model, data.eval_images, data.eval_labels
            ),
        )
        if self.returns is not None:
            run.findings.update(self.returns.counts())
        self.pruner.settle_(run.optimizer)
        remove_gates_(run.model)
        self.pruner, self.returns, run.phase = None, None, "settled"


def _hyper_priors(run: Run) -> dict[str, HyperPrior]:
    """By gate, whose prices may differ."""
    prior = HYPER_PRIORS[run.settings.hyper_prior]
    return {name: prior(price) for name, price in _prices(run).items()}


def _prices(run: Run) -> dict[str, float]:
    """Nats of a unit, by gate."""
    gates, log_gamma = any_gates(run.model), run.settings.log_gamma
    if MODELS[run.settings.model].has_sections:
        if len(log_gamma) > 2:
            raise ValueError(
                f"log_gamma has {len(log_gamma)} values; one, or two, of units and of sections, "
                "was expected"
            )
        return {name: log_gamma[-1 if gate.may_close else 0] for name, gate in gates.items()}
    if len(log_gamma) not in (1, len(gates)):
        raise ValueError(
            f"log_gamma has {len(log_gamma)} values; one, or one for each of the gates "
            f"{', '.join(gates)} was expected"
        )
    by_gate = log_gamma * len(gates) if len(log_gamma) == 1 else log_gamma
    return dict(zip(gates, by_gate, strict=True))
