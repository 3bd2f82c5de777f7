"""Where closed units stay silent: what a layer's units feed, followed from function to function."""

from __future__ import annotations

from math import prod
from typing import Any

from pruning_core._dataflow import ELEMENTWISE, Operation, Value

CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d"})
_TRANSPOSED = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})
LAYERS = frozenset({"linear", *CONVOLUTIONS, *_TRANSPOSED})
"""Functions that mix what they read, and give units of their own."""

_NORMS = frozenset({"batch_norm", "instance_norm"})
_POOLS = frozenset(
    f"{kind}_{what}{dims}d"
    for kind in ("max", "avg", "adaptive_max", "adaptive_avg", "lp")
    for what in ("pool",)
    for dims in (1, 2, 3)
) | {"interpolate", "upsample", "upsample_nearest", "upsample_bilinear"}
_RESHAPES = frozenset(
    {"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "ravel", "contiguous"}
)
_PRODUCTS = frozenset({"mul", "multiply"})
_REDUCTIONS = frozenset({"mean", "sum", "amax"})
_CALLED = {
    "batch_norm": "a batch norm",
    "instance_norm": "an instance norm",
    "layer_norm": "a layer norm",
    "rms_norm": "an RMS norm",
    "group_norm": "a group norm",
    "scaled_dot_product_attention": "attention",
    "multi_head_attention_forward": "attention",
    "local_response_norm": "a norm across channels",
}


class NotSilentError(Exception):
    """Why closed units would not stay silent, or could not leave; in a few words."""


def follow(start: Value, dim: int, operations: list[Operation]) -> set[Operation]:
    """Follow units up to the layers that read them, where nothing but zeros may arrive.

    Args:
        start: where the gate would stand.
        dim: dimension of the units there.
        operations: of the whole model, in the order of their calls.

    Returns:
        The products with other values, which the closed units turn into zeros.

    Raises:
        NotSilentError: if the closed units would not stay silent.
    """
    carried = {start: dim}
    loud: dict[Value, NotSilentError] = {}
    products = set()
    if start.is_output:
        raise NotSilentError("output of the model")
    for operation in operations:
        silent = any(value in carried for value in operation.inputs)
        noise = next((loud[value] for value in operation.inputs if value in loud), None)
        elementwise = operation.name in ELEMENTWISE
        if silent and elementwise and not operation.keeps_zeros:
            # Not yet the end: in x · sigmoid(x), the other factor is silent.
            loud[operation.outputs[0]] = NotSilentError(f"shifted by {operation.name}")
        elif noise is not None and elementwise:
            loud[operation.outputs[0]] = noise
        elif noise is not None and not (silent and operation.name in _PRODUCTS):
            raise noise
        elif silent:
            carried |= _through(operation, carried)
            if operation.name in _PRODUCTS:
                products.add(operation)
    if any(value.is_output for value in (*carried, *loud)):
        raise NotSilentError("output of the model")
    if any(not value.readers for value in (*carried, *loud)):
        raise NotSilentError("read by nothing that can be seen")
    return products


def channelwise_chain(start: Value, dim: int) -> list[tuple[Value, bool]]:
    """The values behind a layer up to the first branch or function across its units.

    Returns:
        From ``start`` on, each with whether a norm, an activation or a filter made it, which
        belong before a gate, and not a dropout.
    """
    chain = [(start, True)]
    value = start
    while len(value.readers) == 1:
        operation = value.readers[0]
        elementwise = operation.name in ELEMENTWISE
        norm = operation.name in _NORMS and dim == 1
        if operation.inputs[0] is not value or not (
            elementwise or norm or (is_depthwise(operation) and dim == 1)
        ):
            break
        value = operation.outputs[0]
        chain.append((value, "dropout" not in operation.name))
    return chain


def groups(operation: Operation) -> int:
    """Of a convolution; 1 for a linear layer."""
    return 1 if operation.name == "linear" else operation.argument(6, "groups", 1)


def is_depthwise(operation: Operation) -> bool:
    """A convolution with one filter for every channel that it reads."""
    if operation.name not in CONVOLUTIONS or groups(operation) == 1:
        return False
    inputs, outputs = operation.inputs[0].shape, operation.outputs[0].shape
    return groups(operation) == inputs[1] == outputs[1]


def weight_uses(operation: Operation) -> int:
    """How many operations read the weight of a layer."""
    weight = operation.argument(1, "weight")
    return len(weight.readers)


def _through(operation: Operation, carried: dict[Value, int]) -> dict[Value, int]:
    """Where the units are in what the operation gives; nowhere, if it is a layer that reads them.

    Raises:
        NotSilentError: if it gives something else than zeros for closed units.
    """
    name = operation.name
    first, output = operation.inputs[0], operation.outputs[0]
    reads_first = [value in carried for value in operation.inputs] == [
        value is first for value in operation.inputs
    ]
    if name == "gate":
        raise NotSilentError(f"has the gate {operation.module!r} already")
    if name in _PRODUCTS or (name in ("div", "truediv") and reads_first):
        value = next(value for value in operation.inputs if value in carried)
        return {output: carried[value] + len(output.shape) - len(value.shape)}
    if name in ("add", "sub"):
        return {output: _added(operation, carried)}
    if name in ("cat", "concat", "concatenate"):
        return {output: _concatenated(operation, carried)}
    if not reads_first:
        raise NotSilentError(f"read by {_CALLED.get(name, name)}")
    dim = carried[first]
    if name in LAYERS:
        return _layer(operation, dim)
    if name in ELEMENTWISE or (name in _POOLS and dim == 1):
        return {output: dim}
    if name in _RESHAPES:
        return {output: _reshaped(first.shape, output.shape, dim)}
    if name in ("permute", "transpose", "swapaxes", "movedim", "T", "mT"):
        return {output: _permuted(operation, len(first.shape), dim)}
    if name in _REDUCTIONS:
        return {output: _reduced(operation, len(first.shape), dim)}
    if name == "pad":
        return {output: _padded(operation, len(first.shape), dim)}
    if name == "getitem":
        return {output: _indexed(operation.args[1], len(first.shape), dim)}
    raise NotSilentError(f"read by {_CALLED.get(name, name)}")


def _layer(operation: Operation, dim: int) -> dict[Value, int]:
    last = len(operation.inputs[0].shape) - 1
    if dim != (last if operation.name == "linear" else 1):
        raise NotSilentError("read by a layer along another dimension")
    if groups(operation) == 1:
        if (uses := weight_uses(operation)) > 1:
            raise NotSilentError(f"read by {operation.module!r}, whose weight is used {uses} times")
        return {}
    if not is_depthwise(operation):
        raise NotSilentError(f"read by a convolution in {groups(operation)} groups")
    if operation.argument(2, "bias") is not None:
        raise NotSilentError("shifted by the bias of a depthwise convolution")
    return {operation.outputs[0]: dim}


def _added(operation: Operation, carried: dict[Value, int]) -> int:
    output = operation.outputs[0]
    terms = operation.args[:2]
    numbers = [term for term in terms if not isinstance(term, Value)]
    values = [term for term in terms if isinstance(term, Value)]
    others = [value for value in values if value not in carried]
    if any(number != 0 for number in numbers) or any(other.source is None for other in others):
        raise NotSilentError("shifted by an addition")
    places = {carried[v] + len(output.shape) - len(v.shape) for v in values if v in carried}
    if others or len(places) != 1:
        raise NotSilentError("added to other units (a residual connection)")
    return places.pop()


def _concatenated(operation: Operation, carried: dict[Value, int]) -> int:
    output = operation.outputs[0]
    along = operation.argument(1, "dim", 0) % len(output.shape)
    places = {carried.get(value) for value in operation.inputs}
    dim = next(place for place in places if place is not None)
    if places - {None} != {dim} or (along != dim and None in places):
        raise NotSilentError("joined with other values of its units (a class token, say)")
    return dim


def _reshaped(before: tuple[int, ...], after: tuple[int, ...], dim: int) -> int:
    """The dimension with the units: as they were, or each with all its places behind it."""
    for place, size in enumerate(after):
        if (
            prod(after[:place]) == prod(before[:dim])
            and size % before[dim] == 0
            and (size > 1 or before[dim] == 1)
        ):
            return place
    raise NotSilentError("split or merged by a reshape (attention heads, say)")


def _permuted(operation: Operation, dims: int, dim: int) -> int:
    order = list(range(dims))
    given: list[Any] = [*operation.args[1:], *operation.kwargs.values()]
    if operation.name in ("T", "mT"):
        given = [-1, -2]
    if operation.name == "permute":
        listed = given[0] if isinstance(given[0], (tuple, list)) else given
        order = [index % dims for index in listed]
    elif operation.name == "movedim":
        if not all(isinstance(index, int) for index in given):
            raise NotSilentError("read by movedim")
        order.insert(given[1] % dims, order.pop(given[0] % dims))
    else:
        one, two = (index % dims for index in given)
        order[one], order[two] = order[two], order[one]
    return order.index(dim)


def _reduced(operation: Operation, dims: int, dim: int) -> int:
    over = operation.argument(1, "dim", operation.kwargs.get("axis"))
    over = (over,) if isinstance(over, int) else over
    if over is None or dim in (gone := {index % dims for index in over}):
        raise NotSilentError(f"read by {operation.name} across units")
    if operation.argument(2, "keepdim", False):
        return dim
    return dim - sum(index < dim for index in gone)


def _padded(operation: Operation, dims: int, dim: int) -> int:
    padding = operation.argument(1, "pad")
    constant = operation.argument(2, "mode", "constant") == "constant"
    if len(padding) > 2 * (dims - 1 - dim) or (constant and operation.argument(3, "value")):
        raise NotSilentError("padded")
    return dim


def _indexed(index: Any, dims: int, dim: int) -> int:
    index = index if isinstance(index, tuple) else (index,)
    if not all(isinstance(part, (int, slice)) or part is Ellipsis for part in index):
        raise NotSilentError("read by getitem")
    if Ellipsis in index:
        at = index.index(Ellipsis)
        index = index[:at] + (slice(None),) * (dims - len(index) + 1) + index[at + 1 :]
    if dim < len(index) and index[dim] != slice(None):
        raise NotSilentError("sliced across units")
    return dim - sum(isinstance(part, int) for part in index[:dim])
