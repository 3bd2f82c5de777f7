"""The end product: an ordinary module without gates, and its two files on disk."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor, fx, nn

from pruning_core.checkpoints import ModelFileError, layer_sizes, resize_
from pruning_core.files import write_atomically
from pruning_core.gates import BernoulliGate, InputGate, any_gates
from pruning_core.models import build_model

WEIGHTS_FILE = "model.safetensors"
DESCRIPTION_FILE = "model.json"


def export(model: nn.Module) -> nn.Module:
    """A copy of the model without gates, made of torch's own modules where the model is.

    Hidden gates become ``nn.Identity``; an :class:`InputGate` becomes a traced module that picks
    the surviving features. A unit that is closed but had to stay, because its channel is shared
    with a residual branch, is multiplied by 0. Module names stay as they were.

    Raises:
        ValueError: naming the gate, if a θ lies between 0 and 1: end the Bernoulli phase with
            :meth:`BernoulliPruner.settle_` first.
    """
    return remove_gates_(copy.deepcopy(model))


def remove_gates_(model: nn.Module) -> nn.Module:
    """As :func:`export`, in place: the parameters stay those that the optimizer holds."""
    gates = any_gates(model)
    for name, gate in gates.items():
        unsettled = int(((gate.theta > 0) & (gate.theta < 1)).sum())
        if unsettled:
            raise ValueError(
                f"gate {name!r} has {unsettled} units with θ between 0 and 1; settle them with "
                "pruner.settle_(optimizer) first"
            )
    for name, gate in gates.items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, _without_theta(gate))
    return model


def save_model(
    model: nn.Module, directory: str | Path, *, name: str | None = None, **options: Any
) -> None:
    """Write ``model.safetensors`` and ``model.json``, each complete or not at all.

    Args:
        model: as :func:`export` returns it.
        directory: an existing folder.
        name: of a model in :data:`pruning_core.models.MODELS`, so that :func:`load_model` can
            build it; None for a model of your own.
        options: with which that model was built.
    """
    directory = Path(directory)
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    write_atomically(directory / WEIGHTS_FILE, dump_tensors(tensors))
    description = {"model": name, "options": options, "sizes": layer_sizes(model)}
    write_atomically(directory / DESCRIPTION_FILE, json.dumps(description, indent=2).encode())


def load_model(directory: str | Path, model: nn.Module | None = None) -> nn.Module:
    """The network saved by :func:`save_model`, in evaluation mode, on the CPU.

    Args:
        directory: holds the two files.
        model: for a model of your own, a fresh instance as it was before pruning, gates included.

    Raises:
        ModelFileError: if a file is missing or damaged, or the model is not the one saved.
    """
    directory = Path(directory)
    try:
        description = json.loads((directory / DESCRIPTION_FILE).read_text(encoding="utf-8"))
        tensors = load_tensors((directory / WEIGHTS_FILE).read_bytes())
        if model is None:
            if description["model"] is None:
                raise ModelFileError(
                    f"{directory} holds a model of your own; pass a fresh instance of it as model"
                )
            model = build_model(description["model"], **description["options"])
        plain = settled_like(model, tensors)
        resize_(plain, tensors, description["sizes"])
        plain.load_state_dict(tensors)
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
        TypeError,
        AttributeError,
        RuntimeError,
        SafetensorError,
    ) as error:
        reason = " ".join(str(error).split())
        raise ModelFileError(
            f"{directory}: damaged model files ({reason}); train or copy them again"
        ) from error
    return plain.eval()


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
        outputs = graph.call_method("transpose", (outputs, 1, -1))
        outputs = graph.call_function(torch.mul, (outputs, graph.get_attr("mask")))
        outputs = graph.call_method("transpose", (outputs, 1, -1))
    if outputs is inputs:
        return nn.Identity()
    graph.output(outputs)
    return fx.GraphModule(root, graph, "SettledGate")


def settled_like(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The unpruned model without gates, with a mask where the saved one has a mask."""
    settled = copy.deepcopy(model)
    for name, gate in any_gates(settled).items():
        gate.theta.data.fill_(0.0 if f"{name}.mask" in tensors else 1.0)
    return remove_gates_(settled)
