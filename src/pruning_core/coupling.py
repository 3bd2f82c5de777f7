"""What leaves a network together with a unit: layer by layer, which entries along which axis.

Torch-Pruning's dependency graph tells which channels are coupled; here that becomes a
:class:`~pruning_core.removal.Removal`, plain positions by name and axis, after what the structure
of the network alone can show has been checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.utils import _pytree as pytree
from torch_pruning.dependency.node import Node
from torch_pruning.ops import _OutputOp

from pruning_core._channels import (
    CONVOLUTIONS,
    NORMALISATIONS,
    READERS,
    GateChannels,
    InputGateChannels,
    channel_axes,
    channel_counts,
    is_depthwise,
)
from pruning_core.gates import BernoulliGate, InputGate, any_gates
from pruning_core.inputs import Inputs
from pruning_core.removal import CompactionError, Removal, check_masks, not_silent, said
from pruning_core.silence import is_silent

FEATURES = "selected"
"""The tensor of an input gate that counts the features of its input."""

_KNOWN = (*READERS, *NORMALISATIONS, nn.PReLU, nn.Embedding, BernoulliGate)


@dataclass(frozen=True)
class Coupled:
    """Entries along an axis of a tensor, each coupled with a unit of a gate.

    The features of an input gate, by their numbers in its input, stand as its ``selected``.
    """

    gate: str
    units: Tensor
    layer: str
    tensor: str
    axis: int
    positions: Tensor


class Coupling:
    """The channels of a model that its gates' units are coupled with.

    Args:
        model: traced as it is called with the inputs, and put into evaluation mode by that.
        inputs: a few examples.

    Raises:
        CompactionError: if the model cannot be traced.
    """

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        self.model = model
        # A section's gate is a product as others are, and its section leaves in another way.
        gates = any_gates(model)
        self.gates = {name: gate for name, gate in gates.items() if not gate.may_close}
        self.names = {module: name for name, module in model.named_modules()}
        self.graph = tp.DependencyGraph()
        try:
            with torch.enable_grad():
                build = cast("Callable[..., object]", self.graph.build_dependency)
                build(
                    model,
                    inputs.map(_with_gradient),
                    forward_fn=_differentiable_outputs,
                    ignored_layers=[gate for gate in gates.values() if gate.may_close],
                    customized_pruners={
                        type(gate): InputGateChannels()
                        if isinstance(gate, InputGate)
                        else GateChannels()
                        for gate in self.gates.values()
                    },
                    verbose=False,
                )
        except Exception as error:
            raise CompactionError(
                f"{type(model).__name__} cannot be traced with the example inputs "
                f"({said(error)}); pass example_inputs it can be called with, and leave gates out "
                "of what Torch-Pruning cannot read"
            ) from error

    def removal(self, dead: Mapping[str, Tensor]) -> Removal:
        """What can go now. A unit whose channel another gate keeps open has to stay.

        Args:
            dead: by name of the gate, which of its units are closed; bool, shape (n,).

        Raises:
            CompactionError: naming the gate and the layer, where units cannot leave exactly.
        """
        dead = {name: mask.cpu() for name, mask in dead.items()}
        for name in list(dead):
            self._starve_features(name, dead)
        check_masks(self.gates, dead)
        removal = Removal()
        for name in dead:
            units = self._not_shared(name, dead)
            if units:
                group = self._group(name, units)
                self._check_layers(name, group)
                self._check_readers(name, group, removal)
                removal.units[name] = units
                self._add(name, group, removal)
        self._check_ties(removal)
        return removal

    def coupled(self) -> list[Coupled]:
        """The entries that would leave with each unit of each gate; whether they can is not asked.

        Raises:
            CompactionError: naming a gate that the model does not call.
        """
        return [
            Coupled(
                name, torch.tensor(item.root_idxs), layer, tensor, axis, torch.tensor(item.idxs)
            )
            for name, gate in self.gates.items()
            for item in self._group(name, list(range(gate.num_units)))
            for layer, tensor, axis in self._tensors(item.dep)
        ]

    def _tensors(self, dependency: tp.Dependency) -> Iterator[tuple[str, str, int]]:
        """Layer, tensor and axis of all that the channels of a dependency are entries of."""
        module, layer = dependency.target.module, dependency.target._name
        if isinstance(module, nn.Parameter):
            path, _, key = self.graph._param_to_name[module].rpartition(".")
            yield path, key, dependency.target.pruning_dim
        elif isinstance(module, InputGate) and self._reads(dependency):
            yield layer, FEATURES, 0
        elif isinstance(module, _KNOWN) and not isinstance(module, BernoulliGate):
            for key, axis in channel_axes(module, self._reads(dependency)).items():
                if isinstance(getattr(module, key, None), Tensor):
                    yield layer, key, axis

    def _group(self, name: str, units: list[int]) -> tp.Group:
        gate = self.gates[name]
        if gate not in self.graph.module2node:
            raise CompactionError(
                f"gate {name!r} is not reached when the model is called with the example inputs, "
                "or under torch.no_grad(); call the model through it, or leave the gate out"
            )
        prune = self.graph.CUSTOMIZED_PRUNERS[type(gate)].prune_out_channels
        try:
            return self.graph.get_pruning_group(gate, prune, units)
        except Exception as error:
            raise CompactionError(
                f"what is coupled to gate {name!r} cannot be found ({said(error)}); put the gate "
                "where no channels are split, shuffled or folded into other dimensions behind it"
            ) from error

    def _starve_features(self, name: str, dead: dict[str, Tensor]) -> None:
        """Add to ``dead`` the features of input gates that closed filters would have fed."""
        units = dead[name].nonzero().flatten().tolist()
        if not units or isinstance(self.gates[name], InputGate):
            return
        for dependency, features in self._group(name, units):
            gate = dependency.target.module
            if isinstance(gate, InputGate) and self._reads(dependency):
                starved = torch.isin(gate.selected.cpu(), torch.tensor(list(features)))
                key = self.names[gate]
                dead[key] = dead.get(key, torch.zeros_like(starved)) | starved

    def _not_shared(self, name: str, dead: Mapping[str, Tensor]) -> list[int]:
        """Dead units of the gate whose channel no other gate keeps alive."""
        units = dead[name].nonzero().flatten().tolist()
        kept_by_others: set[int] = set()
        for item in self._group(name, units) if units else ():
            gate = item.dep.target.module
            if gate is self.gates[name] and item.idxs != item.root_idxs:
                raise CompactionError(
                    f"units of gate {name!r} are coupled with others of its own, by a chunk, a "
                    "slice or a shuffle behind it; put a gate on each part"
                )
            if isinstance(gate, BernoulliGate) and not isinstance(gate, InputGate):
                partner = dead.get(self.names[gate])
                kept_by_others.update(
                    unit
                    for channel, unit in zip(item.idxs, item.root_idxs, strict=True)
                    if partner is None or channel >= len(partner) or not bool(partner[channel])
                )
        return [unit for unit in units if unit not in kept_by_others]

    def _check_layers(self, name: str, group: tp.Group) -> None:
        for dependency, channels in group:
            module = dependency.target.module
            layer = f"{dependency.target._name!r} ({type(module).__name__})"
            writes = self.graph.is_out_channel_pruning_fn(dependency.handler)
            if isinstance(module, _OutputOp) or (writes and not dependency.target.outputs):
                raise CompactionError(
                    f"the units of gate {name!r} are outputs of the model, which would change "
                    "shape; gate hidden layers only"
                )
            if isinstance(module, nn.Parameter):
                continue
            if isinstance(module, (*CONVOLUTIONS, _ConvTransposeNd)) and module.groups > 1:
                if not is_depthwise(module):
                    raise CompactionError(
                        f"gate {name!r} is coupled to the grouped convolution {layer} with "
                        f"{module.groups} groups; only depthwise ones can be compacted"
                    )
            elif not isinstance(module, _KNOWN) and any(True for _ in module.parameters()):
                raise CompactionError(
                    f"gate {name!r} is coupled to {layer}, which cannot be compacted exactly; "
                    "supported are linear, convolution, embedding, batch-norm, instance-norm and "
                    "PReLU layers"
                )
            tensors = channel_axes(module, not writes)
            computed = [key for key in tensors if key not in module._parameters]
            if any(key in ("weight", "bias") and hasattr(module, key) for key in computed):
                raise CompactionError(
                    f"gate {name!r} is coupled to {layer}, whose weight is computed from others "
                    "(weight_norm, spectral_norm, a mask); make it permanent first, by "
                    "remove_parametrizations or make_permanent_"
                )
            if channels and isinstance(module, _KNOWN):
                self._check_range(name, layer, module, not writes, channels)

    def _check_range(
        self, name: str, layer: str, module: nn.Module, reads: bool, channels: list[int]
    ) -> None:
        for key, axis in channel_axes(module, reads).items():
            tensor = getattr(module, key, None)
            if isinstance(tensor, Tensor) and max(channels) >= tensor.shape[axis]:
                raise CompactionError(
                    f"gate {name!r} is coupled to {layer} in a way that cannot be followed "
                    f"(channel {max(channels)} of {tensor.shape[axis]}): channels are split, "
                    "padded or averaged in between; put the gate elsewhere"
                )

    def _check_readers(self, name: str, group: tp.Group, removal: Removal) -> None:
        """Every way to what reads the units leads through a gate, and keeps its zeros."""
        inside = {dependency.target for dependency, _ in group}
        silent: dict[Node, bool] = {}
        for dependency, channels in group:
            module = dependency.target.module
            if not (isinstance(module, READERS) and self._reads(dependency)):
                continue
            reader = dependency.target._name
            removal.readers.append((name, reader, list(channels)))
            before = [node for node in dependency.target.inputs if node in inside]
            if not all(is_silent(name, node, inside, silent) for node in before):
                raise not_silent(name, reader)

    def _add(self, name: str, group: tp.Group, removal: Removal) -> None:
        for dependency, channels in group:
            for layer, tensor, axis in self._tensors(dependency):
                if tensor == FEATURES:
                    removal.features.setdefault(layer, set()).update(channels)
                else:
                    entries = removal.entries.setdefault((layer, tensor), {})
                    entries.setdefault(axis, set()).update(channels)
            module, layer = dependency.target.module, dependency.target._name
            if isinstance(module, _KNOWN) and not isinstance(module, BernoulliGate):
                reads = self._reads(dependency)
                left = removal.entries.get((layer, "weight"), {})
                for attribute, axis in channel_counts(module, reads).items():
                    gone = left[axis] if axis in left else set(channels)
                    removal.sizes.setdefault(layer, {})[attribute] = getattr(
                        module, attribute
                    ) - len(gone)

    def _check_ties(self, removal: Removal) -> None:
        """A tensor that several layers use must lose the same entries in all of them."""
        uses: dict[Tensor, list[tuple[str, str]]] = {}
        for path, module in self.model.named_modules():
            for key, parameter in module._parameters.items():
                if parameter is not None:
                    uses.setdefault(parameter, []).append((path, key))
        for places in uses.values():
            first = removal.entries.get(places[0], {})
            for place in places[1:]:
                if removal.entries.get(place, {}) != first:
                    here, there = (".".join(filter(None, p)) for p in (places[0], place))
                    raise CompactionError(
                        f"{here!r} and {there!r} are one tensor, but would lose different entries; "
                        "close the same units on both sides, or untie them"
                    )

    def _reads(self, dependency: tp.Dependency) -> bool:
        handler = dependency.handler
        if isinstance(dependency.target.module, InputGate):
            return handler.__name__ == "prune_in_channels"
        return self.graph.is_in_channel_pruning_fn(
            handler
        ) and not self.graph.is_out_channel_pruning_fn(handler)


def _with_gradient(tensor: Tensor) -> Tensor:
    copied = tensor.detach().clone()
    return copied.requires_grad_() if copied.is_floating_point() else copied


def _differentiable_outputs(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    leaves = pytree.tree_leaves(inputs.call(model))
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.grad_fn is not None]
