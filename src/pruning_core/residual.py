"""Networks with sections that may leave: a residual perceptron, a residual CNN, LeNet-5 with paths.

A gate on a nonlinear section beside a linear path is that of arXiv 2406.04549, of which only the
abstract could be read; these networks, and where their sections begin and end, are ours.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

from torch import nn

from pruning_core.gates import BernoulliGate, InputGate
from pruning_core.layers import LayerGate, residual

Gates = Literal["layers", "units", "both"]
"""Which gates a network has, on its sections, on the units inside of them, or on both."""

GATES: tuple[Gates, ...] = ("layers", "units", "both")
MOST_SECTIONS = 1000


def residual_perceptron(
    sections: int = 10,
    width: int = 100,
    inner: int = 100,
    *,
    num_classes: int = 10,
    gated: bool = True,
    gates: Gates = "layers",
    gate_inputs: bool = False,
    theta: float = 0.9,
) -> nn.Sequential:
    """784 → ``width``, sections x + ξ W₂ relu(W₁ x), and a linear layer to the outputs.

    Without any section it is a linear map.

    Args:
        sections: how many.
        width: of the stream that they read and add to.
        inner: units inside of each section, behind its ReLU.
        num_classes: outputs.
        gated: with gates; where they are, ``gates`` and ``gate_inputs`` say.
        gates: on sections, on their inner units, or on both.
        gate_inputs: put a gate on the 784 input pixels too.
        theta: initial probability of every gate.

    Returns:
        A network from images (N, 1, 28, 28) to logits (N, ``num_classes``).
    """
    on_units, on_layers = _kinds(gated, gates)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    if gated and gate_inputs:
        layers["gate0"] = InputGate(28 * 28, theta=theta)
    layers["stem"] = nn.Linear(28 * 28, width)
    layers["sections"] = nn.Sequential(
        *(
            _added(
                [
                    nn.Linear(width, inner),
                    nn.ReLU(),
                    *([BernoulliGate(inner, theta=theta)] if on_units else []),
                    nn.Linear(inner, width),
                ],
                None,
                theta if on_layers else None,
            )
            for _ in range(_checked(sections))
        )
    )
    layers["head"] = nn.Linear(width, num_classes)
    return nn.Sequential(layers)


def residual_cnn(
    sections: int = 10,
    filters: int = 16,
    inner: int = 16,
    *,
    num_classes: int = 10,
    gated: bool = True,
    gates: Gates = "layers",
    theta: float = 0.9,
) -> nn.Sequential:
    """A convolution to 7 × 7 places, sections x + ξ conv(relu(conv(x))), a linear layer.

    The first convolution of a section has 3 × 3 filters, the second 1 × 1; the stem's have a stride
    of 4. It has no normalisation, and trains without.

    Args:
        sections: how many.
        filters: of the stream that they read and add to.
        inner: filters inside of each section, behind its ReLU.
        num_classes: outputs.
        gated: with gates; where they are, ``gates`` says.
        gates: on sections, on their inner filters, or on both.
        theta: initial probability of every gate.

    Returns:
        A network from images (N, 1, 28, 28) to logits (N, ``num_classes``).
    """
    on_units, on_layers = _kinds(gated, gates)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        stem=nn.Conv2d(1, filters, 5, stride=4, padding=1),
        relu=nn.ReLU(),
    )
    layers["sections"] = nn.Sequential(
        *(
            _added(
                [
                    nn.Conv2d(filters, inner, 3, padding=1),
                    nn.ReLU(),
                    *([BernoulliGate(inner, theta=theta)] if on_units else []),
                    nn.Conv2d(inner, filters, 1),
                ],
                None,
                theta if on_layers else None,
            )
            for _ in range(_checked(sections))
        )
    )
    layers["flatten"] = nn.Flatten()
    layers["head"] = nn.Linear(filters * 7 * 7, num_classes)
    return nn.Sequential(layers)


def lenet_5_skip(
    filters: Sequence[int] = (20, 50),
    hidden: int = 500,
    *,
    num_classes: int = 10,
    gated: bool = True,
    gates: Gates = "layers",
    theta: float = 0.9,
) -> nn.Sequential:
    """LeNet-5 (Caffe's sizes) with a linear path beside each of two nonlinear sections.

    One is the second convolution with its pooling and ReLU, beside 1 × 1 filters with a stride of
    3, which make maps of the same 4 × 4 places. The other is the hidden layer with the layer behind
    it, beside one linear layer from the features to the outputs. The first convolution stays.

    Args:
        filters: filters of the two convolutions.
        hidden: units of the fully connected hidden layer.
        num_classes: outputs.
        gated: with gates; where they are, ``gates`` says.
        gates: on the sections; on units (a gate after the first convolution, one after the sum of
            the second section and its path, one in the hidden layer); or on both.
        theta: initial probability of every gate.

    Returns:
        A network from images (N, 1, 28, 28) to logits (N, ``num_classes``).
    """
    on_units, on_layers = _kinds(gated, gates)
    first, second = filters
    features = second * 4 * 4
    theta_of_layers = theta if on_layers else None
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(1, first, 5), pool1=nn.MaxPool2d(2), relu1=nn.ReLU()
    )
    if on_units:
        layers["gate1"] = BernoulliGate(first, theta=theta)
    layers["convolution"] = _added(
        [nn.Conv2d(first, second, 5), nn.MaxPool2d(2), nn.ReLU()],
        nn.Conv2d(first, second, 1, stride=3),
        theta_of_layers,
    )
    if on_units:
        layers["gate2"] = BernoulliGate(second, theta=theta)
    layers["flatten"] = nn.Flatten()
    layers["hidden"] = _added(
        [
            nn.Linear(features, hidden),
            nn.ReLU(),
            *([BernoulliGate(hidden, theta=theta)] if on_units else []),
            nn.Linear(hidden, num_classes),
        ],
        nn.Linear(features, num_classes),
        theta_of_layers,
    )
    return nn.Sequential(layers)


def section_sizes(sections: nn.Module, count: int) -> list[int]:
    """Inner units of each section that there was, 0 of one that has left.

    Args:
        sections: of a residual perceptron or CNN, with its gates or without; not merged.
        count: how many there were.
    """
    return [size_inside(sections._modules.get(str(index))) for index in range(count)]


def size_inside(module: nn.Module | None) -> int:
    """Outputs of the first layer of a section, 0 if it has left."""
    section = None if module is None else module._modules.get("section")
    if section is None:
        return 0
    weight = next(section.parameters())
    return len(weight)


def _added(section: Sequence[nn.Module], path: nn.Module | None, theta: float | None) -> nn.Module:
    """The section beside its path, with a gate if it has a θ."""
    inside = nn.Sequential(*section)
    return residual(inside, path) if theta is None else LayerGate(inside, path, theta=theta)


def _kinds(gated: bool, gates: str) -> tuple[bool, bool]:
    """Whether units have gates, and layers."""
    if gates not in GATES:
        raise ValueError(f"gates is {gates!r}; one of {', '.join(GATES)} was expected")
    return gated and gates != "layers", gated and gates != "units"


def _checked(sections: int) -> int:
    if not 1 <= sections <= MOST_SECTIONS:
        raise ValueError(f"sections is {sections}; 1 to {MOST_SECTIONS} was expected")
    return sections
