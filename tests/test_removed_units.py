"""Tests of pruning_core.studies.removed_units: the table, and that it is completed."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pruning_core.experiments.data import Dataset
from pruning_core.experiments.settings import Settings
from pruning_core.studies import removed_units
from pruning_core.studies.declaration import StudyError

QUICK = Settings(
    epochs=3, batch_size=4, log_gamma=(2.0,), gate_inputs=True, theta_step=1 / 60, smoothing=0.9,
    bernoulli_epochs=2, weight_decay=3.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def few(small_mnist: Dataset) -> Dataset:
    return replace(
        small_mnist,
        train_images=small_mnist.train_images[:1000],
        train_labels=small_mnist.train_labels[:1000],
        eval_images=small_mnist.eval_images[:100],
        eval_labels=small_mnist.eval_labels[:100],
    )


def test_a_table_is_completed_and_what_it_has_is_not_trained_again(
    few: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / removed_units.FILE
    removed_units.complete(path, few, {"one": QUICK})
    first = removed_units.load(path)
    assert set(first["network"]) == {"one"}
    assert set(first["decay"]) == {3.0}
    assert len(first) > 20
    settings = {"one": replace(QUICK, seed=9), "other": replace(QUICK, seed=1)}
    removed_units.complete(path, few, settings)
    both = removed_units.load(path)
    assert set(both["network"]) == {"one", "other"}
    pd.testing.assert_frame_equal(both.head(len(first)), first)


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "removed-units.csv"
    path.write_text("network,gate\n")
    with pytest.raises(StudyError, match="the columns decay, epoch, gradient"):
        removed_units.load(path)
    assert not len(removed_units.load(tmp_path / "none.csv"))
