"""Stopping and resuming: a fresh model takes the shapes of one whose units have partly left."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as dump_tensors
from torch import Tensor, nn

from pruning_core.files import write_atomically
from pruning_core.gates import BernoulliGate
from pruning_core.layers import inside_sections, layer_gates, leave_, leaving_tensors
from pruning_core.optimizer_states import drop_

_KEY = "pruning_core.checkpoint"


class ModelFileError(ValueError):
    """A saved model that cannot be read: the file, what was expected and what to do."""


@runtime_checkable
class Stateful(Protocol):
    """Optimizers, pruners, schedulers, ``GradScaler``, an averaged model."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Any) -> Any: ...


def save_checkpoint(path: str | Path, model: nn.Module, *others: Stateful, **notes: object) -> None:
    """Write all that training needs to go on as if it had not stopped: one file, or none.

    It is a safetensors file with its numbers as JSON in the metadata; nothing is pickled. The
    random generators of PyTorch (CPU and CUDA), NumPy and Python are in it::

        save_checkpoint("run.safetensors", model, optimizer, pruner, schedule, epoch=epoch)
        ...
        model = build()                          # as it was before training, gates included
        optimizer, pruner, schedule = ...        # made anew, of this model
        epoch = load_checkpoint("run.safetensors", model, optimizer, pruner, schedule)["epoch"]

    Args:
        path: of the file, in an existing folder.
        model: its units may have left in part.
        others: whatever else has a ``state_dict``.
        notes: numbers, text and tensors of your own, and lists and dicts of these.

    Raises:
        ValueError: naming what in a state is neither number, text nor tensor.
    """
    tensors: dict[str, Tensor] = {}
    parts = []
    for number, part in enumerate((model, *others)):
        name = f"{number}.{type(part).__name__}"
        parts.append(
            {
                "type": type(part).__name__,
                "sizes": layer_sizes(part) if isinstance(part, nn.Module) else {},
                "state": _encode(part.state_dict(), name, tensors),
            }
        )
    content = {
        "parts": parts,
        "random": _encode(_random_state(), "random", tensors),
        "notes": _encode(notes, "notes", tensors),
    }
    try:
        data = dump_tensors(tensors, {_KEY: json.dumps(content)})
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"a tensor cannot be saved: {_line(error)}") from error
    write_atomically(Path(path), data)


def load_checkpoint(path: str | Path, model: nn.Module, *others: Stateful) -> dict[str, Any]:
    """Put a fresh model, and what trains it, where :func:`save_checkpoint` was called.

    Parameters and θ shrink in place, so that what was made of the fresh model stays valid. Each
    keeps its device and memory format.

    Args:
        path: of the file.
        model: built as the saved one was before any unit left, gates included.
        others: made of this model, in the order in which they were saved.

    Returns:
        The notes that were saved.

    Raises:
        ModelFileError: if the file is missing, damaged or another kind, or holds other things
            than are given. Unless a state turns out not to fit only when it is loaded, nothing
            has changed then.
    """
    content, tensors = _read(Path(path))
    given = (model, *others)
    try:
        parts, states = content["parts"], []
        saved, named = [part["type"] for part in parts], [type(part).__name__ for part in given]
        if saved != named:
            raise ModelFileError(
                f"{path} holds {', '.join(map(str, saved))}; given were {', '.join(named)}"
            )
        states = [_decode(part["state"], tensors) for part in parts]
        random_state = _decode(content["random"], tensors)
        notes: dict[str, Any] = _decode(content["notes"], tensors)
        modules = [
            (part, state)
            for part, state in zip(given, states, strict=True)
            if isinstance(part, nn.Module)
        ]
        left = set[Tensor]().union(
            *(leaving_tensors(part, left_sections(part, state)) for part, state in modules)
        )
        for part, state in zip(given, states, strict=True):
            _check_fits(part, state, left)
        drop_([part for part in given if isinstance(part, torch.optim.Optimizer)], left)
        for part, state, description in zip(given, states, parts, strict=True):
            if isinstance(part, nn.Module):
                resize_(part, state, description["sizes"])
            part.load_state_dict(state)
        _set_random_state(random_state)
    except ModelFileError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ModelFileError(
            f"{path}: not a checkpoint of this model, or damaged ({_line(error)})"
        ) from error
    return notes


