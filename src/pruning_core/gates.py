"""Bernoulli gates: the random multiplier of one layer's units or filters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from pruning_core.pathwise import Estimator, IntegratedGates, broadcast


class BernoulliGate(nn.Module):
    """Multiply every unit (dimension 1 of the input) by a Bernoulli variable ξ_i of its own.

    The posterior is ξ_i ~ Bernoulli(θ_i), independent over units (arXiv 2205.04650). In training
    mode the estimator draws the multipliers and receives the derivatives; in evaluation mode the
    gate is deterministic and passes exactly the units with θ_i ≥ 1/2. Place it where a closed
    gate means that nothing arrives at the next layer: after the activation and after any
    normalisation.

    ``theta`` is a buffer that requires a gradient, not a parameter, so that
    ``torch.optim.Adam(model.parameters())`` trains the weights alone and θ is moved only by the
    projected step of :class:`pruning_core.BernoulliPruner`.

    Args:
        num_units: number of units or filters, n.
        theta: initial probability of every unit, in [0, 1].
        estimator: how ∂J/∂θ is estimated; :class:`pruning_core.IntegratedGates` by default.

    Shape:
        input and output (N, n) or (N, n, …).

    Raises:
        ValueError: if ``num_units`` < 1, if ``theta`` is outside [0, 1], or when the input does
            not have n entries along dimension 1.
    """

    theta: Tensor
    theta_average: Tensor
    gradient_average: Tensor
    unit_index: Tensor

    def __init__(
        self, num_units: int, *, theta: float = 0.9, estimator: Estimator | None = None
    ) -> None:
        super().__init__()
        if num_units < 1:
            raise ValueError(f"num_units is {num_units}; a gate needs at least one unit")
        if not 0.0 <= theta <= 1.0:
            raise ValueError(f"theta is {theta}; a probability in [0, 1] was expected")
        self.estimator = IntegratedGates() if estimator is None else estimator
        self.register_buffer("theta", torch.full((num_units,), float(theta)).requires_grad_())
        # Memory of BernoulliPruner, kept here so that checkpoints and compaction carry it along.
        self.register_buffer("theta_average", torch.full((num_units,), float(theta)))
        self.register_buffer("gradient_average", torch.zeros(num_units))
        self.register_buffer("unit_index", torch.arange(num_units))
        self.sampling = False
        self._held: Tensor | None = None

    @property
    def num_units(self) -> int:
        """Number of units that are still in the network."""
        return self.theta.numel()

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.dim() < 2 or inputs.shape[1] != self.num_units:
            raise ValueError(
                f"the gate has {self.num_units} units, but its input has shape "
                f"{tuple(inputs.shape)}; (N, {self.num_units}, …) was expected"
            )
        if self._held is not None:
            return inputs * broadcast(self._held, inputs)
        if self.training:
            return self.estimator.multiply(inputs, self.theta)
        if self.sampling:
            uniform = torch.rand(inputs.shape[0], self.num_units, device=inputs.device)
            return inputs * broadcast((uniform < self.theta.detach()).to(inputs), inputs)
        return inputs * broadcast(self.is_open().to(inputs), inputs)

    def is_open(self) -> Tensor:
        """The units the deterministic network keeps, θ_i ≥ 1/2; shape (n,), bool."""
        return self.theta.detach() >= 0.5

    @contextmanager
    def hold(self, values: Tensor) -> Iterator[None]:
        """Use the given multipliers, shape (N, n) or (1, n), whatever the mode."""
        previous, self._held = self._held, values
        try:
            yield
        finally:
            self._held = previous

    def extra_repr(self) -> str:
        return f"num_units={self.num_units}"

    # Module.to() and load_state_dict(assign=True) would leave a θ that never gets a gradient.

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self.theta = self.theta.detach().requires_grad_()
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.theta.requires_grad_()


class InputGate(BernoulliGate):
    """A gate on the features a layer *reads*: input pixels, or flattened feature maps.

    Removing a unit of a :class:`BernoulliGate` also removes what computes it. Here the features
    are given from outside, so removal makes the gate pick the surviving ones by index:
    ``selected`` holds their positions in the gate's input, shape (n,).

    Args:
        num_features: number of features of the input, the size of its dimension 1.
        theta: initial probability of every feature, in [0, 1].
        estimator: as for :class:`BernoulliGate`.

    Shape:
        input (N, ``num_features``), output (N, n) with n the surviving features.
    """

    selected: Tensor

    def __init__(
        self, num_features: int, *, theta: float = 0.9, estimator: Estimator | None = None
    ) -> None:
        super().__init__(num_features, theta=theta, estimator=estimator)
        self.num_features = num_features
        self.register_buffer("selected", torch.arange(num_features))

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.dim() != 2 or inputs.shape[1] != self.num_features:
            raise ValueError(
                f"the gate selects from {self.num_features} features, but its input has shape "
                f"{tuple(inputs.shape)}; (N, {self.num_features}) was expected"
            )
        if self.num_units < self.num_features:
            inputs = inputs.index_select(1, self.selected)
        return super().forward(inputs)


def named_gates(model: nn.Module) -> dict[str, BernoulliGate]:
    """The gates of a model by module name, in the order of the modules.

    Raises:
        ValueError: if the model has no gate.
    """
    gates = {name: m for name, m in model.named_modules() if isinstance(m, BernoulliGate)}
    if not gates:
        raise ValueError(
            f"{type(model).__name__} has no BernoulliGate; put one after each layer whose units "
            "may be pruned"
        )
    return gates


@contextmanager
def sampled_gates(model: nn.Module) -> Iterator[None]:
    """In evaluation mode, draw ξ ~ Bernoulli(θ) for every example instead of rounding θ."""
    gates = [m for m in model.modules() if isinstance(m, BernoulliGate)]
    for gate in gates:
        gate.sampling = True
    try:
        yield
    finally:
        for gate in gates:
            gate.sampling = False
