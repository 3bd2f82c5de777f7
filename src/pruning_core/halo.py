"""HALO: a per-weight penalty whose coefficients are learned with the weights (arXiv 2008.10183).

    P(w, λ) = ξ Σ_j |w_j| / λ_j² + ψ Σ_j |λ_j|.

Small weights meet a coefficient 1/λ² that grows until they vanish; large ones are let alone. With
λ at its optimum the penalty is a bridge, :func:`halo_marginal`.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.metrics import weights
from pruning_core.optimizer_states import has_left

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
    computing the penalty's value; under a ``GradScaler`` call ``halo.backward(scaler.get_scale())``
    before ``scaler.step``, as gradients of the weights are then those of the scaled loss. With
    ``+ halo()`` the scaler does it. Either way the gradients are the closed forms

        ∂P/∂w = ξ sign(w)/λ²,   ∂P/∂λ = ψ − 2ξ|w|/λ³,

    in a few passes over all weights at once. Before each use, coefficients that a step took below
    ``floor`` are moved back to it, and the pull 2ξ|w|/λ³ is limited to ``PULL_LIMIT`` · ψ. Frozen
    weights (``requires_grad`` False) stay as they are, and so do frozen coefficients.

    The weights are looked up in the model at each use, so that it may replace its parameters, as
    ``load_state_dict(assign=True)`` does. They may shrink if the coefficients shrink with them.

    Attributes:
        xi: ξ; may be changed between steps.
        psi: ψ; may be changed between steps, as a warm-up does.
        coefficients: λ, one for each penalised weight in the order of ``weights``; shape (n,), in
            float32 where the weights have less.

    Args:
        model: its :func:`~pruning_core.metrics.weights` are penalised: its parameters of two or
            more dimensions, those in which :func:`~pruning_core.sparsity.prune_` makes zeros.
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
        # In tuples, so that the weights do not become parameters of this module too.
        self._model = (model,)
        named = dict(model.named_parameters()) if biases else weights(model)
        self._names, self._weights = tuple(named), tuple(named.values())
        if not named:
            raise ValueError(
                f"{type(model).__name__} has no parameter to penalise; weights have two or more "
                "dimensions, and biases=True takes every parameter"
            )
        size = sum(w.numel() for w in self._weights)
        first = self._weights[0]
        dtype = torch.promote_types(first.dtype, torch.float32)
        self.coefficients = nn.Parameter(first.new_full((size,), initial, dtype=dtype))
        self._tie_coefficients()

    @property
    def weights(self) -> tuple[nn.Parameter, ...]:
        """The penalised parameters, as the model has them now.

        Raises:
            RuntimeError: if the model has lost one, or they and the coefficients do not fit.
        """
        (model,) = self._model
        present = set(model.parameters())
        if not present.issuperset(self._weights):
            named = dict(model.named_parameters(remove_duplicate=False))
            pairs = list(zip(self._names, self._weights, strict=True))
            pairs = [(name, weight) for name, weight in pairs if not has_left(weight)]
            self._names = tuple(name for name, _ in pairs)
            for name, weight in pairs:
                if weight not in present and name not in named:
                    raise RuntimeError(
                        f"the model has lost the weight {name!r} that Halo penalises; make a new "
                        "Halo of the model as it is now, and give its coefficients to an optimizer"
                    )
            self._weights = tuple(w if w in present else named[name] for name, w in pairs)
        size = sum(w.numel() for w in self._weights)
        if size != self.coefficients.numel():
            raise RuntimeError(
                f"the penalised weights have {size} entries and halo.coefficients "
                f"{self.coefficients.numel()}; where weights shrink, give compact_ the optimizer "
                "that holds halo.coefficients too, or else make a new Halo"
            )
        if self._weights[0].device != self.coefficients.device:
            device = str(self._weights[0].device)
            raise RuntimeError(
                f"the weights are on {device} and halo.coefficients on "
                f"{self.coefficients.device}; move them with halo.to({device!r})"
            )
        self._tie_coefficients()
        return self._weights

    def forward(self) -> Tensor:
        """P(w, λ), a scalar to be added to the loss."""
        penalty: Tensor = _Penalty.apply(self, self.coefficients, *self.weights)
        return penalty

    @torch.no_grad()
    def backward(self, scale: float = 1.0, *, coefficients: bool = True) -> None:
        """Add the gradients of ``scale`` · P to those of the weights and of the coefficients.

        The coefficients take a third to a half of the time. They may move in every k-th step alone,
        by k times the learning rate: pass ``coefficients=False`` in the others, and they have no
        gradient.

        Args:
            scale: what the loss was multiplied by before its backward pass.
            coefficients: whether they get theirs.
        """
        weights = self.weights
        slopes, flat = self._slopes(weights)
        moving = [(w, slope) for w, slope in zip(weights, slopes, strict=True) if w.requires_grad]
        if moving and not self.proximal:
            for weight, _ in moving:
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
            gradients = [w.grad for w, _ in moving if w.grad is not None]
            torch._foreach_add_(gradients, [slope for _, slope in moving], alpha=self.xi * scale)
        if not (coefficients and self.coefficients.requires_grad):
            return
        pull = self._pull(weights, slopes, flat)
        if scale != 1.0:
            pull *= scale
        if self.coefficients.grad is None:
            self.coefficients.grad = pull
        else:
            self.coefficients.grad += pull

    @torch.no_grad()
    def value(self) -> Tensor:
        """P(w, λ), a scalar without a graph."""
        weights = torch.cat([w.reshape(-1) for w in self.weights])
        self.coefficients.clamp_min_(self.floor)
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
        weights = self.weights
        falls = self.coefficients.clamp_min_(self.floor).pow(-2).mul_(step * self.xi)
        highest, lowest = _parts(falls, weights), _parts(-falls, weights)
        # What is taken from w is w itself where |w| is smaller than its fall.
        for weight, low, high in zip(weights, lowest, highest, strict=True):
            if weight.requires_grad:
                weight.sub_(torch.clamp(weight, low, high))

    def _slopes(self, weights: tuple[Tensor, ...]) -> tuple[list[Tensor], Tensor]:
        """sign(w)/λ², by weight and as one vector of the same memory."""
        flat = self.coefficients.clamp_min_(self.floor).pow(-2)
        parts = _parts(flat, weights)
        torch._foreach_mul_(parts, torch._foreach_sign(weights))
        return parts, flat

    def _pull(self, weights: tuple[Tensor, ...], slopes: list[Tensor], flat: Tensor) -> Tensor:
        """∂P/∂λ, from sign(w)/λ² and in its place."""
        torch._foreach_mul_(slopes, weights)
        price = self.psi
        if self.budget is not None:
            price *= math.copysign(1.0, float(self.coefficients.sum()) - self.budget)
        flat.div_(self.coefficients).mul_(-2 * self.xi).clamp_min_(-PULL_LIMIT * self.psi)
        return flat.add_(price)

    def _surviving_entries(self, kept: Mapping[nn.Parameter, Mapping[int, Tensor]]) -> Tensor:
        """Positions in the coefficients of what survives when weights shrink; int64, shape (m,).

        Args:
            kept: before they shrink, of each weight that will, the positions that stay on each axis
                that loses some; none of a weight that leaves as a whole.
        """
        weights, survivors = self.weights, []
        everything = torch.arange(len(self.coefficients), device=self.coefficients.device)
        for weight, part in zip(weights, _parts(everything, weights), strict=True):
            for axis, positions in kept.get(weight, {}).items():
                part = part.reshape(part.shape or (1,))
                part = part.index_select(axis, positions.to(part.device))
            survivors.append(part.reshape(-1))
        return torch.cat(survivors)

    def _tie_coefficients(self) -> None:
        """Let who shrinks the weights find out, from the coefficients, how these shrink with them.

        ``coefficients.shrinks_with(kept)`` is :meth:`_surviving_entries` of this object.
        """
        vars(self.coefficients)["shrinks_with"] = _ShrinksWith(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Also after ``copy.deepcopy``, which leaves a parameter's attributes behind."""
        super().__setstate__(state)
        self._tie_coefficients()


