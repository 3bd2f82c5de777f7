"""Bytes, bits and seconds of sparse networks: what zeros save, and what their positions cost."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pruning_core.metrics import evaluating, weighted_layers


def count_sparse_bytes(model: nn.Module, index_bytes: int = 4) -> int:
    """Bytes of the weights in compressed sparse rows, and of the biases, in float32.

    A matrix of m rows with k non-zero entries takes 4k for the entries, ``index_bytes`` · k for
    their columns and 4(m + 1) for where the rows begin; a filter bank is a matrix with a row for
    each filter. No header is counted.

    Args:
        model: of linear and two-dimensional convolution layers.
        index_bytes: of a column's number, 4 as in scipy, or 2 where rows are short enough.
    """
    total = 0
    for layer in weighted_layers(model):
        kept = int(layer.weight.count_nonzero())
        total += (4 + index_bytes) * kept + 4 * (len(layer.weight) + 1)
        total += 0 if layer.bias is None else 4 * layer.bias.numel()
    return total


def position_bits(weights: int, kept: int) -> float:
    """log₂ of the number of ways to place ``kept`` non-zero entries among ``weights``, in bits."""
    ways = math.lgamma(weights + 1) - math.lgamma(kept + 1) - math.lgamma(weights - kept + 1)
    return ways / math.log(2)


def codebook_factor(weights: int, kept: int, index_bits: int, code_bits: int) -> float:
    """32-bit weights over an index and a code for each that is kept, and the codebook, in bits.

    Args:
        weights: in the dense network.
        kept: of them.
        index_bits: to say where the next kept weight stands.
        code_bits: to say which of 2^``code_bits`` shared values it has.
    """
    return 32 * weights / (kept * (index_bits + code_bits) + 32 * 2**code_bits)


def forward_seconds(
    models: Mapping[str, nn.Module], inputs: Tensor, rounds: int = 30
) -> dict[str, float]:
    """Seconds of each model's forward pass, the least of several rounds that visit all in turn.

    Whatever else the machine does can only add to a time, and it adds to all models alike; read
    the ratios.

    Args:
        models: by name; run in evaluation mode.
        inputs: one batch, shape (N, …), for all of them.
        rounds: at least 1; one more, untimed, comes first.
    """
    least = dict.fromkeys(models, math.inf)
    with torch.no_grad():
        for timed in [False] + [True] * rounds:
            for name, model in models.items():
                with evaluating(model):
                    started = time.perf_counter()
                    model(inputs)
                    seconds = time.perf_counter() - started
                if timed:
                    least[name] = min(least[name], seconds)
    return least
