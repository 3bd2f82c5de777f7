"""Tests of pruning_core.experiments.callbacks: what is remembered of a run."""

from dataclasses import replace

import pytest
import torch

from pruning_core.experiments.callbacks import HaloHistory
from pruning_core.experiments.data import Dataset
from pruning_core.experiments.loop import Trainer
from pruning_core.experiments.settings import recommended


@pytest.fixture(scope="module")
def small(small_mnist: Dataset) -> Dataset:
    """1,000 training images."""
    return replace(
        small_mnist,
        train_images=small_mnist.train_images[:1000],
        train_labels=small_mnist.train_labels[:1000],
    )


def test_the_history_of_halo_ends_with_the_zeros_of_the_run(small: Dataset) -> None:
    history = HaloHistory()
    trainer = Trainer(recommended("lenet-300-100", "halo", epochs=2), small, [history])
    trainer.fit()
    assert len(history.sizes) == len(history.coefficients) == 2
    assert history.sizes[0].shape == history.coefficients[0].shape == (266_610,)
    last = history.sizes[-1]
    # Biases are penalised too, but keep what they have.
    assert int(last.count_nonzero()) >= trainer.summary()["weights_kept"]
    assert float(history.coefficients[-1].max()) <= 1.0
    # In one order throughout, also after zeros were written into the weights.
    assert float(torch.corrcoef(torch.stack(history.sizes))[0, 1]) > 0.5
    with pytest.raises(ValueError, match="needs method='halo', not 'l1'"):
        Trainer(recommended("lenet-300-100", "l1", epochs=1), small, [HaloHistory()]).fit()
