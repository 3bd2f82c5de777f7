"""Bernoulli variational pruning: the objective, the projected step on θ, and when a unit is dead.

The objective is, in nats over the whole training set of N examples,

    J(W, θ) = E_ξ[ −Σ_n log p(y_n | x_n, W, ξ) ] + (λ/2) ‖W‖² + Σ_i cost(θ_i),

with cost(θ) = θ log γ for the flattening hyper-prior (announced by arXiv 2205.04650, derived in the
chapter "flattening"): a unit survives when it is worth more than log γ nats of training
log-likelihood, with the weights and the other gates as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.compaction import compact_
from pruning_core.costs import Costs, LogGamma, Price, SizePrice, UnitPrices, costs_of
from pruning_core.estimators import Comparing, Estimator
from pruning_core.gates import BernoulliGate, any_gates, named_gates, unwrapped
from pruning_core.hyperprior import Flattening, HyperPrior
from pruning_core.inputs import FirstCall, Inputs
from pruning_core.layers import inside_sections
from pruning_core.pathwise import Losses, Pathwise, mean_backward
from pruning_core.recipe import NEAR_ZERO, WORTH_MARGIN, Recipe
from pruning_core.theta_optimizer import ThetaOptimizer

UNDECIDED = (0.02, 0.98)
"""A unit is undecided while its θ lies strictly between these."""

_EXAMPLES_KEPT = 32
_LOOKS = 100
"""Times in a run of known length that :meth:`BernoulliPruner.compact_` looks for dead units."""

Optimizers = torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None


class BernoulliPruner(ThetaOptimizer):
    """Learns the θ of every gate of a model, and removes the units that have died.

    It is the optimizer of θ, beside that of the weights::

        pruner = BernoulliPruner(model, log_gamma=20.0, num_examples=60_000, total_steps=steps)
        for x, y in batches:
            loss = F.cross_entropy(model(x), y) + pruner.penalty()
            optimizer.zero_grad(); pruner.zero_grad()
            loss.backward()
            optimizer.step(); pruner.step()     # the pruner's: a projected step on θ
            pruner.compact_(optimizer)          # dead units leave model and optimizer

    The step on θ_i is θ_i ← clip(θ_i − theta_step · ĝ_i / price, 0, 1): ĝ is the running average
    of ∂J/∂θ_i in nats and the price that of the hyper-prior, log γ. So a unit worth nothing
    crosses from 1 to 0 in 1/``theta_step`` steps, whatever log γ, the batch size and N.

    **With** ``total_steps``, the steps of the whole run, it follows the recipe of the recorded
    runs, see :class:`pruning_core.recipe.Recipe`: the price rises over ``ramp_steps``, the
    smoothing window grows, and after ``settle_at`` steps θ is rounded. From then on gates draw no
    more, the penalty is 0, ``step`` does nothing and the rest of the run trains what is left;
    the next :meth:`compact_` removes what is closed. **Without**, price and smoothing stay as they
    are set, and :meth:`settle_` ends the Bernoulli phase.

    **Which gates move.** Those that took part in a pass in training mode, gradients enabled, since
    the last step. A gate in a part that evaluates on purpose, or whose θ requires no gradient, is
    left alone with its averages. If no gate took part, ``step`` raises: a forgotten
    ``model.train()`` would leave the price alone to move θ, to 0.

    **Gradients** of θ are cleared by every step, so ``pruner.zero_grad()`` only matters after
    passes that no step followed, as when ``GradScaler`` skips one. To accumulate over k batches,
    call ``((loss + pruner.penalty()) / k).backward()`` for each. One that is not finite moves
    nothing (``skipped_steps`` counts). With ``GradScaler``, call ``scaler.step(pruner)``: it tells
    the pruner the scale. A bare ``pruner.step()`` after a scaled loss raises.

    **Several processes.** When a process group is initialised, θ's gradient is averaged over its
    ranks, so that θ and what is removed stay the same on all; every rank runs the same gates and
    calls :meth:`compact_` at the same steps. Wrap the model in ``DistributedDataParallel`` again
    whenever units have left: its buckets hold the gradients of before.

    **State.** ``state_dict`` holds steps, prices and steps on θ; θ and its averages are in that of
    the model. Both resume the trajectory exactly.

    Attributes:
        gates: by name; each has a parameter group of that name, whose ``lr`` is its step on θ. A
            section that leaves takes its gates along, and leaves their groups empty.
        recipe: what ``total_steps`` and the like became.
        example_inputs: those that were given, or a few of the first call; None before it.

    Args:
        model: contains gates; see :class:`BernoulliGate`.
        log_gamma: nats a unit must be worth; or a hyper-prior; or either by name of the gate,
            to make the units of some layers dearer than others. With another ``price`` than
            "units", nats for one of what is counted.
        num_examples: N, the size of the training set over which the costs are spread.
        theta_step: step on θ, see above.
        smoothing: factor of the running average of the gradient, in [0, 1).
        estimator: a pathwise one is given to every gate. One that compares several draws is the
            pruner's own, and needs :meth:`backward`.
        example_inputs: a few inputs for the analysis behind :meth:`compact_`: a tensor, a tuple of
            arguments, a dict of keywords, or :class:`Inputs`; by default the first ones the model
            is called with, unless it is compiled.
        total_steps: steps of the run.
        ramp_steps: steps over which the price rises.
        settle_at: steps after which θ settles, by default 75/90 of ``total_steps``; ``math.inf``
            leaves it to :meth:`settle_`.
        look_every: steps between two looks of :meth:`compact_` for dead units; by default a
            hundredth of ``total_steps``, or none.
        price: what ``log_gamma`` is paid for. "units": each costs that much, whatever it holds.
            "weights" or "macs": each weight or multiply-accumulate of the network does, and a unit
            costs what it would save if it left, given what else is still there; so one number
            serves layers of all kinds, and the price of a unit falls as others leave. A mix,
            ``{"weights": 1, "macs": 0.01}``, buys so much of each.

    Raises:
        ValueError: for a model without gates, an unknown gate name, or a number out of range.

    Warns:
        UserWarning: if θ settles before a unit that is worth nothing can die.
    """

    def __init__(
        self,
        model: nn.Module,
        log_gamma: LogGamma,
        num_examples: int,
        *,
        theta_step: float = 1 / 1500,
        smoothing: float = 0.99,
        estimator: Estimator | None = None,
        example_inputs: Inputs | Tensor | tuple[Any, ...] | Mapping[str, Any] | None = None,
        total_steps: int | None = None,
        ramp_steps: float = 0,
        settle_at: float | None = None,
        look_every: int | None = None,
        price: Price = "units",
    ) -> None:
        if num_examples < 1:
            raise ValueError(f"num_examples is {num_examples}; the size of the training set is ≥ 1")
        if look_every is not None and look_every < 1:
            raise ValueError(f"look_every is {look_every}; a number of steps, ≥ 1, was expected")
        self.model = unwrapped(model)
        gates = named_gates(self.model)
        super().__init__(
            gates,
            costs_of(gates, log_gamma, price),
            num_examples,
            theta_step,
            Recipe.checked(smoothing, ramp_steps, total_steps, settle_at),
            compares=estimator if isinstance(estimator, Comparing) else None,
            inside=inside_sections(self.model, gates),
        )
        if isinstance(estimator, Pathwise):
            for gate in gates.values():
                gate.estimator = estimator
        self.steps = 0  # what an estimator may have followed was another run
        self.look_every = look_every or (total_steps or 0) // _LOOKS
        self._next_look = 0.0
        self.example_inputs: Inputs | None = None
        if example_inputs is None:
            FirstCall(self.model, self._keep_examples)
        else:
            self.example_inputs = Inputs.of(example_inputs)
            self.known_costs()
        if total_steps is not None and self.recipe.settle_at < math.inf:
            self.warn_if_short(math.floor(min(self.recipe.settle_at, total_steps)), total_steps)

    @property
    def hyper_priors(self) -> dict[str, HyperPrior]:
        """By gate; none where one price is paid for what all units hold."""
        known = self.costs.hyper_priors if isinstance(self.costs, UnitPrices) else {}
        return {name: prior for name, prior in known.items() if name in self.gates}

    @property
    def price_factor(self) -> float:
        """What each log γ that was given is multiplied by; 1 unless it is set, in training too.

        The worths that were measured stay as they are. See :class:`pruning_core.TargetSize`, which
        sets it.

        Raises:
            ValueError: if set for another hyper-prior than :class:`Flattening`, whose cost no
                factor of it describes, or to something else than a finite number above 0.
        """
        return self.param_groups[0]["price_factor"]

    @price_factor.setter
    def price_factor(self, value: float) -> None:
        if not 0 < value < math.inf:
            raise ValueError(f"price_factor is {value}; a finite number above 0 was expected")
        for name, prior in self.hyper_priors.items():
            if not isinstance(prior, Flattening):
                raise ValueError(
                    f"gate {name!r} has the hyper-prior {prior}; only the price of Flattening can "
                    "change while training"
                )
        change = (value - self.price_factor) * self.price_scale / self.num_examples
        if change:
            slopes = self.known_costs().slopes(self.gates)
            for name, gate in self._unsettled():
                gate.gradient_average += change * slopes[name]  # as if they had always been so
        self._set("price_factor", value)

    @property
    def _charged(self) -> float:
        """The factor of the costs that are charged now."""
        return self.price_scale * self.price_factor

    def penalty(self) -> Tensor:
        """Σ_i cost(θ_i) / N in nats per example: what the units cost, to be added to the loss."""
        if self.is_settled:
            # Without any gate, of a network whose sections have all left.
            like = [*(gate.theta for gate in self.gates.values()), *self.model.parameters()]
            return like[0].new_zeros(())
        penalty = self._charged * self.known_costs().total(self.gates) / self.num_examples
        if penalty.requires_grad and not torch.compiler.is_compiling():
            penalty.register_hook(self.note_scale)
        return penalty

    def backward(self, losses: Losses, num_examples: int) -> Tensor:
        """All gradients, by whichever estimator there is; for ``(… + penalty()).backward()``.

        Args:
            losses: evaluates the model on the batch and returns the loss of each example.
            num_examples: of the batch.

        Returns:
            The mean loss in nats per example, without the penalty; a detached scalar.
        """
        if self._compares is None or self.is_settled:
            loss = mean_backward(losses)
        else:
            loss = self._compares.backward(list(self.gates.values()), losses, num_examples)
            self._has_compared = True
        learning = [(n, g.theta.grad) for n, g in self._unsettled() if g.theta.grad is not None]
        if learning:
            slopes = self.known_costs().slopes(self.gates)
            names, gradients = zip(*learning, strict=True)
            charged = [slopes[name] for name in names]
            torch._foreach_add_(gradients, charged, alpha=self._charged / self.num_examples)
        return loss

    def worth(self) -> dict[str, Tensor]:
        """Running estimate of E[L | ξ_i = 0] − E[L | ξ_i = 1] in nats, by gate; shape (n,)."""
        slopes = self.known_costs().slopes(self.gates)
        return {
            name: self._charged * slopes[name] - self.num_examples * gate.gradient_average
            for name, gate in self.gates.items()
        }

    def dead_units(self) -> dict[str, Tensor]:
        """Units that are off, have been for a while, and are worth too little to return, by gate.

        With ‖∂L/∂w‖ ≤ κ and |ΔL| ≤ κ‖w‖ for the weights w of a unit, the flow ẇ = −θ ∂L/∂w,
        θ̇ = −(ΔL + log γ) never leaves {θ + ‖w‖ < log γ / κ}, and there θ reaches 0 in finite time;
        weight decay only enlarges that region. Training is not that flow: its estimates are noisy,
        and by :class:`IntegratedGates`, a share f of whose gates is half open, the weights of a
        closed unit still learn, so that there is a region only with a decay λ > f κ² / (2 log γ).
        What the bound κ‖w‖ bounds, the worth, is therefore measured: a unit is dead when θ and
        its slow average are below 0.03 and its measured worth is below half its price. Of a gate
        that has settled, the closed units are dead.

        Returns:
            For each gate by its name, bool, shape (n,).
        """
        worth, scales = self.worth(), self.known_costs().scales(self.gates)
        least = {name: WORTH_MARGIN * self._charged * scale for name, scale in scales.items()}
        return {
            name: ~gate.is_open()
            if gate.is_settled
            else (gate.theta.detach() < NEAR_ZERO)
            & (gate.theta_average < NEAR_ZERO)
            & (worth[name] < least[name])
            for name, gate in self.gates.items()
        }

    def compact_(self, optimizer: Optimizers = None, *, copies: Iterable[nn.Module] = ()) -> int:
        """Remove the dead units from the model and the optimizer's state.

        It may be called after every step: with ``total_steps``, or ``look_every``, it looks for
        dead units only once in so many steps, and returns at once in between. A look asks the
        device a single time.

        Args:
            optimizer: of the weights; one, several, or none.
            copies: averages of the model, to lose the same units.

        Returns:
            The number of units removed.

        Warns:
            UserWarning: naming the gate, if its last open unit has to be kept alive.

        Raises:
            CompactionError: see :func:`pruning_core.compact_`.
        """
        if self.steps < self._next_look:
            return 0
        self._next_look = self.steps + self.look_every
        if self.is_settled or self.steps >= self.recipe.settle_at:
            return self.settle_(optimizer, copies=copies)
        return self._remove(self.dead_units(), optimizer, copies)

    def settle_(self, optimizer: Optimizers = None, *, copies: Iterable[nn.Module] = ()) -> int:
        """End the Bernoulli phase: θ is rounded to 0 or 1, and the closed units are removed.

        The gates draw no more from then on. See :meth:`compact_` for the arguments.

        Returns:
            The number of units removed.

        Warns:
            UserWarning: without ``total_steps``, if too few steps were taken to remove anything.
        """
        closed = {name: ~gate.is_open() for name, gate in self.gates.items()}
        removed = self._remove(closed, optimizer, copies)
        self.round_()
        self._next_look = math.inf
        if removed == 0 and self.recipe.total_steps is None and self.steps > 0:
            self.warn_if_short(self.steps, self.steps)
        return removed

    def round_(self) -> None:
        """Settle the gates without removing anything, which the next :meth:`compact_` does."""
        super().round_()
        self._next_look = 0.0

    def undecided(self) -> dict[str, int]:
        """Units with 0.02 < θ < 0.98, by gate."""
        low, high = UNDECIDED
        return {
            name: int(((gate.theta > low) & (gate.theta < high)).sum())
            for name, gate in self.gates.items()
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._forget_left()
        self.hold_thetas()
        super().load_state_dict(state_dict)

    def _unsettled(self) -> Iterator[tuple[str, BernoulliGate]]:
        return ((name, gate) for name, gate in self.gates.items() if not gate.is_settled)

    def known_costs(self) -> Costs:
        """The costs, once it is known what belongs to the units."""
        if isinstance(self.costs, SizePrice) and not self.costs.is_prepared:
            self.costs.prepare(self.model, self._examples())
        return self.costs

    def _examples(self) -> Inputs:
        if self.example_inputs is None:
            raise RuntimeError(
                "the model has not been called yet; train before, or give the pruner "
                "example_inputs= (where the model is compiled, its calls are not seen)"
            )
        return self.example_inputs

    def _remove(
        self, dead: dict[str, Tensor], optimizer: Optimizers, copies: Iterable[nn.Module]
    ) -> int:
        if not dead or not bool(torch.stack([mask.any() for mask in dead.values()]).any()):
            return 0
        self.keep_last_units_(dead)
        removed = compact_(self.model, dead, self._examples(), optimizer, copies=copies)
        self._forget_left()
        self.hold_thetas()
        return removed

    def _forget_left(self) -> None:
        """Gates that left with their section; their groups stay, empty, for schedulers to count."""
        there = any_gates(self.model)
        for name in [name for name in self.gates if name not in there]:
            del self.gates[name]

    def _keep_examples(self, inputs: Inputs) -> None:
        self.example_inputs = inputs.first(_EXAMPLES_KEPT)
