from pathlib import Path

import numpy as np
import pytest

from pruning_core.studies import cost, tables

ROOT = Path(__file__).parents[1]


def test_a_dense_run_costs_everything_and_nothing_leaves() -> None:
    assert cost.relative_cost([5, 5, 5]) == 1
    share, when = cost.departure([5, 5, 5])
    assert share == 0
    assert np.isnan(when)


def test_costs_begin_with_the_dense_network() -> None:
    assert cost.costs("lenet-300-100", [[10, 4, 2]]).tolist() == [266_200, 68]
    assert cost.costs("lenet-5", [[20, 50, 800, 500]]).tolist() == [2_293_000, 2_293_000]


def test_the_last_saving_so_far_is_what_the_run_saved() -> None:
    epochs = tables.epochs(ROOT, "training-cost")
    last = cost.by_epoch(epochs).groupby(["point", "seed"])["saved"].last()
    rho = cost.departures(epochs).set_index(["point", "seed"])["rho"]
    assert (100 - rho).sort_index().tolist() == pytest.approx(last.sort_index().tolist())
