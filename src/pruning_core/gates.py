"""Bernoulli gates: the random multiplier of one layer's units or filters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from pruning_core.pathwise import IntegratedGates, Pathwise, broadcast


class BernoulliGate(nn.Module):
    """Multiply every unit, an entry along ``dim``, by a Bernoulli variable ξ_i of its own.

    The posterior is ξ_i ~ Bernoulli(θ_i), independent over units (arXiv 2205.04650). In training
    mode the estimator draws the multipliers and receives the derivatives; in evaluation mode the
    gate is deterministic and passes exactly the units with θ_i ≥ 1/2. Place it where a closed
    gate means that nothing arrives at the next layer: after the activation and after any
    normalisation.

    ``theta`` is a buffer that requires a gradient, not a parameter, so that
    ``torch.optim.Adam(model.parameters())`` trains the weights alone and θ is moved only by the
    projected step of :class:`pruning_core.BernoulliPruner`. It remains the same object wherever
    the model goes, and float32 at least, in models of half precision too. A gate that has settled
    draws no more: in training mode too it passes exactly the units with θ_i ≥ 1/2.

    Args:
        num_units: number of units or filters, n.
        theta: initial probability of every unit, in [0, 1].
        estimator: how it draws and ∂J/∂θ is found; :class:`pruning_core.IntegratedGates` by
            default. Those that compare several draws are given to the pruner.
        dim: dimension of the units: 1 behind convolutions and linear layers, −1 for tokens
            (N, T, n). Dimension 0 is the batch; the multipliers are drawn for each of its entries.

    Shape:
        input and output (N, n) or (N, n, …), or (N, …, n) with ``dim`` −1.

    Raises:
        ValueError: if ``num_units`` < 1, if ``theta`` is outside [0, 1], if ``dim`` is 0, or when
            the input does not have n entries along ``dim``.
        TypeError: for an estimator that is not pathwise.
    """

    may_close = False
    """Whether all of its units may leave; else the last one is kept."""

    theta: Tensor
    theta_average: Tensor
    gradient_average: Tensor
    unit_index: Tensor
    settled: Tensor

    def __init__(
        self,
        num_units: int,
        *,
        theta: float = 0.9,
        estimator: Pathwise | None = None,
        dim: int = 1,
    ) -> None:
        super().__init__()
        if num_units < 1:
            raise ValueError(f"num_units is {num_units}; a gate needs at least one unit")
        if not 0.0 <= theta <= 1.0:
            raise ValueError(f"theta is {theta}; a probability in [0, 1] was expected")
        if dim == 0:
            raise ValueError("dim is 0, the batch; 1, or -1 for tokens (N, T, n), was expected")
        self.dim = dim
        self.estimator = IntegratedGates() if estimator is None else estimator
        self.register_buffer("theta", torch.full((num_units,), float(theta)).requires_grad_())
        # Memory of BernoulliPruner, kept here so that checkpoints and compaction carry it along.
        self.register_buffer("theta_average", torch.full((num_units,), float(theta)))
        self.register_buffer("gradient_average", torch.zeros(num_units))
        self.register_buffer("unit_index", torch.arange(num_units))
        # A buffer, so that checkpoints tell; and a number of Python, so that no device is asked.
        self.register_buffer("settled", torch.tensor(0))
        self.is_settled = False
        self.took_part = False
        self.sampling = False
        self._held: Tensor | None = None

    @property
    def estimator(self) -> Pathwise:
        """How the gate draws in training mode."""
        return self._estimator

    @estimator.setter
    def estimator(self, estimator: Pathwise) -> None:
        if not isinstance(estimator, Pathwise):
            name = type(estimator).__name__
            raise TypeError(
                f"{name} is no estimator that a gate can draw with; if it needs a pass of its own, "
                f"give it to the pruner: BernoulliPruner(model, …, estimator={name}(…))"
            )
        self._estimator = estimator

    @property
    def num_units(self) -> int:
        """Number of units that are still in the network."""
        return self.theta.numel()

    def forward(self, inputs: Tensor) -> Tensor:
        self._check(inputs)
        learning = self.training and not self.is_settled
        if learning and torch.is_grad_enabled():
            self.took_part = True  # BernoulliPruner.step() asks, and takes it back
        if self._held is not None:
            return inputs * broadcast(self._held, inputs, self.dim)
        if learning:
            return self.estimator.multiply(inputs, self.theta, self.dim)
        if self.sampling:
            uniform = torch.rand(inputs.shape[0], self.num_units, device=inputs.device)
            return inputs * broadcast(uniform < self.theta.detach(), inputs, self.dim)
        return inputs * broadcast(self.is_open(), inputs, self.dim)

    def is_open(self) -> Tensor:
        """The units the deterministic network keeps, θ_i ≥ 1/2; shape (n,), bool."""
        return self.theta.detach() >= 0.5

    @torch.no_grad()
    def settle_(self) -> None:
        """Round θ to 0 or 1, and draw no more."""
        self.theta.copy_(self.is_open())
        self.settled.fill_(1)
        self.is_settled = True

    @contextmanager
    def hold(self, values: Tensor) -> Iterator[None]:
        """Use the given multipliers, shape (N, n) or (1, n), whatever the mode."""
        previous, self._held = self._held, values
        try:
            yield
        finally:
            self._held = previous

    def keep_(self, units: Tensor) -> None:
        """Forget all units but these, by their numbers now; int64, increasing."""
        for name, buffer in self._buffers.items():
            if buffer is not None and buffer.dim():
                self._put(name, buffer.detach().index_select(0, units.to(buffer.device)))

    def extra_repr(self) -> str:
        return f"num_units={self.num_units}" + (f", dim={self.dim}" if self.dim != 1 else "")

    def _check(self, inputs: Tensor) -> None:
        """Raise a ValueError for an input of another shape."""
        if (
            inputs.dim() < 2
            or not -inputs.dim() < self.dim < inputs.dim()
            or inputs.shape[self.dim] != self.num_units
        ):
            expected = f"(N, {self.num_units}, …)" if self.dim == 1 else f"{self.num_units} entries"
            raise ValueError(
                f"the gate has {self.num_units} units, but its input has shape "
                f"{tuple(inputs.shape)}; {expected} along dimension {self.dim} was expected"
            )

    def _put(self, name: str, value: Tensor) -> None:
        """Give a buffer other contents; θ stays the object that the pruner holds."""
        # To another device, the meta one say, no tensor can go without becoming another.
        if name != "theta" or not torch._has_compatible_shallow_copy_type(self.theta, value):
            self._buffers[name] = value.requires_grad_(name == "theta")
            return
        gradient, self.theta.grad = self.theta.grad, None
        give_(self.theta, value)
        if gradient is not None and gradient.shape == value.shape:
            self.theta.grad = gradient.to(value)

    # Module.to() and load_state_dict(assign=True) would leave a θ that never gets a gradient.

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, old in before.items():
            new = self._buffers[name]
            if old is None or new is None:
                continue
            if new.is_floating_point() and new.dtype.itemsize < 4:
                new = old.detach().to(new.device)
            self._buffers[name] = old
            self._put(name, new.detach())
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        theta = self.theta
        super()._load_from_state_dict(*args, **kwargs)
        if self.theta is not theta:
            loaded, self._buffers["theta"] = self.theta, theta
            self._put("theta", loaded.detach().clone())
        if not self.settled.is_meta:
            self.is_settled = bool(self.settled)

    def _replicate_for_data_parallel(self) -> Self:
        # DataParallel calls copies of the gate, whose notes are lost.
        if self.training and torch.is_grad_enabled():
            self.took_part = True
        return super()._replicate_for_data_parallel()


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
        self, num_features: int, *, theta: float = 0.9, estimator: Pathwise | None = None
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

    def drop_features_(self, features: Tensor) -> None:
        """Follow an input that loses features, by their numbers now; none of them is selected."""
        gone = torch.zeros(self.num_features, dtype=torch.long, device=self.selected.device)
        gone[features.to(gone.device)] = 1
        self.selected = self.selected - gone.cumsum(0)[self.selected]
        self.num_features -= int(gone.sum())


def any_gates(model: nn.Module) -> dict[str, BernoulliGate]:
    """The gates of a model by module name, in the order of the modules; perhaps none."""
    return {name: m for name, m in model.named_modules() if isinstance(m, BernoulliGate)}


def named_gates(model: nn.Module) -> dict[str, BernoulliGate]:
    """As :func:`any_gates`, of a model that has some.

    Raises:
        ValueError: if the model has no gate.
    """
    gates = any_gates(model)
    if not gates:
        raise ValueError(
            f"{type(model).__name__} has no BernoulliGate; put one after each layer whose units "
            "may be pruned"
        )
    return gates


def unwrapped(model: nn.Module) -> nn.Module:
    """The model within those that compile, distribute or average it."""
    wrappers = (
        nn.parallel.DistributedDataParallel,
        nn.DataParallel,
        torch.optim.swa_utils.AveragedModel,
    )
    while True:
        if isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        elif isinstance(model, wrappers):
            model = model.module
        else:
            return model


@contextmanager
def hold_all(gates: Iterable[BernoulliGate], values: Iterable[Tensor]) -> Iterator[None]:
    """Let each gate use the given multipliers, as :meth:`BernoulliGate.hold` does."""
    with ExitStack() as stack:
        for gate, held in zip(gates, values, strict=True):
            stack.enter_context(gate.hold(held))
        yield


@contextmanager
def sampled_gates(model: nn.Module) -> Iterator[None]:
    """In evaluation mode, draw ξ ~ Bernoulli(θ) for every example instead of rounding θ."""
    gates = any_gates(model).values()
    for gate in gates:
        gate.sampling = True
    try:
        yield
    finally:
        for gate in gates:
            gate.sampling = False


def give_(tensor: Tensor, value: Tensor) -> None:
    """Let a leaf that has no gradient have other entries, of another shape too.

    What autograd remembers of the old shape goes with a change of type, and only so.
    """
    other = torch.float32 if tensor.dtype != torch.float32 else torch.float64
    tensor.data = torch.empty(0, dtype=other, device=tensor.device)
    tensor.data = value
