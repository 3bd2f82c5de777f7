"""What a training method may do beside the optimizer's step; and plain training, which is one."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from pruning_core.experiments.run import Run


class Method:
    """The interface of all methods; each overrides what it does otherwise than plain training.

    Which settings a method reads is said where they are declared,
    :class:`pruning_core.experiments.settings.Settings`.
    """

    def start(self, run: Run) -> None:
        """Called with a fresh run, and again when a checkpoint has been loaded.

        Parameters that the optimizer is to train beside the model go into ``run.auxiliary`` here.

        Raises:
            ValueError: if the settings do not fit the model.
        """

    def growth(self, run: Run) -> int:
        """By which factor the batches of the coming epoch are larger than at first."""
        return 1

    def before_epoch(self, run: Run) -> None:
        """Called before every epoch."""

    def backward(self, run: Run, images: Tensor, labels: Tensor) -> Tensor:
        """Accumulate gradients; return the mean loss in nats per example, detached."""
        loss = F.cross_entropy(run.model(images), labels)
        loss.backward()
        return loss.detach()

    def before_step(self, run: Run) -> None:
        """Called before every step: schedules follow ``run.step`` here."""

    def after_step(self, run: Run) -> None:
        """Called after every step of the optimizer."""

    def after_epoch(self, run: Run) -> None:
        """Called after every epoch, before it is evaluated and recorded."""

    def record(self, run: Run) -> dict[str, Any]:
        """What the trajectory keeps of this epoch beyond the common entries."""
        return {}


class Dense(Method):
    """Plain training."""
