"""Tests of pruning_core.experiments.returns: whether a unit that was declared dead comes back."""

import json
from dataclasses import replace

import pytest
import torch

from pruning_core.experiments.data import Dataset
from pruning_core.experiments.loop import Trainer
from pruning_core.experiments.returns import Returns, counted, declared_and_waits, noted_in
from pruning_core.experiments.settings import Settings
from pruning_core.gates import BernoulliGate
from pruning_core.studies.declaration import Run
from pruning_core.studies.record_files import FOLLOWED
from pruning_core.studies.records import as_tables, measures


def followed(*epochs: tuple[list[list[float]], list[bool]]) -> Returns:
    """A gate of three units, by the θ of each step and by who is dead at the end of the epoch."""
    gate = BernoulliGate(3)
    returns = Returns({"gate": gate})
    for thetas, dead in epochs:
        for theta in thetas:
            gate.theta.data = torch.tensor(theta)
            returns.after_step()
        returns.after_epoch({"gate": torch.tensor(dead)})
    return returns


def test_a_unit_is_declared_once_and_its_return_counts_from_there() -> None:
    returns = followed(
        ([[0.9, 0.0, 0.0]], [False, True, True]),
        ([[0.9, 0.4, 0.0]], [False, False, True]),  # on its way
        ([[0.9, 0.6, 0.0], [0.9, 0.1, 0.0]], [False, False, True]),  # open for one step only
        ([[0.0, 0.0, 0.0]], [True, True, True]),
        ([[0.7, 0.0, 0.0]], [False, True, True]),
    )
    assert declared_and_waits(returns.epochs) == [
        *[("gate", 1, 2), ("gate", 1, None), ("gate", 4, 1)]
    ]
    assert returns.counts() == {
        **{"declared_dead": 3, "returned_1": 1, "returned_5": 2, "returned_10": 2, "returned": 2},
        "open_again": 1,
    }


@pytest.mark.parametrize(("wait", "within"), [(1, [1, 1, 1]), (5, [0, 1, 1]), (6, [0, 0, 1]),
                                              (10, [0, 0, 1]), (11, [0, 0, 0])])  # fmt: skip
def test_the_epochs_within_which_a_unit_comes_back(wait: int, within: list[int]) -> None:
    start = {"gate": {"declared": [7], "opened": []}}
    idle = {"gate": {"declared": [], "opened": []}}
    back = {"gate": {"declared": [], "opened": [7]}}
    found = counted([start, *[idle] * (wait - 1), back])
    assert [found[f"returned_{k}"] for k in (1, 5, 10)] == within
    assert found["returned"] == 1


def test_a_theta_above_one_half_before_the_declaration_is_no_return() -> None:
    returns = followed(([[0.9, 0.0, 0.9], [0.9, 0.0, 0.0]], [False, True, True]))
    assert returns.counts()["returned"] == 0


def test_one_half_is_open() -> None:
    returns = followed(
        ([[0.9, 0.9, 0.0]], [False, False, True]), ([[0.9, 0.9, 0.5]], [False, False, False])
    )
    assert returns.counts()["returned_1"] == returns.counts()["open_again"] == 1


QUICK = Settings(
    epochs=7, batch_size=4, log_gamma=(2.0,), gate_inputs=True, theta_step=1 / 60, smoothing=0.9,
    bernoulli_epochs=6, compact=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def trainer(small_mnist: Dataset) -> Trainer:
    """A finished run of a few hundred images, whose noisy units come and go."""
    small = replace(
        small_mnist,
        train_images=small_mnist.train_images[:1000],
        train_labels=small_mnist.train_labels[:1000],
        eval_images=small_mnist.eval_images[:100],
        eval_labels=small_mnist.eval_labels[:100],
    )
    trainer = Trainer(QUICK, small)
    trainer.fit()
    return trainer


def test_a_run_notes_who_comes_back(trainer: Trainer) -> None:
    noted = noted_in(trainer.trajectory)
    assert len(noted) == QUICK.bernoulli_epochs
    summary = trainer.summary()
    assert counted(noted).items() <= summary.items()
    assert set(FOLLOWED) <= set(summary)
    assert summary["declared_dead"] > 100
    assert 0 < summary["returned"] <= summary["declared_dead"]
    assert summary["returned_1"] <= summary["returned_5"] <= summary["returned"]
    declared = [unit for epoch in noted for unit in epoch["gate0"]["declared"]]
    assert len(declared) == len(set(declared)) <= 784


def test_the_table_of_a_study_has_the_shares(trainer: Trainer) -> None:
    run = Run("followed", QUICK, "mnist", "test")
    rows, epochs = as_tables(run, trainer.summary(), trainer.trajectory)
    found = measures(rows).iloc[0]
    assert found["returned_5_percent"] == pytest.approx(
        100 * found["returned_5"] / found["declared_dead"]
    )
    kept = [json.loads(theta) for theta in epochs["theta"]]
    assert counted(noted_in([{"theta": theta} for theta in kept]))["returned"] == found["returned"]


def test_a_run_that_removes_its_dead_units_cannot_tell(small_mnist: Dataset) -> None:
    small = replace(
        small_mnist,
        train_images=small_mnist.train_images[:40],
        train_labels=small_mnist.train_labels[:40],
    )
    trainer = Trainer(replace(QUICK, compact=True, epochs=2, bernoulli_epochs=1), small)
    trainer.fit()
    assert noted_in(trainer.trajectory) == []
    assert not set(FOLLOWED) & set(trainer.summary())
