"""The small network beside the masked one, before anything real changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from pruning_core.gates import any_gates
from pruning_core.inputs import Inputs
from pruning_core.removal import CompactionError, Removal, not_silent, said

_EXAMPLES = 8
"""Of random inputs, in addition to those of the user."""

_TOLERANCE = {torch.float64: 1e-7, torch.float32: 2e-3}
"""Of outputs, relative to the largest; a matrix product is not exact on every device."""

_LOW_PRECISION_TOLERANCE = 5e-2


_Call = tuple[int, bool]
"""Which of the inputs, and whether in training mode."""


class Rehearsal:
    """What a copy of the model computes with its units closed, to be compared with it small.

    Everything random is the same in both: the seeds, and dropout passes all. The running
    statistics of batch norms take nothing in.

    Args:
        model: the copy; its units are closed, not removed.
        real: the model that must not change.
        removal: what will go.
        inputs: a few examples.

    Raises:
        CompactionError: if a layer would hear the closed units, or the copy runs the real model.
    """

    def __init__(self, model: nn.Module, real: nn.Module, removal: Removal, inputs: Inputs) -> None:
        self.model, self.real, self.removal = model, real, removal
        named = real.named_modules(remove_duplicate=False)
        self.modes = {name: module.training for name, module in named}
        self.calls: dict[_Call, Inputs] = {
            (number, training): given
            for number, given in enumerate((inputs, _random(inputs)))
            for training in (False, True)
        }
        self.closed: dict[str, Tensor] = {}
        for name, gate in any_gates(model).items():
            self.closed[name] = torch.ones_like(gate.theta.detach())
            self.closed[name][removal.units.get(name, [])] = 0.0
            if name in removal.sections:
                self.closed[name].zero_()
        with self._listening_readers():
            self.masked = self._run(model, self.closed, self.calls)
        if all(isinstance(found, Exception) for found in self.masked.values()):
            raise CompactionError(
                f"{type(model).__name__} does not run on the example inputs "
                f"({said(self.masked[0, False])}); pass example_inputs it can be called with"
            )

    def compare(self) -> None:
        """Run the copy again, small now.

        Raises:
            CompactionError: naming the gates and, if it can be told, the layer that differs.
        """
        opened = {n: torch.ones_like(g.theta.detach()) for n, g in any_gates(self.model).items()}
        small = self._run(self.model, opened, self.calls)
        closed, advice = self._described()
        for call, expected in self.masked.items():
            found, mode = small[call], "training" if call[1] else "evaluation"
            if isinstance(expected, Exception):
                continue  # neither does the masked network run in this mode
            if isinstance(found, Exception):
                raise CompactionError(
                    f"without the {closed} the network does not run in {mode} mode "
                    f"({said(found)}); {advice[0]}"
                ) from found
            difference = expected.difference(found)
            if difference is not None and not self._rounds(call, opened):
                raise CompactionError(
                    f"without the {closed} the network computes something else in {mode} mode "
                    f"({difference}); {advice[1]}"
                )

    def _described(self) -> tuple[str, tuple[str, str]]:
        """What is closed, and the remedies: if it does not run, or computes something else."""
        sections, units = self.removal.sections, self.removal.units
        if sections:
            alone = "let nothing but its LayerGate call, read or count a section"
            return f"closed section of gate {', '.join(map(repr, sections))}", (alone, alone)
        return f"closed units of gate {', '.join(map(repr, units))}", (
            "sizes that are written down in the model have to be taken from its tensors, as "
            "x.flatten(1) does",
            "put the gate where nothing mixes its channels before the next layer reads them",
        )

    def _rounds(self, call: _Call, opened: Mapping[str, Tensor]) -> bool:
        """Whether the two differ by rounding alone, and are alike in float64.

        A batch norm over two values that are nearly equal makes much of the last bit.
        """
        calls = {call: self.calls[call].map(lambda t: t.double() if _is_number(t) else t)}
        pair = (copied(self.real), self.closed), (copied(self.model), opened)
        masked, small = (self._run(m.double(), held, calls)[call] for m, held in pair)
        if isinstance(masked, Exception) or isinstance(small, Exception):
            return False
        return masked.difference(small) is None

    def _run(
        self, model: nn.Module, held: Mapping[str, Tensor], calls: Mapping[_Call, Inputs]
    ) -> dict[_Call, _Outputs | Exception]:
        found: dict[_Call, _Outputs | Exception] = {}
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(_still_statistics(model))
            for name, gate in any_gates(model).items():
                stack.enter_context(gate.hold(held[name].unsqueeze(0)))
            for (number, training), inputs in calls.items():
                for name, module in model.named_modules():
                    module.training = self.modes[name] if training else False
                if training and not any(self.modes.values()):
                    model.train()
                torch.manual_seed(number)
                found[number, training] = _Outputs.of(model, inputs)
        return found

    @contextmanager
    def _listening_readers(self) -> Iterator[None]:
        """Closed units must arrive at the layers that read them as exact zeros."""
        modules = dict(self.model.named_modules())
        handles = []
        for gate, layer, channels in self.removal.readers:

            def hook(
                module: nn.Module,
                args: tuple[Any, ...],
                kwargs: dict[str, Any],
                gate: str = gate,
                layer: str = layer,
                channels: list[int] = channels,
            ) -> None:
                inputs = args[0] if args else next(iter(kwargs.values()))
                axis = -1 if isinstance(module, nn.Linear) else 1
                if bool(inputs.index_select(axis, _index(channels, inputs)).any()):
                    raise not_silent(gate, layer)

            handles.append(modules[layer].register_forward_pre_hook(hook, with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class _Outputs:
    """The outputs of one call, and a number for the output of every layer on the way."""

    def __init__(self, outputs: list[Tensor], layers: list[tuple[str, tuple[int, ...], Tensor]]):
        self.outputs, self.layers = outputs, layers

    @classmethod
    def of(cls, model: nn.Module, inputs: Inputs) -> _Outputs | Exception:
        """Those of a call; or its exception, which names the layer it happened in."""
        names = {module: name for name, module in model.named_modules()}
        entered: list[str] = []
        layers: list[tuple[str, tuple[int, ...], Tensor]] = []

        def enter(module: nn.Module, args: object) -> None:
            entered.append(names.get(module, ""))

        def leave(module: nn.Module, args: object, output: object) -> None:
            entered.pop()
            if isinstance(output, Tensor) and _is_number(output) and not module._modules:
                size = torch.linalg.vector_norm(output)
                layers.append((names.get(module, ""), tuple(output.shape), size))

        handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
        try:
            with _WithoutDropout():
                leaves = pytree.tree_leaves(inputs.call(model))
        except CompactionError:
            raise
        except Exception as error:
            if entered and entered[-1]:
                error.add_note(entered[-1])
            return error
        finally:
            for handle in handles:
                handle.remove()
        outputs = [leaf for leaf in leaves if isinstance(leaf, Tensor) and _is_number(leaf)]
        return cls(outputs, layers)

    def difference(self, other: _Outputs) -> str | None:
        """In words, with the first layer at which it shows; None if there is none."""
        shapes = [tuple(o.shape) for o in self.outputs], [tuple(o.shape) for o in other.outputs]
        if shapes[0] != shapes[1]:
            return f"its outputs have the shapes {shapes[1]}, not {shapes[0]}"
        apart = [_relative(a, b) for a, b in zip(self.outputs, other.outputs, strict=True)]
        if all(error <= _tolerance(o) for error, o in zip(apart, self.outputs, strict=True)):
            return None
        text = f"its outputs differ by {max(apart):.1e} of their size"
        for (name, shape, value), found in zip(self.layers, other.layers, strict=False):
            if (name, shape) == found[:2] and _relative(value, found[2]) > _tolerance(value):
                return f"{text}, first behind {name!r}"
        return text


class _WithoutDropout(TorchFunctionMode):
    """Dropout draws for every channel, so that fewer channels would mean other draws."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name.rstrip("_123d") in ("dropout", "feature_dropout"):
            return args[0] if args else kwargs["input"]
        if name == "scaled_dot_product_attention":
            args, kwargs = (*args[:4], 0.0, *args[5:]) if len(args) > 4 else args, kwargs
            kwargs.pop("dropout_p", None)
        return func(*args, **kwargs)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Inside, copies of the model run: the random numbers, and the model itself, stay as they are.

    Raises:
        CompactionError: if calling a copy has changed the model.
    """
    devices = sorted({p.get_device() for p in model.parameters() if p.is_cuda})
    versions = {key: tensor._version for key, tensor in _tensors(model).items()}
    before = {key: value.detach().clone() for key, value in model.named_buffers()}
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        changed = [key for key, t in _tensors(model).items() if t._version != versions[key]]
        if changed:
            with torch.no_grad():
                for key, value in model.named_buffers():
                    value.copy_(before[key])
            raise CompactionError(
                f"a copy of {type(model).__name__} runs the model itself ({changed[0]!r} changed): "
                "its forward holds on to the model it was made for; define forward in the class"
            )


@contextmanager
def _still_statistics(model: nn.Module) -> Iterator[None]:
    """Running averages take nothing in."""
    momenta = {
        module: module.momentum
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._NormBase)
    }
    for module in momenta:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, momentum in momenta.items():
            module.momentum = momentum


def copied(model: nn.Module) -> nn.Module:
    """A copy that computes what the model does.

    Raises:
        CompactionError: naming what cannot be copied.
    """
    with _detached_attributes(model):
        try:
            return copy.deepcopy(model)
        except Exception as error:
            raise CompactionError(
                f"{type(model).__name__} cannot be copied, which is needed to try the removal "
                f"first ({said(error)}); keep locks, loaders and trainers outside of the model"
            ) from error


@contextmanager
def _detached_attributes(model: nn.Module) -> Iterator[None]:
    """Tensors that modules keep from a pass, or recompute in each, are no obstacle to a copy."""
    kept: list[tuple[nn.Module, str, Tensor]] = []
    for module in model.modules():
        for key, value in list(vars(module).items()):
            if isinstance(value, Tensor) and value.grad_fn is not None:
                kept.append((module, key, value))
                vars(module)[key] = value.detach()
    try:
        yield
    finally:
        for module, key, value in kept:
            vars(module)[key] = value


def _random(inputs: Inputs) -> Inputs:
    """Inputs of the same kinds and shapes, spread wide: no channel stays silent by chance."""
    generator = torch.Generator().manual_seed(0)

    def draw(tensor: Tensor) -> Tensor:
        if tensor.dtype == torch.bool or tensor.numel() == 0:
            return tensor
        if not _is_number(tensor):
            low, high = int(tensor.min()), int(tensor.max())
            drawn = torch.randint(low, high + 1, tensor.shape, generator=generator)
            return drawn.to(tensor)
        scale = 3 * float(tensor.detach().abs().max()) or 3.0
        return (scale * torch.randn(tensor.shape, generator=generator)).to(tensor)

    return inputs.first(_EXAMPLES).map(draw)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _is_number(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _index(channels: list[int], like: Tensor) -> Tensor:
    return torch.tensor(channels, device=like.device)


def _tolerance(tensor: Tensor) -> float:
    return _TOLERANCE.get(tensor.dtype, _LOW_PRECISION_TOLERANCE)


def _relative(expected: Tensor, found: Tensor) -> float:
    """The largest difference over the largest value; none where both are alike, be it nan."""
    if expected.numel() == 0:
        return 0.0
    same = torch.isclose(expected, found, rtol=0, atol=0, equal_nan=True)
    apart = (expected - found).abs().masked_fill(same, 0.0)
    size = expected.abs().masked_fill(~expected.isfinite(), 0.0).max()
    return float((apart / size.clamp_min(torch.finfo(size.dtype).tiny)).max().nan_to_num(torch.inf))
