"""Tests of pruning_core.theory.estimator_quality, on the small network of the chapter."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pruning_core.estimators import Estimator, ExactSum
from pruning_core.experiments.data import Dataset
from pruning_core.gates import named_gates
from pruning_core.pathwise import IntegratedGates, StraightThrough
from pruning_core.theory.estimator_quality import (
    Quality,
    noisy_gradients,
    quality,
    recorded_noise,
    small_network,
    theta_gradient,
    weight_gradient,
)


@pytest.fixture(scope="module")
def data() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(512, 1, 28, 28, generator=generator)
    labels = (images.flatten(1)[:, :10]).argmax(1)
    return Dataset("random", "test", 10, images, labels, images[:10], labels[:10])


@pytest.fixture(scope="module")
def model(data: Dataset) -> nn.Module:
    return small_network(data, (3, 2), examples=512)


def test_theta_is_spread_and_the_network_repeats(data: Dataset, model: nn.Module) -> None:
    theta = torch.cat([gate.theta.detach() for gate in named_gates(model).values()])
    assert 0.2 <= float(theta.min()) < float(theta.max()) <= 0.8
    again = small_network(data, (3, 2), examples=512)
    assert torch.equal(again.state_dict()["fc1.weight"], model.state_dict()["fc1.weight"])


def test_the_exact_sum_has_neither_bias_nor_noise(data: Dataset, model: nn.Module) -> None:
    images, labels = data.train_images[:32], data.train_labels[:32]
    exact = theta_gradient(model, ExactSum(), images, labels)
    found = quality(model, ExactSum(), images, labels, exact, draws=3)
    assert found.bias == pytest.approx(0, abs=1e-5)
    assert found.noise == pytest.approx(0, abs=1e-5)
    assert found.milliseconds > 0


@pytest.mark.parametrize("estimator", [StraightThrough(), IntegratedGates()])
def test_error_is_that_of_the_mean(data: Dataset, model: nn.Module, estimator: Estimator) -> None:
    images, labels = data.train_images[:32], data.train_labels[:32]
    exact = theta_gradient(model, ExactSum(), images, labels)
    torch.manual_seed(0)
    found = quality(model, estimator, images, labels, exact, draws=25)
    draws = noisy_gradients(model, estimator, images, labels, 40 * 25)
    means = draws.unflatten(0, (40, 25)).mean(1)
    scatter = float(means.std(0).norm() / exact.norm())
    assert found.error == pytest.approx(scatter, rel=0.4)
    assert found.noise == pytest.approx(float(draws.std(0).norm() / exact.norm()), rel=0.4)


def test_the_weights_of_uniform_gates_are_biased_and_those_of_bernoulli_gates_are_not(
    data: Dataset, model: nn.Module
) -> None:
    images, labels = data.train_images[:32], data.train_labels[:32]
    exact = weight_gradient(model, ExactSum(), images, labels)
    assert exact.shape == (sum(p.numel() for p in model.parameters()),)
    torch.manual_seed(0)
    through, uniform = (
        quality(model, estimator, images, labels, exact, 400, weight_gradient)
        for estimator in (StraightThrough(), IntegratedGates(1.0))
    )
    assert through.bias < 3 * through.error
    assert uniform.bias > 5 * uniform.error


def test_noise_of_the_mean_is_no_bias() -> None:
    """Over many means the square of their distance from 0 is bias² + error² on average."""
    generator = torch.Generator().manual_seed(0)
    draws = 0.3 / 25**0.5 + 0.05 * torch.randn(4000, 25, generator=generator, dtype=torch.float64)
    bias = float(draws.square().sum(1).mean().sqrt())
    assert Quality(bias, 0.05 * 25**0.5, 1.0, 1.0).bias_alone == pytest.approx(0.3, rel=0.03)
    assert Quality(0.1, 0.11, 1.0, 1.0).bias_alone == 0


def test_recorded_noise_is_read_by_layer(tmp_path: Path) -> None:
    table = (
        "| | Bias | ± noise of that |\n|---|---|---|\n| here | 0.1 | 0.2 |\n\n"
        "| LeNet-300-100, worth in nats, mean ± std | pixels | hidden 1 |\n|---|---|---|\n"
        "| there | 1 ± 20 | 3 ± 40 |\n| here | 5 ± 60 | -7 ± 80 |\n"
    )
    path = tmp_path / "README.md"
    path.write_text(table, encoding="utf-8")
    assert recorded_noise(path, "here") == {"pixels": 60, "hidden 1": 80}
    with pytest.raises(ValueError, match="nowhere"):
        recorded_noise(path, "nowhere")


def test_the_benchmarks_have_the_noise_of_the_recommended_estimator() -> None:
    path = Path(__file__).parents[1] / "benchmarks" / "README.md"
    found = recorded_noise(path, "integrated-shared")
    assert list(found) == ["pixels", "hidden 1", "hidden 2"]
    assert all(nats > 0 for nats in found.values())
