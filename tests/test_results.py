"""What is recorded, held against what it stands for: the networks kept, and runs repeated."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from safetensors import safe_open

from pruning_core.experiments.data import Dataset
from pruning_core.experiments.methods import METHODS
from pruning_core.experiments.provenance import versions
from pruning_core.experiments.runs import SUMMARY_FILE, TRAJECTORY_FILE
from pruning_core.export import load_model
from pruning_core.metrics import architecture, count_nonzero_weights, error_percent
from pruning_core.studies import tables
from pruning_core.studies.archive import Archive

ROOT = Path(__file__).parents[1]
ARCHIVE = Archive(ROOT)
NETWORKS = sorted(path.parent for path in (ROOT / "results" / "models").rglob("model.safetensors"))


def test_networks_are_kept() -> None:
    """The dense one, one for each recorded price, and HALO's."""
    prices = tables.setting(tables.runs(ARCHIVE, "lenet-300-100"), "log_gamma").unique()
    names = ["dense", "halo", *(f"price-{price:g}" for price in prices)]
    assert [path.name for path in NETWORKS] == sorted(f"lenet-300-100-{name}" for name in names)


def test_networks_are_small() -> None:
    """Those beside the dense one: in half precision, 1.2 MB together."""
    files = [path for folder in NETWORKS for path in folder.iterdir() if "dense" not in folder.name]
    assert sum(path.stat().st_size for path in files) < 1_200_000


@pytest.mark.parametrize("folder", NETWORKS, ids=lambda path: path.name)
def test_a_network_that_is_kept_is_the_one_of_its_row_or_one_of_its_kind(
    folder: Path, mnist: Dataset
) -> None:
    """Either the recorded run itself, or trained again by its command, as its metadata tell.

    Then it is what was measured when it was trained, and not far from the ten recorded seeds.
    """
    with safe_open(folder / "model.safetensors", "pt") as file:
        told = file.metadata() or {}
    every = tables.every_run(ARCHIVE)
    row = every.drop_duplicates("run").set_index("run").loc[told["run"]].to_dict()
    assert row["seed"] == 0
    measured = {
        name: float(told.get(name, row[name])) for name in ("test_error_percent", "weights_kept")
    }
    network = load_model(folder)
    assert count_nonzero_weights(network) == measured["weights_kept"]
    error = error_percent(network, mnist.eval_images, mnist.eval_labels)
    # In half precision an image or two may change sides.
    assert error == pytest.approx(measured["test_error_percent"], abs=0.021)
    if "cpu" not in told:
        assert "-".join(map(str, architecture(network))) == row["architecture"]
        assert error == pytest.approx(row["test_error_percent"], abs=1e-4)
    for name, value in measured.items():
        seeds = tables.at(tables.runs(ARCHIVE, row["study"]), row["point"], name)
        assert len(seeds) == 10
        assert abs(value - seeds.mean()) <= 4 * seeds.std() + 1e-9, name


def test_a_run_has_one_outcome_in_all_studies() -> None:
    """Where studies share a run, they share its row."""
    rows = tables.every_run(ARCHIVE).drop(columns=["study", "point"])
    assert len(rows.drop_duplicates()) == rows["run"].nunique()


def test_every_method_has_a_short_run_to_repeat() -> None:
    assert set(tables.runs(ARCHIVE, "repeat")["method"]) == set(METHODS)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_recorded_run_repeats_itself(method: str, tmp_path: Path) -> None:
    """From its recorded command, on the same processor to the last digit.

    On another, rounding may differ, and the loss of the first epoch is near instead of equal.
    """
    row = tables.runs(ARCHIVE, "repeat").set_index("method").loc[method]
    # One thread, as in a study: two would take sums in another order.
    program, *words = str(row["command"]).split()
    subprocess.run(
        [Path(sys.executable).with_name(program), *words, "--out", tmp_path / "run"],
        check=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    summary, trajectory = (
        json.loads((tmp_path / "run" / name).read_text())
        for name in (SUMMARY_FILE, TRAJECTORY_FILE)
    )
    epochs = tables.epochs(ARCHIVE, "repeat")
    recorded = epochs.loc[epochs["run"] == row["run"]].sort_values("epoch")
    losses = [epoch["loss"] for epoch in trajectory]
    if row["cpu"] == versions()["cpu"]:
        for name in ("test_error_percent", "weights_kept"):
            assert summary[name] == row[name], name
        assert losses == recorded["loss"].to_list()
    assert losses[0] == pytest.approx(recorded["loss"].iloc[0], rel=0.02)
    assert summary["test_error_percent"] == pytest.approx(row["test_error_percent"], rel=0.25)
    assert summary["weights_kept"] == pytest.approx(row["weights_kept"], rel=0.05)
    assert not pd.isna(row["commit"])
