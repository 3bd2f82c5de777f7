"""LeNet-300-100 and LeNet-5 (Caffe), with gates on their units; and all models by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.gates import BernoulliGate, InputGate
from pruning_core.metrics import architecture, weighted_layers
from pruning_core.residual import (
    lenet_5_skip,
    residual_cnn,
    residual_perceptron,
    section_sizes,
    size_inside,
)


def lenet_300_100(
    hidden: Sequence[int] = (300, 100),
    *,
    num_classes: int = 10,
    gated: bool = True,
    gate_inputs: bool = False,
    theta: float = 0.9,
) -> nn.Sequential:
    """Fully connected network 784-300-100-10 with ReLU (LeCun et al. 1998).

    Args:
        hidden: units of each hidden layer.
        num_classes: outputs.
        gated: put a gate after every hidden layer.
        gate_inputs: put a gate on the 784 input pixels too.
        theta: initial probability of every gate.

    Returns:
        A network from images (N, 1, 28, 28) to logits (N, ``num_classes``).
    """
    sizes = [28 * 28, *hidden]
    layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())]
    if gated and gate_inputs:
        layers.append(("gate0", InputGate(sizes[0], theta=theta)))
    for index, (fan_in, fan_out) in enumerate(pairwise(sizes), start=1):
        layers += [(f"fc{index}", nn.Linear(fan_in, fan_out)), (f"relu{index}", nn.ReLU())]
        if gated:
            layers.append((f"gate{index}", BernoulliGate(fan_out, theta=theta)))
    layers.append((f"fc{len(sizes)}", nn.Linear(sizes[-1], num_classes)))
    return _sequential(layers)


def lenet_5(
    filters: Sequence[int] = (20, 50),
    hidden: int = 500,
    *,
    num_classes: int = 10,
    gated: bool = True,
    gate_features: bool = False,
    theta: float = 0.9,
) -> nn.Sequential:
    """Convolutional network 20-50-800-500-10 in Caffe's sizes: 5 × 5 filters, 2 × 2 max pooling.

    Caffe's own file has a ReLU only after the hidden layer; here, as in most of the pruning
    literature, one follows each pooling too.

    Args:
        filters: filters of the two convolutions.
        hidden: units of the fully connected hidden layer.
        num_classes: outputs.
        gated: put a gate after each convolution and after the hidden layer.
        gate_features: put a gate on the flattened features (800 of them) too.
        theta: initial probability of every gate.

    Returns:
        A network from images (N, 1, 28, 28) to logits (N, ``num_classes``).
    """
    features = filters[1] * 4 * 4
    # A gate after the pooling acts as one before it, on a quarter of the numbers: a factor ≥ 0
    # commutes with the maximum.
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(1, filters[0], 5)),
        ("pool1", nn.MaxPool2d(2)),
        ("relu1", nn.ReLU()),
        ("gate1", BernoulliGate(filters[0], theta=theta)),
        ("conv2", nn.Conv2d(filters[0], filters[1], 5)),
        ("pool2", nn.MaxPool2d(2)),
        ("relu2", nn.ReLU()),
        ("gate2", BernoulliGate(filters[1], theta=theta)),
        ("flatten", nn.Flatten()),
        ("gate_features", InputGate(features, theta=theta)),
        ("fc1", nn.Linear(features, hidden)),
        ("relu3", nn.ReLU()),
        ("gate3", BernoulliGate(hidden, theta=theta)),
        ("fc2", nn.Linear(hidden, num_classes)),
    ]
    if not gated:
        layers = [(name, layer) for name, layer in layers if not name.startswith("gate")]
    elif not gate_features:
        layers = [(name, layer) for name, layer in layers if name != "gate_features"]
    return _sequential(layers)


def initialise_(model: nn.Module, initialisation: str, scale: float = 1.0) -> None:
    """Draw the weights of linear and convolution layers anew; biases stay.

    Args:
        model: whose weights they are.
        initialisation: a name in :data:`INITIALISATIONS`; "default" leaves what torch has drawn.
        scale: a factor on the weights, that of "default" included.
    """
    for layer in weighted_layers(model):
        # Orthogonal weights cannot be drawn in channels_last; and a draw in plain memory is the
        # same draw whatever the format of the layer.
        drawn = layer.weight.detach().clone(memory_format=torch.contiguous_format)
        INITIALISATIONS[initialisation](drawn)
        with torch.no_grad():
            layer.weight.copy_(drawn.mul_(scale))


def _sequential(layers: Sequence[tuple[str, nn.Module]]) -> nn.Sequential:
    model = nn.Sequential()
    for name, layer in layers:
        model.add_module(name, layer)
    return model


INITIALISATIONS: dict[str, Callable[[Tensor], object]] = {
    "default": lambda weight: weight,
    "kaiming": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "xavier": nn.init.xavier_uniform_,
    "orthogonal": nn.init.orthogonal_,
}
"""Distributions of the weights at the start, by name (He 2015, Glorot 2010, Saxe 2014)."""


IMAGE_SHAPE = (1, 28, 28)
"""Of what these models read, without the batch."""

Layer = tuple[int, int, int]
"""Inputs of an output, outputs, and the places in an image at which they are computed."""


@dataclass(frozen=True)
class Architecture:
    """What is known of a model, beside its builder, from the sizes of its layers alone.

    The units of a model are those that :func:`pruning_core.metrics.architecture` counts. Of a model
    with sections that may leave they are what is in front of them, and what is inside of each: 0 of
    one that has left.

    Attributes:
        build: the builder.
        image: shape of an example.
        hidden: sizes that the model is named after, of its hidden layers.
        options: those sizes, or others, as keyword arguments of the builder.
        gate_option: the builder's option for gates beyond those of the hidden layers.
        units: names of the kinds of units, for tables; the last is that of each section, if there
            may be several.
        start: how many units there are before pruning, from the sizes of the hidden layers and the
            number of sections.
        layers: the layers between so many units, and so many outputs.
        has_sections: whether parts of it may leave as a whole.
        sections: how many of one kind it has, if that may be chosen; else 0.
        read: the units that a network of this kind has, which had so many sections.
        inside: of such units, those inside of the sections.
    """

    build: Callable[..., nn.Sequential]
    image: tuple[int, int, int]
    hidden: tuple[int, ...]
    options: Callable[[Sequence[int]], dict[str, Any]]
    gate_option: str | None
    units: tuple[str, ...]
    start: Callable[[Sequence[int], int], tuple[int, ...]]
    layers: Callable[[Sequence[int], int], list[Layer]]
    has_sections: bool = False
    sections: int = 0
    read: Callable[[nn.Module, int], list[int]] = lambda model, _: architecture(model)
    inside: Callable[[Sequence[int]], Sequence[int]] = lambda units: ()

    def dense(self, hidden: Sequence[int] = (), sections: int = 0) -> tuple[int, ...]:
        """Units before pruning; with the sizes the model is named after by default."""
        return self.start(hidden or self.hidden, sections or self.sections)

    def names(self, units: Sequence[int]) -> list[str]:
        """Of each of so many units, what they are."""
        *names, last = self.units
        if not self.sections:
            return [*names, last]
        return [*names, *(f"{last} {n}" for n in range(1, len(units) - len(names) + 1))]

    def depth(self, units: Sequence[int]) -> int:
        """How many sections are there."""
        return sum(size > 0 for size in self.inside(units))

    def count_weights(self, units: Sequence[int], num_classes: int = 10) -> int:
        """Weights between so many units, as :func:`pruning_core.metrics.count_weights` has them."""
        return sum(inputs * outputs for inputs, outputs, _ in self.layers(units, num_classes))

    def count_macs(self, units: Sequence[int], num_classes: int = 10) -> int:
        """Multiply-accumulates of a forward pass: one for each weight and bias, at each place.

        As :func:`pruning_core.metrics.count_macs` counts them in the network itself.
        """
        return sum((a + 1) * b * places for a, b, places in self.layers(units, num_classes))


def _convolutional(units: Sequence[int], num_classes: int) -> list[Layer]:
    """Of 5 × 5 filters at 24 × 24 and 8 × 8 places."""
    first, second, features, hidden = units
    convolutions = [(25, first, 24 * 24), (25 * first, second, 8 * 8)]
    return [*convolutions, (features, hidden, 1), (hidden, num_classes, 1)]


def _residual(units: Sequence[int], num_classes: int) -> list[Layer]:
    """Of pixels, a stream, and sections beside it."""
    pixels, width, *inner = units
    there = [size for size in inner if size]
    sections = [layer for size in there for layer in ((width, size, 1), (size, width, 1))]
    return [(pixels, width, 1), *sections, (width, num_classes, 1)]


def _residual_convolutional(units: Sequence[int], num_classes: int) -> list[Layer]:
    """Of a stream of 7 × 7 places, and sections beside it."""
    filters, *inner = units
    there = [size for size in inner if size]
    places = 7 * 7
    sections = [
        layer for size in there for layer in ((9 * filters, size, places), (size, filters, places))
    ]
    return [(25, filters, places), *sections, (places * filters, num_classes, 1)]


def _with_paths(units: Sequence[int], num_classes: int) -> list[Layer]:
    """Of LeNet-5, whose two sections have a linear path beside them, of 1 × 1 filters the first."""
    first, second, maps, hidden = units
    features = 4 * 4 * maps
    layers = [(25, first, 24 * 24), (first, maps, 4 * 4), (features, num_classes, 1)]
    if second:
        layers.append((25 * first, second, 8 * 8))
    if hidden:
        layers += [(features, hidden, 1), (hidden, num_classes, 1)]
    return layers


def _read_residual(model: nn.Module, sections: int) -> list[int]:
    stem = model.get_submodule("stem")
    pixels = [stem.in_features] if isinstance(stem, nn.Linear) else []
    inner = section_sizes(model.get_submodule("sections"), sections)
    return [*pixels, len(stem.get_parameter("weight")), *inner]


def _read_with_paths(model: nn.Module, sections: int) -> list[int]:
    first = len(model.get_parameter("conv1.weight"))
    convolution, hidden = model.get_submodule("convolution"), model.get_submodule("hidden")
    path = convolution._modules.get("path", convolution)
    assert path is not None
    maps = len(path.get_parameter("weight"))
    return [first, size_inside(convolution), maps, size_inside(hidden)]


MODELS: dict[str, Architecture] = {
    "lenet-300-100": Architecture(
        build=lenet_300_100,
        image=IMAGE_SHAPE,
        hidden=(300, 100),
        options=lambda hidden: {"hidden": list(hidden)},
        gate_option="gate_inputs",
        units=("input pixels", "hidden 1", "hidden 2"),
        start=lambda hidden, _: (28 * 28, *hidden),
        layers=lambda units, classes: [(a, b, 1) for a, b in pairwise([*units, classes])],
    ),
    "lenet-5": Architecture(
        build=lenet_5,
        image=IMAGE_SHAPE,
        hidden=(20, 50, 500),
        options=lambda hidden: {"filters": list(hidden[:2]), "hidden": hidden[2]},
        gate_option="gate_features",
        units=("filters 1", "filters 2", "features", "hidden"),
        start=lambda hidden, _: (hidden[0], hidden[1], 4 * 4 * hidden[1], hidden[2]),
        layers=_convolutional,
    ),
    "residual-perceptron": Architecture(
        build=residual_perceptron,
        image=IMAGE_SHAPE,
        hidden=(100, 100),
        options=lambda hidden: {"width": hidden[0], "inner": hidden[1]},
        gate_option="gate_inputs",
        units=("input pixels", "stream", "section"),
        start=lambda hidden, sections: (28 * 28, hidden[0], *[hidden[1]] * sections),
        layers=_residual,
        has_sections=True,
        sections=10,
        read=_read_residual,
        inside=lambda units: units[2:],
    ),
    "residual-cnn": Architecture(
        build=residual_cnn,
        image=IMAGE_SHAPE,
        hidden=(16, 16),
        options=lambda hidden: {"filters": hidden[0], "inner": hidden[1]},
        gate_option=None,
        units=("stream", "section"),
        start=lambda hidden, sections: (hidden[0], *[hidden[1]] * sections),
        layers=_residual_convolutional,
        has_sections=True,
        sections=10,
        read=_read_residual,
        inside=lambda units: units[1:],
    ),
    "lenet-5-skip": Architecture(
        build=lenet_5_skip,
        image=IMAGE_SHAPE,
        hidden=(20, 50, 500),
        options=lambda hidden: {"filters": list(hidden[:2]), "hidden": hidden[2]},
        gate_option=None,
        units=("filters 1", "filters 2", "maps", "hidden"),
        start=lambda hidden, _: (hidden[0], hidden[1], hidden[1], hidden[2]),
        layers=_with_paths,
        has_sections=True,
        read=_read_with_paths,
        inside=lambda units: (units[1], units[3]),
    ),
}
"""Models by the name the command line gives them."""


def build_model(name: str, **options: Any) -> nn.Sequential:
    """The named model.

    Raises:
        ValueError: for an unknown name, listing those that exist.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; expected one of {', '.join(MODELS)}")
    return MODELS[name].build(**options)
