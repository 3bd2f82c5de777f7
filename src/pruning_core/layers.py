"""Sections that may leave: a scalar gate on a part of the network beside a path that stays.

A scalar Bernoulli variable on a nonlinear section beside a linear path is the idea of
arXiv 2406.04549, of which only the abstract could be read; where the variable stands here, and how
a section leaves, is ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Self

import torch
from torch import Tensor, fx, nn

from pruning_core.gates import BernoulliGate
from pruning_core.pathwise import Pathwise


class SectionGate(BernoulliGate):
    """One Bernoulli variable ξ for all that a section computes, a scalar for every example.

    A :class:`BernoulliGate` with a single unit, which multiplies a tensor of any shape (N, …) and,
    unlike others, may close for good: then its section leaves. It is part of a
    :class:`LayerGate`.

    Args:
        theta: initial probability, in [0, 1].
        estimator: as for :class:`BernoulliGate`.
    """

    may_close = True

    def __init__(self, *, theta: float = 0.9, estimator: Pathwise | None = None) -> None:
        super().__init__(1, theta=theta, estimator=estimator)

    def _check(self, inputs: Tensor) -> None:
        if inputs.dim() < 2:
            raise ValueError(
                f"a section's gate multiplies (N, …), a value or more for each example, but its "
                f"input has shape {tuple(inputs.shape)}"
            )


class LayerGate(nn.Module):
    """x ↦ path(x) + ξ · section(x), with ξ ~ Bernoulli(θ) drawn for each example.

    Where ξ is closed for good, :func:`pruning_core.compact_` takes the section out of the network,
    with its gate, the gates inside and all that optimizers remember of it; the path stays, and
    ``section`` is then None. The parameters of several sections may be shared: what another part
    of the model uses stays::

        sections = [LayerGate(nn.Sequential(nn.Linear(n, m), nn.ReLU(), nn.Linear(m, n)))
                    for _ in range(depth)]

    The section's gate is an ordinary one for the pruner, of the name ``"….gate"``: its price,
    ``log_gamma``, is what the whole section must be worth. Gates on units may stand inside.

    Args:
        section: reads one tensor and returns one, with the batch as dimension 0.
        path: beside it, with outputs of the same shape; the identity by default.
        theta: initial probability that a section is there, in [0, 1].
        estimator: how the gate draws; as for :class:`BernoulliGate`.

    Raises:
        ValueError: for a section without parameters, of which nothing could leave; or, when it is
            called, if section and path return different shapes.
    """

    section: nn.Module | None
    gate: SectionGate | None

    def __init__(
        self,
        section: nn.Module,
        path: nn.Module | None = None,
        *,
        theta: float = 0.9,
        estimator: Pathwise | None = None,
    ) -> None:
        super().__init__()
        if next(section.parameters(), None) is None:
            raise ValueError(
                f"the section {type(section).__name__} has no parameters, so nothing would leave "
                "with it; gate a part of the network that has some"
            )
        self.section = section
        self.path = nn.Identity() if path is None else path
        self.gate = SectionGate(theta=theta, estimator=estimator)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.section is None or self.gate is None:
            left: Tensor = self.path(inputs)
            return left
        added: Tensor = self.section(inputs)
        passed: Tensor = self.path(inputs)
        if added.shape != passed.shape:
            raise ValueError(
                f"the section returns shape {tuple(added.shape)}, and the path beside it "
                f"{tuple(passed.shape)}; both have to be the same, so give LayerGate a path that "
                "makes of its input what the section makes"
            )
        return passed + self.gate(added)

    def leave_(self) -> Self:
        """Forget the section and its gate; the path stays."""
        self.section = self.gate = None
        return self

    def extra_repr(self) -> str:
        return "its section has left" if self.section is None else ""


def residual(section: nn.Module, path: nn.Module | None = None) -> nn.Module:
    """x ↦ path(x) + section(x) without any gate, as a module of torch's own making.

    Args:
        section: reads one tensor and returns one.
        path: beside it, with outputs of the same shape; the identity by default.
    """
    graph = fx.Graph()
    inputs = graph.placeholder("inputs")
    root = nn.Module()
    # In the order in which LayerGate has them, which is that of the parameters.
    root.add_module("section", section)
    added = graph.call_module("section", (inputs,))
    passed = inputs
    if path is not None and type(path) is not nn.Identity:
        root.add_module("path", path)
        passed = graph.call_module("path", (inputs,))
    graph.output(graph.call_function(torch.add, (passed, added)))
    return fx.GraphModule(root, graph, "Residual")


def layer_gates(model: nn.Module) -> dict[str, LayerGate]:
    """The :class:`LayerGate` modules of a model whose sections are still there, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, LayerGate) and module.section is not None
    }


def sections_of(model: nn.Module) -> dict[str, str]:
    """By name of a section's gate, the name of the section; all that is inside begins with it.

    A section inside another stands in its own right, and its modules begin with both names.
    """
    return {_within(name, "gate"): _within(name, "section") for name in layer_gates(model)}


def inside_sections(
    model: nn.Module, names: Iterable[str], layers: Collection[str] | None = None
) -> set[str]:
    """Those of the names, of modules or tensors, that are inside of some section.

    Args:
        model: whose sections they are.
        names: to choose from.
        layers: names of the layer gates that count; all by default.
    """
    layers = layer_gates(model) if layers is None else layers
    starts = tuple(f"{_within(name, 'section')}." for name in layers)
    return {name for name in names if name.startswith(starts)}


def closed_sections(model: nn.Module, dead: Mapping[str, Tensor]) -> list[str]:
    """Names of the layer gates to leave, by masks of gates; without those that leave with another.

    Args:
        model: whose sections they are.
        dead: by name of the gate, which of its units are closed; bool.
    """
    closed = [
        name
        for name in layer_gates(model)
        if _within(name, "gate") in dead and bool(dead[_within(name, "gate")].all())
    ]
    inside = inside_sections(model, closed, closed)
    return [name for name in closed if name not in inside]


def leaving_tensors(model: nn.Module, closed: Collection[str]) -> set[Tensor]:
    """Parameters and buffers that no other part of the model has than the closed sections.

    Args:
        model: whose sections they are.
        closed: names of its layer gates.
    """
    leaving = {model.get_submodule(name) for name in closed}
    starts = tuple(
        f"{_within(name, part)}."
        for name, module in model.named_modules(remove_duplicate=False)
        if module in leaving
        for part in ("section", "gate")
    )
    tensors = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    staying = {tensor for name, tensor in tensors if not name.startswith(starts)}
    return {tensor for _, tensor in tensors} - staying


def leave_(model: nn.Module, closed: Iterable[str]) -> None:
    """Let sections leave, by the names of their layer gates."""
    for name in closed:
        module = model.get_submodule(name)
        assert isinstance(module, LayerGate)
        module.leave_()


def _within(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child