def layer_sizes(model: nn.Module) -> dict[str, dict[str, int]]:
    """The integer attributes of every layer with parameters, such as ``in_features``."""
    return {
        name: {
            key: value
            for key, value in vars(module).items()
            if isinstance(value, int) and not isinstance(value, bool)
        }
        for name, module in model.named_modules()
        if module._parameters or isinstance(module, BernoulliGate)
    }


def resize_(
    model: nn.Module, tensors: Mapping[str, Tensor], sizes: Mapping[str, Mapping[str, int]]
) -> None:
    """Give every layer the shapes of ``tensors`` and the attributes of ``sizes``, in place.

    Units have left, so nothing can have grown; that is seen before memory is taken. Sections of
    which there are no tensors leave.

    Raises:
        ModelFileError: naming what differs, if the tensors are not this model's, or the sizes do
            not belong to them.
    """
    left = left_sections(model, tensors)
    _check_names(model, tensors, left)
    leave_(model, left)
    own = layer_sizes(model)
    for path, attributes in sizes.items():
        for key, value in attributes.items():
            known = own.get(path, {}).get(key)
            shrunk = type(value) is int and known is not None and 0 < value <= known
            if not shrunk and (value != known or type(value) is not int):
                raise ModelFileError(
                    f"the saved {path}.{key} is {value!r}; "
                    f"{'no such size' if known is None else f'at most {known}'} was expected"
                )
    for key, tensor in tensors.items():
        path, _, name = key.rpartition(".")
        module = model.get_submodule(path)
        current = getattr(module, name)
        if current.shape == tensor.shape:
            continue
        grown = any(new > old for new, old in zip(tensor.shape, current.shape, strict=False))
        if tensor.dim() != current.dim() or grown or not tensor.numel():
            raise ModelFileError(
                f"the saved {key} has the shape {tuple(tensor.shape)}; "
                f"{tuple(current.shape)} or smaller was expected"
            )
        if isinstance(module, BernoulliGate):
            module.keep_(torch.arange(len(tensor)))
        elif name in module._parameters:
            current.grad = None
            current.data = _empty_like(current, tensor.shape)
        else:
            empty = _empty_like(current, tensor.shape)
            module._buffers[name] = empty.requires_grad_(current.requires_grad)
    for path, attributes in sizes.items():
        module = model.get_submodule(path)
        for key, value in attributes.items():
            setattr(module, key, value)
    for path, module in model.named_modules():
        for key, expected in _expected_shapes(module).items():
            tensor = module._parameters.get(key, module._buffers.get(key))
            if tensor is not None and tuple(tensor.shape) != expected:
                raise ModelFileError(
                    f"the saved {path}.{key} has the shape {tuple(tensor.shape)}, but the layer's "
                    f"sizes ask for {expected}"
                )


def _check_names(model: nn.Module, tensors: Iterable[str], left: Collection[str]) -> None:
    """Raises ModelFileError unless the tensors are those of the model without some sections."""
    own = set(model.state_dict())
    gates = tuple(f"{name}.gate." if name else "gate." for name in left)
    expected = own - inside_sections(model, own, left)
    expected -= {key for key in own if key.startswith(gates)}
    if expected != set(tensors):
        raise ModelFileError(
            "the saved model is another one: missing "
            f"{sorted(expected - set(tensors))}, unexpected {sorted(set(tensors) - expected)}"
        )


def left_sections(model: nn.Module, tensors: Iterable[str]) -> list[str]:
    """Names of the layer gates of which there are no tensors; without those inside of another.

    Args:
        model: as it was before a section left.
        tensors: names of those that were saved.
    """
    tensors = list(tensors)
    left = [name for name in layer_gates(model) if not inside_sections(model, tensors, [name])]
    inside = inside_sections(model, left, left)
    return [name for name in left if name not in inside]


