from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pruning_core.studies import cost, tables
from pruning_core.studies.archive import Archive

ROOT = Path(__file__).parents[1]
ARCHIVE = Archive(ROOT)


def test_a_dense_run_costs_everything_and_nothing_leaves() -> None:
    assert cost.relative_cost([5, 5, 5]) == 1
    share, when = cost.departure([5, 5, 5])
    assert share == 0
    assert np.isnan(when)


def test_costs_begin_with_the_dense_network() -> None:
    assert cost.costs("lenet-300-100", [[10, 4, 2]]).tolist() == [266_610, 84]
    assert cost.costs("lenet-5", [[20, 50, 800, 500]]).tolist() == [2_308_230, 2_308_230]


def test_the_last_saving_so_far_is_what_the_run_saved() -> None:
    epochs = tables.epochs(ARCHIVE, "training-cost")
    last = cost.by_epoch(epochs).groupby(["point", "seed"])["saved"].last()
    rho = cost.departures(epochs).set_index(["point", "seed"])["rho"]
    assert (100 - rho).sort_index().tolist() == pytest.approx(last.sort_index().tolist())


def test_a_dense_run_is_the_work_of_its_epochs_and_counts_once() -> None:
    runs = tables.runs(ARCHIVE, "training-cost")
    found = cost.with_work(pd.concat([runs, runs]))
    assert len(found) == len(runs)
    dense = found.loc[found["method"] == "dense"]
    assert dense["work"].tolist() == pytest.approx(dense["epochs"].tolist())
    assert dense["price"].isna().all()
    assert set(dense["trained"]) == {"dense, 90 epochs", "dense, 20 epochs"}
    pruned = found.loc[found["point"] == "lenet-300-100"]
    assert set(pruned["trained"]) == {"pruned, 28 nats"}
    both = cost.departures(tables.epochs(ARCHIVE, "training-cost")).set_index(["point", "seed"])
    expected = both["dense_epochs"].loc["lenet-300-100"]
    assert pruned.set_index("seed")["work"].to_dict() == pytest.approx(expected.to_dict(), abs=1e-3)


def test_work_and_error_are_means_over_the_seeds() -> None:
    runs = tables.runs(ARCHIVE, "training-cost")
    found = cost.work_and_error(cost.with_work(runs)).set_index(["model", "method"])
    assert found["n"].tolist() == [10, 10, 10, 10]
    dense = runs.loc[runs["point"] == "lenet-5-dense", "test_error_percent"]
    row = found.loc[("lenet-5", "dense")]
    assert row["error"] == pytest.approx(dense.mean())
    assert row["low"] < row["error"] < row["high"]
    assert row["work"] == 20


def test_the_table_of_runs_tells_the_mean_departure_too() -> None:
    """From two columns of a row what the trajectory says epoch by epoch."""
    rows = tables.runs(ARCHIVE, "training-cost").set_index(["point", "seed"])["departure_percent"]
    found = cost.departures(tables.epochs(ARCHIVE, "training-cost")).set_index(["point", "seed"])
    expected = (100 * found["departure"] / found["epochs"]).reindex(rows.index)
    assert int(np.isnan(rows.to_numpy()).sum()) == 20  # dense ones, of which nothing leaves
    np.testing.assert_allclose(rows, expected, atol=1e-3)
