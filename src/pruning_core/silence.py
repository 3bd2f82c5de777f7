"""Whether the zeros of closed units arrive as zeros where a layer reads them."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch_pruning.dependency.node import Node

from pruning_core._channels import READERS, is_depthwise, shifts
from pruning_core.gates import BernoulliGate
from pruning_core.removal import CompactionError

_PRODUCTS = {"MulBackward0", "BmmBackward0"}
"""Of several factors, one that is zero makes the result zero."""

_NOT_ZERO_AT_ZERO = {
    "SigmoidBackward0",
    "HardsigmoidBackward0",
    "ExpBackward0",
    "SoftmaxBackward0",
    "LogSoftmaxBackward0",
    "SoftplusBackward0",
    "CosBackward0",
    "LogBackward0",
    "ReciprocalBackward0",
}
"""Operations that make something of a closed unit's zeros."""


def is_silent(gate: str, node: Node, inside: Collection[Node], known: dict[Node, bool]) -> bool:
    """Whether the channels of a node are zero where the units of a gate are closed.

    Args:
        gate: for the error.
        node: of the graph, between the gate and a layer that reads its units.
        inside: the nodes whose channels are coupled with the gate's.
        known: answers so far; more are written into it.

    Raises:
        CompactionError: if a normalisation behind the gate shifts the zeros.
    """
    if node not in known:
        known[node] = True  # of a module called in a circle
        known[node] = _judge(gate, node, inside, known)
    return known[node]


def _judge(gate: str, node: Node, inside: Collection[Node], known: dict[Node, bool]) -> bool:
    module = node.module
    if isinstance(module, BernoulliGate):
        return True
    if isinstance(module, (nn.Parameter, nn.Embedding, _ConvTransposeNd)):
        return False
    if isinstance(module, READERS) and not is_depthwise(module):
        return False
    before = [is_silent(gate, n, inside, known) for n in node.inputs if n in inside]
    leaves = [getattr(f, "variable", None) for f, _ in node.grad_fn.next_functions]
    if not node.inputs and any(isinstance(leaf, nn.Parameter) for leaf in leaves):
        return True  # on the way from a layer's own weight
    if any(isinstance(leaf, Tensor) and not isinstance(leaf, nn.Parameter) for leaf in leaves):
        before.append(False)  # an input of the model
    operation = getattr(module, "_grad_fn", None)
    if not before or operation in _NOT_ZERO_AT_ZERO:
        return False
    quiet = any(before) if operation in _PRODUCTS else all(before)
    if quiet and shifts(module):
        raise CompactionError(
            f"gate {gate!r} stands before {node._name!r} ({type(module).__name__}), which "
            "shifts the zeros of closed units; put the gate after it"
        )
    return quiet
