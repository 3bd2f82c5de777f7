"""Where the channels of each kind of layer are: the axes of its tensors, and what counts them."""

from __future__ import annotations

from collections.abc import Iterable

import torch_pruning as tp
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

from pruning_core.gates import BernoulliGate, InputGate

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
READERS = (nn.Linear, *CONVOLUTIONS, _ConvTransposeNd)
NORMALISATIONS = (_BatchNorm, _InstanceNorm)


def channel_axes(module: nn.Module | nn.Parameter, reads: bool) -> dict[str, int]:
    """The axis of the channels in each tensor of a layer: of those it reads, or those it writes."""
    if isinstance(module, NORMALISATIONS):
        return {"weight": 0, "bias": 0, "running_mean": 0, "running_var": 0}
    if isinstance(module, nn.PReLU):
        return {"weight": 0} if module.weight.numel() > 1 else {}
    if isinstance(module, nn.Embedding):
        return {"weight": 1}
    if isinstance(module, _ConvTransposeNd):
        return {"weight": 0} if reads else {"weight": 1, "bias": 0}
    if isinstance(module, READERS):
        depthwise = isinstance(module, nn.Module) and is_depthwise(module)
        return {"weight": 1} if reads and not depthwise else {"weight": 0, "bias": 0}
    return {}


def channel_counts(module: nn.Module, reads: bool) -> dict[str, int]:
    """The attributes that count those channels, and their axis in the weight."""
    if isinstance(module, NORMALISATIONS):
        return {"num_features": 0}
    if isinstance(module, nn.PReLU):
        return {"num_parameters": 0} if module.weight.numel() > 1 else {}
    if isinstance(module, nn.Embedding):
        return {"embedding_dim": 1}
    if isinstance(module, nn.Linear):
        return {"in_features": 1} if reads else {"out_features": 0}
    if isinstance(module, _ConvTransposeNd):
        return {"in_channels": 0} if reads else {"out_channels": 1}
    if is_depthwise(module):
        return {"in_channels": 0, "out_channels": 0, "groups": 0}
    return {"in_channels": 1} if reads else {"out_channels": 0}


def is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, CONVOLUTIONS) and (
        module.groups == module.in_channels == module.out_channels > 1
    )


def shifts(module: nn.Module) -> bool:
    """Whether zeros may leave the layer as something else."""
    if isinstance(module, _InstanceNorm):
        return module.affine or module.track_running_stats
    return isinstance(module, _BatchNorm) or (
        is_depthwise(module) and getattr(module, "bias", None) is not None
    )


class GateChannels(tp.BasePruningFunc):
    """Tells Torch-Pruning, for which a gate is a layer of its own kind, that units are channels."""

    def prune_out_channels(self, layer: nn.Module, idxs: Iterable[int]) -> nn.Module:
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: nn.Module) -> int:
        assert isinstance(layer, BernoulliGate)
        return layer.num_units

    def get_in_channels(self, layer: nn.Module) -> int:
        return self.get_out_channels(layer)


class InputGateChannels(GateChannels):
    """An input gate's features and its units are counted apart, like a linear layer's."""

    def prune_out_channels(self, layer: nn.Module, idxs: Iterable[int]) -> nn.Module:
        # Of its own, because Torch-Pruning tells the two directions apart by their functions.
        return layer

    def prune_in_channels(self, layer: nn.Module, idxs: Iterable[int]) -> nn.Module:
        return layer

    def get_in_channels(self, layer: nn.Module) -> int:
        assert isinstance(layer, InputGate)
        return layer.num_features
