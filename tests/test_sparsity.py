"""Tests of pruning_core.sparsity: exact counts, and the curve against thresholds by hand."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pruning_core.experiments.data import Dataset
from pruning_core.halo import Halo
from pruning_core.metrics import count_nonzero_weights, count_weights, error_percent
from pruning_core.models import build_model
from pruning_core.sparsity import (
    ZEROS_PERCENT,
    make_permanent_,
    permanent_copy,
    prune_,
    prune_below_,
    sparsity_curve,
)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters() if p.dim() > 1])


@pytest.fixture(params=["lenet-300-100", "lenet-5"])
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    # As the trainer holds it.
    return build_model(request.param, gated=False).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("zeros", [0.0, 50.0, 98.5, 99.9])
def test_the_share_of_zeros_is_exact_and_they_are_the_smallest(
    model: nn.Module, zeros: float
) -> None:
    before = weights(model)
    biases = {n: p.clone() for n, p in model.named_parameters() if p.dim() == 1}
    make_permanent_(prune_(model, zeros))
    after = weights(model)
    assert count_weights(model) - count_nonzero_weights(model) == round(zeros / 100 * len(before))
    kept = after != 0
    assert torch.equal(after[kept], before[kept])
    if zeros:
        assert before[~kept].abs().max() <= before[kept].abs().min()
    for name, bias in biases.items():
        assert torch.equal(model.get_parameter(name), bias)


def test_layerwise_zeros_hold_in_every_layer(model: nn.Module) -> None:
    make_permanent_(prune_(model, 80.0, layerwise=True))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            zeros = int((parameter == 0).sum())
            assert zeros == round(0.8 * parameter.numel())


def test_permanent_zeros_leave_an_ordinary_model(model: nn.Module) -> None:
    plain = copy.deepcopy(model)
    parameters = dict(model.named_parameters())
    make_permanent_(prune_below_(model, 0.02))
    assert model.state_dict().keys() == plain.state_dict().keys()
    for name, before in plain.named_parameters():
        assert parameters[name].stride() == before.stride()
    assert all(parameters[name] is p for name, p in model.named_parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())
    expected = weights(plain)
    assert torch.equal(weights(model), torch.where(expected.abs() < 0.02, 0.0, expected))


def test_parameters_keep_their_order(model: nn.Module) -> None:
    before = list(model.parameters())
    names = [name for name, _ in model.named_parameters()]
    prune_(prune_(model, 50.0), 80.0)
    assert all(a is b for a, b in zip(model.parameters(), before, strict=True))
    make_permanent_(model)
    assert [name for name, _ in model.named_parameters()] == names
    assert all(a is b for a, b in zip(model.parameters(), before, strict=True))


def test_the_curve_is_the_error_at_each_global_threshold(mnist: Dataset) -> None:
    torch.manual_seed(0)
    model = build_model("lenet-300-100", gated=False)
    images, labels = mnist.eval_images[:500], mnist.eval_labels[:500]
    before = weights(model)
    curve = sparsity_curve(model, images, labels, (0, 40, 98.5))
    assert torch.equal(weights(model), before)
    assert list(curve) == ["0", "40", "98.5"]
    assert curve["0"] == error_percent(model, images, labels)
    threshold = before.abs().sort().values[round(0.4 * len(before))]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter[parameter.abs() < threshold] = 0.0
    assert curve["40"] == error_percent(model, images, labels)
    assert list(sparsity_curve(model, images[:1], labels[:1])) == [f"{z:g}" for z in ZEROS_PERCENT]


@pytest.mark.parametrize("zeros", [-1.0, 100.0, float("nan")])
def test_a_share_out_of_range_is_named(zeros: float) -> None:
    with pytest.raises(ValueError, match=f"zeros_percent is {zeros}; a share of the weights"):
        prune_(nn.Linear(2, 2), zeros)


class Everything(nn.Module):
    """Weights of many kinds, some in modules that are never called, one tied to another."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 8)
        self.place = nn.Parameter(torch.randn(1, 5, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.cross = nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True)
        self.lstm = nn.LSTM(8, 4, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(8, 8, batch_first=True)
        self.conv = nn.ConvTranspose1d(5, 5, 3, padding=1)
        self.listed = nn.ParameterList([torch.randn(8, 8) / 3])
        self.named = nn.ParameterDict({"a": torch.randn(8, 8) / 3})
        self.read_out = nn.Linear(8, 9)
        self.read_out.weight = self.words.weight

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.block(self.words(tokens) + self.place)
        h = h + self.cross(h, h[..., :6], h[..., :4])[0]
        h = self.gru(self.lstm(h)[0])[0]
        return self.read_out(self.conv(h) @ self.listed[0] @ self.named["a"])


@pytest.fixture
def everything() -> Everything:
    torch.manual_seed(0)
    return Everything()


TOKENS = torch.arange(15).view(3, 5) % 9


def test_zeros_reach_every_weight_that_halo_penalises(everything: Everything) -> None:
    halo = Halo(everything, 1.0, 1.0)
    assert count_weights(everything) == sum(w.numel() for w in halo.weights)
    make_permanent_(prune_(everything, 70.0))
    zeros = sum(int((w == 0).sum()) for w in halo.weights)
    assert zeros == round(0.7 * count_weights(everything))
    with torch.no_grad():
        for weight in halo.weights:
            weight.mul_(1e-6)
    make_permanent_(prune_below_(everything, 1e-3))
    assert not any(bool(w.any()) for w in halo.weights)
    assert count_nonzero_weights(everything) == 0


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(3, 8, 3),
        nn.Conv3d(3, 8, 3),
        nn.ConvTranspose2d(4, 8, 3, groups=2),
        nn.Embedding(9, 8),
        nn.Bilinear(2, 3, 4),
        nn.GRUCell(3, 8),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_every_kind_of_layer_is_pruned(layer: nn.Module) -> None:
    make_permanent_(prune_(layer, 50.0))
    total = sum(p.numel() for p in layer.parameters() if p.dim() > 1)
    zeros = sum(int((p == 0).sum()) for p in layer.parameters() if p.dim() > 1)
    assert zeros == round(total / 2)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("with_grad", [True, False])
def test_masks_act_as_the_zeros_they_become(
    everything: Everything, training: bool, with_grad: bool
) -> None:
    prune_(everything.train(training), 50.0)
    with torch.no_grad():  # a mask in use follows the weight, and not only where it was put on
        for parameter in everything.parameters():
            parameter.mul_(1.5)
    plain = permanent_copy(everything)
    assert not any("_mask" in key for key in plain.state_dict())
    with torch.set_grad_enabled(with_grad):
        torch.testing.assert_close(everything(TOKENS), plain(TOKENS))


def test_zeros_stay_zeros_while_a_masked_model_trains(everything: Everything) -> None:
    prune_(everything, 60.0, layerwise=True)
    zeros = {n: p == 0 for n, p in permanent_copy(everything).named_parameters() if p.dim() > 1}
    before = permanent_copy(everything)
    optimizer = torch.optim.SGD(everything.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        everything(TOKENS).square().mean().backward()
        optimizer.step()
    output = everything(TOKENS)
    trained = permanent_copy(everything)
    assert trained.get_submodule("words").weight is trained.get_submodule("read_out").weight
    parameters = dict(trained.named_parameters())
    for name, zero in zeros.items():
        assert torch.equal(parameters[name] == 0, zero)
        assert not torch.equal(parameters[name], before.get_parameter(name))
    make_permanent_(everything)
    torch.testing.assert_close(everything(TOKENS), output)
    assert everything.state_dict().keys() == Everything().state_dict().keys()
    assert not any(module._forward_pre_hooks for module in everything.modules())


def test_masks_add_up(everything: Everything) -> None:
    prune_(everything, 40.0)
    first = permanent_copy(everything)
    everything(TOKENS).sum().backward()
    assert count_nonzero_weights(everything) == count_nonzero_weights(first)
    prune_(everything, 80.0)
    make_permanent_(everything)
    assert count_nonzero_weights(everything) == round(0.2 * count_weights(everything))
    for name, parameter in first.named_parameters():
        if parameter.dim() > 1:
            assert not bool(everything.get_parameter(name)[parameter == 0].any())


def test_a_curve_can_be_drawn_of_a_model_with_masks(mnist: Dataset) -> None:
    torch.manual_seed(0)
    model = build_model("lenet-300-100", gated=False)
    images, labels = mnist.eval_images[:200], mnist.eval_labels[:200]
    plain = sparsity_curve(model, images, labels, (60, 90))
    prune_(model, 50.0)
    model(images).sum().backward()
    assert sparsity_curve(model, images, labels, (60, 90)) == plain


def test_scores_decide_and_must_fit() -> None:
    model = nn.Sequential(nn.Conv1d(1, 2, 1), nn.Linear(2, 1))
    scores = [torch.tensor([[[3.0]], [[1.0]]]), torch.tensor([[4.0, 2.0]])]
    make_permanent_(prune_(model, 50.0, scores))
    assert [p.ne(0).flatten().tolist() for p in model.parameters() if p.dim() > 1] == [
        [True, False],
        [True, False],
    ]
    for wrong in (scores[:1], scores[::-1]):
        with pytest.raises(ValueError, match=r"one for each of 0.weight \(2, 1, 1\), 1.weight"):
            prune_(model, 50.0, wrong)


@pytest.mark.parametrize("zeros", [lambda m: prune_(m, 50.0), lambda m: prune_below_(m, 0.1)])
def test_a_model_without_weights_of_its_own_is_refused(
    zeros: Callable[[nn.Module], nn.Module],
) -> None:
    with pytest.raises(ValueError, match="ReLU has no weights to prune"):
        zeros(nn.ReLU())
    layers = (
        nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
        nn.utils.spectral_norm(nn.Linear(2, 2)),
    )
    for layer in layers:
        with pytest.raises(ValueError, match=r"layer '0' .* computes a weight from other param"):
            zeros(nn.Sequential(layer))


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_out_of_range_is_named(tolerance: float) -> None:
    with pytest.raises(ValueError, match=f"tolerance is {tolerance}; a finite number"):
        prune_below_(nn.Linear(2, 2), tolerance)