class _ShrinksWith:
    """:meth:`Halo._surviving_entries`, without a cycle that a pickle could not hold."""

    def __init__(self, halo: Halo | None = None) -> None:
        self._halo = halo if halo is None else weakref.ref(halo)

    def __call__(self, kept: Mapping[nn.Parameter, Mapping[int, Tensor]]) -> Tensor:
        halo = self._halo and self._halo()
        if halo is None:
            raise RuntimeError(
                "an optimizer holds the coefficients of a Halo that is gone; keep the Halo, or take"
                " its coefficients out of the optimizer"
            )
        return halo._surviving_entries(kept)

    def __reduce__(self) -> tuple[type[_ShrinksWith], tuple[()]]:
        return _ShrinksWith, ()


def _parts(flat: Tensor, weights: tuple[Tensor, ...]) -> list[Tensor]:
    """A vector in the order of the coefficients, as tensors shaped like the weights."""
    parts = flat.split([w.numel() for w in weights])
    return [part.view(w.shape) for part, w in zip(parts, weights, strict=True)]


class _Penalty(torch.autograd.Function):
    """The value of P, with the closed-form gradients as its derivative."""

    @staticmethod
    def forward(ctx: Any, halo: Halo, *parameters: Tensor) -> Tensor:
        ctx.halo, ctx.weights = halo, parameters[1:]
        return halo.value()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        halo: Halo = ctx.halo
        (upstream,) = grad_outputs
        slopes, flat = halo._slopes(ctx.weights)
        scale = 0.0 if halo.proximal else halo.xi * upstream
        of_weights = [scale * slope for slope in slopes]
        return None, upstream * halo._pull(ctx.weights, slopes, flat), *of_weights
