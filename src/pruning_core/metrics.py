"""What is counted: weights, multiply-accumulates, bytes, seconds, surviving units, errors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from pruning_core.inputs import Inputs

_LAYERS = (nn.Linear, nn.Conv2d)


def weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Every parameter of two or more dimensions, by its name; a tied one once, by its first name.

    They are what :class:`~pruning_core.halo.Halo` penalises, in which
    :func:`~pruning_core.sparsity.prune_` makes zeros, and what is counted here: matrices and
    filters of any layer, those packed in attention and recurrent layers too, embeddings, and
    whatever array a module of your own holds. Biases and the scales of most normalisations have one
    dimension and do not belong to them. Under a mask of ``torch.nn.utils.prune`` the name ends in
    ``_orig``, as torch has it.
    """
    return {name: p for name, p in model.named_parameters() if p.dim() > 1}


def weight_values(model: nn.Module) -> dict[str, Tensor]:
    """The values of :func:`weights` by the same names, detached, with the zeros of any mask."""
    masks = {
        name.removesuffix("_mask") + "_orig": mask
        for name, mask in model.named_buffers()
        if name.endswith("_mask")
    }
    values = {name: weight.detach() for name, weight in weights(model).items()}
    return {name: v * masks[name].to(v) if name in masks else v for name, v in values.items()}


def count_weights(model: nn.Module) -> int:
    """Entries of all :func:`weights`, without biases."""
    return sum(weight.numel() for weight in weights(model).values())


def count_nonzero_weights(model: nn.Module) -> int:
    """Those of :func:`count_weights` that are not zero."""
    return sum(int(values.count_nonzero()) for values in weight_values(model).values())


def count_macs(
    model: nn.Module, example: Inputs | Tensor | tuple[Any, ...] | Mapping[str, Any]
) -> int:
    """Multiply-accumulates of one example's forward pass in evaluation mode.

    As in fvcore and torch's own counter, they are those of matrix products and convolutions
    wherever the model computes them: in its layers, the products of queries, keys and values in
    attention included, and in its own code. Zeros count as other weights. Activations,
    normalisations, pooling, embeddings and elementwise products count nothing. The ``bias`` of a
    layer that multiplies counts as one per output, as in the published tables for LeNet-5 (2.31 M
    for the dense network); fvcore leaves it out.

    Args:
        model: of any layers; convolutions in one to three dimensions, transposed ones too.
        example: what the model is called with; a tuple holds several inputs, a mapping keyword
            inputs, :class:`pruning_core.Inputs` both. The batch dimension is 1: a batch of n counts
            n times.
    """
    return sum(macs_by_layer(model, example).values())


def macs_by_layer(
    model: nn.Module, example: Inputs | Tensor | tuple[Any, ...] | Mapping[str, Any]
) -> dict[str, int]:
    """Those of :func:`count_macs`, by the name of the module that computes them.

    In the order of the forward pass; the model itself has the name "". A layer that is not called,
    because another reads its weight (attention its ``out_proj``), has its share counted there.
    """
    # Imported where it is used: it takes as long as the whole package.
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False, custom_mapping=_further_operations())
    macs: dict[str, int] = {}
    running: list[list[int]] = []  # of each module in progress: its start, and what others did

    def begin(*_: object) -> None:
        running.append([counter.get_total_flops() // 2, 0])

    def end(name: str, module: nn.Module, output: Any) -> None:
        begun, by_others = running.pop()
        products = counter.get_total_flops() // 2 - begun
        if running:
            running[-1][1] += products
        own = products - by_others
        if own and isinstance(getattr(module, "bias", None), Tensor):
            own += output.numel()
        if own:
            macs[name] = macs.get(name, 0) + own

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(begin))
        handles.append(
            module.register_forward_hook(lambda m, _, output, name=name: end(name, m, output))
        )
    fused_attention = torch.backends.mha.get_fastpath_enabled()
    try:
        # Neither torch's fused attention nor cuDNN's recurrent layers show their products.
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad(), evaluating(model), torch.backends.cudnn.flags(enabled=False), counter:
            Inputs.of(example).call(model)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused_attention)
        for handle in handles:
            handle.remove()
    return macs


def _further_operations() -> dict[Any, Any]:
    """Twice the multiply-accumulates of operations that torch's counter does not know."""

    def recurrent_layer(
        inputs: list[int], from_input: list[int], from_state: list[int], *_: Any, **__: Any
    ) -> int:
        return 2 * math.prod(inputs[:-1]) * (math.prod(from_input) + math.prod(from_state))

    def bilinear(_: Any, weight: list[int], *__: Any, out_shape: list[int], **___: Any) -> int:
        return 2 * math.prod(out_shape) * math.prod(weight[1:])

    return {
        torch.ops.aten.mkldnn_rnn_layer: recurrent_layer,
        torch.ops.aten._trilinear: bilinear,
    }


def count_bytes(model: nn.Module) -> int:
    """Size of the model's safetensors file: header, weights, biases and buffers, zeros included."""
    # Copies, because safetensors refuses tensors that share memory, as tied weights do.
    return len(save({key: value.contiguous().clone() for key, value in model.state_dict().items()}))


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
    """The linear and two-dimensional convolution layers, in the order of the modules.

    What draws or scores weights layer by layer goes through them; :func:`weights` are all.
    """
    return [module for module in model.modules() if isinstance(module, _LAYERS)]
