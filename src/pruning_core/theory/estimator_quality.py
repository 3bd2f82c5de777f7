"""Bias, noise and cost of the estimators of ∂J/∂θ on a network small enough for the exact sum."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruning_core.estimators import Estimator
from pruning_core.gates import BernoulliGate, named_gates
from pruning_core.models import lenet_300_100
from pruning_core.pathwise import Pathwise

Gradient = Callable[[nn.Module, Estimator, Tensor, Tensor], Tensor]
"""Takes model, estimator, images and labels, and returns one estimate of a gradient as a vector."""


class Examples(Protocol):
    """What a network learns from, such as :class:`pruning_core.experiments.data.Dataset`."""

    @property
    def train_images(self) -> Tensor:
        """Shape (N, 1, 28, 28)."""
        ...

    @property
    def train_labels(self) -> Tensor:
        """int64, shape (N,)."""
        ...


@dataclass(frozen=True)
class Quality:
    """Of one estimator, relative to the norm of the exact gradient.

    Attributes:
        bias: norm of (mean of the draws − exact gradient); about ``error`` where there is none.
        error: standard error of that mean, below which a bias cannot be seen.
        noise: root of the summed variances of one draw.
        milliseconds: for one draw.
    """

    bias: float
    error: float
    noise: float
    milliseconds: float

    @property
    def bias_alone(self) -> float:
        """The bias without the part that is noise of the mean, √(bias² − error²), or 0."""
        return max(0.0, self.bias**2 - self.error**2) ** 0.5


def small_network(
    data: Examples, hidden: Sequence[int] = (8, 4), *, examples: int = 20_000, seed: int = 0
) -> nn.Sequential:
    """A network with few gates, halfway through learning, its θ spread over [0.2, 0.8].

    Args:
        data: images and labels it learns from.
        hidden: units of the two hidden layers, each with a gate.
        examples: it sees, once each.
        seed: of everything random here.
    """
    torch.manual_seed(seed)
    model = lenet_300_100(hidden)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for index in torch.randperm(examples).split(128):
        optimizer.zero_grad()
        F.cross_entropy(model(data.train_images[index]), data.train_labels[index]).backward()
        optimizer.step()
    for gate in named_gates(model).values():
        gate.theta.data.uniform_(0.2, 0.8)
    return model


def theta_gradient(
    model: nn.Module, estimator: Estimator, images: Tensor, labels: Tensor
) -> Tensor:
    """One estimate of the gradient of the mean loss in θ, of all gates; shape (n,).

    Args:
        model: with gates, whose estimator is replaced by a pathwise one.
        estimator: of the gradient.
        images: shape (N, …).
        labels: int64, shape (N,).
    """
    gates = _backward(model, estimator, images, labels)
    return torch.cat([gate.theta.grad for gate in gates if gate.theta.grad is not None])


def both_gradients(
    model: nn.Module, estimator: Estimator, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """What one pass finds for θ, and for the weights and biases.

    See :func:`theta_gradient` for the arguments.
    """
    of_theta = theta_gradient(model, estimator, images, labels)
    return of_theta, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def weight_gradient(
    model: nn.Module, estimator: Estimator, images: Tensor, labels: Tensor
) -> Tensor:
    """What the same pass finds for the weights and biases, as one vector.

    See :func:`theta_gradient` for the arguments.
    """
    return both_gradients(model, estimator, images, labels)[1]


def _backward(
    model: nn.Module, estimator: Estimator, images: Tensor, labels: Tensor
) -> list[BernoulliGate]:
    gates = list(named_gates(model).values())
    model.zero_grad()
    for gate in gates:
        gate.theta.grad = None
        if isinstance(estimator, Pathwise):
            gate.estimator = estimator
    estimator.backward(
        gates, lambda: F.cross_entropy(model(images), labels, reduction="none"), len(labels)
    )
    return gates


def quality(
    model: nn.Module,
    estimator: Estimator,
    images: Tensor,
    labels: Tensor,
    exact: Tensor,
    draws: int = 1000,
    gradient: Gradient = theta_gradient,
) -> Quality:
    """Compare draws of an estimator with the exact gradient.

    Args:
        model: with gates, whose estimator is replaced by a pathwise one.
        estimator: of the gradient.
        images: shape (N, …).
        labels: int64, shape (N,).
        exact: the gradient that :class:`pruning_core.ExactSum` finds, shape (n,).
        draws: at least 2.
        gradient: :func:`theta_gradient` or :func:`weight_gradient`.
    """
    started = time.perf_counter()
    found = noisy_gradients(model, estimator, images, labels, draws, gradient)
    seconds = time.perf_counter() - started
    scale = float(exact.norm())
    noise = float(found.std(0).norm()) / scale
    bias = float((found.mean(0) - exact).norm()) / scale
    return Quality(bias, noise / draws**0.5, noise, 1000 * seconds / draws)


def noisy_gradients(
    model: nn.Module,
    estimator: Estimator,
    images: Tensor,
    labels: Tensor,
    draws: int,
    gradient: Gradient = theta_gradient,
) -> Tensor:
    """Independent estimates of a gradient with n entries; shape (``draws``, n)."""
    return torch.stack([gradient(model, estimator, images, labels) for _ in range(draws)])


def recorded_noise(benchmarks: Path, estimator: str) -> dict[str, float]:
    """What ``benchmarks/README.md`` has for one estimate of a unit's worth on LeNet-300-100.

    Args:
        benchmarks: that file.
        estimator: by its name there.

    Returns:
        The standard deviation in nats, by layer.

    Raises:
        ValueError: if the file has no such row.
    """
    layers: list[str] = []
    for line in benchmarks.read_text(encoding="utf-8").splitlines():
        first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if first.startswith("LeNet-300-100, worth in nats"):
            layers = cells
        elif layers and first == estimator:
            pairs = zip(layers, cells, strict=True)
            return {layer: float(cell.split("±")[1]) for layer, cell in pairs}
    raise ValueError(f"{benchmarks} has no noise of {estimator!r} in nats")
