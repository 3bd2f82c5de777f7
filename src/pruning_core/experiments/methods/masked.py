"""Pruning of single weights by a score: magnitude, at once or step by step, random, SNIP."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pruning_core.experiments.methods.method import Method
from pruning_core.experiments.run import Run
from pruning_core.experiments.settings import Settings
from pruning_core.metrics import weighted_layers
from pruning_core.sparsity import make_permanent_, prune_, sparsity_curve

_SNIP_EXAMPLES = 1000


class Magnitude(Method):
    """One-shot magnitude pruning: the smallest weights go, and the others are trained on.

    All but the last ``settings.fine_tune_epochs`` train the dense network. With none of those, the
    weights go after the last step.
    """

    def start(self, run: Run) -> None:
        # A checkpoint holds the masks in its zeros.
        self._take_masks(run)

    def zeros_percent(self, settings: Settings, epoch: int) -> float:
        """Zeros during the given epoch, counted from 0."""
        return settings.zeros_percent * (epoch >= settings.epochs - settings.fine_tune_epochs)

    def scores(self, run: Run) -> list[Tensor]:
        """What a weight must have much of to stay, for each layer with weights."""
        return [layer.weight.detach().abs() for layer in weighted_layers(run.model)]

    def before_epoch(self, run: Run) -> None:
        share = self.zeros_percent(run.settings, run.epoch)
        if share > (self.zeros_percent(run.settings, run.epoch - 1) if run.epoch else 0):
            self._cut(run, share)

    def after_step(self, run: Run) -> None:
        with torch.no_grad():
            torch._foreach_mul_(self._weights, self._masks)

    def after_epoch(self, run: Run) -> None:
        if run.epoch + 1 < run.settings.epochs:
            return
        share = run.settings.zeros_percent
        if share > self.zeros_percent(run.settings, run.epoch):
            self._cut(run, share)
        data = run.dataset
        run.findings["sparsity_curve"] = sparsity_curve(
            run.model, data.eval_images, data.eval_labels
        )

    def _cut(self, run: Run, zeros_percent: float) -> None:
        scores, layerwise = self.scores(run), run.settings.layerwise
        make_permanent_(prune_(run.model, zeros_percent, scores, layerwise=layerwise))
        self._take_masks(run)

    def _take_masks(self, run: Run) -> None:
        self._weights = [layer.weight for layer in weighted_layers(run.model)]
        self._masks = [(w.detach() != 0).to(w) for w in self._weights]


class IterativeMagnitude(Magnitude):
    """Zeros are added before each of the last ``settings.fine_tune_epochs``, fewer every time.

    Their share is z (1 − (1 − t)³) with t from 0 to 1 over the first two thirds of those epochs
    (Zhu & Gupta, arXiv 1710.01878).
    """

    def zeros_percent(self, settings: Settings, epoch: int) -> float:
        passed = epoch + 1 - (settings.epochs - settings.fine_tune_epochs)
        progress = min(1.0, max(0.0, 1.5 * passed / max(settings.fine_tune_epochs, 1)))
        return settings.zeros_percent * (1 - (1 - progress) ** 3)


class Random(Magnitude):
    """As one-shot magnitude pruning, but any weights go: the floor under every method."""

    def scores(self, run: Run) -> list[Tensor]:
        return [torch.rand_like(layer.weight) for layer in weighted_layers(run.model)]


class Snip(Magnitude):
    """SNIP: weights with small |w ∂L/∂w| on a thousand images go before training.

    (Lee, Ajanthan & Torr, arXiv 1810.02340.)
    """

    def zeros_percent(self, settings: Settings, epoch: int) -> float:
        return settings.zeros_percent

    def scores(self, run: Run) -> list[Tensor]:
        data, model = run.dataset, run.model
        images, labels = (t[:_SNIP_EXAMPLES] for t in (data.train_images, data.train_labels))
        weights = [layer.weight for layer in weighted_layers(model)]
        gradients = torch.autograd.grad(F.cross_entropy(model(images), labels), weights)
        return [(w.detach() * g).abs() for w, g in zip(weights, gradients, strict=True)]
