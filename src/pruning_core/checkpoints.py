"""Stopping and resuming, in one file without pickle: model, optimizers, pruner, random numbers."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as dump_tensors
from torch import Tensor, nn

from pruning_core.files import write_atomically
from pruning_core.layers import leaving_tensors
from pruning_core.optimizer_states import drop_
from pruning_core.resizing import ModelFileError, check_names, layer_sizes, left_sections, resize_

_KEY = "pruning_core.checkpoint"


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
        check_names(part, state, left_sections(part, state))
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


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
