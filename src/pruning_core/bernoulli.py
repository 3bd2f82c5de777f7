"""Bernoulli variational pruning: the objective, the projected step on θ, and when a unit is dead.

The objective is, in nats over the whole training set of N examples,

    J(W, θ) = E_ξ[ −Σ_n log p(y_n | x_n, W, ξ) ] + (λ/2) ‖W‖² + Σ_i cost(θ_i),

with cost(θ) = θ log γ for the flattening hyper-prior (announced by arXiv 2205.04650, derived in the
chapter "flattening"): a unit survives when it is worth more than log γ nats of training
log-likelihood, with the weights and the other gates as they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.compaction import compact_
from pruning_core.gates import BernoulliGate, named_gates
from pruning_core.hyperprior import Flattening, HyperPrior
from pruning_core.pathwise import Estimator, Losses

UNDECIDED = (0.02, 0.98)
"""A unit is undecided while its θ lies strictly between these."""

_NEAR_ZERO = 0.03
_WORTH_MARGIN = 0.5
_EXAMPLES_KEPT = 32


class BernoulliPruner:
    """Learns the θ of every gate of a model, and removes the units that have died.

    It stands beside the optimizer of the weights, like this::

        pruner = BernoulliPruner(model, log_gamma=20.0, num_examples=60_000)
        for x, y in batches:
            loss = F.cross_entropy(model(x), y) + pruner.penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            pruner.step()                  # projected step on θ
        pruner.compact_(optimizer)         # now and then, every epoch say

    The step on θ_i is θ_i ← clip(θ_i − theta_step · ĝ_i / price, 0, 1): ĝ is the running average
    of ∂J/∂θ_i in nats and the price that of the hyper-prior, log γ. So a unit worth nothing
    crosses from 1 to 0 in 1/``theta_step`` steps, whatever log γ, the batch size and N.

    Attributes:
        theta_step: may be changed between steps, as a schedule does.
        price_scale: in [0, 1], the part of the costs that is charged. Raised from 0 to 1 over the
            first epochs, it lets the network learn before its units are judged.

    Args:
        model: contains gates; see :class:`BernoulliGate`.
        log_gamma: nats a unit must be worth; or a hyper-prior; or either by name of the gate,
            to make the units of some layers dearer than others.
        num_examples: N, the size of the training set over which the costs are spread.
        theta_step: step on θ, see above.
        smoothing: factor of the running average of the gradient, in [0, 1).
        estimator: given to every gate, if not None.
        example_inputs: a few inputs for the analysis behind :meth:`compact_`; by default the
            first ones the model is called with.

    Raises:
        ValueError: for a model without gates, an unknown gate name, or a number out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        log_gamma: float | HyperPrior | Mapping[str, float | HyperPrior],
        num_examples: int,
        *,
        theta_step: float = 1 / 1500,
        smoothing: float = 0.99,
        estimator: Estimator | None = None,
        example_inputs: Tensor | None = None,
    ) -> None:
        if num_examples < 1:
            raise ValueError(f"num_examples is {num_examples}; the size of the training set is ≥ 1")
        if not 0.0 < theta_step <= 1.0:
            raise ValueError(f"theta_step is {theta_step}; a number in (0, 1] was expected")
        if not 0.0 <= smoothing < 1.0:
            raise ValueError(f"smoothing is {smoothing}; a number in [0, 1) was expected")
        self.model = model
        self.num_examples = num_examples
        self.theta_step = theta_step
        self.price_scale = 1.0
        self.smoothing = smoothing
        self.gates = named_gates(model)
        self.hyper_priors = _by_gate(log_gamma, self.gates)
        # A prior that charges nothing, Beta(1, 1) say, still needs a scale for its step.
        self._prices = [max(abs(prior.price), 1.0) for prior in self.hyper_priors.values()]
        self._example_inputs = example_inputs
        if example_inputs is None:
            self._watch_first_call()
        if estimator is not None:
            for gate in self.gates.values():
                gate.estimator = estimator

    def penalty(self) -> Tensor:
        """Σ_i cost(θ_i) / N in nats per example: what the units cost, to be added to the loss."""
        costs = [_with_slope(prior, gate.theta).sum() for gate, prior in self._pairs()]
        return self.price_scale * torch.stack(costs).sum() / self.num_examples

    def backward(self, losses: Losses, num_examples: int) -> Tensor:
        """All gradients, by whichever estimator the gates have; for ``(… + penalty()).backward()``.

        Args:
            losses: evaluates the model on the batch and returns the loss of each example.
            num_examples: of the batch.

        Returns:
            The mean loss in nats per example, without the penalty; a detached scalar.
        """
        gates = list(self.gates.values())
        loss = gates[0].estimator.backward(gates, losses, num_examples)
        slopes = [prior.slope(gate.theta.detach()) for gate, prior in self._pairs()]
        torch._foreach_add_(self._gradients(), slopes, alpha=self.price_scale / self.num_examples)
        return loss

    @torch.no_grad()
    def step(self) -> None:
        """Average the gradient, take a projected step on every θ, and clear the gradient."""
        gates = list(self.gates.values())
        thetas = [gate.theta for gate in gates]
        averages = [gate.gradient_average for gate in gates]
        torch._foreach_lerp_(averages, self._gradients(), 1 - self.smoothing)
        scale = -self.theta_step * self.num_examples
        steps = torch._foreach_mul(averages, [scale / price for price in self._prices])
        torch._foreach_add_(thetas, steps)
        torch._foreach_clamp_min_(thetas, 0.0)
        torch._foreach_clamp_max_(thetas, 1.0)
        torch._foreach_lerp_([gate.theta_average for gate in gates], thetas, 0.01)
        for theta in thetas:
            theta.grad = None

    def worth(self) -> dict[str, Tensor]:
        """Running estimate of E[L | ξ_i = 0] − E[L | ξ_i = 1] in nats, by gate; shape (n,)."""
        return {
            name: self.price_scale * self.hyper_priors[name].slope(gate.theta.detach())
            - self.num_examples * gate.gradient_average
            for name, gate in self.gates.items()
        }

    def dead_units(self) -> dict[str, Tensor]:
        """Units that are off, have been for a while, and are worth too little to return, by gate.

        With ‖∂L/∂w‖ ≤ κ and |ΔL| ≤ κ‖w‖ for the weights w of a unit, the flow ẇ = −θ ∂L/∂w,
        θ̇ = −(ΔL + log γ) never leaves {θ + ‖w‖ < log γ / κ}, and there θ reaches 0 in finite time;
        weight decay only enlarges that region. Training is not that flow: its estimates are noisy,
        and by :class:`IntegratedGates` the weights of a closed unit still learn a little. So what
        the bound κ‖w‖ bounds, the worth of the unit, is measured here: a unit is dead when θ and
        its slow average are below 0.03 and its measured worth is below half its price.

        Returns:
            For each gate by its name, bool, shape (n,).
        """
        worth = self.worth()
        return {
            name: (gate.theta.detach() < _NEAR_ZERO)
            & (gate.theta_average < _NEAR_ZERO)
            & (worth[name] < _WORTH_MARGIN * self.price_scale * price)
            for (name, gate), price in zip(self.gates.items(), self._prices, strict=True)
        }

    def compact_(self, optimizer: torch.optim.Optimizer | None = None) -> int:
        """Remove the dead units from the model and the optimizer's state.

        Returns:
            The number of units removed.

        Warns:
            UserWarning: naming the gate, if its last open unit has to be kept alive.

        Raises:
            CompactionError: see :func:`pruning_core.compact_`.
        """
        return self._remove(self.dead_units(), optimizer)

    def settle_(self, optimizer: torch.optim.Optimizer | None = None) -> int:
        """End the Bernoulli phase: θ is rounded to 0 or 1, and the closed units are removed.

        Returns:
            The number of units removed.
        """
        closed = {name: ~gate.is_open() for name, gate in self.gates.items()}
        removed = self._remove(closed, optimizer)
        with torch.no_grad():
            for gate in self.gates.values():
                gate.theta.copy_(gate.is_open().to(gate.theta))
        return removed

    def undecided(self) -> dict[str, int]:
        """Units with 0.02 < θ < 0.98, by gate."""
        low, high = UNDECIDED
        return {
            name: int(((gate.theta > low) & (gate.theta < high)).sum())
            for name, gate in self.gates.items()
        }

    def _pairs(self) -> Iterator[tuple[BernoulliGate, HyperPrior]]:
        return zip(self.gates.values(), self.hyper_priors.values(), strict=True)

    def _gradients(self) -> list[Tensor]:
        gradients = []
        for name, gate in self.gates.items():
            if gate.theta.grad is None:
                raise RuntimeError(
                    f"θ of gate {name!r} has no gradient; call loss.backward() in training mode, "
                    "once before every step"
                )
            gradients.append(gate.theta.grad)
        return gradients

    def _remove(self, dead: dict[str, Tensor], optimizer: torch.optim.Optimizer | None) -> int:
        self._keep_last_units(dead)
        if not any(bool(mask.any()) for mask in dead.values()):
            return 0
        if self._example_inputs is None:
            raise RuntimeError("the model has not been called yet; train before compacting")
        return compact_(self.model, dead, self._example_inputs, optimizer)

    @torch.no_grad()
    def _keep_last_units(self, dead: dict[str, Tensor]) -> None:
        for name, mask in dead.items():
            gate = self.gates[name]
            if not bool(mask.all()):
                continue
            best = int(gate.theta.argmax())
            warnings.warn(
                f"the last units of gate {name!r} are about to leave; unit "
                f"{int(gate.unit_index[best])} is kept. log_gamma is too large for this layer, or "
                "theta_step too large for the first epochs",
                stacklevel=4,
            )
            gate.theta[best] = gate.theta_average[best] = 1.0
            mask[best] = False

    def _watch_first_call(self) -> None:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            self._example_inputs = inputs[0][:_EXAMPLES_KEPT].detach().clone()
            handle.remove()

        handle = self.model.register_forward_pre_hook(hook)


def _by_gate(
    log_gamma: float | HyperPrior | Mapping[str, float | HyperPrior],
    gates: Mapping[str, BernoulliGate],
) -> dict[str, HyperPrior]:
    if not isinstance(log_gamma, Mapping):
        log_gamma = dict.fromkeys(gates, log_gamma)
    if set(log_gamma) != set(gates):
        raise ValueError(
            f"log_gamma names the gates {sorted(log_gamma)}, but the model has {sorted(gates)}"
        )
    return {
        name: prior if isinstance(prior, HyperPrior) else Flattening(float(prior))
        for name, prior in ((name, log_gamma[name]) for name in gates)
    }


def _with_slope(prior: HyperPrior, theta: Tensor) -> Tensor:
    """cost(θ), whose gradient is the prior's slope: that is finite at 0 and 1 too."""
    at = theta.detach()
    return prior.cost(at) + prior.slope(at) * (theta - at)
