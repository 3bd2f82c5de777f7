"""Training of what a method has left, on images changed for the worst."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruning_core.experiments.methods.method import Method
from pruning_core.experiments.run import Run
from pruning_core.metrics import weights
from pruning_core.sparsity import sparsity_curve


class Survivors(Method):
    """The epochs after all others: what is left minimises Σ max_{‖δ‖ ≤ ε} −log p(y | x + δ, W).

    ε is ``settings.worst_case``, and ``worst_inputs`` takes the maximum; with ε = 0 it is
    plain training, the control. Before that, every pixel is multiplied by a random factor
    1 + s n, with s ``settings.input_noise`` and n standard normal. A method's own price is off.
    Weights that are zero stay zero.
    """

    def before_epoch(self, run: Run) -> None:
        # In every epoch anew, as a run that goes on from a checkpoint must.
        self._weights: list[Tensor] = [*weights(run.model).values()]
        self._masks = [(weight.detach() != 0).to(weight) for weight in self._weights]

    def backward(self, run: Run, images: Tensor, labels: Tensor) -> Tensor:
        settings = run.settings
        if settings.input_noise:
            images = images * (1 + settings.input_noise * torch.randn_like(images))
        if settings.worst_case:
            images = worst_inputs(run.model, images, labels, settings.worst_case)
        return super().backward(run, images, labels)

    @torch.no_grad()
    def after_step(self, run: Run) -> None:
        torch._foreach_mul_(self._weights, self._masks)

    def after_epoch(self, run: Run) -> None:
        last = run.epoch + 1 == run.settings.total_epochs
        if last and "sparsity_curve" in run.findings:
            data = run.dataset
            run.findings["sparsity_curve"] = sparsity_curve(
                run.model, data.eval_images, data.eval_labels
            )


def worst_inputs(model: nn.Module, images: Tensor, labels: Tensor, radius: float) -> Tensor:
    """Each image, changed by the δ of Euclidean length ε that raises its loss most, to first order.

    This is adversarial training of Goodfellow, Shlens & Szegedy (arXiv 1412.6572) in another norm.

    With ℓ(x) = −log p(y | x, W) and g = ∇ℓ(x), ℓ(x + δ) = ℓ(x) + g·δ + O(‖δ‖²). By Cauchy and
    Schwarz, g·δ ≤ ε ‖g‖ for every δ with ‖δ‖ ≤ ε, with equality at δ = ε g/‖g‖ alone: so the
    maximum over the ball is ℓ(x) + ε ‖∇ℓ(x)‖ + O(ε²), and one gradient finds where it is. To first
    order, training on such images adds ε Σ ‖∇ℓ(x)‖ to the loss: a price on how steeply it depends
    on the pixels. Where a maximum is taken, its gradient in W is that of the loss at the maximiser
    held fixed (the envelope theorem): so nothing is differentiated through δ.

    A pixel that the network does not read has the gradient 0, so δ lies on the pixels that are
    kept, and its length is counted on them. An image whose loss does not depend on its pixels at
    all stays as it is. No bound keeps x + δ within [0, 1].

    Args:
        model: whose loss of an image depends on that image alone.
        images: shape (batch, …).
        labels: the true classes.
        radius: ε, in units of pixels, of which 1 is white.

    Returns:
        Images of the same shape, apart from the graph of the model.
    """
    inputs = images.detach().requires_grad_()
    loss = F.cross_entropy(model(inputs), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, inputs)
    steepest = F.normalize(gradient.flatten(1), dim=1)
    return images.detach() + radius * steepest.view_as(images)
