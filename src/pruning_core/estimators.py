"""Estimators of ∂J/∂θ, the gradient of the expected loss in the Bernoulli parameters.

For fixed weights the expected loss is affine in every θ_i, and its derivative is a difference,

    ∂/∂θ_i E_ξ[L(ξ)] = E[L | ξ_i = 1] − E[L | ξ_i = 0].

Pathwise estimators (:mod:`pruning_core.pathwise`, :mod:`pruning_core.relaxations`) read it off one
ordinary backward pass. Here are the others: score functions, which compare losses at several draws
of ξ, a batch that is split between θ and the weights, and the exact sum, which enumerates all
draws. They hold every gate at draws of their own, and are therefore given to
:class:`pruning_core.BernoulliPruner` and used by its ``backward``, not given to a gate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from pruning_core.gates import BernoulliGate, hold_all
from pruning_core.pathwise import (
    IntegratedGates,
    Losses,
    Pathwise,
    StraightThrough,
    bernoulli,
    checked_fraction,
)
from pruning_core.relaxations import Concrete, GaussLegendre, Trapezoid

_MARGIN = 1e-3
"""Score-function estimators divide by θ and 1 − θ, so they sample from θ kept this far inside."""

MAX_EXACT_UNITS = 14
"""The exact sum enumerates 2ⁿ masks; beyond this many units it is refused."""


class Comparing(ABC):
    """An estimator with a backward pass of its own, for which it holds the gates at its draws.

    Stateless. It belongs to the pruner, since no gate can do that alone.
    """

    unbiased: bool
    """Whether the expectation of the estimate is the exact derivative of J.

    Score functions divide by θ and 1 − θ, so theirs is the derivative for θ from 0.001 to 0.999,
    and at the nearest of these for a θ outside.
    """

    forward_passes: int
    """Evaluations of the model per step."""

    @abstractmethod
    def backward(self, gates: Sequence[BernoulliGate], losses: Losses, num_examples: int) -> Tensor:
        """Accumulate the gradients of the mean loss in the weights and in every θ.

        Args:
            gates: all gates of the model.
            losses: evaluates the model on the batch; called ``forward_passes`` times.
            num_examples: N, the length of what ``losses`` returns.

        Returns:
            The mean loss in nats per example, a detached scalar.
        """


Estimator = Pathwise | Comparing
"""Of ∂J/∂θ, of either kind."""


class Reinforce(Comparing):
    """REINFORCE with the leave-one-out baseline: (L_k − mean of the others) ∂ log p(ξ_k)/∂θ.

    Args:
        samples: draws K ≥ 2 of every example's gates.

    Raises:
        ValueError: if ``samples`` < 2.
    """

    unbiased = True

    def __init__(self, samples: int = 2) -> None:
        if samples < 2:
            raise ValueError(f"samples is {samples}; a leave-one-out baseline needs at least 2")
        self.samples = samples
        self.forward_passes = samples

    def backward(self, gates: Sequence[BernoulliGate], losses: Losses, num_examples: int) -> Tensor:
        thetas = [_inside(gate) for gate in gates]
        draws, values = [], []
        for _ in range(self.samples):
            draw = [bernoulli(theta, num_examples) for theta in thetas]
            loss = _held_losses(gates, draw, losses)
            (loss.mean() / self.samples).backward()
            draws.append(draw)
            values.append(loss.detach())
        all_values = torch.stack(values)  # (K, N)
        # L_k − mean of the others = K/(K−1) · (L_k − mean of all)
        advantage = (all_values - all_values.mean(0)) / (self.samples - 1) / num_examples
        for gate, theta, drawn in zip(gates, thetas, zip(*draws, strict=True), strict=True):
            score = (torch.stack(drawn) - theta) / (theta * (1 - theta))
            _accumulate(gate, torch.einsum("kn,kni->i", advantage, score))
        return all_values.mean()


class DisARM(Comparing):
    """DisARM: two antithetic draws b and b̃ of every gate, compared where they differ.

    ½ (L(b) − L(b̃)) (b_i − b̃_i) / min(θ_i, 1 − θ_i), with b = 1[u < θ], b̃ = 1[1 − u < θ] and u
    uniform (Dong, Mnih & Tucker 2020, rewritten from logits to probabilities).
    """

    unbiased = True
    forward_passes = 2

    def backward(self, gates: Sequence[BernoulliGate], losses: Losses, num_examples: int) -> Tensor:
        thetas = [_inside(gate) for gate in gates]
        uniforms = [torch.rand(num_examples, t.numel(), device=t.device) for t in thetas]
        first = [(u < theta).to(theta) for u, theta in zip(uniforms, thetas, strict=True)]
        second = [(1 - u < theta).to(theta) for u, theta in zip(uniforms, thetas, strict=True)]
        values = []
        for draw in (first, second):
            loss = _held_losses(gates, draw, losses)
            (loss.mean() / 2).backward()
            values.append(loss.detach())
        half_difference = (values[0] - values[1]) / (2 * num_examples)
        for gate, theta, b, b_tilde in zip(gates, thetas, first, second, strict=True):
            gradient = half_difference @ (b - b_tilde) / torch.minimum(theta, 1 - theta)
            _accumulate(gate, gradient)
        return torch.stack(values).mean()


class SplitBatch(Comparing):
    """θ learns from one part of a batch by integrated gates, the weights from the other.

    There all gates are 0 or 1, so the weights' gradient is that of J; θ's is that of J_f, as for
    :class:`IntegratedGates`. The price is that each learns from fewer examples. One forward pass
    serves both; the backward pass of θ's part leaves out the weights.

    Args:
        share: of the batch, from which θ learns, in (0, 1); drawn anew each time, in whole
            examples, at least one for each part.
        fraction: of the multipliers in that part that are uniform, in (0, 1].

    Raises:
        ValueError: for a number out of range, or on ``backward`` for a batch of one.
    """

    unbiased = False
    forward_passes = 1

    def __init__(self, share: float = 0.5, fraction: float = 0.25) -> None:
        if not 0.0 < share < 1.0:
            raise ValueError(f"share is {share}; a number in (0, 1) was expected")
        self.share = share
        self.fraction = checked_fraction(fraction)

    def backward(self, gates: Sequence[BernoulliGate], losses: Losses, num_examples: int) -> Tensor:
        if num_examples < 2:
            raise ValueError(f"a batch of {num_examples} cannot be split; it needs two examples")
        first = min(max(round(self.share * num_examples), 1), num_examples - 1)
        integrated = IntegratedGates(self.fraction)
        place = torch.randperm(num_examples, device=gates[0].theta.device)
        draws = []
        for gate in gates:
            ones = gate.theta.new_ones(first, gate.num_units)
            off_or_on = bernoulli(gate.theta.detach(), num_examples - first)
            both = torch.cat([integrated.multiply(ones, gate.theta), off_or_on])
            draws.append(both[place])
        loss = _held_losses(gates, draws, losses)
        of_theta = place < first
        learning = [gate for gate in gates if gate.theta.requires_grad]
        gradients = torch.autograd.grad(
            loss[of_theta].mean(), [gate.theta for gate in learning], retain_graph=True
        )
        loss[~of_theta].mean().backward()  # which gives every θ a gradient of 0
        for gate, gradient in zip(learning, gradients, strict=True):
            _accumulate(gate, gradient)
        return loss.detach().mean()


class ExactSum(Comparing):
    """Σ_ξ p(ξ | θ) L(ξ) over all 2ⁿ masks, the same mask for every example of the batch.

    Raises:
        ValueError: on ``backward``, if the model has more than ``MAX_EXACT_UNITS`` units.
    """

    unbiased = True
    forward_passes = 2**MAX_EXACT_UNITS

    def backward(self, gates: Sequence[BernoulliGate], losses: Losses, num_examples: int) -> Tensor:
        sizes = [gate.num_units for gate in gates]
        if sum(sizes) > MAX_EXACT_UNITS:
            raise ValueError(
                f"the model has {sum(sizes)} gated units, and the exact sum over 2^{sum(sizes)} "
                f"masks is limited to {MAX_EXACT_UNITS}; use IntegratedGates"
            )
        theta = torch.cat([gate.theta for gate in gates])
        masks = torch.cartesian_prod(*[theta.new_tensor([0.0, 1.0])] * sum(sizes))
        masks = masks.reshape(-1, sum(sizes))
        probabilities = torch.where(masks == 1, theta, 1 - theta).prod(1)
        values = []
        for mask, probability in zip(masks, probabilities.detach(), strict=True):
            loss = _held_losses(gates, mask.unsqueeze(0).split(sizes, dim=1), losses).mean()
            (probability * loss).backward()
            values.append(loss.detach())
        expected = probabilities @ torch.stack(values)
        expected.backward()
        return expected.detach()


ESTIMATORS: dict[str, Callable[[], Estimator]] = {
    "integrated": IntegratedGates,
    "integrated-shared": lambda: IntegratedGates(draws=8),
    "integrated-stratified": lambda: IntegratedGates(draws=8, stratified=True),
    "integrated-falling": lambda: IntegratedGates(draws=8, stratified=True, least=1 / 64),
    "gauss-legendre": lambda: GaussLegendre(draws=8, stratified=True),
    "trapezoid": lambda: Trapezoid(draws=8, stratified=True),
    "concrete": lambda: Concrete(draws=8, stratified=True),
    "split": SplitBatch,
    "straight-through": StraightThrough,
    "reinforce": Reinforce,
    "disarm": DisARM,
    "exact": ExactSum,
}
"""Estimators by the name the command line gives them."""


def _inside(gate: BernoulliGate) -> Tensor:
    return gate.theta.detach().clamp(_MARGIN, 1 - _MARGIN)


def _held_losses(gates: Sequence[BernoulliGate], draws: Iterable[Tensor], losses: Losses) -> Tensor:
    with hold_all(gates, draws):
        return losses()


def _accumulate(gate: BernoulliGate, gradient: Tensor) -> None:
    gate.theta.grad = gradient if gate.theta.grad is None else gate.theta.grad + gradient
