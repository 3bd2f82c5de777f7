"""Tests of VIBNet as a training method: what it prunes, and that the cut changes nothing."""

from dataclasses import replace

import pytest
import torch

from pruning_core.baselines.variational_bottleneck import BottleneckGate
from pruning_core.experiments.data import Dataset
from pruning_core.experiments.loop import Trainer
from pruning_core.experiments.run import Run
from pruning_core.experiments.settings import Settings, recommended
from pruning_core.metrics import architecture


@pytest.fixture(scope="module")
def few(small_mnist: Dataset) -> Dataset:
    """2,000 training images, and the 1,000 for testing."""
    return replace(
        small_mnist,
        train_images=small_mnist.train_images[:2000],
        train_labels=small_mnist.train_labels[:2000],
    )


def short(**changes: object) -> Settings:
    settings = recommended("lenet-300-100", "vib", gate_inputs=True, epochs=10, fine_tune_epochs=2)
    return replace(settings, **{"batch_size": 20, "learning_rate": 0.01, **changes})


def gates(run: Run) -> dict[str, BottleneckGate]:
    return {n: m for n, m in run.model.named_modules() if isinstance(m, BottleneckGate)}


@pytest.mark.slow
def test_it_learns_and_prunes_pixels_and_units_more_of_them_at_a_higher_price(
    few: Dataset,
) -> None:
    left = []
    for strength in (1e-3, 4e-3):
        trainer = Trainer(short(strength=strength), few)
        trainer.fit()
        summary = trainer.summary()
        assert summary["test_error_percent"] < 25
        left.append(summary["architecture"])
        assert summary["units_removed"] == 784 + 300 + 100 - sum(summary["architecture"])
        penalties = [record["penalty"] for record in trainer.trajectory[:-2]]
        assert penalties[-1] < 0.5 * penalties[0]
        assert all("penalty" not in record for record in trainer.trajectory[-2:])
    for large, small, start in zip(*left, (784, 300, 100), strict=True):
        assert small < large <= start
    assert left[1][0] < 400


def test_the_penalty_is_the_strength_times_the_information_of_all_gates(few: Dataset) -> None:
    trainer = Trainer(short(strength=0.25), few)
    expected = 0.0
    for gate in gates(trainer).values():
        with torch.no_grad():
            gate.mean.normal_()
            gate.log_variance.uniform_(-3, 1)
            expected += float((1 + gate.mean**2 / gate.log_variance.exp()).log().sum())
    assert trainer.method.record(trainer)["penalty"] == pytest.approx(0.25 * expected / 2, rel=1e-5)


@pytest.mark.parametrize("model", ["lenet-300-100", "lenet-5"])
def test_the_cut_leaves_what_the_network_computed_with_its_noise_taken_out(
    model: str, few: Dataset
) -> None:
    extra = {"gate_inputs": True} if model == "lenet-300-100" else {"gate_features": True}
    trainer = Trainer(recommended(model, "vib", epochs=1, fine_tune_epochs=0, **extra), few)
    torch.manual_seed(0)
    for gate in gates(trainer).values():
        with torch.no_grad():
            gate.mean.normal_(1.0, 0.7)
            gate.log_variance.uniform_(-4, 2)
    kept = {name: int((gate.log_alpha() < 0).sum()) for name, gate in gates(trainer).items()}
    images = few.eval_images
    with torch.no_grad():
        before = trainer.model.eval()(images)
        trainer.method.after_epoch(trainer)
        after = trainer.model.eval()(images)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert trainer.phase == "settled"
    assert not gates(trainer)
    # What reads only removed units may leave too; nothing that the noise spares leaves otherwise.
    sizes = architecture(trainer.model)
    assert all(0 < left <= most for left, most in zip(sizes, kept.values(), strict=True))
    assert sizes[-1] == list(kept.values())[-1]


def test_another_method_keeps_its_key_beside_it() -> None:
    assert short().strength == pytest.approx(recommended("lenet-300-100", "vib").strength)
    with pytest.raises(ValueError, match="ramp_epochs does not apply to the method vib"):
        recommended("lenet-300-100", "vib", ramp_epochs=1.0)
