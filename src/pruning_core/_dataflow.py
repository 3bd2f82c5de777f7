"""What a model computes from what: its torch functions, recorded while it runs on examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from pruning_core.gates import BernoulliGate

# fmt: off
ELEMENTWISE = frozenset({
    "abs", "bfloat16", "celu", "clamp", "clone", "contiguous", "detach", "double", "dropout",
    "dropout1d", "dropout2d", "dropout3d", "elu", "feature_dropout", "float", "gelu", "half",
    "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish", "neg",
    "pow", "prelu", "relu", "relu6", "rrelu", "selu", "sigmoid", "sign", "silu", "sin", "softplus",
    "softshrink", "softsign", "sqrt", "square", "tanh", "tanhshrink", "threshold", "to", "type",
    "type_as",
})
# fmt: on
"""Functions whose output has at every place what they make of the first input there."""


@dataclass(eq=False)
class Value:
    """A tensor between two functions; one that is changed in place is another afterwards."""

    shape: tuple[int, ...]
    device: torch.device
    source: Operation | None = None
    readers: list[Operation] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    """Modules that returned it, the innermost first."""
    is_output: bool = False


@dataclass(eq=False)
class Operation:
    """A call of a torch function, or of a :class:`BernoulliGate` (its name is "gate")."""

    name: str
    module: str
    """The innermost module that was running."""
    args: tuple[Any, ...]
    """Of the call, with a :class:`Value` for every tensor."""
    kwargs: dict[str, Any]
    outputs: list[Value]
    keeps_zeros: bool = False
    """Whether an elementwise function makes zeros of zeros."""

    @property
    def inputs(self) -> list[Value]:
        leaves = tree_leaves((self.args, self.kwargs))
        return [leaf for leaf in leaves if isinstance(leaf, Value)]

    def argument(self, position: int, name: str, default: object = None) -> Any:
        """One argument of the call, however it was passed."""
        if position < len(self.args):
            return self.args[position]
        return self.kwargs.get(name, default)


class Dataflow(TorchFunctionMode):
    """Runs a model once; afterwards ``operations`` are in the order of their calls.

    Args:
        model: is called in the mode it is in; gates count as one operation each.
        call: calls it, and returns its outputs.
    """

    def __init__(self, model: nn.Module, call: Callable[[], object]) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.calls: Counter[str] = Counter()
        self._values: dict[int, Value] = {}
        self._alive: list[Tensor] = []  # an id is a name only as long as its tensor lives
        self._running = [""]
        self._gated: list[tuple[Value, ...]] = []  # the inputs of gates that run
        names = {module: name for name, module in model.named_modules()}
        handles = [
            handle
            for module in names
            for handle in (
                module.register_forward_pre_hook(
                    lambda module, inputs: self._enter(module, inputs, names[module])
                ),
                module.register_forward_hook(lambda module, _, output: self._leave(module, output)),
            )
        ]
        try:
            # With gradients, or modules that have faster ways without would not be entered.
            with torch.enable_grad(), self:
                outputs = call()
        finally:
            for handle in handles:
                handle.remove()
        for tensor in _tensors(outputs):
            self._value(tensor).is_output = True
        self._alive.clear()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        tensors = _tensors((args, kwargs))
        versions = [tensor._version for tensor in tensors]
        values, keywords = tree_map_only(Tensor, self._value, (args, kwargs))
        name = _name(func)
        keeps_zeros = name in ELEMENTWISE and _keeps_zeros(func, args, kwargs)
        result = func(*args, **kwargs)
        unchanged = {
            id(tensor)
            for tensor, version in zip(tensors, versions, strict=True)
            if tensor._version == version
        }
        new = [tensor for tensor in _tensors(result) if id(tensor) not in unchanged]
        if new and not self._gated:
            module = self._running[-1]
            self._record(Operation(name, module, values, keywords, [], keeps_zeros), new)
        return result

    def _record(self, operation: Operation, results: list[Tensor]) -> None:
        for value in dict.fromkeys(operation.inputs):
            value.readers.append(operation)
        for tensor in results:
            self._values.pop(id(tensor), None)
            value = self._value(tensor)
            value.source = operation
            operation.outputs.append(value)
        self.operations.append(operation)

    def _value(self, tensor: Tensor) -> Value:
        if id(tensor) not in self._values:
            self._alive.append(tensor)
            self._values[id(tensor)] = Value(tuple(tensor.shape), tensor.device)
        return self._values[id(tensor)]

    def _enter(self, module: nn.Module, inputs: object, name: str) -> None:
        self.calls[name] += 1
        self._running.append(name)
        if isinstance(module, BernoulliGate):
            self._gated.append(tuple(self._value(tensor) for tensor in _tensors(inputs)))

    def _leave(self, module: nn.Module, output: object) -> None:
        name = self._running.pop()
        if isinstance(module, BernoulliGate):
            gate = Operation("gate", name, self._gated.pop(), {}, [])
            self._record(gate, _tensors(output))
        elif isinstance(output, Tensor):
            self._value(output).modules.append(name)


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _name(func: Callable[..., Any]) -> str:
    """Its name, one for a function, its method, its operator and its in-place form."""
    name: str = getattr(func, "__name__", type(func).__name__)
    if name == "__get__":  # an attribute, x.T
        return getattr(getattr(func, "__self__", None), "__name__", name)
    name = name.strip("_")
    operators = {"iadd": "add", "radd": "add", "imul": "mul", "rmul": "mul", "isub": "sub"}
    return operators.get(name, name)


def _keeps_zeros(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if not args or not isinstance(args[0], Tensor):
        return False
    return not bool(func(torch.zeros_like(args[0]), *args[1:], **kwargs).any())
