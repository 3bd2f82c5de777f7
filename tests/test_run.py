"""Tests of pruning_core.experiments.run and loop: whose random numbers, and in which phase."""

from dataclasses import replace

import pytest
import torch

from pruning_core.experiments.callbacks import Callback
from pruning_core.experiments.data import Dataset
from pruning_core.experiments.loop import Trainer
from pruning_core.experiments.run import Phase, Run, TrainingError
from pruning_core.experiments.settings import Settings, recommended
from pruning_core.metrics import weighted_layers

SHORT = recommended("lenet-300-100", epochs=2, batch_size=50, bernoulli_epochs=1)


@pytest.fixture(scope="module")
def few(small_mnist: Dataset) -> Dataset:
    """200 training and 100 test images."""
    return replace(
        small_mnist,
        train_images=small_mnist.train_images[:200],
        train_labels=small_mnist.train_labels[:200],
        eval_images=small_mnist.eval_images[:100],
        eval_labels=small_mnist.eval_labels[:100],
    )


def weights(run: Run) -> list[torch.Tensor]:
    return [layer.weight.detach() for layer in weighted_layers(run.model)]


def test_building_and_loading_a_run_draw_nothing_of_anyone_elses(few: Dataset) -> None:
    before = torch.get_rng_state()
    trainer = Trainer(recommended("lenet-300-100", "group-lasso", epochs=1), few)
    Trainer(trainer.settings, few).load_state_dict(trainer.state_dict())
    assert torch.equal(torch.get_rng_state(), before)


class Draws(Callback):
    """Draws random numbers of its own."""

    def on_epoch_end(self, run: Run) -> None:
        torch.rand(7)
        run.fresh_model()


def test_a_run_is_what_its_seed_says_whatever_else_is_drawn(few: Dataset) -> None:
    alone = Trainer(SHORT, few)
    alone.fit()
    first, second = Trainer(SHORT, few), Trainer(replace(SHORT, seed=1), few, [Draws()])
    watched = Trainer(SHORT, few, [Draws()])
    torch.manual_seed(5)
    for trainer in (second, watched, first):
        trainer.fit()
    for again in (first, watched):
        assert all(map(torch.equal, weights(again), weights(alone)))
    assert not torch.equal(weights(second)[0], weights(alone)[0])


class Phases(Callback):
    def __init__(self) -> None:
        self.noted: list[Phase] = []

    def on_train_start(self, run: Run) -> None:
        self.noted.append(run.phase)

    def on_epoch_end(self, run: Run) -> None:
        self.noted.append(run.phase)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (replace(SHORT, epochs=3), ["pruning", "pruning", "settled", "settled"]),
        (replace(SHORT, epochs=1), ["pruning", "settled"]),
        (
            recommended("lenet-300-100", "l0", epochs=3, fine_tune_epochs=1),
            ["pruning", "pruning", "pruning", "settled"],
        ),
        (recommended("lenet-300-100", "dense", epochs=1), ["settled", "settled"]),
        (recommended("lenet-300-100", "halo", epochs=1), ["settled", "settled"]),
    ],
)
def test_a_run_is_settled_once_its_gates_are_out(
    settings: Settings, expected: list[Phase], few: Dataset
) -> None:
    phases = Phases()
    trainer = Trainer(settings, few, [phases])
    trainer.fit()
    assert phases.noted == expected
    assert trainer.state_dict()["phase"] == "settled"


def test_the_model_has_the_classes_of_the_data_and_the_gates_of_the_method(few: Dataset) -> None:
    run = Run(replace(SHORT, gate_inputs=True, hidden=(7, 5)), replace(few, num_classes=13))
    expected = {"gated": True, "hidden": [7, 5], "gate_inputs": True, "num_classes": 13}
    assert run.model_options() == expected
    assert run.model_options(gated=False) == {"gated": False, "hidden": [7, 5], "num_classes": 13}
    assert [tuple(w.shape) for w in weights(run)] == [(7, 784), (5, 7), (13, 5)]


def test_a_penalty_that_is_not_finite_is_named(
    few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(recommended("lenet-300-100", "l1", epochs=1), few)
    monkeypatch.setattr(trainer.method, "record", lambda run: {"penalty": float("inf")})
    with pytest.raises(TrainingError, match=r"the penalty became inf in epoch 1; .*recommended"):
        trainer.fit()
    assert trainer.trajectory == []


def test_too_little_memory_is_named_with_what_may_be_too_large(
    few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def allocate(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    trainer = Trainer(SHORT, few)
    monkeypatch.setattr(trainer.method, "backward", allocate)
    with pytest.raises(TrainingError, match="hidden layers of 300-100, in batches of 50, do"):
        trainer.fit()
    monkeypatch.setattr("pruning_core.experiments.run.build_model", allocate)
    with pytest.raises(TrainingError, match="make --hidden or --batch-size smaller"):
        Trainer(SHORT, few)
