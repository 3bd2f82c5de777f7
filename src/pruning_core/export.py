"""The end product: an ordinary module without gates, and its two files on disk."""

from __future__ import annotations

import copy
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor, fx, nn
from torch.nn.utils import prune

from pruning_core.files import read_regular, write_atomically
from pruning_core.gates import BernoulliGate, InputGate, any_gates, unwrapped
from pruning_core.insertion import Gated
from pruning_core.layers import LayerGate, leave_, residual
from pruning_core.merging import merge_linear_
from pruning_core.models import IMAGE_SHAPE, MODELS, build_model
from pruning_core.resizing import ModelFileError, layer_sizes, left_sections, resize_

WEIGHTS_FILE = "model.safetensors"
DESCRIPTION_FILE = "model.json"
_MOST_BYTES = 1_000_000  # of a description: room for ten thousand layers
_MOST_UNITS = 1_000_000  # of a network in MODELS before pruning, in all layers together


def export(model: nn.Module) -> nn.Module:
    """A copy of the model without gates, made of torch's own modules where the model is.

    Where :func:`pruning_core.insert_gates_` has put gates, modules and parameters have the names
    again that they had before. A gate placed by hand becomes ``nn.Identity``; an
    :class:`InputGate` becomes a traced module that picks the surviving features. A unit that is
    closed but had to stay, because its channel is shared with a residual branch, is multiplied
    by 0: only there the names of an inserted gate remain. A model that is compiled, or wrapped in
    (Distributed)DataParallel, is unwrapped.

    A :class:`LayerGate` whose section is there becomes a traced module that adds it to its path,
    with the names of before. Where the section has left, or is closed, the path remains; an
    identity disappears from an ``nn.Sequential``. If a section has left, linear maps that now
    follow each other are merged where that makes nothing larger, see
    :func:`pruning_core.merging.merge_linear_`.

    The copy has parameters of its own: to fine-tune it, make a new optimizer. To go on with the
    optimizer there is, take the gates out of the model itself by :func:`remove_gates_`.

    Raises:
        ValueError: naming the gate, if a θ lies between 0 and 1: end the Bernoulli phase with
            :meth:`BernoulliPruner.settle_` first; naming the layers, if weights have masks.
    """
    model = unwrapped(model)
    masked = sorted(name for name, m in model.named_modules() if _has_mask(m))
    if masked:
        raise ValueError(
            f"{len(masked)} layers have masks of torch.nn.utils.prune ({masked[0]!r} is the "
            "first); write their zeros into the weights with make_permanent_(model) first"
        )
    plain = copy.deepcopy(model)
    has_left = _is_shallower(plain)
    plain = remove_gates_(plain)
    if has_left:
        merge_linear_(plain)
    return plain


def remove_gates_(model: nn.Module) -> nn.Module:
    """As :func:`export`, in place: the parameters stay those that the optimizer holds.

    For their sake nothing is merged.

    Returns:
        The model, without its wrapping of compilation or data parallelism.
    """
    model = unwrapped(model)
    for name, gate in model.named_modules():
        if isinstance(gate, BernoulliGate):
            unsettled = int(((gate.theta > 0) & (gate.theta < 1)).sum())
            if unsettled:
                raise ValueError(
                    f"gate {name!r} has {unsettled} units with θ between 0 and 1; settle them "
                    "with pruner.settle_(optimizer) first"
                )
    settled: dict[nn.Module, nn.Module] = {}
    modules = list(model.modules())
    plain = _settled(model, settled)
    for parent in modules:
        for name, child in list(parent._modules.items()):
            if not isinstance(child, _GATED):
                continue
            instead = _settled(child, settled)
            nothing = isinstance(child, LayerGate) and type(instead) is nn.Identity
            if nothing and type(parent) is nn.Sequential:
                del parent._modules[name]
            else:
                setattr(parent, name, instead)
    return plain


