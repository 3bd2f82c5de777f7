"""Tensors that shrink along their axes or leave, with what optimizers remember of each entry."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakSet

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.weak import WeakTensorKeyDictionary

from pruning_core.gates import give_
from pruning_core.removal import CompactionError

_NOT_ELEMENTWISE = ("Muon", "Adafactor", "Shampoo", "SOAP")
"""Optimizers whose step for one entry depends on the others', whatever their state looks like."""


@dataclass(frozen=True)
class Shrinking:
    """Which entries of a tensor stay: by axis, their positions; int64, increasing."""

    kept: Mapping[int, Tensor]

    def of(self, tensor: Tensor) -> Tensor:
        """The entries that stay, in the memory layout of the tensor: fused optimizers rely on it.

        Convolutions take theirs from the strides, even where one input channel makes two layouts
        alike.
        """
        entries = tensor.detach()
        for axis, positions in self.kept.items():
            entries = entries.index_select(axis, positions.to(tensor.device))
        for layout in (torch.channels_last, torch.channels_last_3d):
            if tensor.dim() != (4 if layout is torch.channels_last else 5):
                continue
            like = torch.empty_like(tensor, device="meta", memory_format=layout)
            if tensor.stride() == like.stride():
                return torch.empty_like(entries, memory_format=layout).copy_(entries)
        return entries.contiguous()

    def shrink_(self, tensor: Tensor) -> None:
        """Give the tensor and its gradient the entries that stay; it remains the same object."""
        smaller = self.of(tensor)
        gradient, tensor.grad = tensor.grad, None
        _shrunk[tensor] = [*(_shrunk.get(tensor) or ()), tensor.shape]
        give_(tensor, smaller)
        if gradient is not None:
            tensor.grad = self.of(gradient)


def nothing() -> dict[int, Tensor]:
    """By axis, the positions that stay of a tensor that leaves as a whole: none."""
    return {0: torch.empty(0, dtype=torch.long)}


def has_left(tensor: Tensor) -> bool:
    """Whether the section that had the tensor has left its model."""
    return tensor in _left


def check_states(
    optimizers: Sequence[torch.optim.Optimizer],
    tensors: Mapping[Tensor, Shrinking],
    leaving: Collection[Tensor] = (),
) -> None:
    """Raises CompactionError for a state of theirs that has no entry for each of the tensor's.

    Args:
        optimizers: whose states they are.
        tensors: that lose entries.
        leaving: tensors that go as a whole.
    """
    for optimizer in optimizers:
        kind = type(optimizer).__name__
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        held = [p for p in parameters if p in tensors]
        touched = held or [p for p in parameters if p in leaving]
        # All of its states: some keep one for all parameters, with the first of them.
        for parameter, state in optimizer.state.items() if touched else ():
            for key, value in state.items():
                sliceable = isinstance(value, Tensor) and value.shape in (parameter.shape, ())
                if not (sliceable or isinstance(value, (int, float, type(None)))):
                    raise CompactionError(
                        f"the state {key!r} of {kind} cannot be sliced with a parameter of shape "
                        f"{tuple(parameter.shape)}; use an optimizer whose state is elementwise "
                        "(SGD, Adam, AdamW)"
                    )
        if held and kind in _NOT_ELEMENTWISE:
            raise CompactionError(
                f"{kind} moves the entries of a matrix together, so that training would go on "
                "otherwise without some of them; use an optimizer whose steps are elementwise "
                "(SGD, Adam, AdamW)"
            )


def drop_(optimizers: Sequence[torch.optim.Optimizer], leaving: Collection[Tensor]) -> None:
    """Take tensors out of the groups and states of optimizers; a group without any stays."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["params"][:] = [p for p in group["params"] if p not in leaving]
        for parameter in leaving:
            optimizer.state.pop(parameter, None)
    for tensor in leaving:
        tensor.grad = None
        _left[tensor] = True
    if leaving:
        _watch()


def shrink_states_(
    optimizers: Sequence[torch.optim.Optimizer], tensors: Mapping[Tensor, Shrinking]
) -> None:
    """Slice what the optimizers remember, before the tensors themselves shrink."""
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            if parameter not in tensors:
                continue
            for key, value in state.items():
                if isinstance(value, Tensor) and value.dim() and value.shape == parameter.shape:
                    state[key] = tensors[parameter].of(value)
    _watch()


def _watch() -> None:
    _seen.clear()
    if not _watching:
        _watching.append(register_optimizer_step_pre_hook(_refuse_stale_state))


_left: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
"""Tensors that left with their section."""

_shrunk: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
"""The shapes that shrunk tensors had before."""

_seen: WeakSet[torch.optim.Optimizer] = WeakSet()
"""Optimizers that have taken a step since the last removal."""

_watching: list[object] = []


def _refuse_stale_state(optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
    """At the first step of an optimizer after a removal: was it handed over?"""
    if optimizer in _seen:
        return
    for parameter, state in optimizer.state.items():
        if state and has_left(parameter):
            raise CompactionError(
                f"{type(optimizer).__name__} has a state of a parameter of shape "
                f"{tuple(parameter.shape)} that has left the model with its section; hand this "
                "optimizer to compact_ too"
            )
        former = _shrunk.get(parameter) or []
        for key, value in state.items() if former else ():
            stale = isinstance(value, Tensor) and value.shape in former
            if stale and value.shape != parameter.shape:
                raise CompactionError(
                    f"the state {key!r} of {type(optimizer).__name__} has the shape "
                    f"{tuple(value.shape)} of a parameter that has shrunk to "
                    f"{tuple(parameter.shape)}; hand this optimizer to compact_ too"
                )
    _seen.add(optimizer)
