"""How Torch-Pruning shrinks the gates, which are layers that it does not know."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch_pruning as tp
from torch import nn

from pruning_core.gates import BernoulliGate, InputGate


class GatePruner(tp.BasePruningFunc):
    """Its channels are its units."""

    def prune_out_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        assert isinstance(layer, BernoulliGate)
        keep = torch.ones(layer.num_units, dtype=torch.bool)
        keep[list(idxs)] = False
        for key in ("theta", "theta_average", "gradient_average", "unit_index", "selected"):
            buffer = layer._buffers.get(key)
            if buffer is not None:
                layer._buffers[key] = buffer[keep.to(buffer.device)]
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: nn.Module) -> int:
        assert isinstance(layer, BernoulliGate)
        return layer.num_units

    def get_in_channels(self, layer: nn.Module) -> int:
        return self.get_out_channels(layer)


class InputGatePruner(GatePruner):
    """An input gate's features and its units are counted apart, like a linear layer's."""

    def prune_out_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        # Of its own, because Torch-Pruning tells the two directions apart by their functions.
        return super().prune_out_channels(layer, idxs)

    def prune_in_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        assert isinstance(layer, InputGate)
        gone = torch.zeros(layer.num_features, dtype=torch.long, device=layer.selected.device)
        gone[list(idxs)] = 1
        layer.selected = layer.selected - gone.cumsum(0)[layer.selected]
        layer.num_features -= len(idxs)
        return layer

    def get_in_channels(self, layer: nn.Module) -> int:
        assert isinstance(layer, InputGate)
        return layer.num_features
