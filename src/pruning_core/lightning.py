"""Bernoulli variational pruning as a callback of PyTorch Lightning's trainer."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.extras import MissingExtraError
from pruning_core.hyperprior import HyperPrior

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise MissingExtraError.of("lightning", ["lightning"]) from error


class PruningCallback(Callback):
    """Trains the gates of a ``LightningModule`` beside its weights, by automatic optimization::

        class Classifier(LightningModule):
            def __init__(self):
                super().__init__()
                self.net = build()
                insert_gates_(self.net, example_inputs)
            ...                                          # as without gates

        pruning = PruningCallback(log_gamma=20.0, network="net")
        trainer = Trainer(max_epochs=30, callbacks=[pruning])
        trainer.fit(classifier, train_loader)
        small = export(classifier.net)

    The penalty is added to the gradient of every batch, so the loss that is logged is without it;
    the pruner steps whenever the optimizer does, with accumulated or scaled gradients too. Dead
    units leave at the end of each epoch, and all closed ones when training ends. A run whose units
    have left in part is not resumed by ``ckpt_path``, whose shapes are others by then; use
    :func:`pruning_core.load_checkpoint`.

    Attributes:
        pruner: a :class:`pruning_core.BernoulliPruner`, from the start of training on.

    Args:
        log_gamma: nats a unit must be worth, as for the pruner.
        num_examples: size of the training set; by default that of the trainer's data set.
        network: name of the attribute that holds the network and is called; by default the module
            itself, for one whose steps call ``self(x)``.
        options: the pruner's. ``total_steps`` is by default the steps that the trainer expects.
    """

    pruner: BernoulliPruner

    def __init__(
        self,
        log_gamma: float | HyperPrior | Mapping[str, float | HyperPrior],
        num_examples: int | None = None,
        *,
        network: str = "",
        **options: Any,
    ) -> None:
        super().__init__()
        self.network = network
        self.log_gamma = log_gamma
        self.num_examples = num_examples
        self.options = options

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not pl_module.automatic_optimization:
            raise ValueError(
                f"{type(pl_module).__name__} optimizes by hand; make a BernoulliPruner there, and "
                "call its step() beside the optimizer's"
            )
        examples = self.num_examples
        if examples is None:
            loader: Any = trainer.train_dataloader
            try:
                examples = len(loader.dataset)
            except (AttributeError, TypeError) as error:
                raise ValueError(
                    "the size of the training set is not known; give PruningCallback its "
                    "num_examples"
                ) from error
        options: dict[str, Any] = {"total_steps": _expected_steps(trainer), **self.options}
        network = pl_module.get_submodule(self.network)
        self.pruner = BernoulliPruner(network, self.log_gamma, examples, **options)

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        scale = (1.0 if scaler is None else scaler.get_scale()) / trainer.accumulate_grad_batches
        penalty = self.pruner.penalty()
        if penalty.requires_grad:  # not once the gates have settled
            (scale * penalty).backward()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is None:
            self.pruner.step()
        else:
            scaler.step(self.pruner)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.pruner.compact_(trainer.optimizers)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.pruner.settle_(trainer.optimizers)


def _expected_steps(trainer: Trainer) -> int | None:
    steps = trainer.estimated_stepping_batches
    return int(steps) if 0 < steps < float("inf") else None
