"""Estimators of ∂J/∂θ, the gradient of the expected loss in the Bernoulli parameters.

For fixed weights the expected loss is affine in every θ_i, and its derivative is a difference,

    ∂/∂θ_i E_ξ[L(ξ)] = E[L | ξ_i = 1] − E[L | ξ_i = 0].

Pathwise estimators read it off one ordinary backward pass; score-function estimators compare
losses at several draws of ξ; the exact sum enumerates all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from pruning_core.gates import BernoulliGate, broadcast

Losses = Callable[[], Tensor]
"""Evaluates the model on the current batch and returns the loss of each example, shape (N,)."""

_MARGIN = 1e-3
"""Score-function estimators divide by θ and 1 − θ, so they sample from θ kept this far inside."""

MAX_EXACT_UNITS = 14
"""The exact sum enumerates 2ⁿ masks; beyond this many units it is refused."""


class Estimator(ABC):
    """How gates are drawn and how ∂J/∂θ is found. Stateless; one instance may serve all gates."""

    unbiased: bool
    """Whether the expectation of the estimate is the exact derivative.

    Score functions divide by θ and 1 − θ, so theirs is the derivative for θ from 0.001 to 0.999,
    and at the nearest of these for a θ outside.
    """

    forward_passes: int
    """Evaluations of the model per step."""

    @abstractmethod
    def multiply(self, inputs: Tensor, theta: Tensor) -> Tensor:
        """ξ · inputs with ξ newly drawn, as a gate does it in training mode.

        The backward pass of the result adds this estimator's ∂L/∂θ to ``theta.grad``.

        Args:
            inputs: shape (N, n, …).
            theta: probabilities, shape (n,).
        """

    def backward(self, gates: Sequence[BernoulliGate], losses: Losses, num_examples: int) -> Tensor:
        """Accumulate the gradients of the mean loss in the weights and in every θ.

        Args:
            gates: all gates of the model.
            losses: evaluates the model on the batch; called ``forward_passes`` times.
            num_examples: N, the length of what ``losses`` returns.

        Returns:
            The mean loss in nats per example, a detached scalar.
        """
        loss = losses().mean()
        loss.backward()
        return loss.detach()


class StraightThrough(Estimator):
    """∂L/∂ξ_i at the sampled ξ_i: a first-order guess at the difference, and biased by it.

    The guess over-values a unit that is off and under-values one that is on wherever the loss is
    convex along the gate, which leaves equilibria between 0 and 1.
    """

    unbiased = False
    forward_passes = 1

    def multiply(self, inputs: Tensor, theta: Tensor) -> Tensor:
        values = _bernoulli(theta.detach(), inputs.shape[0]) + (theta - theta.detach())
        return inputs * broadcast(values, inputs)


class IntegratedGates(Estimator):
    """The difference as an integral: L(1) − L(0) = ∫₀¹ ∂L/∂ξ_i |_{ξ_i = t} dt.

    A multiplier is, with probability ``fraction``, a uniform t in place of a Bernoulli ξ;
    ∂L/∂ξ_i there is a one-sample estimate of the integral. It costs one ordinary backward pass.
    The only bias is that some of the other gates are then uniform too; it vanishes with
    ``fraction``, while the variance grows.

    Args:
        fraction: of the multipliers that are uniform, in (0, 1].
        draws: by default every example has a draw of its own. On a small network a gate costs
            less when the examples of a batch share so many independent draws evenly; batches
            that cannot be shared out evenly keep to the default.

    Raises:
        ValueError: if ``fraction`` or ``draws`` is out of range.
    """

    unbiased = False
    forward_passes = 1

    def __init__(self, fraction: float = 0.25, *, draws: int | None = None) -> None:
        if not 0.0 < fraction <= 1.0:
            raise ValueError(f"fraction is {fraction}; a number in (0, 1] was expected")
        if draws is not None and draws < 1:
            raise ValueError(f"draws is {draws}; at least 1 was expected, or None")
        self.fraction = fraction
        self.draws = draws

    def multiply(self, inputs: Tensor, theta: Tensor) -> Tensor:
        num_examples = inputs.shape[0]
        draws = self.draws
        if draws is None or num_examples % draws:
            draws = max(num_examples, 1)
        values = broadcast(self._draw(theta.expand(draws, -1)), inputs)
        return (inputs.unflatten(0, (num_examples // draws, draws)) * values).flatten(0, 1)

    def _draw(self, theta: Tensor) -> Tensor:
        now = theta.detach()
        chosen, uniform = torch.rand(2, *theta.shape, dtype=theta.dtype, device=theta.device)
        chosen = chosen.lt(self.fraction).to(now)
        values = torch.lerp(uniform.lt(now).to(now), uniform, chosen)
        return torch.addcmul(values, chosen, theta - now, value=1 / self.fraction)


class _ScoreFunction(Estimator):
    """Shared by the estimators that compare the losses of whole draws of the gates."""

    def multiply(self, inputs: Tensor, theta: Tensor) -> Tensor:
        raise RuntimeError(
            f"{type(self).__name__} compares several passes: call pruner.backward(lambda: "
            "per-example losses, num_examples) in place of loss.backward()"
        )


class Reinforce(_ScoreFunction):
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
            draw = [_bernoulli(theta, num_examples) for theta in thetas]
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


class DisARM(_ScoreFunction):
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


class ExactSum(_ScoreFunction):
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
    "straight-through": StraightThrough,
    "reinforce": Reinforce,
    "disarm": DisARM,
    "exact": ExactSum,
}
"""Estimators by the name the command line gives them."""


def _inside(gate: BernoulliGate) -> Tensor:
    return gate.theta.detach().clamp(_MARGIN, 1 - _MARGIN)


def _bernoulli(theta: Tensor, num_examples: int) -> Tensor:
    """ξ ~ Bernoulli(θ) for every example and unit, shape (N, n)."""
    return torch.bernoulli(theta.expand(num_examples, -1))


def _held_losses(gates: Sequence[BernoulliGate], draws: Iterable[Tensor], losses: Losses) -> Tensor:
    with ExitStack() as stack:
        for gate, values in zip(gates, draws, strict=True):
            stack.enter_context(gate.hold(values))
        return losses()


def _accumulate(gate: BernoulliGate, gradient: Tensor) -> None:
    gate.theta.grad = gradient if gate.theta.grad is None else gate.theta.grad + gradient
