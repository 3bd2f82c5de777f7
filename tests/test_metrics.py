"""Tests of pruning_core.metrics: the counts are those of the published tables."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from pruning_core.compaction import compact_
from pruning_core.export import export, save_model
from pruning_core.gates import named_gates
from pruning_core.metrics import (
    architecture,
    count_bytes,
    count_macs,
    count_nonzero_weights,
    count_weights,
    error_percent,
    evaluating,
    macs_by_layer,
    predictions,
    weight_values,
    weighted_layers,
    weights,
)
from pruning_core.models import lenet_5, lenet_300_100
from pruning_core.sparsity import prune_
from pruning_core.theory.counting import (
    codebook_factor,
    count_sparse_bytes,
    forward_seconds,
    position_bits,
)

IMAGE = torch.zeros(1, 1, 28, 28)

# Surviving units, weights, and what the table prints: method, kept, weights.
LENET_300_100 = [
    ("dense", (784, 300, 100), 266_200),
    ("Sparse VD", (512, 114, 72), 67_296),
    ("BC-GNJ", (278, 98, 13), 28_648),
    ("BC-GHS", (311, 86, 14), 28_090),
    ("L0", (219, 214, 100), 69_266),
    ("L0-sep", (266, 88, 33), 26_642),
    ("VIBNet", (97, 71, 33), 9_560),
]

# Method, kept, multiply-accumulates and percent of 430,500 weights as printed.
LENET_5 = [
    ("dense", (20, 50, 800, 500), "2.31 M", "100"),
    ("group lasso", (3, 12, 192, 500), "205 K", "23.7"),
    ("GD", (7, 13, 208, 16), "255 K", "1.38"),
    ("SBP", (3, 18, 284, 283), "216 K", "19.7"),
    ("Sparse VD", (17, 32, 329, 75), "1.15 M", "9.2"),
    ("BC-GNJ", (8, 13, 88, 13), "288 K", "0.95"),
    ("BC-GHS", (5, 10, 76, 16), "157 K", "0.64"),
    ("L0", (20, 25, 45, 462), "1.13 M", "8.9"),
    ("L0-sep", (9, 18, 65, 25), "397 K", "1.43"),
]


def pruned_to(model: nn.Module, sizes: dict[str, int]) -> nn.Module:
    """The plain network in which each gate has lost all but its first so many units."""
    gates = named_gates(model)
    dead = {name: torch.arange(gates[name].num_units) >= size for name, size in sizes.items()}
    compact_(model, dead, torch.rand(2, 1, 28, 28))
    for gate in gates.values():
        gate.theta.data.fill_(1.0)
    return export(model)


def small_lenet_5(kept: tuple[int, int, int, int]) -> nn.Module:
    conv1, conv2, features, hidden = kept
    model = lenet_5((conv1, conv2), hidden, gate_features=True)
    return pruned_to(model, {"gate_features": features})


def printed(macs: int) -> str:
    return f"{macs / 1e6:.2f} M" if macs >= 1e6 else f"{macs / 1e3:.0f} K"


@pytest.mark.parametrize(("method", "kept", "weights"), LENET_300_100)
def test_the_weights_of_lenet_300_100_are_those_published(
    method: str, kept: tuple[int, ...], weights: int
) -> None:
    model = lenet_300_100(kept[1:], gate_inputs=True)
    plain = pruned_to(model, {"gate0": kept[0]})
    assert count_weights(plain) == weights
    assert architecture(plain) == list(kept)
    # a bias counts as one operation per output
    assert count_macs(plain, IMAGE) == weights + kept[1] + kept[2] + 10


@pytest.mark.parametrize(("method", "kept", "macs", "percent"), LENET_5)
def test_the_operations_and_weights_of_lenet_5_are_those_published(
    method: str, kept: tuple[int, int, int, int], macs: str, percent: str
) -> None:
    plain = small_lenet_5(kept)
    assert printed(count_macs(plain, IMAGE)) == macs
    digits = len(percent.partition(".")[2])
    assert f"{100 * count_weights(plain) / 430_500:.{digits}f}" == percent
    assert architecture(plain) == list(kept)


def test_the_dense_lenet_5_in_closed_form() -> None:
    model = lenet_5(gated=False)
    assert count_weights(model) == 430_500
    per_output = (20 * 24 * 24 * 26, 50 * 8 * 8 * 501, 500 * 801, 10 * 501)
    assert count_macs(model, IMAGE) == sum(per_output) == 2_308_230


def test_the_published_row_of_ssl_counts_features_that_its_filters_do_not_give() -> None:
    """3-12-800-500 at 509 K and 94.3 %: 12 filters make 192 features, but 800 are counted."""
    plain = small_lenet_5((3, 12, 192, 500))
    extra = (800 - 192) * 500
    assert printed(count_macs(plain, IMAGE)) == "205 K"
    assert printed(count_macs(plain, IMAGE) + extra) == "509 K"
    assert f"{100 * (count_weights(plain) + extra) / 430_500:.1f}" == "94.3"


def test_an_architecture_lists_as_many_features_as_filters_too() -> None:
    assert architecture(small_lenet_5((3, 16, 16, 4))) == [3, 16, 16, 4]


def test_the_architecture_of_a_gated_model_is_that_of_its_layers() -> None:
    assert architecture(lenet_300_100(gate_inputs=True)) == [784, 300, 100]
    assert architecture(lenet_5(gate_features=True)) == [20, 50, 800, 500]


class CountsImages(nn.Module):
    """The class of an image is its only pixel; remembers the batch sizes and the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.inner = nn.Dropout()

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.seen.append(len(images))
        return nn.functional.one_hot(images.flatten().long(), 5).float()


