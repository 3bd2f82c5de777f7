"""Plain training, and what every method may do beside the optimizer's step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from pruning_core.experiments.loop import Trainer


class Dense:
    """Plain training, and the interface of the other methods."""

    gated = False

    settings: frozenset[str] = frozenset()
    """Names of the settings that only some methods read, and this one does."""

    def start(self, trainer: Trainer) -> None:
        """Called with a fresh trainer, and again when a checkpoint has been loaded.

        Raises:
            ValueError: if the settings do not fit the model.
        """

    def parameters(self) -> list[nn.Parameter]:
        """What the optimizer is to train beside the model; known once the method has started."""
        return []

    def is_settled(self, trainer: Trainer) -> bool:
        """Whether the gates have already been taken out of the model."""
        return False

    def before_epoch(self, trainer: Trainer) -> None:
        """Called before every epoch."""

    def backward(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Accumulate gradients; return the mean loss in nats per example, detached."""
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        return loss.detach()

    def before_step(self, trainer: Trainer) -> None:
        """Called before every step: schedules follow ``trainer.step`` here."""

    def after_step(self, trainer: Trainer) -> None:
        """Called after every step of the optimizer."""

    def after_epoch(self, trainer: Trainer) -> None:
        """Called after every epoch, before it is evaluated and recorded."""

    def record(self, trainer: Trainer) -> dict[str, Any]:
        """What the trajectory keeps of this epoch beyond the common entries."""
        return {}