def _expected_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """What the sizes of a layer say of its tensors; nothing for kinds that are not known here."""
    if isinstance(module, nn.Linear):
        outputs = module.out_features
        return {"weight": (outputs, module.in_features), "bias": (outputs,)}
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        outputs, inputs = module.out_channels, module.in_channels // module.groups
        return {"weight": (outputs, inputs, *module.kernel_size), "bias": (outputs,)}
    if isinstance(module, nn.modules.batchnorm._NormBase):
        names = ("weight", "bias", "running_mean", "running_var")
        return dict.fromkeys(names, (module.num_features,))
    return {}


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            content = (file.metadata() or {}).get(_KEY, "null")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        content = json.loads(content)
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror or _line(error)}") from error
    except (SafetensorError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: damaged, or not a checkpoint ({_line(error)})") from error
    if not isinstance(content, dict):
        raise ModelFileError(f"{path}: not a file of save_checkpoint")
    return content, tensors


def _check_fits(part: Stateful, state: dict[str, Any], left: Collection[Tensor]) -> None:
    """What would go wrong halfway, seen before; some tensors will have left then."""
    if isinstance(part, nn.Module):
        _check_names(part, state, left_sections(part, state))
        for key, own in part.state_dict().items():
            saved = state.get(key)
            if not (isinstance(own, Tensor) and isinstance(saved, Tensor)):
                continue
            grown = any(new > old for new, old in zip(saved.shape, own.shape, strict=False))
            if saved.dtype != own.dtype or saved.dim() != own.dim() or grown:
                raise ModelFileError(
                    f"the saved {key} is {saved.dtype} of shape {tuple(saved.shape)}; {own.dtype} "
                    f"of shape {tuple(own.shape)} or smaller was expected"
                )
    elif isinstance(part, torch.optim.Optimizer):
        there = [len(group["params"]) for group in state["param_groups"]]
        here = [sum(p not in left for p in group["params"]) for group in part.param_groups]
        if there != here:
            raise ModelFileError(
                f"the saved {type(part).__name__} has groups of {there} parameters, this one {here}"
            )


def _encode(value: object, name: str, tensors: dict[str, Tensor]) -> Any:
    """As JSON, where tensors are named and what JSON does not know is tagged."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Tensor) and value.layout is torch.strided:
        while name in tensors:  # of "a.b" and of "b" in "a"
            name += "_"
        # A copy, because safetensors refuses tensors that share memory, as tied weights do.
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        # The file knows no memory formats, and fused optimizers rely on theirs.
        strides = torch.empty_like(value, device="meta").stride()
        return {"tensor": [name, list(strides)]}
    if isinstance(value, (list, tuple)):
        listed = [_encode(item, f"{name}.{number}", tensors) for number, item in enumerate(value)]
        return listed if isinstance(value, list) else {"tuple": listed}
    if isinstance(value, Mapping):
        items = [
            [_encode(key, name, tensors), _encode(item, f"{name}.{key}", tensors)]
            for key, item in value.items()
        ]
        return {"counter" if isinstance(value, Counter) else "dict": items}
    kind = f"tensor of {value.layout}" if isinstance(value, Tensor) else type(value).__name__
    raise ValueError(
        f"{name} is a {kind}; only numbers, text and tensors can be saved, and "
        "lists, tuples and dicts of these"
    )


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        name, strides = content
        saved = tensors[name]
        if (
            sum((n - 1) * step for n, step in zip(saved.shape, strides, strict=True))
            > saved.numel()
        ):
            raise ValueError(f"strides {strides} of {name} with shape {tuple(saved.shape)}")
        return torch.empty_strided(saved.shape, strides, dtype=saved.dtype).copy_(saved)
    if kind == "tuple":
        return tuple(_decode(content, tensors))
    pairs = {_decode(key, tensors): _decode(item, tensors) for key, item in content}
    return {"dict": dict, "counter": Counter}[kind](pairs)


def _random_state() -> dict[str, object]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": (kind, np.asarray(keys).tolist(), *rest),
        "python": random.getstate(),
    }


def _set_random_state(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    for device, each in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(each, device)
    np.random.set_state(state["numpy"])  # noqa: NPY002
    random.setstate(state["python"])


def _empty_like(tensor: Tensor, shape: torch.Size) -> Tensor:
    """In another shape, on the same device and in the same memory format."""
    empty = torch.empty(shape, dtype=tensor.dtype, device=tensor.device)
    if tensor.dim() == 4:
        like = torch.empty_like(tensor, device="meta", memory_format=torch.channels_last)
        if tensor.stride() == like.stride():
            return empty.to(memory_format=torch.channels_last)
    return empty


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
