"""The optimizer of θ: which gates move, how far, and when θ settles."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pruning_core._projected import projected_step_
from pruning_core.costs import Costs
from pruning_core.estimators import Comparing
from pruning_core.gates import BernoulliGate
from pruning_core.recipe import NEAR_ZERO, Recipe

_LOOKS_AT_SCALE = 100
"""Steps between two looks at what the loss was multiplied by, which ask the device."""


class ThetaOptimizer(torch.optim.Optimizer):
    """The projected step on θ as PyTorch's optimizers take theirs, one parameter group a gate.

    Of :class:`pruning_core.BernoulliPruner`, which says what the step is and when it raises.

    Attributes:
        gates: by name.
        costs: of the units.
        num_examples: N, the size of the training set.
        recipe: what follows the steps.

    Args:
        gates: by name; each has a parameter group of that name, whose ``lr`` is its step on θ.
        costs: of the units; by what each costs its step is scaled.
        num_examples: N.
        theta_step: of all gates at first.
        recipe: what follows the steps.
        compares: an estimator that needs several passes, if there is one.
        inside: names of the gates that stand inside of sections, which may leave as a whole.
    """

    # GradScaler then hands over its scale, and asks no device whether to step.
    _step_supports_amp_scaling = True

    def __init__(
        self,
        gates: Mapping[str, BernoulliGate],
        costs: Costs,
        num_examples: int,
        theta_step: float,
        recipe: Recipe,
        compares: Comparing | None = None,
        inside: Collection[str] = (),
    ) -> None:
        _check_theta_step(theta_step)
        self.gates = dict(gates)
        self.costs = costs
        self.num_examples = num_examples
        self.recipe = recipe
        self._compares = compares
        self._inside = frozenset(inside)
        self._has_compared = False
        self._skipped: int | Tensor = 0
        self._loss_scale: Tensor | None = None
        groups = [
            {"params": [gate.theta], "name": name, "price": costs.prices()[name]}
            for name, gate in gates.items()
        ]
        start = {"smoothing": recipe.smoothing_after(0), "price_scale": recipe.price_scale(0)}
        super().__init__(groups, {"lr": theta_step, "steps": 0, "price_factor": 1.0, **start})

    @property
    def theta_step(self) -> float:
        """Step on θ, the ``lr`` of the groups; setting it sets all."""
        return self.param_groups[0]["lr"]

    @theta_step.setter
    def theta_step(self, value: float) -> None:
        _check_theta_step(value)
        self._set("lr", value)

    @property
    def smoothing(self) -> float:
        """Factor of the running average of the gradient; with ``total_steps`` the recipe's."""
        return self.param_groups[0]["smoothing"]

    @smoothing.setter
    def smoothing(self, value: float) -> None:
        self._set("smoothing", value)

    @property
    def price_scale(self) -> float:
        """In [0, 1], the part of the costs that is charged; with ``total_steps`` the recipe's.

        Raised from 0 to 1 at first, it lets the network learn before its units are judged.
        """
        return self.param_groups[0]["price_scale"]

    @price_scale.setter
    def price_scale(self, value: float) -> None:
        self._set("price_scale", value)

    @property
    def steps(self) -> int:
        """Steps taken; may be set where a run goes on without the pruner's ``state_dict``."""
        return self.param_groups[0]["steps"]

    @steps.setter
    def steps(self, value: int) -> None:
        self._set("steps", value)
        if self.recipe.total_steps is not None:
            self.price_scale = self.recipe.price_scale(value)
            self.smoothing = self.recipe.smoothing_after(value)
            for gate in self.gates.values():
                gate.estimator.follow(self.recipe.window_growth(value))

    @property
    def is_settled(self) -> bool:
        """Whether every θ is rounded for good."""
        return all(gate.is_settled for gate in self.gates.values())

    @property
    def skipped_steps(self) -> int:
        """Steps that moved nothing, because a gradient was not finite."""
        return int(self._skipped)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Average the gradient, take a projected step on every θ, and clear the gradient.

        Args:
            closure: evaluates the model again and returns the loss, which is returned.

        Raises:
            RuntimeError: if no gate took part in a pass in training mode since the last step, or
                none has a gradient.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.is_settled:
            self._forget_pass()
            return loss
        moving = self._moving()
        if moving:
            rates = self._rates(moving)
            scale: Tensor | None = getattr(self, "grad_scale", None)
            if not hasattr(self, "grad_scale") and self.steps % _LOOKS_AT_SCALE < 2:
                self._check_scale()
            inverse = None if scale is None else scale.reciprocal()
            gates = [self.gates[name] for name in moving]
            self._skipped += projected_step_(gates, rates, self.smoothing, inverse)
            self._follow_prices()
        self._forget_pass()
        self.steps += 1
        if self.steps >= self.recipe.settle_at:
            self.round_()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the steps, prices and steps on θ of a ``state_dict``.

        Load the model's own first: θ and its averages are there.

        Raises:
            ValueError: if it is of other gates, or of hyper-priors with other prices.
        """
        mine = {group["name"]: group["price"] for group in self.param_groups}
        saved = {group.get("name"): group.get("price") for group in state_dict["param_groups"]}
        if mine != saved:
            raise ValueError(
                f"the pruner's state is of gates with the prices {saved}, but this one has {mine}"
            )
        super().load_state_dict(state_dict)
        self.hold_thetas()
        self.steps = self.steps

    def __getstate__(self) -> dict[str, Any]:
        # The base class would leave out all but its own; a scheduler's wrapper cannot be copied.
        return {key: value for key, value in vars(self).items() if key != "step"}

    def round_(self) -> None:
        """Settle the gates: θ becomes 0 or 1, and what is closed may be removed at any time."""
        self.keep_last_units_({name: ~gate.is_open() for name, gate in self.gates.items()})
        for gate in self.gates.values():
            gate.settle_()

    @torch.no_grad()
    def keep_last_units_(self, dead: dict[str, Tensor]) -> None:
        """Where all units of a gate are dead, spare the best, with a warning.

        A section's own gate may close. It decides about the last unit of those inside, which
        stays as long as the section does, without a word.
        """
        for name, mask in dead.items():
            gate = self.gates[name]
            if gate.may_close or not bool(mask.all()):
                continue
            best = int(gate.theta.argmax())
            if name in self._inside:
                gate.theta[best] = gate.theta_average[best] = 1.0
                mask[best] = False
                continue
            theta = float(gate.theta[best])
            if theta < NEAR_ZERO:
                why = "log_gamma is too large for this layer, or theta_step for the first epochs"
            else:
                why = (
                    "so it had not decided: take more steps, or start from a θ nearer 1, unless "
                    "log_gamma is too large for this layer"
                )
            warnings.warn(
                f"the last units of gate {name!r} are about to leave; unit "
                f"{int(gate.unit_index[best])} is kept. The largest θ is {theta:.2g} after "
                f"{self.steps} steps of {self.theta_step:.2g}; {why}",
                stacklevel=5,
            )
            gate.theta[best] = gate.theta_average[best] = 1.0
            mask[best] = False

    def warn_if_short(self, steps: int, total_steps: int) -> None:
        """Warn if so many steps of a run cannot remove a unit that is worth nothing."""
        if not self.gates:
            return
        theta = min(float(gate.theta.detach().min()) for gate in self.gates.values())
        needed = self.recipe.steps_to_remove(theta, self.theta_step)
        if steps < needed:
            warnings.warn(
                f"too few steps to remove a unit that is worth nothing: θ moves for {steps}, and "
                f"from {theta:.2g} it takes {needed} by steps of {self.theta_step:.2g}; train for "
                f"{math.ceil(total_steps * needed / steps)} steps in all, or raise theta_step",
                stacklevel=3,
            )

    def known_costs(self) -> Costs:
        """The costs, ready to be asked."""
        return self.costs

    def _rates(self, names: Sequence[str]) -> list[float] | list[Tensor]:
        """By gate, how far an averaged gradient of 1 moves θ; a number, or one for each unit."""
        groups = {group["name"]: group for group in self.param_groups}
        scales: Mapping[str, Any] = self.known_costs().scales(self.gates)
        return [
            -group["lr"] * self.num_examples / (scales[group["name"]] * group["price_factor"])
            for group in map(groups.__getitem__, names)
        ]

    def _follow_prices(self) -> None:
        """Let averages have the prices that units have now, as if they had always been so."""
        for name, change in self.known_costs().follow(self.gates).items():
            gate, group = self.gates[name], self.param_groups[0]
            if not gate.is_settled:
                charged = group["price_scale"] * group["price_factor"]
                gate.gradient_average.add_(change, alpha=charged / self.num_examples)

    def _set(self, name: str, value: float) -> None:
        for group in self.param_groups:
            group[name] = value

    def _moving(self) -> list[str]:
        """Names of the gates whose θ the last passes have a say in."""
        if self._compares is not None and not self._has_compared:
            raise RuntimeError(
                f"{type(self._compares).__name__} has a backward pass of its own: call "
                "pruner.backward(lambda: per-example losses, num_examples) in place of "
                "loss.backward()"
            )
        learning = {
            name: gate
            for name, gate in self.gates.items()
            if gate.theta.requires_grad and not gate.is_settled
        }
        if not learning:
            return []
        name, gate = next(iter(learning.items()))
        reached = {name: gate for name, gate in learning.items() if gate.took_part}
        if not reached and not gate.training:
            raise RuntimeError(
                f"gate {name!r} was in evaluation mode, and no other gate was trained: its price "
                "alone would move θ, to 0; call model.train() before the training pass"
            )
        moving = [name for name, gate in reached.items() if gate.theta.grad is not None]
        if not moving:
            raise RuntimeError(
                f"θ of gate {name!r} has no gradient; call loss.backward() before every step, "
                "after a pass in training mode with gradients enabled"
            )
        return moving

    def note_scale(self, gradient: Tensor) -> None:
        """What the penalty was multiplied by before the backward pass, as its hook tells."""
        self._loss_scale = gradient.detach()

    def _check_scale(self) -> None:
        if self._loss_scale is not None and (scale := float(self._loss_scale)) > 1.5:
            raise RuntimeError(
                f"the loss was multiplied by {scale:g}, and so is the gradient of θ; call "
                "scaler.step(pruner) in place of pruner.step()"
            )

    def _forget_pass(self) -> None:
        self._has_compared = False
        self._loss_scale = None
        for gate in self.gates.values():
            gate.took_part = False
            gate.theta.grad = None

    def hold_thetas(self) -> None:
        """Make sure of the θ that the gates have now."""
        for group in self.param_groups:
            gate = self.gates.get(group["name"])
            group["params"] = [] if gate is None else [gate.theta]


def _check_theta_step(value: float) -> None:
    if not 0.0 < value <= 1.0:
        raise ValueError(f"theta_step is {value}; a number in (0, 1] was expected")