def test_errors_are_counted_in_batches_in_evaluation_mode() -> None:
    model = CountsImages().train()
    images = torch.tensor([0, 1, 2, 3, 4, 0, 1]).view(7, 1, 1, 1)
    labels = torch.tensor([0, 1, 2, 0, 4, 0, 3])
    assert predictions(model, images, batch_size=3).tolist() == images.flatten().tolist()
    assert model.seen == [3, 3, 1]
    assert error_percent(model, images, labels) == pytest.approx(100 * 2 / 7)
    assert model.training


def test_every_module_returns_to_its_own_mode() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Dropout()).train()
    model[1].eval()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == [True, True, False]
    with pytest.raises(KeyError), evaluating(model):
        raise KeyError
    assert [module.training for module in model.modules()] == [True, True, False]


def test_counting_leaves_no_trace_on_the_model() -> None:
    model = lenet_5(gated=False).train()
    count_macs(model, IMAGE)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_macs_by_layer_add_up_and_name_the_layers() -> None:
    model = lenet_5(gated=False)
    by_layer = macs_by_layer(model, IMAGE)
    assert list(by_layer) == ["conv1", "conv2", "fc1", "fc2"]
    assert by_layer["fc2"] == 500 * 10 + 10
    assert sum(by_layer.values()) == count_macs(model, IMAGE)


T, STATE = 5, torch.rand(1, 5, 8)
ATTENTION = 4 * 8 * 8 * T + 2 * T * T * 8  # four projections, and the products QKᵀ and AV


