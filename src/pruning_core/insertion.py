"""Gates into a model as it is: where a gate is exact, found by watching the model run."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from pruning_core._dataflow import Dataflow, Operation
from pruning_core._silence import (
    LAYERS,
    NotSilentError,
    channelwise_chain,
    follow,
    groups,
    is_depthwise,
    weight_uses,
)
from pruning_core.compaction import compact_
from pruning_core.gates import BernoulliGate, named_gates
from pruning_core.inputs import Inputs
from pruning_core.pathwise import Pathwise
from pruning_core.removal import CompactionError

_CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


class Gated(nn.Module):
    """A module and the gate behind it; :func:`pruning_core.export` takes it away again.

    Whatever else the model asks of it (``fc1.weight``, ``conv.out_channels``), the module answers.
    """

    def __init__(self, module: nn.Module, gate: BernoulliGate) -> None:
        super().__init__()
        self.module = module
        self.gate = gate
        self.train(module.training)
        # In evaluation, nn.TransformerEncoderLayer computes past its modules, and so past their
        # gates, unless one of them has a hook.
        self.register_forward_hook(_no_shortcuts)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.gate(self.module(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "module" not in self.__dict__.get("_modules", ()):
                raise
            return getattr(self.module, name)


@dataclass(frozen=True)
class Place:
    """Where a gate stands: its name, the layer whose units it multiplies, how many, and where."""

    gate: str
    layer: str
    units: int
    dim: int


@dataclass(frozen=True)
class _Spot:
    """A place before the gate is there: the module to stand behind."""

    module: str
    layer: str
    units: int
    dim: int


@dataclass(frozen=True)
class Gates:
    """What :func:`insert_gates_` did; ``print`` shows it as a table.

    Attributes:
        places: the gates, in the order in which the model calls them.
        left: why the other layers have none, by their names.
    """

    places: tuple[Place, ...]
    left: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Place]:
        return iter(self.places)

    def __str__(self) -> str:
        rows = [("gate", "layer", "units", "dim")]
        rows += [(p.gate, p.layer, f"{p.units:,}", str(p.dim)) for p in self.places]
        wide = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            f"{gate:<{wide[0]}}  {layer:<{wide[1]}}  {units:>{wide[2]}}  {dim:>{wide[3]}}"
            for gate, layer, units, dim in rows
        ]
        if self.left:
            wide[0] = max(len(name) for name in ("no gate", *self.left))
            lines += ["", f"{'no gate':<{wide[0]}}  reason"]
            lines += [f"{name:<{wide[0]}}  {reason}" for name, reason in self.left.items()]
        return "\n".join(lines)


def insert_gates_(
    model: nn.Module,
    example_inputs: Inputs | Tensor | tuple[Any, ...] | Mapping[str, Any],
    *,
    ignore: Sequence[str] = (),
    only: Sequence[str] | None = None,
    theta: float = 0.9,
    estimator: Pathwise | None = None,
) -> Gates:
    """Put a gate behind every layer whose units can leave exactly, in place.

    The model's source stays as it is: a module, the layer's norm or activation say, is replaced
    by a :class:`Gated` one that holds it. Parameters remain the same objects, under longer names;
    load pretrained weights first. :func:`pruning_core.export` gives the plain names back.

    A gate stands behind the layer's norm, activation and depthwise filters, as far as they are
    modules that are called once; where the activation is a function, before it. Whatever its
    closed units feed has to be zero up to the next layers. So there is none behind the layers that
    give the model's outputs; none behind those that write into a residual stream, where a channel
    could leave only together with that of every other branch; none on attention heads, nor before
    layer or group norms. In residual networks and transformers it is the insides of the blocks
    that shrink. A trial on a copy then removes half of all units by :func:`compact_`; gates that
    it refuses are not inserted.

    Args:
        model: runs on ``example_inputs`` in training and in evaluation mode.
        example_inputs: a few examples: a tensor, a tuple of positional arguments, a dict of
            keywords, or :class:`Inputs`.
        ignore: layers that get no gate. A name stands for all layers inside of it as well, and
            may have the wildcards of Python's ``fnmatch``: ``"features"``, ``"layer4.*.conv1"``.
        only: layers that may get one, named alike; all by default.
        theta: initial probability of every unit, in [0, 1].
        estimator: given to every gate; :class:`pruning_core.IntegratedGates` by default.

    Returns:
        The gates, and the reason for each layer that was left without.

    Raises:
        ValueError: if a pattern matches no layer, if the model does not run, or if no layer can
            have a gate.
    """
    if hasattr(model, "_orig_mod") or isinstance(
        model, (nn.DataParallel, nn.parallel.DistributedDataParallel)
    ):
        raise ValueError(
            f"the model is wrapped ({type(model).__name__}); insert the gates into the plain model "
            "first, and wrap it afterwards"
        )
    layers = {n: m for n, m in model.named_modules() if isinstance(m, (nn.Linear, *_CONVOLUTIONS))}
    for pattern in (*ignore, *(only or ())):
        if not any(_matches(name, pattern) for name in layers):
            raise ValueError(f"{pattern!r} matches no linear or convolution layer of the model")
    wanted = [
        name
        for name in layers
        if (only is None or any(_matches(name, pattern) for pattern in only))
        and not any(_matches(name, pattern) for pattern in ignore)
    ]
    inputs = Inputs.of(example_inputs)
    with _same_random_numbers():
        try:
            twin = copy.deepcopy(model)
            flows = [_watched(twin.train(mode), inputs) for mode in (False, True)]
        except Exception as error:
            raise ValueError(
                f"{type(model).__name__} cannot be copied and run on the example inputs: "
                f"{' '.join(str(error).split())}"
            ) from error
        spots, left = _find(wanted, flows)
        spots, refused = _try(twin, spots, inputs)
    left |= refused
    if not spots:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(left.items())[:3])
        raise ValueError(f"no layer of {type(model).__name__} can have a gate ({reasons} …)")
    places = _insert_(model, spots, theta, estimator)
    return Gates(tuple(places), {name: left[name] for name in layers if name in left})


def _watched(model: nn.Module, inputs: Inputs) -> Dataflow:
    return Dataflow(model, lambda: inputs.call(model))


def _find(wanted: Sequence[str], flows: Sequence[Dataflow]) -> tuple[list[_Spot], dict[str, str]]:
    """Places that hold in both modes, in the order of the calls, and why there are no others."""
    sources: list[dict[str, Operation]] = [
        {op.module: op for op in flow.operations if op.name in LAYERS} for flow in flows
    ]
    spots: list[_Spot] = []
    left = {name: _uncalled(name, flows, sources) for name in wanted}
    multiplied: list[dict[Operation, str]] = [{} for _ in flows]
    for name in sources[0]:
        if left.get(name) != "":
            continue
        found = []
        try:
            for flow, layers, taken in zip(flows, sources, multiplied, strict=True):
                found.append(_modules(layers[name], flow, taken))
        except NotSilentError as reason:
            left[name] = str(reason)
            continue
        common = [module for module in found[0] if module in found[1]]
        if not common:
            left[name] = "no module to stand behind is the same in training and evaluation"
            continue
        dim, _ = found[0][common[0]]
        for taken, modules in zip(multiplied, found, strict=True):
            taken.update(dict.fromkeys(modules[common[0]][1], name))
        units = sources[0][name].outputs[0].shape[_dim(sources[0][name])]
        spots.append(_Spot(common[0], name, units, dim))
    return spots, {name: reason for name, reason in left.items() if reason}


def _uncalled(
    name: str, flows: Sequence[Dataflow], sources: Sequence[Mapping[str, Operation]]
) -> str:
    """Why the layer can have no gate, whatever comes behind it; empty if it may have one."""
    calls = [flow.calls[name] for flow in flows]
    if calls == [0, 0]:
        return "never called as a module (attention's own, say)"
    if 0 in calls:
        return f"called in {'training' if calls[1] else 'evaluation'} only"
    if max(calls) > 1:
        return f"called {max(calls)} times"
    if any(name not in layers for layers in sources):
        return "not computed by its own weights"
    operation = sources[0][name]
    if (uses := weight_uses(operation)) > 1:
        return f"its weight is used {uses} times"
    if groups(operation) > 1:
        if is_depthwise(operation):
            return "depthwise: its filters leave with the units they read"
        return f"a convolution in {groups(operation)} groups"
    if _dim(operation) == 0 or (operation.name != "linear" and len(operation.inputs[0].shape) < 3):
        return "its output has no batch dimension"
    if operation.outputs[0].shape[_dim(operation)] == 1:
        return "a single unit"
    return ""


def _modules(
    layer: Operation, flow: Dataflow, multiplied: Mapping[Operation, str]
) -> dict[str, tuple[int, set[Operation]]]:
    """Modules behind which a gate is exact, the best first: dimension, and products on the way."""
    dim = _dim(layer)
    chain = channelwise_chain(layer.outputs[0], dim)
    last = max(position for position, (_, belongs) in enumerate(chain) if belongs)
    values = [value for value, _ in chain]
    found: dict[str, tuple[int, set[Operation]]] = {}
    reason = None
    for value in [*values[last:], *reversed(values[:last])]:
        module = next((name for name in value.modules if flow.calls[name] == 1 and name), None)
        if module is None:
            continue
        try:
            products = follow(value, dim, flow.operations)
            for product in products & multiplied.keys():
                raise NotSilentError(f"multiplied by the gated units of {multiplied[product]!r}")
        except NotSilentError as error:
            reason = reason or error
            continue
        found[module] = (1 if dim == 1 else -1, products)
    if not found:
        raise reason or NotSilentError("no module of its own to stand behind")
    return found


def _dim(layer: Operation) -> int:
    return len(layer.outputs[0].shape) - 1 if layer.name == "linear" else 1


def _try(twin: nn.Module, spots: list[_Spot], inputs: Inputs) -> tuple[list[_Spot], dict[str, str]]:
    """Remove half of the units from a copy; the spots at which that works."""
    refused: dict[str, str] = {}
    while spots:
        trial = copy.deepcopy(twin)
        places = _insert_(trial, spots, 1.0, None)
        dead = {place.gate: torch.arange(place.units) % 2 == 1 for place in places}
        try:
            compact_(trial, dead, inputs)
        except CompactionError as error:
            message = str(error)
            reasons = {p.layer: message for p in places if repr(p.gate) in message}
            if not reasons:
                raise ValueError(f"the model cannot be compacted: {message}") from error
        else:
            gates = named_gates(trial)
            reasons = {
                place.layer: "its units stay with those of other layers"
                for place in places
                if gates[place.gate].num_units != int((~dead[place.gate]).sum())
            }
            if not reasons:
                break
        refused |= reasons
        spots = [spot for spot in spots if spot.layer not in reasons]
    return spots, refused


def _insert_(
    model: nn.Module, spots: Sequence[_Spot], theta: float, estimator: Pathwise | None
) -> list[Place]:
    gates = []
    modules = {spot: model.get_submodule(spot.module) for spot in spots}
    for spot, module in modules.items():
        weight = next(model.get_submodule(spot.layer).parameters())
        gate = BernoulliGate(spot.units, theta=theta, estimator=estimator, dim=spot.dim)
        gates.append(gate.to(weight.device))
        gated = Gated(module, gate)
        for parent in list(model.modules()):
            for name, child in parent._modules.items():
                if child is module and parent is not gated:
                    setattr(parent, name, gated)
    names = {gate: name for name, gate in named_gates(model).items()}
    return [
        Place(names[gate], spot.layer, spot.units, spot.dim)
        for spot, gate in zip(spots, gates, strict=True)
    ]


def _matches(name: str, pattern: str) -> bool:
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[: n + 1]), pattern) for n in range(len(parts)))


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """What is drawn inside leaves the generators as they were."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        yield


def _no_shortcuts(module: nn.Module, inputs: Any, output: Any) -> None:
    """A hook that does nothing."""
