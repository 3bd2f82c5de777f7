"""Removing units and sections from a model and all that trains it, exactly or not at all.

What leaves with a unit is read from the graph (``coupling``); with a section leave its modules
(``layers``). A copy of the model loses them first, and must compute what the model with closed
gates computes (``rehearsal``). Then the real parameters shrink: those that stay remain the same
objects, so that optimizers, schedulers, hooks, averages and lists of parameters go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.coupling import Coupling
from pruning_core.gates import InputGate, any_gates, named_gates, unwrapped
from pruning_core.inputs import Inputs
from pruning_core.layers import (
    LayerGate,
    closed_sections,
    inside_sections,
    leave_,
    leaving_tensors,
)
from pruning_core.optimizer_states import (
    Shrinking,
    check_states,
    drop_,
    nothing,
    shrink_states_,
)
from pruning_core.rehearsal import Rehearsal, copied, untouched
from pruning_core.removal import CompactionError, Removal, check_masks

_EXAMPLES = 32


def compact_(
    model: nn.Module,
    dead: Mapping[str, Tensor],
    example_inputs: Inputs | Tensor | tuple[Any, ...] | Mapping[str, Any],
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None = None,
    *,
    copies: Iterable[nn.Module] = (),
) -> int:
    """Remove dead units from a model, in place, and from the state of its optimizers.

    The network, and the training trajectory that follows, are those of the model with the dead
    gates closed, up to floating-point rounding. Every parameter that stays remains the same object.

    A :class:`pruning_core.LayerGate` whose gate is closed loses its section, with the gates inside;
    the section's parameters leave the parameter groups of the optimizers, and a group that has none
    any more stays, empty, for schedulers to count.

    Args:
        model: contains :class:`BernoulliGate` modules. A compiled model is one too; one that
            ``DistributedDataParallel`` has wrapped has to be wrapped again afterwards.
        dead: by name of the gate, which of its units to remove; bool, shape (n,).
        example_inputs: a few examples the model accepts: a tensor, a tuple of positional or a dict
            of keyword arguments, or :class:`pruning_core.Inputs` of both. They trace the graph and
            try the small network, as random inputs of their shapes do.
        optimizer: one or several that hold parameters of the model, or a penalty's; their momenta
            and moments are sliced alike. One that is forgotten raises at its next step.
        copies: averages of the model, such as ``torch.optim.swa_utils.AveragedModel``, to be
            shrunk alike.

    Returns:
        The number of units removed, a section counting as one. A unit whose channel is added to
        that of another gate (a residual connection) stays until the gates of all branches have
        closed.

    Raises:
        CompactionError: naming the gate and the layer, if a gate would lose its last unit, a
            closed unit does not silence its channel (a gate before a batch norm, an ungated
            residual branch), the channel is an output of the model, the small network does not
            run or computes something else, or a layer or an optimizer state is of a kind that
            cannot be sliced. Nothing has then changed.
    """
    model = unwrapped(model)
    closed = closed_sections(model, dead)
    check_masks(named_gates(model), dead, leaving=inside_sections(model, dead, closed))
    if not any(bool(mask.any()) for mask in dead.values()):
        return 0
    inputs = Inputs.of(example_inputs).first(_EXAMPLES)
    optimizers = _listed(optimizer)
    copies = [unwrapped(copy) for copy in copies]
    with untouched(model):
        twin = copied(model)
        if closed:
            _check_sections(closed, copies)
            _rehearse_without(twin, model, closed, inputs)
        leaving = leaving_tensors(model, closed)
        removal = _removal(twin, dead, inputs)
        if not (removal.units or closed):
            return 0
        for one in copies:
            _check_copy(one, model, removal)
        shrinking = [_shrinking(one, removal) for one in (model, *copies)]
        followers = _followers(optimizers, shrinking[0], leaving)
        check_states(optimizers, {**shrinking[0], **followers}, leaving)
        if removal.units:
            rehearsal = Rehearsal(twin, model, removal, inputs)
            _shrink_(twin, removal, _shrinking(twin, removal))
            rehearsal.compare()
            del rehearsal
        del twin
    shrink_states_(optimizers, {**shrinking[0], **followers})
    drop_(optimizers, leaving)
    for follower, axes in followers.items():
        axes.shrink_(follower)
    for one, tensors in zip((model, *copies), shrinking, strict=True):
        leave_(one, closed)
        _shrink_(one, removal, tensors)
    return len(closed) + sum(len(units) for units in removal.units.values())


def _rehearse_without(
    twin: nn.Module, model: nn.Module, closed: Sequence[str], inputs: Inputs
) -> None:
    """Take sections out of a copy of the model, which must compute what it did with them closed."""
    gates = {gate: name for name, gate in any_gates(twin).items()}
    sections = [twin.get_submodule(name) for name in closed]
    closing = [gates[one.gate] for one in sections if isinstance(one, LayerGate) and one.gate]
    rehearsal = Rehearsal(twin, model, Removal(sections=closing), inputs)
    leave_(twin, closed)
    rehearsal.compare()


def _removal(twin: nn.Module, dead: Mapping[str, Tensor], inputs: Inputs) -> Removal:
    """The units that leave a copy of the model, without its closed sections."""
    gates = any_gates(twin)
    units = {name: mask for name, mask in dead.items() if name in gates and bool(mask.any())}
    for name in units:
        if gates[name].may_close:
            raise CompactionError(
                f"gate {name!r} is closed, but no LayerGate has it, so what would leave with it is "
                "not known; let LayerGate(section, path) make the gate"
            )
    return Coupling(twin, inputs).removal(units) if units else Removal()


def _check_sections(closed: Sequence[str], copies: Iterable[nn.Module]) -> None:
    for name in closed:
        for one in copies:
            there = _submodule(one, name)
            if not isinstance(there, LayerGate) or there.section is None:
                raise CompactionError(
                    f"{name!r} has no section in a copy, but one in the model; give all copies, "
                    "each time a section leaves"
                )


def _shrinking(model: nn.Module, removal: Removal) -> dict[Tensor, Shrinking]:
    """The parameters and buffers that lose entries, and which they keep."""
    found: dict[Tensor, Shrinking] = {}
    for layer, key in removal.entries:
        tensor = getattr(model.get_submodule(layer), key)
        found[tensor] = Shrinking(removal.kept(layer, key, tensor.shape))
    return found


def _check_copy(copy: nn.Module, model: nn.Module, removal: Removal) -> None:
    for layer, key in removal.entries:
        there, here = (
            getattr(_submodule(one, layer), key, torch.empty(0)).shape for one in (copy, model)
        )
        if there != here:
            raise CompactionError(
                f"{layer + '.' + key!r} has the shape {tuple(there)} in a copy, but {tuple(here)} "
                "in the model; give all copies, each time units leave"
            )


def _submodule(model: nn.Module, path: str) -> nn.Module | None:
    return dict(model.named_modules()).get(path)


def _shrink_(model: nn.Module, removal: Removal, tensors: Mapping[Tensor, Shrinking]) -> None:
    for tensor, shrinking in tensors.items():
        shrinking.shrink_(tensor)
    for layer, sizes in removal.sizes.items():
        for attribute, size in sizes.items():
            setattr(model.get_submodule(layer), attribute, size)
    gates = any_gates(model)
    for name, units in removal.units.items():
        stay = torch.ones(gates[name].num_units, dtype=torch.bool)
        stay[units] = False
        gates[name].keep_(stay.nonzero().flatten())
    for name, features in removal.features.items():
        gate = gates[name]
        assert isinstance(gate, InputGate)
        gate.drop_features_(torch.tensor(sorted(features)))


def _followers(
    optimizers: Sequence[torch.optim.Optimizer],
    tensors: Mapping[Tensor, Shrinking],
    leaving: Iterable[Tensor],
) -> dict[Tensor, Shrinking]:
    """Parameters that have an entry for each of the model's weights, as those of Halo have."""
    followers = {}
    kept = {tensor: shrinking.kept for tensor, shrinking in tensors.items()}
    kept |= dict.fromkeys(leaving, nothing())
    for parameter in (p for o in optimizers for g in o.param_groups for p in g["params"]):
        entries = getattr(parameter, "shrinks_with", None)
        if entries is not None:
            followers[parameter] = Shrinking({0: entries(kept)})
    return followers


def _listed(
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None,
) -> list[torch.optim.Optimizer]:
    if optimizer is None:
        return []
    return [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else list(optimizer)
