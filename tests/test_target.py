"""Tests of pruning_core.target: the price that leads to a wanted size."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.checkpoints import load_checkpoint, save_checkpoint
from pruning_core.costs import Price
from pruning_core.gates import BernoulliGate
from pruning_core.hyperprior import Beta
from pruning_core.insertion import insert_gates_
from pruning_core.metrics import count_macs, count_weights
from pruning_core.models import lenet_300_100
from pruning_core.target import TargetSize

if TYPE_CHECKING:
    from pruning_core.experiments.data import Dataset

Of = Literal["weights", "macs"]
IMAGES = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def convolutions() -> nn.Module:
    def block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, outputs, 3, stride, bias=False)
        return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]

    model = nn.Sequential(
        *block(1, 12, 2), *block(12, 24, 2), *block(24, 32, 1), nn.Flatten(), nn.Linear(512, 10)
    )
    insert_gates_(model, IMAGES)
    return model


def counted(model: nn.Module, of: Of) -> int:
    return count_weights(model) if of == "weights" else count_macs(model, IMAGES[:1])


CASES = [
    ("MLP", 0.2, "weights"),
    ("MLP", 0.4, "macs"),
    pytest.param("convolutions", 0.4, "weights", marks=pytest.mark.slow),
    pytest.param("convolutions", 0.2, "macs", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "share", "of"), CASES)
def test_training_ends_at_the_wanted_size(
    small_mnist: "Dataset", name: str, share: float, of: Of, seed: int
) -> None:
    torch.manual_seed(seed)
    model = lenet_300_100() if name == "MLP" else convolutions()
    whole = counted(model, of)
    images, labels = small_mnist.train_images, small_mnist.train_labels
    optimizer = torch.optim.Adam(model.parameters())
    pruner = BernoulliPruner(
        model,
        20.0,
        len(images),
        theta_step=1 / 60,
        smoothing=0.95,
        total_steps=60 * 8,
        example_inputs=images[:8],
    )
    target = TargetSize(pruner, share, of)
    for _ in range(8):
        for batch in torch.randperm(len(images)).split(100):
            loss = F.cross_entropy(model(images[batch]), labels[batch]) + pruner.penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            pruner.step()
            target.step()
            pruner.compact_(optimizer)
    assert pruner.is_settled
    assert counted(model, of) / whole == pytest.approx(target.reached)
    assert 0.8 * share < target.reached < 1.2 * share
    assert f"of the {of} left, {share} wanted; log γ is " in str(target)


Run = tuple[nn.Module, torch.optim.Optimizer, BernoulliPruner, TargetSize]


def start(share: float = 0.3, *, log_gamma: float = 4.0, price: Price = "units") -> Run:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 20), nn.ReLU(), BernoulliGate(20), nn.Linear(20, 2))
    pruner = BernoulliPruner(
        model,
        log_gamma,
        64,
        theta_step=1 / 15,
        smoothing=0.9,
        total_steps=600,
        example_inputs=torch.rand(4, 8),
        price=price,
    )
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    return model, optimizer, pruner, TargetSize(pruner, share)


def train(run: Run, steps: int) -> None:
    model, optimizer, pruner, target = run
    examples = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        loss = F.cross_entropy(model(examples), (examples[:, 0] > 0).long()) + pruner.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pruner.step()
        target.step()
        pruner.compact_(optimizer)


def test_a_run_that_was_interrupted_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    run = start()
    train(run, 480)
    save_checkpoint(tmp_path / "run.safetensors", *run)
    resumed = start()
    load_checkpoint(tmp_path / "run.safetensors", *resumed)
    assert run[2].price_factor not in (1.0, start()[2].price_factor)
    assert resumed[2].price_factor == run[2].price_factor
    assert resumed[3].expected == run[3].expected
    assert run[2].gates["2"].num_units < 20  # some had left
    for each in (run, resumed):
        torch.manual_seed(5)
        train(each, 120)
    assert all(
        torch.equal(a, b) for a, b in zip(run[0].buffers(), resumed[0].buffers(), strict=True)
    )
    assert str(run[3]) == str(resumed[3])
    assert run[3].reached == pytest.approx(0.3)


def test_a_target_built_after_the_checkpoint_was_loaded_measures_by_the_whole_network() -> None:
    run = start()
    train(run, 480)
    again = TargetSize(run[2], 0.3)
    assert again.expected > run[3].expected
    again.load_state_dict(run[3].state_dict())
    assert again.reached == run[3].reached
    with pytest.raises(ValueError, match=r"saved target is 0\.3 of the weights, .* 0\.5 of the"):
        TargetSize(run[2], 0.5).load_state_dict(run[3].state_dict())


def test_what_was_missed_is_said_once_when_theta_settles() -> None:
    run = start(0.1, log_gamma=1e-5)
    with pytest.warns(UserWarning, match=r"1 of the weights left, 0\.1 wanted; log γ is") as got:
        train(run, 600)
    assert sum("few or too short steps" in str(each.message) for each in got) == 1


def test_a_share_out_of_reach_is_refused_with_the_least_that_is_not() -> None:
    model = nn.Sequential(nn.Linear(8, 20), nn.ReLU(), BernoulliGate(20), nn.Linear(20, 20))
    model.extend([nn.ReLU(), BernoulliGate(20), nn.Linear(20, 2), nn.Linear(2, 10)])
    pruner = BernoulliPruner(model, 1.0, 64, total_steps=5_000, example_inputs=torch.rand(4, 8))
    least = (8 + 1 + 2 + 20) / (160 + 400 + 40 + 20)
    with pytest.raises(ValueError, match=rf"share is 0\.04; .* {least:.3g} of the weights are"):
        TargetSize(pruner, 0.04)
    TargetSize(pruner, least * 1.001)
    model[2].theta.requires_grad_(False)
    least = (160 + 20 + 2 + 20) / (160 + 400 + 40 + 20)
    with pytest.raises(ValueError, match=rf"share is 0\.2; .* {least:.3g} of the weights are left"):
        TargetSize(pruner, 0.2)


def test_what_a_target_cannot_work_with_is_refused() -> None:
    model = lenet_300_100((4, 3))
    given = BernoulliPruner(model, 1.0, 64, total_steps=5_000, example_inputs=IMAGES)
    with pytest.raises(ValueError, match=r"share is 10; a part of the whole, in \(0, 1\)"):
        TargetSize(given, 10)
    with pytest.raises(ValueError, match="of is 'flops'; 'weights' or 'macs' was expected"):
        TargetSize(given, 0.5, of="flops")  # pyright: ignore[reportArgumentType]
    for lacking in (
        BernoulliPruner(model, 1.0, 64, example_inputs=IMAGES),
        BernoulliPruner(model, 1.0, 64, total_steps=5_000),
    ):
        with pytest.raises(ValueError, match="total_steps=, example_inputs="):
            TargetSize(lacking, 0.5)
    beta = BernoulliPruner(model, Beta(1.0, 9.0), 64, total_steps=9_000, example_inputs=IMAGES)
    with pytest.raises(ValueError, match="gate 'gate1' has the hyper-prior Beta"):
        TargetSize(beta, 0.5)


def test_a_wanted_size_can_be_had_by_a_price_for_weights() -> None:
    run = start(0.3, log_gamma=0.4, price="weights")
    model, _, pruner, target = run
    train(run, 600)
    assert pruner.is_settled
    assert 0.8 * 0.3 < target.reached < 1.2 * 0.3
    assert count_weights(model) / 200 == pytest.approx(target.reached)
