"""Tests of variational_dropout: noise and divergence against their definitions."""

import math
from itertools import pairwise

import pytest
import torch
from scipy import integrate
from torch import nn

from pruning_core.baselines.variational_dropout import VariationalDropout
from pruning_core.metrics import weighted_layers
from pruning_core.models import build_model

EULER = 0.5772156649015329


def exact_divergence(log_alpha: float) -> float:
    """KL(N(w, αw²) ‖ 1/|w|) up to the constant that makes it vanish as α → ∞, by quadrature."""
    spread = math.exp(log_alpha / 2)

    def weighted(x: float) -> float:
        return math.log(abs(1 + spread * x)) * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    edges = sorted({-12.0, 12.0, min(12.0, max(-12.0, -1 / spread))})
    total = sum(integrate.quad(weighted, a, b, limit=400)[0] for a, b in pairwise(edges))
    return total - log_alpha / 2 + (EULER + math.log(2)) / 2


@pytest.mark.parametrize("log_alpha", [-9.0, -4.0, -2.0, -1.0, 0.0, 1.0, 3.0, 8.0])
def test_the_divergence_is_that_of_the_posterior_from_the_prior(log_alpha: float) -> None:
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.3, -2.0]]))
    dropout = VariationalDropout(layer)
    with torch.no_grad():
        dropout.log_variances[0].copy_(log_alpha + torch.log(layer.weight.square()))
    torch.testing.assert_close(dropout.log_alpha()[0], torch.full((1, 2), log_alpha))
    # Molchanov et al. fitted their formula to within 0.01 nats or so.
    found = float(dropout.divergence().detach()) / 2
    assert found == pytest.approx(exact_divergence(log_alpha), abs=0.02)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.Linear(6, 4), (6,)), (nn.Conv2d(2, 3, 3, padding=1, stride=2), (2, 5, 5))],
)
def test_outputs_have_the_moments_of_drawn_weights(layer: nn.Module, shape: tuple[int]) -> None:
    torch.manual_seed(0)
    dropout = VariationalDropout(layer, log_variance=-1.0)
    example = torch.randn(1, *shape)
    with torch.no_grad():
        outputs = layer.train()(example.expand(20_000, *shape))
        by_weights = []
        mean = layer.get_parameter("weight").clone()
        layer.eval()
        for _ in range(4_000):
            layer.get_parameter("weight").copy_(mean + math.exp(-0.5) * torch.randn_like(mean))
            by_weights.append(layer(example))
        layer.get_parameter("weight").copy_(mean)
        drawn = torch.cat(by_weights)
        torch.testing.assert_close(outputs.mean(0), layer(example)[0], atol=0.2, rtol=0)
    torch.testing.assert_close(outputs.std(0), drawn.std(0), atol=0.02, rtol=0.08)
    assert len(list(dropout.parameters())) == 1


def test_evaluation_is_without_noise_and_so_is_training_after_removal() -> None:
    torch.manual_seed(0)
    model = build_model("lenet-5", gated=False)
    images = torch.rand(3, 1, 28, 28)
    before = model(images)
    dropout = VariationalDropout(model, log_variance=-4.0)
    assert not torch.equal(model.train()(images), before)
    assert torch.equal(model.eval()(images), before)
    dropout.remove()
    assert torch.equal(model.train()(images), before)


def test_every_weight_and_variance_gets_a_gradient() -> None:
    torch.manual_seed(0)
    model = build_model("lenet-300-100", gated=False)
    dropout = VariationalDropout(model)
    (model(torch.rand(4, 1, 28, 28)).sum() + dropout.divergence()).backward()
    for parameter in (*model.parameters(), *dropout.parameters()):
        assert parameter.grad is not None
        assert bool(parameter.grad.isfinite().all())


def test_the_closed_form_gradients_are_those_of_the_divergence() -> None:
    torch.manual_seed(0)
    model = build_model("lenet-5", gated=False).double()
    dropout = VariationalDropout(model).double()
    with torch.no_grad():
        for log_variance in dropout.log_variances:
            log_variance.uniform_(-14.0, 4.0)
    parameters = [layer.weight for layer in weighted_layers(model)] + [*dropout.log_variances]
    expected = torch.autograd.grad(0.3 * dropout.divergence(), parameters)
    dropout.backward(0.1)
    dropout.backward(0.2)
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_a_weight_of_zero_has_a_finite_price() -> None:
    layer = nn.Linear(1, 1)
    nn.init.zeros_(layer.weight)
    dropout = VariationalDropout(layer)
    dropout.divergence().backward()
    assert layer.weight.grad is not None
    assert float(layer.weight.grad) == 0.0
    assert bool(torch.isfinite(dropout.divergence().detach()))
