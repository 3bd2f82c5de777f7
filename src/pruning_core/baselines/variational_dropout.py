"""Sparse variational dropout: Gaussian noise on every weight (arXiv 1701.05369)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruning_core.baselines.penalties import add_to_gradients
from pruning_core.metrics import weighted_layers

LOG_ALPHA_LIMIT = 3.0
"""Weights with log α above it carry no signal; their noise has 20 times their own power."""

_HEIGHT, _SHIFT, _RATE = 0.63576, 1.8732, 1.48695
_TINY = 1e-12


class VariationalDropout(nn.Module):
    """A posterior N(w, σ²) for each weight, with its own σ, under a log-uniform prior.

    While the model is in training mode its linear and convolution layers return draws of what
    they compute, for each example one (the local reparameterisation). The variances are this
    module's parameters, for the optimizer of the weights::

        dropout = VariationalDropout(model)
        optimizer = torch.optim.Adam([*model.parameters(), *dropout.parameters()])
        …
        loss = F.cross_entropy(model(x), y) + dropout.divergence() / num_examples

    ``loss.backward()`` without the divergence, then ``dropout.backward(1 / num_examples)``, takes
    the same step in less time.

    Args:
        model: its linear and convolution layers take part, biases do not.
        log_variance: log σ² at the start.
    """

    def __init__(self, model: nn.Module, *, log_variance: float = -10.0) -> None:
        super().__init__()
        # In a tuple, so that the weights do not become parameters of this module too.
        self._layers = tuple(weighted_layers(model))
        self.log_variances = nn.ParameterList(
            torch.full_like(layer.weight, log_variance) for layer in self._layers
        )
        self._hooks = [layer.register_forward_hook(self._add_noise) for layer in self._layers]

    def log_alpha(self) -> list[Tensor]:
        """log α = log σ²/w² of every weight; by layer, shaped like its weight."""
        return [
            variance - torch.log(layer.weight.square() + _TINY)
            for layer, variance in zip(self._layers, self.log_variances, strict=True)
        ]

    def divergence(self) -> Tensor:
        """KL(posterior ‖ prior) in nats, summed over the weights, up to a constant; a scalar.

        The fit of Molchanov et al., their equation 14: 0 where α → ∞, and otherwise above it.
        """
        by_layer = [
            (_HEIGHT * torch.sigmoid(-_SHIFT - _RATE * x) + 0.5 * F.softplus(-x)).sum()
            for x in self.log_alpha()
        ]
        return torch.stack(by_layer).sum()

    @torch.no_grad()
    def backward(self, price: float) -> None:
        """Add the gradients of ``price`` · divergence, in closed form.

        With u = −1.8732 − 1.48695 log α they are

            ∂/∂log σ² = −0.63576 · 1.48695 σ(u) σ(−u) − ½ σ(−log α),   ∂/∂w = −2/w ∂/∂log σ²,

        σ being the logistic function where it has an argument.
        """
        for layer, log_variance in zip(self._layers, self.log_variances, strict=True):
            power = layer.weight.square().add_(_TINY)
            log_alpha = log_variance - power.log()
            step = torch.sigmoid(-_SHIFT - _RATE * log_alpha)
            slope = torch.addcmul(step, step, step, value=-1).mul_(-_HEIGHT * _RATE * price)
            slope.sub_(log_alpha.neg_().sigmoid_(), alpha=0.5 * price)
            of_weight = power.reciprocal_().mul_(layer.weight).mul_(slope).mul_(-2)
            add_to_gradients([log_variance, layer.weight], [slope, of_weight])

    def remove(self) -> None:
        """Let the layers compute without noise again."""
        for hook in self._hooks:
            hook.remove()

    def _add_noise(self, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        if not layer.training:
            return output
        assert isinstance(layer, (nn.Linear, nn.Conv2d))
        variance = self.log_variances[self._layers.index(layer)].exp()
        power = inputs[0].square()
        if isinstance(layer, nn.Linear):
            spread = F.linear(power, variance)
        else:
            spread = F.conv2d(
                power, variance, None, layer.stride, layer.padding, layer.dilation, layer.groups
            )
        # randn_like takes ten times as long where the output is channels_last.
        noise = torch.randn(output.numel(), dtype=output.dtype, device=output.device)
        return output + (spread + 1e-8).sqrt() * noise.as_strided(output.shape, output.stride())