def save_model(
    model: nn.Module, directory: str | Path, *, name: str | None = None, **options: Any
) -> None:
    """Write ``model.safetensors`` and ``model.json``, each complete or not at all.

    A weight that several layers share is written for each; what :func:`load_model` returns shares
    it again, as the instance it was given does.

    Args:
        model: as :func:`export` returns it.
        directory: an existing folder.
        name: of a model in :data:`pruning_core.models.MODELS`, so that :func:`load_model` can
            build it; None for a model of your own.
        options: with which that model was built.
    """
    directory = Path(directory)
    # Copies, because safetensors refuses tensors that share memory, as tied weights do.
    tensors = {
        key: value.detach().to("cpu", copy=True).contiguous()
        for key, value in model.state_dict().items()
    }
    write_atomically(directory / WEIGHTS_FILE, dump_tensors(tensors))
    description = {"model": name, "options": options, "sizes": layer_sizes(model)}
    write_atomically(directory / DESCRIPTION_FILE, json.dumps(description, indent=2).encode())


def load_model(directory: str | Path, model: nn.Module | None = None) -> nn.Module:
    """The network saved by :func:`save_model`, in evaluation mode, on the CPU.

    The files may be a stranger's: nothing in them is executed, sizes are checked before memory is
    taken, and a model of :data:`pruning_core.models.MODELS` has read an image when it is returned.

    Args:
        directory: holds the two files.
        model: for a model of your own, a fresh instance as it was before pruning, gates included.

    Raises:
        ModelFileError: if a file is missing or damaged, the layers in them do not fit together,
            or the model is not the one saved.
    """
    directory = Path(directory)
    try:
        description = json.loads(read_regular(directory / DESCRIPTION_FILE, _MOST_BYTES))
        tensors = load_tensors(read_regular(directory / WEIGHTS_FILE))
        if model is not None:
            plain = settled_like(model, tensors)
            resize_(plain, tensors, description["sizes"])
        elif description["model"] is not None:
            plain = settled_like(_named(description, len(tensors)), tensors)
            resize_(plain, tensors, description["sizes"])
            plain.to_empty(device="cpu")
        else:
            raise ModelFileError(
                f"{directory} holds a model of your own; pass a fresh instance of it as model"
            )
        plain.load_state_dict(tensors)
        plain.eval()
        if model is None:
            classes = description["options"].get("num_classes", 10)
            with torch.no_grad():
                shape = tuple(plain(torch.zeros(1, *IMAGE_SHAPE)).shape)
            if shape != (1, classes):
                raise ValueError(f"an image has outputs of shape {shape}, not (1, {classes})")
    except OSError as error:
        raise ModelFileError(
            f"{error.filename}: {error.strerror}; {WEIGHTS_FILE} and {DESCRIPTION_FILE} were "
            "expected there, as save_model or 'pruning-core train' writes them"
        ) from error
    except ModelFileError:
        raise
    except (
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        RuntimeError,
        MemoryError,
        RecursionError,
        SafetensorError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelFileError(
            f"{directory}: damaged model files ({reason}); train or copy them again"
        ) from error
    return plain


def _defaults(build: Callable[..., nn.Module]) -> dict[str, Any]:
    """Of a function's parameters, all of which have one.

    From the function itself: tools for documentation put signatures of their own in front of it.
    """
    code = build.__code__
    positional = code.co_varnames[: code.co_argcount]
    return dict(zip(positional, build.__defaults__ or (), strict=True)) | (
        build.__kwdefaults__ or {}
    )


def _named(description: Mapping[str, Any], most_layers: int) -> nn.Module:
    """The model of a description as it was before pruning; its layers take no memory yet.

    Raises:
        ValueError: if no such model exists, or it would be larger than any that is meant.
    """
    name, options = description["model"], dict(description["options"])
    if not isinstance(name, str) or name not in MODELS:
        raise ValueError(f"unknown model {name!r}; expected one of {', '.join(MODELS)}")
    known = _defaults(MODELS[name].build)
    units = 0
    for option, value in options.items():
        if option not in known:
            raise ValueError(f"unknown option {option!r}; expected one of {', '.join(known)}")
        expected = type(known[option])
        sizes = value if expected is tuple else [value] if expected is int else []
        if not isinstance(value, list if expected is tuple else expected):
            raise TypeError(f"option {option} is {value!r:.50}; not as {name} takes it")
        if any(type(size) is not int or size < 1 for size in sizes) or len(sizes) > most_layers:
            raise ValueError(f"option {option} is {value!r:.50}; sizes of layers were expected")
        units += sum(sizes)
    if units > _MOST_UNITS:
        raise ValueError(f"{units} units; at most {_MOST_UNITS} were expected")
    with torch.device("meta"):
        model = build_model(name, **options)
    for module in model.modules():
        if isinstance(module, BernoulliGate):
            module.to_empty(device="cpu")
    return model


def _has_mask(module: nn.Module) -> bool:
    hooks = module._forward_pre_hooks.values()
    return any(isinstance(hook, prune.BasePruningMethod) for hook in hooks)


_GATED = (BernoulliGate, Gated, LayerGate)
"""What something plain takes the place of."""


def _is_shallower(model: nn.Module) -> bool:
    """Whether some section has left, or is closed."""
    return any(isinstance(m, LayerGate) and not _is_there(m) for m in model.modules())


def _is_there(layer: LayerGate) -> bool:
    return layer.gate is not None and bool(layer.gate.is_open().all())


def _settled(module: nn.Module, known: dict[nn.Module, nn.Module]) -> nn.Module:
    """What stands in place of a gate or of a gated module; one for all its names."""
    if module in known:
        return known[module]
    if isinstance(module, LayerGate):
        path = _settled(module.path, known)
        # So that its parameters keep their names.
        named = nn.Sequential(OrderedDict(path=path)).train(module.training)
        known[module] = path if type(path) is nn.Identity else named
        if module.section is not None and _is_there(module):
            known[module] = residual(_settled(module.section, known), path).train(module.training)
    elif isinstance(module, BernoulliGate):
        known[module] = _without_theta(module)
    elif isinstance(module, Gated):
        inner, gate = _settled(module.module, known), _settled(module.gate, known)
        plain = isinstance(gate, nn.Identity)
        both = OrderedDict(module=inner, gate=gate)
        known[module] = inner if plain else nn.Sequential(both).train(module.training)
    else:
        return module
    return known[module]


def _without_theta(gate: BernoulliGate) -> nn.Module:
    """What a settled gate does, as a module of torch's own making."""
    graph = fx.Graph()
    inputs = graph.placeholder("inputs")
    root = nn.Module()
    outputs = inputs
    if isinstance(gate, InputGate):
        root.register_buffer("index", gate.selected.clone())
        outputs = graph.call_function(torch.index_select, (outputs, 1, graph.get_attr("index")))
    if not bool(gate.is_open().all()):
        root.register_buffer("mask", gate.is_open().to(gate.theta))
        outputs = graph.call_method("transpose", (outputs, gate.dim, -1))
        outputs = graph.call_function(torch.mul, (outputs, graph.get_attr("mask")))
        outputs = graph.call_method("transpose", (outputs, gate.dim, -1))
    if outputs is inputs:
        return nn.Identity()
    graph.output(outputs)
    return fx.GraphModule(root, graph, "SettledGate")


def settled_like(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The unpruned model without gates, with a mask where the saved one has a mask.

    Sections of which there are no tensors have left, and layers of which there are none are merged
    with the next.
    """
    settled = copy.deepcopy(model)
    leave_(settled, left_sections(settled, tensors))
    for name, gate in any_gates(settled).items():
        gate.theta.data.fill_(0.0 if f"{name}.mask" in tensors else 1.0)
    has_left = _is_shallower(settled)
    settled = remove_gates_(settled)
    if has_left:
        merge_linear_(settled, lambda name, *_: f"{name}.weight" not in tensors)
    return settled