@pytest.mark.parametrize(
    ("model", "example", "macs"),
    [
        (nn.Linear(8, 3), STATE, T * 3 * (8 + 1)),
        (nn.Linear(8, 3, bias=False), STATE.transpose(0, 1), T * 3 * 8),
        (nn.Conv1d(4, 6, 3, groups=2), torch.rand(1, 4, 7), 5 * 6 * (2 * 3 + 1)),
        (nn.Conv3d(2, 3, 2), torch.rand(1, 2, 4, 4, 4), 27 * 3 * (2 * 8 + 1)),
        # Each entry read meets a filter of each output channel of its group.
        (
            nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2),
            torch.rand(1, 4, 5, 5),
            25 * 4 * 3 * 9 + 6 * 11 * 11,
        ),
        (nn.Bilinear(2, 3, 4), (torch.rand(1, 2), torch.rand(1, 3)), 4 * (2 * 3 + 1)),
        (nn.Embedding(9, 8), torch.zeros(1, 5, dtype=torch.long), 0),
        (nn.LayerNorm(8), STATE, 0),
        (nn.RNN(8, 3, batch_first=True), STATE, T * 3 * (8 + 3)),
        (nn.LSTM(8, 3, 2, bidirectional=True), STATE.transpose(0, 1), T * 24 * (8 + 3 + 6 + 3)),
        pytest.param(
            *(nn.LSTM(8, 6, proj_size=2), STATE.transpose(0, 1), T * (24 * (8 + 2) + 2 * 6)),
            marks=pytest.mark.filterwarnings("ignore:LSTM with projections is not supported"),
        ),
        (nn.GRU(8, 3, batch_first=True), STATE, T * 9 * (8 + 3)),
        (nn.LSTMCell(8, 3), STATE[:, 0], 12 * (8 + 3)),
        (nn.MultiheadAttention(8, 2, batch_first=True), (STATE, STATE, STATE), ATTENTION),
        (
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            {"src": STATE},
            ATTENTION + T * (2 * 8 * 16 + 16 + 8),
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_the_operations_of_every_kind_of_layer(model: nn.Module, example: Any, macs: int) -> None:
    fused = torch.backends.mha.get_fastpath_enabled()
    assert count_macs(model, example) == macs
    assert torch.backends.mha.get_fastpath_enabled() == fused


class Own(nn.Module):
    """Multiplies in its own code, and with a layer that it calls twice."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.rand(8, 8))
        self.inner = nn.Sequential(nn.Linear(8, 8))

    def forward(self, states: Tensor, *, scale: float) -> Tensor:
        return scale * (self.inner(self.inner(states)) @ self.matrix)


def test_a_models_own_products_are_counted_under_its_own_name() -> None:
    found = macs_by_layer(Own(), {"states": STATE, "scale": 2.0})
    assert found == {"inner.0": 2 * T * 8 * 9, "": T * 8 * 8}
    assert list(found) == ["inner.0", ""]


def test_an_error_in_the_model_leaves_no_trace_either() -> None:
    model = Own().train()
    with pytest.raises(TypeError):
        count_macs(model, STATE)
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert count_macs(model, {"states": STATE, "scale": 1.0}) == T * (2 * 8 * 9 + 8 * 8)


def test_weights_have_two_dimensions_or_more_and_tied_ones_count_once() -> None:
    words, read_out = nn.Embedding(9, 8), nn.Linear(8, 9)
    read_out.weight = words.weight
    model = nn.Sequential(words, nn.MultiheadAttention(8, 2), nn.LayerNorm(8), read_out)
    assert list(weights(model)) == ["0.weight", "1.in_proj_weight", "1.out_proj.weight"]
    assert count_weights(model) == 9 * 8 + 4 * 8 * 8
    with torch.no_grad():
        words.weight[0] = 0.0
    assert count_nonzero_weights(model) == count_weights(model) - 8


def test_zeros_of_a_mask_count_also_after_a_step_without_a_forward_pass() -> None:
    model = prune_(nn.Linear(4, 5), 50.0)
    with torch.no_grad():
        model.get_parameter("weight_orig").add_(10.0)
    assert count_nonzero_weights(model) == 10
    assert bool((weight_values(model)["weight_orig"] == 0).any())


def test_bytes_are_those_of_the_file(tmp_path: Path) -> None:
    model = lenet_300_100(gated=False)
    save_model(model, tmp_path)
    assert count_bytes(model) == (tmp_path / "model.safetensors").stat().st_size


def test_sparse_bytes_are_those_of_scipy() -> None:
    model = prune_(lenet_300_100(gated=False), 90.0)
    expected = 4 * 410
    for layer in weighted_layers(model):
        matrix = csr_array(layer.weight.detach().numpy())
        expected += matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
    assert count_sparse_bytes(model) == expected


def test_position_bits_are_exact_where_they_can_be_counted() -> None:
    assert position_bits(20, 7) == pytest.approx(math.log2(math.comb(20, 7)))
    assert position_bits(20, 0) == pytest.approx(0)


def test_forward_seconds_are_positive_and_keep_the_mode() -> None:
    model = lenet_300_100((5, 5), gated=False).train()
    assert 0 < forward_seconds({"small": model}, IMAGE, rounds=2)["small"] < 10
    assert model.training


def test_a_codebook_counts_itself() -> None:
    assert codebook_factor(1000, 1000, 0, 32) < 1
    assert codebook_factor(10**9, 10**8, 4, 4) == pytest.approx(40, rel=1e-4)
