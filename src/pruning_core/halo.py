"""HALO: a per-weight penalty whose coefficients are learned with the weights (arXiv 2008.10183).

    P(w, λ) = ξ Σ_j |w_j| / λ_j² + ψ Σ_j |λ_j|.

Small weights meet a coefficient 1/λ² that grows until they vanish; large ones are let alone. With
λ at its optimum the penalty is a bridge, :func:`halo_marginal`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

PULL_LIMIT = 1e3
"""∂P/∂λ is limited to so many times ψ; λ still rests where it would, and no step is infinite."""


def optimal_coefficient(weight: Tensor, xi: float, psi: float) -> Tensor:
    """λ* = (2ξ|w|/ψ)^(1/3), which minimises P for a fixed weight; elementwise."""
    return (2 * xi / psi * weight.abs()).pow(1 / 3)


def halo_marginal(weight: Tensor, xi: float, psi: float) -> Tensor:
    """min_λ P = 3 · 2^(−2/3) (ξ|w|)^(1/3) ψ^(2/3), elementwise: a bridge penalty with q = 1/3."""
    return bridge_scale(xi, psi) * weight.abs().pow(1 / 3)


def bridge_scale(xi: float, psi: float) -> float:
    """c of the marginal c |w|^(1/3)."""
    return 3 * 2 ** (-2 / 3) * xi ** (1 / 3) * psi ** (2 / 3)


def bridge_threshold(scale: float) -> tuple[float, float]:
    """Where argmin_w ½(w − z)² + c|w|^(1/3) leaves zero: the least |z|, and the |w| it jumps to.

    The non-zero minimum beats w = 0 from |w| = (4c/3)^(3/5) on, where both are worth the same.
    """
    jump = (4 * scale / 3) ** 0.6
    return jump + scale / 3 * jump ** (-2 / 3) if jump else 0.0, jump


def bridge_shrink(values: Tensor, scale: float) -> Tensor:
    """argmin_w ½(w − z)² + c|w|^(1/3), elementwise: the thresholding rule of HALO's marginal.

    Args:
        values: z, any shape.
        scale: c ≥ 0.
    """
    threshold, _ = bridge_threshold(scale)
    size = values.abs()
    # w ← |z| − c/3 w^(−2/3) falls from |z| to the larger root of the stationarity condition.
    start = shrunk = size.clamp_min(threshold)
    for _ in range(12):
        slope = 1 - 2 / 9 * scale * shrunk.pow(-5 / 3)
        shrunk = shrunk - (shrunk - start + scale / 3 * shrunk.pow(-2 / 3)) / slope
    return torch.where(size > threshold, shrunk.copysign(values), torch.zeros_like(values))


def negative_log_prior(
    weight: Tensor, coefficient: Tensor, xi: float, psi: float, *, normaliser: bool = False
) -> Tensor:
    """−log p(w, λ) of the hierarchy behind P, in nats; elementwise, for λ > 0.

    w given λ is Laplace with mean λ²/ξ of |w|, of density ξ/(2λ²) exp(−ξ|w|/λ²). P leaves the
    normaliser ξ/(2λ²) out, which is the same as λ ~ Gamma(3, ψ). With it λ ~ Exponential(ψ) and
    2 log λ is added: then −log p falls to −∞ as w and λ vanish together, and there is no mode.
    Both densities integrate to 1.
    """
    penalty = xi * weight.abs() / coefficient.square() + psi * coefficient
    if normaliser:
        return penalty + 2 * coefficient.log() + math.log(2 / (xi * psi))
    return penalty + math.log(4 / (xi * psi**3))


def normalised_coefficient(weight: Tensor, xi: float, psi: float) -> Tensor:
    """The λ that minimises :func:`negative_log_prior` with the normaliser; elementwise.

    It is the root of ψλ³ + 2λ² = 2ξ|w|: near zero (ξ|w|)^½, where the price of a weight is
    log|w|; and for large weights λ* as without the normaliser.
    """
    price = xi * weight.abs()
    # Either term alone bounds the root from above; from there Newton's steps fall to it.
    root = torch.minimum(price.sqrt(), (2 * price / psi).pow(1 / 3))
    for _ in range(6):
        excess = root.square() * (psi * root + 2) - 2 * price
        slope = root * (3 * psi * root + 4)
        root = root - excess / slope.clamp_min(torch.finfo(root.dtype).tiny)
    return root


def dose(psi: float, learning_rate: float, steps: int, momentum: float = 0.0) -> float:
    """How far λ of an unused weight falls while SGD's rate falls to 0 along half a cosine.

    To be compared with λ at the start, which is 1 unless another is given.
    """
    return psi * learning_rate * steps / (2 * (1 - momentum))


class Halo(nn.Module):
    """The HALO penalty on a model's weights, with one learned coefficient λ for each.

    The coefficients are this module's one parameter, for a parameter group beside the weights'
    or for an optimizer of its own::

        halo = Halo(model, xi=1e-5, psi=1e-4)
        optimizer = torch.optim.SGD([*model.parameters(), *halo.parameters()], lr=0.1)
        for x, y in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y) + halo()
            loss.backward()
            optimizer.step()

    ``loss.backward()`` without ``+ halo()``, then ``halo.backward()``, does the same without
    computing the penalty's value. Either way the gradients are the closed forms

        ∂P/∂w = ξ sign(w)/λ²,   ∂P/∂λ = ψ − 2ξ|w|/λ³,

    in a few passes over all weights at once. Before each use, coefficients that a step took below
    ``floor`` are moved back to it, and the pull 2ξ|w|/λ³ is limited to ``PULL_LIMIT`` · ψ.

    Attributes:
        xi: ξ; may be changed between steps.
        psi: ψ; may be changed between steps, as a warm-up does.
        coefficients: λ, one for each penalised weight in the order of ``weights``; shape (n,).
        weights: the penalised parameters.

    Args:
        model: its parameters of two or more dimensions are penalised.
        xi: ξ > 0, price of the weights.
        psi: ψ > 0, price of the coefficients.
        initial: of every λ, above 0.
        floor: the least λ, above 0.
        biases: penalise every parameter, as the paper's MNIST code does.
        budget: P ≥ 0 of the variant ψ |Σ|λ| − P|, which holds the sum of the coefficients at P.
        proximal: leave the weights to :meth:`shrink_`, which stops at exact zeros; their gradient
            is then that of the loss alone.

    Raises:
        ValueError: for a number out of range, or a model without anything to penalise.
    """

    def __init__(
        self,
        model: nn.Module,
        xi: float,
        psi: float,
        *,
        initial: float = 1.0,
        floor: float = 1e-3,
        biases: bool = False,
        budget: float | None = None,
        proximal: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (("xi", xi), ("psi", psi), ("initial", initial), ("floor", floor)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}; a finite number above 0 was expected")
        if budget is not None and not 0 <= budget < math.inf:
            raise ValueError(f"budget is {budget}; a finite number ≥ 0 was expected, or None")
        self.xi, self.psi, self.floor = xi, psi, floor
        self.budget, self.proximal = budget, proximal
        # In a tuple, so that the weights do not become parameters of this module too.
        self.weights = tuple(p for p in model.parameters() if biases or p.dim() > 1)
        if not self.weights:
            raise ValueError(
                f"{type(model).__name__} has no parameter to penalise; weights have two or more "
                "dimensions, and biases=True takes every parameter"
            )
        size = sum(w.numel() for w in self.weights)
        first = self.weights[0]
        self.coefficients = nn.Parameter(first.new_full((size,), initial))

    def forward(self) -> Tensor:
        """P(w, λ), a scalar to be added to the loss."""
        penalty: Tensor = _Penalty.apply(self, self.coefficients, *self.weights)
        return penalty

    @torch.no_grad()
    def backward(self) -> None:
        """Add the gradients of P to those of the weights and of the coefficients."""
        slopes, flat = self._slopes()
        if not self.proximal:
            for weight in self.weights:
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
            gradients = [w.grad for w in self.weights if w.grad is not None]
            torch._foreach_add_(gradients, slopes, alpha=self.xi)
        pull = self._pull(slopes, flat)
        if self.coefficients.grad is None:
            self.coefficients.grad = pull
        else:
            self.coefficients.grad += pull

    @torch.no_grad()
    def value(self) -> Tensor:
        """P(w, λ), a scalar without a graph."""
        self.coefficients.clamp_min_(self.floor)
        weights = torch.cat([w.reshape(-1) for w in self.weights])
        total = self.coefficients.sum()
        on_coefficients = total if self.budget is None else (total - self.budget).abs()
        on_weights = (weights.abs() / self.coefficients.square()).sum()
        return self.xi * on_weights + self.psi * on_coefficients

    @torch.no_grad()
    def shrink_(self, step: float) -> None:
        """The proximal step: every |w| falls by ``step`` · ξ/λ², and stops at exactly 0.

        Args:
            step: learning rate of the weights, divided by 1 − momentum if they have any.

        Raises:
            RuntimeError: unless this penalty is ``proximal``.
        """
        if not self.proximal:
            raise RuntimeError("shrink_ needs Halo(…, proximal=True); P would count twice")
        falls = self.coefficients.clamp_min_(self.floor).pow(-2).mul_(step * self.xi)
        highest, lowest = self._parts(falls), self._parts(-falls)
        # What is taken from w is w itself where |w| is smaller than its fall.
        for weight, low, high in zip(self.weights, lowest, highest, strict=True):
            weight.sub_(torch.clamp(weight, low, high))

    def _slopes(self) -> tuple[list[Tensor], Tensor]:
        """sign(w)/λ², by weight and as one vector of the same memory."""
        flat = self.coefficients.clamp_min_(self.floor).pow(-2)
        parts = self._parts(flat)
        torch._foreach_mul_(parts, torch._foreach_sign(self.weights))
        return parts, flat

    def _pull(self, slopes: list[Tensor], flat: Tensor) -> Tensor:
        """∂P/∂λ, from sign(w)/λ² and in its place."""
        torch._foreach_mul_(slopes, self.weights)
        price = self.psi
        if self.budget is not None:
            price *= math.copysign(1.0, float(self.coefficients.sum()) - self.budget)
        flat.div_(self.coefficients).mul_(-2 * self.xi).clamp_min_(-PULL_LIMIT * self.psi)
        return flat.add_(price)

    def _parts(self, flat: Tensor) -> list[Tensor]:
        """A vector in the order of the coefficients, as tensors shaped like the weights."""
        parts = flat.split([w.numel() for w in self.weights])
        return [part.view(w.shape) for part, w in zip(parts, self.weights, strict=True)]


class _Penalty(torch.autograd.Function):
    """The value of P, with the closed-form gradients as its derivative."""

    @staticmethod
    def forward(ctx: Any, halo: Halo, *parameters: Tensor) -> Tensor:
        ctx.halo = halo
        return halo.value()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        halo: Halo = ctx.halo
        (upstream,) = grad_outputs
        slopes, flat = halo._slopes()
        scale = 0.0 if halo.proximal else halo.xi * upstream
        of_weights = [scale * slope for slope in slopes]
        return None, upstream * halo._pull(slopes, flat), *of_weights
