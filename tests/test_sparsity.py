"""Tests of pruning_core.sparsity: exact counts, and the curve against thresholds by hand."""

import copy

import pytest
import torch
from torch import Tensor, nn

from pruning_core.experiments.data import Dataset
from pruning_core.metrics import count_nonzero_weights, count_weights, error_percent
from pruning_core.models import build_model
from pruning_core.sparsity import (
    ZEROS_PERCENT,
    make_permanent_,
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
