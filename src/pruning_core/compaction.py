"""Removing units from a model *and its optimizer*, exactly.

Torch-Pruning's dependency graph says which tensors shrink together. It is let loose on a copy of
the model in which every tensor holds the positions of its own entries; the positions that survive
there are then gathered from the real parameters, gradients, buffers and optimizer state alike.
Nothing of the real model changes before every check has passed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from torch_pruning.ops import _OutputOp

from pruning_core._gate_pruners import GatePruner, InputGatePruner
from pruning_core.gates import BernoulliGate, InputGate, named_gates
from pruning_core.metrics import evaluating

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_CONSUMERS = (nn.Linear, *_CONVOLUTIONS)
_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CHANNELWISE = (*_NORMALISATIONS, nn.PReLU, BernoulliGate)


class CompactionError(ValueError):
    """Removing the units is impossible, or would change what the network computes."""


def compact_(
    model: nn.Module,
    dead: Mapping[str, Tensor],
    example_inputs: Tensor,
    optimizer: torch.optim.Optimizer | None = None,
) -> int:
    """Remove dead units from a model, in place, and from the state of its optimizer.

    The network, and the training trajectory that follows, are those of the model with the dead
    gates closed, up to floating-point rounding.

    Args:
        model: contains :class:`BernoulliGate` modules.
        dead: by name of the gate, which of its units to remove; bool, shape (n,).
        example_inputs: a few examples the model accepts. They trace the graph, and verify that
            nothing arrives at the next layers from the units that are removed.
        optimizer: holds parameters of the model; its momenta and moments are sliced alike.

    Returns:
        The number of units removed. A unit whose channel is added to that of another gate (a
        residual connection) stays until the gates of all branches have closed.

    Raises:
        CompactionError: naming the gate and the layer, if a gate would lose its last unit, a
            closed unit does not silence its channel (a gate before a batch norm, an ungated
            residual branch), the channel is an output of the model, or a layer or an optimizer
            state is of a kind that cannot be sliced. Model and optimizer are then untouched.
    """
    gates = named_gates(model)
    _check_masks(gates, dead)
    if not any(bool(mask.any()) for mask in dead.values()):
        return 0
    twin = _NumberedTwin(model, example_inputs)
    removals = twin.plan({name: dead[name].clone() for name in gates if name in dead})
    if not removals:
        return 0
    _check_silence(model, gates, removals, example_inputs)
    twin.remove(removals)
    twin.gather_into_(model, optimizer)
    return sum(len(removal.units) for removal in removals)


class _Removal:
    """The units of one gate that go, and the layers that shrink with them."""

    def __init__(self, gate: str, units: list[int], group: tp.Group) -> None:
        self.gate = gate
        self.units = units
        self.group = group

    def consumers(self) -> Iterator[tuple[str, list[int]]]:
        """Layers that read the removed channels: name and input channels."""
        for dependency, channels in self.group:
            module = dependency.target.module
            reads = tp.DependencyGraph().is_in_channel_pruning_fn(dependency.handler)
            if isinstance(module, _CONSUMERS) and reads and not _is_depthwise(module):
                yield dependency.target._name, list(channels)


class _NumberedTwin:
    """A copy of the model whose tensors number their own entries, and its dependency graph."""

    def __init__(self, model: nn.Module, example_inputs: Tensor) -> None:
        self.model = copy.deepcopy(model)
        self.gates = named_gates(self.model)
        self.gate_names = {gate: name for name, gate in self.gates.items()}
        with torch.enable_grad():
            self.graph = tp.DependencyGraph().build_dependency(
                self.model,
                example_inputs.detach().clone().requires_grad_(),
                forward_fn=lambda model, inputs: model(inputs),
                customized_pruners={BernoulliGate: GatePruner(), InputGate: InputGatePruner()},
                verbose=False,
            )
        for module in self.model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    module._parameters[name] = nn.Parameter(_numbers(parameter).double())
            for name, buffer in module._buffers.items():
                if buffer is not None and name != "selected":
                    module._buffers[name] = _numbers(buffer)

    def plan(self, dead: dict[str, Tensor]) -> list[_Removal]:
        """What can go now; features that a closed filter would have fed are added to ``dead``."""
        for name in list(dead):
            self._mark_starved_features(name, dead)
        _check_masks(self.gates, dead)
        removals = []
        # Input gates first, so that none still selects a feature when its filter goes.
        for name in sorted(dead, key=lambda name: not isinstance(self.gates[name], InputGate)):
            units = self._not_shared(name, dead)
            if units:
                group = self._group(name, units)
                self._check_layers(name, group)
                self._check_downstream(name)
                removals.append(_Removal(name, units, group))
        return removals

    def remove(self, removals: list[_Removal]) -> None:
        for removal in removals:
            # Positions shift as units go, and a shared channel may be gone with another gate:
            # the gate's own numbers tell where its units are now.
            numbers = self.gates[removal.gate].theta
            left = torch.isin(numbers, numbers.new_tensor(removal.units)).nonzero().flatten()
            if left.numel():
                self._group(removal.gate, left.tolist()).prune(record_history=False)

    def gather_into_(self, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
        """Give the real model and optimizer the entries that are left here."""
        replaced: dict[Tensor, tuple[nn.Parameter, Tensor]] = {}
        twins = dict(self.model.named_modules())
        modules = dict(model.named_modules())
        for name, module in modules.items():
            for key, old in module._parameters.items():
                numbers = twins[name]._parameters[key]
                if old is not None and numbers is not None and numbers.shape != old.shape:
                    numbers = numbers.detach().long()
                    new = nn.Parameter(_gather(old.detach(), numbers), old.requires_grad)
                    new.grad = None if old.grad is None else _gather(old.grad, numbers)
                    replaced[old] = (new, numbers)
        if optimizer is not None:
            _replace_in_optimizer_(optimizer, replaced)
        for name, module in modules.items():
            for key, old in module._parameters.items():
                if old is not None and old in replaced:
                    module._parameters[key] = replaced[old][0]
            for key, old in module._buffers.items():
                numbers = twins[name]._buffers[key]
                if key == "selected":
                    module._buffers[key] = numbers
                elif old is not None and numbers is not None and numbers.shape != old.shape:
                    new = _gather(old.detach(), numbers)
                    module._buffers[key] = new.requires_grad_(old.requires_grad)
            for key, value in vars(twins[name]).items():
                # Sizes only: Torch-Pruning leaves its copy in evaluation mode, a bool.
                if type(value) is int and getattr(module, key) != value:
                    setattr(module, key, value)

    def _group(self, name: str, units: list[int]) -> tp.Group:
        gate = self.gates[name]
        prune = self.graph.CUSTOMIZED_PRUNERS[type(gate)].prune_out_channels
        return self.graph.get_pruning_group(gate, prune, units)

    def _mark_starved_features(self, name: str, dead: dict[str, Tensor]) -> None:
        units = dead[name].nonzero().flatten().tolist()
        if not units or isinstance(self.gates[name], InputGate):
            return
        for dependency, channels in self._group(name, units):
            gate = dependency.target.module
            if isinstance(gate, InputGate) and dependency.handler.__name__ == "prune_in_channels":
                starved = torch.isin(gate.selected, gate.selected.new_tensor(list(channels)))
                key = self.gate_names[gate]
                dead[key] = dead.get(key, torch.zeros_like(starved)) | starved

    def _not_shared(self, name: str, dead: Mapping[str, Tensor]) -> list[int]:
        """Dead units of the gate whose channel no other gate keeps alive."""
        units = dead[name].nonzero().flatten().tolist()
        kept_by_others: set[int] = set()
        for item in self._group(name, units) if units else ():
            gate = item.dep.target.module
            if gate in self.gate_names and not isinstance(gate, InputGate):
                partner = dead.get(self.gate_names[gate])
                kept_by_others.update(
                    unit
                    for channel, unit in zip(item.idxs, item.root_idxs, strict=True)
                    if partner is None or not bool(partner[channel])
                )
        return [unit for unit in units if unit not in kept_by_others]

    def _check_layers(self, name: str, group: tp.Group) -> None:
        for dependency, _ in group:
            module = dependency.target.module
            layer = f"{dependency.target._name!r} ({type(module).__name__})"
            shrinks = self.graph.is_out_channel_pruning_fn(dependency.handler)
            if isinstance(module, _OutputOp) or (shrinks and not dependency.target.outputs):
                raise CompactionError(
                    f"the units of gate {name!r} are outputs of the model, which would change "
                    "shape; gate hidden layers only"
                )
            if isinstance(module, _CONVOLUTIONS) and module.groups > 1:
                if not _is_depthwise(module):
                    raise CompactionError(
                        f"gate {name!r} is coupled to the grouped convolution {layer} with "
                        f"{module.groups} groups; only depthwise ones can be compacted"
                    )
            elif not isinstance(module, (*_CONSUMERS, *_CHANNELWISE)) and any(
                True for _ in module.parameters()
            ):
                raise CompactionError(
                    f"gate {name!r} is coupled to {layer}, which cannot be compacted exactly; "
                    f"supported are linear, convolution, batch-norm and PReLU layers"
                )

    def _check_downstream(self, name: str) -> None:
        """Between the gate and what reads its units, nothing may turn zeros into something else."""
        seen = set()
        waiting = list(self.graph.module2node[self.gates[name]].outputs)
        while waiting:
            node = waiting.pop()
            module = node.module
            if node in seen or isinstance(module, InputGate):
                continue
            seen.add(node)
            shifts = isinstance(module, _NORMALISATIONS) or (
                _is_depthwise(module) and module.bias is not None
            )
            if shifts:
                raise CompactionError(
                    f"gate {name!r} stands before {node._name!r} ({type(module).__name__}), which "
                    "shifts the zeros of closed units; put the gate after it"
                )
            if not isinstance(module, _CONSUMERS) or _is_depthwise(module):
                waiting.extend(node.outputs)


def _check_masks(gates: Mapping[str, BernoulliGate], dead: Mapping[str, Tensor]) -> None:
    for name, mask in dead.items():
        if name not in gates:
            raise CompactionError(f"no gate is called {name!r}; the gates are {sorted(gates)}")
        if mask.dtype != torch.bool or mask.shape != gates[name].theta.shape:
            raise CompactionError(
                f"the mask of gate {name!r} is {mask.dtype} of shape {tuple(mask.shape)}; bool of "
                f"shape ({gates[name].num_units},) was expected"
            )
        if bool(mask.all()):
            raise CompactionError(
                f"gate {name!r} would lose its last unit, and the network its function; keep at "
                "least one unit, or lower log_gamma or the step on theta"
            )


def _check_silence(
    model: nn.Module,
    gates: Mapping[str, BernoulliGate],
    removals: list[_Removal],
    example_inputs: Tensor,
) -> None:
    """With the dead gates closed, the channels about to go must carry exact zeros."""
    modules = dict(model.named_modules())
    closed = {name: torch.ones_like(gate.theta.detach()) for name, gate in gates.items()}
    for removal in removals:
        closed[removal.gate][removal.units] = 0.0

    def watch(gate: str, layer: str, channels: list[int]) -> RemovableHandle:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if bool(inputs[0][:, channels].any()):
                raise CompactionError(
                    f"closed units of gate {gate!r} do not silence what {layer!r} reads, so "
                    "removing them would change the network; put the gate after the "
                    "normalisation and activation, and gate every branch of a residual addition"
                )

        return modules[layer].register_forward_pre_hook(hook)

    with ExitStack() as stack, torch.no_grad(), evaluating(model):
        for name, gate in gates.items():
            stack.enter_context(gate.hold(closed[name].unsqueeze(0)))
        for removal in removals:
            for layer, channels in removal.consumers():
                stack.callback(watch(removal.gate, layer, channels).remove)
        model(example_inputs)


def _replace_in_optimizer_(
    optimizer: torch.optim.Optimizer, replaced: Mapping[Tensor, tuple[nn.Parameter, Tensor]]
) -> None:
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            sliceable = isinstance(value, Tensor) and value.shape in (parameter.shape, ())
            if not (sliceable or isinstance(value, (int, float, type(None)))):
                raise CompactionError(
                    f"the state {key!r} of {type(optimizer).__name__} cannot be sliced with a "
                    f"parameter of shape {tuple(parameter.shape)}; use an optimizer whose state is "
                    "elementwise (SGD, Adam, AdamW)"
                )
    states: dict[Tensor, dict[str, object]] = {
        new: {
            key: _gather(value, numbers)
            if isinstance(value, Tensor) and value.shape == old.shape
            else value
            for key, value in optimizer.state[old].items()
        }
        for old, (new, numbers) in replaced.items()
        if old in optimizer.state
    }
    for old in replaced:
        optimizer.state.pop(old, None)
    optimizer.state.update(states)
    for group in optimizer.param_groups:
        group["params"] = [replaced[p][0] if p in replaced else p for p in group["params"]]


def _is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, _CONVOLUTIONS) and (
        module.groups == module.in_channels == module.out_channels > 1
    )


def _numbers(tensor: Tensor) -> Tensor:
    return torch.arange(tensor.numel(), device=tensor.device).view(tensor.shape)


def _gather(tensor: Tensor, numbers: Tensor) -> Tensor:
    """The numbered entries, in the memory layout of the tensor: fused optimizers rely on it.

    Convolutions take theirs from the strides, even where one input channel makes two layouts alike.
    """
    entries = tensor.reshape(-1)[numbers.to(tensor.device)]
    if tensor.dim() == 4:
        channels_last = torch.empty_like(tensor, device="meta", memory_format=torch.channels_last)
        if tensor.stride() == channels_last.stride():
            return torch.empty_like(entries, memory_format=torch.channels_last).copy_(entries)
    return entries
