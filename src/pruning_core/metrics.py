"""What is counted: weights, multiply-accumulates, bytes, seconds, surviving units, errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from safetensors.torch import save
from torch import Tensor, nn

_LAYERS = (nn.Linear, nn.Conv2d)


def count_weights(model: nn.Module) -> int:
    """Entries of the weight matrices and filters, without biases."""
    return sum(layer.weight.numel() for layer in weighted_layers(model))


def count_nonzero_weights(model: nn.Module) -> int:
    """Those of :func:`count_weights` that are not zero."""
    return sum(int(layer.weight.count_nonzero()) for layer in weighted_layers(model))


def count_macs(model: nn.Module, example: Tensor) -> int:
    """Multiply-accumulates of one example's forward pass; a bias counts as one per output.

    The published tables for LeNet-5 count this way (2.31 M for the dense network).

    Args:
        model: of linear and two-dimensional convolution layers.
        example: one input, shape (1, …).
    """
    return sum(macs_by_layer(model, example).values())


def macs_by_layer(model: nn.Module, example: Tensor) -> dict[str, int]:
    """Those of :func:`count_macs`, by the name of the layer, in the order of the forward pass."""
    names = {layer: name for name, layer in model.named_modules()}
    macs: dict[str, int] = {}

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, _LAYERS)
        per_output = layer.weight[0].numel() + (layer.bias is not None)
        macs[names[layer]] = macs.get(names[layer], 0) + per_output * output[0].numel()

    handles = [layer.register_forward_hook(count) for layer in weighted_layers(model)]
    try:
        with torch.no_grad(), evaluating(model):
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    return macs


def count_bytes(model: nn.Module) -> int:
    """Size of the model's safetensors file: header, weights, biases and buffers, zeros included."""
    return len(save({key: value.contiguous() for key, value in model.state_dict().items()}))


def architecture(model: nn.Module) -> list[int]:
    """Surviving units: pixels read, then each hidden layer, as published tables list them.

    Where a linear layer reads flattened feature maps, the features it reads are listed too:
    [784, 300, 100] for LeNet-300-100, [20, 50, 800, 500] for LeNet-5.
    """
    units: list[int] = []
    after_linear = False
    for layer in weighted_layers(model):
        if isinstance(layer, nn.Linear):
            units += (
                [layer.out_features] if after_linear else [layer.in_features, layer.out_features]
            )
            after_linear = True
        else:
            units.append(layer.out_channels)
    return units[:-1]


def predictions(model: nn.Module, images: Tensor, batch_size: int = 1000) -> Tensor:
    """The predicted class of each image in evaluation mode, int64, shape (N,)."""
    with torch.no_grad(), evaluating(model):
        return torch.cat([model(batch).argmax(1) for batch in images.split(batch_size)])


def error_percent(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of the images that are misclassified, in percent."""
    wrong = (predictions(model, images) != labels).sum()
    return 100.0 * int(wrong) / len(labels)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, every module's own mode again afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def weighted_layers(model: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    """The layers whose weights are counted, in the order of the modules."""
    return [module for module in model.modules() if isinstance(module, _LAYERS)]
